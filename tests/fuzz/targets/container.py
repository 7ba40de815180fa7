"""Containers. Every way to read one agrees with every other, and with the reader that was written from SPEC.md alone.

The first byte chooses: even, the rest is a file as it is; odd, the rest are choices of how a right container is made, spoilt and signed again with
the right key, so that what stands behind the signature is reached.
"""

from __future__ import annotations

import dataclasses
import io
import json
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import independent
import make_vectors
from make_vectors import (
    BOTH_SEEDS,
    CURVE,
    EDWARDS,
    KEY,
    NOW,
    PROGRAM,
    SECOND,
    STRANGER,
    assembled,
    body,
    canonical,
    entry,
    framed,
    header,
    pair_entry,
)

from fuzz.feeding import Feed
from safepickle import Keyring, PrivateKey, chunks, container
from safepickle.errors import AuthenticationError, FormatError, LimitError
from safepickle.keys import HYBRID, SUITES

MAX_LEN = 8192
BODY_BYTES = 1 << 22
BOTH = PrivateKey(HYBRID, BOTH_SEEDS)
PUBLIC = (EDWARDS.public_key(), CURVE.public_key(), BOTH.public_key())
RINGS = (
    (Keyring(None, KEY, SECOND, *PUBLIC[:2]), [KEY.to_text(), SECOND.to_text(), *(each.to_text() for each in PUBLIC[:2])]),
    (Keyring(None, KEY, PUBLIC[2]), [KEY.to_text(), PUBLIC[2].to_text()]),
)
SIGNERS: tuple[Callable[[bytes], make_vectors.Entry], ...] = (
    lambda raw: entry(KEY, raw),
    lambda raw: entry(SECOND, raw),
    lambda raw: entry(STRANGER, raw),
    lambda raw: pair_entry(EDWARDS, raw),
    lambda raw: pair_entry(CURVE, raw),
    lambda raw: (7, bytes(8), b"unknown"),
)
_FILE = Path(tempfile.mkdtemp(prefix="safepickle-fuzz-")) / "file"


class OnlyRead:
    """A file that has nothing but read(), and gives less than it is asked for."""

    def __init__(self, data: bytes, most: int) -> None:
        self._file = io.BytesIO(data)
        self._most = most

    def read(self, count: int) -> bytes:
        return self._file.read(min(count, self._most))


# --- choices to a container --------------------------------------------------------------------------------------

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 7, 63, 64, 65, 1 << 16, 1 << 20, 1 << 26, 1 << 27, (1 << 63) - 1, 1 << 63, 1 << 70, 253_402_300_799, 253_402_300_800,
    NOW - 1, NOW, NOW + 1, 1.5, -0.0, float("nan"), float("inf"), "", "x", "zlib", "zstd", "é", "\u2028", "\ud800", "\x7f", "x" * 1024, "x" * 1025,
    "0" * 64, "A" * 64, [], {}, [0], [[]], {"a": "1"}, {"a": 1}, '{"a": [1, 2.5, null]}', "NaN", "1e999", "[" * 63 + "]" * 63, "[" * 64 + "]" * 64,
    "[" * 65 + "]" * 65, "[" * 3000, '{"a":1,"a":2}', '"\\ud800"', " 1", "1 ", "9" * 5000, "\"" + "x" * (1 << 20) + "\"",
)  # fmt: skip
LENGTHS = (0, 1, 5, 63, 64, 65, 300, 65_535, 65_536, 70_000)


def edit(head: dict[str, Any], feed: Feed) -> None:
    """Change one member of the header, or of an object in it."""
    place: Any = feed.one((head, head["body"] if isinstance(head.get("body"), dict) else head, head.get("environment")))
    if not isinstance(place, dict):
        return
    names = sorted(place)
    name = feed.one([*names, "extra"])
    match feed.below(5):
        case 0:
            place.pop(name, None)
        case 1 | 2:
            place[name] = feed.one(VALUES)
        case 3:
            place[name] = feed.number(8)
        case _ if isinstance(place.get(name), list):
            items = list(place[name])
            items.insert(feed.below(len(items) + 1), feed.one(VALUES) if not items or feed.below(2) else feed.one(items))
            place[name] = items
        case _:
            place[name] = feed.take(feed.below(16)).decode("utf-8", "replace")


