"""The legacy machine beside CPython's unpicklers: what both make of one program, and programs to show them.

    python differential.py        a child that reads programs from its input and writes one verdict a line

CPython gets an inert `find_class`: what it hands out records what is done to it and is nothing else. Both sides are rendered as one text of all
deeds and the result, with what is shared as shared. A verdict is `same`, `refused` (by both), `stricter` (refused by the machine alone),
`failed` (by CPython alone: on what the stand-ins do not have, or in the middle), or `differs:` with the first difference.
"""

from __future__ import annotations

import contextlib
import copyreg
import io
import os
import pickle
import pickletools
import resource
import select
import signal
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safepickle import ProgramError
from safepickle.legacy import Computed, Extension, LegacyTrace, Persistent, Result, View, trace_legacy
from safepickle.machine import ABSENT, Buffer, ByteArray, Dict, FrozenSet, Global, List, Made, Set

BUFFERS = (b"first buffer", b"2nd")
# With LONG_BINPUT CPython makes a table of twice the index: these programs are for it, not for the machine.
MEMORY, SECONDS = 1 << 30, 20

# --- CPython -----------------------------------------------------------------------------------------------------


class Log:
    """What an unpickler did to the things that it was given."""

    def __init__(self) -> None:
        self.deeds: list[tuple[Any, ...]] = []
        self.classes: dict[tuple[str, ...], type] = {}

    def note(self, *deed: Any) -> None:
        self.deeds.append(deed)

    def found(self, *key: str) -> type:
        if key not in self.classes:
            self.classes[key] = Kind("Found", (Thing,), {"log": self, "key": key})
        return self.classes[key]

    def thing(self, *deed: Any) -> Any:
        thing = object.__new__(self.found())
        thing.serial = len(self.deeds)
        self.note(*deed)
        return thing


def served(target: Any, name: str, log: Log) -> Any:
    """The methods that an unpickler asks for, where nothing has them: an attribute of a class would be found unbound."""
    if name == "__setstate__":
        return lambda state: log.note("build", target, state)
    if name == "extend":
        return lambda items: log.note("append", target, list(items)) if items else None
    if name == "append":
        return lambda item: log.note("append", target, [item])
    if name == "add":
        return lambda item: log.note("add", target, item)
    raise AttributeError(name)


class Kind(type):
    log: Log
    key: tuple[str, ...]

    def __call__(cls, *args: Any) -> Any:
        return cls.log.thing("call", cls, list(args))

    def __getattr__(cls, name: str) -> Any:
        return served(cls, name, cls.log)

    def __setitem__(cls, key: Any, value: Any) -> None:
        cls.log.note("setitem", cls, [key, value])


class Thing:
    log: Log
    serial: int

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls.log.thing("new", cls, list(args), kwargs)

    def __call__(self, *args: Any) -> Any:
        return self.log.thing("call", self, list(args))

    def __getattr__(self, name: str) -> Any:
        return served(self, name, self.log)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.log.note("setitem", self, [key, value])

    def __hash__(self) -> int:
        self.log.note("hash", self)
        return id(self) >> 4

    def __eq__(self, other: object) -> bool:
        return self is other


class Memory(bytearray):
    """A buffer that the loader gives, which may be anything."""

    def __init__(self, data: bytes, number: int, log: Log) -> None:
        super().__init__(data)
        self.number = number
        self.log = log

    __call__ = Thing.__call__
    __setitem__ = Thing.__setitem__  # type: ignore[assignment]
    __hash__ = Thing.__hash__  # type: ignore[assignment]
    __eq__ = Thing.__eq__

    def __setstate__(self, state: Any) -> None:
        self.log.note("build", self, state)

    def extend(self, items: Any) -> None:
        # The unpickler in Python also extends by nothing.
        if items:
            self.log.note("append", self, list(items))

    def append(self, item: Any) -> None:
        self.log.note("append", self, [item])

    def add(self, item: Any) -> None:
        self.log.note("add", self, item)


class Prefetched(io.BytesIO):
    """A file that the C unpickler reads like bytes: with one look ahead that shows everything. `pickle.loads` itself takes no subclass."""

    def peek(self, size: int) -> bytes:
        return self.getvalue()[self.tell() :]


