"""The lock: what is written, what is read, and what a file must be to be the one that was reviewed."""

import os
import random
import re

import pytest

import safepickle
from safepickle import AuthenticationError, FormatError, SecretKey
from safepickle.cli import main
from safepickle.lockfile import Entry, Lock

KEY = SecretKey.generate()
DIGEST = "ab" * 32
ENTRY = f'[[file]]\npath = "a.spkl"\nsha256 = "{DIGEST}"\nsize = 1\nkey_ids = ["{"0" * 16}"]\n'


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setenv("SP_KEY", KEY.to_text())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    safepickle.dump([1], tmp_path / "models" / "a.spkl", key=KEY, context="a/prod", serial=3)
    safepickle.dump([2], tmp_path / "models" / "b.spkl", key=KEY)
    return tmp_path / "models"


def lock(*more):
    return main(["lock", *more])


def test_lock_writes_what_it_verified_sorted_and_verify_needs_no_key(models, monkeypatch):
    assert lock("models", "--key", "env:SP_KEY") == 0
    text = (models.parent / "safepickle.lock").read_text()
    assert text.index('path = "models/a.spkl"') < text.index('path = "models/b.spkl"')
    assert f'key_ids = ["{KEY.key_id}"]\ncontext = "a/prod"\nserial = 3\n' in text
    monkeypatch.delenv("SP_KEY")
    assert lock("--verify") == lock("--verify", "models") == lock("--verify", "models/a.spkl") == 0
    assert Lock.read("safepickle.lock").to_text() == text


def test_check_writes_nothing_and_says_whether_it_would(models, capsys):
    assert lock("models", "--key", "env:SP_KEY", "--check") == 1
    assert not (models.parent / "safepickle.lock").exists()
    assert lock("models", "--key", "env:SP_KEY") == lock("models", "--key", "env:SP_KEY", "--check") == 0
    safepickle.dump([3], models / "a.spkl", key=KEY)
    capsys.readouterr()
    assert lock("models", "--key", "env:SP_KEY", "--check") == 1
    assert "models/a.spkl: another sha256, context, serial" in capsys.readouterr().out


def test_what_differs_is_told(models, capsys):
    assert lock("models/a.spkl", "--key", "env:SP_KEY") == 0
    (models / "renamed.bin").write_bytes((models / "b.spkl").read_bytes())
    with (models / "a.spkl").open("ab") as file:
        file.write(b"x")
    assert lock("--verify") == 1
    out = capsys.readouterr().out
    assert "a.spkl: REFUSED: this is not the file that was reviewed" in out
    assert "the lock does not list 'models/b.spkl'" in out
    assert "the lock does not list 'models/renamed.bin'" in out
    (models / "a.spkl").unlink()
    assert lock("--verify") == 1
    assert "models/a.spkl: REFUSED: listed in the lock, and there is no such file" in capsys.readouterr().out


def test_files_that_are_gone_stay_until_they_are_pruned(models):
    assert lock("models", "--key", "env:SP_KEY") == 0
    (models / "b.spkl").unlink()
    assert lock("models", "--key", "env:SP_KEY") == 0
    assert len(Lock.read("safepickle.lock").entries) == 2
    assert lock("models", "--key", "env:SP_KEY", "--prune") == 0
    assert list(Lock.read("safepickle.lock").entries) == ["models/a.spkl"]


def test_a_file_that_is_refused_leaves_the_lock_as_it_was(models):
    (models / "c.spkl").write_bytes(b"\x80\x05N.")
    assert lock("models", "--key", "env:SP_KEY") == 1
    assert not (models.parent / "safepickle.lock").exists()
    assert lock("--verify") == lock() == lock("none", "--key", "env:SP_KEY") == lock("--verify", "--prune") == 2


def test_what_is_not_below_the_lock_cannot_be_listed_and_a_special_file_is_not_read(models, tmp_path):
    assert lock("models", "--key", "env:SP_KEY") == 0
    reviewed = Lock.read("safepickle.lock")
    with pytest.raises(AuthenticationError, match="is not below"):
        reviewed.check(tmp_path.parent / "x.spkl")
    (models / "a.spkl").unlink()
    os.mkfifo(models / "a.spkl")
    with pytest.raises(OSError, match="not a regular file"):
        reviewed.check(models / "a.spkl")
    assert lock("--verify") == 1


def test_a_link_is_what_it_leads_to(models):
    assert lock("models", "--key", "env:SP_KEY") == 0
    (models / "a.spkl").unlink()
    (models / "a.spkl").symlink_to(models / "b.spkl")
    with pytest.raises(AuthenticationError, match="not the file that was reviewed"):
        Lock.read("safepickle.lock").check(models / "a.spkl")
    assert lock("--verify") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it must say `lock = 1`"),
        ("lock = 2", "it must say `lock = 1`"),
        ("lock = 1\nx = 2", "x means nothing here"),
        ("lock = 1\nfile = 2", "files are written [[file]]"),
        ("lock = ", "is not TOML as it should be"),
        (f"lock = 1\n{ENTRY}comment = 1", "file 1: there is no comment"),
        (f"lock = 1\n{ENTRY}{ENTRY}", "path 'a.spkl' is listed twice"),
        (f"lock = 1\n{ENTRY}{ENTRY.replace('a.spkl', 'A.spkl')}", "are the same file where case"),
        (f"lock = 1\n{ENTRY.replace('a.spkl', chr(0xE9))}{ENTRY.replace('a.spkl', 'e' + chr(0x301))}", "are the same file where case"),
        (f"lock = 1\n{ENTRY.replace('a.spkl', '/a')}", "is absolute"),
        (f"lock = 1\n{ENTRY.replace('a.spkl', 'C:a')}", "is absolute"),
        (f"lock = 1\n{ENTRY.replace('a.spkl', 'b/../a')}", "leads upwards with '..'"),
        (f"lock = 1\n{ENTRY.replace('a.spkl', './a')}", "a part that is empty or '.'"),
        (f"lock = 1\n{ENTRY.replace('a.spkl', 'a' + chr(92) * 2 + 'b')}", "has a backslash"),
        (f"lock = 1\n{ENTRY.replace('ab', 'AB')}", "the sha256 of a file is"),
        (f"lock = 1\n{ENTRY.replace('size = 1', 'size = -1')}", "the size of a file is"),
        (f"lock = 1\n{ENTRY.replace('0' * 16, 'x')}", "the key_ids of a file are each"),
        (f"lock = 1\n{ENTRY}context = 1", "the context of a file is"),
        (f"lock = 1\n{ENTRY}serial = true", "the serial of a file is"),
    ],
)
def test_what_is_no_lock_is_refused(tmp_path, text, said):
    (tmp_path / "safepickle.lock").write_text(text)
    with pytest.raises(FormatError, match=re.escape(said)):
        Lock.read(tmp_path / "safepickle.lock")


def test_mutations_of_a_lock_raise_nothing_but_our_errors(tmp_path):
    whole = Lock({"a.spkl": Entry(DIGEST, 1, ("0" * 16,), "a/prod", 3), "b/ü.spkl": Entry(DIGEST, 2, ("1" * 16,))}).to_text().encode()
    chance = random.Random(1)
    path = tmp_path / "safepickle.lock"
    refused = 0
    for _ in range(500):
        data = bytearray(whole)
        at = chance.randrange(len(data))
        data[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        path.write_bytes(data)
        try:
            Lock.read(path).to_text()
        except FormatError:
            refused += 1
    assert refused > 100
