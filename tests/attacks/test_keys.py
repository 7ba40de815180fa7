"""Attempts on keys, keyrings, pins and on signing again: what a review of them tried, and what held or was mended."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import secrets
import stat
import subprocess
import sys
import time
import traceback
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any

import make_vectors
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from pace import allowed

from safepickle import (
    FormatError,
    Keyring,
    KeyringError,
    Pin,
    Pins,
    PrivateKey,
    PublicKey,
    SafePickleError,
    SecretKey,
    Signature,
    Trusted,
    UnknownKeyError,
    container,
    read_key,
    resign,
    sign,
    verify,
)
from safepickle.errors import elided
from safepickle.files import toml_table
from safepickle.keys import ECDSA_P256, ED25519, HYBRID, as_key, parse_key

TRAINER, APPROVER, THIRD = (PrivateKey.generate() for _ in range(3))
NOW = datetime.now(UTC)
DAY = timedelta(days=1)

posix = pytest.mark.skipif(os.name != "posix", reason="modes, owners and pipes are those of POSIX")
root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")


def put(path: Path, *keys: PrivateKey, serial: int = 1, more: tuple[Signature, ...] = ()) -> Path:
    """Write a container over `None`, signed by those keys; `more` are entries as they are."""
    raw = bytes(container.seal(b"\x80\x05N.", [], Keyring(keys[0]), serial=serial)[2])
    signatures = [each for key in keys for each in Keyring(key).sign(hashlib.sha256(raw).digest())]
    path.write_bytes(b"".join(container._front(raw, [*signatures, *more])) + b"\x80\x05N.")
    return path


def within_seconds(program: str, *arguments: Any) -> str:
    """Return what a process of its own prints, which must end soon."""
    try:
        child = subprocess.run([sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        pytest.fail("it hangs")
    return child.stdout + child.stderr


# --- signing again -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", [sign, resign])
def test_a_newer_file_that_is_put_there_meanwhile_is_not_replaced_by_the_older(again: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A rollback by accident: the approver signs for minutes, the trainer publishes, and the rename puts the old one back."""
    path = put(tmp_path / "model.spkl", TRAINER, serial=1)
    windows = container._verified_windows

    def slow(*args: Any) -> Any:
        yield from windows(*args)
        put(tmp_path / "new", TRAINER, serial=2).rename(path)

    monkeypatch.setattr(container, "_verified_windows", slow)
    with pytest.raises(OSError, match="was replaced or changed while it was read, so nothing was written"):
        again(path, key=APPROVER, signed_by=TRAINER.public_key())
    monkeypatch.undo()
    assert verify(path, key=TRAINER.public_key()).serial == 2
    assert [each.name for each in tmp_path.iterdir()] == ["model.spkl"]


def test_a_file_that_is_changed_in_place_meanwhile_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = put(tmp_path / "model.spkl", TRAINER, serial=1)
    before, windows = path.stat().st_ino, container._verified_windows

    def slow(*args: Any) -> Any:
        yield from windows(*args)
        put(path, TRAINER, serial=2)
        os.utime(path, ns=(1, 1))

    monkeypatch.setattr(container, "_verified_windows", slow)
    with pytest.raises(OSError, match="replaced or changed"):
        sign(path, key=APPROVER, signed_by=TRAINER.public_key())
    assert path.stat().st_ino == before


@posix
@pytest.mark.parametrize("again", ["sign", "resign"])
def test_a_pipe_in_place_of_the_file_is_refused_and_not_waited_for(again: str, tmp_path: Path):
    os.mkfifo(tmp_path / "model.spkl")
    program = (
        "import sys, safepickle\nkey = safepickle.PrivateKey.generate()\ntry:\n"
        f"    safepickle.{again}(sys.argv[1], key=key, signed_by=key)\nexcept ValueError as error:\n    print(error)\n"
    )
    assert "is not a regular file, so it cannot be replaced" in within_seconds(program, tmp_path / "model.spkl")


@posix
def test_the_temporary_file_is_never_more_open_than_the_one_it_replaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = put(tmp_path / "model.spkl", TRAINER)
    path.chmod(0o600)
    seen = []
    chmod = os.fchmod
    monkeypatch.setattr(os, "fchmod", lambda file, mode: (seen.append(stat.S_IMODE(os.fstat(file).st_mode)), chmod(file, mode)))
    umask = os.umask(0)
    try:
        sign(path, key=APPROVER, signed_by=TRAINER.public_key())
        container.write([b"x"], path)
    finally:
        os.umask(umask)
    assert seen == [0o600, 0o600]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@posix
