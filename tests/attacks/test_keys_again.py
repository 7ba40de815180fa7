"""Attempts on keys, keyrings, pins, bundles and remote keys, a second time: what was found and mended, and what held."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import json
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from optional import NEEDS_MLDSA

from safepickle import (
    AuthenticationError,
    FormatError,
    Keyring,
    KeyringError,
    Pin,
    Pins,
    PrivateKey,
    PublicKey,
    SafePickleError,
    SecretKey,
    Signature,
    Trusted,
    UnknownKeyError,
    cli,
    container,
    inspect,
    openssf,
    read_key,
    resign,
    sign,
    verify,
)
from safepickle.commands import reviewing
from safepickle.integrations import remote, vault
from safepickle.keys import ECDSA_P256, ED25519, HMAC_SHA256, HYBRID, _from_text, _to_text, as_key, parse_key

TRAINER, APPROVER, THIEF = (PrivateKey.generate() for _ in range(3))
CURVE = PrivateKey.generate(ECDSA_P256)
DIGEST = hashlib.sha256(b"a header").digest()
NOW = datetime.now(UTC)
DAY = timedelta(days=1)

posix = pytest.mark.skipif(os.name != "posix", reason="modes, owners, links and descriptors are those of POSIX")
root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")


def put(path: Path, *keys: Any, serial: int = 1, more: tuple[Signature, ...] = ()) -> Path:
    """Write a container over `None`, signed by those keys; `more` are entries as they are."""
    raw = bytes(container.seal(b"\x80\x05N.", [], Keyring(keys[0]), context="a/b", serial=serial)[2])
    signatures = [each for key in keys for each in Keyring(key).sign(hashlib.sha256(raw).digest())]
    path.write_bytes(b"".join(container._front(raw, [*signatures, *more])) + b"\x80\x05N.")
    return path


def private_file(path: Path, key: PrivateKey | SecretKey) -> str:
    path.write_text(key.to_text())
    path.chmod(0o600)
    return f"file:{path}"


def frames_of(error: BaseException) -> list[FrameType]:
    """Return the frames of our own modules that a report of the error would show."""
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__) if f"{os.sep}safepickle{os.sep}" in frame.f_code.co_filename]


# --- one person as two -------------------------------------------------------------------------------------------


@NEEDS_MLDSA
@pytest.mark.parametrize("order", ["remote first", "remote last"])
def test_a_remote_key_and_a_hybrid_one_that_share_a_half_are_one_person(order: str):
    """The Ed25519 key of the approver is in KMS; a hybrid key with the same half would be a second vote of his."""
    hybrid = PrivateKey.generate(HYBRID).public_key()
    elsewhere = remote.KeyPair(PublicKey(ED25519, hybrid.raw[:32]), "a key service", lambda message: b"")
    members = [elsewhere, hybrid] if order == "remote first" else [hybrid, elsewhere]
    with pytest.raises(KeyringError, match="one person would count as two"):
        Keyring(None, *members)


def test_a_remote_key_and_its_public_key_are_one_key():
    elsewhere = remote.KeyPair(CURVE.public_key(), "a key service", lambda message: b"")
    for other in (CURVE, CURVE.public_key(), PublicKey.from_pem(CURVE.public_key().to_pem()), PublicKey.from_text(CURVE.public_key().to_text())):
        with pytest.raises(KeyringError, match="in the keyring twice"):
            Keyring(None, elsewhere, other)


def test_a_point_of_p256_has_one_encoding():
    """Compressed, hybrid (06 and 07, as long as the right one) or with x + p: a second key id of the same person."""
    raw = CURVE.public_key().raw
    for prefix in (0, 2, 3, 5, 6, 7):
        with pytest.raises(KeyringError):
            PublicKey(ECDSA_P256, bytes((prefix,)) + raw[1:])
    p = 2**256 - 2**224 + 2**192 + 2**96 - 1
    b = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    # Points with a small x, for which x + p fits into 32 bytes as well.
    found = 0
    for x in range(40):
        square = (x**3 - 3 * x + b) % p
        y = pow(square, (p + 1) // 4, p)
        if y * y % p != square:
            continue
        found += 1
        PublicKey(ECDSA_P256, b"\4" + x.to_bytes(32, "big") + y.to_bytes(32, "big"))
        with pytest.raises(KeyringError):
            PublicKey(ECDSA_P256, b"\4" + (x + p).to_bytes(32, "big") + y.to_bytes(32, "big"))
    assert found > 5
    compressed = CURVE.public_key()._parts[0].public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    spki = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + compressed
    pem = b"-----BEGIN PUBLIC KEY-----\n" + base64.encodebytes(spki) + b"-----END PUBLIC KEY-----\n"
    assert PublicKey.from_pem(pem).key_id == CURVE.key_id


def test_two_entries_of_one_key_id_count_once():
    """Of different suites, as no honest key has them: the threshold counts ids."""

    class Elsewhere:
        suite, key_id = HMAC_SHA256, TRAINER.key_id

        def verify(self, digest: bytes, signature: bytes) -> None:
            """Everything holds."""

    ring = Keyring(None, TRAINER.public_key(), Elsewhere())
    signatures = (Signature(HMAC_SHA256, TRAINER.key_id, bytes(32)), *Keyring(TRAINER).sign(DIGEST))
    assert len(ring.verify(DIGEST, signatures)) == 2
    with pytest.raises(AuthenticationError, match=r"1 trusted key\(s\) signed"):
        ring.verify(DIGEST, signatures, threshold=2)


@pytest.mark.parametrize("suite", [ED25519, pytest.param(HYBRID, marks=NEEDS_MLDSA), ECDSA_P256])
def test_a_key_with_bytes_behind_it_is_none(suite: str):
    """Its halves are cut out of it: what stands behind them would be a second key id of the same person."""
    private = PrivateKey.generate(suite)
    for raw in (private.public_key().raw + b"x", private.public_key().raw[:-1], bytearray(private.public_key().raw), b"", None):
        with pytest.raises(KeyringError, match="a public key of suite"):
            PublicKey(suite, raw)  # type: ignore[arg-type]
    for raw in (private._raw + b"x", private._raw[:-1], bytearray(private._raw), b"", None):
        with pytest.raises(KeyringError, match="a private key of suite"):
            PrivateKey(suite, raw)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "key", [SecretKey(hashlib.sha256(b"x").digest()), TRAINER, TRAINER.public_key(), CURVE], ids=lambda each: type(each).__name__
)
def test_a_textual_key_under_another_id_is_refused_though_its_checksum_holds(key: Any):
    """SPEC.md, 3.1: whoever reviews a keyring goes by the id."""
    form = key.to_text().partition("_")[0]
    _, payload = _from_text(key.to_text(), form)
    assert _to_text(form, key.key_id, payload) == key.to_text()
    for key_id in ("0" * 16, THIEF.key_id):
        with pytest.raises(KeyringError, match=f"says key id {key_id} but its .* has key id {key.key_id}"):
            parse_key(_to_text(form, key_id, payload).encode(), "it")


@pytest.mark.parametrize(
    "key_id",
    ["0123456789ABCDEF", f" {TRAINER.key_id}", TRAINER.key_id[:-1], f"{TRAINER.key_id}\n", "\u0661" * 16, 7, b"0" * 16, None],
    ids=["upper case", "a blank", "short", "a newline", "other digits", "a number", "bytes", "none"],
)
def test_an_id_of_a_foreign_key_has_one_spelling(key_id: Any):
    """In capitals it would be a second key, and no deny-list would name it."""
    key = Foreign()
    key.key_id = key_id
    with pytest.raises(KeyringError, match="16 lower-case hexadecimal digits"):
        Keyring(None, TRAINER.public_key(), key)


@pytest.mark.parametrize("pem", [b"%s-----BEGIN", b"%sx", b"%s# a comment", b"%s\0", b"%s-----BEGIN PUBLIC KEY-----\nAAAA\n"])
def test_nothing_stands_behind_a_key_in_pem(pem: bytes):
    with pytest.raises(KeyringError, match="text between or around"):
        PublicKey.from_pem(pem % TRAINER.public_key().to_pem())


def test_a_key_that_only_signs_verifies_nothing():
    class Signing:
        suite, key_id = ED25519, TRAINER.key_id
        sign = TRAINER.sign

    with pytest.raises(KeyringError, match="can sign and not verify"):
        Keyring(Signing()).verify(DIGEST, Keyring(TRAINER).sign(DIGEST))


# --- a secret that everyone has ----------------------------------------------------------------------------------


def der_of(key: PublicKey) -> bytes:
    return base64.b64decode(b"".join(key.to_pem().splitlines()[1:-1]))


def ssh_of(key: PublicKey) -> bytes:
    line: bytes = key._parts[0].public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return line


def spellings(key: PublicKey) -> dict[str, bytes]:
    """Return what other tools make of a public key, and what shells and stores make of that."""
    text, pem, der, ssh = key.to_text(), key.to_pem().decode(), der_of(key), ssh_of(key)
    plain = base64.b64encode(der)
    return {
        "PowerShell: > trainer.pub": f"{text}\r\n".encode("utf-16"),
        "UTF-16, little-endian": text.encode("utf-16-le"),
        "UTF-16, big-endian": text.encode("utf-16-be"),
        "PEM in UTF-16": pem.encode("utf-16"),
        "xxd -p": b"\n".join(der.hex().encode()[at : at + 60] for at in range(0, 2 * len(der), 60)),
        "hexadecimal": der.hex().upper().encode(),
        "hexadecimal with colons": der.hex(":").encode(),
        "hexadecimal of the text": text.encode().hex().encode(),
        "a secret of Kubernetes from bare base64": base64.b64encode(plain),
        "that once more": base64.b64encode(base64.b64encode(plain)),
        "a secret of Kubernetes from UTF-16": base64.b64encode(text.encode("utf-16")),
        "aws kms get-public-key": b'{"KeyId": "arn:aws:kms:...", "PublicKey": "' + plain + b'"}',
        "quoted": b'"' + plain + b'"',
        "known_hosts": b"host.example " + ssh,
        "authorized_keys with options": b'from="10.0.0.0/8" ' + ssh,
        "without the kind of key": ssh.split()[1] + b" trainer@host",
        "ssh-keygen -e": b'---- BEGIN SSH2 PUBLIC KEY ----\nComment: "a key"\n' + ssh.split()[1] + b"\n---- END SSH2 PUBLIC KEY ----\n",
    }


@pytest.mark.parametrize("key", [TRAINER.public_key(), CURVE.public_key()], ids=["ed25519", "p256"])
@pytest.mark.parametrize("name", spellings(TRAINER.public_key()))
def test_a_public_key_in_another_spelling_is_no_secret(key: PublicKey, name: str):
    """`load(f, key=Path("trainer.pub").read_bytes())` of a file that a shell wrote: everyone who has the public key would sign."""
    data = spellings(key)[name]
    assert 32 <= len(data) <= 1024
    with pytest.raises(KeyringError, match="public key must never serve as a secret"):
        as_key(data)


# --- a keyring behind a link -------------------------------------------------------------------------------------


@posix
def test_a_relative_key_of_a_linked_keyring_is_beside_the_file_and_not_beside_the_link(tmp_path: Path):
    """Whose file it is, is checked; a link is anybody's, and so is what lies beside it."""
    etc, shared = tmp_path / "etc", tmp_path / "shared"
    for folder, key in ((etc, TRAINER), (shared, THIEF)):
        folder.mkdir()
        (folder / "trainer.pub").write_text(key.public_key().to_text())
        (folder / "trainer.pub").chmod(0o644)
    (etc / "ring.toml").write_text('keyring = 1\n[[key]]\nuri = "file:trainer.pub"\n')
    (etc / "ring.toml").chmod(0o644)
    (shared / "ring.toml").symlink_to(etc / "ring.toml")
    (tmp_path / "folder").symlink_to(etc)
    assert Keyring.read(shared / "ring.toml").key_ids == (TRAINER.key_id,)
    assert Keyring.read(tmp_path / "folder" / "ring.toml").key_ids == (TRAINER.key_id,)


