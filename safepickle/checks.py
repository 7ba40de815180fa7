"""Checks of arguments and states that a pattern cannot say: the named checks of rules.

They see abstract values only (see `machine`), run before anything is imported, and return why a use is refused.
Objects are judged in the order in which the program makes them, so what an argument was made from has been judged.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from .errors import LimitError
from .machine import ABSENT, Buffer, ByteArray, Bytes, Dict, Global, List, Made, Trace, brief

__all__ = ["CHECKS", "UNKNOWN", "Dtype", "Findings", "raw_bytes"]

# What numpy prints as `dtype.str`, and the same without the byte order. Datetimes carry their unit, of which
# numpy takes none at all too, and then divides by it.
_PLAIN_DTYPE: Final = re.compile(
    r"[<>|=]?(?:(?P<fixed>b1|[iu][1248]|f(?:2|4|8|12|16)|c(?:8|16|24|32)|O8?)"
    r"|(?P<sized>[SUV])(?P<size>\d{1,9})"
    r"|(?P<time>[Mm])8(?:\[(?:[1-9]\d{0,8})?(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?)",
    re.ASCII,
)
_ATOMS: Final = frozenset((type(None), bool, int, float, str, bytes))
_MAX_ITEM_BYTES: Final = (1 << 31) - 1
_MAX_DTYPE_DEPTH: Final = 16
_MAX_DTYPE_NODES: Final = 10_000
_MAX_EMPTY_ITEMS: Final = 1_000_000
# Looking at an item costs more than copying one, and what is so charged is short in what libraries write.
_SLOW: Final = 8
_INTEGER_FORMATS: Final = {"i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q", "b1": "?", "f4": "f", "f8": "d"}


class Dtype(NamedTuple):
    """What is known of a `numpy.dtype` that the program makes: size of an item in bytes, and how its arrays are stored."""

    itemsize: int
    objects: bool = False
    """Items are Python objects, stored as a list."""
    depth: int = 1
    time: str = ""
    """M for dates, m for durations."""
    text: bool = False
    """Items are text or bytes."""
    code: str = ""
    """Letter and size of a plain number, else empty."""
    big_endian: bool = False
    nodes: int = 1
    """Fields within fields, each as often as it is met: what hashing or printing the dtype costs."""
    subarray: bool = False
    """Such a dtype is for fields only: an array of it would have another shape than it says."""
    spec: str = ""
    """What `numpy.dtype` takes to make it anew, if it is a plain one."""
    fields: tuple[tuple[str, int, Dtype], ...] = ()
    """Name, offset in bytes and dtype of each field."""


UNKNOWN: Final = object()


class Findings:
    """What the checks have learned about the objects of one program."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.dtypes: dict[int, Dtype] = {}
        # What the pickler writes hands each value over about once, so the sum stays near the size of the file.
        self.cost = 0
        self.cost_allowed = 16 * (len(trace.program) + sum(memoryview(buffer).nbytes for buffer in trace.buffers)) + (1 << 24)
        self.memory: set[int] = set()
        """Ids of the byte arrays in which an array lies."""
        self.arrays: dict[int, tuple[Dtype, tuple[int, ...]]] = {}
        # What was looked at, by id, since a program may use one value over and over. The trace keeps all values alive.
        self.searched: set[int] = set()
        """Values that were searched for labels."""
        self.plain: dict[int, bool] = {}
        """For tuples, lists and dicts, whether they hold nothing but plain values."""
        self.estimators: dict[int, int] = {}
        """For tuples and containers, through how many levels they hold nothing that is no estimator."""

    def charge(self, amount: int) -> None:
        """Count bytes and items of an argument or state: each time they may be copied or looked at. Raises `LimitError`."""
        self.cost += amount
        if self.cost > self.cost_allowed:
            raise LimitError(
                f"arguments and states have more than {self.cost_allowed} bytes and items in all: the same large values are used over and over"
            )

    def dtype(self, value: Any) -> Dtype | None:
        return self.dtypes.get(id(value)) if type(value) is Made else None

    def array(self, value: Any) -> tuple[Dtype, tuple[int, ...]] | None:
        """Return dtype and shape of an array of numbers, or None for anything else."""
        return self.arrays.get(id(value)) if type(value) is Made else None

    def key(self, made: Made, name: tuple[str, str]) -> Any:
        """Return a value with the hash that `made`, of that name, will have, or `UNKNOWN`.

        Hashes of text, and of dates without a zone, are keyed by the process, so nobody can choose them.
        """
        if name == ("datetime", "date") or (name == ("datetime", "datetime") and len(made.args) == 1):
            return made.args[0]
        if name == ("datetime", "timedelta"):
            return made.args
        if name == ("decimal", "Decimal") and type(made.args[0]) is str and "N" not in made.args[0]:
            from decimal import Decimal

            return Decimal(made.args[0])
        if name != ("numpy._core.multiarray", "scalar"):
            return UNKNOWN
        dtype, data = made.args
        described = self.dtype(dtype)
        if described is not None and described.text and type(data) is bytes:
            return data
        number = self.number(made)
        return UNKNOWN if number is None else number

    def number(self, made: Made) -> int | float | None:
        """Return the number that a numpy scalar holds, or None if `made` is no real numpy number."""
        dtype = self.dtype(made.args[0]) if len(made.args) == 2 and made.state is ABSENT else None
        if dtype is None or dtype.code not in _INTEGER_FORMATS or type(made.args[1]) is not bytes:
            return None
        order = ">" if dtype.big_endian else "<"
        layout = struct.Struct(order + _INTEGER_FORMATS[dtype.code])
        value: int | float = layout.unpack(made.args[1])[0] if len(made.args[1]) == layout.size else 0
        return value