def test_a_new_file_is_as_open_as_the_umask_says(tmp_path: Path):
    umask = os.umask(0o027)
    try:
        container.write([b"x"], tmp_path / "new")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


@root
def test_root_leaves_a_file_to_its_owner(tmp_path: Path):
    path = put(tmp_path / "model.spkl", TRAINER)
    path.chmod(0o640)
    os.chown(path, 12345, 23456)
    sign(path, key=APPROVER, signed_by=TRAINER.public_key())
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (12345, 23456, 0o640)


@pytest.mark.parametrize(
    ("ring", "hint"),
    [
        (Keyring(None, TRAINER.public_key(), denied=[APPROVER.key_id]), "is on the deny-list"),
        (Keyring(None, TRAINER.public_key(), APPROVER.public_key(), denied=[APPROVER.key_id]), "is on the deny-list"),
        (Keyring(None, TRAINER.public_key(), Trusted(APPROVER.public_key(), not_after=NOW - DAY)), "expired at"),
        (Keyring(None, TRAINER.public_key(), Trusted(APPROVER.public_key(), not_before=NOW + DAY)), "is trusted from"),
    ],
    ids=["denied", "denied and listed", "expired", "not yet"],
)
@pytest.mark.parametrize("again", [sign, resign])
def test_a_key_that_the_trusted_keys_deny_signs_nothing(again: Any, ring: Keyring, hint: str, tmp_path: Path):
    """A stolen key, denied by everyone, must not replace the signatures of the others."""
    path = put(tmp_path / "model.spkl", TRAINER)
    before = path.read_bytes()
    with pytest.raises(KeyringError, match=f"{APPROVER.key_id} {hint}.*so it signs nothing"):
        again(path, key=APPROVER, signed_by=ring)
    assert path.read_bytes() == before
    again(path, key=THIRD, signed_by=ring)


def test_signatures_that_nobody_verified_stay_unless_asked(tmp_path: Path):
    """Storage adds an entry in the name of a third key. It is told, may be left out, and refuses the file for whoever holds that key."""
    forged = Signature(ED25519, THIRD.key_id, bytes(64))
    path = put(tmp_path / "model.spkl", TRAINER, more=(forged,))
    before = path.read_bytes()
    info = sign(path, key=APPROVER, signed_by=TRAINER.public_key())
    assert [each.key_id for each in info.signatures if each.key_id not in info.trusted_key_ids] == [THIRD.key_id]
    with pytest.raises(SafePickleError, match="does not hold"):
        verify(path, key=Keyring(None, APPROVER.public_key(), THIRD.public_key()))
    path.write_bytes(before)
    sign(path, key=APPROVER, signed_by=TRAINER.public_key(), drop_unverified=True)
    info = verify(path, key=Keyring(None, TRAINER.public_key(), APPROVER.public_key(), THIRD.public_key()), threshold=2)
    assert {each.key_id for each in info.signatures} == {TRAINER.key_id, APPROVER.key_id}


def test_an_entry_under_the_id_of_a_verified_key_and_another_suite_is_not_verified(tmp_path: Path):
    path = put(tmp_path / "model.spkl", TRAINER, more=(Signature("hmac-sha256", TRAINER.key_id, bytes(32)),))
    sign(path, key=APPROVER, signed_by=TRAINER.public_key(), drop_unverified=True)
    assert {each.suite for each in verify(path, key=TRAINER.public_key()).signatures} == {ED25519}


def test_the_padding_behind_the_header_is_not_looked_at_before_a_signature_holds():
    """SPEC.md, 1.4: another refusal for a stranger's file would say something about bytes that nobody vouches for."""
    data = make_vectors.signed(make_vectors.header())
    front = container._read_front(container._source(data))
    changed = make_vectors.flipped(data, front.header_end)
    stranger, trusted = Keyring(make_vectors.STRANGER), Keyring(make_vectors.KEY)
    for unsound in (changed, data[: front.header_end]):
        with pytest.raises(UnknownKeyError):
            container.open(unsound, stranger)
        with pytest.raises(SafePickleError, match="padding"):
            container.open(unsound, trusted)


# --- what is no secret -------------------------------------------------------------------------------------------


def bare(pem: bytes) -> bytes:
    """Return what stands between the lines of PEM."""
    return b"\n".join(line for line in pem.splitlines() if not line.startswith(b"-----"))


