"""Dump and load six models with safepickle and with what else there is, side by side: `python -m benchmarks`.

Every figure is the median of rounds in which all contenders take turns, on warm files, in one process. A ratio is one of
medians. Peak memory is taken in a process of its own for each. The targets are those of the design: each is marked as held
or missed. Results are written as JSON, Markdown and a chart to benchmarks/results.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import safepickle
from benchmarks import measuring
from benchmarks.contenders import DUMPS, LOADS, Contender, missing, peak_of_dump, peak_of_load, verdict
from benchmarks.models import MODELS

MIB = measuring.MIB

# Bounds of the design, ratios to pickle: of a load, of a load with mmap=True if there is one, of a dump.
_ARRAYS, _PROGRAM, _TINY = (1.3, 1.0, 1.3), (1.7, None, 1.3), (4.0, None, 4.0)
_BOUNDS = {"linear": _ARRAYS, "knn": _ARRAYS, "forest": _ARRAYS, "histgb": _PROGRAM, "tfidf": _PROGRAM, "iris": _TINY}
# Room for six files of a model, and as much for a few copies of it in memory; a third of that is what a call may take.
_ROOM = {"linear": 4096 * MIB, "knn": 1024 * MIB}
_ROOM_OF_OTHERS = 256 * MIB
_TINY_SECONDS = 0.2e-3
_SKOPS_TIMES = 5.0


def measured(name: str, folder: Path, rounds: int, only: Collection[str], *, memory: bool) -> dict[str, Any]:
    """Time one model. Returns seconds per call of every round, peaks and sizes in bytes, and what scanners said."""
    loads = {each: contender for each, contender in LOADS.items() if _takes_part(each, contender, only)}
    # What a load reads must be written, also by one who was not asked for.
    wanted = {contender.file for contender in loads.values()}
    dumps = {each: contender for each, contender in DUMPS.items() if contender.file in wanted or _takes_part(each, contender, only)}
    touched = _ROOM.get(name, _ROOM_OF_OTHERS) // 3
    dump_seconds = _dump_times(MODELS[name](), dumps, folder, rounds, touched)
    load_calls = {each: partial(contender.call, folder / contender.file) for each, contender in loads.items()}
    found: dict[str, Any] = {
        "dump_seconds": dump_seconds,
        "load_seconds": measuring.in_turn(load_calls, rounds, touched=touched),
        "file_bytes": {each: (folder / contender.file).stat().st_size for each, contender in dumps.items() if each in LOADS},
        "program_bytes": safepickle.inspect(folder / DUMPS["safepickle"].file).program_bytes,
        "verdicts": {each: said for each in loads if (said := verdict(each, folder)) is not None},
    }
    if memory:
        found["dump_peak_bytes"] = {each: measuring.in_child(peak_of_dump, each, folder) for each in dumps}
        found["load_peak_bytes"] = {each: measuring.in_child(peak_of_load, each, folder) for each in loads}
    return found


def _takes_part(name: str, contender: Contender, only: Collection[str]) -> bool:
    return (not only or name in only or name in ("pickle", "safepickle")) and missing(contender) is None


def _dump_times(model: Any, dumps: Mapping[str, Contender], folder: Path, rounds: int, touched: int) -> dict[str, list[float]]:
    def remove(name: str) -> None:
        # The old file is gone before the clock starts: giving its pages back is no part of a dump.
        (folder / dumps[name].file).unlink(missing_ok=True)

    calls = {each: partial(contender.call, model, folder / contender.file) for each, contender in dumps.items()}
    return measuring.in_turn(calls, rounds, touched=touched, before=remove)


def _checks(name: str, found: Mapping[str, Any]) -> dict[str, tuple[float, float, Callable[[float], str], bool]]:
    """Return the targets of a model: what is compared -> (figure, bound, how either is written, whether the bound is the least)."""
    load = {each: statistics.median(times) for each, times in found["load_seconds"].items()}
    dump = {each: statistics.median(times) for each, times in found["dump_seconds"].items()}
    read_bound, mmap_bound, dump_bound = _BOUNDS[name]
    checks = {"load ÷ pickle": (load["safepickle"] / load["pickle"], read_bound, _ratio, False)}
    if mmap_bound is not None and "safepickle, mmap" in load:
        checks["mmap load ÷ pickle"] = (load["safepickle, mmap"] / load["pickle"], mmap_bound, _ratio, False)
    checks["dump ÷ pickle"] = (dump["safepickle"] / dump["pickle"], dump_bound, _ratio, False)
    if "joblib" in load:
        checks["load ÷ joblib"] = (load["safepickle"] / load["joblib"], 1.0, _ratio, False)
        checks["dump ÷ joblib"] = (dump["safepickle"] / dump["joblib"], 1.0, _ratio, False)
    if "skops" in load:
        checks["skops load ÷ load"] = (load["skops"] / load["safepickle"], _SKOPS_TIMES, _ratio, True)
    if name == "iris":
        checks["load, ms"] = (load["safepickle"], _TINY_SECONDS, _milliseconds, False)
    if "load_peak_bytes" in found:
        allowed = 1.1 * found["file_bytes"]["safepickle"] + 64 * MIB
        for each in ("safepickle", "safepickle, mmap"):
            if each in load:
                what = f"peak of {'mmap ' if 'mmap' in each else ''}load, MiB"
                checks[what] = (found["load_peak_bytes"][each], allowed, _mebibytes, False)
        checks["peak of dump, MiB"] = (found["dump_peak_bytes"]["safepickle"], found["program_bytes"] + 64 * MIB, _mebibytes, False)
    return checks


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3f}" if seconds < 0.01 else f"{seconds * 1e3:,.1f}"


def _mebibytes(size: float) -> str:
    return f"{size / MIB:,.1f}"


def _targets(models: Mapping[str, Any]) -> tuple[str, int]:
    """Return the table of targets, a column for each model, and how many are missed."""
    checks = {name: _checks(name, found) for name, found in models.items()}
    whats = list(dict.fromkeys(what for each in checks.values() for what in each))
    rows, missed = [["", *models]], 0
    for what in whats:
        row = [what]
        for each in checks.values():
            if what not in each:
                row.append("")
                continue
            value, bound, written, at_least = each[what]
            holds = value >= bound if at_least else value <= bound
            missed += not holds
            row.append(f"{written(value)} {'✓' if holds else '✗'} ({'≥' if at_least else '≤'} {written(bound)})")
        rows.append(row)
    return measuring.table(rows), missed


def _figures(models: Mapping[str, Any], key: str, written: Callable[[float], str]) -> str:
    """Return a table of one kind of figure: a line for each contender, a column for each model."""
    names = list(dict.fromkeys(name for found in models.values() for name in found.get(key, ())))
    rows = [["", *models]]
    for name in names:
        values = [found[key].get(name) for found in models.values()]
        rows.append([name, *("" if value is None else written(statistics.median(value) if isinstance(value, list) else value) for value in values)])
    return measuring.table(rows)


def _load_ratios(models: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return by model and contender the median load, as a ratio to that of pickle, for the chart.

    Without a mapped load of joblib, which has read nothing when it returns: its thousandth part would leave the others no room.
    """
    medians = {model: {name: statistics.median(times) for name, times in found["load_seconds"].items()} for model, found in models.items()}
    return {
        model: {name: value / each["pickle"] for name, value in each.items() if name not in ("pickle", "joblib, mmap")}
        for model, each in medians.items()
    }


