"""Decision trees, forests, gradient boosting and histogram gradient boosting.

Compiled code follows child indices and reads columns of X by feature index without looking at any bound
(sklearn/tree/_tree.pyx, ensemble/_gradient_boosting.pyx, ensemble/_hist_gradient_boosting/_predictor.pyx). All builders
write a parent before its children, so the whole proof that nodes form a tree is one pass: both children of an inner node
come later, and every node but the root is the child of one node.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from safepickle.machine import Dict

from .view import Check, Subject

__all__ = ["BATCHES", "CHECKS", "check_depth", "depth_of"]

# Nodes looked at together: enough that calls of numpy cost little, few enough that what they make stays in the cache.
_BLOCK: Final = 1 << 14
# A tree of as many nodes is looked at alone.
_LARGE: Final = 1 << 10
# The fields of a node in the order in which scikit-learn has them, and of what type. Its state setters cast nodes of another dtype
# field by field in their order, whatever the names are, and to the width that it has: 256 becomes 0 in a byte.
_INTP: Final = ("i8", "i4")
_TREE_FIELDS: Final = {
    **dict.fromkeys(("left_child", "right_child", "feature"), _INTP),
    **dict.fromkeys(("threshold", "impurity"), ("f8",)),
    "n_node_samples": _INTP,
    "weighted_n_node_samples": ("f8",),
    "missing_go_to_left": ("u1",),
}
_PREDICTOR_FIELDS: Final = {
    "value": ("f8",),
    "count": ("u4",),
    "feature_idx": _INTP,
    "num_threshold": ("f8",),
    "missing_go_to_left": ("u1",),
    **dict.fromkeys(("left", "right"), ("u4",)),
    "gain": ("f8",),
    "depth": ("u4",),
    **dict.fromkeys(("is_leaf", "bin_threshold", "is_categorical"), ("u1",)),
    "bitset_idx": ("u4",),
}

Links = Callable[[Any], tuple[Any, Any, Any, Any]]
"""From an array of nodes to: which are inner, and of all nodes left child, right child and feature."""


def check_trees(trees: Sequence[Subject]) -> None:
    """Refuse a `Tree` whose nodes do not form one, or whose parts differ in size."""
    nodes, widths = [], []
    fitting: Any = None
    for tree in trees:
        n_features, _, n_outputs = tree.made.args
        each = tree.array("nodes", shape=(None,))
        count = len(each)
        tree.integer("node_count", count, count)
        tree.integer("max_depth", 0, count)
        counts = tree.view.counts(tree.made.args[1])
        if len(counts) != n_outputs or not counts or min(counts) < 1:
            tree.fail("n_classes", "each output must have a class", tree.view.array(tree.made.args[1]))
        tree.rows("values", "f8", (count, n_outputs, max(counts)))
        if each.dtype is not fitting:
            _require_fields(tree, each, _TREE_FIELDS)
            fitting = each.dtype
        nodes.append(each)
        widths.append(n_features)
    _check_nodes(trees, nodes, widths, _tree_links)


def _tree_links(nodes: Any) -> tuple[Any, Any, Any, Any]:
    # sklearn/tree/_tree.pyx: a node is a leaf if its left child is _TREE_LEAF, -1.
    left = nodes["left_child"]
    return left != -1, left, nodes["right_child"], nodes["feature"]


def check_predictors(predictors: Sequence[Subject]) -> None:
    """Refuse a `TreePredictor` of histogram gradient boosting whose nodes do not form a tree, or which lacks bitsets that nodes name.

    What its owner must have for it, `_check_hist_gradient_boosting` checks.
    """
    nodes, bitsets = [], []
    fitting: Any = None
    for predictor in predictors:
        each = predictor.array("nodes", shape=(None,))
        if each.dtype is not fitting:
            _require_fields(predictor, each, _PREDICTOR_FIELDS)
            fitting = each.dtype
        bits = predictor.rows("raw_left_cat_bitsets", "u4", (None, 8))
        predictor.rows("binned_left_cat_bitsets", "u4", (bits, 8))
        nodes.append(each)
        bitsets.append(bits)
    for chosen in _packs(nodes):
        if _together(nodes, chosen)["is_categorical"].any():
            for index in chosen:
                each = nodes[index]
                by_category = (each["is_categorical"] != 0) & (each["is_leaf"] == 0)
                predictors[index].within("nodes['bitset_idx']", each["bitset_idx"][by_category], 0, bitsets[index])
    # Its owner knows how many columns there are.
    _check_nodes(predictors, nodes, [1 << 31] * len(nodes), _predictor_links)


def _predictor_links(nodes: Any) -> tuple[Any, Any, Any, Any]:
    return nodes["is_leaf"] == 0, nodes["left"], nodes["right"], nodes["feature_idx"]


def _require_fields(subject: Subject, nodes: Any, wanted: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse nodes with other fields than scikit-learn writes. Byte order and padding may differ: a cast keeps what is checked."""
    if nodes.dtype.names != tuple(wanted):
        subject.fail("nodes", f"each node must have the fields {', '.join(wanted)}, in this order", nodes.dtype)
    for name, types in wanted.items():
        if nodes.dtype[name].str[1:] not in types:
            subject.fail("nodes", f"the type of {name} must be {' or '.join(types)}", nodes.dtype)


