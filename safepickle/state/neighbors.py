"""Neighbours: k-d trees and ball trees, their metrics, and the estimators over them.

A query follows node numbers, ranges of points and point numbers without looking at any bound (sklearn/neighbors/_binary_tree.pxi.tp),
metrics read as many weights as a point has coordinates (sklearn/metrics/_dist_metrics.pyx.tp), and votes are counted at
the label of a neighbour (metrics/_pairwise_distances_reduction/_argkmin_classmode.pyx.tp).
"""

from __future__ import annotations

from typing import Any, Final

from safepickle.machine import Dict

from .view import Check, Subject

__all__ = ["CHECKS"]

_MAX_LEVELS: Final = 62
_NORMS: Final = frozenset(("X_norm_squared", "Y_norm_squared"))
_SPARSE: Final = ("scipy:csr_matrix", "scipy:csr_array", "scipy:csc_matrix", "scipy:csc_array")


def _check_binary_tree(tree: Subject) -> None:
    """A k-d tree or ball tree, as the tuple that its state setter takes."""
    state = tree.made.state
    width = "f4" if tree.name.endswith("32") else "f8"
    np = tree.np
    data = tree.array("data", width, (None, None), value=state[0])
    n, d = data.shape
    tree.require(n and d and data.flags.c_contiguous, "data", "it must hold points, in C order", data.shape)
    order = tree.array("idx_array", "i8", (n,), value=state[1])
    tree.permutation("idx_array", order, n)
    tree.integer("leaf_size", 1, (1 << 62) - 1, value=state[4])
    levels = tree.integer("n_levels", 1, _MAX_LEVELS, value=state[5])
    count = tree.integer("n_nodes", (1 << levels) - 1, (1 << levels) - 1, value=state[6])
    for number, counter in zip(range(7, len(state) - 2), ("n_trims", "n_leaves", "n_splits", "n_calls"), strict=False):
        tree.integer(counter, -(1 << 63), (1 << 63) - 1, value=state[number])
    nodes = tree.array("node_data", shape=(count,), value=state[2])
    # Compiled code looks at the types of the fields and not at their names, so the order counts.
    wanted = np.dtype([("idx_start", np.intp), ("idx_end", np.intp), ("is_leaf", np.intp), ("radius", np.float64)])
    tree.require(nodes.dtype == wanted, "node_data", "each node must have idx_start, idx_end, is_leaf and radius", nodes.dtype)
    start, end, leaf = (np.ascontiguousarray(nodes[name]) for name in ("idx_start", "idx_end", "is_leaf"))
    bounds = 2 if "KDTree" in tree.name else 1
    tree.array("node_bounds", width, (bounds, count, d), value=state[3])
    _check_ranges(tree, start, end, leaf != 0, n, levels)
    _check_metric_of(tree, state[-2], d)
    if state[-1] is not None:
        weights = tree.array("sample_weight", width, (n,), value=state[-1])
        tree.finite("sample_weight", weights)
        tree.require((weights > 0).all(), "sample_weight", "each weight must be positive")


def _check_ranges(tree: Subject, start: Any, end: Any, leaf: Any, n: int, levels: int) -> None:
    """Refuse nodes whose points are not those of their two children, down to leaves."""
    np = tree.np
    tree.require(start[0] == 0 and end[0] == n, "node_data[0]", f"the first node must hold all {n} points", (int(start[0]), int(end[0])))
    sane = (start >= 0) & (start <= end) & (end <= n)
    if not sane.all():
        first = int(np.flatnonzero(~sane)[0])
        tree.fail(f"node_data[{first}]", f"a node must hold a range of the {n} points", (int(start[first]), int(end[first])))
    # A leaf above the last level leaves the nodes below it unused; those may hold anything, for no query comes there.
    used = np.zeros(len(start), bool)
    used[0] = True
    for level in range(levels - 1):
        above = slice((1 << level) - 1, (2 << level) - 1)
        below = slice((2 << level) - 1, (4 << level) - 1)
        inner = used[above] & ~leaf[above]
        used[below] = np.repeat(inner, 2)
        first, last = start[below], end[below]
        wrong = inner & ((first[::2] != start[above]) | (last[::2] != first[1::2]) | (last[1::2] != end[above]))
        if wrong.any():
            number = above.start + int(np.flatnonzero(wrong)[0])
            tree.fail(f"node_data[{number}]", "its two children must share its points")
    last_level = slice((1 << (levels - 1)) - 1, None)
    tree.require((leaf | ~used)[last_level].all(), "node_data", "nodes of the last level must be leaves")


def _check_metric_of(tree: Subject, metric: Any, d: int) -> None:
    """The metric of a tree: of the same width, for points of as many coordinates."""
    part = tree.part("dist_metric", "sklearn:DistanceMetric32" if tree.name.endswith("32") else "sklearn:DistanceMetric64", value=metric)
    kind = part.name.removesuffix("32").removesuffix("64")
    _, vector, matrix = part.made.state[:3]
    vec = part.array("vec", value=vector)
    if kind == "SEuclideanDistance" or (kind == "MinkowskiDistance" and vec.size):
        part.require(vec.shape == (d,), "vec", f"it must hold a number for each of {d} coordinates", vec.shape)
    if kind == "MahalanobisDistance":
        mat = part.array("mat", value=matrix)
        part.require(mat.shape == (d, d), "mat", f"its shape must be ({d}, {d})", mat.shape)
    if kind == "HaversineDistance":
        part.require(d == 2, "dist_metric", "it must be for points of two coordinates", d)


