"""Mutations of pickle programs by operations, for libFuzzer to take turns with its own by bytes."""

from __future__ import annotations

import pickletools
import random
from collections.abc import Callable, Sequence

_KNOWN = {opcode.code.encode("latin-1") for opcode in pickletools.opcodes}


def operations(data: bytes) -> list[bytes]:
    """Return the operations that the bytes begin with, one by one; what is none is the last."""
    found: list[int] = []
    try:
        for _, _, position in pickletools.genops(data):
            found.append(position or 0)
            if data[position or 0 : (position or 0) + 1] not in _KNOWN:
                break
    except Exception:
        # pickletools raises whatever its readers do; what was read until then is known.
        pass
    ends = [*found[1:], found[-1] + 1] if found else []
    pieces = [data[begin:end] for begin, end in zip(found, ends, strict=True)]
    rest = data[sum(map(len, pieces)) :]
    return [*pieces, *([rest] if rest else [])]


def mutator(prefix: int, pool: Sequence[bytes], bytewise: Callable[[bytes, int], bytes]) -> Callable[[bytes, int, int], bytes]:
    """Return a mutator for libFuzzer. The first `prefix` bytes are choices and no program; `pool` has operations to take from."""

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if len(data) <= prefix + 1 or chance.random() < 0.4:
            return bytewise(data, max_size)
        head, steps = data[:prefix], operations(data[prefix:])
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            at = chance.randrange(len(steps) + 1)
            count = chance.choice((1, 1, 1, 2, 3, 8))
            match chance.randrange(8):
                case 0 | 1 | 2:
                    steps[at : at + count] = [chance.choice(pool)]
                case 3 | 4:
                    steps[at:at] = chance.choices(pool, k=count)
                case 5:
                    del steps[at : at + count]
                case 6:
                    to = chance.randrange(len(steps) + 1)
                    steps[to:to] = steps[at : at + count]
                case _:
                    piece = steps[at : at + count]
                    del steps[at : at + count]
                    to = chance.randrange(len(steps) + 1)
                    steps[to:to] = piece
            steps = steps or [b"N"]
        return (head + b"".join(steps))[:max_size]

    return mutate