def _dtype(made: Made, findings: Findings) -> str | None:
    """`numpy:dtype` from a description that numpy itself bounds-checks. A state is never replayed: it can forge flags and offsets.

    Text; or ((base, shape),); or ((numpy.record, base),); or ({names, formats, offsets, itemsize[, titles]}, aligned).
    """
    spec = made.args[0]
    described: Dtype | str
    if type(spec) is str:
        described = _plain_dtype(spec)
    elif type(spec) is Dict:
        described = _struct_dtype(spec, findings)
    else:
        described = _derived_dtype(spec, findings)
    if isinstance(described, str):
        return described
    if described.depth > _MAX_DTYPE_DEPTH:
        return f"the dtype is nested more than {_MAX_DTYPE_DEPTH} deep"
    if described.nodes > _MAX_DTYPE_NODES:
        return f"the dtype holds more than {_MAX_DTYPE_NODES} fields, shared ones counted each time"
    if described.itemsize > _MAX_ITEM_BYTES:
        return f"an item of the dtype takes {described.itemsize} bytes"
    findings.dtypes[id(made)] = described
    return None


def _plain_dtype(text: str) -> Dtype | str:
    match = _PLAIN_DTYPE.fullmatch(text)
    if match is None:
        return f"{text[:40]!a} is not the text of a plain dtype"
    if match["sized"]:
        return Dtype(int(match["size"]) * (4 if match["sized"] == "U" else 1), text=match["sized"] != "V", spec=text)
    if match["time"]:
        return Dtype(8, time=match["time"], spec=text)
    if match["fixed"][0] == "O":
        return Dtype(8, objects=True)
    return Dtype(int(match["fixed"][1:]), code=match["fixed"], big_endian=text[0] == ">", spec=text)


def _derived_dtype(spec: Any, findings: Findings) -> Dtype | str:
    first, second = spec
    if type(first) is Global:
        base = findings.dtype(second)
        if base is None:
            return "numpy.record of something that is not a dtype"
        return Dtype(base.itemsize, base.objects, base.depth + 1, nodes=base.nodes + 1, fields=base.fields)
    base = findings.dtype(first)
    if base is None:
        return "a subarray of something that is not a dtype"
    if len(second) > 32:
        return "a subarray of more than 32 dimensions"
    return Dtype(base.itemsize * math.prod(second), base.objects, base.depth + 1, nodes=base.nodes + 1, subarray=True)


