"""The gate in front of releases: whether a file must be signed, and whether it is as expected (`check`). Nothing is built.

- A file is known by its content, never by its name alone: what may be a pickle in any of its forms must be signed. What is none is passed over.
- What cannot be read, or is no regular file, is a finding; nothing is skipped in silence.
- The bytes that are authenticated are those whose program is traced and judged. A large body is mapped instead of copied.
- Without keys (`Expectations.trusted` is None) all but the signature is checked, and no result says that a file was verified.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from . import chunks, container
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
from .policy import DISTRIBUTIONS, Policy, admit
from .selecting import STDIN, Candidate

if TYPE_CHECKING:
    # Whoever asks for a bundle, a lock or a baseline has loaded it.
    from . import lockfile, openssf
    from .baseline import Baseline
    from .pins import Pins

__all__ = ["ACCEPTED", "REFUSED", "STATUSES", "Checked", "Entry", "Expectations", "bundle_refused", "check", "check_all", "template"]

# Verdicts of findings, beside "warning".
REFUSED: Final = "refused"
ACCEPTED: Final = "accepted"
STATUSES: Final = ("verified", "reviewed", "unauthenticated", "accepted", "unsigned", "refused", "passed over")
"""Signed by a trusted key; no key, but as the lock lists it; no key, and all but the signature holds; refused, but for the baseline; no container,
where the project does not require signatures; refused; and no model."""

SUFFIX: Final = ".spkl"
PLACEHOLDERS: Final = ("parent", "stem", "name", "path")

_HEAD_BYTES: Final = 1024
# Where an archive that begins with something else has its end record: 22 bytes and a comment of up to 64 KiB. The reader of torch, which goes
# backwards by 4 KiB, finds one that is up to so much further from the end.
_TAIL_BYTES: Final = 22 + (1 << 16) + (1 << 12)
# Where a header of tar has its checksum, in octal digits.
_TAR_SUM_AT: Final = 148
_TAR_SUM: Final = re.compile(rb"[0-7 \0]{8}")
_MAPPED_BYTES: Final = 1 << 24
_SCANNED_BYTES: Final = 1 << 30
# From this size on, one file is read into memory at a time.
_ALONE_BYTES: Final = 1 << 26
# Files of this size on average are worth threads; with smaller ones they wait for each other.
_THREADED_BYTES: Final = 1 << 18

# What a pickle can begin with and not fail at once, on an empty stack (with `i` it does, but the unpickler in Python, which joblib uses, imports the
# name before); and what the compressions, archives and arrays begin with in which libraries load pickles. A file with another first byte, which is
# neither an old archive of tar nor an odd stream of zlib or lzma, holds nothing that pickle, joblib, numpy or torch would load.
_BEGINNINGS: Final = frozenset(b"(.IJKLMNPSTUVXFGBC]})ci" + bytes((*range(0x80, 0x85), *range(0x88, 0x98))) + b"\x1f\x04xZ\xfd7")
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
_CHANGED: Final = "; the baseline accepts this for another content of the file"


class Expectations(NamedTuple):
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
    lock: lockfile.Lock | None = None
    """Reviewed files, of which each file must be one. Then it may have been checked without keys, and is still known."""
    versions: bool = False
    """Whether the installed libraries must be those of the file."""
    require_signed: bool = True
    """Whether a model that is no container, and that nobody named, is refused, or only warned about."""
    path_root: str | None = None
    """The folder that {path} in the template is relative to; None for the one that was given."""
    digests: bool = False
    """Whether the SHA-256 of a refused file is wanted."""
    limits: Limits = Limits()
    now: Callable[[], float] = time.time


class Checked(NamedTuple):
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
    sha256: str = ""
    """Of the whole file, if it was refused and can be read, and if digests were wanted."""
    locked: bool = False
    """It is the file that the lock lists."""

    @property
    def refused(self) -> bool:
        """Whether there is more than what is accepted and warnings."""
        return any(each.verdict == REFUSED for each in self.findings)

    @property
    def status(self) -> str:
        """What the file is in a word: one of `STATUSES`."""
        if self.passed_over or self.refused:
            return "passed over" if self.passed_over else "refused"
        if self.info is None:
            return "accepted" if any(each.verdict == ACCEPTED for each in self.findings) else "unsigned"
        return "verified" if self.info.authenticated else "reviewed" if self.locked else "unauthenticated"

    def judged_by(self, baseline: Baseline) -> Checked:
        """Return this with the findings that the baseline accepts as accepted ones."""
        if not self.refused:
            return self
        return self._replace(findings=tuple(self._judged(each, baseline) for each in self.findings))

    def _judged(self, finding: Finding, baseline: Baseline) -> Finding:
        if finding.verdict != REFUSED:
            return finding
        entry = self.entry(finding)
        if baseline.accepts(entry):
            return replace(finding, verdict=ACCEPTED)
        known = baseline.lists(entry)
        return replace(finding, message=f"{finding.message}{_CHANGED}") if known else finding

    def entry(self, finding: Finding) -> Entry:
        """Return a finding as a baseline knows it."""
        return Entry(self.path, finding.rule, self.sha256, finding.message)

    def entries(self) -> Iterator[Entry]:
        """Yield what is refused as a baseline knows it."""
        return (self.entry(each) for each in self.findings if each.verdict == REFUSED)


class Entry(NamedTuple):
    """A finding as a baseline knows it."""

    path: str
    rule: str
    sha256: str
    message: str


def template(text: str) -> str:
    """Return a template of contexts if it is one: text with {parent}, {stem}, {name} and {path}. Raises `ValueError`."""
    unknown = [each for each in re.findall(r"\{([^{}]*)\}", text) if each not in PLACEHOLDERS]
    if unknown or re.search(r"[{}]", re.sub(r"\{[a-z]+\}", "", text)) or not text:
        raise ValueError(f"a template of contexts is text with {', '.join(f'{{{each}}}' for each in PLACEHOLDERS)}, such as {{parent}}/{{stem}}")
    return text


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
    return _caught(candidate, lambda: _checked(candidate, expected, stdin))


def _caught(candidate: Candidate, run: Callable[[], Checked]) -> Checked:
    try:
        return run()
    except Exception as error:  # noqa: BLE001 - one file must not keep the others from being checked, and is no pass
        return _failed(candidate, error)


def _checked(candidate: Candidate, expected: Expectations, stdin: IO[bytes] | None) -> Checked:
    path = candidate.path
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
        found = _caught(candidate, lambda: _regular(candidate, file, opened[1], expected))
        if not (expected.digests and found.refused):
            return found
        # Of the file that is open, so that what is entered in a baseline is what was refused.
        file.seek(0)
        return found._replace(sha256=hashlib.file_digest(file, "sha256").hexdigest())


def bundle_refused(path: str, error: SafePickleError) -> Checked:
    """Return what there is to say where the bundle itself is refused, so that no file was looked at."""
    return Checked(path, path, None, (_finding("bundle", str(error)),), type(error).__name__)


def _regular(candidate: Candidate, file: io.FileIO, status: os.stat_result, expected: Expectations) -> Checked:
    """Check a regular file that is open; it is not opened again."""
    size = status.st_size
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    ours = candidate.path.endswith(SUFFIX)
    contained = container.like_container(head)
    if not contained:
        # Here and not above: a gate that finds only signed files needs none of it.
        from . import pointers

        pointer = pointers.found(candidate.path, head, file, named=candidate.named)
        if pointer is not None:
            return _refused(candidate, *pointer, "UnsignedError", size)
    if ours or candidate.named or contained:
        _check_front(file)
        return _contained(candidate, file, size, expected)
    if not _may_hold_pickle(candidate.path, head, file):
        return Checked(candidate.path, candidate.origin, None, (), "", passed_over=True, size=size)
    return _foreign(candidate, file, size, expected)


def _may_hold_pickle(path: str, head: bytes, file: io.FileIO) -> bool:
    """Tell whether a closer look is needed: cheap, and wrong in one direction only."""
    # Some file systems say of every file that its size is 0.
    if not head:
        return False
    if path.lower().endswith(_MODEL_SUFFIXES):
        return True
    if head[0] in _BEGINNINGS and not head.startswith(_NO_MODELS):
        return True
    # Here and not above: a gate that finds only signed files needs none of it.
    from . import archives

    # The forms of which the first byte says nothing, by the checksum and the numbers of their headers.
    if archives.is_headed(head):
        return True
    return b"PK\5\6" in _tail(file)


def _tail(file: IO[bytes]) -> bytes:
    """Return what an open file ends with, as far back as the end record of an archive may be; the file is at its beginning then."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
    tail = file.read(_TAIL_BYTES)
    file.seek(0)
    return tail


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
    # What somebody names is meant to be signed; what is only found may be left for later.
    required = expected.require_signed or candidate.named
    worst = max(found.findings, key=lambda each: ("unreadable", "outside policy", "hostile").index(each.verdict), default=None)
    more = "" if worst is None else f"; a scan says {worst.verdict}: {worst.message}"
    what = "which must be signed" if required else "which nobody vouches for"
    offset = None if worst is None else worst.offset
    finding = _finding("unsigned", f"{said} ({found.format}, {what}{more})", REFUSED if required else "warning", offset)
    return Checked(candidate.path, candidate.origin, None, (finding,), "UnsignedError", size=size)


