"""`safepickle verify` as a gate in pipelines: hooks, the action and every report, in a real git repository."""

import os
import pickle
from pathlib import Path

import pytest

import safepickle
from safepickle.cli import main

KEY = safepickle.SecretKey.from_bytes(b"the key of the pipeline's tests "[:32])


@pytest.fixture(autouse=True)
def _outside_of_pipelines(monkeypatch):
    """The tests may run in a pipeline themselves."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "SAFEPICKLE_KEY", "SAFEPICKLE_VERIFY_KEYS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SP_KEY", KEY.to_text())


# --- names that others chose --------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["verify", "--allow-empty", "--by-content", "--key", "env:SP_KEY"], ["scan", "--by-content"]])
def test_a_hook_takes_names_and_no_name_is_an_option_a_pattern_or_stdin(command, tmp_path, monkeypatch, capsys):
    """A file called --exclude=* would keep all others from being looked at."""
    monkeypatch.chdir(tmp_path)
    for name in ("notes.md", "-", "--", "*", "-h"):
        Path(name).write_bytes(b"text\n")
    hostile = b"cos\nsystem\n(S'true'\ntR."
    Path("--exclude=*").write_bytes(hostile)
    Path("--allow=os:system").write_bytes(b"text\n")
    safepickle.dump([1], "signed.spkl", key=KEY)
    names = sorted(os.listdir())
    assert main([*command, "--", *names]) == 1
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith(("--exclude=*: REFUSED", "hostile "))]
    names.remove("--exclude=*")
    assert main([*command, "--", *names]) == 0
    assert main([*command, "--", "notes.md"]) == 0
    capsys.readouterr()
    assert main([*command, "notes.md", "-"]) == 2
    assert "write -- before the first" in capsys.readouterr().err
    Path("model").write_bytes(pickle.dumps([1]))
    assert main([*command, "--", "model"]) == (1 if command[0] == "verify" else 0)
