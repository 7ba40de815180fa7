"""What the options, the environment and the project ask for: which keys, which policy, which files, and what is expected of them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from safepickle import container
from safepickle.arguments import KEY, SUFFIX, VERIFY_KEYS
from safepickle.errors import FormatError, PolicyError, escaped
from safepickle.keyring import Keyring, Trusted, as_keyring
from safepickle.keys import parse_key

if TYPE_CHECKING:
    from safepickle import selecting
    from safepickle.configuring import Config
    from safepickle.policy import Policy
    from safepickle.selecting import Candidate, Exclusion

__all__ = [
    "FAILED",
    "OK",
    "REFUSED",
    "CannotError",
    "chosen_policy",
    "excluded_of",
    "expected_of",
    "paths_of",
    "project_of",
    "selected",
    "signed_files",
    "signing_key",
    "trusted_keys",
    "verifying_keys",
    "vouching_keys",
]

OK: Final = 0
REFUSED: Final = 1
FAILED: Final = 2
_HEAD_BYTES: Final = 1024


class CannotError(Exception):
    """The job cannot be done: exit 2 with this sentence."""


def project_of(options: argparse.Namespace) -> Config:
    """Return what [tool.safepickle] of the project says: of nothing for a command that does not ask."""
    from safepickle.configuring import Config

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


def trusted_keys(options: argparse.Namespace) -> Keyring | None:
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


def vouching_keys(uris: Sequence[str], signer: Keyring) -> Keyring:
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


def verifying_keys(options: argparse.Namespace) -> Keyring:
    """Return the keys that verify. Raises `CannotError` if there are none."""
    ring = trusted_keys(options)
    if ring is None:
        raise CannotError(f"no key: pass --key env:NAME, file:PATH or keyring:PATH, or set {VERIFY_KEYS} or {KEY}")
    return ring


def signing_key(uris: Sequence[str]) -> Keyring:
    """Return the key that signs, in its ring. Raises `CannotError` unless there is one."""
    if len(uris) > 1:
        raise CannotError("one key signs at a time: give --key once, and run the command again for the next")
    if not uris and not os.environ.get(KEY):
        raise CannotError(f"no key to sign with: pass --key env:NAME, file:PATH or keyring:PATH, or set {KEY}")
    return as_keyring(uris[0] if uris else f"env:{KEY}")


def expected_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return what every file must be, as the arguments of `verify` and `sign`."""
    project = options.project
    threshold = next((each for each in (options.threshold, project.threshold) if each is not None), 1)
    min_serial = project.min_serial if options.min_serial is None else options.min_serial
    if not 1 <= threshold <= container.MAX_SIGNATURES or (min_serial or 0) < 0:
        raise CannotError("--threshold is from 1 to 16, and --min-serial not negative")
    return {"context": options.context, "min_serial": min_serial, "threshold": threshold}


def chosen_policy(options: argparse.Namespace) -> Policy:
    """Return the policy of the options, else of the project, else the built-in one; names that are allowed beside it add up."""
    from safepickle.policy import Policy

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


def excluded_of(options: argparse.Namespace) -> list[Exclusion]:
    """Return what is left out: what the options say, and what the project says, whose patterns are about paths below its folder."""
    from safepickle.selecting import Exclusion

    project = options.project
    return [*map(Exclusion, options.exclude), *(Exclusion(each, project.folder) for each in project.exclude)]


def paths_of(options: argparse.Namespace) -> list[str]:
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


def selected(options: argparse.Namespace, *, links: bool = False) -> tuple[selecting.Found, list[str]]:
    """Return the files that a command is about, and the arguments that name them. What is left out is said if it is asked for."""
    from safepickle import selecting

    paths = [] if options.by_content else paths_of(options)
    if not paths and options.files_from is None and not options.by_content:
        raise CannotError("name the files: files, folders, patterns, - for stdin, or --files-from FILE; or give paths in [tool.safepickle]")
    more = [*([] if options.files_from is None else selecting.listed(_list_of(options))), *(options.paths if options.by_content else [])]
    found = selecting.files(paths, more=more, exclude=excluded_of(options), follow_symlinks=options.follow_symlinks, links=links)
    if options.verbose:
        for path, why in found.left_out:
            print(f"{escaped(path)}: {why}", file=sys.stderr)
    return found, [*paths, *more]


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


def signed_files(paths: Sequence[str], exclude: Sequence[Exclusion] = ()) -> Iterator[str]:
    """Yield the files that the paths name. Of a folder that are the signed ones; one without any is an error, and so is what cannot be looked at."""
    from safepickle import selecting

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
