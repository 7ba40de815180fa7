"""Whether the time that a comparison of MACs takes tells where the first wrong byte is.

Like dudect: two classes of input, measured in random turns, and Welch's t between them. What is measured is the method of the key that
compares, since a whole file takes a hundred times as long, and the noise of that would hide a leak rather than show one. A comparison
that leaks, by a loop in Python that stops early, is measured in the same way, and must be seen: so the measurement is fine enough for that.
A leak of a memcmp, some nanoseconds, is below what Python can measure; hence the other test, that secrets are compared by
`hmac.compare_digest`.

It is a test and no benchmark since it does not depend on how fast a machine is: the classes share whatever slows it. The middle one
of several |t| counts, so that noise of some rounds decides nothing; and noise of most of them is measured again, since a leak is there again.
"""

from __future__ import annotations

import ast
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import safepickle
from faults import EVERYTHING
from safepickle import AuthenticationError, SecretKey, keys
from safepickle.keyring import Keyring

SAMPLES = 40_000 if EVERYTHING else 6_000
ROUNDS = 5
BOUND = 10.0
KEY = SecretKey.from_bytes(bytes(range(40)))
DIGEST = bytes(range(32, 64))
MAC = KEY.sign(DIGEST)


def wrong_at(place: int) -> bytes:
    return MAC[:place] + bytes([MAC[place] ^ 0xFF]) + MAC[place + 1 :]


def refused_in(signature: bytes) -> int:
    start = time.perf_counter_ns()
    try:
        KEY.verify(DIGEST, signature)
    except AuthenticationError:
        return time.perf_counter_ns() - start
    pytest.fail("a wrong MAC was taken for the right one")


def welch(one: list[int], other: list[int]) -> float:
    spread = statistics.variance(one) / len(one) + statistics.variance(other) / len(other)
    return (statistics.fmean(one) - statistics.fmean(other)) / max(spread, 1e-9) ** 0.5


def t_of(seed: int) -> float:
    """Welch's t between a wrong first and a wrong last byte, of the samples below the 70th percentile of both together."""
    classes = wrong_at(0), wrong_at(31)
    turns = random.Random(seed)
    times: tuple[list[int], list[int]] = [], []
    for _ in range(2 * SAMPLES):
        which = turns.getrandbits(1)
        times[which].append(refused_in(classes[which]))
    crop = statistics.quantiles(times[0] + times[1], n=10)[6]
    first, last = ([each for each in group if each <= crop] for group in times)
    return welch(first, last)


def leaky(one: bytes, other: bytes) -> bool:
    """What nobody should write."""
    if len(one) != len(other):
        return False
    return all(a == b for a, b in zip(one, other, strict=True))


def middle(attempt: int) -> float:
    found = sorted(abs(t_of(ROUNDS * attempt + number)) for number in range(ROUNDS))
    print(f"|t| of {ROUNDS} rounds of {SAMPLES} samples a class: {[round(each, 1) for each in found]}")
    return found[ROUNDS // 2]


def test_the_time_of_a_refusal_does_not_tell_where_a_mac_is_wrong() -> None:
    assert any(middle(attempt) < BOUND for attempt in range(2))


def test_a_comparison_that_stops_early_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    class Leaky:
        def __getattr__(self, name: str) -> object:
            return leaky if name == "compare_digest" else getattr(genuine, name)

    genuine = keys.hmac
    monkeypatch.setattr(keys, "hmac", Leaky())
    assert any(middle(attempt) > BOUND for attempt in range(4))


# --- the source ------------------------------------------------------------------------------------------------

SECRET_NAMES = {"secret", "_secret", "_raw", "checksum", "_checksum", "mac", "signature", "sign"}


def comparisons(tree: ast.AST) -> list[str]:
    """== and != of something whose name says that it is secret, or checks a secret."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(isinstance(each, (ast.Eq, ast.NotEq)) for each in node.ops):
            sides = [ast.unparse(each) for each in (node.left, *node.comparators)]
            if any(side.partition("(")[0].rpartition(".")[2] in SECRET_NAMES for side in sides):
                found.append(ast.unparse(node))
    return found


def calls_of(tree: ast.AST, name: str) -> int:
    return sum(isinstance(node, ast.Call) and ast.unparse(node.func) == name for node in ast.walk(tree))


def test_secrets_are_compared_in_constant_time_in_the_source() -> None:
    folder = Path(safepickle.__file__).parent
    sources = {name: ast.parse((folder / f"{name}.py").read_text("utf-8")) for name in ("keys", "keyring", "container", "openssf")}
    # A MAC, two secret keys, two private keys, and the checksum of a textual key.
    assert calls_of(sources["keys"], "hmac.compare_digest") == 4
    assert {name: comparisons(tree) for name, tree in sources.items()} == {name: [] for name in sources}


def test_the_search_of_the_source_would_find_one() -> None:
    assert comparisons(ast.parse("if self.sign(digest) == signature: pass")) != []
    assert comparisons(ast.parse("return self._secret != other._secret")) != []
    assert comparisons(ast.parse("return size == 32")) == []


def test_a_keyring_refuses_by_the_key_that_is_measured() -> None:
    """No other comparison stands between a file and the method that is measured."""
    calls: list[Callable[..., object]] = []

    class Watched:
        suite, key_id = KEY.suite, KEY.key_id

        def verify(self, digest: bytes, signature: bytes) -> None:
            calls.append(self.verify)
            KEY.verify(digest, signature)

    ring = Keyring(None, Watched())
    for place in (0, 31):
        with pytest.raises(AuthenticationError):
            ring.verify(DIGEST, (safepickle.Signature(KEY.suite, KEY.key_id, wrong_at(place)),))
    assert len(calls) == 2
