"""Files as they stand in a revision of the git repository around the working directory. Nothing is checked out; no filter or driver runs."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Final

__all__ = ["is_revision", "read"]

_HEX: Final = re.compile(rb"[0-9a-f]{40,64}\n")


def is_revision(text: str) -> bool:
    """Tell whether a text is REV:PATH. A file with a colon in its name needs ./ before it, so that no file can pass for a revision."""
    return ":" in text and not text.startswith(("./", "../", "/")) and not re.match(r"[A-Za-z]:[\\/]", text)


def read(text: str, limit: int) -> bytes | None:
    """Return what stands at REV:PATH, or None if that revision has no such file. Raises `ValueError` with a sentence."""
    revision, _, path = text.partition(":")
    if not revision or revision.startswith("-") or not text.isprintable() or not path:
        raise ValueError(f"{text!a} is not REV:PATH: a revision does not begin with '-', and neither part is empty")
    commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if commit is None or not _HEX.fullmatch(commit):
        raise ValueError(f"git knows no revision {revision!a} here: fetch it first, as in a shallow clone")
    # From here on what git gets begins with a hexadecimal number that it wrote itself.
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit.decode().strip()}:{path}")
    if found is None or not _HEX.fullmatch(found):
        return None
    name = found.decode().strip()
    if _git("cat-file", "-t", name) != b"blob\n":
        raise ValueError(f"{text!a} is not a file")
    size = int(_git("cat-file", "-s", name) or b"-1")
    if not 0 <= size <= limit:
        raise ValueError(f"{text!a} has {size} bytes; {limit} are read")
    data = _git("cat-file", "blob", name)
    if data is None or len(data) != size:
        raise ValueError(f"git cannot read {text!a}")
    return data


def _git(*arguments: str) -> bytes | None:
    environment = {**os.environ, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(  # noqa: S603 - a list, no shell, and no argument that git takes for an option
            ["git", "--no-replace-objects", *arguments],  # noqa: S607 - git is found as the user's shell finds it
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env=environment,
        )
    except OSError as error:
        raise ValueError(f"git cannot be run: {error.strerror}") from None
    return done.stdout if done.returncode == 0 else None
