"""The legacy profile of the pickle machine: `trace_legacy` runs any program of protocols 0 to 5 on abstract values, as CPython would.

The strict profile (`machine`) knows one form of everything. A file from elsewhere may hold whatever CPython executes, so here the
reference is the C unpickler (Modules/_pickle.c of 3.11 to 3.13, called as `pickle.loads` calls it), its faults included:

- opcodes are never checked against the protocol; the last PROTO decides how names are mapped and whether dots in them are walked;
- the end of a frame is only checked to lie within the data;
- what stands below the result at STOP, open marks and bytes after STOP are nobody's business;
- a text number ends at NUL, INT is read by `strtol` (so `001` is octal), and two characters of INT that mean 0 or 1 are a boolean;
- memo entries may be overwritten, and MEMOIZE takes the *number* of entries as its index;
- an opcode that changes or completes an object does so with anything that has the methods.

What is certain to raise in CPython raises `ProgramError` here. What depends on objects that only an import would show (whether a name
is a class, whether a result has `append`) is taken to work, and is recorded as a `Deed`. So a program that CPython finishes does
exactly the deeds of its trace, or was refused; one that it does not finish did a part of them. The reverse is not promised: memory,
recursion and exported buffers also make CPython raise.

Nothing is imported or executed, nothing here recurses, and no length or memo index is believed before its bytes are there.

What the deeds may be is not known here. `LegacyTrace.restated` gives the program in strict form if it has one, for the machine and the policy
as they are; `translating` extends this machine by what old files mean, and `scanning` and `adopting` stand on that.
"""

from __future__ import annotations

import re
import struct
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, NoReturn

from .errors import LimitError, ProgramError
from .machine import (
    ABSENT,
    DEFAULT_LIMITS,
    OPCODES,
    Buffer,
    ByteArray,
    Bytes,
    Dict,
    FrozenSet,
    Global,
    Limits,
    List,
    Made,
    Set,
)

__all__ = [
    "ENCODINGS",
    "NEVER",
    "OPERATIONS",
    "Computed",
    "Copied",
    "Deed",
    "Extension",
    "LegacyTrace",
    "Machine",
    "Persistent",
    "Result",
    "View",
    "attempt",
    "trace_legacy",
]

ENCODINGS: Final = ("ASCII", "latin1", "UTF-8", "bytes")
"""How strings of Python 2 may be read. CPython takes any codec; looking one up imports modules."""

# --- values that only an import would show -----------------------------------------------------------------------
#
# `Global` and `Made` of the machine are used where they say everything: a name of two texts, and a name called or
# made with a tuple. These are the others.


class Computed:
    """A name whose module or own name is the result of something else: only running the program would tell it."""

    __slots__ = ("at", "module", "name")

    def __init__(self, module: Any, name: Any, at: int) -> None:
        self.module = module
        self.name = name
        self.at = at


class Result:
    """What REDUCE ("call"), NEWOBJ and NEWOBJ_EX ("new"), INST and OBJ ("instance") give where `Made` cannot say it.

    "instance" makes an instance without calling `__init__` if the callee is a class without `__getinitargs__` and there are no
    arguments, and calls it otherwise (`instantiate` in Modules/_pickle.c).
    """

    __slots__ = ("args", "at", "callee", "how", "kwargs")

    def __init__(self, how: str, callee: Any, args: Any, kwargs: Any, at: int) -> None:
        self.how = how
        self.callee = callee
        self.args = args
        self.kwargs = kwargs
        self.at = at


class Extension:
    """What an extension code stands for: in the process that loads it, and before any check of names."""

    __slots__ = ("at", "code")

    def __init__(self, code: int, at: int) -> None:
        self.code = code
        self.at = at


class Persistent:
    """What the loader's `persistent_load` gives for an id."""

    __slots__ = ("at", "pid")

    def __init__(self, pid: Any, at: int) -> None:
        self.pid = pid
        self.at = at


class Copied(ByteArray):
    """A bytearray whose content does not stand in the program as it is."""

    __slots__ = ("content",)

    def __init__(self, content: bytes) -> None:
        super().__init__(0, len(content))
        self.content = content


class View:
    """A read-only view of a bytearray or buffer; of any other value, that or the value itself if it is read-only."""

    __slots__ = ("at", "target")

    def __init__(self, target: Any, at: int) -> None:
        self.target = target
        self.at = at


@dataclass(frozen=True, slots=True, eq=False)
class Deed:
    """One thing that the program does to something outside itself.

    | kind       | target                  | given                                          | result                |
    |------------|-------------------------|------------------------------------------------|-----------------------|
    | name       | the pair as spelled     | whether dots in the name are walked            | Global or Computed    |
    | call       | what is called          | its arguments                                  | Made or Result        |
    | new        | the class               | its arguments                                  | Made or Result        |
    | instance   | what is called or made  | its arguments                                  | Result                |
    | build      | what gets a state       | the state                                      | -                     |
    | append     | what is appended to     | list of items: `extend` with all, or `append`  | -                     |
    | setitem    | what gets an item       | list of key and value: `__setitem__`           | -                     |
    | add        | what is added to        | list of items: `add` with each                 | -                     |
    | hash       | what is hashed          | -                                              | -                     |
    | extension  | the code                | -                                              | Extension             |
    | persistent | the id                  | -                                              | Persistent            |

    Values are what they are when the program ends: a list that was an argument may have grown since the call.
    `kwargs` is what NEWOBJ_EX adds, else `ABSENT`.
    """

    kind: str
    opcode: str
    at: int
    target: Any
    given: Any = ABSENT
    result: Any = ABSENT
    kwargs: Any = ABSENT


