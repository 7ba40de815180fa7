"""`dump`, `load` and their kin: the only module that executes pickle.

    dump: pickle -> trace -> admit -> check -> seal
    load: open -> trace -> admit -> check -> build

What would not load is refused at dump. Each step needs the proof that the one before made (`Opened`, `Trace`,
`Admitted`, `Checked`), so none can be skipped. `check` resolves the names and looks at the state. The unpickler that builds can reach only the
objects that were resolved from admitted names, each checked to be what its name says.
"""

from __future__ import annotations

import contextlib
import copyreg
import functools
import importlib
import io
import os
import pickle
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NoReturn, TypeVar

from . import container, rehearsing, state
from .container import File, Info
from .errors import LimitError, PolicyError, ProgramError, SafePickleError, StateError, VersionMismatchError, VersionMismatchWarning, told
from .keyring import AnyKey, as_keyring
from .machine import DEFAULT_LIMITS, Limits, trace
from .policy import DISTRIBUTIONS, Admitted, Allow, Name, Policy, Use, admit, chosen

__all__ = ["built", "dump", "dumps", "load", "loads"]

_Written = TypeVar("_Written")
OnMismatch = Literal["error", "warn", "ignore"]

# Smaller arrays stay in the program, where they cost less than an entry in the header and an aligned place.
OUT_OF_BAND_BYTES: Final = 4096


def dump(
    obj: Any,
    file: File,
    *,
    key: AnyKey,
    policy: Policy | None = None,
    allow: Allow = (),
    context: str | None = None,
    serial: int | None = None,
    expires: Any = None,
    metadata: Any = None,
    compress: str | None = None,
) -> None:
    """Pickle `obj`, sign it and write it to a path or binary file object.

    A path is replaced atomically: after a failure or crash it holds the old file or the new one, whole. Arrays are
    not copied; `obj` must not change meanwhile.

    `key` signs (of a keyring, the primary). `context` says what the file is ("fraud-model/prod"), `serial` which one
    (0 to 2**63 - 1), `expires` until when it loads (an aware datetime, a timedelta from now, or Unix seconds), `metadata` is
    any JSON value. All are bound by the signature; `load` can ask for context and serial. `compress` is "zlib" or "zstd" (with the
    extra `zstd` below Python 3.14): a smaller file that cannot be mapped and is slower to load. `policy` and `allow` are
    those of `load`: what `load` would refuse with them is refused here.

    Raises `PolicyError` for a name that the policy does not allow, `ProgramError` for an object that cannot be
    pickled, `KeyringError` for an unusable key, `ValueError` and `TypeError` for unusable arguments, `OSError`.
    """
    _write(functools.partial(container.save, file), obj, key, policy, allow, context, serial, expires, metadata, compress)


def dumps(
    obj: Any,
    *,
    key: AnyKey,
    policy: Policy | None = None,
    allow: Allow = (),
    context: str | None = None,
    serial: int | None = None,
    expires: Any = None,
    metadata: Any = None,
    compress: str | None = None,
) -> bytes:
    """Return what `dump` would write."""
    return b"".join(_write(container.seal, obj, key, policy, allow, context, serial, expires, metadata, compress))


def load(
    file: File,
    *,
    key: AnyKey,
    policy: Policy | None = None,
    allow: Allow = (),
    context: str | None = None,
    min_serial: int | None = None,
    threshold: int = 1,
    mmap: bool = False,
    limits: Limits | None = None,
    on_version_mismatch: OnMismatch = "warn",
    rehearse: bool = False,
) -> Any:
    """Authenticate the file, judge its program, and only then rebuild and return the object.

    `file` is a path or a binary file object, read to its end. With `context` and `min_serial` the caller states what
    it expects. `threshold` asks for signatures by that many different keys of the keyring. With `mmap=True` arrays are
    read-only views of the file, which nobody may write to while they live. If library versions differ from those of the
    file, `on_version_mismatch` says whether to raise `VersionMismatchError`, warn, or go on. With `rehearse=True` the object
    is first built in a child process, and the file is refused if that dies: for boosters, whose native readers no check sees into.

    Raises a `SafePickleError`, its class naming the stage: `UnsignedError`, `FormatError`, `AuthenticationError`,
    `ProgramError`, `PolicyError`, `StateError`, `KeyringError`, `VersionMismatchError`; `OSError` if the file cannot be read.
    """
    limits = limits or DEFAULT_LIMITS
    _checked_mismatch(on_version_mismatch)
    allowed = chosen(policy, allow)
    opened = container.open(
        file,
        as_keyring(key),
        context=context,
        min_serial=min_serial,
        threshold=threshold,
        map_file=mmap,
        max_body_bytes=limits.body_bytes,
        max_expansion=limits.expansion,
    )
    admitted = admit(trace(opened.program, buffers=opened.buffers, limits=limits), allowed)
    checked = _checked(admitted)
    _compare_versions(opened.info, on_version_mismatch)
    if rehearse:
        rehearsing.rehearse(opened.program, opened.buffers, {use.name: use.found_at for use in admitted.uses}, limits)
    return _build(checked, opened.buffers, f"it was written with {_described(opened.info)}")


