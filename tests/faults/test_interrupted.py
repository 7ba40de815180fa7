"""What reads and writes less than it was asked to, what has nothing to give yet, and interrupts at any moment."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest

import safepickle
from faults import EVERYTHING, python
from safepickle import SecretKey

KEY = SecretKey.from_bytes(bytes(range(40)))
MODELS: dict[str, Any] = {"small": {"a": [1, 2.5, "x"]}, "arrays": {"a": numpy.arange(4000), "b": numpy.ones((3, 700))}}
COMPRESSED = {"plain": None, "compressed": "zlib"}


def same(one: Any, other: Any) -> bool:
    return pickle.dumps(one) == pickle.dumps(other)


# --- files that give and take a part ---------------------------------------------------------------------------


class Dribble(io.RawIOBase):
    """A raw file that gives and takes at most so many bytes at a time, and asks for patience in between."""

    def __init__(self, data: bytes = b"", most: int = 1) -> None:
        self.data, self.at, self.most, self.taken = data, 0, most, bytearray()

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self.most, len(self.data) - self.at)
        buffer[:count] = self.data[self.at : self.at + count]
        self.at += count
        return count

    def write(self, data: Any) -> int:
        count = min(len(data), self.most)
        self.taken += bytes(data[:count])
        return count


class OnlyRead:
    """`read` alone, which gives less than it was asked for."""

    def __init__(self, data: bytes, most: int) -> None:
        self._file, self._most = io.BytesIO(data), most

    def read(self, count: int) -> bytes:
        return self._file.read(min(count, self._most))


READERS: dict[str, Callable[[bytes, int], Any]] = {
    "raw": Dribble,
    "buffered": lambda data, most: io.BufferedReader(Dribble(data, most), 16),
    "only read()": OnlyRead,
}


@pytest.mark.parametrize("most", [1, 7, 1000])
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("how", COMPRESSED)
def test_files_that_give_a_part_at_a_time_are_read_whole(how: str, reader: str, most: int) -> None:
    for model in MODELS.values():
        data = safepickle.dumps(model, key=KEY, compress=COMPRESSED[how])
        give = READERS[reader]
        assert same(safepickle.load(give(data, most), key=KEY), model)
        assert safepickle.verify(give(data, most), key=KEY).authenticated
        assert not safepickle.inspect(give(data, most)).authenticated
        assert safepickle.scan(give(data, most)).clean
        assert same(safepickle.adopt(give(pickle.dumps(model), most)), model)
        for cut in (1, len(data) // 2, len(data) - 1):
            with pytest.raises(safepickle.FormatError):
                safepickle.load(give(data[:cut], most), key=KEY)


@pytest.mark.parametrize("most", [1, 1000])
@pytest.mark.parametrize("how", COMPRESSED)
def test_files_that_take_a_part_at_a_time_are_written_whole(how: str, most: int) -> None:
    for model in MODELS.values():
        file = Dribble(most=most)
        safepickle.dump(model, file, key=KEY, compress=COMPRESSED[how])
        assert same(safepickle.loads(bytes(file.taken), key=KEY), model)


class Unready(Dribble):
    """The `fails_at`-th time it is asked it has nothing, by returning None or by raising."""

    def __init__(self, data: bytes, fails_at: int, how: type[Exception] | None) -> None:
        super().__init__(data, 100)
        self.left, self.how = fails_at, how

    def _asked(self) -> bool:
        self.left -= 1
        if self.left == 0 and self.how is not None:
            raise self.how(11, "not now")
        return self.left != 0

    def readinto(self, buffer: Any) -> Any:
        return super().readinto(buffer) if self._asked() else None

    def write(self, data: Any) -> Any:
        return super().write(data) if self._asked() else None


@pytest.mark.parametrize("fails_at", [1, 2, 3, 10])
@pytest.mark.parametrize("how", [None, BlockingIOError, InterruptedError, TimeoutError, ConnectionResetError])
def test_a_file_that_has_nothing_yet_is_an_os_error_and_no_end(how: type[OSError] | None, fails_at: int) -> None:
    """Taken for an end it would be a truncated file, and somebody would fetch a good one again."""
    data = safepickle.dumps(MODELS["arrays"], key=KEY)
    expected = how or BlockingIOError
    calls: list[Callable[[Any], Any]] = [
        lambda file: safepickle.load(file, key=KEY),
        lambda file: safepickle.verify(file, key=KEY),
        safepickle.scan,
        lambda file: safepickle.dump(MODELS["arrays"], file, key=KEY),
    ]
    if fails_at == 1:
        calls.append(safepickle.inspect)
    for call in calls:
        with pytest.raises(expected) as caught:
            call(Unready(data, fails_at, how))
        assert type(caught.value) is expected


@contextlib.contextmanager
def slowly(data: bytes, send: Callable[[bytes], Any], close: Callable[[], Any], piece: int) -> Iterator[None]:
    """In a thread: write the data piece by piece, with waiting in between, and close."""

    def work() -> None:
        for at in range(0, len(data), piece):
            send(data[at : at + piece])
            if at % (8 * piece) == 0:
                time.sleep(0.002)
        close()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join()


@pytest.mark.parametrize("how", COMPRESSED)
@pytest.mark.parametrize("kind", ["pipe", "raw pipe", "socket"])
def test_slow_pipes_and_sockets_are_read_whole(kind: str, how: str) -> None:
    for model in MODELS.values():
        data = safepickle.dumps(model, key=KEY, compress=COMPRESSED[how])
        if kind == "socket":
            ours, theirs = socket.socketpair()
            with ours, theirs, ours.makefile("rb") as file, slowly(data, theirs.sendall, lambda s=theirs: s.shutdown(socket.SHUT_WR), 313):
                assert same(safepickle.load(file, key=KEY), model)
        else:
            reader, writer = os.pipe()
            with (
                open(reader, "rb", buffering=0 if kind == "raw pipe" else -1) as file,
                slowly(data, lambda piece, w=writer: os.write(w, piece), lambda w=writer: os.close(w), 313),
            ):
                assert same(safepickle.load(file, key=KEY), model)


def test_a_pipe_that_does_not_block_is_told() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with open(reader, "rb", buffering=0) as file, open(writer, "wb", buffering=0) as end:
        end.write(safepickle.dumps([1], key=KEY)[:100])
        with pytest.raises(BlockingIOError, match="non-blocking mode"):
            safepickle.load(file, key=KEY)


# --- signals ---------------------------------------------------------------------------------------------------

ALARMS = """
import os, signal, sys, numpy, safepickle
key, path = bytes(range(40)), sys.argv[1]
model = {"a": numpy.arange(1_500_000), "b": [1] * 50_000}
seen = []
signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
signal.siginterrupt(signal.SIGALRM, True)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
for number in range(int(sys.argv[2])):
    compress = ("zlib", None)[number % 2]
    safepickle.dump(model, path, key=key, compress=compress)
    for mapped in (False, True)[: 1 + (compress is None)]:
        loaded = safepickle.load(path, key=key, mmap=mapped)
        assert numpy.array_equal(loaded["a"], model["a"]) and loaded["b"] == model["b"]
    safepickle.verify(path, key=key)
    reader, writer = os.pipe()
    if os.fork() == 0:
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.close(reader)
        with open(writer, "wb", buffering=0) as end: safepickle.dump(model, end, key=key)
        os._exit(0)
    os.close(writer)
    with open(reader, "rb", buffering=0) as file:
        assert numpy.array_equal(safepickle.load(file, key=key)["a"], model["a"])
    os.wait()
