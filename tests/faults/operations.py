"""What writes files: each operation with the state before it, and how to tell afterwards whether its files are old or new.

An operation works in a folder of its own. `found` is what stands there: "old" and "new" are whole and verify; anything else
is text that says what is wrong.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy

import safepickle
from safepickle import Keyring, Pin, Pins, PrivateKey, PublicKey, SecretKey, lockfile
from safepickle.baseline import Accepted, Baseline
from safepickle.cli import main

KEY: Final = SecretKey.from_bytes(bytes(range(40)))
SIGNER: Final = PrivateKey.generate("ed25519")
BOTH: Final = Keyring(KEY, SIGNER.public_key())
LARGE: Final = 5 << 20
"""Bytes of an array whose container is written while it is hashed."""


class CommandError(Exception):
    """A command that did not exit with 0."""

    def __init__(self, code: object) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Operation:
    name: str
    prepare: Callable[[str], object]
    act: Callable[[str], object]
    found: Callable[[str], str]
    targets: tuple[str, ...]
    """What is replaced as a whole, in this order."""
    inputs: tuple[str, ...] = ()
    replaces: bool = True
    """Whether it is written as a temporary sibling and renamed; a new key is not, so that no key is ever overwritten."""


def _nothing(folder: str) -> None:
    """There is nothing before."""


def _told(judge: Callable[[str], str]) -> Callable[[str], str]:
    """What a reader raises is what is wrong."""

    def found(folder: str) -> str:
        try:
            return judge(folder)
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    return found


# --- models ----------------------------------------------------------------------------------------------------


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return type(one) is type(other) and (numpy.array_equal(one, other) if isinstance(one, numpy.ndarray) else one == other)


def _dump(name: str, old: Any, new: Any, **options: Any) -> Operation:
    """`old` is what stands there before; None for no file."""

    def prepare(folder: str) -> None:
        if old is not None:
            safepickle.dump(old, os.path.join(folder, "model"), key=KEY)

    def found(folder: str) -> str:
        path = os.path.join(folder, "model")
        if not os.path.exists(path):
            return "old" if old is None else "there is no file"
        safepickle.verify(path, key=KEY)
        held = safepickle.load(path, key=KEY)
        return "new" if same(held, new) else "old" if old is not None and same(held, old) else "another model"

    return Operation(name, prepare, lambda folder: safepickle.dump(new, os.path.join(folder, "model"), key=KEY, **options), _told(found), ("model",))


def _signed_again(name: str, call: Callable[[str], object], old: Any, **options: Any) -> Operation:
    def prepare(folder: str) -> None:
        safepickle.dump(old, os.path.join(folder, "model"), key=KEY, **options)

    def found(folder: str) -> str:
        path = os.path.join(folder, "model")
        ids = {each.key_id for each in safepickle.verify(path, key=BOTH).signatures}
        if not same(safepickle.load(path, key=BOTH), old):
            return "another model"
        return "old" if ids == {KEY.key_id} else "new" if SIGNER.key_id in ids else f"signed by {ids}"

    return Operation(name, prepare, lambda folder: call(os.path.join(folder, "model")), _told(found), ("model",))


def _add(path: str) -> object:
    return safepickle.sign(path, key=SIGNER, signed_by=KEY)


def _instead(path: str) -> object:
    # Both, so that it can be done again.
    return safepickle.resign(path, key=SIGNER, signed_by=BOTH)


# --- files of ours ---------------------------------------------------------------------------------------------


def _written(name: str, old: Any, new: Any, read: Callable[[str], Any]) -> Operation:
    """Values that write themselves, and that `read` gives back."""

    def found(folder: str) -> str:
        held = read(os.path.join(folder, "file")).to_text()
        return "new" if held == new.to_text() else "old" if held == old.to_text() else f"another file: {held}"

    return Operation(
        name,
        lambda folder: old.write(os.path.join(folder, "file")),
        lambda folder: new.write(os.path.join(folder, "file")),
        _told(found),
        ("file",),
    )


# --- commands --------------------------------------------------------------------------------------------------


def run(*arguments: str) -> None:
    """Run a command of safepickle in this process. Raises `CommandError`."""
    os.environ["FAULTS_KEY"] = KEY.to_text()
    code = main(arguments)
    if code:
        raise CommandError(code)


def _pinned(folder: str) -> str:
    pins = Pins.read(os.path.join(folder, "pins.toml"))
    serial = pins.min_serial("faults")
    return "old" if serial == 1 else "new" if serial == 2 else f"serial {serial}"


def _prepare_pins(folder: str) -> None:
    for serial in (1, 2):
        safepickle.dump([serial], os.path.join(folder, "model.spkl"), key=KEY, context="faults", serial=serial)
        if serial == 1:
            run("pins", "update", os.path.join(folder, "model.spkl"), "--pins", os.path.join(folder, "pins.toml"), "--key", "env:FAULTS_KEY")


def _update_pins(folder: str) -> None:
    run("pins", "update", os.path.join(folder, "model.spkl"), "--pins", os.path.join(folder, "pins.toml"), "--key", "env:FAULTS_KEY")


def _prepare_lock(folder: str) -> None:
    for number in (1, 2):
        safepickle.dump([number], os.path.join(folder, "model.spkl"), key=KEY)
        if number == 1:
            _update_lock(folder)


def _update_lock(folder: str) -> None:
    run("lock", os.path.join(folder, "model.spkl"), "--lock", os.path.join(folder, "safepickle.lock"), "--key", "env:FAULTS_KEY")


def _locked(folder: str) -> str:
    lock = lockfile.Lock.read(os.path.join(folder, "safepickle.lock"))
    try:
        lock.check(os.path.join(folder, "model.spkl"))
    except safepickle.AuthenticationError:
        return "old"
    return "new"


def _prepare_report(folder: str) -> None:
    safepickle.dump([1], os.path.join(folder, "model.spkl"), key=KEY)
    with open(os.path.join(folder, "report"), "w", encoding="ascii") as file:
        file.write("the old report\n")


def _report(folder: str) -> None:
    run("verify", os.path.join(folder, "model.spkl"), "--key", "env:FAULTS_KEY", "--format", "json", "--output", os.path.join(folder, "report"))


def _reported(folder: str) -> str:
    import json

    with open(os.path.join(folder, "report"), encoding="utf-8") as file:
        text = file.read()
    if text == "the old report\n":
        return "old"
    json.loads(text)
    return "new"


def _prepare_convert(folder: str) -> None:
    os.mkdir(os.path.join(folder, "originals"))
    for number in range(2):
        with open(os.path.join(folder, "originals", f"{number}.pkl"), "wb") as file:
            pickle.dump([number] * 3, file)


def _convert(folder: str) -> None:
    safepickle.convert(os.path.join(folder, "originals", "0.pkl"), os.path.join(folder, "model"), key=KEY)


def _converted(folder: str) -> str:
    path = os.path.join(folder, "model")
    if not os.path.exists(path):
        return "old"
    return "new" if safepickle.load(path, key=KEY) == [0] * 3 else "another model"


def _convert_all(folder: str) -> None:
    run("convert", os.path.join(folder, "originals"), os.path.join(folder, "converted"), "--key", "env:FAULTS_KEY")


def _all_converted(folder: str) -> str:
    """ "new" once the first is there: then each that is there must be whole."""
    state = "old"
    for number in range(2):
        path = os.path.join(folder, "converted", f"{number}.spkl")
        if os.path.exists(path):
            if safepickle.load(path, key=KEY) != [number] * 3:
                return "another model"
            state = "new"
    return state


def _keygen(folder: str) -> None:
    private, public = (os.path.join(folder, name) for name in ("a.key", "a.pub"))
    run("keygen", "--suite", "ed25519", "--output", private, "--public", public)


def _key_pair(folder: str) -> str:
    """ "old" is no key. A public key alone would be of no use, and a private key alone is a whole one."""
    private, public = (os.path.join(folder, name) for name in ("a.key", "a.pub"))
    if not os.path.exists(private):
        return "a public key without its private one" if os.path.exists(public) else "old"
    key = safepickle.read_key(f"file:{private}")
    if os.path.exists(public):
        half = safepickle.read_key(f"file:{public}")
        if not isinstance(half, PublicKey) or half.key_id != key.key_id:
            return "halves of two keys"
    return "new"


# --- all -------------------------------------------------------------------------------------------------------

SMALL_OLD, SMALL_NEW = [1, "old"], {"a": [2.5] * 20, "b": "new"}


def _arrays(count: int, size: int, value: int) -> dict[str, Any]:
    return {f"a{number}": numpy.full(size, value + number, dtype=numpy.uint8) for number in range(count)}


LARGE_OLD, LARGE_NEW = _arrays(1, LARGE, 1), _arrays(1, LARGE, 2)
MANY_OLD, MANY_NEW = _arrays(3, 5000, 1), _arrays(12, 5000, 2)


def _accepted(*rules: str) -> Baseline:
    return Baseline(frozenset(Accepted("a.pkl", rule, "0" * 64, "1" * 64) for rule in rules))


OPERATIONS: Final = {
    each.name: each
    for each in (
        _dump("dump of a new file", None, SMALL_NEW),
        _dump("dump that replaces a file", SMALL_OLD, SMALL_NEW),
        _dump("dump of many buffers", MANY_OLD, MANY_NEW),
        _dump("dump of a large new file", None, LARGE_NEW),
        _dump("dump that replaces a large file", LARGE_OLD, LARGE_NEW),
        _dump("dump that compresses", SMALL_OLD, MANY_NEW, compress="zlib"),
        _dump("dump that compresses a large file", LARGE_OLD, LARGE_NEW, compress="zlib"),
        _signed_again("sign", _add, MANY_NEW),
        _signed_again("sign of a large file", _add, LARGE_NEW),
        _signed_again("resign", _instead, MANY_NEW),
        _signed_again("resign of a compressed file", _instead, MANY_NEW, compress="zlib"),
        _written("write of a keyring", Keyring(SIGNER.public_key()), Keyring(SIGNER.public_key(), denied=["0123456789abcdef"]), Keyring.read),
        _written("write of pins", Pins({"a": Pin(1)}), Pins({"a": Pin(2)}), Pins.read),
        _written("write of a baseline", _accepted("unsigned"), _accepted("unsigned", "unread"), Baseline.read),
        Operation("pins update", _prepare_pins, _update_pins, _told(_pinned), ("pins.toml",), ("model.spkl",)),
        Operation("lock", _prepare_lock, _update_lock, _told(_locked), ("safepickle.lock",), ("model.spkl",)),
        Operation("verify that writes a report", _prepare_report, _report, _told(_reported), ("report",), ("model.spkl",)),
        Operation("convert", _prepare_convert, _convert, _told(_converted), ("model",), ("originals",)),
        Operation("convert of a folder", _prepare_convert, _convert_all, _told(_all_converted), ("converted",), ("originals",)),
        Operation("keygen", _nothing, _keygen, _told(_key_pair), ("a.key", "a.pub"), replaces=False),
    )
}
