"""What scanners say of hostile files and of honest models, side by side: `python -m benchmarks.scanners`.

Hostile files are those of `tests/hostile` whose payload is first shown to run where nothing protects; honest ones are models
of `tests/corpus` as pickle and joblib write them. All tools read the same files, each in a process of its own that may not
start another nor write. Told are counts by kind of file, no names of files that a tool of others passes; `--each FILE`
writes those too. Results are written as JSON and Markdown to benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import measuring, verdicts

TESTS = Path(__file__).resolve().parent.parent / "tests"
OUTCOMES = ("flagged", "gave up", "not scanned", "passed", "crashed", "executed")
"""A tool that gives up says so with an error, which a pipeline sees; what it does not scan, or passes, goes through."""
STOPPED = ("flagged", "gave up", "crashed")

MIB = measuring.MIB
_ESTIMATORS, _COMPOSITES = 90, 30
_LIBRARIES = ("numpy.f2py", "scipy.stats", "sklearn.tree", "sklearn.datasets", "sklearn.preprocessing", "sklearn.utils.parallel", "joblib", "pandas")
_GADGETS = ("shell", "evaluator", "writer", "caller", "consumer", "resolver", "second load", "dotted", "import only")
_FILES = (
    ("zip", "zip"),
    ("torch", "torch"),
    ("joblib", "joblib"),
    ("np", "numpy"),
    ("named", "names that mislead"),
    ("behind", "behind other bytes"),
    ("pickle in", "pickle in a value"),
)


# --- the files -------------------------------------------------------------------------------------------------


def kind_of(case: str) -> str:
    """Return the kind of a hostile case."""
    group, _, name = case.partition(": ")
    if group != "file":
        return "program, by its names" if group in _GADGETS else "program, by its form"
    return next((kind for start, kind in _FILES if name.startswith(start)), "compressed, tar and others")


def proven(folder: Path, *, every: int) -> dict[str, Any]:
    """Return the hostile cases whose payload ran in a child process just now, by id."""
    from hostile import all_cases

    cases = {case.id: case for case in [*all_cases()][::every] if case.effect == "marker"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "hostile.proving", "prove", str(folder), *_LIBRARIES],
        input=json.dumps([*cases]),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return {each: cases[each] for each, said in json.loads(done.stdout).items() if said["marker"]}


def hostile_files(folder: Path, marker: Path, *, every: int) -> Iterator[tuple[str, str, Path]]:
    """Write the hostile corpus; yield kind, id and path."""
    with tempfile.TemporaryDirectory(prefix="spkl", ignore_cleanup_errors=True) as proofs:
        cases = proven(Path(proofs), every=every)
    for number, (name, case) in enumerate(cases.items()):
        place = folder / f"h{number}"
        place.mkdir()
        path = place / case.name
        path.write_bytes(case.make(marker))
        yield kind_of(name), name, path


def _joblib(**options: Any) -> Callable[[Any, Path], Any]:
    import joblib

    return lambda model, path: joblib.dump(model, path, **options)


def _pickle(protocol: int) -> Callable[[Any, Path], Any]:
    return lambda model, path: path.write_bytes(pickle.dumps(model, protocol))


def benign_files(folder: Path, *, few: bool) -> Iterator[tuple[str, str, Path]]:
    """Write honest models in the forms that people save; yield kind, id and path."""
    from corpus import cases as corpus

    writers = {
        **{f"pickle, protocol {protocol}": (_pickle(protocol), ".pkl") for protocol in (2, 4, 5)},
        "joblib": (_joblib(), ".joblib"),
        "joblib, compressed": (_joblib(compress=3), ".joblib"),
    }
    estimators, composites = corpus.cases("estimators"), corpus.cases("composites")
    chosen = [*_spread(estimators, 3 if few else _ESTIMATORS), *_spread(composites, 2 if few else _COMPOSITES)]
    for number, case in enumerate(chosen):
        model = case.build()[0]
        for at, (kind, (write, suffix)) in enumerate(writers.items()):
            path = folder / f"b{number}-{at}{suffix}"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                write(model, path)
            yield kind, case.id, path


def _spread(values: tuple[Any, ...], count: int) -> list[Any]:
    """So many of them, evenly over the whole."""
    return [values[at * len(values) // count] for at in range(min(count, len(values)))]


# --- the tools -------------------------------------------------------------------------------------------------


def asked(tool: str, paths: list[Path], python: str) -> dict[str, Any]:
    """Return the version of a tool and what it says of each file, or why it is absent."""
    script = str(Path(verdicts.__file__).resolve())
    search = {"PYTHONPATH": str(TESTS.parent)} if tool == "safepickle" else {}
    with tempfile.TemporaryDirectory(prefix="spkl") as home:
        done = subprocess.run(
            [python, "-W", "ignore", script, tool],
            input=json.dumps([str(path) for path in paths]),
            env={**os.environ, **search, "HOME": home, "TMPDIR": home},
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        return {"absent": done.stderr.strip().rpartition("\n")[2]}
    return json.loads(done.stdout)


def counted(files: list[tuple[str, str, Path]], said: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Return by kind of file how often each outcome is."""
    counts: dict[str, Counter[str]] = {}
    for kind, _, path in files:
        counts.setdefault(kind, Counter())[outcome(said[str(path)][0])] += 1
    return {kind: dict(counts[kind]) for kind in sorted(counts)}


def outcome(said: str) -> str:
    """Return the outcome that an answer begins with."""
    return next(each for each in OUTCOMES if said.startswith(each))


