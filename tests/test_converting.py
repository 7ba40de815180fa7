"""Legacy files become signed ones: what was judged is what is written, originals stay, and nothing else is overwritten."""

import hashlib
import os
import pickle
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import joblib
import numpy
import pytest
from pretending import adopt, pretend
from sklearn.linear_model import LinearRegression, LogisticRegression

import safepickle
from safepickle import FormatError, PolicyError, ProgramError, adopting, comparing, converting, scanning
from safepickle.cli import main

__all__ = ["pretend"]

EVIL = b"\x80\x04\x8c\x02os\x8c\x06system\x93."
URI = "env:SP_KEY"
X = numpy.arange(12.0).reshape(6, 2)


@pytest.fixture(autouse=True)
def _key(monkeypatch, key):
    monkeypatch.setenv("SP_KEY", key.to_text())


@pytest.fixture(scope="module")
def model():
    return LogisticRegression().fit(X, [0, 1, 0, 1, 1, 1])


@pytest.fixture
def legacy(tmp_path, model):
    folder = tmp_path / "legacy"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.pkl").write_bytes(pickle.dumps(model, protocol=4))
    joblib.dump(model, folder / "deep" / "b.joblib")
    (folder / "notes.txt").write_text("no pickle")
    (folder / "no suffix").write_bytes(pickle.dumps([1, 2], protocol=4))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# --- one file ---------------------------------------------------------------------------------------------------


def test_convert_writes_a_signed_file_that_says_what_it_was_made_from(legacy, tmp_path, key, model, pretend):
    info = safepickle.convert(legacy / "a.pkl", tmp_path / "a.spkl", key=key, context="fraud/prod", serial=3, compress="zlib")
    assert info.authenticated
    assert (info.context, info.serial, info.compression) == ("fraud/prod", 3, "zlib")
    digest = hashlib.sha256((legacy / "a.pkl").read_bytes()).hexdigest()
    assert info.metadata == {"converted_from": {"name": "a.pkl", "sha256": digest, "format": "pickle, protocol 4"}}
    loaded = safepickle.load(tmp_path / "a.spkl", key=key, context="fraud/prod", min_serial=3)
    assert numpy.array_equal(loaded.predict_proba(X), model.predict_proba(X))


def test_convert_refuses_what_the_scan_finds_and_what_is_nothing_to_convert(tmp_path, key, pretend):
    cases = [
        (EVIL, PolicyError, "the scan says hostile.*\nos:system runs a command"),
        (b"\x80\x04", ProgramError, "the scan says unreadable"),
        (b"hello", FormatError, "not a pickle"),
        (safepickle.dumps([1], key=key), FormatError, "signed container already"),
    ]
    for data, error, message in cases:
        (tmp_path / "old").write_bytes(data)
        with pytest.raises(error, match=message) as caught:
            safepickle.convert(tmp_path / "old", tmp_path / "new", key=key)
        if error is PolicyError:
            assert caught.value.refusals == ("os:system runs a command",)
        assert not (tmp_path / "new").exists()


def test_convert_never_overwrites(legacy, tmp_path, key, pretend):
    for target in (legacy / "a.pkl", legacy / "notes.txt", legacy):
        before = contents(legacy)
        with pytest.raises(FileExistsError, match="not overwritten"):
            safepickle.convert(legacy / "a.pkl", target, key=key)
        assert contents(legacy) == before


def test_what_is_hashed_scanned_and_adopted_are_the_same_bytes(legacy, tmp_path, key, pretend, monkeypatch):
    """Who can write the original could otherwise show one file to the scan and another to what builds."""
    path = legacy / "a.pkl"
    old = path.read_bytes()
    seen = []

    def replaced(file, **_):
        path.write_bytes(EVIL)
        seen.append(file.read())
        return adopt(__import__("io").BytesIO(seen[-1]))

    monkeypatch.setattr(adopting, "adopt", replaced)
    info = safepickle.convert(path, tmp_path / "new", key=key)
    assert seen == [old]
    assert info.metadata["converted_from"]["sha256"] == hashlib.sha256(old).hexdigest()


def test_a_pipe_in_place_of_the_original_is_refused_and_not_waited_for(tmp_path, key, pretend):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match="not a regular file"):
        safepickle.convert(tmp_path / "pipe", tmp_path / "new", key=key)


# --- folders ----------------------------------------------------------------------------------------------------


