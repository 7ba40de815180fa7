"""Keys of the transit engine of HashiCorp Vault, or of OpenBao, which speaks the same: the key never leaves the server.

- A key of type `ecdsa-p256` or `ed25519` signs on the server (`POST transit/sign/NAME`) and verifies here, under the public key that `GET
  transit/keys/NAME` gives. Its files verify anywhere with that public key, without Vault.
- A key of type `hmac` signs with `POST transit/hmac/NAME/sha2-256` and verifies with `POST transit/verify/NAME/sha2-256`: each load asks
  the server. The two paths are separate in a policy, so a host that may only verify cannot forge.
- A version of the key is fixed when it is opened, the newest unless the URI says one, and each version has a key id of its own: a rotation
  in Vault is a new key here. The key id of an `hmac` key is made of namespace, mount, name and version, however they are spelled; two servers
  with the same names give the same key id, and a MAC of the one does not hold at the other.
- What the server answers is believed, so it is reached over TLS only, no redirect is followed, and no proxy is used.

Raised: `KeyringError` if the key cannot be used or the server cannot be asked; `AuthenticationError` if a signature does not hold. No error
holds what the server said. The token is read from its source for each call and not kept; renewing it is for Vault's agent.

Needs nothing but Python. API: https://developer.hashicorp.com/vault/api-docs/secret/transit.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import http.client
import json
import os
import re
import ssl
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from safepickle import KeyringError, PublicKey
from safepickle.keys import ECDSA_P256, ED25519, REMOTE_HMAC, remote_key_id

from . import remote

__all__ = ["from_uri", "open_signer", "open_verifier"]

_TYPES: Final = {"ecdsa-p256": ECDSA_P256, "ed25519": ED25519}
_MAC_TYPE: Final = "hmac"
_TIMEOUT_SECONDS: Final = 10.0
_MAX_ANSWER_BYTES: Final = 1 << 20

_NAME: Final = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*/)+[A-Za-z0-9_][A-Za-z0-9_.-]*")
# No part begins with a dot: a server follows `.` and `..`, which would give one key many names.
_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")
_VALUE: Final = re.compile(r"vault:v([1-9]\d{0,8}):([A-Za-z0-9+/=]+)")
_OPTIONS: Final = frozenset(("address", "namespace", "version", "token-source", "cacert", "use"))

_STATUS: Final = {
    400: "the server takes it for a wrong use of the key, or the version is not there or no longer allowed",
    403: "the token is not accepted, or its policy does not allow it",
    404: "there is no such key, mount or namespace",
    429: "the server is busy: try again later",
    503: "the server is sealed or in maintenance",
}


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class _Server:
    """Where a key is and how the server is asked. Each call has a connection of its own: nothing is shared by threads or across a fork."""

    address: str
    namespace: str
    token_source: str
    cacert: str | None
    mount: str
    name: str

    def __str__(self) -> str:
        return f"key {self.name!a} at {self.mount!a} of the Vault server"

    def call(self, operation: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return `data` of the answer to `GET`, or to `POST` with a body, of MOUNT/operation."""
        status, data, problem = self._exchanged(operation, body)
        if problem:
            raise KeyringError(f"Vault cannot be asked for {operation}: {problem}: check the address, the network and the CA")
        if status != 200:
            hint = _STATUS.get(status, "a redirect is not followed: give the address of the active server" if 300 <= status < 400 else "see its log")
            raise KeyringError(f"Vault refuses {operation} with {self}: HTTP {status}: {hint}")
        answer = None
        with contextlib.suppress(ValueError, RecursionError, KeyError, TypeError):
            answer = json.loads(data)["data"]
        if not isinstance(answer, dict):
            raise KeyringError(f"Vault gave an answer to {operation} that is not one of its own: check the address")
        return answer

    def _exchanged(self, operation: str, body: dict[str, Any] | None) -> tuple[int, bytes, str]:
        """Return status and content of the answer, or what kind of error kept it from coming.

        Told and not raised: reports of errors may show the local variables of each frame, and the token is in this one.
        """
        parts = remote.checked_address(self.address, "Vault")
        headers = {"X-Vault-Token": remote.secret(self.token_source, "Vault token"), "X-Vault-Request": "true", "Content-Type": "application/json"}
        if self.namespace:
            headers["X-Vault-Namespace"] = self.namespace
        text = json.dumps(body) if body is not None else None
        path = f"{parts.path.rstrip('/')}/v1/{self.mount}/{operation}"
        try:
            connection = self._connection(parts.scheme, parts.hostname or "", parts.port)
            try:
                connection.request("GET" if text is None else "POST", path, text, headers)
                with connection.getresponse() as response:
                    return response.status, response.read(_MAX_ANSWER_BYTES), ""
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            # The class alone: TimeoutError, ConnectionRefusedError, SSLCertVerificationError. ValueError is a header that cannot be sent.
            return 0, b"", type(error).__name__

    def _connection(self, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
        if scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
        return http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS, context=ssl.create_default_context(cafile=self.cacert))


