"""Attacks on how values that refer to each other are counted (`Limits.shared_parts`), none of which got through, and honest circles.

The programs are genuinely signed or traced as they are. What is counted is compared with what `repr` goes through.
"""

import io
import pickle
import random
from collections import OrderedDict, deque

import numpy as np
import pytest
from assembler import KEY, frame, seal
from sklearn.linear_model import LogisticRegression
from sklearn.utils import Bunch

from safepickle import LimitError, Limits, ProgramError, StateError, loads, machine
from safepickle.machine import trace


class Node:
    """Printed without what it refers to."""


class Row(list):
    """A list with attributes."""


PRINTED = (list, dict, deque, tuple)


# --- what is built ----------------------------------------------------------------------------------------------


def in_each_other(count, kind):
    """Estimators, each with all others as a parameter: printing one takes as many steps as there are orders of them."""
    made = [LogisticRegression() for _ in range(count)]
    for each in made:
        others = [other for other in made if other is not each]
        each.C = {str(place): other for place, other in enumerate(others)} if kind is dict else kind(others)
    return made[0]


@pytest.mark.parametrize("kind", [list, tuple, dict])
def test_refused_estimators_that_are_parameters_of_each_other(kind):
    """The machine takes an object for one part, since `object.__repr__` shows nothing of it; those that print their parameters may not be circles."""
    program = pickle.dumps(in_each_other(6, kind), 5)
    assert trace(program)
    with pytest.raises(StateError, match="must not be a part of itself"):
        loads(seal(program), key=KEY)


def test_refused_array_of_objects_that_holds_itself():
    """Were it in a circle, what it holds would have to count: it prints that, and has no items."""
    array = np.empty(2, dtype=object)
    array[:] = [[array], [array]]
    with pytest.raises(ProgramError, match="after it was used"):
        trace(pickle.dumps(array, 5))


def test_refused_list_that_grows_after_an_array_holds_it():
    outer = []
    array = np.empty(1, dtype=object)
    array[0] = outer
    outer.append(array)
    with pytest.raises(ProgramError, match="changed after it was handed over"):
        trace(pickle.dumps(outer, 5))


# --- what is counted --------------------------------------------------------------------------------------------


def held(value):
    return list(value.values()) if isinstance(value, dict) else list(value) if isinstance(value, PRINTED) else []


def tangle(choose):
    """Two to nine values that hold each other, objects among them, and what holds some of them."""
    kinds = choose.choice(([list, list, dict], [list, Row], [list, OrderedDict, deque, Row], [list, dict, Node, Node], [Node, list, Row]))
    made = [choose.choice(kinds)() for _ in range(choose.randint(2, 9))]
    edges = [(choose.randrange(below), below) for below in range(1, len(made))]
    edges += [(choose.randrange(len(made)), choose.randrange(len(made))) for _ in range(choose.randint(1, 3 * len(made)))]
    choose.shuffle(edges)
    for place, below in edges:
        above, value = made[place], (made[below] if choose.random() < 0.8 else (made[below],))
        if isinstance(above, Node) or (isinstance(above, Row) and choose.random() < 0.3):
            setattr(above, f"a{len(vars(above))}", value)
        elif isinstance(above, dict):
            above[str(len(above))] = value
        else:
            above.append(value)
    return choose.choice((made[0], made, tuple(choose.choices(made, k=3))))


def printed(value, within, seen, most):
    """How many parts `repr` goes through, at most `most`: what it is within already ends it."""
    if id(value) in within or not isinstance(value, (Node, *PRINTED)):
        return 0
    seen.add(id(value))
    count = 1
    for each in held(value):
        if count > most:
            break
        count += printed(each, (*within, id(value)), seen, most - count)
    return count


def all_parts(value):
    """The value, everything within it, and the attributes of every object in it."""
    parts, work, met = [], [value], set()
    while work:
        each = work.pop()
        if id(each) not in met and isinstance(each, (Node, *PRINTED)):
            met.add(id(each))
            attributes = list(getattr(each, "__dict__", {}).values())
            work += held(each) + attributes
            parts += [each, vars(each)] if isinstance(each, Node) else [each]
    return parts


