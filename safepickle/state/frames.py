"""Data frames, series, indexes and extension arrays of pandas.

pandas compares some lengths when it is given blocks and axes, and nothing when it is given codes; compiled code then writes
by the placement of a block (pandas/_libs/internals.pyx, _rebuild_blknos_and_blklocs) and takes by code (algos, hashtable, index.pyx).
So lengths and shapes are worked out here from what is stored: of an index from its data, of an extension array from the arrays
below it. What has none of the forms that pandas writes has no length, and is refused.

Columns of Arrow are judged by the policy (`safepickle.checks`, _arrow_array); here they have a length.
"""

from __future__ import annotations

from typing import Any, Final

from safepickle.machine import Dict, Made

from .view import MISSING, Check, Subject, View

__all__ = ["CHECKS"]

Shape = tuple[int, ...]

_ARRAYS: Final = ("numpy:_frombuffer", "numpy:ndarray", "numpy:memmap")
_LINKS: Final = 8
"""From an index to its data, to the arrays within: no form that pandas writes has more."""
_WORD: Final = 1 << 63
_DENSE: Final = 1 << 27
"""Values of a sparse array, which most of what pandas does with one makes dense."""


def _shape(view: View, value: Any) -> Shape | None:
    """Return the shape of an array or index in any form that the policy lets through, or None for anything else."""
    for _ in range(_LINKS):
        if type(value) is not Made:
            return None
        lineage = view.lineage(value)
        if lineage[0] in _ARRAYS:
            return _array_shape(view, value)
        for name, below in _BELOW.items():
            if name in lineage:
                value = below(view, value)
                break
        else:
            return None
        if type(value) is tuple:
            return value
    return None


def _length(view: View, value: Any) -> int | None:
    """Return the length of an array or index of one dimension, or None for anything else."""
    shape = _shape(view, value)
    return shape[0] if shape is not None and len(shape) == 1 else None


def _array_shape(view: View, value: Made) -> Shape | None:
    """Return the shape of an array of numbers, times, text or objects, in any order of memory; a memmap comes back as an array in memory."""
    if type(value.state) is tuple and len(value.state) == 5:
        return tuple(value.state[1])
    array = view.array(value)
    return None if array is None else tuple(array.shape)


def _below_range(view: View, value: Made) -> Any:
    held = _keywords(value)
    bounds = _bounds(view, [held.get(name) for name in ("start", "stop", "step")])
    return None if bounds is None else (_steps(*bounds),)


def _below_multi(view: View, value: Made) -> Any:
    codes = view.items(_keywords(value).get("codes"))
    return codes[0] if codes else None


def _below_index(view: View, value: Made) -> Any:
    held = _keywords(value)
    return held.get("data", held.get("left"))


def _below_masked(view: View, value: Made) -> Any:
    return view.subject(value).get("_data")


def _below_interval(view: View, value: Made) -> Any:
    return _interval_state(value).get("_left")


def _below_sparse(view: View, value: Made) -> Any:
    index = view.subject(value).get("_sparse_index")
    return (index.args[0],) if view.is_a(index, "pandas:IntIndex") else None


def _below_arrow(view: View, value: Made) -> Any:
    # pandas 2.0 names it _data, and what has both is none of pandas'.
    found = [column for name in ("_pa_array", "_data") if type(column := view.subject(value).get(name)) is Made]
    return (found[0].args[0][1],) if len(found) == 1 and found[0].callee.key == _COLUMN else None


def _below_backed(view: View, value: Made) -> Any:
    return value.state[1] if type(value.state) is tuple and len(value.state) > 1 else None


_COLUMN: Final = ("pyarrow.lib", "_restore_array")
_BELOW: Final = {
    "pandas:RangeIndex": _below_range,
    "pandas:MultiIndex": _below_multi,
    "pandas:Index": _below_index,
    "pandas:NDArrayBacked": _below_backed,
    "pandas:BaseMaskedArray": _below_masked,
    "pandas:IntervalArray": _below_interval,
    "pandas:SparseArray": _below_sparse,
    "pandas:ArrowExtensionArray": _below_arrow,
}
"""What the length of an object is that of: a shape, or the object below it. Most special first."""