def _sign(server: _Server, version: int, suite: str, message: bytes) -> bytes:
    body: dict[str, Any] = {"input": _base64(message), "key_version": version, "prehashed": False}
    if suite == ECDSA_P256:
        body |= {"hash_algorithm": "sha2-256", "marshaling_algorithm": "asn1"}
    given = _value(server.call(f"sign/{server.name}", body).get("signature"), version, server)
    return remote.ecdsa_signature(given, str(server)) if suite == ECDSA_P256 else given


def _mac(server: _Server, version: int, message: bytes) -> bytes:
    body = {"input": _base64(message), "key_version": version}
    return _value(server.call(f"hmac/{server.name}/sha2-256", body).get("hmac"), version, server)


def _mac_holds(server: _Server, version: int, message: bytes, mac: bytes) -> bool:
    body = {"input": _base64(message), "hmac": f"vault:v{version}:{_base64(mac)}"}
    return server.call(f"verify/{server.name}/sha2-256", body).get("valid") is True


def _mac_verifier(server: _Server, version: int) -> remote.MacVerifier:
    # As one path: to a server, mount `transit` in namespace `team` is mount `team/transit` in none, so it is the same key.
    path = "/".join(filter(None, (server.namespace, server.mount)))
    key_id = remote_key_id(REMOTE_HMAC, f"vault:{path}:{server.name}:{version}")
    return remote.MacVerifier(key_id, f"version {version} of {server}", partial(_mac_holds, server, version))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _value(text: Any, version: int, server: _Server) -> bytes:
    """Return the bytes of `vault:vVERSION:BASE64`."""
    match = _VALUE.fullmatch(text) if isinstance(text, str) else None
    if match is None or int(match[1]) != version:
        raise KeyringError(f"{server} gave no signature by version {version}")
    try:
        return base64.b64decode(match[2], validate=True)
    except binascii.Error:
        raise KeyringError(f"{server} gave no signature by version {version}") from None


@dataclass(frozen=True, slots=True)
class _Found:
    """What the server tells of a key: its type, the version that is used, and the public key unless it is an HMAC key."""

    type: str
    version: int
    public: PublicKey | None


def _described(server: _Server, version: int | None) -> _Found:
    data = server.call(f"keys/{server.name}")
    kind, newest = data.get("type"), data.get("latest_version")
    if kind not in (_MAC_TYPE, *_TYPES) or data.get("derived") is True:
        raise KeyringError(f"{server} is not of type ecdsa-p256, ed25519 or hmac, or it is a derived one: make a key of such a type")
    if type(newest) is not int or newest < 1:
        raise KeyringError(f"{server} has no version")
    used = newest if version is None else version
    if used > newest:
        raise KeyringError(f"{server} has no version {used}: the newest is {newest}")
    if kind == _MAC_TYPE:
        return _Found(kind, used, None)
    versions = data.get("keys")
    entry = versions.get(str(used)) if isinstance(versions, dict) else None
    text = entry.get("public_key") if isinstance(entry, dict) else None
    if not isinstance(text, str):
        raise KeyringError(f"{server} tells no public key of version {used}: it may be archived")
    return _Found(kind, used, _public_key(text, _TYPES[kind], server))


