"""The container: `seal` makes one, `open` authenticates one. SPEC.md has the bytes as numbered MUSTs.

    prefix | signature block | header | padding | body | end of file

Promises:
- Before a signature by a trusted key holds, nothing is parsed but the prefix and the signature block, both of
  fixed layout. The header is hashed as read, checked, and only then parsed.
- The header authenticates the rest: it lists the SHA-256 of every chunk of the body, and no byte may be elsewhere.
- One encoding per meaning: what parses would be written as the same bytes, padding and order included.
- Bytes are read once, into memory that belongs to us (or, with `map_file`, are mapped once, read-only).
- A compressed chunk is authenticated before it is decompressed, and makes the number of bytes that the header says, or none.
- A path is replaced as a whole or not at all.

It knows nothing of pickle: a body is a program (some bytes) and buffers (more bytes).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import mmap
import os
import stat
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import IO, Any, Final, NamedTuple, NoReturn, TypeVar

from . import chunks
from .errors import AuthenticationError, FormatError, KeyringError, LimitError, UnsignedError
from .files import Bytes, open_regular, replace, replacing, write_all
from .keyring import Keyring
from .keys import SUITES, Signature

__all__ = ["Info", "Opened", "UntrustedInfo", "open", "peek", "resign", "save", "seal", "verify", "write"]

MAGIC: Final = b"\x89SPKL\r\n\x1a"
VERSION: Final = 1
PREFIX: Final = struct.Struct("<8sHHII")
SIGNATURE_HEAD: Final = struct.Struct("<B8sH")
ALIGNMENT: Final = chunks.ALIGNMENT
CHUNK_BYTES: Final = 1 << 20
CHUNK_BYTES_ALLOWED: Final = frozenset(1 << n for n in range(16, 27))
MAX_SIGNATURES: Final = 16
MAX_SIGNATURE_BLOCK_BYTES: Final = 1 << 17
# 1 MiB of body costs 67 bytes of header: this is enough for bodies of a tebibyte.
MAX_HEADER_BYTES: Final = 1 << 27
MAX_INTEGER: Final = (1 << 63) - 1
# The end of the year 9999, where datetime ends.
MAX_SECONDS: Final = 253_402_300_799
MAX_TEXT: Final = 1024
MAX_METADATA_DEPTH: Final = 64
MAX_METADATA_BYTES: Final = 1 << 20

_SUITES: Final = {suite.code: suite for suite in SUITES.values()}

_SNIFF_BYTES: Final = 512
_READ_BYTES: Final = 1 << 20
_WINDOW_BYTES: Final = 1 << 24
# From this size of a body on, writing it while it is hashed saves more than threads cost.
_OVERLAPPED_BYTES: Final = 4 << 20
# What a compressed file may grow to, whatever its size: few bytes that become that many are no bomb.
_EXPANSION_FLOOR: Final = 64 << 20
DEFAULT_EXPANSION: Final = 200

File = str | os.PathLike[str] | IO[bytes]

_NOT_ZERO: Final = "the padding between buffers is not zero"

_MADE_HERE: Final = object()


@dataclass(frozen=True, slots=True)
class Info:
    """What the header of a container says. `authenticated` tells whether a trusted key vouches for it."""

    signatures: tuple[Signature, ...]
    """Every signature in the file, also those by unknown keys."""
    trusted_key_ids: tuple[str, ...]
    """Ids of the keys of the caller's keyring whose signature holds."""
    context: str | None
    serial: int | None
    created: datetime
    expires: datetime | None
    metadata: Any
    python: str
    platform: str
    libraries: Mapping[str, str]
    """Versions, by import name, of the libraries whose names the program uses."""
    program_bytes: int
    buffer_bytes: tuple[int, ...]
    header_sha256: str
    """SHA-256 of the raw header, which names the whole content."""
    compression: str | None = None
    """How the chunks of the body are compressed: "zlib", "zstd", or None."""
    stored_bytes: int | None = None
    """What the body takes in the file, if it is compressed."""
    format_version: int = VERSION

    @property
    def authenticated(self) -> bool:
        """True: a key of the caller's keyring signed this header."""
        return True


class UntrustedInfo(Info):
    """The same fields, but **nobody vouches for them**: whoever wrote the file chose them."""

    __slots__ = ()

    @property
    def authenticated(self) -> bool:
        """False: nothing was checked."""
        return False


_Kind = TypeVar("_Kind", bound=Info)


@dataclass(frozen=True, slots=True)
class Opened:
    """Proof that a container was authenticated, with what it holds. Only `open` can make one."""

    info: Info
    program: bytes = field(repr=False)
    buffers: tuple[memoryview, ...] = field(repr=False)
    proof: InitVar[object] = None

    def __post_init__(self, proof: object) -> None:
        if proof is not _MADE_HERE:
            raise TypeError("only container.open() makes an Opened")


class _Header(NamedTuple):
    program: int
    buffers: tuple[int, ...]
    chunk_bytes: int
    chunks: tuple[bytes, ...]
    context: str | None
    serial: int | None
    created: int
    expires: int | None
    metadata: str | None
    python: str
    platform: str
    libraries: Mapping[str, str]
    compression: str | None = None
    # The lengths of the chunks as they stand in the file, where they are compressed.
    stored: tuple[int, ...] = ()

    @property
    def body_bytes(self) -> int:
        """The length of the body in memory."""
        return chunks.layout(self.program, self.buffers)[-1]

    def sizes(self) -> list[int]:
        """Return the length of each chunk in the file."""
        if self.compression is not None:
            return list(self.stored)
        whole, last = divmod(self.body_bytes, self.chunk_bytes)
        return [self.chunk_bytes] * whole + [last] * (last > 0)


# --- writing ---------------------------------------------------------------------------------------------------


def seal(
    program: bytes,
    buffers: Sequence[memoryview],
    keyring: Keyring,
    *,
    context: str | None = None,
    serial: int | None = None,
    expires: datetime | timedelta | int | None = None,
    metadata: Any = None,
    libraries: Mapping[str, str] | None = None,
    compress: str | None = None,
    now: Callable[[], float] = time.time,
) -> list[Bytes]:
    """Return the container over `program` and `buffers` as pieces to write in order.

    Buffers are hashed where they lie and are not copied; they must not change before they are written. With `compress` ("zlib" or
    "zstd") each chunk is compressed for itself, and all are held until the last is made. Raises `ValueError` or `TypeError` for a
    context, serial, expiry, metadata or compression that cannot be stored.
    """
    return _sealed(_draft(program, buffers, context, serial, expires, metadata, libraries, compress, now), program, buffers, keyring)