def _struct_dtype(spec: Dict, findings: Findings) -> Dtype | str:
    fields = dict(spec.entries())
    if not {"names", "formats", "offsets", "itemsize"} <= set(fields) <= {"names", "formats", "offsets", "itemsize", "titles"}:
        return "a structured dtype is described by names, formats, offsets, itemsize and perhaps titles"
    names, formats, offsets = fields["names"], fields["formats"], fields["offsets"]
    titles = fields.get("titles", ())
    itemsize = fields["itemsize"]
    if not all(type(each) is tuple for each in (names, formats, offsets, titles)) or type(itemsize) is not int:
        return "names, formats, offsets and titles of a structured dtype are tuples, its itemsize an integer"
    if not len(names) == len(formats) == len(offsets) or (titles and len(titles) != len(names)):
        return "the names, formats and offsets of a structured dtype differ in number"
    if not all(type(each) is str for each in names) or not all(each is None or type(each) is str for each in titles):
        return "the names and titles of a structured dtype are text"
    findings.charge(4 * len(names))
    depth = 0
    nodes = 1
    objects = False
    described = []
    for name, inner, offset in zip(names, formats, offsets, strict=True):
        base = findings.dtype(inner)
        if base is None:
            return "a field of a structured dtype is not a dtype"
        if type(offset) is not int or not 0 <= offset <= itemsize - base.itemsize:
            return f"a field of {base.itemsize} bytes at offset {brief(offset)} does not fit into an item of {brief(itemsize)} bytes"
        depth = max(depth, base.depth)
        nodes += base.nodes
        objects |= base.objects
        described.append((name, offset, base))
    return Dtype(itemsize, objects, depth + 1, nodes=nodes, fields=tuple(described))


def _frombuffer(made: Made, findings: Findings) -> str | None:
    """`_frombuffer(buffer, dtype, shape, order)`: no objects out of bytes, and exactly as many bytes as the shape needs."""
    buffer, dtype, shape = made.args[:3]
    described = findings.dtype(dtype)
    if described is None or described.objects or described.subarray:
        return "an array of Python objects, or of subarrays, cannot be made out of bytes"
    if type(buffer) is ByteArray:
        if id(buffer) in findings.memory:
            return "two arrays lie in the same bytes"
        findings.memory.add(id(buffer))
    findings.arrays[id(made)] = (described, shape)
    return _wrong_length(len(buffer), shape, described.itemsize)


def _wrong_length(found: int, shape: tuple[int, ...], itemsize: int) -> str | None:
    expected = math.prod(shape) * itemsize
    if not itemsize and math.prod(shape) > _MAX_EMPTY_ITEMS:
        return f"an array of {math.prod(shape)} items of no bytes"
    if len(shape) > 64 or found != expected:
        return f"an array of shape {shape[:8]} and {itemsize} bytes an item takes {expected} bytes, and there are {found}"
    return None


def _ndarray(made: Made, findings: Findings) -> str | None:
    """`_reconstruct(...)` and its state (1, shape, dtype, order, data): numpy walks the list without looking at its length."""
    _, shape, dtype, _, data = made.state
    described = findings.dtype(dtype)
    if described is None:
        # The only other dtypes that the pattern lets through are those of text of any length, stored as a list.
        if type(data) is not List or len(data.items) != math.prod(shape):
            return "an array of text is stored as a list of as many items as the shape says"
        return None
    if described.subarray:
        return "an array of subarrays is not stored"
    if described.objects and described.depth > 1:
        return "an array of structures that hold Python objects is not stored"
    if not described.objects:
        findings.arrays[id(made)] = (described, shape)
    return _wrong_data(data, shape, described)


def _wrong_data(data: Any, shape: tuple[int, ...], described: Dtype) -> str | None:
    """Return what is wrong with the data of an array in a state: bytes, or for Python objects a list."""
    if not described.objects:
        return _wrong_length(len(data), shape, described.itemsize) if type(data) is bytes else "an array of plain numbers is stored as bytes"
    if type(data) is not List or len(shape) > 64 or len(data.items) != math.prod(shape):
        return f"an array of objects of shape {shape[:8]} is stored as a list of {math.prod(shape)} items"
    return None


def _scalar(made: Made, findings: Findings) -> str | None:
    """`scalar(dtype, bytes)`: no object out of bytes, and exactly as many bytes as one item has."""
    dtype, data = made.args
    described = findings.dtype(dtype)
    if described is None or described.objects or described.subarray:
        return "a Python object, or a subarray, cannot be made out of bytes"
    return _wrong_length(len(data), (), described.itemsize)


