"""Coverage-guided fuzzing with atheris (libFuzzer), and the same targets as ordinary tests.

    pip install -e '.[test,fuzz]'
    python -m tests.fuzz all --seconds 30             in the checkout: each target for that long, one after the other
    python -m tests.fuzz machine legacy --until 17:00 --work ~/fuzz    in turns; what is found stays there, and the next run goes on from that
    python -m tests.fuzz container --replay crash-1234                 one input again, without atheris
    python -m tests.fuzz all --merge --work ~/fuzz                     the smallest inputs with the same coverage, into `seeds/`

A target is a module of `targets` with one function, `run(data)`: it returns if every promise holds for these bytes, and raises otherwise.
`SafePickleError`s are answers; any other exception, a deed that nothing may do (`watching`), or two readers that disagree are faults.

- `seeds/<target>/` are inputs to start from, `regressions/<target>/` those that once showed a fault; `tests/test_fuzz.py` runs both.
- `<target>.dict`, where there is one, holds words for libFuzzer.
- Choices are read from the bytes by `feeding.Feed`, so libFuzzer mutates choices, and an input means the same without atheris.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).parent
TARGETS = ("container", "machine", "legacy", "policy", "archives", "keys", "texts", "bundles")


def target(name: str) -> Callable[[bytes], None]:
    """Return the function of a target. Importing it imports what it needs, safepickle included."""
    found: Callable[[bytes], None] = importlib.import_module(f"fuzz.targets.{name}").run
    return found


def inputs(name: str) -> list[Path]:
    """Return the kept inputs of a target."""
    return sorted(path for kind in ("seeds", "regressions") for path in (FOLDER / kind / name).glob("*"))
