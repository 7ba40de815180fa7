"""What the adapters of key services share: the keys themselves, options of a URI, secrets by source, addresses.

- A URI says everything at most once, and nothing that is not understood. It holds no secret: a secret is named by its source.
- A service is reached over TLS, or on this machine: whoever could answer in its place could say that a forged MAC holds.
- A signature that a service gives is verified under the public key before anything is signed with it.
- A MAC holds only if the service says so. An adapter says how it is asked, as functions of the message; what is made of the answer is here.

No text raised here holds what a source or a service answered. This module knows no service.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from safepickle import AuthenticationError, KeyringError, PublicKey
from safepickle.errors import elided
from safepickle.keys import REMOTE_HMAC, ecdsa_from_der, read_regular, signed_message

__all__ = [
    "KeyPair",
    "MacKey",
    "MacVerifier",
    "checked_address",
    "decoded",
    "ecdsa_signature",
    "options",
    "public_key",
    "secret",
]

MAX_SECRET_BYTES: Final = 8192
MAC_BYTES: Final = 32
# Surrogates too: they are no characters, and nothing could be made of them but an error of the codec.
_BAD_VALUE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})|[\ud800-\udfff]")


def options(text: str, separator: str, known: frozenset[str], where: str) -> dict[str, str]:
    """Return the `name=value` parts of a text, still percent-encoded. Raises `KeyringError` for an unknown, repeated or empty one.

    The message names parts and never their values, which may have been meant as a secret.
    """
    found: dict[str, str] = {}
    for part in text.split(separator) if text else ():
        name, _, value = part.partition("=")
        if name not in known:
            raise KeyringError(f"the {where} URI has a part that means nothing here: there are {', '.join(sorted(known))}")
        if name in found:
            raise KeyringError(f"the {where} URI says {name} twice")
        if not value or _BAD_VALUE.search(value):
            raise KeyringError(f"{name} of the {where} URI is empty, or not percent-encoded as it must be")
        found[name] = value
    return found


def decoded(value: str, name: str) -> str:
    """Return a percent-encoded value as text. Raises `KeyringError` if it is not UTF-8 or holds control characters."""
    try:
        text = unquote_to_bytes(value).decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if not text.isprintable():
        raise KeyringError(f"{name} of a key URI is text without control characters, in UTF-8, percent-encoded")
    return text


def secret(source: str, what: str) -> str:
    """Return the one line that `env:NAME` or `file:PATH` holds: a PIN, a token. Raises `KeyringError`, which never holds it.

    A file must not be readable by every user, nor writable by anyone but its owner; its group may read it, as with key files.
    """
    scheme, _, name = source.partition(":")
    if scheme == "env" and name:
        try:
            value = os.environ.get(name, "")
        except ValueError:
            value = ""
        if not value:
            raise KeyringError(f"the environment variable {elided(name)!a}, which should hold the {what}, is not set")
    elif scheme == "file" and name:
        # Handed on and not kept: reports of errors may show the local variables of each frame.
        *content, mode = read_regular(name, f"file of the {what}", MAX_SECRET_BYTES)
        if os.name == "posix" and stat.S_IMODE(mode) & 0o027:
            content.clear()
            shown = elided(name)
            raise KeyringError(f"the file of the {what}, {shown}, is open to others (mode {stat.S_IMODE(mode):04o}): run `chmod 600 {shown}`")
        value = content.pop().decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")
    else:
        # Not repeated: it may be the secret itself.
        raise KeyringError(f"the source of the {what} is env:NAME or file:PATH; the {what} itself stands in no URI")
    if not value or not value.isprintable() or "\ufffd" in value:
        del value
        raise KeyringError(f"what {elided(source)} holds is not a {what}: one line of text")
    return value


def checked_address(url: str, what: str) -> SplitResult:
    """Return the parts of the address of a service: https, or http on this machine. Raises `KeyringError`."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise KeyringError(f"the address of {what} is not a URL") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise KeyringError(f"the address of {what} is only https://HOST[:PORT][/PATH]; credentials stand elsewhere")
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and _on_this_machine(host))):
        raise KeyringError(f"{what} is reached at https://HOST, or http:// on this machine only: its answers are believed")
    return parts


def _on_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def public_key(der: Any, suite: str, where: str) -> PublicKey:
    """Return the public key that a service gives as SubjectPublicKeyInfo in DER. Raises `KeyringError` unless it is one of `suite`."""
    if not isinstance(der, bytes):
        raise KeyringError(f"{where} gave no public key")
    public = PublicKey.from_pem(b"-----BEGIN PUBLIC KEY-----\n" + base64.encodebytes(der) + b"-----END PUBLIC KEY-----\n")
    if public.suite != suite:
        raise KeyringError(f"{where} gave a public key of suite {public.suite} for one of {suite}")
    return public