def _masked(made: Made, findings: Findings) -> str | None:
    """`_mareconstruct(...)` and its state (version, shape, dtype, order, data, mask, fill value)."""
    _, shape, dtype, _, data, mask, _ = made.state
    described = findings.dtype(dtype)
    if described is None or described.depth > 1:
        return "a masked array of structures is not stored"
    return _wrong_length(len(mask), shape, 1) or _wrong_data(data, shape, described)


# Here and below: few files have any of these, so they are compiled where they are met.
_ZONE_KEY: Final = r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*"


def _zone_key(made: Made, findings: Findings) -> str | None:
    """A key of the time zone database: never a path."""
    return None if re.fullmatch(_ZONE_KEY, made.args[0], re.ASCII) and len(made.args[0]) <= 100 else "this is not a key of the time zone database"


_DECIMAL_TEXT: Final = r"-?(?:s?NaN\d{0,20}|Infinity|\d{1,1200}(?:\.\d{0,1200})?(?:E[+-]?\d{1,6})?)"
_FRACTION_TEXT: Final = r"-?\d{1,1200}(?:/[1-9]\d{0,1199})?"


def _number_text(made: Made, findings: Findings) -> str | None:
    """The text of a number whose value has about as many digits as the text. A Fraction of 10**10**9 would never end."""
    if type(made.args[0]) is not str:
        return None if all(each.bit_length() <= 4096 for each in made.args) else "its integers have more than 4,096 bits"
    form = _FRACTION_TEXT if made.callee.module == "fractions" else _DECIMAL_TEXT
    return None if re.fullmatch(form, made.args[0], re.ASCII) else "this is not the text of a number of bounded size"


def _same_function(made: Made, findings: Findings) -> str | None:
    """`functools.partial`: the state repeats the function of the call, and the arguments that it keeps are plain."""
    function, args, kwargs, _ = made.state
    if function is not made.args[0]:
        return "the state names another function than the call"
    named = kwargs.flat if type(kwargs) is Dict else []
    if any(type(key) is not str for key in named[::2]):
        return "keyword arguments are named by text"
    # An object as an argument would let a function of the library call methods of it, which no rule has judged.
    if not all(_is_plain(value, findings) for value in (*args, *named[1::2])):
        return "an argument that it keeps is neither a plain value nor an array of numbers"
    return None


def _is_plain(value: Any, findings: Findings) -> bool:
    """Tell whether a value is an atom, an array of numbers, a reference, or a tuple, list or dict of atoms and references."""
    if type(value) in (tuple, List, Dict):
        known = findings.plain.get(id(value))
        if known is None:
            parts = value if type(value) is tuple else value.items if type(value) is List else value.flat
            known = findings.plain[id(value)] = all(type(part) in _ATOMS or type(part) is Global for part in parts)
        return known
    return type(value) in _ATOMS or type(value) is Global or findings.array(value) is not None


# scipy/stats/_distn_infrastructure.py, parse_arg_template: the text that __setstate__ executes. Only names stand
# where names stood, so what is executed defines three functions and does nothing else.
_STATS_TEMPLATE: Final = (
    r"\ndef _parse_args\(self, (?P<shapes>(?:[A-Za-z][A-Za-z0-9_]*, ?)*) (?P<defaults>loc=0(?:, scale=1)?)\):\n"
    r"    return \((?P=shapes)\), (?P<values>loc, (?:scale|1))\n\n"
    r"def _parse_args_rvs\(self, (?P=shapes) (?P=defaults), size=None\):\n"
    r"    return self\._argcheck_rvs\((?P=shapes) (?P=values), size=size\)\n\n"
    r"def _parse_args_stats\(self, (?P=shapes) (?P=defaults), moments='mv'\):\n"
    r"    return \((?P=shapes)\), (?P=values), moments\n"
)


def _stats_distribution(made: Made, findings: Findings) -> str | None:
    """A scipy.stats distribution, whose state setter executes one text of the state."""
    if type(made.state) is not Dict:
        return "a distribution has a dict as its state"
    for key, value in made.state.entries():
        if key == "_parse_arg_template":
            if type(value) is str and re.fullmatch(_STATS_TEMPLATE, value, re.ASCII):
                return None
            return "its _parse_arg_template is other text than scipy's, and it would be executed"
    return "its _parse_arg_template is missing"