def unpickler(base: type) -> type:
    class Inert(base):  # type: ignore[misc]
        log: Log

        def find_class(self, module: str, name: str) -> Any:
            if module == "extension":
                return self.log.thing("extension", int(name))
            self.log.note("name", (module, name))
            return self.log.found(module, name)

        def persistent_load(self, pid: Any) -> Any:
            return self.log.thing("persistent", pid)

    return Inert


UNPICKLERS = {"C": unpickler(pickle.Unpickler), "Python": unpickler(pickle._Unpickler)}


def cpython(program: bytes, which: str, encoding: str) -> str | None:
    """Return what CPython makes of a program, or None if it raises."""
    log = Log()
    copyreg._extension_cache.clear()  # type: ignore[attr-defined]
    buffers = [Memory(data, number, log) for number, data in enumerate(BUFFERS)]
    # The names that CPython hands to `find_class` are those before the mapping, which belongs to the method replaced here.
    loader = UNPICKLERS[which](Prefetched(program), buffers=buffers, encoding=encoding, fix_imports=False)
    loader.log = log
    try:
        root = loader.load()
    except Exception:
        return None
    deeds, log.deeds = log.deeds, []
    return Real().all(deeds, root, which)


# --- both as text ------------------------------------------------------------------------------------------------


class Rendering:
    """Values as text. Containers get a number when first met, so that what is shared shows; objects are the deed that made them."""

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}
        self.loose = False
        # Within a set, whose order is nobody's: nothing is numbered, and what can be hashed does not contain itself.
        self.unordered = 0

    def text(self, value: Any) -> str:
        kind = type(value)
        if kind is float:
            return f"float {struct.pack('>d', value).hex()}"
        if kind is bool and self.loose:
            return f"int {hex(value)!r}"
        if kind in (str, int, bool, bytes, type(None)):
            return f"{kind.__name__} {value if kind is not int else hex(value)!r}"
        special = self.special(value)
        if special is not None:
            return special
        members = self.members(value)
        if members is not None:
            self.unordered += 1
            texts = sorted(map(self.text, members[1]))
            self.unordered -= 1
            return f"{members[0]} <{', '.join(texts)}>"
        if value == ():
            return "()"
        if not self.unordered:
            if id(value) in self.seen:
                return f"again {self.seen[id(value)]}"
            self.seen[id(value)] = len(self.seen)
        if kind is tuple:
            return f"({', '.join(map(self.text, value))})"
        return self.container(value)

    def all(self, deeds: Sequence[tuple[Any, ...]], root: Any, which: str) -> str:
        self.loose = which == "Python"
        lines = []
        for kind, *parts in deeds:
            lines.append(f"{kind}: {'; '.join(map(self.text, parts))}")
        return "\n".join([*lines, f"result: {self.text(root)}"])

    def special(self, value: Any) -> str | None:
        raise NotImplementedError

    def members(self, value: Any) -> tuple[str, list[Any]] | None:
        raise NotImplementedError

    def container(self, value: Any) -> str:
        raise NotImplementedError


class Real(Rendering):
    def special(self, value: Any) -> str | None:
        if isinstance(value, Kind):
            return f"name {value.key}"
        if isinstance(value, Thing):
            return f"object {value.serial}"
        if isinstance(value, Memory):
            return f"buffer {value.number}"
        return None

    def members(self, value: Any) -> tuple[str, list[Any]] | None:
        return (type(value).__name__, list(value)) if isinstance(value, (set, frozenset)) else None

    def container(self, value: Any) -> str:
        if type(value) is list:
            return f"[{', '.join(map(self.text, value))}]"
        if type(value) is dict:
            return f"{{{', '.join(f'{self.text(key)}: {self.text(item)}' for key, item in value.items())}}}"
        if type(value) is bytearray:
            return f"bytearray {bytes(value)!r}"
        assert type(value) is memoryview, type(value)
        assert value.readonly
        return f"view of {self.text(value.obj)}"


