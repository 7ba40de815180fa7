"""A reviewer's attacks on the checks of state, each genuinely signed, under the default policy.

Files that loaded, or never ended loading, until it was mended; the docstring says what happened when they were used.
And the attempts that held: what they tried, and what stopped them.

Everything is loaded, and used, in a forked child with a limit of time and memory.
"""

import copyreg
import functools
import gc
import os
import resource
import signal
import sys
import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from assembler import KEY, Call, Do, New, program, seal
from attacks.test_malformed_states import _TREE, MIXED, PARITY, Twin
from attacks.test_review import Reduced
from pandas.core.indexes.base import _new_Index
from scipy.interpolate import make_interp_spline
from scipy.spatial import Delaunay
from scipy.spatial.transform import Rotation
from sklearn import cluster, decomposition, dummy, ensemble, kernel_ridge, multiclass, naive_bayes, neighbors, preprocessing
from sklearn.datasets import load_iris
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, Exponentiation, Sum
from sklearn.impute import SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics._scorer import _PassthroughScorer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer, MultiLabelBinarizer, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.tree._tree import Tree
from sklearn.utils import Bunch, check_array

from safepickle import LimitError, PolicyError, ProgramError, SafePickleError, checks, dumps, loads
from safepickle.pickling import pickled

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, Y = load_iris(return_X_y=True)


def sealed(obj):
    """A signed file of an object as `dump` would write it, but for the checks of `dump`."""
    return seal(*pickled(obj))


def raw(cls, state):
    """An instance of a class with this state."""
    return Reduced(copyreg.__newobj__, (cls,), state)


def outcome(data, seconds=10, use=None):
    """What `loads` does with a file, in a child: 'refused', 'loaded', 'raised <type>', or the signal that ended it (SIGALRM is a hang).

    With `use`, called with what was loaded: 'used', or what it raised.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        said = "raised nothing"
        try:
            os.close(reader)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            # Of CPU time, so that a busy machine is no fault; the other is for what waits.
            signal.setitimer(signal.ITIMER_PROF, seconds)
            signal.alarm(60 * seconds)
            warnings.simplefilter("ignore")
            model = loads(data, key=KEY)
            said = "loaded"
            if use is not None:
                use(model)
                said = "used"
        except SafePickleError as error:
            said = f"refused {type(error).__name__}: {error}"[:500]
        except BaseException as error:
            said = f"raised {type(error).__name__}"
        finally:
            os.write(writer, said.encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        said = stream.read().decode()
    _, status = os.waitpid(child, 0)
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else said


def refused(data, seconds=10):
    said = outcome(data, seconds)
    assert said.startswith("refused"), said


def ends(data, seconds=10):
    """It is refused or loads, before long: what it holds is honest, and only looking at it over and over was not."""
    said = outcome(data, seconds)
    assert said.startswith(("refused", "loaded")), said


def survives(data, use, seconds=25):
    """It is refused, or loads and then answers or raises an exception of Python."""
    said = outcome(data, seconds, use)
    assert said.startswith(("refused", "used", "raised")), said


def bare(cls, **state):
    """An object of a class with exactly this state."""
    made = cls.__new__(cls)
    made.__dict__.update(state)
    return made


def boosting(kind=ensemble.GradientBoostingRegressor):
    return kind(n_estimators=2, max_depth=2).fit(X, Y)


def histogram():
    return ensemble.HistGradientBoostingClassifier(
        max_iter=2, categorical_features=[1], min_samples_leaf=5, early_stopping=False, random_state=0
    ).fit(MIXED, PARITY)


def wide_tree(n=1 << 24):
    """A `Tree` that agrees with itself: it has 2**24 features and looks at the last."""
    state = dict(DecisionTreeRegressor(max_depth=1).fit(X, Y).tree_.__getstate__())
    state["nodes"]["feature"][0] = n - 1
    tree = Tree(n, np.array([1]), 1)
    tree.__setstate__(state)
    return tree


# --- the load itself ------------------------------------------------------------------------------------------------


def nested_lists(width, depth):
    """Lists of `width` references to the same list, `depth` times."""

    def emit(asm, level=depth):
        asm.op("EMPTY_LIST").let(f"level {level}").op("MARK")
        if level:
            emit(asm, level - 1)
        for _ in range(width - bool(level)):
            asm.get(f"level {level - 1}") if level else asm.op("NONE")
        asm.op("APPENDS")

    return Do(emit)


@pytest.mark.parametrize("entry", ["estimators_", "kw_args", "stack_method_"])
def test_lists_that_share_lists_are_looked_at_once(entry):
    """15 kB took all memory, in `admit`: what an estimator holds was flattened three levels deep, 3000**3 items."""
    ends(seal(program(New("sklearn.preprocessing._data:StandardScaler", state={entry: nested_lists(3000, 2), "mean_": None}))))


@pytest.mark.parametrize("entry", ["estimators_", "kw_args", "stack_method_"])
@pytest.mark.parametrize("part", [None, (None,) * 4], ids=["atoms", "tuples"])
def test_many_estimators_that_share_one_list_are_looked_at_once(entry, part):
    """4,000 estimators of one list of 100,000 items: 400,000,000 were looked at."""
    value = {f"k{number}": part for number in range(100_000)} if entry == "kw_args" else [part] * 100_000
    ends(sealed([raw(preprocessing.StandardScaler, {entry: value}) for _ in range(4_000)]))


def test_a_dict_met_over_and_over_in_a_list_is_not_copied_each_time():
    """20,000 times the same dict of 100,000 entries: 2,000,000,000 entries were copied to look at them."""
    ends(sealed(raw(preprocessing.StandardScaler, {"estimators_": [dict.fromkeys(map(str, range(100_000)))] * 20_000})))


def test_one_text_as_many_labels_is_searched_once():
    """700 kB hung, in `admit`: 100,000 labels are the same 500 kB of bytes, and each was searched whole."""
    labels = np.empty(100_000, object)
    labels[:] = [b"x" * 500_000] * 100_000
    ends(sealed(Reduced(_new_Index, (pd.Index, {"data": labels, "name": None}))))


@pytest.mark.parametrize("label", ["__array_interface__", b"__array_interface__", np.str_("__array_interface__")], ids=["text", "bytes", "of numpy"])
@pytest.mark.parametrize("count", [1, 3])
def test_labels_that_are_names_of_an_array_are_refused_wherever_they_stand(label, count):
    """What is remembered must not hide what stands behind it: a Series would answer numpy with memory of the file's choice."""
    labels = np.empty(4, object)
    labels[:] = ["x", b"y", np.str_("z"), label]
    indices = [Reduced(_new_Index, (pd.Index, {"data": labels, "name": None})) for _ in range(count)]
    assert outcome(sealed(indices)).startswith("refused PolicyError"), "a label is a name under which numpy looks for memory"


