"""Keys: secrets, private and public keys, their ids, the keyring, and signatures over 32-byte digests.

Promises:
- A key carries its suite, so a file can never choose how it is checked: a signature is looked up by suite and key id.
- A key id is derived from the key, under its suite. It says which key, and nothing about it.
- A public key verifies and cannot sign; what it is made of never serves as a secret.
- The MAC key is derived from the secret with HKDF (RFC 5869) under a label of this format, so the same secret in
  another product, or in another version of this format, makes unrelated MACs.
- Secrets are in no repr, no error and no pickle; they are compared in constant time.

What is signed is always short: see `signed_message`. A key may live elsewhere: whatever has a suite, a key id, and `sign` or
`verify` over 32-byte digests is one (`Signer`, `Verifier`; see `integrations`). This module knows nothing of files or pickles.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import importlib
import os
import re
import stat
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, NoReturn, Protocol, TypeVar, runtime_checkable

from . import files
from .errors import AuthenticationError, KeyringError, elided

__all__ = [
    "ECDSA_P256",
    "ED25519",
    "HMAC_SHA256",
    "HYBRID",
    "REMOTE_HMAC",
    "SUITES",
    "Key",
    "PrivateKey",
    "PublicKey",
    "SecretKey",
    "Signature",
    "Signer",
    "Suite",
    "Verifier",
    "as_key",
    "check_not_writable",
    "ecdsa_from_der",
    "parse_key",
    "public_half",
    "public_key_id",
    "read_key",
    "read_regular",
    "read_trusted",
    "remote_key_id",
    "signed_message",
]

HMAC_SHA256: Final = "hmac-sha256"
ED25519: Final = "ed25519"
HYBRID: Final = "ed25519+ml-dsa-65"
ECDSA_P256: Final = "ecdsa-p256-sha256"
REMOTE_HMAC: Final = "remote-hmac-sha256"


class Suite(NamedTuple):
    """A way to sign: its code in the signature block, and the bytes of its signatures, public and private keys (0: none)."""

    name: str
    code: int
    signature_bytes: int
    public_bytes: int = 0
    private_bytes: int = 0


SUITES: Final = {
    suite.name: suite
    for suite in (
        Suite(HMAC_SHA256, 1, 32),
        # RFC 8032.
        Suite(ED25519, 2, 64, 32, 32),
        # Both must hold: Ed25519, then ML-DSA-65 (FIPS 204) with an empty context; the private key of the latter is its seed.
        Suite(HYBRID, 3, 64 + 3309, 32 + 1952, 32 + 32),
        # FIPS 186-5; r and s, 32 bytes each, big-endian, s in the lower half, so that there is one signature and not two.
        Suite(ECDSA_P256, 4, 64, 65, 32),
        # HMAC-SHA256 under a key that never leaves a key service, so that service verifies.
        Suite(REMOTE_HMAC, 5, 32),
    )
}

KEY_ID_BYTES: Final = 8
MIN_SECRET_BYTES: Final = 32
MAX_SECRET_BYTES: Final = 1024
MAX_KEY_FILE_BYTES: Final = 65536
# A random secret of 32 bytes has fewer than 8 distinct ones with a probability below 2**-100.
MIN_DISTINCT_BYTES: Final = 8

_LABEL: Final = b"safepickle container v1"
_HKDF_INFO: Final = b"safepickle container v1 hmac-sha256"
_TEXT_FORM: Final = re.compile(r"(spk(?:pub|priv)?1)_([0-9a-f]{16})_([A-Za-z0-9_-]+)")
_SECRET_TEXT: Final = "spk1"  # noqa: S105 - what a textual secret begins with
_PRIVATE_TEXT: Final = "spkpriv1"
_PUBLIC_TEXT: Final = "spkpub1"
_PEM_BEGIN: Final = re.compile(rb"\s*-----BEGIN ([A-Z0-9 ]{1,64})-----")
# The y of the points of small order on edwards25519: under such a "key" signatures hold that nobody made.
_ED_PRIME: Final = (1 << 255) - 19
_ED_ORDER_8: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER: Final = frozenset((0, 1, _ED_PRIME - 1, _ED_ORDER_8, _ED_PRIME - _ED_ORDER_8))
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_CHECKSUM_BYTES: Final = 4
_NOT_SECRETS: Final = (b"ssh-", b"sk-ssh-", b"sk-ecdsa-", b"ecdsa-", b"env:", b"file:", b"AGE-SECRET-KEY-", b"age1")
# What stands somewhere in a file of a key or keyring: random bytes have none of it.
_MARKS: Final = (b"-----BEGIN", b"spk1_", b"spkpub1_", b"spkpriv1_", b"keyring = ", b"ssh-ed25519 ", b"ssh-rsa ", b'"kty"')
# How keys begin in DER: a sequence of (a version and) a sequence of an object identifier (X.509, PKCS #8), or of a version and a
# number (PKCS #1, SEC 1).
_DER_KEY: Final = re.compile(rb"\x30(?:[\x00-\x7f]|\x81.|\x82..)(?:(?:\x02\x01.)?\x30.\x06|\x02\x01[\x00\x01][\x02\x04])", re.DOTALL)
# Any sequence of a number or a sequence, with its length. No key in DER is as short as this, and random secrets of 32 bytes are.
_DER: Final = re.compile(rb"\x30(?:([\x00-\x7f])|\x81(.)|\x82(..))(?=[\x02\x30])", re.DOTALL)
_MIN_DER_BYTES: Final = 40
# How keys begin in the form of OpenSSH, once their base64 is decoded.
_SSH: Final = re.compile(rb"openssh-key-v1\0|\0\0\0.(?:ssh-|ecdsa-|sk-)", re.DOTALL)
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]+")
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
# A word of text that may be a key in base64; the shortest one, Ed25519 in DER or of OpenSSH, takes 59 characters.
_WORD: Final = re.compile(rb"[A-Za-z0-9+/_-]{40,}")
# What `xxd`, `openssl` and shells write.
_HEX: Final = re.compile(rb"(?:[0-9A-Fa-f]{2}[\s:]*)+")
# A key within text within text: base64 of PEM in UTF-16, as a store may hold it, is two deep.
_MAX_WRAPPINGS: Final = 3
_URIS: Final = "'env:NAME', 'file:PATH', 'awskms:KEY', 'pkcs11:...' or 'vault:MOUNT/NAME'"


def signed_message(suite: str, key_id: bytes, digest: bytes) -> bytes:
    """Return what a key signs: the label of this format, the suite, the key id and the SHA-256 of the raw header.

    Every field is preceded by its length in one byte, so no two sets of fields give the same message.
    """
    if len(digest) != 32:
        raise ValueError("a digest of 32 bytes is signed, nothing else")
    fields = (_LABEL, suite.encode("ascii"), key_id, digest)
    return b"".join(bytes((len(field),)) + field for field in fields)


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature of a container: which suite, which key, and the raw signature. Not a secret."""

    suite: str
    key_id: str
    value: bytes

    def __repr__(self) -> str:
        return f"Signature(suite={self.suite!r}, key_id={self.key_id!r})"


