"""The keyring: which keys a holder trusts, which of them signs, from when to when, and which are denied.

- Order is not meaning: the signing key is `primary`. Public keys verify only.
- A key outside its time, or denied, counts as one that is not trusted: its signatures are skipped. The time is that of the
  reader, since whoever has a key writes what he likes into a file.
- A keyring file is text that people review: public keys stand in it, secrets and private keys by URI only.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn

from . import files
from .errors import AuthenticationError, KeyringError, UnknownKeyError, elided
from .keys import (
    HYBRID,
    SUITES,
    Key,
    PrivateKey,
    PublicKey,
    SecretKey,
    Signature,
    Signer,
    Verifier,
    as_key,
    parse_key,
    public_half,
    read_key,
    read_trusted,
)

__all__ = ["AnyKey", "Keyring", "Trusted", "as_keyring"]

# A hundred members with hybrid keys, more than a thousand with others.
MAX_FILE_BYTES: Final = 1 << 18
_TEXT_KEY: Final = re.compile(r"spk(?:priv)?1_")
_KEY_ID: Final = re.compile(r"[0-9a-f]{16}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@/+-]{0,99}")


@dataclass(frozen=True, slots=True)
class Trusted:
    """A key with what its holder says of it.

    `name` and `comment` are for people. `not_before` and `not_after` are aware datetimes, the latter excluded; they are kept in UTC.
    `uri` says where a secret or private key is kept; without it such a key cannot be written to a keyring file.
    """

    key: Key
    name: str = ""
    not_before: datetime | None = None
    not_after: datetime | None = None
    uri: str = ""
    comment: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", as_key(self.key))
        for field in ("name", "uri", "comment"):
            _check_no_key(getattr(self, field), f"the {field} of a key")
        if self.name and not _NAME.fullmatch(self.name):
            raise KeyringError(f"{elided(self.name[:100])!a} is no name of a key: up to 100 letters, digits, blanks and ._@/+-")
        for field in ("not_before", "not_after"):
            object.__setattr__(self, field, _in_utc(getattr(self, field), field))
        if self.not_before is not None and self.not_after is not None and self.not_before >= self.not_after:
            raise KeyringError(f"key {self.key.key_id} is never trusted: its not_before is not before its not_after")

    def outside(self, now: float) -> str:
        """Say why the key is not trusted now, or return an empty text."""
        try:
            moment = datetime.fromtimestamp(now, UTC)
        except (OverflowError, OSError, TypeError, ValueError):
            # A comparison with NaN is false, so nothing would ever have expired.
            raise KeyringError("the time is no number of seconds since 1970 up to the year 9999: set the clock, or correct `now`") from None
        if self.not_before is not None and moment < self.not_before:
            return f"is trusted from {self.not_before.isoformat()} on"
        if self.not_after is not None and moment >= self.not_after:
            return f"expired at {self.not_after.isoformat()}"
        return ""


def _check_no_key(text: Any, what: str) -> None:
    """Refuse what is no text, or holds a key: it stands in a file that people review and in messages."""
    if not isinstance(text, str):
        raise KeyringError(f"{what} is text, not {type(text).__name__}")
    if _TEXT_KEY.search(text):
        raise KeyringError(f"{what} holds what looks like a key: say where it is kept, as in uri='env:NAME', and nothing of the key itself")


def _in_utc(moment: Any, field: str) -> datetime | None:
    """Return a moment in UTC, so that whatever is wrong with its time zone is found here and not when a file is loaded."""
    if moment is None:
        return None
    with contextlib.suppress(OverflowError, TypeError, ValueError, NotImplementedError):
        if isinstance(moment, datetime) and moment.utcoffset() is not None:
            found = moment.astimezone(UTC)
            # pandas' NaT is a datetime and is not: compared to now it would never expire.
            if found.utcoffset() == timedelta(0):
                return found
    raise KeyringError(f"{field} is a datetime with a time zone, such as datetime(2027, 1, 1, tzinfo=timezone.utc), in UTC from the year 1 to 9999")


AnyMember = Trusted | Key | bytes | str


class Keyring:
    """Keys that the holder trusts: the primary signs, all of them verify.

    `primary` is the one that signs; None, or a public key, makes a ring that only verifies. Give several to read files of a
    retired key while new ones are signed with the new key. `denied` are key ids that are never trusted, whoever lists them; of a
    mapping the values say why.
    """

    __slots__ = ("_by_id", "_denied", "_primary")

    def __init__(self, primary: AnyMember | None, *others: AnyMember, denied: Iterable[str] | Mapping[str, str] = ()) -> None:
        given = ([] if primary is None else [primary]) + list(others)
        members = [each if isinstance(each, Trusted) else Trusted(as_key(each)) for each in given]
        self._denied = {_checked_id(each): "" for each in denied}
        if isinstance(denied, Mapping):
            for key_id, reason in denied.items():
                _check_no_key(reason, "the reason of a denied key id")
                self._denied[key_id] = reason
        self._primary: Trusted | None = None if primary is None else members[0]
        self._by_id = {(each.key.suite, each.key.key_id): each for each in members}
        if not members:
            raise KeyringError("a keyring without keys trusts nobody: name at least one key")
        if len(self._by_id) != len(members):
            raise KeyringError("the same key is in the keyring twice; name each key once")
        halves = [half for each in members for half in _halves(each.key)]
        if len(set(halves)) != len(halves):
            raise KeyringError("two keys of the keyring share an Ed25519 or ML-DSA key: one person would count as two")
        if len({each.name for each in members if each.name}) != sum(bool(each.name) for each in members):
            raise KeyringError("two keys of the keyring have the same name")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Keyring:
        """Return the keyring of a file (see `docs/keys.md`). Secrets and private keys are read from where it says.

        Raises `KeyringError` if it is not a keyring file, others than this user and root can write it, or a key in it is unusable.
        """
        where = os.fspath(path)
        # The file behind a link: whose that file is, is checked, while anyone may have made the link and what lies beside it.
        with contextlib.suppress(ValueError):
            where = os.path.realpath(where)
        table = [_read_table(where)]
        try:
            # Handed on and not kept, as in `keys.parse_key`: a key may stand in it by mistake.
            return _from_table(table.pop(), os.path.dirname(where))
        except KeyringError as error:
            message = f"the keyring file {elided(where)}: {error}"
        raise KeyringError(message)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the keyring to a file that `read` reads, replacing it as a whole. Raises `KeyringError` for a secret without a URI, `OSError`."""
        files.replace(os.path.realpath(path), [self.to_text().encode("utf-8")], 0o644)

    def to_text(self) -> str:
        """Return what `write` writes. It holds no secret. Paths in `file:` URIs are absolute, so it says the same wherever it is written."""
        return _text_of(self)

    @property
    def primary(self) -> Key:
        """The key that signs. Raises `KeyringError` if there is none."""
        if self._primary is None:
            raise KeyringError(f"this keyring only verifies, with {self._told()}: name the key that signs as its primary")
        return self._primary.key

    def find(self, suite: str, key_id: str) -> Key | None:
        """Return the key of that suite and id, or None."""
        found = self._by_id.get((suite, key_id))
        return None if found is None else found.key

    def signer(self, *, now: float | None = None) -> Signer:
        """Return the primary as a key that signs. Raises `KeyringError` if there is none, if it cannot, or if it may not now."""
        key = self.primary
        # Asked of our own classes first: a protocol is compared method by method.
        if not isinstance(key, (SecretKey, PrivateKey)) and not isinstance(key, Signer):
            raise KeyringError(
                f"key {key.key_id} is a public key: it verifies and cannot sign; sign with the private key that it belongs to, where that is kept"
            )
        self.check_signer(key, now=now)
        return key

    def check_signer(self, key: Key, *, now: float | None = None) -> None:
        """Refuse a key that this ring denies, or that it lists and does not trust now, as one that signs. Raises `KeyringError`.

        A key that the ring does not know at all may sign: whoever trusts it will list it.
        """
        member = self._by_id.get((key.suite, key.key_id))
        moment = time.time() if now is None else now
        outside = self._denial(key.key_id) if member is None else self._outside(member, moment)
        if outside:
            raise KeyringError(f"key {key.key_id} {outside}, so it signs nothing: sign with another key, and make that one the primary")

    def sign(self, digest: bytes, *, now: float | None = None) -> tuple[Signature, ...]:
        """Return the primary's signature over a 32-byte digest. Raises `KeyringError` if the primary cannot, or may not now."""
        key = self.signer(now=now)
        made: Any = key.sign(digest)
        length = SUITES[key.suite].signature_bytes
        if not isinstance(made, bytes) or len(made) != length:
            raise KeyringError(f"key {key.key_id} made no signature of {length} bytes, as suite {key.suite} has it: correct its `sign`")
        return (Signature(key.suite, key.key_id, made),)

    def verify(self, digest: bytes, signatures: tuple[Signature, ...], *, threshold: int = 1, now: float | None = None) -> tuple[str, ...]:
        """Return the ids of the trusted keys that signed the 32-byte digest.

        A signature under a key of this ring that does not hold refuses the whole; one under an unknown key, or under one that
        is denied or not trusted at this time, is skipped. Raises `AuthenticationError`, or `UnknownKeyError` when no signature is
        by a key of this ring.
        """
        moment = time.time() if now is None else now
        good: list[str] = []
        skipped: list[str] = []
        for signature in signatures:
            member = self._by_id.get((signature.suite, signature.key_id))
            outside = self._outside(member, moment) if member is not None else self._denial(signature.key_id)
            if outside:
                skipped.append(f"key {signature.key_id} {outside}")
            elif member is not None:
                if not isinstance(member.key, (SecretKey, PrivateKey, PublicKey)) and not isinstance(member.key, Verifier):
                    raise KeyringError(f"key {signature.key_id} can sign and not verify: add its public key to the keyring, or a key that verifies")
                check: Callable[[bytes, bytes], object] = member.key.verify
                # Of other libraries it returns False for a forgery.
                if check(digest, signature.value) is not None:
                    raise KeyringError(f"`verify` of key {signature.key_id} returned something: it must return None, or raise AuthenticationError")
                good.append(signature.key_id)
        if not good and skipped:
            raise AuthenticationError(f"no signature of the file counts: {'; '.join(skipped)}; have it signed again with a key that you trust")
        if not good:
            signed = ", ".join(f"{each.key_id} ({each.suite})" for each in signatures)
            raise UnknownKeyError(
                f"the file is signed by key {signed}; you trust {self._told()}; pass the key that signed it, or have it signed again with yours"
            )
        if len(set(good)) < threshold:
            ignored = f"; not counted: {'; '.join(skipped)}" if skipped else ""
            raise AuthenticationError(
                f"{len(set(good))} trusted key(s) signed the file ({', '.join(good)}) and threshold={threshold} asks for more{ignored}; "
                "have another trusted key sign it",
                about="threshold",
            )
        return tuple(good)

    def _outside(self, member: Trusted, now: float) -> str:
        return self._denial(member.key.key_id) or member.outside(now)

    def _denial(self, key_id: str) -> str:
        return "is on the deny-list of the keyring" if key_id in self._denied else ""

    def _told(self) -> str:
        return ", ".join(f"{each.key.key_id} ({each.key.suite})" for each in self._by_id.values())

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of all keys, the primary's first."""
        return tuple(key.key_id for key in self)

    @property
    def members(self) -> tuple[Trusted, ...]:
        """All keys with their names and times, the primary first."""
        return tuple(self._by_id.values())

    @property
    def denied(self) -> frozenset[str]:
        """Key ids that are never trusted."""
        return frozenset(self._denied)

    @property
    def denied_reasons(self) -> dict[str, str]:
        """Why key ids are never trusted: key id to reason, which may be empty."""
        return dict(self._denied)

    def __iter__(self) -> Iterator[Key]:
        return (each.key for each in self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def __repr__(self) -> str:
        if not hasattr(self, "_by_id"):
            return "<Keyring>"
        if self._primary is None:
            return f"<Keyring verifies {', '.join(self.key_ids)}>"
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


def as_keyring(key: Any) -> Keyring:
    """Return `key` if it is a keyring, the one that `keyring:PATH` names, else a keyring of that one key (see `as_key`)."""
    if isinstance(key, Keyring):
        return key
    if isinstance(key, str) and key.startswith("keyring:") and not _TEXT_KEY.search(key):
        return Keyring.read(key.removeprefix("keyring:"))
    return Keyring(key if isinstance(key, Trusted) else as_key(key))


def _halves(key: Key) -> list[bytes]:
    """Return the public keys that a key pair is made of, wherever it lives."""
    public = public_half(key)
    if public is None:
        return []
    return [public.raw[:32], public.raw[32:]] if public.suite == HYBRID else [public.raw]


def _checked_id(key_id: Any) -> str:
    if not isinstance(key_id, str) or not _KEY_ID.fullmatch(key_id):
        raise KeyringError("a key id is 16 lower-case hexadecimal digits")
    return key_id


# --- the file --------------------------------------------------------------------------------------------------

_FIELDS: Final = frozenset(("name", "public", "uri", "not_before", "not_after", "comment"))


def _read_table(where: str) -> dict[str, Any]:
    try:
        return files.toml_table(read_trusted(where, "keyring file", MAX_FILE_BYTES))
    except ValueError as error:
        message = f"the keyring file {elided(where)} is not TOML as it should be: {elided(str(error))}"
    raise KeyringError(message)


def _from_table(table: dict[str, Any], folder: str) -> Keyring:
    unknown = set(table) - {"keyring", "primary", "key", "denied"}
    if unknown:
        raise KeyringError(f"{elided(', '.join(sorted(unknown)))} means nothing here; there are keyring, primary, [[key]] and [[denied]]")
    if type(table.get("keyring")) is not int or table["keyring"] != 1:
        raise KeyringError("it must say `keyring = 1`, the version of its form")
    members = [_member(entry, number, folder) for number, entry in enumerate(_tables(table.get("key", []), "key"), 1)]
    denied: dict[str, str] = {}
    for entry in _tables(table.get("denied", []), "denied"):
        if set(entry) - {"key_id", "reason"} or not isinstance(entry.get("reason", ""), str):
            raise KeyringError("a [[denied]] entry has a key_id, and perhaps a reason")
        key_id = _checked_id(entry.get("key_id"))
        denied[key_id] = entry.get("reason") or denied.get(key_id, "")
    name = table.get("primary")
    if name is None:
        return Keyring(None, *members, denied=denied)
    chosen = [each for each in members if each.name and each.name == name]
    if not chosen:
        raise KeyringError(f"its primary, {elided(str(name))!a}, is not the name of one of its keys")
    return Keyring(chosen[0], *(each for each in members if each is not chosen[0]), denied=denied)


def _tables(value: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise KeyringError(f"keys are written [[{name}]]")
    return value


def _member(entry: dict[str, Any], number: int, folder: str) -> Trusted:
    unknown = set(entry) - _FIELDS
    if unknown:
        raise KeyringError(f"key {number}: there is no {elided(', '.join(sorted(unknown)))}; a key has {', '.join(sorted(_FIELDS))}")
    texts = {field: entry.get(field, "") for field in ("name", "public", "uri", "comment")}
    if not all(isinstance(each, str) for each in texts.values()):
        raise KeyringError(f"key {number}: name, public, uri and comment are text")
    if bool(texts["public"]) == bool(texts["uri"]):
        raise KeyringError(f"key {number}: it has either `public`, a public key, or `uri`, where a secret or private key is kept")
    if texts["public"]:
        key = parse_key(texts["public"].encode("utf-8"), f"key {number}")
        if not isinstance(key, PublicKey):
            raise KeyringError(f"key {number}: only a public key may stand in the file; keep this one elsewhere, replace it, and name it by `uri`")
    else:
        texts["uri"] = _absolute(texts["uri"], folder)
        key = read_key(texts["uri"])
    begin, end = _moment(entry, "not_before", number), _moment(entry, "not_after", number)
    try:
        return Trusted(key, texts["name"], begin, end, texts["uri"], texts["comment"])
    except KeyringError as error:
        raise KeyringError(f"key {number}: {error}") from None


def _absolute(uri: str, folder: str) -> str:
    """Return a `file:` URI whose path is absolute; a relative one is taken from the folder, as one in a keyring file is from that of the file."""
    scheme, _, rest = uri.partition(":")
    return f"file:{os.path.abspath(os.path.join(folder, rest))}" if scheme == "file" and rest else uri


def _moment(entry: dict[str, Any], field: str, number: int) -> datetime | None:
    value = entry.get(field)
    if value is not None and (not isinstance(value, datetime) or value.tzinfo is None):
        raise KeyringError(f"key {number}: {field} is a date and time with a zone, such as 2027-01-01T00:00:00Z")
    return value


def _text_of(ring: Keyring) -> str:
    lines = ["# safepickle keyring: whom this host trusts. It holds no secret; review every change.", "keyring = 1"]
    names = _names(ring.members)
    if ring._primary is not None:
        # The primary is the first of the members.
        lines.append(f"primary = {_quoted(names[0])}")
    for name, each in zip(names, ring.members, strict=True):
        lines += ["", "[[key]]", f"name = {_quoted(name)}"]
        if isinstance(each.key, PublicKey):
            lines.append(f"public = {_quoted(each.key.to_text())}")
        elif each.uri:
            lines.append(f"uri = {_quoted(_absolute(each.uri, ''))}")
        else:
            raise KeyringError(
                f"key {each.key.key_id} is secret and has no uri: say where it is kept, with Trusted(key, uri='env:NAME'), or list its public key"
            )
        for field, moment in (("not_before", each.not_before), ("not_after", each.not_after)):
            if moment is not None:
                lines.append(f"{field} = {moment.isoformat().replace('+00:00', 'Z')}")
        lines += [f"comment = {_quoted(each.comment)}"] if each.comment else []
    for key_id, reason in sorted(ring.denied_reasons.items()):
        lines += ["", "[[denied]]", f"key_id = {_quoted(key_id)}"]
        lines += [f"reason = {_quoted(reason)}"] if reason else []
    return "\n".join(lines) + "\n"


def _names(members: Sequence[Trusted]) -> list[str]:
    """Return the name of each key. Those without one are numbered, past the names that others have."""
    taken = {each.name for each in members}
    free = (name for name in map("key-{}".format, itertools.count(1)) if name not in taken)
    return [each.name or next(free) for each in members]


def _quoted(text: str) -> str:
    try:
        return files.toml_text(text)
    except ValueError as error:
        raise KeyringError(f"{error}: a name, uri, comment or reason of the keyring must be text that a file can hold") from None