def _text_state(made: Made) -> dict[str, Any]:
    """Return a dict state whose keys are distinct text, as every rule with such a state demands."""
    return dict(made.state.entries()) if type(made.state) is Dict else {}


def _tree(made: Made, findings: Findings) -> str | None:
    """`Tree(n_features, n_classes, n_outputs)`: the constructor reads as many class counts as there are outputs, and
    `__setstate__` as many nodes as `node_count` says.
    """
    _, classes, outputs = made.args
    counts = findings.array(classes)
    if counts is None or counts[0].code != "i8" or counts[1] != (outputs,) or outputs < 1:
        return "its class counts are not one integer for each output"
    state = _text_state(made)
    if set(state) != {"max_depth", "node_count", "nodes", "values"}:
        return "its state has other entries than max_depth, node_count, nodes and values"
    nodes, values = findings.array(state["nodes"]), findings.array(state["values"])
    count = state["node_count"]
    if type(count) is not int or type(state["max_depth"]) is not int or count < 1 or state["max_depth"] < 0:
        return "its node_count or max_depth is not a positive integer"
    if nodes is None or nodes[1] != (count,) or values is None or len(values[1]) != 3 or values[1][:2] != (count, outputs):
        return f"its nodes or values are not arrays of {count} nodes"
    return None


# Entries whose text scikit-learn passes to getattr() to find the method that it calls with data.
_METHOD_ENTRIES: Final = frozenset(("stack_method", "stack_method_", "response_method", "_response_method", "chain_method", "chain_method_"))
# Entries that hold what scikit-learn calls `predict` and `transform` of, or that hold such within lists and tuples.
_ESTIMATOR_ENTRY: Final = re.compile(r".*(?:estimator|classifier|regressor|transformer|steps).*", re.ASCII)
# A Series or DataFrame has a `transform` that takes the name of a method, and finds its items as attributes.
_NO_ESTIMATORS: Final = ("pandas", "functools", "operator", "collections")
_METHODS: Final = frozenset((None, "auto", "predict", "predict_proba", "predict_log_proba", "decision_function"))


def _estimator(made: Made, findings: Findings) -> str | None:
    """An estimator: what it calls at predict is an estimator, by the name of a method that predicts, with plain arguments.

    An array has `tofile`, a DataFrame has `eval`, and both can be put where an estimator is expected.
    """
    for name, value in _text_state(made).items():
        if name == "_raw_predict" and not (type(value) is Made and value.callee.key == ("builtins", "getattr")):
            return "its entry '_raw_predict' is not that method of itself"
        if name in ("kw_args", "inv_kw_args") and value is not None and not _is_plain_dict(value, findings):
            return f"its entry {name!r} is not a dict of plain values"
        if type(value) not in _ATOMS and _ESTIMATOR_ENTRY.fullmatch(name) and not _may_hold_estimators(value, findings):
            return f"its entry {name!r} holds something that is no estimator"
        if name in _METHOD_ENTRIES:
            named = value if type(value) is tuple else value.items if type(value) is List else (value,)
            findings.charge(_SLOW * len(named))
            if not all(type(each) in _ATOMS and each in _METHODS for each in named):
                return f"its entry {name!r} names a method that is not one of {', '.join(sorted(filter(None, _METHODS)))}"
    return None


def _index(made: Made, findings: Findings) -> str | None:
    """`_new_Index(cls, keywords)`: the class is made with these keywords, and hashes the names among them."""
    keywords = dict(made.args[1].entries())
    for keyword, value in keywords.items():
        findings.charge(_SLOW * len(value.items) if type(value) is List else 1)
        if keyword in ("name", "closed", "sortorder", "start", "stop", "step"):
            good = _is_name(value, findings)
        elif keyword == "names":
            good = type(value) is List and all(_is_name(each, findings) for each in value.items)
        elif keyword in ("levels", "codes"):
            good = type(value) is List and all(_is_column(each) for each in value.items)
        elif keyword in ("data", "left", "right"):
            good = _is_column(value)
            if good and _has_array_label(value, findings):
                return "a label is a name under which numpy looks for the memory of an array"
        elif keyword == "freq":
            good = value is None or (type(value) is Made and value.callee.module == "pandas._libs.tslibs.offsets")
        else:
            good = False
        if not good:
            return f"its keyword {keyword!r} is none that pandas writes, or has a value that pandas does not write"
    return None


