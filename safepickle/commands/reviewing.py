"""`pins` and `lock`, and the files that people review: pins, locks and baselines."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, TypeVar

from safepickle.arguments import LOCK
from safepickle.errors import FormatError, elided, escaped
from safepickle.verifying import verify

from .asking import OK, REFUSED, CannotError, excluded_of, expected_of, paths_of, verifying_keys
from .telling import on_each

if TYPE_CHECKING:
    from safepickle import lockfile
    from safepickle.baseline import Baseline
    from safepickle.pins import Pins

__all__ = ["check_pins", "lock_files", "pins_of", "read_lock", "read_reviewed", "update_pins", "write_reviewed"]

Reviewed = TypeVar("Reviewed", "lockfile.Lock", "Baseline")


def pins_of(options: argparse.Namespace, *, must_exist: bool) -> Pins:
    """Return the pins of the options. Raises `CannotError`."""
    from safepickle.pins import Pins

    try:
        return Pins.read(options.pins)
    except FileNotFoundError:
        if must_exist:
            raise CannotError(f"{options.pins} does not exist: make it with `safepickle pins update`") from None
        return Pins()
    except (FormatError, OSError) as error:
        raise CannotError(f"{error}") from None


def check_pins(options: argparse.Namespace) -> int:
    """Hold each file against the pins: `pins check`."""
    from safepickle.rendering import summary_of

    expected = expected_of(options)
    key, pins = verifying_keys(options), pins_of(options, must_exist=True)

    def run(path: str) -> str:
        info = verify(path, key=key, **expected)
        pins.check(info)
        return f"as pinned, {summary_of(info)}"

    return on_each(options.paths, run, "as pinned")


def update_pins(options: argparse.Namespace) -> int:
    """Move the pins to the files, all or none: `pins update`."""
    from safepickle.rendering import summary_of

    expected = expected_of(options)
    key, before = verifying_keys(options), pins_of(options, must_exist=False)
    pins = before

    def run(path: str) -> str:
        nonlocal pins
        info = verify(path, key=key, **expected)
        pins = pins.updated(info, exact=options.exact)
        return f"pinned, {summary_of(info)}"

    code = on_each(options.paths, run, "pinned")
    # All or nothing: a file that was refused leaves the pins as they were.
    if code == OK:
        # To verify large files takes minutes. What another update wrote by then would go back to what was read here.
        if pins_of(options, must_exist=False) != before:
            raise CannotError(f"{options.pins} was changed meanwhile, so nothing was written: run this again")
        try:
            pins.write(options.pins)
        except OSError as error:
            raise CannotError(f"{options.pins} cannot be written: {error.strerror}") from None
    else:
        print(f"safepickle: {escaped(elided(options.pins))} was not changed", file=sys.stderr)
    return code


def read_reviewed(kind: type[Reviewed], path: str, how: str = "") -> tuple[Reviewed, str]:
    """Return a lock or a baseline and the text it was read from; if it must be there, `how` says how it is made, and else it may be empty."""
    try:
        return kind.read_text(path)
    except FileNotFoundError:
        if how:
            raise CannotError(f"{path} does not exist: make it with {how}") from None
        return kind(folder=os.path.dirname(os.path.abspath(path))), ""
    except FormatError as error:
        raise CannotError(f"{error}") from None
    except OSError as error:
        raise CannotError(f"{path} cannot be read: {error.strerror}") from None


def write_reviewed(made: Reviewed, path: str, text: str) -> None:
    """Write a lock or a baseline where `text` was read. To verify large files takes minutes: what somebody else wrote by then would be lost."""
    if read_reviewed(type(made), path)[1] != text:
        raise CannotError(f"{path} was changed meanwhile, so nothing was written: run this again")
    try:
        made.write(path)
    except OSError as error:
        raise CannotError(f"{path} cannot be written: {error.strerror}") from None


def read_lock(path: str) -> lockfile.Lock:
    """Return the lock of a path. Raises `CannotError`."""
    from safepickle.lockfile import Lock

    return read_reviewed(Lock, path, "`safepickle lock PATH --key URI`")[0]


def lock_files(options: argparse.Namespace) -> int:
    """Enter the files in the lock, or check them against it: `lock`."""
    options.lock = options.lock or options.project.lock or LOCK
    if options.verify:
        return _lock_verify(options)
    paths = paths_of(options)
    if not paths:
        raise CannotError("name what to lock: files, or folders; or check files against the lock, with --verify")
    from safepickle import lockfile, rendering

    expected = expected_of(options)
    key = verifying_keys(options)
    before, text = read_reviewed(lockfile.Lock, options.lock)
    found: dict[str, lockfile.Entry] = {}

    def run(path: str) -> str:
        # First, so that a file that can have no name is not read.
        name = before.name_of(path)
        found[name], info = lockfile.verified(path, key, **expected)
        return rendering.summary_of(info)

    code = on_each(paths, run, "verified", excluded_of(options))
    if code != OK:
        # All or nothing: a file that was refused leaves the lock as it was.
        print(f"safepickle: {escaped(elided(options.lock))} was not changed", file=sys.stderr)
        return code
    try:
        after = before.updated(found)
    except FormatError as error:
        raise CannotError(f"{error}") from None
    after = after.pruned() if options.prune else after
    for name, what in before.changes(after):
        print(f"{escaped(name)}: {what}")
    for name in after.missing():
        print(f"{escaped(elided(name))}: listed, and gone: --prune drops it from the lock", file=sys.stderr)
    if options.check or after.to_text() == text:
        return REFUSED if after.to_text() != text else OK
    write_reviewed(after, options.lock, text)
    return OK


def _lock_verify(options: argparse.Namespace) -> int:
    if options.key or options.check or options.prune or options.context or options.min_serial is not None or options.threshold is not None:
        raise CannotError("--verify compares files with the lock and nothing else: it takes no key, and no other option than --lock and --exclude")
    from safepickle import gate, lockfile, selecting
    from safepickle.policy import Policy

    lock = read_lock(options.lock)
    # A link to a file is a name of its own, so it is looked at whatever it leads to.
    found = selecting.files(options.paths or [lock.folder], exclude=excluded_of(options), follow_symlinks=True, links=True)
    # What is listed nowhere is found as the gate finds it, by its content: it need not be called as models are.
    expected = gate.Expectations(None, Policy.default())
    models = [each for each in found.candidates if each.named or lockfile.is_model(each.path) or not gate.check(each, expected).passed_over]
    paths = [each.path for each in models if not each.problem]
    problems = [(each.path, each.problem) for each in models if each.problem]
    problems += lock.findings(paths)
    if not options.paths:
        problems += [
            (name, "listed in the lock, and there is no such file: restore it, or drop it with `safepickle lock --prune`") for name in lock.missing()
        ]
    for path, message in problems:
        print(f"{escaped(elided(path))}: REFUSED: {escaped(message)}")
    if not problems and not paths:
        raise CannotError("there is no file to check")
    print(f"{len(paths)} checked against the lock, {len(problems)} problems", file=sys.stderr)
    return REFUSED if problems else OK