def test_what_is_admitted_is_printed_in_no_more_parts_than_the_limit_from_wherever_one_begins():
    """`shared_parts` is how many more than there are. Objects without items end what is printed, those with items do not."""
    tried = 0
    for seed in range(250):
        value = tangle(random.Random(seed))
        more = 0
        for start in all_parts(value):
            seen: set[int] = set()
            more = max(more, printed(start, (), seen, 5_000) - len(seen))
        program = pickle.dumps(value, 5)
        try:
            trace(program, limits=Limits(shared_parts=100 * (more + 10)))
        except LimitError:
            raise
        except ProgramError:
            continue
        if more > 1:
            tried += 1
            with pytest.raises(LimitError, match="`shared_parts`"):
                trace(program, limits=Limits(shared_parts=more - 1))
    assert tried > 100


class InSmallBatches(pickle._Pickler):
    """What grows is fetched from the memo between one growth and the next."""

    _BATCHSIZE = 2


class Unread(dict):
    def get(self, key, default=None):
        return None


class CountsAnew(machine._Machine):
    """Remembers nothing from one fetch to the next."""

    def __init__(self, program, buffers, limits):
        super().__init__(program, buffers, limits)
        self.parts, self.growing, self.may_look = Unread(), Unread(), 1 << 60

    def _expanded(self, value, stack, marks):
        for each in (self.parts, self.growing, self.height, self.highest):
            each.clear()
        return super()._expanded(value, stack, marks)

    def _stands_for(self, value):
        return self.parts[id(value)] if id(value) in self.parts else self.growing[id(value)]

    def _forget(self, slot):
        pass


def least_shared_parts(kind, program):
    """The least `shared_parts` with which a program is admitted."""
    low, high = 0, 1 << 20
    while high - low > 1:
        middle = (low + high) // 2
        try:
            kind(program, (), Limits(shared_parts=middle)).run()
            high = middle
        except LimitError:
            low = middle
    return high


def test_what_is_remembered_of_what_grows_is_what_counting_anew_finds():
    tried = 0
    for seed in range(24):
        file = io.BytesIO()
        value = tangle(random.Random(seed))
        InSmallBatches(file, 5).dump(value if seed % 2 else [value])
        program = file.getvalue()
        try:
            remembers = least_shared_parts(machine._Machine, program)
        except ProgramError:
            continue
        tried += 1
        assert remembers == least_shared_parts(CountsAnew, program)
    assert tried > 10


# --- what is printed from within --------------------------------------------------------------------------------


def doubled_above(count, made):
    """A value that holds two lists, both holding what is below them twice at each of `count` levels, one of them at last the value."""
    up, down = [made], []
    for _ in range(count):
        up, down = [up, up], [down, down]
    made.update(x=up, y=down) if isinstance(made, dict) else made.extend((up, down))
    return made


def doubled_behind(count, made):
    """The same with the value that turns back in the middle of a longer circle, and behind another block."""
    return [doubled_above(count, made), [[made]]]


@pytest.mark.parametrize("form", [doubled_above, doubled_behind])
@pytest.mark.parametrize("kind", [list, dict, Bunch, Row])
def test_refused_part_of_a_circle_that_takes_exponential_time_to_print(form, kind):
    """Printing the whole comes back to the value and ends. Printing the first list in it goes through all of the second, 2**19 times."""
    program = pickle.dumps(form(19, kind()), 5)
    assert len(program) < 400
    assert trace(pickle.dumps(form(8, kind()), 5))
    with pytest.raises(LimitError, match="`shared_parts`"):
        trace(program)
    with pytest.raises(LimitError, match="`shared_parts`"):
        loads(seal(program), key=KEY, allow=[f"{kind.__module__}:{kind.__qualname__}"] if kind is Row else ())


