"""The gate in front of releases: which files must be signed (`files`), and whether one is as expected (`check`). Nothing is built.

- A file is known by its content, never by its name alone: what may be a pickle in any of its forms must be signed. What is none is passed over.
- What cannot be read, or is no regular file, is a finding; nothing is skipped in silence.
- The bytes that are authenticated are those whose program is traced and judged. A large body is mapped instead of copied.
- Without keys (`Expectations.trusted` is None) all but the signature is checked, and no result says that a file was verified.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Final

from . import chunks, container, openssf
from .container import Info
from .errors import (
    AuthenticationError,
    FormatError,
    KeyringError,
    LimitError,
    PolicyError,
    ProgramError,
    SafePickleError,
    UnknownKeyError,
    UnsignedError,
    elided,
)
from .files import open_regular
from .findings import Finding
from .keyring import Keyring
from .machine import Limits, trace
from .pins import Pins
from .policy import DISTRIBUTIONS, Policy, admit
from .walking import Tree, kind, tree

__all__ = ["Candidate", "Checked", "Expectations", "Found", "bundle_refused", "check", "check_all", "files", "listed", "template"]

STDIN: Final = "-"
SUFFIX: Final = ".spkl"
PLACEHOLDERS: Final = ("parent", "stem", "name", "path")

_HEAD_BYTES: Final = 1024
# Where an archive that begins with something else has its end record: 22 bytes and a comment of up to 64 KiB.
_TAIL_BYTES: Final = 22 + (1 << 16)
_MAPPED_BYTES: Final = 1 << 24
_SCANNED_BYTES: Final = 1 << 30
# From this size on, one file is read into memory at a time.
_ALONE_BYTES: Final = 1 << 26
# Files of this size on average are worth threads; with smaller ones they wait for each other.
_THREADED_BYTES: Final = 1 << 18

_LFS: Final = b"version https://git-lfs.github.com/spec/"
_DVC: Final = re.compile(rb"\A(?:[^\n]*\n){0,40}?outs:\r?\n(?:- |  )", re.ASCII)
_DVC_HASH: Final = re.compile(rb"^[- ] (?:md5|etag|hash|checksum): ", re.MULTILINE)
_DVC_PATH: Final = re.compile(r"^[- ] path: ['\"]?([^'\"\r\n]+)", re.MULTILINE)
# What a pickle can begin with and not fail at once, on an empty stack; and what the compressions, archives and arrays begin with in which
# libraries load pickles. A file with another first byte holds nothing that pickle, joblib, numpy or torch would load.
_BEGINNINGS: Final = frozenset(b"(.IJKLMNPSTUVXFGBC]})c" + bytes((*range(0x80, 0x85), *range(0x88, 0x98))) + b"\x1f\x04xZ\xfd7")
_NO_MODELS: Final = (b"\x89PNG\r\n\x1a\n", b"\x89HDF\r\n\x1a\n")
_MODEL_SUFFIXES: Final = (".pkl", ".pickle", ".joblib", ".p", ".pck", ".pcl", ".npy", ".npz", ".pt", ".pth", ".ckpt")

_BY_CLASS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (UnknownKeyError, "unknown-key"),
    (AuthenticationError, "signature"),
    (UnsignedError, "unsigned"),
    (FormatError, "container"),
    (KeyringError, "key"),
    (LimitError, "limit"),
    (PolicyError, "policy"),
    (ProgramError, "program"),
    (OSError, "unreadable"),
    (TypeError, "unreadable"),
)
_AT: Final = re.compile(r"at byte (\d+)")


@dataclass(frozen=True, slots=True)
class Expectations:
    """What every file must be."""

    trusted: Keyring | None
    """The keys that may have signed; None to check the structure only."""
    policy: Policy
    context: str | None = None
    context_from: str = ""
    """A template of the context, as `template` checks it."""
    min_serial: int | None = None
    threshold: int = 1
    pins: Pins | None = None
    bundle: openssf.Bundle | None = None
    bundle_root: str = ""
    versions: bool = False
    """Whether the installed libraries must be those of the file."""
    limits: Limits = field(default_factory=Limits)
    now: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may have to be signed."""

    path: str
    origin: str
    """The argument that it comes from."""
    relative: str
    """Its path below the folder that was given, with slashes."""
    named: bool
    """Whether somebody named just this file, so that it must be signed whatever it is."""
    problem: str = ""
    """Why it cannot be read like a file, if so."""