@dataclass(frozen=True, slots=True)
class LegacyTrace:
    """Everything that a program would do. Not a proof of anything: only `machine.trace` makes one that `policy.admit` takes.

    `restated` gives the same program in strict form, for those two; `translating` turns what old protocols say in other words into that.
    """

    data: bytes = field(repr=False)
    start: int
    end: int
    """Where the program ends: the offset behind STOP."""
    protocol: int
    """What the last PROTO says; 0 without one."""
    root: Any = field(repr=False)
    deeds: tuple[Deed, ...] = field(repr=False)
    """In the order in which CPython does them."""
    globals: tuple[Global, ...] = field(repr=False)
    """Every name of two texts, after the mapping, in the order of first use. The same name is the same object."""
    buffers_used: int
    left_over: int
    """Values below the result and open marks when the program ended."""
    beyond: tuple[int, str] | None = field(repr=False)
    rewritten: Mapping[int, tuple[Made, Sequence[Any]]] = field(repr=False)
    spent: Container[int] = field(repr=False)

    def plain(self) -> None:
        """Raise `ProgramError` if the program does what no program of the strict profile does, whatever its encoding.

        That is: anything but names of two texts called or made with tuples; BUILD otherwise than once on such an object; changing a
        value after it was handed over; dotted names that are not walked; extension codes and persistent ids. The error has the
        offset of the first of them. What passes can be said by the values of `machine` alone.
        """
        if self.beyond is not None:
            at, what = self.beyond
            raise ProgramError(f"at byte {at} of the program: {what}")

    def restated(self) -> bytes:
        """Return the program that does the same deeds in the form that the strict profile takes.

        It is for `machine.trace` and then `policy.admit`, whose rules all hold for it; and it, not `data`, is what CPython is to be
        shown, so what was judged is what is built. Calls, instances, states and changes come in the same order with the same values; a
        name is looked up when it is first needed, and keys are hashed when their container is filled. Raises `ProgramError` where
        `plain` does, and if something that the program makes or changes is not part of its result, or not in the order in which a
        pickler would write it.
        """
        self.plain()
        return _Writer(self).program()

    def names(self) -> Iterator[Deed]:
        """Yield the deeds that look up a name."""
        return (deed for deed in self.deeds if deed.kind == "name")


def trace_legacy(
    data: bytes, *, limits: Limits | None = None, start: int = 0, buffers: Iterable[Bytes] = (), encoding: str = "ASCII", fix_imports: bool = True
) -> LegacyTrace:
    """Run the program at `start` on abstract values, as CPython's C unpickler would execute it, and return everything that it would do.

    `buffers`, `encoding` (one of `ENCODINGS`) and `fix_imports` are what the loader would give to `pickle.loads`. Offsets are counted from
    the beginning of `data`. Raises `ProgramError` with the offset where CPython would raise an error, `LimitError` if the program passes a limit,
    `ValueError` for another encoding or a negative start.
    """
    if encoding not in ENCODINGS:
        raise ValueError(f"encoding is one of {', '.join(ENCODINGS)}, not {encoding!r}")
    if start < 0:
        raise ValueError(f"a program starts at an offset, not at {start}")
    return Machine(data, start, tuple(buffers), limits or DEFAULT_LIMITS, encoding, fix_imports=fix_imports).run()


def attempt(data: bytes, *, limits: Limits | None = None, start: int = 0) -> tuple[LegacyTrace, ProgramError | None]:
    """Return what a program would do, and if it does not finish, why: then the trace ends there, and its root is `ABSENT`.

    A program that breaks off has done what stands before that, which is what a scanner has to tell.
    """
    return Machine(data, start, (), limits or DEFAULT_LIMITS, "ASCII", fix_imports=True).attempt()


# --- the machine -------------------------------------------------------------------------------------------------

# As everywhere but on 32-bit systems and, for LONG_MAX, Windows.
_SSIZE_MAX: Final = (1 << 63) - 1
_LONG_MAX: Final = (1 << 63) - 1
_HIGHEST_PROTOCOL: Final = 5
_STOP: Final = next(code for code, opcode in OPCODES.items() if opcode.name == "STOP")
# As in the strict profile, what is at least this long does not count as operations.
_LARGE: Final = 65536
NEVER: Final = float("inf")

_UNKNOWN: Final = frozenset((Global, Made, Computed, Result, Extension, Persistent, Buffer))
_UNHASHABLE: Final = frozenset((List, Dict, Set, ByteArray, Copied))
_PLAIN_TARGETS: Final = frozenset((List, Dict, Set, Made))
_MACHINE_VALUES: Final = frozenset((Global, Made, List, Dict, Set, FrozenSet, ByteArray, Copied))

# strtol(3) with base 0, which skips space, then takes a sign and the longest number that the base allows.
_STRTOL: Final = re.compile(rb"[ \t\n\v\f\r]*([+-]?)(?:0[xX]([0-9a-fA-F]+)|0([0-7]*)|([1-9][0-9]*))")
# PyOS_string_to_double takes neither space nor underscores.
_DOUBLE: Final = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(rb"[+-]?(?:inf(?:inity)?|nan)", re.IGNORECASE)
# PyBytes_DecodeEscape.
_ESCAPE: Final = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{2})|(.?))", re.DOTALL)
_ESCAPED: Final = {b"\\": b"\\", b"'": b"'", b'"': b'"', b"b": b"\b", b"f": b"\f", b"t": b"\t", b"n": b"\n", b"r": b"\r", b"v": b"\v", b"a": b"\a"}


