"""Keys in a token that speaks PKCS #11: a hardware security module, a smart card, a YubiKey, SoftHSM. The private key never leaves it.

- EC P-256 (CKM_ECDSA over the SHA-256 of the message; PKCS #11 v2.40 Current Mechanisms, 2.3.6) and Ed25519 (CKM_EDDSA; v3.0, 2.3.14).
- Signing happens in the token, verifying here, under the public key that the token holds. Files verify anywhere with that public key.
- A signature is verified under the public key before it is returned, so a token that holds two keys under one name signs nothing wrong.
- A session is opened, and the process logged in, when it is first needed. It is kept for the keys of this token in this process, since PKCS #11
  logs a process in and not a session, until `close_sessions` or the end. The PIN is read from its source for a login, and not kept.
- One call at a time in a process: the module is initialised without locks of its own (C_Initialize without arguments).
- A child of a fork initialises the module anew, as PKCS #11 v2.40 Base, 5.4 (C_Initialize) asks, so it never uses a session of its parent.
  Like any native library, the module must not be in the middle of a call in another thread at the moment of the fork.
- A PIN that the token refuses is not tried again in this process: tokens lock themselves after a few attempts.

A URI is that of RFC 7512, and must name the module, since it is native code that this process will run: whoever writes a key URI is
trusted with that. `pin-value` is refused: a URI is no place for a secret.

Raised: `KeyringError` if the key cannot be used; `AuthenticationError` if a signature does not hold. Needs python-pkcs11 (extra `pkcs11`).
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import unquote_to_bytes

from safepickle import KeyringError, PublicKey
from safepickle.keys import ECDSA_P256, ED25519

from . import remote

__all__ = ["close_sessions", "from_uri", "open_signer"]

# CKA_EC_PARAMS: the suite, the bytes of a public key, the bytes of a signature.
_CURVES: Final = {
    bytes.fromhex("06082a8648ce3d030107"): (ECDSA_P256, 65),
    bytes.fromhex("06032b6570"): (ED25519, 32),
    b"\x13\x0cedwards25519": (ED25519, 32),
}
_SIGNATURE_BYTES: Final = 64

_PATH: Final = frozenset(("token", "serial", "manufacturer", "model", "object", "id", "type"))
_QUERY: Final = frozenset(("module-path", "pin-source", "pin-value"))

_HINTS: Final = {
    "PinIncorrect": "the PIN is wrong: check it by hand; it is not tried again here, since a token locks itself after a few attempts",
    "PinLocked": "the PIN is locked: the security officer of the token must unlock it",
    "PinExpired": "the PIN has expired: set a new one",
    "PinLenRange": "the PIN is too long or too short for this token",
    "UserPinNotInitialized": "the token has no user PIN yet: initialise it",
    "UserNotLoggedIn": "it needs a PIN: add pin-source=env:NAME or pin-source=file:PATH",
    "TokenNotPresent": "the token is not in its slot",
    "DeviceRemoved": "the token was removed",
    "MechanismInvalid": "the token cannot sign with this kind of key",
    "SessionCount": "the token allows no more sessions: close others",
}

# A module has one state per process, whoever uses it, so what is known of it is known here for the process: who calls it now, who initialised
# it, which session of which slot is open, which PINs were refused (as hashes with the seed of this process). The process id comes first: a
# child of a fork finds neither a lock that a thread of its parent held nor a session.
_LOCKS: Final[dict[tuple[int, str], threading.Lock]] = {}
_INITIALISED: Final[dict[str, int]] = {}
_SESSIONS: Final[dict[tuple[int, str, int], Any]] = {}
_REFUSED_PINS: Final[set[int]] = set()

_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a key is: the module, what identifies the token, and what identifies the key in it."""

    module: str
    token: tuple[tuple[str, str], ...]
    label: str | None
    id: bytes | None

    def __str__(self) -> str:
        named = [f"{self.label!a}"] if self.label is not None else []
        named += [f"with id {self.id.hex()}"] if self.id is not None else []
        return f"key {' '.join(named)} of the token with {', '.join(f'{name} {value!a}' for name, value in self.token)}"


def open_signer(
    module: str,
    *,
    token: str | None = None,
    serial: str | None = None,
    label: str | None = None,
    identifier: bytes | None = None,
    pin_source: str | None = None,
) -> remote.KeyPair:
    """Return the private key of a token, for signing and verifying.

    `module` is the absolute path of the PKCS #11 module. `token` and `serial` are the label and the serial number of the token, `label` and
    `identifier` are CKA_LABEL and CKA_ID of the key; at least one of each pair is needed, and exactly one key must match. `pin_source` is
    `env:NAME` or `file:PATH`.
    The public key is read now, without the PIN where the token allows it. Raises `KeyringError`.
    """
    identity = tuple((name, value) for name, value in (("token", token), ("serial", serial)) if value is not None)
    return _opened(_Place(module, identity, label, identifier), pin_source)


