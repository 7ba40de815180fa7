"""The baseline: findings that a team accepts for now, so that a check can be switched on before everything is in order.

A finding is accepted for one content of one file: it is entered with path, rule, the SHA-256 of the file and a fingerprint of its
message. Once the file changes it is a finding again. What could not be read, so that nobody knows its content, is never accepted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from . import files
from .errors import FormatError, elided
from .naming import checked_name, name_in

__all__ = ["Accepted", "Baseline", "Found", "fingerprint"]

EXPIRED: Final = "expired"
MAX_FILE_BYTES: Final = 16 << 20
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_RULE: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_MAX_MESSAGE: Final = 500
_FIELDS: Final = {"path", "rule", "sha256", "fingerprint", "message"}


class Found(Protocol):
    """A finding of any kind: what a baseline needs to know of it."""

    @property
    def path(self) -> str:
        """The file, as a path from the working directory or an absolute one."""

    @property
    def rule(self) -> str:
        """The stable name of the kind of finding."""

    @property
    def sha256(self) -> str | None:
        """Of the whole file; empty or None if it could not be read."""

    @property
    def message(self) -> str:
        """What people read."""


@dataclass(frozen=True, slots=True, order=True)
class Accepted:
    """One finding that is accepted."""

    path: str
    """Relative to the folder of the baseline."""
    rule: str
    sha256: str
    fingerprint: str
    message: str = field(default="", compare=False)
    """What the finding said, for the reader; nothing is decided by it."""

    def __post_init__(self) -> None:
        checked_name(self.path)
        if not isinstance(self.rule, str) or not _RULE.fullmatch(self.rule):
            raise FormatError("the rule of a finding is a name of lower-case letters, digits and hyphens")
        for name in ("sha256", "fingerprint"):
            value = getattr(self, name)
            if not isinstance(value, str) or not _DIGEST.fullmatch(value):
                raise FormatError(f"the {name} of a finding is 64 lower-case hexadecimal digits")
        if not isinstance(self.message, str):
            raise FormatError("the message of a finding is text")


@dataclass(frozen=True, slots=True)
class Baseline:
    """Accepted findings. A value: `updated` returns another one."""

    entries: frozenset[Accepted] = frozenset()
    folder: str = "."
    _places: frozenset[tuple[str, str]] = field(default=frozenset(), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_places", frozenset((each.path, each.rule) for each in self.entries))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Baseline:
        """Return the baseline of a JSON file. Paths in it are relative to its folder.

        Raises `FormatError` if it is not a baseline; `OSError` if it cannot be read.
        """
        return cls.read_text(path)[0]

    @classmethod
    def read_text(cls, path: str | os.PathLike[str]) -> tuple[Baseline, str]:
        """Return the baseline of a file, and the text it was read from, for a comparison with `to_text`. Raises like `read`."""
        where = os.fspath(path)
        try:
            data, _ = files.read_regular(where, "baseline", MAX_FILE_BYTES)
        except ValueError as error:
            raise FormatError(f"{error}") from None
        try:
            value = json.loads(data.decode("utf-8"), object_pairs_hook=_members, parse_constant=_no_constant)
            return cls(_from_value(value), os.path.dirname(os.path.abspath(where))), data.decode("utf-8")
        except FormatError as error:
            raise FormatError(f"the baseline {elided(where)}: {error}") from None
        except RecursionError:
            raise FormatError(f"the baseline {elided(where)} is nested too deep") from None
        except ValueError as error:
            raise FormatError(f"the baseline {elided(where)} is not JSON as it should be: {elided(str(error))}") from None

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the baseline to a file, replacing it as a whole. Raises `OSError`."""
        files.replace(os.path.realpath(path), [self.to_text().encode("ascii")], 0o644)

    def to_text(self) -> str:
        """Return what `write` writes: entries sorted, a field a line, in ASCII."""
        found = [{name: getattr(each, name) for name in ("path", "rule", "sha256", "fingerprint", "message")} for each in sorted(self.entries)]
        return json.dumps({"baseline": 1, "findings": found}, indent=2) + "\n"

    def accepts(self, finding: Found) -> bool:
        """Whether a finding is accepted, in this content of its file."""
        return self._entry(finding) in self.entries

    def lists(self, finding: Found) -> bool:
        """Whether a finding of that kind is accepted in another content of its file."""
        entry = self._entry(finding)
        return entry is not None and (entry.path, entry.rule) in self._places

    def stale(self, findings: Iterable[Found], looked_at: Iterable[str]) -> list[Accepted]:
        """Return the entries that nothing is found for: of files that are among those that were looked at, or are gone."""
        used = {self._entry(each) for each in findings}
        names = self._names(looked_at)
        return sorted(each for each in self.entries - used if each.path in names or not self._is_there(each))

    def updated(self, findings: Iterable[Found], looked_at: Iterable[str]) -> tuple[Baseline, list[Found]]:
        """Return the baseline with these findings, and those that cannot be accepted: of files that were not read, or lie outside.

        What it has of files that were not looked at stays, unless they are gone.
        """
        names = self._names(looked_at)
        entries = {each for each in self.entries if each.path not in names and self._is_there(each)}
        refused = []
        for finding in findings:
            entry = self._entry(finding)
            if entry is None:
                refused.append(finding)
            else:
                entries.add(entry)
        return Baseline(frozenset(entries), self.folder), refused

    def _is_there(self, entry: Accepted) -> bool:
        return os.path.lexists(os.path.join(self.folder, *entry.path.split("/")))

    def _names(self, paths: Iterable[str]) -> set[str]:
        names = set()
        for path in paths:
            with contextlib.suppress(FormatError):
                names.add(name_in(self.folder, path))
        return names

    def _entry(self, finding: Found) -> Accepted | None:
        """Return how a finding would be entered, or None if it cannot be."""
        if not finding.sha256:
            return None
        try:
            name = name_in(self.folder, finding.path)
            message = elided(finding.message)[:_MAX_MESSAGE].encode("utf-8", "backslashreplace").decode()
            return Accepted(name, finding.rule, finding.sha256, fingerprint(finding.rule, finding.message), message)
        except FormatError:
            return None


def fingerprint(rule: str, message: str) -> str:
    """Return what stays the same of a finding from run to run: the SHA-256 of its message; of an expiry with all numbers alike, the time."""
    said = re.sub(r"[0-9]+", "0", message) if rule == EXPIRED else message
    return hashlib.sha256(said.encode("utf-8", "backslashreplace")).hexdigest()


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise FormatError("a name stands twice in one object")
    return found


def _no_constant(text: str) -> Any:
    raise FormatError(f"{text} is no JSON")


def _from_value(value: Any) -> frozenset[Accepted]:
    if not isinstance(value, Mapping) or set(value) != {"baseline", "findings"}:
        raise FormatError("it has exactly `baseline` and `findings`")
    if type(value["baseline"]) is not int or value["baseline"] != 1:
        raise FormatError('it must say "baseline": 1, the version of its form')
    if not isinstance(value["findings"], list):
        raise FormatError("its findings are a list")
    found: set[Accepted] = set()
    for number, entry in enumerate(value["findings"], 1):
        if not isinstance(entry, dict) or set(entry) != _FIELDS:
            raise FormatError(f"finding {number}: a finding has exactly {', '.join(sorted(_FIELDS))}")
        try:
            one = Accepted(**entry)
        except FormatError as error:
            raise FormatError(f"finding {number}: {error}") from None
        if one in found:
            raise FormatError(f"finding {number} stands there twice")
        found.add(one)
    return frozenset(found)