@pytest.mark.parametrize("path", ["a\0b", "\ud800", ""])
def test_what_is_no_path_is_no_keyring(path: str):
    with pytest.raises(KeyringError):
        Keyring.read(path)


# --- keys of one's own that misbehave ----------------------------------------------------------------------------


class Foreign:
    """A key that somebody wrote by the protocol of `Signer` and `Verifier`, and not quite."""

    suite, key_id = ED25519, "0123456789abcdef"

    def __init__(self, value: Any = bytes(64), verdict: Any = None) -> None:
        self.value, self.verdict = value, verdict

    def sign(self, digest: bytes) -> Any:
        return self.value

    def verify(self, digest: bytes, signature: bytes) -> Any:
        return self.verdict


@pytest.mark.parametrize("value", [b"", bytes(63), bytes(65), bytes(1 << 17), "x" * 64, None, bytearray(64)], ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("again", [sign, resign])
def test_what_is_no_signature_does_not_replace_a_good_file(again: Any, value: Any, tmp_path: Path):
    """The file would be unreadable for everyone, and the good one gone."""
    path = put(tmp_path / "model.spkl", TRAINER)
    before = path.read_bytes()
    with pytest.raises(KeyringError, match="0123456789abcdef made no signature of 64 bytes"):
        again(path, key=Foreign(value), signed_by=TRAINER.public_key())
    assert path.read_bytes() == before
    for buffers in ([], [memoryview(bytes(8 << 20))]):
        with pytest.raises(KeyringError, match="made no signature"):
            container.save(tmp_path / "new.spkl", b"\x80\x05N.", buffers, Keyring(Foreign(value)))
    assert [each.name for each in tmp_path.iterdir()] == ["model.spkl"]


@pytest.mark.parametrize("suite", [None, [], {}, 7, "rot13", "ED25519", "unknown suite 9"], ids=repr)
def test_a_key_of_a_suite_that_is_none_is_no_key(suite: Any):
    key = Foreign()
    key.suite = suite
    with pytest.raises(KeyringError, match="cannot be used"):
        as_key(key)


@pytest.mark.parametrize("verdict", [False, True, 0, "no", NotImplemented], ids=repr)
def test_a_verdict_that_is_returned_and_not_raised_is_not_taken_for_yes(verdict: Any):
    """`verify` of other libraries returns False for a forgery: passed through as it is, everything would hold."""
    ring, forged = Keyring(None, Foreign(verdict=verdict)), (Signature(ED25519, Foreign.key_id, bytes(64)),)
    with pytest.raises(KeyringError, match=r"0123456789abcdef.*must return None"):
        ring.verify(DIGEST, forged)
    assert Keyring(None, Foreign()).verify(DIGEST, forged) == (Foreign.key_id,)


# --- clocks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "now", [float("nan"), float("inf"), -float("inf"), 1e300, 1e12, -1e12, 1 << 70, "2030", b"", NOW], ids=lambda each: type(each).__name__
)
@pytest.mark.parametrize("member", [Trusted(TRAINER), Trusted(TRAINER, not_after=NOW + DAY)], ids=["always", "until"])
def test_a_clock_that_is_none_trusts_nobody(now: Any, member: Trusted):
    ring = Keyring(member)
    signatures = Keyring(TRAINER).sign(DIGEST)
    for use in (lambda: ring.verify(DIGEST, signatures, now=now), lambda: ring.signer(now=now), lambda: ring.sign(DIGEST, now=now)):
        with pytest.raises(KeyringError, match="the time is"):
            use()
    with pytest.raises(KeyringError, match="the time is"):
        openssf.bundle_keys(Keyring(Trusted(CURVE, not_after=member.not_after)), now=now)


