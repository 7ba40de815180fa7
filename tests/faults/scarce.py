"""Runs operations where files, memory or room on the disk are scarce: `python -m faults.scarce FOLDER < cases` prints what came of each.

A case is an operation, what is scarce, and how much there is of it. Each runs in a fork of a process that has imported everything:

- "file size": RLIMIT_FSIZE, in thousandths of the new file. The kernel then takes a part of a write, and refuses the next, as a quota does.
- "files": RLIMIT_NOFILE, beyond those that are open.
- "memory": RLIMIT_AS, in KiB beyond what the process has.
- "room": bytes that are left on a file system of a few MiB, where FOLDER must be one.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import resource
import shutil
import sys
from collections.abc import Callable
from typing import Any, Final

import safepickle
from faults.injecting import CODES, again, ended, left, outcome
from faults.operations import KEY, LARGE_NEW, OPERATIONS, Operation, same

PAGE: Final = 4096


def _reading(name: str, call: Callable[[str], Any], expected: Any = LARGE_NEW, **options: Any) -> Operation:
    """An operation that writes nothing, and must give what it gives with everything at hand."""

    def prepare(folder: str) -> None:
        path = os.path.join(folder, "model")
        if name.startswith("adopt"):
            with open(path, "wb") as file:
                pickle.dump(expected, file)
        else:
            safepickle.dump(LARGE_NEW, path, key=KEY, **options)

    def act(folder: str) -> None:
        if not same(call(os.path.join(folder, "model")), expected):
            os._exit(CODES["wrong"])

    return Operation(name, prepare, act, lambda folder: "new", ())


READING: Final = {
    each.name: each
    for each in (
        _reading("load", lambda path: safepickle.load(path, key=KEY)),
        _reading("load of a mapped file", lambda path: safepickle.load(path, key=KEY, mmap=True)),
        _reading("load of a compressed file", lambda path: safepickle.load(path, key=KEY), compress="zlib"),
        _reading("loads", lambda path: safepickle.loads(_read(path), key=KEY)),
        _reading("verify", lambda path: safepickle.verify(path, key=KEY).authenticated, True),
        _reading("verify of a stream", lambda path: safepickle.verify(io.BytesIO(_read(path)), key=KEY).authenticated, True),
        # It has no classes for what it cannot do but a report, and "unreadable" is one.
        _reading("scan", lambda path: safepickle.scan(path).verdict in ("signed", "unreadable"), True),
        _reading("adopt", safepickle.adopt, {"a": [1.5] * 10_000, "b": "x" * 100_000}),
    )
}


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _limit(kind: str, amount: int, size: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if kind == "file size":
        resource.setrlimit(resource.RLIMIT_FSIZE, (size * amount // 1000, size * amount // 1000))
    elif kind == "files":
        # The lowest numbers are taken first, so all that are open count.
        free = os.open(os.devnull, os.O_RDONLY)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + amount, free + amount))
    elif kind == "memory":
        with open("/proc/self/statm", encoding="ascii") as file:
            held = int(file.read().split()[0]) * resource.getpagesize()
        most = held + (amount << 10)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _fill(folder: str, room: int) -> str:
    """Leave so much room on the file system of the folder, and return the file that takes the rest."""
    filler = os.path.join(os.path.dirname(folder), "filler")
    with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(PAGE)) == PAGE:
            pass
    os.truncate(filler, max(os.path.getsize(filler) - room, 0))
    return filler


def _size_of_new(operation: Operation, folder: str) -> int:
    """The size of the largest file that the operation writes."""
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder)
    operation.prepare(folder)
    operation.act(folder)
    return max((os.path.getsize(os.path.join(above, name)) for above, _, names in os.walk(folder) for name in names), default=0)


def _one(name: str, kind: str, amount: int, folder: str, sizes: dict[str, int]) -> dict[str, Any]:
    operation = (OPERATIONS | READING)[name]
    if name not in sizes:
        sizes[name] = _size_of_new(operation, folder)
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder)
    operation.prepare(folder)
    before = sorted(os.listdir(folder))
    filler = _fill(folder, amount) if kind == "room" else None
    pid = os.fork()
    if pid == 0:
        code = CODES["another"]
        try:
            null = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
            sys.stdout = null
            _limit(kind, amount, sizes[name])
            code = outcome(operation, folder)
        finally:
            os._exit(code)
    code = ended(pid)
    answer = {"code": code, "state": operation.found(folder), "left": left(folder), "before": before, "files": sorted(os.listdir(folder))}
    if filler is not None:
        os.unlink(filler)
        said = again(operation, folder)
        # A conversion that was done is not done over again.
        answer["again"] = answer["state"] if "FileExistsError" in said else said
    return answer


def _run(folder: str) -> None:
    place, sizes = os.path.join(folder, "place"), dict[str, int]()
    with contextlib.redirect_stdout(sys.stderr):
        found = [_one(name, kind, amount, place, sizes) for name, kind, amount in json.load(sys.stdin)]
    print(json.dumps(found))


if __name__ == "__main__":
    _run(sys.argv[1])
