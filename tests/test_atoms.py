"""Runs of constants: the trace is the same whether they are swallowed or taken one by one, and nothing else is ever swallowed."""

import pickle
import random
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from safepickle import LimitError, Limits, ProgramError, SafePickleError, atoms, machine
from safepickle.machine import ABSENT, ByteArray, Dict, FrozenSet, Global, List, Made, Set, trace
from safepickle.pickling import pickled


def plain(value, seen=None):
    """Return an abstract value as something that compares: types, numbers by their bits, what is shared as shared."""
    seen = {} if seen is None else seen
    kind = type(value)
    if kind is float:
        return ("float", struct.pack(">d", value))
    if kind in (str, int, bool, bytes, type(None)):
        return (kind.__name__, value)
    if value is ABSENT:
        return "absent"
    if id(value) in seen:
        return ("again", seen[id(value)])
    seen[id(value)] = len(seen)
    if kind is tuple:
        return ("tuple", [plain(each, seen) for each in value])
    if kind is Global:
        return ("name", value.key, value.handles, value.called, value.at)
    if kind is ByteArray:
        return ("bytearray", value.start, value.end, value.handles)
    if kind is Dict:
        return ("dict", value.handles, value.frozen, value.slot, value.gone, [plain(each, seen) for each in value.flat])
    if kind in (List, Set):
        return (kind.__name__, value.handles, value.frozen, value.slot, value.gone, [plain(each, seen) for each in value.items])
    if kind is FrozenSet:
        return ("frozenset", value.handles, [plain(each, seen) for each in value.items])
    assert kind is Made, kind
    parts = (value.callee, value.args, value.kwargs if value.kwargs is not None else ABSENT, value.state, tuple(value.items), tuple(value.pairs))
    return ("made", value.how, value.at, value.done, value.early, value.handles, [plain(each, seen) for each in parts])


def outcome(program, buffers=(), limits=None):
    try:
        found = trace(program, buffers=buffers, limits=limits)
    except SafePickleError as error:
        return type(error).__name__, str(error)
    return plain(found.root), [each.at for each in found.made], len(found.keyed), len(found.hashed)


def both(program, monkeypatch, buffers=(), limits=None):
    """Return what comes out with runs swallowed from the first byte on, and with none."""
    with monkeypatch.context() as eager:
        eager.setattr(machine, "LEAST_BYTES", 1)
        swallowed = outcome(program, buffers, limits)
    with monkeypatch.context() as never:
        never.setattr(machine, "LEAST_BYTES", 1 << 62)
        return swallowed, outcome(program, buffers, limits)


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as monkeypatch:
        # Also runs of two constants, so that small programs have some.
        atoms._run.cache_clear()
        monkeypatch.setattr(atoms, "_LEAST_ATOMS", 2)
        yield monkeypatch
    atoms._run.cache_clear()


NUMBERS = st.sampled_from([0, 1, 255, 256, 65535, 65536, -1, -(1 << 31), (1 << 31) - 1, 1 << 31, 1 << 40]) | st.integers() | st.floats()
TEXTS = st.text(st.characters(), max_size=8) | st.sampled_from(["", "a" * 255, "a" * 256, "é" * 127, "é" * 128, "\ud800", "\x94K\x01", "u("])
CONSTANTS = NUMBERS | TEXTS | st.binary(max_size=9) | st.sampled_from([None, True, False, b"x" * 255, b"x" * 256])
VALUES = st.recursive(
    CONSTANTS,
    lambda inner: st.lists(inner, max_size=40) | st.dictionaries(TEXTS, inner, max_size=40) | st.tuples(inner, inner) | st.frozensets(CONSTANTS),
    max_leaves=60,
)


@settings(max_examples=300, deadline=None)
@given(VALUES)
@example({f"word {number}": number for number in range(5000)})
@example([f"word {number % 90}" for number in range(2500)])
@example([1.5, -0.0, float("nan"), float("inf")] * 600)
def test_what_is_swallowed_is_what_the_loop_makes_of_it(patch, value):
    program, buffers = pickled(value)
    swallowed, taken = both(program, patch, buffers)
    assert swallowed == taken
    assert isinstance(taken[0], tuple) or taken[0] == "absent", "an honest program must be accepted"


BASES = [
    pickled({f"w{number}": number * 3 for number in range(40)})[0],
    pickled([0.5, "a", None, True, b"bytes", 300, 70000, "a", -7] * 5)[0],
    pickled(["é" * 20, "x" * 254, b"y" * 255, 65535, 65536, -(1 << 31)] * 4)[0],
]


