"""Every vector through every reader that we have, one of which is written from SPEC.md alone."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import make_vectors
import pytest

import safepickle
from safepickle import Keyring, SafePickleError, SecretKey, container

VECTORS = sorted(make_vectors.FOLDER.glob("*.vector"))
SPEC = Path(__file__).parent.parent / "SPEC.md"
CLAUSES_OF_VECTORS = re.compile(r"^- \*\*([1-6]\.\d+)\*\*", re.M)


@dataclass
class Vector:
    expect: str
    keys: list[str]
    expected: dict[str, Any]
    now: int
    comment: str
    data: bytes

    @classmethod
    def read(cls, path: Path) -> Vector:
        head, _, data = path.read_bytes().partition(b"\n\n")
        lines = [tuple(line.split(": ", 1)) for line in head.decode().split("\n")]
        fields = {name: value for name, value in lines if name != "key"}
        keys = [value for name, value in lines if name == "key"]
        expected = {name: int(fields[name]) for name in ("min_serial", "threshold") if name in fields}
        expected |= {"context": fields["context"]} if "context" in fields else {}
        return cls(fields["expect"], keys, expected, int(fields["now"]), fields["comment"], data)


# --- readers ---------------------------------------------------------------------------------------------------


class OnlyRead:
    """A file that has nothing but read(), and gives less than it is asked for."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, count: int) -> bytes:
        return self._file.read(min(count, 1000))


def _ring(vector: Vector) -> Keyring:
    return Keyring(*map(SecretKey.from_text, vector.keys))


def _opened(vector: Vector, file: Any, **options: Any) -> container.Opened:
    return container.open(file, _ring(vector), now=lambda: vector.now, **vector.expected, **options)


def open_bytes(vector: Vector, path: Path) -> str:
    return _opened(vector, vector.data).info.header_sha256


def open_path(vector: Vector, path: Path) -> str:
    return _opened(vector, path).info.header_sha256


def open_mapped(vector: Vector, path: Path) -> str:
    return _opened(vector, path, map_file=True).info.header_sha256


def open_stream(vector: Vector, path: Path) -> str:
    return _opened(vector, OnlyRead(vector.data)).info.header_sha256


def verify_path(vector: Vector, path: Path) -> str:
    return container.verify(path, _ring(vector), now=lambda: vector.now, **vector.expected).header_sha256


def verify_stream(vector: Vector, path: Path) -> str:
    return container.verify(OnlyRead(vector.data), _ring(vector), now=lambda: vector.now, **vector.expected).header_sha256


class Refused(Exception):
    """By the reader that follows; its text is the name of the error class."""


