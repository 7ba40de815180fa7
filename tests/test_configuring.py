"""[tool.safepickle]: where it is found, what it may say, and what is refused with the file and the key."""

import os
import random
import re

import pytest

from safepickle import FormatError, SecretKey
from safepickle.configuring import Config

WHOLE = """
[project]
description = \"\"\"of
several lines\"\"\"
[tool.safepickle]
paths = ["models"]
exclude = ["models/old/*"]
policy = "policy.toml"
packs = ["sklearn"]
allow = ["mycorp:Clip"]
keys = ["env:NAME", "file:keys/trainer.pub", "keyring:ring.toml"]
context-from-path = "{stem}/prod"
min-serial = 3
threshold = 2
require-signed = true
lock = "safepickle.lock"
baseline = "baseline.json"
"""


def test_everything_that_it_may_say(tmp_path):
    (tmp_path / "pyproject.toml").write_text(WHOLE)
    found = Config.read(tmp_path / "pyproject.toml")
    assert found.paths == (str(tmp_path / "models"),)
    assert found.policy == str(tmp_path / "policy.toml")
    assert found.keys == ("env:NAME", f"file:{tmp_path}/keys/trainer.pub", f"keyring:{tmp_path}/ring.toml")
    assert (found.min_serial, found.threshold, found.require_signed, found.context_from_path) == (3, 2, True, "{stem}/prod")
    assert (found.lock, found.folder) == (str(tmp_path / "safepickle.lock"), str(tmp_path))


def test_it_is_found_upwards_as_far_as_the_repository_goes(tmp_path):
    deep = tmp_path / "repo" / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("[tool.safepickle]\nmin-serial = 1")
    (tmp_path / "repo" / "a" / "pyproject.toml").write_text("[tool.other]\nx = 1")
    assert Config.find(deep).min_serial == 1
    (tmp_path / "repo" / "pyproject.toml").write_text("[tool.safepickle]\nmin-serial = 2")
    assert Config.find(deep).min_serial == 2
    (tmp_path / "repo" / "a" / ".git").mkdir()
    assert Config.find(deep) is None


def test_one_that_everybody_can_write_is_not_believed(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.safepickle]")
    (tmp_path / "pyproject.toml").chmod(0o666)
    with pytest.raises(FormatError, match="everybody can write it"):
        Config.find(tmp_path)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense = 1", "'nonsense' means nothing here"),
        ("paths = 'models'", "paths is a list of texts"),
        ("allow = [1]", "allow is a list of texts"),
        ("policy = ['x']", "policy is a text"),
        ("min-serial = -1", "min-serial is an integer from 0"),
        ("threshold = true", "threshold is an integer from 1 to 16"),
        ("require-signed = 1", "require-signed is true or false"),
        ("keys = ['pkcs11:token=x?module-path=/tmp/x.so']", "loads native code"),
        ("keys = ['http://x']", "is not allowed here"),
        ("keys = ['NAME']", "looks like a key itself or names nothing"),
        ("keys = ['env:']", "looks like a key itself or names nothing"),
    ],
)
def test_what_is_not_understood_is_refused_with_file_and_key(tmp_path, line, said):
    (tmp_path / "pyproject.toml").write_text(f"[tool.safepickle]\n{line}\n")
    with pytest.raises(FormatError, match=f"pyproject.toml: .tool.safepickle. .*{re.escape(said)}"):
        Config.find(tmp_path)


def test_a_key_is_refused_and_not_repeated(tmp_path):
    for value in (SecretKey.generate().to_text(), "env:" + SecretKey.generate().to_text(), os.urandom(32).hex()):
        (tmp_path / "pyproject.toml").write_text(f"[tool.safepickle]\nkeys = ['{value}']\n")
        with pytest.raises(FormatError, match="looks like a key") as caught:
            Config.read(tmp_path / "pyproject.toml")
        assert value[-20:] not in str(caught.value)


@pytest.mark.parametrize("text", ["tool = 1\nx", "[tool]\nsafepickle = 1", "a" + ".a" * 1000 + " = 1", "x = " + "[" * 50_000, "#" * 300_000])
def test_what_is_no_pyproject_is_refused(tmp_path, text):
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(FormatError):
        Config.find(tmp_path)


def test_mutations_raise_nothing_but_our_errors(tmp_path):
    chance = random.Random(1)
    refused = 0
    for _ in range(500):
        data = bytearray(WHOLE.encode())
        at = chance.randrange(len(data))
        data[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        (tmp_path / "pyproject.toml").write_bytes(data)
        try:
            Config.read(tmp_path / "pyproject.toml")
        except FormatError:
            refused += 1
    assert refused > 100


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_one_of_a_stranger_is_not_believed(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.safepickle]\nmin-serial = 1")
    os.chown(tmp_path / "pyproject.toml", 12345, 12345)
    with pytest.raises(FormatError, match="belongs to another user"):
        Config.find(tmp_path)
    os.chown(tmp_path, 12345, 12345)
    assert Config.find(tmp_path).min_serial == 1, "whoever owns the folder may say what holds in it"


def test_the_walk_ends_where_another_device_begins(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text("[tool.safepickle]\nmin-serial = 1")
    (tmp_path / "mounted").mkdir()
    assert Config.find(tmp_path / "mounted").min_serial == 1
    real = os.stat

    def stat(path, **options):
        status = real(path, **options)
        if str(path) != str(tmp_path):
            return status
        return os.stat_result([*status[:2], status.st_dev + 1, *status[3:10]])

    monkeypatch.setattr(os, "stat", stat)
    assert Config.find(tmp_path / "mounted") is None
