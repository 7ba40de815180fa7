"""xgboost, lightgbm, catboost and imbalanced-learn, each with its own pack named in the policy."""

import importlib
import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from safepickle import Policy, PolicyError, SecretKey, dumps, loads
from safepickle import policy as policies

KEY = SecretKey.generate()
RNG = np.random.RandomState(0)
X = RNG.randn(200, 5)
Y = (X[:, 0] > 0).astype(int)
SKEWED = (X[:, 0] > np.quantile(X[:, 0], 0.75)).astype(int)
QUIET = {"lightgbm": {"verbose": -1}, "catboost": {"verbose": 0, "allow_writing_files": False}, "xgboost": {}}
TREES = {"lightgbm": "n_estimators", "catboost": "iterations", "xgboost": "n_estimators"}

BOOSTERS = [
    ("xgboost", "XGBClassifier", {}),
    ("xgboost", "XGBRegressor", {"booster": "gblinear"}),
    ("xgboost", "XGBRegressor", {"booster": "dart"}),
    ("xgboost", "XGBRFClassifier", {}),
    ("xgboost", "XGBRFRegressor", {}),
    ("xgboost", "XGBRanker", {}),
    ("lightgbm", "LGBMClassifier", {}),
    ("lightgbm", "LGBMRegressor", {}),
    ("lightgbm", "LGBMRanker", {}),
    ("catboost", "CatBoostClassifier", {}),
    ("catboost", "CatBoostRegressor", {}),
    ("catboost", "CatBoostRanker", {"loss_function": "QueryRMSE"}),
]
SAMPLERS = [
    ("over_sampling", "ADASYN BorderlineSMOTE KMeansSMOTE RandomOverSampler SMOTE SMOTEN SVMSMOTE"),
    (
        "under_sampling",
        (
            "AllKNN ClusterCentroids CondensedNearestNeighbour EditedNearestNeighbours InstanceHardnessThreshold NearMiss "
            "NeighbourhoodCleaningRule OneSidedSelection RandomUnderSampler RepeatedEditedNearestNeighbours TomekLinks"
        ),
    ),
    ("combine", "SMOTEENN SMOTETomek"),
    ("ensemble", "BalancedBaggingClassifier BalancedRandomForestClassifier EasyEnsembleClassifier RUSBoostClassifier"),
]


def library(name):
    return pytest.importorskip(name, reason=f"{name} is not installed: pip install '.[boosters]'")


def round_trip(model, pack):
    policy = Policy.default().with_packs(pack)
    return loads(dumps(model, key=KEY, policy=policy), key=KEY, policy=policy)


@pytest.mark.parametrize(
    ("name", "cls", "options"), BOOSTERS, ids=lambda value: value if isinstance(value, str) else "-".join(value.values()) or "plain"
)
def test_a_booster_round_trips_with_its_pack_and_not_without(name, cls, options):
    module = library(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(module, cls)(**{TREES[name]: 5}, **QUIET[name], **options)
        groups = {"group_id": np.repeat([0, 1], 100)} if name == "catboost" else {"group": [100, 100]}
        model.fit(X, Y, **(groups if "Ranker" in cls else {}))
        back = round_trip(model, name)
        np.testing.assert_array_equal(back.predict(X), model.predict(X))
    with pytest.raises(PolicyError, match=name):
        dumps(model, key=KEY)


def test_a_booster_with_a_callback_round_trips():
    xgboost = library("xgboost")
    model = xgboost.XGBClassifier(n_estimators=9, callbacks=[xgboost.callback.EarlyStopping(2)])
    model.fit(X, Y, eval_set=[(X, Y)], verbose=0)
    np.testing.assert_array_equal(round_trip(model, "xgboost").predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize(("module", "cls"), [(module, cls) for module, classes in SAMPLERS for cls in classes.split()])
def test_a_sampler_round_trips_with_its_pack(module, cls):
    library("imblearn")
    model = getattr(importlib.import_module(f"imblearn.{module}"), cls)()
    np.random.seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, SKEWED)
        back = round_trip(model, "imblearn")
        assert type(back) is type(model)
        if hasattr(model, "predict"):
            np.testing.assert_array_equal(back.predict(X), model.predict(X))


def test_a_pipeline_with_a_sampler_predicts_identically():
    library("imblearn")
    from imblearn.over_sampling import SMOTE
    from imblearn.pipeline import make_pipeline

    model = make_pipeline(SMOTE(random_state=0), LogisticRegression()).fit(X, SKEWED)
    np.testing.assert_array_equal(round_trip(model, "imblearn").predict_proba(X), model.predict_proba(X))


def test_the_content_of_a_booster_is_of_the_type_that_its_reader_takes():
    lightgbm = library("lightgbm")
    model = lightgbm.LGBMRegressor(n_estimators=2, verbose=-1).fit(X, Y)
    state = model.booster_.__getstate__
    lightgbm_policy = Policy.default().with_packs("lightgbm")
    model.booster_.__class__.__getstate__, before = (lambda self: {**state(), "_handle": [1]}), model.booster_.__class__.__getstate__
    try:
        with pytest.raises(PolicyError, match="is not str"):
            dumps(model.booster_, key=KEY, policy=lightgbm_policy)
    finally:
        model.booster_.__class__.__getstate__ = before


@pytest.mark.parametrize("name", ["xgboost", "lightgbm", "catboost", "imblearn"])
def test_every_name_of_a_pack_that_exists_here_is_what_its_rule_takes_it_for(name):
    library(name)
    missing = []
    for rule in policies._builtin_pack(name).rules:
        assert len(rule.reason.split()) >= 2
        for each in rule.names:
            module, qualified = each.split(":")
            try:
                found = getattr(importlib.import_module(module), qualified)
            except (ImportError, AttributeError):
                missing.append(each)
                continue
            assert isinstance(found, type), each
            assert (found.__module__, found.__qualname__) == (module, qualified)
    assert not missing


def native(name):
    """Return a fitted booster and the key of its state under which the native blob stands."""
    module = library(name)
    cls = module.LGBMRegressor if name == "lightgbm" else module.XGBRegressor
    return cls(**QUIET[name], n_estimators=3).fit(X, Y)


def nested(blob):
    return bytearray(b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner" + b"[" * 300_000)


@pytest.mark.parametrize(
    ("name", "entry", "edit"),
    [
        ("lightgbm", "_handle", lambda text: text.replace("tree_sizes=", "tree_sizes=1")),
        ("xgboost", "handle", nested),
    ],
)
def test_a_blob_that_ends_the_process_ends_a_child(name, entry, edit, monkeypatch):
    """No check looks into native blobs; `rehearse=True` lets their readers do so in another process."""
    from assembler import seal

    from safepickle import SafePickleError, StateError
    from safepickle.pickling import pickled

    model = native(name)
    policy = Policy.default().with_packs(name)
    assert loads(dumps(model, key=KEY, policy=policy), key=KEY, policy=policy, rehearse=True).predict(X).shape == (200,)
    booster = type(model._Booster)
    state = booster.__getstate__(model._Booster)
    monkeypatch.setattr(booster, "__getstate__", lambda self: {**state, entry: edit(state[entry])})
    signed = seal(*pickled(model), key=KEY)
    with pytest.raises(StateError, match=r"SIG|exit status") as caught:
        loads(signed, key=KEY, policy=policy, rehearse=True)
    assert isinstance(caught.value, SafePickleError)
