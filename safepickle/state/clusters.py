"""Clusterings: k-means and its kin, hierarchies and trees of clusters.

Most have no method that computes after `fit`. Those that have one are checked:

- k-means lets compiled code read centres by the columns of X, with as many threads as a number says
  (cluster/_k_means_common.pyx, _k_means_lloyd.pyx, _k_means_minibatch.pyx);
- Birch hands norms of its centres to code that reads one for each centre (metrics/_pairwise_distances_reduction/_argkmin.pyx.tp),
  and walks a chain of leaves;
- HDBSCAN cuts a tree whose nodes are indices (cluster/_hdbscan/_tree.pyx);
- agglomeration of features counts labels: numpy's `bincount` allocates as many counters as the largest label says.
"""

from __future__ import annotations

from typing import Any, Final

from safepickle.machine import Made

from .view import MISSING, Check, Subject

__all__ = ["CHECKS"]

# More do not fit into one machine; libgomp ends the process if it cannot start one.
_MAX_THREADS: Final = 1024
# Compiled code computes the size of a table of 256 rows in 32 bits, and does not look whether it got the memory.
_MAX_CENTERS: Final = (1 << 23) - 1


def _check_k_means(model: Subject) -> None:
    """K-means: compiled code compares each row of X with each centre, column by column, and writes to the counts of each centre."""
    if "_n_threads" in model.entries:
        model.integer("_n_threads", 1, _MAX_THREADS)
    if "cluster_centers_" not in model.entries:
        return
    centers = model.array("cluster_centers_", "f", (None, None))
    count, width = centers.shape
    model.require(0 < count <= _MAX_CENTERS and width, "cluster_centers_", f"there must be 1 to {_MAX_CENTERS} centres", centers.shape)
    model.integer("n_features_in_", width, width)
    if "_n_features_out" in model.entries:
        model.integer("_n_features_out", count, count)
    if "_counts" in model.entries:
        counts = model.array("_counts", "f", (count,))
        model.require(counts.dtype == centers.dtype, "_counts", f"its dtype must be {centers.dtype}", counts.dtype)
    if "_bisecting_tree" in model.entries:
        _check_bisections(model, count, width)


def _check_bisections(model: Subject, count: int, width: int) -> None:
    """The tree of a `BisectingKMeans`: each node has no children or two, and a centre; all are met once."""
    if "_X_mean" in model.entries:
        model.array("_X_mean", "f", (width,))
    work = [model.part("_bisecting_tree", "sklearn:_BisectingTree")]
    seen = {id(work[0].made)}
    leaves = 0
    while work:
        node = work.pop()
        if node.get("left") is None and node.get("right") is None:
            node.integer("label", 0, count - 1)
            leaves += 1
            continue
        for entry in ("left", "right"):
            child = node.part(entry, "sklearn:_BisectingTree")
            node.require(id(child.made) not in seen, entry, "a node must be the child of one node")
            seen.add(id(child.made))
            child.array("center", "f", (width,))
            work.append(child)
    model.require(leaves == count, "_bisecting_tree", f"it must have {count} leaves", leaves)


def _check_birch(model: Subject) -> None:
    """Birch: there is a norm and a label for each centre, and the chain of leaves ends."""
    if model.view.number(model.get("branching_factor")) is not None:
        model.integer("branching_factor", 2, 1 << 20)
    if "subcluster_centers_" in model.entries:
        centers = model.array("subcluster_centers_", "f", (None, None))
        model.require(centers.size, "subcluster_centers_", "there must be a centre", centers.shape)
        if "_subcluster_norms" in model.entries:
            model.array("_subcluster_norms", "f", centers.shape[:1])
        if "subcluster_labels_" in model.entries:
            model.array("subcluster_labels_", "iu", centers.shape[:1], shared=True)
        if "_n_features_out" in model.entries:
            model.integer("_n_features_out", centers.shape[0], centers.shape[0])
        if "n_features_in_" in model.entries:
            model.integer("n_features_in_", centers.shape[1], centers.shape[1])
    _check_leaves(model)
    _check_birch_tree(model)


