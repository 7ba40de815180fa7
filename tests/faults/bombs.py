"""Files that cost more than they are, and what each way in makes of them within limits of memory and processor time.

`python -m faults.bombs FOLDER LIBRARIES < ids` forks once for each bomb and way. The fork may take 256 MiB of address space beyond what it begins
with, when the libraries are imported and one benign file went each way, and 5 seconds of processor time. It prints what came of each.

The limits are those of the kernel: RLIMIT_AS counts what is asked for, also if it is never touched, and RLIMIT_CPU counts what was
computed, not the time that passed. A machine that is slow, or shared, gets more seconds by as much as it needs for a fixed sum.
"""

from __future__ import annotations

import bz2
import contextlib
import importlib
import io
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from assembler import KEY, Asm, Call, Do, Get, Let, New, Ref, array, op, program, seal
from hostile import files, streams
from pace import allowed

import safepickle
from faults import EVERYTHING
from safepickle import SafePickleError
from safepickle.cli import main

MEMORY: Final = 256 << 20
SECONDS: Final = 5
LIBRARIES: Final = ("numpy", "scipy.stats", "scipy.sparse", "sklearn.tree", "sklearn.neighbors", "sklearn.preprocessing", "pandas", "joblib")


@dataclass(frozen=True)
class Bomb:
    rows: frozenset[str]
    """Rows of the threat research, D1 to D19; F12 is its row of bombs in archives."""
    make: Callable[[], bytes] = field(repr=False)
    buffers: tuple[bytes, ...] = ()
    packed: bool = False
    """An archive: it holds no program that could be signed."""
    late: bool = False
    """The policy admits the program, and only its state is refused, at which neither the gate nor a scan looks."""
    strict: bool = False
    """Harmless in the form of old pickles: only signed programs may not have it."""


# --- what the corpora do not have ------------------------------------------------------------------------------

FLOOD: Final = 100_000
# A name that is asked for again and again, so that what it makes doubles each time.
_DOUBLED: Final = 60


def _flood(opcode: str) -> Callable[[], bytes]:
    """So many empty ones in one list that costs a byte each; then a name that no policy has, since they alone cost too little to be refused."""
    return lambda: program([Do(lambda s: s.op("EMPTY_LIST", "MARK").raw(op(opcode) * FLOOD).op("APPENDS")), Ref("os:system")])


def _doubled(callee: str) -> Callable[[], bytes]:
    def emit(asm: Asm) -> None:
        asm.push("ha").let("0")
        for level in range(_DOUBLED):
            asm.push(Call(callee, Get(str(level)), Get(str(level)))).let(str(level + 1))

    return lambda: program(Do(emit))


def _laughs() -> bytes:
    """Tuples of ten times the tuple before, by the memo and in the form that CPython writes."""

    def emit(asm: Asm) -> None:
        asm.push(("ha", "ha")).let("0")
        for level in range(40):
            asm.op("MARK")
            for _ in range(10):
                asm.get(str(level))
            asm.op("TUPLE").let(str(level + 1))

    return program(Do(emit))


def _scalers(asm: Asm) -> None:
    asm.push(Ref("sklearn.preprocessing._data:StandardScaler")).let("c").raw((op("EMPTY_TUPLE") + op("NEWOBJ") + op("BINGET", 0)) * FLOOD)


def _once(value: Any) -> Callable[[], bytes]:
    return lambda: program(value)


def _csr() -> New:
    """A sparse matrix whose indices lie far outside."""
    indices = {"indices": array(b"\xff\xff\xff\x7f", "<i4"), "indptr": array(bytes(4) + b"\1\0\0\0", "<i4"), "data": array(bytes(8))}
    return New("scipy.sparse._csr:csr_matrix", state={"_shape": (1, 1), "maxprint": 50, **indices})


