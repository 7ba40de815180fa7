"""Mutation testing of the kernel: change one thing in a module, run tests that reach it, and see whether one of them fails.

    python tests/mutants/run.py errors policy --seconds 3600

A mutant is a module compiled from a changed syntax tree; nothing is written to the package. The process loads pytest and the libraries, never
safepickle, and forks.

1. Recording. Each file of tests runs once, unchanged, under coverage: which lines of the module each test reaches and what it costs, and which
   lines run before any test does (import and collection). It is kept in STATE and made anew when the module or the file changes. A test that
   fails under coverage is left out, and named.
2. Mutants of statements that do not run before the tests. One process imports safepickle and collects; it forks for each mutant, and the child
   puts the changed code into the function. As the statement did not run before the fork, and nothing outside of the function differs, this is
   the same as importing the changed module. Where importing or collecting some of the files runs the statement, the process collects the others.
3. All others: constants, tables, defaults, decorators, what runs at import. The process without safepickle forks for each; the child imports the
   changed module and collects, so no test sees a value that the unchanged module computed.

In both the tests are those that reach the changed statement (for a constant: tests written for mutants, then statements that use its name, then
all), first those that killed neighbours, then one parametrization of each test function, cheapest first, for FIRST_SECONDS of CPU (3.:
FIRST_SECONDS_OUTSIDE). What survives is run once more (stage 2) with all that reach it, also of the slow files in MORE, for ALL_SECONDS of CPU;
the result says how many of how many tests ran. Only tests that start another Python see the unchanged module. Every fiftieth fork has no mutant
in it and must survive, or the runner stops.

Outcomes: `killed` (a test failed, or a signal ended the process), `import` (the module or a file of tests does not import with the mutant),
`timeout` (a test took ten times its CPU and three seconds, or waited for 45 seconds without using CPU), `survived`. Everything else, such as a
usage error of pytest, stops the runner.

Mutants are run in a random order of a fixed seed, so what was run when the time is over is a random sample. Results are lines of JSON in STATE,
one file for each text of a module: a run goes on where the last one ended. Where the text is new, results of earlier texts hold for top-level
functions, classes and statements that did not change. `--again` runs the survivors once more, after tests were added; `--report` runs nothing.
README.md beside this file says how far it went.

Not mutated: annotations, docstrings, `__all__`, `__slots__` (a name that is missing there fails at the first assignment), and what is wording:
the text within `raise`, text of four words and more or that begins with an article, and pieces of f-strings with a blank in them. Nothing of
the kernel compares input with such texts.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc
import hashlib
import importlib.machinery
import importlib.util
import inspect
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple

TOP = Path(__file__).resolve().parents[2]
STATE = Path(os.environ.get("MUTANTS_STATE", "/tmp/mutants-state"))
# For each module the tests that may reach its mutants: those of both stages, and slower ones of the second alone.
TESTS: dict[str, list[str]] = {
    "errors": ["test_mutants_errors.py"],
    "policy": ["test_mutants_policy.py", "test_policy.py"],
    "container": ["test_mutants_container.py", "test_vectors.py"],
    "machine": ["test_mutants_machine.py", "test_machine.py"],
    "circles": ["test_met.py", "test_mutants_machine.py"],
    "keys": ["test_mutants_keys.py", "test_keys.py", "attacks/test_keys.py", "attacks/test_keys_again.py", "test_keyring.py"],
}
MORE: dict[str, list[str]] = {
    "container": ["test_container.py"],
    "policy": ["attacks/test_review.py", "attacks/test_hostile_programs.py"],
    "machine": ["test_atoms.py", "attacks/test_circles.py", "attacks/test_hostile_programs.py"],
    "circles": ["attacks/test_circles.py"],
    "keys": ["test_openssf.py", "test_vectors.py"],
}

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult, ast.Div: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitAnd, ast.Break: ast.Continue, ast.Continue: ast.Break, ast.USub: ast.UAdd,
}  # fmt: skip


class Mutant(NamedTuple):
    """One change. `key` stays the same when lines move, `lines` are those of its statement, `within` is a digest of the top-level statement."""

    key: str
    line: int
    lines: range
    names: frozenset[str]
    within: str
    compiled: Callable[[], CodeType]

    @property
    def scope(self) -> str:
        return self.key.partition(": ")[0]


def negated(test: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.Not(), test)


def changes(node: ast.AST) -> Iterator[tuple[str, Any, Any]]:
    """Yield (field, old value, new value) for each change of one node; a list is changed by a new list."""
    for field in ("op", "ops"):
        value = getattr(node, field, None)
        if isinstance(value, list):
            for at, each in enumerate(value):
                yield field, value, [*value[:at], SWAPS[type(each)](), *value[at + 1 :]]
        elif type(value) in SWAPS:
            yield field, value, SWAPS[type(value)]()
    match node:
        case ast.Constant(value=bool() as value):
            yield "value", value, not value
        case ast.Constant(value=int() | float() as value):
            yield "value", value, value + 1
        case ast.Constant(value=str() as value) if value.count(" ") < 3 and not value.startswith(("a ", "an ", "the ")):
            yield "value", value, "XX" + value
        case ast.Constant(value=bytes() as value):
            yield "value", value, b"XX" + value
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "operand", operand, negated(operand)
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) if not isinstance(test, (ast.Compare, ast.UnaryOp)):
            yield "test", test, negated(test)
        case ast.comprehension(ifs=ifs):
            for at, each in enumerate(ifs):
                yield "ifs", ifs, [*ifs[:at], negated(each), *ifs[at + 1 :]]
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield "value", value, ast.Constant(None)
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield "value", value, ast.Constant(None)
        case ast.Call(keywords=keywords):
            for at in range(len(keywords)):
                yield "keywords", keywords, keywords[:at] + keywords[at + 1 :]
    for field in ("body", "orelse", "finalbody"):
        block = getattr(node, field, None)
        for at, each in enumerate(block if isinstance(block, list) else []):
            if isinstance(each, (ast.Raise, ast.AugAssign, ast.Break, ast.Continue)) or (
                isinstance(each, ast.Expr) and isinstance(each.value, ast.Call)
            ):
                yield field, block, [*block[:at], ast.Pass(), *block[at + 1 :]]


class Place(NamedTuple):
    """A node that may be changed, the qualified name of what it stands in, and the statement and top-level statement of it."""

    node: ast.AST
    scope: str
    statement: ast.AST
    top: ast.AST


def places(node: ast.AST, scope: str = "", statement: ast.AST | None = None, top: ast.AST | None = None) -> Iterator[Place]:
    if isinstance(node, (ast.stmt, ast.ExceptHandler, ast.match_case)):
        statement, top = node, top or node
    yield Place(node, scope, statement or node, top or node)
    inner = scope
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        inner = f"{scope}.{node.name}" if scope else node.name
    for field, value in ast.iter_fields(node):
        if field in {"annotation", "returns"} or (field == "exc" and isinstance(node, ast.Raise)):
            continue
        for each in value if isinstance(value, list) else [value]:
            docstring = isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)
            listed = isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) in {"__all__", "__slots__"}
            future = isinstance(each, (ast.Import, ast.ImportFrom))
            wording = isinstance(node, ast.JoinedStr) and isinstance(each, ast.Constant) and " " in each.value and "\n" not in each.value
            if isinstance(each, ast.AST) and not (
                docstring or wording or listed or future or isinstance(each, (ast.operator, ast.cmpop, ast.boolop))
            ):
                yield from places(each, inner, statement, top)


def lines_of(statement: Any) -> range:
    """Return the lines of a statement, without those of statements within it."""
    begin = getattr(statement, "pattern", statement).lineno
    begin = min([begin, *(each.lineno for each in getattr(statement, "decorator_list", []))])
    inner = getattr(statement, "body", None) or getattr(statement, "cases", None)
    if isinstance(inner, list):
        return range(begin, max(begin, getattr(inner[0], "pattern", inner[0]).lineno - 1) + 1)
    return range(begin, statement.end_lineno + 1)


def names_of(statement: Any) -> frozenset[str]:
    """Return the names that a statement outside of functions gives a value to."""
    targets = getattr(statement, "targets", [getattr(statement, "target", None)])
    found = {each.id for target in targets if target for each in ast.walk(target) if isinstance(each, ast.Name)}
    return frozenset(found | {statement.name} if isinstance(statement, (ast.FunctionDef, ast.ClassDef)) else found)


def shown(node: ast.AST) -> str:
    text = ast.unparse(node)
    first = text.partition("\n")[0]
    return first if len(first) < 100 else first[:97] + "..."


def mutants(source: str, filename: str) -> list[Mutant]:
    """Return every mutant of a module, in the order of its text."""
    made: list[Mutant] = []
    seen: Counter[str] = Counter()
    module = ast.parse(source)
    digests = {id(each): hashlib.sha256(ast.unparse(each).encode()).hexdigest()[:12] for each in module.body}
    for node, scope, statement, top in list(places(module)):
        for field, old, new in changes(node):
            where = statement
            if field in {"body", "orelse", "finalbody"}:
                at = next(at for at, each in enumerate(old) if each is not new[at])
                where = old[at]
                top = top if top is not module else where
                before, after, line = shown(where), "pass", where.lineno
            else:
                before, line = shown(node), getattr(node, "lineno", getattr(getattr(node, "target", None), "lineno", 0))
                setattr(node, field, new)
                after = shown(node)
                setattr(node, field, old)
            key = f"{scope or 'module'}: {before} -> {after}"
            seen[key] += 1
            make = partial(compiled, module, filename, node, field, old, new)
            names = names_of(where) | names_of(top)
            made.append(Mutant(f"{key} #{seen[key]}", line, lines_of(where), names, digests[id(top)], make))
    return made


def compiled(module: ast.Module, filename: str, node: ast.AST, field: str, old: Any, new: Any) -> CodeType:
    """Return the module's code with the change in it; the tree is as it was afterwards."""
    setattr(node, field, new)
    try:
        return compile(ast.fix_missing_locations(module), filename, "exec")
    finally:
        setattr(node, field, old)


