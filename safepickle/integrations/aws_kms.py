"""Keys of AWS KMS: the private key, or the secret, never leaves the service.

- An asymmetric key (KeyUsage SIGN_VERIFY; KeySpec ECC_NIST_P256 or ECC_NIST_EDWARDS25519) signs in KMS (`Sign`) and verifies here, under
  the public key that `GetPublicKey` gives. Its files verify anywhere with that public key, without AWS.
- An HMAC key (KeyUsage GENERATE_VERIFY_MAC, KeySpec HMAC_256) signs with `GenerateMac` and verifies with `VerifyMac`: each load asks KMS.
  Signing and verifying are separate permissions, so a host that may only `VerifyMac` cannot forge.
- The key is looked up once (`DescribeKey`) and then used by its ARN, so an alias that is pointed elsewhere changes nothing.
  The key id of an HMAC key is made of that ARN: a replica of a multi-Region key in another Region is another key.
- What KMS answers is believed, so it is reached over TLS only. A signature is verified under the public key before it is returned.

Raised: `KeyringError` if the key cannot be used or KMS cannot be asked; `AuthenticationError` if a signature does not hold. No error holds
what botocore or KMS said, only its code. Credentials are those of boto3 (environment, profile, role); nothing here reads them.

Needs boto3 (extra `aws`). API names: https://docs.aws.amazon.com/kms/latest/APIReference/.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from safepickle import KeyringError, PublicKey
from safepickle.keys import ECDSA_P256, ED25519, REMOTE_HMAC, remote_key_id

from . import remote

__all__ = ["from_uri", "open_signer", "open_verifier"]

# KeySpec: our suite, and SigningAlgorithm.
_SPECS: Final = {"ECC_NIST_P256": (ECDSA_P256, "ECDSA_SHA_256"), "ECC_NIST_EDWARDS25519": (ED25519, "ED25519_SHA_512")}
_MAC_SPEC: Final = "HMAC_256"
_MAC_ALGORITHM: Final = "HMAC_SHA_256"

# KMS answers within a second; a load must not hang on a network that drops packets. At worst three attempts, about half a minute.
_CONNECT_SECONDS: Final = 3.0
_READ_SECONDS: Final = 6.0
_ATTEMPTS: Final = 3

_KEY: Final = re.compile(r"[A-Za-z0-9:/_.-]{1,2048}")
_ARN: Final = re.compile(r"arn:[a-z0-9-]+:kms:([a-z0-9-]+):\d{12}:(?:key|alias)/[A-Za-z0-9/_-]+")
_OPTIONS: Final = frozenset(("region", "endpoint_url", "use"))

_CREDENTIALS: Final = "the credentials are not accepted: check that they are those of this account, and not expired"
_LATER: Final = "KMS is busy or not available: try again later"
_CODES: Final = {
    "NotFoundException": "there is no such key in this account and Region: check the name and ?region=",
    "InvalidArnException": "there is no such key: an ARN is arn:aws:kms:REGION:ACCOUNT:key/ID",
    "DisabledException": "the key is disabled: enable it in KMS, or use another",
    "KMSInvalidStateException": "the state of the key does not allow it: it may be disabled or scheduled for deletion",
    "InvalidKeyUsageException": "the key is made for another use: it must be of KeyUsage SIGN_VERIFY or GENERATE_VERIFY_MAC",
    "ValidationException": "KMS takes it for a wrong use of the key",
    **dict.fromkeys(("UnrecognizedClientException", "InvalidClientTokenId", "SignatureDoesNotMatch", "InvalidSignatureException"), _CREDENTIALS),
    **dict.fromkeys(("ExpiredTokenException", "ExpiredToken", "IncompleteSignature", "MissingAuthenticationToken"), _CREDENTIALS),
    **dict.fromkeys(("KeyUnavailableException", "DependencyTimeoutException", "KMSInternalException", "ServiceUnavailable"), _LATER),
    **dict.fromkeys(("ThrottlingException", "Throttling", "LimitExceededException", "RequestLimitExceeded"), _LATER),
}
_DENIED: Final = frozenset(("AccessDeniedException", "AccessDenied"))
_INVALID_MAC: Final = "KMSInvalidMacException"


class _InvalidMacError(Exception):
    """KMS says that the MAC does not hold."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class _Service:
    """Calls KMS, and says what went wrong without what was said.

    Each process has a client of its own: a connection that parent and child share could give one the answer to the other's question.
    """

    make: Callable[[], Any]
    clients: dict[int, Any]
    owned: bool

    def __del__(self) -> None:
        # A key that a URI names lives for one load; its connections should not wait for the garbage collector.
        if self.owned and os.getpid() in self.clients:
            self.clients[os.getpid()].close()

    def call(self, operation: str, method: str, key: str, **parameters: Any) -> dict[str, Any]:
        """Return the answer of an operation on a key."""
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            client = self.clients.get(os.getpid()) or self.clients.setdefault(os.getpid(), self.make())
            answer = getattr(client, method)(KeyId=key, **parameters)
        except ClientError as error:
            # None: the text of KMS may repeat the request, and with it who asked.
            raise _refusal(operation, key, str(error.response.get("Error", {}).get("Code", ""))) from None
        except (BotoCoreError, ResponseParserError, ValueError, TypeError, AttributeError, LookupError, RuntimeError) as error:
            # The last four are what botocore runs into when the answer is JSON, and not that of KMS: nested too deep, or a date that is none.
            raise KeyringError(f"AWS KMS cannot be asked to {operation} with {key}: {_reason(type(error).__name__)}") from None
        return answer if isinstance(answer, dict) else {}


