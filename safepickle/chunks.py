"""The body of a container as chunks: where its parts lie, and how chunks are hashed, written and compressed, in parallel where that pays.

A chunk is cut from the body as it is in memory, every `chunk_bytes`. It is stored as it is, or compressed for itself. Here
stands nothing about signatures or headers: `container` says which digests count.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import mmap
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Protocol, TypeVar

from .errors import FormatError, LimitError
from .files import Bytes

__all__ = ["ALIGNMENT", "CODECS", "Codec", "allocate", "codec_of", "cut", "digest", "in_order", "layout", "padding", "pieces_between", "segments"]

ALIGNMENT: Final = 64
# Below this size of a body threads cost more than they save.
_PARALLEL_BYTES: Final = 4 << 20
# What one thread takes at a time, so that it is hashed while it is still in the cache and handing it over costs little.
_GROUP_BYTES: Final = 2 << 20
# The size of a huge page: less memory than a few of them is not worth asking for one.
_HUGE_BYTES: Final = 2 << 20
# 1 << 27 is what zstd allows by itself; no chunk is larger than 1 << 26 bytes, and a frame has no use for a larger window.
_ZSTD_WINDOW_LOG: Final = 26

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


# --- where the parts lie ---------------------------------------------------------------------------------------


def padding(length: int) -> int:
    """Return how many zero bytes follow `length` bytes so that the next part is aligned."""
    return -length % ALIGNMENT


def layout(program: int, buffers: Sequence[int]) -> list[int]:
    """Return where each buffer starts in the body, and last where the body ends.

    Each buffer starts at a multiple of 64 bytes; nothing follows the last.
    """
    starts = []
    end = program
    for length in buffers:
        start = end + padding(end)
        starts.append(start)
        end = start + length
    return [*starts, end]


def segments(program: bytes, buffers: Sequence[memoryview]) -> Iterator[Bytes]:
    """Yield program, padding and buffers in the order in which they make the body."""
    yield program
    end = len(program)
    for buffer in buffers:
        gap = padding(end)
        if gap:
            yield bytes(gap)
        yield buffer
        end += gap + buffer.nbytes


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

    The items are made in the calling thread while others work on those before. The first error stops the rest.
    """
    if total_bytes < _PARALLEL_BYTES:
        yield from map(work, items)
        return
    # Here and not above, so that `import safepickle` stays light.
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(_processors())
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)


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
    """A way to compress a chunk."""

    def __init__(self, compress: Callable[[bytes], bytes], decompressor: Callable[..., _Decompressor]) -> None:
        self.compress = compress
        self._decompressor = decompressor

    def expand(self, data: bytes, into: memoryview) -> None:
        """Fill `into` with what an authenticated chunk holds. Raises `FormatError` if it holds less, or more, or is damaged; never makes more."""
        try:
            decompressor = self._decompressor()
            made = decompressor.decompress(data, len(into))
            if len(made) == len(into) and not decompressor.eof:
                # All is made, and the end of the stream may still be to be read: it must hold nothing more.
                made += decompressor.decompress(getattr(decompressor, "unconsumed_tail", b""), 1)
        except Exception as error:
            raise FormatError(f"a compressed chunk is damaged ({type(error).__name__}: {error}): whoever signed the file wrote it so") from error
        if len(made) != len(into) or not decompressor.eof or decompressor.unused_data:
            raise FormatError(f"a compressed chunk does not hold the {len(into)} bytes that the header says: whoever signed the file wrote it so")
        into[:] = made


def _zlib() -> Codec:
    return Codec(lambda data: zlib.compress(data, 6), zlib.decompressobj)


def _zstd() -> Codec:
    zstd = _zstd_module()
    options = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
    return Codec(lambda data: bytes(zstd.compress(data, 3)), lambda: zstd.ZstdDecompressor(options=options))


def _zstd_module() -> Any:
    # Of the standard library from Python 3.14 on; the backport has the same interface.
    with contextlib.suppress(ImportError):
        return importlib.import_module("compression.zstd")
    with contextlib.suppress(ImportError):
        return importlib.import_module("backports.zstd")
    raise ValueError("zstd needs Python 3.14 or `pip install 'safepickle-ml[zstd]'`; compress='zlib' needs nothing")


CODECS: Final[dict[str, Callable[[], Codec]]] = {"zlib": _zlib, "zstd": _zstd}


def codec_of(name: str) -> Codec:
    """Return the codec of that name. Raises `ValueError` for another name, or a codec that is not installed."""
    if name not in CODECS:
        raise ValueError(f"compress is None, {' or '.join(map(repr, CODECS))}, not {name!r}")
    return CODECS[name]()