def _check_leaves(model: Subject) -> None:
    """The leaves of a `Birch`: each names the next, and none a former one, or `partial_fit` would gather them for ever."""
    leaf: Any = model.get("dummy_leaf_")
    seen = set()
    while leaf is not None and leaf is not MISSING:
        node = model.part("dummy_leaf_", "sklearn:_CFNode", value=leaf)
        model.require(id(leaf) not in seen, "dummy_leaf_", "the chain of leaves that begins there must end")
        seen.add(id(leaf))
        leaf = node.get("next_leaf_")


def _check_birch_node(node: Subject) -> None:
    """A node of the tree of a `Birch`: a split allocates two like it, and what is below it is not above it."""
    branches = node.integer("branching_factor", 2, 1 << 20)
    width = node.integer("n_features", 1, node.view.plenty)
    if "init_centroids_" in node.entries:
        node.array("init_centroids_", "f", (branches + 1, width))
    if "init_sq_norm_" in node.entries:
        node.array("init_sq_norm_", "f", (branches + 1,))


def _check_birch_tree(model: Subject) -> None:
    """The tree of a `Birch` is one: a node within itself would be walked for ever."""
    root = model.get("root_")
    work = [root] if type(root) is Made else []
    seen = set(map(id, work))
    while work:
        node = model.view.subject(work.pop())
        for each in model.view.items(node.get("subclusters_")) or ():
            child = model.view.subject(each).get("child_") if type(each) is Made else None
            if type(child) is Made:
                model.require(id(child) not in seen, "root_", "each node below it must be the child of one node")
                seen.add(id(child))
                work.append(child)


def _check_hdbscan(model: Subject) -> None:
    """HDBSCAN: a row of its tree joins two of the points and earlier rows, whose numbers are used as indices."""
    if "_single_linkage_tree_" not in model.entries:
        return
    np = model.np
    tree = model.array("_single_linkage_tree_")
    wanted = np.dtype([("left_node", np.intp), ("right_node", np.intp), ("value", np.float64), ("cluster_size", np.intp)])
    model.require(tree.dtype == wanted and tree.ndim == 1, "_single_linkage_tree_", "it must be an array of rows of a tree", tree.dtype)
    bounds = len(tree) + 1 + np.arange(len(tree))
    for side in ("left_node", "right_node"):
        nodes = tree[side]
        good = ((nodes >= 0) & (nodes < bounds)).all()
        model.require(good, f"_single_linkage_tree_['{side}']", "each must be one of the points or of the rows before")
    if "labels_" in model.entries:
        model.array("labels_", "iu", (len(tree) + 1,), shared=True)


def _check_agglomeration(model: Subject) -> None:
    """Agglomeration: labels are counted, and each row of the hierarchy joins two of the leaves and earlier rows."""
    np = model.np
    labels = None
    if "labels_" in model.entries:
        # A Birch that groups its subclusters by this model keeps the same array as its own labels.
        labels = model.array("labels_", "iu", (None,), shared=True)
        clusters = model.integer("n_clusters_", 1, max(len(labels), 1))
        model.within("labels_", labels, 0, clusters)
    if "children_" not in model.entries:
        return
    leaves = model.integer("n_leaves_", 1, model.view.plenty)
    model.require(labels is None or len(labels) == leaves, "n_leaves_", "there must be a label for each leaf", leaves)
    children = model.array("children_", "iu", (None, 2))
    good = ((children >= 0) & (children < leaves + np.arange(len(children))[:, None])).all()
    model.require(good, "children_", "each must be one of the leaves or of the rows before")
    if "distances_" in model.entries:
        model.array("distances_", "f", (len(children),))


def _check_feature_agglomeration(model: Subject) -> None:
    """Agglomeration of features: there is a label for each column."""
    if "labels_" not in model.entries:
        return
    width = model.array("labels_", "iu", (None,), shared=True).shape[0]
    model.integer("n_features_in_", width, width)
    if "_n_features_out" in model.entries:
        clusters = model.integer("n_clusters_", 1, max(width, 1))
        model.integer("_n_features_out", clusters, clusters)


CHECKS: Final[dict[str, Check]] = {
    "sklearn:_BaseKMeans": _check_k_means,
    "sklearn:Birch": _check_birch,
    "sklearn:_CFNode": _check_birch_node,
    "sklearn:HDBSCAN": _check_hdbscan,
    "sklearn:AgglomerativeClustering": _check_agglomeration,
    "sklearn:AgglomerationTransform": _check_feature_agglomeration,
}
