"""Little memory, few files, a full disk: what fails raises what is documented and leaves the old file; what succeeds is right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from faults import EVERYTHING, environment

if not hasattr(os, "fork") or not os.path.exists("/proc/self/statm"):
    pytest.skip("limits of processes are those of Linux here", allow_module_level=True)

from faults.injecting import CODES
from faults.operations import OPERATIONS
from faults.scarce import READING

Case = tuple[str, str, int]
WRITING = [name for name in OPERATIONS if name.startswith(("dump", "sign", "resign", "write", "convert"))]
OFTEN = WRITING if EVERYTHING else ["dump that replaces a file", "dump of many buffers", "dump that replaces a large file", "sign", "write of pins"]
DUMPS = [name for name in OFTEN if name.startswith("dump")]
STORES = [name for name in OPERATIONS if name not in READING and name != "keygen" and "large" not in name]


def run(cases: Iterable[Case], folder: Path) -> list[tuple[Case, dict[str, Any]]]:
    asked = list(cases)
    command = [sys.executable, "-W", "ignore", "-m", "faults.scarce", str(folder)]
    child = subprocess.run(command, input=json.dumps(asked), env=environment(), capture_output=True, text=True, timeout=3000, check=False)
    assert child.returncode == 0, child.stderr[-3000:]
    return list(zip(asked, json.loads(child.stdout), strict=True))


def wrong(answer: dict[str, Any], *, memory: bool = False) -> str:
    allowed = ["done", "OSError", "SafePickleError", "exit 1", "exit 2", *(["MemoryError"] if memory else [])]
    if answer["code"] not in [CODES[each] for each in allowed]:
        return f"it ended with {answer['code']}"
    if answer["left"]:
        return "temporary files are left"
    if answer["state"] not in ("old", "new"):
        return "neither old nor new"
    if answer["code"] == CODES["done"] and answer["state"] != "new":
        return "it is done, and not new"
    return "" if answer.get("again", "new") == "new" else "with room again, it stumbles"


def check(found: list[tuple[Case, dict[str, Any]]], **how: bool) -> Counter[str]:
    """Return how often what was scarce made an operation fail, and how often it did not."""
    problems = [(case, problem, answer) for case, answer in found if (problem := wrong(answer, **how))]
    assert not problems, "\n".join(map(str, problems))
    names = {code: name for name, code in CODES.items()}
    seen = Counter(names[answer["code"]] for _, answer in found)
    print(f"{len(found)} cases: {dict(seen)}")
    return seen


def test_a_quota_anywhere_within_a_file_leaves_the_old_one(tmp_path: Path) -> None:
    """The kernel takes a part of a write there, and refuses the rest."""
    parts = range(0, 1000, 20) if EVERYTHING else (0, 1, 30, 500, 999)
    found = run([(name, "file size", part) for name in OFTEN for part in parts], tmp_path)
    seen = check(found)
    assert seen["OSError"] >= 0.9 * len(found)
    assert all(answer["state"] == "old" for _, answer in found if answer["code"] == CODES["OSError"])
    assert check(run([(name, "file size", 1000) for name in OFTEN], tmp_path))["done"] >= len(OFTEN) - 1


def test_few_open_files_leave_the_old_file(tmp_path: Path) -> None:
    names = [*OFTEN, *(READING if EVERYTHING else ("load", "verify", "scan"))]
    seen = check(run([(name, "files", more) for name in names for more in range(5)], tmp_path))
    assert seen["OSError"] >= len(names)
    assert seen["done"] >= len(names)


@pytest.mark.parametrize("kind", ["writing", "reading"])
def test_little_memory_is_an_error_and_no_crash_hang_or_wrong_result(kind: str, tmp_path: Path) -> None:
    """From nothing beyond what the process has, upward until it suffices."""
    names = DUMPS if kind == "writing" else [*READING] if EVERYTHING else ["load", "load of a compressed file", "verify of a stream", "scan"]
    steps = range(0, 160_000, 1500) if EVERYTHING else (0, 300, 2000, 5500, 9000, 14_000, 30_000, 75_000, 200_000)
    seen = check(run([(name, "memory", step) for name in names for step in steps], tmp_path), memory=True)
    # A dump copies no arrays, and does without threads where there is no room for them: it takes next to nothing.
    assert seen["MemoryError"] + seen["SafePickleError"] >= (3 if kind == "reading" else 0)
    assert seen["done"] >= len(names)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_leaves_the_old_files_and_room_makes_it_go_on() -> None:
    """Of a file system of 1 MiB, with so many bytes left."""
    with tempfile.TemporaryDirectory() as folder:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False)
        if mounted.returncode:
            pytest.skip("mounting is not allowed here")
        try:
            rooms = range(0, 16 * 4096, 4096) if EVERYTHING else (0, 4096, 3 * 4096)
            names = STORES if EVERYTHING else ["dump that replaces a file", "dump of many buffers", "sign", "write of pins", "lock", "convert"]
            seen = check(run([(name, "room", room) for name in names for room in rooms], Path(folder)))
            assert seen["OSError"] + seen["exit 1"] + seen["exit 2"] >= len(names)
            assert seen["done"] >= 1
        finally:
            subprocess.run(["umount", folder], check=True)
