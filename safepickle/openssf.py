"""OpenSSF Model Signing: verifies a detached bundle that the reference tool, `model_signing`, made for one of our files.

    bundle (JSON) > DSSE envelope > in-toto statement (JSON) > resources: a name and a SHA-256 each

Promises:
- Bundles made with a plain elliptic-curve key (P-256, P-384, P-521) that the caller trusts, and no others: not with certificates,
  not keyless ones of Sigstore. What the bundle says of its key is only a hint which of the caller's keys to take.
- The raw payload is authenticated, then parsed. Before that only the outer JSON is, within limits of size, parts and nesting.
- What a later release of the tool may add to the predicate is passed over, as its format asks. Every other unknown or missing
  member is refused, and so are duplicate members or names, other digests than SHA-256, shards, and names that leave the folder.
- A file is read once: what a `HashedReader` hands on is what it hashes, so bundle and container speak of the same bytes.
- Constant memory but for the bundle. Nothing is executed or unpickled.

It is a signature beside ours, never in place of it: a bundle binds no context, serial or expiry, and by its format the name of
the model means nothing. What a bundle signs begins with `DSSEv1`, what a container signs never does, so one key may do both.

Sources: DSSE 1.0 (`protocol.md`, `envelope.md`), in-toto Statement v1 (`spec/v1/statement.md`), Sigstore bundle 0.3
(`sigstore_bundle.proto`), and the files of model_signing 1.1.1: `_signing/signing.py` (payload and its checks),
`_signing/sign_ec_key.py` (key, curve, hint), `_signing/sign_sigstore_pb.py` (bundle, PAE), `_serialization/file.py` (names).
"""

from __future__ import annotations

import binascii
import contextlib
import hashlib
import io
import json
import os
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import InitVar, dataclass, field
from types import MappingProxyType
from typing import IO, Any, Final, NoReturn

from .errors import AuthenticationError, FormatError, KeyringError, UnknownKeyError, elided
from .files import open_regular
from .keyring import Keyring
from .keys import ECDSA_P256, MAX_KEY_FILE_BYTES, PrivateKey, PublicKey, check_not_writable, parse_key, public_half, public_key_id, read_regular

__all__ = [
    "Bundle",
    "BundleInfo",
    "BundleKey",
    "HashedReader",
    "authenticate",
    "bundle_keys",
    "check_rest",
    "find_bundle",
    "read_bundle",
    "resource_name",
    "verify_bundle",
]

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
OLD_PREDICATE_TYPE: Final = "https://model_signing/Digests/v0.1"
# The name that a model which is a single file has in its own statement.
SINGLE: Final = "."
# Where the tool writes unless told otherwise; its README also has NAME.sig for the model NAME.
DEFAULT_NAME: Final = "model.sig"

# A part is a text, a bracket or a comma. A listed file takes eleven and, with a name of usual length, about 250 bytes of a bundle,
# so these are enough for 50,000 files.
MAX_BUNDLE_BYTES: Final = 1 << 24
MAX_PARTS: Final = 1 << 20
# Of the outer JSON. One with a key has some 50; keyless ones, which we want to name in the refusal, have a few hundred.
MAX_OUTER_PARTS: Final = 1 << 12
MAX_DEPTH: Final = 16
MAX_NAME: Final = 4096
# DER of two integers of 66 bytes takes 139.
MAX_SIGNATURE_BYTES: Final = 160

_READ_BYTES: Final = 1 << 20
_NAMES_A_FILE: Final = re.compile(r"[^\0\ud800-\udfff]+")
_HEX: Final = re.compile(r"[0-9a-f]{64}")
# A bracket, a comma or a text; the last is also all that follows a quote which is never closed, so the search is linear.
_PARTS: Final = re.compile(rb'[\[\]{},]|"(?:[^"\\]++|\\.?+)*+"?', re.DOTALL)
# One block and nothing around it: a reader of the file should not take something else for the key.
_ARMOR: Final = re.compile(rb"\s*-----BEGIN PUBLIC KEY-----\s[A-Za-z0-9+/=\s]+\s-----END PUBLIC KEY-----\s*")
# Of each curve its name, its hash, and the suite under which the key id is made; no container has a suite of the last two.
_CURVES: Final = {
    "secp256r1": ("P-256", "SHA256", ECDSA_P256),
    "secp384r1": ("P-384", "SHA384", "ecdsa-p384-sha384"),
    "secp521r1": ("P-521", "SHA512", "ecdsa-p521-sha512"),
}
_DENIED: Final = "is on the deny-list of the keyring"
_AGAIN: Final = "sign it with `model_signing sign key`"

