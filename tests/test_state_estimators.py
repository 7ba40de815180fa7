"""Estimators whose state compiled code believes: every honest form of them loads, and each entry that is forged is refused.

`honest` makes models as people fit them, one for each combination of what changes the form of a state: dtypes, sparse
input, one class, one column, weights, infrequent categories, training in parts, training again. `FORGED` edits one entry of
a fitted model each; a genuine file over it must be refused with the entry in the message, before anything is built.
"""

from __future__ import annotations

import copy
import datetime as dt
import functools
import itertools
import re
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from assembler import KEY, Do, New, program, seal
from sklearn import (
    cluster,
    covariance,
    cross_decomposition,
    decomposition,
    feature_selection,
    gaussian_process,
    impute,
    kernel_ridge,
    linear_model,
    mixture,
    naive_bayes,
    neural_network,
    svm,
)
from sklearn import feature_extraction as extraction
from sklearn import preprocessing as pre
from sklearn.feature_extraction.image import PatchExtractor
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.gaussian_process import kernels as gp
from sklearn.isotonic import IsotonicRegression
from sklearn.kernel_approximation import AdditiveChi2Sampler, PolynomialCountSketch
from sklearn.metrics import pairwise
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection

from safepickle import StateError, dumps, loads, state
from safepickle.machine import trace
from safepickle.pickling import pickled, resolve
from safepickle.policy import Policy, admit

SKLEARN = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
Row = tuple[str, Callable[[], Any]]

# --- data ------------------------------------------------------------------------------------------------------

N = 60
_RNG = np.random.RandomState(5)
X = _RNG.rand(N, 4) * 3
CLASSES = np.arange(N) % 3
PAIRS = np.arange(N) % 2
TARGET = X @ [1.0, 2.0, -1.0, 0.5]
COUNTS = (X * 3).astype(int)
WORDS = ["red green", "green blue blue", "red", "white red blue green"] * 3
FORMS: dict[str, Callable[[Any], Any]] = {
    "dense": lambda x: x,
    "float32": lambda x: x.astype(np.float32),
    "Fortran": np.asfortranarray,
    "integers": lambda x: (x * 4).astype(int),
    "csr": sp.csr_matrix,
    "csr array": sp.csr_array,
    "csc": sp.csc_matrix,
    "frame": lambda x: pd.DataFrame(x, columns=list("abcdefgh")[: x.shape[1]]),
    "one column": lambda x: x[:, :1],
    "wide": lambda x: np.tile(x, (1, 30)),
}
TEXTS = np.array([["a", "x"], ["b", "y"], ["a", "z"], ["c", "x"], ["d", "x"], ["a", "y"]] * 3)
MIXED = pd.DataFrame({"s": ["a", "b", None, "a", np.nan, "c"] * 3, "n": [1.0, 2.0, np.nan, 1.0, 3.0, 1.0] * 3})
COLUMNS: dict[str, Any] = {
    "text": TEXTS,
    "objects": TEXTS.astype(object),
    "bytes": TEXTS.astype("S"),
    "integers": COUNTS,
    "floats with gaps": np.where(COUNTS == 3, np.nan, COUNTS),
    "float32": COUNTS.astype(np.float32),
    "truth": COUNTS > 4,
    "mixed frame": MIXED,
    "categories": pd.DataFrame({"s": pd.Categorical(["a", "b", "c"] * 6), "t": [True, False, True] * 6}),
    "one value": np.ones((9, 2)),
}


# --- honest models ---------------------------------------------------------------------------------------------


def honest() -> Iterator[Row]:
    """Yield each model with a name. Those that the library itself refuses to fit are left out."""
    for family in (_vector_machines, _linear, _decompositions, _clusters, _text, _encoders, _columns):
        yield from family()


def _vector_machines() -> Iterator[Row]:
    classifiers = (svm.SVC, svm.NuSVC)
    for kind, kernel, form in itertools.product((*classifiers, svm.SVR, svm.NuSVR, svm.OneClassSVM), ("linear", "poly", "rbf", "sigmoid"), FORMS):
        y = {svm.SVC: CLASSES, svm.NuSVC: PAIRS}.get(kind, TARGET)
        yield f"{kind.__name__} {kernel} {form}", lambda k=kind, n=kernel, f=form, y=y: k(kernel=n).fit(FORMS[f](X), y)
    for count, form, probability in itertools.product((2, 3, 7), ("dense", "csr"), (True, False)):
        labels = np.arange(N) % count
        yield (
            f"SVC of {count} classes {form} {probability}",
            lambda y=labels, f=form, p=probability: svm.SVC(probability=p, class_weight="balanced").fit(FORMS[f](X), y.astype(str)),
        )
    for form in ("dense", "csr"):
        for kind in (svm.SVR, svm.NuSVR):
            yield f"{kind.__name__} without vectors {form}", lambda f=form, k=kind: k(C=1e-9).fit(FORMS[f](X), np.zeros(N))
        yield f"SVR of a wide tube {form}", lambda f=form: svm.SVR(epsilon=1e6).fit(FORMS[f](X), TARGET)
        yield f"SVC gamma {form}", lambda f=form: svm.SVC(gamma="auto", cache_size=10, max_iter=3).fit(FORMS[f](X), CLASSES)
    functions = {
        "rbf": pairwise.rbf_kernel,
        "partial": functools.partial(pairwise.rbf_kernel, gamma=0.3),
        "gp": gp.RBF(2.0) + gp.ConstantKernel(),
        "inner": np.inner,
        "precomputed": "precomputed",
    }
    for name, function in functions.items():
        for kind, form in itertools.product((svm.SVC, svm.SVR, svm.OneClassSVM), ("dense", "frame", "csr", "list")):
            data = X @ X.T if name == "precomputed" else X
            shaped = data.tolist() if form == "list" else FORMS["dense" if name == "precomputed" else form](data)
            yield f"{kind.__name__} of {name} {form}", lambda k=kind, f=function, x=shaped: k(kernel=f).fit(x, CLASSES)
    yield "SVC unfitted", svm.SVC
    yield "SVC asked for probabilities later", lambda: svm.SVC().fit(X, CLASSES).set_params(probability=True)
    for kind in (svm.LinearSVC, svm.LinearSVR):
        for intercept in (True, False):
            yield f"{kind.__name__} {intercept}", lambda k=kind, i=intercept: k(fit_intercept=i).fit(X, CLASSES)


