"""What compiled code of scipy, pandas and numpy takes for granted: legitimate objects load, edited copies are refused with the path.

An edit changes what an object of one class says to be pickled as (`__reduce_ex__`) at some places, so states of compiled
classes are reached as well. The edited program is sealed with the right key: only the check of the state stands in its way.
"""

from __future__ import annotations

import copyreg
import datetime
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy
import scipy.interpolate as si
import scipy.sparse as sp
import scipy.spatial as ss
import scipy.stats as st
from assembler import KEY, seal
from scipy.spatial.transform import Rotation

from safepickle import StateError, dumps, loads
from safepickle.pickling import pickled

SCIPY = tuple(int(part) for part in scipy.__version__.split(".")[:2])
# The wrapper of a numpy array had another name before.
WRAPPED = tuple(int(part) for part in pd.__version__.split(".")[:2]) >= (2, 1)
FORMATS = ("csr", "csc", "bsr", "coo", "dia", "lil", "dok")
FAR = 1 << 30
# Classes that the default policy does not let through; their state is checked all the same.
ALLOW = tuple(
    f"{cls.__module__}:{cls.__qualname__}"
    for cls in (ss.Delaunay, si.LinearNDInterpolator, si.CloughTocher2DInterpolator, *([si.NdBSpline] if SCIPY >= (1, 12) else []))
)


def numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).random(shape)


# --- legitimate objects ----------------------------------------------------------------------------------------


def sparse_matrices() -> Iterator[Any]:
    """Every format, kind of number and history, with what scipy makes of them."""
    chance = random.Random(0)
    for seed in range(24):
        rng = np.random.default_rng(seed)
        shape = chance.choice([(0, 0), (0, 3), (3, 0), (1, 1), (4, 6), (8, 8), (6, 4), (12, 12)])
        dense = rng.random(shape) * 9 * (rng.random(shape) < chance.choice([0, 0.2, 1]))
        dense = dense.astype(chance.choice(["?", "i1", "u2", "i4", "i8", "f4", "f8", "g", "c16"]))
        matrix = chance.choice((sp.csr_matrix, sp.csr_array, sp.coo_matrix, sp.coo_array))(dense)
        for name in FORMATS:
            one = matrix.asformat(name)
            yield one
            yield one.T
            yield one.tocsr()[::-1, 1:3] if shape[1] > 2 else one + one
            yield one.tocsc().tocoo().tolil()
            if shape[0] == shape[1]:
                yield (matrix.tocsr() @ matrix.T.tocsr()).asformat(name)
        if min(shape) > 1:
            edited = matrix.tolil()
            edited[rng.integers(0, shape[0], 4), rng.integers(0, shape[1], 4)] = 1
            yield edited
            edited.resize((3, 2))
            yield edited
            keyed = matrix.todok()
            keyed[1, 1] = 2
            yield keyed
            row = matrix.tocsr()
            row.setdiag(3)
            yield row
            row.eliminate_zeros()
            yield row
    yield sp.csr_matrix((3, 1 << 40))
    yield sp.coo_matrix(([1.0], ([10**9 - 1], [5])), shape=(10**9, 10**9))
    yield sp.spdiags(numbers(3, 7), [-1, 0, 7], 5, 5)
    yield sp.dia_matrix((4, 5))
    yield sp.eye(20_000, format="csr")
    wide = sp.random(30, 40, 0.1, format="csr", random_state=0)
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    yield wide
    longer = wide.copy()
    longer.indices, longer.data = np.append(longer.indices, 3), np.append(longer.data, 1.0)
    yield longer
    foreign = wide.copy()
    foreign.data = foreign.data.astype(">f8")
    yield foreign
    if SCIPY >= (1, 15):
        yield from (sp.csr_array(numbers(5)), sp.coo_array(numbers(5)), sp.dok_array(numbers(5)), sp.coo_array(numbers(2, 3, 4)))


def interpolators() -> Iterator[Any]:
    x = np.sort(numbers(20))
    for y in (numbers(20), numbers(20, 3), numbers(20, 2, 2) * 1j):
        for degree in range(6):
            try:
                spline = si.make_interp_spline(x, y, k=degree)
            except ValueError:
                # An even degree needs knots of its own.
                continue
            yield from (spline, spline.derivative(degree), spline.antiderivative(3))
        yield from (si.CubicSpline(x, y), si.PPoly(y[None, 1:], x))
        for kind in ("linear", "nearest", "nearest-up", "previous", "next", "zero", "slinear", "quadratic", "cubic", 5):
            yield si.interp1d(x, y, kind=kind, axis=0)
    y = numbers(20)
    for degree in range(1, 6):
        for smoothing in (0, 0.01, 1, 100):
            smooth = si.UnivariateSpline(x, y, k=degree, s=smoothing)
            yield from (smooth, smooth.derivative(), smooth.antiderivative(2))
            smooth.set_smoothing_factor(0.1)
            yield smooth
        yield from (si.InterpolatedUnivariateSpline(x, y, k=degree), si.LSQUnivariateSpline(x, y, [0.5], k=degree))
    yield from (si.PchipInterpolator(x, y), si.Akima1DInterpolator(x, y), si.CubicHermiteSpline(x, y, y), si.BPoly(numbers(4, 19, 2), x))
    yield from (si.BSpline.basis_element(np.arange(9.0)), si.BSpline(np.arange(12.0), numbers(4, 20), 3, axis=1))
    for method in ("linear", "nearest", "slinear", "cubic", "quintic", "pchip"):
        for extra in ((), (2,)):
            yield si.RegularGridInterpolator((np.sort(numbers(7)), np.sort(numbers(6))[::-1]), numbers(7, 6, *extra), method=method)
    points = numbers(30, 2)
    for values in (numbers(30), numbers(30, 2), numbers(30) * 1j):
        yield from (si.NearestNDInterpolator(points, values), si.LinearNDInterpolator(points, values, rescale=True))
        yield from (si.RBFInterpolator(points, values), si.RBFInterpolator(points, values, neighbors=7, kernel="linear", degree=0))
    yield si.CloughTocher2DInterpolator(points, numbers(30, 3))


def spatial_objects() -> Iterator[Any]:
    for rows, columns in ((0, 2), (1, 1), (5, 3), (200, 2), (500, 7)):
        for points in (numbers(rows, columns), np.round(numbers(rows, columns) * 3) / 3, np.zeros((rows, columns))):
            for kind in (ss.cKDTree, ss.KDTree):
                yield from (kind(points), kind(points, leafsize=1, balanced_tree=False, compact_nodes=False), kind(points, boxsize=[1.5] * columns))
    powers = 2.0 ** -np.arange(1060.0)
    yield ss.cKDTree(np.r_[powers, -powers][:, None], leafsize=1, balanced_tree=False, compact_nodes=False)
    for width in (2, 3):
        triangulation = ss.Delaunay(np.round(numbers(40, width) * 4))
        yield triangulation
        assert triangulation.transform is not None
        assert triangulation.vertex_to_simplex is not None
        assert triangulation.vertex_neighbor_vertices is not None
        yield triangulation
    yield from (Rotation.identity(3), Rotation.from_euler("z", 3), Rotation.from_quat(numbers(5, 4)))
    yield from (st.gaussian_kde([1, 2, 3, 7]), st.gaussian_kde(numbers(2, 30), weights=numbers(30)), st.multivariate_normal([0.0, 1.0]))


def columns(length: int) -> dict[str, Any]:
    chance = random.Random(length)
    some = [chance.choice(["a", "b", None]) for _ in range(length)]
    zone = datetime.timezone(datetime.timedelta(hours=2))
    return {
        "floats": numbers(length),
        "small": np.arange(length).astype("i2"),
        "complex": numbers(length) * 1j,
        "flags": numbers(length) < 0.5,
        "objects": np.array([*some, None], object)[:length],
        "string": pd.array(some, dtype="string[python]"),
        "categorical": pd.Categorical(some),
        "many categories": pd.Categorical(range(length), ordered=True),
        "dates": pd.date_range("2020", periods=length),
        "zoned": pd.date_range("2020", periods=length, tz=zone),
        "seconds": np.array(["2020-01-01"] * length, "M8[s]"),
        "durations": pd.to_timedelta(range(length), unit="s"),
        "periods": pd.period_range("2020", periods=length, freq="M"),
        "intervals": pd.interval_range(0, periods=length),
        "masked": pd.array([None] * length, dtype="Int64"),
        "masked floats": pd.array([1.5] * length, dtype="Float32"),
        "masked flags": pd.array([True] * length, dtype="boolean"),
        "sparse": pd.arrays.SparseArray(np.arange(length) % 2, fill_value=0),
        "sparse floats": pd.arrays.SparseArray(numbers(length)),
    }


