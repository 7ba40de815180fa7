"""`safepickle verify` in front of a release: what must be signed is found whatever its name, and every report says the same."""

import gzip
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import pytest

import safepickle
from safepickle import Keyring, SecretKey, container, formats, gate, rendering, selecting
from safepickle.cli import main
from safepickle.findings import Finding
from safepickle.gate import Checked

KEY = SecretKey.from_bytes(b"the key of the gate's tests, 1.."[:32])
OTHER = SecretKey.from_bytes(b"the key of the gate's tests, 2.."[:32])
SCHEMAS = Path(__file__).parent / "schemas"
FORMATS = ("text", "json", "jsonl", "sarif", "junit", "github", "gitlab")
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
DVC = b"outs:\n- md5: d41d8cd98f00b204e9800998ecf8427e\n  size: 12\n  hash: md5\n  path: %s\n"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4


def sealed(value=(1,), *, key=KEY, **options):
    return safepickle.dumps(list(value), key=key, **{"context": "folder/prod", "serial": 5, **options})


def made(program: bytes, **options) -> bytes:
    """A container over any program: `dump` would not sign it."""
    return b"".join(container.seal(program, [], Keyring(KEY), context="folder/prod", serial=5, **options))


def npz(**arrays) -> bytes:
    import numpy

    file = io.BytesIO()
    numpy.savez(file, **arrays)
    return file.getvalue()


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def contents() -> dict[str, tuple[bytes, str]]:
    """Return each file with its content and the rule of its finding: "" if it is verified, "-" if it is passed over."""
    import numpy

    good = sealed()
    long_ago = datetime.now(UTC) - timedelta(days=3)
    pickled = pickle.dumps({"weights": [1.0] * 50}, 4)
    return {
        "appended.spkl": (good + b"x", "appended"),
        "a good one.spkl": (good, ""),
        "another name": (good, ""),
        "compressed.spkl": (sealed(["a" * 5000], compress="zlib"), ""),
        "context.spkl": (sealed(context="other/prod"), "context"),
        "cut.spkl": (good[:-2], "truncated"),
        "cut in the magic": (good[:5], "truncated"),
        "deep/er/good.spkl": (good, ""),
        "drift.spkl": (made(b"\x80\x05N.", libraries={"numpy": "0.0.1"}), ""),
        "empty.spkl": (b"", "truncated"),
        "empty.txt": (b"", "-"),
        "expired.spkl": (made(b"\x80\x05N.", now=lambda: long_ago.timestamp(), expires=timedelta(days=1)), "expired"),
        "image.png": (PNG, "-"),
        "joblib.bin": (zlib.compress(pickled), "unsigned"),
        "lfs.bin": (LFS, "lfs-pointer"),
        "lfs.spkl": (LFS, "lfs-pointer"),
        "here.bin.dvc": (DVC % b"image.png", "-"),
        "gone.bin.dvc": (DVC % b"gone.bin", "dvc-pointer"),
        "members.npz": (npz(a=numpy.array([{}, None], dtype=object)), "unsigned"),
        "model.pkl": (pickled, "unsigned"),
        "model.txt": (pickle.dumps([1, {"a": 2.5}], 0), "unsigned"),
        "numbers.npz": (npz(a=numpy.arange(5.0)), "-"),
        "notes.md": (b"# import os\nA model.\n", "-"),
        "old.spkl": (sealed(serial=4), "serial"),
        "outside.spkl": (made(b"\x80\x05\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93\x94."), "policy"),
        "source.py": (b"class A:\n    import os\n", "-"),
        "tampered.spkl": (flipped(good, len(good) - 2), "tampered"),
        "header.spkl": (flipped(good, good.index(b'"context"')), "signature"),
        "text.spkl": (b"nothing", "unsigned"),
        "unknown.spkl": (sealed(key=OTHER), "unknown-key"),
        "zipped.gz": (gzip.compress(pickled, mtime=0), "unsigned"),
    }


