"""dump and load from end to end: what comes back, what is refused on which side, and that nothing runs before it is judged."""

import functools
import gc
import io
import mmap
import os
import subprocess
import sys
import threading
import types
import warnings
import weakref

import mycorp
import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

import safepickle
from safepickle import KeyringError, Limits, Policy, PolicyError, ProgramError, SecretKey, VersionMismatchError, VersionMismatchWarning, dumps, loads

KEY = SecretKey.generate()


def round_trip(value, **options):
    return loads(dumps(value, key=KEY, **options), key=KEY, **options)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(5),
        np.arange(100_000, dtype="f4").reshape(100, 1000),
        np.asfortranarray(np.arange(20_000.0).reshape(100, 200)),
        np.arange(20)[::2],
        np.arange(24).reshape(2, 3, 4).transpose(1, 2, 0),
        np.zeros((0, 3)),
        np.array(3.5),
        np.array(["a", "bcd"]),
        np.array([b"x", b""], dtype="S3"),
        np.array([None, "x", 2.5, (1, 2)], dtype=object),
        np.array(["2026-11-24", "NaT"], dtype="M8[D]"),
        np.array([1, 2], dtype="m8[ns]"),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array([(1, 2.0)], dtype=np.dtype([("a", "i1"), ("b", "f8")], align=True)),
        np.array([(1, 2.0)], dtype={"names": ["a", "b"], "formats": ["u1", "f4"], "offsets": [4, 8], "itemsize": 20}),
        np.array([((1, 2), [3, 4, 5])], dtype=[("in", [("x", "i2"), ("y", "i2")]), ("row", "f8", (3,))]),
        np.arange(4, dtype=">i4"),
        np.array([1 + 2j]),
        np.array([True, False]),
        np.rec.array([(1, "x")], dtype=[("n", "i4"), ("s", "U2")]),
        np.ma.masked_array([1, 2, 3], [0, 1, 0]),
        np.matrix([[1, 2], [3, 4]]),
        np.float32(1.5),
        np.int64(-7),
        np.datetime64("2026-11-24T05:00", "s"),
        np.dtype("f8"),
        np.dtype([("a", "i4", (2, 2))]),
        np.dtype((np.record, [("a", "i4")])),
        np.random.default_rng(3),
        np.random.RandomState(3),
        np.float64,
        np.log1p,
    ],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', value)}"[:40],
)
@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_numpy_values_come_back_equal(array):
    back = round_trip(array)
    assert type(back) is type(array)
    if isinstance(array, (np.ndarray, np.generic)):
        assert back.dtype == array.dtype
        assert back.shape == array.shape
        np.testing.assert_array_equal(np.ma.getdata(back), np.ma.getdata(array))
        assert np.ma.is_masked(back) == np.ma.is_masked(array)
    elif isinstance(array, (np.random.Generator, np.random.RandomState)):
        assert back.random() == array.random()
    else:
        assert back == array


def test_a_dtype_with_metadata_is_refused_rather_than_stored_without_it():
    with pytest.raises(PolicyError, match=r"numpy:dtype"):
        dumps(np.dtype("f8", metadata={"unit": "m"}), key=KEY)


def test_flags_of_a_dtype_survive():
    for dtype in (np.dtype([("a", "i1"), ("b", "f8")], align=True), np.dtype({"names": ["a"], "formats": ["f4"], "titles": ["title"]})):
        back = round_trip(dtype)
        assert back == dtype
        assert (back.isalignedstruct, back.fields, back.itemsize, back.alignment) == (
            dtype.isalignedstruct,
            dtype.fields,
            dtype.itemsize,
            dtype.alignment,
        )


def test_shared_and_recursive_values_keep_their_identity():
    shared = [1]
    recursive = [shared, shared]
    recursive.append(recursive)
    back = round_trip(recursive)
    assert back[0] is back[1]
    assert back[2] is back
    loop = ([],)
    loop[0].append(loop)
    back = round_trip(loop)
    assert back[0][0] is back
    estimator = StandardScaler().fit([[1.0], [2.0]])
    pair = round_trip({"one": estimator, "two": estimator})
    assert pair["one"] is pair["two"]


