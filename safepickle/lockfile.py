"""The lock, `safepickle.lock`: which files were reviewed, each by its SHA-256, so that they can be checked where no key is.

Whoever has the key verifies the files and writes the lock; people review its changes; pipelines of forks, which get no secrets, check
files against it. A file is what was reviewed if its digest is the one in the lock: who signed it, context and serial stand there for
the reader. The lock is as trustworthy as the review of its changes, and a check here says nothing of times, policies or keys.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from . import container, files
from .container import MAX_INTEGER, MAX_SIGNATURES, MAX_TEXT, Info
from .errors import AuthenticationError, FormatError, elided
from .keyring import Keyring
from .naming import check_distinct, checked_name, name_in

__all__ = ["NAME", "Entry", "Lock", "Measured", "Measuring", "is_model", "measure", "verified"]

NAME: Final = "safepickle.lock"
MAX_FILE_BYTES: Final = 16 << 20
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_KEY_ID: Final = re.compile(r"[0-9a-f]{16}")
_FIELDS: Final = ("path", "sha256", "size", "key_ids", "context", "serial")
_HEAD: Final = "# safepickle lock: the files that were reviewed, each by its SHA-256. Made by `safepickle lock`. Review every change."
_BLOCK: Final = 1 << 20
_SUFFIXES: Final = (".spkl", ".pkl", ".pickle", ".joblib", ".skops", ".npz", ".pt", ".pth", ".ckpt")
_PICKLE: Final = re.compile(rb"\x80[\x02-\x05]")


@dataclass(frozen=True, slots=True)
class Measured:
    """What the bytes of a file are."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One file as it was reviewed."""

    sha256: str
    size: int
    key_ids: tuple[str, ...]
    """Ids of the keys whose signatures were verified, sorted."""
    context: str | None = None
    serial: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.sha256, str) or not _DIGEST.fullmatch(self.sha256):
            raise FormatError("the sha256 of a file is 64 lower-case hexadecimal digits")
        if type(self.size) is not int or not 0 <= self.size <= MAX_INTEGER:
            raise FormatError("the size of a file is an integer from 0 to 2**63 - 1")
        if not all(isinstance(each, str) and _KEY_ID.fullmatch(each) for each in self.key_ids):
            raise FormatError("the key_ids of a file are each 16 lower-case hexadecimal digits")
        if not 0 < len(self.key_ids) <= MAX_SIGNATURES or list(self.key_ids) != sorted(set(self.key_ids)):
            raise FormatError(f"the key_ids of a file are 1 to {MAX_SIGNATURES}, sorted, none twice")
        if self.context is not None and (
            not isinstance(self.context, str) or not 0 < len(self.context) <= MAX_TEXT or not self.context.isprintable()
        ):
            raise FormatError(f"the context of a file is printable text of 1 to {MAX_TEXT} characters")
        if self.serial is not None and (type(self.serial) is not int or not 0 <= self.serial <= MAX_INTEGER):
            raise FormatError("the serial of a file is an integer from 0 to 2**63 - 1")

    def compare(self, found: Measured) -> None:
        """Return if bytes that were measured are those that were reviewed. Raises `AuthenticationError` that says what differs."""
        if found.sha256 == self.sha256 and found.size == self.size:
            return
        size = f"{self.size} bytes, and this one has {found.size}" if found.size != self.size else f"{self.size} bytes, as this one has"
        raise AuthenticationError(
            f"this is not the file that was reviewed: that one has {size}, and SHA-256 {self.sha256}, and this one has {found.sha256}: "
            "restore that file, or review this one and run `safepickle lock`",
            about="lock",
        )


