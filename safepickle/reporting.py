"""Reports of scans: text for people, JSON and SARIF 2.1.0 for machines. It renders, and judges nothing.

Whatever comes out of a file (names, messages, paths) is text that somebody else chose: in text, characters that steer a terminal or
reorder a line are escaped; in URIs, each byte that is not plain is percent-encoded.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from .errors import escaped
from .findings import VERDICTS, Finding, Report

__all__ = ["RULES", "Rule", "Scanned", "as_json", "as_sarif", "fingerprint", "json_of", "summary", "text_of", "unread", "uri_of", "whole"]

SARIF_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
INFORMATION: Final = "https://pypi.org/project/safepickle-ml/"
STDIN: Final = "-"
# How much of one file people are shown; JSON and SARIF have all.
_MAX_FINDINGS: Final = 50
_MAX_MESSAGE: Final = 2000

_COLOURS: Final = {"hostile": "1;31", "outside policy": "33", "unreadable": "35", "signed": "32", "within policy": "32"}
# "unreadable" is no less than "hostile": else a hostile file would be damaged a little, to pass a gate that stops at errors only.
_LEVELS: Final = {
    "hostile": "error",
    "unreadable": "error",
    "outside policy": "warning",
    "refused": "error",
    "warning": "warning",
    "accepted": "note",
}


class Rule(NamedTuple):
    """What a kind of finding means."""

    short: str
    full: str
    help: str
    """What to do about it."""
    level: str
    """Of SARIF: "error" or "warning"."""
    severity: str
    """Of GitHub's code scanning: from 0.0 to 10.0."""


_REPLACE: Final = "Do not load the file. Find out who wrote it and what has loaded it, and replace it by one from a source that you trust."
_WHOLE: Final = "Do not load the file. Get it again, or write it again where the model is trained; if it is honest, report what it is."

RULES: Final[Mapping[str, Rule]] = {
    "hostile-name": Rule(
        "A pickle uses a name that runs code or reaches files",
        "The pickle program names a function or class that is known to run code, open files or sockets, or change the process, or that "
        "finds further names. No trained model needs it.",
        _REPLACE,
        "error",
        "9.8",
    ),
    "outside-policy": Rule(
        "A pickle uses a name, or does something with it, that the policy does not allow",
        "Loading the file would import the name and use it. Nothing is known against it, and nobody has allowed it.",
        "If it is a class of your own, read what its code does at load and allow it by its exact name (`--allow module:name`, or a rule in a "
        "policy: see `safepickle policy suggest`). Otherwise do not load the file.",
        "warning",
        "7.0",
    ),
    "computed-name": Rule(
        "A pickle computes a name instead of writing it",
        "The name that would be imported is put together by the program, or is no text at all. No pickler writes that; it hides what is imported.",
        _REPLACE,
        "error",
        "9.0",
    ),
    "extension-code": Rule(
        "A pickle refers to a name by a number",
        "Extension codes (copyreg) stand for names that only the loading process knows: nobody can tell from the file what is imported.",
        "Write the file again without copyreg.add_extension.",
        "error",
        "8.0",
    ),
    "persistent-id": Rule(
        "A pickle refers to an object outside itself",
        "What a persistent id stands for is decided by the code that loads the file: nobody can tell it from the file.",
        "Load it only with the library that wrote it, in a process that may be lost; for a model, write it again without persistent ids.",
        "error",
        "7.5",
    ),
    "not-as-written": Rule(
        "A pickle does what no pickler writes",
        "The program is one that CPython runs and that no pickler writes, such as calls of results, or state set twice. It was made by hand.",
        _REPLACE,
        "error",
        "8.5",
    ),
    "broken-program": Rule(
        "A pickle program breaks off or is malformed",
        "CPython would stop in the middle of it, and has by then done whatever stands before.",
        _WHOLE,
        "error",
        "7.5",
    ),
    "trailing-data": Rule(
        "There are bytes after the end of a pickle or an archive",
        "One reader stops before them and another goes on: what they hold is not part of what was looked at.",
        _WHOLE,
        "error",
        "7.5",
    ),
    "limit": Rule(
        "A file passes a limit",
        "Reading it to its end would cost more memory or time than the limits allow, so it was not read to its end.",
        "If you know the file and it is that large, pass larger Limits to safepickle.scan.",
        "error",
        "7.5",
    ),
    "archive": Rule(
        "An archive or a compressed stream cannot be read whole",
        "It is damaged, encrypted, or says one thing in two places, so two readers may see different contents.",
        _WHOLE,
        "error",
        "7.5",
    ),
    "cannot-open": Rule(
        "Something is packed in a way that cannot be opened here",
        "Its codec is not installed, or its kind of archive is not known, so nothing is known of what is in it.",
        "Install the codec that the message names, or unpack it with its own tool where nothing is loaded, and scan the files.",
        "error",
        "7.0",
    ),
    "cannot-read": Rule(
        "A file cannot be read",
        "The operating system refused it, so nothing is known of what is in it.",
        "Give the user that scans the right to read it, or leave it out by naming the files to scan.",
        "error",
        "7.0",
    ),
    "unknown-content": Rule(
        "The content is of no kind that is known here",
        "It holds what may be a pickle, in a form that cannot be read, so it is not known what a library would do with it.",
        _WHOLE,
        "error",
        "7.0",
    ),
    "nested-program": Rule(
        "A pickle is hidden within data",
        "A byte string or an array of the file holds another pickle program, which something may load later.",
        "Find out what reads it. If nothing should, do not load the file.",
        "error",
        "7.5",
    ),
    "object-array": Rule(
        "An array of objects is stored as a pickle",
        "numpy.load with allow_pickle=True would execute it.",
        "Store plain numbers or text, and load with allow_pickle=False.",
        "error",
        "7.0",
    ),
    "container": Rule(
        "A safepickle container is damaged, or none",
        "It begins like a signed container and is not a whole and canonical one. No key was looked at: `safepickle verify` does that.",
        "Get the file again, and check it with `safepickle verify`.",
        "error",
        "7.0",
    ),
    "special-file": Rule(
        "There is something that is no regular file",
        "A pipe, socket, device, or a symbolic link to what is not looked at: nobody knows what a program that opens it will read.",
        "Move it away, or name what a link leads to.",
        "error",
        "7.0",
    ),
    "scan-failed": Rule(
        "The scan of a file failed unexpectedly",
        "This is a fault of safepickle, and the file counts as one that cannot be read.",
        "Do not load the file. Please report it, with the file if you can.",
        "error",
        "7.0",
    ),
}


