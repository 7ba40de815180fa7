"""The body of a container as chunks: where its parts lie, and how chunks are hashed, written and compressed, in parallel where that pays.

A chunk is cut from the body as it is in memory, every `chunk_bytes`. It is stored as it is, or compressed for itself. Here
stands nothing about signatures or headers: `container` says which digests count.
"""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import importlib
import mmap
import os
import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from .errors import FormatError, LimitError
from .files import Bytes

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

__all__ = [
    "ALIGNMENT",
    "CODECS",
    "Codec",
    "all_zero",
    "allocate",
    "codec_of",
    "cut",
    "digest",
    "gaps",
    "grouped",
    "in_order",
    "layout",
    "padding",
    "pieces_between",
    "segments",
    "zstd_module",
]

ALIGNMENT: Final = 64
# Below this size of a body threads cost more than they save.
_PARALLEL_BYTES: Final = 4 << 20
# What one thread takes at a time, so that it is hashed while it is still in the cache and handing it over costs little.
_GROUP_BYTES: Final = 2 << 20
# The size of a huge page: less memory than a few of them is not worth asking for one.
_HUGE_BYTES: Final = 2 << 20
# Address space for the stack of a thread and what it needs to begin.
_THREAD_BYTES: Final = 16 << 20
# What is decompressed at a time: more would lie in memory twice.
_EXPANDED_BYTES: Final = 1 << 20
# RFC 8878 asks a reader for windows of 8 MiB; a frame has no use for a larger one than what it holds.
_ZSTD_WINDOW_LOG: Final = 23

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


# --- where the parts lie ---------------------------------------------------------------------------------------


def padding(length: int) -> int:
    """Return how many zero bytes follow `length` bytes so that the next part is aligned."""
    return -length % ALIGNMENT


