"""The pickle machine: `trace` runs a whole program on abstract values before any of it is executed.

Pickle has no jumps, so this is exact: for every REDUCE the trace knows which name is called with which arguments,
for every NEWOBJ which class, for every BUILD what receives which state, and which names are merely referred to.
Nothing is imported and no object of the program is made.

What is accepted here is the strict profile: exactly what CPython's picklers write at protocol 5 (Lib/pickle.py,
Modules/_pickle.c), each value in the one form that they would write. `OPCODES` is the whole machine with its
reasons; beyond the table, these rules hold:

- PROTO 5 first, STOP last, frames that tile the program, a stack that is empty but for the result.
- What is called or made is a name, directly; the one exception is `getattr(name, "text")`, taken as a dotted name.
- BUILD goes to the result of REDUCE or NEWOBJ, once; to the result of REDUCE only before anything else uses it.
- What was handed over as an argument or a state is never changed afterwards (the freeze rule).
- Hashing a key or set member cannot recurse deep or explode.
- Every out-of-band buffer is used exactly once, in order.
- No length is believed before that many bytes are there, and nothing in this module recurses.

What the names are, and what may be done with them, is not known here: see `policy`.
"""

from __future__ import annotations

import re
import struct
from collections import deque
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import InitVar, dataclass, field, fields
from heapq import heappop, heappush
from itertools import chain
from operator import attrgetter
from typing import Any, Final, NamedTuple, NoReturn

from .atoms import LEAST_BYTES, MOST_BYTES, swallow
from .circles import count_met
from .errors import LimitError, ProgramError

