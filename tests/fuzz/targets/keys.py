"""Keys and keyrings. A text is refused with a `KeyringError` that holds nothing of a secret, or is a key that is written as the same text.

The first byte chooses: a key text or PEM, a key URI, a keyring file, or a genuine key with a few changes, of whose secret nothing may be said.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any
from unittest import mock

from make_vectors import BOTH_SEEDS, CURVE, EDWARDS, KEY, SECOND

from fuzz.feeding import Feed
from fuzz.watching import harmless
from safepickle import Keyring, KeyringError, PrivateKey, PublicKey, SecretKey, Trusted, keys, read_key
from safepickle.keys import HYBRID

MAX_LEN = 8192
_FOLDER = Path(tempfile.mkdtemp(prefix="safepickle-fuzz-"))
_FILE = _FOLDER / "keyring.toml"
_KEY_FILE = _FOLDER / "key"
BOTH = PrivateKey(HYBRID, BOTH_SEEDS)
GENUINE = (
    KEY.to_text(), EDWARDS.to_text(), CURVE.to_text(), BOTH.to_text(), EDWARDS.to_pem().decode(), CURVE.to_pem().decode(), BOTH.to_pem().decode(),
    EDWARDS.public_key().to_text(), CURVE.public_key().to_text(), BOTH.public_key().to_text(), EDWARDS.public_key().to_pem().decode(),
)  # fmt: skip
WINDOW = 10
KINDS = (SecretKey, PrivateKey, PublicKey)


def elsewhere(rest: str) -> Any:
    raise KeyringError("this target asks no key service, and loads no native library that a URI names")


# Otherwise an input could: with `pkcs11:` a URI says which library this process loads.
LOCAL = {**keys._READERS, **dict.fromkeys(("awskms", "pkcs11", "vault"), elsewhere)}


@contextlib.contextmanager
def local() -> Iterator[None]:
    with mock.patch.object(keys, "_READERS", LOCAL), mock.patch.dict(os.environ, {"FUZZ_KEY": KEY.to_text(), "FUZZ_PEM": EDWARDS.to_pem().decode()}):
        yield


def run(data: bytes) -> None:
    feed = Feed(data)
    with local():
        match feed.number() % 4:
            case 0:
                text(feed.rest())
            case 1:
                uri(feed.rest())
            case 2:
                keyring(feed.rest())
            case _:
                changed(feed)


def refused(call: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a call returns, or the refusal, which is that of keys."""
    try:
        with harmless():
            return call(*arguments)
    except KeyringError as error:
        return error


def text(data: bytes) -> Any:
    """A key text or PEM, by the reader of both and by each of its own."""
    found = refused(keys.parse_key, data, "the input")
    line = data.decode("utf-8", "surrogateescape")
    for kind in KINDS:
        same = refused(kind.from_text, line)
        if not isinstance(same, KeyringError):
            assert same.to_text() == line.strip(), "two texts for one key"
            assert same == found
    for pair in (PrivateKey, PublicKey):
        same = refused(pair.from_pem, data)
        if not isinstance(same, KeyringError):
            assert pair.from_pem(same.to_pem()) == same
            assert pair.from_text(same.to_text()) == same
            assert found == same or isinstance(found, KeyringError)
    if isinstance(found, KINDS):
        again = keys.parse_key(found.to_text().encode(), "its own text")
        assert again == found
        assert again.key_id == found.key_id
        assert repr(found).isprintable()
        usable(found)
    return found


def usable(key: Any) -> None:
    digest = bytes(range(32))
    ring = Keyring(key)
    signatures = None if isinstance(key, PublicKey) else refused(ring.sign, digest)
    if isinstance(signatures, tuple):
        assert ring.verify(digest, signatures) == (key.key_id,)


def uri(data: bytes) -> None:
    name = data.decode("utf-8", "surrogateescape").replace("@", str(_FOLDER))
    _KEY_FILE.write_text(EDWARDS.to_text(), "ascii")
    _KEY_FILE.chmod(0o600)
    found = refused(read_key, name)
    assert isinstance(found, (KeyringError, *KINDS))
    try:
        Trusted(KEY, uri=name)
    except KeyringError:
        return


