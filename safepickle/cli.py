# PYTHON_ARGCOMPLETE_OK
"""The command `safepickle`: arguments, text and exit codes. It decides nothing.

Exit codes: 0 all good, 1 something was refused, 2 the job could not be done (usage, no key, missing path, nothing
matched). The report goes to stdout, everything else to stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn

from . import __version__, container
from .container import Info
from .errors import AuthenticationError, FormatError, KeyringError, PolicyError, SafePickleError, elided
from .files import replace
from .keyring import Keyring, Trusted, as_keyring
from .keys import ECDSA_P256, ED25519, HMAC_SHA256, HYBRID, PrivateKey, PublicKey, SecretKey, parse_key, public_half
from .verifying import inspect, resign, sign, verify

if TYPE_CHECKING:
    from . import converting, gate, lockfile, openssf, reporting
    from .pins import Pins
    from .policy import Policy

__all__ = ["main"]

OK: Final = 0
REFUSED: Final = 1
FAILED: Final = 2
SUFFIX: Final = ".spkl"
_MAX_LEFT_OUT: Final = 10
# Both files are held in memory.
_MAX_DIFF_BYTES: Final = 8 << 30
# Seconds of work that need no bar.
_DELAY: Final = 1
# The keys of the commands, where no option names one: the one that signs, and those that verify.
KEY: Final = "SAFEPICKLE_KEY"
VERIFY_KEYS: Final = "SAFEPICKLE_VERIFY_KEYS"
_URIS: Final = "env:NAME, file:PATH, keyring:PATH, awskms:..., pkcs11:... or vault:..."


class _CannotError(Exception):
    """The job cannot be done: exit 2 with this sentence."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = _parser()
    if "_ARGCOMPLETE" in os.environ:
        # Only where a shell asks for completions, so that nobody else waits for it.
        with contextlib.suppress(ImportError):
            import argcomplete

            argcomplete.autocomplete(parser)
    options = parser.parse_args(arguments)
    if getattr(options, "by_content", False) and "--" not in (sys.argv[1:] if arguments is None else arguments):
        # Whoever names a file could otherwise give options of their own.
        return _fail("--by-content takes names that others chose: write -- before the first, such as in args: [--key, file:trainer.pub, --]")
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
    # Messages repeat arguments, and somebody may have passed a key as one.
    print(f"safepickle: {_printable(elided(message))}", file=sys.stderr)
    return FAILED


