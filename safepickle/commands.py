"""What each command does, once its arguments are known: it calls what decides, and says what came of it. It decides nothing itself."""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from . import __version__, container
from .arguments import KEY, LOCK, SUFFIX, VERIFY_KEYS
from .container import Info
from .errors import AuthenticationError, FormatError, KeyringError, PolicyError, SafePickleError, elided, escaped
from .files import create, replace
from .keyring import Keyring, Trusted, as_keyring
from .keys import ED25519, HMAC_SHA256, PrivateKey, PublicKey, SecretKey, parse_key, public_half
from .verifying import inspect, resign, sign, verify

if TYPE_CHECKING:
    from . import converting, gate, lockfile, openssf, reporting, selecting
    from .baseline import Baseline
    from .configuring import Config
    from .pins import Pins
    from .policy import Policy
    from .selecting import Candidate, Exclusion

__all__ = ["COMMANDS", "FAILED", "CannotError", "run"]

OK: Final = 0
REFUSED: Final = 1
FAILED: Final = 2
_MAX_LEFT_OUT: Final = 10
_HEAD_BYTES: Final = 1024
# Both files are held in memory.
_MAX_DIFF_BYTES: Final = 8 << 30
# Seconds of work that need no bar.
_DELAY: Final = 1


class CannotError(Exception):
    """The job cannot be done: exit 2 with this sentence."""


def _project(options: argparse.Namespace) -> Config:
    """Return what [tool.safepickle] of the project says: of nothing for a command that does not ask."""
    from .configuring import Config

    if getattr(options, "no_config", True):
        return Config("")
    try:
        found = Config.find(os.getcwd()) if options.config is None else Config.read(options.config)
    except FormatError as error:
        raise CannotError(f"{error}") from None
    except OSError as error:
        raise CannotError(f"{error.filename} cannot be read: {error.strerror}") from None
    if found is None:
        return Config("")
    if options.config is not None and found == Config(found.path):
        raise CannotError(f"{options.config} has no [tool.safepickle]: name the right file, or leave out --config")
    if getattr(options, "verbose", False):
        print(f"{escaped(found.path)}: [tool.safepickle] is used; --no-config does without", file=sys.stderr)
    return found


def _trusted(options: argparse.Namespace) -> Keyring | None:
    """Return the keys that verify: those of the options, else of the environment, else of the project, or None if there are none."""
    if options.key:
        return _one_ring([as_keyring(uri) for uri in options.key])
    rings = _listed_keys()
    if os.environ.get(KEY):
        rings.append(as_keyring(f"env:{KEY}"))
    # A variable that is set and empty, as where a pull request gets no secrets, does not leave it to the checkout who is trusted.
    if not rings and not os.environ.keys() & {KEY, VERIFY_KEYS}:
        rings = [as_keyring(uri) for uri in options.project.keys]
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


def _keys(options: argparse.Namespace) -> Keyring:
    ring = _trusted(options)
    if ring is None:
        raise CannotError(f"no key: pass --key env:NAME, file:PATH or keyring:PATH, or set {VERIFY_KEYS} or {KEY}")
    return ring


def _signer(uris: Sequence[str]) -> Keyring:
    if len(uris) > 1:
        raise CannotError("one key signs at a time: give --key once, and run the command again for the next")
    if not uris and not os.environ.get(KEY):
        raise CannotError(f"no key to sign with: pass --key env:NAME, file:PATH or keyring:PATH, or set {KEY}")
    return as_keyring(uris[0] if uris else f"env:{KEY}")


def _keygen(options: argparse.Namespace) -> int:
    if options.suite == HMAC_SHA256:
        if options.public is not None or options.pem:
            raise CannotError(f"a secret key has no public half and no PEM: choose a key pair, with --suite {ED25519}")
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
    except CannotError as error:
        where, uri = (options.output, f"file:{options.output}") if options.output else ("on stdout", "env:NAME")
        raise CannotError(
            f"{error}. The private key was made and is {where}: keep it, and print its public key with `safepickle pubkey --key {uri}`, "
            "or remove it and begin again"
        ) from None


