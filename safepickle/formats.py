"""Reports of `safepickle verify` for pipelines: JSON, SARIF, JUnit, and what GitHub and GitLab show. It renders, and judges nothing.

For people see `rendering`. Paths, messages and names are text that somebody else chose: each format escapes what would end a field or a line of it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from .errors import escaped
from .findings import Finding, Report
from .gate import Checked
from .rendering import GOOD, counts_of, fields_of, said_of, summary_of
from .reporting import Rule, Scanned, as_sarif, fingerprint, json_of, uri_of, whole

__all__ = ["FORMATS", "RULES", "line_of", "step_summary"]

_SHOWN: Final = {"refused": "error", "warning": "warning", "accepted": "note"}
_GITHUB: Final = {"refused": "error", "warning": "warning", "accepted": "notice"}
_GITLAB: Final = {"refused": "critical", "warning": "minor", "accepted": "info"}
# A summary of more than 1 MiB is not shown at all by GitHub.
_MAX_ROWS: Final = 200
_MAX_CELL: Final = 500

_FETCH: Final = "Do not load the file. Fetch it again from where it was made, or find out who changed it."
_AGAIN: Final = "Do not load the file. Find out who made it; if it is yours, sign it where the model is trained."

RULES: Final[Mapping[str, Rule]] = {
    "unsigned": Rule(
        "A model is not signed",
        "The content is a pickle, or holds one: in joblib, npz, torch or another form, whatever the name. Loading it runs what it says, and nobody "
        "vouches for it.",
        "Write it with safepickle.dump where the model is trained, or bring it over with `safepickle convert`; what is no model: --exclude.",
        "error",
        "8.5",
    ),
    "signature": Rule(
        "A signature does not hold", "The file was changed after a trusted key signed it, or somebody forged it.", _FETCH, "error", "9.0"
    ),
    "tampered": Rule("The content is not what was signed", "A part of the body does not have the SHA-256 that was signed.", _FETCH, "error", "9.0"),
    "truncated": Rule("A file is cut off", "It ends before what was signed ends, or is empty.", _FETCH, "error", "7.5"),
    "appended": Rule("Something was appended to a file", "Bytes follow the end of what was signed.", _FETCH, "error", "8.0"),
    "unknown-key": Rule("A file is signed by a key that is not trusted", "None of the keys that were given has signed it.", _AGAIN, "error", "8.0"),
    "threshold": Rule(
        "Too few trusted keys have signed", "Fewer keys than --threshold asks for vouch for it.", "Have it signed: `safepickle sign`.", "error", "7.0"
    ),
    "context": Rule(
        "A file is signed for something else",
        "Its context is not the one that is expected here: it is a genuine file in the wrong place.",
        "Put the right file here, or sign this one with the right context.",
        "error",
        "7.5",
    ),
    "serial": Rule("A file is older than is accepted", "It may be an old one that somebody put back.", "Put the current file here.", "error", "7.0"),
    "expired": Rule("A file has expired", "Nothing loads it any more.", "Replace it by a newer one, or have it signed again.", "error", "5.0"),
    "pins": Rule(
        "A file is not the pinned one",
        "The pins accept another file or serial for its context, or none.",
        "Review and update the pins.",
        "error",
        "7.0",
    ),
    "lock": Rule(
        "A file is not as it was reviewed",
        "The lock lists another content for this path, or does not list it.",
        "Restore the file that was reviewed, or review this one and run `safepickle lock`.",
        "error",
        "8.0",
    ),
    "bundle": Rule("A bundle does not hold", "The detached signature is no valid one by a trusted key.", _FETCH, "error", "8.0"),
    "policy": Rule(
        "A signed program does what the policy does not allow",
        "`load` refuses it whoever signed it: it uses a name, or does something with it, that no rule allows.",
        "If it is a class of your own, read what its code does at load and allow it by its exact name (--allow, or a rule in a policy).",
        "error",
        "7.5",
    ),
    "program": Rule("A signed program is not as picklers write it", "`load` refuses it whoever signed it.", _AGAIN, "error", "7.5"),
    "limit": Rule("A file passes a limit", "To check it would take more than the limits allow.", _AGAIN, "error", "7.0"),
    "container": Rule("A container is damaged", "It is not a whole and canonical container.", _FETCH, "error", "7.5"),
    "key": Rule("A key cannot be used", "With it the signature could not be checked.", "See the message, and check again.", "error", "7.0"),
    "lfs-pointer": Rule(
        "A Git LFS pointer stands in place of a file",
        "The file itself was not fetched, so nothing was checked.",
        "Run `git lfs pull`.",
        "error",
        "5.0",
    ),
    "dvc-pointer": Rule(
        "A DVC pointer stands in place of a file", "The file itself was not fetched, so nothing was checked.", "Run `dvc pull`.", "error", "5.0"
    ),
    "versions": Rule(
        "A file was written with other library versions",
        "A model may predict differently, or not load, with another version.",
        "Install the versions that the message names, or train and sign again with these.",
        "warning",
        "3.0",
    ),
    "unreadable": Rule(
        "A file cannot be read",
        "The operating system refused it, it is no regular file, or a link leads to what is not looked at: nothing is known of it.",
        "Give the right to read it, move it away, follow links with --follow-symlinks, or leave it out with --exclude.",
        "error",
        "7.0",
    ),
    "failed": Rule(
        "The check of a file failed unexpectedly",
        "This is a fault of safepickle, and the file counts as refused.",
        "Please report it.",
        "error",
        "7.0",
    ),
}


def _place(path: str) -> str:
    return "<stdin>" if path == "-" else path


def _problems(files: Sequence[Checked]) -> Iterator[tuple[Checked, Finding]]:
    for each in files:
        for finding in each.findings:
            yield each, finding


def line_of(checked: Checked) -> dict[str, Any]:
    """Return what there is to say of one file as JSON values. The keys stay; new ones may be added.

    Bytes of a path that are no UTF-8 are escaped, since strict readers refuse a report with halves of characters.
    """
    found = [
        {
            "rule": each.rule,
            "level": _SHOWN[each.verdict],
            "accepted": each.verdict == "accepted",
            "offset": each.offset,
            "message": whole(each.message),
        }
        for each in checked.findings
    ]
    value: dict[str, Any] = {"path": whole(checked.path), "status": checked.status, "authenticated": False}
    if checked.refused:
        first = next(each for each in checked.findings if each.verdict == "refused")
        value |= {"error": checked.error or first.rule, "rule": first.rule, "message": whole(first.message)}
    elif checked.info is not None:
        value |= fields_of(checked.info)
    return {**value, "findings": found}


def _as_json(files: Sequence[Checked], version: str, root: str, code: int) -> str:
    counts = counts_of(files)
    value = {
        "tool": "safepickle",
        "version": version,
        "files": [line_of(each) for each in files if not each.passed_over],
        **{status: counts[status] for status in (*GOOD, "refused")},
        "passed_over": counts["passed over"],
        "exit_code": code,
    }
    return json_of(value) + "\n"


def _as_jsonl(files: Sequence[Checked], version: str, root: str, code: int) -> str:
    return "".join(json_of(line_of(each), None) + "\n" for each in files if not each.passed_over)


def _as_sarif(files: Sequence[Checked], version: str, root: str, code: int) -> str:
    scanned = []
    for each in files:
        unread = next((finding.message for finding in each.findings if finding.rule in ("unreadable", "failed")), "")
        scanned.append(Scanned(each.path, Report(each.status, "", each.size, "", each.findings, ()), unread))
    log = json.loads(as_sarif(scanned, version, root, code, RULES))
    counts = counts_of(files)
    log["runs"][0]["properties"] = {
        **{status: counts[status] for status in (*GOOD, "refused")},
        "passedOver": counts["passed over"],
    }
    return json_of(log) + "\n"


def _xml(text: str, quote: Callable[[str], str]) -> str:
    # XML 1.0 has no way to write most controls, not even as references, and no halves of characters.
    quoted = quote(re.sub("[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", lambda match: ascii(match[0])[1:-1], text))
    # Two number signs, and two colons at the beginning of a line, are a command to those who read the logs of pipelines.
    return re.sub(r"(?m)^(\s*):(?=:)", r"\1&#58;", quoted.replace("##", "#&#35;"))


def _as_junit(files: Sequence[Checked], version: str, root: str, code: int) -> str:
    # Here and not above: it brings a client of HTTP with it.
    from xml.sax.saxutils import escape, quoteattr

    cases = [each for each in files if not each.passed_over]
    accepted = sum(each.status == "accepted" for each in cases)
    totals = f'tests="{len(cases)}" failures="{sum(each.refused for each in cases)}" errors="0"'
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites name="safepickle" {totals}>',
        f'<testsuite name="safepickle verify" {totals} skipped="{accepted}" time="0">',
    ]
    for each in cases:
        lines.append(f'<testcase name={_xml(_place(each.path), quoteattr)} classname="safepickle.verify" time="0">')
        if each.status == "accepted":
            lines.append(f"<skipped message={_xml(f'accepted by the baseline: {_first(each)}', quoteattr)}/>")
        for finding in each.findings:
            if finding.verdict == "refused":
                first = finding.message.partition("\n")[0]
                lines.append(
                    f"<failure message={_xml(first, quoteattr)} type={_xml(finding.rule, quoteattr)}>{_xml(finding.message, escape)}</failure>"
                )
        said = [] if each.refused else [*([summary_of(each.info, locked=each.locked)] if each.info else []), *(one.message for one in each.findings)]
        lines += [f"<system-out>{_xml(text, escape)}</system-out>" for text in said[:1]]
        lines.append("</testcase>")
    return "\n".join([*lines, "</testsuite>", "</testsuites>"]) + "\n"


def _first(checked: Checked) -> str:
    return checked.findings[0].message.partition("\n")[0]


def _command(text: str, more: str = "") -> str:
    """Escape text for a workflow command: in a property also what ends one."""
    for each in f"%\r\n{more}":
        text = text.replace(each, f"%{ord(each):02X}")
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _as_github(files: Sequence[Checked], version: str, root: str, code: int) -> str:
    lines = []
    for each, finding in _problems(files):
        level = _GITHUB[finding.verdict]
        title = _command(f"safepickle: {finding.rule}", ":,")
        where = "" if each.path == "-" else f"file={_command(_relative(each.path, root), ':,')},line=1,"
        lines.append(f"::{level} {where}title={title}::{_command(f'{_place(each.path)}: {finding.message}')}")
    return "\n".join([*lines, said_of(files)]) + "\n"


def _relative(path: str, root: str) -> str:
    """Return the path from the top of the repository, with slashes, as annotations name files."""
    from urllib.parse import unquote

    return unquote(uri_of(path, root).removeprefix("file://"), errors="surrogateescape")


def _as_gitlab(files: Sequence[Checked], version: str, root: str, code: int) -> str:
    seen: Counter[str] = Counter()
    value = []
    # An empty report would read as if all were verified.
    claimed = [
        (each, Finding("accepted", "unauthenticated", "", None, summary_of(each.info)))
        for each in files
        if each.status == "unauthenticated" and each.info
    ]
    for each, finding in [*_problems(files), *claimed]:
        digest = fingerprint(uri_of(each.path, root), finding)
        seen[digest] += 1
        value.append(
            {
                "description": whole(finding.message),
                "check_name": f"safepickle/{finding.rule}",
                "fingerprint": f"{digest}{'' if seen[digest] == 1 else f'-{seen[digest]}'}",
                "severity": _GITLAB[finding.verdict],
                "location": {"path": whole(_relative(each.path, root)), "lines": {"begin": 1}},
            }
        )
    return json_of(value) + "\n"


def step_summary(files: Sequence[Checked]) -> str:
    """Return a table in Markdown for the summary of a step in GitHub Actions."""
    lines = ["### safepickle verify", "", said_of(files), ""]
    found = list(_problems(files))
    if found:
        lines += ["| file | rule | what to know |", "| --- | --- | --- |"]
        lines += [
            f"| {_cell(_place(each.path))} | `{finding.rule}` | {_cell(finding.message.partition(chr(10))[0])} |"
            for each, finding in found[:_MAX_ROWS]
        ]
    if len(found) > _MAX_ROWS:
        lines += ["", f"and {len(found) - _MAX_ROWS} more"]
    return "\n".join([*lines, ""]) + "\n"


def _cell(text: str) -> str:
    """Return text as code, in which GitHub finds no link, mention, emphasis or HTML; not even one that is written by references."""
    shown = escaped(text).replace("`", r"\x60").replace("|", r"\x7c")
    return f"`{shown[:_MAX_CELL]}{'...' if len(shown) > _MAX_CELL else ''}`"


FORMATS: Final[Mapping[str, Callable[[Sequence[Checked], str, str, int], str]]] = {
    "json": _as_json,
    "jsonl": _as_jsonl,
    "sarif": _as_sarif,
    "junit": _as_junit,
    "github": _as_github,
    "gitlab": _as_gitlab,
}
"""Each but text, as a function of the files, the version, the top of the repository and the exit code."""
