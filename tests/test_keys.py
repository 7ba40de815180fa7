"""Keys: what is refused as a key, that secrets stay secret, and what exactly is derived and signed."""

from __future__ import annotations

import copy
import hashlib
import hmac
import os
import pickle
import re
import string
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safepickle import AuthenticationError, Keyring, KeyringError, SecretKey, UnknownKeyError, dumps, loads, read_key
from safepickle.keyring import as_keyring
from safepickle.keys import HMAC_SHA256, as_key, parse_key, signed_message

SECRET = hashlib.sha256(b"a secret of test_keys").digest()
DIGEST = hashlib.sha256(b"a header").digest()
KEY = SecretKey.from_bytes(SECRET)
TEXT = KEY.to_text()
OTHER = SecretKey.from_bytes(hashlib.sha256(b"another secret of test_keys").digest())


def hkdf(secret: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 with SHA-256 and without salt, written down here once more so that it cannot be wrong in the same way."""
    extracted = hmac.digest(bytes(32), secret, "sha256")
    output = block = b""
    for number in range(1, -(-length // 32) + 1):
        block = hmac.digest(extracted, block + info + bytes((number,)), "sha256")
        output += block
    return output[:length]


def mac_key(secret: bytes) -> bytes:
    return hkdf(secret, b"safepickle container v1 hmac-sha256", 40)[:32]


# --- what is derived -------------------------------------------------------------------------------------------


def test_the_hkdf_of_this_file_gives_the_vector_of_the_rfc():
    """RFC 5869, A.3: SHA-256, no salt, no info."""
    assert hkdf(b"\x0b" * 22, b"", 42).hex() == ("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8")


@pytest.mark.parametrize("secret", [SECRET, SECRET + b"x", SECRET * 2, SECRET * 32], ids=len)
def test_key_id_and_mac_are_those_of_the_specification(secret: bytes):
    key = SecretKey.from_bytes(secret)
    key_id = hkdf(secret, b"safepickle container v1 hmac-sha256", 40)[32:]
    message = b"\x17safepickle container v1" + b"\x0bhmac-sha256" + b"\x08" + key_id + b"\x20" + DIGEST
    assert key.key_id == key_id.hex()
    assert signed_message(HMAC_SHA256, key_id, DIGEST) == message
    assert key.sign(DIGEST) == hmac.digest(mac_key(secret), message, "sha256")


def test_a_mac_never_changes_between_releases():
    """Known answer: were it to change, no file of an older release would load."""
    assert KEY.key_id == "57cfc17ffc3ee806"
    assert KEY.sign(DIGEST).hex() == "5a47730f09e4d7d68c4e101f4dd8d970c102fc5d0a7badc5560bcf9a3f38cdec"


def test_the_mac_is_bound_to_suite_and_key_id():
    """The same MAC key under another suite or id signs something else: no signature can be moved to another entry."""
    id_1, id_2 = bytes.fromhex(KEY.key_id), bytes.fromhex(OTHER.key_id)
    messages = {
        signed_message("hmac-sha256", id_1, DIGEST),
        signed_message("hmac-sha256", id_2, DIGEST),
        signed_message("ed25519", id_1, DIGEST),
        signed_message("hmac-sha256", id_1, SECRET),
        DIGEST,
    }
    assert len(messages) == 5
    assert KEY.sign(DIGEST) != OTHER.sign(DIGEST) != hmac.digest(SECRET, DIGEST, "sha256")


def test_fields_of_the_signed_message_cannot_flow_into_each_other():
    assert signed_message("ab", b"c", DIGEST) != signed_message("a", b"bc", DIGEST)


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_only_a_digest_of_32_bytes_is_signed(length: int):
    with pytest.raises(ValueError, match="32 bytes"):
        KEY.sign(bytes(length))


@pytest.mark.parametrize("signature", [b"", KEY.sign(DIGEST)[:1], KEY.sign(DIGEST)[:31], KEY.sign(DIGEST) + b"\0", bytes(32), OTHER.sign(DIGEST)])
def test_a_shortened_or_foreign_mac_does_not_hold(signature: bytes):
    with pytest.raises(AuthenticationError, match="changed after it was signed"):
        KEY.verify(DIGEST, signature)
    KEY.verify(DIGEST, KEY.sign(DIGEST))


def test_signing_leaves_the_key_as_it_was():
    assert KEY.sign(DIGEST) == KEY.sign(DIGEST)


# --- making keys, and the textual form -------------------------------------------------------------------------


def test_generated_keys_differ_and_are_32_bytes():
    keys = [SecretKey.generate() for _ in range(50)]
    assert len({key.key_id for key in keys}) == len({key.to_text() for key in keys}) == 50
    assert {len(key.to_text()) for key in keys} == {5 + 16 + 1 + 48}


@pytest.mark.parametrize("length", [32, 33, 34, 35, 64, 1024])
def test_the_textual_form_comes_back(length: int):
    secret = (SECRET * 32)[:length]
    key = SecretKey.from_bytes(secret)
    text = key.to_text()
    assert re.fullmatch("spk1_[0-9a-f]{16}_[A-Za-z0-9_-]+", text)
    assert SecretKey.from_text(text) == key
    assert SecretKey.from_text(f"  {text}\r\n").to_text() == text


@pytest.mark.parametrize("space", [" ", "\t", "\r\n", "\x0b", "\x0c", "\x1c", "\x1f", "\x85", "\xa0", "\u2028", "\u3000", "\ufeff"])
def test_both_readers_of_a_textual_form_take_the_same_space_around_it(space: str):
    """`from_text` took 23 kinds of space of which `read_key` refuses a file."""
    for text in (space + TEXT, TEXT + space):
        if space.strip(string.whitespace):
            with pytest.raises(KeyringError, match="textual"):
                SecretKey.from_text(text)
            with pytest.raises(KeyringError, match="textual"):
                parse_key(text.encode(), "a file")
        else:
            assert SecretKey.from_text(text) == parse_key(text.encode(), "a file") == KEY


def test_every_change_of_one_character_of_the_textual_form_is_refused():
    """A slip in copying must not give another key, which would sign files that nobody can read."""
    characters = sorted(set(string.ascii_letters + string.digits + "_-+/= \n\0é²"))
    tried = 0
    for at, old in enumerate(TEXT):
        for new in characters:
            if new != old:
                with pytest.raises(KeyringError):
                    SecretKey.from_text(TEXT[:at] + new + TEXT[at + 1 :])
                tried += 1
    assert tried == len(TEXT) * (len(characters) - 1)


def test_every_missing_doubled_or_exchanged_character_of_the_textual_form_is_refused():
    for at in range(len(TEXT)):
        changed = {TEXT[:at] + TEXT[at + 1 :], TEXT[:at] + TEXT[at] + TEXT[at:], TEXT[:at] + TEXT[at : at + 2][::-1] + TEXT[at + 2 :], TEXT[:at]}
        for text in changed - {TEXT}:
            with pytest.raises(KeyringError):
                SecretKey.from_text(text)


def test_an_encoding_of_the_secret_with_spare_bits_set_is_refused():
    """33 bytes and the checksum leave bits of the last base64 character unused: only zeros are the one encoding."""
    text = SecretKey.from_bytes(SECRET + b"x").to_text()
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    at = alphabet.index(text[-1])
    for spare in range(1, 4):
        with pytest.raises(KeyringError, match="damaged"):
            SecretKey.from_text(text[:-1] + alphabet[at | spare])


@pytest.mark.parametrize(
    "text", ["", " ", "spk1", "spk1_", f"{TEXT} {TEXT}", f"{TEXT}\n{TEXT}", TEXT.upper(), TEXT.replace("spk1", "spk2"), None, 7, TEXT.encode()]
)
def test_what_is_no_textual_key_is_refused(text: Any):
    with pytest.raises(KeyringError):
        SecretKey.from_text(text)


def der_public_key() -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    public = ec.derive_private_key(int.from_bytes(SECRET), ec.SECP256R1()).public_key()
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


PEM = b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n"

NOT_SECRETS = {
    "31 bytes": (SECRET[:31], "too short"),
    "nothing": (b"", "too short"),
    "1025 bytes": ((SECRET * 33)[:1025], "too long"),
    "text": ("a password that is long enough, really", "password is not a key"),
    "the textual form as text": (TEXT, "bytes, not str"),
    "None": (None, "not NoneType"),
    "a number": (32, "not int"),
    "a list": ([1] * 32, "not list"),
    "PEM": (PEM, "public key must never serve as a secret"),
    "PEM after an empty line": (b"\n" + PEM, "public key must never serve as a secret"),
    "DER public key": (der_public_key(), "public key must never serve as a secret"),
    "ssh": (b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl x@y", "public key"),
    "ssh ecdsa": (b"ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENj", "public key"),
    "ssh hardware key": (b"sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIJ", "public key"),
    "textual form as bytes": (TEXT.encode(), "from_text"),
    "textual form as bytes after a space": (b" " + TEXT.encode(), "from_text"),
    "a key URI as bytes": (b"env:SAFEPICKLE_KEY_of_some_length_that_suffices", "read_key"),
    "32 zero bytes": (bytes(32), "not random"),
    "seven distinct bytes": (b"abcdefg" * 6, "not random"),
}


@pytest.mark.parametrize("case", NOT_SECRETS)
def test_what_is_no_secret_is_refused_with_a_hint(case: str):
    secret, hint = NOT_SECRETS[case]
    with pytest.raises(KeyringError, match=hint):
        SecretKey.from_bytes(secret)


@pytest.mark.parametrize("case", [case for case, (secret, _) in NOT_SECRETS.items() if not isinstance(secret, str)])
def test_dumps_and_loads_refuse_it_as_a_key_too(case: str, key: SecretKey):
    signed = dumps([1], key=key)
    for use in (lambda bad: dumps([1], key=bad), lambda bad: loads(signed, key=bad), as_key, Keyring):
        with pytest.raises(KeyringError):
            use(NOT_SECRETS[case][0])


def test_raw_bytes_are_taken_as_they_are():
    """Nothing is stripped: a newline at the end makes another key, in sight of its id."""
    assert as_key(SECRET) == as_key(bytearray(SECRET)) == KEY
    assert as_key(SECRET + b"\n").key_id != KEY.key_id


# --- key URIs --------------------------------------------------------------------------------------------------


@pytest.fixture
def key_file(tmp_path: Path) -> Callable[..., str]:
    def make(content: bytes, mode: int = 0o600) -> str:
        path = tmp_path / "the.key"
        path.write_bytes(content)
        path.chmod(mode)
        return f"file:{path}"

    return make


def test_a_key_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("A_KEY", f"{TEXT}\n")
    assert read_key("env:A_KEY") == as_key("env:A_KEY") == as_keyring("env:A_KEY").primary == KEY
    assert loads(dumps([1, 2], key="env:A_KEY"), key=KEY) == [1, 2]


@pytest.mark.parametrize(
    ("value", "hint"), [(None, "A_KEY is not set.*keygen"), ("", "A_KEY is not set"), ("x", "A_KEY: this is not"), (TEXT[:-1], "A_KEY.*damaged")]
)
def test_an_unusable_environment_variable_is_named(monkeypatch: pytest.MonkeyPatch, value: str | None, hint: str):
    monkeypatch.delenv("A_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("A_KEY", value)
    with pytest.raises(KeyringError, match=hint):
        read_key("env:A_KEY")


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        f"{TEXT}\n".encode(),
        f"{TEXT}\r\n".encode(),
        f"# made 2026-01-01\n\n   # by ops\n  {TEXT}  \n\n# end\n".encode(),
        "# für é\n".encode() + TEXT.encode(),
    ],
    ids=["bare", "newline", "crlf", "comments", "comment beyond ASCII"],
)
def test_a_key_is_read_from_a_file(key_file: Callable[..., str], content: bytes):
    assert read_key(key_file(content)) == KEY


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"", "0 key lines"),
        (b"# only a comment\n", "0 key lines"),
        (f"{TEXT}\n{OTHER.to_text()}\n".encode(), "2 key lines"),
        (f"{TEXT}\n{TEXT}\n".encode(), "2 key lines"),
        (f"{TEXT} # mine\n".encode(), "not a textual secret key"),
        (TEXT[:-3].encode(), "damaged"),
        (PEM.replace(b"PUBLIC KEY", b"CERTIFICATE"), "holds a certificate"),
        (SECRET.replace(b"\n", b"x").replace(b"\r", b"x"), "not a textual key"),
        (b"\xff\xfe" + TEXT.encode("utf-16-le"), "not a textual key"),
        (b"#" * 65536 + b"\n", "longer than 65536 bytes"),
    ],
    ids=["empty", "comment", "two keys", "one key twice", "comment behind", "damaged", "certificate", "raw bytes", "UTF-16", "too large"],
)
def test_an_unusable_key_file_is_named(key_file: Callable[..., str], content: bytes, hint: str):
    uri = key_file(content)
    with pytest.raises(KeyringError, match=hint) as caught:
        read_key(uri)
    assert uri.removeprefix("file:") in str(caught.value)


MODES = {0o600: None, 0o400: None, 0o640: None, 0o440: None, 0o604: "chmod 600", 0o644: "chmod 600", 0o602: "chmod 600", 0o601: "chmod 600",
         0o660: "chmod 640", 0o620: "chmod 640", 0o666: "defaultMode: 0400"}  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="file modes are those of POSIX")
@pytest.mark.parametrize("mode", MODES, ids=oct)
def test_a_key_file_must_be_closed_to_others(key_file: Callable[..., str], mode: int):
    uri = key_file(TEXT.encode(), mode)
    if MODES[mode] is None:
        assert read_key(uri) == KEY
    else:
        with pytest.raises(KeyringError, match=MODES[mode]):
            read_key(uri)


def test_a_missing_key_file_or_a_directory_is_refused(tmp_path: Path):
    for path in (tmp_path / "missing", tmp_path, tmp_path / "missing" / "key"):
        with pytest.raises(KeyringError, match=re.escape(str(path))):
            read_key(f"file:{path}")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_as_key_file_is_refused_and_does_not_hang(tmp_path: Path):
    """Opening a pipe that nobody writes to blocks for ever, unless it is opened without blocking."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    script = (
        "import sys, safepickle\ntry:\n    safepickle.read_key('file:' + sys.argv[1])\nexcept safepickle.KeyringError as error:\n    print(error)\n"
    )
    try:
        child = subprocess.run([sys.executable, "-c", script, str(tmp_path / "pipe")], capture_output=True, text=True, timeout=10)
    except subprocess.TimeoutExpired:
        pytest.fail("read_key hangs on a named pipe")
    assert "not a regular file" in child.stdout


