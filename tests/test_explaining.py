"""What a program does, in lines for people: golden texts, and what holds of any program."""

from __future__ import annotations

import os
import pickle
import random
import re
import time
from typing import Any

import numpy
import pytest
from assembler import Asm, Call, Get, Let, New, Ref
from assembler import program as assembled
from differential import Maker, mutated
from hypothesis import given, settings
from hypothesis import strategies as st
from pace import allowed
from test_legacy import DOES, REFUSED

from safepickle import Limits
from safepickle.explaining import WIDTH, explain
from safepickle.legacy import attempt, trace_legacy

DRAWN = set("…├└│─→")
PROGRAMS = int(os.environ.get("SAFEPICKLE_DIFFERENTIAL", "600"))


def told(program: bytes, **options: Any) -> str:
    trace, error = attempt(program, limits=Limits(key_nodes=10_000_000))
    return "\n".join(explain(trace, error, **options))


def checked(program: bytes, most: int = 200) -> list[str]:
    """The lines, of which all is held that is promised of any program."""
    trace, error = attempt(program)
    lines = list(explain(trace, error, most=most))
    assert len(lines) <= 2 * max(most, 2) + 10
    for line in lines:
        assert len(line) <= WIDTH
        assert all(character in DRAWN or (character.isascii() and character.isprintable()) for character in line), line
    return lines


def golden(text: str) -> str:
    return "\n".join(line.removeprefix("        ") for line in text.strip("\n").splitlines()).rstrip()


class Payload:
    def __reduce__(self) -> Any:
        return os.system, ("id",)


# --- golden texts ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="os.system is posix:system here")
def test_a_payload_at_protocol_0():
    assert told(pickle.dumps([1, Payload()], 0)) == golden("""
        pickle program of protocol 0, bytes 0 to 44: 2 steps
        ! 1  at 9   import  posix:system -- runs a shell command
        ! 2  at 38  call    posix:system('id') -- runs a shell command
        result:
          list of 2
          ├─ [0] 1
          └─ [1] posix:system('id')
        """)


@pytest.mark.skipif(os.name != "posix", reason="os.system is posix:system here")
def test_a_payload_at_protocol_4_that_breaks_off():
    """What was done before a program breaks off was done."""
    assert told(pickle.dumps(Payload(), 4)[:-1] + b"X") == golden("""
        pickle program of protocol 4, bytes 0 to 40: 2 steps
        ! 1  at 28  import  posix:system -- runs a shell command
        ! 2  at 37  call    posix:system('id') -- runs a shell command
        ! it breaks off here: at byte 39 of the program: BINUNICODE says 4 bytes and only 0 follow
        ! what stands above has been done by then
        """)


def test_a_name_that_is_computed():
    assert told(b"cbuiltins\nstr\n(C\x02ostR\x8c\x06system\x93(\x8c\x02idtR.") == golden("""
        pickle program of protocol 0, bytes 0 to 38: 4 steps
          1  at 0   import  builtins:str
          2  at 20  call    builtins:str(b'os')
        ! 3  at 29  import  a name that is computed: module #2 builtins:str, name 'system'
          4  at 36  call    the name computed at 29('id')
        result:
          the result of calling the name computed at 29
          ├─ <callee> a name that is computed: module #2 builtins:str, name 'system'
          │  ├─ <module> builtins:str(b'os')
          │  └─ <name> 'system'
          └─ <arguments> ('id',)
        """)


def test_everything_that_a_program_can_do():
    program = b"".join(
        (
            b"(c__builtin__\neval\nca\nB\n)\x81(K\x01K\x02e(\x8c\x01kK\x03u}\x8c\x01xK\x04sbq\x00",
            b"\x82\x05Pabc\nca\nB\n)R(K\x07\x90",
            b"(K\x01ia\nB\n",
            b"}h\x00Ns",
            b"t.",
        )
    )
    assert told(program) == golden("""
        pickle program of protocol 0, bytes 0 to 82: 14 steps
        !  1  at 1   import  builtins:eval, written as __builtin__:eval -- runs text as Python code
           2  at 19  import  a:B
           3  at 25  make    a:B()
           4  at 31  append  1, 2 to #3 a:B
           5  at 38  set     'k' to 3 in #3 a:B
           6  at 46  state   of #3 a:B is {'x': 4}
           7  at 49  extend  by what this process has registered under code 5
           8  at 51  ask     the loader for the persistent id 'abc'
           9  at 56  import  a:B
          10  at 62  call    a:B()
          11  at 66  add     7 to #10 a:B
          12  at 70  import  a:B
          13  at 70  make    a:B(1)
          14  at 79  hash    #3 a:B
        result:
          tuple of 7
          ├─ [0] builtins:eval
          ├─ [1] a:B
          │  ├─ .x 4
          │  ├─ [0] 1
          │  ├─ [1] 2
          │  └─ ['k'] 3
          ├─ [2] extension 5
          ├─ [3] what the loader gives for the persistent id 'abc'
          ├─ [4] a:B()
          ├─ [5] an object of a:B
          │  └─ <arguments> (1,)
          └─ [6] dict of 1
             ├─ […] None
             └─ <key> → $[1]
        """)