def other_forms() -> dict[str, bytes]:
    """Return keys as other tools write them, without what would tell them apart at once."""
    plain, encoding = serialization.NoEncryption(), serialization.Encoding
    private, public = serialization.PrivateFormat, serialization.PublicFormat
    found = {}
    for name, key in {
        "ed25519": ed25519.Ed25519PrivateKey.generate(),
        "p256": ec.generate_private_key(ec.SECP256R1()),
        "rsa": rsa.generate_private_key(65537, 1024),
    }.items():
        ssh = key.public_key().public_bytes(encoding.OpenSSH, public.OpenSSH)
        found[f"{name} ssh public"] = ssh.split()[1]
        found[f"{name} ssh private"] = bare(key.private_bytes(encoding.PEM, private.OpenSSH, plain))[:1000]
        found[f"{name} X.509"] = bare(key.public_key().public_bytes(encoding.PEM, public.SubjectPublicKeyInfo))
        found[f"{name} PKCS 8"] = bare(key.private_bytes(encoding.PEM, private.PKCS8, plain))
        found[f"{name} PKCS 8 encrypted"] = bare(key.private_bytes(encoding.PEM, private.PKCS8, serialization.BestAvailableEncryption(b"x")))
        found[f"{name} PEM in base64"] = base64.b64encode(key.public_key().public_bytes(encoding.PEM, public.SubjectPublicKeyInfo))
        if name != "ed25519":
            found[f"{name} traditional"] = bare(key.private_bytes(encoding.PEM, private.TraditionalOpenSSL, plain))
            found[f"{name} first line"] = found[f"{name} traditional"].splitlines()[0]
    found["rsa PKCS 1 public"] = bare(key.public_key().public_bytes(encoding.PEM, public.PKCS1))
    found["textual in base64"] = base64.b64encode(TRAINER.public_key().to_text().encode())
    return found


OTHER_FORMS = other_forms()


@pytest.mark.parametrize("name", OTHER_FORMS)
def test_a_key_without_its_armor_is_no_secret(name: str):
    """Whoever strips the lines of PEM would sign with bytes that, of a public key, everyone has."""
    text = OTHER_FORMS[name]
    joined = b"".join(text.split())
    for spelling in (text, joined, joined.rstrip(b"="), joined.replace(b"+", b"-").replace(b"/", b"_"), b" " + text + b"\n"):
        with pytest.raises(KeyringError, match=r"bare base64.*public key must never serve as a secret"):
            as_key(spelling)
    whole = base64.b64decode(joined + b"=" * (-len(joined) % 4))
    with pytest.raises(KeyringError):
        as_key(whole[:1024])


def test_random_secrets_are_still_taken_raw_and_as_text():
    """A false refusal of one secret in a thousand would be worse than what it prevents."""
    make = random.Random(7)
    for length in (32, 33, 48, 64, 100):
        for _ in range(2000):
            secret = make.randbytes(length)
            as_key(secret)
            as_key(base64.b64encode(secret))
    as_key(secrets.token_hex(32).encode())


# --- hostile texts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [PublicKey.from_pem, PrivateKey.from_pem, lambda data: parse_key(data, "it")])
def test_pem_of_many_beginnings_takes_linear_time(read: Any):
    """With a regular expression each beginning looked for an end: 64 KiB took ten seconds and more."""
    started = time.process_time()
    for data in (b"-----BEGIN A-----\n" * 3600, b"-----BEGIN PUBLIC KEY-----\n" * 2300, b"-----BEGIN PUBLIC KEY-----" + b" " * 60_000):
        with pytest.raises(KeyringError):
            read(data)
    assert time.process_time() - started < allowed(1)


@pytest.mark.parametrize("read", [PublicKey.from_pem, PrivateKey.from_pem])
def test_a_pem_that_is_no_key_by_its_length_is_not_looked_at(read: Any):
    with pytest.raises(KeyringError, match="longer than 65536 bytes"):
        read(TRAINER.to_pem() * 1000)
    for form in (SecretKey, PrivateKey, PublicKey):
        with pytest.raises(KeyringError):
            form.from_text("spk1_" + "0" * 16 + "_" + "A" * 100_000)


