"""Vectorizers, encoders and other transformers of columns.

Many of them write a sparse matrix by indices that stand in their state, and scipy compares neither these indices nor the
sizes of blocks of columns with the shape: whoever makes the matrix dense, or multiplies by it, writes or reads beyond its end
(scipy/sparse/sparsetools/csr.h). So each index from a vocabulary or an encoder is within the number of columns.

Others allocate as many columns as a number says, and leave what they do not compute as it was in memory: such a number is
computed anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from safepickle.checks import UNKNOWN
from safepickle.machine import Dict, List, Made

from .view import Check, Subject

__all__ = ["CHECKS"]

_MAX_WIDTH: Final = (1 << 31) - 1


# --- text and dicts --------------------------------------------------------------------------------------------


def _columns(subject: Subject, entry: str, size: int | None = None) -> int:
    """Refuse a dict unless its keys differ and its values are the numbers of columns, each once. Return how many."""
    held = subject.get(entry)
    if type(held) is not Dict:
        subject.fail(entry, "it must be a dict", held)
    values = held.flat[1::2]
    subject.view.charge(len(values))
    _distinct(subject, entry, held.flat[::2])
    subject.require(size is None or len(values) == size, entry, f"it must have {size} items", len(values))
    numbers = _integers(subject, values)
    if numbers is None:
        subject.fail(entry, "each value must be an integer")
    subject.permutation(entry, numbers, len(values))
    return len(values)


def _integers(subject: Subject, values: Sequence[Any]) -> Any:
    """Return integers of Python or numpy as an array, or None if one is none. There may be very many."""
    np = subject.np
    kinds = set(map(type, values))
    if kinds == {Made} and len({id(each.callee) for each in values}) == 1 and len({id(each.args[0]) for each in values}) == 1:
        # Numbers of numpy of one dtype, as a vocabulary with `max_features` holds them.
        described = subject.view.findings.dtype(values[0].args[0])
        if subject.view.number(values[0]) is not None and described is not None and described.code[:1] in ("i", "u"):
            return np.frombuffer(b"".join([each.args[1] for each in values]), subject.view.dtype(described))
    if not kinds <= {int}:
        values = [subject.view.number(each) for each in values]
        if not set(map(type, values)) <= {int}:
            return None
    try:
        return np.fromiter(values, np.int64, len(values))
    except OverflowError:
        return None


_HASHED_AS_THEY_ARE: Final = frozenset((str, bytes, int, float, bool, type(None)))


def _distinct(subject: Subject, entry: str, values: Sequence[Any]) -> None:
    """Refuse values unless they differ as keys of a dict do: a dict with one key twice holds fewer than the program sets."""
    if not set(map(type, values)) <= _HASHED_AS_THEY_ARE:
        values = [_key(subject, entry, each) for each in values]
    subject.require(len(set(values)) == len(values), entry, "each name must differ from the others")


def _key(subject: Subject, entry: str, value: Any) -> Any:
    """Return what is equal where the values that the program makes are: `numpy.str_("a")` and "a" are one key."""
    if type(value) in _HASHED_AS_THEY_ARE:
        return value
    if type(value) is tuple:
        subject.view.charge(len(value) + 1)
        return tuple(_key(subject, entry, each) for each in value)
    key = UNKNOWN
    if type(value) is Made:
        findings = subject.view.findings
        described = findings.dtype(value.args[0]) if len(value.args) == 2 else None
        if described is not None and described.text and type(value.args[1]) is bytes:
            if described.spec.lstrip("<>=|")[:1] == "S":
                return value.args[1].rstrip(b"\0")
            return value.args[1].decode("utf-32-be" if described.spec[0] == ">" else "utf-32-le", "surrogatepass").rstrip("\0")
        key = findings.key(value, subject.view.policy.canonical(value.callee.key))
    if key is UNKNOWN:
        subject.fail(entry, "each name must be text, a number, a date or a tuple of such", value)
    return key


def _check_vectorizer(vectorizer: Subject) -> None:
    """What counts words: documents are never paths, and n-grams are of a bounded length."""
    if "input" in vectorizer.entries:
        given = vectorizer.get("input")
        # With 'filename' documents would be paths: whoever sends them in would choose what the server reads.
        vectorizer.require(given in ("content", "file"), "input", "it must be 'content' or 'file': read files yourself", given)
    if vectorizer.has("ngram_range"):
        least, most = vectorizer.items("ngram_range", 2)
        # All n-grams of a document take as much memory as it times the square of their length.
        vectorizer.integer("ngram_range", 0, 100, value=least)
        vectorizer.integer("ngram_range", 0, 100, value=most)


def _check_vocabulary(vectorizer: Subject) -> None:
    """A `CountVectorizer`: words become columns by its vocabulary."""
    if "vocabulary_" in vectorizer.entries:
        _columns(vectorizer, "vocabulary_")


def _check_names(vectorizer: Subject) -> None:
    """A `DictVectorizer`: keys become columns by its vocabulary, and columns keys by its list of names."""
    if "vocabulary_" not in vectorizer.entries:
        return
    count = _columns(vectorizer, "vocabulary_")
    if "feature_names_" in vectorizer.entries:
        vectorizer.items("feature_names_", count)


def _check_hasher(hasher: Subject) -> None:
    """What hashes: compiled code divides by the number of columns (feature_extraction/_hashing_fast.pyx)."""
    if "n_features" in hasher.entries:
        hasher.integer("n_features", 1, _MAX_WIDTH)


# --- labels ----------------------------------------------------------------------------------------------------


def _check_label_sets(binarizer: Subject) -> None:
    """A `MultiLabelBinarizer`: labels become columns by a table that it may have kept."""
    classes = None
    if "classes_" in binarizer.entries:
        array = binarizer.view.array(binarizer.get("classes_"))
        held = binarizer.items("classes_") if array is None else array.tolist()
        # The table is made of the classes, and has as many columns as there are different ones.
        _distinct(binarizer, "classes_", held)
        classes = len(held)
    if binarizer.has("_cached_dict"):
        _columns(binarizer, "_cached_dict", classes)


def _check_labels(binarizer: Subject) -> None:
    """A `LabelBinarizer`: labels become columns by their place among the classes."""
    if "classes_" not in binarizer.entries:
        return
    given = binarizer.get("classes_")
    array = binarizer.view.array(given)
    shape = binarizer.view.shape_of_objects(given) if array is None else array.shape
    binarizer.require(shape is not None and len(shape) == 1, "classes_", "it must be an array of one dimension", shape)
    if array is None:
        # Objects are sorted by comparing them. NaN is neither smaller nor larger: what is around it stays unsorted, and is not found.
        keys = [_key(binarizer, "classes_", each) for each in binarizer.items("classes_")]
        binarizer.require(all(each == each for each in keys), "classes_", "none may be NaN")  # noqa: PLR0124 - NaN is what differs from itself


# --- encoders --------------------------------------------------------------------------------------------------


def _check_encoder(encoder: Subject) -> None:
    """An encoder of categories: what stands for each column has as many entries as there are columns."""
    if "categories_" not in encoder.entries:
        return
    if type(encoder.get("categories_")) is not List:
        encoder.fail("categories_", "it must be a list of arrays", encoder.get("categories_"))
    sizes = [_category_count(encoder, f"categories_[{number}]", each) for number, each in enumerate(encoder.items("categories_"))]
    if "n_features_in_" in encoder.entries:
        encoder.integer("n_features_in_", len(sizes), len(sizes))
    one_hot = encoder.is_a("sklearn:OneHotEncoder")
    if encoder.has("_infrequent_enabled") and encoder.truth("_infrequent_enabled"):
        groups = [
            size if less is None else size - less + 1 for size, less in zip(sizes, _infrequent_counts(encoder, sizes, one_hot=one_hot), strict=True)
        ]
    else:
        # What an earlier `fit` left is not looked at.
        groups = sizes
    if one_hot:
        _check_one_hot(encoder, groups)
    if encoder.has("_missing_indices"):
        held = encoder.get("_missing_indices")
        if type(held) is not Dict:
            encoder.fail("_missing_indices", "it must be a dict", held)
        for column, place in held.entries():
            size = sizes[encoder.integer("_missing_indices", 0, len(sizes) - 1, value=column)]
            encoder.integer("_missing_indices", 0, size - 1, value=place)


def _category_count(encoder: Subject, entry: str, value: Any) -> int:
    """Return the number of categories of a column. Numbers ascend, or the search for one would end behind the last."""
    array = encoder.view.array(value)
    shape: tuple[int, ...] | None = encoder.view.shape_of_objects(value) if array is None else array.shape
    if shape is None or len(shape) != 1:
        encoder.fail(entry, "it must be an array of one dimension", value if shape is None else shape)
    if array is not None and array.dtype.kind not in "US" and array.size > 1:
        encoder.require(array.dtype.kind in "iufbmM", entry, "it must hold numbers, text, dates or objects", array.dtype)
        # NaN and NaT may stand at the end (utils/_encode.py, _unique_np).
        numbers = array[:-1] if array[-1] != array[-1] else array
        encoder.require((numbers[:-1] <= numbers[1:]).all(), entry, "the numbers must ascend")
    return shape[0]


def _infrequent_counts(encoder: Subject, sizes: list[int], *, one_hot: bool) -> list[int | None]:
    """Return how many categories of each column are put together. What maps categories to codes must say the same."""
    np = encoder.np
    indices = encoder.items("_infrequent_indices", len(sizes))
    mappings = encoder.items("_default_to_infrequent_mappings", len(sizes))
    counts: list[int | None] = []
    for number, (size, chosen, mapping) in enumerate(zip(sizes, indices, mappings, strict=True)):
        first, second = f"_infrequent_indices[{number}]", f"_default_to_infrequent_mappings[{number}]"
        if chosen is None:
            encoder.require(mapping is None, second, "it must be None if no category is infrequent", mapping)
            counts.append(None)
            continue
        codes = encoder.array(second, "iu", (None,), value=mapping)
        # A missing value is no infrequent category, except to a OneHotEncoder.
        encoder.require(len(codes) == size or (not one_hot and len(codes) == size - 1), second, f"it must hold {size} codes", len(codes))
        rare = encoder.array(first, "iu", (None,), value=chosen)
        encoder.require(rare.size, first, "it must name a category")
        encoder.within(first, rare, 0, len(codes))
        frequent = np.ones(len(codes), bool)
        frequent[rare] = False
        expected = np.where(frequent, np.cumsum(frequent) - 1, np.count_nonzero(frequent))
        encoder.require(len(rare) == np.count_nonzero(~frequent), first, "it must name each category once")
        encoder.require((codes == expected).all(), second, "its codes must be those of the frequent categories, and one more")
        counts.append(len(rare))
    return counts


def _check_one_hot(encoder: Subject, groups: list[int]) -> None:
    """A `OneHotEncoder`: the index of a column is the code of a category plus the widths of the blocks before (preprocessing/_encoders.py)."""
    widths = list(groups)
    if encoder.has("_drop_idx_after_grouping"):
        held = encoder.get("_drop_idx_after_grouping")
        encoder.require(
            encoder.view.shape_of_objects(held) == (len(groups),), "_drop_idx_after_grouping", f"it must be an array of {len(groups)} objects", held
        )
        for number, each in enumerate(encoder.items("_drop_idx_after_grouping")):
            if each is not None:
                encoder.integer(f"_drop_idx_after_grouping[{number}]", 0, groups[number] - 1, value=each)
                widths[number] -= 1
    if "_n_features_outs" in encoder.entries:
        held = encoder.get("_n_features_outs")
        found = [encoder.view.number(each) for each in held.items] if type(held) is List else held
        encoder.require(found == widths, "_n_features_outs", f"the categories make {widths[:8]} columns", found)


def _check_bins(model: Subject) -> None:
    """A `KBinsDiscretizer`: each column has its edges, one more than bins."""
    if "bin_edges_" not in model.entries:
        return
    edges = model.items("bin_edges_")
    counts = model.array("n_bins_", "iu", (len(edges),))
    if "n_features_in_" in model.entries:
        model.integer("n_features_in_", len(edges), len(edges))
    for number, each in enumerate(edges):
        model.array(f"bin_edges_[{number}]", "f", (int(counts[number]) + 1,), value=each)


# --- polynomials and splines -----------------------------------------------------------------------------------


def _check_polynomials(model: Subject) -> None:
    """Polynomial features: columns that are allocated and not computed would show what was in memory before."""
    if not {"_max_degree", "_n_out_full", "n_output_features_"} & model.entries.keys():
        return
    width = model.integer("n_features_in_", 1, _MAX_WIDTH)
    most = model.integer("_max_degree", 0, 10_000)
    least = model.integer("_min_degree", 0, most)
    for entry, start in (("n_output_features_", least), ("_n_out_full", 0)):
        count = _term_count(width, start, most, interaction_only=model.truth("interaction_only"))
        model.require(count is not None, entry, "there must be fewer than 2**63 columns", width)
        expected = (count or 0) + model.truth("include_bias")
        model.integer(entry, expected, expected)


def _term_count(width: int, least: int, most: int, *, interaction_only: bool) -> int | None:
    """Return how many products of `least` to `most` columns there are, 1 at least; None if they are too many to count."""
    total, term = 0, 1
    for degree in range(1, most + 1):
        term = term * (width - degree + 1 if interaction_only else width + degree - 1) // degree
        if not term:
            break
        total += term if degree >= least else 0
        if total + term >= 1 << 63:
            return None
    return total


def _check_splines(model: Subject) -> None:
    """A `SplineTransformer`: each column has a spline, and all of them make as many columns as its coefficients."""
    if "bsplines_" not in model.entries:
        return
    width = model.integer("n_features_in_", 1, _MAX_WIDTH)
    splines = [model.part(f"bsplines_[{number}]", "scipy:BSpline", value=each) for number, each in enumerate(model.items("bsplines_", width))]
    counts = set()
    for shell in splines:
        # Since scipy 1.18 a shell around one that holds the arrays.
        state = shell.made.state
        spline = shell.part("<state>[0]", "scipy:_BSpline", value=state[0]) if type(state) is tuple and state else shell
        entry = "_c" if "_c" in spline.entries else "c"
        counts.add(spline.array(entry, "f", (None, None)).shape[1])
    model.require(len(counts) == 1, "bsplines_", "each must have as many coefficients", counts)
    columns = counts.pop()
    model.integer("degree", 0, 1000)
    if "n_features_out_" in model.entries:
        expected = width * (columns - 1 + model.truth("include_bias"))
        model.integer("n_features_out_", expected, expected)


# --- imputation, selection and the rest ------------------------------------------------------------------------


def _check_missing_indicator(model: Subject) -> None:
    """A `MissingIndicator`: the columns that it looks at are among those of X."""
    if "features_" in model.entries:
        columns = model.array("features_", "iu", (None,))
        model.within("features_", columns, 0, model.integer("_n_features", 0, _MAX_WIDTH))


def _check_selection(model: Subject) -> None:
    """A selection of columns that keeps a mask of them."""
    if "support_" in model.entries:
        width = model.array("support_", "b", (None,)).shape[0]
        if "n_features_in_" in model.entries:
            model.integer("n_features_in_", width, width)
        if model.has("ranking_"):
            model.array("ranking_", "iu", (width,))


def _check_quantiles(model: Subject) -> None:
    """A `QuantileTransformer`: each column has as many quantiles as there are references."""
    if "quantiles_" not in model.entries:
        return
    quantiles = model.array("quantiles_", "f", (None, None))
    model.array("references_", "f", quantiles.shape[:1])
    if "n_quantiles_" in model.entries:
        model.integer("n_quantiles_", quantiles.shape[0], quantiles.shape[0])
    if "n_features_in_" in model.entries:
        model.integer("n_features_in_", quantiles.shape[1], quantiles.shape[1])


def _check_patches(model: Subject) -> None:
    """A `PatchExtractor`: it allocates a patch of that size for each place in an image."""
    if model.has("patch_size"):
        for each in model.items("patch_size", 2):
            model.integer("patch_size", 1, 1 << 14, value=each)


def _check_target_encoder(model: Subject) -> None:
    """A `TargetEncoder`: it allocates a column for each feature and class, and fills as many as there are encodings."""
    if "encodings_" not in model.entries:
        return
    count = len(model.items("categories_"))
    if model.get("target_type_") == "multiclass":
        count *= model.view.length(model.get("classes_")) or 0
    model.items("encodings_", count)


CHECKS: Final[dict[str, Check]] = {
    "sklearn:TargetEncoder": _check_target_encoder,
    "sklearn:_VectorizerMixin": _check_vectorizer,
    "sklearn:CountVectorizer": _check_vocabulary,
    "sklearn:DictVectorizer": _check_names,
    "sklearn:FeatureHasher": _check_hasher,
    "sklearn:HashingVectorizer": _check_hasher,
    "sklearn:MultiLabelBinarizer": _check_label_sets,
    "sklearn:LabelBinarizer": _check_labels,
    "sklearn:_BaseEncoder": _check_encoder,
    "sklearn:KBinsDiscretizer": _check_bins,
    "sklearn:PolynomialFeatures": _check_polynomials,
    "sklearn:SplineTransformer": _check_splines,
    "sklearn:MissingIndicator": _check_missing_indicator,
    "sklearn:SelectorMixin": _check_selection,
    "sklearn:QuantileTransformer": _check_quantiles,
    "sklearn:PatchExtractor": _check_patches,
}
