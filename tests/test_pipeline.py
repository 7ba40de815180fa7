"""`safepickle verify` as a gate in pipelines: hooks, the action and every report, in a real git repository."""

import contextlib
import gzip
import io
import json
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import numpy
import pytest
import xmlschema
import yaml
from markdown_it import MarkdownIt

import safepickle
from safepickle import Keyring, PrivateKey, SecretKey, container, formats
from safepickle.cli import main

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the repository has file names that Windows has not")

KEY = SecretKey.from_bytes(b"the key of the pipeline's tests, 1"[:32])
STRANGER = SecretKey.from_bytes(b"2, the key of a stranger in the tests"[:32])
TRAINER = PrivateKey("ed25519", bytes(range(1, 33)))
SCHEMAS = Path(__file__).parent / "schemas"
TOP = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _outside_of_pipelines(monkeypatch):
    """The tests may run in a pipeline themselves."""
    clean(monkeypatch)


def clean(monkeypatch) -> None:
    for name in [name for name in os.environ if name.startswith(("GITHUB_", "RUNNER_", "SAFEPICKLE_", "PRE_COMMIT"))]:
        monkeypatch.delenv(name)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SP_KEY", KEY.to_text())
    monkeypatch.setenv("SP_PUBLIC", TRAINER.public_key().to_text())


# --- the repository -----------------------------------------------------------------------------------------------


def sealed(context: str = "fraud/prod", *, key=KEY, serial: int = 5, **options) -> bytes:
    return safepickle.dumps({"weights": [1.5] * 40}, key=key, context=context, serial=serial, **options)


def forced(body: bytes, **options) -> bytes:
    """A container over any program: `dump` would not sign it."""
    # Picklers frame what has four bytes or more.
    program = b"\x80\x05" + (b"\x95" + len(body).to_bytes(8, "little") if len(body) >= 4 else b"") + body
    return b"".join(container.seal(program, [], Keyring(KEY), context="fraud/prod", serial=5, **options))


def changed(data: bytes, at: int) -> bytes:
    broken = bytearray(data)
    broken[at] ^= 0x20
    return bytes(broken)


def written(write) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def torch_like(file: io.BytesIO) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", PICKLE)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/data/0", bytes(64))


PICKLE = pickle.dumps({"weights": [1.0] * 50, "name": "model"}, 4)
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"5" * 64 + b"\nsize 4096\n"
DVC = b"outs:\n- md5: 1b2cf535f27731c974343645a3985328\n  size: 64\n  hash: md5\n  path: %s\n"
# Names that mean something to a shell, a terminal, a log, a page, a parser of options, or a reader of text.
ODD = (
    "new\nline.pkl", "tab\there", "\U0001f9e8.pkl", "\u202egpj.lkp", "-rf", "--allow=os:system", "::error::forged", "##[stop-commands]x",
    "##vso[task.setvariable variable=PATH]x", "<script>alert(1)<!--", "<b>bold", "quo'te\".pkl", "a,b:c%d;e=f", "%0A%25%3A", "pipe|tick`.pkl",
    "[x](javascript:alert)", "![x](y)", "www.evil.example", "me@evil.example", "@everyone", "__init__", "*", "$(touch pwned)", "&#60;b&#62;",
    " blanks ", "caf\udce9", "\x1b[2Jx", "\ufffe",
)  # fmt: skip


def contents() -> dict[str, tuple[bytes, str, str]]:
    """Return each file with its content, the rule of its finding if it has one, and its status."""
    import joblib

    good = sealed()
    days = datetime.now(UTC) - timedelta(days=9)
    objects = written(lambda file: numpy.savez(file, a=numpy.array([{}, None], dtype=object)))
    os_system = b"\x8c\x02os\x94\x8c\x06system\x94\x93\x94"
    return {
        "models/fraud/hmac.spkl": (good, "", "verified"),
        "models/fraud/ed25519.spkl": (sealed(key=TRAINER), "", "verified"),
        "models/fraud/no suffix": (good, "", "verified"),
        "models/churn/zlib.spkl": (sealed("churn/prod", compress="zlib"), "", "verified"),
        "models/churn/zstd.spkl": (sealed("churn/prod", compress="zstd"), "", "verified"),
        "models/churn/both.spkl": (sealed("churn/prod"), "", "verified"),
        "models/fraud/drift.spkl": (forced(b"N.", libraries={"numpy": "0.0.1"}), "versions", "verified"),
        "models/fraud/body.spkl": (changed(good, len(good) - 3), "tampered", "refused"),
        "models/fraud/header.spkl": (changed(good, good.index(b'"serial"')), "signature", "refused"),
        "models/fraud/cut.spkl": (good[:-1], "truncated", "refused"),
        "models/fraud/longer.spkl": (good + b"\0", "appended", "refused"),
        "models/fraud/empty.spkl": (b"", "truncated", "refused"),
        "models/fraud/stranger.spkl": (sealed(key=STRANGER), "unknown-key", "refused"),
        "models/fraud/expired.spkl": (forced(b"N.", now=days.timestamp, expires=timedelta(days=2)), "expired", "refused"),
        "models/churn/swapped.spkl": (good, "context", "refused"),
        "models/fraud/older.spkl": (sealed(serial=4), "serial", "refused"),
        "models/fraud/outside.spkl": (forced(b"\x8c\x07scoring\x94\x8c\x04Clip\x94\x93\x94."), "policy", "refused"),
        "models/fraud/hostile.spkl": (forced(os_system + b"\x8c\x04true\x94\x85\x94R\x94."), "policy", "refused"),
        "models/fraud/malformed.spkl": (forced(b"K\x010."), "program", "refused"),
        "legacy/plain.pkl": (PICKLE, "unsigned", "refused"),
        "legacy/plain.txt": (pickle.dumps(["a", {"b": 2.5}], 0), "unsigned", "refused"),
        "legacy/plain.spkl": (PICKLE, "unsigned", "refused"),
        "legacy/no suffix": (PICKLE, "unsigned", "refused"),
        "legacy/zipped": (gzip.compress(PICKLE, mtime=0), "unsigned", "refused"),
        "legacy/model.joblib": (written(lambda file: joblib.dump({"a": numpy.arange(9)}, file, compress=3)), "unsigned", "refused"),
        "legacy/objects.npz": (objects, "unsigned", "refused"),
        "legacy/torch.pt": (written(torch_like), "unsigned", "refused"),
        "legacy/lfs.bin": (POINTER, "lfs-pointer", "refused"),
        "legacy/lfs.spkl": (POINTER, "lfs-pointer", "refused"),
        "legacy/gone.bin.dvc": (DVC % b"gone.bin", "dvc-pointer", "refused"),
        "data/here.csv.dvc": (DVC % b"here.csv", "", "passed over"),
        "data/here.csv": (b"a,b\n1,2\n", "", "passed over"),
        "data/numbers.npz": (written(lambda file: numpy.savez(file, a=numpy.arange(5.0))), "", "passed over"),
        "data/empty.txt": (b"", "", "passed over"),
        "README.md": (b"# Models\n\nimport pickle\n", "", "passed over"),
        "train.py": (b"import pickle\n\nprint(pickle)\n", "", "passed over"),
        **{f"{name}": (PICKLE, "unsigned", "refused") for name in ODD},
    }  # fmt: skip


