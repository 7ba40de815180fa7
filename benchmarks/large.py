"""A load of 4 GiB of arrays: its speed beside that of hashing, its memory, and what a second worker adds: `python -m benchmarks.large`.

The speed of hashing is that of one core, `hashlib.sha256` over the same bytes in the same rounds. Two workers, processes of
their own, map the same file; what the second adds is private memory only, since the pages of the file are shared.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import statistics
from collections.abc import Mapping
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measuring
from benchmarks.contenders import DUMPS, LOADS, peak_of_load

MIB = measuring.MIB
_ARRAYS = 8
_NAMES = ("safepickle", "safepickle, mmap")
_WORKER_SECONDS = 600


def arrays(size: int) -> dict[str, Any]:
    """Return eight arrays of random numbers, `size` bytes together."""
    rng = np.random.default_rng(0)
    return {f"coef_{number}": rng.random(size // _ARRAYS // 8) for number in range(_ARRAYS)}


def hash_arrays(model: Mapping[str, Any]) -> None:
    """Hash what the arrays hold, on one core."""
    for array in model.values():
        hashlib.sha256(array).digest()


def worker(path: Path, told: Connection) -> None:
    """Map the file, tell what private memory that added and how much is shared, in bytes, and keep it until told to end."""
    before = measuring.kib_fields("/proc/self/smaps_rollup")
    model = LOADS["safepickle, mmap"].call(path)
    after = measuring.kib_fields("/proc/self/smaps_rollup")
    private, shared = ("Private_Clean", "Private_Dirty"), ("Shared_Clean", "Shared_Dirty")
    told.send({"private": sum(after[each] - before[each] for each in private), "shared": sum(after[each] - before[each] for each in shared)})
    told.recv()
    del model


def second_worker(path: Path) -> dict[str, int]:
    """Return what a second process that maps the file adds in private and in shared memory, in bytes, while a first one holds it."""
    context = multiprocessing.get_context("spawn")
    started, said = [], {}
    try:
        for _ in range(2):
            here, there = context.Pipe()
            process = context.Process(target=worker, args=(path, there), daemon=True)
            process.start()
            # The end of the child is the only one left, so that its death is heard.
            there.close()
            started.append((process, here))
            if not here.poll(_WORKER_SECONDS):
                raise TimeoutError(f"a worker has not loaded {path} within {_WORKER_SECONDS} s")
            said = here.recv()
        for _, here in started:
            here.send(None)
    except BaseException:
        for process, _ in started:
            process.kill()
        raise
    finally:
        for process, _ in started:
            process.join()
    return said


def report(found: Mapping[str, Any]) -> str:
    """Return the results as Markdown."""
    size, file = found["array_bytes"], found["file_bytes"]
    speeds = {name: size / statistics.median(times) / 1e9 for name, times in found["seconds"].items()}
    rows = [["", "GB/s", "÷ hashing", "peak, MiB", "allowed, MiB", ""]]
    for name, speed in speeds.items():
        row = [name, f"{speed:.2f}", f"{speed / speeds['sha256, one core']:.2f}", "", "", ""]
        if name in found["peak_bytes"]:
            peak, allowed = found["peak_bytes"][name], file + 64 * MIB
            row[3:] = [f"{peak / MIB:,.0f}", f"{allowed / MIB:,.0f}", "✓" if peak <= allowed else "✗"]
        rows.append(row)
    text = (
        f"# {size / MIB:,.0f} MiB of arrays\n\n{measuring.described(found['machine'])}\nMedians of {found['rounds']} rounds. "
        f"Allowed is the file and 64 MiB.\n\n{measuring.table(rows)}"
    )
    if found["second_worker_bytes"]:
        private, shared = found["second_worker_bytes"]["private"], found["second_worker_bytes"]["shared"]
        text += (
            f"\nA second worker with mmap=True adds {private / MIB:,.1f} MiB of private memory, {private / file:.2%} of the file; "
            f"it shares {shared / MIB:,.0f} MiB.\n"
        )
    return text


def main() -> None:
    """Measure, print, write."""
    parser = measuring.arguments(__doc__, rounds=3)
    parser.add_argument("--mib", type=int, default=4096, help="arrays, in MiB (default: %(default)s)")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.mib = 1, min(options.mib, 16)
    size = options.mib * MIB
    results = measuring.results_folder(options)
    with measuring.working_folder(options.folder, size + 64 * MIB, 2 * size + 512 * MIB) as folder:
        found: dict[str, Any] = {"machine": measuring.machine(folder), "rounds": options.rounds, "array_bytes": size}
        print("writing ...", flush=True)
        path = folder / LOADS["safepickle"].file
        model = arrays(size)
        DUMPS["safepickle"].call(model, path)
        found["file_bytes"] = path.stat().st_size
        print("timing ...", flush=True)
        calls = {name: partial(LOADS[name].call, path) for name in _NAMES} | {"sha256, one core": partial(hash_arrays, model)}
        found["seconds"] = measuring.in_turn(calls, options.rounds, touched=size + 256 * MIB)
        del model, calls
        found["peak_bytes"], found["second_worker_bytes"] = {}, {}
        if measuring.can_measure_memory():
            print("memory ...", flush=True)
            found["peak_bytes"] = {name: measuring.in_child(peak_of_load, name, folder) for name in _NAMES}
            found["second_worker_bytes"] = second_worker(path)
        else:
            print("memory is skipped: this system has no /proc/self/clear_refs")
    text = report(found)
    print(f"\n{text}")
    measuring.write(results, "large", found, text)


if __name__ == "__main__":
    main()