def _write_key(path: str | None, text: str, mode: int) -> None:
    if path is None:
        print(text, end="", flush=True)
        return
    try:
        create(path, text.encode("ascii"), mode)
    except FileExistsError:
        raise CannotError(f"{path} exists: a key is never overwritten; choose another name, or move it away first") from None
    except OSError as error:
        raise CannotError(f"{path} cannot be written: {error.strerror}") from None


def _pubkey(options: argparse.Namespace) -> int:
    key = _signer(options.key).primary
    if isinstance(key, SecretKey):
        raise CannotError(f"key {key.key_id} is a secret key, which has no public half: make a key pair with `safepickle keygen --suite {ED25519}`")
    public = public_half(key)
    if public is None:
        raise CannotError(f"key {key.key_id} has no public half: whoever verifies with it asks its key service")
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
        print(f"{escaped(path)}: {said}", file=sys.stderr)


def _each(paths: Sequence[str], run: Callable[[str], str], done: str, exclude: Sequence[Exclusion] = ()) -> int:
    """Run something on each file and print a line for each; a file that is refused does not keep the next from its turn."""
    good = refused = 0
    for path in _files(paths, exclude):
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


def _pins(options: argparse.Namespace, *, must_exist: bool) -> Pins:
    from .pins import Pins

    try:
        return Pins.read(options.pins)
    except FileNotFoundError:
        if must_exist:
            raise CannotError(f"{options.pins} does not exist: make it with `safepickle pins update`") from None
        return Pins()
    except (FormatError, OSError) as error:
        raise CannotError(f"{error}") from None


def _pins_check(options: argparse.Namespace) -> int:
    from .rendering import summary_of

    expected = _expected(options)
    key, pins = _keys(options), _pins(options, must_exist=True)

    def run(path: str) -> str:
        info = verify(path, key=key, **expected)
        pins.check(info)
        return f"as pinned, {summary_of(info)}"

    return _each(options.paths, run, "as pinned")


def _pins_update(options: argparse.Namespace) -> int:
    from .rendering import summary_of

    expected = _expected(options)
    key, before = _keys(options), _pins(options, must_exist=False)
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
            raise CannotError(f"{options.pins} was changed meanwhile, so nothing was written: run this again")
        try:
            pins.write(options.pins)
        except OSError as error:
            raise CannotError(f"{options.pins} cannot be written: {error.strerror}") from None
    else:
        print(f"safepickle: {escaped(elided(options.pins))} was not changed", file=sys.stderr)
    return code


_Reviewed = TypeVar("_Reviewed", "lockfile.Lock", "Baseline")


def _read_reviewed(kind: type[_Reviewed], path: str, how: str = "") -> tuple[_Reviewed, str]:
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


def _write_reviewed(made: _Reviewed, path: str, text: str) -> None:
    """Write a lock or a baseline where `text` was read. To verify large files takes minutes: what somebody else wrote by then would be lost."""
    if _read_reviewed(type(made), path)[1] != text:
        raise CannotError(f"{path} was changed meanwhile, so nothing was written: run this again")
    try:
        made.write(path)
    except OSError as error:
        raise CannotError(f"{path} cannot be written: {error.strerror}") from None


def _read_lock(path: str) -> lockfile.Lock:
    from .lockfile import Lock

    return _read_reviewed(Lock, path, "`safepickle lock PATH --key URI`")[0]


def _lock(options: argparse.Namespace) -> int:
    options.lock = options.lock or options.project.lock or LOCK
    if options.verify:
        return _lock_verify(options)
    paths = _paths_of(options)
    if not paths:
        raise CannotError("name what to lock: files, or folders; or check files against the lock, with --verify")
    from . import lockfile, rendering

    expected = _expected(options)
    key = _keys(options)
    before, text = _read_reviewed(lockfile.Lock, options.lock)
    found: dict[str, lockfile.Entry] = {}

    def run(path: str) -> str:
        # First, so that a file that can have no name is not read.
        name = before.name_of(path)
        found[name], info = lockfile.verified(path, key, **expected)
        return rendering.summary_of(info)

    code = _each(paths, run, "verified", _excluded(options))
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
    _write_reviewed(after, options.lock, text)
    return OK