class _Parser(argparse.ArgumentParser):
    """A parser whose errors, which repeat the argument, do not repeat a key."""

    def error(self, message: str) -> NoReturn:
        super().error(elided(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="safepickle",
        description="Sign trained models, verify them, and load only what a trusted key signed.",
        epilog="exit codes: 0 all good, 1 something was refused, 2 the job could not be done",
    )
    parser.add_argument("--version", action="version", version=f"safepickle {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    keygen = commands.add_parser(
        "keygen",
        help="make a secret key, or a key pair",
        description=(
            "Make a key. A secret key signs and verifies; of a key pair the private key signs, and the public key, which is no secret, "
            "only verifies. The key goes to stdout, for a secret store, or into a file that only you can read."
        ),
        epilog="example: safepickle keygen --suite ed25519 --output trainer.key --public trainer.pub",
    )
    keygen.add_argument(
        "--suite", choices=(HMAC_SHA256, ED25519, HYBRID, ECDSA_P256), default=HMAC_SHA256, help=f"the kind of key (default {HMAC_SHA256})"
    )
    keygen.add_argument("-o", "--output", metavar="FILE", help="write the key to FILE, which must not exist (mode 0600)")
    keygen.add_argument("--public", metavar="FILE", help="write the public key of a pair to FILE, which must not exist")
    keygen.add_argument("--pem", action="store_true", help="write a key pair as PEM instead of one line each")
    keygen.set_defaults(run=_keygen)

    public = commands.add_parser(
        "pubkey",
        help="print the public key of a private one",
        description="Print the public key that belongs to a private key, or to one in a key service. It is not secret.",
        epilog="example: safepickle pubkey --key file:trainer.key > trainer.pub",
    )
    _add_key(public)
    public.add_argument("--pem", action="store_true", help="print it as PEM instead of one line")
    public.set_defaults(run=_pubkey)

    check = commands.add_parser(
        "verify",
        help="the gate: every model signed, unchanged, as expected; nothing is unpickled",
        description=(
            "Check that each file was signed by a trusted key, is unchanged, and does only what the policy allows. Nothing is unpickled. Files below "
            "a folder are known by their content: a pickle in any form (joblib, npz, torch, whatever its name) must be signed, and what is no "
            "model is passed over. A file that is named itself must be signed. Pointers of Git LFS and DVC, and what cannot be read, are findings."
        ),
        epilog=(
            "examples: safepickle verify models/ --key env:SAFEPICKLE_KEY --context fraud-model/prod | "
            "safepickle verify . --exclude tests --key file:trainer.pub --context-from-path '{parent}/prod' --format sarif --output verify.sarif | "
            "git diff --name-only -z --diff-filter=d main | safepickle verify --files-from - --structure-only --allow-empty. "
            "Exit codes: 0 all good, 1 something was refused, 2 the job could not be done (usage, no key, missing path, no model found)"
        ),
    )
    check.add_argument(
        "paths", nargs="*", metavar="PATH", help="a file, a folder (every file below it), a pattern such as 'models/**/*.spkl', or - for stdin"
    )
    check.add_argument(
        "--files-from", metavar="FILE", help="a list of more files, - for stdin: one a line, or separated by NUL; each is known by its content"
    )
    check.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="GLOB",
        help="leave out what matches: a name, or a path with * (within a folder) and ** (through folders); may be given several times",
    )
    check.add_argument(
        "--follow-symlinks", action="store_true", help="follow links to what is not looked at otherwise (default: such a link is a finding)"
    )
    check.add_argument("--allow-empty", action="store_true", help="exit with 0 where there is no model")
    _add_by_content(check)
    _add_key(check)
    check.add_argument(
        "--structure-only", action="store_true", help="check all but the signature, without a key: the files are then called unauthenticated"
    )
    _add_expectations(check)
    check.add_argument(
        "--context-from-path",
        metavar="TEMPLATE",
        help="the context that each file must have, made of its path: {parent} the name of its folder, {stem} its name without suffix, {name}, "
        "{path} its path below the folder that was given; such as '{parent}/{stem}'",
    )
    _add_policy(check)
    check.add_argument("--versions", action="store_true", help="warn where the installed libraries are not of the versions that wrote the file")
    check.add_argument(
        "--bundle", metavar="FILE", help="an OpenSSF Model Signing bundle, made with an elliptic-curve key, that must list every file as it is"
    )
    check.add_argument(
        "--bundle-key",
        action="append",
        default=[],
        metavar="FILE",
        help="a public elliptic-curve key that may have made the bundle, beside those of --key",
    )
    check.add_argument("--pins", metavar="FILE", help="a pins file that every file must satisfy: see `safepickle pins`")
    check.add_argument(
        "--format",
        choices=("text", "json", "jsonl", "sarif", "junit", "github", "gitlab"),
        help="the form of the report (default text; in GitHub Actions github, with a step summary)",
    )
    check.add_argument("-o", "--output", metavar="FILE", help="write the report to FILE, which is replaced as a whole, instead of stdout")
    noise = check.add_mutually_exclusive_group()
    noise.add_argument("-q", "--quiet", action="store_true", help="say only what is wrong")
    noise.add_argument("-v", "--verbose", action="store_true", help="say on stderr what was passed over or left out, too")
    check.set_defaults(run=_verify, misused=check.error)

    show = commands.add_parser(
        "inspect",
        help="show the header of a file; nothing is unpickled",
        description="Show what the header of a file says. Without a key nobody vouches for it, and the output says so.",
        epilog="example: safepickle inspect model.spkl --key env:SAFEPICKLE_KEY",
    )
    show.add_argument("path", metavar="PATH", help="a file, or - for stdin")
    _add_key(show)
    show.add_argument("--format", choices=("text", "json"), default="text", help="the form of the report (default text)")
    show.set_defaults(run=_inspect)

    for name, run, what, example in (
        ("sign", _sign, "add a signature to", "safepickle sign model.spkl --key env:APPROVER_KEY --trust file:trainer.pub"),
        ("resign", _resign, "replace the signatures of", "safepickle resign models/ --key file:new.key --trust file:old.pub"),
    ):
        again = commands.add_parser(
            name,
            help=f"{what} files that trusted keys have signed; nothing is unpickled",
            description=f"Verify each file, {what} it, and replace it as a whole. Header and content stay as they are; nothing is unpickled.",
            epilog=f"example: {example}",
        )
        again.add_argument("paths", nargs="+", metavar="PATH", help=f"a file, or a folder (every *{SUFFIX} below it)")
        _add_key(again, f"the key that signs, as {_URIS}; never the key itself (default: {KEY})")
        again.add_argument(
            "--trust",
            action="append",
            default=[],
            metavar="URI",
            help="a key whose signature the file must have; may be given several times "
            f"(default: {VERIFY_KEYS} alone, and where that is not set the keyring of the key that signs)",
        )
        if name == "sign":
            drop = "leave out signatures that were not verified (default: keep them, and name them on stderr)"
            again.add_argument("--drop-unverified", action="store_true", help=drop)
        _add_expectations(again)
        again.set_defaults(run=run)

    pins = commands.add_parser(
        "pins",
        help="keep the newest serial of each context, and check files against it",
        description="Keep and check a small reviewed file of the newest serial, or the exact file, of each context: for hosts that refuse rollbacks.",
    )
    pin_actions = pins.add_subparsers(title="actions", required=True, metavar="ACTION")
    for name, run, what in (
        ("check", _pins_check, "refuse files that are older than the pins say, or that no pin is for"),
        ("update", _pins_update, "move the pins to these files, never back to an older serial"),
    ):
        action = pin_actions.add_parser(name, help=what, epilog=f"example: safepickle pins {name} models/ --pins pins.toml --key file:trainer.pub")
        action.add_argument("paths", nargs="+", metavar="PATH", help=f"a file, or a folder (every *{SUFFIX} below it)")
        action.add_argument("--pins", required=True, metavar="FILE", help="the pins file")
        _add_key(action)
        _add_expectations(action)
        if name == "update":
            action.add_argument("--exact", action="store_true", help="pin the exact file instead of its serial")
        action.set_defaults(run=run)

    lock = commands.add_parser(
        "lock",
        help="write down which files were reviewed, and check files against that without a key",
        description=(
            "Verify each file with a key and enter it, by its SHA-256, in a small file that people review. With --verify, check files against "
            "that file: no key is needed, so it works for pull requests from forks. Nothing is unpickled."
        ),
        epilog="examples: safepickle lock models/ --key file:trainer.pub; safepickle lock --verify models/",
    )
    lock.add_argument("paths", nargs="*", metavar="PATH", help=f"a file, or a folder (every *{SUFFIX} below it; with --verify every model file)")
    lock.add_argument("--lock", default="safepickle.lock", metavar="FILE", help="the lock (default safepickle.lock)")
    _add_key(lock)
    _add_expectations(lock)
    lock.add_argument("--check", action="store_true", help="write nothing, and exit with 1 if something would be written")
    lock.add_argument("--prune", action="store_true", help="drop files from the lock that are gone")
    lock.add_argument("--verify", action="store_true", help="check files, or all below the folder of the lock, against it, without a key")
    lock.set_defaults(run=_lock)

    differ = commands.add_parser(
        "diff",
        help="say what a file newly needs; nothing is executed",
        description=(
            "Compare two files, or one at two git revisions (REV:PATH): names newly needed, what the policy does not allow, metadata, context, "
            "serial, keys, versions and sizes. Without a key nobody vouches for what they say. Exit code 1 if HEAD needs what the policy does "
            "not allow, its serial goes back, its context changes, or it cannot be read whole."
        ),
        epilog="example: safepickle diff origin/main:models/a.spkl HEAD:models/a.spkl --format markdown",
    )
    differ.add_argument("base", metavar="BASE", help="a file, or REV:PATH; one that is not in its revision counts as empty")
    differ.add_argument("head", metavar="HEAD", help="a file, or REV:PATH")
    _add_key(differ, f"a trusted key as {_URIS}; without one nothing is authenticated")
    _add_policy(differ)
    differ.add_argument("--format", choices=("text", "json", "markdown"), default="text", help="the form of the report (default text)")
    differ.add_argument("--exit-zero", action="store_true", help="exit with 0 whatever the difference")
    differ.set_defaults(run=_diff)

    look = commands.add_parser(
        "scan",
        help="say what is in files that nobody signed; nothing is executed",
        description=(
            "Say of each file what it is, and which pickle programs in it use what the policy does not allow. Files are known by their content, "
            "never by their name; nothing is executed. What cannot be read whole is a finding. Below a folder every regular file is read, hidden "
            "ones included; symbolic links are not followed, and folders named .git are left out."
        ),
        epilog="example: safepickle scan models/ --format sarif --output scan.sarif",
    )
    look.add_argument("paths", nargs="*", metavar="PATH", help="a file, a folder (every file below it), or - for stdin")
    _add_by_content(look)
    _add_policy(look)
    look.add_argument("--format", choices=("text", "json", "sarif"), default="text", help="the form of the report (default text)")
    look.add_argument("-o", "--output", metavar="FILE", help="write the report to FILE, which is replaced as a whole, instead of stdout")
    look.add_argument(
        "--explain", metavar="FILE", help="show, step by step, what the programs of this one file would do; no other path is given then"
    )
    look.set_defaults(run=_scan)

    bring = commands.add_parser(
        "convert",
        help="bring pickle and joblib files over into signed ones",
        description=(
            "Scan each file, build its object only if the policy allows all of it, and write it signed. OLD and NEW are files, or folders: then "
            f"every pickle below OLD goes to the same path below NEW, with the suffix {SUFFIX}. Originals are not changed. What was converted "
            "before is skipped, so a run that was broken off can be run again."
        ),
        epilog="example: safepickle convert legacy/ models/ --key env:SAFEPICKLE_KEY --context fraud-model/prod",
    )
    bring.add_argument("old", metavar="OLD", help="a file, or a folder (every file below it)")
    bring.add_argument("new", metavar="NEW", help="the file or folder to write")
    _add_key(bring, f"the key that signs, as {_URIS}; never the key itself (default: {KEY})")
    bring.add_argument("--context", help="what the files are signed for, such as fraud-model/prod")
    bring.add_argument("--serial", type=int, metavar="N", help="which one it is, from 0")
    bring.add_argument("--expires", metavar="WHEN", help="until when they load: a date (2027-01-31), a time with a zone, or 90d, 12h, 30m from now")
    bring.add_argument("--compress", choices=("zlib", "zstd"), help="write smaller files, which are slower to load")
    _add_policy(bring)
    bring.add_argument("--overwrite", action="store_true", help="replace what stands where a file is to be written, unless it is an original")
    bring.add_argument("--check", metavar="X", help="inputs (.npy, .npz, .csv) to which the object must give the same answers as the original")
    bring.add_argument("--run-original", action="store_true", help="with --check: execute the original, without any protection but the scan")
    bring.set_defaults(run=_convert)

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