def _public_key(text: str, suite: str, server: _Server) -> PublicKey:
    """Return the public key as the transit engine tells it: PEM for a curve of NIST, base64 of the 32 bytes for Ed25519."""
    if suite == ECDSA_P256:
        public = PublicKey.from_pem(text.encode("ascii", "replace"))
        if public.suite != suite:
            raise KeyringError(f"{server} gave a public key of suite {public.suite} for one of {suite}")
        return public
    try:
        return PublicKey(suite, base64.b64decode(text, validate=True))
    except ValueError:
        raise KeyringError(f"{server} gave no public key") from None


def _server(key: str, address: str | None, namespace: str, token_source: str, cacert: str | None) -> _Server:
    if not isinstance(key, str) or not _NAME.fullmatch(key):
        raise KeyringError("a key of Vault is named MOUNT/NAME, such as transit/models")
    space = _namespace(namespace)
    where = address or os.environ.get("VAULT_ADDR", "")
    if not where:
        raise KeyringError("the address of Vault is not known: say ?address=https://HOST:8200, or set VAULT_ADDR")
    remote.checked_address(where, "Vault")
    mount, _, name = key.rpartition("/")
    return _Server(where, space, token_source, cacert or os.environ.get("VAULT_CACERT") or None, mount, name)


def _namespace(text: str) -> str:
    """Return the one spelling of a namespace: a server passes over slashes around it, and calls the outermost one `root`."""
    path = text.strip("/") if isinstance(text, str) else "?"
    if path and not _NAMESPACE.fullmatch(path):
        raise KeyringError("namespace of a key of Vault is a path such as team/ml")
    return "" if path == "root" else path


def open_signer(
    key: str,
    *,
    address: str | None = None,
    namespace: str = "",
    version: int | None = None,
    token_source: str = "env:VAULT_TOKEN",  # noqa: S107 - where the token is, not the token
    cacert: str | None = None,
) -> remote.KeyPair | remote.MacKey:
    """Return the key MOUNT/NAME of the transit engine, for signing and verifying. Raises `KeyringError`.

    `address` is that of the server (default: VAULT_ADDR), `version` one of the key (default: the newest), `token_source` where the token is
    (`env:NAME` or `file:PATH`), `cacert` a file of the CAs to trust (default: VAULT_CACERT, else those of the system).
    """
    server = _server(key, address, namespace, token_source, cacert)
    found = _described(server, version)
    if found.public is None:
        return remote.MacKey(_mac_verifier(server, found.version), partial(_mac, server, found.version))
    sign = partial(_sign, server, found.version, found.public.suite)
    return remote.KeyPair(found.public, f"version {found.version} of {server}", sign)


def open_verifier(
    key: str,
    *,
    address: str | None = None,
    namespace: str = "",
    version: int | None = None,
    token_source: str = "env:VAULT_TOKEN",  # noqa: S107 - where the token is, not the token
    cacert: str | None = None,
) -> PublicKey | remote.MacVerifier:
    """Return what verifies for the key: the public key of an asymmetric one, which asks nobody afterwards, or a `MacVerifier`.

    The arguments are those of `open_signer`. Raises `KeyringError`.
    """
    server = _server(key, address, namespace, token_source, cacert)
    found = _described(server, version)
    return found.public if found.public is not None else _mac_verifier(server, found.version)


def from_uri(rest: str) -> remote.KeyPair | remote.MacKey | remote.MacVerifier | PublicKey:
    """Return the key of a URI, given what follows `vault:`: MOUNT/NAME, and after a question mark what `open_signer` takes.

    Options: address, namespace, version, token-source, cacert; with `use=verify` it cannot sign. Raises `KeyringError`.
    """
    key, _, query = rest.partition("?")
    raw = remote.options(query, "&", _OPTIONS, "vault")
    found = {name: remote.decoded(value, name) for name, value in raw.items()}
    version, use = found.pop("version", None), found.pop("use", None)
    if version is not None and not re.fullmatch(r"[1-9]\d{0,8}", version):
        raise KeyringError("version of the vault URI is a number from 1")
    number = int(version) if version is not None else None
    named: dict[str, Any] = {name.replace("-", "_"): value for name, value in found.items()}
    match use:
        case None:
            return open_signer(key, version=number, **named)
        case "verify":
            return open_verifier(key, version=number, **named)
        case _:
            raise KeyringError("use of the vault URI can be `verify`; without it the key signs and verifies")
