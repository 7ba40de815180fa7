"""Mutation test of `load`: one number of a genuinely signed model is changed, and nothing may crash.

    python tests/mutations.py [--per-case N | --total N] [--seed S] [--group G]... [--jobs J] [TEXT]
    python tests/mutations.py --show CASE [MUTATION]

Whoever signs decides every number of a model, and compiled code believes most of them. Each mutation edits one value of one
model of the corpus while it is pickled: an entry of an array, a whole array, a number, a text, a container, an object. Since
the pickler is what edits, states of compiled objects are reached as well. The result is signed and loaded, and then everything
is called that a user calls. It must be refused with a `SafePickleError`, or answer, or raise an exception of Python.
What must not be, and what the exit status 1 means:

- crash: the process dies of a signal;                  - memory: more than `MEMORY_BYTES` are asked for;
- hang: more than `SECONDS` of CPU for one mutation;     - exit: the process ends itself, as OpenMP does without memory;
- raised at load: something other than a `SafePickleError`.

A process builds each model once and asks it nothing. Children forked from it try one mutation after another; where one
dies, the mutation is tried again alone, and the next child goes on behind it. A mutation is named by its path and edit, as in
`$.tree_.nodes['left_child'][0] = -2`, which `--show` runs again (with the same seed); `--show CASE` lists them all.

What this does not see: a wild read that hits mapped memory, and what training again with mutated parameters does.
"""

from __future__ import annotations

import os

if __name__ == "__main__":
    # Threads of OpenMP and BLAS do not survive a fork.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import argparse
import contextlib
import copyreg
import faulthandler
import functools
import io
import itertools
import json
import pickle
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import types
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from typing import Any

import joblib
import numpy as np
import pandas as pd
import scipy.sparse as sp
from assembler import KEY, seal
from corpus import cases as corpus
from sklearn.base import is_regressor

import safepickle
from safepickle import SafePickleError
from safepickle.pickling import OUT_OF_BAND_BYTES, _numpy_reducers

SECONDS = 5
"""Of CPU, for all that is done with one mutation. Six times as much may pass, since a process that waits must end, too."""
MEMORY_BYTES = 1 << 30
BATCH = 100
FINDINGS = ("crash", "hang", "memory", "exit", "raised at load")
GROUPS = {"estimators": 4, "variants": 1, "composites": 1, "values": 2}
"""What is mutated, and how many mutations a case of each group gets, relative to the others."""

Change = Callable[[Any], Any]
Load = Callable[[bytes], Any]


@dataclass(frozen=True, slots=True)
class Site:
    """A place in the pickled model: what stands there is what a mutation changes."""

    number: int
    path: str
    attribute: str
    """The path without numbers of items, and without the keys of large dicts."""
    member: str
    """The same from the object that holds the value: `Tree.nodes`."""
    value: Any


@dataclass(frozen=True, slots=True)
class Mutation:
    """A change of one site. Two with the same text do the same."""

    site: int
    path: str
    attribute: str
    member: str
    edit: str
    change: Change

    def __str__(self) -> str:
        return f"{self.path}{self.edit}"


@dataclass(slots=True)
class Result:
    """What came of a mutation: `kind` is one of `FINDINGS`, or unchanged, unpicklable, refused, raised, answer."""

    case: str
    text: str
    attribute: str
    member: str
    kind: str
    method: str = ""
    detail: str = ""


# --- the pickler that edits ------------------------------------------------------------------------------------


