"""Replacing a file as a whole: after a failure or crash it is the old one or the new one."""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
from collections.abc import Iterable
from typing import Any

__all__ = ["Bytes", "replace", "toml_text", "write_all"]

Bytes = bytes | bytearray | memoryview


def replace(path: str, pieces: Iterable[Bytes], mode: int | None) -> None:
    """Write the pieces to a temporary sibling of `path`, fsync it and rename it. Raises `OSError`, and whatever making the pieces raises.

    `mode` is that of the new file; None leaves it to the umask.
    """
    folder = os.path.dirname(path)
    temporary = os.path.join(folder, f".safepickle-{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with io.FileIO(descriptor, "wb") as sibling:
            if mode is not None and hasattr(os, "fchmod"):
                os.fchmod(sibling.fileno(), mode)
            for piece in pieces:
                write_all(sibling, piece)
            os.fsync(sibling.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if os.name == "posix":
        # The rename is done; a folder that cannot be opened or synced makes it no failure.
        with contextlib.suppress(OSError):
            directory = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)


def toml_text(text: str) -> str:
    """Return text as a TOML string: as JSON writes it, but for characters above U+FFFF, of which JSON makes two.

    Raises `ValueError` for half a character, which TOML cannot hold.
    """
    if any("\ud800" <= each <= "\udfff" for each in text):
        raise ValueError("this text cannot be written: it holds half a character")
    inner = "".join(f"\\U{ord(each):08x}" if ord(each) > 0xFFFF else json.dumps(each)[1:-1] for each in text)
    return f'"{inner}"'


def write_all(file: Any, piece: Bytes) -> None:
    """Write a piece whole, to a file that may take a part of it at a time."""
    view = memoryview(piece).cast("B")
    while len(view):
        count = file.write(view)
        # Raw files write a part, or None for nothing if they do not block. Others write all, and some return None.
        if count is None:
            if isinstance(file, io.RawIOBase):
                raise BlockingIOError("the file is in non-blocking mode: hand in a blocking one")
            return
        view = view[count:]