def _keywords(value: Made) -> dict[Any, Any]:
    return dict(value.args[1].entries()) if len(value.args) > 1 and type(value.args[1]) is Dict else {}


def _interval_state(value: Made) -> dict[Any, Any]:
    held = value.state[0] if type(value.state) is tuple and value.state else None
    return dict(held.entries()) if type(held) is Dict else {}


def _bounds(view: View, values: Any) -> tuple[int, int, int] | None:
    """Return start, stop and step of a range if they are integers of C, and the step is one."""
    numbers = [view.number(each) for each in values]
    found = [each for each in numbers if type(each) is int and -_WORD <= each < _WORD]
    return (found[0], found[1], found[2]) if len(found) == len(numbers) == 3 and found[2] else None


def _steps(start: int, stop: int, step: int) -> int:
    """Return how many steps a range has. `len` of one is refused above what a C integer holds."""
    return max(0, (stop - start + step - (1 if step > 0 else -1)) // step)


# --- blocks ----------------------------------------------------------------------------------------------------


def _check_frame(frame: Subject) -> None:
    """A DataFrame: what it holds is a manager of blocks of two dimensions."""
    _check_manager(frame, "pandas:BlockManager")


def _check_series(series: Subject) -> None:
    """A Series: what it holds is a manager of one block of one dimension."""
    _check_manager(series, "pandas:SingleBlockManager")


def _check_manager(holder: Subject, name: str) -> None:
    # Without one, looking for it would not end. pandas before 1.1 had another name for it.
    holder.part("_mgr", name)
    holder.require(holder.get("_data") is MISSING, "_data", "its manager must have one name")


def _check_blocks(manager: Subject) -> None:
    """A BlockManager: each column stands in one row of one block, and each block has a column for each label of the index.

    pandas compares the shapes and the number of columns. Whether a column is there twice, or at a place that is none, it does not.
    """
    blocks, axes = manager.items("blocks", value=manager.made.args[0]), manager.items("axes", 2, manager.made.args[1])
    columns, rows = (_axis(manager, f"axes[{number}]", each) for number, each in enumerate(axes))
    # For each it allocates two integers, also if there are no rows.
    manager.require(columns <= manager.view.plenty, "axes[0]", f"it must hold {manager.view.plenty} labels at most", columns)
    seen = manager.np.zeros(columns, bool)
    total = 0
    for number, each in enumerate(blocks):
        entry = f"blocks[{number}]"
        block = manager.part(entry, "pandas:_unpickle_block", value=each)
        values, placement, dimensions = block.made.args
        places = _placement(manager, entry, placement, columns)
        shape = _shape(manager.view, values)
        # An extension array of one dimension is one column.
        column = len(places) == 1 and type(values) is Made and manager.view.lineage(values)[0] not in _ARRAYS and shape == (rows,)
        good = (column or shape == (len(places), rows)) and not manager.view.is_a(values, "pandas:Index")
        manager.require(good, entry, f"its values must be an array of shape ({len(places)}, {rows})", shape)
        manager.require(dimensions == 2, entry, "it must have two dimensions", dimensions)
        total += len(places)
        seen[places if type(places) is not range else slice(places.start, places.stop, places.step)] = True
    manager.require(total == columns and seen.all(), "blocks", f"together they must hold each of {columns} columns once", total)


def _axis(manager: Subject, entry: str, value: Any) -> int:
    length = _length(manager.view, value)
    if length is None or not manager.view.is_a(value, "pandas:Index"):
        manager.fail(entry, "it must be an index", value)
    return length


def _placement(manager: Subject, entry: str, value: Any, columns: int) -> Any:
    """Return the places of the rows of a block, a rising range or an array, each from 0 to `columns` - 1 and there once."""
    array = manager.view.array(value)
    if array is None:
        bounds = _bounds(manager.view, value.args) if type(value) is Made and value.callee.key == ("builtins", "slice") else None
        if bounds is None or bounds[0] < 0 or bounds[2] < 0:
            manager.fail(entry, "it must be placed by an array or a rising slice of integers", value)
        places = range(*bounds)
        manager.require(not places or places[-1] < columns, entry, f"its columns must be of {columns}", places)
        return places
    found = manager.array(entry, "i", (None,), value)
    manager.within(entry, found, 0, columns)
    manager.require(len(manager.np.unique(found)) == len(found), entry, "it must hold a column once")
    return found


def _check_single_block(manager: Subject) -> None:
    """A SingleBlockManager: its one block is as long as its one axis. pandas compares nothing here.

    core/internals/managers.py, __setstate__: what counts is the last part of the state; the others are for ancient readers.
    """
    parts = _dict(manager, "<state>", dict(manager.made.state[3].entries()).get("0.14.1"))
    axis = _axis(manager, "axes[0]", manager.items("axes", 1, parts.get("axes"))[0])
    block = _dict(manager, "blocks[0]", manager.items("blocks", 1, parts.get("blocks"))[0])
    values = block.get("values")
    manager.require(_length(manager.view, values) == axis, "blocks[0]", f"its values must be {axis}", _shape(manager.view, values))
    places = _placement(manager, "blocks[0]", block.get("mgr_locs"), axis)
    manager.require(len(places) == axis, "blocks[0]", f"it must be placed at {axis} places", len(places))


def _dict(subject: Subject, entry: str, value: Any) -> dict[Any, Any]:
    if type(value) is not Dict:
        subject.fail(entry, "it must be a dict", value)
    return dict(value.entries())


# --- indexes and arrays ----------------------------------------------------------------------------------------


def _check_index(index: Subject) -> None:
    """An index of any kind: one dimension. Python asks an array without one for its length, and pandas in C does not."""
    index.require(_length(index.view, index.made) is not None, "data", "it must be an array or index of one dimension")


def _check_backed(array: Subject) -> None:
    """An extension array over one of numpy, of one or two dimensions: pandas/_libs/arrays.pyx sees to that only where it makes one."""
    shape = _shape(array.view, array.made)
    array.require(shape is not None and len(shape) in (1, 2), "_ndarray", "it must be an array of one or two dimensions", shape)


def _check_range(index: Subject) -> None:
    """A RangeIndex: three integers of C, and a length that is one too."""
    held = _keywords(index.made)
    for entry in ("start", "stop", "step"):
        index.integer(entry, -_WORD, _WORD - 1, held.get(entry))
    index.require(index.view.number(held["step"]) != 0, "step", "it must not be 0")
    index.require((_length(index.view, index.made) or 0) < _WORD, "stop", "it must not be longer than an integer of C can say")


def _check_multi_index(index: Subject) -> None:
    """A MultiIndex: codes of one length, each -1 or the place of a label of its level.

    core/indexes/multi.py: verify_integrity=False, since it was valid when it was pickled.
    """
    held = _keywords(index.made)
    codes = index.items("codes", value=held.get("codes"))
    levels = index.items("levels", len(codes), held.get("levels"))
    if held.get("sortorder") is not None:
        index.integer("sortorder", 0, len(codes), held["sortorder"])
    length = _length(index.view, codes[0]) if codes else None
    for number, (each, level) in enumerate(zip(codes, levels, strict=True)):
        labels = _length(index.view, level)
        index.require(labels is not None and index.view.is_a(level, "pandas:Index"), f"levels[{number}]", "it must be an index", level)
        found = index.array(f"codes[{number}]", "i", (length,), each)
        index.within(f"codes[{number}]", found, -1, int(labels or 0))


def _check_categorical(array: Subject) -> None:
    """A Categorical: each code is -1 or the place of a category."""
    dtype, codes = array.made.state[:2]
    categories = array.part("dtype", "pandas:CategoricalDtype", value=dtype).get("categories")
    labels = _length(array.view, categories)
    if labels is None or not array.view.is_a(categories, "pandas:Index"):
        array.fail("dtype.categories", "it must be an index", categories)
    array.within("codes", array.array("codes", "i", value=codes), -1, labels)


def _check_times(array: Subject) -> None:
    """A DatetimeArray or TimedeltaArray: numpy's dates or durations in one of the units that pandas has, which its dtype says as well."""
    dtype, values = array.made.state[:2]
    found = array.array("_ndarray", "Mm", value=values)
    unit = array.np.datetime_data(found.dtype)
    array.require(unit[0] in ("s", "ms", "us", "ns") and unit[1] == 1, "_ndarray", "its unit must be one of s, ms, us and ns", found.dtype)
    described = array.view.findings.dtype(dtype)
    if described is not None:
        expected = array.view.dtype(described)
        array.require(expected == found.dtype, "dtype", f"it must be that of its array, {found.dtype}", expected)
        return
    stated = array.part("dtype", "pandas:DatetimeTZDtype", value=dtype).get("unit")
    array.require(found.dtype.kind == "M" and unit == (stated, 1), "dtype", f"its unit must be that of its array, {unit[0]}", stated)


def _check_periods(array: Subject) -> None:
    """A PeriodArray: integers."""
    array.part("dtype", "pandas:PeriodDtype", value=array.made.state[0])
    array.array("_ndarray", "i8", value=array.made.state[1])


def _check_interval_array(array: Subject) -> None:
    """An IntervalArray: as many bounds at the right as at the left."""
    held = _interval_state(array.made)
    left, right = (_length(array.view, held.get(entry)) for entry in ("_left", "_right"))
    array.require(left is not None, "_left", "it must be an array or index", held.get("_left"))
    array.require(right == left, "_right", f"it must hold {left} bounds", right)


_MASKED: Final = {"pandas:BooleanArray": "b", "pandas:IntegerArray": "iu", "pandas:FloatingArray": "f"}


def _check_masked(array: Subject) -> None:
    """A BooleanArray, IntegerArray or FloatingArray: its mask has the shape of its values."""
    if array.get("_data") is MISSING:
        return
    kinds = "".join(kinds for name, kinds in _MASKED.items() if array.is_a(name))
    values = array.array("_data", kinds)
    array.require(values.ndim in (1, 2), "_data", "it must have one or two dimensions", values.shape)
    array.array("_mask", "b", values.shape)


def _check_sparse_array(array: Subject) -> None:
    """A SparseArray: a value for each position. pandas/_libs/sparse.pyx reads both up to the number of positions."""
    index = array.part("_sparse_index", "pandas:IntIndex")
    positions = _length(array.view, index.made.args[1])
    found = _length(array.view, array.get("_sparse_values"))
    array.require(found is not None and found == positions, "_sparse_values", f"it must hold {positions} values", found)


def _check_positions(index: Subject) -> None:
    """An IntIndex: rising positions below its length. pandas looks at them as well, after it has cut them to 32 bits."""
    length, positions = index.made.args
    index.integer("length", 0, max(_DENSE, index.view.plenty), length)
    found = index.array("indices", "i", (None,), positions)
    index.within("indices", found, 0, length)
    index.require((found[1:] > found[:-1]).all(), "indices", "each position must be larger than the one before")


def _check_arrow(array: Subject) -> None:
    """An ArrowExtensionArray: a column of Arrow, which the policy has judged."""
    array.require(_length(array.view, array.made) is not None, "_pa_array", "it must be a column of Arrow", array.get("_pa_array"))


CHECKS: Final[dict[str, Check]] = {
    "pandas:DataFrame": _check_frame,
    "pandas:Series": _check_series,
    "pandas:BlockManager": _check_blocks,
    "pandas:SingleBlockManager": _check_single_block,
    "pandas:Index": _check_index,
    "pandas:RangeIndex": _check_range,
    "pandas:MultiIndex": _check_multi_index,
    "pandas:NDArrayBacked": _check_backed,
    "pandas:Categorical": _check_categorical,
    "pandas:DatetimeArray": _check_times,
    "pandas:TimedeltaArray": _check_times,
    "pandas:PeriodArray": _check_periods,
    "pandas:IntervalArray": _check_interval_array,
    "pandas:BaseMaskedArray": _check_masked,
    "pandas:SparseArray": _check_sparse_array,
    "pandas:IntIndex": _check_positions,
    "pandas:ArrowExtensionArray": _check_arrow,
}
