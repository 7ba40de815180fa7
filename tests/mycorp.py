"""Classes and functions of a user, as the tests allow or refuse them."""

import enum
from collections import namedtuple
from dataclasses import dataclass

from sklearn.base import BaseEstimator, TransformerMixin

Point = namedtuple("Point", "x y")


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
    def __reduce__(self):
        return Reduced, ()


class Hashed:
    def __hash__(self):
        return 7


def double(values):
    return values * 2
