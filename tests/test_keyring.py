"""Keyrings and key pairs: stories of rotation as tables of steps, the keyring file, who can sign and who cannot."""

from __future__ import annotations

import copy
import hashlib
import os
import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from optional import HAS_MLDSA, NEEDS_MLDSA

import safepickle
from safepickle import (
    AuthenticationError,
    Keyring,
    KeyringError,
    PrivateKey,
    PublicKey,
    SafePickleError,
    SecretKey,
    Trusted,
    UnknownKeyError,
    container,
    dump,
    dumps,
    load,
    loads,
    read_key,
    resign,
    sign,
    verify,
)
from safepickle.keys import ECDSA_P256, ED25519, HYBRID, as_key, signed_message

PAIRS = {suite: PrivateKey.generate(suite) for suite in (ED25519, *([HYBRID] if HAS_MLDSA else []), ECDSA_P256)}
OLD, NEW, APPROVER, THIEF = (PrivateKey.generate() for _ in range(4))
SECRET = SecretKey.generate()
NOW = datetime.now(UTC)
DAY = timedelta(days=1)
VALUE = {"answer": 42}


# --- stories ----------------------------------------------------------------------------------------------------

Step = tuple[str, Any]


def pub(*keys: PrivateKey) -> list[PublicKey]:
    return [key.public_key() for key in keys]


STORIES: dict[str, list[Step]] = {
    "a new primary, while old files still load": [
        ("dump", OLD),
        ("load", Keyring(None, *pub(OLD))),
        ("load", Keyring(None, *pub(NEW, OLD))),
        ("dump", Keyring(NEW, *pub(OLD))),
        ("load", Keyring(None, *pub(NEW, OLD))),
        ("refuse", (Keyring(None, *pub(OLD)), UnknownKeyError)),
    ],
    "the old key is retired": [
        ("dump", OLD),
        ("resign", (NEW, pub(OLD)[0])),
        ("load", Keyring(None, *pub(NEW))),
        ("refuse", (Keyring(None, *pub(OLD)), UnknownKeyError)),
        ("refuse resign", (NEW, pub(OLD)[0], UnknownKeyError)),
    ],
    "a key is denied": [
        ("dump", OLD),
        ("load", Keyring(None, *pub(OLD, NEW))),
        ("refuse", (Keyring(None, *pub(OLD, NEW), denied=[OLD.key_id]), AuthenticationError)),
        ("sign", (NEW, pub(OLD)[0])),
        ("load", Keyring(None, *pub(OLD, NEW), denied=[OLD.key_id])),
        ("refuse dump", (Keyring(OLD, denied=[OLD.key_id]), KeyringError)),
    ],
    "a key expires": [
        ("dump", OLD),
        ("load", Keyring(None, Trusted(pub(OLD)[0], not_after=NOW + DAY))),
        ("refuse", (Keyring(None, Trusted(pub(OLD)[0], not_after=NOW - DAY)), AuthenticationError)),
        ("refuse", (Keyring(None, Trusted(pub(OLD)[0], not_before=NOW + DAY)), AuthenticationError)),
        ("refuse dump", (Keyring(Trusted(OLD, not_after=NOW - DAY)), KeyringError)),
        ("load", Keyring(None, Trusted(pub(OLD)[0], not_before=NOW - DAY, not_after=NOW + DAY))),
    ],
    "signed by two, one unknown": [
        ("dump", OLD),
        ("sign", (THIEF, pub(OLD)[0])),
        ("load", Keyring(None, *pub(OLD))),
        ("refuse", (Keyring(None, *pub(OLD, NEW), denied=()), None, 2, AuthenticationError)),
        ("refuse", (Keyring(None, *pub(NEW)), UnknownKeyError)),
    ],
    "trainer and approver": [
        ("dump", OLD),
        ("refuse", (Keyring(None, *pub(OLD, APPROVER)), None, 2, AuthenticationError)),
        ("sign", (APPROVER, pub(OLD)[0])),
        ("load", (Keyring(None, *pub(OLD, APPROVER)), 2)),
        ("refuse", (Keyring(None, *pub(OLD, APPROVER)), None, 3, AuthenticationError)),
        ("refuse", (Keyring(None, *pub(OLD, APPROVER), denied=[APPROVER.key_id]), None, 2, AuthenticationError)),
        ("refuse", (Keyring(None, pub(OLD)[0], Trusted(pub(APPROVER)[0], not_after=NOW - DAY)), None, 2, AuthenticationError)),
    ],
    "the same key twice is one": [
        ("dump", OLD),
        ("sign", (OLD, pub(OLD)[0])),
        ("signatures", 1),
        ("refuse", (Keyring(None, *pub(OLD, APPROVER)), None, 2, AuthenticationError)),
    ],
    "from a secret to key pairs": [
        ("dump", SECRET),
        ("sign", (NEW, SECRET)),
        ("load", Keyring(SECRET)),
        ("load", Keyring(None, *pub(NEW))),
        ("resign", (NEW, pub(NEW)[0])),
        ("refuse", (Keyring(SECRET), UnknownKeyError)),
        ("load", Keyring(None, *pub(NEW))),
    ],
    "a signature is stripped": [
        ("dump", OLD),
        ("sign", (APPROVER, pub(OLD)[0])),
        ("strip", APPROVER),
        ("load", Keyring(None, *pub(OLD))),
        ("refuse", (Keyring(None, *pub(OLD, APPROVER)), None, 2, AuthenticationError)),
        ("refuse", (Keyring(None, *pub(APPROVER)), UnknownKeyError)),
    ],
    "a forged signature is added": [
        ("dump", OLD),
        ("forge", APPROVER),
        ("load", Keyring(None, *pub(OLD))),
        ("refuse", (Keyring(None, *pub(OLD, APPROVER)), AuthenticationError)),
        ("refuse sign", (NEW, Keyring(None, *pub(OLD, APPROVER)), AuthenticationError)),
    ],
    "who cannot verify cannot sign": [
        ("dump", OLD),
        ("refuse sign", (THIEF, pub(NEW)[0], UnknownKeyError)),
        ("refuse sign", (pub(NEW)[0], pub(OLD)[0], KeyringError)),
        ("refuse dump", (pub(OLD)[0], KeyringError)),
        ("load", Keyring(None, *pub(OLD))),
    ],
}


