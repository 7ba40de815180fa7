"""The corpus: what people put into a pickle file, as named cases that are built only when asked for.

- `estimators`: every class of `sklearn.utils.all_estimators()`, fitted. `UNFIT` says which cannot be, and why.
- `variants`: one parameter away from the default: losses, kernels, metrics, solvers, dtypes, random states, callables.
- `composites`: what a project really saves: column transformers over data frames, searches, stacks, text, labels.
- `values`: numpy, scipy, pandas and standard library values on their own.
- `outside`: what the default policy must refuse, each with the name that the refusal tells.

A case that the installed versions lack is not generated. Data is small and fixed.
"""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import fractions
import functools
import importlib.util
import inspect
import ipaddress
import itertools
import operator
import pathlib
import random
import re
import tempfile
import types
import uuid
import warnings
import zoneinfo
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import joblib
import numpy as np
import pandas as pd
import scipy
import scipy.interpolate
import scipy.optimize
import scipy.sparse as sp
import scipy.spatial
import scipy.special
import scipy.stats as st
import sklearn
from sklearn.experimental import enable_halving_search_cv, enable_iterative_imputer  # noqa: F401 - they make two classes importable

from sklearn.base import is_regressor  # isort: skip
from sklearn import (
    calibration,
    cluster,
    compose,
    cross_decomposition,
    decomposition,
    discriminant_analysis,
    dummy,
    ensemble,
    feature_extraction,
    feature_selection,
    gaussian_process,
    impute,
    isotonic,
    kernel_approximation,
    kernel_ridge,
    linear_model,
    manifold,
    metrics,
    mixture,
    model_selection,
    multiclass,
    multioutput,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    random_projection,
    semi_supervised,
    svm,
    tree,
)
from sklearn.feature_extraction import text
from sklearn.gaussian_process import kernels as gp
from sklearn.metrics import pairwise
from sklearn.utils import all_estimators

GROUPS = ("estimators", "variants", "composites", "values", "outside")

UNFIT: dict[str, str] = {}
"""Classes of `all_estimators()` that cannot be fitted and pickled by anyone, and why."""


def version_of(module: Any) -> tuple[int, int]:
    major, minor = module.__version__.split(".")[:2]
    return int(major), int(re.match(r"\d+", minor)[0])


SKLEARN, NUMPY, SCIPY, PANDAS = (version_of(module) for module in (sklearn, np, scipy, pd))
ARROW = importlib.util.find_spec("pyarrow") is not None


