"""`rehearse=True`: what kills the process that builds it kills a child, and the caller gets a `StateError`."""

import time

import numpy as np
import pytest
from assembler import KEY, seal
from mycorp import Native

from safepickle import Limits, ProgramError, StateError, dumps, load, loads
from safepickle.pickling import pickled

FATAL = {
    "die": "SIGSEGV",
    "abort": "SIGABRT",
    "hang": "more than 5 s",
    "leave": "exit status 3",
    "grow": "too much memory",
}


def signed(value):
    return seal(*pickled(value))


@pytest.mark.parametrize("deed", FATAL)
def test_what_would_take_the_process_along_is_refused(deed):
    """A native reader that crashes, aborts, hangs or exits must do so elsewhere."""
    started = time.monotonic()
    with pytest.raises(StateError, match=FATAL[deed]):
        loads(signed([Native(deed)]), key=KEY, allow=[Native], rehearse=True, limits=Limits(rehearsal_seconds=5 if deed == "hang" else 60))
    assert time.monotonic() - started < 120


def test_what_a_library_refuses_is_told_as_ever():
    """The child only tells whether the process lives; the words of the library come from here."""
    with pytest.raises(ProgramError, match="a library says no"):
        loads(signed(Native("refuse")), key=KEY, allow=[Native], rehearse=True)


def test_a_benign_object_is_rehearsed_and_built(tree, tmp_path):
    """Arrays in and out of band, names found under other names, and a class of the caller's own."""
    value = {"tree": tree, "own": Native(), "small": np.arange(3), "large": np.arange(100_000.0)}
    back = loads(dumps(value, key=KEY, allow=[Native]), key=KEY, allow=[Native], rehearse=True)
    assert (back["tree"].predict(np.eye(4)) == tree.predict(np.eye(4))).all()
    assert np.array_equal(back["large"], value["large"])
    back["large"][0] = 7
    path = tmp_path / "model.spkl"
    path.write_bytes(dumps(value, key=KEY, allow=[Native]))
    assert np.array_equal(load(path, key=KEY, allow=[Native], mmap=True, rehearse=True)["large"], value["large"])


def test_a_child_that_dies_before_it_has_read_everything_is_no_broken_pipe(monkeypatch):
    """Writing to it fails then; its exit status is what counts."""
    from safepickle import rehearsing

    monkeypatch.setattr(rehearsing, "_CHILD", "import os; os.abort()")
    with pytest.raises(StateError, match="SIGABRT"):
        rehearsing.rehearse(bytes(1 << 22), [], {}, Limits())


def test_memory_of_the_child_is_bounded_by_the_size_of_the_file():
    """An honest large file must pass where a small one that asks for as much must not."""
    with pytest.raises(StateError, match="too much memory"):
        loads(signed(Native("grow")), key=KEY, allow=[Native], rehearse=True)
    large = np.ones(50_000_000, np.int8)
    assert loads(dumps(large, key=KEY), key=KEY, rehearse=True, limits=Limits(rehearsal_bytes=1 << 31)).nbytes == 50_000_000