class SecretKey:
    """A symmetric key (HMAC-SHA256, RFC 2104): whoever can verify with it can also sign.

    Make one with `SecretKey.generate()` and keep `to_text()` in a secret store; read it back with
    `read_key("env:NAME")` or `read_key("file:PATH")`. `from_bytes` takes 32 to 1,024 random bytes that you manage yourself.
    """

    __slots__ = ("_key_id", "_mac", "_secret")

    suite: Final = HMAC_SHA256

    def __init__(self, secret: bytes | bytearray) -> None:
        self._secret = _checked_secret(secret)
        mac_key, self._key_id = _derive(self._secret)
        self._mac = hmac.new(mac_key, digestmod=hashlib.sha256)

    @classmethod
    def generate(cls) -> SecretKey:
        """Return a new key of 32 bytes from the operating system's randomness."""
        return cls(os.urandom(MIN_SECRET_BYTES))

    @classmethod
    def from_bytes(cls, secret: bytes) -> SecretKey:
        """Return the key over raw bytes, 32 to 1,024 of them. Raises `KeyringError` for anything else."""
        return cls(secret)

    @classmethod
    def from_text(cls, text: str) -> SecretKey:
        """Return the key from its textual form `spk1_<key id>_<base64url>`, checksum and key id verified.

        Raises `KeyringError`; the message never holds any part of the secret.
        """
        key_id, secret = _from_text(text, _SECRET_TEXT)
        key = cls(secret)
        if key.key_id != key_id:
            raise KeyringError(f"the textual key says key id {key_id} but its secret has key id {key.key_id}")
        return key

    def to_text(self) -> str:
        """Return the textual form, **which contains the secret**: one line of `[A-Za-z0-9_-]`, with a checksum."""
        return _to_text(_SECRET_TEXT, self.key_id, self._secret)

    @property
    def key_id(self) -> str:
        """Sixteen hexadecimal digits that name this key. Not secret."""
        return self._key_id.hex()

    def sign(self, digest: bytes) -> bytes:
        """Return the MAC, 32 bytes, over a 32-byte digest."""
        mac = self._mac.copy()
        mac.update(signed_message(HMAC_SHA256, self._key_id, digest))
        return mac.digest()

    def verify(self, digest: bytes, signature: bytes) -> None:
        """Return if `signature` is this key's MAC over the 32-byte digest, else raise `AuthenticationError`."""
        if not hmac.compare_digest(self.sign(digest), signature):
            raise AuthenticationError(
                f"the MAC by key {self.key_id} does not hold: the file was changed after it was signed, or it is damaged; "
                "fetch it again from where it was made"
            )

    def __repr__(self) -> str:
        # Also of a half-made one, which a report of its failure may show.
        return f"<SecretKey {getattr(self, '_key_id', b'').hex()} {self.suite}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretKey):
            return NotImplemented
        return hmac.compare_digest(self._secret, other._secret)

    def __hash__(self) -> int:
        return hash((HMAC_SHA256, self._key_id))

    def __copy__(self) -> SecretKey:
        return self

    def __deepcopy__(self, memo: object) -> SecretKey:
        return self

    def __getstate__(self) -> NoReturn:
        raise KeyringError("a key is never pickled: move `to_text()` through a secret store instead")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        self.__getstate__()


