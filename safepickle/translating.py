"""What old files say, in the words of today: `translate` turns a program of any protocol, or a joblib stream, into one that the policy can judge.

The same object is written differently by each protocol, and the policy has one form for each. So some calls are taken here for what they
stand for, exactly where a pickler writes them and never otherwise:

| what the file says                                       | what is judged and built                         |
|----------------------------------------------------------|--------------------------------------------------|
| `copyreg._reconstructor(C, object, None)`                | `C` made by NEWOBJ (Lib/copyreg.py)              |
| the same with dict, list or tuple as base                | `C` made by NEWOBJ, with these items             |
| `_codecs.encode(text, "latin1")`, `bytes()`              | bytes (Lib/pickle.py, `save_bytes`)              |
| `bytearray(bytes)`, `bytearray(text, "latin-1")`         | a bytearray                                      |
| `set([...])`, `frozenset([...])`                         | a set, a frozenset                               |
| `getattr(C, "name")` that is called                      | the dotted name                                  |
| `numpy.dtype("f8", False, True)` and its state           | `numpy.dtype("<f8")`; a state is never replayed  |
| joblib's `NumpyArrayWrapper` and the bytes that follow   | an array over these bytes                        |
| ... or the pickle that follows, for an array of objects  | what that pickle makes                           |

Everything else stays what it is. Nothing is imported or executed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final

from . import npy
from .checks import CHECKS, Dtype, Findings
from .errors import FormatError, LimitError, ProgramError
from .legacy import NEVER, OPERATIONS, Copied, LegacyTrace, Machine
from .machine import ABSENT, DEFAULT_LIMITS, OPCODES, Buffer, Dict, FrozenSet, Global, Limits, List, Made, Set

__all__ = ["LEAST_PROGRAM", "TRANSLATED", "Translation", "translate", "translate_array"]

_WRAPPER: Final = ("joblib.numpy_pickle", "NumpyArrayWrapper")
_OBJECT: Final = ("builtins", "object")
_GETATTR: Final = ("builtins", "getattr")
_DTYPE: Final = ("numpy", "dtype")
_FROMBUFFER: Final = ("numpy._core.numeric", "_frombuffer")
# Whose classes say `_reconstructor` themselves, at every protocol, so that the policy has a rule for that.
_OWN_WORDS: Final = ("scipy.sparse._dok", "scipy.sparse._arrays", "scipy.sparse.dok")
_LONG_TEXT: Final = ("numpy._core._internal", "_convert_to_stringdtype_kwargs")
_MISSING: Final = (("pandas", "NA"), ("pandas._libs.missing", "NA"))
_LATIN1: Final = ("latin1", "latin-1")
LEAST_PROGRAM: Final = 8
"""Bytes of the shortest program that is worth looking for."""
_TEXT: Final = frozenset(code for code, opcode in OPCODES.items() if opcode.name in ("STRING", "UNICODE"))
# A memo entry may have a number as large as the program is long, and this much more.
_FREE_ENTRIES: Final = 1 << 16
# No text of a dtype is longer, and no size or shape in one is larger.
_LONGEST_KIND: Final = 64
_LARGEST: Final = (1 << 31) - 1
_MOST_DIMENSIONS: Final = 32
_SIZED: Final = re.compile(r"[USV][0-9]{1,10}")
_ALIGNED: Final = 0x80
_ALIGNMENTS: Final = (1, 2, 4, 8, 16, 32)
# What joblib writes of an array.
_ENTRIES: Final = frozenset(("subclass", "shape", "order", "dtype", "allow_mmap", "numpy_array_alignment_bytes"))
_SUBCLASSES: Final = (("numpy", "ndarray"), ("numpy", "memmap"), ("numpy", "matrix"))
# What copies something may do so for as many bytes or items as the program has, twice, and this many.
_FREE_COPIES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Translation:
    """What a program does, the memory of its arrays, and, if it broke off, why."""

    trace: LegacyTrace
    error: ProgramError | None
    buffers: tuple[memoryview, ...] = field(repr=False)
    """The bytes of arrays that stand between the operations, as joblib writes them."""
    joblib: bool
    """Whether there were any such arrays."""
    apart: tuple[int, bool] | None
    """From where on `pickle.load` does something else than `joblib.load`, since it takes an array for operations, and whether that is a pickle."""
    constants: tuple[tuple[int, int], ...] = field(repr=False)
    """From where to where in the file texts, byte strings and arrays stand that are long enough to be a program."""
    padded: int | None = field(repr=False)
    """Where the first array begins that has padding before it, which joblib below 1.2 takes for a part of the array."""
    texts: tuple[str | bytes, ...] = field(repr=False)
    """Texts of that length that are spelled with escapes, and lists of numbers that are the bytes of a program."""

    def restated(self) -> bytes:
        """Return the program in strict form, for `machine.trace` with `buffers`. Raises `ProgramError` if it has none, or broke off."""
        if self.error is not None:
            raise self.error
        if self.trace.left_over:
            raise ProgramError(f"at byte {self.trace.end - 1} of the program: {self.trace.left_over} values or open marks are left below the result")
        return self.trace.restated()


def translate(
    data: bytes, *, limits: Limits | None = None, start: int = 0, names: Container[tuple[str, str]] = (), marked: bool = False, padding: bool = True
) -> Translation:
    """Return what the program at `start` does. Raises nothing: what is wrong with it is in the result.

    `names` are those of the policy: below protocol 4 a dotted name and an attribute that is looked up are written the same way. `marked` is
    for a start in the middle of a program, and stands for a mark before that. Without `padding` arrays are read as by joblib below 1.2.
    """
    machine = _Translator(data, start, (), limits or DEFAULT_LIMITS, "ASCII", fix_imports=True)
    machine.padding = padding
    machine.names = names
    machine.marks += [0] * marked
    trace, error = machine.attempt()
    return machine.translation(trace, error)


def translate_array(data: bytes, *, limits: Limits | None = None, names: Container[tuple[str, str]] = ()) -> Translation:
    """Return the same for a `.npy` file: an array over its bytes, or what the pickle in it makes. Raises `FormatError` if it is none."""
    described = npy.header(data)
    if described.objects:
        return translate(data, limits=limits, start=described.end, names=names)
    if not described.descr:
        raise FormatError("the .npy file holds a structured array, which is not brought over: save it within a pickle, or with numpy.savez by field")
    machine = _Translator(data, described.end, (), limits or DEFAULT_LIMITS, "ASCII", fix_imports=True)
    dtype = machine.rewrite("call", _DTYPE, (described.descr,))
    content = memoryview(data)[described.end :]
    args = (Buffer(0, len(content)), dtype, described.shape, "F" if described.fortran else "C")
    machine.pos = len(data)
    machine.arrays.append(content)
    return machine.translation(machine.trace(machine.rewrite("call", _FROMBUFFER, args)), None)


class _Translator(Machine):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.names: Container[tuple[str, str]] = ()
        self.arrays: list[memoryview] = []
        self.constants: list[tuple[int, int]] = []
        self.texts: list[str | bytes] = []
        # Where the program begins that is being run.
        self.begin = self.start
        self.wrappers = 0
        # Wrappers that were filled.
        self.filled: set[int] = set()
        # Where the first array of joblib begins that has any bytes.
        self.apart: tuple[int, bool] | None = None
        self.padding = True
        self.padded: int | None = None
        self.inner = False
        self.copied = 0
        self.encoded: dict[int, tuple[str, bytes]] = {}
        # Names that the program does not have.
        self.own: dict[tuple[str, str], Global] = {}
        # Dtypes that were called as numpy's own pickles do, until their state comes.
        self.pending: dict[int, Made] = {}
        # As the policy will see the dtypes, for the size of their items.
        self.findings = Findings(SimpleNamespace(program=self.data, buffers=()))  # type: ignore[arg-type]

    def translation(self, trace: LegacyTrace, error: ProgramError | None) -> Translation:
        """Return what was found out."""
        return Translation(trace, error, tuple(self.arrays), bool(self.wrappers), self.apart, tuple(self.constants), self.padded, tuple(self.texts))

    def made(self, how: str, callee: Any, args: Any, kwargs: Any = ABSENT) -> None:
        """Take a call for what it stands for, or leave it as it is."""
        if how == "call" and type(callee) is Global and type(args) is tuple:
            translation = _CALLS.get(callee.key)
            if translation is not None and translation(self, args):
                return
        elif how == "new" and args == () and type(callee) is Global and callee.key == _WRAPPER:
            self.put(self.rewrite("new", _WRAPPER, ()))
            return
        elif type(callee) is Made and how != "instance" and type(args) is tuple and kwargs is ABSENT and _is_attribute(callee):
            self.of_attribute(how, callee, args)
            return
        super().made(how, callee, args, kwargs)

    def copy(self, amount: int) -> None:
        """Count what a translation copies. A pickler writes each such argument once."""
        self.copied += amount
        if self.copied > _FREE_COPIES + 2 * len(self.data):
            raise LimitError(f"at byte {self.at} of the program: the same large values are copied over and over")

    def put(self, value: Any) -> bool:
        self.handed += 1
        self.push_counted(value)
        return True

    def rewrite(self, how: str, key: tuple[str, str], args: tuple[Any, ...], items: Sequence[Any] = (), *, pairs: bool = False) -> Made:
        """Return an object that the program does not make in these words."""
        callee = self.globals.get(key) or self.own.setdefault(key, Global(*key, self.at))
        made = Made(how, callee, args, None, self.at)
        if pairs:
            made.pairs = list(items)
        else:
            made.items = list(items)
        self.rewritten[id(made)] = made, tuple(items)
        return made

    # --- constants ----------------------------------------------------------------------------------------------------

    def read(self, length: int) -> bytes:
        """Note where long constants stand, since there may be programs in them."""
        begin = self.pos
        content = super().read(length)
        if length >= LEAST_PROGRAM:
            self.constants.append((begin, self.pos))
        return content

    def load_bytearray8(self) -> None:
        """Note this one too."""
        super().load_bytearray8()
        value = self.stack[-1]
        if len(value) >= LEAST_PROGRAM:
            self.constants.append((value.start, value.end))

    def push(self, value: Any) -> None:
        """Note texts that are spelled with escapes, and so stand nowhere as they are."""
        if type(value) is str and len(value) >= LEAST_PROGRAM and self.data[self.at] in _TEXT:
            self.texts.append(value)
        super().push(value)

    def store(self, index: int) -> None:
        """Refuse a memo entry for which CPython would make a table beyond all proportion (attacks.md, D1). It looks for the value first."""
        self.top()
        if index > _FREE_ENTRIES + len(self.data):
            raise LimitError(f"at byte {self.at} of the program: memo entry {index}, for which CPython makes a table of twice as many entries")
        if index in self.memo:
            self.beyond_strict("a memo entry that is written twice")
        super().store(index)

    def again(self, value: Any) -> None:
        """Refuse the one value of which two are not as good as one twice: keys are compared by identity first."""
        if type(value) is float and value != value:  # noqa: PLR0124 - what is no number differs from itself
            self.beyond_strict("a float that is no number in two places")
        super().again(value)

    def load_int(self) -> None:
        """Refuse a boolean in a spelling that is one in C and a number in Python's unpickler, which joblib uses."""
        super().load_int()
        if type(self.stack[-1]) is bool and self.data[self.at + 1 : self.pos] not in (b"00\n", b"01\n"):
            self.beyond_strict("a boolean that is spelled otherwise than 00 or 01")

    def load_proto(self) -> None:
        """As the first operation: what says so later changes how names are read."""
        if self.at != self.begin:
            self.beyond_strict("PROTO within the program")
        super().load_proto()

    def load_frame(self) -> None:
        """With something in it."""
        super().load_frame()
        if self.frame_end == self.pos:
            self.beyond_strict("a frame of no bytes")

    def take(self, height: int) -> list[Any]:
        """Note numbers that are the bytes of a program."""
        items = super().take(height)
        if (
            len(items) >= LEAST_PROGRAM
            and items[0] == 0x80
            and items[1] in (2, 3, 4, 5)
            and all(type(each) is int and 0 <= each < 256 for each in items)
        ):
            self.texts.append(bytes(items))
        return items

    # --- Python's own -------------------------------------------------------------------------------------------------

    def reconstructor(self, args: tuple[Any, ...]) -> bool:
        """copyreg._reconstructor: what objects of protocols 0 and 1 are made with, `base` being the C type that they inherit from."""
        if len(args) != 3 or type(args[0]) is not Global or type(args[1]) is not Global:
            return False
        cls, base, state = args
        if cls.module in _OWN_WORDS:
            return False
        if base.key == _OBJECT and state is None:
            return self.put(self.rewrite("new", cls.key, ()))
        if base.key == ("builtins", "dict") and type(state) is Dict:
            self.copy(len(state.flat))
            return self.put(self.rewrite("new", cls.key, (), state.flat, pairs=True))
        if base.key == ("builtins", "list") and type(state) is List:
            self.copy(len(state.items))
            return self.put(self.rewrite("new", cls.key, (), state.items))
        if base.key == ("builtins", "tuple") and type(state) is tuple:
            return self.put(self.rewrite("new", cls.key, state))
        return False

    def encode(self, args: tuple[Any, ...]) -> bool:
        """Lib/pickle.py, save_bytes, below protocol 3."""
        if len(args) != 2 or type(args[0]) is not str or args[1] not in _LATIN1:
            return False
        text = args[0]
        if id(text) not in self.encoded:
            self.copy(len(text))
            try:
                self.encoded[id(text)] = text, text.encode("latin-1")
            except UnicodeEncodeError:
                self.refuse("bytes are written as text that is not latin1")
        return self.put(self.encoded[id(text)][1])

    def no_bytes(self, args: tuple[Any, ...]) -> bool:
        """The same of no bytes at all."""
        return not args and self.put(b"")

    def byte_array(self, args: tuple[Any, ...]) -> bool:
        """Lib/pickle.py, save_bytearray, below protocol 5."""
        content: bytes | None = None
        self.copy(sum(len(each) for each in args if type(each) in (str, bytes)))
        if not args:
            content = b""
        elif len(args) == 1 and type(args[0]) is bytes:
            content = args[0]
        elif len(args) == 2 and type(args[0]) is str and args[1] in _LATIN1 and max(args[0], default="") < "\u0100":
            content = args[0].encode("latin-1")
        if content is None:
            return False
        return self.put(Copied(content))

    def set_of(self, args: tuple[Any, ...]) -> bool:
        """Lib/pickle.py, save_set, below protocol 4."""
        if len(args) != 1 or type(args[0]) is not List:
            return False
        self.copy(len(args[0].items))
        self.hash(args[0].items)
        value = Set()
        value.items = list(args[0].items)
        return self.put(value)

    def frozenset_of(self, args: tuple[Any, ...]) -> bool:
        """Lib/pickle.py, save_frozenset, below protocol 4."""
        if len(args) != 1 or type(args[0]) is not List:
            return False
        self.copy(len(args[0].items))
        self.hash(args[0].items)
        return self.put(FrozenSet(list(args[0].items)))

    def attribute(self, args: tuple[Any, ...]) -> bool:
        """Lib/pickle.py, save_global of a dotted name below protocol 4, and bound methods of any: looked up where it is used."""
        if len(args) != 2 or type(args[0]) is not Global or type(args[1]) is not str or len(args[1]) > self.limits.name_length:
            return False
        dotted = args[0].module, f"{args[0].name}.{args[1]}"
        if self.protocol < 4 and dotted in self.names:
            return self.put(self.own.setdefault(dotted, Global(*dotted, self.at)))
        return self.put(self.rewrite("call", _GETATTR, args))

    def of_attribute(self, how: str, callee: Made, args: tuple[Any, ...]) -> None:
        """Call or make what `getattr(name, "text")` stands for: the machine takes the former as it is, for the latter it wants the name."""
        owner, attribute = callee.args
        if how == "new":
            self.spent.add(id(callee))
            self.put(self.rewrite("new", (owner.module, f"{owner.name}.{attribute}"), args))
            return
        made = Made(how, callee, args, None, self.at)  # type: ignore[arg-type]
        self.do(how, callee, args, made)
        self.push_counted(made)

    def long_text(self, args: tuple[Any, ...]) -> bool:
        """The dtype of text of any length: with joblib it is no part of the result, so the policy never sees it."""
        if not all(type(each) in (bool, int, float, type(None)) or (type(each) is Global and each.key in _MISSING) for each in args):
            return False
        return self.put(self.rewrite("call", _LONG_TEXT, args))

    # --- dtypes -------------------------------------------------------------------------------------------------------

    def dtype(self, args: tuple[Any, ...]) -> bool:
        """numpy/_core/src/multiarray/descriptor.c, arraydescr_reduce: `dtype(text, False, True)`, and then its state."""
        if (
            len(args) != 3
            or type(args[0]) not in (str, Global)
            or (type(args[0]) is str and len(args[0]) > _LONGEST_KIND)
            or args[1] not in (False, 0)
            or args[2] not in (True, 1)
        ):
            return False
        made = self.rewrite("call", _DTYPE, args)
        self.pending[id(made)] = made
        return self.put(made)

    def load_build(self) -> None:
        """Complete a dtype, or read the array that a wrapper of joblib stands for; anything else gets its state."""
        target = self.stack[-2] if len(self.stack) - 2 >= self.fence else None
        if type(target) is not Made:
            super().load_build()
        elif id(target) in self.pending and target.handles == 1:
            made = self.pending.pop(id(target))
            spec = self.described(made, self.stack[-1])
            if spec is None:
                super().load_build()
                return
            self.stack.pop()
            made.args = spec
            self.handed += 1
            CHECKS["numpy dtype"](made, self.findings)
        elif (
            type(target.callee) is Global
            and target.callee.key == _WRAPPER
            and target.how == "new"
            and not self.inner
            and type(self.stack[-1]) is Dict
        ):
            if id(target) in self.filled:
                # It would keep what the state before said and this one does not.
                self.refuse("a wrapper of joblib that gets a second state")
            self.filled.add(id(target))
            self.read_array(self.stack.pop())
        else:
            super().load_build()

    def described(self, made: Made, state: Any) -> tuple[Any, ...] | None:
        """Return the arguments with which `numpy:dtype` makes the dtype that has this state, or None if it is not one that numpy writes."""
        if type(state) is not tuple or not 8 <= len(state) <= 9:
            return None
        version, order, base, names, fields, size, alignment, flags = state[:8]
        unit = self.unit(state[8]) if len(state) == 9 else ""
        if (
            version not in (3, 4)
            or order not in ("<", ">", "|", "=")
            or unit is None
            or not all(type(each) is int and -128 <= each <= _LARGEST for each in (size, alignment, flags))
        ):
            return None
        # Up to numpy 1 they were a signed byte.
        flags = flags + 256 if flags < 0 else flags
        kind = made.args[0]
        if type(kind) is Global:
            if kind.key != ("numpy", "record"):
                return None
            inner = self.structure(names, fields, size, alignment, flags) if not unit and base is None else None
            return None if inner is None else ((kind, self.rewrite("call", _DTYPE, inner)),)
        if len(state) == 9 and kind not in ("M8", "m8"):
            return None
        if base is not None:
            return self.subarray(base, size, alignment, flags) if kind == f"V{size}" and names is None and fields is None else None
        if names is not None or fields is not None:
            return self.structure(names, fields, size, alignment, flags) if kind == f"V{size}" else None
        return (f"{order}{kind[0]}" if kind[:1] == "O" else f"{order}{kind}{unit}",) if _is_plain(kind, size, alignment, flags) else None

    def subarray(self, base: Any, size: int, alignment: int, flags: int) -> tuple[Any, ...] | None:
        """Return the arguments for a dtype of so many items of another each."""
        described = self.findings.dtype(base[0]) if type(base) is tuple and len(base) == 2 else None
        if described is None:
            return None
        shape = (base[1],) if type(base[1]) is int else base[1]
        if type(shape) is not tuple or len(shape) > _MOST_DIMENSIONS or not all(type(each) is int and 0 <= each <= _LARGEST for each in shape):
            return None
        fits = size == described.itemsize * math.prod(shape) and _fits(alignment, flags, objects=described.objects)
        return ((base[0], shape),) if fits else None

    def structure(self, names: Any, fields: Any, size: int, alignment: int, flags: int) -> tuple[Any, ...] | None:
        """Return the arguments for a structured dtype."""
        if type(names) is not tuple or type(fields) is not Dict:
            return None
        self.copy(len(fields.flat) + len(names))
        table = {key: value for key, value in fields.entries() if type(key) is str}
        found = [table.get(name) if type(name) is str else None for name in names]
        if not all(type(each) is tuple and 2 <= len(each) <= 3 and type(each[0]) is Made for each in found):
            return None
        found_fields: list[tuple[Any, ...]] = found  # type: ignore[assignment]
        # A field with a title stands under that too.
        titles = {each[2] for each in found_fields if len(each) == 3 and type(each[2]) is str}
        if set(table) != {*names, *titles} or any(len(each) == 3 and type(each[2]) is not str for each in found_fields):
            return None
        if any(len(each) == 3 and not _same_field(table[each[2]], each) for each in found_fields):
            return None
        spec = Dict()
        spec.flat = ["names", names, "formats", tuple(each[0] for each in found_fields), "offsets", tuple(each[1] for each in found_fields)]
        spec.flat += ["itemsize", size]
        if titles:
            spec.flat += ["titles", tuple(each[2] if len(each) == 3 else None for each in found_fields)]
        objects = any(self.is_object(each[0]) for each in found_fields)
        return (spec, bool(flags & _ALIGNED)) if size >= 0 and _fits(alignment, flags, objects=objects) else None

    def is_object(self, dtype: Made) -> bool:
        described = self.findings.dtype(dtype)
        return described is not None and described.objects

    def unit(self, metadata: Any) -> str | None:
        """Return the unit of a datetime dtype as numpy prints it, "" for none, None if there is other metadata."""
        if metadata is None:
            return ""
        if type(metadata) is not tuple or len(metadata) != 2 or not (metadata[0] is None or (type(metadata[0]) is Dict and not metadata[0].flat)):
            return None
        if type(metadata[1]) is not tuple or len(metadata[1]) != 4:
            return None
        name, number, divisor, events = metadata[1]
        if type(name) is not bytes or not name.isalpha() or type(number) is not int or not 0 < number <= _LARGEST or divisor != 1 or events != 1:
            return None
        if name == b"generic":
            return ""
        return f"[{number if number != 1 else ''}{name.decode('ascii', 'replace')}]"

    # --- joblib -------------------------------------------------------------------------------------------------------

    def read_array(self, state: Dict) -> None:
        """joblib/numpy_pickle.py, NumpyArrayWrapper.read_array: what follows is the memory of the array, or a pickle of its objects."""
        entries = {key: value for key, value in state.entries() if type(key) is str}
        if not all(type(key) is str and key in _ENTRIES for key in state.flat[::2]):
            self.refuse("an array of joblib with an entry that joblib does not write, which may stand for a method of its reader")
        dtype, shape, order = entries.get("dtype"), entries.get("shape"), entries.get("order")
        if self.pending.pop(id(dtype), None) is dtype and type(dtype) is Made and type(dtype.args[0]) is str:
            # Without a state it is what its text says, in the order of this machine.
            dtype.args = (dtype.args[0],)
            CHECKS["numpy dtype"](dtype, self.findings)
        text = type(dtype) is Made and dtype.callee.key == _LONG_TEXT
        described = Dtype(8, objects=True) if text else self.findings.dtype(dtype)
        if described is None or type(shape) is not tuple or not all(type(each) is int and 0 <= each < 1 << 63 for each in shape) or len(shape) > 64:
            self.refuse("an array of joblib whose dtype or shape is none that joblib writes")
        subclass = entries.get("subclass")
        if order not in ("C", "F") or type(subclass) is not Global or subclass.key not in _SUBCLASSES:
            self.refuse("an array of joblib in an order or of a class that joblib does not write")
        if self.frame_end not in (NEVER, self.pos):
            self.refuse("an array of joblib that stands within a frame")
        self.frame_end = NEVER
        self.wrappers += 1
        padding = entries.get("numpy_array_alignment_bytes")
        length = math.prod(shape) * described.itemsize
        # The wrapper is gone; what the memo has of it is refused where it is written.
        self.spent |= {id(self.stack.pop()), id(dtype)}
        if self.apart is None and (described.objects or length or padding is not None):
            self.apart = self.pos, described.objects
        if described.objects:
            self.read_objects()
            return
        if padding is not None:
            self.padded = self.pos if self.padded is None else self.padded
            if self.padding:
                self.skip(self.unsigned(1))
        begin = self.pos
        self.skip(length)
        buffer = Buffer(len(self.arrays), length)
        self.arrays.append(memoryview(self.data)[begin : self.pos])
        self.constants.append((begin, self.pos))
        self.put(self.rewrite("call", _FROMBUFFER, (buffer, dtype, shape, order)))

    def read_objects(self) -> None:
        """Run the pickle that stands here with a stack and memo of its own, as joblib does."""
        outer = self.stack, self.marks, self.memo, self.protocol, self.begin
        self.stack, self.marks, self.memo, self.protocol, self.begin = [], [], {}, 0, self.pos
        self.inner = True
        root = self.loop()
        self.inner = False
        if self.stack or self.marks:
            self.beyond_strict("values or open marks left below the result of a pickle within the file")
        self.stack, self.marks, self.memo, self.protocol, self.begin = outer
        self.frame_end = NEVER
        self.push(root)


