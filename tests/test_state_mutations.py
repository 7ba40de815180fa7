"""Promise 4 for numbers: whatever one number of a signed model is, loading and using the model ends in an answer or an exception.

5,000 mutations of the corpus, the same each time; `SAFEPICKLE_MUTATIONS=20000` asks for so many, spread over the same models.
Each chunk runs in a process of its own, since children are forked from it: it must not have threads of OpenMP. To see one
failure again, or for other seeds, run `tests/mutations.py` (its docstring says how).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("limits of memory and time are those of Linux", allow_module_level=True)

import mutations
from mutations import FINDINGS, Result, Trial, summary, try_all

TOTAL = int(os.environ.get("SAFEPICKLE_MUTATIONS", "5000"))
CHUNKS = 4
ENOUGH_ESTIMATORS = 150


@pytest.mark.parametrize("chunk", range(1, CHUNKS + 1))
def test_no_number_of_a_signed_model_makes_compiled_code_crash(chunk) -> None:
    """A stolen key must not be more than a wrong answer: not a crash, not a hang, not all the memory."""
    arguments = ["--total", str(TOTAL), "--chunk", f"{chunk}/{CHUNKS}", "--jobs", "1", "--json"]
    done = subprocess.run(
        [sys.executable, mutations.__file__, *arguments], capture_output=True, text=True, check=False, cwd=Path(mutations.__file__).parent
    )
    assert done.returncode in (0, 1), done.stderr[-2000:]
    results = [Result(**json.loads(line)) for line in done.stdout.splitlines()]
    if found := summary(results):
        pytest.fail("\n".join(found), pytrace=False)
    assert done.returncode == 0
    # Had the mutations no effect, or been refused for a reason that every model shares, nothing would have been tested.
    count = len(results)
    kinds = {kind: sum(result.kind == kind for result in results) for kind in ("refused", "answer", "raised", "unchanged", "unpicklable")}
    assert count >= 0.8 * TOTAL / CHUNKS
    assert kinds["unchanged"] + kinds["unpicklable"] < 0.1 * count
    assert kinds["answer"] > 0.2 * count
    assert kinds["refused"] > 0.02 * count
    changed = {result.case for result in results if result.kind in ("answer", "raised", "refused")}
    assert sum(case.startswith("estimators:") for case in changed) >= ENOUGH_ESTIMATORS / CHUNKS


# --- the harness sees what it must see -------------------------------------------------------------------------


def _killed(number: int) -> None:
    os.kill(os.getpid(), number)


def _looping() -> None:
    while True:
        pass


def _exiting() -> None:
    # As OpenMP does when it gets no thread.
    os.write(2, b"libgomp: Thread creation failed")
    os._exit(1)


def _raising() -> None:
    raise KeyError("x")


DISASTERS = {
    "segmentation fault": (lambda: _killed(signal.SIGSEGV), "crash", "SIGSEGV"),
    "abort": (os.abort, "crash", "SIGABRT"),
    "division": (lambda: _killed(signal.SIGFPE), "crash", "SIGFPE"),
    "loop": (_looping, "hang", "more than"),
    "sleep": (lambda: time.sleep(600), "hang", "more than"),
    "memory": (lambda: bytearray(1 << 34), "memory", ""),
    "exit": (_exiting, "exit", "status 1 libgomp"),
    "foreign exception": (_raising, "raised at load", "KeyError"),
}


@pytest.mark.parametrize("name", DISASTERS)
def test_the_harness_tells_a_disaster_and_goes_on_behind_it(name) -> None:
    """If a crash were taken for an answer, the test above would always pass."""
    disaster, kind, detail = DISASTERS[name]
    model = {"values": [1, 2.5, "text"], "on": True}
    tried = mutations.mutations(model, "seed")
    bad = next(mutation for mutation in tried if str(mutation) == "$['on'] = False")

    def load(data: bytes) -> object:
        value = mutations.load(data)
        if isinstance(value, dict) and value.get("on") is False:
            disaster()
        return value

    results = try_all(Trial("disaster", model, None, None, load), tried, seconds=0.3)
    assert [result.text for result in results] == [str(mutation) for mutation in tried]
    (found,) = [result for result in results if result.kind in FINDINGS]
    assert (found.text, found.kind, found.method) == (str(bad), kind, "load")
    assert detail in found.detail
    assert len(summary(results)) == 2


def test_a_disaster_of_a_method_is_told_with_its_name() -> None:
    """The method is what a maintainer looks at first."""
    from sklearn.tree import DecisionTreeClassifier

    model = DecisionTreeClassifier(random_state=0).fit([[0.0], [1.0]], [0, 1])

    def load(data: bytes) -> object:
        value = mutations.load(data)
        value.__dict__["tree_"] = None
        type(value).predict = lambda self, inputs: _killed(signal.SIGSEGV)
        return value

    (found,) = try_all(Trial("tree", model, [[0.0]], None, load), [mutations.AS_IT_IS])
    assert (found.kind, found.method) == ("crash", "predict")


@pytest.mark.parametrize(("wild", "blamed"), [("write", 2), ("read", 5)])
def test_what_earlier_mutations_broke_is_told_from_what_only_they_brought_to_light(wild, blamed) -> None:
    """A wild write is found out late, and a wild read may crash only as others have left the memory: the guilty one must be named."""
    model = list(range(8))
    tried = [mutation for mutation in mutations.mutations(model, "seed") if mutation.edit == " = -1"]
    since: list[int] = []

    def load(data: bytes) -> object:
        value = mutations.load(data)
        if since or value[tried[2].site - 1] == -1:
            since.append(1)
        if len(since) == 4 and (wild == "write" or value[tried[5].site - 1] == -1):
            _killed(signal.SIGSEGV)
        return value

    results = try_all(Trial("late", model, None, None, load), tried)
    (found,) = [result for result in results if result.kind in FINDINGS]
    assert found.text == str(tried[blamed])
    assert ("3 mutations later" if wild == "write" else f"3 mutations after {tried[2]}") in found.detail


def test_an_unchanged_model_is_pickled_as_the_library_does_it() -> None:
    """What is mutated must be what `dump` writes, or the mutations would be refused for their form."""
    from safepickle.pickling import pickled

    for name in ("RandomForestClassifier", "SVC", "KNeighborsRegressor", "CountVectorizer", "HistGradientBoostingClassifier", "ColumnTransformer"):
        (case,) = [case for case in mutations.corpus.cases("estimators") if case.name == name]
        model, _ = case.build()
        assert mutations.edited(model, -1, mutations.unchanged) == pickled(model)


def test_every_site_of_a_model_is_mutated_before_any_is_for_the_thousandth_time() -> None:
    """Most entries are numbers in large arrays, and most that are wrong are not."""
    (case,) = [case for case in mutations.corpus.cases("estimators") if case.name == "RandomForestClassifier"]
    model, _ = case.build()
    attributes = {mutation.attribute for mutation in mutations.mutations(model, "seed")}
    first = [mutation.attribute for mutation in mutations.mutations(model, "seed", len(attributes))]
    assert set(first) == attributes
    assert {"$.estimators_[].tree_.nodes['left_child']", "$.estimators_[].tree_.values[]", "$.classes_", "$.n_jobs", "$.estimators_"} <= attributes
    assert len({str(mutation) for mutation in mutations.mutations(model, "seed", 500)}) == 500
    assert [str(m) for m in mutations.mutations(model, "seed", 500)] == [str(m) for m in mutations.mutations(model, "seed", 500)]
