"""The machine: its table is that of pickletools, each rule of the strict profile accepts and refuses, every limit is reached."""

from __future__ import annotations

import builtins
import dataclasses
import importlib
import pickle
import pickletools
import sys
from typing import Any

import pytest
from assembler import KEY, Asm, Call, Do, Get, Let, New, Ref, frame, op, program

import safepickle
from safepickle import LimitError, Limits, ProgramError
from safepickle.machine import ABSENT, OPCODES, Dict, FrozenSet, Global, List, Made, Set, Trace, children, trace

NEXT = Do(lambda asm: asm.op("NEXT_BUFFER"))


def traced(what: Any, *buffers: bytes, limits: Limits | None = None) -> Trace:
    return trace(what if isinstance(what, bytes) else what.program() if isinstance(what, Asm) else program(what), buffers=buffers, limits=limits)


# --- the table -------------------------------------------------------------------------------------------------


def test_the_table_has_every_opcode_of_pickletools_and_no_other() -> None:
    """An opcode without a row would be one that nobody has thought about."""
    assert {code: row.name for code, row in OPCODES.items()} == {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}
    assert len(OPCODES) == len(pickletools.opcodes)
    assert all(row.code == code and row.prose for code, row in OPCODES.items())


def test_what_the_pickler_writes_is_what_the_strict_profile_has() -> None:
    """The names that CPython's Python pickler mentions where it writes protocol 5, but for those of older protocols."""
    older = {"INT", "LONG", "FLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "LIST", "DICT", "GET", "PUT", "BINPUT", "LONG_BINPUT"}
    older |= {"GLOBAL", "INST", "OBJ", "PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "DUP"}
    assert {row.name for row in OPCODES.values() if not row.strict} == older


@pytest.mark.parametrize("name", [row.name for row in OPCODES.values() if not row.strict])
def test_an_opcode_outside_the_profile_is_refused_with_its_reason(name) -> None:
    with pytest.raises(ProgramError) as caught:
        traced(Asm().op("NONE", "NONE", "MARK", "NONE").raw(bytes([ord(next(each.code for each in pickletools.opcodes if each.name == name))])))
    assert f"{name} is not written at protocol 5: {OPCODES[ord(next(each.code for each in pickletools.opcodes if each.name == name))].prose}" in str(
        caught.value
    )


def test_a_byte_that_is_no_opcode_is_refused() -> None:
    for code in set(range(256)) - set(OPCODES):
        with pytest.raises(ProgramError, match=f"{code:#04x} is not an opcode"):
            traced(Asm().op("NONE", "NONE", "NONE").raw(bytes([code])))


# --- the rules -------------------------------------------------------------------------------------------------

SIX = op("BININT1", 6)
RULES: dict[str, tuple[Any, Any, str]] = {
    # name: (accepted, refused, what the refusal says)
    "PROTO 5 first": (op("PROTO", 5) + b"N.", op("PROTO", 4) + b"N.", "does not begin with PROTO 5"),
    "PROTO once": ([1], Asm().op("PROTO", operand=5).push([1]), "a second PROTO"),
    "four bytes stand in a frame": (op("PROTO", 5) + b"N\x85.", op("PROTO", 5) + b"N\x85\x85.", "operations outside a frame"),
    "a frame is not too short": (frame(b"N\x85\x85."), op("PROTO", 5) + op("FRAME", 3) + b"N\x85.", "a FRAME of 3 bytes is never written"),
    "frames tile the program": (
        op("PROTO", 5) + op("FRAME", 4) + b"NN\x86\x94" + op("FRAME", 5) + b"\x85\x85\x85\x85.",
        op("PROTO", 5) + op("FRAME", 4) + b"NN\x86\x94" + b"\x85\x85\x85\x85.",
        "operations outside a frame",
    ),
    "an operation ends within its frame": (
        op("PROTO", 5) + op("FRAME", 4) + SIX + SIX + op("FRAME", 4) + b"\x86\x85\x85.",
        op("PROTO", 5) + op("FRAME", 5) + SIX + SIX + SIX + op("FRAME", 4) + b"\x86\x86\x85.",
        "an operation does not end where its frame ends",
    ),
    "large bytes stand outside the frames": ([bytes(65_536)], frame(op("BINBYTES", bytes(65_536)) + b"."), "64 KiB and more stand outside"),
    "smaller bytes stand within": (
        frame(op("BINBYTES", bytes(65_535)) + b"."),
        op("PROTO", 5) + op("BINBYTES", bytes(65_535)) + b".",
        "operations outside a frame",
    ),
    "STOP with one value": ([], Asm().push([]).push([]), "other than one value"),
    "STOP without marks": (Asm().op("MARK", "FROZENSET"), Asm().op("MARK", "EMPTY_LIST"), "STOP with an open mark"),
    "STOP last": (program(1), program(1) + b".", "1 bytes follow STOP"),
    "STOP": (program(1), program(1)[:-1], "the program ends without STOP"),
    "MEMOIZE and BINGET": (
        [Let("a", []), Get("a")],
        Asm().push([]).op("BINGET", operand=0),
        "BINGET needs an operand, stack value, mark or memo entry",
    ),
    "LONG_BINGET from 256 on": (
        [*(Let(str(i), i) for i in range(257)), Get("256")],
        Asm().push([Let(str(i), i) for i in range(257)]).op("LONG_BINGET", operand=255).op("TUPLE2"),
        "LONG_BINGET of memo entry 255 has a shorter form",
    ),
    "BININT1 to 255": (255, Asm().op("BININT2", operand=255), "the integer 255 has a shorter form"),
    "BININT2 from 256 to 65,535": (65_535, Asm().op("BININT", operand=65_535), "the integer 65535 has a shorter form"),
    "BININT from 65,536 to 2**31 - 1": (2**31 - 1, Asm().op("LONG1", operand=2**31 - 1), "not in its shortest form"),
    "BININT from -2**31 to -1": (-(2**31), Asm().op("LONG1", operand=-(2**31)), "not in its shortest form"),
    "LONG1 beyond": (2**31, Asm().raw(op("LONG1", 0)[:1] + b"\x06" + (2**31).to_bytes(6, "little")), "not in its shortest form"),
    "LONG1 below": (
        -(2**31) - 1,
        Asm().raw(op("LONG1", 0)[:1] + b"\x06" + (-(2**31) - 1).to_bytes(6, "little", signed=True)),
        "not in its shortest form",
    ),
    "LONG4 from 256 bytes on": (1 << 2_040, Asm().op("LONG4", operand=1 << 2_038), "not in its shortest form"),
    "SHORT_BINUNICODE to 255 bytes": ("é" * 127, Asm().op("BINUNICODE", operand="é" * 127), "BINUNICODE of 254 bytes has a shorter form"),
    "BINUNICODE from 256 bytes on": ("é" * 128, Asm().op("BINUNICODE8", operand="é" * 128), "BINUNICODE8 of 256 bytes has a shorter form"),
    "text in UTF-8, lone surrogates included": ("\udc80", Asm().op("SHORT_BINUNICODE", operand=b"\xed\xa0"), "text that is not UTF-8"),
    "SHORT_BINBYTES to 255 bytes": ([bytes(255)], Asm().op("BINBYTES", operand=bytes(255)), "BINBYTES of 255 bytes has a shorter form"),
    "BINBYTES from 256 bytes on": ([bytes(256)], Asm().op("BINBYTES8", operand=bytes(256)), "BINBYTES8 of 256 bytes has a shorter form"),
    "BYTEARRAY8 of any length": (bytearray(), Asm().raw(op("BYTEARRAY8", b"abc")[:-2]), "the program ends before them"),
    "TUPLE from four on": ((1, 2, 3, 4), Asm().group((1, 2, 3), "TUPLE"), "TUPLE of 3 values has a shorter form"),
    "APPEND to lists": (Asm().push([]).op("NONE", "APPEND"), Asm().push({}).op("NONE", "APPEND"), "APPEND on a dict"),
    "APPENDS of nothing": (Asm().push([]).group((), "APPENDS"), Asm().push(set()).group((), "APPENDS"), "APPENDS on a set"),
    "SETITEMS of pairs": (Asm().push({}).group((1, 2), "SETITEMS"), Asm().push({}).group((1, 2, 3), "SETITEMS"), "SETITEMS takes pairs"),
    "SETITEM to dicts": (Asm().push({}).push(1).push(2).op("SETITEM"), Asm().push([]).push(1).push(2).op("SETITEM"), "SETITEM on a list"),
    "ADDITEMS to sets": (Asm().push(set()).group((1,), "ADDITEMS"), Asm().push([]).group((1,), "ADDITEMS"), "ADDITEMS on a list"),
    "keys that can be hashed": ({(1, frozenset({2})): 3}, Asm().push({}).push(([],)).op("NONE", "SETITEM"), "cannot be hashed"),
    "POP of the items of a tuple that contains itself": (
        Do(lambda asm: asm.push(Let("l", [])).push((Get("l"),)).let("t").op("APPEND", "POP").get("t")),
        Asm().push(1).push(2).op("POP", "TUPLE1"),
        "POP drops values",
    ),
    "names of texts": (Ref("a.b:c.d"), Asm().push(b"a").push("b").op("STACK_GLOBAL"), "a name is two texts"),
    "names of letters": (Ref("_a1:_B2"), Asm().global_("1a", "b"), "is not the name of anything"),
    "REDUCE of names": (Call("a:b", 1), Call([], 1), "only a name can be called, directly"),
    "REDUCE of an attribute of a name": (
        Call(Call("builtins:getattr", Ref("a:b"), "c"), 1),
        Call(Call("a:b", Ref("a:b"), "c"), 1),
        "only a name can be called",
    ),
    "REDUCE with tuples": (Call("a:b"), Call("a:b", tupled=[]), "REDUCE takes a tuple of arguments, not a list"),
    "NEWOBJ of names": (New("a:b"), New(Call("builtins:getattr", Ref("a:b"), "c")), "only a name can be called, directly"),
    "NEWOBJ_EX": (
        Asm().push(Ref("a:b")).push(()).push({"c": 1}).op("NEWOBJ_EX"),
        Asm().push(Ref("a:b")).push(()).push([]).op("NEWOBJ_EX"),
        "takes a name, a tuple and a dict",
    ),
    "BUILD of what was made": (New("a:b", state={"c": 1}), Asm().push(Ref("a:b")).push({}).op("BUILD"), "BUILD on the name a:b"),
    "BUILD once": (New("a:b", state={}), Asm().push(New("a:b", state={})).push({}).op("BUILD"), "a second BUILD"),
    "BUILD of a fresh result": (
        Call("a:b", state=1),
        [Let("r", Call("a:b")), Do(lambda asm: asm.get("r").push(1).op("BUILD"))],
        "BUILD on the result of a:b (byte",
    ),
    "BUILD of an instance that its own state refers to": (
        Do(lambda asm: asm.push(Let("i", New("a:b"))).push({"self": Get("i")}).op("BUILD")),
        Do(lambda asm: asm.push(Let("i", Call("a:b"))).push({"self": Get("i")}).op("BUILD")),
        "after it was used",
    ),
    "freeze: arguments": (
        [Let("l", [1]), Call("a:b", Get("l"))],
        [Let("l", []), Call("a:b", Get("l")), Do(lambda asm: asm.get("l").op("NONE", "APPEND"))],
        "a list is changed after it was handed over",
    ),
    "freeze: states": (
        New("a:b", state=Let("d", {"c": 1})),
        [New("a:b", state=Let("d", {"c": 1})), Do(lambda asm: asm.get("d").push("e").op("NONE", "SETITEM"))],
        "a dict is changed after it was handed over",
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_rule_accepts_what_cpython_writes(name) -> None:
    assert isinstance(traced(RULES[name][0]), Trace)


@pytest.mark.parametrize("name", RULES)
def test_rule_refuses_the_rest(name) -> None:
    _, refused, says = RULES[name]
    with pytest.raises(ProgramError, match=r"^at byte \d+ of the program: ") as caught:
        traced(refused)
    assert caught.type is ProgramError
    assert says in str(caught.value)


def test_every_buffer_is_used_once() -> None:
    assert len(traced([NEXT, NEXT], b"abc", b"d").root.items[0]) == 3
    assert traced(Do(lambda asm: asm.op("NEXT_BUFFER", "READONLY_BUFFER", "TUPLE1")), b"a").root[0].readonly
    for what, buffers, says in (
        ([NEXT], (), "all 0 buffers are used"),
        ([1], (b"a",), "1 of 1 buffers are not used"),
        ([Let("b", NEXT)], (b"a",), "could be used twice"),
        (Asm().push(1).op("READONLY_BUFFER", "TUPLE1"), (), "does not follow NEXT_BUFFER"),
    ):
        with pytest.raises(ProgramError, match=says):
            traced(what, *buffers)


def test_the_offset_of_a_refusal_is_that_of_the_operation() -> None:
    data = program([1, 2, Call([], 1)])
    with pytest.raises(ProgramError, match=f"^at byte {data.index(op('REDUCE'))} of"):
        trace(data)


# --- the trace -------------------------------------------------------------------------------------------------


def test_the_trace_knows_what_is_called_made_given_and_referred_to() -> None:
    done = traced(
        [Call("a:f", 1, Ref("b:c")), New("a:C", state={"x": Let("m", New("a:D"))}, items=[1], pairs=["k", 2]), Get("m"), {1, 2}, frozenset({3})]
    )
    call, new, inner, members, frozen = done.root.items
    assert [str(name) for name in done.globals] == ["a:f", "b:c", "a:C", "a:D"]
    assert (call.how, str(call.callee), call.args[0], str(call.args[1]), call.state) == ("call", "a:f", 1, "b:c", ABSENT)
    assert (new.how, str(new.callee), new.items, new.pairs, new.state.flat) == ("new", "a:C", [1], ["k", 2], ["x", inner])
    assert [made.callee.name for made in done.made] == ["f", "D", "C"], "an object is complete after what its state holds"
    assert (type(members), members.items, type(frozen), frozen.items) == (Set, [1, 2], FrozenSet, [3])
    assert [step for step, _ in children(new)] == [".x", "[0]", "['k']"]


def test_only_trace_makes_a_trace() -> None:
    """A trace is the proof that a program was judged: nothing else can make one."""
    done = traced([1])
    with pytest.raises(TypeError, match=r"only machine\.trace\(\)"):
        Trace(**{each.name: None for each in dataclasses.fields(Trace)})
    with pytest.raises(TypeError):
        dataclasses.replace(done, program=b"")
    with pytest.raises(dataclasses.FrozenInstanceError):
        done.program = b""


def test_trace_imports_nothing(monkeypatch) -> None:
    """Promise 3: the machine runs on names, not on what they name."""

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError(f"imported {args[:1]}")

    data = program([Call("os:system", "id"), New("this:s", state={"a": Ref("antigravity:x")})])
    before = set(sys.modules)
    with monkeypatch.context() as patch:
        # In this order: monkeypatch imports too.
        for owner, name in (
            (pickle, "loads"),
            (pickle, "Unpickler"),
            (importlib, "import_module"),
            (importlib, "__import__"),
            (builtins, "__import__"),
        ):
            patch.setattr(owner, name, fail)
        done = trace(data)
    assert [str(name) for name in done.globals] == ["os:system", "this:s", "antigravity:x"]
    assert set(sys.modules) == before


# --- limits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "1", None])
@pytest.mark.parametrize("name", [each.name for each in dataclasses.fields(Limits)])
def test_a_limit_is_a_positive_integer(name, value) -> None:
    """A limit that is a float, or zero for "none", would be a limit that never holds."""
    with pytest.raises(ValueError, match=f"limit {name} is a positive integer"):
        Limits(**{name: value})


def nested(depth: int) -> Asm:
    return Asm().op("NONE").raw(op("TUPLE1") * depth)


def shared(depth: int) -> Do:
    """A tuple of 2**(depth + 1) leaves in a few bytes."""

    def run(asm: Asm) -> None:
        asm.push((1, 2)).let("0")
        for level in range(depth):
            asm.get(str(level)).op("TUPLE2").let(str(level + 1))

    return Do(run)


REACHED: dict[str, tuple[int, Any, Any]] = {
    # limit: (its value, a program just within it, a program just beyond it)
    "program_bytes": (12, op("PROTO", 5) + op("SHORT_BINBYTES", b"")[:1] + b"\x00" + b".", frame(b"N\x85\x85.")),
    "objects": (3, [[], {}], [[], {}, set()]),
    "nesting": (10, nested(10), nested(11)),
    "key_nodes": (10, {tuple(range(80)): 1}, [shared(8), {Get("8"): 1}]),
    "tuple_nodes": (10_000, [shared(9)], [shared(16)]),
    "key_depth": (3, {(((1,),),): 1}, {((((1,),),),): 1}),
    "name_length": (5, Ref("abcde:abcde"), Ref("abcde:abcdef")),
    "integer_bytes": (300, 1 << (8 * 300 - 2), 1 << (8 * 300)),
}


@pytest.mark.parametrize("name", REACHED)
def test_a_limit_refuses_what_passes_it_and_names_itself(name) -> None:
    value, within, beyond = REACHED[name]
    limits = Limits(**{name: value})
    traced(within, limits=limits)
    with pytest.raises(LimitError, match=f"`{name}`") as caught:
        traced(beyond, limits=limits)
    assert caught.type is LimitError
    traced(beyond)


def test_operations_are_bounded() -> None:
    within = pickle.dumps(list(range(100_000)), 5)
    trace(within, limits=Limits(operation_bytes=len(within)))
    with pytest.raises(LimitError, match="`operation_bytes`"):
        trace(within, limits=Limits(operation_bytes=1_000))
    trace(pickle.dumps([bytes(1 << 20)] * 4, 5), limits=Limits(operation_bytes=1_000))


def test_operations_within_one_frame_are_bounded() -> None:
    with pytest.raises(LimitError, match="`operation_bytes`"):
        traced(list(range(5_000)), limits=Limits(operation_bytes=1_000))


def test_colliding_keys_are_bounded() -> None:
    """The policy counts them, since it alone knows the hashes of numbers of numpy."""
    data = safepickle.dumps({i * (2**61 - 1): i for i in range(50)}, key=KEY)
    assert len(safepickle.loads(data, key=KEY, limits=Limits(colliding_keys=2_500))) == 50
    with pytest.raises(LimitError, match="`colliding_keys`"):
        safepickle.loads(data, key=KEY, limits=Limits(colliding_keys=2_499))


def test_the_body_is_bounded_before_it_is_read() -> None:
    data = safepickle.dumps(bytes(10_000), key=KEY)
    safepickle.loads(data, key=KEY, limits=Limits(body_bytes=11_000))
    with pytest.raises(safepickle.SafePickleError, match="limit"):
        safepickle.loads(data, key=KEY, limits=Limits(body_bytes=9_000))


# --- what CPython writes ---------------------------------------------------------------------------------------


def recursive(kind: type) -> Any:
    if kind is list:
        value: Any = []
        value.append(value)
    elif kind is dict:
        value = {}
        value["self"] = value
    else:
        inner: list[Any] = []
        value = (inner, 1, 2, 3) if kind is tuple else (inner,)
        inner.append(value)
    return value


def python_pickle(value: Any) -> bytes:
    """What the pickler written in Python writes: other groups than the one in C, never other opcodes."""
    import io

    stream = io.BytesIO()
    pickle._Pickler(stream, 5).dump(value)
    return stream.getvalue()


BIG = {
    "bytes of 64 KiB less one": bytes(65_535),
    "bytes of 64 KiB": bytes(65_536),
    "many large bytes": [bytes(70_000 + i) for i in range(5)],
    "a large bytearray": bytearray(100_000),
    "large text": "é" * 100_000,
    "large text among small values": [1, "a" * 65_536, 2, ("b" * 70_000,), None],
    "more than one frame": [str(i) for i in range(30_000)],
    "200,000 keys": {i: str(i) for i in range(200_000)},
    **{f"{kind.__name__} of {size}": kind(range(size)) for kind in (list, set, frozenset, tuple) for size in (999, 1_000, 1_001, 2_000, 3_000)},
    **{f"dict of {size}": dict.fromkeys(range(size)) for size in (999, 1_000, 1_001, 2_000, 3_000)},
    "many memo entries": [[i] for i in range(1_000)] * 2,
}


@pytest.mark.parametrize("pickled", [lambda value: pickle.dumps(value, 5), python_pickle], ids=["C", "Python"])
@pytest.mark.parametrize("name", BIG)
def test_large_values_are_accepted_from_both_picklers(name, pickled) -> None:
    data = pickled(BIG[name])
    assert trace(data).program is data
    assert pickle.loads(data) == BIG[name]


@pytest.mark.parametrize("pickled", [lambda value: pickle.dumps(value, 5), python_pickle], ids=["C", "Python"])
@pytest.mark.parametrize("kind", [list, dict, tuple, object])
def test_what_contains_itself_is_accepted(kind, pickled) -> None:
    root = trace(pickled(recursive(kind))).root
    inner = root.items[0] if kind is list else root.flat[1] if kind is dict else root[0].items[0]
    assert type(inner) is type(root)
    assert {list: List, dict: Dict}.get(kind, tuple) is type(root)


def test_integers_at_every_boundary_keep_their_value() -> None:
    """Promise 2: each has one form, and the machine knows the same one as the pickler."""
    values = [sign * (1 << power) + step for power in range(601) for sign in (1, -1) for step in (-1, 0, 1)]
    values += [sign * (1 << 8 * size - 1) + step for size in (254, 255, 256, 257) for sign in (1, -1) for step in (-1, 0, 1)]
    assert trace(pickle.dumps(values, 5)).root.items == values
    assert safepickle.loads(safepickle.dumps(values, key=KEY), key=KEY) == values
    for value in values:
        assert trace(pickle.dumps(value, 5)).root == value
        assert program(value) == pickle.dumps(value, 5), "the assembler of the tests knows the form as well"


def test_global_and_made_are_told_apart_in_the_trace() -> None:
    done = traced([Ref("a:b"), New("a:b")])
    assert [type(item) for item in done.root.items] == [Global, Made]
    assert done.root.items[0] is done.root.items[1].callee
