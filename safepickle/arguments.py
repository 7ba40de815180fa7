"""What can be said on the command line: commands, options, and help that teaches by example. What is done with it stands in `commands`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any, Final, NoReturn

from . import __version__
from .errors import elided

__all__ = ["KEY", "LOCK", "SUFFIX", "SUITES", "VERIFY_KEYS", "parser"]

SUFFIX: Final = ".spkl"
# Those of `keys`, which takes longer to import than help to be read.
SUITES: Final = ("hmac-sha256", "ed25519", "ed25519+ml-dsa-65", "ecdsa-p256-sha256")
LOCK: Final = "safepickle.lock"
# The keys of the commands, where no option names one: the one that signs, and those that verify.
KEY: Final = "SAFEPICKLE_KEY"
VERIFY_KEYS: Final = "SAFEPICKLE_VERIFY_KEYS"
_URIS: Final = "env:NAME, file:PATH, keyring:PATH, awskms:..., pkcs11:... or vault:..."
_EXCLUDE: Final = "leave out what matches: a name, or a path with * (within a folder) and ** (through folders); may be given several times"
_CODES: Final = "exit codes: 0 all good, 1 something was refused, 2 the job could not be done"


def _columns() -> int:
    """Return how wide the terminal is, as `shutil.get_terminal_size` finds it out."""
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said) > 0:
        return int(said)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80  # type: ignore[union-attr]
    except (AttributeError, ValueError, OSError):
        return 80


class _Help(argparse.HelpFormatter):
    """Help in which examples keep their lines."""

    def __init__(self, prog: str) -> None:
        # argparse asks shutil for the width, for every option, and shutil loads every compression that Python has.
        super().__init__(prog, width=_columns() - 2)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return "\n".join(f"{indent}{line}" if line.startswith("  ") else fill(line, width, indent) for line in text.split("\n"))


def _examples(*lines: str, more: str = _CODES) -> str:
    return "\n".join(["examples:" if len(lines) > 1 else "example:", *(f"  {line}" for line in lines), *([more] if more else [])])


class _Parser(argparse.ArgumentParser):
    """A parser whose errors, which repeat the argument, do not repeat a key."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": _Help, **options})

    def error(self, message: str) -> NoReturn:
        super().error(elided(message))


def _keygen(keygen: argparse.ArgumentParser) -> None:
    keygen.description = (
        "Make a key. A secret key signs and verifies; of a key pair the private key signs, and the public key, which is no secret, "
        "only verifies. The key goes to stdout, for a secret store, or into a file that only you can read."
    )
    keygen.epilog = _examples(
        "safepickle keygen --suite ed25519 --output trainer.key --public trainer.pub", "export SAFEPICKLE_KEY=$(safepickle keygen)", more=""
    )
    keygen.add_argument("--suite", choices=SUITES, default=SUITES[0], help=f"the kind of key (default {SUITES[0]})")
    keygen.add_argument("-o", "--output", metavar="FILE", help="write the key to FILE, which must not exist (mode 0600)")
    keygen.add_argument("--public", metavar="FILE", help="write the public key of a pair to FILE, which must not exist")
    keygen.add_argument("--pem", action="store_true", help="write a key pair as PEM instead of one line each")


def _pubkey(public: argparse.ArgumentParser) -> None:
    public.description = "Print the public key that belongs to a private key, or to one in a key service. It is not secret."
    public.epilog = _examples("safepickle pubkey --key file:trainer.key > trainer.pub")
    _add_key(public)
    public.add_argument("--pem", action="store_true", help="print it as PEM instead of one line")