class Changed(importlib.machinery.SourceFileLoader):
    """Loads one module from code that is not in its file."""

    def __init__(self, fullname: str, path: str, code: CodeType) -> None:
        super().__init__(fullname, path)
        self.changed = code

    def get_code(self, fullname: str) -> CodeType:
        return self.changed


class Finder:
    def __init__(self, fullname: str, path: str, code: CodeType) -> None:
        self.fullname, self.path, self.code = fullname, path, code

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != self.fullname:
            return None
        return importlib.util.spec_from_file_location(name, self.path, loader=Changed(name, self.path, self.code))


def functions_that_differ(old: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType] | None]:
    """Yield the outermost functions that differ, as they were and as they are, and None for a difference outside of functions."""
    if old == new:
        return
    if old.co_flags & inspect.CO_OPTIMIZED:
        yield old, new
        return
    bare = [code.replace(co_consts=tuple(None if isinstance(each, CodeType) else each for each in code.co_consts)) for code in (old, new)]
    if bare[0] != bare[1]:
        yield None
        return
    for before, after in zip(old.co_consts, new.co_consts, strict=True):
        if isinstance(before, CodeType):
            yield from functions_that_differ(before, after) if isinstance(after, CodeType) else [None]


def codes_within(code: CodeType) -> Iterator[CodeType]:
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield each
            yield from codes_within(each)


