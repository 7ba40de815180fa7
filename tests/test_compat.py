"""What each version wrote is read for ever: signed files, keys, keyrings, pins, locks, baselines and policies in `compat/VERSION`."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from optional import HAS_ZSTD, NEEDS_MLDSA

import safepickle
from safepickle import Keyring, Pins, Policy, baseline, container, lockfile, policy
from safepickle.keys import ECDSA_P256, ED25519, HYBRID
from safepickle.machine import trace

np = pytest.importorskip("numpy")
pytest.importorskip("sklearn", reason="the values that were written are made here, with those of the models")
import make_compat  # noqa: E402 - it imports scikit-learn
import sklearn  # noqa: E402

VERSIONS = sorted(path.name for path in make_compat.FOLDER.iterdir() if (path / "SHA256SUMS").is_file())
PAIRS = [
    ED25519,
    pytest.param(HYBRID, marks=NEEDS_MLDSA),
    ECDSA_P256,
]
MODELS = ("logistic", "forest", "boosting", "pipeline")


@pytest.fixture(params=VERSIONS)
def folder(request, tmp_path):
    """A copy that only this user can write, as keys and keyrings must be; a checkout may leave them to the group."""
    copied = tmp_path / "compat"
    copied.mkdir(mode=0o700)
    for path in (make_compat.FOLDER / request.param).iterdir():
        shutil.copyfile(path, copied / path.name)
        (copied / path.name).chmod(0o600)
    return copied


def same(found: Any, wanted: Any) -> None:
    """Fail unless two values are equal, and of the same types all the way down."""
    assert type(found) is type(wanted)
    if isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for key, value in wanted.items():
            same(found[key], value)
    elif isinstance(wanted, (list, tuple)):
        assert len(found) == len(wanted)
        for each, other in zip(found, wanted, strict=True):
            same(each, other)
    elif isinstance(wanted, np.ndarray):
        assert (found.dtype, found.shape, found.flags.f_contiguous) == (wanted.dtype, wanted.shape, wanted.flags.f_contiguous)
        np.testing.assert_array_equal(found, wanted)
    else:
        assert repr(found) == repr(wanted)


def test_this_version_has_left_its_files():
    """Before a release: `python tests/make_compat.py`."""
    assert safepickle.__version__ in VERSIONS


def test_nothing_was_written_again(folder: Path):
    listed = dict(reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text("utf-8").splitlines())
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.name != "SHA256SUMS"} == listed
    with pytest.raises(SystemExit, match="never written again"):
        make_compat.main()


@pytest.mark.parametrize("name", ["plain", "plain-all-fields"])
def test_values_of_python_come_back(folder: Path, name: str):
    same(safepickle.load(folder / f"{name}.spkl", key=f"file:{folder}/secret.key"), make_compat.plain())


def test_every_field_of_the_header_comes_back(folder: Path):
    info = safepickle.verify(folder / "plain-all-fields.spkl", key=f"file:{folder}/secret.key", context=make_compat.CONTEXT, min_serial=7)
    assert (info.context, info.serial, info.metadata) == (make_compat.CONTEXT, 7, {"auc": 0.97, "by": ["é", None]})
    assert info.expires == make_compat.EXPIRES


@pytest.mark.parametrize("how", [None, "zlib", "zstd"])
def test_arrays_come_back(folder: Path, how: str | None):
    if how == "zstd" and not HAS_ZSTD:
        pytest.skip("nothing here decompresses zstd")
    path = folder / (f"arrays-{how}.spkl" if how else "arrays.spkl")
    key = f"file:{folder}/secret.key"
    assert safepickle.verify(path, key=key).compression == how
    same(safepickle.load(path, key=key, on_version_mismatch="ignore"), make_compat.arrays())
    if how is None:
        same(safepickle.load(path, key=key, on_version_mismatch="ignore", mmap=True), make_compat.arrays())


@pytest.mark.parametrize("suite", PAIRS)
def test_files_of_every_suite_load_with_every_form_of_the_key(folder: Path, suite: str):
    forms = ["pub", "key", *(["pub.pem", "key.pem"] if suite != HYBRID else [])]
    ids = set()
    for form in forms:
        key = safepickle.read_key(f"file:{folder}/{suite}.{form}")
        ids.add(key.key_id)
        same(safepickle.load(folder / f"{suite}.spkl", key=key), make_compat.plain())
    assert len(ids) == 1


def test_a_keyring_a_threshold_and_pins_hold(folder: Path):
    ring = Keyring.read(folder / "keyring.toml")
    assert [each.name for each in ring.members] == ["trainer", "key-1"]
    assert ring.denied == {"0123456789abcdef"}
    info = safepickle.verify(folder / "two-signatures.spkl", key=ring, threshold=2)
    assert len(info.trusted_key_ids) == 2
    pins = Pins.read(folder / "pins.toml")
    pins.check(info)
    pins.check(safepickle.verify(folder / "logistic.spkl", key=ring))
    with pytest.raises(safepickle.AuthenticationError):
        pins.check(safepickle.verify(folder / "forest.spkl", key=ring))
    assert Keyring.read(rewritten(folder / "keyring.toml", ring)).to_text() == ring.to_text()
    assert Pins.read(rewritten(folder / "pins.toml", pins)) == pins


def test_a_lock_and_a_baseline_hold(folder: Path):
    lock = lockfile.Lock.read(folder / "safepickle.lock")
    assert list(lock.findings([str(folder / "logistic.spkl"), str(folder / "two-signatures.spkl")])) == []
    assert len(list(lock.findings([str(folder / "forest.spkl")]))) == 1
    accepted = baseline.Baseline.read(folder / "baseline.json")
    assert [(each.path, each.rule) for each in accepted.entries] == [("old/model.pkl", "unsigned")]
    assert lockfile.Lock.read(rewritten(folder / "safepickle.lock", lock)) == lock
    assert baseline.Baseline.read(rewritten(folder / "baseline.json", accepted)) == accepted


def rewritten(path: Path, value: Any) -> Path:
    path.unlink()
    value.write(path)
    return path


def test_a_policy_holds(folder: Path):
    read = Policy.read(folder / "policy.toml")
    assert read.packs == ("python", "numpy")
    assert ("mycorp", "Clip") in read.rules


@pytest.mark.parametrize("name", MODELS)
def test_the_policy_admits_the_models(folder: Path, name: str):
    """Whatever scikit-learn is installed: names are matched, and nothing is imported."""
    opened = container.open(folder / f"{name}.spkl", Keyring.read(folder / "keyring.toml"))
    admitted = policy.admit(trace(opened.program, buffers=opened.buffers), Policy.default())
    assert "sklearn" in admitted.libraries
    assert opened.info.context == f"{name}/prod"


@pytest.mark.parametrize("name", MODELS)
def test_the_models_predict_what_they_did(folder: Path, name: str):
    answers = json.loads((folder / "answers.json").read_text("utf-8"))
    if answers["sklearn"].split(".")[:2] != sklearn.__version__.split(".")[:2]:
        pytest.skip(f"scikit-learn does not promise to load models of {answers['sklearn']}")
    model = safepickle.load(folder / f"{name}.spkl", key=f"keyring:{folder}/keyring.toml", context=f"{name}/prod", on_version_mismatch="ignore")
    given = np.array(answers["models"][name]["given"], dtype=object if name == "pipeline" else None)
    np.testing.assert_allclose(model.predict(given), answers["models"][name]["predicted"])