def _verify(check: argparse.ArgumentParser) -> None:
    check.description = (
        "Check that each file was signed by a trusted key, is unchanged, and does only what the policy allows. Nothing is unpickled. Files below "
        "a folder are known by their content: a pickle in any form (joblib, npz, torch, whatever its name) must be signed, and what is no "
        "model is passed over. A file that is named itself must be signed. Pointers of Git LFS and DVC, and what cannot be read, are findings. "
        "What [tool.safepickle] of the project's pyproject.toml says holds where neither options nor the environment do."
    )
    check.epilog = _examples(
        "safepickle verify",
        "safepickle verify models/ --key env:SAFEPICKLE_KEY --context fraud-model/prod",
        "safepickle verify . --exclude tests --key file:trainer.pub --context-from-path '{stem}/prod' --format sarif --output verify.sarif",
        "safepickle verify models/ --key file:trainer.pub --baseline baseline.json --update-baseline",
        "safepickle verify models/ --lock safepickle.lock",
        "git diff --name-only -z --diff-filter=d main | safepickle verify --files-from - --structure-only --allow-empty",
        more=f"{_CODES} (usage, no key, missing path, no model found)",
    )
    _add_selection(check, "paths of [tool.safepickle]")
    check.add_argument("--allow-empty", action="store_true", help="exit with 0 where there is no model")
    _add_key(
        check, f"a trusted key as {_URIS}; may be given several times; never the key itself (default: {VERIFY_KEYS} and {KEY}, else the project's)"
    )
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
        "--lock",
        metavar="FILE",
        help="a reviewed lock that must list every file as it is: see `safepickle lock`; then it works without a key, and says reviewed",
    )
    check.add_argument("--baseline", metavar="FILE", help="a file of findings that are accepted for now, each for one content of one file")
    check.add_argument("--update-baseline", action="store_true", help="write what is refused now to the baseline, and accept it")
    check.add_argument(
        "--exit-zero", action="store_true", help="exit with 0 whatever is refused: for the first week; not where nothing could be found out"
    )
    check.add_argument(
        "--format",
        choices=("text", "json", "jsonl", "sarif", "junit", "github", "gitlab"),
        help="the form of the report (default text; in GitHub Actions github, with a step summary)",
    )
    check.add_argument("-o", "--output", metavar="FILE", help="write the report to FILE, which is replaced as a whole, instead of stdout")
    _add_config(check)
    _add_noise(check)


def _inspect(show: argparse.ArgumentParser) -> None:
    show.description = "Show what the header of a file says. Without a key nobody vouches for it, and the output says so."
    show.epilog = _examples("safepickle inspect model.spkl --key env:SAFEPICKLE_KEY")
    show.add_argument("path", metavar="PATH", help="a file, or - for stdin")
    _add_key(show)
    show.add_argument("--format", choices=("text", "json"), default="text", help="the form of the report (default text)")


def _sign(again: argparse.ArgumentParser) -> None:
    _signing(again, "add a signature to", "safepickle sign model.spkl --key env:APPROVER_KEY --trust file:trainer.pub")
    drop = "leave out signatures that were not verified (default: keep them, and name them on stderr)"
    again.add_argument("--drop-unverified", action="store_true", help=drop)


def _resign(again: argparse.ArgumentParser) -> None:
    _signing(again, "replace the signatures of", "safepickle resign models/ --key file:new.key --trust file:old.pub")


def _signing(again: argparse.ArgumentParser, what: str, example: str) -> None:
    again.description = f"Verify each file, {what} it, and replace it as a whole. Header and content stay as they are; nothing is unpickled."
    again.epilog = _examples(example)
    again.add_argument("paths", nargs="+", metavar="PATH", help="a file, or a folder (every signed file below it)")
    _add_key(again, f"the key that signs, as {_URIS}; never the key itself (default: {KEY})")
    again.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="URI",
        help="a key whose signature the file must have; may be given several times "
        f"(default: {VERIFY_KEYS} alone, and where that is not set the keyring of the key that signs)",
    )
    _add_expectations(again)


def _pins(pins: argparse.ArgumentParser) -> None:
    pins.description = (
        "Keep and check a small reviewed file of the newest serial, or the exact file, of each context: for hosts that refuse rollbacks."
    )
    # It is the action that names what is to be done.
    pins.set_defaults(command=None)
    pin_actions = pins.add_subparsers(title="actions", required=True, metavar="ACTION")
    for name, what in (
        ("check", "refuse files that are older than the pins say, or that no pin is for"),
        ("update", "move the pins to these files, never back to an older serial"),
    ):
        action = pin_actions.add_parser(name, help=what, epilog=_examples(f"safepickle pins {name} models/ --pins pins.toml --key file:trainer.pub"))
        action.add_argument("paths", nargs="+", metavar="PATH", help="a file, or a folder (every signed file below it)")
        action.add_argument("--pins", required=True, metavar="FILE", help="the pins file")
        _add_key(action)
        _add_expectations(action)
        if name == "update":
            action.add_argument("--exact", action="store_true", help="pin the exact file instead of its serial")
        _add_config(action)
        action.set_defaults(command=f"pins {name}")


