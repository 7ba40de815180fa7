"""House rules: who imports whom, what `import safepickle` costs, that the public names are what they say, what the top level holds."""

from __future__ import annotations

import ast
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import safepickle
from safepickle import errors

PACKAGE = Path(safepickle.__file__).parent
TOP = Path(__file__).resolve().parent.parent
SOURCES = sorted(PACKAGE.rglob("*.py"))


def named(path: Path) -> str:
    """Return the name of a module within the package: `state` and `state.trees`, `__init__` for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MODULES = {named(path): ast.parse(path.read_text("utf-8")) for path in SOURCES}
FAMILIES = {name for name in MODULES if name.startswith("state.") and name != "state.view"}

# The staircase: a module imports only what stands here beside it. A new module is entered here, with the least that it needs.
BELOW: dict[str, set[str]] = {
    "errors": set(),
    "files": {"errors"},
    "keys": {"errors", "files"},
    "keyring": {"errors", "keys", "files"},
    "chunks": {"errors", "files"},
    "container": {"errors", "keys", "keyring", "files", "chunks"},
    "atoms": {"errors"},
    "circles": set(),
    "machine": {"errors", "atoms", "circles"},
    "legacy": {"errors", "machine"},
    "npy": {"errors"},
    "findings": set(),
    "translating": {"errors", "machine", "checks", "legacy", "npy"},
    "checks": {"errors", "machine"},
    "policy": {"errors", "machine", "checks"},
    "state.view": {"errors", "machine", "checks", "policy"},
    **{family: {"machine", "checks", "state.view"} for family in FAMILIES},
    "state": {"machine", "policy", "state.view", *FAMILIES},
    "rehearsing": {"errors", "machine"},
    "pins": {"errors", "files", "container"},
    "verifying": {"errors", "keyring", "container"},
    # What a gate compares files with: reviewed files beside the models, in a checkout.
    "naming": {"errors"},
    "lockfile": {"errors", "files", "keyring", "container", "naming"},
    "baseline": {"errors", "files", "naming"},
    "configuring": {"errors", "files", "container"},
    "openssf": {"errors", "files", "keys", "keyring"},
    "pickling": {"errors", "keyring", "container", "machine", "checks", "policy", "state", "rehearsing"},
    # Legacy files: what is in them, what it would do, and how it is brought over.
    "archives": {"errors", "machine", "chunks"},
    "gadgets": {"files"},
    "adopting": {"errors", "container", "machine", "policy", "pickling", "translating", "archives", "npy"},
    "explaining": {"machine", "legacy", "gadgets"},
    "revisions": set(),
    "differing": {"errors", "container", "keyring", "machine", "policy", "scanning"},
    "scanning": {"errors", "container", "machine", "legacy", "explaining", "translating", "archives", "npy", "gadgets", "policy", "findings"},
    "reporting": {"errors", "findings"},
    # The gate: which files must be signed, and whether each is as expected.
    "pointers": set(),
    "gate": {
        "errors",
        "pointers",
        "files",
        "keyring",
        "chunks",
        "container",
        "openssf",
        "machine",
        "policy",
        "pins",
        "lockfile",
        "baseline",
        "archives",
        "scanning",
        "findings",
        "selecting",
    },
    "rendering": {"errors", "container", "gate"},
    "formats": {"errors", "findings", "gate", "rendering", "reporting"},
    "walking": set(),
    "selecting": {"walking"},
    "comparing": set(),
    "original": {"comparing"},
    # It starts `original` by its name, and imports it no more than anybody else.
    "converting": {"errors", "files", "keyring", "container", "verifying", "machine", "policy", "scanning", "pickling", "adopting", "comparing"},
    "suggesting": {"errors", "machine", "policy", "pickling"},
    "__init__": {
        "errors",
        "keys",
        "keyring",
        "container",
        "pins",
        "verifying",
        "machine",
        "policy",
        "pickling",
        "adopting",
        "scanning",
        "suggesting",
        "converting",
    },
    "demo": {"errors", "keys", "keyring", "container", "machine", "policy", "pickling", "verifying"},
    "arguments": {"__init__", "errors"},
    "cli": {"errors", "arguments", "commands", "__init__"},
    # One module for each kind of command, which `commands` imports by name once it is asked for; `asking` and `telling` serve all.
    "commands": {"commands.asking"},
    "commands.asking": {"errors", "keys", "keyring", "container", "policy", "configuring", "selecting", "arguments"},
    "commands.telling": {"errors", "files", "reporting", "selecting", "commands.asking"},
    "commands.keying": {"errors", "files", "keys", "keyring", "container", "verifying", "commands.asking", "commands.telling"},
    "commands.reviewing": {
        "errors",
        "policy",
        "pins",
        "verifying",
        "lockfile",
        "baseline",
        "gate",
        "rendering",
        "selecting",
        "arguments",
        "commands.asking",
        "commands.telling",
    },
    "commands.gating": {
        "errors",
        "keyring",
        "container",
        "baseline",
        "openssf",
        "formats",
        "gate",
        "rendering",
        "__init__",
        "commands.asking",
        "commands.telling",
        "commands.reviewing",
    },
    "commands.looking": {
        "errors",
        "container",
        "policy",
        "verifying",
        "revisions",
        "differing",
        "scanning",
        "reporting",
        "rendering",
        "walking",
        "selecting",
        "suggesting",
        "__init__",
        "commands.asking",
        "commands.telling",
    },
    "commands.bringing": {"errors", "walking", "converting", "demo", "commands.asking", "commands.telling"},
    "__main__": {"cli"},
    # Adapters stand on the public names, and on what a key outside the package is made of and what errors do not repeat.
    "integrations": set(),
    "integrations.remote": {"__init__", "errors", "keys"},
    "integrations.aws_kms": {"__init__", "keys", "integrations.remote"},
    "integrations.pkcs11": {"__init__", "keys", "integrations.remote"},
    "integrations.vault": {"__init__", "keys", "integrations.remote"},
}
COMMANDS = {name for name in BELOW if name.startswith("commands.")}
# Modules that may import what only one module of ours should.
ONLY: dict[str, set[str]] = {
    # demo makes hostile pickles to show that they are refused; below it is tested that it only dumps. atoms decodes runs of plain constants.
    # original loads one without any check, in a process of its own: below it is tested that nobody imports it.
    "pickle": {"pickling", "demo", "atoms", "original"},
    "copyreg": {"pickling"},
    # keys signs and verifies what containers are signed with; openssf verifies what a foreign tool signed, also on curves that keys has not.
    "cryptography": {"keys", "openssf"},
    "argparse": {"arguments", "commands", *COMMANDS},
    "tomllib": {"policy", "files", "gadgets"},
    # gate reads the versions of what is installed, and scanning asks whether there is a module of a name; they import none of it.
    # keys finds an adapter of a key service when a URI names one; adapters stand above it. chunks finds zstd, by either of its two names.
    # commands loads the module of the command that was asked for.
    "importlib": {"__init__", "pickling", "keys", "chunks", "gate", "scanning", "commands"},
    # revisions asks git for a file of a revision.
    "subprocess": {"demo", "rehearsing", "converting", "revisions"},
    # comparing reads inputs and writes answers, without pickle.
    "numpy": {"demo", "comparing"},
    "pandas": {"demo", "comparing"},
    "sklearn": {"demo"},
    "tqdm": {"commands.telling"},
    "boto3": {"integrations.aws_kms"},
    "botocore": {"integrations.aws_kms"},
    "pkcs11": {"integrations.pkcs11"},
    "http": {"integrations.vault"},
    "ssl": {"integrations.vault"},
    "joblib": {"original"},
    **{name: set() for name in ("_pickle", "marshal", "shelve", "dill", "cloudpickle", "scipy", "ctypes", "pty", "code", "runpy")},
}


def imported(module: str) -> Iterator[tuple[str, str]]:
    """Yield ("ours" or "foreign", name) for each import, those within functions and `if TYPE_CHECKING` included."""
    package = module if any(name.startswith(f"{module}.") for name in MODULES) else module.rpartition(".")[0]
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Import):
            for each in node.names:
                first, _, rest = each.name.partition(".")
                yield ("ours", rest or "__init__") if first == "safepickle" else ("foreign", first)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level or origin.partition(".")[0] == "safepickle":
                inner = ".".join(filter(None, (package, origin))) if node.level else origin.partition(".")[2]
                for each in node.names:
                    longer = ".".join(filter(None, (inner, each.name)))
                    yield "ours", longer if longer in MODULES else inner or "__init__"
            else:
                yield "foreign", origin.partition(".")[0]


def ours(module: str) -> set[str]:
    return {name for kind, name in imported(module) if kind == "ours"}


def foreign(module: str) -> set[str]:
    return {name for kind, name in imported(module) if kind == "foreign"}


# --- imports ----------------------------------------------------------------------------------------------------


def test_these_rules_are_about_enough_modules():
    assert {"errors", "keys", "container", "machine", "policy", "pickling", "cli"} <= set(MODULES)
    assert ours("pickling") >= {"container", "machine", "policy"}, "the reader of imports reads none"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_what_stands_below_it(module: str):
    """Who can be reached from where is how a reviewer knows what a module can do."""
    assert module in BELOW, f"enter {module} in the table of this file"
    assert ours(module) - BELOW[module] == set()


def test_the_staircase_itself_has_no_cycle_and_nobody_imports_the_command():
    order: list[str] = []
    left = dict(BELOW)
    while left:
        free = sorted(name for name, below in left.items() if not below & left.keys())
        assert free, f"a cycle among {sorted(left)}"
        order += free
        left = {name: below for name, below in left.items() if name not in free}
    assert [module for module in MODULES if "cli" in ours(module)] in ([], ["__main__"])
    assert [module for module in MODULES if "demo" in ours(module)] == ["commands.bringing"]


@pytest.mark.parametrize("name", sorted(ONLY))
def test_what_only_one_module_should_import_no_other_imports(name: str):
    assert {module for module in MODULES if name in foreign(module)} <= ONLY[name]


def test_adapters_take_only_public_names():
    """They are what others would write outside the package."""
    taken = [
        (module, node.module, each.name)
        for module, tree in MODULES.items()
        if module.startswith("integrations.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "safepickle"
        for each in node.names
    ]
    assert len(taken) > 10
    assert [each for each in taken if each[2].startswith("_")] == []
    assert [each for each in taken if each[1] == "safepickle" and each[2] not in safepickle.__all__] == []


def test_pickle_is_executed_in_one_place():
    """`demo` may make pickles, never read one; `pickling` reads with its own unpickler only, `atoms` what holds nothing but constants."""
    used = {
        module: {
            node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pickle"
        }
        for module, tree in MODULES.items()
    }
    assert used["demo"] <= {"dumps"}
    assert used["pickling"] <= {"PickleBuffer", "Pickler", "PicklingError", "Unpickler"}
    assert used["atoms"] == {"Unpickler"}
    assert used["original"] == {"load"}
    assert [module for module, names in used.items() if names and module not in {"demo", "pickling", "atoms", "original"}] == []
    imported_from = [node for tree in MODULES.values() for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "pickle"]
    assert imported_from == []


def test_the_original_is_loaded_only_by_a_process_that_was_started_for_it():
    """Nobody imports the module, and whoever does finds nothing in it: no function, no class, neither pickle nor joblib."""
    assert [module for module in MODULES if "original" in ours(module)] == []
    docstring, future, names, guarded = MODULES["original"].body
    assert isinstance(docstring, ast.Expr)
    assert isinstance(future, ast.ImportFrom)
    assert isinstance(names, ast.AnnAssign)
    assert ast.unparse(guarded).startswith("if __name__ == '__main__':")
    assert loaded_by("import safepickle.original") & {"pickle", "joblib", "numpy", "safepickle.comparing"} == set()
    started = [
        module
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value == "safepickle.original"
    ]
    assert started == ["converting"]


def test_arrays_are_read_and_written_without_pickle():
    """numpy.load executes pickles if it may, and numpy.save makes them."""
    calls = [
        {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        for node in ast.walk(MODULES["comparing"])
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"numpy.load", "numpy.save"}
    ]
    assert len(calls) == 3
    assert all(call["allow_pickle"] == "False" for call in calls)
    assert "numpy.savez" not in ast.unparse(MODULES["comparing"])


def test_nothing_evaluates_text():
    found = [
        (module, node.func.id)
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"eval", "exec", "compile", "__import__"}
    ]
    assert found == []


def test_nothing_is_validated_by_assert():
    """`python -O` drops assertions."""
    assert [module for module, tree in MODULES.items() if any(isinstance(node, ast.Assert) for node in ast.walk(tree))] == []


def test_no_handler_is_bare():
    found = [module for module, tree in MODULES.items() for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.type is None]
    assert found == []


# --- what is loaded ---------------------------------------------------------------------------------------------

HEAVY = {"numpy", "sklearn", "scipy", "pandas", "joblib", "pyarrow", "cryptography", "argparse", "tqdm", "subprocess", "ctypes"}
HEAVY |= {"boto3", "botocore", "pkcs11", "ssl", "http"}


def loaded_by(statement: str) -> set[str]:
    child = subprocess.run([sys.executable, "-c", f"import sys\n{statement}\nprint(*sys.modules)"], capture_output=True, text=True, check=True)
    return set(child.stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    loaded = loaded_by("import safepickle")
    assert loaded & HEAVY == set()
    assert loaded & {"pickle", "_pickle", "tomllib"} == set()


def test_a_verifier_loads_neither_pickle_nor_the_policy():
    """What is not there cannot be tricked into running: `verify` never unpickles."""
    statement = """