@pytest.mark.parametrize("suite", [ED25519, pytest.param(HYBRID, marks=NEEDS_MLDSA), ECDSA_P256])
@pytest.mark.parametrize("form", ["private", "public", "remote"])
def test_denied_and_out_of_time_holds_of_every_suite_and_form(suite: str, form: str):
    private = PrivateKey.generate(suite)
    key: Any = {"private": private, "public": private.public_key(), "remote": remote.KeyPair(private.public_key(), "x", private.sign)}[form]
    made = Keyring(private).sign(DIGEST)
    for ring in (
        Keyring(None, key, denied=[private.key_id]),
        Keyring(None, Trusted(key, not_after=NOW - DAY)),
        Keyring(None, Trusted(key, not_before=NOW + DAY)),
        Keyring(None, THIEF.public_key(), denied=[private.key_id]),
    ):
        with pytest.raises(AuthenticationError, match="no signature of the file counts"):
            ring.verify(DIGEST, made)
        with pytest.raises(KeyringError, match="so it signs nothing"):
            ring.check_signer(key)
    assert Keyring(None, key).verify(DIGEST, made) == (private.key_id,)


# --- files -------------------------------------------------------------------------------------------------------


KEY = f'[[key]]\npublic = "{TRAINER.public_key().to_text()}"\n'
NO_RING = {
    "another version": (f"keyring = 2\n{KEY}", "must say `keyring = 1`"),
    "a key that is one table": (f"keyring = 1\n{KEY}".replace("[[key]]", "[key]"), r"keys are written \[\[key\]\]"),
    "a key that is text": (f'keyring = 1\nkey = ["{TRAINER.public_key().to_text()}"]', r"keys are written \[\[key\]\]"),
    "a name that is a number": (f"keyring = 1\n{KEY}name = 7", "are text"),
    "a comment that is a list": (f"keyring = 1\n{KEY}comment = []", "are text"),
    "one name twice": (
        f'keyring = 1\n{KEY}name = "a"\n{KEY.replace(TRAINER.public_key().to_text(), THIEF.public_key().to_text())}name = "a"',
        "same name",
    ),
    "one key twice": (f"keyring = 1\n{KEY}{KEY}", "twice"),
    "a denial that is one table": (f'keyring = 1\n{KEY}[denied]\nkey_id = "{TRAINER.key_id}"', r"keys are written \[\[denied\]\]"),
    "a denial that is text": (f'keyring = 1\ndenied = ["{TRAINER.key_id}"]\n{KEY}', r"keys are written \[\[denied\]\]"),
    "a denial that is misspelt": (f'keyring = 1\n{KEY}[[denied]]\nkeyid = "{TRAINER.key_id}"', "has a key_id, and perhaps a reason"),
    "a denial of two": (f'keyring = 1\n{KEY}[[denied]]\nkey_id = "{TRAINER.key_id}"\nkey_id_2 = "{"0" * 16}"', "has a key_id, and perhaps a reason"),
    "a denial of nobody": (f'keyring = 1\n{KEY}[[denied]]\nreason = "stolen"', "16 lower-case hexadecimal digits"),
    "a denial in capitals": (f'keyring = 1\n{KEY}[[denied]]\nkey_id = "{"A" * 16}"', "16 lower-case hexadecimal digits"),
    "a denial of a number": (f"keyring = 1\n{KEY}[[denied]]\nkey_id = 1234567890123456", "16 lower-case hexadecimal digits"),
    "a reason that is a number": (f'keyring = 1\n{KEY}[[denied]]\nkey_id = "{TRAINER.key_id}"\nreason = 1', "has a key_id, and perhaps a reason"),
    "text of several lines": (f"keyring = 1\n{KEY}comment = '''a'''", "text of several lines"),
    "the same with double quotes": (f'keyring = 1\n{KEY}comment = """a"""', "text of several lines"),
}


