"""What the tests of the adapters share: the promises that every remote key keeps, and refusals that hold no secret."""

from __future__ import annotations

import copy
import hashlib
import pickle
import re
import socket
import subprocess
import sys
import threading
import time
import traceback
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import safepickle
from safepickle import AuthenticationError, Keyring, KeyringError, PublicKey, UnknownKeyError

DIGEST = hashlib.sha256(b"a header").digest()
OTHER_DIGEST = hashlib.sha256(b"another header").digest()


def refused(error: type[Exception], match: str, act: Callable[[], Any], *secrets: str) -> str:
    """Run it, and return the message of the error that it must raise: neither that nor the traceback holds a secret.

    A traceback shows the source of a test too, so the secrets are given by name and not as they are.
    """
    with pytest.raises(error, match=match) as caught:
        act()
    assert type(caught.value) is error
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert [secret for secret in secrets if secret in shown] == [], shown
    assert caught.value.__cause__ is None or isinstance(caught.value.__cause__, safepickle.SafePickleError)
    return str(caught.value)


def manual(language: str, holds: str) -> str:
    """Return the one code block of docs/remote-keys.md in this language that holds this text."""
    text = (Path(__file__).resolve().parent.parent / "docs" / "remote-keys.md").read_text("utf-8")
    (block,) = (each for each in re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE) if holds in each)
    return block


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


def check_key(key: Any, verifier: Any, other: Any, uri: str | None = None) -> bytes:
    """Check what each key that signs elsewhere promises. `verifier` only verifies, `other` is another key of the same kind. Returns a file of it."""
    value = {"weights": [1.5, 2.5], "name": "model"}
    signed = safepickle.dumps(value, key=key if uri is None else uri, context="iris/prod", serial=7)
    for trusted in (key, verifier, Keyring(verifier), Keyring(None, verifier), *([uri] if uri is not None else [])):
        assert safepickle.loads(signed, key=trusted, context="iris/prod", min_serial=7) == value
    assert isinstance(key, safepickle.Signer)
    assert isinstance(key, safepickle.Verifier)
    assert isinstance(verifier, safepickle.Verifier)
    assert not isinstance(verifier, safepickle.Signer)
    assert (key.suite, key.key_id) == (verifier.suite, verifier.key_id)
    assert key.key_id != other.key_id
    with pytest.raises(KeyringError, match=r"cannot sign|only verifies"):
        safepickle.dumps(value, key=verifier)
    with pytest.raises(UnknownKeyError, match=key.key_id):
        safepickle.loads(signed, key=other)
    for at in (len(signed) - 1, len(signed) // 2, 40):
        with pytest.raises(safepickle.SafePickleError):
            safepickle.loads(flipped(signed, at), key=verifier)
    signature = key.sign(DIGEST)
    key.verify(DIGEST, signature)
    verifier.verify(DIGEST, signature)
    for digest, bad in [
        (OTHER_DIGEST, signature),
        (DIGEST, flipped(signature, 0)),
        (DIGEST, flipped(signature, len(signature) - 1)),
        (DIGEST, signature[:-1]),
        (DIGEST, signature + b"\0"),
        (DIGEST, b""),
        (DIGEST, other.sign(DIGEST)),
    ]:
        for each in (key, verifier):
            with pytest.raises(AuthenticationError, match="does not hold"):
                each.verify(digest, bad)
    for length in (0, 31, 33):
        with pytest.raises(ValueError, match="32 bytes"):
            key.sign(bytes(length))
    check_not_pickled(key)
    if not isinstance(verifier, PublicKey):
        check_not_pickled(verifier)
    return signed


def check_not_pickled(key: Any) -> None:
    """A key in a pickle would end on another host, with whatever it can reach there."""
    for move in (pickle.dumps, copy.copy, copy.deepcopy, lambda each: safepickle.dumps([each], key=bytes(range(40)))):
        with pytest.raises(KeyringError, match="never pickled"):
            move(key)
    assert key.key_id in repr(key)


def check_threads(key: Any, verify: Callable[[bytes, bytes], None]) -> None:
    """Many threads sign with one key; each gets the signature of its own digest."""
    digests = [hashlib.sha256(bytes((number,))).digest() for number in range(24)]
    found: dict[bytes, bytes] = {}
    failures: list[BaseException] = []

    def work(mine: list[bytes]) -> None:
        try:
            for digest in mine:
                found[digest] = key.sign(digest)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(digests[number::6],)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert set(found) == set(digests)
    for digest, signature in found.items():
        verify(digest, signature)


# A script for a child: it opens the key of argv[1], signs, forks twice, and all three sign at the same time; each prints a line.
# The first signature of each child is made alone: SoftHSM 2.6 writes its token anew at a login, and other processes that read it then fail.
FORKING = """
import hashlib, os, sys
import safepickle
key = safepickle.keys.as_key(sys.argv[1])
verifier = key.public_key() if hasattr(key, "public_key") else key
def work(name, numbers):
    for number in numbers:
        digest = hashlib.sha256(f"{name} {number}".encode()).digest()
        verifier.verify(digest, key.sign(digest))
work("before", range(12))
children = []
ready, tell_ready = os.pipe()
go, tell_go = os.pipe()
for name in ("first", "second"):
    child = os.fork()
    if not child:
        try:
            os.close(tell_go)
            work(name, range(1))
            os.write(tell_ready, b"x")
            os.read(go, 1)
            work(name, range(1, 40))
            os.write(1, f"{name} signed\\n".encode())
        except BaseException as error:
            os.write(1, f"{name}: {type(error).__name__}: {error}\\n".encode())
            os.write(tell_ready, b"x")
        os._exit(0)
    children.append(child)
    os.read(ready, 1)
os.close(tell_go)
work("parent", range(40))
os.write(1, b"parent signed\\n")
for child in children:
    os.waitpid(child, 0)
work("after", range(2))
os.write(1, b"after signed\\n")
"""
FORKED = ["after signed", "first signed", "parent signed", "second signed"]


def check_fork(uri: str) -> None:
    """A process and the children of its fork sign with one key, none with what is the other's."""
    done = subprocess.run([sys.executable, "-c", FORKING, uri], capture_output=True, text=True, timeout=120)
    assert sorted(done.stdout.splitlines()) == FORKED, done.stdout + done.stderr


def free_port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return chosen.getsockname()[1]


def wait_for(url: str, alive: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until a server that this test started answers."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            if not alive():
                break
            time.sleep(0.1)
    pytest.fail(f"the server for {url} did not start")
