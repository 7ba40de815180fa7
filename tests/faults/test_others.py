"""Others at the same file, in the same process and in other processes: DESIGN.md section 10, promises 5 and 7."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from faults import EVERYTHING, TESTS, environment, python

SECONDS = 20 if EVERYTHING else 2
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are those of POSIX")

# --- a reader and a writer of one path -------------------------------------------------------------------------

RACE = """
import os, random, sys, time, numpy, safepickle
path, size, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
key = bytes(range(40))
def model(number): return {"a": numpy.full(size, float(number)), "number": number, "b": [number] * 100}
safepickle.dump(model(0), path, key=key, serial=0)
until = time.monotonic() + seconds
children = {}
def started(name, work):
    pid = os.fork()
    if pid: children[pid] = name; return
    code, count = 1, 0
    try:
        while time.monotonic() < until or count < 5: work(count); count += 1
        code = 0
    except BaseException as error:
        print(f"{name}: {type(error).__name__}: {error}", flush=True)
    os.write(2, f"{name} {count}\\n".encode())
    os._exit(code)
def whole(loaded):
    assert (loaded["a"] == float(loaded["number"])).all() and loaded["a"].shape == (size,) and loaded["b"] == [loaded["number"]] * 100
for writer in range(3):
    how = "zlib" if writer == 2 else None
    started("writer", lambda count: safepickle.dump(model(1 + writer + 3 * count), path, key=key, serial=count, compress=how))
def mapped(count):
    try:
        loaded = safepickle.load(path, key=key, mmap=True)
    except safepickle.FormatError as error:
        # Of the writer that compresses.
        assert "cannot be mapped" in str(error)
        return
    # It stays what it was, also when the path is replaced and the file is deleted.
    for _ in range(3): whole(loaded); time.sleep(0.002)
started("reader", lambda count: whole(safepickle.load(path, key=key)))
started("mapping reader", mapped)
started("verifier", lambda count: safepickle.verify(path, key=key))
started("scanner", lambda count: safepickle.scan(path).clean or 1 / 0)
print(sorted({os.waitstatus_to_exitcode(os.wait()[1]) for _ in children}), os.listdir(os.path.dirname(path)))
"""


@pytest.mark.parametrize("size", [10, 600_000], ids=["small", "large"])
def test_readers_of_a_path_that_others_replace_get_one_of_the_models_whole(size: int, tmp_path: Path) -> None:
    child = python(RACE, tmp_path / "model", size, SECONDS)
    assert child.stdout == "[0] ['model']\n", child.stdout + child.stderr
    rounds = dict(re.findall(r"^(.+) (\d+)$", child.stderr, re.MULTILINE))
    print(f"rounds while others wrote {size} numbers: {rounds}")
    assert {"writer", "reader", "mapping reader", "verifier", "scanner"} <= rounds.keys()


MAPPED = """
import os, sys, numpy, safepickle
path, what, key = sys.argv[1], sys.argv[2], bytes(range(40))
safepickle.dump(numpy.arange(1_000_000), path, key=key)
loaded = safepickle.load(path, key=key, mmap=(what != "read and truncated"))
if what == "replaced": safepickle.dump(numpy.zeros(10), path, key=key)
if what == "deleted": os.unlink(path)
if "truncated" in what: os.truncate(path, 4096)
if what == "written":
    with open(path, "r+b") as file: file.seek(-8, 2); file.write(bytes(8))
print("begin", flush=True)
print(int(loaded.sum()), flush=True)
"""
WHOLE = 499_999_500_000


@pytest.mark.parametrize(
    ("what", "says", "code"),
    [
        ("replaced", f"begin\n{WHOLE}\n", 0),
        ("deleted", f"begin\n{WHOLE}\n", 0),
        ("read and truncated", f"begin\n{WHOLE}\n", 0),
        # SECURITY.md, known limits: the docs say who may write the file while it is mapped.
        ("truncated", "begin\n", -signal.SIGBUS),
        ("written", f"begin\n{WHOLE - 999_999}\n", 0),
    ],
)
def test_what_becomes_of_arrays_when_their_file_changes(what: str, says: str, code: int, tmp_path: Path) -> None:
    """Replacing a file, as `dump` does, leaves mapped arrays as they are. Writing into it changes them, and cutting it off ends the process."""
    child = python(MAPPED, tmp_path / "model", what)
    assert (child.stdout, child.returncode) == (says, code), child.stderr


# --- threads and processes -------------------------------------------------------------------------------------

TOGETHER = """
import multiprocessing, os, sys, threading, numpy, safepickle
folder, method, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
key = bytes(range(40))
model = {"a": numpy.arange(700_000.0), "b": [1, 2.5, "x"] * 50}
def once(name):
    path = os.path.join(folder, name)
    for number in range(rounds):
        safepickle.dump(model, path, key=key, serial=number, compress=("zlib" if number % 3 == 2 else None))
        for mapped in (False, number % 3 != 2):
            loaded = safepickle.load(path, key=key, mmap=mapped, min_serial=number)
            assert numpy.array_equal(loaded["a"], model["a"]) and loaded["b"] == model["b"]
        safepickle.verify(path, key=key)
        safepickle.load(os.path.join(folder, "shared"), key=key)
    return name