def test_a_circle_and_what_is_shared_are_shown_once():
    shared = [1, [2, "x" * 100]]
    circle: list[Any] = [shared, shared]
    circle.append(circle)
    assert told(pickle.dumps(circle, 2)) == golden("""
        pickle program of protocol 2, bytes 0 to 133: 0 steps
        result:
          list of 3
          ├─ [0] list of 2
          │  ├─ [0] 1
          │  └─ [1] [2, 'xxxxxxxxxxxxxxxxxxxxxxxxxxxx'... (100 characters)]
          ├─ [1] → $[0]
          └─ [2] → $
        """)


@pytest.fixture(scope="module")
def scaled() -> Any:
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = numpy.arange(12.0).reshape(6, 2)
    return make_pipeline(StandardScaler(), LinearRegression()).fit(data, data[:, 0])


TREE = """
          sklearn.pipeline:Pipeline
          ├─ .steps list of 2
          │  ├─ [0] tuple of 2
          │  │  ├─ [0] 'standardscaler'
          │  │  └─ [1] sklearn.preprocessing._data:StandardScaler
          │  │     ├─ .with_mean True
          │  │     ├─ .with_std True
          │  │     ├─ .copy True
          │  │     ├─ .n_features_in_ 2
          │  │     ├─ .n_samples_seen_ SEEN
          │  │     ├─ .mean_ array (2,) of <f8, 16 bytes
          │  │     ├─ .var_ array (2,) of <f8, 16 bytes
          │  │     ├─ .scale_ array (2,) of <f8, 16 bytes
"""


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_small_pipeline(scaled, protocol):
    """Arrays, numbers of numpy and objects read the same, however the protocol says them."""
    text = told(pickle.dumps(scaled, protocol))
    # Newer scikit-learn sums weights, which are floats.
    seen = scaled[0].n_samples_seen_
    assert golden(TREE.replace("SEEN", f"{seen} ({seen.dtype.str})")) in text
    assert "!" not in text
    assert re.search(r"\n +\d+  at \d+ +import  sklearn\.pipeline:Pipeline\n", text)
    made = "call    copyreg:_reconstructor\\(sklearn" if protocol == 0 else "make    sklearn"
    assert re.search(rf"\n +\d+  at \d+ +{made}\.pipeline:Pipeline", text)
    assert re.search(r"\n +\d+  at \d+ +state   of #\d+ sklearn\.pipeline:Pipeline is {'steps': \[\('standardscaler', #\d+ sklearn", text)
    assert len(text.splitlines()) < 90


# --- readable ----------------------------------------------------------------------------------------------------


def test_a_forest_of_a_hundred_trees_stays_readable():
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier

    iris = load_iris()
    forest = RandomForestClassifier(100, random_state=0).fit(iris.data, iris.target)
    for protocol in (2, 5):
        trace = trace_legacy(pickle.dumps(forest, protocol))
        start = time.process_time()
        lines = list(explain(trace))
        assert time.process_time() - start < allowed(2)
        assert len(lines) < 200
        assert any(re.search(r"… and \d+ further steps: .* calls of ", line) for line in lines)
        assert sum("sklearn.tree._classes:DecisionTreeClassifier …" in line for line in lines) >= 5
        assert sum(line.endswith("… and 92 more") for line in lines) == 1


def test_what_is_left_over_is_told():
    assert "\n  1 value or mark left over below the result\n" in told(b"NN.")


def test_like_steps_are_counted():
    text = told(assembled([Call(Let("f", Ref("a:f")), 0), *(Call(Get("f"), number) for number in range(1, 5000))]))
    assert re.search(r"\n +2  at \d+ +call    a:f\(0\)\n", text)
    assert "… and 4,998 more calls of a:f like this\n" in text
    assert len(text.splitlines()) < 30


def test_what_is_hostile_is_shown_however_much_stands_before_it():
    """Nobody reads ten thousand lines, so a payload must not be the one that is left out."""
    many = [Call(f"a{number}:f", number) for number in range(10_000)]
    text = told(assembled([*many, Call("os:system", "id"), *many]))
    assert "call    os:system('id') -- runs a shell command" in text
    assert len(text.splitlines()) < 450
    assert re.search(r"\n  [\d,]+ of these steps are like none that is shown\n", text)


def test_getattr_of_another_attribute_is_another_step():
    many = [Call("builtins:getattr", Ref("a:b"), "fit") for _ in range(50)]
    text = told(assembled([*many, Call("builtins:getattr", Ref("a:b"), "__globals__"), *many]))
    assert "'__globals__') -- reaches into Python's own machinery" in text


