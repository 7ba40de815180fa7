"""Malformed contents of allowed objects, each genuinely signed: every name is admitted, only the numbers are wrong.

A study of 286 such objects found that plain pickle followed by one ordinary call ends in a signal, a hang, or memory
that is not the object's. `APPENDIX` lists them all by the names of that study; each is in exactly one of four tables:

- `MUST`: they crash, hang, end the process, take all memory, read or write out of bounds, or have an effect;
- `SHOULD`: they do less, but break the same rules, or cannot be right;
- `ELSEWHERE`: the same as an attack of `test_hostile_programs.py`, or as another case here;
- `NOT_REFUSED`: they load, and why.

A case is a genuine object and edits of places in it. What is compiled is edited in the state that it pickles. Without
the edits the same object must load, so that no case is refused for the way in which it was made.

Nothing but `loads` is called here: what is not refused would crash only later, in compiled code.
"""

from __future__ import annotations

import copy
import functools
import platform
import re
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import scipy.interpolate
import scipy.sparse as sp
import scipy.spatial
from assembler import KEY, Call, Do, Get, Let, New, Ref, array, dtype, program, seal
from attacks.test_hostile_programs import ATTACKS
from sklearn import cluster, ensemble, linear_model, neighbors, svm
from sklearn.datasets import load_iris
from sklearn.decomposition import LatentDirichletAllocation
from sklearn.feature_extraction import DictVectorizer, FeatureHasher
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.metrics import DistanceMetric
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, MultiLabelBinarizer, OneHotEncoder, PolynomialFeatures, SplineTransformer, StandardScaler
from sklearn.random_projection import SparseRandomProjection
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from safepickle import PolicyError, ProgramError, SafePickleError, StateError, loads
from safepickle.pickling import pickled

# The slowest takes one; a check that follows a cycle would take for ever.
SECONDS = 15

# --- editing ---------------------------------------------------------------------------------------------------

_TREE = "data idx_array node_data node_bounds leaf_size n_levels n_nodes n_trims n_leaves n_splits n_calls dist_metric sample_weight"
_POINTS = "nodes data n m leafsize maxes mins indices boxsize boxsize_data"
_METRIC = "p vec mat func kwargs"
PICKLES_ITSELF = {
    **dict.fromkeys(("sklearn.neighbors._kd_tree.KDTree", "sklearn.neighbors._ball_tree.BallTree"), _TREE),
    **dict.fromkeys(("scipy.spatial._ckdtree.cKDTree", "scipy.spatial._kdtree.KDTree"), _POINTS),
    **{f"sklearn.metrics._dist_metrics.{name}Distance64": _METRIC for name in ("Euclidean", "Mahalanobis", "SEuclidean", "PyFunc")},
    "numpy.random._mt19937.MT19937": "state seed",
    "numpy.random._philox.Philox": "state seed",
    **dict.fromkeys(
        ("sklearn.tree._tree.Tree", "scipy.sparse._dok.dok_array", "numpy.random.mtrand.RandomState", "numpy.ma.MaskedArray", "pandas.DataFrame"), ""
    ),
    **dict.fromkeys((f"pandas.core.internals.{name}" for name in ("managers.BlockManager", "blocks.NumpyBlock", "blocks.ExtensionBlock")), ""),
    **dict.fromkeys(("pandas.Categorical", "pandas.MultiIndex", "pandas.RangeIndex", "pandas.Period", "pandas._libs.sparse.IntIndex"), ""),
}
"""Classes whose pickled form is edited instead of themselves, with the names of the parts of a state that is a tuple."""
# Where they are before pandas 3 and numpy 2.
PICKLES_ITSELF |= dict.fromkeys(("numpy.ma.core.MaskedArray", "pandas.core.frame.DataFrame", "pandas.core.arrays.categorical.Categorical"), "")
PICKLES_ITSELF |= dict.fromkeys(
    ("pandas.core.indexes.multi.MultiIndex", "pandas.core.indexes.range.RangeIndex", "pandas._libs.tslibs.period.Period"), ""
)


class Twin:
    """Stands for an object that pickles itself, and pickles as it would, from parts that can be edited.

    Steps of a path lead into its state by name or number; `__args__` and `__state__` are the parts as a whole.
    """

    def __init__(self, original: Any, names: str) -> None:
        self.function, args, state = (*original.__reduce_ex__(5), None)[:3]
        self.original, self.names = type(original), names.split()
        # Before numpy 2 what is the first part of the state of a bit generator is all of it.
        self.alone = bool(self.names) and type(state) is dict
        self.args, self.state = copy.deepcopy(list(args)), copy.deepcopy((state,) if self.alone else state)

    @property
    def __class__(self) -> type:
        # The pickler writes NEWOBJ only for an instance of the class.
        return self.original

    def __reduce_ex__(self, protocol: int) -> tuple[Any, ...]:
        state = self.state[0] if self.alone else self.state
        return (self.function, tuple(self.args)) if state is None else (self.function, tuple(self.args), state)


def stand_in(value: Any) -> Any:
    kind = type(value)
    names = PICKLES_ITSELF.get(f"{kind.__module__}.{kind.__qualname__}")
    return value if names is None else Twin(value, names)


Step = str | int


def steps(path: str) -> list[Step]:
    return [int(number) if number else name for name, number in re.findall(r"(\w+)|\[(-?\d+)\]", path)]


def key_of(value: Any, step: Step) -> Step:
    """Return the step as the value spells it: `c` of a spline is `_c` in recent releases."""
    if isinstance(step, str) and hasattr(value, "__dict__") and step not in vars(value) and f"_{step}" in vars(value):
        return f"_{step}"
    return step


def holder(value: Any) -> Any:
    """Return what holds the arrays of a spline: since scipy 1.18 another object, within a shell that reads its attributes."""
    held = vars(value).get("_delegate_to")
    return value if held is None else held


def get(value: Any, step: Step) -> Any:
    if type(value) is Twin:
        if step == "__args__":
            return value.args
        if step == "__state__":
            return value.state
        return value.state[value.names.index(step) if isinstance(step, str) and value.names else step]
    if isinstance(step, int) or isinstance(value, (dict, np.ndarray)):
        return value[step]
    return getattr(value, key_of(value, step))


def put(value: Any, path: list[Step], new: Any) -> Any:
    """Return the value with something new at the end of a path: changed in place, or a copy of a tuple."""
    if not path:
        return new(value) if callable(new) else new
    step, rest = path[0], path[1:]
    changed = put(stand_in(get(value, step)), rest, new) if rest else put(get(value, step), rest, new)
    match value:
        case _ if type(value) is Twin and step == "__args__":
            value.args = changed
        case _ if type(value) is Twin and step == "__state__":
            value.state = changed
        case _ if type(value) is Twin:
            value.state = put(value.state, [value.names.index(step) if isinstance(step, str) and value.names else step], lambda _: changed)
        case tuple():
            return (*value[:step], changed, *value[step + 1 :])
        case dict() | list() | np.ndarray():
            value[step] = changed
        case _ if hasattr(value, "__dict__"):
            held = holder(value)
            vars(held)[key_of(held, step)] = changed
        case _:
            setattr(value, step, changed)
    return value


def same(value: Any) -> Any:
    return value


def passed(value: Any, path: list[Step]) -> Iterator[str]:
    """Yield a pattern for each class and attribute on the way to the end of a path."""
    for number, step in enumerate([*path, None]):
        kind = value.original if type(value) is Twin else type(value)
        if type(value) is Twin or kind.__module__.partition(".")[0] in ("sklearn", "scipy", "pandas"):
            yield rf"\b{kind.__name__}\b"
        if step is None:
            return
        if isinstance(step, str):
            yield rf"\._?{step}\b"
        value = get(value, step)
        value = stand_in(value) if number < len(path) - 1 else value


