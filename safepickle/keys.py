"""Keys: secrets, their ids, the keyring, and signatures over 32-byte digests.

Promises:
- A key carries its suite, so a file can never choose how it is checked.
- A key id is derived from the key. It says which key, and nothing about it.
- The MAC key is derived from the secret with HKDF (RFC 5869) under a label of this format, so the same secret in
  another product, or in another version of this format, makes unrelated MACs.
- Secrets are in no repr, no error and no pickle; they are compared in constant time.

What is signed is always short: see `signed_message`. This module knows nothing of files or pickles.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from .errors import AuthenticationError, KeyringError, UnknownKeyError

__all__ = ["HMAC_SHA256", "AnyKey", "Key", "Keyring", "SecretKey", "Signature", "as_keyring", "read_key", "signed_message"]

HMAC_SHA256: Final = "hmac-sha256"
SIGNATURE_LENGTHS: Final = {HMAC_SHA256: 32}

KEY_ID_BYTES: Final = 8
MIN_SECRET_BYTES: Final = 32
MAX_SECRET_BYTES: Final = 1024
MAX_KEY_FILE_BYTES: Final = 65536
# A random secret of 32 bytes has fewer than 8 distinct ones with a probability below 2**-100.
MIN_DISTINCT_BYTES: Final = 8

_LABEL: Final = b"safepickle container v1"
_HKDF_INFO: Final = b"safepickle container v1 hmac-sha256"
_TEXT_FORM: Final = re.compile(r"spk1_([0-9a-f]{16})_([A-Za-z0-9_-]+)")
_CHECKSUM_BYTES: Final = 4
_NOT_SECRETS: Final = (b"-----BEGIN", b"ssh-", b"sk-ssh-", b"sk-ecdsa-", b"ecdsa-", b"spk1_", b"env:", b"file:", b"AGE-SECRET-KEY-", b"age1")
# How public and private keys begin in DER: a sequence of (a version and) a sequence of an object identifier.
_DER_KEY: Final = re.compile(rb"\x30(?:[\x00-\x7f]|\x81.|\x82..)(?:\x02\x01.)?\x30.\x06", re.DOTALL)


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

    def __init__(self, secret: bytes) -> None:
        self._secret = _checked_secret(secret)
        mac_key, self._key_id = _derive(self._secret)
        self._mac = hmac.new(mac_key, digestmod=hashlib.sha256)

    @classmethod
    def generate(cls) -> SecretKey:
        """Return a new key of 32 bytes from the operating system's randomness."""
        return cls(secrets.token_bytes(MIN_SECRET_BYTES))

    @classmethod
    def from_bytes(cls, secret: bytes) -> SecretKey:
        """Return the key over raw bytes, 32 to 1,024 of them. Raises `KeyringError` for anything else."""
        return cls(secret)

    @classmethod
    def from_text(cls, text: str) -> SecretKey:
        """Return the key from its textual form `spk1_<key id>_<base64url>`, checksum and key id verified.

        Raises `KeyringError`; the message never holds any part of the secret.
        """
        match = _TEXT_FORM.fullmatch(text.strip()) if isinstance(text, str) else None
        if match is None:
            raise KeyringError("this is not a textual key: it must be one line 'spk1_<key id>_<base64url>' as `safepickle keygen` writes it")
        key_id, encoded = match.groups()
        try:
            raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        secret, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
        if not hmac.compare_digest(checksum, _checksum(key_id, secret)) or _base64url(raw) != encoded:
            raise KeyringError(f"the textual key {key_id} is damaged: its checksum does not match; copy it again, whole, from where you keep it")
        key = cls(secret)
        if key.key_id != key_id:
            raise KeyringError(f"the textual key says key id {key_id} but its secret has key id {key.key_id}")
        return key

    def to_text(self) -> str:
        """Return the textual form, **which contains the secret**: one line of `[A-Za-z0-9_-]`, with a checksum."""
        return f"spk1_{self.key_id}_{_base64url(self._secret + _checksum(self.key_id, self._secret))}"

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


Key = SecretKey