def test_wide_lists_of_an_index_are_counted():
    """3,000 indices of one list of 100,000 names: 300,000,000 were looked at."""
    names = [None] * 100_000
    refused(sealed([Reduced(_new_Index, (pd.Index, {"names": names})) for _ in range(3_000)]))


@pytest.mark.parametrize("text", ["1/3", "1/0", "x", "1E", "--1", ""])
def test_text_that_is_no_number_is_refused_as_a_key(text):
    """decimal.InvalidOperation came out of `loads`: the text of a Fraction passed as one of a Decimal, and is computed as a key."""
    with pytest.raises(PolicyError, match="not the text of a number"):
        loads(seal(program({Call("decimal:Decimal", text): 1})), key=KEY)


@pytest.mark.parametrize("text", ["1/0", "1E9", "1.5", "NaN", "1/-3", "1/03"])
def test_text_that_no_fraction_has_is_refused(text):
    with pytest.raises(PolicyError, match="not the text of a number"):
        loads(seal(program(Call("fractions:Fraction", text))), key=KEY)


def test_numbers_as_text_still_load():
    values = {*map(Decimal, ("1", "-1.50", "1E+5", "1E-999", "Infinity")), *map(Fraction, ("1/3", "-7", "22/7"))}
    assert loads(dumps(values, key=KEY), key=KEY) == values


@pytest.mark.parametrize(
    ("raised", "error"), [(ZeroDivisionError("a check fails"), "PolicyError"), (RecursionError(), "LimitError"), (MemoryError(), "LimitError")]
)
def test_a_check_that_fails_refuses(raised, error, monkeypatch):
    """What a check did not expect came out of `loads` as it was; a caller who catches what we raise would have gone on."""

    def fail(made, findings):
        raise raised

    monkeypatch.setitem(checks.CHECKS, "number text", fail)
    with pytest.raises(SafePickleError) as caught:
        loads(seal(program(Call("decimal:Decimal", "1"))), key=KEY)
    assert type(caught.value).__name__ == error
    assert type(raised).__name__ in str(caught.value)


def reached(error):
    """Names of functions whose frames, or what these hold, lead from an error to an object of a library."""
    errors, names = [error], []
    for each in errors:
        errors += [inner for inner in (each.__cause__, each.__context__) if inner is not None]
        trace = each.__traceback__
        while trace:
            names.append(trace.tb_frame.f_code.co_name)
            trace = trace.tb_next
    return names