_COLUMNS: Final = frozenset(
    (
        *("_new_Index", "_new_DatetimeIndex", "_new_TimedeltaIndex", "_new_IntervalIndex", "_frombuffer", "_reconstruct"),
        *("__pyx_unpickle_NDArrayBacked", "__pyx_unpickle_IntervalMixin", "BooleanArray", "IntegerArray", "FloatingArray"),
        *("SparseArray", "ArrowExtensionArray", "ArrowStringArray"),
    )
)


def _is_column(value: Any) -> bool:
    """Tell whether a value is an array or an index: a Series would answer for attributes from its labels."""
    return type(value) is Made and value.callee.name in _COLUMNS and value.callee.module.partition(".")[0] in ("numpy", "pandas")


_LABELS: Final = tuple("__array".encode(form) for form in ("ascii", "utf-32-le", "utf-32-be"))


def _has_array_label(value: Any, findings: Findings) -> bool:
    """Tell whether labels hold text that begins with `__array`: Series and DataFrames find labels as attributes.

    What was searched before, for these labels or others, held none, or the program is refused already.
    """
    work = [value]
    while work:
        part = work.pop()
        kind = type(part)
        if kind is str:
            if part.startswith("__array"):
                return True
            continue
        if kind in _ATOMS and kind is not bytes:
            continue
        if id(part) in findings.searched:
            continue
        findings.searched.add(id(part))
        if kind is List:
            work.extend(part.items)
        elif kind is tuple:
            work.extend(part)
        elif kind is Dict:
            work.extend(part.flat[1::2])
        elif kind is Made:
            array = findings.array(part)
            if array is not None and (array[0].code or array[0].time):
                # Plain numbers and times are no text, however large the array.
                continue
            work.extend(part.args)
            if part.state is not ABSENT:
                work.append(part.state)
        elif kind in (bytes, ByteArray, Buffer):
            raw = bytes(raw_bytes(part, findings.trace))
            if any(label in raw for label in _LABELS):
                return True
    return False


def _is_name(value: Any, findings: Findings) -> bool:
    """Tell whether a value is an atom, a numpy number, or a short tuple of those."""
    parts = value if type(value) is tuple else (value,)
    return len(parts) <= 100 and all(type(each) in _ATOMS or (type(each) is Made and findings.number(each) is not None) for each in parts)


def _isotonic(made: Made, findings: Findings) -> str | None:
    """An IsotonicRegression, whose state setter interpolates its thresholds while the object is built."""
    for name, value in _text_state(made).items():
        if name in ("X_thresholds_", "y_thresholds_") and findings.array(value) is None:
            return f"its entry {name!r} is not an array of numbers"
    return None


_ESTIMATOR_LEVELS: Final = 3


def _may_hold_estimators(value: Any, findings: Findings) -> bool:
    """Tell whether nothing that is no estimator stands within lists, tuples, dicts and arrays of objects of up to three levels.

    Each is looked at once a level, in all of the program, however often it is met: three lists of 3,000 times the next are 15 kB.
    """
    level = [value]
    for left in range(_ESTIMATOR_LEVELS, 0, -1):
        inner: list[Any] = []
        for part in level:
            if type(part) in _ATOMS or findings.estimators.get(id(part), 0) >= left:
                continue
            items = _items(part)
            if items is not None:
                findings.estimators[id(part)] = left
                inner.extend(items)
            elif not _may_be_estimator(part):
                return False
        level = inner
    return all(map(_may_be_estimator, level))


def _items(value: Any) -> Sequence[Any] | None:
    """Return what a tuple, list, dict or array of objects holds, or None for anything else."""
    if type(value) is tuple:
        return value
    if type(value) is List:
        return value.items
    if type(value) is Dict:
        return value.flat[1::2]
    # The state of an array of objects ends with the list of them.
    if type(value) is Made and type(value.state) is tuple and value.state and type(value.state[-1]) is List:
        return value.state[-1].items
    return None