signal.setitimer(signal.ITIMER_REAL, 0)
print("whole", len(seen) > 20)
"""


def test_a_timer_that_rings_all_the_time_changes_nothing(tmp_path: Path) -> None:
    """Each interrupts a system call (EINTR), and runs Python code in between."""
    child = python(ALARMS, tmp_path / "model", 20 if EVERYTHING else 2, flags=("-W", "ignore"), seconds=300)
    assert child.stdout == "whole True\n", child.stderr


INTERRUPTS = """
import os, re, shutil, sys, threading, types
import numpy, safepickle
from safepickle import chunks, container, files
import contextlib, dis, functools, random
what, folder, size, step = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
key, path = bytes(range(40)), os.path.join(folder, "model")
old, new = {"a": numpy.full(size, 1.0)}, {"a": numpy.full(size, 2.0)}
watched = {module.__file__ for module in (files, container, chunks)}
# Python 3.12 heeds what a frame asks for from the next settrace() on.
sys._getframe().f_trace_opcodes = True
codes = {id(code) for code in (contextlib._GeneratorContextManager.__enter__.__code__, contextlib._GeneratorContextManager.__exit__.__code__)}
count = stop = 0

@functools.cache
def points(code):
    # Where CPython looks for signals: after calls, when a function begins or goes on, and on the way back in loops.
    listed = list(dis.get_instructions(code))
    return {after.offset for before, after in zip(listed, listed[1:]) if before.opname.startswith(("CALL", "RESUME", "JUMP_BACKWARD"))}

