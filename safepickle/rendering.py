"""Reports of `safepickle verify` for people, and what is said of a header. It renders, and judges nothing; for machines see `formats`.

Paths, messages and names are text that somebody else chose: what would steer a terminal is escaped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from .container import Info
from .errors import escaped

if TYPE_CHECKING:
    from .gate import Checked

__all__ = ["GOOD", "counts_of", "fields_of", "said_of", "summary_of", "text_of"]

# What `gate` says of files, in words: it is not imported where a header is shown.
GOOD: Final = ("verified", "reviewed", "unauthenticated", "accepted", "unsigned")
_GREEN: Final = "32"
_RED: Final = "1;31"


def summary_of(info: Info, *, locked: bool = False) -> str:
    """Return who signed a file, for what, and which one it is, in a line. The first word is its status."""
    if info.authenticated:
        parts = [f"verified, signed by {', '.join(info.trusted_key_ids)}", *(["as the lock lists it"] if locked else [])]
    else:
        keys = ", ".join(each.key_id for each in info.signatures)
        said = "reviewed: it is the file that the lock lists, and no key was given" if locked else None
        parts = [f"{said or 'unauthenticated: no key was given, so nobody vouches for it'}; it claims key {keys}"]
    if info.context is not None:
        parts.append(f"context {info.context}")
    if info.serial is not None:
        parts.append(f"serial {info.serial}")
    return ", ".join(parts)


def fields_of(info: Info) -> dict[str, Any]:
    """Return what a header says, as JSON values in the order in which people read them."""
    return {
        "authenticated": info.authenticated,
        "trusted_key_ids": list(info.trusted_key_ids),
        "signatures": [{"suite": each.suite, "key_id": each.key_id} for each in info.signatures],
        "context": info.context,
        "serial": info.serial,
        "created": info.created.isoformat(),
        "expires": None if info.expires is None else info.expires.isoformat(),
        "python": info.python,
        "platform": info.platform,
        "libraries": dict(info.libraries),
        "program_bytes": info.program_bytes,
        "buffers": len(info.buffer_bytes),
        "buffer_bytes": sum(info.buffer_bytes),
        "compression": info.compression,
        "stored_bytes": info.stored_bytes,
        "header_sha256": info.header_sha256,
        "metadata": info.metadata,
    }


def counts_of(files: Sequence[Checked]) -> Counter[str]:
    """Return how many files have each status."""
    return Counter(each.status for each in files)


def said_of(files: Sequence[Checked]) -> str:
    """Return how many files there were of each kind; what is no model is not counted."""
    counts = counts_of(files)
    good = [f"{counts[status]} {status}" for status in GOOD if counts[status]]
    return ", ".join([*(good or ["0 verified"]), f"{counts['refused']} refused"])


# --- for people -------------------------------------------------------------------------------------------------


def text_of(checked: Checked, *, colour: bool = False) -> Iterator[str]:
    """Yield the lines for one file: what it is, or why it is refused, and indented beneath it the rest."""
    if checked.passed_over:
        return

    def painted(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if colour else text

    path = escaped(checked.path)
    if not checked.refused and checked.info is not None:
        said = escaped(summary_of(checked.info, locked=checked.locked))
        word = checked.status
        yield f"{path}: {painted(word, _GREEN)}{said.removeprefix(word)}"
    for finding in checked.findings:
        first, *rest = finding.message.split("\n")
        word = painted("REFUSED", _RED) if finding.verdict == "refused" else finding.verdict
        yield f"{path}: {word}: {checked.error or finding.rule}: {escaped(first)}"
        yield from (f"    {escaped(line)}" for line in rest)