def ecdsa_signature(der: Any, where: str) -> bytes:
    """Return an ECDSA signature as this format has it, from DER. Raises `KeyringError` for what is none."""
    try:
        return ecdsa_from_der(der)
    except (ValueError, TypeError, OverflowError):
        raise KeyringError(f"what {where} gave is not an ECDSA signature over P-256") from None


# --- the keys ----------------------------------------------------------------------------------------------------


def _never_pickled(key: object, protocol: Any) -> NoReturn:
    raise KeyringError(f"a {type(key).__name__} is never pickled or copied: name the key by its URI where it is needed")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class KeyPair:
    """A key pair whose private half is elsewhere: `sign` asks there, `verify` uses the public key here.

    Give `public_key()` to whoever verifies: they need neither the service nor its adapter. `where` says which key of which service it is.
    """

    _public: PublicKey
    where: str
    _sign: Callable[[bytes], bytes]
    """Return the signature over a message, as SPEC.md has it, or raise `KeyringError`."""

    @property
    def suite(self) -> str:
        """The name of its suite."""
        return self._public.suite

    @property
    def key_id(self) -> str:
        """The key id of its public key."""
        return self._public.key_id

    def public_key(self) -> PublicKey:
        """Return the half that verifies."""
        return self._public

    def sign(self, digest: bytes) -> bytes:
        """Return the signature over a 32-byte digest. Raises `KeyringError`, also if what the service gave does not hold."""
        signature = self._sign(signed_message(self.suite, bytes.fromhex(self.key_id), digest))
        try:
            self._public.verify(digest, signature)
        except AuthenticationError:
            raise KeyringError(f"{self.where} gave a signature that does not hold under public key {self.key_id}: nothing was signed") from None
        return signature

    def verify(self, digest: bytes, signature: bytes) -> None:
        """Return if `signature` is this key's over the 32-byte digest, else raise `AuthenticationError`. Asks nobody."""
        self._public.verify(digest, signature)

    def __repr__(self) -> str:
        return f"<KeyPair {self.key_id} {self.suite}: {self.where}>"

    __reduce_ex__ = _never_pickled


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class MacVerifier:
    """An HMAC key in a service, which is asked whether a MAC holds. It cannot sign. `where` says which key of which service it is."""

    key_id: str
    where: str
    _holds: Callable[[bytes, bytes], bool]
    """Return whether the service says that a MAC over a message holds, or raise `KeyringError`."""
    suite = REMOTE_HMAC

    def verify(self, digest: bytes, signature: bytes) -> None:
        """Return if the MAC over the 32-byte digest holds. Raises `AuthenticationError`; `KeyringError` if the service cannot be asked."""
        # Of another length it is none, and the service need not be asked.
        if len(signature) != MAC_BYTES or not self._holds(signed_message(self.suite, bytes.fromhex(self.key_id), digest), bytes(signature)):
            raise AuthenticationError(
                f"the MAC by key {self.key_id} does not hold: the file was changed after it was signed, or it is damaged; "
                "fetch it again from where it was made"
            )

    def __repr__(self) -> str:
        return f"<MacVerifier {self.key_id} {self.suite}: {self.where}>"

    __reduce_ex__ = _never_pickled


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class MacKey:
    """An HMAC key in a service, which makes its MACs, and which is asked whether one holds."""

    _verifier: MacVerifier
    _mac: Callable[[bytes], Any]
    """Return the MAC over a message, or whatever else the service gave, or raise `KeyringError`."""
    suite = REMOTE_HMAC

    @property
    def key_id(self) -> str:
        """The key id, made of the service's own name of the key."""
        return self._verifier.key_id

    @property
    def where(self) -> str:
        """Which key of which service it is."""
        return self._verifier.where

    def sign(self, digest: bytes) -> bytes:
        """Return the MAC, 32 bytes, over a 32-byte digest. Raises `KeyringError`."""
        mac = self._mac(signed_message(self.suite, bytes.fromhex(self.key_id), digest))
        if not isinstance(mac, bytes) or len(mac) != MAC_BYTES:
            raise KeyringError(f"{self.where} gave no MAC of {MAC_BYTES} bytes")
        return mac

    def verify(self, digest: bytes, signature: bytes) -> None:
        """Return if the MAC over the 32-byte digest holds. Raises `AuthenticationError`; `KeyringError` if the service cannot be asked."""
        self._verifier.verify(digest, signature)

    def __repr__(self) -> str:
        return f"<MacKey {self.key_id} {self.suite}: {self.where}>"

    __reduce_ex__ = _never_pickled
