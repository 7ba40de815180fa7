"""Hostile programs, each genuinely signed: the insider of DESIGN.md section 1 (A3), who has the key.

One row an attack: where it comes from (rows of the threat research, such as A1, B12, D7, E.3, N1, M3, or an advisory),
the program, the exact class of the refusal, and what its message says. Every payload would create `pwned` in the working directory.
"""

from __future__ import annotations

import contextlib
import copyreg
import importlib
import itertools
import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from assembler import KEY, SECRET, Asm, Call, Do, Get, Let, New, Ref, array, dtype, frame, op, program, seal

import safepickle
import safepickle.pickling
from safepickle import LimitError, Policy, PolicyError, ProgramError, SafePickleError, StateError
from safepickle.machine import trace
from safepickle.policy import admit

SHELL = "touch pwned"
OPEN = ("pwned", "w")
SCALER = "sklearn.preprocessing._data:StandardScaler"
FOREST = "sklearn.tree._classes:DecisionTreeClassifier"
BUNCH = "sklearn.utils._bunch:Bunch"
UNPICKLE = "numpy._core.multiarray:_reconstruct"
EMPTY = (Ref("numpy:ndarray"), (0,), b"b")


# The slowest takes one; without the rule that refuses them, some would take hours.
SECONDS = 15


class Attack(NamedTuple):
    source: str
    what: Any
    error: type[Exception]
    says: str
    buffers: tuple[bytes, ...] = ()
    late: bool = False
    """The policy admits the program, so its libraries are imported, and it is refused only when its names are resolved or its state is checked."""

    def program(self) -> bytes:
        what = self.what() if callable(self.what) else self.what
        return what if isinstance(what, bytes) else what.program() if isinstance(what, Asm) else program(what)

    def sealed(self) -> bytes:
        return seal(self.program(), self.buffers)


def a() -> Asm:
    return Asm()


def flat(*pairs: Any) -> Do:
    """A dict of keys and values in this order, whatever they are."""
    return Do(lambda asm: asm.op("EMPTY_DICT").group(pairs, "SETITEMS"))


def then(opcode: str, *values: Any) -> Callable[[Any], Do]:
    """Push a target and more values, and end with an opcode."""

    def emit(target: Any) -> Do:
        def run(asm: Asm) -> None:
            for value in (target, *values):
                asm.push(value)
            asm.op(opcode)

        return Do(run)

    return emit


def mutated(target: Any, opcode: str, *values: Any) -> Do:
    return then(opcode, *values)(target)


def wide(depth: int) -> Do:
    """A tuple of 2**(depth + 1) leaves in a few bytes: entry `depth` of the memo."""

    def run(asm: Asm) -> None:
        asm.push((1, 2)).let("0")
        for level in range(depth):
            asm.get(str(level)).op("TUPLE2").let(str(level + 1))

    return Do(run)


def nested(count: int, opcode: str = "TUPLE1") -> Do:
    return Do(lambda asm: asm.op("EMPTY_TUPLE").raw(op(opcode) * count))


def lists(count: int) -> Do:
    return Do(lambda asm: asm.raw(op("EMPTY_LIST") * count).raw(op("APPEND") * (count - 1)))


def forged(text: str, *rest: Any) -> Call:
    """A dtype as plain CPython pickles it: a call with three arguments, and a state that numpy believes."""
    return Call("numpy:dtype", text, False, True, state=(3, *rest))


def struct_dtype(offset: int, itemsize: int = 8, inner: Any = None) -> Call:
    inner = inner or dtype("<f8")
    return Call("numpy:dtype", {"names": ("x",), "formats": (inner,), "offsets": (offset,), "itemsize": itemsize}, False)


def tree(classes: Any, outputs: int, state: Any) -> Call:
    return Call("sklearn.tree._tree:Tree", 4, classes, outputs, state=state) if state else Call("sklearn.tree._tree:Tree", 4, classes, outputs)


def tree_state(count: int) -> dict[str, Any]:
    node = Call("numpy:dtype", {"names": ("left_child",), "formats": (dtype("<i8"),), "offsets": (0,), "itemsize": 64}, False)
    return {"max_depth": 1, "node_count": count, "nodes": array(bytes(64), node, (1,)), "values": array(bytes(8), "<f8", (1, 1, 1))}


def ckdtree(*nodes: tuple[int, ...], points: int = 2, kind: str = "|S1", extra: bytes = b"") -> New:
    """A cKDTree as scipy writes it, its nodes as text of one byte each."""
    raw = b"".join(struct.pack("<qqdqqQQqq", *node) for node in nodes) + extra
    data = array(bytes(8 * points), "<f8", (points, 1))
    indices = array(struct.pack(f"<{points}q", *range(points)), "<i8")
    side = array(bytes(8), "<f8", (1,))
    return New("scipy.spatial._ckdtree:cKDTree", state=(array(raw, kind, (len(raw),)), data, points, 1, 10, side, side, indices, None, None))


# split_dim, children, split, start_idx, end_idx, and two pointers; then the two children. One point is left of the split, one right.
INNER, LEAF = (0, 0, 0.0, 0, 2, 0, 0), (-1, 0, 0.0, 0, 1, 0, 0, -1, -1)
RIGHT = (-1, 0, 0.0, 1, 2, 0, 0, -1, -1)
TEMPLATE = """
def _parse_args(self, {shapes} {loc}):
    return ({shapes}), loc, scale

def _parse_args_rvs(self, {shapes} {loc}, size=None):
    return self._argcheck_rvs({shapes} loc, scale, size=size)

def _parse_args_stats(self, {shapes} {loc}, moments='mv'):
    return ({shapes}), loc, scale, moments
"""


def distribution(shapes: str, loc: str = "loc=0, scale=1", tail: str = "") -> New:
    return New("scipy.stats._continuous_distns:norm_gen", state={"_parse_arg_template": TEMPLATE.format(shapes=shapes, loc=loc) + tail})


def callee(make: Any) -> Asm:
    """REDUCE of something that is not a name."""
    return a().push(make).push((SHELL,)).op("REDUCE")


Y, P, L, S = PolicyError, ProgramError, LimitError, StateError

DIRECT = {
    name: (source, Call(name, *args), Y, f"calls {name}: no rule names it")
    for source, name, *args in (
        ("A1", "os:system", SHELL),
        ("A1", "posix:system", SHELL),
        ("A1, B2 of picklescan", "nt:system", SHELL),
        ("A1", "subprocess:check_output", ["touch", "pwned"]),
        ("A1", "builtins:eval", "open('pwned','w')"),
        ("A1", "builtins:exec", "open('pwned','w')"),
        ("A1", "builtins:__import__", "this"),
        ("A1", "builtins:open", *OPEN),
        ("A1", "builtins:compile", "1", "x", "eval"),
        ("A6, modelscan #330", "__builtin__:eval", "open('pwned','w')"),
        ("A6, picklescan #40", "commands:getoutput", SHELL),
        ("E.1 shells, asyncio: CVE-2025-10157", "asyncio.unix_events:_UnixSubprocessTransport._start", {}, SHELL),
        ("E.1 shells, CVE-2025-1716", "pip:main", ["install", "x"]),
        ("E.1 evaluators", "runpy:_run_code", SHELL),
        ("E.1 evaluators", "timeit:timeit", "open('pwned','w')"),
        ("E.1 resolvers, GHSA-vvpj-8cmc-gx39", "pkgutil:resolve_name", "os:system"),
        ("E.1 resolvers", "importlib:import_module", "this"),
        ("E.1 writers, GHSA-m7j5", "logging:FileHandler", "pwned"),
        ("E.1 writers, GHSA-9726", "_io:FileIO", *OPEN),
        ("E.1 second loads", "pickle:loads", b"cos\nsystem\n(S'touch pwned'\ntR."),
        ("E.1 second loads, GHSA-9m3x", "cloudpickle.cloudpickle:_make_function", None),
        ("E.1 second loads", "marshal:loads", b"N"),
        ("E.1 callers", "types:FunctionType", None, {}),
        ("E.1 callers", "operator:methodcaller", "system", SHELL),
        ("E.1 callers", "operator:call", None, SHELL),
        ("A18", "weakref:finalize", None, None),
        ("A9", "copyreg:add_extension", "os", "system", 1),
        ("A21", "ctypes:CDLL", "libc.so.6"),
        ("D4", "builtins:bytearray", 1 << 33),
        ("D4, E.1 consumers", "builtins:list", [1]),
        ("D13", "_codecs:encode", "x" * 50, "punycode"),
        ("D15", "re:_compile", "(a*)*b", 0),
        ("E.1 consumers", "builtins:map", Ref("builtins:len"), []),
        ("E.1 consumers", "builtins:filter", None, []),
        ("E.1 consumers", "builtins:iter", []),
        ("E.1 consumers", "builtins:enumerate", []),
        ("allowlist 5.1", "numpy:load", "pwned", None, True),
        ("allowlist 5.1", "numpy.testing._private.utils:runstring", "open('pwned','w')", {}),
        ("allowlist 5.1", "numpy:memmap", "pwned", "u1", "w+"),
        ("allowlist 5.1", "joblib.numpy_pickle:load", "pwned"),
        ("allowlist 5.1", "pandas.io.pickle:read_pickle", "pwned"),
        ("allowlist 5.1", "sklearn.datasets._base:clear_data_home", "."),
        ("A16", "numpy.core:_ufunc_reconstruct", "os", "system"),
        ("A16", "numpy._core:_ufunc_reconstruct", "os", "system"),
        ("A16", "scipy._lib._uarray._backend:unpickle_function", "os", "system", None),
        ("A15", "sklearn.utils.parallel:_FuncWrapper", None),
        ("A15", "joblib.parallel:BatchedCalls", []),
        ("B15", "copyreg:__newobj__", Ref("builtins:object")),
        ("A5, nltk GHSA-c59x-vh6j-3w8v", "bz2:_builtin_open", *OPEN),
        ("A5", "sklearn.utils._testing:check_output", ["touch", "pwned"]),
        ("A5", "joblib.externals.loky.cloudpickle_wrapper:loads", b"N."),
        ("A5", "sklearn.utils._available_if:MethodType", None, None),
        ("A3, fickling GHSA-5j3x-jp52-966f", "random:_os.system", SHELL),
        ("A3", "sklearn.datasets._base:os.system", SHELL),
        ("A3", "sklearn.tree._classes:DecisionTreeClassifier.fit", None),
        ("A3", "functools:partial.__reduce__", None),
        ("A4, modelscan #89", "collections:__builtins__.eval", "open('pwned','w')"),
        ("A4", "sklearn.tree._tree:__builtins__.eval", "open('pwned','w')"),
        ("A4", "numpy:mean.__globals__.get", "os"),
        ("allowlist 5.2: an attacker's _loss.py in the working directory", "_loss:payload"),
    )
}
DIRECT["builtins:list"] = (*DIRECT["builtins:list"][:3], "calls builtins:list: its rule allows refer, not call")