_MADE_HERE: Final = object()


# --- keys ------------------------------------------------------------------------------------------------------


class BundleKey:
    """A public elliptic-curve key that is trusted to sign bundles: P-256 with SHA-256, P-384 with SHA-384, P-521 with SHA-512.

    The curves and their hashes are those of `_signing/sign_ec_key.py` of model_signing; the key fixes both, never the bundle.
    `pem` is one block of PEM, as bytes, with nothing around it. Raises `KeyringError` for anything else.
    """

    __slots__ = ("_hash", "_key", "_pem", "barred", "curve", "hint", "key_id")

    def __init__(self, pem: bytes, *, barred: str = "") -> None:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        if not isinstance(pem, (bytes, bytearray)):
            raise KeyringError(f"a key for bundles is made of PEM, as bytes, not of {type(pem).__name__}: from a file, BundleKey.read(PATH)")
        if not _ARMOR.fullmatch(pem):
            raise KeyringError(
                "a key for bundles is one public key in PEM, from '-----BEGIN PUBLIC KEY-----' to '-----END PUBLIC KEY-----' with nothing around it"
            )
        try:
            key = serialization.load_pem_public_key(bytes(pem))
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise KeyringError("this is not a valid public key in PEM") from None
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
            raise KeyringError("a key for bundles is an elliptic-curve key on P-256, P-384 or P-521: no others are used by `model_signing sign key`")
        self._key = key
        self.curve, name, suite = _CURVES[key.curve.name]
        self._hash: hashes.HashAlgorithm = getattr(hashes, name)()
        self._pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.hint = hashlib.sha256(self._pem).hexdigest()
        self.key_id = public_key_id(suite, key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint))
        self.barred = barred

    @classmethod
    def of(cls, key: Any, *, barred: str = "") -> BundleKey:
        """Return the key for bundles that a key pair of suite "ecdsa-p256-sha256" has. Raises `KeyringError` for any other key.

        `barred` says why the key does not count, and is empty for one that does.
        """
        public = public_half(key)
        if public is None or public.suite != ECDSA_P256:
            kind = f"of suite {key.suite}" if hasattr(key, "suite") else f"that is {type(key).__name__}"
            raise KeyringError(
                f"a bundle is not made with a key {kind}: one for bundles is an elliptic-curve key ({ECDSA_P256}); from a file, BundleKey.read(PATH)"
            )
        return cls(public.to_pem(), barred=barred)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> BundleKey:
        """Return the public key of a file, in PEM or the textual form of `safepickle keygen`.

        Raises `KeyringError` if it is no such key or others than its owner can write the file: who writes it says whom to trust.
        """
        where = os.fspath(path)
        # The content is handed on and not kept, and the error raised from here: the file that is named by mistake is that of the private key.
        *content, mode = read_regular(where, "public key file", MAX_KEY_FILE_BYTES)
        try:
            key = cls._of_file(content.pop())
        except KeyringError as error:
            message = f"the public key file {elided(where)}: {error}"
        else:
            if os.name == "posix":
                check_not_writable(where, "public key file", mode)
            return key
        raise KeyringError(message)

    @classmethod
    def _of_file(cls, data: bytes) -> BundleKey:
        lines = [line.strip() for line in data.splitlines()]
        text = b"\n".join(line for line in lines if line and not line.startswith(b"#"))
        if text.startswith(b"-----BEGIN PUBLIC KEY-----"):
            return cls(text)
        key = parse_key(text, "it")
        if not isinstance(key, PublicKey):
            raise KeyringError("it holds a key that can sign: keep that where files are signed, and put its public key here")
        return cls.of(key)

    def verify(self, message: bytes, signature: bytes) -> None:
        """Return if the DER signature over the message holds, else raise `AuthenticationError`."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ec

        try:
            self._key.verify(signature, message, ec.ECDSA(self._hash))
        except InvalidSignature:
            raise AuthenticationError(
                f"the signature of the bundle by key {self.key_id} does not hold: the bundle was changed after it was made, "
                "or it is damaged; fetch it again from where it was made"
            ) from None

    def _but(self, barred: str) -> BundleKey:
        return BundleKey(self._pem, barred=barred)

    def __repr__(self) -> str:
        return f"<BundleKey {getattr(self, 'key_id', '')} {getattr(self, 'curve', '')}>"


def bundle_keys(ring: Keyring | None, more: Iterable[BundleKey | PublicKey | PrivateKey] = (), *, now: float | None = None) -> tuple[BundleKey, ...]:
    """Return the keys that may sign bundles: those of suite "ecdsa-p256-sha256" of a keyring, and `more`.

    What is denied or outside its time in the keyring counts no more for a bundle than for a container, also if `more` names it. The
    deny-list bars keys on every curve, by their `key_id`.
    Raises `KeyringError` if no key remains.
    """
    moment = time.time() if now is None else now
    denied: frozenset[str] = frozenset() if ring is None else ring.denied
    found: dict[str, BundleKey] = {}
    for member in () if ring is None else ring.members:
        # A key that lives elsewhere may have no public half to be had; a bundle that names it is then by an unknown key.
        if member.key.suite == ECDSA_P256 and public_half(member.key) is not None:
            reason = _DENIED if member.key.key_id in denied else member.outside(moment)
            made = BundleKey.of(member.key, barred=reason)
            found[made.hint] = made
    for each in more:
        made = each if isinstance(each, BundleKey) else BundleKey.of(each)
        found.setdefault(made.hint, made._but(_DENIED) if made.key_id in denied else made)
    if not found:
        raise KeyringError(
            f"no key for bundles: among the trusted keys is none of suite {ECDSA_P256}; name the public elliptic-curve key that made the bundle"
        )
    return tuple(found.values())


# --- what is verified ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BundleInfo:
    """Proof that a bundle by a trusted key lists a file with the SHA-256 that it has. Only `HashedReader.finish` can make one."""

    key_hint: str
    """SHA-256 of the PEM of the public key, as the bundle has it."""
    key_id: str
    """The key id of the same key in safepickle: what a deny-list names."""
    curve: str
    model_name: str
    """What the signer's file or folder was called. The format gives it no meaning: whoever renames it breaks nothing."""
    name: str
    """Of the file within the signed folder, "." if the file was signed by itself."""
    sha256: str
    file_bytes: int
    listed: int
    """How many files the bundle lists."""
    proof: InitVar[object] = None

    def __post_init__(self, proof: object) -> None:
        if proof is not _MADE_HERE:
            raise TypeError("only HashedReader.finish() makes a BundleInfo")