def _sealed(draft: _Header, program: bytes, buffers: Sequence[memoryview], keyring: Keyring) -> list[Bytes]:
    body: list[Bytes] = list(chunks.segments(program, buffers))
    cut = chunks.cut(body, CHUNK_BYTES)
    if draft.compression is None:
        raw = _encode_header(draft, list(chunks.in_order(chunks.digest, cut, draft.body_bytes)))
    else:
        codec = chunks.codec_of(draft.compression)
        body = list(chunks.in_order(lambda pieces: codec.compress(b"".join(pieces)), cut, draft.body_bytes))
        stored = [len(chunk) for chunk in body]
        if draft.body_bytes > _most_expanded(sum(stored), DEFAULT_EXPANSION):
            raise ValueError(
                f"the object compresses from {draft.body_bytes} to {sum(stored)} bytes, more than limits allow by default when it is "
                "loaded (`expansion` of Limits): leave compress=None"
            )
        raw = _encode_header(draft, list(chunks.in_order(lambda chunk: chunks.digest([chunk]), body, draft.body_bytes)), stored)
    return [*_front(raw, keyring.sign(hashlib.sha256(raw).digest(), now=draft.created)), *body]


def save(
    file: File,
    program: bytes,
    buffers: Sequence[memoryview],
    keyring: Keyring,
    *,
    context: str | None = None,
    serial: int | None = None,
    expires: datetime | timedelta | int | None = None,
    metadata: Any = None,
    libraries: Mapping[str, str] | None = None,
    compress: str | None = None,
    now: Callable[[], float] = time.time,
) -> None:
    """Write what `seal` returns as `write` does; a large body to a regular file while it is hashed, and what stands before it last.

    Raises like both.
    """
    draft = _draft(program, buffers, context, serial, expires, metadata, libraries, compress, now)
    if compress is not None or draft.body_bytes < _OVERLAPPED_BYTES or not hasattr(os, "pwrite"):
        write(_sealed(draft, program, buffers, keyring), file)
    elif isinstance(file, (str, os.PathLike)):
        _check_no_key(file)
        path, mode = _target(file)
        if mode is not None and not stat.S_ISREG(mode):
            write(_sealed(draft, program, buffers, keyring), file)
            return
        with replacing(path, None if mode is None else mode & 0o777) as sibling:
            _overlapped(sibling.fileno(), 0, draft, program, buffers, keyring)
    elif _is_plain_output(file):
        file.flush()
        base = file.tell()
        file.seek(base + _overlapped(file.fileno(), base, draft, program, buffers, keyring))
    else:
        write(_sealed(draft, program, buffers, keyring), file)


