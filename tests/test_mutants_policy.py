"""What must hold of policies and no other test asked: found by their mutants, see mutants/README.md."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import pickle
import sys
from collections.abc import Callable, Iterable
from typing import Any, get_type_hints

import mycorp
import pytest
from assembler import Call, Do, Get, Let, New, Ref, array, op, program

from safepickle import LimitError, Limits, Policy, PolicyError
from safepickle import policy as policies
from safepickle.machine import Trace, trace
from safepickle.policy import Admitted, admit, chosen, rule_for, unruled

# Modules whose names run code, reach files or load other data. Written down once more, so that none gets lost.
NEVER = [
    "__builtin__", "_ctypes", "_io", "_operator", "_pickle", "_posixsubprocess", "_socket", "_thread", "_winapi", "asyncio", "atexit", "bdb",
    "builtins", "cloudpickle", "code", "codecs", "codeop", "commands", "copyreg", "ctypes", "dill", "distutils", "doctest", "ensurepip", "gc",
    "http", "imp", "importlib", "inspect", "io", "joblib.numpy_pickle", "marshal", "mmap", "multiprocessing", "nt", "ntpath", "numba", "operator",
    "os", "pdb", "pickle", "pickletools", "pip", "pkgutil", "platform", "popen2", "posix", "posixpath", "profile", "pty", "pydoc", "runpy",
    "setuptools", "shelve", "shutil", "signal", "site", "smtplib", "socket", "sqlite3", "ssl", "subprocess", "sys", "tempfile", "threading",
    "timeit", "torch.serialization", "trace", "types", "unittest", "urllib", "urllib2", "venv", "weakref", "webbrowser", "xmlrpc", "zipimport",
]  # fmt: skip
SCALER = "sklearn.preprocessing._data:StandardScaler"


@pytest.mark.parametrize("module", NEVER)
def test_a_module_that_runs_code_or_reaches_files_is_never_allowed(module):
    with pytest.raises(PolicyError, match=rf"^allow: {module}:f cannot be allowed: names of this module run code"):
        Policy.default().allow(f"{module}:f")
    # A name of two parts stands for one module, one of one part for all below it.
    below = pytest.raises(PolicyError, match="cannot be allowed") if "." not in module else contextlib.nullcontext()
    with below:
        Policy.default().allow(f"{module}.below:f")


def test_nothing_else_is_never_allowed():
    assert {*NEVER, "__main__"} == policies._NEVER


def test_what_is_defined_in_main_is_never_allowed():
    with pytest.raises(PolicyError, match=r"^allow: __main__:f is another object in every program: move it"):
        Policy.default().allow("__main__:f")


def judged(what: Any, policy: Policy, *buffers: bytes, limits: Limits | None = None) -> Admitted:
    return admit(trace(program(what), buffers=buffers, limits=limits), policy)


def refusals(what: Any, policy: Policy, *buffers: bytes) -> tuple[str, ...]:
    with pytest.raises(PolicyError) as refused:
        judged(what, policy, *buffers)
    return refused.value.refusals


@pytest.fixture
def written(tmp_path):
    """Return what makes a policy of one rule, without any pack."""

    def write(rule: str, head: str = "packs = []\n") -> Policy:
        path = tmp_path / "policy.toml"
        path.write_text(f'{head}[[rule]]\nreason = "a test"\n{rule}\n')
        return Policy.read(path)

    return write


NAMES = 'names = ["a:B"]\n'
STATED = NAMES + 'verbs = ["new", "state"]\n'


@pytest.mark.parametrize(
    ("rule", "accepted", "refused", "why"),
    [
        (NAMES + 'verbs = ["new"]', New("a:B"), Call("a:B"), "calls a:B: its rule allows new, not call"),
        (NAMES + 'verbs = ["new"]', New("a:B"), New("a:B", state={"x": 1}), "gives a state to an instance of a:B: its rule allows new, not state"),
        (NAMES + 'verbs = ["new"]', New("a:B"), Ref("a:B"), "refers to a:B: its rule allows new, not to refer to it as data"),
        (NAMES + 'verbs = ["new"]', New("a:B"), New("a:B", 1), "makes an instance of a:B: its rule allows no arguments, and here are (1)"),
        (
            NAMES + 'verbs = ["call"]\nargs = [["int"], ["str", "..."]]',
            [Call("a:B", 1), Call("a:B"), Call("a:B", "x", "y")],
            Call("a:B", 1, "x"),
            "calls a:B: with arguments that its rule does not allow: (1, 'x')",
        ),
        (
            STATED,
            New("a:B", state={"x": 1}),
            New("a:B", state=[1]),
            "gives a state to an instance of a:B: with a state that its rule does not allow: list",
        ),
        (STATED, New("a:B", state={}), New("a:B", state={1: 2}), "gives a state to an instance of a:B: the state has a key that is not text"),
        (
            STATED,
            New("a:B", state={"_x": 2}),
            New("a:B", state={"__x": 2}),
            "gives a state to an instance of a:B: the state sets the dunder name '__x'",
        ),
        (STATED + 'state_keys = ["__x"]', New("a:B", state={"__x": 2}), New("a:B", state={"__y": 2}), "the state sets the dunder name '__y'"),
        (
            STATED + 'state = ["slots"]',
            New("a:B", state=(None, {"x": 1})),
            New("a:B", state={"x": 1}),
            "with a state that its rule does not allow: dict",
        ),
        (STATED + 'state = ["slots"]', New("a:B", state=(None, {"x": 1})), New("a:B", state=({}, {"x": 1})), "does not allow: (dict, dict)"),
        (STATED + 'state = ["dict+slots"]', New("a:B", state=({"y": 1}, {"x": 1})), New("a:B", state=({}, 1)), "does not allow: (dict, 1)"),
        (STATED + 'state = ["dict+slots"]', New("a:B", state=(None, {"x": 1})), New("a:B", state=({}, {}, {})), "does not allow: (dict, dict, dict)"),
        (STATED + 'state = ["dict+slots"]', New("a:B", state=({}, {})), New("a:B", state=({}, {"__x": 1})), "the state sets the dunder name '__x'"),
        (
            STATED + 'state = [["int", "str"]]',
            New("a:B", state=(1, "x")),
            New("a:B", state=("x", 1)),
            "gives a state to an instance of a:B: with a state that its rule does not allow: ('x', 1)",
        ),
        (STATED + "state_needed = true", New("a:B", state={}), New("a:B"), "makes an instance of a:B: it is used without the state that it needs"),
        (
            NAMES + 'verbs = ["new"]\nitems = ["append"]',
            New("a:B", items=[1]),
            New("a:B", pairs=["x", 1]),
            "sets items of an instance of a:B: its rule lets no items be set in it",
        ),
        (
            NAMES + 'verbs = ["new"]\nitems = ["setitem"]',
            New("a:B", pairs=["__x", 1]),
            New("a:B", items=[1]),
            "appends to an instance of a:B: its rule lets nothing be appended to it",
        ),
        (
            NAMES + 'verbs = ["new"]\nitems = ["setitem"]\nitem_keys = "plain"',
            New("a:B", pairs=["_x", 1, "y", 2]),
            New("a:B", pairs=["x", 1, "__y", 2]),
            "sets items of an instance of a:B: an item's key is not text or is a dunder name, and its items are reached as attributes",
        ),
        (
            NAMES + 'verbs = ["new"]\nhashable = true',
            Do(lambda asm: asm.op("EMPTY_DICT").push(New("a:B")).push(1).op("SETITEM")),
            New("a:C"),
            "makes an instance of a:C: no rule names it",
        ),
        (
            NAMES + 'verbs = ["new"]',
            New("a:B"),
            Do(lambda asm: asm.op("EMPTY_DICT").push(New("a:B")).push(1).op("SETITEM")),
            "hashes an instance of a:B: it would be hashed, as a key of a dict or a member of a set, and its rule does not say `hashable`",
        ),
        (
            NAMES + 'verbs = ["new"]\nargs = [["int"]]\nhashable = true',
            Do(lambda asm: asm.op("EMPTY_DICT").push(New("a:B", (1 << 4096) - 1)).push(1).op("SETITEM")),
            Do(lambda asm: asm.op("EMPTY_DICT").push(New("a:B", 1 << 4096)).push(1).op("SETITEM")),
            "hashes an instance of a:B: it would be hashed, and holds an integer of thousands of bits, whose hash is never cheap",
        ),
        (
            STATED + "hashable = true",
            Do(lambda asm: asm.op("EMPTY_DICT").push(New("a:B", state={"x": 1})).push(1).op("SETITEM")),
            Do(lambda asm: asm.op("EMPTY_DICT").push(New("a:B", state={"x": 1 << 5000})).push(1).op("SETITEM")),
            "holds an integer of thousands of bits",
        ),
    ],
)
def test_each_use_is_admitted_or_refused_with_its_reason(written, rule, accepted, refused, why):
    policy = written(rule)
    assert judged(accepted, policy).libraries == ("a",)
    found = refusals(refused, policy)
    assert any(why in each for each in found), found


def test_a_state_has_no_key_twice(written):
    twice = New("a:B", state=Do(lambda asm: asm.op("EMPTY_DICT").group(("x", 1, "x", 2), "SETITEMS")))
    assert refusals(twice, written(STATED)) == ("$: gives a state to an instance of a:B: the state has the same key twice",)


def test_each_object_of_a_class_is_judged(written):
    """That the keys of one state were judged says nothing of other keys."""
    policy = written(STATED)
    assert judged([New("a:B", state={"x": 1}), New("a:B", state={"x": 2})], policy).state_keys == ((("a", "B"), frozenset({"x"})),)
    assert refusals([New("a:B", state={"x": 1}), New("a:B", state={"__x": 2})], policy) == (
        "$[1]: gives a state to an instance of a:B: the state sets the dunder name '__x'",
    )
    both = refusals([New("a:B", state={"__x": 1}), New("a:B", state={"__x": 2})], policy)
    assert [each.partition(":")[0] for each in both] == ["$[0]", "$[1]"]


def test_what_is_made_by_a_call_with_its_class_has_the_state_keys_of_that_class(written):
    policy = written('names = ["a:make"]\nverbs = ["call", "state"]\nargs = [["@a:B"], []]\n')
    assert judged(Call("a:make", Ref("a:B"), state={"x": 1}), policy).state_keys == ((("a", "B"), frozenset({"x"})),)
    assert judged(Call("a:make", state={"x": 1}), policy).state_keys == ((("a", "make"), frozenset({"x"})),)


def test_a_reference_is_bound_in_the_place_that_a_rule_names_and_nowhere_else(written):
    policy = written('names = ["a:make"]\nverbs = ["call"]\nargs = [["@a:B", "any"]]\n')
    assert judged(Call("a:make", Ref("a:B"), 1), policy)
    assert refusals(Call("a:make", Ref("a:B"), Ref("a:B")), policy) == ("$(0): refers to a:B: no rule names it",)
    shared = Let("args", (Ref("a:B"), 1))
    assert refusals([Call("a:make", tupled=shared), Get("args")], policy)
    assert refusals([Call("a:make", Ref("a:B"), 1), Ref("a:B")], policy)


def test_uses_say_what_a_name_must_be(written):
    policy = written('names = ["a:B", "b.c:D"]\nverbs = ["new", "call", "refer"]\nargs = [["any"], []]\nfound_at = ["d:E", "f:G"]\n')
    uses = judged([New("a:B"), Call("b.c:D", 1)], policy)
    first, second = uses.uses
    where = (("d", "E"), ("f", "G"))
    assert first == policies.Use(("a", "B"), ("a", "B"), where, must_be_class=True, must_be_callable=False)
    assert second == policies.Use(("b.c", "D"), ("b.c", "D"), where, must_be_class=False, must_be_callable=True)
    assert uses.libraries == ("a", "b")
    assert policy.values() == {("a", "B"), ("b.c", "D")}


def test_an_alias_is_judged_as_what_it_stands_for(written):
    policy = written(NAMES + 'verbs = ["refer"]\n[alias]\n"old:B" = "a:B"\n')
    admitted = judged(Ref("old:B"), policy)
    assert admitted.uses == (policies.Use(("old", "B"), ("a", "B"), (("a", "B"),), must_be_class=False, must_be_callable=False),)
    assert admitted.libraries == ("a",)
    assert unruled(trace(program([Ref("old:B"), Ref("x:Y"), Ref("x:Y"), Ref("w:Z")])), policy) == (("x", "Y"), ("w", "Z"))


def test_a_buffer_is_the_memory_of_one_array():
    policy = Policy.default()
    buffer = Do(lambda asm: asm.op("NEXT_BUFFER"))
    assert judged(array(buffer, shape=(1,)), policy, bytes(8))
    assert refusals_of_buffers([buffer], policy, bytes(8))


def refusals_of_buffers(what: Any, policy: Policy, *buffers: bytes) -> bool:
    with pytest.raises(PolicyError, match="a buffer is used otherwise than once") as refused:
        judged(what, policy, *buffers)
    return refused.value.refusals == ()


def test_keys_that_collide_cost_their_square():
    """Integers with one hash: as many as the limit says are admitted, one more is refused."""
    step = (1 << 61) - 1
    keys = [step * number for number in range(1, 11)]
    assert judged(dict.fromkeys(keys, 0), Policy.default(), limits=Limits(colliding_keys=100))
    with pytest.raises(LimitError, match="would take 100 comparisons"):
        judged(dict.fromkeys(keys, 0), Policy.default(), limits=Limits(colliding_keys=99))
    other = [step * number + 1 for number in range(1, 11)]
    assert judged(dict.fromkeys(keys + other, 0), Policy.default(), limits=Limits(colliding_keys=200))
    with pytest.raises(LimitError, match="would take 200 comparisons"):
        judged([set(keys), frozenset(other)], Policy.default(), limits=Limits(colliding_keys=199))
    pairs = [(0, key) for key in keys]
    with pytest.raises(LimitError, match="would take 100 comparisons"):
        judged(dict.fromkeys(pairs, 0), Policy.default(), limits=Limits(colliding_keys=99))


def test_keys_of_one_container_that_were_set_at_two_places_count_together():
    step = (1 << 61) - 1
    twice = Do(lambda asm: asm.op("EMPTY_DICT").group((step, 0, 2 * step, 0), "SETITEMS").group((3 * step, 0, 4 * step, 0), "SETITEMS"))
    assert judged(twice, Policy.default(), limits=Limits(colliding_keys=16))
    with pytest.raises(LimitError, match="would take 16 comparisons"):
        judged(twice, Policy.default(), limits=Limits(colliding_keys=15))


def test_names_without_a_rule_are_offered_as_one():
    with pytest.raises(PolicyError) as refused:
        judged([New("my.corp:A", state={"x": 1}), Ref("my.corp:f")], Policy.default())
    text = str(refused.value)
    assert text.endswith(
        '\nIf you know this code and trust it with any data, pass allow=["my.corp:A", "my.corp:f"], '
        "or add this to your policy file and fill in the reason:"
        '\n\n[[rule]]\nnames = ["my.corp:A"]\nverbs = ["new", "state"]\nreason = ""'
        '\n\n[[rule]]\nnames = ["my.corp:f"]\nverbs = ["refer"]\nreason = ""'
    )
    assert "\n  1. $[0]: makes an instance of my.corp:A: no rule names it\n  2. $[0]: gives a state to" in text


def test_a_call_without_a_rule_is_offered_with_arguments_to_narrow():
    with pytest.raises(PolicyError) as refused:
        judged([Call("my.corp:f", 1), Call("my.corp:f", 2)], Policy.default())
    text = str(refused.value)
    assert text.endswith(
        "\nIf you know this code and trust it with any arguments, add this to your policy file, narrow the arguments and fill in the reason:"
        '\n\n[[rule]]\nnames = ["my.corp:f"]\nverbs = ["call"]\nargs = [["any", "..."]]\nreason = ""'
    )


def test_names_that_no_policy_may_allow_are_not_offered():
    with pytest.raises(PolicyError) as refused:
        judged([Ref("os:system"), Ref("__main__:Mine"), Ref("builtins:eval")], Policy.default())
    text = str(refused.value)
    assert "\nMine is defined in __main__, which is another module" in text
    assert "\nos:system, builtins:eval: such names run code" in text
    assert "[[rule]]" not in text
    with pytest.raises(PolicyError) as refused:
        judged([Ref("__main__:Mine")], Policy.default())
    assert "such names run code" not in str(refused.value)


def test_only_fifty_refusals_are_shown_and_all_are_told():
    def told(count: int) -> PolicyError:
        with pytest.raises(PolicyError) as refused:
            judged([Ref(f"a:b{number}") for number in range(count)], Policy.default())
        assert len(refused.value.refusals) == count
        return refused.value

    assert "\n  50. $[49]: refers to a:b49: no rule names it\n" in str(told(50))
    assert " more\n" not in str(told(50))
    assert "\n  ... and 1 more\n" in str(told(51))
    assert "\n  51." not in str(told(51))


SHAPES = [
    (None, "None"),
    (True, "True"),
    (1.5, "1.5"),
    ("x", "'x'"),
    (b"x", "bytes"),
    (bytearray(b"x"), "bytearray"),
    ([], "list"),
    ({}, "dict"),
    (set(), "set"),
    (frozenset(), "frozenset"),
    ((1, 2), "(…)"),
    (Ref("numpy:ndarray"), "@numpy:ndarray"),
    (Call("numpy:dtype", "<f8"), "<numpy:dtype>"),
]


@pytest.mark.parametrize(("value", "shown"), SHAPES, ids=[shown for _, shown in SHAPES])
def test_a_refusal_shows_the_form_of_arguments_and_not_their_data(written, value, shown):
    policy = written(NAMES + 'verbs = ["call"]\nargs = [["int", "int"]]', 'packs = ["python", "numpy"]\n')
    assert refusals(Call("a:B", value), policy)[0].endswith(f"its rule does not allow: ({shown})")
    assert refusals(Call("a:B", *[value] * 12), policy)[0].endswith(f"({', '.join([shown] * 12)})")
    assert refusals(Call("a:B", *[value] * 13), policy)[0].endswith(f"({', '.join([shown] * 12)}, …)")


BYTES = bytes(3)
KINDS = [
    ("any", [None, [], (1,)], []),
    ("atom", [None, True, 1, 1.5, "x", BYTES], [[], (), bytearray(BYTES)]),
    ("none", [None], [False, 0]),
    ("bool", [True, False], [0, 1, None]),
    ("int", [0, -1, 1 << 70], [True, 1.0]),
    ("uint", [0, (1 << 63) - 1], [-1, 1 << 63, True, "1"]),
    ("float", [1.0], [1]),
    ("str", ["", "x"], [BYTES]),
    ("bytes", [BYTES], ["x", bytearray(BYTES)]),
    ("buffer", [BYTES, bytearray(BYTES)], ["x", [BYTES]]),
    ("tuple", [(), (1,)], [[]]),
    ("list", [[], [1]], [()]),
    ("dict", [{}, {1: 2}], [[]]),
    ("text dict", [{}, {"x": 1, "_y": 2}], [{1: 2}, {"__x": 1}, [], Do(lambda asm: asm.op("EMPTY_DICT").group(("x", 1, "x", 2), "SETITEMS"))]),
    ("set", [set(), {1}], [frozenset(), []]),
    ("frozenset", [frozenset(), frozenset({1})], [set(), ()]),
    ("shape", [(), (0,), ((1 << 63) - 1,), (1,) * 64], [(1,) * 65, (-1,), (1 << 63,), (True,), (1.0,), 1, [1]]),
    ("reference", [Ref("numpy:ndarray")], ["numpy:ndarray"]),
    ("result", [Call("numpy:dtype", "<f8")], [Ref("numpy:ndarray"), 1]),
    ("@numpy:ndarray", [Ref("numpy:ndarray")], [Ref("numpy:float64"), "numpy:ndarray"]),
    ("<numpy:dtype>", [Call("numpy:dtype", "<f8")], [Ref("numpy:dtype"), 1]),
    ("'x'", ["x"], ["", "y", "xx", BYTES, b"x"]),
    ("b'x'", [b"x"], ["x", b"y"]),
    ("5", [5], [4, 6, True, 5.0, "5"]),
    ("-5", [-5], [5]),
    ("1", [1], [True, 1.0]),
    ("int | str", [1, "x"], [None]),
    ("'x' | int | none", ["x", 3, None], ["y", 1.5]),
    ("9" * 100, [int("9" * 100)], [9]),
]


@pytest.mark.parametrize(("pattern", "taken", "left"), KINDS, ids=[pattern[:20] for pattern, _, _ in KINDS])
def test_each_kind_of_a_pattern_takes_what_it_names(written, pattern, taken, left):
    policy = written(NAMES + f'verbs = ["call"]\nargs = [["{pattern}"]]', 'packs = ["python", "numpy"]\n')
    for value in taken:
        assert judged(Call("a:B", value), policy)
    for value in left:
        assert any("with arguments that its rule does not allow" in each for each in refusals(Call("a:B", value), policy)), value


@pytest.mark.parametrize(
    ("pattern", "taken", "left"),
    [
        ("true", [True], [1, False]),
        ("1", [1], [True, 2]),
        ('["int", "str"]', [(1, "x")], [(1,), (1, "x", "y"), ("x", 1), [1, "x"]]),
        ('["int", "..."]', [(), (1,), (1, 2)], [("x",), (1, "x"), 1]),
        ('["str", "int", "..."]', [("x",), ("x", 1), ("x", 1, 2)], [(), (1,), ("x", "y"), ("x", 1, "y")]),
        ('["..."]', [], [(), (1,)]),
        ('{x = "int"}', [{"x": 1}], [{"x": "y"}, {}, {"y": 1}, {"x": 1, "y": 2}, (1,)]),
        ('{x = "int", y = "str"}', [{"x": 1, "y": "z"}, {"y": "z", "x": 1}], [{"x": 1}, {"x": 1, "y": 1}, {"x": 1, "y": "z", "w": 1}]),
    ],
)
def test_each_form_of_a_pattern_takes_what_it_names(written, pattern, taken, left):
    if pattern == '["..."]':
        with pytest.raises(PolicyError, match="is not a pattern"):
            written(NAMES + f'verbs = ["call"]\nargs = [[{pattern}]]')
        return
    policy = written(NAMES + f'verbs = ["call"]\nargs = [[{pattern}]]')
    for value in taken:
        assert judged(Call("a:B", value), policy)
    for value in left:
        assert any("with arguments that its rule does not allow" in each for each in refusals(Call("a:B", value), policy)), value


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (NAMES + 'verbs = ["call"]\nargs = [["' + "9" * 101 + '"]]', "a number of 101 digits is none that a rule is about"),
        (NAMES + 'verbs = ["call"]\nargs = [["int ?"]]', "what is at character 0 is no kind"),
        (NAMES + 'verbs = ["call"]\nargs = [["int | ?"]]', "what is at character 5 is no kind"),
        (NAMES + 'verbs = ["call"]\nargs = [[""]]', "an empty pattern matches nothing"),
        (NAMES + 'verbs = ["call"]\nargs = [["-\u0663"]]', "what is at character 0 is no kind"),
        (NAMES + 'verbs = ["call"]\nargs = [["int\u00a0"]]', "what is at character 0 is no kind"),
        (NAMES + 'verbs = ["call"]\nargs = [["integer"]]', "'integer' is no kind of value; there are any, atom, bool"),
        (NAMES + 'verbs = ["make"]', "a rule has names, and verbs out of new, state, call, refer$"),
        (NAMES + 'verbs = ["new"]\nitems = ["extend"]', "items is a list out of append, setitem$"),
        (NAMES + 'verbs = ["new"]\nother = 1\nanother = 2', "rule 1: a rule has no another, other; it has args, check, found_at"),
        (NAMES + 'verbs = ["new"]\nfound_at = 1', "rule 1, found_at: a list of text is expected"),
        (NAMES + 'verbs = ["new"]\nargs = 1', "rule 1, args: a list is expected"),
        (NAMES + 'verbs = ["new"]\nstate = 1', "rule 1, state: a list is expected"),
        (NAMES + 'verbs = ["new"]\nstate_keys = [1]', "rule 1, state_keys: a list of text is expected"),
        (NAMES + 'verbs = ["new"]\nitems = "append"', "rule 1, items: a list of text is expected"),
        (NAMES + "verbs = [1]", "rule 1, verbs: a list of text is expected"),
        ('names = ["a:B", "c"]\nverbs = ["new"]', "rule 1: 'c' is not an exact name"),
        (NAMES + 'verbs = ["new"]\n[kind]\nx = 1', "a table of text is expected"),
    ],
)
def test_a_rule_that_is_wrong_is_refused_with_its_place(written, rule, message):
    with pytest.raises(PolicyError, match=message):
        written(rule)


def test_a_kind_of_the_file_is_a_name_for_a_pattern(written):
    policy = written(NAMES + 'verbs = ["call"]\nargs = [["answer"]]\n[kind]\nanswer = "\'yes\' | \'no\'"\n')
    assert judged(Call("a:B", "yes"), policy)
    assert refusals(Call("a:B", "maybe"), policy)


def test_what_the_fields_of_a_rule_are_if_it_does_not_say(written):
    rule = written(NAMES + 'verbs = ["new"]').rules["a", "B"]
    assert (rule.args, rule.state, rule.state_needed, rule.items, rule.item_keys) == ((), ("dict",), False, frozenset(), "any")
    assert (rule.state_keys, rule.hashable, rule.check, rule.found_at, rule.pack, rule.reason) == (frozenset(), False, "", (), "user", "a test")


def test_a_policy_has_the_packs_that_were_asked_for():
    policy = Policy.default().with_packs("xgboost", "xgboost")
    assert policy.packs == (*policies.DEFAULT_PACKS, "xgboost")
    assert set(Policy.default().rules) < set(policy.rules)
    assert set(Policy.default().aliases) <= set(policy.aliases)
    with pytest.raises(PolicyError, match=r"there is no built-in pack 'nothing'; there are .*numpy, .*xgboost"):
        Policy.default().with_packs("nothing")
    assert policies._builtin_pack("sklearn").distribution == "scikit-learn"
    assert policies._builtin_pack("sklearn").name == "sklearn"
    assert {rule.pack for rule in policies._builtin_pack("scipy").rules} == {"scipy"}


def test_a_policy_file_may_build_on_some_packs_only(written):
    policy = written(NAMES + 'verbs = ["new"]', 'packs = ["numpy"]\n')
    assert policy.packs == ("numpy",)
    assert ("numpy", "dtype") in policy.rules
    assert ("sklearn.preprocessing._data", "StandardScaler") not in policy.rules


def test_what_policy_and_allow_of_a_call_stand_for():
    default = Policy.default()
    assert chosen(None, ()) is default
    assert chosen(default, []) is default
    assert ("mycorp", "Clip") in chosen(None, ["mycorp:Clip"]).rules
    assert ("mycorp", "Clip") in chosen(default, iter([mycorp.Clip])).rules
    with pytest.raises(TypeError, match=r"policy is a Policy, such as Policy.read\(path\), not str"):
        chosen("sklearn", ())
    with pytest.raises(TypeError, match=r"allow=\['a:B'\]"):
        chosen(None, "a:B")


def test_what_is_allowed_is_made_filled_and_referred_to_and_nothing_else():
    policy = Policy.default().allow("a:B")
    rule = policy.rules["a", "B"]
    assert (rule.verbs, rule.reason, rule.state) == ({"new", "state", "refer"}, "allowed by the caller", ("dict", "slots", "dict+slots"))
    assert (rule.items, rule.item_keys, rule.pack, rule.hashable) == ({"append", "setitem"}, "plain", "user", False)
    assert judged([New("a:B", state={"x": 1}), New("a:B", items=[1]), New("a:B", pairs=["x", 1]), Ref("a:B")], policy)
    assert refusals(Call("a:B"), policy) == ("$: calls a:B: its rule allows new, refer, state, not call",)
    kept = Policy.default().allow(SCALER)
    assert kept.rules == Policy.default().rules


def test_what_a_class_or_function_needs_if_it_does_nothing_of_its_own():
    def shown(value: Any) -> tuple[Any, ...]:
        rule = rule_for(value)
        return rule.names, rule.verbs, rule.args, rule.state, rule.hashable, rule.reason

    forms = ("dict", "slots", "dict+slots")
    assert shown(mycorp.double) == (("mycorp:double",), {"refer"}, (), ("dict",), False, "")
    assert shown(mycorp.Colour) == (("mycorp:Colour",), {"call", "refer"}, (["atom"],), ("dict",), True, "")
    assert shown(mycorp.Point) == (("mycorp:Point",), {"new", "state", "refer"}, (["any", "any"],), forms, False, "")
    assert shown(mycorp.Clip) == (("mycorp:Clip",), {"new", "state", "refer"}, (), forms, False, "")
    assert shown(tuple)[2] == ()


def test_what_has_no_name_in_a_module_cannot_be_allowed():
    def within() -> None: ...

    with pytest.raises(PolicyError, match="is a lambda or is defined within a function"):
        rule_for(within)
    with pytest.raises(PolicyError, match=r"allow takes classes, functions and names such as 'mycorp.features:Clip', not int"):
        rule_for(3)
    # Its module is that of its class.
    with pytest.raises(PolicyError, match=r"allow takes classes, functions and names such as 'mycorp.features:Clip', not Clip$"):
        rule_for(mycorp.Clip())


def test_only_the_judge_makes_its_proof():
    traced: Trace = trace(program(1))
    with pytest.raises(TypeError, match=r"only policy\.admit"):
        Admitted(traced, Policy.default(), (), None, (), ())
    assert judged(1, Policy.default()).trace.root == 1


ANY = NAMES + 'verbs = ["new"]\nargs = [["any", "..."]]'


@pytest.mark.parametrize(
    ("value", "cost"),
    [
        (None, 0),
        (True, 0),
        (7, 0),
        (8 << 96, 12),
        ("four", 4),
        (b"four", 4),
        (bytearray(b"four"), 4),
        ((1, 2, 3), 3),
        ([1, 2, 3], 3),
        ({1, 2, 3}, 3),
        (frozenset({1, 2, 3}), 3),
        ({"x": 1, "y": 2}, 4),
    ],
    ids=str,
)
def test_arguments_and_states_are_charged_by_their_bytes_and_items(written, value, cost):
    """What `Findings` bounds: that one large value is handed over again and again. Each item of the tuple itself is gone through, and counts four."""
    assert judged(New("a:B", value, value), written(ANY)).findings.cost == 2 * (4 + cost)
    stated = NAMES + 'verbs = ["new", "state"]\nstate = [["any"], "list"]'
    assert judged(New("a:B", state=(value,)), written(stated)).findings.cost == 4 + cost
    assert judged(New("a:B", state=["one", 2]), written(stated)).findings.cost == 2


def test_an_array_is_charged_by_its_memory(written):
    policy = written(ANY, 'packs = ["python", "numpy"]\n')
    alone, handed = array(bytes(48), shape=(2, 3)), New("a:B", array(bytes(48), shape=(2, 3)))
    assert judged(handed, policy).findings.cost - judged(alone, policy).findings.cost == 4 + 48


@pytest.mark.parametrize(
    "make", [lambda key: (0, key), lambda key: frozenset({key}), lambda key: (frozenset({key, 1}), 1)], ids=["tuple", "set", "both"]
)
def test_keys_that_hold_what_collides_collide(make):
    step = (1 << 61) - 1
    keys = {make(step): 0, make(2 * step): 0}
    assert judged(keys, Policy.default(), limits=Limits(colliding_keys=4))
    with pytest.raises(LimitError, match="would take 4 comparisons"):
        judged(keys, Policy.default(), limits=Limits(colliding_keys=3))


def test_keys_whose_hash_nobody_knows_count_as_colliding(written):
    policy = written(NAMES + 'verbs = ["new"]\nhashable = true')
    members = Do(lambda asm: asm.op("EMPTY_SET").group([New("a:B"), New("a:B"), (New("a:B"), 1)], "ADDITEMS"))
    assert judged(members, policy, limits=Limits(colliding_keys=9))
    with pytest.raises(LimitError, match="would take 9 comparisons"):
        judged(members, policy, limits=Limits(colliding_keys=8))


class Same:
    """A key that takes the place of every other one."""

    def __hash__(self) -> int:
        return 1


@pytest.mark.parametrize("container", [set(), {}], ids=["set", "dict"])
def test_keys_that_take_quadratic_time_are_found_out_by_filling_a_table(container):
    """However fast the machine: the more of them, the longer each takes."""
    with pytest.raises(LimitError, match="quadratic time"):
        policies._check_fills_quickly(container, [Same() for _ in range(200_000)])
    container.clear()
    keys = list(range(20_500))
    policies._check_fills_quickly(container, keys)
    assert list(container) == keys


@pytest.mark.parametrize("make", [dict.fromkeys, set, frozenset])
def test_many_honest_keys_are_admitted(make):
    assert judged(make(range(12_000)), Policy.default())


def test_a_rule_of_several_verbs_names_them_all(written):
    policy = written(NAMES + 'verbs = ["new", "call"]\nargs = [["int"], []]')
    assert refusals(Ref("a:B"), policy) == ("$: refers to a:B: its rule allows call, new, not to refer to it as data",)
    assert refusals(New("a:B", state={}), policy) == ("$: gives a state to an instance of a:B: its rule allows call, new, not state",)


def test_advice_begins_on_a_line_of_its_own():
    with pytest.raises(PolicyError) as refused:
        judged([Ref("os:system"), Ref("__main__:Mine"), Ref("__main__:Other"), Ref("my.corp:f")], Policy.default())
    lines = str(refused.value).split("\n")
    assert lines[0] == "the policy does not allow what the program does:"
    assert lines[4] == "  4. $[3]: refers to my.corp:f: no rule names it"
    assert lines[5].startswith("Mine, Other is defined in __main__, ")
    assert lines[5].endswith(": move it into a module that both sides import.")
    assert lines[6].startswith("os:system: such names run code")
    assert lines[7].startswith('If you know this code and trust it with any data, pass allow=["my.corp:f"], ')
    assert lines[8:] == ["", "[[rule]]", 'names = ["my.corp:f"]', 'verbs = ["refer"]', 'reason = ""']


def test_the_default_policy_has_the_aliases_of_its_packs():
    policy = Policy.default()
    merged = [policies._builtin_pack(name).aliases for name in policies.DEFAULT_PACKS]
    assert sum(map(len, merged)) == len(policy.aliases) > 0
    for aliases in merged:
        for alias, target in aliases.items():
            assert policy.canonical(alias) == target
            assert policy.canonical(target) == target


def test_the_first_three_dunder_names_of_a_state_are_told(written):
    state = {f"__{letter}": 1 for letter in "dcba"}
    assert refusals(New("a:B", state=state), written(STATED)) == (
        "$: gives a state to an instance of a:B: the state sets the dunder name '__a', '__b', '__c'",
    )


def test_what_a_rule_is_if_only_its_names_are_given():
    rule = policies.Rule(("a:B",), frozenset({"new"}), "a test")
    assert (rule.args, rule.state, rule.state_needed, rule.items, rule.item_keys) == ((), ("dict",), False, frozenset(), "any")
    assert (rule.state_keys, rule.hashable, rule.check, rule.found_at, rule.pack) == (frozenset(), False, "", (), "user")
    assert (rule.matchers, rule.state_matchers) == ((), ())
    compiled = policies._compiled(rule, {})
    assert compiled.state_matchers == ("dict",)
    assert compiled == rule
    assert "matchers" not in repr(compiled)
    assert policies.Policy({}, {}).packs == ()


def test_what_libraries_are_installed_as():
    assert policies.DISTRIBUTIONS == {"sklearn": "scikit-learn", "imblearn": "imbalanced-learn", "dateutil": "python-dateutil"}
    assert policies.DEFAULT_PACKS == ("python", "numpy", "scipy", "sklearn", "pandas")


def test_a_proof_shows_neither_policy_nor_what_was_found(written):
    shown = repr(judged(New("a:B"), written(NAMES + 'verbs = ["new"]')))
    assert shown.startswith("Admitted(trace=Trace(")
    assert "policy" not in shown
    assert "findings" not in shown
    assert "state_keys" not in shown


def test_a_check_refuses_what_the_patterns_of_its_rule_let_pass(written):
    rule = NAMES + 'verbs = ["call"]\nargs = [["str"]]\ncheck = "number text"'
    assert judged(Call("a:B", "1.5"), written(rule))
    assert refusals(Call("a:B", "x"), written(rule)) == ("$: calls a:B: this is not the text of a number of bounded size",)


def test_what_a_check_did_not_expect_is_refused(written):
    with pytest.raises(PolicyError, match=r"the program uses a name in a form that no rule knows \(IndexError: tuple index out of range\)"):
        judged(Call("a:B"), written(NAMES + 'verbs = ["call"]\nargs = [[]]\ncheck = "number text"'))


def test_keys_that_are_nested_too_deep_for_this_process_are_a_limit():
    def nested(asm: Any) -> None:
        asm.op("EMPTY_DICT", "NONE").raw(op("TUPLE1") * 50_000).op("NONE", "SETITEM")

    limits = Limits(key_depth=100_000, nesting=100_000)
    with pytest.raises(LimitError, match=r"judging the program takes more than is there \(RecursionError\)"):
        judged(Do(nested), Policy.default(), limits=limits)


def test_a_rule_is_not_offered_for_a_name_that_has_one(written):
    with pytest.raises(PolicyError) as refused:
        judged(Call("a:B"), written(NAMES + 'verbs = ["new"]'))
    assert str(refused.value) == "the policy does not allow what the program does:\n  1. $: calls a:B: its rule allows new, not call"


def test_references_are_bound_in_each_place_of_a_repeated_pattern(written):
    policy = written('names = ["a:make"]\nverbs = ["call"]\nargs = [["int", "@a:B", "..."]]\n')
    for count in range(4):
        assert judged(Call("a:make", 1, *[Ref("a:B")] * count), policy)
    assert refusals([Call("a:make", 1, Ref("a:B"), Ref("a:B")), Ref("a:B")], policy) == ("$[1]: refers to a:B: no rule names it",)


def test_a_buffer_is_shown_as_such(written):
    value = Do(lambda asm: asm.op("NEXT_BUFFER"))
    assert refusals(Call("a:B", value), written(NAMES + 'verbs = ["call"]\nargs = [["int"]]'), b"x")[0].endswith("does not allow: (buffer)")


def test_a_name_that_is_not_exact_is_told_with_its_place_if_it_has_one(written):
    says = "'mycorp' is not an exact name: write 'package.module:QualifiedName', without wildcards"
    for place, call in (("allow: ", lambda: Policy.default().allow("mycorp")), ("", lambda: policies._split("mycorp"))):
        with pytest.raises(PolicyError) as refused:
            call()
        assert str(refused.value) == place + says


def test_keyword_arguments_are_never_allowed(written):
    def new(**named: Any) -> Do:
        return Do(lambda asm: asm.push(Ref("a:B")).push(()).push(named).op("NEWOBJ_EX"))

    policy = written(NAMES + 'verbs = ["new"]')
    assert judged(new(), policy)
    assert refusals(new(x=1), policy) == ("$: makes an instance of a:B: its rule allows no keyword arguments",)


def test_what_needs_its_state_is_not_used_before_it_has_it(written):
    within = Do(lambda asm: asm.push(Ref("a:B")).push(()).op("NEWOBJ").let("made").push({"x": Get("made")}).op("BUILD"))
    assert judged(within, written(STATED))
    assert refusals(within, written(STATED + "state_needed = true")) == (
        "$: makes an instance of a:B: it is used before it has the state that it needs",
    )


def test_a_reference_is_not_bound_by_an_alternative_that_fails_further_on(written):
    policy = written(NAMES + 'verbs = ["call"]\nargs = [[["@a:C"], "int"], [["any"], "str"]]')
    assert judged(Call("a:B", (Ref("a:C"),), 1), policy)
    assert refusals(Call("a:B", (Ref("a:C"),), "x"), policy) == ("$(0)[0]: refers to a:C: no rule names it",)


def test_each_value_of_a_state_is_looked_at_before_it_is_hashed(written):
    policy = written(STATED + "hashable = true")

    def keyed(state: dict[str, int]) -> Do:
        return Do(lambda asm: asm.op("EMPTY_DICT").push(New("a:B", state=state)).push(1).op("SETITEM"))

    for at in range(4):
        state = dict.fromkeys("wxyz", 1)
        assert judged(keyed(state), policy)
        state["wxyz"[at]] = 1 << 4096
        assert "holds an integer of thousands of bits" in refusals(keyed(state), policy)[0]


@pytest.mark.parametrize("make", [tuple, frozenset])
def test_keys_that_hold_the_same_in_another_order_or_number_do_not_collide(make):
    keys = [make(each) for each in (itertools.permutations(range(4)) if make is tuple else itertools.combinations(range(6), 2))]
    assert judged(dict.fromkeys(keys, 0), Policy.default(), limits=Limits(colliding_keys=1))


def watched(monkeypatch: pytest.MonkeyPatch, *times: float) -> list[tuple[type, int]]:
    """Let the clock of `_check_fills_quickly` tell these times, the last one for ever. Returns what was being filled at each look at it."""
    seen: list[tuple[type, int]] = []

    def thread_time() -> float:
        container = sys._getframe(1).f_locals["container"]
        seen.append((type(container), len(container)))
        return times[min(len(seen), len(times)) - 1]

    monkeypatch.setattr("time.thread_time", thread_time)
    return seen


@pytest.mark.parametrize(
    ("times", "refused"),
    [((2.0, 2.5, 2.5029), False), ((2.0, 2.51), True), ((2.0, 2.5, 2.5031), True), ((2.0, 2.4, 2.5029, 2.5059), False)],
    ids=["in time", "late at once", "late later on", "in time for long"],
)
def test_filling_a_table_may_take_half_a_second_and_three_microseconds_a_key(monkeypatch, times, refused):
    seen = watched(monkeypatch, *times)
    with pytest.raises(LimitError, match="quadratic time") if refused else contextlib.nullcontext():
        policies._check_fills_quickly(set(), list(range(1000 * (len(times) - 1))))
    assert seen == [(set, 1000 * at) for at in range(len(times))]


@pytest.mark.parametrize(("make", "kind"), [(dict.fromkeys, dict), (set, set), (frozenset, set)], ids=["dict", "set", "frozenset"])
def test_more_than_ten_thousand_keys_are_put_into_a_table_of_their_kind(monkeypatch, make, kind):
    seen = watched(monkeypatch, 0.0)
    assert admit(trace(pickle.dumps(make(range(10_000)), 5)), Policy.default())
    assert seen == []
    assert admit(trace(pickle.dumps(make(range(10_001)), 5)), Policy.default())
    assert seen == [(kind, size) for size in (*range(0, 10_001, 1000), 10_001)]


def test_a_name_that_is_made_given_a_state_and_referred_to_may_simply_be_allowed():
    with pytest.raises(PolicyError, match=r'trust it with any data, pass allow=\["my.corp:A"\], or add this') as refused:
        judged([New("my.corp:A", state={}), Ref("my.corp:A")], Policy.default())
    assert 'verbs = ["new", "state", "refer"]\n' in str(refused.value)


def test_packs_are_put_together_from_their_rules_and_aliases():
    """Asked for behind the cache, which other tests have filled."""
    names = ("python", "numpy")
    packs = [policies._builtin_pack(name) for name in names]
    policy = policies._cached_packs.__wrapped__(names)
    assert policy.packs == names
    assert policy.rules == {policies._split(name): rule for pack in packs for rule in pack.rules for name in rule.names}
    assert policy.aliases == {**packs[0].aliases, **packs[1].aliases}
    assert min(map(len, (policy.rules, policy.aliases))) > 10
    with pytest.raises(PolicyError, match=r"^the built-in packs name [\w.]+:[\w.]+ twice$"):
        policies._cached_packs.__wrapped__(("python", "python"))


def test_what_a_pack_is_if_it_does_not_say():
    assert policies._parse_pack({}, "here", base_kinds={"x": "int"}) == policies.Pack("user", "", (), {}, {})
    with pytest.raises(PolicyError, match=r"^here: rules, what means nothing in a policy; it has `packs`"):
        policies._parse_pack({"what": 1, "rules": [], "kind": {}}, "here", base_kinds={})


RULE = {"names": ["a:B"], "verbs": ["new"], "reason": "a test"}


def test_a_rule_may_have_all_verbs_and_items():
    rule = policies._parse_rule({**RULE, "verbs": [*policies.VERBS], "args": [[]], "items": [*policies.ITEMS]}, "here", {}, "mine")
    assert (rule.verbs, rule.items, rule.pack) == ({"new", "state", "call", "refer"}, {"append", "setitem"}, "mine")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reason": 1}, r"here \(a:B\): the reason is blank"),
        ({"reason": " \n"}, r"here \(a:B\): the reason is blank"),
        ({"verbs": ["call"]}, r"here \(a:B\): a rule for `call` states the arguments"),
        ({"verbs": ["new", "call"], "args": []}, r"here \(a:B\): a rule for `call` states the arguments"),
    ],
)
def test_a_rule_says_why_and_with_which_arguments(change, message):
    with pytest.raises(PolicyError, match=f"^{message}"):
        policies._parse_rule({**RULE, **change}, "here", {}, "mine")


def test_policies_of_one_text_are_equal(written):
    """Though what was compiled of their patterns is not."""
    text = NAMES + 'verbs = ["new", "state"]\nargs = [["int", {x = "str"}]]\nstate = [["int"]]'
    assert written(text) == written(text)
    assert written(text).rules["a", "B"].matchers != written(text).rules["a", "B"].matchers
    assert written(text) != written(text.replace("int", "str"))
    assert repr(written(text)) == "Policy(packs=())"


def test_what_was_judged_and_by_what_does_not_change(written):
    policy = written(NAMES + 'verbs = ["new"]')
    for value, field in ((policy, "rules"), (policy.rules["a", "B"], "verbs"), (judged(New("a:B"), policy), "uses")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field, ())
        with pytest.raises(AttributeError):
            object.__setattr__(value, "other", 1)


def test_the_types_of_functions_can_be_asked_for():
    """As makers of documentation do."""
    assert get_type_hints(chosen)["allow"] == Iterable[str | type | Callable[..., Any]]
    assert get_type_hints(unruled)["return"] == tuple[tuple[str, str], ...]
    assert get_type_hints(policies._compile)["return"] == Callable[[Any, policies._Judge], bool]
