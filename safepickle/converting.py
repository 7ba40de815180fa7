"""`convert`: bring a pickle or joblib file that nobody signed over into a signed one.

    read -> scan -> adopt (judged by the policy, its state checked) -> dump, which judges again, signs and writes

The file is read once: what is hashed, scanned and adopted are the same bytes. The original stays as it is. What was written says in
its metadata which bytes it was made from, so that a run that was broken off goes on where it was.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import re
import stat
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from . import adopting, comparing, files, pickling, scanning
from .container import Info
from .errors import FormatError, KeyringError, LimitError, PolicyError, ProgramError, SafePickleError, StateError, elided
from .keyring import AnyKey, Keyring, as_keyring
from .machine import DEFAULT_LIMITS, Limits
from .policy import Allow, Policy, chosen
from .scanning import Report
from .verifying import verify

__all__ = ["SUFFIX", "Inputs", "Job", "Outcome", "convert", "convert_all", "convert_one"]

SUFFIX: Final = ".spkl"
# What is larger is scanned where it lies before it is read: most such files are data sets and no pickles.
_LARGE: Final = 1 << 28
_SECRET: Final = re.compile("key|secret|token|passw|credential", re.IGNORECASE)
# Paths may look like a key to `elided`, and libraries are not found without these.
_PLAIN: Final = frozenset(("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "HOME"))
# How many findings a refusal repeats; a scan has them all.
_MAX_FINDINGS: Final = 10


def convert(
    old: str | os.PathLike[str],
    new: str | os.PathLike[str],
    *,
    key: AnyKey,
    policy: Policy | None = None,
    allow: Allow = (),
    context: str | None = None,
    serial: int | None = None,
    expires: Any = None,
    compress: str | None = None,
    limits: Limits | None = None,
) -> Info:
    """Scan a pickle or joblib file, build its object under the policy, write it signed to `new`, and return what the new header says.

    `old` is not changed and `new` must not exist. The arguments are those of `dump` and `load`. The metadata of the new file is
    `{"converted_from": {"name": ..., "sha256": ..., "format": ...}}`.

    Raises `PolicyError` or `ProgramError` for what the scan finds, `FormatError` for what is no pickle, and like `adopt` and `dump`;
    `FileExistsError` if there is something at `new`, `OSError`.
    """
    job = Job(as_keyring(key), chosen(policy, allow), context, serial, expires, compress, limits or DEFAULT_LIMITS)
    path, target = os.fspath(old), os.fspath(new)
    data = _read(path, job.limits)

    def check() -> None:
        if os.path.lexists(target):
            raise FileExistsError(f"{target} exists, and is not overwritten: choose another name, or move it away")

    check()
    report = scanning.scan(io.BytesIO(data), policy=job.policy, limits=job.limits)
    _check_clean(report)
    return _write(path, target, data, report, job, check)


@dataclass(frozen=True, slots=True)
class Inputs:
    """Inputs to which the adopted object and the original, executed in a process of its own, must give the same answers."""

    path: str

    @staticmethod
    def checked(path: str) -> Inputs:
        """Return the inputs of this file. Raises `ValueError` with a whole sentence if it holds none."""
        try:
            comparing.read_inputs(path)
            return Inputs(path)
        except (OSError, ValueError, ImportError) as error:
            raise ValueError(
                f"{path} does not hold inputs ({type(error).__name__}: {error}): they are a .npy, or .npz, or .csv of numbers"
            ) from error


@dataclass(frozen=True, slots=True)
class Job:
    """How files are converted."""

    key: Keyring
    policy: Policy
    context: str | None = None
    serial: int | None = None
    expires: Any = None
    compress: str | None = None
    limits: Limits = DEFAULT_LIMITS
    overwrite: bool = False
    """Whether a file that stands where a new one is to be written is replaced, unless it is an original."""
    inputs: Inputs | None = None

    def rehearse(self) -> None:
        """Sign something small: what is wrong with the key or the arguments is told before any file is looked at. Raises like `dump`."""
        signed = pickling.dumps(None, key=self.key, context=self.context, serial=self.serial, expires=self.expires, compress=self.compress)
        pickling.loads(signed, key=self.key, context=self.context)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a file."""

    path: str
    status: str
    """"converted", "done before", "refused", "not a pickle" or "signed"."""
    message: str = ""
    target: str = ""


def convert_all(paths: Sequence[str], old: str, new: str, job: Job) -> Iterator[Outcome]:
    """Convert the files of a folder `old` into a folder `new`, each under its relative path with another suffix.

    A file that is refused does not keep the next from its turn. Raises `KeyringError` if the key cannot be used.
    """
    targets: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        targets[_target(path, old, new)].append(path)
    kept = _identities(paths)
    # Each is scanned once, however many would be written to one name.
    known = functools.cache(lambda path: _programs(path, job))
    for path in paths:
        target = _target(path, old, new)
        others = (each for each in targets[target] if each != path and known(each))
        yield _guarded(path, target, job, kept, others)


