"""Bodies that several threads read, hash and write, and compressed ones: the same bytes by every way, the same refusals, and nothing left behind."""

from __future__ import annotations

import concurrent.futures.thread
import contextlib
import gc
import gzip
import hashlib
import io
import os
import pickle
import random
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import weakref
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_vectors import KEY, NOW, PROGRAM, SECOND, body, compressed, deflated, flipped, framed, header, signed
from optional import HAS_ZSTD
from pace import allowed
from test_container import WAYS_IN, OnlyRead, OnlyWrite, body_start, in_thread, refused_by, run_python, same

import safepickle
from safepickle import (
    AuthenticationError,
    FormatError,
    Keyring,
    KeyringError,
    LimitError,
    Limits,
    PrivateKey,
    SafePickleError,
    Trusted,
    UnsignedError,
    chunks,
    container,
)

RING = Keyring(KEY)
CHUNK = 1 << 16
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX files")
positional = pytest.mark.skipif(not hasattr(os, "preadv"), reason="no positional reads")


CODECS = ["zlib", pytest.param("zstd", marks=pytest.mark.skipif(not HAS_ZSTD, reason="zstd is not installed"))]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes a body of many MiB otherwise is seen on small ones. Numbers are replaced, no functions."""
    monkeypatch.setattr(container, "CHUNK_BYTES", CHUNK)
    monkeypatch.setattr(container, "_OVERLAPPED_BYTES", 1)
    monkeypatch.setattr(chunks, "_PARALLEL_BYTES", 1)
    monkeypatch.setattr(chunks, "_GROUP_BYTES", 2 * CHUNK)


def parts(size: int = 1_000_000) -> tuple[bytes, list[memoryview]]:
    """A program and buffers, with gaps between, of which some compress and some do not."""
    rng = random.Random(size)
    return PROGRAM, [memoryview(each) for each in (rng.randbytes(size // 2), b"", bytes(size // 4), b"abc" * (size // 12))]


def sealed(size: int = 1_000_000, **options: Any) -> bytes:
    return b"".join(container.seal(*parts(size), RING, now=lambda: NOW, **options))


def written(opened: container.Opened) -> tuple[bytes, list[bytes]]:
    return opened.program, [bytes(buffer) for buffer in opened.buffers]


def expected(size: int = 1_000_000) -> tuple[bytes, list[bytes]]:
    program, buffers = parts(size)
    return program, [bytes(buffer) for buffer in buffers]


@pytest.fixture(scope="module")
def arrays() -> dict[str, Any]:
    rng = numpy.random.default_rng(3)
    return {
        "floats": rng.random(60_000),
        "zeros": numpy.zeros(30_001),
        "odd": rng.integers(0, 9, 70_013, dtype=numpy.uint8),
        "small": numpy.arange(9),
    }


@contextlib.contextmanager
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


# --- compression: what goes in comes out ------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("how", [None, *CODECS])
@pytest.mark.parametrize("way", WAYS_IN)
def test_a_compressed_model_is_loaded_from_every_kind_of_file(way: str, how: str | None, arrays: Any, small_chunks: None, tmp_path: Path):
    data = safepickle.dumps(arrays, key=KEY, compress=how)
    with WAYS_IN[way](data, tmp_path) as file:
        assert same(safepickle.load(file, key=KEY), arrays)
    with WAYS_IN[way](data, tmp_path / "other") if (tmp_path / "other").mkdir() is None else contextlib.nullcontext() as file:
        assert safepickle.verify(file, key=KEY).compression == how


@pytest.mark.parametrize("how", CODECS)
def test_models_come_back_from_compressed_files(how: str, tree: Any, pipeline: Any, frame: Any, key: Any, tmp_path: Path):
    for number, value in enumerate((tree, pipeline, frame, [1, "two", 3.0, None], numpy.arange(100_000), {})):
        path = tmp_path / f"{number}"
        safepickle.dump(value, path, key=key, compress=how)
        found = safepickle.load(path, key=key)
        assert type(found) is type(value)
        assert pickle.dumps(found, 5) == pickle.dumps(safepickle.loads(safepickle.dumps(value, key=key), key=key), 5)
        with open(path, "rb") as file:
            assert type(safepickle.load(file, key=key)) is type(value)


@pytest.mark.parametrize("how", CODECS)
@pytest.mark.parametrize("size", [0, 1, 60, CHUNK - len(PROGRAM), 1_000_000])
def test_a_compressed_body_is_the_same_in_memory(size: int, how: str, small_chunks: None):
    """Writable, aligned, and the same bytes."""
    data = sealed(size, compress=how)
    opened = container.open(data, RING)
    assert written(opened) == expected(size)
    assert (opened.info.compression, opened.info.stored_bytes) == (how, len(data) - body_start(data))
    for buffer in opened.buffers:
        assert not buffer.readonly
        assert not len(buffer) or numpy.frombuffer(buffer, numpy.uint8).ctypes.data % 64 == 0


@pytest.mark.parametrize("how", CODECS)
def test_an_empty_body_is_compressed_to_nothing(how: str):
    data = b"".join(container.seal(b"", [], RING, compress=how))
    assert len(data) == body_start(data)
    assert container.open(data, RING).info.stored_bytes == 0


def test_compression_saves_bytes(small_chunks: None):
    plain, small = sealed(), sealed(compress="zlib")
    assert len(small) < 0.6 * len(plain)
    assert container.verify(plain, RING).stored_bytes is None


def test_an_unknown_compression_is_a_value_error_before_anything_is_written(tmp_path: Path):
    for bad in ("gzip", "", "ZLIB", "none", b"zlib", 6, True):
        with pytest.raises(ValueError, match="compress is None, 'zlib' or 'zstd'"):
            safepickle.dump([1], tmp_path / "file", key=KEY, compress=bad)
    assert list(tmp_path.iterdir()) == []


def test_without_zstd_the_hint_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    data = compressed("zstd", [framed(PROGRAM)])
    for name in ("compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=r"zstd needs Python 3.14 or `pip install 'safepickle-ml\[zstd\]'`; compress='zlib' needs nothing"):
        safepickle.dumps([1], key=KEY, compress="zstd")
    with pytest.raises(FormatError, match=r"compressed with zstd, which cannot be read here.*pip install 'safepickle-ml\[zstd\]'"):
        safepickle.loads(data, key=KEY)
    assert safepickle.verify(io.BytesIO(data), key=KEY).compression == "zstd"
    assert safepickle.loads(safepickle.dumps([1], key=KEY, compress="zlib"), key=KEY) == [1]


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="there the module is that of the standard library")
def test_a_module_of_the_users_own_called_compression_is_not_taken_for_zstd(tmp_path: Path):
    (tmp_path / "compression").mkdir()
    (tmp_path / "compression" / "__init__.py").write_text("")
    (tmp_path / "compression" / "zstd.py").write_text("print('imported')")
    script = "import sys; sys.path.insert(0, sys.argv[1])\nfrom safepickle import chunks\ntry: chunks.codec_of('zstd')\nexcept ValueError: pass"
    assert run_python(script, str(tmp_path)).stdout == ""


def test_what_compresses_too_far_is_refused_when_it_is_written(tmp_path: Path):
    """What `dump` signs, `load` accepts with its default limits."""
    zeros = numpy.zeros(100 << 20, dtype=numpy.uint8)
    with pytest.raises(ValueError, match=r"leave compress=None"):
        safepickle.dump(zeros, tmp_path / "file", key=KEY, compress="zlib")
    assert list(tmp_path.iterdir()) == []


def test_a_compressed_file_is_not_mapped_and_the_error_says_what_to_do(tmp_path: Path):
    safepickle.dump([1], tmp_path / "file", key=KEY, compress="zlib")
    with pytest.raises(FormatError, match="load it without mmap, or write it with compress=None"):
        safepickle.load(tmp_path / "file", key=KEY, mmap=True)


# --- compression: what is changed is refused, before anything is decompressed -----------------------------------


class Untouched(chunks.Codec):
    """A codec that must not be asked."""

    def __init__(self) -> None:
        super().__init__(bytes, lambda length: pytest.fail("something was decompressed"))


@pytest.mark.parametrize("how", CODECS)
@pytest.mark.parametrize("opens", [container.open, container.verify], ids=["open", "verify"])
def test_a_change_of_a_compressed_file_is_refused_before_it_is_decompressed(
    how: str, opens: Any, signed_models: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
):
    program = container.open(
        signed_models["tree"], Keyring(safepickle.SecretKey.from_bytes(hashlib.sha256(b"the key of the tests").digest()))
    ).program
    data = b"".join(container.seal(program, [], RING, compress=how))
    assert refused_by(opens, data, RING) is None
    monkeypatch.setitem(chunks.CODECS, how, Untouched)
    start = body_start(data)
    for at in range(start, len(data)):
        assert refused_by(opens, flipped(data, at), RING) is AuthenticationError
    for at in range(0, start, 3):
        assert refused_by(opens, flipped(data, at), RING) is not None
    for length in range(0, len(data), 3):
        assert refused_by(opens, data[:length], RING) is (UnsignedError if length < 8 else FormatError)
        assert refused_by(opens, OnlyRead(data[: max(length, 8)]), RING) is FormatError
    for more in (b"\0", b"\n", data, data[start:], zlib.compress(b"")):
        assert refused_by(opens, data + more, RING) is FormatError
        if opens is container.verify:
            assert refused_by(opens, OnlyRead(data + more), RING) is FormatError
    if opens is container.open:
        with pytest.raises(pytest.fail.Exception, match="decompressed"):
            opens(data, RING)


@pytest.mark.parametrize("how", CODECS)
@pytest.mark.parametrize("way", ["path", "stream"])
@pytest.mark.parametrize("opens", [container.open, container.verify], ids=["open", "verify"])
def test_the_chunk_that_was_changed_is_named(opens: Any, way: str, how: str, small_chunks: None, tmp_path: Path):
    data = sealed(compress=how)
    front = container._read_front(container._source(data))
    stored = container._parse_header(front.raw).stored
    assert len(stored) > 10
    for number in (0, len(stored) // 2, len(stored) - 1):
        bad = flipped(data, front.body_start + sum(stored[: number + 1]) - 1)
        (tmp_path / "file").write_bytes(bad)
        with pytest.raises(AuthenticationError, match=rf"^chunk {number} of the body \(compressed\)"), no_thread_is_left():
            opens(tmp_path / "file" if way == "path" else OnlyRead(bad), RING)


def test_stored_chunks_of_another_file_are_refused(small_chunks: None):
    one, two = sealed(compress="zlib"), sealed(1_000_001, compress="zlib")
    mixed = one[: body_start(one)] + two[body_start(two) :]
    assert refused_by(container.open, mixed, RING) in {FormatError, AuthenticationError}


@pytest.mark.parametrize("how", CODECS)
@pytest.mark.parametrize("again", ["sign", "resign"])
def test_compressed_files_are_signed_again(again: str, how: str, arrays: Any, small_chunks: None, tmp_path: Path):
    path = tmp_path / "file"
    safepickle.dump(arrays, path, key=KEY, compress=how, context="a")
    before = path.read_bytes()
    getattr(safepickle, again)(path, key=SECOND, signed_by=KEY)
    after = path.read_bytes()
    assert after[body_start(after) :] == before[body_start(before) :]
    assert same(safepickle.load(path, key=SECOND, context="a"), arrays)
    claimed, trusted = safepickle.inspect(path), safepickle.inspect(path, key=SECOND)
    assert claimed.compression == trusted.compression == how
    assert claimed.stored_bytes == len(after) - body_start(after)
    path.write_bytes(flipped(after, len(after) - 1))
    with pytest.raises(AuthenticationError):
        getattr(safepickle, again)(path, key=KEY, signed_by=SECOND)
    assert path.read_bytes() == flipped(after, len(after) - 1)


# --- bombs ------------------------------------------------------------------------------------------------------

MIB = 1 << 20
LARGEST = {"body_chunk_bytes": 1 << 26}


def zeros(how: str, length: int) -> bytes:
    """A stream of zeros that takes few bytes."""
    if how == "zlib":
        return zlib.compress(bytes(length), 9)
    # A Zstandard frame of blocks that each say: 128 KiB of the same byte.
    whole, rest = divmod(length, 1 << 17)
    blocks = [1 << 17] * whole + [rest] * (rest > 0)
    made = b"".join((size << 3 | 2 | (at == len(blocks) - 1)).to_bytes(3, "little") + b"\0" for at, size in enumerate(blocks))
    return bytes.fromhex("28b52ffd00") + bytes(((23 - 10) << 3,)) + made


def bombs(how: str) -> dict[str, tuple[bytes, set[str]]]:
    """Genuinely signed files that would take memory, and the classes that may refuse each."""
    hundred = zeros(how, 100 * MIB)
    # 64 MiB may be a file's right, and more than there is here.
    damaged = {"FormatError", "LimitError"}
    made: dict[str, tuple[bytes, set[str]]] = {
        "4 GiB, as the header says": (compressed(how, [zeros(how, 64 * MIB)] * 64, body_program=64 * 64 * MIB, **LARGEST), {"LimitError"}),
        "4 GiB of stored bytes that never come": (
            compressed(how, [b"x"], body_program=1 << 32, body_stored=[1 << 26] * 64, body_chunks=["00" * 32] * 64, **LARGEST),
            damaged,
        ),
        "100 MiB for a few bytes": (compressed(how, [hundred]), {"FormatError"}),
        "100 MiB for each of 60 chunks": (compressed(how, [hundred] * 60, body_program=60 * MIB), damaged),
        "a byte more than the largest chunk": (compressed(how, [zeros(how, 64 * MIB + 1)], body_program=64 * MIB, **LARGEST), damaged),
        "a byte less than the largest chunk": (compressed(how, [zeros(how, 64 * MIB - 1)], body_program=64 * MIB, **LARGEST), damaged),
        "two streams of half": (compressed(how, [zeros(how, 32 * MIB) * 2], body_program=64 * MIB, **LARGEST), damaged),
        "a stream and another of 100 MiB": (compressed(how, [zeros(how, MIB) + hundred], body_program=MIB), {"FormatError"}),
        "cut off": (compressed(how, [zeros(how, 64 * MIB)[:-5]], body_program=64 * MIB, **LARGEST), damaged),
        "200 KiB of nothing": (compressed(how, [nothing(how)] * 50, body_program=50 * (1 << 17), body_chunk_bytes=1 << 17), {"FormatError"}),
        # 64 MiB are within what is allowed: zeros are no program.
        "as much as is allowed": (compressed(how, [zeros(how, 64 * MIB)], body_program=64 * MIB, **LARGEST), {"ProgramError", "LimitError"}),
    }
    if how == "zstd":
        window = bytes.fromhex("28b52ffd00") + bytes(((31 - 10) << 3,)) + (len(PROGRAM) << 3 | 1).to_bytes(3, "little") + PROGRAM
        made["a window of 2 GiB"] = compressed(how, [window]), {"FormatError"}
        single = bytes.fromhex("28b52ffde0") + (1 << 40).to_bytes(8, "little") + (len(PROGRAM) << 3 | 1).to_bytes(3, "little") + PROGRAM
        made["a content of 1 TiB"] = compressed(how, [single]), {"FormatError"}
        windows = [framed(PROGRAM, window_log=23)] * 64
        made["64 windows of 8 MiB"] = compressed(how, windows, body_program=64 * MIB), damaged
    return made


def nothing(how: str) -> bytes:
    """Some 200 KiB of blocks of no bytes, and no end."""
    if how == "zlib":
        return b"\x78\x01" + b"\0\0\0\xff\xff" * 40_000
    return bytes.fromhex("28b52ffd0068") + b"\0\0\0" * 70_000


DEFUSED = """
import resource, sys, threading, os
resource.setrlimit(resource.RLIMIT_AS, (256 << 20, 256 << 20))
import safepickle, time
key = safepickle.SecretKey.from_text(sys.argv[1])
class OnlyRead:
    def __init__(self, path): self.file = open(path, "rb")
    def read(self, count): return self.file.read(count)
