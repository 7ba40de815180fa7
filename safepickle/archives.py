"""Containers and compressions taken apart, as every reader that is more lenient than this one would see them.

`unpack` recognises by content, never by name. It returns each plausible reading of the bytes: a file that is both a gzip stream
and a zip archive has two. It opens nothing within what it took out, so it never recurses: whoever calls it does that, and passes
the one `Budget` of the file along.

What is promised:

- Whatever a reader could see is a member. What comes out of a broken stream before it breaks is one, for a pickle in it has run by
  then; where two lists of an archive differ, both versions are.
- Whatever is inconsistent, damaged, unknown, left over or beyond the budget is a fault. No fault means that every byte is accounted for.
- No memory is taken before the budget has room for it, nothing is written, and time and memory are linear in input and budget.
- Nothing is raised but `LimitError`, and that only where memory itself runs out: a reading that passes the budget says so in a fault
  of the rule "limit", beside what it took out by then.

Sources: RFC 1950 (zlib), 1951 (deflate), 1952 (gzip), 8878 (zstd), the .xz and .lzma file formats and 7zFormat.txt of the LZMA SDK,
the LZ4 frame format, APPNOTE.TXT 6.3.10 (zip), POSIX.1-2001 (pax), and the sources of zipfile, tarfile and joblib for what they let through.

What it does not know: in a broken deflate stream, the last byte before the break may be missing where both lie in one byte; sparse tar members are
given as they are stored; codecs of 7z and zip beyond those of the standard library, lz4 and zstd.
"""

from __future__ import annotations

import bz2
import io
import lzma
import re
import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from .chunks import zstd_module
from .errors import LimitError, escaped
from .machine import Limits

__all__ = ["Budget", "Fault", "Member", "Unpacked", "is_headed", "is_zip", "unpack"]

_FREE_BYTES: Final = 64 << 20
# What is taken out at a time, and how that shrinks in front of an error, since decoders lose what they made in the call that fails.
_STEPS: Final = (1 << 20, 1 << 13, 1 << 6, 1)
# What is put in at a time: decoders copy what they leave of it, so a file of many short streams begins each with little.
_FIRST_PIECE: Final = 1 << 8
_PIECE: Final = 1 << 16
# Beyond this many faults of one reading, another tells nobody anything.
_FAULTS: Final = 1000
_INSTALL: Final = "`pip install 'safepickle-ml[legacy]'` and scan again"
_BY_HAND: Final = "unpack it with its own tool where nothing is loaded, and scan the files"
# The end record with the longest comment. No reader looks for it further from the end.
_END_WINDOW: Final = 22 + 65_535
# Readings of one zip archive that are followed up; two are as wrong as more.
_DIRECTORIES: Final = 8
_NAME_LENGTH: Final = 512
_NOT_NUL: Final = re.compile(rb"[^\0]")


class Budget:
    """What taking apart one file may cost, however deep its archives are nested. One of them counts over the whole scan."""

    def __init__(self, limits: Limits, stored: int) -> None:
        """`stored` is the size of the file in bytes."""
        self.limits = limits
        self.left = _FREE_BYTES + limits.expansion * stored
        """How many bytes may still come out."""
        self._members = 0
        # What goes into decoders counts as well, for a stream can be long and yield nothing, and entries can overlap.
        self._unread = _FREE_BYTES + 16 * stored

    def expand(self, amount: int) -> None:
        """Count bytes that are about to be kept. Raises `LimitError`, and counts nothing, if that is too many."""
        if amount > self.left:
            raise LimitError(f"more comes out than 64 MiB and {self.limits.expansion} times the file (`expansion` of Limits): a bomb?")
        self.left -= amount
        # What came out may itself go into a decoder.
        self._unread += 16 * amount

    def read(self, amount: int) -> None:
        """Count bytes that are about to go into a decoder. Raises `LimitError` if the same ones are decoded again and again."""
        if amount > self._unread:
            raise LimitError("the same bytes are to be decompressed over and over: a bomb?")
        self._unread -= amount

    def member(self) -> None:
        """Count a member. Raises `LimitError` if there are too many."""
        if self._members >= self.limits.members:
            raise LimitError(f"more than {self.limits.members} members (`members` of Limits)")
        self._members += 1

    def nested(self, depth: int) -> None:
        """Raise `LimitError` if an archive within `depth` others is too deep. Who opens what is within archives asks this."""
        if depth > self.limits.archive_depth:
            raise LimitError(f"more than {self.limits.archive_depth} archives within one another (`archive_depth` of Limits)")


