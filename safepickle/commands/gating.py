"""`verify`: the gate, its baseline, and its report."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from safepickle import __version__, container
from safepickle.errors import AuthenticationError, FormatError, escaped
from safepickle.keyring import Keyring

from .asking import OK, REFUSED, CannotError, chosen_policy, expected_of, selected, trusted_keys, verifying_keys
from .reviewing import pins_of, read_lock, read_reviewed, write_reviewed
from .telling import Progress, colours, deliver, repository

if TYPE_CHECKING:
    from safepickle import gate, openssf

__all__ = ["verify_files"]


def verify_files(options: argparse.Namespace) -> int:
    """Check the files and deliver the report: `verify`."""
    from safepickle import gate

    project = options.project
    path = options.baseline or project.baseline
    if options.update_baseline and path is None:
        raise CannotError("--update-baseline writes a baseline: name it with --baseline FILE")
    template = options.context_from_path or (options.context is None and project.context_from_path)
    # Where more is expected of a file by its name, each name of it is looked at: a link would put one genuine file in the place of another.
    found, named = selected(options, links=bool(template or options.lock or options.bundle or path))
    expected = _gate_expectations(options)
    if isinstance(expected, gate.Checked):
        return _verdict(options, [expected], 1)[0]
    stdin = sys.stdin.buffer if "-" in found.origins else None
    checks = gate.check_all(found.candidates, expected, stdin)
    total = len(found.candidates)
    if path is None:
        code, checked = _verdict(options, checks, total)
    elif options.update_baseline:
        code, checked = _verdict_and_update(options, path, checks, total)
    else:
        code, checked = _verdict_but_for(options, path, checks, total)
    used = {each.origin for each in checked if not each.passed_over}
    unused = [each for each in named if each not in used]
    by_content = options.by_content or options.files_from is not None
    if code == OK and not options.allow_empty and (not used if by_content else unused):
        where = f" below {unused[0]}" if unused and os.path.isdir(unused[0]) else ""
        raise CannotError(f"there is no model{where}, so nothing was verified: name the right folder, or say --allow-empty")
    return code


def _verdict_but_for(options: argparse.Namespace, path: str, checks: Iterable[gate.Checked], total: int) -> tuple[int, list[gate.Checked]]:
    """Deliver the report, in which the baseline accepts what it lists."""
    from safepickle.baseline import Baseline

    baseline, _ = read_reviewed(Baseline, path, "--update-baseline")
    code, checked = _verdict(options, (each.judged_by(baseline) for each in checks), total)
    stale = baseline.stale((each.entry(finding) for each in checked for finding in each.findings), (each.path for each in checked))
    if stale and not options.quiet:
        print(f"the baseline lists {len(stale)} findings that are there no more: --update-baseline drops them", file=sys.stderr)
    return code, checked


def _verdict_and_update(options: argparse.Namespace, path: str, checks: Iterable[gate.Checked], total: int) -> tuple[int, list[gate.Checked]]:
    """Enter what is refused in the baseline, and deliver the report with it. What cannot be accepted stays refused."""
    from safepickle.baseline import Baseline

    before, text = read_reviewed(Baseline, path)
    with Progress(total, "verified") as progress:
        found = []
        for each in checks:
            found.append(each)
            progress.step()
    after, _ = before.updated((entry for each in found for entry in each.entries()), (each.path for each in found))
    if after.to_text() != text:
        write_reviewed(after, path, text)
    print(f"{escaped(path)}: {len(after.entries)} findings are accepted", file=sys.stderr)
    return _verdict(options, (each.judged_by(after) for each in found), 0)


def _gate_expectations(options: argparse.Namespace) -> gate.Expectations | gate.Checked:
    """Return what every file must be; where the bundle itself is refused, what there is to say of that."""
    from safepickle import gate

    project = options.project
    asked = expected_of(options)
    container.check_expected(options.context, asked["min_serial"])
    if options.context is not None and options.context_from_path is not None:
        raise CannotError("--context and --context-from-path both say what the context is: give one of them")
    of_project = options.context is None and options.context_from_path is None and project.context_from_path is not None
    template = project.context_from_path if of_project else options.context_from_path
    signed = [
        name
        for name, value in (
            ("--pins", options.pins),
            ("--bundle", options.bundle),
            ("--bundle-key", options.bundle_key),
            ("--threshold", options.threshold),
        )
        if value and value != 1
    ]
    if options.structure_only and (options.key or signed):
        raise CannotError(f"--structure-only checks no signature, and {[*signed, '--key'][0]} asks for one: leave one of them out")
    if options.bundle_key and options.bundle is None:
        raise CannotError("--bundle-key says who may have made a bundle, and no --bundle names one: nothing would be checked with it")
    key = None
    if not options.structure_only:
        # A lock says which files were reviewed, so that no key is needed, unless something else asks for one.
        key = verifying_keys(options) if options.lock is None or signed else trusted_keys(options)
    bundle = None
    if options.bundle is not None and key is not None:
        try:
            bundle = _bundle(options, key)
        except (FormatError, AuthenticationError) as error:
            return gate.bundle_refused(options.bundle, error)
    return gate.Expectations(
        key,
        chosen_policy(options),
        asked["context"],
        "" if template is None else gate.template(template),
        asked["min_serial"],
        asked["threshold"],
        None if options.pins is None else pins_of(options, must_exist=True),
        bundle,
        os.path.dirname(options.bundle or ""),
        None if options.lock is None else read_lock(options.lock),
        options.versions,
        project.require_signed is not False,
        project.folder if of_project else None,
        options.baseline is not None or project.baseline is not None,
    )


def _bundle(options: argparse.Namespace, key: Keyring) -> openssf.Bundle:
    from safepickle import openssf

    try:
        more = [openssf.BundleKey.read(path) for path in options.bundle_key]
        return openssf.authenticate(openssf.read_bundle(options.bundle), openssf.bundle_keys(key, more))
    except OSError as error:
        raise CannotError(f"{options.bundle} cannot be read: {error.strerror}") from None


def _verdict(options: argparse.Namespace, found: Iterable[gate.Checked], total: int) -> tuple[int, list[gate.Checked]]:
    """Deliver the report of `verify`, text as soon as it is known; return the exit code and what there was."""
    from safepickle import rendering

    form = options.format
    actions = form is None and os.environ.get("GITHUB_ACTIONS") == "true" and options.output is None
    form = form or ("github" if actions else "text")
    colour = options.output is None and colours(os.environ, terminal=sys.stdout.isatty())
    checked: list[gate.Checked] = []
    said: list[str] = []
    with Progress(total, "verified") as progress:
        for each in found:
            checked.append(each)
            if form == "text" and (each.findings or not options.quiet):
                lines = list(rendering.text_of(each, colour=colour))
                if options.output is None:
                    progress.say(lines)
                else:
                    said += lines
            if options.verbose and each.passed_over:
                print(f"{escaped(each.path)}: no model, passed over", file=sys.stderr)
            progress.step()
    code = REFUSED if any(each.refused for each in checked) and not options.exit_zero else OK
    if form != "text":
        from safepickle.formats import FORMATS

        deliver(options.output, FORMATS[form](checked, __version__, repository(), code))
    elif options.output is not None:
        deliver(options.output, "".join(f"{line}\n" for line in said))
    if actions and os.environ.get("GITHUB_STEP_SUMMARY"):
        from safepickle.formats import step_summary

        _summarize(os.environ["GITHUB_STEP_SUMMARY"], step_summary(checked))
    if form in ("text", "github") and not options.quiet:
        print(rendering.said_of(checked) + _remarks(options), file=sys.stderr)
    return code, checked


def _remarks(options: argparse.Namespace) -> str:
    """Return what a reader of the last line must know of how it came about."""
    said = [
        *(["no signature was checked"] if options.structure_only else []),
        *(["the exit code is 0 whatever is refused, by --exit-zero"] if options.exit_zero else []),
        *([f"with [tool.safepickle] of {escaped(os.path.relpath(options.project.path))}"] if options.project.path else []),
    ]
    return f" ({'; '.join(said)})" if said else ""


def _summarize(path: str, text: str) -> None:
    """Add to the summary of the step; that it cannot be written changes no verdict."""
    try:
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as error:
        print(f"safepickle: the step summary cannot be written: {error.strerror}", file=sys.stderr)
