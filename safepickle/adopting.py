"""`adopt`: the only door through which something unsigned is built. It never runs the program of the file, but what `translating` makes of it."""

from __future__ import annotations

from typing import Any

from . import archives, container, npy
from .container import File
from .errors import FormatError, LimitError, ProgramError, SafePickleError, told
from .machine import Limits
from .pickling import built
from .policy import Allow, Policy, chosen
from .translating import Translation, translate, translate_array

__all__ = ["adopt"]


def adopt(file: File, *, policy: Policy | None = None, allow: Allow = (), limits: Limits | None = None) -> Any:
    """Return the object of a legacy file that nobody signed: a pickle of any protocol, a joblib file, a `.npy` or `.npz` file, compressed or not.

    The bytes are read once. The program is run on abstract values, said again in the strict form of our own files, and that
    is judged by the policy, checked and built as `load` does it; arrays are read by our own reader, those of objects within them too. So
    whatever the file does, nothing but names of the policy is imported, and nothing but what their rules allow is done with them. Who wrote the
    file stays unknown: the object may be a wrong model. Sign it with `dump` if you know where it is from.

    Raises `FormatError` if it is no such file (a signed one is for `load`), `LimitError` if it costs too much, `ProgramError` if it does
    what no pickler writes, `PolicyError` if it uses a name that the policy does not allow, `StateError` if the object would not be sane,
    `OSError` if the file cannot be read.
    """
    limits = limits or Limits()
    allowed = chosen(policy, allow)
    data = _unpacked(container.read_whole(file, limits.body_bytes), limits)
    if not data.startswith(b"PK"):
        return _adopted(data, allowed, limits)
    return {name.removesuffix(".npy"): _adopted(content, allowed, limits) for name, content in _arrays(data, limits)}


def _adopted(data: bytes, policy: Policy, limits: Limits) -> Any:
    found, program = _said_again(data, policy, limits)
    if found.trace.end != len(data):
        raise ProgramError(
            f"{len(data) - found.trace.end} bytes follow the program, which ends at byte {found.trace.end}: `safepickle scan` tells what they are"
        )
    # Arrays get memory of their own, which can be written to as after `load`.
    return built(program, [memoryview(bytearray(each)) for each in found.buffers], policy, limits)


def _said_again(data: bytes, policy: Policy, limits: Limits) -> tuple[Translation, bytes]:
    """Return what a program or an array says, and the same in strict form."""
    try:
        found = (translate_array if data.startswith(npy.MAGIC) else translate)(data, limits=limits, names=policy.values())
        return found, found.restated()
    except SafePickleError:
        raise
    except (MemoryError, RecursionError) as error:
        raise LimitError(f"reading the program takes more than is there ({type(error).__name__})") from None
    except Exception as error:
        # What the translation did not expect is refused, like what it did.
        raise ProgramError(f"the program has a form that nobody writes ({told(error)})") from error


def _unpacked(data: bytes, limits: Limits) -> bytes:
    """Return what is within the compression of a file, if there is any."""
    budget = archives.Budget(limits, len(data))
    for _ in range(limits.archive_depth):
        if data.startswith(container.MAGIC):
            raise FormatError("this is a safepickle container, which `load` reads if a key that you trust has signed it")
        readings = archives.unpack(data, budget)
        if not readings or not readings[0].compression:
            return data
        if len(readings) > 1 or readings[0].faults or len(readings[0].members) != 1:
            raise FormatError("the compressed file is damaged, or is several files in one: `safepickle scan` tells what is wrong with it")
        data = readings[0].members[0].data
    raise LimitError(f"the file is compressed more than {limits.archive_depth} times (`archive_depth` of Limits)")


def _arrays(data: bytes, limits: Limits) -> list[tuple[str, bytes]]:
    """Return names and contents of the arrays in a `.npz` file."""
    readings = archives.unpack(data, archives.Budget(limits, len(data)))
    if len(readings) != 1 or readings[0].faults:
        raise FormatError("the archive is damaged, or is several files in one: `safepickle scan` tells what is wrong with it")
    members = [(each.name, each.data) for each in readings[0].members]
    if not members or not all(name.endswith(".npy") and content.startswith(npy.MAGIC) for name, content in members):
        raise FormatError(
            "this is an archive of something else than arrays: `safepickle scan` tells what is in it; unpack it, and adopt what you need"
        )
    return members