def _lock_verify(options: argparse.Namespace) -> int:
    if options.key or options.check or options.prune or options.context or options.min_serial is not None or options.threshold is not None:
        raise CannotError("--verify compares files with the lock and nothing else: it takes no key, and no other option than --lock and --exclude")
    from . import gate, lockfile, selecting
    from .policy import Policy

    lock = _read_lock(options.lock)
    # A link to a file is a name of its own, so it is looked at whatever it leads to.
    found = selecting.files(options.paths or [lock.folder], exclude=_excluded(options), follow_symlinks=True, links=True)
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


def _expected(options: argparse.Namespace) -> dict[str, Any]:
    """Return what every file must be, as the arguments of `verify` and `sign`."""
    project = options.project
    threshold = next((each for each in (options.threshold, project.threshold) if each is not None), 1)
    min_serial = project.min_serial if options.min_serial is None else options.min_serial
    if not 1 <= threshold <= container.MAX_SIGNATURES or (min_serial or 0) < 0:
        raise CannotError("--threshold is from 1 to 16, and --min-serial not negative")
    return {"context": options.context, "min_serial": min_serial, "threshold": threshold}


def _excluded(options: argparse.Namespace) -> list[Exclusion]:
    """Return what is left out: what the options say, and what the project says, whose patterns are about paths below its folder."""
    from .selecting import Exclusion

    project = options.project
    return [*map(Exclusion, options.exclude), *(Exclusion(each, project.folder) for each in project.exclude)]


def _paths_of(options: argparse.Namespace) -> list[str]:
    """Return the paths of the options, else of the project, as they are seen from here."""
    if options.paths or getattr(options, "files_from", None) is not None:
        return list(options.paths)
    found = []
    for path in options.project.paths:
        try:
            found.append(os.path.relpath(path))
        except ValueError:
            # Of another drive.
            found.append(path)
    return found


def _selected(options: argparse.Namespace, *, links: bool = False) -> tuple[selecting.Found, list[str]]:
    """Return the files that a command is about, and the arguments that name them. What is left out is said if it is asked for."""
    from . import selecting

    paths = [] if options.by_content else _paths_of(options)
    if not paths and options.files_from is None and not options.by_content:
        raise CannotError("name the files: files, folders, patterns, - for stdin, or --files-from FILE; or give paths in [tool.safepickle]")
    more = [*([] if options.files_from is None else selecting.listed(_list_of(options))), *(options.paths if options.by_content else [])]
    found = selecting.files(paths, more=more, exclude=_excluded(options), follow_symlinks=options.follow_symlinks, links=links)
    if options.verbose:
        for path, why in found.left_out:
            print(f"{escaped(path)}: {why}", file=sys.stderr)
    return found, [*paths, *more]


def _verify(options: argparse.Namespace) -> int:
    from . import gate

    project = options.project
    path = options.baseline or project.baseline
    if options.update_baseline and path is None:
        raise CannotError("--update-baseline writes a baseline: name it with --baseline FILE")
    template = options.context_from_path or (options.context is None and project.context_from_path)
    # Where more is expected of a file by its name, each name of it is looked at: a link would put one genuine file in the place of another.
    found, named = _selected(options, links=bool(template or options.lock or options.bundle or path))
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
    from .baseline import Baseline

    baseline, _ = _read_reviewed(Baseline, path, "--update-baseline")
    code, checked = _verdict(options, (each.judged_by(baseline) for each in checks), total)
    stale = baseline.stale((each.entry(finding) for each in checked for finding in each.findings), (each.path for each in checked))
    if stale and not options.quiet:
        print(f"the baseline lists {len(stale)} findings that are there no more: --update-baseline drops them", file=sys.stderr)
    return code, checked


def _verdict_and_update(options: argparse.Namespace, path: str, checks: Iterable[gate.Checked], total: int) -> tuple[int, list[gate.Checked]]:
    """Enter what is refused in the baseline, and deliver the report with it. What cannot be accepted stays refused."""
    from .baseline import Baseline

    before, text = _read_reviewed(Baseline, path)
    with _Progress(total, "verified") as progress:
        found = []
        for each in checks:
            found.append(each)
            progress.step()
    after, _ = before.updated((entry for each in found for entry in each.entries()), (each.path for each in found))
    if after.to_text() != text:
        _write_reviewed(after, path, text)
    print(f"{escaped(path)}: {len(after.entries)} findings are accepted", file=sys.stderr)
    return _verdict(options, (each.judged_by(after) for each in found), 0)