for path in sys.argv[2:]:
    for way in (str, OnlyRead):
        start = time.monotonic()
        try:
            safepickle.load(way(path), key=key)
            said = "accepted"
        except safepickle.SafePickleError as error:
            said = type(error).__name__
        print(said, int(time.monotonic() - start))
"""


@posix
@pytest.mark.parametrize("how", CODECS)
def test_bombs_with_a_right_signature_are_refused_within_little_memory(how: str, tmp_path: Path):
    """256 MiB of address space, Python itself included."""
    cases = bombs(how)
    paths = []
    for number, (data, _) in enumerate(cases.values()):
        assert len(data) < 12 * MIB
        paths.append(tmp_path / f"{number}")
        paths[-1].write_bytes(data)
    child = run_python(DEFUSED, KEY.to_text(), *map(str, paths))
    said = [line.split() for line in child.stdout.splitlines()]
    assert len(said) == 2 * len(cases), child.stderr
    for (name, (_, answers)), *found in zip(cases.items(), said[::2], said[1::2], strict=True):
        for word, seconds in found:
            assert word in answers, name
            assert int(seconds) < 5, name


def test_the_factor_that_is_allowed_is_the_callers_to_choose():
    data = compressed("zlib", [zeros("zlib", 64 * MIB)] * 2, body_program=128 * MIB, **LARGEST)
    with pytest.raises(LimitError, match=r"limits allow 200 times as much \(`expansion` of Limits\)"):
        safepickle.loads(data, key=KEY)
    with pytest.raises(safepickle.ProgramError) as caught:
        safepickle.loads(data, key=KEY, limits=Limits(expansion=2000))
    assert "expansion" not in str(caught.value)


HELD = """
import resource, sys, threading, os, safepickle
key = safepickle.SecretKey.from_text(sys.argv[1])
def pipe(path):
    reader, writer = os.pipe()
    def send():
        with open(path, "rb") as source, open(writer, "wb", buffering=0) as end:
            while piece := source.read(1 << 20): end.write(piece)
    threading.Thread(target=send).start()
    return open(reader, "rb")