def pandas_objects() -> Iterator[Any]:
    for length in (0, 1, 130):
        held = columns(length)
        frame = pd.DataFrame(held)
        yield from (
            frame,
            frame.iloc[::-1],
            frame.iloc[:, ::-1],
            frame.iloc[1::2, ::3],
            frame[["flags", "floats"]],
            frame.dropna(),
            frame.astype(object),
        )
        yield from (pd.concat([frame, frame]), pd.concat([frame, frame], axis=1), frame.sort_values("floats"), frame.reset_index(), frame.isna())
        yield from (frame.set_index(["objects", "dates"]), frame[["floats", "small"]].T, frame.select_dtypes("number"), frame.drop(columns="zoned"))
        for name, column in held.items():
            series = frame[name]
            yield from (column, series, series[::2], series.iloc[0:0], series.astype("category"))
            if WRAPPED or not isinstance(series.dtype, np.dtype):
                yield series.array
            if name != "objects":
                yield pd.Index(column, name=name)
        yield frame.set_index(["objects", "flags"]).index[::2].remove_unused_levels()
    yield from (pd.DataFrame(), pd.DataFrame(index=range(3)), pd.DataFrame(columns=["a", "b"]), pd.DataFrame(np.zeros((4, 0))))
    yield from (pd.RangeIndex(7, 0, -2), pd.RangeIndex(0), pd.MultiIndex.from_product([[1, 2], ["x"]]), pd.MultiIndex.from_arrays([[], []]))
    yield from (
        pd.DataFrame(np.asfortranarray(numbers(4, 3))),
        pd.DataFrame(np.asfortranarray(numbers(4, 3).astype(object))),
        pd.DataFrame(numbers(3000, 3)),
    )


def random_generators() -> Iterator[Any]:
    for seed in range(10):
        kinds = (np.random.MT19937, np.random.PCG64, np.random.PCG64DXSM, np.random.Philox, np.random.SFC64)
        for kind in kinds:
            generator = np.random.Generator(kind(seed))
            legacy = np.random.RandomState(kind(seed))
            for _ in range(3):
                yield from (generator, legacy, generator.bit_generator)
                generator.standard_normal(700)
                generator.integers(0, 10, 3, dtype=np.int32)
                legacy.standard_normal(7)
    yield from (np.random.SeedSequence(), np.random.SeedSequence([1, 2**70], spawn_key=(1, 2)), np.random.SeedSequence(5, pool_size=8).spawn(3)[2])


LEGITIMATE = {made.__name__: made for made in (sparse_matrices, interpolators, spatial_objects, pandas_objects, random_generators)}
ENOUGH = {"sparse_matrices": 700, "interpolators": 150, "spatial_objects": 95, "pandas_objects": 380, "random_generators": 400}


@pytest.mark.parametrize("name", LEGITIMATE)
def test_legitimate_objects_load(name, key):
    """A false refusal teaches people to switch the check off."""
    count = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for each in LEGITIMATE[name]():
            loads(dumps(each, key=key, allow=ALLOW), key=key, allow=ALLOW)
            count += 1
    assert count >= ENOUGH[name]


# --- malformed ones --------------------------------------------------------------------------------------------