class Replacing:
    """Puts changed code into functions."""

    def __init__(self, original: CodeType) -> None:
        self.original = original
        self.functions: dict[tuple[str, int], list[FunctionType]] = {}
        for each in gc.get_objects():
            if isinstance(each, FunctionType) and each.__code__.co_filename == original.co_filename:
                self.functions.setdefault((each.__code__.co_qualname, each.__code__.co_firstlineno), []).append(each)

    def found(self, code: CodeType) -> list[tuple[FunctionType, CodeType]] | None:
        """Return the functions and their new code, or None if replacing is not the same as importing."""
        pairs: list[tuple[FunctionType, CodeType]] = []
        for change in functions_that_differ(self.original, code):
            if change is None:
                return None
            before, after = change
            functions = self.functions.get((before.co_qualname, before.co_firstlineno), [])
            if before.co_freevars != after.co_freevars or not functions or any(each.__code__ != before for each in functions):
                return None
            pairs += [(each, after) for each in functions]
            # Functions that it has made before, as a decorator or a closure does.
            changed = {(each.co_qualname, each.co_firstlineno): each for each in codes_within(after)}
            for inner in codes_within(before):
                name = inner.co_qualname, inner.co_firstlineno
                for each in self.functions.get(name, []):
                    if each.__code__ != inner or name not in changed or changed[name].co_freevars != inner.co_freevars:
                        return None
                    pairs.append((each, changed[name]))
        return pairs


