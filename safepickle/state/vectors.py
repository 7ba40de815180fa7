"""Support vector machines, linear models, decompositions and what else multiplies X by stored vectors.

Most of them compute with numpy, which compares shapes itself and raises. Checked here is what goes elsewhere:

- libsvm takes counts, indices and sizes from separate arrays, and None for an array (svm/src/libsvm/svm.cpp, libsvm_helper.c,
  libsvm_sparse_helper.c);
- Cython reads stored arrays by the columns of X, or of each other (linear_model/_sgd_fast.pyx, _cd_fast.pyx);
- scipy's Mahalanobis distance believes the size of its matrix (scipy/spatial/src/distance_impl.h, through
  `EmpiricalCovariance.mahalanobis`);
- LAPACK's singular values and eigenvalues of a matrix that holds an infinite number or NaN are never found, and the callers
  do not look (`check_finite=False`);
- arrays are allocated, or steps done, as many as a stored number says.
"""

from __future__ import annotations

import math
from typing import Any, Final

from safepickle.machine import Dict, Global, Made

from .view import Check, Subject

__all__ = ["CHECKS"]

_SPARSE: Final = ("scipy:csr_matrix", "scipy:csr_array")
# A method that iterates is done after fewer; one that never converges is done at all.
_MAX_STEPS: Final = 100_000


# --- libsvm ----------------------------------------------------------------------------------------------------

_KERNELS: Final = ("linear", "poly", "rbf", "sigmoid")
_FITTED_SVM: Final = frozenset(("support_", "support_vectors_", "_n_support", "_dual_coef_", "_intercept_", "_probA", "_probB", "_sparse"))
# The square of it is computed in 32 bits.
_MAX_CLASSES: Final = 46_340
_MAX_WIDTH: Final = (1 << 31) - 1


def _check_libsvm(model: Subject) -> None:
    """A support vector machine: libsvm reads as many vectors, coefficients and intercepts as other arrays say there are."""
    if not _FITTED_SVM & model.entries.keys():
        return
    for entry in ("_impl", "_sparse_kernels"):
        model.require(entry not in model.entries, entry, "it belongs to the class, which says what libsvm is to do")
    classes = model.view.length(model.get("classes_")) if model.is_a("sklearn:BaseSVC") else None
    if model.is_a("sklearn:BaseSVC"):
        model.require(classes is not None and 2 <= classes <= _MAX_CLASSES, "classes_", "it must hold two classes at least", classes)
    # libsvm regards regression and novelty detection as problems of two classes.
    count = classes or 2
    vectors: int = model.array("support_", "i4", (None,)).shape[0]
    pairs = count * (count - 1) // 2
    held = model.array("_n_support", "i4", (count,))
    if classes is not None:
        model.require(held.min() >= 0 and int(held.sum(dtype="i8")) == vectors, "_n_support", f"its counts must sum to {vectors}", held)
    model.array("_intercept_", "f8", (pairs,))
    if "intercept_" in model.entries:
        model.array("intercept_", "f8", (pairs,))
    if "class_weight_" in model.entries:
        model.array("class_weight_", "f8", (None,))
    if model.truth("_sparse"):
        _check_sparse_vectors(model, vectors, count - 1)
    else:
        _check_dense_vectors(model, vectors, count - 1)
    _check_probabilities(model, pairs)


def _check_dense_vectors(model: Subject, vectors: int, rows: int) -> None:
    """Support vectors and coefficients as arrays: rows of X for a named kernel, else columns of the matrix of the kernel."""
    for entry in ("_dual_coef_", "dual_coef_"):
        if entry == "_dual_coef_" or entry in model.entries:
            model.array(entry, "f8", (rows, vectors))
    kernel = model.get("kernel")
    if kernel in _KERNELS:
        width = model.integer("n_features_in_", 1, _MAX_WIDTH)
        model.array("support_vectors_", "f8", (vectors, width))
        return
    model.require(kernel == "precomputed" or type(kernel) in (Global, Made), "kernel", "it must be the name of a kernel or a function", kernel)
    model.array("support_vectors_", "f8", (0, 0))
    shape = model.items("shape_fit_")
    samples = model.integer("shape_fit_", 0, 1 << 31, value=shape[0] if shape else None)
    model.within("support_", model.array("support_"), 0, samples)
    if kernel != "precomputed":
        _check_function(model, kernel, samples)