OWN: Final[dict[str, tuple[str, Callable[[], bytes]]]] = {
    "a flood of lists": ("D3", _flood("EMPTY_LIST")),
    "a flood of dicts": ("D3", _flood("EMPTY_DICT")),
    "a flood of sets": ("D3", _flood("EMPTY_SET")),
    "tuple of a range": ("D4", _once(Call("builtins:tuple", Call("builtins:range", 1 << 40)))),
    "deque of a range": ("D4", _once(Call("collections:deque", Call("builtins:range", 1 << 40)))),
    "OrderedDict.fromkeys of a range": ("D4", _once(Call("collections:OrderedDict.fromkeys", Call("builtins:range", 1 << 40)))),
    "an array of 2**40 numbers in no bytes": ("D4", _once(array(b"", shape=(1 << 40,)))),
    "an array of 2**40 numbers of no size": ("D4", _once(array(b"", "|V0", shape=(1 << 40,)))),
    "str.join of a shared text": ("D5", _once([Let("t", "x" * 60_000), Call("builtins:str.join", Get("t"), [Get("t")] * 60_000)])),
    "text doubled by operator.add": ("D5", _doubled("operator:add")),
    "text doubled by operator.iadd": ("D5", _doubled("operator:iadd")),
    "text doubled by operator.concat": ("D5", _doubled("operator:concat")),
    "Decimal of a huge exponent": ("D6", _once(Call("decimal:Decimal", "1e999999999999999999"))),
    "billion laughs of tuples by the memo": ("D11", _laughs),
    "bz2.decompress": ("D14", lambda: program(Call("bz2:decompress", bz2.compress(bytes(1 << 26))))),
    "gzip.decompress": ("D14", _once(Call("gzip:decompress", b"\x1f\x8b"))),
    "a flood of BINGET": ("D16", lambda: Asm().op("NONE").let("0").raw((op("BINGET", 0) + op("TUPLE1")) * FLOOD).program()),
    "a flood of EMPTY_TUPLE and NEWOBJ": ("D16", lambda: program([Do(_scalers)])),
    "a sparse matrix with an index far outside": ("D19", _once(_csr())),
}


STRICT: Final = frozenset(("DUP", "PUT", "exponential lists by DUP"))
"""One list within itself, and one number in the memo."""


def _hostile(case: Any) -> Bomb:
    rows = frozenset(rule.partition(" ")[0] for rule in case.rules)
    return Bomb(rows, lambda: case.make(Path("/nonexistent/marker")), packed=case in files.CASES)


def all_bombs() -> dict[str, Bomb]:
    """Return every bomb of the hostile corpus, of the attacks with the right key, and of this file, the same in every process."""
    from attacks.test_hostile_programs import ATTACKS

    found = {case.id: _hostile(case) for case in (*streams.CASES, *files.CASES)}
    for name, attack in ATTACKS.items():
        rows = frozenset(part.strip().removeprefix("found here").strip(" ,:").partition(":")[0] for part in attack.source.split(","))
        found[f"attack: {name}"] = Bomb(rows, attack.program, attack.buffers, late=attack.late, strict=name in STRICT)
    found |= {f"own: {name}": Bomb(frozenset([row]), make, late=row == "D19") for name, (row, make) in OWN.items()}
    return {name: bomb for name, bomb in found.items() if bomb.rows & set(ROWS)}


ROWS: Final = (*(f"D{number}" for number in range(1, 20)), "F12")

# --- the ways in -----------------------------------------------------------------------------------------------


def _refused(call: Callable[[str], object]) -> Callable[[str], str]:
    """The name of the class of a refusal; "taken" where there was none."""

    def way(path: str) -> str:
        try:
            call(path)
        except SafePickleError as error:
            return f"refused: {type(error).__name__}"
        return "taken"

    return way


def _verified(path: str) -> str:
    # It authenticates, and does not look at the program: see `safepickle verify` for that.
    return f"authenticated: {safepickle.verify(path, key=KEY).authenticated}"


def _gate(path: str) -> str:
    os.environ["FAULTS_KEY"] = KEY.to_text()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return f"exit {main(['verify', path, '--key', 'env:FAULTS_KEY'])}"