FETCHED = {
    f"{name} only fetched": (source, [1, (Ref(name),)], Y, f"refers to {name}: no rule names it")
    for source, name in (
        ("A2: the module prints", "this:s"),
        ("A2: the module runs a session and exits", "unittest.__main__:main"),
        ("A2", "numpy.f2py.__main__:main"),
        ("A2", "antigravity:fly"),
        ("A5: a module as value", "sklearn:os"),
        ("A5: a module as value", "joblib:os"),
        ("A5: a module as value", "sklearn:utils"),
        ("A13", "os:path"),
        ("A13", "sys:modules"),
        ("A13", "os:environ"),
        ("A13", "copyreg:dispatch_table"),
        ("A13", "copyreg:_extension_cache"),
        ("A4", "numpy:__builtins__"),
        ("A4", "sklearn:__loader__"),
        ("A18", "urllib.request:URLopener"),
        ("A1", "__main__:payload"),
        ("allowlist 5.2", "sklearn.metrics._scorer:_Scorer.__call__"),
    )
}

FORMS = {
    "NEWOBJ of Popen": ("A1, B13", New("subprocess:Popen", ["touch", "pwned"]), Y, "makes an instance of subprocess:Popen: no rule names it"),
    "NEWOBJ of bytes over a map": ("B13", New("builtins:bytes", Call("builtins:map", Ref("os:system"), [SHELL])), Y, "refers to os:system"),
    "NEWOBJ of type": ("B13: __init_subclass__ and __set_name__ run", New("builtins:type", "x", (), {}), Y, "its rule allows call, not new"),
    "NEWOBJ of memmap opens a file": ("E.1 writers", New("numpy:memmap", "pwned", "u1", "w+"), Y, "makes an instance of numpy:memmap"),
    "NEWOBJ of an estimator with arguments": ("M2", New(SCALER, 1), Y, "its rule allows no arguments"),
    "NEWOBJ_EX of Popen": (
        "B14",
        a().push(Ref("subprocess:Popen")).push((["touch pwned"],)).push({"shell": True}).op("NEWOBJ_EX"),
        Y,
        "makes an instance of subprocess:Popen",
    ),
    "NEWOBJ_EX with keywords": (
        "B14",
        a().push(Ref(SCALER)).push(()).push({"copy": True}).op("NEWOBJ_EX"),
        Y,
        "its rule allows no keyword arguments",
    ),
    "NEWOBJ_EX with a keyword that is no text": (
        "B14",
        a().push(Ref(SCALER)).push(()).push({1: 1}).op("NEWOBJ_EX"),
        P,
        "keyword arguments are named by text",
    ),
    "NEWOBJ_EX of a list": ("B14", a().push([]).push(()).push({}).op("NEWOBJ_EX"), P, "takes a name, a tuple and a dict"),
    "OBJ": ("A1, B16", a().op("MARK").push(Ref("os:system")).text(SHELL).op("OBJ"), P, "OBJ is not written at protocol 5"),
    "OBJ and POP": ("GHSA-mxhj-88fx-4pcv", a().op("MARK").push(Ref("os:system")).text(SHELL).op("OBJ", "POP", "NONE"), P, "OBJ is not written"),
    "INST": ("B16", a().op("MARK").text(SHELL).op("INST", operand="os:system"), P, "INST is not written at protocol 5"),
    "GLOBAL": ("A1", a().op("GLOBAL", operand="os:system").push((SHELL,)).op("REDUCE"), P, "GLOBAL is not written at protocol 5"),
    "GLOBAL of an allowed name": ("A7", a().op("GLOBAL", operand=SCALER), P, "GLOBAL is not written at protocol 5"),
    "a call whose result is dropped": ("GHSA-mxhj-88fx-4pcv", a().push(Call("os:system", SHELL)).op("POP", "NONE"), P, "POP drops values"),
    "a group whose calls are dropped": ("B7", a().op("MARK").push(Call("os:system", SHELL)).op("POP_MARK", "NONE"), P, "POP drops values"),
    "a call dropped as if it were in a tuple": (
        "B7",
        a().push((1,)).let("t").push(Call("os:system", SHELL)).op("POP").get("t").op("TUPLE2"),
        P,
        "POP drops values other than the items of a tuple that contains itself",
    ),
    "a decoy under the name": ("B7", a().text("builtins").text("len").op("POP", "POP").push(Ref("os:system")), P, "POP drops values"),
    "EXT1": ("A8, nltk #3757", a().op("EXT1", operand=240).push((SHELL,)).op("REDUCE"), P, "EXT1 is not written"),
    "EXT2": ("A8", a().op("EXT2", operand=240).push((SHELL,)).op("REDUCE"), P, "EXT2 is not written"),
    "EXT4": ("A8", a().op("EXT4", operand=240).push((SHELL,)).op("REDUCE"), P, "EXT4 is not written"),
    "PERSID": ("A10", a().op("PERSID", operand="x"), P, "there are no persistent ids"),
    "BINPERSID": ("A10, CVE-2026-24747", a().push(("storage", 1)).op("BINPERSID"), P, "there are no persistent ids"),
    "REDUCE of the result of a call": ("B12", callee(Call("functools:partial", Ref("os:system"))), P, "only a name can be called, directly"),
    "REDUCE of a list": ("B12", callee([Ref("os:system")]), P, "REDUCE on a list"),
    "REDUCE of text": ("B12", callee("os:system"), P, "REDUCE on a value of type str"),
    "REDUCE of a tuple": ("B12", callee((Ref("os:system"),)), P, "REDUCE on a value of type tuple"),
    "REDUCE of an instance": ("B12, E.1 __call__", callee(New(FOREST)), P, "REDUCE on an object made by"),
    "REDUCE of an attribute": ("B12", callee(Call("builtins:getattr", Ref("os:path"), "join")), Y, "calls os:path.join"),
    "REDUCE of an attribute of the result of a call": (
        "B12",
        callee(Call("builtins:getattr", New(SCALER), "fit")),
        P,
        "only a name can be called, directly",
    ),
    "REDUCE of an attribute by a name that is no text": (
        "B12",
        callee(Call("builtins:getattr", Ref("os:path"), b"join")),
        P,
        "only a name can be called",
    ),
    "REDUCE of an attribute with a default": (
        "B12",
        callee(Call("builtins:getattr", Ref("x:y"), "z", Ref("os:system"))),
        P,
        "only a name can be called",
    ),
    "REDUCE with a list of arguments": ("B.1: Python runs it", Call("os:system", tupled=[SHELL]), P, "takes a tuple of arguments, not a list"),
    "REDUCE with None": ("B.1", Call("os:system", tupled=None), P, "takes a tuple of arguments, not None"),
    "a callee swapped in the memo": (
        "B24",
        a().push(Ref("builtins:len")).op("BINPUT", operand=0).push(Ref("os:system")).op("BINPUT", operand=0).push((SHELL,)).op("REDUCE"),
        P,
        "BINPUT is not written",
    ),
    "a name computed by a call": ("B9", a().push("os").push(Call("builtins:str", "system")).op("STACK_GLOBAL"), P, "a name is two texts"),
    "a name out of bytes": ("B9", a().push("os").push(b"system").op("STACK_GLOBAL"), P, "a name is two texts"),
}

NAMES = {
    f"name {label}": (source, a().global_(module, name), error, says)
    for label, source, module, name, error, says in (
        ("with a space", "B23", "os system", "x", P, "is not the name of anything in a module"),
        ("with a newline", "B10", "os\nx", "system", P, "is not the name of anything"),
        ("with a trailing newline", "B10", "os", "system\n", P, "is not the name of anything"),
        ("that is empty", "A3", "os", "", P, "is not the name of anything"),
        ("in an empty module", "A3", "", "system", P, "is not the name of anything"),
        ("with a colon", "B23", "os", "path:join", P, "is not the name of anything"),
        ("that is not ASCII", "A3: NFKC makes it os", "ₒs", "system", P, "is not the name of anything"),
        ("with a null", "B10", "os\0", "system", P, "is not the name of anything"),
        ("with two dots", "A3", "os", "path..join", P, "is not the name of anything"),
        ("that is relative", "A3", ".os", "system", P, "is not the name of anything"),
        ("of a local", "A3", "sklearn.utils", "f.<locals>.g", P, "is not the name of anything"),
        ("with a surrogate", "B8", "os\udc80", "system", P, "is not the name of anything"),
        ("of ten thousand characters", "D2", "a" * 10_000, "x", L, "`name_length` of Limits"),
        ("of 257 characters", "D2", "os", "a" * 257, L, "`name_length` of Limits"),
        ("in __main__", "DESIGN 5", "__main__", "Clip", Y, "is defined in __main__"),
    )
}