def convert_one(path: str, target: str, job: Job) -> Outcome:
    """Convert a file, like one of a folder."""
    return _guarded(path, target, job, _identities([path]), ())


def _target(path: str, old: str, new: str) -> str:
    stem, suffix = os.path.splitext(os.path.relpath(path, old))
    # "model-1.2" has no suffix: what follows the dot is a version.
    return os.path.join(new, stem + (suffix if suffix[1:].isdigit() else "") + SUFFIX)


def _identities(paths: Sequence[str]) -> set[tuple[int, int]]:
    """Return device and number of files that must stay as they are."""
    found = set()
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            continue
        found.add((status.st_dev, status.st_ino))
    return found


def _guarded(path: str, target: str, job: Job, kept: set[tuple[int, int]], others: Iterable[str]) -> Outcome:
    """Convert a file, or say why not. `kept` are files that stay; `others` are pickles that would go to the same target, found out when asked."""
    try:
        outcome = _convert(path, target, job, kept, others)
    except KeyringError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever one file brings about, the next has its turn
        return Outcome(path, "refused", f"{type(error).__name__}: {error}", target)
    if outcome.status == "converted":
        # Two names may be one to this file system.
        kept |= _identities([target])
    return outcome


def _convert(path: str, target: str, job: Job, kept: set[tuple[int, int]], others: Iterable[str]) -> Outcome:
    if os.stat(path).st_size > _LARGE:
        report = scanning.scan(path, policy=job.policy, limits=job.limits)
        if report.clean and not report.programs:
            return _nothing(path, report)
    data = _read(path, job.limits)
    digest = hashlib.sha256(data).hexdigest()
    before = _made_before(target, digest, job) if os.path.lexists(target) else ""
    if before is None:
        return Outcome(path, "done before", "", target)
    report = scanning.scan(io.BytesIO(data), policy=job.policy, limits=job.limits)
    if report.clean and not report.programs:
        return _nothing(path, report)
    _check_clean(report)
    same = next(iter(others), None)
    if same is not None:
        raise FileExistsError(f"{same} would be written to the same {target}: rename one of them, or convert each to a name of its own")
    _check_free(target, before, job, kept)
    # An object of its own is compared: to predict may change it, and what is written is as it was read.
    compared = "" if job.inputs is None else _compare(_adopted(data, job), data, report, job.inputs, job.limits)
    _write(path, target, data, report, job, lambda: _check_free(target, before, job, kept))
    return Outcome(path, "converted", compared, target)


def _nothing(path: str, report: Report) -> Outcome:
    return Outcome(path, "signed" if report.verdict == "signed" else "not a pickle")


def _programs(path: str, job: Job) -> bool:
    """Tell whether there is a pickle in a file. What cannot be told is none: it is refused when its turn comes."""
    try:
        return bool(scanning.scan(path, policy=job.policy, limits=job.limits).programs)
    except (OSError, ValueError, TypeError):
        return False


def _read(path: str, limits: Limits) -> bytes:
    opened = files.open_regular(path)
    if opened is None:
        raise FormatError("it is not a regular file")
    with opened[0] as file:
        if opened[1].st_size > limits.body_bytes:
            raise LimitError(f"the file takes {opened[1].st_size} bytes, more than {limits.body_bytes} (`body_bytes` of Limits)")
        try:
            data: bytes = file.readall()
        except MemoryError:
            raise LimitError(f"there is too little memory to read the file of {opened[1].st_size} bytes") from None
    return data


def _check_clean(report: Report) -> None:
    """Refuse what the scan has found something in, and what there is nothing to convert in."""
    if report.clean:
        if report.verdict == "signed":
            raise FormatError("it is a signed container already: `safepickle sign` and `resign` change its signatures")
        if not report.programs:
            raise FormatError(f"it is not a pickle ({report.format}): there is nothing to convert")
        return
    said = [f"{f'{each.where}: ' * bool(each.where)}{each.message}" for each in report.findings]
    more = [f"and {len(said) - _MAX_FINDINGS} more: `safepickle scan` has them all"] if len(said) > _MAX_FINDINGS else []
    message = "\n".join((f"the scan says {report.verdict}, so nothing was built:", *said[:_MAX_FINDINGS], *more))
    if report.verdict in ("hostile", "outside policy"):
        raise PolicyError(message, tuple(said))
    raise ProgramError(message)


