"""Stand-ins for `scan` and `adopt`, for tests of what is done with their answers: they know a pickle by its first byte.

What they say of real files is tested where they are.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import pickletools
from typing import Any

import pytest

from safepickle import adopting, container, errors, scanning
from safepickle.scanning import Finding, Program, Report


def read(file: Any) -> bytes:
    if isinstance(file, (str, os.PathLike)):
        with open(file, "rb") as opened:
            return opened.read()
    return file.read()


def scan(file: Any, *, policy: Any = None, allow: Any = (), limits: Any = None) -> Report:
    data = read(file)
    if data.startswith(b"CRASH"):
        raise RuntimeError("a bug of the scanner")
    size, digest = len(data), hashlib.sha256(data).hexdigest()
    if data.startswith(container.MAGIC):
        return Report("signed", "safepickle container", size, digest, (), ())
    if not data.startswith(b"\x80"):
        return Report("not a pickle", "unknown", size, digest, (), ())
    kind = "joblib" if b"NumpyArrayWrapper" in data else "pickle"
    program = Program("", 0, size, 4, kind, (), "within policy")
    if b"NumpyArrayWrapper" not in data:
        try:
            list(pickletools.genops(io.BytesIO(data)))
        except ValueError as error:
            finding = Finding("unreadable", "broken-program", "", size, str(error))
            return Report("unreadable", "pickle", size, digest, (finding,), (program,))
    if b"system" in data:
        finding = Finding("hostile", "hostile-name", "", 2, "os:system runs a command", "os:system", "GHSA-655q-fx9r-782v")
        return Report("hostile", "pickle, protocol 4", size, digest, (finding,), (program,))
    return Report("within policy", f"{kind}, protocol 4", size, digest, (), (program,))


def adopt(file: Any, *, policy: Any = None, allow: Any = (), limits: Any = None) -> Any:
    data = read(file)
    if b"unadoptable" in data:
        raise errors.StateError("$.tree_: a child is out of range")
    if b"NumpyArrayWrapper" in data:
        import joblib

        return joblib.load(io.BytesIO(data))
    return pickle.loads(data)


@pytest.fixture
def pretend(monkeypatch):
    monkeypatch.setattr(scanning, "scan", scan)
    monkeypatch.setattr(adopting, "adopt", adopt)
