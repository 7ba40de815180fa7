# PYTHON_ARGCOMPLETE_OK
"""The command `safepickle`: what was said, and the exit code. What the commands do stands in `commands`, which is loaded once one is asked for.

Exit codes: 0 all good, 1 something was refused, 2 the job could not be done (usage, no key, missing path, nothing
matched). The report goes to stdout, everything else to stderr.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from . import arguments
from .errors import KeyringError, elided, escaped

__all__ = ["main", "program"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    if "_ARGCOMPLETE" in os.environ:
        # Only where a shell asks for completions, so that nobody else waits for it.
        with contextlib.suppress(ImportError):
            import argcomplete

            argcomplete.autocomplete(arguments.parser())
    options = arguments.parser(*given[:1]).parse_args(given)
    # Here and not above: whoever asks for help waits for none of it.
    from . import commands

    def fail(message: str) -> int:
        # That it cannot be said does not change the exit code.
        with contextlib.suppress(OSError):
            # Messages repeat arguments, and somebody may have passed a key as one.
            print(f"safepickle: {escaped(elided(message))}", file=sys.stderr)
        return commands.FAILED

    if getattr(options, "by_content", False) and "--" not in given:
        # Whoever names a file could otherwise give options of their own.
        return fail("--by-content takes names that others chose: write -- before the first, such as in args: [--key, file:trainer.pub, --]")
    if sys.stdout is None:
        return fail("there is no standard output for the report")
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # What the terminal cannot show is escaped; a report is never cut short by it.
            sys.stdout.reconfigure(errors="backslashreplace")
        code = commands.run(options)
        sys.stdout.flush()
        return code
    except (commands.CannotError, KeyringError, ValueError) as error:
        return fail(str(error))
    except BrokenPipeError:
        # The reader of our output has gone; what it read is not the whole report.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return commands.FAILED
    except OSError as error:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return fail(f"the report cannot be written: {error.strerror}")
    except KeyboardInterrupt:
        return 130


def program() -> NoReturn:
    """What the script `safepickle` calls, in a process that does nothing else."""
    # What is imported is no garbage: to look for some among it takes a thirtieth of a start.
    gc.set_threshold(20_000)
    sys.exit(main())


if __name__ == "__main__":
    program()
