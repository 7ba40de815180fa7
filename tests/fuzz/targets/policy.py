"""Policy files. One is read or refused with a `PolicyError`; what is read judges programs, and allows no name that no policy may allow."""

from __future__ import annotations

import re
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

from assembler import Asm, Call, New, Ref, program

from fuzz import programs
from fuzz.watching import harmless, importing_nothing
from safepickle import Policy, PolicyError, SafePickleError
from safepickle.machine import Trace, trace
from safepickle.policy import _PACKS, admit

MAX_LEN = 6144
_FILE = Path(tempfile.mkdtemp(prefix="safepickle-fuzz-")) / "policy.toml"
# Written down here once more: the names that run whatever they are given.
NEVER = {"os", "posix", "nt", "subprocess", "builtins", "__builtin__", "sys", "importlib", "pickle", "_pickle", "runpy", "ctypes", "__main__", "code"}
DEFAULT = Policy.default()


def traces() -> tuple[Trace, ...]:
    values = (
        Call("mycorp.features:make", 1, "x", 2.5, b"y", None),
        New("mycorp.features:Clip", state={"low": 1, "high": Ref("mycorp.features:bound")}),
        New("mycorp.features:Clip", 1, state=(None, {"low": 1})),
        Call("mycorp.features:make", (1, 2), [1], {"a": 1}, items=(1, 2), pairs=("a", 1)),
        Call("mycorp.features:make", Ref("mycorp.features:Clip"), New("mycorp.features:Clip")),
        {New("mycorp.features:Clip"): 1},
        Call("os:system", "id"),
    )
    asm = Asm()
    for value in values:
        asm.push(value)
    asm.op(*["TUPLE2"] * (len(values) - 1))
    library = [*programs.strict()][::4]
    return tuple(trace(each) for each in (*map(program, values), asm.program(), *library))


# Made here, since it imports the libraries.
TRACES = traces()


def run(data: bytes) -> None:
    _FILE.write_bytes(data)
    with importing_nothing(), harmless():
        try:
            policy = Policy.read(_FILE)
        except PolicyError:
            return
        allowed(policy)
        for each in TRACES:
            try:
                admit(each, policy)
            except SafePickleError:
                continue
            assert not any(name.module in NEVER and name.key not in DEFAULT.rules for name in each.globals), "it admits what runs anything"


def allowed(policy: Policy) -> None:
    for name, rule in policy.rules.items():
        if rule.pack == "user":
            for each in (name[0], *rule.found_at):
                assert each.partition(":")[0].partition(".")[0] not in NEVER, f"{name} is allowed"
            assert rule.reason.strip()
            assert all("*" not in each for each in name)
        else:
            assert name in DEFAULT.rules or rule.pack in {"xgboost", "lightgbm", "catboost", "imblearn"}
            assert name not in DEFAULT.rules or DEFAULT.rules[name] == rule, f"the built-in rule of {name} is another one"


RULE = """[[rule]]
names = ["mycorp.features:Clip", "mycorp.features:make"]
verbs = ["new", "state", "call", "refer"]
args = [%s]
state = [%s]
reason = "x"
"""
MORE = (
    'packs = ["python"]\n',
    "packs = []\n",
    'packs = ["numpy", "xgboost"]\ndistribution = "x"\n',
    '[alias]\n"mycorp.old:Clip" = "mycorp.features:Clip"\n',
    '[alias]\n"os:system" = "mycorp.features:Clip"\n',
    "[kind]\nsmall = \"int | 'a' | @mycorp.features:Clip\"\n",
)
PATTERNS = (
    '["any", "..."]',
    '["int", "str", "float", "bytes", "none"], []',
    '["small"]',
    "[\"'a' | b'y' | -3 | none\"]",
    '["@mycorp.features:Clip", "..."]',
    '["<mycorp.features:Clip>", {low = "int", high = "reference"}]',
    '[["int", "int"], "list", "text dict"]',
    '[1, true, "shape"]',
    '["uint", "buffer"]',
)


def seeds() -> Iterator[bytes]:
    yield from (b"", b"\xff", b'packs = ["python", "numpy", "scipy", "sklearn", "pandas"]\n')
    for number, pattern in enumerate(PATTERNS):
        text = RULE % (pattern, '"dict", "slots", "dict+slots"' if number % 2 else pattern)
        more = MORE[number % len(MORE)]
        yield (more + text if more.startswith("packs") else text + more).encode()
    fields = 'state_needed = true\nitems = ["append", "setitem"]\nitem_keys = "plain"\nstate_keys = ["__x"]\nhashable = true\nfound_at = ["a.b:C"]\n'
    yield (RULE % ('["any"]', '"dict"') + fields).encode()
    for path in sorted(Path(_PACKS).glob("*.toml")):
        text = path.read_text("utf-8")
        table = tomllib.loads(text)
        assert table
        # A few built-in rules, under names that a user may give.
        for rule in re.findall(r"^\[\[rule\]\]\n.*?(?=^\[)", text, re.DOTALL | re.MULTILINE)[:: 6 if path.stem == "python" else 25]:
            if len(rule) < 1500:
                yield re.sub(r'"[\w.]+:', '"mycorp.features:', rule).encode()