safepickle.verify(sys.argv[2], key=key)
for way in (str, lambda path: open(path, "rb"), pipe):
    for path in sys.argv[3:]:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        safepickle.verify(way(path), key=key)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@posix
def test_verify_takes_constant_memory(tmp_path: Path):
    """Also of the largest chunks: 256 MiB of them, plain and compressed. A file that we opened is hashed by the MiB."""
    chunk = bytes(1 << 26)
    digest = hashlib.sha256(chunk).hexdigest()
    changes: dict[str, Any] = {"body_program": 1 << 28, "body_chunks": [digest] * 4, **LARGEST}
    heads = {
        "warm": signed(header(PROGRAM)),
        "plain": signed(header(**changes), b""),
        "compressed": signed(header(body_compression="zlib", body_stored=[1 << 26] * 4, **changes), b""),
    }
    for name, front in heads.items():
        (tmp_path / name).write_bytes(front)
        if name != "warm":
            os.truncate(tmp_path / name, len(front) + (1 << 28))
    child = run_python(HELD, KEY.to_text(), *(str(tmp_path / name) for name in heads))
    grown = [int(line) for line in child.stdout.split()]
    assert len(grown) == 6, child.stderr
    assert max(grown[:2]) < 24
    assert max(grown) < 90


# --- written while it is hashed ---------------------------------------------------------------------------------


def save(file: Any, size: int = 1_000_000, ring: Keyring = RING, **options: Any) -> None:
    container.save(file, *parts(size), ring, now=lambda: NOW, **options)