@pytest.mark.parametrize("uri", ["env:", "file:", "", ":", "A_KEY", "http://example.com/key", "hunter2 is my password", "ENV:A_KEY", " env:A_KEY"])
def test_what_is_no_key_uri_is_refused_and_not_repeated(uri: str):
    with pytest.raises(KeyringError, match="env:NAME") as caught:
        read_key(uri)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("uri", [None, 7, b"env:A_KEY", Path("x")])
def test_a_key_uri_is_text(uri: Any):
    with pytest.raises(KeyringError, match="URI"):
        read_key(uri)


@pytest.mark.parametrize("uri", ["file:a\0b", "file:\ud800", "env:a\0b", "env:\ud800", "env:a=b"])
def test_a_key_uri_that_the_system_cannot_take_is_a_keyring_error(uri: str):
    """Whatever is wrong with a key is a `KeyringError`, not a `ValueError` from the depths."""
    with pytest.raises(KeyringError):
        read_key(uri)


# --- secrets stay secret ---------------------------------------------------------------------------------------

LEAKS = {
    "the textual key itself": lambda: read_key(TEXT),
    "the textual key, damaged": lambda: read_key(TEXT + "x"),
    "the textual key after a space": lambda: read_key(" " + TEXT),
    "the textual key as the name of a variable": lambda: read_key(f"env:{TEXT}"),
    "the textual key as the name of a file": lambda: read_key(f"file:{TEXT}"),
    "the textual key with an unknown scheme": lambda: read_key(f"vault:{TEXT}"),
    "a damaged textual form": lambda: SecretKey.from_text(TEXT[:-1] + ("A" if TEXT[-1] != "A" else "B")),
    "a textual form cut short": lambda: SecretKey.from_text(TEXT[:-10]),
    "a wrong key id": lambda: SecretKey.from_text("spk1_" + "0" * 16 + TEXT[21:]),
    "two keys in one text": lambda: SecretKey.from_text(TEXT + " " + TEXT),
    "the secret as text": lambda: SecretKey.from_bytes(SECRET.hex()),
    "too short": lambda: SecretKey.from_bytes(SECRET[:31]),
    "too long": lambda: SecretKey.from_bytes(SECRET * 40),
    "the same key twice": lambda: Keyring(KEY, SECRET),
    "an unknown key": lambda: loads(dumps([1], key=OTHER), key=KEY),
    "a MAC that does not hold": lambda: KEY.verify(DIGEST, bytes(32)),
    "a key in a model": lambda: dumps({"key": KEY}, key=KEY),
    "a keyring in a model": lambda: dumps([Keyring(KEY)], key=KEY),
    "pickling": lambda: pickle.dumps(KEY),
    "as a file": lambda: loads(TEXT.encode(), key=KEY),
}