def by_the_specification(vector: Vector, path: Path) -> str:
    """A verifier of SPEC.md, sections 1 to 6, in nothing but the standard library. Clauses are named where they are checked."""
    data = vector.data

    def require(holds: Any, error: str = "FormatError") -> None:
        if not holds:
            raise Refused(error)

    keys = {}
    for text in vector.keys:
        match = re.fullmatch(r"spk1_([0-9a-f]{16})_([A-Za-z0-9_-]{48})", text)
        require(match, "KeyringError")
        # 3.1: 48 characters are 36 bytes with no bits to spare, so the encoding is the canonical one.
        import base64

        key_id, raw_key = match[1], base64.urlsafe_b64decode(match[2])
        secret, checksum = raw_key[:-4], raw_key[-4:]
        require(hashlib.sha256(b"spk1_" + key_id.encode() + b"_" + secret).digest()[:4] == checksum, "KeyringError")
        extracted = hmac.digest(bytes(32), secret, "sha256")
        info = b"safepickle container v1 hmac-sha256"
        first = hmac.digest(extracted, info + b"\1", "sha256")
        require(hmac.digest(extracted, first + info + b"\2", "sha256")[:8].hex() == key_id, "KeyringError")
        keys[1, bytes.fromhex(key_id)] = first

    require(data[:8] == bytes.fromhex("89 53 50 4B 4C 0D 0A 1A"), "UnsignedError")  # 1.1
    require(len(data) >= 20)
    version, n, s, h = (int.from_bytes(data[a:b], "little") for a, b in ((8, 10), (10, 12), (12, 16), (16, 20)))
    require(version == 1)  # 1.2
    require(1 <= n <= 16 and s <= 1 << 17 and 2 <= h <= 1 << 27)  # 1.3
    require(len(data) >= 20 + s + h)
    block, raw = data[20 : 20 + s], data[20 + s : 20 + s + h]
    entries = []
    at = 0
    while at < s and len(entries) < n:
        length = int.from_bytes(block[at + 9 : at + 11], "little")
        entries.append((block[at], block[at + 1 : at + 9], block[at + 11 : at + 11 + length]))
        at += 11 + length
    require(at == s and len(entries) == n)  # 2.1
    order = [entry[:2] for entry in entries]
    require(order == sorted(set(order)))  # 2.2
    require(all(suite != 1 or len(value) == 32 for suite, _, value in entries))  # 2.3
    # The padding is fixed layout, like the prefix, and may be looked at here.
    start = 20 + s + h + -(20 + s + h) % 64
    require(len(data) >= start and not any(data[20 + s + h : start]))  # 6.1

    trusted = [(keys[suite, key_id], key_id, value) for suite, key_id, value in entries if (suite, key_id) in keys]  # 3.2
    for mac_key, key_id, value in trusted:
        fields = (b"safepickle container v1", b"hmac-sha256", key_id, hashlib.sha256(raw).digest())
        message = b"".join(bytes((len(field),)) + field for field in fields)
        require(hmac.compare_digest(hmac.digest(mac_key, message, "sha256"), value), "AuthenticationError")  # 4.1
    require(trusted, "UnknownKeyError")  # 4.2
    require(len(trusted) >= vector.expected.get("threshold", 1), "AuthenticationError")  # 4.3

    def refuse(_: Any) -> None:
        raise Refused("FormatError")

    try:
        head = json.loads(raw.decode("ascii"), parse_float=refuse, parse_constant=refuse)
    except ValueError:
        raise Refused("FormatError") from None
    require(json.dumps(head, sort_keys=True, separators=(",", ":")).encode() == raw)  # 5.1

    def of(value: Any, kind: type, *members: str) -> Any:
        require(type(value) is kind)
        require(not members or sorted(value) == sorted(members))
        return value

    def integer(value: Any, most: int = (1 << 63) - 1) -> int:
        require(type(value) is int and 0 <= value <= most)  # 5.3
        return int(value)

    of(head, dict, "body", "context", "created", "environment", "expires", "metadata", "serial")  # 5.2
    described = of(head["body"], dict, "buffers", "chunk_bytes", "chunks", "compression", "program")
    environment = of(head["environment"], dict, "libraries", "platform", "python")
    texts = [environment["platform"], environment["python"], *of(environment["libraries"], dict).values()]
    require(all(type(text) is str for text in texts))
    buffers = [integer(length) for length in of(described["buffers"], list)]
    size = integer(described["chunk_bytes"])
    require(size in [1 << power for power in range(16, 27)])
    chunks = of(described["chunks"], list)
    require(all(type(chunk) is str and re.fullmatch("[0-9a-f]{64}", chunk) for chunk in chunks))
    require(described["compression"] is None)
    context, serial, expires, metadata = (head[name] for name in ("context", "serial", "expires", "metadata"))
    require(context is None or (type(context) is str and 0 < len(context) <= 1024 and context.isprintable()))
    integer(head["created"], 253_402_300_799)
    require(serial is None or integer(serial) == serial)
    require(expires is None or integer(expires, 253_402_300_799) == expires)
    if metadata is not None:
        require(len(of(metadata, str)) <= 1 << 20)
        try:
            json.loads(metadata, parse_constant=refuse)
        except ValueError:
            raise Refused("FormatError") from None

    require(vector.expected.get("context", context) == context, "AuthenticationError")  # 5.4
    least = vector.expected.get("min_serial")
    require(least is None or (serial is not None and serial >= least), "AuthenticationError")
    require(expires is None or vector.now < expires, "AuthenticationError")  # 5.5

    end = integer(described["program"])
    gaps = []
    for length in buffers:
        gaps.append((end, end + -end % 64))
        end = gaps[-1][1] + length
    require(len(chunks) == -(-end // size))  # 6.3
    rest = data[start:]
    require(len(rest) == end)  # 6.5
    digests = [hashlib.sha256(rest[at : at + size]).hexdigest() for at in range(0, end, size)]
    require(digests == chunks, "AuthenticationError")  # 6.4
    require(not any(any(rest[first:last]) for first, last in gaps))  # 6.2
    return hashlib.sha256(raw).hexdigest()


Reader = Callable[[Vector, Path], str]
READERS: Sequence[Reader] = (open_bytes, open_path, open_mapped, open_stream, verify_path, verify_stream, by_the_specification)


# --- tests -----------------------------------------------------------------------------------------------------


def test_there_are_enough_vectors():
    """A loop over no files passes; that must not be how these tests pass."""
    assert len(VECTORS) >= 60
    kinds = [Vector.read(path).expect for path in VECTORS]
    assert kinds.count("success") >= 10
    assert set(kinds) == {"success", "FormatError", "UnsignedError", "AuthenticationError", "UnknownKeyError", "KeyringError"}


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_every_reader_says_what_the_vector_says(path: Path, reader: Reader, tmp_path: Path):
    vector = Vector.read(path)
    file = tmp_path / "file"
    file.write_bytes(vector.data)
    try:
        digest = reader(vector, file)
    except SafePickleError as error:
        said = type(error).__name__
    except Refused as error:
        said = str(error)
    else:
        said = "success"
        assert digest == hashlib.sha256(container._read_front(container._source(vector.data)).raw).hexdigest()
    assert said == vector.expect, vector.comment


@pytest.mark.parametrize("path", [path for path in VECTORS if path.name.startswith("good_")], ids=lambda path: path.stem)
def test_what_parses_is_written_as_the_same_bytes(path: Path):
    """One encoding per meaning: from the parsed parts alone the same file comes out."""
    vector = Vector.read(path)
    front = container._read_front(container._source(vector.data))
    opened = _opened(vector, vector.data)
    suites = {"hmac-sha256": 1}
    entries = [(suites.get(each.suite) or int(each.suite.split()[-1]), bytes.fromhex(each.key_id), each.value) for each in front.signatures]
    raw = container._encode_header(container._parse_header(front.raw))
    whole = make_vectors.body(opened.program, [bytes(buffer) for buffer in opened.buffers])
    assert b"".join(container._segments(opened.program, opened.buffers)) == whole
    assert make_vectors.assembled(raw, entries, whole) == vector.data
    if {entry[0] for entry in entries} == {1}:
        assert b"".join(container._front(raw, front.signatures)) + whole == vector.data


@pytest.mark.parametrize("path", [path for path in VECTORS if path.name.startswith("good_")], ids=lambda path: path.stem)
def test_the_information_is_the_same_from_every_way_in(path: Path):
    vector = Vector.read(path)
    opened, verified, peeked = (
        _opened(vector, vector.data).info,
        container.verify(vector.data, _ring(vector), now=lambda: vector.now, **vector.expected),
        safepickle.inspect(io.BytesIO(vector.data)),
    )
    assert opened == verified
    assert (opened.authenticated, peeked.authenticated) == (True, False)
    names = [name for name in opened.__dataclass_fields__ if name != "trusted_key_ids"]
    assert [getattr(opened, name) for name in names] == [getattr(peeked, name) for name in names]
    assert peeked.trusted_key_ids == ()


def test_the_generator_makes_the_files_byte_for_byte():
    """A change of the format, or of the generator, shows here; files of a release stay as they are."""
    made = make_vectors.vectors()
    assert {path.name for path in VECTORS} == set(made)
    assert [path.name for path in VECTORS if path.read_bytes() != made[path.name]] == []


@pytest.mark.skipif(not SPEC.exists(), reason="SPEC.md is only in the repository")
def test_every_clause_of_the_specification_has_a_vector():
    clauses = set(CLAUSES_OF_VECTORS.findall(SPEC.read_text("utf-8")))
    shown = {Vector.read(path).comment.split()[0] for path in VECTORS}
    assert len(clauses) >= 20
    assert clauses - shown == set()
    assert shown - clauses == set()


def test_each_vector_breaks_one_thing():
    """No two are the same bytes under the same expectations."""
    seen = [(vector.data, tuple(vector.keys), tuple(vector.expected.items())) for vector in map(Vector.read, VECTORS)]
    assert len(set(seen)) == len(seen)
