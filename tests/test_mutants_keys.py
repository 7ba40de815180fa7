"""What must hold of keys and no other test asked: found by its mutants, see mutants/README.md."""

from __future__ import annotations

import base64
import contextlib
import copy
import hashlib
import hmac
import sys
import types
from typing import Any, get_type_hints

import pytest
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import asymmetric, hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from safepickle import AuthenticationError, KeyringError, PrivateKey, PublicKey, SecretKey, Signature, read_key
from safepickle.keys import (
    ECDSA_P256,
    ED25519,
    HYBRID,
    MAX_KEY_FILE_BYTES,
    REMOTE_HMAC,
    SUITES,
    Signer,
    Verifier,
    _base64url,
    _checksum,
    _same_id,
    _verify_ecdsa,
    _wrapped,
    as_key,
    parse_key,
    public_key_id,
    remote_key_id,
)

SECRET = hashlib.sha256(b"mutants").digest()
PAIR = PrivateKey(ED25519, SECRET)
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


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


def test_a_signature_cannot_be_changed():
    signature = Signature(ED25519, "0" * 16, b"value")
    with pytest.raises(AttributeError):
        signature.value = b"other"
    with pytest.raises((AttributeError, TypeError)):
        signature.other = 1


@pytest.mark.parametrize("key", [PAIR, PAIR.public_key(), SecretKey(SECRET)], ids=["private", "public", "secret"])
def test_a_copy_of_a_key_is_that_key(key):
    assert copy.copy(key) == key
    assert copy.deepcopy([key]) == [key]
    assert isinstance(key, PublicKey) or copy.copy(key) is copy.deepcopy(key) is key


@pytest.mark.parametrize("suite", [ED25519, ECDSA_P256, HYBRID])
def test_a_key_pair_comes_back_from_each_form(suite):
    if suite == HYBRID:
        pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa")
    key = PrivateKey(suite, SECRET * (2 if suite == HYBRID else 1))
    public = key.public_key()
    assert PrivateKey.from_text(key.to_text()) == PrivateKey.from_pem(key.to_pem()) == key
    assert PrivateKey.from_pem(key.to_pem(b"word"), b"word") == key
    assert PublicKey.from_text(public.to_text()) == PublicKey.from_pem(public.to_pem()) == public
    assert (public.suite, len(public.raw), public.raw) == (suite, SUITES[suite].public_bytes, public._raw)
    assert public.key_id == key.key_id == public_key_id(suite, public.raw) == named(b"safepickle container v1 public key", suite.encode(), public.raw)


def test_raw_bytes_of_a_key_have_their_length():
    for wrong in (SECRET[:-1], SECRET + b"x", bytearray(SECRET)):
        with pytest.raises(KeyringError, match="a private key of suite ed25519 has 32 bytes"):
            PrivateKey(ED25519, wrong)
        with pytest.raises(KeyringError, match="a public key of suite ed25519 has 32 bytes"):
            PublicKey(ED25519, wrong)