def test_objects_in_cycles_come_back():
    left, right = mycorp.Pair(), mycorp.Pair()
    left.right, right.left = right, left
    back = round_trip(left, allow=[mycorp.Pair])
    assert back.right.left is back


@pytest.mark.parametrize(
    "value",
    [mycorp.Clip(0.25, 0.5), mycorp.Pair(1, 2), mycorp.Slotted(3), mycorp.Names([1, 2]), mycorp.Table(a=1), mycorp.double, mycorp.Pair],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_an_allowed_class_round_trips_and_is_refused_without_being_allowed(value):
    cls = value if isinstance(value, (type, types.FunctionType)) else type(value)
    name = f"mycorp:{cls.__name__}"
    for allow in ([cls], [name]):
        back = round_trip(value, allow=allow)
        assert back is value if back is cls else vars_of(back) == vars_of(value)
    with pytest.raises(PolicyError, match=name) as refused:
        dumps(value, key=KEY)
    assert f'allow=["{name}"]' in str(refused.value)
    signed = dumps(value, key=KEY, allow=[cls])
    with pytest.raises(PolicyError, match=name):
        loads(signed, key=KEY)


def vars_of(value):
    return (type(value), getattr(value, "__dict__", None), list(value) if isinstance(value, (list, dict)) else getattr(value, "left", None))


def test_enums_and_named_tuples_are_allowed_by_the_class_itself():
    """Only the class tells that a call with a value, or an instance of given values, is how it is pickled."""
    for value in (mycorp.Colour.RED, mycorp.Point(1, [2])):
        assert round_trip(value, allow=[type(value)]) == value
        with pytest.raises(PolicyError, match="mycorp:"):
            dumps(value, key=KEY, allow=[f"mycorp:{type(value).__name__}"])
    assert round_trip({mycorp.Colour.RED: 1}, allow=[mycorp.Colour]) == {mycorp.Colour.RED: 1}


def test_a_class_that_needs_a_call_is_not_covered_by_allow():
    with pytest.raises(PolicyError, match="mycorp:Reduced"):
        dumps(mycorp.Reduced(), key=KEY, allow=[mycorp.Reduced])


def test_allowing_a_name_of_a_pack_does_not_widen_its_rule():
    forged = make_pipeline(StandardScaler())
    assert type(round_trip(forged, allow=["numpy:dtype", StandardScaler])) is type(forged)
    assert Policy.default().allow("numpy:dtype").rules == Policy.default().rules


def test_a_class_with_its_own_hash_cannot_be_a_key():
    with pytest.raises(PolicyError, match="hashed"):
        dumps({mycorp.Hashed(): 1}, key=KEY, allow=[mycorp.Hashed])


def test_a_model_with_a_class_of_ones_own_predicts_identically():
    X, y = load_iris(return_X_y=True)
    model = make_pipeline(mycorp.Clip(1, 5), FunctionTransformer(mycorp.double), DecisionTreeClassifier(random_state=0)).fit(X, y)
    back = round_trip(model, allow=[mycorp.Clip, mycorp.double])
    np.testing.assert_array_equal(back.predict_proba(X), model.predict_proba(X))


def a_local():
    class Local:
        pass

    return Local()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (lambda: None, "lambda"),
        (a_local(), "a_local.<locals>.Local"),
        (FunctionTransformer(lambda values: values), "lambda"),
    ],
    ids=["lambda", "local", "within an estimator"],
)
def test_what_no_file_can_name_is_refused_at_dump_with_the_way_out(value, text):
    with pytest.raises(PolicyError, match="at the top of a module") as refused:
        dumps(value, key=KEY)
    assert text in str(refused.value)


def test_a_class_of_main_is_refused_at_dump_with_the_way_out():
    program = "import safepickle\nclass Mine: pass\nsafepickle.dumps([Mine()], key=safepickle.SecretKey.generate())"
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "Mine is defined in __main__" in child.stderr
    assert "move it into a module" in child.stderr
    assert "$[0]" in child.stderr