@dataclass(frozen=True, slots=True)
class Found:
    """What there is to check, in the order of the arguments and of the names below a folder."""

    candidates: tuple[Candidate, ...]
    origins: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    """What is not looked at, with the reason."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A file and what came of it."""

    path: str
    origin: str
    info: Info | None
    findings: tuple[Finding, ...]
    error: str = ""
    """The class of the error that refused it, if one did."""
    passed_over: bool = False
    """It is no model, and nobody said that it is."""
    size: int = 0

    @property
    def refused(self) -> bool:
        """Whether there is more than a warning."""
        return any(each.verdict == "refused" for each in self.findings)

    @property
    def status(self) -> str:
        """One of "verified", "unauthenticated" (all but the signature holds), "refused" and "passed over"."""
        if self.passed_over or self.refused or self.info is None:
            return "passed over" if self.passed_over else "refused"
        return "verified" if self.info.authenticated else "unauthenticated"


# --- which files ------------------------------------------------------------------------------------------------


def files(paths: Sequence[str], *, more: Iterable[str] = (), exclude: Sequence[str] = (), follow_symlinks: bool = False) -> Found:
    """Return the files that the paths name: files, folders with all below them, patterns (`*`, `?`, `[...]`, `**`), and "-" for stdin.

    `more` are paths of a list: files to be known by their content. `exclude` are patterns: one with a slash is matched with the path as it
    was given and below its folder, one without with each part of it; what is below an excluded folder is excluded. Symbolic links below a
    folder are followed only if asked; one that leads to what is not among the files is then a candidate with a problem.

    Raises `ValueError`, with a sentence, for a path that does not exist, a pattern that matches nothing, and stdin named twice.
    """
    if [*paths].count(STDIN) > 1:
        raise ValueError("stdin can be read once: give - once")
    walk = _Walk([_pattern(each) for each in exclude], follow_symlinks=follow_symlinks)
    for path in paths:
        walk.add(path, named=True)
    for path in more:
        walk.add(path, named=False)
    return Found(tuple(walk.candidates), tuple(dict.fromkeys(walk.origins)), tuple(walk.left_out))


def listed(data: bytes) -> list[str]:
    """Return the paths of a list: separated by NUL if there is one, otherwise one a line."""
    parts = data.split(b"\0") if b"\0" in data else [line.removesuffix(b"\r") for line in data.split(b"\n")]
    return [os.fsdecode(each) for each in parts if each]


def template(text: str) -> str:
    """Return a template of contexts if it is one: text with {parent}, {stem}, {name} and {path}. Raises `ValueError`."""
    unknown = [each for each in re.findall(r"\{([^{}]*)\}", text) if each not in PLACEHOLDERS]
    if unknown or re.search(r"[{}]", re.sub(r"\{[a-z]+\}", "", text)) or not text:
        raise ValueError(f"a template of contexts is text with {', '.join(f'{{{each}}}' for each in PLACEHOLDERS)}, such as {{parent}}/{{stem}}")
    return text