@pytest.mark.parametrize("case", NO_RING)
def test_what_is_no_keyring_file_trusts_nobody(case: str, tmp_path: Path):
    """Above all a denial that is not understood: it must not be passed over."""
    text, hint = NO_RING[case]
    path = tmp_path / "ring.toml"
    path.write_text(text)
    with pytest.raises(KeyringError, match=hint):
        Keyring.read(path)


NO_PINS = {
    "empty": "",
    "no version": '[[pin]]\ncontext = "a/b"\nserial = 1',
    "another version": "pins = 2",
    "a version that is true": "pins = true",
    "a version that is a fraction": "pins = 1.0",
    "something else in it": 'pins = 1\nallow = "all"',
    "one pin and no list": 'pins = 1\n[pin]\ncontext = "a/b"\nserial = 1',
    "text for a pin": 'pins = 1\npin = ["a/b"]',
    "a misspelt field": 'pins = 1\n[[pin]]\ncontext = "a/b"\nserial = 1\nheader_sha265 = "x"',
    "a pin of nothing": 'pins = 1\n[[pin]]\ncontext = "a/b"',
    "no context": "pins = 1\n[[pin]]\nserial = 1",
    "an empty context": 'pins = 1\n[[pin]]\ncontext = ""\nserial = 1',
    "a context with a control character": 'pins = 1\n[[pin]]\ncontext = "a\\u0007"\nserial = 1',
    "a long context": f'pins = 1\n[[pin]]\ncontext = "{"a" * 1025}"\nserial = 1',
    "a context twice": 'pins = 1\n[[pin]]\ncontext = "a/b"\nserial = 9\n[[pin]]\ncontext = "a/b"\nserial = 1',
    "a serial below zero": 'pins = 1\n[[pin]]\ncontext = "a/b"\nserial = -1',
    "a serial that is too large": f'pins = 1\n[[pin]]\ncontext = "a/b"\nserial = {1 << 63}',
    "a serial that is true": 'pins = 1\n[[pin]]\ncontext = "a/b"\nserial = true',
    "a serial that is NaN": 'pins = 1\n[[pin]]\ncontext = "a/b"\nserial = nan',
    "a digest in capitals": f'pins = 1\n[[pin]]\ncontext = "a/b"\nheader_sha256 = "{"A" * 64}"',
    "a short digest": f'pins = 1\n[[pin]]\ncontext = "a/b"\nheader_sha256 = "{"a" * 63}"',
    "a digest that is none": 'pins = 1\n[[pin]]\ncontext = "a/b"\nserial = 1\nheader_sha256 = 0',
}


