"""Runs operations under strace, which makes one system call fail, or kills the process as it enters it.

A server (`python -m faults.injecting FOLDER`) has imported everything. For each fault it prepares a folder, forks a child, lets strace
attach to it, and only then lets it work: so what is counted are the system calls of the operation, and a fault costs some
milliseconds. A request is a line of JSON, and so is the answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from faults import environment

CHANGING: Final = [
    "creat",
    "openat",
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "fchmod",
    "fchmodat",
    "fchown",
    "fchownat",
    "close",
    "ftruncate",
    "fallocate",
    "mkdir",
    "mkdirat",
]
"""What changes files, or is the last that is heard of them."""
READING: Final = [
    "open",
    "read",
    "pread64",
    "preadv",
    "preadv2",
    "lseek",
    "fstat",
    "newfstatat",
    "statx",
    "lstat",
    "stat",
    "readlink",
    "readlinkat",
    "getcwd",
    "fcntl",
    "getdents64",
]
OTHER: Final = ["clone", "clone3", "madvise", "getrandom", "sched_getaffinity"]
ROOM: Final = frozenset(("openat", "write", "pwrite64", "fsync", "ftruncate", "fallocate", "mkdir", "linkat"))
"""What a full disk refuses."""

BEGIN, END = "/faults-begin", "/faults-end"
LEFT: Final = re.compile(r"\.safepickle-[0-9a-f]{16}\.tmp")
CODES: Final = {
    "done": 0,
    "OSError": 10,
    "SafePickleError": 11,
    "MemoryError": 12,
    "exit 1": 21,
    "exit 2": 22,
    "exit 130": 23,
    "wrong": 77,
    "another": 99,
}
_LINE: Final = re.compile(r"^(\d+) +(?:<\.\.\. )?(\w+)(\(| resumed)(.*)$")


@dataclass(frozen=True)
class Call:
    """A system call of an operation: the how many-th of its name by its thread."""

    name: str
    number: int
    worker: bool
    text: str


# --- the side of the tests -------------------------------------------------------------------------------------


class Server:
    """A process that runs operations with faults."""

    def __init__(self, folder: Path) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "faults.injecting", str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
        )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        # With the end of its input it ends.
        self._child.communicate(timeout=60)

    def run(self, operation: str, fault: str = "", *, follow: bool = True) -> dict[str, Any]:
        """Return how the operation ended, what stands in the folder, and what strace saw."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps({"operation": operation, "fault": fault, "follow": follow}) + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        assert line, "the server ended"
        answer: dict[str, Any] = json.loads(line)
        assert "broken" not in answer, answer["broken"]
        return answer


def works() -> bool:
    """Whether strace is here and may attach to a process."""
    if shutil.which("strace") is None:
        return False
    child = subprocess.run(
        ["strace", "-f", "-e", "trace=?openat", "-o", os.devnull, sys.executable, "-S", "-c", ""], capture_output=True, check=False
    )
    return child.returncode == 0


def calls(log: list[str]) -> list[Call]:
    """Return the system calls between the marks, in the order in which they were entered."""
    counts: Counter[tuple[str, str]] = Counter()
    found: list[Call] = []
    main, inside = "", False
    for line in log:
        match = _LINE.match(line)
        if match is None or match[3] != "(":
            continue
        thread, name, _, rest = match.groups()
        main = main or thread
        counts[thread, name] += 1
        if BEGIN in rest or END in rest:
            inside = BEGIN in rest
        elif inside:
            found.append(Call(name, counts[thread, name], thread != main, f"{name}({rest}"))
    return found


# --- the server ------------------------------------------------------------------------------------------------


def outcome(operation: Any, folder: str) -> int:
    """Run an operation, and return the code of how it ended."""
    from faults.operations import CommandError
    from safepickle import SafePickleError

    with contextlib.suppress(OSError):
        os.stat(BEGIN)
    try:
        operation.act(folder)
        code = CODES["done"]
    except CommandError as error:
        code = CODES.get(f"exit {error.code}", CODES["another"])
    except SafePickleError:
        code = CODES["SafePickleError"]
    except OSError:
        code = CODES["OSError"]
    except MemoryError:
        code = CODES["MemoryError"]
    except BaseException:
        code = CODES["another"]
        traceback.print_exc()
    with contextlib.suppress(OSError):
        os.stat(END)
    return code