class Machine:
    """One run. `load_pop` is the opcode POP, and so on; each says which C function it follows. `translating` extends it."""

    operations: ClassVar[Mapping[int, Callable[[Any], None]]]

    def __init__(self, data: bytes, start: int, buffers: Sequence[Bytes], limits: Limits, encoding: str, *, fix_imports: bool) -> None:
        self.data = data
        self.start = start
        self.pos = start
        self.at = start
        self.buffers = buffers
        self.limits = limits
        self.encoding = encoding
        self.fix_imports = fix_imports
        self.protocol = 0
        # As in C, one stack of values and one of the heights at which marks were set; the fence is the top of those.
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.deeds: list[Deed] = []
        self.globals: dict[tuple[str, str], Global] = {}
        self.next_buffer = 0
        self.large_bytes = 0
        self.objects = 0
        self.key_nodes = 0
        # Lengths of the bytearrays that were changed, None where only running the program would tell.
        self.lengths: dict[int, int | None] = {}
        # Changeable values that the memo or DUP may give a second handle to, and how many deeds had been given something by then.
        self.stored: dict[int, tuple[Any, int]] = {}
        self.handed = 0
        self.beyond: tuple[int, str] | None = None
        # Where the unpickler in C stops, and the one in Python, which joblib uses, goes on. That is followed, and then the program is refused.
        self.parted: ProgramError | None = None
        # Where the frame ends that is open, if one is.
        self.frame_end: float = NEVER
        # Objects that stand for what the program says otherwise, each with the items that it has from the beginning.
        self.rewritten: dict[int, tuple[Made, Sequence[Any]]] = {}
        # Those of them that became part of another.
        self.spent: set[int] = set()

    def attempt(self) -> tuple[LegacyTrace, ProgramError | None]:
        """Run, and return what was done and why it broke off, if it did."""
        try:
            return self.run(), None
        except ProgramError as error:
            return self.trace(ABSENT), self.parted or error

    def run(self) -> LegacyTrace:
        end = len(self.data)
        if end - self.start > self.limits.program_bytes:
            raise LimitError(
                f"the program takes up to {end - self.start} bytes; limits allow {self.limits.program_bytes} (`program_bytes` of Limits)"
            )
        return self.trace(self.loop())

    def loop(self) -> Any:
        """Execute operations from here up to STOP, and return the result."""
        data = self.data
        end = len(data)
        most = self.limits.operation_bytes + self.start
        operations = self.operations
        while True:
            self.at = self.pos
            if self.pos >= self.frame_end:
                self.end_frame()
            if self.pos >= end:
                self.refuse("the program ends without STOP")
            code = data[self.pos]
            self.pos += 1
            if code == _STOP:
                break
            operation = operations.get(code)
            if operation is None:
                self.refuse(f"{code:#04x} is not an opcode")
            operation(self)
            if self.pos - self.large_bytes > most:
                raise LimitError(
                    f"at byte {self.at} of the program: more than {self.limits.operation_bytes} bytes are operations (`operation_bytes` of Limits)"
                )
        if self.frame_end not in (NEVER, self.pos):
            self.beyond_strict("a frame that does not end with the program")
        if self.parted is not None:
            raise self.parted
        return self.pop()

    def trace(self, root: Any) -> LegacyTrace:
        """Return what was done up to here."""
        return LegacyTrace(
            data=self.data,
            start=self.start,
            end=self.pos,
            protocol=self.protocol,
            root=root,
            deeds=tuple(self.deeds),
            globals=tuple(self.globals.values()),
            buffers_used=self.next_buffer,
            left_over=len(self.stack) + len(self.marks),
            beyond=self.beyond,
            rewritten=self.rewritten,
            spent=self.spent,
        )

    # --- what the opcodes are made of -----------------------------------------------------------------------------

    def refuse(self, what: str) -> NoReturn:
        raise ProgramError(f"at byte {self.at} of the program: {what}")

    def part(self, what: str) -> None:
        """Note down what `refuse` would tell, and go on as the unpickler in Python does."""
        try:
            self.refuse(what)
        except ProgramError as error:
            self.parted = self.parted or error

    def beyond_strict(self, what: str) -> None:
        if self.beyond is None:
            self.beyond = self.at, what

    @property
    def opcode(self) -> str:
        return OPCODES[self.data[self.at]].name

    @property
    def fence(self) -> int:
        return self.marks[-1] if self.marks else 0

    def underflow(self) -> NoReturn:
        self.refuse(f"{self.opcode} needs a value that is not there, or lies below a mark")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def push_counted(self, value: Any) -> None:
        """Push what takes more memory than its bytes in the program."""
        self.count()
        self.stack.append(value)

    def count(self, number: int = 1) -> None:
        self.objects += number
        if self.objects > self.limits.objects:
            raise LimitError(
                f"at byte {self.at} of the program: it makes more than {self.limits.objects} objects, memo entries and deeds (`objects` of Limits)"
            )

    def pop(self) -> Any:
        """Pdata_pop."""
        if len(self.stack) <= self.fence:
            self.underflow()
        return self.stack.pop()

    def top(self) -> Any:
        if len(self.stack) <= self.fence:
            self.underflow()
        return self.stack[-1]

    def marker(self) -> int:
        """`marker`: take away the topmost mark and return its height. The fence is that of the one below from now on."""
        if not self.marks:
            self.refuse(f"{self.opcode} needs a mark that is not there")
        return self.marks.pop()

    def take(self, height: int) -> list[Any]:
        """Pdata_poplist, Pdata_poptuple: take all values from a height on off the stack."""
        if height < self.fence:
            self.underflow()
        items = self.stack[height:]
        del self.stack[height:]
        return items

    def group(self) -> tuple[Any, list[Any]]:
        """Return the value below the topmost mark, which stays, and the values above it, as do_append, do_setitems and load_additems take them."""
        height = self.marker()
        if height <= self.fence:
            self.underflow()
        return self.stack[height - 1], self.take(height)

    def read(self, length: int) -> bytes:
        """_Unpickler_Read on bytes."""
        start = self.pos
        self.skip(length)
        return self.data[start : self.pos]

    def skip(self, length: int) -> None:
        if length > len(self.data) - self.pos:
            self.refuse(f"{self.opcode} says {length} bytes and only {len(self.data) - self.pos} follow")
        self.pos += length
        if length >= _LARGE:
            self.large_bytes += length

    def unsigned(self, width: int) -> int:
        """calc_binsize."""
        value = int.from_bytes(self.read(width), "little")
        if value > _SSIZE_MAX:
            self.refuse(f"{self.opcode} says {value} bytes")
        return value

    def line(self, least: int) -> bytes:
        """_Unpickler_Readline, without the newline: only that ends a line, and it must be there."""
        end = self.data.find(b"\n", self.pos)
        if end < 0:
            self.refuse(f"{self.opcode} needs a line, and none ends")
        if end - self.pos < least:
            self.refuse(f"{self.opcode} with an empty line")
        line = self.data[self.pos : end]
        self.pos = end + 1
        return line

    def number_line(self) -> bytes:
        line = self.line(1)
        if len(line) > self.limits.integer_bytes:
            raise LimitError(f"at byte {self.at} of the program: a number of {len(line)} characters (`integer_bytes` of Limits)")
        return line

    def integer(self, text: bytes, base: int) -> int:
        """PyLong_FromString, which `int` uses; its argument is a C string, so NUL ends it."""
        try:
            return int(text.partition(b"\0")[0], base)
        except ValueError:
            self.refuse(f"{self.opcode} with a line that is not an integer")

    def decode(self, raw: bytes, encoding: str, errors: str = "strict") -> str:
        try:
            return raw.decode(encoding, errors)
        except UnicodeDecodeError:
            self.refuse(f"{self.opcode} with bytes that are not {encoding}")

    def string(self, raw: bytes) -> str | bytes:
        """Return a string of Python 2."""
        return raw if self.encoding == "bytes" else self.decode(raw, self.encoding)

    def is_unknown(self, value: Any) -> bool:
        """Whether only an import or a call would tell what the value is."""
        kind = type(value)
        return kind in _UNKNOWN or (kind is View and type(value.target) is not ByteArray)

    def do(self, kind: str, target: Any, given: Any = ABSENT, result: Any = ABSENT, kwargs: Any = ABSENT) -> None:
        self.count()
        self.handed += kind not in ("name", "hash")
        self.deeds.append(Deed(kind, self.opcode, self.at, target, given, result, kwargs))

    def again(self, value: Any) -> None:
        """Note that a value stands on the stack a second time."""
        kind = type(value)
        if kind in _MACHINE_VALUES:
            value.handles += 1
        self.push(value)

    def store_first(self, value: Any) -> None:
        """Note that a changeable value may get a second handle from now on. It is kept, so no other gets its id."""
        if type(value) in _PLAIN_TARGETS and id(value) not in self.stored:
            self.count()
            self.stored[id(value)] = value, self.handed

    def changes(self, target: Any) -> None:
        """Note a change of a value that was fetched from the memo and may have been handed over since.

        What was never fetched lies on the stack where it was made and nowhere else. This is more careful than the freeze rule of the
        strict profile: it does not ask whether one of the deeds since was given this very value.
        """
        if target.handles > 1 and self.handed > self.stored[id(target)][1]:
            self.beyond_strict(f"{self.opcode} on a value that may have been handed over before")

    def hash(self, keys: Iterable[Any]) -> None:
        """Do what hashing keys does, in order. The hash of a frozenset is that of its members, which it keeps."""
        allowed = self.limits.key_nodes + len(self.data)
        work = [(key, 0) for key in keys]
        work.reverse()
        while work:
            key, depth = work.pop()
            kind = type(key)
            self.key_nodes += 1
            if kind is int:
                self.key_nodes += key.bit_length() >> 6
            elif kind is FrozenSet:
                self.key_nodes += len(key.items)
            if self.key_nodes > allowed or depth > self.limits.key_depth:
                raise LimitError(
                    f"at byte {self.at} of the program: hashing the keys of a dict or the members of a set costs too much "
                    "(`key_nodes` and `key_depth` of Limits)"
                )
            if kind is tuple:
                work.extend((part, depth + 1) for part in reversed(key))
            elif kind in _UNHASHABLE or (kind is View and not self.is_unknown(key)):
                self.refuse(f"{self.opcode} with a key or member that cannot be hashed")
            elif self.is_unknown(key):
                self.do("hash", key)

    def named(self, module: str, name: str) -> None:
        """`find_class`, without finding it: the name mapping of Python 2 belongs to it, and depends on the last PROTO."""
        if len(module) > self.limits.name_length or len(name) > self.limits.name_length:
            raise LimitError(f"at byte {self.at} of the program: a name of more than {self.limits.name_length} characters (`name_length` of Limits)")
        key = module, name
        if self.protocol < 3 and self.fix_imports:
            key = NAME_MAPPING[key] if key in NAME_MAPPING else (IMPORT_MAPPING.get(module, module), name)
        walked = self.protocol >= 4
        if "." in key[1] and not walked:
            self.beyond_strict("a name with a dot, at a protocol that does not walk it")
        found = self.globals.get(key)
        if found is None:
            found = self.globals[key] = Global(*key, self.at)
        found.handles += 1
        self.do("name", (module, name), walked, found)
        self.push(found)

    def made(self, how: str, callee: Any, args: Any, kwargs: Any = ABSENT) -> None:
        """Call or make, if that is not certain to fail, and push the result."""
        if not self.is_unknown(callee):
            self.refuse(f"{self.opcode} on a value that cannot be called")
        if type(args) is not tuple and not self.is_unknown(args):
            self.refuse(f"{self.opcode} with arguments that are no tuple")
        if kwargs is not ABSENT and type(kwargs) is not Dict and not self.is_unknown(kwargs):
            self.refuse(f"{self.opcode} with keyword arguments that are no dict")
        result: Made | Result
        keywords = None if kwargs is ABSENT else kwargs
        if how != "instance" and type(callee) is Global and type(args) is tuple and (keywords is None or type(keywords) is Dict):
            callee.called += 1
            result = Made(how, callee, args, keywords, self.at)
        else:
            self.beyond_strict(f"{self.opcode} of something else than a name with a tuple")
            result = Result(how, callee, args, kwargs, self.at)
        self.do(how, callee, args, result, kwargs)
        self.push_counted(result)

    # --- opcodes: the stream --------------------------------------------------------------------------------------

    def load_proto(self) -> None:
        """load_proto: at any place, any number of times."""
        protocol = self.read(1)[0]
        if protocol > _HIGHEST_PROTOCOL:
            self.refuse(f"PROTO {protocol} is not known")
        self.protocol = protocol

    def load_frame(self) -> None:
        """load_frame: the bytes of the frame must be there. What stands in it may end elsewhere, and be another frame."""
        length = self.unsigned(8)
        if length > len(self.data) - self.pos:
            self.part(f"FRAME says {length} bytes and only {len(self.data) - self.pos} follow")
        if self.frame_end is not NEVER:
            self.beyond_strict("a frame within a frame")
        self.frame_end = self.pos + length

    def end_frame(self) -> None:
        """A frame that ends within an operation: what stands there depends on how the program is read (attacks.md, B.1)."""
        if self.pos > self.frame_end:
            self.beyond_strict("a frame that ends within an operation")
        self.frame_end = NEVER

    def load_mark(self) -> None:
        """load_mark."""
        self.marks.append(len(self.stack))

    def load_pop(self) -> None:
        """load_pop: a mark, if one lies on top."""
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.pop()

    def load_pop_mark(self) -> None:
        """load_pop_mark."""
        self.take(self.marker())

    def load_dup(self) -> None:
        """load_dup."""
        self.store_first(self.top())
        self.again(self.top())

    # --- opcodes: the memo ----------------------------------------------------------------------------------------

    def store(self, index: int) -> None:
        """_Unpickler_MemoPut, without the table of twice the index that CPython makes."""
        if index not in self.memo:
            self.count()
        value = self.top()
        self.store_first(value)
        self.memo[index] = value

    def load_put(self) -> None:
        """load_put."""
        index = self.integer(self.number_line(), 10)
        if not 0 <= index <= _SSIZE_MAX:
            self.refuse(f"PUT with an index of {index.bit_length()} bits or a negative one")
        self.store(index)

    def load_binput(self) -> None:
        """load_binput."""
        self.store(self.unsigned(1))

    def load_long_binput(self) -> None:
        """load_long_binput."""
        self.store(self.unsigned(4))

    def load_memoize(self) -> None:
        """load_memoize: the index is the number of entries, which need not be the next one."""
        self.store(len(self.memo))

    def fetch(self, index: int) -> None:
        """_Unpickler_MemoGet."""
        if index not in self.memo:
            self.refuse(f"{self.opcode} of a memo entry that is not there")
        self.again(self.memo[index])

    def load_get(self) -> None:
        """load_get."""
        self.fetch(self.integer(self.number_line(), 10))

    def load_binget(self) -> None:
        """load_binget."""
        self.fetch(self.unsigned(1))

    def load_long_binget(self) -> None:
        """load_long_binget."""
        self.fetch(self.unsigned(4))

    # --- opcodes: constants ---------------------------------------------------------------------------------------

    def load_none(self) -> None:
        """load_none."""
        self.push(None)

    def load_newtrue(self) -> None:
        """load_bool."""
        self.push(value=True)

    def load_newfalse(self) -> None:
        """load_bool."""
        self.push(value=False)

    def load_int(self) -> None:
        """load_int: by strtol, and what that does not take whole by PyLong_FromString."""
        line = self.number_line()
        text = line.partition(b"\0")[0] + b"\n"
        found = _STRTOL.match(text)
        value = 0
        # Where there are no digits strtol says 0 and stops at once, which is at the end of a string that begins with NUL.
        whole = line[0] == 0
        if found is not None and found.end() == len(text) - 1:
            sign, hexadecimal, octal, decimal = found.groups()
            # More decimal digits than 19 do not fit, and Python may refuse to read them.
            value = int(hexadecimal, 16) if hexadecimal else int(octal or b"0", 8) if decimal is None else int(decimal[:20])
            value = -value if sign == b"-" else value
            whole = -_LONG_MAX - 1 <= value <= _LONG_MAX
        if not whole:
            self.push(self.integer(line, 0))
        else:
            self.push(bool(value) if len(line) == 2 and value in (0, 1) else value)

    def load_binint(self) -> None:
        """load_binint: signed."""
        self.push(_signed(self.read(4)))

    def load_binint1(self) -> None:
        """load_binint1."""
        self.push(self.unsigned(1))

    def load_binint2(self) -> None:
        """load_binint2."""
        self.push(self.unsigned(2))

    def load_long(self) -> None:
        """load_long: the L is optional, and any base that Python's own literals have is taken."""
        self.push(self.integer(self.number_line().removesuffix(b"L"), 0))

    def counted_long(self, length: int) -> None:
        """load_counted_long."""
        if length < 0:
            self.refuse("LONG4 with a negative length")
        if length > self.limits.integer_bytes:
            raise LimitError(f"at byte {self.at} of the program: an integer of {length} bytes (`integer_bytes` of Limits)")
        self.push(_signed(self.read(length)))

    def load_long1(self) -> None:
        """load_counted_long."""
        self.counted_long(self.unsigned(1))

    def load_long4(self) -> None:
        """load_counted_long."""
        self.counted_long(_signed(self.read(4)))

    def load_float(self) -> None:
        """load_float: what overflows is an error, `inf` itself is not."""
        line = self.number_line()
        text = line.partition(b"\0")[0]
        finite = _DOUBLE.fullmatch(text) is not None
        if finite or _NOT_FINITE.fullmatch(text) is not None:
            value = float(text)
            if finite and value in (float("inf"), float("-inf")):
                self.part("FLOAT with a number that is too large")
        else:
            try:
                value = float(line)
            except ValueError:
                self.refuse("FLOAT with a line that is not a number")
            self.part("FLOAT with a line that is not a number as C has them")
        self.push(value)

    def load_binfloat(self) -> None:
        """load_binfloat."""
        self.push(struct.unpack(">d", self.read(8))[0])

    # str, unicode and bytes of all lengths.

    def load_string(self) -> None:
        """load_string: quotes of one kind around the line, escapes as in a literal of bytes."""
        line = self.line(0)
        if len(line) < 2 or line[0] != line[-1] or line[:1] not in (b"'", b'"'):
            self.refuse("STRING without quotes")
        self.push(self.string(_ESCAPE.sub(self.unescaped, line[1:-1])))

    def unescaped(self, match: re.Match[bytes]) -> bytes:
        octal, hexadecimal, other = match.groups()
        if octal is not None:
            return bytes((int(octal, 8) & 0xFF,))
        if hexadecimal is not None:
            return bytes.fromhex(hexadecimal.decode("ascii"))
        if other in (b"", b"x"):
            self.refuse("STRING with an escape that is not complete")
        return _ESCAPED.get(other, b"\\" + other)

    def load_unicode(self) -> None:
        """load_unicode."""
        self.push(self.decode(self.line(0), "raw-unicode-escape"))

    def load_binstring(self) -> None:
        """load_counted_binstring: the length is unsigned."""
        self.push(self.string(self.read(self.unsigned(4))))

    def load_short_binstring(self) -> None:
        """load_counted_binstring."""
        self.push(self.string(self.read(self.unsigned(1))))

    def counted_unicode(self, width: int) -> None:
        """load_counted_binunicode."""
        self.push(self.decode(self.read(self.unsigned(width)), "utf-8", "surrogatepass"))

    def load_short_binunicode(self) -> None:
        """load_counted_binunicode."""
        self.counted_unicode(1)

    def load_binunicode(self) -> None:
        """load_counted_binunicode."""
        self.counted_unicode(4)

    def load_binunicode8(self) -> None:
        """load_counted_binunicode."""
        self.counted_unicode(8)

    def load_short_binbytes(self) -> None:
        """load_counted_binbytes."""
        self.push(self.read(self.unsigned(1)))

    def load_binbytes(self) -> None:
        """load_counted_binbytes."""
        self.push(self.read(self.unsigned(4)))

    def load_binbytes8(self) -> None:
        """load_counted_binbytes."""
        self.push(self.read(self.unsigned(8)))

    def load_bytearray8(self) -> None:
        """load_counted_bytearray."""
        length = self.unsigned(8)
        begin = self.pos
        self.skip(length)
        self.push_counted(ByteArray(begin, self.pos))

    # --- opcodes: buffers -----------------------------------------------------------------------------------------

    def load_next_buffer(self) -> None:
        """load_next_buffer."""
        if self.next_buffer == len(self.buffers):
            self.refuse(f"NEXT_BUFFER, and all {len(self.buffers)} buffers are used")
        buffer = Buffer(self.next_buffer, memoryview(self.buffers[self.next_buffer]).nbytes)
        self.next_buffer += 1
        self.push_counted(buffer)

    def load_readonly_buffer(self) -> None:
        """load_readonly_buffer: only the handle on top of the stack becomes read-only."""
        value = self.top()
        if type(value) is bytes or type(value) is View:
            return
        if type(value) is not ByteArray and not self.is_unknown(value):
            self.refuse("READONLY_BUFFER on a value without memory")
        self.count()
        self.beyond_strict("READONLY_BUFFER")
        self.stack[-1] = View(value, self.at)

    # --- opcodes: containers --------------------------------------------------------------------------------------

    def counted_tuple(self, length: int) -> None:
        """load_counted_tuple: may not reach below a mark."""
        if len(self.stack) < length:
            self.underflow()
        self.push_counted(tuple(self.take(len(self.stack) - length)))

    def load_empty_tuple(self) -> None:
        """load_counted_tuple."""
        self.counted_tuple(0)

    def load_tuple1(self) -> None:
        """load_counted_tuple."""
        self.counted_tuple(1)

    def load_tuple2(self) -> None:
        """load_counted_tuple."""
        self.counted_tuple(2)

    def load_tuple3(self) -> None:
        """load_counted_tuple."""
        self.counted_tuple(3)

    def load_tuple(self) -> None:
        """load_tuple."""
        self.push_counted(tuple(self.take(self.marker())))

    def load_empty_list(self) -> None:
        """load_empty_list."""
        self.push_counted(List())

    def load_list(self) -> None:
        """load_list."""
        value = List()
        value.items = self.take(self.marker())
        self.push_counted(value)

    def load_empty_dict(self) -> None:
        """load_empty_dict."""
        self.push_counted(Dict())

    def load_dict(self) -> None:
        """load_dict."""
        value = Dict()
        value.flat = self.take(self.marker())
        if len(value.flat) % 2:
            self.refuse("DICT with a key without value")
        self.hash(value.flat[::2])
        self.push_counted(value)

    def load_empty_set(self) -> None:
        """load_empty_set."""
        self.push_counted(Set())

    def load_frozenset(self) -> None:
        """load_frozenset."""
        value = FrozenSet(self.take(self.marker()))
        self.hash(value.items)
        self.push_counted(value)

    def load_append(self) -> None:
        """load_append."""
        if len(self.stack) - 1 <= self.fence:
            self.underflow()
        self.append_all(self.stack[-2], [self.stack.pop()])

    def load_appends(self) -> None:
        """load_appends."""
        self.append_all(*self.group())

    def append_all(self, target: Any, items: list[Any]) -> None:
        """do_append: nothing at all happens without items; anything but an exact list gets `extend`, or `append` if it has no `extend`."""
        if not items:
            return
        kind = type(target)
        if kind is List:
            self.changes(target)
            target.items += items
        elif kind is ByteArray:
            for item in items:
                self.check_byte(item)
            self.do("append", target, items)
            length = self.lengths.get(id(target), len(target))
            self.lengths[id(target)] = None if length is None else length + len(items)
            self.beyond_strict(f"{self.opcode} on a bytearray")
        elif self.is_unknown(target):
            self.changed("append", target, items)
            if kind is Made:
                _extend(target, "items", items)
        else:
            self.refuse(f"{self.opcode} on a value that has no `extend` or `append`")

    def changed(self, kind: str, target: Any, given: list[Any]) -> None:
        """Do a change of what only an import would show."""
        if type(target) is Made:
            self.changes(target)
        else:
            self.beyond_strict(f"{self.opcode} on something that the program did not make")
        self.do(kind, target, given)

    def check_byte(self, item: Any) -> None:
        """Refuse what a bytearray does not take as one of its bytes."""
        if not self.is_unknown(item) and not (type(item) in (int, bool) and 0 <= item <= 255):
            self.refuse(f"{self.opcode} puts what is no byte into a bytearray")

    def load_setitem(self) -> None:
        """load_setitem."""
        if len(self.stack) - 2 <= self.fence:
            self.underflow()
        value = self.stack.pop()
        self.set_all(self.stack[-2], [self.stack.pop(), value])

    def load_setitems(self) -> None:
        """load_setitems."""
        self.set_all(*self.group())

    def set_all(self, target: Any, items: list[Any]) -> None:
        """do_setitems: nothing at all happens without items; else PyObject_SetItem for each, on anything."""
        if not items:
            return
        if len(items) % 2:
            self.refuse("SETITEMS with a key without value")
        kind = type(target)
        if kind is Dict:
            self.changes(target)
            self.hash(items[::2])
            target.flat += items
        elif kind is List or kind is ByteArray:
            for index in range(0, len(items), 2):
                self.set_place(target, items[index], items[index + 1])
        elif self.is_unknown(target):
            for index in range(0, len(items), 2):
                self.changed("setitem", target, items[index : index + 2])
            if kind is Made:
                _extend(target, "pairs", items)
        else:
            self.refuse(f"{self.opcode} on a value that takes no items")

    def set_place(self, target: List | ByteArray, key: Any, value: Any) -> None:
        """Set what lies at an index. What is no integer may be one by `__index__`, or a slice, if only an import would tell."""
        self.beyond_strict(f"{self.opcode} at an index")
        length = len(target.items) if type(target) is List else self.lengths.get(id(target), len(target))  # type: ignore[arg-type]
        if type(key) in (int, bool):
            if length is not None and not -length <= key < length:
                self.refuse(f"{self.opcode} at an index that is not there")
        elif not self.is_unknown(key):
            self.refuse(f"{self.opcode} at an index that is no integer")
        if type(target) is List:
            if type(key) in (int, bool):
                target.items[key] = value
            else:
                self.do("setitem", target, [key, value])
            return
        if type(key) in (int, bool):
            self.check_byte(value)
        else:
            self.lengths[id(target)] = None
        self.do("setitem", target, [key, value])

    def load_additems(self) -> None:
        """load_additems: nothing at all happens without items; anything but a set gets `add` for each."""
        target, items = self.group()
        if not items:
            return
        if type(target) is Set:
            self.changes(target)
            self.hash(items)
            target.items += items
        elif self.is_unknown(target):
            self.beyond_strict("ADDITEMS on something else than a set")
            self.do("add", target, items)
        else:
            self.refuse("ADDITEMS on a value that has no `add`")

    # --- opcodes: names and objects -------------------------------------------------------------------------------

    def load_global(self) -> None:
        """load_global: two lines of UTF-8, whatever stands in them."""
        self.named(self.decode(self.line(1), "utf-8"), self.decode(self.line(1), "utf-8"))

    def load_stack_global(self) -> None:
        """load_stack_global: two exact texts, wherever they come from."""
        name = self.pop()
        module = self.pop()
        if type(name) is str and type(module) is str:
            self.named(module, name)
            return
        if not all(type(each) is str or self.is_unknown(each) for each in (module, name)):
            self.refuse("STACK_GLOBAL of what is no text")
        self.beyond_strict("STACK_GLOBAL of a text that is computed")
        found = Computed(module, name, self.at)
        self.do("name", (module, name), self.protocol >= 4, found)
        self.push_counted(found)

    def load_inst(self) -> None:
        """load_inst: two lines of ASCII; the name is looked up before the arguments are taken."""
        height = self.marker()
        module = self.decode(self.line(1), "ascii")
        self.named(module, self.decode(self.line(1), "ascii"))
        callee = self.stack.pop()
        self.made("instance", callee, tuple(self.take(height)))

    def load_obj(self) -> None:
        """load_obj."""
        height = self.marker()
        if len(self.stack) - height < 1:
            self.underflow()
        callee, *args = self.take(height)
        self.made("instance", callee, tuple(args))

    def load_reduce(self) -> None:
        """load_reduce: the arguments are a tuple, also of a subclass; a list will not do."""
        args = self.pop()
        self.made("call", self.pop(), args)

    def load_newobj(self) -> None:
        """load_newobj."""
        args = self.pop()
        self.made("new", self.pop(), args)

    def load_newobj_ex(self) -> None:
        """load_newobj, with keyword arguments."""
        kwargs = self.pop()
        args = self.pop()
        self.made("new", self.pop(), args, kwargs)

    def load_build(self) -> None:
        """load_build: on anything, any number of times.

        None of the types that the machine knows has `__setstate__` or a `__dict__`: those take None, or a pair of it and an empty dict.
        """
        if len(self.stack) - 2 < self.fence:
            self.underflow()
        state = self.stack.pop()
        target = self.stack[-1]
        if self.is_unknown(target):
            if type(target) is not Made or target.state is not ABSENT:
                self.beyond_strict("BUILD on something else than an object that was made and has no state")
            else:
                target.early = target.handles > 1
                if target.how == "call" and target.early:
                    self.beyond_strict("BUILD on the result of a call after it was used")
                target.state = state
                target.done = self.at
            self.do("build", target, state)
            return
        self.beyond_strict("BUILD on a value that takes no state")
        slots: Any = ABSENT
        if type(state) is tuple and len(state) == 2:
            state, slots = state
        unsure = self.is_unknown(state) or self.is_unknown(slots)
        if (state is not None and not self.is_unknown(state)) or not (
            slots is ABSENT or self.is_unknown(slots) or (type(slots) is Dict and not slots.flat)
        ):
            self.refuse("BUILD on a value that takes no state")
        if unsure:
            self.do("build", target, state if slots is ABSENT else (state, slots))

    # --- opcodes: what the process or the loader gives ------------------------------------------------------------

    def extension(self, code: int) -> None:
        """load_extension, without asking what the code stands for in this process: that is another process's business."""
        if code <= 0:
            self.refuse(f"{self.opcode} with code {code}")
        self.beyond_strict("an extension code")
        found = Extension(code, self.at)
        self.do("extension", code, result=found)
        self.push_counted(found)

    def load_ext1(self) -> None:
        """load_extension."""
        self.extension(self.unsigned(1))

    def load_ext2(self) -> None:
        """load_extension."""
        self.extension(self.unsigned(2))

    def load_ext4(self) -> None:
        """load_extension: signed."""
        self.extension(_signed(self.read(4)))

    def persistent(self, pid: Any) -> None:
        self.beyond_strict("a persistent id")
        found = Persistent(pid, self.at)
        self.do("persistent", pid, result=found)
        self.push_counted(found)

    def load_persid(self) -> None:
        """load_persid, where the loader has a `persistent_load`: a line of ASCII."""
        self.persistent(self.decode(self.line(0), "ascii"))

    def load_binpersid(self) -> None:
        """load_binpersid, where the loader has a `persistent_load`: any value."""
        self.persistent(self.pop())