@pytest.mark.parametrize("name", STORIES)
def test_a_story(name: str, tmp_path: Path):
    """Each step leaves the file as the next finds it; what is refused leaves it as it was."""
    path = tmp_path / "model.spkl"
    for deed, what in STORIES[name]:
        before = path.read_bytes() if path.exists() else b""
        match deed:
            case "dump":
                dump(VALUE, path, key=what, context="story/prod", serial=7)
            case "load":
                ring, threshold = what if isinstance(what, tuple) else (what, 1)
                assert load(path, key=ring, threshold=threshold, context="story/prod", min_serial=7) == VALUE
                assert len(verify(path, key=ring, threshold=threshold).trusted_key_ids) >= threshold
            case "refuse":
                ring, *rest = what
                threshold = rest[1] if len(rest) == 3 else 1
                for function in (load, verify):
                    with pytest.raises(rest[-1]) as caught:
                        function(path, key=ring, threshold=threshold)
                    assert type(caught.value) is rest[-1]
            case "refuse dump":
                with pytest.raises(what[1]):
                    dump(VALUE, path, key=what[0])
            case "sign" | "resign":
                info = (sign if deed == "sign" else resign)(path, key=what[0], signed_by=what[1])
                assert info.serial == 7
            case "refuse sign" | "refuse resign":
                with pytest.raises(what[2]):
                    (sign if "resign" not in deed else resign)(path, key=what[0], signed_by=what[1])
            case "signatures":
                assert len(safepickle.inspect(path).signatures) == what
            case "strip" | "forge":
                path.write_bytes(_altered(before, what, forge=deed == "forge"))
        if deed.startswith("refuse") or deed == "load":
            assert (path.read_bytes() if path.exists() else b"") == before
            assert [each.name for each in tmp_path.iterdir()] == (["model.spkl"] if before else [])


