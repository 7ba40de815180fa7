"""Writes the files that this version leaves to all later ones: `python tests/make_compat.py`, once for each version.

They go to `compat/VERSION` and stay for ever: what stands there is never written again, so that no later change of a writer hides what
readers must still read. `test_compat.py` reads them, and holds what they contain in a form that no model is needed for.
"""

from __future__ import annotations

import datetime
import decimal
import hashlib
import json
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import safepickle
from safepickle import Keyring, Pins, PrivateKey, SecretKey, Trusted, baseline, lockfile
from safepickle.keys import ECDSA_P256, ED25519, HYBRID

FOLDER = Path(__file__).resolve().parent / "compat"
CONTEXT = "fraud-model/prod é☃😀"
# Times lie before the year 10000, and this is to be read for ever.
EXPIRES = datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC)

_README = """What safepickle {} wrote: signed files, keys, a keyring, pins, a lock, a baseline and a policy.

Every later version reads them: tests/test_compat.py. They were written once, by tests/make_compat.py, and are never written again.
The keys are known to everybody. They sign nothing else; never trust them.
"""


def plain() -> dict[str, Any]:
    """What Python alone has: the same on every release."""
    return {
        "numbers": [0, -1, 255, 1 << 31, 1 << 63, -(1 << 64), 1 << 300, 1.5, -0.0, 1e-300, float("inf")],
        "text": ["", "é☃😀", "x" * 300, "\0\n"],
        "bytes": [b"", bytes(range(256)), bytearray(b"abc")],
        "truth": (True, False, None, ...),
        "sets": [{1, 2, 3}, frozenset("ab")],
        "nested": {"a": {"b": [(), ((),), [[]]]}},
        "library": [OrderedDict(a=1), decimal.Decimal("1.10"), datetime.date(2026, 11, 29), datetime.timedelta(days=1, seconds=2)],
        "complex": 1 + 2j,
        "range": range(3),
    }


def arrays() -> dict[str, Any]:
    """What numpy has: the same from 1.26 on."""
    records = np.array([(1, 2.5, b"ab"), (3, 4.5, b"c")], dtype=[("n", "<i4"), ("x", ">f8"), ("t", "S2")])
    return {
        "f8": np.arange(1200, dtype="f8").reshape(30, 40),
        "fortran": np.asfortranarray(np.arange(12, dtype="i2").reshape(3, 4)),
        "big endian": np.arange(5, dtype=">u4"),
        "empty": np.empty((0, 3), dtype="c16"),
        "bool": np.array([True, False]),
        "text": np.array(["a", "éé"]),
        "objects": np.array([None, "a", 1], dtype=object),
        "dates": np.array(["2026-11-29", "NaT"], dtype="M8[D]"),
        "records": records,
        "scalar": np.float32(1.5),
        "zero-dimensional": np.array(7, dtype="i8"),
    }


def models() -> dict[str, tuple[Any, Any]]:
    """Each fitted, with a few rows for it."""
    rows, kinds = load_iris(return_X_y=True)
    more, numbers = load_diabetes(return_X_y=True)
    table = np.array([["a", 1.0], ["b", 2.5], ["a", 3.0], ["c", 0.5]] * 5, dtype=object)
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), [0]), (StandardScaler(), [1]))
    return {
        "logistic": (LogisticRegression(max_iter=500).fit(rows, kinds), rows[::30]),
        "forest": (RandomForestClassifier(n_estimators=3, max_depth=3, random_state=0).fit(rows, kinds), rows[::30]),
        "boosting": (HistGradientBoostingRegressor(max_iter=3, random_state=0).fit(more, numbers), more[::100]),
        "pipeline": (make_pipeline(columns, LogisticRegression()).fit(table, [0, 1, 0, 1] * 5), table[:4]),
    }


def main() -> None:
    folder = FOLDER / safepickle.__version__
    if folder.exists():
        sys.exit(f"{folder} is there, and is never written again")
    folder.mkdir(parents=True)
    secret = SecretKey.generate()
    pairs = {suite: PrivateKey.generate(suite) for suite in (ED25519, HYBRID, ECDSA_P256)}
    (folder / "secret.key").write_text(f"{secret.to_text()}\n", "utf-8")
    for suite, pair in pairs.items():
        (folder / f"{suite}.key").write_text(f"{pair.to_text()}\n", "utf-8")
        (folder / f"{suite}.pub").write_text(f"{pair.public_key().to_text()}\n", "utf-8")
        if suite != HYBRID:
            # There is no such form of two keys in one.
            (folder / f"{suite}.key.pem").write_bytes(pair.to_pem())
            (folder / f"{suite}.pub.pem").write_bytes(pair.public_key().to_pem())
    trainer, approver = pairs[ED25519], pairs[ECDSA_P256]

    def write(name: str, value: Any, key: Any = secret, **options: Any) -> None:
        safepickle.dump(value, folder / f"{name}.spkl", key=key, **options)

    write("plain", plain())
    write("plain-all-fields", plain(), context=CONTEXT, serial=7, expires=EXPIRES, metadata={"auc": 0.97, "by": ["é", None]})
    write("arrays", arrays())
    write("arrays-zlib", arrays(), compress="zlib")
    write("arrays-zstd", arrays(), compress="zstd")
    for suite, pair in pairs.items():
        write(suite, plain(), pair)
    write("two-signatures", plain(), trainer, serial=1, context="iris/prod")
    safepickle.sign(folder / "two-signatures.spkl", key=approver, signed_by=trainer.public_key())
    answers = {}
    for name, (model, given) in models().items():
        write(name, model, trainer, context=f"{name}/prod", serial=1)
        answers[name] = {"given": given.tolist(), "predicted": model.predict(given).tolist()}
    written = {"sklearn": sklearn.__version__, "models": answers}
    (folder / "answers.json").write_text(json.dumps(written, indent=1) + "\n", "utf-8")

    ring = Keyring(None, Trusted(trainer.public_key(), name="trainer", not_after=EXPIRES), approver.public_key(), denied=["0123456789abcdef"])
    ring.write(folder / "keyring.toml")
    info = safepickle.verify(folder / "two-signatures.spkl", key=ring, threshold=2)
    Pins().updated(info).updated(safepickle.verify(folder / "logistic.spkl", key=ring), exact=True).write(folder / "pins.toml")
    names = ("two-signatures.spkl", "logistic.spkl")
    lockfile.Lock({name: lockfile.verified(folder / name, ring)[0] for name in names}).write(folder / "safepickle.lock")
    accepted = baseline.Accepted("old/model.pkl", "unsigned", "0" * 64, baseline.fingerprint("unsigned", "not signed"), "not signed")
    baseline.Baseline(frozenset({accepted})).write(folder / "baseline.json")
    (folder / "policy.toml").write_text(
        "packs = ['python', 'numpy']\n\n[[rule]]\nnames = ['mycorp:Clip']\nverbs = ['new', 'state']\nreason = 'Two numbers.'\n", "utf-8"
    )
    (folder / "README.txt").write_text(_README.format(safepickle.__version__), "utf-8")
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / "SHA256SUMS").write_text("".join(sums), "utf-8")


if __name__ == "__main__":
    main()