@dataclass(frozen=True, slots=True)
class Bundle:
    """An authenticated bundle: a trusted key made it, and no file has been looked at yet. Only `authenticate` can make one."""

    key: BundleKey
    model_name: str
    resources: Mapping[str, str] = field(repr=False)
    """The SHA-256, in hexadecimal, of each file by its name."""
    allow_symlinks: bool = False
    proof: InitVar[object] = None

    def __post_init__(self, proof: object) -> None:
        if proof is not _MADE_HERE:
            raise TypeError("only authenticate() makes a Bundle")

    @property
    def single(self) -> bool:
        """Whether a file was signed by itself rather than a folder."""
        return SINGLE in self.resources

    def find(self, name: str | None) -> tuple[str, str]:
        """Return the name and SHA-256 of the resource for the file of this name, whatever its name if it was signed by itself.

        Raises `AuthenticationError` if the bundle lists no such file.
        """
        if self.single:
            return SINGLE, self.resources[SINGLE]
        if name is None:
            raise AuthenticationError(f"the bundle lists {len(self.resources)} files and this one has no name: verify it by its path")
        if name not in self.resources:
            raise AuthenticationError(
                f"the bundle does not list {_told(name)}: it lists {len(self.resources)} files of {_told(self.model_name)}; "
                "take the bundle that covers this file, name the folder that was signed, or sign it again"
            )
        return name, self.resources[name]

    def reader(self, file: IO[bytes], name: str | None) -> HashedReader:
        """Return a reader over an open binary file, to be read in its place. Raises `AuthenticationError` if the file is not listed."""
        return HashedReader(self, file, name)


