"""Programs of any protocol. The legacy machine and CPython's unpickler do the same; `adopt` builds what plain pickle builds, or refuses.

The first byte chooses: the one or the other, which of CPython's unpicklers, and how strings of Python 2 are read.
"""

from __future__ import annotations

import codecs
import collections
import contextlib
import copyreg
import datetime
import decimal
import fractions
import io
import pickle
import uuid
import warnings
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Iterator
from typing import Any

import differential

from fuzz import programs
from fuzz.mutating import Bytewise, Mutator, by_operations
from fuzz.targets.machine import LIMITS, POLICY, same
from fuzz.watching import harmless
from safepickle import ProgramError, SafePickleError, adopt
from safepickle.legacy import ENCODINGS, Machine
from safepickle.machine import trace
from safepickle.translating import translate

MAX_LEN = 4096
PREFIX = 1
ENTRIES = 1 << 14
# Of these CPython may build what it likes: nothing that they do is harmful, with any arguments.
HARMLESS = {
    ("copyreg", "_reconstructor"): copyreg._reconstructor,  # type: ignore[attr-defined]
    ("_codecs", "encode"): codecs.encode,
    **{("builtins", each.__name__): each for each in (object, list, dict, tuple, set, frozenset, bytearray, bytes, complex, slice, int)},
    **{("collections", each.__name__): each for each in (collections.OrderedDict, collections.deque, collections.Counter, collections.defaultdict)},
    **{("datetime", each.__name__): each for each in (datetime.date, datetime.time, datetime.datetime, datetime.timedelta, datetime.timezone)},
    ("decimal", "Decimal"): decimal.Decimal,
    ("fractions", "Fraction"): fractions.Fraction,
    ("uuid", "UUID"): uuid.UUID,
}

warnings.simplefilter("ignore")


class _Plain(pickle.Unpickler):
    """What plain pickle does, if it needs nothing but what is harmless."""

    def find_class(self, module: str, name: str) -> Any:
        # A method of this name does without the mapping of the one it replaces.
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        return HARMLESS[module, name]


def run(data: bytes) -> None:
    choice, program = data[:1], data[1:]
    if not program:
        return
    if choice[0] % 4 < 2:
        agree(program, ("C", "Python")[choice[0] >> 2 & 1], ENCODINGS[choice[0] >> 3 & 3])
    else:
        adopted(program)


def agree(program: bytes, which: str, encoding: str) -> None:
    """The deeds of a trace are those of CPython; where ours refuses, CPython may do what it likes."""
    machine = Machine(program, 0, differential.BUFFERS, LIMITS, encoding, fix_imports=False)
    with harmless():
        try:
            found = machine.run()
        except ProgramError:
            return
        try:
            restated = found.restated()
            trace(restated, buffers=differential.BUFFERS[: found.buffers_used], limits=LIMITS)
        except SafePickleError:
            pass
    if max(machine.memo, default=0) > ENTRIES:
        # CPython makes a table of twice the largest index.
        return
    with extensions():
        said = differential.verdict(program, which, encoding)
    assert not said.startswith("differs"), said


@contextlib.contextmanager
def extensions() -> Iterator[None]:
    """Two codes mean something to CPython, as the stand-ins of `differential` have it."""
    codes = {code: ("extension", str(code)) for code in (1, 2)}
    copyreg._inverted_registry.update(codes)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for code in codes:
            del copyreg._inverted_registry[code]  # type: ignore[attr-defined]
        copyreg._extension_cache.clear()  # type: ignore[attr-defined]


def adopted(program: bytes) -> None:
    with harmless():
        try:
            result = adopt(io.BytesIO(program), policy=POLICY, limits=LIMITS)
        except SafePickleError:
            return
    found = translate(program, limits=LIMITS, names=POLICY.values())
    if found.joblib or found.error is not None or found.trace.end != len(program):
        # An archive, an array or a joblib file: plain pickle reads something else, or nothing.
        return
    machine = Machine(program, 0, (), LIMITS, "ASCII", fix_imports=True)
    names = {tuple(name.key) for name in machine.run().globals}
    if not names <= HARMLESS.keys() or max(machine.memo, default=0) > ENTRIES:
        return
    same(result, _Plain(io.BytesIO(program)).load())


def seeds() -> Iterator[bytes]:
    for number, program in enumerate(programs.legacy()):
        yield bytes((number % 4 << 2,)) + program
        yield bytes((2,)) + program


def mutator(bytewise: Bytewise) -> Mutator:
    return by_operations(PREFIX, programs.pool(), bytewise)