def from_uri(rest: str) -> remote.KeyPair:
    """Return the key of a PKCS #11 URI (RFC 7512), given what follows `pkcs11:`.

    Path: token, serial, manufacturer, model; object, id; type=private. Query: module-path, pin-source (`file:PATH` or `env:NAME`).
    Raises `KeyringError`.
    """
    path, _, query = rest.partition("?")
    where = remote.options(path, ";", _PATH, "pkcs11")
    how = remote.options(query, "&", _QUERY, "pkcs11")
    if "pin-value" in how:
        raise KeyringError("pin-value is refused, since a URI is no place for a secret: put the PIN into a file or variable, and say pin-source")
    if where.get("type", "private") != "private":
        raise KeyringError("type of the pkcs11 URI is `private`: a public key alone is better kept as text, see PublicKey")
    if "module-path" not in how:
        raise KeyringError("the pkcs11 URI must say which module to load: ?module-path=/usr/lib/softhsm/libsofthsm2.so")
    identity = tuple((name, remote.decoded(where[name], name)) for name in ("token", "serial", "manufacturer", "model") if name in where)
    label = remote.decoded(where["object"], "object") if "object" in where else None
    place = _Place(remote.decoded(how["module-path"], "module-path"), identity, label, unquote_to_bytes(where["id"]) if "id" in where else None)
    return _opened(place, remote.decoded(how["pin-source"], "pin-source") if "pin-source" in how else None)


def _opened(place: _Place, pin_source: str | None) -> remote.KeyPair:
    if not place.token or (place.label is None and place.id is None):
        raise KeyringError("a key in a token is named by the token (its label or serial number) and the object (its label or id)")
    _check_module(place.module)
    if pin_source is not None and not pin_source.startswith(("env:", "file:")):
        raise KeyringError("pin-source is env:NAME or file:PATH; the PIN itself stands in no URI")
    public = _public_key(place, pin_source)
    return remote.KeyPair(public, str(place), partial(_signed, place, pin_source, public.suite))


def _check_module(path: str) -> None:
    """Refuse a module that others than its owner can write: it will run in this process.

    Its path is used as it was given: python-pkcs11 knows a module by its path, and initialises it once more under another.
    """
    if not os.path.isabs(path):
        raise KeyringError("the PKCS #11 module is named by an absolute path, so that no search path decides what is loaded")
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        raise KeyringError(f"there is no PKCS #11 module {path!a}: install it, or correct module-path") from None
    if not stat.S_ISREG(mode) or (os.name == "posix" and stat.S_IMODE(mode) & 0o022):
        raise KeyringError(f"the PKCS #11 module {path!a} is not a file, or others than its owner can write it")


def close_sessions() -> None:
    """Close the sessions that this process keeps, and so log it out of the tokens. Keys stay usable: the next signature logs in again."""
    for where in [each for each in _SESSIONS if each[0] == os.getpid()]:
        with _LOCKS.setdefault(where[:2], threading.Lock()):
            session = _SESSIONS.pop(where, None)
            if session is not None:
                _close(session)


def _close(session: Any) -> None:
    from pkcs11.exceptions import PKCS11Error

    # It may be gone already, with its token.
    with suppress(PKCS11Error):
        session.close()


@contextmanager
def _library(place: _Place) -> Iterator[Any]:
    """Yield the module, initialised in this process, which nothing else of ours calls meanwhile. What it raises becomes an error of ours."""
    try:
        import pkcs11
    except ImportError:
        raise KeyringError("keys in a PKCS #11 token need python-pkcs11: pip install 'python-pkcs11>=0.9.4' (the extra `pkcs11`)") from None
    with _LOCKS.setdefault((os.getpid(), place.module), threading.Lock()):
        try:
            library: Any = pkcs11.lib(place.module)
        except pkcs11.PKCS11Error as error:
            raise KeyringError(
                f"the PKCS #11 module {place.module!a} cannot be loaded: {type(error).__name__}: it is no such module, or this process has "
                "initialised it under another path: give the path that the rest of the program uses"
            ) from None
        try:
            if _INITIALISED.get(place.module, os.getpid()) != os.getpid():
                # Some modules notice a fork by themselves, and then have nothing to finalise.
                with suppress(pkcs11.PKCS11Error):
                    library.finalize()
                library.initialize()
            _INITIALISED[place.module] = os.getpid()
            yield library
        except pkcs11.PKCS11Error as error:
            name = type(error).__name__
            raise KeyringError(f"{place}: {name}: {_HINTS.get(name, 'see the documentation of the module')}") from None