@pytest.mark.parametrize("length", [0, 1, 31, 33])
def test_an_ed25519_key_of_another_length_in_pem_is_a_keyring_error(length: int):
    """OpenSSL reports it by an error that the library does not expect: `cryptography.exceptions.InternalError`."""
    der = bytes.fromhex("020100300506032b6570") + bytes((4, length + 2, 4, length)) + bytes(range(length))
    text = base64.b64encode(bytes((0x30, len(der))) + der).decode()
    for read in (PrivateKey.from_pem, lambda data: parse_key(data, "a file")):
        with pytest.raises(KeyringError, match="not a valid private key"):
            read(f"-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n".encode())


@pytest.mark.parametrize("suite", [ED25519, ECDSA_P256, HYBRID])
def test_a_private_key_in_pem_that_was_passed_for_a_name_is_not_repeated(suite: str):
    """Half of a line of PEM is the head of its DER, which is far less mixed than a key, so lines of every second key were taken for words."""
    for number in range(8):
        seed = hashlib.sha256(b"%d" % number).digest() + hashlib.sha256(b"another of %d" % number).digest()
        try:
            pem = PrivateKey(suite, seed if suite == HYBRID else seed[:32]).to_pem().decode()
        except KeyringError as error:
            pytest.skip(f"{error}")
        bare = "".join(line for line in pem.splitlines() if not line.startswith("-"))
        secret = [line[at : at + 12] for line in pem.splitlines() for at in range(30, len(line) - 11) if not line.startswith("-")]
        assert len(secret) > 20
        for given in (pem, pem.strip(), pem[5:], pem.partition("\n")[2], bare, pem.replace("\n", " ")):
            for call in (read_key, Keyring.read):
                for uri in (given, f"env:{given}", f"file:{given}", f"keyring:{given}"):
                    with pytest.raises((KeyringError, OSError)) as caught:
                        call(uri)
                    assert not isinstance(caught.value, KeyringError) or not [part for part in secret if part in str(caught.value)]
            assert not [part for part in secret if part in elided(f"the file {given}")]


def test_messages_about_key_uris_name_every_kind():
    for wrong in ("hunter2", "env:", 7):
        with pytest.raises(KeyringError) as caught:
            read_key(wrong)  # type: ignore[arg-type]
        for scheme in ("env:", "file:", "awskms:", "pkcs11:", "vault:"):
            assert scheme in str(caught.value)
            assert scheme in (read_key.__doc__ or "")


# --- secrets in texts --------------------------------------------------------------------------------------------

SECRET = SecretKey.generate()
MISTAKEN = {
    "text": SECRET.to_text(),
    "private": TRAINER.to_text(),
    "damaged": SECRET.to_text()[:-1],
    "hex": SECRET._secret.hex(),
    "base64": base64.b64encode(hashlib.sha512(b"a key in base64").digest()[:32]).decode(),
    "base64url": base64.urlsafe_b64encode(hashlib.sha512(b"a key in base64url").digest()[:48]).decode().rstrip("="),
    "line of PEM": bare(TRAINER.to_pem()).decode(),
}


@pytest.mark.parametrize("name", MISTAKEN)
def test_a_key_in_place_of_a_name_or_path_is_not_repeated(name: str, tmp_path: Path):
    key = MISTAKEN[name]
    tried = {
        "variable": lambda: read_key(f"env:{key}"),
        "file": lambda: read_key(f"file:{key}"),
        "file below": lambda: read_key(f"file:{tmp_path}/{key}"),
        "suite": lambda: PrivateKey.generate(key),
        "name": lambda: Trusted(TRAINER, name=f"{key}!"),
        "denied": lambda: Keyring(TRAINER, denied=[key]),
    }
    for where, use in tried.items():
        with pytest.raises(KeyringError) as caught:
            use()
        told = f"{caught.value} {caught.value!r} {caught.value.__context__!r}"
        assert key[5:25] not in told, where
        assert key[-20:] not in told, where


def test_paths_and_names_are_still_told():
    """A message must say which file: what is made of words, or names a run or a commit, is no key."""
    for path in (
        "/home/alice/projects/fraud-model-scoring/keys/trainer-2025-production.pub",
        "C:\\Users\\Administrator\\Documents\\SafePickleKeyrings\\Production.toml",
        "/srv/mlruns/1/4f2c9d0a7b1e4c55a8d3e6f7b8c9d0e1/artifacts/model.spkl",
        "/srv/550e8400-e29b-41d4-a716-446655440000/model.spkl",
        "/builds/da39a3ee5e6b4b0d3255bfef95601890afd80709/model.spkl",
        "/Library/Application_Support/TrainedModelsOfTheYear2025/GradientBoostingClassifier",
        "it must be one line 'spk1_<key id>_<base64url>'",
        f"key {TRAINER.key_id} is a public key",
    ):
        assert elided(path) == path


