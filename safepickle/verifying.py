"""`verify` and `inspect`: what can be said of a file without unpickling it. Nothing here knows pickle."""

from __future__ import annotations

from . import container
from .container import File, Info
from .keys import AnyKey, as_keyring

__all__ = ["inspect", "verify"]


def verify(file: File, *, key: AnyKey, context: str | None = None, min_serial: int | None = None, threshold: int = 1) -> Info:
    """Authenticate the whole file, in constant memory, and return what its header says. Never unpickles.

    `file` is a path or a binary file object, read to its end. `context`, `min_serial` and `threshold` state what the
    caller expects, as in `load`. Whether the program stays within a policy is not looked at.

    Raises `UnsignedError`, `FormatError`, `AuthenticationError` or `KeyringError`; `OSError` if it cannot be read.
    """
    return container.verify(file, as_keyring(key), context=context, min_serial=min_serial, threshold=threshold)


def inspect(file: File, *, key: AnyKey | None = None) -> Info:
    """Return what the header of the file says. Never unpickles.

    Without a key the result is an `UntrustedInfo`: nobody vouches for it, and the body is not read. With one it is
    that of `verify`, and raises like it.
    """
    return container.peek(file) if key is None else verify(file, key=key)