def _may_be_estimator(value: Any) -> bool:
    return not (type(value) is Made and value.callee.module.partition(".")[0] in _NO_ESTIMATORS)


def _is_plain_dict(value: Any, findings: Findings) -> bool:
    if type(value) is not Dict:
        return False
    findings.charge(_SLOW * len(value.flat))
    return all(_is_plain(each, findings) for each in value.flat[1::2])


def _interpolator(made: Made, findings: Findings) -> str | None:
    """An interp1d, which keeps as `_call` the one of its methods that evaluates it."""
    parts = made.state if type(made.state) is tuple else (made.state,)
    for part in parts:
        if type(part) is Dict:
            for key, value in part.entries():
                if key == "_call" and not (type(value) is Global and value.name.startswith("interp1d._call")):
                    return "its entry '_call' is not one of its own methods"
    return None


_BACKED: Final = {"DatetimeArray": "M", "TimedeltaArray": "m", "PeriodArray": "i8"}


def _backed(made: Made, findings: Findings) -> str | None:
    """An array of pandas over one of numpy, whose dtype compiled code takes for granted."""
    array = findings.array(made.state[1])
    wanted = _BACKED.get(made.args[0].name.rpartition(".")[2]) if type(made.args[0]) is Global else None
    if wanted is not None and (array is None or (array[0].code != wanted and array[0].time != wanted)):
        return f"it lies over an array that is not of {wanted}"
    return None


_POSITIONS: Final = {"pos": 624, "buffer_pos": 4, "has_uint32": 1}


def _bit_generator(made: Made, findings: Findings) -> str | None:
    """A bit generator: numpy before 2.5 believes the position in its buffer."""
    work = [made.state[0] if type(made.state) is tuple else made.state]
    for _ in range(100):
        if not work:
            return None
        state = work.pop()
        findings.charge(len(state.flat))
        for key, value in state.entries():
            if type(value) is Dict:
                work.append(value)
            elif key in _POSITIONS:
                number = findings.number(value) if type(value) is Made else value
                if not isinstance(number, int) or not 0 <= number <= _POSITIONS[key]:
                    return f"its {key!r} is not from 0 to {_POSITIONS[key]}"
    return "its state holds dicts within dicts without end"


def _regex_flag(made: Made, findings: Findings) -> str | None:
    """A flag of `re`: every new value would stay in a table of the process."""
    return None if 0 <= made.args[0] < 1 << 10 else "these are no flags of a regular expression"


def raw_bytes(buffer: Any, trace: Trace) -> Bytes:
    """Return the bytes of a bytes, bytearray or out-of-band buffer, empty for anything else."""
    if type(buffer) is ByteArray:
        return memoryview(trace.program)[buffer.start : buffer.end]
    if type(buffer) is Buffer:
        return trace.buffers[buffer.number]
    return buffer if type(buffer) is bytes else b""


_ARROW_BITS: Final = {
    **dict.fromkeys(("bool", "boolean"), 1),
    **dict.fromkeys(("int8", "uint8"), 8),
    **dict.fromkeys(("int16", "uint16", "float16", "halffloat"), 16),
    **dict.fromkeys(("int32", "uint32", "float32", "float", "date32", "date32[day]", "time32[s]", "time32[ms]"), 32),
    **dict.fromkeys(("int64", "uint64", "float64", "double", "date64", "date64[ms]", "time64[us]", "time64[ns]"), 64),
    **dict.fromkeys((f"{kind}[{unit}]" for kind in ("timestamp", "duration") for unit in ("s", "ms", "us", "ns")), 64),
}
_ARROW_OFFSETS: Final = {"string": "i", "utf8": "i", "binary": "i", "large_string": "q", "large_utf8": "q", "large_binary": "q"}


