"""What signing a message of a few bytes costs, in microseconds: `python -m benchmarks.small`.

Each contender writes {"user": 1, "tags": ["a", "b"]} to bytes and reads it back. itsdangerous runs with JSON, as it comes,
and over pickle, which is the like of safepickle; it signs with HMAC-SHA1, as it comes.
"""

from __future__ import annotations

import hashlib
import hmac
import pickle
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import safepickle
from benchmarks import measuring
from benchmarks.contenders import KEY

_MESSAGE = {"user": 1, "tags": ["a", "b"]}
_SECRET = hashlib.sha256(b"hand-rolled").digest()


def _safepickle() -> Any:
    return safepickle.loads(safepickle.dumps(_MESSAGE, key=KEY), key=KEY)


def _pickle() -> Any:
    return pickle.loads(pickle.dumps(_MESSAGE, protocol=5))


def _hmac() -> Any:
    payload = pickle.dumps(_MESSAGE, protocol=5)
    data = hmac.digest(_SECRET, payload, "sha256") + payload
    if not hmac.compare_digest(data[:32], hmac.digest(_SECRET, data[32:], "sha256")):
        raise ValueError("the message was changed")
    return pickle.loads(data[32:])


def _itsdangerous() -> dict[str, Callable[[], Any]]:
    import itsdangerous

    as_json, over_pickle = itsdangerous.Serializer(_SECRET), itsdangerous.Serializer(_SECRET, serializer=pickle)
    return {
        "itsdangerous, JSON": lambda: as_json.loads(as_json.dumps(_MESSAGE)),
        "itsdangerous, pickle": lambda: over_pickle.loads(over_pickle.dumps(_MESSAGE)),
    }


def report(found: Mapping[str, Any]) -> str:
    """Return the results as Markdown."""
    medians = {name: statistics.median(times) for name, times in found["seconds"].items()}
    rows = [["", "µs", "÷ pickle"]]
    rows += [[name, f"{value * 1e6:,.1f}", f"{value / medians['pickle']:,.1f}"] for name, value in medians.items()]
    return (
        f"# A message of a few bytes, written and read\n\n{measuring.described(found['machine'])}\n"
        f"Medians of {found['rounds']} rounds.\n\n{measuring.table(rows)}"
    )


def main() -> None:
    """Measure, print, write."""
    options = measuring.arguments(__doc__, rounds=21).parse_args()
    if options.quick:
        options.rounds = 1
    results = measuring.results_folder(options)
    calls: dict[str, Callable[[], Any]] = {"safepickle": _safepickle, "pickle": _pickle, "pickle + HMAC": _hmac}
    try:
        calls |= _itsdangerous()
    except ImportError as error:
        print(f"itsdangerous is skipped: {error}")
    for name, call in calls.items():
        if call() != _MESSAGE:
            raise SystemExit(f"{name} returned something else")
    found: dict[str, Any] = {"machine": measuring.machine(), "rounds": options.rounds, "seconds": measuring.in_turn(calls, options.rounds)}
    text = report(found)
    print(f"\n{text}")
    measuring.write(results, "small", found, text)


if __name__ == "__main__":
    main()