class _Walk:
    def __init__(self, exclude: Sequence[Callable[[str], bool]], *, follow_symlinks: bool) -> None:
        self.exclude = exclude
        self.follow = follow_symlinks
        self.candidates: list[Candidate] = []
        self.origins: list[str] = []
        self.left_out: list[tuple[str, str]] = []
        self.seen: set[tuple[int, int]] = set()

    def add(self, path: str, *, named: bool) -> None:
        """Add what one argument names."""
        if path == STDIN and named:
            self.origins.append(path)
            self.candidates.append(Candidate(path, path, "", named=True))
        elif not os.path.lexists(path):
            if not named or not re.search(r"[*?\[]", path):
                raise ValueError(f"{path} does not exist")
            self.matching(path)
        elif os.path.isdir(path):
            self.origins.append(path)
            self.seen = set()
            self.below(path, path, path, lambda _: True)
        else:
            self.take(path, path, os.path.basename(path), named=named)

    def matching(self, pattern: str) -> None:
        """Add the files that a pattern matches, and those below the folders that it matches."""
        parts = pattern.split("/")
        fixed = next(number for number, part in enumerate(parts) if re.search(r"[*?\[]", part))
        top = "/".join(parts[:fixed]) or ("/" if pattern.startswith("/") else "")
        wanted = _pattern(pattern, anchored=True)
        self.origins.append(pattern)
        before = len(self.candidates)
        if os.path.isdir(top or os.curdir):
            self.seen = set()
            self.below(top or os.curdir, pattern, top, wanted)
        if len(self.candidates) == before:
            raise ValueError(f"{pattern} matches no file")

    def below(self, folder: str, origin: str, top: str, wanted: Callable[[str], bool]) -> None:
        """Add what is below a folder, in order."""
        found: Tree = tree(folder)
        special = dict(found.special)
        self.left_out += [(path, "not looked at, since it is named .git") for path in found.skipped]
        self.left_out += [(path, "a symbolic link, not followed: what it leads to is checked under its own name") for path in found.links]
        for path in [*found.files, *sorted(special)]:
            shown = os.path.relpath(path) if folder == os.curdir and not top else path
            relative = os.path.relpath(path, top or os.curdir).replace(os.sep, "/")
            if not wanted(shown.replace(os.sep, "/")):
                continue
            if path in special and self.follow and os.path.islink(path) and os.path.isdir(path):
                # Each folder once, however many links lead to it, or round in a circle.
                status = os.stat(path)
                if (status.st_dev, status.st_ino) not in self.seen and not self.excluded(shown, relative):
                    self.seen.add((status.st_dev, status.st_ino))
                    self.below(path, origin, top, wanted)
                continue
            self.take(shown, origin, relative, named=False, problem=special.get(path, ""))

    def take(self, path: str, origin: str, relative: str, *, named: bool, problem: str = "") -> None:
        if self.excluded(path, relative):
            self.left_out.append((path, "excluded"))
            return
        if self.follow and problem and os.path.islink(path):
            with contextlib.suppress(OSError):
                problem = kind(os.stat(path).st_mode)
        if path == origin:
            self.origins.append(origin)
        self.candidates.append(Candidate(path, origin, relative, named, problem))

    def excluded(self, path: str, relative: str) -> bool:
        return any(test(each.replace(os.sep, "/")) for test in self.exclude for each in (path, relative))


def _pattern(text: str, *, anchored: bool = False) -> Callable[[str], bool]:
    """Return a test of paths with slashes: whether the pattern matches the path, or a folder that it is in."""
    pattern = text.replace(os.sep, "/").rstrip("/")
    made, at = "", 0
    while at < len(pattern):
        each = pattern[at]
        at += 1
        if pattern.startswith("**/", at - 1) and (at == 1 or pattern[at - 2] == "/"):
            made, at = made + "(?:[^/]+/)*", at + 2
        elif each == "*":
            whole = pattern.startswith("*", at)
            made, at = made + (".*" if whole else "[^/]*"), at + whole
        elif each == "?":
            made += "[^/]"
        elif each == "[" and (end := pattern.find("]", at + 1)) > 0:
            inner = pattern[at:end].replace("\\", r"\\").replace("[", r"\[")
            made, at = f"{made}[{'^' + inner[1:] if inner[:1] == '!' else inner}]", end + 1
        else:
            made += re.escape(each)
    start = "" if anchored or "/" in pattern else "(?:.*/)?"
    try:
        wanted = re.compile(rf"{start}{made}(?:/.*)?", re.DOTALL)
    except re.error:
        raise ValueError(f"{text} is not a pattern of paths") from None
    return lambda path: wanted.fullmatch(path) is not None


# --- one file ---------------------------------------------------------------------------------------------------


def check_all(candidates: Sequence[Candidate], expected: Expectations, stdin: IO[bytes] | None = None) -> Iterator[Checked]:
    """Yield what `check` says of each candidate, in their order; several at a time if they are large enough for that to help."""
    sizes = 0
    for each in candidates if len(candidates) > 1 else ():
        with contextlib.suppress(OSError, ValueError):
            sizes += os.stat(each.path).st_size
    if sizes < _THREADED_BYTES * len(candidates):
        yield from (check(each, expected, stdin) for each in candidates)
    else:
        yield from chunks.in_order(lambda each: check(each, expected, stdin), candidates, sizes)


def check(candidate: Candidate, expected: Expectations, stdin: IO[bytes] | None = None) -> Checked:
    """Return whether one file is as expected. Never raises for what is in it or in its way; nothing of it is built or imported."""
    path = candidate.path
    try:
        if path == STDIN:
            if stdin is None:
                raise ValueError("there is no standard input")
            return _contained(candidate, stdin, None, expected)
        if candidate.problem:
            # What leads nowhere, or may not be looked at, says so itself.
            os.stat(path)
            return _refused(candidate, "unreadable", candidate.problem)
        opened = open_regular(path)
        if opened is None:
            if os.path.isdir(path):
                return _refused(candidate, "unreadable", "a folder")
            # Somebody named it: a pipe of the shell, say.
            with io.FileIO(path, "rb") as file:
                return _contained(candidate, file, None, expected)
        with opened[0] as file:
            return _regular(candidate, file, opened[1], expected)
    except Exception as error:  # noqa: BLE001 - one file must not keep the others from being checked, and is no pass
        return _failed(candidate, error)