def secret_forms() -> list[str]:
    encoded = TEXT[22:]
    return [SECRET.hex(), repr(SECRET)[2:-1], encoded, encoded[:12], encoded[12:30], mac_key(SECRET).hex(), repr(mac_key(SECRET))[2:-1]]


@pytest.mark.parametrize("case", LEAKS)
def test_no_error_or_traceback_holds_a_secret(case: str):
    """Tracebacks with all chained causes end in logs."""
    try:
        LEAKS[case]()
    except Exception as error:
        told = traceback.format_exc() + repr(error) + str(error) + repr(error.__context__) + repr(error.args)
    else:
        pytest.fail("not refused")
    # The source line of the test itself stands in the traceback; the values must not.
    assert not [form for form in secret_forms() if form in told]


def test_no_repr_or_text_of_a_key_holds_a_secret():
    ring = Keyring(KEY, OTHER)
    told = "".join(
        f"{value!r} {value!s} {value} {[value]!r} {getattr(value, '__dict__', '')!r}"
        for value in (KEY, ring, ring.sign(DIGEST), ring.sign(DIGEST)[0])
    )
    assert KEY.key_id in told
    assert not [form for form in secret_forms() if form in told]
    assert "value" not in repr(ring.sign(DIGEST)[0])


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", [KEY, Keyring(KEY), {"deep": [KEY]}], ids=["key", "keyring", "within"])
def test_keys_and_keyrings_are_never_pickled(value: Any, protocol: int):
    with pytest.raises(KeyringError, match="never pickled"):
        pickle.dumps(value, protocol)


