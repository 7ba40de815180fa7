"""The header of numpy's `.npy` files, read without numpy and without evaluating it (numpy/lib/format.py, NEP 1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from .errors import FormatError

__all__ = ["MAGIC", "Npy", "header"]

MAGIC: Final = b"\x93NUMPY"

_MOST_HEADER_BYTES: Final = 1 << 16
_HEADER: Final = re.compile(
    r"""\{'descr':\s(?P<descr>'[^'\\]{1,40}'|\[[^{}\\]*\]),\s'fortran_order':\s(?P<fortran>True|False),\s'shape':\s\((?P<shape>[0-9,\sL]*)\),?\s?\}\s*""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Npy:
    """What a header says."""

    end: int
    """Where the data begins, in bytes from the beginning of the file."""
    descr: str
    """A dtype in text, or "" for a structured one."""
    objects: bool
    """Whether there is, or may be, a pickle in place of the data."""
    fortran: bool
    shape: tuple[int, ...]


def header(data: bytes) -> Npy:
    """Return the header of a `.npy` file. Raises `FormatError` if it is none that numpy writes.

    numpy evaluates the text of the header; here it must have the one form that numpy's own writer gives it.
    """
    if not data.startswith(MAGIC) or len(data) < 10 or data[6] not in (1, 2, 3) or data[7]:
        raise FormatError("this is no .npy file of version 1, 2 or 3")
    width = 2 if data[6] == 1 else 4
    length = int.from_bytes(data[8 : 8 + width], "little")
    begin = 8 + width
    if length > _MOST_HEADER_BYTES or begin + length > len(data):
        raise FormatError(f"the header of the .npy file says that it has {length} bytes; the file has {len(data)}, numpy writes {_MOST_HEADER_BYTES}")
    try:
        text = data[begin : begin + length].decode("latin-1" if data[6] < 3 else "utf-8")
    except UnicodeDecodeError:
        raise FormatError("the header of the .npy file is not UTF-8") from None
    match = _HEADER.fullmatch(text)
    if match is None:
        raise FormatError("the header of the .npy file is not as numpy writes it")
    sizes = [each for each in re.split(r"[,\sL]+", match["shape"]) if each]
    if len(sizes) > 64 or any(len(each) > 19 for each in sizes):
        raise FormatError("the shape in the header of the .npy file is none that numpy writes")
    descr = match["descr"]
    plain = descr[1:-1] if descr[0] == "'" else ""
    # numpy takes objects by many names ("O", "object", "(2,)O"), in either kind of quotes; all have this letter. The name of a field may
    # have it too: then the file is said to hold objects, and is judged as if it did.
    objects = plain.lstrip("<>|=")[:1] == "O" if plain else "o" in descr.lower()
    return Npy(begin + length, plain, objects, match["fortran"] == "True", tuple(map(int, sizes)))