def bundle_refused(path: str, error: SafePickleError) -> Checked:
    """Return what there is to say where the bundle itself is refused, so that no file was looked at."""
    return Checked(path, path, None, (_finding("bundle", str(error)),), type(error).__name__)


def _regular(candidate: Candidate, file: io.FileIO, status: os.stat_result, expected: Expectations) -> Checked:
    """Check a regular file that is open; it is not opened again."""
    size = status.st_size
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    ours = candidate.path.endswith(SUFFIX)
    if head.startswith(_LFS):
        return _refused(candidate, "lfs-pointer", "this is a Git LFS pointer, not the file itself: run `git lfs pull`", "UnsignedError", size)
    if size < _HEAD_BYTES and _DVC.match(head) and _DVC_HASH.search(head) and (candidate.named or not _is_pulled(candidate.path, head)):
        return _refused(candidate, "dvc-pointer", "this is a DVC pointer, and the file itself is not there: run `dvc pull`", "UnsignedError", size)
    if ours or candidate.named or container.like_container(head):
        return _contained(candidate, file, size, expected)
    if not _may_hold_pickle(candidate.path, head, file, size):
        return Checked(candidate.path, candidate.origin, None, (), "", passed_over=True, size=size)
    return _foreign(candidate, file, size, expected)


def _is_pulled(path: str, pointer: bytes) -> bool:
    """Tell whether all that a DVC pointer stands for is beside it, where `dvc pull` puts it: then that is what is checked."""
    names = _DVC_PATH.findall(pointer.decode("utf-8", "replace"))
    return bool(names) and all(os.path.exists(os.path.join(os.path.dirname(path), name.strip())) for name in names)


def _may_hold_pickle(path: str, head: bytes, file: io.FileIO, size: int) -> bool:
    """Tell whether a closer look is needed: cheap, and wrong in one direction only."""
    if not size:
        return False
    if path.lower().endswith(_MODEL_SUFFIXES):
        return True
    if head[0] in _BEGINNINGS and not head.startswith(_NO_MODELS):
        return True
    if head[257:262] == b"ustar":
        return True
    file.seek(max(0, size - _TAIL_BYTES))
    tail = file.read(_TAIL_BYTES)
    file.seek(0)
    return b"PK\x05\x06" in tail


_alone = threading.Lock()


def _foreign(candidate: Candidate, file: io.FileIO, size: int, expected: Expectations) -> Checked:
    """Say of a file that is none of ours whether it is a model, as a scan finds it."""
    # Here and not above: a gate that finds only signed files needs no scanner.
    from . import scanning

    with _alone if size > _ALONE_BYTES else contextlib.nullcontext():
        found = scanning.scan(file, policy=expected.policy, limits=Limits(body_bytes=_SCANNED_BYTES))
    if found.verdict == "not a pickle":
        return Checked(candidate.path, candidate.origin, None, (), "", passed_over=True, size=size)
    file.seek(0)
    try:
        container.peek(file)
        said = "it is no container"
    except SafePickleError as error:
        said = str(error)
    worst = max(found.findings, key=lambda each: ("unreadable", "outside policy", "hostile").index(each.verdict), default=None)
    more = "" if worst is None else f"; a scan says {worst.verdict}: {worst.message}"
    return _refused(
        candidate, "unsigned", f"{said} ({found.format}, which must be signed{more})", "UnsignedError", size, None if worst is None else worst.offset
    )


def _contained(candidate: Candidate, file: IO[bytes], size: int | None, expected: Expectations) -> Checked:
    """Authenticate a container, unless only its structure is asked for, and judge its program."""
    context = _context(candidate, expected)
    alone = size is None or size > _MAPPED_BYTES
    with _alone if alone else contextlib.nullcontext():
        info, program, buffers = _opened(candidate, file, size, context, expected)
        admit(trace(program, buffers=buffers, limits=expected.limits), expected.policy)
    findings: list[Finding] = []
    if expected.pins is not None:
        try:
            expected.pins.check(info)
        except AuthenticationError as error:
            return _failed(candidate, error, "pins", size or 0)
    if expected.versions and (said := _drift(info)):
        findings.append(_finding("versions", said, "warning"))
    return Checked(candidate.path, candidate.origin, info, tuple(findings), size=size or 0)