def _made_before(target: str, digest: str, job: Job) -> str | None:
    """Return None if the file is what this job made of these bytes, else why it is not."""
    try:
        info = verify(target, key=job.key, context=job.context)
    except (SafePickleError, OSError, ValueError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    origin = info.metadata.get("converted_from") if isinstance(info.metadata, dict) else None
    if not isinstance(origin, dict) or origin.get("sha256") != digest:
        return "it was made from something else"
    if job.serial is not None and info.serial != job.serial:
        return f"it has serial {info.serial}"
    return None


def _check_free(target: str, before: str | None, job: Job, kept: set[tuple[int, int]]) -> None:
    """Refuse to write over what is not to be replaced."""
    try:
        status = os.lstat(target)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode):
        raise FileExistsError(f"{target} exists and is no regular file: choose another name, or move it away")
    if (status.st_dev, status.st_ino) in kept:
        raise FileExistsError(f"{target} is an original, or was just written: originals stay as they are; choose another folder")
    if not job.overwrite:
        raise FileExistsError(f"{target} exists and is not what this would make of the file ({before}): move it away, or pass --overwrite")


def _write(path: str, target: str, data: bytes, report: Report, job: Job, check: Callable[[], None]) -> Info:
    """Build the object under the policy and write it signed."""
    built = _adopted(data, job)
    # Again, for to build it may have taken minutes, and a link would be followed.
    check()
    folder = os.path.dirname(target)
    if folder:
        os.makedirs(folder, exist_ok=True)
    pickling.dump(
        built,
        target,
        key=job.key,
        policy=job.policy,
        context=job.context,
        serial=job.serial,
        expires=job.expires,
        metadata={"converted_from": {"name": _name(path), "sha256": report.sha256, "format": report.format}},
        compress=job.compress,
    )
    return verify(target, key=job.key, context=job.context)


def _adopted(data: bytes, job: Job) -> Any:
    return adopting.adopt(io.BytesIO(data), policy=job.policy, limits=job.limits)


def _name(path: str) -> str:
    # JSON has no halves of characters, and a name may have bytes that are none.
    return os.path.basename(path).encode("utf-8", "backslashreplace").decode()


# --- the original, executed -------------------------------------------------------------------------------------


def _compare(built: Any, data: bytes, report: Report, inputs: Inputs, limits: Limits) -> str:
    """Refuse an object that does not answer like the original, which is loaded without any check in another process; say what was compared.

    That process gets the bytes that were scanned, and not the path, where others may stand by now.
    """
    with tempfile.TemporaryDirectory(prefix="safepickle-") as folder:
        original, results = os.path.join(folder, "original"), os.path.join(folder, "answers")
        copy = os.path.join(folder, "inputs" + os.path.splitext(inputs.path)[1].lower())
        os.mkdir(results, 0o700)
        for path, content in ((original, data), (copy, _read(inputs.path, limits))):
            with open(path, "wb") as file:
                file.write(content)
        _run([_loader(report), original, copy, results], folder, limits.rehearsal_seconds)
        try:
            theirs = comparing.read_answers(results)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StateError(f"the original left no answers that can be read ({type(error).__name__}: {error})") from error
        compared, different = comparing.differences(comparing.answers(built, comparing.read_inputs(copy)), theirs)
    if different:
        raise StateError("the object does not answer like the original:\n" + "\n".join(different))
    return f"answers like the original: {compared}"


def _loader(report: Report) -> str:
    """Return which of the two wrote the file: joblib also reads pickles that were compressed as a whole."""
    plain = report.programs[0].kind == "pickle" and "compressed" not in report.format
    return "pickle" if plain else "joblib"


def _run(arguments: Sequence[str], folder: str, seconds: float) -> None:
    # -P: nothing is imported from the folder that the child runs in.
    command = [sys.executable, "-P", "-m", "safepickle.original", *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command; paths of our own temporary folder
            command, cwd=folder, env=_environment(os.environ, sys.path), stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise StateError(f"the original took more than {seconds} s to load and to answer (`rehearsal_seconds` of Limits)") from None
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][:300]
        raise StateError(f"the original could not be loaded to compare with (exit status {done.returncode}: {ascii(last)[1:-1]})")


def _environment(environment: Mapping[str, str], path: Sequence[str]) -> dict[str, str]:
    """Return the environment without what looks like a secret: what signs is none of the original's business. Modules are found as here."""
    kept = {name: value for name, value in environment.items() if name in _PLAIN or (elided(value) == value and not _SECRET.search(name))}
    return {**kept, "PYTHONPATH": os.pathsep.join(each for each in path if each), "PYTHONDONTWRITEBYTECODE": "1"}