@functools.cache
def made(make: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


class Case(NamedTuple):
    make: Callable[[], Any]
    """Returns a genuine object."""
    edits: dict[str, Any]
    """What is new at each place: a value, or a function of the old one."""
    error: type[SafePickleError] = StateError
    says: str = ""
    """Part of the message; if empty, the message names a class or an attribute on the way to a place."""
    allow: tuple[str, ...] = ()
    """What the policy refuses whatever its contents, and what must be allowed for the genuine object to load."""

    def sealed(self, *, hostile: bool) -> bytes:
        model = stand_in(copy.deepcopy(made(self.make)))
        for path, new in self.edits.items():
            if hostile or path:
                model = put(model, steps(path), new if hostile else same)
        return seal(*pickled(model))

    def pattern(self) -> str:
        model = stand_in(copy.deepcopy(made(self.make)))
        return re.escape(self.says) or "|".join(dict.fromkeys(name for path in self.edits for name in passed(model, steps(path))))


class Written(NamedTuple):
    """What no object pickles to: a program from the assembler, and its nearest relative that must load."""

    hostile: Any
    benign: Any
    error: type[SafePickleError]
    says: str
    allow: tuple[str, ...] = ()

    def sealed(self, *, hostile: bool) -> bytes:
        return seal(program(self.hostile if hostile else self.benign))

    def pattern(self) -> str:
        return re.escape(self.says)


# --- genuine objects ---------------------------------------------------------------------------------------------

X, Y = load_iris(return_X_y=True)
NARROW = X[:, :2].copy()
N = len(X)
COUNTS = sp.random(8, 8, density=0.3, random_state=0)
# The first column is numbers, the second categories: the first split of every tree is one of categories.
MIXED = np.column_stack([np.arange(120) / 120, np.arange(120) % 6, np.arange(120)[::-1] % 7])
PARITY = (MIXED[:, 1] % 2).astype(int)


def tree() -> Any:
    return DecisionTreeClassifier(random_state=0).fit(X, Y)


def regression_tree() -> Any:
    return DecisionTreeRegressor(random_state=0, max_depth=3).fit(X, Y)


def forest() -> Any:
    return ensemble.RandomForestClassifier(2, random_state=0).fit(X, Y)


def boosting() -> Any:
    return ensemble.GradientBoostingRegressor(n_estimators=1, random_state=0).fit(X, Y)


def histogram(kind: Any = ensemble.HistGradientBoostingClassifier) -> Any:
    model = kind(max_iter=2, categorical_features=[1], min_samples_leaf=5, early_stopping=False, random_state=0).fit(MIXED, PARITY)
    if model._predictors[0][0].nodes["is_categorical"][0] != 1:
        raise AssertionError("the first split is not one of categories")
    return model


def histogram_of_numbers() -> Any:
    return ensemble.HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=5, early_stopping=False, random_state=0).fit(X, Y)


def histogram_regression() -> Any:
    return histogram(ensemble.HistGradientBoostingRegressor)


def kd_tree() -> Any:
    return neighbors.KDTree(NARROW, leaf_size=4)


def ball_tree(**options: Any) -> Any:
    return neighbors.BallTree(NARROW, leaf_size=4, **options)


def mahalanobis() -> Any:
    return ball_tree(metric="mahalanobis", V=np.cov(NARROW.T))


def standardized() -> Any:
    return ball_tree(metric="seuclidean", V=NARROW.var(axis=0))


def metric_of_python() -> Any:
    return ball_tree(metric=np.dot)


def density() -> Any:
    return neighbors.KernelDensity().fit(X, sample_weight=np.ones(N))


def neighbours(kind: Any = neighbors.KNeighborsClassifier, data: Any = X, **options: Any) -> Any:
    return kind(**options).fit(data, Y)


def neighbours_by_tree() -> Any:
    return neighbours(algorithm="kd_tree")


def neighbours_by_force() -> Any:
    return neighbours(algorithm="brute", metric="manhattan")


def neighbours_sparse() -> Any:
    return neighbours(data=sp.csr_matrix(X), algorithm="brute")


def radius_by_tree() -> Any:
    return neighbours(neighbors.RadiusNeighborsClassifier, algorithm="kd_tree")


def radius_by_force() -> Any:
    return neighbours(neighbors.RadiusNeighborsClassifier, algorithm="brute", metric="manhattan")


def pipeline() -> Any:
    return Pipeline([("scale", StandardScaler()), ("last", "passthrough")]).fit(X)


def within_itself(step: Any) -> Any:
    # A pipeline that refers to itself through a list is refused by the machine; through its state it is one object.
    holder = StandardScaler()
    holder.copy = holder
    return (step[0], holder)


def k_means() -> Any:
    return cluster.KMeans(3, n_init=1, random_state=0).fit(X)


def k_means_of_batches() -> Any:
    return cluster.MiniBatchKMeans(3, n_init=1, random_state=0).fit(X)


def k_means_bisecting() -> Any:
    return cluster.BisectingKMeans(3, random_state=0).fit(X)


def hdbscan() -> Any:
    return cluster.HDBSCAN(copy=True).fit(X)


def agglomeration() -> Any:
    return cluster.FeatureAgglomeration(2).fit(X)


def svc(data: Any = X, **options: Any) -> Any:
    return svm.SVC(**options).fit(data, Y)


def svc_precomputed() -> Any:
    return svc(X @ X.T, kernel="precomputed")


def svc_sparse() -> Any:
    return svc(sp.csr_matrix(X))


def one_class() -> Any:
    return svm.OneClassSVM().fit(X)


def counting() -> Any:
    return CountVectorizer().fit(["red green", "blue red"])


def of_dicts() -> Any:
    return DictVectorizer(sparse=False).fit([{"red": 1, "blue": 2}])


def csr() -> Any:
    return sp.csr_array(COUNTS)


def csc() -> Any:
    return sp.csc_array(COUNTS)


def coo() -> Any:
    return sp.coo_array(COUNTS)


def bsr() -> Any:
    return sp.bsr_array(np.eye(8), blocksize=(2, 2))


def dia() -> Any:
    return sp.dia_array(np.eye(8))


def lil() -> Any:
    return sp.lil_array(np.eye(8))


def dok() -> Any:
    return sp.dok_array(np.eye(8))


def sparse_coefficients() -> Any:
    return linear_model.LogisticRegression().fit(X, Y).sparsify()


def projection() -> Any:
    return SparseRandomProjection(2, random_state=0).fit(X)


def point_tree() -> Any:
    return scipy.spatial.cKDTree(NARROW, leafsize=4)


def point_tree_of_python() -> Any:
    return scipy.spatial.KDTree(NARROW, leafsize=4)


LINE = np.arange(12.0)


def spline() -> Any:
    return scipy.interpolate.make_interp_spline(LINE, LINE**2)


def splines() -> Any:
    return SplineTransformer().fit(NARROW)


def grid() -> Any:
    return scipy.interpolate.RegularGridInterpolator((LINE, LINE), np.ones((12, 12)))


def grid_spline() -> Any:
    return scipy.interpolate.NdBSpline((LINE, LINE), np.ones((8, 8)), 3)


def fitpack() -> Any:
    return scipy.interpolate.UnivariateSpline(LINE, LINE**2)


def cubic() -> Any:
    return scipy.interpolate.interp1d(LINE, LINE**2, kind="cubic")


CORNERS = np.array([(0, 0), (1, 0.1), (0.1, 1), (1.1, 1.2), (0.5, 0.4), (0.3, 0.8)])


def triangles() -> Any:
    return scipy.spatial.Delaunay(CORNERS)


def triangles_with_values() -> Any:
    return scipy.interpolate.LinearNDInterpolator(CORNERS, np.arange(6.0))


def mersenne_twister() -> Any:
    return np.random.MT19937(0)


def philox() -> Any:
    return np.random.Philox(0)


