"""What compiled code takes for granted of trees, boosting and neighbours is true of what loads, and all that is made honestly loads."""

import copy
import gc
import warnings

import numpy as np
import pytest
from assembler import KEY, seal
from sklearn import ensemble, neighbors
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier

from safepickle import Policy, StateError, dumps, loads, state
from safepickle.machine import trace
from safepickle.pickling import pickled, resolve
from safepickle.policy import admit

RNG = np.random.RandomState(0)
X = RNG.rand(300, 4)
Y = (RNG.rand(300) * 3).astype(int)


class Edited:
    """Stands for a compiled object while it is pickled, with another state."""

    def __init__(self, original, **entries):
        self.function, self.args, self.state = original.__reduce__()
        self.original = type(original)
        self.state = {**self.state, **entries}

    @property
    def __class__(self):
        return self.original

    def __reduce_ex__(self, protocol):
        return self.function, self.args, self.state


def nodes_of(tree, **fields):
    """Return the nodes of a tree, with some fields of some nodes set: `feature=(3, 99)` is node 3."""
    nodes = tree.__getstate__()["nodes"].copy()
    for name, (index, value) in fields.items():
        nodes[name][index] = value
    return nodes


def refused(model, where, **options):
    """Load the model from a genuinely signed file and return the text of the `StateError`."""
    with pytest.raises(StateError) as caught:
        loads(seal(*pickled(model)), key=KEY, **options)
    assert str(caught.value).startswith(where)
    return str(caught.value)


# --- trees ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large_tree():
    """A tree whose nodes take several blocks."""
    x = RNG.rand(120_000, 3)
    return DecisionTreeRegressor().fit(x, RNG.rand(120_000))


def test_a_tree_of_several_blocks_loads_and_a_fault_in_the_last_is_found(large_tree):
    """Blocks bound what checking takes, and must not hide what stands in a later one."""
    count = large_tree.tree_.node_count
    assert count > 3 * (1 << 16)
    assert loads(dumps(large_tree, key=KEY), key=KEY).tree_.node_count == count
    inner = int(np.flatnonzero(large_tree.tree_.children_left != -1)[-1])
    for fields in ({"feature": (inner, 3)}, {"feature": (inner, -1)}, {"left_child": (inner, count)}, {"right_child": (inner, inner)}):
        model = copy.copy(large_tree)
        model.tree_ = Edited(large_tree.tree_, nodes=nodes_of(large_tree.tree_, **fields))
        assert f"tree_.nodes[{inner}]" in refused(model, "$.tree_.nodes")


def test_a_child_of_two_parents_is_found_in_whatever_block_they_stand(large_tree):
    """A shared child makes a graph that takes exponential time to walk."""
    left = large_tree.tree_.children_left
    inner = np.flatnonzero(left != -1)
    other = int(left[inner[-1]])
    model = copy.copy(large_tree)
    model.tree_ = Edited(large_tree.tree_, nodes=nodes_of(large_tree.tree_, left_child=(int(inner[5]), other)))
    assert "child of one node" in refused(model, "$.tree_.nodes")


@pytest.mark.parametrize("member", [0, 17, 49])
def test_the_message_names_the_tree_of_a_forest(member):
    """Trees are checked together, and the refusal must still say which one it is."""
    forest = ensemble.RandomForestClassifier(50, random_state=0).fit(X, Y)
    tree = forest.estimators_[member]
    inner = int(np.flatnonzero(tree.tree_.children_left != -1)[-1])
    tree.tree_ = Edited(tree.tree_, nodes=nodes_of(tree.tree_, feature=(inner, 4)))
    text = refused(forest, f"$.estimators_[{member}].tree_.nodes[{inner}]: Tree:")
    assert "found 4" in text
    with pytest.raises(StateError, match="make the model anew"):
        dumps(forest, key=KEY)


def is_tree(nodes, width):
    """Tell in plain Python what the vectorised proof must tell of one tree."""
    parents = [0] * len(nodes)
    for place, (left, right, feature) in enumerate(nodes[["left_child", "right_child", "feature"]].tolist()):
        if left == -1:
            continue
        if not (place < left < len(nodes) and place < right < len(nodes) and 0 <= feature < width):
            return False
        parents[left] += 1
        parents[right] += 1
    return bool(len(nodes)) and parents[0] == 0 and all(each == 1 for each in parents[1:])


