"""How many parts printing meets among values that hold each other: exactly, and from wherever it begins.

Printing ends where it comes back to what it is within (`Py_ReprEnter`, CPython's Objects/object.c), so it goes along the simple paths of a graph, of
which there may be exponentially many. A simple path that leaves a block (a biconnected component) never comes back to it, and of values that hold the
same and are held by the same one stands for all: only the paths within a block that differ by more than this are walked.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, NamedTuple, TypeAlias

__all__ = ["count_met"]

# What each value holds of the others, by number and as often as it does.
_Edges: TypeAlias = Sequence[Sequence[int]]

# Telling each step by itself would take as long as the step.
_TOLD_AT_ONCE: Final = 1_000


class _Block(NamedTuple):
    """The value of a block that the search came to first; all of its values by twins; and which of these, by place, each holds and how often."""

    top: int
    twins: list[list[int]]
    holds: list[list[tuple[int, int]]]


def count_met(edges: _Edges, weights: Sequence[int], most: int, look: Callable[[int], None]) -> list[int]:
    """Return of each value how many parts printing meets from there, itself included, and each as often as it is met.

    `edges` says which of the other values each holds, by number and as often as it does, and `weights` as how many parts, at least 1, each counts
    by itself. If any are over `most`, this ends early: then one of the numbers is over `most`, and none means anything. `look` is told of each
    step, with about what it costs, and may raise.
    """
    # The search and the two ways through the blocks take about as long as so many steps.
    look(12 * (len(edges) + sum(map(len, edges))))
    blocks = list(_blocks(edges))
    # What is met from each value by way of what the search found behind it: each block is found after those that lie behind its values.
    met = list(weights)
    through = []
    for block in blocks:
        place = next(place for place, twins in enumerate(block.twins) if block.top in twins)
        through.append(_met(block, [place], met, most, look)[block.top])
        met[block.top] += through[-1]
        if met[block.top] > most:
            return met
    # And by way of the others, from where the search began on. From the top of a block, less what is met from it through the block itself.
    for block in reversed(blocks):
        value = {each: met[each] for twins in block.twins for each in twins}
        value[block.top] -= through.pop()
        for each, more in _met(block, range(len(block.twins)), value, most, look).items():
            met[each] = value[each] + more
            if met[each] > most:
                return met
    return met


def _met(block: _Block, starts: Iterable[int], value: Sequence[int] | dict[int, int], most: int, look: Callable[[int], None]) -> dict[int, int]:
    """Return what is met in a block and behind it from each of the twins in these places, less itself and what is behind it."""
    sizes = [len(twins) for twins in block.twins]
    worth = [sum(value[each] for each in twins) for twins in block.twins]
    # What a step there takes: going along what it holds takes less time.
    costs = [1 + len(held) // 4 for held in block.holds]
    met = {}
    for first in starts:
        paths = _paths(block.holds, sizes, costs, first, most, look)
        # As many paths lead to each of some twins, only none back to where they begin.
        again, paths[first] = paths[first], 0
        others = sum(count * more // size for count, more, size in zip(paths, worth, sizes, strict=True))
        for each in block.twins[first]:
            met[each] = others + (again * (worth[first] - value[each]) // (sizes[first] - 1) if again else 0)
    return met


def _paths(holds: list[list[tuple[int, int]]], sizes: list[int], costs: list[int], first: int, most: int, look: Callable[[int], None]) -> list[int]:
    """Return how many simple paths lead from one twin in the place `first` to all of each place together; some of them, if these are over `most`."""
    paths = [0] * len(holds)
    total = 0
    # Going through the places at the end takes much less time for each.
    cost = len(holds) // 16
    sizes[first] -= 1
    work: list[tuple[int, int, Iterator[tuple[int, int]]]] = [(first, 1, iter(holds[first]))]
    while work:
        here, ways, rest = work[-1]
        for place, often in rest:
            left = sizes[place]
            if left:
                ways *= often * left
                paths[place] += ways
                total += ways
                cost += costs[place]
                sizes[place] = left - 1
                work.append((place, ways, iter(holds[place])))
                break
        else:
            work.pop()
            sizes[here] += 1
        if total > most:
            break
        if cost > _TOLD_AT_ONCE:
            look(cost)
            cost = 0
    look(cost)
    for here, _, _ in work:
        sizes[here] += 1
    return paths


def _blocks(edges: _Edges) -> Iterator[_Block]:
    """Yield the blocks (Hopcroft and Tarjan, Algorithm 447, CACM 16, 1973, without recursion)."""
    held_by: list[list[int]] = [[] for _ in edges]
    for each, held in enumerate(edges):
        for other in held:
            held_by[other].append(each)
    number = [-1] * len(edges)
    low = list(number)
    numbered = 0
    for root in range(len(edges)):
        if number[root] >= 0:
            continue
        number[root] = low[root] = numbered
        numbered += 1
        path: list[int] = []
        work = [(root, root, chain(edges[root], held_by[root]))]
        while work:
            here, above, rest = work[-1]
            for other in rest:
                if number[other] < 0:
                    number[other] = low[other] = numbered
                    numbered += 1
                    path.append(other)
                    work.append((other, here, chain(edges[other], held_by[other])))
                    break
                if other != above and number[other] < low[here]:
                    low[here] = number[other]
            else:
                work.pop()
                low[above] = min(low[above], low[here])
                if work and low[here] >= number[above]:
                    first = len(path) - 1
                    while path[first] != here:
                        first -= 1
                    yield _block(above, path[first:], edges, held_by)
                    del path[first:]


def _block(top: int, others: list[int], edges: _Edges, held_by: _Edges) -> _Block:
    inside = {top, *others}
    holds = {each: [other for other in edges[each] if other in inside] for each in others}
    holds[top] = [each for each in others for other in held_by[each] if other == top]
    held: dict[int, list[int]] = {each: [] for each in holds}
    for each, some in holds.items():
        for other in some:
            held[other].append(each)
    # Python hashes bytes, unlike tuples of integers, with a key of the process: no program can make many that collide.
    alike: dict[bytes, list[int]] = defaultdict(list)
    for each, some in holds.items():
        alike[array("q", [*sorted(some), -1, *sorted(held[each])]).tobytes()].append(each)
    twins = list(alike.values())
    places = {each: place for place, some in enumerate(twins) for each in some}
    return _Block(top, twins, [list({(places[other], often) for other, often in Counter(holds[some[0]]).items()}) for some in twins])