def _check_nodes(subjects: Sequence[Subject], nodes: Sequence[Any], widths: Sequence[int], links: Links) -> None:
    """Refuse nodes that do not form a tree, children after their parents, or that look at a column that is not there."""
    np = subjects[0].np
    for chosen in _packs(nodes):
        if len(chosen) == 1:
            good = _are_trees(np, nodes[chosen[0]], 1, _same((0, len(nodes[chosen[0]]), widths[chosen[0]])), links)
        else:
            sizes = [len(nodes[index]) for index in chosen]
            ends = np.cumsum(sizes)
            bounds = np.repeat(np.array((ends - sizes, ends, [widths[index] for index in chosen])), sizes, axis=1)
            good = _are_trees(np, _together(nodes, chosen), len(chosen), _each(bounds), links)
        if not good:
            for index in chosen:
                _explain(subjects[index], nodes[index], widths[index], links)
            subjects[chosen[0]].fail("nodes", "they must form a tree")


def _packs(nodes: Sequence[Any]) -> Iterable[list[int]]:
    """Yield the trees to be looked at together: a large one alone, small ones of one dtype up to a block.

    One without nodes stands alone too: among others it would make up for a node that has no parent.
    """
    small: list[int] = []
    room = _BLOCK
    for index, each in enumerate(nodes):
        if not 0 < len(each) < _LARGE:
            yield [index]
            continue
        if small and (len(each) > room or each.dtype != nodes[small[0]].dtype):
            yield small
            small, room = [], _BLOCK
        small.append(index)
        room -= len(each)
    if small:
        yield small


def _together(nodes: Sequence[Any], chosen: list[int]) -> Any:
    """Return nodes of one dtype one after the other."""
    if len(chosen) == 1:
        return nodes[chosen[0]]
    np: Any = sys.modules["numpy"]
    # As bytes: numpy joins structured arrays field by field, which takes ten times as long.
    return np.concatenate([nodes[index].view(np.uint8) for index in chosen]).view(nodes[chosen[0]].dtype)


Bounds = Callable[[Any], tuple[Any, Any, Any]]
"""From the places of nodes to where the tree of each begins and ends, and how many columns there are for it."""


def _same(bounds: tuple[int, int, int]) -> Bounds:
    return lambda _: bounds


def _each(bounds: Any) -> Bounds:
    return lambda places: tuple(bounds[:, places])


