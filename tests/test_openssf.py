"""OpenSSF Model Signing: bundles made by a small builder here, and bundles that the real tool made once (`compat/openssf`).

The tool itself runs in `integrations/test_model_signing.py`.
"""

from __future__ import annotations

import base64
import copy
import dataclasses
import hashlib
import io
import json
import ntpath
import os
import pickle
import re
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

import safepickle
from safepickle import AuthenticationError, FormatError, Keyring, KeyringError, SafePickleError, SecretKey, UnknownKeyError, cli, container, openssf
from safepickle.keyring import Trusted
from safepickle.keys import ECDSA_P256, ED25519, PrivateKey
from safepickle.openssf import BundleInfo, BundleKey, authenticate, bundle_keys, check_rest, resource_name, verify_bundle

COMPAT = Path(__file__).parent / "compat" / "openssf"
MAC = SecretKey.from_bytes(bytes(range(40)))
SIGNER = PrivateKey(ECDSA_P256, hashlib.sha256(b"the signer of test_openssf").digest())
P384 = ec.derive_private_key(1 << 300, ec.SECP384R1())
OTHER = PrivateKey(ECDSA_P256, hashlib.sha256(b"another signer of test_openssf").digest())
PROGRAM = pickle.dumps([1.5, "0123456789" * 50], 5)
CONTENT = b"".join(container.seal(PROGRAM, [], Keyring(MAC), now=lambda: 1_700_000_000.0))

IN_TOTO = "application/vnd.in-toto+json"
Change = Callable[[Any], Any]