class PrivateKey:
    """The half of a key pair that signs: Ed25519, or Ed25519 and ML-DSA-65 together, or ECDSA over P-256.

    Make one with `PrivateKey.generate()`, keep `to_text()` or `to_pem()` where files are signed, and give
    `public_key()` to whoever verifies.
    """

    __slots__ = ("_parts", "_public", "_raw")

    def __init__(self, suite: str, raw: bytes) -> None:
        known = _asymmetric(suite)
        if not isinstance(raw, bytes) or len(raw) != known.private_bytes:
            raise KeyringError(f"a private key of suite {suite} has {known.private_bytes} bytes")
        self._raw = raw
        self._parts = _private_parts(suite, raw)
        self._public = PublicKey(suite, _public_raw(suite, self._parts))

    @classmethod
    def generate(cls, suite: str = ED25519) -> PrivateKey:
        """Return a new key. `suite` is "ed25519", "ed25519+ml-dsa-65" or "ecdsa-p256-sha256".

        The second is for files that must stay trustworthy for decades: whoever can break one of its halves forges nothing.
        Raises `KeyringError` if the installed `cryptography` does not have the suite.
        """
        known = _asymmetric(suite)
        if suite == ECDSA_P256:
            import secrets

            return cls(suite, (1 + secrets.randbelow(_P256_ORDER - 1)).to_bytes(32, "big"))
        return cls(suite, os.urandom(known.private_bytes))

    @classmethod
    def from_text(cls, text: str) -> PrivateKey:
        """Return the key from its textual form `spkpriv1_<key id>_<base64url>`. Raises `KeyringError`, which never holds any part of it."""
        key_id, payload = _from_text(text, _PRIVATE_TEXT)
        return _same_id(cls(_suite_of(payload), payload[1:]), key_id)

    def to_text(self) -> str:
        """Return the textual form, **which contains the private key**: one line of `[A-Za-z0-9_-]`, with a checksum."""
        return _to_text(_PRIVATE_TEXT, self.key_id, bytes((SUITES[self.suite].code,)) + self._raw)

    @classmethod
    def from_pem(cls, data: bytes, password: bytes | None = None) -> PrivateKey:
        """Return the key from PKCS #8 in PEM; a hybrid key is two blocks, Ed25519 first. Raises `KeyringError`."""
        loaded = [_load_private_pem(block, password) for block in _pem_blocks(data, "PRIVATE KEY")]
        suite, raw = _raw_private(loaded)
        return cls(suite, raw)

    def to_pem(self, password: bytes | None = None) -> bytes:
        """Return PKCS #8 in PEM, **which contains the private key**, encrypted if a password is given."""
        from cryptography.hazmat.primitives import serialization

        how: Any = serialization.NoEncryption() if password is None else serialization.BestAvailableEncryption(password)
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        return b"".join(part.private_bytes(encoding, form, how) for part in self._parts)

    def public_key(self) -> PublicKey:
        """Return the half that verifies."""
        return self._public

    @property
    def suite(self) -> str:
        """The name of its suite."""
        return self._public.suite

    @property
    def key_id(self) -> str:
        """Sixteen hexadecimal digits that name this key pair. Not secret."""
        return self._public.key_id

    def sign(self, digest: bytes) -> bytes:
        """Return the signature over a 32-byte digest."""
        message = signed_message(self.suite, bytes.fromhex(self.key_id), digest)
        if self.suite == ECDSA_P256:
            return _ecdsa_signature(self._parts[0], message)
        return b"".join(part.sign(message) for part in self._parts)

    def verify(self, digest: bytes, signature: bytes) -> None:
        """Return if `signature` is this key's over the 32-byte digest, else raise `AuthenticationError`."""
        self._public.verify(digest, signature)

    def __repr__(self) -> str:
        return f"<PrivateKey {self.key_id} {self.suite}>" if hasattr(self, "_public") else "<PrivateKey>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PrivateKey):
            return NotImplemented
        return self.suite == other.suite and hmac.compare_digest(self._raw, other._raw)

    def __hash__(self) -> int:
        return hash((self.suite, self.key_id))

    def __copy__(self) -> PrivateKey:
        return self

    def __deepcopy__(self, memo: object) -> PrivateKey:
        return self

    def __getstate__(self) -> NoReturn:
        raise KeyringError("a private key is never pickled: move `to_text()` or `to_pem()` through a secret store instead")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        self.__getstate__()


class _PublicBytes(bytes):
    """The bytes of a public key, which everyone may know: they are refused as a secret."""