def _are_trees(np: Any, nodes: Any, count: int, bounds: Bounds, links: Links) -> bool:
    """Tell whether nodes that stand one after the other form `count` trees, and look at nothing but columns that are there.

    Each child comes after its parent and before the end of its tree, so no root is a child; and if as many nodes are children as
    there are references to children, and both are as many as there are nodes but the roots, then each has one parent.
    """
    seen = np.zeros(len(nodes), bool)
    parents = 0
    for low in range(0, len(nodes), _BLOCK):
        inner, *numbers = links(nodes[low : low + _BLOCK])
        places = inner.nonzero()[0]
        left, right, feature = [each[places].astype(np.int64, copy=False) for each in numbers]
        if low:
            places += low
        start, end, width = bounds(places)
        if count > 1:
            left += start
            right += start
        # Counting takes half the time of any(), and there may be thousands of small trees.
        if np.count_nonzero(np.minimum(left, right) <= places):
            return False
        if count > 1 and np.count_nonzero(np.maximum(left, right) >= end):
            return False
        # Unsigned, a negative number is a large one.
        if np.count_nonzero(feature.view(np.uint64) >= width):
            return False
        try:
            seen[left] = True
            seen[right] = True
        except IndexError:
            # Beyond the end of the one tree.
            return False
        parents += len(places)
    return bool(2 * parents == len(nodes) - count == np.count_nonzero(seen))


def _explain(subject: Subject, nodes: Any, width: int, links: Links) -> None:
    """Refuse a tree that `_are_trees` found wrong, at its first wrong node."""
    np = subject.np
    count = len(nodes)
    if not count:
        subject.fail("nodes", "a tree must have a node")
    inner, *numbers = links(nodes)
    places = np.flatnonzero(inner)
    left, right, feature = (each[places].astype(np.int64) for each in numbers)
    for first in np.flatnonzero((left <= places) | (left >= count) | (right <= places) | (right >= count))[:1]:
        found = (int(left[first]), int(right[first]))
        subject.fail(f"nodes[{places[first]}]", f"its children must be two later nodes of {count}", found)
    for first in np.flatnonzero((feature < 0) | (feature >= width))[:1]:
        subject.fail(f"nodes[{places[first]}]", f"its feature must be one of {width}", int(feature[first]))
    handed = np.bincount(np.concatenate((left, right)), minlength=count)
    handed[0] = 1
    for first in np.flatnonzero(handed != 1)[:1]:
        subject.fail(f"nodes[{first}]", "each node but the first must be the child of one node", f"{handed[first]} parents")


def depth_of(built: Any) -> int:
    """Return the depth of a `Tree` whose nodes were checked: its own compiled method counts it."""
    depths = built.compute_node_depths()
    return int(depths[depths.argmax()]) - 1


def check_depth(tree: Subject, depth: int) -> None:
    """Refuse a tree unless it is as deep as it says: `decision_path` allocates and writes as many indices for each row."""
    said = tree.get("max_depth")
    if depth != said:
        tree.fail("max_depth", f"it must be the depth of the tree, {depth}", said)


def _check_decision_tree(estimator: Subject) -> None:
    """A decision tree: X is compared with `n_features_in_`, and its columns are read as `tree_` says."""
    if not estimator.has("tree_"):
        return
    tree = estimator.part("tree_", "sklearn:Tree")
    estimator.view.once("owned", id(tree.made))
    n_features, _, n_outputs = tree.made.args
    estimator.integer("n_features_in_", n_features, n_features)
    estimator.integer("n_outputs_", n_outputs, n_outputs)
    counts = tree.view.counts(tree.made.args[1])
    if len(counts) != n_outputs:
        tree.fail("n_classes", "each output must have a class")
    if n_outputs == 1 and (estimator.has("classes_") or "n_classes_" in estimator.entries):
        estimator.integer("n_classes_", counts[0], counts[0])
    if not estimator.has("classes_"):
        return
    if n_outputs == 1:
        if estimator.view.length(estimator.get("classes_")) != counts[0]:
            estimator.fail("classes_", f"it must hold {counts[0]} classes")
    else:
        classes = estimator.items("classes_", n_outputs)
        lengths = [estimator.view.length(each) for each in classes]
        estimator.require(lengths == counts, "classes_", f"it must hold {counts[:8]} classes", lengths[:8])


