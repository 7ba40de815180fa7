"""What a project says in [tool.safepickle], the baseline and the lock: the gate as a team uses it."""

import contextlib
import json
import os
import pickle
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

import safepickle
from safepickle import PrivateKey, SecretKey, gate, lockfile
from safepickle.cli import main

KEY = SecretKey.from_bytes(b"the key of a project's tests, 1."[:32])
OTHER = SecretKey.from_bytes(b"the key of a project's tests, 2."[:32])
PAIR = PrivateKey.generate()


class Clip:
    """A class of the project's own: `dump` allows it where it is asked to."""


@pytest.fixture
def repo(tmp_path, monkeypatch):
    top = tmp_path / "repo"
    (top / "models" / "deep").mkdir(parents=True)
    (top / "models" / "good.spkl").write_bytes(safepickle.dumps([1], key=PAIR, context="good/prod", serial=3))
    (top / "models" / "deep" / "fine.spkl").write_bytes(safepickle.dumps([2], key=PAIR, context="fine/prod", serial=3))
    (top / "trainer.pub").write_text(PAIR.public_key().to_text())
    (top / "notes.txt").write_text("nothing")
    monkeypatch.chdir(top)
    for name in ("GITHUB_ACTIONS", "SAFEPICKLE_KEY", "SAFEPICKLE_VERIFY_KEYS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return top


def says(text: str) -> None:
    Path("pyproject.toml").write_text(f"[tool.safepickle]\n{text}\n")


def secret_key(path: str) -> None:
    Path(path).touch(0o600)
    Path(path).write_text(OTHER.to_text())


PROJECT = 'paths = ["models"]\nkeys = ["file:trainer.pub"]\ncontext-from-path = "{stem}/prod"\nmin-serial = 3'


def report(*arguments, capsys):
    capsys.readouterr()
    code = main(["verify", *arguments, "--format", "json"])
    out = json.loads(capsys.readouterr().out)
    return code, {each["path"]: each["status"] for each in out["files"]}, out


# --- what the project says -------------------------------------------------------------------------------------------


def test_verify_alone_is_enough_where_the_project_says_the_rest(repo, monkeypatch, capsys):
    says(PROJECT)
    assert main(["verify"]) == 0
    out, err = capsys.readouterr()
    assert out.count("verified, signed by") == 2
    assert err == "2 verified, 0 refused (with [tool.safepickle] of pyproject.toml)\n"
    monkeypatch.chdir("models/deep")
    assert report(capsys=capsys)[:2] == (0, {"../good.spkl": "verified", "../deep/fine.spkl": "verified"})


def test_options_come_before_the_environment_and_that_before_the_project(repo, monkeypatch, capsys):
    says(PROJECT)
    secret_key("other.key")
    assert main(["verify", "--key", "file:other.key"]) == 1
    monkeypatch.setenv("SAFEPICKLE_KEY", OTHER.to_text())
    assert main(["verify"]) == 1
    assert "UnknownKeyError" in capsys.readouterr().out
    assert main(["verify", "--key", "file:trainer.pub"]) == 0
    monkeypatch.delenv("SAFEPICKLE_KEY")
    monkeypatch.setenv("SAFEPICKLE_VERIFY_KEYS", PAIR.public_key().to_text())
    says(PROJECT.replace("trainer.pub", "nothing.pub"))
    assert main(["verify"]) == 0, "a key that is not used is not read"


def test_each_thing_that_a_project_says_holds_and_gives_way_to_an_option(repo, capsys):
    says(f"{PROJECT}\nthreshold = 2")
    assert main(["verify"]) == 1
    assert main(["verify", "--threshold", "1"]) == 0
    says(PROJECT.replace("min-serial = 3", "min-serial = 4"))
    assert main(["verify"]) == 1
    assert main(["verify", "--min-serial", "3"]) == 0
    says(PROJECT.replace("{stem}/prod", "{stem}/test"))
    assert main(["verify"]) == 1
    assert main(["verify", "models/good.spkl", "--context", "good/prod"]) == 0
    assert main(["verify", "--context-from-path", "{stem}/prod"]) == 0
    assert main(["verify", "--no-config", "models", "--key", "file:trainer.pub"]) == 0
    Path("elsewhere").mkdir()
    Path("pyproject.toml").rename("elsewhere/pyproject.toml")
    assert main(["verify"]) == 2
    assert main(["verify", "--config", "elsewhere/pyproject.toml", "models", "--key", "file:trainer.pub"]) == 1
    capsys.readouterr()


def test_the_path_in_a_template_of_the_project_is_the_one_below_its_folder(repo, monkeypatch, capsys):
    Path("models/deep/by-path.spkl").write_bytes(safepickle.dumps([2], key=PAIR, context="models/deep/by-path.spkl", serial=3))
    says(PROJECT.replace("{stem}/prod", "{path}"))
    for arguments in (["models/deep/by-path.spkl"], [str(repo / "models/deep/by-path.spkl")]):
        assert main(["verify", *arguments]) == 0
    monkeypatch.chdir("models")
    assert main(["verify", "deep/by-path.spkl"]) == 0
    assert main(["verify", "deep", "--context-from-path", "{path}"]) == 1
    capsys.readouterr()


def test_what_a_project_leaves_out_is_left_out_whatever_the_working_directory(repo, monkeypatch, capsys):
    Path("models/deep/raw.pkl").write_bytes(pickle.dumps([1] * 20))
    assert main(["verify", "models", "--key", "file:trainer.pub"]) == 1
    says(f'{PROJECT}\nexclude = ["models/deep/*.pkl"]')
    assert main(["verify"]) == 0
    assert main(["scan"]) == 0
    monkeypatch.chdir("models/deep")
    assert main(["verify", "."]) == 0
    assert main(["verify", "raw.pkl", "--allow-empty"]) == 0
    assert main(["verify", "--exclude", "fine*"]) == 0
    assert main(["verify", "--no-config", ".", "--key", "file:../../trainer.pub"]) == 1
    capsys.readouterr()


def test_a_project_allows_names_and_a_policy_of_the_options_replaces_its_own(repo, capsys):
    name = f"{Clip.__module__}:{Clip.__qualname__}"
    Path("models/clip.spkl").write_bytes(safepickle.dumps(Clip(), key=PAIR, allow=[Clip], context="clip/prod", serial=3))
    says(PROJECT)
    assert main(["verify"]) == 1
    assert "PolicyError" in capsys.readouterr().out
    says(f'{PROJECT}\nallow = ["{name}"]')
    assert main(["verify"]) == 0
    Path("strict.toml").write_text("packs = []")
    assert main(["verify", "--policy", "strict.toml"]) == 1, "what is allowed beside the project's policy is not allowed beside another"
    assert main(["verify", "--policy", "strict.toml", "--allow", name]) == 0
    says(f'{PROJECT}\npolicy = "strict.toml"\npacks = ["nothing"]')
    assert main(["verify"]) == 2
    capsys.readouterr()


def test_a_project_may_leave_old_files_unsigned_for_a_while_but_not_those_that_are_named_or_ours(repo, capsys):
    Path("models/old.pkl").write_bytes(pickle.dumps([1] * 20))
    says(f"{PROJECT}\nrequire-signed = false")
    code, files, out = report(capsys=capsys)
    assert (code, files["models/old.pkl"], out["unsigned"]) == (0, "unsigned", 1)
    assert main(["verify"]) == 0
    text, err = capsys.readouterr()
    assert "models/old.pkl: warning: UnsignedError: " in text
    assert "2 verified, 1 unsigned, 0 refused" in err
    assert main(["verify", "models/old.pkl"]) == 1
    Path("models/torn.spkl").write_bytes(pickle.dumps([1] * 20))
    assert main(["verify"]) == 1
    capsys.readouterr()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path = []", "'path' means nothing here"),
        ("threshold = 0", "threshold is an integer from 1"),
        ('keys = ["pkcs11:x"]', "loads native code"),
        ("paths = [", "cannot be used"),
    ],
)
def test_what_a_project_must_not_say_stops_every_command_that_asks(repo, text, said, capsys):
    says(text)
    for command in (["verify", "models"], ["scan", "models"], ["lock", "models"], ["pins", "check", "models", "--pins", "p"], ["convert", "a", "b"]):
        assert main(command) == 2
        out, err = capsys.readouterr()
        assert said in err
        assert not out
    assert main(["verify", "--no-config", "models", "--key", "file:trainer.pub"]) == 0