def _linear() -> Iterator[Row]:
    m = linear_model
    for kind, average, form, y in itertools.product(
        (m.SGDClassifier, m.SGDRegressor, m.SGDOneClassSVM), (False, True, 10**6), ("dense", "float32", "csr", "one column"), (CLASSES, PAIRS)
    ):
        make = functools.partial(kind, average=average, max_iter=3, tol=None)
        name = f"{kind.__name__} {average} {form} {len(set(y))}"
        yield name, lambda k=make, f=form, y=y: k().fit(FORMS[f](X), y)
        yield f"{name} in parts", lambda k=make, f=form, y=y: _in_parts(k(), FORMS[f](X), y)
        yield f"{name} again", lambda k=make, f=form, y=y: k(warm_start=True).fit(FORMS[f](X), y).fit(FORMS[f](X), y).partial_fit(FORMS[f](X), y)
        yield f"{name} other", lambda k=make, f=form, y=y: k().fit(FORMS[f](X), y).fit(FORMS["wide"](X), PAIRS)
    yield "SGD sparse", lambda: m.SGDClassifier().fit(X, CLASSES).sparsify()
    yield "SGD dense again", lambda: m.SGDClassifier().fit(X, PAIRS).sparsify().densify()
    yield "SGD early stopping", lambda: m.SGDClassifier(early_stopping=True, average=3).fit(X, CLASSES)
    yield "SGD without intercept", lambda: m.SGDRegressor(fit_intercept=False).fit(X, TARGET)
    yield "SGD of coefficients by hand", _by_hand
    for kind in (m.Perceptron, m.PassiveAggressiveClassifier, m.PassiveAggressiveRegressor):
        for y in (CLASSES, PAIRS):
            yield f"{kind.__name__} {len(set(y))}", lambda k=kind, y=y: _in_parts(k(), X, y)
    two = np.c_[TARGET, TARGET**2]
    for kind, y, intercept in itertools.product(
        (m.Lasso, m.ElasticNet, m.LinearRegression, m.Ridge, m.RidgeClassifier, m.Lars, m.LassoLars, m.OrthogonalMatchingPursuit),
        (PAIRS, CLASSES, two),
        (True, False),
    ):
        yield f"{kind.__name__} {np.shape(y)} {intercept} {len(np.unique(y))}", lambda k=kind, y=y, i=intercept: k(fit_intercept=i).fit(X, y)
    for kind in (m.MultiTaskLasso, m.MultiTaskElasticNet):
        yield kind.__name__, lambda k=kind: k(warm_start=True).fit(X, two).fit(X, two)
    for kind in (m.HuberRegressor, m.QuantileRegressor, m.BayesianRidge, m.ARDRegression, m.TheilSenRegressor, m.PoissonRegressor):
        yield kind.__name__, lambda k=kind: k(fit_intercept=False).fit(X, np.abs(TARGET))
    for solver, y in itertools.product(("lbfgs", "saga", "newton-cg"), (PAIRS, CLASSES)):
        yield f"LogisticRegression {solver} {len(set(y))}", lambda s=solver, y=y: m.LogisticRegression(solver=s, fit_intercept=False).fit(X, y)
    for sizes, y in itertools.product(((5,), 5, [4, 3], np.array([6]), ()), (CLASSES, PAIRS)):
        name = f"MLP {sizes} {len(set(y))}"
        yield name, lambda s=sizes, y=y: neural_network.MLPClassifier(s, max_iter=2).fit(X, y)
        yield f"{name} in parts", lambda s=sizes, y=y: _in_parts(neural_network.MLPClassifier(s), X, y)
    yield "MLP of two targets", lambda: neural_network.MLPRegressor(hidden_layer_sizes=(3, 2), max_iter=2, solver="lbfgs").fit(X, two)
    for y in (TARGET, two):
        yield f"PLSRegression{' of two' * (y is two)}", lambda y=y: cross_decomposition.PLSRegression(1).fit(X, y)
    kernel = gp.PairwiseKernel(metric="rbf", pairwise_kernels_kwargs={"n_jobs": 1})
    yield "GP of pairs", lambda: gaussian_process.GaussianProcessRegressor(kernel, optimizer=None).fit(X, TARGET)
    yield "KernelRidge", lambda: kernel_ridge.KernelRidge(kernel="rbf", kernel_params={"gamma": 1}).fit(X, TARGET)
    for kind in (naive_bayes.GaussianNB, naive_bayes.BernoulliNB, naive_bayes.ComplementNB, naive_bayes.MultinomialNB):
        yield kind.__name__, lambda k=kind: _in_parts(k(), COUNTS, CLASSES)
    yield "Isotonic", lambda: IsotonicRegression().fit(X[:, 0], TARGET)
    yield "Isotonic of one", lambda: IsotonicRegression(increasing="auto").fit([1.0, 1.0], [2.0, 3.0])
    yield "Isotonic float32", lambda: IsotonicRegression(out_of_bounds="clip").fit(X[:, :1].astype(np.float32), TARGET)
    for least in (None, 9, [9, 10, 11, 12], np.array([9, 9, 9, 12])):
        yield f"CategoricalNB {least}", lambda o=least: naive_bayes.CategoricalNB(min_categories=o).fit(COUNTS, CLASSES)


def _in_parts(model: Any, x: Any, y: Any) -> Any:
    known = {"classes": np.unique(y)} if hasattr(model, "classes") or isinstance(model, sklearn.base.ClassifierMixin) else {}
    return model.partial_fit(x[:20], y[:20], **known).partial_fit(x[20:], y[20:])


def _by_hand() -> Any:
    """A classifier that was never fitted, as federated training makes them."""
    model = linear_model.SGDClassifier()
    model.classes_ = np.array([0, 1, 2])
    model.coef_ = np.zeros((3, 4))
    model.intercept_ = np.zeros(3)
    return model


