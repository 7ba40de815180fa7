"""Choices out of bytes. What is left of an input that ends too early is zeros, so every input is some sequence of choices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

_T = TypeVar("_T")


class Feed:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def __bool__(self) -> bool:
        """Tell whether anything is left."""
        return self.at < len(self.data)

    def take(self, count: int) -> bytes:
        """Return up to `count` bytes."""
        piece = self.data[self.at : self.at + count]
        self.at += len(piece)
        return piece

    def rest(self) -> bytes:
        return self.take(len(self.data))

    def number(self, width: int = 1) -> int:
        return int.from_bytes(self.take(width), "little")

    def below(self, count: int) -> int:
        """Return a number below `count`."""
        return self.number(1 if count <= 256 else 4) % count

    def one(self, choices: Sequence[_T]) -> _T:
        return choices[self.below(len(choices))]

    def rarely(self, times: int = 8) -> bool:
        """Tell whether to do what is done once in so many times; never if nothing is left."""
        return self.below(times) == times - 1

    def edited(self, data: bytes, *, most: int = 4) -> bytes:
        """Return the bytes with up to `most` changes."""
        for _ in range(self.below(most + 1)):
            at = self.number(2) % (len(data) + 1)
            match self.below(5):
                case 0:
                    data = data[:at] + bytes((data[at] ^ (1 << self.below(8)),)) + data[at + 1 :] if at < len(data) else data
                case 1:
                    data = data[:at] + data[at + 1 + self.below(16) :]
                case 2:
                    data = data[:at] + self.take(1 + self.below(16)) + data[at:]
                case 3:
                    new = self.take(1 + self.below(8))
                    data = data[:at] + new + data[at + len(new) :]
                case _:
                    length, to = self.below(32), self.number(2) % (len(data) + 1)
                    data = data[:to] + data[at : at + length] + data[to:]
        return data
