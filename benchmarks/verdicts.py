"""What one scanner says of many files: `python verdicts.py TOOL < paths` prints it as JSON. Run by `benchmarks.scanners`.

Imports nothing of ours but for the tool "safepickle", so that another environment's Python can run it. The tool is imported
once; each file is scanned in a fork with limits on time and memory, and with a hook that refuses to start a process, to
connect, and to make a file or folder: what a scanner executes would end there, and is told as "executed".
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import json
import logging
import os
import resource
import signal
import sys
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS = 20
"""Of processor time; three times that of the clock."""
MEMORY = 4 << 30

_STARTS = frozenset({"os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.mkdir", "subprocess.Popen", "pty.spawn", "socket.connect"})
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Executed(BaseException):
    """A payload ran. No `except Exception` of a tool hides it."""


def _picklescan(path: str) -> str:
    from picklescan.scanner import scan_file_path

    said = scan_file_path(path)
    if said.infected_files or said.issues_count:
        return "flagged"
    return "gave up" if said.scan_err else "passed" if said.scanned_files else "not scanned"


def _fickling(path: str) -> str:
    import fickling

    if zipfile.is_zipfile(path):
        members = fickling.scan_zip_archive(path)
        return "not scanned" if not members else "passed" if all(members.values()) else "flagged"
    return "passed" if fickling.scan_file(path) else "flagged"


def _modelscan(path: str) -> str:
    from modelscan.modelscan import ModelScan

    said = ModelScan().scan(path)
    if said["summary"]["total_issues"]:
        return "flagged"
    return "gave up" if said["errors"] else "passed" if said["summary"]["scanned"]["total_scanned"] else "not scanned"


def _safepickle(path: str) -> str:
    import safepickle

    verdict = safepickle.scan(path).verdict
    return {"hostile": "flagged", "outside policy": "flagged", "unreadable": "gave up", "not a pickle": "not scanned"}.get(verdict, "passed")


TOOLS: dict[str, tuple[Callable[[str], str], str, tuple[str, ...]]] = {
    "picklescan": (_picklescan, "picklescan", ("picklescan.scanner",)),
    "fickling": (_fickling, "fickling", ("fickling",)),
    "modelscan": (_modelscan, "modelscan", ("modelscan.modelscan", "modelscan.scanners")),
    "safepickle": (_safepickle, "safepickle-ml", ("safepickle",)),
}
"""By tool: how it is asked, what its distribution is called, what is imported ahead."""


def _watch() -> None:
    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in _STARTS or (event == "open" and isinstance(args[2], int) and args[2] & _WRITES and args[0] != os.devnull):
            raise Executed(event)

    sys.addaudithook(hook)


def _one(scan: Callable[[str], str], path: str) -> str:
    """Scan in this process, which ends after it."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    _watch()
    try:
        return scan(path)
    except Executed as error:
        return f"executed {error}"
    except BaseException as error:  # noqa: BLE001 - whatever a tool raises, it gave up
        return f"gave up: {type(error).__name__}"


def verdict(scan: Callable[[str], str], path: str) -> tuple[str, float]:
    """Return what a tool says of a file, and the seconds it took. "crashed" if its process died or took too long."""
    started = time.monotonic()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = b""
        try:
            said = _one(scan, path).encode()
        finally:
            os.write(writing, said)
            os._exit(0)
    os.close(writing)
    while True:
        done, _ = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() > started + 3 * SECONDS:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)
    with os.fdopen(reading, "rb") as file:
        said = file.read().decode()
    return said or "crashed", time.monotonic() - started


def main() -> None:
    """Scan, print."""
    scan, distribution, modules = TOOLS[sys.argv[1]]
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    try:
        imported = [importlib.import_module(module) for module in modules]
        if sys.argv[1] == "safepickle" and not callable(getattr(imported[0], "scan", None)):
            raise ImportError("this version of safepickle has no scan")
    except ImportError as error:
        json.dump({"absent": str(error)}, sys.stdout)
        return
    version = ""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        version = importlib.metadata.version(distribution)
    paths = json.load(sys.stdin)
    # What a tool imports at its first file is no file that it writes.
    scan_quietly(scan, paths[:1])
    json.dump({"version": version, "verdicts": {path: verdict(scan, path) for path in paths}}, sys.stdout)


def scan_quietly(scan: Callable[[str], str], paths: list[str]) -> None:
    """Scan where nothing is judged, to import what a tool imports late."""
    for path in paths:
        with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            scan(str(Path(path)))


if __name__ == "__main__":
    main()