import io, safepickle
from safepickle import container
key = safepickle.SecretKey.from_bytes(bytes(range(40)))
data = b"".join(container.seal(b"x", [], safepickle.Keyring(key)))
assert safepickle.verify(io.BytesIO(data), key=key).authenticated
assert not safepickle.inspect(io.BytesIO(data)).authenticated
"""
    loaded = loaded_by(statement)
    assert "safepickle.container" in loaded
    assert loaded & {"pickle", "_pickle", "numpy", "safepickle.pickling", "safepickle.policy", "safepickle.machine", "tomllib"} == set()


def test_dump_and_load_of_plain_data_load_no_library():
    loaded = loaded_by("import safepickle\nkey = bytes(range(40))\nassert safepickle.loads(safepickle.dumps([1], key=key), key=key) == [1]")
    assert loaded & (HEAVY - {"cryptography", "subprocess", "ctypes"}) == set()


def test_it_works_without_the_optional_libraries():
    """As in an environment in which only `cryptography` is installed."""
    statement = """
class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"numpy", "sklearn", "scipy", "pandas", "joblib", "tqdm", "pyarrow"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nowhere())
import safepickle, safepickle.cli
key = bytes(range(40))
value = {"a": [1, 2.5, None, True, "x", b"y", (1,), {2}, frozenset({3}), 1 << 80, bytearray(b"z")]}
assert safepickle.loads(safepickle.dumps(value, key=key), key=key) == value
"""
    assert "numpy" not in loaded_by(statement)


def test_importing_changes_nothing_of_the_process():
    """No registries, no monkey-patching, no handlers: an import has no effect but names."""
    statement = """