def _decompositions() -> Iterator[Row]:
    d = decomposition
    for kind in (covariance.EmpiricalCovariance, covariance.LedoitWolf, covariance.MinCovDet, covariance.EllipticEnvelope, covariance.GraphicalLasso):
        for store, form in itertools.product((True, False), ("dense", "float32", "one column")):
            options = {} if kind is covariance.GraphicalLasso else {"store_precision": store}
            yield f"{kind.__name__} {store} {form}", lambda k=kind, f=form, o=options: k(**o).fit(FORMS[f](X))
    for kind, shape in itertools.product((mixture.GaussianMixture, mixture.BayesianGaussianMixture), ("full", "tied", "diag", "spherical")):
        yield f"{kind.__name__} {shape}", lambda k=kind, s=shape: k(n_components=2, covariance_type=s, max_iter=3).fit(X)
    for form in ("dense", "float32", "csr"):
        yield f"IncrementalPCA {form}", lambda f=form: d.IncrementalPCA(2, batch_size=20, whiten=True).fit(FORMS[f](X))
        yield f"LDA {form}", lambda f=form: _in_parts_of_x(d.LatentDirichletAllocation(3, max_iter=2), FORMS[f](X))
        for solver in ("cd", "mu"):
            yield f"NMF {form} {solver}", lambda f=form, s=solver: d.NMF(2, solver=s, max_iter=3).fit(FORMS[f](X))
        yield f"MiniBatchNMF {form}", lambda f=form: _in_parts_of_x(d.MiniBatchNMF(2, max_iter=3), FORMS[f](X))
    yield "IncrementalPCA in parts", lambda: d.IncrementalPCA().partial_fit(X).partial_fit(X)
    yield "NMF of all", lambda: d.NMF(None, max_iter=3).fit(X)
    yield "NMF auto", lambda: d.NMF("auto", max_iter=3).fit(X)
    yield "DictionaryLearning", lambda: d.DictionaryLearning(3, max_iter=3, transform_max_iter=7).fit(X)
    yield "MiniBatchDictionaryLearning", lambda: d.MiniBatchDictionaryLearning(max_iter=5, n_components=3, batch_size=8).partial_fit(X)
    yield "SparseCoder", lambda: d.SparseCoder(X[:5])
    for kind, form, inverse in itertools.product((GaussianRandomProjection, SparseRandomProjection), ("dense", "csr", "wide"), (True, False)):
        yield f"{kind.__name__} {form} {inverse}", lambda k=kind, f=form, i=inverse: k(3, compute_inverse_components=i).fit(FORMS[f](X))
    yield "GaussianRandomProjection auto", lambda: GaussianRandomProjection(eps=0.9).fit(np.ones((9, 300)))
    yield "SparseRandomProjection full", lambda: SparseRandomProjection(2, density=1.0).fit(X)
    for coef0, form in itertools.product((0, 1), ("dense", "csr")):
        yield (
            f"PolynomialCountSketch {coef0} {form}",
            lambda c=coef0, f=form: PolynomialCountSketch(degree=3, coef0=c, n_components=9).fit(FORMS[f](X)),
        )
    yield "AdditiveChi2Sampler", lambda: AdditiveChi2Sampler(sample_steps=5, sample_interval=0.2).fit(X)


def _in_parts_of_x(model: Any, x: Any) -> Any:
    return model.fit(x).partial_fit(x)


def _clusters() -> Iterator[Row]:
    c = cluster
    for form, count in itertools.product(FORMS, (1, 2, 5)):
        yield f"KMeans {form} {count}", lambda f=form, k=count: c.KMeans(k, n_init=1).fit(FORMS[f](X))
        yield f"MiniBatchKMeans {form} {count}", lambda f=form, k=count: c.MiniBatchKMeans(k, n_init=1, compute_labels=k > 1).fit(FORMS[f](X))
        yield f"BisectingKMeans {form} {count}", lambda f=form, k=count: c.BisectingKMeans(k).fit(FORMS[f](X))
    yield "MiniBatchKMeans in parts", lambda: c.MiniBatchKMeans(3, n_init=1).partial_fit(X).partial_fit(X)
    yield "MiniBatchKMeans goes on", lambda: c.MiniBatchKMeans(3, n_init=1).fit(X.astype(np.float32)).partial_fit(X.astype(np.float32))
    yield "KMeans elkan", lambda: c.KMeans(3, n_init=1, algorithm="elkan").fit(X).set_params(n_clusters=9)
    for form, count in itertools.product(("dense", "float32", "csr", "one column"), (None, 3)):
        yield f"Birch {form} {count}", lambda f=form, k=count: c.Birch(n_clusters=k, threshold=0.3).fit(FORMS[f](X))
        yield f"Birch in parts {form} {count}", lambda f=form, k=count: _birch(k, FORMS[f](X))
    yield "Birch of one", lambda: c.Birch(n_clusters=None).fit(X[:1])
    with_gaps = X.copy()
    with_gaps[3, 0], with_gaps[9, 1] = np.nan, np.inf
    distances = pairwise.euclidean_distances(X)
    options: dict[str, tuple[Any, dict[str, Any]]] = {
        "plain": (X, {}),
        "gaps": (with_gaps, {}),
        "two points and gaps": (np.array([[0.0], [1.0], [np.nan], [np.inf]]), {"min_samples": 1, "min_cluster_size": 2}),
        "precomputed": (distances, {"metric": "precomputed"}),
        "precomputed sparse": (sp.csr_matrix(distances), {"metric": "precomputed", "min_samples": 2}),
        "sparse": (sp.csr_matrix(X), {}),
        "single": (X, {"allow_single_cluster": True, "min_cluster_size": 30}),
        "leaf": (X, {"cluster_selection_method": "leaf", "store_centers": "both", "min_cluster_size": 3}),
    }
    for name, (data, how) in options.items():
        yield f"HDBSCAN {name}", lambda x=data, o=how: c.HDBSCAN(**o).fit(x)
    graph = sp.csr_matrix(np.eye(N, k=1) + np.eye(N, k=-1))
    for linkage, how in itertools.product(
        ("ward", "complete", "average", "single"),
        (
            {"n_clusters": 3},
            {"n_clusters": None, "distance_threshold": 1.0},
            {"connectivity": graph},
            {"connectivity": graph, "compute_full_tree": False},
        ),
    ):
        yield f"Agglomerative {linkage} {sorted(how)}", lambda k=linkage, o=how: c.AgglomerativeClustering(linkage=k, **o).fit(X)
    yield "Agglomerative of two", lambda: c.AgglomerativeClustering(1).fit(X[:2])
    for form in ("dense", "float32", "wide", "frame"):
        yield f"FeatureAgglomeration {form}", lambda f=form: c.FeatureAgglomeration(2, compute_distances=True).fit(FORMS[f](X))


def _birch(count: Any, x: Any) -> Any:
    model = cluster.Birch(n_clusters=count, threshold=0.1, branching_factor=3)
    return model.partial_fit(x[:20]).partial_fit(x[20:]).partial_fit()