def loads(
    data: bytes,
    *,
    key: AnyKey,
    policy: Policy | None = None,
    allow: Allow = (),
    context: str | None = None,
    min_serial: int | None = None,
    threshold: int = 1,
    limits: Limits | None = None,
    on_version_mismatch: OnMismatch = "warn",
    rehearse: bool = False,
) -> Any:
    """Return what `load` would return for a file with these bytes."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"loads takes bytes, not {type(data).__name__}: for a path or file use load(file, key=...)")
    return load(
        io.BytesIO(data),
        key=key,
        policy=policy,
        allow=allow,
        context=context,
        min_serial=min_serial,
        threshold=threshold,
        limits=limits,
        on_version_mismatch=on_version_mismatch,
        rehearse=rehearse,
    )


def built(program: bytes, buffers: Sequence[memoryview], policy: Policy, limits: Limits) -> Any:
    """Return what a program in strict form makes that nobody signed: judged, checked and built as `load` does it. See `adopting`."""
    checked = _checked(admit(trace(program, buffers=buffers, limits=limits), policy))
    return _build(checked, buffers, "it does not say with which libraries it was written")


# --- dump ------------------------------------------------------------------------------------------------------


def _write(
    write: Callable[..., _Written],
    obj: Any,
    key: AnyKey,
    policy: Policy | None,
    allow: Allow,
    context: str | None,
    serial: int | None,
    expires: Any,
    metadata: Any,
    compress: str | None,
) -> _Written:
    """Judge the object like `load` will, and only then sign and write it."""
    keyring = as_keyring(key)
    allowed = chosen(policy, allow)
    program, buffers = pickled(obj)
    admitted = admit(trace(program, buffers=buffers), allowed)
    _checked(admitted)
    return write(
        program,
        buffers,
        keyring,
        context=context,
        serial=serial,
        expires=expires,
        metadata=metadata,
        libraries=_versions(admitted.libraries),
        compress=compress,
    )


def pickled(obj: Any) -> tuple[bytes, list[memoryview]]:
    """Return the program and the buffers of an object: protocol 5, large contiguous arrays out of band.

    Raises `PolicyError` for what no file can name, `ProgramError` for what cannot be pickled.
    """
    stream = io.BytesIO()
    buffers: list[memoryview] = []

    def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < OUT_OF_BAND_BYTES:
            return True
        buffers.append(raw)
        return False

    pickler = pickle.Pickler(stream, protocol=5, buffer_callback=keep_in_band)
    pickler.dispatch_table = {**copyreg.dispatch_table, **_numpy_reducers()}
    try:
        pickler.dump(obj)
    except SafePickleError:
        raise
    except RecursionError:
        raise LimitError("the object is nested too deep to be pickled: flatten it, or raise sys.setrecursionlimit()") from None
    except (pickle.PicklingError, AttributeError) as error:
        text = str(error)
        if "<lambda>" in text or "<locals>" in text or "local object" in text or "not the same object" in text or "not found" in text:
            raise PolicyError(
                f"the object refers to a function or class that no file can name ({text}): a lambda, or something defined within a "
                "function or in a notebook cell; define it at the top of a module, import it from there, and allow it by name"
            ) from error
        raise ProgramError(f"the object cannot be pickled: {text}") from error
    except Exception as error:
        raise ProgramError(f"the object cannot be pickled: {type(error).__name__}: {error}") from error
    return stream.getvalue(), buffers


def _numpy_reducers() -> Mapping[type, Callable[[Any], Any]]:
    """Return reducers that write a `numpy.dtype` as a call with its description, so that no state is ever replayed.

    `numpy.dtype.__setstate__` believes flags and offsets: a forged state makes bytes into pointers. Empty if
    numpy is not loaded, since then no dtype can be within the object.
    """
    numpy = sys.modules.get("numpy")
    return {} if numpy is None else _dtype_reducers(numpy)


@functools.lru_cache(maxsize=1)
def _dtype_reducers(numpy: types.ModuleType) -> Mapping[type, Callable[[Any], Any]]:
    dtype = numpy.dtype

    def reduce(value: Any) -> Any:
        if value.metadata is not None:
            # A call cannot carry metadata; the policy then refuses the state rather than lose it in silence.
            return value.__reduce__()
        if value.subdtype is not None:
            return dtype, (value.subdtype,)
        if value.names is None:
            return dtype, (value.str,)
        if value.type is not numpy.void:
            return dtype, ((numpy.record, dtype((numpy.void, value))),) if value.type is numpy.record else value.__reduce__()
        fields = [value.fields[name] for name in value.names]
        spec = {
            "names": value.names,
            "formats": tuple(field[0] for field in fields),
            "offsets": tuple(field[1] for field in fields),
            "itemsize": value.itemsize,
        }
        if any(len(field) > 2 for field in fields):
            spec["titles"] = tuple(field[2] if len(field) > 2 else None for field in fields)
        return dtype, (spec, value.isalignedstruct)

    return {type(dtype(code)): reduce for code in "?bhilqpBHILQPefdgFDGSUVOMm"}


# --- load ------------------------------------------------------------------------------------------------------


def _checked(admitted: Admitted) -> state.Checked:
    """Return proof that what the program builds is sane."""
    try:
        return state.check(admitted, resolve(admitted))
    except SafePickleError:
        raise
    except MemoryError:
        raise LimitError("there is too little memory to check the state of the object") from None
    except Exception as error:
        # A state that a check did not expect is refused, like one that it did.
        raise StateError(f"the state of an object has a form that no check knows ({told(error)})") from error


def resolve(admitted: Admitted) -> Mapping[Name, Any]:
    """Import what the admitted program names, check that each object is what its name says, and return the objects.

    Nothing of the program was imported before the whole of it was judged.
    """
    objects = {use.name: _resolve_use(use, admitted) for use in admitted.uses}
    classes = {use.canonical: objects[use.name] for use in admitted.uses}
    for name, keys in admitted.state_keys:
        _check_no_shadowing(name, classes[name], keys)
    return objects


def _resolve_use(use: Use, admitted: Admitted) -> Any:
    try:
        found = _first_found(use.found_at)
    except Exception as problem:
        module, qualified = use.canonical
        raise PolicyError(
            f"{module}:{qualified} cannot be found here ({type(problem).__name__}: {problem}): "
            "install the library, in the version that wrote the file"
        ) from problem
    _check_identity(use, found, admitted.policy)
    return found


def _first_found(found_at: Sequence[Name]) -> Any:
    """Return what stands at the first of the names that can be imported. Raises what importing the last of them raises."""
    for module, qualified in found_at[:-1]:
        # Importing a library can raise anything.
        with contextlib.suppress(Exception):
            return imported(module, qualified)
    return imported(*found_at[-1])


def imported(module: str, qualified: str) -> Any:
    """Import a module and return what it has under a qualified name. Raises whatever importing raises, or `AttributeError`."""
    found: Any = importlib.import_module(module)
    for part in qualified.split("."):
        found = getattr(found, part)
    return found


def _check_identity(use: Use, found: Any, policy: Policy) -> None:
    """Refuse an object that is not the one its name says: a re-export, a module, something replaced at run time."""
    module, qualified = use.canonical
    if isinstance(found, types.ModuleType):
        raise PolicyError(f"{module}:{qualified} is a module here, and a module is never a value")
    if use.must_be_class and not isinstance(found, type):
        raise PolicyError(f"{module}:{qualified} is not a class here, and the program makes an instance of it")
    if use.must_be_callable and not callable(found):
        raise PolicyError(f"{module}:{qualified} cannot be called here, and the program calls it")
    own = (getattr(found, "__module__", None), getattr(found, "__qualname__", None) or getattr(found, "__name__", None))
    if own == use.canonical or own in use.found_at or policy.canonical((str(own[0]), str(own[1]))) == use.canonical:
        return
    if own[0] is None and own[1] == qualified.rpartition(".")[2]:
        # Methods of builtins, and ufuncs of some releases, do not know their module.
        return
    if type(found).__name__ == "ufunc" and found.__name__ == qualified:
        return
    if own[1] is None and not callable(found) and type(found).__module__.partition(".")[0] == module.partition(".")[0]:
        # A constant, such as pandas.NA or Ellipsis: it has no name of its own.
        return
    raise PolicyError(f"{module}:{qualified} is another object here: it says that it is {own[0]}:{own[1]}")


def _check_no_shadowing(name: Name, cls: Any, keys: frozenset[str]) -> None:
    """Refuse state that would replace a method of its class on the instance.

    Looked up in the dicts of the classes, since getattr() would run descriptors. Slots and properties take
    precedence over an instance's dict, and a cached property stores its value there.
    """
    # A function that takes a dict state makes an object of C, whose setter assigns typed fields.
    left = set(keys)
    for base in cls.__mro__ if isinstance(cls, type) else ():
        for key in left & vars(base).keys():
            left.discard(key)
            attribute = vars(base)[key]
            if hasattr(type(attribute), "__set__") or isinstance(attribute, functools.cached_property):
                continue
            if callable(attribute) or hasattr(type(attribute), "__get__"):
                raise PolicyError(f"the state of an instance of {name[0]}:{name[1]} sets {key!a}, which is the name of a method of that class")


class _Unpickler(pickle.Unpickler):
    """CPython's C unpickler, which can reach nothing but the resolved objects."""

    def __init__(self, program: bytes, buffers: Iterable[Any], objects: Mapping[Name, Any]) -> None:
        super().__init__(io.BytesIO(program), buffers=buffers)
        self._objects = objects

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._objects[module, name]
        except KeyError:
            raise PolicyError(f"{module}:{name} was not judged") from None

    def persistent_load(self, pid: Any) -> Any:
        raise ProgramError("there are no persistent ids in a container")


