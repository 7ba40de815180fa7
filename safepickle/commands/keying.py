"""`keygen`, `pubkey`, `sign` and `resign`: keys, and the signatures that they make."""

from __future__ import annotations

import argparse
import sys

from safepickle.container import Info
from safepickle.errors import escaped
from safepickle.files import create
from safepickle.keyring import Keyring
from safepickle.keys import ED25519, HMAC_SHA256, PrivateKey, PublicKey, SecretKey, public_half
from safepickle.verifying import resign, sign

from .asking import OK, CannotError, expected_of, signing_key, vouching_keys
from .telling import on_each

__all__ = ["make_key", "print_public_key", "resign_files", "sign_files"]


def make_key(options: argparse.Namespace) -> int:
    """Make a key, or a key pair: `keygen`."""
    if options.suite == HMAC_SHA256:
        if options.public is not None or options.pem:
            raise CannotError(f"a secret key has no public half and no PEM: choose a key pair, with --suite {ED25519}")
        secret = SecretKey.generate()
        head, text = f"# safepickle secret key {secret.key_id}: whoever has it can sign. Keep it away from the models.\n", f"{secret.to_text()}\n"
        _write_key(options.output, head + text if options.output else text, 0o600)
        print(f"made key {secret.key_id} ({secret.suite})", file=sys.stderr)
        return OK
    key = PrivateKey.generate(options.suite)
    head = f"# safepickle private key {key.key_id}: whoever has it can sign. Keep it away from the models.\n"
    text = key.to_pem().decode() if options.pem else f"{key.to_text()}\n"
    # The private key first: without it the public one is of no use, and can be made of it.
    _write_key(options.output, head + text if options.output else text, 0o600)
    print(f"made key {key.key_id} ({key.suite})", file=sys.stderr)
    if options.public is None:
        print(f"its public key: {key.public_key().to_text()}", file=sys.stderr)
    else:
        _write_public(options, key.public_key())
    return OK


def _write_public(options: argparse.Namespace, public: PublicKey) -> None:
    head = f"# safepickle public key {public.key_id}: it verifies, and is not secret.\n"
    try:
        _write_key(options.public, public.to_pem().decode() if options.pem else f"{head}{public.to_text()}\n", 0o644)
    except CannotError as error:
        where, uri = (options.output, f"file:{options.output}") if options.output else ("on stdout", "env:NAME")
        raise CannotError(
            f"{error}. The private key was made and is {where}: keep it, and print its public key with `safepickle pubkey --key {uri}`, "
            "or remove it and begin again"
        ) from None


def _write_key(path: str | None, text: str, mode: int) -> None:
    if path is None:
        print(text, end="", flush=True)
        return
    try:
        create(path, text.encode("ascii"), mode)
    except FileExistsError:
        raise CannotError(f"{path} exists: a key is never overwritten; choose another name, or move it away first") from None
    except OSError as error:
        raise CannotError(f"{path} cannot be written: {error.strerror}") from None


def print_public_key(options: argparse.Namespace) -> int:
    """Print the public half of a key: `pubkey`."""
    key = signing_key(options.key).primary
    if isinstance(key, SecretKey):
        raise CannotError(f"key {key.key_id} is a secret key, which has no public half: make a key pair with `safepickle keygen --suite {ED25519}`")
    public = public_half(key)
    if public is None:
        raise CannotError(f"key {key.key_id} has no public half: whoever verifies with it asks its key service")
    print(public.to_pem().decode() if options.pem else public.to_text(), end="" if options.pem else "\n")
    return OK


def sign_files(options: argparse.Namespace) -> int:
    """Add a signature to each file: `sign`."""
    signer, trusted = _two_rings(options)
    expected = expected_of(options)

    def run(path: str) -> str:
        info = sign(path, key=signer, signed_by=trusted, drop_unverified=options.drop_unverified, **expected)
        if not options.drop_unverified:
            _tell_unverified(path, info, trusted, signer)
        return f"signed by {signer.primary.key_id}"

    return on_each(options.paths, run, "signed")


def resign_files(options: argparse.Namespace) -> int:
    """Replace the signatures of each file: `resign`."""
    signer, trusted = _two_rings(options)
    expected = expected_of(options)

    def run(path: str) -> str:
        resign(path, key=signer, signed_by=trusted, **expected)
        return f"signed anew by {signer.primary.key_id}"

    return on_each(options.paths, run, "signed anew")


def _two_rings(options: argparse.Namespace) -> tuple[Keyring, Keyring]:
    """Return who signs, and who must have signed. What may not sign is told before any file is looked at, and without signing anything."""
    signer = signing_key(options.key)
    trusted = vouching_keys(options.trust, signer)
    trusted.check_signer(signer.signer())
    return signer, trusted


def _tell_unverified(path: str, info: Info, trusted: Keyring, signer: Keyring) -> None:
    own = (signer.primary.suite, signer.primary.key_id)
    kept = [
        f"{each.key_id} ({each.suite})"
        for each in info.signatures
        if (each.suite, each.key_id) != own and (each.key_id not in info.trusted_key_ids or trusted.find(each.suite, each.key_id) is None)
    ]
    if kept:
        said = f"kept signatures that were not verified, since --trust does not name their keys: {', '.join(kept)}; --drop-unverified leaves them out"
        print(f"{escaped(path)}: {said}", file=sys.stderr)
