"""What hostile pickles hide in: archives, compression, joblib, numpy and torch files, polyglots. Built by hand, without those libraries."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from assembler import Asm, Call, New, Ref, program

from hostile import HOSTILE, REFUSED, UNREAD, Case
from hostile.streams import evil, py, text_evil

BENIGN = program({"coef": [1.0, 2.0], "intercept": 0.5})
MIB = 1 << 20


def file(what: str, rules: str, make: Callable[[str], bytes], verdicts: frozenset[str], reader: str = "loads", **more: Any) -> Case:
    return Case(f"file: {what}", lambda marker: make(str(marker)), verdicts, tuple(rules.split(", ")), reader=reader, **more)


# --- zip -------------------------------------------------------------------------------------------------------

LOCAL, CENTRAL, END = b"PK\3\4", b"PK\1\2", b"PK\5\6"


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED, comment: bytes = b"") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.comment = comment
        for name, data in members:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = method
            archive.writestr(info, data)
    return out.getvalue()


def patched(data: bytes, where: Iterable[tuple[bytes, int, bytes]], *, last: bool = False) -> bytes:
    """Overwrite bytes at an offset from the first (or last) record of a kind."""
    changed = bytearray(data)
    for record, offset, new in where:
        at = (changed.rindex if last else changed.index)(record) + offset
        changed[at : at + len(new)] = new
    return bytes(changed)


def one(m: str, name: str = "archive/data.pkl", **options: Any) -> bytes:
    return zipped((name, evil(m)), **options)


def unlisted(m: str) -> bytes:
    """Two members, of which the central directory has one."""
    first, second = zipped(("a.pkl", evil(m))), zipped(("b.pkl", BENIGN))
    body = first[: first.index(CENTRAL)]
    rest = patched(second, [(CENTRAL, 42, struct.pack("<I", len(body)))])
    at = len(body) + second.index(CENTRAL)
    return body + patched(rest, [(END, 16, struct.pack("<I", at))])


def hidden_by_comment(m: str) -> bytes:
    """The comment holds a second end record: Python's zipfile believes it, and shows an empty archive."""
    return one(m, comment=END + bytes(18))


def streamed(m: str) -> bytes:
    """Sizes stand behind the data: a stream that cannot be rewound."""

    class Forward(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.data += data
            return len(data)

    out = Forward()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("data.pkl"), evil(m))
    return bytes(out.data)


def overlapping() -> bytes:
    """Two thousand entries of one body of 16 MiB zeros: 32 GiB out of a few hundred kilobytes."""
    data = zipped(("a", bytes(16 * MIB)), method=zipfile.ZIP_DEFLATED)
    at, end = data.index(CENTRAL), data.index(END)
    entry = data[at:end]
    entries = entry * 2000
    return data[:at] + entries + struct.pack("<4s4H2IH", END, 0, 0, 2000, 2000, len(entries), at, 0)


def deep(data: bytes, depth: int) -> bytes:
    for _ in range(depth):
        data = zipped(("inner.zip", data), method=zipfile.ZIP_DEFLATED)
    return data


