"""`convert` and `demo`: files that are brought over, and models that are made to show it."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from safepickle.errors import SafePickleError, elided, escaped

from .asking import OK, REFUSED, CannotError, chosen_policy, signing_key
from .telling import Progress, tell_left_out

if TYPE_CHECKING:
    from safepickle import converting

__all__ = ["convert_files", "run_demo"]


def convert_files(options: argparse.Namespace) -> int:
    """Convert a file or a folder: `convert`."""
    if options.run_original and options.check is None:
        raise CannotError("--run-original executes the original to compare answers: name the inputs with --check")
    if options.check is not None and not options.run_original:
        raise CannotError(
            "--check compares with the answers of the original, which means to execute a file that nobody signed: read what the scan says of it, "
            "and add --run-original if you want that"
        )
    for path in (options.old, options.new):
        if path == "-":
            raise CannotError("files are named here: stdin is not converted, and nothing is written to stdout")
    if not os.path.lexists(options.old):
        raise CannotError(f"{options.old} does not exist")
    signer = signing_key(options.key)
    policy = chosen_policy(options)
    expires = None if options.expires is None else _moment(options.expires)
    from safepickle import converting

    inputs = None if options.check is None else converting.Inputs.checked(options.check)
    job = converting.Job(signer, policy, options.context, options.serial, expires, options.compress, overwrite=options.overwrite, inputs=inputs)
    try:
        job.rehearse()
    except (SafePickleError, TypeError) as error:
        raise CannotError(f"nothing can be signed like this: {error}") from None
    if not os.path.isdir(options.old):
        if os.path.isdir(options.new):
            raise CannotError(f"{options.new} is a folder: name the file to write")
        return _converted([converting.convert_one(options.old, options.new, job)], 1, [])
    if os.path.lexists(options.new) and not os.path.isdir(options.new):
        raise CannotError(f"{options.new} is not a folder, and {options.old} is one")
    from safepickle.walking import tree

    below = tree(options.old)
    if not below.files and not below.special:
        raise CannotError(f"there is no file below {options.old}")
    tell_left_out(below.skipped, "not looked at, since it is named .git")
    tell_left_out(below.links, "a symbolic link, not followed: what it leads to is converted under its own name")
    special = [converting.Outcome(path, "refused", why) for path, why in below.special]
    return _converted(converting.convert_all(below.files, options.old, options.new, job), len(below.files), special)


def _converted(outcomes: Iterable[converting.Outcome], total: int, special: Sequence[converting.Outcome]) -> int:
    """Print a line for each file that is a pickle or cannot be told to be none, and return the exit code."""
    counts = {"converted": 0, "done before": 0, "refused": 0, "signed": 0, "not a pickle": 0}
    with Progress(total, "converted") as progress:
        for outcome in itertools.chain(special, outcomes):
            counts[outcome.status] += 1
            progress.say(_outcome_text(outcome))
            progress.step()
    print(", ".join(f"{count} {status}" for status, count in counts.items() if count or status != "signed"), file=sys.stderr)
    if counts["refused"]:
        return REFUSED
    if not counts["converted"] and not counts["done before"]:
        raise CannotError("there was no pickle to convert")
    return OK


def _outcome_text(outcome: converting.Outcome) -> Iterator[str]:
    path, target = escaped(outcome.path), escaped(outcome.target)
    match outcome.status:
        case "converted":
            yield f"{path}: converted to {target}" + (f" ({escaped(outcome.message)})" if outcome.message else "")
        case "done before":
            yield f"{path}: done before: {target}"
        case "signed":
            yield f"{path}: signed already, left alone"
        case "refused":
            first, *rest = elided(outcome.message).split("\n")
            yield f"{path}: REFUSED: {escaped(first)}"
            yield from (f"    {escaped(line)}" for line in rest)


def _moment(text: str) -> datetime | timedelta:
    """Return what --expires says. Raises for what it cannot mean, and for a time that is over."""
    units = {"d": "days", "h": "hours", "m": "minutes"}
    if text[:-1].isascii() and text[:-1].isdigit() and text[-1:] in units and 0 < int(text[:-1]) <= 1_000_000:
        return timedelta(**{units[text[-1]]: int(text[:-1])})
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise CannotError(
            f"--expires is a date (2027-01-31), a time with a zone (2027-01-31T12:00:00Z), or 90d, 12h, 30m from now; not {text!a}"
        ) from None
    if found.tzinfo is None:
        if len(text) > len("2027-01-31"):
            raise CannotError(f"--expires needs a zone: {text}Z is in UTC")
        found = found.replace(tzinfo=UTC)
    if found <= datetime.now(UTC):
        raise CannotError(f"--expires {text} is over: nothing that expires then would load")
    return found


def run_demo(options: argparse.Namespace) -> int:
    """Run the demo: `demo`."""
    try:
        from safepickle.demo import run
    except ImportError as error:
        raise CannotError(f"the demo trains models and needs {error.name}: from the checkout, pip install '.[sklearn]'") from None
    return run()
