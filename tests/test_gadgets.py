"""The table of gadgets: what is known, and that nothing of an honest model is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import safepickle
from safepickle.gadgets import Gadget, known

PACKAGE = Path(safepickle.__file__).parent
# The census of names in models of 13 environments; beside the repository, so not everywhere.
CENSUS = Path("/work/shared/research/allowlist_census.json")
TABLE = tomllib.loads((PACKAGE / "gadgets.toml").read_text("utf-8"))


def split(name: str) -> tuple[str, str]:
    module, _, rest = name.partition(":")
    return module, rest


def of_rules() -> set[str]:
    rules = [rule for pack in sorted((PACKAGE / "packs").glob("*.toml")) for rule in tomllib.loads(pack.read_text("utf-8")).get("rule", ())]
    return {name for rule in rules for name in (*rule["names"], *rule.get("found_at", ()))}


def of_the_census() -> set[str]:
    census: dict[str, Any] = json.loads(CENSUS.read_text("utf-8"))
    names = set(census["call_rules_union_aliased"])
    for each in census["environments"].values():
        names |= {*each["globals"], *each["globals_protocol2_extra"], *each["globals_protocol4_extra"]}
    return names


def test_no_name_of_a_rule_is_a_gadget():
    """Else a model within the policy would be called hostile."""
    names = of_rules()
    assert len(names) > 900
    assert [name for name in sorted(names) if known(*split(name)) is not None] == []


@pytest.mark.skipif(not CENSUS.exists(), reason="the census is not here")
def test_no_name_that_was_found_in_an_honest_model_is_a_gadget():
    names = of_the_census()
    assert len(names) > 900
    assert [name for name in sorted(names) if known(*split(name)) is not None] == []


@pytest.mark.parametrize(
    "name",
    [
        "__main__:Model", "code.features:Scaler", "profile.users:Model", "scipy.signal:butter", "numpy:trace", "collections:OrderedDict",
        "pathlib:PosixPath", "copyreg:__newobj__", "copyreg:_reconstructor", "functools:partial", "operator:attrgetter", "builtins:getattr",
        "joblib.numpy_pickle:NumpyArrayWrapper",
        "socket:AF_INET", "urllib.parse:ParseResult", "http:HTTPStatus", "datetime:datetime", "logging:getLogger", "re:_compile", "tests.models:A",
        "nothing:at_all", ":", "a:", ":b", "..:..",
    ],
)  # fmt: skip
def test_what_honest_files_hold_and_what_nobody_knows_is_none(name):
    assert known(*split(name)) is None


KNOWN = {
    "os:system": "runs a shell command",
    "posix:system": "runs a shell command",
    "__builtin__:eval": "runs text as Python code",
    "builtins:exec": "runs text as Python code",
    "commands:getoutput": "runs a program",
    "cPickle:loads": "loads another pickle",
    "joblib:load": "loads another file, which may be a pickle",
    # An attribute of a listed name, and a module below a whole one.
    "gzip:GzipFile.open": "opens files, to read or to write them",
    "multiprocessing.util:spawnv_passfds": "starts processes and runs programs",
    "os.path:expanduser": "reaches the operating system: commands, processes and files",
    # attacks.md A3 and A5: through another module.
    "random:_os.system": "runs a shell command",
    "joblib:os": "reaches the operating system: commands, processes and files",
    "sklearn:os.path.join": "reaches the operating system: commands, processes and files",
    "a:b.sys.modules": "reaches the interpreter: its modules, hooks and exit",
    "tarfile:bltn_open": "opens files, to read or to write them",
    "sklearn.utils._available_if:MethodType": "calls what it is given, at once or later",
    # A4: names of Python's own.
    "numpy:__builtins__": "reaches into Python's own machinery by __builtins__",
    "numpy:mean.__globals__": "reaches into Python's own machinery by __globals__",
    "builtins:object.__subclasses__": "reaches into Python's own machinery by __subclasses__",
    "a:f.__code__": "reaches into Python's own machinery by __code__",
    # A2: importing is enough.
    "numpy.f2y.__main__:x": "imports a module that runs a program when it is imported",
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_gadget_is_said_in_words(name):
    found = known(*split(name))
    assert found is not None
    assert found.what == KNOWN[name]


ADVISORIES = {
    "pty:spawn": "GHSA-vqmv-47xg-9wpr",
    "pip:main": "CVE-2025-1716",
    "pkgutil:resolve_name": "GHSA-vvpj-8cmc-gx39",
    "numpy.f2py.crackfortran:getlincoef": "GHSA-r8g5-cgf2-4m4m",
    "asyncio.unix_events:_UnixSubprocessTransport._start": "GHSA-q77w-mwjj-7mqx",
    "idlelib.run:Executive.runcode": "GHSA-m869-42cg-3xwr",
    "_io:FileIO": "GHSA-9726-w42j-3qjr",
    "profile:run": "GHSA-7wx9-6375-f5wh",
    "profile:Profile.run": "GHSA-x696-vm39-cp64",
    "ctypes:CDLL": "GHSA-4675-36f9-wf6r",
    "uuid:_get_command_stdout": "GHSA-g38g-8gr9-h9xp",
    "logging:FileHandler": "GHSA-m7j5-r2p5-c39r",
}


@pytest.mark.parametrize("name", ADVISORIES)
def test_a_gadget_that_was_published_says_where(name):
    found = known(*split(name))
    assert found is not None
    assert found.advisory == ADVISORIES[name]


def test_the_table_is_in_order():
    """Nothing stands in it twice, ids have the form of ids, and nobody added an empty sentence."""
    assert TABLE.keys() == {"walked", "single", "gadget"}
    entries = TABLE["gadget"]
    assert len(entries) > 80
    for entry in entries:
        assert entry.keys() <= {"names", "modules", "but", "what", "advisory"}
        assert entry.get("names") or entry.get("modules")
        assert entry["what"].isascii()
        assert entry["what"].isprintable()
        assert 10 < len(entry["what"]) < 80
        assert re.fullmatch(r"(GHSA(-[23456789cfghjmpqrvwx]{4}){3}|CVE-\d{4}-\d{4,7})", entry.get("advisory", "CVE-2025-1716"))
    names = [name for entry in entries for name in entry.get("names", ())]
    modules = [module for entry in entries for module in entry.get("modules", ())]
    assert len(set(names)) == len(names) > 300
    assert len(set(modules)) == len(modules) > 150
    assert all(re.fullmatch(r"[\w.]+:[\w.]+", name) for name in names)
    assert all(re.fullmatch(r"[\w.]+", module) for module in modules)
    assert all(known(*split(name)) == Gadget(entry["what"], entry.get("advisory", "")) for entry in entries for name in entry.get("names", ()))
    assert all(known(module, "x") is not None for module in modules)
    assert all(known("any.module", name) is not None for name in TABLE["walked"])
    assert all(name in modules or name in {"builtins", "new"} for name in (*TABLE["walked"], *TABLE["single"]))


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_two_texts_have_an_answer(module, name):
    found = known(module, name)
    assert found is None or found.what


def test_long_names_cost_little():
    assert known("a" + ".a" * 100_000, "b" + ".b" * 100_000) is None


def test_the_table_is_not_read_before_it_is_asked():
    child = "import safepickle.gadgets as g; print(g._table.cache_info().currsize, g.known('os', 'system').what)"
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True)
    assert done.stdout == "0 runs a shell command\n"
