"""The models that are timed, made anew and always the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.datasets import load_iris, make_classification
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier


def linear() -> Any:
    """25,000 outputs of 2,000 columns: 400 MB of coefficients, from few rows so that the fit is short."""
    rng = np.random.default_rng(0)
    return LinearRegression().fit(rng.random((16, 2_000)), rng.random((16, 25_000)))


def neighbors() -> Any:
    """A k-d tree over 800,000 points of 15 coordinates: 100 MB."""
    rng = np.random.default_rng(0)
    return KNeighborsClassifier(algorithm="kd_tree").fit(rng.random((800_000, 15)), rng.integers(0, 3, 800_000))


def forest() -> Any:
    """100 trees on 20,000 rows of 20 columns: about 270,000 nodes, 21 MB."""
    x, y = make_classification(20_000, 20, n_informative=10, random_state=0)
    return RandomForestClassifier(100, random_state=0, n_jobs=2).fit(x, y)


def boosting() -> Any:
    """300 iterations on 10,000 rows of 20 columns: 300 small arrays of nodes, 1 MB."""
    x, y = make_classification(10_000, 20, n_informative=10, random_state=0)
    return HistGradientBoostingClassifier(max_iter=300, early_stopping=False, random_state=0).fit(x, y)


def terms() -> Any:
    """A vocabulary of 290,000 terms: a dict of as many strings and integers, 8 MB."""
    documents = (" ".join(f"term{number}" for number in range(first, first + 1_000)) for first in range(0, 290_000, 1_000))
    return TfidfVectorizer().fit(documents)


def iris() -> Any:
    """A decision tree of 17 nodes: 3 kB, so what is fixed about a call shows."""
    return DecisionTreeClassifier(random_state=0).fit(*load_iris(return_X_y=True))


MODELS: dict[str, Callable[[], Any]] = {
    "linear": linear,
    "knn": neighbors,
    "forest": forest,
    "histgb": boosting,
    "tfidf": terms,
    "iris": iris,
}