TRAMPOLINES = {
    "randomstate that calls its second argument": (
        "A15, N11",
        Call("numpy.random._pickle:__randomstate_ctor", "MT19937", Ref("os:system")),
        Y,
        "calls numpy.random._pickle:__randomstate_ctor: with arguments that its rule does not allow",
    ),
    "generator that calls its second argument": (
        "A15, N11",
        Call("numpy.random._pickle:__generator_ctor", SHELL, Ref("os:system")),
        Y,
        "calls numpy.random._pickle:__generator_ctor: with arguments",
    ),
    "randomstate over something else": (
        "A15",
        Call("numpy.random._pickle:__randomstate_ctor", New(SCALER)),
        Y,
        "with arguments that its rule does not allow",
    ),
    "bit generator of another class": ("A15", Call("numpy.random._pickle:__bit_generator_ctor", Ref("subprocess:Popen")), Y, "with arguments"),
    "bit generator of an admitted class": ("A15", Call("numpy.random._pickle:__bit_generator_ctor", Ref(SCALER)), Y, "with arguments"),
    "bit generator without state": (
        "M2",
        Call("numpy.random._pickle:__bit_generator_ctor", Ref("numpy.random._mt19937:MT19937")),
        Y,
        "without the state that it needs",
    ),
    "reconstructor of Popen": (
        "A15, allowlist 5.2",
        Call("copyreg:_reconstructor", Ref("subprocess:Popen"), Ref("subprocess:Popen"), ["touch", "pwned"]),
        Y,
        "calls copyreg:_reconstructor: with arguments",
    ),
    "reconstructor of dok_matrix over another base": (
        "A15",
        Call("copyreg:_reconstructor", Ref("scipy.sparse._dok:dok_matrix"), Ref("builtins:list"), []),
        Y,
        "with arguments that its rule does not allow",
    ),
    "_new_Index of another class": ("A15", Call("pandas.core.indexes.base:_new_Index", Ref("subprocess:Popen"), {"args": "id"}), Y, "with arguments"),
    "_new_Index with a dunder keyword": (
        "A15, M4",
        Call("pandas.core.indexes.base:_new_Index", Ref("pandas:Index"), {"__class__": 1}),
        Y,
        "with arguments",
    ),
    "newObj of another class": (
        "A15",
        Call("sklearn.metrics._dist_metrics:newObj", Ref("subprocess:Popen"), state=(1.0, [], [])),
        Y,
        "with arguments",
    ),
    "KDTree newObj of a metric": (
        "A15",
        Call("sklearn.neighbors._kd_tree:newObj", Ref("sklearn.metrics._dist_metrics:EuclideanDistance64")),
        Y,
        "with arguments",
    ),
    "KDTree without state": (
        "M2: 87 classes crash",
        Call("sklearn.neighbors._kd_tree:newObj", Ref("sklearn.neighbors._kd_tree:KDTree")),
        Y,
        "without the state",
    ),
    "__pyx_unpickle of another class": (
        "allowlist 5.2",
        Call("numpy.random.bit_generator:__pyx_unpickle_SeedSequence", Ref("subprocess:Popen"), 1, None, state=(1, 1, 1, 1, ())),
        Y,
        "with arguments",
    ),
    "partial of something unlisted": (
        "A15",
        Call("functools:partial", Let("f", Ref("os:system")), state=(Get("f"), (SHELL,), {}, None)),
        Y,
        "refers to os:system: no rule names it",
    ),
    "partial of a class that is made but not referred to": (
        "A15",
        Call("functools:partial", Let("f", Ref("functools:partial")), state=(Get("f"), (), {}, None)),
        Y,
        "refers to functools:partial: its rule allows call, state, not to refer to it as data",
    ),
    "partial whose state names another function": (
        "A15, B24",
        Call("functools:partial", Ref("numpy:sum"), state=(Ref("numpy:mean"), (), {}, None)),
        Y,
        "the state names another function than the call",
    ),
    "partial of an estimator": ("A15", Call("functools:partial", New(SCALER), state=(Ref("numpy:sum"), (), {}, None)), Y, "with arguments"),
    "partial without state": ("M2", Call("functools:partial", Ref("numpy:sum")), Y, "without the state that it needs"),
    "partial with a namespace": (
        "A14",
        Call("functools:partial", Let("f", Ref("numpy:sum")), state=(Get("f"), (), {}, {"__setstate__": 1})),
        Y,
        "with a state that its rule does not allow",
    ),
    "getattr of an unlisted pair": ("B12", Call("builtins:getattr", Ref("numpy:sum"), "__globals__"), Y, "calls builtins:getattr: with arguments"),
    "getattr of a listed owner": ("B12", Call("builtins:getattr", Ref("builtins:str"), "__subclasses__"), Y, "with arguments"),
    "getattr of a format method": ("B12: format reads attributes", Call("builtins:getattr", Ref("builtins:str"), "format"), Y, "with arguments"),
    "type with three arguments": ("B13", Call("builtins:type", "X", (), {"__del__": Ref("numpy:sum")}), Y, "calls builtins:type: with arguments"),
    "type of a value": ("B13", Call("builtins:type", 1), Y, "calls builtins:type: with arguments"),
    "defaultdict of a hostile factory": (
        "allowlist 5.2",
        Call("collections:defaultdict", Ref("builtins:input")),
        Y,
        "calls collections:defaultdict: with arguments",
    ),
    "defaultdict of an admitted class": ("allowlist 5.2", Call("collections:defaultdict", Ref(SCALER)), Y, "with arguments"),
    "attrgetter of a dunder": ("allowlist 5.2", Call("operator:attrgetter", "a.__class__"), Y, "calls operator:attrgetter"),
    "itemgetter of an object": ("allowlist 5.2", Call("operator:itemgetter", New(SCALER)), Y, "with arguments"),
    "deque over an iterator": ("D4, D10", Call("collections:deque", Call("itertools:count")), Y, "calls itertools:count"),
    "Counter of a count": ("D4", Call("collections:Counter", 1 << 40), Y, "with arguments"),
    "Fraction with a huge exponent": ("D6", Call("fractions:Fraction", "1e4000000000"), Y, "not the text of a number of bounded size"),
    "Decimal with a huge exponent": ("D6", Call("decimal:Decimal", "1E+40000000"), Y, "not the text of a number of bounded size"),
    "zone key that is a path": (
        "allowlist 5.2",
        Call(Call("builtins:getattr", Ref("zoneinfo:ZoneInfo"), "_unpickle"), "../../../etc/passwd", True),
        Y,
        "not a key of the time zone database",
    ),
    "a bound estimator class": ("A1", [Ref("joblib.memory:MemorizedFunc")], Y, "refers to joblib.memory:MemorizedFunc"),
}

BUILDS = {
    "BUILD on a class": (
        "A11, modelscan #85",
        mutated(Ref("sklearn.model_selection._split:KFold"), "BUILD", (None, {"split": 1})),
        P,
        "BUILD on the name",
    ),
    "BUILD on a function": (
        "A12",
        mutated(Ref("numpy.random._pickle:__randomstate_ctor"), "BUILD", (None, {"__defaults__": 1})),
        P,
        "BUILD on the name",
    ),
    "BUILD on a module": ("A13", mutated(Ref("sklearn.utils:validation"), "BUILD", {"check_array": 1}), P, "BUILD on the name"),
    "BUILD on a list": ("B17", mutated([], "BUILD", {"x": 1}), P, "BUILD on a list"),
    "BUILD on a tuple": ("B17", mutated((1,), "BUILD", {"x": 1}), P, "BUILD on a value of type tuple"),
    "BUILD twice": ("M1", mutated(New(SCALER, state={"a": 1}), "BUILD", {"a": 2}), P, "a second BUILD on the object"),
    "BUILD on the result of a call after it was used": (
        "M1, M3",
        [Let("d", Call("numpy:dtype", "O8")), mutated(Get("d"), "BUILD", (3, "|", None, None, None, -1, -1, 0))],
        P,
        "BUILD on the result of numpy:dtype",
    ),
    "an array that gets its state late": (
        "M2",
        [Let("r", Call(UNPICKLE, *EMPTY)), mutated(Get("r"), "BUILD", (1, (1,), dtype(), False, bytes(8)))],
        P,
        "after it was used",
    ),
    "slot state that sets __class__": (
        "A19, M5",
        New(SCALER, state=(None, {"__class__": Ref(FOREST)})),
        Y,
        "with a state that its rule does not allow",
    ),
    "slot state that sets __class__ where slots are allowed": (
        "A19, M5",
        New("scipy.interpolate._cubic:CubicSpline", state=(None, {"__class__": Ref(FOREST)})),
        Y,
        "the state sets the dunder name '__class__'",
    ),
    **{
        f"state that sets {name}": ("A14, M4", New(SCALER, state={"a": 1, name: 1}), Y, f"the state sets the dunder name '{name}'")
        for name in ("__array_interface__", "__setstate__", "__reduce__", "__class__", "__dict__", "__array__", "__len__")
    },
    "state with a key twice": ("B17, M4", New(SCALER, state=flat("a", 1, "a", 2)), Y, "the state has the same key twice"),
    "state with a key that is no text": ("B17, M4", New(SCALER, state={1: 1}), Y, "the state has a key that is not text"),
    "state with a key of bytes": ("B17", New(SCALER, state={b"__class__": 1}), Y, "the state has a key that is not text"),
    "state that is a list": ("B17", New(SCALER, state=["a", 1]), Y, "with a state that its rule does not allow"),
    "state that is None": ("B17, cpython #144411", New(SCALER, state=None), Y, "with a state that its rule does not allow"),
    "state of a type that takes none": ("B17", Call("builtins:slice", 1, 2, 3, state={"x": 1}), Y, "its rule allows call, not state"),
    "state that replaces predict": (
        "A14, allowlist 5.3",
        New(FOREST, state={"predict": Ref("numpy:sum")}),
        Y,
        "sets 'predict', which is the name of a method",
        (),
        True,
    ),
    "state that replaces transform": (
        "A14",
        New(SCALER, state={"transform": Ref("numpy:sum")}),
        Y,
        "sets 'transform', which is the name of a method",
        (),
        True,
    ),
    "state that replaces an inherited method": (
        "A14",
        New(SCALER, state={"get_params": 1}),
        Y,
        "sets 'get_params', which is the name of a method",
        (),
        True,
    ),
    "dunder item of a Bunch": ("A14, M4", New(BUNCH, pairs=["__setstate__", 1]), Y, "is not text or is a dunder name"),
    "dunder items of a Bunch, among others": ("A14", New(BUNCH, pairs=["data", 1, "__array_interface__", 1]), Y, "is not text or is a dunder name"),
    "append to a Bunch": (
        "A14: Bunch serves items as attributes",
        New(BUNCH, pairs=["append", Ref("numpy:sum")], items=[1]),
        Y,
        "nothing be appended",
    ),
    "append to an estimator": ("B18", New(SCALER, items=[1]), Y, "its rule lets nothing be appended to it"),
    "items of an estimator": ("B18", New(SCALER, pairs=["a", 1]), Y, "its rule lets no items be set in it"),
    "items of an array": ("M3, E.3: SETITEM writes out of bounds", mutated(array(bytes(8)), "SETITEM", 0, 1.0), Y, "lets no items be set in it"),
    "items of an array, after its use": (
        "M3: array[None] = 2**40 after the check",
        [Let("x", array(bytes(8))), Call("collections:OrderedDict", {"x": Get("x")}), mutated(Get("x"), "SETITEM", None, 1 << 40)],
        P,
        "is changed after it was handed over",
    ),
    "append to an array": ("B18", mutated(array(bytes(8)), "APPEND", 1), Y, "its rule lets nothing be appended to it"),
    "append to a tuple": ("B18", mutated((), "APPEND", 1), P, "APPEND on a value of type tuple"),
    "append to a dict": ("B18", mutated({}, "APPEND", 1), P, "APPEND on a dict"),
    "append to a name": ("A13", mutated(Ref("sys:path"), "APPEND", "."), P, "APPEND on the name sys:path"),
    "items of a list": ("B18", mutated([], "SETITEM", 0, 1), P, "SETITEM on a list"),
    "items of a name": ("A13", mutated(Ref("os:environ"), "SETITEM", "LD_PRELOAD", "x"), P, "SETITEM on the name os:environ"),
    "additems to a list": ("B18", a().op("EMPTY_LIST", "MARK", "NONE", "ADDITEMS"), P, "ADDITEMS on a list"),
    "additems to an object": ("B18", a().push(New(SCALER)).op("MARK", "NONE", "ADDITEMS"), P, "ADDITEMS on an object made by"),
    "an odd number of items": ("B11", a().op("EMPTY_DICT", "MARK", "NONE", "SETITEMS"), P, "SETITEMS takes pairs"),
}

