"""How the commands say what came of it: reports, lines of progress, and text of files that steers no terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from safepickle.errors import KeyringError, SafePickleError, escaped
from safepickle.files import replace

from .asking import OK, REFUSED, CannotError, signed_files

if TYPE_CHECKING:
    from safepickle.selecting import Exclusion

__all__ = ["Progress", "colours", "deliver", "on_each", "repository", "shown", "tell_left_out"]

_MAX_LEFT_OUT: Final = 10
# Seconds of work that need no bar.
_DELAY: Final = 1


def on_each(paths: Sequence[str], run: Callable[[str], str], done: str, exclude: Sequence[Exclusion] = ()) -> int:
    """Run something on each file and print a line for each; a file that is refused does not keep the next from its turn."""
    good = refused = 0
    for path in signed_files(paths, exclude):
        if path == "-":
            raise CannotError("files are named here: stdin cannot be written back")
        try:
            print(f"{escaped(path)}: {escaped(run(path))}")
            good += 1
        except KeyringError:
            raise
        except (SafePickleError, OSError, ValueError, TypeError) as error:
            # TypeError: a path with what looks like a key in it, which whoever writes into the folder may have put there.
            print(f"{escaped(path)}: REFUSED: {type(error).__name__}: {escaped(str(error))}")
            refused += 1
    print(f"{good} {done}, {refused} refused", file=sys.stderr)
    return REFUSED if refused else OK


def deliver(output: str | None, text: str) -> None:
    """Write a report to stdout, or replace a file by it as a whole."""
    if output is None:
        print(text, end="")
        return
    data = text.encode("utf-8", "backslashreplace")
    try:
        if os.path.exists(output) and not os.path.isfile(output):
            # A device or a pipe has no sibling to be renamed.
            with open(output, "wb") as file:
                file.write(data)
        else:
            replace(output, [data], None)
    except OSError as error:
        raise CannotError(f"{output} cannot be written: {error.strerror}") from None


def repository() -> str:
    """Return the top of the repository around the working directory, or that directory if there is none."""
    here = os.getcwd()
    folder = here
    while not os.path.lexists(os.path.join(folder, ".git")):
        above = os.path.dirname(folder)
        if above == folder:
            return here
        folder = above
    return folder


def colours(environment: Mapping[str, str], *, terminal: bool) -> bool:
    """Tell whether to colour text: NO_COLOR forbids it, FORCE_COLOR asks for it, and otherwise a terminal has it."""
    if environment.get("NO_COLOR"):
        return False
    return bool(environment.get("FORCE_COLOR")) or (terminal and environment.get("TERM") != "dumb")


def tell_left_out(paths: Sequence[str], why: str) -> None:
    """Say on stderr what was left out, as far as a reader wants to know."""
    for path in paths[:_MAX_LEFT_OUT]:
        print(f"{escaped(path)}: {why}", file=sys.stderr)
    if len(paths) > _MAX_LEFT_OUT:
        print(f"and {len(paths) - _MAX_LEFT_OUT} more: {why}", file=sys.stderr)


def shown(value: Any) -> str:
    """Return a value of a header as text for a terminal."""
    if isinstance(value, str):
        return escaped(value)
    if value is None:
        return "-"
    from safepickle.reporting import json_of

    # JSON with ASCII escapes, so that no text of a file can steer a terminal.
    return json_of(value, None)


class Progress:
    """A bar on stderr for what takes more than a second, if that is a terminal and tqdm is there; otherwise nothing."""

    def __init__(self, total: int, what: str) -> None:
        self._bar: Any = None
        self._start = time.monotonic()
        if total > 1 and sys.stderr is not None and sys.stderr.isatty():
            with contextlib.suppress(ImportError):
                from tqdm import tqdm

                self._bar = tqdm(total=total, desc=what, unit="file", delay=_DELAY, leave=False, file=sys.stderr, dynamic_ncols=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def say(self, lines: Iterable[str]) -> None:
        """Print lines to stdout, not into the bar."""
        # Before the delay is over there is no bar, and going around it would show it.
        shown = self._bar is not None and time.monotonic() - self._start > _DELAY
        with self._bar.external_write_mode(file=sys.stdout) if shown else contextlib.nullcontext():
            for line in lines:
                print(line)

    def step(self) -> None:
        """One more is done."""
        if self._bar is not None:
            self._bar.update()