def test_copying_a_key_gives_the_key_itself():
    assert copy.copy(KEY) is KEY
    assert copy.deepcopy({"key": KEY})["key"] is KEY


def test_a_key_in_a_model_is_refused_at_dump():
    with pytest.raises(KeyringError, match="never pickled"):
        dumps({"config": {"key": KEY}}, key=KEY)


# --- equality --------------------------------------------------------------------------------------------------


def test_keys_are_equal_if_their_secrets_are():
    same = SecretKey.from_bytes(bytearray(SECRET))
    assert same == KEY
    assert hash(same) == hash(KEY)
    assert len({KEY, same, OTHER}) == 2
    assert KEY != OTHER
    assert KEY != SECRET
    assert KEY != TEXT
    assert KEY.key_id != KEY


def test_a_mutable_secret_is_copied():
    secret = bytearray(SECRET)
    key = SecretKey.from_bytes(secret)
    secret[:] = bytes(len(secret))
    assert key == KEY
    assert key.to_text() == TEXT


# --- the keyring -----------------------------------------------------------------------------------------------


def test_the_primary_signs_and_every_key_verifies():
    ring = Keyring(KEY, OTHER)
    (signature,) = ring.sign(DIGEST)
    assert (signature.suite, signature.key_id, signature.value) == (HMAC_SHA256, KEY.key_id, KEY.sign(DIGEST))
    assert Keyring(OTHER, KEY).verify(DIGEST, (signature,)) == (KEY.key_id,)
    assert ring.verify(DIGEST, Keyring(OTHER).sign(DIGEST)) == (OTHER.key_id,)