class Note:
    """A place of fixed size that a child writes into and its parent reads."""

    SIZE = 4096

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the runner

    def write(self, **entry: Any) -> None:
        os.pwrite(self.file.fileno(), json.dumps(entry).encode()[: self.SIZE].ljust(self.SIZE), 0)

    def read(self) -> dict[str, Any]:
        return dict(json.loads(os.pread(self.file.fileno(), self.SIZE, 0) or b"{}"))


# What a child that runs tests exits with: all passed, one failed, the mutant does not import.
PASSED, FAILED, NOT_IMPORTED = 0, 1, 10


class Plugin:
    """Gives the collected tests to `act` instead of running them; while `note` is set, the first failure ends the process."""

    def __init__(self, act: Callable[[Any], None], note: Note | None = None) -> None:
        self.act, self.note = act, note
        self.ran = 0
        self.failed: set[str] = set()

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and self.note:
            self.note.write(by=f"{report.nodeid} cannot be collected", ran=0)
            os._exit(NOT_IMPORTED)

    def pytest_runtestloop(self, session: Any) -> bool:
        self.act(session)
        return True

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed.add(report.nodeid)
            if self.note:
                self.note.write(by=report.nodeid[:1000], ran=self.ran)
                os._exit(FAILED)

    def run(self, items: Sequence[Any], costs: dict[str, float], seconds: float, note: Note) -> None:
        """Run tests until one fails, or the CPU seconds are over, and end the process."""
        self.note = note
        began = time.process_time()
        for self.ran, item in enumerate(items):
            note.write(by=item.nodeid[:1000], ran=self.ran)
            # Ends the process by SIGPROF, in C code as well.
            signal.setitimer(signal.ITIMER_PROF, 3 + 10 * costs.get(item.nodeid, 1))
            following = items[self.ran + 1] if self.ran + 1 < len(items) else None
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if time.process_time() - began > seconds:
                break
        note.write(by="", ran=self.ran + 1 if items else 0)
        os._exit(PASSED)


def alone(base: Path) -> None:
    """Make this process one whose output and files nobody sees."""
    # A group, not a session: the priority that was given to a session holds for the children too.
    os.setpgid(0, 0)
    silent = os.open(os.devnull, os.O_RDWR)
    for each in (0, 1, 2):
        os.dup2(silent, each)
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    base.mkdir(parents=True, exist_ok=True)
    # Not the checkout: with a mutant in it a program may write to what it takes for a path.
    os.chdir(base)


def collected(files: Iterable[str], plugin: Plugin, base: Path) -> None:
    """Collect tests and hand them to the plugin. Returns only if pytest did something else."""
    import pytest

    # Tracebacks of pytest parse the file of the test, which takes longer than the test.
    options = ["-q", "-s", "--tb=native", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly", f"--basetemp={base / 'tests'}"]
    options += [f"--rootdir={TOP}", f"--config-file={TOP / 'pyproject.toml'}"]
    pytest.main([*options, *(f"{TOP}/tests/{each}" for each in files)], plugins=[plugin])


def forked(child: Callable[[Path], None], note: Note, *, patient: bool = False) -> tuple[int, float]:
    """Run something in a fork. Returns how it ended and its CPU seconds.

    One that waits for 45 seconds without using CPU is ended as if by SIGPROF, unless the caller is patient.
    """
    base = STATE / f"base-{os.getpid()}"
    note.write(by="", ran=0)
    process = os.fork()
    if process == 0:
        status = 70
        try:
            alone(base)
            child(base)
        except BaseException as error:
            note.write(by=repr(error)[:1000], ran=0)
        finally:
            os._exit(status)
    handle = os.pidfd_open(process)
    used, since, waited = "", time.monotonic(), False
    while not select.select([handle], [], [], 5)[0]:
        now = " ".join(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:15])
        if now != used:
            used, since = now, time.monotonic()
        elif time.monotonic() - since > 45 and not patient:
            waited = True
            os.kill(process, signal.SIGKILL)
    os.close(handle)
    _, status, usage = os.wait4(process, 0)
    # What the tests started and left behind.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process, signal.SIGKILL)
    shutil.rmtree(base, ignore_errors=True)
    return -signal.SIGPROF if waited else os.waitstatus_to_exitcode(status), round(usage.ru_utime + usage.ru_stime, 2)