def topics() -> Any:
    return LatentDirichletAllocation(2, max_iter=1, random_state=np.random.RandomState(0)).fit(np.abs(X))


def masked() -> Any:
    return np.ma.array([1, 2, 3], mask=[0, 1, 0])


def frame() -> Any:
    return pd.DataFrame({"a": [1, 2, 3], "b": [4, 5, 6]})


def frame_of_categories() -> Any:
    return pd.DataFrame({"a": pd.Categorical(["x", "y", "z"])})


def categories() -> Any:
    return pd.Categorical(["x", "y", "z"])


def levels() -> Any:
    return pd.MultiIndex.from_tuples([(1, "a"), (2, "b"), (3, "c")])


def sparse_array() -> Any:
    return pd.arrays.SparseArray([0, 0, 1, 2])


def averaged(kind: Any = linear_model.SGDRegressor) -> Any:
    return kind(average=True, random_state=0).fit(X, Y)


def averaged_classes() -> Any:
    return averaged(linear_model.SGDClassifier)


def logistic() -> Any:
    return linear_model.LogisticRegression().fit(X, Y)


def one_hot() -> Any:
    return OneHotEncoder().fit(np.arange(6).reshape(-1, 1) % 4)


def labels() -> Any:
    binarizer = MultiLabelBinarizer().fit([("a", "b")])
    # It keeps a table from labels to columns from the first call on.
    binarizer.transform([("a",)])
    return binarizer


def polynomials() -> Any:
    return PolynomialFeatures(2).fit(X)


# --- edits -------------------------------------------------------------------------------------------------------

FAR, AWAY = 2**40, 2**30


def behind(by: int) -> Callable[[Any], Any]:
    """The first index points so many places behind the end."""
    return lambda old: np.concatenate([[len(old) + by], old[1:]]).astype(old.dtype)


def first(count: int) -> Callable[[Any], Any]:
    return lambda old: old[:count].copy()


def columns(count: int) -> Callable[[Any], Any]:
    return lambda old: old[:, :count].copy()


def filled(value: Any) -> Callable[[Any], Any]:
    return lambda old: np.full_like(old, value)


def wider(old: Any) -> Any:
    return np.column_stack([old, old[:, :1]])


def ladder(nodes: Any) -> Any:
    """Nodes both of whose children are the next node: 60 of them, and 2**60 ways down."""
    rungs = np.zeros(61, nodes.dtype)
    rungs["left_child"] = rungs["right_child"] = np.arange(1, 62)
    rungs["n_node_samples"] = rungs["weighted_n_node_samples"] = 1
    rungs[-1] = nodes[nodes["left_child"] == -1][0]
    return rungs


POINT_NODE = np.dtype(
    {
        "names": ["split_dim", "start", "end", "less", "greater"],
        "formats": ["<i8"] * 5,
        "offsets": [0, 24, 32, 56, 64],
        "itemsize": 72,
    }
)


def point_node(**fields: int) -> Callable[[Any], Any]:
    """Change fields of the first of the raw node structures of a cKDTree."""

    def change(old: Any) -> Any:
        nodes = np.frombuffer(bytearray(old.tobytes()), POINT_NODE)
        for name, value in fields.items():
            nodes[name][0] = value
        return np.frombuffer(nodes.tobytes(), "S1").copy()

    return change


def repeated_ranges(nodes: Any) -> Any:
    """Both children of the first node cover all points."""
    nodes["idx_start"][1:3], nodes["idx_end"][1:3] = nodes["idx_start"][0], nodes["idx_end"][0]
    return nodes


def decreasing(indptr: Any) -> Any:
    return np.concatenate([[0, indptr[-1]], indptr[2:]]).astype(indptr.dtype)


def no_zero_key(old: Any) -> Any:
    return np.zeros_like(old)


def with_entry(name: str, value: Any) -> Callable[[Any], Any]:
    def change(model: Any) -> Any:
        vars(model)[name] = value
        return model

    return change


def _deepest(node: Any) -> Any:
    while node.left is not None:
        node = node.left
    return node


def cyclic(root: Any) -> Any:
    """A tree of Python objects whose first leaf has the root as its children."""
    leaf = _deepest(root)
    leaf.left = leaf.right = root
    return root


LEFT, RIGHT = "tree_.nodes.left_child[0]", "tree_.nodes.right_child[0]"
TRIANGLES = ("scipy.spatial._qhull:Delaunay", f"{scipy.interpolate.LinearNDInterpolator.__module__}:LinearNDInterpolator")
GRID_SPLINE = ("scipy.interpolate._ndbspline:NdBSpline",)
ROOT = "_predictors[0][0].nodes"
RECONSTRUCT = Call("numpy._core.multiarray:_reconstruct", Ref("numpy:ndarray"), (0,), b"b", state=(1, (2,), dtype(), False, bytes(16)))


def again(what: Any, state: Any) -> Do:
    """BUILD once more."""
    return Do(lambda asm: asm.push(what).push(state).op("BUILD"))


# --- tables ------------------------------------------------------------------------------------------------------

Row = Case | Written

