"""What must hold of the machine and no other test asked: found by its mutants, see mutants/README.md."""

from __future__ import annotations

import dataclasses
import pickle
import pickletools
from typing import Any

import pytest
from assembler import Asm, Call, Do, Get, Let, New, Ref, frame, op, program

from safepickle import LimitError, Limits, ProgramError
from safepickle import machine as machines
from safepickle.machine import ABSENT, Buffer, ByteArray, Dict, FrozenSet, Global, List, Made, Set, Trace, brief, children, inside, paths, trace


def traced(what: Any, *buffers: bytes, limits: Limits | None = None) -> Trace:
    return trace(what.program() if isinstance(what, Asm) else program(what), buffers=buffers, limits=limits)


def refused(what: Any, *buffers: bytes) -> str:
    with pytest.raises(ProgramError) as error:
        traced(what, *buffers)
    return str(error.value)


def test_what_a_file_may_cost_by_default():
    """Other values are another promise: SPEC.md and the documentation name some of these."""
    assert dataclasses.asdict(Limits()) == {
        "body_bytes": 1_099_511_627_776,
        "expansion": 200,
        "program_bytes": 4_294_967_296,
        "operation_bytes": 536_870_912,
        "objects": 20_000_000,
        "nesting": 5_000,
        "tuple_nodes": 10_000_000,
        "shared_parts": 10_000_000,
        "key_nodes": 1_000_000,
        "key_depth": 32,
        "colliding_keys": 10_000_000,
        "name_length": 256,
        "integer_bytes": 65_536,
        "members": 10_000,
        "archive_depth": 8,
        "rehearsal_seconds": 120,
        "rehearsal_bytes": 4_294_967_296,
    }
    with pytest.raises(dataclasses.FrozenInstanceError):
        Limits().nesting = 1
    with pytest.raises(TypeError):
        Limits(1)
    assert trace(program(1)).limits == Limits()


STEPS = [
    ((1, 2), ["[0]", "[1]"]),
    ([1, 2], ["[0]", "[1]"]),
    ({"a": 1, 2: 3, None: 4}, ["['a']", "[2]", "[None]"]),
    ({(1, 2): 3}, ["[…]", "<key 0>"]),
    ({"a": 0, (1, 2): 3}, ["['a']", "[…]", "<key 1>"]),
    ({1}, ["{}"]),
    (frozenset({1}), ["{}"]),
    (Call("a:b", 1, 2), ["(0)", "(1)"]),
    (New("a:b", state={"x": 1, "y z": 2}), [".x", ".y z"]),
    (New("a:b", state={"é": 1, "a\n": 2, 3: 4}), [r".'\xe9'", r".'a\n'", ".3"]),
    (New("a:b", state={"x" * 100: 1}), ["." + "x" * 80]),
    (New("a:b", state=(None, {"x": 1})), [".x"]),
    (New("a:b", state=({"y": 1}, {"x": 1})), [".y", ".x"]),
    (New("a:b", state=(1, {"x": 1})), [".x"]),
    (New("a:b", state=(1, 2)), ["<state>"]),
    (New("a:b", state=({"x": 1}, 2)), ["<state>"]),
    (New("a:b", state=({}, {}, {})), ["<state>"]),
    (New("a:b", state=[1]), ["<state>"]),
    (New("a:b", items=[1, 2]), ["[0]", "[1]"]),
    (New("a:b", pairs=["x", 1, 2, 3]), ["['x']", "[2]"]),
    (Do(lambda asm: asm.push(Ref("a:b")).push((1,)).push({"x": 2}).op("NEWOBJ_EX")), ["(0)", "(x)"]),
    ("text", []),
    (Ref("a:b"), []),
]


@pytest.mark.parametrize(("value", "steps"), STEPS, ids=range(len(STEPS)))
def test_the_steps_to_what_is_inside_a_value(value, steps):
    assert [step for step, _ in children(traced(value).root)] == steps


def test_known_arguments_and_states_are_not_gone_through_again():
    def told(what: Any, *names: str) -> list[str]:
        made = traced(what).root
        return [step for step, _ in children(made, {id(getattr(made, name)) for name in names})]

    built = Do(lambda asm: asm.push(Ref("a:b")).push((1,)).push({"k": 2}).op("NEWOBJ_EX").push({"x": 3}).op("BUILD"))
    assert told(built) == ["(0)", "(k)", ".x"]
    assert told(built, "args") == ["(k)", ".x"]
    assert told(built, "kwargs") == ["(0)", ".x"]
    assert told(built, "state") == ["(0)", "(k)"]
    two = traced(New("a:b", state=({"y": 1}, {"x": 1}))).root
    assert [step for step, _ in children(two, {id(two.state[0])})] == [".x"]


def test_paths_lead_to_where_a_value_is_met_first():
    done = traced([Let("m", New("a:b")), {"k": Get("m")}, Call("c:d", New("e:f"), state={"x": (1, New("g:h"))})])
    found = paths(done, list(done.made))
    assert sorted(found.values()) == ["$[0]", "$[2]", "$[2](0)", "$[2].x[1]"]
    assert found[id(done.root.items[0])] == "$[0]"
    assert paths(done, [done.root]) == {id(done.root): "$"}
    assert paths(done, []) == {}
    assert paths(done, [Global("not", "there", 0)]) == {}


def test_a_path_of_more_than_400_characters_ends():
    def nested(asm: Asm) -> None:
        asm.push(New("a:b")).raw(op("TUPLE1") * 1_000)

    found = paths(done := traced(Do(nested)), list(done.made))
    assert list(found.values()) == ["$" + "[0]" * 133]