@pytest.mark.parametrize("seed", range(60))
def test_the_proof_over_many_trees_says_what_plain_python_says_of_each(seed, monkeypatch):
    """Small trees are joined, large ones cut: neither may hide a fault, move it to another tree, or make one up."""
    rng = np.random.default_rng(seed)
    monkeypatch.setattr(state.trees, "_BLOCK", int(rng.integers(4, 200)))
    monkeypatch.setattr(state.trees, "_LARGE", int(rng.integers(2, 100)))
    grown = ensemble.RandomForestClassifier(12, max_leaf_nodes=int(rng.integers(2, 30)), random_state=seed).fit(X, Y).estimators_
    nodes = [nodes_of(each.tree_) for each in grown]
    wide = np.dtype([(name, "i4" if name == "feature" else dtype) for name, (dtype, _) in nodes[0].dtype.fields.items()])
    nodes[3] = nodes[3].astype(wide)
    for _ in range(int(rng.integers(0, 3))):
        each = nodes[int(rng.integers(len(nodes)))]
        name = ("left_child", "right_child", "feature")[int(rng.integers(3))]
        each[name][int(rng.integers(len(each)))] = int(rng.choice([-5, -2, -1, 0, 1, 2, 3, 4, len(each) - 1, len(each), 1 << 30]))
    good = [is_tree(each, 4) for each in nodes]

    class Found(Exception):
        pass

    class Named:
        def __init__(self, number):
            self.number, self.np = number, np

        def fail(self, entry, invariant, found=None):
            raise Found(self.number)

    wrong = None
    try:
        state.trees._check_nodes([Named(number) for number in range(12)], nodes, [4] * 12, state.trees._tree_links)
    except Found as error:
        wrong = error.args[0]
    assert all(good) if wrong is None else not good[wrong]


def test_a_tree_deeper_than_it_says_is_refused_when_it_is_built():
    """`decision_path` writes as many indices for a row as the tree says that it is deep."""
    forest = ensemble.RandomForestClassifier(5, random_state=0).fit(X, Y)
    depth = forest.estimators_[3].tree_.max_depth
    forest.estimators_[3].tree_ = Edited(forest.estimators_[3].tree_, max_depth=depth - 1)
    assert f"it must be the depth of the tree, {depth}" in refused(forest, "$.estimators_[3].tree_.max_depth")


def test_nothing_of_a_refused_object_is_within_reach():
    """A caller who catches the error must not get at what was half built."""
    forest = ensemble.RandomForestClassifier(3, random_state=0).fit(X, Y)
    forest.estimators_[2].tree_ = Edited(forest.estimators_[2].tree_, max_depth=0)
    signed = seal(*pickled(forest))
    del forest
    gc.collect()
    before = sum(type(each).__name__ == "RandomForestClassifier" for each in gc.get_objects())
    try:
        loads(signed, key=KEY)
    except StateError as error:
        caught = error
    frame = caught.__traceback__
    while frame is not None:
        held = frame.tb_frame.f_locals.values()
        assert not any(type(value).__name__ == "RandomForestClassifier" for value in held)
        frame = frame.tb_next
    del frame, held
    caught.__traceback__ = None
    gc.collect()
    assert sum(type(each).__name__ == "RandomForestClassifier" for each in gc.get_objects()) == before


class Mine(DecisionTreeClassifier):
    """A user's own subclass is checked as its base is."""


def test_subclasses_are_checked_as_their_bases_are():
    """A rule by name alone would let a subclass through unchecked."""
    model = Mine(max_depth=2).fit(X, Y)
    assert (loads(dumps(model, key=KEY, allow=[Mine]), key=KEY, allow=[Mine]).predict(X) == model.predict(X)).all()
    model.n_features_in_ = 3
    refused(model, "$.n_features_in_: Mine:", allow=[Mine])


def test_a_tree_of_unknown_layout_is_refused_and_not_skipped():
    """A later release may change its records: what is not known is not checked, so it is not let through."""
    model = DecisionTreeClassifier(max_depth=2).fit(X, Y)
    nodes = nodes_of(model.tree_)
    renamed = nodes.astype([(name.replace("left_child", "left"), nodes.dtype[name]) for name in nodes.dtype.names])
    model.tree_ = Edited(model.tree_, nodes=renamed)
    assert "the fields left_child, right_child" in refused(model, "$.tree_.nodes")


