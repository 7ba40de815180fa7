"""What a file newly needs, between files and between git revisions."""

import collections
import json
import pickle
import subprocess

import pytest

import safepickle
from safepickle import SecretKey
from safepickle.cli import main

KEY = SecretKey.generate()


@pytest.fixture
def repo(tmp_path, monkeypatch):
    monkeypatch.setenv("SP_KEY", KEY.to_text())
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    safepickle.dump([1], "a.spkl", key=KEY, context="a/prod", serial=3, metadata={"auc": 1})
    commit()
    return tmp_path


def git(*arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


def commit():
    git("add", "-A")
    git("commit", "-qm", "x")


def test_between_revisions_it_says_what_is_newly_needed(repo, capsys):
    safepickle.dump(collections.OrderedDict(a=1), "a.spkl", key=KEY, context="a/prod", serial=4, metadata={"auc": 2})
    commit()
    assert main(["diff", "HEAD~1:a.spkl", "HEAD:a.spkl"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("unauthenticated -> unauthenticated\n")
    assert "newly needs collections:OrderedDict (" in out
    assert "metadata auc: 1 -> 2" in out
    assert "serial: 3 -> 4" in out
    assert main(["diff", "HEAD~1:a.spkl", "a.spkl", "--key", "env:SP_KEY", "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["head"]["kind"] == "authenticated"
    assert main(["diff", "HEAD~1:a.spkl", "a.spkl", "--format", "markdown"]) == 0
    assert "- `metadata auc: 1 -> 2`" in capsys.readouterr().out


def test_a_serial_that_goes_back_and_a_changed_context_exit_with_1(repo, capsys):
    safepickle.dump([1], "b.spkl", key=KEY, context="b/prod", serial=2)
    assert main(["diff", "a.spkl", "b.spkl"]) == 1
    out = capsys.readouterr().out
    assert "ALARM: the serial goes back from 3 to 2" in out
    assert "ALARM: the context changes from 'a/prod' to 'b/prod'" in out
    assert main(["diff", "a.spkl", "b.spkl", "--exit-zero"]) == 0
    assert main(["diff", "a.spkl", "a.spkl"]) == 0


def test_legacy_files_are_compared_without_executing_them(repo, capsys):
    (repo / "old.pkl").write_bytes(pickle.dumps([1]))
    (repo / "new.pkl").write_bytes(b"cos\nsystem\n(S'touch executed'\ntR.")
    assert main(["diff", "old.pkl", "new.pkl"]) == 1
    assert "os:system" in capsys.readouterr().out
    assert not (repo / "executed").exists()
    assert main(["diff", "a.spkl", "old.pkl"]) == 1
    assert "it was a signed file and is none any more" in capsys.readouterr().out


def test_a_file_that_is_new_is_compared_with_nothing(repo, capsys):
    assert main(["diff", "HEAD:none.spkl", "a.spkl"]) == 0
    assert main(["diff", "a.spkl", "HEAD:none.spkl"]) == main(["diff", "a.spkl", "none.spkl"]) == 2


@pytest.mark.parametrize("text", ["--output=x:a.spkl", "-h:a.spkl", ":a.spkl", "HEAD:", "nothing:a.spkl", "HEAD\n:a.spkl"])
def test_what_is_no_revision_exits_with_2(repo, text, capsys):
    assert main(["diff", "a.spkl", "--", text]) == 2
    assert not (repo / "x^{commit}").exists()


def test_a_file_cannot_pass_for_a_revision(repo, capsys):
    (repo / "HEAD:a.spkl").write_bytes(b"nothing")
    assert main(["diff", "HEAD:a.spkl", "a.spkl"]) == 0
    assert "no difference" in capsys.readouterr().out


def test_mutations_end_in_an_exit_code(repo, capsys):
    import random

    whole = (repo / "a.spkl").read_bytes()
    chance = random.Random(1)
    codes = collections.Counter()
    for _ in range(500):
        data = bytearray(whole)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        (repo / "b.spkl").write_bytes(data)
        codes[main(["diff", "a.spkl", "b.spkl"])] += 1
    assert codes.keys() <= {0, 1}
    assert codes[1] > 50