def threads(count, prefix):
    done = []
    workers = [threading.Thread(target=lambda number=number: done.append(once(f"{prefix}{number}"))) for number in range(count)]
    for each in workers: each.start()
    for each in workers: each.join()
    return len(done)
if __name__ == "__main__":
    safepickle.dump(model, os.path.join(folder, "shared"), key=key)
    if method == "threads":
        print(threads(32, "t"))
    else:
        context = multiprocessing.get_context(method)
        with context.Pool(8) as pool: print(len(pool.map(once, [f"p{number}" for number in range(8)])))
    print(threading.active_count())
"""


@pytest.mark.parametrize(("method", "count"), [("threads", 32), ("fork", 8), ("spawn", 8)])
def test_many_threads_and_processes_dump_and_load_at_once(method: str, count: int, tmp_path: Path) -> None:
    script = tmp_path / "together.py"
    script.write_text(TOGETHER)
    folder = tmp_path / "models"
    folder.mkdir()
    # From a file, where what is spawned finds the function.
    command = [sys.executable, str(script), str(folder), method, "10" if EVERYTHING else "1"]
    child = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=1800, check=False)
    assert child.stdout == f"{count}\n1\n", child.stderr
    assert not [name for name in os.listdir(folder) if name.startswith(".")]


FORKED = """
import os, sys, threading, time, warnings, numpy, safepickle
warnings.simplefilter("ignore")
path, forks, key = sys.argv[1], int(sys.argv[2]), bytes(range(40))
model = numpy.arange(1_500_000)
safepickle.dump(model, path, key=key)
stop, loads = threading.Event(), []
def work():
    while not stop.is_set(): loads.append(numpy.array_equal(safepickle.load(path, key=key), model))
threads = [threading.Thread(target=work) for _ in range(2)]
for each in threads: each.start()
codes = []
for number in range(forks):
    time.sleep(0.003 * (number % 7))
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            good = numpy.array_equal(safepickle.load(path, key=key), model)
            safepickle.dump(model, f"{path}{number}", key=key)
            safepickle.verify(f"{path}{number}", key=key)
            os.unlink(f"{path}{number}")
            code = 0 if good else 2
        finally:
            os._exit(code)
    until = time.monotonic() + 60
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done: codes.append(os.waitstatus_to_exitcode(status)); break
        if time.monotonic() > until: os.kill(pid, 9); os.waitpid(pid, 0); codes.append("hangs"); break
        time.sleep(0.002)
stop.set()
for each in threads: each.join()
print(codes.count(0), set(codes), all(loads), len(loads) > 0)
"""


def test_a_fork_in_the_middle_of_the_load_of_another_thread_loads_and_dumps(tmp_path: Path) -> None:
    """The pool of threads and its locks are those of the parent; the child must not wait for them."""
    forks = 100 if EVERYTHING else 10
    child = python(FORKED, tmp_path / "model", forks, seconds=600)
    assert child.stdout == f"{forks} {{0}} True True\n", child.stdout + child.stderr


# --- no state of the process -----------------------------------------------------------------------------------

POLICIES = """
import sys, threading
sys.path.insert(0, sys.argv[1])
import mycorp, safepickle
key = bytes(range(40))
data = safepickle.dumps(mycorp.Clip(0, 1), key=key, allow=["mycorp:Clip"])
good, bad = [], []
def wide():
    for _ in range(100): good.append(type(safepickle.loads(data, key=key, allow=["mycorp:Clip"])).__name__)
def narrow():
    for _ in range(100):
        try: safepickle.loads(data, key=key)
        except safepickle.PolicyError: bad.append("refused")