def test_no_half_built_object_is_within_reach_of_the_error():
    """`error.__cause__.__traceback__` led to the frames of `IsotonicRegression.__setstate__`, whose `self` is half built."""
    state = dict(IsotonicRegression().fit(X[:, 0], Y).__getstate__())
    del state["out_of_bounds"]
    data = sealed(raw(IsotonicRegression, state))
    del state
    gc.collect()
    before = sum(type(each) is IsotonicRegression for each in gc.get_objects())
    with pytest.raises(ProgramError, match=r"failed while the object was built \(AttributeError: .*out_of_bounds") as caught:
        loads(data, key=KEY)
    assert not {"__setstate__", "_build_f", "find_class"} & set(reached(caught.value))
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert sum(type(each) is IsotonicRegression for each in gc.get_objects()) == before


def test_no_tree_that_was_built_before_is_within_reach_of_the_error():
    """What watches the depth of trees holds them until all is built, and stood in the frame that raised."""
    isotonic = dict(IsotonicRegression().fit(X[:, 0], Y).__getstate__())
    del isotonic["out_of_bounds"]
    data = sealed([DecisionTreeRegressor(max_depth=1).fit(X, Y), raw(IsotonicRegression, isotonic)])
    with pytest.raises(ProgramError, match="failed while the object was built") as caught:
        loads(data, key=KEY)
    trace, held = caught.value.__traceback__, []
    while trace:
        if trace.tb_frame.f_code.co_name == "_build":
            held = sorted(trace.tb_frame.f_locals)
        trace = trace.tb_next
    assert held == ["buffers", "checked", "written"]


# --- memory, at predict and transform -----------------------------------------------------------------------------


def test_refused_boosting_link_is_a_bunch():
    """`GradientBoosting*.predict`: SIGSEGV (150 rows), `munmap_chunk(): invalid pointer` SIGABRT (300,000 rows). Heap WRITE.

    `_init_raw_predictions` returns `loss.link.link(predictions).reshape(-1, 1)`; a Bunch whose item `link` is `numpy:max` makes it
    (1, 1), and `predict_stages` writes `out[i, k]` for each row of X. Check: trees._check_gradient_boosting (or BaseLoss).
    """
    model = boosting()
    model._loss.link = Bunch(link=np.max)
    refused(sealed(model))


def test_refused_boosting_init_complement_naive_bayes():
    """`GradientBoostingClassifier.predict`: `malloc(): corrupted top size` SIGABRT. Heap WRITE.

    `ComplementNB.predict_proba` has as many columns as `feature_log_prob_` has rows (here 1), not as `classes_` (3).
    Check: trees._check_first_guess.
    """
    model = boosting(ensemble.GradientBoostingClassifier)
    model.init_ = naive_bayes.ComplementNB().fit(X, Y)
    model.init_.feature_log_prob_ = model.init_.feature_log_prob_[:1]
    refused(sealed(model))


def test_refused_boosting_init_tree_without_classes():
    """`GradientBoostingClassifier.predict`: SIGABRT. Heap WRITE: `predict_proba` is `proba[:, :n_classes_]`, and without `classes_` nobody
    compares `n_classes_`."""
    model = boosting(ensemble.GradientBoostingClassifier)
    model.init_ = DecisionTreeClassifier(max_depth=2).fit(X, Y)
    del model.init_.classes_
    model.init_.n_classes_ = 1
    refused(sealed(model))


def test_refused_boosting_init_histogram():
    """`GradientBoostingClassifier.predict`: `free(): invalid next size` SIGABRT. Heap WRITE: an HGB with three `classes_` and one tree per
    iteration predicts one column."""
    model = boosting(ensemble.GradientBoostingClassifier)
    model.init_ = init = ensemble.HistGradientBoostingClassifier(max_iter=1).fit(X, Y)
    init._predictors, init.n_trees_per_iteration_, init._baseline_prediction = [], 1, np.zeros((1, 1))
    refused(sealed(model))


def test_refused_boosting_init_neighbours_of_no_output():
    """`GradientBoostingRegressor.predict`: out is (n, 0) (strides 0, so no crash was seen): a WRITE of 8 bytes beyond an empty array."""
    model = boosting()
    model.init_ = neighbors.KNeighborsRegressor(1, algorithm="brute").fit(X, Y)
    model.init_._y = np.zeros((150, 0))
    refused(sealed(model))