def _overlapped(descriptor: int, base: int, draft: _Header, program: bytes, buffers: Sequence[memoryview], keyring: Keyring) -> int:
    """Write a container from `base` on, each chunk just after it was hashed, and return its length."""
    # Digests and signatures are as long as they will be, whatever they say.
    count = -(-draft.body_bytes // CHUNK_BYTES)
    blank = _encode_header(draft, [bytes(32)] * count)
    signer = keyring.signer(now=draft.created)
    empty = Signature(signer.suite, signer.key_id, bytes(SUITES[signer.suite].signature_bytes))
    start = sum(map(len, _front(blank, [empty])))

    def stored(numbered: tuple[int, list[memoryview]]) -> bytes:
        number, pieces = numbered
        made = chunks.digest(pieces)
        _write_at(descriptor, pieces, base + start + number * CHUNK_BYTES)
        return made

    cut = chunks.cut(chunks.segments(program, buffers), CHUNK_BYTES)
    raw = _encode_header(draft, list(chunks.in_order(stored, enumerate(cut), draft.body_bytes)))
    front = _front(raw, keyring.sign(hashlib.sha256(raw).digest(), now=draft.created))
    if sum(map(len, front)) != start:
        raise KeyringError(f"key {signer.key_id} became another one while the body was written, so what was written is no container")
    _write_at(descriptor, map(memoryview, front), base)
    return start + draft.body_bytes


def _write_at(descriptor: int, pieces: Iterable[memoryview], offset: int) -> None:
    for piece in pieces:
        view = piece
        while len(view):
            count = os.pwrite(descriptor, view, offset)
            if not count:
                raise OSError("the file takes no more bytes, and does not say why")
            offset += count
            view = view[count:]


def _is_plain_output(file: Any) -> bool:
    """Tell whether a file object writes to a regular file where it stands, and nothing but its own position says where that is."""
    raw = file.raw if type(file) is io.BufferedWriter else file
    if type(raw) is not io.FileIO:
        return False
    try:
        import fcntl

        appends = fcntl.fcntl(raw.fileno(), fcntl.F_GETFL) & os.O_APPEND
        return not appends and stat.S_ISREG(os.fstat(raw.fileno()).st_mode)
    except (ImportError, OSError, ValueError):
        return False


def _draft(
    program: bytes,
    buffers: Sequence[memoryview],
    context: str | None,
    serial: int | None,
    expires: datetime | timedelta | int | None,
    metadata: Any,
    libraries: Mapping[str, str] | None,
    compress: str | None,
    now: Callable[[], float],
) -> _Header:
    """Return the header but for what is known once the body is hashed. Raises `ValueError` if it could not be stored."""
    if compress is not None:
        chunks.codec_of(compress)
    # Only what is written asks for it, and it takes long to import.
    import platform

    created = int(now())
    header = _Header(
        program=len(program),
        buffers=tuple(buffer.nbytes for buffer in buffers),
        chunk_bytes=CHUNK_BYTES,
        chunks=(),
        context=_checked_context(context),
        serial=_checked_serial(serial, "serial"),
        created=created,
        expires=_checked_expiry(expires, created),
        metadata=_metadata_text(metadata),
        python=platform.python_version(),
        platform=f"{platform.system()}-{platform.machine()}".lower(),
        libraries=dict(libraries or {}),
        compression=compress,
    )
    # A digest takes 67 bytes of the header, the length of a buffer or chunk at most 20, and the rest is bounded by itself.
    each = 67 if compress is None else 87
    size = each * (header.body_bytes // CHUNK_BYTES + 1) + 20 * (len(buffers) + 1) + len(header.metadata or "") * 2
    if size > MAX_HEADER_BYTES:
        raise ValueError(f"the header would take {size} bytes, over the {MAX_HEADER_BYTES} that the format allows")
    return header


def write(pieces: Iterable[Bytes], file: File) -> None:
    """Write the pieces to a path or binary file object.

    A path is written through a temporary sibling, fsynced and renamed: a crash at any moment leaves the old file
    or the new one, whole. A path that is a pipe or device is written straight. Raises `OSError`, `TypeError`.
    """
    if not isinstance(file, (str, os.PathLike)):
        writer: Any = file
        if not hasattr(writer, "write") or isinstance(writer, io.TextIOBase):
            raise TypeError(f"a file is a path or a binary file object (mode 'wb'), not {type(file).__name__}: the call is dump(obj, file, key=...)")
        for piece in pieces:
            write_all(file, piece)
        return
    _check_no_key(file)
    path, mode = _target(file)
    if mode is not None and not stat.S_ISREG(mode):
        with io.FileIO(path, "wb") as special:
            for piece in pieces:
                write_all(special, piece)
        return
    replace(path, pieces, None if mode is None else mode & 0o777)


def _target(file: str | os.PathLike[str]) -> tuple[str, int | None]:
    """Return the path to write, and the mode of what stands there."""
    # Written through a symbolic link, as open() would, rather than replacing the link.
    path = os.path.realpath(file)
    mode = None
    with contextlib.suppress(FileNotFoundError):
        mode = os.stat(path).st_mode
    return path, mode


def _front(raw: bytes, signatures: Sequence[Signature]) -> tuple[bytes, ...]:
    """Return prefix, signature block, header and padding."""
    entries = sorted((SUITES[each.suite].code, bytes.fromhex(each.key_id), each.value) for each in signatures)
    block = b"".join(SIGNATURE_HEAD.pack(code, key_id, len(value)) + value for code, key_id, value in entries)
    prefix = PREFIX.pack(MAGIC, VERSION, len(entries), len(block), len(raw))
    padding = bytes(chunks.padding(len(prefix) + len(block) + len(raw)))
    return prefix, block, raw, padding


def _encode_header(header: _Header, digests: Sequence[bytes] | None = None, stored: Sequence[int] | None = None) -> bytes:
    """Return the header, of a draft with the digests of the chunks in the file, and their lengths if they are compressed."""
    body = {
        "buffers": list(header.buffers),
        "chunk_bytes": header.chunk_bytes,
        "chunks": [digest.hex() for digest in (header.chunks if digests is None else digests)],
        "compression": header.compression,
        "program": header.program,
    }
    if header.compression is not None:
        body["stored"] = list(header.stored if stored is None else stored)
    return _canonical(
        {
            "body": body,
            "context": header.context,
            "created": header.created,
            "environment": {"libraries": dict(header.libraries), "platform": header.platform, "python": header.python},
            "expires": header.expires,
            "metadata": header.metadata,
            "serial": header.serial,
        }
    )


_ENCODER: Final = json.JSONEncoder(ensure_ascii=True, allow_nan=False, sort_keys=True, separators=(",", ":"))


def _canonical(value: Any) -> bytes:
    return _ENCODER.encode(value).encode("ascii")


def _checked_context(context: str | None) -> str | None:
    if context is not None and (not isinstance(context, str) or not 0 < len(context) <= MAX_TEXT or not context.isprintable()):
        raise ValueError(f"a context is printable text of 1 to {MAX_TEXT} characters such as 'fraud-model/prod'")
    return context


def _checked_serial(serial: int | None, name: str) -> int | None:
    if serial is not None and (type(serial) is not int or not 0 <= serial <= MAX_INTEGER):
        raise ValueError(f"{name} is an integer from 0 to 2**63 - 1, or None")
    return serial


def check_expected(context: str | None, min_serial: int | None) -> None:
    """Return if a file can have this context and serial, or they are None. Raises `ValueError`."""
    _checked_context(context)
    _checked_serial(min_serial, "min_serial")


def _checked_expiry(expires: datetime | timedelta | int | None, created: int) -> int | None:
    if expires is None:
        return None
    if isinstance(expires, timedelta):
        seconds = created + int(expires.total_seconds())
    elif isinstance(expires, datetime):
        seconds = _unix_seconds(expires)
    elif type(expires) is int:
        seconds = expires
    else:
        raise TypeError(f"expires is a datetime with a time zone, a timedelta, or Unix seconds, not {type(expires).__name__}")
    if seconds <= created:
        raise ValueError("expires is not in the future: a file that is expired when it is written can never be loaded")
    if seconds > MAX_SECONDS:
        raise ValueError("expires is after the year 9999: leave it out for a file that does not expire")
    return seconds


def _unix_seconds(moment: datetime) -> int:
    with contextlib.suppress(OverflowError, TypeError):
        if moment.utcoffset() is not None:
            return int(moment.timestamp())
    raise ValueError("expires has no time zone: pass an aware datetime, such as datetime(2027, 1, 1, tzinfo=timezone.utc)")


def _metadata_text(metadata: Any) -> str | None:
    if metadata is None:
        return None
    _check_metadata(metadata, MAX_METADATA_DEPTH)
    text = json.dumps(metadata, ensure_ascii=True, allow_nan=False)
    if len(text) > MAX_METADATA_BYTES:
        raise ValueError(f"metadata takes {len(text)} bytes as JSON; at most {MAX_METADATA_BYTES} are stored: keep large data beside the model")
    return text


# --- reading ---------------------------------------------------------------------------------------------------


def open(  # noqa: A001 - "open" is the field's word, and callers say container.open
    file: File,
    keyring: Keyring,
    *,
    context: str | None = None,
    min_serial: int | None = None,
    threshold: int = 1,
    map_file: bool = False,
    max_body_bytes: int = MAX_INTEGER,
    max_expansion: int = DEFAULT_EXPANSION,
    now: Callable[[], float] = time.time,
) -> Opened:
    """Authenticate the container in `file` and return what it holds.

    With `map_file` the buffers are read-only views of the mapped file; whoever can write that file can change
    them afterwards. Otherwise they are writable memory of our own. Either way each begins at a multiple of 64 bytes.

    Raises `UnsignedError` or `FormatError` if it is no container, `AuthenticationError` if it does not hold, is
    expired, or is not for this context and serial, `LimitError` if the body is larger than `max_body_bytes`, or than 64 MiB and
    `max_expansion` times what it takes in the file, `OSError`.
    """
    with _source(file) as source:
        view = source.map() if map_file else None
        beginning = source if view is None else _Source(_ViewFile(view), len(view))
        front, header, trusted = _authenticated(beginning, keyring, context, min_serial, threshold, now)
        program, buffers = _content(source, view, front, header, max_body_bytes, max_expansion)
    return Opened(_info(Info, front, header, trusted), program, buffers, _MADE_HERE)


def unverified(
    file: File,
    *,
    context: str | None = None,
    min_serial: int | None = None,
    max_body_bytes: int = MAX_INTEGER,
    max_expansion: int = DEFAULT_EXPANSION,
    now: Callable[[], float] | None = None,
) -> tuple[UntrustedInfo, bytes, tuple[memoryview, ...]]:
    """Return what the container in `file` claims, its program and its buffers: whole and consistent, but nobody vouches for them.

    That is for a check of the structure where there is no key. It makes no `Opened`, so nothing can be built from it. Raises as `open` does;
    for a file that says to be expired only if `now` says what time it is.
    """
    with _source(file) as source:
        front = _read_front(source)
        _check_header_padding(source, front)
        header = _parse_header(front.raw)
        _check_expectations(header, context, min_serial, -1 if now is None else int(now()))
        program, buffers = _content(source, None, front, header, max_body_bytes, max_expansion)
    return _info(UntrustedInfo, front, header, ()), program, buffers


def _content(
    source: _Source, view: memoryview | None, front: _Front, header: _Header, max_body_bytes: int, max_expansion: int
) -> tuple[bytes, tuple[memoryview, ...]]:
    """Return program and buffers of a container whose header was read. Every chunk has the digest that the header says."""
    if header.body_bytes > max_body_bytes:
        raise LimitError(f"the body takes {header.body_bytes} bytes; limits allow {max_body_bytes} (`body_bytes` of Limits)")
    _check_size(source, front, header)
    if header.compression is not None:
        stored = sum(header.stored)
        if header.body_bytes > _most_expanded(stored, max_expansion):
            raise LimitError(
                f"the body takes {header.body_bytes} bytes, and {stored} in the file; "
                f"limits allow {max_expansion} times as much (`expansion` of Limits)"
            )
        if view is not None:
            raise FormatError("the body is compressed, so it cannot be mapped: load it without mmap, or write it with compress=None")
        program, rest, offset = _read_compressed(source, front, header)
    elif view is not None:
        rest, offset = view[front.body_start :], 0
        # Copied first: the bytes hashed are the bytes used, even if somebody writes to the file meanwhile.
        program = bytes(rest[: header.program])
        _check_mapped(program, rest[header.program :], header)
    else:
        program, rest, offset = _read_plain(source, front, header)
    if not chunks.all_zero(chunks.gaps(header.program, header.buffers), rest, offset):
        raise FormatError(_NOT_ZERO)
    starts = chunks.layout(header.program, header.buffers)
    return program, tuple(rest[start - offset : start - offset + length] for start, length in zip(starts, header.buffers, strict=False))


def verify(
    file: File,
    keyring: Keyring,
    *,
    context: str | None = None,
    min_serial: int | None = None,
    threshold: int = 1,
    now: Callable[[], float] = time.time,
) -> Info:
    """Authenticate the whole container like `open`, in constant memory, and return what its header says."""
    with _source(file) as source:
        front, header, trusted = _authenticated(source, keyring, context, min_serial, threshold, now)
        _check_size(source, front, header)
        if source.positional:
            _verify_in_place(source, front, header)
        else:
            for _ in _verified_windows(source, front, header):
                pass
    return _info(Info, front, header, trusted)


def peek(file: File) -> UntrustedInfo:
    """Return what the header claims, checked by nobody. The body is not read."""
    with _source(file) as source:
        front = _read_front(source)
        _check_header_padding(source, front)
        return _info(UntrustedInfo, front, _parse_header(front.raw), ())


def read_whole(file: File, limit: int) -> bytes:
    """Return all bytes of `file`, whatever they are; `limit` says how many there may be. Raises `LimitError`, `OSError`."""
    with _source(file) as source:
        if source.size is not None and source.size > limit:
            raise LimitError(f"the file has {source.size} bytes; limits allow {limit} (`body_bytes` of Limits)")
        data = source.read(source.size if source.size is not None else limit + 1)
        if source.size is not None:
            data += source.read(1)
    if len(data) > limit or (source.size is not None and len(data) > source.size):
        raise LimitError(f"the file has grown meanwhile, or is longer than {limit} bytes (`body_bytes` of Limits)")
    return data


def _authenticated(
    source: _Source, keyring: Keyring, context: str | None, min_serial: int | None, threshold: int, now: Callable[[], float]
) -> tuple[_Front, _Header, tuple[str, ...]]:
    """Read up to the body, and return the front, the header and the ids of the keys that vouch for it.

    The order is the promise: nothing behind the signature block is looked at before its signatures hold.
    """
    front = _read_front(source)
    trusted = keyring.verify(front.digest, front.signatures, threshold=_checked_threshold(threshold), now=now())
    _check_header_padding(source, front)
    header = _parse_header(front.raw)
    _check_expectations(header, context, min_serial, int(now()))
    return front, header, trusted


class _Front(NamedTuple):
    signatures: tuple[Signature, ...]
    raw: bytes
    digest: bytes
    header_end: int

    @property
    def body_start(self) -> int:
        return self.header_end + chunks.padding(self.header_end)


class _Source:
    """A file read once, front to back; if it is a regular one that we opened, any part of it may be read at its place."""

    def __init__(self, file: Any, size: int | None, *, close: bool = False) -> None:
        self.file = file
        self.size = size
        self._close = close
        self.positional = close and size is not None and hasattr(os, "preadv")

    def __enter__(self) -> _Source:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._close:
            self.file.close()
        if kind is not None and issubclass(kind, MemoryError):
            raise LimitError("the file takes more memory than is to be had here") from None

    def read(self, count: int) -> bytes:
        """Return up to `count` bytes; fewer only at the end of the file."""
        pieces = []
        while count:
            piece = self.file.read(min(count, _READ_BYTES) if self.size is None else count)
            if isinstance(piece, str):
                raise TypeError("the file is open in text mode: open it with mode 'rb'")
            if piece is None:
                raise BlockingIOError("the file is in non-blocking mode: hand in a blocking one")
            if not piece:
                break
            if len(piece) > count:
                raise OSError("read() of the file returned more than it was asked for")
            # A copy of anything mutable, so that what is judged is what is used.
            pieces.append(bytes(piece))
            count -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read_exactly(self, count: int, what: str) -> bytes:
        data = self.read(count)
        if len(data) != count:
            _truncated(what, count, len(data))
        return data

    def read_into(self, view: memoryview, what: str) -> memoryview:
        """Fill `view` and return it."""
        done = 0
        readinto = getattr(self.file, "readinto", None)
        while done < len(view):
            if readinto is None:
                piece = self.read(min(len(view) - done, _READ_BYTES))
                count = len(piece)
                view[done : done + count] = piece
            else:
                count = readinto(view[done:])
                if count is None:
                    raise BlockingIOError("the file is in non-blocking mode: hand in a blocking one")
            if not count:
                _truncated(what, len(view), done)
            done += count
        return view

    def read_at(self, view: memoryview, offset: int, what: str) -> None:
        """Fill `view` with what stands at `offset` of the file. Threads may do so at once."""
        done = 0
        while done < len(view):
            count = os.preadv(self.file.fileno(), [view[done:]], offset + done)
            if not count:
                _truncated(what, len(view), done)
            done += count

    def check_end(self, end: int) -> None:
        """Refuse a file that goes on; `end` is where it must end."""
        if os.pread(self.file.fileno(), 1, end) if self.positional else self.read(1):
            _appended("bytes follow")

    def map(self) -> memoryview:
        """Return the file, mapped read-only."""
        if self.size is None or not _is_plain_file(self.file) or self.file.tell() != 0:
            raise ValueError("mmap=True needs a path, or a regular file at its beginning: load it without mmap")
        # The size that counts is that of the mapping: the file may have grown since.
        view = memoryview(mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ)) if self.size else memoryview(b"")
        self.size = len(view)
        return view


class _ViewFile:
    """Reads from a view without copying what is not asked for."""

    def __init__(self, view: memoryview) -> None:
        self._view = view

    def read(self, count: int) -> bytes:
        data = bytes(self._view[:count])
        self._view = self._view[count:]
        return data


def _check_no_key(file: Any) -> None:
    """Refuse a key in place of a path: errors and logs repeat paths."""
    name = os.fspath(file) if isinstance(file, os.PathLike) else file
    if isinstance(name, str) and any(form in name for form in ("spk1_", "spkpriv1_")):
        raise TypeError("the file is what looks like a key: the calls are dump(obj, file, key=...) and load(file, key=...)")


def _source(file: Any) -> _Source:
    _check_no_key(file)
    if isinstance(file, (str, os.PathLike)):
        opened = io.FileIO(file, "rb")
        status = os.fstat(opened.fileno())
        return _Source(opened, status.st_size if stat.S_ISREG(status.st_mode) else None, close=True)
    if isinstance(file, (bytes, bytearray, memoryview)):
        # Mutable input is copied: what is judged must be what is used.
        data = bytes(file)
        return _Source(io.BytesIO(data), len(data))
    if isinstance(file, io.TextIOBase):
        raise TypeError("the file is open in text mode: open it with mode 'rb'")
    if not hasattr(file, "read"):
        raise TypeError(f"a file is a path or a binary file object, not {type(file).__name__}")
    return _Source(file, _remaining(file))


def _remaining(file: Any) -> int | None:
    """Return how many bytes are left in a regular file, None for a pipe or anything else."""
    if not _is_plain_file(file):
        return None
    try:
        status = os.fstat(file.fileno())
        return status.st_size - file.tell() if stat.S_ISREG(status.st_mode) else None
    except (AttributeError, OSError, ValueError):
        return None


def _is_plain_file(file: Any) -> bool:
    """Tell whether a file object reads what its descriptor holds; that of a decompressing one is of the compressed file."""
    raw = file.raw if isinstance(file, (io.BufferedReader, io.BufferedRandom)) else file
    return isinstance(raw, io.FileIO)


def _read_front(source: _Source) -> _Front:
    prefix = source.read(PREFIX.size)
    if prefix[: len(MAGIC)] != MAGIC:
        cut = "truncated" if MAGIC.startswith(prefix) else ""
        raise UnsignedError(_what_it_is(prefix + source.read(_SNIFF_BYTES)), about=cut)
    if len(prefix) < PREFIX.size:
        _truncated("the prefix", PREFIX.size, len(prefix))
    _, version, count, block_bytes, header_bytes = PREFIX.unpack(prefix)
    if version != VERSION:
        raise FormatError(f"the container has format version {version} and this release reads version {VERSION}: upgrade safepickle-ml")
    if not 1 <= count <= MAX_SIGNATURES or block_bytes > MAX_SIGNATURE_BLOCK_BYTES or not 2 <= header_bytes <= MAX_HEADER_BYTES:
        raise FormatError("the prefix of the container is damaged: a count or length in it is out of range")
    signatures = _parse_signatures(source.read_exactly(block_bytes, "the signature block"), count)
    if source.size is not None and header_bytes > source.size:
        _truncated("the header", header_bytes, source.size - PREFIX.size - block_bytes)
    raw = source.read_exactly(header_bytes, "the header")
    return _Front(signatures, raw, hashlib.sha256(raw).digest(), PREFIX.size + block_bytes + header_bytes)


def _check_header_padding(source: _Source, front: _Front) -> None:
    """Read the padding that follows the header. No signature covers it, so each of its bytes must be zero."""
    if any(source.read_exactly(front.body_start - front.header_end, "the padding of the header")):
        raise FormatError("the padding after the header is not zero: the file was changed or is damaged")


def _parse_signatures(block: bytes, count: int) -> tuple[Signature, ...]:
    signatures: list[Signature] = []
    order = []
    at = 0
    while at < len(block) and len(signatures) < count:
        if at + SIGNATURE_HEAD.size > len(block):
            break
        code, key_id, length = SIGNATURE_HEAD.unpack_from(block, at)
        at += SIGNATURE_HEAD.size
        suite = _SUITES.get(code)
        value = block[at : at + length]
        at += length
        if suite is not None and suite.signature_bytes != length:
            raise FormatError(f"a signature of suite {suite.name} has {length} bytes instead of {suite.signature_bytes}")
        signatures.append(Signature(f"unknown suite {code}" if suite is None else suite.name, key_id.hex(), value))
        order.append((code, key_id))
    if at != len(block) or len(signatures) != count:
        raise FormatError("the signature block is damaged: its length does not fit the signatures in it")
    if any(first >= second for first, second in itertools.pairwise(order)):
        raise FormatError("the signatures are not in their one order, by suite and key id, each once")
    return tuple(signatures)


def _no_float(text: str) -> NoReturn:
    raise ValueError("a number that is not an integer")


_DECODER: Final = json.JSONDecoder(parse_float=_no_float, parse_constant=_no_float)


def _parse_header(raw: bytes) -> _Header:
    """Return the header, or raise `FormatError`. Called only with bytes that a trusted key signed, and by `peek`."""
    try:
        value = _DECODER.decode(raw.decode("ascii"))
        canonical = _canonical(value)
    except (ValueError, RecursionError):
        raise FormatError("the header is not canonical JSON") from None
    if canonical != raw:
        raise FormatError("the header is JSON, but not in its one canonical form")
    try:
        header = _header_from(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(f"the header does not have the fields of format version {VERSION}: {error}") from None
    count = -(-header.body_bytes // header.chunk_bytes)
    if len(header.chunks) != count or (header.compression is not None and len(header.stored) != count):
        raise FormatError("the header lists another number of chunk digests than the body has chunks")
    return header


def _header_from(value: Any) -> _Header:
    top = _members(value, "body context created environment expires metadata serial")
    compression = top["body"].get("compression")
    body = _members(top["body"], f"buffers chunk_bytes chunks compression program{'' if compression is None else ' stored'}")
    environment = _members(top["environment"], "libraries platform python")
    if compression is not None and compression not in chunks.CODECS:
        raise ValueError("a compression that this release does not read: upgrade safepickle-ml")
    if body["chunk_bytes"] not in CHUNK_BYTES_ALLOWED:
        raise ValueError("chunk_bytes is not a power of two from 2**16 to 2**26")
    digests = tuple(bytes.fromhex(each) for each in _array(body["chunks"]))
    if any(len(each) != 32 for each in digests) or [each.hex() for each in digests] != body["chunks"]:
        raise ValueError("chunks are not lower-case SHA-256 digests")
    header = _Header(
        program=_integer(body["program"]),
        buffers=tuple(_integer(each) for each in _array(body["buffers"])),
        chunk_bytes=body["chunk_bytes"],
        chunks=digests,
        context=_checked_context(top["context"]),
        serial=_checked_serial(top["serial"], "serial"),
        created=_seconds(top["created"]),
        expires=None if top["expires"] is None else _seconds(top["expires"]),
        metadata=top["metadata"],
        python=_text(environment["python"]),
        platform=_text(environment["platform"]),
        libraries={_text(name): _text(version) for name, version in environment["libraries"].items()},
        compression=compression,
        stored=tuple(_stored(each, body["chunk_bytes"]) for each in _array(body.get("stored", []))),
    )
    if header.metadata is not None:
        _parse_metadata(header.metadata)
    return header


def _parse_metadata(text: Any) -> Any:
    if not isinstance(text, str) or len(text) > MAX_METADATA_BYTES:
        raise ValueError("metadata is not JSON text")
    try:
        metadata = json.loads(text, parse_constant=_no_float)
    except (ValueError, RecursionError):
        raise ValueError("metadata is not JSON text") from None
    _check_metadata(metadata, MAX_METADATA_DEPTH)
    return metadata


def _check_metadata(value: Any, depth: int) -> None:
    """Refuse metadata that would not come back as it is: objects and arrays nested too deep, or with keys that JSON would make text."""
    if not isinstance(value, (dict, list, tuple)):
        return
    if depth == 0:
        raise ValueError(f"metadata is nested more than {MAX_METADATA_DEPTH} deep")
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("metadata has a key that is not text: JSON would make it text, and two keys might become one")
        for item in value.values():
            _check_metadata(item, depth - 1)
    else:
        for item in value:
            _check_metadata(item, depth - 1)


def _members(value: Any, names: str) -> dict[str, Any]:
    if not isinstance(value, dict) or sorted(value) != names.split():
        raise ValueError(f"an object with exactly the members {names} is expected")
    return value


def _array(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("an array is expected")
    return value


def _integer(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_INTEGER:
        raise ValueError("a length is an integer from 0 to 2**63 - 1")
    return value


def _stored(value: Any, chunk_bytes: int) -> int:
    # Nothing compresses to twice what it was. Without this bound a header could ask for any memory before a digest holds.
    if not 0 < _integer(value) <= 2 * chunk_bytes:
        raise ValueError("the length of a compressed chunk is from 1 to twice chunk_bytes")
    return int(value)


def _seconds(value: Any) -> int:
    if _integer(value) > MAX_SECONDS:
        raise ValueError("a time is Unix seconds before the year 10000")
    return int(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise ValueError(f"a version is printable text of at most {MAX_TEXT} characters")
    return value


def _check_expectations(header: _Header, context: str | None, min_serial: int | None, now: int) -> None:
    if context is not None and header.context != _checked_context(context):
        said = "no context" if header.context is None else f"the context {header.context!r}"
        raise AuthenticationError(
            f"the file was signed for {said} and you expect {context!r}: it is a genuine file of something else; "
            f"load the right file, or sign this one with context={context!r}",
            about="context",
        )
    if _checked_serial(min_serial, "min_serial") is not None and (header.serial is None or header.serial < (min_serial or 0)):
        said = "no serial" if header.serial is None else f"serial {header.serial}"
        raise AuthenticationError(
            f"the file has {said} and you expect at least {min_serial}: it may be an old one put back; load the current file", about="serial"
        )
    if header.expires is not None and now >= header.expires:
        raise AuthenticationError(
            f"the file expired at {_time(header.expires).isoformat()}: load a newer one, or have it signed again", about="expired"
        )


def _checked_threshold(threshold: int) -> int:
    if type(threshold) is not int or not 1 <= threshold <= MAX_SIGNATURES:
        raise ValueError(f"threshold is an integer from 1 to {MAX_SIGNATURES}")
    return threshold


def _check_size(source: _Source, front: _Front, header: _Header) -> None:
    """Refuse a regular file of the wrong length before memory is allocated for it."""
    expected = front.body_start + sum(header.sizes())
    if source.size is None or source.size == expected:
        return
    if source.size < expected:
        _truncated("the file", expected, source.size)
    _appended(f"{source.size - expected} bytes follow")


def _most_expanded(stored: int, times: int) -> int:
    return _EXPANSION_FLOOR + times * stored


def _read_plain(source: _Source, front: _Front, header: _Header) -> tuple[bytes, memoryview, int]:
    """Return the program, and memory of our own with the rest of the body and where in the body it begins; every chunk was verified."""
    program = source.read_exactly(header.program, "the program")
    if not header.buffers and len(header.chunks) == 1:
        # A small message, whose cost is that of each step.
        _check_chunk(0, chunks.digest([program]), header)
        source.check_end(front.body_start + header.program)
        return program, memoryview(b""), header.program
    edge, total, size = header.program, header.body_bytes, header.chunk_bytes
    rest = chunks.allocate(total - edge, edge)

    def part(numbers: range) -> memoryview:
        return rest[max(numbers.start * size - edge, 0) : max(min(numbers.stop * size, total) - edge, 0)]

    def arrived() -> Iterator[range]:
        for numbers in chunks.grouped(len(header.chunks), size):
            if not source.positional:
                source.read_into(part(numbers), "the buffers")
            yield numbers

    def check(numbers: range) -> None:
        if source.positional:
            source.read_at(part(numbers), front.body_start + max(numbers.start * size, edge), "the buffers")
        for number in numbers:
            pieces = chunks.pieces_between(program, rest, number * size, min((number + 1) * size, total))
            _check_chunk(number, chunks.digest(pieces), header)

    for _ in chunks.in_order(check, arrived(), total):
        pass
    source.check_end(front.body_start + total)
    return program, rest, edge


def _read_compressed(source: _Source, front: _Front, header: _Header) -> tuple[bytes, memoryview, int]:
    """Return the same of a body whose chunks are compressed; each was verified before it was decompressed."""
    codec = _codec(header)
    total, size = header.body_bytes, header.chunk_bytes
    body = chunks.allocate(total, 0)

    def arrived() -> Iterator[tuple[int, bytes]]:
        for number, stored in enumerate(header.stored):
            yield number, source.read_exactly(stored, f"chunk {number}")

    def expand(numbered: tuple[int, bytes]) -> None:
        number, data = numbered
        _check_chunk(number, chunks.digest([data]), header)
        codec.expand(data, body[number * size : min((number + 1) * size, total)])

    for _ in chunks.in_order(expand, arrived(), total):
        pass
    source.check_end(front.body_start + sum(header.stored))
    return bytes(body[: header.program]), body, 0


def _codec(header: _Header) -> chunks.Codec:
    try:
        return chunks.codec_of(header.compression or "")
    except ValueError as error:
        raise FormatError(f"the body is compressed with {header.compression}, which cannot be read here: {error}") from None


def _check_mapped(program: bytes, rest: memoryview, header: _Header) -> None:
    cut = enumerate(chunks.cut([program, rest], header.chunk_bytes))
    for _ in chunks.in_order(lambda each: _check_chunk(each[0], chunks.digest(each[1]), header), cut, header.body_bytes):
        pass


def _check_chunk(number: int, found: bytes, header: _Header) -> None:
    if found != header.chunks[number]:
        where = f"from byte {number * header.chunk_bytes}" if header.compression is None else "compressed"
        raise AuthenticationError(
            f"chunk {number} of the body ({where}) does not have the signed SHA-256: "
            "the file was changed after it was signed, or it is damaged; fetch it again from where it was made",
            about="tampered",
        )


def _verify_in_place(source: _Source, front: _Front, header: _Header) -> None:
    """Check the digests of all chunks of a regular file, and that it ends after the last; each thread holds a MiB."""
    sizes, gaps = header.sizes(), _visible_gaps(header)
    starts = list(itertools.accumulate(sizes, initial=0))

    def check(numbers: range) -> None:
        piece = memoryview(bytearray(min(max(sizes[numbers.start : numbers.stop]), _READ_BYTES)))
        for number in numbers:
            made, clean = hashlib.sha256(), True
            for at in range(starts[number], starts[number + 1], len(piece)):
                view = piece[: starts[number + 1] - at]
                source.read_at(view, front.body_start + at, "the body")
                made.update(view)
                clean = clean and chunks.all_zero(gaps, view, at)
            _check_chunk(number, made.digest(), header)
            if not clean:
                raise FormatError(_NOT_ZERO)

    for _ in chunks.in_order(check, chunks.grouped(len(sizes), header.chunk_bytes), starts[-1]):
        pass
    source.check_end(front.body_start + starts[-1])


def _visible_gaps(header: _Header) -> list[tuple[int, int]]:
    """Return the gaps between buffers if they stand in the file as they are."""
    return chunks.gaps(header.program, header.buffers) if header.compression is None else []


def _verified_windows(source: _Source, front: _Front, header: _Header) -> Iterator[memoryview]:
    """Yield the body piece by piece, each once its chunks were verified, and check that the file ends there.

    A piece is valid until the next is asked for.
    """
    sizes, gaps = header.sizes(), _visible_gaps(header)
    window = chunks.allocate(min(sum(sizes), max(_WINDOW_BYTES, *sizes) if sizes else 0), 0)
    first = 0
    while first < len(sizes):
        stop, held = first, 0
        while stop < len(sizes) and held + sizes[stop] <= len(window):
            held += sizes[stop]
            stop += 1
        view = source.read_into(window[:held], "the body")
        _check_window(view, range(first, stop), sizes, header)
        if not chunks.all_zero(gaps, view, first * header.chunk_bytes):
            raise FormatError(_NOT_ZERO)
        yield view
        first = stop
    source.check_end(front.body_start + sum(sizes))


def _check_window(view: memoryview, numbers: range, sizes: Sequence[int], header: _Header) -> None:
    starts = list(itertools.accumulate(sizes[numbers.start : numbers.stop], initial=0))

    def check(number: int) -> None:
        at = starts[number - numbers.start]
        _check_chunk(number, chunks.digest([view[at : at + sizes[number]]]), header)

    for _ in chunks.in_order(check, numbers, len(view)):
        pass


def _info(kind: type[_Kind], front: _Front, header: _Header, trusted: tuple[str, ...]) -> _Kind:
    return kind(
        signatures=front.signatures,
        trusted_key_ids=trusted,
        context=header.context,
        serial=header.serial,
        created=_time(header.created),
        expires=None if header.expires is None else _time(header.expires),
        metadata=None if header.metadata is None else _parse_metadata(header.metadata),
        python=header.python,
        platform=header.platform,
        libraries=header.libraries,
        program_bytes=header.program,
        buffer_bytes=header.buffers,
        header_sha256=front.digest.hex(),
        compression=header.compression,
        stored_bytes=None if header.compression is None else sum(header.stored),
    )


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _appended(what: str) -> NoReturn:
    raise FormatError(f"{what} the end of the container: something was appended; fetch the file again from where it was made", about="appended")


def _truncated(what: str, expected: int, found: int) -> NoReturn:
    raise FormatError(
        f"{what} ends after {max(found, 0)} of {expected} bytes: the file is cut off; fetch it again from where it was made", about="truncated"
    )


# --- signing again ---------------------------------------------------------------------------------------------


def resign(
    path: str | os.PathLike[str],
    trusted: Keyring,
    signer: Keyring,
    *,
    add: bool,
    drop_unverified: bool = False,
    context: str | None = None,
    min_serial: int | None = None,
    threshold: int = 1,
    now: Callable[[], float] = time.time,
) -> Info:
    """Verify a file with the keys of `trusted`, sign the same header with the primary of `signer`, and replace the file as a whole.

    With `add` the signatures that the file has stay beside the new one, but for an older one by the same key, and with
    `drop_unverified` but for those that were not verified here; without it the new one stands alone. Header and body stay byte for
    byte what they were; nothing is unpickled. Returns the `Info` of the file as it was verified. Raises like `verify`, `KeyringError`
    if the primary cannot sign or `trusted` denies it, `OSError`, also if the file was replaced meanwhile.
    """
    _check_no_key(path)
    real = os.path.realpath(path)
    file, status = _regular(real)
    with _Source(file, status.st_size, close=True) as source:
        front, header, good = _authenticated(source, trusted, context, min_serial, threshold, now)
        _check_size(source, front, header)
        trusted.check_signer(signer.signer(now=now()), now=now())
        made = signer.sign(front.digest, now=now())
        verified = [each for each in front.signatures if each.key_id in good and trusted.find(each.suite, each.key_id) is not None]
        kept = _beside(made, verified if drop_unverified else front.signatures) if add else []
        # Nothing is renamed before the last chunk was verified: what does not hold raises out of the generator.
        pieces: Iterator[Bytes] = itertools.chain(_front(front.raw, [*kept, *made]), _verified_windows(source, front, header))
        replace(real, pieces, stat.S_IMODE(status.st_mode) & 0o777, old=status)
    return _info(Info, front, header, good)


def _regular(path: str) -> tuple[io.FileIO, os.stat_result]:
    opened = open_regular(path)
    if opened is None:
        raise ValueError(f"{path} is not a regular file, so it cannot be replaced")
    return opened


def _beside(made: Sequence[Signature], signatures: Sequence[Signature]) -> list[Signature]:
    """Return the signatures of a file that stay beside the new ones."""
    replaced = {(each.suite, each.key_id) for each in made}
    kept = [each for each in signatures if (each.suite, each.key_id) not in replaced]
    unknown = [each for each in kept if each.suite not in SUITES]
    if unknown:
        raise FormatError(
            f"the file has a signature of {unknown[0].suite}, which this release cannot write again: upgrade safepickle-ml, "
            "or leave out what is not verified (`drop_unverified`)"
        )
    if len(kept) + len(made) > MAX_SIGNATURES:
        raise ValueError(f"the file has {len(kept)} signatures and {MAX_SIGNATURES} is the most: replace them with `resign`")
    return kept


# --- what a file is that is not ours ---------------------------------------------------------------------------

_KNOWN_BEGINNINGS: Final = (
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (b"outs:\n- md5:", "a DVC pointer, not the file itself: run `dvc pull`"),
    *(
        (mangled, "a safepickle container that was moved in text mode, which changed its bytes: move it again in binary mode")
        for mangled in (b"\x89SPKL\n", b"\x89SPKL\r\r\n", b"\xc2\x89SPKL", b"\xef\xbf\xbdSPKL")
    ),
    (b"PK\x03\x04", "a zip archive, as torch, skops or npz files are"),
    (b"\x1f\x8b", "a gzip file, perhaps a compressed joblib or pickle file"),
    (b"BZh", "a bzip2 file, perhaps a compressed joblib or pickle file"),
    (b"\xfd7zXZ\x00", "an xz file, perhaps a compressed joblib or pickle file"),
    (b"\x5d\x00\x00", "an lzma file, perhaps a compressed joblib file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"\x04\x22\x4d\x18", "an lz4 file, perhaps a compressed joblib file"),
    (b"ZF0x", "a compressed joblib file of an old release"),
    (b"\x93NUMPY", "a numpy .npy file"),
    (b"\x89HDF\r\n", "an HDF5 file"),
    (b"%PDF", "a PDF"),
    (b"\x7fELF", "a program"),
)
_MARKUP: Final = (b"<!doctype", b"<html", b"<?xml", b"<error")
_UNSIGNED_HINT: Final = "safepickle loads only what a trusted key signed"


def like_container(head: bytes) -> bool:
    """Tell whether a file that begins like this is a container, or was one before it was cut off or moved in text mode."""
    mangled = tuple(beginning for beginning, name in _KNOWN_BEGINNINGS if "moved in text mode" in name)
    return bool(head) and (head.startswith((MAGIC, *mangled)) or MAGIC.startswith(head))


def _what_it_is(head: bytes) -> str:
    """Return the message for bytes that do not begin with the magic, naming what they look like."""
    if not head:
        return "the file is empty: writing or fetching it failed"
    if MAGIC.startswith(head[: len(MAGIC)]):
        return "the file ends within the magic bytes: it is cut off; fetch it again from where it was made"
    for beginning, name in _KNOWN_BEGINNINGS:
        if head.startswith(beginning):
            return f"this is {name}; {_UNSIGNED_HINT}"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_MARKUP):
        return f"this is an HTML or XML page, perhaps an error page saved in place of the file: fetch it again; {_UNSIGNED_HINT}"
    if len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return _pickle_text(b"joblib" in head)
    if head[:1] == b"\x78" and len(head) > 1 and (head[0] * 256 + head[1]) % 31 == 0:
        return f"this is zlib data, perhaps a compressed joblib file; {_UNSIGNED_HINT}"
    if head[:1] in (b"(", b"c", b"]", b"}", b"I", b"S", b"V", b"F", b"L") and b"." in head:
        return _pickle_text(b"joblib" in head)
    return f"this is not a safepickle container: it does not begin with its magic bytes; {_UNSIGNED_HINT}"


def _pickle_text(joblib: bool) -> str:
    kind = "a joblib file" if joblib else "a plain pickle (a joblib file begins the same way)"
    return f"this is {kind}, without any signature: {_UNSIGNED_HINT}; where the model is trained, write it with safepickle.dump"