SIZES = [0, 1, CHUNK - len(PROGRAM), 3 * CHUNK - len(PROGRAM), 1_000_000]


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Where `os.pwrite` wrote; empty if the plain way was taken."""
    seen: list[int] = []
    pwrite = os.pwrite

    def noted(descriptor: int, data: Any, offset: int) -> int:
        seen.append(offset)
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", noted)
    return seen


@positional
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("old", [None, b"the old file" * 200_000])
def test_a_path_gets_the_bytes_that_seal_returns(old: bytes | None, size: int, small_chunks: None, places: list[int], tmp_path: Path):
    if old:
        (tmp_path / "file").write_bytes(old)
    with no_thread_is_left():
        save(tmp_path / "file", size, context="a", serial=7, metadata={"a": 1}, expires=NOW + 10)
    assert (tmp_path / "file").read_bytes() == sealed(size, context="a", serial=7, metadata={"a": 1}, expires=NOW + 10)
    assert max(places) > min(places) == places[-4] == 0, "what stands before the body comes last"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@positional
@pytest.mark.parametrize("key", [PrivateKey.generate("ed25519"), PrivateKey.generate("ecdsa-p256-sha256")], ids=lambda key: key.suite)
def test_keys_of_every_length_of_signature_leave_the_right_room(key: PrivateKey, small_chunks: None, tmp_path: Path):
    save(tmp_path / "file", ring=Keyring(key))
    assert written(container.open(tmp_path / "file", Keyring(key.public_key()))) == expected()


Opener = Callable[[Path], Any]
PLAIN_OR_NOT: dict[str, tuple[Opener, bool]] = {
    "wb": (lambda path: path.open("wb"), True),
    "wb, unbuffered": (lambda path: path.open("wb", buffering=0), True),
    "xb": (lambda path: (path.unlink(), path.open("xb"))[1], True),
    "r+b, unbuffered": (lambda path: path.open("r+b", buffering=0), True),
    "of a descriptor": (lambda path: os.fdopen(os.open(path, os.O_WRONLY), "wb"), True),
    "r+b": (lambda path: path.open("r+b"), False),
    "w+b": (lambda path: path.open("w+b"), False),
    "a subclass of BufferedWriter": (lambda path: Inverted(io.FileIO(path, "r+b")), False),
    "a subclass of FileIO": (lambda path: InvertedRaw(path, "r+b"), False),
    "a BufferedWriter over a subclass": (lambda path: io.BufferedWriter(InvertedRaw(path, "r+b"), 1), False),
}


def inverted(data: Any) -> bytes:
    return bytes(data).translate(bytes(range(255, -1, -1)))


class Inverted(io.BufferedWriter):
    """Each byte is written as another one: whoever writes past `write` writes the wrong bytes."""

    def write(self, piece: Any) -> int:
        return super().write(inverted(piece))


class InvertedRaw(io.FileIO):
    def write(self, piece: Any) -> int:
        return super().write(inverted(piece))


@positional
@pytest.mark.parametrize("size", [0, 1_000_000])
@pytest.mark.parametrize("how", PLAIN_OR_NOT)
def test_an_open_file_is_written_where_it_stands(how: str, size: int, small_chunks: None, places: list[int], tmp_path: Path):
    """What stands before and behind stays, what the file still holds back goes first, and the position is behind what was written."""
    opener, straight = PLAIN_OR_NOT[how]
    data = sealed(size)
    path = tmp_path / "file"
    old = bytes(range(250)) * 8_000
    path.write_bytes(old)
    with opener(path) as file:
        file.write(b"before")
        save(file, size)
        assert file.tell() == 6 + len(data)
        file.write(b"after")
    assert bool(places) == straight
    new = b"before" + data + b"after"
    if "subclass" in how:
        new = inverted(new)
    kept = how.startswith(("r+b", "of", "a ", "a sub"))
    assert path.read_bytes() == new + (old[len(new) :] if kept else b"")


@positional
def test_a_file_is_written_beyond_its_end(small_chunks: None, tmp_path: Path):
    with open(tmp_path / "file", "wb") as file:
        file.seek(1000)
        save(file)
    assert (tmp_path / "file").read_bytes() == bytes(1000) + sealed()


@posix
@pytest.mark.parametrize("buffering", [0, -1])
@pytest.mark.parametrize("how", ["ab", "flag"])
def test_a_file_that_appends_is_written_in_order(how: str, buffering: int, small_chunks: None, places: list[int], tmp_path: Path):
    """On Linux `pwrite` to such a file appends, wherever it is told to write."""
    path = tmp_path / "file"
    path.write_bytes(b"before")
    where: Any = path if how == "ab" else os.open(path, os.O_WRONLY | os.O_APPEND)
    with open(where, "ab" if how == "ab" else "wb", buffering=buffering) as file:
        save(file)
    assert path.read_bytes() == b"before" + sealed()
    assert places == []


@posix
@pytest.mark.parametrize("way", ["gzip", "named temporary", "spooled", "spooled and rolled", "socket", "pipe", "raw pipe", "only write()", "fifo"])
def test_what_is_no_plain_file_is_written_in_order(way: str, small_chunks: None, places: list[int], tmp_path: Path):
    found: list[bytes] = []
    match way:
        case "gzip":
            with gzip.open(tmp_path / "file", "wb", compresslevel=1) as file:
                save(file)
            found.append(gzip.decompress((tmp_path / "file").read_bytes()))
        case "named temporary":
            with tempfile.NamedTemporaryFile() as file:
                save(file)
                file.seek(0)
                found.append(file.read())
        case "spooled" | "spooled and rolled":
            with tempfile.SpooledTemporaryFile(max_size=1000 if way.endswith("rolled") else 1 << 30) as file:
                save(file)
                file.seek(0)
                found.append(file.read())
        case "socket":
            ours, theirs = socket.socketpair()
            with ours, ours.makefile("rb") as source, in_thread(lambda: found.append(source.read())), theirs, theirs.makefile("wb") as end:
                save(end)
        case "pipe" | "raw pipe":
            reader, writer = os.pipe()
            buffering = 0 if way == "raw pipe" else -1
            with open(reader, "rb") as source, in_thread(lambda: found.append(source.read())), open(writer, "wb", buffering=buffering) as end:
                save(end)
        case "fifo":
            os.mkfifo(tmp_path / "fifo")
            with in_thread(lambda: found.append((tmp_path / "fifo").read_bytes())):
                save(tmp_path / "fifo")
            assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)
        case _:
            only = OnlyWrite()
            save(only)
            found.append(only.data)
    assert found == [sealed()]
    assert places == []


@positional
@pytest.mark.parametrize("most", [1, 1000, CHUNK - 1])
def test_a_kernel_that_writes_and_reads_less_than_it_is_asked_to(most: int, small_chunks: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    size = 2000 if most == 1 else 300_000
    pwrite, preadv = os.pwrite, os.preadv
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: pwrite(descriptor, data[:most], offset))
    monkeypatch.setattr(os, "preadv", lambda descriptor, views, offset: preadv(descriptor, [views[0][:most]], offset))
    save(tmp_path / "file", size)
    assert (tmp_path / "file").read_bytes() == sealed(size)
    assert written(container.open(tmp_path / "file", RING)) == expected(size)
    container.verify(tmp_path / "file", RING)


@positional
def test_a_kernel_that_writes_nothing_is_not_asked_for_ever(small_chunks: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: 0)
    with pytest.raises(OSError, match="takes no more bytes"):
        save(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("how", ["path", "buffered", "unbuffered"])
def test_a_device_that_is_full_is_an_os_error(how: str, small_chunks: None):
    with pytest.raises(OSError, match="No space left"), no_thread_is_left():
        if how == "path":
            save("/dev/full")
        else:
            with contextlib.ExitStack() as stack:
                # Closing it fails as well, where it still holds something back.
                stack.enter_context(contextlib.suppress(OSError))
                file = stack.enter_context(open("/dev/full", "wb", buffering=0 if how == "unbuffered" else -1))
                try:
                    save(file)
                    file.flush()
                except OSError as error:
                    raised = error
            raise raised


@posix
@pytest.mark.parametrize("how", ["path", "file object"])
def test_a_full_disk_leaves_the_old_file_of_a_body_written_while_it_is_hashed(how: str, small_chunks: None, tmp_path: Path):
    """A file system of 1 MiB."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting needs root")
    try:
        path = tmp_path / "file"
        path.write_bytes(b"the old file")
        with pytest.raises(OSError, match="No space left"), no_thread_is_left():
            if how == "path":
                save(path, 4_000_000)
            else:
                with path.open("r+b", buffering=0) as file:
                    save(file, 4_000_000)
        assert [each.name for each in tmp_path.iterdir()] == ["file"]
        if how == "path":
            assert path.read_bytes() == b"the old file"
        else:
            # Its beginning is written last, so that nothing half written looks like a container.
            assert path.read_bytes().startswith(b"the old file")
        path.unlink()
        save(path, 100_000)
        assert path.read_bytes() == sealed(100_000)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


