"""What is said of a file: a `Finding` is one reason not to load it, a `Report` all that a scan says. Values only; nothing is judged here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

__all__ = ["VERDICTS", "Finding", "Program", "Report"]

VERDICTS: Final = ("not a pickle", "signed", "within policy", "unreadable", "outside policy", "hostile")
"""From best to worst. The first three are no finding."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason not to load a file."""

    verdict: str
    """"unreadable", "outside policy" or "hostile"; of the gate "refused", "warning", or "accepted" by a baseline."""
    rule: str
    """A stable name of the kind of finding, such as "hostile-name"."""
    where: str
    """The part of the file, as in "model.zip!archive/data.pkl"; empty for the file itself."""
    offset: int | None
    """Bytes from the beginning of that part, if known."""
    message: str
    name: str = ""
    """The name that the program uses, as "module:name", if it is about one."""
    advisory: str = ""
    """Where a gadget of this kind was published, if it is about one."""


@dataclass(frozen=True, slots=True)
class Program:
    """One pickle program of a file."""

    where: str
    offset: int
    """Where it begins, in bytes from the beginning of that part."""
    end: int
    protocol: int
    kind: str
    """"pickle" or "joblib"."""
    names: tuple[str, ...]
    """Every name that it uses, as "module:name", in the order of first use."""
    verdict: str


@dataclass(frozen=True, slots=True)
class Report:
    """What is in a file."""

    verdict: str
    """One of `VERDICTS`: the worst of all that is in it."""
    format: str
    """What the file is, as in "joblib, zlib-compressed"."""
    size: int
    """In bytes."""
    sha256: str
    findings: tuple[Finding, ...]
    programs: tuple[Program, ...]

    @property
    def clean(self) -> bool:
        """Whether every byte was understood and nothing is outside the policy. Of a signed file the signature was not checked."""
        return not self.findings

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "verdict": self.verdict,
            "format": self.format,
            "size": self.size,
            "sha256": self.sha256,
            "findings": [{name: getattr(each, name) for name in Finding.__slots__} for each in self.findings],
            "programs": [{name: getattr(each, name) for name in Program.__slots__} for each in self.programs],
        }