MUST: dict[str, Row] = {
    "tree.child_far_out_of_range": Case(tree, {LEFT: FAR}),
    "tree.child_just_out_of_range": Case(tree, {"tree_.nodes.left_child": behind(3)}),
    "tree.child_negative": Case(tree, {LEFT: -FAR}),
    "tree.child_cycle": Case(tree, {LEFT: 0}),
    "tree.only_left_is_leaf_marker_missing": Case(tree, {RIGHT: -1}),
    "tree.shared_child_dag_exponential": Case(
        tree,
        {
            "tree_.nodes": ladder,
            "tree_.values": lambda old: np.repeat(old[:1], 61, axis=0),
            "tree_.node_count": 61,
            "tree_.max_depth": 60,
        },
    ),
    "tree.feature_far_out_of_range": Case(tree, {"tree_.nodes.feature[0]": FAR}),
    "tree.feature_just_out_of_range": Case(tree, {"tree_.nodes.feature[0]": 4}),
    "tree.feature_oob_write_importances": Case(tree, {"tree_.nodes.feature[0]": 2**28}),
    "tree.feature_oob_sparse_input": Case(tree, {"tree_.nodes.feature[0]": AWAY}),
    "tree.n_features_larger_than_estimator": Case(tree, {"tree_.__args__[0]": AWAY, "tree_.nodes.feature[0]": AWAY - 1}),
    "tree.max_depth_too_small": Case(tree, {"tree_.max_depth": 0}),
    "tree.max_depth_huge": Case(tree, {"tree_.max_depth": 2**31 - 1}),
    "tree.node_count_negative": Case(tree, {"tree_.node_count": -(2**20)}, PolicyError, "tree_: "),
    "tree.empty_nodes": Case(tree, {"tree_.nodes": first(0), "tree_.values": first(0)}, PolicyError, "tree_: "),
    "tree.partial_dependence_cycle_writes_stack": Case(regression_tree, {LEFT: 0, RIGHT: 0}),
    "gb.member_tree_is_none": Case(boosting, {"estimators_[0][0].tree_": None}),
    "gb.more_columns_than_outputs": Case(boosting, {"estimators_": lambda old: np.repeat(old, 60_000, axis=1)}),
    "gb.child_out_of_range": Case(boosting, {f"estimators_[0][0].{LEFT}": FAR}),
    "hgb.left_right_out_of_range": Case(histogram_of_numbers, {f"{ROOT}.left[0]": 2**31, f"{ROOT}.right[0]": 2**31}),
    "hgb.right_just_out_of_range": Case(histogram, {f"{ROOT}.right": behind(0)}),
    "hgb.cycle": Case(histogram_of_numbers, {f"{ROOT}.left[0]": 0, f"{ROOT}.right[0]": 0}),
    "hgb.feature_idx_out_of_range": Case(histogram_of_numbers, {f"{ROOT}.feature_idx[0]": FAR}),
    "hgb.bitset_idx_out_of_range": Case(histogram, {f"{ROOT}.bitset_idx[0]": 2**31}),
    "hgb.empty_nodes": Case(histogram_of_numbers, {ROOT: first(0)}),
    "hgb.is_categorical_mask_empty": Case(histogram, {"_bin_mapper.is_categorical_": first(0)}),
    "hgb.partial_dependence_cycle_writes_stack": Case(histogram_regression, {f"{ROOT}.left[0]": 0, f"{ROOT}.right[0]": 0}),
    **{
        f"{kind}.{name}": Case(make, edits)
        for kind, make in (("kdtree", kd_tree), ("balltree", ball_tree))
        for name, edits in {
            "idx_array_out_of_range": {"idx_array[0]": FAR},
            "idx_array_off_by_a_little": {"idx_array": behind(2)},
            "idx_array_shorter_than_data": {"idx_array": first(1)},
            "node_range_out_of_range": {"node_data.idx_end[-1]": FAR},
            "node_never_leaf": {"node_data.is_leaf": filled(0)},
            "node_bounds_too_small": {"node_bounds": lambda old: old[:, :1, :1].copy()},
            "data_smaller_than_index": {"data": first(1)},
            "leaf_size_zero_breadth_first": {"leaf_size": 0},
        }.items()
    },
    **{
        f"{kind}.metric_is_none": Case(make, {"dist_metric": None}, PolicyError, f"{module}:newObj: with a state that its rule does not allow")
        for kind, make, module in (("kdtree", kd_tree, "_kd_tree"), ("balltree", ball_tree, "_ball_tree"))
    },
    "balltree.no_state": Case(ball_tree, {"__state__": None}, PolicyError, "without the state that it needs"),
    "kde.sample_weight_short": Case(density, {"tree_.sample_weight": first(1)}),
    "metric.mahalanobis_matrix_too_small": Case(mahalanobis, {"dist_metric.mat": lambda old: old[:1, :1].copy()}),
    "metric.seuclidean_vector_too_short": Case(standardized, {"dist_metric.vec": first(1)}),
    "knn.fit_X_too_narrow": Case(neighbours_by_force, {"_fit_X": columns(1)}),
    "knn.classmode_labels_out_of_range": Case(neighbours_by_force, {"_y[0]": FAR}),
    "knn.classmode_labels_just_out_of_range": Case(neighbours_by_force, {"_y[0]": 3}),
    "knn.classmode_labels_array_too_short": Case(neighbours_by_force, {"_y": first(1)}),
    "knn.classmode_fit_X_longer_than_labels": Case(neighbours_by_force, {"_fit_X": lambda old: np.tile(old, (100, 1)), "n_samples_fit_": 100 * N}),
    "knn.fit_X_empty": Case(neighbours_by_force, {"_fit_X": first(0), "n_samples_fit_": 0}),
    "knn.radius_classmode_labels_out_of_range": Case(radius_by_force, {"_y[0]": FAR}),
    "knn.radius_labels_out_of_range": Case(radius_by_tree, {"_y[0]": FAR}),
    "knn.sparse_fit_X_indices_out_of_range": Case(neighbours_sparse, {"_fit_X.indices[0]": AWAY}),
    "knn.sparse_fit_X_indptr_out_of_range": Case(neighbours_sparse, {"_fit_X.indptr[1]": AWAY}),
    "kmeans.centers_too_wide": Case(k_means, {"cluster_centers_": wider}),
    "kmeans.n_threads_huge": Case(k_means, {"_n_threads": 2**20}),
    "kmeans.n_threads_negative": Case(k_means, {"_n_threads": -1}),
    "py.self_referential_pipeline": Case(pipeline, {"steps[0]": within_itself}, says="must not be a part of itself"),
    "kmeans.minibatch_counts_too_short": Case(k_means_of_batches, {"_counts": first(1)}),
    "hdbscan.linkage_node_out_of_range": Case(hdbscan, {"_single_linkage_tree_.left_node[0]": FAR}),
    "agglomeration.labels_out_of_range": Case(agglomeration, {"labels_[0]": 2**33}),
    "svc.n_support_negative_but_sum_ok": Case(svc, {"_n_support": lambda old: np.array([-(2**28), 2**28, old.sum()], "i4")}),
    "svc.n_support_too_many_classes": Case(svc, {"_n_support": lambda old: np.array([old.sum(), *[0] * 4999], "i4")}),
    "svc.support_vectors_empty_skips_own_check": Case(svc, {"support_vectors_": first(0)}),
    "svc.dual_coef_empty": Case(svc, {"_dual_coef_": lambda old: old[:0, :0].copy()}),
    "svc.oneclass_n_support_short": Case(one_class, {"_n_support": first(1)}),
    "svc.intercept_too_short": Case(svc, {"_intercept_": first(1)}),
    "svc.dual_coef_too_few_rows": Case(svc, {"_dual_coef_": first(1)}),
    "svc.support_longer_than_vectors": Case(svc, {"support_": lambda old: np.arange(60_000, dtype=old.dtype)}),
    "svc.precomputed_support_index_out_of_range": Case(svc_precomputed, {"support_[0]": 2**28}),
    "svc.sparse_vectors_indptr_out_of_range": Case(svc_sparse, {"support_vectors_.indptr[1]": 2**29}),
    "svc.sparse_n_support_sum_wrong": Case(svc_sparse, {"_n_support[0]": 2**28}),
    "countvec.vocabulary_index_out_of_range": Case(counting, {"vocabulary_.red": AWAY}),
    "countvec.vocabulary_index_negative": Case(counting, {"vocabulary_.red": -(2**26)}),
    "countvec.vocabulary_toarray_write": Case(counting, {"vocabulary_.red": 2**28}),
    "countvec.input_filename_reads_files": Case(counting, {"input": "filename"}),
    "dictvec.vocabulary_out_of_range_dense_output": Case(of_dicts, {"vocabulary_.red": AWAY}),
    "hasher.n_features_zero": Case(FeatureHasher, {"n_features": 0}),
    "hashing_vectorizer.n_features_zero": Case(lambda: HashingVectorizer(norm=None), {"n_features": 0}),
    "sparse.csr_indices_out_of_range": Case(csr, {"indices[0]": AWAY}),
    "sparse.csr_indices_negative": Case(csr, {"indices[0]": -AWAY}),
    "sparse.csr_indices_just_out_of_range": Case(csr, {"indices[0]": 8}),
    "sparse.csr_indices_toarray_write": Case(csr, {"indices[0]": 2**28}),
    "sparse.csr_indptr_out_of_range": Case(csr, {"indptr[1]": AWAY}),
    "sparse.csr_indptr_decreasing": Case(csr, {"indptr": decreasing}),
    "sparse.csr_indptr_too_short": Case(csr, {"indptr": first(2)}),
    "sparse.csr_data_shorter_than_indices": Case(csr, {"data": first(1)}),
    "sparse.csr_shape_smaller_than_content": Case(csr, {"_shape": (8, 1)}),
    "sparse.csr_shape_more_rows_than_indptr": Case(csr, {"_shape": (10**6, 8)}),
    "sparse.csc_indices_write_in_tocsr": Case(csc, {"indices[0]": AWAY}),
    "sparse.coo_row_write_in_tocsr": Case(coo, {"coords[0][0]": 2**28}),
    "sparse.coo_row_write_in_toarray": Case(coo, {"coords[0][0]": AWAY}),
    "sparse.bsr_indices_out_of_range": Case(bsr, {"indices[0]": AWAY}),
    "sparse.dia_more_offsets_than_data_rows": Case(dia, {"offsets": lambda old: np.arange(8, dtype=old.dtype)}),
    "sparse.lil_column_out_of_range": Case(lil, {"rows[0]": lambda _: [AWAY]}),
    "sparse.lil_rows_array_shorter_than_shape": Case(lil, {"rows": first(1)}),
    "sparse.bsr_indptr_out_of_range": Case(bsr, {"indptr[1]": AWAY}),
    "sparse.random_projection_components": Case(projection, {"components_.indices[0]": AWAY}),
    "sparse.model_coef_indices_out_of_range": Case(sparse_coefficients, {"coef_.indices[0]": AWAY}),
    "ckdtree.indices_out_of_range": Case(point_tree, {"indices[0]": FAR}, StateError, "each number must be from 0 to 149"),
    "ckdtree.data_smaller_than_n": Case(point_tree, {"data": lambda old: old[:1, :1].copy()}, StateError, "its shape must be"),
    "ckdtree.split_dim_out_of_range": Case(point_tree, {"nodes": point_node(split_dim=FAR)}, StateError, "each number must be from -1 to 1"),
    "ckdtree.m_larger_than_data": Case(point_tree, {"m": 10**6}, StateError, "its shape must be"),
    "ckdtree.data_object_dtype": Case(point_tree, {"data": lambda old: old.astype("f4")}, StateError, "its dtype must be f8"),
    "kdtree_scipy.child_out_of_range_at_load": Case(point_tree_of_python, {"nodes": point_node(less=FAR)}, StateError, "must be a later node"),
    **{
        f"newobj.{name}_without_init": Written(
            New(compiled), New("sklearn.preprocessing._data:StandardScaler"), PolicyError, f"instance of {compiled}"
        )
        for name, compiled in (
            ("qhull_handle", "scipy.spatial._qhull:_Qhull"),
            ("union_find", "sklearn.cluster._hierarchical_fast:UnionFind"),
            ("sequential_dataset", "sklearn.utils._seq_dataset:ArrayDataset64"),
        )
    },
    "bspline.coefficients_too_short": Case(spline, {"c": first(1)}),
    "bspline.degree_huge": Case(spline, {"k": 100_000}),
    "bspline.degree_negative": Case(spline, {"k": -5}),
    "bspline.knots_empty": Case(spline, {"t": first(0)}),
    "splinetransformer.bspline_coefficients_too_short": Case(splines, {"bsplines_[0].c": first(1)}),
    "rgi.values_smaller_than_grid": Case(grid, {"values": lambda old: old[:1, :1].copy()}),
    # Before scipy 1.15 the table is made at each call, from the number of coefficients.
    "ndbspline.index_table_out_of_range": Case(
        grid_spline,
        {"_indices_k1d": filled(FAR)} if hasattr(grid_spline(), "_indices_k1d") else {"c": first(1)},
        PolicyError,
        f"{GRID_SPLINE[0]}: no rule",
        GRID_SPLINE,
    ),
    "univariatespline.degree_huge": Case(fitpack, {"_eval_args[2]": 2**28}),
    "interp1d.cubic_degree_huge": Case(cubic, {"_spline.k": 2**28}),
    "delaunay.neighbors_out_of_range": Case(triangles, {"neighbors": filled(AWAY)}, PolicyError, f"{TRIANGLES[0]}: no rule", TRIANGLES),
    "delaunay.simplices_out_of_range": Case(triangles, {"simplices": filled(AWAY)}, PolicyError, f"{TRIANGLES[0]}: no rule", TRIANGLES),
    "linearnd.simplices_out_of_range": Case(
        triangles_with_values, {"tri.simplices": filled(AWAY)}, PolicyError, f"{TRIANGLES[1]}: no rule", TRIANGLES
    ),
    "numpy.array_state_applied_twice_under_a_view": Written(
        [Let("x", RECONSTRUCT), again(Get("x"), (1, (1,), dtype(), False, bytes(8)))],
        [Let("x", RECONSTRUCT), Get("x")],
        ProgramError,
        "a second BUILD",
    ),
    "numpy.as_strided_under_a_prefix_allow_list": Written(
        Call("numpy.lib._stride_tricks_impl:as_strided", array(bytes(8)), (AWAY,)), array(bytes(8)), PolicyError, "as_strided: no rule names it"
    ),
    "numpy.mt19937_pos_out_of_range": Case(mersenne_twister, {"state.state.pos": 10**8}, PolicyError, "its 'pos' is not from 0 to 624"),
    "numpy.mt19937_key_all_zero_never_returns": Case(mersenne_twister, {"state.state.key": no_zero_key}),
    "numpy.mt19937_zero_key_inside_a_model": Case(topics, {"random_state_.state.key": no_zero_key}),
    "pandas.block_placement_negative_array": Case(frame, {"_mgr.__args__[0][0].__args__[1]": lambda _: np.array([-(2**26), 1])}),
    "pandas.frame_with_bad_categorical_values": Case(frame_of_categories, {"_mgr.__args__[0][0].__args__[0].__state__[1][0]": 120}),
    "pandas.multiindex_codes_out_of_range": Case(levels, {"__args__[1].codes[0][0]": 120}),
    "sgd.averaged_standard_coef_too_narrow": Case(averaged, {"_standard_coef": first(1)}),
    "sgd.averaged_standard_coef_too_narrow_multiclass": Case(averaged_classes, {"_standard_coef": columns(1)}),
    "onehot.n_features_outs_too_small": Case(one_hot, {"_n_features_outs": lambda _: [1]}),
    "multilabel.cached_dict_out_of_range": Case(labels, {"_cached_dict.a": 2**28}),
    "polyfeatures.output_count_huge": Case(polynomials, {"_n_out_full": 2**32, "n_output_features_": 2**32}),
    "py.scoring_monitor_opens_socket_at_load": Written(
        New("sklearn.callback._scoring_monitor:ScoringMonitor", state={"scoring": "accuracy"}),
        New("sklearn.preprocessing._data:StandardScaler"),
        PolicyError,
        "ScoringMonitor: no rule names it",
    ),
    "py.functiontransformer_with_side_effect": Case(
        lambda: FunctionTransformer(functools.partial(np.clip, a_min=0, a_max=1)),
        {"func": lambda _: functools.partial(np.save, "pwned.npy")},
        PolicyError,
        "numpy:save: no rule names it",
    ),
    "py.doc_link_template_html": Case(
        StandardScaler, {"": with_entry("__doc_link_template", "javascript:alert(1)")}, PolicyError, "the dunder name '__doc_link_template'"
    ),
    "py.callable_metric_in_balltree": Case(
        metric_of_python, {"dist_metric.func": lambda _: platform.node}, PolicyError, "platform:node: no rule names it"
    ),
}

