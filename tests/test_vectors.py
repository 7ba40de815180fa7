"""Every vector through every reader that we have, one of which is written from SPEC.md alone."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import independent
import make_vectors
import pytest
from optional import HAS_MLDSA, HAS_ZSTD, NEEDS_MLDSA

import safepickle
from safepickle import Keyring, SafePickleError, container
from safepickle.keys import HYBRID, SUITES, parse_key

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
    verify: str

    @property
    def compression(self) -> str | None:
        """The compression, if the file goes so far as to name one."""
        named = re.search(rb'"compression":"(\w+)"', self.data)
        return None if named is None else named[1].decode()

    @classmethod
    def read(cls, path: Path) -> Vector:
        head, _, data = path.read_bytes().partition(b"\n\n")
        lines = [tuple(line.split(": ", 1)) for line in head.decode().split("\n")]
        fields = {name: value for name, value in lines if name != "key"}
        keys = [value for name, value in lines if name == "key"]
        expected = {name: int(fields[name]) for name in ("min_serial", "threshold") if name in fields}
        expected |= {"context": fields["context"]} if "context" in fields else {}
        return cls(fields["expect"], keys, expected, int(fields["now"]), fields["comment"], data, fields.get("verify", fields["expect"]))


# --- readers ---------------------------------------------------------------------------------------------------


class OnlyRead:
    """A file that has nothing but read(), and gives less than it is asked for."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, count: int) -> bytes:
        return self._file.read(min(count, 1000))


def _ring(vector: Vector) -> Keyring:
    return Keyring(None, *(parse_key(text.encode(), "the vector") for text in vector.keys))


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


def by_the_specification(vector: Vector, path: Path) -> str:
    return independent.verified(vector.data, vector.keys, now=vector.now, **vector.expected)


Reader = Callable[[Vector, Path], str]
READERS: Sequence[Reader] = (open_bytes, open_path, open_mapped, open_stream, verify_path, verify_stream, by_the_specification)
VERIFIERS: Sequence[Reader] = (verify_path, verify_stream, by_the_specification)


def skip_without_its_algorithms(vector: Vector) -> None:
    """Old releases of cryptography have no ML-DSA, and no key of a suite with it."""
    codes = {base64.urlsafe_b64decode(text.split("_", 2)[2][:4])[0] for text in vector.keys if text.startswith("spkpub1_")}
    if SUITES[HYBRID].code in codes and not HAS_MLDSA:
        pytest.skip("the installed cryptography has no ML-DSA")


# --- tests -----------------------------------------------------------------------------------------------------


def test_there_are_enough_vectors():
    """A loop over no files passes; that must not be how these tests pass."""
    assert len(VECTORS) >= 130
    kinds = [Vector.read(path).expect for path in VECTORS]
    assert kinds.count("success") >= 15
    assert set(kinds) == {"success", "FormatError", "UnsignedError", "AuthenticationError", "UnknownKeyError", "KeyringError", "LimitError"}


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_every_reader_says_what_the_vector_says(path: Path, reader: Reader, tmp_path: Path):
    vector = Vector.read(path)
    skip_without_its_algorithms(vector)
    if vector.compression and reader is open_mapped:
        pytest.skip("a compressed file is not mapped; test_chunks.py has what is said then")
    if vector.compression == "zstd" and reader not in VERIFIERS and not HAS_ZSTD:
        pytest.skip("zstd is not installed")
    file = tmp_path / "file"
    file.write_bytes(vector.data)
    try:
        digest = reader(vector, file)
    except SafePickleError as error:
        said = type(error).__name__
    except independent.Refused as error:
        said = str(error)
    else:
        said = "success"
        assert digest == hashlib.sha256(container._read_front(container._source(vector.data)).raw).hexdigest()
    assert said == (vector.verify if reader in VERIFIERS else vector.expect), vector.comment


@pytest.mark.parametrize("path", [path for path in VECTORS if path.name.startswith("good_")], ids=lambda path: path.stem)
def test_what_parses_is_written_as_the_same_bytes(path: Path):
    """One encoding per meaning: from the parsed parts alone the same file comes out."""
    vector = Vector.read(path)
    skip_without_its_algorithms(vector)
    front = container._read_front(container._source(vector.data))
    if vector.compression:
        # What a chunk is compressed to is the writer's choice; the signed header and its order are not.
        raw = container._encode_header(container._parse_header(front.raw))
        assert b"".join(container._front(raw, front.signatures)) + vector.data[front.body_start :] == vector.data
        return
    opened = _opened(vector, vector.data)
    codes = {suite.name: suite.code for suite in SUITES.values()}
    entries = [(codes.get(each.suite) or int(each.suite.split()[-1]), bytes.fromhex(each.key_id), each.value) for each in front.signatures]
    raw = container._encode_header(container._parse_header(front.raw))
    whole = make_vectors.body(opened.program, [bytes(buffer) for buffer in opened.buffers])
    assert b"".join(container.chunks.segments(opened.program, opened.buffers)) == whole
    assert make_vectors.assembled(raw, entries, whole) == vector.data
    if {entry[0] for entry in entries} <= set(codes.values()):
        assert b"".join(container._front(raw, front.signatures)) + whole == vector.data


@pytest.mark.parametrize("path", [path for path in VECTORS if path.name.startswith("good_")], ids=lambda path: path.stem)
def test_the_information_is_the_same_from_every_way_in(path: Path):
    vector = Vector.read(path)
    skip_without_its_algorithms(vector)
    if vector.compression == "zstd" and not HAS_ZSTD:
        pytest.skip("zstd is not installed")
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


@NEEDS_MLDSA
def test_the_generator_makes_the_files_byte_for_byte():
    """A change of the format, or of the generator, shows here; files of a release stay as they are."""
    made = make_vectors.vectors()
    assert {path.name for path in VECTORS} == set(made)
    assert [path.name for path in VECTORS if path.read_bytes() != made[path.name]] == []


def test_the_independent_verifier_is_short_and_shares_no_code_with_the_package():
    source = Path(independent.__file__).read_text("utf-8")
    assert len(source.splitlines()) <= 160
    assert "safepickle" not in {line.split()[1].partition(".")[0] for line in source.splitlines() if line.strip().startswith(("import ", "from "))}


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