@dataclass(frozen=True, slots=True)
class Case:
    """A named object and the inputs that its methods take."""

    group: str
    name: str
    make: Callable[[], tuple[Any, Any]] = field(repr=False)
    refused: str = ""
    """For `outside`: what the refusal tells."""

    @property
    def id(self) -> str:
        return f"{self.group}:{self.name}"

    def build(self) -> tuple[Any, Any]:
        """Return the fitted object and inputs, or None for those. Made anew on every call, always the same."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            np.random.seed(0)
            random.seed(0)
            return self.make()


# --- data ------------------------------------------------------------------------------------------------------

N = 60
_WORDS = [
    "amber",
    "basil",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grape",
    "hazel",
    "ivory",
    "jade",
    "kiwi",
    "lemon",
    "maple",
    "noble",
    "olive",
    "pearl",
]


def _rng() -> np.random.RandomState:
    return np.random.RandomState(7)


def _dense() -> np.ndarray:
    return _rng().rand(N, 4) * 4


def _classes(count: int = 3) -> np.ndarray:
    return np.arange(N) % count


def _target() -> np.ndarray:
    return _dense() @ [1.0, -2.0, 0.5, 3.0] + 0.1 * _rng().randn(N) + 20


def _documents() -> list[str]:
    rng = _rng()
    return [" ".join(rng.choice(_WORDS, 8)) + ("é Ünïcode 12" if i % 5 == 0 else "") for i in range(N)]


def _separable() -> np.ndarray:
    return _dense() + 1.5 * _classes()[:, None]


def _frame(**options: Any) -> pd.DataFrame:
    """A table of customers: numbers with gaps, categories, text, truth values, and parts of a date."""
    rng = _rng()
    since = pd.Series(pd.date_range("2024-01-01", periods=N, freq="9D"))
    income = rng.lognormal(3, 1, N)
    income[::9] = np.nan
    return pd.DataFrame(
        {
            "age": rng.randint(18, 80, N),
            "income": income,
            "city": rng.choice(["Paris", "Kyoto", "Lima"], N),
            "grade": pd.Categorical(rng.choice(["low", "mid", "high"], N), categories=["low", "mid", "high"], ordered=True),
            "note": _documents(),
            "member": rng.rand(N) > 0.5,
            "month": since.dt.month,
            "weekday": since.dt.dayofweek,
            "days": (pd.Timestamp("2026-01-01") - since).dt.days,
        },
        **options,
    )


Data = tuple[Any, Any, Any]


def _data_with(x: Any, y: Any = None, inputs: Any = None) -> Data:
    return x, y, x[:25] if inputs is None else inputs


DATA: dict[str, Callable[[], Data]] = {
    "class": lambda: _data_with(_separable(), _classes()),
    "binary": lambda: _data_with(_dense(), (_dense()[:, 0] > 2).astype(int)),
    "strings": lambda: _data_with(_separable(), np.array(["no", "perhaps", "yes"])[_classes()]),
    "object strings": lambda: _data_with(_separable(), np.array(["no", "perhaps", "yes"], dtype=object)[_classes()]),
    "float32": lambda: _data_with(_separable().astype(np.float32), _classes()),
    "float32 reg": lambda: _data_with(_dense().astype(np.float32), _target().astype(np.float32)),
    "reg": lambda: _data_with(_dense(), _target()),
    "x only": lambda: _data_with(_dense()),
    "one column": lambda: _data_with(_dense()[:, :1], _target()),
    "one": lambda: _data_with(_dense()[:, 0], _target()),
    "two targets": lambda: _data_with(_dense(), np.c_[_target(), _target() ** 0.5]),
    "two labels": lambda: _data_with(_dense(), np.c_[_classes(2), _classes(3)]),
    "indicator": lambda: _data_with(_dense(), np.c_[_classes(2), (_classes(3) == 0).astype(int), (_classes(5) < 2).astype(int)]),
    "sparse": lambda: _data_with(sp.csr_matrix(np.where(_separable() > 2, _separable(), 0)), _classes()),
    "sparse array": lambda: _data_with(sp.csr_array(np.where(_separable() > 2, _separable(), 0)), _classes()),
    "sparse reg": lambda: _data_with(sp.csc_matrix(np.where(_dense() > 1, _dense(), 0)), _target()),
    "positive": lambda: _data_with(_dense() + 0.1, _classes()),
    "counts": lambda: _data_with((_separable() * 2).astype(int), _classes()),
    "codes": lambda: _data_with((_dense()).astype(int) % 3, _classes()),
    "truth": lambda: _data_with(_rng().rand(N, 6) > 0.5, _classes()),
    "places": lambda: _data_with(np.radians(_rng().rand(N, 2) * [180, 360] - [90, 180]), _classes()),
    "gaps": lambda: _data_with(np.where(_rng().rand(N, 4) < 0.1, np.nan, _separable()), _classes()),
    "gaps reg": lambda: _data_with(np.where(_rng().rand(N, 4) < 0.1, np.nan, _dense()), _target()),
    "half labelled": lambda: _data_with(_separable(), np.where(np.arange(N) % 4 == 0, -1, _classes())),
    "square": lambda: _data_with(pairwise.rbf_kernel(_separable()), _classes(), pairwise.rbf_kernel(_separable())),
    "distances": lambda: _data_with(pairwise.euclidean_distances(_separable()), _classes(), pairwise.euclidean_distances(_separable())),
    "labels only": lambda: _data_with(np.array(["no", "perhaps", "yes"])[_classes()]),
    "label sets": lambda: _data_with([{"a", "b"}, {"b"}, {"c"}, set()] * 5),
    "text": lambda: _data_with(_documents(), _classes()),
    "records": lambda: _data_with([{"city": word, "n": float(i), "tags": ["x", word[0]]} for i, word in enumerate(_WORDS)]),
    "flat records": lambda: _data_with([{"city": word, "n": float(i)} for i, word in enumerate(_WORDS)]),
    "images": lambda: _data_with(_rng().rand(4, 8, 8)),
    "frame": lambda: _data_with(_frame(), _classes()),
    "frame binary": lambda: _data_with(_frame(), _classes(2)),
    "frame reg": lambda: _data_with(_frame(), pd.Series(_target(), name="spend")),
    "frame strings": lambda: _data_with(_frame(), pd.Series(np.array(["no", "perhaps", "yes"])[_classes()], name="answer")),
    "numbers": lambda: _data_with(_frame()[["age", "month", "days"]], _classes()),
    "numbers reg": lambda: _data_with(_frame()[["age", "month", "days"]], _target()),
    "categories": lambda: _data_with(_frame()[["city", "grade"]].astype({"city": object, "grade": object}), _classes()),
    "frame gaps": lambda: _data_with(pd.DataFrame({"a": ["x", None, "y", "x"] * 8, "b": ["p", "q", None, "q"] * 8}, dtype=object)),
    "frame categories": lambda: _data_with(_frame()[["age", "grade", "income"]], _classes()),
    "frame categories reg": lambda: _data_with(_frame()[["city", "grade"]].astype(object), _target()),
    "many": lambda: _data_with(_rng().rand(1200, 5), np.arange(1200) % 3),
    "many reg": lambda: _data_with(_rng().rand(1200, 5), _rng().rand(1200)),
}


def fitted(estimator: Any, data: str, fit: dict[str, Any] | None = None) -> tuple[Any, Any]:
    x, y, inputs = DATA[data]()
    return (estimator.fit(x, **(fit or {})) if y is None else estimator.fit(x, y, **(fit or {}))), inputs


def _logistic() -> Any:
    return linear_model.LogisticRegression(max_iter=50)


def _forest(**options: Any) -> Any:
    return ensemble.RandomForestClassifier(n_estimators=3, max_depth=3, random_state=0, **options)


def _scaled(last: Any) -> Any:
    return pipeline.make_pipeline(preprocessing.StandardScaler(), last)


# --- estimators ------------------------------------------------------------------------------------------------

# Made faster where a class has such a parameter.
_FAST = {"n_estimators": 5, "random_state": 0, "max_iter": 30, "n_init": 1}
_NOT_FAST = {"TSNE": ("max_iter",), "OutputCodeClassifier": ()}

# What a class needs beyond `cls()` and data by its kind: parameters, and data.
_NEEDS: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "AdditiveChi2Sampler": (dict, "x only"),
    "CCA": (dict, "two targets"),
    "CategoricalNB": (lambda: {"min_categories": 3}, "codes"),
    "ClassifierChain": (lambda: {"estimator": _logistic()}, "indicator"),
    "ColumnTransformer": (
        lambda: {"transformers": [("number", preprocessing.StandardScaler(), ["age"]), ("city", preprocessing.OneHotEncoder(), ["city"])]},
        "frame",
    ),
    "ComplementNB": (dict, "counts"),
    "CountVectorizer": (dict, "text"),
    "DictVectorizer": (dict, "records"),
    "FeatureHasher": (lambda: {"n_features": 16}, "flat records"),
    "FeatureUnion": (lambda: {"transformer_list": [("pca", decomposition.PCA(2)), ("scale", preprocessing.StandardScaler())]}, "class"),
    "FixedThresholdClassifier": (lambda: {"estimator": _logistic()}, "binary"),
    "FrozenEstimator": (lambda: {"estimator": _logistic().fit(*DATA["class"]()[:2])}, "class"),
    "GaussianRandomProjection": (lambda: {"n_components": 2}, "class"),
    "GridSearchCV": (lambda: {"estimator": _logistic(), "param_grid": {"C": [0.1, 1.0]}}, "class"),
    "HalvingGridSearchCV": (lambda: {"estimator": _logistic(), "param_grid": {"C": [0.1, 1.0]}, "min_resources": 20}, "class"),
    "HalvingRandomSearchCV": (lambda: {"estimator": _logistic(), "param_distributions": {"C": st.loguniform(0.1, 9)}, "min_resources": 20}, "class"),
    "HashingVectorizer": (lambda: {"n_features": 32}, "text"),
    "Isomap": (lambda: {"n_neighbors": 12}, "class"),
    "IsotonicRegression": (lambda: {"out_of_bounds": "clip"}, "one"),
    "KernelCenterer": (dict, "square"),
    "LabelBinarizer": (dict, "labels only"),
    "LabelEncoder": (dict, "labels only"),
    "LabelPropagation": (dict, "half labelled"),
    "LabelSpreading": (dict, "half labelled"),
    "MultiLabelBinarizer": (dict, "label sets"),
    "MultiOutputClassifier": (lambda: {"estimator": _logistic()}, "two labels"),
    "MultiOutputRegressor": (lambda: {"estimator": linear_model.Ridge()}, "two targets"),
    "MultiTaskElasticNet": (dict, "two targets"),
    "MultiTaskElasticNetCV": (dict, "two targets"),
    "MultiTaskLasso": (dict, "two targets"),
    "MultiTaskLassoCV": (dict, "two targets"),
    "MultinomialNB": (dict, "counts"),
    "OneVsOneClassifier": (lambda: {"estimator": _logistic()}, "class"),
    "OneVsRestClassifier": (lambda: {"estimator": _logistic()}, "class"),
    "OutputCodeClassifier": (lambda: {"estimator": _logistic()}, "class"),
    "PLSCanonical": (dict, "two targets"),
    "PLSSVD": (dict, "two targets"),
    "PatchExtractor": (lambda: {"patch_size": (2, 2)}, "images"),
    "OrthogonalMatchingPursuitCV": (lambda: {"max_iter": 3}, "reg"),
    "Pipeline": (lambda: {"steps": [("scale", preprocessing.StandardScaler()), ("model", _logistic())]}, "class"),
    "RFE": (lambda: {"estimator": _logistic()}, "class"),
    "RFECV": (lambda: {"estimator": _logistic()}, "class"),
    "RadiusNeighborsClassifier": (lambda: {"radius": 9.0}, "class"),
    "RadiusNeighborsRegressor": (lambda: {"radius": 9.0}, "reg"),
    "RandomizedSearchCV": (lambda: {"estimator": _logistic(), "param_distributions": {"C": [0.1, 1.0, 3.0]}, "n_iter": 2}, "class"),
    "RegressorChain": (lambda: {"estimator": linear_model.Ridge()}, "two targets"),
    "SelectFromModel": (lambda: {"estimator": _logistic()}, "class"),
    "SelfTrainingClassifier": (lambda: {"estimator": _logistic()}, "half labelled"),
    "SequentialFeatureSelector": (lambda: {"estimator": _logistic(), "n_features_to_select": 2, "cv": 2}, "class"),
    "SparseCoder": (lambda: {"dictionary": _rng().rand(6, 4)}, "x only"),
    "SparseRandomProjection": (lambda: {"n_components": 2}, "class"),
    "StackingClassifier": (lambda: {"estimators": [("a", _logistic()), ("b", _forest())]}, "class"),
    "StackingRegressor": (lambda: {"estimators": [("a", linear_model.Ridge()), ("b", tree.DecisionTreeRegressor(max_depth=2))]}, "reg"),
    "TfidfVectorizer": (dict, "text"),
    "TunedThresholdClassifierCV": (lambda: {"estimator": _logistic()}, "binary"),
    "VotingClassifier": (lambda: {"estimators": [("a", _logistic()), ("b", _forest())]}, "class"),
    "VotingRegressor": (lambda: {"estimators": [("a", linear_model.Ridge()), ("b", tree.DecisionTreeRegressor(max_depth=2))]}, "reg"),
}


def _fit_class(name: str, cls: type) -> tuple[Any, Any]:
    parameters, data = _NEEDS.get(name, (dict, ""))
    chosen = parameters()
    if "estimator" in chosen and "estimator" not in inspect.signature(cls).parameters:
        # As chains and self-training called it in older releases.
        chosen["base_estimator"] = chosen.pop("estimator")
    estimator = cls(**chosen)
    own = estimator.get_params(deep=False)
    estimator.set_params(**{key: value for key, value in _FAST.items() if key in own and key not in chosen and key not in _NOT_FAST.get(name, ())})
    return fitted(estimator, data or ("reg" if is_regressor(estimator) else "class"))


def _estimators() -> Iterator[Case]:
    for name, cls in all_estimators():
        if name not in UNFIT:
            yield Case("estimators", name, functools.partial(_fit_class, name, cls))


# --- variants --------------------------------------------------------------------------------------------------

Row = tuple[str, str, Callable[[], Any]]


def _neighbour_rows() -> Iterator[Row]:
    """Every metric of every tree, and of brute force; and every kernel of the density."""
    options: dict[str, Callable[[], dict[str, Any]]] = {
        "minkowski": lambda: {"p": 3},
        "seuclidean": lambda: {"metric_params": {"V": np.array([1.0, 2.0, 3.0, 4.0])}},
        "mahalanobis": lambda: {"metric_params": {"VI": np.eye(4)}},
    }
    boolean = ("jaccard", "dice", "rogerstanimoto", "russellrao", "sokalmichener", "sokalsneath", "matching", "yule", "kulsinski")
    valid = {"kd_tree": neighbors.KDTree.valid_metrics, "ball_tree": neighbors.BallTree.valid_metrics, "brute": neighbors.VALID_METRICS["brute"]}
    aliases = ("l1", "l2", "p", "cityblock", "infinity", "pyfunc", "precomputed")
    for algorithm, names in valid.items():
        for metric in sorted(set(names) - set(aliases)):
            data = (
                "truth"
                if metric in boolean
                else "places"
                if metric == "haversine"
                else "gaps"
                if metric == "nan_euclidean" and SKLEARN >= (1, 6)
                else "class"
            )
            yield (
                f"KNN {algorithm} {metric}",
                data,
                lambda a=algorithm, m=metric: neighbors.KNeighborsClassifier(3, algorithm=a, metric=m, **options.get(m, dict)()),
            )
    for metric, algorithm in itertools.product(["euclidean", "manhattan", "chebyshev"], ["kd_tree", "ball_tree"]):
        yield f"KNN float32 {algorithm} {metric}", "float32", lambda a=algorithm, m=metric: neighbors.KNeighborsClassifier(3, algorithm=a, metric=m)
        yield f"DBSCAN {algorithm} {metric}", "x only", lambda a=algorithm, m=metric: cluster.DBSCAN(algorithm=a, metric=m)
    for function in (scipy.spatial.distance.canberra, scipy.spatial.distance.euclidean, scipy.spatial.distance.cosine):
        for algorithm in ("ball_tree", "brute"):
            yield (
                f"KNN {algorithm} callable {function.__name__}",
                "class",
                lambda a=algorithm, f=function: neighbors.KNeighborsClassifier(3, algorithm=a, metric=f),
            )
    for kernel, algorithm in itertools.product(["gaussian", "tophat", "epanechnikov", "exponential", "linear", "cosine"], ["kd_tree", "ball_tree"]):
        yield f"KDE {kernel} {algorithm}", "x only", lambda k=kernel, a=algorithm: neighbors.KernelDensity(kernel=k, algorithm=a, bandwidth=0.7)


def _gp_rows() -> Iterator[Row]:
    rbf, white = gp.RBF(1.0), gp.WhiteKernel(0.1)
    table = {
        "constant * RBF": lambda: gp.ConstantKernel(2.0) * rbf + white,
        "anisotropic RBF": lambda: gp.RBF([1.0, 2.0, 1.0, 3.0]) + white,
        "Matern 0.5": lambda: gp.Matern(nu=0.5) + white,
        "Matern 1.5": lambda: gp.Matern(nu=1.5) + white,
        "Matern inf": lambda: gp.Matern(nu=float("inf")) + white,
        "RationalQuadratic": lambda: gp.RationalQuadratic() + white,
        "ExpSineSquared": lambda: gp.ExpSineSquared(3.0, 2.0, periodicity_bounds="fixed") + gp.WhiteKernel(2.0),
        "DotProduct": lambda: gp.DotProduct() ** 2 + white,
        "Pairwise": lambda: gp.PairwiseKernel(metric="laplacian") + white,
        "Pairwise callable": lambda: gp.PairwiseKernel(metric="rbf", pairwise_kernels_kwargs={"n_jobs": 1}) + white,
        "fixed bounds": lambda: gp.RBF(1.0, "fixed") * gp.ConstantKernel(1.0, (0.1, 10.0)) + white,
        "nested": lambda: (rbf + gp.Matern()) * (gp.RationalQuadratic() + white) ** 2,
    }
    for name, kernel in table.items():
        yield f"GPR {name}", "reg", lambda k=kernel: gaussian_process.GaussianProcessRegressor(k(), alpha=0.1, random_state=0)
    yield (
        "GPR normalised restarts",
        "two targets",
        lambda: gaussian_process.GaussianProcessRegressor(rbf + white, normalize_y=True, n_restarts_optimizer=1, random_state=0),
    )
    yield "GPR without optimizer", "reg", lambda: gaussian_process.GaussianProcessRegressor(rbf, optimizer=None)
    yield "GPC one_vs_rest", "class", lambda: gaussian_process.GaussianProcessClassifier(rbf, max_iter_predict=10)
    yield "GPC one_vs_one", "class", lambda: gaussian_process.GaussianProcessClassifier(rbf, multi_class="one_vs_one", max_iter_predict=10)


def _svm_rows() -> Iterator[Row]:
    for kernel in ("linear", "poly", "rbf", "sigmoid"):
        yield f"SVC {kernel}", "class", lambda k=kernel: svm.SVC(kernel=k, degree=2)
        yield f"SVR {kernel}", "reg", lambda k=kernel: svm.SVR(kernel=k)
    yield "SVC precomputed", "square", lambda: svm.SVC(kernel="precomputed")
    for function in (
        pairwise.laplacian_kernel,
        pairwise.chi2_kernel,
        pairwise.polynomial_kernel,
        pairwise.cosine_similarity,
        pairwise.sigmoid_kernel,
    ):
        yield f"SVC callable {function.__name__}", "class", lambda f=function: svm.SVC(kernel=f)
    yield "SVC probability", "class", lambda: svm.SVC(probability=True, random_state=0)
    yield "SVC weights ovo sparse", "sparse", lambda: svm.SVC(class_weight={0: 1.0, 1: 2.0, 2: 0.5}, decision_function_shape="ovo")
    yield "SVC break ties strings", "strings", lambda: svm.SVC(break_ties=True, class_weight="balanced")
    yield "NuSVR sparse", "sparse reg", svm.NuSVR
    yield "OneClassSVM poly", "x only", lambda: svm.OneClassSVM(kernel="poly", nu=0.3)
    for penalty, loss, dual in (("l1", "squared_hinge", False), ("l2", "hinge", True), ("l2", "squared_hinge", False)):
        yield f"LinearSVC {penalty} {loss}", "class", lambda p=penalty, o=loss, d=dual: svm.LinearSVC(penalty=p, loss=o, dual=d, random_state=0)
    yield "LinearSVC crammer_singer", "class", lambda: svm.LinearSVC(multi_class="crammer_singer", random_state=0)
    yield "LinearSVR squared", "reg", lambda: svm.LinearSVR(loss="squared_epsilon_insensitive", random_state=0)
    for kernel in ("linear", "poly", "rbf", "sigmoid", "cosine", "laplacian", "chi2"):
        yield f"Nystroem {kernel}", "class", lambda k=kernel: kernel_approximation.Nystroem(k, n_components=8, random_state=0)
    yield "Nystroem callable", "class", lambda: kernel_approximation.Nystroem(scipy.spatial.distance.correlation, n_components=8)
    for kernel in ("linear", "poly", "rbf", "sigmoid", "cosine"):
        yield f"KernelPCA {kernel}", "class", lambda k=kernel: decomposition.KernelPCA(2, kernel=k, fit_inverse_transform=True, random_state=0)
    yield "KernelRidge callable", "reg", lambda: kernel_ridge.KernelRidge(kernel=scipy.spatial.distance.euclidean, alpha=100.0)
    yield "KernelRidge laplacian", "reg", lambda: kernel_ridge.KernelRidge(kernel="laplacian", gamma=0.2)


def _linear_rows() -> Iterator[Row]:
    for solver in ("lbfgs", "liblinear", "newton-cg", "newton-cholesky", "sag", "saga"):
        data = "binary" if solver == "liblinear" else "class"
        yield f"LogisticRegression {solver}", data, lambda s=solver: linear_model.LogisticRegression(solver=s, max_iter=40, random_state=0)
    yield (
        "LogisticRegression elasticnet",
        "class",
        lambda: linear_model.LogisticRegression(l1_ratio=0.3, penalty="elasticnet", solver="saga", max_iter=20),
    )
    yield "LogisticRegression weights", "strings", lambda: linear_model.LogisticRegression(class_weight={"no": 1.0, "perhaps": 0.5, "yes": 2.0})
    yield (
        "LogisticRegression warm RandomState",
        "class",
        lambda: linear_model.LogisticRegression(warm_start=True, random_state=np.random.RandomState(3)),
    )
    yield "LogisticRegression sparse array", "sparse array", _logistic
    yield (
        "LogisticRegressionCV scorer",
        "binary",
        lambda: linear_model.LogisticRegressionCV(Cs=3, cv=3, scoring=metrics.make_scorer(metrics.f1_score), max_iter=30),
    )
    for solver in ("svd", "cholesky", "lsqr", "sparse_cg", "sag", "saga"):
        yield f"Ridge {solver}", "two targets", lambda s=solver: linear_model.Ridge(solver=s, random_state=0)
    yield "Ridge positive", "reg", lambda: linear_model.Ridge(positive=True, solver="lbfgs")
    yield "RidgeCV alphas scorer", "reg", lambda: linear_model.RidgeCV(alphas=np.logspace(-2, 2, 4), scoring="neg_mean_squared_error")
    yield (
        "RidgeCV store",
        "reg",
        lambda: linear_model.RidgeCV(gcv_mode="eigen", **{"store_cv_results" if SKLEARN >= (1, 5) else "store_cv_values": True}),
    )
    yield "RidgeClassifier indicator", "indicator", linear_model.RidgeClassifier
    for loss in ("hinge", "log_loss", "modified_huber", "squared_hinge", "perceptron", "squared_error", "huber", "epsilon_insensitive"):
        yield f"SGDClassifier {loss}", "class", lambda o=loss: linear_model.SGDClassifier(loss=o, random_state=0, max_iter=20)
    yield "SGDClassifier early stopping", "class", lambda: linear_model.SGDClassifier(early_stopping=True, random_state=0, average=True)
    yield (
        "SGDClassifier elasticnet weights",
        "strings",
        lambda: linear_model.SGDClassifier(
            penalty="elasticnet", class_weight={"no": 2.0}, learning_rate="adaptive", eta0=0.1, warm_start=True, random_state=np.random.RandomState(1)
        ),
    )
    for loss in ("squared_error", "huber", "epsilon_insensitive", "squared_epsilon_insensitive"):
        yield f"SGDRegressor {loss}", "reg", lambda o=loss: linear_model.SGDRegressor(loss=o, random_state=0, max_iter=20)
    yield "SGDRegressor early stopping", "reg", lambda: linear_model.SGDRegressor(early_stopping=True, random_state=0)
    yield "ElasticNetCV paths", "reg", lambda: linear_model.ElasticNetCV(l1_ratio=[0.2, 0.8], cv=3, random_state=0, selection="random")
    yield "Lasso sparse positive", "sparse reg", lambda: linear_model.Lasso(alpha=0.1, positive=True)
    yield "Lasso precomputed", "reg", lambda: linear_model.Lasso(precompute=True, warm_start=True)
    yield "LassoLarsIC bic", "reg", lambda: linear_model.LassoLarsIC("bic")
    yield "LinearRegression positive", "reg", lambda: linear_model.LinearRegression(positive=True)
    yield "LinearRegression float32", "float32 reg", linear_model.LinearRegression
    for power, link in ((0, "identity"), (1.5, "log"), (2, "auto"), (3, "auto")):
        yield f"TweedieRegressor {power} {link}", "reg", lambda p=power, k=link: linear_model.TweedieRegressor(power=p, link=k, max_iter=20)
    yield "PoissonRegressor newton", "reg", lambda: linear_model.PoissonRegressor(solver="newton-cholesky", warm_start=True)
    yield "RANSAC base ridge", "reg", lambda: linear_model.RANSACRegressor(linear_model.Ridge(), min_samples=10, loss="squared_error", random_state=0)
    yield "TheilSen RandomState", "reg", lambda: linear_model.TheilSenRegressor(max_subpopulation=50, random_state=np.random.RandomState(0))
    yield "Perceptron l1", "class", lambda: linear_model.Perceptron(penalty="l1", early_stopping=True)
    yield "QuantileRegressor", "reg", lambda: linear_model.QuantileRegressor(quantile=0.8, solver="highs")
    yield "BayesianRidge scores", "reg", lambda: linear_model.BayesianRidge(compute_score=True)


def _tree_rows() -> Iterator[Row]:
    for criterion, splitter in itertools.product(["gini", "entropy", "log_loss"], ["best", "random"]):
        yield (
            f"DecisionTreeClassifier {criterion} {splitter}",
            "class",
            lambda c=criterion, s=splitter: tree.DecisionTreeClassifier(criterion=c, splitter=s, random_state=0),
        )
    for criterion in ("squared_error", "friedman_mse", "absolute_error", "poisson"):
        yield f"DecisionTreeRegressor {criterion}", "reg", lambda c=criterion: tree.DecisionTreeRegressor(criterion=c, max_depth=3)
    yield "DecisionTreeClassifier monotonic", "binary", lambda: tree.DecisionTreeClassifier(monotonic_cst=[1, 0, -1, 0])
    yield "DecisionTreeClassifier multi-output", "two labels", lambda: tree.DecisionTreeClassifier(ccp_alpha=0.01)
    yield "DecisionTreeClassifier gaps", "gaps", tree.DecisionTreeClassifier
    yield "DecisionTreeClassifier weights list", "two labels", lambda: tree.DecisionTreeClassifier(class_weight=[{0: 1, 1: 2}, {0: 1, 1: 1, 2: 3}])
    yield "DecisionTreeRegressor sparse float32", "sparse reg", lambda: tree.DecisionTreeRegressor(max_leaf_nodes=5)
    yield "ExtraTreeRegressor multi-output", "two targets", tree.ExtraTreeRegressor
    yield "RandomForest oob weights", "strings", lambda: _forest(oob_score=True, class_weight="balanced_subsample")
    yield "RandomForest callable oob", "class", lambda: _forest(oob_score=metrics.accuracy_score)
    yield "RandomForest RandomState", "class", lambda: ensemble.RandomForestClassifier(3, random_state=np.random.RandomState(5), warm_start=True)
    yield "RandomForest one leaf", "class", lambda: ensemble.RandomForestClassifier(2, min_samples_leaf=40)
    yield "RandomForest large", "many", lambda: ensemble.RandomForestClassifier(10, random_state=0)
    yield "RandomForestRegressor poisson", "reg", lambda: ensemble.RandomForestRegressor(3, criterion="poisson", max_samples=0.5)
    yield "RandomForestRegressor large", "many reg", lambda: ensemble.RandomForestRegressor(5, random_state=0)
    yield "ExtraTrees bootstrap", "sparse", lambda: ensemble.ExtraTreesClassifier(3, bootstrap=True, max_features="log2")
    yield "IsolationForest sparse", "sparse", lambda: ensemble.IsolationForest(n_estimators=3, contamination=0.1)
    for loss, data in (("log_loss", "class"), ("log_loss", "binary"), ("exponential", "binary")):
        yield f"GradientBoostingClassifier {loss} {data}", data, lambda o=loss: ensemble.GradientBoostingClassifier(loss=o, n_estimators=3)
    for loss in ("squared_error", "absolute_error", "huber", "quantile"):
        yield f"GradientBoostingRegressor {loss}", "reg", lambda o=loss: ensemble.GradientBoostingRegressor(loss=o, n_estimators=3)
    yield (
        "GradientBoosting early stopping",
        "class",
        lambda: ensemble.GradientBoostingClassifier(
            n_estimators=8, n_iter_no_change=2, subsample=0.8, warm_start=True, random_state=np.random.RandomState(0)
        ),
    )
    yield "GradientBoosting init estimator", "reg", lambda: ensemble.GradientBoostingRegressor(n_estimators=3, init=linear_model.Ridge())
    yield "GradientBoosting init zero", "binary", lambda: ensemble.GradientBoostingClassifier(n_estimators=3, init="zero")
    yield "AdaBoost base", "class", lambda: ensemble.AdaBoostClassifier(tree.DecisionTreeClassifier(max_depth=2), n_estimators=3)
    for loss in ("linear", "square", "exponential"):
        yield f"AdaBoostRegressor {loss}", "reg", lambda o=loss: ensemble.AdaBoostRegressor(n_estimators=3, loss=o)
    classifier, regressor = ensemble.HistGradientBoostingClassifier, ensemble.HistGradientBoostingRegressor
    yield "HistGB binary", "binary", lambda: classifier(max_iter=3)
    for loss in ("squared_error", "absolute_error", "gamma", "poisson", "quantile"):
        yield f"HistGB {loss}", "gaps reg", lambda o=loss: regressor(loss=o, max_iter=3, quantile=0.7 if o == "quantile" else None)
    for name, scoring in (
        ("loss", "loss"),
        ("default", None),
        ("name", "accuracy"),
        ("scorer", metrics.make_scorer(metrics.balanced_accuracy_score)),
    ):
        yield f"HistGB early stopping {name}", "class", lambda s=scoring: classifier(max_iter=6, early_stopping=True, scoring=s, n_iter_no_change=2)
    yield (
        "HistGB early stopping without validation",
        "reg",
        lambda: regressor(max_iter=6, early_stopping=True, scoring="r2", validation_fraction=None, random_state=0),
    )
    yield "HistGB categorical indices", "codes", lambda: classifier(max_iter=3, categorical_features=[0, 2])
    yield "HistGB categorical mask", "codes", lambda: classifier(max_iter=3, categorical_features=np.array([True, False, False, True]))
    yield "HistGB monotonic interaction", "reg", lambda: regressor(max_iter=3, monotonic_cst=[1, 0, 0, -1], interaction_cst="pairwise")
    yield "HistGB weights warm", "strings", lambda: classifier(max_iter=3, class_weight="balanced", warm_start=True, random_state=1)
    yield "HistGB weights", "class", lambda: classifier(max_iter=3, class_weight={0: 1, 1: 2, 2: 0.5})
    yield "HistGB frame dtype", "frame categories", lambda: classifier(max_iter=3, categorical_features="from_dtype")
    yield "HistGB frame names monotonic", "numbers reg", lambda: regressor(max_iter=3, monotonic_cst={"age": 1})


def _preprocessing_rows() -> Iterator[Row]:
    p = preprocessing
    functions: dict[str, tuple[Any, ...]] = {
        "numpy": (np.log1p, np.expm1, np.sqrt, np.abs, np.square, np.tanh, np.sign, np.nan_to_num, np.cbrt, np.log10, np.exp, np.asarray, np.cos),
        "scipy": (scipy.special.expit, scipy.special.erf, scipy.special.gammaln, scipy.special.softmax, scipy.special.log1p, scipy.special.ndtr),
        "sklearn": (p.scale, p.normalize, p.minmax_scale, p.robust_scale, p.maxabs_scale, p.binarize, p.add_dummy_feature, p.quantile_transform),
    }
    for library, members in functions.items():
        for function in members:
            yield f"FunctionTransformer {library} {function.__name__}", "class", lambda f=function: p.FunctionTransformer(f)
    yield "FunctionTransformer inverse", "class", lambda: p.FunctionTransformer(np.log1p, np.expm1, validate=True, check_inverse=True)
    yield "FunctionTransformer partial clip", "class", lambda: p.FunctionTransformer(functools.partial(np.clip, a_min=0.5, a_max=2.0))
    yield (
        "FunctionTransformer kw_args",
        "class",
        lambda: p.FunctionTransformer(np.clip, kw_args={"a_min": 0.5, "a_max": 2.0}, feature_names_out="one-to-one"),
    )
    yield "FunctionTransformer vectorize", "class", lambda: p.FunctionTransformer(np.vectorize(np.log1p))
    yield "FunctionTransformer partial power", "class", lambda: p.FunctionTransformer(functools.partial(np.power, 2.0))
    for method, standardize in itertools.product(["yeo-johnson", "box-cox"], [True, False]):
        yield f"PowerTransformer {method} {standardize}", "positive", lambda m=method, s=standardize: p.PowerTransformer(m, standardize=s)
    for strategy, encode in itertools.product(["uniform", "quantile", "kmeans"], ["onehot", "onehot-dense", "ordinal"]):
        yield f"KBins {strategy} {encode}", "class", lambda s=strategy, e=encode: p.KBinsDiscretizer(3, strategy=s, encode=e, dtype=np.float32)
    for extrapolation in ("error", "constant", "linear", "continue", "periodic"):
        yield f"Spline {extrapolation}", "class", lambda e=extrapolation: p.SplineTransformer(n_knots=4, extrapolation=e)
    yield "Spline quantile sparse", "class", lambda: p.SplineTransformer(n_knots=4, knots="quantile", sparse_output=True)
    yield "Spline knots array", "one column", lambda: p.SplineTransformer(knots=np.array([[0.0], [1.0], [2.0], [4.0]]), include_bias=False)
    yield "Polynomial interaction", "sparse", lambda: p.PolynomialFeatures((1, 2), interaction_only=True)
    yield (
        "Quantile normal",
        "sparse",
        lambda: p.QuantileTransformer(n_quantiles=10, output_distribution="normal", random_state=np.random.RandomState(2)),
    )
    yield "StandardScaler sparse", "sparse", lambda: p.StandardScaler(with_mean=False)
    yield "MinMax clip float32", "float32", lambda: p.MinMaxScaler((-1, 1), clip=True)
    yield "OneHot infrequent", "categories", lambda: p.OneHotEncoder(min_frequency=15, handle_unknown="infrequent_if_exist", sparse_output=False)
    yield "OneHot drop", "categories", lambda: p.OneHotEncoder(drop="if_binary", dtype=np.int8)
    yield "OneHot listed categories", "categories", lambda: p.OneHotEncoder(categories=[["Kyoto", "Lima", "Paris"], ["low", "mid", "high"]])
    yield "Ordinal unknown", "categories", lambda: p.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
    yield "Ordinal infrequent", "categories", lambda: p.OrdinalEncoder(max_categories=2, dtype=np.int32)
    yield "TargetEncoder class", "categories", lambda: p.TargetEncoder(cv=3, random_state=0)
    yield "TargetEncoder smooth", "frame categories reg", lambda: p.TargetEncoder(smooth=3.0, target_type="continuous")
    yield "StandardScaler pandas output", "numbers", lambda: p.StandardScaler().set_output(transform="pandas")
    yield "PCA pandas output", "numbers", lambda: decomposition.PCA(2).set_output(transform="pandas")
    for strategy in ("mean", "median", "most_frequent", "constant"):
        yield f"SimpleImputer {strategy}", "gaps", lambda s=strategy: impute.SimpleImputer(strategy=s, add_indicator=True, keep_empty_features=True)
    if SKLEARN >= (1, 5):
        yield "SimpleImputer callable", "gaps", lambda: impute.SimpleImputer(strategy=np.nanmedian)
    yield "SimpleImputer strings", "frame gaps", lambda: impute.SimpleImputer(strategy="most_frequent")
    yield "SimpleImputer NA fill", "gaps", lambda: impute.SimpleImputer(strategy="constant", fill_value=-1.0, missing_values=np.nan)
    yield "KNNImputer", "gaps", lambda: impute.KNNImputer(n_neighbors=2, weights="distance", add_indicator=True)
    yield "MissingIndicator all", "gaps", lambda: impute.MissingIndicator(features="all", sparse=True)
    yield (
        "IterativeImputer forest",
        "gaps",
        lambda: impute.IterativeImputer(ensemble.RandomForestRegressor(2, max_depth=2), max_iter=2, random_state=0),
    )
    yield (
        "IterativeImputer bounds sample",
        "gaps",
        lambda: impute.IterativeImputer(
            sample_posterior=True, max_iter=2, min_value=0, max_value=[9, 9, 9, 9], random_state=np.random.RandomState(0), n_nearest_features=2
        ),
    )
    yield "IterativeImputer KNN", "gaps", lambda: impute.IterativeImputer(neighbors.KNeighborsRegressor(3), max_iter=2, imputation_order="random")
    for function in (feature_selection.f_classif, feature_selection.chi2, feature_selection.mutual_info_classif):
        yield f"SelectKBest {function.__name__}", "counts", lambda f=function: feature_selection.SelectKBest(f, k=2)
    for function in (feature_selection.f_regression, feature_selection.r_regression, feature_selection.mutual_info_regression):
        yield f"SelectPercentile {function.__name__}", "reg", lambda f=function: feature_selection.SelectPercentile(f, percentile=50)
    yield (
        "SelectKBest partial",
        "class",
        lambda: feature_selection.SelectKBest(functools.partial(feature_selection.mutual_info_classif, random_state=0, discrete_features=False), k=2),
    )
    for mode in ("percentile", "k_best", "fpr", "fdr", "fwe"):
        yield (
            f"GenericUnivariateSelect {mode}",
            "class",
            lambda m=mode: feature_selection.GenericUnivariateSelect(mode=m, param=1 if m == "k_best" else 0.5),
        )
    yield "RFE importance attribute", "class", lambda: feature_selection.RFE(_logistic(), importance_getter="coef_", step=2)
    yield (
        "SelectFromModel named importance",
        "class",
        lambda: feature_selection.SelectFromModel(_forest(), threshold="0.5*mean", importance_getter="feature_importances_"),
    )
    yield "SelectFromModel infinite", "class", lambda: feature_selection.SelectFromModel(_forest(), threshold=-np.inf, max_features=2)
    yield "RFECV splitter scorer", "class", lambda: feature_selection.RFECV(_logistic(), cv=model_selection.KFold(3), scoring="accuracy")
    yield (
        "SequentialFeatureSelector backward",
        "reg",
        lambda: feature_selection.SequentialFeatureSelector(
            linear_model.Ridge(), direction="backward", n_features_to_select="auto", tol=-0.1, cv=2, scoring=metrics.make_scorer(metrics.r2_score)
        ),
    )


def _cluster_rows() -> Iterator[Row]:
    yield "Birch many", "many", lambda: cluster.Birch(threshold=0.1, n_clusters=3)
    yield "Birch estimator", "class", lambda: cluster.Birch(threshold=0.3, n_clusters=cluster.KMeans(3, n_init=1, random_state=0))
    yield "Birch no labels", "sparse", lambda: cluster.Birch(threshold=0.5, n_clusters=None, compute_labels=False)
    for metric in ("euclidean", "manhattan", "chebyshev"):
        yield f"HDBSCAN {metric}", "x only", lambda m=metric: cluster.HDBSCAN(min_cluster_size=4, metric=m, store_centers="both")
    yield "HDBSCAN ball leaf", "x only", lambda: cluster.HDBSCAN(min_cluster_size=4, algorithm="ball_tree", cluster_selection_method="leaf")
    yield "HDBSCAN precomputed", "distances", lambda: cluster.HDBSCAN(min_cluster_size=4, metric="precomputed")
    for init, strategy in itertools.product(["random", "k-means++"], ["biggest_inertia", "largest_cluster"]):
        yield (
            f"BisectingKMeans {init} {strategy}",
            "x only",
            lambda i=init, s=strategy: cluster.BisectingKMeans(4, init=i, bisecting_strategy=s, random_state=0),
        )
    for algorithm in ("lloyd", "elkan"):
        yield f"KMeans {algorithm}", "float32", lambda a=algorithm: cluster.KMeans(3, algorithm=a, n_init=2, random_state=np.random.RandomState(0))
    yield "KMeans init array", "class", lambda: cluster.KMeans(3, init=_separable()[:3], n_init=1)
    yield "MiniBatchKMeans sparse", "sparse", lambda: cluster.MiniBatchKMeans(3, n_init=1, batch_size=20, random_state=0)
    yield "BisectingKMeans sparse", "sparse", lambda: cluster.BisectingKMeans(3, random_state=0)
    for linkage in ("ward", "complete", "average", "single"):
        yield f"Agglomerative {linkage}", "x only", lambda k=linkage: cluster.AgglomerativeClustering(3, linkage=k, compute_distances=True)
    yield (
        "Agglomerative connectivity",
        "x only",
        lambda: cluster.AgglomerativeClustering(3, connectivity=neighbors.kneighbors_graph(_dense(), 5, include_self=False)),
    )
    for pooling in (np.mean, np.median, np.max):
        yield f"FeatureAgglomeration {pooling.__name__}", "class", lambda f=pooling: cluster.FeatureAgglomeration(2, pooling_func=f)
    yield "Spectral neighbours", "x only", lambda: cluster.SpectralClustering(2, affinity="nearest_neighbors", random_state=0, n_neighbors=20)
    yield "Spectral callable", "x only", lambda: cluster.SpectralClustering(2, affinity=scipy.spatial.distance.euclidean, random_state=0)
    yield "OPTICS dbscan", "x only", lambda: cluster.OPTICS(min_samples=5, cluster_method="dbscan", metric="manhattan")
    yield "MeanShift seeds", "x only", lambda: cluster.MeanShift(bandwidth=1.5, bin_seeding=True)
    yield "AffinityPropagation precomputed", "square", lambda: cluster.AffinityPropagation(affinity="precomputed", random_state=0)
    for covariance in ("full", "tied", "diag", "spherical"):
        yield f"GaussianMixture {covariance}", "x only", lambda c=covariance: mixture.GaussianMixture(2, covariance_type=c, random_state=0)
        yield (
            f"BayesianGaussianMixture {covariance}",
            "x only",
            lambda c=covariance: mixture.BayesianGaussianMixture(
                n_components=2,
                covariance_type=c,
                weight_concentration_prior_type="dirichlet_distribution",
                max_iter=20,
                random_state=np.random.RandomState(0),
            ),
        )
    yield "LOF novelty", "class", lambda: neighbors.LocalOutlierFactor(novelty=True, metric="manhattan")
    yield "LOF ball", "class", lambda: neighbors.LocalOutlierFactor(algorithm="ball_tree", contamination=0.1)
    yield "NearestNeighbors precomputed", "distances", lambda: neighbors.NearestNeighbors(metric="precomputed")
    yield "KNN large kd_tree", "many", lambda: neighbors.KNeighborsClassifier(algorithm="kd_tree")
    yield "KNN large ball_tree float32", "many", lambda: neighbors.KNeighborsClassifier(algorithm="ball_tree", weights="distance")
    yield "KNN sparse", "sparse", lambda: neighbors.KNeighborsClassifier(3, metric="cosine")
    yield "KNN regressor two targets", "two targets", lambda: neighbors.KNeighborsRegressor(3, weights="distance", p=1)
    yield "Radius outlier label", "strings", lambda: neighbors.RadiusNeighborsClassifier(0.5, outlier_label="no", algorithm="ball_tree")
    yield "NearestCentroid shrink", "class", lambda: neighbors.NearestCentroid(shrink_threshold=0.1, metric="manhattan")
    yield "NCA warm", "class", lambda: neighbors.NeighborhoodComponentsAnalysis(2, init="pca", max_iter=5, warm_start=True, random_state=0)
    yield "Isomap kd_tree", "x only", lambda: manifold.Isomap(n_neighbors=12, neighbors_algorithm="kd_tree", metric="manhattan")
    for method in ("hessian", "ltsa", "modified"):
        yield (
            f"LLE {method}",
            "x only",
            lambda m=method: manifold.LocallyLinearEmbedding(n_neighbors=12, method=m, eigen_solver="dense", random_state=0),
        )
    yield "TSNE exact", "x only", lambda: manifold.TSNE(method="exact", perplexity=5, max_iter=250, random_state=0, init="random")
    yield "SpectralEmbedding rbf", "x only", lambda: manifold.SpectralEmbedding(affinity="rbf", random_state=0)


def _other_rows() -> Iterator[Row]:
    d = decomposition
    for solver in ("full", "arpack", "randomized", "covariance_eigh"):
        yield f"PCA {solver}", "class", lambda s=solver: d.PCA(2, svd_solver=s, whiten=True, random_state=0)
    yield "PCA mle", "class", lambda: d.PCA("mle")
    yield "TruncatedSVD arpack", "sparse", lambda: d.TruncatedSVD(2, algorithm="arpack", random_state=np.random.RandomState(0))
    for fun in ("logcosh", "exp", "cube"):
        yield f"FastICA {fun}", "x only", lambda f=fun: d.FastICA(2, fun=f, random_state=0, max_iter=30)
    for solver, loss in (("cd", "frobenius"), ("mu", "kullback-leibler"), ("mu", "itakura-saito")):
        yield f"NMF {solver} {loss}", "positive", lambda s=solver, o=loss: d.NMF(2, solver=s, beta_loss=o, max_iter=20, random_state=0)
    yield (
        "LDA topics online",
        "counts",
        lambda: d.LatentDirichletAllocation(3, learning_method="online", max_iter=3, random_state=np.random.RandomState(1)),
    )
    for algorithm in ("lars", "cd"):
        yield f"DictionaryLearning {algorithm}", "x only", lambda a=algorithm: d.DictionaryLearning(3, fit_algorithm=a, max_iter=5, random_state=0)
    yield "MiniBatchDictionaryLearning threshold", "x only", lambda: d.MiniBatchDictionaryLearning(3, max_iter=5, transform_algorithm="threshold")
    for solver, activation in (("adam", "relu"), ("sgd", "tanh"), ("lbfgs", "logistic"), ("adam", "identity")):
        yield (
            f"MLP {solver} {activation}",
            "class",
            lambda s=solver, a=activation: neural_network.MLPClassifier(
                (5,), solver=s, activation=a, max_iter=5, random_state=0, nesterovs_momentum=True, learning_rate="adaptive"
            ),
        )
    yield (
        "MLP early stopping",
        "class",
        lambda: neural_network.MLPClassifier((5, 3), early_stopping=True, max_iter=8, random_state=0, warm_start=True),
    )
    yield (
        "MLP RandomState float32",
        "float32 reg",
        lambda: neural_network.MLPRegressor(hidden_layer_sizes=(5,), max_iter=5, random_state=np.random.RandomState(0)),
    )
    yield (
        "MLP early stopping regressor",
        "two targets",
        lambda: neural_network.MLPRegressor(hidden_layer_sizes=(4,), early_stopping=True, solver="sgd", max_iter=5),
    )
    yield "MLP indicator", "indicator", lambda: neural_network.MLPClassifier((4,), max_iter=5)
    yield "RBM RandomState", "truth", lambda: neural_network.BernoulliRBM(3, n_iter=2, random_state=np.random.RandomState(0))
    methods = ["sigmoid", "isotonic", *(["temperature"] if SKLEARN >= (1, 8) else [])]
    for method, together in itertools.product(methods, [True, False]):
        yield (
            f"Calibrated {method} {together}",
            "class",
            lambda m=method, e=together: calibration.CalibratedClassifierCV(svm.LinearSVC(random_state=0), method=m, ensemble=e, cv=3),
        )
    yield "Calibrated forest binary", "binary", lambda: calibration.CalibratedClassifierCV(_forest(), method="isotonic", cv=2)
    if SKLEARN >= (1, 6):
        from sklearn.frozen import FrozenEstimator

        yield "Calibrated frozen", "class", lambda: calibration.CalibratedClassifierCV(FrozenEstimator(_logistic().fit(_separable(), _classes())))
        yield "Frozen pipeline", "class", lambda: _scaled(FrozenEstimator(_logistic().fit(_separable(), _classes())))
    for scoring in ("f1", "balanced_accuracy", "matthews_corrcoef"):
        yield (
            f"TunedThreshold {scoring}",
            "binary",
            lambda s=scoring: model_selection.TunedThresholdClassifierCV(_logistic(), scoring=s, cv=3, store_cv_results=True, thresholds=8),
        )
    yield (
        "TunedThreshold scorer",
        "binary",
        lambda: model_selection.TunedThresholdClassifierCV(
            _logistic(), scoring=metrics.make_scorer(metrics.fbeta_score, beta=2.0), cv=3, thresholds=np.array([0.2, 0.5])
        ),
    )
    yield "FixedThreshold", "binary", lambda: model_selection.FixedThresholdClassifier(_logistic(), threshold=0.3, response_method="predict_proba")
    for increasing, bounds in itertools.product([True, False, "auto"], ["nan", "clip", "raise"]):
        yield f"Isotonic {increasing} {bounds}", "one", lambda i=increasing, b=bounds: isotonic.IsotonicRegression(increasing=i, out_of_bounds=b)
    yield "Isotonic float32 bounds", "one", lambda: isotonic.IsotonicRegression(y_min=np.float32(0), y_max=1)
    for strategy in ("prior", "most_frequent", "stratified", "uniform"):
        yield f"DummyClassifier {strategy}", "strings", lambda s=strategy: dummy.DummyClassifier(strategy=s)
    yield (
        "DummyClassifier constant RandomState",
        "strings",
        lambda: dummy.DummyClassifier(strategy="constant", constant="yes", random_state=np.random.RandomState(0)),
    )
    yield "DummyRegressor quantile", "reg", lambda: dummy.DummyRegressor(strategy="quantile", quantile=0.3)
    for solver, shrinkage in (("svd", None), ("lsqr", "auto"), ("eigen", 0.2)):
        yield f"LinearDiscriminantAnalysis {solver}", "class", lambda s=solver, k=shrinkage: discriminant_analysis.LinearDiscriminantAnalysis(s, k)
    from sklearn.covariance import OAS, GraphicalLassoCV, LedoitWolf

    for make in (OAS, LedoitWolf):
        yield (
            f"LinearDiscriminantAnalysis {make.__name__}",
            "class",
            lambda m=make: discriminant_analysis.LinearDiscriminantAnalysis("lsqr", covariance_estimator=m()),
        )
    yield (
        "QDA priors",
        "class",
        lambda: discriminant_analysis.QuadraticDiscriminantAnalysis(priors=[0.2, 0.3, 0.5], store_covariance=True, reg_param=0.1),
    )
    yield "GraphicalLassoCV", "x only", lambda: GraphicalLassoCV(alphas=3, cv=2)
    yield "GaussianNB priors", "strings", lambda: naive_bayes.GaussianNB(priors=[0.2, 0.3, 0.5])
    yield "BernoulliNB sparse", "sparse", lambda: naive_bayes.BernoulliNB(binarize=1.0)
    yield "CategoricalNB frame", "codes", lambda: naive_bayes.CategoricalNB(min_categories=[3, 3, 3, 4], class_prior=[0.2, 0.3, 0.5])
    yield "PLSRegression 1", "reg", lambda: cross_decomposition.PLSRegression(1)
    yield (
        "SparseRandomProjection dense",
        "class",
        lambda: random_projection.SparseRandomProjection(2, dense_output=True, compute_inverse_components=True),
    )
    for kernel in ("knn", "rbf"):
        yield f"LabelSpreading {kernel}", "half labelled", lambda k=kernel: semi_supervised.LabelSpreading(kernel=k, n_neighbors=5)
    yield "LabelPropagation callable", "half labelled", lambda: semi_supervised.LabelPropagation(kernel=pairwise.rbf_kernel)
    yield "RBFSampler scale", "float32", lambda: kernel_approximation.RBFSampler(gamma="scale", n_components=5, random_state=np.random.RandomState(4))
    yield "PolynomialCountSketch", "class", lambda: kernel_approximation.PolynomialCountSketch(n_components=5, degree=3, random_state=0)
    yield "AdditiveChi2Sampler sparse", "sparse", lambda: kernel_approximation.AdditiveChi2Sampler(sample_steps=2)


def _variants() -> Iterator[Case]:
    sources = (_neighbour_rows, _gp_rows, _svm_rows, _linear_rows, _tree_rows, _preprocessing_rows, _cluster_rows, _other_rows)
    for name, data, make in itertools.chain.from_iterable(source() for source in sources):
        yield Case("variants", name, functools.partial(_fit_row, make, data))


def _fit_row(make: Callable[[], Any], data: str) -> tuple[Any, Any]:
    return fitted(make(), data)


# --- composites ------------------------------------------------------------------------------------------------


def _columns(**options: Any) -> Any:
    """A column transformer as in the tutorials: numbers imputed and scaled, categories encoded, text counted."""
    numbers = pipeline.make_pipeline(impute.SimpleImputer(strategy="median", add_indicator=True), preprocessing.StandardScaler())
    return compose.ColumnTransformer(
        [
            ("numbers", numbers, ["age", "income"]),
            ("categories", preprocessing.OneHotEncoder(handle_unknown="ignore"), ["city", "grade"]),
            ("text", text.TfidfVectorizer(min_df=2), "note"),
            ("flags", "passthrough", ["member"]),
        ],
        **options,
    )


def _dense_columns(**options: Any) -> Any:
    return compose.ColumnTransformer(
        [
            ("numbers", impute.SimpleImputer(), compose.make_column_selector(dtype_include=np.number)),
            ("categories", preprocessing.OrdinalEncoder(), ["city", "grade"]),
        ],
        verbose_feature_names_out=False,
        **options,
    )


def _search(estimator: Any, grid: Any, kind: Any = model_selection.GridSearchCV, cv: Any = 2, **options: Any) -> Any:
    return kind(estimator, grid, cv=cv, **options)


def _random_search(distributions: Any, **options: Any) -> Any:
    return _search(_logistic(), distributions, model_selection.RandomizedSearchCV, n_iter=2, **options)


_SPLITTERS: dict[str, Callable[[], Any]] = {
    "KFold": lambda: model_selection.KFold(3, shuffle=True, random_state=np.random.RandomState(0)),
    "StratifiedKFold": lambda: model_selection.StratifiedKFold(3, shuffle=True, random_state=0),
    "ShuffleSplit": lambda: model_selection.ShuffleSplit(2, random_state=0),
    "StratifiedShuffleSplit": lambda: model_selection.StratifiedShuffleSplit(2, random_state=0),
    "RepeatedKFold": lambda: model_selection.RepeatedKFold(n_splits=2, n_repeats=2, random_state=0),
    "RepeatedStratifiedKFold": lambda: model_selection.RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=0),
    "TimeSeriesSplit": lambda: model_selection.TimeSeriesSplit(3, gap=1),
    "PredefinedSplit": lambda: model_selection.PredefinedSplit(np.arange(N) % 3),
    "LeavePOut list": lambda: [(np.arange(40), np.arange(40, N)), (np.arange(20, N), np.arange(20))],
    "iterable": lambda: list(model_selection.KFold(2).split(np.zeros(N))),
}
_GROUP_SPLITTERS: dict[str, Callable[[], Any]] = {
    "GroupKFold": lambda: model_selection.GroupKFold(3),
    "StratifiedGroupKFold": lambda: model_selection.StratifiedGroupKFold(3),
    "GroupShuffleSplit": lambda: model_selection.GroupShuffleSplit(2, random_state=0),
    "LeaveOneGroupOut": model_selection.LeaveOneGroupOut,
    "LeavePGroupsOut": lambda: model_selection.LeavePGroupsOut(1),
}


def _search_rows() -> Iterator[Row]:
    for name, splitter in _SPLITTERS.items():
        yield f"grid search {name}", "class", lambda s=splitter: _search(_scaled(_logistic()), {"logisticregression__C": [0.1, 1.0]}, cv=s())
    scorers: dict[str, Any] = {
        "make_scorer f1": lambda: metrics.make_scorer(metrics.f1_score, average="macro"),
        "make_scorer proba": lambda: metrics.make_scorer(
            metrics.roc_auc_score, multi_class="ovr", **({"response_method": "predict_proba"} if SKLEARN >= (1, 4) else {"needs_proba": True})
        ),
        "make_scorer log loss": lambda: metrics.make_scorer(metrics.log_loss, greater_is_better=False, response_method="predict_proba"),
        "get_scorer": lambda: metrics.get_scorer("balanced_accuracy"),
        "list": lambda: ["accuracy", "f1_macro"],
        "dict": lambda: {"a": "accuracy", "b": metrics.make_scorer(metrics.precision_score, average="micro", zero_division=0)},
    }
    for name, scorer in scorers.items():
        refit = {"list": "accuracy", "dict": "b"}.get(name, True)
        yield f"grid search {name}", "class", lambda s=scorer, r=refit: _search(_logistic(), {"C": [0.1, 1.0]}, scoring=s(), refit=r)
    yield "grid search refit callable", "class", lambda: _search(_logistic(), {"C": np.logspace(-3, 3, 30).tolist()}, refit=len)
    yield "grid search without refit", "class", lambda: _search(_logistic(), {"C": [1.0]}, refit=False)
    yield (
        "grid search over estimators",
        "class",
        lambda: _search(
            pipeline.Pipeline([("scale", "passthrough"), ("model", _logistic())]),
            [
                {"scale": [preprocessing.StandardScaler(), preprocessing.MinMaxScaler()], "model": [svm.SVC()], "model__C": [0.1, 1.0]},
                {"scale": ["passthrough"], "model": [_forest()], "model__max_depth": [2, None]},
            ],
        ),
    )
    yield (
        "grid search of columns",
        "frame",
        lambda: _search(
            pipeline.make_pipeline(_columns(), _logistic()), {"columntransformer__text__ngram_range": [(1, 1), (1, 2)]}, return_train_score=True
        ),
    )
    for name, distribution in {
        "norm": st.norm(1, 0.1),
        "uniform": st.uniform(0.1, 2),
        "loguniform": st.loguniform(0.01, 10),
        "expon": st.expon(scale=2),
        "gamma": st.gamma(2),
        "beta": st.beta(2, 3),
        "truncnorm": st.truncnorm(0.1, 2),
        "list": [0.1, 1.0, 5.0],
        "array": np.logspace(-1, 1, 5),
    }.items():
        yield f"random search {name}", "class", lambda d=distribution: _random_search({"C": d}, random_state=0)
    yield (
        "random search randint",
        "class",
        lambda: _search(_forest(), {"max_depth": st.randint(2, 5), "criterion": ["gini", "entropy"]}, model_selection.RandomizedSearchCV, n_iter=2),
    )
    yield (
        "random search list of dicts",
        "class",
        lambda: _random_search(
            [{"C": st.uniform(0.1, 2)}, {"C": [1.0], "tol": st.loguniform(1e-4, 1e-2)}], random_state=np.random.RandomState(3), scoring="f1_macro"
        ),
    )
    yield (
        "halving grid",
        "class",
        lambda: _search(
            _forest(), {"max_depth": [2, 3]}, model_selection.HalvingGridSearchCV, resource="n_estimators", max_resources=6, min_resources=2
        ),
    )
    yield (
        "halving random",
        "class",
        lambda: _search(
            _logistic(), {"C": st.loguniform(0.1, 10)}, model_selection.HalvingRandomSearchCV, random_state=0, min_resources=20, scoring="accuracy"
        ),
    )
    yield (
        "search within a search",
        "class",
        lambda: ensemble.VotingClassifier(
            [("grid", _search(_logistic(), {"C": [1.0, 2.0]})), ("random", _random_search({"C": st.uniform(0.1, 1)}, random_state=0))]
        ),
    )


def _table_rows() -> Iterator[Row]:
    logistic, forest = _logistic, _forest
    yield "columns logistic", "frame", lambda: pipeline.make_pipeline(_columns(), logistic())
    yield "columns string labels", "frame strings", lambda: pipeline.make_pipeline(_columns(remainder="drop"), logistic())
    yield "columns sparse SVC", "frame", lambda: pipeline.make_pipeline(_columns(sparse_threshold=1.0), svm.LinearSVC(random_state=0))
    yield (
        "columns HistGB",
        "frame",
        lambda: pipeline.make_pipeline(
            _dense_columns(), ensemble.HistGradientBoostingClassifier(max_iter=3, early_stopping=True, scoring="accuracy")
        ),
    )
    yield "columns pandas output", "frame reg", lambda: pipeline.make_pipeline(_dense_columns(), linear_model.Ridge()).set_output(transform="pandas")
    yield (
        "columns remainder scaled",
        "numbers",
        lambda: pipeline.make_pipeline(
            compose.make_column_transformer((preprocessing.KBinsDiscretizer(3), [0]), remainder=preprocessing.MinMaxScaler()), forest()
        ),
    )
    yield (
        "columns remainder passthrough",
        "numbers",
        lambda: compose.make_column_transformer(
            (preprocessing.SplineTransformer(), ["age"]),
            remainder="passthrough",
            **({"force_int_remainder_cols": False} if (1, 5) <= SKLEARN < (1, 8) else {}),
        ),
    )
    yield (
        "columns by slice and mask",
        "class",
        lambda: compose.ColumnTransformer(
            [("slice", preprocessing.StandardScaler(), slice(0, 2)), ("mask", "passthrough", [False, False, True, False]), ("drop", "drop", [3])],
            transformer_weights={"slice": 0.5},
        ),
    )
    yield (
        "columns selector pattern",
        "frame reg",
        lambda: pipeline.make_pipeline(
            compose.ColumnTransformer(
                [
                    ("dates", preprocessing.SplineTransformer(extrapolation="periodic"), compose.make_column_selector(pattern="month|weekday")),
                    ("days", preprocessing.FunctionTransformer(np.log1p, np.expm1, feature_names_out="one-to-one"), ["days"]),
                    ("categories", preprocessing.OneHotEncoder(), compose.make_column_selector(dtype_include="category")),
                ]
            ),
            linear_model.Ridge(),
        ),
    )
    yield (
        "columns target encoder",
        "frame reg",
        lambda: pipeline.make_pipeline(
            compose.ColumnTransformer([("city", preprocessing.TargetEncoder(cv=3, random_state=0), ["city"])], remainder="drop"), linear_model.Ridge()
        ),
    )
    yield (
        "columns nested",
        "frame",
        lambda: pipeline.make_pipeline(
            pipeline.FeatureUnion([("columns", _columns()), ("dense", _dense_columns())], transformer_weights={"dense": 2.0}), logistic()
        ),
    )
    yield "pipeline memory None", "class", lambda: pipeline.Pipeline([("scale", preprocessing.StandardScaler()), ("model", logistic())], memory=None)
    yield "pipeline memory without location", "class", lambda: pipeline.make_pipeline(preprocessing.StandardScaler(), memory=joblib.Memory(None))
    yield (
        "pipeline passthrough verbose",
        "class",
        lambda: pipeline.Pipeline([("none", "passthrough"), ("pca", decomposition.PCA(2)), ("model", logistic())]),
    )
    yield (
        "pipeline many steps",
        "gaps",
        lambda: pipeline.make_pipeline(
            impute.IterativeImputer(max_iter=2, random_state=0),
            preprocessing.PowerTransformer(),
            preprocessing.PolynomialFeatures(2),
            feature_selection.SelectKBest(feature_selection.f_classif, k=5),
            kernel_approximation.Nystroem(n_components=10, random_state=0),
            neural_network.MLPClassifier((4,), max_iter=5, random_state=0),
        ),
    )
    yield "target log", "reg", lambda: compose.TransformedTargetRegressor(linear_model.Ridge(), func=np.log1p, inverse_func=np.expm1)
    yield (
        "target quantile",
        "frame reg",
        lambda: compose.TransformedTargetRegressor(
            pipeline.make_pipeline(_dense_columns(), linear_model.HuberRegressor()), transformer=preprocessing.QuantileTransformer(n_quantiles=10)
        ),
    )
    yield (
        "clip and log",
        "reg",
        lambda: pipeline.make_pipeline(
            preprocessing.FunctionTransformer(functools.partial(np.clip, a_min=0.0, a_max=3.0)),
            preprocessing.FunctionTransformer(np.log1p),
            linear_model.Lasso(0.1),
        ),
    )


def _ensemble_rows() -> Iterator[Row]:
    logistic, forest, ridge = _logistic, _forest, linear_model.Ridge
    yield (
        "stacking passthrough",
        "class",
        lambda: ensemble.StackingClassifier(
            [("a", _scaled(svm.SVC(random_state=0))), ("b", forest()), ("c", "drop")], final_estimator=logistic(), passthrough=True, cv=3
        ),
    )
    yield "stacking prefit", "class", lambda: ensemble.StackingClassifier([("a", forest().fit(_separable(), _classes()))], cv="prefit")
    yield (
        "stacking regressors of columns",
        "frame reg",
        lambda: ensemble.StackingRegressor(
            [
                ("ridge", pipeline.make_pipeline(_columns(), ridge())),
                ("tree", pipeline.make_pipeline(_dense_columns(), tree.DecisionTreeRegressor(max_depth=2))),
            ],
            final_estimator=linear_model.RidgeCV(),
            cv=2,
        ),
    )
    yield (
        "voting soft strings",
        "strings",
        lambda: ensemble.VotingClassifier(
            [("a", logistic()), ("b", naive_bayes.GaussianNB()), ("c", forest())], voting="soft", weights=[1, 2, 1], flatten_transform=False
        ),
    )
    yield "voting regressors", "reg", lambda: ensemble.VotingRegressor([("a", ridge()), ("b", neighbors.KNeighborsRegressor(3))], weights=[0.3, 0.7])
    yield (
        "bagging pipeline",
        "class",
        lambda: ensemble.BaggingClassifier(_scaled(logistic()), n_estimators=3, oob_score=True, random_state=np.random.RandomState(1)),
    )
    yield "bagging features", "reg", lambda: ensemble.BaggingRegressor(n_estimators=3, max_features=2, bootstrap_features=True, warm_start=True)
    yield "multi-output chain", "indicator", lambda: multioutput.ClassifierChain(logistic(), order="random", random_state=0, cv=2)
    yield "multi-output forest", "two labels", lambda: multioutput.MultiOutputClassifier(forest())
    yield "multi-output HistGB", "two targets", lambda: multioutput.MultiOutputRegressor(ensemble.HistGradientBoostingRegressor(max_iter=2))
    yield "regressor chain", "two targets", lambda: multioutput.RegressorChain(svm.SVR(), order=[1, 0])
    yield "one vs rest indicator", "indicator", lambda: multiclass.OneVsRestClassifier(svm.LinearSVC(random_state=0))
    yield "one vs rest constant", "constant label", lambda: multiclass.OneVsRestClassifier(logistic())
    yield "one vs one strings", "strings", lambda: multiclass.OneVsOneClassifier(svm.SVC())
    yield (
        "error correcting codes",
        "strings",
        lambda: multiclass.OutputCodeClassifier(tree.DecisionTreeClassifier(max_depth=2), random_state=np.random.RandomState(0)),
    )
    yield "self training SVC", "half labelled", lambda: _self_training(svm.SVC(probability=True, random_state=0))
    yield (
        "calibrated pipeline of columns",
        "frame strings",
        lambda: calibration.CalibratedClassifierCV(pipeline.make_pipeline(_columns(), svm.LinearSVC(random_state=0)), cv=2),
    )
    yield (
        "tuned threshold of a calibrated forest",
        "frame binary",
        lambda: model_selection.TunedThresholdClassifierCV(
            calibration.CalibratedClassifierCV(pipeline.make_pipeline(_dense_columns(), forest()), cv=2), scoring="f1", cv=2, thresholds=5
        ),
    )
    yield "AdaBoost of pipelines", "class", lambda: ensemble.AdaBoostClassifier(naive_bayes.GaussianNB(), n_estimators=3, random_state=0)
    yield (
        "isolation forest pipeline",
        "gaps",
        lambda: pipeline.make_pipeline(impute.SimpleImputer(), ensemble.IsolationForest(n_estimators=3, random_state=0)),
    )
    yield "trees to logistic", "class", lambda: pipeline.make_pipeline(ensemble.RandomTreesEmbedding(3, max_depth=2, random_state=0), logistic())
    yield (
        "neighbour graph pipeline",
        "class",
        lambda: pipeline.make_pipeline(
            neighbors.KNeighborsTransformer(n_neighbors=6, mode="distance"), neighbors.KNeighborsClassifier(3, metric="precomputed")
        ),
    )
    yield "clusters as features", "class", lambda: pipeline.make_pipeline(cluster.KMeans(4, n_init=1, random_state=0), logistic())
    yield "Birch of agglomerative", "class", lambda: cluster.Birch(threshold=0.4, n_clusters=cluster.AgglomerativeClustering(3))
    yield "Gaussian process pipeline", "two targets", lambda: _scaled(gaussian_process.GaussianProcessRegressor(gp.RBF() + gp.WhiteKernel()))


def _self_training(estimator: Any) -> Any:
    return semi_supervised.SelfTrainingClassifier(estimator, max_iter=2, criterion="k_best", k_best=5)


def _text_rows() -> Iterator[Row]:
    count, tfidf, hashing = text.CountVectorizer, text.TfidfVectorizer, text.HashingVectorizer
    yield (
        "text tfidf SGD",
        "text",
        lambda: pipeline.make_pipeline(
            tfidf(sublinear_tf=True, stop_words="english", ngram_range=(1, 2)), linear_model.SGDClassifier(random_state=0)
        ),
    )
    yield "text count naive Bayes", "text", lambda: pipeline.make_pipeline(count(min_df=2, max_features=20, binary=True), naive_bayes.MultinomialNB())
    yield "text characters", "text", lambda: tfidf(analyzer="char_wb", ngram_range=(2, 3), dtype=np.float32, norm=None)
    yield "text accents", "text", lambda: count(strip_accents="unicode", lowercase=False, token_pattern=r"(?u)\b\w+\b")
    yield "text accents callable", "text", lambda: count(strip_accents=text.strip_accents_ascii)
    yield "text preprocessor callable", "text", lambda: tfidf(preprocessor=text.strip_tags)
    yield "text str methods", "text", lambda: tfidf(preprocessor=str.lower, tokenizer=str.split, token_pattern=None)
    yield "text analyzer callable", "text", lambda: count(analyzer=str.split)
    yield "text stop word set", "text", lambda: count(stop_words=["amber", "basil"], max_df=0.9)
    yield "text stop word constant", "text", lambda: count(stop_words=list(text.ENGLISH_STOP_WORDS))
    yield "text vocabulary given", "text", lambda: tfidf(vocabulary={"amber": 0, "cedar": 1, "pearl": 2})
    yield "text vocabulary set", "text", lambda: count(vocabulary=_WORDS)
    yield (
        "text hashing",
        "text",
        lambda: pipeline.make_pipeline(hashing(n_features=64, alternate_sign=False), text.TfidfTransformer(), svm.LinearSVC()),
    )
    yield "text topics NMF", "text", lambda: pipeline.make_pipeline(tfidf(), decomposition.NMF(3, max_iter=20, random_state=0))
    yield "text topics LDA", "text", lambda: pipeline.make_pipeline(count(), decomposition.LatentDirichletAllocation(3, max_iter=2, random_state=0))
    yield (
        "text LSA",
        "text",
        lambda: pipeline.make_pipeline(tfidf(), decomposition.TruncatedSVD(3, random_state=0), preprocessing.Normalizer(), _logistic()),
    )
    yield "text union", "text", lambda: pipeline.make_union(count(), tfidf(analyzer="char"), hashing(n_features=8))
    yield "records to vectors", "records", lambda: feature_extraction.DictVectorizer(sparse=False, sort=False, dtype=np.float32)
    yield "records hashed", "flat records", lambda: feature_extraction.FeatureHasher(8, dtype=np.float32)


DATA["constant label"] = lambda: _data_with(_dense(), np.c_[np.ones(N, int), _classes(2)])


def _routed() -> tuple[Any, Any]:
    """Metadata routing: requests for weights and groups are kept in the estimators and the search."""
    x, y, inputs = DATA["class"]()
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = metrics.make_scorer(metrics.accuracy_score).set_score_request(sample_weight=True)
        model = _logistic().set_fit_request(sample_weight=True)
        search = model_selection.GridSearchCV(model, {"C": [0.1, 1.0]}, scoring=scorer, cv=model_selection.GroupKFold(3))
        return search.fit(x, y, sample_weight=np.ones(N), groups=np.arange(N) % 5), inputs


def _routed_pipeline() -> tuple[Any, Any]:
    x, y, inputs = DATA["class"]()
    with sklearn.config_context(enable_metadata_routing=True):
        steps = preprocessing.StandardScaler().set_fit_request(sample_weight="weight"), _logistic().set_fit_request(sample_weight="weight")
        return pipeline.make_pipeline(*steps).fit(x, y, weight=np.ones(N)), inputs


def _grouped(splitter: Callable[[], Any]) -> tuple[Any, Any]:
    return fitted(_search(_logistic(), {"C": [0.1, 1.0]}, cv=splitter()), "class", {"groups": np.arange(N) % 4})


def _partial_fits() -> tuple[Any, Any]:
    x, y, inputs = DATA["strings"]()
    model = linear_model.SGDClassifier(random_state=np.random.RandomState(0))
    for start in range(0, N, 20):
        model.partial_fit(x[start : start + 20], y[start : start + 20], classes=["no", "perhaps", "yes"])
    return model, inputs


def _unfitted() -> tuple[Any, Any]:
    return [_search(pipeline.make_pipeline(_columns(), _forest()), {"randomforestclassifier__max_depth": [1, 2]}), _dense_columns()], None


def _with_frame(convert: Callable[[pd.DataFrame], pd.DataFrame]) -> tuple[Any, Any]:
    """A model that keeps a table beside itself, as for monitoring."""
    model, inputs = fitted(pipeline.make_pipeline(_columns(), _logistic()), "frame")
    model.reference_ = convert(_frame().assign(n=range(N)))
    model.metadata_ = {"trained": dt.datetime(2026, 11, 24, tzinfo=dt.UTC), "columns": list(_frame().columns), "thresholds": {"high": 0.9}}
    return model, inputs


def _trained_on(convert: Callable[[pd.DataFrame], pd.DataFrame], data: str = "frame") -> tuple[Any, Any]:
    """A model trained on a table with other column types, some of which it remembers as categories."""
    x, y, _ = DATA[data]()
    x = convert(x)
    columns = compose.ColumnTransformer(
        [
            ("numbers", impute.SimpleImputer(), ["age", "days"]),
            ("ordinal", preprocessing.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["city", "member"]),
            ("categories", preprocessing.OneHotEncoder(handle_unknown="ignore"), ["city", "grade"]),
        ]
    )
    return pipeline.make_pipeline(columns, _logistic()).fit(x, y), x[:25]


def _kept_frames() -> Iterator[tuple[str, Callable[[], tuple[Any, Any]]]]:
    conversions: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
        "as it is": lambda frame: frame,
        "nullable": lambda frame: frame.convert_dtypes(),
        "strings Int64 boolean": lambda frame: frame.astype({"city": "string", "n": "Int64", "member": "boolean", "income": "Float32"}),
        "categories": lambda frame: frame.astype({"city": "category", "member": "category"}),
        "dates": lambda frame: frame.assign(day=pd.date_range("2026-01-01", periods=N, tz="Europe/Berlin"), gap=pd.Timedelta("3h")).set_index("day"),
        "sparse": lambda frame: frame[["member", "n"]].assign(rare=pd.arrays.SparseArray([0, 0, 0, 1] * (N // 4))),
        "python strings": lambda frame: frame.astype({"city": pd.StringDtype("python")}),
    }
    if ARROW:
        conversions["arrow"] = lambda frame: frame.drop(columns="grade").convert_dtypes(dtype_backend="pyarrow")
        conversions["arrow strings"] = lambda frame: frame.astype({"city": pd.StringDtype("pyarrow"), "note": pd.StringDtype("pyarrow")})
    for name, convert in conversions.items():
        yield f"reference table {name}", functools.partial(_with_frame, convert)
    for name in ("as it is", "strings Int64 boolean", "categories", "python strings", *(["arrow strings"] if ARROW else [])):
        convert = conversions[name]
        yield f"trained on {name}", functools.partial(_trained_on, lambda frame, c=convert: c(frame.assign(n=range(N))))


def _composites() -> Iterator[Case]:
    for name, data, make in itertools.chain(_search_rows(), _table_rows(), _ensemble_rows(), _text_rows()):
        yield Case("composites", name, functools.partial(_fit_row, make, data))
    for name, splitter in _GROUP_SPLITTERS.items():
        yield Case("composites", f"grid search {name}", functools.partial(_grouped, splitter))
    for name, make in itertools.chain(
        {
            "metadata routing search": _routed,
            "metadata routing pipeline": _routed_pipeline,
            "partial fits": _partial_fits,
            "unfitted": _unfitted,
        }.items(),
        _kept_frames(),
    ):
        yield Case("composites", name, make)


# --- values ----------------------------------------------------------------------------------------------------


def _numpy_values() -> dict[str, Callable[[], Any]]:
    return {
        "arrays": lambda: [np.arange(12).reshape(3, 4), np.asfortranarray(np.eye(3)), np.zeros((0, 3)), np.array(2.5), np.arange(9)[::2]],
        "large arrays": lambda: [np.arange(2000.0), np.arange(4000, dtype=">i4").reshape(2, -1), np.asfortranarray(np.ones((50, 40)))],
        "every kind": lambda: [np.zeros(3, code) for code in "?bhilqBHILQefdgFDGSUVOMm" if code not in "Mm"],
        "dates": lambda: [np.array(["2026-11-24", "NaT"], f"M8[{unit}]") for unit in ("D", "h", "s", "ms", "us", "ns", "M", "Y")],
        "durations": lambda: [np.array([1, 2, "NaT"], f"m8[{unit}]") for unit in ("D", "s", "ns", "25s")],
        "text": lambda: [np.array(["a", "bcd"]), np.array([b"x", b""]), np.array(["a", None, 1.5, (1,)], dtype=object)],
        "structs": lambda: [
            np.array([(1, 2.0)], dtype=np.dtype([("a", "i1"), ("b", "f8")], align=True)),
            np.zeros(2, [("x", "f4", (2,)), ("y", "U3")]),
        ],
        "scalars": lambda: [
            np.float32(1.5),
            np.int64(-3),
            np.bool_(True),
            np.str_("x"),
            np.bytes_(b"x"),
            np.complex64(1j),
            np.datetime64("2026-11-24"),
        ],
        "dtypes": lambda: [np.dtype("f4"), np.dtype(">i8"), np.dtype("U5"), np.dtype("M8[s]"), np.dtype(object), np.float64, np.int32, np.bool_],
        "masked": lambda: [np.ma.masked_array([1, 2, 3], [0, 1, 0]), np.ma.masked_array(np.eye(2), mask=True, fill_value=7.0)],
        "records": lambda: [np.rec.array([(1, "x")], dtype=[("n", "i4"), ("s", "U2")])],
        "matrix": lambda: [np.matrix([[1, 2], [3, 4]]), np.char.array(["a", "bc"])],
        "random states": lambda: [
            np.random.RandomState(3),
            np.random.default_rng(3),
            *(np.random.Generator(cls(5)) for cls in (np.random.MT19937, np.random.Philox, np.random.SFC64, np.random.PCG64DXSM)),
            np.random.SeedSequence(5).spawn(2)[1],
        ],
        "polynomials": lambda: [np.polynomial.Polynomial([1, 2, 3]), np.polynomial.Chebyshev([1, 2]), np.poly1d([1, 2])],
        "functions": lambda: [np.log1p, np.mean, np.clip, np.maximum, np.where, np.linalg.norm, np.max, np.nanmean, np.heaviside],
        **({"long text": lambda: np.array(["a", "b" * 40], dtype=np.dtypes.StringDType())} if NUMPY >= (2, 0) else {}),
    }


def _scipy_values() -> dict[str, Callable[[], Any]]:
    formats = ("csr", "csc", "coo", "bsr", "dia", "lil", "dok")
    grid, x = np.linspace(0, 1, 6), np.linspace(0, 3, 10)
    values: dict[str, Callable[[], Any]] = {
        "sparse matrices": lambda: [sp.random(5, 5, 0.4, format=name, random_state=0) for name in formats],
        "sparse arrays": lambda: [getattr(sp, f"{name}_array")(np.diag([1.0, 0.0, 2.0])) for name in formats],
        "large sparse": lambda: sp.random(400, 300, 0.05, format="csr", random_state=0, dtype=np.float32),
        "splines": lambda: [scipy.interpolate.make_interp_spline(x, np.sin(x)), scipy.interpolate.UnivariateSpline(x, np.sin(x))],
        "piecewise": lambda: [
            scipy.interpolate.CubicSpline(x, np.sin(x)),
            scipy.interpolate.PchipInterpolator(x, x),
            scipy.interpolate.Akima1DInterpolator(x, x),
        ],
        "interp1d": lambda: [scipy.interpolate.interp1d(x, np.sin(x), kind=kind) for kind in ("linear", "nearest", "previous", "cubic")],
        "grids": lambda: [
            scipy.interpolate.RegularGridInterpolator((grid, grid), np.ones((6, 6))),
            scipy.interpolate.NearestNDInterpolator(np.eye(3), [1, 2, 3]),
        ],
        "radial": lambda: scipy.interpolate.RBFInterpolator(_dense(), _target()),
        "trees": lambda: [scipy.spatial.cKDTree(_dense()), scipy.spatial.KDTree(_dense())],
        "rotation": lambda: scipy.spatial.transform.Rotation.from_euler("xyz", [0.1, 0.2, 0.3]),
        "optimum": lambda: [scipy.optimize.minimize(np.sum, [1.0, 2.0], bounds=[(0, 3)] * 2), scipy.optimize.Bounds([0, 1], [2, 3])],
        "density": lambda: st.gaussian_kde(_dense().T),
        "frozen": lambda: [st.norm(1, 2), st.randint(1, 9), st.loguniform(0.1, 1), st.poisson(2), st.multivariate_normal([0, 1]), st.uniform],
        "frozen with a generator": lambda: _seeded(st.norm(0, 1), np.random.default_rng(3)),
        "frozen with a state": lambda: _seeded(st.expon(0, 1), np.random.RandomState(3)),
    }
    for kind, members in {"continuous": st._distr_params.distcont, "discrete": st._distr_params.distdiscrete}.items():
        values[f"every {kind} distribution"] = lambda m=members: [
            getattr(st, name)(*shapes) for name, shapes in m if isinstance(name, str) and name not in ("levy_stable", "rv_histogram")
        ]
    return values


def _seeded(frozen: Any, state: Any) -> Any:
    frozen.random_state = state
    return frozen


def _pandas_values() -> dict[str, Callable[[], Any]]:
    values: dict[str, Callable[[], Any]] = {
        "frame": _frame,
        "series": lambda: [
            pd.Series([1.5, None], name="x"),
            pd.Series(["a", "b"], index=["p", "q"]),
            pd.Series([], dtype="float64"),
            pd.Series([1, "x"], dtype=object),
        ],
        "indexes": lambda: [
            pd.Index([1, 2, 3], name="n"),
            pd.Index([0.5, 1.5]),
            pd.Index(["a", "b"]),
            pd.Index(["a", "b"], dtype=object),
            pd.RangeIndex(3, 20, 4),
            pd.CategoricalIndex(["x", "y", "x"], ordered=True),
            pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["letter", "n"]),
            pd.Index([True, False]),
        ],
        "time indexes": lambda: [
            pd.date_range("2026-01-01", periods=4, freq="D"),
            pd.date_range("2026-01-01", periods=4, freq="h", tz="Europe/Berlin"),
            pd.DatetimeIndex(["2026-01-01", None], tz="UTC"),
            pd.timedelta_range("1h", periods=3, freq="30min"),
            pd.period_range("2026-01", periods=3, freq="M"),
            pd.interval_range(0, 3),
            pd.interval_range(pd.Timestamp("2026-01-01"), periods=2, freq="D", closed="left"),
        ],
        "frequencies": lambda: [pd.date_range("2026-01-01", periods=2, freq=code) for code in ("MS", "W", "B", "min", "s", "YS", "QS", *_ENDS)],
        "times": lambda: [
            pd.Timestamp("2026-11-24 05:00"),
            pd.Timestamp("2026-11-24", tz="UTC"),
            pd.Timestamp("2026-11-24", tz="America/Lima"),
            pd.Timestamp("2026-11-24 05:00+02:00"),
            pd.Timedelta("3h"),
            pd.NaT,
            pd.NA,
        ],
        "periods and intervals": lambda: [
            pd.Period("2026-11", "M"),
            pd.Period("2026", "Y"),
            pd.Interval(0, 1.5),
            pd.Interval(pd.Timestamp("2026"), pd.Timestamp("2027")),
        ],
        "dtypes": lambda: [
            pd.CategoricalDtype(["a", "b"], ordered=True),
            pd.DatetimeTZDtype(tz="Europe/Berlin"),
            pd.PeriodDtype("M"),
            pd.IntervalDtype("float64", "right"),
            pd.Int32Dtype(),
            pd.Float64Dtype(),
            pd.BooleanDtype(),
            pd.StringDtype("python"),
            pd.SparseDtype("float64"),
            *([pd.StringDtype("pyarrow")] if ARROW else []),
        ],
        "nullable": lambda: (
            [pd.array([1, None], dtype=f"{kind}{bits}") for kind in ("Int", "UInt") for bits in (8, 16, 32, 64)]
            + [pd.array([1.5, None], dtype="Float32"), pd.array([True, None], dtype="boolean"), pd.array(["a", None], dtype="string")]
        ),
        "arrays": lambda: [
            pd.Categorical(["a", "b", None]),
            pd.arrays.SparseArray([0, 0, 1]),
            pd.arrays.IntervalArray.from_breaks([0, 1, 2]),
            pd.array(["2026-01", "2026-02"], dtype="period[M]"),
            pd.array([1.0, 2.0], dtype="float64"),
            pd.array(pd.to_datetime(["2026-01-01"], utc=True)),
        ],
        "frame of columns": lambda: pd.DataFrame(np.ones((3, 2)), columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])),
        "frame with attributes": lambda: _with_attributes(),
        "empty frame": pd.DataFrame,
        "large frame": lambda: pd.DataFrame(np.arange(6000.0).reshape(1000, 6), columns=list("abcdef")),
    }
    if ARROW:
        import pyarrow as pa

        values["arrow"] = lambda: [
            pd.array([1, None], dtype="int64[pyarrow]"),
            pd.array([True, None, False], dtype="bool[pyarrow]"),
            pd.array(["a", None, "ünï"], dtype="string[pyarrow]"),
            pd.array([1.5, 2.5], dtype="double[pyarrow]"),
            pd.array([dt.datetime(2026, 1, 1)], dtype=pd.ArrowDtype(pa.timestamp("us"))),  # noqa: DTZ001 - columns without zone are as common
            pd.array([dt.date(2026, 1, 1)], dtype=pd.ArrowDtype(pa.date32())),
            pd.Series(["a", "b"] * 3000, dtype="string[pyarrow]"),
        ]
        values["arrow slices"] = lambda: [
            pd.Series(range(100), dtype="int64[pyarrow]")[3:17],
            pd.Series(["a", None, "b"] * 9, dtype="string[pyarrow]")[4:9],
        ]
    return values


_ENDS = ("ME", "QE", "YE") if PANDAS >= (2, 2) else ("M", "Q", "A")


def _with_attributes() -> pd.DataFrame:
    frame = _frame()
    frame.attrs["source"] = "customers.csv"
    return frame


def _python_values() -> dict[str, Callable[[], Any]]:
    default = collections.defaultdict(list)
    default["x"].append(1)
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    return {
        "atoms": lambda: [
            None,
            True,
            1,
            -(10**40),
            1.5,
            float("nan"),
            float("-inf"),
            "text ü \U0001f40d",
            b"bytes",
            bytearray(b"x"),
            1 + 2j,
            ...,
            NotImplemented,
        ],
        "containers": lambda: [
            [],
            [[]],
            (),
            (1,),
            (1, 2, 3, 4),
            {},
            {"a": {1: (2,)}},
            {1, 2},
            frozenset({"x"}),
            {(1, 2): 3, None: 4, 1.5: 5, b"x": 6},
        ],
        "long containers": lambda: [list(range(3000)), {f"w{i}": i for i in range(3000)}, set(range(3000)), ["ab" * 200] * 3],
        "dates": lambda: [
            dt.date(2026, 11, 24),
            dt.time(5, 30),
            dt.datetime(2026, 11, 24, 5),  # noqa: DTZ001
            dt.timedelta(1, 2, 3),
            dt.UTC,
            dt.timezone(dt.timedelta(hours=2), "EET"),
            dt.datetime(2026, 11, 24, tzinfo=dt.UTC),
            dt.datetime(2026, 11, 24, tzinfo=berlin),
            dt.time(5, tzinfo=berlin),
            berlin,
        ],
        "numbers": lambda: [decimal.Decimal("1.50"), decimal.Decimal("NaN"), fractions.Fraction(2, 3)],
        "collections": lambda: [
            collections.OrderedDict(a=1),
            collections.Counter("abca"),
            default,
            collections.deque([1, 2], 5),
            collections.deque([3]),
        ],
        "factories": lambda: [collections.defaultdict(kind, {"a": kind()}) for kind in (int, float, list, dict, set, str)],
        "paths": lambda: [pathlib.PurePosixPath("a/b.csv"), pathlib.Path("data") / "x.parquet", pathlib.PureWindowsPath("c:/x")],
        "uuid": lambda: uuid.UUID(int=5),
        "slices": lambda: [slice(1, 2), slice(None), range(3, 30, 2)],
        "getters": lambda: [operator.itemgetter("a"), operator.itemgetter(1, 2)],
        "partial": lambda: [
            functools.partial(np.clip, a_min=0, a_max=1),
            functools.partial(max, default=0),
            functools.partial(np.percentile, q=90, axis=0),
        ],
        "types": lambda: [int, float, str, bool, list, dict, tuple, set, bytes, object, type(None), complex],
        "functions": lambda: [len, max, min, sum, abs, round],
        "generator": lambda: random.Random(3),
        "errors": lambda: [ValueError("bad", 3), KeyError("x"), RuntimeError("late")],
        "flags": lambda: re.IGNORECASE | re.MULTILINE,
        "bunch": lambda: sklearn.utils.Bunch(data=np.eye(2), names=["a", "b"]),
    }


def _sklearn_values() -> dict[str, Callable[[], Any]]:
    def metric_functions() -> list[Any]:
        names = [name for name in dir(metrics) if name.endswith(("_score", "_loss", "_error", "_deviance"))]
        return [getattr(metrics, name) for name in names]

    return {
        "every scorer": lambda: {name: metrics.get_scorer(name) for name in metrics.get_scorer_names()},
        "every metric": lambda: [metrics.make_scorer(function) for function in metric_functions()],
        "every kernel": lambda: list(pairwise.PAIRWISE_KERNEL_FUNCTIONS.values()),
        "every distance": lambda: [function for function in pairwise.PAIRWISE_DISTANCE_FUNCTIONS.values() if function is not None],
        "trees": lambda: [
            kind(_dense(), metric=name) for kind in (neighbors.KDTree, neighbors.BallTree) for name in ("euclidean", "manhattan", "chebyshev")
        ],
        "distances": lambda: [metrics.DistanceMetric.get_metric(name) for name in ("euclidean", "manhattan", "hamming", "haversine", "jaccard")],
        "splitters": lambda: [make() for make in (_SPLITTERS | _GROUP_SPLITTERS).values()],
        "grids": lambda: [model_selection.ParameterGrid({"a": [1, 2]}), model_selection.ParameterSampler({"a": st.norm(0, 1)}, 3, random_state=0)],
        "kernels": lambda: [gp.CompoundKernel([gp.RBF(), gp.Matern()]), gp.Exponentiation(gp.RBF(), 2), gp.Product(gp.RBF(), gp.WhiteKernel())],
        "cv results": lambda: model_selection.cross_validate(_logistic(), _separable(), _classes(), return_estimator=True, cv=2),
        "permutation importance": lambda: sklearn.inspection.permutation_importance(
            _logistic().fit(_separable(), _classes()), _separable(), _classes(), n_repeats=2, random_state=0
        ),
        "dataset": lambda: sklearn.datasets.load_iris(),
    }


def _values() -> Iterator[Case]:
    for library, members in {
        "numpy": _numpy_values(),
        "scipy": _scipy_values(),
        "pandas": _pandas_values(),
        "python": _python_values(),
        "sklearn": _sklearn_values(),
    }.items():
        for name, make in members.items():
            yield Case("values", f"{library} {name}", lambda m=make: (m(), None))


# --- outside ---------------------------------------------------------------------------------------------------


class _Local(preprocessing.StandardScaler):
    """A user's class."""


