"""What every command here measures with: a clock that takes contenders in turn, peak memory, the machine, where results go."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import importlib.metadata
import json
import math
import multiprocessing
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
MIB = 1 << 20

# A figure of one block is that long at least, so that the clock and a stray interrupt do not matter.
_BLOCK_SECONDS = 0.05
# What takes longer than this a call is timed in three rounds: its spread is small beside its distance from the others.
_SLOW_SECONDS = 5.0
_SLOW_ROUNDS = 3

_LIBRARIES = (
    "safepickle-ml",
    "cryptography",
    "numpy",
    "scipy",
    "scikit-learn",
    "joblib",
    "skops",
    "picklescan",
    "fickling",
    "modelscan",
    "itsdangerous",
)


# --- time ------------------------------------------------------------------------------------------------------


def timed(call: Callable[[], Any], number: int = 1) -> float:
    """Return the seconds that a call takes, the mean of `number` calls in a row. The last result is dropped after the clock stops."""
    gc.collect()
    kept = None
    started = time.perf_counter()
    for _ in repeat(None, number):
        kept = call()
    seconds = (time.perf_counter() - started) / number
    del kept
    return seconds


def touch(size: int) -> None:
    """Take so many bytes of memory and give them back, so that what comes next gets warm pages.

    A virtual machine may return free memory to its host within seconds. Who is first to take it again waits for the host,
    seven times as long as for the kernel where that was measured: chance, not a property of a contender.
    """
    np.ones(size >> 3)


def in_turn(
    calls: Mapping[str, Callable[[], Any]],
    rounds: int,
    *,
    touched: int = 0,
    before: Callable[[str], Any] = lambda name: None,
) -> dict[str, list[float]]:
    """Return the seconds per call of each, one figure for each round.

    One round times all of them; each begins with another one, and every second runs backwards, so nothing is always
    first or always after the same neighbour. A round before the first warms files and code and finds out how many
    calls make a block that is long enough. Ahead of each block, outside its time, `before` is called with the name, and
    `touched` bytes of memory are taken and given back.
    """

    def block(name: str, number: int = 1) -> float:
        before(name)
        touch(touched)
        return timed(calls[name], number)

    times: dict[str, list[float]] = {name: [] for name in calls}
    numbers, slow = {}, set()
    for name in calls:
        first = block(name)
        numbers[name] = 1 if first > 1 else math.ceil(_BLOCK_SECONDS / block(name))
        if first > _SLOW_SECONDS:
            slow.add(name)
    for turn in range(rounds):
        start = turn % len(calls)
        order = [*calls][start:] + [*calls][:start]
        for name in reversed(order) if turn % 2 else order:
            if name in slow and turn >= _SLOW_ROUNDS:
                continue
            times[name].append(block(name, numbers[name]))
    return times


# --- memory ----------------------------------------------------------------------------------------------------


def in_child(function: Callable[..., Any], *args: Any) -> Any:
    """Return what a function of a module returns in a fresh process. Raises what it raises, `BrokenProcessPool` if the process dies."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def kib_fields(path: str) -> dict[str, int]:
    """Return the fields in kB of a file such as /proc/meminfo, in bytes."""
    with open(path, encoding="utf-8") as file:
        parts = (line.split() for line in file)
        return {part[0].rstrip(":"): int(part[1]) * 1024 for part in parts if len(part) == 3 and part[2] == "kB"}


def peak(call: Callable[[], Any]) -> int:
    """Return the bytes that a call adds to the resident memory of this process at its peak, pages of mapped files included. Linux only."""
    gc.collect()
    with contextlib.suppress(AttributeError):
        # What was freed but not given back would hide as much of what the call takes.
        ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        # Forget the peak so far.
        file.write("5")
    before = kib_fields("/proc/self/status")["VmRSS"]
    kept = call()
    after = kib_fields("/proc/self/status")["VmHWM"]
    del kept
    return max(0, after - before)


def can_measure_memory() -> bool:
    """Tell whether this system has what `peak` needs."""
    return os.access("/proc/self/clear_refs", os.W_OK)


# --- places ----------------------------------------------------------------------------------------------------


def _filesystem(path: Path) -> str:
    """Return the type of the file system that holds a path, such as "tmpfs"."""
    found = {"": "unknown"}
    with contextlib.suppress(OSError), open("/proc/mounts", encoding="utf-8") as file:
        found |= {fields[1]: fields[2] for fields in (line.split() for line in file)}
    at = str(path.resolve())
    return found[max((mount for mount in found if f"{at}/".startswith(f"{mount.rstrip('/')}/") or not mount), key=len)]


