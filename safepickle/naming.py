"""Names of files within reviewed files (lock, baseline): relative to the folder of that file, with forward slashes, each in one spelling.

A name never leads out of the folder, and no two name the same file on any system: not by case, not by the form of a letter in Unicode,
not by dots or blanks at the end of a part, which Windows drops.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from .errors import FormatError, elided

__all__ = ["check_distinct", "checked_name", "name_in"]

MAX_NAME: Final = 4096
_DRIVE: Final = re.compile(r"[A-Za-z]:")


def checked_name(name: object) -> str:
    """Return a name as it stands in a file, if it is one. Raises `FormatError`."""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise FormatError(f"a path is printable text of 1 to {MAX_NAME} characters")
    shown = elided(name)
    if name.startswith("/") or _DRIVE.match(name):
        raise FormatError(f"path {shown!a} is absolute: paths are relative to the folder of this file")
    if "\\" in name:
        raise FormatError(f"path {shown!a} has a backslash, which Windows takes for a separator: paths are written with /")
    parts = name.split("/")
    if ".." in parts:
        raise FormatError(f"path {shown!a} leads upwards with '..': paths stay below the folder of this file")
    if "" in parts or "." in parts:
        raise FormatError(f"path {shown!a} has a part that is empty or '.': write it in its shortest form")
    return name


def check_distinct(names: Iterable[str]) -> None:
    """Refuse two names of one file. Raises `FormatError`."""
    seen: dict[str, str] = {}
    for name in names:
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
        same = "/".join(part.rstrip(". ") or part for part in folded.split("/"))
        other = seen.get(same)
        if other is None:
            seen[same] = name
            continue
        if other == name:
            raise FormatError(f"path {elided(name)!a} is listed twice")
        raise FormatError(
            f"paths {elided(other)!a} and {elided(name)!a} are the same file where case, Unicode form or a dot at the end does not count: rename one"
        )


def name_in(folder: str, path: str) -> str:
    """Return the name of a file for a reviewed file that stands in `folder`. Raises `FormatError` if it is not below it, or can have no name."""
    try:
        name = os.path.relpath(os.path.abspath(path), os.path.abspath(folder))
        if name.split(os.sep)[0] == os.pardir:
            # The same folder may be named through a link on one side only; the last part stays, since a link is a name of its own.
            real = os.path.join(os.path.realpath(os.path.dirname(os.path.abspath(path))), os.path.basename(path))
            name = os.path.relpath(real, os.path.realpath(folder))
    except ValueError:
        # Another drive, or no path at all.
        raise FormatError(f"{elided(path)!a} is not below {elided(folder)!a}, where the names of this file begin") from None
    if name.split(os.sep)[0] == os.pardir:
        raise FormatError(f"{elided(path)!a} is not below {elided(folder)!a}, where the names of this file begin")
    return checked_name(name if os.sep == "/" else name.replace(os.sep, "/"))