# --- the builder -----------------------------------------------------------------------------------------------


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE 1.0, protocol.md, written down here once more so that it cannot be wrong in the same way."""
    return b" ".join([b"DSSEv1", str(len(payload_type)).encode(), payload_type.encode(), str(len(payload)).encode(), payload])


def statement(files: dict[str, bytes], model: str = "model.spkl") -> dict[str, Any]:
    resources = [{"name": name, "algorithm": "sha256", "digest": sha256(data)} for name, data in sorted(files.items())]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": model, "digest": {"sha256": root(resources)}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": ["model.sig", ".git"]},
            "resources": resources,
        },
    }


def root(resources: list[dict[str, str]]) -> str:
    return sha256(b"".join(bytes.fromhex(each["digest"]) for each in resources))


def private_of(key: PrivateKey | ec.EllipticCurvePrivateKey) -> ec.EllipticCurvePrivateKey:
    if isinstance(key, PrivateKey):
        loaded = serialization.load_pem_private_key(key.to_pem(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        return loaded
    return key


def pem_of(key: PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return private_of(key).public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def envelope(payload: bytes, key: PrivateKey | ec.EllipticCurvePrivateKey = SIGNER, signed_as: str = IN_TOTO) -> dict[str, Any]:
    private = private_of(key)
    how = {256: hashes.SHA256, 384: hashes.SHA384, 521: hashes.SHA512}[private.curve.key_size]()
    signature = private.sign(pae(signed_as, payload), ec.ECDSA(how))
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": sha256(pem_of(key))}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": IN_TOTO,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }


def encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def bundle(said: dict[str, Any] | None = None, key: PrivateKey | ec.EllipticCurvePrivateKey = SIGNER) -> bytes:
    return encoded(envelope(encoded(said or statement({".": CONTENT})), key))


GOOD = bundle()
PAYLOAD_OF_ANOTHER = base64.b64encode(encoded(statement({".": b"x"}))).decode()
KEYS = (SIGNER.public_key(),)


def verified(data: bytes, file: Any = CONTENT, keys: Any = KEYS, name: str | None = None) -> BundleInfo:
    return verify_bundle(data, file, keys=keys, name=name)


def test_the_encoding_of_this_file_is_that_of_the_dsse_specification():
    """protocol.md, "Test Vectors"."""
    assert pae("http://example.com/HelloWorld", b"hello world") == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


# --- what is accepted ------------------------------------------------------------------------------------------


def test_a_bundle_of_the_file_is_accepted_and_says_by_whom():
    info = verified(GOOD)
    assert (info.key_hint, info.key_id, info.curve) == (sha256(SIGNER.public_key().to_pem()), SIGNER.key_id, "P-256")
    assert (info.name, info.model_name, info.sha256, info.file_bytes, info.listed) == (".", "model.spkl", sha256(CONTENT), len(CONTENT), 1)


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_the_other_curves_of_the_tool_are_accepted_with_their_hashes(curve: ec.EllipticCurve):
    key = ec.generate_private_key(curve)
    made = BundleKey(pem_of(key))
    assert verified(bundle(key=key), keys=[made]).curve == made.curve
    assert re.fullmatch(r"[0-9a-f]{16}", made.key_id)
    assert made.key_id in repr(made)
    with pytest.raises(UnknownKeyError):
        verified(bundle(key=key))


def test_a_file_of_a_signed_folder_is_accepted_by_its_name_and_the_others_are_not_looked_at():
    data = bundle(statement({"a.spkl": CONTENT, "sub/b.spkl": b"elsewhere", "ünï.bin": b"c"}, "models"))
    assert verified(data, name="a.spkl").listed == 3
    with pytest.raises(AuthenticationError, match=r"does not list 'missing\.spkl'"):
        verified(data, name="missing.spkl")
    with pytest.raises(AuthenticationError, match=r"'sub/b\.spkl' does not have the SHA-256"):
        verified(data, name="sub/b.spkl")
    with pytest.raises(AuthenticationError, match="has no name"):
        verified(data)


def test_what_a_later_release_adds_to_the_predicate_is_passed_over():
    """`_signing/signing.py`, class Payload: any other field of the predicate should be ignored by verifiers."""
    said = statement({".": CONTENT})
    said["predicate"]["model_card"] = {"license": "BSD", "parameters": 1.5, "tags": [None, True]}
    assert verified(bundle(said)).listed == 1


def test_the_form_of_the_outer_json_means_nothing():
    """Nothing signs it: order, blanks, and a missing empty list or key id, which releases of the tool disagree about."""
    value = json.loads(GOOD)
    del value["verificationMaterial"]["tlogEntries"], value["dsseEnvelope"]["signatures"][0]["keyid"]
    assert verified(json.dumps(dict(reversed(value.items())), indent=3).encode()).listed == 1


@pytest.mark.parametrize("form", ["path", "open file", "bytes", "pipe"])
def test_a_file_is_a_path_its_bytes_or_an_open_file(form: str, tmp_path: Path):
    path = tmp_path / "renamed.spkl"
    path.write_bytes(CONTENT)
    if form == "path":
        assert verified(GOOD, path).file_bytes == len(CONTENT)
    elif form == "bytes":
        assert verified(GOOD, memoryview(CONTENT)).file_bytes == len(CONTENT)
    elif form == "open file":
        with path.open("rb") as file:
            assert verified(GOOD, file).file_bytes == len(CONTENT)
            file.seek(1)
            with pytest.raises(AuthenticationError):
                verified(GOOD, file)
    else:
        end, start = os.pipe()
        threading.Thread(target=lambda: (os.write(start, CONTENT), os.close(start))).start()
        with open(end, "rb", buffering=0) as file:
            assert verified(GOOD, file).file_bytes == len(CONTENT)


# --- keys ------------------------------------------------------------------------------------------------------


def test_a_bundle_by_another_key_is_refused_with_both_hints():
    with pytest.raises(UnknownKeyError) as caught:
        verified(bundle(key=OTHER))
    assert sha256(OTHER.public_key().to_pem()) in str(caught.value)
    assert sha256(SIGNER.public_key().to_pem()) in str(caught.value)


def test_a_hint_chooses_among_trusted_keys_and_proves_nothing():
    """With the hint of a trusted key and the signature of another, or both keys trusted and the hint swapped."""
    value = json.loads(bundle(key=OTHER))
    value["verificationMaterial"]["publicKey"]["hint"] = sha256(SIGNER.public_key().to_pem())
    for keys in (KEYS, (SIGNER.public_key(), OTHER.public_key())):
        with pytest.raises(AuthenticationError, match="does not hold") as caught:
            verified(encoded(value), keys=keys)
        assert not isinstance(caught.value, UnknownKeyError)


class Elsewhere:
    """A key of this suite in some service that does not tell its public half."""

    suite = ECDSA_P256
    key_id = "0123456789abcdef"

    def sign(self, digest: bytes) -> bytes:
        raise KeyringError("not today")


def test_keys_of_a_keyring_count_while_the_keyring_trusts_them():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    public, day = SIGNER.public_key(), timedelta(days=1)
    stories: list[tuple[str, Keyring, str]] = [
        ("trusted", Keyring(None, public), ""),
        ("among keys of other suites and elsewhere", Keyring(Elsewhere(), MAC, PrivateKey.generate(ED25519).public_key(), public, OTHER), ""),
        ("the one that signs", Keyring(SIGNER), ""),
        ("none but one elsewhere", Keyring(Elsewhere(), OTHER), "you trust"),
        ("within its time", Keyring(None, Trusted(public, not_before=now - day, not_after=now + day)), ""),
        ("expired", Keyring(None, Trusted(public, not_after=now)), "expired at 2026-01-01"),
        ("not yet", Keyring(None, Trusted(public, not_before=now + day)), "is trusted from 2026-01-02"),
        ("denied", Keyring(None, public, denied=[public.key_id]), "deny-list"),
        ("unknown", Keyring(None, OTHER.public_key()), "you trust"),
    ]
    for story, ring, message in stories:
        keys = bundle_keys(ring, now=now.timestamp())
        if not message:
            assert authenticate(GOOD, keys).single, story
            continue
        with pytest.raises(AuthenticationError, match=message) as caught:
            authenticate(GOOD, keys)
        assert isinstance(caught.value, UnknownKeyError) == ("you trust" in message), story


def test_what_a_keyring_denies_no_other_list_allows():
    """A denied or expired key that is also named as a key for bundles stays denied or expired."""
    public = SIGNER.public_key()
    for ring in (
        Keyring(None, OTHER.public_key(), denied=[public.key_id]),
        Keyring(None, Trusted(public, not_after=datetime(2020, 1, 1, tzinfo=UTC))),
    ):
        named = BundleKey(public.to_pem())
        for more in ([public], [named]):
            with pytest.raises(AuthenticationError, match="so it does not count"):
                authenticate(GOOD, bundle_keys(ring, more))
        assert named.barred == "", "the caller's key was changed"
    assert authenticate(GOOD, bundle_keys(None, [public])).single


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_a_key_on_any_curve_can_be_denied_by_its_key_id(curve: ec.EllipticCurve):
    """A stolen key must be put out of use whichever it is."""
    key = ec.generate_private_key(curve)
    made = BundleKey(pem_of(key))
    assert authenticate(bundle(key=key), bundle_keys(Keyring(MAC), [made])).key.key_id == made.key_id
    with pytest.raises(AuthenticationError, match=f"by key {made.key_id}, which is on the deny-list") as caught:
        authenticate(bundle(key=key), bundle_keys(Keyring(MAC, denied=[made.key_id]), [made]))
    assert type(caught.value) is AuthenticationError


def test_what_is_no_key_for_bundles_is_told_how_to_be_one():
    for pem in ("signer.pub", pem_of(SIGNER).decode(), Path("signer.pub"), None):
        with pytest.raises(KeyringError, match=r"as bytes, not of \w+: from a file, BundleKey\.read\(PATH\)"):
            BundleKey(pem)  # type: ignore[arg-type]
    for keys in (["signer.pub"], [pem_of(SIGNER)], "signer.pub", [None]):
        with pytest.raises(KeyringError, match=r"BundleKey\.read\(PATH\)"):
            verified(GOOD, keys=keys)


def test_keys_that_make_no_bundles_are_refused():
    with pytest.raises(KeyringError, match="no key for bundles"):
        bundle_keys(Keyring(MAC, PrivateKey.generate(ED25519).public_key()))
    with pytest.raises(KeyringError, match="no key for bundles"):
        verified(GOOD, keys=())
    for key in (MAC, PrivateKey.generate(ED25519), PrivateKey.generate(ED25519).public_key()):
        with pytest.raises(KeyringError, match="is not made with a key of suite"):
            verified(GOOD, keys=[key])


def public_pem(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem


@pytest.mark.parametrize(
    ("pem", "message"),
    [
        (b"", "one public key in PEM"),
        (SIGNER.to_pem(), "one public key in PEM"),
        (SIGNER.public_key().to_pem() * 2, "one public key in PEM"),
        (b"the key of Alice\n" + SIGNER.public_key().to_pem(), "with nothing around it"),
        (SIGNER.public_key().to_pem() + b"trailing", "with nothing around it"),
        (SIGNER.public_key().to_pem() + OTHER.public_key().to_text().encode(), "with nothing around it"),
        (SIGNER.public_key().to_pem().replace(b"KEY-----\n", b"KEY-----\nProc-Type: 4\n\n", 1), "with nothing around it"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "not a valid public key"),
        (public_pem(ec.generate_private_key(ec.SECP256K1())), "P-256, P-384 or P-521"),
        (public_pem(rsa.generate_private_key(65537, 2048)), "P-256, P-384 or P-521"),
        (PrivateKey.generate(ED25519).public_key().to_pem(), "P-256, P-384 or P-521"),
    ],
    ids=["empty", "private", "two", "before", "after", "another", "header", "damaged", "secp256k1", "rsa", "ed25519"],
)
def test_only_public_keys_of_the_curves_of_the_tool_are_read(pem: bytes, message: str):
    with pytest.raises(KeyringError, match=message):
        BundleKey(pem)


def test_a_key_file_holds_a_public_key_and_only_its_owner_writes_it(tmp_path: Path):
    path = tmp_path / "signer.pub"
    for text in (SIGNER.public_key().to_pem(), b"# a comment\n" + SIGNER.public_key().to_text().encode() + b"\n"):
        path.write_bytes(text)
        path.chmod(0o644)
        assert BundleKey.read(path).hint == sha256(SIGNER.public_key().to_pem())
    if os.name == "posix":
        path.chmod(0o664)
        with pytest.raises(KeyringError, match="writable by others"):
            BundleKey.read(path)
    path.chmod(0o600)
    for text in (SIGNER.to_text().encode(), SIGNER.to_pem(), MAC.to_text().encode()):
        path.write_bytes(text)
        with pytest.raises(KeyringError, match="holds a key that can sign") as caught:
            BundleKey.read(path)
        assert SIGNER.to_text() not in str(caught.value)
    ed25519 = PrivateKey.generate(ED25519).public_key().to_text().encode()
    for text in (b"", b"nonsense", b"Alice\n" + pem_of(SIGNER), pem_of(SIGNER) + b"Alice\n", ed25519):
        path.write_bytes(text)
        with pytest.raises(KeyringError, match="the public key file"):
            BundleKey.read(path)
    with pytest.raises(KeyringError, match="cannot be read"):
        BundleKey.read(tmp_path / "missing")


# --- bundles that are refused ----------------------------------------------------------------------------------


def at(*path: Any, value: Any = None, drop: bool = False) -> Change:
    """Return a change of one place in nested objects and lists."""

    def change(whole: Any) -> Any:
        whole = copy.deepcopy(whole)
        inner = whole
        for step in path[:-1]:
            inner = inner[step]
        if drop:
            del inner[path[-1]]
        else:
            inner[path[-1]] = value(inner.get(path[-1]) if isinstance(inner, dict) else inner[path[-1]]) if callable(value) else value
        return whole

    return change


ENVELOPE, MATERIAL = "dsseEnvelope", "verificationMaterial"
SIGNATURE = (ENVELOPE, "signatures", 0)

OUTER: dict[str, tuple[Change, type[Exception], str]] = {
    "no media type": (at("mediaType", drop=True), FormatError, "not a Sigstore bundle"),
    "not an object": (lambda whole: [whole], FormatError, "not a Sigstore bundle"),
    "an older media type": (at("mediaType", value="application/vnd.dev.sigstore.bundle+json;version=0.2"), FormatError, "version=0.2"),
    "a media type that is no text": (at("mediaType", value=3), FormatError, "media|type"),
    "a member more": (at("extra", value=1), FormatError, "has 'extra'"),
    "no envelope": (at(ENVELOPE, drop=True), FormatError, "has no dsseEnvelope"),
    "no material": (at(MATERIAL, drop=True), FormatError, "has no verificationMaterial"),
    "a blob's signature": (lambda whole: {**at(ENVELOPE, drop=True)(whole), "messageSignature": {}}, FormatError, "cosign sign-blob"),
    "keyless": (at(MATERIAL, value={"certificate": {"rawBytes": "AAAA"}, "tlogEntries": [{"logIndex": "1"}]}), FormatError, "keyless"),
    "a chain of certificates": (at(MATERIAL, value={"x509CertificateChain": {"certificates": []}}), FormatError, "verify certificate"),
    "a certificate beside the key": (at(MATERIAL, "certificate", value={"rawBytes": "AAAA"}), FormatError, "certificate"),
    "a log entry beside the key": (at(MATERIAL, "tlogEntries", value=[{"logIndex": "1"}]), FormatError, "transparency log"),
    "log entries that are no list": (at(MATERIAL, "tlogEntries", value={}), FormatError, "transparency log"),
    "timestamps": (at(MATERIAL, "timestampVerificationData", value={}), FormatError, "timestampVerificationData"),
    "no key": (at(MATERIAL, "publicKey", drop=True), FormatError, "has no publicKey"),
    "a key that is no object": (at(MATERIAL, "publicKey", value="x"), FormatError, "not an object"),
    "the key itself, as before 1.1": (at(MATERIAL, "publicKey", value={"rawBytes": "AAAA", "keyDetails": "x"}), FormatError, r"before 1\.1"),
    "no hint": (at(MATERIAL, "publicKey", value={}), FormatError, r"before 1\.1"),
    "a hint in capitals": (at(MATERIAL, "publicKey", "hint", value=str.upper), FormatError, "hint of the bundle"),
    "a hint that is no text": (at(MATERIAL, "publicKey", "hint", value=["x"]), FormatError, "hint of the bundle"),
    "an unknown hint": (at(MATERIAL, "publicKey", "hint", value="0" * 64), UnknownKeyError, "0" * 64),
    "another payload type": (at(ENVELOPE, "payloadType", value="application/json"), FormatError, "'application/json', and not"),
    "no payload type": (at(ENVELOPE, "payloadType", drop=True), FormatError, "has no payloadType"),
    "a payload type that is no text": (at(ENVELOPE, "payloadType", value=[]), FormatError, "'list', and not"),
    "no signature": (at(ENVELOPE, "signatures", value=[]), FormatError, "exactly one"),
    "the signature twice": (at(ENVELOPE, "signatures", value=lambda old: old * 2), FormatError, "exactly one"),
    "a signature beside it": (at(ENVELOPE, "signatures", value=lambda old: [*old, {"sig": "AAAA"}]), FormatError, "exactly one"),
    "a key id": (at(*SIGNATURE, "keyid", value="me"), FormatError, "has a keyid"),
    "an extension": (at(*SIGNATURE, "ext", value={}), FormatError, "has 'ext'"),
    "an empty signature": (at(*SIGNATURE, "sig", value=""), FormatError, "has 0 bytes"),
    "a long signature": (at(*SIGNATURE, "sig", value="A" * 400), FormatError, "has 300 bytes"),
    "a signature that is none": (at(*SIGNATURE, "sig", value="AAAA"), AuthenticationError, "does not hold"),
    "a signature that is no text": (at(*SIGNATURE, "sig", value=7), FormatError, "not canonical base64"),
    "a signature in another alphabet": (at(*SIGNATURE, "sig", value="_-8="), FormatError, "not canonical base64"),
    "a payload without its padding": (at(ENVELOPE, "payload", value=lambda old: (old + "====").rstrip("=")), FormatError, "not canonical base64"),
    "a payload with a line break": (at(ENVELOPE, "payload", value=lambda old: f"{old[:4]}\n{old[4:]}"), FormatError, "not canonical base64"),
    "a payload with a blank": (at(ENVELOPE, "payload", value=lambda old: f" {old}"), FormatError, "not canonical base64"),
    "a payload with stray bits": (at(ENVELOPE, "payload", value="QR=="), FormatError, "not canonical base64"),
    "a payload with more behind its padding": (at(ENVELOPE, "payload", value="QQ==QQ=="), FormatError, "not canonical base64"),
    "a payload that is not ASCII": (at(ENVELOPE, "payload", value="ÄÖÜ\ud800"), FormatError, "not canonical base64"),
    "an empty payload": (at(ENVELOPE, "payload", value=""), AuthenticationError, "does not hold"),
    "another payload": (at(ENVELOPE, "payload", value=lambda old: PAYLOAD_OF_ANOTHER), AuthenticationError, "does not hold"),
}  # fmt: skip


def test_the_payload_of_the_builder_has_padding_so_that_its_cases_are_what_they_say():
    assert json.loads(GOOD)[ENVELOPE]["payload"].endswith("=")


@pytest.mark.parametrize("case", OUTER)
def test_an_envelope_that_the_tool_does_not_make_is_refused(case: str):
    change, expected, message = OUTER[case]
    with pytest.raises(expected, match=message) as caught:
        verified(encoded(change(json.loads(GOOD))))
    assert type(caught.value) is expected


RESOURCE = ("predicate", "resources", 0)
SERIALIZATION = ("predicate", "serialization")

SAID: dict[str, tuple[Change, str]] = {
    "not an object": (lambda said: [said], "not an object"),
    "a member more": (at("extra", value=1), "has 'extra'"),
    "another statement type": (at("_type", value="https://in-toto.io/Statement/v0.1"), r"Statement/v0\.1"),
    "the predicate of before 1.0": (at("predicateType", value="https://model_signing/Digests/v0.1"), r"before model_signing 1\.0"),
    "another predicate": (at("predicateType", value="https://slsa.dev/provenance/v1"), "not about a model"),
    "a predicate that is no object": (at("predicate", value=[]), "no serialization and resources"),
    "no resources": (at("predicate", "resources", drop=True), "no serialization and resources"),
    "no serialization": (at(*SERIALIZATION, drop=True), "no serialization and resources"),
    "two subjects": (at("subject", value=lambda old: old * 2), "exactly one"),
    "no subject": (at("subject", value=[]), "exactly one"),
    "a subject with annotations": (at("subject", 0, "annotations", value={}), "annotations"),
    "a subject with a second digest": (at("subject", 0, "digest", "sha512", value="0"), "sha512"),
    "a subject with another digest": (at("subject", 0, "digest", "sha256", value="0" * 64), "contradicts itself"),
    "a subject with no text for a name": (at("subject", 0, "name", value=None), "name of the subject"),
    "shards": (at(*SERIALIZATION, value={"method": "shards", "shard_size": 5.0}), "shards of files"),
    "another method": (at(*SERIALIZATION, "method", value="tensors"), "'tensors'"),
    "another hash": (at(*SERIALIZATION, "hash_type", value="blake3"), "'blake3'"),
    "a member more in the serialization": (at(*SERIALIZATION, "chunk", value=1), "has 'chunk'"),
    "links neither allowed nor not": (at(*SERIALIZATION, "allow_symlinks", value="false"), "allow_symlinks"),
    "ignored paths that are no text": (at(*SERIALIZATION, "ignore_paths", value=[1]), "ignore_paths"),
    "no files": (at("predicate", "resources", value=[]), "lists no files"),
    "files that are no list": (at("predicate", "resources", value={}), "lists no files"),
    "a file that is no object": (at(*RESOURCE, value="a"), "not an object"),
    "a file with a member more": (at(*RESOURCE, "uri", value="x"), "has 'uri'"),
    "a file with another algorithm": (at(*RESOURCE, "algorithm", value="sha1"), "'sha1'"),
    "a file without a digest": (at(*RESOURCE, "digest", drop=True), "has no digest"),
    "a digest in capitals": (at(*RESOURCE, "digest", value=str.upper), "64 lower-case"),
    "a digest that is short": (at(*RESOURCE, "digest", value=lambda old: old[:-2]), "64 lower-case"),
    "a digest with a blank": (at(*RESOURCE, "digest", value=lambda old: f"{old[:-1]} "), "64 lower-case"),
    "a digest of other digits": (at(*RESOURCE, "digest", value="\u0661" * 64), "64 lower-case"),
    "a file twice": (at("predicate", "resources", value=lambda old: [*old, old[0]]), "twice"),
    "a file by itself and others": (at(*RESOURCE, "name", value="."), "others beside it"),
    **{
        f"the name {name!a:.30}": (at(*RESOURCE, "name", value=name), "has no name|not a path within")
        for name in ("", "/etc/passwd", "../x", "a/../x", "a/..", "..", "./a", "a/.", "a//b", "a/", "/", "a\0b", "a\ud800", "x" * 5000, None, 7)
    },
}  # fmt: skip


@pytest.mark.parametrize("case", SAID)
def test_a_statement_of_another_form_is_refused_though_a_trusted_key_signed_it(case: str):
    """A stolen key, or a tool of another release, must not make us guess."""
    change, message = SAID[case]
    with pytest.raises(FormatError, match=message):
        verified(bundle(change(statement({"a.spkl": CONTENT, "b.spkl": b"b"}, "models"))), name="a.spkl")


def test_a_signature_over_another_payload_type_is_not_one_over_a_statement():
    """The type is signed with the payload, so a payload that was signed as something else cannot be passed off as a statement."""
    value = envelope(encoded(statement({".": CONTENT})), signed_as="application/json")
    with pytest.raises(AuthenticationError, match="does not hold"):
        verified(encoded(value))


def test_the_signature_of_a_container_is_not_one_of_a_bundle():
    """The same key may make both: what it signs for one never begins like what it signs for the other."""
    value = json.loads(GOOD)
    raw = SIGNER.sign(hashlib.sha256(base64.b64decode(value[ENVELOPE]["payload"])).digest())
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    value[ENVELOPE]["signatures"][0]["sig"] = base64.b64encode(der).decode()
    with pytest.raises(AuthenticationError, match="does not hold"):
        verified(encoded(value))


@pytest.mark.parametrize("compat", [False, True])
def test_the_faulty_encoding_of_the_tool_before_1_0_is_not_accepted(compat: bool):
    """`pae_compat` in `_signing/sign_sigstore_pb.py`: it signs the text of a Python literal. Never a silent second try."""
    value = json.loads(GOOD)
    payload = base64.b64decode(value[ENVELOPE]["payload"])
    message = f"DSSEV1 {len(IN_TOTO)} {IN_TOTO} {len(payload)} {payload!r}".encode() if compat else pae(IN_TOTO, payload)
    value[ENVELOPE]["signatures"][0]["sig"] = base64.b64encode(private_of(SIGNER).sign(message, ec.ECDSA(hashes.SHA256()))).decode()
    if compat:
        with pytest.raises(AuthenticationError, match="does not hold"):
            verified(encoded(value))
    else:
        assert verified(encoded(value)).listed == 1


def test_duplicate_members_are_refused_wherever_they_stand():
    """Readers disagree which of two counts, so a bundle could say one thing to the tool and another to us."""
    payload = encoded(statement({".": CONTENT}))
    for place in (b'"_type"', b'"subject"', b'"digest"', b'"name"', b'"resources"', b'"method"'):
        at_place = payload.index(place)
        doubled = payload[:at_place] + place + b":null," + payload[at_place:]
        with pytest.raises(FormatError, match="the statement of the bundle has the same member twice"):
            verified(encoded(envelope(doubled)))
    for place in (b'"mediaType"', b'"publicKey"', b'"hint"', b'"payload"', b'"sig"'):
        at_place = GOOD.index(place)
        with pytest.raises(FormatError, match="the bundle has the same member twice"):
            verified(GOOD[:at_place] + place + b":null," + GOOD[at_place:])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"version https://git-lfs.github.com/spec/v1\n",
        b"\xef\xbb\xbf" + GOOD,
        GOOD.decode().encode("utf-16"),
        GOOD.replace(b"keyid", b"key\xffid"),
        GOOD + b"{}",
        GOOD.replace(b'"tlogEntries":[]', b'"tlogEntries":NaN'),
        GOOD.replace(b'"tlogEntries":[]', b'"tlogEntries":' + b"1" * 5000),
        GOOD.replace(b"keyid", b"key\nid"),
    ],
    ids=["empty", "cut", "lfs", "bom", "utf-16", "not utf-8", "more behind", "nan", "a long number", "control"],
)
def test_what_is_not_plain_json_is_refused(data: bytes):
    with pytest.raises(FormatError, match="is not JSON"):
        verified(data)
    with pytest.raises(FormatError, match="is not JSON"):
        verified(encoded(envelope(data)))


MEBI = 1 << 20
HUGE: dict[str, tuple[bytes, str]] = {
    "too long": (b" " * (openssf.MAX_BUNDLE_BYTES + 1), "longer than"),
    "deep lists": (b"[" * 1000, "deep"),
    "deep objects": (b'{"a":' * 1000 + b"1" + b"}" * 1000, "deep"),
    "very deep": (b"[" * (15 * MEBI), "deep"),
    "many lists": (b"[" + b"[]," * (5 * MEBI) + b"[]]", "parts"),
    "many numbers": (b"[" + b"0," * (7 * MEBI) + b"0]", "parts"),
    "many members": (b'{"a":1' + b',"a":1' * (2 * MEBI) + b"}", "parts"),
    "quotes that never close": (b'"' + b'\\"' * (7 * MEBI), "not JSON"),
    "many texts": (b'""' * (7 * MEBI), "parts"),
    "quotes that never close, in pairs": (b'"\\' * (7 * MEBI), "not JSON"),
    "one long text": (b'"' + b"x" * (15 * MEBI) + b'"', "not a Sigstore bundle"),
    "one long number": (b"1" * (15 * MEBI), "not JSON"),
    "blanks": (b" " * (15 * MEBI), "not JSON"),
    "closing brackets": (b"]" * (15 * MEBI), "parts"),
}


@pytest.mark.parametrize("case", HUGE)
def test_huge_or_deep_json_is_refused_in_little_time_and_memory(case: str):
    """Before anything is authenticated, what a stranger writes must cost no more than reading it."""
    data, message = HUGE[case]
    tracemalloc.start()
    try:
        begin = time.perf_counter()
        with pytest.raises(FormatError, match=message):
            authenticate(data, bundle_keys(None, KEYS))
        seconds = time.perf_counter() - begin
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seconds < 10
    assert peak < 4 * openssf.MAX_BUNDLE_BYTES


def test_a_signed_statement_is_bound_by_the_same_limits():
    deep = encoded(statement({".": CONTENT}))[:-1] + b',"x":' + b"[" * 100 + b"]" * 100 + b"}"
    with pytest.raises(FormatError, match="the statement of the bundle is nested"):
        verified(encoded(envelope(deep)))
    wide = encoded({"a": [[]] * (openssf.MAX_PARTS // 3)})
    with pytest.raises(FormatError, match="the statement of the bundle has more than"):
        verified(encoded(envelope(wide)))


def test_a_folder_of_very_many_files_is_still_read():
    """The limits are there for strangers: 50,000 files are no attack."""
    files = {f"part/{number:06d}-weights.spkl": b"x" for number in range(50_000)}
    data = bundle(statement({**files, "a.spkl": CONTENT}, "models"))
    assert len(data) <= openssf.MAX_BUNDLE_BYTES
    assert verified(data, name="a.spkl").listed == 50_001


JUNK: tuple[Any, ...] = (None, True, 0, -1, 1.5, 10**400, "", "x", "\ud800", [], [[]], [None], {}, {"a": 1}, {"": {}})


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value within."""
    for step, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, step)
        yield from places(inner, (*path, step))


