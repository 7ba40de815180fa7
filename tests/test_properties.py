"""Properties: what dump accepts load returns, hostile bytes end in a refusal or in what CPython makes of them, and
the machine agrees with both unpicklers of CPython.

Everything is derandomized; SAFEPICKLE_LONG=1 runs 20 times as many examples, and other ones each time. Programs with content of
numpy and scikit-learn are built in child processes, since such states may crash compiled code: a child that dies by a
signal or takes too long is a failure. A mutated tree is built and pickled again, never asked to predict: that its child
indices are sound is for `state` to say, which is another module.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import pickletools
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
from assembler import CODES, KEY, Asm, Ref, frame, op, program
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outcomes import Base, outcome, quiet

import safepickle
from safepickle import SafePickleError
from safepickle.machine import trace
from safepickle.pickling import _Unpickler, pickled

LONG = bool(os.environ.get("SAFEPICKLE_LONG"))
SECONDS = 30


def examples(count: int) -> Callable[[Any], Any]:
    return settings(
        max_examples=count * 20 if LONG else count,
        derandomize=not LONG,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def typed(value: Any, seen: dict[int, int] | None = None) -> Any:
    """A value in which 1, 1.0 and True differ and nan equals itself. What is met again, in a cycle or shared, is a number."""
    seen = {} if seen is None else seen
    kind = type(value)
    if kind in (list, dict, set, tuple) and value:
        if id(value) in seen:
            return "again", seen[id(value)]
        seen[id(value)] = len(seen)
    if kind is float:
        return kind, struct.pack(">d", value)
    if kind in (list, tuple):
        return kind, tuple(typed(item, seen) for item in value)
    if kind is dict:
        return kind, tuple((typed(key), typed(item, seen)) for key, item in value.items())
    if kind in (set, frozenset):
        # In no order, so what its members share is not counted.
        return kind, frozenset(typed(item) for item in value)
    if kind in (bytearray, memoryview, pickle.PickleBuffer):
        return kind, bytes(value)
    return kind, value


# --- what dump accepts, load returns ---------------------------------------------------------------------------

SIZES = st.sampled_from([0, 1, 255, 256, 257, 4_095, 4_096, 65_535, 65_536, 70_000])
ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(0, 4_100).flatmap(lambda bits: st.sampled_from([(1 << bits) - 1, 1 << bits, -(1 << bits), -(1 << bits) - 1])),
    st.floats(),
    st.text(st.characters(codec=None, exclude_categories=[])),
    st.binary(max_size=300),
    SIZES.map(lambda size: b"x" * size),
    SIZES.map(lambda size: "é" * (size // 2)),
)
KEYS = st.recursive(ATOMS, lambda inner: st.lists(inner, max_size=5).map(tuple) | st.frozensets(inner, max_size=5), max_leaves=6)
VALUES = st.recursive(
    ATOMS | st.binary(max_size=300).map(bytearray) | SIZES.map(bytearray),
    lambda inner: st.one_of(
        st.lists(inner, max_size=8),
        st.lists(inner, max_size=8).map(tuple),
        st.dictionaries(KEYS, inner, max_size=8),
        st.sets(KEYS, max_size=8),
        st.frozensets(KEYS, max_size=8),
        st.tuples(inner, st.sampled_from([255, 256, 999, 1_000, 1_001])).map(lambda pair: [pair[0]] * pair[1]),
        st.integers(0, 2_100).map(lambda size: dict.fromkeys(range(size))),
    ),
    max_leaves=12,
)


@examples(150)
@given(VALUES)
def test_what_dump_signs_load_returns(value) -> None:
    """Promise 2."""
    assert typed(safepickle.loads(safepickle.dumps(value, key=KEY), key=KEY)) == typed(value)


# --- hostile bytes ---------------------------------------------------------------------------------------------


def operations(data: bytes) -> list[bytes]:
    """The operations of a program, without PROTO, frames and STOP."""
    found = list(pickletools.genops(data))
    ends = [position for _, _, position in found[1:]] + [len(data)]
    skipped = ("PROTO", "FRAME", "STOP")
    return [data[position:end] for (opcode, _, position), end in zip(found, ends, strict=True) if opcode.name not in skipped]


# Each pushes one value, so one may stand for another.
VALUE_OPERATIONS = [Asm().push(value).parts[0][0] for value in (None, True, 0, 1, 1 << 20, -1, 1 << 40, 1.5, float("nan"), "", "x", b"", (), [], {})]
PUSHES = {
    CODES[name] for name in ("NONE", "NEWTRUE", "NEWFALSE", "BININT1", "BININT2", "BININT", "LONG1", "BINFLOAT", "SHORT_BINUNICODE", "BINUNICODE")
}
PUSHES |= {CODES[name] for name in ("SHORT_BINBYTES", "BINBYTES", "BYTEARRAY8", "BINGET", "EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT")}


@st.composite
def mutated(draw: Any, bases: list[Base]) -> Base:
    """A program with one to three mistakes, made to its operations (in a new frame) or to its bytes."""
    data, buffers = draw(st.sampled_from(bases))
    if draw(st.integers(0, 3)) == 0:
        raw: list[bytes] = [data[index : index + 1] for index in range(len(data))]
    else:
        raw = operations(data)
    whole = len(raw) == len(data)
    pushes = operations(draw(st.sampled_from(bases))[0])
    pushes = [*VALUE_OPERATIONS, *(each for each in pushes if each[:1] in PUSHES)]
    for _ in range(draw(st.integers(1, 3))):
        first = draw(st.integers(0, max(len(raw) - 1, 0)))
        last = min(first + draw(st.integers(1, 12)), len(raw))
        match draw(st.sampled_from(["replace"] * 6 + ["flip"] * 2 + ["delete", "insert", "duplicate", "move", "splice"])):
            case "replace" if not whole and any(each[:1] in PUSHES for each in raw):
                places = [index for index, each in enumerate(raw) if each[:1] in PUSHES]
                raw[draw(st.sampled_from(places))] = draw(st.sampled_from(pushes))
            case "flip" if raw and raw[first]:
                byte = draw(st.integers(0, len(raw[first]) - 1))
                raw[first] = raw[first][:byte] + bytes([draw(st.integers(0, 255))]) + raw[first][byte + 1 :]
            case "delete":
                del raw[first:last]
            case "insert":
                raw[first:first] = [draw(st.sampled_from(list(CODES.values()))) + draw(st.binary(max_size=4))]
            case "duplicate":
                raw[last:last] = raw[first:last]
            case "move":
                part = raw[first:last]
                del raw[first:last]
                place = draw(st.integers(0, len(raw)))
                raw[place:place] = part
            case "splice":
                other = operations(draw(st.sampled_from(bases))[0])
                start = draw(st.integers(0, max(len(other) - 1, 0)))
                raw[first:last] = other[start : start + draw(st.integers(1, 40))]
            case _:
                pass
    body = b"".join(raw)
    return (body if whole else frame(body + op("STOP"))), buffers


PLAIN: list[Base] = [
    (pickle.dumps(value, 5), [])
    for value in (
        [1, 256, 70_000, 1 << 40, -1, 1 << 3_000, 1.5, None, True, False],
        {"a": [1, (2, 3), (4, 5, 6), (1, 2, 3, 4)], "b": {"c": {1, 2, 3}, (1, "x"): frozenset({b"y"})}, 3: bytearray(b"abc")},
        ["text" * 80, "t", b"b" * 300, ["t", "t"], "text" * 80],
        [[[[[[]]]]], ((((),),),)],
        [[i] for i in range(300)] * 2,
        list(range(1_000)),
    )
]


@examples(500)
@given(mutated(PLAIN))
def test_mutated_plain_programs_are_refused_or_load_as_in_cpython(base) -> None:
    """Promise 4, where nothing but values of Python is in reach."""
    assert outcome(base) != "different"


@pytest.fixture(scope="module")
def children() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), initializer=quiet) as pool:
        yield pool


def native_bases() -> list[Base]:
    import numpy
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    iris = load_iris()
    fields = numpy.array([(1, 2.0), (3, 4.0)], [("a", "i4"), ("b", "f8")])
    return [
        (data, [bytes(buffer) for buffer in buffers])
        for data, buffers in map(
            pickled,
            (
                DecisionTreeClassifier(max_depth=2, random_state=0).fit(iris.data, iris.target),
                make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000)).fit(iris.data, iris.target),
                [numpy.arange(6.0).reshape(2, 3), numpy.array(["a", "bc"]), numpy.array([1, "x", None], object), numpy.float32(1.5), fields],
                [numpy.zeros(1_000), numpy.arange(3), numpy.datetime64("2024-01-01"), numpy.ma.masked_array([1.0, 2.0], [True, False])],
                numpy.random.RandomState(0),
            ),
        )
    ]


@pytest.fixture(scope="module")
def bases() -> list[Base]:
    return native_bases()


def test_mutated_models_are_refused_or_load_as_in_cpython(children, bases) -> None:
    """Promise 4, for programs of numpy and scikit-learn: never a crash, a hang or another exception."""
    assert all(children.submit(outcome, base).result(SECONDS) == "loaded" for base in bases), "the programs as they are"
    seen: set[str] = set()

    @examples(400)
    @given(mutated(bases))
    def run(base: Base) -> None:
        found = children.submit(outcome, base).result(SECONDS)
        seen.add(found)
        assert found != "different"

    run()
    assert {"ProgramError", "PolicyError", "loaded"} <= seen, "mutations that only break the frames would test nothing"


# --- the machine agrees with CPython ---------------------------------------------------------------------------


CONSTANTS = (None, True, 0, 1, -1, 255, 256, 65_536, 1 << 31, 1 << 80, 1.5, "a", "b", "x" * 256, b"", b"y" * 300)
# What the operations need on top of the stack, and what they leave there. A value is known by its kind: "." has a hash, "?" has none.
STEPS = {
    "TUPLE1": ("*", "t"),
    "TUPLE2": ("**", "t"),
    "TUPLE3": ("***", "t"),
    "APPEND": ("l*", "l"),
    "SETITEM": ("d.*", "d"),
    "EMPTY_LIST": ("", "l"),
    "EMPTY_DICT": ("", "d"),
    "EMPTY_SET": ("", "s"),
    "EMPTY_TUPLE": ("", "."),
    "MEMOIZE": ("*", "*"),
}
GROUPS = {"TUPLE": "t", "FROZENSET": ".", "APPENDS": "l", "SETITEMS": "d", "ADDITEMS": "s"}


def fits(kinds: str, wanted: str) -> bool:
    return len(kinds) >= len(wanted) and all(want in ("*", kind) for kind, want in zip(kinds[len(kinds) - len(wanted) :], wanted, strict=True))


@st.composite
def plain_programs(draw: Any) -> bytes:
    """A program over plain values: mostly what fits the stack, now and then any opcode."""
    asm, stacks, memo = Asm(), [""], ""
    for _ in range(draw(st.integers(1, 40))):
        top = stacks[-1]
        choices = ["constant", "MARK", *(name for name, (wanted, _) in STEPS.items() if fits(top, wanted)), *(["get"] * 2 if memo else [])]
        if len(stacks) > 1:
            below, hashed = stacks[-2][-1:], set(top) <= {"."}
            choices += ["TUPLE"] * 2 if len(top) > 3 else []
            choices += ["FROZENSET"] * 2 if hashed else []
            choices += ["APPENDS"] * 3 if below == "l" else []
            choices += ["SETITEMS"] * 3 if below == "d" and len(top) % 2 == 0 and set(top[::2]) <= {"."} else []
            choices += ["ADDITEMS"] * 3 if below == "s" and hashed else []
        name = "any" if draw(st.integers(0, 59)) == 0 else draw(st.sampled_from(choices))
        match name:
            case "any":
                asm.raw(draw(st.sampled_from(list(CODES.values()))) + draw(st.binary(max_size=2)))
            case "constant":
                asm.push(draw(st.sampled_from(CONSTANTS)))
                stacks[-1] += "."
            case "get":
                index = draw(st.integers(0, len(memo) - 1))
                asm.op("BINGET", operand=index)
                stacks[-1] += memo[index]
            case "MARK":
                asm.op("MARK")
                stacks.append("")
            case "MEMOIZE":
                asm.op("MEMOIZE")
                memo += top[-1]
            case "TUPLE" | "FROZENSET" | "APPENDS" | "SETITEMS" | "ADDITEMS":
                asm.op(name)
                inside = stacks.pop()
                left = "." if name == "TUPLE" and set(inside) <= {"."} else GROUPS[name]
                stacks[-1] = stacks[-1] + left if name in ("TUPLE", "FROZENSET") else stacks[-1]
            case _:
                asm.op(name)
                wanted, left = STEPS[name]
                taken = top[len(top) - len(wanted) :]
                stacks[-1] = top[: len(top) - len(wanted)] + ("." if left == "t" and set(taken) <= {"."} else left)
    for index in range(len(stacks) - 1, 0, -1):
        asm.op(*["NONE"] * max(4 - len(stacks[index]), 0), "TUPLE")
        stacks[index - 1] += "t"
    asm.op(*["TUPLE2"] * (len(stacks[0]) - 1) if stacks[0] else ["NONE"])
    return asm.program()


def test_what_the_machine_accepts_both_unpicklers_of_cpython_accept() -> None:
    """The program judged is the program run: what is accepted here runs there, to the same result."""
    accepted = []

    @examples(1_000)
    @given(plain_programs())
    def run(data: bytes) -> None:
        accepted.append(False)
        try:
            trace(data)
        except SafePickleError:
            return
        accepted[-1] = True
        in_c = pickle.Unpickler(io.BytesIO(data)).load()
        in_python = pickle._Unpickler(io.BytesIO(data)).load()
        assert typed(in_c) == typed(in_python)

    run()
    assert sum(accepted) > len(accepted) // 4 > 200, "a grammar whose programs are all refused would show no agreement"


@examples(150)
@given(VALUES)
def test_the_machine_accepts_what_either_pickler_writes(value) -> None:
    """A false refusal is a security bug."""
    stream = io.BytesIO()
    pickle._Pickler(stream, 5).dump(value)
    for data in (pickle.dumps(value, 5), stream.getvalue()):
        assert trace(data).program is data


def test_the_unpickler_reaches_judged_names_only() -> None:
    """The second layer holds without the first."""
    with pytest.raises(safepickle.PolicyError, match="os:system was not judged"):
        _Unpickler(program(Ref("os:system")), (), {}).load()