def test_keys_as_random_as_they_come_are_elided():
    make = random.Random(11)
    missed = 0
    for _ in range(2000):
        secret = make.randbytes(32)
        for text in (base64.b64encode(secret), base64.urlsafe_b64encode(secret)):
            missed += text.decode() in elided(f"the file {text.decode()} does not exist")
    assert missed <= 8, "one in five hundred"


@pytest.mark.parametrize("form", ["text", "damaged", "two lines", "PEM"])
def test_no_frame_of_an_error_about_a_key_file_holds_its_content(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Reports of errors (Sentry, rich) show the local variables of every frame, also of causes that are not printed."""
    text = {"text": TRAINER.public_key().to_text(), "damaged": SECRET.to_text()[:-2], "two lines": f"{SECRET.to_text()}\n" * 2,
            "PEM": TRAINER.to_pem().decode().replace("PRIVATE", "CURIOUS")}[form]  # fmt: skip
    path = tmp_path / "a.key"
    path.write_text(text)
    path.chmod(0o666 if form == "text" else 0o600)
    monkeypatch.setenv("A_KEY", text[:-3])
    secret = text.splitlines()[-1 if form != "PEM" else 1][26:50]
    del text
    for uri in (f"file:{path}", "env:A_KEY"):
        with pytest.raises(KeyringError) as caught:
            read_key(uri)
        assert caught.value.__context__ is None or form == "text"
        frames = [frame for frame in traceback.walk_tb(caught.value.__traceback__) if frame[0].f_code.co_filename.endswith("keys.py")]
        held = [repr(frame.f_locals) for frame, _ in frames if "attacks" not in frame.f_code.co_filename]
        assert held
        assert not [each for each in held if secret in each and form != "text"]


# --- Ed25519: points of small order, and the cofactor ------------------------------------------------------------
#
# The cases are those of "Taming the many EdDSAs" (Chalkias, Garillot, Nikolaenko, 2020), made here from scratch.

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]


def added(a: Point, b: Point) -> Point:
    t = D * a[0] * b[0] * a[1] * b[1]
    return (a[0] * b[1] + b[0] * a[1]) * pow(1 + t, -1, P) % P, (a[1] * b[1] + a[0] * b[0]) * pow(1 - t, -1, P) % P


def times(n: int, point: Point) -> Point:
    total: Point = (0, 1)
    while n:
        total = added(total, point) if n & 1 else total
        point, n = added(point, point), n >> 1
    return total


def encoded(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def root_of(y: int) -> int:
    """Return an x of the point with that y."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    return x if x * x % P == square else x * pow(2, (P - 1) // 4, P) % P


BASE_Y = 4 * pow(5, -1, P) % P
BASE: Point = (root_of(BASE_Y) if root_of(BASE_Y) % 2 == 0 else P - root_of(BASE_Y), BASE_Y)
ORDER_8_Y = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
ORDER_8: Point = (root_of(ORDER_8_Y), ORDER_8_Y)


def hashed(nonce: bytes, public: bytes, message: bytes) -> int:
    return int.from_bytes(hashlib.sha512(nonce + public + message).digest(), "little") % L


def holds(key: PublicKey, message: bytes, signature: bytes) -> bool:
    try:
        key._parts[0].verify(signature, message)
    except InvalidSignature:
        return False
    return True


def test_signatures_of_ed25519_are_checked_without_the_cofactor():
    """SPEC.md, 4.1: the equation is S B = R + h A itself. Of a key with a part of order 8, one signature of eight holds."""
    a, r = 12345, 67890
    public = encoded(added(times(a, BASE), ORDER_8))
    key, nonce = PublicKey(ED25519, public), encoded(times(r, BASE))
    found = set()
    for number in range(64):
        message = b"message %d" % number
        h = hashed(nonce, public, message)
        signature = nonce + ((r + h * a) % L).to_bytes(32, "little")
        assert holds(key, message, signature) is (h % 8 == 0)
        found.add(h % 8 == 0)
    assert found == {True, False}


def test_the_scalar_of_ed25519_is_below_the_order_and_r_is_compared_as_bytes():
    """Otherwise a signature had several spellings, and nobody made the others."""
    a, r, message = 12345, 67890, b"message"
    public, nonce = encoded(times(a, BASE)), encoded(times(r, BASE))
    key, s = PublicKey(ED25519, public), (r + hashed(nonce, public, message) * a) % L
    assert holds(key, message, nonce + s.to_bytes(32, "little"))
    for more in range(1, 8):
        assert not holds(key, message, nonce + (s + more * L).to_bytes(32, "little"))
    # R is the neutral element: it holds, of the holder of the key only; with y + p in place of y, or the sign of 0, it does not.
    for nonce, expected in ((b"\1" + bytes(31), True), ((P + 1).to_bytes(32, "little"), False), (b"\1" + bytes(30) + b"\x80", False)):
        s = hashed(nonce, public, message) * a % L
        assert holds(key, message, nonce + s.to_bytes(32, "little")) is expected


@pytest.mark.parametrize("y", range(P, 2**255))
def test_a_second_encoding_of_a_public_key_is_none(y: int):
    """OpenSSL takes y modulo the prime: two key ids of one key would be two people."""
    for sign_bit in (0, 1 << 255):
        with pytest.raises(KeyringError):
            PublicKey(ED25519, (y | sign_bit).to_bytes(32, "little"))


def test_all_points_of_small_order_are_no_public_keys():
    points = {encoded(times(n, ORDER_8)) for n in range(8)}
    assert len(points) == 8
    for raw in points:
        with pytest.raises(KeyringError):
            PublicKey(ED25519, raw)


# --- files that say whom and what to trust -----------------------------------------------------------------------

PUBLIC = TRAINER.public_key().to_text()
RING = f'keyring = 1\n[[key]]\nname = "trainer"\npublic = "{PUBLIC}"\n'
PINS = 'pins = 1\n[[pin]]\ncontext = "a/b"\nserial = 3\n'
READERS = [(Keyring.read, RING, KeyringError), (Pins.read, PINS, FormatError)]


@posix
@pytest.mark.parametrize(("read", "text", "error"), READERS)
@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_a_file_that_others_can_write_says_nothing(read: Any, text: str, error: type[Exception], mode: int, tmp_path: Path):
    path = tmp_path / "file.toml"
    path.write_text(text)
    path.chmod(0o644)
    read(path)
    path.chmod(mode)
    with pytest.raises(error, match=r"writable by others.*chmod go-w") as caught:
        read(path)
    assert str(path) in str(caught.value)


@root
@pytest.mark.parametrize(("read", "text", "error"), READERS)
def test_a_file_of_another_user_says_nothing(read: Any, text: str, error: type[Exception], tmp_path: Path):
    """Who owns a file can change it, whatever its mode is now."""
    path = tmp_path / "file.toml"
    path.write_text(text)
    path.chmod(0o644)
    os.chown(path, 12345, 0)
    with pytest.raises(error, match=r"belongs to user 12345.*chown"):
        read(path)


@root
def test_what_root_wrote_says_it_to_everyone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A keyring in /etc is read by services that are not root."""
    for name, text in (("ring.toml", RING), ("pins.toml", PINS)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o644)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert len(Keyring.read(tmp_path / "ring.toml")) == len(Pins.read(tmp_path / "pins.toml").by_context) == 1


@posix
@pytest.mark.parametrize("read", ["Keyring.read", "Pins.read"])
def test_a_pipe_in_place_of_a_file_of_ours_is_refused_and_not_waited_for(read: str, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    program = f"import sys, safepickle\ntry:\n    safepickle.{read}(sys.argv[1])\nexcept safepickle.SafePickleError as error:\n    print(error)\n"
    assert "is not a regular file" in within_seconds(program, tmp_path / "pipe")


@pytest.mark.parametrize(("read", "text", "error"), READERS)
def test_keys_of_many_parts_cost_no_memory(read: Any, text: str, error: type[Exception], tmp_path: Path):
    """The reader of the standard library takes memory by the square of the parts: 16 KiB of them took 250 MB."""
    import tracemalloc

    path = tmp_path / "file.toml"
    tracemalloc.start()
    try:
        for hostile in (
            "x" + ".a" * 8000 + " = 1",
            "[x" + ".a" * 8000 + "]",
            "x = {a" + ".a" * 8000 + " = 1}",
            "'\"'" + ".a" * 8000 + ' = 1 # "',
            '"\'"' + ".a" * 8000 + " = 1 # '",
            'x = """"\n' + "y" + ".a" * 8000 + ' = 1 # """',
            "x = '''\n'\ny" + ".a" * 8000 + " = 1 # '''",
            "x = '''\n''' \ny" + ".a" * 8000 + " = 1",
            "x = " + "[" * 60_000,
            "x = " + '"' + '\\"' * 60_000,
        ):
            path.write_text(f"{text.partition('[')[0]}{hostile}\n")
            started = time.process_time()
            with pytest.raises(error):
                read(path)
            assert time.process_time() - started < allowed(2)
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("read", "text", "error"), READERS)
def test_a_file_that_is_too_long_is_not_parsed(read: Any, text: str, error: type[Exception], tmp_path: Path):
    path = tmp_path / "file.toml"
    path.write_text(text + "#" * (1 << 20))
    with pytest.raises(error, match="is longer than"):
        read(path)