def outcome(ended: int, note: Note) -> str:
    if ended == PASSED:
        return "survived"
    if ended == NOT_IMPORTED:
        return "import"
    if ended == -signal.SIGPROF:
        return "timeout"
    # Those two come from whoever stops the run.
    if ended == FAILED or (ended < 0 and -ended not in (signal.SIGTERM, signal.SIGINT)):
        return "killed"
    sys.exit(f"a child ended with {ended}, which says nothing about a mutant: {note.read()}")


# --- recording -------------------------------------------------------------------------------------------------


class Recorded(NamedTuple):
    """What is known of the tests of a module: of each file the lines that run before its tests, of each test its file, lines and CPU seconds."""

    before: dict[str, frozenset[int]]
    files: dict[str, str]
    lines: dict[str, frozenset[int]]
    costs: dict[str, float]


def record(name: str, path: Path, target: Path) -> Callable[[Path], None]:
    """Return what runs one file of tests under coverage and writes what it learned."""

    def child(base: Path) -> None:
        import coverage

        measured = coverage.Coverage(data_file=None, include=[str(path)], config_file=False, messages=False)
        measured.start()
        costs: dict[str, float] = {}

        def act(session: Any) -> None:
            before = measured.get_data().lines(str(path)) or []
            for at, item in enumerate(session.items):
                measured.switch_context(f"{at}")
                began = sum(os.times()[:4])
                following = session.items[at + 1] if at + 1 < len(session.items) else None
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                costs[item.nodeid] = round(sum(os.times()[:4]) - began, 3)
            measured.stop()
            lines: dict[str, list[int]] = {item.nodeid: [] for item in session.items}
            for line, contexts in measured.get_data().contexts_by_lineno(str(path)).items():
                for context in contexts:
                    if context:
                        lines[session.items[int(context)].nodeid].append(line)
            tests = {nodeid: {"cpu": costs[nodeid], "lines": lines[nodeid]} for nodeid in lines if nodeid not in plugin.failed}
            target.write_text(json.dumps({"before": before, "tests": tests, "failed": sorted(plugin.failed)}))
            os._exit(PASSED)

        plugin = Plugin(act)
        collected([name], plugin, base)

    return child


def recorded(module: str, files: Sequence[str], path: Path, note: Note) -> Recorded:
    """Return what is known of the tests of a module, after recording what is not known yet."""
    known = Recorded({}, {}, {}, {})
    for name in files:
        digest = hashlib.sha256(path.read_bytes() + (TOP / "tests" / name).read_bytes()).hexdigest()[:12]
        target = STATE / f"record-{module}-{name.replace('/', '-')}-{digest}.json"
        if not target.exists():
            ended, cpu = forked(record(name, path, target), note)
            if ended != PASSED:
                sys.exit(f"recording {name} ended with {ended}: {note.read()}")
            print(f"{module}: recorded {name} in {cpu} s of CPU", flush=True)
        found = json.loads(target.read_text())
        if found["failed"]:
            print(f"{module}: left out, as they fail under coverage: {', '.join(found['failed'])}", flush=True)
        known.before[name] = frozenset(found["before"])
        for nodeid, test in found["tests"].items():
            known.files[nodeid], known.lines[nodeid], known.costs[nodeid] = name, frozenset(test["lines"]), test["cpu"]
    return known


# --- choosing --------------------------------------------------------------------------------------------------