HONEST_TREES = {
    "one leaf": lambda: DecisionTreeClassifier().fit(X, np.zeros(300)),
    "best first": lambda: DecisionTreeClassifier(max_leaf_nodes=17).fit(X, Y),
    "pruned": lambda: DecisionTreeRegressor(ccp_alpha=0.001).fit(X, Y),
    "two outputs": lambda: DecisionTreeClassifier().fit(X, np.c_[Y, Y % 2]),
    "classes of text": lambda: ExtraTreeClassifier().fit(X, np.array(["a", "b", "c"])[Y]),
    "missing values": lambda: DecisionTreeClassifier().fit(np.where(X > 0.9, np.nan, X), Y),
    "sparse": lambda: DecisionTreeClassifier().fit(__import__("scipy.sparse").sparse.csr_matrix(X), Y),
    "forest of two outputs": lambda: ensemble.RandomForestClassifier(3).fit(X, np.c_[Y, Y % 2]),
    "forest that goes on": lambda: ensemble.RandomForestRegressor(3, warm_start=True).fit(X, Y).set_params(n_estimators=5).fit(X, Y),
    "isolation forest of columns": lambda: ensemble.IsolationForest(n_estimators=5, max_features=2).fit(X),
    "bagging of columns": lambda: ensemble.BaggingClassifier(max_features=2).fit(X, Y),
    "embedding": lambda: ensemble.RandomTreesEmbedding(3).fit(X),
    "unfitted": lambda: ensemble.RandomForestClassifier(),
    "clone with a tree as parameter": lambda: ensemble.AdaBoostClassifier(DecisionTreeClassifier(max_depth=1)),
}