def _lock(lock: argparse.ArgumentParser) -> None:
    lock.description = (
        "Verify each file with a key and enter it, by its SHA-256, in a small file that people review. With --verify, check files against "
        "that file: no key is needed, so it works for pull requests from forks. Nothing is unpickled."
    )
    lock.epilog = _examples("safepickle lock models/ --key file:trainer.pub", "safepickle lock --verify models/")
    lock.add_argument("paths", nargs="*", metavar="PATH", help="a file, or a folder (every signed file below it; with --verify every model file)")
    lock.add_argument("--exclude", action="append", default=[], metavar="GLOB", help=_EXCLUDE)
    lock.add_argument("--lock", metavar="FILE", help=f"the lock (default: that of [tool.safepickle], or {LOCK})")
    _add_key(lock)
    _add_expectations(lock)
    lock.add_argument("--check", action="store_true", help="write nothing, and exit with 1 if something would be written")
    lock.add_argument("--prune", action="store_true", help="drop files from the lock that are gone")
    lock.add_argument("--verify", action="store_true", help="check files, or all below the folder of the lock, against it, without a key")
    _add_config(lock)


def _diff(differ: argparse.ArgumentParser) -> None:
    differ.description = (
        "Compare two files, or one at two git revisions (REV:PATH): names newly needed, what the policy does not allow, metadata, context, "
        "serial, keys, versions and sizes. Without a key nobody vouches for what they say. Exit code 1 if HEAD needs what the policy does "
        "not allow, its serial goes back, its context changes, or it cannot be read whole."
    )
    differ.epilog = _examples("safepickle diff origin/main:models/a.spkl HEAD:models/a.spkl --format markdown")
    differ.add_argument("base", metavar="BASE", help="a file, or REV:PATH; one that is not in its revision counts as empty")
    differ.add_argument("head", metavar="HEAD", help="a file, or REV:PATH")
    _add_key(differ, f"a trusted key as {_URIS}; without one nothing is authenticated")
    _add_policy(differ)
    differ.add_argument("--format", choices=("text", "json", "markdown"), default="text", help="the form of the report (default text)")
    differ.add_argument("--exit-zero", action="store_true", help="exit with 0 whatever the difference")
    _add_config(differ)


def _scan(look: argparse.ArgumentParser) -> None:
    look.description = (
        "Say of each file what it is, and which pickle programs in it use what the policy does not allow. Files are known by their content, "
        "never by their name; nothing is executed. What cannot be read whole is a finding. Below a folder every regular file is read, hidden "
        "ones included; symbolic links are not followed, and folders named .git are left out."
    )
    look.epilog = _examples("safepickle scan models/ --format sarif --output scan.sarif")
    _add_selection(look, "paths of [tool.safepickle]")
    _add_policy(look)
    look.add_argument("--format", choices=("text", "json", "sarif"), default="text", help="the form of the report (default text)")
    look.add_argument("-o", "--output", metavar="FILE", help="write the report to FILE, which is replaced as a whole, instead of stdout")
    look.add_argument(
        "--explain", metavar="FILE", help="show, step by step, what the programs of this one file would do; no other path is given then"
    )
    look.add_argument(
        "--exit-zero", action="store_true", help="exit with 0 whatever is found: for the first week; not where nothing could be scanned"
    )
    _add_config(look)
    _add_noise(look)


def _convert(bring: argparse.ArgumentParser) -> None:
    bring.description = (
        "Scan each file, build its object only if the policy allows all of it, and write it signed. OLD and NEW are files, or folders: then "
        f"every pickle below OLD goes to the same path below NEW, with the suffix {SUFFIX}. Originals are not changed. What was converted "
        "before is skipped, so a run that was broken off can be run again."
    )
    bring.epilog = _examples("safepickle convert legacy/ models/ --key env:SAFEPICKLE_KEY --context fraud-model/prod")
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
    _add_config(bring)


