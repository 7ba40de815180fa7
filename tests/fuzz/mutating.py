"""Mutations of pickle programs by operations, and of archives with their checksums, beside those of libFuzzer by bytes."""

from __future__ import annotations

import pickletools
import random
import zlib
from collections.abc import Callable, Sequence

Bytewise = Callable[[bytes, int], bytes]
"""What libFuzzer does with bytes, given how many there may be."""
Mutator = Callable[[bytes, int, int], bytes]
"""The same, given a seed as well, as libFuzzer asks for it."""
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


def by_operations(prefix: int, pool: Sequence[bytes], bytewise: Bytewise) -> Mutator:
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


def with_checksums(bytewise: Bytewise) -> Mutator:
    """Return a mutator for libFuzzer that mostly corrects the checksums of tar and 7z, behind which nothing would be reached otherwise."""

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        made = bytewise(data, max_size)
        return corrected(made) if seed % 4 else made

    return mutate


def corrected(data: bytes) -> bytes:
    """Return the bytes with the checksums of tar headers, and those of the two headers of 7z, as they should be."""
    out = bytearray(data)
    for at in range(0, len(out) - 511, 512):
        if out[at + 257 : at + 262] == b"ustar":
            total = sum(out[at : at + 148]) + 8 * 32 + sum(out[at + 156 : at + 512])
            out[at + 148 : at + 156] = b"%06o\0 " % total
    if out.startswith(b"7z\xbc\xaf\x27\x1c") and len(out) >= 32:
        begin, size = (int.from_bytes(out[place : place + 8], "little") for place in (12, 20))
        header = bytes(out[32 + begin : 32 + begin + size]) if begin + size < len(out) else bytes(out[32 + min(begin, len(out)) :])
        out[28:32] = zlib.crc32(header).to_bytes(4, "little")
        out[8:12] = zlib.crc32(bytes(out[12:32])).to_bytes(4, "little")
    return bytes(out)
