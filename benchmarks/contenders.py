"""What is timed side by side: each dumps a model to a path, or loads one from it, as its users would.

Loads read the file that the contender of the same library wrote. A scanner reads the file and then another library loads
it, whatever the verdict, which is told apart: see `verdict`. Reading the file twice is not our choice, it is how scanners
are used.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safepickle

__all__ = ["DUMPS", "LOADS", "Contender", "missing", "peak_of_dump", "peak_of_load", "verdict"]

# Not a secret: what is timed does not depend on it, and children must know it too.
KEY = safepickle.SecretKey(hashlib.sha256(b"benchmarks").digest())
_SECRET = hashlib.sha256(b"hand-rolled").digest()
_TAG_BYTES = 32


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to dump or load."""

    call: Callable[..., Any]
    """Takes an object and a path, or a path."""
    file: str
    """The name of the file that it writes or reads, within a folder for the model."""
    needs: str
    """The module that must be there."""


def missing(contender: Contender) -> str | None:
    """Return why a contender cannot take part, or None. Imports its library, so that no call is timed with that."""
    try:
        importlib.import_module(contender.needs)
    except Exception as error:  # noqa: BLE001 - importing a library can raise anything
        return f"{type(error).__name__}: {error}"
    return None


# --- dump ------------------------------------------------------------------------------------------------------


def _dump_safepickle(model: Any, path: Path) -> None:
    with open(path, "wb") as file:
        safepickle.dump(model, file, key=KEY)


def _dump_safepickle_path(model: Any, path: Path) -> None:
    safepickle.dump(model, path, key=KEY)


def _dump_pickle(model: Any, path: Path) -> None:
    with open(path, "wb") as file:
        pickle.dump(model, file, protocol=5)


def _dump_hmac(model: Any, path: Path) -> None:
    payload = pickle.dumps(model, protocol=5)
    with open(path, "wb") as file:
        file.write(hmac.digest(_SECRET, payload, "sha256"))
        file.write(payload)


def _dump_joblib(model: Any, path: Path) -> None:
    import joblib

    joblib.dump(model, path)


def _dump_skops(model: Any, path: Path) -> None:
    import skops.io

    skops.io.dump(model, path)


DUMPS = {
    "safepickle": Contender(_dump_safepickle, "model.spkl", "safepickle"),
    "safepickle, path": Contender(_dump_safepickle_path, "path.spkl", "safepickle"),
    "pickle": Contender(_dump_pickle, "model.pkl", "pickle"),
    "pickle + HMAC": Contender(_dump_hmac, "model.hmac", "hmac"),
    "joblib": Contender(_dump_joblib, "model.joblib", "joblib"),
    "skops": Contender(_dump_skops, "model.skops", "skops.io"),
}

# --- load ------------------------------------------------------------------------------------------------------


def _load_safepickle(path: Path) -> Any:
    return safepickle.load(path, key=KEY)


def _load_safepickle_mmap(path: Path) -> Any:
    return safepickle.load(path, key=KEY, mmap=True)


def _load_pickle(path: Path) -> Any:
    with open(path, "rb") as file:
        return pickle.load(file)


def _load_hmac(path: Path) -> Any:
    # The view saves a copy that most hand-rolled code makes.
    data = memoryview(path.read_bytes())
    if not hmac.compare_digest(data[:_TAG_BYTES], hmac.digest(_SECRET, data[_TAG_BYTES:], "sha256")):
        raise ValueError("the file was changed")
    return pickle.loads(data[_TAG_BYTES:])


def _load_joblib(path: Path) -> Any:
    import joblib

    return joblib.load(path)


def _load_joblib_mmap(path: Path) -> Any:
    import joblib

    return joblib.load(path, mmap_mode="r")


def _load_skops(path: Path) -> Any:
    import skops.io

    return skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))


def _scan_picklescan(path: Path) -> str:
    from picklescan.scanner import scan_file_path

    result = scan_file_path(str(path))
    if result.infected_files:
        return "called dangerous"
    return "given up with an error" if result.scan_err else "called clean"


def _scan_fickling(path: Path) -> str:
    import fickling

    return "called likely safe" if fickling.is_likely_safe(str(path)) else "called unsafe"


def _after(scan: Callable[[Path], str], load: Callable[[Path], Any]) -> Callable[[Path], Any]:
    def scan_and_load(path: Path) -> Any:
        scan(path)
        return load(path)

    return scan_and_load


LOADS = {
    "safepickle": Contender(_load_safepickle, "model.spkl", "safepickle"),
    "safepickle, mmap": Contender(_load_safepickle_mmap, "model.spkl", "safepickle"),
    "pickle": Contender(_load_pickle, "model.pkl", "pickle"),
    "pickle + HMAC": Contender(_load_hmac, "model.hmac", "hmac"),
    "joblib": Contender(_load_joblib, "model.joblib", "joblib"),
    "joblib, mmap": Contender(_load_joblib_mmap, "model.joblib", "joblib"),
    "skops": Contender(_load_skops, "model.skops", "skops.io"),
    "picklescan, joblib": Contender(_after(_scan_picklescan, _load_joblib), "model.joblib", "picklescan.scanner"),
    "picklescan, pickle": Contender(_after(_scan_picklescan, _load_pickle), "model.pkl", "picklescan.scanner"),
    "fickling, joblib": Contender(_after(_scan_fickling, _load_joblib), "model.joblib", "fickling"),
}

_SCANS = {"picklescan, joblib": _scan_picklescan, "picklescan, pickle": _scan_picklescan, "fickling, joblib": _scan_fickling}


def verdict(name: str, folder: Path) -> str | None:
    """Return what the scanner of a contender says of the file in words, or None if it has none."""
    scan = _SCANS.get(name)
    return None if scan is None else scan(folder / LOADS[name].file)


# --- memory ----------------------------------------------------------------------------------------------------


def peak_of_load(name: str, folder: Path) -> int:
    """Return the bytes that a load adds to the resident memory at its peak. To be run in a process of its own."""
    from benchmarks import measuring, models  # noqa: F401 - the libraries of the models are not what is measured

    contender = LOADS[name]
    importlib.import_module(contender.needs)
    return measuring.peak(lambda: contender.call(folder / contender.file))


def peak_of_dump(name: str, folder: Path) -> int:
    """Return the bytes that a dump adds to the resident memory at its peak, the model not counted. To be run in a process of its own."""
    from benchmarks import measuring, models  # noqa: F401

    contender = DUMPS[name]
    importlib.import_module(contender.needs)
    model = _load_pickle(folder / DUMPS["pickle"].file)
    written = folder / f"peak.{contender.file}"
    try:
        return measuring.peak(lambda: contender.call(model, written))
    finally:
        written.unlink(missing_ok=True)
