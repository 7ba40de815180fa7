"""Estimators that hold estimators, and steps that call functions.

Each part is checked for itself. Here stands what one part takes for granted of another: `predict` of the whole validates X once,
and hands on what its parts return.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from safepickle.machine import Dict, Global

from .view import Check, Subject, View

__all__ = ["BATCHES", "CHECKS"]


def _check_votes(model: Subject) -> None:
    """A vote by label: votes are counted in an array as long as the largest label, and labels are numbers of classes."""
    if not model.has("estimators_") or not model.has("classes_") or model.get("voting") == "soft":
        return
    count = model.view.length(model.get("classes_")) or 0
    for each in model.items("estimators_"):
        voter = last(model.view, each)
        if voter is not None and voter.has("classes_"):
            voter.within("classes_", voter.array("classes_", "iu", (None,)), 0, count)


def _check_one_vs_rest(model: Subject) -> None:
    """One classifier for each class: the places where a member says yes become row numbers of a sparse matrix (sklearn/multiclass.py)."""
    if not model.has("estimators_"):
        return
    for number, each in enumerate(model.items("estimators_")):
        member = last(model.view, each)
        if member is None or member.is_a("sklearn:_ConstantPredictor"):
            continue
        if member.has("classes_"):
            classes = member.view.length(member.get("classes_"))
            model.require(classes is not None and classes <= 2, f"estimators_[{number}]", "it must tell two classes apart", classes)
        if member.view.array(member.get("coef_")) is not None:
            coefficients = member.array("coef_")
            member.require(coefficients.ndim < 2 or 1 in coefficients.shape, "coef_", "it must be of one output", coefficients.shape)
        if member.has("n_outputs_"):
            member.integer("n_outputs_", 1, 1)


def last(view: View, value: Any) -> Subject | None:
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


def _check_pipeline(pipeline: Subject) -> None:
    """A pipeline: what takes distances or graphs for granted (`metric="precomputed"`) gets them from what made them for as many samples."""
    if "steps" not in pipeline.entries:
        return
    view = pipeline.view
    before: Any = None
    for number, step in enumerate(pipeline.items("steps")):
        _, part = pipeline.items(f"steps[{number}]", 2, value=step)
        if number and view.is_a(part, "sklearn:NeighborsBase") and view.subject(part).get("metric") == "precomputed":
            maker = pipeline.part(f"steps[{number}]", "sklearn:KNeighborsTransformer", "sklearn:RadiusNeighborsTransformer", value=before)
            pipeline.require(
                view.number(maker.get("n_samples_fit_")) == view.number(view.subject(part).get("n_samples_fit_")),
                f"steps[{number}]",
                "it must be fitted on as many samples as the step before it",
            )
        if part is not None and part != "passthrough":
            before = part


def _check_function(step: Subject) -> None:
    """A step that calls a function: scipy believes a shape that it is told for a sparse matrix, whatever the rows of X."""
    for entry, named in (("func", "kw_args"), ("inverse_func", "inv_kw_args")):
        function, given, keys = step.view.unwrapped(step.get(entry))
        keywords = step.get(named)
        if type(keywords) is Dict:
            keys |= set(keywords.flat[::2])
        if type(function) is Global and _is_sparse(step.view, function):
            step.require(not given and "shape" not in keys, entry, "a sparse matrix must take its shape from X")


def _is_sparse(view: View, name: Global) -> bool:
    found = view.objects.get(name.key)
    bases = found.__mro__ if isinstance(found, type) else ()
    return any(base.__module__.startswith("scipy.sparse") for base in bases)


def check_owners(trees: Sequence[Subject]) -> None:
    """Refuse a bare `Tree` among estimators: it predicts without comparing the width of X, which its owner does."""
    view = trees[0].view
    estimators = any(made.how == "new" and view.is_a(made, "sklearn:BaseEstimator") for made in view.trace.made)
    for tree in trees:
        # Asked by `trees._check_decision_tree` before, if it is the tree of an estimator.
        if estimators and view.once("owned", id(tree.made)):
            tree.fail("", "it must be the tree_ of a decision tree")
        tree.require(tree.made.handles == 1 or not estimators, "", "it must be the tree_ of one decision tree")


CHECKS: Final[dict[str, Check]] = {
    "sklearn:VotingClassifier": _check_votes,
    "sklearn:OneVsRestClassifier": _check_one_vs_rest,
    "sklearn:Pipeline": _check_pipeline,
    "sklearn:FunctionTransformer": _check_function,
}
BATCHES: Final[dict[str, Callable[[Sequence[Subject]], None]]] = {"sklearn:Tree": check_owners}