def test_whatever_stands_in_a_place_is_refused_with_a_class_of_ours_or_means_nothing():
    """Promise 4 of the design: never another exception."""
    outer, said = json.loads(GOOD), statement({"a.spkl": CONTENT, "b.spkl": b"b"}, "models")
    tried = accepted = 0
    for junk in JUNK:
        whole = [encoded(junk), encoded(envelope(encoded(junk)))]
        whole += [encoded(at(*path, value=lambda old, junk=junk: junk)(outer)) for path in places(outer)]
        whole += [bundle(at(*path, value=lambda old, junk=junk: junk)(said)) for path in places(said)]
        for data in whole:
            tried += 1
            try:
                verified(data, name="a.spkl")
            except SafePickleError:
                continue
            accepted += 1
    assert tried > 500
    # The name of the model, whether links are allowed, the paths that were ignored, the name of the other file, an empty log.
    assert accepted < 20


def test_any_change_of_one_byte_of_the_bundle_is_refused():
    for position in range(len(GOOD)):
        for flip in (0x01, 0x20, 0x80):
            changed = bytearray(GOOD)
            changed[position] ^= flip
            with pytest.raises((FormatError, AuthenticationError)):
                verified(bytes(changed))


def test_any_cut_of_the_bundle_is_refused():
    for length in range(len(GOOD)):
        with pytest.raises(FormatError):
            verified(GOOD[:length])