class HashedReader:
    """An open file that is read in place of itself, once, front to back: what is handed on is hashed.

    Hand it to `container.verify` as the file, then call `finish`. There is no second open of a path that could see another file,
    and no second pass that could see other bytes.
    """

    __slots__ = ("_bundle", "_bytes", "_digest", "_expected", "_file", "_name")

    def __init__(self, bundle: Bundle, file: Any, name: str | None) -> None:
        if isinstance(file, io.TextIOBase) or not hasattr(file, "read"):
            raise TypeError("the file is an open binary file (mode 'rb')")
        self._name, self._expected = bundle.find(name)
        self._bundle = bundle
        self._file = file
        self._digest = hashlib.sha256()
        self._bytes = 0

    def read(self, count: int = -1, /) -> Any:
        """Return up to `count` bytes, as the file gives them."""
        piece = self._file.read(count)
        if not isinstance(piece, (bytes, bytearray, memoryview)):
            # None of a file that does not block, or text: the caller says what is wrong with it.
            return piece
        # A copy of anything mutable, so that what is hashed is what is handed on.
        piece = bytes(piece)
        self._digest.update(piece)
        self._bytes += len(piece)
        return piece

    def readinto(self, buffer: Any, /) -> int | None:
        """Fill a part of `buffer` and return how many bytes that are."""
        view = memoryview(buffer).cast("B")
        readinto = getattr(self._file, "readinto", None)
        if readinto is None:
            piece = self.read(min(len(view), _READ_BYTES))
            if piece is None:
                return None
            if len(piece) > len(view):
                raise OSError("read() of the file returned more than it was asked for")
            view[: len(piece)] = piece
            return len(piece)
        count: int | None = readinto(view)
        if count is None:
            return None
        if not 0 <= count <= len(view):
            raise OSError("readinto() of the file returned more than it was asked for")
        self._digest.update(view[:count])
        self._bytes += count
        return count

    def finish(self) -> BundleInfo:
        """Read what is left, and return the proof that the file is the one the bundle lists. Raises `AuthenticationError` if not, `OSError`."""
        while True:
            piece = self.read(_READ_BYTES)
            if piece is None:
                raise BlockingIOError("the file is in non-blocking mode: hand in a blocking one")
            if isinstance(piece, str):
                raise TypeError("the file is open in text mode: open it with mode 'rb'")
            if not piece:
                break
        found = self._digest.hexdigest()
        if found != self._expected:
            _changed("the file" if self._name == SINGLE else _told(self._name), self._expected, found)
        key = self._bundle.key
        return BundleInfo(
            key_hint=key.hint,
            key_id=key.key_id,
            curve=key.curve,
            model_name=self._bundle.model_name,
            name=self._name,
            sha256=found,
            file_bytes=self._bytes,
            listed=len(self._bundle.resources),
            proof=_MADE_HERE,
        )


def verify_bundle(
    bundle: bytes,
    file: str | os.PathLike[str] | bytes | IO[bytes],
    *,
    keys: Iterable[BundleKey | PublicKey | PrivateKey],
    name: str | None = None,
) -> BundleInfo:
    """Return the proof that a bundle by one of `keys` lists this file with the SHA-256 that it has.

    `file` is a path, opened once; or its bytes; or an open binary file, read to its end. `name` is what the bundle calls it, and by
    default the last part of the path: see `resource_name`. Only the file itself is looked at, not the others that the bundle lists.

    This says nothing of what the file is. For a container as well, and over the same bytes, see `HashedReader`.

    Raises `FormatError` if it is not a bundle, or not of a kind that is read here, `UnknownKeyError` if it is by none of the keys,
    `AuthenticationError` if it does not hold or does not list this file as it is, `KeyringError` for an unusable key, `OSError`.
    """
    opened = authenticate(bundle, bundle_keys(None, keys))
    if name is None and isinstance(file, (str, os.PathLike)):
        name = os.path.basename(os.fspath(file))
    with _source(file) as source:
        return opened.reader(source, name).finish()