# Functions of two sets of samples that return a row for each of the first and a column for each of the second.
_MATRIX_FUNCTIONS: Final = frozenset(
    (
        *("linear_kernel", "rbf_kernel", "laplacian_kernel", "chi2_kernel", "additive_chi2_kernel", "polynomial_kernel", "sigmoid_kernel"),
        *("cosine_similarity", "pairwise_kernels", "pairwise_distances", "euclidean_distances", "manhattan_distances", "cosine_distances"),
        *("haversine_distances", "nan_euclidean_distances", "cdist", "inner"),
    )
)
_LIBRARIES: Final = ("builtins", "functools", "joblib", "math", "numpy", "operator", "pandas", "scipy", "sklearn")


def _check_function(model: Subject, kernel: Any, samples: int) -> None:
    """A kernel that is a function: libsvm reads the column of each training sample of what it returns.

    A function that the user allowed by name is believed; of those of the libraries, the ones that return such a matrix.
    """
    view = model.view
    function, given, _ = view.unwrapped(kernel)
    model.require(not given, "kernel", "an argument of its function must be given by name")
    if type(function) is Global:
        module, name = view.policy.canonical(function.key)
        good = module.partition(".")[0] not in _LIBRARIES or name in _MATRIX_FUNCTIONS
    else:
        good = view.is_a(function, "sklearn:Kernel") or function.callee.module.partition(".")[0] not in _LIBRARIES
    model.require(good, "kernel", "its function must return a column for each training sample", function)
    entry = "_BaseLibSVM__Xfit"
    found = _rows(model, model.get(entry))
    model.require(found == samples, entry, f"it must be the {samples} training samples", found)


def _check_kernel_parts(kernel: Subject) -> None:
    """A kernel made of kernels: each of them returns a matrix of the right shape, as a function might not."""
    for entry in ("k1", "k2", "kernel"):
        if entry in kernel.entries:
            kernel.part(entry, "sklearn:Kernel")
    if "kernels" in kernel.entries:
        for number, each in enumerate(kernel.items("kernels")):
            kernel.part(f"kernels[{number}]", "sklearn:Kernel", value=each)


def _rows(model: Subject, value: Any) -> int | None:
    """Return how many samples an array, list, sparse matrix or data frame holds, or None for anything else."""
    view = model.view
    if view.is_a(value, "scipy:_spbase"):
        shape = view.items(view.subject(value).get("_shape"))
        return shape[0] if shape and type(shape[0]) is int else None
    if view.is_a(value, "pandas:DataFrame"):
        # pandas compares the lengths of the blocks with each other: one tells.
        manager = view.subject(value).get("_mgr")
        blocks = view.items(manager.args[0]) if type(manager) is Made and manager.args else None
        values = blocks[0].args[0] if blocks and type(blocks[0]) is Made and blocks[0].args else None
        array = view.array(values)
        shape = view.shape_of_objects(values) if array is None else array.shape
        return shape[-1] if shape else None
    return view.length(value)


def _check_sparse_vectors(model: Subject, vectors: int, rows: int) -> None:
    """Support vectors and coefficients as CSR matrices: libsvm reads the coefficients as if none were left out."""
    model.require(model.get("kernel") in _KERNELS, "kernel", "with sparse vectors it must be one of libsvm's own", model.get("kernel"))
    width = model.integer("n_features_in_", 1, _MAX_WIDTH)
    matrix = _sparse_part(model, "support_vectors_", vectors, width)
    matrix.array("data", "f8", (None,))
    matrix.array("indices", "i4", (None,))
    matrix.array("indptr", "i4", (vectors + 1,))
    for entry in ("_dual_coef_", "dual_coef_"):
        if entry == "_dual_coef_" or entry in model.entries:
            _sparse_part(model, entry, rows, vectors).array("data", "f8", (rows * vectors,))