def _child(operation: Any, folder: str, said: str, go: int, ready: int) -> None:
    """In the fork: wait until strace is there, work, and tell by the exit status how it went."""
    file = open(said, "w", 1, encoding="utf-8", errors="replace")  # noqa: SIM115
    sys.stdout = sys.stderr = file
    if hasattr(os, "sched_setaffinity"):
        # One worker, so that its system calls are the same ones each time.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    # Not by reading, which is counted; and nothing that is counted may come between this and the operation.
    waiting = select.poll()
    waiting.register(go)
    os.write(ready, b"r")
    waiting.poll()
    os._exit(outcome(operation, folder))


def _attached(pid: int, log: str, fault: str, *, follow: bool) -> subprocess.Popen[str]:
    """Start strace, and return when it has stopped the process."""
    names = ",".join(f"?{name}" for name in (*CHANGING, *READING, *OTHER))
    command = ["strace", *(["-f"] if follow else []), "-y", "-s", "0", "-o", log, "-e", f"trace={names}", "-e", "signal=none"]
    tracer = subprocess.Popen([*command, *(["-e", f"inject={fault}"] if fault else []), "-p", str(pid)], stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    line = tracer.stderr.readline()
    assert "attached" in line, line
    return tracer


def _one(request: dict[str, Any], folder: str) -> dict[str, Any]:
    from faults.operations import OPERATIONS

    operation = OPERATIONS[request["operation"]]
    place, said, log = (os.path.join(folder, name) for name in ("place", "said", "log"))
    shutil.rmtree(place, ignore_errors=True)
    os.mkdir(place)
    operation.prepare(place)
    before = sorted(os.listdir(place))
    state_before = operation.found(place)
    reader, go = os.pipe()
    told, ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        # Nothing of the server runs in the fork, whatever is raised.
        try:
            os.close(go)
            _child(operation, place, said, reader, ready)
        finally:
            os._exit(CODES["another"])
    os.close(reader)
    os.close(ready)
    os.read(told, 1)
    os.close(told)
    tracer = _attached(pid, log, request["fault"], follow=request["follow"])
    os.write(go, b"g")
    os.close(go)
    code = ended(pid)
    tracer.communicate()
    with open(log, encoding="utf-8", errors="replace") as file:
        lines = file.read().splitlines()
    if not request["follow"]:
        lines = [f"{pid} {line}" for line in lines]
    with open(said, encoding="utf-8", errors="replace") as file:
        text = file.read()
    answer = {
        "code": code,
        "before": before,
        "state before": state_before,
        "state": operation.found(place),
        "files": sorted(os.listdir(place)),
        "left": left(place),
        "said": text,
        "log": lines if not request["fault"] else [line for line in lines if "(INJECTED)" in line],
    }
    if code == -signal.SIGKILL:
        answer["again"] = again(operation, place)
        answer["left again"] = left(place)
    return answer


def ended(pid: int) -> int:
    """The exit code of the process, which has a minute: a fault that makes it hang is one of its own."""
    clock = threading.Timer(60, os.kill, (pid, signal.SIGALRM))
    clock.start()
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        clock.cancel()


def left(place: str) -> list[str]:
    """Return the temporary files below a folder."""
    return [name for _, _, names in os.walk(place) for name in names if LEFT.fullmatch(name)]


def again(operation: Any, place: str) -> str:
    """Return what the next attempt makes of what one that failed or was killed left."""
    try:
        operation.act(place)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    state: str = operation.found(place)
    return state


def _requests() -> Iterator[dict[str, Any]]:
    while line := sys.stdin.readline():
        yield json.loads(line)


def _serve(folder: str) -> None:
    # What an operation imports and caches is there before the first is counted.
    ready: set[str] = set()
    out = sys.stdout
    with open(os.path.join(folder, "messages"), "w", encoding="utf-8") as messages, contextlib.redirect_stderr(messages):
        for request in _requests():
            with contextlib.redirect_stdout(messages):
                try:
                    if request["operation"] not in ready:
                        _warm_up(request["operation"], os.path.join(folder, "warm"))
                        ready.add(request["operation"])
                    answer = _one(request, folder)
                except Exception:
                    messages.flush()
                    answer = {"broken": traceback.format_exc()}
            print(json.dumps(answer), file=out, flush=True)


def _warm_up(name: str, place: str) -> None:
    from faults.operations import OPERATIONS

    shutil.rmtree(place, ignore_errors=True)
    os.mkdir(place)
    OPERATIONS[name].prepare(place)
    OPERATIONS[name].act(place)


if __name__ == "__main__":
    _serve(sys.argv[1])