def _opened(
    candidate: Candidate, file: IO[bytes], size: int | None, context: str | None, expected: Expectations
) -> tuple[Info, bytes, tuple[memoryview, ...]]:
    limits = expected.limits
    if expected.trusted is None:
        return container.unverified(
            file,
            context=context,
            min_serial=expected.min_serial,
            max_body_bytes=limits.body_bytes,
            max_expansion=limits.expansion,
            now=expected.now,
        )
    source: Any = file
    mapped = False
    if expected.bundle is not None:
        name = None if expected.bundle.single or size is None else openssf.resource_name(candidate.path, expected.bundle_root)
        # The bytes that are verified are those whose digest is compared: the file is read once.
        source = expected.bundle.reader(file, name)
    elif size is not None and size > _MAPPED_BYTES:
        # What the header claims decides only how the file is read: what is compressed cannot be mapped.
        mapped = container.peek(file).compression is None
        file.seek(0)
    opened = container.open(
        source,
        expected.trusted,
        context=context,
        min_serial=expected.min_serial,
        threshold=expected.threshold,
        map_file=mapped,
        max_body_bytes=limits.body_bytes,
        max_expansion=limits.expansion,
        now=expected.now,
    )
    if expected.bundle is not None:
        source.finish()
    return opened.info, opened.program, opened.buffers


def _context(candidate: Candidate, expected: Expectations) -> str | None:
    if not expected.context_from:
        return expected.context
    if candidate.path == STDIN:
        raise AuthenticationError("what comes from stdin has no path to make a context of: name it with --context", about="context")
    absolute = os.path.abspath(candidate.path)
    name = os.path.basename(absolute)
    values = {
        "parent": os.path.basename(os.path.dirname(absolute)),
        "stem": os.path.splitext(name)[0],
        "name": name,
        "path": candidate.relative,
    }
    made = re.sub(r"\{([a-z]+)\}", lambda match: values[match[1]], expected.context_from)
    if not 0 < len(made) <= container.MAX_TEXT or not made.isprintable():
        raise AuthenticationError(f"the path gives no context that a file can have: {made[:100]!a}", about="context")
    return made


def _drift(info: Info) -> str:
    """Return how the installed libraries differ from those of the file, as their metadata says: none is imported."""
    metadata: Any = importlib.import_module("importlib.metadata")
    different = []
    for name, version in sorted(info.libraries.items()):
        try:
            here = metadata.version(DISTRIBUTIONS.get(name, name))
        except (metadata.PackageNotFoundError, ValueError):
            here = "none"
        if here != version:
            different.append((DISTRIBUTIONS.get(name, name), version, here))
    if not different:
        return ""
    said = ", ".join(f"{name} {version} (here: {here})" for name, version, here in different)
    return f"the file was written with {said}; to match it: pip install " + " ".join(f'"{name}=={version}"' for name, version, _ in different)


def _finding(rule: str, message: str, verdict: str = "refused", offset: int | None = None) -> Finding:
    return Finding(verdict, rule, "", offset, elided(message))


def _refused(candidate: Candidate, rule: str, message: str, error: str = "", size: int = 0, offset: int | None = None) -> Checked:
    return Checked(candidate.path, candidate.origin, None, (_finding(rule, message, offset=offset),), error, size=size)


def _failed(candidate: Candidate, error: Exception, rule: str = "", size: int = 0) -> Checked:
    """Return the finding for what was raised: it could not be shown that the file is as expected."""
    message = str(error) or type(error).__name__
    about = getattr(error, "about", "")
    found = rule or about or next((name for kind_, name in _BY_CLASS if isinstance(error, kind_)), "failed")
    if isinstance(error, OSError):
        # Without the path, which stands beside it: a fingerprint of the finding must not depend on how the path was written.
        message = f"it cannot be read: {error.strerror or message}"
    if found == "failed":
        message = f"the check failed ({type(error).__name__}: {message}), so the file counts as refused"
    at = _AT.search(message) if isinstance(error, ProgramError) else None
    return Checked(
        candidate.path, candidate.origin, None, (_finding(found, message, offset=int(at[1]) if at else None),), type(error).__name__, size=size
    )