@dataclass(frozen=True, slots=True)
class Lock:
    """Reviewed files by name, which is relative to `folder`. A value: `updated` and `pruned` return another one."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    folder: str = "."

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Lock:
        """Return the lock of a TOML file. Names in it are relative to the folder of the path.

        Raises `FormatError` if it is not a lock; `OSError` if it cannot be read.
        """
        # Who may write it is not looked at, other than for pins: it is part of a checkout, like the files it speaks of, and what guards both
        # is the review of the commit. Checkouts of CI often belong to another user.
        return cls.read_text(path)[0]

    @classmethod
    def read_text(cls, path: str | os.PathLike[str]) -> tuple[Lock, str]:
        """Return the lock of a file, and the text it was read from, for a comparison with `to_text`. Raises like `read`."""
        where = os.fspath(path)
        try:
            data, _ = files.read_regular(where, "lock", MAX_FILE_BYTES)
        except ValueError as error:
            raise FormatError(f"{error}") from None
        try:
            return cls(_from_table(files.toml_table(data)), os.path.dirname(os.path.abspath(where))), data.decode("utf-8")
        except FormatError as error:
            raise FormatError(f"the lock {elided(where)}: {error}") from None
        except ValueError as error:
            raise FormatError(f"the lock {elided(where)} is not TOML as it should be: {elided(str(error))}") from None

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the lock to a file, replacing it as a whole. Raises `OSError`."""
        files.replace(os.path.realpath(path), [self.to_text().encode("utf-8")], 0o644)

    def to_text(self) -> str:
        """Return what `write` writes: files sorted by name, a field a line, so that a change of one file is a change of its lines."""
        lines = [_HEAD, "lock = 1"]
        for name, entry in sorted(self.entries.items()):
            lines += ["", "[[file]]", f"path = {files.toml_text(name)}", f'sha256 = "{entry.sha256}"', f"size = {entry.size}"]
            lines.append(f"key_ids = [{', '.join(files.toml_text(each) for each in entry.key_ids)}]")
            lines += [f"context = {files.toml_text(entry.context)}"] if entry.context is not None else []
            lines += [f"serial = {entry.serial}"] if entry.serial is not None else []
        return "\n".join(lines) + "\n"

    def check(self, path: str | os.PathLike[str]) -> None:
        """Return if a file is what was reviewed; no key is needed. Raises `AuthenticationError` that says what differs, `OSError`.

        The file is read here. Whoever opens the path again afterwards must keep others from writing to it meanwhile, or compare what
        was read (`entry`, and its `compare`).
        """
        self.entry(path).compare(measure(path))

    def missing(self) -> tuple[str, ...]:
        """Return the names of listed files that are not there, or are no files."""
        return tuple(name for name in sorted(self.entries) if not os.path.isfile(os.path.join(self.folder, *name.split("/"))))

    def findings(self, paths: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Yield path and sentence for each file of `paths` that is not what was reviewed, and for each that cannot be read."""
        for path in paths:
            try:
                self.check(path)
            except AuthenticationError as error:
                yield path, str(error)
            except OSError as error:
                yield path, f"the file cannot be read: {error.strerror or type(error).__name__}"

    def updated(self, found: Mapping[str, Entry]) -> Lock:
        """Return the lock with these files, by name. Raises `FormatError` for names that are not distinct on every system."""
        merged = {**self.entries, **{checked_name(name): entry for name, entry in found.items()}}
        check_distinct(merged)
        return Lock(merged, self.folder)

    def pruned(self) -> Lock:
        """Return the lock without the files that are gone."""
        gone = set(self.missing())
        return Lock({name: entry for name, entry in self.entries.items() if name not in gone}, self.folder)

    def changes(self, other: Lock) -> Iterator[tuple[str, str]]:
        """Yield each name of which the other lock says something else, with what: "added", "removed", or the fields that differ."""
        for name in sorted({*self.entries, *other.entries}):
            old, new = self.entries.get(name), other.entries.get(name)
            if old is None or new is None:
                yield name, "added" if old is None else "removed"
            elif old != new:
                yield name, "another " + ", ".join(each for each in Entry.__slots__ if getattr(old, each) != getattr(new, each))

    def name_of(self, path: str) -> str:
        """Return the name of a path. Raises `FormatError` if it can have none."""
        return name_in(self.folder, path)

    def entry(self, path: str | os.PathLike[str]) -> Entry:
        """Return how the file at a path was reviewed. Raises `AuthenticationError` if it was not."""
        try:
            name = self.name_of(os.fspath(path))
        except FormatError as error:
            raise AuthenticationError(f"the lock cannot list this file: {error}", about="lock") from None
        entry = self.entries.get(name)
        if entry is None:
            raise AuthenticationError(f"the lock does not list {elided(name)!a}: review the file and add it with `safepickle lock`", about="lock")
        return entry


class Measuring:
    """Reads a file for somebody, and measures what it hands out."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._size = 0

    def read(self, count: int) -> bytes:
        piece: bytes = self._file.read(count)
        self._digest.update(piece)
        self._size += len(piece)
        return piece

    def whole(self, most: int = MAX_INTEGER) -> Measured:
        """Read to the end, or until it is longer than `most` bytes, and return what the file is."""
        while self._size <= most and self.read(_BLOCK):
            pass
        return Measured(self._digest.hexdigest(), self._size)


def measure(path: str | os.PathLike[str]) -> Measured:
    """Return digest and size of a regular file, which is read once. Raises `OSError`, also for what is no regular file."""
    with _opened(os.fspath(path)) as file:
        return Measuring(file).whole()


def verified(
    path: str | os.PathLike[str], keyring: Keyring, *, context: str | None = None, min_serial: int | None = None, threshold: int = 1
) -> tuple[Entry, Info]:
    """Verify a file whole, and return the entry that a lock has for it. The bytes measured are those verified. Raises like `verify`."""
    with _opened(os.fspath(path)) as file:
        reader: Any = Measuring(file)
        info = container.verify(reader, keyring, context=context, min_serial=min_serial, threshold=threshold)
        found = reader.whole()
    return Entry(found.sha256, found.size, tuple(sorted(set(info.trusted_key_ids))), info.context, info.serial), info


def is_model(path: str) -> bool:
    """Tell whether a file must be in the lock: by its name, or because it begins as our files and pickles do. What cannot be read must."""
    if path.lower().endswith(_SUFFIXES):
        return True
    try:
        opened = files.open_regular(path)
    except (OSError, ValueError):
        return True
    if opened is None:
        return False
    with opened[0] as file:
        head = file.read(len(container.MAGIC)) or b""
    return head == container.MAGIC or _PICKLE.match(head) is not None


def _opened(path: str) -> Any:
    try:
        opened = files.open_regular(path)
    except ValueError:
        raise OSError(f"{elided(path)!a} cannot be the path of a file") from None
    if opened is None:
        raise OSError(f"{elided(path)} is not a regular file")
    return opened[0]


def _from_table(table: dict[str, Any]) -> dict[str, Entry]:
    unknown = set(table) - {"lock", "file"}
    if unknown:
        raise FormatError(f"{elided(', '.join(sorted(unknown)))} means nothing here; there are lock and [[file]]")
    if type(table.get("lock")) is not int or table["lock"] != 1:
        raise FormatError("it must say `lock = 1`, the version of its form")
    entries = table.get("file", [])
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise FormatError("files are written [[file]]")
    found: list[tuple[str, Entry]] = []
    for number, entry in enumerate(entries, 1):
        unknown = set(entry) - set(_FIELDS)
        if unknown:
            raise FormatError(f"file {number}: there is no {elided(', '.join(sorted(unknown)))}; a file has {', '.join(_FIELDS)}")
        key_ids = entry.get("key_ids")
        try:
            if not isinstance(key_ids, list):
                raise FormatError("the key_ids of a file are a list")
            name = checked_name(entry.get("path"))
            values: dict[str, Any] = {each: entry.get(each) for each in ("sha256", "size", "context", "serial")}
            found.append((name, Entry(key_ids=tuple(key_ids), **values)))
        except FormatError as error:
            raise FormatError(f"file {number}: {error}") from None
    check_distinct(name for name, _ in found)
    return dict(found)
