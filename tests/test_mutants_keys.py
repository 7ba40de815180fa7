"""What must hold of keys and no other test asked: found by its mutants, see mutants/README.md."""

from __future__ import annotations

import hashlib

import pytest

from safepickle import AuthenticationError, KeyringError, PrivateKey, PublicKey, SecretKey, Signature, read_key
from safepickle.keys import ECDSA_P256, ED25519, REMOTE_HMAC, SUITES, _base64url, _checksum, parse_key, remote_key_id

SECRET = hashlib.sha256(b"mutants").digest()
PAIR = PrivateKey(ED25519, SECRET)


def named(label: bytes, *fields: bytes) -> str:
    """What SPEC.md says of key ids, said once more."""
    return hashlib.sha256(b"".join(len(each).to_bytes(4, "little") + each for each in (label, *fields))).digest()[:8].hex()


def test_the_key_id_of_a_remote_key_is_made_of_its_name_in_utf_8():
    expected = named(b"safepickle container v1 remote key", REMOTE_HMAC.encode(), "schlüssel/1".encode())
    assert remote_key_id(REMOTE_HMAC, "schlüssel/1") == expected


@pytest.mark.parametrize("key", [SecretKey(SECRET), PAIR, PAIR.public_key()], ids=["secret", "private", "public"])
def test_a_key_is_not_equal_to_something_else_and_says_so(key):
    other = type(key).from_text(key.to_text())
    assert (key == other) is True
    assert hash(key) == hash(other)
    assert (key == key.to_text()) is False
    assert (key != key.to_text()) is True
    assert key not in {SECRET, key.key_id}


def test_how_keys_and_signatures_are_shown():
    """A log tells which key it was, by its id."""
    public, secret = PAIR.public_key(), SecretKey(SECRET)
    assert repr(secret) == f"<SecretKey {secret.key_id} hmac-sha256>"
    assert repr(PAIR) == f"<PrivateKey {PAIR.key_id} ed25519>"
    assert repr(public) == f"<PublicKey {public.key_id} ed25519>"
    assert repr(Signature(ED25519, public.key_id, b"value")) == f"Signature(suite='ed25519', key_id='{public.key_id}')"
    assert [repr(kind.__new__(kind)) for kind in (SecretKey, PrivateKey, PublicKey)] == ["<SecretKey  hmac-sha256>", "<PrivateKey>", "<PublicKey>"]


def test_a_secret_has_at_least_eight_distinct_bytes():
    assert SecretKey(bytes(range(100, 108)) * 4)
    with pytest.raises(KeyringError, match="not random"):
        SecretKey(bytes(range(100, 107)) * 5)


@pytest.mark.parametrize(
    "begin", ["ssh-", "sk-ssh-", "sk-ecdsa-", "ecdsa-", "spk1_", "spkpub1_", "spkpriv1_", "env:", "file:", "AGE-SECRET-KEY-", "age1"]
)
def test_what_begins_as_the_name_or_text_of_a_key_is_no_secret(begin):
    rest = bytes(range(128, 168))
    with pytest.raises(KeyringError, match="use read_key"):
        SecretKey(begin.encode() + rest)
    with pytest.raises(KeyringError, match="use read_key"):
        SecretKey(b" \n" + begin.encode() + rest)
    assert SecretKey(begin[1:].encode() + rest)


@pytest.mark.parametrize("text", ["spk1_x", "spkpriv1_x", "spkpub1_x"])
def test_a_key_in_the_place_of_its_uri_is_named_as_such(text):
    with pytest.raises(KeyringError, match="this is a key itself"):
        read_key(text)


@pytest.mark.parametrize("rest", [SecretKey(SECRET).to_text(), "-----BEGIN PRIVATE KEY-----"], ids=["text", "PEM"])
def test_a_key_behind_the_colon_of_a_uri_is_named_as_such(rest):
    with pytest.raises(KeyringError, match="what looks like a key itself"):
        read_key(f"env:{rest}")


def test_a_variable_that_is_not_utf_8_is_a_keyring_error(monkeypatch):
    monkeypatch.setenv("SAFEPICKLE_MUTANT", "spk1_\udcff")
    with pytest.raises(KeyringError, match="in the environment variable SAFEPICKLE_MUTANT: this is not a textual secret key"):
        read_key("env:SAFEPICKLE_MUTANT")


def test_a_textual_key_of_a_suite_to_come_asks_for_an_upgrade():
    payload, key_id = b"\xee" + SECRET, "0" * 16
    with pytest.raises(KeyringError, match="upgrade"):
        parse_key(f"spkpub1_{key_id}_{_base64url(payload + _checksum('spkpub1', key_id, payload))}".encode(), "a test")


@pytest.mark.parametrize("last", ["X", "A", "_", "-"])
def test_a_textual_key_keeps_its_last_character(last):
    """Only padding is taken off."""
    texts = (SecretKey(hashlib.sha256(b"%d" % number).digest()).to_text() for number in range(10_000))
    text = next(text for text in texts if text.endswith(last))
    assert SecretKey.from_text(text).to_text() == text


def test_text_that_has_no_pem_in_it_is_said_not_to_be_pem():
    with pytest.raises(KeyringError, match="this is not PEM"):
        PublicKey.from_pem(b"no PEM")
    with pytest.raises(KeyringError, match="between or around"):
        PublicKey.from_pem(b"-----END PUBLIC KEY-----")


@pytest.mark.parametrize("suite", [ED25519, ECDSA_P256])
def test_a_private_key_verifies_what_it_signed_and_nothing_else(suite):
    key = PrivateKey(suite, SECRET)
    digest, other = bytes(32), bytes(31) + b"\1"
    signature = key.sign(digest)
    assert len(signature) == SUITES[suite].signature_bytes
    key.verify(digest, signature)
    with pytest.raises(AuthenticationError):
        key.verify(other, signature)