@contextlib.contextmanager
def _source(file: Any) -> Iterator[Any]:
    if isinstance(file, (str, os.PathLike)):
        with io.FileIO(file, "rb") as opened:
            yield opened
    elif isinstance(file, (bytes, bytearray, memoryview)):
        yield io.BytesIO(bytes(file))
    else:
        yield file


def check_rest(bundle: Bundle, folder: str | os.PathLike[str], done: Collection[str]) -> int:
    """Check that every file which the bundle lists is in the folder as it was signed, but for the names that are `done`, and count those checked.

    For a question about a folder: the files of ours are verified one by one, the rest here, by their SHA-256 alone and without looking
    into them. Files that the bundle does not list are not looked for. Raises `AuthenticationError`, `FormatError`, `OSError`.
    """
    root = os.fspath(folder)
    if bundle.single:
        raise AuthenticationError(f"the bundle is of the single file {_told(bundle.model_name)}, not of the folder {_told(root)}: verify that file")
    left = [name for name in bundle.resources if name not in done]
    for name in left:
        found = _digest_of(_place(root, name, links=bundle.allow_symlinks), name)
        if found != bundle.resources[name]:
            _changed(_told(name), bundle.resources[name], found)
    return len(left)


def _place(root: str, name: str, *, links: bool) -> str:
    """Return where a listed file is: below the folder, and as the tool has it through no symbolic link unless the signer allowed them."""
    path = root
    for part in name.split("/"):
        if _leaves(part):
            raise FormatError(f"the bundle lists {_told(name)}, which cannot be the name of a file here")
        path = os.path.join(path, part)
        if not links and os.path.islink(path):
            raise AuthenticationError(f"{_told(path)} is a symbolic link, and the bundle was made of a folder without any: fetch the folder again")
    return path


def _leaves(part: str, system: Any = os.path) -> bool:
    """Tell whether one part of a name is more than that on this system: on Windows a backslash, a drive or a stream could lead elsewhere."""
    return system.sep in part or (system.sep == "\\" and ":" in part)


def _digest_of(path: str, name: str) -> str:
    try:
        opened = open_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        raise AuthenticationError(f"{_told(name)} is missing: the bundle lists it; fetch the folder again, whole, from where it was made") from None
    if opened is None:
        raise AuthenticationError(f"{_told(name)} is not a regular file, and the bundle lists it as one: fetch the folder again")
    with opened[0] as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _changed(what: str, expected: str, found: str) -> NoReturn:
    raise AuthenticationError(
        f"{what} does not have the SHA-256 that the bundle lists ({expected}, found {found}): it was changed after it was signed, "
        "or the bundle is of another file; fetch both again from where they were made"
    )