@pytest.mark.parametrize("owner", ["voting", "bagging", "ada", "pipeline"])
def test_refused_tree_in_place_of_an_estimator(owner):
    """`predict`: SIGSEGV. A naked `Tree` has `predict(X)`, which takes any float32 array and looks at no width.

    VotingRegressor/BaggingRegressor/AdaBoostRegressor hand on X as it is; a FunctionTransformer(numpy:float32) before it makes any X float32.
    Check: an entry that holds estimators holds BaseEstimators; a Tree stands only as `tree_` of a BaseDecisionTree (policy `_estimator` or state).
    """
    stump = DecisionTreeRegressor(max_depth=1)
    if owner == "bagging":
        model = ensemble.BaggingRegressor(stump, 1).fit(X, Y)
    elif owner == "ada":
        model = ensemble.AdaBoostRegressor(stump, n_estimators=1).fit(X, Y)
    else:
        model = ensemble.VotingRegressor([("a", stump)]).fit(X, Y)
    model.estimators_ = [wide_tree()]
    refused(sealed(Pipeline([("cast", FunctionTransformer(np.float32)), ("model", model)]) if owner == "pipeline" else model))


def test_refused_kernel_object_over_a_function():
    """`SVC.decision_function`: SIGSEGV. `Sum(k1=check_array, k2=check_array)` is a sklearn Kernel and returns X + X, of 4 columns;
    libsvm reads column 2**28 - 1 of it. `_BaseLibSVM__Xfit` of shape (2**28, 0) costs no bytes.
    """
    model, n = SVC(kernel="linear").fit(X, Y), 1 << 28
    model.kernel = Sum(check_array, check_array)
    model.support_vectors_ = np.zeros((0, 0))
    model.support_ = np.full_like(model.support_, n - 1)
    model.shape_fit_ = (n, 4)
    model._BaseLibSVM__Xfit = np.zeros((n, 0))
    refused(sealed(model))


def test_refused_norms_of_neighbours():
    """`KNeighbors*.predict` / `kneighbors` by brute force: SIGSEGV (float32, 2**24 points). EuclideanArgKmin takes `Y_norm_squared` from
    `effective_metric_params_` and reads one for each point; also `RadiusNeighbors*`, LOF, Isomap.nbrs_ ...
    """
    model = neighbors.KNeighborsRegressor(1, algorithm="brute").fit(X, Y)
    model.effective_metric_ = "euclidean"
    model.effective_metric_params_ = {"Y_norm_squared": np.zeros(1)}
    refused(sealed(model))


def test_refused_sparse_class_as_function():
    """`FunctionTransformer.transform(X)` gives a CSC matrix of shape (1, 4) with row indices up to len(X): `.toarray()`, or a MaxAbsScaler behind it
    in a Pipeline, SIGSEGV. scipy compares only `indptr` with the shape that it is told. The same with csr/bsr and with `numpy:transpose` before.
    """
    refused(sealed(FunctionTransformer(sp.csc_matrix, kw_args={"shape": (1, 4)})))


def test_refused_one_vs_rest_over_multiclass():
    """`OneVsRestClassifier.predict` (multilabel): `corrupted double-linked list` SIGABRT. `_predict_binary` ravels `decision_function`: a member
    with 20,000 classes gives row numbers up to 20,000 * n for a CSC matrix of n rows, and `inverse_transform` makes it dense. WRITE far out of
    bounds.
    """
    many = LogisticRegression().fit(X, Y)
    many.classes_, many.coef_, many.intercept_ = np.arange(20_000), np.ones((20_000, 4)), np.ones(20_000)
    model = multiclass.OneVsRestClassifier(LogisticRegression()).fit(X, np.eye(3)[Y].astype(int))
    model.estimators_ = [many, many]
    model.label_binarizer_.classes_ = np.arange(2)
    refused(sealed(model))


def test_refused_graph_of_precomputed_neighbours():
    """`Pipeline.transform(X).toarray()`: SIGSEGV. PolynomialFeatures(25) makes 23,751 columns, csr_matrix (a function of the pipeline) a sparse
    "graph";
    a KNeighborsTransformer(metric="precomputed") of one point then makes a matrix of one column with indices up to 23,750.
    """
    graph = neighbors.KNeighborsTransformer(mode="connectivity", n_neighbors=1, metric="precomputed").fit(np.zeros((1, 1)))
    widen = preprocessing.PolynomialFeatures(25).fit(X)
    steps = [("square", FunctionTransformer(np.square)), ("wide", widen), ("graph", FunctionTransformer(sp.csr_matrix)), ("near", graph)]
    refused(sealed(Pipeline(steps)))


def test_refused_histogram_preprocessor_returns_a_constant():
    """`HistGradientBoosting*.predict`: SIGSEGV (with 2**23 columns). partial(check_array, A)(X) returns A, of one column, instead of the
    columns of X;
    predictors then read `numeric_data[row, feature_idx]`.
    """
    model = histogram()
    _, numeric, _ = model._preprocessor.transformers_[1]
    numeric.func = functools.partial(check_array, np.zeros((1, 1)), dtype=np.float64)
    refused(sealed(model))


