"""OpenSSF bundles. Refused with an error of the documented classes, or the statement, read here once more, says what was verified.

The first byte chooses: a bundle as it is, or a statement that is put into an envelope and signed with the right key.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fuzz.watching import harmless
from safepickle import AuthenticationError, FormatError, UnknownKeyError, openssf
from safepickle.keys import ECDSA_P256, PrivateKey

MAX_LEN = 4096
COMPAT = Path(__file__).parents[2] / "compat" / "openssf"
SIGNER = PrivateKey(ECDSA_P256, hashlib.sha256(b"the signer of the fuzz target").digest())
PRIVATE: Any = serialization.load_pem_private_key(SIGNER.to_pem(), None)
KEYS = (SIGNER.public_key(),)
CONTENT = b"the file"
NAMES = (".", "a.spkl")
IN_TOTO = "application/vnd.in-toto+json"


def sealed(payload: bytes) -> bytes:
    """Return a bundle over any payload, with the right signature."""
    signed = b" ".join([b"DSSEv1", str(len(IN_TOTO)).encode(), IN_TOTO.encode(), str(len(payload)).encode(), payload])
    signature = PRIVATE.sign(signed, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    value = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": hashlib.sha256(SIGNER.public_key().to_pem()).hexdigest()}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": IN_TOTO,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(value).encode()


def run(data: bytes) -> None:
    bundle = sealed(data[1:]) if data[:1] and data[0] % 2 else data[1:]
    for name in NAMES:
        try:
            with harmless():
                info = openssf.verify_bundle(bundle, io.BytesIO(CONTENT), keys=KEYS, name=name)
        except (FormatError, AuthenticationError, UnknownKeyError):
            continue
        payload = base64.b64decode(json.loads(bundle)["dsseEnvelope"]["payload"])
        said = json.loads(payload)
        resources = said["predicate"]["resources"]
        found = [each["digest"] for each in resources if each["name"] == info.name]
        assert found == [hashlib.sha256(CONTENT).hexdigest()] == [info.sha256]
        root = hashlib.sha256(b"".join(bytes.fromhex(each["digest"]) for each in resources)).hexdigest()
        assert said["subject"][0]["digest"]["sha256"] == root
        assert said["predicate"]["serialization"]["method"] == "files"
        assert info.listed == len(resources)
        assert info.name in NAMES


def statement(files: dict[str, bytes]) -> dict[str, Any]:
    resources = [{"name": name, "algorithm": "sha256", "digest": hashlib.sha256(data).hexdigest()} for name, data in sorted(files.items())]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": "model", "digest": {"sha256": hashlib.sha256(b"".join(bytes.fromhex(each["digest"]) for each in resources)).hexdigest()}}
        ],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": ["model.sig", ".git"]},
            "resources": resources,
        },
    }


def seeds() -> Iterator[bytes]:
    for files in ({".": CONTENT}, {"a.spkl": CONTENT, "sub/b": b"x"}, {"b": CONTENT}):
        payload = json.dumps(statement(files)).encode()
        yield b"\1" + payload
        yield b"\0" + sealed(payload)
    for path in sorted(COMPAT.rglob("*.sig")) + sorted(COMPAT.rglob("*.json")):
        data = path.read_bytes()
        if len(data) < MAX_LEN:
            yield b"\0" + data