def packed(how: str, chunk: bytes, feed: Feed) -> bytes:
    if how == "zstd":
        made = framed(chunk, window_log=feed.one((20, 20, 10, 23, 24))) if len(chunk) < 65_536 else chunk
    else:
        made = zlib.compress(chunk, feed.below(10))
    return feed.edited(made) if feed.rarely(4) else made


def structured(feed: Feed) -> bytes:
    """Return a container, mostly right."""
    program = PROGRAM + bytes(feed.one(LENGTHS)) if feed.below(4) else b""
    buffers = [bytes((feed.number(),)) * feed.one(LENGTHS) for _ in range(feed.below(4))]
    padding = b"\1" if feed.rarely() else b"\0"
    size = feed.one((1 << 16, 1 << 16, 1 << 20, 1 << 26))
    whole = body(program, buffers, padding)
    how = feed.one((None, None, "zlib", "zstd"))
    if how is None:
        rest = feed.edited(whole) if feed.rarely() else whole
        # The digests are those of what stands in the file, so an edit is signed.
        head = header(program, buffers, padding=padding, chunk_bytes=size)
        if rest != whole and len(rest) == len(whole):
            head["body"]["chunks"] = header(rest, chunk_bytes=size)["body"]["chunks"]
    else:
        stored = [packed(how, whole[at : at + size], feed) for at in range(0, len(whole), size)]
        rest = b"".join(stored)
        digests = [header(chunk, chunk_bytes=1 << 30)["body"]["chunks"][0] if chunk else "0" * 64 for chunk in stored]
        head = header(program, buffers, chunk_bytes=size, body_compression=how, body_stored=[len(chunk) for chunk in stored], body_chunks=digests)
    for _ in range(feed.below(4)):
        edit(head, feed)
    raw = feed.edited(canonical(head)) if feed.rarely() else canonical(head)
    chosen = feed.number()
    entries = [make(raw) for number, make in enumerate(SIGNERS) if (chosen or 1) >> number & 1]
    if feed.rarely():
        entries = [(suite, key_id, feed.edited(value)) for suite, key_id, value in entries]
    entries = entries if feed.rarely() else sorted(entries)
    version = feed.one((0, 2, 257)) if feed.rarely(16) else 1
    count = feed.below(20) if feed.rarely(16) else None
    stray = feed.take(feed.below(8)) if feed.rarely(16) else b""
    made = assembled(raw, entries, rest, version=version, count=count, stray=stray, pad=b"\1" if feed.rarely(16) else b"\0")
    return feed.edited(made, most=2) if feed.rarely(4) else made


# --- what must hold -----------------------------------------------------------------------------------------------