def _places(program: int, buffers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield for each buffer where the part before it ends, and where it starts: at a multiple of 64 bytes."""
    end = program
    for length in buffers:
        start = end + padding(end)
        yield end, start
        end = start + length


def layout(program: int, buffers: Sequence[int]) -> list[int]:
    """Return where each buffer starts in the body, and last where the body ends: nothing follows the last."""
    starts = [start for _, start in _places(program, buffers)]
    return [*starts, starts[-1] + buffers[-1] if buffers else program]


def gaps(program: int, buffers: Sequence[int]) -> list[tuple[int, int]]:
    """Return where the padding between the parts begins and ends, in order, but for padding of no bytes."""
    return [(end, start) for end, start in _places(program, buffers) if start > end]


def all_zero(where: Sequence[tuple[int, int]], view: memoryview, offset: int) -> bool:
    """Tell whether the bytes of these gaps are zero, as far as they lie in `view`, which begins at `offset` of the body."""
    # A gap is shorter than the alignment, so one that begins that far before the view ends before it.
    for start, end in where[bisect.bisect_left(where, (offset - ALIGNMENT,)) : bisect.bisect_left(where, (offset + len(view),))]:
        if any(view[max(start - offset, 0) : max(end - offset, 0)]):
            return False
    return True


def segments(program: bytes, buffers: Sequence[memoryview]) -> Iterator[Bytes]:
    """Yield program, padding and buffers in the order in which they make the body."""
    yield program
    for buffer, (end, start) in zip(buffers, _places(len(program), (each.nbytes for each in buffers)), strict=True):
        if start > end:
            yield bytes(start - end)
        yield buffer


def cut(parts: Iterable[Bytes], chunk_bytes: int) -> Iterator[list[memoryview]]:
    """Yield the chunks of the concatenated parts, each as views of them."""
    chunk: list[memoryview] = []
    room = chunk_bytes
    for part in parts:
        view = memoryview(part).cast("B")
        while len(view):
            chunk.append(view[:room])
            room -= len(chunk[-1])
            view = view[len(chunk[-1]) :]
            if not room:
                yield chunk
                chunk, room = [], chunk_bytes
    if chunk:
        yield chunk


def pieces_between(program: bytes, rest: memoryview, low: int, high: int) -> list[memoryview]:
    """Return bytes `low` to `high` of a body whose first part is `program`, as views of it and of the `rest`."""
    edge = len(program)
    held = memoryview(program)[low:high], rest[max(low - edge, 0) : max(high - edge, 0)]
    return [piece for piece in held if len(piece)]


# --- in parallel -----------------------------------------------------------------------------------------------


def in_order(work: Callable[[_Given], _Made], items: Iterable[_Given], total_bytes: int) -> Iterator[_Made]:
    """Yield what `work` makes of each item, in their order; by several threads if the items are of many bytes together.

    The items are made in the calling thread while others work on those before, a few ahead of what was yielded. The first error
    stops the rest. When this ends, in whatever way, no thread of its own is left. Where no threads are to be had the calling one
    does the work.
    """
    if total_bytes < _PARALLEL_BYTES or not _is_room(workers := _processors()):
        yield from map(work, items)
        return
    try:
        pool = _pool(workers)
    except RuntimeError:
        yield from map(work, items)
        return
    waiting: deque[tuple[Future[_Made], _Given]] = deque()
    coming = iter(items)
    try:
        for item in coming:
            try:
                waiting.append((pool.submit(work, item), item))
            except RuntimeError:
                # No further thread is to be had: processes are limited, or the interpreter ends. What nobody began is done here.
                _finish(pool, waiting)
                while waiting:
                    yield work(waiting[0][1]) if waiting[0][0].cancelled() else waiting[0][0].result()
                    waiting.popleft()
                yield work(item)
                yield from map(work, coming)
                return
            if len(waiting) > 4 * workers:
                yield waiting[0][0].result()
                waiting.popleft()
        while waiting:
            yield waiting[0][0].result()
            waiting.popleft()
    finally:
        _finish(pool, waiting)
        # An error knows this frame, and its future knows the error: what was read would stay in memory until cycles are looked for.
        waiting.clear()


def _is_room(workers: int) -> bool:
    """Tell whether there is address space for so many threads.

    CPython waits for a new thread to say that it has begun, and one that finds no memory when it begins never does: the wait is for ever.
    """
    try:
        allocate(workers * _THREAD_BYTES, 0)
    except LimitError:
        return False
    return True


def _pool(workers: int) -> ThreadPoolExecutor:
    # Here and not above, so that `import safepickle` stays light. While the interpreter ends the import is a RuntimeError.
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(workers)


def _finish(pool: ThreadPoolExecutor, waiting: Iterable[tuple[Future[Any], object]]) -> None:
    """Come back when no thread of the pool works, even if signals interrupt the waiting: threads may use a file that the caller then closes."""
    from concurrent.futures import wait

    try:
        pool.shutdown(wait=False, cancel_futures=True)
        # Joining alone will not do: CPython takes a thread for ended once a signal has interrupted the waiting for its end.
        wait([future for future, _ in waiting if not future.cancelled()])
        pool.shutdown()
    except BaseException:
        _finish(pool, waiting)
        raise


def grouped(count: int, chunk_bytes: int) -> Iterator[range]:
    """Yield the numbers of `count` chunks, in groups that are worth a task."""
    step = max(1, _GROUP_BYTES // chunk_bytes)
    for first in range(0, count, step):
        yield range(first, min(first + step, count))


def _processors() -> int:
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, available)


def digest(pieces: Iterable[Bytes]) -> bytes:
    """Return the SHA-256 of the concatenated pieces. hashlib releases the interpreter lock for pieces over 2,047 bytes."""
    made = hashlib.sha256()
    for piece in pieces:
        made.update(piece)
    return made.digest()


# --- memory ----------------------------------------------------------------------------------------------------


def allocate(count: int, offset: int) -> memoryview:
    """Return zeroed memory of our own, placed so that what is aligned in the body is aligned in memory.

    A private mapping begins at a page, and its pages come to exist as data arrives, so a length that no data follows
    costs nothing. `offset` is where in the body the memory begins.
    """
    if not count:
        return memoryview(bytearray())
    shift = offset % ALIGNMENT
    try:
        if hasattr(mmap, "MAP_PRIVATE"):
            mapped = mmap.mmap(-1, count + shift, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        else:
            mapped = mmap.mmap(-1, count + shift)
    except (OSError, MemoryError, OverflowError, ValueError):
        raise LimitError(f"the buffers take {count} bytes and that much memory is not to be had here") from None
    if count >= _HUGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
        # A fault for each 4 KiB would cost more than reading them; a kernel without huge pages says so, and nothing is lost.
        with contextlib.suppress(OSError):
            mapped.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(mapped)[shift:]


# --- compression -----------------------------------------------------------------------------------------------


class _Decompressor(Protocol):
    """What the decompressors of zlib and zstd have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class Codec:
    """A way to compress a chunk. `decompressor` takes how many bytes will be made."""

    def __init__(self, compress: Callable[[bytes], bytes], decompressor: Callable[[int], _Decompressor]) -> None:
        self.compress = compress
        self._decompressor = decompressor

    def expand(self, data: bytes, into: memoryview) -> None:
        """Fill `into` with what an authenticated chunk holds. Raises `FormatError` if it holds less, or more, or is damaged; never makes more."""
        try:
            whole = self._fill(data, into)
        except MemoryError:
            raise LimitError("there is too little memory to decompress the body") from None
        except Exception as error:
            raise FormatError(f"a compressed chunk is damaged ({type(error).__name__}: {error}): whoever signed the file wrote it so") from error
        if not whole:
            raise FormatError(f"a compressed chunk does not hold the {len(into)} bytes that the header says: whoever signed the file wrote it so")

    def _fill(self, data: bytes, into: memoryview) -> bool:
        """Fill `into`, and tell whether the data is one stream of just that many bytes, which ends where the data ends."""
        decompressor = self._decompressor(len(into))
        # That of zlib copies what is left of the data each time, so large chunks go by larger pieces.
        step = max(_EXPANDED_BYTES, len(into) // 8)
        done = 0
        while not decompressor.eof:
            # Once all is made, the end of the stream may still be to be read. It must hold nothing more, for which there is one byte of room.
            made = decompressor.decompress(data, min(len(into) - done, step) or 1)
            if len(made) > len(into) - done or not (made or decompressor.eof):
                return False
            into[done : done + len(made)] = made
            done += len(made)
            # That of zstd keeps what it did not use, that of zlib hands it back.
            data = getattr(decompressor, "unconsumed_tail", b"")
        return done == len(into) and not decompressor.unused_data


def _zlib() -> Codec:
    return Codec(lambda data: zlib.compress(data, 6), lambda _: zlib.decompressobj())


def _zstd() -> Codec:
    zstd = zstd_module()

    def decompressor(length: int) -> _Decompressor:
        window = max(_ZSTD_WINDOW_LOG, (length - 1).bit_length())
        made: _Decompressor = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: window})
        return made

    return Codec(lambda data: bytes(zstd.compress(data, 3)), decompressor)


def zstd_module() -> Any:
    """Return the module that knows zstd. Raises `ValueError`, saying what to install, where there is none."""
    # Of the standard library from Python 3.14 on, before which `compression` is anybody's; the backport has the same interface.
    for name in ("compression.zstd", "backports.zstd")[sys.version_info < (3, 14) :]:
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    raise ValueError("zstd needs Python 3.14 or `pip install 'safepickle-ml[zstd]'`; compress='zlib' needs nothing")


CODECS: Final[dict[str, Callable[[], Codec]]] = {"zlib": _zlib, "zstd": _zstd}


def codec_of(name: str) -> Codec:
    """Return the codec of that name. Raises `ValueError` for another name, or a codec that is not installed."""
    if name not in CODECS:
        raise ValueError(f"compress is None, {' or '.join(map(repr, CODECS))}, not {name!r}")
    return CODECS[name]()
