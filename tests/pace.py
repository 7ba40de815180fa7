"""How fast this machine is, for tests that bound how much is computed: a bound in seconds would fail on a slow machine, or on one that is shared."""

import time

_REFERENCE = 0.05


def allowed(seconds: float) -> float:
    """Return the processor time that is as much as `seconds` where a fixed sum takes a twentieth of one, and half as much again; never less."""
    start = time.process_time()
    sum(number & 3 for number in range(1_000_000))
    return max(seconds, 1.5 * seconds * (time.process_time() - start) / _REFERENCE)
