"""The models that are timed, made anew and always the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier


def forest() -> Any:
    """100 trees on 20,000 rows of 20 columns: about 270,000 nodes, 21 MB."""
    x, y = make_classification(20_000, 20, n_informative=10, random_state=0)
    return RandomForestClassifier(100, random_state=0, n_jobs=2).fit(x, y)


def neighbors() -> Any:
    """A k-d tree over 800,000 points of 15 coordinates: 100 MB."""
    rng = np.random.default_rng(0)
    return KNeighborsClassifier(algorithm="kd_tree").fit(rng.random((800_000, 15)), rng.integers(0, 3, 800_000))


MODELS: dict[str, Callable[[], Any]] = {"forest": forest, "knn": neighbors}