def _altered(data: bytes, key: PrivateKey, *, forge: bool) -> bytes:
    """Return the file without the signature of a key, or with a wrong one by it."""
    front = container._read_front(container._source(data))
    kept = [each for each in front.signatures if each.key_id != key.key_id]
    if forge:
        kept.append(safepickle.Signature(key.suite, key.key_id, bytes(64)))
    return b"".join(container._front(front.raw, kept)) + data[front.body_start :]


# --- key pairs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", PAIRS)
def test_a_pair_signs_with_one_half_and_verifies_with_the_other(suite: str):
    key = PAIRS[suite]
    data = dumps(VALUE, key=key)
    assert loads(data, key=key.public_key()) == VALUE
    assert loads(data, key=key) == VALUE
    assert verify(__import__("io").BytesIO(data), key=key.public_key()).signatures[0].suite == suite
    with pytest.raises(UnknownKeyError, match=key.key_id) as caught:
        loads(data, key=PrivateKey.generate(suite).public_key())
    assert caught.match(suite.replace("+", r"\+"))


@pytest.mark.parametrize("suite", PAIRS)
def test_texts_and_pem_give_the_same_key(suite: str):
    key, public = PAIRS[suite], PAIRS[suite].public_key()
    assert PrivateKey.from_text(key.to_text()) == key
    assert PublicKey.from_text(public.to_text()) == public
    assert PrivateKey.from_pem(key.to_pem()) == key
    assert PrivateKey.from_pem(key.to_pem(b"a password"), b"a password") == key
    assert PublicKey.from_pem(public.to_pem()) == public
    assert pickle.loads(pickle.dumps(public)) == public
    assert copy.deepcopy(key) is key
    for wrong in (b"another", None):
        with pytest.raises(KeyringError):
            PrivateKey.from_pem(key.to_pem(b"a password"), wrong)