def test_refused_list_that_refers_to_an_object_of_its_circle_over_and_over():
    """The object is printed without what it holds, but as often as it stands there."""
    node = Node()
    inner = [node] * 100
    for _ in range(10):
        inner = [inner, inner]
    node.held = inner
    program = pickle.dumps(node, 5)
    assert trace(program, limits=Limits(shared_parts=210_000))
    with pytest.raises(LimitError, match="`shared_parts`"):
        trace(program, limits=Limits(shared_parts=200_000))


def test_what_grows_is_looked_at_with_all_that_it_holds_each_time():
    """A list that holds many None, and the one that it is in, is fetched again after each time that this grows: 40 kB took 14 s."""
    body = b"]\x94(]\x94(h\x00" + b"N" * 20_000 + b"ee" + b"h\x01a" * 10 + b"."
    traced = machine._Machine(frame(body), (), Limits())
    assert traced.run()
    assert traced.looked >= 10 * 2 * 20_000 // 16


def test_what_cannot_hold_what_grew_is_not_looked_at_again():
    """A list of None stays where it was made while another one grows above it."""
    body = b"]\x94(" + b"N" * 4_000 + b"e]\x94h\x01a" + b"h\x00a" * 1_000 + b"a."
    traced = machine._Machine(frame(body), (), Limits())
    assert traced.run()
    assert traced.looked <= 4 * 4_000 // 16 + 16 * 1_000


def test_frozenset_that_is_handed_over_over_and_over_is_walked_once():
    """A program of 50 kB, half of it a frozenset of None and the other half fetches of it as arguments, took 17 s when a list grew at its end."""
    body = b"](" + b"(" + b"N" * 4_000 + b"\x91\x94" + b"\x8c\x01a\x8c\x01b\x93(" + b"h\x00" * 1_000 + b"t\x81" + b"]\x94h\x01ae."
    traced = machine._Machine(frame(body), (), Limits())
    walked = []

    class Told(list):
        def __iter__(self):
            walked.append(len(self))
            return super().__iter__()

    build = machine.FrozenSet.__init__

    def told(self, items):
        build(self, Told(items))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine.FrozenSet, "__init__", told)
        assert traced.run()
    assert sum(walked) <= 5 * 4_000


def test_how_deep_a_value_is_is_looked_at_once_however_often_it_is_fetched(monkeypatch):
    """What a value holds was gone through for each fetch of it: a tuple of 12,500 None, fetched 12,500 times, took seconds."""
    looked = []
    inside = machine.inside
    monkeypatch.setattr(machine, "inside", lambda value: looked.append(value) or inside(value))
    assert trace(frame(b"]((" + b"N" * 1_000 + b"t\x94" + b"h\x00" * 1_000 + b"e."))
    assert 4 <= len(looked) <= 20


def test_refused_object_in_a_frozenset_of_a_frozenset_that_is_changed_after_it_was_handed_over():
    """A frozenset within another one was not walked."""
    name = b"\x8c\x01a\x8c\x01b\x93"
    with pytest.raises(ProgramError, match="changed after it was handed over"):
        trace(frame(name + b")\x81\x94" + name + b"((h\x00\x91\x91\x85\x81a."))


def test_refused_attribute_with_a_name_that_takes_long_to_look_at():
    """It was matched and hashed for each call of it, four bytes each: 165 kB took 5 s."""
    name = b"\x8c\x01a\x8c\x01b\x93"
    attribute = b"X" + (257).to_bytes(4, "little") + b"a" * 257
    called = b"\x8c\x08builtins\x8c\x07getattr\x93" + name + attribute + b"\x86R)R."
    with pytest.raises(LimitError, match="a name of 257 characters"):
        trace(frame(called))
    assert trace(frame(called), limits=Limits(name_length=257))


def test_refused_tuple_within_itself_with_a_text_that_was_not_fetched_again():
    """The pickler fetches it. Comparing two long ones, fetched in every two bytes, took time in proportion to the square of the program."""
    texts = b"\x8c\x02ab\x94\x8c\x02ab\x94"
    assert trace(frame(b"](" + texts + b"h\x00\x85\x94h\x000h\x02e."))
    with pytest.raises(ProgramError, match="POP drops values other than"):
        trace(frame(b"](" + texts + b"h\x00\x85\x94h\x010h\x02e."))