@pytest.mark.parametrize("value", [threading.Lock(), os.scandir(), (each for each in ()), types, sys.stdout], ids=lambda value: type(value).__name__)
def test_what_cannot_be_pickled_is_a_program_error(value):
    with pytest.raises(ProgramError, match="cannot be pickled"):
        dumps([value], key=KEY)


def test_an_error_of_a_users_own_pickling_code_is_wrapped_once():
    class Broken:
        def __reduce__(self):
            raise ZeroDivisionError("mine")

    with pytest.raises(ProgramError, match="ZeroDivisionError: mine") as refused:
        dumps(Broken(), key=KEY)
    assert isinstance(refused.value.__cause__, ZeroDivisionError)


def test_too_deep_objects_are_a_limit_error():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(safepickle.LimitError, match="nested too deep"):
        dumps(deep, key=KEY)


def test_keys_are_never_pickled():
    with pytest.raises(KeyringError, match="never pickled"):
        dumps({"key": KEY}, key=KEY)


def test_a_refusal_lists_everything_with_its_path():
    model = make_pipeline(StandardScaler(), mycorp.Clip(), FunctionTransformer(mycorp.double))
    with pytest.raises(PolicyError) as refused:
        dumps({"best": [model]}, key=KEY)
    text = str(refused.value)
    assert "$['best'][0].steps[1][1]: makes an instance of mycorp:Clip" in text
    assert "$['best'][0].steps[2][1].func: refers to mycorp:double" in text
    assert 'allow=["mycorp:Clip", "mycorp:double"]' in text
    assert len(refused.value.refusals) == 3


def test_the_rules_that_a_refusal_suggests_allow_it_once_a_reason_is_given(tmp_path):
    model = make_pipeline(mycorp.Clip(), FunctionTransformer(mycorp.double))
    extra = [mycorp.Reduced()]
    with pytest.raises(PolicyError) as refused:
        dumps([model, extra], key=KEY)
    suggestion = str(refused.value).partition("\n\n")[2]
    (tmp_path / "blank.toml").write_text(suggestion)
    with pytest.raises(PolicyError, match="reason is blank"):
        Policy.read(tmp_path / "blank.toml")
    (tmp_path / "policy.toml").write_text(suggestion.replace('reason = ""', 'reason = "our own code"'))
    policy = Policy.read(tmp_path / "policy.toml")
    back = loads(dumps([model, extra], key=KEY, policy=policy), key=KEY, policy=policy)
    assert type(back[1][0]) is mycorp.Reduced


@pytest.mark.parametrize("mismatch", ["error", "warn", "ignore"])
def test_another_library_version_is_told_before_anything_is_built(mismatch, monkeypatch):
    signed = dumps(StandardScaler(), key=KEY)
    monkeypatch.setattr(sklearn, "__version__", "0.1")
    monkeypatch.setattr(safepickle.pickling, "_build", lambda *_: "built")
    if mismatch == "error":
        with pytest.raises(VersionMismatchError, match=r'pip install "scikit-learn=='):
            loads(signed, key=KEY, on_version_mismatch=mismatch)
    elif mismatch == "warn":
        with pytest.warns(VersionMismatchWarning, match=r"here: 0\.1"):
            assert loads(signed, key=KEY, on_version_mismatch=mismatch) == "built"
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert loads(signed, key=KEY, on_version_mismatch=mismatch) == "built"


def test_the_header_records_the_versions_of_the_libraries_that_are_used():
    info = safepickle.verify(io.BytesIO(dumps(StandardScaler().fit([[1.0]]), key=KEY)), key=KEY)
    assert info.libraries == {"numpy": np.__version__, "sklearn": sklearn.__version__}
    assert safepickle.verify(io.BytesIO(dumps([1], key=KEY)), key=KEY).libraries == {}