def resource_name(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> str:
    """Return what the bundle of a folder calls the file at `path`: its path below it, with slashes. Raises `AuthenticationError` if it is elsewhere.

    The name only chooses which SHA-256 the file must have, so it is made from the text of the paths; links are not resolved.
    """
    try:
        below = os.path.relpath(os.path.abspath(path), os.path.abspath(folder))
    except ValueError:  # another drive
        below = os.pardir
    parts = below.split(os.sep)
    if os.pardir in parts or parts == [os.curdir]:
        raise AuthenticationError(
            f"{_told(os.fspath(path))} is not below {_told(os.fspath(folder))}, the folder of the bundle: name the folder that was signed"
        )
    return "/".join(parts)


def find_bundle(path: str | os.PathLike[str]) -> str:
    """Return the path of the bundle next to a file: `model.spkl.sig` for `model.spkl`, else `model.sig`. Raises `FormatError` if there is none.

    These are the names of the tool: its README has `NAME.sig` for the model `NAME`, and its commands write `model.sig` by default.
    """
    where = os.fspath(path)
    candidates = [f"{where}.sig", os.path.join(os.path.dirname(where), DEFAULT_NAME)]
    for candidate in candidates:
        if os.path.lexists(candidate):
            return candidate
    raise FormatError(f"there is no bundle for {_told(where)}: neither {_told(candidates[0])} nor {_told(candidates[1])} exists; {_AGAIN}")


def read_bundle(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a bundle file. Raises `FormatError` if it is too large or not a regular file, `OSError`."""
    where = os.fspath(path)
    opened = open_regular(where)
    if opened is None:
        raise FormatError(f"the bundle {_told(where)} is not a regular file")
    with io.BufferedReader(opened[0]) as file:
        data = file.read(MAX_BUNDLE_BYTES + 1)
    _check_size(len(data))
    return data


# --- reading the bundle ----------------------------------------------------------------------------------------


def authenticate(bundle: bytes, keys: Iterable[BundleKey]) -> Bundle:
    """Return what a bundle says, once the signature of one of `keys` over its raw payload holds.

    Raises `FormatError` if it is not a bundle, or not of a kind that is read here; `UnknownKeyError` if it names none of the keys;
    `AuthenticationError` if the signature does not hold or the key is barred.
    """
    if not isinstance(bundle, (bytes, bytearray)):
        raise TypeError(f"a bundle is the bytes of its file, not {type(bundle).__name__}: see read_bundle()")
    _check_size(len(bundle))
    hint, payload, signature = _envelope(_parsed(bytes(bundle), "the bundle", MAX_OUTER_PARTS))
    key = _chosen(hint, tuple(keys))
    key.verify(_pae(payload), signature)
    return _statement(key, _parsed(payload, "the statement of the bundle", MAX_PARTS))


def _check_size(length: int) -> None:
    if length > MAX_BUNDLE_BYTES:
        raise FormatError(f"the bundle is longer than {MAX_BUNDLE_BYTES} bytes: this is no bundle, or one of more files than are read here")


def _chosen(hint: str, keys: tuple[BundleKey, ...]) -> BundleKey:
    for key in keys:
        if key.hint == hint:
            if key.barred:
                raise AuthenticationError(
                    f"the bundle is by key {key.key_id}, which {key.barred}, so it does not count: have it signed again by another"
                )
            return key
    trusted = ", ".join(f"{key.key_id} ({key.curve}, hint {key.hint})" for key in keys)
    raise UnknownKeyError(
        f"the bundle is by the key with hint {hint}, the SHA-256 of its public key in PEM; you trust {trusted}; "
        "pass the public key that made it, or have it signed again with yours"
    )


def _pae(payload: bytes) -> bytes:
    """Return what is signed: the pre-authentication encoding of DSSE (`protocol.md`), whose lengths make it unambiguous."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode("ascii"), len(payload), payload)


def _parsed(data: bytes, what: str, max_parts: int) -> Any:
    """Return what the JSON says, refusing too many parts and too deep a nesting before anything is built, and duplicate members."""
    depth = 0
    for number, part in enumerate(_PARTS.finditer(data), 1):
        if number > max_parts:
            raise FormatError(f"{what} has more than {max_parts} parts: this is no bundle of a model, or one of more files than are read here")
        first = data[part.start()]
        depth += (first in b"[{") - (first in b"]}")
        if depth > MAX_DEPTH:
            raise FormatError(f"{what} is nested more than {MAX_DEPTH} deep: this is no bundle of a model")
    try:
        # As text, so that no other encoding is guessed.
        return json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except _DuplicateError:
        raise FormatError(f"{what} has the same member twice: readers would disagree about it, so it is refused") from None
    except (ValueError, RecursionError):
        raise FormatError(f"{what} is not JSON: it is damaged, or something else; fetch it again from where it was made") from None


class _DuplicateError(ValueError):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _DuplicateError
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _members(value: Any, what: str, required: str, optional: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FormatError(f"{what} is not an object with the members {required}")
    missing, unknown = set(required.split()) - value.keys(), value.keys() - set(required.split()) - set(optional.split())
    if missing:
        raise FormatError(f"{what} has no {', '.join(sorted(missing))}")
    if unknown:
        raise FormatError(f"{what} has {_told(min(unknown))}, which a bundle of `model_signing sign key` does not have")
    return value


def _one(value: Any, what: str) -> Any:
    if not isinstance(value, list) or len(value) != 1:
        raise FormatError(f"{what} is not a list of exactly one")
    return value[0]


def _envelope(value: Any) -> tuple[str, bytes, bytes]:
    """Return the key hint, the raw payload and the signature. Nothing of it is authenticated yet."""
    if not isinstance(value, dict) or "mediaType" not in value:
        raise FormatError("this is not a Sigstore bundle: it has no mediaType")
    if value["mediaType"] != MEDIA_TYPE:
        raise FormatError(f"the bundle is of the type {_told(value['mediaType'])}, and {MEDIA_TYPE} is read here: {_AGAIN}, version 1.1 or later")
    if "messageSignature" in value:
        raise FormatError(f"the bundle holds the signature of a blob, as `cosign sign-blob` makes it, and not of a model: {_AGAIN}")
    _members(value, "the bundle", "mediaType verificationMaterial dsseEnvelope")
    hint = _hint(value["verificationMaterial"])
    envelope = _members(value["dsseEnvelope"], "the envelope of the bundle", "payload payloadType signatures")
    if envelope["payloadType"] != PAYLOAD_TYPE:
        raise FormatError(f"the payload of the bundle is of the type {_told(envelope['payloadType'])}, and not {PAYLOAD_TYPE}: {_AGAIN}")
    # One, as sigstore_bundle.proto asks of an envelope in a bundle: what a second one would mean nobody says.
    entry = _members(_one(envelope["signatures"], "`signatures` of the bundle"), "the signature of the bundle", "sig", "keyid")
    if entry.get("keyid", "") != "":
        raise FormatError("the signature of the bundle has a keyid, which one of `model_signing sign key` leaves empty")
    signature = _base64(entry["sig"], "the signature")
    if not 0 < len(signature) <= MAX_SIGNATURE_BYTES:
        raise FormatError(f"the signature of the bundle has {len(signature)} bytes; one of an elliptic-curve key has at most {MAX_SIGNATURE_BYTES}")
    return hint, _base64(envelope["payload"], "the payload"), signature


def _hint(material: Any) -> str:
    if isinstance(material, dict) and material.keys() & {"certificate", "x509CertificateChain"}:
        raise FormatError(
            "the bundle was made with a certificate (keyless through Sigstore, or of an authority of one's own), and only bundles of a plain "
            f"elliptic-curve key are verified here: verify it with `model_signing verify sigstore` or `verify certificate`, or {_AGAIN}"
        )
    _members(material, "the verification material of the bundle", "publicKey", "tlogEntries")
    if material.get("tlogEntries", []) != []:
        raise FormatError(f"the bundle has entries of a transparency log, which are not checked here: {_AGAIN}")
    public = material["publicKey"]
    if isinstance(public, dict) and ("rawBytes" in public or not public):
        raise FormatError(f"the bundle does not name its key by a hint, as model_signing before 1.1 made them: {_AGAIN}, version 1.1 or later")
    hint = _members(public, "`publicKey` of the bundle", "hint")["hint"]
    if not isinstance(hint, str) or not _HEX.fullmatch(hint):
        raise FormatError("the hint of the bundle is not the SHA-256 of a public key, as model_signing 1.1 and later write it")
    return hint


def _base64(text: Any, what: str) -> bytes:
    try:
        raw = binascii.a2b_base64(text.encode("ascii")) if isinstance(text, str) else None
    except ValueError:
        raw = None
    # One encoding: no other alphabet, no line breaks, no bits in the last digit that mean nothing. The decoder passes over all of these.
    if raw is None or binascii.b2a_base64(raw, newline=False) != text.encode("ascii"):
        raise FormatError(f"{what} of the bundle is not canonical base64: the bundle was changed, or it is damaged; fetch it again")
    return raw


def _statement(key: BundleKey, value: Any) -> Bundle:
    """Return what an authenticated statement says: the checks of `dsse_payload_to_manifest` in `_signing/signing.py`, and more."""
    what = "the statement of the bundle"
    _members(value, what, "_type subject predicateType predicate")
    if value["_type"] != STATEMENT_TYPE:
        raise FormatError(f"{what} is of the type {_told(value['_type'])}, and not {STATEMENT_TYPE}")
    if value["predicateType"] == OLD_PREDICATE_TYPE:
        raise FormatError(f"{what} is of the form before model_signing 1.0, which is not read here: {_AGAIN}, version 1.1 or later")
    if value["predicateType"] != PREDICATE_TYPE:
        raise FormatError(f"{what} is not about a model: its predicate is {_told(value['predicateType'])}, and not {PREDICATE_TYPE}")
    subject = _members(_one(value["subject"], "`subject` of the statement"), "the subject of the statement", "name digest")
    root = _digest(_members(subject["digest"], "the digest of the subject", "sha256")["sha256"], "the subject")
    if not isinstance(subject["name"], str) or len(subject["name"]) > MAX_NAME:
        raise FormatError(f"the name of the subject is not text of at most {MAX_NAME} characters")
    predicate = value["predicate"]
    if not isinstance(predicate, dict) or not {"serialization", "resources"} <= predicate.keys():
        raise FormatError("the predicate of the statement has no serialization and resources")
    allow_symlinks = _serialization(predicate["serialization"])
    resources = _resources(predicate["resources"])
    if hashlib.sha256(b"".join(map(bytes.fromhex, resources.values()))).hexdigest() != root:
        raise FormatError("the statement contradicts itself: the digest of its subject is not that of the files it lists")
    return Bundle(key, subject["name"], MappingProxyType(resources), allow_symlinks, _MADE_HERE)


def _serialization(value: Any) -> bool:
    """Check how the files were hashed, and return whether symbolic links were followed."""
    if isinstance(value, dict) and value.get("method") == "shards":
        raise FormatError("the bundle lists shards of files, and only whole files are verified here: sign without `use_shard_serialization`")
    _members(value, "the serialization of the statement", "method hash_type allow_symlinks", "ignore_paths")
    if value["method"] != "files" or value["hash_type"] != "sha256":
        raise FormatError(
            f"the bundle hashes by {_told(value['method'])} with {_told(value['hash_type'])}, and whole files with SHA-256 are verified here: "
            "sign with the defaults of model_signing"
        )
    ignored = value.get("ignore_paths", [])
    if type(value["allow_symlinks"]) is not bool or not isinstance(ignored, list) or not all(isinstance(each, str) for each in ignored):
        raise FormatError("`allow_symlinks` or `ignore_paths` of the statement is not what the format has there")
    return value["allow_symlinks"]


def _resources(value: Any) -> dict[str, str]:
    if not isinstance(value, list) or not value:
        raise FormatError("the statement lists no files")
    found: dict[str, str] = {}
    for number, each in enumerate(value, 1):
        what = f"file {number} of the statement"
        _members(each, what, "name digest algorithm")
        if each["algorithm"] != "sha256":
            raise FormatError(f"{what} is hashed with {_told(each['algorithm'])}, and only SHA-256 is verified here")
        name = _name(each["name"], what)
        if name in found:
            raise FormatError(f"the statement lists {_told(name)} twice")
        found[name] = _digest(each["digest"], what)
    if SINGLE in found and len(found) > 1:
        raise FormatError("the statement lists a file that was signed by itself, and others beside it")
    return found


def _digest(value: Any, what: str) -> str:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise FormatError(f"the digest of {what} is not 64 lower-case hexadecimal digits")
    return value


def _name(value: Any, what: str) -> str:
    """Return the name of a file within the signed folder: what `PurePosixPath` writes, and never one that leaves the folder."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME or not _NAMES_A_FILE.fullmatch(value):
        raise FormatError(f"{what} has no name, or one that no file can have")
    # PurePosixPath drops empty parts and single dots, so the tool never writes them.
    if value != SINGLE and any(part in {"", ".", ".."} for part in value.split("/")):
        raise FormatError(f"{what} has the name {_told(value)}, which is not a path within the folder")
    return value


def _told(value: Any) -> str:
    """Return text of somebody else's for a message: short, and printable."""
    text = ascii(value if isinstance(value, str) else type(value).__name__)
    return text if len(text) <= 200 else f"{text[:200]}..."