class PublicKey:
    """The half of a key pair that verifies. It cannot sign, so a host that holds nothing else can load and cannot forge."""

    __slots__ = ("_key_id", "_parts", "_raw", "_suite")

    def __init__(self, suite: str, raw: bytes) -> None:
        known = _asymmetric(suite)
        if not isinstance(raw, bytes) or len(raw) != known.public_bytes:
            raise KeyringError(f"a public key of suite {suite} has {known.public_bytes} bytes")
        self._suite = suite
        self._raw = raw
        self._parts = _public_parts(suite, raw)
        self._key_id = public_key_id(suite, raw)

    @classmethod
    def from_text(cls, text: str) -> PublicKey:
        """Return the key from its textual form `spkpub1_<key id>_<base64url>`, checksum and key id verified. Raises `KeyringError`."""
        key_id, payload = _from_text(text, _PUBLIC_TEXT)
        return _same_id(cls(_suite_of(payload), payload[1:]), key_id)

    def to_text(self) -> str:
        """Return the textual form: one line of `[A-Za-z0-9_-]`, with a checksum."""
        return _to_text(_PUBLIC_TEXT, self.key_id, bytes((SUITES[self.suite].code,)) + self._raw)

    @classmethod
    def from_pem(cls, data: bytes) -> PublicKey:
        """Return the key from SubjectPublicKeyInfo in PEM; a hybrid key is two blocks, Ed25519 first. Raises `KeyringError`."""
        loaded = [_load_public_pem(block) for block in _pem_blocks(data, "PUBLIC KEY")]
        suite, raw = _raw_public(loaded)
        return cls(suite, raw)

    def to_pem(self) -> bytes:
        """Return SubjectPublicKeyInfo in PEM."""
        from cryptography.hazmat.primitives import serialization

        encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        return b"".join(part.public_bytes(encoding, form) for part in self._parts)

    @property
    def raw(self) -> bytes:
        """The bytes of the public key, as SPEC.md has them for its suite. They are refused as a secret."""
        return _PublicBytes(self._raw)

    @property
    def suite(self) -> str:
        """The name of its suite."""
        return self._suite

    @property
    def key_id(self) -> str:
        """Sixteen hexadecimal digits that name this key pair."""
        return self._key_id

    def verify(self, digest: bytes, signature: bytes) -> None:
        """Return if `signature` is this key's over the 32-byte digest, else raise `AuthenticationError`."""
        from cryptography.exceptions import InvalidSignature

        message = signed_message(self.suite, bytes.fromhex(self.key_id), digest)
        try:
            if len(signature) != SUITES[self.suite].signature_bytes:
                raise InvalidSignature
            if self.suite == ECDSA_P256:
                _verify_ecdsa(self._parts[0], message, signature)
            else:
                self._parts[0].verify(signature[:64], message)
                for part in self._parts[1:]:
                    part.verify(signature[64:], message)
        except InvalidSignature:
            raise AuthenticationError(
                f"the signature by key {self.key_id} does not hold: the file was changed after it was signed, or it is damaged; "
                "fetch it again from where it was made"
            ) from None

    def __repr__(self) -> str:
        return f"<PublicKey {self.key_id} {self.suite}>" if hasattr(self, "_key_id") else "<PublicKey>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PublicKey):
            return NotImplemented
        return (self._suite, self._raw) == (other._suite, other._raw)

    def __hash__(self) -> int:
        return hash((self._suite, self._key_id))

    def __reduce__(self) -> tuple[Callable[[str], PublicKey], tuple[str]]:
        return PublicKey.from_text, (self.to_text(),)


@runtime_checkable
class Signer(Protocol):
    """A key that can sign, wherever it lives: its suite, its key id, and a signature over a 32-byte digest.

    What is signed is `signed_message(suite, key id, digest)`. An implementation raises `KeyringError` if it cannot.
    """

    @property
    def suite(self) -> str:
        """The name of its suite."""

    @property
    def key_id(self) -> str:
        """Sixteen hexadecimal digits: `public_key_id` of its public key, or `remote_key_id` of a key that has none."""

    def sign(self, digest: bytes) -> bytes:
        """Return the signature."""


@runtime_checkable
class Verifier(Protocol):
    """A key that can verify, wherever it lives."""

    @property
    def suite(self) -> str:
        """The name of its suite."""

    @property
    def key_id(self) -> str:
        """Sixteen hexadecimal digits."""

    def verify(self, digest: bytes, signature: bytes) -> None:
        """Return if the signature holds, else raise `AuthenticationError`; `KeyringError` if that cannot be found out."""


Key = SecretKey | PrivateKey | PublicKey | Signer | Verifier


def public_key_id(suite: str, raw: bytes) -> str:
    """Return the key id of a public key: it names the key under its suite."""
    return _named(b"safepickle container v1 public key", suite, raw)


def remote_key_id(suite: str, name: str) -> str:
    """Return the key id of a key that has no public half and never leaves its service, from the service's own name of it."""
    return _named(b"safepickle container v1 remote key", suite, name.encode("utf-8"))


def _named(label: bytes, suite: str, what: bytes) -> str:
    digest = hashlib.sha256()
    for field in (label, suite.encode("ascii"), what):
        digest.update(len(field).to_bytes(4, "little") + field)
    return digest.digest()[:KEY_ID_BYTES].hex()


def public_half(key: Any) -> PublicKey | None:
    """Return the public key that a key is or has, wherever its other half lives, or None if it has none."""
    if isinstance(key, PublicKey):
        return key
    made = getattr(key, "public_key", None)
    public = made() if callable(made) else None
    return public if isinstance(public, PublicKey) else None