class Keyring:
    """Keys that the holder trusts: the primary signs, all of them verify.

    Order is not meaning: the signing key is `primary`, by name. Give several to read files of a retired key
    while new ones are signed with the new key.
    """

    __slots__ = ("_by_id", "_primary")

    def __init__(self, primary: Key | bytes | str, *others: Key | bytes | str) -> None:
        keys = [as_key(each) for each in (primary, *others)]
        self._primary: Key = keys[0]
        self._by_id = {(key.suite, key.key_id): key for key in keys}
        if len(self._by_id) != len(keys):
            raise KeyringError("the same key is in the keyring twice; name each key once")

    @property
    def primary(self) -> Key:
        """The key that signs."""
        return self._primary

    def find(self, suite: str, key_id: str) -> Key | None:
        """Return the trusted key of that suite and id, or None."""
        return self._by_id.get((suite, key_id))

    def sign(self, digest: bytes) -> tuple[Signature, ...]:
        """Return the primary's signature over a 32-byte digest."""
        key = self.primary
        return (Signature(key.suite, key.key_id, key.sign(digest)),)

    def verify(self, digest: bytes, signatures: tuple[Signature, ...], *, threshold: int = 1) -> tuple[str, ...]:
        """Return the ids of the trusted keys that signed the 32-byte digest.

        A signature under a key of this ring that does not hold refuses the whole; one under an unknown key is
        skipped. Raises `AuthenticationError`, or `UnknownKeyError` when no signature is by a key of this ring.
        """
        good = []
        for signature in signatures:
            key = self.find(signature.suite, signature.key_id)
            if key is not None:
                key.verify(digest, signature.value)
                good.append(key.key_id)
        if not good:
            signed = ", ".join(f"{each.key_id} ({each.suite})" for each in signatures)
            raise UnknownKeyError(
                f"the file is signed by key {signed}; you trust {', '.join(self.key_ids)}; "
                "pass the key that signed it, or have it signed again with yours"
            )
        if len(set(good)) < threshold:
            raise AuthenticationError(
                f"{len(set(good))} trusted key(s) signed the file ({', '.join(good)}) and threshold={threshold} asks for more; "
                "have another trusted key sign it"
            )
        return tuple(good)

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of all keys, the primary's first."""
        return tuple(key.key_id for key in self)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def __repr__(self) -> str:
        if not hasattr(self, "_by_id"):
            return "<Keyring>"
        others = "".join(f", {key_id}" for key_id in self.key_ids[1:])
        return f"<Keyring primary={self.primary.key_id}{others}>"

    def __copy__(self) -> Keyring:
        return self

    def __deepcopy__(self, memo: object) -> Keyring:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise KeyringError("a keyring is never pickled: move the keys through a secret store instead")


AnyKey = Key | Keyring | str | bytes
"""What the public functions take as `key`: a key, a keyring, a key URI, or raw bytes of at least 32."""


def as_key(key: Any) -> Key:
    """Return the key that `key` is or names: a key object, a key URI, or raw bytes of at least 32."""
    if isinstance(key, SecretKey):
        return key
    if isinstance(key, str):
        return read_key(key)
    if isinstance(key, (bytes, bytearray)):
        return SecretKey(bytes(key))
    if key is None:
        raise KeyringError("no key: pass key=read_key('env:SAFEPICKLE_KEY'), a SecretKey or a Keyring; there is no way to load or sign without one")
    raise KeyringError(f"a key is a SecretKey, a Keyring, a key URI such as 'env:SAFEPICKLE_KEY', or bytes of at least 32, not {type(key).__name__}")


def as_keyring(key: Any) -> Keyring:
    """Return `key` if it is a keyring, else a keyring of that one key (see `as_key`)."""
    return key if isinstance(key, Keyring) else Keyring(key)


def read_key(uri: str) -> Key:
    """Return the key that a URI names: `env:NAME` (an environment variable) or `file:PATH` (a key file).

    Both hold the textual form. A key file may have comments (`#`) and must not be readable by others nor
    writable by anyone but its owner. Raises `KeyringError`.
    """
    if not isinstance(uri, str):
        raise KeyringError(f"a key URI is text such as 'env:SAFEPICKLE_KEY' or 'file:PATH', not {type(uri).__name__}")
    scheme, colon, rest = uri.partition(":")
    reader = _READERS.get(scheme) if colon else None
    if reader is None:
        # The text is not repeated: it may well be a secret.
        if uri.startswith("spk1_"):
            raise KeyringError(
                "this is a key itself, not a key URI: keep it in an environment variable and pass 'env:NAME', "
                "or use SecretKey.from_text() where it really must be text"
            )
        raise KeyringError("a key is named by a URI, 'env:NAME' or 'file:PATH'; a password or other text is not a key")
    if "spk1_" in rest:
        raise KeyringError(f"'{scheme}:' is followed by what looks like a key itself: a URI says where the key is, as in 'env:NAME'")
    if not rest:
        raise KeyringError(f"'{scheme}:' names nothing: write 'env:NAME' or 'file:PATH'")
    return reader(rest)