def _check_forest(forest: Subject) -> None:
    """A forest: its trees share `n_features_in_`, outputs and classes with it."""
    if not forest.has("estimators_"):
        return
    n_features = forest.integer("n_features_in_", 0, forest.view.plenty)
    outputs = forest.view.number(forest.get("n_outputs_"))
    if not forest.has("classes_") and not forest.view.once("forest", id(forest.get("estimators_")), n_features, outputs):
        # Many forests may share one list of trees.
        return
    view = forest.view
    says_outputs = forest.has("n_outputs_")
    for number, each in enumerate(forest.items("estimators_")):
        if not view.is_a(each, "sklearn:BaseDecisionTree"):
            forest.fail(f"estimators_[{number}]", "it must be BaseDecisionTree", each)
        tree = view.subject(each).part("tree_", "sklearn:Tree")
        if tree.made.args[0] != n_features:
            forest.fail(f"estimators_[{number}]", f"it must be fitted on {n_features} features", tree.made.args[0])
        if says_outputs and (type(outputs) is not int or outputs != tree.made.args[2]):
            forest.integer("n_outputs_", tree.made.args[2], tree.made.args[2])
        if number == 0 and forest.has("classes_"):
            counts = forest.view.counts(tree.made.args[1])
            held = [forest.get("classes_")] if len(counts) == 1 else forest.items("classes_")
            forest.require([forest.view.length(each) for each in held] == counts, "classes_", f"it must hold {counts[:8]} classes")
            said = [forest.get("n_classes_")] if len(counts) == 1 else forest.items("n_classes_")
            forest.require([forest.view.number(each) for each in said] == counts, "n_classes_", f"it must be {counts[:8]}")


def _check_gradient_boosting(model: Subject) -> None:
    """Gradient boosting: compiled code takes what stands in `estimators_` for regression trees, and adds to as many columns as it has.

    sklearn/ensemble/_gradient_boosting.pyx, predict_stages.
    """
    if not model.has("estimators_"):
        return
    shape = model.view.shape_of_objects(model.get("estimators_"))
    if shape is None or len(shape) != 2 or not shape[1]:
        model.fail("estimators_", "it must be an array of trees, a row for each stage", shape)
    stages, columns = shape
    model.integer("n_estimators_", 0, stages)
    model.integer("n_trees_per_iteration_", columns, columns)
    n_features = model.integer("n_features_in_", 0, model.view.plenty)
    for number, each in enumerate(model.items("estimators_")):
        entry = f"estimators_[{number // columns}, {number % columns}]"
        tree = model.part(entry, "sklearn:DecisionTreeRegressor", value=each).part("tree_", "sklearn:Tree")
        model.require(tree.made.args[0] == n_features and tree.made.args[2] == 1, entry, f"it must be a tree of {n_features} features and one output")
        model.require(tree.array("values").shape[2] == 1, entry, "its leaves must hold one value")
    loss = model.part("_loss", "sklearn:BaseLoss")
    loss.part("link", "sklearn:BaseLink")
    multiclass = loss.is_a("sklearn:HalfMultinomialLoss")
    model.require(multiclass == (columns > 1) and not loss.has("is_multiclass"), "_loss", f"it must be a loss of {columns} columns", loss.name)
    init = model.get("init_")
    if init != "zero":
        _check_first_guess(model, columns)


# What predicts a row for each row of X, and as many columns as it has outputs or classes.
_PLAIN: Final = (
    *("sklearn:BaseDecisionTree", "sklearn:BaseForest", "sklearn:BaseGradientBoosting", "sklearn:BaseHistGradientBoosting"),
    *("sklearn:LinearModel", "sklearn:LinearClassifierMixin", "sklearn:NeighborsBase", "sklearn:BaseLibSVM", "sklearn:GaussianNB"),
)