def _text() -> Iterator[Row]:
    tables: dict[str, dict[str, Any]] = {
        "plain": {},
        "few": {"max_features": 2},
        "n-grams": {"ngram_range": (1, 3), "analyzer": "char_wb"},
        "long n-grams": {"ngram_range": (9, 60), "analyzer": "char"},
        "dict": {"vocabulary": {"red": 1, "blue": 0}},
        "numpy dict": {"vocabulary": {"red": np.int64(1), "blue": np.int64(0)}},
        "list": {"vocabulary": ["red", "blue"]},
        "set": {"vocabulary": {"red", "blue"}},
        "numpy words": {"vocabulary": np.array(["red", "blue"])},
        "pairs": {"analyzer": "word", "vocabulary": {("red", "green"): 0, ("blue", np.str_("x")): 1}},
        "dtype": {"dtype": np.float32, "binary": True},
        "rare": {"min_df": 3, "max_df": 0.9, "stop_words": ["red"]},
    }
    for name, options in tables.items():
        yield f"CountVectorizer {name}", lambda o=options: _read(CountVectorizer(**o))
        yield f"TfidfVectorizer {name}", lambda o=options: _read(TfidfVectorizer(use_idf=len(o) != 1, **o))
    yield "CountVectorizer unfitted", CountVectorizer
    yield "CountVectorizer of many", lambda: CountVectorizer(token_pattern=r"\w+").fit([" ".join(map(str, range(5000)))])
    for width in (1, 16, 2**31 - 1):
        yield f"HashingVectorizer {width}", lambda n=width: HashingVectorizer(n_features=n)
        yield f"FeatureHasher {width}", lambda n=width: extraction.FeatureHasher(n_features=np.int64(n))
    yield "TfidfTransformer", lambda: TfidfTransformer().fit(COUNTS)
    records = [{"city": "Lima", "n": 2.0}, {"city": "Kyoto", "tags": ["x", "y"]}]
    for order, sparse in itertools.product((True, False), repeat=2):
        yield f"DictVectorizer {order} {sparse}", lambda o=order, s=sparse: extraction.DictVectorizer(sort=o, sparse=s).fit(records)
    yield "DictVectorizer restricted", lambda: extraction.DictVectorizer().fit(records).restrict([True, False, True, False])
    sets = [{"a", "b"}, {"c"}, set()]
    yield "MultiLabelBinarizer", lambda: pre.MultiLabelBinarizer().fit(sets)
    yield "MultiLabelBinarizer used", lambda: _used(pre.MultiLabelBinarizer().fit(sets), sets)
    yield "MultiLabelBinarizer of tuples", lambda: _used(pre.MultiLabelBinarizer(classes=[(1, 2), (3,)]).fit([]), [[(3,)]])
    yield "MultiLabelBinarizer of numbers", lambda: _used(pre.MultiLabelBinarizer(sparse_output=True).fit([[4, 2], [9]]), [[9]])
    dates = [{dt.date(2026, 1, 2), dt.date(2025, 1, 1)}]
    yield "MultiLabelBinarizer of dates", lambda: _used(pre.MultiLabelBinarizer().fit(dates), dates)
    yield "MultiLabelBinarizer of numpy text", lambda: _used(pre.MultiLabelBinarizer().fit(np.array([["a", "b"]])), [["a"]])
    yield "MultiLabelBinarizer again", lambda: _used(pre.MultiLabelBinarizer().fit(sets), sets).fit([{"z"}])
    for name, y in {"text": ["no", "yes"], "one": [1, 1], "numbers": [3, 1, 2], "indicator": np.eye(3, dtype=int), "sparse": sp.eye(3)}.items():
        yield f"LabelBinarizer {name}", lambda y=y: pre.LabelBinarizer().fit(y)


def _read(vectorizer: Any) -> Any:
    vectorizer.fit(WORDS)
    vectorizer.transform(WORDS)
    return vectorizer


def _used(model: Any, x: Any) -> Any:
    model.transform(x)
    return model


def _encoders() -> Iterator[Row]:
    for (name, data), drop, limits, unknown in itertools.product(
        COLUMNS.items(),
        (None, "first", "if_binary"),
        ({}, {"min_frequency": 3}, {"max_categories": 2}, {"max_categories": 1}, {"min_frequency": 0.3, "max_categories": 3}),
        ("error", "ignore", "infrequent_if_exist"),
    ):
        title = f"{name} {drop} {sorted(limits.items())} {unknown}"
        yield f"OneHot {title}", lambda x=data, d=drop, o=limits, u=unknown: pre.OneHotEncoder(drop=d, handle_unknown=u, **o).fit(x)
        if drop is None:
            how = {"error": {}, "ignore": {"handle_unknown": "use_encoded_value", "unknown_value": -1}}.get(unknown, {"encoded_missing_value": -5})
            yield f"Ordinal {title}", lambda x=data, o=limits | how: pre.OrdinalEncoder(**o).fit(x)
    yield "OneHot drop of each", lambda: pre.OneHotEncoder(drop=["b", "x"]).fit(TEXTS)
    yield "OneHot drop of each with infrequent", lambda: pre.OneHotEncoder(drop=["a", "x"], min_frequency=4).fit(TEXTS)
    yield "OneHot drop of a gap", lambda: pre.OneHotEncoder(drop=[np.nan]).fit(MIXED[["n"]])
    yield "OneHot in the order of the user", lambda: pre.OneHotEncoder(categories=[["d", "a", "c", "b"], ["z", "x", "y"]]).fit(TEXTS)
    yield "OneHot numbers as objects", lambda: pre.OneHotEncoder(categories=[[3, 1, 2], ["b", "a"]]).fit(np.array([[3, "a"], [1, "b"]], object))
    yield "OneHot of dates", lambda: pre.OneHotEncoder().fit(np.array([["2026-01-02"], ["2025-01-01"], ["NaT"]], "M8[D]"))
    yield "OneHot again, no longer infrequent", lambda: pre.OneHotEncoder(min_frequency=4).fit(TEXTS).set_params(min_frequency=None).fit(COUNTS)
    yield "OneHot numpy limit", lambda: pre.OneHotEncoder(max_categories=np.int64(2)).fit(TEXTS)
    yield "OneHot unfitted", pre.OneHotEncoder
    for name, y in {"class": CLASSES, "two": PAIRS, "text": CLASSES.astype(str), "number": TARGET}.items():
        yield f"TargetEncoder {name}", lambda y=y: pre.TargetEncoder(target_type="continuous" if y is TARGET else "auto").fit(COUNTS.astype(str), y)
    for strategy, encode, form in itertools.product(
        ("uniform", "quantile", "kmeans"), ("onehot", "onehot-dense", "ordinal"), ("dense", "float32", "one column")
    ):
        yield (
            f"KBins {strategy} {encode} {form}",
            lambda s=strategy, e=encode, f=form: pre.KBinsDiscretizer(3, strategy=s, encode=e).fit(np.c_[FORMS[f](X), np.ones(N)]),
        )
    yield "KBins of each", lambda: pre.KBinsDiscretizer([2, 3, 4, 5], encode="ordinal").fit(X)


