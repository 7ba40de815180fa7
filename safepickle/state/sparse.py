"""Sparse matrices and arrays of scipy.

Compiled code (scipy/sparse/sparsetools, _csparsetools.pyx, and what scikit-learn compiles over `indptr` and `indices`) takes
every index for one within the shape, and writes there as well: `toarray`, `tocsc`, `.T`. scipy compares lengths in its
constructors, and those do not run when a matrix is unpickled. What sizes the output is compared here as Python integers.

Not judged: whether `has_sorted_indices` and `has_canonical_format` are true. scipy itself verifies them where a wrong one would
write too much, so that a lie changes a result at most, and scipy up to 1.13 lies in earnest after `setdiag`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from safepickle.machine import Dict, List

from .view import MISSING, Check, Subject

__all__ = ["CHECKS"]

_INDICES: Final = ("i4", "i8")
# Offsets of diagonals that lie outside the matrix, as they do after it was made smaller, by so much at most.
_SLACK: Final = 1 << 20
# What scipy keeps in the class, to tell formats apart.
_OF_THE_CLASS: Final = ("_format", "format", "ndim", "_allow_nd", "_is_array")


def _check_csr(matrix: Subject) -> None:
    """Rows that are compressed; an array may have one dimension, and is then its only row."""
    shape = _shape(matrix, 1, 2)
    _check_compressed(matrix, shape[0] if len(shape) == 2 else 1, shape[-1], _data(matrix, 1))


def _check_csc(matrix: Subject) -> None:
    """Columns that are compressed."""
    rows, columns = _shape(matrix)
    _check_compressed(matrix, columns, rows, _data(matrix, 1))


def _check_bsr(matrix: Subject) -> None:
    """Rows of blocks that are compressed: the last two dimensions of the data are those of a block, and scipy divides by them."""
    rows, columns = _shape(matrix)
    data = _data(matrix, 3)
    high, wide = data.shape[1:]
    matrix.require(high and wide, "data", "a block must hold a number", data.shape)
    matrix.require(rows % high == 0 and columns % wide == 0, "_shape", f"it must be a multiple of blocks of {high} x {wide}", (rows, columns))
    _check_compressed(matrix, rows // high, columns // wide, data)


def _check_compressed(matrix: Subject, major: int, minor: int, data: Any) -> None:
    """Refuse a row or column that lies outside `indices` and `data`, and an index outside the other dimension.

    sparsetools/csr.h, csc.h, bsr.h: loops over `indices[indptr[i]:indptr[i + 1]]`, reading `data` and writing at each index.
    """
    starts, indices = _index_array(matrix, "indptr"), _index_array(matrix, "indices")
    matrix.require(len(starts) == major + 1, "indptr", f"it must hold {major + 1} numbers", len(starts))
    matrix.require(len(indices) == len(data), "indices", f"it must be as long as data, {len(data)}", len(indices))
    stored = int(starts[-1])
    matrix.require(starts[0] == 0, "indptr", "it must begin with 0", int(starts[0]))
    matrix.require(stored <= len(indices), "indptr", f"it must end with {len(indices)} at most", stored)
    matrix.require((starts[1:] >= starts[:-1]).all(), "indptr", "it must not decrease")
    # Those that no row needs, too: some code runs over all.
    matrix.within("indices", indices, 0, minor)


def _check_coo(matrix: Subject) -> None:
    """Coordinates and values, in as many dimensions as there are arrays; before scipy 1.13 two, `row` and `col`.

    sparsetools/coo.h, coo_tocsr and coo_todense: each value is written at its coordinates.
    """
    shape = _shape(matrix, 1, 64)
    size = len(_data(matrix, 1))
    named = []
    if matrix.get("coords") is not MISSING:
        coords = matrix.get("coords")
        matrix.require(type(coords) is tuple and len(coords) == len(shape), "coords", f"it must be a tuple of {len(shape)} arrays", coords)
        named.append([(f"coords[{axis}]", each) for axis, each in enumerate(coords)])
    if not named or matrix.get("row") is not MISSING or matrix.get("col") is not MISSING:
        matrix.require(len(shape) == 2, "_shape", "with row and col it must have two dimensions", shape)
        named.append([("row", matrix.get("row")), ("col", matrix.get("col"))])
    for form in named:
        for (entry, value), length in zip(form, shape, strict=True):
            array = _index_array(matrix, entry, value)
            matrix.require(len(array) == size, entry, f"it must be as long as data, {size}", len(array))
            matrix.within(entry, array, 0, length)


def _check_dia(matrix: Subject) -> None:
    """Diagonals: a row of data for each, and sums of offset and row or column that stay within their integers.

    sparsetools/dia.h. dia_matmat allocates from the lowest to the highest offset.
    """
    rows, columns = _shape(matrix)
    data = _data(matrix, 2)
    offsets = _index_array(matrix, "offsets")
    matrix.require(len(offsets) == len(data), "offsets", f"it must have one for each of {len(data)} diagonals", len(offsets))
    matrix.require(len(matrix.np.unique(offsets)) == len(offsets), "offsets", "each diagonal must have an offset of its own")
    far = min(max(rows, columns, data.shape[1]), 1 << 62) + _SLACK
    matrix.within("offsets", offsets, -far, far + 1)


def _check_lil(matrix: Subject) -> None:
    """A list of columns and a list of values for each row.

    _csparsetools.pyx: `tocsr` sizes its output by the lists of columns, and copies those of values without a bound.
    """
    rows, columns = _shape(matrix)
    for entry in ("rows", "data"):
        found = matrix.view.shape_of_objects(matrix.get(entry))
        matrix.require(found == (rows,), entry, f"it must be an array of {rows} lists", found)
    seen: set[int] = set()
    for number, (places, values) in enumerate(zip(matrix.items("rows"), matrix.items("data"), strict=True)):
        for entry, each in (("rows", places), ("data", values)):
            # What is set in one row would be set in the other, too, and in only one of the two lists.
            matrix.require(type(each) is List and id(each) not in seen, f"{entry}[{number}]", "it must be a list of its own", each)
            seen.add(id(each))
        matrix.require(len(places.items) == len(values.items), f"data[{number}]", f"it must hold {len(places.items)} values", len(values.items))
        _check_places(matrix, f"rows[{number}]", places.items, columns)


def _check_dok(matrix: Subject) -> None:
    """A dict from coordinates to values: before scipy 1.13 the matrix itself, now an entry."""
    shape = _shape(matrix, 1, 2)
    for entry, value in (("_dict", matrix.get("_dict")), ("", matrix.made.args[2])):
        if type(value) is not Dict:
            matrix.require(value is MISSING, entry, "it must be a dict", value)
            continue
        keys = value.flat[::2]
        if len(shape) == 1:
            _check_places(matrix, entry, keys, shape[0])
            continue
        matrix.require(all(type(key) is tuple and len(key) == 2 for key in keys), entry, "each key must be a row and a column")
        for axis, length in enumerate(shape):
            _check_places(matrix, entry, [key[axis] for key in keys], length)


def _check_places(matrix: Subject, entry: str, places: Iterable[Any], length: int) -> None:
    for each in places:
        place = each if type(each) is int else matrix.view.number(each)
        if type(place) is not int or not 0 <= place < length:
            matrix.fail(entry, f"each index must be an integer from 0 to {length - 1}", each)


def _shape(matrix: Subject, fewest: int = 2, most: int = 2) -> tuple[int, ...]:
    """Return the shape, and refuse a matrix that says it is of another format than its class."""
    for entry in _OF_THE_CLASS:
        matrix.require(matrix.get(entry) is MISSING, entry, "it belongs to the class", matrix.get(entry))
    shape = matrix.get("_shape")
    good = type(shape) is tuple and fewest <= len(shape) <= most and all(type(each) is int and 0 <= each < 1 << 63 for each in shape)
    dimensions = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    matrix.require(good, "_shape", f"it must be a tuple of {dimensions} integers that are not negative", shape)
    return tuple(shape)


def _data(matrix: Subject, dimensions: int) -> Any:
    """Return the values: numbers of any byte order, since scipy copies those of another."""
    data = matrix.array("data")
    matrix.require(data.dtype.kind in "biufc", "data", "it must be an array of numbers", data.dtype)
    matrix.require(data.ndim == dimensions, "data", f"it must have {dimensions} dimensions", data.shape)
    return data


def _index_array(matrix: Subject, entry: str, value: Any = MISSING) -> Any:
    array = matrix.array(entry, "i", (None,), value)
    matrix.require(array.dtype in _INDICES, entry, "it must be of int32 or int64", array.dtype)
    return array


CHECKS: Final[dict[str, Check]] = {
    f"scipy:{name}_{kind}": check
    for name, check in {
        "csr": _check_csr,
        "csc": _check_csc,
        "bsr": _check_bsr,
        "coo": _check_coo,
        "dia": _check_dia,
        "lil": _check_lil,
        "dok": _check_dok,
    }.items()
    for kind in ("matrix", "array")
}