def test_an_object_replaced_at_run_time_is_not_the_one_its_name_says(monkeypatch):
    signed = dumps(StandardScaler(), key=KEY)
    import sklearn.preprocessing._data as module

    for other in (DecisionTreeClassifier, functools.partial(print), os, lambda: None):
        monkeypatch.setattr(module, "StandardScaler", other)
        with pytest.raises(PolicyError, match="StandardScaler"):
            loads(signed, key=KEY)


def test_a_name_that_is_not_here_says_what_to_install(monkeypatch):
    signed = dumps(StandardScaler(), key=KEY)
    import sklearn.preprocessing._data as module

    monkeypatch.delattr(module, "StandardScaler")
    with pytest.raises(PolicyError, match="install the library, in the version that wrote the file"):
        loads(signed, key=KEY)


def test_an_attribute_that_hides_a_method_is_refused_on_both_sides():
    scaler = StandardScaler().fit([[1.0]])
    scaler.transform = np.log1p
    with pytest.raises(PolicyError, match="'transform', which is the name of a method"):
        dumps(scaler, key=KEY)


def test_limits_are_obeyed_and_named():
    signed = dumps(list(range(1000)), key=KEY)
    with pytest.raises(safepickle.LimitError, match="program_bytes"):
        loads(signed, key=KEY, limits=Limits(program_bytes=100))


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: dumps(1, key=None), KeyringError),
        (lambda: dumps(1, key=b"short"), KeyringError),
        (lambda: dumps(1, key="my password"), KeyringError),
        (lambda: dumps(1, key=3), KeyringError),
        (lambda: dumps(1, key=KEY, policy={}), TypeError),
        (lambda: dumps(1, key=KEY, allow="mycorp:Clip"), TypeError),
        (lambda: dumps(1, key=KEY, compress="gzip"), ValueError),
        (lambda: loads("text", key=KEY), TypeError),
        (lambda: loads(dumps(1, key=KEY), key=KEY, on_version_mismatch="maybe"), ValueError),
        (lambda: loads(dumps(1, key=KEY), key=KEY, threshold=0), ValueError),
    ],
)
def test_unusable_arguments_are_refused(call, error):
    with pytest.raises(error):
        call()


def test_loading_does_not_change_the_defaults_of_the_process():
    before = Policy.default()
    Policy.default().allow("mycorp:Clip")
    round_trip(mycorp.Clip(), allow=[mycorp.Clip])
    assert Policy.default() is before
    with pytest.raises(PolicyError):
        dumps(mycorp.Clip(), key=KEY)


# --- memory -----------------------------------------------------------------------------------------------------


def sized(kind):
    """Return a model whose arrays stand out of band, with checks of its own."""
    rng = np.random.default_rng(0)
    x, y = rng.random((3000, 4)), rng.integers(0, 3, 3000)
    if kind == "forest":
        return RandomForestClassifier(4, random_state=0).fit(x, y)
    if kind == "neighbours":
        return KNeighborsClassifier(algorithm="kd_tree").fit(x, y)
    if kind == "words":
        return TfidfVectorizer().fit([" ".join(f"word{number}" for number in range(3000))])
    return x


@pytest.mark.parametrize("way", ["read", "mmap"])
@pytest.mark.parametrize("kind", ["forest", "neighbours", "words", "array"])
def test_the_memory_of_a_file_is_given_back_with_the_object(kind, way, tmp_path, monkeypatch):
    """A server that loads a new model every hour must not hold the old file until Python happens to look for circles."""
    held = []

    class Watched(mmap.mmap):
        def __new__(cls, *args, **options):
            made = super().__new__(cls, *args, **options)
            held.append(weakref.ref(made))
            return made

    model = sized(kind)
    safepickle.dump(model, tmp_path / "model", key=KEY)
    monkeypatch.setattr(mmap, "mmap", Watched)
    gc.collect()
    gc.disable()
    try:
        loaded = safepickle.load(tmp_path / "model", key=KEY, mmap=way == "mmap")
        assert len(held) == 1
        # A forest copies its nodes; the arrays of the others lie in the memory of the file.
        assert (held[0]() is None) == (kind == "forest")
        del loaded
        assert held[0]() is None
    finally:
        gc.enable()
