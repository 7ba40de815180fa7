"""What share of a verified load the checks of the state take: `python -m benchmarks.state_cost`.

Both are timed in turn in one process, on a warm file: the whole of `safepickle.load`, and within it the checks before
the build and what is asked of the built object.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import safepickle
from benchmarks.models import MODELS
from safepickle import state


@contextmanager
def timed_checks() -> Iterator[list[float]]:
    """Add up the seconds that checks take, while in the context."""
    spent: list[float] = []

    def timed(function: Any) -> Any:
        def run(*args: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args)
            finally:
                spent.append(time.perf_counter() - started)

        return run

    with mock.patch.object(state, "check", timed(state.check)), mock.patch.object(state.Watch, "finish", timed(state.Watch.finish)):
        yield spent


def main() -> None:
    """Print medians in milliseconds and the ratio, a line for each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    key = safepickle.SecretKey.generate()
    print(f"{'model':10} {'load ms':>9} {'checks ms':>10} {'share':>7}")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("forest", "knn"):
            path = Path(folder) / name
            safepickle.dump(MODELS[name](), path, key=key)
            loads, checks, shares = [], [], []
            for _ in range(rounds + 1):
                with timed_checks() as spent:
                    started = time.perf_counter()
                    safepickle.load(path, key=key)
                    loads.append(time.perf_counter() - started)
                checks.append(sum(spent))
                shares.append(checks[-1] / loads[-1])
            # The first round warms the file and what is imported.
            load, check, share = (statistics.median(each[1:]) for each in (loads, checks, shares))
            print(f"{name:10} {load * 1e3:9.1f} {check * 1e3:10.2f} {share:7.1%}")


if __name__ == "__main__":
    main()