class Failing:
    """A key of some service, which does what it is told instead of signing."""

    suite = "ed25519"
    key_id = "0123456789abcdef"

    def __init__(self, does: Callable[[], bytes]) -> None:
        self._does = does

    def sign(self, digest: bytes) -> bytes:
        return self._does()


def raising(error: BaseException) -> Callable[[], bytes]:
    def does() -> bytes:
        raise error

    return does


SIGNERS: dict[str, tuple[Callable[[], bytes], type[BaseException]]] = {
    "no answer": (raising(KeyringError("the service does not answer")), KeyringError),
    "an error of its own": (raising(RuntimeError("a bug")), RuntimeError),
    "an interrupt": (raising(KeyboardInterrupt()), KeyboardInterrupt),
    "too few bytes": (lambda: bytes(63), KeyringError),
    "too many bytes": (lambda: bytes(65), KeyringError),
    "no bytes": (lambda: b"", KeyringError),
}


@pytest.mark.parametrize("size", [10, 1_000_000])
@pytest.mark.parametrize("case", SIGNERS)
def test_a_key_that_does_not_sign_leaves_the_old_file(case: str, size: int, small_chunks: None, tmp_path: Path):
    """Also one that answers with another number of bytes than its signatures have: that file could not be read."""
    does, error = SIGNERS[case]
    path = tmp_path / "file"
    path.write_bytes(b"the old file")
    ring = Keyring(Failing(does))
    with no_thread_is_left():
        with pytest.raises(error):
            save(path, size, ring)
        with pytest.raises(error):
            save(tmp_path / "new", size, ring)
        with pytest.raises(error):
            save(io.BytesIO(), size, ring)
        with pytest.raises(error):
            container.seal(*parts(size), ring)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"the old file"
    with (tmp_path / "opened").open("wb") as file, pytest.raises(error):
        save(file, size, ring)
    assert refused_by(container.open, (tmp_path / "opened").read_bytes(), RING) is UnsignedError


@positional
def test_a_key_that_becomes_another_one_is_refused(small_chunks: None, tmp_path: Path):
    class Changing(Failing):
        @property
        def suite(self) -> str:
            return "hmac-sha256" if self.done else "ed25519"

    Changing.done = False
    key: Any = Changing(lambda: bytes(32))
    ring = Keyring(key)
    key._does = lambda: bytes(32 if key.done else 64)
    changed = chunks.digest

    def digest(pieces: Any) -> bytes:
        Changing.done = True
        return changed(pieces)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyringError):
        patch.setattr(chunks, "digest", digest)
        save(tmp_path / "file", ring=ring)
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_expires_while_the_body_is_written_signs_and_an_expired_one_writes_nothing(small_chunks: None, tmp_path: Path):
    """One moment counts, that of the beginning, which the header says."""
    until = Trusted(KEY, not_after=datetime.fromtimestamp(NOW + 1, UTC))
    clock = iter(range(NOW, NOW + 100))
    container.save(tmp_path / "file", *parts(), Keyring(until), now=lambda: next(clock))
    assert container.verify(tmp_path / "file", RING).created.timestamp() == NOW
    (tmp_path / "file").unlink()
    with pytest.raises(KeyringError, match="expired"):
        container.save(tmp_path / "file", *parts(), Keyring(until), now=lambda: NOW + 1)
    assert list(tmp_path.iterdir()) == []


@positional
@pytest.mark.parametrize("kind", ["path", "file object"])
@pytest.mark.parametrize("fails_at", [1, 7, 16])
def test_an_error_of_any_write_leaves_the_old_file_and_no_thread(
    fails_at: int, kind: str, small_chunks: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    path = tmp_path / "file"
    path.write_bytes(b"the old file")
    count = iter(range(1000))
    pwrite = os.pwrite

    def pwrite_that_fails(descriptor: int, data: Any, offset: int) -> int:
        if next(count) == fails_at:
            raise OSError(5, "Input/output error")
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite_that_fails)
    with pytest.raises(OSError, match="Input/output error"), no_thread_is_left():
        if kind == "path":
            save(path)
        else:
            with path.open("r+b", buffering=0) as file:
                save(file)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes()[:12] == b"the old file"
    assert kind == "file object" or len(path.read_bytes()) == 12