@pytest.mark.parametrize("name", HONEST_TREES)
def test_honest_trees_load(name):
    """A false refusal teaches people to switch the check off."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = HONEST_TREES[name]()
        loads(dumps(model, key=KEY), key=KEY)


# --- gradient boosting ------------------------------------------------------------------------------------------

FIRST_GUESSES = {
    "default": (ensemble.GradientBoostingClassifier, {}),
    "zero": (ensemble.GradientBoostingClassifier, {"init": "zero"}),
    "logistic": (ensemble.GradientBoostingClassifier, {"init": LogisticRegression()}),
    "forest": (ensemble.GradientBoostingClassifier, {"init": ensemble.RandomForestClassifier(3)}),
    "dummy": (ensemble.GradientBoostingClassifier, {"init": DummyClassifier(strategy="uniform")}),
    "neighbours": (ensemble.GradientBoostingClassifier, {"init": neighbors.KNeighborsClassifier()}),
    "linear": (ensemble.GradientBoostingRegressor, {"init": LinearRegression()}),
    "exponential": (ensemble.GradientBoostingClassifier, {"loss": "exponential"}),
    "quantile": (ensemble.GradientBoostingRegressor, {"loss": "quantile"}),
}


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", FIRST_GUESSES)
def test_gradient_boosting_loads_from_whatever_first_guess(name, classes):
    """`init` may be an estimator of any kind that predicts plainly."""
    cls, options = FIRST_GUESSES[name]
    if classes == 3 and name == "exponential":
        pytest.skip("this loss is for two classes")
    y = Y % classes
    model = cls(n_estimators=3, **options).fit(X, y)
    assert np.array_equal(loads(dumps(model, key=KEY), key=KEY).predict(X), model.predict(X))


def three_classes(**options):
    return ensemble.GradientBoostingClassifier(n_estimators=2, random_state=0, **options).fit(X, Y)


def fewer_prior_classes(model):
    model.init_.class_prior_ = model.init_.class_prior_[:2]


def two_class_guess(model):
    model.init_ = LogisticRegression().fit(X, Y % 2)


def guess_of_fewer_rows(model):
    model.init_ = make_pipeline(FunctionTransformer(np.sort), LogisticRegression()).fit(X, Y)


def other_loss(model):
    model._loss = ensemble.GradientBoostingRegressor(n_estimators=1).fit(X, Y)._loss


def tree_of_two_outputs(model):
    model.estimators_[1, 2] = DecisionTreeRegressor(max_depth=1).fit(X, np.c_[Y, Y])


@pytest.mark.parametrize(
    ("edit", "where"),
    [
        (fewer_prior_classes, "$.init_.class_prior_"),
        (two_class_guess, "$.init_.classes_"),
        (guess_of_fewer_rows, "$.init_"),
        (other_loss, "$._loss"),
        (tree_of_two_outputs, "$.estimators_[1, 2]"),
        (lambda model: setattr(model, "n_trees_per_iteration_", 2), "$.n_trees_per_iteration_"),
        (lambda model: setattr(model._loss, "is_multiclass", False), "$._loss"),
        (lambda model: setattr(model, "estimators_", model.estimators_[:, :0]), "$.estimators_"),
    ],
)
def test_gradient_boosting_adds_to_no_column_that_is_not_there(edit, where):
    """Compiled code writes to as many columns of the first guess as it has trees for."""
    model = three_classes()
    edit(model)
    refused(model, where)


# --- histogram gradient boosting --------------------------------------------------------------------------------


@pytest.fixture
def histogram():
    x = np.c_[X, RNG.randint(0, 5, 300)]
    return ensemble.HistGradientBoostingClassifier(max_iter=3, categorical_features=[4]).fit(x, Y)


def test_histogram_boosting_loads_with_and_without_categories(histogram):
    """Also after early stopping, when it holds a bound method of itself."""
    for model in (
        histogram,
        ensemble.HistGradientBoostingRegressor(max_iter=3).fit(X, Y),
        ensemble.HistGradientBoostingRegressor(max_iter=5, early_stopping=True, scoring="neg_mean_squared_error").fit(X, Y),
        ensemble.HistGradientBoostingClassifier(max_iter=3, warm_start=True).fit(X, Y),
    ):
        loads(dumps(model, key=KEY), key=KEY)


def drop_a_column(model):
    name, transformer, columns = model._preprocessor.transformers_[1]
    columns = np.asarray(columns).copy()
    columns[0] = False
    model._preprocessor.transformers_[1] = (name, transformer, columns)


def categories_gone(model):
    model._bin_mapper.is_categorical_ = np.zeros_like(model._bin_mapper.is_categorical_)


@pytest.mark.parametrize(
    ("edit", "where"),
    [
        (drop_a_column, "$._preprocessor.transformers_"),
        (categories_gone, "$._predictors"),
        (lambda model: setattr(model, "_in_fit", True), "$._in_fit"),
        (lambda model: setattr(model, "n_features_in_", 9), "$.n_features_in_"),
        (lambda model: setattr(model, "n_trees_per_iteration_", 1), "$._predictors[0]"),
        (lambda model: model._predictors.append([LinearRegression()] * 3), "$._predictors[3]"),
    ],
)
def test_histogram_boosting_and_its_parts_agree(histogram, edit, where):
    """Each predictor reads columns and bitsets that its owner makes."""
    edit(histogram)
    refused(histogram, where)


# --- neighbours -------------------------------------------------------------------------------------------------

METRICS = {
    "euclidean": {},
    "minkowski": {"p": 3},
    "seuclidean": {"metric_params": {"V": np.arange(1.0, 5)}},
    "mahalanobis": {"metric_params": {"VI": np.eye(4)}},
    "chebyshev": {},
    "hamming": {},
    "canberra": {},
}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("algorithm", ["kd_tree", "ball_tree", "brute"])
def test_neighbours_load_with_every_algorithm_and_metric(algorithm, metric):
    if algorithm == "kd_tree" and metric in {"seuclidean", "mahalanobis", "hamming", "canberra"}:
        pytest.skip("no k-d tree has this metric")
    for x in (X, X.astype(np.float32), (X * 9).astype(int)):
        model = neighbors.KNeighborsClassifier(algorithm=algorithm, metric=metric, leaf_size=3, **METRICS[metric]).fit(x, Y)
        assert np.array_equal(loads(dumps(model, key=KEY), key=KEY).predict(X), model.predict(X))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 31, 32, 33, 129])
@pytest.mark.parametrize("leaf_size", [1, 2, 40])
@pytest.mark.parametrize("cls", [neighbors.KDTree, neighbors.BallTree])
def test_trees_of_all_sizes_load(cls, leaf_size, n):
    """Small trees have levels that no point reaches; equal points make them lopsided."""
    for x in (X[:n], np.zeros((n, 2)), np.repeat(X[: (n + 1) // 2], 2, axis=0)[:n]):
        tree = cls(x, leaf_size=leaf_size)
        back = loads(dumps(tree, key=KEY), key=KEY)
        assert np.array_equal(back.query(x, 1)[0], tree.query(x, 1)[0])


def test_weights_and_functions_as_metrics_load():
    loads(dumps(neighbors.KernelDensity().fit(X, sample_weight=np.arange(1.0, 301)), key=KEY), key=KEY)
    multi = neighbors.KNeighborsClassifier().fit(X, np.c_[Y, Y % 2])
    assert np.array_equal(loads(dumps(multi, key=KEY), key=KEY).predict(X), multi.predict(X))
    labelled = neighbors.RadiusNeighborsClassifier(10, outlier_label="most_frequent").fit(X, np.array(["a", "b", "c"])[Y])
    loads(dumps(labelled, key=KEY), key=KEY)


# --- estimators -------------------------------------------------------------------------------------------------


def test_an_estimator_that_holds_itself_is_refused():
    """Each call would go round for ever, or double at every level."""
    model = ensemble.VotingRegressor([("a", LinearRegression()), ("b", LinearRegression())]).fit(X, Y)
    model.estimators_.append(model)
    refused(model, "$: VotingRegressor: an estimator must not be a part of itself")
    inner = StandardScaler().fit(X)
    inner.other = make_pipeline(inner)
    refused(inner, "$: StandardScaler:")


@pytest.mark.parametrize(
    ("entry", "value"),
    [("n_features_in_", 1 << 28), ("_n_features_out", 1 << 40), ("n_jobs", 1 << 20), ("n_jobs", -(1 << 28)), ("n_components", 1 << 30)],
)
def test_numbers_that_nothing_goes_with_are_refused(entry, value):
    """Names of columns and threads are made as many as a number says."""
    model = StandardScaler().fit(X)
    setattr(model, entry, value)
    refused(model, f"$.{entry}: StandardScaler:")


def test_names_of_columns_are_as_many_as_columns():
    pandas = pytest.importorskip("pandas")
    model = StandardScaler().fit(pandas.DataFrame(X, columns=list("abcd")))
    loads(dumps(model, key=KEY), key=KEY)
    model.feature_names_in_ = model.feature_names_in_[:3]
    refused(model, "$.n_features_in_: StandardScaler: it must be 3")


def test_many_columns_without_an_array_load():
    """A hashing vectorizer of 2**22 columns before a normalizer is honest, and its file is tiny."""
    model = StandardScaler(with_mean=False)
    model.n_features_in_ = 1 << 22
    loads(dumps(model, key=KEY), key=KEY)


# --- the stage --------------------------------------------------------------------------------------------------


def test_only_the_check_makes_its_proof():
    """Building needs the proof, so the step cannot be left out."""
    admitted = admit(trace(pickled([1])[0]), Policy.default())
    checked = state.check(admitted, resolve(admitted))
    assert type(checked) is state.Checked
    with pytest.raises(TypeError, match=r"only state\.check"):
        state.Checked(admitted, {}, ())


def test_what_a_check_does_not_expect_is_refused_like_what_it_does(monkeypatch):
    """A bug in a check fails closed, as a `StateError`."""
    from safepickle.state import estimators

    def broken(subject):
        raise ZeroDivisionError("a bug")

    monkeypatch.setitem(state._CHECKS, "sklearn:StandardScaler", (broken,))
    assert estimators.CHECKS
    with pytest.raises(StateError, match="no check knows"):
        loads(seal(*pickled(StandardScaler().fit(X))), key=KEY)


def test_checks_import_nothing():
    """A library that is not loaded has nothing to check; dumping plain data must not load numpy."""
    import subprocess
    import sys

    program = "import sys, safepickle\nkey = bytes(range(40))\nsafepickle.loads(safepickle.dumps({'a': [1]}, key=key), key=key)\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "safepickle.state.trees" in loaded
    assert not {"numpy", "scipy", "sklearn", "pandas"} & set(loaded)


def test_a_wide_forest_is_made_of_honest_blocks():
    """The benchmark's forest, smaller: nothing of it is refused, and predictions are those of before."""
    x, y = make_classification(500, 20, random_state=0)
    forest = ensemble.RandomForestClassifier(30, random_state=0).fit(x, y)
    assert np.array_equal(loads(dumps(forest, key=KEY), key=KEY).predict_proba(x), forest.predict_proba(x))
