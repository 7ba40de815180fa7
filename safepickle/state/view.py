"""What checks look at: the values that an admitted program will build, before any of it is built.

An array is a read-only numpy view of the bytes in the file; nothing is copied, and no method of the program's objects
runs. numpy is taken from `sys.modules`: a file whose arrays matter names classes that have brought it along.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

from safepickle.checks import Dtype, raw_bytes
from safepickle.errors import LimitError, StateError
from safepickle.machine import ABSENT, Dict, FrozenSet, Global, List, Made, Set, brief, paths
from safepickle.policy import Admitted

__all__ = ["MISSING", "Subject", "View"]

MISSING: Final = ABSENT
"""What a subject answers for an entry that its state does not have."""

_SCALAR: Final = ("numpy._core.multiarray", "scalar")
_NDARRAY: Final = ("numpy", "ndarray")
_PARTIAL: Final = ("functools", "partial")


class View:
    """The objects of one admitted program, with the classes that its names were resolved to."""

    def __init__(self, admitted: Admitted, objects: Mapping[tuple[str, str], Any]) -> None:
        self.trace = admitted.trace
        self.findings = admitted.findings
        self.policy = admitted.policy
        self.objects = objects
        self.np: Any = sys.modules.get("numpy")
        self._arrays: dict[int, Any] = {}
        self._counts: dict[int, list[int]] = {}
        self._dtypes: dict[Any, Any] = {}
        self._numbers: dict[int, Any] = {}
        self._lineages: dict[int, tuple[str, ...]] = {}
        self._subjects: dict[int, Subject] = {}
        self._asked: set[tuple[Any, ...]] = set()
        self._looked = 0
        self._may_look = 16 * len(self.trace.program) + (1 << 20)
        size = len(self.trace.program) + sum(memoryview(buffer).nbytes for buffer in self.trace.buffers)
        self.plenty = max(1 << 24, size)
        """More columns, names or outputs than this have nothing in the file to go with them."""

    def array(self, value: Any) -> Any:
        """Return an exact `numpy.ndarray` of plain or structured items as a view, or None for anything else."""
        # Only ids of made objects stand there, and the trace keeps these alive.
        known = self._arrays.get(id(value))
        if known is None:
            found = self.findings.array(value)
            if found is None:
                return None
            known = self._arrays[id(value)] = self._viewed(value, *found)
        return known if known is not MISSING else None

    def shape(self, value: Any) -> tuple[int, ...] | None:
        """Return the shape of what `array` returns, without making the view where only its size matters."""
        found = self.findings.array(value)
        if found is not None and value.state is ABSENT and value.args[3] != "K":
            return found[1]
        array = self.array(value)
        return None if array is None else array.shape

    def counts(self, value: Any) -> list[int]:
        """Return the numbers of a small array of integers, as the classes of each output of a tree; empty if it is no such array."""
        known = self._counts.get(id(value))
        if known is None:
            array = self.array(value)
            known = self._counts[id(value)] = array.tolist() if array is not None and array.ndim == 1 and array.dtype.kind in "iu" else []
        return known

    def _viewed(self, made: Made, dtype: Dtype, shape: tuple[int, ...]) -> Any:
        if made.state is ABSENT:
            order = made.args[3]
            raw = raw_bytes(made.args[0], self.trace)
            if order == "K":
                axes = made.args[4]
                if sorted(axes) != list(range(len(shape))):
                    return MISSING
                # numpy/_core/numeric.py, _frombuffer.
                return self._laid(raw, dtype, shape, "C").transpose(axes)
        else:
            if self.policy.canonical(made.args[0].key) != _NDARRAY:
                return MISSING
            order = "F" if made.state[3] else "C"
            raw = made.state[4]
        return self._laid(raw, dtype, shape, order)

    def _laid(self, raw: Any, dtype: Dtype, shape: tuple[int, ...], order: str) -> Any:
        if not len(raw):
            # numpy makes no view of nothing.
            return self.np.empty(shape, self.dtype(dtype), order)
        flat = self.np.frombuffer(raw, self.dtype(dtype))
        return flat if len(shape) == 1 else flat.reshape(shape, order=order)

    def dtype(self, described: Dtype) -> Any:
        """Return the numpy dtype of a description that the policy has judged."""
        found = self._dtypes.get(id(described))
        if found is None:
            found = self._dtypes[id(described)] = _numpy_dtype(self.np, described)
        return found

    def number(self, value: Any) -> int | float | None:
        """Return a Python or numpy number, or None for anything else; a bool is no number."""
        if type(value) is int or type(value) is float:
            return value
        if type(value) is not Made:
            return None
        known = self._numbers.get(id(value), MISSING)
        if known is MISSING:
            number = self.findings.number(value) if self.policy.canonical(value.callee.key) == _SCALAR else None
            known = self._numbers[id(value)] = None if type(number) is bool else number
        found: int | float | None = known
        return found

    def truth(self, value: Any) -> bool | None:
        """Return a bool of Python or numpy, or None for anything else."""
        if type(value) is Made and self.policy.canonical(value.callee.key) == _SCALAR:
            value = self.findings.number(value)
        return value if type(value) is bool else None

    def items(self, value: Any) -> Sequence[Any] | None:
        """Return what a list, tuple or array of objects holds, the array row by row, or None for anything else."""
        if type(value) is List:
            return value.items
        if type(value) is tuple:
            return value
        return value.state[4].items if self.shape_of_objects(value) is not None else None

    def shape_of_objects(self, value: Any) -> tuple[int, ...] | None:
        """Return the shape of an exact array of Python objects in C order, or None for anything else."""
        if type(value) is not Made or type(value.state) is not tuple or len(value.state) != 5 or type(value.state[4]) is not List:
            return None
        if type(value.args[0]) is not Global or self.policy.canonical(value.args[0].key) != _NDARRAY or (value.state[3] and len(value.state[1]) > 1):
            return None
        shape: tuple[int, ...] = value.state[1]
        return shape

    def length(self, value: Any) -> int | None:
        """Return the length of a list, tuple, dict, set or array, or None for anything else."""
        if type(value) is Dict:
            return len(value.flat) // 2
        if type(value) in (List, Set, FrozenSet):
            return len(value.items)
        if type(value) is tuple:
            return len(value)
        shape = self.shape(value)
        shape = self.shape_of_objects(value) if shape is None else shape
        # Items without bytes cost the file nothing, and whoever allocates for each of them a lot.
        return shape[0] if shape and (shape[0] <= self.plenty or 0 not in shape) else None

    def lineage(self, made: Made) -> tuple[str, ...]:
        """Return the class of an object and its bases, each as `library:QualifiedName`."""
        # A function that takes a class first makes an object of it; a class that does (as functools.partial) makes one of itself.
        by_argument = made.how == "call" and made.args and type(made.args[0]) is Global and not isinstance(self.objects.get(made.callee.key), type)
        name = made.args[0] if by_argument else made.callee
        known = self._lineages.get(id(name))
        if known is None:
            cls = self.objects.get(name.key)
            bases = cls.__mro__ if isinstance(cls, type) else ()
            known = tuple(f"{base.__module__.partition('.')[0]}:{base.__qualname__}" for base in bases)
            # Cython registers some modules without their package.
            module, qualified = self.policy.canonical(name.key)
            known = self._lineages[id(name)] = tuple(dict.fromkeys((f"{module.partition('.')[0]}:{qualified}", *known)))
        return known

    def is_a(self, value: Any, *names: str) -> bool:
        """Tell whether a value is an object of one of the classes, or of one derived from them."""
        if type(value) is not Made:
            return False
        lineage = self.lineage(value)
        # One name mostly, and the first of a lineage is the class itself.
        return lineage[0] in names or not set(names).isdisjoint(lineage)

    def unwrapped(self, function: Any) -> tuple[Any, tuple[Any, ...], frozenset[str]]:
        """Return what a `functools.partial` calls, the arguments that it gives by place, and the names of those that it gives by name.

        Anything else is its own function, with nothing given. A rule has judged the form of a partial.
        """
        if type(function) is not Made or self.policy.canonical(function.callee.key) != _PARTIAL:
            return function, (), frozenset()
        _, given, named, _ = function.state
        return function.args[0], given, frozenset(named.flat[::2] if type(named) is Dict else ())

    def charge(self, count: int) -> None:
        """Count items that are looked at one by one. Raises `LimitError` if the same ones are, over and over."""
        self._looked += count
        if self._looked > self._may_look:
            raise LimitError(f"checking the state would look at more than {self._may_look} items: the same parts are used over and over")

    def once(self, *key: Any) -> bool:
        """Tell whether this is asked for the first time: what many objects share is looked at once for the same question."""
        new = key not in self._asked
        self._asked.add(key)
        return new

    def forget(self) -> None:
        """Let go of the subjects, which hold this view: else the file would stay in memory until Python looks for such circles."""
        self._subjects.clear()

    def subject(self, made: Made) -> Subject:
        """Return an object of the program as checks see it."""
        found = self._subjects.get(id(made))
        if found is None:
            found = self._subjects[id(made)] = Subject(self, made)
        return found


@functools.lru_cache(maxsize=64)
def _numpy_dtype(np: Any, described: Dtype) -> Any:
    # Kept, since making a structured one takes numpy longer than all other checks of a small tree.
    if described.fields:
        names, offsets, formats = zip(*described.fields, strict=True)
        spec = {"names": names, "offsets": offsets, "formats": [_numpy_dtype(np, each) for each in formats], "itemsize": described.itemsize}
        return np.dtype(spec)
    return np.dtype(described.spec) if described.spec else np.dtype((np.void, described.itemsize))


class Subject:
    """One object that the program makes, with the entries of its state. Every refusal is a `StateError` that says where and why."""

    __slots__ = ("entries", "made", "np", "view")

    def __init__(self, view: View, made: Made) -> None:
        self.view = view
        self.made = made
        self.np = view.np
        state = made.state
        parts = state if type(state) is tuple and len(state) == 2 and type(state[1]) is Dict else (state,)
        self.entries: dict[str, Any] = {}
        for part in parts:
            if type(part) is Dict:
                self.entries.update(part.entries())

    @property
    def name(self) -> str:
        """The name of its class."""
        return self.view.lineage(self.made)[0].partition(":")[2]

    def is_a(self, *names: str) -> bool:
        """Tell whether it is of one of the classes, or of one derived from them."""
        return self.view.is_a(self.made, *names)

    def get(self, entry: str) -> Any:
        """Return an entry of the state, or `MISSING`."""
        return self.entries.get(entry, MISSING)

    def has(self, entry: str) -> bool:
        """Tell whether the state has an entry other than None."""
        return self.entries.get(entry) is not None

    def fail(self, entry: str, invariant: str, found: Any = MISSING) -> NoReturn:
        """Refuse the object: `entry` does not hold what compiled code takes for granted."""
        where = paths(self.view.trace, [self.made]).get(id(self.made), "(no part of the result)")
        shown = "; there is none" if found is MISSING and self.get(entry) is MISSING and entry.isidentifier() else ""
        shown = shown if found is MISSING else f"; found {_shown(found)}"
        raise StateError(
            f"{where}{'.' if entry[:1].isidentifier() else ''}{entry}: {self.name}: {invariant}{shown}; compiled code does not check this "
            "and could read or write foreign memory, or never end: make the model anew"
        )

    def require(self, condition: Any, entry: str, invariant: str, found: Any = MISSING) -> None:
        """Refuse the object unless the condition holds."""
        if not condition:
            self.fail(entry, invariant, found)

    def array(self, entry: str, kinds: str = "", shape: tuple[int | None, ...] | None = None, value: Any = MISSING, *, shared: bool = False) -> Any:
        """Return an entry as a view, an exact array of the stated kinds and shape.

        `kinds` are letters of `numpy.dtype.kind` ("f", "iu"), or one dtype ("f8", "i8"), always in native byte order; an
        item of `shape` that is None may be of any length. `value` is the array where it is not the entry itself. Integers must
        stand nowhere else in the object, unless they may be `shared`, since nothing is read or written by them.
        """
        given = self.get(entry) if value is MISSING else value
        array = self.view.array(given)
        if array is None:
            self.fail(entry, "it must be an array of numbers", given)
        if given.handles > 1 and not shared and array.dtype.kind in "iuV":
            # What else holds it may write to it after it was checked: some methods do so to what they are given.
            self.fail(entry, "it must stand nowhere else in the object, for its numbers are believed")
        if kinds and not (array.dtype == kinds if kinds[-1:].isdigit() else array.dtype.kind in kinds and array.dtype.isnative):
            self.fail(entry, f"its dtype must be {kinds if kinds[-1:].isdigit() else 'native, of kind ' + ' or '.join(kinds)}", array.dtype)
        if shape is not None and not _fits(array.shape, shape):
            wanted = ", ".join("any" if each is None else str(each) for each in shape)
            self.fail(entry, f"its shape must be ({wanted}{',' if len(shape) == 1 else ''})", array.shape)
        return array

    def rows(self, entry: str, kind: str, shape: tuple[int | None, ...]) -> int:
        """Return the length of an array in C order of exactly this dtype ("f8", "u4") and shape, whose numbers nobody believes."""
        given = self.get(entry)
        found = self.view.findings.array(given)
        # The common form, as the policy has judged it: there is nothing to ask a view for.
        plain = found is not None and given.state is ABSENT and given.args[3] == "C" and given.handles == 1
        if plain and found is not None and found[0].code == kind and found[0].big_endian == (sys.byteorder == "big") and _fits(found[1], shape):
            return found[1][0]
        array = self.array(entry, kind, shape)
        self.require(array.flags.c_contiguous, entry, "it must be in C order")
        return len(array)

    def integer(self, entry: str, low: int, high: int, value: Any = MISSING) -> int:
        """Return an entry as an integer from `low` to `high`."""
        given = self.get(entry) if value is MISSING else value
        number = given if type(given) is int else self.view.number(given)
        if type(number) is not int or not low <= number <= high:
            self.fail(entry, f"it must be {low}" if low == high else f"it must be an integer from {low} to {high}", given)
        return number

    def real(self, entry: str, low: float, high: float, value: Any = MISSING) -> float:
        """Return an entry as a number from `low` to `high`; NaN is none."""
        given = self.get(entry) if value is MISSING else value
        number = self.view.number(given)
        if number is None or not low <= number <= high:
            self.fail(entry, f"it must be a number from {low} to {high}", given)
        return number

    def truth(self, entry: str) -> bool:
        """Return an entry as a bool."""
        found = self.view.truth(self.get(entry))
        if found is None:
            self.fail(entry, "it must be True or False", self.get(entry))
        return found

    def items(self, entry: str, length: int | None = None, value: Any = MISSING) -> Sequence[Any]:
        """Return what a list, tuple or array of objects holds."""
        given = self.get(entry) if value is MISSING else value
        found = self.view.items(given)
        if found is None:
            self.fail(entry, "it must be a list, a tuple or an array of objects", given)
        if length is not None and len(found) != length:
            self.fail(entry, f"it must hold {length} items", f"{len(found)} items")
        self.view.charge(len(found))
        return found

    def part(self, entry: str, *names: str, value: Any = MISSING) -> Subject:
        """Return an entry that is an object of one of the classes, or of one derived from them."""
        given = self.get(entry) if value is MISSING else value
        if not self.view.is_a(given, *names):
            self.fail(entry, f"it must be {' or '.join(each.partition(':')[2] for each in names)}", given)
        return self.view.subject(given)

    def within(self, entry: str, array: Any, low: int, high: int) -> None:
        """Refuse an array of integers unless each is at least `low` and below `high`."""
        if array.size:
            least, most = array.min(), array.max()
            if least < low or most >= high:
                self.fail(entry, f"each number must be from {low} to {high - 1}", least if least < low else most)

    def finite(self, entry: str, array: Any) -> None:
        """Refuse an array of floats unless each is a finite number."""
        if not self.np.isfinite(array).all():
            self.fail(entry, "each number must be finite")

    def permutation(self, entry: str, array: Any, size: int) -> None:
        """Refuse an array unless it holds each number from 0 to `size` - 1 once."""
        self.require(array.shape == (size,), entry, f"it must hold {size} numbers", array.shape)
        self.within(entry, array, 0, size)
        seen = self.np.zeros(size, bool)
        seen[array] = True
        self.require(seen.all(), entry, f"it must hold each number from 0 to {size - 1} once")


Check = Callable[[Subject], None]


def _fits(found: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    if len(found) != len(wanted):
        return False
    for length, size in zip(found, wanted, strict=True):  # noqa: SIM110 - all() of a generator takes three times as long
        if size is not None and size != length:
            return False
    return True


def _shown(value: Any) -> str:
    """Return a short text of what was found: an atom as it is, anything else by its form."""
    if type(value) is Made:
        return f"an object made by {value.callee}"
    if type(value) is Global:
        return f"the name {value}"
    if type(value) in (List, Dict, Set, FrozenSet):
        return f"a {type(value).__name__.lower()}"
    if value is None or type(value) in (int, float, bool, bytes):
        return brief(value)
    return str(value)[:80] if type(value) is not tuple else str(value[:8])[:80]
