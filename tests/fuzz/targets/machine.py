"""The strict machine, the policy and the building. What they admit is what CPython builds; nothing else is imported or done.

The first byte chooses: a program as it is, or operations that get PROTO, one frame and STOP. The second says how many buffers there are.
"""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Iterator
from typing import Any

from assembler import frame, op
from outcomes import _Restricted

from fuzz import programs
from fuzz.mutating import Bytewise, Mutator, by_operations, operations
from fuzz.watching import harmless, importing_nothing
from safepickle import Limits, Policy, SafePickleError
from safepickle.legacy import trace_legacy
from safepickle.machine import ABSENT, ByteArray, Dict, FrozenSet, Global, List, Made, Set, Trace, trace
from safepickle.pickling import built, resolve
from safepickle.policy import admit

MAX_LEN = 4096
PREFIX = 2
LIMITS = Limits(
    program_bytes=1 << 16, operation_bytes=1 << 15, objects=2_000, nesting=60, tuple_nodes=20_000, shared_parts=20_000, key_nodes=10_000, key_depth=8,
    colliding_keys=100_000, name_length=80, integer_bytes=1024,
)  # fmt: skip
POLICY = Policy.default()
BUFFERS = (b"0123456789abcdef" * 4, b"", bytes(800))
RUN = b"\xfe\xfe"
RUNS = tuple(
    each * (5000 // len(each))
    for each in (
        b"K\x01", b"N\x88\x89", b"M\x00\x01J\x00\x00\x01\x00", b"G" + bytes(8), b"\x8c\x01a\x94", b"\x8c\x00\x94C\x02xy\x94", b"\x8c\x01b\x94K\x02",
        b"K\x03\x8c\x02\xc3\xa9\x94", b"\x8c\x01\xff\x94", b"M\x01\x00", b"\x8c\x01c", b"J\xff\xff\xff\xff", b"C\x01z\x94N", b"\x8c\x03K\x01.\x94",
    )
)  # fmt: skip
KINDS = (List, Dict, Set, FrozenSet, ByteArray, Made)

# What a program may import is there, so that what is imported beyond that shows.
list(programs.library_values())
warnings.simplefilter("ignore")


def run(data: bytes) -> None:
    if len(data) < PREFIX:
        return
    program = lengthened(data[PREFIX:])
    program = program if data[0] % 2 else frame(program + op("STOP"))
    count = data[1] % (len(BUFFERS) + 1)
    with harmless(), importing_nothing():
        try:
            found = trace(program, buffers=[memoryview(each) for each in BUFFERS[:count]], limits=LIMITS)
        except SafePickleError:
            return
        within(found)
        as_legacy(program, count, found)
        try:
            admitted = admit(found, POLICY)
        except SafePickleError:
            return
    views = lambda: [memoryview(bytearray(each)) for each in BUFFERS[:count]]  # noqa: E731
    with harmless():
        try:
            result = built(program, views(), POLICY, LIMITS)
        except SafePickleError:
            return
        expected = _Restricted(program, views(), resolve(admitted)).load()
    same(result, expected)


def lengthened(data: bytes) -> bytes:
    """Put a long run of constants, which the machine takes at once, in place of each mark and its number, the first few."""
    head, *pieces = data.split(RUN, 3)
    return head + b"".join(RUNS[piece[0] % len(RUNS)] + piece[1:] if piece else RUN for piece in pieces)


def within(found: Trace) -> None:
    """What was traced keeps the limits, counted here by other means."""
    seen: dict[int, Any] = {}
    level, depth = [found.root], 0
    while level:
        depth += 1
        # A circle ends, since each value is looked into once.
        fresh = [value for value in level if id(value) not in seen and isinstance(value, (tuple, *KINDS))]
        seen.update((id(value), value) for value in fresh)
        level = [part for value in fresh for part in parts(value)]
    assert sum(isinstance(value, KINDS) for value in seen.values()) <= LIMITS.objects
    assert len(found.made) <= LIMITS.objects
    assert all(len(part) <= LIMITS.name_length for name in found.globals if not name.derived for part in name.key)
    integers = [part for value in seen.values() for part in parts(value) if type(part) is int]
    assert all(part.bit_length() <= 8 * LIMITS.integer_bytes for part in integers)


def as_legacy(program: bytes, count: int, found: Trace) -> None:
    """What the strict machine takes the legacy machine takes too, which is compared with CPython: both tell of the same deeds."""
    other = trace_legacy(program, buffers=BUFFERS[:count], fix_imports=False)
    assert other.end == len(program)
    assert other.left_over == 0
    assert other.buffers_used == count
    # What is called for an attribute of a name is a dotted name to the one, and an object to the other.
    deeds = [(deed.kind, deed.target.key, len(deed.given)) for deed in other.deeds if deed.kind in ("call", "new") and type(deed.target) is Global]
    made = [(each.how, each.callee.key, len(each.args)) for each in found.made if not each.callee.derived]
    told = [sorted(each for each in deed if each[1] != ("builtins", "getattr")) for deed in (made, deeds)]
    assert told[0] == told[1], "the machines disagree"
    states = sum(each.state is not ABSENT for each in found.made)
    assert states == sum(deed.kind == "build" for deed in other.deeds)
    assert {name.key for name in found.globals if not name.derived} == {name.key for name in other.globals}


def parts(value: Any) -> list[Any]:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Dict):
        return value.flat
    if isinstance(value, (List, Set, FrozenSet)):
        return list(value.items)
    if isinstance(value, Made):
        return [*value.args, value.state, *value.items, *value.pairs]
    return []