MEMO = {
    "PUT": ("B6, D1", a().op("NONE").op("PUT", operand=0), P, "PUT is not written"),
    "PUT with a huge index": ("D1, CVE-2018-20406", a().op("NONE").op("PUT", operand=1 << 40), P, "PUT is not written"),
    "BINPUT": ("B6", a().op("NONE").op("BINPUT", operand=0), P, "BINPUT is not written"),
    "LONG_BINPUT with a huge index": ("D1, modelscan #86", a().op("NONE").op("LONG_BINPUT", operand=2**31 - 1), P, "LONG_BINPUT is not written"),
    "GET": ("B6", a().push([]).let("x").op("GET", operand="0"), P, "GET is not written"),
    "GET with junk behind a null": ("B6, cpython #126996", a().push([]).let("x").op("GET", operand="0\0junk"), P, "GET is not written"),
    "BINGET of an absent entry": (
        "B1, picklescan #52",
        a().push([]).op("BINGET", operand=0),
        P,
        "BINGET needs an operand, stack value, mark or memo entry",
    ),
    "LONG_BINGET of an absent entry": ("B1", a().op("LONG_BINGET", operand=1 << 31), P, "LONG_BINGET needs an operand"),
    "LONG_BINGET in the long form": ("B6", a().push([]).let("x").op("LONG_BINGET", operand=0), P, "LONG_BINGET of memo entry 0 has a shorter form"),
    "MEMOIZE of nothing": ("B11", a().op("MEMOIZE", "NONE"), P, "MEMOIZE needs an operand, stack value"),
    "DUP": ("B7, D11", a().op("EMPTY_LIST", "DUP", "APPEND"), P, "DUP is not written"),
    "exponential lists by DUP": ("D11", a().op("EMPTY_LIST").raw((op("DUP") + op("APPEND")) * 60), P, "DUP is not written"),
}

FROZEN = {
    "a dict changed after a call": (
        "M3, B24",
        [Call("collections:OrderedDict", Let("d", {})), mutated(Get("d"), "SETITEM", "a", 1)],
        P,
        "a dict is changed after it was handed over",
    ),
    "a dict within the arguments changed after a call": (
        "M3: the dtype keeps its fields by reference",
        [Call("numpy:dtype", (Ref("numpy:record"), Let("d", {}))), mutated(Get("d"), "SETITEM", "a", 1)],
        P,
        "a dict is changed after it was handed over",
    ),
    "a list changed after a call": (
        "M3",
        [Call("collections:deque", Let("l", []), 1), mutated(Get("l"), "APPEND", Call("itertools:count"))],
        P,
        "a list is changed after it was handed over",
    ),
    "a dict changed after BUILD": (
        "M3, M4: dunders after the check",
        [New(SCALER, state=Let("d", {"a": 1})), mutated(Get("d"), "SETITEM", "__class__", 1)],
        P,
        "a dict is changed after it was handed over",
    ),
    "a list changed after BUILD": (
        "M3, N6",
        [Call(UNPICKLE, *EMPTY, state=(1, (1,), dtype("O8"), False, Let("l", [1]))), mutated(Get("l"), "APPEND", 1)],
        P,
        "a list is changed after it was handed over",
    ),
    "a list filled after BUILD": (
        "M3, M8",
        [Let("l", []), New(SCALER, state={"x": {"y": (Get("l"),)}}), mutated(Get("l"), "APPEND", 1)],
        P,
        "a list is changed after it was handed over",
    ),
    "a set changed after a call": (
        "M3",
        [Call("collections:OrderedDict", {"x": Let("s", set())}), Do(lambda asm: asm.get("s").group([1], "ADDITEMS"))],
        P,
        "a set is changed after it was handed over",
    ),
    "keyword arguments changed after NEWOBJ_EX": (
        "M3",
        [Do(lambda asm: asm.push(Ref(SCALER)).push(()).push(Let("k", {})).op("NEWOBJ_EX")), mutated(Get("k"), "SETITEM", "a", 1)],
        P,
        "a dict is changed after it was handed over",
    ),
    "an object changed after it was an argument": (
        "M3",
        [Let("o", Call("collections:OrderedDict")), New(SCALER, state={"o": Get("o")}), mutated(Get("o"), "SETITEM", "a", 1)],
        P,
        "an object made by collections:OrderedDict is changed after it was handed over",
    ),
    "a list that holds the object which holds it": (
        "M3",
        Do(lambda asm: asm.push(Let("l", [])).push(Get("l")).push(New(SCALER, state={"l": Get("l")})).op("APPEND", "TUPLE2")),
        P,
        "a list or dict that contains an object which refers back to it cannot be stored",
    ),
}

OBJECTS = (1, (3,), dtype("O8"), False)
DTYPES = {
    "dtype O8 with flags 0": ("N1, E.3", forged("O8", "|", None, None, None, -1, -1, 0), Y, "calls numpy:dtype: with arguments"),
    "dtype with a field beyond the item": (
        "N2, E.3",
        forged("V8", "|", None, ("x",), {"x": (dtype(), 1 << 30)}, 8, 1, 16),
        Y,
        "calls numpy:dtype: with arguments",
    ),
    "dtype call with a state": ("N1", Call("numpy:dtype", "O8", state=(3, "|", None, None, None, -1, -1, 0)), Y, "its rule allows call, not state"),
    "described field beyond the item": ("N2", struct_dtype(1), Y, "a field of 8 bytes at offset 1 does not fit into an item of 8 bytes"),
    "described field at a negative offset": ("N2", struct_dtype(-8), Y, "at offset -8 does not fit"),
    "described field that is no dtype": ("N3: type confusion", struct_dtype(0, 8, "O8"), Y, "a field of a structured dtype is not a dtype"),
    "described field at an offset that is no integer": ("N3", struct_dtype(True), Y, "at offset True does not fit"),
    "described names that differ in number": (
        "N3",
        Call("numpy:dtype", {"names": ("x", "y"), "formats": (dtype(),), "offsets": (0,), "itemsize": 8}, False),
        Y,
        "differ in number",
    ),
    "dtype text of many": ("N1", dtype("O,O"), Y, "'O,O' is not the text of a plain dtype"),
    "dtype text of a subarray": ("N1", dtype("(2,)f8"), Y, "is not the text of a plain dtype"),
    "dtype text that is a name": ("N1", dtype("object"), Y, "is not the text of a plain dtype"),
    "dtype text with a newline": ("N1, B10", dtype("<f8\n"), Y, "is not the text of a plain dtype"),
    "dtype with a negative size": ("N7", dtype("S-8"), Y, "is not the text of a plain dtype"),
    "dtype of a huge subarray": ("N2, M7", Call("numpy:dtype", (dtype(), (10**9,))), Y, "an item of the dtype takes 8000000000 bytes"),
    "dtype of a subarray of many dimensions": ("N2", Call("numpy:dtype", (dtype(), (1,) * 33)), Y, "more than 32 dimensions"),
    "dtype nested deep": (
        "D9",
        [Let("0", dtype()), *(Let(str(i + 1), Call("numpy:dtype", (Get(str(i)), (1,)))) for i in range(17))],
        Y,
        "the dtype is nested more than 16 deep",
    ),
    "objects out of bytes": ("N1", array(bytes(8), dtype("O8"), (1,)), Y, "cannot be made out of bytes"),
    "objects in a field out of bytes": ("N1, E.3", array(bytes(8), struct_dtype(0, 8, dtype("O8")), (1,)), Y, "cannot be made out of bytes"),
    "objects in a subarray out of bytes": (
        "N1",
        array(bytes(8), Call("numpy:dtype", (dtype("O8"), (1,))), (1,)),
        Y,
        "cannot be made out of bytes",
    ),
    "objects in a record out of bytes": (
        "N1",
        array(bytes(8), Call("numpy:dtype", (Ref("numpy:record"), struct_dtype(0, 8, dtype("O8")))), (1,)),
        Y,
        "cannot be made out of bytes",
    ),
    "array longer than its bytes": ("N8", array(bytes(8), shape=(2,)), Y, "takes 16 bytes, and there are 8"),
    "array shorter than its bytes": ("N8", array(bytes(16), shape=(1,)), Y, "takes 8 bytes, and there are 16"),
    "array of a negative shape": ("N8", array(bytes(8), shape=(-1, -1)), Y, "calls numpy._core.numeric:_frombuffer: with arguments"),
    "array over an out-of-band buffer that is too short": (
        "N8",
        Asm().push(Call("numpy._core.numeric:_frombuffer", Do(lambda asm: asm.op("NEXT_BUFFER")), dtype(), (3,), "C")),
        Y,
        "takes 24 bytes, and there are 16",
        (bytes(16),),
    ),
    "array over text": ("N8", array("12345678", shape=(1,)), Y, "with arguments that its rule does not allow"),
    "scalar of an object": (
        "N1, E.3",
        Call("numpy._core.multiarray:scalar", dtype("O8"), bytes(8)),
        Y,
        "cannot be made out of bytes",
    ),
    "scalar shorter than its dtype": ("E.3", Call("numpy._core.multiarray:scalar", dtype("<f8"), bytes(4)), Y, "takes 8 bytes, and there are 4"),
    "_reconstruct of a huge array": ("M7: 64 GiB out of 92 bytes", Call(UNPICKLE, Ref("numpy:ndarray"), (1 << 40,), b"b"), Y, "with arguments"),
    "_reconstruct of another class": ("A15", Call(UNPICKLE, Ref("subprocess:Popen"), (0,), b"b", state=OBJECTS), Y, "with arguments"),
    "_reconstruct with another type code": ("M7", Call(UNPICKLE, Ref("numpy:ndarray"), (0,), b"O", state=(*OBJECTS, [])), Y, "with arguments"),
    "_reconstruct without state": ("M2: heap contents", Call(UNPICKLE, *EMPTY), Y, "it is used without the state that it needs"),
    "objects fewer than the shape": ("N6: SIGSEGV at load", Call(UNPICKLE, *EMPTY, state=(*OBJECTS, [1])), Y, "is stored as a list of 3 items"),
    "objects out of raw bytes": ("N1", Call(UNPICKLE, *EMPTY, state=(*OBJECTS, bytes(24))), Y, "is stored as a list of 3 items"),
    "objects out of a list that is a tuple": (
        "N6",
        Call(UNPICKLE, *EMPTY, state=(*OBJECTS, (1, 2, 3))),
        Y,
        "with a state that its rule does not allow",
    ),
    "numbers fewer than the shape": ("N8", Call(UNPICKLE, *EMPTY, state=(1, (3,), dtype(), False, bytes(8))), Y, "takes 24 bytes, and there are 8"),
    "numbers out of a list": ("N8", Call(UNPICKLE, *EMPTY, state=(1, (1,), dtype(), False, [1.0])), Y, "stored as bytes"),
    "an array with a text state": ("N1", Call(UNPICKLE, *EMPTY, state=(1, (1,), "O8", False, [1])), Y, "with a state that its rule does not allow"),
    "a text array with fewer items": (
        "N6",
        Call(UNPICKLE, *EMPTY, state=(1, (200_000,), Call("numpy._core._internal:_convert_to_stringdtype_kwargs", True), False, ["x"])),
        Y,
        "as many items as the shape says",
    ),
}