def test_any_change_of_the_file_is_refused():
    for position in range(len(CONTENT)):
        with pytest.raises(AuthenticationError, match="does not have the SHA-256"):
            verified(GOOD, CONTENT[:position] + bytes((CONTENT[position] ^ 1,)) + CONTENT[position + 1 :])
    for other in (b"", CONTENT[:-1], CONTENT + b"\0", CONTENT * 2):
        with pytest.raises(AuthenticationError, match="does not have the SHA-256"):
            verified(GOOD, other)


def test_messages_about_what_others_wrote_are_short_and_printable():
    names = "\x1b[2J\u202egnp.lkps" + "x" * 2000
    said = statement({"a.spkl": CONTENT}, names)
    with pytest.raises(AuthenticationError) as caught:
        verified(bundle(said), name=f"{names}b")
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 900
    with pytest.raises(FormatError) as refused:
        verified(encoded({**json.loads(GOOD), names: 1}))
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 500


# --- one pass --------------------------------------------------------------------------------------------------


class Odd(io.RawIOBase):
    """A binary file that gives what it likes: short pieces, its own mutable memory, no `readinto`."""

    def __init__(self, data: bytes, step: int, kind: type = bytes) -> None:
        self.data, self.at, self.step, self.kind = data, 0, step, kind

    def read(self, count: int = -1, /) -> Any:
        end = len(self.data) if count < 0 else self.at + min(count, self.step)
        piece = self.data[self.at : end]
        self.at += len(piece)
        return self.kind(piece)

    readinto = None  # type: ignore[assignment]