def test_without_ml_dsa_a_hybrid_key_asks_for_another_cryptography(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.mldsa", None)
    monkeypatch.delattr(asymmetric, "mldsa", raising=False)
    with pytest.raises(KeyringError, match="the installed cryptography has no ML-DSA"):
        PrivateKey(HYBRID, SECRET * 2)


def test_an_algorithm_that_cryptography_lacks_asks_for_another_one():
    def lacking() -> None:
        raise UnsupportedAlgorithm("what")

    with pytest.raises(KeyringError, match="the installed cryptography cannot use this test: pip install"):
        _wrapped("test", lacking)


def test_pem_is_bytes_of_at_most_the_length_of_a_key_file():
    with pytest.raises(KeyringError, match="PEM is bytes, not str"):
        PublicKey.from_pem(PAIR.public_key().to_pem().decode())
    pem = PAIR.public_key().to_pem()
    assert PublicKey.from_pem(pem.ljust(MAX_KEY_FILE_BYTES)) == PAIR.public_key()
    with pytest.raises(KeyringError, match="longer than 65536 bytes"):
        PublicKey.from_pem(pem.ljust(MAX_KEY_FILE_BYTES + 1))


def test_a_textual_key_is_at_most_as_long_as_a_key_file():
    text = PAIR.to_text()
    assert PrivateKey.from_text(text.ljust(MAX_KEY_FILE_BYTES)) == PAIR
    with pytest.raises(KeyringError, match="this is not a textual private key"):
        PrivateKey.from_text(text.ljust(MAX_KEY_FILE_BYTES + 1))


def test_a_key_of_another_form_is_named_as_what_it_is():
    with pytest.raises(KeyringError, match=f"^{PAIR.key_id} is a private key, and a public key is needed here"):
        PublicKey.from_text(PAIR.to_text())
    with pytest.raises(KeyringError, match="is a public key, and a secret key is needed here"):
        SecretKey.from_text(PAIR.public_key().to_text())


def test_a_key_in_base64_is_no_secret_though_a_character_was_added_to_it():
    der = base64.b64decode(b"".join(PAIR.to_pem().splitlines()[1:-1]))
    text = base64.b64encode(der).rstrip(b"=")
    for more in (b"", b"A", b"AA", b"AAA", b"AAAA"):
        with pytest.raises(KeyringError, match="not a secret"):
            SecretKey(text + more)


@pytest.mark.parametrize("size", [80, 150, 300])
def test_a_sequence_in_der_is_no_secret_if_it_says_its_own_length(size):
    """As keys of PKCS #1 are, whatever their length takes."""
    content = b"\x02" + bytes(range(100, 200)) * 3
    head = {80: b"\x30\x50", 150: b"\x30\x81\x96", 300: b"\x30\x82\x01\x2c"}[size]
    with pytest.raises(KeyringError, match="not a secret"):
        SecretKey(head + content[:size])
    assert SecretKey(head + content[: size - 1])
    assert SecretKey(head + content[: size + 1])


@pytest.mark.parametrize(("scheme", "module"), [("awskms", "aws_kms"), ("pkcs11", "pkcs11"), ("vault", "vault")])
def test_a_remote_key_is_read_by_its_adapter(monkeypatch, scheme, module):
    """Which is imported only then: what stands in its place here says that it was asked."""
    monkeypatch.setitem(sys.modules, f"safepickle.integrations.{module}", types.SimpleNamespace(from_uri=lambda rest: (module, rest)))
    assert read_key(f"{scheme}:rest:of it") == (module, "rest:of it")


@pytest.mark.parametrize(
    "mark", ["-----BEGIN", "spk1_", "spkpub1_", "spkpriv1_", "keyring = ", "ssh-ed25519 ", "ssh-rsa ", '"kty"'], ids=lambda mark: mark.strip(' ="')
)
def test_bytes_with_a_key_somewhere_in_them_are_no_secret(mark):
    rest = bytes(range(128, 168))
    for data in (mark.encode() + rest, rest + mark.encode(), rest[:20] + mark.encode() + rest[20:]):
        with pytest.raises(KeyringError, match="use read_key"):
            SecretKey(data)
    assert SecretKey(rest + mark[1:].encode())


def test_the_suites_of_the_format():
    """SPEC.md has them; another number is another format."""
    assert [tuple(suite) for suite in SUITES.values()] == [
        ("hmac-sha256", 1, 32, 0, 0),
        ("ed25519", 2, 64, 32, 32),
        ("ed25519+ml-dsa-65", 3, 3373, 1984, 64),
        ("ecdsa-p256-sha256", 4, 64, 65, 32),
        ("remote-hmac-sha256", 5, 32, 0, 0),
    ]
    assert list(SUITES) == [suite.name for suite in SUITES.values()]


@pytest.mark.parametrize(
    "begin", [b"openssh-key-v1\0", b"\0\0\0\x0bssh-ed25519", b"\0\0\0\x13ecdsa-sha2-nistp256", b"\0\0\0\x1ask-ssh-ed25519@openssh.com"]
)
def test_what_begins_as_the_bytes_of_openssh_is_no_secret(begin):
    rest = bytes(range(128, 168))
    with pytest.raises(KeyringError, match="use read_key"):
        SecretKey(begin + rest)
    assert SecretKey(rest + begin)


def test_a_signature_of_p_256_is_in_the_lower_half_and_of_64_bytes():
    key = PrivateKey(ECDSA_P256, SECRET)
    signature = key.sign(bytes(32))
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    assert 0 < s <= ORDER // 2
    key.verify(bytes(32), r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    for wrong in ((r, ORDER - s), (0, s), (r, 0), (ORDER, s), (r, ORDER), (r + 1, s), (r, s + 1)):
        with pytest.raises(AuthenticationError):
            key.verify(bytes(32), b"".join(each.to_bytes(32, "big") for each in wrong))
    for wrong in (signature[:-1], signature + b"\0", b""):
        with pytest.raises(AuthenticationError):
            key.verify(bytes(32), wrong)


def test_a_mac_is_that_of_spec():
    """HKDF (RFC 5869) without salt and HMAC (RFC 2104), said once more with nothing but hmac."""
    extracted = hmac.new(bytes(32), SECRET, hashlib.sha256).digest()
    info = b"safepickle container v1 hmac-sha256"
    first = hmac.new(extracted, info + b"\1", hashlib.sha256).digest()
    second = hmac.new(extracted, first + info + b"\2", hashlib.sha256).digest()
    key, digest = SecretKey(SECRET), hashlib.sha256(b"a header").digest()
    assert key.key_id == second[:8].hex()
    fields = (b"safepickle container v1", b"hmac-sha256", second[:8], digest)
    message = b"".join(bytes((len(field),)) + field for field in fields)
    assert key.sign(digest) == hmac.new(first, message, hashlib.sha256).digest()
    key.verify(digest, key.sign(digest))
    with pytest.raises(AuthenticationError, match=f"the MAC by key {key.key_id} does not hold"):
        key.verify(bytes(32), key.sign(digest))
    for wrong in (digest[:-1], digest + b"\0", b""):
        with pytest.raises(ValueError, match="a digest of 32 bytes is signed"):
            key.sign(wrong)


def test_other_keys_are_other_keys():
    other = hashlib.sha256(b"other").digest()
    for kind in (ED25519, ECDSA_P256):
        assert PrivateKey(kind, SECRET) != PrivateKey(kind, other)
        assert PrivateKey(kind, SECRET).public_key() != PrivateKey(kind, other).public_key()
    assert PrivateKey(ED25519, SECRET) != PrivateKey(ECDSA_P256, SECRET)
    assert SecretKey(SECRET) != SecretKey(other)
    assert SecretKey.generate() != SecretKey.generate()
    assert PrivateKey.generate() != PrivateKey.generate(ED25519)
    assert PrivateKey.generate(ECDSA_P256) != PrivateKey.generate(ECDSA_P256)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["env:SAFEPICKLE_KEY, or another name", "ssh-something that is long enough"])
def test_a_name_of_a_key_in_utf_16_is_no_secret(encoding, text):
    for data in (text.encode(encoding), b"\xfe\xff" + text.encode("utf-16-be")):
        with pytest.raises(KeyringError, match="use read_key"):
            SecretKey(data)


def test_what_is_no_key_is_named():
    with pytest.raises(KeyringError, match=r"^no key: pass key=read_key"):
        as_key(None)
    with pytest.raises(KeyringError, match="or bytes of at least 32, not int"):
        as_key(3)
    assert as_key(PAIR) is PAIR
    assert as_key(SECRET) == SecretKey(SECRET)
    other = ec.generate_private_key(ec.SECP384R1()).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(KeyringError, match="a key in PEM is Ed25519, Ed25519 followed by ML-DSA-65, or an elliptic-curve key on P-256"):
        PublicKey.from_pem(other)


def test_a_textual_key_is_that_of_spec():
    key = SecretKey(SECRET)
    checksum = hashlib.sha256(f"spk1_{key.key_id}_".encode() + SECRET).digest()[:4]
    assert key.to_text() == f"spk1_{key.key_id}_{base64.urlsafe_b64encode(SECRET + checksum).decode()}"
    public = PAIR.public_key()
    payload = b"\2" + public.raw
    checksum = hashlib.sha256(f"spkpub1_{public.key_id}_".encode() + payload).digest()[:4]
    assert public.to_text() == f"spkpub1_{public.key_id}_{base64.urlsafe_b64encode(payload + checksum).decode().rstrip('=')}"


def test_an_encrypted_key_asks_for_its_password():
    with pytest.raises(KeyringError, match="this private key is encrypted: decrypt it into a secret store"):
        PrivateKey.from_pem(PAIR.to_pem(b"word"))
    with pytest.raises(KeyringError, match="or not with this password"):
        PrivateKey.from_pem(PAIR.to_pem(b"word"), b"another")


def test_a_key_in_hexadecimal_or_the_other_alphabet_is_no_secret():
    text = PAIR.to_text().encode()
    der = base64.b64decode(b"".join(PAIR.to_pem().splitlines()[1:-1]))
    sixteen = der.hex()
    for form in (sixteen, sixteen.upper(), ":".join(sixteen[at : at + 2] for at in range(0, len(sixteen), 2)), text.hex()):
        with pytest.raises(KeyringError, match="use read_key"):
            SecretKey(form.encode())
    high = PublicKey.from_pem(PAIR.public_key().to_pem())
    wrapped = base64.urlsafe_b64encode(b"\xfb\xef\xff" + high.to_pem())
    assert b"-" in wrapped or b"_" in wrapped
    with pytest.raises(KeyringError, match="use read_key"):
        SecretKey(b"\xfe\xdc:" + bytes(range(130, 150)) + b" " + wrapped)


def test_a_private_key_of_p_256_is_any_number_from_one_to_the_order_less_one(monkeypatch):
    """FIPS 186-5, A.2.2; here randomness is what the test says."""
    asked: list[int] = []
    for drawn, raw in ((0, 1), (ORDER - 2, ORDER - 1)):
        monkeypatch.setattr("secrets.randbelow", lambda below, drawn=drawn: asked.append(below) or drawn)
        assert PrivateKey.generate(ECDSA_P256) == PrivateKey(ECDSA_P256, raw.to_bytes(32, "big"))
    assert asked == [ORDER - 1, ORDER - 1]


@pytest.mark.parametrize(
    ("s", "holds"), [(1, True), (ORDER // 2, True), (ORDER // 2 + 1, False), (ORDER - 1, False)], ids=["one", "half", "above half", "last"]
)
def test_a_signature_of_p_256_may_have_each_s_of_the_lower_half(s, holds):
    """The key is made for the signature: with any nonce, d = (s * nonce - digest) / r signs the message with that s."""
    message, nonce = b"a message", 3
    r = ec.derive_private_key(nonce, ec.SECP256R1()).public_key().public_numbers().x
    d = (s * nonce - int.from_bytes(hashlib.sha256(message).digest(), "big")) * pow(r, -1, ORDER) % ORDER
    public = ec.derive_private_key(d, ec.SECP256R1()).public_key()
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    public.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    with contextlib.nullcontext() if holds else pytest.raises(InvalidSignature):
        _verify_ecdsa(public, message, signature)


def test_a_secret_is_searched_for_a_key_three_wrappings_deep():
    """Each one takes time, so there is an end; what tools and stores make is two deep."""
    wrapped = PAIR.to_pem()
    for _ in range(4):
        with pytest.raises(KeyringError, match="not a secret"):
            SecretKey(wrapped)
        wrapped = base64.b64encode(wrapped)
    assert SecretKey(wrapped)


def test_no_key_in_der_is_shorter_than_forty_bytes():
    """Random secrets of 32 bytes may well look like the beginning of one."""
    for size, refused in ((39, False), (40, True), (41, True)):
        data = bytes((0x30, size - 2, 0x02, *range(200, 200 + size - 3)))
        with pytest.raises(KeyringError, match="not a secret") if refused else contextlib.nullcontext():
            SecretKey(data)


@pytest.mark.parametrize("more", [b"", b"A"], ids=["whole", "cut"])
def test_a_sequence_in_der_is_no_secret_in_base64_of_short_words(more):
    """As people write it in groups. It ends in `A` or in `X`: of the end only `=` is padding."""
    content = bytes((0x30, 40, 0x02, *range(160, 198)))
    for last in (0xC0, 0xD7):
        text = base64.b64encode(content + bytes((last,))) + more
        for width in (4, 10):
            with pytest.raises(KeyringError, match="not a secret"):
                SecretKey(b" ".join(text[at : at + width] for at in range(0, len(text), width)))


def test_a_private_and_a_public_key_in_one_file_are_told_apart_by_the_first():
    private, public = PAIR.to_pem(), PAIR.public_key().to_pem()
    with pytest.raises(KeyringError, match=r"^in a test: this PEM holds a public key, and a private key is needed here$"):
        parse_key(private + public, "a test")
    with pytest.raises(KeyringError, match=r"^in a test: this PEM holds a private key, and a public key is needed here$"):
        parse_key(public + private, "a test")


def test_a_block_of_pem_that_does_not_end_is_no_block_whatever_its_label():
    with pytest.raises(KeyringError, match=r"^this is not PEM: it has no block between '-----BEGIN' and '-----END'$"):
        PublicKey.from_pem(b"-----BEGIN CERTIFICATE-----\nAAAA\n")


def test_a_key_file_that_cannot_be_used_is_called_that(tmp_path):
    missing, public = tmp_path / "missing", tmp_path / "public"
    with pytest.raises(KeyringError, match=rf"^the key file {missing} cannot be read: No such file"):
        read_key(f"file:{missing}")
    public.write_text(PAIR.public_key().to_text())
    public.chmod(0o646)
    with pytest.raises(KeyringError, match=rf"^the key file {public} is writable by others \(mode 0646\)"):
        read_key(f"file:{public}")


def test_a_signature_has_no_room_for_anything_else():
    with pytest.raises(AttributeError):
        object.__setattr__(Signature(ED25519, "0" * 16, b"value"), "other", 1)


def test_the_types_of_functions_can_be_asked_for():
    """As makers of documentation do."""
    assert get_type_hints(as_key) == {"key": Any, "return": SecretKey | PrivateKey | PublicKey | Signer | Verifier}
    assert get_type_hints(_same_id)["key"].__constraints__ == (PrivateKey, PublicKey)
