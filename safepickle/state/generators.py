"""Random number generators of numpy.

Releases before 2.5 believe the position in the buffer (numpy/random/src/mt19937, philox). All of them draw until a number is
good enough, which the zeros of a stuck generator never are: a rejection in `standard_normal` or `permutation` would not end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from safepickle.machine import ABSENT, Dict, Global, List, Made

from .view import Check, Subject

__all__ = ["CHECKS"]

_WORD: Final = 1 << 32
_BITS: Final = 1 << 16
"""Of a seed. numpy divides it down to words, in quadratic time."""


def _check_bit_generator(generator: Subject) -> None:
    """A bit generator: its state, and where it has one, the SeedSequence that it came from, which is checked as an object of its own."""
    state = generator.made.state
    _check_state(generator, state[0] if type(state) is tuple else state, _name(generator.made.args[0]))


def _check_generator(generator: Subject) -> None:
    """A Generator or RandomState: it holds a bit generator, and old releases store the state of that once more."""
    if type(generator.made.state) is not Dict:
        return
    held = generator.made.args[0]
    _check_state(generator, generator.made.state, _name(held.args[0] if type(held) is Made else held))
    if generator.has("has_gauss"):
        generator.integer("has_gauss", 0, 1)
        generator.real("gauss", -1e300, 1e300)


def _name(kind: Any) -> str:
    return kind.name if type(kind) is Global else str(kind)


def _check_state(generator: Subject, state: Any, name: str) -> None:
    """Refuse a state of another kind than the generator, or out of the range that its kind draws from."""
    entries = dict(state.entries())
    generator.require(entries.get("bit_generator") == name, "bit_generator", f"it must be {name}", entries.get("bit_generator"))
    inner = entries.get("state")
    if type(inner) is not Dict:
        generator.fail("state", "it must be a dict", inner)
    _KINDS[name](generator, dict(inner.entries()), entries)
    if name != "MT19937":
        generator.integer("has_uint32", 0, 1, entries.get("has_uint32"))
        generator.integer("uinteger", 0, _WORD - 1, entries.get("uinteger"))


def _check_mersenne(generator: Subject, inner: dict[str, Any], _: dict[str, Any]) -> None:
    key = generator.array("state['key']", "u4", (624,), inner.get("key"))
    generator.integer("state['pos']", 0, 624, inner.get("pos"))
    # Of the first word, only the highest bit belongs to the state: mt19937.c, mt19937_gen.
    generator.require(key[0] >> 31 or key[1:].any(), "state['key']", "it must not be zero: a generator of zeros stays one")


def _check_congruential(generator: Subject, inner: dict[str, Any], _: dict[str, Any]) -> None:
    for entry in ("state", "inc"):
        generator.integer(f"state['{entry}']", 0, (1 << 128) - 1, inner.get(entry))
    generator.require(inner["inc"] % 2, "state['inc']", "it must be odd: with an even increment the numbers come round early, or are all zero")


def _check_philox(generator: Subject, inner: dict[str, Any], entries: dict[str, Any]) -> None:
    generator.array("state['counter']", "u8", (4,), inner.get("counter"))
    generator.array("state['key']", "u8", (2,), inner.get("key"))
    generator.array("buffer", "u8", (4,), entries.get("buffer"))
    # philox.h, philox_next: 4 is empty, and the first of a new buffer is returned at once.
    generator.integer("buffer_pos", 1, 4, entries.get("buffer_pos"))


def _check_chaotic(generator: Subject, inner: dict[str, Any], _: dict[str, Any]) -> None:
    # It counts, so no state is stuck.
    generator.array("state['state']", "u8", (4,), inner.get("state"))


_KINDS: Final = {
    "MT19937": _check_mersenne,
    "PCG64": _check_congruential,
    "PCG64DXSM": _check_congruential,
    "Philox": _check_philox,
    "SFC64": _check_chaotic,
}


def _check_seed_sequence(seeds: Subject) -> None:
    """A SeedSequence: as many words in its pool as it says, and a count of children that a loop over 32 bits comes to the end of.

    numpy/random/bit_generator.pyx: `spawn` counts in uint32 and gives each child a pool of `pool_size`.
    """
    if seeds.made.state is ABSENT:
        return
    entropy, children, pool, size, spawn_key = seeds.made.state[:5]
    size = seeds.integer("pool_size", 4, 1 << 30, size)
    seeds.array("pool", "u4", (size,), pool)
    seeds.integer("n_children_spawned", 0, (1 << 31) - 1, children)
    for entry, value in (("entropy", entropy), ("spawn_key", spawn_key)):
        for each in _parts(value):
            number = seeds.view.number(each)
            good = number.bit_length() <= _BITS and number >= 0 if type(number) is int else _is_seed(seeds, each)
            seeds.require(good, entry, f"each number must be an integer of {_BITS} bits at most that is not negative", each)


def _parts(value: Any) -> Iterator[Any]:
    for each in value.items if type(value) is List else value if type(value) is tuple else (value,):
        yield from each.items if type(each) is List else (each,)


def _is_seed(seeds: Subject, value: Any) -> bool:
    """Tell whether a value is none, an array, or the text of a number, which numpy reads as one."""
    return value is None or (type(value) is str and len(value) <= 1000) or seeds.view.array(value) is not None


CHECKS: Final[dict[str, Check]] = {
    "numpy:__bit_generator_ctor": _check_bit_generator,
    "numpy:BitGenerator": _check_bit_generator,
    "numpy:__generator_ctor": _check_generator,
    "numpy:__randomstate_ctor": _check_generator,
    "numpy:SeedSequence": _check_seed_sequence,
}