def _token(library: Any, place: _Place) -> Any:
    found = [each for each in library.get_tokens() if all(_identity(each)[name] == value for name, value in place.token)]
    if len(found) != 1:
        raise KeyringError(f"{place}: {len(found) or 'no'} token(s) match: check that it is there, and name it by label and serial number")
    return found[0]


def _identity(token: Any) -> dict[str, str]:
    serial = token.serial.decode("utf-8", "replace") if isinstance(token.serial, bytes) else str(token.serial)
    texts = {"token": token.label, "serial": serial, "manufacturer": token.manufacturer_id, "model": token.model}
    # All of them are padded with blanks (PKCS #11 v2.40 Base, 3.2, CK_TOKEN_INFO).
    return {name: text.rstrip("\0 ") for name, text in texts.items()}


def _in_session(place: _Place, pin_source: str | None, act: Callable[[Any, Callable[[], str]], _Found | None]) -> _Found | None:
    """Return what `act` finds in a session: that which is kept, a new one, or one that is logged in. None if it is in none of them.

    Not logged in at first, since a token may need no login, or another part of the process may be logged in: a second login would fail.
    """
    with _library(place) as library:
        from pkcs11.exceptions import PKCS11Error, UserAlreadyLoggedIn, UserNotLoggedIn

        token = _token(library, place)
        where = (os.getpid(), place.module, token.slot.slot_id)
        pin = partial(_pin, token, place, pin_source)

        def attempt(session: Any) -> _Found | None:
            try:
                found = act(session, pin)
                if found is not None:
                    _SESSIONS[where] = session
                return found
            finally:
                if _SESSIONS.get(where) is not session:
                    _close(session)

        found = None
        kept = _SESSIONS.pop(where, None)
        if kept is not None:
            # The session, the login or the token may be gone since: then it begins anew below, and what is wrong then is told.
            with suppress(PKCS11Error):
                found = attempt(kept)
        if found is None:
            with suppress(UserNotLoggedIn):
                found = attempt(token.open())
        if found is None:
            # Handed on and not kept: reports of errors may show the local variables of each frame.
            held = [pin()]
            # Logged in already, and so it saw all that there is.
            with suppress(UserAlreadyLoggedIn), _refusing(place, _mark(token, place, held[0])):
                found = attempt(token.open(user_pin=held.pop()))
    return found


@contextmanager
def _refusing(place: _Place, mark: int) -> Iterator[None]:
    """Remember the mark of a PIN that the token says is wrong."""
    from pkcs11.exceptions import PinIncorrect

    try:
        yield
    except PinIncorrect:
        _REFUSED_PINS.add(mark)
        raise KeyringError(f"{place}: PinIncorrect: {_HINTS['PinIncorrect']}") from None


def _pin(token: Any, place: _Place, pin_source: str | None) -> str:
    """Return the PIN. Raises `KeyringError` if there is none, or it should not be tried."""
    if pin_source is None:
        raise KeyringError(f"{place}: {_HINTS['UserNotLoggedIn']}")
    _check_pin_state(int(token.flags), place)
    pin = remote.secret(pin_source, "PIN")
    if _mark(token, place, pin) in _REFUSED_PINS:
        del pin
        raise KeyringError(f"{place}: the token refused the PIN of {pin_source} before, so it is not tried again: correct it")
    return pin


def _mark(token: Any, place: _Place, pin: str | None) -> int:
    """Return what stands for a PIN of a token, by what the token says of itself: a URI may name it in several ways."""
    return hash((place.module, *sorted(_identity(token).items()), pin))


def _check_pin_state(flags: int, place: _Place) -> None:
    """Refuse to use up the last attempt of a token (CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED; PKCS #11 v2.40 Base, 3.2)."""
    if flags & 0x00040000:
        raise KeyringError(f"{place}: {_HINTS['PinLocked']}")
    if flags & 0x00020000:
        raise KeyringError(f"{place}: one more wrong PIN would lock the token, so it is not tried from here: log in by hand first")