class Short(io.BytesIO):
    def readinto(self, view: Any, /) -> int:
        return super().readinto(memoryview(view)[:7])


def sources() -> Iterator[Any]:
    yield io.BytesIO(CONTENT)
    yield io.BufferedReader(io.BytesIO(CONTENT))
    yield Short(CONTENT)
    yield Odd(CONTENT, 5)
    yield Odd(CONTENT, 5, bytearray)
    yield Odd(CONTENT, 1 << 20, memoryview)


def test_a_container_and_its_bundle_are_verified_in_one_pass():
    """What the container was judged by is what was hashed, whatever kind of file gives it."""
    opened = authenticate(GOOD, bundle_keys(None, KEYS))
    for source in sources():
        reader = opened.reader(source, None)
        info = container.verify(reader, Keyring(MAC))  # type: ignore[arg-type]
        assert info.authenticated
        assert reader.finish().sha256 == sha256(CONTENT)


def test_what_was_hashed_cannot_be_changed_afterwards_by_the_file():
    """A file may hand out memory of its own; what the container is judged by is a copy."""
    memory = bytearray(CONTENT)

    class Sharing(io.RawIOBase):
        def read(self, count: int = -1, /) -> Any:
            return memoryview(memory)[:count]

    piece = authenticate(GOOD, bundle_keys(None, KEYS)).reader(Sharing(), None).read(8)
    memory[:8] = bytes(8)
    assert piece == CONTENT[:8]