def test_a_folder_is_converted_by_content_and_originals_stay(legacy, tmp_path, key, pretend, capsys):
    before = contents(legacy)
    new = tmp_path / "new"
    assert main(["convert", str(legacy), str(new), "--key", URI, "--context", "x/prod"]) == 0
    out, err = capsys.readouterr()
    assert out.count(": converted to ") == 3
    assert err == "3 converted, 0 done before, 0 refused, 1 not a pickle\n"
    assert contents(legacy) == before
    assert set(contents(new)) == {"a.spkl", "deep/b.spkl", "no suffix.spkl"}
    assert safepickle.load(new / "no suffix.spkl", key=key, context="x/prod") == [1, 2]


def test_what_was_done_before_is_skipped_and_what_changed_is_not_overwritten(legacy, tmp_path, key, pretend, capsys):
    new = tmp_path / "new"
    assert main(["convert", str(legacy), str(new), "--key", URI]) == 0
    (new / "deep" / "b.spkl").unlink()
    before = contents(new)
    assert main(["convert", str(legacy), str(new), "--key", URI]) == 0
    assert capsys.readouterr().err.endswith("1 converted, 2 done before, 0 refused, 1 not a pickle\n")
    assert {name: data for name, data in contents(new).items() if name != "deep/b.spkl"} == before
    (legacy / "no suffix").write_bytes(pickle.dumps([3], protocol=4))
    assert main(["convert", str(legacy), str(new), "--key", URI]) == 1
    out, err = capsys.readouterr()
    assert re.search(r"no suffix: REFUSED: FileExistsError: .*it was made from something else", out)
    assert err == "0 converted, 2 done before, 1 refused, 1 not a pickle\n"
    assert safepickle.load(new / "no suffix.spkl", key=key) == [1, 2]
    assert main(["convert", str(legacy), str(new), "--key", URI, "--overwrite"]) == 0
    assert safepickle.load(new / "no suffix.spkl", key=key) == [3]


@pytest.mark.parametrize("other", ["another key", "damaged", "foreign", "another context", "another serial", "not converted", "a link"])
def test_an_output_that_this_would_not_make_stays_as_it_is(other, legacy, tmp_path, key, other_key, pretend, capsys):
    new = tmp_path / "new.spkl"
    made = {"another key": {"key": other_key}, "another context": {"context": "y"}, "another serial": {"serial": 1}}
    options = {"key": key, "context": "x", "serial": 2} | made.get(other, {})
    safepickle.convert(legacy / "a.pkl", new, **options)
    if other == "damaged":
        new.write_bytes(new.read_bytes()[:-1] + b"?")
    elif other == "foreign":
        new.write_bytes(b"the only copy of something")
    elif other == "not converted":
        new.unlink()
        safepickle.dump([1], new, key=key, context="x", serial=2)
    elif other == "a link":
        (tmp_path / "elsewhere").write_bytes(b"precious")
        new.unlink()
        new.symlink_to("elsewhere")
    before = new.read_bytes()
    command = ["convert", str(legacy / "a.pkl"), str(new), "--key", URI, "--context", "x", "--serial", "2"]
    assert main(command) == 1
    assert new.read_bytes() == before
    assert "REFUSED: FileExistsError" in capsys.readouterr().out
    assert main([*command, "--overwrite"]) == (1 if other == "a link" else 0)
    assert (new.read_bytes() == before) is (other == "a link")


def test_two_files_of_one_name_are_both_refused_and_the_rest_is_done(legacy, tmp_path, pretend, capsys):
    joblib.dump([1], legacy / "a.joblib")
    (legacy / "no suffix.txt").write_text("no pickle, so it is in nobody's way")
    assert main(["convert", str(legacy), str(tmp_path / "new"), "--key", URI]) == 1
    out, err = capsys.readouterr()
    assert out.count("would be written to the same") == 2
    assert err == "2 converted, 0 done before, 2 refused, 2 not a pickle\n"
    assert not (tmp_path / "new" / "a.spkl").exists()


def test_a_version_is_no_suffix(tmp_path, pretend):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    for name in ("model-1.2", "model-1.3", "model.v2", ".pkl"):
        (old / name).write_bytes(pickle.dumps(name, protocol=4))
    assert main(["convert", str(old), str(new), "--key", URI]) == 0
    assert set(contents(new)) == {"model-1.2.spkl", "model-1.3.spkl", "model.spkl", ".pkl.spkl"}