_NOT_READ: Final = {
    "id": "file-not-read",
    "name": "FileNotRead",
    "shortDescription": {"text": "A file could not be read, so it was not scanned"},
    "fullDescription": {"text": "The operating system refused to read it, it is no regular file, or the scan failed. It is a result as well."},
    "help": {"text": "See the result for the same file."},
    "defaultConfiguration": {"level": "error"},
}


class Scanned(NamedTuple):
    """A file that was to be scanned, and what came of it."""

    path: str
    report: Report
    error: str = ""
    """Why it could not be read, if so; the report then says the same as a finding."""


def unread(path: str, rule: str, message: str) -> Scanned:
    """Return what there is to say of a file that could not be read: it is a finding, never a pass."""
    finding = Finding("unreadable", rule, "", None, message)
    return Scanned(path, Report("unreadable", "", 0, "", (finding,), ()), message)


# --- for people -------------------------------------------------------------------------------------------------


def text_of(scanned: Scanned, *, colour: bool = False) -> Iterator[str]:
    """Yield the lines for one file: its verdict, format and path, and indented beneath it the findings."""
    report = scanned.report
    verdict = f"{report.verdict:<14}"
    if colour and report.verdict in _COLOURS:
        verdict = f"\x1b[{_COLOURS[report.verdict]}m{verdict}\x1b[0m"
    path = "<stdin>" if scanned.path == STDIN else escaped(scanned.path)
    yield f"{verdict}  {escaped(report.format) or '-':<24}  {path}"
    for finding in report.findings[:_MAX_FINDINGS]:
        yield from _finding_text(finding)
    if len(report.findings) > _MAX_FINDINGS:
        yield f"    and {len(report.findings) - _MAX_FINDINGS} more findings: --format json has them all"