def _policy(policy: argparse.ArgumentParser) -> None:
    policy.description = "Work on a policy."
    # It is the action that names what is to be done.
    policy.set_defaults(command=None)
    actions = policy.add_subparsers(title="actions", required=True, metavar="ACTION")
    propose = actions.add_parser(
        "suggest",
        help="propose rules, with the reasons left blank",
        description=(
            "Print rules for classes and functions of your own, for you to read and give a reason. Their modules are imported. "
            "Nothing is written and nothing is allowed. Exit code 1 if code of theirs runs at load and needs to be read first."
        ),
        epilog=_examples("safepickle policy suggest mycorp.features:Clip >> policy.toml"),
    )
    propose.add_argument("names", nargs="+", metavar="MODULE:NAME", help="a class or function by its exact name")
    propose.set_defaults(command="policy suggest")


def _demo(demo: argparse.ArgumentParser) -> None:
    demo.description = "Train four models, sign them, load them in another process and compare predictions; then try to get bad files in."


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
    parser.add_argument("--threshold", type=int, metavar="N", help="how many different trusted keys must have signed (default 1)")


def _add_selection(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help=f"a file, a folder (every file below it), a pattern such as 'models/**/*.spkl', or - for stdin (default: {default})",
    )
    parser.add_argument(
        "--files-from", metavar="FILE", help="a list of more files, - for stdin: one a line, or separated by NUL; each is known by its content"
    )
    parser.add_argument(
        "--by-content",
        action="store_true",
        help="take each PATH as a file of a list: known by its content, no pattern, not stdin; for hooks that are given names, which stand after --",
    )
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB", help=_EXCLUDE)
    parser.add_argument(
        "--follow-symlinks", action="store_true", help="follow links to what is not looked at otherwise (default: such a link is a finding)"
    )


def _add_config(parser: argparse.ArgumentParser) -> None:
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--config", metavar="FILE", help="the pyproject.toml to use (default: the nearest, upwards from here, with [tool.safepickle])"
    )
    choice.add_argument("--no-config", action="store_true", help="use no [tool.safepickle]")


def _add_noise(parser: argparse.ArgumentParser) -> None:
    noise = parser.add_mutually_exclusive_group()
    noise.add_argument("-q", "--quiet", action="store_true", help="say only what is wrong")
    noise.add_argument("-v", "--verbose", action="store_true", help="say on stderr what was passed over or left out, too")


def _add_policy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--policy", metavar="FILE", help="a policy to use instead of the built-in one")
    parser.add_argument(
        "--allow", action="append", default=[], metavar="MODULE:NAME", help="a class or function to allow beside it; may be given several times"
    )


# Of each command what the list of commands says, and what gives it its own help and options.
_COMMANDS: Final[dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]]] = {
    "keygen": ("make a secret key, or a key pair", _keygen),
    "pubkey": ("print the public key of a private one", _pubkey),
    "verify": ("the gate: every model signed, unchanged, as expected; nothing is unpickled", _verify),
    "inspect": ("show the header of a file; nothing is unpickled", _inspect),
    "sign": ("add a signature to files that trusted keys have signed; nothing is unpickled", _sign),
    "resign": ("replace the signatures of files that trusted keys have signed; nothing is unpickled", _resign),
    "pins": ("keep the newest serial of each context, and check files against it", _pins),
    "lock": ("write down which files were reviewed, and check files against that without a key", _lock),
    "diff": ("say what a file newly needs; nothing is executed", _diff),
    "scan": ("say what is in files that nobody signed; nothing is executed", _scan),
    "convert": ("bring pickle and joblib files over into signed ones", _convert),
    "policy": ("propose rules for classes of your own", _policy),
    "demo": ("train, sign, load and predict, and see attacks refused", _demo),
}


def parser(asked: str = "") -> argparse.ArgumentParser:
    """Return the parser of the command. `options.command` names what is to be done.

    If `asked` is the name of a command, the parser knows no other one: whoever asks for one does not wait for the options of all.
    """
    whole = _Parser(
        prog="safepickle",
        description="Sign trained models, verify them, and load only what a trusted key signed.",
        epilog=_examples(
            "export SAFEPICKLE_KEY=$(safepickle keygen)",
            "safepickle verify models/ --key file:trainer.pub",
            "safepickle scan downloads/model.joblib",
            "safepickle COMMAND --help",
        ),
    )
    whole.add_argument("--version", action="version", version=f"safepickle {__version__}")
    commands = whole.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name in [asked] if asked in _COMMANDS else _COMMANDS:
        what, fill = _COMMANDS[name]
        command = commands.add_parser(name, help=what)
        command.set_defaults(command=name)
        fill(command)
    return whole