def _sparse_part(model: Subject, entry: str, rows: int, columns: int) -> Subject:
    matrix = model.part(entry, *_SPARSE)
    shape = model.view.items(matrix.get("_shape"))
    model.require(tuple(shape or ()) == (rows, columns), entry, f"its shape must be ({rows}, {columns})", shape)
    return matrix


def _check_probabilities(model: Subject, pairs: int) -> None:
    """Parameters of probabilities: none, or one for each pair of classes; with sparse vectors they are copied if a flag says so."""
    sizes = {entry: model.array(entry, "f8", (None,)).shape[0] for entry in ("_probA", "_probB")}
    flags = [model.get(entry) for entry in ("_effective_probability", "probability")]
    asked = model.truth("_sparse") and any(model.view.truth(flag) or model.view.number(flag) for flag in flags)
    for entry, size in sizes.items():
        model.require(size == pairs or (size == 0 and not asked), entry, f"it must hold {pairs} numbers", size)


# --- linear models ---------------------------------------------------------------------------------------------


def _dense(model: Subject, entry: str) -> Any:
    """Return an entry as an array, or None if it is absent, None, sparse or of another kind, with which numpy would deal."""
    return model.view.array(model.get(entry))


def _check_linear(model: Subject) -> None:
    """A linear model: numpy would broadcast an intercept of another shape over what is predicted."""
    coef, intercept = _dense(model, "coef_"), _dense(model, "intercept_")
    if intercept is None or not intercept.ndim:
        return
    if coef is not None:
        outputs = coef.shape[0] if coef.ndim == 2 else 1
    elif model.view.is_a(model.get("coef_"), *_SPARSE):
        outputs = _rows(model, model.get("coef_")) or 1
    else:
        return
    model.require(intercept.shape in ((1,), (outputs,)), "intercept_", f"its shape must be ({outputs},)", intercept.shape)


def _check_bayes(model: Subject) -> None:
    """A naive Bayes classifier: numpy would broadcast priors of another shape over what is predicted."""
    classes = model.view.length(model.get("classes_"))
    for entry in ("class_log_prior_", "class_prior_"):
        if model.has(entry) and classes is not None:
            model.array(entry, "f", (classes,))


def _check_sgd(model: Subject) -> None:
    """A model trained by stochastic gradient descent: `partial_fit` reads and writes vectors by the columns of X."""
    coef = _dense(model, "coef_")
    if coef is None:
        return
    model.require(coef.size, "coef_", "it must not be empty", coef.shape)
    width: int = coef.shape[-1] if coef.ndim else 1
    if model.is_a("sklearn:BaseSGDRegressor") or "n_features_in_" in model.entries:
        model.integer("n_features_in_", width, width)
    classes = model.view.length(model.get("classes_")) if model.is_a("sklearn:BaseSGDClassifier") else 1
    outputs = 1 if classes in (1, 2) else classes or coef.size // width
    for entry in ("coef_", "_standard_coef", "_average_coef"):
        if model.has(entry):
            found = model.array(entry, "f")
            good = found.shape == (outputs, width) or (outputs == 1 and found.shape == (width,))
            model.require(good, entry, f"its shape must be ({outputs}, {width})", found.shape)
    for entry in ("intercept_", "offset_", "_standard_intercept", "_average_intercept"):
        if model.has(entry):
            model.array(entry, "f", (outputs,))


def _check_elastic_net(model: Subject) -> None:
    """An elastic net that goes on from where it was (`warm_start`): coordinate descent reads as many coefficients as X has columns."""
    coef = _dense(model, "coef_")
    if coef is None:
        return
    model.require(coef.ndim in (1, 2), "coef_", "it must have one dimension or two", coef.shape)
    if "n_features_in_" in model.entries:
        model.integer("n_features_in_", coef.shape[-1], coef.shape[-1])