def _build(checked: state.Checked, buffers: Iterable[memoryview], written: str) -> Any:
    watch = state.Watch(checked)
    built = None
    refusal: SafePickleError
    try:
        built = _Unpickler(checked.admitted.trace.program, buffers, watch.objects).load()
        watch.finish()
        return built
    except SafePickleError as error:
        refusal = error.with_traceback(None)
        refusal.__cause__ = refusal.__context__ = None
    except Exception as error:  # noqa: BLE001 - a library may raise anything; what it said is told below
        refusal = ProgramError(
            f"an admitted program failed while the object was built ({told(error)}); {written}: the libraries here may be too far from those"
        )
    # Raised where no exception of a library is being handled: its traceback keeps the frames of that library alive, and
    # those the half-built object; the frame of `find_class` keeps the unpickler, whose memo has all. Nor may this frame.
    del watch, built
    try:
        raise refusal
    finally:
        del refusal


def rehearsed() -> NoReturn:
    """In a child process: build what the parent has judged and sends, and tell by the exit status how that went. See `rehearsing`."""
    try:
        program, buffers, names = rehearsing.receive(sys.stdin.buffer)
        objects = {name: _first_found(found_at) for name, found_at in names.items()}
        _Unpickler(program, buffers, objects).load()
    except MemoryError:
        os._exit(rehearsing.MEMORY)
    except Exception:  # noqa: BLE001 - what a library refuses here it refuses in the parent, which says so
        os._exit(rehearsing.REFUSED)
    # No destructor and no handler of a library runs: the object was built, and that was the question.
    os._exit(0)