def _columns() -> Iterator[Row]:
    for degree, alone, bias, form in itertools.product(
        (0, 1, 2, 3, 5, (0, 2), (1, 3), (2, 2), (3, 4)), (True, False), (True, False), ("dense", "float32", "csr", "one column")
    ):
        yield (
            f"Polynomial {degree} {alone} {bias} {form}",
            lambda d=degree, a=alone, b=bias, f=form: pre.PolynomialFeatures(d, interaction_only=a, include_bias=b).fit(FORMS[f](X)),
        )
    yield "Polynomial of many", lambda: pre.PolynomialFeatures(2).fit(np.ones((2, 3000)))
    yield "Polynomial of a high degree", lambda: pre.PolynomialFeatures(500, interaction_only=True).fit(X)
    for degree, beyond, bias, form in itertools.product(
        (0, 1, 3, 6), ("error", "constant", "linear", "continue", "periodic"), (True, False), ("dense", "float32", "one column")
    ):
        yield (
            f"Spline {degree} {beyond} {bias} {form}",
            lambda d=degree, e=beyond, b=bias, f=form: pre.SplineTransformer(8, d, extrapolation=e, include_bias=b).fit(FORMS[f](X)),
        )
    yield "Spline of knots", lambda: pre.SplineTransformer(knots=np.array([[0.0], [1.0], [2.5]])).fit(X[:, :1])
    gaps = np.where(X > 2.8, np.nan, X)
    for features in ("missing-only", "all"):
        yield f"MissingIndicator {features}", lambda f=features: impute.MissingIndicator(features=f).fit(gaps)
    yield "MissingIndicator of none", lambda: impute.MissingIndicator().fit(X)
    for strategy in ("mean", "constant"):
        yield f"SimpleImputer {strategy}", lambda s=strategy: impute.SimpleImputer(strategy=s, add_indicator=True).fit(gaps)
    selection = feature_selection
    yield "RFE", lambda: selection.RFE(svm.LinearSVC(), n_features_to_select=1).fit(X, CLASSES)
    yield "RFE of a text", lambda: selection.RFE(linear_model.LogisticRegression()).fit(sp.csr_matrix(X), CLASSES)
    yield "RFECV", lambda: selection.RFECV(linear_model.LogisticRegression(), cv=2).fit(X, CLASSES)
    yield "Sequential", lambda: selection.SequentialFeatureSelector(linear_model.Ridge(), n_features_to_select=2, cv=2).fit(X, TARGET)
    yield "SelectKBest", lambda: selection.SelectKBest(k=2).fit(X, CLASSES)
    for form in ("dense", "float32", "csr"):
        yield f"Quantile {form}", lambda f=form: pre.QuantileTransformer(n_quantiles=7).fit(FORMS[f](X))
    yield "Quantile gaps", lambda: pre.QuantileTransformer(n_quantiles=1000).fit(gaps)
    for size in (None, (2, 2), [3, 1]):
        yield f"PatchExtractor {size}", lambda s=size: PatchExtractor(patch_size=s)