def _check_perceptron(model: Subject) -> None:
    """A multilayer perceptron: `partial_fit` allocates by sizes of layers that stand beside the layers."""
    if not model.has("coefs_"):
        return
    coefs = [model.array(f"coefs_[{number}]", "f", (None, None), value=each) for number, each in enumerate(model.items("coefs_"))]
    model.require(coefs, "coefs_", "there must be a layer")
    if "n_layers_" in model.entries:
        model.integer("n_layers_", len(coefs) + 1, len(coefs) + 1)
    if "n_outputs_" in model.entries:
        model.integer("n_outputs_", coefs[-1].shape[1], coefs[-1].shape[1])
    sizes = model.get("hidden_layer_sizes")
    array = model.view.array(sizes)
    held = [sizes] if model.view.number(sizes) is not None else array.tolist() if array is not None else model.items("hidden_layer_sizes")
    wanted = [each.shape[1] for each in coefs[:-1]]
    found = [model.view.number(each) for each in held]
    model.require(found == wanted, "hidden_layer_sizes", f"the layers have the sizes {wanted[:8]}", found[:8])


# --- covariances and decompositions ----------------------------------------------------------------------------


def _check_covariance(model: Subject) -> None:
    """A covariance: scipy's Mahalanobis distance reads as many rows and columns of the precision as X has columns."""
    location = _dense(model, "location_")
    if location is None:
        return
    width = location.shape[0] if location.ndim == 1 else -1
    model.require(width > 0, "location_", "it must hold a number for each feature", location.shape)
    if "n_features_in_" in model.entries:
        model.integer("n_features_in_", width, width)
    for entry in ("covariance_", "precision_"):
        if model.has(entry):
            matrix = model.array(entry, "f", (width, width))
            if entry == "covariance_":
                # Its pseudo-inverse is computed each time if no precision is stored.
                model.finite(entry, matrix)


def _check_mixture(model: Subject) -> None:
    """A mixture: `sample` decomposes each covariance, without end if it holds an infinite number."""
    for entry in ("covariances_", "means_", "weights_"):
        if model.has(entry):
            model.finite(entry, model.array(entry, "f"))


def _check_incremental_pca(model: Subject) -> None:
    """An incremental PCA: `partial_fit` decomposes components, singular values and means together with X."""
    np = model.np
    if not model.has("components_"):
        return
    for entry in ("components_", "singular_values_", "mean_"):
        if model.has(entry):
            array = model.array(entry, "f")
            # Numbers are multiplied with each other: none may be so large that the product is infinite.
            good = (np.abs(array) <= math.sqrt(float(np.finfo(array.dtype).max))).all()
            model.require(good, entry, "each number must be finite, and so its square")


def _check_projection(model: Subject) -> None:
    """A random projection: its inverse is computed from components that nobody looks at."""
    if not model.has("components_"):
        return
    count = model.integer("n_components_", 1, model.view.plenty)
    width = model.integer("n_features_in_", 1, _MAX_WIDTH)
    dense = _dense(model, "components_") is not None
    model.finite(
        "components_",
        model.array("components_", "f", (count, width)) if dense else _sparse_part(model, "components_", count, width).array("data", "f"),
    )
    if model.has("inverse_components_"):
        model.array("inverse_components_", "f", (width, count))


def _check_tolerances(model: Subject) -> None:
    """What iterates until a change is small must be able to come to an end."""
    for entry in ("tol", "_tol", "mean_change_tol", "transform_alpha"):
        if model.view.number(model.get(entry)) is not None:
            model.real(entry, 0.0, math.inf)


def _check_topics(model: Subject) -> None:
    """Topics of documents: Cython reads each row of one array by the length of another (decomposition/_online_lda_fast.pyx)."""
    if "max_doc_update_iter" in model.entries:
        model.integer("max_doc_update_iter", 0, _MAX_STEPS)
    _check_tolerances(model)
    if "components_" in model.entries:
        components = model.array("components_", "f", (None, None))
        model.require(components.size, "components_", "it must not be empty", components.shape)
        if "exp_dirichlet_component_" in model.entries:
            model.array("exp_dirichlet_component_", "f", components.shape)
        if "n_features_in_" in model.entries:
            model.integer("n_features_in_", components.shape[1], components.shape[1])