def test_a_configuration_that_is_named_must_be_one(repo, capsys):
    Path("empty.toml").write_text("[tool.other]\nx = 1")
    for path in ("empty.toml", "missing.toml", "models"):
        assert main(["verify", "models", "--key", "file:trainer.pub", "--config", path]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_nothing_is_read_from_beside_a_model(repo, tmp_path, monkeypatch, capsys):
    Path("models/pyproject.toml").write_text(f'[tool.safepickle]\nallow = ["{Clip.__module__}:Clip"]\nrequire-signed = false\n')
    Path("models/raw.pkl").write_bytes(pickle.dumps([1] * 20))
    assert main(["verify", "models", "--key", "file:trainer.pub"]) == 1
    monkeypatch.chdir(tmp_path)
    assert main(["verify", "repo/models", "--key", "file:repo/trainer.pub"]) == 1
    capsys.readouterr()


def test_signing_trusts_nobody_because_a_checkout_says_so(repo, monkeypatch, capsys):
    """A checkout that names a stranger's key must not make somebody add a signature to the stranger's file."""
    says(PROJECT)
    monkeypatch.setenv("SAFEPICKLE_KEY", OTHER.to_text())
    for command in ("sign", "resign"):
        assert main([command, "models/good.spkl"]) == 1
        assert "UnknownKeyError" in capsys.readouterr().out


# --- the baseline ----------------------------------------------------------------------------------------------------


@pytest.fixture
def messy(repo):
    says(PROJECT)
    Path("models/raw.pkl").write_bytes(pickle.dumps([1] * 20))
    Path("models/wrong.spkl").write_bytes(safepickle.dumps([3], key=PAIR, context="other/prod", serial=3))
    return repo


def test_a_baseline_accepts_what_was_there_and_nothing_that_changes(messy, capsys):
    assert main(["verify", "--baseline", "base.json"]) == 2
    assert "--update-baseline" in capsys.readouterr().err
    assert main(["verify", "--baseline", "base.json", "--update-baseline"]) == 0
    out, err = capsys.readouterr()
    assert out.count(": accepted: ") == 2
    assert "2 findings are accepted" in err
    assert "2 verified, 2 accepted, 0 refused" in err
    entries = json.loads(Path("base.json").read_text())["findings"]
    assert [(each["path"], each["rule"]) for each in entries] == [("models/raw.pkl", "unsigned"), ("models/wrong.spkl", "context")]
    says(f'{PROJECT}\nbaseline = "base.json"')
    code, files, out = report(capsys=capsys)
    assert (code, files["models/raw.pkl"], files["models/wrong.spkl"], out["accepted"]) == (0, "accepted", "accepted", 2)
    assert [each["accepted"] for each in out["files"] for each in each["findings"]] == [True, True]
    Path("models/raw.pkl").write_bytes(pickle.dumps([1] * 21))
    assert main(["verify"]) == 1
    assert "the baseline accepts this for another content of the file" in capsys.readouterr().out
    Path("models/new.pkl").write_bytes(pickle.dumps([1] * 20))
    assert report(capsys=capsys)[1]["models/new.pkl"] == "refused", "the same content elsewhere is another file"


def test_what_is_accepted_is_one_kind_of_finding(messy, capsys):
    main(["verify", "--baseline", "base.json", "--update-baseline"])
    secret_key("other.key")
    code, files, _ = report("--baseline", "base.json", "--key", "file:other.key", capsys=capsys)
    assert (code, files["models/wrong.spkl"], files["models/raw.pkl"]) == (1, "refused", "accepted")


def test_what_is_not_needed_any_more_is_told_and_dropped(messy, capsys):
    main(["verify", "--baseline", "base.json", "--update-baseline"])
    capsys.readouterr()
    os.unlink("models/wrong.spkl")
    assert main(["verify", "--baseline", "base.json"]) == 0
    assert "lists 1 findings that are there no more" in capsys.readouterr().err
    assert main(["verify", "models/good.spkl", "--baseline", "base.json", "--update-baseline"]) == 0
    left = [each["path"] for each in json.loads(Path("base.json").read_text())["findings"]]
    assert left == ["models/raw.pkl"], "what was not looked at stays"
    assert main(["verify", "models/raw.pkl", "--baseline", "base.json", "--update-baseline"]) == 0
    capsys.readouterr()


def test_what_nobody_could_read_is_not_accepted(messy, capsys):
    os.symlink("nothing", "models/nowhere.spkl")
    assert main(["verify", "--baseline", "base.json", "--update-baseline"]) == 1
    out, _ = capsys.readouterr()
    assert "nowhere.spkl: REFUSED" in out
    assert len(json.loads(Path("base.json").read_text())["findings"]) == 2


@pytest.mark.parametrize("form", ["text", "json", "jsonl", "sarif", "junit", "github", "gitlab"])
def test_every_report_has_what_is_accepted_and_calls_it_so(messy, form, capsys):
    main(["verify", "--baseline", "base.json", "--update-baseline"])
    capsys.readouterr()
    assert main(["verify", "--baseline", "base.json", "--format", form]) == 0
    out = capsys.readouterr().out
    assert "raw.pkl" in out
    match form:
        case "sarif":
            results = json.loads(out)["runs"][0]["results"]
            assert [(each["level"], each["suppressions"][0]["status"]) for each in results] == [("note", "accepted")] * 2
        case "junit":
            assert out.count("<skipped ") == 2
            assert "<failure" not in out
            assert 'skipped="2"' in out
        case "github":
            assert out.count("::notice ") == 2
            assert "::error" not in out
        case "gitlab":
            assert {each["severity"] for each in json.loads(out)} == {"info"}
        case _:
            assert out.count("accepted") >= 2


def test_a_baseline_that_cannot_be_used_is_no_baseline(messy, capsys):
    Path("base.json").write_text("{}")
    assert main(["verify", "--baseline", "base.json"]) == 2
    assert main(["verify", "--baseline", "base.json", "--update-baseline"]) == 2
    assert Path("base.json").read_text() == "{}"
    assert main(["verify", "--update-baseline"]) == 2
    assert main(["verify", "--baseline", "no/folder/base.json", "--update-baseline"]) == 2
    capsys.readouterr()


def test_in_the_first_week_the_exit_code_is_0_and_the_report_says_why(messy, capsys):
    assert main(["verify", "--exit-zero"]) == 0
    out, err = capsys.readouterr()
    assert out.count("REFUSED") == 2
    assert "2 refused (the exit code is 0 whatever is refused, by --exit-zero" in err
    assert main(["verify", "missing", "--exit-zero"]) == 2
    assert main(["verify", "models", "--exit-zero", "--no-config"]) == 2, "without a key nothing is found out"
    Path("models/evil.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert main(["scan", "models"]) == 1
    assert main(["scan", "models", "--exit-zero"]) == 0
    assert "hostile" in capsys.readouterr().out


# --- the lock --------------------------------------------------------------------------------------------------------


def test_a_lock_vouches_for_files_where_there_is_no_key(repo, capsys):
    assert main(["lock", "models", "--key", "file:trainer.pub"]) == 0
    code, files, out = report("models", "--lock", "safepickle.lock", capsys=capsys)
    assert (code, set(files.values()), out["reviewed"], out["verified"]) == (0, {"reviewed"}, 2, 0)
    assert not any(each["authenticated"] for each in out["files"])
    assert main(["verify", "models", "--lock", "safepickle.lock", "--key", "file:trainer.pub"]) == 0
    assert "verified, signed by" in capsys.readouterr().out


def test_a_file_that_is_not_as_it_was_reviewed_is_refused_whoever_signed_it(repo, capsys):
    main(["lock", "models", "--key", "file:trainer.pub"])
    Path("models/good.spkl").write_bytes(safepickle.dumps([9], key=PAIR, context="good/prod", serial=3))
    Path("models/new.spkl").write_bytes(safepickle.dumps([9], key=PAIR, context="new/prod", serial=3))
    Path("models/raw.bin").write_bytes(zlib.compress(pickle.dumps(["a"] * 50)))
    for key in ([], ["--key", "file:trainer.pub"]):
        code, files, out = report("models", "--lock", "safepickle.lock", *key, capsys=capsys)
        rules = {each["path"]: each.get("rule") for each in out["files"]}
        assert code == 1
        assert rules == {"models/good.spkl": "lock", "models/new.spkl": "lock", "models/raw.bin": "unsigned", "models/deep/fine.spkl": None}
        assert files["models/deep/fine.spkl"] == ("verified" if key else "reviewed")


def test_the_rest_is_checked_as_ever(repo, capsys):
    main(["lock", "models", "--key", "file:trainer.pub"])
    assert main(["verify", "models", "--lock", "safepickle.lock", "--context", "good/prod"]) == 1
    assert main(["verify", "models", "--lock", "safepickle.lock", "--min-serial", "4"]) == 1
    for more in (["--threshold", "2"], ["--pins", "p.toml"]):
        assert main(["verify", "models", "--lock", "safepickle.lock", *more]) == 2, "that asks for signatures"
    assert main(["verify", "models", "--lock", "missing.lock"]) == 2
    assert main(["verify", "-", "--lock", "safepickle.lock", "--key", "file:trainer.pub"]) in (1, 2)
    capsys.readouterr()


def test_the_lock_of_the_project_and_what_it_excludes(repo, capsys):
    Path("models/raw.pkl").write_bytes(pickle.dumps([1] * 20))
    says(f'{PROJECT}\nlock = "reviewed/models.lock"\nexclude = ["raw.pkl"]')
    Path("reviewed").mkdir()
    assert main(["lock"]) == 1, "names in a lock begin in its folder"
    says(f'{PROJECT}\nlock = "models.lock"\nexclude = ["raw.pkl"]')
    assert main(["lock"]) == 0
    assert main(["lock", "--verify"]) == 0
    assert main(["lock", "--verify", "--no-config", "--lock", "models.lock"]) == 1
    assert main(["lock", "--verify", "--no-config", "--lock", "models.lock", "--exclude", "*.pkl"]) == 0
    capsys.readouterr()


def test_files_below_a_folder_are_signed_by_content_and_by_name(repo, monkeypatch, capsys):
    Path("models/renamed.bin").write_bytes(Path("models/good.spkl").read_bytes())
    Path("models/notes.md").write_text("nothing")
    monkeypatch.setenv("SAFEPICKLE_KEY", OTHER.to_text())
    assert main(["sign", "models", "--trust", "file:trainer.pub"]) == 0
    assert capsys.readouterr().out.count("signed by") == 3
    assert main(["sign", "models/notes.md", "--trust", "file:trainer.pub"]) == 1
    Path("empty").mkdir()
    assert main(["sign", "empty", "--trust", "file:trainer.pub"]) == 2
    os.symlink("/", "models/link")
    assert main(["sign", "models", "--trust", "file:trainer.pub"]) == 2
    capsys.readouterr()


def test_a_lock_or_baseline_that_somebody_else_wrote_meanwhile_is_not_overwritten(messy, monkeypatch, capsys):
    def meanwhile(path: str, module, name: str):
        real = getattr(module, name)

        def slow(*arguments, **options):
            Path(path).write_text(Path(path).read_text() + "\n")
            return real(*arguments, **options)

        monkeypatch.setattr(module, name, slow)

    assert main(["lock", "models/good.spkl"]) == 0
    assert main(["verify", "models/raw.pkl", "--baseline", "base.json", "--update-baseline"]) == 0
    meanwhile("safepickle.lock", lockfile, "verified")
    meanwhile("base.json", gate, "check")
    assert main(["lock", "models/deep"]) == 2
    assert main(["verify", "--baseline", "base.json", "--update-baseline"]) == 2
    assert capsys.readouterr().err.count("was changed meanwhile, so nothing was written: run this again") == 2
    assert "fine" not in Path("safepickle.lock").read_text()
    assert "wrong" not in Path("base.json").read_text()


# --- the terminal ----------------------------------------------------------------------------------------------------

SLOW = """
import sys, time
from safepickle import gate
from safepickle.cli import main
real = gate.check
def check(*arguments):
    time.sleep(0.7)
    return real(*arguments)
gate.check = check
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a terminal of its own")
@pytest.mark.parametrize("terminal", [True, False])
def test_work_that_lasts_shows_a_bar_on_a_terminal_and_nowhere_else(repo, terminal):
    pytest.importorskip("tqdm")
    termios = pytest.importorskip("termios")
    says(PROJECT)
    for number in range(3):
        Path(f"models/{number}.spkl").write_bytes(Path("models/good.spkl").read_bytes())
    here, there = os.openpty()
    termios.tcsetwinsize(there, (24, 100))
    command = [sys.executable, "-c", SLOW, "verify", "--context-from-path", "good/prod"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=there if terminal else subprocess.PIPE)
    os.close(there)
    shown = b""
    if terminal:
        # A terminal that nobody writes to any more is an error on Linux.
        with contextlib.suppress(OSError):
            while piece := os.read(here, 4096):
                shown += piece
    out, err = child.communicate(timeout=120)
    os.close(here)
    assert child.returncode == 1, "one is for another context"
    assert out.count(b"verified, signed by") == 4
    assert b"%" not in out
    said = shown if terminal else err
    assert (b"verified:" in said and b"/5 " in said) == terminal
    assert b"4 verified, 1 refused" in said
