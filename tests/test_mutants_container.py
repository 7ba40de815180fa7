"""What must hold of containers and no other test asked in few milliseconds: found by their mutants, see mutants/README.md."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import os
import stat
import types
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from make_vectors import KEY, NOW, PROGRAM, SECOND, STRANGER, assembled, body, compressed, deflated, entry, header, signed

from safepickle import AuthenticationError, FormatError, Info, Keyring, LimitError, UnsignedError, UntrustedInfo, container
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
        assert container._is_plain_output(file)
        assert container._is_plain_output(file.raw)
    assert not container._is_plain_output(file)
    assert not container._is_plain_output(io.BytesIO())
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
