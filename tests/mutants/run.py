"""Mutation testing of the kernel: change one thing in a module, run the tests of that module, and see whether one of them fails.

    python tests/mutants/run.py errors policy --seconds 3600

A mutant is a module compiled from a changed syntax tree; nothing is written to the package. The process loads pytest and the libraries, never
safepickle, and forks for each mutant; the child imports safepickle with the changed module in it and runs the tests up to the first failure.
So constants, tables and decorated functions are mutated like everything else, and no test sees a value that the unchanged module computed.
Only tests that start another Python see the unchanged module.

Results are lines of JSON in STATE, one file for each text of a module: a run goes on where the last one ended. `--again` runs the
survivors once more, after tests were added; `--report` runs nothing. README.md beside this file says how far it went.

Not mutated: annotations, docstrings, `__all__`, and the text within `raise`, which is wording. The time limit is of CPU seconds, so a busy
machine kills no mutant.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib.machinery
import importlib.util
import json
import os
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

TOP = Path(__file__).resolve().parents[2]
STATE = Path(os.environ.get("MUTANTS_STATE", "/tmp/mutants-state"))
# For each module the tests that are run on its mutants, those that fail soonest first.
TESTS: dict[str, list[str]] = {
    "errors": ["test_mutants_errors.py"],
    "policy": ["test_policy.py", "test_properties.py", "attacks/test_review.py", "attacks/test_hostile_programs.py"],
    "container": ["test_vectors.py", "test_container.py"],
    "machine": ["test_machine.py", "test_atoms.py", "attacks/test_hostile_programs.py", "attacks/test_speed_review.py"],
    "keys": ["test_keys.py", "attacks/test_keys.py", "attacks/test_keys_again.py"],
}

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult, ast.Div: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitAnd, ast.Break: ast.Continue, ast.Continue: ast.Break, ast.USub: ast.UAdd,
}  # fmt: skip


class Mutant(NamedTuple):
    """One change: where, what, and the module with it. `key` stays the same when lines move."""

    key: str
    line: int
    compiled: Callable[[], CodeType]


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
        case ast.Constant(value=str() as value):
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


def places(node: ast.AST, scope: str = "") -> Iterator[tuple[ast.AST, str]]:
    """Yield each node that may be changed, with the qualified name of the function or class that it stands in."""
    yield node, scope
    inner = scope
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        inner = f"{scope}.{node.name}" if scope else node.name
    for field, value in ast.iter_fields(node):
        if field in {"annotation", "returns"} or (field == "exc" and isinstance(node, ast.Raise)):
            continue
        for each in value if isinstance(value, list) else [value]:
            docstring = isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)
            exported = isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "__all__"
            future = isinstance(each, (ast.Import, ast.ImportFrom))
            if isinstance(each, ast.AST) and not (docstring or exported or future or isinstance(each, (ast.operator, ast.cmpop, ast.boolop))):
                yield from places(each, inner)


def shown(node: ast.AST) -> str:
    text = ast.unparse(ast.fix_missing_locations(node))
    first = text.partition("\n")[0]
    return first if len(first) < 100 else first[:97] + "..."


def mutants(source: str, filename: str) -> list[Mutant]:
    """Return every mutant of a module, in the order of its text."""
    made: list[Mutant] = []
    seen: Counter[str] = Counter()
    for index, (node, scope) in enumerate(places(ast.parse(source))):
        for number, (field, old, new) in enumerate(changes(node)):
            whole = field in {"body", "orelse", "finalbody"}
            if whole:
                at = next(at for at, each in enumerate(old) if each is not new[at])
                before, after, line = shown(old[at]), "pass", old[at].lineno
            else:
                before, line = shown(node), getattr(node, "lineno", getattr(getattr(node, "target", None), "lineno", 0))
                setattr(node, field, new)
                after = shown(node)
                setattr(node, field, old)
            key = f"{scope or 'module'}: {before} -> {after}"
            seen[key] += 1
            made.append(Mutant(f"{key} #{seen[key]}", line, lambda index=index, number=number: compiled(source, filename, index, number)))
    return made


def compiled(source: str, filename: str, index: int, number: int) -> CodeType:
    module = ast.parse(source)
    node = next(node for at, (node, _) in enumerate(places(module)) if at == index)
    field, _, new = next(change for at, change in enumerate(changes(node)) if at == number)
    setattr(node, field, new)
    return compile(ast.fix_missing_locations(module), filename, "exec")


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


class FirstFailure:
    """Tells the parent which test failed."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            os.write(self.pipe, report.nodeid.encode()[:1000] + b"\n")