def keyring(data: bytes) -> None:
    _FILE.write_bytes(data)
    _FILE.chmod(0o600)
    ring = refused(Keyring.read, _FILE)
    if isinstance(ring, KeyringError):
        return
    written = refused(ring.to_text)
    assert isinstance(written, str), f"a keyring that was read is not written: {written}"
    _FILE.write_text(written, "utf-8")
    again = Keyring.read(_FILE)
    # Members without a name get one when they are written.
    assert [(each.key, each.not_before, each.not_after, each.comment) for each in again.members] == [
        (each.key, each.not_before, each.not_after, each.comment) for each in ring.members
    ]
    assert again.denied_reasons == ring.denied_reasons
    assert again.to_text() == written, "a keyring file is written in two ways"


def changed(feed: Feed) -> None:
    """A genuine key, damaged: whatever is wrong with it, no message and no frame of ours has a part of its secret."""
    genuine = feed.one(GENUINE).encode()
    data = feed.edited(genuine)
    forbidden = windows(data)
    given = data.decode("utf-8", "surrogateescape")
    calls: list[Callable[[], Any]] = [
        lambda: keys.parse_key(data, "the input"),
        lambda: read_key(given),
        lambda: SecretKey.from_bytes(data),
        lambda: Keyring(KEY, denied=[given]),
    ]
    if data == genuine:
        # A name stands in the message, unless it looks like a key: what is left of a damaged one may not.
        calls += [lambda: read_key("env:" + given), lambda: read_key("file:" + given), lambda: Trusted(KEY, name=given)]
    for call in calls:
        error = refused(call)
        if isinstance(error, KeyringError):
            told = "".join(traceback.format_exception(error)) + repr(error.args)
            # The lines of this file show the call, not its argument.
            assert not any(window in told for window in forbidden), f"a message holds a part of a secret: {told[-300:]}"
    error = refused(keys.parse_key, data, "the input")
    if isinstance(error, KeyringError) and forbidden:
        assert not any(window in frame for frame in frames(error.__traceback__) for window in forbidden), "a frame holds a part of a secret"
    text(data)


def windows(data: bytes) -> list[str]:
    """Return the stretches of a secret that no message may hold; nothing of a public key is one."""
    if b"PUBLIC" in data or b"spkpub" in data:
        return []
    told = data.decode("latin-1")
    return [window for window in SECRET if window in told]


def stretches() -> Iterator[str]:
    for key in (KEY, SECOND, EDWARDS, CURVE, BOTH):
        yield key.to_text().rpartition("_")[2]
        for block in key.to_pem().decode().split("-----BEGIN ")[1:] if isinstance(key, PrivateKey) else ():
            first, *more = [line for line in block.splitlines()[1:] if not line.startswith("-----")]
            # What every PEM of a kind begins with is no secret.
            yield from (first[30:], *more)


SECRET = sorted({each[at : at + WINDOW] for each in stretches() for at in range(len(each) - WINDOW + 1)})


def frames(step: TracebackType | None) -> Iterator[str]:
    while step is not None:
        if f"{os.sep}safepickle{os.sep}" in step.tb_frame.f_code.co_filename and step.tb_frame.f_globals.get("__name__", "").startswith(
            "safepickle."
        ):
            yield repr(step.tb_frame.f_locals)
        step = step.tb_next


RING = f"""keyring = 1
primary = "trainer"

[[key]]
name = "trainer"
uri = "env:FUZZ_KEY"
not_before = 2024-01-01T00:00:00Z

[[key]]
name = "serving 2"
public = "{EDWARDS.public_key().to_text()}"
not_after = 2124-01-01T00:00:00+02:00
comment = "é"

[[denied]]
key_id = "{SECOND.key_id}"
reason = "leaked"
"""


def seeds() -> Iterator[bytes]:
    for each in (*GENUINE, SECOND.to_text()):
        yield b"\0" + each.encode()
    for pem in (EDWARDS.to_pem(b"password"), CURVE.public_key().to_pem()):
        yield b"\0" + pem
    for name in (
        "env:FUZZ_KEY",
        "env:FUZZ_PEM",
        "env:",
        "file:@/key",
        "file:/nowhere",
        "pkcs11:object=x",
        "awskms:alias/x",
        "x",
        "env:A\0B",
        "\udce9",
    ):
        yield b"\1" + name.encode("utf-8", "surrogateescape")
    yield b"\2" + RING.encode()
    yield b"\2" + RING.replace('primary = "trainer"', "").replace('name = "trainer"', "").encode()
    yield b"\2" + b'keyring = 1\n[[key]]\npublic = "%s"\n' % CURVE.public_key().to_text().encode()
    for number in range(len(GENUINE)):
        for edits in (b"", b"\1\x20\0\0\1", b"\2\x30\0\1\0\x10\0\1\4"):
            yield bytes((3, number)) + edits