def test_refused_histogram_preprocessor_weights_shrink():
    """`HistGradientBoosting*.predict` reads out of bounds (transformed shape is (120, 2), nodes read column 2): `res * weight` with a csr_matrix
    of shape (2, 1) is a matrix product.
    """
    model = histogram()
    model._preprocessor.transformer_weights = {"numerical": sp.csr_matrix(np.ones((2, 1)))}
    refused(sealed(model))


def test_refused_histogram_preprocessor_columns_of_a_frame():
    """`HistGradientBoosting*.predict(DataFrame)` reads out of bounds: for a frame, columns come from `_transformer_to_input_indices`, not
    `transformers_`."""
    frame = pd.DataFrame(MIXED, columns=list("abc"))
    model = ensemble.HistGradientBoostingClassifier(max_iter=2, categorical_features=["b"], min_samples_leaf=5, early_stopping=False).fit(
        frame, PARITY
    )
    model._preprocessor._transformer_to_input_indices["numerical"] = [0]
    refused(sealed(model))


def test_refused_out_keyword_changes_a_checked_array():
    """`FeatureUnion.transform`: SIGSEGV. The array that `np.sum(..., out=A, initial=10**12)` writes is the `idx_array` of the KDTree that is
    asked next:
    checked, then changed. Also through `partial(..., out=A)`, `cdist(out=)`, every ufunc.
    """
    near = neighbors.KNeighborsTransformer(n_neighbors=1, algorithm="kd_tree", mode="connectivity").fit(X[:4])
    twin = Twin(near._tree, _TREE)
    order = np.asarray(twin.state[1]).copy()
    twin.state = (twin.state[0], order, *twin.state[2:])
    near.__dict__["_tree"] = twin
    change = FunctionTransformer(np.sum, kw_args={"axis": 0, "dtype": np.int64, "out": order, "initial": 10**12})
    refused(sealed(FeatureUnion([("change", change), ("near", near)])))


def test_refused_constant_array_that_a_step_changes():
    """`FeatureUnion.transform`: SIGSEGV, without `out`. partial(check_array, A)(X) hands on A itself, atleast_2d a view of it, and
    SimpleImputer(copy=False, strategy="most_frequent") writes 10**15 into it; A is also the `idx_array` of the tree that is asked next.
    """
    near = neighbors.KNeighborsTransformer(n_neighbors=1, algorithm="kd_tree", mode="connectivity").fit(X[:4])
    twin = Twin(near._tree, _TREE)
    order = np.asarray(twin.state[1]).copy()
    twin.state = (twin.state[0], order, *twin.state[2:])
    near.__dict__["_tree"] = twin
    filler = SimpleImputer(missing_values=0, copy=False, strategy="most_frequent").fit(np.ones((2, 4), np.int64))
    filler.statistics_ = np.full(4, 10**15)
    constant = FunctionTransformer(functools.partial(check_array, order, ensure_2d=False, dtype=None))
    steps = Pipeline([("constant", constant), ("rows", FunctionTransformer(np.atleast_2d)), ("fill", filler)])
    refused(sealed(FeatureUnion([("change", steps), ("near", near)])))


@pytest.mark.parametrize("holder", ["matrix", "kernel ridge"])
def test_refused_index_arrays_are_one_array(holder):
    """`KernelRidge(kernel="laplacian").predict(sparse X)`: SIGSEGV; the bare matrix: SIGSEGV in `sum_duplicates(); tocsc()`. `indptr` *is* `indices`:
    valid for all checks, but `sum_duplicates` (called by manhattan_distances, in place, on X_fit_) rewrites indptr while it compresses indices.
    """
    n = 1 << 16
    both = np.zeros(n + 1, np.int32)
    both[n] = n + 1
    state = {**sp.csr_matrix((n, n + 2)).__dict__, "indptr": both, "indices": both, "data": np.ones(n + 1), "_shape": (n, n + 2)}
    matrix = raw(sp.csr_matrix, state)
    if holder == "matrix":
        refused(sealed(matrix))
        return
    model = kernel_ridge.KernelRidge(kernel="laplacian").fit(sp.csr_matrix(X), Y)
    model.X_fit_, model.n_features_in_ = matrix, n + 2
    refused(sealed(model))


def test_refused_threads_of_a_bin_mapper():
    """`_BinMapper.transform` (as a step of a Pipeline): SIGSEGV. Its parameter `n_threads` is none of `n_jobs`, `_n_threads`."""
    mapper = ensemble.HistGradientBoostingClassifier(max_iter=1).fit(X, Y)._bin_mapper
    mapper.n_threads = 1 << 20
    refused(sealed(Pipeline([("bins", mapper)])))