def test_many_files_of_one_name_cost_one_look_each(tmp_path, key, pretend, monkeypatch):
    real, seen = scanning.scan, []
    monkeypatch.setattr(scanning, "scan", lambda file, **options: seen.append(file) or real(file, **options))
    paths = [tmp_path / f"a.{letter}" for letter in "bcdefghijk"]
    for path in paths:
        path.write_bytes(pickle.dumps(1, protocol=4))
    job = converting.Job(safepickle.Keyring(key), safepickle.Policy.default())
    found = list(converting.convert_all([str(path) for path in paths], str(tmp_path), str(tmp_path / "new"), job))
    assert {each.status for each in found} == {"refused"}
    assert len(seen) <= 2 * len(paths)


def test_an_original_is_never_replaced_even_with_overwrite(tmp_path, pretend, capsys):
    """The folder to write may be the folder to read, and originals may have any suffix."""
    for name in ("model.pkl", "model.spkl"):
        (tmp_path / name).write_bytes(pickle.dumps([name], protocol=4))
    os.link(tmp_path / "model.pkl", tmp_path / "other.spkl")
    before = contents(tmp_path)
    assert main(["convert", str(tmp_path), str(tmp_path), "--key", URI, "--overwrite"]) == 1
    assert contents(tmp_path) == before
    assert main(["convert", str(tmp_path / "model.pkl"), str(tmp_path / "other.spkl"), "--key", URI, "--overwrite"]) == 1
    assert contents(tmp_path) == before
    assert "originals stay as they are" in capsys.readouterr().out


def test_a_file_that_is_refused_does_not_stop_the_rest(legacy, tmp_path, pretend, monkeypatch, capsys):
    (legacy / "0-evil.pkl").write_bytes(EVIL)
    (legacy / "1-state.pkl").write_bytes(pickle.dumps(["unadoptable"], protocol=4))
    (legacy / "2-crash").write_bytes(b"CRASH")
    (legacy / "3-link").symlink_to("/etc/passwd")
    safepickle.dump([1], legacy / "done.spkl", key=URI)
    assert main(["convert", str(legacy), str(tmp_path / "new"), "--key", URI]) == 1
    out, err = capsys.readouterr()
    for name, error in (("0-evil.pkl", "PolicyError"), ("1-state.pkl", "StateError"), ("2-crash", "RuntimeError"), ("3-link", "a symbolic link")):
        assert re.search(rf"{name}: REFUSED: {error}", out)
    assert "    os:system runs a command" in out
    assert err.endswith("3 converted, 0 done before, 4 refused, 1 signed, 1 not a pickle\n")
    assert set(contents(tmp_path / "new")) == {"a.spkl", "deep/b.spkl", "no suffix.spkl"}


def test_an_interrupt_leaves_whole_files_only(legacy, tmp_path, key, pretend, monkeypatch):
    calls = []

    def interrupted(file, **_):
        calls.append(file)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return adopt(file)

    monkeypatch.setattr(adopting, "adopt", interrupted)
    assert main(["convert", str(legacy), str(tmp_path / "new"), "--key", URI]) == 130
    (made,) = contents(tmp_path / "new")
    safepickle.verify(tmp_path / "new" / made, key=key)