@pytest.mark.parametrize("case", NO_PINS)
def test_what_is_no_pins_file_pins_nothing(case: str, tmp_path: Path):
    """A slip in it must not be a pin that accepts everything."""
    path = tmp_path / "pins.toml"
    path.write_text(NO_PINS[case])
    with pytest.raises(FormatError, match="the pins file") as caught:
        Pins.read(path)
    assert str(path) in str(caught.value)


def info_of(**named: Any) -> Any:
    return verify(_file(b"".join(container.seal(b"\x80\x05N.", [], Keyring(TRAINER), **named))), key=TRAINER)


def test_pins_are_for_files_that_a_key_vouches_for(tmp_path: Path):
    """What `inspect` says without a key was chosen by whoever wrote the file."""
    path, pins = put(tmp_path / "model.spkl", TRAINER, serial=7), Pins({"a/b": Pin(serial=7)})
    pins.check(verify(path, key=TRAINER))
    untrusted = inspect(path)
    assert (untrusted.context, untrusted.serial) == ("a/b", 7)
    with pytest.raises(AuthenticationError, match="nobody vouches"):
        pins.check(untrusted)
    for exact in (True, False):
        with pytest.raises(AuthenticationError, match="once it was verified"):
            pins.updated(untrusted, exact=exact)


def test_a_file_without_context_or_serial_is_never_as_pinned():
    pins = Pins({"a/b": Pin(serial=0), "c/d": Pin(header_sha256="0" * 64)})
    for named, hint in (
        ({"serial": 9}, "has no context"),
        ({"context": "a/b"}, "this file has no serial"),
        ({"context": "A/b", "serial": 9}, "no pin is for context 'A/b'"),
        ({"context": "\uff41/b", "serial": 9}, r"no pin is for context '\\uff41/b'"),
        ({"context": "c/d", "serial": 9}, "is pinned to the file with header digest 0{64}"),
    ):
        with pytest.raises(AuthenticationError, match=hint):
            pins.check(info_of(**named))
    pins.check(info_of(context="a/b", serial=0))
    for named in ({"serial": 9}, {"context": "a/b"}):
        with pytest.raises(AuthenticationError, match="once it was verified"):
            pins.updated(info_of(**named))