ONE = array(struct.pack("<q", 2), "<i8")
NATIVE = {
    "tree without state": ("M2, E.3", tree(ONE, 1, None), Y, "without the state that it needs"),
    "tree with more outputs than class counts": ("E.3", tree(ONE, 1000, tree_state(1)), Y, "not one integer for each output"),
    "tree without outputs": ("E.3", tree(array(b"", "<i8"), 0, tree_state(1)), Y, "not one integer for each output"),
    "tree with class counts of other numbers": ("E.3", tree(array(bytes(8), "<f8"), 1, tree_state(1)), Y, "not one integer for each output"),
    "tree with more nodes than it has": ("E.3, scikit-learn #34558", tree(ONE, 1, tree_state(1000)), Y, "are not arrays of 1000 nodes"),
    "tree with no node": ("E.3", tree(ONE, 1, tree_state(0)), Y, "is not a positive integer"),
    "tree with a further entry": ("M1", tree(ONE, 1, {**tree_state(1), "x": 1}), Y, "has other entries than"),
    "tree with two states": ("M1: heap overflow at load", mutated(tree(ONE, 1, tree_state(1)), "BUILD", tree_state(1)), P, "a second BUILD"),
    "cKDTree with a child out of range": (
        "E.3",
        ckdtree((*INNER, 1, 1000), LEAF, RIGHT),
        S,
        "[0]: cKDTree: its child greater must be a later node of 3; found 1000",
        (),
        True,
    ),
    "cKDTree with a cycle": (
        "E.3",
        ckdtree((*INNER, 1, 2), (*INNER, 0, 2), RIGHT),
        S,
        "[1]: cKDTree: its child less must be a later node of 3; found 0",
        (),
        True,
    ),
    "cKDTree with a negative child": (
        "E.3",
        ckdtree((*INNER, -1, 1), LEAF),
        S,
        "[0]: cKDTree: its child less must be a later node of 2; found -1",
        (),
        True,
    ),
    "cKDTree with a shared child": (
        "E.3",
        ckdtree((*INNER, 1, 2), (*INNER, 3, 4), (*INNER, 3, 4), LEAF, RIGHT),
        S,
        "each node but the first must be the child of one node",
        (),
        True,
    ),
    "cKDTree with points that are not there": (
        "E.3",
        ckdtree((-1, 0, 0.0, 0, 99, 0, 0, -1, -1)),
        S,
        "it must cover 2 points; found (0, 99)",
        (),
        True,
    ),
    "cKDTree whose leaf has points that are not there": (
        "E.3",
        ckdtree((*INNER, 1, 2), LEAF, (-1, 0, 0.0, 1, 99, 0, 0, -1, -1)),
        S,
        "the children of a node must share its points",
        (),
        True,
    ),
    "cKDTree of a dimension that is not there": (
        "E.3",
        ckdtree((7, *INNER[1:], 1, 2), LEAF, RIGHT),
        S,
        "[split_dim]: cKDTree: each number must be from -1 to 0; found 7",
        (),
        True,
    ),
    "cKDTree of half a node": (
        "E.3",
        ckdtree((*INNER, 1, 2), LEAF, RIGHT, extra=bytes(36)),
        S,
        "it must hold the bytes of whole nodes, 72 each; found 252",
        (),
        True,
    ),
    "cKDTree whose nodes are numbers": (
        "found here: scipy writes text of one byte each",
        ckdtree((*INNER, 1, 2), LEAF, RIGHT, kind="|i1"),
        S,
        "its dtype must be native, of kind S or V; found int8",
        (),
        True,
    ),
    "cKDTree without state": ("M2", New("scipy.spatial._ckdtree:cKDTree"), Y, "without the state that it needs"),
    "distribution with code in its template": (
        "A17, promptfoo 191-195",
        New("scipy.stats._continuous_distns:norm_gen", state={"_parse_arg_template": "import os\nos.system('touch pwned')\n"}),
        Y,
        "is other text than scipy's, and it would be executed",
    ),
    "distribution with code behind its template": ("A17", distribution("", tail="import os\nos.system('touch pwned')\n"), Y, "would be executed"),
    "distribution with a default argument": ("A17", distribution("a=open('pwned','w'),"), Y, "would be executed"),
    "distribution with another default": ("A17", distribution("", loc="loc=0, scale=open('pwned','w')"), Y, "would be executed"),
    "distribution with an annotation": ("A17", distribution("a: open('pwned','w'),"), Y, "would be executed"),
    "distribution without a template": (
        "A17",
        New("scipy.stats._continuous_distns:norm_gen", state={"x": 1}),
        Y,
        "its _parse_arg_template is missing",
    ),
    "distribution with its template twice": (
        "A17, B17",
        New(
            "scipy.stats._continuous_distns:norm_gen",
            state=flat("_parse_arg_template", TEMPLATE.format(shapes="", loc="loc=0, scale=1"), "_parse_arg_template", "x"),
        ),
        Y,
        "the same key twice",
    ),
    "distribution without state": ("M2", New("scipy.stats._continuous_distns:norm_gen"), Y, "without the state that it needs"),
}

TWIN = 2**61 - 1
KEYS = {
    "exponential key of a dict": ("D7", [wide(19), {Get("19"): 1}], L, "`key_nodes` and `key_depth` of Limits"),
    "exponential member of a set": ("D7", [wide(19), {Get("19")}], L, "`key_nodes` and `key_depth` of Limits"),
    "exponential member of a frozenset": ("D7", [wide(19), frozenset({Get("19")})], L, "`key_nodes` and `key_depth` of Limits"),
    "exponential key of an OrderedDict": ("D7", [wide(19), Call("collections:OrderedDict", pairs=[Get("19"), 1])], L, "`key_nodes` and `key_depth`"),
    "deep key": ("D8: SIGSEGV, cpython #154318", {nested(400_000): 1}, L, "`key_nodes` and `key_depth` of Limits"),
    "deep member of a frozenset": ("D8", frozenset({nested(400_000)}), L, "`key_nodes` and `key_depth` of Limits"),
    "colliding integers": ("D12: 8 s", flat(*(each for i in range(30_000) for each in (i * TWIN, 0))), L, "`colliding_keys` of Limits"),
    "colliding members of a set": (
        "D12",
        Do(lambda asm: asm.op("EMPTY_SET").group([i * TWIN for i in range(1, 30_000)], "ADDITEMS")),
        L,
        "`colliding_keys` of Limits",
    ),
    "colliding tuples": (
        "D12",
        lambda: flat(*itertools.chain.from_iterable((key, 0) for key in itertools.product((-1, -2), repeat=12))),
        L,
        "`colliding_keys` of Limits",
    ),
    "list as a key": (
        "B19",
        Do(lambda asm: asm.push({}).push([]).op("NONE", "SETITEM")),
        P,
        "a list as a key of a dict or member of a set cannot be hashed",
    ),
    "dict in a tuple as a key": ("B19", Do(lambda asm: asm.push({}).push(({},)).op("NONE", "SETITEM")), P, "a dict as a key"),
    "bytearray as a member": ("B19", Do(lambda asm: asm.op("MARK").push(bytearray(1)).op("FROZENSET")), P, "a bytearray as a key"),
    "estimator as a key": ("B19", {New(SCALER): 1}, Y, f"hashes an instance of {SCALER}"),
    "estimator in a tuple as a member": ("B19", frozenset({(1, New(SCALER))}), Y, f"hashes an instance of {SCALER}"),
    "OrderedDict as a key": ("B19", {Call("collections:OrderedDict"): 1}, Y, "its rule does not say `hashable`"),
    "deep tuples": ("D9", nested(400_000), L, "`nesting` of Limits"),
    "deep lists": ("D9", lists(6_000), L, "`nesting` of Limits"),
    "deep objects": (
        "D9",
        lambda: a().raw((op("EMPTY_DICT") + op("SHORT_BINUNICODE", "x")) * 6_000).op("NONE").raw(op("SETITEM") * 6_000),
        L,
        "`nesting` of Limits",
    ),
}