def as_key(key: Any) -> Key:
    """Return the key that `key` is or names: a key object, a key URI, or raw bytes of at least 32."""
    if isinstance(key, (SecretKey, PrivateKey, PublicKey)):
        return key
    if isinstance(key, str):
        return read_key(key)
    if isinstance(key, (bytes, bytearray)):
        return SecretKey(key)
    if key is None:
        raise KeyringError("no key: pass key=read_key('env:SAFEPICKLE_KEY'), a key object or a Keyring; there is no way to load or sign without one")
    if not isinstance(key, type) and isinstance(key, (Signer, Verifier)):
        return _checked_foreign(key)
    raise KeyringError(
        "a key is a SecretKey, PrivateKey, PublicKey or Keyring, a key URI such as 'env:SAFEPICKLE_KEY', or bytes of at least 32, "
        f"not {type(key).__name__}"
    )


def _checked_foreign(key: Signer | Verifier) -> Signer | Verifier:
    if not isinstance(key.suite, str) or key.suite not in SUITES:
        raise KeyringError(f"a key of suite {elided(str(key.suite))!a} cannot be used: there are {', '.join(SUITES)}")
    if not isinstance(key.key_id, str) or not re.fullmatch(r"[0-9a-f]{16}", key.key_id):
        raise KeyringError("a key id is 16 lower-case hexadecimal digits: see keys.public_key_id() and keys.remote_key_id()")
    return key


def read_key(uri: str) -> Key:
    """Return the key that a URI names: `env:NAME` (an environment variable), `file:PATH` (a key file), or one that lives elsewhere.

    Variables and files hold the textual form or PEM. A key file may have comments (`#`) and must not be readable by others nor
    writable by anyone but its owner. `awskms:`, `pkcs11:` and `vault:` name a key in a key service or token, each with its extra
    (see `docs/remote-keys.md`). **Take a URI only from whom you trust**: it says whom to believe, where to connect, and with `pkcs11:`
    which native library this process loads. Raises `KeyringError`.
    """
    if not isinstance(uri, str):
        raise KeyringError(f"a key URI is text such as {_URIS}, not {type(uri).__name__}")
    scheme, colon, rest = uri.partition(":")
    reader = _READERS.get(scheme) if colon else None
    if reader is None:
        # The text is not repeated: it may well be a secret.
        if uri.startswith(("spk1_", "spkpriv1_", "spkpub1_")):
            raise KeyringError(
                "this is a key itself, not a key URI: keep it in an environment variable and pass 'env:NAME', "
                "or use from_text() of its class where it really must be text"
            )
        raise KeyringError(f"a key is named by a URI, {_URIS}; a password or other text is not a key")
    if _TEXT_FORM.search(rest) or "-----BEGIN" in rest:
        raise KeyringError(f"'{scheme}:' is followed by what looks like a key itself: a URI says where the key is, as in 'env:NAME'")
    if not rest:
        raise KeyringError(f"'{scheme}:' names nothing: write {_URIS}")
    return reader(rest)


def parse_key(data: bytes, where: str) -> Key:
    """Return the key of a textual form or PEM. Raises `KeyringError` that says where it stands, never what it holds."""
    try:
        return _parsed(data)
    except KeyringError as error:
        message = f"in {where}: {error}"
    # Raised from here, without a cause: reports of errors may show the local variables of each frame, and none has the text any more.
    del data
    raise KeyringError(message)


def _parsed(data: bytes) -> Key:
    text = data.strip()
    if text.startswith(b"-----BEGIN"):
        return PublicKey.from_pem(text) if b"PUBLIC KEY-----" in text.partition(b"\n")[0] else PrivateKey.from_pem(text)
    line = text.decode("ascii", "replace")
    for form, kind in ((_PUBLIC_TEXT, PublicKey), (_PRIVATE_TEXT, PrivateKey)):
        if line.startswith(f"{form}_"):
            found: Key = kind.from_text(line)
            return found
    if not line.startswith(f"{_SECRET_TEXT}_"):
        raise KeyringError("this is not a textual key: it must be one line 'spk1_<key id>_<base64url>' as `safepickle keygen` writes it, or PEM")
    return SecretKey.from_text(line)


def _from_environment(name: str) -> Key:
    where = f"the environment variable {elided(name)}"
    return parse_key(_variable(name, where), where)


def _variable(name: str, where: str) -> bytes:
    try:
        text = os.environ.get(name)
    except ValueError:
        raise KeyringError(f"{elided(name)!a} cannot be the name of an environment variable") from None
    if not text:
        raise KeyringError(f"{where} is not set: make a key with `safepickle keygen` and put it there")
    return text.encode("utf-8", "surrogateescape")


def _from_file(path: str) -> Key:
    where = f"the key file {elided(path)}"
    # The content is handed on and not kept, for the reason that stands in `parse_key`.
    *content, mode = read_regular(path, "key file", MAX_KEY_FILE_BYTES)
    key = parse_key(_key_lines(content.pop(), where), where)
    if os.name == "posix":
        if isinstance(key, PublicKey):
            check_not_writable(path, "key file", mode)
        else:
            _check_key_file_mode(path, mode)
    return key


def _key_lines(data: bytes, where: str) -> bytes:
    """Return the content of a key file without its comments: one line, or PEM."""
    lines = [line.strip() for line in data.splitlines()]
    keys = [line for line in lines if line and not line.startswith(b"#")]
    count = len(keys)
    if count == 1 or (keys and keys[0].startswith(b"-----BEGIN")):
        return b"\n".join(keys)
    del data, lines, keys
    raise KeyringError(f"{where} has {count} key lines; it must have exactly one, and comments start with '#'")