def _add_key(parser: argparse.ArgumentParser, what: str = "") -> None:
    parser.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="URI",
        help=what or f"a trusted key as {_URIS}; may be given several times; never the key itself (default: {VERIFY_KEYS}, {KEY})",
    )


def _add_expectations(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--context", help="the context that every file must have been signed for")
    parser.add_argument("--min-serial", type=int, metavar="N", help="the least serial that every file must have")
    parser.add_argument("--threshold", type=int, default=1, metavar="N", help="how many different trusted keys must have signed (default 1)")


def _add_policy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--policy", metavar="FILE", help="a policy to use instead of the built-in one")
    parser.add_argument(
        "--allow", action="append", default=[], metavar="MODULE:NAME", help="a class or function to allow beside it; may be given several times"
    )


def _add_by_content(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--by-content",
        action="store_true",
        help="take each PATH as a file of a list: known by its content, no pattern, not stdin; for hooks that are given names, which stand after --",
    )


def _trusted(uris: Sequence[str]) -> Keyring | None:
    """Return the keys that verify: those of the options, else of the environment, or None if there are none."""
    if uris:
        return _one_ring([as_keyring(uri) for uri in uris])
    rings = _listed_keys()
    if os.environ.get(KEY):
        rings.append(as_keyring(f"env:{KEY}"))
    return _one_ring(rings, merge=True) if rings else None


def _vouching(uris: Sequence[str], signer: Keyring) -> Keyring:
    """Return the keys of which one must have signed before another does: of the options, else those that are named to verify, else the signer's.

    The key that signs is not trusted because it signs: then a host whose list of keys does not name it would take its own old
    signature for that of somebody else.
    """
    if uris:
        return _one_ring([as_keyring(uri) for uri in uris])
    rings = _listed_keys()
    return _one_ring(rings, merge=True) if rings else signer


def _one_ring(rings: Sequence[Keyring], *, merge: bool = False) -> Keyring:
    """Return the keys of several rings as one. The environment may name a key twice, which is merged; in the options that is a slip."""
    members = [each for ring in rings for each in ring.members]
    return Keyring(None, *(_merged(members) if merge else members), denied=frozenset().union(*(ring.denied for ring in rings)))


def _listed_keys() -> list[Keyring]:
    return [_listed(each) for each in os.environ.get(VERIFY_KEYS, "").split()]


def _merged(members: Iterable[Trusted]) -> list[Trusted]:
    """Return each key once. One that is listed twice is trusted only while both entries trust it."""
    found: dict[tuple[str, str], Trusted] = {}
    for each in members:
        name = (each.key.suite, each.key.key_id)
        old = found.get(name)
        if old is not None:
            begins = [moment for moment in (old.not_before, each.not_before) if moment is not None]
            ends = [moment for moment in (old.not_after, each.not_after) if moment is not None]
            each = Trusted(each.key, old.name, max(begins, default=None), min(ends, default=None), old.uri)  # noqa: PLW2901
        found[name] = each
    return list(found.values())


def _listed(text: str) -> Keyring:
    """Return what one word of the environment variable names: a key in textual form, or a URI."""
    return Keyring(None, parse_key(text.encode(), VERIFY_KEYS)) if text.startswith("spk") else as_keyring(text)


def _keys(uris: Sequence[str]) -> Keyring:
    ring = _trusted(uris)
    if ring is None:
        raise _CannotError(f"no key: pass --key env:NAME, file:PATH or keyring:PATH, or set {VERIFY_KEYS} or {KEY}")
    return ring


def _signer(uris: Sequence[str]) -> Keyring:
    if len(uris) > 1:
        raise _CannotError("one key signs at a time: give --key once, and run the command again for the next")
    if not uris and not os.environ.get(KEY):
        raise _CannotError(f"no key to sign with: pass --key env:NAME, file:PATH or keyring:PATH, or set {KEY}")
    return as_keyring(uris[0] if uris else f"env:{KEY}")


def _keygen(options: argparse.Namespace) -> int:
    if options.suite == HMAC_SHA256:
        if options.public is not None or options.pem:
            raise _CannotError(f"a secret key has no public half and no PEM: choose a key pair, with --suite {ED25519}")
        secret = SecretKey.generate()
        head, text = f"# safepickle secret key {secret.key_id}: whoever has it can sign. Keep it away from the models.\n", f"{secret.to_text()}\n"
        _write_key(options.output, head + text if options.output else text, 0o600)
        print(f"made key {secret.key_id} ({secret.suite})", file=sys.stderr)
        return OK
    key = PrivateKey.generate(options.suite)
    head = f"# safepickle private key {key.key_id}: whoever has it can sign. Keep it away from the models.\n"
    text = key.to_pem().decode() if options.pem else f"{key.to_text()}\n"
    # The private key first: without it the public one is of no use, and can be made of it.
    _write_key(options.output, head + text if options.output else text, 0o600)
    print(f"made key {key.key_id} ({key.suite})", file=sys.stderr)
    if options.public is None:
        print(f"its public key: {key.public_key().to_text()}", file=sys.stderr)
    else:
        _write_public(options, key.public_key())
    return OK


def _write_public(options: argparse.Namespace, public: PublicKey) -> None:
    head = f"# safepickle public key {public.key_id}: it verifies, and is not secret.\n"
    try:
        _write_key(options.public, public.to_pem().decode() if options.pem else f"{head}{public.to_text()}\n", 0o644)
    except _CannotError as error:
        where, uri = (options.output, f"file:{options.output}") if options.output else ("on stdout", "env:NAME")
        raise _CannotError(
            f"{error}. The private key was made and is {where}: keep it, and print its public key with `safepickle pubkey --key {uri}`, "
            "or remove it and begin again"
        ) from None


def _write_key(path: str | None, text: str, mode: int) -> None:
    if path is None:
        print(text, end="", flush=True)
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise _CannotError(f"{path} exists: a key is never overwritten; choose another name, or move it away first") from None
    except OSError as error:
        raise _CannotError(f"{path} cannot be written: {error.strerror}") from None
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        # Half a key is of no use, and would be in the way of the next attempt.
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise _CannotError(f"{path} cannot be written: {error.strerror}") from None


def _pubkey(options: argparse.Namespace) -> int:
    key = _signer(options.key).primary
    if isinstance(key, SecretKey):
        raise _CannotError(f"key {key.key_id} is a secret key, which has no public half: make a key pair with `safepickle keygen --suite {ED25519}`")
    public = public_half(key)
    if public is None:
        raise _CannotError(f"key {key.key_id} has no public half: whoever verifies with it asks its key service")
    print(public.to_pem().decode() if options.pem else public.to_text(), end="" if options.pem else "\n")
    return OK


def _sign(options: argparse.Namespace) -> int:
    signer, trusted = _two_rings(options)
    expected = _expected(options)

    def run(path: str) -> str:
        info = sign(path, key=signer, signed_by=trusted, drop_unverified=options.drop_unverified, **expected)
        if not options.drop_unverified:
            _tell_unverified(path, info, trusted, signer)
        return f"signed by {signer.primary.key_id}"

    return _each(options.paths, run, "signed")


def _resign(options: argparse.Namespace) -> int:
    signer, trusted = _two_rings(options)
    expected = _expected(options)

    def run(path: str) -> str:
        resign(path, key=signer, signed_by=trusted, **expected)
        return f"signed anew by {signer.primary.key_id}"

    return _each(options.paths, run, "signed anew")


def _two_rings(options: argparse.Namespace) -> tuple[Keyring, Keyring]:
    """Return who signs, and who must have signed. What may not sign is told before any file is looked at, and without signing anything."""
    signer = _signer(options.key)
    trusted = _vouching(options.trust, signer)
    trusted.check_signer(signer.signer())
    return signer, trusted


def _tell_unverified(path: str, info: Info, trusted: Keyring, signer: Keyring) -> None:
    own = (signer.primary.suite, signer.primary.key_id)
    kept = [
        f"{each.key_id} ({each.suite})"
        for each in info.signatures
        if (each.suite, each.key_id) != own and (each.key_id not in info.trusted_key_ids or trusted.find(each.suite, each.key_id) is None)
    ]
    if kept:
        said = f"kept signatures that were not verified, since --trust does not name their keys: {', '.join(kept)}; --drop-unverified leaves them out"
        print(f"{_printable(path)}: {said}", file=sys.stderr)


def _each(paths: Iterable[str], run: Callable[[str], str], done: str) -> int:
    """Run something on each file and print a line for each; a file that is refused does not keep the next from its turn."""
    good = refused = 0
    for path in _files(paths):
        if path == "-":
            raise _CannotError("files are named here: stdin cannot be written back")
        try:
            print(f"{_printable(path)}: {run(path)}")
            good += 1
        except KeyringError:
            raise
        except (SafePickleError, OSError, ValueError, TypeError) as error:
            # TypeError: a path with what looks like a key in it, which whoever writes into the folder may have put there.
            print(f"{_printable(path)}: REFUSED: {type(error).__name__}: {_printable(str(error))}")
            refused += 1
    print(f"{good} {done}, {refused} refused", file=sys.stderr)
    return REFUSED if refused else OK


def _pins(options: argparse.Namespace, *, must_exist: bool) -> Pins:
    from .pins import Pins

    try:
        return Pins.read(options.pins)
    except FileNotFoundError:
        if must_exist:
            raise _CannotError(f"{options.pins} does not exist: make it with `safepickle pins update`") from None
        return Pins()
    except (FormatError, OSError) as error:
        raise _CannotError(f"{error}") from None


def _pins_check(options: argparse.Namespace) -> int:
    from .rendering import summary_of

    expected = _expected(options)
    key, pins = _keys(options.key), _pins(options, must_exist=True)

    def run(path: str) -> str:
        info = verify(path, key=key, **expected)
        pins.check(info)
        return f"as pinned, {summary_of(info)}"

    return _each(options.paths, run, "as pinned")


def _pins_update(options: argparse.Namespace) -> int:
    from .rendering import summary_of

    expected = _expected(options)
    key, before = _keys(options.key), _pins(options, must_exist=False)
    pins = before

    def run(path: str) -> str:
        nonlocal pins
        info = verify(path, key=key, **expected)
        pins = pins.updated(info, exact=options.exact)
        return f"pinned, {summary_of(info)}"

    code = _each(options.paths, run, "pinned")
    # All or nothing: a file that was refused leaves the pins as they were.
    if code == OK:
        # To verify large files takes minutes. What another update wrote by then would go back to what was read here.
        if _pins(options, must_exist=False) != before:
            raise _CannotError(f"{options.pins} was changed meanwhile, so nothing was written: run this again")
        try:
            pins.write(options.pins)
        except OSError as error:
            raise _CannotError(f"{options.pins} cannot be written: {error.strerror}") from None
    else:
        print(f"safepickle: {_printable(elided(options.pins))} was not changed", file=sys.stderr)
    return code


def _read_lock(path: str, *, must_exist: bool) -> tuple[lockfile.Lock, str]:
    from .lockfile import Lock

    try:
        return Lock.read_text(path)
    except FileNotFoundError:
        if must_exist:
            raise _CannotError(f"{path} does not exist: make it with `safepickle lock PATH --key URI`") from None
        return Lock(folder=os.path.dirname(os.path.abspath(path))), ""
    except FormatError as error:
        raise _CannotError(f"{error}") from None
    except OSError as error:
        raise _CannotError(f"{path} cannot be read: {error.strerror}") from None


def _lock(options: argparse.Namespace) -> int:
    if options.verify:
        return _lock_verify(options)
    if not options.paths:
        raise _CannotError("name what to lock: files, or folders; or check files against the lock, with --verify")
    from . import lockfile, rendering

    expected = _expected(options)
    key = _keys(options.key)
    before, text = _read_lock(options.lock, must_exist=False)
    found: dict[str, lockfile.Entry] = {}

    def run(path: str) -> str:
        # First, so that a file that can have no name is not read.
        name = before.name_of(path)
        found[name], info = lockfile.verified(path, key, **expected)
        return rendering.summary_of(info)

    code = _each(options.paths, run, "verified")
    if code != OK:
        # All or nothing: a file that was refused leaves the lock as it was.
        print(f"safepickle: {_printable(elided(options.lock))} was not changed", file=sys.stderr)
        return code
    try:
        after = before.updated(found)
    except FormatError as error:
        raise _CannotError(f"{error}") from None
    after = after.pruned() if options.prune else after
    for name, what in before.changes(after):
        print(f"{_printable(name)}: {what}")
    for name in after.missing():
        print(f"{_printable(elided(name))}: listed, and gone: --prune drops it from the lock", file=sys.stderr)
    if options.check or after.to_text() == text:
        return REFUSED if after.to_text() != text else OK
    # To verify large files takes minutes. What somebody else wrote by then would be lost.
    if _read_lock(options.lock, must_exist=False)[1] != text:
        raise _CannotError(f"{options.lock} was changed meanwhile, so nothing was written: run this again")
    try:
        after.write(options.lock)
    except OSError as error:
        raise _CannotError(f"{options.lock} cannot be written: {error.strerror}") from None
    return OK


def _lock_verify(options: argparse.Namespace) -> int:
    if options.key or options.check or options.prune or options.context or options.min_serial is not None or options.threshold != 1:
        raise _CannotError("--verify compares files with the lock and nothing else: it takes no key, and no other option than --lock")
    from . import lockfile

    lock, _ = _read_lock(options.lock, must_exist=True)
    paths: list[str] = []
    problems: list[tuple[str, str]] = []
    for path in options.paths or [lock.folder]:
        if not os.path.lexists(path):
            raise _CannotError(f"{path} does not exist")
        if not os.path.isdir(path):
            paths.append(path)
            continue
        models, special = lockfile.models_below(path)
        paths += models
        problems += special
    problems += lock.findings(paths)
    if not options.paths:
        problems += [
            (name, "listed in the lock, and there is no such file: restore it, or drop it with `safepickle lock --prune`") for name in lock.missing()
        ]
    for path, message in problems:
        print(f"{_printable(elided(path))}: REFUSED: {_printable(message)}")
    if not problems and not paths:
        raise _CannotError("there is no file to check")
    print(f"{len(paths)} checked against the lock, {len(problems)} problems", file=sys.stderr)
    return REFUSED if problems else OK


def _expected(options: argparse.Namespace) -> dict[str, Any]:
    """Return what every file must be, as the arguments of `verify` and `sign`."""
    if not 1 <= options.threshold <= container.MAX_SIGNATURES or (options.min_serial or 0) < 0:
        raise _CannotError("--threshold is from 1 to 16, and --min-serial not negative")
    return {"context": options.context, "min_serial": options.min_serial, "threshold": options.threshold}


def _verify(options: argparse.Namespace) -> int:
    from . import gate

    if not options.paths and options.files_from is None:
        options.misused("name what to verify: files, folders, patterns, - for stdin, or --files-from FILE")
    expected = _gate_expectations(options)
    if isinstance(expected, gate.Checked):
        return _verdict(options, [expected], 1)
    more = [] if options.files_from is None else gate.listed(_list_of(options))
    if options.by_content:
        options.paths, more = [], [*more, *_named(options.paths)]
    found = gate.files(options.paths, more=more, exclude=options.exclude, follow_symlinks=options.follow_symlinks)
    if options.verbose:
        for path, why in found.left_out:
            print(f"{_printable(path)}: {why}", file=sys.stderr)
    stdin = sys.stdin.buffer if "-" in options.paths else None
    code, used = _verdict_of(options, gate.check_all(found.candidates, expected, stdin), len(found.candidates))
    unused = [each for each in (*options.paths, *more) if each not in used]
    if code == OK and not options.allow_empty and (unused if not more else not used):
        where = f" below {unused[0]}" if unused and os.path.isdir(unused[0]) else ""
        raise _CannotError(f"there is no model{where}, so nothing was verified: name the right folder, or say --allow-empty")
    return code


def _named(paths: Iterable[str]) -> list[str]:
    """Return paths of which none is taken for stdin."""
    return [os.path.join(os.curdir, path) if path == "-" else path for path in paths]


def _gate_expectations(options: argparse.Namespace) -> gate.Expectations | gate.Checked:
    """Return what every file must be; where the bundle itself is refused, what there is to say of that."""
    from . import gate

    asked = _expected(options)
    container.check_expected(options.context, options.min_serial)
    if options.context is not None and options.context_from_path is not None:
        raise _CannotError("--context and --context-from-path both say what the context is: give one of them")
    if options.structure_only:
        given = [
            name
            for name, value in (("--key", options.key), ("--pins", options.pins), ("--bundle", options.bundle), ("--bundle-key", options.bundle_key))
            if value
        ]
        if given or options.threshold != 1:
            raise _CannotError(f"--structure-only checks no signature, and {(given or ['--threshold'])[0]} asks for one: leave one of them out")
    if options.bundle_key and options.bundle is None:
        raise _CannotError("--bundle-key says who may have made a bundle, and no --bundle names one: nothing would be checked with it")
    key = None if options.structure_only else _keys(options.key)
    pins = None if options.pins is None else _pins(options, must_exist=True)
    bundle = None
    if options.bundle is not None and key is not None:
        try:
            bundle = _bundle(options, key)
        except (FormatError, AuthenticationError) as error:
            return gate.bundle_refused(options.bundle, error)
    return gate.Expectations(
        key,
        _chosen_policy(options),
        asked["context"],
        "" if options.context_from_path is None else gate.template(options.context_from_path),
        asked["min_serial"],
        asked["threshold"],
        pins,
        bundle,
        os.path.dirname(options.bundle or ""),
        options.versions,
    )


def _list_of(options: argparse.Namespace) -> bytes:
    if options.files_from == "-":
        if "-" in options.paths:
            raise _CannotError("stdin can be read once: it is either the list of files or the file")
        return sys.stdin.buffer.read()
    try:
        with open(options.files_from, "rb") as file:
            return file.read()
    except OSError as error:
        raise _CannotError(f"{options.files_from} cannot be read: {error.strerror}") from None


def _verdict(options: argparse.Namespace, found: Iterable[gate.Checked], total: int) -> int:
    return _verdict_of(options, found, total)[0]


def _verdict_of(options: argparse.Namespace, found: Iterable[gate.Checked], total: int) -> tuple[int, set[str]]:
    """Deliver the report of `verify`, text as soon as it is known; return the exit code and the arguments that named a model."""
    from . import rendering, reporting

    form = options.format
    actions = form is None and os.environ.get("GITHUB_ACTIONS") == "true" and options.output is None
    form = form or ("github" if actions else "text")
    colour = options.output is None and reporting.colours(os.environ, terminal=sys.stdout.isatty())
    checked: list[gate.Checked] = []
    said: list[str] = []
    with _Progress(total, "verified") as progress:
        for each in found:
            checked.append(each)
            if form == "text" and (each.findings or not options.quiet):
                lines = list(rendering.text_of(each, colour=colour))
                if options.output is None:
                    progress.say(lines)
                else:
                    said += lines
            if options.verbose and each.passed_over:
                print(f"{_printable(each.path)}: no model, passed over", file=sys.stderr)
            progress.step()
    code = REFUSED if any(each.refused for each in checked) else OK
    if form != "text":
        _deliver(options.output, rendering.FORMATS[form](checked, __version__, _repository(), code))
    elif options.output is not None:
        _deliver(options.output, "".join(f"{line}\n" for line in said))
    if actions and os.environ.get("GITHUB_STEP_SUMMARY"):
        _summarize(os.environ["GITHUB_STEP_SUMMARY"], rendering.step_summary(checked))
    if form in ("text", "github") and not options.quiet:
        print(rendering.said_of(checked, structure_only=options.structure_only), file=sys.stderr)
    return code, {each.origin for each in checked if not each.passed_over}


def _summarize(path: str, text: str) -> None:
    """Add to the summary of the step; that it cannot be written changes no verdict."""
    try:
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as error:
        print(f"safepickle: the step summary cannot be written: {error.strerror}", file=sys.stderr)


def _bundle(options: argparse.Namespace, key: Keyring) -> openssf.Bundle:
    from . import openssf

    try:
        more = [openssf.BundleKey.read(path) for path in options.bundle_key]
        return openssf.authenticate(openssf.read_bundle(options.bundle), openssf.bundle_keys(key, more))
    except OSError as error:
        raise _CannotError(f"{options.bundle} cannot be read: {error.strerror}") from None


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
    from .rendering import fields_of

    source = sys.stdin.buffer if options.path == "-" else options.path
    if options.path != "-" and not os.path.lexists(options.path):
        raise _CannotError(f"{options.path} does not exist")
    try:
        info = inspect(source, key=_keys(options.key) if options.key else None)
    except KeyringError:
        raise
    except (SafePickleError, OSError, TypeError) as error:
        # TypeError: its name looks like a key.
        print(f"{_printable(options.path)}: REFUSED: {type(error).__name__}: {error}")
        return REFUSED
    if options.format == "json":
        print(json.dumps(fields_of(info), indent=2))
        return OK
    if not info.authenticated:
        print("UNTRUSTED: no key was given, so whoever wrote the file chose everything below")
    for name, value in fields_of(info).items():
        print(f"{name + ':':<18}{_text(value)}")
    return OK


def _suggest(options: argparse.Namespace) -> int:
    from .suggesting import suggest

    # As `python -m` does it: what the user's own project defines is found from where the command is run.
    sys.path.insert(0, os.getcwd())
    try:
        text, complete = suggest(*options.names)
    except PolicyError as error:
        raise _CannotError(str(error)) from None
    print(text, end="")
    return OK if complete else REFUSED


def _chosen_policy(options: argparse.Namespace) -> Policy:
    from .policy import Policy

    try:
        chosen = Policy.default() if options.policy is None else Policy.read(options.policy)
        return chosen.allow(*options.allow) if options.allow else chosen
    except PolicyError as error:
        raise _CannotError(str(error)) from None
    except OSError as error:
        raise _CannotError(f"the policy {options.policy} cannot be read: {error.strerror}") from None


def _diff(options: argparse.Namespace) -> int:
    key = _keys(options.key) if options.key else None
    policy = _chosen_policy(options)
    from . import differing, revisions

    sides = []
    for text in (options.base, options.head):
        try:
            data = revisions.read(text, _MAX_DIFF_BYTES) if revisions.is_revision(text) else _whole(text)
            if data is None and text is options.head:
                raise _CannotError(f"there is no {text}")
            sides.append(differing.described(data, policy, key))
        except KeyringError:
            raise
        except (SafePickleError, OSError) as error:
            print(f"{_printable(elided(text))}: REFUSED: {type(error).__name__}: {_printable(elided(str(error)))}", file=sys.stderr)
            return OK if options.exit_zero else REFUSED
    found = differing.difference(*sides)
    match options.format:
        case "json":
            print(json.dumps(found.as_dict(), indent=2))
        case "markdown":
            print(differing.as_markdown(found, options.head), end="")
        case _:
            for line in differing.as_text(found):
                print(line)
    return REFUSED if found.alarms and not options.exit_zero else OK


def _whole(path: str) -> bytes:
    if not os.path.lexists(path):
        raise _CannotError(f"{path} does not exist")
    if not os.path.isfile(path):
        raise OSError("it is not a regular file")
    return container.read_whole(path, _MAX_DIFF_BYTES)


def _scan(options: argparse.Namespace) -> int:
    policy = _chosen_policy(options)
    if (options.explain is None) == (not options.paths):
        raise _CannotError("name what to scan: a file, a folder, or - for stdin; or one file, with --explain and no other path")
    if options.explain is not None:
        return _explain(options, policy)
    from . import reporting

    found, whole = _to_scan(_named(options.paths) if options.by_content else options.paths)
    whole = set() if options.by_content else whole
    text = options.format == "text"
    colour = options.output is None and reporting.colours(os.environ, terminal=sys.stdout.isatty())
    scanned: list[reporting.Scanned] = []
    said: list[str] = []
    with _Progress(len(found), "scanned") as progress:
        for path, problem in found:
            one = reporting.unread(path, "special-file", problem) if problem else _scanned(path, policy)
            scanned.append(one)
            # Of a folder, what is no pickle is counted only.
            if text and (path in whole or one.report.verdict != "not a pickle"):
                lines = list(reporting.text_of(one, colour=colour))
                if options.output is None:
                    progress.say(lines)
                else:
                    said += lines
            progress.step()
    code = OK if all(each.report.clean for each in scanned) else REFUSED
    match options.format:
        case "json":
            _deliver(options.output, reporting.as_json(scanned, __version__))
        case "sarif":
            _deliver(options.output, reporting.as_sarif(scanned, __version__, _repository(), code))
        case _ if options.output is not None:
            _deliver(options.output, "".join(f"{line}\n" for line in said))
    print(reporting.summary(scanned), file=sys.stderr)
    return code


def _to_scan(paths: Sequence[str]) -> tuple[list[tuple[str, str]], set[str]]:
    """Return each file that the paths name, with why it is none if so, and those that were named themselves. What is left out is said on stderr."""
    from .walking import kind, tree

    found: list[tuple[str, str]] = []
    whole = set()
    if paths.count("-") > 1:
        raise _CannotError("stdin can be read once: give - once")
    for path in paths:
        if path != "-" and not os.path.lexists(path):
            raise _CannotError(f"{path} does not exist")
        if path == "-" or not os.path.isdir(path):
            whole.add(path)
            try:
                # A path that is named is followed if it is a link: it was meant. One that leads nowhere is a file that cannot be read.
                problem = "" if path == "-" else kind(os.stat(path).st_mode)
            except OSError:
                problem = ""
            found.append((path, problem))
            continue
        below = tree(path)
        if not below.files and not below.special:
            raise _CannotError(f"there is no file below {path}")
        found += sorted([*((each, "") for each in below.files), *below.special])
        _tell_left_out(below.skipped, "not looked at, since it is named .git")
        _tell_left_out(below.links, "a symbolic link, not followed: what it leads to is scanned under its own name")
    return found, whole


def _tell_left_out(paths: Sequence[str], why: str) -> None:
    for path in paths[:_MAX_LEFT_OUT]:
        print(f"{_printable(path)}: {why}", file=sys.stderr)
    if len(paths) > _MAX_LEFT_OUT:
        print(f"and {len(paths) - _MAX_LEFT_OUT} more: {why}", file=sys.stderr)


def _scanned(path: str, policy: Policy) -> reporting.Scanned:
    from . import reporting, scanning

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
    from . import reporting, scanning

    path = options.explain
    if path != "-" and (not os.path.lexists(path) or os.path.isdir(path)):
        raise _CannotError(f"{path} is not a file: --explain shows one file")
    if options.format != "text":
        raise _CannotError("--explain is for people: it has no other format than text")
    # Read once, since both look at it.
    source = io.BytesIO(sys.stdin.buffer.read()) if path == "-" else path
    try:
        lines = [reporting.escaped(line) for line in scanning.explained(source)]
        clean = scanning.scan(io.BytesIO(source.getvalue()) if isinstance(source, io.BytesIO) else source, policy=policy).clean
    except OSError as error:
        _deliver(options.output, f"{reporting.escaped(path)}: it cannot be read: {error.strerror}\n")
        return REFUSED
    _deliver(options.output, "".join(f"{line}\n" for line in lines))
    return OK if clean else REFUSED


def _repository() -> str:
    """Return the top of the repository around the working directory, or that directory if there is none."""
    here = os.getcwd()
    folder = here
    while not os.path.lexists(os.path.join(folder, ".git")):
        above = os.path.dirname(folder)
        if above == folder:
            return here
        folder = above
    return folder


def _deliver(output: str | None, text: str) -> None:
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
        raise _CannotError(f"{output} cannot be written: {error.strerror}") from None


class _Progress:
    """A bar on stderr for what takes more than a second, if that is a terminal and tqdm is there; otherwise nothing."""

    def __init__(self, total: int, what: str) -> None:
        self._bar: Any = None
        self._start = time.monotonic()
        if total > 1 and sys.stderr is not None and sys.stderr.isatty():
            with contextlib.suppress(ImportError):
                from tqdm import tqdm

                self._bar = tqdm(total=total, desc=what, unit="file", delay=_DELAY, leave=False, file=sys.stderr, dynamic_ncols=True)

    def __enter__(self) -> _Progress:
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


def _convert(options: argparse.Namespace) -> int:
    if options.run_original and options.check is None:
        raise _CannotError("--run-original executes the original to compare answers: name the inputs with --check")
    if options.check is not None and not options.run_original:
        raise _CannotError(
            "--check compares with the answers of the original, which means to execute a file that nobody signed: read what the scan says of it, "
            "and add --run-original if you want that"
        )
    for path in (options.old, options.new):
        if path == "-":
            raise _CannotError("files are named here: stdin is not converted, and nothing is written to stdout")
    if not os.path.lexists(options.old):
        raise _CannotError(f"{options.old} does not exist")
    signer = _signer(options.key)
    policy = _chosen_policy(options)
    expires = None if options.expires is None else _moment(options.expires)
    from . import converting

    inputs = None if options.check is None else converting.Inputs.checked(options.check)
    job = converting.Job(signer, policy, options.context, options.serial, expires, options.compress, overwrite=options.overwrite, inputs=inputs)
    try:
        job.rehearse()
    except (SafePickleError, TypeError) as error:
        raise _CannotError(f"nothing can be signed like this: {error}") from None
    if not os.path.isdir(options.old):
        if os.path.isdir(options.new):
            raise _CannotError(f"{options.new} is a folder: name the file to write")
        return _converted([converting.convert_one(options.old, options.new, job)], 1, [])
    if os.path.lexists(options.new) and not os.path.isdir(options.new):
        raise _CannotError(f"{options.new} is not a folder, and {options.old} is one")
    from .walking import tree

    below = tree(options.old)
    if not below.files and not below.special:
        raise _CannotError(f"there is no file below {options.old}")
    _tell_left_out(below.skipped, "not looked at, since it is named .git")
    _tell_left_out(below.links, "a symbolic link, not followed: what it leads to is converted under its own name")
    special = [converting.Outcome(path, "refused", why) for path, why in below.special]
    return _converted(converting.convert_all(below.files, options.old, options.new, job), len(below.files), special)


def _converted(outcomes: Iterable[converting.Outcome], total: int, special: Sequence[converting.Outcome]) -> int:
    """Print a line for each file that is a pickle or cannot be told to be none, and return the exit code."""
    counts = {"converted": 0, "done before": 0, "refused": 0, "signed": 0, "not a pickle": 0}
    with _Progress(total, "converted") as progress:
        for outcome in itertools.chain(special, outcomes):
            counts[outcome.status] += 1
            progress.say(_outcome_text(outcome))
            progress.step()
    print(", ".join(f"{count} {status}" for status, count in counts.items() if count or status != "signed"), file=sys.stderr)
    if counts["refused"]:
        return REFUSED
    if not counts["converted"] and not counts["done before"]:
        raise _CannotError("there was no pickle to convert")
    return OK


def _outcome_text(outcome: converting.Outcome) -> Iterator[str]:
    path, target = _printable(outcome.path), _printable(outcome.target)
    match outcome.status:
        case "converted":
            yield f"{path}: converted to {target}" + (f" ({_printable(outcome.message)})" if outcome.message else "")
        case "done before":
            yield f"{path}: done before: {target}"
        case "signed":
            yield f"{path}: signed already, left alone"
        case "refused":
            first, *rest = elided(outcome.message).split("\n")
            yield f"{path}: REFUSED: {_printable(first)}"
            yield from (f"    {_printable(line)}" for line in rest)


def _moment(text: str) -> datetime | timedelta:
    """Return what --expires says. Raises for what it cannot mean, and for a time that is over."""
    units = {"d": "days", "h": "hours", "m": "minutes"}
    if text[:-1].isascii() and text[:-1].isdigit() and text[-1:] in units and 0 < int(text[:-1]) <= 1_000_000:
        return timedelta(**{units[text[-1]]: int(text[:-1])})
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise _CannotError(
            f"--expires is a date (2027-01-31), a time with a zone (2027-01-31T12:00:00Z), or 90d, 12h, 30m from now; not {text!a}"
        ) from None
    if found.tzinfo is None:
        if len(text) > len("2027-01-31"):
            raise _CannotError(f"--expires needs a zone: {text}Z is in UTC")
        found = found.replace(tzinfo=UTC)
    if found <= datetime.now(UTC):
        raise _CannotError(f"--expires {text} is over: nothing that expires then would load")
    return found


def _demo(options: argparse.Namespace) -> int:
    try:
        from .demo import run
    except ImportError as error:
        raise _CannotError(f"the demo trains models and needs {error.name}: from the checkout, pip install '.[sklearn]'") from None
    return run()


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