BODY = Asm().push([1, 2, 3]).program(proto=b"", framed=False)
NONE5 = op("PROTO", 5)
FORM = {
    "frame longer than the program": (
        "B5, cpython #128853",
        NONE5 + op("FRAME", len(BODY) + 1) + BODY,
        P,
        f"FRAME says {len(BODY) + 1} bytes and only",
    ),
    "frame of 2**63 bytes": ("B5, D2", NONE5 + op("FRAME", 1 << 63) + BODY, P, "FRAME says 9223372036854775808 bytes"),
    "frame shorter than the program": ("B5, fickling #317", NONE5 + op("FRAME", len(BODY) - 4) + BODY, P, "operations outside a frame"),
    "frame that cuts an operand": ("B5, cpython #154848", NONE5 + op("FRAME", 5) + BODY, P, "an operation does not end where its frame ends"),
    "frame within a frame": ("B5", NONE5 + op("FRAME", len(BODY) + 9) + op("FRAME", len(BODY)) + BODY, P, "a FRAME within a frame"),
    "frame of nothing": ("B5", NONE5 + op("FRAME", 0) + op("FRAME", len(BODY)) + BODY, P, "a FRAME of 0 bytes is never written"),
    "frame of two bytes": ("B5", NONE5 + op("FRAME", 2) + op("NONE") + op("STOP"), P, "a FRAME of 2 bytes is never written"),
    "frame after the end": ("B5, B2", NONE5 + op("FRAME", len(BODY)) + BODY + op("FRAME", 4) + b"NNN.", P, "bytes follow STOP"),
    "frame that goes on after the end": ("B5", frame(BODY + b"NNNN"), P, "bytes follow STOP, or a frame goes on after it"),
    "operations before a frame": ("B5", NONE5 + b"N" + op("FRAME", 4) + b"N\x86N.", P, "operations stand before this frame"),
    "operations without a frame": ("B5", NONE5 + BODY, P, "operations outside a frame"),
    "cut FRAME": ("B1", NONE5 + op("FRAME", 4)[:5], P, "FRAME says"),
    "large bytes within a frame": (
        "B5",
        lambda: frame(op("BINBYTES", bytes(70_000)) + op("STOP")),
        P,
        "byte strings of 64 KiB and more stand outside",
    ),
    "no PROTO": ("B4", BODY, P, "does not begin with PROTO 5"),
    "PROTO late": ("B4", b"N0" + NONE5 + BODY, P, "does not begin with PROTO 5"),
    "PROTO 4": ("B4", Asm().push([1]).program(proto=op("PROTO", 4)), P, "does not begin with PROTO 5"),
    "PROTO 2": ("B4, A6", Asm().push(1).program(proto=op("PROTO", 2)), P, "does not begin with PROTO 5"),
    "PROTO 6": ("B4", Asm().push(1).program(proto=op("PROTO", 6)), P, "does not begin with PROTO 5"),
    "PROTO twice": ("B4, A7", a().op("PROTO", operand=5).push(1), P, "a second PROTO"),
    "PROTO raised in mid-stream": ("A7", a().push(1).op("PROTO", operand=2).op("TUPLE1"), P, "a second PROTO"),
    "nothing": ("C2", b"", P, "does not begin with PROTO 5"),
    "only PROTO": ("B1", NONE5, P, "the program ends without STOP"),
    "reserved opcode": ("B1, nullifAI", a().push(Call("os:system", SHELL)).raw(b"\xff"), P, "0xff is not an opcode"),
    "opcode 0": ("B1", a().raw(b"\0\0\0\0"), P, "0x00 is not an opcode"),
    "byte after the end": ("B2, C3", Asm().push(1).program(tail=b"\0"), P, "1 bytes follow STOP"),
    "second program after the end": (
        "B2, picklescan multiple_pickles",
        lambda: program(1) + program(Call("os:system", SHELL)),
        P,
        "bytes follow STOP",
    ),
    "no STOP": ("B1, nullifAI", Asm().push(Call("os:system", SHELL)).program(stop=False), P, "the program ends without STOP"),
    "two values at STOP": ("B3", a().push(1).push(2), P, "STOP with an open mark, or with other than one value"),
    "no value at STOP": ("B3", NONE5 + b".", P, "STOP with an open mark, or with other than one value"),
    "open mark at STOP": ("B3", a().op("MARK").push(1), P, "STOP with an open mark"),
    "open mark under the result": ("B3", a().push(1).op("MARK", "NONE"), P, "STOP with an open mark"),
    "stack underflow": ("B11", a().push(1).op("TUPLE2"), P, "TUPLE2 needs an operand, stack value"),
    "underflow through a mark": ("B11", a().push(1).op("MARK").push(2).op("TUPLE2", "TUPLE2"), P, "TUPLE2 needs an operand, stack value"),
    "POP of a mark": ("B7", a().push(1).op("MARK", "POP"), P, "POP needs an operand, stack value"),
    "POP of nothing": ("B11", a().op("POP", "POP", "POP"), P, "POP needs an operand, stack value"),
    "POP of the result": ("B7", a().push(1).push(2).op("POP"), P, "POP drops values"),
    "TUPLE without a mark": ("B11, fickling #188", a().push(1).push(2).op("TUPLE"), P, "TUPLE needs an operand, stack value, mark"),
    "TUPLE of three": ("B.1 canonical", a().group((1, 2, 3), "TUPLE"), P, "TUPLE of 3 values has a shorter form"),
    "TUPLE of none": ("B.1 canonical", a().op("MARK", "TUPLE", "TUPLE1"), P, "TUPLE of 0 values has a shorter form"),
    **{
        f"{name} of 2**40 bytes": ("D2", a().raw(op(name, b"")[:1] + struct.pack("<Q", 1 << 40) + b"abcd"), P, "the program ends before them")
        for name in ("BINBYTES8", "BYTEARRAY8", "BINUNICODE8")
    },
    **{
        f"{name} of 2**31 - 1 bytes": (
            "D2",
            a().raw(op(name, 0 if name == "LONG4" else b"")[:1] + struct.pack("<I", 2**31 - 1) + b"abcd"),
            P,
            "the program ends before them",
        )
        for name in ("LONG4", "BINUNICODE", "BINBYTES")
    },
    "LONG4 of a negative length": ("D2", a().raw(op("LONG4", 0)[:1] + struct.pack("<i", -1) + b"abcd"), P, "the program ends before them"),
    "SHORT_BINUNICODE cut": ("B1", frame(b"\x8c\xffabc"), P, "the program ends before them"),
    "BINFLOAT cut": ("B1", frame(op("BINFLOAT", 1.0)[:6]), P, "the program ends before them"),
    "BININT cut": ("B1", frame(op("BININT", 1 << 20)[:4]), P, "the program ends before them"),
    "text that is not UTF-8": ("B1, B22", a().op("SHORT_BINUNICODE", operand=b"\xff\xfe"), P, "text that is not UTF-8"),
    "text in overlong UTF-8": ("B8", a().op("SHORT_BINUNICODE", operand=b"\xc0\xaf"), P, "text that is not UTF-8"),
    "BININT of a small integer": ("B8", a().op("BININT", operand=5), P, "the integer 5 has a shorter form"),
    "BININT of 65,535": ("B8", a().op("BININT", operand=65_535), P, "the integer 65535 has a shorter form"),
    "BININT2 of a small integer": ("B8", a().op("BININT2", operand=255), P, "the integer 255 has a shorter form"),
    "LONG1 of a small integer": ("B8", a().op("LONG1", operand=5), P, "an integer that is not in its shortest form"),
    "LONG1 of nothing": ("B8", a().op("LONG1", operand=0).op("TUPLE1"), P, "an integer that is not in its shortest form"),
    "LONG1 with a sign byte too many": ("B8", a().raw(op("LONG1", 0)[:1] + b"\x06" + bytes(4) + b"\x01\0"), P, "not in its shortest form"),
    "LONG4 of a short integer": ("B8", a().op("LONG4", operand=1 << 40), P, "an integer that is not in its shortest form"),
    "integer of 100,000 bytes": ("D6", a().op("LONG4", operand=1 << 800_000), L, "`integer_bytes` of Limits"),
    "BINUNICODE of a short text": ("B8", a().op("BINUNICODE", operand="os"), P, "BINUNICODE of 2 bytes has a shorter form"),
    "BINUNICODE8 of a short text": ("B8", a().op("BINUNICODE8", operand="os"), P, "BINUNICODE8 of 2 bytes has a shorter form"),
    "BINBYTES of short bytes": ("B8", a().op("BINBYTES", operand=b"os"), P, "BINBYTES of 2 bytes has a shorter form"),
    "BINBYTES8 of short bytes": ("B8", a().op("BINBYTES8", operand=b"os"), P, "BINBYTES8 of 2 bytes has a shorter form"),
    **{
        f"text opcode {name}": ("B8, B10, GHSA-9gvj-pp9x-gcfr", a().op(name, operand=operand).op("TUPLE1"), P, f"{name} is not written at protocol 5")
        for name, operand in (("STRING", "'os'"), ("UNICODE", "\\u006fs"), ("INT", "001"), ("LONG", "1L"), ("FLOAT", "1_0.5"))
    },
    **{
        f"Python 2 opcode {name}": ("B8, B22", a().op(name, operand=b"os").op("TUPLE1"), P, f"{name} is not written at protocol 5")
        for name in ("SHORT_BINSTRING", "BINSTRING")
    },
    **{
        f"protocol 0 opcode {name}": ("B11", a().op("MARK", "NONE", "NONE", name), P, f"{name} is not written at protocol 5")
        for name in ("LIST", "DICT")
    },
}

