"""A reviewer's attacks on what was made faster, each genuinely signed: programs and states that got through until it was mended.

The docstring says what happened. What compiled code does is seen in a process of its own, not in a forked one: OpenMP hangs there.
"""

import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from assembler import KEY, Asm, op, seal
from attacks.test_malformed_states import _TREE, Twin
from attacks.test_review import Reduced
from attacks.test_state_attacks import X, Y, histogram, outcome, sealed
from sklearn.neighbors import BallTree, KDTree
from sklearn.tree import DecisionTreeRegressor
from sklearn.tree._tree import Tree

from safepickle import Keyring, LimitError, ProgramError, container, loads, machine
from safepickle.atoms import MOST_BYTES, swallow
from safepickle.errors import AuthenticationError
from safepickle.machine import trace

P = op("PROTO", 5)
FAR = 1 << 31
TESTS = Path(__file__).parents[1]

USE = """
import sys, warnings
from assembler import KEY
from attacks.test_malformed_states import MIXED
from attacks.test_state_attacks import X
from safepickle import loads
warnings.simplefilter("ignore")
model = loads(sys.stdin.buffer.read(), key=KEY)
print(getattr(model, "predict", getattr(model, "query", None))(MIXED if hasattr(model, "_predictors") else X).shape)
"""


def framed(*operations):
    body = b"".join(operations)
    return op("FRAME", len(body)) + body


def refused(model, says):
    said = outcome(sealed(model))
    assert said.startswith("refused StateError"), said
    assert re.search(says, said), said


# --- states ---------------------------------------------------------------------------------------------------------