class Choosing:
    """Says which tests are to be run on a mutant, in which order."""

    def __init__(self, source: str, known: Recorded) -> None:
        self.known = known
        self.tree = ast.parse(source)
        self.killers: dict[str, Counter[str]] = {}
        self.functions = [each for each in ast.walk(self.tree) if isinstance(each, ast.FunctionDef)]
        self.ranked: list[str] = []
        ranks: Counter[str] = Counter()
        order = sorted(known.costs, key=lambda nodeid: (known.costs[nodeid], nodeid))
        rank = {}
        for nodeid in order:
            function = nodeid.partition("[")[0]
            rank[nodeid] = ranks[function]
            ranks[function] += 1
        self.ranked = sorted(order, key=lambda nodeid: (rank[nodeid], known.costs[nodeid], nodeid))

    def users(self, names: frozenset[str]) -> set[int]:
        """Return the lines within functions that use one of the names, or a name outside of functions that is made of one."""
        wanted, size = set(names), -1
        while size != len(wanted):
            size = len(wanted)
            for each in self.tree.body:
                if isinstance(each, (ast.Assign, ast.AnnAssign)) and any(
                    isinstance(node, ast.Name) and node.id in wanted for node in ast.walk(each.value or each)
                ):
                    wanted |= names_of(each)
        return {
            node.lineno
            for function in self.functions
            for each in function.body
            for node in ast.walk(each)
            if (isinstance(node, ast.Name) and node.id in wanted) or (isinstance(node, ast.Attribute) and node.attr in wanted)
        }

    def tests(self, mutant: Mutant, *, outside: bool) -> list[str]:
        """Return the tests that reach the mutant; for one outside of functions all tests, first those that use its names."""
        lines = set(mutant.lines)
        reaching = [nodeid for nodeid in self.ranked if self.known.lines[nodeid] & lines]
        if outside and not reaching:
            used = self.users(mutant.names)
            reaching = [nodeid for nodeid in self.ranked if self.known.lines[nodeid] & used]
        if outside:
            some = set(reaching)
            reaching += [nodeid for nodeid in self.ranked if nodeid not in some]
            # Those were written for such mutants, and are collected soon.
            reaching.sort(key=lambda nodeid: "test_mutants_" not in self.known.files[nodeid])
        killers = self.killers.get(mutant.scope, Counter())
        # The sort is stable.
        return sorted(reaching, key=lambda nodeid: -killers[nodeid])

    def learn(self, mutant: Mutant, entry: dict[str, Any]) -> None:
        if entry["outcome"] in {"killed", "timeout"}:
            self.killers.setdefault(mutant.scope, Counter())[entry["by"]] += 1


# --- running ---------------------------------------------------------------------------------------------------

FIRST_SECONDS = 3
FIRST_SECONDS_OUTSIDE = 2
ALL_SECONDS = 40
CHUNK = 300
SEED = 20261129


