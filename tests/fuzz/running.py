"""Runs targets in processes of their own, one after the other, and keeps what they find."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fuzz import FOLDER, TARGETS, inputs, target

MEGABYTES = 3000
# On a clock, so only for what does not end; `driving` counts CPU time.
SECONDS_EACH = 600
# An input to keep is small enough for a repository.
MOST_BYTES_KEPT = 90_000
_MEMORY = "/dev/shm"
_STATUS = re.compile(r"#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+) corp: (\d+)")


@dataclass(frozen=True, slots=True)
class Result:
    target: str
    seconds: float
    runs: int
    cov: int
    ft: int
    corpus: int
    crashes: tuple[str, ...]


def fuzz(name: str, seconds: int, work: Path, jobs: int = 1, *, runs: int | None = None, seed: int | None = None) -> Result:
    """Run one target for so many seconds, or so many runs. What it found stays in `work`, from which the next run goes on."""
    grown, crashes = work / f"fuzz-corpus-{name}", work / "fuzz-crashes"
    for folder in (grown, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={seconds}", *([] if runs is None else [f"-runs={runs}"]), *([] if seed is None else [f"-seed={seed}"])]
    options += ["-print_final_stats=1", *(["-ignore_crashes=1", f"-fork={jobs}"] if jobs > 1 else [])]
    before = set(crashes.iterdir())
    started = time.monotonic()
    done = run(name, options, crashes, grown, *kept(name))
    seconds_taken = time.monotonic() - started
    (work / f"fuzz-{name}.log").write_text(done.stdout, "utf-8")
    # Others may use the folder too, and an input that took long on a busy machine shows no fault.
    new = sorted(path for path in set(crashes.glob(f"{name}-*")) - before if path.suffix != ".txt" and "slow-unit" not in path.name)
    found = tuple(map(str, new))
    status = [tuple(map(int, each)) for each in _STATUS.findall(done.stdout)] or [(0, 0, 0, 0)]
    if done.returncode and not found:
        raise SystemExit(f"{name} did not run (status {done.returncode}):\n{done.stdout[-3000:]}")
    for each in found:
        _, mark, told = done.stdout.partition("=== Uncaught Python exception: ===")
        told = told.partition("\n==")[0] if mark else done.stdout[-2000:]
        Path(each).with_suffix(".txt").write_text(f"python -m tests.fuzz {name} --replay {each}\n\n{told.strip()}\n", "utf-8")
    runs, cov, ft, corpus = status[-1]
    return Result(name, seconds_taken, runs, cov, ft, corpus, found)


def run(name: str, options: Sequence[str], crashes: Path, *folders: Path) -> subprocess.CompletedProcess[str]:
    words = FOLDER / f"{name}.dict"
    command = [sys.executable, "-W", "ignore", "-m", "fuzz.driving", name]
    more = [f"-rss_limit_mb={MEGABYTES}", f"-timeout={SECONDS_EACH}", f"-report_slow_units={SECONDS_EACH}", f"-artifact_prefix={crashes}/{name}-"]
    more += [f"-dict={words}"] if words.exists() else []
    path = os.pathsep.join([str(FOLDER.parent), str(FOLDER.parents[1])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    # The targets write the files that they read: in memory, where there is such a place.
    memory = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory(dir=memory) as files:
        program = Path(folder) / "program"
        program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', "utf-8")
        program.chmod(0o700)
        return subprocess.run(
            [*command, *more, *options, *map(str, folders)],
            env={**environment, "TMPDIR": files, "FUZZ_PROGRAM": str(program)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
            check=False,
        )


def kept(name: str) -> list[Path]:
    return [folder for kind in ("seeds", "regressions") if (folder := FOLDER / kind / name).is_dir()]


def merge(name: str, work: Path) -> tuple[int, int]:
    """Replace the seeds of a target by the smallest inputs with the same coverage as all that were found, up to what is kept."""
    with tempfile.TemporaryDirectory() as folder:
        merged = Path(folder) / "merged"
        merged.mkdir()
        (work / f"fuzz-corpus-{name}").mkdir(parents=True, exist_ok=True)
        done = run(name, ["-set_cover_merge=1"], Path(folder), merged, *kept(name)[:1], work / f"fuzz-corpus-{name}")
        if done.returncode or not any(merged.iterdir()):
            raise SystemExit(f"{name} was not merged:\n{done.stdout[-3000:]}")
        found = sorted((path.read_bytes() for path in merged.iterdir()), key=lambda data: (len(data), data))
    write_seeds(name, found)
    return len(found), len(list((FOLDER / "seeds" / name).iterdir()))


def write_seeds(name: str, found: Sequence[bytes]) -> None:
    """Write inputs as the seeds of a target: as many of the smallest ones as there is room for, each under its digest."""
    folder = FOLDER / "seeds" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    left = MOST_BYTES_KEPT
    for data in found:
        left -= len(data)
        if left < 0:
            break
        (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def seconds_until(text: str) -> int:
    """Return the seconds until the clock next shows this time. Raises ValueError where the text is none."""
    then, now = time.strptime(text, "%H:%M"), time.localtime()
    return (3600 * (then.tm_hour - now.tm_hour) + 60 * (then.tm_min - now.tm_min) - now.tm_sec) % (24 * 3600)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz safepickle with atheris.")
    parser.add_argument("targets", nargs="+", metavar="TARGET", choices=[*TARGETS, "all"], help=f"{', '.join(TARGETS)}, or all")
    parser.add_argument("--seconds", type=int, default=30, help="for each target (default: 30)")
    parser.add_argument("--runs", type=int, help="stop a target after so many runs, if its time has not ended before")
    parser.add_argument("--seed", type=int, help="what makes the same inputs again, from the same corpus (default: another one each time)")
    parser.add_argument("--rounds", type=int, default=1, help="how often all of them (default: 1)")
    parser.add_argument("--until", metavar="HH:MM", type=seconds_until, default=0, help="go on with rounds until it is next so late")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once for one target (default: 1)")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="where corpora grow and faults are kept",
    )
    parser.add_argument("--replay", type=Path, nargs="+", metavar="FILE", help="run these inputs once, without atheris")
    parser.add_argument("--merge", action="store_true", help="make the seeds anew out of what was found, and stop")
    parser.add_argument("--first", action="store_true", help="write the first seeds of targets that have none, and stop")
    options = parser.parse_args(arguments)
    names = list(dict.fromkeys(TARGETS if "all" in options.targets else options.targets))
    if options.replay:
        for name in names:
            for path in options.replay:
                target(name)(path.read_bytes())
                print(f"{name}: {path} is as it should be")
        return 0
    if options.first:
        for name in names:
            target(name)
            made = sorted(set(sys.modules[f"fuzz.targets.{name}"].seeds()), key=lambda data: (len(data), data))
            write_seeds(name, made)
            print(f"{name}: {len(inputs(name))} of {len(made)} first seeds")
        return 0
    if options.merge:
        for name in names:
            print("{}: {} inputs, {} kept".format(name, *merge(name, options.work)))
        return 0
    return rounds(names, options)


def rounds(names: Sequence[str], options: argparse.Namespace) -> int:
    crashed = False
    number = 0
    ends = time.monotonic() + options.until
    while number < options.rounds or time.monotonic() < ends:
        number += 1
        for name in names:
            found = fuzz(name, options.seconds, options.work, options.jobs, runs=options.runs, seed=options.seed)
            print(f"{name}: {found.runs} runs in {found.seconds:.0f} s, cov {found.cov}, ft {found.ft}, {found.corpus} inputs", flush=True)
            with (options.work / "fuzz-results.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(found)) + "\n")
            for each in found.crashes:
                crashed = True
                print(f"{name}: a fault: {Path(each).with_suffix('.txt').read_text('utf-8')}", flush=True)
    return 1 if crashed else 0