# --- the report ------------------------------------------------------------------------------------------------


def _total(counts: Mapping[str, Mapping[str, int]], *outcomes: str) -> int:
    return sum(each.get(name, 0) for each in counts.values() for name in outcomes)


def _summary(tools: Mapping[str, Any]) -> str:
    head = ["", "version", "flagged", "gave up", "crashed", "not scanned", "passed", "honest flagged", "gave up", "not scanned", "passed"]
    rows = [head]
    for name, found in tools.items():
        hostile, honest = found["hostile"], found["benign"]
        cells = [_total(hostile, each) for each in ("flagged", "gave up", "crashed", "not scanned", "passed")]
        cells += [_total(honest, "flagged"), _total(honest, "gave up", "crashed"), _total(honest, "not scanned"), _total(honest, "passed")]
        rows.append([name, found["version"], *map(str, cells)])
    return measuring.table(rows)


def _by_kind(tools: Mapping[str, Any], group: str, outcomes: tuple[str, ...]) -> str:
    kinds = sorted({kind for found in tools.values() for kind in found[group]})
    rows = [["", "files", *tools]]
    for kind in kinds:
        counts = [found[group].get(kind, {}) for found in tools.values()]
        share = [str(sum(each.get(name, 0) for name in outcomes)) for each in counts]
        rows.append([kind, str(sum(counts[0].values())), *share])
    return measuring.table(rows)


def report(found: Mapping[str, Any]) -> str:
    """Return the results as Markdown."""
    tools = found["tools"]
    text = (
        f"# Scanners\n\n{measuring.described(found['machine'])}\n{found['hostile']} hostile files, each of which ran its payload where nothing "
        f"protects, and {found['benign']} files of {found['models']} honest models. A tool flags a file, or gives up with an error that a "
        "pipeline sees, or lets it through: passed, or not scanned at all. All read the same files with their default settings; fickling by "
        "`scan_file` and `scan_zip_archive`, the others by the function that their commands call.\n"
    )
    if tools:
        text += f"\n## Totals: hostile files, then honest ones\n\n{_summary(tools)}"
        text += f"\n## Hostile files that went through\n\n{_by_kind(tools, 'hostile', ('passed', 'not scanned', 'executed'))}"
        text += f"\n## Honest files that did not\n\n{_by_kind(tools, 'benign', STOPPED)}"
        ran = {name: count for name, each in tools.items() if (count := _total(each["hostile"], "executed"))}
        text += f"\nWhile scanning, {'nothing was executed' if not ran else f'these executed or wrote something: {ran}'}.\n"
    if found["absent"]:
        text += "\n## Not there\n\n" + "".join(f"- {name}: {reason}\n" for name, reason in found["absent"].items())
    return text


def main() -> None:
    """Write the files, ask the tools, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run: every fortieth hostile file, five models; its figures mean nothing")
    parser.add_argument("--folder", help="where files are written (default: /dev/shm, or TMPDIR if that is full or not there)")
    parser.add_argument("--results", type=Path, help="where results are written (default: benchmarks/results; with --quick, nowhere)")
    parser.add_argument("--tools", nargs="+", choices=verdicts.TOOLS, default=list(verdicts.TOOLS), help="(default: all)")
    parser.add_argument("--modelscan", metavar="PATH", default=sys.executable, help="the Python of an environment that has modelscan")
    parser.add_argument("--each", type=Path, metavar="FILE", help="also write what each tool said of each file")
    options = parser.parse_args()
    results = measuring.results_folder(options)
    sys.path.insert(0, str(TESTS))
    with measuring.working_folder(options.folder, 512 * MIB, 512 * MIB) as folder:
        machine = measuring.machine(folder)
        marker = folder / "pwned"
        print("hostile files are proven and written ...", flush=True)
        hostile = [*hostile_files(folder, marker, every=40 if options.quick else 1)]
        print("honest models are fitted and written ...", flush=True)
        benign = [*benign_files(folder, few=options.quick)]
        found: dict[str, Any] = {"machine": machine, "hostile": len(hostile), "benign": len(benign), "models": len({name for _, name, _ in benign})}
        found |= {"tools": {}, "absent": {}}
        each: dict[str, Any] = {}
        for tool in options.tools:
            print(f"{tool} ...", flush=True)
            python = options.modelscan if tool == "modelscan" else sys.executable
            # An honest one comes first: it is the one that is scanned without limits, to warm the tool.
            said = asked(tool, [path for _, _, path in (*benign, *hostile)], python)
            if "absent" in said:
                found["absent"][tool] = said["absent"]
                print(f"{tool} is skipped: {said['absent']}")
                continue
            spent = [seconds for _, seconds in said["verdicts"].values()]
            counts = {"hostile": counted(hostile, said["verdicts"]), "benign": counted(benign, said["verdicts"])}
            found["tools"][tool] = {"version": said["version"], "seconds": round(sum(spent), 2), "slowest": round(max(spent), 2), **counts}
            each[tool] = {name: said["verdicts"][str(path)][0] for _, name, path in hostile} | {
                f"{name}, {kind}": said["verdicts"][str(path)][0] for kind, name, path in benign
            }
        if os.path.lexists(marker):
            raise SystemExit("a tool executed a payload")
    text = report(found)
    print(f"\n{text}")
    measuring.write(results, "scanners", found, text)
    if options.each is not None:
        options.each.write_text(json.dumps(each, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