class Runner:
    """Runs the mutants of one module."""

    def __init__(self, module: str, note: Note) -> None:
        self.module, self.note = module, note
        self.path = TOP / "safepickle" / f"{module}.py"
        source = self.path.read_text("utf-8")
        self.made = mutants(source, str(self.path))
        self.original = compile(ast.parse(source), str(self.path), "exec")
        self.results = STATE / f"{module}-{hashlib.sha256(source.encode()).hexdigest()[:12]}.jsonl"
        self.known: dict[str, dict[str, Any]] = {}
        self.source = source

    def read(self) -> None:
        """Read the results, the earlier ones of other texts first, of which those count whose statement did not change."""
        if not self.results.exists():
            within = {each.key: each.within for each in self.made}
            older = [file.read_text() for file in sorted(STATE.glob(f"{self.module}-*.jsonl"), key=lambda file: file.stat().st_mtime)]
            taken = [
                line for text in older for line in text.splitlines() if within.get((entry := json.loads(line))["key"]) == entry.get("within", "")
            ]
            self.results.write_text("".join(line + "\n" for line in taken))
        self.known = {entry["key"]: entry for entry in map(json.loads, self.results.read_text().splitlines())}

    def ready(self, stage: int) -> None:
        files = TESTS[self.module] + (MORE.get(self.module, []) if stage == 2 else [])
        self.choosing = Choosing(self.source, recorded(self.module, files, self.path, self.note))
        for each in self.made:
            if each.key in self.known:
                self.choosing.learn(each, self.known[each.key])

    def finish(self, mutant: Mutant, stage: int, of: int, ended: int, cpu: float) -> None:
        note = self.note.read()
        result = outcome(ended, self.note)
        # Then nothing is left for a second stage.
        stage = 2 if note.get("ran", 0) >= of and self.module not in MORE else stage
        entry = {
            "key": mutant.key,
            "line": mutant.line,
            "within": mutant.within,
            "outcome": result,
            "by": note.get("by", ""),
            "cpu": cpu,
            "stage": stage,
        }
        entry |= {"ran": note.get("ran", 0), "of": of}
        self.known[mutant.key] = entry
        self.choosing.learn(mutant, entry)
        with self.results.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def within_functions(self, wanted: Sequence[Mutant], files: Sequence[str], stage: int, until: float) -> list[Mutant]:
        """Run mutants of statements that these files do not run before their tests, in forks of a process that has collected. Returns those left."""
        others = STATE / f"others-{os.getpid()}.json"

        if time.monotonic() > until:
            return []

        def child(base: Path) -> None:
            plugin = Plugin(lambda session: served(session, base))

            def served(session: Any, base: Path) -> None:
                items = {item.nodeid: item for item in session.items}
                replacing = Replacing(self.original)
                left = []
                gc.collect()
                gc.freeze()
                for at, mutant in enumerate(wanted):
                    if time.monotonic() > until:
                        break
                    code = mutant.compiled()
                    pairs = replacing.found(code)
                    if pairs is None:
                        left.append(mutant.key)
                        continue
                    tests = self.choosing.tests(mutant, outside=False)
                    chosen = [items[nodeid] for nodeid in tests if nodeid in items]
                    for control in (True, False) if at % 50 == 0 else (False,):
                        ended, cpu = forked(partial(tested, plugin, self.original if control else code, [] if control else pairs, chosen), self.note)
                        if control and ended != PASSED:
                            raise RuntimeError(f"without a mutant: {self.note.read()}")
                    self.finish(mutant, stage, len(tests), ended, cpu)
                others.write_text(json.dumps(left))
                os._exit(PASSED)

            collected(files, plugin, base)

        def tested(plugin: Plugin, code: CodeType, pairs: list[tuple[FunctionType, CodeType]], chosen: Sequence[Any], base: Path) -> None:
            # For tests that import the module once more.
            sys.meta_path.insert(0, Finder(f"safepickle.{self.module}", str(self.path), code))
            for function, changed in pairs:
                function.__code__ = changed
            plugin.run(chosen, self.choosing.known.costs, FIRST_SECONDS if stage == 1 else ALL_SECONDS, self.note)

        ended, _ = forked(child, self.note, patient=True)
        if ended != PASSED:
            sys.exit(f"the process of {self.module} ended with {ended}: {self.note.read()}")
        self.read()
        for each in self.made:
            if each.key in self.known:
                self.choosing.learn(each, self.known[each.key])
        left = set(json.loads(others.read_text()))
        others.unlink()
        return [each for each in wanted if each.key in left]

    def imported(self, mutant: Mutant, stage: int) -> None:
        """Run one mutant in a fork that imports the changed module."""
        tests = self.choosing.tests(mutant, outside=True)
        files = list(dict.fromkeys(self.choosing.known.files[nodeid] for nodeid in (tests[:20] if stage == 1 else tests)))
        code = mutant.compiled()

        def child(base: Path) -> None:
            sys.meta_path.insert(0, Finder(f"safepickle.{self.module}", str(self.path), code))
            try:
                importlib.import_module(f"safepickle.{self.module}")
                importlib.import_module("safepickle").Keyring  # noqa: B018 - what conftest.py imports
            except Exception as error:
                self.note.write(by=f"import: {error!r}"[:1000], ran=0)
                os._exit(NOT_IMPORTED)

            def act(session: Any) -> None:
                items = {item.nodeid: item for item in session.items}
                chosen = [items[nodeid] for nodeid in tests if nodeid in items]
                # A parametrization made of the module may have another name with the mutant in it.
                known = set(tests)
                chosen = [item for item in session.items if item.nodeid not in known] + chosen
                plugin.run(chosen, self.choosing.known.costs, FIRST_SECONDS_OUTSIDE if stage == 1 else ALL_SECONDS, self.note)

            plugin = Plugin(act, self.note)
            collected(files, plugin, base)

        ended, cpu = forked(child, self.note)
        self.finish(mutant, stage, len(tests), ended, cpu)

    def run(self, wanted: Sequence[Mutant], stage: int, until: float) -> None:
        if wanted:
            self.ready(stage)
        for begin in range(0, len(wanted), CHUNK):
            groups: dict[tuple[str, ...], list[Mutant]] = {}
            for mutant in wanted[begin : begin + CHUNK]:
                fit = tuple(name for name, before in self.choosing.known.before.items() if not before & set(mutant.lines))
                # Whether all tests let a mutant live is found out with all files.
                wanting = stage == 2 and len(fit) < len(self.choosing.known.before)
                reaching = {self.choosing.known.files[nodeid] for nodeid in self.choosing.tests(mutant, outside=False)}
                wanting |= bool(reaching) and not reaching & set(fit)
                groups.setdefault(() if wanting else fit, []).append(mutant)
            left = groups.pop((), [])
            for files, group in groups.items():
                # Fewer are not worth a process of their own.
                left += self.within_functions(group, files, stage, until) if len(group) >= 4 else group
            for mutant in left:
                if time.monotonic() > until:
                    return
                self.imported(mutant, stage)
            self.report(survivors=False)

    def all(self, until: float, *, again: bool, sample: int | None, stages: Sequence[int]) -> None:
        order = random.Random(SEED).sample(self.made, len(self.made))[:sample]
        if again:
            self.run([each for each in order if self.known.get(each.key, {}).get("outcome") == "survived"], 1, until)
        if 1 in stages:
            self.run([each for each in order if each.key not in self.known], 1, until)
        if 2 in stages:
            self.run(
                [each for each in order if (entry := self.known.get(each.key)) and entry["outcome"] == "survived" and entry["stage"] == 1], 2, until
            )

    def report(self, *, survivors: bool = True) -> None:
        entries = [self.known[each.key] for each in self.made if each.key in self.known]
        counted = Counter(each["outcome"] for each in entries)
        seconds = sum(each["cpu"] for each in entries)
        killed, run = len(entries) - counted["survived"], len(entries)
        low, high = interval(killed, run, len(self.made))
        print(
            f"{self.module}: {len(self.made)} mutants, {run} run, {', '.join(f'{number} {name}' for name, number in sorted(counted.items()))}; "
            f"{100 * killed / max(run, 1):.1f} % killed ({100 * low:.1f} to {100 * high:.1f}); {seconds:.0f} s of CPU",
            flush=True,
        )
        for each in self.made if survivors else []:
            entry = self.known.get(each.key, {})
            if entry.get("outcome") == "survived":
                print(f"  line {each.line}, stage {entry['stage']}, {entry['ran']} of {entry['of']} tests, {each.key}")