def test_refused_target_encoder_shows_memory():
    """`TargetEncoder.transform` returns heap contents: `np.empty((n, d * len(classes_)))`, of which only the columns of `encodings_` are filled."""
    model = preprocessing.TargetEncoder(target_type="multiclass", cv=2).fit(np.array([[1.0], [2.0]] * 30), np.arange(60) % 3)
    model.classes_ = np.arange(2000)
    refused(sealed(model))


# --- time and memory, at use ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["predict", "repr", "names", "list", "kernel"])
def test_refused_shared_parts_double_at_each_level(kind):
    """1 to 8 kB; hangs for ever in predict / repr / get_feature_names_out / repr / predict: each of 40 levels holds the one below twice.
    (`repr` of an estimator prints its parameters; a plain list of lists does.)
    """
    value = (
        []
        if kind == "list"
        else RBF()
        if kind == "kernel"
        else DecisionTreeRegressor(max_depth=1).fit(X, Y)
        if kind == "predict"
        else StandardScaler().fit(X)
    )
    for _ in range(40):
        if kind == "predict":
            value = bare(ensemble.VotingRegressor, estimators=[("a", "drop")], estimators_=[value, value], weights=None)
        elif kind == "repr":
            value = ensemble.VotingRegressor([("a", value), ("b", value)])
        elif kind == "names":
            value = FeatureUnion([("a", value), ("b", value)])
        else:
            value = [value, value] if kind == "list" else Sum(value, value)
    if kind == "list":
        value = StandardScaler(copy=value)
    if kind == "kernel":
        model = GaussianProcessRegressor(RBF()).fit(X[:10], Y[:10])
        model.kernel_ = value
        value = model
    refused(sealed(value))


@pytest.mark.parametrize("kind", ["lda", "nmf", "mini batch nmf", "dictionary"])
def test_refused_iterations_that_never_converge(kind):
    """`transform` of 150 rows: > 25 s (hours). 10**7 steps are within _MAX_STEPS, and a tolerance of -1 is never reached."""
    positive = np.abs(X)
    if kind == "lda":
        model = decomposition.LatentDirichletAllocation(3, max_iter=1).fit(positive)
        model.max_doc_update_iter, model.mean_change_tol = 10**7, -1.0
    elif kind == "nmf":
        model = decomposition.NMF(3, max_iter=1).fit(positive)
        model.max_iter, model.tol = 10**7, -1.0
    elif kind == "mini batch nmf":
        model = decomposition.MiniBatchNMF(3, max_iter=1).fit(positive)
        model.transform_max_iter = model._transform_max_iter = 10**7
        model.tol = model._tol = -1.0
    else:
        model = decomposition.DictionaryLearning(3, max_iter=1, transform_algorithm="lasso_cd").fit(X)
        model.transform_max_iter, model.transform_alpha = 10**7, 1e-300
    refused(sealed(model))


@pytest.mark.parametrize("kind", ["names out", "names in", "forest"])
def test_refused_size_as_an_array_of_no_dimension(kind):
    """`get_feature_names_out`: > 25 s and all memory; forest `predict_proba`: MemoryError, 18.8 TiB. `View.number` is None for a 0-d array
    (or an array of one), so no bound is asked, but `range()` and `np.zeros()` take it.
    """
    if kind == "forest":
        model = ensemble.RandomForestClassifier(1).fit(X, Y)
        model.n_classes_ = np.array([1 << 34])
    else:
        from sklearn.kernel_approximation import RBFSampler

        model = RBFSampler().fit(X) if kind == "names out" else StandardScaler().fit(X)
        setattr(model, "_n_features_out" if kind == "names out" else "n_features_in_", np.array(1 << 40))
    refused(sealed(model))


@pytest.mark.parametrize("kind", ["bagging", "dummy", "dummy regressor", "no bytes"])
def test_refused_counts_without_anything_behind_them(kind):
    """`predict_proba`/`predict` of 150 rows: 18.8 GiB (4.7 TiB for `no bytes`): 2**24 passes as "plenty", and is multiplied by the rows of X.
    An array of shape (2**32, 0) is of that length and takes no bytes.
    """
    if kind == "bagging":
        model = ensemble.BaggingClassifier(n_estimators=1).fit(X, Y)
        model.n_classes_ = 1 << 24
    elif kind == "dummy":
        model = dummy.DummyClassifier(strategy="uniform").fit(X, Y)
        model.n_classes_ = 1 << 24
    elif kind == "dummy regressor":
        model = dummy.DummyRegressor().fit(X, Y)
        model.n_outputs_ = 1 << 24
    else:
        model = multiclass.OneVsOneClassifier(LogisticRegression()).fit(X, Y)
        model.classes_ = np.zeros((1 << 32, 0))
    refused(sealed(model))


