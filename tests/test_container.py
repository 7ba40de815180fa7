"""The container: every change is refused before anything is judged, every file kind can be read, a dump is whole or not at all."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import io
import json
import lzma
import os
import pickle
import random
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import joblib
import numpy
import pytest
from make_vectors import KEY, NOW, PROGRAM, SECOND, STRANGER, assembled, body, canonical, entry, flipped, header, signed

import safepickle
from safepickle import (
    AuthenticationError,
    FormatError,
    Info,
    Keyring,
    LimitError,
    Limits,
    PolicyError,
    SafePickleError,
    SecretKey,
    UnknownKeyError,
    UnsignedError,
    UntrustedInfo,
    container,
)

RING = Keyring(KEY)
BEFORE_THE_MACHINE = {FormatError, UnsignedError, AuthenticationError, UnknownKeyError}
ZIP_TAIL = b"PK\x05\x06" + bytes(18)

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX files")


def body_start(data: bytes) -> int:
    return container._read_front(container._source(data)).body_start


def refused_by(opens: Callable[..., Any], data: Any, ring: Keyring) -> type[Exception] | None:
    """Return the class of the refusal if it is one of the container's, None if the bytes were accepted, and pass on all else."""
    try:
        opens(data, ring)
    except SafePickleError as error:
        if type(error) in BEFORE_THE_MACHINE:
            return type(error)
        raise
    return None


def run_python(script: str, *arguments: str, flags: tuple[str, ...] = (), timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *flags, "-c", script, *arguments], capture_output=True, text=True, timeout=timeout)


# --- promise 1: any change is refused before the machine runs ---------------------------------------------------

MODELS = ("tree", "pipeline")


@pytest.mark.parametrize("model", MODELS)
def test_every_other_value_of_every_byte_before_the_body_is_refused(signed_models: dict[str, bytes], keyring: Keyring, model: str):
    """Prefix, signature block, header and padding: all 255 other values of each byte."""
    data = signed_models[model]
    start = body_start(data)
    assert start > 400
    changed = bytearray(data)
    accepted = []
    for at in range(start):
        for value in range(256):
            if value != data[at]:
                changed[at] = value
                if refused_by(container.open, changed, keyring) is None:
                    accepted.append((at, value))
        changed[at] = data[at]
    assert accepted == []
    container.open(changed, keyring)