INTERRUPTED = """
import os, signal, sys, threading, time, safepickle
from safepickle import chunks, container
path, again = sys.argv[1], int(sys.argv[2])
# A shell without job control starts what is in its background with the signal ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
closed, late, pwrite, writing = [], [], os.pwrite, threading.Event()
def slow(descriptor, data, offset):
    writing.set()
    time.sleep(0.3)
    if closed: late.append(offset)
    return pwrite(descriptor, data, offset)
os.pwrite = slow
def interrupts():
    writing.wait()
    for _ in range(again):
        # The second comes while the first waits for the threads.
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupts).start()
ring = safepickle.Keyring(safepickle.SecretKey.from_bytes(bytes(range(40))))
try:
    container.save(path, b"x", [memoryview(bytes(200 << 20))], ring)
    print("written")
except KeyboardInterrupt:
    closed.append(1)
    print("interrupted", [t.name for t in threading.enumerate() if "ThreadPool" in t.name])
finally:
    try: time.sleep(1)
    except KeyboardInterrupt: time.sleep(1)
    print(late, sorted(os.listdir(os.path.dirname(path))), open(path, "rb").read())
"""


@positional
@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_leaves_the_old_file_and_no_thread_that_still_writes(times: int, tmp_path: Path):
    """A thread that wrote on would write to a descriptor that is closed, and perhaps somebody else's by then."""
    (tmp_path / "file").write_bytes(b"old")
    child = run_python(INTERRUPTED, str(tmp_path / "file"), str(times))
    assert child.stdout == "interrupted []\n[] ['file'] b'old'\n", child.stderr


# --- read by several threads ------------------------------------------------------------------------------------

WAYS: dict[str, Callable[[bytes, Path], Any]] = {
    "path": lambda data, path: path,
    "bytes": lambda data, path: data,
    "BytesIO": lambda data, path: io.BytesIO(data),
    "only read()": lambda data, path: OnlyRead(data),
}


def opened_by(way: str, data: bytes, path: Path, **options: Any) -> container.Opened:
    path.write_bytes(data)
    if way == "mapped":
        return container.open(path, RING, map_file=True, **options)
    if way == "open file":
        with path.open("rb") as file:
            return container.open(file, RING, **options)
    return container.open(WAYS[way](data, path), RING, **options)


EVERY_WAY = [*WAYS, "open file", "mapped"]