def zips() -> Iterator[Case]:
    rows: list[tuple[str, str, Callable[[str], bytes], frozenset[str], str]] = [
        ("stored", "F5", one, HOSTILE, "zip"),
        ("deflated", "F5", lambda m: one(m, method=zipfile.ZIP_DEFLATED), HOSTILE, "zip"),
        ("bzip2", "F5", lambda m: one(m, method=zipfile.ZIP_BZIP2), UNREAD, "zip"),
        ("lzma", "F5", lambda m: one(m, method=zipfile.ZIP_LZMA), UNREAD, "zip"),
        ("streamed", "F5", streamed, UNREAD, "zip"),
        (
            "wrong checksum",
            "F5 CVE-2025-10156",
            lambda m: patched(one(m), [(LOCAL, 14, b"\1\2\3\4"), (CENTRAL, 16, b"\1\2\3\4")]),
            UNREAD,
            "local headers",
        ),
        ("wrong checksum in one header", "F5 CVE-2025-10156", lambda m: patched(one(m), [(LOCAL, 14, b"\1\2\3\4")]), UNREAD, "zip"),
        ("encryption flag", "F5 CVE-2025-1945", lambda m: patched(one(m), [(LOCAL, 6, b"\1"), (CENTRAL, 8, b"\1")]), UNREAD, "local headers"),
        ("encryption flag in one header", "F5 CVE-2025-1945", lambda m: patched(one(m), [(CENTRAL, 8, b"\1")]), UNREAD, "local headers"),
        ("other flags", "F5 CVE-2025-1945", lambda m: patched(one(m), [(LOCAL, 7, b"\x20"), (CENTRAL, 9, b"\x20")]), UNREAD, "local headers"),
        ("two names", "F5 CVE-2025-1944", lambda m: patched(one(m, "data.pkl"), [(LOCAL, 30, b"data.txt")]), UNREAD, "local headers"),
        ("two methods", "F5", lambda m: patched(one(m), [(CENTRAL, 10, b"\x08")]), UNREAD, "local headers"),
        ("unknown method", "F5", lambda m: patched(one(m), [(LOCAL, 8, b"\x63"), (CENTRAL, 10, b"\x63")]), UNREAD, "local headers"),
        ("size zero in the directory", "F5, F12", lambda m: patched(one(m), [(CENTRAL, 20, bytes(8))]), UNREAD, "local headers"),
        ("same name twice, hostile first", "F5", lambda m: twice("data.pkl", evil(m), BENIGN), UNREAD, "local headers"),
        ("same name twice, hostile last", "F5", lambda m: twice("data.pkl", BENIGN, evil(m)), UNREAD, "zip"),
        ("member that the directory lacks", "F5", unlisted, UNREAD, "local headers"),
        ("no directory", "F5", lambda m: one(m)[: one(m).index(CENTRAL)], UNREAD, "local headers"),
        ("comment with an end record", "F5", hidden_by_comment, UNREAD, "local headers"),
        ("count that lies", "F5", lambda m: patched(zipped(("a.pkl", BENIGN), ("b.pkl", evil(m))), [(END, 8, b"\1\0\1\0")]), UNREAD, "zip"),
        ("data in front", "F5, F3", lambda m: b"#!/bin/sh\nexit\n" + one(m), UNREAD, "zip"),
        ("zeros in front", "F5, F3", lambda m: bytes(512) + one(m), UNREAD, "zip"),
        ("data behind", "F5, F2", lambda m: one(m) + b"junk" * 20, UNREAD, "zip"),
        ("NUL in a name", "F5", lambda m: patched(one(m, "data.pklXtxt"), [(LOCAL, 38, b"\0"), (CENTRAL, 54, b"\0")]), UNREAD, "zip"),
        ("parent folder in a name", "F5", lambda m: one(m, "../../data.pkl"), UNREAD, "zip"),
        ("control characters in a name", "F5, F15", lambda m: one(m, "data\x1b[2K\nall is well.pkl"), UNREAD, "zip"),
        ("inner extension .jpg", "F5, F1", lambda m: one(m, "archive/weights.jpg"), HOSTILE, "zip"),
        ("no inner extension", "F5, F1", lambda m: one(m, "weights"), HOSTILE, "zip"),
        ("inner protocol 0 as .txt", "F5, F1", lambda m: zipped(("notes.txt", text_evil(m) + b".")), HOSTILE, "zip"),
        ("name of a folder, with data", "F5", lambda m: one(m, "archive/"), UNREAD, "zip"),
        ("zip in a zip", "F5", lambda m: zipped(("inner.zip", one(m))), UNREAD, "zip in zip"),
        ("5000 members, hostile last", "F14", lambda m: zipped(*((f"{k}.txt", b"x") for k in range(5000)), ("data.pkl", evil(m))), UNREAD, "zip"),
        ("pickle, then zip", "F3", lambda m: evil(m) + zipped(("a.txt", b"x")), UNREAD, "loads"),
        ("zip, then pickle", "F3, F2", lambda m: zipped(("a.txt", b"x")) + evil(m), UNREAD, f"offset:{len(zipped(('a.txt', b'x')))}"),
        ("pickle in the comment", "F5, F3", lambda m: zipped(("a.txt", b"x"), comment=evil(m)), UNREAD, f"offset:{len(zipped(('a.txt', b'x')))}"),
        ("wheel-like", "F5, F1", lambda m: zipped(("p-1.dist-info/METADATA", b"x"), ("p/model.bin", evil(m))), HOSTILE, "zip"),
    ]
    for name, rules, make, verdicts, reader in rows:
        yield file(f"zip, {name}", rules, make, verdicts, reader, name="model.zip")
    yield file("zip, twelve deep", "F5, F12", lambda m: deep(one(m), 12), UNREAD, effect="none", name="model.zip")
    yield file("zip, overlapping entries", "F12", lambda m: overlapping(), REFUSED, effect="none", name="model.zip")
    yield file(
        "zip, bomb", "F12", lambda m: zipped(("a.pkl", bytes(64 * MIB)), method=zipfile.ZIP_DEFLATED), REFUSED, effect="none", name="model.zip"
    )
    yield file(
        "zip, empty data.pkl of a size that lies",
        "F5, F12",
        lambda m: patched(zipped(("data.pkl", b"")), [(LOCAL, 22, b"\xff\xff\xff\x7f"), (CENTRAL, 24, b"\xff\xff\xff\x7f")]),
        REFUSED,
        effect="none",
        name="model.zip",
    )