def _arrow_array(made: Made, findings: Findings) -> str | None:
    """`_restore_array((type, length, nulls, offset, buffers, children, dictionary))`: Arrow believes lengths and offsets."""
    work = [made.args[0]]
    seen = 0
    while work:
        item = work.pop()
        seen += 1
        if seen > 1000:
            return "a column is nested in more than 1,000 columns, or in itself"
        if type(item) is not tuple or len(item) != 7:
            return "a column is not described by seven values"
        kind, length, nulls, offset, buffers, children, dictionary = item
        if (
            type(kind) is not Made
            or type(nulls) is not int
            or type(length) is not int
            or type(offset) is not int
            or length < 0
            or not -1 <= nulls <= length
            or offset < 0
            or type(buffers) is not List
            or type(children) is not List
        ):
            return "a column is not described by a type, lengths that are not negative, buffers and columns"
        if dictionary is not None:
            return "a dictionary-encoded column is not stored"
        # Offsets are read one by one, four bytes or more each.
        contents = [_arrow_buffer(each, findings) for each in buffers.items]
        findings.charge(len(contents) + len(children.items) + sum(len(each) for each in contents if each is not None) // 4)
        if nulls > 0 and (not contents or contents[0] is None):
            return "a column has missing values and does not say which"
        why = _arrow_lengths(kind, length + offset, contents, children.items)
        if why is not None:
            return why
        work.extend(children.items)
    return None


def _arrow_lengths(kind: Any, end: int, contents: list[Bytes | None], children: list[Any]) -> str | None:
    alias = kind.args[0] if type(kind) is Made and kind.args and type(kind.args[0]) is str else ""
    if not contents or (contents[0] is not None and len(contents[0]) * 8 < end):
        return "the validity of a column is shorter than the column"
    if alias in _ARROW_BITS and kind.callee.name == "type_for_alias":
        bits = _ARROW_BITS[alias]
    elif kind.callee.name == "timestamp":
        bits = 64
    else:
        inner = None
        if kind.callee.name == "list_":
            if len(children) != 1 or type(children[0]) is not tuple or len(children[0]) != 7 or type(children[0][1]) is not int:
                return "a column of lists has not one column of items"
            inner = children[0][1]
        elif alias not in _ARROW_OFFSETS or len(contents) != 3:
            return f"columns of type {alias!a} are not stored"
        if len(contents) < 2 or contents[1] is None:
            return None if end == 0 else "the offsets of a column are missing"
        view = memoryview(contents[1]).cast("B")
        size = 8 if _ARROW_OFFSETS.get(alias) == "q" else 4
        if len(view) < (end + 1) * size:
            return "the offsets of a column are fewer than its items"
        offsets = [each for (each,) in struct.iter_unpack("<q" if size == 8 else "<i", view[: (end + 1) * size])]
        room = inner if inner is not None else len(contents[2] or b"")
        if offsets[0] < 0 or offsets[-1] > room or offsets != sorted(offsets):
            return "the offsets of a column reach beyond its data"
        return None
    if children or len(contents) != 2 or len(contents[1] or b"") * 8 < end * bits:
        return "the data of a column is shorter than the column"
    return None


def _arrow_buffer(value: Any, findings: Findings) -> Bytes | None:
    return raw_bytes(value.args[0], findings.trace) if type(value) is Made and value.args else None


def _typed_entry(names: tuple[str, ...], kinds: tuple[type, ...]) -> Callable[[Made, Findings], str | None]:
    """Return a check that the native content of a booster, if it has one, is of the type that its reader takes."""

    def check(made: Made, findings: Findings) -> str | None:
        for name, value in _text_state(made).items():
            if name in names and value is not None and type(value) not in kinds:
                return f"its entry {name!r} is not {' or '.join(kind.__name__.lower() for kind in kinds)}"
        return None

    return check


CHECKS: Final[dict[str, Callable[[Made, Findings], str | None]]] = {
    "numpy dtype": _dtype,
    "numpy frombuffer": _frombuffer,
    "numpy ndarray": _ndarray,
    "numpy scalar": _scalar,
    "numpy masked": _masked,
    "zone key": _zone_key,
    "number text": _number_text,
    "same function": _same_function,
    "scipy stats": _stats_distribution,
    "sklearn tree": _tree,
    "sklearn estimator": _estimator,
    "pandas index": _index,
    "pandas backed": _backed,
    "interpolator": _interpolator,
    "bit generator": _bit_generator,
    "regex flag": _regex_flag,
    "sklearn isotonic": _isotonic,
    "arrow array": _arrow_array,
    "booster bytes": _typed_entry(("handle",), (bytes, ByteArray)),
    "booster text": _typed_entry(("handle", "_handle"), (str,)),
    "catboost bytes": _typed_entry(("__model",), (bytes, ByteArray)),
}
