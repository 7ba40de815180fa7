"""Attempts on keys, keyrings, pins and on signing again: what a review of them tried, and what held or was mended."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import make_vectors
import pytest

from safepickle import Keyring, KeyringError, PrivateKey, SafePickleError, Signature, Trusted, UnknownKeyError, container, resign, sign, verify
from safepickle.keys import ED25519

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

    def slow(source: Any, header: Any) -> Any:
        yield from windows(source, header)
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

    def slow(source: Any, header: Any) -> Any:
        yield from windows(source, header)
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