SPECIAL = {
    # A link is a name of its own where the context is made of the path.
    "models/fraud/inward.spkl": ("", "verified"),
    "models/fraud/dangling.spkl": ("unreadable", "refused"),
    "models/fraud/outward": ("unreadable", "refused"),
    "data/socket": ("unreadable", "refused"),
    "data/pipe": ("unreadable", "refused"),
}


def git(*arguments: str, cwd: Path, **more) -> subprocess.CompletedProcess:
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "T"), ("EMAIL", "t@example.org"))}
    plain = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(["git", *arguments], cwd=cwd, env={**os.environ, **plain, **who, **more}, capture_output=True, check=True)


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A git repository with everything that a gate may meet, committed; its sockets and pipes, which git knows not, beside that."""
    top = tmp_path_factory.mktemp("gate") / "repository"
    top.mkdir()
    (top.parent / "elsewhere").write_bytes(PICKLE)
    for name, (content, _, _) in contents().items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(content)
    safepickle.sign(top / "models/churn/both.spkl", key=TRAINER, signed_by=KEY)
    (top / "models/fraud/inward.spkl").symlink_to("hmac.spkl")
    (top / "models/fraud/dangling.spkl").symlink_to("nowhere.spkl")
    (top / "models/fraud/outward").symlink_to("../../../elsewhere")
    git("init", "-q", cwd=top)
    git("add", "-A", cwd=top)
    git("commit", "-q", "-m", "models", cwd=top)
    os.mkfifo(top / "data/pipe")
    with contextlib.chdir(top / "data"), socket.socket(socket.AF_UNIX) as server:
        # By a short name: the path of a socket has some hundred characters.
        server.bind("socket")
    return top


GATE = ["verify", ".", "--key", "env:SP_KEY", "--key", "env:SP_PUBLIC", "--context-from-path", "{parent}/prod", "--min-serial", "5", "--versions"]


@pytest.fixture(scope="module")
def reports(repository) -> Mapping[str, str]:
    """What the gate says of the repository, in each format; the form for GitHub Actions with the summary of the job under "summary"."""
    told = {}
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(repository):
        clean(patch)
        for form in ("text", *formats.FORMATS):
            out = io.StringIO()
            if form == "github":
                patch.setenv("GITHUB_ACTIONS", "true")
                patch.setenv("GITHUB_STEP_SUMMARY", str(repository.parent / "summary.md"))
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
                code = main([*GATE, *([] if form == "github" else ["--format", form])])
            assert code == 1
            told[form] = out.getvalue()
            patch.delenv("GITHUB_ACTIONS", raising=False)
    return {**told, "summary": (repository.parent / "summary.md").read_text("utf-8")}


def expected() -> dict[str, tuple[str, str]]:
    return {**{name: (rule, status) for name, (_, rule, status) in contents().items()}, **SPECIAL}


def named(path: str) -> str:
    """The name in the tables above of a path in a report of JSON, which holds no halves of characters."""
    return os.path.normpath(path).replace(r"\udce9", "\udce9")


def test_the_repository_is_committed_and_holds_every_kind(repository):
    listed = git("ls-files", "-z", cwd=repository).stdout.split(b"\0")[:-1]
    assert len(listed) == len(contents()) + 3 > 60
    status = git("status", "--porcelain", "-z", cwd=repository).stdout
    assert status == b"", "git sees no change; of pipes and sockets it says nothing"
    found = {rule for rule, _ in expected().values()} - {""}
    assert found == formats.RULES.keys() & found
    # The others need a state of the gate, not a file: too few signatures stands below; a bundle, pins, a broken key, a limit, a fault of ours.
    assert set(formats.RULES) - found >= {"threshold", "pins", "bundle", "key", "limit", "failed"}
    assert {"unsigned", "signature", "tampered", "truncated", "appended", "unknown-key", "context", "serial", "expired", "policy"} <= found


# --- what it says of each file ------------------------------------------------------------------------------------


def test_each_file_has_its_rule_and_status(reports):
    report = json.loads(reports["json"])
    told = {named(each["path"]): ([finding["rule"] for finding in each["findings"]], each["status"]) for each in report["files"]}
    wanted = {name: ([rule] if rule else [], status) for name, (rule, status) in expected().items() if status != "passed over"}
    assert told == wanted
    counted = [status for _, status in expected().values()]
    assert {key: report[key] for key in ("verified", "unauthenticated", "refused", "passed_over", "exit_code")} == {
        "verified": counted.count("verified"),
        "unauthenticated": 0,
        "refused": counted.count("refused"),
        "passed_over": counted.count("passed over"),
        "exit_code": 1,
    }


def findings(reports) -> Iterator[tuple[str, str, dict]]:
    """Each finding of the report, with the path that stands there and the name of the file."""
    for each in json.loads(reports["json"])["files"]:
        for finding in each["findings"]:
            yield each["path"], named(each["path"]), finding


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root reads everything")
def test_what_may_not_be_read_is_a_finding(repository, tmp_path, capsys):
    (tmp_path / "secret").write_bytes(PICKLE)
    (tmp_path / "secret").chmod(0)
    assert main(["verify", str(tmp_path), "--key", "env:SP_KEY", "--format", "json"]) == 1
    assert [each["rule"] for each in json.loads(capsys.readouterr().out)["files"]] == ["unreadable"]


GOOD = ["models/fraud/hmac.spkl", "models/fraud/ed25519.spkl", "models/fraud/no suffix"]
KEYS = ["--key", "env:SP_KEY", "--key", "env:SP_PUBLIC"]
CASES = {
    "good": ([*GOOD, *KEYS, "--context", "fraud/prod"], 0, "3 verified, 0 refused"),
    "a folder": (["models/churn", "--exclude", "swapped.spkl", *KEYS], 0, "3 verified, 0 refused"),
    "a pattern": (["models/**/z*.spkl", *KEYS], 0, "2 verified, 0 refused"),
    "two signatures": (["models/churn/both.spkl", *KEYS, "--threshold", "2"], 0, "1 verified, 0 refused"),
    "allowed": (["models/fraud/outside.spkl", *KEYS, "--allow", "scoring:Clip"], 0, "1 verified, 0 refused"),
    "structure only": ([*GOOD, "--structure-only"], 0, "3 unauthenticated, 0 refused"),
    "a stranger's structure": (["models/fraud/stranger.spkl", "--structure-only"], 0, "1 unauthenticated, 0 refused"),
    "no model among the names of a hook": ([*KEYS, "--allow-empty", "--by-content", "--", "data/here.csv.dvc"], 0, "0 verified, 0 refused"),
    "an empty folder, allowed": (["data", "--exclude", "pipe", "--exclude", "socket", "--allow-empty", *KEYS], 0, "0 verified, 0 refused"),
    "one of two keys": (["models/fraud/hmac.spkl", *KEYS, "--threshold", "2"], 1, "0 verified, 1 refused"),
    "text that is named": (["README.md", *KEYS], 1, "0 verified, 1 refused"),
    "the other context": (["models/fraud/hmac.spkl", *KEYS, "--context", "churn/prod"], 1, "0 verified, 1 refused"),
    "warnings pass": (["models/fraud/drift.spkl", *KEYS, "--versions"], 0, "1 verified, 0 refused"),
    "usage": (["--no-such-option", *KEYS], 2, "unrecognized arguments"),
    "nothing named": (KEYS, 2, "name the files"),
    "a missing path": (["models/none.spkl", *KEYS], 2, "does not exist"),
    "no key": (GOOD, 2, "no key"),
    "no match": (["models/**/*.none", *KEYS], 2, "matches no file"),
    "no model": (["data", "--exclude", "pipe", "--exclude", "socket", *KEYS], 2, "there is no model"),
    "an unknown format": ([*GOOD, *KEYS, "--format", "html"], 2, "invalid choice"),
    "no policy": ([*GOOD, *KEYS, "--policy", "none.toml"], 2, "cannot be read"),
    "an unwritable report": ([*GOOD, *KEYS, "--output", "none/report"], 2, "none/report"),
    "a key in an argument": ([*GOOD, "--key", KEY.to_text()], 2, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_exit_codes(case, repository, monkeypatch, capsys):
    arguments, code, said = CASES[case]
    monkeypatch.chdir(repository)
    try:
        got = main(["verify", *arguments])
    except SystemExit as stop:
        got = stop.code
    out, err = capsys.readouterr()
    assert (got, said in err) == (code, True), err
    assert KEY.to_text() not in out + err
    assert KEY.to_text()[10:] not in out + err
    if code == 1:
        assert ": REFUSED: " in out


def test_too_few_signatures_have_a_rule_of_their_own(repository, monkeypatch, capsys):
    monkeypatch.chdir(repository)
    main(["verify", "models/fraud/hmac.spkl", *KEYS, "--threshold", "2", "--format", "json"])
    (each,) = json.loads(capsys.readouterr().out)["files"]
    assert each["rule"] == "threshold"


# --- the form of the reports --------------------------------------------------------------------------------------


def of_schema(name: str, part: str = "") -> jsonschema.protocols.Validator:
    schema = json.loads((SCHEMAS / name).read_text("utf-8"))
    made = jsonschema.validators.validator_for(schema)
    made.check_schema(schema)
    return made({**schema, "$ref": part} if part else schema, format_checker=made.FORMAT_CHECKER)


def test_json_and_its_lines_are_of_their_schema(reports, repository, monkeypatch, capsys):
    report = json.loads(reports["json"])
    of_schema("verify-report.json").validate(report)
    # Strict readers refuse halves of characters.
    json.dumps(report, ensure_ascii=False).encode("utf-8")
    lines = reports["jsonl"].splitlines()
    assert [json.loads(line) for line in lines] == report["files"]
    schema = json.loads((SCHEMAS / "verify-report.json").read_text("utf-8"))
    line = jsonschema.Draft202012Validator({"$defs": schema["$defs"], "$ref": "#/$defs/file"})
    for each in report["files"]:
        line.validate(each)
    monkeypatch.chdir(repository)
    assert main(["verify", "models", "--structure-only", "--format", "json"]) == 1
    report = json.loads(capsys.readouterr().out)
    of_schema("verify-report.json").validate(report)
    assert report["unauthenticated"] > 5
    with pytest.raises(jsonschema.ValidationError):
        line.validate({**next(each for each in report["files"] if each["status"] == "unauthenticated"), "status": "verified"})


def test_sarif_is_of_its_schema_and_has_a_result_for_each_finding(reports):
    log = json.loads(reports["sarif"])
    of_schema("sarif-2.1.0-rtm.5.json").validate(log)
    (run,) = log["runs"]
    told = sorted((each["ruleId"], each["level"], each["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]) for each in run["results"])
    from urllib.parse import quote

    assert told == sorted((each["rule"], each["level"], quote(os.fsencode(name))) for _, name, each in findings(reports))
    assert len({json.dumps(each["partialFingerprints"], sort_keys=True) for each in run["results"]}) == len(told)


def test_gitlab_has_an_entry_for_each_finding(reports):
    entries = json.loads(reports["gitlab"])
    of_schema("gitlab-codequality.json").validate(entries)
    told = sorted((each["check_name"], each["severity"], named(each["location"]["path"])) for each in entries)
    severity = {"error": "critical", "warning": "minor"}
    assert told == sorted((f"safepickle/{each['rule']}", severity[each["level"]], name) for _, name, each in findings(reports))
    assert len({each["fingerprint"] for each in entries}) == len(entries)


def test_junit_is_of_the_schema_of_jenkins_and_has_a_case_for_each_file(reports):
    schema = xmlschema.XMLSchema(str(SCHEMAS / "junit-10.xsd"))
    root = xmlschema.XMLResource(reports["junit"]).root
    schema.validate(reports["junit"])
    with pytest.raises(xmlschema.XMLSchemaValidationError):
        schema.validate(reports["junit"].replace("<failure ", "<fault ").replace("</failure>", "</fault>"))
    (suite,) = root
    files = json.loads(reports["json"])["files"]
    assert len(suite) == int(suite.get("tests")) == len(files) == int(root.get("tests"))
    told = [[(failure.get("type"), failure.text) for failure in case.findall("failure")] for case in suite]
    assert [[rule for rule, _ in each] for each in told] == [[each["rule"]] if each["status"] == "refused" else [] for each in files]
    assert int(suite.get("failures")) == sum(len(each) for each in told) == json.loads(reports["json"])["refused"]
    # XML has no way to write these two.
    assert [case.get("name") for case in suite] == [each["path"].replace("\x1b", r"\x1b").replace("\ufffe", r"\ufffe") for each in files]


def command_of(line: str) -> tuple[str, dict[str, str], str] | None:
    """A command that the runner of GitHub finds in a line of a log, as its ActionCommand.cs does: name, properties and data."""
    known = {
        "error",
        "warning",
        "notice",
        "debug",
        "group",
        "endgroup",
        "add-mask",
        "stop-commands",
        "set-output",
        "save-state",
        "set-env",
        "add-path",
    }

    def unescaped(text: str, *codes: str) -> str:
        for code in codes:
            text = text.replace(code, chr(int(code[1:], 16)))
        return text

    def found(head: str, data: str, separator: str, of_property: tuple[str, ...], of_data: tuple[str, ...]):
        name, _, rest = head.partition(" ")
        pairs = [each.split("=", 1) for each in rest.split(separator) if "=" in each]
        if name.lower() not in known:
            return None
        return name, {key: unescaped(value, *of_property) for key, value in pairs}, unescaped(data, *of_data)

    line = line.lstrip()
    if line.startswith("::") and "::" in line[2:]:
        head, _, data = line[2:].partition("::")
        one = found(head, data, ",", ("%0D", "%0A", "%3A", "%2C", "%25"), ("%0D", "%0A", "%25"))
        if one is not None:
            return one
    # The older form, which may stand anywhere in a line.
    _, begun, rest = line.partition("##[")
    head, ended, data = rest.partition("]")
    old = ("%3B", "%0D", "%0A", "%5D", "%25")
    return found(head, data, ";", old, old) if begun and ended else None


def shown(text: str) -> str:
    """Text of which only line ends steer: every other control is written as its escape."""
    return "".join(each if each.isprintable() or each in "\r\n" else ascii(each)[1:-1] for each in text)


def test_each_annotation_is_what_the_runner_reads_back_and_no_other_line_is_a_command(reports):
    *lines, last = reports["github"].split("\n")[:-1]
    found = [command_of(line) for line in lines]
    assert None not in found
    assert command_of(last) is None
    assert re.fullmatch(r"[0-9]+ verified, [0-9]+ refused", last)
    wanted = [
        (each["level"], {"file": shown(name), "line": "1", "title": f"safepickle: {each['rule']}"}, shown(f"{path}: {each['message']}"))
        for path, name, each in findings(reports)
    ]
    assert found == wanted


@pytest.mark.parametrize("form", ["text", "scan"])
def test_no_line_of_a_text_report_is_a_command(form, repository, monkeypatch, capsys):
    """To the runner of GitHub, to Azure (##vso[...] anywhere in a line) and to TeamCity; a name may stand at the beginning of a line."""
    monkeypatch.chdir(repository)
    Path("../list").write_bytes(b"\0".join(os.fsencode(name) for name in sorted([*ODD, "README.md"])))
    if form == "scan":
        assert main(["scan", "--by-content", "--", *ODD]) == 0
    else:
        assert main(["verify", "--files-from", "../list", *KEYS, "--format", "text"]) == 1
    lines = capsys.readouterr().out.split("\n")
    assert len(lines) >= len(ODD)
    assert [line for line in lines if command_of(line) or "##" in line or line.lstrip().startswith("::") or not line.isprintable()] == []


def test_the_summary_is_one_table_and_no_name_makes_a_link_or_html(reports):
    tokens = MarkdownIt("gfm-like", {"html": True, "linkify": True}).parse(reports["summary"])
    kinds = [each.type for each in tokens]
    assert kinds.count("table_open") == 1
    wanted = list(findings(reports))
    assert kinds.count("tr_open") - 1 == len(wanted) > 50
    inner = [child for token in tokens if token.type == "inline" for child in token.children]
    assert {each.type for each in inner} == {"text", "code_inline"}
    assert not {"html_block", "fence", "code_block", "blockquote_open"} & set(kinds)
    cells = [token.children[0].content for token in tokens if token.type == "inline" and token.children[0].type == "code_inline"]
    rows = list(zip(cells[::3], cells[1::3], cells[2::3], strict=True))
    assert [row[1] for row in rows] == [each["rule"] for _, _, each in wanted]
    assert len({row[0] for row in rows}) == len({path for path, _, _ in wanted})
    # The reader that was used here does find what is to be found.
    bare = MarkdownIt("gfm-like", {"html": True, "linkify": True}).parse("www.evil.example <b>x [x](y) me@evil.example\n")
    assert {"link_open", "html_inline"} <= {child.type for token in bare if token.children for child in token.children}


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


# --- pre-commit ---------------------------------------------------------------------------------------------------

UNREACHABLE = re.compile("No matching distribution|Connection|[Tt]emporary failure|[Nn]ame resolution|timed out|Max retries|SSLError")


def skip_without_registry(output: str) -> None:
    """Skip the test if it was pip that could not reach where packages come from; whatever else failed is a failure."""
    if found := UNREACHABLE.search(output):
        pytest.skip(f"pip cannot install here ({found[0]}): {output.strip().splitlines()[-1][:200]}")
    pytest.fail(output[-3000:])


def source_of(folder: Path) -> str:
    """Make a git repository of this checkout, uncommitted changes included, and return its commit."""
    for name in ("pyproject.toml", "README.md", "LICENSE", ".pre-commit-hooks.yaml"):
        (folder / name).write_bytes((TOP / name).read_bytes())
    shutil.copytree(TOP / "safepickle", folder / "safepickle", ignore=shutil.ignore_patterns("__pycache__"))
    git("init", "-q", cwd=folder)
    git("add", "-A", cwd=folder)
    git("commit", "-q", "-m", "source", cwd=folder)
    return git("rev-parse", "HEAD", cwd=folder).stdout.decode().strip()


def test_the_hooks_let_through_what_is_signed_and_what_is_no_model(tmp_path):
    """The real pre-commit, which installs the hooks from a repository of this checkout, in front of real commits."""
    source, team = tmp_path / "source", tmp_path / "team"
    source.mkdir()
    team.mkdir()
    hooks = [{"id": "safepickle-verify", "args": ["--key", "file:trainer.pub", "--context", "fraud/prod", "--"]}, {"id": "safepickle-scan"}]
    (team / ".pre-commit-config.yaml").write_text(yaml.safe_dump({"repos": [{"repo": str(source), "rev": source_of(source), "hooks": hooks}]}))
    (team / "trainer.pub").write_text(f"{TRAINER.public_key().to_text()}\n")
    git("init", "-q", cwd=team)
    home = {"PRE_COMMIT_HOME": str(tmp_path / "home"), "GIT_CONFIG_GLOBAL": os.devnull}
    install = [sys.executable, "-m", "pre_commit", "install", "--install-hooks"]
    git("add", "-A", cwd=team)
    installed = subprocess.run(install, cwd=team, env={**os.environ, **home}, capture_output=True, text=True)
    if installed.returncode:
        skip_without_registry(installed.stdout + installed.stderr)

    def commit(files: dict[str, bytes]) -> tuple[bool, str]:
        """Try to commit the files. Return whether they are in, and what was said."""
        for name, content in files.items():
            (team / name).write_bytes(content)
        git("add", "-A", cwd=team)
        try:
            done = git("commit", "-m", "change", cwd=team, **home)
        except subprocess.CalledProcessError as refused:
            return False, (refused.stdout + refused.stderr).decode()
        return True, (done.stdout + done.stderr).decode()

    good = sealed(key=TRAINER)
    done, said = commit({"model.spkl": sealed(key=TRAINER, compress="zstd"), "another one": good, "notes.txt": b"text\n", "-": b"(text)\n"})
    assert done, said
    assert re.search(r"safepickle verify.*Passed\n(.*\n)*safepickle scan.*Passed", said)
    done, said = commit({"features": PICKLE, "more.txt": b"text\n"})
    assert not done
    assert re.search(r"safepickle verify.*Failed\n(.*\n)*features: REFUSED: UnsignedError: .*\n(.*\n)*safepickle scan.*Passed", said)
    cases = {
        "changed.spkl": (changed(good, len(good) - 2), "changed.spkl: REFUSED: AuthenticationError"),
        "stranger.spkl": (sealed(), "stranger.spkl: REFUSED: UnknownKeyError"),
        "elsewhere.spkl": (sealed("churn/prod", key=TRAINER), "elsewhere.spkl: REFUSED: AuthenticationError"),
        "pointer.bin": (POINTER, "pointer.bin: REFUSED: UnsignedError: this is a Git LFS pointer"),
        "--exclude=*": (PICKLE, "--exclude=*: REFUSED: UnsignedError"),
        "::error::x": (PICKLE, r"\x3a:error::x: REFUSED: UnsignedError"),
        "hostile.bin": (b"cos\nsystem\n(S'true'\ntR.", "hostile-name"),
    }
    done, said = commit({name: content for name, (content, _) in cases.items()})
    assert not done
    assert [name for name, (_, told) in cases.items() if f"\n{told}" not in said and f"    {told}" not in said] == []
    assert git("ls-tree", "-r", "--name-only", "HEAD", cwd=team).stdout.decode().split("\n")[:-1] == [
        "-", ".pre-commit-config.yaml", "another one", "model.spkl", "notes.txt", "trainer.pub",
    ]  # fmt: skip
    done, said = commit(dict.fromkeys(("features", *cases), good))
    assert done, said


def test_each_hook_ends_its_arguments_so_that_no_name_is_an_option():
    hooks = yaml.safe_load((TOP / ".pre-commit-hooks.yaml").read_text("utf-8"))
    assert [each["id"] for each in hooks] == ["safepickle-verify", "safepickle-scan"]
    for each in hooks:
        assert "--by-content" in each["entry"].split()
        assert (each["args"], each["types"], each["language"]) == (["--"], ["file"], "python")
        assert not {"files", "exclude", "types_or"} & each.keys(), "a model may have any name"


# --- the action ---------------------------------------------------------------------------------------------------

ACTION = TOP / "action.yml"
EXPRESSION = re.compile(r"\$\{\{ (inputs|steps)\.([a-z-]+)(?:\.outputs\.([a-z-]+))? \}\}")


def action() -> dict:
    return yaml.safe_load(ACTION.read_text("utf-8"))


@dataclass
class Runner:
    """What a runner of GitHub does with the steps of a composite action, as far as this one needs it."""

    workspace: Path
    temporary: Path
    inputs: dict[str, str]
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    log: str = ""

    def resolved(self, text: str) -> str:
        """Evaluate a value that is one expression, of the two kinds that are known here."""
        if "${{" not in text:
            return text
        kind, name, output = EXPRESSION.fullmatch(text).groups()
        if kind == "steps":
            return self.outputs[name].get(output, "")
        return self.inputs.get(name, action()["inputs"][name]["default"])

    def run(self, name: str) -> int:
        """Run a step and return its exit code."""
        (step,) = [each for each in action()["runs"]["steps"] if each["id"] == name]
        assert step["shell"] == "bash"
        assert step.keys() == {"id", "shell", "env", "run"}
        self.temporary.mkdir(exist_ok=True)
        script = self.temporary / f"{name}.sh"
        script.write_text(step["run"], "utf-8")
        files = {each: self.temporary / f"{name}.{each}" for each in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV", "GITHUB_PATH")}
        for path in files.values():
            path.write_text("")
        known = {each: os.environ[each] for each in os.environ if each in ("PATH", "HOME") or each.startswith("PIP_")}
        job = {"RUNNER_TEMP": self.temporary, "GITHUB_WORKSPACE": self.workspace, "GITHUB_ACTION_PATH": TOP, "GITHUB_ACTIONS": "true", "CI": "true"}
        env = {**known, **{key: str(value) for key, value in {**job, **files}.items()}, **{k: self.resolved(v) for k, v in step["env"].items()}}
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
        done = subprocess.run(command, cwd=self.workspace, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        self.log += done.stdout.decode("utf-8", "backslashreplace")
        assert files["GITHUB_ENV"].read_text() + files["GITHUB_PATH"].read_text() == ""
        pairs = [line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines()]
        self.outputs[name] = dict(pairs)
        assert len(self.outputs[name]) == len(pairs), "an output was given twice"
        return done.returncode

    @property
    def summary(self) -> str:
        return (self.temporary / "verify.GITHUB_STEP_SUMMARY").read_text("utf-8")


COUNTED = ("verified", "reviewed", "unauthenticated", "accepted", "unsigned", "refused")


def outputs_of(code: str, **counts: str) -> dict[str, str]:
    """The outputs of a run that has told how many files there are of each kind."""
    return {"exit-code": code, **dict.fromkeys(COUNTED, "0"), **counts}


@pytest.fixture
def here(repository, tmp_path):
    """A runner after the step `install`, with the Python of the tests, which notes down how it is called."""

    def made(**inputs: str) -> Runner:
        python = tmp_path / "python"
        python.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {tmp_path}/arguments\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        (tmp_path / "home").mkdir(exist_ok=True)
        runner = Runner(repository, tmp_path / "temporary", {name.replace("_", "-"): value for name, value in inputs.items()})
        runner.outputs["install"] = {"home": str(tmp_path / "home"), "python": str(python)}
        return runner

    return made


def test_inputs_reach_the_scripts_by_the_environment_only_and_nothing_foreign_is_used():
    read = action()
    used = set()
    for step in read["runs"]["steps"]:
        assert "${{" not in step["run"], "the text of an input would be part of the script"
        assert step["run"].startswith("set -euo pipefail\n")
        for value in step["env"].values():
            kind, name, output = EXPRESSION.fullmatch(value).groups()
            used.add(name) if kind == "inputs" else None
            assert (kind == "steps") == (output is not None)
        assert all(name.startswith("SP_") for name in step["env"]), "no variable of the job is replaced by an empty input"
        assert re.fullmatch(r"[^@]+@[0-9a-f]{40}", step.get("uses", f"x@{'0' * 40}"))
    assert used == read["inputs"].keys()
    assert all(isinstance(each["default"], str) and each["description"] for each in read["inputs"].values())
    assert {name: EXPRESSION.fullmatch(each["value"]).groups() for name, each in read["outputs"].items()} == {
        name: ("steps", "verify", name) for name in ("exit-code", "report", *COUNTED)
    }


def test_what_the_action_installs_is_pinned_by_hash_and_is_what_the_package_needs():
    lines = re.sub(r"\\\n", " ", (TOP / ".ci/action-requirements.txt").read_text("utf-8")).splitlines()
    pinned = {line.split("==")[0]: line for line in lines if line and not line.lstrip().startswith("#")}
    assert {"cryptography", "hatchling"} <= pinned.keys()
    assert all(re.match(r"[a-z0-9.-]+==[0-9.]+ .*--hash=sha256:[0-9a-f]{64}", line) for line in pinned.values())
    wanted = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))
    needed = [*wanted["project"]["dependencies"], *wanted["project"]["optional-dependencies"]["legacy"], *wanted["build-system"]["requires"]]
    assert {re.match(r"[A-Za-z0-9.-]+", each)[0].lower().replace(".", "-") for each in needed} <= pinned.keys()


def test_the_action_verifies_with_keys_that_are_in_no_argument_and_no_log(here, tmp_path):
    runner = here(paths="models/fraud/hmac.spkl\n\nmodels/churn/both.spkl\r\n", secret_key=KEY.to_text(), public_key=TRAINER.public_key().to_text())
    assert runner.run("verify") == 0, runner.log
    assert runner.outputs["verify"] == outputs_of("0", verified="2")
    arguments = (tmp_path / "arguments").read_text()
    assert arguments.startswith("-I\n-m\nsafepickle.cli\nverify\n--key=env:")
    for text in (arguments, runner.log, runner.summary):
        assert KEY.to_text()[12:] not in text
    assert "2 verified, 0 refused" in runner.summary


def test_the_action_annotates_what_is_refused(here, reports):
    runner = here(key="env:SP_SECRET_KEY", secret_key=KEY.to_text(), context_from_path="{parent}/prod", min_serial="5")
    assert runner.run("verify") == 2, "the key is given twice"
    runner = here(secret_key=KEY.to_text(), public_key=TRAINER.public_key().to_text(), context_from_path="{parent}/prod", min_serial="5")
    assert runner.run("verify") == 1
    counts = {key: str(json.loads(reports["json"])[key]) for key in COUNTED}
    assert runner.outputs["verify"] == outputs_of("1", **counts)
    commands = [command_of(line) for line in runner.log.split("\n")]
    told = [each for each in commands if each]
    wanted = [each for each in map(command_of, reports["github"].split("\n")) if each and each[0] == "error"]
    # The messages name the keys in the order in which they were given.
    assert [each[:2] for each in told] == [each[:2] for each in wanted]
    assert runner.summary.count("\n| `") == len(wanted)


@pytest.mark.parametrize(("form", "output"), [("sarif", ""), ("sarif", "../verify.sarif"), ("json", "../--report=x")])
def test_the_action_writes_a_report(form, output, here, reports):
    runner = here(format=form, output=output, paths="models", public_key=TRAINER.public_key().to_text(), exclude="*.spkl\noutward")
    assert runner.run("verify") == 1
    told = runner.outputs["verify"]
    assert told["report"] == output or not output
    report = json.loads((runner.workspace / told["report"]).read_text("utf-8"))
    of_schema({"sarif": "sarif-2.1.0-rtm.5.json", "json": "verify-report.json"}[form]).validate(report)
    assert (told["verified"], told["refused"], told["exit-code"]) == ("0", "1", "1")
    assert [command_of(line) for line in runner.log.splitlines()] == [("error", {"title": "safepickle"}, "Files were refused: see the report")]


def test_a_fork_has_no_secret_and_says_so(here):
    paths = "models/fraud/hmac.spkl\nmodels/fraud/stranger.spkl"
    runner = here(paths=paths, secret_key="")
    assert runner.run("verify") == 2
    assert "no key" in runner.log
    assert runner.outputs["verify"] == {"exit-code": "2"}
    runner = here(paths=paths, secret_key="", structure_only="true")
    assert runner.run("verify") == 0
    assert runner.outputs["verify"] == outputs_of("0", unauthenticated="2")
    runner = here(paths=f"{paths}\nmodels/fraud/body.spkl\nlegacy", structure_only="true")
    assert runner.run("verify") == 1
    assert int(runner.outputs["verify"]["refused"]) > 5
    runner = here(paths=paths, structure_only="true", public_key=TRAINER.public_key().to_text())
    assert runner.run("verify") == 2
    assert "--structure-only checks no signature" in runner.log


def test_what_the_project_says_holds_in_the_action_only_if_it_is_named(tmp_path, here):
    """A pull request could change it together with a model."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[tool.safepickle]\npaths = ["a.bin"]\nallow = ["scoring:Clip"]\nexclude = ["b.bin"]\nkeys = ["env:SP_SECRET_KEY"]\n'
    )
    (project / "a.bin").write_bytes(contents()["models/fraud/outside.spkl"][0])
    (project / "b.bin").write_bytes(PICKLE)
    # Nothing above the folder is looked for.
    (project / ".git").mkdir()

    def run(**inputs: str) -> tuple[int, dict[str, str]]:
        runner = here(**inputs)
        runner.workspace = project
        return runner.run("verify"), runner.outputs["verify"]

    assert run(secret_key=KEY.to_text()) == (1, outputs_of("1", refused="2"))
    assert run(secret_key=KEY.to_text(), config="pyproject.toml") == (0, outputs_of("0", verified="1"))
    with contextlib.chdir(project):
        assert main(["verify", "--update-baseline", "--baseline", "known.json", "--no-config", "--key", "env:SP_KEY", "b.bin"]) == 0
        assert main(["lock", "a.bin", "--lock", "all.lock", "--no-config", "--key", "env:SP_KEY"]) == 0
    assert run(secret_key=KEY.to_text(), paths="b.bin", baseline="known.json") == (0, outputs_of("0", accepted="1"))
    assert run(paths="a.bin", allow="scoring:Clip", lock="all.lock") == (0, outputs_of("0", reviewed="1"))


HOSTILE = '-x$(touch pwned)`touch pwned`\'"; touch pwned; echo "\nverified=99\n--output=pwned\n\\$(touch pwned)\n*\n::error::forged'


@pytest.mark.parametrize("name", sorted(set(action()["inputs"]) - {"python"}))
def test_no_value_of_an_input_is_run_or_forges_an_output(name, here):
    runner = here(**{"paths": "models/fraud/hmac.spkl", "secret_key": KEY.to_text(), name.replace("-", "_"): HOSTILE})
    before = sorted(os.listdir(runner.workspace))
    code = runner.run("verify")
    # A template may give any text; the context that it gives is then none that a file can have.
    assert code == (1 if name == "context-from-path" else 2), runner.log
    assert sorted(os.listdir(runner.workspace)) == before
    assert not list(runner.temporary.parent.rglob("*pwned*"))
    assert runner.outputs["verify"].get("verified") in (None, "0")
    commands = [each for each in map(command_of, runner.log.splitlines()) if each]
    assert [properties for _, properties, _ in commands if not properties.get("title", "").startswith("safepickle")] == []


def test_the_action_installs_itself_and_runs_nothing_of_the_workspace(tmp_path):
    """All of it, as a runner would, in a checkout that holds modules by the names of those that are needed."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    for name in ("venv", "pip", "json", "safepickle", "cryptography", "hatchling", "sitecustomize", "ensurepip"):
        (workspace / f"{name}.py").write_text("open('pwned', 'w').close()\nraise SystemExit(0)\n")
    (workspace / "model.spkl").write_bytes(sealed(compress="zstd"))
    runner = Runner(workspace, tmp_path / "temporary", {"python": sys.executable, "secret-key": KEY.to_text()})
    if runner.run("install"):
        skip_without_registry(runner.log)
    assert runner.run("verify") == 0, runner.log
    assert runner.outputs["verify"] == outputs_of("0", verified="1")
    (workspace / "model.bin").write_bytes(PICKLE)
    assert runner.run("verify") == 1
    assert "::error file=model.bin,line=1,title=safepickle%3A unsigned::" in runner.log
    assert not (workspace / "pwned").exists()
    for value in ("-c", "$(touch pwned)"):
        runner.inputs["python"] = value
        assert runner.run("install") != 0
        assert not (workspace / "pwned").exists()