def _gate_expectations(options: argparse.Namespace) -> gate.Expectations | gate.Checked:
    """Return what every file must be; where the bundle itself is refused, what there is to say of that."""
    from . import gate

    project = options.project
    asked = _expected(options)
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
        key = _keys(options) if options.lock is None or signed else _trusted(options)
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
        "" if template is None else gate.template(template),
        asked["min_serial"],
        asked["threshold"],
        None if options.pins is None else _pins(options, must_exist=True),
        bundle,
        os.path.dirname(options.bundle or ""),
        None if options.lock is None else _read_lock(options.lock),
        options.versions,
        project.require_signed is not False,
        project.folder if of_project else None,
        options.baseline is not None or project.baseline is not None,
    )


def _list_of(options: argparse.Namespace) -> bytes:
    if options.files_from == "-":
        if "-" in options.paths:
            raise CannotError("stdin can be read once: it is either the list of files or the file")
        return sys.stdin.buffer.read()
    try:
        with open(options.files_from, "rb") as file:
            return file.read()
    except OSError as error:
        raise CannotError(f"{options.files_from} cannot be read: {error.strerror}") from None


def _verdict(options: argparse.Namespace, found: Iterable[gate.Checked], total: int) -> tuple[int, list[gate.Checked]]:
    """Deliver the report of `verify`, text as soon as it is known; return the exit code and what there was."""
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
                print(f"{escaped(each.path)}: no model, passed over", file=sys.stderr)
            progress.step()
    code = REFUSED if any(each.refused for each in checked) and not options.exit_zero else OK
    if form != "text":
        _deliver(options.output, rendering.FORMATS[form](checked, __version__, _repository(), code))
    elif options.output is not None:
        _deliver(options.output, "".join(f"{line}\n" for line in said))
    if actions and os.environ.get("GITHUB_STEP_SUMMARY"):
        _summarize(os.environ["GITHUB_STEP_SUMMARY"], rendering.step_summary(checked))
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


def _bundle(options: argparse.Namespace, key: Keyring) -> openssf.Bundle:
    from . import openssf

    try:
        more = [openssf.BundleKey.read(path) for path in options.bundle_key]
        return openssf.authenticate(openssf.read_bundle(options.bundle), openssf.bundle_keys(key, more))
    except OSError as error:
        raise CannotError(f"{options.bundle} cannot be read: {error.strerror}") from None


def _files(paths: Sequence[str], exclude: Sequence[Exclusion] = ()) -> Iterator[str]:
    """Yield the files that the paths name. Of a folder that are the signed ones; one without any is an error, and so is what cannot be looked at."""
    from . import selecting

    found = selecting.files(paths, exclude=exclude)
    empty = dict.fromkeys(found.origins)
    for each in found.candidates:
        if each.named or _is_signed(each):
            if each.problem:
                raise CannotError(f"{each.path}: {each.problem}")
            empty.pop(each.origin, None)
            yield each.path
    for origin in empty:
        raise CannotError(f"there is no signed file below {origin}")


def _is_signed(candidate: Candidate) -> bool:
    """Tell whether a file is one of ours, or is called like one. What cannot be looked at may be."""
    path = candidate.path
    if path.endswith(SUFFIX) or os.path.isdir(path) or not os.path.exists(path):
        return True
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            return container.like_container(file.read(_HEAD_BYTES))
    except OSError as error:
        raise CannotError(f"{path} cannot be read: {error.strerror}") from None


def _inspect(options: argparse.Namespace) -> int:
    from .rendering import fields_of
    from .reporting import json_of

    source = sys.stdin.buffer if options.path == "-" else options.path
    if options.path != "-" and not os.path.lexists(options.path):
        raise CannotError(f"{options.path} does not exist")
    try:
        info = inspect(source, key=_keys(options) if options.key else None)
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
        print(f"{name + ':':<18}{_text(value)}")
    return OK


def _suggest(options: argparse.Namespace) -> int:
    from .suggesting import suggest

    # As `python -m` does it: what the user's own project defines is found from where the command is run.
    sys.path.insert(0, os.getcwd())
    try:
        text, complete = suggest(*options.names)
    except PolicyError as error:
        raise CannotError(str(error)) from None
    print(text, end="")
    return OK if complete else REFUSED


