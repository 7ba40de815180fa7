"""`verify`, `inspect`, `sign` and `resign`: what can be done with a file without unpickling it. Nothing here knows pickle."""

from __future__ import annotations

import os

from . import container
from .container import File, Info
from .keyring import AnyKey, as_keyring

__all__ = ["inspect", "resign", "sign", "verify"]


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


def sign(
    path: str | os.PathLike[str],
    *,
    key: AnyKey,
    signed_by: AnyKey,
    context: str | None = None,
    min_serial: int | None = None,
    threshold: int = 1,
    drop_unverified: bool = False,
) -> Info:
    """Add the signature of `key` to a file that a key of `signed_by` has signed, and return the `Info` that was verified.

    For a second person's approval: `load(..., threshold=2)` then asks for both. The file is verified whole first, nothing is
    unpickled, and the path is replaced as a whole. `context`, `min_serial` and `threshold` are those of `verify`.

    Signatures by keys that `signed_by` does not hold, or does not trust now, stay in the file unverified, so that a third person need
    not know the first two. They are those of `Info.signatures` whose key is not in `Info.trusted_key_ids`; whoever holds their key and
    finds one that does not hold refuses the file. `drop_unverified` leaves them out.

    Raises like `verify`; `KeyringError` if `key` cannot sign, or if `signed_by` denies it or does not trust it now; `ValueError` for
    more than 16 signatures and for what is not a regular file; `OSError`, also if the file was replaced meanwhile.
    """
    return container.resign(
        path,
        as_keyring(signed_by),
        as_keyring(key),
        add=True,
        drop_unverified=drop_unverified,
        context=context,
        min_serial=min_serial,
        threshold=threshold,
    )


def resign(
    path: str | os.PathLike[str],
    *,
    key: AnyKey,
    signed_by: AnyKey,
    context: str | None = None,
    min_serial: int | None = None,
    threshold: int = 1,
) -> Info:
    """Replace all signatures of a file that a key of `signed_by` has signed by one of `key`: after a rotation. Otherwise as `sign`."""
    return container.resign(path, as_keyring(signed_by), as_keyring(key), add=False, context=context, min_serial=min_serial, threshold=threshold)