def trace(frame, event, argument):
    global count
    if frame.f_code.co_filename not in watched and id(frame.f_code) not in codes:
        return None
    frame.f_trace_opcodes = True
    if event == "opcode" and frame.f_lasti in points(frame.f_code):
        count += 1
        if count == stop:
            raise KeyboardInterrupt
    return trace

def run():
    if what == "dump": safepickle.dump(new, path, key=key)
    elif what == "resign": safepickle.resign(path, key=key, signed_by=key)
    elif what == "load": safepickle.load(path, key=key)
    elif what == "mapped": safepickle.load(path, key=key, mmap=True)
    else: safepickle.verify(path, key=key)

def interrupted(at):
    global count, stop
    count, stop = 0, at
    sys.settrace(trace)
    try:
        run()
    except KeyboardInterrupt:
        return "interrupted"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    finally:
        sys.settrace(None)
    return "done"

safepickle.dump(old, path, key=key)
whole = {}
for value in (old, new):
    safepickle.dump(value, path, key=key)
    whole[float(value["a"][0])] = True
safepickle.dump(old, path, key=key)
run()
interrupted(0)
total, done, wrong, leaks = count, 0, [], 0
first = len(os.listdir("/proc/self/fd"))
order = random.Random(1)
for at in range(1, total + 1, step):
    at = min(total, at + order.randrange(step))
    safepickle.dump(old, path, key=key)
    held = len(os.listdir("/proc/self/fd"))
    said = interrupted(at)
    done += said == "interrupted"
    # A generator that waits for its end gets it here.
    problem = "" if said in ("interrupted", "done") else said
    if sorted(os.listdir(folder)) != ["model"]:
        problem += f" files {sorted(os.listdir(folder))}"
        for name in os.listdir(folder):
            if name != "model": os.unlink(os.path.join(folder, name))
    loaded = safepickle.load(path, key=key)["a"]
    if loaded.shape != (size,) or not (loaded == loaded[0]).all() or float(loaded[0]) not in whole: problem += " neither old nor new"
    if threading.active_count() != 1: problem += f" {threading.active_count()} threads"
    leaks += len(os.listdir("/proc/self/fd")) > held
    if problem: wrong.append(f"{at} of {total}: {problem}")
print(total > 100, done, leaks)
print(wrong)
"""
WHATS = ["dump", "resign", "load", "mapped", "verify"]


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="counts open files as Linux tells them")
@pytest.mark.parametrize("size", [1000, 700_000], ids=["small", "large"])
@pytest.mark.parametrize("what", WHATS)
def test_an_interrupt_at_any_instruction_leaves_nothing_partial(what: str, size: int, tmp_path: Path) -> None:
    """The KeyboardInterrupt of a signal handler comes where CPython looks for signals; here it comes at each such place."""
    # Of a small dump all: one of them is between the making of its temporary file and the next instruction.
    step = 1 if EVERYTHING or (what, size) == ("dump", 1000) else 9 if size == 1000 else 40
    child = python(INTERRUPTS, what, tmp_path, size, step, flags=("-W", "ignore"), seconds=900)
    lines = child.stdout.splitlines()
    assert len(lines) == 2, child.stderr
    enough, done, leaks = lines[0].split()
    print(f"interrupts of {what}, {size} numbers: {done}, of which left a file open: {leaks}")
    assert enough == "True"
    assert int(done) >= 10
    assert lines[1] == "[]"