def _is_attribute(callee: Made) -> bool:
    return (
        type(callee.callee) is Global
        and callee.callee.key == _GETATTR
        and callee.how == "call"
        and callee.state is ABSENT
        and len(callee.args) == 2
        and type(callee.args[0]) is Global
        and type(callee.args[1]) is str
    )


def _is_plain(kind: str, size: int, alignment: int, flags: int) -> bool:
    """Tell whether a plain dtype has the size and the flags that numpy gives it: a state may say otherwise, and numpy believes it."""
    if kind[:1] == "O":
        return kind in ("O", "O8") and flags == 0x3F and size == alignment == -1
    if _SIZED.fullmatch(kind):
        width = 4 if kind[0] == "U" else 1
        return size == int(kind[1:]) * width and alignment == width and flags in (0, 8)
    return flags == 0 and size == alignment == -1


def _fits(alignment: int, flags: int, *, objects: bool) -> bool:
    """Tell whether a dtype that is made of others may have these: what is forged lacks flags or has too many. NPY_ITEM_IS_POINTER is 4."""
    known = flags & ~_ALIGNED
    return alignment in _ALIGNMENTS and (known in (0x1B, 0x3F) if objects else known & ~0x18 == 0)


def _same_field(one: Any, other: tuple[Any, ...]) -> bool:
    """Tell whether a title stands for the field that has it."""
    return type(one) is tuple and len(one) == 3 and one[0] is other[0] and type(one[1]) is int and one[1] == other[1] and one[2] == other[2]


_CALLS: Final[Mapping[tuple[str, str], Callable[[_Translator, tuple[Any, ...]], bool]]] = {
    ("copyreg", "_reconstructor"): _Translator.reconstructor,
    ("_codecs", "encode"): _Translator.encode,
    ("builtins", "bytes"): _Translator.no_bytes,
    ("builtins", "bytearray"): _Translator.byte_array,
    ("builtins", "set"): _Translator.set_of,
    ("builtins", "frozenset"): _Translator.frozenset_of,
    _GETATTR: _Translator.attribute,
    _DTYPE: _Translator.dtype,
    _LONG_TEXT: _Translator.long_text,
}
TRANSLATED: Final = frozenset((*_CALLS, _WRAPPER, _OBJECT))
"""Names that a program may use although no rule has them: what they say is said otherwise before the policy judges it."""

_Translator.operations = {code: getattr(_Translator, operation.__name__) for code, operation in OPERATIONS.items()}
