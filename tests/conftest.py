"""Keys and models that many tests share. Everything random is fixed, so a failure happens again."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

import safepickle
from safepickle import Keyring, SecretKey


@pytest.fixture(scope="session")
def key() -> SecretKey:
    return SecretKey.from_bytes(hashlib.sha256(b"the key of the tests").digest())


@pytest.fixture(scope="session")
def other_key() -> SecretKey:
    return SecretKey.from_bytes(hashlib.sha256(b"another key of the tests").digest())


@pytest.fixture(scope="session")
def keyring(key: SecretKey) -> Keyring:
    return Keyring(key)


@pytest.fixture(scope="session")
def tree() -> Any:
    from sklearn.datasets import load_iris
    from sklearn.tree import DecisionTreeClassifier

    iris = load_iris()
    return DecisionTreeClassifier(random_state=0).fit(iris.data, iris.target)


@pytest.fixture(scope="session")
def frame() -> Any:
    import pandas

    return pandas.DataFrame(
        {"amount": [1.0, 20.5, 3.25, 80.0, 7.5, 60.0], "country": ["de", "fr", "de", "jp", "fr", "jp"], "age": [31, 45, 27, 60, 38, 52]}
    )


@pytest.fixture(scope="session")
def pipeline(frame: Any) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = ColumnTransformer([("number", StandardScaler(), ["amount", "age"]), ("category", OneHotEncoder(), ["country"])])
    return make_pipeline(columns, LogisticRegression()).fit(frame, [0, 1, 0, 1, 0, 1])


@pytest.fixture(scope="session")
def signed_models(key: SecretKey, tree: Any, pipeline: Any) -> dict[str, bytes]:
    """The two models of the tamper tests, each as a signed container with metadata, context and serial."""
    return {
        name: safepickle.dumps(model, key=key, context="iris/prod", serial=7, metadata={"accuracy": 0.97})
        for name, model in {"tree": tree, "pipeline": pipeline}.items()
    }
