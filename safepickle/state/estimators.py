"""What all estimators have in common: numbers that say how much is to be computed or allocated.

`predict` and `transform` validate X, never the parameters that were validated at `fit`; names of columns are made, and
threads are started, as many as the numbers say.
"""

from __future__ import annotations

from typing import Any, Final

from safepickle.machine import Made, inside

from .view import Check, Subject, View

__all__ = ["CHECKS"]

# No machine that serves a model has as many processors.
_MAX_JOBS: Final = 1024
_MAX_STARTS: Final = 10_000

# Each becomes the size of an array, the number of columns of a result, or of steps.
_SIZES: Final = frozenset(
    (
        *("n_features_in_", "n_features_", "_n_features", "_n_features_out", "n_outputs_", "n_components", "n_components_", "n_samples_fit_"),
        *("n_classes_", "n_clusters", "n_clusters_", "n_estimators", "n_estimators_", "n_layers_", "n_bins", "n_knots"),
    )
)


def _check_estimator(estimator: Subject) -> None:
    """Refuse sizes that nothing in the file goes with."""
    view = estimator.view
    for entry in _SIZES & estimator.entries.keys():
        if type(view.number(estimator.get(entry))) is int:
            estimator.integer(entry, -1, view.plenty)
    if type(view.number(estimator.get("n_init"))) is int:
        # `partial_fit` of Birch fits what it holds.
        estimator.integer("n_init", 0, _MAX_STARTS)
    if view.number(estimator.get("n_jobs")) is not None:
        estimator.integer("n_jobs", -_MAX_JOBS, _MAX_JOBS)
    if estimator.has("_n_threads"):
        estimator.integer("_n_threads", 1, _MAX_JOBS)
    if estimator.has("feature_names_in_"):
        names = view.length(estimator.get("feature_names_in_"))
        estimator.require(names is not None, "feature_names_in_", "it must be an array of names")
        if estimator.has("n_features_in_"):
            estimator.integer("n_features_in_", names or 0, names or 0)
    if estimator.made.early:
        _check_no_circle(estimator)


def _check_no_circle(estimator: Subject) -> None:
    """Refuse an estimator that is a part of itself: what it asks its parts, they would ask it, without end or as often as there are ways.

    Only what the program fetches again before its state is complete can stand within itself. Scorers, metadata requests
    and bound methods honestly refer back to their owner, and are asked only at `fit`.
    """
    work: list[Any] = [estimator.made.state]
    seen = set()
    while work:
        value = work.pop()
        if value is estimator.made:
            estimator.fail("", "an estimator must not be a part of itself")
        part = type(value) is not Made or estimator.view.is_a(value, "sklearn:BaseEstimator", "numpy:ndarray", "sklearn:Bunch")
        if part and id(value) not in seen:
            seen.add(id(value))
            work.extend(inside(value))


def _check_votes(model: Subject) -> None:
    """A vote by label: votes are counted in an array as long as the largest label, and labels are numbers of classes."""
    if not model.has("estimators_") or not model.has("classes_") or model.get("voting") == "soft":
        return
    count = model.view.length(model.get("classes_")) or 0
    for each in model.items("estimators_"):
        voter = _last(model.view, each)
        if voter is not None and voter.has("classes_"):
            voter.within("classes_", voter.array("classes_", "iu", (None,)), 0, count)


def _last(view: View, value: Any) -> Subject | None:
    """Return what predicts for an estimator that hands on: the last step of a pipeline, the best of a search."""
    for _ in range(100):
        if not view.is_a(value, "sklearn:BaseEstimator"):
            return None
        subject = view.subject(value)
        if subject.is_a("sklearn:Pipeline") and view.length(subject.get("steps")):
            value = subject.items("steps", 2, value=subject.items("steps")[-1])[1]
        elif subject.has("best_estimator_"):
            value = subject.get("best_estimator_")
        else:
            return subject
    return None


CHECKS: Final[dict[str, Check]] = {"sklearn:BaseEstimator": _check_estimator, "sklearn:VotingClassifier": _check_votes}