def _check_first_guess(model: Subject, columns: int) -> None:
    """The estimator whose prediction gradient boosting starts from: what it returns is written to, `columns` wide."""
    init = model.part("init_", "sklearn:DummyClassifier", "sklearn:DummyRegressor", *_PLAIN)
    if init.is_a("sklearn:DummyRegressor"):
        init.integer("n_outputs_", 1, 1)
        init.array("constant_", shape=(1, 1))
    elif init.is_a("sklearn:DummyClassifier"):
        classes = init.integer("n_classes_", columns if columns > 1 else 2, columns if columns > 1 else 2)
        init.array("class_prior_", "f", (classes,))
        init.require(init.view.number(init.get("n_outputs_")) == 1, "n_outputs_", "it must be 1", init.get("n_outputs_"))
    elif columns > 1 or init.has("classes_"):
        held = init.view.length(init.get("classes_"))
        init.require(held == (columns if columns > 1 else 2), "classes_", f"it must hold {max(columns, 2)} classes", held)
        if init.has("coef_"):
            rows = init.array("coef_", "f", (None, None)).shape[0]
            init.require(rows == columns, "coef_", f"it must have {columns} rows", rows)
        if init.has("n_trees_per_iteration_"):
            init.integer("n_trees_per_iteration_", columns, columns)
    elif init.has("coef_"):
        init.require(init.array("coef_", "f").size > 0, "coef_", "it must not be empty")


def _check_hist_gradient_boosting(model: Subject) -> None:
    """Histogram gradient boosting: every predictor reads columns, and the bitset of a column, as its nodes say."""
    if not model.has("_predictors"):
        return
    model.require(not model.has("_in_fit") or model.get("_in_fit") is False, "_in_fit", "a fitted model must not say that it is being fitted")
    mapper = model.part("_bin_mapper", "sklearn:_BinMapper")
    categorical = mapper.array("is_categorical_", "u1", (None,))
    n_features = categorical.shape[0]
    model.integer("n_features_in_", n_features, n_features)
    columns = model.integer("n_trees_per_iteration_", 1, 1 << 20)
    predictors: list[Subject] = []
    for number, row in enumerate(model.items("_predictors")):
        held = model.items(f"_predictors[{number}]", columns, value=row)
        predictors += [model.part(f"_predictors[{number}]", "sklearn:TreePredictor", value=each) for each in held]
    if model.has("classes_"):
        classes = model.view.length(model.get("classes_"))
        model.require(columns == (1 if classes == 2 else classes), "classes_", f"it must hold as many classes as {columns} columns are for", classes)
    baseline = model.array("_baseline_prediction", "f")
    model.require(baseline.size in (1, columns), "_baseline_prediction", f"it must hold {columns} numbers", baseline.shape)
    known = categorical != 0
    nodes = [predictor.array("nodes") for predictor in predictors]
    for chosen in _packs(nodes):
        if not _fit_columns(_together(nodes, chosen), known):
            for index in chosen:
                predictors[index].require(
                    _fit_columns(nodes[index], known),
                    "nodes['feature_idx']",
                    f"each must be one of {n_features} features, and one that has categories where the node splits by category",
                )
    if model.has("_preprocessor"):
        _check_preprocessor(model, n_features)


def _fit_columns(nodes: Any, known: Any) -> bool:
    """Tell whether nodes look at columns that are there; `known` says which have categories."""
    inner = nodes["is_leaf"] == 0
    features = nodes["feature_idx"][inner]
    if features.size and int(features.max()) >= len(known):
        return False
    by_category = nodes["is_categorical"][inner] != 0
    return not by_category.any() or bool(known[features[by_category]].all())


