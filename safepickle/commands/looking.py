"""`inspect`, `scan`, `diff` and `policy suggest`: what is in files, and what they would need."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from safepickle import __version__, container
from safepickle.errors import KeyringError, PolicyError, SafePickleError, elided, escaped
from safepickle.verifying import inspect

from .asking import OK, REFUSED, CannotError, chosen_policy, selected, verifying_keys
from .telling import Progress, colours, deliver, repository, shown

if TYPE_CHECKING:
    from safepickle import reporting
    from safepickle.policy import Policy
    from safepickle.selecting import Candidate

__all__ = ["diff_files", "inspect_file", "scan_files", "suggest_rules"]

# Both files are held in memory.
_MAX_DIFF_BYTES: Final = 8 << 30


def inspect_file(options: argparse.Namespace) -> int:
    """Show the header of a file: `inspect`."""
    from safepickle.rendering import fields_of
    from safepickle.reporting import json_of

    source = sys.stdin.buffer if options.path == "-" else options.path
    if options.path != "-" and not os.path.lexists(options.path):
        raise CannotError(f"{options.path} does not exist")
    try:
        info = inspect(source, key=verifying_keys(options) if options.key else None)
    except KeyringError:
        raise
    except (SafePickleError, OSError, TypeError) as error:
        # TypeError: its name looks like a key.
        print(f"{escaped(options.path)}: REFUSED: {type(error).__name__}: {escaped(str(error))}")
        return REFUSED
    if options.format == "json":
        print(json_of(fields_of(info)))
        return OK
    if not info.authenticated:
        print("UNTRUSTED: no key was given, so whoever wrote the file chose everything below")
    for name, value in fields_of(info).items():
        print(f"{name + ':':<18}{shown(value)}")
    return OK


def scan_files(options: argparse.Namespace) -> int:
    """Scan the files and deliver the report: `scan`."""
    policy = chosen_policy(options)
    if options.explain is not None:
        if options.paths or options.files_from is not None:
            raise CannotError("--explain shows one file: name no other path")
        return _explain(options, policy)
    from safepickle import reporting

    found, _ = selected(options)
    text = options.format == "text"
    colour = options.output is None and colours(os.environ, terminal=sys.stdout.isatty())
    scanned: list[reporting.Scanned] = []
    said: list[str] = []
    with Progress(len(found.candidates), "scanned") as progress:
        for each in found.candidates:
            one = _scanned(each, policy)
            scanned.append(one)
            # Of a folder, what is no pickle is counted only.
            if text and ((each.named and not options.quiet) or not one.report.clean or (one.report.verdict != "not a pickle" and not options.quiet)):
                lines = list(reporting.text_of(one, colour=colour))
                if options.output is None:
                    progress.say(lines)
                else:
                    said += lines
            progress.step()
    if not scanned and not options.by_content and options.files_from is None:
        raise CannotError("there is no file to scan: name the right folder")
    code = OK if all(each.report.clean for each in scanned) or options.exit_zero else REFUSED
    match options.format:
        case "json":
            deliver(options.output, reporting.as_json(scanned, __version__))
        case "sarif":
            deliver(options.output, reporting.as_sarif(scanned, __version__, repository(), code))
        case _ if options.output is not None:
            deliver(options.output, "".join(f"{line}\n" for line in said))
    if not options.quiet:
        print(reporting.summary(scanned), file=sys.stderr)
    return code


def _scanned(candidate: Candidate, policy: Policy) -> reporting.Scanned:
    from safepickle import reporting, scanning
    from safepickle.walking import kind

    path, problem = candidate.path, candidate.problem
    if candidate.named and path != "-":
        with contextlib.suppress(OSError):
            problem = kind(os.stat(path).st_mode)
    if problem:
        return reporting.unread(path, "special-file", problem)
    try:
        return reporting.Scanned(path, scanning.scan(_source(path), policy=policy))
    except OSError as error:
        return reporting.unread(path, "cannot-read", f"the file cannot be read: {error.strerror or type(error).__name__}")
    except Exception as error:  # noqa: BLE001 - one file must not keep the others from being scanned, and is no pass
        return reporting.unread(
            path, "scan-failed", f"the scan failed ({type(error).__name__}: {elided(str(error))}), so the file counts as unreadable"
        )


def _source(path: str) -> Any:
    if path != "-":
        return path
    # To find out what it is takes going back in it, which a pipe cannot.
    return sys.stdin.buffer if sys.stdin.buffer.seekable() else io.BytesIO(sys.stdin.buffer.read())


def _explain(options: argparse.Namespace, policy: Policy) -> int:
    from safepickle import scanning

    path = options.explain
    if path != "-" and (not os.path.lexists(path) or os.path.isdir(path)):
        raise CannotError(f"{path} is not a file: --explain shows one file")
    if options.format != "text":
        raise CannotError("--explain is for people: it has no other format than text")
    # Read once, since both look at it.
    source = io.BytesIO(sys.stdin.buffer.read()) if path == "-" else path
    try:
        lines = [escaped(line) for line in scanning.explained(source)]
        clean = scanning.scan(io.BytesIO(source.getvalue()) if isinstance(source, io.BytesIO) else source, policy=policy).clean
    except OSError as error:
        deliver(options.output, f"{escaped(path)}: it cannot be read: {error.strerror}\n")
        return REFUSED
    deliver(options.output, "".join(f"{line}\n" for line in lines))
    return OK if clean else REFUSED


def diff_files(options: argparse.Namespace) -> int:
    """Compare two files, or two revisions of one: `diff`."""
    key = verifying_keys(options) if options.key else None
    policy = chosen_policy(options)
    from safepickle import differing, reporting, revisions

    sides = []
    for text in (options.base, options.head):
        try:
            data = revisions.read(text, _MAX_DIFF_BYTES) if revisions.is_revision(text) else _whole(text)
            if data is None and text is options.head:
                raise CannotError(f"there is no {text}")
            sides.append(differing.described(data, policy, key))
        except KeyringError:
            raise
        except (SafePickleError, OSError) as error:
            print(f"{escaped(elided(text))}: REFUSED: {type(error).__name__}: {escaped(elided(str(error)))}", file=sys.stderr)
            return OK if options.exit_zero else REFUSED
    found = differing.difference(*sides)
    match options.format:
        case "json":
            print(reporting.json_of(found.as_dict()))
        case "markdown":
            print(differing.as_markdown(found, options.head), end="")
        case _:
            for line in differing.as_text(found):
                print(line)
    return REFUSED if found.alarms and not options.exit_zero else OK


def _whole(path: str) -> bytes:
    if not os.path.lexists(path):
        raise CannotError(f"{path} does not exist")
    if not os.path.isfile(path):
        raise OSError("it is not a regular file")
    return container.read_whole(path, _MAX_DIFF_BYTES)


def suggest_rules(options: argparse.Namespace) -> int:
    """Propose rules for classes and functions: `policy suggest`."""
    from safepickle.suggesting import suggest

    # As `python -m` does it: what the user's own project defines is found from where the command is run.
    sys.path.insert(0, os.getcwd())
    try:
        text, complete = suggest(*options.names)
    except PolicyError as error:
        raise CannotError(str(error)) from None
    print(text, end="")
    return OK if complete else REFUSED