def _scanned(path: str) -> str:
    report = safepickle.scan(path)
    return f"report: {'clean' if report.clean else 'found'}"


SIGNED: Final[dict[str, Callable[[str], str]]] = {
    "load": _refused(lambda path: safepickle.load(path, key=KEY, on_version_mismatch="ignore")),
    "load mapped": _refused(lambda path: safepickle.load(path, key=KEY, mmap=True, on_version_mismatch="ignore")),
    "verify": _verified,
    "safepickle verify": _gate,
}
UNSIGNED: Final[dict[str, Callable[[str], str]]] = {
    "adopt": _refused(safepickle.adopt),
    "scan": _scanned,
    "inspect": _refused(safepickle.inspect),
}
EXPECTED: Final = {
    **dict.fromkeys(("load", "load mapped", "adopt", "inspect"), "refused: "),
    "verify": "authenticated: True",
    "safepickle verify": "exit 1",
    "scan": "report: found",
}
"""What each way must say, or how that begins."""

# --- the child -------------------------------------------------------------------------------------------------


def _status(name: str) -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(name))


def seconds() -> int:
    """Return the processor time that is as much as `SECONDS` on a machine of the usual speed; never less than that."""
    return round(allowed(SECONDS))


def _limited(way: Callable[[str], str], path: str, answer: int, most: int) -> None:
    """In the fork: go one way within the limits, and write how that went."""
    start, held = _status("VmSize"), _status("VmRSS")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (start + MEMORY, start + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (most, most + 1))
    try:
        said = way(path)
    except BaseException as error:
        said = f"raised {type(error).__name__}: {error}"[:200]
    used = resource.getrusage(resource.RUSAGE_SELF)
    grown = max(_status("VmHWM") - held, 0)
    os.write(answer, json.dumps({"said": said, "seconds": used.ru_utime + used.ru_stime, "MiB": grown >> 20}).encode())


def _went(way: Callable[[str], str], path: str, most: int) -> dict[str, Any]:
    reader, answer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _limited(way, path, answer, most)
        finally:
            os._exit(0)
    os.close(answer)
    with open(reader, "rb") as file:
        said = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status < 0 or not said:
        return {"said": f"ended by {signal.Signals(-status).name if status < 0 else status}", "seconds": 0.0, "MiB": 0}
    result: dict[str, Any] = json.loads(said)
    return result


def ways_of(bomb: Bomb) -> dict[str, Callable[[str], str]]:
    """Return the ways that refuse the bomb. Unless all is run, the gate and mapping are left out."""
    ways = {**({} if bomb.packed else SIGNED), **({} if bomb.strict else UNSIGNED)}
    left_out = {*(("safepickle verify", "scan") if bomb.late else ()), *(() if EVERYTHING else ("safepickle verify", "load mapped"))}
    return {name: way for name, way in ways.items() if name not in left_out}


def _run(folder: str, *libraries: str) -> None:
    for library in libraries:
        importlib.import_module(library)
    signed, plain = os.path.join(folder, "bomb.spkl"), os.path.join(folder, "bomb.pkl")
    # What the ways import and cache is there before anything is counted.
    for way in (*SIGNED.values(), *UNSIGNED.values()):
        for path, data in ((signed, safepickle.dumps([1, 2], key=KEY)), (plain, b"\x80\x05]."), (plain, b"\x80\x05cos\nsystem\n.")):
            Path(path).write_bytes(data)
            with contextlib.suppress(SafePickleError):
                way(path)
    bombs, most = all_bombs(), seconds()
    found: dict[str, dict[str, Any]] = {}
    for name in json.load(sys.stdin):
        bomb = bombs[name]
        data = bomb.make()
        Path(plain).write_bytes(data)
        if not bomb.packed:
            Path(signed).write_bytes(seal(data, bomb.buffers))
        del data
        found[name] = {way: _went(go, signed if way in SIGNED else plain, most) for way, go in ways_of(bomb).items()}
    print(json.dumps(found))


if __name__ == "__main__":
    _run(*sys.argv[1:])