def test_a_failed_write_leaves_nothing_behind(legacy, tmp_path, pretend, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert main(["convert", str(legacy / "a.pkl"), str(tmp_path / "new" / "a.spkl"), "--key", URI]) == 1
    assert "No space left" in capsys.readouterr().out
    assert contents(tmp_path / "new") == {}


@pytest.mark.parametrize(
    "arguments",
    [
        ["missing", "new"],
        ["empty", "new"],
        ["words", "new"],
        ["legacy", "legacy/a.pkl"],
        ["legacy/a.pkl", "legacy"],
        ["-", "new"],
        ["legacy/a.pkl", "-"],
        ["legacy", "new", "--key", "env:SP_NOT_SET"],
        ["legacy", "new", "--key", URI, "--key", URI],
        ["legacy", "new", "--serial", "-1"],
        ["legacy", "new", "--context", ""],
        ["legacy", "new", "--expires", "2001-01-01"],
        ["legacy", "new", "--expires", "tomorrow"],
        ["legacy", "new", "--expires", "2999-01-01T00:00:00"],
        ["legacy", "new", "--expires", "0d"],
        ["legacy", "new", "--policy", "missing"],
        ["legacy", "new", "--allow", "os:system"],
        ["legacy", "new", "--run-original"],
        ["legacy", "new", "--check", "x.npy"],
        ["legacy", "new", "--check", "missing.npy", "--run-original"],
        ["legacy", "new", "--check", "legacy/a.pkl", "--run-original"],
        ["legacy", "new", "--check", "objects.npy", "--run-original"],
        ["legacy", "new", "--check", "two.npz", "--run-original"],
    ],
)
def test_what_cannot_be_done_exits_with_2_and_writes_nothing(arguments, legacy, tmp_path, monkeypatch, pretend, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "notes.txt").write_text("no pickle")
    numpy.save("x.npy", X)
    numpy.save("objects.npy", numpy.array([object], dtype=object), allow_pickle=True)
    numpy.savez("two.npz", X, X)
    before = contents(tmp_path)
    assert main(["convert", *arguments, *([] if "--key" in arguments else ["--key", URI])]) == 2
    assert contents(tmp_path) == before
    assert capsys.readouterr().err.splitlines()[-1].startswith("safepickle: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90d", timedelta(days=90)),
        ("12h", timedelta(hours=12)),
        ("30m", timedelta(minutes=30)),
        ("2999-01-31", datetime(2999, 1, 31, tzinfo=UTC)),
        ("2999-01-31T12:00:00Z", datetime(2999, 1, 31, 12, tzinfo=UTC)),
    ],
)
def test_expires_takes_dates_and_durations(text, expected, legacy, tmp_path, key, pretend):
    assert main(["convert", str(legacy / "a.pkl"), str(tmp_path / "new"), "--key", URI, "--expires", text]) == 0
    found = safepickle.inspect(tmp_path / "new", key=key).expires
    expected = datetime.now(UTC) + expected if isinstance(expected, timedelta) else expected
    assert abs(found - expected) < timedelta(minutes=1)


# --- the original, executed -------------------------------------------------------------------------------------


@pytest.fixture
def inputs(tmp_path):
    numpy.save(tmp_path / "x.npy", X)
    return str(tmp_path / "x.npy")


@pytest.mark.parametrize("name", ["a.pkl", "deep/b.joblib"])
def test_check_compares_with_the_original_in_another_process(name, legacy, tmp_path, key, inputs, pretend, capsys):
    new = tmp_path / "new.spkl"
    assert main(["convert", str(legacy / name), str(new), "--key", URI, "--check", inputs, "--run-original"]) == 0, capsys.readouterr()
    said = capsys.readouterr().out
    for method in ("predict", "predict_proba", "decision_function"):
        assert f"{method} (max abs difference 0)" in said
    safepickle.verify(new, key=key)


def test_check_refuses_an_object_that_answers_otherwise_and_writes_nothing(legacy, tmp_path, inputs, pretend, monkeypatch, capsys):
    def other(file, **_):
        found = adopt(file)
        found.intercept_ = found.intercept_ + 0.5
        return found

    monkeypatch.setattr(adopting, "adopt", other)
    assert main(["convert", str(legacy / "a.pkl"), str(tmp_path / "new"), "--key", URI, "--check", inputs, "--run-original"]) == 1
    out = capsys.readouterr().out
    assert "REFUSED: StateError: the object does not answer like the original" in out
    assert "    decision_function: max abs difference 0.5" in out
    assert not (tmp_path / "new").exists()


def test_what_was_checked_is_not_what_is_written(legacy, tmp_path, key, inputs, pretend, monkeypatch):
    """To predict may change an object; the one that is written was asked nothing."""
    built = []
    monkeypatch.setattr(adopting, "adopt", lambda file, **_: built.append(adopt(file)) or built[-1])
    asked = []
    real = comparing.answers
    monkeypatch.setattr(comparing, "answers", lambda model, inputs: asked.append(model) or real(model, inputs))
    assert main(["convert", str(legacy / "a.pkl"), str(tmp_path / "new"), "--key", URI, "--check", inputs, "--run-original"]) == 0
    assert len(built) == 2
    assert asked == [built[0]]


def test_the_original_is_executed_only_after_the_scan_found_nothing(legacy, tmp_path, inputs, pretend, monkeypatch, capsys):
    monkeypatch.setattr(converting, "_run", lambda *_: pytest.fail("the original was executed"))
    (legacy / "a.pkl").write_bytes(EVIL)
    for extra in (["--check", inputs, "--run-original"], ["--check", inputs], []):
        assert main(["convert", str(legacy / "a.pkl"), str(tmp_path / "new"), "--key", URI, *extra]) in (1, 2)
    assert "--run-original" in capsys.readouterr().err


