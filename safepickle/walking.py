"""Which files are below a folder: every regular file, whatever its name, and what else is there and why nobody may take it for one.

Nothing is passed over in silence: what is no regular file is a problem with a sentence, and what is left out by rule is listed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

__all__ = ["Tree", "kind", "tree"]

GIT: Final = ".git"


class Tree(NamedTuple):
    """What is below a folder, each as its path."""

    files: tuple[str, ...]
    """Regular files, a folder's own before those of its subfolders, each in the order of their names."""
    special: tuple[tuple[str, str], ...]
    """What cannot be read like a file, with a sentence that says why."""
    links: tuple[str, ...]
    """Symbolic links to what is found here under its own name: not followed, and nothing is missed by that."""
    skipped: tuple[str, ...]
    """Folders named .git, whose contents are not looked at."""
    excluded: tuple[str, ...] = ()
    """What was to be left out; of a folder only its own path."""


def tree(folder: str, *, excluded: Callable[[str], bool] | None = None, wanted: Callable[[str], bool] | None = None) -> Tree:
    """List a folder with all below it. Symbolic links are not followed. Never raises for what is in it.

    A link to something that is not among the files is one of the special ones: whoever loads it loads what nobody looked at. `excluded`
    tells of a path whether it is left out, with all below it; `wanted` of the path of a file whether it is listed: links to
    folders are all special then, since what is below them is not listed under the names that it has there.
    """
    left_out: list[str] = []
    files: list[str] = []
    special: list[tuple[str, str]] = []
    links: list[str] = []
    skipped: list[str] = []
    folders: list[str] = []
    # A list and not recursion: whoever makes the folders chooses how deep they are.
    pending = [folder]
    while pending:
        here = pending.pop()
        folders.append(here)
        inner: list[str] = []
        for path, what in _entries(here):
            if excluded is not None and path != folder and excluded(path):
                left_out.append(path)
                continue
            # A folder that cannot be read stands in its own list: what is wanted may be below it.
            folderish = path == here or what == "folder" or (what == "link" and os.path.isdir(path))
            if wanted is not None and not folderish and not wanted(path):
                continue
            match what:
                case "file":
                    files.append(path)
                case "folder":
                    (skipped if os.path.basename(path) == GIT else inner).append(path)
                case "link":
                    links.append(path)
                case _:
                    special.append((path, what))
        pending.extend(reversed(inner))
    followed, missed = _resolved(links, {*files, *([] if wanted else folders)})
    return Tree(tuple(files), tuple(special + missed), tuple(followed), tuple(skipped), tuple(left_out))


def _entries(folder: str) -> Iterator[tuple[str, str]]:
    """Yield each entry with "file", "folder", "link" or a sentence that says why it is none of them; the folder itself if it cannot be read."""
    try:
        with os.scandir(folder) as listing:
            found = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        yield folder, f"the folder cannot be read: {error.strerror}"
        return
    for entry in found:
        try:
            # A junction, of Windows, is a link in all but name; Python 3.12 and later can tell.
            if entry.is_symlink() or getattr(entry, "is_junction", lambda: False)():
                what = "link"
            elif entry.is_dir(follow_symlinks=False):
                what = "folder"
            else:
                what = kind(entry.stat(follow_symlinks=False).st_mode) or "file"
        except OSError as error:
            what = f"it cannot be looked at: {error.strerror}"
        yield entry.path, what


def kind(mode: int) -> str:
    """Return why what has this mode cannot be read like a file, or "" if it can."""
    if stat.S_ISREG(mode):
        return ""
    for test, name in (
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a character device"),
        (stat.S_ISBLK, "a block device"),
        (stat.S_ISDIR, "a folder"),
    ):
        if test(mode):
            return f"{name}, which is not read: move it away, or name the files to look at"
    return "no regular file, so it is not read: move it away, or name the files to look at"


def _resolved(links: list[str], found: set[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the links that lead to what was found, and the others with why they are a problem."""
    # By device and number, since a path may be written in many ways.
    known = set()
    if links:
        for path in found:
            try:
                status = os.stat(path)
            except OSError:
                continue
            known.add((status.st_dev, status.st_ino))
    followed, missed = [], []
    for path in links:
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            missed.append((path, "a symbolic link that leads nowhere"))
            continue
        if (status.st_dev, status.st_ino) in known:
            followed.append(path)
        else:
            missed.append((path, "a symbolic link to what is not looked at here, and links are not followed: name what it leads to"))
    return followed, missed