def test_a_container_can_be_opened_for_loading_through_the_reader():
    opened = authenticate(GOOD, bundle_keys(None, KEYS))
    reader = opened.reader(io.BytesIO(CONTENT), None)
    assert container.open(reader, Keyring(MAC)).program == PROGRAM  # type: ignore[arg-type]
    assert reader.finish().file_bytes == len(CONTENT)


def test_a_genuine_container_that_the_bundle_is_not_about_is_refused_after_its_one_pass():
    other = b"".join(container.seal(b"another", [], Keyring(MAC)))
    reader = authenticate(GOOD, bundle_keys(None, KEYS)).reader(io.BytesIO(other), None)
    assert container.verify(reader, Keyring(MAC)).authenticated  # type: ignore[arg-type]
    with pytest.raises(AuthenticationError, match="does not have the SHA-256"):
        reader.finish()


def test_a_file_put_in_place_of_the_open_one_is_never_seen(tmp_path: Path):
    """Between the two checks the path is replaced: there is no second open that could see it."""
    path, other = tmp_path / "model.spkl", tmp_path / "other.spkl"
    path.write_bytes(CONTENT)
    other.write_bytes(b"something else")
    with path.open("rb") as file:
        reader = authenticate(GOOD, bundle_keys(None, KEYS)).reader(file, "model.spkl")
        if os.name == "posix":
            other.replace(path)
        container.verify(reader, Keyring(MAC))  # type: ignore[arg-type]
        assert reader.finish().sha256 == sha256(CONTENT)


def test_finish_reads_what_nobody_has_read():
    reader = authenticate(GOOD, bundle_keys(None, KEYS)).reader(io.BytesIO(CONTENT), None)
    assert reader.read(10) == CONTENT[:10]
    assert reader.finish().file_bytes == len(CONTENT)


def test_files_that_are_none_are_refused(tmp_path: Path):
    opened = authenticate(GOOD, bundle_keys(None, KEYS))
    with pytest.raises(TypeError, match="mode 'rb'"):
        opened.reader(io.StringIO("x"), None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="mode 'rb'"):
        opened.reader(7, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="text mode"):
        opened.reader(Odd(b"x", 1, str), None).finish()
    with pytest.raises(BlockingIOError):
        opened.reader(Odd(b"x", 1, lambda piece: None), None).finish()  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        verified(GOOD, tmp_path / "missing")
    with pytest.raises(TypeError, match="bytes of its file"):
        verified("{}")  # type: ignore[arg-type]


def test_a_file_that_claims_more_than_it_gave_is_refused():
    class Liar(io.BytesIO):
        def readinto(self, view: Any, /) -> int:
            return super().readinto(view) + 1

    class Generous(Odd):
        def read(self, count: int = -1, /) -> Any:
            return super().read(count) + b"more"

    opened = authenticate(GOOD, bundle_keys(None, KEYS))
    for source in (Liar(CONTENT), Generous(CONTENT, 5)):
        with pytest.raises(OSError, match="more than it was asked for"):
            opened.reader(source, None).readinto(bytearray(5))


def test_a_large_file_takes_constant_memory(tmp_path: Path):
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(64 * MEBI)
    data = bundle(statement({".": bytes(64 * MEBI)}))
    tracemalloc.start()
    try:
        assert verified(data, path).file_bytes == 64 * MEBI
        assert tracemalloc.get_traced_memory()[1] < 8 * MEBI
    finally:
        tracemalloc.stop()


def test_proofs_are_made_only_by_the_checks():
    opened = authenticate(GOOD, bundle_keys(None, KEYS))
    with pytest.raises(TypeError, match="only authenticate"):
        openssf.Bundle(opened.key, "x", {".": "0" * 64})
    with pytest.raises(TypeError, match=r"only HashedReader\.finish"):
        BundleInfo("", "", "", "", "", "", 0, 0)
    with pytest.raises(TypeError):
        dataclasses.replace(opened, resources={".": "0" * 64})
    with pytest.raises(TypeError):
        opened.resources["."] = "0" * 64  # type: ignore[index]


# --- names, folders, files -------------------------------------------------------------------------------------


def test_the_name_of_a_file_is_its_path_below_the_signed_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert resource_name("models/sub/a.spkl", "models") == "sub/a.spkl"
    assert resource_name(tmp_path / "models" / "a.spkl", "models/") == "a.spkl"
    assert resource_name("a.spkl", ".") == "a.spkl"
    assert resource_name("./x/../a.spkl", "") == "a.spkl"
    for path in ("a.spkl", "models", "models/../a.spkl", "models2/a.spkl"):
        with pytest.raises(AuthenticationError, match="is not below"):
            resource_name(path, "models")


def test_the_bundle_next_to_a_file_has_the_names_of_the_tool(tmp_path: Path):
    model = tmp_path / "fraud.spkl"
    with pytest.raises(FormatError, match="there is no bundle"):
        openssf.find_bundle(model)
    (tmp_path / "model.sig").write_bytes(GOOD)
    assert openssf.find_bundle(model) == str(tmp_path / "model.sig")
    (tmp_path / "fraud.spkl.sig").write_bytes(GOOD)
    assert openssf.find_bundle(model) == str(tmp_path / "fraud.spkl.sig")


def test_a_bundle_file_is_a_regular_file_within_the_limit(tmp_path: Path):
    path = tmp_path / "model.sig"
    path.write_bytes(GOOD)
    assert openssf.read_bundle(path) == GOOD
    with path.open("wb") as file:
        file.truncate(openssf.MAX_BUNDLE_BYTES + 1)
    with pytest.raises(FormatError, match="longer than"):
        openssf.read_bundle(path)
    with pytest.raises(OSError, match="missing"):
        openssf.read_bundle(tmp_path / "missing")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(FormatError, match="not a regular file"):
            openssf.read_bundle(tmp_path / "pipe")


FILES = {"a.spkl": CONTENT, "sub/b.spkl": b"b", "README.md": b"# read me"}