class Slow:
    """An object whose original does what an original may do."""

    def __init__(self, what):
        self.what = what

    def __reduce__(self):
        import time

        call = {"sleep": (time.sleep, (60,)), "exit": (os._exit, (3,)), "abort": (os.abort, ()), "raise": (int, ("x",))}
        return call[self.what]


@pytest.mark.parametrize(
    ("what", "said"),
    [("sleep", "took more than 1 s"), ("exit", "exit status 3"), ("abort", "exit status -6"), ("raise", "ValueError: invalid literal")],
)
def test_an_original_that_hangs_or_dies_is_refused(what, said, legacy, tmp_path, key, inputs, pretend, monkeypatch):
    (legacy / "a.pkl").write_bytes(pickle.dumps(Slow(what), protocol=4))
    monkeypatch.setattr(adopting, "adopt", lambda file, **_: [1])
    job = converting.Job(
        safepickle.Keyring(key),
        safepickle.Policy.default(),
        inputs=converting.Inputs.checked(inputs),
        limits=safepickle.Limits(rehearsal_seconds=1 if what == "sleep" else 60),
    )
    outcome = converting.convert_one(str(legacy / "a.pkl"), str(tmp_path / "new"), job)
    assert outcome.status == "refused"
    assert said in outcome.message
    assert not (tmp_path / "new").exists()


def test_the_original_gets_no_key_and_no_folder_of_ours(legacy, tmp_path, key):
    environment = converting._environment(
        {"SP_KEY": key.to_text(), "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "LANG": "C"}, ["/a", "", "/b"]
    )
    assert environment == {"LANG": "C", "PYTHONPATH": os.pathsep.join(["/a", "/b"]), "PYTHONDONTWRITEBYTECODE": "1"}


def test_the_module_of_the_original_does_nothing_for_who_imports_it():
    import safepickle.original

    assert [name for name in vars(safepickle.original) if not name.startswith("__")] == ["annotations"]
    assert safepickle.original.__all__ == []


# --- answers ----------------------------------------------------------------------------------------------------


class Answering:
    def __init__(self, **results):
        for name, result in results.items():
            setattr(self, name, lambda x, result=result: result)


def compared(one, other, tmp_path):
    (tmp_path / "answers").mkdir(exist_ok=True)
    comparing.write_answers(str(tmp_path / "answers"), comparing.answers(other, X))
    return comparing.differences(comparing.answers(one, X), comparing.read_answers(str(tmp_path / "answers")))


def results():
    import pandas
    from scipy import sparse

    return {
        "floats": numpy.linspace(0, 1, 5),
        "singles": numpy.linspace(0, 1, 5, dtype="f4"),
        "with nan": numpy.array([numpy.nan, numpy.inf, -numpy.inf, 1]),
        "whole numbers": numpy.arange(4),
        "labels": numpy.array(["yes", "no"], dtype=object),
        "texts": numpy.array(["yes", "no"]),
        "sparse": sparse.csr_matrix([[0, 1.5], [2, 0]]),
        "frame": pandas.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}),
        "list": [numpy.arange(3.0), numpy.arange(4.0)],
    }


@pytest.mark.parametrize("name", sorted(results()))
def test_equal_answers_of_each_form_are_equal_and_others_differ(name, tmp_path):
    import copy

    value = results()[name]
    said, different = compared(Answering(predict=value), Answering(predict=copy.deepcopy(value)), tmp_path)
    assert different == []
    assert said == "predict (max abs difference 0)"
    for other, changed in results().items():
        if other != name:
            assert compared(Answering(predict=value), Answering(predict=changed), tmp_path)[1]


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (numpy.array([1.0]), numpy.array([1.5]), "max abs difference 0.5"),
        (numpy.array([1.0]), numpy.array([numpy.nan]), "max abs difference 0"),
        (numpy.array([1, 2]), numpy.array([1, 5]), "1 of 2 values differ"),
        (numpy.array(["a"]), numpy.array(["b"]), "1 of 1 values differ"),
        (numpy.array([1.0]), numpy.array([[1.0]]), r"shape \(1,\) here"),
        (numpy.array([1.0]), numpy.array([1]), "float64 here, int64"),
        ([1.0], [1.0, 2.0], "the results are of another form"),
    ],
)
def test_a_difference_is_told_with_the_method(one, other, said, tmp_path):
    different = compared(Answering(predict=one), Answering(predict=other), tmp_path)[1]
    assert re.fullmatch(f"predict: {said}.*", different[0])