def fits(place: Path, files: int, memory: int) -> bool:
    """Tell whether so many bytes of files and of objects fit, where files on a tmpfs take memory too."""
    available = kib_fields("/proc/meminfo").get("MemAvailable", 0) if os.path.exists("/proc/meminfo") else memory + files
    return shutil.disk_usage(place).free >= files and available >= memory + (files if _filesystem(place) == "tmpfs" else 0)


@contextlib.contextmanager
def working_folder(given: str | None, files: int, memory: int) -> Iterator[Path]:
    """Make a folder that is removed afterwards, where so many bytes fit, and say where: in the given place, /dev/shm or TMPDIR.

    Exits with a message if they fit nowhere.
    """
    shared = Path("/dev/shm")  # noqa: S108 - a fresh folder is made within
    places = [Path(given)] if given is not None else [*([shared] if os.access(shared, os.W_OK) else []), Path(tempfile.gettempdir())]
    for place in places:
        if fits(place, files, memory):
            with tempfile.TemporaryDirectory(prefix="safepickle-bench-", dir=place) as folder:
                print(f"files are in {place} ({_filesystem(place)})", flush=True)
                yield Path(folder)
            return
    looked = " and ".join(map(str, places))
    raise SystemExit(f"{files / MIB:,.0f} MiB of files and {memory / MIB:,.0f} MiB of objects do not fit (looked at {looked}): give --folder")


# --- the machine and the results -------------------------------------------------------------------------------


def _first_line(path: str, start: str = "") -> str:
    with contextlib.suppress(OSError, StopIteration), open(path, encoding="utf-8") as file:
        return next(line for line in file if line.startswith(start)).rpartition(":")[2].strip()
    return "unknown"


def _commit() -> str:
    asked = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    with contextlib.suppress(OSError):
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    return "unknown"


def machine(folder: Path | None = None) -> dict[str, Any]:
    """Describe the machine, the software and the file system of a folder, if there is one.

    To be asked before anything is timed: it has the load average.
    """
    versions = {}
    for name in _LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "cpu": _first_line("/proc/cpuinfo", "model name") if os.path.exists("/proc/cpuinfo") else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "transparent_hugepage": _first_line("/sys/kernel/mm/transparent_hugepage/enabled"),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "libraries": versions,
        "filesystem": None if folder is None else f"{_filesystem(folder)} at {folder.parent}",
        "load_average_before": [round(value, 2) for value in os.getloadavg()],
    }


def described(found: Mapping[str, Any]) -> str:
    """Return the description of a machine as a paragraph of Markdown."""
    libraries = ", ".join(f"{name} {version}" for name, version in found["libraries"].items())
    files = f" Files on {found['filesystem']}." if found["filesystem"] else ""
    return (
        f"{found['cpu']}, {found['cores']} cores, {found['memory_bytes'] / (1 << 30):.0f} GiB; {found['kernel']}, transparent huge pages "
        f"{found['transparent_hugepage']}; {found['python']}; {libraries}.{files} Load average before: "
        f"{', '.join(map(str, found['load_average_before']))}. {found['date']}, commit {found['commit']}.\n"
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows, the first of them the header, as an aligned Markdown table; all columns but the first are numbers."""
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.rjust(width) if at else cell.ljust(width) for at, (cell, width) in enumerate(zip(row, widths, strict=True))) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 1) + (":" if at else "-") for at, width in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def arguments(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """Return a parser with the options that all commands have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help="rounds that are measured, after one that warms up (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a smoke run: one round of something small; its figures mean nothing")
    parser.add_argument("--folder", help="where files are written (default: /dev/shm, or TMPDIR if that is full or not there)")
    parser.add_argument("--results", type=Path, help="where results are written (default: benchmarks/results; with --quick, nowhere)")
    return parser


def results_folder(options: argparse.Namespace) -> Path | None:
    """Return where results go, made if need be, or None if nowhere."""
    folder: Path | None = options.results or (None if options.quick else RESULTS)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def draw(chart: str, path: Path, *figures: Any) -> None:
    """Draw one of the charts to a path, or say why not."""
    try:
        from benchmarks import charts
    except ImportError as error:
        print(f"no chart: {error}")
        return
    getattr(charts, chart)(path, *figures)


def write(folder: Path | None, name: str, found: Mapping[str, Any], text: str) -> None:
    """Write results as `name`.json and `name`.md, if there is a folder, and say where."""
    if folder is None:
        print("\nnot written: --quick without --results")
        return
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    print(f"\nwritten to {folder / name}.json and .md")
