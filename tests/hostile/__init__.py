"""The hostile corpus: what `safepickle.scan` must never pass, as programs that make the bytes when asked.

- `streams`: single pickle programs, by the rows of the threat research (A1, B12, D7, E.1 and so on).
- `files`: what such programs hide in: archives, compression, joblib, numpy, torch, polyglots (rows F1 to F14).
- `proving`: a child process that loads or scans many cases, each in a fork with limits.

A payload makes a file or folder of the name that `make` is given, or of one that begins so, and nothing else.
Nothing here imports numpy or what else a case is about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assembler import Asm, Call, Do, Let, Ref, program

HOSTILE = frozenset({"hostile"})
BAD = frozenset({"hostile", "outside policy"})
UNREAD = frozenset({"hostile", "unreadable"})
REFUSED = frozenset({"hostile", "outside policy", "unreadable"})

# Names of these need no list of gadgets to be known as code execution or file access.
_PLAIN_MODULES = frozenset({"os", "posix", "nt", "subprocess", "runpy", "timeit", "importlib", "pty", "socket", "ctypes", "shutil", "commands"})
_PLAIN_NAMES = frozenset(f"{module}:{name}" for module in ("builtins", "__builtin__") for name in ("eval", "exec", "compile", "open", "__import__"))


@dataclass(frozen=True, slots=True)
class Case:
    """One hostile file, and what is known of it."""

    id: str
    make: Callable[[Path], bytes] = field(repr=False)
    """Returns the bytes. Takes the path that the payload makes."""
    verdicts: frozenset[str]
    """What a scan may say."""
    rules: tuple[str, ...]
    """Rows of the threat research, such as "A3"; what follows a space is a source, such as an advisory."""
    needs: tuple[str, ...] = ()
    """Names without which it cannot work, as "module" or "module:name". A scan must not import their modules."""
    effect: str = "marker"
    """"marker", "import" (loading only imports what it needs), or "none" (nothing that could be shown within limits)."""
    reader: str = "loads"
    """Who falls for it: a key of `proving.READERS`, with an argument after a colon."""
    name: str = "model.pkl"
    """The name of the file."""


def names_of(value: Any) -> Iterator[str]:
    """Yield the names that a nested value of the assembler uses."""
    match value:
        case Ref():
            yield value.name
        case Call():
            if isinstance(value.callee, str):
                yield value.callee
            else:
                yield from names_of(value.callee)
            for part in (value.args, value.items, value.pairs, value.state):
                yield from names_of(part)
        case Let():
            yield from names_of(value.value)
        case tuple() | list() | set() | frozenset():
            for part in value:
                yield from names_of(part)
        case dict():
            yield from names_of([*value.items()])
        case _:
            pass


def is_plain(name: str) -> bool:
    """Tell whether a name is known as code execution or file access by itself."""
    return name in _PLAIN_NAMES or name.partition(":")[0] in _PLAIN_MODULES


def stream(
    name: str,
    rules: str,
    what: Callable[[str], Any],
    verdicts: frozenset[str] | None = None,
    *,
    needs: tuple[str, ...] | None = None,
    **more: Any,
) -> Case:
    """Return a case of one program, from a nested value, an assembler or bytes; unless told, its names tell verdicts and needs."""
    sample = what("/m")
    names = tuple(dict.fromkeys(names_of(sample)))
    if verdicts is None:
        # What is assembled by hand is about its form: the name is os:mkdir there.
        opaque = isinstance(sample, (bytes, Asm, Do))
        verdicts = HOSTILE if opaque or any(map(is_plain, names)) else BAD

    def make(marker: Path) -> bytes:
        made = what(str(marker))
        return made if isinstance(made, bytes) else made.program() if isinstance(made, Asm) else program(made)

    return Case(name, make, verdicts, tuple(rules.split(", ")), names if needs is None else needs, **more)


def all_cases() -> tuple[Case, ...]:
    """Return the whole corpus, the same in every process."""
    from hostile import files, streams

    return (*streams.CASES, *files.CASES)