def answer(read: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Return what a reader says: the Info, or the class of its refusal."""
    try:
        return read(*arguments, **options)
    except (FormatError, AuthenticationError, LimitError) as error:
        return type(error)


def independently(data: bytes, texts: list[str], expected: dict[str, Any]) -> str | None:
    try:
        return independent.verified(data, texts, now=NOW, **expected)
    except (independent.Refused, RecursionError):
        return None


def opened(found: Any) -> Any:
    """What of an `Opened` must be the same, however it was read."""
    return found if isinstance(found, type) else (found.info, found.program, [bytes(each) for each in found.buffers])


def run(data: bytes) -> None:
    feed = Feed(data)
    if feed.number() % 2 == 0:
        check(feed.rest(), *RINGS[0], {})
        return
    ring, texts = feed.one(RINGS)
    expected: dict[str, Any] = {"threshold": feed.one((1, 1, 1, 2, 3))}
    expected |= {"context": feed.one(("x", "fraud-model/prod é☃😀"))} if feed.rarely() else {}
    expected |= {"min_serial": feed.one((0, 7, (1 << 63) - 1))} if feed.rarely() else {}
    check(structured(feed), ring, texts, expected)


def check(data: bytes, ring: Keyring, texts: list[str], expected: dict[str, Any]) -> None:
    _FILE.write_bytes(data)
    clock = {"now": lambda: NOW}
    said = [
        answer(container.verify, file, ring, **expected, **clock)
        for file in (data, _FILE, OnlyRead(data, 1000), OnlyRead(data, 7 if len(data) < 2000 else 4097))
    ]
    options = {**expected, **clock, "max_body_bytes": BODY_BYTES}
    openings = [opened(answer(container.open, file, ring, **options)) for file in (data, _FILE, OnlyRead(data, 1000))]
    mapped = opened(answer(container.open, _FILE, ring, map_file=True, **options))
    apart = independently(data, texts, expected)
    infos = [each for each in said if not isinstance(each, type)]
    assert len(infos) in (0, len(said)), f"readers differ: {said}"
    assert all(each == infos[0] for each in infos), "readers give different information"
    assert (infos[0].header_sha256 if infos else None) == apart, f"SPEC.md says {apart}, verify {said[0]}"
    whole = [each for each in openings if not isinstance(each, type)]
    assert len(whole) in (0, len(openings)), f"openers differ: {openings}"
    assert all(each == whole[0] for each in whole), "openers give different content"
    if whole:
        assert infos, "opened and not verified"
        assert whole[0][0] == infos[0], "open and verify give different information"
        assert mapped == whole[0] or (whole[0][0].compression is not None and mapped is FormatError), "mapped, it is another file"
        one_encoding(data, infos[0], whole[0])
    else:
        assert isinstance(mapped, type), "mapped, it opens"
        assert not infos or openings[0] is LimitError or infos[0].compression is not None, f"verified and refused: {openings[0]}"
    unsigned(data, infos, whole)


def one_encoding(data: bytes, info: container.Info, whole: Any) -> None:
    """What was opened is written as the same bytes, but for what compression makes of it."""
    front = container._read_front(container._source(data))
    assert container._encode_header(container._parse_header(front.raw)) == front.raw
    codes = {suite.name: suite.code for suite in SUITES.values()}
    entries = [(codes.get(each.suite) or int(each.suite.split()[-1]), bytes.fromhex(each.key_id), each.value) for each in front.signatures]
    if info.compression is None:
        rest = body(whole[1], whole[2])
        assert b"".join(bytes(each) for each in chunks.segments(whole[1], [memoryview(each) for each in whole[2]])) == rest
    else:
        rest = data[front.body_start :]
    assert assembled(front.raw, entries, rest) == data, "another file means the same"


def unsigned(data: bytes, infos: list[container.Info], whole: list[Any]) -> None:
    """Who has no key sees the same, and is told that nobody vouches for it."""
    peeked = answer(container.peek, data)
    claimed = answer(container.unverified, data, max_body_bytes=BODY_BYTES)
    assert isinstance(peeked, type) or not peeked.authenticated
    names = {field.name for field in dataclasses.fields(container.Info)} - {"trusted_key_ids"}
    if infos:
        assert {name: getattr(peeked, name) for name in names} == {name: getattr(infos[0], name) for name in names}
    if whole:
        assert (claimed[1], [bytes(each) for each in claimed[2]]) == whole[0][1:]
        assert {name: getattr(claimed[0], name) for name in names} == {name: getattr(infos[0], name) for name in names}


def seeds() -> Iterator[bytes]:
    for path in sorted(make_vectors.FOLDER.glob("*.vector")):
        data = path.read_bytes().partition(b"\n\n")[2]
        if len(data) < MAX_LEN:
            yield b"\0" + data
    yield b"\1"
    for number in range(64):
        yield bytes((1, number & 1, 0, 0, 0)) + json.dumps([number] * (number % 7)).encode() + bytes((number * 37 % 256, number)) * 12