@dataclass(frozen=True, slots=True)
class Member:
    """One stretch of bytes that a reader of the archive could be given."""

    name: str
    """As in the archive, with control and bidirectional characters escaped; empty for what a compressed file holds."""
    data: bytes
    offset: int
    """Where its stored bytes begin in the archive."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A reason why readers may see something else than what was taken out, or anything at all."""

    offset: int | None
    what: str
    rule: str
    """"archive" (inconsistent or damaged), "cannot-open" (a codec that is not here), "trailing-data" or "limit"."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """One reading of a file."""

    format: str
    members: tuple[Member, ...]
    faults: tuple[Fault, ...]
    compression: bool
    """Whether it is one compressed file, which the member without a name is without compression; further members are what lies beside it."""
    start: int = 0
    """Where in the file this reading begins: only zip archives need not do so at 0."""
    end: int = 0
    """Where it ends."""
    between: tuple[tuple[int, int], ...] = field(default=(), compare=False)
    """From where to where lies what holds no content: of gzip, zip and tar the headers, with their extra fields and comments, and padding."""


def unpack(data: bytes, budget: Budget) -> list[Unpacked]:
    """Return every plausible reading of the bytes as an archive or a compressed file; none if they are neither.

    Raises `LimitError` if memory runs out.
    """
    try:
        readings = [made for recognise, form, read in _FORMATS if recognise(data) and (made := _reading(form, read, data, budget)) is not None]
        # Tar and gzip hold a zip archive in its own bytes, and that one is found when the member is opened. Whoever would open the
        # outer file as that zip sees the same. It is a reading of its own only if it is not in there as a whole and at the end.
        return [each for each in readings if not (each.start and any(_within(data, each, other) for other in readings if not other.start))]
    except MemoryError:
        raise LimitError("there is too little memory to take the archive apart") from None


def is_headed(head: bytes) -> bool:
    """Tell whether a file that begins like this is of a form that has no magic bytes: tar, a zlib stream, or one of .lzma."""
    return _is_tar(head) or _is_zlib(head) or _is_lzma_alone(head)


def _within(data: bytes, inner: Unpacked, outer: Unpacked) -> bool:
    if outer.faults:
        return False
    stretch = data[inner.start : inner.end]
    # Forwards, which is linear in CPython; backwards is not.
    return any(each.data.find(stretch, max(0, len(each.data) - _END_WINDOW - len(stretch))) >= 0 for each in outer.members)


class _Reading:
    """A reading that is being made."""

    def __init__(self, data: bytes, budget: Budget) -> None:
        self.data = data
        self.view = memoryview(data)
        self.budget = budget
        self.members: list[Member] = []
        self.faults: list[Fault] = []
        self.start = 0
        self.end = len(data)
        self.compression = False
        self.plausible = True
        # Where the contents lie as they are stored.
        self.contents: list[tuple[int, int]] = []

    def fault(self, offset: int | None, what: str, rule: str = "archive") -> None:
        if len(self.faults) < _FAULTS:
            self.faults.append(Fault(offset, what, rule))
        elif len(self.faults) == _FAULTS:
            self.faults.append(Fault(offset, "and more faults than are listed here", "limit"))

    def member(self, name: str, data: bytes, offset: int) -> None:
        """Add a member whose bytes the budget has already counted."""
        self.budget.member()
        self.members.append(Member(_shown(name), data, offset))

    def stretch(self, name: str, start: int, end: int) -> None:
        """Add the stored bytes themselves as a member."""
        self.budget.expand(end - start)
        self.member(name, self.data[start:end], start)
        self.contents.append((start, end))

    def between(self) -> Iterator[tuple[int, int]]:
        reach = 0
        for start, end in _merged(self.contents):
            if start > reach:
                yield reach, start
            reach = max(reach, end)
        if reach < len(self.data):
            yield reach, len(self.data)

    def trouble(self, offset: int, where: str, trouble: tuple[str, str] | None) -> None:
        if trouble:
            self.fault(offset, f"{where}: {trouble[0]}", trouble[1])

    def rest(self, start: int, what: str) -> None:
        """Account for what follows the end of the format."""
        if start < len(self.data):
            self.fault(start, f"{len(self.data) - start} bytes follow the end of {what}", "trailing-data")
            self.stretch(f"<after the {what}>", start, len(self.data))


def _reading(form: str, read: Callable[[_Reading], None], data: bytes, budget: Budget) -> Unpacked | None:
    reading = _Reading(data, budget)
    try:
        read(reading)
    except LimitError as error:
        reading.fault(None, str(error), "limit")
    if not reading.plausible:
        return None
    between = tuple(reading.between()) if form in ("gzip", "zip", "tar") else ()
    return Unpacked(form, tuple(reading.members), tuple(reading.faults), reading.compression, reading.start, reading.end, between)


def _shown(name: str) -> str:
    """Return a name as a report may show it: nothing in it moves the cursor or turns the text around."""
    shown = escaped(name[:_NAME_LENGTH])
    return shown + "..." if len(name) > _NAME_LENGTH else shown


def _doubt(name: str) -> str | None:
    """Say what is wrong with the name of a member, if anything."""
    if "\0" in name:
        return "has a NUL in its name, where some readers end it"
    if name.startswith(("/", "\\")) or re.match("[A-Za-z]:[/\\\\]", name):
        return "has an absolute path for a name"
    if ".." in re.split(r"[/\\]", name):
        return "has '..' in its name"
    if not name:
        return "has no name"
    if not name.isprintable():
        return "has control, bidirectional or undecodable characters in its name"
    return None


# --- decoders ---------------------------------------------------------------------------------------------------


class _Inflater:
    """A decompressor of raw deflate with the interface of the others. Its input is what it was given and did not use yet."""

    def __init__(self) -> None:
        self._of = zlib.decompressobj(-15)
        self._left: bytes | memoryview = b""

    @property
    def eof(self) -> bool:
        return self._of.eof

    @property
    def needs_input(self) -> bool:
        return not self._left

    @property
    def unused_data(self) -> bytes:
        return self._of.unused_data + bytes(self._left)

    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes:
        given = b"".join((self._left, data)) if self._left else data
        if max_length > 1:
            made = self._of.decompress(given, max_length)
            self._left = self._of.unconsumed_tail
            return made
        # zlib looks at the next code before it says that the output is full, and what it made is lost if that code is invalid.
        # So it gets no more input than it needs for this byte.
        made = self._of.decompress(b"", 1)
        used = 0
        while not made and not self._of.eof and used < len(given):
            made = self._of.decompress(self._of.unconsumed_tail + given[used : used + 1], 1)
            used += 1
        self._left = self._of.unconsumed_tail + given[used:]
        return made


_Trouble = tuple[str, str]


def _draw(make: Callable[[], Any], view: memoryview, budget: Budget, into: io.BytesIO, most: int | None = None) -> tuple[int | None, _Trouble | None]:
    """Decompress one stream at the beginning of `view`, to its end or to `most` bytes; all that comes out before an error, too.

    Returns how many bytes of the view it took, unless that is not known, and what was wrong with its rule.
    """
    began = into.tell()
    taken: int | None = None
    trouble: _Trouble | None = None
    for number, step in enumerate(_STEPS):
        taken, trouble, failed = _run(make, view, budget, into, began, step, most, again=number > 0)
        if not failed:
            break
    return taken, trouble


def _run(
    make: Callable[[], Any], view: memoryview, budget: Budget, into: io.BytesIO, began: int, step: int, most: int | None, *, again: bool
) -> tuple[int | None, _Trouble | None, bool]:
    """Do so once, beyond what `into` holds already. The last value tells whether the decoder failed, so that smaller steps may yield more."""
    known = into.tell() - began
    made = position = 0
    piece_bytes = _FIRST_PIECE
    full = stuck = False
    try:
        decoder = make()
    except Exception as error:  # noqa: BLE001 - a codec says what it likes of hostile bytes, and all of it is a fault
        return None, _said(error), False
    while not decoder.eof:
        if most is not None and made >= most:
            return None, None, False
        piece = view[:0]
        if stuck or not (full or not decoder.needs_input):
            if position >= len(view):
                return None, ("the data breaks off before its end", "archive"), False
            piece = view[position : position + piece_bytes]
            position += len(piece)
            piece_bytes = min(2 * piece_bytes, _PIECE)
            if not again:
                try:
                    budget.read(len(piece))
                except LimitError as error:
                    return None, (str(error), "limit"), False
        room = budget.left
        wanted = min(_STEPS[0], known - made) if made < known else min(step, room + 1)
        if most is not None:
            wanted = min(wanted, most - made)
        try:
            out = decoder.decompress(piece, wanted)
        except Exception as error:  # noqa: BLE001 - as above
            return None, _said(error), True
        full = len(out) == wanted
        stuck = not piece and not out
        if made >= known:
            kept = min(len(out), room)
            budget.expand(kept)
            into.write(out[:kept] if kept < len(out) else out)
            if kept < len(out):
                try:
                    budget.expand(len(out))
                except LimitError as error:
                    return None, (str(error), "limit"), False
        made += len(out)
    return position - len(decoder.unused_data or b""), None, False


def _said(error: Exception) -> _Trouble:
    if isinstance(error, MemoryError) or "memory" in str(error).lower():
        return "the stream asks for more memory than it may have", "limit"
    return f"the data is damaged ({type(error).__name__}: {_shown(str(error))})", "archive"


def _window(stated: int, budget: Budget) -> int:
    """Return how large a dictionary LZMA needs at most: no match reaches back further than all that may come out."""
    return max(4096, min(stated, budget.left + 1, 0xFFFFFFFF))


def _lzma1(properties: bytes, budget: Budget) -> lzma.LZMADecompressor:
    """Return a decoder for raw LZMA with the 5 bytes of properties."""
    if len(properties) != 5 or properties[0] >= 225:
        raise ValueError("no valid properties of LZMA")
    rest, lc = divmod(properties[0], 9)
    pb, lp = divmod(rest, 5)
    size = _window(int.from_bytes(properties[1:], "little"), budget)
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1, "dict_size": size, "lc": lc, "lp": lp, "pb": pb}])


def _lzma2(properties: bytes, budget: Budget) -> lzma.LZMADecompressor:
    if len(properties) != 1 or properties[0] > 40:
        raise ValueError("no valid properties of LZMA2")
    size = (2 | properties[0] & 1) << (properties[0] // 2 + 11)
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": _window(size, budget)}])


def _xz_decoder() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=1 << 30)


def _zstd_maker() -> Callable[[], Any] | None:
    try:
        maker: Callable[[], Any] = zstd_module().ZstdDecompressor
    except ValueError:
        return None
    return maker


def _lz4_maker() -> Callable[[], Any] | None:
    try:
        import lz4.frame
    except ImportError:
        return None
    maker: Callable[[], Any] = lz4.frame.LZ4FrameDecompressor
    return maker


# --- one compressed file -----------------------------------------------------------------------------------------


def _gzip(reading: _Reading) -> None:
    """RFC 1952: members in a row, whose contents are one file. Zeros may follow, as on a tape."""
    reading.compression = True
    data = reading.data
    into = io.BytesIO()
    at = 0
    whole = True
    while whole and data.startswith(b"\x1f\x8b", at):
        body = _gzip_header(reading, at)
        whole = False
        if body is None:
            break
        began = into.tell()
        taken, trouble = _draw(_Inflater, reading.view[body:], reading.budget, into)
        reading.trouble(at, "gzip", trouble)
        reading.contents.append((body, len(data) if taken is None else body + taken))
        if taken is None:
            break
        trailer = body + taken
        at = min(trailer + 8, len(data))
        if at - trailer < 8:
            reading.fault(trailer, "gzip: the data breaks off within the checksum")
            break
        checksum, size = struct.unpack_from("<2I", data, trailer)
        with into.getbuffer() as made:
            if zlib.crc32(made[began:]) != checksum:
                reading.fault(trailer, "gzip: the checksum does not match: readers that do not check it run what is in there")
            if (len(made) - began) & 0xFFFFFFFF != size:
                reading.fault(trailer + 4, "gzip: the length does not match")
        whole = True
        following = _NOT_NUL.search(data, at)
        if following is None:
            at = len(data)
        elif data.startswith(b"\x1f\x8b", following.start()):
            at = following.start()
    reading.member("", into.getvalue(), 0)
    if whole:
        reading.rest(at, "gzip data")


def _gzip_header(reading: _Reading, at: int) -> int | None:
    """Return where the deflated data of the gzip member begins."""
    data = reading.data
    if len(data) < at + 10:
        reading.fault(at, "gzip: the header breaks off")
        return None
    method, flags = data[at + 2 : at + 4]
    if method != 8:
        reading.fault(at + 2, f"gzip: compression method {method} is unknown")
        return None
    if flags & 0xE0:
        reading.fault(at + 3, "gzip: reserved flags are set")
    end = at + 10
    if flags & 4:
        end += 2 + int.from_bytes(data[end : end + 2], "little")
    for flag in (8, 16):
        if flags & flag:
            end = (data.find(b"\0", end) + 1) or len(data) + 1
    if flags & 2:
        if data[end : end + 2] != (zlib.crc32(reading.view[at:end]) & 0xFFFF).to_bytes(2, "little"):
            reading.fault(end, "gzip: the checksum of the header does not match")
        end += 2
    if end > len(data):
        reading.fault(at, "gzip: the header breaks off")
        return None
    return end


def _zlib(reading: _Reading) -> None:
    """RFC 1950. Any two bytes in 31 may be its header, text among them, so it needs more than that to be taken for it."""
    reading.compression = True
    data = reading.data
    usual = data[0] == 0x78
    if data[1] & 0x20:
        reading.plausible = usual and not re.match(rb"[ -~\t\r\n]{5}", data[1:6])
        reading.fault(0, f"zlib: made with a preset dictionary, which is not here; {_BY_HAND}", "cannot-open")
        return
    end, made = _zlib_stream(reading, 0, "zlib")
    reading.plausible = usual or end is not None or (bool(made) and not 32 <= data[1] < 127)
    if reading.plausible:
        reading.member("", made, 0)
        if end is not None:
            reading.rest(end, "zlib data")


def _zlib_stream(reading: _Reading, start: int, form: str) -> tuple[int | None, bytes]:
    """Return where the zlib stream that begins here ends, if it does, and what comes out of it, whatever its checksum says."""
    into = io.BytesIO()
    taken, trouble = _draw(_Inflater, reading.view[start + 2 :], reading.budget, into)
    reading.trouble(start, form, trouble)
    made = into.getvalue()
    if taken is None:
        return None, made
    end = start + 2 + taken
    checksum = reading.data[end : end + 4]
    if len(checksum) < 4:
        reading.fault(end, f"{form}: the data breaks off within the checksum")
    elif int.from_bytes(checksum, "big") != zlib.adler32(made):
        reading.fault(end, f"{form}: the checksum does not match: readers that do not check it run what is in there")
    return min(end + 4, len(reading.data)), made


def _zfile(reading: _Reading) -> None:
    """What joblib wrote before 0.10: `ZF`, the length in hexadecimal in 19 characters, with joblib 0.8 a space, then zlib data."""
    reading.compression = True
    data = reading.data
    start = 22 if data[21:22] == b" " else 21
    stated = re.fullmatch(rb"0x([0-9a-fA-F]{1,17}) *", data[2:21])
    if not _is_zlib(data[start : start + 6]):
        reading.plausible = stated is not None
        reading.fault(start, "ZFILE: here should be zlib data")
        return
    end, made = _zlib_stream(reading, start, "ZFILE")
    reading.plausible = bool(made) or end is not None or stated is not None
    if not reading.plausible:
        return
    if stated is None or (end is not None and int(stated[1], 16) != len(made)):
        reading.fault(2, f"ZFILE: the length that it states is not that of what is in it, {len(made)} bytes")
    reading.member("", made, start)
    if end is not None:
        reading.rest(end, "zlib data")


def _is_zlib(data: bytes) -> bool:
    return len(data) >= 6 and data[0] & 0x8F == 0x08 and (data[0] << 8 | data[1]) % 31 == 0


def _bz2(reading: _Reading) -> None:
    _streams(reading, "bz2", lambda at: bz2.BZ2Decompressor if reading.data.startswith(b"BZh", at) else None)


def _lzma(reading: _Reading) -> None:
    """Streams of .xz and .lzma, which Python's `lzma.open` reads in any order."""
    data = reading.data

    def maker(at: int) -> Callable[[], Any] | None:
        if data.startswith(_XZ, at):
            return _xz_decoder
        if not _is_lzma_alone(data, at):
            return None
        if at:
            reading.fault(at, "xz: a further stream of .lzma, which only some readers read")
        size = _window(int.from_bytes(data[at + 1 : at + 5], "little"), reading.budget)
        # The same header with a dictionary that is no larger than it can have use for.
        return lambda: _Prefixed(lzma.LZMADecompressor(lzma.FORMAT_ALONE), data[at : at + 1] + size.to_bytes(4, "little"), 5)

    _streams(reading, "xz" if data.startswith(_XZ) else "lzma", maker, padded=data.startswith(_XZ))
    if not data.startswith((_XZ, b"\x5d\0\0")) and not (reading.members and reading.members[0].data):
        reading.plausible = False