Edits = dict[tuple[Any, ...], Any]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return a copy of nested tuples, lists and dicts with something else at the end of a path: a value, or what a function makes of the old one."""
    if not path:
        return new(value) if callable(new) else new
    if type(value) is dict:
        return {**value, path[0]: replaced(value.get(path[0]), path[1:], new)}
    parts = list(value)
    parts[path[0]] = replaced(parts[path[0]], path[1:], new)
    return type(value)(parts) if type(value) in (list, tuple) else parts


@contextmanager
def forging(kind: type, edits: Edits) -> Iterator[None]:
    """Let objects of one class pickle as something else."""
    known = copyreg.dispatch_table.get(kind)

    def reduce(value: Any) -> Any:
        parts = value.__reduce_ex__(5) if known is None else known(value)
        # An empty iterator says that there are no items, and cannot be copied.
        parts = parts[:3] if all(part is None or not list(part) for part in parts[3:]) else parts
        for path, new in edits.items():
            parts = replaced(parts, path, new)
        return tuple(parts)

    copyreg.dispatch_table[kind] = reduce
    try:
        yield
    finally:
        del copyreg.dispatch_table[kind]
        if known is not None:
            copyreg.dispatch_table[kind] = known


def load_forged(value: Any, kind: type, edits: Edits) -> Any:
    with forging(kind, edits):
        program, buffers = pickled({"model": [value]})
    return loads(seal(program, buffers), key=KEY, allow=ALLOW)


def put(place: Any, number: Any) -> Callable[[Any], Any]:
    """Return a function that sets one number of a copy of an array."""

    def change(old: Any) -> Any:
        new = np.array(old)
        new[place] = number
        return new

    return change


def cut(size: int) -> Callable[[Any], Any]:
    return lambda old: old[:size]


def matrix(name: str, kind: str = "matrix") -> Any:
    dense = np.arange(48.0).reshape(6, 8) % 5
    return getattr(sp, f"{name}_{kind}")(sp.csr_matrix(dense * (dense > 2)))


def state(**edits: Any) -> Edits:
    """Edits of entries of a dict state."""
    return {(2, name): new for name, new in edits.items()}


def lists(place: int, new: Any) -> Callable[[Any], Any]:
    """Return a function that sets one list of an array of lists."""

    def change(old: Any) -> Any:
        made = old.copy()
        made[place] = new
        return made

    return change


BLOCKS = sp.bsr_matrix(np.kron(np.eye(3), np.ones((2, 2))), blocksize=(2, 2))
LISTS = sp.lil_matrix(np.ones((6, 8)))
OLD_COO = SCIPY < (1, 13)

SPARSE: dict[str, tuple[Any, Edits, str]] = {
    **{
        f"{name} {what}": (matrix(name), edits, message)
        for name in ("csr", "csc")
        for what, edits, message in (
            ("index out of range", state(indices=put(3, FAR)), r"\.indices: .*each number must be from 0 to \d; found 1073741824"),
            ("index just out of range", state(indices=put(3, 8)), r"\.indices: .*found 8"),
            ("index negative", state(indices=put(3, -1)), r"\.indices: .*found -1"),
            ("indptr out of range", state(indptr=put(-1, FAR)), r"\.indptr: .*it must end with \d+ at most"),
            ("indptr decreasing", state(indptr=put(1, 15)), r"\.indptr: .*it must not decrease"),
            ("indptr negative", state(indptr=put(1, -5)), r"\.indptr: .*it must not decrease"),
            ("indptr not from 0", state(indptr=put(0, 1)), r"\.indptr: .*it must begin with 0"),
            ("indptr short", state(indptr=cut(3)), r"\.indptr: .*it must hold \d numbers; found 3"),
            ("indptr empty", state(indptr=cut(0)), r"\.indptr: .*it must hold \d numbers; found 0"),
            ("data short", state(data=cut(2)), r"\.indices: .*it must be as long as data, 2"),
            ("data of objects", state(data=lambda old: old.astype(object)), r"\.data: .*it must be an array of numbers"),
            ("data of text", state(data=lambda old: old.astype("S8")), r"\.data: .*it must be an array of numbers"),
            ("data of two dimensions", state(data=lambda old: old[None]), r"\.data: .*it must have 1 dimensions"),
            ("indices of floats", state(indices=lambda old: old.astype(float)), r"\.indices: .*its dtype must be native, of kind i"),
            ("indices swapped", state(indices=lambda old: old.astype(">i4")), r"\.indices: .*its dtype must be native, of kind i"),
            ("indices of bytes", state(indices=lambda old: old.astype("i1")), r"\.indices: .*it must be of int32 or int64"),
            ("a list for indices", state(indices=lambda old: old.tolist()), r"\.indices: .*it must be an array of numbers; found a list"),
            ("no indices", state(indices=None), r"\.indices: .*found None"),
            ("smaller shape", state(_shape=(6, 3) if name == "csr" else (2, 8)), r"\.indices: .*each number must be from 0 to"),
            ("larger shape", state(_shape=(1 << 20, 1 << 20)), r"\.indptr: .*it must hold 1048577 numbers"),
            ("negative shape", state(_shape=(-1, 8)), r"\._shape: .*integers that are not negative"),
            ("shape of floats", state(_shape=(6.0, 8.0)), r"\._shape"),
            ("no shape", state(_shape=None), r"\._shape"),
            ("shape of three", state(_shape=(6, 8, 1)), r"\._shape"),
            ("another format", state(_format="coo"), r"\._format: .*it belongs to the class"),
            (
                "a tail out of range",
                state(indices=lambda old: np.append(old, FAR).astype(old.dtype), data=lambda old: np.append(old, 1.0)),
                r"\.indices",
            ),
        )
    },
    "csr array": (matrix("csr", "array"), state(indices=put(0, FAR)), r"^\$\['model'\]\[0\]\.indices: csr_array"),
    "bsr index": (BLOCKS, state(indices=put(0, 3)), r"\.indices: .*from 0 to 2; found 3"),
    "bsr indptr": (BLOCKS, state(indptr=put(-1, FAR)), r"\.indptr"),
    "bsr shape": (BLOCKS, state(_shape=(7, 6)), r"\._shape: .*multiple of blocks of 2 x 2"),
    "bsr blocks of nothing": (BLOCKS, state(data=lambda old: old[:, :0]), r"\.data: .*a block must hold a number"),
    "bsr larger blocks": (BLOCKS, state(data=lambda old: np.ones((3, 6, 6))), r"\.indptr: .*it must hold 2 numbers"),
    "bsr data of two dimensions": (BLOCKS, state(data=lambda old: old[0]), r"\.data: .*3 dimensions"),
    "dia offsets more than rows": (
        matrix("dia"),
        state(offsets=lambda old: np.append(old, 1).astype(old.dtype)),
        r"\.offsets: .*it must have one for each",
    ),
    "dia offset far": (matrix("dia"), state(offsets=put(0, -FAR)), r"\.offsets: .*found -1073741824"),
    "dia offset that 32 bits cut": (matrix("dia"), state(offsets=lambda old: put(0, 1 << 32)(old.astype("i8"))), r"\.offsets: .*found 4294967296"),
    "dia offset twice": (matrix("dia"), state(offsets=put(0, 1)), r"\.offsets: .*an offset of its own"),
    "dia data of one dimension": (matrix("dia"), state(data=lambda old: old[0]), r"\.data: .*2 dimensions"),
    "lil column out of range": (LISTS, state(rows=lists(1, [FAR] * 8)), r"\.rows\[1\]: .*each index must be an integer from 0 to 7"),
    "lil column of a float": (LISTS, state(rows=lists(1, [1.0] * 8)), r"\.rows\[1\]: .*each index must be an integer"),
    "lil too many values": (matrix("lil"), state(data=lists(2, [1.0] * 1000)), r"\.data\[2\]: .*it must hold \d values; found 1000"),
    "lil too few lists": (matrix("lil"), state(rows=cut(2)), r"\.rows: .*it must be an array of 6 lists"),
    "lil no list": (matrix("lil"), state(rows=lists(0, None)), r"\.rows\[0\]: .*it must be a list of its own"),
    "lil one list twice": (LISTS, state(rows=lambda old: lists(0, old[1])(old)), r"\.rows\[1\]: .*it must be a list of its own"),
    "lil rows of numbers": (matrix("lil"), state(rows=lambda old: np.zeros(6)), r"\.rows: .*it must be an array of 6 lists"),
}
if OLD_COO:
    SPARSE["coo row"] = (matrix("coo"), state(row=put(0, FAR)), r"\.row: .*from 0 to 5")
    SPARSE["coo col short"] = (matrix("coo"), state(col=cut(2)), r"\.col: .*it must be as long as data")
else:
    SPARSE["coo coordinate"] = (matrix("coo"), state(coords=lambda old: (put(0, FAR)(old[0]), old[1])), r"\.coords\[0\]: .*from 0 to 5")
    SPARSE["coo coordinate short"] = (matrix("coo"), state(coords=lambda old: (old[0], old[1][:2])), r"\.coords\[1\]: .*it must be as long as data")
    SPARSE["coo three coordinates"] = (matrix("coo"), state(coords=lambda old: (*old, old[0])), r"\.coords: .*a tuple of 2 arrays")
    SPARSE["coo a list of coordinates"] = (matrix("coo"), state(coords=list), r"\.coords: .*a tuple of 2 arrays")
    SPARSE["coo of old"] = (
        matrix("coo"),
        {(2,): lambda old: {"_shape": old["_shape"], "data": old["data"], "row": put(0, -1)(old["coords"][0]), "col": old["coords"][1]}},
        r"\.row: .*found -1",
    )
    SPARSE["dok key"] = (matrix("dok"), state(_dict={(0, FAR): 1.0}), r"\._dict: .*integer from 0 to 7")
    SPARSE["dok key of one"] = (matrix("dok"), state(_dict={3: 1.0}), r"\._dict: .*each key must be a row and a column")
    SPARSE["dok no dict"] = (matrix("dok"), state(_dict=[1]), r"\._dict: .*it must be a dict")
if SCIPY >= (1, 15):
    SPARSE["coo of three dimensions"] = (
        sp.coo_array(numbers(2, 3, 4)),
        state(coords=lambda old: (old[0], old[1], put(5, 4)(old[2]))),
        r"\.coords\[2\]: coo_array: each number must be from 0 to 3; found 4",
    )
    SPARSE["csr of one dimension"] = (sp.csr_array(numbers(5)), state(indices=put(0, 5)), r"\.indices: .*from 0 to 4")
    SPARSE["csr of one dimension, indptr"] = (sp.csr_array(numbers(5)), state(indptr=np.zeros(4, np.int32)), r"\.indptr: .*it must hold 2 numbers")


X = np.sort(numbers(30))
SPLINE = si.make_interp_spline(X, numbers(30))
SMOOTH = si.UnivariateSpline(np.linspace(0, 9, 60), np.sin(np.linspace(0, 27, 60)), s=0.5)
GRID = si.RegularGridInterpolator((np.arange(5.0), np.arange(6.0)), numbers(5, 6))
POINTS = numbers(30, 2)
RADIAL = si.RBFInterpolator(POINTS, numbers(30))
NEIGHBORS = si.RBFInterpolator(POINTS, numbers(30), neighbors=7)
CUBIC = si.CubicSpline(X, numbers(30))
BERNSTEIN = si.BPoly(numbers(4, 29), X)
TRIANGLES = ss.Delaunay(POINTS)
assert TRIANGLES.vertex_to_simplex is not None
assert TRIANGLES.vertex_neighbor_vertices is not None
assert TRIANGLES.transform is not None
LINEAR, CLOUGH = si.LinearNDInterpolator(POINTS, numbers(30)), si.CloughTocher2DInterpolator(POINTS, numbers(30))
DENSITY = st.gaussian_kde(numbers(2, 30))
TURN = Rotation.from_quat(numbers(5, 4))


def entry(value: Any, *names: str) -> str:
    """Return which of the names of one array, of old and new releases, an object has."""
    held = value.__reduce_ex__(5)[2]
    held = held[1] if type(held) is tuple else held
    return next(name for name in names if name in held)


def holder(value: Any) -> Any:
    """Return what holds the arrays of a spline: since scipy 1.18 another object, within a shell."""
    return value._delegate_to if SCIPY >= (1, 18) and isinstance(value, (si.BSpline, si.PPoly, si.BPoly)) else value


def tck(**edits: Any) -> Edits:
    names = {"t": entry(holder(SPLINE), "_t", "t"), "c": entry(holder(SPLINE), "_c", "c"), "k": "k"}
    return {(2, names[name]): new for name, new in edits.items()}


def args(number: int, new: Any, name: str = "_eval_args") -> Edits:
    return {(2, name, number): new}


# What FITPACK remembers between fits: a sum and a number of points for each interval between knots. Since scipy 1.18 it keeps none.
ROOM = len(SMOOTH._data[8])
INTERVALS_OF_KNOTS = SMOOTH._data[7] - 2 * SMOOTH._data[5] - 1
COUNTS = np.zeros(ROOM, "i4")
COUNTS[:INTERVALS_OF_KNOTS] = np.diff(np.linspace(0, 60 - 1 - INTERVALS_OF_KNOTS, INTERVALS_OF_KNOTS + 1).astype("i4"))


def counted(edit: Callable[[Any], Any]) -> Edits:
    return {**args(11, np.ones(ROOM), "_data"), **args(12, edit(COUNTS), "_data")}


def nothing(edit: Callable[[Any], Any]) -> Edits:
    return {**args(11, edit(np.full(ROOM, None)), "_data"), **args(12, np.full(ROOM, None), "_data")}


def poly(**edits: Any) -> Edits:
    names = {"x": entry(holder(CUBIC), "_x", "x"), "c": entry(holder(CUBIC), "_c", "c")}
    return {(2, 1, names[name]): new for name, new in edits.items()}


def grid(**edits: Any) -> Edits:
    names = {"grid": entry(GRID, "_grid", "grid"), "values": entry(GRID, "_values", "values")}
    return {(2, names[name]): new for name, new in edits.items()}


def radial(value: Any, **edits: Any) -> Edits:
    names = ["y", "d", "d_shape", "d_dtype", "neighbors", "smoothing", "kernel", "epsilon", "powers"]
    places = {name: (0, number) for number, name in enumerate(names)}
    places |= {"_shift": (1, 0), "_scale": (1, 1), "_coeffs": (1, 2), "_tree": (1, 0)}
    tuples = type(value.__reduce_ex__(5)[2]) is tuple
    return {(2, *places[name]) if tuples else (2, name): new for name, new in edits.items()}


# What a refusal names.
B_SPLINE, PIECEWISE = type(holder(SPLINE)).__name__, type(holder(CUBIC)).__name__
SPLINES: dict[str, tuple[Any, Edits, str]] = {
    "BSpline coefficients short": (SPLINE, tck(c=cut(3)), rf"\._?c: {B_SPLINE}: its shape must begin with 30 at least; found \(3,\)"),
    "BSpline coefficients empty": (SPLINE, tck(c=cut(0)), rf"\._?c: {B_SPLINE}"),
    "BSpline coefficients of objects": (SPLINE, tck(c=lambda old: old.astype(object)), rf"\._?c: {B_SPLINE}: it must be an array of numbers"),
    "BSpline degree huge": (SPLINE, tck(k=FAR), rf"\.k: {B_SPLINE}: it must be an integer from 0 to 200"),
    "BSpline degree large": (SPLINE, tck(k=100), rf"\._?t: {B_SPLINE}: it must hold 202 knots for degree 100; found 34"),
    "BSpline degree negative": (SPLINE, tck(k=-5), rf"\.k: {B_SPLINE}"),
    "BSpline degree of a float": (SPLINE, tck(k=3.0), rf"\.k: {B_SPLINE}"),
    "BSpline knots empty": (SPLINE, tck(t=cut(0)), rf"\._?t: {B_SPLINE}: it must hold 8 knots"),
    "BSpline knots unsorted": (SPLINE, tck(t=lambda old: old[::-1].copy()), rf"\._?t: {B_SPLINE}: knots must not decrease"),
    "BSpline knots swapped": (SPLINE, tck(t=lambda old: old.astype(">f8")), rf"\._?t: {B_SPLINE}: its dtype must be f8"),
    "BSpline knots of two dimensions": (SPLINE, tck(t=lambda old: old[None]), rf"\._?t: {B_SPLINE}: its shape must be \(any,\)"),
    "UnivariateSpline degree huge": (SMOOTH, args(2, FAR), r"\._eval_args\[2\]: .*UnivariateSpline: it must be an integer from 0 to 19"),
    "UnivariateSpline degree past the stack": (
        SMOOTH,
        {**args(2, 25), **args(0, np.linspace(0, 9, 80)), **args(1, np.ones(80))},
        r"\._eval_args\[2\]",
    ),
    "UnivariateSpline coefficients short": (SMOOTH, args(1, cut(2)), r"\._eval_args\[1\]"),
    "UnivariateSpline knots short": (SMOOTH, args(0, cut(5)), r"\._eval_args\[0\]: .*it must hold 8 knots"),
    "UnivariateSpline more knots than there are": (SMOOTH, args(7, 10**6, "_data"), r"\._data\[7\]: .*it must be an integer from 8 to"),
    "UnivariateSpline knots negative": (SMOOTH, args(7, -5, "_data"), r"\._data\[7\]"),
    "UnivariateSpline counts": (SMOOTH, counted(put(0, 10**6)), r"\._data\[12\]"),
    "UnivariateSpline counts negative": (SMOOTH, counted(put(0, -(10**6))), r"\._data\[12\]"),
    "UnivariateSpline counts too many": (SMOOTH, counted(put(0, 9)), r"\._data\[12\]: .*it must count the points between knots"),
    "UnivariateSpline without points, of an interval": (
        SMOOTH.derivative(),
        args(3, 0.0, "_data"),
        r"\._data\[3\]: .*it must be None, as _data\[0\] is",
    ),
    "UnivariateSpline of counts without points": (SMOOTH.derivative(), args(12, COUNTS, "_data"), r"\._data\[12\]: .*it must be None"),
    "UnivariateSpline counts short": (SMOOTH, counted(cut(2)), r"\._data\[12\]"),
    "UnivariateSpline counts of nothing but one": (SMOOTH, nothing(put(3, 1)), r"\._data\[11\]: .*it must be an array of numbers"),
    "UnivariateSpline counts of nothing, short": (SMOOTH, nothing(cut(2)), r"\._data\[11\]: .*it must be an array of numbers"),
    "UnivariateSpline counts without sums": (SMOOTH, {**counted(lambda old: old), **args(11, None, "_data")}, r"\._data\[11\]"),
    "UnivariateSpline weights short": (SMOOTH, args(2, cut(2), "_data"), r"\._data\[2\]"),
    "interp1d of another spline": (
        si.interp1d(X, numbers(30), kind="cubic"),
        {(2, 0, "_spline"): lambda old: GRID},
        r"\._spline: interp1d: it must be BSpline",
    ),
    "CubicSpline coefficients short": (CUBIC, poly(c=lambda old: old[:, :3]), rf"\._?c: {PIECEWISE}"),
    "CubicSpline no coefficient": (CUBIC, poly(c=cut(0)), rf"\._?c: {PIECEWISE}: its shape must begin with 1, 29 at least"),
    "CubicSpline one breakpoint": (CUBIC, poly(x=cut(1), c=lambda old: old[:, :0]), rf"\._?x: {PIECEWISE}: it must hold two breakpoints"),
    "BPoly coefficients short": (
        BERNSTEIN,
        poly(c=lambda old: old[:, :3]),
        rf"\._?c: {type(holder(BERNSTEIN)).__name__}: its shape must begin with 1, 29",
    ),
    "RegularGridInterpolator values small": (
        GRID,
        grid(values=np.ones((1, 1))),
        r"\._?values: RegularGridInterpolator: its shape must begin with that of",
    ),
    "RegularGridInterpolator grid large": (GRID, grid(grid=(np.arange(5.0), np.arange(1e4))), r"\._?values: RegularGridInterpolator"),
    "RegularGridInterpolator grid empty": (
        GRID,
        grid(grid=(np.zeros(0), np.arange(6.0))),
        r"\._?grid\[0\]: RegularGridInterpolator: it must hold a place",
    ),
    "RegularGridInterpolator grid of floats": (GRID, grid(grid=(np.arange(5.0, dtype="f4"), np.arange(6.0))), r"\._?grid\[0\]"),
    "RBFInterpolator powers wide": (RADIAL, radial(RADIAL, powers=np.ones((3, 50), int)), r"\.powers: RBFInterpolator: its shape must be \(any, 2\)"),
    "RBFInterpolator shift short": (RADIAL, radial(RADIAL, _shift=np.ones(1)), r"\._shift: RBFInterpolator: its shape must be \(2,\)"),
    "RBFInterpolator coefficients short": (RADIAL, radial(RADIAL, _coeffs=np.ones((5, 1))), r"\._coeffs: RBFInterpolator"),
    "RBFInterpolator points few": (RADIAL, radial(RADIAL, y=np.ones((5, 2))), r"\.d: RBFInterpolator: its shape must be \(5, any\)"),
    "RBFInterpolator smoothing short": (NEIGHBORS, radial(NEIGHBORS, smoothing=np.ones(3)), r"\.smoothing: RBFInterpolator"),
    "RBFInterpolator neighbors many": (
        NEIGHBORS,
        radial(NEIGHBORS, neighbors=FAR),
        r"\.neighbors: RBFInterpolator: it must be an integer from 0 to 30",
    ),
    "RBFInterpolator another tree": (
        NEIGHBORS,
        radial(NEIGHBORS, _tree=ss.KDTree(numbers(9, 2))),
        r"\._tree: RBFInterpolator: it must hold 30 points",
    ),
    "Delaunay simplex": (TRIANGLES, state(simplices=put((0, 0), FAR)), r"\.simplices: Delaunay: each number must be from 0 to 29"),
    "Delaunay neighbor": (TRIANGLES, state(neighbors=put((0, 0), FAR)), r"\.neighbors: Delaunay: each number must be from -1 to"),
    "Delaunay neighbors few": (TRIANGLES, state(neighbors=cut(2)), r"\.neighbors: Delaunay: its shape"),
    "Delaunay equations few": (TRIANGLES, state(equations=cut(2)), r"\.equations: Delaunay: its shape"),
    "Delaunay points few": (
        TRIANGLES,
        {(2, entry(TRIANGLES, "_points", "points")): cut(3)},
        r"\.simplices: Delaunay: each number must be from 0 to 2",
    ),
    "Delaunay transform small": (TRIANGLES, state(_transform=np.zeros((1, 1, 1))), r"\._transform: Delaunay: its shape"),
    "Delaunay bounds": (TRIANGLES, state(max_bound=np.zeros(1)), r"\.max_bound: Delaunay: its shape"),
    "Delaunay neighbors of points": (
        TRIANGLES,
        {(2, "_vertex_neighbor_vertices", 0): put(-1, FAR)},
        r"\._vertex_neighbor_vertices\[0\]: Delaunay: it must rise",
    ),
    "Delaunay a neighbor of points": (TRIANGLES, {(2, "_vertex_neighbor_vertices", 1): put(0, FAR)}, r"\._vertex_neighbor_vertices\[1\]: Delaunay"),
    "Delaunay simplex of a point": (TRIANGLES, state(_vertex_to_simplex=put(0, FAR)), r"\._vertex_to_simplex: Delaunay"),
    "LinearND values few": (LINEAR, state(values=cut(3)), r"\.values: LinearNDInterpolator: its shape must be \(30, any\)"),
    "CloughTocher gradient few": (CLOUGH, state(grad=cut(3)), r"\.grad: CloughTocher2DInterpolator: its shape must be \(30, 1, 2\)"),
    "Rotation of one number": (TURN, {(2, 0): lambda old: old[:, :1].copy()}, r"<state>\[0\]: Rotation: its last dimension must be 4"),
    "Rotation of floats": (TURN, {(2, 0): lambda old: old.astype("f4")}, r"<state>\[0\]: Rotation: its dtype must be f8"),
    "gaussian_kde weights few": (DENSITY, state(_weights=np.ones(1)), r"\._weights: gaussian_kde: its shape must be \(30,\)"),
    "gaussian_kde points many": (DENSITY, state(dataset=np.ones((2, 10**5))), r"\._weights: gaussian_kde"),
    "BSpline knots under two names": (SPLINE, {(2, "t"): np.zeros(2), (2, "_t"): X}, rf"\._t: {B_SPLINE}: it must be there under this name, or as t"),
    "BSpline without knots": (SPLINE, {(2,): lambda old: {"k": 3, "extrapolate": True, "axis": 0}}, rf"\._t: {B_SPLINE}: it must be there"),
    "interp1d axis far": (si.interp1d(X, numbers(30)), {(2, 1, "_y_axis"): FAR}, r"\._y_axis: interp1d: it must be"),
    "CubicSpline degree large": (CUBIC, poly(c=np.ones((1000, 29))), rf"\._?c: {PIECEWISE}: it must have 29 intervals, of degree 200 at most"),
    "Delaunay points under two names": (
        TRIANGLES,
        {(2, "_points"): lambda old: POINTS, (2, "points"): lambda old: POINTS[:2]},
        r"\._points: Delaunay: it must be there under this name, or as points",
    ),
    "gaussian_kde covariance": (DENSITY, state(cho_cov=np.ones((1, 1))), r"\.cho_cov: gaussian_kde: its shape must be \(2, 2\)"),
    "distribution without a generator": (st.nchypergeom_fisher, state(_random_state=()), r"\._random_state: nchypergeom_fisher_gen: it must be"),
    "distribution of infinite odds": (st.nchypergeom_fisher(20, 7, 12, 0.5), state(args=(20, 7, 12, np.inf)), r"\.args: rv_discrete_frozen"),
    "gaussian_kde count": (DENSITY, state(n=10**9), r"\.n: gaussian_kde: it must be 30; found 1000000000"),
}
# Edits of the shells themselves; the edits above reach what is within. The policy lets no other class into a tuple.
SHELLS: dict[str, tuple[Any, type, Edits, str]] = {}
if SCIPY >= (1, 18):
    SHELLS["shells: CubicSpline around a spline of another kind"] = (
        CUBIC,
        si.CubicSpline,
        state(_delegate_to=lambda old: holder(SPLINE)),
        r"\._delegate_to: CubicSpline: it must be _PPolyBase",
    )
    SHELLS["shells: CubicSpline around nothing"] = (
        CUBIC,
        si.CubicSpline,
        state(_delegate_to=None),
        r"\._x: CubicSpline: it must be there",
    )

if SCIPY >= (1, 15):
    ND = si.NdBSpline((np.arange(8.0), np.arange(9.0)), np.ones((4, 5)), 3)
    SPLINES |= {
        "NdBSpline table": (ND, state(_indices_k1d=put((3, 0), 1 << 40)), r"\._indices_k1d: NdBSpline: it must list the indices"),
        "NdBSpline table short": (ND, state(_indices_k1d=cut(3)), r"\._indices_k1d: NdBSpline: its shape must be \(16, 2\)"),
        "NdBSpline degree": (ND, state(_k=put(0, 1 << 40)), r"\._k: NdBSpline"),
        "NdBSpline lengths": (ND, state(_len_t=put(0, 1 << 40)), r"\._len_t: NdBSpline"),
        "NdBSpline coefficients": (ND, state(_c=np.ones((2, 2))), r"\._c: NdBSpline: its shape must begin with 4, 5"),
    }


TREE = ss.cKDTree(numbers(40, 2), leafsize=4)
BOXED = ss.KDTree(numbers(40, 2), leafsize=4, boxsize=[1.5, 0])
NODE = np.dtype(
    [("split_dim", "i8"), ("children", "i8"), ("split", "f8"), ("start", "i8"), ("end", "i8"), ("p", "u8", 2), ("less", "i8"), ("greater", "i8")]
)


def node(number: int, field: str, new: Any) -> Edits:
    def change(old: Any) -> Any:
        nodes = old.view(NODE).copy()
        nodes[field][number] = new
        return nodes.view("S1")

    return {(2, 0): change}


def chain(depth: int) -> Edits:
    """Nodes one below the other, each with an empty leaf: a legitimate tree in all but its depth."""
    nodes = np.zeros(2 * depth + 1, NODE)
    nodes["split_dim"] = -1
    nodes["split_dim"][0 : 2 * depth : 2] = 0
    nodes["end"][0::2] = 40
    inner = np.arange(0, 2 * depth, 2)
    nodes["less"][inner], nodes["greater"][inner] = inner + 1, inner + 2
    return {(2, 0): nodes.view("S1")}


TREES: dict[str, tuple[Any, Edits, str]] = {
    "child out of range": (
        TREE,
        node(0, "less", FAR),
        r"<state>\[tree\]\[0\]: cKDTree: its child less must be a later node of \d+; found 1073741824",
    ),
    "child before its parent": (TREE, node(1, "greater", 0), r"<state>\[tree\]\[1\]: cKDTree: its child greater must be a later node"),
    "child negative": (TREE, node(0, "greater", -1), r"<state>\[tree\]\[0\]: cKDTree"),
    "child shared": (TREE, node(0, "less", 2), r"<state>\[tree\]: cKDTree: each node but the first must be the child of one node"),
    "split out of range": (TREE, node(0, "split_dim", 2), r"\[split_dim\]: cKDTree: each number must be from -1 to 1"),
    "split negative": (TREE, node(0, "split_dim", -2), r"\[split_dim\]: cKDTree"),
    "points out of range": (TREE, node(-1, "end", FAR), r"<state>\[tree\]: cKDTree: the children of a node must share its points"),
    "points negative": (TREE, node(-1, "start", -1), r"<state>\[tree\]: cKDTree: the children of a node must share its points"),
    "root out of range": (TREE, node(0, "end", FAR), r"<state>\[tree\]\[0\]: cKDTree: it must cover 40 points"),
    "nodes empty": (TREE, {(2, 0): cut(0)}, r"it must hold the bytes of whole nodes, 72 each; found 0"),
    "half a node": (TREE, {(2, 0): cut(100)}, r"it must hold the bytes of whole nodes"),
    "nodes of numbers": (TREE, {(2, 0): np.zeros(9)}, r"<state>\[tree\]: cKDTree: its dtype must be native, of kind S or V"),
    "too deep": (TREE, chain(100_000), r"<state>\[tree\]: cKDTree: it must be less than 10000 nodes deep"),
    "indices out of range": (TREE, {(2, 7): put(0, 1 << 40)}, r"\.indices: cKDTree: each number must be from 0 to 39"),
    "indices repeat": (TREE, {(2, 7): np.zeros(40, np.int64)}, r"\.indices: cKDTree: it must hold each number from 0 to 39 once"),
    "data small": (TREE, {(2, 1): lambda old: old[:1, :1].copy()}, r"\.data: cKDTree: its shape must be \(40, 2\)"),
    "data of floats": (TREE, {(2, 1): lambda old: old.astype("f4")}, r"\.data: cKDTree: its dtype must be f8"),
    "m large": (TREE, {(2, 3): 10**6}, r"\.data: cKDTree: its shape must be \(40, 1000000\)"),
    "n negative": (TREE, {(2, 2): -1}, r"\.n: cKDTree: it must be an integer from 0"),
    "leafsize zero": (TREE, {(2, 4): 0}, r"\.leafsize: cKDTree"),
    "maxes short": (TREE, {(2, 5): cut(1)}, r"\.maxes: cKDTree: its shape must be \(2,\)"),
    "boxsize_data short": (BOXED, {(2, 9): cut(2)}, r"\.boxsize_data: KDTree: its shape must be \(4,\)"),
    "boxsize alone": (BOXED, {(2, 9): None}, r"\.boxsize_data: KDTree: it must be an array of numbers; found None"),
    "box other than its size": (BOXED, {(2, 9): put(0, 9.0)}, r"\.boxsize_data: KDTree: it must begin with boxsize"),
    "box tiny": (BOXED, {(2, 8): put(0, 1e-300), (2, 9): put(0, 1e-300)}, r"\.data: KDTree: each place must lie within the box"),
}


FRAME = pd.DataFrame({"a": [1, 2, 3], "b": [1.5, 2.5, 3.5], "c": [4, 5, 6], "d": pd.array([1, None, 3], dtype="Int64")})
SERIES = pd.Series([1, 2, 3], index=[7, 8, 9])
MULTI = pd.MultiIndex.from_product([[1, 2], ["x", "y", "z"]])
CATEGORICAL = pd.Categorical(["u", "v", None, "u"])
INTERVALS = pd.arrays.IntervalArray.from_breaks([0.0, 1.0, 2.0])
INTEGERS = pd.array([1, None, 3], dtype="Int64")
TEXT = pd.array(["a", "b", None], dtype="string[python]")
SPARSE_ARRAY = pd.arrays.SparseArray([0, 1, 0, 2, 0], fill_value=0)
DATES, ZONED = pd.date_range("2020", periods=3).array, pd.date_range("2020", periods=3, tz="UTC").array
PERIODS = pd.period_range("2020", periods=3, freq="M").array
MANAGER, SINGLE = type(FRAME._mgr), type(SERIES._mgr)
NUMPY_BLOCK = type(FRAME[["b"]]._mgr.blocks[0])
POSITIONS = type(SPARSE_ARRAY.sp_index)


def placed(old: Any, new: Any) -> Edits:
    """Edits of a block, by where it was placed."""
    return {(1, 1): lambda found: new if found == old else found}


def single(name: str, new: Any) -> Edits:
    return {(2, 3, "0.14.1", "blocks", 0, name): new}


PANDAS: dict[str, tuple[Any, type, Edits, str]] = {
    "block placed far": (FRAME[["b"]], NUMPY_BLOCK, {(1, 1): slice(FAR, FAR + 1, 1)}, r"\._mgr\.blocks\[0\]: BlockManager: its columns must be of 1"),
    "block placed before": (
        FRAME[["b"]],
        NUMPY_BLOCK,
        {(1, 1): np.array([-(2**26)])},
        r"\._mgr\.blocks\[0\]: BlockManager: each number must be from 0",
    ),
    "block placed by a negative slice": (FRAME[["b"]], NUMPY_BLOCK, {(1, 1): slice(-1, 0, 1)}, r"\._mgr\.blocks\[0\]: BlockManager: .*rising slice"),
    "block placed by floats": (FRAME[["b"]], NUMPY_BLOCK, {(1, 1): np.zeros(1)}, r"\._mgr\.blocks\[0\]: BlockManager: its dtype"),
    "block placed twice": (
        FRAME[["a", "c"]],
        NUMPY_BLOCK,
        {(1, 1): np.array([0, 0])},
        r"\._mgr\.blocks\[0\]: BlockManager: it must hold a column once",
    ),
    "block placed upon another": (
        FRAME[["a", "b"]],
        NUMPY_BLOCK,
        {(1, 1): slice(0, 1, 1)},
        r"\._mgr\.blocks: BlockManager: together they must hold each of 2",
    ),
    "block of fewer rows": (
        FRAME[["a", "c"]],
        NUMPY_BLOCK,
        {(1, 0): lambda old: old[:1]},
        r"\._mgr\.blocks\[0\]: .*array of shape \(2, 3\); found \(1, 3\)",
    ),
    "block of fewer values": (FRAME[["b"]], NUMPY_BLOCK, {(1, 0): lambda old: old[:, :2]}, r"\._mgr\.blocks\[0\]: BlockManager: its values"),
    "block of one dimension": (FRAME[["b"]], NUMPY_BLOCK, {(1, 0): lambda old: old[0]}, r"\._mgr\.blocks\[0\]: BlockManager: its values"),
    "block of an index": (FRAME[["b"]], NUMPY_BLOCK, {(1, 0): lambda old: pd.Index([1, 2, 3])}, r"\._mgr\.blocks\[0\]: BlockManager: its values"),
    "block that says one dimension": (FRAME[["b"]], NUMPY_BLOCK, {(1, 2): 1}, r"\._mgr\.blocks\[0\]: BlockManager: it must have two dimensions"),
    "column of fewer values": (
        FRAME[["d"]],
        type(INTEGERS),
        {(2, "_data"): cut(2), (2, "_mask"): cut(2)},
        r"\._mgr\.blocks\[0\]: BlockManager: its values",
    ),
    "a block missing": (
        FRAME,
        MANAGER,
        {(1, 0): lambda old: old[:-1]},
        r"\._mgr\.blocks: BlockManager: together they must hold each of 4 columns once",
    ),
    "more labels than columns": (FRAME, MANAGER, {(1, 1, 0): pd.RangeIndex(5)}, r"\._mgr\.blocks: BlockManager: together they must hold each of 5"),
    "labels without end": (
        FRAME.iloc[:0],
        MANAGER,
        {(1, 1, 0): pd.RangeIndex(1 << 40)},
        r"\._mgr\.axes\[0\]: BlockManager: it must hold \d+ labels at most",
    ),
    "more rows than values": (
        FRAME,
        MANAGER,
        {(1, 1, 1): pd.RangeIndex(100)},
        r"\._mgr\.blocks\[0\]: BlockManager: its values must be an array of shape \(\d, 100\)",
    ),
    "one axis": (FRAME, MANAGER, {(1, 1): lambda old: old[:1]}, r"\._mgr\.axes: BlockManager: it must hold 2 items"),
    "an array as an axis": (FRAME, MANAGER, {(1, 1, 1): np.arange(3)}, r"\._mgr\.axes\[1\]: BlockManager: it must be an index"),
    "frame over a series": (FRAME, pd.DataFrame, {(2, "_mgr"): SERIES._mgr}, r"\._mgr: DataFrame: it must be BlockManager"),
    "series over a frame": (SERIES, pd.Series, {(2, "_mgr"): FRAME._mgr}, r"\._mgr: Series: it must be SingleBlockManager"),
    "frame without a manager": (FRAME, pd.DataFrame, {(2,): lambda old: {"_typ": "dataframe"}}, r"\._mgr: DataFrame: it must be BlockManager"),
    "frame of two managers": (FRAME, pd.DataFrame, {(2, "_data"): FRAME._mgr}, r"\._data: DataFrame: its manager must have one name"),
    "dates of no dimension": (DATES, type(DATES), {(2, 1): lambda old: old[:1].reshape(())}, r"\._ndarray: DatetimeArray: .*one or two dimensions"),
    "dates of three dimensions": (DATES, type(DATES), {(2, 1): lambda old: old[None, None]}, r"\._ndarray: DatetimeArray: .*one or two dimensions"),
    "dates in days": (
        DATES,
        type(DATES),
        {(2, 0): np.dtype("M8[D]"), (2, 1): lambda old: old.astype("M8[D]")},
        r"\._ndarray: DatetimeArray: its unit",
    ),
    "text of no dimension": (TEXT, type(TEXT), {(2, 1): lambda old: old[:1].reshape(())}, r"\._ndarray: StringArray: .*one or two dimensions"),
    "index of two dimensions": (
        pd.Index([1, 2]),
        pd.Index,
        {(1, 1, "data"): np.ones((2, 2))},
        r"\.data: Index: it must be an array or index of one dimension",
    ),
    "index of no dimension": (pd.Index([1, 2]), pd.Index, {(1, 1, "data"): np.array(1)}, r"\.data: Index: it must be an array or index of one"),
    "masked values of no dimension": (
        INTEGERS,
        type(INTEGERS),
        {(2, "_data"): np.array(1), (2, "_mask"): np.array(True)},
        r"\._data: IntegerArray: it must have one or two dimensions",
    ),
    "series shorter than its index": (SERIES, SINGLE, single("values", cut(1)), r"\._mgr\.blocks\[0\]: SingleBlockManager: its values must be 3"),
    "series placed elsewhere": (
        SERIES,
        SINGLE,
        single("mgr_locs", slice(0, 1, 1)),
        r"\._mgr\.blocks\[0\]: SingleBlockManager: it must be placed at 3 places",
    ),
    "series placed far": (
        SERIES,
        SINGLE,
        single("mgr_locs", slice(FAR, FAR + 3, 1)),
        r"\._mgr\.blocks\[0\]: SingleBlockManager: its columns must be of 3",
    ),
    "series of two axes": (
        SERIES,
        SINGLE,
        {(2, 3, "0.14.1", "axes"): lambda old: old * 2},
        r"\._mgr\.axes: SingleBlockManager: it must hold 1 items",
    ),
    "MultiIndex code out of range": (
        MULTI,
        pd.MultiIndex,
        {(1, 1, "codes", 1): put(0, 120)},
        r"\.codes\[1\]: MultiIndex: each number must be from -1 to 2; found 120",
    ),
    "MultiIndex code negative": (MULTI, pd.MultiIndex, {(1, 1, "codes", 0): put(0, -2)}, r"\.codes\[0\]: MultiIndex"),
    "MultiIndex code that a cast would cut": (
        MULTI,
        pd.MultiIndex,
        {(1, 1, "codes", 0): lambda old: put(0, 256)(old.astype("i8"))},
        r"\.codes\[0\]: MultiIndex: each number must be from -1 to 1; found 256",
    ),
    "MultiIndex codes short": (MULTI, pd.MultiIndex, {(1, 1, "codes", 1): cut(2)}, r"\.codes\[1\]: MultiIndex: its shape must be \(6,\)"),
    "MultiIndex codes of floats": (MULTI, pd.MultiIndex, {(1, 1, "codes", 0): np.zeros(6)}, r"\.codes\[0\]: MultiIndex: its dtype"),
    "MultiIndex level missing": (MULTI, pd.MultiIndex, {(1, 1, "levels"): lambda old: list(old)[:1]}, r"\.levels: MultiIndex: it must hold 2 items"),
    "MultiIndex level short": (
        MULTI,
        pd.MultiIndex,
        {(1, 1, "levels", 1): pd.Index(["x"])},
        r"\.codes\[1\]: MultiIndex: each number must be from -1 to 0",
    ),
    "MultiIndex sorted by many": (MULTI, pd.MultiIndex, {(1, 1, "sortorder"): 9}, r"\.sortorder: MultiIndex"),
    "frame with a bad MultiIndex": (
        FRAME.set_index(["a", "b"]),
        pd.MultiIndex,
        {(1, 1, "codes", 0): put(0, 120)},
        r"\._mgr\(1\)\[1\]\.codes\[0\]: MultiIndex",
    ),
    "Categorical code out of range": (
        CATEGORICAL,
        pd.Categorical,
        {(2, 1): put(0, 120)},
        r"\.codes: Categorical: each number must be from -1 to 1; found 120",
    ),
    "Categorical code negative": (CATEGORICAL, pd.Categorical, {(2, 1): put(0, -100)}, r"\.codes: Categorical"),
    "Categorical codes of floats": (CATEGORICAL, pd.Categorical, {(2, 1): np.zeros(4)}, r"\.codes: Categorical: its dtype"),
    "Categorical of another dtype": (CATEGORICAL, pd.Categorical, {(2, 0): pd.Int64Dtype()}, r"\.dtype: Categorical: it must be CategoricalDtype"),
    "Categorical of fewer categories": (
        CATEGORICAL,
        pd.Categorical,
        {(2, 0): pd.CategoricalDtype(["u"])},
        r"\.codes: Categorical: each number must be from -1 to 0",
    ),
    "Categorical of no categories": (
        CATEGORICAL,
        pd.Categorical,
        {(2, 0): pd.CategoricalDtype()},
        r"\.dtype\.categories: Categorical: it must be an index",
    ),
    "CategoricalIndex": (pd.CategoricalIndex(CATEGORICAL), pd.Categorical, {(2, 1): put(0, 120)}, r"\.codes: Categorical"),
    "frame with a bad Categorical": (
        pd.DataFrame({"c": CATEGORICAL}),
        pd.Categorical,
        {(2, 1): put(0, 120)},
        r"\._mgr\(0\)\[0\]\(0\)\.codes: Categorical",
    ),
    "IntervalArray of fewer bounds": (
        INTERVALS,
        type(INTERVALS),
        {(2, 0, "_right"): cut(1)},
        r"\._right: IntervalArray: it must hold 2 bounds; found 1",
    ),
    "mask short": (INTEGERS, type(INTEGERS), {(2, "_mask"): cut(1)}, r"\._mask: IntegerArray: its shape must be \(3,\)"),
    "mask of integers": (INTEGERS, type(INTEGERS), {(2, "_mask"): np.zeros(3, "i1")}, r"\._mask: IntegerArray: its dtype"),
    "masked values of floats": (INTEGERS, type(INTEGERS), {(2, "_data"): np.zeros(3)}, r"\._data: IntegerArray: its dtype"),
    "SparseArray values short": (
        SPARSE_ARRAY,
        type(SPARSE_ARRAY),
        {(2, "_sparse_values"): cut(1)},
        r"\._sparse_values: SparseArray: it must hold 2 values; found 1",
    ),
    "SparseArray position out of range": (
        SPARSE_ARRAY,
        POSITIONS,
        {(1, 1): np.array([1, 99], "i4")},
        r"\.indices: IntIndex: each number must be from 0 to 4",
    ),
    "SparseArray position that a cast would cut": (SPARSE_ARRAY, POSITIONS, {(1, 1): np.array([1, (1 << 32) + 2])}, r"\.indices: IntIndex"),
    "SparseArray positions unsorted": (
        SPARSE_ARRAY,
        POSITIONS,
        {(1, 1): np.array([3, 1], "i4")},
        r"\.indices: IntIndex: each position must be larger",
    ),
    "SparseArray without end": (SPARSE_ARRAY, POSITIONS, {(1, 0): 1 << 40}, r"\.length: IntIndex"),
    "dates in another unit": (DATES, type(DATES), {(2, 1): lambda old: old.astype("M8[s]")}, r"\.dtype: DatetimeArray: it must be that of its array"),
    "zoned dates in another unit": (
        ZONED,
        type(ZONED),
        {(2, 1): lambda old: old.astype("M8[s]")},
        r"\.dtype: DatetimeArray: its unit must be that of its array",
    ),
    "dates of another dtype": (DATES, type(DATES), {(2, 0): pd.Int64Dtype()}, r"\.dtype: DatetimeArray: it must be DatetimeTZDtype"),
    "periods of another dtype": (PERIODS, type(PERIODS), {(2, 0): pd.Int64Dtype()}, r"\.dtype: PeriodArray: it must be PeriodDtype"),
    "RangeIndex of no step": (pd.RangeIndex(3), pd.RangeIndex, {(1, 1, "step"): 0}, r"\.step: RangeIndex: it must not be 0"),
    "RangeIndex without end": (pd.RangeIndex(3), pd.RangeIndex, {(1, 1, "stop"): 1 << 70}, r"\.stop: RangeIndex"),
    "RangeIndex longer than an integer": (
        pd.RangeIndex(3),
        pd.RangeIndex,
        {(1, 1, "start"): -(1 << 63), (1, 1, "stop"): 5},
        r"\.stop: RangeIndex: it must not be longer",
    ),
}


def generator(kind: Any, *path: Any, new: Any, at: Any = None) -> tuple[Any, type, Edits]:
    """Return a generator and an edit of its state, which lies deeper in newer releases of numpy."""
    made = kind(3)
    held = made.__reduce_ex__(5)[2]
    return made, type(made), {(2, *((0,) if type(held) is tuple else ()), *path): new}


ZERO = np.zeros(624, "u4")
GENERATORS: dict[str, tuple[tuple[Any, type, Edits], str]] = {
    "MT19937 of zeros": (generator(np.random.MT19937, "state", "key", new=ZERO), r"\.state\['key'\]: .*it must not be zero"),
    "MT19937 of zeros that count": (
        generator(np.random.MT19937, "state", "key", new=put(0, 0x7FFFFFFF)(ZERO)),
        r"\.state\['key'\]: .*it must not be zero",
    ),
    "MT19937 key short": (generator(np.random.MT19937, "state", "key", new=cut(3)), r"\.state\['key'\]: .*its shape must be \(624,\)"),
    "MT19937 key of other numbers": (
        generator(np.random.MT19937, "state", "key", new=lambda old: old.astype("i8")),
        r"\.state\['key'\]: .*its dtype must be u4",
    ),
    "PCG64 of zeros": (generator(np.random.PCG64, "state", "inc", new=0), r"\.state\['inc'\]: .*it must be odd"),
    "PCG64 increment even": (generator(np.random.PCG64DXSM, "state", "inc", new=1 << 100), r"\.state\['inc'\]: .*it must be odd"),
    "PCG64 state of more bits": (generator(np.random.PCG64, "state", "state", new=1 << 128), r"\.state\['state'\]: .*it must be an integer from 0"),
    "PCG64 half a number": (generator(np.random.PCG64, "uinteger", new=1 << 32), r"\.uinteger: .*it must be an integer from 0 to 4294967295"),
    "Philox buffer position": (generator(np.random.Philox, "buffer_pos", new=0), r"\.buffer_pos: .*it must be an integer from 1 to 4"),
    "Philox buffer short": (generator(np.random.Philox, "buffer", new=cut(1)), r"\.buffer: .*its shape must be \(4,\)"),
    "Philox key short": (generator(np.random.Philox, "state", "key", new=cut(1)), r"\.state\['key'\]: .*its shape must be \(2,\)"),
    "SFC64 state short": (generator(np.random.SFC64, "state", "state", new=cut(1)), r"\.state\['state'\]: .*its shape must be \(4,\)"),
    "SFC64 state of floats": (generator(np.random.SFC64, "state", "state", new=np.ones(4)), r"\.state\['state'\]: .*its dtype must be u8"),
    "another kind": (generator(np.random.SFC64, "bit_generator", new="PCG64"), r"\.bit_generator: .*it must be SFC64"),
    "RandomState key": (generator(np.random.RandomState, "state", "key", new=ZERO), r"\.state\['key'\]: .*it must not be zero"),
    "RandomState second number": (generator(np.random.RandomState, "has_gauss", new=7), r"\.has_gauss: .*it must be an integer from 0 to 1"),
    "RandomState not a number": (generator(np.random.RandomState, "gauss", new=float("nan")), r"\.gauss: .*it must be a number"),
    "SeedSequence pool short": (
        (np.random.SeedSequence(3), np.random.SeedSequence, {(2, 2): cut(2)}),
        r"\.pool: SeedSequence: its shape must be \(4,\)",
    ),
    "SeedSequence pool huge": ((np.random.SeedSequence(3), np.random.SeedSequence, {(2, 3): 1 << 31}), r"\.pool_size: SeedSequence"),
    "SeedSequence children without end": (
        (np.random.SeedSequence(3), np.random.SeedSequence, {(2, 1): (1 << 32) - 1}),
        r"\.n_children_spawned: SeedSequence: it must be an integer from 0 to 2147483647",
    ),
    "SeedSequence entropy huge": ((np.random.SeedSequence(3), np.random.SeedSequence, {(2, 0): 1 << 100_000}), r"\.entropy: SeedSequence"),
    "SeedSequence entropy negative": ((np.random.SeedSequence(3), np.random.SeedSequence, {(2, 0): -1}), r"\.entropy: SeedSequence"),
}

MALFORMED: dict[str, tuple[Any, type, Edits, str]] = {
    **{f"sparse: {name}": (value, type(value), edits, message) for name, (value, edits, message) in SPARSE.items()},
    **{f"splines: {name}": (value, type(holder(value)), edits, message) for name, (value, edits, message) in SPLINES.items()},
    **SHELLS,
    **{f"trees: {name}": (value, type(value), edits, message) for name, (value, edits, message) in TREES.items()},
    **{f"pandas: {name}": case for name, case in PANDAS.items()},
    **{f"generators: {name}": (*made, message) for name, (made, message) in GENERATORS.items()},
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_state_is_refused_with_its_path(name):
    """Compiled code would read or write foreign memory, or never end."""
    value, kind, edits, message = MALFORMED[name]
    load_forged(value, kind, {})
    with pytest.raises(StateError, match=message) as caught:
        load_forged(value, kind, edits)
    assert str(caught.value).startswith("$['model'][0]")


def test_a_smoothing_spline_goes_on_from_counts_of_its_own_or_since_scipy_1_18_from_none():
    """Older releases go on from what their memory holds by chance where there are none, and crash or read beyond the points."""
    none = {**args(11, None, "_data"), **args(12, None, "_data")}
    for edits in (counted(lambda old: old), {**none, **args(6, -1.0, "_data")}):
        assert load_forged(SMOOTH, type(SMOOTH), edits)["model"][0](1.0) == SMOOTH(1.0)
    for edits in (none, nothing(lambda old: old)):
        if SCIPY >= (1, 18):
            loaded = load_forged(SMOOTH, type(SMOOTH), edits)["model"][0]
            loaded.set_smoothing_factor(0.4)
            assert loaded.get_residual() == pytest.approx(0.4, rel=0.01)
        else:
            with pytest.raises(StateError, match=r"\._data\[11\]: .*it must be an array of numbers"):
                load_forged(SMOOTH, type(SMOOTH), edits)


def test_a_dok_matrix_that_is_a_dict_has_keys_within_its_shape():
    """Before scipy 1.13 its items were its own, and came with the call that makes it."""
    from assembler import Call, Ref, program

    def made(column: int) -> bytes:
        content = {"_shape": (6, 8), "maxprint": 50}
        call = Call("copyreg:_reconstructor", Ref("scipy.sparse._dok:dok_matrix"), Ref("builtins:dict"), {(0, column): 1.0}, state=content)
        return seal(program(call))

    loads(made(7), key=KEY)
    with pytest.raises(StateError, match="each index must be an integer from 0 to 7"):
        loads(made(8), key=KEY)