SHOULD: dict[str, Row] = {
    "tree.feature_minus_two_on_split": Case(tree, {"tree_.nodes.feature[0]": -2}),
    "tree.forest_member_wider_than_forest": Case(
        forest, {"estimators_[0].n_features_in_": AWAY, "estimators_[0].tree_.__args__[0]": AWAY, "estimators_[0].tree_.nodes.feature[0]": AWAY - 1}
    ),
    "tree.max_depth_negative": Case(tree, {"tree_.max_depth": -5}, PolicyError, "tree_: "),
    "tree.node_count_zero": Case(tree, {"tree_.node_count": 0}, PolicyError, "tree_: "),
    "tree.node_count_smaller_than_nodes": Case(tree, {"tree_.node_count": 1}, PolicyError, "tree_: "),
    "tree.value_columns_mismatch_estimator": Case(
        tree, {"tree_.__args__[1]": lambda _: np.array([5]), "tree_.values": lambda old: np.repeat(old[:, :, :1], 5, axis=2)}
    ),
    "tree.n_classes_attr_mismatch": Case(tree, {"classes_": first(1), "n_classes_": 1}),
    "hgb.categorical_node_without_bitsets": Case(
        histogram, {"_predictors[0][0].raw_left_cat_bitsets": first(0), "_predictors[0][0].binned_left_cat_bitsets": first(0)}
    ),
    "hgb.bitset_row_too_narrow": Case(histogram, {"_predictors[0][0].raw_left_cat_bitsets": columns(1)}),
    "hgb.is_categorical_mask_short": Case(histogram, {"_bin_mapper.is_categorical_": first(1)}),
    "hgb.category_value_too_large": Case(histogram, {"_bin_mapper.bin_thresholds_[0]": lambda old: np.append(old[:-1], 300.0)}),
    "hgb.n_trees_per_iteration_mismatch": Case(histogram, {"_predictors[0]": lambda old: [*old, *old]}),
    "kdtree.radius_ranges_repeat": Case(kd_tree, {"node_data": repeated_ranges}),
    "metric.float32_metric_in_float64_tree": Case(ball_tree, {"dist_metric": lambda _: DistanceMetric.get_metric("euclidean", dtype=np.float32)}),
    "metric.abstract_base_class": Case(
        ball_tree, {"dist_metric.__args__[0]": lambda old: old.__mro__[1]}, PolicyError, "_dist_metrics:newObj: with arguments"
    ),
    "knn.labels_out_of_range": Case(neighbours_by_tree, {"_y[0]": FAR}),
    "knn.labels_just_out_of_range": Case(neighbours_by_tree, {"_y[0]": 3}),
    "knn.labels_array_too_short": Case(neighbours_by_tree, {"_y": first(1)}),
    "kmeans.centers_too_narrow": Case(k_means, {"cluster_centers_": columns(1)}),
    "bisecting_kmeans.tree_cycle": Case(k_means_bisecting, {"_bisecting_tree": cyclic}),
    "svc.support_vectors_too_narrow": Case(svc, {"support_vectors_": columns(1)}),
    "hasher.n_features_negative": Case(FeatureHasher, {"n_features": -4}),
    "sparse.csr_float_indices": Case(csr, {"indices": lambda old: old.astype(float)}),
    "sparse.csr_object_data": Case(csr, {"data": lambda old: old.astype(object)}),
    "sparse.coo_coords_shorter_than_data": Case(coo, {"coords[0]": first(1), "coords[1]": first(1)}),
    "sparse.dia_offsets_out_of_range": Case(dia, {"offsets[0]": -AWAY}),
    "sparse.dok_key_out_of_range": Case(dok, {"_dict": lambda old: {**old, (np.int32(0), np.int32(AWAY)): np.float64(1)}}),
    "ckdtree.empty_tree_at_load": Case(point_tree, {"nodes": first(0)}, StateError, "the bytes of whole nodes"),
    "bspline.knots_unsorted": Case(spline, {"t": lambda old: old[::-1].copy()}),
    "numpy.mt19937_pos_just_out_of_range": Case(mersenne_twister, {"state.state.pos": 625}, PolicyError, "its 'pos' is not from 0 to 624"),
    "numpy.mt19937_key_too_short": Case(mersenne_twister, {"state.state.key": first(3)}, StateError, "its shape must be (624,)"),
    "numpy.philox_buffer_pos_negative": Case(philox, {"state.buffer_pos": -5}, PolicyError, "its 'buffer_pos' is not from 0 to 4"),
    "numpy.randomstate_without_init": Written(
        New("numpy.random.mtrand:RandomState"),
        Call("numpy.random._pickle:__randomstate_ctor", "MT19937"),
        PolicyError,
        "makes an instance of numpy.random.mtrand:RandomState",
    ),
    "numpy.generator_without_init": Written(
        New("numpy.random._generator:Generator"),
        Call("numpy.random._pickle:__generator_ctor", "PCG64"),
        PolicyError,
        "makes an instance of numpy.random._generator:Generator",
    ),
    "numpy.bitgenerator_without_init": Written(
        New("numpy.random.bit_generator:BitGenerator"),
        Call("numpy.random._pickle:__generator_ctor", "PCG64"),
        PolicyError,
        "makes an instance of numpy.random.bit_generator:BitGenerator",
    ),
    "numpy.masked_array_mask_length": Case(masked, {"__state__[5]": b"\0"}, PolicyError, "_mareconstruct"),
    "pandas.block_placement_out_of_range": Case(
        frame, {"_mgr.__args__[0][0].__args__[1]": lambda _: slice(0, 2000, 1)}, StateError, "its columns must be of 2"
    ),
    "pandas.block_values_fewer_rows_than_placement": Case(frame, {"_mgr.__args__[0][0].__args__[0]": first(1)}),
    "pandas.block_values_shorter_than_index": Case(
        frame, {"_mgr.__args__[0][0].__args__[0]": columns(1)}, StateError, "its values must be an array of shape (2, 3)"
    ),
    "pandas.block_ndim_wrong": Case(frame, {"_mgr.__args__[0][0].__args__[2]": 7}, StateError, "it must have two dimensions"),
    "pandas.categorical_codes_out_of_range": Case(categories, {"__state__[1][0]": 120}),
    "pandas.categorical_codes_negative": Case(categories, {"__state__[1][0]": -100}),
    "pandas.categorical_codes_value_counts": Case(categories, {"__state__[1][2]": 120}),
    "pandas.sparse_values_shorter_than_index": Case(sparse_array, {"_sparse_values": first(1)}),
    "pandas.sparse_index_out_of_range": Case(sparse_array, {"_sparse_index.__args__[1][0]": AWAY}, StateError, "each number must be from 0 to 3"),
    "pandas.masked_array_mask_short": Case(lambda: pd.array([1, None, 3], dtype="Int64"), {"_mask": first(1)}),
    "pandas.rangeindex_step_zero": Case(lambda: pd.RangeIndex(3), {"__args__[1].step": 0}, StateError, "it must not be 0"),
    "pandas.period_bad_freq_code": Case(lambda: pd.Period("2020", "M"), {"__args__[1]": -12345}, PolicyError, "Period"),
    "pandas.ndarraybacked_no_state": Case(categories, {"__state__": None}, PolicyError, "without the state that it needs"),
    "pandas.frame_without_manager": Case(frame, {"__state__": None}, PolicyError, "without the state that it needs"),
    "py.n_jobs_huge": Case(forest, {"n_jobs": 2**28}),
    "linear.intercept_broadcasts_output_shape": Case(logistic, {"intercept_": np.zeros((100, 1, 1))}),
}