@pytest.mark.parametrize("opens", [container.open, container.verify], ids=["open", "verify"])
@pytest.mark.parametrize("model", MODELS)
def test_every_changed_byte_of_the_body_is_refused(signed_models: dict[str, bytes], keyring: Keyring, model: str, opens: Callable[..., Any]):
    data = signed_models[model]
    for at in range(body_start(data), len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        assert refused_by(opens, changed, keyring) is AuthenticationError, at


@pytest.mark.parametrize("opens", [container.open, container.verify], ids=["open", "verify"])
@pytest.mark.parametrize("model", MODELS)
def test_every_truncation_is_refused(signed_models: dict[str, bytes], keyring: Keyring, model: str, opens: Callable[..., Any]):
    data = signed_models[model]
    for length in range(len(data)):
        expected = UnsignedError if length < 8 else FormatError
        assert refused_by(opens, data[:length], keyring) is expected, length
    assert refused_by(opens, data, keyring) is None


def truncated_streams(data: bytes, keyring: Keyring) -> Iterator[type[Exception] | None]:
    """A pipe does not say how long it is, so its end is found only by reading."""
    for length in range(0, len(data), 7):
        yield refused_by(container.open, OnlyRead(data[:length]), keyring)
        yield refused_by(container.verify, OnlyRead(data[:length]), keyring)


def test_a_truncated_stream_is_refused(signed_models: dict[str, bytes], keyring: Keyring):
    assert set(truncated_streams(signed_models["tree"], keyring)) == {UnsignedError, FormatError}


EXTENSIONS: dict[str, Callable[[bytes], bytes]] = {
    "a zero byte": lambda data: b"\0",
    "a newline": lambda data: b"\n",
    "white space": lambda data: b" \t\r\n" * 5,
    "64 zero bytes": lambda data: bytes(64),
    "1 MiB of zero bytes": lambda data: bytes(1 << 20),
    "random bytes": lambda data: random.Random(1).randbytes(1000),
    "itself": lambda data: data,
    "another container": lambda data: signed(header()),
    "a pickle": lambda data: pickle.dumps([1, 2, 3]),
    "a zip tail": lambda data: ZIP_TAIL,
    "its own last byte": lambda data: data[-1:],
    "its own body": lambda data: data[body_start(data) :],
}


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("model", MODELS)
def test_every_extension_is_refused(signed_models: dict[str, bytes], keyring: Keyring, model: str, extension: str, tmp_path: Path):
    data = signed_models[model]
    longer = data + EXTENSIONS[extension](data)
    (tmp_path / "file").write_bytes(longer)
    for opens in (container.open, container.verify):
        for file in (longer, OnlyRead(longer), tmp_path / "file"):
            assert refused_by(opens, file, keyring) is FormatError
    with pytest.raises(FormatError, match="follow"):
        safepickle.load(tmp_path / "file", key=keyring, mmap=True)


def test_bytes_before_the_container_are_refused(signed_models: dict[str, bytes], keyring: Keyring):
    for before in (b"\0", b"\n", b"\xef\xbb\xbf", bytes(64), b"PK\x03\x04"):
        assert refused_by(container.open, before + signed_models["tree"], keyring) is UnsignedError


def test_the_machine_never_sees_a_program_that_was_not_authenticated(
    signed_models: dict[str, bytes], keyring: Keyring, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Here, and only here, one of our own functions is replaced: by one that must not be called."""
    data = signed_models["tree"]

    def called(*_: Any, **__: Any) -> None:
        pytest.fail("the machine ran")

    monkeypatch.setattr("safepickle.pickling.trace", called)
    start = body_start(data)
    positions = [*range(0, start, 5), *range(start, len(data), 97)]
    bad = [flipped(data, at) for at in positions] + [data[:length] for length in range(0, len(data), 101)] + [data + b"\0", data + data]
    for changed in bad:
        (tmp_path / "file").write_bytes(changed)
        for options in ({"mmap": False}, {"mmap": True}):
            with pytest.raises(SafePickleError) as caught:
                safepickle.load(tmp_path / "file", key=keyring, **options)
            assert type(caught.value) in BEFORE_THE_MACHINE
    for options, expected in (
        ({"context": "other"}, AuthenticationError),
        ({"min_serial": 8}, AuthenticationError),
        ({"threshold": 2}, AuthenticationError),
    ):
        with pytest.raises(expected):
            safepickle.loads(data, key=keyring, **options)
    with pytest.raises(UnknownKeyError):
        safepickle.loads(data, key=STRANGER)
    with pytest.raises(pytest.fail.Exception, match="the machine ran"):
        safepickle.loads(data, key=keyring)


@pytest.mark.parametrize("opens", [container.open, container.verify], ids=["open", "verify"])
def test_swapping_parts_of_two_good_files_is_refused(signed_models: dict[str, bytes], keyring: Keyring, opens: Callable[..., Any]):
    """Front of one with the body of the other, header of one under the signature of the other."""
    one, two = signed_models.values()
    for first, second in ((one, two), (two, one)):
        front = first[: body_start(first)]
        assert refused_by(opens, front + second[body_start(second) :], keyring) in {FormatError, AuthenticationError}
        same_length = (second[body_start(second) :] * 2)[: len(first) - len(front)]
        if len(same_length) == len(first) - len(front):
            assert refused_by(opens, front + same_length, keyring) is AuthenticationError
        moved = second[:20] + first[20:63] + second[63:]
        assert refused_by(opens, moved, keyring) is AuthenticationError


# --- a body of several chunks and buffers -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def arrays() -> dict[str, Any]:
    rng = numpy.random.default_rng(3)
    return {
        "floats": rng.random(200_000),
        "odd": rng.integers(0, 255, 700_013, dtype=numpy.uint8),
        "integers": rng.integers(0, 1 << 40, 300_001),
        "small": numpy.arange(10),
        "fortran": numpy.asfortranarray(rng.random((100, 300))),
        "texts": numpy.array(["a", "bcd"] * 3000),
    }


@pytest.fixture(scope="module")
def large(arrays: dict[str, Any]) -> bytes:
    return safepickle.dumps(arrays, key=KEY)


def test_the_large_file_is_as_large_as_these_tests_need(large: bytes):
    info = container.verify(large, RING)
    assert len(info.buffer_bytes) >= 4
    assert len(large) > 4 << 20
    assert sum(length % 64 != 0 for length in info.buffer_bytes) >= 2


@pytest.mark.parametrize("opens", [container.open, container.verify], ids=["open", "verify"])
def test_a_flip_in_any_chunk_or_gap_of_a_large_file_is_refused(large: bytes, opens: Callable[..., Any]):
    start = body_start(large)
    info = container.verify(large, RING)
    rng = random.Random(5)
    positions = {at for first in range(start, len(large), 1 << 20) for at in (first, min(first + (1 << 20), len(large)) - 1)}
    positions |= {rng.randrange(first, min(first + (1 << 20), len(large))) for first in range(start, len(large), 1 << 20) for _ in range(4)}
    end = info.program_bytes
    gaps = 0
    for length in info.buffer_bytes:
        positions |= set(range(start + end, start + end + -end % 64, 5))
        gaps += -end % 64 > 0
        end += -end % 64 + length
    assert gaps >= 3
    changed = bytearray(large)
    for at in sorted(positions):
        changed[at] ^= 0x10
        assert refused_by(opens, changed, RING) is AuthenticationError, at
        changed[at] ^= 0x10
    assert refused_by(opens, changed, RING) is None


@pytest.mark.parametrize("opens", [container.open, container.verify], ids=["open", "verify"])
def test_chunks_in_another_order_are_refused(large: bytes, opens: Callable[..., Any]):
    start, size = body_start(large), 1 << 20
    front, chunks = large[:start], [large[at : at + size] for at in range(start, len(large), size)]
    assert refused_by(opens, front + b"".join([chunks[1], chunks[0], *chunks[2:]]), RING) is AuthenticationError
    assert refused_by(opens, front + b"".join([chunks[0], chunks[0], *chunks[2:]]), RING) is AuthenticationError
    assert refused_by(opens, front + b"".join([*chunks[:2], *chunks[3:]]), RING) is FormatError
    with pytest.raises(AuthenticationError, match=r"chunk 1 of the body \(from byte 1048576\)"):
        opens(front + b"".join([chunks[0], chunks[0], *chunks[2:]]), RING)


def test_large_truncations_and_extensions_are_refused(large: bytes):
    for length in range(0, len(large), len(large) // 50):
        assert refused_by(container.open, large[:length], RING) in {UnsignedError, FormatError}
        assert refused_by(container.verify, OnlyRead(large[:length]), RING) in {UnsignedError, FormatError}
    assert refused_by(container.verify, OnlyRead(large + b"\0"), RING) is FormatError


@pytest.mark.parametrize("nonzero", range(3))
def test_padding_between_buffers_must_be_zero_though_its_digest_is_right(nonzero: int):
    """A signer with a tool of his own could hide data there; one meaning has one encoding."""
    buffers = [b"x" * 70, b"y" * 3, b"z" * 65]
    whole = bytearray(body(PROGRAM, buffers))
    assert whole.count(0, len(PROGRAM)) > 100
    at = (len(PROGRAM), 128 - 1, 192 + 3)[nonzero]
    assert whole[at] in b"\0x"
    at = next(place for place in range(at, len(whole)) if whole[place] == 0)
    whole[at] = 1
    head = header(PROGRAM, buffers, body_chunks=[hashlib.sha256(whole).hexdigest()])
    for opens in (container.open, container.verify):
        with pytest.raises(FormatError, match="padding between buffers"):
            opens(signed(head, bytes(whole)), RING)
        assert refused_by(opens, OnlyRead(signed(head, bytes(whole))), RING) is FormatError


# --- the header has one form, even for who can sign -------------------------------------------------------------

GOOD = header()
RAW = canonical(GOOD)


def without(member: str, of: str | None = None) -> dict[str, Any]:
    changed = json.loads(RAW)
    del (changed[of] if of else changed)[member]
    return changed


def with_environment(**changes: Any) -> dict[str, Any]:
    return header(environment=GOOD["environment"] | changes)


HEADERS: dict[str, bytes | dict[str, Any]] = {
    # JSON of the same meaning, but not in its one form
    "a space after a colon": RAW.replace(b":", b": ", 1),
    "a newline at the end": RAW + b"\n",
    "a space before": b" " + RAW,
    "indented": json.dumps(GOOD, indent=1, sort_keys=True).encode(),
    "members in another order": json.dumps(dict(reversed(GOOD.items())), separators=(",", ":")).encode(),
    "a member twice, with the same value": RAW[:-1] + b',"serial":null}',
    "a member twice, with another value": RAW.replace(b'"serial":null', b'"serial":null,"serial":9'),
    "a member of body twice": RAW.replace(b'"program":', b'"program":1,"program":'),
    "not escaped beyond ASCII": json.dumps(header(context="é"), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(),
    "hexadecimal escapes in upper case": canonical(header(context="é")).replace(b"\\u00e9", b"\\u00E9"),
    "an escaped slash": canonical(header(context="a/b")).replace(b"/", b"\\/"),
    "an escaped letter": RAW.replace(b"linux", b"\\u006cinux"),
    "UTF-16": RAW.decode().encode("utf-16"),
    "UTF-16 without a mark": RAW.decode().encode("utf-16-le"),
    "UTF-32": RAW.decode().encode("utf-32-be"),
    "a byte order mark": b"\xef\xbb\xbf" + RAW,
    "a trailing comma": RAW[:-1] + b",}",
    "a comment": RAW + b"//",
    "a NUL behind": RAW + b"\0",
    "two values": RAW + RAW,
    "cut": RAW[:-1],
    "minus zero": RAW.replace(b'"serial":null', b'"serial":-0'),
    "an exponent": RAW.replace(b'"serial":null', b'"serial":1e2'),
    "a fraction of zero": RAW.replace(b'"serial":null', b'"serial":7.0'),
    "NaN": RAW.replace(b'"serial":null', b'"serial":NaN'),
    "Infinity": RAW.replace(b'"serial":null', b'"serial":Infinity'),
    "an integer of 5,000 digits": RAW.replace(b'"serial":null', b'"serial":' + b"9" * 5000),
    "nested too deep": b"[" * 200_000 + b"]" * 200_000,
    "nested too deep within": RAW.replace(b'"serial":null', b'"serial":' + b"[" * 100_000 + b"]" * 100_000),
    "nested objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "not JSON": b"\xff" * 40,
    "a lone quote": b'"' * 3,
    # JSON in its one form, but not the right members
    "a list": b"[]",
    "an empty object": b"{}",
    "null": b"null",
    "a number": b"17",
    "text": b'"x"',
    "an extra member": header(author="me"),
    "an extra member of body": header(body_extra=1),
    "an extra member of environment": with_environment(os="x"),
    **{f"no {member}": without(member) for member in GOOD},
    **{f"no body.{member}": without(member, "body") for member in GOOD["body"]},
    **{f"no environment.{member}": without(member, "environment") for member in GOOD["environment"]},
    **{f"{member} is {value!r}": header(**{member: value}) for member in ("body", "environment") for value in (None, [], "x", 1, {})},
    # integers
    **{
        f"{member} is {value!r}": header(**{member: value})
        for member in ("serial", "created", "expires", "body_program", "body_chunk_bytes")
        for value in (True, False, 1.0, -1, 1 << 63, 10**400, "7", [7], {})
    },
    "created is null": header(created=None),
    "created after the year 9999": header(created=253_402_300_800),
    "expires after the year 9999": header(expires=253_402_300_800),
    # buffers, chunks, compression
    **{
        f"buffers are {value!r}": header(body_buffers=value)
        for value in ({}, "", None, 0, {"64": 1}, [True], [1.0], [-64], ["64"], [[64]], [None], [1 << 63])
    },
    **{f"chunks are {value!r}": header(body_chunks=value) for value in ({}, "", None, [], [""], [None], [7], ["zz" * 32], ["00" * 31], ["00" * 33])},
    "digests in upper case": header(body_chunks=[GOOD["body"]["chunks"][0].upper()]),
    "a digest with spaces": header(body_chunks=[" " + GOOD["body"]["chunks"][0]]),
    "chunks as an object": header(body_chunks=dict.fromkeys(GOOD["body"]["chunks"], 1)),
    "a chunk too many": header(body_chunks=GOOD["body"]["chunks"] * 2),
    **{f"chunks of {size} bytes": header(body_chunk_bytes=size) for size in (0, 1, 1 << 15, 1 << 27, (1 << 20) + 1, 3 << 18)},
    **{f"compression {value!r}": header(body_compression=value) for value in ("zstd", "", False, 0, {}, [])},
    # texts
    **{f"context {value!r}": header(context=value) for value in ("", "a\nb", "\0", "\x1b[31m", "\u202e", "\ud800", "x" * 1025, 7, True, [], {})},
    **{
        f"{member} {value!r}": with_environment(**{member: value})
        for member in ("python", "platform") for value in (None, 3, "a\nb", "x" * 1025, [])
    },
    **{
        f"libraries {value!r}": with_environment(libraries=value)
        for value in (None, [], "", 0, {"numpy": 2}, {"numpy": None}, {"a\nb": "1"}, {"a": "\x1b[2J"})
    },
    # metadata
    **{
        f"metadata {value!r}"[:60]: header(metadata=value)
        for value in ("", "{", "NaN", "Infinity", "'x'", {}, [], 7, True, "[" * 100_000 + "]" * 100_000)
    },
    "metadata over 1 MiB": header(metadata='"' + "x" * (1 << 20) + '"'),
}  # fmt: skip


@pytest.mark.parametrize("case", HEADERS)
def test_a_header_that_is_not_in_its_one_form_is_refused_though_the_signature_is_right(case: str):
    for opens in (container.open, container.verify):
        with pytest.raises(FormatError) as caught:
            opens(signed(HEADERS[case]), RING)
        assert type(caught.value) is FormatError
    with pytest.raises(FormatError):
        container.peek(signed(HEADERS[case]))


def test_the_headers_of_the_test_above_differ_from_the_good_one():
    assert RAW not in {head if isinstance(head, bytes) else canonical(head) for head in HEADERS.values()}
    assert container.open(signed(RAW), RING).program == PROGRAM


@pytest.mark.parametrize("size", [1 << n for n in range(16, 27)])
def test_every_allowed_chunk_size_is_read(size: int):
    program = bytes(range(256)) * 700
    data = signed(header(program, chunk_bytes=size), program)
    assert container.open(data, RING).program == program
    assert container.verify(data, RING).program_bytes == len(program)


# --- the signature block ----------------------------------------------------------------------------------------

MINE, HERS = sorted((entry(KEY, RAW), entry(SECOND, RAW)))
FOREIGN = (7, bytes(8), b"whatever")
BLOCKS: dict[str, tuple[list[Any], dict[str, Any], type[Exception] | None]] = {
    "one": ([entry(KEY, RAW)], {}, None),
    "two": ([MINE, HERS], {}, None),
    "an unknown suite beside": ([entry(KEY, RAW), FOREIGN], {}, None),
    "an unknown suite with our key id beside": ([entry(KEY, RAW), (9, *entry(KEY, RAW)[1:])], {}, None),
    "an unknown key beside": (sorted([entry(KEY, RAW), entry(STRANGER, RAW)]), {}, None),
    "a wrong MAC by an unknown key beside": (sorted([entry(KEY, RAW), (1, bytes(8), bytes(32))]), {}, None),
    "not sorted": ([HERS, MINE], {}, FormatError),
    "suites not sorted": ([FOREIGN, entry(KEY, RAW)], {}, FormatError),
    "twice": ([MINE, MINE], {}, FormatError),
    "twice with different values": ([MINE, (*MINE[:2], bytes(32))], {}, FormatError),
    "none": ([], {}, FormatError),
    "a count of 0": ([entry(KEY, RAW)], {"count": 0}, FormatError),
    "a count too low": ([MINE, HERS], {"count": 1}, FormatError),
    "a count too high": ([MINE, HERS], {"count": 3}, FormatError),
    "a count of 17": ([entry(KEY, RAW), *((7, bytes((n,)) * 8, b"") for n in range(16))], {}, FormatError),
    "a count of 65535": ([entry(KEY, RAW)], {"count": 65535}, FormatError),
    "a stray byte": ([entry(KEY, RAW)], {"stray": b"\0"}, FormatError),
    "a stray head": ([entry(KEY, RAW)], {"stray": bytes(11)}, FormatError),
    "a MAC of 31 bytes": ([(*MINE[:2], MINE[2][:31])], {}, FormatError),
    "a MAC of 33 bytes": ([(*MINE[:2], MINE[2] + b"\0")], {}, FormatError),
    "a MAC of 0 bytes": ([(*MINE[:2], b"")], {}, FormatError),
    "a block of 128 KiB": ([entry(KEY, RAW), *((7, bytes((n,)) * 8, bytes(65535)) for n in range(2))], {}, FormatError),
    "a wrong MAC": ([(*MINE[:2], bytes(32))], {}, AuthenticationError),
    "a wrong MAC by a held key beside a right one": ([MINE, (*HERS[:2], bytes(32))], {}, AuthenticationError),
    "a wrong MAC by a held key before a right one": ([(*MINE[:2], bytes(32)), HERS], {}, AuthenticationError),
    "the MAC of the other key": ([(*MINE[:2], HERS[2])], {}, AuthenticationError),
    "only unknown keys": ([entry(STRANGER, RAW)], {}, UnknownKeyError),
    "only unknown suites": ([FOREIGN], {}, UnknownKeyError),
    "our MAC under another suite": ([(9, *entry(KEY, RAW)[1:])], {}, UnknownKeyError),
    "our MAC under suite 0": ([(0, *entry(KEY, RAW)[1:])], {}, UnknownKeyError),
    "our MAC under another key id": ([(1, bytes(8), MINE[2])], {}, UnknownKeyError),
    "version 0": ([entry(KEY, RAW)], {"version": 0}, FormatError),
    "version 2": ([entry(KEY, RAW)], {"version": 2}, FormatError),
    "padding that is not zero": ([entry(KEY, RAW)], {"pad": b" "}, FormatError),
}  # fmt: skip


@pytest.mark.parametrize("case", BLOCKS)
def test_signature_blocks(case: str):
    entries, options, expected = BLOCKS[case]
    data = assembled(RAW, entries, body(), **options)
    for opens in (container.open, container.verify):
        assert refused_by(opens, data, Keyring(KEY, SECOND)) is expected
        assert refused_by(opens, OnlyRead(data), Keyring(SECOND, KEY)) is expected


def test_a_newer_version_says_upgrade():
    with pytest.raises(FormatError, match="format version 2 and this release reads version 1: upgrade"):
        container.open(assembled(RAW, [entry(KEY, RAW)], body(), version=2), RING)


def test_signing_again_with_the_packages_front_sorts_the_block():
    assert signed(RAW, keys=(KEY, SECOND)) == signed(RAW, keys=(SECOND, KEY)) == assembled(RAW, [MINE, HERS], body())


# --- context, serial, expiry, threshold: stories ----------------------------------------------------------------

DAY = 86_400
STORIES: list[tuple[str, dict[str, Any], tuple[SecretKey, ...], dict[str, Any], int, str | None]] = [
    # what happens, what is sealed, by whom, what the loader says, seconds later, part of the refusal
    ("nothing said, nothing asked", {}, (KEY,), {}, 0, None),
    ("the context that is expected", {"context": "fraud/prod"}, (KEY,), {"context": "fraud/prod"}, 0, None),
    ("a context that nobody asks for", {"context": "fraud/prod"}, (KEY,), {}, 0, None),
    ("another context", {"context": "fraud/test"}, (KEY,), {"context": "fraud/prod"}, 0, "'fraud/test' and you expect 'fraud/prod'"),
    ("a longer context", {"context": "fraud/prod2"}, (KEY,), {"context": "fraud/prod"}, 0, "you expect"),
    ("a context in another case", {"context": "Fraud/prod"}, (KEY,), {"context": "fraud/prod"}, 0, "you expect"),
    ("a context in another unicode form", {"context": "e\u0301"}, (KEY,), {"context": "\u00e9"}, 0, "you expect"),
    ("no context where one is expected", {}, (KEY,), {"context": "fraud/prod"}, 0, "signed for no context"),
    ("the least serial", {"serial": 7}, (KEY,), {"min_serial": 7}, 0, None),
    ("a later serial", {"serial": 8}, (KEY,), {"min_serial": 7}, 0, None),
    ("rollback to an older serial", {"serial": 6}, (KEY,), {"min_serial": 7}, 0, "serial 6 and you expect at least 7"),
    ("serial 0 is a serial", {"serial": 0}, (KEY,), {"min_serial": 0}, 0, None),
    ("no serial is older than 0", {}, (KEY,), {"min_serial": 0}, 0, "no serial"),
    ("a serial that nobody asks for", {"serial": 1}, (KEY,), {}, 0, None),
    ("a very large serial", {"serial": 2**63 - 1}, (KEY,), {"min_serial": 2**63 - 1}, 0, None),
    ("before it expires", {"expires": NOW + 10}, (KEY,), {}, 9, None),
    ("at the second in which it expires", {"expires": NOW + 10}, (KEY,), {}, 10, "expired at 2027"),
    ("long after it expired", {"expires": NOW + 10}, (KEY,), {}, DAY, "expired at"),
    ("a file from the future", {}, (KEY,), {}, -DAY, None),
    ("right context, but expired", {"context": "a", "expires": NOW + 1}, (KEY,), {"context": "a"}, DAY, "expired at"),
    ("right context, but old", {"context": "a", "serial": 1}, (KEY,), {"context": "a", "min_serial": 2}, 0, "at least 2"),
    ("two signed, two are asked for", {}, (KEY, SECOND), {"threshold": 2}, 0, None),
    ("two signed, one is asked for", {}, (KEY, SECOND), {"threshold": 1}, 0, None),
    ("one signed, two are asked for", {}, (KEY,), {"threshold": 2}, 0, "threshold=2 asks for more"),
    ("a stranger does not count", {}, (KEY, STRANGER), {"threshold": 2}, 0, "1 trusted key"),
    ("three signed, of whom two are trusted", {}, (KEY, SECOND, STRANGER), {"threshold": 3}, 0, "2 trusted key"),
    ("a retired key that is still held", {}, (SECOND,), {}, 0, None),
    ("a key that is held no more", {}, (STRANGER,), {}, 0, "you trust"),
]


def sealed(keys: tuple[SecretKey, ...] = (KEY,), program: bytes = PROGRAM, **options: Any) -> bytes:
    """Return a container that `seal` made at NOW, signed by all of the keys."""
    pieces = container.seal(program, [], RING, now=lambda: NOW, **options)
    return signed(container._read_front(container._source(b"".join(map(bytes, pieces)))).raw, program, keys)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story[0])
def test_what_the_loader_expects_must_hold(story: Any):
    _, options, keys, expected, later, refusal = story
    data = sealed(keys, **options)
    for opens in (container.open, container.verify):
        if refusal is None:
            opens(data, Keyring(KEY, SECOND), now=lambda: NOW + later, **expected)
        else:
            with pytest.raises(AuthenticationError, match=re.escape(refusal)):
                opens(data, Keyring(KEY, SECOND), now=lambda: NOW + later, **expected)


def test_the_stories_hold_for_load_and_verify_too(tmp_path: Path):
    path = tmp_path / "file"
    safepickle.dump([1], path, key=KEY, context="a", serial=3, expires=timedelta(days=1))
    assert safepickle.load(path, key=KEY, context="a", min_serial=3) == [1]
    assert safepickle.verify(path, key=KEY, context="a", min_serial=3, threshold=1).serial == 3
    for use in (safepickle.load, safepickle.verify):
        for bad in ({"context": "b"}, {"min_serial": 4}, {"threshold": 2}):
            with pytest.raises(AuthenticationError):
                use(path, key=KEY, **bad)


NAIVE = datetime(2099, 1, 1)  # noqa: DTZ001 - the one that must be refused


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("context", bad) for bad in ("", "a\nb", "a\0b", "\x1b[31mred", "a\u202eb", "a\u2028b", "x" * 1025, "\ud800", 7, b"a")),
        *(("serial", bad) for bad in (-1, 1 << 63, 1.0, True, "7")),
        *(("expires", bad) for bad in (NOW, NOW - 1, 0, -1, 1 << 63, NAIVE, datetime(2000, 1, 1, tzinfo=UTC), timedelta(0), timedelta(-1))),
        *(("metadata", bad) for bad in (float("nan"), float("inf"), {"a": [float("-inf")]}, "x" * (1 << 20), {"a": "é" * 200_000}, 10**5000)),
    ],
    ids=lambda value: value if isinstance(value, str) and value in {"context", "serial", "expires", "metadata"} else type(value).__name__,
)  # fmt: skip
def test_what_cannot_be_stored_is_a_value_error(option: str, value: Any):
    with pytest.raises((ValueError, TypeError)) as caught:
        sealed(**{option: value})
    assert isinstance(caught.value, ValueError)
    if value not in (NOW, NOW - 1):  # which the clock of `dumps` has yet to reach
        with pytest.raises(ValueError, match=r"."):
            safepickle.dumps([1], key=KEY, **{option: value})


@pytest.mark.parametrize(
    ("option", "value"),
    [("expires", "2099-01-01"), ("expires", 1.5), ("expires", True), ("metadata", object()), ("metadata", {1, 2}), ("metadata", b"x")],
)
def test_what_has_the_wrong_type_is_a_type_error(option: str, value: Any):
    with pytest.raises(TypeError):
        sealed(**{option: value})


@pytest.mark.parametrize("option", ["context", "min_serial", "threshold"])
def test_an_expectation_that_makes_no_sense_is_a_value_error_and_never_ignored(option: str):
    bad = {"context": ["", "a\nb", 7], "min_serial": [-1, True, "7", 1.0, 1 << 63], "threshold": [0, -1, 17, True, "1", 1.0, None]}[option]
    for value in bad:
        for opens in (container.open, container.verify):
            with pytest.raises(ValueError, match=r"."):
                opens(sealed(context="a", serial=7), RING, now=lambda: NOW, **{option: value})


@pytest.mark.parametrize(
    ("expires", "seconds"),
    [
        (NOW + 1, NOW + 1),
        (timedelta(days=30), NOW + 30 * DAY),
        (timedelta(seconds=1.9), NOW + 1),
        (datetime(2030, 1, 1, tzinfo=UTC), 1_893_456_000),
        (datetime(2030, 1, 1, tzinfo=timezone(timedelta(hours=2))), 1_893_456_000 - 7200),
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), 253_402_300_799),
    ],
)
def test_expiry_comes_back_as_an_aware_datetime(expires: Any, seconds: int):
    info = container.open(sealed(expires=expires), RING, now=lambda: NOW).info
    assert info.expires == datetime.fromtimestamp(seconds, UTC)
    assert info.created == datetime.fromtimestamp(NOW, UTC)
    assert info.expires.tzinfo is info.created.tzinfo is UTC


@pytest.mark.parametrize("expires", [253_402_300_800, 1 << 40, (1 << 63) - 1, timedelta.max])
def test_an_expiry_beyond_the_year_9999_is_refused_when_it_is_written(expires: Any):
    """What is signed must load: `open` reads no such time."""
    with pytest.raises(ValueError, match=r"9999|10000"):
        sealed(expires=expires)


def test_the_clock_is_read_when_the_file_is_made_and_opened():
    before = int(time.time())
    info = safepickle.verify(io.BytesIO(safepickle.dumps([1], key=KEY, expires=timedelta(hours=1))), key=KEY)
    assert before <= info.created.timestamp() <= time.time()
    assert info.expires - info.created == timedelta(hours=1)


METADATA = [
    None, True, False, 0, -1, 2**70, 0.1, -1.5e300, 5e-324, "", "é\u2028😀\x7f\0\"\\/", [], {}, [[], {}, None], "x" * 1000,
    {"name": "Betrug", "auc": 0.9713, "tags": ["a", "ü"], "nested": {"deep": [{"er": None}]}, "": 1, "ключ": "値"},
]  # fmt: skip


@pytest.mark.parametrize("metadata", METADATA, ids=lambda value: repr(value)[:30])
def test_metadata_comes_back(metadata: Any):
    data = sealed(metadata=metadata)
    for info in (container.open(data, RING).info, container.verify(data, RING), container.peek(data)):
        assert info.metadata == metadata
        assert type(info.metadata) is type(metadata)


def test_metadata_of_just_1_mib_comes_back():
    text = "x" * ((1 << 20) - 2)
    assert container.open(sealed(metadata=text), RING).info.metadata == text


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def test_metadata_nested_too_deep_is_a_value_error():
    with pytest.raises(ValueError, match="nested more than 64 deep"):
        sealed(metadata=nested(100_000))
    circular: list[Any] = []
    circular.append(circular)
    with pytest.raises(ValueError, match=r"."):
        sealed(metadata=circular)


def test_metadata_that_was_signed_is_read_however_deep_the_caller_is():
    """What `dump` signs, `load` accepts: a depth that is stored may not depend on how much of the stack is left."""

    def deeper(frames: int, call: Callable[[], Any]) -> Any:
        return call() if not frames else deeper(frames - 1, call)

    most: Any = 1
    for level in range(64):
        most = [most] if level % 2 else {"a": most}
    data = sealed(metadata=most)
    assert deeper(200, lambda: container.open(data, RING).info.metadata) == most
    with pytest.raises(ValueError, match="nested more than 64 deep"):
        sealed(metadata=[most])


def test_metadata_with_keys_that_json_would_merge_is_refused():
    """`{1: ..., "1": ...}` would come back with one member less."""
    with pytest.raises((ValueError, TypeError)):
        sealed(metadata={1: "a", "1": "b"})


# --- information ------------------------------------------------------------------------------------------------


def test_information_says_who_vouches_for_it(signed_models: dict[str, bytes], key: SecretKey, keyring: Keyring, tmp_path: Path):
    data = signed_models["tree"]
    (tmp_path / "file").write_bytes(data)
    trusted = safepickle.inspect(tmp_path / "file", key=key)
    claimed = safepickle.inspect(tmp_path / "file")
    assert type(trusted) is Info
    assert type(claimed) is UntrustedInfo
    assert (trusted.authenticated, claimed.authenticated) == (True, False)
    assert repr(claimed).startswith("UntrustedInfo(")
    assert "Untrusted" not in repr(trusted)
    assert trusted != claimed
    assert trusted.trusted_key_ids == (key.key_id,)
    assert claimed.trusted_key_ids == ()
    assert [each.key_id for each in claimed.signatures] == [key.key_id]
    assert trusted.header_sha256 == hashlib.sha256(container._read_front(container._source(data)).raw).hexdigest()
    assert (trusted.context, trusted.serial, trusted.metadata, trusted.format_version) == ("iris/prod", 7, {"accuracy": 0.97}, 1)
    assert set(trusted.libraries) == {"sklearn", "numpy"}
    assert trusted.program_bytes + sum(trusted.buffer_bytes) <= len(data)
    with pytest.raises(AttributeError):
        trusted.context = "other"


def test_inspect_without_a_key_does_not_look_at_the_signature_and_with_one_it_does(signed_models: dict[str, bytes], key: SecretKey):
    changed = flipped(signed_models["tree"], 62)
    assert safepickle.inspect(io.BytesIO(changed)).context == "iris/prod"
    with pytest.raises(AuthenticationError):
        safepickle.inspect(io.BytesIO(changed), key=key)
    with pytest.raises(UnknownKeyError):
        safepickle.inspect(io.BytesIO(changed), key=STRANGER)


def test_only_open_makes_an_opened():
    opened = container.open(sealed(), RING)
    with pytest.raises(TypeError, match="an Opened"):
        container.Opened(opened.info, opened.program, ())


# --- what is not ours is named ----------------------------------------------------------------------------------


def npy(value: Any) -> bytes:
    stream = io.BytesIO()
    numpy.save(stream, value)
    return stream.getvalue()


def npz() -> bytes:
    stream = io.BytesIO()
    numpy.savez(stream, a=numpy.arange(3))
    return stream.getvalue()


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("data.pkl", PROGRAM)
    return stream.getvalue()


MODEL_LIKE = {"coef": [1.0, 2.0], "name": "x"}
OURS = signed(header())
FOREIGN_FILES = {
    **{f"pickle of a dict, protocol {n}": (pickle.dumps(MODEL_LIKE, n), "plain pickle") for n in range(6)},
    **{f"pickle of a list, protocol {n}": (pickle.dumps([1, "a"], n), "plain pickle") for n in range(6)},
    **{f"pickle of an object, protocol {n}": (pickle.dumps(numpy.float64(1), n), "plain pickle") for n in range(6)},
    "npy": (npy(numpy.arange(3)), "numpy .npy"),
    "npz": (npz(), "zip archive.*npz"),
    "zip": (zipped(), "zip archive"),
    "gzip": (gzip.compress(PROGRAM), "gzip"),
    "bzip2": (bz2.compress(PROGRAM), "bzip2"),
    "xz": (lzma.compress(PROGRAM), "xz file"),
    "lzma": (lzma.compress(PROGRAM, lzma.FORMAT_ALONE), "lzma"),
    **{f"zlib level {n}": (zlib.compress(PROGRAM * 9, n), "zlib") for n in (0, 1, 5, 6, 9)},
    "HTML page": (b"<!DOCTYPE html>\n<html><head><title>Sign in", "HTML or XML page, perhaps an error page"),
    "HTML page after white space": (b"\n\n  <html lang=en>", "HTML or XML page"),
    "S3 error": (b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code>', "HTML or XML page"),
    "XML error without declaration": (b"<Error><Code>NoSuchKey</Code></Error>", "HTML or XML page"),
    "Azure error, which begins with a mark": (b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?><Error><Code>BlobNotFound', "HTML or XML page"),
    "Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
    "DVC pointer": (b"outs:\n- md5: a304afb96060aad90176268345e10355\n  size: 37891850\n  path: model.spkl\n", "dvc pull"),
    "empty": (b"", "the file is empty"),
    **{f"{n} bytes of our magic": (OURS[:n], "cut off") for n in range(1, 8)},
    "ours after CRLF became LF": (OURS.replace(b"\r\n", b"\n"), "text mode"),
    "ours after LF became CRLF": (OURS.replace(b"\n", b"\r\n"), "text mode"),
    "ours decoded and encoded": (OURS.decode("latin-1").encode("utf-8"), "text mode"),
    "ours decoded with replacement characters": (OURS.decode("utf-8", "replace").encode("utf-8"), "text mode"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(20), "HDF5"),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(20), "not a safepickle container"),
    "text": (b"hello, this is a note", "not a safepickle container"),
    "zeros": (bytes(1000), "not a safepickle container"),
    "one byte": (b"\x80", "not a safepickle container"),
}  # fmt: skip


@pytest.mark.parametrize("case", FOREIGN_FILES)
def test_a_file_that_is_not_ours_is_named(case: str, tmp_path: Path):
    data, said = FOREIGN_FILES[case]
    (tmp_path / "file").write_bytes(data)
    uses: list[Callable[[], Any]] = [
        lambda: safepickle.loads(data, key=KEY),
        lambda: safepickle.load(tmp_path / "file", key=KEY),
        lambda: safepickle.load(tmp_path / "file", key=KEY, mmap=True),
        lambda: safepickle.verify(OnlyRead(data), key=KEY),
        lambda: safepickle.inspect(io.BytesIO(data)),
    ]
    for use in uses:
        with pytest.raises(UnsignedError, match=said):
            use()


@pytest.mark.parametrize("compress", [0, 3, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)], ids=str)
def test_joblib_files_are_named(tree: Any, compress: Any, tmp_path: Path):
    joblib.dump(tree, tmp_path / "model.joblib", compress=compress)
    with pytest.raises(UnsignedError, match="joblib"):
        safepickle.load(tmp_path / "model.joblib", key=KEY)


@pytest.mark.parametrize("protocol", range(6))
def test_a_plain_pickle_of_a_model_is_never_loaded(tree: Any, protocol: int):
    with pytest.raises(UnsignedError, match=r"plain pickle.*without any signature.*safepickle\.dump"):
        safepickle.loads(pickle.dumps(tree, protocol), key=KEY)


# --- kinds of files ---------------------------------------------------------------------------------------------


class OnlyRead:
    """A file that has nothing but read(), and gives less than it is asked for."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, count: int) -> bytes:
        return self._file.read(min(count, 100_000))


class ShortReads(io.RawIOBase):
    """An unbuffered file that gives at most 1,000 bytes at a time, as sockets do."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(memoryview(buffer)[:1000])


class OnlyWrite:
    """A file that has nothing but write(), and takes at most 1,000 bytes at a time."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, piece: Any) -> int:
        self.data += bytes(piece[:1000])
        return min(len(piece), 1000)


@contextlib.contextmanager
def as_pipe(data: bytes, tmp_path: Path) -> Iterator[Any]:
    reader, writer = os.pipe()
    with open(reader, "rb") as file, in_thread(lambda: write_and_close(writer, data)):
        yield file


@contextlib.contextmanager
def as_raw_pipe(data: bytes, tmp_path: Path) -> Iterator[Any]:
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=0) as file, in_thread(lambda: write_and_close(writer, data)):
        yield file


def write_and_close(descriptor: int, data: bytes) -> None:
    with open(descriptor, "wb") as file, contextlib.suppress(BrokenPipeError):
        file.write(data)


@contextlib.contextmanager
def in_thread(call: Callable[[], Any]) -> Iterator[None]:
    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield
    finally:
        thread.join(30)


@contextlib.contextmanager
def as_socket(data: bytes, tmp_path: Path) -> Iterator[Any]:
    ours, theirs = socket.socketpair()

    def send() -> None:
        with theirs:
            theirs.sendall(data)

    with ours, ours.makefile("rb") as file, in_thread(send):
        yield file


@contextlib.contextmanager
def as_fifo(data: bytes, tmp_path: Path) -> Iterator[Any]:
    os.mkfifo(tmp_path / "fifo")
    with in_thread(lambda: (tmp_path / "fifo").write_bytes(data)):
        yield tmp_path / "fifo"


@contextlib.contextmanager
def as_gzip(data: bytes, tmp_path: Path) -> Iterator[Any]:
    (tmp_path / "file.gz").write_bytes(gzip.compress(data, 1))
    with gzip.open(tmp_path / "file.gz") as file:
        yield file


@contextlib.contextmanager
def as_xz(data: bytes, tmp_path: Path) -> Iterator[Any]:
    (tmp_path / "file.xz").write_bytes(lzma.compress(data, preset=0))
    with lzma.open(tmp_path / "file.xz") as file:
        yield file


@contextlib.contextmanager
def as_zip_member(data: bytes, tmp_path: Path) -> Iterator[Any]:
    with zipfile.ZipFile(tmp_path / "file.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model", data)
    with zipfile.ZipFile(tmp_path / "file.zip") as archive, archive.open("model") as file:
        yield file


@contextlib.contextmanager
def on_disk(data: bytes, tmp_path: Path, how: Callable[[Path], Any] = lambda path: path) -> Iterator[Any]:
    (tmp_path / "file").write_bytes(data)
    file = how(tmp_path / "file")
    with file if hasattr(file, "read") else contextlib.nullcontext():
        yield file


class PathLike:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return str(self._path)


WAYS_IN: dict[str, Callable[[bytes, Path], Any]] = {
    "str": lambda data, path: on_disk(data, path, str),
    "Path": on_disk,
    "PathLike": lambda data, path: on_disk(data, path, PathLike),
    "open file": lambda data, path: on_disk(data, path, lambda name: name.open("rb")),
    "unbuffered file": lambda data, path: on_disk(data, path, lambda name: name.open("rb", buffering=0)),
    "BytesIO": lambda data, path: contextlib.nullcontext(io.BytesIO(data)),
    "pipe": as_pipe,
    "unbuffered pipe": as_raw_pipe,
    "socket": as_socket,
    "short reads": lambda data, path: contextlib.nullcontext(ShortReads(data)),
    "only read()": lambda data, path: contextlib.nullcontext(OnlyRead(data)),
    "named pipe": as_fifo,
    "gzip file": as_gzip,
    "xz file": as_xz,
    "zip member": as_zip_member,
}


def same(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return one.keys() == two.keys() and all(numpy.array_equal(one[name], two[name]) and one[name].dtype == two[name].dtype for name in one)


@posix
@pytest.mark.parametrize("way", WAYS_IN)
def test_a_model_is_loaded_from_every_kind_of_file(way: str, large: bytes, arrays: dict[str, Any], tmp_path: Path):
    with WAYS_IN[way](large, tmp_path) as file:
        assert same(safepickle.load(file, key=KEY), arrays)


@posix
@pytest.mark.parametrize("way", WAYS_IN)
def test_every_kind_of_file_is_verified(way: str, large: bytes, tmp_path: Path):
    with WAYS_IN[way](large, tmp_path) as file:
        assert safepickle.verify(file, key=KEY).program_bytes


@posix
@pytest.mark.parametrize("way", WAYS_IN)
@pytest.mark.parametrize("change", ["flip", "cut", "append"])
def test_a_change_is_found_in_every_kind_of_file(way: str, change: str, large: bytes, tmp_path: Path):
    data = {"flip": flipped(large, len(large) - 9), "cut": large[:-1], "append": large + b"\0"}[change]
    with WAYS_IN[way](data, tmp_path) as file, pytest.raises(AuthenticationError if change == "flip" else FormatError):
        safepickle.load(file, key=KEY)


def test_an_open_file_is_read_from_where_it_stands(signed_models: dict[str, bytes], key: SecretKey, tmp_path: Path):
    """Like pickle.load; but the container must end the file."""
    (tmp_path / "file").write_bytes(b"0123456789" + signed_models["tree"])
    with open(tmp_path / "file", "rb") as file:
        file.seek(10)
        assert safepickle.load(file, key=key).n_features_in_ == 4
    with open(tmp_path / "file", "rb") as file, pytest.raises(ValueError, match="at its beginning"):
        file.seek(10)
        safepickle.load(file, key=key, mmap=True)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_a_text_mode_file_is_a_type_error(encoding: str, tmp_path: Path):
    (tmp_path / "file").write_bytes(OURS)
    for use in (safepickle.load, safepickle.verify):
        with open(tmp_path / "file", encoding=encoding) as file, pytest.raises(TypeError, match=r"text mode.*'rb'"):
            use(file, key=KEY)
    with open(tmp_path / "out", "w", encoding=encoding) as file, pytest.raises(TypeError):
        safepickle.dump([1], file, key=KEY)
    with pytest.raises(TypeError, match="text mode"):
        safepickle.load(io.StringIO("text"), key=KEY)


@posix
def test_a_file_in_non_blocking_mode_is_refused(large: bytes):
    """read() of such a file gives None for "nothing yet", which must not be taken for the end."""
    for sent in (b"", large[:10], large[:100], large[:2000]):
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        with open(reader, "rb", buffering=0) as file, open(writer, "wb", buffering=0) as end:
            end.write(sent)
            with pytest.raises(BlockingIOError, match="non-blocking"):
                safepickle.load(file, key=KEY)


@posix
def test_a_write_in_non_blocking_mode_is_refused(arrays: dict[str, Any]):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with open(reader, "rb"), open(writer, "wb", buffering=0) as end, pytest.raises(BlockingIOError, match="non-blocking"):
        safepickle.dump(arrays, end, key=KEY)


def test_a_missing_file_or_a_directory_is_an_os_error(tmp_path: Path):
    for use in (lambda path: safepickle.load(path, key=KEY), lambda path: safepickle.verify(path, key=KEY), safepickle.inspect):
        with pytest.raises(FileNotFoundError):
            use(tmp_path / "missing")
        with pytest.raises(IsADirectoryError):
            use(tmp_path)
    with pytest.raises(IsADirectoryError):
        safepickle.dump([1], tmp_path, key=KEY)
    with pytest.raises(FileNotFoundError):
        safepickle.dump([1], tmp_path / "missing" / "file", key=KEY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", [None, 7, ["a"], object()])
def test_what_is_no_file_is_a_type_error(file: Any):
    for use in (lambda: safepickle.load(file, key=KEY), lambda: safepickle.dump([1], file, key=KEY), lambda: safepickle.inspect(file)):
        with pytest.raises(TypeError, match="path or a binary file object"):
            use()


def test_swapped_arguments_are_a_clear_type_error(tree: Any, tmp_path: Path):
    with pytest.raises(TypeError, match=r"not DecisionTreeClassifier: the call is dump\(obj, file, key=\.\.\.\)"):
        safepickle.dump(str(tmp_path / "model.spkl"), tree, key=KEY)
    with pytest.raises(TypeError, match=r"for a path or file use load"):
        safepickle.loads(str(tmp_path / "model.spkl"), key=KEY)
    assert list(tmp_path.iterdir()) == []


def test_a_mutable_buffer_is_copied_before_it_is_judged(signed_models: dict[str, bytes], keyring: Keyring):
    """What is judged is what is used: the caller may change his bytearray meanwhile."""
    data = bytearray(signed_models["tree"])
    opened = container.open(data, keyring)
    program = bytes(opened.program)
    data[:] = bytes(len(data))
    assert opened.program == program


class Reused:
    """A file that hands out its one buffer, which every further read() overwrites."""

    def __init__(self, data: bytes, kind: Callable[[Any], Any]) -> None:
        self._file, self._buffer, self._kind = io.BytesIO(data), bytearray(), kind

    def read(self, count: int) -> Any:
        found = self._file.read(count)
        if self._kind is bytearray:
            self._buffer[:] = found
            return self._buffer
        return memoryview(bytearray(found))


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_what_a_file_hands_out_is_copied_before_it_is_judged(kind: Callable[[Any], Any], signed_models: dict[str, bytes], keyring: Keyring):
    """The read that looks for the end of the file comes after the digests were checked: it must not change the program."""
    data = signed_models["tree"]
    program = container.open(data, keyring).program
    opened = container.open(Reused(data, kind), keyring)
    assert type(opened.program) is bytes
    assert opened.program == program


class Growing(io.FileIO):
    """A file to which somebody appends after its size was asked for."""

    def __init__(self, path: Path, extra: bytes) -> None:
        super().__init__(path, "rb")
        self._path, self._extra, self._asked = path, extra, 0

    def tell(self) -> int:
        self._asked += 1
        if self._asked == 2:
            with self._path.open("ab") as end:
                end.write(self._extra)
        return super().tell()


@pytest.mark.parametrize("extra", [1, 1 << 20, 3 << 20])
@pytest.mark.parametrize("length", [1000, 1 << 20], ids=["part of a chunk", "exactly one chunk"])
def test_a_file_that_grows_before_it_is_mapped_is_refused(length: int, extra: int, tmp_path: Path):
    """Whatever happens to the file meanwhile, a refusal is a `SafePickleError`."""
    program = bytes(length)
    (tmp_path / "file").write_bytes(signed(header(program), program))
    with Growing(tmp_path / "file", bytes(extra)) as file, pytest.raises((FormatError, AuthenticationError)):
        container.open(file, RING, map_file=True)


# --- writing ----------------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("way", ["BytesIO", "unbuffered", "only write()", "pipe", "socket", "named pipe", "path"])
def test_a_model_is_dumped_to_every_kind_of_file(way: str, arrays: dict[str, Any], tmp_path: Path):
    found: list[bytes] = []
    match way:
        case "BytesIO":
            stream = io.BytesIO()
            safepickle.dump(arrays, stream, key=KEY)
            found.append(stream.getvalue())
        case "unbuffered":
            with open(tmp_path / "file", "wb", buffering=0) as file:
                safepickle.dump(arrays, file, key=KEY)
            found.append((tmp_path / "file").read_bytes())
        case "only write()":
            only = OnlyWrite()
            safepickle.dump(arrays, only, key=KEY)
            found.append(only.data)
        case "pipe":
            reader, writer = os.pipe()
            with open(reader, "rb") as source, in_thread(lambda: found.append(source.read())), open(writer, "wb", buffering=0) as end:
                safepickle.dump(arrays, end, key=KEY)
        case "socket":
            ours, theirs = socket.socketpair()
            with ours, ours.makefile("rb") as source, in_thread(lambda: found.append(source.read())), theirs, theirs.makefile("wb") as end:
                safepickle.dump(arrays, end, key=KEY)
        case "named pipe":
            os.mkfifo(tmp_path / "fifo")
            with in_thread(lambda: found.append((tmp_path / "fifo").read_bytes())):
                safepickle.dump(arrays, tmp_path / "fifo", key=KEY)
            assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)
        case _:
            safepickle.dump(arrays, str(tmp_path / "file"), key=KEY)
            found.append((tmp_path / "file").read_bytes())
    assert same(safepickle.loads(found[0], key=KEY), arrays)
    assert not list(tmp_path.glob(".*"))


@posix
def test_a_symbolic_link_is_written_through_and_kept(tmp_path: Path):
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions" / "1").write_bytes(b"old")
    (tmp_path / "current").symlink_to("versions/1")
    (tmp_path / "dangling").symlink_to("versions/2")
    for name, target in (("current", "1"), ("dangling", "2")):
        safepickle.dump([7], tmp_path / name, key=KEY)
        assert (tmp_path / name).is_symlink()
        assert safepickle.load(tmp_path / "versions" / target, key=KEY) == [7]
    assert sorted(path.name for path in (tmp_path / "versions").iterdir()) == ["1", "2"]


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o664])
def test_the_mode_of_an_existing_file_is_kept(mode: int, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "file").chmod(mode)
    safepickle.dump([7], tmp_path / "file", key=KEY)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


