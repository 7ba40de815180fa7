"""What must be true of a model before compiled code sees it.

A policy says which classes a program may build. Compiled code also believes numbers inside them: a tree whose child
index is out of range makes `predict` read foreign memory. Here stands, per class, what that code takes for granted.

- Checks run on the traced program, after its names were resolved and before anything is built: so what a compiled
  `__setstate__` must not see is refused in time, and no half-built object is within reach.
- They are found by `library:QualifiedName` of the class or a base of it, so subclasses are checked too. Nothing is imported for them.
- An array is a view of the bytes in the file (see `view`). Each check is a few vectorised passes over it.
- The one thing that is cheaper to ask of the finished object, the depth of a tree, is asked before that is handed out: see `Watch`.

The families stand in modules of their own: `trees`, `neighbors`, `vectors` (support vectors and linear models), `clusters`,
`features` (vectorizers, encoders), `estimators` (what all have in common), `compositions` (estimators of estimators), `sparse`,
`splines`, `frames` (pandas), `generators`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Any, Final

from safepickle.machine import Global
from safepickle.policy import Admitted

from . import clusters, compositions, estimators, features, frames, generators, neighbors, sparse, splines, trees, vectors
from .view import Check, Subject, View

Batch = Callable[[Sequence[Subject]], None]

__all__ = ["Checked", "Watch", "check"]

_CHECKS: Final[dict[str, tuple[Check, ...]]] = {}
for _family in (estimators, compositions, trees, neighbors, vectors, clusters, features, sparse, splines, frames, generators):
    for _name, _check in _family.CHECKS.items():
        _CHECKS[_name] = (*_CHECKS.get(_name, ()), _check)
# Checks that look at all objects of a class at once, after those that look at one.
_BATCHES: Final[dict[str, tuple[Batch, ...]]] = {}
for _batches in (estimators.BATCHES, trees.BATCHES, compositions.BATCHES):
    for _name, _batch in _batches.items():
        _BATCHES[_name] = (*_BATCHES.get(_name, ()), _batch)

_PROOF: Final = object()
_TREE: Final = "sklearn:Tree"


@dataclass(frozen=True, slots=True)
class Checked:
    """Proof that the state of everything that a program builds was checked. Only `check` can make one."""

    admitted: Admitted = field(repr=False)
    objects: Mapping[tuple[str, str], Any] = field(repr=False)
    """What the names of the program stand for."""
    trees: tuple[Subject, ...] = field(repr=False)
    """Decision trees whose depth is still to be asked, in the order in which they are made."""
    proof: InitVar[object] = None

    def __post_init__(self, proof: object) -> None:
        if proof is not _PROOF:
            raise TypeError("only state.check() makes a Checked")


def check(admitted: Admitted, objects: Mapping[tuple[str, str], Any]) -> Checked:
    """Return proof that compiled code can take the objects of an admitted program, whose names stand for `objects`.

    Raises `StateError` with the path in the object, the class, what must be true and what was found.
    """
    view = View(admitted, objects)
    chosen: dict[tuple[int, int], tuple[Check, ...]] = {}
    gathered: dict[str, list[Subject]] = {name: [] for name in _BATCHES}
    for made in admitted.trace.made:
        # One name is one object within a trace.
        key = (id(made.callee), id(made.args[0]) if made.args and type(made.args[0]) is Global else 0)
        checks = chosen.get(key)
        if checks is None:
            checks = chosen[key] = _checks_of(view.lineage(made), gathered)
        if checks:
            subject = view.subject(made)
            for each in checks:
                each(subject)
    for name, batches in _BATCHES.items():
        for batch in batches if gathered[name] else ():
            batch(gathered[name])
    view.forget()
    return Checked(admitted, objects, tuple(sorted(gathered[_TREE], key=lambda tree: tree.made.at)), _PROOF)


def _checks_of(lineage: tuple[str, ...], gathered: dict[str, list[Subject]]) -> tuple[Check, ...]:
    """Return the checks of a class and its bases; those that run on many objects at once come last, once all are gathered."""
    single = dict.fromkeys(each for name in lineage for each in _CHECKS.get(name, ()))
    return (*single, *(gathered[name].append for name in lineage if name in gathered))


class Watch:
    """Asks what only the finished objects can tell, as the unpickler makes them."""

    def __init__(self, checked: Checked) -> None:
        self._checked = checked
        self._built: list[Any] = []
        self.objects = dict(checked.objects)
        """What the unpickler may reach, by the names of the program."""
        for name in {tree.made.callee.key for tree in checked.trees}:
            self.objects[name] = self._recording(checked.objects[name])

    def _recording(self, make: Callable[..., Any]) -> Callable[..., Any]:
        # Not `self`, which would hold what holds it, and with it the whole file in memory.
        built = self._built

        def record(*args: Any) -> Any:
            made = make(*args)
            built.append(made)
            return made

        return record

    def finish(self) -> None:
        """Refuse what was built if it is not what was checked. Raises `StateError`, from which nothing built can be reached."""
        try:
            depths = [trees.depth_of(built) for built in self._built]
        finally:
            self._built.clear()
        for tree, depth in zip(self._checked.trees, depths, strict=True):
            trees.check_depth(tree, depth)