@pytest.fixture(scope="module")
def expected():
    return {**{name: rule for name, (_, rule) in contents().items()}, "pipe": "unreadable", "out": "unreadable", "nowhere.spkl": "unreadable"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    top = tmp_path / "repo" / "models"
    top.mkdir(parents=True)
    for name, (content, _) in contents().items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(content)
    os.mkfifo(top / "pipe")
    (tmp_path / "elsewhere.bin").write_bytes(b"x")
    (top / "out").symlink_to(tmp_path / "elsewhere.bin")
    (top / "nowhere.spkl").symlink_to("gone")
    (top / "same.spkl").symlink_to("a good one.spkl")
    monkeypatch.chdir(tmp_path / "repo")
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "SAFEPICKLE_KEY", "SAFEPICKLE_VERIFY_KEYS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SP_KEY", KEY.to_text())
    return top


GATE = ["verify", "models", "--key", "env:SP_KEY", "--context", "folder/prod", "--min-serial", "5", "--versions"]


def rules_of(report: dict) -> dict[str, str]:
    return {os.path.relpath(each["path"], "models"): each.get("rule", "") for each in report["files"]}


def test_each_file_of_a_folder_has_the_finding_that_is_its_own(folder, expected, capsys):
    assert main([*GATE, "--format", "json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert len(expected) >= 30
    assert rules_of(report) == {name: rule for name, rule in expected.items() if rule != "-"}
    assert report["passed_over"] == sum(rule == "-" for rule in expected.values())
    assert {rule for rule in expected.values() if rule not in ("", "-")} <= formats.RULES.keys()
    drift = next(each for each in report["files"] if each["path"].endswith("drift.spkl"))
    assert (drift["status"], drift["findings"][0]["rule"], drift["findings"][0]["level"]) == ("verified", "versions", "warning")
    assert "numpy 0.0.1" in drift["findings"][0]["message"]


def test_every_format_says_the_same(folder, expected, capsys):
    refused = sorted(name for name, rule in expected.items() if rule not in ("", "-"))
    outs = {}
    for form in FORMATS:
        assert main([*GATE, "--format", form]) == 1
        outs[form], err = capsys.readouterr()
        assert err == (f"5 verified, {len(refused)} refused\n" if form in ("text", "github") else "")
        again = main([*GATE, "--format", form, "--output", "report"])
        assert (again, capsys.readouterr().out) == (1, "")
        assert Path("report").read_text("utf-8") == outs[form]
        os.unlink("report")
    names = {
        "text": [line.split(": ")[0] for line in outs["text"].splitlines() if ": REFUSED: " in line],
        "json": [each["path"] for each in json.loads(outs["json"])["files"] if each["status"] == "refused"],
        "jsonl": [each["path"] for each in map(json.loads, outs["jsonl"].splitlines()) if each["status"] == "refused"],
        "junit": [case.get("name") for case in ET.fromstring(outs["junit"]).iter("testcase") if case.find("failure") is not None],
        "github": [line.partition("file=")[2].partition(",")[0] for line in outs["github"].splitlines() if line.startswith("::error ")],
        "gitlab": [each["location"]["path"] for each in json.loads(outs["gitlab"]) if each["severity"] == "critical"],
    }
    for form, found in names.items():
        assert sorted(os.path.relpath(each, "models") for each in found) == refused, form

    log = json.loads(outs["sarif"])
    jsonschema.Draft4Validator(json.loads((SCHEMAS / "sarif-2.1.0-rtm.5.json").read_text("utf-8"))).validate(log)
    (run,) = log["runs"]
    errors = [each for each in run["results"] if each["level"] == "error"]
    assert len(errors) == len(refused)
    assert {each["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].partition("/")[0] for each in errors} == {"models"}
    assert [each["id"] for each in run["tool"]["driver"]["rules"]] == list(formats.RULES)
    prints = [each["partialFingerprints"]["safepickleFinding/v1"] for each in run["results"]]
    assert len(set(prints)) == len(prints)

    jsonschema.Draft7Validator(json.loads((SCHEMAS / "gitlab-codequality.json").read_text("utf-8"))).validate(json.loads(outs["gitlab"]))
    suites = ET.fromstring(outs["junit"])
    (suite,) = suites
    assert (suites.tag, suite.tag, {each.tag for each in suite}) == ("testsuites", "testsuite", {"testcase"})
    assert (int(suite.get("tests")), int(suite.get("failures"))) == (len(refused) + 5, len(refused))
    assert len(suite) == len(refused) + 5


def test_fingerprints_stay_when_the_command_is_run_again_elsewhere_in_the_repository(folder, monkeypatch, capsys):
    def prints(path):
        main(["verify", path, "--key", "env:SP_KEY", "--format", "sarif"])
        return [each["partialFingerprints"] for each in json.loads(capsys.readouterr().out)["runs"][0]["results"]]

    (folder.parent / ".git").mkdir()
    first = prints("models")
    monkeypatch.chdir(folder)
    assert prints(".") == first
    assert len(first) > 10


def test_without_a_key_the_structure_is_checked_and_every_format_says_unauthenticated(folder, capsys):
    only = ["--structure-only", "--context", "folder/prod"]
    for form in FORMATS:
        assert main(["verify", "models/a good one.spkl", *only, "--format", form]) == 0
        out, err = capsys.readouterr()
        assert "unauthenticated" in out, form
        assert not any(f"{word} verified" in out + err for word in ("1", "2")), form
        assert ": verified" not in out
    for name, code in (("unknown", 0), ("header", 1), ("outside", 1), ("context", 1), ("expired", 1), ("tampered", 1), ("cut", 1), ("appended", 1)):
        assert main(["verify", f"models/{name}.spkl", *only]) == code, name
    capsys.readouterr()
    for more in (["--key", "env:SP_KEY"], ["--threshold", "2"], ["--pins", "x"], ["--bundle", "x"]):
        assert main(["verify", "models", *only, *more]) == 2
        assert "--structure-only checks no signature" in capsys.readouterr().err


def test_a_file_that_is_named_must_be_signed_whatever_it_is(folder, capsys):
    for name, code in (("notes.md", 1), ("image.png", 1), ("another name", 0), ("same.spkl", 0), ("here.bin.dvc", 1)):
        assert main(["verify", f"models/{name}", "--key", "env:SP_KEY"]) == code, name
    assert main(["verify", "models/lfs.spkl", "--key", "env:SP_KEY"]) == 1
    assert "git lfs pull" in capsys.readouterr().out


def test_patterns_lists_and_exclusions_choose_the_files(folder, capsys):
    def verified(*arguments):
        code = main(["verify", *arguments, "--key", "env:SP_KEY", "--format", "json"])
        return code, sorted(os.path.relpath(each["path"], "models") for each in json.loads(capsys.readouterr().out)["files"])

    assert verified("models/**/good.spkl") == (0, ["deep/er/good.spkl"])
    assert verified("models/*good*.spkl") == (0, ["a good one.spkl", "same.spkl"][:1])
    assert verified("models/d*") == (0, ["deep/er/good.spkl", "drift.spkl"])
    assert verified("models", "--exclude", "*.*", "--exclude", "pipe", "--exclude", "out", "--exclude", "cut*", "--exclude", "deep") == (
        0,
        ["another name"],
    )
    assert verified("models", "--exclude", "models/[!d]*") == (0, ["deep/er/good.spkl", "drift.spkl"])
    Path("list").write_bytes(b"models/notes.md\nmodels/another name\r\n")
    assert verified("--files-from", "list") == (0, ["another name"])
    Path("list").write_bytes(b"models/model.txt\0models/another name\0")
    assert verified("--files-from", "list") == (1, ["another name", "model.txt"])


def test_links_are_followed_if_asked_and_each_folder_once(folder, tmp_path, capsys):
    far = tmp_path / "far"
    far.mkdir()
    (far / "linked.spkl").write_bytes(sealed())
    (far / "back").symlink_to(far)
    for name in ("models/pipe", "models/nowhere.spkl"):
        os.unlink(name)
    (folder / "link").symlink_to(far)
    main(["verify", "models", "--key", "env:SP_KEY", "--follow-symlinks", "--format", "json"])
    found = {each["path"]: each["status"] for each in json.loads(capsys.readouterr().out)["files"]}
    assert found["models/link/linked.spkl"] == "verified"
    assert "models/out" not in found


@pytest.mark.parametrize(
    ("template", "code"), [("{parent}/prod", 1), ("folder/prod", 0), ("{stem}", 1), ("{path}", 1), ("{nothing}", 2), ("{parent", 2), ("", 2)]
)
def test_a_context_can_be_made_of_the_path(folder, template, code, capsys):
    assert main(["verify", "models/a good one.spkl", "--key", "env:SP_KEY", "--context-from-path", template]) == code


def test_the_placeholders_of_a_context_are_those_of_the_path(folder):
    for text, context in (("{parent}/{stem}", "er/good"), ("{path}", "deep/er/good.spkl"), ("x/{name}", "x/good.spkl")):
        (folder / "deep/er/good.spkl").write_bytes(sealed(context=context))
        assert main(["verify", "models/deep/**", "--key", "env:SP_KEY", "--context-from-path", text]) == (text == "{path}"), text
    assert main(["verify", "models", "--exclude", "[!d]*", "--exclude", "drift.spkl", "--key", "env:SP_KEY", "--context-from-path", "{path}"]) in (
        0,
        1,
        2,
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["models/another name", "--key", "env:SP_KEY"], 0),
        (["models/another name"], 2),
        (["models/nothing", "--key", "env:SP_KEY"], 2),
        (["models/*.nothing", "--key", "env:SP_KEY"], 2),
        (["models", "--exclude", "*", "--key", "env:SP_KEY"], 2),
        (["models", "--exclude", "*", "--key", "env:SP_KEY", "--allow-empty"], 0),
        (["--files-from", "gone", "--key", "env:SP_KEY"], 2),
        (["models", "--policy", "gone", "--key", "env:SP_KEY"], 2),
        (["models", "--allow", "nonsense", "--key", "env:SP_KEY"], 2),
        (["models/another name", "--context", "a", "--context-from-path", "b", "--key", "env:SP_KEY"], 2),
        (["models/another name", "--output", "no/folder", "--key", "env:SP_KEY"], 2),
        (["-", "-", "--key", "env:SP_KEY"], 2),
    ],
)
def test_exit_codes(folder, arguments, code, capsys):
    assert main(["verify", *arguments]) == code
    out, err = capsys.readouterr()
    assert (err.count("\n") == 1 and not out) or code != 2 or "nothing was verified" in err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a user who may not read")
def test_what_may_not_be_read_is_a_finding(folder, tmp_path, capsys):
    os.chmod(folder / "notes.md", 0)
    shutil.copytree(folder / "deep", folder / "closed")
    os.chmod(folder / "closed", 0)
    # Whoever is not root needs another user only for its own folders; root reads everything, and becomes nobody.
    for above in (tmp_path, *tmp_path.parents):
        if above.stat().st_uid == os.geteuid() and above != Path("/"):
            os.chmod(above, above.stat().st_mode | 0o011)
    report = tmp_path / "report.json"
    report.touch()
    os.chmod(report, 0o666)
    # All that the child needs is imported here: it may not be allowed to read the package.
    main([*GATE, "--format", "json"])
    child = os.fork()
    if not child:
        code = 99
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            with open(report, "w") as sys.stdout:
                code = main([*GATE, "--format", "json"])
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    os.chmod(folder / "closed", 0o700)
    found = rules_of(json.loads(report.read_text()))
    assert (found["notes.md"], found["closed"]) == ("unreadable", "unreadable")
    assert {name: rule for name, rule in found.items() if name in ("cut.spkl", "model.pkl")} == {"cut.spkl": "truncated", "model.pkl": "unsigned"}


def test_quiet_says_what_is_wrong_and_verbose_what_was_passed_over(folder, capsys):
    assert main(["verify", "models/another name", "models/cut.spkl", "--key", "env:SP_KEY", "-q"]) == 1
    out, err = capsys.readouterr()
    assert (out.count("\n"), err) == (1, "")
    assert main([*GATE, "-v"]) == 1
    err = capsys.readouterr().err
    assert "models/notes.md: no model, passed over\n" in err
    assert "models/same.spkl: a symbolic link, not followed" in err


def test_colour_is_for_those_who_ask(folder, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    main([*GATE])
    assert "\x1b[1;31mREFUSED\x1b[0m" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    main([*GATE])
    assert "\x1b" not in capsys.readouterr().out


def test_in_github_actions_findings_are_annotations_and_a_summary(folder, monkeypatch, capsys):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "summary.md"))
    (folder / "summary.md").write_text("before\n")
    assert main([*GATE]) == 1
    out = capsys.readouterr().out
    assert "::error file=models/cut.spkl,line=1,title=safepickle%3A truncated::models/cut.spkl: " in out
    assert "::warning file=models/drift.spkl,line=1,title=safepickle%3A versions::" in out
    summary = (folder / "summary.md").read_text()
    assert summary.startswith("before\n### safepickle verify\n")
    assert "| `models/cut.spkl` | `truncated` | `" in summary
    assert main([*GATE, "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["refused"]
    assert (folder / "summary.md").read_text() == summary


NASTY = "a,b:c%d\r\n::error::\x00\x1b[1m\u202e|<b>&\"'\ud800\ufffe.spkl"


@pytest.mark.parametrize("form", sorted(formats.FORMATS))
def test_no_name_or_message_forges_anything_in_a_report(form):
    """Whoever names a file, or a class in it, chooses text that ends in the reports of others."""
    finding = Finding("refused", "policy", "", 3, NASTY)
    out = formats.FORMATS[form]([Checked(f"/repo/{NASTY}", "/repo", None, (finding, finding), "PolicyError")], "1", "/repo", 1)
    out.encode("utf-8")
    match form:
        case "github":
            lines = out.splitlines()
            assert len(lines) == 3
            assert lines[0].startswith("::error file=a%2Cb%3Ac%25d%0D%0A%3A%3Aerror%3A%3A\\x00")
        case "junit":
            (case,) = ET.fromstring(out).iter("testcase")
            assert [each.get("message")[:6] for each in case.iter("failure")] == ["a,b:c%"] * 2
        case "gitlab":
            assert len({each["fingerprint"] for each in json.loads(out)}) == 2
        case "jsonl":
            assert out.count("\n") == 1
        case _:
            assert json.loads(out)
    assert form not in ("github", "junit") or not {"\x00", "\x1b", "\u202e" if form == "github" else "\x00"} & set(out)
    summary = formats.step_summary([Checked(NASTY, NASTY, None, (finding,), "PolicyError")])
    assert len(summary.splitlines()) == 8
    assert r"\x7c<b>" in summary
    assert "\x1b" not in "".join(rendering.text_of(Checked(NASTY, NASTY, None, (finding,))))


def test_a_large_file_is_mapped_and_a_large_compressed_one_is_read(tmp_path):
    import numpy

    key = Keyring(KEY)
    wanted = gate.Expectations(key, safepickle.Policy.default())
    for compress in (None, "zlib"):
        path = str(tmp_path / f"{compress}.spkl")
        safepickle.dump(numpy.random.default_rng(0).integers(0, 256, 20 << 20, numpy.uint8), path, key=KEY, compress=compress)
        (candidate,) = selecting.files([path]).candidates
        assert gate.check(candidate, wanted).status == "verified"
        with open(path, "r+b") as file:
            file.seek(-5000, os.SEEK_END)
            file.write(b"changed")
        (one, two) = gate.check_all([candidate, candidate], wanted)
        assert [each.findings[0].rule for each in (one, two)] == ["tampered"] * 2


def loaded(*arguments) -> set[str]:
    program = "import atexit, sys\nfrom safepickle.cli import main\natexit.register(lambda: print(*sys.modules, file=sys.stderr))\nmain(sys.argv[1:])"
    child = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    return set(child.stderr.splitlines()[-1].split())


def test_help_loads_only_what_it_needs():
    heavy = {
        "numpy",
        "cryptography",
        "pickle",
        "tqdm",
        *(f"safepickle.{each}" for each in ("policy", "machine", "scanning", "reporting", "gate", "openssf")),
    }
    assert loaded("--help") & heavy == set()
    assert loaded("verify", "--help") & heavy == set()


def test_a_gate_of_signed_files_loads_neither_the_scanner_nor_any_unpickler(folder):
    found = loaded("verify", "models/another name", "--key", "env:SP_KEY")
    assert "safepickle.gate" in found
    assert found & {"pickle", "_pickle", "numpy", "sklearn", "safepickle.scanning", "safepickle.pickling"} == set()
