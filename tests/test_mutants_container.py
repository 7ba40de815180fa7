"""What must hold of containers and no other test asked in few milliseconds: found by their mutants, see mutants/README.md."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import hashlib
import io
import json
import os
import stat
import types
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from make_vectors import EDWARDS, KEY, NOW, PROGRAM, SECOND, STRANGER, assembled, body, canonical, compressed, deflated, entry, header, signed

from safepickle import (
    AuthenticationError,
    FormatError,
    Info,
    Keyring,
    KeyringError,
    LimitError,
    Trusted,
    UnknownKeyError,
    UnsignedError,
    UntrustedInfo,
    container,
)
from safepickle.keys import HMAC_SHA256

RING = Keyring(KEY)
SEALED = b"".join(map(bytes, container.seal(PROGRAM, [], RING, now=lambda: NOW)))


class OnlyRead:
    """A stream: it has read() and nothing else, and hands out a few bytes at a time."""

    def __init__(self, data: bytes, most: int = 1000) -> None:
        self.stream, self.most = io.BytesIO(data), most

    def read(self, count: int) -> bytes:
        return self.stream.read(min(count, self.most))


def refused(kind: type[Exception], call: Any) -> Any:
    with pytest.raises(kind) as error:
        call()
    assert type(error.value) is kind
    return error.value


def sealed(**options: Any) -> bytes:
    return b"".join(map(bytes, container.seal(PROGRAM, [], RING, now=lambda: NOW, **options)))


def opened(data: Any, ring: Keyring = RING, **options: Any) -> container.Opened:
    return container.open(data, ring, now=lambda: NOW, **options)


WAYS = {
    "bytes": lambda data, path: data,
    "path": lambda data, path: path,
    "stream": lambda data, path: OnlyRead(data),
    "file in memory": lambda data, path: io.BytesIO(data),
    "open file": lambda data, path: path.open("rb"),
    "unbuffered file": lambda data, path: path.open("rb", buffering=0),
}


@pytest.fixture(params=WAYS)
def handed(request, tmp_path: Path):
    """Return what hands the bytes over in one of these ways."""
    with contextlib.ExitStack() as stack:

        def hand(data: bytes) -> Any:
            path = tmp_path / "file"
            path.write_bytes(data)
            made = WAYS[request.param](data, path)
            return stack.enter_context(made) if request.param in {"open file", "unbuffered file"} else made

        yield hand


def test_the_numbers_of_the_format():
    """SPEC.md has them; another one is another format."""
    assert (container.MAGIC, container.VERSION, container.PREFIX.size, container.SIGNATURE_HEAD.size) == (b"\x89SPKL\r\n\x1a", 1, 20, 11)
    assert (container.ALIGNMENT, container.CHUNK_BYTES, container.MAX_SIGNATURES) == (64, 1_048_576, 16)
    assert (container.MAX_SIGNATURE_BLOCK_BYTES, container.MAX_HEADER_BYTES) == (131_072, 134_217_728)
    assert (container.MAX_INTEGER, container.MAX_SECONDS) == (9_223_372_036_854_775_807, 253_402_300_799)
    assert (container.MAX_TEXT, container.MAX_METADATA_DEPTH, container.MAX_METADATA_BYTES) == (1024, 64, 1_048_576)
    assert sorted(container.CHUNK_BYTES_ALLOWED) == [1 << power for power in range(16, 27)]
    assert container.DEFAULT_EXPANSION == 200
    assert container._most_expanded(3, 200) == 67_108_864 + 600


def test_what_is_told_of_an_opened_file():
    metadata, libraries = {"auc": 0.97, "tags": ["a"]}, {"numpy": "2.0", "sklearn": "1.5"}
    data = sealed(context="a/b", serial=7, expires=NOW + 10, metadata=metadata, libraries=libraries)
    info = opened(data).info
    assert type(info) is Info
    assert (info.context, info.serial, info.metadata, info.libraries) == ("a/b", 7, metadata, libraries)
    assert (info.created, info.expires) == (datetime.fromtimestamp(NOW, UTC), datetime.fromtimestamp(NOW + 10, UTC))
    assert (info.program_bytes, info.buffer_bytes, info.compression, info.stored_bytes) == (len(PROGRAM), (), None, None)
    assert (info.authenticated, info.trusted_key_ids, info.format_version) == (True, (KEY.key_id,), 1)
    assert [(each.suite, each.key_id) for each in info.signatures] == [(HMAC_SHA256, KEY.key_id)]
    front = container._read_front(container._source(data))
    assert info.header_sha256 == hashlib.sha256(front.raw).hexdigest()
    import platform

    assert info.python == platform.python_version()
    assert info.platform == f"{platform.system()}-{platform.machine()}".lower()
    claimed = container.peek(data)
    assert (type(claimed), claimed.authenticated, claimed.trusted_key_ids) == (UntrustedInfo, False, ())
    fields = [each.name for each in dataclasses.fields(Info) if each.name != "trusted_key_ids"]
    assert [getattr(claimed, name) for name in fields] == [getattr(info, name) for name in fields]
    bare = opened(SEALED).info
    assert (bare.context, bare.serial, bare.expires, bare.metadata, bare.libraries) == (None, None, None, None, {})


def test_an_opened_file_shows_neither_program_nor_buffers():
    shown = repr(opened(SEALED))
    assert shown.startswith("Opened(info=Info(")
    assert "program=" not in shown
    assert "buffers=" not in shown
    with pytest.raises(TypeError, match=r"only container\.open\(\) makes an Opened"):
        container.Opened(opened(SEALED).info, b"", ())


@pytest.mark.parametrize("buffers", [(), (b"b" * 70,), (b"b" * 70, b"", b"five!")], ids=len)
@pytest.mark.parametrize("compress", [None, "zlib"])
def test_program_and_buffers_come_back_however_the_file_is_handed_over(handed, buffers, compress):
    pieces = container.seal(PROGRAM, [memoryview(each) for each in buffers], RING, now=lambda: NOW, compress=compress)
    data = b"".join(map(bytes, pieces))
    found = opened(handed(data))
    assert (found.program, tuple(bytes(each) for each in found.buffers)) == (PROGRAM, buffers)
    assert found.info.buffer_bytes == tuple(map(len, buffers))
    assert container.verify(handed(data), RING, now=lambda: NOW) == found.info
    info, program, rest = container.unverified(handed(data))
    assert (type(info), program, tuple(bytes(each) for each in rest)) == (UntrustedInfo, PROGRAM, buffers)
    assert container.peek(handed(data)) == info
    assert found.info.compression == compress
    assert (found.info.stored_bytes is None) == (compress is None)


@pytest.mark.parametrize("buffers", [(), (b"b" * 70, b"", b"five!")], ids=len)
@pytest.mark.parametrize("compress", [None, "zlib"])
def test_what_is_cut_or_goes_on_is_told_as_such(handed, buffers, compress):
    data = b"".join(map(bytes, container.seal(PROGRAM, [memoryview(each) for each in buffers], RING, now=lambda: NOW, compress=compress)))
    for use in (opened, lambda file: container.verify(file, RING, now=lambda: NOW), container.unverified):
        cut = refused(FormatError, lambda use=use: use(handed(data[:-1])))
        assert cut.about == "truncated"
        assert "the file is cut off; fetch it again" in str(cut)
        more = refused(FormatError, lambda use=use: use(handed(data + b"\0")))
        assert more.about == "appended"
        assert "bytes follow the end of the container: something was appended" in str(more)


@pytest.mark.parametrize("length", [8, 19, 20, 25, 60, 62, 64, 100])
def test_a_front_that_is_cut_is_told_as_such(handed, length):
    cut = refused(FormatError, lambda: opened(handed(SEALED[:length])))
    assert cut.about == "truncated"


def test_the_beginning_of_the_magic_alone_is_a_file_that_was_cut():
    for length in range(8):
        error = refused(UnsignedError, lambda length=length: opened(SEALED[:length]))
        assert error.about == "truncated"
    assert refused(UnsignedError, lambda: opened(b"hello, world")).about == ""
    assert container.like_container(SEALED[:3])
    assert container.like_container(SEALED)
    assert container.like_container(b"\x89SPKL\n")
    assert not container.like_container(b"")
    assert not container.like_container(b"hello")


def test_a_chunk_that_was_changed_is_named(handed):
    changed = SEALED[:-1] + b"x"
    error = refused(AuthenticationError, lambda: opened(handed(changed)))
    assert error.about == "tampered"
    assert str(error).startswith("chunk 0 of the body (from byte 0) does not have the signed SHA-256: ")
    packed = sealed(compress="zlib")
    error = refused(AuthenticationError, lambda: opened(handed(packed[:-1] + bytes((packed[-1] ^ 1,)))))
    assert str(error).startswith("chunk 0 of the body (compressed) does not have the signed SHA-256: ")


def test_the_second_chunk_is_named_by_where_it_begins(handed):
    program = bytes(65_536) + b"second"
    data = signed(header(program, chunk_bytes=1 << 16), program)
    assert opened(handed(data)).program == program
    error = refused(AuthenticationError, lambda: opened(handed(data[:-1] + b"x")))
    assert str(error).startswith("chunk 1 of the body (from byte 65536)")


def test_padding_between_buffers_is_zero(handed):
    buffers = (b"x" * 70, b"y")
    data = signed(header(buffers=buffers), body(buffers=buffers))
    assert opened(handed(data)).buffers[1] == b"y"
    other = signed(header(buffers=buffers, padding=b"\1"), body(buffers=buffers, padding=b"\1"))
    for use in (opened, lambda file: container.verify(file, RING, now=lambda: NOW), container.unverified):
        assert str(refused(FormatError, lambda use=use: use(handed(other)))) == "the padding between buffers is not zero"


@pytest.mark.parametrize(
    ("options", "expected", "about", "says"),
    [
        ({"context": "a"}, {"context": "b"}, "context", "the file was signed for the context 'a' and you expect 'b': "),
        ({}, {"context": "b"}, "context", "the file was signed for no context and you expect 'b': "),
        ({"serial": 6}, {"min_serial": 7}, "serial", "the file has serial 6 and you expect at least 7: "),
        ({}, {"min_serial": 0}, "serial", "the file has no serial and you expect at least 0: "),
    ],
)
def test_what_does_not_hold_is_named(options, expected, about, says):
    data = sealed(**options)
    for use in (opened, lambda file, **more: container.unverified(file, **more)):
        error = refused(AuthenticationError, lambda use=use: use(data, **expected))
        assert error.about == about
        assert str(error).startswith(says)


def test_a_file_expires_at_its_second():
    data = sealed(expires=NOW + 10)
    assert container.open(data, RING, now=lambda: NOW + 9.9).info.serial is None
    error = refused(AuthenticationError, lambda: container.open(data, RING, now=lambda: NOW + 10))
    assert error.about == "expired"
    assert str(error).startswith("the file expired at 2027-01-15T08:00:10+00:00: ")
    assert container.unverified(data)
    assert refused(AuthenticationError, lambda: container.unverified(data, now=lambda: NOW + 10)).about == "expired"


def test_texts_and_numbers_at_their_bounds_come_back():
    long = "x" * 1024
    info = opened(sealed(context=long, serial=(1 << 63) - 1, libraries={long: long}), context=long, min_serial=(1 << 63) - 1).info
    assert (info.context, info.serial, info.libraries) == (long, (1 << 63) - 1, {long: long})
    assert opened(sealed(context="x", serial=0), context="x", min_serial=0).info.serial == 0
    assert opened(sealed(expires=timedelta(seconds=1))).info.expires == datetime.fromtimestamp(NOW + 1, UTC)
    for bad in ({"expires": timedelta(0)}, {"expires": NOW}, {"context": long + "x"}, {"context": ""}, {"serial": 1 << 63}, {"serial": -1}):
        refused(ValueError, lambda bad=bad: sealed(**bad))
    refused(FormatError, lambda: opened(signed(header(environment={"libraries": {}, "platform": long + "x", "python": "3"}))))
    text = "x" * (container.MAX_METADATA_BYTES - 2)
    assert opened(sealed(metadata=text)).info.metadata == text
    refused(ValueError, lambda: sealed(metadata=text + "x"))
    deep: Any = 1
    for _ in range(64):
        deep = [deep]
    assert opened(sealed(metadata=deep)).info.metadata == deep
    assert "metadata is nested more than 64 deep" in str(refused(ValueError, lambda: sealed(metadata=[deep])))
    assert "metadata is nested more than 64 deep" in str(refused(ValueError, lambda: sealed(metadata={"a": deep})))
    assert "metadata has a key that is not text" in str(refused(ValueError, lambda: sealed(metadata=[{1: 2}])))


def test_a_threshold_is_from_1_to_16():
    for bad in (0, 17, True, 1.0):
        assert "threshold is an integer from 1 to 16" in str(refused(ValueError, lambda bad=bad: opened(SEALED, threshold=bad)))
    refused(AuthenticationError, lambda: opened(SEALED, threshold=16))


def test_the_body_is_limited(handed):
    size = len(PROGRAM)
    assert opened(handed(SEALED), max_body_bytes=size)
    says = f"the body takes {size} bytes; limits allow {size - 1} (`body_bytes` of Limits)"
    assert str(refused(LimitError, lambda: opened(handed(SEALED), max_body_bytes=size - 1))) == says
    assert container.read_whole(handed(SEALED), len(SEALED)) == SEALED
    assert "`body_bytes` of Limits" in str(refused(LimitError, lambda: container.read_whole(handed(SEALED), len(SEALED) - 1)))


def test_a_compressed_body_is_limited_by_what_it_takes():
    stored = [deflated(PROGRAM)]
    data = compressed("zlib", stored)
    assert opened(data, max_expansion=1).program == PROGRAM
    for size, times in (((64 << 20) + 2 * 200 + 1, 200), ((64 << 20) + 2 * 3 + 1, 3)):
        lying = compressed("zlib", [b"x", b"x"], body_program=size, chunk_bytes=1 << 26)
        says = f"the body takes {size} bytes, and 2 in the file; limits allow {times} times as much (`expansion` of Limits)"
        assert str(refused(LimitError, lambda lying=lying, times=times: opened(lying, max_expansion=times))) == says
    just = compressed("zlib", [b"x", b"x"], body_program=(64 << 20) + 2 * 3, chunk_bytes=1 << 26)
    assert "`expansion`" not in str(refused(FormatError, lambda: opened(just, max_expansion=3)))


@pytest.mark.parametrize("compression", ["brotli", "", 1, "zlib "])
def test_a_compression_that_is_not_known_asks_for_an_upgrade(compression):
    error = refused(FormatError, lambda: opened(compressed(compression, [deflated(PROGRAM)])))
    assert "fields of format version 1" in str(error)


@pytest.mark.parametrize("stored", [0, -1, (2 << 20) + 1, True, "1"])
def test_the_length_of_a_stored_chunk_is_bounded(stored):
    error = refused(FormatError, lambda: opened(compressed("zlib", [deflated(PROGRAM)], body_stored=[stored])))
    assert "fields of format version 1" in str(error)


def test_what_read_returns_is_looked_at():
    class Returns:
        def __init__(self, value: Any) -> None:
            self.value = value

        def read(self, count: int) -> Any:
            return self.value

    assert "text mode" in str(refused(TypeError, lambda: opened(Returns("text"))))
    assert "non-blocking mode" in str(refused(BlockingIOError, lambda: opened(Returns(None))))
    assert "more than it was asked for" in str(refused(OSError, lambda: opened(Returns(bytes(100)))))
    assert "is empty" in str(refused(UnsignedError, lambda: opened(Returns(b""))))
    for wrong in (7, None, object()):
        assert "a file is a path or a binary file object, not " in str(refused(TypeError, lambda wrong=wrong: opened(wrong)))
    assert "text mode" in str(refused(TypeError, lambda: opened(io.StringIO("x"))))


@pytest.mark.parametrize("name", ["spk1_x", "spkpriv1_y"])
def test_a_key_in_the_place_of_a_path_is_not_repeated(name, tmp_path):
    text = f"{tmp_path}/{name}"
    for use in (lambda: opened(text), lambda: container.write([b""], text), lambda: opened(Path(text))):
        error = refused(TypeError, use)
        assert name not in str(error)


def test_a_written_file_is_replaced_as_a_whole_and_keeps_its_mode(tmp_path):
    path = tmp_path / "file"
    container.write([b"one", b"two"], path)
    assert path.read_bytes() == b"onetwo"
    os.chmod(path, 0o640)
    link = tmp_path / "link"
    link.symlink_to(path)
    container.write([b"three"], link)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode), link.is_symlink()) == (b"three", 0o640, True)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "link"]
    stream = io.BytesIO()
    container.write([b"one", b"two"], stream)
    assert stream.getvalue() == b"onetwo"
    assert "the call is dump(obj, file, key=...)" in str(refused(TypeError, lambda: container.write([b""], 7)))
    assert "the call is dump(obj, file, key=...)" in str(refused(TypeError, lambda: container.write([b""], io.StringIO())))


def test_signatures_stand_in_one_order_and_each_once():
    raw = container._read_front(container._source(SEALED)).raw
    pairs = sorted((entry(key, raw) for key in (KEY, SECOND)), key=lambda each: each[1])
    assert opened(assembled(raw, pairs, PROGRAM)).program == PROGRAM
    says = "the signatures are not in their one order, by suite and key id, each once"
    for wrong in (pairs[::-1], [pairs[0], pairs[0]]):
        assert str(refused(FormatError, lambda wrong=wrong: opened(assembled(raw, wrong, PROGRAM)))) == says
    damaged = "the signature block is damaged: its length does not fit the signatures in it"
    for more in ({"stray": b"x"}, {"stray": b"x", "count": 3}, {"stray": bytes(11), "count": 2}, {"count": 1}, {"count": 3}):
        assert str(refused(FormatError, lambda more=more: opened(assembled(raw, pairs, PROGRAM, **more)))) == damaged
    for count in (0, 17):
        error = refused(FormatError, lambda count=count: opened(assembled(raw, pairs, PROGRAM, count=count)))
        assert str(error) == "the prefix of the container is damaged: a count or length in it is out of range"
    short = (1, pairs[0][1], b"x" * 31)
    assert (
        str(refused(FormatError, lambda: opened(assembled(raw, [short], PROGRAM)))) == "a signature of suite hmac-sha256 has 31 bytes instead of 32"
    )
    unknown = (200, bytes(8), b"whatever")
    found = opened(assembled(raw, [pairs[0], unknown], PROGRAM), Keyring(KEY, SECOND)).info.signatures
    assert (found[1].suite, found[1].key_id, found[1].value) == ("unknown suite 200", "0" * 16, b"whatever")
    newer = str(refused(FormatError, lambda: opened(assembled(raw, pairs, PROGRAM, version=2))))
    assert newer == "the container has format version 2 and this release reads version 1: upgrade safepickle-ml"


@pytest.fixture
def signed_file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(SEALED)
    os.chmod(path, 0o640)
    return path


def who_signed(path: Path) -> set[str]:
    return {each.key_id for each in container.peek(path).signatures}


def test_signing_again_adds_or_replaces(signed_file):
    before = container._read_front(container._source(SEALED)).raw
    info = container.resign(signed_file, RING, Keyring(SECOND), add=True, now=lambda: NOW)
    assert (info.trusted_key_ids, [each.key_id for each in info.signatures]) == ((KEY.key_id,), [KEY.key_id])
    assert who_signed(signed_file) == {KEY.key_id, SECOND.key_id}
    assert container._read_front(container._source(signed_file.read_bytes())).raw == before
    assert stat.S_IMODE(signed_file.stat().st_mode) == 0o640
    container.resign(signed_file, RING, Keyring(SECOND), add=True, now=lambda: NOW)
    assert who_signed(signed_file) == {KEY.key_id, SECOND.key_id}
    assert opened(signed_file, Keyring(KEY, SECOND), threshold=2).program == PROGRAM
    container.resign(signed_file, RING, Keyring(STRANGER), add=True, drop_unverified=True, now=lambda: NOW)
    assert who_signed(signed_file) == {KEY.key_id, STRANGER.key_id}
    container.resign(signed_file, RING, Keyring(SECOND), add=False, now=lambda: NOW)
    assert who_signed(signed_file) == {SECOND.key_id}
    refused_by = [
        lambda: container.resign(signed_file, RING, Keyring(KEY), add=True, now=lambda: NOW),
        lambda: container.resign(signed_file, Keyring(SECOND), Keyring(KEY), add=True, threshold=2, now=lambda: NOW),
        lambda: container.resign(signed_file, Keyring(SECOND), Keyring(KEY), add=True, context="other", now=lambda: NOW),
        lambda: container.resign(signed_file, Keyring(SECOND), Keyring(KEY), add=True, min_serial=1, now=lambda: NOW),
    ]
    for call in refused_by:
        with pytest.raises(AuthenticationError):
            call()
        assert who_signed(signed_file) == {SECOND.key_id}


def test_what_cannot_be_signed_again_is_named(tmp_path):
    raw = container._read_front(container._source(SEALED)).raw
    path = tmp_path / "file"
    path.write_bytes(assembled(raw, [entry(KEY, raw), (200, bytes(8), b"x")], PROGRAM))
    error = refused(FormatError, lambda: container.resign(path, RING, Keyring(SECOND), add=True, now=lambda: NOW))
    assert "the file has a signature of unknown suite 200, which this release cannot write again" in str(error)
    container.resign(path, RING, Keyring(SECOND), add=True, drop_unverified=True, now=lambda: NOW)
    assert who_signed(path) == {KEY.key_id, SECOND.key_id}
    assert "is not a regular file, so it cannot be replaced" in str(
        refused(ValueError, lambda: container.resign(tmp_path, RING, Keyring(SECOND), add=True, now=lambda: NOW))
    )


def test_a_file_has_at_most_sixteen_signatures(tmp_path):
    raw = container._read_front(container._source(SEALED)).raw
    entries = [entry(KEY, raw), *((1, bytes((0, 0, 0, 0, 0, 0, 0, number)), bytes(32)) for number in range(14))]
    path = tmp_path / "file"
    path.write_bytes(assembled(raw, sorted(entries), PROGRAM))
    container.resign(path, RING, Keyring(SECOND), add=True, now=lambda: NOW)
    assert len(container.peek(path).signatures) == 16
    error = refused(ValueError, lambda: container.resign(path, RING, Keyring(STRANGER), add=True, now=lambda: NOW))
    assert str(error).startswith("the file has 16 signatures and 16 is the most")


def test_a_mapped_file_is_one_at_its_beginning(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(SEALED)
    assert opened(path, map_file=True).program == PROGRAM
    for way in (SEALED, io.BytesIO(SEALED), OnlyRead(SEALED)):
        assert "mmap=True needs a path" in str(refused(ValueError, lambda way=way: opened(way, map_file=True)))
    path.write_bytes(sealed(compress="zlib"))
    assert "the body is compressed, so it cannot be mapped" in str(refused(FormatError, lambda: opened(path, map_file=True)))


LARGE = [memoryview(bytes(range(256)) * 20_000)]


def test_a_large_body_is_saved_as_it_is_sealed(tmp_path):
    """A large body is written while it is hashed, which must not show."""
    expected = b"".join(map(bytes, container.seal(PROGRAM, LARGE, RING, context="a", now=lambda: NOW)))
    options: dict[str, Any] = {"context": "a", "now": lambda: NOW}
    path = tmp_path / "file"
    container.save(path, PROGRAM, LARGE, RING, **options)
    assert path.read_bytes() == expected
    os.chmod(path, 0o640)
    before = path.stat().st_ino
    container.save(path, PROGRAM, LARGE, RING, **options)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (expected, 0o640)
    assert path.stat().st_ino != before
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    for buffering in (-1, 0):
        with (tmp_path / "other").open("wb", buffering=buffering) as file:
            file.write(b"before")
            container.save(file, PROGRAM, LARGE, RING, **options)
            assert file.tell() == 6 + len(expected)
            file.write(b"after")
        assert (tmp_path / "other").read_bytes() == b"before" + expected + b"after"
        with (tmp_path / "other").open("ab", buffering=buffering) as file:
            container.save(file, PROGRAM, LARGE, RING, **options)
        assert (tmp_path / "other").read_bytes() == b"before" + expected + b"after" + expected
    stream = io.BytesIO()
    container.save(stream, PROGRAM, LARGE, RING, **options)
    assert stream.getvalue() == expected
    with pytest.raises(TypeError, match="looks like a key"):
        container.save(f"{tmp_path}/spk1_x", PROGRAM, LARGE, RING, **options)
    assert opened(path).program == PROGRAM


def test_a_large_body_goes_into_a_named_pipe(tmp_path):
    expected = b"".join(map(bytes, container.seal(PROGRAM, LARGE, RING, now=lambda: NOW)))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for write in (
        lambda: container.save(pipe, PROGRAM, LARGE, RING, now=lambda: NOW),
        lambda: container.write([expected], pipe),
    ):
        with ThreadPoolExecutor(1) as pool:
            read = pool.submit(pipe.read_bytes)
            write()
            assert read.result() == expected
        assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_file_that_takes_nothing_is_an_error(tmp_path):
    with (tmp_path / "file").open("wb") as file:
        assert container._is_plain_output(file) is True
        assert container._is_plain_output(file.raw) is True
    assert container._is_plain_output(file) is False
    assert container._is_plain_output(io.BytesIO()) is False
    with (tmp_path / "file").open("ab") as file:
        assert not container._is_plain_output(file)
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb"), os.fdopen(writing, "wb") as file:
        assert not container._is_plain_output(file)


def test_metadata_is_json_of_ascii():
    data = sealed(metadata={"é": "ü"})
    assert container._read_front(container._source(data)).raw.isascii()
    assert opened(data).info.metadata == {"é": "ü"}
    for bad in (float("nan"), [float("inf")]):
        refused(ValueError, lambda bad=bad: sealed(metadata=bad))


def test_what_is_expected_is_named_when_it_makes_no_sense():
    container.check_expected("a", 0)
    container.check_expected(None, None)
    assert str(refused(ValueError, lambda: container.check_expected("a", -1))).startswith("min_serial is an integer from 0 to ")
    assert str(refused(ValueError, lambda: sealed(serial=-1))).startswith("serial is an integer from 0 to ")
    assert str(refused(ValueError, lambda: container.check_expected("", 1))).startswith("a context is printable text of 1 to 1024 characters")


def test_padding_after_the_header_is_zero(handed):
    raw = container._read_front(container._source(SEALED)).raw
    for use in (opened, container.peek, container.unverified, lambda file: container.verify(file, RING, now=lambda: NOW)):
        error = refused(FormatError, lambda use=use: use(handed(assembled(raw, [entry(KEY, raw)], PROGRAM, pad=b"\1"))))
        assert str(error) == "the padding after the header is not zero: the file was changed or is damaged"


def test_a_signature_block_is_at_most_128_kib():
    raw = container._read_front(container._source(SEALED)).raw
    good = entry(KEY, raw)
    room = container.MAX_SIGNATURE_BLOCK_BYTES - len(good[2]) - 3 * 11
    entries = [good, (200, bytes(8), bytes(65_535)), (201, bytes(8), bytes(room - 65_535))]
    assert opened(assembled(raw, entries, PROGRAM)).program == PROGRAM
    entries[2] = (201, bytes(8), bytes(room - 65_534))
    assert "a count or length in it is out of range" in str(refused(FormatError, lambda: opened(assembled(raw, entries, PROGRAM))))


PLAIN = "this is a plain pickle (a joblib file begins the same way), without any signature: "
FOREIGN = [
    (b"\x80\x02", PLAIN),
    (b"\x80\x02.", PLAIN),
    (b"\x80\x05.", PLAIN),
    (b"\x80\x05joblib.", "this is a joblib file, without any signature: "),
    (b"\x80\x01.", None),
    (b"\x80\x06.", None),
    (b"\x80", None),
    *((bytes((first,)) + b"rest.", PLAIN) for first in b"(c]}ISVFL"),
    *((bytes((first,)) + b"rest", None) for first in b"(c]}ISVFL"),
    (b"Xrest.", None),
    (b"cjoblib.", "this is a joblib file, without any signature: "),
    (b"\x78\x9c", "this is zlib data, perhaps a compressed joblib file; "),
    (b"\x78\x9d", None),
    (b"\x78", None),
    (b"\x79\x9c", None),
    (b"\xef\xbb\xbf \n<!DOCTYPE html>", "this is an HTML or XML page, perhaps an error page saved in place of the file: fetch it again; "),
    (b"<?xml?>", "this is an HTML or XML page"),
    (b"<html>", "this is an HTML or XML page"),
    (b"<Error>", "this is an HTML or XML page"),
    (b"<other>", None),
    (b"version https://git-lfs.github.com/spec/v1", "this is a Git LFS pointer, not the file itself: run `git lfs pull`; "),
    (b"outs:\n- md5: 1", "this is a DVC pointer, not the file itself: run `dvc pull`; "),
    (b"\x89SPKL\n", "this is a safepickle container that was moved in text mode"),
    (b"\x89SPKL\r\r\n", "this is a safepickle container that was moved in text mode"),
    (b"\xc2\x89SPKL", "this is a safepickle container that was moved in text mode"),
    (b"\xef\xbf\xbdSPKL", "this is a safepickle container that was moved in text mode"),
    (b"PK\x03\x04", "this is a zip archive, as torch, skops or npz files are; "),
    (b"\x1f\x8b", "this is a gzip file, "),
    (b"BZh", "this is a bzip2 file, "),
    (b"\xfd7zXZ\x00", "this is an xz file, "),
    (b"\x5d\x00\x00", "this is an lzma file, "),
    (b"\x28\xb5\x2f\xfd", "this is a zstd file; "),
    (b"\x04\x22\x4d\x18", "this is an lz4 file, "),
    (b"ZF0x", "this is a compressed joblib file of an old release; "),
    (b"\x93NUMPY", "this is a numpy .npy file; "),
    (b"\x89HDF\r\n", "this is an HDF5 file; "),
    (b"%PDF", "this is a PDF; "),
    (b"\x7fELF", "this is a program; "),
    (b"", "the file is empty: "),
    (b"\x89SPK", "the file ends within the magic bytes: it is cut off; "),
]


@pytest.mark.parametrize(("head", "says"), FOREIGN, ids=[repr(head) for head, _ in FOREIGN])
def test_what_does_not_begin_as_a_container_is_named(head, says):
    expected = "this is not a safepickle container: it does not begin with its magic bytes; " if says is None else says
    found = container._what_it_is(head)
    assert found.startswith(expected)
    assert "safepickle loads only what a trusted key signed" in found or not head or head == b"\x89SPK"


@pytest.mark.parametrize("compress", [None, "zlib"])
def test_a_large_body_is_read_and_verified_however_it_is_handed_over(handed, compress):
    data = b"".join(map(bytes, container.seal(PROGRAM, [*LARGE, memoryview(b"five!")], RING, now=lambda: NOW, compress=compress)))
    found = opened(handed(data))
    assert (found.program, bytes(found.buffers[0]), bytes(found.buffers[1])) == (PROGRAM, bytes(LARGE[0]), b"five!")
    assert container.verify(handed(data), RING, now=lambda: NOW) == found.info
    assert container.unverified(handed(data))[2] == found.buffers
    for at in (len(data) - 1, len(data) - 3_000_000 if compress is None else len(data) - 9_000):
        changed = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
        for use in (opened, lambda file: container.verify(file, RING, now=lambda: NOW)):
            assert refused(AuthenticationError, lambda use=use, changed=changed: use(handed(changed))).about == "tampered"


def test_the_last_second_that_a_file_may_expire_at():
    last = 253_402_300_799
    assert opened(sealed(expires=last)).info.expires == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert "after the year 9999" in str(refused(ValueError, lambda: sealed(expires=last + 1)))


def test_what_was_opened_cannot_be_changed():
    found = opened(SEALED)
    for value, name in ((found, "program"), (found.info, "context"), (container.peek(SEALED), "serial")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, "other")
        with pytest.raises((AttributeError, TypeError)):
            value.more = 1
        assert not hasattr(value, "__dict__")


def test_a_header_is_at_most_as_large_as_the_format_allows():
    """67 bytes for each chunk and 20 for each buffer: what would pass the bound is refused before anything is hashed."""

    def draft(size: int, compress: str | None = None) -> Any:
        return container._draft(b"", [types.SimpleNamespace(nbytes=size)], None, None, None, None, None, compress, lambda: NOW)

    for each, compress in ((67, None), (87, "zlib")):
        chunks = (container.MAX_HEADER_BYTES - 40) // each
        assert draft((chunks - 1) << 20, compress).body_bytes == (chunks - 1) << 20
        with pytest.raises(ValueError, match=r"the header would take \d+ bytes, over the 134217728 that the format allows"):
            draft(chunks << 20, compress)


def test_an_expected_serial_that_makes_no_sense_is_named():
    for use in (opened, container.unverified):
        assert str(refused(ValueError, lambda use=use: use(SEALED, min_serial=-1))).startswith("min_serial is an integer from 0 to ")


def test_a_file_that_was_replaced_while_it_was_signed_is_left_alone(signed_file):
    class Slow:
        """A key in a service, that takes so long that somebody else writes the file meanwhile."""

        suite, key_id = HMAC_SHA256, SECOND.key_id

        def sign(self, digest: bytes) -> bytes:
            signed_file.unlink()
            signed_file.write_bytes(b"another")
            return SECOND.sign(digest)

    with pytest.raises(OSError, match=r"."):
        container.resign(signed_file, RING, Keyring(Slow()), add=True, now=lambda: NOW)
    assert signed_file.read_bytes() == b"another"
    assert [each.name for each in signed_file.parent.iterdir()] == ["file"]


# --- what is refused, and at which bound -------------------------------------------------------------------------

RAW = canonical(header())
LENGTH = "a length is an integer from 0 to 2**63 - 1"
CONTEXT = "a context is printable text of 1 to 1024 characters such as 'fraud-model/prod'"
SERIAL = "serial is an integer from 0 to 2**63 - 1, or None"
DIGESTS = "chunks are not lower-case SHA-256 digests"
VERSIONS = "a version is printable text of at most 1024 characters"
METADATA = "metadata is not JSON text"
SECONDS = "a time is Unix seconds before the year 10000"
CHUNKS = "chunk_bytes is not a power of two from 2**16 to 2**26"
STORED = "the length of a compressed chunk is from 1 to twice chunk_bytes"
MANY = "the header lists another number of chunk digests than the body has chunks"


def members(names: str) -> str:
    return f"an object with exactly the members {names} is expected"


def of_environment(**changes: Any) -> dict[str, Any]:
    return {"environment": {"libraries": {}, "platform": "linux", "python": "3", **changes}}


@pytest.mark.parametrize(
    ("says", "changes"),
    [
        (members("body context created environment expires metadata serial"), {"more": 1}),
        (members("buffers chunk_bytes chunks compression program"), {"body_stored": [3]}),
        (members("buffers chunk_bytes chunks compression program stored"), {"body_compression": "zlib"}),
        (members("libraries platform python"), {"environment": {"libraries": {}, "platform": ""}}),
        (members("libraries platform python"), {"environment": ["libraries", "platform", "python"]}),
        *((LENGTH, {"body_program": value}) for value in (-1, 1 << 63, True, "1", None)),
        *((LENGTH, {"body_buffers": [0, value]}) for value in (-1, 1 << 63, True)),
        *((LENGTH, {"created": value}) for value in (-1, None, True)),
        (LENGTH, {"expires": -1}),
        (SECONDS, {"created": 253_402_300_800}),
        (SECONDS, {"expires": 253_402_300_800}),
        ("an array is expected", {"body_buffers": {}}),
        ("an array is expected", {"body_chunks": "0" * 64}),
        ("an array is expected", {"body_compression": "zlib", "body_stored": 1}),
        *((DIGESTS, {"body_chunks": [value]}) for value in ("00" * 31, "00" * 33, "AB" * 32, "ab " * 32, "")),
        *((CHUNKS, {"body_chunk_bytes": value}) for value in (1 << 15, 1 << 27, (1 << 16) + 1, 0, True, None)),
        ("a compression that this release does not read: upgrade safepickle-ml", {"body_compression": "lz4", "body_stored": []}),
        *((STORED, {"body_compression": "zlib", "body_stored": [value]}) for value in (0, (1 << 21) + 1)),
        *((CONTEXT, {"context": value}) for value in ("", "x" * 1025, "a\n", 1)),
        *((SERIAL, {"serial": value}) for value in (-1, 1 << 63, True, "1")),
        *((VERSIONS, of_environment(python=value)) for value in ("x" * 1025, "a\n", 1, None)),
        (VERSIONS, of_environment(platform="\0")),
        (VERSIONS, of_environment(libraries={"a": 1})),
        (VERSIONS, of_environment(libraries={"a\n": "1"})),
        *((METADATA, {"metadata": value}) for value in (5, {}, "{", "NaN", "[-Infinity]", f'"{"x" * (container.MAX_METADATA_BYTES - 1)}"')),
        ("metadata is nested more than 64 deep", {"metadata": "[" * 65 + "]" * 65}),
    ],
)
def test_what_a_header_must_have_is_named(says, changes):
    error = refused(FormatError, lambda: container._parse_header(canonical(header(**changes))))
    assert str(error) == f"the header does not have the fields of format version 1: {says}"


@pytest.mark.parametrize(
    ("says", "raw"),
    [
        *(("the header is not canonical JSON", raw) for raw in (b"{", b"NaN", b'{"a":-Infinity}', b"1.5", b"1e5", b"\xff\xff", b"[" * 100_000)),
        ("the header is JSON, but not in its one canonical form", b"{ }"),
        ("the header is JSON, but not in its one canonical form", RAW[:-1] + b"}\n"),
        ("the header is JSON, but not in its one canonical form", json.dumps(dict(reversed(header().items())), separators=(",", ":")).encode()),
        (MANY, canonical(header(body_chunks=[]))),
        (MANY, canonical(header(body_chunks=["00" * 32] * 2))),
        (MANY, canonical(header(body_program=1 << 20, body_chunks=["00" * 32] * 2))),
        (MANY, canonical(header(body_program=(1 << 20) + 1))),
        (MANY, canonical(header(body_compression="zlib", body_stored=[]))),
        (MANY, canonical(header(body_compression="zlib", body_stored=[1, 1]))),
        (MANY, canonical(header(body_program=container.MAX_INTEGER))),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_header_has_one_form_and_as_many_digests_as_chunks(says, raw):
    assert str(refused(FormatError, lambda: container._parse_header(raw))) == says


def test_the_largest_values_of_a_header_are_read():
    assert container._parse_header(RAW).program == len(PROGRAM)
    assert (container._integer(0), container._integer((1 << 63) - 1)) == (0, (1 << 63) - 1)
    assert (container._seconds(0), container._seconds(253_402_300_799)) == (0, 253_402_300_799)
    assert (container._stored(1, 1 << 16), container._stored(1 << 17, 1 << 16)) == (1, 1 << 17)
    assert (container._text(""), container._text("x" * 1024)) == ("", "x" * 1024)
    assert (container._checked_context("x"), container._checked_context("x" * 1024)) == ("x", "x" * 1024)
    assert (container._checked_serial(0, "serial"), container._checked_serial((1 << 63) - 1, "serial")) == (0, (1 << 63) - 1)
    text = f'"{"x" * (container.MAX_METADATA_BYTES - 2)}"'
    assert container._parse_metadata(text) == text[1:-1]
    assert container._metadata_text(text[1:-1]) == text
    assert container._metadata_text({"é": "ü"}) == '{"\\u00e9": "\\u00fc"}'
    error = refused(FormatError, lambda: container._parse_header(canonical(header(serial=-1))))
    assert str(error) == f"the header does not have the fields of format version 1: {SERIAL}"


def test_no_number_but_integers_is_written_or_read():
    for text in ("NaN", "Infinity", "-Infinity", "1.0", "1e9"):
        assert str(refused(ValueError, lambda text=text: container._DECODER.decode(text))) == "a number that is not an integer"
    for value in (float("nan"), float("inf")):
        refused(ValueError, lambda value=value: container._canonical(value))
    assert container._canonical({"b": [1, "é"], "a": None}) == b'{"a":null,"b":[1,"\\u00e9"]}'


def in_front(count: int = 1, block: bytes = b"", header_bytes: int = 2, rest: bytes = b"") -> bytes:
    return container.PREFIX.pack(container.MAGIC, container.VERSION, count, len(block), header_bytes) + block + rest


def test_lengths_in_the_prefix_are_bounded():
    said = {
        number: str(refused(FormatError, lambda number=number: opened(in_front(header_bytes=number)))) for number in (0, 1, 2, 1 << 27, (1 << 27) + 1)
    }
    damaged = "the prefix of the container is damaged: a count or length in it is out of range"
    of_block = "the signature block is damaged: its length does not fit the signatures in it"
    assert said == {0: damaged, 1: damaged, 2: of_block, 1 << 27: of_block, (1 << 27) + 1: damaged}
    _, key_id, _ = entry(KEY, RAW)
    error = refused(FormatError, lambda: opened(assembled(b"{}", [entry(KEY, b"{}")], b"")))
    assert str(error).startswith("the header does not have the fields of format version 1: ")
    # Entries of unknown suites may be of any length, also of none at the end.
    found = opened(assembled(RAW, [entry(KEY, RAW), (200, key_id, b"")], PROGRAM)).info.signatures
    assert (found[1].suite, found[1].value) == ("unknown suite 200", b"")


def test_what_follows_the_last_signature_is_not_taken_for_one():
    stray = container.SIGNATURE_HEAD.pack(1, bytes(8), 5) + bytes(5)
    error = refused(FormatError, lambda: opened(assembled(RAW, [entry(KEY, RAW)], PROGRAM, count=1, stray=stray)))
    assert str(error) == "the signature block is damaged: its length does not fit the signatures in it"


def test_metadata_at_its_bounds_is_told_apart_when_it_is_written():
    said = str(refused(ValueError, lambda: container._metadata_text("x" * (container.MAX_METADATA_BYTES - 1))))
    assert said == "metadata takes 1048577 bytes as JSON; at most 1048576 are stored: keep large data beside the model"


def test_an_expiry_is_one_of_three_things():
    utc = datetime(2027, 1, 15, 8, 0, 10, 900_000, tzinfo=UTC)
    assert [container._checked_expiry(each, NOW) for each in (None, NOW + 1, timedelta(seconds=10.9), utc)] == [None, NOW + 1, NOW + 10, NOW + 10]
    for wrong, name in (("2027", "str"), (1.5, "float"), (True, "bool")):
        error = refused(TypeError, lambda wrong=wrong: container._checked_expiry(wrong, 0))
        assert str(error) == f"expires is a datetime with a time zone, a timedelta, or Unix seconds, not {name}"
    error = refused(ValueError, lambda: container._checked_expiry(utc.replace(tzinfo=None), 0))
    assert str(error).startswith("expires has no time zone: pass an aware datetime")
    for past in (NOW, NOW - 1, timedelta(seconds=0.9), timedelta(-1)):
        assert str(refused(ValueError, lambda past=past: container._checked_expiry(past, NOW))).startswith("expires is not in the future: ")


def test_without_a_clock_nothing_has_expired():
    for expires in (0, 1):
        assert container.unverified(signed(header(expires=expires)))[1] == PROGRAM


@pytest.mark.parametrize(
    ("sizes", "metadata", "compress", "size"),
    [
        ([], None, None, 67 + 20),
        ([0, 0, 0], None, None, 67 + 20 * 4),
        ([], "ab", None, 67 + 20 + 4 * 2),
        ([], None, "zlib", 87 + 20),
        ([(1 << 20) - 1], None, None, 67 + 20 * 2),
        ([1 << 20], None, None, 67 * 2 + 20 * 2),
    ],
)
def test_the_size_of_the_header_is_estimated_before_anything_is_hashed(sizes, metadata, compress, size, monkeypatch):
    buffers: Any = [types.SimpleNamespace(nbytes=each) for each in sizes]
    monkeypatch.setattr(container, "MAX_HEADER_BYTES", size)
    assert container._draft(b"", buffers, None, None, None, metadata, None, compress, lambda: NOW).buffers == tuple(sizes)
    monkeypatch.setattr(container, "MAX_HEADER_BYTES", size - 1)
    error = refused(ValueError, lambda: container._draft(b"", buffers, None, None, None, metadata, None, compress, lambda: NOW))
    assert str(error) == f"the header would take {size} bytes, over the {size - 1} that the format allows"


def test_an_unknown_compression_is_refused_before_anything_is_hashed():
    error = refused(ValueError, lambda: container._draft(b"", [], None, None, None, None, None, "lz4", lambda: NOW))
    assert str(error) == "compress is None, 'zlib' or 'zstd', not 'lz4'"


def test_what_would_not_be_loaded_is_not_compressed(monkeypatch):
    program = bytes(1 << 16)
    stored = len(zlib.compress(program, 6))
    monkeypatch.setattr(container, "_EXPANSION_FLOOR", len(program) - 200 * stored)
    data = b"".join(map(bytes, container.seal(program, [], RING, compress="zlib", now=lambda: NOW)))
    assert opened(data).program == program
    monkeypatch.setattr(container, "_EXPANSION_FLOOR", len(program) - 200 * stored - 1)
    assert str(refused(ValueError, lambda: container.seal(program, [], RING, compress="zlib", now=lambda: NOW))) == (
        f"the object compresses from 65536 to {stored} bytes, more than limits allow by default when it is loaded (`expansion` of Limits): "
        "leave compress=None"
    )
    assert refused(LimitError, lambda: opened(data))


def test_a_compression_that_is_not_installed_is_named(monkeypatch):
    def absent() -> Any:
        raise ValueError("install it")

    data = sealed(compress="zlib")
    monkeypatch.setitem(container.chunks.CODECS, "zlib", absent)
    assert str(refused(FormatError, lambda: opened(data))) == "the body is compressed with zlib, which cannot be read here: install it"


# --- how files are read ------------------------------------------------------------------------------------------


class Asked(io.BytesIO):
    """A stream that notes how many bytes it is asked for at a time, and hands out at most so many."""

    def __init__(self, data: bytes, most: int = 1 << 30) -> None:
        super().__init__(data)
        self.most, self.asked = most, list[int]()

    def read(self, count: int | None = -1, /) -> bytes:
        assert count is not None
        self.asked.append(count)
        return super().read(min(count, self.most))

    def readinto(self, view: Any, /) -> int:
        self.asked.append(len(view))
        return super().readinto(view[: self.most])


def verified(file: Any, now: Any = lambda: NOW) -> Info:
    return container.verify(file, RING, now=now)


def padded(length: int) -> int:
    return -length % 64


def test_a_stream_is_asked_for_what_comes_next_and_at_the_end_for_one_byte():
    start = [20, 43, len(RAW), padded(63 + len(RAW))]
    stream = Asked(signed(RAW))
    assert opened(stream).program == PROGRAM
    assert stream.asked == [*start, len(PROGRAM), 1]
    stream = Asked(signed(RAW))
    assert verified(stream).program_bytes == len(PROGRAM)
    assert stream.asked == [*start, len(PROGRAM), 1]
    for wrong in ({"count": 0}, {"count": 2}):
        stream = Asked(assembled(RAW, [entry(KEY, RAW)], PROGRAM, **wrong))
        refused(FormatError, lambda stream=stream: opened(stream))
        assert stream.asked == [20, 43][: wrong["count"] or 1]
    stream = Asked(signed(RAW, keys=[STRANGER]))
    refused(UnknownKeyError, lambda: opened(stream))
    assert stream.asked == [20, 43, len(RAW)]


def test_a_length_that_lies_is_not_asked_for_at_once():
    """Memory for what a stream may hold comes to exist as it arrives: by the MiB, and when it is verified by windows of 16 MiB or a chunk."""
    for many, chunk_bytes, window in ((1 << 26, 1 << 26, 1 << 26), (1 << 25, 1 << 20, 1 << 24)):
        raw = canonical(header(chunk_bytes=chunk_bytes, body_program=many, body_chunks=["00" * 32] * (many // chunk_bytes)))
        stream = Asked(signed(raw, b""))
        assert str(refused(FormatError, lambda stream=stream: opened(stream))).startswith(f"the program ends after 0 of {many} bytes: ")
        assert stream.asked[-1] == max(stream.asked) == 1 << 20
        stream = Asked(signed(raw, b""))
        assert str(refused(FormatError, lambda stream=stream: verified(stream))).startswith(f"the body ends after 0 of {window} bytes: ")
        assert stream.asked[-1] == window
        only = OnlyRead(signed(raw, b""), 1 << 30)
        asked = Asked(only.stream.getvalue())
        only.stream = asked
        refused(FormatError, lambda only=only: verified(only))
        assert asked.asked[-1] == 1 << 20


def test_a_file_whose_size_is_known_is_not_asked_for_more_than_it_has():
    data = in_front(block=container.SIGNATURE_HEAD.pack(200, bytes(8), 0), header_bytes=1 << 27, rest=bytes(70))
    stream = Asked(data)
    error = refused(FormatError, lambda: container._read_front(container._Source(stream, len(data))))
    assert str(error) == "the header ends after 70 of 134217728 bytes: the file is cut off; fetch it again from where it was made"
    assert stream.asked == [20, 11]
    large = Asked(bytes(3 << 20))
    assert len(container._Source(large, 3 << 20).read(3 << 20)) == 3 << 20
    assert large.asked == [3 << 20]


@pytest.mark.parametrize("use", [opened, verified, container.unverified], ids=["open", "verify", "unverified"])
def test_a_wrong_length_is_told_before_the_body_is_read(use, tmp_path):
    path = tmp_path / "file"
    for data in (SEALED, sealed(compress="zlib")):
        for hand in (lambda data: data, lambda data: (path.write_bytes(data), path)[1]):
            cut = refused(FormatError, lambda data=data, hand=hand: use(hand(data[:-1])))
            assert str(cut).startswith(f"the file ends after {len(data) - 1} of {len(data)} bytes: ")
            more = refused(FormatError, lambda data=data, hand=hand: use(hand(data + b"123")))
            assert str(more).startswith("3 bytes follow the end of the container: ")
        more = refused(FormatError, lambda data=data: use(Asked(data + b"123")))
        assert str(more).startswith("bytes follow the end of the container: ")


@pytest.mark.parametrize("compress", [None, "zlib"])
@pytest.mark.parametrize("buffers", [[], [memoryview(b"b" * 70)]], ids=len)
def test_a_file_that_grows_while_it_is_read_is_refused(buffers, compress, tmp_path):
    path = tmp_path / "file"
    data = b"".join(map(bytes, container.seal(PROGRAM, buffers, RING, compress=compress, now=lambda: NOW)))

    def grows() -> float:
        with path.open("ab") as file:
            file.write(b"more")
        return NOW

    uses = [
        lambda: container.open(path, RING, now=grows),
        lambda: verified(path, grows),
        lambda: container.unverified(path, now=grows),
        lambda: container.resign(path, RING, Keyring(SECOND), add=True, now=grows),
    ]
    for use in uses:
        path.write_bytes(data)
        error = refused(FormatError, use)
        assert (error.about, str(error).partition(" the end")[0]) == ("appended", "bytes follow")
        assert path.read_bytes().startswith(data + b"more")


def test_a_file_that_is_cut_while_it_is_read_is_refused(tmp_path):
    path = tmp_path / "file"
    data = b"".join(map(bytes, container.seal(PROGRAM, [memoryview(b"b" * 70)], RING, now=lambda: NOW)))

    def cut() -> float:
        os.truncate(path, len(data) - 3)
        return NOW

    uses = {
        "the buffers ends after 97 of 100 bytes": lambda: container.open(path, RING, now=cut),
        "the body ends after 131 of 134 bytes": lambda: verified(path, cut),
        "the body ends after 131 of 134 bytes: ": lambda: container.resign(path, RING, Keyring(SECOND), add=True, now=cut),
    }
    for says, use in uses.items():
        path.write_bytes(data)
        error = refused(FormatError, use)
        assert error.about == "truncated"
        assert str(error).startswith(says)
    assert path.read_bytes() == data[:-3]


def test_a_file_that_grows_while_it_is_read_as_a_whole_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")

    class Growing(io.FileIO):
        def read(self, count: int | None = -1, /) -> Any:
            with path.open("ab") as file:
                file.write(b"6")
            return super().read(count)

    with Growing(path) as file:
        assert str(refused(LimitError, lambda: container.read_whole(file, 99))) == (
            "the file has grown meanwhile, or is longer than 99 bytes (`body_bytes` of Limits)"
        )
    said = str(refused(LimitError, lambda: container.read_whole(path, 3)))
    assert said == f"the file has {path.stat().st_size} bytes; limits allow 3 (`body_bytes` of Limits)"
    stream = Asked(b"12345")
    assert container.read_whole(stream, 5) == b"12345"
    assert stream.asked == [6, 1]
    stream = Asked(b"12345")
    assert str(refused(LimitError, lambda: container.read_whole(stream, 4))).startswith("the file has grown meanwhile, or is longer than 4 bytes ")
    assert stream.asked == [5]


def test_which_files_have_a_size_and_are_read_at_any_place(tmp_path):
    path, pipe = tmp_path / "file", tmp_path / "pipe"
    path.write_bytes(b"12345")
    found = {}
    with contextlib.ExitStack() as stack:
        os.mkfifo(pipe)
        stack.enter_context(os.fdopen(os.open(pipe, os.O_RDWR), "rb", buffering=0))
        files = {
            "path": path,
            "pipe": pipe,
            "bytes": b"1234",
            "stream": io.BytesIO(b"123"),
            "buffered": stack.enter_context(path.open("rb")),
            "raw": stack.enter_context(path.open("rb", buffering=0)),
            "to write as well": stack.enter_context(path.open("r+b")),
            "of a stream": io.BufferedReader(io.BytesIO(b"12")),  # type: ignore[arg-type]
            "open pipe": stack.enter_context(pipe.open("rb", buffering=0)),
        }
        files["raw"].seek(2)
        for name, file in files.items():
            with container._source(file) as source:
                found[name] = (source.size, source.positional)
    assert found == {
        "path": (5, True),
        "pipe": (None, False),
        "bytes": (4, False),
        "stream": (None, False),
        "buffered": (5, False),
        "raw": (3, False),
        "to write as well": (5, False),
        "of a stream": (None, False),
        "open pipe": (None, False),
    }
    assert container._remaining(files["buffered"]) is None
    text = io.StringIO("text")
    assert str(refused(TypeError, lambda: container._source(text))) == "the file is open in text mode: open it with mode 'rb'"


def test_a_file_that_hands_out_little_at_a_time_is_read_whole(monkeypatch, tmp_path):
    assert container._Source(OnlyRead(b"abcdef", 3), None).read(6) == b"abcdef"
    assert container._Source(OnlyRead(b"abcdef", 2), None).read(6) == b"abcdef"
    buffers = [memoryview(bytes(range(256)) * 20), memoryview(b"five!")]
    data = b"".join(map(bytes, container.seal(PROGRAM, buffers, RING, now=lambda: NOW)))
    stream = Asked(data, 1000)
    assert opened(stream).buffers == tuple(buffers)
    # Padding of 30 bytes, 5,120 and 5.
    rest = [5155, 4155, 3155, 2155, 1155, 155]
    assert stream.asked[4:] == [len(PROGRAM), *rest, 1]
    real, asked = os.preadv, list[int]()

    def short(descriptor: int, views: Any, offset: int) -> int:
        asked.append(len(views[0]))
        return real(descriptor, [views[0][:1000]], offset)

    monkeypatch.setattr(os, "preadv", short)
    path = tmp_path / "file"
    path.write_bytes(data)
    assert opened(path).buffers == tuple(buffers)
    assert asked == rest
    assert verified(path).buffer_bytes == (5120, 5)


def test_what_readinto_returns_is_looked_at():
    class Blocked(io.BytesIO):
        def readinto(self, view: Any, /) -> Any:
            return None

    blocked = Blocked(b"".join(map(bytes, container.seal(PROGRAM, [memoryview(b"buffer")], RING, now=lambda: NOW))))
    assert str(refused(BlockingIOError, lambda: opened(blocked))) == "the file is in non-blocking mode: hand in a blocking one"


def test_too_little_memory_is_a_limit():
    class Huge:
        def read(self, count: int) -> bytes:
            raise MemoryError

    for use in (opened, verified, container.unverified, container.peek):
        assert str(refused(LimitError, lambda use=use: use(Huge()))) == "the file takes more memory than is to be had here"


def test_no_more_is_read_of_what_is_no_container_than_shows_what_it_is():
    for length, says in ((531, PLAIN), (532, "this is not a safepickle container: ")):
        stream = Asked(b"(" + b"x" * (length - 1) + b".")
        assert str(refused(UnsignedError, lambda stream=stream: opened(stream))).startswith(says)
        assert stream.asked == [20, 512]


# --- chunks, windows and gaps ------------------------------------------------------------------------------------

# Six chunks, the last one of one byte.
MANY_CHUNKS = b"".join(bytes((number,)) * 65_536 for number in range(1, 6)) + b"6"
OF_CHUNKS = signed(header(MANY_CHUNKS, chunk_bytes=1 << 16), MANY_CHUNKS)


@pytest.fixture
def small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container.chunks, "_GROUP_BYTES", 1 << 16)
    monkeypatch.setattr(container, "_WINDOW_BYTES", 1 << 17)
    monkeypatch.setattr(container, "_READ_BYTES", 1 << 12)


def test_a_body_of_many_windows_is_verified_window_by_window(small_portions, tmp_path):
    with container._source(Asked(OF_CHUNKS)) as source:
        front, parsed, _ = container._authenticated(source, RING, None, None, 1, lambda: NOW)
        windows = [bytes(each) for each in container._verified_windows(source, front, parsed)]
    assert list(map(len, windows)) == [131_072, 131_072, 65_537]
    assert b"".join(windows) == MANY_CHUNKS
    path = tmp_path / "file"
    path.write_bytes(OF_CHUNKS)
    container.resign(path, RING, Keyring(SECOND), add=False, now=lambda: NOW)
    assert opened(path, Keyring(SECOND)).program == MANY_CHUNKS


@pytest.mark.parametrize("number", range(6))
def test_a_change_in_any_chunk_is_named(handed, small_portions, number):
    at = len(OF_CHUNKS) - len(MANY_CHUNKS) + min(number * 65_536 + 60_000, len(MANY_CHUNKS) - 1)
    changed = OF_CHUNKS[:at] + b"x" + OF_CHUNKS[at + 1 :]
    for use in (opened, verified, container.unverified):
        assert str(refused(AuthenticationError, lambda use=use: use(handed(changed)))).startswith(
            f"chunk {number} of the body (from byte {number * 65_536}) does not have the signed SHA-256: "
        )


def test_a_body_of_many_chunks_is_read_and_verified(handed, small_portions):
    assert opened(handed(OF_CHUNKS)).program == MANY_CHUNKS
    assert verified(handed(OF_CHUNKS)).program_bytes == len(MANY_CHUNKS)


def test_buffers_after_a_program_of_many_chunks_are_read(handed, small_portions):
    buffers = (b"b" * 70, bytes(range(256)) * 300)
    data = signed(header(MANY_CHUNKS, buffers, chunk_bytes=1 << 16), body(MANY_CHUNKS, buffers))
    found = opened(handed(data))
    assert (found.program, *map(bytes, found.buffers)) == (MANY_CHUNKS, *buffers)
    assert verified(handed(data)).buffer_bytes == (70, 76_800)


def test_padding_in_a_later_window_is_zero(handed, small_portions):
    """The only gap lies in the fourth chunk."""
    program, buffers = bytes(range(64)), (b"x" * 200_001, b"y")
    good = signed(header(program, buffers, chunk_bytes=1 << 16), body(program, buffers))
    assert opened(handed(good)).buffers[1] == b"y"
    assert verified(handed(good)).buffer_bytes == (200_001, 1)
    other = signed(header(program, buffers, padding=b"\1", chunk_bytes=1 << 16), body(program, buffers, b"\1"))
    for use in (opened, verified, container.unverified):
        assert str(refused(FormatError, lambda use=use: use(handed(other)))) == "the padding between buffers is not zero"


def test_mapped_buffers_are_those_of_the_file(tmp_path):
    path = tmp_path / "file"
    buffers = (b"x" * 200_001, b"y")
    good = signed(header(PROGRAM, buffers, chunk_bytes=1 << 16), body(PROGRAM, buffers))
    path.write_bytes(good)
    found = opened(path, map_file=True)
    assert (found.program, *map(bytes, found.buffers)) == (PROGRAM, *buffers)
    assert all(each.readonly for each in found.buffers)
    with path.open("rb") as file:
        assert opened(file, map_file=True).buffers == found.buffers
        file.seek(1)
        assert "at its beginning" in str(refused(ValueError, lambda: opened(file, map_file=True)))
    path.write_bytes(good[:-100] + b"z" + good[-99:])
    assert str(refused(AuthenticationError, lambda: opened(path, map_file=True))).startswith("chunk 3 of the body (from byte 196608) ")
    path.write_bytes(signed(header(PROGRAM, buffers, padding=b"\1"), body(PROGRAM, buffers, b"\1")))
    assert str(refused(FormatError, lambda: opened(path, map_file=True))) == "the padding between buffers is not zero"
    path.write_bytes(b"")
    assert str(refused(UnsignedError, lambda: opened(path, map_file=True))).startswith("the file is empty: ")


@pytest.mark.parametrize("buffers", [[], [b"b" * 70, b"five!"]], ids=len)
@pytest.mark.parametrize("compress", [None, "zlib"])
def test_buffers_begin_at_multiples_of_64_bytes_in_memory_of_their_length(handed, compress, buffers):
    data = b"".join(map(bytes, container.seal(PROGRAM, list(map(memoryview, buffers)), RING, compress=compress, now=lambda: NOW)))
    places = [ctypes.addressof(ctypes.c_char.from_buffer(each)) % 64 for each in opened(handed(data)).buffers]
    assert places == [0] * len(buffers)
    with container._source(handed(data)) as source:
        front, parsed, _ = container._authenticated(source, RING, None, None, 1, lambda: NOW)
        program, rest, offset = (container._read_plain if compress is None else container._read_compressed)(source, front, parsed)
    assert program == PROGRAM
    assert offset == (len(PROGRAM) if compress is None else 0)
    assert len(rest) == parsed.body_bytes - offset


# --- how files are written ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "compress", "without", "expected"),
    [
        ((4 << 20) - 1, None, "", b"sealed"),
        (4 << 20, None, "", b"overlapped"),
        (4 << 20, "zlib", "", b"sealed"),
        (4 << 20, None, "pwrite", b"sealed"),
    ],
)
def test_from_4_mib_on_a_body_is_written_while_it_is_hashed(length, compress, without, expected, monkeypatch, tmp_path):
    monkeypatch.setattr(container, "_sealed", lambda *given: [b"sealed"])
    monkeypatch.setattr(container, "_overlapped", lambda descriptor, *given: os.write(descriptor, b"overlapped"))
    if without:
        monkeypatch.delattr(os, without)
    buffers: Any = [types.SimpleNamespace(nbytes=length)]
    path = tmp_path / "file"
    for _ in range(2):
        container.save(path, b"", buffers, RING, compress=compress, now=lambda: NOW)
        assert path.read_bytes() == expected
    with path.open("wb") as file:
        container.save(file, b"", buffers, RING, compress=compress, now=lambda: NOW)
        assert file.tell() == len(expected)
    assert path.read_bytes() == expected
    stream = io.BytesIO()
    container.save(stream, b"", buffers, RING, compress=compress, now=lambda: NOW)
    assert stream.getvalue() == b"sealed"


def drafted(program: bytes, created: int = NOW) -> Any:
    return container._draft(program, [], None, None, None, None, None, None, lambda: created)


def overlapped(path: Path, program: bytes, ring: Any, created: int = NOW, base: int = 0) -> int:
    with path.open("r+b") as file:
        return container._overlapped(file.fileno(), base, drafted(program, created), program, [], ring)


def test_what_is_written_while_it_is_hashed_is_what_is_sealed(monkeypatch, tmp_path):
    monkeypatch.setattr(container, "CHUNK_BYTES", 1 << 16)
    path = tmp_path / "file"
    path.write_bytes(b"before")
    expected = b"".join(map(bytes, container.seal(MANY_CHUNKS, [], RING, now=lambda: NOW)))
    assert overlapped(path, MANY_CHUNKS, RING, base=6) == len(expected)
    assert path.read_bytes() == b"before" + expected
    assert opened(expected).program == MANY_CHUNKS


def test_what_is_written_while_it_is_hashed_begins_where_the_front_will_end(tmp_path):
    """Wherever the header ends before its padding."""
    path = tmp_path / "file"
    path.write_bytes(b"")
    with path.open("r+b") as file:
        for length in range(1, 65):
            options: dict[str, Any] = {"context": "x" * length, "now": lambda: NOW}
            expected = b"".join(map(bytes, container.seal(PROGRAM, [], RING, **options)))
            draft = container._draft(PROGRAM, [], options["context"], None, None, None, None, None, options["now"])
            assert container._overlapped(file.fileno(), 0, draft, PROGRAM, [], RING) == len(expected)
            assert os.pread(file.fileno(), len(expected), 0) == expected


def test_a_key_that_changes_while_the_body_is_written_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"")
    changing = types.SimpleNamespace(signer=Keyring(KEY).signer, sign=Keyring(EDWARDS).sign)
    assert str(refused(KeyringError, lambda: overlapped(path, PROGRAM, changing))) == (
        f"key {KEY.key_id} became another one while the body was written, so what was written is no container"
    )


def test_a_file_that_says_it_takes_nothing_is_an_error(monkeypatch, tmp_path):
    real, counts = os.pwrite, [3, 2, 0]

    def little(descriptor: int, view: Any, offset: int) -> int:
        return real(descriptor, view[: counts.pop(0) if counts else 1000], offset)

    monkeypatch.setattr(os, "pwrite", little)
    with (tmp_path / "file").open("wb") as file:
        error = refused(OSError, lambda: container._write_at(file.fileno(), [memoryview(b"123"), memoryview(b"4567")], 1))
        assert str(error) == "the file takes no more bytes, and does not say why"
        container._write_at(file.fileno(), [memoryview(b"ab")], 6)
    assert (tmp_path / "file").read_bytes() == b"\x0012345ab"


# --- whose time counts, and signing again ------------------------------------------------------------------------

PAST = 1_000_000_000


def of_that_time(key: Any) -> Trusted:
    return Trusted(key, not_before=datetime.fromtimestamp(PAST, UTC), not_after=datetime.fromtimestamp(PAST + 10, UTC))


def test_the_time_of_the_caller_says_which_keys_are_trusted(tmp_path):
    """The keys are trusted for ten seconds of the year 2001."""
    ring, both = Keyring(of_that_time(KEY)), Keyring(of_that_time(KEY), of_that_time(SECOND))
    path = tmp_path / "file"
    uses = [
        (KeyringError, lambda now: path.write_bytes(b"".join(map(bytes, container.seal(PROGRAM, [], ring, now=now))))),
        (KeyringError, lambda now: overlapped(path, PROGRAM, ring, int(now()))),
        (AuthenticationError, lambda now: container.open(path, ring, now=now)),
        (AuthenticationError, lambda now: container.verify(path, ring, now=now)),
        (AuthenticationError, lambda now: container.resign(path, both, Keyring(of_that_time(SECOND)), add=True, now=now)),
    ]
    for kind, use in uses:
        use(lambda: PAST)
        before = path.read_bytes()
        use(lambda: PAST + 9)
        for now in (PAST - 1, PAST + 10):
            refused(kind, lambda use=use, now=now: use(lambda: now))
        assert len(path.read_bytes()) == len(before)


def test_whom_the_reader_denies_does_not_sign_again(signed_file):
    with pytest.raises(KeyringError, match="is on the deny-list of the keyring, so it signs nothing"):
        container.resign(signed_file, Keyring(KEY, denied=[SECOND.key_id]), Keyring(SECOND), add=True, now=lambda: NOW)
    assert signed_file.read_bytes() == SEALED


def test_only_signatures_that_were_verified_stay(tmp_path):
    """Neither one of an unknown suite that names a trusted key, nor one by a key that is listed and no longer trusted."""
    path = tmp_path / "file"
    entries = sorted([entry(KEY, RAW), entry(SECOND, RAW)])
    path.write_bytes(assembled(RAW, [*entries, (200, bytes.fromhex(KEY.key_id), b"x")], PROGRAM))
    ring = Keyring(KEY, of_that_time(SECOND))
    info = container.resign(path, ring, Keyring(STRANGER), add=True, drop_unverified=True, now=lambda: NOW)
    assert (info.trusted_key_ids, len(info.signatures)) == ((KEY.key_id,), 3)
    assert [each.suite for each in container.peek(path).signatures] == [HMAC_SHA256] * 2
    assert who_signed(path) == {KEY.key_id, STRANGER.key_id}


def test_what_is_cut_is_not_signed_again(signed_file):
    signed_file.write_bytes(SEALED[:-1])
    error = refused(FormatError, lambda: container.resign(signed_file, RING, Keyring(SECOND), add=True, now=lambda: NOW))
    assert str(error).startswith(f"the file ends after {len(SEALED) - 1} of {len(SEALED)} bytes: ")
    assert signed_file.read_bytes() == SEALED[:-1]
    with pytest.raises(TypeError, match="looks like a key"):
        container.resign(f"{signed_file}spk1_x", RING, Keyring(SECOND), add=True, now=lambda: NOW)