ELSEWHERE = {
    "lightgbm.n_jobs_huge": "py.n_jobs_huge",
    "tree.node_dtype_offsets_out_of_range": "dtype with a field beyond the item",
    "tree.no_state": "tree without state",
    "tree.state_applied_twice": "tree with two states",
    "kdtree.no_state": "KDTree without state",
    "ckdtree.child_out_of_range_at_load": "cKDTree with a child out of range",
    "ckdtree.child_cycle_at_load": "cKDTree with a cycle",
    "ckdtree.leaf_range_out_of_range": "cKDTree with points that are not there",
    "ckdtree.no_state": "cKDTree without state",
    "stats.distribution_template_runs_code_at_load": "distribution with code in its template",
    "numpy.object_dtype_flags_cleared": "dtype O8 with flags 0",
    "numpy.object_field_flags_cleared": "objects in a field out of bytes",
    "numpy.object_subarray_flags_cleared": "objects in a subarray out of bytes",
    "numpy.object_dtype_flags_cleared_frombuffer": "objects out of bytes",
    "numpy.object_dtype_flags_cleared_scalar": "scalar of an object",
    "numpy.field_offset_out_of_range": "dtype with a field beyond the item",
    "numpy.field_offset_just_out_of_range": "described field beyond the item",
    "numpy.field_offset_negative": "described field at a negative offset",
    "numpy.subarray_larger_than_itemsize": "dtype of a huge subarray",
    "numpy.fields_value_not_a_tuple": "described field that is no dtype",
    "numpy.names_missing_from_fields": "described names that differ in number",
    "numpy.string_itemsize_negative": "dtype with a negative size",
    "numpy.unicode_itemsize_not_multiple_of_4": "dtype call with a state",
    "numpy.alignment_zero": "dtype call with a state",
    "numpy.object_list_shorter_than_shape": "objects fewer than the shape",
    "numpy.object_dtype_only_list_flag": "dtype call with a state",
    "numpy.numeric_dtype_claims_refcount": "dtype call with a state",
    "numpy.datetime_metadata_zero": "dtype call with a state",
    "numpy.datetime_metadata_negative": "dtype call with a state",
    "numpy.datetime_metadata_bad_unit": "dtype call with a state",
    "numpy.shape_larger_than_data": "numbers fewer than the shape",
    "numpy.shape_negative": "array of a negative shape",
    "numpy.reconstruct_uninitialised": "_reconstruct without state",
    "numpy.reconstruct_huge": "_reconstruct of a huge array",
    "numpy.stringdtype_list_shorter_than_shape": "a text array with fewer items",
    "numpy.array_interface_in_instance_dict": "state that sets __array_interface__",
    "numpy.array_interface_in_bunch": "dunder items of a Bunch, among others",
    "py.method_shadowed_by_instance_attribute": "state that replaces predict",
    "py.slot_state_swaps_class": "slot state that sets __class__",
    "py.setstate_shadowed": "state that sets __setstate__",
    "py.old_ufunc_reconstruct_imports_anything": "numpy.core:_ufunc_reconstruct",
    "py.defaultdict_factory_is_called": "defaultdict of a hostile factory",
    "pickle.nested_tuple_as_dict_key": "deep key",
    "pickle.shared_tuple_as_dict_key_exponential_hash": "exponential key of a dict",
    "pickle.memo_index_huge": "LONG_BINPUT with a huge index",
    "pickle.bytearray8_huge_length": "BYTEARRAY8 of 2**40 bytes",
    "pickle.frame_huge_length": "frame of 2**63 bytes",
    "pickle.bytes8_huge_length": "BINBYTES8 of 2**40 bytes",
    "pickle.list_append_to_array_object": "append to an array",
    "freeze.kdtree_index_array_changed_after_build": "items of an array, after its use",
    "freeze.csr_index_array_changed_after_build": "items of an array, after its use",
    "freeze.dtype_fields_dict_changed_after_build": "a dict within the arguments changed after a call",
}
"""The attack of `test_hostile_programs.py`, or the case above, that is the same malformation."""