def report(found: Mapping[str, Any]) -> str:
    """Return the results as Markdown."""
    models = found["models"]
    targets, missed = _targets(models)
    verdicts = {f"- {name}, {model}: {said}" for model, each in models.items() for name, said in each["verdicts"].items()}
    sections = {
        f"Targets ({'all hold' if not missed else f'{missed} missed'})": targets,
        "Load, milliseconds": _figures(models, "load_seconds", _milliseconds),
        "Dump, milliseconds": _figures(models, "dump_seconds", _milliseconds),
        "Files, MiB": _figures(models, "file_bytes", lambda size: f"{size / MIB:,.3f}"),
    }
    if all("load_peak_bytes" in each for each in models.values()):
        sections["Memory that a load adds at its peak, MiB"] = _figures(models, "load_peak_bytes", _mebibytes)
        sections["Memory that a dump adds at its peak, MiB"] = _figures(models, "dump_peak_bytes", _mebibytes)
    if verdicts:
        sections["What scanners said of these models"] = "\n".join(sorted(verdicts)) + "\n"
    absent = [f"- {name}: {reason}" for name, reason in found["absent"].items()]
    if absent:
        sections["Not there"] = "\n".join(absent) + "\n"
    head = (
        f"# Speed\n\n{measuring.described(found['machine'])}\nMedians of rounds, {found['rounds']} of them, in which all take turns, on warm files "
        "(three rounds of what takes over five seconds); a ratio is one of medians. safepickle's dump is to an open file, as pickle's is; "
        "`path` also makes the file durable and renames it. Ahead of each block, memory is taken and given back, so that nobody waits for "
        "the host of a virtual machine to bring it. A mapped load of joblib verifies nothing and reads nothing yet.\n"
    )
    return head + "".join(f"\n## {title}\n\n{text}" for title, text in sections.items())


def main() -> None:
    """Measure, print, write."""
    parser = measuring.arguments(__doc__, rounds=7)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=None, help="(default: all; with --quick, iris)")
    parser.add_argument(
        "--only", nargs="+", choices=list(dict.fromkeys([*LOADS, *DUMPS])), default=(), help="contenders, beside pickle and safepickle"
    )
    parser.add_argument("--no-memory", action="store_true", help="do not measure peak memory")
    options = parser.parse_args()
    if options.quick:
        options.rounds = 1
    names = options.models or (["iris"] if options.quick else list(MODELS))
    memory = not options.no_memory and measuring.can_measure_memory()
    if not memory and not options.no_memory:
        print("peak memory is skipped: this system has no /proc/self/clear_refs")
    results = measuring.results_folder(options)
    absent = {name: reason for name, each in {**DUMPS, **LOADS}.items() if (reason := missing(each)) is not None}
    for name, reason in absent.items():
        print(f"{name} is skipped: {reason}")

    needed = max(_ROOM.get(name, _ROOM_OF_OTHERS) for name in names)
    with measuring.working_folder(options.folder, needed, needed) as folder:
        found: dict[str, Any] = {"machine": measuring.machine(folder), "rounds": options.rounds, "absent": absent, "models": {}}
        for name in names:
            print(f"{name} ...", flush=True)
            place = folder / name
            place.mkdir()
            found["models"][name] = measured(name, place, options.rounds, options.only, memory=memory)
            for file in place.iterdir():
                file.unlink()
    text = report(found)
    print(f"\n{text}")
    if results is not None:
        title = "load time ÷ that of plain pickle, which verifies nothing (log scale; left is faster)"
        measuring.draw("ratios", results / "speed.svg", _load_ratios(found["models"]), title)
    measuring.write(results, "speed", found, text)


if __name__ == "__main__":
    main()