def _found(session: Any, place: _Place, kind: Any, **other: Any) -> Any:
    """Return the one object of a class under the name of the key, or None."""
    from pkcs11 import Attribute

    template: dict[Any, Any] = {Attribute.CLASS: kind}
    if other:
        template[Attribute.ID] = other["id"]
    else:
        template |= {Attribute.LABEL: place.label} if place.label is not None else {}
        template |= {Attribute.ID: place.id} if place.id is not None else {}
    objects = list(session.get_objects(template))
    if len(objects) > 1:
        raise KeyringError(f"{place}: {len(objects)} objects of that name: say both object and id")
    return objects[0] if objects else None


def _public_key(place: _Place, pin_source: str | None) -> PublicKey:
    def read(session: Any, _: Callable[[], str]) -> PublicKey | None:
        from pkcs11 import Attribute, ObjectClass

        found = _found(session, place, ObjectClass.PUBLIC_KEY)
        if found is None:
            private = _found(session, place, ObjectClass.PRIVATE_KEY)
            if private is None:
                return None
            # Under another name, but the same id; else what some tokens tell of the private key.
            identity = private[Attribute.ID]
            found = (_found(session, place, ObjectClass.PUBLIC_KEY, id=identity) if identity else None) or private
        return _read_public(found, place)

    public = _in_session(place, pin_source, read)
    if public is None:
        raise KeyringError(f"{place}: there is no such key")
    return public


def _read_public(found: Any, place: _Place) -> PublicKey:
    from pkcs11 import Attribute
    from pkcs11.exceptions import PKCS11Error

    try:
        parameters, point = bytes(found[Attribute.EC_PARAMS]), bytes(found[Attribute.EC_POINT])
    except PKCS11Error:
        raise KeyringError(f"{place}: the token does not tell the public key of it: put the public key into the token beside it") from None
    if parameters not in _CURVES:
        raise KeyringError(f"{place}: it is not an elliptic-curve key on P-256 or Ed25519")
    suite, size = _CURVES[parameters]
    return PublicKey(suite, _unwrapped(point, size))


def _unwrapped(point: bytes, size: int) -> bytes:
    """Return a point of CKA_EC_POINT: an OCTET STRING as the standard has it, or as it is or a BIT STRING, which tokens also give."""
    for prefix in (bytes((4, size)), bytes((3, size + 1, 0))):
        if len(point) == len(prefix) + size and point.startswith(prefix):
            return point[len(prefix) :]
    return point


def _signed(place: _Place, pin_source: str | None, suite: str, message: bytes) -> bytes:
    """Return the signature of the token over a message, as SPEC.md has it."""

    def sign(session: Any, pin: Callable[[], str]) -> bytes | None:
        from pkcs11 import Mechanism

        mechanism, data = (Mechanism.ECDSA, hashlib.sha256(message).digest()) if suite == ECDSA_P256 else (Mechanism.EDDSA, message)
        private = _private_key(session, place)
        if private is None:
            return None
        held = [pin() if _always(private) else None]
        with _refusing(place, _mark(session.token, place, held[0])):
            return bytes(private.sign(data, mechanism=mechanism, pin=held.pop()))

    signature = _in_session(place, pin_source, sign)
    if signature is None:
        raise KeyringError(f"{place}: there is no such private key")
    if len(signature) != _SIGNATURE_BYTES:
        raise KeyringError(f"{place}: the token gave a signature of {len(signature)} bytes and not {_SIGNATURE_BYTES}")
    return _low_s(signature, str(place)) if suite == ECDSA_P256 else signature


def _private_key(session: Any, place: _Place) -> Any:
    from pkcs11 import ObjectClass

    found = _found(session, place, ObjectClass.PRIVATE_KEY)
    # python-pkcs11 gives an object the methods that its attributes allow.
    if found is not None and not hasattr(found, "sign"):
        raise KeyringError(f"{place}: this key may not sign: CKA_SIGN is false")
    return found


def _always(private: Any) -> bool:
    """Tell whether each signature needs the PIN again (CKA_ALWAYS_AUTHENTICATE; PKCS #11 v2.40 Base, 4.9)."""
    from pkcs11 import Attribute
    from pkcs11.exceptions import PKCS11Error

    try:
        return bool(private[Attribute.ALWAYS_AUTHENTICATE])
    except PKCS11Error:
        return False


def _low_s(raw: bytes, where: str) -> bytes:
    """Return r and s with the lower s (see SPEC.md), which a token does not care for."""
    from pkcs11.util.ec import encode_ecdsa_signature

    return remote.ecdsa_signature(encode_ecdsa_signature(raw), where)
