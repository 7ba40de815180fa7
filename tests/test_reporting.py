"""Reports of scans: that people can read them, that nothing in a file can forge them, and that machines take them."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from pretending import pretend, scan

import safepickle
from safepickle import reporting, scanning
from safepickle.cli import main
from safepickle.commands.telling import colours
from safepickle.reporting import RULES, Scanned, as_json, as_sarif, summary, text_of, unread
from safepickle.scanning import Finding, Program, Report
from safepickle.walking import tree

__all__ = ["pretend"]

EVIL = b"\x80\x04\x8c\x02os\x8c\x06system\x93."
GOOD = b"\x80\x04K\x01."
SCHEMA = json.loads((Path(__file__).parent / "schemas" / "sarif-2.1.0-rtm.5.json").read_text("utf-8"))


def report(*findings: Finding, verdict: str = "hostile") -> Report:
    return Report(verdict, "zip", 100, "0" * 64, findings, (Program("", 0, 5, 4, "pickle", ("os:system",), verdict),))


HOSTILE = Finding("hostile", "hostile-name", "m.zip!archive/data.pkl", 7, "os:system runs a command", "os:system", "GHSA-655q-fx9r-782v")
OUTSIDE = Finding("outside policy", "outside-policy", "", 12, "mycorp:Clip is not allowed", "mycorp:Clip")


def sarif(*files: Scanned, root: str = "/repo", code: int = 1) -> dict:
    log = json.loads(as_sarif(files, "1.2.3", root, code))
    # The schema is of draft 4, which says of formats what this can check without more packages.
    jsonschema.Draft4Validator(SCHEMA, format_checker=jsonschema.Draft4Validator.FORMAT_CHECKER).validate(log)
    (run,) = log["runs"]
    return run


# --- text -------------------------------------------------------------------------------------------------------


def test_a_file_is_a_line_and_its_findings_stand_beneath_it():
    first, *rest = text_of(Scanned("models/a.zip", report(HOSTILE, OUTSIDE)))
    assert first.split() == ["hostile", "zip", "models/a.zip"]
    assert rest == [
        "    hostile-name in m.zip!archive/data.pkl at byte 7: os:system runs a command",
        "      see GHSA-655q-fx9r-782v",
        "    outside-policy at byte 12: mycorp:Clip is not allowed",
    ]


NASTY = "a\x1b[2Jb\u202egnp\u2066c\rd\x00e\u2028f\ud800g\x85"


def test_no_text_of_a_file_steers_a_terminal_or_turns_its_line():
    finding = Finding("hostile", NASTY, NASTY, 1, NASTY, NASTY, NASTY)
    said = "".join(text_of(Scanned(NASTY, Report("hostile", NASTY, 1, "", (finding,), ()))))
    assert said.isprintable()
    assert "a\\x1b[2Jb\\u202egnp\\u2066c\\rd\\x00e\\u2028f\\ud800g\\x85" in said


def test_a_message_of_many_lines_forges_no_line_of_another_file():
    """A name may hold a line end; each line after it is indented, and lines that name a file are not."""
    finding = Finding("hostile", "hostile-name", "", 1, "x\nwithin policy  pickle  good.pkl")
    first, *rest = text_of(Scanned("a", report(finding)))
    assert not first.startswith(" ")
    assert all(line.startswith("    ") for line in rest)


def test_what_people_see_of_one_file_is_bounded_and_says_so():
    lines = list(text_of(Scanned("a", report(*[Finding("hostile", "hostile-name", "", 1, "x" * 10_000)] * 1000))))
    assert len(lines) < 60
    assert max(map(len, lines)) < 2200
    assert lines[-1].startswith("    and 950 more findings")


@pytest.mark.parametrize(
    ("environment", "terminal", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_colours_are_for_terminals_and_for_those_who_ask(environment, terminal, expected):
    assert colours(environment, terminal=terminal) is expected
    assert ("\x1b[" in next(text_of(Scanned("a", report(HOSTILE)), colour=expected))) is expected


def test_the_summary_counts_the_worst_first():
    files = [Scanned(each, report(verdict=each)) for each in ("not a pickle", "within policy", "hostile", "not a pickle")]
    assert summary(files) == "4 files: 1 hostile, 1 within policy, 2 not a pickle"
    assert summary([unread("a", "cannot-read", "no")]) == "1 file: 1 unreadable"


# --- JSON -------------------------------------------------------------------------------------------------------


def test_json_has_all_of_a_report_with_its_path_and_error():
    files = [
        Scanned("a\udcff", report(HOSTILE)),
        unread("b", "cannot-read", "Permission denied"),
        Scanned("c", Report("signed", "x", 1, "0", (), ())),
    ]
    value = json.loads(as_json(files, "1.2.3"))
    assert list(value) == ["tool", "version", "files", "verdicts", "clean", "with_findings"]
    assert value["files"][0] == {"path": "a\udcff", "error": None, **json.loads(json.dumps(report(HOSTILE).as_dict()))}
    assert value["files"][1]["error"] == "Permission denied"
    assert value["files"][1]["findings"][0]["rule"] == "cannot-read"
    assert value["files"][1].keys() == value["files"][0].keys()
    assert (value["clean"], value["with_findings"]) == (1, 2)
    assert list(value["verdicts"]) == list(scanning.VERDICTS)


# --- SARIF ------------------------------------------------------------------------------------------------------


def test_sarif_is_valid_and_says_where_and_how_bad():
    run = sarif(Scanned("/repo/models/a.zip", report(HOSTILE, OUTSIDE)))
    first, second = run["results"]
    assert (first["ruleId"], first["level"], second["level"]) == ("hostile-name", "error", "warning")
    assert [run["tool"]["driver"]["rules"][each["ruleIndex"]]["id"] for each in run["results"]] == ["hostile-name", "outside-policy"]
    place = first["locations"][0]
    assert place["physicalLocation"] == {"artifactLocation": {"uri": "models/a.zip", "uriBaseId": "%SRCROOT%"}, "region": {"startLine": 1}}
    assert place["logicalLocations"] == [
        {"name": "archive/data.pkl", "fullyQualifiedName": "m.zip!archive/data.pkl", "kind": "member", "properties": {"offset": 7}}
    ]
    assert second["locations"][0]["physicalLocation"]["region"] == {"startLine": 1, "byteOffset": 12}
    assert "os:system runs a command (GHSA-655q-fx9r-782v)" in first["message"]["text"]
    assert run["invocations"] == [{"executionSuccessful": True, "exitCode": 1, "toolExecutionNotifications": []}]
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("safepickle", "1.2.3")
    assert driver["informationUri"].startswith("https://")


def test_a_file_that_could_not_be_read_is_a_result_and_a_notification():
    run = sarif(unread("/repo/a", "cannot-read", "Permission denied"))
    assert [(each["ruleId"], each["level"]) for each in run["results"]] == [("cannot-read", "error")]
    (notification,) = run["invocations"][0]["toolExecutionNotifications"]
    assert notification["message"]["text"] == "Permission denied"
    assert notification["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "a"


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("/repo/a b#c?.pkl", "a%20b%23c%3F.pkl"),
        ("/repo/grün/100%.pkl", "gr%C3%BCn/100%25.pkl"),
        ("/repo/x\udcff\n.pkl", "x%FF%0A.pkl"),
        ("/repo/a:b", "a%3Ab"),
        ("/repo/..a", "..a"),
        ("/elsewhere/a b", "file:///elsewhere/a%20b"),
        ("-", "stdin"),
    ],
)
def test_paths_are_uris_relative_to_the_top_of_the_repository(path, uri):
    (result,) = sarif(Scanned(path, report(OUTSIDE)))["results"]
    location = result["locations"][0]["physicalLocation"]["artifactLocation"]
    assert location["uri"] == uri
    assert ("uriBaseId" in location) is not uri.startswith("file:")


def test_a_fingerprint_stays_when_offsets_move_and_differs_where_findings_do():
    def prints(*findings, path="/repo/a"):
        return [each["partialFingerprints"]["safepickleFinding/v1"] for each in sarif(Scanned(path, report(*findings)))["results"]]

    one = Finding("hostile", "hostile-name", "", 7, "at 7: os:system", "os:system")
    moved = Finding("hostile", "hostile-name", "", 99, "at 99: os:system", "os:system")
    assert prints(one) == prints(moved)
    assert len(set(prints(one, moved))) == 2, "two of a kind are two results"
    others = [
        Finding("hostile", "hostile-name", "", 7, "at 7: os:system", "os:popen"),
        Finding("hostile", "computed-name", "", 7, "at 7: os:system", "os:system"),
        Finding("hostile", "hostile-name", "m", 7, "at 7: os:system", "os:system"),
    ]
    assert len({*prints(one), *prints(one, path="/repo/b"), *(prints(each)[0] for each in others)}) == 5
    assert re.fullmatch("[0-9a-f]{16}:1", sarif(Scanned("/repo/a", report(one)))["results"][0]["partialFingerprints"]["primaryLocationLineHash"])


def test_an_unknown_rule_and_text_of_any_kind_still_make_a_valid_report():
    findings = [Finding(verdict, rule, NASTY, None, NASTY) for verdict in ("hostile", "of tomorrow") for rule in (NASTY, "new-rule", "***")]
    run = sarif(Scanned(NASTY, report(*findings, Finding("hostile", "", "", 0, ""))), Scanned("c", Report("signed", "", 0, "", (), ())))
    assert len(run["results"]) == 7
    ids = [each["id"] for each in run["tool"]["driver"]["rules"]]
    assert len(set(ids)) == len(ids) == len(RULES) + 4
    as_sarif([Scanned(NASTY, report(*findings))], "1", "/", 1).encode("utf-8")
    assert "".join(text_of(Scanned("a", report(*findings))))


def test_every_rule_says_what_it_is_and_what_to_do():
    assert len(RULES) >= 18
    for name, rule in RULES.items():
        assert re.fullmatch("[a-z]+(-[a-z]+)*", name)
        assert all((rule.short, rule.full, rule.help))
        assert rule.level in ("error", "warning")
        assert 0 < float(rule.severity) <= 10
    rules = sarif()["tool"]["driver"]["rules"]
    assert [each["id"] for each in rules] == list(RULES)
    assert {"HostileName", "OutsidePolicy"} <= {each.get("name") for each in rules}


def test_every_rule_that_the_scanner_names_is_described():
    source = Path(scanning.__file__).parent
    texts = "".join((source / name).read_text("utf-8") for name in ("scanning.py", "archives.py") if (source / name).exists())
    named = set(re.findall(r'Finding\(\s*"[a-z ]+",\s*"([a-z-]+)"', texts))
    assert named - RULES.keys() == set()


# --- what is below a folder -------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    top = tmp_path / "top"
    for name in (".hidden/a", "deep/er/b.txt", "c", ".git/objects/x", "deep/.git/y", "deep/.gitignore"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(GOOD)
    return top


def names(paths, top):
    return sorted(os.path.relpath(path, top) for path in paths)


def test_every_regular_file_is_found_and_git_is_left_out_and_listed(folder):
    found = tree(str(folder))
    assert names(found.files, folder) == [".hidden/a", "c", "deep/.gitignore", "deep/er/b.txt"]
    assert names(found.skipped, folder) == [".git", "deep/.git"]
    assert (found.special, found.links) == ((), ())


def test_links_are_not_followed_and_one_to_what_is_not_looked_at_is_a_problem(folder, tmp_path):
    """Whoever loads the name of the link loads what is behind it."""
    (tmp_path / "outside.pkl").write_bytes(EVIL)
    (folder / "same").symlink_to("c")
    (folder / "loop").symlink_to("deep")
    (folder / "out").symlink_to(tmp_path / "outside.pkl")
    (folder / "hidden").symlink_to(".git/objects/x")
    (folder / "nowhere").symlink_to("gone")
    (folder / "itself").symlink_to("itself")
    os.mkfifo(folder / "pipe")
    found = tree(str(folder))
    assert names(found.links, folder) == ["loop", "same"]
    assert {os.path.basename(path): why[:15] for path, why in found.special} == {
        "out": "a symbolic link",
        "hidden": "a symbolic link",
        "nowhere": "a symbolic link",
        "itself": "a symbolic link",
        "pipe": "a named pipe, w",
    }
    assert len(found.files) == 4


def test_a_very_deep_folder_is_listed_to_its_end_or_named(tmp_path):
    """The depth of a folder is chosen by whoever made it: it must not end the walk with an error of recursion."""
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    with os.fdopen(os.open("model.pkl", os.O_WRONLY | os.O_CREAT, dir_fd=here), "wb") as file:
        file.write(EVIL)
    os.close(here)
    try:
        found = tree(str(tmp_path))
    finally:
        # pytest, which removes what tests leave behind, does that by recursion.
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)
    assert len(found.files) + len(found.special) == 1


# --- the command ------------------------------------------------------------------------------------------------


def test_scan_exits_with_0_if_every_file_is_clean_and_counts_what_is_no_pickle(folder, pretend, capsys):
    (folder / "notes.txt").write_text("no pickle")
    assert main(["scan", "-v", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert out.count("within policy") == 4
    assert "notes.txt" not in out
    assert "5 files: 4 within policy, 1 not a pickle\n" in err
    assert f"{folder}/.git: not looked at" in err
    assert main(["scan", str(folder / "notes.txt")]) == 0
    assert "notes.txt" in capsys.readouterr().out


def test_scan_exits_with_1_for_any_finding_and_goes_on_after_a_crash(folder, pretend, capsys):
    (folder / "a-crash").write_bytes(b"CRASH")
    (folder / "evil.txt").write_bytes(EVIL)
    os.mkfifo(folder / "pipe")
    assert main(["scan", str(folder)]) == 1
    out, err = capsys.readouterr()
    assert re.search(r"^unreadable .*a-crash$\n    scan-failed: the scan failed \(RuntimeError: a bug", out, re.MULTILINE)
    assert re.search(r"^unreadable .*pipe$\n    special-file: a named pipe", out, re.MULTILINE)
    assert re.search(r"^hostile .*evil.txt$", out, re.MULTILINE)
    assert "7 files: 1 hostile, 2 unreadable, 4 within policy" in err


def test_a_file_that_cannot_be_read_is_a_finding(tmp_path, monkeypatch, pretend, capsys):
    def denied(file, **_):
        raise PermissionError(13, "Permission denied", file)

    monkeypatch.setattr(scanning, "scan", denied)
    (tmp_path / "a").write_bytes(GOOD)
    assert main(["scan", str(tmp_path / "a"), "--format", "json"]) == 1
    (file,) = json.loads(capsys.readouterr().out)["files"]
    assert (file["verdict"], file["findings"][0]["rule"]) == ("unreadable", "cannot-read")
    assert "Permission denied" in file["error"]
    monkeypatch.setattr(scanning, "scan", scan)
    (tmp_path / "gone").symlink_to("nowhere")
    assert main(["scan", str(tmp_path / "gone")]) == 1
    assert "cannot-read" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["missing"],
        ["empty"],
        ["a", "missing"],
        [],
        ["a", "--explain", "a"],
        ["--explain", "missing"],
        ["--explain", "empty"],
        ["--explain", "a", "--format", "json"],
        ["a", "--policy", "missing"],
        ["a", "--policy", "a"],
        ["a", "--allow", "nonsense"],
        ["-", "-"],
        ["a", "--output", "no/folder"],
        ["a", "--format", "sarif", "--output", "empty/"],
    ],
)
def test_what_cannot_be_done_exits_with_2_and_reports_nothing(arguments, tmp_path, monkeypatch, pretend, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_bytes(EVIL)
    (tmp_path / "empty" / ".git").mkdir(parents=True)
    assert main(["scan", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith("safepickle: ")


def test_stdin_is_scanned_also_from_a_pipe(monkeypatch, pretend, capsys):
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    for data, code in ((EVIL, 1), (GOOD, 0)):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(Pipe(data)))
        assert main(["scan", "-"]) == code
        assert "<stdin>" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["text", "json", "sarif"])
def test_a_report_goes_into_a_file_whole_and_nothing_to_stdout(kind, folder, tmp_path, monkeypatch, pretend, capsys):
    (folder / "evil\x1b.pkl").write_bytes(EVIL)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("FORCE_COLOR", "1")
    output = tmp_path / "report"
    assert main(["scan", ".", "--format", kind, "--output", str(output)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "1 hostile" in err
    said = output.read_text("utf-8")
    assert "\x1b" not in said
    if kind == "sarif":
        log = json.loads(said)
        jsonschema.Draft4Validator(SCHEMA).validate(log)
        assert [each["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for each in log["runs"][0]["results"]] == ["evil%1B.pkl"]
    elif kind == "json":
        assert json.loads(said)["verdicts"]["hostile"] == 1
    else:
        assert "hostile-name at byte 2" in said


def test_uris_are_relative_to_the_repository_and_not_to_the_working_folder(folder, monkeypatch, pretend, capsys):
    (folder / "deep" / "evil").write_bytes(EVIL)
    (folder / "deep" / ".git" / "y").unlink()
    (folder / "deep" / ".git").rmdir()
    monkeypatch.chdir(folder / "deep")
    assert main(["scan", "evil", "--format", "sarif"]) == 1
    (result,) = json.loads(capsys.readouterr().out)["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "deep/evil"


def test_explain_shows_the_lines_of_one_file_with_what_steers_a_terminal_escaped(tmp_path, monkeypatch, pretend, capsys):
    monkeypatch.setattr(scanning, "explained", lambda file, limits=None: iter(["0: PROTO 4", f"2: {NASTY}"]))
    (tmp_path / "a").write_bytes(EVIL)
    assert main(["scan", "--explain", str(tmp_path / "a")]) == 1
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "0: PROTO 4"
    assert out.replace("\n", "").isprintable()
    (tmp_path / "a").write_bytes(GOOD)
    assert main(["scan", "--explain", str(tmp_path / "a")]) == 0


def test_the_policy_of_the_options_is_the_one_that_the_scan_gets(tmp_path, monkeypatch, pretend):
    seen = []
    monkeypatch.setattr(scanning, "scan", lambda file, policy, **_: seen.append(policy) or scan(file))
    (tmp_path / "a").write_bytes(GOOD)
    (tmp_path / "p.toml").write_text('packs = ["python"]\n')
    assert main(["scan", str(tmp_path / "a"), "--policy", str(tmp_path / "p.toml"), "--allow", "mycorp:Clip"]) == 0
    assert ("mycorp", "Clip") in seen[0].rules
    assert not any(module.startswith("sklearn") for module, _ in seen[0].rules)


def test_the_real_scan_of_real_files(tmp_path, monkeypatch, capsys):
    import pickle

    import joblib
    import numpy
    from sklearn.linear_model import LinearRegression

    model = LinearRegression().fit(numpy.arange(6.0).reshape(3, 2), [1.0, 2.0, 4.0])
    good = tmp_path / "good"
    good.mkdir()
    (good / "a.pkl").write_bytes(pickle.dumps(model))
    joblib.dump(model, good / "b.joblib", compress=3)
    safepickle.dump(model, good / "c.spkl", key=bytes(range(40)))
    (good / "readme.txt").write_text("no pickle\n")
    assert main(["scan", str(good)]) == 0, capsys.readouterr()
    assert "4 files: 2 within policy, 1 signed, 1 not a pickle" in capsys.readouterr().err
    (tmp_path / "evil.txt").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert main(["scan", str(tmp_path), "--format", "sarif"]) == 1
    log = json.loads(capsys.readouterr().out)
    jsonschema.Draft4Validator(SCHEMA).validate(log)
    assert {each["ruleId"] for each in log["runs"][0]["results"]} >= {"hostile-name"}
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"cos\nsystem\n(S'true'\ntR.")))
    assert main(["scan", "-"]) == 1


def test_the_real_explanation_of_a_hostile_file(tmp_path, capsys):
    (tmp_path / "evil").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert main(["scan", "--explain", str(tmp_path / "evil")]) == 1
    assert "os:system" in capsys.readouterr().out.replace("os.system", "os:system")


def test_a_scan_loads_no_library_of_models(tmp_path):
    """It says what is in files of anybody: nothing that could execute them is even in memory."""
    statement = "import sys, safepickle.reporting, safepickle.walking; print(*sys.modules)"
    loaded = set(subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, check=True).stdout.split())
    assert loaded & {"numpy", "joblib", "sklearn", "pandas", "safepickle.converting", "safepickle.original"} == set()


def test_reporting_is_what_the_command_calls():
    assert set(reporting.__all__) >= {"as_json", "as_sarif", "text_of"}


def test_progress_is_for_terminals_and_never_in_the_report(folder, pretend, monkeypatch, capsys):
    from safepickle.commands import telling

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(telling, "_DELAY", 0)
    for stderr, expected in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stderr)
        assert main(["scan", str(folder)]) == 0
        assert ("scanned:" in stderr.getvalue()) is expected
        assert "4 files: 4 within policy" in stderr.getvalue()
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 4
        assert all(line.startswith("within policy") for line in lines)