def test_dots_within_text_and_comments_are_no_keys():
    text = 'a = "x.y.z.x.y.z.x.y.z.x.y.z \\" \' # . . . . . . . . . ."  # don\'t "stop" ..........\nb = \'\\.........."\'\nc = 1.5\n'
    assert toml_table(text.encode()) == {"a": "x.y.z.x.y.z.x.y.z.x.y.z \" ' # . . . . . . . . . .", "b": '\\.........."', "c": 1.5}


def test_a_pin_of_any_context_is_read_back(tmp_path: Path):
    contexts = ["a." * 400 + "b", 'x"""y', "it's", "'''", "back\\", "# no comment", "\U0001f600"]
    pins = Pins({context: Pin(serial=1) for context in contexts})
    pins.write(tmp_path / "pins.toml")
    assert Pins.read(tmp_path / "pins.toml") == pins


# --- the round trip of a keyring ---------------------------------------------------------------------------------


def test_a_relative_uri_means_the_same_key_wherever_the_ring_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Else the ring would name another file, perhaps one that somebody put there."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        key = folder / "signing.key"
        key.write_text(PrivateKey.generate().to_text())
        key.chmod(0o600)
    (here / "ring.toml").write_text('keyring = 1\nprimary = "n"\n[[key]]\nname = "n"\nuri = "file:signing.key"\n')
    monkeypatch.chdir(there)
    ring = Keyring.read("../here/ring.toml")
    ring.write("ring.toml")
    monkeypatch.chdir(tmp_path)
    assert Keyring.read("there/ring.toml").key_ids == ring.key_ids == (read_key("file:here/signing.key").key_id,)
    Keyring(Trusted(read_key("file:here/signing.key"), uri="file:here/signing.key")).write("there/ring.toml")
    assert Keyring.read("there/ring.toml").key_ids == ring.key_ids