def _finding_text(finding: Finding) -> Iterator[str]:
    place = "".join((f" in {escaped(finding.where)}" if finding.where else "", "" if finding.offset is None else f" at byte {finding.offset}"))
    message = finding.message if len(finding.message) <= _MAX_MESSAGE else finding.message[:_MAX_MESSAGE] + "... (cut here: --format json has all)"
    first, *rest = message.split("\n")
    # Whoever chose the text may have put line ends in it: each further line stays further in than a line that names a file.
    yield f"    {escaped(finding.rule)}{place}: {escaped(first)}"
    yield from (f"      {escaped(line)}" for line in rest)
    if finding.advisory:
        yield f"      see {escaped(finding.advisory)}"


def summary(files: Sequence[Scanned]) -> str:
    """Return how many files there were of each verdict, the worst first."""
    counts = Counter(each.report.verdict for each in files)
    order = sorted(counts, key=lambda verdict: -VERDICTS.index(verdict) if verdict in VERDICTS else -len(VERDICTS))
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in order)
    return f"{len(files)} file{'s' * (len(files) != 1)}: {said or 'nothing'}"


# --- for machines -----------------------------------------------------------------------------------------------


def as_json(files: Sequence[Scanned], version: str) -> str:
    """Return the report as JSON. Its keys stay; new ones may be added."""
    counts = Counter(each.report.verdict for each in files)
    value = {
        "tool": "safepickle",
        "version": version,
        "files": [{"path": each.path, "error": each.error or None, **each.report.as_dict()} for each in files],
        "verdicts": {verdict: counts[verdict] for verdict in VERDICTS},
        "clean": sum(each.report.clean for each in files),
        "with_findings": sum(not each.report.clean for each in files),
    }
    return json_of(value) + "\n"