def interval(killed: int, run: int, of: int) -> tuple[float, float]:
    """Return the interval of 95 % (Wilson) of the part that is killed; nothing is uncertain of what was run whole."""
    if run == of or run == 0:
        return (killed / max(run, 1),) * 2
    z, part = 1.96, killed / run
    middle, half = part + z * z / (2 * run), z * (part * (1 - part) / run + z * z / (4 * run * run)) ** 0.5
    return (middle - half) / (1 + z * z / run), (middle + half) / (1 + z * z / run)


def warm() -> None:
    """Load pytest, its plugins and the libraries, so that a fork has them; safepickle must not be among them."""
    # Compiling what is not mutated takes as long as importing it; the checkout stays as it is.
    sys.dont_write_bytecode, sys.pycache_prefix = False, str(STATE / "pycache")
    import coverage  # noqa: F401
    import pytest

    empty = STATE / "test_nothing.py"
    empty.write_text("def test_nothing():\n    import hypothesis, numpy, cryptography.hazmat.primitives.asymmetric.ed25519, sklearn.tree, pandas\n")
    pytest.main(["-q", "--noconftest", "-p", "no:cacheprovider", "-p", "no:xdist", f"--rootdir={STATE}", str(empty)])
    # Not earlier: pytest wants to import its plugins itself.
    import hypothesis

    # A failure is enough, the smallest example is not needed; and the same examples each time.
    hypothesis.settings.register_profile("mutants", derandomize=True, phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate))
    hypothesis.settings.load_profile("mutants")
    if "safepickle" in sys.modules:
        sys.exit("safepickle was loaded before the fork, so no mutant of it would be tested")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="+", choices=sorted(TESTS))
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no mutant after this time")
    parser.add_argument("--sample", type=int, help="run this many mutants of each module, chosen at random with a fixed seed")
    parser.add_argument("--stage", type=int, choices=(1, 2), help="run this stage only, not one after the other")
    parser.add_argument("--again", action="store_true", help="run those that survived once more")
    parser.add_argument("--report", action="store_true", help="run nothing, count what was run")
    arguments = parser.parse_args()
    until = time.monotonic() + arguments.seconds
    STATE.mkdir(parents=True, exist_ok=True)
    if not arguments.report:
        warm()
    note = Note()
    for module in arguments.modules:
        runner = Runner(module, note)
        runner.read()
        if not arguments.report:
            runner.all(until, again=arguments.again, sample=arguments.sample, stages=(arguments.stage,) if arguments.stage else (1, 2))
        runner.report()


if __name__ == "__main__":
    main()