def _from_environment(name: str) -> Key:
    try:
        text = os.environ.get(name)
    except ValueError:
        raise KeyringError(f"{name!a} cannot be the name of an environment variable") from None
    if not text:
        raise KeyringError(f"the environment variable {name} is not set: make a key with `safepickle keygen` and put it there")
    try:
        return SecretKey.from_text(text)
    except KeyringError as error:
        raise KeyringError(f"in the environment variable {name}: {error}") from None


def _from_file(path: str) -> Key:
    try:
        # Without blocking, so that a pipe in place of the file is refused rather than waited for.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise KeyringError(f"the key file {path} is not a regular file")
            if os.name == "posix":
                _check_key_file_mode(path, status.st_mode)
            data = file.read(MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise KeyringError(f"the key file {path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise KeyringError(f"{path!a} cannot be the path of a key file") from None
    if len(data) > MAX_KEY_FILE_BYTES:
        raise KeyringError(f"the key file {path} is longer than {MAX_KEY_FILE_BYTES} bytes: that is no key file")
    lines = [line.strip() for line in data.splitlines()]
    keys = [line for line in lines if line and not line.startswith(b"#")]
    if len(keys) != 1:
        raise KeyringError(f"the key file {path} has {len(keys)} key lines; it must have exactly one, and comments start with '#'")
    try:
        return SecretKey.from_text(keys[0].decode("ascii", "replace"))
    except KeyringError as error:
        raise KeyringError(f"in the key file {path}: {error}") from None


def _check_key_file_mode(path: str, mode: int) -> None:
    """Refuse a key file that others can read, or that anyone but its owner can write.

    The group may read it: that is how orchestrators mount secrets for a service that does not run as root.
    """
    permissions = stat.S_IMODE(mode)
    if permissions & 0o007:
        raise KeyringError(
            f"the key file {path} is open to every user (mode {permissions:04o}): run `chmod 600 {path}`, and in Kubernetes set "
            "`defaultMode: 0400` on the secret volume; then replace the key if others may have read it"
        )
    if permissions & 0o020:
        raise KeyringError(f"the key file {path} is writable by its group (mode {permissions:04o}): run `chmod 640 {path}`")


_READERS: Final[dict[str, Callable[[str], Key]]] = {"env": _from_environment, "file": _from_file}


def _checked_secret(secret: Any) -> bytes:
    if not isinstance(secret, (bytes, bytearray)):
        raise KeyringError(f"a secret is bytes, not {type(secret).__name__}: a password is not a key; make one with SecretKey.generate()")
    if len(secret) < MIN_SECRET_BYTES:
        raise KeyringError(
            f"a secret of {len(secret)} bytes is too short: at least {MIN_SECRET_BYTES} random bytes are needed; make one with SecretKey.generate()"
        )
    if len(secret) > MAX_SECRET_BYTES:
        raise KeyringError(f"a secret of {len(secret)} bytes is too long: at most {MAX_SECRET_BYTES}")
    if secret.lstrip().startswith(_NOT_SECRETS) or _DER_KEY.match(secret) or b'"kty"' in secret:
        raise KeyringError(
            "these bytes are a textual, PEM, DER or JSON key, not a secret: use read_key() or SecretKey.from_text(); "
            "a public key must never serve as a secret"
        )
    if len(set(secret)) < MIN_DISTINCT_BYTES:
        raise KeyringError("these bytes are not random: make a key with SecretKey.generate()")
    return bytes(secret)


def _derive(secret: bytes) -> tuple[bytes, bytes]:
    """Return the MAC key and the key id: 40 bytes of HKDF-SHA256 without salt (RFC 5869)."""
    # Here and not above, so that `import safepickle` stays light.
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    material = HKDF(algorithm=SHA256(), length=32 + KEY_ID_BYTES, salt=None, info=_HKDF_INFO).derive(secret)
    return material[:32], material[32:]


def _checksum(key_id: str, secret: bytes) -> bytes:
    """Four bytes that catch a slip in copying; they protect against nothing else."""
    return hashlib.sha256(b"spk1_" + key_id.encode("ascii") + b"_" + secret).digest()[:_CHECKSUM_BYTES]


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