@pytest.mark.parametrize("way", EVERY_WAY)
def test_the_chunk_that_does_not_hold_is_named_by_every_way(way: str, small_chunks: None, tmp_path: Path):
    data = sealed()
    start, count = body_start(data), -(-len(data) // CHUNK)
    for number in (0, 1, count // 2, count - 2):
        bad = flipped(data, min(start + (number + 1) * CHUNK, len(data)) - 1)
        with pytest.raises(AuthenticationError, match=rf"^chunk {number} of the body \(from byte {number * CHUNK}\)"), no_thread_is_left():
            opened_by(way, bad, tmp_path / "file")
        with pytest.raises(AuthenticationError, match=rf"^chunk {number} of"):
            container.verify(tmp_path / "file", RING)
    both = flipped(flipped(data, start + 2 * CHUNK), start + 9 * CHUNK)
    with pytest.raises(AuthenticationError, match=r"^chunk 2 of"):
        opened_by(way, both, tmp_path / "file")


EDGES: dict[str, tuple[int, list[int]]] = {
    "nothing": (0, []),
    "a program of one byte": (1, []),
    "a program of exactly one chunk": (CHUNK, []),
    "a program of exactly three chunks": (3 * CHUNK, []),
    "a program of three chunks and a byte": (3 * CHUNK + 1, []),
    "a program of three chunks but a byte": (3 * CHUNK - 1, [5]),
    "an empty program": (0, [CHUNK + 1]),
    "a program of a chunk, and a buffer": (CHUNK, [10]),
    "a program of two chunks and a half, and a buffer": (2 * CHUNK + CHUNK // 2, [3 * CHUNK]),
    "buffers that begin exactly at a chunk": (CHUNK, [CHUNK, 2 * CHUNK, 64]),
    "buffers that end exactly at a chunk": (64, [CHUNK - 64, CHUNK, CHUNK]),
    "a buffer that ends a byte after a chunk": (64, [CHUNK - 63, 7]),
    "padding that ends a chunk": (64, [CHUNK - 65 - 64, 1]),
    "padding across the end of a chunk": (1, [CHUNK - 128, 1, 1]),
    "empty buffers": (5, [0] * 20),
    "thousands of tiny buffers": (100, [1, 0, 63, 64, 65] * 1500),
    "a program of many chunks, tiny buffers": (5 * CHUNK + 3, [3] * 3000),
}


@pytest.mark.parametrize("edge", EDGES)
def test_every_way_reads_the_same_at_the_edges_of_chunks(edge: str, small_chunks: None, tmp_path: Path):
    length, lengths = EDGES[edge]
    rng = random.Random(1)
    program, buffers = rng.randbytes(length), [memoryview(rng.randbytes(each)) for each in lengths]
    data = b"".join(container.seal(program, buffers, RING, now=lambda: NOW))
    container.save(tmp_path / "saved", program, buffers, RING, now=lambda: NOW)
    assert (tmp_path / "saved").read_bytes() == data
    assert data[body_start(data) :] == body(program, [bytes(each) for each in buffers])
    for way in EVERY_WAY:
        assert written(opened_by(way, data, tmp_path / "file")) == (program, [bytes(each) for each in buffers]), way
    small = b"".join(container.seal(program, buffers, RING, compress="zlib"))
    for way in [*WAYS, "open file"]:
        assert written(opened_by(way, small, tmp_path / "file")) == (program, [bytes(each) for each in buffers]), way
    for each in (data, small):
        assert container.verify(OnlyRead(each), RING) == container.verify(each, RING)


@pytest.mark.parametrize("edge", [edge for edge, (_, lengths) in EDGES.items() if any(lengths)])
def test_padding_is_checked_wherever_it_lies_against_the_chunks(edge: str, small_chunks: None, tmp_path: Path):
    """By whom it was signed, with all digests right: FormatError, by every way."""
    length, lengths = EDGES[edge]
    buffers = [b"x" * each for each in lengths]
    whole = bytearray(body(b"x" * length, buffers))
    gaps = [at for at, value in enumerate(whole) if value == 0]
    for at in sorted({*gaps[:2], *gaps[len(gaps) // 2 :][:1], *gaps[-1:]}):
        whole[at] = 1
        digests = [hashlib.sha256(whole[first : first + CHUNK]).hexdigest() for first in range(0, len(whole), CHUNK)]
        bad = signed(header(b"x" * length, buffers, chunk_bytes=CHUNK, body_chunks=digests), bytes(whole))
        for way in EVERY_WAY:
            with pytest.raises(FormatError, match="padding between buffers"):
                opened_by(way, bad, tmp_path / "file")
        for file in (tmp_path / "file", OnlyRead(bad)):
            with pytest.raises(FormatError, match="padding between buffers"):
                container.verify(file, RING)
        whole[at] = 0


@settings(max_examples=60, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    program=st.integers(0, 3 * CHUNK + 5) | st.sampled_from([CHUNK, 2 * CHUNK]),
    lengths=st.lists(st.integers(0, 200) | st.integers(0, 2 * CHUNK + 5) | st.sampled_from([CHUNK, CHUNK - 64, CHUNK + 64]), max_size=6),
    place=st.floats(0, 1, exclude_max=True),
)
def test_every_way_reads_the_same_and_refuses_the_same(program: int, lengths: list[int], place: float, small_chunks: None, tmp_path: Path):
    rng = random.Random(program)
    given_program, buffers = rng.randbytes(program), [memoryview(rng.randbytes(each)) for each in lengths]
    data = b"".join(container.seal(given_program, buffers, RING, now=lambda: NOW))
    wanted = given_program, [bytes(each) for each in buffers]
    for way in EVERY_WAY:
        assert written(opened_by(way, data, tmp_path / "file")) == wanted
    small = b"".join(container.seal(given_program, buffers, RING, compress="zlib"))
    assert written(container.open(small, RING)) == wanted
    for whole in (data, small):
        at = int(place * len(whole))
        ways = EVERY_WAY if whole is data else [*WAYS, "open file"]
        refusals = {str(refusal(way, flipped(whole, at), tmp_path / "file")) for way in ways}
        assert len(refusals) == 1


def refusal(way: str, data: bytes, path: Path) -> Exception:
    try:
        opened_by(way, data, path)
    except SafePickleError as error:
        return error
    raise AssertionError("a changed file was accepted")


class Wandering:
    """`os.preadv`, before one call of which the file is changed."""

    def __init__(self, change: Callable[[], None], at: int) -> None:
        self._left, self._change, self._lock, self._preadv = at, change, threading.Lock(), os.preadv

    def __call__(self, descriptor: int, views: Any, offset: int) -> int:
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._change()
        return self._preadv(descriptor, views, offset)


@positional
@pytest.mark.parametrize("opens", [container.open, container.verify], ids=["open", "verify"])
@pytest.mark.parametrize("how", [None, "zlib"])
@pytest.mark.parametrize("at", [1, 3, 5])
@pytest.mark.parametrize("change", ["shrinks", "grows", "is emptied", "is overwritten"])
def test_a_file_that_changes_while_it_is_read_is_refused(
    change: str, at: int, how: str | None, opens: Any, small_chunks: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    if how and opens is container.open:
        pytest.skip("compressed chunks are read one after the other")
    path = tmp_path / "file"
    data = sealed(1_500_000, compress=how)
    path.write_bytes(data)

    def changes() -> None:
        with path.open("r+b") as file:
            match change:
                case "shrinks":
                    file.truncate(len(data) - 1)
                case "is emptied":
                    file.truncate(0)
                case "grows":
                    file.seek(0, 2)
                    file.write(b"\0")
                case _:
                    file.write(b"\1" * len(data))

    monkeypatch.setattr(os, "preadv", Wandering(changes, at))
    with pytest.raises((FormatError, AuthenticationError)), no_thread_is_left():
        opens(path, RING)


@pytest.mark.parametrize("how", [None, *CODECS])
def test_many_threads_load_at_once(how: str | None, small_chunks: None, tmp_path: Path):
    data = sealed(compress=how)
    (tmp_path / "file").write_bytes(data)
    (tmp_path / "bad").write_bytes(flipped(data, len(data) - 1))
    outcomes: list[bool] = []

    def work() -> None:
        for _ in range(3):
            outcomes.append(written(container.open(tmp_path / "file", RING)) == expected())
            outcomes.append(refused_by(container.open, tmp_path / "bad", RING) is AuthenticationError)

    with contextlib.ExitStack() as stack, no_thread_is_left():
        inner = stack.enter_context(contextlib.ExitStack())
        for _ in range(8):
            inner.enter_context(in_thread(work))
        inner.close()
    assert outcomes == [True] * 48


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_after_a_load_loads_and_dumps(small_chunks: None, tmp_path: Path):
    save(tmp_path / "file")
    opened = container.open(tmp_path / "file", RING)
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            save(tmp_path / "again")
            good = written(container.open(tmp_path / "again", RING)) == written(opened) == expected()
            opened.buffers[0][:4] = b"mine"
            code = 0 if good else 2
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert written(opened) == expected(), "memory is not shared with the child"


# --- no threads, errors, order: in_order ------------------------------------------------------------------------


@pytest.mark.parametrize("there_are", [0, 1])
@pytest.mark.parametrize("how", [None, "zlib"])
def test_without_threads_the_calling_one_does_the_work(
    how: str | None, there_are: int, small_chunks: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """A container may be allowed few processes. Neither what is written nor what is read differs."""
    data = sealed(compress=how)
    left = [there_are]
    start = threading.Thread.start

    def no_more(thread: threading.Thread) -> None:
        if left[0] < 1:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", no_more)
    monkeypatch.setattr(chunks, "_processors", lambda: 4)
    for use in (
        lambda: save(tmp_path / "file", compress=how),
        lambda: container.verify(tmp_path / "file", RING),
        lambda: written(container.open(tmp_path / "file", RING)) == expected(),
        lambda: written(container.open(OnlyRead(data), RING)) == expected(),
        lambda: container.verify(OnlyRead(data), RING),
    ):
        left[0] = there_are
        assert use() is not False
        assert (tmp_path / "file").read_bytes() == data
    left[0] = there_are
    with pytest.raises(AuthenticationError, match=r"^chunk 0 "):
        container.open(flipped(data, body_start(data)), RING)


def test_what_a_thread_had_not_begun_when_there_are_no_more_is_done_all_the_same(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(chunks, "_processors", lambda: 1)
    monkeypatch.setattr(concurrent.futures.thread, "_shutdown", False)
    done: list[int] = []

    def work(number: int) -> int:
        time.sleep(0.02)
        done.append(number)
        return number

    results = chunks.in_order(work, iter(range(20)), 1 << 40)
    got = [next(results)]
    # From here on `submit` says that the interpreter ends.
    monkeypatch.setattr(concurrent.futures.thread, "_shutdown", True)
    assert got + list(results) == list(range(20))
    assert sorted(done) == list(range(20))


@posix
def test_a_dump_while_the_interpreter_ends_is_whole(tmp_path: Path):
    """Then no pool takes work any more."""
    script = """
import atexit, sys
from safepickle import Keyring, SecretKey, container
ring = Keyring(SecretKey.from_bytes(bytes(range(40))))
class Late:
    def __del__(self, container=container): container.save(sys.argv[1], b"x", [memoryview(bytes(9 << 20))], ring)
atexit.register(Late().__del__)
"""
    child = run_python(script, str(tmp_path / "file"))
    assert child.stderr == ""
    opened = container.open(tmp_path / "file", Keyring(bytes(range(40))))
    assert len(opened.buffers[0]) == 9 << 20


def test_items_are_made_a_few_ahead_and_no_more():
    """Whatever reads a pipe makes them: all of it would lie in memory, and a first chunk that does not hold would be told after the last."""
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            made.append(number)
            yield number

    results = chunks.in_order(lambda number: number * 2, items(), 1 << 40)
    assert next(results) == 0
    assert len(made) < 40
    with no_thread_is_left():
        pass
    assert [next(results) for _ in range(500)] == list(range(2, 1002, 2))
    assert len(made) < 540
    before = threading.active_count()
    results.close()
    assert threading.active_count() < before
    assert len(made) < 540


@pytest.mark.parametrize("total", [0, 1 << 40])
def test_the_first_error_in_order_is_raised_and_stops_the_rest(total: int):
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number in (3, 5):
            time.sleep(0.05 if number == 3 else 0)
            raise ValueError(number)
        return number

    got: list[int] = []
    with pytest.raises(ValueError, match=r"^3$"), no_thread_is_left():
        for each in chunks.in_order(work, range(1000), total):
            got.append(each)  # noqa: PERF402 - the error comes in between
    assert got == [0, 1, 2]
    assert len(begun) < 40


@pytest.mark.parametrize("threads", [True, False])
def test_after_an_error_nothing_is_kept_in_memory(threads: bool, monkeypatch: pytest.MonkeyPatch):
    """A refused file of many GiB must be gone when its refusal is."""

    class Piece:
        pass

    known: list[weakref.ref[Piece]] = []

    def items() -> Iterator[Piece]:
        for _ in range(20):
            piece = Piece()
            known.append(weakref.ref(piece))
            yield piece

    def work(piece: Piece) -> None:
        if len(known) > 3 and piece is known[3]():
            raise ValueError("no")

    def refused() -> None:
        try:
            list(chunks.in_order(work, items(), 1 << 40))
        except ValueError:
            return
        raise AssertionError("the error was lost")

    def no_more(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    if not threads:
        monkeypatch.setattr(threading.Thread, "start", no_more)
    gc.collect()
    gc.disable()
    try:
        refused()
        assert len(known) > 3
        assert [each for each in known if each() is not None] == []
    finally:
        gc.enable()


def test_an_error_of_what_makes_the_items_stops_the_threads():
    def items() -> Iterator[int]:
        yield from range(5)
        raise OSError("the pipe broke")

    with pytest.raises(OSError, match="the pipe broke"), no_thread_is_left():
        list(chunks.in_order(lambda number: number, items(), 1 << 40))


def test_too_little_memory_is_a_limit_error(small_chunks: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Wherever it runs out."""
    save(tmp_path / "file")
    data = compressed("zlib", [deflated(PROGRAM)])

    class Exhausted(chunks.Codec):
        def __init__(self) -> None:
            super().__init__(bytes, lambda length: self.fails())

        def fails(self) -> Any:
            raise MemoryError

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(chunks.CODECS, "zlib", Exhausted)
        with pytest.raises(LimitError, match="too little memory"):
            container.open(data, RING)

    def fails(*_: Any) -> None:
        raise MemoryError

    for name in ("allocate", "gaps", "digest"):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(LimitError, match="memory"):
            patch.setattr(chunks, name, fails)
            container.open(tmp_path / "file", RING)


@pytest.mark.parametrize("edge", EDGES)
def test_gaps_are_what_layout_leaves(edge: str):
    length, lengths = EDGES[edge]
    starts = chunks.layout(length, lengths)
    assert starts[-1] == len(body(bytes(length), [bytes(each) for each in lengths]))
    ends = [length, *(start + each for start, each in zip(starts, lengths, strict=False))]
    assert chunks.gaps(length, lengths) == [(end, start) for end, start in zip(ends, starts[:-1], strict=False) if end < start]


@pytest.mark.parametrize("edge", EDGES)
def test_padding_is_found_in_any_part_of_a_body(edge: str):
    """However the part lies against the gaps."""
    length, lengths = EDGES[edge]
    where = chunks.gaps(length, lengths)
    whole = bytearray(body(b"x" * length, [b"x" * each for each in lengths]))
    zero = {at for start, end in where for at in range(start, end)}
    rng = random.Random(2)
    places = sorted(zero)
    for at in [*places[:2], *places[-2:], *(rng.choice(places or [0]) for _ in range(5)), *whole[:1]][:9]:
        before = whole[at : at + 1]
        whole[at : at + 1] = b"\1" * len(before)
        for _ in range(20):
            low = max(at - rng.randrange(200), 0)
            high = min(at + rng.randrange(200), len(whole))
            seen = low <= at < high and at in zero
            assert chunks.all_zero(where, memoryview(whole)[low:high], low) is not seen
        whole[at : at + 1] = before


def test_padding_is_found_in_a_chunk_that_is_hashed_by_pieces(tmp_path: Path):
    buffers = [b"y" * (3 * MIB)]
    whole = bytearray(body(PROGRAM, buffers))
    whole[len(PROGRAM)] = 1
    digests = [hashlib.sha256(whole).hexdigest()]
    (tmp_path / "file").write_bytes(signed(header(PROGRAM, buffers, chunk_bytes=1 << 22, body_chunks=digests), bytes(whole)))
    with pytest.raises(FormatError, match="padding between buffers"):
        container.verify(tmp_path / "file", RING)


def test_verify_of_many_buffers_takes_time_in_proportion(small_chunks: None, tmp_path: Path):
    """It looked through all of them for each group of chunks."""
    container.save(tmp_path / "file", PROGRAM, [memoryview(b"x")] * 200_000, RING)
    for file in (tmp_path / "file", OnlyRead((tmp_path / "file").read_bytes())):
        start = time.process_time()
        container.verify(file, RING)
        assert time.process_time() - start < allowed(4)


@pytest.mark.parametrize("how", CODECS)
@pytest.mark.parametrize("length", [1, 2, 63, CHUNK, MIB - 1, MIB, MIB + 1, 9 * MIB])
def test_streams_that_end_a_byte_too_soon_or_too_late(length: int, how: str):
    codec = chunks.codec_of(how)
    rng = random.Random(length)
    for data in (bytes(length), rng.randbytes(length), (b"ab" * length)[:length]):
        stream = codec.compress(data)
        into = memoryview(bytearray(length))
        codec.expand(stream, into)
        assert into == data
        for bad, room in (
            (stream, length - 1),
            (stream, length + 1),
            (stream[:-1], length),
            (stream + b"\0", length),
            (stream * 2, length),
            (b"", 9),
        ):
            if room:
                with pytest.raises(FormatError, match="whoever signed the file wrote it so"):
                    codec.expand(bad, memoryview(bytearray(room)))