def test_names_that_are_made_up_do_not_collide_with_given_ones(tmp_path: Path):
    ring = Keyring(None, Trusted(TRAINER.public_key(), "key-2"), APPROVER.public_key(), Trusted(THIRD.public_key(), "key-1"))
    ring.write(tmp_path / "ring.toml")
    back = Keyring.read(tmp_path / "ring.toml")
    assert [each.name for each in back.members] == ["key-2", "key-3", "key-1"]
    assert back.key_ids == ring.key_ids


def test_comments_and_reasons_come_back(tmp_path: Path):
    path = tmp_path / "ring.toml"
    path.write_text(f'{RING}comment = "HSM in \\"Berlin\\""\n[[denied]]\nkey_id = "{THIRD.key_id}"\nreason = "laptop stolen"\n')
    ring = Keyring.read(path)
    assert (ring.members[0].comment, ring.denied_reasons, ring.denied) == ('HSM in "Berlin"', {THIRD.key_id: "laptop stolen"}, {THIRD.key_id})
    ring.write(tmp_path / "other.toml")
    again = Keyring.read(tmp_path / "other.toml")
    assert (again.members, again.denied_reasons) == (ring.members, ring.denied_reasons)
    assert Keyring(TRAINER, denied={THIRD.key_id: "x"}).denied_reasons == {THIRD.key_id: "x"}


@pytest.mark.parametrize("field", ["name", "uri", "comment", "reason"])
def test_what_people_read_holds_no_key(field: str, tmp_path: Path):
    """Whatever is written to a keyring file is reviewed, mailed and committed."""
    for text in (SECRET.to_text(), TRAINER.to_text()):
        with pytest.raises(KeyringError, match="holds what looks like a key") as caught:
            Keyring(TRAINER, denied={THIRD.key_id: text}) if field == "reason" else Trusted(TRAINER, **{field: text})
        assert text[22:] not in str(caught.value)
    for wrong in (7, None, b"x"):
        with pytest.raises(KeyringError, match="is text"):
            Keyring(TRAINER, denied={THIRD.key_id: wrong}) if field == "reason" else Trusted(TRAINER, **{field: wrong})  # type: ignore[dict-item, arg-type]