def test_rounding_is_no_difference_but_told(tmp_path):
    said, different = compared(Answering(predict=numpy.array([1.0])), Answering(predict=numpy.array([1.0 + 2**-52])), tmp_path)
    assert (said, different) == ("predict (max abs difference 2.22e-16)", [])


def test_what_is_missing_or_raises_on_one_side_is_a_difference(tmp_path):
    def raising(_):
        raise ValueError("X has 2 features")

    good, bad, empty = Answering(predict=numpy.arange(3)), Answering(), Answering()
    bad.predict = raising
    assert "it raised ValueError: X has 2 features" in compared(good, bad, tmp_path)[1][0]
    assert "there is no such method" in compared(good, empty, tmp_path)[1][0]
    assert "nothing could be compared: predict raised ValueError" in compared(bad, bad, tmp_path)[1][0]
    assert "nothing could be compared: the object has none of predict" in compared(empty, empty, tmp_path)[1][0]


def test_an_object_among_the_answers_is_not_compared_by_its_address(tmp_path):
    value = Answering(predict=numpy.array([object()], dtype=object))
    assert "array of objects" in compared(value, value, tmp_path)[1][0]


def test_inputs_of_a_table_keep_their_columns(tmp_path, frame):
    frame.to_csv(tmp_path / "x.csv", index=False)
    assert list(comparing.read_inputs(str(tmp_path / "x.csv")).columns) == list(frame.columns)
    numpy.savez(tmp_path / "x.npz", X)
    assert numpy.array_equal(comparing.read_inputs(str(tmp_path / "x.npz")), X)


# --- with the real scan and adopt -------------------------------------------------------------------------------


def test_real_files_are_converted_checked_and_converted_no_second_time(tmp_path, key, model, inputs, capsys):
    legacy, new = tmp_path / "legacy", tmp_path / "new"
    legacy.mkdir()
    for protocol in (0, 2, 5):
        (legacy / f"p{protocol}.pkl").write_bytes(pickle.dumps(model, protocol=protocol))
    joblib.dump(model, legacy / "plain.joblib")
    joblib.dump(model, legacy / "small.gz", compress=("gzip", 3))
    (legacy / "notes.md").write_text("# notes\n")
    command = ["convert", str(legacy), str(new), "--key", URI, "--check", inputs, "--run-original"]
    assert main(command) == 0, capsys.readouterr()
    assert capsys.readouterr().err == "5 converted, 0 done before, 0 refused, 1 not a pickle\n"
    for path in new.iterdir():
        assert numpy.array_equal(safepickle.load(path, key=key).predict_proba(X), model.predict_proba(X))
    assert main(command) == 0
    assert capsys.readouterr().err == "0 converted, 5 done before, 0 refused, 1 not a pickle\n"


def test_a_real_hostile_file_is_refused_and_does_nothing(tmp_path, key):
    (tmp_path / "evil.pkl").write_bytes(f"cos\nmkdir\n(V{tmp_path}/made\ntR.".encode())
    with pytest.raises(safepickle.SafePickleError):
        safepickle.convert(tmp_path / "evil.pkl", tmp_path / "new", key=key)
    with pytest.raises(safepickle.SafePickleError):
        safepickle.adopt(tmp_path / "evil.pkl")
    assert not (tmp_path / "made").exists()
    assert not (tmp_path / "new").exists()


def test_the_commands_of_the_readme_run(tmp_path, model, key):
    readme = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
    (block,) = [each for each in re.findall(r"```sh\n(.*?)```", readme, re.DOTALL) if each.startswith("safepickle scan")]
    (tmp_path / "legacy").mkdir()
    joblib.dump(model, tmp_path / "legacy" / "model.joblib")
    numpy.save(tmp_path / "holdout.npy", X)
    script = block.replace("safepickle ", f"{sys.executable} -m safepickle.cli ")
    environment = {**os.environ, "SAFEPICKLE_KEY": key.to_text(), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "models" / "model.spkl").exists()


def test_the_real_scan_takes_what_the_scan_of_these_tests_takes(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(LinearRegression(), protocol=4))
    assert scanning.scan(str(path)).verdict == "within policy"
    with path.open("rb") as file:
        assert scanning.scan(file).verdict == "within policy"
