"""Runs cases where they can do no harm: `python -m hostile.proving prove|scan FOLDER LIBRARIES < ids` prints what came of each as JSON.

One process imports the libraries, and forks once for each case: into a folder of its own, with limits on time, memory and
file size, and without a terminal. The parent looks for the marker, so a payload that ends or replaces its process counts.
"""

from __future__ import annotations

import base64
import bz2
import contextlib
import copyreg
import gc
import gzip
import importlib
import io
import json
import lzma
import os
import pickle
import resource
import signal
import struct
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from assembler import program

from hostile import Case, all_cases

SECONDS = 20
"""Of processor time, and three times that of the clock."""
MEMORY = 4 << 30
FILE_BYTES = 1 << 24
MARKER = "pwned"

# --- readers that fall for it ----------------------------------------------------------------------------------


class _Storages(pickle.Unpickler):
    """What torch does: it takes persistent ids, and keeps them."""

    def persistent_load(self, pid: Any) -> Any:
        return pid


def _each(path: Path, skipped: bytes = b"") -> list[Any]:
    """Load one pickle after the other, as a reader of a log or torch does, whatever stands between."""
    loaded, file = [], io.BytesIO(path.read_bytes())
    while file.tell() < len(file.getvalue()):
        try:
            loaded.append(_Storages(file).load())
        except Exception as error:
            loaded.append(error)
            if len(loaded) > 20:
                break
        while skipped and file.read(1) in [skipped[i : i + 1] for i in range(len(skipped))]:
            pass
        if skipped and file.tell() < len(file.getvalue()):
            file.seek(-1, 1)
    return loaded


def _local(path: Path) -> Any:
    """Read the members of a zip by what stands in front of each, and trust no checksum: as readers in other languages do."""
    data, at = path.read_bytes(), 0
    while (at := data.find(b"PK\3\4", at)) >= 0:
        method, size, names, extra = struct.unpack_from("<8xH8xI4xHH", data, at)
        start = at + 30 + names + extra
        body = data[start:][: size or None]
        if method == 8:
            body = zlib.decompressobj(-15).decompress(body)
        with contextlib.suppress(Exception):
            _Storages(io.BytesIO(body)).load()
        at = start + size