def test_order_has_no_meaning_but_for_the_primary():
    third = SecretKey.from_bytes(hashlib.sha256(b"a third").digest())
    one, two = Keyring(KEY, OTHER, third), Keyring(KEY, third, OTHER)
    assert set(one) == set(two)
    assert one.primary == two.primary == KEY
    for signer in (KEY, OTHER, third):
        signed = Keyring(signer).sign(DIGEST)
        assert one.verify(DIGEST, signed) == two.verify(DIGEST, signed) == (signer.key_id,)


def test_a_keyring_takes_what_a_key_can_be(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("A_KEY", TEXT)
    ring = Keyring("env:A_KEY", hashlib.sha256(b"another secret of test_keys").digest())
    assert (ring.key_ids, len(ring)) == ((KEY.key_id, OTHER.key_id), 2)
    assert as_keyring(ring) is ring
    assert ring.find(HMAC_SHA256, OTHER.key_id) == OTHER
    assert ring.find("ed25519", OTHER.key_id) is ring.find(HMAC_SHA256, OTHER.key_id.upper()) is ring.find(HMAC_SHA256, "") is None


@pytest.mark.parametrize("keys", [(KEY, KEY), (KEY, SECRET), (KEY, OTHER, SecretKey.from_text(TEXT))])
def test_the_same_key_twice_is_refused(keys: tuple[Any, ...]):
    with pytest.raises(KeyringError, match="twice"):
        Keyring(*keys)


def test_a_keyring_needs_a_key():
    for bad in (None, Keyring(KEY), [KEY], {"key": KEY}):
        with pytest.raises(KeyringError):
            Keyring(bad)


def test_an_unknown_key_is_named_together_with_those_that_are_trusted():
    """The message says what a user needs to mend it: who signed, and whom the loader trusts."""
    with pytest.raises(UnknownKeyError, match="pass the key that signed it") as caught:
        Keyring(KEY).verify(DIGEST, Keyring(OTHER).sign(DIGEST))
    assert KEY.key_id in str(caught.value)
    assert OTHER.key_id in str(caught.value)


def test_one_key_never_counts_twice_towards_the_threshold():
    signature = KEY.sign(DIGEST)
    ring = Keyring(KEY, OTHER)
    (one,) = ring.sign(DIGEST)
    assert one.value == signature
    with pytest.raises(AuthenticationError, match="threshold=2"):
        ring.verify(DIGEST, (one, one), threshold=2)
    assert len(ring.verify(DIGEST, (one, *Keyring(OTHER).sign(DIGEST)), threshold=2)) == 2


def test_a_bad_signature_by_a_trusted_key_outweighs_a_good_one():
    (good,), (bad,) = Keyring(KEY).sign(DIGEST), Keyring(OTHER).sign(SECRET)
    for order in ((good, bad), (bad, good)):
        with pytest.raises(AuthenticationError, match=f"MAC by key {OTHER.key_id}"):
            Keyring(KEY, OTHER).verify(DIGEST, order)
    assert Keyring(KEY).verify(DIGEST, (bad, good)) == (KEY.key_id,)


def test_no_signatures_at_all_are_refused():
    with pytest.raises(UnknownKeyError):
        Keyring(KEY).verify(DIGEST, ())