def test_refused_load_walks_each_estimator_anew():
    """234 kB: `loads` hangs: 800 estimators that scorers refer back to (so `early`), each walking the same 100,000 lists, in
    estimators._check_no_circle."""
    large, models = [[] for _ in range(100_000)], []
    for _ in range(800):
        scaler = StandardScaler()
        scaler.__dict__.update(a=bare(_PassthroughScorer, _estimator=scaler), large=large)
        models.append(scaler)
    refused(sealed(models))


@pytest.mark.parametrize("kind", ["forest", "vocabulary"])
def test_refused_load_checks_shared_parts_anew(kind):
    """127 kB / 745 kB: `loads` takes > 25 s / 21 s: 200 forests share one list of 60,000 trees; 1,500 vectorizers share one vocabulary of
    60,000 words."""
    if kind == "forest":
        trees = ensemble.RandomForestRegressor(1, max_depth=1).fit(X, Y).estimators_ * 60_000
        models = [bare(ensemble.RandomForestRegressor, estimators_=trees, n_features_in_=4, n_outputs_=1) for _ in range(200)]
    else:
        words = {f"w{number}": number for number in range(60_000)}
        models = [bare(CountVectorizer, vocabulary_=words) for _ in range(1500)]
    refused(sealed(models))


def test_refused_load_compares_tuples_that_double():
    """735 bytes: `loads` takes > 25 s: features._key rebuilds a tuple of 2**21 shared values for each of 60 classes (`tuple_nodes` allows 10**7
    each)."""
    value = (1,)
    for _ in range(21):
        value = (value, value)
    refused(sealed(bare(MultiLabelBinarizer, classes_=[value] * 60)))


# --- held ------------------------------------------------------------------------------------------------------------


def test_a_vectorizer_that_reads_files_is_refused():
    """`transform` would open the files that documents name."""
    model = CountVectorizer().fit(["root x bin bash"])
    model.input = "filename"
    refused(sealed(model))


def test_a_kernel_over_a_function_by_exponentiation_cannot_be_evaluated():
    """`Exponentiation` calls its kernel with `eval_gradient=`, which no allowed function takes: TypeError."""
    model, n = SVC(kernel="linear").fit(X, Y), 1 << 28
    model.kernel, model.support_vectors_, model.shape_fit_ = Exponentiation(check_array, 1.0), np.zeros((0, 0)), (n, 4)
    model.support_, model._BaseLibSVM__Xfit = np.full_like(model.support_, n - 1), np.zeros((n, 0))
    survives(sealed(model), lambda model: model.decision_function(X))


def test_a_naked_tree_as_the_last_step_of_a_pipeline_is_not_asked():
    """A `Tree` as the last step of a Pipeline: the tags are asked first, TypeError."""
    survives(sealed(Pipeline([("cast", FunctionTransformer(np.float32)), ("tree", wide_tree())])), lambda model: model.predict(X))