def fitted(make: Callable[[], Any]) -> Any:
    """Return the model, or None if the library refuses the combination."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.random.seed(0)
        try:
            return make()
        except (ValueError, TypeError):
            return None


HONEST = list(honest())
# A kernel that the user must allow by name.
ALLOW = ["numpy:inner"]


@pytest.mark.parametrize("start", range(0, len(HONEST), 50))
def test_every_honest_form_of_a_model_loads(start, key):
    """A false refusal would teach people to do without the check."""
    loaded = 0
    for name, make in HONEST[start : start + 50]:
        model = fitted(make)
        if model is None:
            continue
        try:
            loads(dumps(model, key=key, allow=ALLOW), key=key, allow=ALLOW)
        except StateError as error:
            pytest.fail(f"{name}: {error}")
        loaded += 1
    assert loaded > 5


def test_the_table_of_honest_forms_is_as_large_as_it_was():
    assert len({name for name, _ in HONEST}) == len(HONEST) > 1800


# --- forged entries --------------------------------------------------------------------------------------------

FAR = 2**40


def of(name: str) -> Any:
    """Return the honest model of that name."""
    return _BY_NAME[name]()


_BY_NAME = dict(HONEST)


def cut(old: Any) -> Any:
    return old[:-1].copy()


def narrow(old: Any) -> Any:
    return old[:, :-1].copy()


def at(place: Any, value: Any) -> Callable[[Any], Any]:
    """An edit that sets one item of a copy."""

    def change(old: Any) -> Any:
        new = copy.deepcopy(old)
        new[place] = value
        return new

    return change


def objects(*items: Any) -> Any:
    new = np.empty(len(items), dtype=object)
    new[:] = items
    return new


def put(model: Any, path: str, new: Any) -> None:
    """Set an entry of the model, or of what is on the path to it: to a value, or to what a function makes of the old one."""
    *way, last = path.split(".")
    for step in way:
        model = model[int(step)] if step.isdigit() else getattr(model, step)
    if last.isdigit():
        model[int(last)] = new(model[int(last)]) if callable(new) else new
    else:
        vars(model)[last] = new(vars(model).get(last)) if callable(new) else new


class Forged(NamedTuple):
    base: str
    path: str
    new: Any
    says: str = ""
    """What the message names instead of the last step of the path: a pattern."""


def forged(bases: list[str], *edits: tuple[Any, ...]) -> list[Forged]:
    return [Forged(base, *edit) for base in bases for edit in edits]


F = Forged
FORGED = [
    # libsvm
    *forged(
        [f"{kind} rbf dense" for kind in ("SVC", "NuSVC", "SVR", "NuSVR", "OneClassSVM")],
        ("support_vectors_", lambda old: old[:0]),
        ("support_vectors_", narrow),
        ("support_vectors_", lambda old: old.astype("f4")),
        ("support_vectors_", lambda old: old.tolist()),
        ("support_vectors_", None),
        ("support_", lambda old: np.arange(60_000, dtype="i4"), "_n_support|_dual_coef_"),
        ("support_", lambda old: old.astype("i8")),
        ("support_", None),
        ("_n_support", lambda old: old[:0]),
        ("_n_support", lambda old: np.r_[old, old]),
        ("_n_support", None),
        ("_dual_coef_", lambda old: old[:0]),
        ("_dual_coef_", narrow),
        ("_dual_coef_", None),
        ("_intercept_", cut),
        ("_intercept_", None),
        ("intercept_", cut),
        ("_probA", np.zeros(9)),
        ("_probB", None),
        ("_sparse", True, "kernel|support_vectors_"),
        ("_sparse", None),
        ("kernel", "precomputed", "support_vectors_"),
        ("kernel", "cubic"),
        ("kernel", lambda _: np.log1p, "support_vectors_"),
        ("_impl", "nu_svc"),
        ("n_features_in_", 3, "support_vectors_"),
    ),
    F("SVC rbf dense", "_n_support", lambda old: np.array([-(2**28), 2**28, old.sum()], "i4")),
    F("SVC rbf dense", "_n_support", at(0, 1)),
    F("SVC rbf dense", "classes_", cut, "_n_support"),
    F("SVC rbf dense", "classes_", None),
    F("SVC rbf dense", "class_weight_", None),
    F("SVC rbf dense", "_dual_coef_", cut),
    F("SVC rbf dense", "dual_coef_", narrow),
    F("SVC of precomputed dense", "support_", at(0, 2**28)),
    F("SVC of precomputed dense", "support_", at(0, -1)),
    F("SVC of precomputed dense", "shape_fit_", (5, 5), "support_"),
    F("SVC of precomputed dense", "shape_fit_", ()),
    F("SVC of precomputed dense", "support_vectors_", lambda old: np.zeros((3, 3))),
    F("SVC of rbf dense", "_BaseLibSVM__Xfit", lambda old: old[:3]),
    F("SVC of rbf list", "_BaseLibSVM__Xfit", lambda old: old[:3]),
    F("SVC of rbf frame", "_BaseLibSVM__Xfit", lambda old: old[:3]),
    F("SVC of rbf csr", "_BaseLibSVM__Xfit", lambda old: old[:3]),
    F("SVC of rbf dense", "kernel", lambda _: np.log1p),
    F("SVC of rbf dense", "kernel", lambda _: functools.partial(pairwise.rbf_kernel, X)),
    F("SVC of rbf dense", "kernel", lambda _: functools.partial(np.clip, a_min=0)),
    F("SVC of gp dense", "kernel", lambda _: np.vectorize(np.log1p)),
    *forged(
        [f"{kind} rbf csr" for kind in ("SVC", "SVR", "OneClassSVM")],
        ("support_vectors_", lambda old: old[:-1]),
        ("support_vectors_", lambda old: old[:, :-1]),
        ("support_vectors_", lambda old: old.toarray()),
        ("support_vectors_", lambda old: old.tocsc()),
        ("support_vectors_", lambda old: old.astype("f4")),
        ("_dual_coef_", lambda old: old.toarray()),
        ("_dual_coef_", lambda old: old[:, :-1]),
        ("_dual_coef_", lambda old: _sparser(old)),
        ("_n_support", lambda old: old[:0]),
        ("kernel", "precomputed"),
        ("kernel", lambda _: pairwise.rbf_kernel),
        ("_sparse", False, "_dual_coef_"),
        ("n_features_in_", 3, "support_vectors_"),
    ),
    F("SVC of 3 classes csr False", "probability", True, "_probA"),
    F("SVC of 3 classes csr True", "_probA", np.zeros(0)),
    F("SVC of 3 classes dense True", "_probB", np.zeros(2)),
    # Linear models
    F("LogisticRegression lbfgs 3", "intercept_", np.zeros((100, 1, 1))),
    F("Ridge (60, 2) True 120", "intercept_", np.zeros(5)),
    F("SGD sparse", "intercept_", np.zeros((100, 1, 1))),
    F("PLSRegression", "intercept_", np.zeros((100, 1, 1))),
    F("PoissonRegressor", "intercept_", np.zeros((100, 1, 1))),
    F("CategoricalNB None", "class_log_prior_", np.zeros((100, 1, 1))),
    F("GP of pairs", "kernel_.pairwise_kernels_kwargs", {"n_jobs": 2**16}, "n_jobs"),
    F("KernelRidge", "kernel_params", {"n_jobs": 2**16}, "n_jobs"),
    *forged(
        [f"{kind} True dense 3" for kind in ("SGDClassifier", "SGDRegressor", "SGDOneClassSVM")],
        ("_standard_coef", lambda old: old[..., :1].copy()),
        ("_average_coef", lambda old: old[..., :1].copy()),
        ("_average_coef", lambda old: old.tolist()),
        ("coef_", lambda old: old[..., :0].copy()),
        (
            "coef_",
            lambda old: old[..., :3].copy(),
            "n_features_in_",
        ),
        ("_average_intercept", np.zeros(7)),
        ("_standard_intercept", np.zeros(7)),
    ),
    F("SGDClassifier False dense 3", "coef_", cut, "coef_|intercept_"),
    F("SGDClassifier False dense 2", "coef_", lambda old: old[:0]),
    F("SGDRegressor False dense 3", "n_features_in_", 3),
    F("Lasso (60,) True 3", "coef_", lambda old: old[:2].copy(), "n_features_in_"),
    F("MultiTaskLasso", "coef_", narrow, "n_features_in_"),
    F("MLP (5,) 3", "hidden_layer_sizes", (2**31,)),
    F("MLP (5,) 3", "n_layers_", 2**20),
    F("MLP (5,) 3", "n_outputs_", 2**20),
    F("MLP (5,) 3", "coefs_", lambda old: [old[0], None]),
    F("Isotonic", "X_thresholds_", lambda old: old[::-1].copy()),
    F("Isotonic", "y_thresholds_", cut),
    F("CategoricalNB 9", "min_categories", 2**30),
    F("CategoricalNB [9, 10, 11, 12]", "min_categories", [9, 9, 9, FAR]),
    # Covariances and decompositions
    F("EmpiricalCovariance True dense", "precision_", lambda old: old[:1, :1].copy()),
    F("EllipticEnvelope True dense", "precision_", lambda old: old[:1, :1].copy()),
    F("EmpiricalCovariance False dense", "covariance_", narrow),
    F("EmpiricalCovariance False dense", "covariance_", at((0, 0), np.nan)),
    F("EmpiricalCovariance True dense", "location_", lambda old: old[None]),
    F("EmpiricalCovariance True dense", "n_features_in_", 9),
    F("GaussianMixture full", "covariances_", at((0, 0, 0), np.inf)),
    F("GaussianMixture full", "weights_", at(0, np.nan)),
    *(
        F("IncrementalPCA in parts", path, lambda old, value=value: at((0,) * old.ndim, value)(old))
        for path in ("components_", "mean_", "singular_values_")
        for value in (np.inf, np.nan, 1e300)
    ),
    F("GaussianRandomProjection dense False", "components_", at((0, 0), np.inf)),
    F("GaussianRandomProjection dense False", "components_", narrow),
    F("SparseRandomProjection dense False", "components_", lambda old: old[:, :-1]),
    F("GaussianRandomProjection dense True", "inverse_components_", cut),
    F("GaussianRandomProjection dense False", "n_components_", FAR),
    F("LDA dense", "exp_dirichlet_component_", narrow),
    F("LDA dense", "exp_dirichlet_component_", lambda old: old[None]),
    F("LDA dense", "components_", None),
    F("LDA dense", "max_doc_update_iter", FAR),
    F("NMF dense cd", "max_iter", FAR),
    F("MiniBatchNMF dense", "_n_components", FAR),
    F("MiniBatchNMF dense", "transform_max_iter", FAR),
    F("SparseCoder", "transform_max_iter", FAR),
    F("PolynomialCountSketch 0 dense", "degree", 2**31),
    F("PolynomialCountSketch 0 dense", "n_components", 2, "indexHash_"),
    F("PolynomialCountSketch 0 dense", "indexHash_", at((0, 0), -1)),
    F("PolynomialCountSketch 0 dense", "bitHash_", narrow),
    F("AdditiveChi2Sampler", "sample_steps", FAR),
    # Clusters
    *forged(
        [f"{kind} dense 5" for kind in ("KMeans", "MiniBatchKMeans", "BisectingKMeans")],
        ("cluster_centers_", lambda old: old[:0]),
        ("cluster_centers_", lambda old: old.tolist()),
        ("cluster_centers_", None),
        ("n_features_in_", 5),
        ("_n_threads", 0),
        ("_n_threads", -1),
        ("_n_threads", 2**20),
        ("_n_threads", None),
        ("_n_features_out", FAR),
    ),
    F("KMeans dense 5", "cluster_centers_", narrow, "n_features_in_"),
    F("MiniBatchKMeans dense 5", "_counts", cut),
    F("MiniBatchKMeans dense 5", "_counts", lambda old: old.astype("f4")),
    F("BisectingKMeans dense 5", "_X_mean", cut),
    F("BisectingKMeans dense 5", "_bisecting_tree.left", lambda old: None),
    F("BisectingKMeans dense 5", "_bisecting_tree.left.center", cut),
    F("BisectingKMeans dense 5", "_bisecting_tree.right", lambda old: cluster._bisect_k_means._BisectingTree(old.center, None, 0), "label"),
    F("BisectingKMeans dense 2", "_bisecting_tree.left.label", FAR),
    F("Birch dense 3", "_subcluster_norms", cut),
    F("Birch dense 3", "_subcluster_norms", lambda old: old[:0]),
    F("Birch dense 3", "subcluster_labels_", cut),
    F("Birch dense 3", "subcluster_centers_", narrow, "n_features_in_"),
    F("Birch dense 3", "_n_features_out", FAR),
    F("Birch dense 3", "branching_factor", FAR),
    F("Birch dense 3", "dummy_leaf_.next_leaf_.next_leaf_", lambda old: [], "dummy_leaf_"),
    F("Birch dense 3", "root_.branching_factor", 2**19, "init_centroids_"),
    *(
        F(name, "_single_linkage_tree_", new)
        for name in ("HDBSCAN plain", "HDBSCAN gaps")
        for new in (
            lambda old: _with_field(old, "left_node", 0, FAR),
            lambda old: _with_field(old, "right_node", 0, -1),
            lambda old: _with_field(old, "left_node", 0, len(old) + 1),
            lambda old: np.zeros(len(old), [(each, old.dtype[each]) for each in old.dtype.names[::-1]]),
            lambda old: old.view("f8"),
            None,
        )
    ),
    F("HDBSCAN plain", "labels_", cut),
    F("FeatureAgglomeration dense", "labels_", at(0, 2**33)),
    F("FeatureAgglomeration dense", "labels_", at(0, -1)),
    F("FeatureAgglomeration dense", "labels_", at(0, np.iinfo("i8").max)),
    F("FeatureAgglomeration dense", "labels_", cut, "n_leaves_|n_features_in_"),
    F("FeatureAgglomeration dense", "n_clusters_", FAR),
    F("FeatureAgglomeration dense", "_n_features_out", FAR),
    F("FeatureAgglomeration dense", "children_", at((0, 0), FAR)),
    F("Agglomerative ward ['n_clusters']", "children_", at((0, 0), -1)),
    F("Agglomerative ward ['n_clusters']", "n_leaves_", FAR),
    # Text and labels
    *(
        F(f"{kind} {name}", "vocabulary_", new)
        for kind in ("CountVectorizer", "TfidfVectorizer")
        for name in ("plain", "few")
        for new in (
            at("red", 2**30),
            at("red", -1),
            at("red", 0.0),
            at("red", FAR**3),
            at("red", True),
            at("red", np.float64(1)),
            lambda old: [*old],
            None,
            lambda old: dict.fromkeys(old, 0),
        )
    ),
    F("CountVectorizer plain", "ngram_range", (1, 10**5)),
    F("CountVectorizer plain", "ngram_range", (1, 2, 3)),
    F("CountVectorizer plain", "input", "filename"),
    F("TfidfVectorizer plain", "input", "url"),
    F("HashingVectorizer 16", "input", None),
    F("HashingVectorizer 16", "n_features", 0),
    F("HashingVectorizer 16", "n_features", 2**31),
    F("FeatureHasher 16", "n_features", 0),
    F("FeatureHasher 16", "n_features", -4),
    F("FeatureHasher 16", "n_features", None),
    F("DictVectorizer True False", "vocabulary_", at("n", 2**30)),
    F("DictVectorizer True False", "feature_names_", lambda old: old[:-1]),
    F("MultiLabelBinarizer used", "_cached_dict", at("a", 2**28)),
    F("MultiLabelBinarizer used", "_cached_dict", {}),
    F("MultiLabelBinarizer used", "classes_", cut, "_cached_dict"),
    F("MultiLabelBinarizer", "classes_", lambda old: objects(*old, "a")),
    F("MultiLabelBinarizer", "classes_", lambda old: objects(*old, np.str_("a"))),
    F("MultiLabelBinarizer", "classes_", lambda old: objects(*old, np.bytes_("b"), b"b")),
    F("MultiLabelBinarizer of numbers", "classes_", np.array([2, 2, 4])),
    F("MultiLabelBinarizer of tuples", "classes_", lambda old: objects((1, np.str_("a")), (True, "a"))),
    F("MultiLabelBinarizer of numbers", "classes_", lambda old: objects(1, np.int64(1))),
    F("MultiLabelBinarizer", "classes_", lambda old: objects("a", gp.RBF())),
    F("LabelBinarizer numbers", "classes_", lambda old: old[None]),
    F("LabelBinarizer numbers", "classes_", lambda old: objects(5.0, float("nan"), 1.0, 2.0)),
    F("LabelBinarizer numbers", "classes_", lambda old: objects(5.0, np.float64("nan"), 1.0, 2.0)),
    # Encoders
    *(
        F(f"OneHot {columns} None {limits} error", "_n_features_outs", new)
        for columns, limits in (("text", []), ("integers", []), ("text", [("min_frequency", 3)]), ("objects", [("max_categories", 2)]))
        for new in (lambda old: [1], lambda old: [old[0] - 1, *old[1:]], lambda old: [old[0] + 1, *old[1:]], tuple, None)
    ),
    F("OneHot integers None [] error", "categories_", lambda old: [*old[:-1], old[-1][::-1].copy()]),
    F("OneHot integers None [] error", "categories_", lambda old: [each[::-1].astype("m8[s]") for each in old]),
    F("OneHot integers None [] error", "categories_", lambda old: [each.astype("c16") for each in old]),
    F("OneHot integers None [] error", "categories_", lambda old: [*old[:-1], cut(old[-1])], "_n_features_outs"),
    F("OneHot integers None [] error", "categories_", lambda old: [each.tolist() for each in old]),
    F("OneHot integers None [] error", "categories_", lambda old: old[:-1], "n_features_in_"),
    F("OneHot text None [] error", "categories_", lambda old: [each[None] for each in old]),
    F("OneHot text first [] error", "_drop_idx_after_grouping", at(0, 99)),
    F("OneHot text first [] error", "_drop_idx_after_grouping", at(0, -1)),
    F("OneHot text first [] error", "_drop_idx_after_grouping", at(0, None), "_n_features_outs"),
    F("OneHot text first [] error", "_drop_idx_after_grouping", lambda old: old.astype("f8")),
    F("OneHot text first [] error", "_drop_idx_after_grouping", None, "_n_features_outs"),
    *(
        F(f"{kind} text None [('max_categories', 2)] error", path, new, "infrequent")
        for kind in ("OneHot", "Ordinal")
        for path, new in (
            ("_infrequent_indices.0", None),
            ("_infrequent_indices.0", lambda old: old[:0]),
            ("_infrequent_indices.0", lambda old: np.r_[old, old]),
            ("_infrequent_indices.0", at(0, FAR)),
            ("_default_to_infrequent_mappings.0", at(0, FAR)),
            ("_default_to_infrequent_mappings.0", at(0, -1)),
            ("_default_to_infrequent_mappings.0", cut),
            ("_default_to_infrequent_mappings.0", None),
            ("_default_to_infrequent_mappings", lambda old: old[:-1]),
        )
    ),
    F("OneHot text None [('max_categories', 2)] error", "_infrequent_enabled", False, "_n_features_outs"),
    F("OneHot text None [('max_categories', 2)] error", "_infrequent_enabled", 1),
    F("Ordinal mixed frame None [] error", "_missing_indices", {0: FAR}),
    F("Ordinal mixed frame None [] error", "_missing_indices", {FAR: 0}),
    F("KBins uniform onehot dense", "bin_edges_", lambda old: old[:-1], "n_bins_"),
    F("KBins uniform onehot dense", "n_bins_", at(0, FAR), "bin_edges_"),
    F("KBins uniform onehot dense", "_encoder._n_features_outs", lambda old: [1]),
    # Columns
    *(
        F("Polynomial (1, 3) False True dense", path, new, says)
        for path, new, says in (
            ("_n_out_full", FAR, ""),
            ("n_output_features_", FAR, ""),
            ("_max_degree", FAR, ""),
            ("_max_degree", 4, "n_output_features_"),
            ("_min_degree", -1, ""),
            ("interaction_only", True, "n_output_features_"),
            ("include_bias", False, "n_output_features_"),
            ("include_bias", None, ""),
            ("n_features_in_", 65_536, "n_output_features_"),
            ("n_features_in_", 2**31 - 1, "n_output_features_"),
        )
    ),
    F("Spline 3 constant True dense", "n_features_out_", FAR),
    F("Spline 3 constant True dense", "bsplines_", lambda old: old[:-1]),
    F("Spline 3 constant True dense", "bsplines_", lambda old: [None] * len(old)),
    F("Spline 3 constant True dense", "degree", FAR),
    F("MissingIndicator all", "features_", at(0, FAR)),
    F("RFE", "support_", cut, "n_features_in_"),
    F("RFE", "support_", lambda old: np.flatnonzero(old)),
    F("RFE", "ranking_", cut),
    F("Quantile dense", "quantiles_", cut, "references_"),
    F("Quantile dense", "n_quantiles_", FAR),
    F("PatchExtractor (2, 2)", "patch_size", (2**20, 2)),
]


def _sparser(matrix: Any) -> Any:
    """The same matrix without one of its stored numbers."""
    new = matrix.copy()
    new.data[0] = 0
    new.eliminate_zeros()
    return new


def _with_field(array: Any, field: str, place: int, value: int) -> Any:
    new = array.copy()
    new[field][place] = value
    return new


@functools.cache
def base_of(name: str) -> Any:
    return fitted(_BY_NAME[name])


def sealed(model: Any) -> bytes:
    return seal(*pickled(model))


@pytest.mark.parametrize("number", range(len(FORGED)), ids=lambda number: f"{number} {FORGED[number].base}: {FORGED[number].path}")
def test_a_forged_entry_is_refused(number):
    """What the compiled code behind it would do with the entry is not left to chance."""
    base, path, new, says = FORGED[number]
    model = copy.deepcopy(base_of(base))
    put(model, path, new)
    with pytest.raises(StateError) as caught:
        loads(sealed(model), key=KEY)
    last = [step for step in path.split(".") if not step.isdigit()][-1]
    # Not what was found, which may be quoted behind.
    assert re.search(says or rf"\b{last}\b", str(caught.value).partition("; found")[0])


def test_a_word_that_is_set_twice_is_refused():
    """The dict that is built holds one word less, and so fewer columns than the largest number says."""

    def vectorizer(vocabulary: Any) -> bytes:
        values = {"vocabulary_": vocabulary, "_sklearn_version": sklearn.__version__}
        return seal(program(New("sklearn.feature_extraction.text:CountVectorizer", state=values)))

    assert loads(vectorizer({"red": 0, "blue": 1}), key=KEY).vocabulary_ == {"red": 0, "blue": 1}
    twice = Do(lambda asm: asm.op("EMPTY_DICT").group(["red", 0, "red", 1], "SETITEMS"))
    with pytest.raises(StateError, match=r"vocabulary_.*must differ"):
        loads(vectorizer(twice), key=KEY)


def test_a_cycle_in_a_tree_of_clusters_is_refused():
    model = copy.deepcopy(base_of("BisectingKMeans dense 5"))
    leaf = model._bisecting_tree
    while leaf.left is not None:
        leaf = leaf.left
    leaf.left = leaf.right = model._bisecting_tree
    with pytest.raises(StateError, match="a node must be the child of one node"):
        loads(sealed(model), key=KEY)


def test_a_chain_of_leaves_without_end_is_refused():
    model = copy.deepcopy(base_of("Birch in parts dense 3"))
    last = model.dummy_leaf_
    while last.next_leaf_ is not None:
        last = last.next_leaf_
    last.next_leaf_ = model.dummy_leaf_
    with pytest.raises(StateError, match=r"dummy_leaf_.*must end"):
        loads(sealed(model), key=KEY)


def test_a_tree_of_clusters_within_itself_is_refused():
    model = copy.deepcopy(base_of("Birch in parts dense 3"))
    model.root_.subclusters_[0].child_ = model.root_
    with pytest.raises(StateError, match=r"root_.*child of one node"):
        loads(sealed(model), key=KEY)


@pytest.mark.parametrize(("words", "limit"), [(300_000, None), (50_000, 49_999)])
def test_a_large_vocabulary_is_checked_fast(words, limit):
    """Nothing is called for each word, be its number one of Python or, after `max_features`, of numpy."""
    model = CountVectorizer(token_pattern=r"\w+", max_features=limit).fit([" ".join(f"w{number}" for number in range(words))])
    code, buffers = pickled(model)
    admitted = admit(trace(code, buffers=buffers), Policy.default())
    objects = resolve(admitted)
    start = time.process_time()
    state.check(admitted, objects)
    assert time.process_time() - start < 0.5
