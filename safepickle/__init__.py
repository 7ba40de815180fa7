"""safepickle: pickle for trained models, loaded only if a trusted key signed it and its program stays inside an allow-list.

    import safepickle

    key = safepickle.read_key("env:SAFEPICKLE_KEY")             # made once with `safepickle keygen`
    safepickle.dump(model, "model.spkl", key=key, context="fraud-model/prod", serial=7)
    model = safepickle.load("model.spkl", key=key, context="fraud-model/prod", min_serial=7)

`load` does five things, in this order, on one buffer: authenticate the bytes, trace the pickle program on abstract
values, judge every name and what is done with it, build, check. `dump` judges the same way before it signs, so
what would not load is refused where the model is trained.

- `dump`, `load`, `dumps`, `loads`: as in pickle, with a key.
- `verify` authenticates a file, `inspect` shows its header; neither unpickles.
- `SecretKey`, `Keyring`, `read_key`: keys. A key is never an argument on a command line and never has a default.
- `Policy`, `Limits`: what a file may use and cost. The default policy covers scikit-learn, numpy, scipy and pandas.
- Everything refused raises a `SafePickleError`; its class names the stage.
"""

from .container import Info, UntrustedInfo
from .errors import (
    AuthenticationError,
    FormatError,
    KeyringError,
    LimitError,
    PolicyError,
    ProgramError,
    SafePickleError,
    StateError,
    UnknownKeyError,
    UnsignedError,
    VersionMismatchError,
    VersionMismatchWarning,
)
from .keys import Keyring, SecretKey, Signature, read_key
from .machine import Limits
from .pickling import dump, dumps, inspect, load, loads, verify
from .policy import Policy

__version__ = "0.1.0"

__all__ = [
    "AuthenticationError",
    "FormatError",
    "Info",
    "Keyring",
    "KeyringError",
    "LimitError",
    "Limits",
    "Policy",
    "PolicyError",
    "ProgramError",
    "SafePickleError",
    "SecretKey",
    "Signature",
    "StateError",
    "UnknownKeyError",
    "UnsignedError",
    "UntrustedInfo",
    "VersionMismatchError",
    "VersionMismatchWarning",
    "dump",
    "dumps",
    "inspect",
    "load",
    "loads",
    "read_key",
    "verify",
]