NEXT = Do(lambda asm: asm.op("NEXT_BUFFER"))
BUFFERS = {
    "a buffer that is not used": ("B20, DESIGN 4", [1, 2], P, "1 of 1 buffers are not used", (b"x" * 16,)),
    "one buffer of two": ("B20", [NEXT, 2], P, "1 of 2 buffers are not used", (b"x" * 16,) * 2),
    "one buffer too many": ("B20", [NEXT, NEXT], P, "NEXT_BUFFER, and all 1 buffers are used", (b"x" * 16,)),
    "no buffer": ("B20", [NEXT], P, "NEXT_BUFFER, and all 0 buffers are used"),
    "a buffer in the memo": ("B20", [Let("b", NEXT), Get("b")], P, "a buffer in the memo could be used twice", (b"x" * 16,)),
    "a read-only buffer in the memo": (
        "B20",
        Do(lambda asm: asm.op("EMPTY_LIST", "NEXT_BUFFER", "READONLY_BUFFER").let("b").op("APPEND")),
        P,
        "a buffer in the memo could be used twice",
        (b"x" * 16,),
    ),
    "READONLY_BUFFER of bytes": ("B20", a().push(b"abcd").op("READONLY_BUFFER"), P, "READONLY_BUFFER does not follow NEXT_BUFFER"),
    "READONLY_BUFFER twice": (
        "B20",
        a().op("NEXT_BUFFER", "READONLY_BUFFER", "READONLY_BUFFER", "TUPLE1"),
        P,
        "READONLY_BUFFER does not follow",
        (b"x",),
    ),
    "a buffer as a key": ("B19", Do(lambda asm: asm.push({}).op("NEXT_BUFFER", "NONE", "SETITEM")), P, "a buffer as a key", (b"x" * 16,)),
}


def arrays_of_pandas(**attributes: Any) -> Call:
    maker = "pandas._libs.arrays:__pyx_unpickle_NDArrayBacked"
    return Call(maker, Ref("pandas.arrays:DatetimeArray"), 1, None, state=(dtype("<M8[ns]"), array(bytes(8), "<i8"), dict(attributes)))


def point_tree(highest: Any, box: Any) -> New:
    raw, side = struct.pack("<qqdqqQQqq", *LEAF[:4], 2, *LEAF[5:]), array(bytes(8), "<f8", (1,))
    indices = array(struct.pack("<2q", 0, 1), "<i8")
    return New(
        "scipy.spatial._ckdtree:cKDTree",
        state=(
            array(raw, "|S1", (72,)),
            array(bytes(16), "<f8", (2, 1)),
            2,
            1,
            10,
            highest or side,
            side,
            indices,
            *((box, box) if box else (None, None)),
        ),
    )


HUGE = 1 << 60_000
OWN = {
    "partial without state, which its check must not see": (
        "found here: TypeError",
        Call("functools:partial", Ref("numpy:sum")),
        Y,
        "without the state",
    ),
    "dunder attribute of an array of pandas": (
        "M4: NDArrayBacked.__setstate__ sets what its third part says",
        arrays_of_pandas(__class__=1),
        Y,
        "with a state",
    ),
    "attribute of an array of pandas that replaces a method": (
        "A14",
        arrays_of_pandas(astype=Ref("numpy:sum")),
        Y,
        "with a state that its rule does not allow",
    ),
    "hash of what an UUID holds": ("found here, D7", {New("uuid:UUID", state={"int": wide(22)}): 1}, L, "`tuple_nodes` of Limits"),
    "hash of what a dtype of pandas holds": (
        "found here, D7",
        {New("pandas:SparseDtype", state={"_dtype": 1, "_fill_value": wide(22)}): 1},
        L,
        "`tuple_nodes` of Limits",
    ),
    "calls that copy one dict": (
        "found here, D11: 1.5 MB for 5 bytes",
        [Let("args", ({i: i for i in range(20_000)},)), *(Call("collections:OrderedDict", tupled=Get("args")) for _ in range(2_000))],
        L,
        "the same large values are used over and over",
    ),
    "a shape whose product never ends": ("found here, D6", [Let("huge", HUGE), array(b"", shape=(Get("huge"),) * 300)], Y, "with arguments"),
    "a state that is formatted": ("found here, D5: 2 GB", Call("random:Random", state=(2, ("%2000000000d",), None)), Y, "random:Random"),
    "an object with items gets its state after it was handed over": (
        "found here, M3: `frozen` is only set by the walk, which BUILD does not start",
        [Let("o", New(BUNCH, pairs=["a", 1])), Call("collections:OrderedDict", {"x": Get("o")}), mutated(Get("o"), "BUILD", {"b": 1})],
        P,
        "is changed through the memo, away from where it was made",
    ),
    "a buffer used twice through a list": (
        "found here, DESIGN 4: every buffer exactly once",
        [Let("l", [NEXT]), Get("l")],
        Y,
        "a buffer is used otherwise than once, as the memory of one array",
        (bytes(16),),
    ),
    "two arrays over one buffer": (
        "found here, DESIGN 4, M3: one array aliases the other",
        [Let("args", (NEXT, dtype(), (2,), "C")), *(Call("numpy._core.numeric:_frombuffer", tupled=Get("args")) for _ in range(2))],
        Y,
        "a buffer is used otherwise than once, as the memory of one array",
        (bytes(16),),
    ),
    "two arrays over one bytearray": (
        "found here, M3: as above, in band",
        [Let("b", bytearray(8)), *(array(Get("b"), shape=(1,)) for _ in range(2))],
        Y,
        "two arrays lie in the same bytes",
    ),
    "POP of what no tuple held": (
        "found here, B7: the items dropped are compared by type, not by value",
        a().push((1,)).let("t").push(7).op("POP").get("t").op("TUPLE2"),
        P,
        "POP drops values other than the items of a tuple that contains itself",
    ),
    "POP_MARK of nothing": (
        "found here, B7: () does not contain itself",
        a().push(()).let("t").op("MARK", "POP_MARK").get("t").op("TUPLE2"),
        P,
        "POP drops values other than the items of a tuple that contains itself",
    ),
    "a class that may not be referred to, through shared arguments": (
        "found here, DESIGN 5: the slot is bound once, and the tuple stands in the result as well",
        [Call(UNPICKLE, tupled=Let("T", (Ref("numpy:memmap"), (0,), b"b")), state=(1, (1,), dtype(), False, bytes(8))), {"func": Get("T")}],
        Y,
        "refers to numpy:memmap: no rule names it",
    ),
    "state that replaces a method of dok_matrix": (
        "found here, A14: the shadowing check looks at the function that was called, not at the class that it makes",
        Call("copyreg:_reconstructor", Ref("scipy.sparse._dok:dok_matrix"), Ref("builtins:dict"), {}, state={"tocsr": Ref("numpy:sum")}),
        Y,
        "sets 'tocsr', which is the name of a method",
        (),
        True,
    ),
    "cKDTree whose highest corner is too short": (
        "found here, E.3: read as doubles, whatever its dtype",
        point_tree(array(bytes(1), "|i1", (1,)), None),
        S,
        "$.maxes: cKDTree: its dtype must be f8; found int8",
        (),
        True,
    ),
    "cKDTree whose box is too short": (
        "found here, E.3: read as 2 m doubles",
        point_tree(None, array(bytes(8), "<f8", (1,))),
        S,
        "$.boxsize_data: cKDTree: its shape must be (2,); found (1,)",
        (),
        True,
    ),
    "an array of 2**40 items out of no byte": (
        "found here, M7: an item of no bytes",
        Call(UNPICKLE, *EMPTY, state=(1, (1 << 40,), dtype("V0"), False, b"")),
        Y,
        "an array of 1099511627776 items of no bytes",
    ),
    "two calls share huge integers": (
        "found here, D6: 0.3 s for 5 bytes",
        [Let("args", ((1 << 500_000) + 12_345, 3**300_000)), *(Call("fractions:Fraction", tupled=Get("args")) for _ in range(200))],
        L,
        "the same large values are used over and over",
    ),
    "hash of a dtype of dtypes": (
        "found here, D7: fields may overlap, so any number of levels of 8 fields fits into 8 bytes",
        [
            Let("0", dtype()),
            *(
                Let(
                    str(i + 1),
                    Call(
                        "numpy:dtype",
                        {"names": tuple("abcdefgh"), "formats": (Get(str(i)),) * 8, "offsets": (0,) * 8, "itemsize": 8},
                        False,
                    ),
                )
                for i in range(5)
            ),
            {Get("5"): 1},
        ],
        Y,
        "the dtype holds more than 10000 fields, shared ones counted each time",
    ),
    "keys that are one huge integer": (
        "found here, D12: hashing 64 KB for 2 bytes",
        [Let("huge", 1 << 520_000), Do(lambda asm: asm.op("MARK").raw(op("BINGET", asm.labels["huge"]) * 400_000).op("FROZENSET"))],
        L,
        "`key_nodes` and `key_depth` of Limits",
    ),
    "a tuple that is refused late": (
        "found here, D7: 50,000,000 nodes are walked first",
        [wide(24), {Get("24"): 1}],
        L,
        "`shared_parts` of Limits",
    ),
    "a tuple that doubles 45 times": ("D7: nobody hashes it, and its repr never ends", [wide(45), Get("45")], L, "`shared_parts` of Limits"),
    "a huge integer in a shape": ("found here: ValueError, 4,300 digits", array(bytes(8), shape=(HUGE,)), Y, "with arguments"),
    "a huge integer as an argument": ("found here: ValueError", Call("builtins:type", HUGE), Y, "an integer of 60001 bits"),
    "a huge integer as an offset": ("found here: ValueError", struct_dtype(HUGE), Y, "at offset an integer of 60001 bits"),
    "a huge integer in the path of a refusal": (
        "found here: ValueError",
        {HUGE: Ref("os:system")},
        Y,
        "$[an integer of 60001 bits]: refers to os:system",
    ),
}

GROUPS = (DIRECT, FETCHED, FORMS, NAMES, TRAMPOLINES, BUILDS, MEMO, FROZEN, DTYPES, NATIVE, KEYS, FORM, BUFFERS, OWN)
ATTACKS = {name: Attack(*row) for group in GROUPS for name, row in group.items()}


def test_the_table_is_not_empty() -> None:
    """A loop over a table that lost its rows would pass."""
    assert len(ATTACKS) == sum(map(len, GROUPS)), "two groups have a row of the same name"
    assert len(ATTACKS) >= 300