class Abstract(Rendering):
    """The same of the values of a trace. Keys that are equal are one key, as in CPython; an object is equal to itself."""

    def __init__(self, trace: LegacyTrace) -> None:
        super().__init__()
        self.trace = trace
        self.serials: dict[int, int] = {}
        self.changed: dict[int, list[Any]] = {}

    def special(self, value: Any) -> str | None:
        kind = type(value)
        if kind is Global:
            return f"name {self.spelled[id(value)]}"
        if kind in (Made, Result, Extension, Persistent, Computed):
            return f"object {self.serials[id(value)]}"
        if kind is Buffer:
            return f"buffer {value.number}"
        return None

    def members(self, value: Any) -> tuple[str, list[Any]] | None:
        kinds = {Set: "set", FrozenSet: "frozenset"}
        if type(value) not in kinds:
            return None
        first: dict[Any, Any] = {}
        for item in value.items:
            first.setdefault(self.key(item), item)
        return kinds[type(value)], list(first.values())

    def key(self, value: Any) -> Any:
        """What is equal to another such thing if CPython's are equal."""
        if type(value) is tuple:
            return tuple(map(self.key, value))
        if type(value) is FrozenSet:
            return frozenset(map(self.key, value.items))
        if type(value) is View:
            return View, value.target
        if type(value) is Extension:
            return Extension, value.code
        return value

    def container(self, value: Any) -> str:
        if type(value) is List:
            return f"[{', '.join(map(self.text, value.items))}]"
        if type(value) is Dict:
            items: dict[Any, list[Any]] = {}
            for key, item in value.entries():
                items.setdefault(self.key(key), [key, item])[1] = item
            return f"{{{', '.join(f'{self.text(key)}: {self.text(item)}' for key, item in items.values())}}}"
        if type(value) is ByteArray:
            content = bytearray(self.trace.data[value.start : value.end])
            for deed in self.trace.deeds:
                if deed.target is value and deed.kind == "append":
                    content += bytes(deed.given)
                elif deed.target is value and deed.kind == "setitem":
                    content[deed.given[0]] = deed.given[1]
            return f"bytearray {bytes(content)!r}"
        assert type(value) is View, type(value)
        return f"view of {self.text(value.target)}"

    def deeds(self) -> list[tuple[Any, ...]]:
        """The deeds in the form in which the stand-ins note them."""
        self.spelled: dict[int, tuple[str, str]] = {}
        deeds: list[tuple[Any, ...]] = []
        extensions: dict[int, int] = {}
        views: set[int] = set()
        for deed in self.trace.deeds:
            if (type(deed.target) is ByteArray and deed.kind in ("append", "setitem")) or (deed.kind == "hash" and type(deed.target) is Global):
                # CPython does it itself; a class that is hashed notes nothing.
                continue
            if type(deed.target) is View and deed.kind in ("hash", "build"):
                # A memoryview asks the buffer for its hash once, and takes no state but None.
                if deed.kind == "hash" and id(deed.target) not in views:
                    views.add(id(deed.target))
                    deeds.append(("hash", deed.target.target))
                continue
            if deed.kind == "extension" and deed.target in extensions:
                # The second time it is in CPython's cache.
                self.serials[id(deed.result)] = extensions[deed.target]
                continue
            if deed.result is not ABSENT and type(deed.result) is not Global:
                self.serials[id(deed.result)] = len(deeds)
            match deed.kind:
                case "name":
                    # One mapped name may have two spellings; the stand-in for the first is as good as that for the other.
                    self.spelled.setdefault(id(deed.result), deed.target)
                    deeds.append(("name", deed.target))
                case "call" | "new" | "instance":
                    is_class = type(deed.target) is Global
                    new = deed.kind == "new" or (deed.kind == "instance" and deed.given == () and is_class)
                    args = _listed(list(deed.given))
                    kwargs = Dict() if deed.kwargs is ABSENT else deed.kwargs
                    deeds.append(("new", deed.target, args, _copied(kwargs)) if new else ("call", deed.target, args))
                case "add":
                    deeds.extend(("add", deed.target, item) for item in deed.given)
                case "build":
                    deeds.append(("build", deed.target, deed.given))
                case "append" | "setitem":
                    deeds.append((deed.kind, deed.target, _listed(deed.given)))
                case "hash":
                    deeds.append(("hash", deed.target))
                case "extension":
                    extensions[deed.target] = len(deeds)
                    deeds.append(("extension", deed.target))
                case "persistent":
                    deeds.append(("persistent", deed.target))
        return deeds


def _listed(items: list[Any]) -> List:
    value = List()
    value.items = items
    return value


