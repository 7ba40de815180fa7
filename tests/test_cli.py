"""The command line as people and pipelines use it: in processes of its own, with exit codes and streams."""

import argparse
import contextlib
import errno
import importlib
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import safepickle
from safepickle import SecretKey, commands, keys
from safepickle import arguments as said
from safepickle.cli import main

KEY = SecretKey.generate()
OTHER = SecretKey.generate()


@pytest.fixture(autouse=True)
def _keys(monkeypatch):
    monkeypatch.setenv("SP_KEY", KEY.to_text())
    monkeypatch.setenv("SP_OTHER", OTHER.to_text())


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    (folder / "deep").mkdir(parents=True)
    safepickle.dump([1], folder / "a.spkl", key=KEY, context="a/prod", serial=3)
    safepickle.dump([2], folder / "deep" / "b.spkl", key=KEY, context="b/prod", serial=4, metadata={"auc": 0.93})
    (folder / "notes.txt").write_text("no model")
    return folder


def run(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "safepickle.cli", *map(str, arguments)], capture_output=True, check=False, **options)


def test_verify_exits_with_0_and_says_who_signed(models, capsys):
    assert main(["verify", str(models), "--key", "env:SP_KEY"]) == 0
    out, err = capsys.readouterr()
    assert out.count("verified, signed by " + KEY.key_id) == 2
    assert "a.spkl" in out
    assert "context b/prod, serial 4" in out
    assert err == "2 verified, 0 refused\n"


def test_verify_exits_with_1_if_any_file_is_refused_and_reports_all(models, capsys):
    (models / "c.spkl").write_bytes(b"\x80\x05N.")
    damaged = bytearray((models / "a.spkl").read_bytes())
    damaged[-2] ^= 4
    (models / "d.spkl").write_bytes(damaged)
    assert main(["verify", str(models), "--key", "env:SP_KEY"]) == 1
    out, err = capsys.readouterr()
    assert "c.spkl: REFUSED: UnsignedError: this is a plain pickle" in out
    assert "d.spkl: REFUSED: AuthenticationError: chunk 0" in out
    assert err == "2 verified, 2 refused\n"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--key", "env:SP_KEY", "--context", "a/prod"], 0),
        (["--key", "env:SP_KEY", "--context", "b/prod"], 1),
        (["--key", "env:SP_KEY", "--min-serial", "3"], 0),
        (["--key", "env:SP_KEY", "--min-serial", "4"], 1),
        (["--key", "env:SP_KEY", "--threshold", "2"], 1),
        (["--key", "env:SP_OTHER"], 1),
        (["--key", "env:SP_OTHER", "--key", "env:SP_KEY"], 0),
        (["--key", "env:SP_NOT_SET"], 2),
        (["--key", "file:/nothing/here"], 2),
        (["--key", "env:SP_KEY", "--threshold", "0"], 2),
        (["--key", "env:SP_KEY", "--min-serial", "-1"], 2),
        (["--key", KEY.to_text()], 2),
    ],
)
def test_exit_codes_of_verify(models, options, code, capsys):
    assert main(["verify", str(models / "a.spkl"), *options]) == code
    assert KEY.to_text()[25:] not in "".join(capsys.readouterr())


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["verify", "x", "--key"], ["verify", "x", "--key", "env:SP_KEY", "--format", "yaml"]])
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


@pytest.mark.parametrize("command", ["verify", "scan", "lock"])
def test_a_command_about_files_that_are_not_named_exits_with_2(command, capsys):
    assert main([command]) == 2
    assert capsys.readouterr().err.startswith("safepickle: name ")