_CHECK_KEYWORDS: Final = frozenset(("dtype", "ensure_all_finite", "force_all_finite"))


def _check_preprocessor(model: Subject, n_features: int) -> None:
    """What makes the columns that the trees read: an encoder and a function, which together pass each column once."""
    np = model.np
    columns = model.part("_preprocessor", "sklearn:ColumnTransformer")
    columns.integer("n_features_in_", n_features, n_features)
    if columns.has("_n_features"):
        columns.integer("_n_features", n_features, n_features)
    columns.require(not columns.has("transformer_weights"), "transformer_weights", "the columns must be passed as they are")
    columns.require(not columns.has("sparse_output_") or columns.get("sparse_output_") is False, "sparse_output_", "it must be False")
    count = 0
    chosen_by = {}
    for number, each in enumerate(columns.items("transformers_")):
        entry = f"transformers_[{number}]"
        name, transformer, chosen = columns.items(entry, 3, value=each)
        if transformer == "drop":
            continue
        part = columns.part(entry, "sklearn:OrdinalEncoder", "sklearn:FunctionTransformer", value=transformer)
        mask = columns.array(f"{entry}[2]", "b", (n_features,), value=chosen)
        selected = int(np.count_nonzero(mask))
        chosen_by[name] = np.flatnonzero(mask).tolist()
        if part.is_a("sklearn:OrdinalEncoder"):
            part.items("categories_", selected)
        else:
            function, given, named = part.view.unwrapped(part.get("func"))
            wrapped = function is not part.get("func")
            checks_only = wrapped and str(function).endswith(":check_array") and not given and named <= _CHECK_KEYWORDS
            columns.require(checks_only and not part.has("kw_args"), entry, "its function must pass the columns as they are")
        count += selected
    columns.require(count == n_features, "transformers_", f"together they must pass {n_features} columns", count)
    if columns.has("_transformer_to_input_indices"):
        held = columns.get("_transformer_to_input_indices")
        if type(held) is not Dict:
            columns.fail("_transformer_to_input_indices", "it must be a dict", held)
        for name, places in held.entries():
            if name != "remainder" or columns.view.length(places):
                # A frame is cut by these, an array by the masks.
                found = columns.view.items(places)
                columns.require(list(found or ()) == chosen_by.get(name), "_transformer_to_input_indices", "it must agree with transformers_", places)


def _check_bin_mapper(mapper: Subject) -> None:
    """A `_BinMapper`: which features have categories, and where the bins of each begin."""
    if not mapper.has("bin_thresholds_"):
        return
    categorical = mapper.array("is_categorical_", "u1", (None,))
    mapper.require((categorical <= 1).all(), "is_categorical_", "each must be 0 or 1")
    thresholds = mapper.items("bin_thresholds_", categorical.shape[0])
    for number, each in enumerate(thresholds):
        bins = mapper.array(f"bin_thresholds_[{number}]", "f8", (None,), value=each)
        if categorical[number] and bins.size:
            good = ((bins >= 0) & (bins <= 255) & (bins == mapper.np.floor(bins))).all()
            mapper.require(good, f"bin_thresholds_[{number}]", "categories must be whole numbers from 0 to 255")
    if mapper.has("n_bins_non_missing_"):
        mapper.array("n_bins_non_missing_", "u", (categorical.shape[0],))


CHECKS: Final[dict[str, Check]] = {
    "sklearn:BaseDecisionTree": _check_decision_tree,
    "sklearn:BaseForest": _check_forest,
    "sklearn:BaseGradientBoosting": _check_gradient_boosting,
    "sklearn:BaseHistGradientBoosting": _check_hist_gradient_boosting,
    "sklearn:_BinMapper": _check_bin_mapper,
}
BATCHES: Final[dict[str, Callable[[Sequence[Subject]], None]]] = {
    "sklearn:Tree": check_trees,
    "sklearn:TreePredictor": check_predictors,
}
