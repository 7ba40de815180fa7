"""Pins: the newest serial, or the exact file, that a host accepts for each context.

A signature says who made a file, not that it is the newest. A pins file is kept and reviewed where the loading side is, and
`check` refuses what is older than it says: a rollback then needs a change of that file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from . import files
from .container import MAX_INTEGER, MAX_TEXT, Info
from .errors import AuthenticationError, FormatError, elided

__all__ = ["Pin", "Pins"]

MAX_FILE_BYTES: Final = 1 << 20
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_HEAD: Final = "# safepickle pins: the least serial, or the exact header digest, that is accepted for each context. Review every change."


@dataclass(frozen=True, slots=True)
class Pin:
    """What is accepted for one context: files of at least this serial, or only the one whose header has this SHA-256."""

    serial: int | None = None
    header_sha256: str | None = None

    def __post_init__(self) -> None:
        if self.serial is None and self.header_sha256 is None:
            raise FormatError("a pin has a serial, a header_sha256, or both")
        if self.serial is not None and (type(self.serial) is not int or not 0 <= self.serial <= MAX_INTEGER):
            raise FormatError("the serial of a pin is an integer from 0 to 2**63 - 1")
        if self.header_sha256 is not None and (not isinstance(self.header_sha256, str) or not _DIGEST.fullmatch(self.header_sha256)):
            raise FormatError("the header_sha256 of a pin is 64 lower-case hexadecimal digits")


@dataclass(frozen=True, slots=True)
class Pins:
    """Pins by context. A value: `updated` returns another one."""

    by_context: Mapping[str, Pin] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Pins:
        """Return the pins of a TOML file.

        Raises `FormatError` if it is not a pins file, or others than this user and root can write it; `OSError` if it cannot be read.
        """
        where = os.fspath(path)
        try:
            data, status = files.read_regular(where, "pins file", MAX_FILE_BYTES)
            files.check_writers(where, "pins file", status)
        except ValueError as error:
            raise FormatError(f"{error}") from None
        try:
            return cls(_from_table(files.toml_table(data)))
        except FormatError as error:
            raise FormatError(f"the pins file {elided(where)}: {error}") from None
        except ValueError as error:
            raise FormatError(f"the pins file {elided(where)} is not TOML as it should be: {elided(str(error))}") from None

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the pins to a file, replacing it as a whole, contexts sorted. Raises `OSError`."""
        files.replace(os.path.realpath(path), [self.to_text().encode("utf-8")], 0o644)

    def to_text(self) -> str:
        """Return what `write` writes."""
        lines = [_HEAD, "pins = 1"]
        for context, pin in sorted(self.by_context.items()):
            lines += ["", "[[pin]]", f"context = {files.toml_text(context)}"]
            lines += [f"serial = {pin.serial}"] if pin.serial is not None else []
            lines += [f'header_sha256 = "{pin.header_sha256}"'] if pin.header_sha256 is not None else []
        return "\n".join(lines) + "\n"

    def min_serial(self, context: str) -> int | None:
        """Return the least serial for `load(..., min_serial=)`. Raises `AuthenticationError` if the context has no pin, or is pinned to one file."""
        pin = self._pin(context)
        if pin.header_sha256 is not None:
            raise AuthenticationError(f"context {context!a} is pinned to one file, which no serial says: check it with `check`")
        return pin.serial

    def check(self, info: Info) -> None:
        """Return if a file that was verified is one that the pins accept. Raises `AuthenticationError`.

        A file without a context, or whose context has no pin, is refused: what nobody pinned, nobody reviewed.
        """
        if not info.authenticated:
            raise AuthenticationError("nobody vouches for this header, so no pin can: verify the file with a key first")
        if info.context is None:
            raise AuthenticationError("the file has no context, so no pin is for it: sign it with context='name/stage'")
        pin = self._pin(info.context)
        if pin.header_sha256 is not None and pin.header_sha256 != info.header_sha256:
            raise AuthenticationError(
                f"context {info.context!a} is pinned to the file with header digest {pin.header_sha256} and this one has {info.header_sha256}: "
                "load that file, or review the change of the pin"
            )
        if pin.serial is not None and (info.serial is None or info.serial < pin.serial):
            said = "no serial" if info.serial is None else f"serial {info.serial}"
            raise AuthenticationError(
                f"context {info.context!a} is pinned to serial {pin.serial} or newer and this file has {said}: it may be an old one put back"
            )

    def updated(self, info: Info, *, exact: bool = False) -> Pins:
        """Return the pins with that of the file's context moved to it, never back to an older serial. Raises `AuthenticationError`."""
        if not info.authenticated or info.context is None or (info.serial is None and not exact):
            raise AuthenticationError("a file is pinned by its context and serial once it was verified: sign it with context= and serial=")
        old = self.by_context.get(info.context)
        if old is not None and old.serial is not None and (info.serial is None or info.serial < old.serial):
            raise AuthenticationError(
                f"context {info.context!a} is pinned to serial {old.serial} and this file has serial {info.serial}: a pin never goes back by itself"
            )
        # The serial stays beside the digest, so that the next update does not go back either.
        pin = Pin(info.serial, info.header_sha256) if exact else Pin(serial=info.serial)
        return Pins({**self.by_context, info.context: pin})

    def _pin(self, context: str) -> Pin:
        pin = self.by_context.get(context)
        if pin is None:
            raise AuthenticationError(f"no pin is for context {context!a}: review the file and pin it with `safepickle pins update`")
        return pin


def _from_table(table: dict[str, Any]) -> dict[str, Pin]:
    if set(table) - {"pins", "pin"} or table.get("pins") != 1 or type(table.get("pins")) is not int:
        raise FormatError("it must say `pins = 1`, the version of its form, and hold nothing but [[pin]] entries")
    found: dict[str, Pin] = {}
    entries = table.get("pin", [])
    if not isinstance(entries, list):
        raise FormatError("pins are written [[pin]]")
    for entry in entries:
        if not isinstance(entry, dict) or set(entry) - {"context", "serial", "header_sha256"}:
            raise FormatError("a [[pin]] has a context, a serial, a header_sha256, or both")
        context = entry.get("context")
        if not isinstance(context, str) or not 0 < len(context) <= MAX_TEXT or not context.isprintable():
            raise FormatError(f"the context of a pin is printable text of 1 to {MAX_TEXT} characters")
        if context in found:
            raise FormatError(f"context {context!a} is pinned twice")
        found[context] = Pin(entry.get("serial"), entry.get("header_sha256"))
    return found