def _is_tar(front: bytes) -> bool:
    """Tell whether a container is a tar as well: of the forms without magic bytes, no other can begin as containers do."""
    if not _TAR_SUM.match(front, _TAR_SUM_AT):
        return False
    # Here and not above: a gate that finds only signed files needs none of it.
    from . import archives

    return archives.is_headed(front)


def _check_front(file: IO[bytes]) -> None:
    """Refuse a container in whose signatures an archive stands. Raises `FormatError`.

    No signature covers them, and anybody can add one of a key that nobody knows. Readers of tar and zip do not mind what a file begins with, so
    they would take another content from a file that a trusted key signed.
    """
    front = file.read(container.PREFIX.size + container.MAX_SIGNATURE_BLOCK_BYTES)
    file.seek(0)
    if not front.startswith(container.MAGIC) or len(front) < container.PREFIX.size:
        return
    *_, block_bytes, _ = container.PREFIX.unpack_from(front)
    unsigned = front[: container.PREFIX.size + block_bytes]
    # By chance both stand in so many bytes once in 2**30 files and more.
    if _is_tar(front) or (b"PK\1\2" in unsigned and b"PK\5\6" in unsigned):
        raise FormatError("the signatures of the container hold an archive, which nobody signed: who reads the file as tar or zip gets that instead")