class _Prefixed:
    """A decompressor that is given other bytes in place of the first ones."""

    def __init__(self, of: lzma.LZMADecompressor, first: bytes, skip: int) -> None:
        self._of = of
        self._of.decompress(first, 1)
        self._skip = skip

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)

    def decompress(self, data: memoryview, max_length: int) -> bytes:
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        return self._of.decompress(data[skipped:], max_length)


def _is_lzma_alone(data: bytes, at: int = 0) -> bool:
    """Tell whether a .lzma header is here that liblzma would recognise: a dictionary of 2^n or 2^n + 2^(n-1) bytes, less than 256 GiB in all."""
    if len(data) < at + 14 or data[at] >= 225 or data[at + 13]:
        return False
    if data.startswith(b"\x5d\0\0", at):
        return True
    size = int.from_bytes(data[at + 1 : at + 5], "little")
    length = int.from_bytes(data[at + 5 : at + 13], "little")
    if not (length == 0xFFFFFFFFFFFFFFFF or length < 1 << 38):
        return False
    part = size // 3 if size % 3 == 0 else size
    return size == 0xFFFFFFFF or ((size > 0 or length > 0) and part & (part - 1) == 0)


def _framed(name: str, magic: bytes, maker: Callable[[], Callable[[], Any] | None]) -> Callable[[_Reading], None]:
    """Return a reader of zstd or lz4: frames in a row, skippable ones among them."""

    def read(reading: _Reading) -> None:
        data = reading.data
        make = maker()
        if make is None:
            reading.compression = True
            reading.fault(0, f"{name}: its codec is not installed: {_INSTALL}", "cannot-open")
            return
        _streams(reading, name, lambda at: make if data.startswith(magic, at) else None, skippable=True)

    return read


def _streams(
    reading: _Reading, form: str, maker: Callable[[int], Callable[[], Any] | None], *, padded: bool = False, skippable: bool = False
) -> None:
    """Read streams in a row, whose contents are one file. `maker` returns how to make the decoder of the stream at an offset, if one is there."""
    reading.compression = True
    data = reading.data
    into = io.BytesIO()
    aside: list[tuple[int, int]] = []
    at = 0
    whole = True
    while whole and at < len(data):
        if padded and data[at] == 0:
            found = _NOT_NUL.search(data, at)
            after = found.start() if found else len(data)
            if (after - at) % 4:
                reading.fault(at, f"{form}: the padding is not a multiple of four bytes")
            at = after
        elif skippable and data.startswith(b"\x2a\x4d\x18", at + 1) and data[at] & 0xF0 == 0x50:
            after = at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")
            if after > len(data):
                reading.fault(at, f"{form}: a skippable frame breaks off")
            aside.append((at + 8, min(after, len(data))))
            at = min(after, len(data))
        elif (make := maker(at)) is not None:
            taken, trouble = _draw(make, reading.view[at:], reading.budget, into)
            reading.trouble(at, form, trouble)
            whole = taken is not None
            at += taken or 0
        else:
            break
    reading.member("", into.getvalue(), 0)
    for start, end in aside:
        if start < end:
            reading.stretch("<skippable frame>", start, end)
    if whole:
        reading.rest(at, f"{form} data")


# --- zip --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a local header or an entry of the central directory says of a member."""

    at: int
    raw: bytes
    flags: int
    method: int
    checksum: int
    packed: int
    size: int
    after: int
    """Where the header ends: with a local one, where the data begins."""
    local: int = 0
    """Where the central directory says that the local header is."""
    mode: int = 0
    other_name: bool = False
    """Whether an extra field (0x7075) gives another name."""

    @property
    def name(self) -> str:
        return self.raw.decode("utf-8", "backslashreplace") if self.flags & 0x800 else self.raw.decode("cp437")

    @property
    def streamed(self) -> bool:
        """Whether sizes and checksum stand behind the data."""
        return bool(self.flags & 8)


_LOCAL: Final = b"PK\3\4"
_CENTRAL: Final = b"PK\1\2"
_END: Final = b"PK\5\6"
_DESCRIPTOR: Final = b"PK\7\x08"
_ZIP_METHODS: Final = {0: "stored", 8: "deflate", 12: "bzip2", 14: "lzma", 93: "zstd", 95: "xz"}


