"""The command `safepickle`: arguments, text and exit codes. It decides nothing.

Exit codes: 0 all good, 1 something was refused, 2 the job could not be done (usage, no key, missing path, nothing
matched). The report goes to stdout, everything else to stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from . import __version__, container
from .container import Info
from .errors import KeyringError, SafePickleError
from .keys import AnyKey, Keyring, SecretKey, read_key
from .verifying import inspect, verify

__all__ = ["main"]

OK: Final = 0
REFUSED: Final = 1
FAILED: Final = 2
SUFFIX: Final = ".spkl"


class _CannotError(Exception):
    """The job cannot be done: exit 2 with this sentence."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    if sys.stdout is None:
        return _fail("there is no standard output for the report")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What the terminal cannot show is escaped; a report is never cut short by it.
        sys.stdout.reconfigure(errors="backslashreplace")
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        code = run(options)
        sys.stdout.flush()
        return code
    except (_CannotError, KeyringError, ValueError) as error:
        return _fail(str(error))
    except BrokenPipeError:
        # The reader of our output has gone; what it read is not the whole report.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _fail(f"the report cannot be written: {error.strerror}")
    except KeyboardInterrupt:
        return 130


def _fail(message: str) -> int:
    print(f"safepickle: {_printable(message)}", file=sys.stderr)
    return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="safepickle",
        description="Sign trained models, verify them, and load only what a trusted key signed.",
        epilog="exit codes: 0 all good, 1 something was refused, 2 the job could not be done",
    )
    parser.add_argument("--version", action="version", version=f"safepickle {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    keygen = commands.add_parser(
        "keygen",
        help="make a secret key",
        description="Make a secret key. It goes to stdout, for a secret store, or into a file that only you can read.",
        epilog="example: safepickle keygen --output model.key    then use it as --key file:model.key",
    )
    keygen.add_argument("-o", "--output", metavar="FILE", help="write the key to FILE, which must not exist (mode 0600)")
    keygen.set_defaults(run=_keygen)

    check = commands.add_parser(
        "verify",
        help="check signatures; nothing is unpickled",
        description="Check that each file was signed by a trusted key and is unchanged. Nothing is unpickled.",
        epilog="example: safepickle verify models/ --key env:SAFEPICKLE_KEY --context fraud-model/prod",
    )
    check.add_argument("paths", nargs="+", metavar="PATH", help=f"a file, a folder (every *{SUFFIX} below it), or - for stdin")
    _add_key(check, required=True)
    check.add_argument("--context", help="the context that every file must have been signed for")
    check.add_argument("--min-serial", type=int, metavar="N", help="the least serial that every file must have")
    check.add_argument("--threshold", type=int, default=1, metavar="N", help="how many different trusted keys must have signed (default 1)")
    check.add_argument("--format", choices=("text", "json"), default="text", help="the form of the report (default text)")
    check.set_defaults(run=_verify)

    show = commands.add_parser(
        "inspect",
        help="show the header of a file; nothing is unpickled",
        description="Show what the header of a file says. Without a key nobody vouches for it, and the output says so.",
        epilog="example: safepickle inspect model.spkl --key env:SAFEPICKLE_KEY",
    )
    show.add_argument("path", metavar="PATH", help="a file, or - for stdin")
    _add_key(show, required=False)
    show.add_argument("--format", choices=("text", "json"), default="text", help="the form of the report (default text)")
    show.set_defaults(run=_inspect)

    policy = commands.add_parser("policy", help="propose rules for classes of your own", description="Work on a policy.")
    actions = policy.add_subparsers(title="actions", required=True, metavar="ACTION")
    propose = actions.add_parser(
        "suggest",
        help="propose rules, with the reasons left blank",
        description=(
            "Print rules for classes and functions of your own, for you to read and give a reason. Their modules are imported. "
            "Nothing is written and nothing is allowed. Exit code 1 if code of theirs runs at load and needs to be read first."
        ),
        epilog="example: safepickle policy suggest mycorp.features:Clip >> policy.toml",
    )
    propose.add_argument("names", nargs="+", metavar="MODULE:NAME", help="a class or function by its exact name")
    propose.set_defaults(run=_suggest)

    demo = commands.add_parser(
        "demo",
        help="train, sign, load and predict, and see attacks refused",
        description="Train four models, sign them, load them in another process and compare predictions; then try to get bad files in.",
    )
    demo.set_defaults(run=_demo)
    return parser


def _add_key(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--key",
        action="append",
        required=required,
        metavar="URI",
        help="a trusted key as env:NAME or file:PATH; may be given several times; never the key itself",
    )


def _keys(uris: Sequence[str]) -> Keyring:
    return Keyring(*(read_key(uri) for uri in uris))