def _check_no_zip(file: IO[bytes]) -> None:
    """Refuse a container that is a zip archive as well. Raises `FormatError`.

    What a trusted key signed may hold what it likes; here nobody vouches for any byte, and who reads the file as zip would get what no policy has
    judged. Other archives begin where the container does: see `_check_front`.
    """
    if b"PK\5\6" not in _tail(file):
        return
    # Here and not above: almost no file needs it.
    from . import archives

    if archives.is_zip(file.read()):
        raise FormatError("it is a zip archive as well, and nobody has signed it: who reads it as one gets what was not checked here")


class _Kept:
    """Reads what cannot be read again, and keeps it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._kept = io.BytesIO()

    def read(self, count: int) -> bytes:
        piece = self._file.read(count)
        self._kept.write(piece)
        return piece

    def again(self) -> IO[bytes]:
        """Return what was read, to be read once more."""
        self._kept.seek(0)
        return self._kept


def _contained(candidate: Candidate, file: IO[bytes], size: int | None, expected: Expectations) -> Checked:
    """Authenticate a container, unless only its structure is asked for, and judge its program."""
    context = _context(candidate, expected)
    alone = size is None or size > _MAPPED_BYTES
    vouched = expected.trusted is not None or expected.lock is not None
    source: Any = _Kept(file) if size is None and not vouched else file
    with _alone if alone else contextlib.nullcontext():
        info, program, buffers = _opened(candidate, source, size, context, expected)
        admit(trace(program, buffers=buffers, limits=expected.limits), expected.policy)
        if isinstance(source, _Kept):
            # Of a regular file the front was looked at before.
            file = source.again()
            _check_front(file)
        if not vouched:
            _check_no_zip(file)
    findings: list[Finding] = []
    if expected.pins is not None:
        try:
            expected.pins.check(info)
        except AuthenticationError as error:
            return _failed(candidate, error, "pins", size or 0)
    if expected.versions and (said := _drift(info)):
        findings.append(_finding("versions", said, "warning"))
    return Checked(candidate.path, candidate.origin, info, tuple(findings), size=size or 0, locked=expected.lock is not None)


def _opened(
    candidate: Candidate, file: IO[bytes], size: int | None, context: str | None, expected: Expectations
) -> tuple[Info, bytes, tuple[memoryview, ...]]:
    if expected.lock is None:
        return _read(candidate, file, size, context, expected)
    if candidate.path == STDIN:
        raise AuthenticationError("what comes from stdin has no path to be looked up in the lock: name a file", about="lock")
    # The bytes that are judged are those that are compared with the lock. If they are others than those, nothing else about them matters.
    from . import lockfile

    entry = expected.lock.entry(candidate.path)
    reader = lockfile.Measuring(file)
    try:
        return _read(candidate, reader, None, context, expected)
    finally:
        entry.compare(reader.whole(entry.size))


def _read(
    candidate: Candidate, file: Any, size: int | None, context: str | None, expected: Expectations
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
        from . import openssf

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
    below = candidate.relative if expected.path_root is None else os.path.relpath(absolute, expected.path_root).replace(os.sep, "/")
    values = {
        "parent": os.path.basename(os.path.dirname(absolute)),
        "stem": os.path.splitext(name)[0],
        "name": name,
        "path": below,
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


def _finding(rule: str, message: str, verdict: str = REFUSED, offset: int | None = None) -> Finding:
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