_NATIVE = "native blob, see SECURITY.md"
_RAISES = "the library compares the shapes itself, in Python, and raises at the first call"
NOT_REFUSED = {
    **dict.fromkeys(
        (
            *("xgboost.child_out_of_range", "xgboost.child_cycle", "xgboost.split_index_out_of_range", "xgboost.nthread_huge_in_config"),
            *("xgboost.num_feature_smaller_than_splits", "xgboost.buffer_truncated", "xgboost.buffer_empty", "xgboost.buffer_deeply_nested"),
            *("xgboost.booster_without_state", "lightgbm.child_out_of_range", "lightgbm.leaf_out_of_range", "lightgbm.child_cycle"),
            *("lightgbm.split_feature_out_of_range", "lightgbm.num_leaves_larger_than_arrays", "lightgbm.num_leaves_negative"),
            *("lightgbm.num_leaves_huge", "lightgbm.num_class_huge", "lightgbm.max_feature_idx_huge", "lightgbm.tree_sizes_wrong_aborts_at_load"),
            *("lightgbm.tree_sizes_huge", "lightgbm.arrays_shorter_than_num_leaves", "lightgbm.tree_line_without_equals_sign"),
            *("lightgbm.model_truncated", "lightgbm.categorical_threshold_out_of_range"),
        ),
        _NATIVE,
    ),
    **dict.fromkeys(
        (
            *("iforest.path_length_arrays_short", "tfidf.idf_too_short", "ppoly.coefficients_shape_mismatch", "rbf.coeffs_shape_mismatch"),
            *("kde_scipy.covariance_shape_mismatch", "linear.coef_too_narrow", "linear.intercept_shape", "linear.classes_too_short"),
            "ordinal.categories_not_matching_columns",
        ),
        _RAISES,
    ),
    "svc.prob_arrays_empty": "empty arrays are what a model without probabilities has; `predict_proba` raises",
    "countvec.token_pattern_redos": "a token pattern is a regular expression of the user's own, and none can be told to be fast",
    "sparse.csr_sorted_flag_lies": "scipy looks whether indices ascend where a wrong flag would harm, and else only the answer is wrong",
    "linear.coef_is_nan": "NaN is a number like any other: what a model predicts is not judged",
    "pickle.datetime_fields_out_of_range": "a date with impossible fields is a Python object, which raises when it is used",
    "py.deeply_nested_pipeline": "a pipeline that is nested too deep raises when it is called; `Limits` bounds how deep a file nests",
    "py.pre_dispatch_expression": "joblib evaluates it as arithmetic on small numbers only, and raises otherwise",
}
"""What loads, and why: one sentence each, the same as in SECURITY.md."""

