"""`safepickle demo`: train, sign, load in another process and compare predictions; then try to get bad files in.

Every refusal that it shows is checked: if one did not happen, the exit code is 1.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy
import pandas
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from . import container
from .errors import AuthenticationError, KeyringError, PolicyError, SafePickleError, UnknownKeyError, UnsignedError
from .keyring import as_keyring
from .keys import SecretKey
from .pickling import dump, load

__all__ = ["HouseRules", "run", "serve"]

KEY_VARIABLE: Final = "SAFEPICKLE_DEMO_KEY"
CONTEXT: Final = "demo/prod"


class HouseRules:
    """A class of one's own, which no built-in rule names."""

    def __init__(self) -> None:
        self.threshold = 0.5


def run() -> int:
    """Run the demo and return its exit code: 0 if every model came through and every attack was refused."""
    started = time.perf_counter()
    previous = os.environ.get(KEY_VARIABLE)
    os.environ[KEY_VARIABLE] = SecretKey.generate().to_text()
    try:
        with tempfile.TemporaryDirectory(prefix="safepickle-demo-") as folder:
            good = _show_models(Path(folder))
            good = _show_refusals(Path(folder)) and good
    finally:
        if previous is None:
            del os.environ[KEY_VARIABLE]
        else:
            os.environ[KEY_VARIABLE] = previous
    print(f"\n{'All as promised' if good else 'NOT ALL AS PROMISED'}, in {time.perf_counter() - started:.1f} s.")
    return 0 if good else 1


def serve(folder: str) -> None:
    """Load every model in the folder and print its predictions as JSON: what the serving process does."""
    answers = {}
    for name, inputs in _inputs().items():
        model = load(Path(folder, f"{name}.spkl"), key=f"env:{KEY_VARIABLE}", context=CONTEXT, min_serial=1)
        answers[name] = _predictions(model, inputs)
    json.dump({"pid": os.getpid(), "answers": answers}, sys.stdout)


def _orders() -> pandas.DataFrame:
    rng = numpy.random.default_rng(7)
    words = ["late", "broken", "thanks", "great", "refund", "fast", "never", "again"]
    return pandas.DataFrame(
        {
            "text": [" ".join(rng.choice(words, 4)) for _ in range(120)],
            "amount": rng.gamma(2.0, 30.0, 120),
            "country": pandas.Categorical(rng.choice(["de", "fr", "jp"], 120)),
        }
    )


def _inputs() -> dict[str, Any]:
    return {"list": None, "tree": load_iris().data, "forest": load_iris().data, "pipeline": _orders()}


def _models() -> dict[str, Any]:
    iris = load_iris()
    orders = _orders()
    columns = ColumnTransformer(
        [("text", TfidfVectorizer(), "text"), ("number", StandardScaler(), ["amount"]), ("category", OneHotEncoder(), ["country"])]
    )
    return {
        "list": [1, "two", 3.0, None, {"four": (4,)}],
        "tree": DecisionTreeClassifier(random_state=0).fit(iris.data, iris.target),
        "forest": RandomForestClassifier(100, random_state=0).fit(iris.data, iris.target),
        "pipeline": make_pipeline(columns, LogisticRegression()).fit(orders, orders["text"].str.contains("refund")),
    }


def _predictions(model: Any, inputs: Any) -> Any:
    return json.loads(json.dumps(model)) if inputs is None else model.predict_proba(inputs).tolist()


def _show_models(folder: Path) -> bool:
    print("Trained and signed here, loaded in another process:")
    models = _models()
    for name, model in models.items():
        dump(model, folder / f"{name}.spkl", key=f"env:{KEY_VARIABLE}", context=CONTEXT, serial=1, metadata={"model": name})
    child = subprocess.run(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-c", "import sys; from safepickle.demo import serve; serve(sys.argv[1])", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if child.returncode:
        print(child.stderr, file=sys.stderr)
        return False
    served = json.loads(child.stdout)
    all_same = served["pid"] != os.getpid()
    for name, inputs in _inputs().items():
        same = bool(served["answers"][name] == _predictions(models[name], inputs))
        all_same &= same
        size = (folder / f"{name}.spkl").stat().st_size
        print(
            f"  {'ok' if same else 'DIFFERENT':<4}{name:<10}{type(models[name]).__name__:<26}{size:>9,} bytes, "
            f"{'identical' if same else 'other'} predictions"
        )
    return bool(all_same)


class _Hostile:
    """What a thief of the key would sign: a program that runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f'echo owned > "{self.marker}"',)


def _show_refusals(folder: Path) -> bool:
    print("\nAnd what must not get in:")
    key = f"env:{KEY_VARIABLE}"
    tree = folder / "tree.spkl"
    marker = folder / "owned"

    flipped = bytearray(tree.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    (folder / "flipped.spkl").write_bytes(flipped)

    program = pickle.dumps(_Hostile(marker), protocol=5)
    (folder / "hostile.spkl").write_bytes(b"".join(container.seal(program, [], as_keyring(key))))
    (folder / "plain.pkl").write_bytes(pickle.dumps(_Hostile(marker)))

    attempts: list[tuple[str, type[SafePickleError], str, Callable[[], Any]]] = [
        ("one flipped byte", AuthenticationError, "SHA-256", lambda: load(folder / "flipped.spkl", key=key)),
        ("another key", UnknownKeyError, "you trust", lambda: load(tree, key=SecretKey.generate())),
        ("no key", KeyringError, "is not set", lambda: load(tree, key="env:SAFEPICKLE_DEMO_KEY_THAT_IS_NOT_SET")),
        ("a plain pickle", UnsignedError, "without any signature", lambda: load(folder / "plain.pkl", key=key)),
        ("a hostile pickle, signed with the right key", PolicyError, "system", lambda: load(folder / "hostile.spkl", key=key)),
        (
            "a class outside the policy, refused when it is written",
            PolicyError,
            "safepickle.demo:HouseRules",
            lambda: dump(HouseRules(), folder / "own.spkl", key=key),
        ),
        ("a file of another context", AuthenticationError, "fraud/prod", lambda: load(tree, key=key, context="fraud/prod")),
    ]
    good = True
    for what, expected, text, attempt in attempts:
        good &= _show_refusal(what, expected, text, attempt)
    ran = marker.exists()
    print(f"  {'FAILED: the hostile program ran' if ran else 'No hostile program ran.'}")
    return good and not ran


def _show_refusal(what: str, expected: type[SafePickleError], text: str, attempt: Callable[[], Any]) -> bool:
    try:
        attempt()
    except SafePickleError as error:
        as_expected = type(error) is expected and text in str(error)
        print(
            f"  {'refused' if as_expected else 'REFUSED OTHERWISE':<9}{what}\n"
            + "\n".join(f"             {line}" for line in f"{type(error).__name__}: {error}".splitlines() if line)
        )
        return as_expected
    print(f"  NOT REFUSED: {what}")
    return False
