"""The fuzz targets over their kept inputs, without atheris. With SAFEPICKLE_FUZZ=RUNS each target is also fuzzed, with one seed.

What a target asserts is in `fuzz/targets`; an input that once showed a fault stays in `fuzz/regressions`.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import re
import subprocess
import sys
import time
from pathlib import Path

import fuzz
import pytest
from fuzz import running
from fuzz.feeding import Feed
from fuzz.mutating import by_operations, corrected, operations
from fuzz.watching import DeedError, harmless

pytest.importorskip("sklearn", reason="the programs are those of small models")

RUNS = int(os.environ.get("SAFEPICKLE_FUZZ", "0"))
TOP = Path(__file__).resolve().parent.parent
# As many as are kept at the least; a loop over no inputs passes.
FEWEST = {"container": 80, "machine": 80, "legacy": 150, "policy": 20, "archives": 80, "keys": 30, "texts": 20, "bundles": 5}


@pytest.fixture(autouse=True)
def no_warnings():
    """A mutated estimator may say that it is of another version."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_every_kept_input_is_as_it_should_be(name):
    run = fuzz.target(name)
    paths = fuzz.inputs(name)
    assert len(paths) >= FEWEST[name]
    for path in paths:
        try:
            run(path.read_bytes())
        except Exception as error:
            error.add_note(f"python -m tests.fuzz {name} --replay {path}")
            raise


def test_the_inputs_are_small_and_each_is_of_a_target():
    folders = {path.name for kind in ("seeds", "regressions") for path in (fuzz.FOLDER / kind).glob("*")}
    assert folders <= set(fuzz.TARGETS)
    assert sum(path.stat().st_size for name in fuzz.TARGETS for path in fuzz.inputs(name)) < 1 << 20


@pytest.mark.parametrize(
    ("until", "seconds"),
    [("23:30", 30 * 60 - 15), ("23:01", 45), ("23:00", 24 * 3600 - 15), ("00:30", 90 * 60 - 15), ("22:59", 24 * 3600 - 75)],
)
def test_a_run_until_a_time_goes_over_midnight(monkeypatch, until, seconds):
    monkeypatch.setattr(running.time, "localtime", lambda: time.struct_time((2026, 11, 29, 23, 0, 15, 6, 333, 0)))
    assert running.seconds_until(until) == seconds


@pytest.mark.parametrize("path", sorted(fuzz.FOLDER.glob("*.dict")), ids=lambda path: path.stem)
def test_a_dictionary_is_one_for_a_target_in_the_form_of_libfuzzer(path):
    assert path.stem in fuzz.TARGETS
    lines = path.read_text("ascii").splitlines()
    assert len(lines) > 20
    assert [line for line in lines if not re.fullmatch(r'#.*|"(?:[^"\\]|\\x[0-9a-f]{2})+"', line)] == []


# --- what the targets stand on -----------------------------------------------------------------------------------


def test_choices_end_in_zeros_and_never_in_an_error():
    feed = Feed(b"\7")
    assert (feed.below(5), feed.below(5), feed.take(3), feed.number(8), bool(feed), feed.rarely()) == (2, 0, b"", 0, False, False)
    assert Feed(b"").edited(b"abc") == b"abc"
    assert Feed(b"\1\1\0\1\0").edited(b"abc") == b"ac"


def test_operations_are_the_whole_of_the_bytes():
    import pickle

    for data in (pickle.dumps([1, {"a": 2}], 5), b"", b"\xff", b"(lp0\nI1\n", b"N.rest", b"\x8c\x05ab"):
        assert b"".join(operations(data)) == data
    assert operations(b"NI1\n.") == [b"N", b"I1\n", b"."]


def test_mutations_keep_the_choices_and_the_size_and_are_those_of_their_seed():
    mutate = by_operations(2, [b"N", b"]"], lambda data, most: data)
    data = b"\1\2" + b"NN\x86."
    made = [mutate(data, 8, seed) for seed in range(100)]
    assert len(set(made)) > 20
    assert all(each[:2] == b"\1\2" and len(each) <= 8 for each in made)
    assert made == [mutate(data, 8, seed) for seed in range(100)]


def test_checksums_are_those_that_the_formats_have(tmp_path):
    import io
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    data = out.getvalue()
    assert corrected(data) == data
    assert corrected(b"b" + data[1:]) != b"b" + data[1:]
    with tarfile.open(fileobj=io.BytesIO(corrected(b"b" + data[1:]))) as archive:
        assert archive.getnames() == ["b"]
    py7zr = pytest.importorskip("py7zr")
    out = io.BytesIO()
    with py7zr.SevenZipFile(out, "w") as packed:
        packed.writestr(b"text", "a")
    data = out.getvalue()
    assert corrected(data) == data
    assert corrected(data[:8] + bytes(4) + data[12:28] + bytes(4) + data[32:]) == data


def test_a_deed_is_seen_even_if_whoever_does_it_hides_it(tmp_path):
    with pytest.raises(DeedError, match=r"os\.mkdir"), harmless():
        (tmp_path / "made").mkdir()
    with pytest.raises(DeedError, match="open"), harmless():
        try:
            (tmp_path / "file").write_text("x")
            raise ValueError
        except ValueError:
            pass
    with harmless():
        assert (tmp_path / "file").read_text() == "x"


# --- with atheris --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not RUNS, reason="SAFEPICKLE_FUZZ says how many runs")
@pytest.mark.skipif(not (TOP / "tests" / "fuzz").is_dir(), reason="the command is in the checkout only")
@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_fuzzing_finds_nothing_new(name, tmp_path):
    """With one seed, so that a change fails for what it changed. What nobody has seen yet is looked for by `python -m tests.fuzz all`."""
    assert importlib.util.find_spec("atheris"), "pip install '.[fuzz]'"
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", name, "--runs", str(RUNS), "--seed", "1", "--seconds", "60", "--work", str(tmp_path)],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.match(rf"{name}: (\d+) runs", done.stdout)[1]) > len(fuzz.inputs(name)) // 2


class Taking:
    """Takes its state as estimators do."""

    def __setstate__(self, state):
        state.pop("version")
        self.__dict__.update(state)


class Other(Taking):
    pass


def test_what_is_built_is_the_same_whichever_names_of_attributes_are_one_object():
    """CPython alone makes of one program two objects that pickle to other bytes: the first instance of a class gives its keys to those after it."""
    same = importlib.import_module("fuzz.targets.machine").same
    for number in range(40):
        # Then instances share no more of them.
        setattr(Other(), f"name{number}", 1)
    one = b"c%s\nTaking\n)\x81}(\x8c\x07weights\x94K\x01\x8c\x07versionK\x01ub" % __name__.encode()
    other = b"c%s\nOther\n)\x81}(h\x00K%%c\x8c\x07versionK\x01ub" % __name__.encode()
    program = b"\x80\x05" + one + other + b"\x86."
    built = [pickle.loads(program % 2) for _ in range(2)]
    assert pickle.dumps(built[0], 5) != pickle.dumps(built[1], 5)
    same(*built)
    with pytest.raises(AssertionError, match="something else is built"):
        same(built[0], pickle.loads(program % 3))