@posix
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_a_new_file_heeds_the_umask(mask: int, mode: int, tmp_path: Path):
    previous = os.umask(mask)
    try:
        safepickle.dump([7], tmp_path / "file", key=KEY)
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


@posix
@pytest.mark.parametrize(
    "name", ["x" * 255, "模" * 80 + ".spkl", "é" * 120, " .spkl", ".hidden", "a\nb", "-"], ids=["255", "CJK", "é", "space", "dot", "newline", "dash"]
)
def test_every_name_that_the_file_system_takes_can_be_dumped_to(name: str, tmp_path: Path):
    """The temporary sibling needs a name as well, and names are limited in bytes."""
    (tmp_path / name).touch()
    safepickle.dump([7], tmp_path / name, key=KEY)
    assert safepickle.load(tmp_path / name, key=KEY) == [7]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_relative_path_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    safepickle.dump([7], "file", key=KEY)
    assert safepickle.load("file", key=KEY) == [7]


class Unpicklable:
    def __reduce__(self) -> Any:
        raise RuntimeError("no")


FAILING = {
    "an object that cannot be pickled": lambda path: safepickle.dump([Unpicklable()], path, key=KEY),
    "a generator": lambda path: safepickle.dump((n for n in "ab"), path, key=KEY),
    "a refusal by the policy": lambda path: safepickle.dump(os.system, path, key=KEY),
    "a lambda": lambda path: safepickle.dump(lambda: 1, path, key=KEY),
    "no key": lambda path: safepickle.dump([1], path, key=None),
    "a context that cannot be stored": lambda path: safepickle.dump([1], path, key=KEY, context="a\nb"),
    "metadata that cannot be stored": lambda path: safepickle.dump([1], path, key=KEY, metadata=float("nan")),
    "compression": lambda path: safepickle.dump([1], path, key=KEY, compress="gzip"),
}