def renamed(nodes, first, second):
    """The same nodes, but two fields have each other's names, and what those names said before."""
    names = [{first: second, second: first}.get(name, name) for name in nodes.dtype.names]
    offsets = [nodes.dtype.fields[name][1] for name in nodes.dtype.names]
    formats = [nodes.dtype[name] for name in nodes.dtype.names]
    made = nodes.copy().view(np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": nodes.dtype.itemsize}))
    made[first], made[second] = nodes[first], nodes[second]
    return made


def tree_with(change):
    model = DecisionTreeRegressor(max_depth=3).fit(X, Y)
    state = dict(model.tree_.__getstate__())
    state["nodes"] = change(state["nodes"])
    model.tree_ = Reduced(Tree, (X.shape[1], np.array([1]), 1), state)
    return model


def histogram_with(change):
    model = histogram()
    for row in model._predictors:
        for predictor in row:
            predictor.nodes = change(predictor.nodes)
    return model


def left_elsewhere(nodes):
    made = renamed(nodes, "left_child", "n_node_samples")
    made["n_node_samples"] = np.where(nodes["left_child"] != -1, 1 << 40, -1)
    return made


def left_at_depth(nodes):
    made = renamed(nodes, "left", "depth")
    made["depth"] = np.where(nodes["is_leaf"] == 0, FAR, 0)
    return made


def wide_leaves(nodes):
    made = nodes.astype([(name, "<u4" if name == "is_leaf" else nodes.dtype[name]) for name in nodes.dtype.names])
    leaves = nodes["is_leaf"] != 0
    made["is_leaf"][leaves] = 256
    made["left"][leaves] = made["right"][leaves] = FAR
    return made


def test_refused_tree_with_names_in_another_order():
    """SIGSEGV while it was loaded: `Tree.__setstate__` casts nodes of another dtype field by field in their order, and the checks
    went by name. Counting the depth then wrote to memory at any distance.
    """
    refused(tree_with(left_elsewhere), r"\$\.tree_\.nodes: Tree: each node must have the fields")


def test_refused_predictor_with_names_in_another_order():
    """SIGSEGV in predict: `TreePredictor.__setstate__` casts as well."""
    refused(histogram_with(left_at_depth), r"nodes: TreePredictor: each node must have the fields")


def test_refused_predictor_with_leaves_that_a_cast_makes_inner_nodes():
    """SIGSEGV in predict: `is_leaf` of 32 bits was 256, a leaf for the checks, and 0 once it was cast to a byte."""
    refused(histogram_with(wide_leaves), "the type of is_leaf must be u1")


@pytest.mark.parametrize("kind", [KDTree, BallTree])
def test_refused_binary_tree_with_names_in_another_order(kind):
    """SIGSEGV in query: a typed memoryview looks at the types of fields, not at their names."""
    twin = Twin(kind(X, leaf_size=5), _TREE)
    state = list(twin.state)
    nodes = np.asarray(state[2])
    state[2] = renamed(nodes, "idx_start", "is_leaf")
    state[2]["is_leaf"] = np.where(nodes["is_leaf"] != 0, -(1 << 40), 0)
    twin.state = tuple(state)
    refused(twin, "node_data: .*: each node must have idx_start")


def test_refused_empty_tree_beside_one_with_a_node_too_many():
    """SIGSEGV in predict: of trees looked at together only the sums of nodes, parents and children were compared, and a tree
    of no nodes made up for a node without a parent in another.
    """
    model = histogram()
    first, second = model._predictors[0][0], model._predictors[1][0]
    leaf = second.nodes[second.nodes["is_leaf"] != 0][:1]
    first.nodes, second.nodes = first.nodes[:0].copy(), np.concatenate([second.nodes, leaf])
    refused(model, "a tree must have a node")


def big_endian(nodes):
    return nodes.astype(nodes.dtype.newbyteorder(">"))


def narrow(*names):
    return lambda nodes: nodes.astype([(name, "<i4" if name in names else nodes.dtype[name]) for name in nodes.dtype.names])


def spread(nodes):
    """Fields in their order, with room between them."""
    names = nodes.dtype.names
    formats = [nodes.dtype[name] for name in names]
    return nodes.astype(np.dtype({"names": names, "formats": formats, "offsets": [16 * place for place in range(len(names))]}))


HELD = {
    "tree, big-endian": lambda: tree_with(big_endian),
    "tree of 32 bits": lambda: tree_with(narrow("left_child", "right_child", "feature", "n_node_samples")),
    "tree with room between fields": lambda: tree_with(spread),
    "predictor, big-endian": lambda: histogram_with(big_endian),
    "predictor of 32 bits": lambda: histogram_with(narrow("feature_idx")),
    "predictor with room between fields": lambda: histogram_with(spread),
}


@pytest.mark.parametrize("case", HELD)
def test_nodes_of_another_machine_predict_or_raise(case):
    """Other byte order, width or offsets: what is checked is what the cast makes of it. None of these crashed."""
    found = subprocess.run([sys.executable, "-c", USE], input=sealed(HELD[case]()), capture_output=True, cwd=TESTS, timeout=120, check=False)
    assert found.returncode == 0 or b"ValueError" in found.stderr, found


def test_columns_below_zero_are_refused():
    """They index from the end where it is asked which columns have categories; where nodes split by no category, the nodes are looked at later."""

    def change(nodes):
        made = nodes.copy()
        inner = nodes["is_leaf"] == 0
        made["feature_idx"][inner] = -1
        return made

    refused(histogram_with(change), "each must be one of 3 features")


# --- the machine ----------------------------------------------------------------------------------------------------


def test_refused_buffer_that_the_next_frame_stores_in_the_memo():
    """Two values over one buffer: MEMOIZE was looked for behind NEXT_BUFFER, and there stood a FRAME. (The policy refused arrays of it.)"""
    program = (
        P + framed(op("EMPTY_LIST"), op("MARK"), op("NONE"), op("NEXT_BUFFER")) + framed(op("MEMOIZE"), op("BINGET", 0), op("APPENDS"), op("STOP"))
    )
    with pytest.raises(ProgramError, match="a buffer in the memo could be used twice"):
        trace(program, buffers=[b"abc"])


def refers_before_it_grows(levels):
    """At each level a list that is still open, a list of it, which is fetched while it is small, and that of the level below, several times."""
    asm = Asm().op("EMPTY_LIST", "MARK")
    for level in range(levels):
        asm.op("EMPTY_LIST").let(f"open {level}").op("MARK")
        asm.op("EMPTY_LIST").let(f"of {level}").get(f"open {level}").op("APPEND").get(f"of {level}")
        for _ in range(4 if level else 0):
            asm.get(f"of {level - 1}")
        asm.op("NONE", "APPENDS")
    return asm.op("APPENDS").program()


def is_found_from_the_other_side(levels):
    """The same, but what is fetched first at each level is the list that the level below contains itself in."""
    asm = Asm().op("EMPTY_LIST", "MARK")
    for level in range(levels):
        asm.op("EMPTY_LIST").let(f"open {level}").op("MARK")
        asm.op("EMPTY_LIST").let(f"of {level}").get(f"open {level}").op("APPEND")
        if level:
            asm.get(f"open {level - 1}")
        for _ in range(4 if level else 0):
            asm.get(f"of {level - 1}")
        asm.op("NONE", "APPENDS")
    return asm.op("APPENDS").program()


def all_in_all(lists):
    """Lists, each of which holds all others: printing one takes as many steps as there are orders of them."""
    made = [[] for _ in range(lists)]
    for each in made:
        each.extend(other for other in made if other is not each)
    return pickle.dumps(made, 5)


def circle_twice_in_itself(levels):
    """At each level two lists in each other; one is twice in the other and holds what is at the level below."""
    below = []
    for _ in range(levels):
        first, second = [], []
        first += [second, second]
        second += [first, below]
        below = first
    return pickle.dumps(below, 5)


def longer_circle_twice_in_itself(levels):
    below = []
    for _ in range(levels):
        first, second, third = [], [], []
        first += [second, second]
        second += [third]
        third += [first, below]
        below = first
    return pickle.dumps(below, 5)


def printed_from_its_end(lists):
    """A list in a list in a list, and all outer ones in each of the inner ones: printed from without it is short."""
    made = [[] for _ in range(lists)]
    for number, each in enumerate(made):
        each.extend([*made[:number], *made[number + 1 : number + 2]])
    return pickle.dumps([made[0], made[0], made[-1]], 5)


EXPLODING = [
    refers_before_it_grows,
    is_found_from_the_other_side,
    all_in_all,
    circle_twice_in_itself,
    longer_circle_twice_in_itself,
    printed_from_its_end,
]


@pytest.mark.parametrize("make", EXPLODING)
def test_refused_lists_that_contain_themselves_and_explode(make):
    """276 to 1,700 bytes; `repr` never ended: how many parts a value stands for was kept from when a list within it was empty, or was
    counted from within a circle, where the way back counts as nothing; a circle stood for each of its parts once, though one of two lists
    in each other is printed as often as the other holds it; and of one that was printed from one of its lists no other was tried.
    """
    with pytest.raises(LimitError, match="`shared_parts` of Limits"):
        trace(make(40))


class Node:
    """What refers to others of its kind."""


def linked(count):
    nodes = [Node() for _ in range(count)]
    for number, node in enumerate(nodes):
        node.before, node.after = nodes[number - 1] if number else None, nodes[number + 1] if number + 1 < count else None
    return nodes


def branching(depth, kind, above=None):
    node = kind()
    held = node if kind is dict else node.__dict__
    held["above"] = above
    held["below"] = [branching(depth - 1, kind, node) for _ in range(2)] if depth else []
    return node


def crowd(count):
    nodes = [Node() for _ in range(count)]
    for node in nodes:
        node.others = [other for other in nodes if other is not node]
    return nodes


HONEST_CIRCLES = {
    "linked both ways": lambda: linked(150),
    "tree of objects that know their parent": lambda: branching(8, Node),
    "tree of dicts that know their parent": lambda: branching(8, dict),
    "objects that know each other": lambda: crowd(20),
    "six lists in each other": lambda: pickle.loads(all_in_all(6)),
}


@pytest.mark.parametrize("case", HONEST_CIRCLES)
def test_circles_that_programs_honestly_have_are_let_through(case):
    """Counting each circle as a whole refuses none of them."""
    trace(pickle.dumps(HONEST_CIRCLES[case](), 5))


@pytest.mark.parametrize("unit", [op("NONE"), op("SHORT_BINUNICODE", "") + op("MEMOIZE"), op("SHORT_BINUNICODE", "ab") + op("MEMOIZE")])
def test_a_run_as_long_as_the_program_is_decoded_in_pieces(unit):
    """A frame may be as long as the program, and a run within it was decoded at once: 43 bytes of memory for each byte of the
    program, five times what the loop takes.
    """
    asked = []

    def counting(program, start, end):
        asked.append(end - start)
        return swallow(program, start, end)

    count = (4 << 20) // len(unit)
    program = P + framed(op("EMPTY_LIST"), op("MARK"), unit * count, op("APPENDS"), op("STOP"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "swallow", counting)
        found = trace(program)
    assert len(found.root.items) == count
    assert max(asked) == MOST_BYTES
    assert len(asked) >= 4


def test_refused_tuple_of_atoms_that_is_the_state_of_thousands():
    """Its length was not charged, only what it holds: 65 kB took half a minute, to scan as well."""
    name = op("SHORT_BINUNICODE", "collections") + op("MEMOIZE") + op("SHORT_BINUNICODE", "OrderedDict") + op("MEMOIZE") + op("STACK_GLOBAL")
    state = op("MARK") + op("NONE") * 40_000 + op("TUPLE") + op("MEMOIZE")
    made = op("EMPTY_TUPLE") + op("REDUCE") + op("BINGET", 0) + op("BUILD")
    again = op("BINGET", 3) + made
    program = P + framed(op("MARK"), state, name + op("MEMOIZE"), made, again * 1_000, op("TUPLE"), op("STOP"))
    with pytest.raises(LimitError, match="used over and over"):
        loads(seal(program), key=KEY)


# --- the container --------------------------------------------------------------------------------------------------


def test_a_mapped_program_is_copied_before_it_is_hashed(tmp_path, monkeypatch):
    """Whoever could write to a mapped file while it was opened had a program of theirs run through the machine: it was
    hashed in the mapping, and copied from there afterwards.
    """
    path = tmp_path / "model"
    program = P + framed(op("NONE"), op("NONE"), op("TUPLE2"), op("STOP"))
    path.write_bytes(seal(program, [b"x" * 100]))
    start = path.read_bytes().index(program)
    check = container._check_mapped

    def changed_meanwhile(*args):
        check(*args)
        with path.open("r+b") as file:
            file.seek(start + program.index(op("NONE")))
            file.write(op("NEWTRUE"))

    monkeypatch.setattr(container, "_check_mapped", changed_meanwhile)
    assert container.open(path, Keyring(KEY), map_file=True).program == program
    monkeypatch.setattr(container, "_check_mapped", check)
    with pytest.raises(AuthenticationError):
        container.open(path, Keyring(KEY), map_file=True)