def _check_factors(model: Subject) -> None:
    """A factorisation: `transform` allocates as many columns as a number says, and iterates as long as another does."""
    for entry in ("max_iter", "transform_max_iter", "fresh_restarts_max_iter"):
        if model.view.number(model.get(entry)) is not None:
            model.integer(entry, 0, _MAX_STEPS)
    _check_tolerances(model)
    components = _dense(model, "components_")
    if components is None or not components.ndim:
        return
    for entry in ("_n_components", "n_components_"):
        if model.view.number(model.get(entry)) is not None:
            model.integer(entry, components.shape[0], components.shape[0])


def _check_sketch(model: Subject) -> None:
    """A sketch of a polynomial kernel: a table of samples, degrees and components is allocated."""
    if "indexHash_" not in model.entries:
        return
    places = model.array("indexHash_", "iu", (None, None))
    model.integer("degree", places.shape[0], places.shape[0])
    components = model.integer("n_components", 1, model.view.plenty)
    model.within("indexHash_", places, 0, components)
    if "bitHash_" in model.entries:
        model.array("bitHash_", "if", places.shape)


def _check_kernel_arguments(kernel: Subject) -> None:
    """What hands arguments on to `pairwise_kernels`: the number of jobs is one of them."""
    for entry in ("kernel_params", "pairwise_kernels_kwargs"):
        held = kernel.get(entry)
        for name, value in held.entries() if type(held) is Dict else ():
            if name == "n_jobs" and kernel.view.number(value) is not None:
                kernel.integer(f"{entry}['n_jobs']", -1024, 1024, value=value)


def _check_chi2_sampler(model: Subject) -> None:
    """A sampler: each of its steps makes two columns of each."""
    if "sample_steps" in model.entries:
        model.integer("sample_steps", 1, 10_000)


def _check_isotonic(model: Subject) -> None:
    """An isotonic regression: it interpolates between its thresholds."""
    if "X_thresholds_" not in model.entries:
        return
    places = model.array("X_thresholds_", "f", (None,))
    model.require(places.size and not (places[1:] < places[:-1]).any(), "X_thresholds_", "they must ascend")
    model.array("y_thresholds_", "f", places.shape)


def _check_categorical(model: Subject) -> None:
    """A naive Bayes classifier of categories: `partial_fit` allocates as many as a parameter says, of which `fit` made some."""
    given = model.get("min_categories")
    array = model.view.array(given)
    for each in array.tolist() if array is not None else model.view.items(given) or (given,):
        if model.view.number(each) is not None:
            model.integer("min_categories", 0, 1 << 20, value=each)


CHECKS: Final[dict[str, Check]] = {
    "sklearn:BaseLibSVM": _check_libsvm,
    "sklearn:LinearModel": _check_linear,
    "sklearn:LinearClassifierMixin": _check_linear,
    "sklearn:_GeneralizedLinearRegressor": _check_linear,
    "sklearn:_PLS": _check_linear,
    "sklearn:_BaseNB": _check_bayes,
    "sklearn:BaseSGD": _check_sgd,
    "sklearn:ElasticNet": _check_elastic_net,
    "sklearn:BaseMultilayerPerceptron": _check_perceptron,
    "sklearn:EmpiricalCovariance": _check_covariance,
    "sklearn:BaseMixture": _check_mixture,
    "sklearn:IncrementalPCA": _check_incremental_pca,
    "sklearn:BaseRandomProjection": _check_projection,
    "sklearn:LatentDirichletAllocation": _check_topics,
    "sklearn:_BaseNMF": _check_factors,
    "sklearn:_BaseSparseCoding": _check_factors,
    "sklearn:PolynomialCountSketch": _check_sketch,
    "sklearn:AdditiveChi2Sampler": _check_chi2_sampler,
    "sklearn:PairwiseKernel": _check_kernel_arguments,
    "sklearn:KernelOperator": _check_kernel_parts,
    "sklearn:Exponentiation": _check_kernel_parts,
    "sklearn:CompoundKernel": _check_kernel_parts,
    "sklearn:KernelRidge": _check_kernel_arguments,
    "sklearn:IsotonicRegression": _check_isotonic,
    "sklearn:CategoricalNB": _check_categorical,
}