class _Editor(pickle._Pickler):
    """Pickles as `safepickle.pickling.pickled` does, and shows every value that stands in a state, an argument or a container to `visit`.

    What `visit` returns is pickled in its place. Shapes and dtypes belong to their array and are not shown, nor are keys of dicts.
    """

    dispatch = dict(pickle._Pickler.dispatch)

    def __init__(self, stream: io.BytesIO, buffers: list[memoryview]) -> None:
        def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
            raw = buffer.raw()
            if raw.nbytes < OUT_OF_BAND_BYTES:
                return True
            buffers.append(raw)
            return False

        super().__init__(stream, protocol=5, buffer_callback=keep_in_band)
        self.dispatch_table = {**copyreg.dispatch_table, **_numpy_reducers()}
        self.path: list[tuple[str, str]] = []
        self.holders: list[tuple[str, int]] = [("", 0)]
        self.closed = 0

    def visit(self, value: Any) -> Any:
        raise NotImplementedError

    def dump(self, obj: Any) -> None:
        self.write(pickle.PROTO + b"\x05")
        self.framer.start_framing()
        self._at("$", obj)
        self.write(pickle.STOP)
        self.framer.end_framing()

    def _at(self, label: str, value: Any, collapsed: str | None = None) -> None:
        if self.closed:
            self.save(value)
            return
        self.path.append((label, label if collapsed is None else collapsed))
        value = self.visit(value)
        atom = isinstance(value, (np.dtype, np.generic)) or (isinstance(value, np.ndarray) and not value.dtype.hasobject)
        self.closed += atom
        self.save(value)
        self.closed -= atom
        self.path.pop()

    def _hidden(self, value: Any) -> None:
        self.closed += 1
        self.save(value)
        self.closed -= 1

    def _batch_appends(self, items: Iterable[Any], obj: Any = None) -> None:
        numbered = enumerate(items)
        while batch := list(itertools.islice(numbered, 1000)):
            if len(batch) > 1:
                self.write(pickle.MARK)
            for index, item in batch:
                self._at(f"[{index}]", item, "[]")
            self.write(pickle.APPENDS if len(batch) > 1 else pickle.APPEND)

    def _batch_setitems(self, items: Iterable[tuple[Any, Any]], obj: Any = None, attributes: bool = False) -> None:
        pairs, large = iter(items), not attributes and isinstance(items, Sized) and len(items) > 12
        while batch := list(itertools.islice(pairs, 1000)):
            if len(batch) > 1:
                self.write(pickle.MARK)
            for key, value in batch:
                self._hidden(key)
                self._at(f".{key}" if attributes else f"[{key!r}]", value, "[]" if large else None)
            self.write(pickle.SETITEMS if len(batch) > 1 else pickle.SETITEM)

    def _save_tuple(self, obj: tuple[Any, ...], first_open: int = 0) -> None:
        if not obj:
            self.write(pickle.EMPTY_TUPLE)
            return
        if len(obj) > 3:
            self.write(pickle.MARK)
        for index, item in enumerate(obj):
            if index < first_open:
                self._hidden(item)
            else:
                self._at("" if first_open else f"[{index}]", item)
        if id(obj) in self.memo:
            # It holds itself, and was built on the way.
            self.write((pickle.POP * len(obj) if len(obj) <= 3 else pickle.POP_MARK) + self.get(self.memo[id(obj)][0]))
        else:
            self.write(pickle._tuplesize2code[len(obj)] if len(obj) <= 3 else pickle.TUPLE)
            self.memoize(obj)

    def _save_unordered(self, obj: Any) -> None:
        # Members are hashed, and their order changes from one process to the next: the set is a site, they are not.
        self.closed += 1
        pickle._Pickler.dispatch[type(obj)](self, obj)
        self.closed -= 1

    def _save_buffer(self, obj: pickle.PickleBuffer) -> None:
        # The pure-Python pickler memoizes the bytes, and fails if they are a constant such as b"".
        with obj.raw() as raw:
            if not self._buffer_callback(obj):
                self.write(pickle.NEXT_BUFFER + (pickle.READONLY_BUFFER if raw.readonly else b""))
                return
            size = len(raw)
            if not raw.readonly:
                head = pickle.BYTEARRAY8 + size.to_bytes(8, "little")
            else:
                head = pickle.SHORT_BINBYTES + bytes([size]) if size < 256 else pickle.BINBYTES + size.to_bytes(4, "little")
            self.write(head + raw.tobytes())
            self.memoize(obj)

    dispatch[pickle.PickleBuffer] = _save_buffer
    dispatch[tuple] = _save_tuple
    dispatch[set] = dispatch[frozenset] = _save_unordered

    def save_reduce(self, func, args, state=None, listitems=None, dictitems=None, state_setter=None, *, obj=None) -> None:
        self.holders.append((type(obj).__name__, len(self.path)))
        self._save_reduced(func, args, state, listitems, dictitems, state_setter, obj)
        self.holders.pop()

    def _save_reduced(self, func, args, state, listitems, dictitems, state_setter, obj) -> None:
        name = getattr(func, "__name__", "")
        array = isinstance(obj, np.ndarray)
        if name == "__newobj__":
            self._hidden(args[0])
            self._at(".args", args[1:]) if args[1:] else self.save(())
            self.write(pickle.NEWOBJ)
        elif name == "__newobj_ex__":
            self._hidden(args[0])
            self._at(".args", args[1])
            self._at(".kwargs", args[2])
            self.write(pickle.NEWOBJ_EX)
        else:
            self._hidden(func)
            self._hidden(args) if array else self._at(".args", args)
            self.write(pickle.REDUCE)
        if obj is not None:
            if id(obj) in self.memo:
                self.write(pickle.POP + self.get(self.memo[id(obj)][0]))
            else:
                self.memoize(obj)
        if listitems is not None:
            self._batch_appends(listitems)
        if dictitems is not None:
            self._batch_setitems(dictitems)
        if state is None:
            return
        if state_setter is not None:
            self._hidden(state_setter)
            self._hidden(obj)
        if array and type(state) is tuple:
            # Version, shape, dtype and order, then the items; of masked arrays also mask and fill value.
            self._save_tuple(state, first_open=4)
        elif type(state) is dict:
            self._save_attributes(state)
        else:
            self._at(".state", state)
        self.write(pickle.TUPLE2 + pickle.REDUCE + pickle.POP if state_setter is not None else pickle.BUILD)

    def _save_attributes(self, state: dict[str, Any]) -> None:
        if id(state) in self.memo:
            self._at(".__dict__", state)
            return
        shown = self.visit_attributes(state)
        if shown is not state:
            self._hidden(shown)
            return
        self.write(pickle.EMPTY_DICT)
        self.memoize(state)
        self._batch_setitems(state.items(), attributes=True)

    def visit_attributes(self, state: dict[str, Any]) -> Any:
        if self.closed:
            return state
        self.path.append((".__dict__",) * 2)
        shown = self.visit(state)
        self.path.pop()
        return shown


class _Surveyor(_Editor):
    def __init__(self, stream: io.BytesIO, buffers: list[memoryview]) -> None:
        super().__init__(stream, buffers)
        self.sites: list[Site] = []

    def visit(self, value: Any) -> Any:
        path, labels = "".join(label for label, _ in self.path), [label for _, label in self.path]
        holder, depth = self.holders[-1]
        self.sites.append(Site(len(self.sites), path, "".join(labels), holder + "".join(labels[depth:]), value))
        return value


