"""`[tool.safepickle]` of the consumer's pyproject.toml: what a project checks, under which policy, and with which keys.

It is found by walking up from the working directory, as other tools do, and never looked for beside a model: whoever ships a model must
not say how it is checked. What it says is believed as options of the command line are, and a pull request can change it. So where
changes of strangers are checked, keys come from options or the environment, and the policy from a branch that they cannot write to.
URIs that load native code (`pkcs11:`) are refused here.
"""

from __future__ import annotations

import os
import stat
from typing import Any, Final, NamedTuple

from . import files
from .container import MAX_INTEGER, MAX_SIGNATURES, MAX_TEXT
from .errors import FormatError, elided

__all__ = ["Config"]

FILE: Final = "pyproject.toml"
MAX_FILE_BYTES: Final = 256 << 10
_SCHEMES: Final = ("env", "file", "keyring", "awskms", "vault")
_LOCAL: Final = ("file", "keyring")
_LISTS: Final = ("paths", "exclude", "packs", "allow", "keys")
_TEXTS: Final = ("policy", "context-from-path", "lock", "baseline")
_NUMBERS: Final = {"min-serial": (0, MAX_INTEGER), "threshold": (1, MAX_SIGNATURES)}
_FLAGS: Final = ("require-signed",)


class Config(NamedTuple):
    """What a project says. Paths are taken from the folder of the pyproject.toml; None or empty is what it does not say."""

    path: str
    paths: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    """Patterns, as they are written: they are about paths relative to the folder."""
    policy: str | None = None
    packs: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    """Key URIs, to be trusted as SECURITY.md says of URIs; used only where neither options nor the environment name a key."""
    context_from_path: str | None = None
    min_serial: int | None = None
    threshold: int | None = None
    require_signed: bool | None = None
    lock: str | None = None
    baseline: str | None = None

    @property
    def folder(self) -> str:
        """The folder of the pyproject.toml."""
        return os.path.dirname(self.path)

    @classmethod
    def find(cls, start: str | os.PathLike[str]) -> Config | None:
        """Return what the nearest pyproject.toml with a [tool.safepickle] says, from the folder `start` upwards, or None.

        The last folder that is looked at is one with `.git`, the top of the file system, or the last on the same device. Raises like
        `read`, and `FormatError` for a file of a stranger: of another user than this one, root, and the owner of `start`.
        """
        folder = os.path.abspath(start)
        status = os.stat(folder)
        owners = {0, status.st_uid, *([os.geteuid()] if os.name == "posix" else [])}
        while True:
            path = os.path.join(folder, FILE)
            if os.path.lexists(path):
                found = cls._read(path, owners)
                if found is not None:
                    return found
            above = os.path.dirname(folder)
            if above == folder or os.path.lexists(os.path.join(folder, ".git")) or os.stat(above).st_dev != status.st_dev:
                return None
            folder = above

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Config:
        """Return what a pyproject.toml says. Without a [tool.safepickle] that is nothing.

        Raises `FormatError`, with the file and the key, for what is not understood; `OSError` if it cannot be read.
        """
        where = os.path.abspath(path)
        return cls._read(where, None) or cls(where)

    @classmethod
    def _read(cls, where: str, owners: set[int] | None) -> Config | None:
        shown = elided(where)
        try:
            data, status = files.read_regular(where, FILE, MAX_FILE_BYTES)
            table = files.project_table(data)
        except ValueError as error:
            raise FormatError(f"{shown} cannot be used: {elided(str(error))}") from None
        tool = table.get("tool", {})
        section = tool.get("safepickle") if isinstance(tool, dict) else None
        if section is None:
            return None
        if owners is not None and os.name == "posix" and (status.st_uid not in owners or status.st_mode & stat.S_IWOTH):
            raise FormatError(
                f"{shown} belongs to another user, or everybody can write it, so its [tool.safepickle] is not believed: "
                "run this in a folder of your own"
            )
        if not isinstance(section, dict):
            raise FormatError(f"{shown}: [tool.safepickle] is a table")
        try:
            return cls(where, **_checked(section, os.path.dirname(where)))
        except FormatError as error:
            raise FormatError(f"{shown}: [tool.safepickle] {error}") from None


def _checked(section: dict[str, Any], folder: str) -> dict[str, Any]:
    known = (*_LISTS, *_TEXTS, *_NUMBERS, *_FLAGS)
    found: dict[str, Any] = {}
    for name, value in section.items():
        if name not in known:
            raise FormatError(f"{elided(name)!a} means nothing here; there are {', '.join(sorted(known))}")
        if name in _LISTS:
            if not isinstance(value, list) or not all(_is_text(each) for each in value):
                raise FormatError(f"{name} is a list of texts of 1 to {MAX_TEXT} printable characters")
        elif name in _TEXTS:
            if not _is_text(value):
                raise FormatError(f"{name} is a text of 1 to {MAX_TEXT} printable characters")
        elif name in _NUMBERS:
            least, most = _NUMBERS[name]
            if type(value) is not int or not least <= value <= most:
                raise FormatError(f"{name} is an integer from {least} to {most}")
        elif type(value) is not bool:
            raise FormatError(f"{name} is true or false")
        if name == "keys":
            value = [_uri(each, folder) for each in value]  # noqa: PLW2901
        elif name == "paths":
            value = [os.path.join(folder, each) for each in value]  # noqa: PLW2901
        elif name in ("policy", "lock", "baseline"):
            value = os.path.join(folder, value)  # noqa: PLW2901
        found[name.replace("-", "_")] = tuple(value) if isinstance(value, list) else value
    return found


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT and value.isprintable()


def _uri(uri: str, folder: str) -> str:
    """Return a key URI with its path, if it has one, taken from the folder. What may be a key is not repeated."""
    scheme, colon, rest = uri.partition(":")
    if elided(uri) != uri or "-----BEGIN" in uri or not colon or not rest:
        raise FormatError(
            "keys are URIs that say where a key is, such as 'env:NAME' or 'file:trainer.pub': one of these looks like a key itself or names nothing"
        )
    if scheme == "pkcs11":
        raise FormatError(
            "keys has a 'pkcs11:' URI, which loads native code: give it as an option or in the environment, not in a file of a checkout"
        )
    if scheme not in _SCHEMES:
        raise FormatError(f"keys has a URI of a kind that is not allowed here: there are {', '.join(f'{each}:' for each in _SCHEMES)}")
    return f"{scheme}:{os.path.join(folder, rest)}" if scheme in _LOCAL else uri
