"""The reference tool of OpenSSF Model Signing itself: what it signs we verify, and what we write it signs and verifies.

It needs `pip install "safepickle-ml[openssf]"`. The tool runs in processes of its own, as its users run it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import safepickle
from safepickle import AuthenticationError, FormatError, Keyring, UnknownKeyError, container, openssf
from safepickle.keys import ECDSA_P256, PrivateKey

if importlib.util.find_spec("model_signing") is None:
    # Run by itself, this file then ends with the exit code 5 of pytest: nothing was tested.
    pytest.skip("model_signing is not installed: pip install 'safepickle-ml[openssf]'", allow_module_level=True)

KEY = PrivateKey.generate(ECDSA_P256)
OTHER = PrivateKey.generate(ECDSA_P256)


def tool(*arguments: Any, cwd: Path | None = None, expect: int = 0) -> str:
    """Run the tool. If it is installed and does not start, that is a failure and no reason to skip."""
    command = [sys.executable, "-m", "model_signing", *map(str, arguments)]
    # Its locale must read the names of files, and nothing of it may ask the network.
    environment = {**os.environ, "PYTHONUTF8": "1", "NO_PROXY": "", "HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", cwd=cwd, env=environment, timeout=120)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with the keys as PEM, made by us."""
    folder = tmp_path / "keys"
    folder.mkdir()
    (folder / "signer").write_bytes(KEY.to_pem())
    (folder / "signer.pub").write_bytes(KEY.public_key().to_pem())
    (folder / "other").write_bytes(OTHER.to_pem())
    (folder / "other.pub").write_bytes(OTHER.public_key().to_pem())
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "models" / "model.spkl"
    path.parent.mkdir()
    safepickle.dump({"weights": [0.5, -1.5]}, path, key=KEY, context="interop", serial=3)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Several files of ours, one below, names with blanks and beyond ASCII, and a file that is not ours."""
    path = tmp_path / "folder"
    (path / "sub" / "deeper").mkdir(parents=True)
    for name in ("a.spkl", "sub/b c.spkl", "sub/deeper/größe.spkl", "z.spkl"):
        safepickle.dump({"name": name, "weights": list(range(100))}, path / name, key=KEY)
    (path / "README.md").write_text("# models")
    (path / ".gitignore").write_text("*.tmp")
    return path


def both(path: Path, bundle: Path, *, name: str | None = None, by: PrivateKey = KEY) -> openssf.BundleInfo:
    """Verify a container and its bundle in one pass, with a keyring that holds only public keys."""
    ring = Keyring(None, by.public_key())
    opened = openssf.authenticate(openssf.read_bundle(bundle), openssf.bundle_keys(ring))
    with path.open("rb") as file:
        reader: Any = opened.reader(file, name or path.name)
        assert container.verify(reader, Keyring(None, KEY.public_key())).authenticated
        info: openssf.BundleInfo = reader.finish()
    return info


def test_the_version_of_the_tool_is_told():
    version = importlib.metadata.version("model-signing")
    assert version in tool("--version")
    assert tuple(map(int, version.split(".")[:2])) >= (1, 1)


def test_a_file_of_ours_is_signed_and_verified_by_the_tool_with_a_key_of_ours(keys: Path, model: Path):
    """The tool's own defaults: `model.sig` in the working folder."""
    before = model.read_bytes()
    assert "Signing succeeded" in tool("sign", "key", model.name, "--private_key", keys / "signer", cwd=model.parent)
    bundle = model.parent / "model.sig"
    assert openssf.find_bundle(model) == str(bundle)
    assert "Verification succeeded" in tool("verify", "key", model, "--public_key", keys / "signer.pub", "--signature", bundle)
    assert "Verification failed" in tool("verify", "key", model, "--public_key", keys / "other.pub", "--signature", bundle, expect=1)
    assert model.read_bytes() == before
    info = both(model, bundle)
    assert (info.name, info.model_name, info.key_id, info.file_bytes) == (".", "model.spkl", KEY.key_id, len(before))
    assert safepickle.load(model, key=KEY.public_key(), context="interop", min_serial=3) == {"weights": [0.5, -1.5]}


def test_a_renamed_file_still_has_its_bundle_as_the_tool_has_it(keys: Path, model: Path):
    bundle = model.parent / "model.sig"
    tool("sign", "key", model, "--private_key", keys / "signer", "--signature", bundle)
    renamed = model.rename(model.with_name("renamed.spkl"))
    tool("verify", "key", renamed, "--public_key", keys / "signer.pub", "--signature", bundle)
    assert both(renamed, bundle).model_name == "model.spkl"