@pytest.mark.parametrize("case", FAILING)
def test_a_dump_that_fails_leaves_the_old_file_and_nothing_else(case: str, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"the old file")
    before = (tmp_path / "file").stat()
    with pytest.raises((SafePickleError, ValueError)):
        FAILING[case](tmp_path / "file")
    after = (tmp_path / "file").stat()
    assert (tmp_path / "file").read_bytes() == b"the old file"
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    with pytest.raises((SafePickleError, ValueError)):
        FAILING[case](tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


class FullDisk:
    """A file object whose disk is full after some bytes."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, piece: Any) -> int:
        if len(piece) > self.room:
            raise OSError(28, "No space left on device")
        self.room -= len(piece)
        return len(piece)


@pytest.mark.parametrize("room", [0, 19, 100, 2000, 1 << 20])
def test_an_error_of_the_file_object_reaches_the_caller(room: int, arrays: dict[str, Any]):
    with pytest.raises(OSError, match="No space left"):
        safepickle.dump(arrays, FullDisk(room), key=KEY)


@pytest.mark.parametrize("fails_at", [0, 1, 3])
def test_an_error_in_the_middle_of_a_path_leaves_the_old_file(fails_at: int, tmp_path: Path):
    """An interrupt too, which is no Exception."""

    def pieces(error: BaseException) -> Iterator[bytes]:
        for _ in range(fails_at):
            yield bytes(100_000)
        raise error

    (tmp_path / "file").write_bytes(b"the old file")
    for error in (OSError(28, "full"), KeyboardInterrupt(), MemoryError()):
        with pytest.raises(type(error)):
            container.write(pieces(error), tmp_path / "file")
        assert [path.name for path in tmp_path.iterdir()] == ["file"]
        assert (tmp_path / "file").read_bytes() == b"the old file"


@posix
def test_a_full_disk_leaves_the_old_file(tmp_path: Path):
    """RLIMIT_FSIZE makes the kernel refuse the bytes, as a full disk or quota would."""
    script = """
import resource, sys, numpy, safepickle
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    safepickle.dump(numpy.zeros(1_000_000), sys.argv[1], key=bytes(range(40)))
except OSError as error:
    print("OSError", error.errno)
"""
    (tmp_path / "file").write_bytes(b"the old file")
    child = run_python(script, str(tmp_path / "file"))
    assert child.stdout == "OSError 27\n", child.stderr
    assert (tmp_path / "file").read_bytes() == b"the old file"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@posix
@pytest.mark.skipif(os.name == "posix" and os.geteuid() != 0, reason="needs root to become another user")
def test_a_directory_that_may_be_written_but_not_listed_takes_a_dump():
    """The file is in place once it is renamed: a directory that cannot be opened afterwards must not look like a failure."""
    script = """
import os, sys, tempfile, safepickle
key = bytes(range(40))
safepickle.loads(safepickle.dumps([7], key=key), key=key)  # imports what it needs while it can
with tempfile.TemporaryDirectory() as folder:
    os.umask(0)
    os.chmod(folder, 0o755)
    os.chdir(folder)
    os.mkdir("drop", 0o733)
    os.seteuid(65534)
    try:
        safepickle.dump([7], "drop/file", key=key)
        print(safepickle.load("drop/file", key=key))
    finally:
        os.seteuid(0)
"""
    child = run_python(script)
    assert child.stdout == "[7]\n", child.stderr


@posix
def test_killed_at_any_moment_of_a_dump_the_file_is_whole(tmp_path: Path):
    """Old or new, never torn: the writer is killed with SIGKILL at random moments."""
    script = """
import sys, numpy, safepickle
number = int(sys.argv[2])
while True:
    safepickle.dump(numpy.full(2_500_000, number, dtype=numpy.int64), sys.argv[1], key=bytes(range(40)), serial=number)
    print("dumped", flush=True)
    number += 1
"""
    path = tmp_path / "file"
    rng = random.Random(11)
    number = 1
    seen = set()
    for _ in range(7):
        with subprocess.Popen([sys.executable, "-c", script, str(path), str(number)], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "dumped\n"
            time.sleep(rng.uniform(0, 0.15))
            child.send_signal(signal.SIGKILL)
        found = safepickle.load(path, key=bytes(range(40)), min_serial=number)
        assert found.shape == (2_500_000,)
        assert (found == found[0]).all()
        assert safepickle.verify(path, key=bytes(range(40))).serial == found[0]
        seen.add(int(found[0]))
        number = int(found[0]) + 1
    assert len(seen) == 7


# --- threads, forks, -O -----------------------------------------------------------------------------------------


def test_eight_threads_load_the_same_bytes(large: bytes, arrays: dict[str, Any], tmp_path: Path):
    (tmp_path / "file").write_bytes(large)
    bad = flipped(large, len(large) - 1)
    outcomes: list[bool] = []

    def work(number: int) -> None:
        for _ in range(3):
            good = safepickle.load(tmp_path / "file", key=KEY, mmap=True) if number % 2 else safepickle.loads(large, key=KEY)
            outcomes.append(same(good, arrays))
            outcomes.append(refused_by(container.open, bad, RING) is AuthenticationError)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outcomes == [True] * 48


def test_eight_threads_dump_to_one_path(tmp_path: Path):
    """The last one wins, whole; nobody's temporary file is left."""

    def work(number: int) -> None:
        for _ in range(5):
            safepickle.dump(numpy.full(50_000, number), tmp_path / "file", key=KEY)
            found = safepickle.load(tmp_path / "file", key=KEY)
            assert (found == found[0]).all()

    with contextlib.ExitStack() as stack:
        for number in range(8):
            stack.enter_context(in_thread(lambda number=number: work(number)))
    assert len(safepickle.load(tmp_path / "file", key=KEY)) == 50_000
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_workers_load(large: bytes, arrays: dict[str, Any]):
    """After the parent has loaded, and so has used threads and keys, which a fork does not copy."""
    assert same(safepickle.loads(large, key=KEY), arrays)
    children = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(BaseException):
                data = flipped(large, len(large) - 1) if number == 3 else large
                try:
                    code = 0 if same(safepickle.loads(data, key=KEY), arrays) and number < 3 else 2
                except AuthenticationError:
                    code = 0 if number == 3 else 3
            os._exit(code)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4


@pytest.mark.parametrize("flag", ["-B", "-O", "-OO"])
def test_refusals_do_not_depend_on_assertions(flag: str, key: SecretKey, tmp_path: Path):
    script = """
import os, pickle, sys, safepickle
from safepickle import container
key, marker = safepickle.SecretKey.from_text(sys.argv[1]), sys.argv[2]
class Hostile:
    def __reduce__(self):
        return os.system, (f"touch {marker}",)
data = safepickle.dumps({"model": [1, 2.5, "three"]}, key=key)
changed = data[:-1] + bytes((data[-1] ^ 1,))
hostile = b"".join(container.seal(pickle.dumps(Hostile(), 5), [], safepickle.Keyring(key)))
malformed = b"".join(container.seal(pickle.dumps([1], 4), [], safepickle.Keyring(key)))
for bad in (changed, data[:-1], data + b"x", malformed, hostile, pickle.dumps(Hostile(), 5)):
    try:
        safepickle.loads(bad, key=key)
        print("accepted")
    except safepickle.SafePickleError as error:
        print(type(error).__name__)
print(safepickle.loads(data, key=key), os.path.exists(marker), __debug__)
"""
    child = run_python(script, key.to_text(), str(tmp_path / "owned"), flags=(flag,))
    assert child.stdout.split("\n")[:6] == ["AuthenticationError", "FormatError", "FormatError", "ProgramError", "PolicyError", "UnsignedError"], (
        child.stderr
    )
    assert child.stdout.split("\n")[6] == f"{{'model': [1, 2.5, 'three']}} False {flag == '-B'}"
    assert not (tmp_path / "owned").exists()


def test_a_hostile_program_with_a_right_signature_gets_past_the_container_and_not_past_the_policy():
    """The other half of the promise above: there the class of the error says which stage refused."""

    class Hostile:
        def __reduce__(self) -> Any:
            return os.system, ("exit 1",)

    data = sealed(program=pickle.dumps(Hostile(), 5))
    assert container.open(data, RING).program
    with pytest.raises(PolicyError, match="system"):
        safepickle.loads(data, key=KEY)


# --- arrays: where they lie -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["path", "open file"])
def test_mapped_arrays_are_equal_and_read_only(how: str, large: bytes, arrays: dict[str, Any], tmp_path: Path):
    (tmp_path / "file").write_bytes(large)
    if how == "path":
        found = safepickle.load(tmp_path / "file", key=KEY, mmap=True)
    else:
        with open(tmp_path / "file", "rb") as file:
            found = safepickle.load(file, key=KEY, mmap=True)
    (tmp_path / "file").unlink()
    assert same(found, arrays)
    for name in ("floats", "odd", "integers"):
        assert not found[name].flags.writeable
        assert found[name].flags.aligned
        assert found[name].ctypes.data % 64 == 0
        with pytest.raises(ValueError, match="read-only"):
            found[name][0] = 1
        with pytest.raises(ValueError, match=r"."):
            found[name].flags.writeable = True


@posix
def test_what_cannot_be_mapped_is_a_value_error(large: bytes, tmp_path: Path):
    reader, writer = os.pipe()
    os.close(writer)
    os.mkfifo(tmp_path / "fifo")
    with open(reader, "rb") as pipe:
        for file in (io.BytesIO(large), OnlyRead(large), pipe):
            with pytest.raises(ValueError, match="mmap=True needs"):
                safepickle.load(file, key=KEY, mmap=True)
    with in_thread(lambda: (tmp_path / "fifo").open("wb").close()), pytest.raises(ValueError, match="mmap=True needs"):
        safepickle.load(tmp_path / "fifo", key=KEY, mmap=True)


def test_a_decompressing_file_is_not_mapped(large: bytes, tmp_path: Path):
    """Its descriptor is that of the compressed file."""
    with as_gzip(large, tmp_path) as file, pytest.raises(ValueError, match="mmap=True needs"):
        safepickle.load(file, key=KEY, mmap=True)


@pytest.mark.parametrize("program", [0, 1, 37, 4000, 60_001], ids=lambda length: f"{length} more bytes of program")
def test_arrays_that_are_read_are_writable_and_aligned(program: int):
    """Misaligned arrays are slower, and compiled code that takes pointers to doubles may not take them at all."""
    value = {
        "pad": "x" * program,
        "odd": numpy.arange(4099, dtype=numpy.uint8),
        "floats": numpy.arange(1000.0),
        "large": numpy.arange(40_000.0),
        "larger": numpy.arange(400_001, dtype=numpy.complex128),
    }
    for way in (lambda data: safepickle.loads(data, key=KEY), lambda data: safepickle.load(OnlyRead(data), key=KEY)):
        found = way(safepickle.dumps(value, key=KEY))
        for name in ("odd", "floats", "large", "larger"):
            assert numpy.array_equal(found[name], value[name])
            found[name][0] = 7
            assert found[name].flags.aligned, name
            assert found[name].ctypes.data % 16 == 0, name
        assert found["large"].ctypes.data % 64 == found["larger"].ctypes.data % 64 == 0


@pytest.mark.parametrize("size", [1000, 31_000])
def test_small_arrays_alone_are_aligned_as_well(size: int):
    for shift in range(8):
        found = safepickle.loads(safepickle.dumps({"pad": "x" * shift, "a": numpy.arange(float(size))}, key=KEY), key=KEY)
        assert found["a"].flags.aligned
        assert found["a"].ctypes.data % 16 == 0


def test_arrays_that_are_read_are_our_own(large: bytes, arrays: dict[str, Any]):
    one, two = safepickle.loads(large, key=KEY), safepickle.loads(large, key=KEY)
    one["floats"][:] = 0
    assert same(two, arrays)


# --- lengths that lie, limits -----------------------------------------------------------------------------------


def lying(program: int | None = None, buffers: tuple[int, ...] = ()) -> bytes:
    """Return a container whose header, signed with the right key, promises far more bytes than follow."""
    size = 1 << 26
    end = len(PROGRAM) if program is None else program
    for length in buffers:
        end += -end % 64 + length
    chunks = ["00" * 32] * -(-end // size)
    return signed(
        header(body_program=len(PROGRAM) if program is None else program, body_buffers=list(buffers), body_chunks=chunks, body_chunk_bytes=size)
    )


LIES = {
    "a program of 1 TiB": {"program": 1 << 40},
    "a buffer of 1 TiB": {"buffers": (1 << 40,)},
    "a buffer of 4 GiB": {"buffers": (1 << 32,)},
    "many buffers of 1 GiB": {"buffers": (1 << 30,) * 500},
    "100,000 empty buffers": {"buffers": (0,) * 100_000},
}

MEASURE = """
import io, os, resource, sys, threading, time, safepickle
data, key = open(sys.argv[1], "rb").read(), safepickle.SecretKey.from_text(sys.argv[2])
class OnlyRead:
    def __init__(self): self.file = io.BytesIO(data)
    def read(self, count): return self.file.read(count)
def pipe():
    reader, writer = os.pipe()
    def write():
        with open(writer, "wb") as file:
            try: file.write(data)
            except BrokenPipeError: pass
    threading.Thread(target=write, daemon=True).start()
    return open(reader, "rb")
ways = [lambda: sys.argv[1], lambda: open(sys.argv[1], "rb"), lambda: io.BytesIO(data), OnlyRead, pipe]
for call in (safepickle.load, safepickle.verify):
    for way in ways:
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
        try:
            call(way(), key=key)
            print("accepted")
        except (safepickle.FormatError, safepickle.LimitError) as error:
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            print("refused" if grown < 130_000 and time.monotonic() - start < 3 else f"{grown} KiB, {time.monotonic() - start} s")
"""


@posix
@pytest.mark.parametrize("lie", LIES)
def test_a_length_that_lies_under_a_right_signature_costs_neither_memory_nor_time(lie: str, tmp_path: Path):
    """A thief of the key may write any number into the header; memory comes only as data arrives."""
    (tmp_path / "file").write_bytes(lying(**LIES[lie]))
    child = run_python(MEASURE, str(tmp_path / "file"), KEY.to_text())
    assert child.stdout.split("\n")[:-1] == ["refused"] * 10, child.stderr


@pytest.mark.parametrize("extra", [(), (1000,)])
def test_limits_on_the_size_of_the_body(extra: tuple[int, ...], arrays: dict[str, Any], large: bytes, tmp_path: Path):
    info = container.verify(large, RING)
    size = len(large) - body_start(large)
    assert safepickle.loads(large, key=KEY, limits=Limits(body_bytes=size)).keys() == arrays.keys()
    (tmp_path / "file").write_bytes(large)
    for limit in (size - 1, info.program_bytes, 1, *extra):
        for options in ({"mmap": False}, {"mmap": True}):
            with pytest.raises(LimitError, match=rf"{size} bytes; limits allow {limit} .*body_bytes"):
                safepickle.load(tmp_path / "file", key=KEY, limits=Limits(body_bytes=limit), **options)


def test_a_limit_is_checked_only_after_the_signature(large: bytes):
    with pytest.raises(UnknownKeyError):
        safepickle.loads(large, key=STRANGER, limits=Limits(body_bytes=1))