def child(module: str, path: Path, code: CodeType | None, cpu_seconds: int, pipe: int, base: Path) -> int:
    import pytest

    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 5))
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    silent = os.open(os.devnull, os.O_RDWR)
    for each in (0, 1, 2):
        os.dup2(silent, each)
    if code is not None:
        sys.meta_path.insert(0, Finder(f"safepickle.{module}", str(path), code))
    os.chdir(TOP)
    files = [f"tests/{each}" for each in TESTS[module]]
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly", f"--basetemp={base}"]
    return int(pytest.main([*options, *files], plugins=[FirstFailure(pipe)]))


def judged(module: str, path: Path, code: CodeType | None, cpu_seconds: int) -> dict[str, Any]:
    """Run the tests on one mutant in a fork. Returns the outcome, the test that failed and the CPU seconds."""
    reading, writing = os.pipe()
    base = STATE / f"base-{os.getpid()}"
    process = os.fork()
    if process == 0:
        status = 70
        try:
            os.setsid()
            status = child(module, path, code, cpu_seconds, writing, base)
        except BaseException:
            status = 3
        finally:
            os._exit(status)
    os.close(writing)
    deadline = time.monotonic() + 40 * cpu_seconds + 60
    slept = False
    while True:
        done, status, usage = os.wait4(process, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline and not slept:
            slept = True
            os.killpg(process, signal.SIGKILL)
        time.sleep(0.02)
    with open(reading, "rb") as pipe:
        os.set_blocking(reading, False)
        by = (pipe.read() or b"").decode().partition("\n")[0]
    shutil.rmtree(base, ignore_errors=True)
    ended = os.waitstatus_to_exitcode(status)
    outcome = "timeout" if slept or ended in (-signal.SIGXCPU, -signal.SIGKILL) else "survived" if ended == 0 else "killed"
    return {"outcome": outcome, "by": by or f"exit {ended}", "cpu": round(usage.ru_utime + usage.ru_stime, 2)}


def warm() -> None:
    """Load pytest, its plugins and the libraries, so that a fork has them; safepickle must not be among them."""
    import pytest

    STATE.mkdir(parents=True, exist_ok=True)
    empty = STATE / "test_nothing.py"
    empty.write_text("def test_nothing():\n    import hypothesis, numpy, cryptography.hazmat.primitives.asymmetric.ed25519, sklearn.tree, pandas\n")
    pytest.main(["-q", "--noconftest", "-p", "no:cacheprovider", "-p", "no:xdist", f"--rootdir={STATE}", str(empty)])
    if "safepickle" in sys.modules:
        sys.exit("safepickle was loaded before the fork, so no mutant of it would be tested")


def run(module: str, until: float, *, again: bool, report: bool) -> None:
    path = TOP / "safepickle" / f"{module}.py"
    source = path.read_text("utf-8")
    made = mutants(source, str(path))
    results = STATE / f"{module}-{hashlib.sha256(source.encode()).hexdigest()[:12]}.jsonl"
    known: dict[str, dict[str, Any]] = {}
    if results.exists():
        known = {entry["key"]: entry for entry in map(json.loads, results.read_text().splitlines())}
    left = [each for each in made if each.key not in known or (again and known[each.key]["outcome"] == "survived")]
    if left and not report and time.monotonic() < until:
        baseline = judged(module, path, None, 600)
        if baseline["outcome"] != "survived":
            sys.exit(f"the tests of {module} fail without a mutant: {baseline}")
        limit = int(4 * baseline["cpu"]) + 5
        print(f"{module}: the tests take {baseline['cpu']} s of CPU without a mutant, the limit is {limit} s; {len(left)} mutants to run", flush=True)
        for each in left:
            if time.monotonic() > until:
                break
            entry = {"key": each.key, "line": each.line, **judged(module, path, each.compiled(), limit)}
            known[each.key] = entry
            with results.open("a") as file:
                file.write(json.dumps(entry) + "\n")
    counted = Counter(known[each.key]["outcome"] if each.key in known else "not run" for each in made)
    seconds = sum(entry["cpu"] for entry in known.values())
    print(f"{module}: {len(made)} mutants, {', '.join(f'{number} {name}' for name, number in sorted(counted.items()))}; {seconds:.0f} s of CPU")
    for each in made:
        if known.get(each.key, {}).get("outcome") == "survived":
            print(f"  line {each.line}, {each.key}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="+", choices=sorted(TESTS))
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no mutant after this time")
    parser.add_argument("--again", action="store_true", help="run those that survived once more")
    parser.add_argument("--report", action="store_true", help="run nothing, count what was run")
    arguments = parser.parse_args()
    until = time.monotonic() + arguments.seconds
    if not arguments.report:
        warm()
    for module in arguments.modules:
        run(module, until, again=arguments.again, report=arguments.report)


if __name__ == "__main__":
    main()