def _copied(kwargs: Any) -> Dict:
    """A call gets a dict of its own. Raises `TypeError` for a name, such as `sys.modules`: whether that is a dict, only an import would show."""
    if type(kwargs) is not Dict:
        raise TypeError
    value = Dict()
    value.flat = kwargs.flat
    return value


BEYOND = "beyond the stand-ins"


def machine(program: bytes, which: str, encoding: str) -> str | None:
    """Return what the legacy machine makes of a program, or None if it refuses."""
    try:
        trace = trace_legacy(program, buffers=BUFFERS, encoding=encoding, fix_imports=False)
    except ProgramError:
        return None
    rendering = Abstract(trace)
    try:
        return rendering.all(rendering.deeds(), trace.root, which)
    except TypeError:
        # A name or index that only an import would show: CPython has no such stand-in.
        return BEYOND


def verdict(program: bytes, which: str = "C", encoding: str = "ASCII") -> str:
    ours = machine(program, which, encoding)
    theirs = cpython(program, which, encoding)
    if ours is None:
        return "refused" if theirs is None else "stricter"
    if theirs is None or (which == "Python" and ours == BEYOND):
        # The unpickler in Python takes any iterable for arguments.
        return "failed"
    if ours == theirs:
        return "same"
    for mine, real in zip(ours.split("\n"), theirs.split("\n"), strict=False):
        if mine != real:
            return f"differs: ours {mine[:300]!r}, CPython {real[:300]!r}"
    return f"differs: {ours[-300:]!r} is not {theirs[-300:]!r}"


# --- programs ----------------------------------------------------------------------------------------------------

OP = {opcode.name: opcode.code.encode("latin-1") for opcode in pickletools.opcodes}
TEXTS = ("", "a", "os", "system", "a.b", "é", "\u20ac\U0001f600", "\ud800", "x" * 300)
NUMBERS = (0, 1, 2, -1, 7, 255, 256, 65535, 65536, -(1 << 31), (1 << 31) - 1, 1 << 31, 1 << 40, -(1 << 63), 1 << 63, 1 << 70, -(1 << 2100))
INTS = (
    b"0",
    b"1",
    b"00",
    b"01",
    b" 1",
    b"+1",
    b"-0",
    b"001",
    b"07",
    b"010",
    b"0x1F",
    b"0o17",
    b"0b1",
    b"1_0",
    b" 12 ",
    b"-7",
    b"7\0x",
    b"\0",
    b"\0a",
    b"08",
    b"9" * 30,
)
LONGS = (b"0L", b"5", b"-5L", b"0x1fL", b"1_000L", b" 3 L", b"5\0xL", b"00", b"0", b"9" * 40 + b"L", b"017")
FLOATS = (
    b"1.5",
    b"-0.0",
    b"1e300",
    b"1e400",
    b"inf",
    b"-Infinity",
    b"nan",
    b"-nan",
    b".5",
    b"5.",
    b"1_0.5",
    b" 1",
    b"1 ",
    b"1\0x",
    b"1e-400",
    b".",
    b"-1.0",
)
STRINGS = (b"'a'", b"''", b'"a\'b"', b"'\\x6f\\163\\n'", b"'\\q\\\\'", b"'\\x6'", b"'\\", b"'", b"a", b"'a\"", b"'\\400'", b"' \r'", b"'\xe9'")
UNICODES = (b"a", b"", b"\\u006fs", b"\\U0001f600", b"\\u12", b"\xe9", b"\\N{DIGIT ONE}", b"\\x6f", b"a\rb", b"\\ud83d\\ude00")
INDEXES = (0, 1, 2, 3, 5, 40, 255)