def _extra(extra: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        yield kind, extra[at + 4 : at + 4 + length]
        at += 4 + length


def _long_values(extra: bytes, values: list[int]) -> list[int]:
    """Return 32-bit values, with those that are all ones taken from the zip64 field, in which they stand in this order."""
    field = next((content for kind, content in _extra(extra) if kind == 1), b"")
    made = []
    for value in values:
        if value == 0xFFFFFFFF and len(field) >= 8:
            made.append(int.from_bytes(field[:8], "little"))
            field = field[8:]
        else:
            made.append(value)
    return made


def _renamed(extra: bytes, raw: bytes) -> bool:
    return any(kind == 0x7075 and content[5:] != raw for kind, content in _extra(extra))


def _local_header(data: bytes, at: int) -> _Entry | None:
    if at < 0 or not data.startswith(_LOCAL, at) or len(data) < at + 30:
        return None
    _, flags, method, _, _, checksum, packed, size, name, more = struct.unpack_from("<5H3I2H", data, at + 4)
    after = at + 30 + name + more
    if after > len(data):
        return None
    raw, extra = data[at + 30 : at + 30 + name], data[at + 30 + name : after]
    size, packed = _long_values(extra, [size, packed])
    return _Entry(at, raw, flags, method, checksum, packed, size, after, other_name=_renamed(extra, raw))


def _central_entry(data: bytes, at: int) -> _Entry | None:
    if at < 0 or not data.startswith(_CENTRAL, at) or len(data) < at + 46:
        return None
    values = struct.unpack_from("<6H3I5H2I", data, at + 4)
    _, _, flags, method, _, _, checksum, packed, size, name, more, comment, _, _, attributes, local = values
    # zipfile takes what is there of a name or comment that breaks off.
    after = min(at + 46 + name + more + comment, len(data))
    raw, extra = data[at + 46 : at + 46 + name], data[at + 46 + name : at + 46 + name + more]
    size, packed, local = _long_values(extra, [size, packed, local])
    return _Entry(at, raw, flags, method, checksum, packed, size, after, local, attributes >> 16, _renamed(extra, raw))


@dataclass(frozen=True, slots=True)
class _Directory:
    """Where an end record says that a central directory is."""

    begins: int
    ends: int
    shift: int
    count: int
    record: int
    """Where the records of the end begin, those of zip64 included."""
    end: int
    """Where the end record itself begins."""
    closes: int
    """Where it ends, its comment included."""
    doubts: tuple[str, ...]


def _directories(data: bytes, at: int) -> Iterator[_Directory]:
    """Yield where readers would look for the central directory of the end record at this offset, and find one."""
    if len(data) < at + 22:
        return
    disk, first_disk, here, count, size, offset, comment = struct.unpack_from("<4H2IH", data, at + 4)
    doubts = []
    if disk or first_disk or here != count:
        doubts.append("it says that the archive spans several files")
    if at + 22 + comment > len(data):
        doubts.append("its comment breaks off")
    closes = min(at + 22 + comment, len(data))
    stated = [(count, size, offset, at)]
    if at >= 20 and data.startswith(b"PK\6\7", at - 20):
        # zipfile believes that the zip64 record lies right before; others follow the offset.
        pointed = int.from_bytes(data[at - 12 : at - 4], "little")
        places = [place for place in dict.fromkeys((at - 76, pointed)) if 0 <= place <= len(data) - 56 and data.startswith(b"PK\6\6", place)]
        agreed = [(count, size, offset, place) for place in places]
        for place in places:
            length, long_count, long_size, long_offset = struct.unpack_from("<Q20x3Q", data, place + 4)
            if count not in (long_count, 0xFFFF) or size not in (long_size, 0xFFFFFFFF) or offset not in (long_offset, 0xFFFFFFFF):
                doubts.append("its zip64 record says otherwise")
            else:
                agreed.clear()
            if place != at - 76 or length != 44:
                doubts.append("its zip64 record does not lie before it, or is of another length")
            stated.append((long_count, long_size, long_offset, place))
        # An older zipfile looks nowhere but right before, and believes the short values where nothing is.
        if at - 76 in places and not agreed:
            del stated[0]
        if len(places) != 1 or pointed != places[0]:
            doubts.append("its zip64 record is not where it should be")
        # Without a record that agrees, the directory that the short values speak of ends before one all the same.
        stated += agreed
    seen = set()
    for count, size, offset, record in stated:
        for begins, shift in ((record - size, record - size - offset), (offset, 0)):
            if begins >= 0 and (begins, shift) not in seen and (data.startswith(_CENTRAL, begins) or not (count or size)):
                seen.add((begins, shift))
                if count or size or begins == record:
                    yield _Directory(begins, min(begins + size, record), shift, count, record, at, closes, tuple(doubts))


def _zip_ends(data: bytes) -> list[int]:
    """Return where end records may be, from the last: all that a reader would find from the end, and the last one of all."""
    ends = []
    low = max(0, len(data) - _END_WINDOW)
    at = data.rfind(_END)
    while at >= 0:
        ends.append(at)
        at = data.rfind(_END, low, at + 3) if at >= low else -1
    return ends


def is_zip(data: bytes) -> bool:
    """Tell whether a local header is at 0, or a central directory where an end record says: what it lists is not looked for.

    Where readers look for that differs, and none minds what else is listed.
    """
    if data.startswith((_LOCAL, _DESCRIPTOR + _LOCAL, b"PK00PK\3\4", _END)):
        return True
    return any(each.count or each.ends > each.begins for at in _zip_ends(data) for each in _directories(data, at))


def _entries(data: bytes, directory: _Directory, most: int) -> Iterator[_Entry]:
    """Yield what the directory lists, by its count or by its size, whichever is more."""
    at = directory.begins
    number = 0
    while (at < directory.ends or number < directory.count) and number <= most:
        entry = _central_entry(data, at)
        if entry is None:
            return
        yield entry
        at = entry.after
        number += 1


@dataclass(frozen=True, slots=True)
class _Decoded:
    """What a stretch of a zip archive holds."""

    data: bytes
    used: int | None
    """How many bytes of the stretch it took, if that is known."""
    troubles: list[_Trouble]


class _Zip:
    """A zip archive that is read by its central directory, by its local headers, and by what lies between."""

    def __init__(self, reading: _Reading) -> None:
        self.reading = reading
        self.data = reading.data
        self.places: list[tuple[int, int]] = []
        self.unpacked: dict[tuple[int, int, int], _Decoded] = {}
        self.names: set[bytes] = set()

    def read(self) -> None:
        reading, data = self.reading, self.data
        directories = self.directories()
        framework: list[tuple[int, int]] = []
        for number, each in enumerate(directories):
            for doubt in each.doubts:
                reading.fault(each.record, f"zip: {doubt}")
            framework += [(each.begins, each.ends), (each.end, each.closes)]
            if each.record < each.end:
                framework += [(each.record, each.record + 56), (each.end - 20, each.end)]
            self.names.clear()
            self.listed(each, first=not number)
        if not directories:
            reading.fault(None, "zip: there is no central directory: only readers that go by local headers, and those that repair, see what is in it")
        elif len({each.record for each in directories}) > 1:
            reading.fault(directories[1].record, "zip: there are several end records, and which one counts depends on the reader")
        elif len(directories) > 1:
            reading.fault(directories[1].begins, "zip: there are two central directories, and which one counts depends on the reader")
        self.overlaps([(each.begins, each.ends) for each in directories])
        self.gaps(sorted(self.places + framework), listed=bool(directories))
        if directories:
            reading.start = min((start for start, _ in self.places), default=min(each.begins for each in directories))
            reading.end = max(each.closes for each in directories)
            if data.startswith(_LOCAL):
                reading.start = 0

    def directories(self) -> list[_Directory]:
        """Return the directories that count, from the last: not those of archives within members."""
        found: list[_Directory] = []
        broken: list[int] = []
        empty: list[_Directory] = []
        inside: list[tuple[int, int]] = []
        for at in _zip_ends(self.data):
            place = bisect_right(inside, (at, len(self.data))) - 1
            if place >= 0 and at < inside[place][1]:
                continue
            begun = len(found)
            here = list(_directories(self.data, at))
            for each in here:
                if each.ends == each.begins:
                    empty.append(each)
                elif len(found) < _DIRECTORIES:
                    found.append(each)
                else:
                    self.reading.fault(at, f"zip: more than {_DIRECTORIES} central directories", "limit")
            if not here:
                broken.append(at)
            # Only so much as a first look: where the members of this directory lie, as far as it says.
            for each in found[begun:]:
                inside += [(start, end) for start, end in self.stated(each) if end <= each.begins]
                inside = _merged(inside)
        if found or self.data.startswith((_LOCAL, _END)):
            found += empty[:_DIRECTORIES]
        for at in broken:
            if not any(each.begins <= at < each.ends for each in found):
                self.reading.fault(at, "zip: this end record points to no central directory")
        return found

    def stated(self, directory: _Directory) -> Iterator[tuple[int, int]]:
        for entry in _entries(self.data, directory, self.reading.budget.limits.members):
            local = _local_header(self.data, entry.local + directory.shift)
            if local is not None:
                yield local.after, local.after + entry.packed

    def listed(self, directory: _Directory, *, first: bool) -> None:
        reading = self.reading
        entry = None
        number = 0
        for number, entry in enumerate(_entries(self.data, directory, self.reading.budget.limits.members), 1):  # noqa: B007 - used after the loop
            self.entry(entry, directory)
        ends = entry.after if entry else directory.begins
        if number != directory.count or ends != directory.ends:
            what = f"zip: the central directory lists {number} members, and the end record says {directory.count} or another size"
            reading.fault(directory.begins, what)
        if directory.shift and first:
            reading.fault(directory.record, f"zip: its offsets are {directory.shift} bytes off: what lies before it was put there later")

    def entry(self, entry: _Entry, directory: _Directory) -> None:
        """Add the member that the central directory lists, once more if its local header describes another one."""
        reading = self.reading
        name = entry.name
        shown = _shown(name)
        at = entry.local + directory.shift
        if doubt := _doubt(name):
            reading.fault(entry.at, f"zip: {shown} {doubt}")
        if entry.raw in self.names:
            reading.fault(entry.at, f"zip: {shown} is listed twice, and which one counts depends on the reader")
        self.names.add(entry.raw)
        local = _local_header(self.data, at)
        if local is None:
            reading.budget.member()
            reading.fault(entry.at, f"zip: {shown} is listed, but there is no local header of it at {at}")
            return
        if entry.mode & 0xF000 not in (0, 0x8000, 0x4000):
            reading.fault(entry.at, f"zip: {shown} is a link or a special file")
        for differs, what in (
            (entry.raw != local.raw or entry.other_name or local.other_name, f"has another name in its local header, {_shown(local.name)}"),
            (entry.method != local.method, "has another compression method in its local header"),
            ((entry.flags ^ local.flags) & ~6, "has other flags in its local header"),
            ((entry.flags | local.flags) & 0xF7F1, "has flags that say encrypted, patched or something unknown"),
        ):
            if differs:
                reading.fault(at, f"zip: {shown} {what}")
        end = self.add(entry, local.after, name)
        sizes = (local.checksum, local.packed, local.size)
        if local.streamed:
            end = self.descriptor(end, shown, entry.checksum, entry.packed, entry.size)
            same = sizes == (entry.checksum, entry.packed, entry.size) or not set(sizes) - {0, 0xFFFFFFFF}
        else:
            same = sizes == (entry.checksum, entry.packed, entry.size)
        if not same:
            reading.fault(at, f"zip: {shown} has another size or checksum in its local header")
        if entry.method != local.method or (not same and local.packed != entry.packed):
            self.add(local, local.after, f"{name} <by its local header>")
        self.places.append((at, end))

    def descriptor(self, end: int, shown: str, *values: int) -> int:
        """Check the data descriptor, which has a signature or not, and long sizes or not, and return where it ends."""
        for form in ("<4sI2I", "<4sI2Q", "<I2I", "<I2Q"):
            length = struct.calcsize(form)
            if end + length <= len(self.data):
                found = struct.unpack_from(form, self.data, end)
                if found == (((_DESCRIPTOR,) if "s" in form else ()) + values):
                    return end + length
        self.reading.fault(end, f"zip: {shown} has no data descriptor that agrees with its sizes and checksum")
        return end

    def add(self, entry: _Entry, start: int, name: str) -> int:
        """Add the member whose data begins here as this entry describes it, and return where that ends."""
        reading = self.reading
        end = min(start + entry.packed, len(self.data))
        reading.contents.append((start, end))
        shown = _shown(name)
        if end < start + entry.packed:
            reading.fault(start, f"zip: {shown} breaks off: {entry.packed} bytes of it should be here")
        known = (entry.method, start, end) in self.unpacked
        made = self.decoded(entry.method, start, end)
        data, used, troubles = made.data, made.used, made.troubles
        if known:
            reading.budget.member()
            reading.fault(start, f"zip: {shown} has the same bytes as a member before it, and is given once")
            return end
        for trouble in troubles:
            reading.trouble(start, f"zip: {shown}", trouble)
        if not any(rule != "archive" for _, rule in troubles):
            if len(data) != entry.size:
                reading.fault(start, f"zip: {shown} is of {len(data)} bytes, not {entry.size}")
            if zlib.crc32(data) != entry.checksum:
                reading.fault(start, f"zip: {shown}: the checksum does not match: readers that do not check it run what is in there")
        if name.endswith("/") and not data:
            reading.budget.member()
        elif not any(rule == "cannot-open" for _, rule in troubles):
            reading.member(name, data, start)
        if used is not None and used < end - start:
            reading.fault(start + used, f"zip: {end - start - used} bytes follow the end of the compressed data of {shown}", "trailing-data")
            reading.stretch(f"{name} <after its data>", start + used, end)
        elif used is None and entry.method in _ZIP_METHODS and any("breaks off" in what for what, _ in troubles) and end < len(self.data):
            # A reader of streams does not know the size and goes on.
            longer = self.decoded(entry.method, start, len(self.data)).data
            if len(longer) > len(data):
                reading.member(f"{name} <beyond its size>", longer, start)
        return end

    def decoded(self, method: int, start: int, end: int) -> _Decoded:
        """Return what a stretch holds by a method. Nothing is decoded twice."""
        key = (method, start, end)
        if key not in self.unpacked:
            self.unpacked[key] = _Decoded(*self.decode(method, start, end))
        return self.unpacked[key]

    def decode(self, method: int, start: int, end: int) -> tuple[bytes, int | None, list[_Trouble]]:
        budget = self.reading.budget
        view = self.reading.view[start:end]
        skip = 0
        make: Callable[[], Any] | None
        match method:
            case 0:
                budget.expand(len(view))
                return bytes(view), len(view), []
            case 8:
                make = _Inflater
            case 12:
                make = bz2.BZ2Decompressor
            case 14:
                length = int.from_bytes(view[2:4], "little")
                skip = min(4 + length, len(view))
                properties = bytes(view[4:skip])
                make = lambda: _lzma1(properties, budget)  # noqa: E731 - the table of methods is what is read here
            case 93:
                make = _zstd_maker()
            case 95:
                make = _xz_decoder
            case _:
                return b"", None, [(f"compression method {method} is not known here; {_BY_HAND}", "cannot-open")]
        if make is None:
            return b"", None, [(f"the codec of {_ZIP_METHODS[method]} is not installed: {_INSTALL}", "cannot-open")]
        into = io.BytesIO()
        used, trouble = _draw(make, view[skip:], budget, into)
        if trouble and trouble[1] == "limit":
            self.reading.member("<what came out before the limit>", into.getvalue(), start)
            raise LimitError(trouble[0])
        return into.getvalue(), None if used is None else used + skip, [trouble] if trouble else []

    def overlaps(self, directories: list[tuple[int, int]]) -> None:
        reach = -1
        for start, end in sorted({*self.places, *directories}):
            if start < reach:
                self.reading.fault(start, "zip: what lies here belongs to two members")
            reach = max(reach, end)

    def gaps(self, taken: list[tuple[int, int]], *, listed: bool) -> None:
        """Look for members, and anything else, where no list says that something is."""
        reach = 0
        for start, end in [*taken, (len(self.data), len(self.data))]:
            if start > reach:
                self.gap(reach, start, listed=listed)
            reach = max(reach, end)

    def gap(self, start: int, end: int, *, listed: bool) -> None:
        at = start
        while (found := self.data.find(_LOCAL, at, end)) >= 0:
            local = _local_header(self.data, found)
            if local is None:
                at = found + 4
                continue
            if found > start:
                self.left(start, found)
            if listed:
                self.reading.fault(found, f"zip: {_shown(local.name)} has a local header, but the central directory does not list it")
            start = at = self.unlisted(local, end)
        if start < end:
            self.left(start, end)

    def left(self, start: int, end: int) -> None:
        if end - start == 4 and not start and self.data.startswith((_DESCRIPTOR, b"PK00")):
            self.reading.fault(start, "zip: it is marked as one part of several")
            return
        if _NOT_NUL.search(self.data, start, end) is None:
            return
        after = end == len(self.data)
        where = "before" if not start else "after" if after else "within"
        self.reading.fault(start, f"zip: {end - start} bytes {where} the archive belong to nothing in it", "trailing-data" if after else "archive")
        self.reading.stretch(f"<{where} the zip archive>", start, end)

    def unlisted(self, local: _Entry, gap_end: int) -> int:
        """Add a member that has but a local header, and return where to look on."""
        reading = self.reading
        before = len(reading.faults)
        if doubt := _doubt(local.name):
            reading.fault(local.at, f"zip: {_shown(local.name)} {doubt}")
        if local.flags & 0xF7F1:
            reading.fault(local.at, f"zip: {_shown(local.name)} has flags that say encrypted, patched or something unknown")
        if not local.streamed or local.packed:
            end = self.add(local, local.after, local.name)
            whole = len(reading.faults) == before
            return end if whole and end <= gap_end else local.after
        if local.method == 0:
            # Where a stored member without a size ends is where the next thing begins.
            nexts = [self.data.find(each, local.after, gap_end) for each in (_DESCRIPTOR, _LOCAL, _CENTRAL)]
            end = min((each for each in nexts if each >= 0), default=gap_end)
            reading.stretch(local.name, local.after, end)
            data = reading.members[-1].data
        else:
            made = self.decoded(local.method, local.after, len(self.data))
            data, used = made.data, made.used
            for trouble in made.troubles:
                reading.trouble(local.after, f"zip: {_shown(local.name)}", trouble)
            reading.member(local.name, data, local.after)
            reading.contents.append((local.after, local.after + used if used is not None else len(self.data)))
            if used is None:
                return local.after
            end = local.after + used
        end = self.descriptor(end, _shown(local.name), zlib.crc32(data), end - local.after, len(data))
        return min(end, gap_end) if end > local.after else local.after


def _merged(stretches: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    made: list[tuple[int, int]] = []
    for start, end in sorted(stretches):
        if made and start <= made[-1][1]:
            made[-1] = (made[-1][0], max(end, made[-1][1]))
        else:
            made.append((start, end))
    return made


# --- tar --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _TarNames:
    """What headers of GNU tar and pax say of the member after them."""

    name: str | None = None
    size: int | None = None


_TAR_LINKS: Final = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a FIFO",
}
_BLOCK: Final = 512
_PAX_BYTES: Final = 1 << 20


def _is_tar(data: bytes) -> bool:
    return len(data) >= _BLOCK and _is_tar_header(data, 0)


def _is_tar_header(data: bytes, at: int) -> bool:
    block = data[at : at + _BLOCK]
    if len(block) < _BLOCK:
        return False
    stated = _tar_number(block[148:156])
    others = block[:148] + block[156:]
    total = sum(others) + 8 * 32
    # Old writers summed signed characters, and readers accept that.
    return stated in (total, total - 256 * sum(each > 127 for each in others))


def _tar_number(field: bytes) -> int | None:
    """Return a number of a header: octal digits, or with the first bit set, base 256."""
    if field[:1] in (b"\x80", b"\xff"):
        value = int.from_bytes(field[1:], "big")
        return value if field[0] == 0x80 else value - 256 ** (len(field) - 1)
    try:
        # As tarfile has it, with all that int() lets through.
        return int(field.partition(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        return None


def _tar(reading: _Reading) -> None:
    """ustar, GNU and pax archives, headers of 512 bytes and the data behind each; also what follows their end."""
    data = reading.data
    at = 0
    ended = False
    names = _TarNames()
    while True:
        found = _NOT_NUL.search(data, at)
        blocks = ((found.start() if found else len(data)) - at) // _BLOCK
        at += blocks * _BLOCK
        ended = ended or blocks > 0
        if found is None:
            if blocks < 2:
                reading.fault(at, "tar: it does not end with two empty blocks: it may have been cut off")
            return
        if ended:
            reading.fault(at, f"{len(data) - at} bytes follow the end of the tar archive", "trailing-data")
            ended = False
        if not _is_tar_header(data, at):
            reading.fault(at, "tar: here should be a header, or the end")
            following = _next_tar_header(data, at)
            reading.stretch("<within the tar archive>", at, following)
            at = following
            if at == len(data):
                return
        at = _tar_member(reading, at, names)


def _next_tar_header(data: bytes, at: int) -> int:
    found = data.find(b"ustar", at + 257)
    while found >= 0:
        start = found - 257
        if (start - at) % _BLOCK == 0 and _is_tar_header(data, start):
            return start
        found = data.find(b"ustar", found + 1)
    return len(data)


def _tar_member(reading: _Reading, at: int, names: _TarNames) -> int:
    """Take in the header at this offset with what belongs to it, and return where the next one is."""
    data = reading.data
    block = data[at : at + _BLOCK]
    kind = block[156:157]
    name = _tar_text(block[:100])
    if block[257:263] == b"ustar\0" and block[345]:
        name = f"{_tar_text(block[345:500])}/{name}"
    stated = _tar_number(block[124:136])
    if stated is None or stated < 0:
        reading.fault(at, f"tar: the size of {_shown(name)} is no number")
        stated = 0
    size = stated
    start = at + _BLOCK
    if kind not in (b"L", b"K", b"x", b"X", b"g"):
        if names.size is not None and names.size != size:
            if size:
                reading.fault(at, f"tar: {_shown(name)} has two sizes, {size} and by pax {names.size}, and which one counts depends on the reader")
                reading.stretch(f"{name} <by its own header>", start, max(start, min(start + size, len(data))))
            size = names.size
        name = names.name if names.name is not None else name
        names.name = names.size = None
    end = min(start + size, len(data))
    if end < start + size:
        reading.fault(at, f"tar: {_shown(name)} breaks off: {size} bytes of it should be here")
    match kind:
        case b"L":
            names.name = _tar_text(data[start : min(end, start + _PIECE)])
            reading.budget.member()
        case b"x" | b"X" | b"g":
            _tar_pax(reading, start, end, names, everywhere=kind == b"g")
            reading.budget.member()
        case b"K":
            reading.budget.member()
        case b"5" if not size:
            reading.budget.member()
        case b"1" | b"2" | b"3" | b"4" | b"5" | b"6":
            if kind != b"5":
                reading.fault(at, f"tar: {_shown(name)} is {_TAR_LINKS[kind]}")
            reading.budget.member()
            if size:
                reading.fault(at, f"tar: {_shown(name)} is no file and has a size, and whether data follows depends on the reader")
                reading.stretch(name, start, end)
                # tarfile takes what follows for the next header.
                return start if _is_tar_header(data, start) else start + -(-size // _BLOCK) * _BLOCK
        case _:
            # An unknown type is a file to every reader; that of a directory was, in old archives, told by a slash.
            if kind not in (b"0", b"\0", b"7"):
                reading.fault(at, f"tar: {_shown(name)} is of type {_shown(kind.decode('latin-1'))}: a sparse file, part of one, or unknown")
            if doubt := _doubt(name):
                reading.fault(at, f"tar: {_shown(name)} {doubt}")
            if size or not name.endswith("/"):
                reading.stretch(name, start, end)
            else:
                reading.budget.member()
    return min(start + -(-size // _BLOCK) * _BLOCK, len(data))


def _tar_text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "backslashreplace")


def _tar_pax(reading: _Reading, start: int, end: int, names: _TarNames, *, everywhere: bool) -> None:
    """Take in the records of a pax header, of the form "length key=value" and a newline."""
    at = start
    if end - start > _PAX_BYTES:
        reading.fault(start, f"tar: a pax header of more than {_PAX_BYTES >> 20} MiB, the rest of which is not read", "limit")
        end = start + _PAX_BYTES
    while at < end:
        space = reading.data.find(b" ", at, min(end, at + 20))
        digits = reading.data[at:space] if space > at else b""
        length = int(digits) if digits.isdigit() else 0
        record = reading.data[space + 1 : min(at + length, space + 1 + _PIECE)]
        if not (at < space < at + length <= end and b"=" in record):
            # Some writers pad the last record with zeros.
            if _NOT_NUL.search(reading.data, at, end):
                reading.fault(at, "tar: a pax record is damaged")
            return
        key, _, value = record.partition(b"=")
        value = value.removesuffix(b"\n")
        if everywhere and key in (b"path", b"size"):
            reading.fault(at, "tar: a pax header gives one name or size to all members")
        elif key == b"path":
            names.name = value.decode("utf-8", "backslashreplace")
        elif key == b"size":
            if value.isdigit() and len(value) < 20:
                names.size = int(value)
            else:
                reading.fault(at, "tar: the size in a pax record is no number")
        elif key.startswith(b"GNU.sparse."):
            reading.fault(at, "tar: the next member is sparse: it is given as it is stored")
        at += length


# --- 7z ---------------------------------------------------------------------------------------------------------


class _DamagedError(Exception):
    """The header of a 7z archive is not one."""


class _Cursor:
    """A place in a 7z header."""

    def __init__(self, data: bytes, most: int) -> None:
        self.data = data
        self.at = 0
        self.most = most

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise _DamagedError("the header breaks off")
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        """Read a number: as many bytes follow the first one as it has leading ones, and its other bits are the highest."""
        first = self.byte()
        for length in range(8):
            mask = 0x80 >> length
            if not first & mask:
                return int.from_bytes(self.take(length), "little") | (first & (mask - 1)) << (8 * length)
        return int.from_bytes(self.take(8), "little")

    def count(self) -> int:
        """Read how many of something follow."""
        count = self.number()
        if count > self.most:
            raise LimitError(f"more than {self.most} members (`members` of Limits)")
        return count

    def bits(self, count: int) -> list[bool]:
        packed = self.take(-(-count // 8))
        return [bool(packed[each // 8] & 0x80 >> each % 8) for each in range(count)]

    def digests(self, count: int) -> list[int | None]:
        defined = [True] * count if self.byte() else self.bits(count)
        return [int.from_bytes(self.take(4), "little") if each else None for each in defined]

    def expect(self, kind: int) -> None:
        if (found := self.byte()) != kind:
            raise _DamagedError(f"the header has {found:#x} where {kind:#x} should be")


@dataclass(slots=True)
class _Coder:
    method: bytes
    properties: bytes
    size: int = 0


@dataclass(slots=True)
class _Folder:
    """What is compressed together: coders from the packed bytes to the contents, if they are a chain; else `coders` is empty."""

    coders: list[_Coder]
    outputs: int
    order: list[int]
    packed: int
    digest: int | None = None
    sizes: list[int] | None = None
    digests: list[int | None] | None = None

    @property
    def size(self) -> int:
        return self.coders[-1].size if self.coders else 0


_SEVENZIP: Final = b"7z\xbc\xaf\x27\x1c"
_7Z_NAMES: Final = {
    b"\x03\x04\x01": "PPMd",
    b"\x03\x03\x01\x1b": "BCJ2",
    b"\x04\x01\x09": "Deflate64",
    b"\x04\xf7\x11\x02": "Brotli",
    b"\x06\xf1\x07\x01": "AES: it is encrypted",
}
_7Z_FILTERS: Final = {
    b"\x04": lzma.FILTER_X86,
    b"\x03\x03\x01\x03": lzma.FILTER_X86,
    b"\x05": lzma.FILTER_POWERPC,
    b"\x03\x03\x02\x05": lzma.FILTER_POWERPC,
    b"\x06": lzma.FILTER_IA64,
    b"\x03\x03\x04\x01": lzma.FILTER_IA64,
    b"\x07": lzma.FILTER_ARM,
    b"\x03\x03\x05\x01": lzma.FILTER_ARM,
    b"\x08": lzma.FILTER_ARMTHUMB,
    b"\x03\x03\x07\x01": lzma.FILTER_ARMTHUMB,
    b"\x09": lzma.FILTER_SPARC,
    b"\x03\x03\x08\x05": lzma.FILTER_SPARC,
}


def _sevenzip(reading: _Reading) -> None:
    """7zFormat.txt: the header stands at the end, usually compressed itself, and lists files that are compressed together."""
    data = reading.data
    if len(data) < 32:
        reading.fault(0, "7z: the archive breaks off")
        return
    checksum, offset, size, digest = struct.unpack_from("<IQQI", data, 8)
    if zlib.crc32(reading.view[12:32]) != checksum:
        reading.fault(8, "7z: the checksum of the first header does not match")
    if offset + size > len(data) - 32:
        reading.fault(12, "7z: the archive breaks off before its header: nothing in it can be found without")
        return
    header = data[32 + offset : 32 + offset + size]
    taken = [(0, 32), (32 + offset, 32 + offset + size)]
    if zlib.crc32(header) != digest:
        reading.fault(28, "7z: the checksum of the header does not match")
    try:
        for _ in range(4):
            if header[:1] != b"\x17":
                break
            cursor = _Cursor(header[1:], reading.budget.limits.members)
            position, packed, folders = _streams_info(cursor)
            if len(folders) != 1:
                raise _DamagedError("the compressed header is not one stream")
            start = 32 + position
            taken.append((start, start + sum(packed)))
            unpacked = _folder(reading, folders[0], start, packed)
            if unpacked is None:
                return
            header = unpacked
        if header:
            _sevenzip_files(reading, _Cursor(header, reading.budget.limits.members), taken)
    except _DamagedError as error:
        reading.fault(32 + offset, f"7z: {error}")
        return
    reach = 0
    for start, end in [*sorted(taken), (len(data), len(data))]:
        if start > reach:
            after = start == len(data)
            reading.fault(reach, f"7z: {start - reach} bytes belong to nothing in the archive", "trailing-data" if after else "archive")
            reading.stretch(f"<{'after' if after else 'within'} the 7z archive>", reach, start)
        reach = max(reach, end)


def _streams_info(cursor: _Cursor) -> tuple[int, list[int], list[_Folder]]:
    """Return where the packed streams begin, how long each is, and what they hold."""
    position = 0
    packed: list[int] = []
    folders: list[_Folder] = []
    divided = False
    while (kind := cursor.byte()) != 0:
        match kind:
            case 6:
                position = cursor.number()
                count = cursor.count()
                while (inner := cursor.byte()) != 0:
                    if inner == 9:
                        packed = [cursor.number() for _ in range(count)]
                    elif inner == 10:
                        # Of the packed bytes; what comes out has its own, which are checked.
                        cursor.digests(count)
                    else:
                        raise _DamagedError(f"the header has {inner:#x} among the packed streams")
                if len(packed) != count:
                    raise _DamagedError("the header gives packed streams no size")
            case 7:
                folders = _folders(cursor)
            case 8:
                _substreams(cursor, folders)
                divided = True
            case _:
                raise _DamagedError(f"the header has {kind:#x} among the streams")
    if not divided:
        for each in folders:
            each.sizes, each.digests = [each.size], [each.digest]
    return position, packed, folders


def _folders(cursor: _Cursor) -> list[_Folder]:
    cursor.expect(11)
    count = cursor.count()
    cursor.expect(0)
    folders = [_one_folder(cursor) for _ in range(count)]
    cursor.expect(12)
    for each in folders:
        sizes = [cursor.number() for _ in range(each.outputs)]
        for coder, place in zip(each.coders, each.order, strict=True):
            coder.size = sizes[place]
    while (kind := cursor.byte()) != 0:
        if kind != 10:
            raise _DamagedError(f"the header has {kind:#x} among the folders")
        for each, digest in zip(folders, cursor.digests(count), strict=True):
            each.digest = digest
    return folders


def _one_folder(cursor: _Cursor) -> _Folder:
    coders: list[_Coder] = []
    inputs = outputs = 0
    simple = True
    for _ in range(cursor.number()):
        if len(coders) >= 32:
            raise _DamagedError("a folder has more than 32 coders")
        flags = cursor.byte()
        method = cursor.take(flags & 15)
        taken = made = 1
        if flags & 16:
            taken, made = cursor.number(), cursor.number()
            if not (taken <= 32 and made <= 32):
                raise _DamagedError("a coder has more than 32 streams")
        inputs += taken
        outputs += made
        simple = simple and taken == made == 1
        coders.append(_Coder(method, cursor.take(cursor.number()) if flags & 32 else b""))
    if not outputs or inputs < outputs - 1:
        raise _DamagedError("a folder has no coders")
    bonds = {cursor.number(): cursor.number() for _ in range(outputs - 1)}
    loose = inputs - len(bonds)
    if loose > 1:
        for _ in range(loose):
            cursor.number()
    if not simple or loose != 1:
        unknown = next((each for each in coders if each.method in _7Z_NAMES), coders[0])
        return _Folder([unknown], outputs, [0], max(loose, 1))
    # From the coder whose input is packed along the bonds, each of which leads from an output to an input.
    leads = {output: given for given, output in bonds.items()}
    place = next(each for each in range(inputs) if each not in bonds)
    order = [place]
    while place in leads and len(order) < len(coders):
        place = leads[place]
        if not 0 <= place < len(coders):
            raise _DamagedError("the coders of a folder are no chain")
        order.append(place)
    if len(order) != len(coders):
        raise _DamagedError("the coders of a folder are no chain")
    return _Folder([coders[each] for each in order], outputs, order, 1)


def _substreams(cursor: _Cursor, folders: list[_Folder]) -> None:
    """Take in how the contents of each folder are divided into files."""
    counts = [1] * len(folders)
    kind = cursor.byte()
    if kind == 13:
        counts = [cursor.count() for _ in folders]
        if sum(counts) > cursor.most:
            raise LimitError(f"more than {cursor.most} members (`members` of Limits)")
        kind = cursor.byte()
    for each, count in zip(folders, counts, strict=True):
        each.sizes = [cursor.number() for _ in range(count - 1)] if kind == 9 else [0] * (count - 1)
        if count:
            each.sizes.append(max(0, each.size - sum(each.sizes)))
        each.digests = [each.digest] if count == 1 else [None] * count
    if kind == 9:
        kind = cursor.byte()
    if kind == 10:
        unknown = [each for each, count in zip(folders, counts, strict=True) if count != 1 or each.digest is None]
        found = iter(cursor.digests(sum(len(each.sizes or ()) for each in unknown)))
        for each in unknown:
            each.digests = [next(found) for _ in each.sizes or ()]
        kind = cursor.byte()
    if kind:
        raise _DamagedError(f"the header has {kind:#x} among the files of a folder")


def _sevenzip_files(reading: _Reading, cursor: _Cursor, taken: list[tuple[int, int]]) -> None:
    position = 0
    packed: list[int] = []
    folders: list[_Folder] = []
    names: list[str] = []
    empty: list[bool] = []
    attributes: list[int | None] = []
    cursor.expect(1)
    while (kind := cursor.byte()) != 0:
        match kind:
            case 2:
                while cursor.byte():
                    cursor.take(cursor.number())
            case 3:
                _streams_info(cursor)
                reading.fault(None, "7z: the header has additional streams, which nobody writes")
            case 4:
                position, packed, folders = _streams_info(cursor)
            case 5:
                names, empty, attributes = _sevenzip_names(cursor)
            case _:
                raise _DamagedError(f"the header has {kind:#x} where its parts are")
    taken.append((32 + position, 32 + position + sum(packed)))
    filled = [each for each in range(len(names)) if not empty[each]]
    if len(filled) != sum(len(each.sizes or ()) for each in folders):
        reading.fault(None, "7z: the header lists more or fewer names than there are files")
    for name, attribute in zip(names, attributes, strict=True):
        reading.budget.member()
        if doubt := _doubt(name):
            reading.fault(None, f"7z: {_shown(name)} {doubt}")
        if attribute is not None and attribute & 0x8000 and attribute >> 28 not in (0, 8, 4):
            reading.fault(None, f"7z: {_shown(name)} is a link or a special file")
    if len(set(names)) != len(names):
        reading.fault(None, "7z: a name is listed twice, and which one counts depends on the reader")
    coming = iter(names[each] for each in filled)
    start = 32 + position
    for folder in folders:
        content = _folder(reading, folder, start, packed)
        at = 0
        for size, digest in zip(folder.sizes or (), folder.digests or (), strict=True):
            name = next(coming, "<without a name>")
            if content is None:
                continue
            reading.budget.expand(len(content[at : at + size]))
            part = content[at : at + size]
            if len(part) != size:
                reading.fault(start, f"7z: {_shown(name)} breaks off: {size} bytes of it should be here")
            if digest is not None and zlib.crc32(part) != digest:
                reading.fault(start, f"7z: {_shown(name)}: the checksum does not match: readers that do not check it run what is in there")
            reading.member(name, part, start)
            at += size
        if content is not None and at < len(content):
            reading.fault(start, f"7z: {len(content) - at} bytes of what is compressed belong to no file")
            reading.budget.expand(len(content) - at)
            reading.member("<within the 7z archive>", content[at:], start)
        start += sum(packed[: folder.packed])
        del packed[: folder.packed]
    if packed:
        reading.fault(start, "7z: there are packed streams that no folder uses")


def _sevenzip_names(cursor: _Cursor) -> tuple[list[str], list[bool], list[int | None]]:
    count = cursor.count()
    names = [""] * count
    empty = [False] * count
    attributes: list[int | None] = [None] * count
    while (kind := cursor.byte()) != 0:
        inner = _Cursor(cursor.take(cursor.number()), cursor.most)
        match kind:
            case 14:
                empty = inner.bits(count)
            case 17:
                inner.expect(0)
                names = inner.take(len(inner.data) - 1).decode("utf-16-le", "backslashreplace").split("\0")[:-1]
                if len(names) != count:
                    raise _DamagedError("the header has another number of names than of files")
            case 21:
                defined = [True] * count if inner.byte() else inner.bits(count)
                inner.expect(0)
                attributes = [int.from_bytes(inner.take(4), "little") if each else None for each in defined]
            case _:
                # Times, comments, padding, and which of the empty ones are files: nothing that a model is read from.
                pass
    return names, empty, attributes


def _folder(reading: _Reading, folder: _Folder, start: int, packed: list[int]) -> bytes | None:
    """Return what the folder holds, all that comes out before an error included; None if a codec is not here."""
    if not folder.coders or len(packed) < folder.packed:
        raise _DamagedError("a folder has no packed stream")
    content = reading.view[start : start + packed[0]]
    if len(content) != packed[0]:
        reading.fault(start, "7z: a packed stream breaks off")
    made: bytes | memoryview = content
    for coder in folder.coders:
        decoded = _coded(reading, coder, made, start)
        if decoded is None:
            return None
        made = decoded
    if len(made) != folder.size:
        reading.fault(start, f"7z: {len(made)} bytes come out where {folder.size} should")
    if folder.digest is not None and zlib.crc32(made) != folder.digest:
        reading.fault(start, "7z: the checksum of a stream does not match")
    return bytes(made)


def _coded(reading: _Reading, coder: _Coder, given: bytes | memoryview, start: int) -> bytes | None:
    budget = reading.budget
    method, properties = coder.method, coder.properties
    make: Callable[[], Any] | None
    if method in (b"\0", b""):
        budget.expand(min(len(given), coder.size))
        return bytes(given[: coder.size])
    if method in _7Z_FILTERS or (method == b"\x03" and len(properties) == 1):
        return _unfiltered(reading, method, properties, given)
    match method:
        case b"\x03\x01\x01":
            make = lambda: _lzma1(properties, budget)  # noqa: E731 - the table of methods is what is read here
        case b"\x21":
            make = lambda: _lzma2(properties, budget)  # noqa: E731
        case b"\x04\x01\x08":
            make = _Inflater
        case b"\x04\x02\x02":
            make = bz2.BZ2Decompressor
        case b"\x04\xf7\x11\x01":
            make = _zstd_maker()
        case b"\x04\xf7\x11\x04":
            make = _lz4_maker()
        case _:
            name = _7Z_NAMES.get(method, method.hex())
            reading.fault(start, f"7z: what is compressed with {name} cannot be opened here; {_BY_HAND}", "cannot-open")
            return None
    if make is None:
        reading.fault(start, f"7z: a codec is not installed: {_INSTALL}", "cannot-open")
        return None
    into = io.BytesIO()
    _, trouble = _draw(make, memoryview(given), budget, into, coder.size)
    reading.trouble(start, "7z", trouble)
    return into.getvalue()


def _unfiltered(reading: _Reading, method: bytes, properties: bytes, given: bytes | memoryview) -> bytes:
    """Undo a filter by liblzma, which applies none alone: behind one, the bytes go as what LZMA2 calls uncompressed chunks."""
    reading.budget.expand(len(given))
    first = {"id": _7Z_FILTERS[method]} if method in _7Z_FILTERS else {"id": lzma.FILTER_DELTA, "dist": properties[0] + 1}
    of = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[first, {"id": lzma.FILTER_LZMA2, "dict_size": _PIECE}])
    made = io.BytesIO()
    for at in range(0, len(given), _PIECE):
        chunk = given[at : at + _PIECE]
        made.write(of.decompress(b"".join((b"\2" if at else b"\1", (len(chunk) - 1).to_bytes(2, "big"), chunk))))
    made.write(of.decompress(b"\0"))
    return made.getvalue()


# --- what is recognised -----------------------------------------------------------------------------------------

_XZ: Final = b"\xfd7zXZ\0"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_LZ4: Final = b"\x04\x22\x4d\x18"

# What is recognised and opened by nothing here.
_FOREIGN: Final[dict[bytes, str]] = {
    b"Rar!\x1a\x07": "rar",
    b"MSCF\0\0\0\0": "cab",
    b"\x1f\x9d": "compress (.Z)",
    b"LZIP\1": "lzip",
    b"LRZI": "lrzip",
    b"\x89LZO\0\r\n\x1a\n": "lzop",
    b"\xff\x06\0\0sNaPpY": "snappy",
    b"\x02\x21\x4c\x18": "lz4 of the legacy format",
    **{bytes((version, 0xB5, 0x2F, 0xFD)): "zstd of a version before 0.8" for version in range(0x22, 0x28)},
    b"!<arch>\n": "ar",
    b"070701": "cpio",
    b"070707": "cpio",
    b"xar!\0": "xar",
    b"hsqs": "squashfs",
}


def _foreign(reading: _Reading) -> None:
    name = next(name for magic, name in _FOREIGN.items() if reading.data.startswith(magic))
    reading.fault(0, f"this is {name}, which cannot be opened here; {_BY_HAND}", "cannot-open")


def _frame(data: bytes) -> bytes:
    """Return the magic number of the first frame of zstd or lz4 that is not to be skipped, if there is one."""
    at = 0
    while data.startswith(b"\x2a\x4d\x18", at + 1) and data[at] & 0xF0 == 0x50:
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
    return _ZSTD if at and not data.startswith(_LZ4, at) else data[at : at + 4]


_FORMATS: Final[tuple[tuple[Callable[[bytes], bool], str, Callable[[_Reading], None]], ...]] = (
    (lambda data: data.startswith(b"\x1f\x8b"), "gzip", _gzip),
    (_is_zlib, "zlib", _zlib),
    (lambda data: data.startswith(b"ZF") and len(data) >= 23, "ZFILE", _zfile),
    (lambda data: data.startswith(b"BZh"), "bz2", _bz2),
    (lambda data: data.startswith(_XZ), "xz", _lzma),
    (_is_lzma_alone, "lzma", _lzma),
    (lambda data: _frame(data) == _ZSTD, "zstd", _framed("zstd", _ZSTD, _zstd_maker)),
    (lambda data: _frame(data) == _LZ4, "lz4", _framed("lz4", _LZ4, _lz4_maker)),
    (_is_tar, "tar", _tar),
    (lambda data: data.startswith(_SEVENZIP), "7z", _sevenzip),
    (lambda data: data.startswith(tuple(_FOREIGN)), "unknown", _foreign),
    (is_zip, "zip", lambda reading: _Zip(reading).read()),
)