class Linked:
    """An object whose state is another one."""

    def __init__(self, other=None):
        self.other = other

    def __getstate__(self):
        return self.other

    def __setstate__(self, other):
        self.other = other


def test_a_circle_of_nothing_but_objects_is_counted():
    """`max` of one number and no others raised TypeError."""
    first = Linked(Linked())
    first.other.other = first
    program = pickle.dumps([first, first.other], 5)
    assert trace(program, limits=Limits(shared_parts=10))
    with pytest.raises(LimitError, match="`shared_parts`"):
        trace(program, limits=Limits(shared_parts=2))


# --- honest circles ---------------------------------------------------------------------------------------------


def linked_lists(count):
    made = [[] for _ in range(count)]
    for place, each in enumerate(made):
        each += [made[place - 1] if place else None, made[place + 1] if place + 1 < count else None]
    return made[0]


def ring_of_dicts(count):
    made = [{} for _ in range(count)]
    for place, each in enumerate(made):
        each.update(before=made[place - 1], after=made[(place + 1) % count])
    return made[0]


def tree_of_dicts(count):
    made = [{"children": []} for _ in range(count)]
    for place, each in enumerate(made[1:], 1):
        each["parent"] = made[(place - 1) // 2]
        each["parent"]["children"].append(each)
    return made[0]


def tree_of_objects(count):
    made = [Node() for _ in range(count)]
    made[0].children = []
    for place, each in enumerate(made[1:], 1):
        each.parent, each.children = made[(place - 1) // 2], []
        each.parent.children.append(each)
    return made[0]


def children_of_one(count):
    owner = Node()
    owner.children = [Node() for _ in range(count)]
    for each in owner.children:
        each.owner = owner
    return owner


def itself(count):
    made = []
    made.append(made)
    return [made] * count


def tree_and_a_list_of_its_nodes(count):
    root = tree_of_dicts(count)
    return {"root": root, "all": [each for each in all_parts(root) if isinstance(each, dict)]}


def flat(count):
    owner = {"children": []}
    owner["children"] += [{"owner": owner, "number": number} for number in range(count)]
    return owner


def document(count):
    """Sections of fifty items, each of which knows its section and the document."""
    made = {"sections": []}
    for _ in range(count // 50):
        section = {"document": made, "items": []}
        section["items"] += [{"document": made, "section": section, "number": item} for item in range(50)]
        made["sections"].append(section)
    return made


def rings(count):
    return [ring_of_dicts(50) for _ in range(count)]


def folders(count):
    """Folders, each of which knows the one that it is in, and has one folder more in it."""
    root = {}
    for number in range(count):
        root[f"folder {number}"] = folder = {"..": root}
        folder["inner"] = {"..": folder}
    return root


HONEST = [
    # made how, how large, and how much is looked at for each byte of the program
    (linked_lists, 150, 8),
    (tree_of_dicts, 3_000, 8),
    (tree_of_objects, 3_000, 2),
    (tree_and_a_list_of_its_nodes, 1_000, 8),
    (tree_and_a_list_of_its_nodes, 2_000, 8),
    (children_of_one, 3_000, 2),
    (flat, 3_000, 4),
    (document, 3_000, 8),
    (itself, 1_000, 2),
    # More than the pickler puts in at once.
    (folders, 1_200, 8),
    (folders, 3_500, 8),
    (rings, 20, 16),
    # From each of a ring there are as many paths as it is long.
    (ring_of_dicts, 150, 40),
    (ring_of_dicts, 400, 80),
]


@pytest.mark.parametrize(("make", "count", "most"), HONEST)
def test_honest_circles_pass_and_take_time_in_proportion(make, count, most):
    program = pickle.dumps(make(count), 5)
    traced = machine._Machine(program, (), Limits())
    assert traced.run()
    assert traced.looked <= most * len(program)