class _Distribution(st.rv_continuous):
    """A user's distribution: its state setter executes text of the state, which is no template of scipy's."""

    def _pdf(self, x: Any) -> Any:
        return np.exp(-x)


def _distribution(**options: Any) -> Any:
    return _Distribution(a=0, name="custom", **options)


def own_function(x: Any) -> Any:
    """A user's function: allowed only by name."""
    return x


def _transformer(function: Any, **options: Any) -> Any:
    return pipeline.make_pipeline(preprocessing.FunctionTransformer(function, **options))


_OUTSIDE: dict[str, tuple[str, Callable[[], Any]]] = {
    "lambda": ("lambda", lambda: _transformer(lambda x: x)),
    "class of a user": ("_Local", lambda: _Local().fit(_dense())),
    "function of a user": ("own_function", lambda: _transformer(own_function)),
    "memory with a location": (
        "joblib.memory:Memory",
        lambda: pipeline.make_pipeline(_logistic(), memory=joblib.Memory(tempfile.gettempdir(), verbose=0)),
    ),
    "methodcaller": ("methodcaller", lambda: _transformer(operator.methodcaller("to_pickle", "x"))),
    "compiled pattern": ("re:_compile", lambda: _transformer(np.log1p, kw_args={"pattern": re.compile("(a+)+$")})),
    "histogram distribution": ("rv_histogram", lambda: _random_search({"C": st.rv_histogram(np.histogram(_target()))})),
    "distribution of a user": ("_Distribution", lambda: _random_search({"C": _distribution()})),
    "distribution with shapes": ("_Distribution", lambda: _distribution(shapes="c, d")(1.0, 2.0)),
    "os.system": ("system", lambda: _transformer(__import__("os").system)),
    "eval": ("eval", lambda: _transformer(eval)),
    "partial of exec": ("exec", lambda: functools.partial(exec, "1")),
    "numpy.load": ("load", lambda: _transformer(np.load)),
    "numpy.savetxt": ("savetxt", lambda: _transformer(np.savetxt)),
    "pandas.read_pickle": ("read_pickle", lambda: _transformer(pd.read_pickle)),
    "joblib.load": ("load", lambda: _transformer(joblib.load)),
    "private attribute": (
        "attrgetter",
        lambda: feature_selection.SelectFromModel(_logistic(), importance_getter=operator.attrgetter("__class__.mro")),
    ),
    "method of a model": ("getattr", lambda: _transformer(_logistic().fit(_separable(), _classes()).predict)),
    "other method of a booster": ("getattr", lambda: functools.partial(ensemble.HistGradientBoostingClassifier().fit)),
    "other method of a distribution": ("getattr", lambda: functools.partial(st.randint.rvs)),
    "factory that runs code": ("exec", lambda: collections.defaultdict(exec)),
    "structs of objects": ("structures that hold Python objects", lambda: np.zeros(2, [("x", "f4"), ("y", "O")])),
    "address": ("ipaddress", lambda: ipaddress.ip_address("127.0.0.1")),
    "namespace": ("types:SimpleNamespace", lambda: types.SimpleNamespace(a=1)),
    "dtype with metadata": ("numpy:dtype", lambda: np.dtype("f8", metadata={"unit": "m"})),
}