class _Changer(_Editor):
    def __init__(self, stream: io.BytesIO, buffers: list[memoryview], number: int, change: Change) -> None:
        super().__init__(stream, buffers)
        self.left = number
        self.change = change
        self.kept: list[Any] = []

    def visit(self, value: Any) -> Any:
        self.left -= 1
        if self.left != -1:
            return value
        # One edit only, so nothing behind it is a site. The memo goes by ids: what is new must live as long.
        self.closed += 1
        self.kept += [value, changed := self.change(value)]
        return changed


def survey(model: Any) -> list[Site]:
    """Return the sites of a model, in the order in which they are pickled."""
    surveyor = _Surveyor(io.BytesIO(), [])
    surveyor.dump(model)
    return surveyor.sites


def edited(model: Any, number: int, change: Change) -> tuple[bytes, list[memoryview]]:
    """Return program and buffers of the model with one site changed. The model stays as it is."""
    stream, buffers = io.BytesIO(), []
    _Changer(stream, buffers, number, change).dump(model)
    return stream.getvalue(), buffers


def unchanged(value: Any) -> Any:
    return value


AS_IT_IS = Mutation(-1, "the model as it is", "", "", "", unchanged)
"""None at all: what an honest model does is no finding."""


# --- what is put in place of a value ---------------------------------------------------------------------------


def mutations(model: Any, seed: str, count: int | None = None) -> list[Mutation]:
    """Return `count` mutations of a model, or all: as many of each attribute as of any other, in an order of chance fixed by the seed."""
    sites = survey(model)
    rng = random.Random(seed)
    texts = sorted({site.value for site in sites if type(site.value) is str})
    objects = list({type(site.value): site.value for site in sites if _kind(site.value) == "object"}.values())
    groups: dict[tuple[str, str], list[tuple[Site, str]]] = defaultdict(list)
    for site in sites:
        for facet in _facets(site.value):
            groups[site.attribute, facet].append((site, facet))

    @functools.cache
    def left(number: int, facet: str) -> list[tuple[str, Change]]:
        chance = random.Random(f"{seed} {number} {facet}")
        options = list(_options(sites[number].value, facet, chance, texts, objects))
        chance.shuffle(options)
        return options

    found: list[Mutation] = []
    while groups and (count is None or len(found) < count):
        for group in rng.sample(sorted(groups), len(groups)):
            places = groups[group]
            index = rng.randrange(len(places))
            site, facet = places[index]
            if not left(site.number, facet):
                places[index] = places[-1]
                places.pop()
                if not places:
                    del groups[group]
                continue
            edit, change = left(site.number, facet).pop()
            found.append(Mutation(site.number, site.path, site.attribute + facet, site.member + facet, edit, change))
    return found[:count]


def _kind(value: Any) -> str:
    for kind, classes in _KINDS:
        if isinstance(value, classes):
            return kind
    return "object"


_KINDS: tuple[tuple[str, Any], ...] = (
    ("none", (type(None), type(...), type(NotImplemented))),
    ("bool", (bool, np.bool_)),
    ("int", (int, np.integer)),
    ("float", (float, np.floating)),
    ("text", str),
    ("bytes", (bytes, bytearray)),
    ("complex", (complex, np.complexfloating)),
    ("array", np.ndarray),
    ("sequence", (list, tuple)),
    ("dict", dict),
    ("set", (set, frozenset)),
    ("name", (type, types.FunctionType, types.BuiltinFunctionType, np.ufunc)),
    ("dtype", np.dtype),
)


def _facets(value: Any) -> list[str]:
    """The parts of a value that are mutated on their own."""
    if not isinstance(value, np.ndarray):
        return [""]
    if value.size == 0:
        return [""]
    if value.dtype.names:
        return ["", *(f"[{name!r}]" for name in value.dtype.names)]
    return ["", "[]"]


def _options(value: Any, facet: str, rng: random.Random, texts: Sequence[str], objects: Sequence[Any]) -> Iterator[tuple[str, Change]]:
    """Edits of a value, each a text and what makes the new value of the old."""

    def put(new: Any) -> tuple[str, Change]:
        return f" = {new!r}", lambda _: new

    kind = _kind(value)
    match kind:
        case "none":
            yield from map(put, (0, 1, "x", [], -1.5))
        case "bool":
            yield from map(put, (not value, None))
        case "int":
            for new in dict.fromkeys((0, 1, -1, int(value) + 1, int(value) - 1, 1 << 16, 1 << 28, 1 << 31, 1 << 40, -(1 << 28))):
                if isinstance(value, int):
                    yield put(new)
                elif np.iinfo(value.dtype).min <= new <= np.iinfo(value.dtype).max:
                    yield put(type(value)(new))
            yield from map(put, (None, 1.5, "x"))
        case "float":
            with np.errstate(over="ignore"):
                yield from map(put, (type(value)(new) for new in (0.0, -1.0, float("nan"), float("inf"), 1e308)))
            yield from map(put, (None, "x"))
        case "complex":
            yield from map(put, (0j, complex("nan"), complex("inf")))
        case "text":
            others = [text for text in texts if text != value]
            yield from map(put, ("", "x", None, 0, *rng.sample(others, min(3, len(others)))))
        case "bytes":
            yield from ((f" = {text}", change) for text, change in _BYTES.items())
        case "array" if facet:
            yield from _entries(value, facet, rng)
        case "array":
            yield from _wholes(value)
        case "sequence":
            yield from ((f" = {text}", change) for text, change in _SEQUENCES.items() if value or text == "repeated")
            yield from map(put, (None, 0))
        case "dict":
            for key in rng.sample(list(value), min(len(value), 8)):
                yield f" = without {key!r}", lambda old, key=key: _without(old, key)
            yield " = {}", lambda old: type(old)() if type(old) is dict else {}
            yield put(None)
        case "set":
            yield " = without one", lambda old: type(old)(sorted(old, key=repr)[1:])
            yield " = empty", lambda old: type(old)()
            yield put(None)
        case "name":
            yield put(None)
        case "dtype":
            yield from map(put, (np.dtype("f4"), np.dtype(object), np.dtype("i8"), None))
        case _:
            others = [other for other in objects if type(other) is not type(value)]
            for other in rng.sample(others, min(3, len(others))):
                yield f" = the {type(other).__name__}", lambda _, other=other: other
            yield from map(put, (None, 0, "x", ()))