def _refusal(operation: str, key: str, code: str) -> Exception:
    if code == _INVALID_MAC and operation == "VerifyMac":
        return _InvalidMacError()
    code = code if re.fullmatch(r"[A-Za-z0-9.]{1,80}", code) else "an error"
    hint = _CODES.get(code, "see the documentation of KMS")
    if code in _DENIED:
        hint = f"allow kms:{operation} on it in the IAM or the key policy"
    elif code == "403":
        # Without a code of KMS: from something between, or from a stand-in for AWS.
        hint = f"{_CREDENTIALS}, or allow kms:{operation} on it in the IAM or the key policy"
    return KeyringError(f"AWS KMS refuses {operation} with {key}: {code}: {hint}")


def _reason(name: str) -> str:
    """Say what an exception of botocore means, by the name of its class: its text may hold more than a log should."""
    reasons = {
        "NoCredentialsError": "there are no AWS credentials: set a role, AWS_PROFILE, or the variables that boto3 reads",
        "PartialCredentialsError": "the AWS credentials are incomplete",
        "ProfileNotFound": "the profile of AWS_PROFILE does not exist",
        "NoRegionError": "the Region is not known: say ?region=eu-west-1, or give the ARN of the key",
        "EndpointConnectionError": "no connection: check the Region, the network and ?endpoint_url=",
        "ConnectTimeoutError": "no connection in time: check the network",
        "ReadTimeoutError": "no answer in time: try again later",
        "SSLError": "the TLS certificate is not trusted",
    }
    return f"{name}: {reasons[name]}" if name in reasons else name


def _client(region: str | None, endpoint_url: str | None) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
        max_pool_connections=10,
    )
    # A session of its own: the default one of boto3 is process-wide, and not made for threads.
    client = boto3.session.Session().client("kms", region_name=region, endpoint_url=endpoint_url, config=config)
    # Also what the environment or a profile says.
    remote.checked_address(client.meta.endpoint_url, "AWS KMS")
    return client


def _service(key: str, region: str | None, endpoint_url: str | None, client: Any) -> _Service:
    try:
        import boto3  # noqa: F401 - to tell early that it is missing
    except ImportError:
        raise KeyringError("keys of AWS KMS need boto3: pip install 'boto3>=1.34' (the extra `aws`)") from None
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise KeyringError("a key of AWS KMS is named by its key id, alias/NAME or ARN")
    arn = _ARN.fullmatch(key)
    if arn is None and key.startswith("arn:"):
        raise KeyringError("this is not the ARN of a KMS key: arn:aws:kms:REGION:ACCOUNT:key/ID")
    if arn is not None and region not in (None, arn[1]):
        raise KeyringError(f"the ARN is of Region {arn[1]}, and the URI says another: leave one of them out")
    if endpoint_url is not None:
        remote.checked_address(endpoint_url, "AWS KMS")
    where = arn[1] if arn is not None else region
    if client is not None:
        return _Service(lambda: client, {}, owned=False)
    return _Service(lambda: _client(where, endpoint_url), {}, owned=True)


def _described(service: _Service, key: str) -> tuple[str, str, str]:
    """Return ARN, KeyUsage and KeySpec of a key that is enabled (`DescribeKey`)."""
    metadata = service.call("DescribeKey", "describe_key", key).get("KeyMetadata", {})
    arn, state = metadata.get("Arn", ""), metadata.get("KeyState", "")
    if not isinstance(arn, str) or not _ARN.fullmatch(arn):
        raise KeyringError(f"AWS KMS describes {key} without an ARN")
    if state != "Enabled":
        raise KeyringError(f"the key {arn} is not enabled, it is {str(state)[:40]!a}: enable it in KMS, or use another")
    return arn, str(metadata.get("KeyUsage", "")), str(metadata.get("KeySpec", ""))