def test_atoms_are_shown_in_a_few_characters():
    assert brief("x" * 100) == "'" + "x" * 40 + "'"
    assert brief("é\n") == r"'\xe9\n'"
    assert brief("\U0001f600" * 40) == ("'" + r"\U0001f600" * 40)[:60]
    assert brief((1 << 128) - 1) == str((1 << 128) - 1)
    assert brief(1 << 128) == "an integer of 129 bits"
    assert (brief(None), brief(1.5), brief(b"x")) == ("None", "1.5", "b'x'")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "None"),
        ([], "a list"),
        ({}, "a dict"),
        (set(), "a set"),
        (frozenset(), "a frozenset"),
        (bytearray(), "a bytearray"),
        (Do(lambda asm: asm.push("x")), "a value of type str"),
        (1, "a value of type int"),
        ((), "a value of type tuple"),
        (Call("a:b"), "an object made by a:b"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_refusal_says_what_a_value_is_without_its_content(value, shown):
    assert f": REDUCE on {shown}: only a name can be called, directly" in refused(Call(value, 1))


def test_what_the_kinds_of_values_say_of_themselves():
    done = traced([Ref("a:b"), New("a:b"), Do(lambda asm: asm.op("NEXT_BUFFER")), bytearray(b"abc")], b"four")
    name, made, buffer, array = done.root.items
    assert (str(name), name.key, name.handles, name.called, name.derived) == ("a:b", ("a", "b"), 2, 1, False)
    assert (made.how, made.callee, made.args, made.kwargs, made.state, made.items, made.pairs) == ("new", name, (), None, ABSENT, (), ())
    assert (made.early, made.handles, made.at == made.done) == (False, 1, True)
    assert (buffer.number, len(buffer), buffer.readonly) == (0, 4, False)
    assert (len(array), done.program[array.start : array.end]) == (3, b"abc")
    assert repr(ABSENT) == "<absent>"
    shown = repr(done)
    assert shown == "Trace()"


def test_where_an_object_was_made_and_complete():
    data = program(New("a:b", state={"x": 1}))
    made = trace(data).root
    assert (made.at, made.done) == (data.index(op("NEWOBJ")), data.rindex(op("BUILD")))
    assert made.callee.at == data.index(op("STACK_GLOBAL"))


def test_an_instance_that_was_fetched_before_its_state_is_early():
    early = traced(Do(lambda asm: asm.push(Let("i", New("a:b"))).push({"self": Get("i")}).op("BUILD"))).root
    late = traced([Let("i", New("a:b", state={})), Get("i")]).root.items[0]
    assert (early.early, late.early) == (True, False)


def test_the_name_of_an_attribute_is_derived():
    done = traced([Call(Call("builtins:getattr", Ref("a:b"), "c"), 1), Call(Call("builtins:getattr", Ref("a:b"), "c"), 2)])
    assert [(str(name), name.derived, name.called, name.handles) for name in done.globals] == [
        ("builtins:getattr", False, 2, 2),
        ("a:b", False, 0, 2),
        ("a:b.c", True, 2, 2),
    ]


@pytest.mark.parametrize(
    "callee",
    [
        New("builtins:getattr", Ref("a:b"), "c"),
        Call("builtins:getattr", Ref("a:b"), "c", state=1),
        Call("builtins:getattr", Ref("a:b"), "c", 1),
        Call("builtins:getattr", "a", "c"),
        Call("builtins:getattr", Ref("a:b"), 1),
        Call("builtins:getattr", Ref("a:b"), "c-d"),
        Call("builtins:hasattr", Ref("a:b"), "c"),
    ],
    ids=range(7),
)
def test_only_an_attribute_of_a_name_is_called_as_one(callee):
    assert "only a name can be called, directly" in refused(Call(callee, 1))


def test_what_is_hashed_is_known_to_the_trace():
    done = traced([{"text": 1}, {1: 2}, {New("a:b"): 1}, {(New("c:d"), 2)}, frozenset({"only text"})])
    assert [(type(container), len(keys)) for container, keys in done.hashed] == [(Dict, 1), (Dict, 1), (Set, 1)]
    assert [str(made.callee) for made in done.keyed] == ["a:b", "c:d"]


def test_tuples_that_were_fetched_are_shared():
    done = traced([Let("t", (1, 2)), Get("t"), (3, 4), Let("l", []), Get("l")])
    assert done.shared == {id(done.root.items[0])}


def test_containers_inside_a_value():
    made = traced(Do(lambda asm: asm.push(Ref("a:b")).push(([],)).push({"k": {}}).op("NEWOBJ_EX").push((1, set())).op("BUILD"))).root
    assert [type(part) for part in inside(made)] == [tuple, Dict, tuple]
    full = traced(New("a:b", items=[[], 1], pairs=["x", {}])).root
    assert [type(part) for part in inside(full)] == [tuple, List, Dict]
    for value, kinds in (
        ((1, []), [List]),
        ([(), "x"], [tuple]),
        ({"x": [], (1,): 2}, [List, tuple]),
        ({(1,), 2}, [tuple]),
        (frozenset({(1,)}), [tuple]),
    ):
        assert sorted(kind.__name__ for kind in map(type, inside(traced(value).root))) == sorted(kind.__name__ for kind in kinds)
    assert inside("text") == inside(ABSENT) == []
    assert FrozenSet in machines._CONTAINERS
    assert ByteArray not in machines._CONTAINERS
    assert Buffer not in machines._NODES
    assert Made in machines._CHANGEABLE


def test_shared_parts_are_counted_each_time_they_are_fetched():
    """A list of two fetches of a list of two fetches: 1, 3, 7, ... parts, each fetched twice."""
    counts = [2 ** (level + 1) - 1 for level in range(6)]
    fetched = 2 * sum(counts)

    def built(asm: Asm) -> None:
        asm.op("EMPTY_LIST", "MEMOIZE")
        for level in range(6):
            asm.op("EMPTY_LIST", "MARK")
            asm.op("BINGET", operand=level).op("BINGET", operand=level).op("APPENDS", "MEMOIZE")
        for _ in range(6):
            asm.op("TUPLE2")

    assert traced(Do(built), limits=Limits(shared_parts=fetched))
    with pytest.raises(LimitError, match="`shared_parts`"):
        traced(Do(built), limits=Limits(shared_parts=fetched - 1))


def test_what_new_values_are():
    for value in ([], {}, set(), Call("a:b"), New("a:b")):
        root = traced(value).root
        assert (root.handles, root.frozen, root.slot, root.gone) == (1, False, 0, False)
    assert traced(frozenset()).root.handles == traced(bytearray()).root.handles == 1
    assert traced(Ref("a:b")).root.handles == 1
    assert list(traced({"x": 1, 2: "y"}).root.entries()) == [("x", 1), (2, "y")]
    twice = traced([Let("l", []), Get("l"), Get("l")]).root
    assert twice.items[0] is twice.items[2]
    assert twice.items[0].handles == 3
    within = [traced([None, value]).root.items[1].slot for value in ([], {}, {1}, Call("a:b"), New("a:b"))]
    assert within == [machines._LEVEL + 1] * 5


def test_floats_are_their_eight_bytes():
    values = [0.0, -1.5, 1e300, 5e-324, float("inf"), -float("inf")]
    assert traced(values).root.items == values
    assert str(traced([-0.0, float("nan")]).root.items) == "[-0.0, nan]"


CUT = {
    "BININT1": 7,
    "BININT2": 700,
    "BININT": 70_000,
    "LONG1": 1 << 40,
    "LONG4": 1 << 2_100,
    "BINFLOAT": 1.5,
    "SHORT_BINUNICODE": "text",
    "BINUNICODE": "text" * 70,
    "BINUNICODE8": "text" * 70,
    "SHORT_BINBYTES": b"text",
    "BINBYTES": b"text" * 70,
    "BINBYTES8": b"text" * 70,
    "BYTEARRAY8": b"text",
    "BINGET": 0,
    "LONG_BINGET": 256,
    "FRAME": 100,
}


@pytest.mark.parametrize("name", CUT)
def test_an_operand_that_is_cut_is_refused_wherever_it_stands(name):
    whole = op(name, CUT[name])
    for length in range(1, len(whole)):
        for before in (b"", b"NNNN"):
            body = before + whole[:length]
            for data in (op("PROTO", 5) + body, op("PROTO", 5) + op("FRAME", len(body)) + body):
                with pytest.raises(ProgramError):
                    trace(data)


# Of each operation that nests: how a value is put into one more of it.
NESTING: dict[str, Any] = {
    "TUPLE1": lambda asm, inner: asm.push(inner).op("TUPLE1"),
    "TUPLE2": lambda asm, inner: asm.push(inner).push(1).op("TUPLE2"),
    "TUPLE3": lambda asm, inner: asm.push(inner).push(1).push(2).op("TUPLE3"),
    "TUPLE": lambda asm, inner: asm.group((inner, 1, 2, 3), "TUPLE"),
    "APPEND": lambda asm, inner: asm.op("EMPTY_LIST").push(inner).op("APPEND"),
    "APPENDS": lambda asm, inner: asm.op("EMPTY_LIST").group((inner, 1), "APPENDS"),
    "SETITEM": lambda asm, inner: asm.op("EMPTY_DICT").push(1).push(inner).op("SETITEM"),
    "SETITEMS": lambda asm, inner: asm.op("EMPTY_DICT").group((1, inner, 2, 3), "SETITEMS"),
    "FROZENSET": lambda asm, inner: asm.group((inner,), "FROZENSET"),
    "BUILD": lambda asm, inner: asm.push(New("a:b")).push(inner).op("BUILD"),
    "ADDITEMS": lambda asm, inner: asm.op("EMPTY_SET").group((New("a:b", items=[inner]),), "ADDITEMS"),
    "NEWOBJ_EX": lambda asm, inner: asm.push(Ref("a:b")).push(()).push({"k": inner}).op("NEWOBJ_EX"),
}


@pytest.mark.parametrize("name", NESTING)
def test_each_operation_that_nests_counts_for_the_limit(name):
    def nested(depth: int) -> Any:
        value: Any = 1
        for _ in range(depth):
            value = Do(lambda asm, inner=value: NESTING[name](asm, inner))
        return value

    # The innermost instance has arguments, an empty tuple.
    levels = {"BUILD": 13, "ADDITEMS": 25, "NEWOBJ_EX": 24}.get(name, 12)
    assert traced(nested(12), limits=Limits(nesting=levels))
    with pytest.raises(LimitError, match=f"nested more than {levels - 1} deep"):
        traced(nested(12), limits=Limits(nesting=levels - 1))


@pytest.mark.parametrize("innermost", [[], {}, (), set(), frozenset()], ids=repr)
def test_an_empty_container_is_a_level_of_nesting(innermost):
    value = innermost
    for _ in range(12):
        value = (value,)
    assert traced(value, limits=Limits(nesting=13))
    with pytest.raises(LimitError, match="nested more than 12 deep"):
        traced(value, limits=Limits(nesting=12))


@pytest.mark.parametrize("make", [Call, New], ids=["REDUCE", "NEWOBJ"])
def test_calls_within_arguments_count_for_the_limit(make):
    value: Any = 1
    for _ in range(12):
        value = make("a:b", value)
    assert traced(value, limits=Limits(nesting=24))
    with pytest.raises(LimitError, match="nested more than 23 deep"):
        traced(value, limits=Limits(nesting=23))


GROWING: dict[str, Any] = {
    "a list": (lambda asm: asm.op("EMPTY_LIST"), lambda asm: asm.get("x").op("APPEND")),
    "a list by a group": (lambda asm: asm.op("EMPTY_LIST"), lambda asm: asm.group((Get("x"), 1), "APPENDS")),
    "a dict": (lambda asm: asm.op("EMPTY_DICT"), lambda asm: asm.push(1).get("x").op("SETITEM")),
    "a dict by a group": (lambda asm: asm.op("EMPTY_DICT"), lambda asm: asm.group((1, Get("x")), "SETITEMS")),
    "a set": (lambda asm: asm.op("EMPTY_SET"), lambda asm: asm.group((New("c:d", items=[Get("x")]),), "ADDITEMS")),
    "a result": (lambda asm: asm.push(Call("a:b")), lambda asm: asm.get("x").op("APPEND")),
    "an instance": (lambda asm: asm.push(New("a:b")), lambda asm: asm.get("x").op("APPEND")),
    "its state": (lambda asm: asm.push(New("a:b")), lambda asm: asm.push({"self": Get("x")}).op("BUILD")),
    "with keywords": (
        lambda asm: asm.push(Ref("a:b")).push(()).push({"k": 1}).op("NEWOBJ_EX"),
        lambda asm: asm.push({"self": Get("x")}).op("BUILD"),
    ),
}


@pytest.mark.parametrize("place", ["alone", "in a group", "after others in a group", "in a group in a group", "in a pair"])
@pytest.mark.parametrize("name", GROWING)
def test_what_refers_to_itself_grows_where_it_was_made_and_nowhere_else(name, place):
    make, grow = GROWING[name]

    def here(asm: Asm) -> None:
        make(asm)
        asm.let("x")
        grow(asm)

    def elsewhere(asm: Asm) -> None:
        make(asm)
        asm.let("x").push(1).get("x")
        grow(asm)
        asm.op("TUPLE3")

    def later(asm: Asm) -> None:
        make(asm)
        asm.let("x").op("TUPLE1").get("x")
        grow(asm)
        asm.op("TUPLE2")

    def held_by_what_is_below(asm: Asm) -> None:
        """Where it is fetched to is where it was made."""
        asm.op("EMPTY_LIST")
        make(asm)
        asm.let("x").op("APPEND").get("x")
        grow(asm)
        asm.op("APPEND")

    places: dict[str, Any] = {
        "alone": lambda value: value,
        "in a group": lambda value: Do(lambda asm: asm.op("EMPTY_LIST").group((value,), "APPENDS")),
        "after others in a group": lambda value: Do(lambda asm: asm.op("EMPTY_LIST").group((0, "x", value, 3), "APPENDS")),
        "in a group in a group": lambda value: Do(lambda asm: asm.op("EMPTY_LIST").group((0, [1, Do(lambda asm: asm.push(value)), 2]), "APPENDS")),
        "in a pair": lambda value: (1, value),
    }
    assert traced(places[place](Do(here)))
    for wrong in (elsewhere, later, held_by_what_is_below):
        assert "is changed through the memo, away from where it was made" in refused(places[place](Do(wrong)))


def test_lists_that_refer_to_each_other_are_admitted_in_small_numbers_only():
    """Printing two that hold each other ends; printing many that all hold each other never does."""

    def ring(count: int) -> Do:
        def run(asm: Asm) -> None:
            asm.op("EMPTY_LIST").let("0")

            def fill(number: int) -> None:
                asm.op("MARK")
                if number + 1 < count:
                    asm.op("EMPTY_LIST").let(str(number + 1))
                    fill(number + 1)
                for other in range(count):
                    asm.get(str(other))
                asm.op("APPENDS")

            fill(0)

        return Do(run)

    assert traced(ring(2))
    assert traced(ring(5))
    with pytest.raises(LimitError, match="more than 1000 parts"):
        traced(ring(12), limits=Limits(shared_parts=1_000))


def test_a_frame_or_an_operation_where_none_may_stand_is_refused():
    five = op("PROTO", 5)
    assert "operations stand before this frame that belong into a frame" in refused_bytes(five + b"N" + op("FRAME", 4) + b"\x85\x85\x85.")
    assert "a FRAME within a frame" in refused_bytes(frame(b"N" + op("FRAME", 4) + b"\x85\x85\x85."))
    for length, follow in ((100, 5), (5, 4), (4, 0)):
        says = f"FRAME says {length} bytes and only {follow} follow"
        assert says in refused_bytes(five + op("FRAME", length) + b"NNNNN"[:follow])
    assert "FRAME says 0 bytes and only 0 follow" in refused_bytes(five + op("FRAME", 0)[:5])
    assert "does not begin with PROTO 5" in refused_bytes(b"")
    assert refused_bytes(b"").startswith("at byte 0 of the program: ")
    assert "the program ends without STOP" in refused_bytes(five)
    assert "the program ends without STOP" in refused_bytes(five + b"N")


def refused_bytes(data: bytes) -> str:
    with pytest.raises(ProgramError) as error:
        trace(data)
    return str(error.value)


@pytest.mark.parametrize(
    ("value", "objects"),
    [
        (Call("a:b"), 1),
        (New("a:b"), 1),
        ([], 1),
        ({}, 1),
        (set(), 1),
        (bytearray(b"x"), 1),
        (Do(lambda asm: asm.push(Ref("a:b")).push(()).push({"k": 1}).op("NEWOBJ_EX")), 2),
    ],
    ids=["REDUCE", "NEWOBJ", "list", "dict", "set", "bytearray", "NEWOBJ_EX"],
)
def test_each_kind_of_object_counts_for_the_limit(value, objects):
    what = (value,) * 4
    assert traced(what, limits=Limits(objects=4 * objects))
    with pytest.raises(LimitError, match=f"the program makes more than {4 * objects - 1} objects"):
        traced(what, limits=Limits(objects=4 * objects - 1))


def handed_over_in(kind: str) -> Any:
    """A list that something was made with, or that lies within what it was made with."""
    inner = Let("l", [1])
    return {
        "arguments": lambda: New("a:b", inner),
        "a tuple": lambda: New("a:b", (1, (2, inner))),
        "a list": lambda: New("a:b", [inner]),
        "a dict": lambda: New("a:b", {1: inner}),
        "a set": lambda: New("a:b", {New("c:d", items=[inner])}),
        "a frozenset": lambda: New("a:b", frozenset({(1, New("c:d", items=[inner]))})),
        "a frozenset of objects": lambda: New("a:b", frozenset({New("c:d", items=[inner])})),
        "items": lambda: New("a:b", New("c:d", items=[inner])),
        "pairs": lambda: New("a:b", New("c:d", pairs=["x", inner])),
        "a state": lambda: New("a:b", state=[inner]),
        "keywords": lambda: Do(lambda asm: asm.push(Ref("a:b")).push(()).push({"k": inner}).op("NEWOBJ_EX")),
    }[kind]()


HANDED = ["arguments", "a tuple", "a list", "a dict", "a set", "a frozenset", "a frozenset of objects", "items", "pairs", "a state", "keywords"]


@pytest.mark.parametrize("kind", HANDED)
def test_what_was_handed_over_is_frozen_wherever_it_lies(kind):
    wrong = [handed_over_in(kind), Do(lambda asm: asm.get("l").op("NONE", "APPEND"))]
    assert "a list is changed after it was handed over as an argument or a state" in refused(wrong)
    assert traced([handed_over_in(kind), Get("l")])


def test_back_references_are_no_further_level_of_nesting():
    itself = Do(lambda asm: asm.op("EMPTY_LIST").let("l").get("l").op("APPEND").get("l").op("APPEND"))
    assert traced(itself, limits=Limits(nesting=1))
    with pytest.raises(LimitError, match="nested more than 1 deep"):
        traced([itself], limits=Limits(nesting=1))


def doubled(asm: Asm) -> None:
    """A list of two times a list of two times a list, 20 deep: two million parts."""
    asm.op("EMPTY_LIST").let("0")
    for level in range(20):
        asm.get(str(level)).op("TUPLE2").let(str(level + 1))


def test_paths_through_what_is_shared_are_gone_once():
    """Else this would take a minute."""
    done = traced(Do(doubled), limits=Limits(tuple_nodes=1 << 30))
    assert paths(done, [Global("not", "there", 0)]) == {}
    inner = done.root
    while type(inner) is tuple:
        inner = inner[0]
    assert paths(done, [inner]) == {id(inner): "$" + "[0]" * 20}


@pytest.mark.parametrize(
    ("key", "nodes", "made", "last"),
    [
        ((1, 2, 3), 4, 0, 0),
        (((1, 2), 3), 5, 0, 0),
        # Ten more for its length, which for the last of all is counted and not looked at.
        (1 << 640, 11, 0, 10),
        ("text", 1, 0, 0),
        # Its members are counted when it is made as well.
        (frozenset({1, 2}), 3, 2, 0),
        (Ref("a:b"), 1, 0, 0),
        ((New("a:b", 1, 2, 3), 1), 3, 0, 0),
    ],
    ids=["tuple", "tuples", "integer", "text", "frozenset", "name", "object"],
)
def test_each_value_in_a_key_counts_for_the_limit(key, nodes, made, last):
    """Beyond one for each byte of the program: a hundred fetches of a tuple of a hundred keys."""
    fetches = [part for _ in range(100) for part in (Get("k"), 1)]
    data = program([Let("k", (key,) * 100), Do(lambda asm: asm.op("EMPTY_DICT").group(fetches, "SETITEMS"))])
    total = 100 * made + 100 * (1 + 100 * nodes) - last - len(data)
    assert trace(data, limits=Limits(key_nodes=total))
    with pytest.raises(LimitError, match="`key_nodes`"):
        trace(data, limits=Limits(key_nodes=total - 1))


VALUES = [
    True,
    False,
    None,
    b"",
    b"text",
    b"x" * 255,
    b"x" * 256,
    b"x" * 70_000,
    "",
    "text",
    "é" * 127,
    "é" * 128,
    "é" * 70_000,
    0,
    255,
    256,
    65_535,
    65_536,
    -1,
    -(1 << 31),
    (1 << 31) - 1,
    1 << 31,
    -(1 << 31) - 1,
    1 << 2_039,
    1 << 2_100,
    -(1 << 2_100),
    (),
    (1,),
    (1, 2),
    (1, 2, 3),
    (1, 2, 3, 4),
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_atoms_and_tuples_are_themselves(value):
    found = traced((value, [value])).root
    assert (type(found[0]), found[0], found[1].items) == (type(value), value, [value])


def test_what_is_filled_by_several_groups_has_all_of_them():
    def filled(begin: str, opcode: str, *groups: tuple[Any, ...]) -> Any:
        def run(asm: Asm) -> None:
            asm.push(New("a:b")) if begin == "instance" else asm.op(begin)
            for group in groups:
                asm.group(group, opcode)

        return traced(Do(run)).root

    assert filled("EMPTY_LIST", "APPENDS", (1, 2), (3,), (), (4,)).items == [1, 2, 3, 4]
    assert filled("EMPTY_DICT", "SETITEMS", (1, 2), (3, 4), (), (5, 6)).flat == [1, 2, 3, 4, 5, 6]
    assert filled("EMPTY_SET", "ADDITEMS", (1, 2), (3,), (), (4,)).items == [1, 2, 3, 4]
    assert filled("instance", "APPENDS", (1, 2), (3,), (), (4,)).items == [1, 2, 3, 4]
    assert filled("instance", "SETITEMS", (1, 2), (3, 4), (), (5, 6)).pairs == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("what", "length"),
    [
        (op("BININT", 70_000)[:3], 4),
        (op("BINFLOAT", 1.5)[:5], 8),
        (op("LONG_BINGET", 256)[:3], 4),
        (op("SHORT_BINUNICODE", "text")[:4], 4),
        (op("SHORT_BINBYTES", b"text")[:4], 4),
        (op("BINBYTES", b"x" * 300)[:100], 300),
        (op("BINUNICODE", "x" * 300)[:100], 300),
        (op("BYTEARRAY8", b"text")[:11], 4),
        (op("BYTEARRAY8", b"text")[:4], 8),
        (op("LONG1", 1 << 40)[:4], 6),
        (op("LONG4", 1 << 2_100)[:40], 263),
    ],
    ids=range(11),
)
def test_an_operand_that_is_cut_says_how_long_it_would_be(what, length):
    body = b"NNNN" + what
    data = op("PROTO", 5) + op("FRAME", len(body)) + body
    assert refused_bytes(data) == f"at byte 15 of the program: the operand says {length} bytes and the program ends before them"


@pytest.mark.parametrize("name", ["BINBYTES", "BINUNICODE", "BYTEARRAY8"])
def test_large_data_stand_outside_the_frames(name):
    small, large = (op(name, ("x" if name == "BINUNICODE" else b"x") * size) for size in (65_535, 65_536))
    assert trace(frame(small + b"."))
    assert "65536 bytes within a frame: byte strings of 64 KiB and more stand outside the frames" in refused_bytes(frame(large + b"."))
    assert trace(op("PROTO", 5) + large + b".")


def test_frozensets_in_keys_count_for_the_depth():
    def nested(depth: int) -> Any:
        value: Any = 1
        for _ in range(depth):
            value = frozenset({value})
        return {value: 0}

    assert traced(nested(3), limits=Limits(key_depth=3))
    with pytest.raises(LimitError, match="`key_depth`"):
        traced(nested(4), limits=Limits(key_depth=3))


@pytest.mark.parametrize("name", [name for name in GROWING if name not in {"a list", "a dict", "a result", "an instance"}])
def test_what_grew_after_it_was_fetched_counts_as_what_it_is(name):
    """Each later fetch stands for all that it holds by then."""
    make, grow = GROWING[name]

    def run(asm: Asm) -> None:
        asm.op("EMPTY_LIST", "MARK")
        # Fetched by itself, then grown by a thousand others.
        make(asm)
        asm.let("x")
        grow(asm)
        if name == "a list by a group":
            asm.group([[] for _ in range(1_000)], "APPENDS")
        elif name == "a dict by a group":
            asm.group([part for number in range(1_000) for part in (number, [])], "SETITEMS")
        elif name == "a set":
            asm.group([New("c:d") for _ in range(1_000)], "ADDITEMS")
        for _ in range(100):
            asm.get("x")
        asm.op("APPENDS")

    parts = 1 if name in {"its state", "with keywords"} else 1_000
    assert traced(Do(run))
    with pytest.raises(LimitError, match="`shared_parts`"):
        traced(Do(run), limits=Limits(shared_parts=100 * parts))


def test_paths_go_through_states_of_every_shape():
    """What was met within a state is not passed over where it is held as a value as well."""
    for state, path in (
        ([New("c:d")], "$<state>[0]"),
        ((1, {"k": New("c:d")}, 2), "$<state>[1]['k']"),
        ({"k": New("c:d")}, "$.k"),
        (({"k": New("c:d")}, {"l": 1}), "$.k"),
        ((None, {"k": New("c:d")}), "$.k"),
        (({"k": New("c:d")}, 1), "$<state>[0]['k']"),
        ((New("c:d"),), "$<state>[0]"),
        ((), "$(0)"),
    ):
        done = traced(New("a:b", *([] if path[1] != "(" else [New("c:d")]), state=state))
        inner = next(made for made in done.made if str(made.callee) == "c:d")
        assert paths(done, [inner]) == {id(inner): path}


@pytest.mark.parametrize("name", [name for name in CUT if name not in {"BINGET", "LONG_BINGET", "FRAME", "BINUNICODE8", "BINBYTES8"}])
def test_a_program_that_ends_with_an_operand_misses_its_end_only(name):
    body = b"NNNN" + op(name, CUT[name])
    if name == "BYTEARRAY8":
        body += op(name, b"")
    assert refused_bytes(frame(body)) == f"at byte {11 + len(body)} of the program: the program ends without STOP"


def test_operations_are_counted_exactly():
    small, large = program([1, 2]), program([1, bytes(65_536), 2])
    for data, operations in ((small, len(small)), (large, len(large) - 65_536)):
        assert trace(data, limits=Limits(operation_bytes=operations))
        with pytest.raises(LimitError, match=f"more than {operations - 1} bytes of operations"):
            trace(data, limits=Limits(operation_bytes=operations - 1))


def test_fetches_of_what_holds_nothing_count_for_no_limit():
    for value in ("text", b"x" * 300, (), Ref("a:b"), bytearray(b"x"), 1 << 40):
        assert traced([Let("v", value), *[Get("v")] * 10], limits=Limits(shared_parts=1))
    assert traced([Let("v", []), Get("v")], limits=Limits(shared_parts=1))
    with pytest.raises(LimitError, match="`shared_parts`"):
        traced([Let("v", []), Get("v"), Get("v")], limits=Limits(shared_parts=1))


@pytest.mark.parametrize("value", [0, 1, 255, 256, 65_535])
def test_an_integer_of_32_bits_that_a_shorter_form_holds_is_refused(value):
    assert f"the integer {value} has a shorter form" in refused(Asm().op("BININT", operand=value))


def popped(items: tuple[Any, ...], found: tuple[Any, ...], *, before: int = 0) -> Asm:
    """A list that holds a tuple twice: as it was made, and as the pickler fetches a tuple that contains itself."""
    asm = Asm().op("EMPTY_LIST").group([Let(str(number), "x") for number in range(before)], "APPENDS")
    asm.push(found).let("t").op("APPEND")
    if len(items) > 3 and len(found) > 3:
        return asm.group(items, "POP_MARK").get("t").op("APPEND")
    for item in items:
        asm.push(item)
    return asm.op(*["POP"] * len(items)).get("t").op("APPEND")


NAN = float("nan")


@pytest.mark.parametrize("before", [0, 300], ids=["BINGET", "LONG_BINGET"])
@pytest.mark.parametrize("items", [(1,), (1, "x"), (1.5, b"x", None), (NAN, True, -1), (1, 2, 3, 4), ("a",) * 7], ids=range(6))
def test_the_items_of_a_tuple_that_contains_itself_are_dropped(items, before):
    root = traced(popped(items, items, before=before)).root
    assert root.items[-1] is root.items[-2]


@pytest.mark.parametrize("before", [0, 300], ids=["BINGET", "LONG_BINGET"])
@pytest.mark.parametrize(
    ("items", "found"),
    [
        ((1,), (2,)),
        ((1,), (True,)),
        ((1,), (1.0,)),
        (("x",), (b"x",)),
        ((0,), (None,)),
        ((1.5,), (NAN,)),
        (([],), ([],)),
        (((1,),), ((1,),)),
        ((1, 2), (1, 3)),
        ((1, 2), (0, 2)),
        ((1, 2, 3), (1, 2, 4)),
        ((1, 2), (1,)),
        ((1,), (1, 1)),
        ((1, 2, 3, 4), (1, 2, 3, 5)),
        ((1, 2, 3, 4), (1, 2, 3, 4, 5)),
        ((1, 2, 3, 4, 5), (1, 2, 3, 4)),
    ],
    ids=range(16),
)
def test_nothing_else_is_dropped(items, found, before):
    assert "POP drops values other than the items of a tuple that contains itself" in refused(popped(items, found, before=before))


def test_each_number_of_items_is_dropped_in_its_form():
    """POP of up to three, POP_MARK of four and more."""

    def dropped(count: int, opcode: str) -> Asm:
        items = (1, 2, 3, 4, 5)[:count]
        asm = Asm().op("EMPTY_LIST").push(items).let("t").op("APPEND")
        if opcode == "POP":
            for item in items:
                asm.push(item)
            return asm.op(*["POP"] * count).get("t").op("APPEND")
        return asm.group(items, "POP_MARK").get("t").op("APPEND")

    for count in (1, 2, 3, 4, 5):
        right, wrong = ("POP", "POP_MARK") if count < 4 else ("POP_MARK", "POP")
        assert traced(dropped(count, right))
        assert "POP drops values" in refused(dropped(count, wrong))
    # Not a tuple, or nothing that is fetched.
    for after in (Asm().push([1]).let("t"), Asm().push([1])):
        assert "POP drops values" in refused(after.push(1).op("POP", "NONE", "APPEND"))
    assert "POP drops values" in refused(Asm().push([]).let("t").push(1).op("POP").get("t").op("APPEND"))


def states_of_all_outer_ones(count: int) -> Do:
    """Lists of a class of one's own, one in the state of another, and in each state all outer ones. Innermost is an object that refers to all.

    No circle is there before the last states are given, and nothing is fetched afterwards. What an object refers to is printed by itself.
    """

    def one(asm: Asm, number: int) -> None:
        outer = [Get(str(each)) for each in range(number + 1)]
        inner = New("e:f", state={"x": outer}) if number + 1 == count else Do(lambda asm: one(asm, number + 1))
        asm.push(New("a:b", items=[1])).let(str(number)).push((*outer, inner)).op("BUILD")

    return Do(lambda asm: one(asm, 0))


def test_a_circle_that_ends_with_the_program_is_looked_at_as_well():
    limits = Limits(shared_parts=1_000)
    assert traced(states_of_all_outer_ones(3), limits=limits)
    with pytest.raises(LimitError, match="`shared_parts`"):
        traced(states_of_all_outer_ones(16), limits=limits)


def holding(*values: Any, kind: str = "EMPTY_LIST", label: str = "") -> Do:
    """A list or dict that is in the memo before it holds anything."""

    def run(asm: Asm) -> None:
        asm.op(kind)
        if label:
            asm.let(label)
        asm.group(values, "APPENDS" if kind == "EMPTY_LIST" else "SETITEMS")

    return Do(run)


def with_itself(**held: Any) -> list[Any]:
    """An object that refers to itself in its state, three times, and again beside it."""
    return [Do(lambda asm: asm.push(New("a:b", **held)).let("i").push({"self": Get("i"), "all": [Get("i"), Get("i")]}).op("BUILD")), Get("i")]


X, GET = Let("x", []), Get("x")
ITSELF = holding(Get("l"), label="l")
# Two lists in each other, the outer one with the inner one twice; three, each with both others; and what goes on growing.
TWO = holding(holding(Get("o"), label="i"), Get("i"), label="o")
THREE = holding(holding(Get("0"), holding(Get("0"), Get("1"), label="2"), label="1"), Get("2"), label="0")
LATER = holding(holding(Get("o"), [], label="i"), Get("i"), *[[] for _ in range(5)], label="o")


def grown_twice(asm: Asm) -> None:
    asm.op("EMPTY_LIST").let("o").group([Let("t", (Get("o"), 1))], "APPENDS").group([Get("t"), *[[] for _ in range(5)]], "APPENDS")


FRIENDS = Do(lambda asm: asm.push(New("a:b")).let("a").push({"friend": New("c:d", state={"a": Get("a")}), "more": [[], [], []]}).op("BUILD"))
LOOKED: dict[str, tuple[Any, int, int]] = {
    # name: (value, how much is looked at, the least `shared_parts`)
    "an empty list": ([X, GET], 2, 1),
    "twice": ([X, GET, GET], 2, 2),
    "a list of lists": ([Let("x", [[], []]), GET, GET], 10, 6),
    "objects and tuples": ([Let("x", New("a:b", ([],), state={"k": {}}, items=[()])), GET], 26, 7),
    "beside a list that grows": ([X, GET, [1], [2], GET], 2, 2),
    "beside a dict that grows": ([X, GET, {1: 2}, {1: 2, 3: 4}, GET], 2, 2),
    "beside a set that grows": ([X, GET, {1}, {1, 2}, GET], 2, 2),
    "beside an object that gets a state": ([X, GET, New("a:b", state=1), GET], 2, 2),
    "itself": (ITSELF, 6, 1),
    "itself twice": ([ITSELF, Get("l")], 12, 2),
    "a dict": (Do(lambda asm: asm.op("EMPTY_DICT").let("d").push("k").get("d").op("SETITEM")), 6, 1),
    "a set": (Do(lambda asm: asm.op("EMPTY_SET").let("s").group([New("a:b", items=[Get("s")])], "ADDITEMS")), 65, 3),
    "two": (TWO, 79, 3),
    "two, fetched": ([TWO, Get("o"), Get("i")], 87, 8),
    "two, fetched twice": ([TWO, Get("i"), Get("o"), Get("i"), Get("o")], 91, 13),
    "three": (THREE, 209, 7),
    "three, fetched": ([THREE, Get("0"), Get("1"), Get("2")], 219, 22),
    "later": (LATER, 105, 10),
    "later, fetched": ([LATER, Get("i"), Get("o")], 113, 22),
    # Something that holds what grows and grows no more itself, and something that was fetched but once and grows.
    "within, fetched": ([holding([holding(Get("o"), label="i")], Get("i"), *[[] for _ in range(5)], label="o"), Get("i")], 139, 11),
    "in a tuple, fetched": ([holding(Let("t", (Get("o"), 1)), Get("t"), *[[] for _ in range(5)], label="o"), Get("t")], 105, 10),
    "atoms": ([Let("x", [None] * 48), GET], 8, 1),
    "objects alone, fetched": ([Do(lambda asm: asm.push(New("a:b")).let("a").push(New("c:d", state=Get("a"))).op("BUILD")), Get("a")], 24, 8),
    "in a tuple, grown twice": ([Do(grown_twice), Get("t")], 160, 10),
    "objects, fetched": ([FRIENDS, Get("a")], 72, 14),
    "an object": (with_itself(), 68, 13),
    "an object that is a list": (with_itself(items=[1]), 135, 10),
    "an object that is a dict": (with_itself(pairs=[1, 2]), 135, 10),
    "objects in each other": ([states_of_all_outer_ones(3), Get("0")], 435, 59),
    "objects in each other at the end": (states_of_all_outer_ones(4), 726, 105),
}


@pytest.mark.parametrize("name", LOOKED)
def test_what_is_fetched_is_counted_and_looked_at_exactly(name):
    """Each container twice as much as it holds, with itself, twelve times more in circles, steps on the ways there; parts as often as printed."""
    value, looked, parts = LOOKED[name]
    data = program(value)
    machine = machines._Machine(data, (), Limits(shared_parts=parts))
    machine.run()
    assert (machine.looked, machine.may_look) == (looked, 64 * len(data) + (1 << 20))
    if parts > 1:
        with pytest.raises(LimitError, match=f"more than {parts - 1} parts"):
            trace(data, limits=Limits(shared_parts=parts - 1))
    for most in (looked, looked - 1):
        machine = machines._Machine(data, (), Limits())
        machine.may_look = most
        if most == looked:
            assert machine.run().program == data
        else:
            with pytest.raises(LimitError, match="`shared_parts`"):
                machine.run()


def test_what_was_fetched_once_and_grows_is_counted_as_what_it_is_by_then():
    """What is fetched is a list that holds it: itself it was never asked for again."""
    grown = holding(holding(GET, label="y"), Get("y"), *[[] for _ in range(100)], label="x")

    def run(asm: Asm) -> None:
        asm.push(grown).group([Get("y")] * 10, "APPENDS")

    assert traced(Do(run), limits=Limits(shared_parts=1 + 2 + 10 * 102))
    with pytest.raises(LimitError, match="`shared_parts`"):
        traced(Do(run), limits=Limits(shared_parts=2 + 10 * 102))


def test_an_object_that_was_handed_over_is_frozen():
    """Also one that holds itself, which is gone through once."""
    itself = Do(lambda asm: asm.push(New("c:d")).let("o").group([Get("o"), 1], "APPENDS"))
    wrong = [New("a:b", itself), Do(lambda asm: asm.get("o").op("NONE", "APPEND"))]
    assert "an object made by c:d is changed after it was handed over" in refused(wrong)
    assert traced([New("a:b", itself), Get("o")])


def test_arguments_are_frozen_wherever_they_lie_in_memory():
    """What was gone through is known by its id: arguments that are made afterwards are not taken for what was forgotten meanwhile."""
    keywords = Do(lambda asm: asm.push(Ref("a:b")).push(()).push({"k": 1}).op("NEWOBJ_EX"))
    # Changing what was fetched goes through all that was handed over.
    before = [Ref("a:b"), *[keywords, ITSELF] * 3]
    for count in range(1, 4):
        arguments = (Get("z"), *range(count))
        assert "a list is changed after it was handed over" in refused([*before, holding(Call("a:b", *arguments), label="z")])
    assert traced([*before, holding(Get("z"), label="z")])


@pytest.mark.parametrize(
    "make", [New("a:b"), Do(lambda asm: asm.push(Ref("a:b")).push(()).push({"k": 1}).op("NEWOBJ_EX"))], ids=["NEWOBJ", "NEWOBJ_EX"]
)
def test_a_state_is_given_where_the_instance_was_made(make):
    """Nothing but BUILD fetches it here, so this is the first time that it is asked for."""
    assert "is changed through the memo" in refused([Let("x", make), Do(lambda asm: asm.get("x").push(1).op("BUILD"))])


def test_what_is_made_with_keywords():
    def made(keywords: Any) -> Do:
        return Do(lambda asm: asm.push(Ref("a:b")).push((1,)).push(keywords).op("NEWOBJ_EX"))

    done = traced([made({"k": 2, "l": 3}), made({})])
    first = done.root.items[0]
    assert done.made == tuple(done.root.items)
    assert (first.how, str(first.callee), first.args, first.kwargs.flat, first.callee.called) == ("new", "a:b", (1,), ["k", 2, "l", 3], 2)
    for wrong in ({1: 2}, {"k": 1, 2: "x"}, {"k": 1, b"l": 2}):
        assert refused(made(wrong)).endswith(": keyword arguments are named by text")


def test_the_values_inside_a_value_are_told_with_their_steps():
    made = traced(New("a:b", 1, state={"x": 2, "y": 3}, items=[4], pairs=["k", 5, "l", 6])).root
    assert list(children(made)) == [("(0)", 1), (".x", 2), (".y", 3), ("[0]", 4), ("['k']", 5), ("['l']", 6)]
    assert list(children(traced({"a": 1, (2,): 3}).root)) == [("['a']", 1), ("[…]", 3), ("<key 1>", (2,))]


def test_values_are_what_they_are():
    for value, name in ((Limits(), "nesting"), (traced(1), "root")):
        assert not hasattr(value, "__dict__")
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, 1)