@posix
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are counted where Linux lists them")
def test_a_folder_in_place_of_a_file_costs_no_descriptor(tmp_path: Path):
    """A service that tries again would run out of them."""
    bundle = tmp_path / "listed"
    bundle.mkdir()
    tried: list[Callable[[], Any]] = [
        lambda: read_key(f"file:{tmp_path}"),
        lambda: Keyring.read(tmp_path),
        lambda: Pins.read(tmp_path),
        lambda: openssf.read_bundle(tmp_path),
        lambda: openssf._digest_of(str(bundle), "listed"),
        lambda: openssf.BundleKey.read(tmp_path),
        lambda: sign(tmp_path, key=TRAINER, signed_by=TRAINER),
    ]
    for use in tried:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            with pytest.raises((SafePickleError, ValueError), match="not a regular file"):
                use()
        assert len(os.listdir("/proc/self/fd")) == before


@posix
@pytest.mark.parametrize("again", [sign, resign])
def test_a_folder_that_is_exchanged_for_a_link_meanwhile_does_not_lead_elsewhere(again: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Root signs in the folder of a user, who exchanges it for a link to one of root's. There would be a file, given to that user."""
    models, hidden, elsewhere = tmp_path / "models", tmp_path / "hidden", tmp_path / "etc"
    models.mkdir()
    elsewhere.mkdir()
    path = put(models / "model.spkl", TRAINER)

    def leading_elsewhere(real: Any, only: int = 0) -> Any:
        def swapped(*args: Any, **named: Any) -> Any:
            if only and not (len(args) > 1 and args[1] & only):
                return real(*args, **named)
            models.rename(hidden)
            models.symlink_to(elsewhere)
            try:
                return real(*args, **named)
            finally:
                models.unlink()
                hidden.rename(models)

        return swapped

    # At the two moments at which the folder counts. In between, where the old file is looked at, everything is as it was.
    monkeypatch.setattr(os, "open", leading_elsewhere(os.open, os.O_CREAT))
    monkeypatch.setattr(os, "replace", leading_elsewhere(os.replace))
    with contextlib.suppress(OSError):
        again(path, key=APPROVER, signed_by=TRAINER.public_key())
    monkeypatch.undo()
    assert list(elsewhere.iterdir()) == []
    assert [each.name for each in models.iterdir()] == ["model.spkl"]
    # The folder itself leads elsewhere when it is opened: the old file is not there.
    monkeypatch.setattr(os, "open", leading_elsewhere(os.open, os.O_DIRECTORY))
    with pytest.raises(OSError, match="No such file"):
        again(path, key=THIEF, signed_by=Keyring(None, TRAINER.public_key(), APPROVER.public_key()))
    monkeypatch.undo()
    assert list(elsewhere.iterdir()) == []


@posix
def test_an_error_of_writing_names_the_file_and_not_a_temporary_one(tmp_path: Path):
    for path in (tmp_path / "missing" / "ring.toml", tmp_path / ("x" * 300)):
        with pytest.raises(OSError, match=r"No such file|too long") as caught:
            Keyring(None, TRAINER.public_key()).write(path)
        assert caught.value.filename == str(path)


# --- the commands ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["verify", "sign", "resign", "pins check", "inspect"])
def test_a_file_that_is_named_like_a_key_does_not_keep_the_others_from_their_turn(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Whoever can write into the folder would end every command on it with a traceback, and files after it were never looked at."""
    models, key = tmp_path / "models", private_file(tmp_path / "a.key", TRAINER)
    models.mkdir()
    for name in ("a.spkl", "spk1_b.spkl", "z.spkl"):
        put(models / name, TRAINER)
    (tmp_path / "pins.toml").write_text(Pins({"a/b": Pin(serial=1)}).to_text())
    paths = [str(models)] if command != "inspect" else [str(models / "spk1_b.spkl")]
    pins = ["--pins", str(tmp_path / "pins.toml")] if command.startswith("pins") else []
    code = cli.main([*command.split(), *paths, "--key", key, *pins])
    out = capsys.readouterr().out
    if command == "verify":
        # It finds the file itself, so that it is no slip of whoever calls.
        assert (code, out.count("verified, signed by")) == (0, 3)
        return
    assert code == 1
    assert "spk1_b.spkl: REFUSED: TypeError: the file is what looks like a key" in out
    assert command == "inspect" or f"{models / 'z.spkl'}: " in out


def test_pins_that_another_update_moved_meanwhile_do_not_go_back(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Two updates at a time: the slower one would put back the pins that it read, and with them allow an old file again."""
    path, pins, key = put(tmp_path / "model.spkl", TRAINER, serial=1), tmp_path / "pins.toml", private_file(tmp_path / "a.key", TRAINER)
    Pins({"c/d": Pin(serial=1)}).write(pins)

    def slow(*args: Any, **named: Any) -> Any:
        Pins({"c/d": Pin(serial=7)}).write(pins)
        return verify(*args, **named)

    monkeypatch.setattr(reviewing, "verify", slow)
    assert cli.main(["pins", "update", str(path), "--pins", str(pins), "--key", key]) == 2
    assert "pins.toml was changed meanwhile" in capsys.readouterr().err
    assert Pins.read(pins) == Pins({"c/d": Pin(serial=7)})
    monkeypatch.undo()
    assert cli.main(["pins", "update", str(path), "--pins", str(pins), "--key", key]) == 0
    assert Pins.read(pins) == Pins({"a/b": Pin(serial=1), "c/d": Pin(serial=7)})


def test_a_pins_file_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path, key = put(tmp_path / "model.spkl", TRAINER), private_file(tmp_path / "a.key", TRAINER)
    pins = tmp_path / "missing" / "pins.toml"
    assert cli.main(["pins", "update", str(path), "--pins", str(pins), "--key", key]) == 2
    assert f"{pins} cannot be written: No such file" in capsys.readouterr().err


# --- secrets in what a report of an error shows ------------------------------------------------------------------

TOKEN = "hvs.CAESIJ2aBcDeFgH1jKlMnOpQrStUvWxYz0123456789abcdEFGH"


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers everything with the same."""

    status, body = 200, b""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        pass


@contextlib.contextmanager
def answering(body: bytes, status: int = 200) -> Iterator[str]:
    handler = type("Handler", (Answering,), {"status": status, "body": body})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(("status", "body"), [(403, b""), (500, b"oops"), (200, b"<html>"), (200, b"[" * 100_000), (0, b"")], ids=repr)
def test_no_frame_of_an_error_of_vault_holds_the_token(status: int, body: bytes, monkeypatch: pytest.MonkeyPatch):
    """A server that is down is an everyday error, and reports of errors show the local variables of every frame."""
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    with answering(body, status or 200) as address:
        where = address if status else "http://127.0.0.1:1"
        with pytest.raises(KeyringError) as caught:
            vault.open_signer("transit/models", address=where)
    assert frames_of(caught.value)
    assert not [frame for frame in frames_of(caught.value) if TOKEN in repr(frame.f_locals)]
    assert caught.value.__context__ is None


@pytest.mark.parametrize("kind", ["two lines", "control", "not UTF-8"])
def test_no_frame_of_an_error_about_a_token_holds_it(kind: str, tmp_path: Path):
    path = tmp_path / "token"
    path.write_bytes({"two lines": f"{TOKEN}\nx\n".encode(), "control": f"{TOKEN}\x07".encode(), "not UTF-8": TOKEN.encode() + b"\xff"}[kind])
    path.chmod(0o600)
    with pytest.raises(KeyringError, match="one line of text") as caught:
        remote.secret(f"file:{path}", "token")
    path.chmod(0o644)
    with pytest.raises(KeyringError, match="chmod 600") as other:
        remote.secret(f"file:{path}", "token")
    for error in (caught.value, other.value):
        assert frames_of(error)
        assert not [frame for frame in frames_of(error) if TOKEN in repr(frame.f_locals)]


@pytest.mark.parametrize("source", [f"env:{TOKEN}", f"file:/nowhere/{TOKEN}"])
def test_a_token_in_place_of_its_source_is_not_repeated(source: str):
    with pytest.raises(KeyringError) as caught:
        remote.secret(source, "token")
    assert TOKEN[4:30] not in str(caught.value)


@pytest.mark.parametrize("form", ["text", "PEM", "damaged", "two lines"])
def test_no_frame_of_an_error_about_a_key_for_bundles_holds_its_content(form: str, tmp_path: Path):
    """`--bundle-key signer.key`: the file that was named by mistake is the private key."""
    text = {"text": CURVE.to_text(), "PEM": CURVE.to_pem().decode(), "damaged": CURVE.to_text()[:-1], "two lines": f"{CURVE.to_text()}\n" * 2}[form]
    path = tmp_path / "signer.key"
    path.write_text(text)
    path.chmod(0o600)
    held = text.splitlines()[1 if form == "PEM" else 0][26:50]
    with pytest.raises(KeyringError, match=str(path)) as caught:
        openssf.BundleKey.read(path)
    assert frames_of(caught.value)
    assert not [frame for frame in frames_of(caught.value) if held in repr(frame.f_locals)]
    assert caught.value.__context__ is None


# --- services that lie -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        {"type": "ecdsa-p256", "latest_version": 1, "keys": {"1": {"public_key": "\ud800"}}},
        {"type": "ed25519", "latest_version": 1, "keys": {"1": {"public_key": "\ud800"}}},
        {"type": "ecdsa-p256", "latest_version": 1, "keys": {"1": {"public_key": "x" * 500_000}}},
        {"type": "hmac", "latest_version": True},
        {"type": "hmac", "latest_version": 1.5},
        {"type": ["hmac"], "latest_version": 1},
        {"type": "hmac", "latest_version": -1},
    ],
    ids=lambda data: str(data)[:60],
)
def test_an_answer_of_vault_that_is_none_is_a_keyring_error(data: Any, monkeypatch: pytest.MonkeyPatch):
    """Half a character is no `KeyringError` by itself, and True is a number: it would be a second key id of version 1."""
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    with answering(json.dumps({"data": data}).encode()) as address, pytest.raises(KeyringError):
        vault.open_signer("transit/models", address=address)


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"KeyMetadata": {"CreationDate": 1e300}}', b'{"KeyMetadata": []}', b'{"KeyMetadata": {"Arn": {}}}']
)
def test_an_answer_of_kms_that_is_none_is_a_keyring_error(body: bytes, monkeypatch: pytest.MonkeyPatch):
    """botocore raises RuntimeError for a date that is none, and RecursionError for what is nested too deep."""
    pytest.importorskip("boto3", reason="boto3 is not installed: pip install '.[integrations-test]'")
    from safepickle.integrations import aws_kms

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with answering(body) as address, pytest.raises(KeyringError):
        aws_kms.open_signer("arn:aws:kms:eu-west-1:123456789012:key/abc", endpoint_url=address)


# --- signatures that storage adds, moves and removes -------------------------------------------------------------


def entries(*each: tuple[int, bytes, bytes]) -> bytes:
    return b"".join(container.SIGNATURE_HEAD.pack(code, key_id, len(value)) + value for code, key_id, value in each)


def with_block(path: Path, block: bytes, count: int, length: int | None = None) -> bytes:
    data = path.read_bytes()
    front = container._read_front(container._source(data))
    start = container.PREFIX.pack(container.MAGIC, 1, count, len(block) if length is None else length, len(front.raw)) + block + front.raw
    return start + bytes(-len(start) % 64) + b"\x80\x05N."


def test_what_storage_makes_of_the_signatures_is_refused_or_means_nothing(tmp_path: Path):
    """One by the trainer, one by the approver; both are asked for."""
    path = put(tmp_path / "model.spkl", TRAINER, APPROVER)
    ring = Keyring(None, TRAINER.public_key(), APPROVER.public_key())
    signatures = container._read_front(container._source(path.read_bytes())).signatures
    one, two = ((2, bytes.fromhex(each.key_id), each.value) for each in signatures)
    strange = [(200 + number, bytes(8), bytes(4000)) for number in range(14)]
    assert len(verify(_file(with_block(path, entries(one, two), 2)), key=ring, threshold=2).signatures) == 2
    assert len(verify(_file(with_block(path, entries(one, two, *strange), 16)), key=ring, threshold=2).signatures) == 16
    cases = {
        "one left out": (entries(one), 1, AuthenticationError),
        "none": (b"", 0, FormatError),
        "reordered": (entries(two, one), 2, FormatError),
        "one twice": (entries(one, one), 2, FormatError),
        "seventeen": (entries(one, two, *strange, (255, bytes(8), b"")), 17, FormatError),
        "more than it says": (entries(one, two), 1, FormatError),
        "fewer than it says": (entries(one, two), 3, FormatError),
        "moved to another id": (entries((2, one[1], two[2]), (2, two[1], one[2])), 2, AuthenticationError),
        "moved to another suite": (entries((4, one[1], one[2]), (4, two[1], two[2])), 2, UnknownKeyError),
        "cut": (entries(one, two)[:-1], 2, FormatError),
        "a huge length": (entries(one) + container.SIGNATURE_HEAD.pack(250, bytes(8), 65535), 2, FormatError),
        "a suite of the wrong length": (entries(one, (3, bytes(8), bytes(64))), 2, FormatError),
    }
    for name, (block, count, error) in cases.items():
        with pytest.raises(error):
            pytest.fail(f"{name} holds: {verify(_file(with_block(path, block, count)), key=ring, threshold=2)}")


def _file(data: bytes) -> Any:
    import io

    return io.BytesIO(data)


@pytest.mark.parametrize("loss", ["denied", "a reason", "a date"])
def test_nothing_that_bars_a_key_is_lost_on_the_way_through_a_file(loss: str, tmp_path: Path):
    key_id = TRAINER.key_id
    member = Trusted(TRAINER.public_key(), not_before=NOW - DAY, not_after=NOW + DAY / 86_400 / 7)
    ring = Keyring(None, member, APPROVER.public_key(), denied={key_id: 'stolen\n"""\n[[key]]\n# \x7f\u2028\U0001f600'})
    ring.write(tmp_path / "ring.toml")
    back = Keyring.read(tmp_path / "ring.toml")
    assert {"denied": back.denied, "a reason": back.denied_reasons, "a date": [(each.not_before, each.not_after) for each in back.members]}[loss] == (
        {"denied": ring.denied, "a reason": ring.denied_reasons, "a date": [(each.not_before, each.not_after) for each in ring.members]}[loss]
    )
    assert back.to_text() == ring.to_text()