def _members(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with contextlib.suppress(Exception):
                _Storages(io.BytesIO(archive.read(member))).load()


def _nested(path: Path) -> Any:
    """A zip within a zip."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            inner = path.with_name("inner")
            inner.write_bytes(archive.read(member))
            _members(inner)


def _tar(path: Path) -> Any:
    with tarfile.open(path) as archive:
        for member in archive:
            with contextlib.suppress(Exception):
                pickle.loads(archive.extractfile(member).read())


def _joblib(path: Path) -> Any:
    return importlib.import_module("joblib").load(path)


def _numpy(path: Path) -> Any:
    loaded = importlib.import_module("numpy").load(path, allow_pickle=True, max_header_size=1 << 24)
    return [loaded[name] for name in loaded] if hasattr(loaded, "files") else loaded


def _pandas(path: Path) -> Any:
    return importlib.import_module("pandas").read_pickle(path)


def _zstd(data: bytes) -> bytes:
    for name in ("compression.zstd", "backports.zstd"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(name).decompress(data)
    raise ModuleNotFoundError("no zstd")


def _inside(value: Any) -> Any:
    """Load the pickles that lie in a loaded value as bytes, text, base64 or numbers, as a model with an own `__setstate__` does."""
    for part in value if isinstance(value, (list, tuple)) else value.values() if isinstance(value, dict) else [value]:
        for decode in (bytes, lambda each: each.encode("latin-1"), base64.b64decode, bytes.fromhex, lambda each: each.tobytes(), _inside):
            with contextlib.suppress(Exception):
                pickle.loads(decode(part))


def _numpy_each(path: Path) -> Any:
    numpy, loaded = importlib.import_module("numpy"), []
    with open(path, "rb") as file, contextlib.suppress(EOFError):
        while True:
            loaded.append(numpy.load(file, allow_pickle=True))
    return loaded


def _unpacked(then: Callable[[Path], Any]) -> Callable[..., Any]:
    def unpack(path: Path, *decoders: str) -> Any:
        data = path.read_bytes()
        for each in decoders:
            data = DECODERS[each](data)
        inner = path.with_name("unpacked")
        inner.write_bytes(data)
        return then(inner)

    return unpack


def _warm(path: Path) -> Any:
    copyreg.add_extension("os", "mkdir", 240)
    return pickle.loads(path.read_bytes())


DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "bz2": bz2.decompress,
    "lzma": lzma.decompress,
    "zlib": lambda data: zlib.decompressobj().decompress(data),
    "zstd": _zstd,
    "lz4": lambda data: importlib.import_module("lz4.frame").decompress(data),
    "zlib unchecked": lambda data: zlib.decompressobj(-15).decompress(data[2:]),
    "lenient lzma": lambda data: lzma.LZMADecompressor().decompress(data),
    "gzip unchecked": lambda data: zlib.decompressobj(-15).decompress(data[10:]),
    "lenient gzip": lambda data: zlib.decompressobj(31).decompress(data),
    "base64": base64.b64decode,
}

READERS: dict[str, Callable[..., Any]] = {
    "loads": lambda path: pickle.loads(path.read_bytes()),
    "_loads": lambda path: pickle._loads(path.read_bytes()),
    "latin1": lambda path: pickle.loads(path.read_bytes(), encoding="latin1"),
    "warm": _warm,
    "each": _each,
    "lines": lambda path: _each(path, b"\n"),
    "zeros": lambda path: _each(path, b"\0"),
    "offset": lambda path, at: pickle.loads(path.read_bytes()[int(at) :]),
    "zip": _members,
    "local headers": _local,
    "zip in zip": _nested,
    "tar": _tar,
    "joblib": _joblib,
    "numpy": _numpy,
    "pandas": _pandas,
    "numpy each": _numpy_each,
    "unpacked each": _unpacked(_each),
    "unpacked zip": _unpacked(_members),
    "inside": lambda path: _inside(pickle.loads(path.read_bytes())),
    "inside twice": lambda path: _inside(pickle.loads(pickle.loads(path.read_bytes())["model"])),
    "inside state": lambda path: _inside(vars(pickle.loads(path.read_bytes()))),
    "inside joblib": lambda path: _inside(_joblib(path)),
    "inside numpy": lambda path: _inside(_numpy(path)),
}
"""Each takes a path, and what stands behind the colon."""


def _decoded(path: Path, *decoders: str) -> Any:
    data = path.read_bytes()
    for each in decoders:
        data = DECODERS[each](data)
    return pickle.loads(data)


def read(case: Case, path: Path) -> Any:
    """Load a file by its reader. A reader that is none is a chain of decoders, as in "gzip:zlib"."""
    reader, *arguments = case.reader.split(":")
    return READERS[reader](path, *arguments) if reader in READERS else _decoded(path, reader, *arguments)


# --- one case in a fork ----------------------------------------------------------------------------------------


def _enter(folder: Path) -> None:
    os.setsid()
    os.chdir(folder)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.environ.update(HOME=str(folder), TMPDIR=str(folder))
    for what, value in ((resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_FSIZE, FILE_BYTES), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(what, (value, value))


def _prove(case: Case, folder: Path, marker: Path) -> None:
    error = ""
    path = folder / case.name
    path.write_bytes(case.make(marker))
    for name in case.needs if case.effect == "import" else ():
        sys.modules.pop(name.partition(":")[0], None)
    kept: Any = None
    try:
        kept = read(case, path)
    except BaseException as raised:
        error = f"{type(raised).__name__}: {raised}"[:300]
    if case.effect == "import" and all(name.partition(":")[0] in sys.modules for name in case.needs):
        marker.touch()
    del kept
    gc.collect()
    # What was started may not be there yet, and what waits for the end of the process gets it.
    until = time.monotonic() + 2
    import atexit

    while not shown(folder) and time.monotonic() < until:
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
        time.sleep(0.02)
    (folder / "error").write_text(error)
    os._exit(0)


def _scan(case: Case, folder: Path, marker: Path) -> None:
    import safepickle

    path = folder / case.name
    path.write_bytes(case.make(marker))
    gc.collect()
    before = set(sys.modules)
    said: dict[str, Any] = {}
    cpu = time.process_time()
    try:
        report = safepickle.scan(path)
        said = report.as_dict()
    except BaseException as raised:
        said["error"] = f"{type(raised).__name__}: {raised}"[:300]
    said["seconds"] = time.process_time() - cpu
    said["imported"] = sorted(set(sys.modules) - before)
    (folder.parent / f"{folder.name}.json").write_text(json.dumps(said))
    os._exit(0)


def shown(folder: Path) -> bool:
    """Tell whether the marker is there, or what a library made of its name."""
    return any(name.startswith(MARKER) for name in os.listdir(folder))


def fork(act: Callable[[Case, Path, Path], None], case: Case, folder: Path) -> int:
    """Run one case in a fork that has a folder of its own. Returns the status of the process; all that it started ends with it."""
    folder.mkdir()
    pid = os.fork()
    if pid == 0:
        try:
            _enter(folder)
            act(case, folder, folder / MARKER)
        except BaseException as raised:
            with contextlib.suppress(BaseException):
                (folder / "error").write_text(f"before: {type(raised).__name__}: {raised}")
        finally:
            os._exit(3)
    status, until = 0, time.monotonic() + 3 * SECONDS
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    return status


def absent(case: Case) -> str:
    """Return the first of the names that a case needs which is not there, or nothing."""
    for name in case.needs:
        module, _, path = name.partition(":")
        try:
            found = importlib.import_module(module)
            for part in path.split(".") if path else ():
                found = getattr(found, part)
        except BaseException:
            return name
    return ""


def _absent_in_fork(case: Case) -> str:
    """The same without importing anything here: what a case needs may bring down what imports it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        try:
            os.write(writing, absent(case).encode() or b"-")
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        said = file.read().decode()
    os.waitpid(pid, 0)
    return "" if said == "-" else said or "importing it ends the process"


def main() -> None:
    command, place, *libraries = sys.argv[1:]
    wanted = set(json.load(sys.stdin))
    for name in libraries:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    if command == "scan":
        # What a scan imports for itself is no finding.
        (honest := Path(place) / "honest.pkl").write_bytes(program([1]))
        importlib.import_module("safepickle").scan(honest)
    cases = [case for case in all_cases() if case.id in wanted]
    report: dict[str, Any] = {}
    for number, case in enumerate(cases):
        folder = Path(place).resolve() / f"{command[0]}{number}"
        if command == "scan":
            status = fork(_scan, case, folder)
            written = folder.parent / f"{folder.name}.json"
            said = json.loads(written.read_text()) if written.exists() else {"error": f"the process ended with status {status}"}
            report[case.id] = {**said, "left": sorted(set(os.listdir(folder)) - {case.name})}
            continue
        started = time.monotonic()
        status = fork(_prove, case, folder)
        came = shown(folder)
        said = (folder / "error").read_text() if (folder / "error").exists() else f"status {status}"
        report[case.id] = {"marker": came, "absent": "" if came else _absent_in_fork(case), "said": said, "seconds": time.monotonic() - started}
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
