"""`circles.count_met` against a count that goes along every path, and what it looks at."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safepickle.circles import count_met


def printed(edges, weights, start, within=()):
    """What printing meets, counted by printing."""
    return weights[start] + sum(printed(edges, weights, each, (*within, start)) for each in edges[start] if each not in (*within, start))


@st.composite
def graphs(draw):
    """Up to seven values that hold each other, some of them as often as another does and by the same."""
    count = draw(st.integers(1, 7))
    edges = [[each for each in draw(st.lists(st.integers(0, count - 1), max_size=3)) if each != place] for place in range(count)]
    for place in draw(st.sets(st.integers(1, count - 1))) if count > 1 else ():
        edges[place] = [each for each in edges[0] if each != place]
        edges = [[each for each in held if each != place] + [place] * (held.count(0) if above != place else 0) for above, held in enumerate(edges)]
    return edges, draw(st.lists(st.integers(1, 4), min_size=count, max_size=count))


def counted(edges, weights, most=10**9):
    looked: list[int] = []
    return count_met(edges, weights, most, looked.append), sum(looked)


@given(graphs())
def test_from_each_value_as_much_is_met_as_printing_meets(graph):
    edges, weights = graph
    met, _ = counted(edges, weights)
    assert met == [printed(edges, weights, start) for start in range(len(edges))]


@given(graphs())
def test_more_than_is_asked_for_is_said_of_some_value_and_what_is_not_more_is_exact(graph):
    edges, weights = graph
    met, _ = counted(edges, weights)
    assert counted(edges, weights, max(met))[0] == met
    for most in range(max(met)):
        assert max(counted(edges, weights, most)[0]) > most


def test_no_values_and_values_by_themselves():
    assert counted([], []) == ([], 0)
    assert counted([[], []], [3, 4]) == ([3, 4], 24)


def test_what_one_holds_is_not_taken_for_what_holds_it():
    """The third holds the first two and is held by none, the fourth holds the first and is held by the second."""
    assert counted([[], [3], [0, 1], [0]], [1] * 4)[0] == [1, 3, 5, 2]


def both_ways(pairs, count):
    edges: list[list[int]] = [[] for _ in range(count)]
    for above, below in pairs:
        edges[above].append(below)
        edges[below].append(above)
    return edges


def all_in_all(count):
    return [[other for other in range(count) if other != each] for each in range(count)]


def doubled(count):
    """A value, and above and below it `count` others that each hold the next twice."""
    up = [[place - 1] * 2 if place > 1 else [0] for place in range(1, count + 1)]
    down = [[place - 1] * 2 if place > count + 1 else [] for place in range(count + 1, 2 * count + 1)]
    return [[count, 2 * count], *up, *down]


SHAPES = {
    # name: (edges, what is met at most, how much is looked at: twelve for each value and edge, and the steps from each kind and again from the top)
    "a star": (both_ways([(0, each) for each in range(1, 1_000)], 1_000), 1_000, 12 * 2_998 + 3 * 999),
    "a line": (both_ways([(each, each + 1) for each in range(999)], 1_000), 1_000, 12 * 2_998 + 3 * 999),
    "a wheel without its rim": ([[1], list(range(2, 1_000)), *[[0]] * 998], 1 + 998 + 998, 12 * 2_997 + 9),
    "a ring": ([[(each + 1) % 100] for each in range(100)], 100, 12 * 200 + 101 * (99 + 6)),
    "a ring both ways": (both_ways([(each, (each + 1) % 100) for each in range(100)], 100), 199, 12 * 300 + 101 * (198 + 6)),
    "a ring of turns": ([[place - 1, (place + 1) % 100] if place % 2 else [] for place in range(100)], 3, 12 * 200 + 101 * 6 + 50 * 2),
    "all in all": (all_in_all(5), 65, 12 * 25 + 6 * 2 * 64),
    "doubled": (doubled(10), 1_023 + 512 * 1_024, 12 * 60 + 10 * 2 + 12 * 10),
}


def test_what_is_over_the_limit_ends_as_soon_as_it_is():
    """Each step counts three: one, and one for each four that are held there. There are 12! ways and more."""
    met, steps = counted(all_in_all(12), [1] * 12, 1_000)
    assert max(met) > 1_000
    assert steps == 12 * 144 + 3 * 1_001


def test_steps_are_told_while_they_are_made():
    """So `look` may end what would take too long."""
    looked: list[int] = []
    count_met(all_in_all(7), [1] * 7, 10**9, looked.append)
    assert sum(looked) == 12 * 49 + 8 * 2 * sum(math.perm(6, each) for each in range(1, 7))
    assert max(looked[1:]) <= 1_002


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_met_and_looked_at_in_graphs_of_known_shape(name):
    edges, most, looked = SHAPES[name]
    met, steps = counted(edges, [1] * len(edges))
    assert (max(met), steps) == (most, looked)
