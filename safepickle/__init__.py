"""safepickle: pickle for trained models, loaded only if a trusted key signed it and its program stays inside an allow-list.

    import safepickle

    key = safepickle.read_key("env:SAFEPICKLE_KEY")             # made once with `safepickle keygen`
    safepickle.dump(model, "model.spkl", key=key, context="fraud-model/prod", serial=7)
    model = safepickle.load("model.spkl", key=key, context="fraud-model/prod", min_serial=7)

`load` works on one buffer, in this order: authenticate the bytes, trace the pickle program on abstract values, judge
every name and what is done with it, and only then build. `dump` judges the same way before it signs, so what would
not load is refused where the model is trained.

- `dump`, `load`, `dumps`, `loads`: as in pickle, with a key.
- `verify` authenticates a file, `inspect` shows its header, `sign` and `resign` add and replace signatures; none unpickles.
- `Pins` keep the newest serial of each context, for hosts that must refuse rollbacks.
- `SecretKey`; `PrivateKey` and `PublicKey`; `Keyring`, `Trusted`, `read_key`: keys. A key has no default and is never an argument of a command.
- `Policy`, `Limits`: what a file may use, and what it may cost. The default policy covers scikit-learn, numpy, scipy and pandas.
- `scan` says what is in a file that nobody signed, and executes nothing: a `Report` of `Finding`s and `Program`s. `adopt` builds its
  object under the policy; `convert` writes it signed.
- `suggest` proposes rules for classes of one's own.
- Everything refused raises a `SafePickleError`; its class names the stage.
"""

import importlib
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from .adopting import adopt
    from .container import Info, UntrustedInfo
    from .converting import convert
    from .keyring import Keyring, Trusted
    from .keys import PrivateKey, PublicKey, SecretKey, Signature, Signer, Verifier, read_key
    from .machine import Limits
    from .pickling import dump, dumps, load, loads
    from .pins import Pin, Pins
    from .policy import Policy
    from .scanning import Finding, Program, Report, scan
    from .suggesting import suggest
    from .verifying import inspect, resign, sign, verify

__version__ = "0.1.0"

__all__ = [
    "AuthenticationError",
    "Finding",
    "FormatError",
    "Info",
    "Keyring",
    "KeyringError",
    "LimitError",
    "Limits",
    "Pin",
    "Pins",
    "Policy",
    "PolicyError",
    "PrivateKey",
    "Program",
    "ProgramError",
    "PublicKey",
    "Report",
    "SafePickleError",
    "SecretKey",
    "Signature",
    "Signer",
    "StateError",
    "Trusted",
    "UnknownKeyError",
    "UnsignedError",
    "UntrustedInfo",
    "Verifier",
    "VersionMismatchError",
    "VersionMismatchWarning",
    "adopt",
    "convert",
    "dump",
    "dumps",
    "inspect",
    "load",
    "loads",
    "read_key",
    "resign",
    "scan",
    "sign",
    "suggest",
    "verify",
]

# Fetched on first use, so that a verifier has neither pickle nor the policy in memory, and help is there at once.
_LATER = {
    "Finding": "scanning",
    "Info": "container",
    "Keyring": "keyring",
    "Limits": "machine",
    "Pin": "pins",
    "Pins": "pins",
    "Policy": "policy",
    "PrivateKey": "keys",
    "Program": "scanning",
    "PublicKey": "keys",
    "Report": "scanning",
    "SecretKey": "keys",
    "Signature": "keys",
    "Signer": "keys",
    "Trusted": "keyring",
    "UntrustedInfo": "container",
    "Verifier": "keys",
    "adopt": "adopting",
    "convert": "converting",
    "dump": "pickling",
    "dumps": "pickling",
    "inspect": "verifying",
    "load": "pickling",
    "loads": "pickling",
    "read_key": "keys",
    "resign": "verifying",
    "scan": "scanning",
    "sign": "verifying",
    "suggest": "suggesting",
    "verify": "verifying",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(f".{_LATER[name]}", __name__), name)
    if name in _LATER.values():
        # `safepickle.keys.signed_message`, without an import of the module.
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
