"""What the adapters of key services share: options of a URI, secrets by source, addresses, and what is done with an answer.

- A URI says everything at most once, and nothing that is not understood. It holds no secret: a secret is named by its source.
- A service is reached over TLS, or on this machine: whoever could answer in its place could say that a forged MAC holds.
- A signature that a service gives is verified under the public key before anything is signed with it.

No text raised here holds what a source or a service answered. This module knows no service.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import stat
from typing import Any, Final, NoReturn
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from safepickle import AuthenticationError, KeyringError, PublicKey
from safepickle.keys import ecdsa_from_der, read_regular

__all__ = [
    "checked_address",
    "checked_signature",
    "decoded",
    "ecdsa_signature",
    "mac_did_not_hold",
    "never_pickled",
    "options",
    "public_key",
    "secret",
]

MAX_SECRET_BYTES: Final = 8192
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
            raise KeyringError(f"the environment variable {name!a}, which should hold the {what}, is not set")
    elif scheme == "file" and name:
        data, mode = read_regular(name, f"file of the {what}", MAX_SECRET_BYTES)
        if os.name == "posix" and stat.S_IMODE(mode) & 0o027:
            raise KeyringError(f"the file of the {what}, {name}, is open to others (mode {stat.S_IMODE(mode):04o}): run `chmod 600 {name}`")
        value = data.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")
    else:
        # Not repeated: it may be the secret itself.
        raise KeyringError(f"the source of the {what} is env:NAME or file:PATH; the {what} itself stands in no URI")
    if not value or not value.isprintable() or "\ufffd" in value:
        raise KeyringError(f"what {source} holds is not a {what}: one line of text")
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


def checked_signature(public: PublicKey, digest: bytes, signature: bytes, where: str) -> bytes:
    """Return the signature that a service gave if it holds under its public key, else raise `KeyringError`: nothing is signed with it."""
    try:
        public.verify(digest, signature)
    except AuthenticationError:
        raise KeyringError(f"{where} gave a signature that does not hold under public key {public.key_id}: nothing was signed") from None
    return signature


def mac_did_not_hold(key_id: str) -> AuthenticationError:
    """Return the error of a MAC that a service says does not hold."""
    return AuthenticationError(
        f"the MAC by key {key_id} does not hold: the file was changed after it was signed, or it is damaged; fetch it again from where it was made"
    )


def never_pickled(key: object, protocol: Any) -> NoReturn:
    """Refuse, as `__reduce_ex__` of a key."""
    raise KeyringError(f"a {type(key).__name__} is never pickled or copied: name the key by its URI where it is needed")