def _other_key(arn: str, usage: str, spec: str) -> KeyringError:
    return KeyringError(
        f"the key {arn} is of KeyUsage {usage[:40]!a} and KeySpec {spec[:40]!a}: there are SIGN_VERIFY with {' or '.join(_SPECS)}, "
        f"and GENERATE_VERIFY_MAC with {_MAC_SPEC}"
    )


def _sign(service: _Service, arn: str, spec: str, message: bytes) -> bytes:
    suite, algorithm = _SPECS[spec]
    given = service.call("Sign", "sign", arn, Message=message, MessageType="RAW", SigningAlgorithm=algorithm).get("Signature")
    if suite == ECDSA_P256:
        return remote.ecdsa_signature(given, _where(arn))
    return given if isinstance(given, bytes) else b""


def _mac(service: _Service, arn: str, message: bytes) -> Any:
    return service.call("GenerateMac", "generate_mac", arn, Message=message, MacAlgorithm=_MAC_ALGORITHM).get("Mac")


def _mac_holds(service: _Service, arn: str, message: bytes, mac: bytes) -> bool:
    try:
        answer = service.call("VerifyMac", "verify_mac", arn, Message=message, MacAlgorithm=_MAC_ALGORITHM, Mac=mac)
    except _InvalidMacError:
        return False
    return answer.get("MacValid") is True


def _mac_verifier(service: _Service, arn: str) -> remote.MacVerifier:
    return remote.MacVerifier(remote_key_id(REMOTE_HMAC, arn), _where(arn), partial(_mac_holds, service, arn))


def _where(arn: str) -> str:
    return f"AWS KMS with {arn}"


def open_signer(key: str, *, region: str | None = None, endpoint_url: str | None = None, client: Any = None) -> remote.KeyPair | remote.MacKey:
    """Return the key named by key id, alias/NAME or ARN, for signing and verifying.

    `client` is a boto3 client for KMS of yours, if it must be a special one; it is used as it is and must not be used across a fork.
    Asks for `DescribeKey`, and `GetPublicKey` of an asymmetric key. Raises `KeyringError`.
    """
    service = _service(key, region, endpoint_url, client)
    arn, usage, spec = _described(service, key)
    if (usage, spec) == ("GENERATE_VERIFY_MAC", _MAC_SPEC):
        return remote.MacKey(_mac_verifier(service, arn), partial(_mac, service, arn))
    if usage != "SIGN_VERIFY" or spec not in _SPECS:
        raise _other_key(arn, usage, spec)
    return remote.KeyPair(_public_key(service, arn, spec), _where(arn), partial(_sign, service, arn, spec))


def open_verifier(key: str, *, region: str | None = None, endpoint_url: str | None = None, client: Any = None) -> PublicKey | remote.MacVerifier:
    """Return what verifies for the key named: the public key of an asymmetric one, which asks nobody afterwards, or a `MacVerifier`.

    The arguments are those of `open_signer`. Raises `KeyringError`.
    """
    service = _service(key, region, endpoint_url, client)
    arn, usage, spec = _described(service, key)
    if (usage, spec) == ("GENERATE_VERIFY_MAC", _MAC_SPEC):
        return _mac_verifier(service, arn)
    if usage != "SIGN_VERIFY" or spec not in _SPECS:
        raise _other_key(arn, usage, spec)
    return _public_key(service, arn, spec)


def _public_key(service: _Service, arn: str, spec: str) -> PublicKey:
    given = service.call("GetPublicKey", "get_public_key", arn).get("PublicKey")
    return remote.public_key(given, _SPECS[spec][0], _where(arn))


def from_uri(rest: str) -> remote.KeyPair | remote.MacKey | remote.MacVerifier | PublicKey:
    """Return the key of `awskms:<key id, alias/NAME or ARN>[?region=...&endpoint_url=...&use=verify]`, given what follows `awskms:`.

    Without `use=verify` it can sign. Raises `KeyringError`.
    """
    key, _, query = rest.partition("?")
    found = remote.options(query, "&", _OPTIONS, "awskms")
    region, endpoint_url, use = (remote.decoded(found[name], name) if name in found else None for name in ("region", "endpoint_url", "use"))
    if region is not None and not re.fullmatch(r"[a-z0-9-]{1,40}", region):
        raise KeyringError("region of the awskms URI is the name of a Region, such as eu-west-1")
    match use:
        case None:
            return open_signer(key, region=region, endpoint_url=endpoint_url)
        case "verify":
            return open_verifier(key, region=region, endpoint_url=endpoint_url)
        case _:
            raise KeyringError("use of the awskms URI can be `verify`; without it the key signs and verifies")