def test_we_and_the_tool_refuse_the_same_of_one_file(keys: Path, model: Path, tmp_path: Path):
    """A changed file, a changed bundle, the bundle of another file, another key: each is refused by both, and by us with its class."""
    bundle, another = model.parent / "model.sig", tmp_path / "another.sig"
    tool("sign", "key", model, "--private_key", keys / "signer", "--signature", bundle)
    good, content = bundle.read_bytes(), model.read_bytes()
    elsewhere = tmp_path / "another.spkl"
    safepickle.dump([1, 2], elsewhere, key=KEY)
    tool("sign", "key", elsewhere, "--private_key", keys / "signer", "--signature", another)

    def refused(expected: type[Exception], message: str, by: PrivateKey = KEY, *, tool_too: bool = True) -> None:
        public = keys / ("signer.pub" if by is KEY else "other.pub")
        if tool_too:
            tool("verify", "key", model, "--public_key", public, "--signature", bundle, expect=1)
        with pytest.raises(expected, match=message) as caught:
            openssf.verify_bundle(openssf.read_bundle(bundle), model, keys=[by.public_key()])
        assert type(caught.value) is expected
        bundle.write_bytes(good)
        model.write_bytes(content)

    model.write_bytes(content[:-1] + bytes((content[-1] ^ 1,)))
    refused(AuthenticationError, "does not have the SHA-256")
    bundle.write_bytes(another.read_bytes())
    refused(AuthenticationError, "does not have the SHA-256")
    refused(UnknownKeyError, "you trust", OTHER)
    value = json.loads(good)
    payload = value["dsseEnvelope"]["payload"]
    value["dsseEnvelope"]["payload"] = payload[:40] + ("A" if payload[40] != "A" else "B") + payload[41:]
    bundle.write_text(json.dumps(value))
    refused(AuthenticationError, "does not hold")
    value = json.loads(good)
    value["dsseEnvelope"]["payloadType"] = "application/json"
    bundle.write_text(json.dumps(value))
    refused(FormatError, "'application/json'")
    value = json.loads(good)
    value["dsseEnvelope"]["signatures"].append(json.loads(another.read_bytes())["dsseEnvelope"]["signatures"][0])
    bundle.write_text(json.dumps(value))
    # The tool looks at the first and passes over the rest.
    refused(FormatError, "exactly one", tool_too=False)
    assert both(model, bundle).listed == 1


def test_every_file_of_a_folder_that_the_tool_signed_is_verified_against_its_one_bundle(keys: Path, folder: Path):
    bundle = folder / "model.sig"
    tool("sign", "key", folder, "--private_key", keys / "signer", "--signature", bundle)
    tool("verify", "key", folder, "--public_key", keys / "signer.pub", "--signature", bundle)
    done = set()
    for path in sorted(folder.rglob("*.spkl")):
        info = both(path, bundle, name=openssf.resource_name(path, folder))
        assert (info.listed, info.model_name) == (5, "folder")
        done.add(info.name)
    assert done == {"a.spkl", "sub/b c.spkl", "sub/deeper/größe.spkl", "z.spkl"}
    opened = openssf.authenticate(openssf.read_bundle(bundle), openssf.bundle_keys(None, [KEY.public_key()]))
    assert openssf.check_rest(opened, folder, done) == 1
    with pytest.raises(AuthenticationError, match="does not have the SHA-256"):
        both(folder / "a.spkl", bundle, name="z.spkl")
    (folder / "README.md").unlink()
    tool("verify", "key", folder, "--public_key", keys / "signer.pub", "--signature", bundle, expect=1)
    assert both(folder / "a.spkl", bundle).name == "a.spkl", "asked about one file, the others are not looked at"
    with pytest.raises(AuthenticationError, match=r"'README\.md' is missing"):
        openssf.check_rest(opened, folder, done)
    safepickle.dump({"name": "added"}, folder / "added.spkl", key=KEY)
    with pytest.raises(AuthenticationError, match=r"does not list 'added\.spkl'"):
        both(folder / "added.spkl", bundle)


@pytest.mark.parametrize("place", ["inside", "beside"])
def test_the_bundle_of_a_folder_lies_in_it_or_beside_it(place: str, keys: Path, folder: Path):
    if place == "inside":
        tool("sign", "key", ".", "--private_key", keys / "signer", cwd=folder)
        bundle = folder / "model.sig"
    else:
        tool("sign", "key", folder.name, "--private_key", keys / "signer", cwd=folder.parent)
        bundle = folder.parent / "model.sig"
    assert both(folder / "z.spkl", bundle).listed == 5


@pytest.mark.parametrize("curve", ["SECP384R1", "SECP521R1"])
def test_keys_on_the_other_curves_of_the_tool_are_understood(curve: str, tmp_path: Path, model: Path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(getattr(ec, curve)())
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "key").write_bytes(private.private_bytes(serialization.Encoding.PEM, *form))
    public = tmp_path / "key.pub"
    public.write_bytes(private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    public.chmod(0o644)
    bundle = tmp_path / "model.sig"
    tool("sign", "key", model, "--private_key", tmp_path / "key", "--signature", bundle)
    key = openssf.BundleKey.read(public)
    assert openssf.verify_bundle(openssf.read_bundle(bundle), model, keys=[KEY.public_key(), key]).curve == key.curve


def test_files_signed_again_need_a_new_bundle(keys: Path, model: Path, tmp_path: Path):
    """A bundle is over every byte, our signatures included: sign with safepickle first, with the tool last."""
    bundle = tmp_path / "model.sig"
    tool("sign", "key", model, "--private_key", keys / "signer", "--signature", bundle)
    safepickle.sign(model, key=OTHER, signed_by=KEY)
    with pytest.raises(AuthenticationError, match="does not have the SHA-256"):
        both(model, bundle)
    tool("sign", "key", model, "--private_key", keys / "other", "--signature", bundle)
    assert both(model, bundle, by=OTHER).key_id == OTHER.key_id