def read_regular(path: str, what: str, limit: int) -> tuple[bytes, int]:
    """Return the content and the mode of a regular file of at most `limit` bytes. Raises `KeyringError`."""
    try:
        data, status = files.read_regular(path, what, limit)
    except OSError as error:
        raise KeyringError(f"the {what} {elided(path)} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise KeyringError(f"{error}") from None
    return data, status.st_mode


def read_trusted(path: str, what: str, limit: int) -> bytes:
    """Return the content of a file that says whom to trust, and that nobody but this user and root can write. Raises `KeyringError`."""
    try:
        data, status = files.read_regular(path, what, limit)
        files.check_writers(path, what, status)
    except OSError as error:
        raise KeyringError(f"the {what} {elided(path)} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise KeyringError(f"{error}") from None
    return data


def check_not_writable(path: str, what: str, mode: int) -> None:
    """Refuse a file that others than its owner can write: who writes it says whom to trust. Raises `KeyringError`."""
    try:
        files.check_mode(path, what, mode)
    except ValueError as error:
        raise KeyringError(f"{error}") from None


def _check_key_file_mode(path: str, mode: int) -> None:
    """Refuse a key file that others can read, or that anyone but its owner can write.

    The group may read it: that is how orchestrators mount secrets for a service that does not run as root.
    """
    permissions, shown = stat.S_IMODE(mode), elided(path)
    if permissions & 0o007:
        raise KeyringError(
            f"the key file {shown} is open to every user (mode {permissions:04o}): run `chmod 600 {shown}`, and in Kubernetes set "
            "`defaultMode: 0400` on the secret volume; then replace the key if others may have read it"
        )
    if permissions & 0o020:
        raise KeyringError(f"the key file {shown} is writable by its group (mode {permissions:04o}): run `chmod 640 {shown}`")


def _remote(module: str) -> Callable[[str], Key]:
    def read(rest: str) -> Key:
        # Adapters stand above this module and their libraries are extras, so they are found when they are asked for.
        found: Key = importlib.import_module(f"safepickle.integrations.{module}").from_uri(rest)
        return found

    return read


_READERS: Final[dict[str, Callable[[str], Key]]] = {
    "env": _from_environment,
    "file": _from_file,
    "awskms": _remote("aws_kms"),
    "pkcs11": _remote("pkcs11"),
    "vault": _remote("vault"),
}


# --- suites ----------------------------------------------------------------------------------------------------


def _asymmetric(suite: Any) -> Suite:
    known = SUITES.get(suite) if isinstance(suite, str) else None
    if known is None or not known.public_bytes:
        raise KeyringError(f"there is no suite {elided(str(suite))!a} of key pairs: there are {ED25519}, {HYBRID} and {ECDSA_P256}")
    return known


def _suite_of(payload: bytes) -> str:
    for suite in SUITES.values():
        if payload[:1] == bytes((suite.code,)):
            return suite.name
    raise KeyringError("the textual key is of a suite that this release does not know: upgrade safepickle-ml")


def _mldsa() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import mldsa
    except ImportError:
        raise KeyringError(f"the installed cryptography has no ML-DSA, which suite {HYBRID} needs: pip install --upgrade cryptography") from None
    return mldsa


def _wrapped(what: str, make: Callable[[], Any]) -> Any:
    """Return what `make` makes; what the library refuses is a `KeyringError` without any of the bytes."""
    from cryptography.exceptions import InternalError, UnsupportedAlgorithm

    try:
        return make()
    except KeyringError:
        raise
    except UnsupportedAlgorithm:
        raise KeyringError(f"the installed cryptography cannot use this {what}: pip install --upgrade cryptography") from None
    except (ValueError, TypeError, OverflowError, InternalError):
        # The last is what OpenSSL makes of PEM with an Ed25519 key of another length.
        raise KeyringError(f"this is not a valid {what}") from None


def _private_parts(suite: str, raw: bytes) -> tuple[Any, ...]:
    def make() -> tuple[Any, ...]:
        # Each suite imports what it needs itself: together they take as long as checking a small file.
        if suite == ECDSA_P256:
            from cryptography.hazmat.primitives.asymmetric import ec

            return (ec.derive_private_key(int.from_bytes(raw, "big"), ec.SECP256R1()),)
        from cryptography.hazmat.primitives.asymmetric import ed25519

        first = ed25519.Ed25519PrivateKey.from_private_bytes(raw[:32])
        return (first,) if suite == ED25519 else (first, _mldsa().MLDSA65PrivateKey.from_seed_bytes(raw[32:]))

    parts: tuple[Any, ...] = _wrapped(f"private key of suite {suite}", make)
    return parts


def _public_parts(suite: str, raw: bytes) -> tuple[Any, ...]:
    def make() -> tuple[Any, ...]:
        if suite == ECDSA_P256:
            from cryptography.hazmat.primitives.asymmetric import ec

            return (ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw),)
        y = int.from_bytes(raw[:32], "little") & ((1 << 255) - 1)
        # The library takes y modulo the prime: a second encoding would be a second key id of the same key, and one person count as two.
        if y >= _ED_PRIME or y in _SMALL_ORDER:
            raise ValueError
        from cryptography.hazmat.primitives.asymmetric import ed25519

        first = ed25519.Ed25519PublicKey.from_public_bytes(raw[:32])
        return (first,) if suite == ED25519 else (first, _mldsa().MLDSA65PublicKey.from_public_bytes(raw[32:]))

    parts: tuple[Any, ...] = _wrapped(f"public key of suite {suite}", make)
    return parts


def _public_raw(suite: str, parts: tuple[Any, ...]) -> bytes:
    public = [part.public_key() for part in parts]
    return _point(public[0]) if suite == ECDSA_P256 else b"".join(part.public_bytes_raw() for part in public)


def _point(public: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    raw: bytes = public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return raw


def _ecdsa_signature(private: Any, message: bytes) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return ecdsa_from_der(private.sign(message, ec.ECDSA(hashes.SHA256())))


def ecdsa_from_der(der: bytes) -> bytes:
    """Return an ECDSA signature over P-256 as SPEC.md has it, from the DER that libraries and services give."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    r, s = decode_dss_signature(der)
    return r.to_bytes(32, "big") + min(s, _P256_ORDER - s).to_bytes(32, "big")


def _verify_ecdsa(public: Any, message: bytes, signature: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if not 0 < r < _P256_ORDER or not 0 < s <= _P256_ORDER // 2:
        raise InvalidSignature
    public.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))


def _pem_blocks(data: Any, ending: str) -> list[bytes]:
    """Return the blocks of PEM, whose labels must end in `ending` and which nothing may stand between or around."""
    if not isinstance(data, (bytes, bytearray)):
        raise KeyringError(f"PEM is bytes, not {type(data).__name__}")
    if len(data) > MAX_KEY_FILE_BYTES:
        raise KeyringError(f"this PEM is longer than {MAX_KEY_FILE_BYTES} bytes: that is no key")
    text = bytes(data)
    blocks = []
    at = 0
    # Each byte is looked at once: a block that does not end is the last.
    while begin := _PEM_BEGIN.match(text, at):
        last = b"-----END " + begin[1] + b"-----"
        end = text.find(last, begin.end())
        if end < 0:
            break
        label = begin[1].decode("ascii")
        if not label.endswith(ending):
            raise KeyringError(f"this PEM holds a {label.lower()}, and a {ending.lower()} is needed here")
        at = end + len(last)
        blocks.append(text[begin.start() : at].lstrip())
    if not blocks and b"-----END " not in text:
        raise KeyringError("this is not PEM: it has no block between '-----BEGIN' and '-----END'")
    if text[at:].strip():
        raise KeyringError("there is text between or around the blocks of this PEM: a key file holds one key and nothing else")
    return blocks


def _load_private_pem(block: bytes, password: bytes | None) -> Any:
    from cryptography.hazmat.primitives import serialization

    if password is None and b"ENCRYPTED" in block:
        raise KeyringError("this private key is encrypted: decrypt it into a secret store, or read it with PrivateKey.from_pem(data, password)")
    return _wrapped("private key in PEM, or not with this password", lambda: serialization.load_pem_private_key(block, password))


def _load_public_pem(block: bytes) -> Any:
    from cryptography.hazmat.primitives import serialization

    return _wrapped("public key in PEM", lambda: serialization.load_pem_public_key(block))


def _kinds(loaded: list[Any]) -> list[str]:
    """Return what kinds of key were read, as the names of the classes in `cryptography`."""
    return [type(each).__name__.removesuffix("PrivateKey").removesuffix("PublicKey") for each in loaded]


def _suite_of_kinds(loaded: list[Any]) -> str:
    kinds = _kinds(loaded)
    if kinds == ["Ed25519"]:
        return ED25519
    if kinds == ["Ed25519", "MLDSA65"]:
        return HYBRID
    if len(loaded) == 1 and getattr(getattr(loaded[0], "curve", None), "name", "") == "secp256r1":
        return ECDSA_P256
    raise KeyringError("a key in PEM is Ed25519, Ed25519 followed by ML-DSA-65, or an elliptic-curve key on P-256")


def _raw_private(loaded: list[Any]) -> tuple[str, bytes]:
    suite = _suite_of_kinds(loaded)
    if suite == ECDSA_P256:
        return suite, loaded[0].private_numbers().private_value.to_bytes(32, "big")
    return suite, b"".join(each.private_bytes_raw() for each in loaded)


def _raw_public(loaded: list[Any]) -> tuple[str, bytes]:
    suite = _suite_of_kinds(loaded)
    return suite, _point(loaded[0]) if suite == ECDSA_P256 else b"".join(each.public_bytes_raw() for each in loaded)


# --- textual form ----------------------------------------------------------------------------------------------

_Pair = TypeVar("_Pair", PrivateKey, PublicKey)

_FORMS: Final = {_SECRET_TEXT: "secret key", _PRIVATE_TEXT: "private key", _PUBLIC_TEXT: "public key"}


def _from_text(text: Any, form: str) -> tuple[str, bytes]:
    """Return key id and payload of a textual key of that form. Raises `KeyringError`, which never holds any part of the payload."""
    # Around a key the same may stand as for `parse_key`, which strips bytes; `str.strip` alone takes off other kinds of space too.
    match = _TEXT_FORM.fullmatch(text.strip(string.whitespace)) if isinstance(text, str) and len(text) <= MAX_KEY_FILE_BYTES else None
    if match is None:
        raise KeyringError(
            f"this is not a textual {_FORMS[form]}: it must be one line '{form}_<key id>_<base64url>' as `safepickle keygen` writes it"
        )
    found, key_id, encoded = match.groups()
    if found != form:
        raise KeyringError(f"{key_id} is a {_FORMS[found]}, and a {_FORMS[form]} is needed here")
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    payload, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    if not hmac.compare_digest(checksum, _checksum(form, key_id, payload)) or _base64url(raw) != encoded:
        raise KeyringError(f"the textual key {key_id} is damaged: its checksum does not match; copy it again, whole, from where you keep it")
    return key_id, payload


def _to_text(form: str, key_id: str, payload: bytes) -> str:
    return f"{form}_{key_id}_{_base64url(payload + _checksum(form, key_id, payload))}"


def _same_id(key: _Pair, key_id: str) -> _Pair:
    if key.key_id != key_id:
        raise KeyringError(f"the textual key says key id {key_id} but its content has key id {key.key_id}")
    return key


# --- secrets ---------------------------------------------------------------------------------------------------


def _checked_secret(secret: Any) -> bytes:
    if not isinstance(secret, (bytes, bytearray)):
        raise KeyringError(f"a secret is bytes, not {type(secret).__name__}: a password is not a key; make one with SecretKey.generate()")
    if len(secret) < MIN_SECRET_BYTES:
        raise KeyringError(
            f"a secret of {len(secret)} bytes is too short: at least {MIN_SECRET_BYTES} random bytes are needed; make one with SecretKey.generate()"
        )
    if len(secret) > MAX_SECRET_BYTES:
        raise KeyringError(f"a secret of {len(secret)} bytes is too long: at most {MAX_SECRET_BYTES}")
    if isinstance(secret, _PublicBytes) or _holds_other_key(secret, _MAX_WRAPPINGS):
        raise KeyringError(
            "these bytes are a textual, PEM, DER, ssh or JSON key, its bare base64 or hexadecimal, or a file of such, not a secret: use read_key(), "
            "or from_text() or from_pem() of its class; a public key must never serve as a secret"
        )
    if len(set(secret)) < MIN_DISTINCT_BYTES:
        raise KeyringError("these bytes are not random: make a key with SecretKey.generate()")
    return bytes(secret)


def _holds_other_key(data: bytes | bytearray, wrappings: int) -> bool:
    """Tell whether the bytes are a key in some other form, or what tools, shells and stores make of one."""
    return _is_other_key(data) or (wrappings > 0 and any(_holds_other_key(each, wrappings - 1) for each in _unwrapped(data)))


def _is_other_key(data: bytes | bytearray) -> bool:
    """Tell whether the bytes are a key in some other form, or a file of keys, which others may know."""
    if data.lstrip().startswith(_NOT_SECRETS) or any(mark in data for mark in _MARKS) or _SSH.match(data) or _DER_KEY.match(data):
        return True
    sequence = _DER.match(data)
    if sequence is None or len(data) < _MIN_DER_BYTES:
        return False
    length = int.from_bytes(sequence[1] or sequence[2] or sequence[3], "big")
    return sequence.end() + length == len(data)


def _unwrapped(data: bytes | bytearray) -> Iterator[bytes]:
    """Yield what the bytes may stand for: as UTF-16, as hexadecimal, and as base64, of either alphabet, as a whole and each word of it."""
    if b"\0" in data:
        # UTF-16 of what is ASCII, from either end, with or without its mark.
        yield bytes(data.replace(b"\0", b"").removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff"))
    if _HEX.fullmatch(data):
        yield bytes.fromhex(data.replace(b":", b"").decode("ascii"))
    yield _from_base64(b"".join(data.split()).rstrip(b"="))
    for word in _WORD.findall(data):
        yield _from_base64(word)


def _from_base64(text: bytes) -> bytes:
    """Return what the text stands for if it is base64, without padding; else nothing."""
    text = text.translate(_URL_SAFE)
    if not _BASE64.fullmatch(text):
        return b""
    # A last character alone, of a text that was cut short, stands for no byte.
    text = text[:-1] if len(text) % 4 == 1 else text
    return base64.b64decode(text + b"=" * (-len(text) % 4))


def _derive(secret: bytes) -> tuple[bytes, bytes]:
    """Return the MAC key and the key id: 40 bytes of HKDF-SHA256 without salt (RFC 5869)."""
    # Here and not above, so that `import safepickle` stays light.
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    material = HKDF(algorithm=SHA256(), length=32 + KEY_ID_BYTES, salt=None, info=_HKDF_INFO).derive(secret)
    return material[:32], material[32:]


def _checksum(form: str, key_id: str, payload: bytes) -> bytes:
    """Four bytes that catch a slip in copying; they protect against nothing else."""
    return hashlib.sha256(f"{form}_{key_id}_".encode("ascii") + payload).digest()[:_CHECKSUM_BYTES]


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