class Maker:
    """Makes programs that are mostly valid, in all spellings. `pick(n)` chooses a number below n."""

    def __init__(self, pick: Callable[[int], int]) -> None:
        self.pick = pick
        self.out = bytearray()
        self.memo: set[int] = set()
        self.left = 60

    def one(self, choices: Sequence[Any]) -> Any:
        return choices[self.pick(len(choices))]

    def op(self, name: str, operand: bytes = b"") -> None:
        self.out += OP[name] + operand

    def program(self) -> bytes:
        if self.pick(4):
            self.op("PROTO", bytes((self.pick(6),)))
        for _ in range(self.pick(3)):
            self.value(2)
        if not self.pick(8):
            self.op("MARK")
        self.value(4)
        self.op("STOP")
        if not self.pick(8):
            self.out += b"I1\n."
        return bytes(self.out)

    def value(self, depth: int) -> None:
        """Push one value, perhaps with noise before and after it."""
        self.left -= 1
        self.noise()
        if depth == 0 or self.left < 0:
            self.constant()
        else:
            self.one((self.constant, self.constant, self.container, self.container, self.thing, self.thing, self.changed_thing, self.odd))(depth - 1)
        self.stored()

    def noise(self) -> None:
        match self.pick(40):
            case 0:
                self.op("PROTO", bytes((self.pick(7),)))
            case 1:
                self.op("FRAME", struct.pack("<Q", self.pick(8)))
            case 2:
                self.op("NONE")
                self.op("POP")
            case 3:
                self.op("MARK")
                self.constant()
                self.op("POP_MARK")
            case 4:
                self.op("MARK")
                self.op("POP")

    def stored(self) -> None:
        index = self.one(INDEXES)
        match self.pick(12):
            case 0:
                self.op("PUT", self.one((b"%d", b"0%d", b"+%d", b" %d ", b"%d\0x")) % index + b"\n")
            case 1:
                self.op("BINPUT", bytes((index,)))
            case 2:
                index *= 3
                self.op("LONG_BINPUT", struct.pack("<I", index))
            case 3:
                index = len(self.memo)
                self.op("MEMOIZE")
            case _:
                return
        self.memo.add(index)

    def fetched(self) -> None:
        index = self.one(sorted(self.memo))
        kind = self.pick(3)
        if kind == 0:
            self.op("GET", self.one((b"%d", b"0%d", b"%d\0x")) % index + b"\n")
        elif kind == 1 and index < 256:
            self.op("BINGET", bytes((index,)))
        else:
            self.op("LONG_BINGET", struct.pack("<I", index))

    def constant(self, depth: int = 0) -> None:
        match self.pick(22):
            case 0:
                self.op("NONE")
            case 1:
                self.op(self.one(("NEWTRUE", "NEWFALSE")))
            case 2:
                self.op("INT", self.one(INTS) + b"\n")
            case 3:
                self.op("LONG", self.one(LONGS) + b"\n")
            case 4:
                self.op("FLOAT", self.one(FLOATS) + b"\n")
            case 5:
                self.op("STRING", self.one(STRINGS) + b"\n")
            case 6:
                self.op("UNICODE", self.one(UNICODES) + b"\n")
            case 7 | 8:
                self.op("BININT1", bytes((self.pick(256),)))
            case 9:
                self.op("BININT2", struct.pack("<H", self.pick(1 << 16)))
            case 10:
                self.op("BININT", struct.pack("<i", self.pick(1 << 32) - (1 << 31)))
            case 11:
                number = self.one(NUMBERS)
                raw = number.to_bytes(number.bit_length() // 8 + 1 + self.pick(2), "little", signed=True) if number else b""
                self.op(*(("LONG1", bytes((len(raw),)) + raw) if len(raw) < 256 else ("LONG4", struct.pack("<i", len(raw)) + raw)))
            case 12:
                self.op("BINFLOAT", struct.pack(">d", self.one((0.0, -0.0, 1.5, float("nan"), float("inf"), -1.0))))
            case 13 | 14 | 15:
                self.text(self.one(TEXTS))
            case 16:
                self.op("SHORT_BINSTRING", b"\x03" + self.one((b"abc", b"\xe9\xff\x80", b"x\0y")))
            case 17:
                self.op("BINSTRING", b"\x03\0\0\0" + self.one((b"abc", b"\xe9\xff\x80")))
            case 18:
                self.op("SHORT_BINBYTES", b"\x02" + self.one((b"ab", b"\xff\0")))
            case 19:
                self.op("BINBYTES", b"\x02\0\0\0ab")
            case 20:
                self.op("BINBYTES8", b"\x02" + bytes(7) + b"ab")
            case _:
                self.op("EMPTY_TUPLE")

    def text(self, value: str) -> None:
        raw = value.encode("utf-8", "surrogatepass")
        kind = self.pick(4)
        if kind == 0 or len(raw) > 255:
            self.op("BINUNICODE", struct.pack("<I", len(raw)) + raw)
        elif kind == 1:
            self.op("BINUNICODE8", struct.pack("<Q", len(raw)) + raw)
        else:
            self.op("SHORT_BINUNICODE", bytes((len(raw),)) + raw)

    def values(self, depth: int, number: int) -> None:
        for _ in range(number):
            self.value(depth)

    def keyed(self, depth: int, number: int) -> None:
        for _ in range(number):
            self.key(depth)
            self.value(depth)

    def key(self, depth: int) -> None:
        match self.pick(8):
            case 0:
                self.thing(0)
            case 1:
                self.key(depth)
                self.key(depth)
                self.op("TUPLE2")
            case 2:
                self.op("MARK")
                self.key(depth)
                self.op("FROZENSET")
            case 3:
                self.value(depth)
            case _:
                self.constant()

    def container(self, depth: int) -> None:
        number = self.pick(4)
        match self.pick(11):
            case 0:
                self.values(depth, 3)
                self.op(self.one(("TUPLE1", "TUPLE2", "TUPLE3")))
            case 1:
                self.op("MARK")
                self.values(depth, number)
                self.op(self.one(("TUPLE", "LIST")))
            case 2:
                self.op("MARK")
                self.keyed(depth, number)
                self.op("DICT")
            case 3:
                self.op("MARK")
                for _ in range(number):
                    self.key(depth)
                self.op("FROZENSET")
            case 4 | 5:
                self.op("EMPTY_LIST")
                self.stored()
                self.appended(depth)
                if not self.pick(3):
                    self.op("BININT1", b"\0")
                    self.value(depth)
                    self.op("SETITEM")
            case 6 | 7:
                self.op("EMPTY_DICT")
                self.stored()
                self.set(depth)
            case 8 | 9:
                self.op("EMPTY_SET")
                self.added(depth)
            case _:
                self.op("BYTEARRAY8", b"\x03" + bytes(7) + b"abc")
                match self.pick(4):
                    case 0:
                        self.op("BININT1", b"\x41")
                        self.op("APPEND")
                    case 1:
                        self.op("BININT1", b"\x02")
                        self.op("BININT1", b"\x42")
                        self.op("SETITEM")
                    case 2:
                        self.op("READONLY_BUFFER")

    def appended(self, depth: int) -> None:
        if self.pick(2):
            self.value(depth)
            self.op("APPEND")
        else:
            self.op("MARK")
            self.values(depth, self.pick(4))
            self.op("APPENDS")

    def set(self, depth: int) -> None:
        if self.pick(2):
            self.keyed(depth, 1)
            self.op("SETITEM")
        else:
            self.op("MARK")
            self.keyed(depth, self.pick(4))
            self.op("SETITEMS")

    def added(self, depth: int) -> None:
        self.op("MARK")
        for _ in range(self.pick(4)):
            self.key(depth)
        self.op("ADDITEMS")

    def name(self) -> None:
        module, name = self.one(("os", "a", "a.b", "__builtin__", "x y")), self.one(("system", "b", "c.d", "B"))
        if self.pick(2):
            self.op("GLOBAL", f"{module}\n{name}\n".encode())
        else:
            self.text(module)
            self.text(name)
            self.op("STACK_GLOBAL")

    def thing(self, depth: int) -> None:
        """A name, something called or made, or what the loader gives."""
        match self.pick(12):
            case 0 | 1:
                self.name()
            case 2 | 3:
                self.name()
                self.args(depth)
                self.op("REDUCE")
            case 4:
                self.thing(depth)
                self.args(depth)
                self.op("REDUCE")
            case 5 | 6:
                self.name()
                self.args(depth)
                self.op("NEWOBJ")
            case 7:
                self.name()
                self.args(depth)
                self.op("EMPTY_DICT")
                if self.pick(2):
                    self.text("key")
                    self.value(depth)
                    self.op("SETITEM")
                self.op("NEWOBJ_EX")
            case 8:
                self.op("MARK")
                self.values(depth, self.pick(3))
                self.op("INST", b"os\nsystem\n")
            case 9:
                self.op("MARK")
                self.one((self.name, lambda: self.thing(depth)))()
                self.values(depth, self.pick(3))
                self.op("OBJ")
            case 10:
                self.one(
                    (
                        lambda: self.op("EXT1", b"\x01"),
                        lambda: self.op("EXT2", b"\x02\0"),
                        lambda: self.op("EXT4", b"\x01\0\0\0"),
                        lambda: self.op("EXT4", b"\0\0\0\xff"),
                    )
                )()
            case _:
                if self.pick(2):
                    self.op("PERSID", self.one((b"id 7", b"", b"\xe9")) + b"\n")
                else:
                    self.value(depth)
                    self.op("BINPERSID")
        self.stored()

    def args(self, depth: int) -> None:
        if not self.pick(12):
            self.value(depth)
            return
        self.op("MARK")
        self.values(depth, self.pick(3))
        self.op("TUPLE")
        self.stored()

    def changed_thing(self, depth: int) -> None:
        self.thing(depth)
        for _ in range(1 + self.pick(2)):
            match self.pick(5):
                case 0 | 1:
                    self.value(depth)
                    self.op("BUILD")
                case 2:
                    self.appended(depth)
                case 3:
                    self.set(depth)
                case _:
                    self.added(depth)

    def odd(self, depth: int) -> None:
        """What no pickler writes: copies, fetches, states of plain values, buffers."""
        kind = self.pick(8)
        if kind < 3 and self.memo:
            self.fetched()
        elif kind == 3:
            self.value(depth)
            self.op("DUP")
            self.op("TUPLE2")
        elif kind == 4:
            self.value(depth)
            self.op("NONE")
            if self.pick(2):
                self.op("EMPTY_DICT")
                self.op("TUPLE2")
            self.op("BUILD")
        elif kind == 5:
            self.op("NEXT_BUFFER")
            if self.pick(2):
                self.op("READONLY_BUFFER")
        elif kind == 6 and self.memo:
            self.fetched()
            self.one((self.appended, self.set, self.added))(depth)
        else:
            self.value(depth)
            self.constant()
            self.op("POP")


def mutated(program: bytes, pick: Callable[[int], int]) -> bytes:
    """Change a program in a few places: bytes, opcodes, pieces."""
    data = bytearray(program)
    codes = [opcode.code.encode("latin-1")[0] for opcode in pickletools.opcodes]
    for _ in range(1 + pick(3)):
        place = pick(len(data) or 1)
        match pick(6):
            case 0:
                data[place : place + 1] = bytes((pick(256),))
            case 1:
                data[place : place + 1] = bytes((codes[pick(len(codes))],))
            case 2:
                data[place:place] = bytes((codes[pick(len(codes))],))
            case 3:
                del data[place : place + 1 + pick(3)]
            case 4:
                data[place:place] = data[place : place + pick(12)]
            case _:
                data[place : place + 1] = bytes((data[place] ^ 1 << pick(8),)) if data else b""
    return bytes(data)


# --- the child ---------------------------------------------------------------------------------------------------


class Child:
    """A process that gives verdicts, bounded in memory and time. One that dies says so for the program that it had."""

    def __init__(self, python: str = sys.executable) -> None:
        self.python = python
        self.process: subprocess.Popen[bytes] | None = None

    def verdict(self, program: bytes, which: str = "C", encoding: str = "ASCII") -> str:
        if self.process is None:
            path = [str(Path(__file__).parent), str(Path(sys.modules["safepickle"].__file__ or "").parent.parent)]
            self.process = subprocess.Popen(
                [self.python, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # Cycles of buffers and views of them make CPython complain when they go.
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{len(program)} {which} {encoding}\n".encode() + program)
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], 2 * SECONDS)
        line = self.process.stdout.readline() if ready else b""
        if not line:
            self.close()
            return "died"
        return line.decode("utf-8").rstrip("\n")

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


def serve() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    for code in (1, 2):
        copyreg._inverted_registry[code] = ("extension", str(code))  # type: ignore[attr-defined]
    source = sys.stdin.buffer
    while line := source.readline():
        length, which, encoding = line.decode().split()
        program = source.read(int(length))
        signal.alarm(SECONDS)
        answer = verdict(program, which, encoding)
        signal.alarm(0)
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.buffer.write(answer.replace("\n", " ").encode("utf-8", "backslashreplace") + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    serve()