def _chosen_policy(options: argparse.Namespace) -> Policy:
    """Return the policy of the options, else of the project, else the built-in one; names that are allowed beside it add up."""
    from .policy import Policy

    project = options.project
    path, packs, allow = (options.policy, (), ()) if options.policy is not None else (project.policy, project.packs, project.allow)
    try:
        chosen = Policy.default() if path is None else Policy.read(path)
        chosen = chosen.with_packs(*packs) if packs else chosen
        return chosen.allow(*allow, *options.allow) if allow or options.allow else chosen
    except PolicyError as error:
        raise CannotError(str(error)) from None
    except OSError as error:
        raise CannotError(f"the policy {path} cannot be read: {error.strerror}") from None


def _diff(options: argparse.Namespace) -> int:
    key = _keys(options) if options.key else None
    policy = _chosen_policy(options)
    from . import differing, reporting, revisions

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


def _scan(options: argparse.Namespace) -> int:
    policy = _chosen_policy(options)
    if options.explain is not None:
        if options.paths or options.files_from is not None:
            raise CannotError("--explain shows one file: name no other path")
        return _explain(options, policy)
    from . import reporting

    found, _ = _selected(options)
    text = options.format == "text"
    colour = options.output is None and reporting.colours(os.environ, terminal=sys.stdout.isatty())
    scanned: list[reporting.Scanned] = []
    said: list[str] = []
    with _Progress(len(found.candidates), "scanned") as progress:
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
            _deliver(options.output, reporting.as_json(scanned, __version__))
        case "sarif":
            _deliver(options.output, reporting.as_sarif(scanned, __version__, _repository(), code))
        case _ if options.output is not None:
            _deliver(options.output, "".join(f"{line}\n" for line in said))
    if not options.quiet:
        print(reporting.summary(scanned), file=sys.stderr)
    return code


def _tell_left_out(paths: Sequence[str], why: str) -> None:
    for path in paths[:_MAX_LEFT_OUT]:
        print(f"{escaped(path)}: {why}", file=sys.stderr)
    if len(paths) > _MAX_LEFT_OUT:
        print(f"and {len(paths) - _MAX_LEFT_OUT} more: {why}", file=sys.stderr)


def _scanned(candidate: Candidate, policy: Policy) -> reporting.Scanned:
    from . import reporting, scanning
    from .walking import kind

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
    from . import scanning

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
        _deliver(options.output, f"{escaped(path)}: it cannot be read: {error.strerror}\n")
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
        raise CannotError(f"{output} cannot be written: {error.strerror}") from None


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
    signer = _signer(options.key)
    policy = _chosen_policy(options)
    expires = None if options.expires is None else _moment(options.expires)
    from . import converting

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
    from .walking import tree

    below = tree(options.old)
    if not below.files and not below.special:
        raise CannotError(f"there is no file below {options.old}")
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


def _demo(options: argparse.Namespace) -> int:
    try:
        from .demo import run
    except ImportError as error:
        raise CannotError(f"the demo trains models and needs {error.name}: from the checkout, pip install '.[sklearn]'") from None
    return run()


def _text(value: Any) -> str:
    if isinstance(value, str):
        return escaped(value)
    if value is None:
        return "-"
    from .reporting import json_of

    # JSON with ASCII escapes, so that no text of a file can steer a terminal.
    return json_of(value, None)


COMMANDS: Final[dict[str, Callable[[argparse.Namespace], int]]] = {
    "keygen": _keygen,
    "pubkey": _pubkey,
    "verify": _verify,
    "inspect": _inspect,
    "sign": _sign,
    "resign": _resign,
    "pins check": _pins_check,
    "pins update": _pins_update,
    "lock": _lock,
    "diff": _diff,
    "scan": _scan,
    "convert": _convert,
    "policy suggest": _suggest,
    "demo": _demo,
}


def run(options: argparse.Namespace) -> int:
    """Run the command that was asked for and return its exit code. Raises `CannotError` where the job cannot be done."""
    options.project = _project(options)
    return COMMANDS[options.command](options)