def _scoring_monitor() -> Any:
    from sklearn.callback import ScoringMonitor

    return ScoringMonitor(scoring="accuracy")


def _arrow_lists() -> Any:
    import pyarrow as pa

    return pd.array([[1, 2], None], dtype=pd.ArrowDtype(pa.list_(pa.int64())))


def _arrow_dictionary() -> Any:
    import pyarrow as pa

    return pd.array(["a", "b"], dtype=pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string())))


def _outside() -> Iterator[Case]:
    extra = {"scoring monitor": ("ScoringMonitor", _scoring_monitor)} if SKLEARN >= (1, 9) else {}
    if ARROW:
        extra |= {"arrow lists": ("pyarrow.lib:list_", _arrow_lists), "arrow dictionary": ("pyarrow.lib:dictionary", _arrow_dictionary)}
    for name, (refused, make) in (_OUTSIDE | extra).items():
        yield Case("outside", name, lambda m=make: (m(), None), refused)


@functools.cache
def cases(group: str) -> tuple[Case, ...]:
    """Return the cases of a group that the installed versions can have."""
    made = {"estimators": _estimators, "variants": _variants, "composites": _composites, "values": _values, "outside": _outside}[group]()
    found = tuple(made)
    names = [case.name for case in found]
    if len(set(names)) != len(names):
        raise ValueError(f"{group} has a name twice: {[name for name, count in collections.Counter(names).items() if count > 1]}")
    return found


def all_cases(groups: Iterable[str] = GROUPS[:-1]) -> Iterator[Case]:
    """Return the cases that must pass the default policy."""
    return itertools.chain.from_iterable(cases(group) for group in groups)
