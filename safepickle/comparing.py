"""What a model answers to inputs, as plain arrays that two processes can compare.

It reads and writes arrays without pickle, and knows neither how a model is loaded nor which of two is the original.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from typing import Any, Final

__all__ = ["METHODS", "Answers", "answers", "differences", "read_answers", "read_inputs", "write_answers"]

METHODS: Final = ("predict", "predict_proba", "decision_function", "transform")
# Two processes may add in another order: where an array lies decides which instructions of the processor are used.
_TOLERANCE: Final = {"f2": (1e-2, 1e-3), "f4": (1e-5, 1e-6), "c8": (1e-5, 1e-6)}
_FINE: Final = (1e-9, 1e-12)
_MANIFEST: Final = "answers.json"

Answers = dict[str, "dict[str, Any] | str"]
"""For each method that there is, its result as named plain arrays, or what it raised."""


def read_inputs(path: str) -> Any:
    """Return the inputs of a .npy file, of a .npz file with one array, or of a .csv file through pandas; never with pickle.

    Raises `ValueError` for what holds no such inputs, `OSError`, and `ImportError` for what is not installed.
    """
    if path.lower().endswith(".csv"):
        import pandas

        return pandas.read_csv(path)
    import numpy

    loaded = numpy.load(path, allow_pickle=False)
    if isinstance(loaded, numpy.ndarray):
        return loaded
    with loaded:
        if len(loaded.files) != 1:
            raise ValueError(f"it holds {len(loaded.files)} arrays, and inputs are one")
        return loaded[loaded.files[0]]


def answers(model: Any, inputs: Any) -> Answers:
    """Call each of the methods that the model has, in their order, and return what came of it."""
    found: Answers = {}
    with warnings.catch_warnings():
        # Two processes may be told to treat them differently, and here only results count.
        warnings.simplefilter("ignore")
        for name in METHODS:
            try:
                method = getattr(model, name, None)
                if callable(method):
                    found[name] = dict(_plain("", method(inputs)))
            except Exception as error:  # noqa: BLE001 - a library may raise anything, and that is its answer
                found[name] = f"{type(error).__name__}: {ascii(str(error)[:300])[1:-1]}"
    return found


def _plain(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the plain arrays that make up a result: of a sparse matrix its parts, of a frame its columns, of a list its members.

    Raises `ValueError` for what cannot be told by plain arrays.
    """
    import numpy

    if hasattr(value, "tocsr"):
        matrix = value.tocsr().copy()
        matrix.sum_duplicates()
        yield f"{name}.shape", numpy.asarray(matrix.shape)
        for part in ("data", "indices", "indptr"):
            yield f"{name}.{part}", getattr(matrix, part)
        return
    if hasattr(value, "columns") and hasattr(value, "iloc"):
        yield f"{name}.columns", numpy.asarray([str(each) for each in value.columns])
        for place in range(value.shape[1]):
            yield from _plain(f"{name}[{place}]", value.iloc[:, place].to_numpy())
        return
    if isinstance(value, (list, tuple)):
        yield f"{name}.length", numpy.asarray(len(value))
        for place, each in enumerate(value):
            yield from _plain(f"{name}[{place}]", each)
        return
    array = numpy.asarray(value)
    if array.dtype.hasobject:
        # Labels: text, numbers and None have one spelling each. For anything else this would compare addresses.
        kinds = {type(each) for each in array.ravel()}
        if not kinds <= {str, int, float, bool, type(None)}:
            raise ValueError(f"{name or 'the result'} is an array of objects ({', '.join(sorted(each.__name__ for each in kinds))})")
        array = numpy.asarray([repr(each) for each in array.ravel()], dtype=str).reshape(array.shape)
    yield name, array


def write_answers(folder: str, found: Answers) -> None:
    """Write answers into a folder, as .npy files without pickle and a list of them in JSON."""
    import numpy

    listed: dict[str, Any] = {}
    count = 0
    for method, result in found.items():
        if isinstance(result, str):
            listed[method] = result
            continue
        listed[method] = {}
        for name, array in result.items():
            file = f"{count}.npy"
            numpy.save(os.path.join(folder, file), array, allow_pickle=False)
            listed[method][name] = file
            count += 1
    with open(os.path.join(folder, _MANIFEST), "w", encoding="ascii") as manifest:
        json.dump(listed, manifest)


def read_answers(folder: str) -> Answers:
    """Return the answers that another process wrote into a folder. Raises `ValueError` if they are none, `OSError`."""
    import numpy

    with open(os.path.join(folder, _MANIFEST), "rb") as manifest:
        listed = json.load(manifest)
    found: Answers = {}
    for method, result in listed.items():
        if isinstance(result, str):
            found[method] = result
        else:
            found[method] = {name: numpy.load(os.path.join(folder, os.path.basename(file)), allow_pickle=False) for name, file in result.items()}
    return found


def differences(ours: Answers, theirs: Answers) -> tuple[str, list[str]]:
    """Return what was compared, in words, and how the answers differ beyond the rounding of floating-point numbers: nothing if they do not."""
    compared, different = [], []
    for method in METHODS:
        one, other = ours.get(method), theirs.get(method)
        if one is None and other is None:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            largest, problem = _compare(one, other)
            compared.append(f"{method} (max abs difference {largest:.3g})")
            if problem:
                different.append(f"{method}: {problem}")
        elif one != other:
            different.append(f"{method}: here {_said(one)}, of the original {_said(other)}")
    if not compared and not different:
        raised = [f"{method} raised {result}" for method, result in ours.items() if isinstance(result, str)]
        different.append(f"nothing could be compared: {'; '.join(raised) or 'the object has none of ' + ', '.join(METHODS)}")
    return ", ".join(compared), different


def _said(result: dict[str, Any] | str | None) -> str:
    if result is None:
        return "there is no such method"
    return f"it raised {result}" if isinstance(result, str) else "it gave a result"


def _compare(one: dict[str, Any], other: dict[str, Any]) -> tuple[float, str]:
    """Return the largest absolute difference of two results, and what differs, or ""."""
    import numpy

    if one.keys() != other.keys():
        return 0.0, "the results are of another form"
    largest, problem = 0.0, ""
    for name, ours in one.items():
        theirs = other[name]
        if ours.dtype != theirs.dtype and not (ours.dtype.kind == theirs.dtype.kind == "U"):
            return largest, f"{ours.dtype} here, {theirs.dtype} of the original"
        if ours.shape != theirs.shape:
            return largest, f"shape {ours.shape} here, {theirs.shape} of the original"
        if ours.dtype.kind not in "fc":
            wrong = int(numpy.count_nonzero(ours != theirs))
            if wrong and ours.dtype.kind in "iu":
                largest = max(largest, float(numpy.max(numpy.abs(ours.astype(float) - theirs.astype(float)))))
            if wrong:
                problem = f"{wrong} of {ours.size} values differ"
            continue
        relative, absolute = _TOLERANCE.get(ours.dtype.str[1:], _FINE)
        with numpy.errstate(invalid="ignore"):
            apart = numpy.abs(ours - theirs)
        # Infinities of one sign are equal and have no difference, as have two NaN.
        known = apart[numpy.isfinite(apart)]
        here = float(known.max()) if known.size else 0.0
        largest = max(largest, here)
        if not numpy.allclose(ours, theirs, rtol=relative, atol=absolute, equal_nan=True):
            problem = f"max abs difference {here:.3g}"
    return largest, problem
