"""A small assembler: pickle programs from named opcodes or from nested values, and containers over them.

    Asm().push(Call("os:system", "id")).program()                      values, in the form that CPython writes
    Asm().text("os").text("system").op("STACK_GLOBAL").program()       opcodes by the names of pickletools
    seal(program)                                                      a genuine container: signed with the right key

What is a string in `Ref`, `Call` and `New` is `module:qualified name`. Nothing is memoized unless `Let` says so.
"""

from __future__ import annotations

import hashlib
import pickletools
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from safepickle import SecretKey, container
from safepickle.keyring import Keyring

SECRET = hashlib.sha256(b"the key of the tests").digest()
KEY = SecretKey.from_bytes(SECRET)

CODES = {opcode.name: opcode.code.encode("latin-1") for opcode in pickletools.opcodes}
_ARGUMENTS = {opcode.name: opcode.arg.name if opcode.arg else None for opcode in pickletools.opcodes}
_FRAME_MIN, _FRAME_TARGET = 4, 65536


def _counted(layout: str) -> Callable[[Any], bytes]:
    return lambda value: struct.pack(layout, len(value)) + value


def _line(value: Any) -> bytes:
    return str(value).encode("latin-1") + b"\n"


def _utf8(value: str | bytes) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def signed(value: int) -> bytes:
    """The shortest two's complement, little-endian, as `pickle.encode_long` has it."""
    return b"" if value == 0 else value.to_bytes((value if value >= 0 else ~value).bit_length() // 8 + 1, "little", signed=True)


_ENCODERS: dict[str, Callable[[Any], bytes]] = {
    "uint1": struct.Struct("<B").pack,
    "uint2": struct.Struct("<H").pack,
    "int4": struct.Struct("<i").pack,
    "uint4": struct.Struct("<I").pack,
    "uint8": struct.Struct("<Q").pack,
    "float8": struct.Struct(">d").pack,
    "long1": lambda value: _counted("<B")(signed(value)),
    "long4": lambda value: _counted("<I")(signed(value)),
    "string1": _counted("<B"),
    "string4": _counted("<I"),
    "bytes1": _counted("<B"),
    "bytes4": _counted("<I"),
    "bytes8": _counted("<Q"),
    "bytearray8": _counted("<Q"),
    "unicodestring1": lambda value: _counted("<B")(_utf8(value)),
    "unicodestring4": lambda value: _counted("<I")(_utf8(value)),
    "unicodestring8": lambda value: _counted("<Q")(_utf8(value)),
    "stringnl_noescape_pair": lambda value: _line(value.partition(":")[0]) + _line(value.partition(":")[2]),
}


def op(name: str, operand: Any = None) -> bytes:
    """One opcode with its operand. An operand given as bytes to an opcode that takes a number or text is written as it is."""
    kind = _ARGUMENTS[name]
    if kind is None:
        return CODES[name]
    if isinstance(operand, bytes) and not kind.startswith(("bytes", "bytearray", "string1", "string4", "unicodestring")):
        return CODES[name] + operand
    return CODES[name] + _ENCODERS.get(kind, _line)(operand)


# --- nested values ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Ref:
    name: str


@dataclass(frozen=True, init=False, eq=False)
class Call:
    """REDUCE, then APPENDS, SETITEMS and BUILD where there is something to append, set or give."""

    callee: Any
    args: Any
    state: Any
    items: Sequence[Any]
    pairs: Sequence[Any]
    opcode: str = "REDUCE"

    def __init__(self, callee: Any, *args: Any, state: Any = ..., items: Sequence[Any] = (), pairs: Sequence[Any] = (), tupled: Any = ...) -> None:
        for name, value in (("callee", callee), ("args", args if tupled is ... else tupled), ("state", state), ("items", items), ("pairs", pairs)):
            object.__setattr__(self, name, value)


class New(Call):
    """The same with NEWOBJ."""

    opcode = "NEWOBJ"


@dataclass(frozen=True, eq=False)
class Let:
    """The value, stored in the memo under a label."""

    label: str
    value: Any


@dataclass(frozen=True, eq=False)
class Get:
    label: str


@dataclass(frozen=True, eq=False)
class Do:
    """Opcodes that stand where a value stands."""

    emit: Callable[[Asm], Any]


@dataclass
class Asm:
    """A program in the making. Every method returns the assembler."""

    parts: list[tuple[bytes, bool]] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    memo: int = 0

    def raw(self, data: bytes, *, unframed: bool = False) -> Asm:
        self.parts.append((data, unframed))
        return self

    def op(self, *names: str, operand: Any = None) -> Asm:
        for name in names:
            data = op(name, operand)
            self.memo += name == "MEMOIZE"
            self.raw(data, unframed=isinstance(operand, (bytes, str)) and name in _LARGE and len(data) - 1 - _LARGE[name] >= _FRAME_TARGET)
        return self

    def text(self, value: str) -> Asm:
        size = len(_utf8(value))
        return self.op("SHORT_BINUNICODE" if size < 256 else "BINUNICODE", operand=value)

    def global_(self, module: str, name: str) -> Asm:
        return self.text(module).text(name).op("STACK_GLOBAL")

    def integer(self, value: int) -> Asm:
        if 0 <= value < 1 << 16:
            return self.op("BININT1" if value < 256 else "BININT2", operand=value)
        if -(1 << 31) <= value < 1 << 31:
            return self.op("BININT", operand=value)
        return self.op("LONG1" if len(signed(value)) < 256 else "LONG4", operand=value)

    def bytes_(self, value: bytes) -> Asm:
        return self.op("SHORT_BINBYTES" if len(value) < 256 else "BINBYTES", operand=value)

    def let(self, label: str) -> Asm:
        self.labels[label] = self.memo
        return self.op("MEMOIZE")

    def get(self, label: str) -> Asm:
        index = self.labels[label]
        return self.op("BINGET" if index < 256 else "LONG_BINGET", operand=index)

    def group(self, values: Iterable[Any], opcode: str) -> Asm:
        self.op("MARK")
        for value in values:
            self.push(value)
        return self.op(opcode)

    def push(self, value: Any) -> Asm:
        """Push a value in the form that CPython would write."""
        match value:
            case None | True | False:
                self.op({None: "NONE", True: "NEWTRUE", False: "NEWFALSE"}[value])
            case int():
                self.integer(value)
            case float():
                self.op("BINFLOAT", operand=value)
            case str():
                self.text(value)
            case bytes():
                self.bytes_(value)
            case bytearray():
                self.op("BYTEARRAY8", operand=bytes(value))
            case tuple() if len(value) > 3:
                self.group(value, "TUPLE")
            case tuple():
                for item in value:
                    self.push(item)
                self.op("EMPTY_TUPLE" if not value else f"TUPLE{len(value)}")
            case list():
                self.op("EMPTY_LIST")
                self._fill(value, "APPEND")
            case dict():
                self.op("EMPTY_DICT")
                self._fill([part for pair in value.items() for part in pair], "SETITEM")
            case set():
                self.op("EMPTY_SET")
                if value:
                    self.group(value, "ADDITEMS")
            case frozenset():
                self.group(value, "FROZENSET")
            case Ref():
                self.global_(*value.name.split(":", 1))
            case Let():
                self.push(value.value).let(value.label)
            case Get():
                self.get(value.label)
            case Do():
                value.emit(self)
            case Call():
                self.push(Ref(value.callee) if isinstance(value.callee, str) else value.callee).push(value.args).op(value.opcode)
                self._fill(value.items, "APPEND")
                self._fill(value.pairs, "SETITEM")
                if value.state is not ...:
                    self.push(value.state).op("BUILD")
            case _:
                raise TypeError(f"{value!r} has no form")
        return self

    def _fill(self, values: Sequence[Any], opcode: str) -> None:
        single = 1 if opcode == "APPEND" else 2
        if len(values) == single:
            for value in values:
                self.push(value)
            self.op(opcode)
        elif values:
            self.group(values, opcode + "S")

    def program(self, *, stop: bool = True, proto: bytes | None = None, framed: bool = True, tail: bytes = b"") -> bytes:
        """The whole program: PROTO 5, the operations in one frame (around byte strings of 64 KiB and more), STOP."""
        out, frame = [op("PROTO", 5) if proto is None else proto], []
        parts = [*self.parts, *([(CODES["STOP"], False)] if stop else [])]
        for index, (data, unframed) in enumerate([*parts, (b"", True)]):
            if not unframed:
                frame.append(data)
                continue
            body = b"".join(frame)
            frame.clear()
            out += [op("FRAME", len(body)), body] if framed and len(body) >= _FRAME_MIN else [body]
            if index < len(parts):
                out.append(data)
        return b"".join(out) + tail


_LARGE = {"BINBYTES": 4, "BINBYTES8": 8, "BYTEARRAY8": 8, "BINUNICODE": 4, "BINUNICODE8": 8}


def program(value: Any) -> bytes:
    """The program of one value."""
    return Asm().push(value).program()


def frame(body: bytes) -> bytes:
    """PROTO 5 and one frame around bytes that need not be a program."""
    return op("PROTO", 5) + op("FRAME", len(body)) + body


def seal(data: bytes, buffers: Sequence[Any] = (), key: SecretKey | Keyring = KEY) -> bytes:
    """A container over any program and buffers, genuine in everything but its content."""
    keyring = key if isinstance(key, Keyring) else Keyring(key)
    return b"".join(bytes(piece) for piece in container.seal(data, [memoryview(buffer).cast("B") for buffer in buffers], keyring))


# --- numpy, without importing it -------------------------------------------------------------------------------


def dtype(text: Any = "<f8") -> Call:
    return Call("numpy:dtype", text)


def array(data: Any, kind: Any = "<f8", shape: Any = None) -> Call:
    """An array over bytes, as numpy writes it at protocol 5."""
    sizes = {"1": 1, "2": 2, "4": 4, "8": 8}
    shape = (len(data) // sizes[kind[-1]],) if shape is None else shape
    return Call("numpy._core.numeric:_frombuffer", data, dtype(kind) if isinstance(kind, str) else kind, shape, "C")