APPENDIX = """
tree: child_far_out_of_range child_just_out_of_range child_negative child_cycle only_left_is_leaf_marker_missing
    shared_child_dag_exponential feature_far_out_of_range feature_just_out_of_range feature_minus_two_on_split
    feature_oob_write_importances feature_oob_sparse_input n_features_larger_than_estimator forest_member_wider_than_forest
    max_depth_too_small max_depth_negative max_depth_huge node_count_negative node_count_zero node_count_smaller_than_nodes
    empty_nodes node_dtype_offsets_out_of_range no_state state_applied_twice value_columns_mismatch_estimator
    n_classes_attr_mismatch partial_dependence_cycle_writes_stack
gb: member_tree_is_none more_columns_than_outputs child_out_of_range
iforest: path_length_arrays_short
hgb: left_right_out_of_range right_just_out_of_range cycle feature_idx_out_of_range bitset_idx_out_of_range
    categorical_node_without_bitsets bitset_row_too_narrow empty_nodes is_categorical_mask_short is_categorical_mask_empty
    category_value_too_large partial_dependence_cycle_writes_stack n_trees_per_iteration_mismatch
kdtree: idx_array_out_of_range idx_array_off_by_a_little idx_array_shorter_than_data node_range_out_of_range node_never_leaf
    node_bounds_too_small data_smaller_than_index no_state metric_is_none leaf_size_zero_breadth_first radius_ranges_repeat
balltree: idx_array_out_of_range idx_array_off_by_a_little idx_array_shorter_than_data node_range_out_of_range
    node_never_leaf node_bounds_too_small data_smaller_than_index no_state metric_is_none leaf_size_zero_breadth_first
kde: sample_weight_short
metric: mahalanobis_matrix_too_small seuclidean_vector_too_short float32_metric_in_float64_tree abstract_base_class
knn: labels_out_of_range labels_just_out_of_range labels_array_too_short fit_X_too_narrow classmode_labels_out_of_range
    classmode_labels_just_out_of_range classmode_labels_array_too_short classmode_fit_X_longer_than_labels fit_X_empty
    radius_classmode_labels_out_of_range radius_labels_out_of_range sparse_fit_X_indices_out_of_range
    sparse_fit_X_indptr_out_of_range
kmeans: centers_too_narrow centers_too_wide n_threads_huge n_threads_negative minibatch_counts_too_short
hdbscan: linkage_node_out_of_range
agglomeration: labels_out_of_range
bisecting_kmeans: tree_cycle
svc: n_support_negative_but_sum_ok n_support_too_many_classes support_vectors_empty_skips_own_check dual_coef_empty
    oneclass_n_support_short intercept_too_short dual_coef_too_few_rows support_vectors_too_narrow
    support_longer_than_vectors precomputed_support_index_out_of_range sparse_vectors_indptr_out_of_range
    sparse_n_support_sum_wrong prob_arrays_empty
countvec: vocabulary_index_out_of_range vocabulary_index_negative vocabulary_toarray_write token_pattern_redos
    input_filename_reads_files
dictvec: vocabulary_out_of_range_dense_output
hasher: n_features_zero n_features_negative
hashing_vectorizer: n_features_zero
tfidf: idf_too_short
sparse: csr_indices_out_of_range csr_indices_negative csr_indices_just_out_of_range csr_indices_toarray_write
    csr_indptr_out_of_range csr_indptr_decreasing csr_indptr_too_short csr_data_shorter_than_indices
    csr_shape_smaller_than_content csr_shape_more_rows_than_indptr csr_float_indices csr_object_data csr_sorted_flag_lies
    csc_indices_write_in_tocsr coo_row_write_in_tocsr coo_row_write_in_toarray coo_coords_shorter_than_data
    bsr_indices_out_of_range bsr_indptr_out_of_range dia_offsets_out_of_range dia_more_offsets_than_data_rows
    lil_column_out_of_range lil_rows_array_shorter_than_shape dok_key_out_of_range model_coef_indices_out_of_range
    random_projection_components
ckdtree: child_out_of_range_at_load child_cycle_at_load empty_tree_at_load indices_out_of_range leaf_range_out_of_range
    data_smaller_than_n split_dim_out_of_range m_larger_than_data data_object_dtype no_state
kdtree_scipy: child_out_of_range_at_load
newobj: qhull_handle_without_init union_find_without_init sequential_dataset_without_init
bspline: coefficients_too_short degree_huge degree_negative knots_unsorted knots_empty
splinetransformer: bspline_coefficients_too_short
ppoly: coefficients_shape_mismatch
rgi: values_smaller_than_grid
ndbspline: index_table_out_of_range
univariatespline: degree_huge
interp1d: cubic_degree_huge
delaunay: neighbors_out_of_range simplices_out_of_range
linearnd: simplices_out_of_range
rbf: coeffs_shape_mismatch
kde_scipy: covariance_shape_mismatch
stats: distribution_template_runs_code_at_load
numpy: object_dtype_flags_cleared object_field_flags_cleared object_subarray_flags_cleared
    object_dtype_flags_cleared_frombuffer object_dtype_flags_cleared_scalar field_offset_out_of_range
    field_offset_just_out_of_range field_offset_negative subarray_larger_than_itemsize fields_value_not_a_tuple
    names_missing_from_fields string_itemsize_negative unicode_itemsize_not_multiple_of_4 alignment_zero
    object_list_shorter_than_shape object_dtype_only_list_flag numeric_dtype_claims_refcount datetime_metadata_zero
    datetime_metadata_negative datetime_metadata_bad_unit shape_larger_than_data shape_negative reconstruct_uninitialised
    reconstruct_huge array_state_applied_twice_under_a_view stringdtype_list_shorter_than_shape
    as_strided_under_a_prefix_allow_list mt19937_pos_out_of_range mt19937_pos_just_out_of_range
    mt19937_key_all_zero_never_returns mt19937_zero_key_inside_a_model mt19937_key_too_short philox_buffer_pos_negative
    randomstate_without_init generator_without_init bitgenerator_without_init array_interface_in_instance_dict
    array_interface_in_bunch masked_array_mask_length
pandas: block_placement_out_of_range block_placement_negative_array block_values_fewer_rows_than_placement
    block_values_shorter_than_index block_ndim_wrong categorical_codes_out_of_range categorical_codes_negative
    categorical_codes_value_counts frame_with_bad_categorical_values multiindex_codes_out_of_range
    sparse_values_shorter_than_index sparse_index_out_of_range masked_array_mask_short rangeindex_step_zero
    period_bad_freq_code ndarraybacked_no_state frame_without_manager
xgboost: child_out_of_range child_cycle split_index_out_of_range nthread_huge_in_config num_feature_smaller_than_splits
    buffer_truncated buffer_empty buffer_deeply_nested booster_without_state
lightgbm: n_jobs_huge child_out_of_range leaf_out_of_range child_cycle split_feature_out_of_range
    num_leaves_larger_than_arrays num_leaves_negative num_leaves_huge num_class_huge max_feature_idx_huge
    tree_sizes_wrong_aborts_at_load tree_sizes_huge arrays_shorter_than_num_leaves tree_line_without_equals_sign
    model_truncated categorical_threshold_out_of_range
linear: coef_too_narrow intercept_shape intercept_broadcasts_output_shape classes_too_short coef_is_nan
sgd: averaged_standard_coef_too_narrow averaged_standard_coef_too_narrow_multiclass
onehot: n_features_outs_too_small
ordinal: categories_not_matching_columns
multilabel: cached_dict_out_of_range
polyfeatures: output_count_huge
py: method_shadowed_by_instance_attribute slot_state_swaps_class setstate_shadowed old_ufunc_reconstruct_imports_anything
    scoring_monitor_opens_socket_at_load functiontransformer_with_side_effect n_jobs_huge self_referential_pipeline
    deeply_nested_pipeline doc_link_template_html callable_metric_in_balltree pre_dispatch_expression
    defaultdict_factory_is_called
pickle: nested_tuple_as_dict_key shared_tuple_as_dict_key_exponential_hash memo_index_huge bytearray8_huge_length
    frame_huge_length bytes8_huge_length datetime_fields_out_of_range list_append_to_array_object
freeze: kdtree_index_array_changed_after_build csr_index_array_changed_after_build dtype_fields_dict_changed_after_build
"""


def appendix() -> list[str]:
    family, names = "", []
    for word in APPENDIX.split():
        if word.endswith(":"):
            family = word.removesuffix(":")
        else:
            names.append(f"{family}.{word}")
    return names


CASES: dict[str, Row] = MUST | SHOULD


# --- tests -------------------------------------------------------------------------------------------------------


def test_every_case_of_the_study_is_in_exactly_one_table() -> None:
    """A case that is in no table is one that nobody decided about."""
    names = appendix()
    assert len(names) == len(set(names)) == 286
    tables = [name for table in (MUST, SHOULD, ELSEWHERE, NOT_REFUSED) for name in table]
    assert sorted(tables) == sorted(names)


def test_what_is_said_to_be_tested_elsewhere_is() -> None:
    """A row of the other table that was renamed or dropped would leave its case untested."""
    assert not set(ELSEWHERE.values()) - ATTACKS.keys() - CASES.keys()


@pytest.mark.parametrize("name", MUST)
def test_what_would_harm_the_process_is_refused(name) -> None:
    """Promise: no signed file makes compiled code read or write what is not the object's, or run for ever, at the first call."""
    is_refused(MUST[name])


@pytest.mark.parametrize("name", SHOULD)
def test_what_cannot_be_right_is_refused(name) -> None:
    """Promise: what breaks a rule is refused even where the library would still raise, or stay silent and be wrong."""
    is_refused(SHOULD[name])


def is_refused(case: Row) -> None:
    data = case.sealed(hostile=True)
    start = time.process_time()
    with pytest.raises(SafePickleError) as caught:
        loads(data, key=KEY)
    assert time.process_time() - start < SECONDS
    assert caught.type is case.error
    assert re.search(case.pattern(), str(caught.value))


@pytest.mark.parametrize("name", CASES)
def test_without_the_edit_the_same_object_loads(name) -> None:
    """A case that is refused for how it was made would say nothing about what was edited."""
    benign = CASES[name].sealed(hostile=False)
    assert benign != CASES[name].sealed(hostile=True)
    loads(benign, key=KEY, allow=CASES[name].allow)