def test_children_of_uint64_that_would_wrap_around_are_refused():
    """In a batch with others, a child of uint64 near 2**64: the cast to int64 makes it negative, and it is refused before `left + base`."""
    state = dict(DecisionTreeRegressor(max_depth=2).fit(X, Y).tree_.__getstate__())
    nodes = state["nodes"]
    names = nodes.dtype.names
    formats = ["<u8" if name == "left_child" else nodes.dtype[name].str for name in names]
    offsets = [nodes.dtype.fields[name][1] for name in names]
    changed = np.zeros(len(nodes), np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": nodes.dtype.itemsize}))
    for name in names:
        changed[name] = nodes[name].astype(changed.dtype[name])
    changed["left_child"][0] = 2**64 - 5
    one = DecisionTreeRegressor(max_depth=2).fit(X, Y)
    one.__dict__["tree_"] = Reduced(Tree, (4, np.array([1]), 1), {**state, "nodes": changed})
    refused(sealed([DecisionTreeRegressor(max_depth=2).fit(X, Y), one]))


def test_categories_of_objects_out_of_order_lead_nowhere():
    """Unsorted numbers in an object array of categories would end behind the last in `searchsorted`; scikit-learn raises first (isnan of objects)."""
    model = preprocessing.OneHotEncoder(sparse_output=False).fit(np.array([[1.0], [2.0], [3.0]]))
    model.categories_ = [np.array([3.0, 1.0, 2.0], dtype=object)]
    survives(sealed(model), lambda model: model.transform(np.array([[3.0]] * 5)))


def test_a_delaunay_triangulation_is_refused_since_no_rule_names_it():
    """Delaunay, LinearND, NdBSpline: no rule. (_check_delaunay would take the width of `points` although `_points` is what is read.)"""
    refused(sealed(Delaunay(X[:20, :2])))


def test_a_linear_model_without_its_width_learns_nothing_of_another():
    """No `n_features_in_`, and validation switched off by `_parameter_constraints` in the state: `partial_fit` compares `coef_` itself and raises."""
    model = SGDClassifier(average=True).fit(X, Y)
    del model.__dict__["n_features_in_"]
    model.__dict__["_parameter_constraints"] = {}
    survives(sealed(model), lambda model: model.partial_fit(np.zeros((10, 1 << 16)), np.zeros(10, int)))


def test_an_isolation_forest_of_columns_that_are_not_there_raises():
    """`estimators_features_` index X by numpy, which raises; and each tree compares its own width even with check_input=False."""
    model = ensemble.IsolationForest(n_estimators=2, max_samples=16).fit(X)
    model.estimators_features_, model._max_features = [np.array([0, 1, 2, 2**40]), np.arange(4)], 3
    survives(sealed(model), lambda model: model.predict(X))


@pytest.mark.parametrize("kind", ["f4", "f2", "g", "c8"])
def test_a_spline_of_another_precision_raises(kind):
    """Coefficients of another precision than double: compiled code compares the dtype and raises ValueError."""
    spline = make_interp_spline(np.arange(12.0), np.arange(12.0) ** 2)
    shell = hasattr(spline, "_delegate_to")  # since scipy 1.18
    held = spline._delegate_to if shell else spline
    edited = raw(type(held), {**held.__dict__, "c" if shell else "_c": spline.c.astype(kind)})
    survives(sealed(raw(type(spline), (edited, np.empty(0))) if shell else edited), lambda spline: spline(np.linspace(0, 11, 5)))


@pytest.mark.parametrize(("quaternions", "single"), [(np.zeros((0, 4)), True), (np.zeros(4), False), (np.zeros((2, 3, 4)), True)])
def test_rotations_of_no_or_too_many_quaternions_raise(quaternions, single):
    """Rotations of no or too many quaternions: IndexError or ValueError."""
    survives(
        sealed(raw(Rotation, (quaternions, single))), lambda each: (each.as_matrix(), each.apply([1, 2, 3]), each.inv(), each.mean(), repr(each))
    )


@pytest.mark.parametrize("kind", ["int", "2d", "float"])
def test_arrays_of_text_of_pandas_over_other_things_raise(kind):
    """StringArray over integers, two dimensions or floats: Cython's buffers compare dtype and dimensions and raise."""
    values = {"int": np.array([1, 2**40]), "2d": np.array([["x", "x"]] * 2, dtype=object), "float": np.array([1.5, None], dtype=object)}[kind]
    function, args, state = pd.array(["a", "b"], dtype=pd.StringDtype("python")).__reduce__()[:3]
    survives(sealed(Reduced(function, args, (state[0], values, *state[2:]))), lambda array: (repr(array), array.isna(), array.unique()))


def test_arrays_of_objects_nested_deep_do_not_exhaust_the_stack():
    """1,600 object arrays within each other, as deep as Limits.nesting allows: freeing them does not exhaust the stack."""
    before, value = sys.getrecursionlimit(), None
    sys.setrecursionlimit(100_000)
    try:
        for _ in range(1600):
            outer = np.empty(1, object)
            outer[0] = value
            value = outer
        try:
            data = sealed(value)
        except LimitError:
            # Python 3.12 alone: what its C code may nest, no setting changes.
            assert sys.version_info[:2] == (3, 12)
            pytest.skip("the pickler of Python 3.12 does not write what is nested so deep")
        assert outcome(data, use=lambda value: value) == "used"
    finally:
        sys.setrecursionlimit(before)


def test_a_binarizer_function_with_classes_that_do_not_sort_raises():
    """`label_binarize` as a function with classes that sort wrongly: an index behind the last, which scipy refuses while it reorders columns."""
    function = FunctionTransformer(preprocessing.label_binarize, kw_args={"classes": [2**70, float("nan"), 1.0, 3.0, 2.0], "sparse_output": True})
    survives(sealed(function), lambda model: model.transform(np.array([[1.0], [3.0], [2.0]])).toarray())


def test_a_bisecting_tree_whose_children_are_one_is_refused():
    """A `_BisectingTree` whose two children are one object is refused."""
    model = cluster.BisectingKMeans(3, random_state=0).fit(X)
    model._bisecting_tree.left = model._bisecting_tree.right
    refused(sealed(model))