@pytest.mark.parametrize("member", [Trusted(TRAINER, uri="file:/k/\udc80"), Trusted(TRAINER.public_key(), comment="\ud800")])
def test_what_no_file_can_hold_is_a_keyring_error(member: Trusted, tmp_path: Path):
    with pytest.raises(KeyringError, match="half a character"):
        Keyring(member).write(tmp_path / "ring.toml")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", ["primary", "a field", "a name", "an entry", "public"])
def test_a_secret_in_a_keyring_file_is_not_repeated(where: str, tmp_path: Path):
    key = SECRET.to_text()
    text = {
        "primary": f'primary = "{key}"\n{RING}',
        "a field": f"{RING}{key} = 1\n",
        "a name": RING.replace('"trainer"', f'"{key}"'),
        "an entry": f"{key} = 1\n{RING}",
        "public": RING.replace(PUBLIC, key[:-1]),
    }[where]
    path = tmp_path / "ring.toml"
    path.write_text(text)
    with pytest.raises(KeyringError) as caught:
        Keyring.read(path)
    frames = [frame.f_locals for frame, _ in traceback.walk_tb(caught.value.__traceback__) if "keyring" in frame.f_code.co_filename]
    told = f"{caught.value} {caught.value.__context__!r} {frames!r}"
    assert frames
    assert key[22:40] not in told


# --- times -------------------------------------------------------------------------------------------------------


class Odd(tzinfo):
    """A time zone that does not say how far it is from UTC."""

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        return None

    def tzname(self, moment: datetime | None) -> str | None:
        return None

    def dst(self, moment: datetime | None) -> timedelta | None:
        return None


class Worse(Odd):
    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        return 7  # type: ignore[return-value]


EAST, WEST = timezone(timedelta(hours=14)), timezone(-timedelta(hours=14))
ODD_TIMES = {
    "year 1": datetime(1, 1, 1, tzinfo=EAST),
    "year 9999": datetime(9999, 12, 31, 23, tzinfo=WEST),
    "no offset": datetime(2090, 1, 1, tzinfo=Odd()),
    "a zone that raises": datetime(2090, 1, 1, tzinfo=Worse()),
    "no zone": datetime(2090, 1, 1),  # noqa: DTZ001 - that is the point
}


@pytest.mark.parametrize("name", ODD_TIMES)
@pytest.mark.parametrize("field", ["not_before", "not_after"])
def test_a_time_that_is_none_is_a_keyring_error(name: str, field: str):
    """Found when the keyring is made; not as a TypeError when a model is loaded."""
    with pytest.raises(KeyringError, match=f"{field} is a datetime with a time zone"):
        Trusted(TRAINER, **{field: ODD_TIMES[name]})  # type: ignore[arg-type]


@pytest.mark.parametrize("line", ["not_before = 0001-01-01T00:00:00+10:00", "not_after = 9999-12-31T23:59:59-10:00"])
def test_a_time_of_a_file_that_is_none_is_a_keyring_error(line: str, tmp_path: Path):
    (tmp_path / "ring.toml").write_text(f"{RING}{line}\n")
    with pytest.raises(KeyringError, match=r"key 1: not_.* is a datetime"):
        Keyring.read(tmp_path / "ring.toml")


def test_what_is_no_time_of_pandas_does_not_trust_for_ever():
    import pandas as pd

    with pytest.raises(KeyringError, match="not_after"):
        Trusted(TRAINER, not_after=pd.NaT)
    assert Trusted(TRAINER, not_after=pd.Timestamp("2027-01-01", tz="Europe/Berlin")).not_after == datetime(2026, 12, 31, 23, tzinfo=UTC)


@pytest.mark.parametrize("name", ODD_TIMES)
def test_an_expiry_that_is_no_time_is_a_value_error(name: str):
    with pytest.raises(ValueError, match="expires") as caught:
        container.seal(b"N.", [], Keyring(TRAINER), expires=ODD_TIMES[name])
    assert type(caught.value) is ValueError


@pytest.mark.parametrize("expires", [timedelta.max, timedelta.min, datetime(9999, 12, 31, 23, tzinfo=WEST), 1 << 70])
def test_the_far_ends_of_time_are_no_expiry(expires: Any):
    with pytest.raises(ValueError, match="expires is"):
        container.seal(b"N.", [], Keyring(TRAINER), expires=expires)