@pytest.mark.parametrize("suite", PAIRS)
def test_every_changed_byte_of_a_signature_is_refused(suite: str):
    """Of the hybrid both halves must hold: whoever breaks one of them forges nothing."""
    key = PAIRS[suite]
    digest = hashlib.sha256(b"header").digest()
    value = key.sign(digest)
    key.public_key().verify(digest, value)
    for at in sorted({0, 31, 32, 63, len(value) // 2, len(value) - 1}):
        with pytest.raises(AuthenticationError):
            key.public_key().verify(digest, value[:at] + bytes((value[at] ^ 1,)) + value[at + 1 :])
    for wrong in (b"", value[:-1], value + b"\0", value[:64] if suite == HYBRID else value * 2):
        with pytest.raises(AuthenticationError):
            key.public_key().verify(digest, wrong)
    with pytest.raises(AuthenticationError):
        key.public_key().verify(hashlib.sha256(b"other").digest(), value)


def test_a_signature_of_ecdsa_is_the_one_of_two():
    """(r, n - s) verifies as well as (r, s): a second spelling of a signature nobody made."""
    key = PAIRS[ECDSA_P256]
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    digest = bytes(32)
    for _ in range(20):
        value = key.sign(digest)
        s = int.from_bytes(value[32:], "big")
        assert s <= order // 2
        with pytest.raises(AuthenticationError):
            key.public_key().verify(digest, value[:32] + (order - s).to_bytes(32, "big"))


ROLES: dict[str, Any] = {
    "a public key signs": lambda: dumps(VALUE, key=PAIRS[ED25519].public_key()),
    "a public key as a secret": lambda: SecretKey.from_text(PAIRS[ED25519].public_key().to_text()),
    "a private key as a secret": lambda: SecretKey.from_text(PAIRS[ED25519].to_text()),
    "a secret as a private key": lambda: PrivateKey.from_text(SECRET.to_text()),
    "a secret as a public key": lambda: PublicKey.from_text(SECRET.to_text()),
    "a private key as a public key": lambda: PublicKey.from_text(PAIRS[ED25519].to_text()),
    "PEM of a private key as a public key": lambda: PublicKey.from_pem(PAIRS[ED25519].to_pem()),
    "PEM of a public key as a private key": lambda: PrivateKey.from_pem(PAIRS[ED25519].public_key().to_pem()),
    "text of a public key as raw bytes": lambda: as_key(PAIRS[ED25519].public_key().to_text().encode()),
    "PEM as raw bytes": lambda: as_key(PAIRS[ED25519].public_key().to_pem()),
    "PEM of two keys": lambda: PrivateKey.from_pem(OLD.to_pem() + NEW.to_pem()),
    "text around PEM": lambda: PublicKey.from_pem(b"x\n" + OLD.public_key().to_pem()),
    "a short public key": lambda: PublicKey(ED25519, bytes(31)),
    "a point that is none": lambda: PublicKey(ECDSA_P256, b"\4" + bytes(64)),
    "a private key of zero": lambda: PrivateKey(ECDSA_P256, bytes(32)),
    "a suite that is none": lambda: PrivateKey.generate("rsa"),
    "a suite without pairs": lambda: PrivateKey.generate("hmac-sha256"),
    "a class": lambda: as_key(PrivateKey),
    "an empty ring": lambda: Keyring(None),
    "one key twice": lambda: Keyring(OLD, OLD.public_key()),
    "a ring that only verifies": lambda: dumps(VALUE, key=Keyring(None, OLD.public_key())),
    "a date without a zone": lambda: Trusted(OLD, not_after=datetime(2027, 1, 1)),  # noqa: DTZ001 - that is the point
    "never trusted": lambda: Trusted(OLD, not_before=NOW, not_after=NOW),
    "a denied id that is none": lambda: Keyring(OLD, denied=["xyz"]),
    "pickled": lambda: pickle.dumps(OLD),
}


@pytest.mark.parametrize("name", ROLES)
def test_a_key_in_the_wrong_role_is_refused_without_a_secret_in_any_text(name: str):
    with pytest.raises(KeyringError) as caught:
        ROLES[name]()
    text = f"{caught.value!r} {caught.value}"
    for key in (PAIRS[ED25519], OLD, NEW):
        assert key.to_text()[26:60] not in text
        assert key._raw.hex() not in text
    assert SECRET.to_text()[22:] not in text


def test_secrets_are_in_no_repr():
    for key in (*PAIRS.values(), OLD):
        for shown in (repr(key), str(key), repr(Keyring(key)), repr(Trusted(key, "trainer")), repr([key])):
            assert key._raw.hex() not in shown
            assert key.to_text()[26:] not in shown
            assert key.key_id in shown


def test_the_bytes_of_a_public_key_are_no_secret():
    """Suite confusion: a MAC made with the public key's bytes must not pass for its signature."""
    key = PAIRS[ED25519]
    public = key.public_key()
    forger = SecretKey.from_bytes(bytes(public.raw))
    data = dumps(VALUE, key=forger)
    with pytest.raises(UnknownKeyError):
        loads(data, key=public)
    front = container._read_front(container._source(data))
    message = signed_message(ED25519, bytes.fromhex(public.key_id), front.digest)
    for suite, value in ((ED25519, __import__("hmac").digest(public.raw, message, "sha512")), ("hmac-sha256", forger.sign(front.digest))):
        forged = b"".join(container._front(front.raw, [safepickle.Signature(suite, public.key_id, value)])) + data[front.body_start :]
        with pytest.raises(AuthenticationError):
            loads(forged, key=public)


class Elsewhere:
    """A key that lives elsewhere: the two methods and two names of the protocol."""

    def __init__(self, key: PrivateKey) -> None:
        self._key, self.suite, self.key_id = key, key.suite, key.key_id

    def sign(self, digest: bytes) -> bytes:
        return self._key.sign(digest)

    def verify(self, digest: bytes, signature: bytes) -> None:
        self._key.verify(digest, signature)


def test_a_key_may_live_elsewhere():
    key = Elsewhere(OLD)
    data = dumps(VALUE, key=key)
    assert loads(data, key=key) == loads(data, key=OLD.public_key()) == VALUE
    key.suite = "rot13"
    with pytest.raises(KeyringError, match="rot13"):
        dumps(VALUE, key=key)


def test_a_serving_process_with_a_public_key_loads_and_cannot_sign(tmp_path: Path):
    """What production holds must not suffice to forge."""
    (tmp_path / "trainer.pub").write_text(OLD.public_key().to_text())
    dump(VALUE, tmp_path / "model.spkl", key=OLD)
    program = """
import os, safepickle
value = safepickle.load("model.spkl", key="file:trainer.pub")
assert value == {"answer": 42}
for forge in (
    lambda: safepickle.dump(value, "forged.spkl", key="file:trainer.pub"),
    lambda: safepickle.sign("model.spkl", key="file:trainer.pub", signed_by="file:trainer.pub"),
    lambda: safepickle.resign("model.spkl", key="file:trainer.pub", signed_by="file:trainer.pub"),
    lambda: safepickle.read_key("file:trainer.pub").sign(bytes(32)),
):
    try:
        forge()
    except (safepickle.KeyringError, AttributeError) as error:
        print(type(error).__name__)
assert not os.path.exists("forged.spkl")
"""
    child = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert child.stdout.split() == ["KeyringError", "KeyringError", "KeyringError", "AttributeError"]


# --- files ------------------------------------------------------------------------------------------------------


def test_a_keyring_file_comes_back_and_holds_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRAINER_KEY", OLD.to_text())
    ring = Keyring(
        Trusted(OLD, "trainer", uri="env:TRAINER_KEY"),
        Trusted(APPROVER.public_key(), "approver", not_before=NOW.replace(microsecond=0) - DAY, not_after=NOW.replace(microsecond=0) + DAY),
        NEW.public_key(),
        denied=[THIEF.key_id],
    )
    path = tmp_path / "keyring.toml"
    ring.write(path)
    text = path.read_text()
    assert OLD.to_text()[26:] not in text
    back = Keyring.read(path)
    assert (back.key_ids, back.denied, back.primary.key_id) == (ring.key_ids, ring.denied, OLD.key_id)
    assert [(each.not_before, each.not_after) for each in back.members] == [(each.not_before, each.not_after) for each in ring.members]
    assert back.to_text() == text
    data = dumps(VALUE, key=f"keyring:{path}")
    assert loads(data, key=f"keyring:{path}") == VALUE
    with pytest.raises(KeyringError, match="has no uri"):
        Keyring(OLD).write(tmp_path / "other.toml")
    assert not (tmp_path / "other.toml").exists()


BAD_FILES = {
    "not TOML": ("keyring = = 1", "not TOML"),
    "no version": ('[[key]]\npublic = "x"', "keyring = 1"),
    "unknown entry": ("keyring = 1\ntrust_all = true", "trust_all means nothing"),
    "secret inside": (f'keyring = 1\n[[key]]\npublic = "{SECRET.to_text()}"', "only a public key"),
    "private key inside": (f'keyring = 1\n[[key]]\npublic = "{OLD.to_text()}"', "only a public key"),
    "both": (f'keyring = 1\n[[key]]\npublic = "{OLD.public_key().to_text()}"\nuri = "env:X"', "either"),
    "damaged": (f'keyring = 1\n[[key]]\npublic = "{OLD.public_key().to_text()[:-2]}"', "damaged"),
    "primary that is none": (f'keyring = 1\nprimary = "x"\n[[key]]\nname = "y"\npublic = "{OLD.public_key().to_text()}"', "not the name"),
    "naive time": (f'keyring = 1\n[[key]]\npublic = "{OLD.public_key().to_text()}"\nnot_after = 2027-01-01', "with a zone"),
    "no keys": ("keyring = 1", "at least one"),
    "misspelt field": (f'keyring = 1\n[[key]]\npublic = "{OLD.public_key().to_text()}"\nnot_atfer = 2027-01-01T00:00:00Z', "not_atfer"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_keyring_file_that_is_none_is_named(name: str, tmp_path: Path):
    text, hint = BAD_FILES[name]
    path = tmp_path / "keyring.toml"
    path.write_text(text)
    with pytest.raises(KeyringError, match=hint) as caught:
        Keyring.read(path)
    assert str(path) in str(caught.value)
    for key in (SECRET.to_text()[22:], OLD.to_text()[26:]):
        assert key not in str(caught.value)


@pytest.mark.skipif(os.name != "posix", reason="file modes are those of POSIX")
def test_files_that_say_whom_to_trust_are_written_by_their_owner_only(tmp_path: Path):
    path, public, private = tmp_path / "keyring.toml", tmp_path / "a.pub", tmp_path / "a.key"
    Keyring(None, OLD.public_key()).write(path)
    public.write_text(OLD.public_key().to_text())
    private.write_bytes(OLD.to_pem())
    private.chmod(0o600)
    assert read_key(f"file:{private}") == OLD
    assert read_key(f"file:{public}") == OLD.public_key()
    path.chmod(0o666)
    public.chmod(0o666)
    private.chmod(0o644)
    for read in (lambda: Keyring.read(path), lambda: read_key(f"file:{public}"), lambda: read_key(f"file:{private}")):
        with pytest.raises(KeyringError, match="chmod"):
            read()


def test_signing_again_changes_the_front_of_the_file_only(tmp_path: Path):
    """Header and body are what was verified, byte for byte; the mode of the file stays."""
    import numpy as np

    path = tmp_path / "model.spkl"
    dump({"a": np.arange(300_000.0)}, path, key=OLD, metadata={"accuracy": 0.9})
    path.chmod(0o640)
    before = path.read_bytes()
    front = container._read_front(container._source(before))
    second = PAIRS[HYBRID if HAS_MLDSA else ECDSA_P256]
    sign(path, key=second, signed_by=OLD.public_key())
    after = path.read_bytes()
    again = container._read_front(container._source(after))
    assert again.raw == front.raw
    assert after[again.body_start :] == before[front.body_start :]
    assert path.stat().st_mode & 0o777 == 0o640
    assert load(path, key=Keyring(None, OLD.public_key(), second.public_key()), threshold=2)["a"].sum() == np.arange(300_000.0).sum()


@pytest.mark.parametrize("at", [-1, -100_000, 30])
def test_a_file_that_does_not_hold_is_not_signed_again(at: int, tmp_path: Path):
    """Verified first: nobody puts a name under what somebody changed."""
    path = tmp_path / "model.spkl"
    dump(bytes(300_000), path, key=OLD)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    for function in (sign, resign):
        with pytest.raises(SafePickleError):
            function(path, key=NEW, signed_by=OLD.public_key())
    assert path.read_bytes() == data
    assert [each.name for each in tmp_path.iterdir()] == ["model.spkl"]


# --- what a reviewer tried ---------------------------------------------------------------------------------------

SMALL_ORDER = [bytes([1]) + bytes(31), bytes(32), bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
               bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
               bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
               bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
               bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")]  # fmt: skip


@pytest.mark.parametrize("raw", SMALL_ORDER, ids=lambda raw: raw.hex()[:8])
@pytest.mark.parametrize("sign_bit", [0, 0x80])
def test_a_point_of_small_order_is_no_public_key(raw: bytes, sign_bit: int):
    """Under it a constant signature holds for every file, so an approver's "key" would be a vote that anyone can cast."""
    with pytest.raises(KeyringError):
        PublicKey(ED25519, raw[:31] + bytes((raw[31] | sign_bit,)))


def test_whatever_is_in_a_public_key_file_is_no_secret():
    """`load(f, key=open("trainer.pub", "rb").read())` would let everyone sign who has the public key."""
    public = OLD.public_key()
    for content in (
        f"# safepickle public key {public.key_id}: it verifies, and is not secret.\n{public.to_text()}\n".encode(),
        b"\xef\xbb\xbf" + public.to_pem(),
        b"# mine\n" + public.to_pem(),
        Keyring(None, public).to_text().encode(),
        public.raw,
        PAIRS[ECDSA_P256].public_key().raw,
    ):
        with pytest.raises(KeyringError):
            as_key(content)


@pytest.mark.skipif(HAS_MLDSA, reason="the installed cryptography has ML-DSA")
def test_without_ml_dsa_its_suite_says_what_to_install():
    with pytest.raises(KeyringError, match=r"has no ML-DSA, .*pip install --upgrade cryptography"):
        PrivateKey.generate(HYBRID)


@NEEDS_MLDSA
def test_one_key_alone_and_within_a_pair_is_one_person():
    both = PAIRS[HYBRID]
    alone = PrivateKey(ED25519, both._raw[:32])
    for members in ((alone.public_key(), both.public_key()), (both, alone)):
        with pytest.raises(KeyringError, match="one person"):
            Keyring(None, *members)


def test_a_key_that_the_environment_names_twice_is_trusted_only_while_both_entries_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from safepickle.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SAFEPICKLE_KEY", raising=False)
    dump(VALUE, "model.spkl", key=OLD)
    Keyring(None, Trusted(OLD.public_key(), not_after=NOW.replace(microsecond=0) - DAY)).write("ring.toml")
    text = OLD.public_key().to_text()
    for listed in (f"keyring:ring.toml {text}", f"{text} keyring:ring.toml"):
        monkeypatch.setenv("SAFEPICKLE_VERIFY_KEYS", listed)
        assert main(["verify", "model.spkl"]) == 1
    monkeypatch.setenv("SAFEPICKLE_VERIFY_KEYS", text)
    assert main(["verify", "model.spkl"]) == 0


def test_an_exact_pin_does_not_go_back_either():
    import io

    def info(serial: int) -> Any:
        return verify(io.BytesIO(dumps([serial], key=OLD, context="fraud \U0001f600/prod", serial=serial)), key=OLD)

    new, old = info(8), info(7)
    pins = safepickle.Pins().updated(new, exact=True)
    pins.check(new)
    for exact in (True, False):
        with pytest.raises(AuthenticationError, match="never goes back"):
            pins.updated(old, exact=exact)
    with pytest.raises(AuthenticationError):
        pins.check(old)
    with pytest.raises(AuthenticationError, match="pinned to one file"):
        pins.min_serial("fraud \U0001f600/prod")
    assert safepickle.Pins({"a/b": safepickle.Pin(serial=3)}).min_serial("a/b") == 3


def test_any_printable_context_comes_back_from_a_pins_file(tmp_path: Path):
    contexts = ["a/b", "fraud \U0001f600/prod", 'quote " \\ back', "Ünïcode/\U0001d4b3"]
    pins = safepickle.Pins({context: safepickle.Pin(serial=number) for number, context in enumerate(contexts)})
    pins.write(tmp_path / "pins.toml")
    assert safepickle.Pins.read(tmp_path / "pins.toml") == pins


@pytest.mark.parametrize("text", ["keyring = " + "9" * 5000, "keyring = true", "a" + ".a" * 5000 + " = 1"])
def test_a_keyring_file_of_odd_numbers_raises_what_is_ours(text: str, tmp_path: Path):
    (tmp_path / "keyring.toml").write_text(text)
    with pytest.raises(KeyringError):
        Keyring.read(tmp_path / "keyring.toml")