@pytest.fixture
def warm_extension_cache(tmp_path, monkeypatch):
    """A warm cache hands out os.system to any unpickler, without asking find_class."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(copyreg._extension_registry, ("os", "system"), 240)
    monkeypatch.setitem(copyreg._inverted_registry, 240, ("os", "system"))
    monkeypatch.setitem(copyreg._extension_cache, 240, os.system)


@pytest.mark.parametrize("name", ATTACKS)
def test_is_refused_where_it_should_be(name, tmp_path, warm_extension_cache) -> None:
    """The class says which stage refused, the message says why; nothing was imported or executed before."""
    attack = ATTACKS[name]
    data = attack.sealed()
    if attack.late:
        for module in admitted_modules(name):
            # Of the names of a module in two versions of a library one is there.
            with contextlib.suppress(ModuleNotFoundError):
                importlib.import_module(module)
    before, start = set(sys.modules), time.process_time()
    with pytest.raises(safepickle.SafePickleError) as caught:
        safepickle.loads(data, key=KEY)
    assert time.process_time() - start < SECONDS
    assert caught.type is attack.error
    assert attack.says in str(caught.value)
    assert set(sys.modules) == before
    assert not os.listdir(tmp_path)
    assert caught.value.__cause__ is None


def admitted_modules(name: str) -> set[str]:
    """Return the modules that an attack of admitted names only may import. Raises if the policy does not admit it."""
    attack = ATTACKS[name]
    admitted = admit(trace(attack.program(), buffers=attack.buffers), Policy.default())
    return {module for use in admitted.uses for module, _ in use.found_at}


@pytest.mark.parametrize("name", ATTACKS)
def test_only_what_the_policy_admits_is_refused_late(name) -> None:
    """`late` excuses an attack from the promise that nothing is imported, so no other may claim it."""
    if ATTACKS[name].late:
        assert admitted_modules(name)
    else:
        with pytest.raises(SafePickleError):
            admitted_modules(name)


CHILD = """
import importlib, json, os, sys
import safepickle
import safepickle.pickling
key = safepickle.SecretKey.from_bytes(bytes.fromhex(sys.argv[1]))
folder = sys.argv[2]
before = set(sys.modules)
report = {}
for name in sorted(os.listdir(folder), key=int):
    with open(os.path.join(folder, name), "rb") as file:
        data = file.read()
    try:
        safepickle.loads(data, key=key)
        report[name] = ["loaded", ""]
    except BaseException as error:
        report[name] = [type(error).__name__, str(error)[:2000]]
report["imported"] = sorted(set(sys.modules) - before)
for module in sys.argv[3:]:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError:
        pass
report["more"] = sorted(set(sys.modules) - before)
print(json.dumps(report))
"""


def in_fresh_process(folder, work, names: list[str], *allowed: str) -> dict[str, Any]:
    """Load the attacks one after the other where only safepickle is imported.

    Tells what each came to, what was imported then, and what after also the allowed modules were.
    """
    for number, name in enumerate(names):
        (folder / str(number)).write_bytes(ATTACKS[name].sealed())
    done = subprocess.run(
        [sys.executable, "-c", CHILD, SECRET.hex(), str(folder), *allowed], cwd=work, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    said = {name: report[str(number)] for number, name in enumerate(names)}
    wrong = {name: each for name, each in said.items() if each[0] != ATTACKS[name].error.__name__ or ATTACKS[name].says not in each[1]}
    assert not wrong
    return report


OURS = {"safepickle", "tomllib", "_strptime"}


def test_nothing_is_imported_or_executed_in_a_fresh_process(tmp_path) -> None:
    """Promise 3: no name is imported before the whole program has been judged, and none of a refused one."""
    (folder := tmp_path / "files").mkdir()
    (work := tmp_path / "work").mkdir()
    (work / "_loss.py").write_text("open('pwned', 'w')")
    report = in_fresh_process(folder, work, [name for name, attack in ATTACKS.items() if not attack.late])
    assert not {module.partition(".")[0] for module in report["imported"]} - OURS, report["imported"]
    assert os.listdir(work) == ["_loss.py"]


def test_what_is_refused_by_its_state_imports_only_what_the_policy_admitted_in_a_fresh_process(tmp_path) -> None:
    """A state is judged by the classes of its objects, so those are imported first: what importing them brings, and nothing else."""
    (work := tmp_path / "work").mkdir()
    late = [name for name, attack in ATTACKS.items() if attack.late]
    assert len(late) >= 10
    seen = [(each, admitted_modules(each)) for each in late]
    for modules in {frozenset(modules) for _, modules in seen}:
        names = [name for name, own in seen if own == modules]
        (folder := tmp_path / str(late.index(names[0]))).mkdir()
        loaded = set(in_fresh_process(folder, work, names)["imported"])
        (nothing := folder / "nothing").mkdir()
        wanted = set(in_fresh_process(nothing, work, [], *modules)["more"])
        assert {module for module in loaded - wanted if module.partition(".")[0] not in OURS} == set()
    assert not os.listdir(work)


# --- messages -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["a\nb: all is well", "a\udc80", "a\x1b[2K"])
def test_no_line_break_or_control_character_of_a_file_gets_into_a_message(key) -> None:
    """A log line that the file wrote: state keys stand raw in the path of a refusal."""
    with pytest.raises(PolicyError) as caught:
        safepickle.loads(seal(program(New(SCALER, state={key: Ref("os:system")}))), key=KEY)
    assert all(refusal.isprintable() and refusal.isascii() for refusal in caught.value.refusals)


# --- what looks like an attack and is none --------------------------------------------------------------------


def recursive_list() -> Any:
    value: list[Any] = [1]
    value.append(value)
    return value


def recursive_dict() -> Any:
    value: dict[Any, Any] = {}
    value["self"] = [value]
    return value


def recursive_tuple(size: int) -> Callable[[], Any]:
    def make() -> Any:
        inner: list[Any] = []
        value = (inner, *range(size - 1))
        inner.append(value)
        return value

    return make


def cycle_of_objects() -> Any:
    from sklearn.utils._metadata_requests import MetadataRequest

    # No estimator: that must not be a part of itself.
    one, two = MetadataRequest(owner="one"), MetadataRequest(owner="two")
    one.other, two.other, one.all = two, one, [one, two]
    return one


def leaves_in_a_ring() -> Any:
    import numpy
    from sklearn.cluster import Birch

    return Birch(n_clusters=2, threshold=0.1).fit(numpy.random.default_rng(0).random((50, 2)))


def object_in_its_own_items() -> Any:
    from sklearn.utils import Bunch

    value = Bunch(a=1)
    value["self"] = value
    return value


def shared_parts() -> Any:
    part = {"a": [1]}
    return [part, part, (part, part["a"])]


def array_of_objects_that_holds_itself() -> Any:
    import numpy

    value = numpy.empty(2, object)
    value[1] = [1]
    value[0] = value[1]
    return value


BENIGN: dict[str, tuple[Callable[[], Any], Callable[[Any], bool]]] = {
    "a list that contains itself": (recursive_list, lambda value: value[1] is value),
    "a dict that contains itself": (recursive_dict, lambda value: value["self"][0] is value),
    **{f"a tuple of {size} that contains itself": (recursive_tuple(size), lambda value: value[0][0] is value) for size in (1, 2, 3, 4, 300)},
    "a cycle of objects": (cycle_of_objects, lambda value: value.other.other is value and value.all[0] is value and value.all[1] is value.other),
    "the leaves of Birch": (leaves_in_a_ring, lambda value: value.dummy_leaf_.next_leaf_.prev_leaf_ is value.dummy_leaf_),
    "an object among its own items": (object_in_its_own_items, lambda value: value["self"] is value),
    "shared parts": (shared_parts, lambda value: value[0] is value[1] is value[2][0] and value[2][1] is value[0]["a"]),
    "a list twice in an array": (array_of_objects_that_holds_itself, lambda value: value[0] is value[1]),
}


@pytest.mark.parametrize("name", BENIGN)
def test_benign_lookalike_loads(name) -> None:
    """A false refusal teaches people to switch the check off: the freeze rule refuses no cycle that the pickler writes."""
    make, holds = BENIGN[name]
    assert holds(safepickle.loads(safepickle.dumps(make(), key=KEY), key=KEY))


def test_a_list_that_contains_the_object_which_holds_it_is_refused_at_dump() -> None:
    """The pickler appends such an object to the list after its state: indistinguishable from a change behind the check."""
    from sklearn.utils._metadata_requests import MetadataRequest

    request = MetadataRequest(owner="x")
    request.all = [request]
    with pytest.raises(ProgramError, match="refers back to it cannot be stored"):
        safepickle.dumps(request.all, key=KEY)
    assert safepickle.loads(safepickle.dumps(request, key=KEY), key=KEY).all[0].all


@pytest.mark.parametrize("kind", ["text of numpy", "dates", "decimals"])
def test_a_dict_of_many_honest_keys_loads(kind) -> None:
    """A false refusal: a vocabulary made from an array of text has such keys."""
    import datetime
    import decimal

    import numpy

    make = {
        "text of numpy": lambda i: numpy.str_(f"word{i}"),
        "dates": lambda i: datetime.date.fromordinal(700_000 + i),
        "decimals": decimal.Decimal,
    }[kind]
    value = {make(number): number for number in range(4_000)}
    assert safepickle.loads(safepickle.dumps(value, key=KEY), key=KEY) == value


def test_calls_that_copy_one_description_of_a_dtype_are_refused() -> None:
    """D11: 5 bytes a call. Judged only, not built."""
    names = tuple(f"f{number}" for number in range(9_000))
    spec = {"names": names, "formats": (Get("f8"),) * 9_000, "offsets": (0,) * 9_000, "itemsize": 8}
    what = [Let("f8", dtype()), Let("args", (spec, False)), *(Call("numpy:dtype", tupled=Get("args")) for _ in range(2_000))]
    with pytest.raises(LimitError):
        admit(trace(program(what)), Policy.default())


def test_no_text_of_a_file_gets_into_a_message_through_a_library() -> None:
    with pytest.raises(ProgramError) as caught:
        safepickle.loads(seal(program(Call("pandas:PeriodDtype", "x\nall is well" + "x" * 10_000))), key=KEY)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 2_000