@pytest.mark.parametrize("base", range(len(BASES)))
@pytest.mark.parametrize("seed", range(400))
def test_a_changed_program_is_judged_the_same(patch, base, seed):
    """The regular expression must not let through what the loop refuses, nor read it otherwise: same value, same refusal, same offset."""
    rng = random.Random(seed)
    program = bytearray(BASES[base])
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(11, len(program))
        if rng.random() < 0.7:
            program[at] = rng.choice([rng.randrange(256), *b"(KMJGN\x88\x89\x8c\x94Cuesah.\x95\x00\x01\x10\xff"])
        else:
            del program[at : at + rng.randint(1, 3)]
    # The frame as long as what is left, so that not the frame is what is refused.
    program[3:11] = struct.pack("<Q", len(program) - 11)
    swallowed, taken = both(bytes(program), patch)
    assert swallowed == taken


def of_atoms(raw):
    """A program with a list of 30 numbers and these operations among them."""
    body = b"]\x94(" + b"K\x01" * 15 + raw + b"K\x02" * 15 + b"e."
    return b"\x80\x05\x95" + struct.pack("<Q", len(body)) + body


@pytest.mark.parametrize(
    ("raw", "said"),
    {
        "a short number in two bytes": (b"M\x05\x00", "shorter form"),
        "a short number in four bytes": (b"J\xff\xff\x00\x00", "shorter form"),
        "text that is no UTF-8": (b"\x8c\x02\xff\xfe\x94", "not UTF-8"),
        "text of an old protocol": (b"X\x01\x00\x00\x00a\x94", "shorter form"),
        "a name": (b"\x8c\x02os\x94\x8c\x06system\x94\x93", None),
        "a call": (b"\x8c\x02os\x94\x8c\x06system\x94\x93)R", None),
        "POP": (b"0", "POP drops values"),
        "a mark": (b"(", None),
        "no opcode": (b"\xff", "not an opcode"),
        "INT": (b"I1\n", "text operands"),
        "DUP": (b"2", "DUP"),
        "PUT": (b"q\x00", "memo"),
        "EXT1": (b"\x82\x01", "extension"),
    }.values(),
)
def test_what_is_no_canonical_constant_ends_the_run(patch, raw, said):
    swallowed, taken = both(of_atoms(raw), patch)
    assert swallowed == taken
    if said is not None:
        assert said in taken[1]


def test_no_run_goes_beyond_its_frame(monkeypatch):
    """A frame ends where an operation ends: a run that stepped over it would read what follows as something else."""
    atoms._run.cache_clear()
    inner = b"]\x94(" + b"K\x01" * 1000
    first = b"\x80\x05\x95" + struct.pack("<Q", len(inner) + 1) + inner + b"K"
    broken = first + b"\x95" + struct.pack("<Q", 1002) + b"K\x01" * 500 + b"e."
    with pytest.raises(ProgramError, match="frame"):
        trace(broken)
    whole = b"\x80\x05\x95" + struct.pack("<Q", len(inner)) + inner + b"\x95" + struct.pack("<Q", 2002) + b"K\x01" * 1000 + b"e."
    assert trace(whole).root.items == [1] * 2000


def test_the_memo_counts_texts_and_bytes_of_a_run_and_nothing_else():
    words = [f"word {number}" for number in range(3000)]
    program = pickle.dumps([words, [b"b%d" % number for number in range(3000)], list(range(3000)), words[2999], words[0]], 5)
    found = trace(program).root.items
    assert found[3] == "word 2999"
    assert found[4] == "word 0"


def test_limits_hold_for_what_is_swallowed():
    program = pickle.dumps(list(range(100_000)), 5)
    with pytest.raises(LimitError, match="operation_bytes"):
        trace(program, limits=Limits(operation_bytes=1000))


def test_the_decoder_of_constants_can_reach_no_name():
    """Should the expression ever let something else through, no name is found and no persistent id is asked for."""
    with pytest.raises(ProgramError, match="names nothing"):
        atoms._decoder()(__import__("io").BytesIO(pickle.dumps(print, 5))).load()
    with pytest.raises(ProgramError, match="refers to nothing"):
        atoms._decoder()(__import__("io").BytesIO(b"\x80\x05K\x01Q.")).load()