threads = [threading.Thread(target=work) for work in (wide, narrow) * 4]
for each in threads: each.start()
for each in threads: each.join()
print(good == ["Clip"] * 400, bad == ["refused"] * 400)
"""


def test_two_loads_with_different_policies_at_once_each_get_their_own(tmp_path: Path) -> None:
    child = python(POLICIES, TESTS)
    assert child.stdout == "True True\n", child.stderr


# --- flags of the interpreter ----------------------------------------------------------------------------------

REFUSALS = """
import io, os, sys, warnings
from datetime import timedelta
sys.path.insert(0, sys.argv[1])
folder = sys.argv[2]
import numpy, safepickle
from assembler import KEY, Call, New, Ref, array, program, seal
from safepickle import container
warnings.simplefilter("ignore")
OTHER = safepickle.SecretKey.from_bytes(bytes(range(1, 41)))
data = safepickle.dumps([1, "x"], key=KEY, context="a/b", serial=3)
past = b"".join(container.seal(program([1]), [], safepickle.Keyring(KEY), expires=2000, now=lambda: 1000))
old = b"".join(container.seal(program([1]), [], safepickle.Keyring(KEY), libraries={"numpy": "0.1"}))
indices = {"indices": array(b"\\xff\\xff\\xff\\x7f", "<i4"), "indptr": array(bytes(4) + b"\\1\\0\\0\\0", "<i4"), "data": array(bytes(8))}
sparse = New("scipy.sparse._csr:csr_matrix", state={"_shape": (1, 1), "maxprint": 50, **indices})
def changed(at): return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
def loads(what, **more): return lambda: safepickle.loads(what, **{"key": KEY, **more})
cases = {
    "short key": lambda: safepickle.SecretKey.from_bytes(b"short"),
    "no key": loads(data, key=b"short"),
    "expired": loads(past),
    "unsigned": loads(b"\\x80\\x05]."),
    "empty": loads(b""),
    "truncated": loads(data[:-1]),
    "appended": loads(data + b"x"),
    "magic": loads(changed(0)),
    "signature": loads(changed(40)),
    "header": loads(changed(100)),
    "body": loads(changed(len(data) - 1)),
    "unknown key": loads(data, key=OTHER),
    "context": loads(data, context="a/c"),
    "serial": loads(data, min_serial=4),
    "threshold": loads(data, threshold=2),
    "program": loads(seal(b"\\x80\\x05K\\x01K\\x02.")),
    "trailing": loads(seal(program([1]) + b"N.")),
    "opcode": loads(seal(b"\\x80\\x05cos\\nsystem\\n.")),
    "buffer": loads(seal(program([1]), [b"x" * 16])),
    "limit": loads(seal(program([[[[1]]]])), limits=safepickle.Limits(nesting=2)),
    "huge integer": loads(seal(program(1 << 800_000))),
    "hostile call": loads(seal(program(Call("os:system", "touch pwned")))),
    "hostile name": loads(seal(program(Ref("builtins:eval")))),
    "arguments": loads(seal(program(Call("builtins:bytearray", 1 << 33)))),
    "state": loads(seal(program(sparse))),
    "version": loads(old, on_version_mismatch="error"),
    "lambda": lambda: safepickle.dumps(lambda: 1, key=KEY),
    "what cannot be pickled": lambda: safepickle.dumps(sys.stdout, key=KEY),
    "adopted call": lambda: safepickle.adopt(io.BytesIO(b"cos\\nsystem\\n(S'touch pwned'\\ntR.")),
    "adopted container": lambda: safepickle.adopt(io.BytesIO(data)),
    "verified": lambda: safepickle.verify(io.BytesIO(changed(len(data) - 1)), key=KEY),
    "inspected": lambda: safepickle.inspect(io.BytesIO(b"x" * 100)),
}
for name, call in cases.items():
    try:
        call()
        print(name, "is taken")
    except safepickle.SafePickleError as error:
        print(name, type(error).__name__)
print("scan", safepickle.scan(io.BytesIO(b"cos\\nsystem\\n(S'touch pwned'\\ntR.")).verdict)
safepickle.dump({"\\u00e9": [1.5]}, os.path.join(folder, "model"), key=KEY, context="\\u00fc/prod")
print(ascii(safepickle.load(os.path.join(folder, "model"), key=KEY, context="\\u00fc/prod")), os.path.exists("pwned"))
"""
FLAGS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "as usual": ((), {}),
    "-O": (("-O",), {}),
    "-OO": (("-OO",), {}),
    "-I": (("-I",), {}),
    "-X utf8=0 in C": (("-X", "utf8=0"), {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}),
    "-B -s -E": (("-B", "-s", "-E"), {}),
}
SELDOM = {"-O", "-B -s -E"}
STAGES = {
    "KeyringError",
    "FormatError",
    "UnsignedError",
    "AuthenticationError",
    "UnknownKeyError",
    "ProgramError",
    "LimitError",
    "PolicyError",
    "StateError",
}


@pytest.mark.parametrize("how", [how for how in FLAGS if EVERYTHING or how not in SELDOM])
def test_every_class_of_refusal_refuses_under_every_flag(how: str, tmp_path: Path) -> None:
    flags, more = FLAGS[how]
    child = python(REFUSALS, TESTS, tmp_path, flags=flags, env=environment(**more), cwd=tmp_path, seconds=400)
    assert child.returncode == 0, child.stderr
    *lines, scanned, last = child.stdout.splitlines()
    assert last == "{'\\xe9': [1.5]} False"
    assert scanned == "scan hostile"
    said = dict(line.rsplit(" ", 1) for line in lines)
    assert len(said) == 32
    assert not [line for line in lines if line.endswith("is taken")]
    assert STAGES | {"VersionMismatchError"} <= set(said.values()), said