__all__ = [
    "ABSENT",
    "OPCODES",
    "Buffer",
    "ByteArray",
    "Dict",
    "FrozenSet",
    "Global",
    "Limits",
    "List",
    "Made",
    "Opcode",
    "Set",
    "Trace",
    "inside",
    "paths",
    "trace",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a file may cost. The defaults let every honest model pass; the cost of a program is linear in its size."""

    body_bytes: int = 1 << 40
    """Program and buffers together, in bytes."""
    expansion: int = 200
    """How many times as many bytes, beyond 64 MiB, the body may take as it does in a compressed file; and what a scan takes out of archives."""
    program_bytes: int = 1 << 32
    """The pickle program, in bytes, large strings and byte strings included."""
    operation_bytes: int = 1 << 29
    """The program without its byte strings of 64 KiB and more: a bound on the number of operations."""
    objects: int = 20_000_000
    """Lists, dicts, sets, byte arrays and objects made by a call or a class."""
    nesting: int = 5_000
    """Containers within containers. CPython's own pickler gives up at 4,999."""
    tuple_nodes: int = 10_000_000
    """Values in one tuple, those of tuples within it included, each as often as it is met."""
    shared_parts: int = 10_000_000
    """Containers and objects that fetches from the memo, and parts of circles, stand for, with those within them, each as often as it is met."""
    key_nodes: int = 1_000_000
    """Values hashed as dict keys and set members, parts of tuples included, beyond one for each byte of the program."""
    key_depth: int = 32
    """Tuples within tuples in one key."""
    colliding_keys: int = 10_000_000
    """Comparisons that dict keys and set members with equal hashes may cost."""
    name_length: int = 256
    """Characters of a module or qualified name."""
    integer_bytes: int = 65_536
    """Bytes of one integer."""
    members: int = 10_000
    """Members of archives, those of archives within them included, in one file that is scanned."""
    archive_depth: int = 8
    """Archives and compressions within one another in a file that is scanned."""
    rehearsal_seconds: int = 120
    """How long building the object in a child process may take, where that is asked for, the start of Python included."""
    rehearsal_bytes: int = 1 << 32
    """Address space of that process, beyond four times the size of the file."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if type(value) is not int or value < 1:
                raise ValueError(f"limit {each.name} is a positive integer, not {value!r}")


DEFAULT_LIMITS: Final = Limits()
Bytes = bytes | bytearray | memoryview

# --- abstract values -------------------------------------------------------------------------------------------
#
# None, bool, int, float, str, bytes and tuple stand for themselves. `handles` counts how often a value was put on
# the stack: 1 is the value where it was made, more means that the memo was asked for it. `slot` is where on the stack
# it was made, and `gone` whether something took it from there before the memo was asked for it again.


class Global:
    """A name that the program pushes: `module:name`. The same name is the same object within a trace."""

    __slots__ = ("at", "called", "derived", "handles", "module", "name")

    def __init__(self, module: str, name: str, at: int, *, derived: bool = False) -> None:
        self.module = module
        self.name = name
        self.at = at
        self.handles = 0
        self.called = 0
        self.derived = derived

    @property
    def key(self) -> tuple[str, str]:
        return self.module, self.name

    def __str__(self) -> str:
        return f"{self.module}:{self.name}"


class Made:
    """The result of REDUCE (`how` "call"), NEWOBJ ("new") or NEWOBJ_EX ("new"), with the state that BUILD gave it."""

    __slots__ = ("args", "at", "callee", "done", "early", "frozen", "gone", "handles", "how", "items", "kwargs", "pairs", "slot", "state")

    def __init__(self, how: str, callee: Global, args: tuple[Any, ...], kwargs: Dict | None, at: int) -> None:
        self.how = how
        self.callee = callee
        self.args = args
        self.kwargs = kwargs
        self.state: Any = ABSENT
        # Few have any, and those get a list of their own.
        self.items: list[Any] | tuple[()] = ()
        self.pairs: list[Any] | tuple[()] = ()
        self.at = at
        # Where it was complete: at its BUILD if it has one.
        self.done = at
        # Whether the memo was asked for it before BUILD, so that it may have been used without its state.
        self.early = False
        self.handles = 1
        self.frozen = False
        self.slot = -1
        self.gone = False


class List:
    """An exact list."""

    __slots__ = ("frozen", "gone", "handles", "items", "slot")

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.handles = 1
        self.frozen = False
        self.slot = -1
        self.gone = False


class Dict:
    """An exact dict: `flat` alternates keys and values in the order in which they were set."""

    __slots__ = ("flat", "frozen", "gone", "handles", "slot")

    def __init__(self) -> None:
        self.flat: list[Any] = []
        self.handles = 1
        self.frozen = False
        self.slot = -1
        self.gone = False

    def entries(self) -> Iterator[tuple[Any, Any]]:
        """Yield key and value of each item."""
        return zip(self.flat[::2], self.flat[1::2], strict=True)


class Set:
    """An exact set."""

    __slots__ = ("frozen", "gone", "handles", "items", "slot")

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.handles = 1
        self.frozen = False
        self.slot = -1
        self.gone = False


class FrozenSet:
    """An exact frozenset."""

    __slots__ = ("handles", "items")

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.handles = 1


class ByteArray:
    """An exact bytearray, as the range of the program that it is copied from."""

    __slots__ = ("end", "handles", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end
        self.handles = 1

    def __len__(self) -> int:
        return self.end - self.start


class Buffer:
    """An out-of-band buffer: its number, its length in bytes, and whether the program asks for a read-only view."""

    __slots__ = ("length", "number", "readonly")

    def __init__(self, number: int, length: int) -> None:
        self.number = number
        self.length = length
        self.readonly = False

    def __len__(self) -> int:
        return self.length


class _Absent:
    def __repr__(self) -> str:
        return "<absent>"


ABSENT: Final = _Absent()

_PROOF: Final = object()


@dataclass(frozen=True, slots=True)
class Trace:
    """Proof that a program is well-formed, with everything it would do. Only `trace` can make one."""

    program: bytes = field(repr=False)
    buffers: tuple[Bytes, ...] = field(repr=False)
    root: Any = field(repr=False)
    made: tuple[Made, ...] = field(repr=False)
    """Every object made by a call or a class, in the order in which they were complete, state included."""
    globals: tuple[Global, ...] = field(repr=False)
    """Every name, in the order of first use."""
    keyed: tuple[Made, ...] = field(repr=False)
    """Made objects that get hashed, as a key or a set member or within one."""
    hashed: tuple[tuple[Any, list[Any]], ...] = field(repr=False)
    """Containers with keys or members other than text, and these keys."""
    shared: frozenset[int] = field(repr=False)
    """Ids of the tuples that the memo was asked for, which so stand in more than one place."""
    limits: Limits = field(repr=False)
    proof: InitVar[object] = None

    def __post_init__(self, proof: object) -> None:
        if proof is not _PROOF:
            raise TypeError("only machine.trace() makes a Trace")


def children(value: Any, known: Container[int] = ()) -> Iterator[tuple[str, Any]]:
    """Yield the step and the value of everything directly inside an abstract value. Steps read as in `$.steps[1]`.

    Arguments and states whose ids are known are left out.
    """
    kind = type(value)
    if kind is tuple or kind is List:
        for index, item in enumerate(value if kind is tuple else value.items):
            yield f"[{index}]", item
    elif kind is Dict:
        yield from _pairs(value.flat, "[{}]", quoted=True)
    elif kind is Set or kind is FrozenSet:
        for item in value.items:
            yield "{}", item
    elif kind is Made:
        for index, item in enumerate(value.args if id(value.args) not in known else ()):
            yield f"({index})", item
        if value.kwargs is not None and id(value.kwargs) not in known:
            yield from _pairs(value.kwargs.flat, "({})")
        if type(value.state) is Dict:
            yield from _pairs(value.state.flat if id(value.state) not in known else [], ".{}")
        elif type(value.state) is tuple and len(value.state) == 2 and type(value.state[1]) is Dict:
            for part in value.state:
                if type(part) is Dict and id(part) not in known:
                    yield from _pairs(part.flat, ".{}")
        elif value.state is not ABSENT:
            yield "<state>", value.state
        for index, item in enumerate(value.items):
            yield f"[{index}]", item
        yield from _pairs(value.pairs, "[{}]", quoted=True)


def _pairs(flat: list[Any], form: str, *, quoted: bool = False) -> Iterator[tuple[str, Any]]:
    for index in range(0, len(flat), 2):
        key = flat[index]
        plain = type(key) is str and not quoted and key.isascii() and key.isprintable()
        yield form.format(key[:80] if plain else brief(key)) if type(key) in _ATOMS else form.format("…"), flat[index + 1]
        if type(key) in _COMPOUND:
            yield f"<key {index // 2}>", key


_COMPOUND: Final = frozenset((tuple, List, Dict, Set, FrozenSet, Made, Global))


def paths(trace: Trace, targets: Sequence[Any]) -> dict[int, str]:
    """Return where in the result each target is first met, breadth first, as in `$.steps[1][1].func`."""
    wanted = {id(target) for target in targets}
    found: dict[int, str] = {}
    seen = set()
    queue = deque([("$", trace.root)])
    while queue and wanted:
        path, value = queue.popleft()
        if id(value) in wanted:
            wanted.discard(id(value))
            found[id(value)] = path
        if type(value) in (tuple, List, Dict, Set, FrozenSet, Made):
            if id(value) in seen:
                continue
            seen.add(id(value))
            # What is made by a refused callee sits where its result would.
            queue.extend((path + step if len(path) < 400 else path, item) for step, item in children(value, seen))
            if type(value) is Made:
                # Thousands of objects may share one large tuple of arguments, or one state.
                parts = value.state if type(value.state) is tuple and len(value.state) == 2 and type(value.state[1]) is Dict else (value.state,)
                seen |= {id(value.args), *(id(part) for part in (value.kwargs, *parts) if type(part) is Dict)}
    return found


# --- the table -------------------------------------------------------------------------------------------------


class Opcode(NamedTuple):
    """One opcode: its byte, the name that `pickletools` gives it, whether the strict profile has it, and why or how."""

    code: int
    name: str
    strict: bool
    prose: str


_TABLE: Final = (
    # What CPython writes at protocol 5.
    (0x80, "PROTO", True, "The protocol. Once, first, and 5."),
    (0x95, "FRAME", True, "The length of the operations that follow. Frames tile the program; large byte strings stand between them."),
    (0x2E, "STOP", True, "The end: one value on the stack, no open mark, no byte after it."),
    (0x94, "MEMOIZE", True, "Store the top of the stack in the memo under the next number. The memo is dense, and written once."),
    (0x68, "BINGET", True, "Push memo entry 0 to 255."),
    (0x6A, "LONG_BINGET", True, "Push memo entry 256 or more."),
    (0x4E, "NONE", True, "Push None."),
    (0x88, "NEWTRUE", True, "Push True."),
    (0x89, "NEWFALSE", True, "Push False."),
    (0x4B, "BININT1", True, "Push an integer from 0 to 255."),
    (0x4D, "BININT2", True, "Push an integer from 256 to 65,535."),
    (0x4A, "BININT", True, "Push an integer of 32 bits that the shorter forms cannot hold."),
    (0x8A, "LONG1", True, "Push an integer of up to 255 bytes that 32 bits cannot hold, in its shortest form."),
    (0x8B, "LONG4", True, "Push an integer of 256 bytes and more."),
    (0x47, "BINFLOAT", True, "Push a float, eight bytes, big-endian."),
    (0x8C, "SHORT_BINUNICODE", True, "Push text of up to 255 bytes of UTF-8."),
    (0x58, "BINUNICODE", True, "Push text of 256 bytes and more."),
    (0x8D, "BINUNICODE8", True, "Push text of 4 GiB and more."),
    (0x43, "SHORT_BINBYTES", True, "Push up to 255 bytes."),
    (0x42, "BINBYTES", True, "Push 256 bytes and more."),
    (0x8E, "BINBYTES8", True, "Push 4 GiB of bytes and more."),
    (0x96, "BYTEARRAY8", True, "Push a bytearray."),
    (0x97, "NEXT_BUFFER", True, "Push the next out-of-band buffer. It is never stored in the memo, so it is used once."),
    (0x98, "READONLY_BUFFER", True, "Make the buffer just pushed read-only."),
    (0x28, "MARK", True, "Open a group of values."),
    (0x29, "EMPTY_TUPLE", True, "Push ()."),
    (0x85, "TUPLE1", True, "Replace one value by the tuple of it."),
    (0x86, "TUPLE2", True, "Replace two values by the tuple of them."),
    (0x87, "TUPLE3", True, "Replace three values by the tuple of them."),
    (0x74, "TUPLE", True, "Replace the group, of four and more, by the tuple of it."),
    (0x5D, "EMPTY_LIST", True, "Push []."),
    (0x61, "APPEND", True, "Append one value to the list below it."),
    (0x65, "APPENDS", True, "Append the group to the list below it."),
    (0x7D, "EMPTY_DICT", True, "Push {}."),
    (0x73, "SETITEM", True, "Set one item of the dict below it."),
    (0x75, "SETITEMS", True, "Set the items of the group in the dict below it."),
    (0x8F, "EMPTY_SET", True, "Push set()."),
    (0x90, "ADDITEMS", True, "Add the group to the set below it."),
    (0x91, "FROZENSET", True, "Replace the group by the frozenset of it."),
    (0x30, "POP", True, "Only as the pickler ends a tuple that contains itself: drop its items, then fetch it from the memo."),
    (0x31, "POP_MARK", True, "The same for a tuple of four and more."),
    (0x93, "STACK_GLOBAL", True, "Replace two texts, module and qualified name, by what they name."),
    (0x52, "REDUCE", True, "Call the name below with the tuple above."),
    (0x81, "NEWOBJ", True, "Make an instance of the class below with the tuple above."),
    (0x92, "NEWOBJ_EX", True, "The same with keyword arguments."),
    (0x62, "BUILD", True, "Give the object below the state above."),
    # What it does not write at protocol 5.
    (0x63, "GLOBAL", False, "names from text lines belong to protocols below 4"),
    (0x69, "INST", False, "it belongs to protocol 0, and calls or makes without saying which"),
    (0x6F, "OBJ", False, "it belongs to protocol 1, and calls or makes without saying which"),
    (0x82, "EXT1", False, "extension codes reach objects through a process-wide cache, past every check of names"),
    (0x83, "EXT2", False, "extension codes reach objects through a process-wide cache, past every check of names"),
    (0x84, "EXT4", False, "extension codes reach objects through a process-wide cache, past every check of names"),
    (0x50, "PERSID", False, "there are no persistent ids in a container"),
    (0x51, "BINPERSID", False, "there are no persistent ids in a container"),
    (0x70, "PUT", False, "memo numbers chosen by the program allow overwriting and huge tables"),
    (0x71, "BINPUT", False, "memo numbers chosen by the program allow overwriting and huge tables"),
    (0x72, "LONG_BINPUT", False, "memo numbers chosen by the program allow overwriting and huge tables"),
    (0x67, "GET", False, "text operands have many spellings"),
    (0x32, "DUP", False, "no pickler writes it; it makes exponential structures out of few bytes"),
    (0x49, "INT", False, "text operands have many spellings"),
    (0x4C, "LONG", False, "text operands have many spellings"),
    (0x46, "FLOAT", False, "text operands have many spellings"),
    (0x53, "STRING", False, "strings of Python 2 do not occur at protocol 5"),
    (0x54, "BINSTRING", False, "strings of Python 2 do not occur at protocol 5"),
    (0x55, "SHORT_BINSTRING", False, "strings of Python 2 do not occur at protocol 5"),
    (0x56, "UNICODE", False, "text operands have many spellings"),
    (0x6C, "LIST", False, "it belongs to protocol 0"),
    (0x64, "DICT", False, "it belongs to protocol 0"),
)
OPCODES: Final = {row[0]: Opcode(*row) for row in _TABLE}

# The loop compares with these names; they are the table's own, so they cannot say something else.
_CODE: Final = {opcode.name: opcode.code for opcode in OPCODES.values()}
PROTO, FRAME, STOP = _CODE["PROTO"], _CODE["FRAME"], _CODE["STOP"]
MEMOIZE, BINGET, LONG_BINGET = _CODE["MEMOIZE"], _CODE["BINGET"], _CODE["LONG_BINGET"]
NONE, NEWTRUE, NEWFALSE = _CODE["NONE"], _CODE["NEWTRUE"], _CODE["NEWFALSE"]
BININT1, BININT2, BININT, LONG1, LONG4 = _CODE["BININT1"], _CODE["BININT2"], _CODE["BININT"], _CODE["LONG1"], _CODE["LONG4"]
BINFLOAT = _CODE["BINFLOAT"]
SHORT_BINUNICODE, BINUNICODE, BINUNICODE8 = _CODE["SHORT_BINUNICODE"], _CODE["BINUNICODE"], _CODE["BINUNICODE8"]
SHORT_BINBYTES, BINBYTES, BINBYTES8, BYTEARRAY8 = _CODE["SHORT_BINBYTES"], _CODE["BINBYTES"], _CODE["BINBYTES8"], _CODE["BYTEARRAY8"]
NEXT_BUFFER, READONLY_BUFFER = _CODE["NEXT_BUFFER"], _CODE["READONLY_BUFFER"]
MARK, EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3, TUPLE = (_CODE[name] for name in ("MARK", "EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "TUPLE"))
EMPTY_LIST, APPEND, APPENDS = _CODE["EMPTY_LIST"], _CODE["APPEND"], _CODE["APPENDS"]
EMPTY_DICT, SETITEM, SETITEMS = _CODE["EMPTY_DICT"], _CODE["SETITEM"], _CODE["SETITEMS"]
EMPTY_SET, ADDITEMS, FROZENSET = _CODE["EMPTY_SET"], _CODE["ADDITEMS"], _CODE["FROZENSET"]
POP, POP_MARK = _CODE["POP"], _CODE["POP_MARK"]
STACK_GLOBAL, REDUCE, NEWOBJ, NEWOBJ_EX, BUILD = (_CODE[name] for name in ("STACK_GLOBAL", "REDUCE", "NEWOBJ", "NEWOBJ_EX", "BUILD"))

# Operands of variable length: the width of the length field, and the lengths that no shorter form could hold.
_DATA: Final = {
    BINUNICODE: (4, 256),
    BINUNICODE8: (8, 1 << 32),
    BINBYTES: (4, 256),
    BINBYTES8: (8, 1 << 32),
    BYTEARRAY8: (8, 0),
}
_BYTES: Final = frozenset((BINBYTES, BINBYTES8))
# Half of the codes, and those of protocol 0 and 1 the other half: the loop compares a code with few others.
_SINCE_PROTOCOL_2: Final = PROTO
# Lib/pickle.py, class _Framer: what is at least this long stands outside the frames, what would make a frame
# shorter than FRAME_SIZE_MIN is not framed.
_FRAME_SIZE_TARGET: Final = 65536
_FRAME_SIZE_MIN: Final = 4

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*", re.ASCII)
_ATOMS: Final = frozenset((str, int, float, bool, bytes, type(None)))
_TEXT_ONLY: Final = frozenset((str,))
_GETATTR: Final = ("builtins", "getattr")

_unpack_double = struct.Struct(">d").unpack_from
_unpack_int = struct.Struct("<i").unpack_from
_unpack_index = struct.Struct("<I").unpack_from
_unpack_length = struct.Struct("<Q").unpack_from


def trace(program: bytes, *, buffers: Iterable[Bytes] = (), limits: Limits | None = None) -> Trace:
    """Run `program` on abstract values and return everything that it would do. Nothing is imported or executed.

    `buffers` are the out-of-band buffers, whose content no rule of the machine looks at. Raises `ProgramError` with the offset if the
    program is not one that CPython's picklers write at protocol 5, `LimitError` if it passes a limit.
    """
    return _Machine(program, tuple(buffers), limits or DEFAULT_LIMITS).run()


class _Machine:
    def __init__(self, program: bytes, buffers: tuple[Bytes, ...], limits: Limits) -> None:
        self.program = program
        self.buffers = buffers
        self.limits = limits
        self.globals: dict[tuple[str, str], Global] = {}
        self.made: list[Made] = []
        self.keyed: list[Made] = []
        self.hashed: list[tuple[Any, list[Any]]] = []
        self.key_nodes = 0
        # Arguments and states that `_check_not_frozen` has not walked yet, and the tuples and frozensets that it has.
        self.handed: list[Any] = []
        self.walked: dict[int, tuple[Any, ...] | FrozenSet] = {}
        self.shared: dict[int, tuple[Any, ...]] = {}
        # How many parts each fetched value stands for; of those in which something may still grow, until it does.
        self.parts: dict[int, int] = {}
        self.growing: dict[int, int] = {}
        # Of each of those the highest slot of anything within that may grow, and a heap of them all, the highest first: what lies lower
        # on the stack holds nothing that lies higher, so it need not be counted again whenever that grows.
        self.height: dict[int, int] = {}
        self.highest: list[tuple[int, list[int]]] = []
        self.looked = 0
        self.may_look = 64 * len(program) + (1 << 20)

    def run(self) -> Trace:
        if len(self.program) > self.limits.program_bytes:
            raise LimitError(f"the program takes {len(self.program)} bytes; limits allow {self.limits.program_bytes} (`program_bytes` of Limits)")
        if self.program[:2] != b"\x80\x05":
            _refuse(0, "the program does not begin with PROTO 5")
        return Trace(
            program=self.program,
            buffers=self.buffers,
            root=self._loop(),
            made=tuple(sorted(self.made, key=attrgetter("done"))),
            globals=tuple(self.globals.values()),
            keyed=tuple(self.keyed),
            hashed=tuple(self.hashed),
            shared=frozenset(self.shared),
            limits=self.limits,
            proof=_PROOF,
        )

    def _explain(self, pos: int) -> NoReturn:
        if pos >= len(self.program):
            _refuse(pos, "the program ends without STOP")
        opcode = OPCODES[self.program[pos]]
        _refuse(pos, f"{opcode.name} needs an operand, stack value, mark or memo entry that is not there")

    def _loop(self) -> Any:
        program = self.program
        end = len(program)
        stack: list[Any] = []
        marks: list[list[Any]] = []
        memo: list[Any] = []
        next_buffer = 0
        objects = 0
        nests = 0
        shared_tuples = 0
        large_bytes = 0
        max_objects = self.limits.objects
        nodes = _NODES
        changeable = _CHANGEABLE
        parts = self.parts
        growing = self.growing
        containers = _CONTAINERS
        max_shared = self.limits.shared_parts
        expanded = 0
        circular = False
        pos = at = 2
        unframed = 0
        stopped = False

        try:
            while not stopped:
                at = pos
                code = program[pos]
                large = False
                if code == FRAME:
                    if unframed:
                        _refuse(pos, "operations stand before this frame that belong into a frame")
                    length = int.from_bytes(program[pos + 1 : pos + 9], "little")
                    limit = pos + 9 + length
                    if limit > end or pos + 9 > end:
                        _refuse(pos, f"FRAME says {length} bytes and only {max(end - pos - 9, 0)} follow")
                    if length < _FRAME_SIZE_MIN:
                        _refuse(pos, f"a FRAME of {length} bytes is never written")
                    pos += 9
                elif code in _DATA and self._operand(pos)[1] >= _FRAME_SIZE_TARGET:
                    start, length = self._operand(pos)
                    large_bytes += length
                    limit = start + length
                    unframed = 0
                    large = True
                else:
                    # A single operation outside the frames: see _FRAME_SIZE_MIN.
                    limit = pos + 1
                if limit - large_bytes > self.limits.operation_bytes:
                    raise LimitError(f"the program has more than {self.limits.operation_bytes} bytes of operations (`operation_bytes` of Limits)")
                begin = pos
                framed = code == FRAME
                if marks and limit - pos >= LEAST_BYTES:
                    # A group goes on in the next frame.
                    pos = self._swallow(pos, limit, stack, memo)

                while pos < limit:
                    code = program[pos]
                    at = pos
                    if code == MEMOIZE:
                        if type(stack[-1]) is Buffer:
                            _refuse(pos, "a buffer in the memo could be used twice")
                        memo.append(stack[-1])
                        pos += 1
                    elif code == BINGET or code == LONG_BINGET:
                        if code == BINGET:
                            index = program[pos + 1]
                            pos += 2
                        else:
                            if pos + 5 > end:
                                _short(pos, 4)
                            index = _unpack_index(program, pos + 1)[0]
                            pos += 5
                            if index < 256:
                                _refuse(at, f"LONG_BINGET of memo entry {index} has a shorter form")
                        value = memo[index]
                        kind = type(value)
                        if kind in containers and value != ():
                            # Each fetch can double what walking the result costs.
                            expanded += parts.get(id(value)) or growing.get(id(value)) or self._expanded(value, stack, marks)
                            if expanded > max_shared:
                                self._too_many_shared()
                        if kind in nodes:
                            value.handles += 1
                            if kind in changeable and not value.gone:
                                value.gone = not _lies_there(value, stack, marks)
                        elif kind is tuple:
                            self.shared[id(value)] = value
                            shared_tuples += 1
                        stack.append(value)
                    elif code == BININT1:
                        stack.append(program[pos + 1])
                        pos += 2
                    elif code == REDUCE or code == NEWOBJ:
                        args = stack.pop()
                        callee = stack.pop()
                        if type(args) is not tuple:
                            _refuse(pos, f"{OPCODES[code].name} takes a tuple of arguments, not {_describe(args)}")
                        if type(callee) is not Global:
                            callee = self._derived(callee, code, pos)
                        callee.called += 1
                        made = Made("call" if code == REDUCE else "new", callee, args, None, pos)
                        objects += 1
                        nests += 1
                        if objects > max_objects:
                            self._too_many_objects()
                        self.made.append(made)
                        if args:
                            self.handed.append(args)
                        made.slot = len(marks) * _LEVEL + len(stack)
                        stack.append(made)
                        pos += 1
                    elif code >= _SINCE_PROTOCOL_2:
                        if code == SHORT_BINUNICODE:
                            length = program[pos + 1]
                            pos += 2 + length
                            if pos > end:
                                _short(at, length)
                            stack.append(_decode(program[pos - length : pos], at))
                        elif code == TUPLE2:
                            second = stack.pop()
                            stack[-1] = (stack[-1], second)
                            nests += 1
                            pos += 1
                        elif code == TUPLE1:
                            stack[-1] = (stack[-1],)
                            nests += 1
                            pos += 1
                        elif code == TUPLE3:
                            third = stack.pop()
                            second = stack.pop()
                            stack[-1] = (stack[-1], second, third)
                            nests += 1
                            pos += 1
                        elif code == BYTEARRAY8:
                            if pos + 9 > end:
                                _short(pos, 8)
                            start = pos + 9
                            pos = start + _unpack_length(program, pos + 1)[0]
                            if pos > end:
                                _short(at, pos - start)
                            if pos - start >= _FRAME_SIZE_TARGET and not large:
                                _refuse(at, f"{pos - start} bytes within a frame: byte strings of 64 KiB and more stand outside the frames")
                            objects += 1
                            if objects > max_objects:
                                self._too_many_objects()
                            stack.append(ByteArray(start, pos))
                        elif code == NEXT_BUFFER:
                            if next_buffer == len(self.buffers):
                                _refuse(pos, f"NEXT_BUFFER, and all {next_buffer} buffers are used")
                            buffer = Buffer(next_buffer, memoryview(self.buffers[next_buffer]).nbytes)
                            next_buffer += 1
                            if program[pos + 1] == READONLY_BUFFER:
                                buffer.readonly = True
                                pos += 1
                            stack.append(buffer)
                            pos += 1
                        elif code == NEWTRUE or code == NEWFALSE:
                            stack.append(code == NEWTRUE)
                            pos += 1
                        elif code == STACK_GLOBAL:
                            name = stack.pop()
                            module = stack.pop()
                            stack.append(self._global(module, name, pos))
                            pos += 1
                        elif code == LONG1 or code == LONG4:
                            stack.append(self._integer(pos))
                            length = program[pos + 1] if code == LONG1 else int.from_bytes(program[pos + 1 : pos + 5], "little")
                            pos += (2 if code == LONG1 else 5) + length
                        elif code == ADDITEMS:
                            items = stack
                            stack = marks.pop()
                            target = stack[-1]
                            if type(target) is not Set:
                                _refuse(pos, f"ADDITEMS on {_describe(target)}")
                            if target.handles > 1:
                                self._check_changeable(target, len(marks) * _LEVEL + len(stack) - 1, pos)
                                circular = True
                                self._forget(target.slot)
                            if not _TEXT_ONLY.issuperset(map(type, items)):
                                self._check_keys(target, items, pos)
                            target.items.extend(items)
                            nests += 1
                            pos += 1
                        elif code == FROZENSET:
                            frozen = FrozenSet(stack)
                            stack = marks.pop()
                            if not _TEXT_ONLY.issuperset(map(type, frozen.items)):
                                self._check_keys(frozen, frozen.items, pos)
                            stack.append(frozen)
                            nests += 1
                            pos += 1
                        elif code == NEWOBJ_EX:
                            kwargs = stack.pop()
                            args = stack.pop()
                            callee = stack.pop()
                            if type(callee) is not Global or type(args) is not tuple or type(kwargs) is not Dict:
                                _refuse(pos, "NEWOBJ_EX takes a name, a tuple and a dict")
                            if any(type(key) is not str for key in kwargs.flat[::2]):
                                _refuse(pos, "keyword arguments are named by text")
                            callee.called += 1
                            made = Made("new", callee, args, kwargs, pos)
                            objects += 1
                            if objects > max_objects:
                                self._too_many_objects()
                            self.made.append(made)
                            self.handed.append((args, kwargs))
                            made.slot = len(marks) * _LEVEL + len(stack)
                            stack.append(made)
                            nests += 1
                            pos += 1
                        elif code == EMPTY_SET:
                            value = Set()
                            value.slot = len(marks) * _LEVEL + len(stack)
                            stack.append(value)
                            objects += 1
                            if objects > max_objects:
                                self._too_many_objects()
                            pos += 1
                        elif code in _DATA:
                            value, pos = self._data(pos, large)
                            stack.append(value)
                        else:
                            self._not_in_profile(code, pos)
                    else:  # noqa: PLR5501 - two halves, so that few codes are compared
                        if code == MARK:
                            marks.append(stack)
                            stack = []
                            pos += 1
                            if limit - pos >= LEAST_BYTES and marks[-1] and type(marks[-1][-1]) in changeable:
                                pos = self._swallow(pos, limit, stack, memo)
                        elif code == NONE:
                            stack.append(None)
                            pos += 1
                        elif code == TUPLE:
                            items = stack
                            stack = marks.pop()
                            if len(items) < 4:
                                _refuse(pos, f"TUPLE of {len(items)} values has a shorter form")
                            stack.append(tuple(items))
                            nests += 1
                            pos += 1
                        elif code == SETITEMS or code == SETITEM:
                            if code == SETITEM:
                                value = stack.pop()
                                items = [stack.pop(), value]
                            else:
                                items = stack
                                stack = marks.pop()
                            # CPython's C pickler ends a dict or set of a multiple of 1,000 items with an empty group.
                            if len(items) % 2:
                                _refuse(pos, "SETITEMS takes pairs of key and value")
                            target = stack[-1]
                            if type(target) is Dict:
                                flat: list[Any] | tuple[()] = target.flat
                            elif type(target) is Made:
                                flat = target.pairs
                            else:
                                _refuse(pos, f"{OPCODES[code].name} on {_describe(target)}")
                            if target.handles > 1:
                                self._check_changeable(target, len(marks) * _LEVEL + len(stack) - 1, pos)
                                circular = True
                                self._forget(target.slot)
                            keys = items[::2]
                            if not _TEXT_ONLY.issuperset(map(type, keys)):
                                self._check_keys(target, keys, pos)
                            if flat:
                                flat += items
                            elif type(target) is Dict:
                                target.flat = items
                            else:
                                target.pairs = items
                            nests += 1
                            pos += 1
                        elif code == EMPTY_DICT or code == EMPTY_LIST:
                            value = Dict() if code == EMPTY_DICT else List()
                            value.slot = len(marks) * _LEVEL + len(stack)
                            stack.append(value)
                            objects += 1
                            if objects > max_objects:
                                self._too_many_objects()
                            pos += 1
                        elif code == BUILD:
                            state = stack.pop()
                            target = stack[-1]
                            if type(target) is not Made:
                                _refuse(pos, f"BUILD on {_describe(target)}: only what REDUCE or NEWOBJ has just made takes a state")
                            if target.state is not ABSENT:
                                _refuse(pos, f"a second BUILD on the object made by {target.callee} at byte {target.at}")
                            if target.how == "call" and target.handles > 1:
                                _refuse(pos, f"BUILD on the result of {target.callee} (byte {target.at}) after it was used")
                            if target.handles > 1:
                                self._check_in_place(target, len(marks) * _LEVEL + len(stack) - 1, pos)
                                circular = True
                                self._forget(target.slot)
                            target.state = state
                            target.done = pos
                            target.early = target.handles > 1
                            self.handed.append(state)
                            nests += 1
                            pos += 1
                        elif code == EMPTY_TUPLE:
                            stack.append(())
                            pos += 1
                        elif code == APPENDS or code == APPEND:
                            if code == APPEND:
                                items = [stack.pop()]
                            else:
                                items = stack
                                stack = marks.pop()
                            target = stack[-1]
                            if type(target) is not List and type(target) is not Made:
                                _refuse(pos, f"{OPCODES[code].name} on {_describe(target)}")
                            if target.handles > 1:
                                self._check_changeable(target, len(marks) * _LEVEL + len(stack) - 1, pos)
                                circular = True
                                self._forget(target.slot)
                            if target.items:
                                target.items += items
                            else:
                                target.items = items
                            nests += 1
                            pos += 1
                        elif code == BINFLOAT:
                            if pos + 9 > end:
                                _short(pos, 8)
                            stack.append(_unpack_double(program, pos + 1)[0])
                            pos += 9
                        elif code == BININT or code == BININT2:
                            if code == BININT:
                                if pos + 5 > end:
                                    _short(pos, 4)
                                value = _unpack_int(program, pos + 1)[0]
                                shorter = 0 <= value <= 0xFFFF
                                pos += 5
                            else:
                                value = program[pos + 1] | program[pos + 2] << 8
                                shorter = value <= 0xFF
                                pos += 3
                            if shorter:
                                _refuse(at, f"the integer {value} has a shorter form")
                            stack.append(value)
                        elif code == SHORT_BINBYTES:
                            length = program[pos + 1]
                            pos += 2 + length
                            if pos > end:
                                _short(at, length)
                            stack.append(program[pos - length : pos])
                        elif code == STOP:
                            if marks or len(stack) != 1:
                                _refuse(pos, "STOP with an open mark, or with other than one value on the stack")
                            pos += 1
                            stopped = True
                            break
                        elif code == POP or code == POP_MARK:
                            if code == POP_MARK:
                                items = stack
                                stack = marks.pop()
                                pos += 1
                            else:
                                items = []
                                while program[pos] == POP and len(items) < 3:
                                    items.insert(0, stack.pop())
                                    pos += 1
                            self._check_recursive_tuple(items, memo, pos, least=4 if code == POP_MARK else 1)
                        elif code in _DATA:
                            value, pos = self._data(pos, large)
                            stack.append(value)
                        else:
                            self._not_in_profile(code, pos)

                if stopped and (pos != end or (framed and limit != end)):
                    _refuse(pos, f"{end - pos} bytes follow STOP, or a frame goes on after it")
                if pos != limit and (framed or large):
                    _refuse(begin, "an operation does not end where its frame ends")
                if framed or large:
                    unframed = 0
                else:
                    unframed += pos - begin
                    if unframed >= _FRAME_SIZE_MIN:
                        _refuse(begin, "operations outside a frame")

        except IndexError:
            # Every index in the loop is into the program, the stack or the memo.
            self._explain(at)

        if next_buffer != len(self.buffers):
            _refuse(end, f"{len(self.buffers) - next_buffer} of {len(self.buffers)} buffers are not used")
        if circular:
            self._expanded(stack[0], stack, marks)
        # The innermost container is made without being counted. Each fetch of a tuple can double what hashing it costs: a few are harmless.
        if nests >= self.limits.nesting or shared_tuples > 3:
            self._check_nesting(stack[0])
        return stack[0]

    def _swallow(self, pos: int, limit: int, stack: list[Any], memo: list[Any]) -> int:
        """Push the long run of constants that begins here, if one does, as far as it lies within the frame, and return where it ends."""
        while limit - pos >= LEAST_BYTES:
            found = swallow(self.program, pos, min(limit, pos + MOST_BYTES))
            if found is None:
                break
            values, memoized, pos = found
            stack += values
            memo += memoized
        return pos

    def _operand(self, pos: int) -> tuple[int, int]:
        """Return where the operand of a data opcode begins, and its length. It lies within the program."""
        width, least = _DATA[self.program[pos]]
        start = pos + 1 + width
        length = int.from_bytes(self.program[pos + 1 : start], "little")
        if start + length > len(self.program):
            _short(pos, length)
        if length < least:
            _refuse(pos, f"{OPCODES[self.program[pos]].name} of {length} bytes has a shorter form")
        return start, length

    def _data(self, pos: int, large: bool) -> tuple[str | bytes, int]:
        """Return the text or bytes that a data opcode pushes, and where it ends."""
        start, length = self._operand(pos)
        end = start + length
        if length >= _FRAME_SIZE_TARGET and not large:
            _refuse(pos, f"{length} bytes within a frame: byte strings of 64 KiB and more stand outside the frames")
        raw = self.program[start:end]
        return (raw if self.program[pos] in _BYTES else _decode(raw, pos)), end

    def _integer(self, pos: int) -> int:
        code = self.program[pos]
        start = pos + (2 if code == LONG1 else 5)
        length = int.from_bytes(self.program[pos + 1 : start], "little")
        if start + length > len(self.program):
            _short(pos, length)
        if length > self.limits.integer_bytes:
            raise LimitError(
                f"at byte {pos} of the program: an integer of {length} bytes; limits allow {self.limits.integer_bytes} (`integer_bytes` of Limits)"
            )
        value = int.from_bytes(self.program[start : start + length], "little", signed=True)
        shortest = (value if value >= 0 else ~value).bit_length() // 8 + 1
        if -(1 << 31) <= value < 1 << 31 or length != shortest or (code == LONG4 and length < 256):
            _refuse(pos, "an integer that is not in its shortest form")
        return value

    def _global(self, module: Any, name: Any, pos: int) -> Global:
        if type(module) is not str or type(name) is not str:
            _refuse(pos, f"a name is two texts, not {_describe(module)} and {_describe(name)}")
        found = self.globals.get((module, name))
        if found is None:
            self._check_name_length(max(len(module), len(name)), pos)
            if not _NAME.fullmatch(module) or not _NAME.fullmatch(name):
                _refuse(pos, f"{ascii(module)[:80]}:{ascii(name)[:80]} is not the name of anything in a module")
            found = self.globals[module, name] = Global(module, name, pos)
        found.handles += 1
        return found

    def _check_name_length(self, length: int, pos: int) -> None:
        if length > self.limits.name_length:
            raise LimitError(
                f"at byte {pos} of the program: a name of {length} characters; limits allow {self.limits.name_length} (`name_length` of Limits)"
            )

    def _derived(self, callee: Any, code: int, pos: int) -> Global:
        """Return the name that `getattr(name, "text")` stands for, or refuse the callee."""
        is_attribute = (
            code == REDUCE
            and type(callee) is Made
            and callee.how == "call"
            and callee.callee.key == _GETATTR
            and callee.state is ABSENT
            and len(callee.args) == 2
            and type(callee.args[0]) is Global
            and type(callee.args[1]) is str
        )
        if is_attribute:
            # The same may be called as often as a fetch takes two bytes.
            self._check_name_length(len(callee.args[1]), pos)
        if not is_attribute or not _NAME.fullmatch(callee.args[1]):
            _refuse(pos, f"{OPCODES[code].name} on {_describe(callee)}: only a name can be called, directly")
        owner, attribute = callee.args
        key = (owner.module, f"{owner.name}.{attribute}")
        found = self.globals.get(key)
        if found is None:
            found = self.globals[key] = Global(*key, pos, derived=True)
        found.handles += 1
        return found

    def _check_keys(self, container: Any, keys: list[Any], pos: int) -> None:
        """Refuse keys whose hashing could run code that no rule has seen, recurse deep or explode."""
        self.hashed.append((container, keys))
        limits = self.limits
        allowed = limits.key_nodes + len(self.program)
        work = [(key, 0) for key in keys]
        while work:
            key, depth = work.pop()
            self.key_nodes += 1
            if self.key_nodes > allowed or depth > limits.key_depth:
                raise LimitError(
                    f"at byte {pos} of the program: hashing the keys of a dict or the members of a set costs too much "
                    "(`key_nodes` and `key_depth` of Limits)"
                )
            kind = type(key)
            if kind is int:
                # The hash of an integer is not cached, and takes its length.
                self.key_nodes += key.bit_length() >> 6
                continue
            if kind in _ATOMS or kind is Global:
                continue
            if kind is tuple:
                work.extend((part, depth + 1) for part in key)
            elif kind is FrozenSet:
                work.extend((part, depth + 1) for part in key.items)
            elif kind is Made:
                self.keyed.append(key)
            else:
                _refuse(pos, f"{_describe(key)} as a key of a dict or member of a set cannot be hashed")

    def _check_in_place(self, target: Any, slot: int, pos: int) -> None:
        """Refuse to change or complete anything but the value that still lies where it was made: the pickler fetches copies only to refer to them."""
        if target.gone or target.slot != slot:
            _refuse(pos, f"{_describe(target)} is changed through the memo, away from where it was made")

    def _check_changeable(self, target: Any, slot: int, pos: int) -> None:
        """Refuse to change a value that was fetched from the memo, unless it was never handed over and lies where it was made."""
        self._check_not_frozen(target, pos)
        self._check_in_place(target, slot, pos)

    def _check_not_frozen(self, target: Any, pos: int) -> None:
        """Refuse to change what was handed over as an argument or a state (the freeze rule).

        A value that was never fetched from the memo lies on the stack where it was made and nowhere else, so only
        fetched ones come here. The walk marks each value once, however often this is called.
        """
        work = self.handed
        while work:
            value = work.pop()
            kind = type(value)
            if kind is tuple or kind is FrozenSet:
                if id(value) not in self.walked:
                    # Kept, so that nothing else gets the same id.
                    self.walked[id(value)] = value
                    work.extend(value if kind is tuple else value.items)
            elif kind is List or kind is Set:
                if not value.frozen:
                    value.frozen = True
                    work.extend(value.items)
            elif kind is Dict:
                if not value.frozen:
                    value.frozen = True
                    work.extend(value.flat)
            elif kind is Made and not value.frozen:
                value.frozen = True
                # Its arguments and state were handed over themselves.
                work.extend(value.items)
                work.extend(value.pairs)
        if target.frozen:
            _refuse(
                pos,
                f"{_describe(target)} is changed after it was handed over as an argument or a state; "
                "a list or dict that contains an object which refers back to it cannot be stored",
            )

    def _check_recursive_tuple(self, items: list[Any], memo: list[Any], pos: int, *, least: int) -> None:
        """POP and POP_MARK occur only where the pickler has found that a tuple contains itself (Lib/pickle.py, save_tuple)."""
        program = self.program
        if program[pos] == BINGET:
            found = memo[program[pos + 1]]
        elif program[pos] == LONG_BINGET:
            found = memo[int.from_bytes(program[pos + 1 : pos + 5], "little")]
        else:
            found = None
        if (
            type(found) is not tuple
            or not least <= len(items) == len(found)
            or not all(left is right or _is_same_atom(left, right) for left, right in zip(found, items, strict=True))
        ):
            _refuse(pos, "POP drops values other than the items of a tuple that contains itself")

    def _check_nesting(self, root: Any) -> None:
        """Refuse containers nested deeper than the limit, and tuples that share parts until they explode.

        A library may hash or print a tuple at any time. Back references count as no further level.
        """
        depths: dict[int, int] = {}
        sizes: dict[int, int] = {}
        work: list[tuple[Any, bool]] = [(root, False)]
        while work:
            value, done = work.pop()
            if not done and id(value) in depths:
                continue
            inner = inside(value)
            if done:
                depth = 1 + max((depths.get(id(item), 0) for item in inner), default=0)
                depths[id(value)] = depth
                if type(value) is tuple:
                    size = len(value) + sum(sizes.get(id(item), 1) for item in inner)
                    sizes[id(value)] = size
                    if size > self.limits.tuple_nodes:
                        raise LimitError(
                            f"a tuple holds more than {self.limits.tuple_nodes} values, shared ones counted each time (`tuple_nodes` of Limits)"
                        )
                if depth > self.limits.nesting:
                    raise LimitError(f"values are nested more than {self.limits.nesting} deep (`nesting` of Limits)")
            else:
                depths[id(value)] = 0
                work.append((value, True))
                work.extend((item, False) for item in inner if id(item) not in depths)

    def _expanded(self, value: Any, stack: list[Any], marks: list[list[Any]]) -> int:
        """Return how many containers and objects a value stands for, shared ones counted each time.

        What refers to each other in a circle stands for all of the circle and all that is referred to from it, as often as printing meets it.
        The circles are found as by Tarjan: a value that reaches none entered before it ends one.
        """
        known, growing = self.parts, self.growing
        entered: dict[int, int] = {}
        reached: dict[int, int] = {}
        path: list[tuple[Any, list[Any]]] = []
        work = [(value, False)]
        while work:
            part, done = work.pop()
            if not done and (id(part) in entered or id(part) in known or id(part) in growing):
                continue
            inner = inside(part)
            # What grows and is fetched over and over is looked at anew each time. What is no container takes less time.
            self._look(len(inner) + 1 + len(_held(part)) // 16)
            if not done:
                entered[id(part)] = reached[id(part)] = len(entered)
                path.append((part, inner))
                work.append((part, True))
                work.extend((each, False) for each in inner)
                continue
            reached[id(part)] = min(
                reached[id(part)], *(reached[id(each)] for each in inner if id(each) not in known and id(each) not in growing), len(entered)
            )
            if reached[id(part)] == entered[id(part)]:
                first = next(place for place in range(len(path) - 1, -1, -1) if path[place][0] is part)
                circle = path[first:]
                del path[first:]
                # Only what still lies where it was made can grow, and only what was fetched from there is within anything.
                slots = [
                    each.slot
                    for each, _ in circle
                    if type(each) in _CHANGEABLE and (each.handles > 1 or each is value) and not each.gone and _lies_there(each, stack, marks)
                ]
                height = max(chain(slots, (self.height[id(inner)] for _, held in circle for inner in held if id(inner) in growing)), default=-1)
                # All of these lie in the memo or within what does, so no other value gets the same id.
                sizes = self._sizes(circle)
                if height < 0:
                    known.update(sizes)
                else:
                    growing.update(sizes)
                    self.height.update(dict.fromkeys(sizes, height))
                    heappush(self.highest, (-height, list(sizes)))
        return self._stands_for(value)

    def _sizes(self, circle: list[tuple[Any, list[Any]]]) -> dict[int, int]:
        """Return what each part of a circle stands for: no fewer parts than there are, nor than printing meets from it."""
        most = self.limits.shared_parts
        if len(circle) == 1:
            [(part, held)] = circle
            return {id(part): min(1 + sum(self._stands_for(each) for each in held if each is not part), most + 1)}
        # Objects without items are printed without what they hold, and each thing that they hold by itself.
        printed = {id(part): place for place, part in enumerate(part for part, _ in circle if type(part) is not Made or part.items or part.pairs)}
        others = {id(part) for part, _ in circle if id(part) not in printed}
        edges: list[list[int]] = []
        weights: list[int] = []
        size = 0
        for part, held in circle:
            weight = 1 + sum(1 if id(each) in others else self._stands_for(each) for each in held if id(each) not in printed)
            size += weight
            if id(part) in printed:
                edges.append([printed[id(each)] for each in held if id(each) in printed and each is not part])
                weights.append(weight)
        met = count_met(edges, weights, most, self._look)
        if max(met, default=0) > most:
            self._too_many_shared()
        if others:
            met = [max([size, *met])] * len(circle)
        return {id(part): min(count, most + 1) for (part, _), count in zip(circle, met, strict=True)}

    def _forget(self, slot: int) -> None:
        """Forget what those values stand for that may hold what lies at `slot` on the stack, where something grows, or above it."""
        while self.highest and -self.highest[0][0] >= slot:
            for each in heappop(self.highest)[1]:
                del self.growing[each], self.height[each]

    def _stands_for(self, value: Any) -> int:
        """Return how many parts a value stands for that was looked at before."""
        return self.parts.get(id(value)) or self.growing[id(value)]

    def _look(self, count: int) -> None:
        self.looked += count
        if self.looked > self.may_look:
            self._too_many_shared()

    def _too_many_shared(self) -> NoReturn:
        raise LimitError(
            "the program refers to the same values so often that the result holds more than "
            f"{self.limits.shared_parts} parts (`shared_parts` of Limits)"
        )

    def _too_many_objects(self) -> NoReturn:
        raise LimitError(f"the program makes more than {self.limits.objects} objects (`objects` of Limits)")

    def _not_in_profile(self, code: int, pos: int) -> NoReturn:
        opcode = OPCODES.get(code)
        if opcode is None:
            _refuse(pos, f"{code:#04x} is not an opcode")
        if code == FRAME:
            _refuse(pos, "a FRAME within a frame")
        if code == PROTO:
            _refuse(pos, "a second PROTO")
        if code == READONLY_BUFFER:
            _refuse(pos, "READONLY_BUFFER does not follow NEXT_BUFFER")
        _refuse(pos, f"{opcode.name} is not written at protocol 5: {opcode.prose}")


_NODES: Final = frozenset((Global, Made, List, Dict, Set, FrozenSet, ByteArray))
_CHANGEABLE: Final = frozenset((Made, List, Dict, Set))
_LEVEL: Final = 1 << 40
_CONTAINERS: Final = frozenset((tuple, List, Dict, Set, FrozenSet, Made))


def inside(value: Any) -> list[Any]:
    """Return the containers directly inside an abstract value."""
    return [part for part in _held(value) if type(part) in _CONTAINERS]


def _held(value: Any) -> Sequence[Any]:
    """Return everything directly inside an abstract value."""
    kind = type(value)
    if kind is tuple:
        parts: Sequence[Any] = value
    elif kind is Dict:
        parts = value.flat
    elif kind is Made:
        parts = [value.args, value.kwargs, value.state, *value.items, *value.pairs]
    elif kind in _CONTAINERS:
        parts = value.items
    else:
        parts = ()
    return parts


def _lies_there(value: Any, stack: list[Any], marks: list[list[Any]]) -> bool:
    """Say whether a value lies on the stack where it was made."""
    level, place = divmod(value.slot, _LEVEL)
    row = stack if level == len(marks) else marks[level] if level < len(marks) else ()
    return place < len(row) and row[place] is value


def _is_same_atom(left: Any, right: Any) -> bool:
    # A pickler fetches texts and bytes the second time. Comparing long ones could take as long, as often as a fetch takes two bytes.
    kind = type(left)
    same = kind is type(right) and kind in _ATOMS and kind is not str and kind is not bytes
    return same and (left == right or (left != left and right != right))  # noqa: PLR0124 - not a number


def _decode(raw: bytes, pos: int) -> str:
    try:
        # CPython's pickler writes lone surrogates this way, and its unpickler reads them.
        return raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        _refuse(pos, "text that is not UTF-8")


def _describe(value: Any) -> str:
    """Say what an abstract value is, without its content."""
    kind = type(value)
    if kind is Global:
        return f"the name {value}"
    if kind is Made:
        return f"an object made by {value.callee}"
    names = {type(None): "None", List: "a list", Dict: "a dict", Set: "a set", FrozenSet: "a frozenset", ByteArray: "a bytearray", Buffer: "a buffer"}
    return names.get(kind, f"a value of type {kind.__name__}")


def brief(value: Any) -> str:
    """Return a short text of an atom. Python refuses to print integers of over 4,300 digits, and nobody reads them."""
    if type(value) is int and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    return ascii(value if type(value) is not str else value[:40])[:60]


def _short(pos: int, length: int) -> NoReturn:
    _refuse(pos, f"the operand says {length} bytes and the program ends before them")


def _refuse(pos: int, what: str) -> NoReturn:
    raise ProgramError(f"at byte {pos} of the program: {what}")
