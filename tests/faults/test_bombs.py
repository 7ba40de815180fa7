"""DESIGN.md section 10, promise 4: what costs more than it is, is refused within 256 MiB and 5 seconds, whichever way it comes in.

Signed with the right key it goes to `load`, `verify` and the gate; unsigned to `adopt`, `scan` and `inspect`. `faults.bombs` says how that is
measured. The ids are those of section D of the threat research.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from faults import EVERYTHING, environment

if not hasattr(os, "fork") or not os.path.exists("/proc/self/status"):
    pytest.skip("each bomb goes off in a fork, whose memory Linux tells", allow_module_level=True)

from faults.bombs import EXPECTED, LIBRARIES, MEMORY, ROWS, SIGNED, UNSIGNED, all_bombs, ways_of

BOMBS = all_bombs()
# The cases that section D names, and what stands for them here. What is measured there by a crash or a hang is refused here.
LABELS: dict[str, tuple[str, ...]] = {
    "D1 D-mem-memo-*": ("bomb: LONG_BINPUT of 2**31 - 1", "bomb: PUT of 2**40", "attack: LONG_BINPUT with a huge index"),
    "D2 D-mem-*-declared": ("bomb: BINBYTES8 of 2**40", "bomb: BYTEARRAY8 of 2**40", "bomb: BINUNICODE8 of 2**40", "bomb: FRAME of 2**40"),
    "D3 D-mem-empty-*-flood": ("own: a flood of lists", "own: a flood of dicts", "own: a flood of sets", "bomb: flood of sets, left on the stack"),
    "D4 D-mem-*-int": ("bomb: bytearray(2**33)", "bomb: bytes(2**40)", "own: an array of 2**40 numbers in no bytes"),
    "D4 *-range": (
        "bomb: list of range",
        "bomb: set of range",
        "bomb: Counter of range",
        "own: tuple of a range",
        "own: deque of a range",
        "own: OrderedDict.fromkeys of a range",
    ),
    "D5 D-mem-str-mul": ("bomb: text times 2**40", "bomb: shift by 2**40"),
    "D5 D-alloc-*": ("own: str.join of a shared text", "own: text doubled by operator.add", "own: text doubled by operator.iadd"),
    "D6 D-mem-fraction*": ("bomb: Fraction of 1e4000000000", "bomb: int of Decimal", "own: Decimal of a huge exponent"),
    "D6 D-cpu-pow": ("bomb: pow(9, 10**9)",),
    "D7 D-cpu-tuple-dag-*": ("bomb: key of 2**46 leaves", "bomb: item of a set of 2**46 leaves", "bomb: FROZENSET of 2**46 leaves"),
    "D8 D-stack-nested-tuple-*": ("bomb: key of nested tuples", "attack: deep key", "attack: deep member of a frozenset"),
    "D9 D-stack-nested-list": ("bomb: nested lists", "attack: deep lists"),
    "D9 -dict": ("attack: deep objects",),
    "D9 -inert": ("bomb: nested tuples", "attack: deep tuples"),
    "D10 D-stack-nested-map-next": ("bomb: nested iterators",),
    "D11 D-cpu-billion-laughs-*": ("bomb: billion laughs", "own: billion laughs of tuples by the memo", "attack: exponential lists by DUP"),
    "D12 D-cpu-hash-collision-*": ("bomb: integers of one hash", "attack: colliding integers", "attack: colliding members of a set"),
    "D12 D-cpu-tuple-of-minus": ("bomb: tuples of -1 and -2", "attack: colliding tuples"),
    "D13 D-cpu-punycode": ("bomb: punycode", "attack: _codecs:encode"),
    "D13 D-mem-codecs-*": ("bomb: zlib by codec",),
    "D14 D-mem-*-bomb": ("bomb: zlib.decompress", "bomb: lzma.decompress", "own: bz2.decompress", "own: gzip.decompress"),
    "D14 F bomb": ("file: bomb, gzip of 1 GiB in 64 members", "file: bomb, gzip of gzip", "file: bomb, xz", "file: bomb, bz2", "file: zip, bomb"),
    "D15 D-cpu-re-*": ("bomb: nested groups of a pattern", "bomb: catastrophic pattern", "attack: re:_compile"),
    "D16 D-cpu-*-flood": (
        "bomb: flood of PROTO",
        "bomb: flood of FRAME",
        "bomb: flood of PUT",
        "bomb: flood of GLOBAL",
        "bomb: flood of REDUCE",
        "own: a flood of BINGET",
    ),
    "D17 D-cpu-fifo-open": ("bomb: open of a FIFO",),
    "D17 -sleep": ("bomb: sleep",),
    "D17 -deque-maxlen-count": ("bomb: endless iterator",),
    "D18 D-stack-os-exit": ("bomb: os._exit",),
    "D18 -sys-exit": ("bomb: sys.exit", "bomb: SystemExit raised"),
    "D18 -kill-self": ("bomb: os.kill", "bomb: os.abort"),
    "D19 D-stack-numpy-*": (
        "bomb: dtype with an offset beyond its size",
        "bomb: dtype of objects without their flag",
        "bomb: scalar of objects",
        "bomb: as_strided",
    ),
    "D19 -scipy-*": ("own: a sparse matrix with an index far outside",),
    "D19 -sklearn-*": ("bomb: tree with children out of range", "bomb: KDTree without its state"),
}


@pytest.mark.parametrize("label", LABELS)
def test_every_case_of_the_research_has_a_bomb_of_its_row(label: str) -> None:
    row = label.partition(" ")[0]
    assert LABELS[label]
    for name in LABELS[label]:
        assert name in BOMBS
        assert BOMBS[name].rows & ({row, "F12"} if label == "D14 F bomb" else {row}), name


def test_no_row_of_the_research_is_missing() -> None:
    assert {label.partition(" ")[0] for label in LABELS} == {f"D{number}" for number in range(1, 20)} == set(ROWS) - {"F12"}
    assert len(LABELS) == 33
    assert len(BOMBS) >= 140
    assert set(EXPECTED) == {*SIGNED, *UNSIGNED}


GROUPS = {
    "D1 to D6": ROWS[:6],
    "D7 to D12": ROWS[6:12],
    "D13 to D18": (*ROWS[12:18], "F12"),
    "D19": ("D19",),
}


@pytest.mark.parametrize("group", GROUPS)
def test_a_bomb_is_refused_within_little_memory_and_time(group: str, tmp_path: Path) -> None:
    """Unless all is run, the first of those that stand for each case of the research."""
    often = {names[0] for names in LABELS.values()}
    names = [name for name, bomb in BOMBS.items() if group_of(bomb.rows) == group and (EVERYTHING or name in often)]
    libraries = LIBRARIES if EVERYTHING or group == "D19" else ()
    command = [sys.executable, "-W", "ignore", "-m", "faults.bombs", str(tmp_path), *libraries]
    child = subprocess.run(command, input=json.dumps(names), env=environment(), capture_output=True, text=True, timeout=3000, check=False)
    assert child.returncode == 0, child.stderr[-2000:]
    found: dict[str, dict[str, Any]] = json.loads(child.stdout)
    assert [*found] == names
    assert len(names) >= 3
    assert all(found[name].keys() == ways_of(BOMBS[name]).keys() for name in names)
    wrong = {(name, way): said for name in names for way, said in found[name].items() if not said["said"].startswith(EXPECTED[way])}
    assert not wrong, "\n".join(f"{name}, {way}: {said}" for (name, way), said in wrong.items())
    went = [said for name in names for said in found[name].values()]
    most, slowest = max(each["MiB"] for each in went), max(each["seconds"] for each in went)
    print(f"{group}: {len(names)} bombs, {len(went)} ways, at most {most} MiB of {MEMORY >> 20}, and {slowest:.2f} s")


def group_of(rows: frozenset[str]) -> str:
    """The group of the first row of a bomb that is of several."""
    return next(group for group, members in GROUPS.items() if rows & {*members})


def test_every_bomb_goes_off_in_one_group() -> None:
    assert sorted(row for rows in GROUPS.values() for row in rows) == sorted(ROWS)
    assert {group_of(bomb.rows) for bomb in BOMBS.values()} == set(GROUPS)
