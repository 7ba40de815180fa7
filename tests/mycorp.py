"""Classes and functions of a user, as the tests allow or refuse them."""

import enum
import os
import signal
from collections import namedtuple
from dataclasses import dataclass

from sklearn.base import BaseEstimator, TransformerMixin

Point = namedtuple("Point", "x y")  # noqa: PYI024 - the old form is what old models hold


class Clip(TransformerMixin, BaseEstimator):
    def __init__(self, low=0.0, high=1.0):
        self.low = low
        self.high = high

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X.clip(self.low, self.high)


@dataclass
class Pair:
    left: object = None
    right: object = None


@dataclass(slots=True)
class Slotted:
    left: int = 0


class Names(list):
    pass


class Table(dict):
    pass


class Colour(enum.Enum):
    RED = 1


class Reduced:
    HOOK = "__reduce__"

    def __reduce__(self):
        return Reduced, ()


class Restored:
    HOOK = "__setstate__"

    def __setstate__(self, state):
        self.__dict__.update(state)


class Made:
    HOOK = "__new__"

    def __new__(cls):
        return super().__new__(cls)


class Guarded:
    HOOK = "__setattr__"

    def __setattr__(self, name, value):
        super().__setattr__(name, value)


class Hashed:
    def __hash__(self):
        return 7


def double(values):
    return values * 2


class Native:
    """Stands for an object whose state setter hands a blob to a native reader. `deed` says what that does."""

    def __init__(self, deed="nothing"):
        self.deed = deed

    def __setstate__(self, state):
        self.__dict__.update(state)
        match self.deed:
            case "die":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "abort":
                os.abort()
            case "hang":
                while True:
                    pass
            case "leave":
                os._exit(3)
            case "grow":
                bytearray(1 << 40)
            case "refuse":
                raise ValueError("a library says no")
