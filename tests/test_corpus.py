"""Every model of the corpus loads under the default policy with nothing allowed, and answers as its plain pickle does."""

import copyreg
import pickle
import re
import types
import warnings

import numpy as np
import pytest
from corpus import cases as corpus
from corpus import missing

from safepickle import PolicyError, dumps, loads

LATEST = corpus.SKLEARN >= (1, 9)
# The counts of all releases that are supported; scikit-learn 1.9 has more of each, and pyarrow adds some.
ENOUGH = {"estimators": 200, "variants": 400, "composites": 100, "values": 70, "outside": 20}

METHODS = (
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "decision_path",
    "apply",
    "transform",
    "score_samples",
    "kneighbors",
    "staged_predict",
)

MUTE = {
    "composites:grid search without refit": "it has no best estimator to ask",
    "variants:AffinityPropagation precomputed": "it predicts from centres, which a matrix of affinities does not have",
}
"""Cases whose every method raises, with why."""


def params(*groups):
    return [pytest.param(case, id=case.id) for group in groups for case in corpus.cases(group)]


@pytest.mark.parametrize("case", params(*corpus.GROUPS[:-1]))
def test_a_case_comes_back_whole_and_answers_the_same(case, key):
    """A false refusal teaches people to switch the check off; a wrong answer is worse."""
    model, inputs = case.build()
    with warnings.catch_warnings():
        # numpy.matrix warns when one is made, by plain pickle too.
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        plain = pickle.loads(pickle.dumps(model, 5))
        back = loads(dumps(model, key=key), key=key)
    assert difference(plain, back) is None
    # Compared with the plain round trip, not the model: in another place of memory BLAS may round the last bit otherwise.
    expected, found = answers(plain, inputs), answers(back, inputs)
    assert difference(expected, found) is None
    # A model that only raises would compare as equal.
    assert not expected or any(type(answer) is not type for answer in expected.values()) or case.id in MUTE


def answers(model, inputs):
    """Return what each method of the model says about the inputs, or the class of what it raises."""
    found = {}
    if inputs is None:
        return found
    for name in METHODS:
        # Estimators without a random state of their own draw from numpy's, DummyClassifier and samplers among them.
        np.random.seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                method = getattr(model, name)
            except AttributeError:
                continue
            try:
                answer = method(inputs)
                found[name] = list(answer) if isinstance(answer, types.GeneratorType) else answer
            except Exception as error:
                found[name] = type(error)
    return found


def difference(one, two):
    """Return the path of the first difference between two objects, or None: by type, dtype, bits, and what pickle would store."""
    work, seen, kept = [("$", one, two)], set(), []
    while work:
        path, a, b = work.pop()
        if a is b or (id(a), id(b)) in seen:
            continue
        seen.add((id(a), id(b)))
        # Ids are compared, so what is made here must live on.
        kept.append((a, b))
        if type(a) is not type(b):
            return f"{path}: {type(a)} and {type(b)}"
        if isinstance(a, (bool, int, str, bytes, bytearray, set, frozenset, type, np.dtype, np.ufunc, types.FunctionType, types.BuiltinFunctionType)):
            if a != b:
                return f"{path}: {a!r:.80} and {b!r:.80}"
        elif isinstance(a, (float, complex, np.generic)):
            if repr(a) != repr(b):
                return f"{path}: {a!r} and {b!r}"
        elif isinstance(a, np.ndarray) and not isinstance(a, np.ma.MaskedArray):
            if (a.dtype, a.shape, a.flags.c_contiguous, a.flags.writeable) != (b.dtype, b.shape, b.flags.c_contiguous, b.flags.writeable):
                return f"{path}: {a.dtype}{a.shape} {a.flags} and {b.dtype}{b.shape} {b.flags}"
            if a.dtype.hasobject:
                work.append((f"{path}[]", a.ravel().tolist(), b.ravel().tolist()))
            elif a.tobytes() != b.tobytes() and not np.array_equal(a, b):
                return f"{path}: arrays differ"
        elif isinstance(a, pickle.PickleBuffer):
            if a.raw().tobytes() != b.raw().tobytes():
                return f"{path}: buffers differ"
        elif isinstance(a, (list, tuple)) and type(a) in (list, tuple):
            if len(a) != len(b):
                return f"{path}: {len(a)} and {len(b)} items"
            work.extend((f"{path}[{i}]", x, y) for i, (x, y) in enumerate(zip(a, b, strict=True)))
        elif type(a) is dict:
            work.append((f"{path}.keys()", list(a), list(b)))
            work.extend((f"{path}[{key!r}]", x, y) for (key, x), y in zip(a.items(), b.values(), strict=False))
        elif not isinstance(a, types.ModuleType):
            work.append((f"{path}<{type(a).__name__}>", reduced(a), reduced(b)))
    return None


