"""How the time of a load grows with the size of the model, and with the operations of its program: `python -m benchmarks.scaling`.

The exponent is the slope of a straight line through the points, both axes logarithmic: 1 is linear, less means that a fixed
cost still shows, more would be a flaw. The steepest step between two neighbours is told too, since a line can hide it.
"""

from __future__ import annotations

import pickle
import pickletools
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measuring
from benchmarks.contenders import DUMPS, LOADS

MIB = measuring.MIB
_SIZES = [4**power * MIB for power in range(7)]
_OPERATIONS = [10**power for power in range(3, 8)]
# An operation takes less than this, in the file and in memory, as an object and while it is loaded; measured, and rounded up.
_OPERATION_BYTES = 200
_NAMES = {"size": "bytes of arrays", "operations": "operations of the program"}


def arrays(size: int) -> dict[str, Any]:
    """Return four arrays of random numbers, `size` bytes together."""
    rng = np.random.default_rng(0)
    return {f"coef_{number}": rng.random(size // 4 // 8) for number in range(4)}


def records(number: int) -> list[Any]:
    """Return so many dicts of a number, a string, a float and a pair: what a program is made of where it is not arrays."""
    return [{"id": each, "name": f"term{each}", "weight": each / 7, "pair": (each, f"pair{each}")} for each in range(number)]


def of_operations(number: int) -> list[Any]:
    """Return records whose pickle has about so many operations."""
    fewer, more = (sum(1 for _ in pickletools.genops(pickle.dumps(records(each), protocol=5))) for each in (1_000, 2_000))
    return records(max(1, round(number * 1_000 / (more - fewer))))


def exponent(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the slope of the line fitted to log(seconds) over log(size), and the steepest slope between two neighbours."""
    x, y = np.log(np.array(points)).T
    return float(np.polyfit(x, y, 1)[0]), float((np.diff(y) / np.diff(x)).max())


def loads(make: Callable[[int], Any], amount: int, names: Sequence[str], folder: Path, rounds: int, touched: int) -> dict[str, list[float]]:
    """Write an object of that size and return the seconds of each load, by contender."""
    obj = make(amount)
    for file in {LOADS[name].file for name in names}:
        next(each for each in DUMPS.values() if each.file == file).call(obj, folder / file)
    del obj
    times = measuring.in_turn({name: partial(LOADS[name].call, folder / LOADS[name].file) for name in names}, rounds, touched=touched)
    for file in folder.iterdir():
        file.unlink()
    return times


def _points(found: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, list[tuple[float, float]]]:
    """Return by contender the points (amount, median seconds)."""
    points: dict[str, list[tuple[float, float]]] = {}
    for amount, times in found.items():
        for name, each in times.items():
            points.setdefault(name, []).append((float(amount), statistics.median(each)))
    return points


def report(found: Mapping[str, Any]) -> str:
    """Return the results as Markdown."""
    text = f"# Load time over size\n\n{measuring.described(found['machine'])}\nMilliseconds, medians of {found['rounds']} rounds.\n"
    for kind, what in _NAMES.items():
        points = _points(found[kind])
        rows = [[what, *points]]
        for at, amount in enumerate(found[kind]):
            rows.append([f"{int(amount):,}", *(f"{each[at][1] * 1e3:,.2f}" for each in points.values())])
        fits = [exponent(each) for each in points.values()]
        rows.append(["exponent", *(f"{fit:.2f}" for fit, _ in fits)])
        rows.append(["steepest step", *(f"{step:.2f}" for _, step in fits)])
        text += f"\n{measuring.table(rows)}"
    return text + "".join(f"\nSkipped: {each}\n" for each in found["skipped"])


def main() -> None:
    """Measure, print, write."""
    parser = measuring.arguments(__doc__, rounds=5)
    parser.add_argument("--max-mib", type=int, default=4096, help="the largest arrays, in MiB (default: %(default)s)")
    options = parser.parse_args()
    sizes, operations = [each for each in _SIZES if each <= options.max_mib * MIB], _OPERATIONS
    if options.quick:
        options.rounds, sizes, operations = 1, _SIZES[:2], _OPERATIONS[:2]
    results = measuring.results_folder(options)
    with measuring.working_folder(options.folder, 64 * MIB, 256 * MIB) as folder:
        found: dict[str, Any] = {"machine": measuring.machine(folder), "rounds": options.rounds, "size": {}, "operations": {}, "skipped": []}
        for kind, amounts, make, names, unit in (
            ("size", sizes, arrays, ("safepickle", "safepickle, mmap", "pickle"), 1),
            ("operations", operations, of_operations, ("safepickle", "pickle"), _OPERATION_BYTES),
        ):
            for amount in amounts:
                # Two files, the object while they are written, and then what was loaded.
                if not measuring.fits(folder, 2 * amount * unit, 2 * amount * unit):
                    found["skipped"].append(f"{amount:,} {_NAMES[kind]}: too little room in {folder.parent} or in memory")
                    print(f"skipped: {found['skipped'][-1]}")
                    continue
                print(f"{amount:,} {_NAMES[kind]} ...", flush=True)
                found[kind][str(amount)] = loads(make, amount, names, folder, options.rounds, 2 * amount * unit)
    text = report(found)
    print(f"\n{text}")
    if results is not None:
        panels = {_NAMES[kind]: _points(found[kind]) for kind in _NAMES}
        measuring.draw("lines", results / "scaling.svg", panels, "seconds of a load")
    measuring.write(results, "scaling", found, text)


if __name__ == "__main__":
    main()