import copyreg, signal, threading, typing, warnings, pickle
def state():
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGSEGV)]
    return dict(copyreg.dispatch_table), warnings.filters[:], handlers, threading.active_count(), pickle.Unpickler, list(sys.meta_path)
before = state()
import safepickle, safepickle.pickling, safepickle.policy
assert state() == before
"""
    loaded_by(statement)


# --- errors -----------------------------------------------------------------------------------------------------


def test_every_error_is_a_safepickle_error_and_none_a_pickle_error():
    """Caches swallow `PickleError` as a miss and build anew; they must not swallow a forgery."""
    found = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, BaseException)]
    assert {each.__name__ for each in found} == set(errors.__all__) - {"elided", "escaped", "told"}
    assert len(found) >= 11
    for each in found:
        if issubclass(each, Warning):
            assert issubclass(each, UserWarning)
        else:
            assert issubclass(each, errors.SafePickleError)
        assert not issubclass(each, (pickle.PickleError, ValueError, OSError, LookupError, ArithmeticError, RuntimeError, EOFError, ImportError))
        assert getattr(safepickle, each.__name__) is each


def test_could_not_check_is_caught_by_did_not_hold():
    """Whoever catches the general class fails closed."""
    assert issubclass(errors.UnknownKeyError, errors.AuthenticationError)
    assert issubclass(errors.UnsignedError, errors.FormatError)
    assert issubclass(errors.LimitError, errors.ProgramError)
    stages = (errors.KeyringError, errors.FormatError, errors.AuthenticationError, errors.ProgramError, errors.PolicyError, errors.StateError)
    assert not [(a, b) for a in stages for b in stages if a is not b and issubclass(a, b)]


def test_all_that_is_raised_by_name_is_a_class_that_a_caller_may_catch():
    """`raise` of a general class leaves a caller nothing to catch."""
    raised = {
        (module, node.exc.func.id)
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name)
    }
    assert len(raised) > 10
    assert [
        each
        for each in raised
        if each[1] in {"Exception", "BaseException", "RuntimeError", "AssertionError", "SafePickleError", "NotImplementedError"}
    ] == []


# --- public names -----------------------------------------------------------------------------------------------


def test_the_public_names_can_be_imported_and_there_are_no_others():
    assert sorted(safepickle.__all__) == list(safepickle.__all__)
    assert len(set(safepickle.__all__)) == len(safepickle.__all__)
    for name in safepickle.__all__:
        assert getattr(safepickle, name) is not None
        assert name in dir(safepickle)
    everything: dict[str, object] = {}
    exec("from safepickle import *", everything)
    assert set(safepickle.__all__) <= everything.keys()
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = safepickle.nonsense


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"__init__", "__main__"}))
def test_a_module_exports_what_it_defines(module: str):
    loaded = __import__(f"safepickle.{module}", fromlist=["*"])
    assert loaded.__doc__
    for name in loaded.__all__:
        assert hasattr(loaded, name)


def public(tree: ast.Module, names: set[str]) -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef]]:
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name in names:
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                        yield f"{node.name}.{inner.name}", inner


def test_every_public_function_class_and_method_has_a_docstring():
    names = set(safepickle.__all__)
    found = [(f"{module}.{name}", ast.get_docstring(node)) for module, tree in MODULES.items() for name, node in public(tree, names)]
    assert len(found) > 35
    assert [name for name, docstring in found if not docstring] == []


def test_public_functions_take_the_key_by_name_and_have_no_default_for_it():
    """A positional key ends in the wrong place, and a default key is no key."""
    import inspect

    for name in ("convert", "dump", "dumps", "load", "loads", "verify"):
        parameter = inspect.signature(getattr(safepickle, name)).parameters["key"]
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert parameter.default is inspect.Parameter.empty
    for name in ("adopt", "convert", "dump", "dumps", "load", "loads", "scan", "verify", "inspect"):
        kinds = [parameter.kind for parameter in inspect.signature(getattr(safepickle, name)).parameters.values()]
        assert inspect.Parameter.VAR_KEYWORD not in kinds, "**kwargs swallow a misspelt context="
        assert inspect.Parameter.VAR_POSITIONAL not in kinds


def test_nothing_offers_to_skip_a_check():
    """No `unsafe=True`, no `trusted=`, no `verify=False`."""
    words = {"unsafe", "trusted", "trust", "verify", "skip", "insecure", "force", "no_verify", "weights_only", "allow_all", "check"}
    for name in safepickle.__all__:
        value = getattr(safepickle, name)
        if callable(value) and not isinstance(value, type):
            assert not words & set(value.__code__.co_varnames[: value.__code__.co_argcount + value.__code__.co_kwonlyargcount]), name


def test_docstrings_and_sources_compile_without_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in SOURCES:
            compile(path.read_text("utf-8"), str(path), "exec")


# --- the repository ---------------------------------------------------------------------------------------------

ALLOWED_AT_TOP = {
    "pyproject.toml", "safepickle", "tests", "SECURITY.md", "README.md", "SPEC.md", "CHANGELOG.md", "LICENSE", "benchmarks", "examples", "docs",
    ".ci", ".pre-commit-hooks.yaml", "action.yml", ".gitignore", "mkdocs.yml", "noxfile.py", "CONTRIBUTING.md",
}  # fmt: skip


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, capture_output=True, text=True)
    return listed.stdout.split("\0")[:-1] if listed.returncode == 0 else []


@pytest.mark.skipif(not (TOP / ".git").exists(), reason="not a git checkout")
def test_the_top_level_holds_only_what_belongs_there():
    files = tracked()
    assert {"pyproject.toml", "LICENSE"} <= set(files)
    assert {name.partition("/")[0] for name in files} - ALLOWED_AT_TOP == set()


def test_each_session_of_nox_is_documented():
    functions = [node for node in ast.walk(ast.parse((TOP / "noxfile.py").read_text("utf-8"))) if isinstance(node, ast.FunctionDef)]
    sessions = {node.name for node in functions if any("nox.session" in ast.unparse(each) for each in node.decorator_list)}
    assert len(sessions) > 7
    assert set(re.findall(r"`nox -s (\w+)", (TOP / "CONTRIBUTING.md").read_text("utf-8"))) >= sessions


@pytest.mark.skipif(not (TOP / ".git").exists(), reason="not a git checkout")
def test_no_pickle_or_key_is_in_the_repository():
    endings = (".pkl", ".pickle", ".joblib", ".npy", ".npz", ".pem", ".key", ".pyc", ".so")
    # What each version left for later ones: keys that are known to everybody, and say so beside them.
    left = re.compile(r"tests/compat/\d+\.\d+\.\d+/[a-z0-9+-]+\.(key|key\.pem|pub\.pem)")
    assert [name for name in tracked() if name.endswith(endings) and not left.fullmatch(name)] == []


@pytest.mark.parametrize("module", sorted(set(safepickle._LATER.values())))
def test_a_module_with_public_names_is_an_attribute_once_it_is_asked_for(module: str):
    """As docs/remote-keys.md says it: `safepickle.keys.signed_message`."""
    script = f"import safepickle\nassert safepickle.{module}.__name__ == 'safepickle.{module}'\nassert not hasattr(safepickle, 'nothing')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
