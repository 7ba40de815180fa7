"""The other files that people keep: lock, baseline, pins, and `[tool.safepickle]`. Refused with a `FormatError`, or written as what reads the same.

The first byte chooses which.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fuzz.watching import harmless
from safepickle import FormatError, Pins
from safepickle.baseline import Accepted, Baseline
from safepickle.configuring import Config
from safepickle.lockfile import Entry, Lock
from safepickle.pins import Pin

MAX_LEN = 4096
FILES = (Lock, Baseline, Pins, Config)
_FILE = Path(tempfile.mkdtemp(prefix="safepickle-fuzz-")) / "pyproject.toml"
DIGEST = hashlib.sha256(b"").hexdigest()


def run(data: bytes) -> None:
    if not data:
        return
    kind: Any = FILES[data[0] % len(FILES)]
    _FILE.write_bytes(data[1:])
    _FILE.chmod(0o600)
    try:
        with harmless():
            found = kind.read(_FILE)
    except FormatError:
        return
    if kind is Config:
        configured(found)
        return
    written = found.to_text()
    _FILE.write_text(written, "utf-8")
    again = kind.read(_FILE)
    assert again == found, "what was written reads as something else"
    assert again.to_text() == written


def configured(found: Config) -> None:
    assert found.folder == str(_FILE.parent)
    for path in (*found.paths, *(each for each in (found.policy, found.lock, found.baseline) if each is not None)):
        assert os.path.isabs(path)
    for uri in found.keys:
        assert uri.partition(":")[0] in {"env", "file", "keyring", "awskms", "vault"}, "a file of a checkout says which native library is loaded"
    assert found.min_serial is None or found.min_serial >= 0
    assert found.threshold is None or found.threshold >= 1


CONFIG = """[project]
name = "x"
description = '''
several lines'''

[tool.safepickle]
paths = ["models"]
exclude = ["*.tmp"]
policy = "policy.toml"
packs = ["xgboost"]
allow = ["mycorp.features:Clip"]
keys = ["env:KEY", "file:trainer.pub", "keyring:ring.toml", "vault:x", "awskms:y"]
context-from-path = "{name}/prod"
min-serial = 1
threshold = 2
require-signed = true
lock = "safepickle.lock"
baseline = "baseline.json"
"""


def seeds() -> Iterator[bytes]:
    lock = Lock({"a/b.spkl": Entry(DIGEST, 3, ("0" * 16, "1" * 16), "é/prod", 7), "c": Entry(DIGEST, 0, ("f" * 16,))})
    yield b"\0" + lock.to_text().encode()
    yield b"\0" + Lock().to_text().encode()
    yield b"\1" + Baseline(frozenset({Accepted("a/é.pkl", "hostile-name", DIGEST, DIGEST, "message")})).to_text().encode()
    yield b"\1" + Baseline().to_text().encode()
    yield b"\2" + Pins({"é/prod": Pin(7), "x": Pin(1, DIGEST), "y": Pin(None, DIGEST)}).to_text().encode()
    yield b"\2pins = 1\n"
    yield b"\3" + CONFIG.encode()
    for line in CONFIG.splitlines()[6:]:
        yield b"\3[tool.safepickle]\n" + line.encode()
    yield from (b"\3", b"\3[tool]\nsafepickle = 1\n", b"\0lock = 1", b"\1[]", b"\2\xff")