def laid(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def signed(files: dict[str, bytes] = FILES, *, links: bool = False) -> openssf.Bundle:
    said = statement(files, "models")
    said["predicate"]["serialization"]["allow_symlinks"] = links
    return authenticate(bundle(said), bundle_keys(None, KEYS))


def test_the_rest_of_a_folder_must_be_there_as_it_was_signed(tmp_path: Path):
    folder = laid(tmp_path / "models")
    assert check_rest(signed(), folder, ()) == 3
    assert check_rest(signed(), folder, {"a.spkl"}) == 2
    (folder / "unlisted.txt").write_bytes(b"not looked for")
    (folder / "README.md").write_bytes(b"# changed")
    assert check_rest(signed(), folder, {"README.md"}) == 2
    with pytest.raises(AuthenticationError, match=r"'README\.md' does not have the SHA-256"):
        check_rest(signed(), folder, ())
    (folder / "README.md").unlink()
    with pytest.raises(AuthenticationError, match=r"'README\.md' is missing"):
        check_rest(signed(), folder, {"a.spkl"})
    (folder / "README.md").mkdir()
    with pytest.raises((AuthenticationError, OSError)):
        check_rest(signed(), folder, ())


def test_a_bundle_of_a_single_file_is_not_one_of_a_folder(tmp_path: Path):
    with pytest.raises(AuthenticationError, match=r"of the single file 'model\.spkl'"):
        check_rest(authenticate(GOOD, bundle_keys(None, KEYS)), tmp_path, ())


@pytest.mark.skipif(os.name != "posix", reason="symbolic links and pipes as POSIX has them")
def test_links_and_pipes_in_a_folder_are_as_the_signer_had_them(tmp_path: Path):
    """The tool signs no folder with a link in it, unless told so; then a link to the same content is that content."""
    folder, elsewhere = laid(tmp_path / "models"), laid(tmp_path / "elsewhere")
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to(elsewhere / "README.md")
    with pytest.raises(AuthenticationError, match="is a symbolic link"):
        check_rest(signed(), folder, ())
    assert check_rest(signed(links=True), folder, ()) == 3
    (folder / "sub" / "b.spkl").unlink()
    (folder / "sub").rmdir()
    (folder / "sub").symlink_to(elsewhere / "sub")
    with pytest.raises(AuthenticationError, match="sub' is a symbolic link"):
        check_rest(signed(), folder, {"README.md"})
    (folder / "README.md").unlink()
    os.mkfifo(folder / "README.md")
    with pytest.raises(AuthenticationError, match="not a regular file"):
        check_rest(signed(links=True), folder, ())


def test_a_name_that_only_windows_reads_as_elsewhere_is_refused_there(tmp_path: Path):
    names = ("..\\x", "C:x", "C:\\x", "\\\\host\\share", "a:stream", "sub\\..\\..\\x")
    for name in names:
        assert openssf._leaves(name, ntpath)
        assert openssf._leaves(name) == (os.name == "nt")
    assert not openssf._leaves("an ordinary name.spkl", ntpath)
    files = dict.fromkeys(names, b"x")
    if os.name == "posix":
        assert check_rest(signed(files), laid(tmp_path, files), ()) == len(names)
    else:
        with pytest.raises(FormatError, match="cannot be the name of a file here"):
            check_rest(signed(files), tmp_path, ())


# --- what the real tool made -----------------------------------------------------------------------------------


def test_bundles_of_the_real_tool_are_accepted():
    """Made by model_signing 1.1.1: see `compat/openssf/README.txt`. Never made again."""
    model = COMPAT / "model.spkl"
    assert len(list(COMPAT.rglob("*.sig"))) == 7
    for name, key, curve in (("model.sig", "p256.pub", "P-256"), ("model-p384.sig", "p384.pub", "P-384"), ("model-p521.sig", "p521.pub", "P-521")):
        keys = bundle_keys(None, [BundleKey((COMPAT / key).read_bytes())])
        with model.open("rb") as file:
            reader = authenticate(openssf.read_bundle(COMPAT / name), keys).reader(file, "model.spkl")
            assert container.verify(reader, Keyring(MAC), context="openssf/single").serial == 1  # type: ignore[arg-type]
            info = reader.finish()
        assert (info.curve, info.model_name, info.name, info.listed) == (curve, "model.spkl", ".", 1)


def test_a_folder_that_the_real_tool_signed_is_accepted_file_by_file_and_whole():
    folder = COMPAT / "folder"
    opened = authenticate(openssf.read_bundle(folder / "model.sig"), bundle_keys(None, [BundleKey((COMPAT / "p256.pub").read_bytes())]))
    assert set(opened.resources) == {"NOTES.txt", "a.spkl", "sub/b c.spkl"}
    done = set()
    for path in sorted(folder.rglob("*.spkl")):
        with path.open("rb") as file:
            reader = opened.reader(file, resource_name(path, folder))
            assert container.verify(reader, Keyring(MAC)).authenticated  # type: ignore[arg-type]
            done.add(reader.finish().name)
    assert len(done) == 2
    assert check_rest(opened, folder, done) == 1


@pytest.mark.parametrize(
    ("name", "expected", "message"),
    [
        ("model-certificate.sig", FormatError, "made with a certificate"),
        ("model-shards.sig", FormatError, "shards of files"),
        ("model-blake2.sig", FormatError, "'blake2b', and whole files with SHA-256"),
        ("model-p384.sig", UnknownKeyError, "you trust"),
        ("folder/model.sig", AuthenticationError, "does not list 'model.spkl'"),
    ],
)
def test_what_the_real_tool_can_make_and_we_do_not_read_is_told_apart(name: str, expected: type[SafePickleError], message: str):
    with pytest.raises(expected, match=message) as caught:
        verify_bundle(openssf.read_bundle(COMPAT / name), COMPAT / "model.spkl", keys=[BundleKey((COMPAT / "p256.pub").read_bytes())])
    assert type(caught.value) is expected


# --- the command -----------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the model, its bundle, and public keys; the key of the container is in the environment."""
    for name in [name for name in os.environ if name.startswith("SAFEPICKLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SP_MAC", MAC.to_text())
    monkeypatch.chdir(tmp_path)
    denied = Keyring(None, OTHER.public_key(), denied=[SIGNER.key_id, BundleKey(pem_of(P384)).key_id])
    files = {
        "model.spkl": CONTENT,
        "model.sig": GOOD,
        "changed.sig": GOOD.replace(b'"payload":"', b'"payload":"AAAA'),
        "nonsense.sig": b"no JSON",
        "p384.sig": bundle(key=P384),
        "p384.pub": pem_of(P384),
        "signer.pub": SIGNER.public_key().to_pem(),
        "other.pub": OTHER.public_key().to_text().encode(),
        "signer.key": SIGNER.to_pem(),
        "denied.toml": denied.to_text().encode(),
    }
    laid(tmp_path, files)
    for name in files:
        (tmp_path / name).chmod(0o600)
    return tmp_path


def command(arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = cli.main(["verify", *arguments.split()])
    return code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ("model.spkl --bundle model.sig --bundle-key signer.pub", 0, "model.spkl: verified, signed by"),
        ("model.spkl --bundle model.sig --bundle-key other.pub --bundle-key signer.pub", 0, "model.spkl: verified, signed by"),
        ("model.spkl --bundle model.sig --key file:signer.pub", 0, "model.spkl: verified, signed by"),
        ("model.spkl --bundle model.sig --bundle-key other.pub", 1, "model.sig: REFUSED: UnknownKeyError: the bundle is by the key with hint"),
        ("model.spkl --bundle changed.sig --bundle-key signer.pub", 1, "changed.sig: REFUSED: AuthenticationError: the signature of the bundle"),
        ("model.spkl --bundle nonsense.sig --bundle-key signer.pub", 1, "nonsense.sig: REFUSED: FormatError: the bundle is not JSON"),
        ("model.spkl --bundle model.sig --bundle-key signer.pub --key keyring:denied.toml", 1, "is on the deny-list of the keyring"),
        ("model.spkl --bundle p384.sig --bundle-key p384.pub", 0, "model.spkl: verified, signed by"),
        ("model.spkl --bundle p384.sig --bundle-key p384.pub --key keyring:denied.toml", 1, "is on the deny-list of the keyring"),
        ("model.spkl --bundle missing.sig --bundle-key signer.pub", 2, "missing.sig cannot be read: No such file"),
        ("model.spkl --bundle model.sig", 2, "no key for bundles"),
        ("model.spkl --bundle model.sig --bundle-key missing.pub", 2, "missing.pub cannot be read"),
        ("model.spkl --bundle model.sig --bundle-key nonsense.sig", 2, "the public key file nonsense.sig: "),
        ("model.spkl --bundle model.sig --bundle-key signer.key", 2, "holds a key that can sign"),
        ("model.spkl --bundle-key signer.pub", 2, "no --bundle names one"),
        ("missing.spkl --bundle model.sig --bundle-key signer.pub", 2, "missing.spkl does not exist"),
    ],
)
def test_exit_codes_of_verify_with_a_bundle(arguments: str, code: int, text: str, place: Path, capsys: pytest.CaptureFixture[str]):
    """0 if container and bundle hold, 1 if either is refused, 2 if that could not be found out."""
    done, out, err = command(f"{arguments} --key env:SP_MAC", capsys)
    assert done == code, out + err
    assert text in (err if code == 2 else out)
    assert SIGNER.to_pem().splitlines()[1].decode() not in out + err


@pytest.mark.parametrize("how", ["another container", "one byte"])
def test_verify_refuses_a_file_that_is_not_the_one_of_the_bundle(how: str, place: Path, capsys: pytest.CaptureFixture[str]):
    """Also one that our own key signed: it is the bundle that says which."""
    other = safepickle.dumps("another", key=MAC)
    (place / "model.spkl").write_bytes(other if how == "another container" else CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    assert cli.main(["verify", "model.spkl", "--key", "env:SP_MAC"]) == (0 if how == "another container" else 1)
    capsys.readouterr()
    code, out, err = command("model.spkl --bundle model.sig --bundle-key signer.pub --key env:SP_MAC", capsys)
    assert (code, err) == (1, "0 verified, 1 refused\n")
    assert out.startswith("model.spkl: REFUSED: AuthenticationError: ")
    assert ("does not have the SHA-256 that the bundle lists" in out) == (how == "another container")


def test_verify_judges_each_file_of_a_folder_by_its_name_in_the_bundle_of_the_folder(place: Path, capsys: pytest.CaptureFixture[str]):
    second = safepickle.dumps("second", key=MAC)
    folder = laid(place / "models", {"a.spkl": CONTENT, "sub/b.spkl": second})
    (folder / "model.sig").write_bytes(bundle(statement({"a.spkl": CONTENT, "sub/b.spkl": second}, "models")))
    arguments = "--bundle models/model.sig --bundle-key signer.pub --key env:SP_MAC"
    assert command(f"models {arguments}", capsys)[::2] == (0, "2 verified, 0 refused\n")
    (folder / "sub" / "b.spkl").write_bytes(CONTENT)
    (folder / "c.spkl").write_bytes(CONTENT)
    code, out, err = command(f"models model.spkl {arguments}", capsys)
    assert (code, err) == (1, "1 verified, 3 refused\n")
    said = dict(line.split(": ", 1) for line in out.splitlines())
    assert said[os.path.join("models", "a.spkl")].startswith("verified")
    assert "'sub/b.spkl' does not have the SHA-256" in said[os.path.join("models", "sub", "b.spkl")]
    assert "does not list 'c.spkl'" in said[os.path.join("models", "c.spkl")]
    assert "is not below 'models'" in said["model.spkl"]


def test_verify_with_a_bundle_reads_one_file_from_stdin(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    for name, content, code in (("model.sig", CONTENT, 0), ("model.sig", CONTENT + b"x", 1), ("folder.sig", CONTENT, 1)):
        (place / "folder.sig").write_bytes(bundle(statement({"a.spkl": CONTENT}, "models")))
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        done, out, _ = command(f"- --bundle {name} --bundle-key signer.pub --key env:SP_MAC", capsys)
        assert done == code, out
        assert ("has no name" in out) == (name == "folder.sig")


def test_the_report_of_verify_with_a_bundle_is_json_whatever_was_refused(place: Path, capsys: pytest.CaptureFixture[str]):
    """A pipeline that asked for JSON gets it when the bundle itself is refused as well."""
    for name, path, error in (("model.sig", "model.spkl", None), ("nonsense.sig", "nonsense.sig", "FormatError")):
        code, out, err = command(f"model.spkl --bundle {name} --bundle-key signer.pub --key env:SP_MAC --format json", capsys)
        report = json.loads(out)
        assert (code, report["refused"], err) == ((0, 0, "") if error is None else (1, 1, ""))
        assert (report["files"][0]["path"], report["files"][0].get("error")) == (path, error)


# --- the manual ------------------------------------------------------------------------------------------------


def test_the_examples_of_the_manual_run(place: Path):
    """In the order of docs/openssf.md, with the names that it has."""
    text = (Path(__file__).parent.parent / "docs" / "openssf.md").read_text("utf-8")
    examples = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(examples) == 2
    content = safepickle.dumps([1, 2], key=SIGNER)
    listed = bundle(statement({"sub/a.spkl": content}, "models"))
    laid(place, {"model.spkl": content, "model.spkl.sig": bundle(statement({".": content}))})
    laid(place / "models", {"sub/a.spkl": content, "model.sig": listed})
    names: dict[str, Any] = {}
    exec("".join(examples), names)
    assert names["model"] == [1, 2]


# --- what is loaded --------------------------------------------------------------------------------------------


def test_nothing_that_could_execute_a_pickle_is_loaded():
    """What is not there cannot be tricked into running."""
    statement = f"""
import sys
from safepickle import openssf
where = {str(COMPAT)!r}
key = openssf.BundleKey(open(where + "/p256.pub", "rb").read())
assert openssf.verify_bundle(openssf.read_bundle(where + "/model.sig"), where + "/model.spkl", keys=[key]).listed == 1
bad = {{"pickle", "_pickle", "numpy", "model_signing", "sigstore", "safepickle.pickling", "safepickle.policy", "safepickle.machine"}}
assert not bad & set(sys.modules), bad & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", statement], check=True)
