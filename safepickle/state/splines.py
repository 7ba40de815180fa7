"""Splines, grids, triangulations, spatial trees, densities and distributions of scipy.

Their constructors compare sizes, and those do not run when an object is unpickled; compiled code then reads coefficients by
knot, neighbours by simplex and points by tree node. Old and new releases name the same arrays `t` and `_t`, `c` and `_c`.

`interp1d` by itself and the covariances of `scipy.stats` are evaluated by numpy, which looks at its bounds. A distribution is a
function of its arguments; how long one takes for extreme ones is scipy's, but for the two that are C++ and end the process.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any, Final

from safepickle.machine import Dict, Made

from .view import MISSING, Check, Subject

__all__ = ["CHECKS"]

_DEGREE: Final = 200
"""The work for a point grows with the square of the degree, that for roots with its cube; nobody fits one of 30."""
_FITPACK_DEGREE: Final = 19
"""interpolate/fitpack, fpbspl.f: room for 20 values on the stack. Integrals of splines of degree 5 are of a higher one."""
_FITPACK: Final = "scipy.interpolate._fitpack2"
"""Before scipy 1.18 it has dfitpack, FITPACK in Fortran, which goes on from sums and counts; since then FITPACK is C and keeps none."""
_DEPTH: Final = 10_000
"""Tree nodes in a row, each a call on the stack of C. Points at distances of powers of two reach 2,000."""
_MOST_ODDS: Final = 1e40
_NODE: Final = {
    "names": ("split_dim", "start", "end", "less", "greater"),
    "formats": ("i8", "i8", "i8", "i8", "i8"),
    "offsets": (0, 24, 32, 56, 64),
    "itemsize": 72,
}
"""scipy/spatial/ckdtree/src/ckdtree_decl.h, struct ckdtreenode: the rest is a length, the split and two pointers, which are set anew."""


def _check_bspline(spline: Subject) -> None:
    """A BSpline: at each point it reads as many knots and coefficients around it as its degree says.

    interpolate/src/__fitpack.cc, before scipy 1.15 _bspl.pyx: find_interval, evaluate_spline. Since scipy 1.18 a shell around one.
    """
    state = spline.made.state
    if type(state) is tuple and state and type(state[0]) is Made:
        spline.part("<state>[0]", "scipy:_BSpline", value=state[0])
        return
    degree = spline.integer("k", 0, _DEGREE)
    knots = _named(spline, "_t", "t")
    size = len(_knots(spline, knots, spline.get(knots), degree))
    _coefficients(spline, _named(spline, "_c", "c"), (size - degree - 1,))


def _check_nd_bspline(spline: Subject) -> None:
    """A tensor product of B-splines, with a table of which coefficients belong to a point, which must be the only one there is.

    interpolate/src/__fitpack.cc, _evaluate_ndbspline. Before scipy 1.15 the table is made at each call.
    """
    sizes = []
    if _named(spline, "_t", "t") == "t":
        knots = spline.items("t")
        degrees = [spline.integer(f"k[{axis}]", 0, _DEGREE, each) for axis, each in enumerate(spline.items("k", len(knots)))]
        for axis, (each, degree) in enumerate(zip(knots, degrees, strict=True)):
            sizes.append(len(_knots(spline, f"t[{axis}]", each, degree)) - degree - 1)
    else:
        packed = spline.array("_t", "f8", (None, None))
        dimensions = len(packed)
        lengths, orders = spline.array("_len_t", "i", (dimensions,)), spline.array("_k", "i", (dimensions,))
        spline.within("_len_t", lengths, 2, packed.shape[1] + 1)
        spline.within("_k", orders, 0, _DEGREE + 1)
        degrees = orders.tolist()
        for axis, degree in enumerate(degrees):
            length = int(lengths[axis])
            _check_knots(spline, f"_t[{axis}]", packed[axis, :length], degree)
            sizes.append(length - degree - 1)
        _check_table(spline, [degree + 1 for degree in degrees])
    _coefficients(spline, _named(spline, "_c", "c"), sizes, exact=True)


def _check_table(spline: Subject, shape: Sequence[int]) -> None:
    volume = math.prod(shape)
    table = spline.array("_indices_k1d", "i", (volume, len(shape)))
    expected = spline.np.stack(spline.np.unravel_index(spline.np.arange(volume), shape), axis=-1)
    spline.require((table == expected).all(), "_indices_k1d", f"it must list the indices of an array of shape {tuple(shape)}")


def _check_univariate(spline: Subject) -> None:
    """A UnivariateSpline: FITPACK evaluates `_eval_args`, and goes on fitting from `_data`.

    interpolate/fitpack: splev.f, spalde.f, fpcurf.f, fpknot.f; the wrappers compare some sizes, not all.
    """
    if spline.get("_eval_args") is not MISSING:
        knots, coefficients, degree = spline.items("_eval_args", 3)
        degree = spline.integer("_eval_args[2]", 0, _FITPACK_DEGREE, degree)
        size = len(_knots(spline, "_eval_args[0]", knots, degree))
        _coefficients(spline, "_eval_args[1]", (size - degree - 1,), coefficients)
    if not spline.has("_data"):
        return
    parts = spline.items("_data", 14)
    names = [f"_data[{number}]" for number in range(14)]
    if parts[0] is None:
        # A derivative: there is nothing to fit to, and None is no end of an interval to FITPACK.
        for number in (1, 2, 3, 4, 6, 10, 11, 12, 13):
            spline.require(parts[number] is None, names[number], "it must be None, as _data[0] is", parts[number])
        return
    points = len(spline.array(names[0], "f8", (None,), parts[0]))
    degree = spline.integer(names[5], 1, 5, parts[5])
    room = len(spline.array(names[8], "f8", (None,), parts[8]))
    used = spline.integer(names[7], 2 * degree + 2, min(room, points + degree + 1), parts[7])
    for number in (1, 2):
        spline.array(names[number], "f8", (points,), parts[number])
    spline.array(names[9], "f8", (room,), parts[9])
    if parts[11] is None and parts[12] is None and spline.view.number(parts[6]) == -1:
        # Its knots are fixed (LSQUnivariateSpline): nothing goes on.
        return
    module = sys.modules.get(_FITPACK)
    keeps_none = module is not None and not hasattr(module, "dfitpack")
    if keeps_none and all(_is_nothing(spline, names[number], parts[number], room) for number in (11, 12)):
        return
    spline.array(names[11], "f8", (room,), parts[11])
    counts = spline.array(names[12], "i", (room,), parts[12])[: used - 2 * degree - 1]
    if used < points + degree + 1:
        # Points between knots. With a knot for every point nothing is left to count, and FITPACK leaves the array as it was.
        spline.within(names[12], counts, 0, points)
        total = int(counts.sum(dtype="i8")) + len(counts) - 1
        spline.require(total == points - 2, names[12], f"it must count the points between knots, {points - 1 - len(counts)}", total)


def _is_nothing(spline: Subject, place: str, value: Any, room: int) -> bool:
    """Tell whether nothing is counted: None, or as many of them as there is room, to which scipy 1.18 resizes it with the knots.

    Older releases would go on from what their memory holds by chance.
    """
    return value is None or (spline.view.shape_of_objects(value) == (room,) and all(each is None for each in spline.items(place, room, value)))


def _check_interp1d(interpolator: Subject) -> None:
    """An interp1d: what it calls for a spline is one, and it moves an axis that is there (_polyint.py, _finish_y); all else is numpy."""
    if interpolator.has("_spline"):
        interpolator.part("_spline", "scipy:BSpline")
    if interpolator.has("_y_extra_shape") and interpolator.get("_y_axis") is not MISSING:
        interpolator.integer("_y_axis", 0, len(interpolator.items("_y_extra_shape")))


def _check_piecewise(polynomial: Subject) -> None:
    """A PPoly or BPoly, CubicSpline and kin among them: an interval has coefficients, and there is one.

    interpolate/_ppoly.pyx: `evaluate` compares shapes, and takes for granted that there are two breakpoints. Since scipy 1.18 a shell.
    """
    state = polynomial.made.state
    if type(state) is tuple and state and type(state[0]) is Made:
        polynomial.part("<state>[0]", "scipy:_PPolyBase", value=state[0])
        return
    if polynomial.has("_delegate_to"):
        polynomial.part("_delegate_to", "scipy:_PPolyBase")
        if all(polynomial.get(entry) is MISSING for entry in ("_c", "c", "_x", "x")):
            return
    place, entry = _named(polynomial, "_x", "x"), _named(polynomial, "_c", "c")
    breaks = polynomial.array(place, "f8", (None,))
    polynomial.require(len(breaks) >= 2, place, "it must hold two breakpoints", len(breaks))
    found = _coefficients(polynomial, entry, (1, len(breaks) - 1))
    good = found.shape[1] == len(breaks) - 1 and found.shape[0] <= _DEGREE + 1
    polynomial.require(good, entry, f"it must have {len(breaks) - 1} intervals, of degree {_DEGREE} at most", found.shape)


def _check_grid(interpolator: Subject) -> None:
    """A RegularGridInterpolator: a value for each point of the grid.

    interpolate/_rgi_cython.pyx: evaluate_linear_2d reads values by the index of a place on the grid.
    """
    entry, name = _named(interpolator, "_grid", "grid"), _named(interpolator, "_values", "values")
    sizes = []
    for axis, each in enumerate(interpolator.items(entry)):
        places = interpolator.array(f"{entry}[{axis}]", "f8", (None,), each)
        interpolator.require(len(places), f"{entry}[{axis}]", "it must hold a place")
        sizes.append(len(places))
    shape = interpolator.array(name).shape
    interpolator.require(shape[: len(sizes)] == tuple(sizes), name, f"its shape must begin with that of the grid, {tuple(sizes)}", shape)
    if interpolator.has("_spline"):
        interpolator.part("_spline", "scipy:NdBSpline")


def _check_radial(interpolator: Subject) -> None:
    """An RBFInterpolator: points, data, smoothing, powers and shifts of one width and number.

    interpolate/_rbfinterp_pythran.py, compiled without bounds; before scipy 1.17 or so its state is a dict.
    """
    names = ("y", "d", "d_shape", "d_dtype", "neighbors", "smoothing", "kernel", "epsilon", "powers")
    held = dict(interpolator.entries)
    state = interpolator.made.state
    if type(state) is tuple and not held:
        held.update(zip(names, state[0], strict=True))
        held.update(zip(("_shift", "_scale", "_coeffs") if held["neighbors"] is None else ("_tree",), state[1], strict=True))
    points = interpolator.array("y", "f8", (None, None), held.get("y"))
    count, width = points.shape
    data = interpolator.array("d", "f8", (count, None), held.get("d"))
    interpolator.array("smoothing", "f8", (count,), held.get("smoothing"))
    powers = interpolator.array("powers", "i", (None, width), held.get("powers"))
    if held.get("neighbors") is None:
        interpolator.array("_shift", "f8", (width,), held.get("_shift"))
        interpolator.array("_scale", "f8", (width,), held.get("_scale"))
        interpolator.array("_coeffs", "f8", (count + len(powers), data.shape[1]), held.get("_coeffs"))
        return
    interpolator.integer("neighbors", 0, count, held["neighbors"])
    tree = interpolator.part("_tree", "scipy:cKDTree", value=held.get("_tree"))
    interpolator.require(tree.made.state[2:4] == (count, width), "_tree", f"it must hold {count} points of {width} columns", tree.made.state[2:4])


def _check_delaunay(triangulation: Subject) -> None:
    """A Delaunay triangulation: simplices name points, and their neighbours name simplices.

    spatial/_qhull.pyx: _get_delaunay_info hands all arrays to C as pointers; the walk to a point has a limit of steps.
    """
    points, width = triangulation.array(_named(triangulation, "_points", "points"), "f8", (None, None)).shape
    simplices = triangulation.array("simplices", "i4", (None, width + 1))
    count = len(simplices)
    triangulation.within("simplices", simplices, 0, points)
    triangulation.within("neighbors", triangulation.array("neighbors", "i4", simplices.shape), -1, count)
    triangulation.array("equations", "f8", (count, width + 2))
    for entry in ("min_bound", "max_bound"):
        triangulation.array(entry, "f8", (width,))
    for entry, expected in (("ndim", width), ("npoints", points), ("nsimplex", count)):
        triangulation.integer(entry, expected, expected)
    for entry in ("paraboloid_scale", "paraboloid_shift"):
        triangulation.real(entry, -math.inf, math.inf)
    triangulation.require(not triangulation.has("_qhull"), "_qhull", "it must be None: a handle is never stored")
    _check_cached(triangulation, points, count, width)


def _check_cached(triangulation: Subject, points: int, count: int, width: int) -> None:
    """Refuse what a triangulation has computed when it was first asked for, unless it fits."""
    if triangulation.has("_transform"):
        triangulation.array("_transform", "f8", (count, width + 1, width))
    if triangulation.has("_vertex_to_simplex"):
        found = triangulation.array("_vertex_to_simplex", "i4", (points,))
        coplanar = triangulation.array("coplanar", "i4", (None, 3))[:, 0]
        triangulation.within("coplanar", coplanar, 0, points)
        own = triangulation.np.ones(points, bool)
        own[coplanar] = False
        triangulation.within("_vertex_to_simplex", found[own], -1, count)
        # scipy stores the nearest point of these, where it says the nearest simplex.
        triangulation.within("_vertex_to_simplex", found[coplanar], -1, max(points, count))
    if triangulation.has("_vertex_neighbor_vertices"):
        entry = "_vertex_neighbor_vertices"
        starts, indices = triangulation.items(entry, 2)
        starts = triangulation.array(f"{entry}[0]", "i4", (points + 1,), starts)
        indices = triangulation.array(f"{entry}[1]", "i4", (None,), indices)
        good = starts[0] == 0 and (starts[1:] >= starts[:-1]).all() and starts[-1] <= len(indices)
        triangulation.require(good, f"{entry}[0]", f"it must rise from 0 to {len(indices)} at most")
        triangulation.within(f"{entry}[1]", indices, 0, points)


def _check_simplex_interpolator(interpolator: Subject) -> None:
    """A LinearNDInterpolator or CloughTocher2DInterpolator: a row of values, and of gradients, for each point of its triangulation.

    interpolate/_interpnd.pyx reads them by the points that a simplex names.
    """
    if not interpolator.has("tri"):
        return
    triangulation = interpolator.part("tri", "scipy:Delaunay")
    points, width = triangulation.array(_named(triangulation, "_points", "points"), "f8", (None, None)).shape
    values = interpolator.array("values", "fc", (points, None))
    interpolator.array("points", "f8", (points, width))
    for entry in ("offset", "scale"):
        if interpolator.has(entry):
            interpolator.array(entry, "f", (width,))
    if interpolator.is_a("scipy:CloughTocher2DInterpolator"):
        interpolator.require(width == 2, "tri", "it must have two dimensions", width)
        interpolator.array("grad", "fc", (*values.shape, 2))


def _check_ckdtree(tree: Subject) -> None:
    """A cKDTree or KDTree: nodes as raw structures, whose indices of children its state setter turns into pointers and follows.

    spatial/_ckdtree.pyx, __setstate__ and _post_init_traverse; ckdtree/src/query.cxx and others, which recurse from the root.
    """
    if type(tree.made.state) is not tuple:
        return
    names = ("<state>[tree]", "data", "n", "m", "leafsize", "maxes", "mins", "indices", "boxsize", "boxsize_data")
    raw, points, rows, columns, leaf, upper, lower, order, box, box_data = tree.made.state[:10]
    nodes, data, n, m, leafsize, maxes, mins, indices, boxsize, boxsize_data = names
    rows = tree.integer(n, 0, 1 << 62, rows)
    columns = tree.integer(m, 0, 1 << 31, columns)
    tree.integer(leafsize, 1, 1 << 62, leaf)
    places = tree.array(data, "f8", (rows, columns), points)
    for entry, value in ((maxes, upper), (mins, lower)):
        tree.array(entry, "f8", (columns,), value)
    tree.permutation(indices, tree.array(indices, "i8", (rows,), order), rows)
    _check_kd_nodes(tree, nodes, tree.array(nodes, "SV", (None,), raw), rows, columns)
    if box is None and box_data is None:
        return
    sizes = tree.array(boxsize, "f8", (columns,), box)
    both = tree.array(boxsize_data, "f8", (2 * columns,), box_data)
    tree.require((both[:columns] == sizes).all(), boxsize_data, "it must begin with boxsize")
    # A place is brought into the box step by step of its size.
    periodic = places[:, sizes > 0]
    inside = ((periodic >= 0) & (periodic < sizes[sizes > 0])).all()
    tree.require(inside, data, "each place must lie within the box")


def _check_kd_nodes(tree: Subject, entry: str, raw: Any, rows: int, columns: int) -> None:
    """Refuse nodes that do not form a tree, children after their parents, of which each two share the points of their parent."""
    np = tree.np
    size = raw.nbytes
    tree.require(raw.itemsize == 1 and size and size % 72 == 0, entry, "it must hold the bytes of whole nodes, 72 each", size)
    nodes = np.ascontiguousarray(raw).view(np.dtype(_NODE))
    count = len(nodes)
    dimension, start, end = nodes["split_dim"], nodes["start"], nodes["end"]
    tree.within(f"{entry}[split_dim]", dimension, -1, columns)
    inner = np.flatnonzero(dimension != -1)
    less, greater = nodes["less"][inner], nodes["greater"][inner]
    for side, child in (("less", less), ("greater", greater)):
        wrong = (child <= inner) | (child >= count)
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            tree.fail(f"{entry}[{int(inner[first])}]", f"its child {side} must be a later node of {count}", int(child[first]))
    seen = np.zeros(count, bool)
    seen[less] = True
    seen[greater] = True
    good = 2 * len(inner) + 1 == count and not seen[0] and seen[1:].all()
    tree.require(good, entry, "each node but the first must be the child of one node")
    tree.require((start[0], end[0]) == (0, rows), f"{entry}[0]", f"it must cover {rows} points", (int(start[0]), int(end[0])))
    good = (start <= end).all() and (start[less] == start[inner]).all() and (end[less] == start[greater]).all() and (end[greater] == end[inner]).all()
    tree.require(good, entry, "the children of a node must share its points")
    _check_depth(tree, entry, dimension, nodes["less"], nodes["greater"])


def _check_depth(tree: Subject, entry: str, dimension: Any, less: Any, greater: Any) -> None:
    """Refuse a tree so deep that the stack of C would not hold the calls from its root to a leaf."""
    level = tree.np.zeros(1, "i8")
    for _ in range(_DEPTH):
        level = level[dimension[level] != -1]
        if not level.size:
            return
        level = tree.np.concatenate((less[level], greater[level]))
    tree.fail(entry, f"it must be less than {_DEPTH} nodes deep")


def _check_rotation(rotation: Subject) -> None:
    """A Rotation: four numbers each. spatial/transform/_rotation_cy.pyx reads them without a bound."""
    if type(rotation.made.state) is tuple:
        quaternions = rotation.array("<state>[0]", "f8", value=rotation.made.state[0])
        rotation.require(quaternions.ndim and quaternions.shape[-1] == 4, "<state>[0]", "its last dimension must be 4", quaternions.shape)


def _check_density(density: Subject) -> None:
    """A gaussian_kde: a weight for each point, and covariances of their width. stats/_stats.pyx, gaussian_kernel_estimate."""
    if not density.has("dataset"):
        return
    width, count = density.array("dataset", shape=(None, None)).shape
    if density.has("_weights"):
        density.array("_weights", "f", (count,))
    for entry in ("covariance", "cho_cov", "inv_cov", "_data_covariance", "_data_cho_cov", "_data_inv_cov"):
        if density.has(entry):
            density.array(entry, "f", (width, width))
    for entry, expected in (("n", count), ("d", width)):
        if density.has(entry):
            # Without weights scipy makes n of them.
            density.integer(entry, expected, expected)


def _check_distribution(distribution: Subject) -> None:
    """A distribution: where its numbers come from. stats/_biasedurn.pyx goes on without a generator when it is given another object."""
    source = distribution.get("_random_state")
    if source is not MISSING and source is not None and type(source) is not int:
        distribution.part("_random_state", "numpy:__randomstate_ctor", "numpy:__generator_ctor")


def _check_frozen(frozen: Subject) -> None:
    """A distribution with arguments. stats/biasedurn, fnchyppr.cpp, ends the process where odds overflow, and does not end for infinite ones."""
    if not frozen.view.is_a(frozen.get("dist"), "scipy:_nchypergeom_gen"):
        return
    named = frozen.get("kwds")
    values = [*frozen.items("args"), *(named.flat[1::2] if type(named) is Dict else ())]
    for value in values:
        array = frozen.view.array(value)
        extremes = [value] if array is None or not array.size else [float(array.min()), float(array.max())]
        for each in extremes:
            frozen.real("args", -_MOST_ODDS, _MOST_ODDS, each)


def _named(subject: Subject, new: str, old: str) -> str:
    """Return which of two names, of new and old releases, an array has in the state. Each release reads one, so it must be the only one."""
    found = [name for name in (new, old) if subject.get(name) is not MISSING]
    if len(found) != 1:
        subject.fail(new, f"it must be there under this name, or as {old}")
    return found[0]


def _knots(spline: Subject, entry: str, value: Any, degree: int) -> Any:
    knots = spline.array(entry, "f8", (None,), value)
    _check_knots(spline, entry, knots, degree)
    return knots


def _check_knots(spline: Subject, entry: str, knots: Any, degree: int) -> None:
    """Refuse fewer knots than the search for an interval needs, and such as decrease. NaN is compared with nothing, as scipy has it."""
    spline.require(len(knots) >= 2 * degree + 2, entry, f"it must hold {2 * degree + 2} knots for degree {degree}", len(knots))
    spline.require(not (knots[1:] < knots[:-1]).any(), entry, "knots must not decrease")


def _coefficients(subject: Subject, entry: str, least: Sequence[int], value: Any = MISSING, *, exact: bool = False) -> Any:
    """Return an array of numbers whose shape begins with so many at least, or with exactly those."""
    found = subject.array(entry, "fc", value=value)
    if found.ndim < len(least) or any((size != wanted) if exact else (size < wanted) for size, wanted in zip(found.shape, least, strict=False)):
        subject.fail(entry, f"its shape must begin with {', '.join(map(str, least))}{'' if exact else ' at least'}", found.shape)
    return found


CHECKS: Final[dict[str, Check]] = {
    "scipy:BSpline": _check_bspline,
    "scipy:_BSpline": _check_bspline,
    "scipy:NdBSpline": _check_nd_bspline,
    "scipy:UnivariateSpline": _check_univariate,
    "scipy:interp1d": _check_interp1d,
    "scipy:_PPolyBase": _check_piecewise,
    "scipy:PPoly": _check_piecewise,
    "scipy:BPoly": _check_piecewise,
    "scipy:RegularGridInterpolator": _check_grid,
    "scipy:RBFInterpolator": _check_radial,
    "scipy:Delaunay": _check_delaunay,
    "scipy:LinearNDInterpolator": _check_simplex_interpolator,
    "scipy:CloughTocher2DInterpolator": _check_simplex_interpolator,
    "scipy:cKDTree": _check_ckdtree,
    "scipy:Rotation": _check_rotation,
    "scipy:gaussian_kde": _check_density,
    "scipy:rv_generic": _check_distribution,
    "scipy:rv_frozen": _check_frozen,
}
