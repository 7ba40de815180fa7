"""Long runs of plain constants in a program, found and decoded without a step of Python for each.

A vocabulary of 300,000 words is a million operations, and none of them can do anything: texts, numbers, None, True, False and
bytes, each as CPython's pickler writes it. One regular expression says where such a run ends; nothing else can be within it.
CPython's own unpickler then decodes exactly these bytes, and can reach no name. That a trace is the same with and without it is a
property under test (tests/test_atoms.py).
"""

from __future__ import annotations

import functools
import io
import re
from typing import TYPE_CHECKING, Any, Final, NoReturn

from .errors import ProgramError

if TYPE_CHECKING:
    import pickle

__all__ = ["LEAST_BYTES", "MOST_BYTES", "swallow"]

# A shorter rest of a frame is not worth a search.
LEAST_BYTES: Final = 1 << 12
# What is decoded at a time: until it is taken over it lies in memory several times, and a frame can be as long as the program.
MOST_BYTES: Final = 1 << 20
_LEAST_ATOMS: Final = 24
_MEMOIZED: Final = frozenset((str, bytes))


@functools.cache
def _run() -> re.Pattern[bytes]:
    # A length and as many bytes. The lengths are tried in turn, short ones first.
    counted = b"|".join(re.escape(bytes([length])) + b".{%d}" % length for length in range(256))
    atom = b"|".join(
        (
            # SHORT_BINUNICODE and MEMOIZE. UTF-8 is checked when it is decoded.
            rb"\x8c(?:" + counted + rb")\x94",
            # BININT1; BININT2 and BININT of numbers that have no shorter form.
            rb"K.",
            rb"M.[^\x00]",
            rb"J..(?:[^\x00].|\x00[^\x00])",
            # BINFLOAT, NONE, NEWTRUE, NEWFALSE.
            rb"G.{8}",
            rb"[N\x88\x89]",
            # SHORT_BINBYTES and MEMOIZE.
            rb"C(?:" + counted + rb")\x94",
        )
    )
    return re.compile(rb"(?:" + atom + rb"){%d,}+" % _LEAST_ATOMS, re.DOTALL)


@functools.cache
def _decoder() -> type[pickle.Unpickler]:
    # Here and not above, so that a verifier of files without long runs has no unpickler in memory.
    import pickle

    class Decoder(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> NoReturn:
            raise ProgramError("a run of constants names nothing")

        def persistent_load(self, pid: Any) -> NoReturn:
            raise ProgramError("a run of constants refers to nothing")

    return Decoder


def swallow(program: bytes, start: int, end: int) -> tuple[list[Any], list[Any], int] | None:
    """Return the constants that stand from `start` on, not beyond `end`, those of them that are memoized, and where they stop.

    None if there are too few to matter.
    """
    found = _run().match(program, start, end)
    if found is None:
        return None
    run = program[start : found.end()]
    decoder = _decoder()(io.BytesIO(b"".join((b"\x80\x05\x95", (len(run) + 4).to_bytes(8, "little"), b"](", run, b"e."))))
    try:
        values: list[Any] = decoder.load()
    except UnicodeDecodeError:
        # The loop, one operation at a time, says where.
        return None
    return values, _memoized(values, decoder), found.end()


def _memoized(values: list[Any], decoder: pickle.Unpickler) -> list[Any]:
    """Return the texts and byte strings, which are all that is memoized in a run. Those of a dict mostly stand at every second place."""
    even, odd = set(map(type, values[::2])), set(map(type, values[1::2]))
    if odd.isdisjoint(_MEMOIZED):
        if even <= _MEMOIZED:
            return values[::2]
        if even.isdisjoint(_MEMOIZED):
            return []
    elif even <= _MEMOIZED and odd <= _MEMOIZED:
        return values
    return list(decoder.memo.copy().values())
