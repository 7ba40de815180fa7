"""Programs to start from, and operations to mutate with."""

from __future__ import annotations

import array
import collections
import contextlib
import datetime
import decimal
import fractions
import functools
import pickle
import random
import uuid
import warnings
from collections.abc import Iterator
from typing import Any

import differential
from assembler import CODES, Asm, Call, Let, New, Ref
from hostile import streams

from fuzz.mutating import operations
from safepickle.pickling import pickled

SMALL = 3000
MARKER = "/nonexistent/marker"


def plain_values() -> list[Any]:
    shared: list[Any] = [1]
    circle: list[Any] = []
    circle.append((circle, {"again": circle}))
    return [
        None, [1, 256, 70_000, 1 << 40, -1, 1 << 300, 1.5, True, False, "é\ud800", b"b" * 300, bytearray(b"abc"), "t" * 300],
        {"a": [1, (2, 3), (4, 5, 6), (1, 2, 3, 4)], "b": {"c": {1, 2, 3}, (1, "x"): frozenset({b"y"})}, 3: shared, 4: shared}, circle,
        [[i] for i in range(20)] * 2, collections.OrderedDict(a=1, b=[2]), collections.deque([1, 2], 5), collections.Counter("aab"),
        collections.defaultdict(list, a=[1]), datetime.datetime(2024, 1, 2, 3, tzinfo=datetime.UTC), datetime.timedelta(3), decimal.Decimal("1.5"),
        fractions.Fraction(1, 3), complex(1, 2), range(3), slice(1, None), uuid.UUID(int=5), array.array("d", [1.0]), functools.partial(int, base=2),
    ]  # fmt: skip


def library_values() -> Iterator[Any]:
    """Yield small objects of numpy, scipy, pandas and scikit-learn."""
    import numpy
    import pandas
    import scipy.sparse
    from sklearn import cluster, linear_model, naive_bayes, neighbors, pipeline, preprocessing, svm, tree

    x, y = numpy.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [3.0, 1.0]]), numpy.array([0, 1, 0, 1])
    yield from (numpy.arange(6.0).reshape(2, 3), numpy.array(["a", "bc"]), numpy.array([1, "x", None], object), numpy.float32(1.5))
    yield from (numpy.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]), numpy.datetime64("2024-01-01"), numpy.ma.masked_array([1.0, 2.0], [True, False]))
    yield from (numpy.asfortranarray(x), numpy.zeros(1000), numpy.array([], "f4"), numpy.random.RandomState(0), numpy.random.default_rng(0))
    yield from (scipy.sparse.csr_matrix(x), scipy.sparse.coo_array(x), scipy.sparse.dok_matrix(x), scipy.sparse.lil_array(x))
    yield from (pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]}), pandas.Series([1.0, None]), pandas.Categorical(["a", "b"]), pandas.Timestamp(0))
    yield from (
        pandas.RangeIndex(3),
        pandas.MultiIndex.from_tuples([(1, "a")]),
        pandas.NA,
        pandas.Interval(0, 1),
        pandas.period_range("2024", periods=2),
    )
    for model in (
        tree.DecisionTreeClassifier(max_depth=2), tree.DecisionTreeRegressor(max_depth=1), linear_model.LogisticRegression(),
        neighbors.KNeighborsClassifier(1), neighbors.KernelDensity(), svm.SVC(), naive_bayes.GaussianNB(), cluster.KMeans(2, n_init=1),
        pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.Ridge()), preprocessing.SplineTransformer(n_knots=2),
        preprocessing.OneHotEncoder(), linear_model.SGDClassifier(),
    ):  # fmt: skip
        yield model.fit(x, y)


def strict() -> Iterator[bytes]:
    """Yield small programs of protocol 5 with everything in band."""
    for value in plain_values():
        yield pickle.dumps(value, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for value in library_values():
            program, buffers = pickled(value)
            if not buffers and len(program) < SMALL:
                yield program


def legacy() -> Iterator[bytes]:
    """Yield small programs of all protocols, hostile ones included."""
    for value in plain_values():
        for protocol in (0, 2, 4):
            with contextlib.suppress(Exception):
                yield pickle.dumps(value, protocol)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for value in library_values():
            for protocol in (0, 2, 4):
                program = pickle.dumps(value, protocol)
                if len(program) < SMALL:
                    yield program
    yield from hostile()
    chance = random.Random(7)
    yield from (differential.Maker(chance.randrange).program() for _ in range(100))


def hostile() -> Iterator[bytes]:
    """Yield the small ones of the hostile corpus, every fifth."""
    programs = sorted({case.make(MARKER) for case in streams.CASES}, key=lambda program: (len(program), program))
    yield from (program for program in programs[::5] if len(program) < SMALL // 2)


def pool() -> list[bytes]:
    """Return operations of all kinds, each once."""
    asm = Asm()
    for value in (0, 1, 255, 256, 65_536, -1, 1 << 31, 1 << 80, 1.5, float("nan"), "", "a", "x" * 256, "__dict__", b"", b"y" * 300, bytearray(b"z")):
        asm.push(value)
    asm.push(Call("collections:OrderedDict", items=(), pairs=("a", 1)))
    asm.push(New("collections:Counter", state={"a": 1})).push(Ref("builtins:getattr")).push(Let("x", [1])).push((1, 2, 3, 4)).push({1: 2}).push({1})
    found = {part for part, _ in asm.parts} | set(CODES.values())
    # What `targets.machine` makes a long run of.
    found |= {b"\xfe\xfe" + bytes((number,)) for number in range(14)}
    found |= {CODES["BINGET"] + bytes((index,)) for index in range(40)}
    for program in strict():
        found |= {step for step in operations(program)[:-1] if len(step) < 80}
    for program in hostile():
        found |= {step for step in operations(program) if len(step) < 80}
    return sorted(found)
