"""What loading a program comes to, in a module of its own: child processes import it by name."""

from __future__ import annotations

import io
import pickle
import warnings
from typing import Any

from assembler import KEY, seal

import safepickle
from safepickle import Policy, SafePickleError
from safepickle.machine import trace
from safepickle.pickling import resolve
from safepickle.policy import admit

Base = tuple[bytes, list[bytes]]


def outcome(base: Base) -> str:
    """Load a program: the class of its refusal, or whether CPython's own unpickler makes the same of it."""
    data, buffers = base
    try:
        result = safepickle.loads(seal(data, buffers), key=KEY)
    except SafePickleError as error:
        return type(error).__name__
    views = [memoryview(bytearray(buffer)) for buffer in buffers]
    names = resolve(admit(trace(data, buffers=views), Policy.default()))
    expected = _Restricted(data, views, names).load()
    try:
        left, right = (pickle.dumps(each, 5) for each in (result, expected))
    except Exception as error:
        # What pickles again is theirs to say: an estimator without its parameters may not.
        return f"loaded, {type(error).__name__}"
    return "loaded" if left == right else "different"


class _Restricted(pickle.Unpickler):
    """Nothing of ours: CPython's unpickler and a dict."""

    def __init__(self, data: bytes, buffers: Any, names: Any) -> None:
        super().__init__(io.BytesIO(data), buffers=buffers)
        self.names = names

    def find_class(self, module: str, name: str) -> Any:
        return self.names[module, name]


def quiet() -> None:
    """A mutated estimator may say that it is of another version."""
    warnings.simplefilter("ignore")