# --- versions --------------------------------------------------------------------------------------------------


def _versions(libraries: Iterable[str]) -> dict[str, str]:
    """Return the versions of those top-level modules that are loaded and have one."""
    found = {}
    for name in libraries:
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str) and version.isprintable() and 0 < len(version) < container.MAX_TEXT:
            found[name] = version
    return found


def _checked_mismatch(value: str) -> None:
    if value not in ("error", "warn", "ignore"):
        raise ValueError(f'on_version_mismatch is "error", "warn" or "ignore", not {value!r}')


def _compare_versions(info: Info, on_mismatch: OnMismatch) -> None:
    """Tell the caller if the running libraries are of other versions than those that wrote the file."""
    if on_mismatch == "ignore":
        return
    running = _versions(info.libraries)
    different = {name: version for name, version in info.libraries.items() if running.get(name) != version}
    if not different:
        return
    said = ", ".join(f"{name} {version} (here: {running.get(name, 'none')})" for name, version in sorted(different.items()))
    pins = " ".join(f'"{DISTRIBUTIONS.get(name, name)}=={version}"' for name, version in sorted(different.items()))
    message = f"the file was written with {said}; a model may predict differently with another version; to match it: pip install {pins}"
    if on_mismatch == "error":
        raise VersionMismatchError(message)
    warnings.warn(message, VersionMismatchWarning, stacklevel=3)


def _described(info: Info) -> str:
    return ", ".join((f"Python {info.python}", *(f"{name} {version}" for name, version in sorted(info.libraries.items()))))
