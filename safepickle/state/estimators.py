"""What all estimators have in common: numbers that say how much is to be computed or allocated.

`predict` and `transform` validate X, never the parameters that were validated at `fit`; names of columns are made, and
threads are started, as many as the numbers say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from safepickle.machine import List, Made, inside

from .view import Check, Subject, View

__all__ = ["BATCHES", "CHECKS"]

# No machine that serves a model has as many processors.
_MAX_JOBS: Final = 512
_MAX_STARTS: Final = 10_000

# Each becomes the size of an array, the number of columns of a result, or of steps.
_SIZES: Final = frozenset(
    (
        *("n_features_in_", "n_features_", "_n_features", "_n_features_out", "n_outputs_", "n_components", "n_components_", "n_samples_fit_"),
        *("n_classes_", "n_clusters", "n_clusters_", "n_estimators", "n_estimators_", "n_layers_", "n_bins", "n_knots"),
    )
)
_THREADS: Final = frozenset(("n_jobs", "n_threads", "_n_threads"))


def _check_estimator(estimator: Subject) -> None:
    """Refuse sizes that nothing in the file goes with, and numbers of threads or processes that no machine has."""
    view, entries = estimator.view, estimator.entries
    for entry in _SIZES.intersection(entries):
        _check_size(estimator, entry, entries[entry])
    if type(view.number(entries.get("n_init"))) is int:
        # `partial_fit` of Birch fits what it holds.
        estimator.integer("n_init", 0, _MAX_STARTS)
    for entry in _THREADS.intersection(entries):
        if entries[entry] is not None:
            estimator.integer(entry, 1 if entry == "_n_threads" else -_MAX_JOBS, _MAX_JOBS)
    if entries.get("feature_names_in_") is not None:
        names = view.length(entries["feature_names_in_"])
        estimator.require(names is not None, "feature_names_in_", "it must be an array of names")
        if estimator.has("n_features_in_"):
            estimator.integer("n_features_in_", names or 0, names or 0)
    if "classes_" not in entries:
        return
    held = entries["classes_"]
    classes = view.length(held)
    if classes is None and view.array(held) is not None:
        estimator.fail("classes_", "it must be an array of classes that takes bytes")
    said = view.number(entries.get("n_classes_"))
    if type(said) is int and type(held) is not List:
        estimator.require(said == classes, "n_classes_", f"it must be the number of classes, {classes}")


def _check_size(estimator: Subject, entry: str, value: Any) -> None:
    """Refuse a size, or one of a list of sizes, that is larger than plenty. An array of no dimension would pass for an integer later."""
    view = estimator.view
    if type(value) is int and -1 <= value <= view.plenty:
        return
    array = view.array(value)
    if array is not None:
        estimator.require(array.ndim, entry, "it must be an integer", array)
        if array.dtype.kind in "iu":
            estimator.within(entry, array, -1, view.plenty + 1)
    elif type(value) is List:
        for each in value.items:
            if type(view.number(each)) is int:
                estimator.integer(entry, -1, view.plenty, value=each)
    elif type(view.number(value)) is int:
        estimator.integer(entry, -1, view.plenty)


def _check_dummy(model: Subject) -> None:
    """What predicts the same for every row: it allocates as many columns as it says it has outputs."""
    if model.has("constant_") and model.is_a("sklearn:DummyRegressor"):
        outputs = model.array("constant_").shape[-1]
        model.integer("n_outputs_", outputs, outputs)
    if model.has("classes_") and model.has("n_outputs_"):
        many = type(model.get("classes_")) is List
        outputs = (model.view.length(model.get("classes_")) or 0) if many else 1
        model.integer("n_outputs_", outputs, outputs)
        if many:
            lengths = [model.view.length(each) for each in model.items("classes_")]
            held = model.view.array(model.get("n_classes_"))
            counts = held.tolist() if held is not None else [model.view.number(each) for each in model.items("n_classes_")]
            model.require(lengths == counts, "n_classes_", f"it must be {lengths[:8]}")


def check_circles(estimators: Sequence[Subject]) -> None:
    """Refuse estimators that are parts of themselves: what they ask their parts, those would ask them, without end.

    Only what the program fetches again before its state is complete can stand within itself. Scorers, metadata requests and
    bound methods honestly refer back to their owner, and are asked only at `fit`. One search for all.
    """
    done: set[int] = set()
    for estimator in estimators:
        if not estimator.made.early or id(estimator.made) in done:
            continue
        above: set[int] = set()
        work: list[tuple[Any, bool]] = [(estimator.made, False)]
        while work:
            value, left = work.pop()
            if left:
                above.discard(id(value))
                done.add(id(value))
            elif id(value) in above:
                estimator.fail("", "an estimator must not be a part of itself")
            elif id(value) not in done:
                above.add(id(value))
                work.append((value, True))
                work.extend((part, False) for part in inside(value) if _is_part(estimator.view, part))


def _is_part(view: View, value: Any) -> bool:
    return type(value) is not Made or view.is_a(value, "sklearn:BaseEstimator", "numpy:ndarray", "sklearn:Bunch")


CHECKS: Final[dict[str, Check]] = {
    "sklearn:BaseEstimator": _check_estimator,
    "sklearn:DummyRegressor": _check_dummy,
    "sklearn:DummyClassifier": _check_dummy,
}
BATCHES: Final[dict[str, Callable[[Sequence[Subject]], None]]] = {"sklearn:BaseEstimator": check_circles}
