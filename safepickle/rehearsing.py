"""Build an admitted program in a child process first, and see whether that process survives.

For what `state` cannot look into: the native readers of LightGBM, XGBoost and CatBoost parse blobs of their own while the
object is built, and some of them crash, abort or never end on a malformed one. The child is a fresh interpreter, so
neither threads nor locks of this process matter to it. It gets the program and buffers that were authenticated and
judged, and the names that were resolved; it gets no key, and what it built is thrown away.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, BinaryIO, Final

from .errors import StateError
from .machine import Bytes, Limits

__all__ = ["MEMORY", "REFUSED", "receive", "rehearse"]

Name = tuple[str, str]

_CHILD: Final = "from safepickle.pickling import rehearsed; rehearsed()"
MEMORY: Final = 97
"""What the child exits with if memory did not suffice."""
REFUSED: Final = 98
"""What the child exits with if a library refused the object."""


def rehearse(program: bytes, buffers: Iterable[Bytes], names: Mapping[Name, Sequence[Name]], limits: Limits) -> None:
    """Build the program in a child process. `names` says where each name of the program is to be found, first that exists.

    Raises `StateError` if the child died, or took more time or memory than `limits` say.
    """
    views = [memoryview(buffer).cast("B") for buffer in (program, *buffers)]
    header = {
        "path": sys.path,
        "names": [[*name, found_at] for name, found_at in names.items()],
        "sizes": [view.nbytes for view in views],
        "memory_bytes": limits.rehearsal_bytes + 4 * sum(view.nbytes for view in views),
    }
    text = json.dumps(header).encode()
    status = _run([len(text).to_bytes(8, "little"), text, *views], limits.rehearsal_seconds)
    if status is None:
        raise StateError(f"building the object in a child process took more than {limits.rehearsal_seconds} s (`rehearsal_seconds` of Limits)")
    if status == MEMORY:
        raise StateError("building the object in a child process took too much memory (`rehearsal_bytes` of Limits)")
    if status < 0:
        raise StateError(f"building the object in a child process ended it by {_signal(-status)}: a native reader does not take what the file holds")
    if status not in (0, REFUSED):
        raise StateError(
            f"building the object in a child process ended it with exit status {status}: a native reader gave up, or could not be loaded"
        )


def _run(pieces: Iterable[Any], seconds: float) -> int | None:
    """Send the pieces to a child and return its exit status, or None if it took too long."""
    late = threading.Event()
    command = [sys.executable, "-c", _CHILD]
    # Nothing of a file is in the command.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:  # noqa: S603

        def stop() -> None:
            late.set()
            child.kill()

        # A child that hangs may also stop reading, so the clock runs from the first byte.
        clock = threading.Timer(seconds, stop)
        clock.daemon = True
        clock.start()
        try:
            _send(child, pieces)
            status = child.wait()
        except BaseException:
            child.kill()
            raise
        finally:
            clock.cancel()
    return None if late.is_set() else status


def _send(child: subprocess.Popen[bytes], pieces: Iterable[Any]) -> None:
    if child.stdin is None:
        return
    # A child that died on the way reads no more; its exit status tells how.
    with contextlib.suppress(BrokenPipeError), child.stdin:
        for piece in pieces:
            child.stdin.write(piece)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def receive(pipe: BinaryIO) -> tuple[bytes, list[bytearray], dict[Name, list[Name]]]:
    """In the child: limit the memory of the process and return program, buffers and names.

    The buffers are writable, as `load` makes them.
    """
    header = json.loads(pipe.read(int.from_bytes(pipe.read(8), "little")))
    sys.path[:] = header["path"]
    _limit_memory(header["memory_bytes"])
    pieces = [bytearray(pipe.read(size)) for size in header["sizes"]]
    names = {(module, name): [(found[0], found[1]) for found in found_at] for module, name, found_at in header["names"]}
    return bytes(pieces[0]), pieces[1:], names


def _limit_memory(size: int) -> None:
    try:
        import resource
    except ImportError:
        # Windows has no such limit for a process; the limit of time holds there.
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
