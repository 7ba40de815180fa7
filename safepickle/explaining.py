"""What a program does, for people: `explain` gives its steps, in the order in which CPython does them, and the object that it ends with.

Nothing is decided, imported or executed here. Whoever wrote the file chose every name and text in it, so:

- what comes from the file is shown as ASCII, with escapes, and no line is longer than `WIDTH`: nothing moves a cursor or turns text around;
- the lines are bounded, whatever the program is; steps that run code by a known gadget, and what only running the program would tell, are the
  last to be left out, so that nobody buries them under harmless ones;
- each value of the tree is shown once, and time and memory are linear in the size of the trace. Nothing recurses.

A `#` and a number stand for the result of that step. Values are what they are when the program ends, not when the step was done.
"""

from __future__ import annotations

import re
import struct
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from .gadgets import Gadget, known
from .legacy import Computed, Deed, Extension, LegacyTrace, Persistent, Result, View
from .machine import ABSENT, Buffer, ByteArray, Dict, FrozenSet, Global, List, Made, Set, brief

__all__ = ["WIDTH", "explain"]

WIDTH: Final = 150
"""The most characters of a line."""

# How often a like step is shown before it is counted.
_EXAMPLES: Final = 2
_DEEP: Final = 12
# How many attributes or keys, and how many items of anything else, are shown of one value.
_BROAD: Final = 48
_LONG: Final = 8
_PATH: Final = 80
_ATOMS: Final = frozenset((type(None), bool, int, float, str, bytes, ByteArray, Buffer, Global, Extension))
_NAME: Final = re.compile(r"[\w.]+", re.ASCII)
_RECONSTRUCTORS: Final = frozenset((("copyreg", "_reconstructor"), ("copy_reg", "_reconstructor")))
_GETATTR: Final = frozenset((("builtins", "getattr"), ("__builtin__", "getattr")))
_MULTIARRAY: Final = frozenset(("numpy._core.multiarray", "numpy.core.multiarray"))
_NUMERIC: Final = frozenset(("numpy._core.numeric", "numpy.core.numeric"))
_JOBLIB_ARRAYS: Final = frozenset((("joblib.numpy_pickle", "NumpyArrayWrapper"), ("sklearn.externals.joblib.numpy_pickle", "NumpyArrayWrapper")))
_SCALARS: Final = {"f2": "e", "f4": "f", "f8": "d", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q", "b1": "?"}

_MAKES: Final = frozenset(("call", "new", "instance"))
# What the program made itself, and so may change.
_OWN: Final = frozenset((Made, List, Dict, Set, ByteArray))
_VERBS: Final = {
    "name": "import",
    "call": "call",
    "new": "make",
    "instance": "make",
    "build": "state",
    "append": "append",
    "setitem": "set",
    "add": "add",
    "hash": "hash",
    "extension": "extend",
    "persistent": "ask",
}
_MORE: Final = {
    "name": "imports of",
    "call": "calls of",
    "new": "objects made of",
    "instance": "objects made of",
    "build": "states given to objects of",
    "append": "appends to objects of",
    "setitem": "items set in objects of",
    "add": "items added to objects of",
    "hash": "hashes of",
    "extension": "extension codes",
    "persistent": "persistent ids",
}


def explain(trace: LegacyTrace, error: Exception | None = None, *, most: int = 200) -> Iterator[str]:
    """Yield the lines that tell what a program does: its steps, then its result as a tree. Each of the two takes at most about `most` lines.

    `error` is why the program does not finish, as `legacy.attempt` returns it: what stands above that line has been done by then. A line
    that begins with "!" is about a known gadget, or about a name that the program computes. Raises nothing, whatever the program is.
    """
    steps = _Steps(trace)
    total = len(trace.deeds)
    yield f"pickle program of protocol {trace.protocol}, bytes {trace.start:,} to {trace.end:,}: {_number(total, 'step')}"
    yield from steps.lines(most)
    if error is not None:
        yield _cut(f"! it breaks off here: {_plain(str(error))}")
        yield "! what stands above has been done by then" if total else "  nothing has been done by then"
    if trace.left_over and error is None:
        yield f"  {_number(trace.left_over, 'value or mark', 'values or marks')} left over below the result"
    if trace.root is not ABSENT:
        yield "result:"
        yield from _Tree(steps, most).lines(trace.root)


# --- text ----------------------------------------------------------------------------------------------------------


def _cut(line: str, width: int = WIDTH) -> str:
    return line if len(line) <= width else line[: max(0, width - 1)] + "…"


def _plain(text: str, most: int = WIDTH) -> str:
    """Return text in printable ASCII."""
    return ascii(text[: 4 * most])[1:-1] if not (text.isascii() and text.isprintable()) else text[: 4 * most]


def _number(count: int, what: str, many: str = "") -> str:
    return f"{count:,} {what if count == 1 else many or what + 's'}"


def _word(text: str, most: int = 72) -> str:
    """Return a part of a name: quoted if it is none, and without its middle if it is long."""
    shown = text if len(text) <= most else f"{text[: most - 24]}...{text[-20:]}"
    return shown if _NAME.fullmatch(shown) else ascii(shown)


def _named(module: str, name: str) -> str:
    return f"{_word(module)}:{_word(name)}"


def _atom(value: Any) -> str:
    """Return a text of what holds nothing else."""
    kind = type(value)
    if kind is str:
        return brief(value) if len(value) <= 40 else f"{ascii(value[:28])[:60]}... ({len(value):,} characters)"
    if kind is bytes:
        return ascii(value) if len(value) <= 12 else f"{len(value):,} bytes"
    if kind is ByteArray:
        return f"bytearray of {len(value):,} bytes"
    if kind is Buffer:
        return f"buffer {value.number} of {len(value):,} bytes"
    if kind is Global:
        return _named(value.module, value.name)
    if kind is Extension:
        return f"extension {value.code}"
    return brief(value)


class _Spoken:
    """Words of ours among the values of the file, where text is written piece by piece."""

    __slots__ = ("words",)

    def __init__(self, words: str) -> None:
        self.words = words


_COMMA: Final = _Spoken(", ")


def _mapped(flat: list[Any]) -> Iterator[Any]:
    for index in range(0, len(flat), 2):
        yield flat[index]
        yield _Spoken(": ")
        yield flat[index + 1]
        if index + 2 < len(flat):
            yield _COMMA


def _separated(items: Iterable[Any]) -> Iterator[Any]:
    for index, item in enumerate(items):
        if index:
            yield _COMMA
        yield item


# --- what values are -----------------------------------------------------------------------------------------------


def _key(value: Any) -> tuple[str, str] | None:
    """Return the name that a value was made by, or that it is."""
    if type(value) is Global:
        return value.module, value.name
    if type(value) is Made:
        # An object of protocol 0 and 1 is made by a function, with its class as an argument.
        if value.callee.key in _RECONSTRUCTORS and value.args and type(value.args[0]) is Global:
            return value.args[0].module, value.args[0].name
        return value.callee.module, value.callee.name
    return None


def _latin(value: Any) -> str | None:
    """Return the text that stands for bytes before protocol 3, if that is what the value is."""
    if type(value) is Made and value.callee.key == ("_codecs", "encode") and len(value.args) == 2:
        text, encoding = value.args
        if type(text) is str and type(encoding) is str and encoding in ("latin1", "latin-1"):
            return text
    return None


def _bytes_long(value: Any) -> int | None:
    """Return the length of what holds bytes, however the program says it."""
    if type(value) is View:
        value = value.target
    if type(value) in (bytes, ByteArray, Buffer):
        return len(value)
    text = _latin(value)
    return None if text is None else len(text)


def _dtype(value: Any) -> str | None:
    """Return a dtype in numpy's letters, as in "<f8"."""
    if type(value) is not Made or value.callee.key != ("numpy", "dtype") or not value.args:
        return None
    letters = value.args[0]
    if type(letters) is Global:
        return _word(letters.name, 32)
    if type(letters) is not str or len(letters) > 32:
        return None
    state = value.state
    if type(state) is tuple and len(state) > 3:
        if type(state[3]) is tuple and state[3]:
            return f"records of {_number(len(state[3]), 'field')}"
        if type(state[1]) is str and state[1] in ("<", ">"):
            return _plain(state[1] + letters)
    return _plain(letters) or "''"


def _array(value: Any, said: Any) -> str | None:
    """Return what an array is, if the value is one as numpy or joblib write it."""
    if type(value) is not Made:
        return None
    module, name = value.callee.key
    shape: Any = None
    dtype: Any = None
    length: int | None = None
    tail = ""
    if module in _MULTIARRAY and name == "_reconstruct" and type(value.state) is tuple and len(value.state) == 5:
        _, shape, dtype, _, data = value.state
        length = _bytes_long(data)
        if type(data) is List:
            tail = f", {_number(len(data.items), 'object')}"
    elif module in _NUMERIC and name == "_frombuffer" and len(value.args) >= 4:
        data, dtype, shape = value.args[:3]
        length = _bytes_long(data)
    elif value.callee.key in _JOBLIB_ARRAYS and type(value.state) is Dict:
        state = {key: item for key, item in islice(value.state.entries(), 16) if type(key) is str}
        shape, dtype = state.get("shape"), state.get("dtype")
        tail = ", outside the program"
    if type(shape) is not tuple:
        return None
    tail = tail if length is None else f", {length:,} bytes"
    return f"array {said(shape, 40)} of {_dtype(dtype) or said(dtype, 40)}{tail}"


def _scalar(value: Any) -> str | None:
    """Return a number of numpy, if the value is one."""
    if type(value) is not Made or value.callee.name != "scalar" or value.callee.module not in _MULTIARRAY or len(value.args) != 2:
        return None
    dtype = _dtype(value.args[0])
    text = _latin(value.args[1])
    raw = value.args[1] if type(value.args[1]) is bytes else text.encode("latin-1", "replace") if text is not None and len(text) <= 8 else None
    if dtype is None or raw is None:
        return None
    order, letters = (dtype[0], dtype[1:]) if dtype.startswith(("<", ">")) else ("<", dtype)
    form = _SCALARS.get(letters)
    if form is None or len(raw) != struct.calcsize("=" + form):
        return f"scalar of {dtype}"
    return f"{struct.unpack(order + form, raw)[0]!r} ({dtype})"


def _leaf(value: Any, said: Any) -> str | None:
    """Return what is said of a value in place of what it holds, if that says it all."""
    if type(value) in _ATOMS:
        return _atom(value)
    text = _latin(value)
    if text is not None:
        return f"{len(text):,} bytes"
    scalar = _scalar(value)
    if scalar is not None:
        return scalar
    dtype = _dtype(value)
    if dtype is not None:
        return f"dtype {dtype}"
    return _array(value, said)


# --- steps ---------------------------------------------------------------------------------------------------------

_Shape = tuple[str, Any]


@dataclass(slots=True)
class _Gap:
    """Steps between two that are shown."""

    like: Counter[_Shape] = field(default_factory=Counter)
    unlike: int = 0


class _Steps:
    """The deeds of a trace as lines."""

    def __init__(self, trace: LegacyTrace) -> None:
        self.deeds = trace.deeds
        self.of: dict[int, int] = {id(deed.result): number for number, deed in enumerate(trace.deeds, 1) if deed.kind != "name"}
        self.of.pop(id(ABSENT), None)
        self.gadgets: dict[tuple[str, str], Gadget | None] = {}

    def gadget(self, key: tuple[str, str]) -> Gadget | None:
        if key not in self.gadgets:
            self.gadgets[key] = known(*key)
        return self.gadgets[key]

    def lines(self, most: int) -> Iterator[str]:
        chosen = self.choose(most)
        gap = _Gap()
        seen: Counter[_Shape] = Counter()
        hidden = 0
        width = len(str(len(self.deeds)))
        at = max((len(str(deed.at)) for deed in (*self.deeds[:1], *self.deeds[-1:])), default=1)
        for index, deed in enumerate(self.deeds):
            shape = self.shape(deed)
            if index in chosen:
                yield from self.told(gap, width)
                gap = _Gap()
                yield self.line(index, deed, width, at)
            else:
                gap.like[shape] += 1
                gap.unlike += not seen[shape]
                hidden += not seen[shape]
            seen[shape] += index in chosen
        yield from self.told(gap, width)
        if hidden:
            yield f"  {hidden:,} of these steps are like none that is shown"

    def told(self, gap: _Gap, width: int) -> Iterator[str]:
        """Yield the line that stands for steps that are not shown."""
        if not gap.like:
            return
        count = gap.like.total()
        margin = " " * (width + 2)
        if len(gap.like) == 1 and not gap.unlike:
            yield _cut(f"{margin}… and {count:,} more {self.more(next(iter(gap.like)))} like this")
            return
        line = f"{margin}… and {_number(count, 'further step')}:"
        common = gap.like.most_common(4)
        for place, (shape, number) in enumerate(common):
            part = f" {number:,} {self.more(shape)}"
            if len(line) + len(part) > WIDTH - 24:
                common = common[:place]
                break
            line += part + ","
        rest = len(gap.like) - len(common)
        yield _cut(line[:-1] + (f" and {_number(rest, 'other kind')}" if rest else ""))

    def more(self, shape: _Shape) -> str:
        kind, key = shape
        if kind in ("extension", "persistent"):
            return _MORE[kind]
        return f"{_MORE[kind]} {_named(*key[:2]) if type(key) is tuple else key}"

    def choose(self, most: int) -> set[int]:
        """Return which steps are shown: first those that tell most, then the first of each kind, as many as there is room for."""
        telling: list[int] = []
        plain: list[int] = []
        counts: Counter[_Shape] = Counter()
        for index, deed in enumerate(self.deeds):
            if self.tells(deed):
                if len(telling) < most:
                    telling.append(index)
                continue
            shape = self.shape(deed)
            counts[shape] += 1
            if counts[shape] <= _EXAMPLES and len(plain) < most:
                plain.append(index)
        chosen = {*telling, *plain[: max(0, most - len(telling))]}
        gaps = sum(index + 1 not in chosen for index in chosen)
        if len(chosen) + gaps > most:
            # Each step may have a gap before it.
            room = max(1, most // 2)
            chosen = {*telling[:room], *plain[: max(0, room - len(telling))]}
        # One step takes no more room than the line that would say that it is left out.
        last = len(self.deeds) - 1
        alone = {each for index in chosen for each in (index - 1, index + 1) if each not in chosen and 0 <= each <= last}
        return chosen | {each for each in alone if (each == 0 or each - 1 in chosen) and (each == last or each + 1 in chosen)}

    def shape(self, deed: Deed) -> _Shape:
        """Return what two steps have in common that are alike."""
        subject = deed.result if deed.kind == "name" else deed.target
        key = _key(subject)
        if key in _GETATTR and deed.kind == "call" and type(deed.given) is tuple and len(deed.given) > 1 and type(deed.given[1]) is str:
            return deed.kind, (*key, deed.given[1][:256])
        return deed.kind, key if key is not None else _KINDS.get(type(subject), "a plain value")

    def tells(self, deed: Deed) -> bool:
        """Whether a step is to be shown even if many are like it: it is marked, or done to what the program neither named nor made."""
        if deed.kind in ("extension", "persistent") or self.marked(deed):
            return True
        return deed.kind != "name" and type(deed.target) not in ((Global,) if deed.kind in _MAKES else _OWN)

    def marked(self, deed: Deed) -> bool:
        return type(deed.result) is Computed or self.found(deed) is not None

    def found(self, deed: Deed) -> Gadget | None:
        """Return the gadget that a step names or uses."""
        if deed.kind == "name":
            return (self.gadget(deed.result.key) or self.gadget(deed.target)) if type(deed.result) is Global else None
        key = _key(deed.target)
        if key is None:
            return None
        found = self.gadget(key)
        if found is None and type(deed.target) is Made:
            found = self.gadget(deed.target.callee.key)
        if found is None and key in _GETATTR and type(deed.given) is tuple and len(deed.given) > 1 and type(deed.given[1]) is str:
            # What the attribute leads to, whatever it is an attribute of.
            found = self.gadget(("", deed.given[1][:256]))
        return found

    def words(self, deed: Deed) -> str:
        """Return what a step does by a known gadget, in words; empty if it does nothing of the kind."""
        found = self.found(deed)
        if found is None or (deed.kind != "name" and deed.kind not in _MAKES):
            return ""
        return f" -- {found.what}" + (f" ({found.advisory})" if found.advisory and deed.kind == "name" else "")

    def line(self, index: int, deed: Deed, width: int, at: int) -> str:
        words = self.words(deed)
        mark = "!" if self.marked(deed) else " "
        head = f"{mark} {index + 1:>{width}}  at {deed.at:<{at}}  {_VERBS[deed.kind]:<7} "
        room = max(24, WIDTH - len(head) - len(words))
        return _cut(head + _cut(self.body(deed, room), room) + words)

    def body(self, deed: Deed, room: int) -> str:
        target = deed.target
        match deed.kind:
            case "name" if type(deed.result) is Global:
                module, name = target
                spelled = "" if deed.result.key == (module, name) else f", written as {_named(module, name)}"
                return _named(*deed.result.key) + spelled
            case "name":
                return f"a name that is computed: module {self.said(target[0], 48)}, name {self.said(target[1], 48)}"
            case "call" | "new" | "instance":
                start = f"{self.said(target, 100)}("
                end = ")" if deed.kwargs is ABSENT else f", **{self.said(deed.kwargs, 40)})"
                return start + self.arguments(deed.given, max(8, room - len(start) - len(end))) + end
            case "build":
                return f"of {self.said(target, 80)} is {self.said(deed.given, room)}"
            case "append" | "add" | "setitem":
                given = deed.given if type(deed.given) is list else [deed.given]
                if deed.kind == "setitem" and len(given) == 2:
                    return f"{self.said(given[0], 40)} to {self.said(given[1], 60)} in {self.said(target, 80)}"
                return f"{self.listed(given, 60)} to {self.said(target, 80)}"
            case "hash":
                return self.said(target, room)
            case "extension":
                return f"by what this process has registered under code {target}"
            case _:
                return f"the loader for the persistent id {self.said(target, 80)}"

    def arguments(self, given: Any, room: int) -> str:
        return self.listed(given, room) if type(given) is tuple else f"*{self.said(given, room)}"

    def listed(self, items: Iterable[Any], room: int) -> str:
        return self.write([_separated(items)], room)

    def said(self, value: Any, room: int) -> str:
        """Return a text of a value for one line: what was made by a step is told by its number."""
        return self.write([iter((value,))], room)

    def write(self, work: list[Iterator[Any]], room: int) -> str:
        """Write pieces and values until there is no more room. Each writes something, or is the end of a container: so the time is bounded, too."""
        out: list[str] = []
        length = 0
        while work:
            if length > room or len(work) > 2 * WIDTH:
                out.append("…")
                break
            value = next(work[-1], work)
            if value is work:
                work.pop()
                continue
            piece = self.piece(value, work)
            out.append(piece)
            length += len(piece)
        return _cut("".join(out), room)

    def piece(self, value: Any, work: list[Iterator[Any]]) -> str:
        """Return how a value begins, and put what follows on top of the work."""
        kind = type(value)
        if kind is _Spoken:
            return str(value.words)
        if kind in _ATOMS:
            return _atom(value)
        if id(value) in self.of:
            key = _key(value)
            return f"#{self.of[id(value)]}" + (f" {_named(*key)}" if key is not None else "")
        pieces = _BRACKETS.get(kind)
        if pieces is not None:
            start, end = pieces
            if kind is Dict:
                inner = _mapped(value.flat)
            else:
                inner = _separated(value if kind is tuple else value.items)
                if kind is tuple and len(value) == 1:
                    end = ",)"
            work.append(iter((_Spoken(end),)))
            work.append(inner)
            return start
        if kind is View:
            work.append(iter((_Spoken("a view of "), value.target)))
        elif kind is Computed:
            return f"the name computed at {value.at}"
        else:
            return _KINDS.get(kind, "a value")
        return ""


_BRACKETS: Final = {tuple: ("(", ")"), List: ("[", "]"), Dict: ("{", "}"), Set: ("{", "}"), FrozenSet: ("frozenset({", "})")}
_KINDS: Final[dict[type, str]] = {
    Made: "an object",
    Result: "a result",
    Computed: "a computed name",
    Extension: "an extension",
    Persistent: "what the loader gives",
    View: "a view",
    List: "a list",
    Dict: "a dict",
    Set: "a set",
    FrozenSet: "a frozenset",
    tuple: "a tuple",
    ByteArray: "a bytearray",
    Buffer: "a buffer",
}


# --- the tree ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Node:
    label: str
    text: str
    value: Any
    path: str
    depth: int
    closed: bool = False
    inner: list[_Node] = field(default_factory=list)
    more: int = 0


class _Tree:
    """A result as a tree. What is shown is chosen breadth first, so that one deep branch does not take the room of the others."""

    def __init__(self, steps: _Steps, most: int) -> None:
        self.steps = steps
        self.most = most
        # What was met, by id. The trace holds all of these, so no other value gets the id.
        self.met: dict[int, str] = {}

    def lines(self, root: Any) -> Iterator[str]:
        top = self.node("", root, "$", 0)
        self.grow(top)
        work: list[tuple[_Node | int, str, str]] = [(top, "", "")]
        while work:
            node, lead, branch = work.pop()
            if isinstance(node, int):
                yield _cut(f"  {lead}{branch}… and {node:,} more")
                continue
            # Lines are cut anyway, but what is in front must leave room for the value.
            yield _cut(f"  {lead}{branch}{node.label}{' ' if node.label else ''}{node.text}")
            below = lead + {"": "", "├─ ": "│  ", "└─ ": "   "}[branch]
            rows: list[_Node | int] = [*node.inner, *([node.more] if node.more else [])]
            work.extend((row, below, "└─ " if place == 0 else "├─ ") for place, row in enumerate(reversed(rows)))

    def grow(self, top: _Node) -> None:
        room = max(1, self.most) - 1
        queue = deque([top])
        while queue:
            node = queue.popleft()
            if not self.is_open(node.value):
                continue
            total = _count(node.value)
            if room < 2 or node.depth >= _DEEP or node.closed:
                node.text += " …" if total else ""
                continue
            kinds: set[tuple[str, str]] = set()
            shown = min(total, _BROAD if type(node.value) in (Made, Dict) else _LONG, room)
            for label, value in islice(_inner(node.value), shown):
                child = self.node(label, value, _cut(node.path + label, _PATH), node.depth + 1)
                # Of a hundred trees, one says what they are.
                key = _key(child.value) if type(node.value) is not Made else None
                child.closed = key in kinds
                kinds.update((key,) if key is not None else ())
                node.inner.append(child)
                queue.append(child)
            node.more = total - len(node.inner)
            room -= len(node.inner) + (node.more > 0)

    def node(self, label: str, value: Any, path: str, depth: int) -> _Node:
        if self.is_shared(value):
            if id(value) in self.met:
                return _Node(label, f"→ {self.met[id(value)]}", None, path, depth)
            self.met[id(value)] = path
        return _Node(label, self.title(value), value, path, depth)

    def is_shared(self, value: Any) -> bool:
        """Whether a value is one thing wherever it stands, and not just equal to others."""
        kind = type(value)
        return kind in _OPEN and (kind is not tuple or not self.is_small(value)) and _dtype(value) is None and _scalar(value) is None

    def is_small(self, value: Any) -> bool:
        """Whether a container is said whole by its text."""
        kind = type(value)
        items = value if kind is tuple else value.items if kind in (List, Set, FrozenSet) else None
        return items is not None and len(items) <= 6 and all(type(item) in _ATOMS for item in items)

    def is_open(self, value: Any) -> bool:
        """Whether what a value holds is shown below it."""
        if type(value) not in _OPEN or self.is_small(value):
            return False
        if type(value) is Made and type(value.state) is tuple and len(value.state) == 5 and type(value.state[4]) is List:
            # An array of objects.
            return True
        return _leaf(value, self.steps.said) is None

    def title(self, value: Any) -> str:
        """Return what a value is, in one line."""
        leaf = _leaf(value, self.steps.said)
        if leaf is not None:
            return leaf
        if self.is_small(value):
            return self.steps.said(value, 100)
        kind = type(value)
        if kind is Dict:
            return f"dict of {len(value.flat) // 2:,}"
        if kind is tuple:
            return f"tuple of {len(value):,}"
        if kind in (List, Set, FrozenSet):
            return f"{kind.__name__.lower()} of {len(value.items):,}"
        if kind is Made:
            return self.made(value)
        if kind is Result:
            return f"{_RESULTS[value.how]} {self.steps.said(value.callee, 80)}"
        if kind is Computed:
            return f"a name that is computed: module {self.steps.said(value.module, 40)}, name {self.steps.said(value.name, 40)}"
        if kind is Persistent:
            return f"what the loader gives for the persistent id {self.steps.said(value.pid, 60)}"
        return self.steps.said(value, 80)

    def made(self, value: Made) -> str:
        key = _key(value)
        name = _named(*key) if key is not None else "an object"
        if value.how == "call" and key == value.callee.key:
            return f"{name}({self.steps.arguments(value.args, 60)})"
        return name


_RESULTS: Final = {"call": "the result of calling", "new": "an object of", "instance": "an object of"}
_OPEN: Final = frozenset((tuple, List, Dict, Set, FrozenSet, Made, Result, Persistent, View, Computed))


def _step(key: Any, form: str) -> str:
    """Return how a key is written in a path."""
    if type(key) is str and form == ".{}" and _NAME.fullmatch(key) and len(key) <= 48:
        return f".{key}"
    return f"[{brief(key) if type(key) in (type(None), bool, int, float, str) else '…'}]"


def _pairs(flat: list[Any], form: str) -> Iterator[tuple[str, Any]]:
    for index in range(0, len(flat), 2):
        yield _step(flat[index], form), flat[index + 1]
        if type(flat[index]) in _OPEN:
            yield "<key>", flat[index]


def _state(value: Made) -> list[Any]:
    """Return the parts of a state: dicts of attributes, or something else."""
    if value.state is ABSENT:
        return []
    if type(value.state) is tuple and len(value.state) == 2 and type(value.state[1]) is Dict:
        return [part for part in value.state if part is not None]
    return [value.state]


def _arguments(value: Made) -> Iterable[Any]:
    """Return those arguments that the title does not say."""
    if value.callee.key in _RECONSTRUCTORS:
        return value.args[2:]
    return value.args


def _inner(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the step and the value of everything directly inside, what is most telling first."""
    kind = type(value)
    if kind is Dict:
        yield from _pairs(value.flat, "[{}]")
    elif kind in (tuple, List):
        yield from ((f"[{index}]", item) for index, item in enumerate(value if kind is tuple else value.items))
    elif kind in (Set, FrozenSet):
        yield from (("{}", item) for item in value.items)
    elif kind is Made:
        yield from _made(value)
    elif kind is Result:
        if type(value.callee) in _OPEN:
            yield "<callee>", value.callee
        yield "<arguments>", value.args
        if type(value.kwargs) in _OPEN:
            yield "<keywords>", value.kwargs
    elif kind is Computed:
        yield "<module>", value.module
        yield "<name>", value.name
    elif kind is View:
        yield "<of>", value.target
    elif kind is Persistent and type(value.pid) in _OPEN:
        yield "<id>", value.pid


def _made(value: Made) -> Iterator[tuple[str, Any]]:
    for part in _state(value):
        if type(part) is Dict:
            yield from _pairs(part.flat, ".{}")
        else:
            yield "<state>", part
    yield from ((f"[{index}]", item) for index, item in enumerate(value.items))
    yield from _pairs(list(value.pairs), "[{}]")
    yield from ((f"({index})", item) for index, item in enumerate(_arguments(value)) if type(item) in _OPEN)
    if value.kwargs is not None:
        yield from _pairs(value.kwargs.flat, "({})")


def _count(value: Any) -> int:
    """Return how many `_inner` yields, without making them."""
    kind = type(value)
    if kind is Dict:
        return _count_pairs(value.flat)
    if kind is tuple:
        return len(value)
    if kind in (List, Set, FrozenSet):
        return len(value.items)
    if kind is not Made:
        return sum(1 for _ in _inner(value))
    states = sum(_count_pairs(part.flat) if type(part) is Dict else 1 for part in _state(value))
    keywords = 0 if value.kwargs is None else _count_pairs(value.kwargs.flat)
    return states + len(value.items) + _count_pairs(list(value.pairs)) + sum(type(item) in _OPEN for item in _arguments(value)) + keywords


def _count_pairs(flat: list[Any]) -> int:
    return len(flat) // 2 + sum(type(key) in _OPEN for key in islice(flat, 0, None, 2))