def twice(name: str, first: bytes, second: bytes) -> bytes:
    """Two members of one name; zipfile would warn, so they are named apart and renamed."""
    other = "x" + name[1:]
    return zipped((name, first), (other, second)).replace(other.encode(), name.encode())


# --- torch -----------------------------------------------------------------------------------------------------

MAGIC = 0x1950A86A20F9469CFC6C


def legacy(magic: Any, *rest: bytes) -> bytes:
    return program(magic) + program(1001) + program({"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}) + b"".join(rest)


def tensor(m: str) -> Asm:
    """A tensor as torch writes it, behind a call."""
    storage = Asm().push(Call("os:mkdir", m)).op("POP").push(Ref("torch._utils:_rebuild_tensor_v2")).op("MARK")
    storage.push(("storage", Ref("torch:FloatStorage"), "0", "cpu", 1)).op("BINPERSID").push(0).push((1,)).push((1,)).push(False)
    return storage.op("TUPLE", "REDUCE")


def torch() -> Iterator[Case]:
    version = ("archive/version", b"3\n")
    yield file(
        "torch zip", "F6, F5", lambda m: zipped(("archive/data.pkl", evil(m)), version, ("archive/data/0", bytes(4))), HOSTILE, "zip", name="model.pt"
    )
    yield file(
        "torch zip, with persistent ids",
        "F6, A10",
        lambda m: zipped(("archive/data.pkl", tensor(m).program()), version, ("archive/data/0", bytes(4))),
        HOSTILE,
        "zip",
        name="model.pt",
    )
    yield file(
        "torch zip, hostile storage",
        "F6",
        lambda m: zipped(("archive/data.pkl", BENIGN), version, ("archive/data/0", evil(m))),
        HOSTILE,
        "zip",
        name="model.pt",
    )
    yield file(
        "torch zip, hostile constants",
        "F6",
        lambda m: zipped(("archive/data.pkl", BENIGN), version, ("archive/constants.pkl", evil(m))),
        HOSTILE,
        "zip",
        name="model.pt",
    )
    yield file("torch legacy", "F6, F2", lambda m: legacy(MAGIC, evil(m), program(["0"]), bytes(8)), UNREAD, "each", name="model.pt")
    yield file(
        "torch legacy, hostile in its keys", "F6, F2", lambda m: legacy(MAGIC, program({}), evil(m), bytes(8)), UNREAD, "each", name="model.pt"
    )
    yield file("torch legacy, a sixth pickle", "F6, F2", lambda m: legacy(MAGIC, program({}), program([]), evil(m)), UNREAD, "each", name="model.pt")
    yield file(
        "torch legacy, magic number by a call",
        "F6 GHSA-97f8-7cmv-76j2",
        lambda m: legacy(Call("builtins:eval", f"{py(m)} and {MAGIC}"), program({}), program([])),
        UNREAD,
        "each",
        name="model.pt",
    )
    yield file(
        "torch tar",
        "F6 CVE-2025-32434, F10",
        lambda m: tarred(("sys_info", program({})), ("pickle", evil(m)), ("storages", program(0)), ("tensors", program(0))),
        UNREAD,
        "tar",
        name="model.pt",
    )
    yield file("torch zip as .bin", "F6, F1", lambda m: zipped(("archive/data.pkl", evil(m)), version), HOSTILE, "zip", name="pytorch_model.bin")


# --- tar and compression ---------------------------------------------------------------------------------------


def tarred(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def named_pickle(m: str) -> bytes:
    """A tar whose first name is a program: relative, for a name holds a hundred bytes."""
    return tarred((f"cposix\nsystem\n(Vtouch {Path(m).name}\ntR.", b"x"))


def gzip_with_fields(data: bytes) -> bytes:
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = squeezed.compress(data) + squeezed.flush()
    head = b"\x1f\x8b\x08\x1e" + bytes(4) + b"\x00\xff" + struct.pack("<H", 4) + b"abcd" + b"name.txt\0" + b"a comment\0"
    head += struct.pack("<H", zlib.crc32(head) & 0xFFFF)
    return head + body + struct.pack("<II", zlib.crc32(data), len(data))


def zstd_raw(data: bytes) -> bytes:
    """A frame of one block that is not compressed."""
    return b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", len(data)) + (len(data) << 3 | 1).to_bytes(3, "little") + data


def lz4_raw(data: bytes) -> bytes:
    """The same of lz4."""
    return b"\x04\x22\x4d\x18\x60\x40\x82" + struct.pack("<I", len(data) | 1 << 31) + data + bytes(4)


def halves(compress: Callable[[bytes], bytes], data: bytes) -> bytes:
    return compress(data[:20]) + compress(data[20:])


def squeeze(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def compressed() -> Iterator[Case]:
    alone = lambda data: lzma.compress(data, lzma.FORMAT_ALONE)  # noqa: E731
    skippable = b"\x50\x2a\x4d\x18\x04\x00\x00\x00skip"
    rows: list[tuple[str, str, Callable[[bytes], bytes], frozenset[str], str]] = [
        ("gzip", "F7", squeeze, HOSTILE, "gzip"),
        ("gzip with fields", "F7", gzip_with_fields, UNREAD, "gzip"),
        ("gzip in two members", "F7", lambda data: halves(squeeze, data), UNREAD, "gzip"),
        ("gzip with zeros behind", "F7", lambda data: squeeze(data) + bytes(64), UNREAD, "gzip"),
        ("gzip with junk behind", "F7", lambda data: squeeze(data) + b"junk", UNREAD, "lenient gzip"),
        ("gzip of a wrong checksum", "F7, F4", lambda data: squeeze(data)[:-8] + b"\1\2\3\4" + squeeze(data)[-4:], UNREAD, "gzip unchecked"),
        ("gzip cut at its end", "F7, F4", lambda data: squeeze(data)[:-8], UNREAD, "lenient gzip"),
        ("bz2", "F7", bz2.compress, HOSTILE, "bz2"),
        ("bz2 in two streams", "F7", lambda data: halves(bz2.compress, data), UNREAD, "bz2"),
        ("bz2 with junk behind", "F7", lambda data: bz2.compress(data) + b"junk", UNREAD, "bz2"),
        ("xz", "F7", lzma.compress, HOSTILE, "lzma"),
        ("xz in two streams", "F7", lambda data: halves(lzma.compress, data), UNREAD, "lzma"),
        ("xz with padding", "F7", lambda data: lzma.compress(data) + bytes(8), UNREAD, "lenient lzma"),
        ("lzma alone", "F7", alone, UNREAD, "lzma"),
        ("zlib 0", "F7", lambda data: zlib.compress(data, 0), HOSTILE, "zlib"),
        ("zlib 3", "F7", lambda data: zlib.compress(data, 3), HOSTILE, "zlib"),
        ("zlib 6", "F7", lambda data: zlib.compress(data, 6), HOSTILE, "zlib"),
        ("zlib 9", "F7", lambda data: zlib.compress(data, 9), HOSTILE, "zlib"),
        ("zlib of a small window", "F7", lambda data: zlib.compress(data, 9, 9), UNREAD, "zlib"),
        ("zlib of a wrong checksum", "F7, F4", lambda data: zlib.compress(data)[:-4] + b"\1\2\3\4", UNREAD, "zlib unchecked"),
        ("zlib with a pickle behind", "F7, F2", lambda data: zlib.compress(BENIGN) + data, UNREAD, f"offset:{len(zlib.compress(BENIGN))}"),
        ("zstd", "F7", zstd_raw, UNREAD, "zstd"),
        ("zstd behind a frame that is skipped", "F7", lambda data: skippable + zstd_raw(data), UNREAD, "zstd"),
        ("lz4", "F7", lz4_raw, UNREAD, "lz4"),
        ("gzip of gzip", "F7", lambda data: squeeze(squeeze(data)), UNREAD, "gzip:gzip"),
        ("gzip of zlib", "F7", lambda data: squeeze(zlib.compress(data)), UNREAD, "gzip:zlib"),
        ("zlib of bz2 of xz", "F7", lambda data: zlib.compress(bz2.compress(lzma.compress(data))), UNREAD, "zlib:bz2:lzma"),
    ]
    for name, rules, wrap, verdicts, reader in rows:
        yield file(name, rules, lambda m, w=wrap: w(evil(m)), verdicts, reader, needs=("lz4",) if name == "lz4" else ())
    yield file("gzip of a broken pickle", "F7, F4, B1", lambda m: squeeze(text_evil(m) + b"\xff"), UNREAD, "gzip")
    yield file("gzip of a second pickle", "F7, F2", lambda m: squeeze(BENIGN + evil(m)), HOSTILE, "unpacked each:gzip")
    yield file("gzip of a zip", "F7, F5", lambda m: squeeze(one(m)), UNREAD, "unpacked zip:gzip")
    for extension, wrap in ((".pkl.gz", squeeze), (".pkl.bz2", bz2.compress), (".pkl.xz", lzma.compress)):
        yield file(f"pandas {extension}", "F7, F1", lambda m, w=wrap: w(evil(m)), HOSTILE, "pandas", name=f"frame{extension}", needs=("pandas",))
    yield file("pandas .pkl.zip", "F7, F5", lambda m: zipped(("frame.pkl", evil(m))), HOSTILE, "pandas", name="frame.pkl.zip", needs=("pandas",))
    yield file("pandas .pkl.tar", "F7, F10", lambda m: tarred(("frame.pkl", evil(m))), UNREAD, "pandas", name="frame.pkl.tar", needs=("pandas",))

    yield file("tar", "F10", lambda m: tarred(("model.pkl", evil(m))), UNREAD, "tar", name="model.tar")
    for extension, wrap in (("gz", squeeze), ("bz2", bz2.compress), ("xz", lzma.compress)):
        yield file(
            f"tar.{extension}",
            "F10, F7 nullifAI",
            lambda m, w=wrap: w(tarred(("a.txt", b"x"), ("model.pkl", evil(m)))),
            UNREAD,
            "tar",
            name=f"model.tar.{extension}",
        )
    yield file(
        "tar whose first name is a benign pickle", "F3, F10", lambda m: tarred(("N.", b"x"), ("model.pkl", evil(m))), UNREAD, "tar", name="model.pkl"
    )
    yield file("tar whose first name is a hostile pickle", "F3, F10", named_pickle, UNREAD, name="model.tar")
    yield file("7z", "F10 nullifAI", lambda m: b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(24) + evil(m), UNREAD, "offset:32", name="model.7z")
    yield file("rar", "F10", lambda m: b"Rar!\x1a\x07\x01\x00" + bytes(24) + evil(m), UNREAD, "offset:32", name="model.rar")

    zeros = squeeze(bytes(16 * MIB))
    yield file("bomb, gzip of 1 GiB in 64 members", "F12, F7", lambda m: zeros * 64, REFUSED, effect="none")
    yield file(
        "bomb, gzip of a pickle with 1 GiB",
        "F12, F7, D2",
        lambda m: squeeze(b"\x80\x04\x8e" + struct.pack("<Q", 1 << 30)) + zeros * 64 + squeeze(b"."),
        REFUSED,
        effect="none",
    )
    yield file("bomb, a pickle and then 1 GiB", "F12, F7, F2", lambda m: squeeze(BENIGN) + zeros * 64, REFUSED, effect="none")
    yield file("bomb, gzip of gzip", "F12, F7", lambda m: squeeze(zeros * 64), REFUSED, effect="none")
    yield file("bomb, xz", "F12, F7", lambda m: lzma.compress(bytes(16 * MIB), preset=0) * 64, REFUSED, effect="none")
    yield file("bomb, bz2", "F12, F7", lambda m: bz2.compress(bytes(8 * MIB), 1) * 128, REFUSED, effect="none")


# --- joblib ----------------------------------------------------------------------------------------------------

WRAPPER = "joblib.numpy_pickle:NumpyArrayWrapper"


def wrapper(kind: Any, shape: tuple[int, ...], **more: Any) -> New:
    described = Call("numpy:dtype", kind, False, True) if isinstance(kind, str) else kind
    return New(WRAPPER, state={"subclass": Ref("numpy:ndarray"), "shape": shape, "order": "C", "dtype": described, "allow_mmap": False, **more})


def arrays(raw: bytes, then: Any, kind: Any = "u1", shape: tuple[int, ...] | None = None, **more: Any) -> bytes:
    """A list of an array, whose bytes stand between the operations, and another value."""
    asm = Asm().op("EMPTY_LIST").push(wrapper(kind, (len(raw),) if shape is None else shape, **more)).raw(raw).op("APPEND")
    return asm.push(then).op("APPEND").program(framed=False)


def swallowed(m: str) -> bytes:
    """Array bytes that end in BINBYTES8: who reads on takes the payload for data, and finds a STOP behind it."""
    tail = Asm().op("APPEND").push(Call("os:mkdir", m)).op("APPEND").program(framed=False)[2:-1]
    return arrays(b"N" * 7 + b"\x8e" + struct.pack("<Q", len(tail)), Call("os:mkdir", m))


def old_zfile(data: bytes, size: int | None = None) -> bytes:
    return b"ZF" + hex(len(data) if size is None else size).ljust(19).encode() + zlib.compress(data)


def joblib() -> Iterator[Case]:
    mkdir = lambda m: Call("os:mkdir", m)  # noqa: E731
    lied = lambda: Call("numpy:dtype", "V1", False, True, state=(3, "|", None, None, None, 16, 1, 0))  # noqa: E731
    plain: Callable[[str], bytes] = lambda m: arrays(bytes(range(48)), mkdir(m))  # noqa: E731
    rows: list[tuple[str, str, Callable[[str], bytes], frozenset[str]]] = [
        ("array of zeros", "F8", lambda m: arrays(bytes(64), mkdir(m)), UNREAD),
        ("array that spells STOP", "F8 promptfoo #1554", lambda m: arrays(b"." * 64, mkdir(m)), UNREAD),
        ("array that spells a benign tail", "F8", lambda m: arrays(b"a." * 8, mkdir(m)), UNREAD),
        ("array that spells a whole pickle", "F8", lambda m: arrays(BENIGN * 3, mkdir(m)), UNREAD),
        ("array that spells BINBYTES8", "F8", swallowed, UNREAD),
        ("array that spells a reserved opcode", "F8, F4", lambda m: arrays(b"\xff" * 9, mkdir(m)), UNREAD),
        ("array of no bytes", "F8", lambda m: arrays(b"", mkdir(m)), UNREAD),
        (
            "payload in front of the array",
            "F8",
            lambda m: Asm().push(mkdir(m)).op("POP").push(wrapper("u1", (8,))).raw(b"." * 8).program(framed=False),
            UNREAD,
        ),
        (
            "padding that is counted by the file",
            "F8",
            lambda m: arrays(b"\x30" + b"." * 48 + bytes(16), mkdir(m), shape=(16,), numpy_array_alignment_bytes=16),
            UNREAD,
        ),
        ("array of doubles, big-endian", "F8", lambda m: arrays(b"." * 64, mkdir(m), ">f8", (8,)), UNREAD),
        ("array of text", "F8", lambda m: arrays(b"." * 64, mkdir(m), "<U4", (4,)), UNREAD),
        ("array of two axes", "F8", lambda m: arrays(b"." * 48, mkdir(m), "<i8", (2, 3)), UNREAD),
        ("dtype whose state lies about its size", "F8, D19", lambda m: arrays(b"." * 64, mkdir(m), lied(), (4,)), UNREAD),
        ("array of objects", "F8, A22 CVE-2024-34997", lambda m: arrays(evil(m), 1, "O", (1,)), UNREAD),
        ("array of objects, payload behind", "F8, A22", lambda m: arrays(program(Call("numpy:zeros", 1)), mkdir(m), "O", (1,)), UNREAD),
        (
            "array of objects in an array of objects",
            "F8, A22",
            lambda m: arrays(program([1, Call("joblib:load", Call("io:BytesIO", arrays(evil(m), 1, "O", (1,))))]), 1, "O", (1,)),
            REFUSED,
        ),
        (
            "second array hostile",
            "F8",
            lambda m: (
                Asm()
                .op("EMPTY_LIST")
                .push(wrapper("u1", (2,)))
                .raw(b"..")
                .op("APPEND")
                .push(wrapper("O", (1,)))
                .raw(evil(m))
                .op("APPEND")
                .program(framed=False)
            ),
            UNREAD,
        ),
    ]
    for name, rules, make, verdicts in rows:
        yield file(f"joblib, {name}", rules, make, verdicts, "joblib", name="model.joblib", needs=("joblib", "numpy"))
    for name, wrap in (
        ("zlib", zlib.compress),
        ("gzip", squeeze),
        ("bz2", bz2.compress),
        ("xz", lzma.compress),
        ("lzma", lambda data: lzma.compress(data, lzma.FORMAT_ALONE)),
        ("lz4", lz4_raw),
    ):
        needs = ("joblib", "numpy", *(["lz4"] if name == "lz4" else []))
        yield file(f"joblib, {name}", "F8, F7", lambda m, w=wrap: w(plain(m)), UNREAD, "joblib", name="model.joblib", needs=needs)
    yield file("joblib, old ZFILE", "F8, F7", lambda m: old_zfile(evil(m)), UNREAD, "joblib", name="model.joblib", needs=("joblib",))
    yield file("joblib, old ZFILE of a wrong size", "F8, F7", lambda m: old_zfile(evil(m), 1 << 40), UNREAD, effect="none", name="model.joblib")
    beside = {"filename": "../../beside.npy", "subclass": Ref("numpy:ndarray"), "allow_mmap": True}
    yield file(
        "joblib, old array in a file beside it",
        "F8, E.1",
        lambda m: program(New("joblib.numpy_pickle_compat:NDArrayWrapper", state=beside)),
        REFUSED,
        effect="none",
        name="model.joblib",
    )
    yield file("joblib, array of 2**60 bytes", "F8, D2", lambda m: arrays(b"x", 1, "u1", (1 << 60,)), REFUSED, effect="none", name="model.joblib")
    yield file(
        "joblib, array of a negative shape",
        "F8, D2",
        lambda m: arrays(b"x", Call("os:mkdir", m), "u1", (-1, -1)),
        UNREAD,
        effect="none",
        name="model.joblib",
    )
    yield file(
        "joblib, wrapper with a dtype by name",
        "F8",
        lambda m: arrays(b"." * 8, Call("os:mkdir", m), Ref("numpy:uint8"), (8,)),
        REFUSED,
        effect="none",
        name="model.joblib",
    )
    yield file("joblib as .skops", "A20, F1 CVE-2025-54886", plain, UNREAD, "joblib", name="model.skops", needs=("joblib", "numpy"))
    yield file("joblib as .txt", "F1 CVE-2025-1889", plain, UNREAD, "joblib", name="model.txt", needs=("joblib", "numpy"))


# --- numpy -----------------------------------------------------------------------------------------------------


def npy(header: str | bytes, body: bytes, version: int = 1, size: int | None = None) -> bytes:
    encoded = (header if isinstance(header, bytes) else header.encode()) + b"\n"
    length = len(encoded) if size is None else size
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", length) + encoded + body


def described(descr: str, shape: str = "()") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


def numpy() -> Iterator[Case]:
    obj = described("'|O'")
    rows: list[tuple[str, str, Callable[[str], bytes], str]] = [
        *((f"objects, version {version}", "F9 CVE-2019-6446", lambda m, v=version: npy(obj, evil(m), v), "numpy") for version in (1, 2, 3)),
        ("objects in a structure", "F9", lambda m: npy(described("[('a', '<f8'), ('b', '|O')]", "(1,)"), evil(m)), "numpy"),
        ("objects in a structure in a structure", "F9", lambda m: npy(described("[('a', [('b', [('c', '|O', (2,))])])]", "(1,)"), evil(m)), "numpy"),
        ("objects under a long header", "F9", lambda m: npy(obj + " " * 60_000, evil(m)), "numpy"),
        ("objects, header in another order", "F9", lambda m: npy("{'shape':(),'fortran_order':True,'descr':'O'}", evil(m)), "numpy"),
        ("plain pickle", "F9, F1", evil, "numpy"),
        (
            "pickle behind an array",
            "F9, F2",
            lambda m: npy(described("'|u1'", "(4,)"), bytes(4) + evil(m)),
            f"offset:{len(npy(described(chr(39) + '|u1' + chr(39), '(4,)'), bytes(4)))}",
        ),
        ("array, then objects", "F9, F2", lambda m: npy(described("'|u1'", "(4,)"), bytes(4)) + npy(obj, evil(m)), "numpy each"),
    ]
    for name, rules, make, reader in rows:
        verdicts = HOSTILE if name == "plain pickle" else UNREAD
        yield file(f"npy, {name}", rules, make, verdicts, reader, name="model.npy", needs=("numpy",) if reader.startswith("numpy") else ())
    members = ("a.npy", npy(described("'|u1'", "(4,)"), bytes(4)))
    yield file("npz, objects", "F9", lambda m: zipped(members, ("b.npy", npy(obj, evil(m)))), UNREAD, "numpy", name="model.npz", needs=("numpy",))
    yield file(
        "npz, deflated objects",
        "F9, F5",
        lambda m: zipped(members, ("b.npy", npy(obj, evil(m))), method=zipfile.ZIP_DEFLATED),
        UNREAD,
        "numpy",
        name="model.npz",
        needs=("numpy",),
    )
    yield file(
        "npz, objects without an extension",
        "F9, F1",
        lambda m: zipped(members, ("b", npy(obj, evil(m)))),
        UNREAD,
        "numpy",
        name="model.npz",
        needs=("numpy",),
    )
    yield file("npz, a pickle among the arrays", "F9, F5", lambda m: zipped(members, ("b.npy", evil(m))), HOSTILE, "zip", name="model.npz")
    for name, make in (
        ("header of 2**31 bytes", lambda m: npy(obj, evil(m), 2, 1 << 31)),
        ("header that is cut", lambda m: npy(obj, b"", 1)[:20]),
        ("header of nested brackets", lambda m: npy("(" * 50_000, b"", 1)),
        ("header with an expression", lambda m: npy(f"{{'descr': __import__('os').mkdir('{m}'), 'fortran_order': False, 'shape': ()}}", b"")),
        ("header of a long sum", lambda m: npy(described("'|u1'", "(" + "1+" * 20_000 + "1,)"), b"")),
        ("header that is no text", lambda m: npy(b"\xff\xfe{}", b"", 3)),
        ("shape of 2**60", lambda m: npy(described("'<f8'", f"({1 << 60},)"), b"x")),
        ("shape that overflows", lambda m: npy(described("'<f8'", f"({1 << 32}, {1 << 32})"), b"x")),
        ("version 9", lambda m: npy(obj, evil(m), 9)),
    ):
        yield file(f"npy, {name}", "F9, D2, F12", make, REFUSED, effect="none", name="model.npy")


# --- the rest: skops, names of files, polyglots, pickles in values ---------------------------------------------


def schema(content: dict[str, Any]) -> bytes:
    return zipped(("schema.json", json.dumps({"protocol": 2, "_skops_version": "0.13", **content}).encode()))


def rest() -> Iterator[Case]:
    node = {"__class__": "system", "__module__": "posix", "__loader__": "FunctionNode", "__id__": 1, "content": "system"}
    for name, content in (
        ("FunctionNode of os.system", node),
        ("MethodNode", {**node, "__loader__": "MethodNode", "content": {"func": "system", "obj": node}}),
        ("OperatorFuncNode", {**node, "__loader__": "OperatorFuncNode", "__class__": "methodcaller", "__module__": "builtins", "attrs": node}),
        ("ObjectNode with a reduce", {**node, "__loader__": "ObjectNode", "__class__": "Popen", "__module__": "subprocess", "content": None}),
    ):
        yield file(f"skops, {name}", "F1, F5, E.1", lambda m, c=content: schema(c), REFUSED, effect="none", name="model.skops")
    yield file(
        "skops, with a pickle beside the schema",
        "F1, F5",
        lambda m: zipped(("schema.json", b"{}"), ("1.bin", evil(m))),
        HOSTILE,
        "zip",
        name="model.skops",
    )

    for name in (
        "model.txt",
        "model",
        "MODEL.PKL",
        "model.pkl.png",
        ".model",
        "model.safetensors",
        "model.h5",
        "model.json",
        "README.md",
        "model.pkl ",
        "mo\u202ednm.lkp",
        "model\n.txt",
        "model.zip",
        "model.gz",
    ):
        rules = "F1 CVE-2025-10155, F13" if name in (".model", "mo\u202ednm.lkp") else "F1, F15" if "\n" in name else "F1 CVE-2025-10155"
        yield file(f"named {name!a}", rules, evil, HOSTILE, name=name)
    yield file("named model.txt, protocol 0", "F1", lambda m: text_evil(m) + b".", HOSTILE, name="model.txt")
    yield file("named model.csv, protocol 0, behind numbers", "F1, B10", lambda m: b"I1\n0I2\n0" + text_evil(m) + b".", HOSTILE, name="model.csv")

    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + bytes(17) + struct.pack(">I", 0) + b"IEND\xae\x42\x60\x82"
    head = b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
    for name, front, what in (
        ("a PNG", png, "model.png"),
        ("a JSON header, as of safetensors", struct.pack("<Q", len(head)) + head, "model.safetensors"),
        ("an HDF5 signature", b"\x89HDF\r\n\x1a\n" + bytes(88), "model.h5"),
        ("one zero", b"\0", "model.pkl"),
        ("512 zeros", bytes(512), "model.pkl"),
        ("a line break", b"\n", "model.pkl"),
        ("a byte order mark", b"\xef\xbb\xbf", "model.pkl"),
        ("a length", struct.pack("<I", 100), "model.pkl"),
        ("a line of text", b"# a model\n", "model.pkl"),
        ("4 KiB of noise", bytes((k * k * 31 + k) >> 3 & 0xFF for k in range(4096)), "model.bin"),
    ):
        yield file(f"behind {name}", "F3", lambda m, f=front: f + evil(m), UNREAD, f"offset:{len(front)}", name=what)
    yield file("MZ, as a program", "F3", lambda m: b"MZ" + bytes(62) + evil(m), UNREAD, "offset:64", name="model.exe")
    yield file("benign pickle, padding, hostile pickle", "F2, F3", lambda m: BENIGN + bytes(512 - len(BENIGN)) + evil(m), UNREAD, "offset:512")

    for name, what in (
        ("bytes", lambda m: {"model": evil(m)}),
        ("a byte array", lambda m: {"model": bytearray(evil(m))}),
        ("text", lambda m: {"model": evil(m).decode("latin-1")}),
        ("base64", lambda m: {"model": base64.b64encode(evil(m)).decode()}),
        ("hexadecimal digits", lambda m: {"model": evil(m).hex()}),
        ("numbers", lambda m: {"model": [[*evil(m)]]}),
        ("bytes in bytes", lambda m: {"model": program({"x": evil(m)})}),
    ):
        inside = "inside twice" if name == "bytes in bytes" else "inside"
        yield file(f"pickle in {name}", "F11 modelscan #267", lambda m, w=what: program(w(m)), REFUSED, inside)
    yield file(
        "pickle in an array of joblib",
        "F11, F8",
        lambda m: arrays(evil(m), 1),
        REFUSED,
        "inside joblib",
        name="model.joblib",
        needs=("joblib", "numpy"),
    )
    yield file(
        "pickle in an array of numpy",
        "F11, F9",
        lambda m: npy(described("'|u1'", f"({len(evil(m))},)"), evil(m)),
        REFUSED,
        "inside numpy",
        name="model.npy",
        needs=("numpy",),
    )
    yield file(
        "scikit-learn model with a pickle in its state",
        "F11",
        lambda m: program(New("sklearn.preprocessing._data:StandardScaler", state={"with_mean": evil(m)})),
        REFUSED,
        "inside state",
        needs=("sklearn",),
    )


CASES = (*zips(), *torch(), *compressed(), *joblib(), *numpy(), *rest())
