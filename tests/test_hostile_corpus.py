"""The hostile corpus is real, whole, and never passed by `safepickle.scan`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from hostile import BAD, HOSTILE, REFUSED, UNREAD, all_cases, files, streams

import safepickle
from safepickle.scanning import VERDICTS

CASES = {case.id: case for case in all_cases()}
LIBRARIES = ("numpy", "scipy", "sklearn", "joblib", "pandas")
# What is imported once, before the forks; a child that is for the standard library alone forks in a tenth of the time.
PRELOADED = ("numpy.f2py", "scipy.stats", "sklearn.tree", "sklearn.datasets", "sklearn.preprocessing", "sklearn.utils.parallel", "joblib", "pandas")
CODECS = {"lz4"}
SCAN_SECONDS = 5

ROWS = (
    *(f"A{number}" for number in range(1, 23)),
    *(f"B{number}" for number in range(1, 25)),
    *(f"D{number}" for number in range(1, 20)),
    *(f"F{number}" for number in range(1, 16)),
    "E.1",
    "E.2",
    "E.3",
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="each case runs in a fork of its own")


def wants_libraries(case: Any) -> bool:
    return any(name.partition(":")[0].partition(".")[0] in LIBRARIES for name in case.needs)


PARTS = {
    "standard library": [case for case in CASES.values() if not wants_libraries(case)],
    "libraries": [case for case in CASES.values() if wants_libraries(case)],
}
FEWEST = {"standard library": 400, "libraries": 60}
"""Markers that must appear, whatever the versions: a corpus that nobody falls for tests nothing."""


def ran(command: str, cases: list[Any], folder: Any, *libraries: str) -> dict[str, dict[str, Any]]:
    """What came of each case in the child process."""
    path = os.pathsep.join([os.path.dirname(os.path.abspath(__file__)), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "hostile.proving", command, str(folder), *libraries],
        input=json.dumps([case.id for case in cases]),
        env={**os.environ, **threads, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert report.keys() == {case.id for case in cases}
    return report


@pytest.mark.parametrize("part", PARTS)
def test_every_case_works_on_who_falls_for_it(part, tmp_path, record_property) -> None:
    """Plain pickle, joblib, numpy, pandas, zipfile and the like really run the payload: otherwise a scanner would be tested with noise."""
    cases = [case for case in PARTS[part] if case.effect != "none"]
    report = ran("prove", cases, tmp_path, *(PRELOADED if part == "libraries" else ()))
    wrong = {each: said for each, said in report.items() if not said["marker"] and not said["absent"]}
    assert not wrong, "\n".join(f"{each}: {said['said']}" for each, said in wrong.items())
    skipped = {each: said["absent"] for each, said in report.items() if not said["marker"]}
    record_property("not on this Python or these libraries", json.dumps(skipped))
    assert len(report) - len(skipped) >= FEWEST[part], skipped


KINDS = sorted({case.id.partition(":")[0] for case in CASES.values()})


@pytest.mark.skipif(not callable(getattr(safepickle, "scan", None)), reason="this branch has no scan yet")
@pytest.mark.parametrize("kind", KINDS)
def test_no_case_passes_a_scan_and_none_runs(kind, tmp_path) -> None:
    """The verdict is one that the case allows; no marker, no import, no exception, and no more than a few seconds."""
    cases = [case for case in CASES.values() if case.id.partition(":")[0] == kind]
    wrong: dict[str, Any] = {}
    for each, said in ran("scan", cases, tmp_path).items():
        case = CASES[each]
        named = {*LIBRARIES, *(name.partition(":")[0] for name in case.needs)}
        # To decompress is to read: that a case needs the codec too says nothing.
        strange = {name for name in said.get("imported", ()) if name in named - CODECS}
        if "error" in said or said["verdict"] not in case.verdicts or said["left"] or strange or said["seconds"] > SCAN_SECONDS:
            wrong[each] = {key: said.get(key) for key in ("error", "verdict", "left", "seconds")} | {
                "imported": strange,
                "wanted": sorted(case.verdicts),
            }
        elif not said["findings"]:
            wrong[each] = "no finding"
    assert not wrong, "\n".join(f"{each}: {what}" for each, what in wrong.items())


def test_there_are_enough_cases_of_each_kind() -> None:
    """A loop over cases that are gone passes."""
    assert len(streams.CASES) >= 400
    assert len(files.CASES) >= 150
    assert len(CASES) == len(streams.CASES) + len(files.CASES), "ids are unique"
    effects = Counter(case.effect for case in CASES.values())
    assert effects["marker"] >= 500
    assert effects.keys() == {"marker", "import", "none"}


@pytest.mark.parametrize("row", ROWS)
def test_every_row_of_the_research_has_a_case(row) -> None:
    assert any(rule.partition(" ")[0] == row for case in CASES.values() for rule in case.rules)


def test_no_case_allows_a_verdict_that_passes() -> None:
    assert {case.verdicts for case in CASES.values()} <= {HOSTILE, BAD, UNREAD, REFUSED}
    assert set(VERDICTS) >= REFUSED


def test_cases_are_the_same_in_every_process() -> None:
    """pytest-xdist collects in each worker; and a figure of the benchmark is one of the same files."""
    code = (
        "import hashlib, json; from pathlib import Path; from hostile import all_cases\n"
        "print(json.dumps({case.id: hashlib.sha256(case.make(Path('/tmp/x'))).hexdigest() for case in all_cases()}))"
    )
    path = os.pathsep.join([os.path.dirname(os.path.abspath(__file__)), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    runs = [
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed}, capture_output=True, check=True)
        for seed in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout
    assert [*json.loads(runs[0].stdout)] == [*CASES]