_BYTES: dict[str, Change] = {
    "empty": lambda old: old[:0],
    "one byte less": lambda old: old[:-1],
    "twice": lambda old: old * 2,
    "only 255": lambda old: type(old)(b"\xff" * len(old)),
    "first byte 255": lambda old: b"\xff" + old[1:],
    "last byte 127": lambda old: old[:-1] + b"\x7f",
}

_SEQUENCES: dict[str, Change] = {
    "empty": lambda old: type(old)() if type(old) in (list, tuple) else old[:0],
    "without the last": lambda old: old[:-1],
    "without the first": lambda old: old[1:],
    "the first twice": lambda old: old[:1] + old,
    "reversed": lambda old: old[::-1],
    "repeated": lambda old: old * 3 or type(old)([0]),
}


def _without(old: dict[Any, Any], key: Any) -> dict[Any, Any]:
    new = dict(old)
    new.pop(key, None)
    return new


def _entries(array: np.ndarray, facet: str, rng: random.Random) -> Iterator[tuple[str, Change]]:
    """Edits of one entry: first, middle, last, and one of chance."""
    field = None if facet == "[]" else facet[2:-2]
    dtype = (array.dtype if field is None else array.dtype[field]).base
    for place in dict.fromkeys((0, array.size // 2, array.size - 1, rng.randrange(array.size))):
        for text, new in _entry_values(dtype, array, place):

            def change(old: np.ndarray, place: int = place, new: Any = new) -> np.ndarray:
                copied = old.copy("K")
                view = copied if field is None else copied[field]
                with np.errstate(all="ignore"):
                    view[(*np.unravel_index(place, view.shape), ...)] = new
                return copied

            yield f"{'' if field is None else facet}[{place}] = {text}", change


def _entry_values(dtype: np.dtype, array: np.ndarray, place: int) -> Iterator[tuple[str, Any]]:
    def raw(pattern: bytes) -> np.ndarray:
        return np.frombuffer((pattern * dtype.itemsize)[: dtype.itemsize], dtype).reshape(())

    rows = array.shape[0] if array.ndim else 1
    match dtype.kind:
        case "i" | "u":
            info = np.iinfo(dtype)
            for value in dict.fromkeys((-1, -2, 0, 1, rows, rows + 1, array.size, 1 << 28, 1 << 40, int(info.max), int(info.min))):
                if info.min <= value <= info.max:
                    yield str(value), value
        case "f":
            for value in (0.0, -1.0, float("nan"), float("inf"), float("-inf"), 1e308, float(rows), float(1 << 40)):
                yield repr(value), value
        case "c":
            for value in (0j, complex("nan"), complex("inf")):
                yield repr(value), value
        case "b":
            yield "True", True
            yield "False", False
            # A byte that is neither 0 nor 1, which only a file can hold.
            yield "byte 2", raw(b"\x02")
        case "U":
            yield "''", ""
            yield "'xxx'", "xxx"
            if dtype.itemsize:
                yield "no code point", raw(b"\xff\xff\xff\x7f")
                yield "a surrogate", raw(b"\x00\xd8\x00\x00")
        case "S":
            yield "b''", b""
            yield "b'xxx'", b"xxx"
        case "M" | "m":
            for ticks in (-(1 << 63), (1 << 63) - 1, 1 - (1 << 63), 0):
                yield f"ticks {ticks}", raw(ticks.to_bytes(8, "little", signed=True))
        case "O":
            for value in (None, -1, "x", float("nan")):
                yield repr(value), value
            yield "the next", _alone(array.reshape(-1)[(place + 1) % array.size])


def _alone(item: Any) -> np.ndarray:
    """An object as an array without dimensions, so that numpy does not spread a list over several entries."""
    array = np.empty((), dtype=object)
    array[()] = item
    return array


def _wholes(array: np.ndarray) -> Iterator[tuple[str, Change]]:
    """Edits of a whole array."""
    for text, change in _WHOLES.items():
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                new = change(array)
        except Exception:
            continue
        if new is not None or text == "None":
            yield f" = {text}", change


def _retyped(kind: str, *to: str) -> dict[str, Change]:
    return {f"as {new}": lambda old, new=new: old.astype(new) if old.dtype.str[1:] == kind and old.dtype.names is None else None for new in to}


def _swapped(old: np.ndarray) -> np.ndarray | None:
    new = old.astype(old.dtype.newbyteorder())
    return None if new.dtype == old.dtype else new


def _refielded(old: np.ndarray, **options: Any) -> np.ndarray | None:
    if not old.dtype.names:
        return None
    return old.astype(np.dtype([(name, old.dtype[name]) for name in old.dtype.names], **options))


_WHOLES: dict[str, Change] = {
    "empty": lambda old: old[:0],
    "no columns": lambda old: old[:, :0],
    "the first row": lambda old: old[:1],
    "without the last row": lambda old: old[:-1],
    "rows 64 times": lambda old: np.concatenate([old] * (64 if old.nbytes < 1 << 20 else 3)),
    "rows reversed": lambda old: old[::-1].copy(),
    "the first column": lambda old: old[:, :1].copy("C"),
    "without the last column": lambda old: old[:, :-1].copy("C"),
    "columns twice": lambda old: np.concatenate([old, old], axis=1),
    "transposed": lambda old: old.T.copy("C") if old.ndim > 1 else None,
    "Fortran order": lambda old: np.asfortranarray(old) if old.ndim > 1 else None,
    "one dimension": lambda old: old.reshape(-1) if old.ndim != 1 else None,
    "one dimension more": lambda old: old[None],
    "a column": lambda old: old[:, None],
    "the first entry alone": lambda old: np.array(old.reshape(-1)[0]),
    "zeros": np.zeros_like,
    **_retyped("f8", "f4", "i8", "c16", "U", "O"),
    **_retyped("f4", "f8", "i4"),
    **_retyped("i8", "i4", "f8", "u8", "O"),
    **_retyped("i4", "i8", "f4", "u4"),
    **_retyped("b1", "u1", "f8"),
    "as text": lambda old: old.astype("U") if old.dtype.kind in "ibO" else None,
    "as objects": lambda old: old.astype(object) if old.dtype.kind in "US" else None,
    "bytes swapped": _swapped,
    "fields packed": lambda old: _refielded(old),
    "fields reordered": lambda old: old[list(old.dtype.names[::-1])].copy() if old.dtype.names else None,
    "without the last field": lambda old: _refielded(old)[list(old.dtype.names[:-1])].copy() if old.dtype.names else None,
    "None": lambda old: None,
    "0": lambda old: 0,
    "a list": lambda old: old.tolist(),
}


# --- what is asked of a model ----------------------------------------------------------------------------------

# Methods that take the inputs.
_ASKED = (
    "predict",
    "predict_proba",
    "predict_log_proba",
    "predict_joint_log_proba",
    "decision_function",
    "decision_path",
    "apply",
    "transform",
    "score_samples",
    "kneighbors",
    "kneighbors_graph",
    "radius_neighbors",
    "radius_neighbors_graph",
    "staged_predict",
    "staged_predict_proba",
    "staged_decision_function",
    "perplexity",
    "mahalanobis",
    "gibbs",
    "sample_y",
    "predict_quantiles",
    "split",
)
# Methods that take something else, with what.
_TOLD: dict[str, tuple[Any, ...]] = {
    "get_feature_names_out": (),
    "sample": (3,),
    "dbscan_clustering": (0.5,),
    "get_covariance": (),
    "get_precision": (),
    "get_support": (),
    "get_indices": (0,),
    "get_depth": (),
    "get_n_leaves": (),
    "get_n_splits": (),
    "log_marginal_likelihood": (),
    # Of sparse matrices, pandas, random states, KD-trees and interpolators.
    "tocsr": (),
    "tocsc": (),
    "tocoo": (),
    "transpose": (),
    "sum": (),
    "copy": (),
    "tolist": (),
    "sort_index": (),
    "sort_values": (),
    "to_numpy": (),
    "value_counts": (),
    "factorize": (),
    "isna": (),
    "standard_normal": (3,),
    "random_sample": (),
    "permutation": (4,),
    "binomial": (20, 0.4),
    "random": (),
    "spawn": (2,),
    "generate_state": (3,),
    "get_arrays": (),
    "get_tree_stats": (),
    "compute_feature_importances": (),
    "cdf": (0.5,),
    "rvs": (),
    "as_matrix": (),
    "derivative": (),
    "integrate": (0.0, 1.0),
    "pairwise": (np.eye(3),),
    "diag": (np.eye(3),),
}


def calls(value: Any, inputs: Any, labels: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What a user does with a value, each as a name and a function of nothing."""
    cls = type(value)
    if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType, np.ufunc)) or _is_vast(value):
        return
    if inputs is not None:
        for name in _ASKED:
            if hasattr(cls, name):
                yield name, lambda name=name: getattr(value, name)(inputs)
        if hasattr(cls, "inverse_transform"):
            yield "inverse_transform", lambda: value.inverse_transform(value.transform(inputs))
    for name, told in _TOLD.items():
        if hasattr(cls, name):
            yield name, lambda name=name, told=told: getattr(value, name)(*told)
    for name in dir(cls):
        # Drawing the samples of the training again takes as much memory as there were samples.
        if not name.startswith("_") and name != "estimators_samples_" and isinstance(getattr(cls, name, None), property):
            yield name, lambda name=name: getattr(value, name)
    yield from _special(value, cls)
    yield "repr", lambda: repr(value)
    yield "pickle", lambda: pickle.dumps(value, 5)
    if inputs is not None and hasattr(cls, "partial_fit"):
        yield "partial_fit", lambda: value.partial_fit(inputs) if labels is None else value.partial_fit(inputs, labels)
        if hasattr(cls, "predict"):
            yield "predict-after-partial_fit", lambda: value.predict(inputs)


def _is_vast(value: Any) -> bool:
    """Tell whether a value is an empty expanse: a sparse matrix or an index of that many rows is honest, and so is what it then costs."""
    if sp.issparse(value):
        return max(value.shape) > 1 << 24
    return isinstance(value, (pd.RangeIndex, pd.DataFrame, pd.Series)) and len(value) > 1 << 24


def _special(value: Any, cls: type) -> Iterator[tuple[str, Callable[[], Any]]]:
    points = np.linspace(0.1, 0.9, 12)
    if sp.issparse(value):
        yield "@", lambda: value @ np.ones(value.shape[-1]) if value.shape[-1] < 1 << 20 else None
        yield "toarray", lambda: touched(value)
    elif isinstance(value, np.ndarray):
        yield "sorted", lambda: np.sort(value, axis=None)
    elif cls.__module__.startswith("pandas."):
        yield "hash_pandas_object", lambda: pd.util.hash_pandas_object(value) if isinstance(value, (pd.Series, pd.DataFrame, pd.Index)) else None
        yield "take", lambda: value.take([0, -1])
    elif hasattr(cls, "query"):
        yield "query", lambda: value.query(np.ones((5, np.asarray(value.data).shape[1])), 2)
        for name in ("query_ball_point", "query_radius", "kernel_density"):
            if hasattr(cls, name):
                yield name, lambda name=name: getattr(value, name)(np.ones((5, np.asarray(value.data).shape[1])), 1.5)
        if hasattr(cls, "query_pairs"):
            yield "query_pairs", lambda: value.query_pairs(0.3)
    elif cls.__module__.startswith(("scipy.", "numpy.polynomial", "sklearn.gaussian_process")) and callable(value):
        yield "call", lambda: value(points)
        for columns in (1, 2, 3, 4):
            yield f"call-with-{columns}-columns", lambda columns=columns: value(points.reshape(-1, columns))
    elif "random" in cls.__module__ and hasattr(value, "random_raw"):
        yield "random_raw", lambda: value.random_raw(3)
    elif cls is functools.partial or cls.__module__ in ("datetime", "collections", "decimal", "fractions", "uuid", "zoneinfo"):
        yield "hash", lambda: hash(value)


def touched(answer: Any, depth: int = 0) -> None:
    """Read all that an answer holds, so that an index out of range is used."""
    if depth > 4:
        return
    if sp.issparse(answer):
        # The size of a dense form is what its reader asks for.
        if np.prod(answer.shape, dtype=float) < 1e7:
            answer.toarray()
        elif answer.shape[-1] < 1 << 22:
            answer @ np.ones(answer.shape[-1])
        else:
            answer.data.sum()
    elif isinstance(answer, np.ndarray):
        if answer.dtype.kind in "OUS":
            answer.tolist()
        elif answer.dtype.kind in "fiub":
            answer.sum()
    elif isinstance(answer, (list, tuple, types.GeneratorType, itertools.chain)):
        for item in answer:
            touched(item, depth + 1)
    elif isinstance(answer, dict):
        for item in answer.values():
            touched(item, depth + 1)
    elif isinstance(answer, (pd.DataFrame, pd.Series, pd.Index)):
        touched(answer.to_numpy(), depth + 1)


def parts(value: Any, path: str, at: str = "$", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The value, or those of the things in a container that are on a path: others did not change."""
    if type(value) not in (list, tuple, dict) or depth > 3:
        yield at, value
        return
    pairs = [(f"{at}[{key!r}]", item) for key, item in (value.items() if type(value) is dict else enumerate(value))]
    concerned = [pair for pair in pairs if path.startswith(pair[0])] or pairs[:20]
    for label, item in concerned:
        yield from parts(item, path, label, depth + 1)


def _labels(model: Any, inputs: Any) -> Any:
    """Targets for `partial_fit`, or None for what takes none. Asks the model for nothing that is computed."""
    if inputs is None or not hasattr(model, "partial_fit"):
        return None
    count = inputs.shape[0] if hasattr(inputs, "shape") else len(inputs)
    classes = vars(model).get("classes_")
    if isinstance(classes, np.ndarray) and classes.ndim == 1:
        return classes[np.arange(count) % len(classes)]
    return np.arange(count) / 3 if is_regressor(model) else None


# --- children ---------------------------------------------------------------------------------------------------


def load(data: bytes) -> Any:
    return safepickle.loads(data, key=KEY, on_version_mismatch="ignore")


@dataclass(frozen=True, slots=True)
class Trial:
    """A model, what it is asked, and by which function it is loaded."""

    case: str
    model: Any
    inputs: Any
    labels: Any
    load: Load


def _limit() -> None:
    for number in (signal.SIGPROF, signal.SIGALRM, signal.SIGINT, signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGBUS):
        signal.signal(number, signal.SIG_DFL)
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_memory() + MEMORY_BYTES,) * 2)
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    sys.setrecursionlimit(1000)
    for name in ("LokyBackend", "MultiprocessingBackend"):
        getattr(joblib._parallel_backends, name).effective_n_jobs = _processes


def _memory() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _processes(self: Any, n_jobs: int) -> int:
    """No process is started here: a number that a machine could have counts as one, a larger one as memory exceeded."""
    if n_jobs is not None and n_jobs > 64:
        raise MemoryError(f"{n_jobs} processes")
    return 1


def _time(seconds: float) -> None:
    # Of CPU, since the machine may be busy; and of the clock, since a deadlock uses no CPU. The default action ends even a loop in C.
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, 6 * seconds)


