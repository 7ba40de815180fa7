"""What a reviewer with the key got through before it was mended: each loads nothing now, under the default policy.

Objects that pickle themselves into the attack; dump must refuse what load would. What no object can be made of is
written with the assembler.
"""

import copyreg
import functools
import operator
import random
import uuid

import numpy as np
import pandas as pd
import pytest
from assembler import KEY, Call, New, Ref, program, seal
from pandas.core.indexes.base import _new_Index
from scipy.optimize import OptimizeResult
from sklearn.ensemble import StackingClassifier
from sklearn.isotonic import IsotonicRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import Bunch

from safepickle import LimitError, PolicyError, SafePickleError, dumps, loads

INTERFACE = {"data": (4096, False), "shape": (4,), "typestr": "<f8", "version": 3}


class Reduced:
    """Pickles as what it is told."""

    def __init__(self, *reduced):
        self.reduced = reduced

    @property
    def __class__(self):
        # The pickler writes NEWOBJ only for an instance of the class.
        return self.reduced[1][0] if self.reduced[0] is copyreg.__newobj__ else Reduced

    def __reduce_ex__(self, protocol):
        return self.reduced


def items(cls, *pairs):
    return Reduced(copyreg.__newobj__, (cls,), {}, None, iter(pairs))


def with_state(estimator, **state):
    estimator.__dict__.update(state)
    return estimator


def shared(depth):
    value = (1,)
    for _ in range(depth):
        value = (value, value)
    return value


def index(cls, **keywords):
    return Reduced(_new_Index, (cls, keywords))


def dates_with(third):
    array = pd.arrays.DatetimeArray._from_sequence(pd.to_datetime(["2026"]))
    function, arguments, *_ = array.__reduce__()
    return Reduced(function, arguments, (array.dtype, array._ndarray, third))


def generator_at(position):
    function, arguments, state = np.random.MT19937(0).__reduce__()
    forged = state[0] if isinstance(state, tuple) else state
    forged["state"]["pos"] = position
    return Reduced(function, arguments, state)


LABELS = pd.Series([INTERFACE], index=pd.Index(["__array_interface__"], dtype=object), dtype=object)

REFUSED = {
    "text of numpy as the name __setstate__": items(OptimizeResult, (np.str_("__setstate__"), len), ("pad", 0)),
    "text of numpy as the name of an array interface": items(Bunch, (np.str_("__array_interface__"), INTERFACE), ("pad", 0)),
    "partial that keeps an object": functools.partial(max, Pipeline([("a", None)])),
    "attrgetter, which makes a method the data": FunctionTransformer(operator.attrgetter("eval")),
    "any object as data through kw_args": FunctionTransformer(max, kw_args={"default": pd.DataFrame({"a": [1]})}),
    "stacking that calls a method by name": with_state(StackingClassifier([]), stack_method_=["eval"]),
    "a frame as a step": Pipeline([("frame", pd.DataFrame({"a": [1]}))]),
    "a partial as a step": Pipeline([("function", functools.partial(max, 1))]),
    "a frame among fitted estimators": with_state(StackingClassifier([]), estimators_=[pd.Series([1])]),
    "a series that answers as an array interface": LABELS,
    "a series as codes": index(pd.MultiIndex, levels=[pd.Index(["x"])], codes=[LABELS], names=[None], sortorder=None),
    "a range as codes": index(pd.MultiIndex, levels=[range(10**8)], codes=[range(10**8)], names=["a"], sortorder=None),
    "a time zone that is a path": index(pd.Index, data=pd.Series([1]).array, dtype="datetime64[ns, dateutil//etc/hosts]"),
    "attributes through the state of an array": dates_with({"__array_interface__": INTERFACE}),
    "a method through the state of an array": dates_with({"isna": np.add}),
    "thresholds that are no arrays": with_state(IsotonicRegression(), X_thresholds_=Bunch(a=1), y_thresholds_=Bunch(a=1)),
    "text that formats itself to gigabytes": Reduced(random.Random, (), (2, ("%2000000000d",) * 625, None)),
    "a position behind the buffer": generator_at(10**8),
    "an identifier over a tuple": Reduced(copyreg.__newobj__, (uuid.UUID,), {"int": (1, 2)}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_dump_refuses_it(name):
    with pytest.raises(PolicyError):
        dumps(REFUSED[name], key=KEY)


WRITTEN = {
    "an index name that explodes when hashed": (lambda: index(pd.Index, data=np.arange(1), name=shared(60)), LimitError),
    "one dict as the state of many": (lambda: [Reduced(copyreg.__newobj__, (FunctionTransformer,), BIG) for _ in range(500)], LimitError),
}
BIG = {f"k{number}": number for number in range(100_000)}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_would_cost_too_much_is_refused(name):
    make, error = WRITTEN[name]
    with pytest.raises(error):
        dumps(make(), key=KEY)


@pytest.mark.parametrize(
    "what",
    [
        [Call("builtins:range", 10**5000, "x")],
        {10**5000: Ref("os:system")},
        Call("numpy._core.multiarray:_reconstruct", Ref("numpy:ndarray"), (0,), b"b", state=(1, (3,))),
        Call("numpy.ma.core:_mareconstruct", Ref("numpy.ma:MaskedArray"), Ref("numpy:ndarray"), (0,), b"b"),
        Call("functools:partial", Ref("numpy:add")),
        Call("functools:partial", Ref("numpy:add"), state=()),
        New("scipy.spatial._ckdtree:cKDTree", state=(1, 2)),
        Call("numpy:dtype", (Call("numpy:dtype", "<f8"), (10**5000,))),
        Call("pyarrow.lib:_restore_array", (0, 0, 0, 0, [None, None], [], None)),
        Call("uuid:SafeUUID", 10**5000),
        {New("uuid:UUID", state={"int": 1 << 520_000}): 1},
        Call("re:RegexFlag", 1 << 40),
        Call("datetime:date", b"\xff\xff\xff\xff"),
        {Call("decimal:Decimal", "sNaN"): 1},
    ],
    ids=range(14),
)
def test_nothing_but_our_own_errors_comes_out(what):
    """Promise 4: a check that runs on what its pattern refused, or a message that cannot be printed, is another exception."""
    with pytest.raises(SafePickleError):
        loads(seal(program(what)), key=KEY)


def test_honest_objects_of_these_kinds_still_load():
    for value in (
        Bunch(a=1),
        functools.partial(np.clip, a_min=0, a_max=1),
        FunctionTransformer(np.clip, kw_args={"a_min": 0, "a_max": 1}),
        pd.Series([1], index=["__index_level_0__"]),
        pd.MultiIndex.from_tuples([(1, "a")]),
        random.Random(3),
        uuid.uuid4(),
        {(1, 2): 3},
    ):
        assert type(loads(dumps(value, key=KEY), key=KEY)) is type(value)