def as_sarif(files: Sequence[Scanned], version: str, root: str, exit_code: int, table: Mapping[str, Rule] = RULES) -> str:
    """Return the report as SARIF 2.1.0, with paths relative to `root`, the top of the repository.

    Results are the findings; the rule table has every rule, those that only these findings name included. A result keeps its fingerprint
    when the bytes before it move: that is made of rule, file, member, name and message, its numbers left out.
    """
    rules = dict.fromkeys(table)
    rules.update(dict.fromkeys(finding.rule for each in files for finding in each.report.findings))
    places = {rule: place for place, rule in enumerate(rules)}
    run = {
        "tool": {
            "driver": {
                "name": "safepickle",
                "version": version,
                "semanticVersion": version,
                "informationUri": INFORMATION,
                "rules": [_rule(name, table) for name in rules],
                "notifications": [_NOT_READ],
            }
        },
        "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": "The top of the repository, or else the folder in which the scan was run."}}},
        "invocations": [
            {
                "executionSuccessful": True,
                "exitCode": exit_code,
                "toolExecutionNotifications": [_notification(each, root) for each in files if each.error],
            }
        ],
        "columnKind": "unicodeCodePoints",
        "results": [result for each in files for result in _results(each, root, places)],
    }
    return json_of({"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}) + "\n"


def _rule(name: str, table: Mapping[str, Rule]) -> dict[str, Any]:
    spoken = "".join(part.capitalize() for part in re.split(r"[^A-Za-z0-9]+", name))
    # SARIF wants a second name that is not the first one again.
    identity = {"id": whole(name), "name": f"{spoken}Finding" if spoken.lower() in ("", name.lower()) else spoken}
    rule = table.get(name)
    if rule is None:
        # A scan that is newer than this table.
        return {
            **identity,
            "shortDescription": {"text": identity["id"]},
            "defaultConfiguration": {"level": "error"},
            "properties": {"tags": ["security"], "precision": "high", "security-severity": "7.0"},
        }
    return {
        **identity,
        "shortDescription": {"text": rule.short},
        "fullDescription": {"text": rule.full},
        "help": {"text": rule.help},
        "defaultConfiguration": {"level": rule.level},
        "properties": {"tags": ["security"], "precision": "high", "security-severity": rule.severity},
    }


def _results(scanned: Scanned, root: str, places: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    seen: Counter[str] = Counter()
    for finding in scanned.report.findings:
        digest = fingerprint(uri_of(scanned.path, root), finding)
        seen[digest] += 1
        properties: dict[str, Any] = {"verdict": finding.verdict}
        properties |= {key: whole(value) for key, value in (("name", finding.name), ("advisory", finding.advisory)) if value}
        if finding.offset is not None:
            properties["offset"] = finding.offset
        result: dict[str, Any] = {
            "ruleId": whole(finding.rule),
            "ruleIndex": places[finding.rule],
            "kind": "fail",
            "level": _LEVELS.get(finding.verdict, "error"),
            "message": {"text": whole(_said(finding)) or "no message"},
            "locations": [_location(scanned.path, root, finding)],
            # The first is the one that GitHub looks at, and would otherwise make of the text of line 1.
            "partialFingerprints": {"primaryLocationLineHash": f"{digest[:16]}:{seen[digest]}", "safepickleFinding/v1": f"{digest}:{seen[digest]}"},
            "properties": properties,
        }
        if finding.verdict == "accepted":
            # What a baseline accepts is no alert, and still in the report.
            result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": "accepted by the baseline"}]
        yield result


def _said(finding: Finding) -> str:
    place = "".join((f"{finding.where}: " if finding.where else "", "" if finding.offset is None else f"byte {finding.offset}: "))
    return f"{place}{finding.message}" + (f" ({finding.advisory})" if finding.advisory else "")


def fingerprint(uri: str, finding: Finding) -> str:
    """Return what names a finding for good: made of rule, file, member, name and message, its numbers left out."""
    message = re.sub(r"[0-9]+", "0", finding.message)
    parts = (finding.rule, uri, finding.where, finding.name, message)
    return hashlib.sha256("\0".join(whole(part) for part in parts).encode()).hexdigest()


def _location(path: str, root: str, finding: Finding | None = None) -> dict[str, Any]:
    artifact: dict[str, Any] = {"uri": uri_of(path, root)}
    if not artifact["uri"].startswith("file:"):
        artifact["uriBaseId"] = "%SRCROOT%"
    physical: dict[str, Any] = {"artifactLocation": artifact}
    if finding is None:
        return {"physicalLocation": physical}
    # Line 1 for those who show files by lines (GitHub takes no result without); it says nothing of the bytes (SARIF, 3.30.4).
    physical["region"] = {"startLine": 1}
    if not finding.where:
        if finding.offset is not None:
            physical["region"]["byteOffset"] = finding.offset
        return {"physicalLocation": physical}
    # Bytes are counted within the member, which may be compressed, so they are no region of the file.
    member: dict[str, Any] = {
        "name": whole(finding.where.rpartition("!")[2]) or "-",
        "fullyQualifiedName": whole(finding.where),
        "kind": "member",
    }
    if finding.offset is not None:
        member["properties"] = {"offset": finding.offset}
    return {"physicalLocation": physical, "logicalLocations": [member]}


def _notification(scanned: Scanned, root: str) -> dict[str, Any]:
    return {
        "descriptor": {"id": "file-not-read", "index": 0},
        "level": "error",
        "message": {"text": whole(scanned.error)},
        "locations": [_location(scanned.path, root)],
    }


def uri_of(path: str, root: str) -> str:
    """Return the path relative to the root with forward slashes, each other byte percent-encoded; for a file elsewhere, an absolute URI."""
    if path == STDIN:
        return "stdin"
    absolute = os.path.abspath(path)
    try:
        relative = os.path.relpath(absolute, root)
    except ValueError:
        # On another drive, of Windows.
        relative = os.pardir
    if relative.split(os.sep, 1)[0] == os.pardir:
        return "file:///" + _quoted(absolute).lstrip("/")
    return _quoted(relative)


def _quoted(path: str) -> str:
    # It takes long to import, and text has no URIs.
    from urllib.parse import quote

    plain = path.replace(os.sep, "/")
    try:
        return quote(os.fsencode(plain))
    except UnicodeEncodeError:
        # No file has such a name.
        return quote(whole(plain))


def json_of(value: Any, indent: int | None = 2) -> str:
    """Return a value as JSON in which two number signs never stand together: the log of a pipeline would take a name with them for a command."""
    return json.dumps(value, indent=indent).replace("##", r"#\u0023")


def whole(text: str) -> str:
    """Return text without halves of characters, which strict readers of JSON refuse."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