def _child(trial: Trial, batch: Sequence[Mutation], pipe: int, seconds: float) -> None:
    _limit()
    original = edited(trial.model, -1, unchanged)
    start = _memory()
    for index, mutation in enumerate(batch):

        def say(*words: Any, index: int = index) -> None:
            os.write(pipe, (json.dumps([index, *words]) + "\n").encode())

        say("at", "pickling")
        _time(seconds)
        used = _memory() - start
        kind, method, detail = _try(trial, mutation, original, lambda method: say("at", method))
        # What earlier ones left behind is not to be counted.
        say("is", "memory, perhaps" if kind == "memory" and used > MEMORY_BYTES // 4 else kind, method, detail)
    _time(0)
    os.write(pipe, b"[-1]\n")


def _try(trial: Trial, mutation: Mutation, original: Any, at: Callable[[str], None]) -> tuple[str, str, str]:
    """Return kind, method and detail."""
    try:
        program, buffers = edited(trial.model, mutation.site, mutation.change)
    except Exception as error:
        return "unpicklable", "", type(error).__name__
    if (program, buffers) == original and mutation.site >= 0:
        return "unchanged", "", ""
    at("load")
    np.random.seed(0)
    try:
        value = trial.load(seal(program, buffers))
    except SafePickleError as error:
        return "refused", "load", type(error).__name__
    except MemoryError as error:
        return "memory", "load", str(error)
    except Exception as error:
        return "raised at load", "load", f"{type(error).__name__}: {error!s:.200}"
    raised, answered = "", False
    for label, part in parts(value, mutation.path):
        for name, call in calls(part, trial.inputs, trial.labels):
            method = name if label == "$" else f"{label} {name}"
            at(method)
            try:
                touched(call())
                answered = True
            except MemoryError as error:
                return "memory", method, str(error)
            except Exception as error:
                raised = f"{type(error).__name__}: {error!s:.80}"
            except BaseException as error:
                return "exit", method, type(error).__name__
    return ("answer" if answered else "raised"), "", raised


def _run(trial: Trial, batch: Sequence[Mutation], seconds: float) -> tuple[list[tuple[str, str, str]], tuple[str, str, str] | None]:
    """Try mutations in one child. Return what came of each, and how the child ended in the next, if it did not get through."""
    receive, send = os.pipe()
    with tempfile.TemporaryFile() as output:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            status = 3
            try:
                os.setsid()
                os.close(receive)
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                _child(trial, batch, send, seconds)
                status = 0
            except BaseException:
                os.write(2, traceback.format_exc().encode())
            finally:
                os._exit(status)
        os.close(send)
        with open(receive, "rb") as lines:
            said = [json.loads(line) for line in lines if line.endswith(b"\n")]
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        done = [tuple(words[2:]) for words in said if words[0] >= 0 and words[1] == "is"]
        if said and said[-1] == [-1]:
            return done, None
        output.seek(max(0, output.seek(0, os.SEEK_END) - 400))
        tail = output.read().decode(errors="replace")
    method = next((words[2] for words in reversed(said) if words[1:2] == ["at"]), "start")
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number in (signal.SIGPROF, signal.SIGALRM):
            return done, ("hang", method, f"more than {seconds} s")
        return done, ("crash", method, f"{signal.Signals(number).name} {tail}".strip())
    return done, ("exit", method, f"status {os.WEXITSTATUS(status)} {tail}".strip())


def try_all(trial: Trial, tried: Sequence[Mutation], seconds: float = SECONDS) -> list[Result]:
    """Try mutations in children, and what ends a child or exceeds its memory again, alone."""
    results: list[Result] = []

    def add(mutation: Mutation, outcome: tuple[str, str, str]) -> None:
        results.append(Result(trial.case, str(mutation), mutation.attribute, mutation.member, *outcome))

    position = 0
    while position < len(tried):
        batch = tried[position : position + BATCH]
        done, end = _run(trial, batch, seconds)
        for mutation, outcome in zip(batch, done, strict=False):
            if outcome[0] == "memory, perhaps":
                again, end_again = _run(trial, [mutation], seconds)
                outcome = again[0] if again else end_again
            add(mutation, outcome)
        position += len(done)
        if end is None:
            continue
        if len(done) == len(batch):
            # It ended on the way out, after the last one.
            results[-1] = Result(trial.case, str(batch[-1]), batch[-1].attribute, batch[-1].member, *end)
            continue
        add(*_blamed(trial, batch[: len(done) + 1], end, seconds))
        position += 1
    return results


def _blamed(trial: Trial, batch: Sequence[Mutation], end: tuple[str, str, str], seconds: float) -> tuple[Mutation, tuple[str, str, str]]:
    """Return the mutation to blame for the end of a child, which came during the last one of the batch."""
    last = batch[-1]
    done, again = _run(trial, [last], seconds)
    if again is not None or done[0][0] == "memory":
        return last, again or done[0]
    for count in range(2, min(len(batch), 20) + 1):
        first, *others = batch[-count:]
        _, again = _run(trial, [first, *others], seconds)
        if again is None:
            continue
        if _run(trial, [first, *others[:-1], AS_IT_IS], seconds)[1] is not None:
            return first, (again[0], again[1], f"a wild write, found out {len(others)} mutations later: {again[2]}")
        # A wild read, which hits or not as memory happens to lie.
        return last, (again[0], again[1], f"only {len(others)} mutations after {first}: {again[2]}")
    return last, (end[0], end[1], f"only after others: {end[2]}")


# --- the corpus -------------------------------------------------------------------------------------------------


def run_case(case: corpus.Case, count: int | None, seed: int) -> list[Result]:
    """Return what comes of `count` mutations of a case, or of all of them."""
    model, inputs = case.build()
    trial = Trial(case.id, model, inputs, _labels(model, inputs), load)
    # What loading imports and caches, no child has to do again.
    load(seal(*edited(model, -1, unchanged)))
    honest, *results = try_all(trial, [AS_IT_IS, *mutations(model, f"{seed} {case.id}", count)])
    return [honest, *results] if honest.kind in FINDINGS else results


def planned(total: int, groups: Iterable[str] = GROUPS) -> list[tuple[corpus.Case, int]]:
    """Return all cases of the groups, with the number of mutations that each gets of the total."""
    found = [(case, GROUPS[group]) for group in groups for case in corpus.cases(group)]
    share = total / sum(weight for _, weight in found)
    return [(case, max(1, round(weight * share))) for case, weight in found]


def _run_planned(plan: tuple[corpus.Case, int | None, int]) -> tuple[str, list[Result]]:
    case, _, _ = plan
    try:
        return case.id, run_case(*plan)
    except Exception:
        return case.id, [Result(case.id, "the test itself", "", "", "exit", "", traceback.format_exc()[-1500:])]


_PLANS: list[tuple[corpus.Case, int | None, int]] = []


def _run_number(number: int) -> tuple[str, list[Result]]:
    # A case has functions that cannot be sent to another process, which has them since it was forked.
    return _run_planned(_PLANS[number])


def _all_results(jobs: int) -> Iterator[tuple[str, list[Result]]]:
    if jobs == 1:
        yield from map(_run_planned, _PLANS)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        yield from pool.map(_run_number, range(len(_PLANS)))


def summary(results: Iterable[Result]) -> list[str]:
    """One line per kind of finding, attribute of a class, and method; below it, indented, the models where it was found, each with a mutation."""
    members: dict[tuple[str, str, str], dict[tuple[str, str, str], list[Result]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        if result.kind in FINDINGS:
            members[result.kind, result.member, result.method.rpartition(" ")[2]][result.case, result.attribute, result.method].append(result)
    lines = []
    for (kind, member, method), models in sorted(members.items()):
        lines.append(f"{kind}: {member} in {method} ({sum(map(len, models.values()))} mutations of {len({case for case, _, _ in models})} models)")
        lines += [
            f"    {case}  {found[0].text}  in {method}  ({len(found)} such; {' '.join(found[0].detail.split())[:120]})"
            for (case, _, method), found in sorted(models.items())
        ]
    return lines


def _show(case_id: str, text: str | None, seed: int) -> int:
    (case,) = [case for case in corpus.all_cases() if case.id == case_id]
    model, inputs = case.build()
    every = mutations(model, f"{seed} {case.id}")
    if text is None:
        print(*every, sep="\n")
        return 0
    chosen = [mutation for mutation in every if str(mutation) == text] or [mutation for mutation in every if text in str(mutation)]
    results = try_all(Trial(case.id, model, inputs, _labels(model, inputs), load), chosen)
    for result in results:
        print(f"{result.text}: {result.kind} {result.method} {result.detail}")
    return int(not results or any(result.kind in FINDINGS for result in results))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Change one number of a signed model, load it, use it: nothing may crash.")
    parser.add_argument("text", nargs="?", default="", help="only cases whose id contains this")
    parser.add_argument("--per-case", type=int, default=20, metavar="N")
    parser.add_argument("--total", type=int, metavar="N", help="spread so many over all cases instead")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--group", action="append", choices=list(GROUPS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--chunk", default="1/1", help="K/N: every N-th case, from the K-th")
    parser.add_argument("--json", action="store_true", help="print every result as a line of JSON instead of a summary")
    parser.add_argument("--show", nargs="+", metavar=("CASE", "MUTATION"), help="run one mutation again, or list those of a case")
    options = parser.parse_args(arguments)
    if options.show:
        return _show(options.show[0], " ".join(options.show[1:]) or None, options.seed)
    groups = options.group or list(GROUPS)
    plan = planned(options.total, groups) if options.total else [(case, options.per_case) for group in groups for case in corpus.cases(group)]
    first, step = map(int, options.chunk.split("/"))
    _PLANS[:] = [(case, count, options.seed) for case, count in plan if options.text in case.id][first - 1 :: step]
    kinds: Counter[str] = Counter()
    results: list[Result] = []
    start = time.monotonic()
    for number, (case_id, found) in enumerate(_all_results(options.jobs), 1):
        results += found
        kinds.update(result.kind for result in found)
        if options.json:
            for result in found:
                print(json.dumps(asdict(result)))
        bad = sum(kinds[kind] for kind in FINDINGS)
        rate = sum(kinds.values()) / (time.monotonic() - start)
        print(
            f"\r{number}/{len(_PLANS)} {sum(kinds.values())} mutations, {rate:.0f}/s, {bad} bad  {case_id:60.60}", end="", file=sys.stderr, flush=True
        )
    print(file=sys.stderr)
    if not options.json:
        print(*summary(results), sep="\n")
        print(", ".join(f"{count} {kind}" for kind, count in kinds.most_common()))
    return int(any(kinds[kind] for kind in FINDINGS))


if __name__ == "__main__":
    sys.exit(main())