def test_what_is_called_must_not_be_the_result_of_something_unseen():
    text = told(assembled([*(Call("a:f", number) for number in range(50)), Call(Call("a:f", 50), 1)]))
    assert re.search(r"call    #\d+ a:f\(1\)", text)


# --- whoever wrote the file chose the names -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["\x1b[2J\x1b[1;1H", "\u202egnp.elif", "a\nb", "\r", "\x00", "\ud800", "é", "\u2028", "x" * 250, "a b", "#1 a", "… and 5 more"]
)
def test_no_text_of_the_file_reaches_the_terminal_as_it_is(text):
    program = (
        Asm()
        .op("MARK")
        .text("m" + text.replace("\ud800", ""))
        .text(text)
        .op("STACK_GLOBAL")
        .push({text: text, "b": [text, (text,)]})
        .push(New("a:B", state={text: {text: [text]}}))
        .op("TUPLE")
        .program()
    )
    checked(program)
    checked(b"P" + text.encode("ascii", "replace").replace(b"\n", b" ") + b"\n.")
    checked(b"\x8c\x01" + text.encode("utf-8", "surrogatepass"))


def test_integers_of_many_digits_are_not_printed():
    assert "an integer of 80000 bits" in told(assembled([1 << 79_999]))


def test_nothing_recurses_and_nothing_expands():
    """Nested deep, and shared until it would be 2**200 lists."""
    deep = b"]" * 200_000 + b"a" * 199_999 + b"."
    bomb = b"](]q\x00" + b"".join(b"](h" + bytes((number,)) + b"h" + bytes((number,)) + b"eq" + bytes((number + 1,)) for number in range(200)) + b"e."
    tuples = b")" + b"2\x86" * 300 + b"."
    broad = b"(" + b"K\x01" * 1_000_000 + b"l."
    start = time.process_time()
    for program in (deep, bomb, tuples, broad):
        checked(program)
    assert time.process_time() - start < allowed(8)
    called = b"ca\nb\n" + tuples[:-1] + b"\x85R."
    assert "call    a:b(((((" in "\n".join(checked(called))


@pytest.mark.parametrize("title", [*DOES, *REFUSED])
def test_every_attack_can_be_told(title):
    checked((DOES.get(title) or REFUSED[title])[0])


def test_programs_by_chance():
    chance = random.Random(16)
    for index in range(PROGRAMS):
        program = Maker(chance.randrange).program()
        checked(mutated(program, chance.randrange) if index % 3 == 2 else program, most=chance.choice((0, 1, 7, 200)))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 65535), max_size=200), st.integers(0, 30))
def test_programs_that_hypothesis_chooses(numbers, most):
    drawn = iter(numbers)
    checked(Maker(lambda limit: next(drawn, 0) % limit).program(), most)


PIECES = [
    b"(", b"]", b"}", b")", b"\x85", b"\x86", b"\x87", b"t", b"a", b"s", b"R", b"\x81", b"b", b"2", b"0", b"N", b"K\x01", b"\x94", b"h\x00", b"h\x01",
    b"\x8c\x00", b"\x8c\x02f8", b"\x8c\x06latin1", b"\x8c\x05shape", b"\x8c\x05dtype", b"C\x00", b"C\x08abcdefgh", b"cnumpy\ndtype\n",
    b"cnumpy._core.multiarray\n_reconstruct\n", b"cnumpy._core.multiarray\nscalar\n", b"cnumpy._core.numeric\n_frombuffer\n", b"c_codecs\nencode\n",
    b"ccopyreg\n_reconstructor\n", b"cbuiltins\ngetattr\n", b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n",
]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=60))
def test_what_looks_like_an_array_need_not_be_one(pieces):
    checked(b"".join(pieces) + b".")
    checked(b"(" + b"".join(pieces) + b"l.")


def test_forged_arrays_are_told_as_they_are():
    empty = Call("numpy:dtype", "")
    strange = [
        Call("numpy._core.multiarray:scalar", empty, b"ab"), Call("numpy._core.multiarray:scalar", Call("numpy:dtype", "f8"), b"ab"),
        Call("numpy._core.multiarray:_reconstruct", state=(1, (1 << 90, "x"), empty, Ref("a:b"), [1])), Call("numpy._core.multiarray:_reconstruct"),
        Call("numpy._core.numeric:_frombuffer", 1, 2, (3,), 4), Call("numpy:dtype", Call("a:f")), Call("numpy:dtype", "x" * 33),
        Call("numpy._core.multiarray:scalar", Call("numpy:dtype", "f8", state=(3, ">", None, None)), b"\x3f\xf0" + bytes(6)),
        Call("numpy:dtype", "V8", state=(3, "|", None, ("a", "b"), {}, 8, 1, 0)),
    ]  # fmt: skip
    text = "\n".join(checked(assembled([[strange[:5]], [strange[5:]]])))
    assert "1.0 (>f8)" in text
    assert "dtype records of 2 fields" in text