def same(left: Any, right: Any) -> None:
    """Both pickle to the same bytes, or neither does."""
    assert type(left) is type(right), f"{type(left)} is built, and CPython builds {type(right)}"
    said = []
    for value in (left, right):
        try:
            said.append(pickle.dumps(value, 5))
        except Exception as error:
            # What pickles again is theirs to say: an estimator without its parameters may not.
            said.append(type(error).__name__.encode())
    assert said[0] == said[1] or _Anew.dumps(left) == _Anew.dumps(right), "something else is built than CPython builds"


class _Anew(pickle._Pickler):
    """Writes text each time anew.

    Which of two equal names of attributes are one object hangs on what the process has built before: instances share the keys of their class.
    """

    @classmethod
    def dumps(cls, value: Any) -> bytes:
        file = io.BytesIO()
        cls(file, 5).dump(value)
        return file.getvalue()

    def memoize(self, value: Any) -> None:
        if type(value) is not str:
            super().memoize(value)


def seeds() -> Iterator[bytes]:
    for number, program in enumerate(programs.strict()):
        skipped = (b"\x80", b"\x95", b".")
        yield bytes((0, 0)) + b"".join(each for each in operations(program) if each[:1] not in skipped)
        if number % 4 == 0:
            yield bytes((1, 0)) + program
    for program in programs.hostile():
        yield bytes((1, 0)) + program
    for number in range(len(RUNS)):
        run = RUN + bytes((number,))
        yield from (bytes((0, 0)) + each for each in (b"](" + run + b"e", b"}(" + run + b"u", b"](" + run + b"NNeK\x01\x86", b"(" + run + b"t"))
        yield bytes((0, 0)) + b"\x8f(" + run + b"\x90" + b"](" + run + b"h\x01e\x86"
    # A buffer as bytes, and as the memory of an array.
    array = b"\x8c\x13numpy._core.numeric\x8c\x0b_frombuffer\x93(\x97\x8c\x05numpy\x8c\x05dtype\x93\x8c\x03<f8\x85RK\x08\x85\x8c\x01CtR"
    yield bytes((0, 1)) + b"\x97"
    yield bytes((0, 1)) + array
    yield bytes((0, 1)) + array.replace(b"\x97", b"\x97\x98")


def mutator(bytewise: Bytewise) -> Mutator:
    return by_operations(PREFIX, programs.pool(), bytewise)
