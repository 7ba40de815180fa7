"""`scan`: every kind of file gets its verdict, with what, where and at which byte; honest files are no findings, and nothing is passed over."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import random
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib

import joblib
import numpy as np
import pytest
from assembler import op

import safepickle
from safepickle import Limits, PolicyError, scan, scanning
from safepickle.scanning import VERDICTS, explained

SYSTEM = b"cos\nsystem\n(S'true'\ntR."
PROTO4 = b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R."


def scanned(data: bytes, **options):
    return scan(io.BytesIO(data), **options)


def rules(report) -> set[str]:
    return {each.rule for each in report.findings}


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return file.getvalue()


def tarred(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def npy(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def dumped(value, compress=0) -> bytes:
    file = io.BytesIO()
    joblib.dump(value, file, compress=compress)
    return file.getvalue()


def named(value) -> str:
    """Return an id that is the same in every process, which archives with a date in them are not."""
    return value if isinstance(value, str) else "file"


# --- hostile, and where -----------------------------------------------------------------------------------------------

HIDING = {
    "bare": (SYSTEM, "", 0),
    "protocol 4": (PROTO4, "", 14),
    "second in a row": (pickle.dumps([1]) + SYSTEM, "", len(pickle.dumps([1]))),
    "behind noise": (b"\x01" * 100 + SYSTEM, "", 100),
    "in bytes": (pickle.dumps([SYSTEM], 4), None, 0),
    "in text": (pickle.dumps([SYSTEM.decode()], 4), None, 0),
    "in base64": (pickle.dumps([base64.b64encode(PROTO4).decode()], 4), None, 14),
    "in hexadecimal": (pickle.dumps([PROTO4.hex()], 4), None, 14),
    "in a list of numbers": (pickle.dumps(list(PROTO4), 4), None, 14),
    "in wide numbers": (npy(np.frombuffer(PROTO4, "u1").astype("i8")), None, 14),
    "gzip": (gzip.compress(SYSTEM), "!gzip", 0),
    "bz2": (bz2.compress(SYSTEM), "!bz2", 0),
    "xz": (lzma.compress(SYSTEM), "!xz", 0),
    "zlib": (zlib.compress(SYSTEM), "!zlib", 0),
    "twice": (gzip.compress(bz2.compress(SYSTEM)), "!gzip!bz2", 0),
    "zip": (zipped(archive__data=SYSTEM), "!archive/data", 0),
    "tar in gzip": (gzip.compress(tarred("a.txt", SYSTEM)), "!gzip!a.txt", 0),
    "npy of objects": (npy(np.array([1, None], object)).replace(pickle.dumps(np.array([1, None], object), 4), b"") + SYSTEM, None, None),
    "broken off": (SYSTEM[:-1], "", 0),
}


@pytest.mark.parametrize("name", HIDING)
def test_a_hostile_program_is_found_wherever_it_is(name):
    data, where, offset = HIDING[name]
    report = scanned(data)
    assert report.verdict == "hostile"
    assert not report.clean
    found = [each for each in report.findings if each.rule == "hostile-name"]
    assert {each.name for each in found} == {"os:system"}
    assert where is None or [(each.where, each.offset) for each in found] == [(where, offset)]
    assert found[0].message == "os:system runs a shell command"
    json.dumps(report.as_dict())


@pytest.mark.parametrize(
    ("data", "verdict", "rule"),
    [
        (b"\x80\x02cmycorp\nClip\n)\x81.", "outside policy", "outside-policy"),
        (b"\x80\x04cthis\ns\n0N.", "outside policy", "outside-policy"),
        (b"\x80\x04]\x8c\x02os\x93.", "unreadable", "broken-program"),
        (b"\x80\x02U\x01a" + op("BINPERSID", b"") + b".", "outside policy", "persistent-id"),
        (b"\x80\x02\x82\x05.", "outside policy", "extension-code"),
        (b"\x80\x04K\x01K\x02.", "outside policy", "not-as-written"),
        (b"\x80\x05\x95\x01\x00\x00\x00\x00\x00\x00\x00K\x01\x85.", "outside policy", "not-as-written"),
        (b"\x80\x02N\x80\x03.", "outside policy", "not-as-written"),
        (b"\x80\x04Nr\xff\xff\xff\x7f.", "unreadable", "limit"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x00.", "unreadable", "broken-program"),
        (b"\x80\x02]", "unreadable", "broken-program"),
        (pickle.dumps([1]) + b"\x00" * 9, "unreadable", "trailing-data"),
        (gzip.compress(pickle.dumps([1]))[:-3], "unreadable", "archive"),
        (gzip.compress(pickle.dumps([1])) + b"tail", "unreadable", "trailing-data"),
        (npy(np.arange(4))[:-1], "unreadable", "archive"),
        (b"\x93NUMPY\x01\x00\x10\x00{'descr':[0]*9**9}", "unreadable", "archive"),
        (b"Rar!\x1a\x07\x01\x00" + bytes(40), "unreadable", "cannot-open"),
        (zipped(**{"schema.json": b'{"__module__": "os", "__class__": "system"}'}), "hostile", "hostile-name"),
        (zipped(**{"schema.json": b'{"content": [{"__module__": "mycorp", "__class__": "Clip"}]}'}), "outside policy", "outside-policy"),
        (zipped(**{"model.pkl": b"nothing that is known"}), "unreadable", "unknown-content"),
    ],
    ids=named,
)
def test_what_is_not_clean_says_why(data, verdict, rule):
    report = scanned(data)
    assert (report.verdict, rule in rules(report)) == (verdict, True), report
    assert all(each.message for each in report.findings)


def test_a_name_that_is_computed_is_outside_the_policy():
    program = b"\x80\x04\x8c\x02os\x8c\x04path\x93\x8c\x01x\x93."
    assert "computed-name" in rules(scanned(program))


# --- clean ------------------------------------------------------------------------------------------------------------

CLEAN = {
    "nothing": (b"", "not a pickle"),
    "text": (b"Introduction\n============\n\nI was here. N.B. nothing else\n", "not a pickle"),
    "requirements": (b"click\nflask\nnumpy>=2\n", "not a pickle"),
    "columns": (b"a,b,c\n1,2,3\n" * 100, "not a pickle"),
    "json": (json.dumps({"a": [1, 2], "path": "os\nsystem\n"}).encode(), "not a pickle"),
    "source": (b"#!/usr/bin/env python\nimport os\nos.system('true')\n", "not a pickle"),
    "one letter": (b"N", "not a pickle"),
    "noise": (random.Random(0).randbytes(3_000_000), "not a pickle"),
    "zeros": (bytes(1_000_000), "not a pickle"),
    "image": (b"\x89PNG\r\n\x1a\n" + random.Random(1).randbytes(100_000), "not a pickle"),
    "floats": (npy(np.random.default_rng(0).normal(size=200_000)), "not a pickle"),
    "structured floats": (npy(np.zeros(3, [("a", "f8"), ("O", "i4")])), "not a pickle"),
    "npz": (zipped(**{"a.npy": npy(np.arange(3)), "b.npy": npy(np.eye(2))}), "not a pickle"),
    "wheel": (zipped(pkg__mod=b"import os\n", pkg__RECORD=b"a,b,c\n"), "not a pickle"),
    "source tree": (gzip.compress(tarred("setup.py", b"from setuptools import setup\nsetup()\n")), "not a pickle"),
    "plain pickle": (pickle.dumps({"a": [1, 2.5, "text", b"bytes", None]}), "within policy"),
    "protocol 0": (pickle.dumps({"a": [1, 2.5, "text", None]}, 0), "within policy"),
    "two pickles": (pickle.dumps([1]) + pickle.dumps({2: 3}, 2), "within policy"),
    "pickle in a pickle": (pickle.dumps([pickle.dumps([1, {2: 3}])]), "within policy"),
    "object array": (npy(np.array([1, "a", None], object)), "within policy"),
    "arrays in joblib": (dumped([np.random.default_rng(0).normal(size=10_000), np.array([1, "a"], object)]), "within policy"),
    "words": (dumped({"vocabulary_": {"gASVdGhpcyBpcyBub3Q=": 1, "8004950000000000": 2, "cos": 3, "import os": 4}}, 3), "within policy"),
}


@pytest.mark.parametrize("name", CLEAN)
def test_an_honest_file_is_no_finding(name):
    data, verdict = CLEAN[name]
    report = scanned(data)
    assert (report.verdict, report.findings) == (verdict, ())
    assert report.clean
    assert report.size == len(data)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (pickle.dumps([1]), "pickle"),
        (dumped([np.arange(3)]), "joblib"),
        (dumped([np.arange(3)], 3), "joblib, zlib-compressed"),
        (gzip.compress(bz2.compress(pickle.dumps([1]))), "pickle, bz2-compressed, gzip-compressed"),
        (npy(np.arange(3)), "npy"),
        (zipped(a=b"1"), "zip"),
        (b"", "empty"),
        (b"hello", "unknown"),
    ],
    ids=named,
)
def test_the_report_says_what_the_file_is(data, kind):
    assert scanned(data).format == kind


def test_a_program_is_reported_with_its_names_and_its_place():
    data = pickle.dumps([1], 2) + pickle.dumps(np.float64(1.5), 2)
    first, second = scanned(data).programs
    assert (first.offset, first.end, first.protocol, first.kind, first.names) == (0, len(pickle.dumps([1], 2)), 2, "pickle", ())
    assert (second.offset, second.end) == (first.end, len(data))
    assert second.names == ("numpy._core.multiarray:scalar", "numpy:dtype", "_codecs:encode") or "numpy:dtype" in second.names


# --- containers of our own --------------------------------------------------------------------------------------------


def test_a_signed_file_is_signed_only_if_its_program_is_within_the_policy(key):
    from safepickle import container
    from safepickle.keyring import as_keyring

    def sealed(program: bytes) -> bytes:
        return b"".join(container.seal(program, [], as_keyring(key)))

    assert scanned(safepickle.dumps([1], key=key)).verdict == "signed"
    hostile = scanned(sealed(b"\x80\x05\x95\x17\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93\x94\x8c\x04true\x94\x85\x94R\x94."))
    assert hostile.verdict == "hostile"
    assert scanned(sealed(b"not a program")).verdict == "outside policy"
    data = bytearray(safepickle.dumps([1], key=key))
    data[-2] ^= 1
    assert (scanned(bytes(data)).verdict, rules(scanned(bytes(data)))) == ("unreadable", {"container"})
    assert scanned(bytes(data[:20])).verdict == "unreadable"


# --- the call itself --------------------------------------------------------------------------------------------------


def test_a_path_a_file_and_a_pipe_are_read_alike(tmp_path):
    path = tmp_path / "evil.bin"
    path.write_bytes(SYSTEM)
    read, write = os.pipe()
    os.write(write, SYSTEM)
    os.close(write)
    with open(path, "rb") as opened, os.fdopen(read, "rb") as pipe:
        reports = [scan(path), scan(str(path)), scan(opened), scan(pipe), scanned(SYSTEM)]
    assert {each.verdict for each in reports} == {"hostile"}
    assert len({each.sha256 for each in reports}) == 1


def test_a_model_that_is_none_is_told_by_its_name(tmp_path):
    path = tmp_path / "model.PKL"
    path.write_bytes(b"<html>an error page</html>")
    assert rules(scan(path)) == {"unknown-content"}
    path.rename(tmp_path / "page.html")
    assert scan(tmp_path / "page.html").clean


def test_policy_and_allow_are_those_of_load(tmp_path):
    import mycorp

    data = pickle.dumps(mycorp.Clip())
    assert scanned(data).verdict == "outside policy"
    assert scanned(data, allow=[mycorp.Clip]).verdict == "within policy"
    with pytest.raises(PolicyError, match="cannot be allowed"):
        scanned(data, allow=["os:system"])


def test_limits_are_findings():
    for limits in (Limits(body_bytes=5), Limits(objects=1), Limits(operation_bytes=3), Limits(name_length=1)):
        report = scanned(pickle.dumps([[1], np.float64(2)], 2), limits=limits)
        assert (report.verdict, rules(report)) == ("unreadable", {"limit"}), limits
    nested = SYSTEM
    for _ in range(12):
        nested = gzip.compress(nested)
    assert rules(scanned(nested)) == {"limit"}


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04" * 300_000,
        b"cos\nsystem\n" * 100_000,
        b"\x80\x02cos\nsystem\n" * 60_000,
        b"\x80\x02)" * 200_000,
        b"(" * 1_000_000 + b".",
        pickle.dumps([b"\x80\x02cos\nsystem\n"] * 20_000),
        struct.pack("<Q", 0x0500800004008000) * 100_000,
        b"gASV" * 200_000,
        b"80029" * 200_000,
    ],
    ids=["PROTO", "names", "programs", "tuples", "marks", "programs in bytes", "wide", "base64", "hexadecimal"],
)
def test_many_beginnings_cost_time_in_proportion(data):
    """A child with little memory and time: what would be quadratic does not come to an end there."""
    code = "import io, sys, resource; resource.setrlimit(resource.RLIMIT_CPU, (40, 40)); import safepickle\n"
    code += "print(safepickle.scan(io.BytesIO(sys.stdin.buffer.read())).verdict)"
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, timeout=120, check=True)
    assert done.stdout.decode().strip() in VERDICTS


def test_a_bug_of_ours_is_a_finding(monkeypatch):
    def broken(*arguments, **options):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(scanning, "translate", broken)
    report = scanned(b"N.")
    assert report.verdict == "unreadable"
    assert "ZeroDivisionError" in report.findings[0].message


def test_nothing_that_a_file_names_is_imported():
    names = ["this", "antigravity", "xmlrpc.server", "sklearn.ensemble", "numpy", "pandas", "turtle"]
    programs = b"".join(b"\x80\x02c" + name.encode() + b"\nx\n." for name in names)
    code = f"import io, sys, safepickle\nreport = safepickle.scan(io.BytesIO({programs!r}))\nassert len(report.programs) == {len(names)}\n"
    code += f"assert not {set(names)!r} & set(sys.modules), sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_explained_tells_the_steps_of_every_program():
    text = "\n".join(explained(io.BytesIO(gzip.compress(pickle.dumps([1]) + SYSTEM))))
    assert "os:system" in text
    assert text.count("Program at byte") == 2
    assert "no pickle program" in "\n".join(explained(io.BytesIO(b"hello")))
