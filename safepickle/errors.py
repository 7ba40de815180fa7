"""One error class per stage, under one root.

The class says which stage refused, the message says what, where and what to do next. No error carries a
payload or a secret (see `elided`). "Could not check" is a subclass of "did not hold", so whoever catches the general class
fails closed.

None of these is a `pickle.PickleError`: caches that swallow unpickling errors as a miss must not swallow a forgery.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = [
    "AuthenticationError",
    "FormatError",
    "KeyringError",
    "LimitError",
    "PolicyError",
    "ProgramError",
    "SafePickleError",
    "StateError",
    "UnknownKeyError",
    "UnsignedError",
    "VersionMismatchError",
    "VersionMismatchWarning",
    "elided",
    "escaped",
    "told",
]

# The last is base64 of DER that begins with a version, whose three bytes may stand in three ways: half of it is far from mixed.
_KEY_TEXT: Final = re.compile(r"spk(?:pub|priv)?1_[A-Za-z0-9_+/=-]+|[0-9A-Fa-f]{48,}|M[A-Za-z0-9+/_-]{2,6}(?:CAQ|AgE|IBA)[A-Za-z0-9+/=_-]{20,}")
_ARMOR: Final = re.compile("-----(?:BEGIN|END) ")
_LONG: Final = re.compile(r"[A-Za-z0-9+/_=-]{32,}")
_STRETCH: Final = re.compile(r"[a-z]+|[A-Z]+|[0-9]+|[^A-Za-z0-9]+")
_ELIDED: Final = "<what looks like a key>"


def elided(text: str) -> str:
    """Return a name, path or message without what looks like a key: somebody may have passed the one for the other, and errors end in logs.

    That is a textual key, hexadecimal of 24 bytes and more, what is as long and as mixed as the base64 of a key, and all of a text with PEM in it.
    """
    if _ARMOR.search(text):
        return _ELIDED
    return _LONG.sub(_unless_words, _KEY_TEXT.sub(_ELIDED, text))


def _unless_words(match: re.Match[str]) -> str:
    """Return a long run of letters and digits if it is made of words: in base64 the kind of character changes at two of three places."""
    run = match[0]
    mixed = any(each.isupper() for each in run) and any(each.islower() for each in run)
    return _ELIDED if mixed and len(run) < 2.2 * len(_STRETCH.findall(run)) else run


def told(error: BaseException) -> str:
    """Return what an error of a library says, for a message of ours: its class, and the first 300 characters of its text in ASCII."""
    return f"{type(error).__name__}: {ascii(str(error)[:300])[1:-1]}"


def escaped(text: str) -> str:
    """Return text in which what is not printable is escaped: controls, line ends, and characters that turn the direction of writing.

    So is what begins a command to those who read the logs of pipelines: two number signs anywhere (Azure, TeamCity, GitHub), and two colons
    at the beginning (GitHub).
    """
    shown = text if text.isprintable() else "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
    return re.sub(r"\A( *):(?=:)", r"\1\\x3a", shown.replace("##", r"#\x23"))


class SafePickleError(Exception):
    """Root of every refusal of safepickle.

    `about` says in a stable word what did not hold where the class does not: "context", "serial", "expired", "threshold", "tampered",
    "truncated" or "appended", else "".
    """

    def __init__(self, message: str = "", *, about: str = "") -> None:
        super().__init__(message)
        self.about = about


class KeyringError(SafePickleError):
    """A key, key file or keyring cannot be used."""


class FormatError(SafePickleError):
    """The bytes are not a safepickle container, or not a canonical one."""


class UnsignedError(FormatError):
    """The bytes are something else: a plain pickle, a joblib file, a pointer file. Nothing signed them."""


class AuthenticationError(SafePickleError):
    """A signature, digest, context, serial or expiry does not hold."""


class UnknownKeyError(AuthenticationError):
    """No signature was made with a key that the loader trusts, so nothing could be checked."""


class ProgramError(SafePickleError):
    """The pickle program is not one that CPython's pickler writes, or the object cannot be pickled."""


class LimitError(ProgramError):
    """The pickle program passes a limit of `Limits`."""


class PolicyError(SafePickleError):
    """A name, or what the program does with it, is not allowed by the policy.

    `refusals` lists everything that was refused, one text each.
    """

    def __init__(self, message: str, refusals: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.refusals = refusals


class StateError(SafePickleError):
    """The rebuilt object is not a valid one: compiled code must not see it."""


class VersionMismatchError(SafePickleError):
    """The file was written with other library versions and the caller asked for an error."""


class VersionMismatchWarning(UserWarning):
    """The file was written with other library versions than those that are running."""