def _check_metric(metric: Subject) -> None:
    """A distance metric: the sizes of its parameters agree with each other."""
    power, vector, matrix = metric.made.state[:3]
    kind = metric.name.removesuffix("32").removesuffix("64")
    vec = metric.array("vec", "f8", (None,), value=vector)
    mat = metric.array("mat", "f8", (None, None), value=matrix)
    metric.require(mat.flags.c_contiguous and vec.flags.c_contiguous, "mat", "it must be in C order")
    if kind == "MahalanobisDistance":
        metric.require(mat.shape[0] == mat.shape[1] >= 1, "mat", "it must be square", mat.shape)
    else:
        metric.require(mat.shape == (1, 1), "mat", "its shape must be (1, 1)", mat.shape)
    if kind not in ("SEuclideanDistance", "MinkowskiDistance", "MahalanobisDistance"):
        metric.require(vec.shape == (1,), "vec", "it must hold one number", vec.shape)
    metric.require(power > 0, "p", "it must be positive", power)


def _check_neighbors(model: Subject) -> None:
    """Estimators over neighbours: all they keep of the training data has as many rows as they say."""
    if not model.has("_fit_X"):
        return
    fitted = model.get("_fit_X")
    n, d = _shape(model, "_fit_X", fitted)
    model.require(n and d, "_fit_X", "it must hold points", (n, d))
    model.integer("n_samples_fit_", n, n)
    model.integer("n_features_in_", d, d)
    if model.view.number(model.get("n_neighbors")) is not None:
        model.integer("n_neighbors", 1, model.view.plenty)
    method = model.get("_fit_method")
    model.require(method in ("brute", "kd_tree", "ball_tree"), "_fit_method", "it must be 'brute', 'kd_tree' or 'ball_tree'", method)
    if method != "brute":
        kind = "KDTree" if method == "kd_tree" else "BallTree"
        tree = model.part("_tree", f"sklearn:{kind}", f"sklearn:{kind}64", f"sklearn:{kind}32")
        points = model.view.array(tree.made.state[0])
        model.require(points is not None and points.shape == (n, d), "_tree", f"its points must be the {n} of _fit_X", points.shape)
    for entry in ("metric_params", "effective_metric_params_"):
        named = model.get(entry)
        if type(named) is Dict:
            # One is read for each point, however many there are.
            model.require(not _NORMS & set(named.flat[::2]), entry, "squared norms must be computed, not stored")
    if model.has("_y"):
        _check_labels(model, n)


def _shape(model: Subject, entry: str, value: Any) -> tuple[int, int]:
    """Return the shape of a dense or sparse matrix."""
    if model.view.is_a(value, *_SPARSE):
        # Its contents are checked for themselves; nothing but its shape matters here.
        shape = model.view.subject(value).get("_shape")
        sizes = [model.view.number(each) for each in shape] if type(shape) is tuple and len(shape) == 2 else []
        if len(sizes) != 2 or not all(type(size) is int for size in sizes):
            model.fail(entry, "a sparse matrix must have two dimensions", shape)
        rows, columns = sizes
        return rows, columns  # type: ignore[return-value]
    array = model.array(entry, "fiub", (None, None), value=value)
    return array.shape[0], array.shape[1]


def _check_labels(model: Subject, n: int) -> None:
    """The targets: one for each point; for a classifier the number of one of its classes."""
    labels = model.array("_y")
    model.require(labels.ndim in (1, 2) and labels.shape[0] == n and labels.size, "_y", f"it must hold a target for each of {n} points", labels.shape)
    if not model.has("classes_"):
        return
    classes = model.get("classes_")
    model.require(labels.dtype == "i8", "_y", "it must hold the numbers of classes", labels.dtype)
    if labels.ndim == 1:
        lengths = [model.view.length(classes)]
    elif model.view.length(classes) == labels.shape[1]:
        lengths = [model.view.length(each) for each in model.items("classes_", labels.shape[1])]
    else:
        model.fail("classes_", f"it must hold the classes of {labels.shape[1]} outputs")
    for output, length in enumerate(lengths):
        if length is None:
            model.fail("classes_", "it must be an array of classes, or a list of such", classes)
        model.within("_y", labels if labels.ndim == 1 else labels[:, output], 0, length)


def _check_kernel_density(model: Subject) -> None:
    """Kernel density: X is compared with `n_features_in_`, and read as wide as the tree is."""
    if model.has("tree_"):
        tree = model.part("tree_", *(f"sklearn:{kind}{width}" for kind in ("KDTree", "BallTree") for width in ("", "64", "32")))
        points = model.view.array(tree.made.state[0])
        if points is None or points.ndim != 2:
            model.fail("tree_", "it must hold points")
        model.integer("n_features_in_", points.shape[1], points.shape[1])


_TREES: Final = ("sklearn:KDTree64", "sklearn:KDTree32", "sklearn:KDTree", "sklearn:BallTree64", "sklearn:BallTree32", "sklearn:BallTree")
CHECKS: Final[dict[str, Check]] = {
    **dict.fromkeys(_TREES, _check_binary_tree),
    "sklearn:DistanceMetric64": _check_metric,
    "sklearn:DistanceMetric32": _check_metric,
    "sklearn:NeighborsBase": _check_neighbors,
    "sklearn:KernelDensity": _check_kernel_density,
}