def _keygen(options: argparse.Namespace) -> int:
    key = SecretKey.generate()
    if options.output is None:
        print(key.to_text())
    else:
        try:
            descriptor = os.open(options.output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise _CannotError(f"{options.output} exists: a key is never overwritten; choose another name, or move it away first") from None
        except OSError as error:
            raise _CannotError(f"{options.output} cannot be written: {error.strerror}") from None
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(f"# safepickle secret key {key.key_id}: whoever has it can sign. Keep it away from the models.\n{key.to_text()}\n")
    print(f"made key {key.key_id} ({key.suite})", file=sys.stderr)
    return OK


def _verify(options: argparse.Namespace) -> int:
    key = _keys(options.key)
    if not 1 <= options.threshold <= container.MAX_SIGNATURES or (options.min_serial or 0) < 0:
        raise _CannotError("--threshold is from 1 to 16, and --min-serial not negative")
    results = []
    for path in _files(options.paths):
        info, error = _verified(path, key, options)
        results.append((path, info, error))
        if options.format == "text":
            print(f"{_printable(path)}: " + (_summary(info) if info is not None else f"REFUSED: {type(error).__name__}: {error}"))
    refused = sum(error is not None for _, _, error in results)
    if options.format == "json":
        report = [_result(path, info, error) for path, info, error in results]
        print(json.dumps({"files": report, "verified": len(results) - refused, "refused": refused}, indent=2))
    else:
        print(f"{len(results) - refused} verified, {refused} refused", file=sys.stderr)
    return REFUSED if refused else OK


def _verified(path: str, key: AnyKey, options: argparse.Namespace) -> tuple[Info | None, Exception | None]:
    try:
        source: Any = sys.stdin.buffer if path == "-" else path
        return verify(source, key=key, context=options.context, min_serial=options.min_serial, threshold=options.threshold), None
    except (SafePickleError, OSError) as error:
        # A file that cannot be read is refused, never skipped.
        return None, error


def _result(path: str, info: Info | None, error: Exception | None) -> dict[str, Any]:
    if info is None:
        return {"path": path, "status": "refused", "error": type(error).__name__, "message": str(error)}
    return {"path": path, "status": "verified", **_fields(info)}


def _files(paths: Iterable[str]) -> Iterator[str]:
    """Yield the files that the paths name. A path that is missing, or a folder with no such file, is an error."""
    for path in paths:
        if path == "-" or not os.path.isdir(path):
            if path != "-" and not os.path.lexists(path):
                raise _CannotError(f"{path} does not exist")
            yield path
            continue
        found = sorted(_below(path))
        if not found:
            raise _CannotError(f"there is no *{SUFFIX} file below {path}")
        yield from found


def _below(path: str) -> Iterator[str]:
    """Yield the models below a folder. What would be passed over in silence is an error: then not everything was verified."""
    for folder, folders, names in os.walk(path, onerror=_unreadable):
        for name in folders:
            if os.path.islink(os.path.join(folder, name)):
                raise _CannotError(f"{os.path.join(folder, name)} is a symbolic link to a folder, which is not followed: name that folder itself")
        for name in names:
            if name.endswith(SUFFIX):
                model = os.path.join(folder, name)
                if os.path.exists(model) and not os.path.isfile(model):
                    raise _CannotError(f"{model} is not a regular file")
                yield model


def _unreadable(error: OSError) -> None:
    raise _CannotError(f"{error.filename} cannot be read: {error.strerror}")


def _inspect(options: argparse.Namespace) -> int:
    source = sys.stdin.buffer if options.path == "-" else options.path
    if options.path != "-" and not os.path.lexists(options.path):
        raise _CannotError(f"{options.path} does not exist")
    try:
        info = inspect(source, key=_keys(options.key) if options.key else None)
    except KeyringError:
        raise
    except (SafePickleError, OSError) as error:
        print(f"{_printable(options.path)}: REFUSED: {type(error).__name__}: {error}")
        return REFUSED
    if options.format == "json":
        print(json.dumps(_fields(info), indent=2))
        return OK
    if not info.authenticated:
        print("UNTRUSTED: no key was given, so whoever wrote the file chose everything below")
    for name, value in _fields(info).items():
        print(f"{name + ':':<18}{_text(value)}")
    return OK


def _suggest(options: argparse.Namespace) -> int:
    from .errors import PolicyError
    from .suggesting import suggest

    # As `python -m` does it: what the user's own project defines is found from where the command is run.
    sys.path.insert(0, os.getcwd())
    try:
        text, complete = suggest(*options.names)
    except PolicyError as error:
        raise _CannotError(str(error)) from None
    print(text, end="")
    return OK if complete else REFUSED


def _demo(options: argparse.Namespace) -> int:
    try:
        from .demo import run
    except ImportError as error:
        raise _CannotError(f"the demo trains models and needs {error.name}: from the checkout, pip install '.[sklearn]'") from None
    return run()


def _summary(info: Info) -> str:
    parts = [f"verified, signed by {', '.join(info.trusted_key_ids)}"]
    if info.context is not None:
        parts.append(f"context {info.context}")
    if info.serial is not None:
        parts.append(f"serial {info.serial}")
    return ", ".join(parts)


def _fields(info: Info) -> dict[str, Any]:
    """Return what a header says, as JSON values in the order in which people read them."""
    return {
        "authenticated": info.authenticated,
        "trusted_key_ids": list(info.trusted_key_ids),
        "signatures": [{"suite": each.suite, "key_id": each.key_id} for each in info.signatures],
        "context": info.context,
        "serial": info.serial,
        "created": info.created.isoformat(),
        "expires": None if info.expires is None else info.expires.isoformat(),
        "python": info.python,
        "platform": info.platform,
        "libraries": dict(info.libraries),
        "program_bytes": info.program_bytes,
        "buffers": len(info.buffer_bytes),
        "buffer_bytes": sum(info.buffer_bytes),
        "header_sha256": info.header_sha256,
        "metadata": info.metadata,
    }


def _text(value: Any) -> str:
    if isinstance(value, str):
        return _printable(value)
    if value is None:
        return "-"
    # JSON with ASCII escapes, so that no text of a file can steer a terminal.
    return json.dumps(value)


def _printable(text: str) -> str:
    """Return text without characters that steer a terminal or break a line."""
    return text if text.isprintable() else ascii(text)


if __name__ == "__main__":
    sys.exit(main())