def test_missing_paths_and_folders_without_models_exit_with_2(tmp_path, capsys):
    assert main(["verify", str(tmp_path / "nothing.spkl"), "--key", "env:SP_KEY"]) == 2
    assert main(["verify", str(tmp_path), "--key", "env:SP_KEY"]) == 2
    assert main(["inspect", str(tmp_path / "nothing.spkl")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_refused_not_skipped(tmp_path, capsys):
    (tmp_path / "gone.spkl").symlink_to(tmp_path / "nowhere")
    assert main(["verify", str(tmp_path), "--key", "env:SP_KEY"]) == 1
    assert "REFUSED: FileNotFoundError" in capsys.readouterr().out


def test_verify_reports_as_json(models, capsys):
    assert main(["verify", str(models), "--key", "env:SP_KEY", "--context", "a/prod", "--format", "json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["verified"], report["refused"]) == (1, 1)
    first, second = report["files"]
    assert first["status"] == "verified"
    assert first["serial"] == 3
    assert first["trusted_key_ids"] == [KEY.key_id]
    assert (second["status"], second["error"]) == ("refused", "AuthenticationError")


def test_verify_imports_neither_numpy_nor_the_unpickler(models):
    """`safepickle verify` must be usable where no byte of a model may ever be unpickled."""
    program = (
        "import sys\nfrom safepickle.cli import main\ncode = main(sys.argv[1:])\n"
        "loaded = [name for name in ('pickle', '_pickle', 'numpy', 'sklearn', 'pandas', 'scipy', 'joblib') if name in sys.modules]\n"
        "assert not loaded, loaded\nsys.exit(code)"
    )
    for path, expected in ((models / "a.spkl", 0), (models / "notes.txt", 1), (models / "none", 2)):
        child = subprocess.run(
            [sys.executable, "-c", program, "verify", str(path), "--key", "env:SP_KEY"], capture_output=True, text=True, check=False
        )
        assert child.returncode == expected, child.stderr


def test_verify_reads_stdin(models):
    assert run("verify", "-", "--key", "env:SP_KEY", input=(models / "a.spkl").read_bytes()).returncode == 0
    assert run("verify", "-", "--key", "env:SP_KEY", input=b"").returncode == 1


def test_inspect_shows_the_compression_and_what_the_body_takes_in_the_file(models, capsys):
    path = models / "compressed.spkl"
    safepickle.dump(["a" * 100_000], path, key="env:SP_KEY", compress="zlib")
    assert main(["inspect", str(path)]) == 0
    lines = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["compression"].strip() == "zlib"
    assert int(lines["program_bytes"]) > 100_000
    assert 0 < int(lines["stored_bytes"]) < path.stat().st_size < 2000
    assert main(["inspect", str(models / "a.spkl"), "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["compression"], report["stored_bytes"]) == (None, None)
    assert main(["verify", str(path), "--key", "env:SP_KEY"]) == 0


def test_inspect_without_a_key_says_untrusted_and_with_one_does_not(models, capsys):
    path = str(models / "deep" / "b.spkl")
    assert main(["inspect", path]) == 0
    out = capsys.readouterr().out
    assert out.startswith("UNTRUSTED")
    assert "b/prod" in out
    assert main(["inspect", path, "--key", "env:SP_KEY"]) == 0
    assert "UNTRUSTED" not in capsys.readouterr().out
    assert main(["inspect", path, "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["authenticated"] is False
    assert report["metadata"] == {"auc": 0.93}
    assert main(["inspect", path, "--key", "env:SP_OTHER"]) == 1
    assert main(["inspect", str(models / "notes.txt")]) == 1
    assert main(["inspect", path, "--key", "env:SP_NOT_SET"]) == 2


def test_keygen_prints_a_key_that_works_and_its_id_elsewhere(monkeypatch):
    child = run("keygen", text=True)
    key = SecretKey.from_text(child.stdout)
    assert key.key_id in child.stderr
    assert key.to_text() not in child.stderr


def test_keygen_writes_a_private_file_and_never_overwrites(tmp_path, capsys):
    path = tmp_path / "model.key"
    assert main(["keygen", "--output", str(path)]) == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    key = safepickle.read_key(f"file:{path}")
    assert main(["keygen", "--output", str(path)]) == 2
    assert path.read_bytes() == before
    assert key.to_text() not in "".join(capsys.readouterr())
    assert main(["keygen", "--output", str(tmp_path / "no" / "folder")]) == 2


def test_a_closed_pipe_ends_without_a_traceback(models):
    child = subprocess.Popen(
        [sys.executable, "-m", "safepickle.cli", "verify", *[str(models / "a.spkl")] * 3000, "--key", "env:SP_KEY"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    child.stdout.close()
    error = child.stderr.read().decode()
    child.stderr.close()
    assert child.wait() == 2
    assert "Traceback" not in error


def test_names_of_files_cannot_steer_the_terminal(tmp_path, capsys):
    path = tmp_path / "evil\x1b[31m\n.spkl"
    path.write_bytes(b"x")
    assert main(["verify", str(path), "--key", "env:SP_KEY"]) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert out.count("\n") == 1


def test_the_demo_shows_every_refusal_and_leaves_nothing_behind(tmp_path):
    child = run("demo", text=True, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert child.returncode == 0, child.stdout + child.stderr
    assert child.stdout.count("identical predictions") == 4
    assert child.stdout.count("  refused  ") == 7
    assert "All as promised" in child.stdout
    assert not list(tmp_path.iterdir())


def test_the_demo_fails_if_a_refusal_does_not_happen(monkeypatch, capsys):
    from safepickle import demo

    monkeypatch.setattr(demo.container, "seal", lambda program, buffers, keyring: list(safepickle.container.seal(b"\x80\x05N.", [], keyring)))
    real = safepickle.container.seal
    monkeypatch.setattr(demo, "load", lambda *_, **__: None)
    monkeypatch.setattr(demo.container, "seal", real)
    assert demo._show_refusal("x", safepickle.PolicyError, "", lambda: None) is False
    assert "NOT REFUSED" in capsys.readouterr().out


def test_help_and_version_are_quick_to_reach():
    assert b"exit codes" in run("--help").stdout
    assert run("--version").stdout.decode().split() == ["safepickle", safepickle.__version__]


@pytest.mark.parametrize("options", [["--context", ""], ["--min-serial", "9" * 30]])
def test_values_that_no_file_can_have_exit_with_2(models, options, capsys):
    assert main(["verify", str(models / "a.spkl"), "--key", "env:SP_KEY", *options]) == 2
    assert capsys.readouterr().err.startswith("safepickle: ")


def test_what_would_be_passed_over_in_a_folder_is_a_finding(models, tmp_path, capsys):
    """Exit 0 says that everything below the folder was verified."""
    outside = tmp_path / "outside"
    outside.mkdir()
    link = models / "linked"
    link.symlink_to(outside)
    assert main(["verify", str(models), "--key", "env:SP_KEY"]) == 1
    assert "linked: REFUSED: unreadable: a symbolic link to what is not looked at" in capsys.readouterr().out
    link.unlink()
    os.mkfifo(models / "pipe.spkl")
    assert main(["verify", str(models), "--key", "env:SP_KEY"]) == 1
    assert "pipe.spkl: REFUSED: unreadable: a named pipe" in capsys.readouterr().out


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_report_that_cannot_be_written_exits_with_2(models):
    with open("/dev/full", "wb") as full:
        arguments = [sys.executable, "-m", "safepickle.cli", "verify", str(models), "--key", "env:SP_KEY"]
        done = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


def test_a_context_that_the_terminal_cannot_show_is_escaped(tmp_path):
    safepickle.dump([1], tmp_path / "a.spkl", key=KEY, context="modèle/prod")
    done = run("verify", tmp_path / "a.spkl", "--key", "env:SP_KEY", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert b"mod\\xe8le/prod" in done.stdout


# --- key pairs, signing again, pins ------------------------------------------------------------------------------


@pytest.fixture
def pairs(tmp_path, monkeypatch):
    """A trainer and an approver, made by the command itself, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SAFEPICKLE_KEY", raising=False)
    monkeypatch.delenv("SAFEPICKLE_VERIFY_KEYS", raising=False)
    for name, *options in (("trainer", "--suite", "ed25519"), ("approver", "--suite", "ed25519", "--pem")):
        assert main(["keygen", *options, "--output", f"{name}.key", "--public", f"{name}.pub"]) == 0
    safepickle.dump({"a": 1}, "model.spkl", key="file:trainer.key", context="fraud/prod", serial=7)
    return tmp_path


def test_a_key_pair_is_made_once_and_closed_to_others(pairs, capsys):
    assert (pairs / "trainer.key").stat().st_mode & 0o077 == 0
    assert main(["keygen", "--suite", "ed25519", "--output", "trainer.key"]) == 2
    assert "exists" in capsys.readouterr().err
    assert main(["pubkey", "--key", "file:trainer.key"]) == 0
    assert capsys.readouterr().out.strip() in (pairs / "trainer.pub").read_text()
    assert main(["pubkey", "--key", "file:approver.key", "--pem"]) == 0
    assert capsys.readouterr().out == (pairs / "approver.pub").read_text()
    assert main(["keygen", "--pem"]) == 2


def test_two_people_sign_and_the_check_asks_for_both(pairs, capsys):
    both = ["--key", "file:trainer.pub", "--key", "file:approver.pub"]
    assert main(["verify", "model.spkl", *both, "--threshold", "2"]) == 1
    assert main(["sign", "model.spkl", "--key", "file:approver.key", "--trust", "file:trainer.pub"]) == 0
    assert main(["verify", "model.spkl", *both, "--threshold", "2", "--context", "fraud/prod"]) == 0
    assert main(["sign", "model.spkl", "--key", "file:approver.pub", "--trust", "file:trainer.pub"]) == 2
    assert "cannot sign" in capsys.readouterr().err


def test_keys_come_from_the_environment_where_no_option_names_one(pairs, monkeypatch, capsys):
    assert main(["verify", "model.spkl"]) == 2
    assert "no key" in capsys.readouterr().err
    text = (pairs / "trainer.pub").read_text().splitlines()[1]
    monkeypatch.setenv("SAFEPICKLE_VERIFY_KEYS", f"{text} file:approver.pub")
    assert main(["verify", "model.spkl"]) == 0
    monkeypatch.setenv("SAFEPICKLE_KEY", (pairs / "approver.key").read_text().partition("\n")[2])
    assert main(["sign", "model.spkl"]) == 0
    assert main(["verify", "model.spkl", "--threshold", "2"]) == 0


def test_a_folder_is_signed_anew_after_a_rotation(pairs, capsys):
    (pairs / "models").mkdir()
    for number in range(3):
        safepickle.dump(number, pairs / "models" / f"{number}.spkl", key="file:trainer.key")
    safepickle.dump(3, pairs / "models" / "3.spkl", key="file:approver.key")
    assert main(["resign", "models", "--key", "file:approver.key", "--trust", "file:trainer.pub"]) == 1
    out = capsys.readouterr().out
    assert out.count("signed anew by") == 3
    assert out.count("REFUSED: UnknownKeyError") == 1
    assert main(["verify", "models", "--key", "file:approver.pub"]) == 0
    assert main(["verify", "models", "--key", "file:trainer.pub"]) == 1


def test_pins_refuse_a_rollback(pairs, capsys):
    key = ["--key", "file:trainer.pub", "--pins", "pins.toml"]
    assert main(["pins", "check", "model.spkl", *key]) == 2
    assert main(["pins", "update", "model.spkl", *key]) == 0
    assert main(["pins", "check", "model.spkl", *key]) == 0
    old = (pairs / "model.spkl").read_bytes()
    safepickle.dump({"a": 2}, "model.spkl", key="file:trainer.key", context="fraud/prod", serial=8)
    assert main(["pins", "update", "model.spkl", *key]) == 0
    pinned = (pairs / "pins.toml").read_text()
    assert "serial = 8" in pinned
    (pairs / "model.spkl").write_bytes(old)
    capsys.readouterr()
    assert main(["verify", "model.spkl", *key]) == 1
    assert "an old one put back" in capsys.readouterr().out
    assert main(["pins", "update", "model.spkl", *key]) == 1
    assert (pairs / "pins.toml").read_text() == pinned
    safepickle.dump({"a": 3}, "other.spkl", key="file:trainer.key", context="other/prod", serial=1)
    assert main(["pins", "check", "other.spkl", *key]) == 1
    assert "no pin" in capsys.readouterr().out
    assert main(["pins", "update", "other.spkl", *key, "--exact"]) == 0
    safepickle.dump({"a": 4}, "other.spkl", key="file:trainer.key", context="other/prod", serial=2)
    assert main(["pins", "check", "other.spkl", *key]) == 1
    (pairs / "pins.toml").write_text("pins = 2")
    assert main(["pins", "check", "other.spkl", *key]) == 2


def test_resign_trusts_the_keys_that_are_named_to_verify_and_not_the_one_that_signs(pairs, monkeypatch, capsys):
    """Else a host whose list of keys does not name its signing key would make a file that only itself had signed look approved."""
    approver = (pairs / "approver.key").read_text()
    safepickle.dump({"a": 2}, "own.spkl", key=safepickle.PrivateKey.from_pem(approver.partition("\n")[2].encode()))
    monkeypatch.setenv("SAFEPICKLE_KEY", approver.partition("\n")[2])
    monkeypatch.setenv("SAFEPICKLE_VERIFY_KEYS", "file:trainer.pub")
    before = (pairs / "own.spkl").read_bytes()
    for command in ("sign", "resign"):
        assert main([command, "own.spkl"]) == 1
        assert "UnknownKeyError" in capsys.readouterr().out
        assert main([command, "own.spkl", "--key", "file:trainer.key"]) == 1
    assert (pairs / "own.spkl").read_bytes() == before
    assert main(["resign", "model.spkl"]) == 0
    monkeypatch.delenv("SAFEPICKLE_VERIFY_KEYS")
    assert main(["resign", "own.spkl"]) == 0
    with pytest.raises(SystemExit):
        main(["resign", "--help"])
    assert "SAFEPICKLE_VERIFY_KEYS alone" in " ".join(capsys.readouterr().out.split())


def test_sign_says_which_signatures_nobody_verified(pairs, capsys):
    assert main(["keygen", "--suite", "ed25519", "--output", "third.key", "--public", "third.pub"]) == 0
    third = safepickle.read_key("file:third.key").key_id
    assert main(["sign", "model.spkl", "--key", "file:third.key", "--trust", "file:trainer.pub"]) == 0
    signed = (pairs / "model.spkl").read_bytes()
    capsys.readouterr()
    assert main(["sign", "model.spkl", "--key", "file:approver.key", "--trust", "file:trainer.pub"]) == 0
    out, err = capsys.readouterr()
    assert f"kept signatures that were not verified, since --trust does not name their keys: {third} (ed25519)" in err
    assert third not in out
    assert main(["verify", "model.spkl", "--key", "file:third.pub"]) == 0
    (pairs / "model.spkl").write_bytes(signed)
    capsys.readouterr()
    assert main(["sign", "model.spkl", "--key", "file:approver.key", "--trust", "file:trainer.pub", "--drop-unverified"]) == 0
    assert "kept" not in capsys.readouterr().err
    assert main(["verify", "model.spkl", "--key", "file:third.pub"]) == 1
    # Nothing to tell where the one who signs again is the other.
    (pairs / "model.spkl").write_bytes(signed)
    capsys.readouterr()
    assert main(["sign", "model.spkl", "--key", "file:third.key", "--trust", "file:trainer.pub"]) == 0
    assert "kept" not in capsys.readouterr().err


def test_only_digests_of_files_are_signed(pairs, monkeypatch):
    """A signature of anything else, such as a probe, is one that somebody may find a use for."""
    signed = []
    real = safepickle.PrivateKey.sign
    monkeypatch.setattr(safepickle.PrivateKey, "sign", lambda self, digest: (signed.append(digest.hex()), real(self, digest))[1])
    for command in ("sign", "resign"):
        assert main([command, "model.spkl", "--key", "file:approver.key", "--trust", "file:trainer.pub", "--trust", "file:approver.pub"]) == 0
    assert set(signed) == {safepickle.inspect("model.spkl").header_sha256}


def test_a_key_that_may_not_sign_is_told_before_any_file_is_looked_at(pairs, capsys):
    key = safepickle.read_key("file:approver.key")
    safepickle.Keyring(None, safepickle.read_key("file:trainer.pub"), denied=[key.key_id]).write("ring.toml")
    for command in ("sign", "resign"):
        assert main([command, "missing.spkl", "--key", "file:approver.key", "--trust", "keyring:ring.toml"]) == 2
        assert "is on the deny-list" in capsys.readouterr().err
        assert main([command, "missing.spkl", "--key", "file:approver.pub", "--trust", "file:trainer.pub"]) == 2
        assert "cannot sign" in capsys.readouterr().err


def test_keygen_writes_the_private_key_first_and_loses_none(pairs, capsys):
    (pairs / "taken").write_text("x")
    assert main(["keygen", "--suite", "ed25519", "--output", "taken", "--public", "a.pub"]) == 2
    assert not (pairs / "a.pub").exists()
    capsys.readouterr()
    for public in ("taken", "no/folder", "a.key"):
        (pairs / "a.key").unlink(missing_ok=True)
        assert main(["keygen", "--suite", "ed25519", "--output", "a.key", "--public", public]) == 2
        err = capsys.readouterr().err
        key = safepickle.read_key("file:a.key")
        assert f"made key {key.key_id}" in err
        assert "safepickle pubkey --key file:a.key" in err
        assert main(["pubkey", "--key", "file:a.key"]) == 0
        assert capsys.readouterr().out.strip() == key.public_key().to_text()
    assert (pairs / "taken").read_text() == "x"
    assert main(["keygen", "--suite", "ed25519", "--public", "taken"]) == 2
    out, err = capsys.readouterr()
    assert safepickle.PrivateKey.from_text(out).key_id in err
    assert "on stdout" in err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits are those of POSIX")
def test_keygen_leaves_no_half_of_a_key(tmp_path):
    """A disk that is full must not leave a file that looks like a key and is in the way of the next attempt."""
    program = (
        "import resource, signal, sys\nfrom safepickle.cli import main\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))\nsys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "keygen", "--suite", "ed25519", "--output", "a.key", "--public", "a.pub"]
    child = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert child.returncode == 2
    assert "a.key cannot be written" in child.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("refusal", ["no such flag", "no file without a name", "no link"])
def test_keygen_works_where_files_cannot_be_made_without_a_name(refusal, tmp_path, monkeypatch, capsys):
    opened = os.open
    monkeypatch.chdir(tmp_path)
    if refusal == "no such flag":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    elif refusal == "no file without a name":
        flag = getattr(os, "O_TMPFILE", 1 << 40)

        def unsupported(path, flags, *arguments, **options):
            if flags & flag == flag:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), path)
            return opened(path, flags, *arguments, **options)

        monkeypatch.setattr(os, "open", unsupported)
    else:

        def unlinked(source, *arguments, **options):
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), source)

        monkeypatch.setattr(os, "link", unlinked)
    assert main(["keygen", "--output", "a.key"]) == 0
    assert stat.S_IMODE(Path("a.key").stat().st_mode) == 0o600 or os.name != "posix"
    key = Path("a.key").read_bytes()
    assert main(["keygen", "--output", "a.key"]) == 2
    assert "a key is never overwritten" in capsys.readouterr().err
    assert Path("a.key").read_bytes() == key
    assert [each.name for each in tmp_path.iterdir()] == ["a.key"]


@pytest.mark.parametrize("text", [KEY.to_text(), KEY.to_text()[:-2], KEY._secret.hex()], ids=["key", "damaged", "hex"])
def test_a_key_given_as_an_argument_is_not_repeated(text, pairs, capsys):
    for arguments in (
        ["verify", text, "--key", "env:SP_KEY"],
        ["verify", "model.spkl", "--key", text],
        ["verify", "model.spkl", "--key", f"env:{text}"],
        ["verify", "model.spkl", "--key", f"file:{text}"],
        ["verify", "model.spkl", "--key", f"keyring:{text}"],
        ["verify", "model.spkl", "--key", "file:trainer.pub", "--pins", text],
        ["verify", "model.spkl", "--key", "file:trainer.pub", "--bundle", text],
        ["verify", "model.spkl", "--key", "file:trainer.pub", "--bundle", "b", "--bundle-key", text],
        ["verify", "model.spkl", "--min-serial", text],
        ["verify", "model.spkl", "--format", text],
        ["inspect", text],
        ["sign", text, "--key", "file:approver.key"],
        ["sign", "model.spkl", "--key", text],
        ["keygen", "--output", f"no/{text}"],
        ["keygen", "--suite", text],
        ["pubkey", "--key", text],
        [text],
    ):
        with contextlib.suppress(SystemExit):
            assert main(arguments) in (1, 2), arguments
        out, err = capsys.readouterr()
        assert text[24:60] not in out + err, arguments


def test_a_path_object_that_is_a_key_is_not_repeated():
    from pathlib import Path

    with pytest.raises(TypeError, match="looks like a key") as caught:
        safepickle.verify(Path(KEY.to_text()), key=OTHER)
    assert KEY.to_text()[22:] not in str(caught.value)


# --- help and completion ---------------------------------------------------------------------------------------------


def parsers(parser=None, name=()):
    parser = parser or said.parser()
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each, inner in action.choices.items():
                yield from parsers(inner, (*name, each))


EXAMPLES = [
    (" ".join(name), line.strip())
    for name, parser in parsers()
    for line in (parser.epilog or "").split("\n")
    if line.startswith("  ") and "COMMAND" not in line
]


def test_every_command_teaches_by_example_and_is_done():
    leaves = {" ".join(name): parser for name, parser in parsers() if parser.get_default("command")}
    assert {parser.get_default("command") for parser in leaves.values()} == set(commands.COMMANDS) == set(leaves)
    assert set(leaves) - {name for name, _ in EXAMPLES} == {"demo"}
    for module, name in commands.COMMANDS.values():
        assert callable(getattr(importlib.import_module(f"safepickle.commands.{module}"), name))


@pytest.mark.parametrize("columns", [None, "", "0", "-7", "x", "44", "200"])
def test_help_is_as_wide_as_the_terminal(columns, monkeypatch):
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", columns)
    assert said._columns() == shutil.get_terminal_size().columns
    assert max(map(len, said.parser("pubkey").format_usage().splitlines())) <= said._columns()


def test_the_suites_that_can_be_asked_for_are_those_of_keys():
    assert said.SUITES == (keys.HMAC_SHA256, keys.ED25519, keys.HYBRID, keys.ECDSA_P256)


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_what_help_shows_is_what_the_parser_takes(name, example):
    command = re.search(r"safepickle ([^|>)]*)", example)
    options = said.parser().parse_args(shlex.split(command[1]))
    assert name in ("", options.command)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("safepickle ver", {"verify"}),
        ("safepickle verify --format s", {"sarif"}),
        ("safepickle verify --update", {"--update-baseline"}),
        ("safepickle pins ", {"check", "update"}),
    ],
)
def test_a_shell_is_offered_commands_options_and_values(line, offered, tmp_path):
    pytest.importorskip("argcomplete")
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "out"), "COMP_LINE": line, "COMP_POINT": str(len(line))}
    subprocess.run([sys.executable, "-m", "safepickle"], env={**os.environ, **asked, "IFS": "\v"}, check=True, capture_output=True)
    found = {each.strip() for each in re.split(r"[\v\n]", (tmp_path / "out").read_text()) if each.strip()}
    assert offered <= found
    assert all(each.startswith(line.rsplit(" ", 1)[1]) for each in found if not line.endswith(" "))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_what_cannot_be_said_does_not_change_the_exit_code(models):
    with open("/dev/full", "w") as full:
        child = subprocess.run([sys.executable, "-m", "safepickle", "verify", "missing", "--key", "env:SP_KEY"], stderr=full, check=False)
    assert child.returncode == 2
