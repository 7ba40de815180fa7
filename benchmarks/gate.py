"""The gate, `safepickle verify`, as a pipeline runs it: many small files, 4 GiB of large ones, and its start: `python -m benchmarks.gate`.

Each figure is that of a whole process, from its start to its end. Beside the large files stands what one core takes to hash the same bytes, in memory
and read from the files, in the same rounds. Starting is measured in processor time, which other work on the machine changes least.
"""

from __future__ import annotations

import compileall
import hashlib
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import safepickle
from benchmarks import measuring

MIB = measuring.MIB
_LARGE_FILES = 8
_FOLDERS = 100
_TARGETS = {
    "small files, s": (20.0, "at most"),
    "large files ÷ one core that reads and hashes": (1.5, "at least"),
    "--help, ms": (120.0, "at most"),
    "one small file, ms": (250.0, "at most"),
}


def write_small(folder: Path, count: int, key: safepickle.PrivateKey) -> None:
    """Write so many signed files, each of its own content, in folders of the same number."""
    for number in range(count):
        place = folder / f"{number % _FOLDERS:02}"
        place.mkdir(parents=True, exist_ok=True)
        safepickle.dump({"number": number, "weights": [number / 7] * 20}, place / f"{number}.spkl", key=key, context="bench/small", serial=number)


def write_large(folder: Path, size: int, key: safepickle.PrivateKey) -> None:
    """Write eight signed files of random numbers, `size` bytes together."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(_LARGE_FILES):
        safepickle.dump({"coef_": rng.random(size // _LARGE_FILES // 8)}, folder / f"{number}.spkl", key=key, context="bench/large")


def run(arguments: Sequence[str]) -> tuple[float, float]:
    """Run the command and return its seconds by the clock and on processors. Raises `RuntimeError` unless it exits with 0."""
    command = str(Path(sys.executable).with_name("safepickle"))
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        started = time.perf_counter()
        child = os.posix_spawn(
            command,
            [command, *arguments],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, null, 2)],
        )
        _, status, used = os.wait4(child, 0)
        seconds = time.perf_counter() - started
    finally:
        os.close(null)
    if status:
        raise RuntimeError(f"safepickle {' '.join(arguments)} ended with status {status}")
    return seconds, used.ru_utime + used.ru_stime


def hash_in_memory(pieces: Sequence[bytes]) -> None:
    """Hash what the files hold, on one core."""
    for piece in pieces:
        hashlib.sha256(piece).digest()


def hash_files(paths: Sequence[Path]) -> None:
    """Read the files and hash them, on one core."""
    for path in paths:
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")


def medians(found: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures that have a target."""
    middle = {name: statistics.median(times) for name, times in found["seconds"].items()}
    return {
        "small files, s": middle["small files"],
        "large files ÷ one core that reads and hashes": middle["reading and hashing, one core"] / middle["large files"],
        "--help, ms": 1000 * statistics.median(found["processor_seconds"]["--help"]),
        "one small file, ms": 1000 * statistics.median(found["processor_seconds"]["one small file"]),
    }


def report(found: Mapping[str, Any]) -> str:
    """Return the results as Markdown."""
    rows = [["", "s", "GB/s", "÷ reading and hashing", "÷ hashing in memory"]]
    middle = {name: statistics.median(times) for name, times in found["seconds"].items()}
    for name, seconds in middle.items():
        size = 0 if name == "small files" else found["large_bytes"]
        peers = ("reading and hashing, one core", "hashing in memory, one core")
        speed = [f"{size / seconds / 1e9:.2f}", *(f"{middle[peer] / seconds:.2f}" for peer in peers)] if size else [""] * 3
        rows.append([name, f"{seconds:.2f}", *speed])
    targets = [["", "measured", "target", ""]]
    for name, value in medians(found).items():
        limit, kind = _TARGETS[name]
        targets.append([name, f"{value:.2f}", f"{kind} {limit:g}", "✓" if (value <= limit) == (kind == "at most") else "✗"])
    return (
        f"# `safepickle verify`: {found['small_files']:,} small files, {found['large_bytes'] / MIB:,.0f} MiB of large ones\n\n"
        f"{measuring.described(found['machine'])}\nMedians of {found['rounds']} rounds, whole processes. Starting (`--help`, one small file) is "
        f"processor time.\n\n{measuring.table(rows)}\n## Targets\n\n{measuring.table(targets)}"
    )


def main() -> None:
    """Measure, print, write."""
    parser = measuring.arguments(__doc__, rounds=5)
    parser.add_argument("--mib", type=int, default=4096, help="large files, in MiB (default: %(default)s)")
    parser.add_argument("--files", type=int, default=10_000, help="small files (default: %(default)s)")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.mib, options.files = 1, min(options.mib, 16), min(options.files, 50)
    size = options.mib * MIB
    results = measuring.results_folder(options)
    with measuring.working_folder(options.folder, size + 256 * MIB, size + 512 * MIB) as folder:
        found: dict[str, Any] = {"machine": measuring.machine(folder), "rounds": options.rounds, "small_files": options.files, "large_bytes": size}
        # As an installed package is.
        compileall.compile_dir(Path(safepickle.__file__).parent, quiet=1)
        print("writing ...", flush=True)
        key = safepickle.PrivateKey.generate()
        (folder / "trainer.pub").write_text(key.public_key().to_text())
        write_small(folder / "small", options.files, key)
        write_large(folder / "large", size, key)
        large = sorted((folder / "large").iterdir())
        pieces = [path.read_bytes() for path in large]

        def gate(*paths: Path) -> Callable[[], tuple[float, float]]:
            return partial(run, ["verify", *map(str, paths), "--no-config", "--quiet", "--key", f"file:{folder}/trainer.pub"])

        print("timing ...", flush=True)
        # First: after gigabytes were read and hashed, the system is still at work.
        starts = {"--help": partial(run, ["--help"]), "one small file": gate(folder / "small" / "00" / "0.spkl")}
        found["processor_seconds"] = {name: [call()[1] for _ in range(1 + 4 * options.rounds)][1:] for name, call in starts.items()}
        calls: dict[str, Callable[[], Any]] = {
            "small files": gate(folder / "small"),
            "large files": gate(folder / "large"),
            "hashing in memory, one core": partial(hash_in_memory, pieces),
            "reading and hashing, one core": partial(hash_files, large),
        }
        found["seconds"] = measuring.in_turn(calls, options.rounds)
    text = report(found)
    print(f"\n{text}")
    measuring.write(results, "gate", found, text)


if __name__ == "__main__":
    main()
