"""Files that nobody signed. A scan always ends in a report, does nothing, and misses nothing that the readers of the standard library see.

- What zipfile, tarfile, gzip, bz2, lzma and zlib read out of the bytes, `archives.unpack` has too, or it says that something is wrong.
- A file with a clean verdict calls nothing outside the policy when it, or what is in it, is unpickled: tried with stand-ins that do nothing.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import importlib
import io
import json
import lzma
import pickle
import struct
import sys
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator

import differential
from hostile import files

from fuzz import programs
from fuzz.mutating import Bytewise, Mutator, with_checksums
from fuzz.watching import harmless, importing_nothing
from safepickle import Limits, Policy, SafePickleError, adopt, archives, scan
from safepickle.errors import LimitError
from safepickle.findings import VERDICTS

MAX_LEN = 8192
LIMITS = Limits(expansion=20, members=200, archive_depth=4, program_bytes=1 << 22, operation_bytes=1 << 20, objects=20_000, nesting=200)
# Few rules, since each scan goes over all of them.
POLICY = Policy({}, {}).with_packs("python", "numpy")
CLEAN = VERDICTS[:3]
# What the readers of the standard library may take out, and how often one is followed into what another took out.
MOST_BYTES, MOST_DEPTH = 1 << 20, 2

# Imported when they are first needed, as they should be; here beforehand.
for _library in ("lz4.frame", "backports.zstd", "numpy"):
    with contextlib.suppress(ImportError):
        importlib.import_module(_library)
warnings.simplefilter("ignore")


def run(data: bytes) -> None:
    with harmless(), importing_nothing():
        report = scan(io.BytesIO(data), policy=POLICY, limits=LIMITS)
    assert report.verdict in VERDICTS
    assert report.clean == (report.verdict in CLEAN), f"{report.verdict} with {len(report.findings)} findings"
    assert report.size == len(data)
    json.dumps(report.as_dict())
    for each in report.findings:
        assert each.verdict in VERDICTS[3:]
        assert each.offset is None or each.offset >= 0
        assert each.message.isprintable() or "\n" in each.message, f"a finding says {each.message!r}"
    assert all(0 <= each.offset < each.end for each in report.programs)
    if report.verdict == "within policy":
        adopted(data)
    taken_out(data)
    if report.clean:
        calls_nothing(data, report.verdict, 0)


def adopted(data: bytes) -> None:
    """What is within the policy is not refused for what it does, if it is of a kind that is adopted at all."""
    try:
        with harmless():
            adopt(io.BytesIO(data), policy=POLICY, limits=LIMITS)
    except SafePickleError as error:
        refusals = getattr(error, "refusals", ())
    else:
        refusals = ()
    assert not refusals, f"within the policy, and refused: {refusals}"


# --- what other readers see -----------------------------------------------------------------------------------------


def bounded(make: Callable[[], object]) -> Callable[[bytes], list[bytes]]:
    """Return a reader of a compressed stream, at whose end nothing may follow but another one."""

    def read(data: bytes) -> list[bytes]:
        out = b""
        while data:
            decoder = make()
            out += decoder.decompress(data, MOST_BYTES)  # type: ignore[attr-defined]
            if not decoder.eof or len(out) >= MOST_BYTES:  # type: ignore[attr-defined]
                raise ValueError
            data = decoder.unused_data  # type: ignore[attr-defined]
        return [out]

    return read


def gunzipped(data: bytes) -> list[bytes]:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        out = file.read(MOST_BYTES)
        if file.read(1):
            raise ValueError
    return [out]


def unzipped(data: bytes) -> list[bytes]:
    found = []
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for each in archive.infolist()[:20]:
            with contextlib.suppress(*FAULTS), archive.open(each) as member:
                content = member.read(MOST_BYTES)
                if not member.read(1):
                    found.append(content)
    return found


def untarred(data: bytes) -> list[bytes]:
    found = []
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for each in archive:
            member = archive.extractfile(each) if each.isreg() and not each.issparse() else None
            if member is not None and each.size < MOST_BYTES:
                content = member.read()
                if len(content) == each.size:
                    found.append(content)
    return found


FAULTS = (
    OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError, NotImplementedError, RuntimeError, KeyError,
    OverflowError, IndexError, MemoryError, struct.error,
)  # fmt: skip
READERS: dict[str, Callable[[bytes], list[bytes]]] = {
    "gzip": gunzipped,
    "bz2": bounded(bz2.BZ2Decompressor),
    "lzma": bounded(lzma.LZMADecompressor),
    "zlib": bounded(zlib.decompressobj),
    "zip": unzipped,
    "tar": untarred,
}


def seen(data: bytes) -> dict[str, list[bytes]]:
    """Return what other readers take out, those that read the bytes at all."""
    found = {}
    for name, read in READERS.items():
        try:
            found[name] = [each for each in read(data) if each]
        except FAULTS:
            continue
    return {name: contents for name, contents in found.items() if contents}


def taken_out(data: bytes) -> None:
    others = seen(data)
    if not others:
        return
    try:
        readings = archives.unpack(data, archives.Budget(LIMITS, len(data)))
    except LimitError:
        return
    if any(each.faults for each in readings):
        return
    members = {member.data for each in readings for member in each.members}
    joined = {b"".join(member.data for member in each.members) for each in readings}
    for name, contents in others.items():
        for content in contents:
            assert content in members | joined, f"{name} reads {len(content)} bytes, {content[:40]!r}, and unpack does not: {readings!r:.300}"


def calls_nothing(data: bytes, verdict: str, depth: int) -> None:
    """Unpickle the bytes, and what others take out of them, with stand-ins: nothing is called that the policy does not have."""
    log = differential.Log()
    loader = differential.UNPICKLERS["Python"](io.BytesIO(data))
    loader.log = log
    with contextlib.suppress(Exception):
        loader.load()
    for kind, *parts in log.deeds:
        if kind in ("call", "new") and isinstance(parts[0], differential.Kind) and len(parts[0].key) == 2:
            name = mapped(parts[0].key)
            if not is_real(name):
                continue
            assert POLICY.canonical(name) in POLICY.rules or name in TRANSLATED, f"verdict {verdict!r}, and {name} is called"
    if depth < MOST_DEPTH:
        for contents in seen(data).values():
            for content in contents:
                calls_nothing(content, verdict, depth + 1)


def is_real(name: tuple[str, str]) -> bool:
    """Tell whether there may be such a name: a scan passes by what looks like a program by chance, and calls what cannot be."""
    return name[0].partition(".")[0] in sys.stdlib_module_names and all(part.isidentifier() for part in name[1].split("."))


def mapped(key: tuple[str, ...]) -> tuple[str, str]:
    from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

    module, name = key
    return NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))


# What `translating` takes for something else, exactly where a pickler writes it.
TRANSLATED = {
    ("copyreg", "_reconstructor"), ("_codecs", "encode"), ("joblib.numpy_pickle", "NumpyArrayWrapper"),
    *(("builtins", each) for each in ("bytes", "bytearray", "set", "frozenset", "getattr")),
}  # fmt: skip


def seeds() -> Iterator[bytes]:
    cases = sorted({case.make(programs.MARKER) for case in files.CASES if "bomb" not in case.id}, key=lambda data: (len(data), data))
    yield from (data for data in cases if len(data) < 3000)
    plain = [*programs.legacy()]
    yield from plain[:40:3]
    good = pickle.dumps({"a": [1, 2.5]}, 2)
    for data in (good, b"text\n" * 3, bytes(64)):
        yield from (
            gzip.compress(data, mtime=0),
            bz2.compress(data),
            lzma.compress(data),
            lzma.compress(data, lzma.FORMAT_ALONE),
            zlib.compress(data),
        )
        yield gzip.compress(data, mtime=0) * 2
        yield files.zipped(("a.pkl", data), ("b", b"x"))
        yield files.zipped(("a.pkl", data), method=zipfile.ZIP_DEFLATED, comment=b"comment")
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            info = tarfile.TarInfo("a.pkl")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        yield out.getvalue().rstrip(b"\0") + bytes(1024)
    with contextlib.suppress(ImportError):
        import lz4.frame

        yield lz4.frame.compress(good)
    with contextlib.suppress(ImportError):
        from backports import zstd

        yield zstd.compress(good)
    yield from tars(good)
    yield from sevens(good)
    import numpy

    for array in (numpy.arange(3), numpy.array([1, None], object)):
        out = io.BytesIO()
        numpy.save(out, array)
        yield out.getvalue()
        out = io.BytesIO()
        numpy.savez(out, a=array)
        yield out.getvalue()


def tars(content: bytes) -> Iterator[bytes]:
    for form, name in ((tarfile.PAX_FORMAT, "é" * 120), (tarfile.GNU_FORMAT, "x" * 120), (tarfile.USTAR_FORMAT, "a/" * 60 + "b")):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=form) as archive:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.pax_headers = {"size": str(len(content)), "GNU.sparse.major": "1"} if form == tarfile.PAX_FORMAT else {}
            archive.addfile(info, io.BytesIO(content))
            link = tarfile.TarInfo("link")
            link.type, link.linkname = tarfile.SYMTYPE, "y" * (90 if form == tarfile.USTAR_FORMAT else 110)
            archive.addfile(link)
        yield out.getvalue().rstrip(b"\0") + bytes(1024)


def sevens(content: bytes) -> Iterator[bytes]:
    import py7zr

    for method in ("COPY", "LZMA", "LZMA2", "BZIP2", "DEFLATE", "ZSTD", "DELTA", "X86"):
        chain = [{"id": getattr(py7zr, f"FILTER_{'ZSTD' if method == 'ZSTD' else method}")}]
        chain += [{"id": py7zr.FILTER_LZMA2}] if method in ("DELTA", "X86") else []
        for coded in (False, True):
            out = io.BytesIO()
            with contextlib.suppress(Exception):
                with py7zr.SevenZipFile(out, "w", filters=chain) as packed:
                    packed.set_encoded_header_mode(coded)
                    packed.writestr(content, "a.pkl")
                    packed.writestr(b"", "empty")
                    packed.writestr(b"text", "b")
                yield out.getvalue()


def mutator(bytewise: Bytewise) -> Mutator:
    return with_checksums(bytewise)