def test_the_table_is_that_of_pickletools():
    rows = machines.OPCODES.values()
    assert {row.code: row.name for row in rows} == {ord(each.code): each.name for each in pickletools.opcodes}
    assert len([row for row in rows if row.strict]) == 46
    assert {row.name for row in rows if not row.strict} == {
        *("GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "PUT", "BINPUT", "LONG_BINPUT", "GET", "DUP"),
        *("INT", "LONG", "FLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "LIST", "DICT"),
    }
    begins = {row.prose.split()[0] for row in rows if row.strict}
    assert begins == {"Add", "Append", "Call", "Give", "Make", "Only", "Open", "Push", "Replace", "Set", "Store", "The"}


def test_the_lengths_that_no_shorter_form_holds():
    codes = {each.name: ord(each.code) for each in pickletools.opcodes}
    expected = {"BINUNICODE": (4, 256), "BINUNICODE8": (8, 1 << 32), "BINBYTES": (4, 256), "BINBYTES8": (8, 1 << 32), "BYTEARRAY8": (8, 0)}
    assert {codes[name]: each for name, each in expected.items()} == machines._DATA


def test_text_and_bytes_of_the_longest_form(monkeypatch):
    """As if they were of 4 GiB and more."""
    for name, value in (("BINUNICODE8", "text"), ("BINBYTES8", b"text")):
        monkeypatch.setitem(machines._DATA, op(name, value)[0], (8, 1))
        assert traced(Asm().op("EMPTY_LIST").op(name, operand=value).op("APPEND")).root.items == [value]


def test_a_program_as_long_as_the_limit():
    data = program([1])
    assert trace(data, limits=Limits(program_bytes=len(data)))
    with pytest.raises(LimitError, match=f"the program takes {len(data)} bytes; limits allow {len(data) - 1}"):
        trace(data, limits=Limits(program_bytes=len(data) - 1))


def test_nothing_follows_the_end():
    for body, bytes_ in ((b"N\x85\x85.N", 1), (b"N\x85\x85.N.", 2), (b"N\x85\x85..", 1)):
        assert f": {bytes_} bytes follow STOP, or a frame goes on after it" in refused_bytes(frame(body))
        assert f": {bytes_ + 1} bytes follow STOP" in refused_bytes(frame(body) + b"N")
    assert "a FRAME of 0 bytes is never written" in refused_bytes(op("PROTO", 5) + op("FRAME", 0))


def test_the_number_of_buffers_that_are_not_used():
    assert "2 of 3 buffers are not used" in refused([Do(lambda asm: asm.op("NEXT_BUFFER"))], b"a", b"b", b"c")


def test_a_fetch_at_the_end_of_the_program():
    asm = Asm().push([Let(str(number), "x") for number in range(300)]).get("256")
    data = asm.program(stop=False)
    assert refused_bytes(data) == f"at byte {len(data)} of the program: the program ends without STOP"


def test_a_name_that_is_none_is_shown_in_part():
    module, name = "m" * 100, "é" * 100
    assert refused(Ref(f"{module}:{name}")).endswith(f": {ascii(module)[:80]}:{ascii(name)[:80]} is not the name of anything in a module")


def test_texts_of_a_long_run_are_in_the_memo():
    words = [f"word {number}" for number in range(1_000)]
    data = pickle.dumps([words, words[::-1]], 5)
    assert [each.items for each in trace(data).root.items] == [words, words[::-1]]


def test_values_in_tuples_are_counted_exactly():
    """Each as often as it is met, and a list or an object once more, since that is what it holds at least."""

    asm = (
        Asm()
        .op("EMPTY_LIST", "MARK")
        .push((1, 2, [], New("a:b")))
        .let("t")
        .get("t")
        .get("t")
        .op("TUPLE3")
        .let("u")
        .get("u")
        .get("u")
        .op("TUPLE3", "APPENDS")
    )
    data = asm.program()
    # (1, 2, [], object) is 4 + 1 + 1; three of it 3 + 3 * 6; three of those 3 + 3 * 21.
    assert trace(data, limits=Limits(tuple_nodes=66))
    with pytest.raises(LimitError, match="a tuple holds more than 65 values"):
        trace(data, limits=Limits(tuple_nodes=65))


def test_paths_go_through_shared_arguments_once():
    """Else this would take half a minute."""
    done = traced([Let("t", tuple(range(8_000))), *[Do(lambda asm: asm.push(Ref("a:b")).get("t").op("REDUCE"))] * 8_000])
    assert paths(done, [Global("not", "there", 0)]) == {}
    assert paths(traced(with_itself()), [Global("not", "there", 0)]) == {}