def reduced(value):
    """Return what pickle stores of an object, as tuples, lists and dicts."""
    if type(value).__name__ in ("cKDTree", "KDTree") and type(value).__module__.startswith("scipy."):
        # Its state has addresses in it, which differ even between two copies by plain pickle.
        return value.data, value.indices, value.leafsize, value.query(value.data, 3)
    reduce = copyreg.dispatch_table.get(type(value))
    parts = reduce(value) if reduce else value.__reduce_ex__(5)
    if isinstance(parts, str):
        return parts
    return tuple(list(part) if place in (3, 4) and part is not None else part for place, part in enumerate(parts))


def test_the_comparison_sees_differences():
    """A comparison that finds everything equal would let anything pass."""
    forest = corpus.ensemble.RandomForestClassifier(2, random_state=0).fit([[0.0], [1.0]], [0, 1])
    other = pickle.loads(pickle.dumps(forest))
    assert difference(forest, other) is None
    other.estimators_[1].random_state += 1
    assert "random_state" in difference(forest, other)
    for one, two in [(1, True), (1.0, 1), (0.0, -0.0), ([1], (1,)), ({"a": 1, "b": 2}, {"b": 2, "a": 1}), (np.arange(3), np.arange(3.0))]:
        assert difference(one, two)
        assert difference([one], [two])
    assert difference(np.ones(2), np.array([1, 1 + 1e-16 + 3e-16]))
    assert difference([float("nan"), np.array([np.nan])], [float("nan"), np.array([np.nan])]) is None


def test_every_estimator_is_in_the_corpus_or_in_the_table_of_those_that_cannot_be():
    """`UNFIT` is the whole list of misses: a class that starts to fit must leave it, and no class is skipped in silence."""
    classes = dict(corpus.all_estimators())
    named = {case.name for case in corpus.cases("estimators")}
    assert named.isdisjoint(corpus.UNFIT)
    assert named | set(corpus.UNFIT) >= set(classes)
    fit = set()
    for case in corpus.cases("estimators"):
        model, _ = case.build()
        if type(model) is classes[case.name] and type(pickle.loads(pickle.dumps(model, 5))) is classes[case.name]:
            fit.add(case.name)
    assert set(classes) - fit == set(corpus.UNFIT) & set(classes)
    assert len(fit) >= (210 if LATEST else 200)


def test_every_class_of_scikit_learn_has_a_rule():
    assert missing.classes_without_rule() == []


@pytest.mark.parametrize("group", corpus.GROUPS)
def test_the_corpus_is_as_large_as_it_was(group):
    assert len(corpus.cases(group)) >= ENOUGH[group]


@pytest.mark.parametrize("case", params("outside"))
def test_what_could_run_code_is_refused(case, key):
    model, _ = case.build()
    with pytest.raises(PolicyError, match=re.escape(case.refused)):
        dumps(model, key=key)


def test_the_tool_reports_nothing_for_what_passes_and_names_what_does_not(capsys):
    assert missing.main(["composites:columns"]) == 0
    assert "0 names refused, 0 classes without a rule, 0 other failures" in capsys.readouterr().out
    refused = [case for case in corpus.cases("outside") if case.name in ("class of a user", "factory that runs code", "compiled pattern")]
    uses, failed = missing.find_missing(refused)
    assert not failed
    assert {name: sorted(verbs) for name, verbs in uses.items()} == {
        "corpus.cases:_Local": ["new", "state"],
        "builtins:exec": ["refer"],
        "collections:defaultdict": ["call"],
        "re:_compile": ["call"],
        # The pattern stands in kw_args, which are plain values.
        "sklearn.preprocessing._function_transformer:FunctionTransformer": ["new"],
    }
    assert 'names = ["corpus.cases:_Local"]' in missing.suggestion("corpus.cases:_Local", uses["corpus.cases:_Local"])
    assert 'args = [["any", "..."]]' in missing.suggestion("re:_compile", uses["re:_compile"])
    assert "too narrow" in missing.suggestion("collections:defaultdict", uses["collections:defaultdict"])
    assert "cannot be allowed" in missing.suggestion("builtins:exec", uses["builtins:exec"])