# --- the same program in strict form ---------------------------------------------------------------------------------

_CODE: Final = {opcode.name: bytes((code,)) for code, opcode in OPCODES.items()}
_CONSTANTS: Final = {None: _CODE["NONE"], True: _CODE["NEWTRUE"], False: _CODE["NEWFALSE"]}
_MAKES: Final = frozenset(("call", "new"))
_CHANGES: Final = {"append": "APPENDS", "setitem": "SETITEMS", "build": "BUILD"}
_LEAST_FRAME: Final = 4


class _Writer:
    """Writes a result as CPython's pickler would at protocol 5, and sees to it that each deed is done in its turn. It keeps its own stack."""

    def __init__(self, trace: LegacyTrace) -> None:
        self.trace = trace
        self.work: list[tuple[Callable[[Any], None], Any]] = []
        self.body: list[bytes] = []
        self.written: list[bytes] = []
        self.memo: dict[int, int] = {}
        self.next_buffer = 0
        self.deeds = [deed for deed in trace.deeds if deed.kind not in ("name", "hash")]
        self.done = 0
        # What is done to an object after it was made: the deeds of one operation are one list.
        self.changes: dict[int, list[list[Deed]]] = {}
        for deed in self.deeds:
            if deed.kind not in _MAKES:
                lists = self.changes.setdefault(id(deed.target), [])
                if lists and lists[-1][0].at == deed.at:
                    lists[-1].append(deed)
                else:
                    lists.append([deed])
        self.made = {id(deed.result): deed for deed in self.deeds if deed.kind in _MAKES}
        # What the program hashes, until a container is written that does the same.
        self.hashes = {id(deed.target): deed for deed in trace.deeds if deed.kind == "hash"}

    def program(self) -> bytes:
        self.work.append((self.value, self.trace.root))
        while self.work:
            step, argument = self.work.pop()
            step(argument)
        if self.done < len(self.deeds):
            self.out_of_turn(self.deeds[self.done])
        for deed in self.hashes.values():
            raise ProgramError(f"at byte {deed.at} of the program: {deed.opcode} hashes an object for something that is no part of the result")
        for made, _ in self.trace.rewritten.values():
            if id(made) not in self.memo and id(made) not in self.trace.spent:
                raise ProgramError(f"at byte {made.at} of the program: what it makes of {made.callee} is no part of the result")
        self.body.append(_CODE["STOP"])
        self.close_frame()
        return _CODE["PROTO"] + b"\x05" + b"".join(self.written)

    def out_of_turn(self, deed: Deed) -> NoReturn:
        raise ProgramError(
            f"at byte {deed.at} of the program: {deed.opcode} is no part of the result, or not in the order in which it would be written"
        )

    def turn(self, deed: Deed) -> None:
        """Note that a deed was written; it must have been the next one."""
        if self.done == len(self.deeds) or self.deeds[self.done] is not deed:
            self.out_of_turn(deed)
        self.done += 1

    def close_frame(self) -> None:
        body = b"".join(self.body)
        self.body.clear()
        self.written += [_CODE["FRAME"], len(body).to_bytes(8, "little"), body] if len(body) >= _LEAST_FRAME else [body]

    def then(self, *steps: tuple[Callable[[Any], None], Any]) -> None:
        self.work.extend(reversed(steps))

    def op(self, name: str) -> None:
        self.body.append(_CODE[name])

    def memoize(self, value: Any) -> None:
        self.memo[id(value)] = len(self.memo)
        self.op("MEMOIZE")

    def get(self, index: int) -> None:
        self.body.append(_CODE["BINGET"] + bytes((index,)) if index < 256 else _CODE["LONG_BINGET"] + index.to_bytes(4, "little"))

    def group(self, items: Iterable[Any], name: str) -> None:
        """Write a group of values and what takes it."""
        self.op("MARK")
        self.then(*((self.value, item) for item in items), (self.op, name))

    def value(self, value: Any) -> None:
        kind = type(value)
        if value is None or kind is bool:
            self.body.append(_CONSTANTS[value])
        elif id(value) in self.memo:
            self.get(self.memo[id(value)])
        elif kind is int:
            self.integer(value)
        elif kind is float:
            self.body.append(_CODE["BINFLOAT"] + struct.pack(">d", value))
        elif kind is str:
            self.data(value.encode("utf-8", "surrogatepass"), "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
            self.memoize(value)
        elif kind is bytes:
            self.data(value, "SHORT_BINBYTES", "BINBYTES", "BINBYTES8")
            self.memoize(value)
        elif kind is ByteArray or kind is Copied:
            self.data(value.content if kind is Copied else self.trace.data[value.start : value.end], "", "", "BYTEARRAY8")
            self.memoize(value)
        elif kind is Buffer:
            if value.number != self.next_buffer:
                raise ProgramError(f"buffer {value.number} is used twice, or not in its turn")
            self.next_buffer += 1
            self.op("NEXT_BUFFER")
        elif kind is Global:
            self.value(value.module)
            self.value(value.name)
            self.op("STACK_GLOBAL")
            self.memoize(value)
        else:
            self.container(value)

    def hashed(self, keys: Iterable[Any]) -> None:
        """Note that what is written hashes these. The members of a frozenset are hashed where that is made."""
        if not self.hashes:
            return
        seen = set()
        work = [key for key in keys if type(key) is tuple or id(key) in self.hashes]
        while work:
            key = work.pop()
            if type(key) is not tuple:
                self.hashes.pop(id(key), None)
            elif id(key) not in seen:
                seen.add(id(key))
                work.extend(key)

    def container(self, value: Any) -> None:
        kind = type(value)
        if kind is tuple:
            if not value:
                self.op("EMPTY_TUPLE")
                return
            if len(value) > 3:
                self.op("MARK")
            self.then(*((self.value, item) for item in value), (self.end_tuple, value))
        elif kind is FrozenSet:
            self.hashed(value.items)
            self.op("MARK")
            self.then(*((self.value, item) for item in value.items), (self.end_frozenset, value))
        elif kind is Made:
            keywords = () if value.kwargs is None else ((self.value, value.kwargs),)
            self.then((self.value, value.callee), (self.value, value.args), *keywords, (self.end_made, value))
        else:
            name, fill = {List: ("EMPTY_LIST", "APPENDS"), Dict: ("EMPTY_DICT", "SETITEMS"), Set: ("EMPTY_SET", "ADDITEMS")}[kind]
            self.op(name)
            self.memoize(value)
            items = value.flat if kind is Dict else value.items
            if items:
                if kind is not List:
                    self.hashed(items[::2] if kind is Dict else items)
                self.group(items, fill)

    def end_tuple(self, value: tuple[Any, ...]) -> None:
        """Lib/pickle.py, save_tuple: a tuple that contains itself has been written on the way."""
        if id(value) in self.memo:
            self.body.append(_CODE["POP_MARK"] if len(value) > 3 else _CODE["POP"] * len(value))
            self.get(self.memo[id(value)])
        else:
            self.op("TUPLE" if len(value) > 3 else f"TUPLE{len(value)}")
            self.memoize(value)

    def end_frozenset(self, value: FrozenSet) -> None:
        if id(value) in self.memo:
            raise ProgramError("a frozenset contains itself through an object, which has no strict form")
        self.op("FROZENSET")
        self.memoize(value)

    def end_made(self, value: Made) -> None:
        if id(value) in self.memo:
            raise ProgramError(f"at byte {value.at} of the program: the arguments of {value.callee} hold its own result")
        items: Sequence[Any] = ()
        if id(value) in self.trace.rewritten:
            items = self.trace.rewritten[id(value)][1]
        elif id(value) in self.made:
            self.turn(self.made[id(value)])
        else:
            raise ProgramError(f"at byte {value.at} of the program: an object stands for something else here, and is used as what it was")
        self.op("REDUCE" if value.how == "call" else "NEWOBJ" if value.kwargs is None else "NEWOBJ_EX")
        self.memoize(value)
        changes = ((self.change, deeds) for deeds in self.changes.get(id(value), ()))
        if items:
            self.op("MARK")
            fill = "SETITEMS" if value.pairs else "APPENDS"
            if value.pairs:
                self.hashed(items[::2])
            self.then(*((self.value, item) for item in items), (self.op, fill), *changes)
        else:
            self.then(*changes)

    def change(self, deeds: list[Deed]) -> None:
        kind = deeds[0].kind
        if kind == "build":
            self.then((self.value, deeds[0].given), (self.end_change, deeds))
        else:
            self.op("MARK")
            self.then(*((self.value, item) for deed in deeds for item in deed.given), (self.end_change, deeds))

    def end_change(self, deeds: list[Deed]) -> None:
        for deed in deeds:
            self.turn(deed)
        self.op(_CHANGES[deeds[0].kind])

    def integer(self, value: int) -> None:
        if 0 <= value < 1 << 16:
            name, width = ("BININT1", 1) if value < 256 else ("BININT2", 2)
            self.body.append(_CODE[name] + value.to_bytes(width, "little"))
        elif -(1 << 31) <= value < 1 << 31:
            self.body.append(_CODE["BININT"] + value.to_bytes(4, "little", signed=True))
        else:
            raw = value.to_bytes((value if value >= 0 else ~value).bit_length() // 8 + 1, "little", signed=True)
            self.body.append(_CODE["LONG1"] + bytes((len(raw),)) + raw if len(raw) < 256 else _CODE["LONG4"] + len(raw).to_bytes(4, "little") + raw)
            self.memoize(value)

    def data(self, raw: bytes, short: str, name: str, huge: str) -> None:
        """Write text or bytes in the shortest form; what is large stands outside the frames."""
        if short and len(raw) < 256:
            head = _CODE[short] + len(raw).to_bytes(1, "little")
        elif name and len(raw) < 1 << 32:
            head = _CODE[name] + len(raw).to_bytes(4, "little")
        else:
            head = _CODE[huge] + len(raw).to_bytes(8, "little")
        if len(raw) >= _LARGE:
            self.close_frame()
            self.written += [head, raw]
        else:
            self.body += [head, raw]


def _extend(made: Made, where: str, items: list[Any]) -> None:
    """Add to the items or pairs of an object. It gets lists of its own, since those of the deeds stay as they were."""
    if getattr(made, where):
        getattr(made, where).extend(items)
    else:
        setattr(made, where, list(items))


def _signed(raw: bytes) -> int:
    return int.from_bytes(raw, "little", signed=True)


OPERATIONS: Final[dict[int, Callable[[Machine], None]]] = {
    code: getattr(Machine, f"load_{opcode.name.lower()}") for code, opcode in OPCODES.items() if opcode.name != "STOP"
}
"""Every opcode but STOP, by its byte. The prose for each is that of `machine.OPCODES`."""
Machine.operations = OPERATIONS
