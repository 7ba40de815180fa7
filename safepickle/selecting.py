"""Which files a command is about: those that its arguments name, and what is below folders. Nothing is read here.

- What cannot be read like a file is a candidate with a problem, and what is left out by rule is listed: nothing is passed over in silence.
- Below a folder, links are not followed unless asked. One that leads to what is not among the candidates is a problem: whoever loads it
  loads what nobody looked at.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from .walking import GIT, kind, tree

__all__ = ["STDIN", "Candidate", "Exclusion", "Found", "files", "listed"]

STDIN: Final = "-"
_GIT: Final = f"not looked at, since it is named {GIT}"
_MAGIC: Final = re.compile(r"[*?\[]")
_OTHER_NAMES: Final = "a symbolic link to a folder that is looked at under another name: what is expected of files by name was not checked here"


class Candidate(NamedTuple):
    """A file that a command may be about."""

    path: str
    origin: str
    """The argument that it comes from."""
    relative: str
    """Its path below the folder that was given, with slashes."""
    named: bool
    """Whether somebody named just this file, so that it is meant whatever it is."""
    problem: str = ""
    """Why it cannot be read like a file, if so."""


class Exclusion(NamedTuple):
    """A pattern of what is left out: one with a slash is matched with the whole path, one without with each part of it."""

    pattern: str
    folder: str | None = None
    """The folder that paths are relative to; None for the paths as they are given, and those below the folder that was given."""


class Found(NamedTuple):
    """What there is to look at, in the order of the arguments and of the names below a folder."""

    candidates: tuple[Candidate, ...]
    origins: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    """What is not looked at, with the reason."""


def files(
    paths: Sequence[str],
    *,
    more: Iterable[str] = (),
    exclude: Iterable[Exclusion] = (),
    follow_symlinks: bool = False,
    links: bool = False,
) -> Found:
    """Return the files that the paths name: files, folders with all below them, patterns (`*`, `?`, `[...]`, `**`), and "-" for stdin.

    `more` are paths of a list: files to be known by their content, none of them a pattern or stdin. What is below an
    excluded folder is excluded. Symbolic links are followed where they are named, by a pattern too, unless it is `**` that finds them.
    `links` is for those to whom the name of a file matters: then a link to a file that is looked at anyway is a candidate under its own name,
    too, and one to a folder is a problem unless links are followed and it is the first to that folder.

    Raises `ValueError`, with a sentence, for a path that does not exist, a pattern that matches nothing, and stdin named twice.
    """
    if [*paths].count(STDIN) > 1:
        raise ValueError("stdin can be read once: give - once")
    walk = _Walk([_tested(each) for each in exclude], follow_symlinks=follow_symlinks, links=links)
    for path in paths:
        walk.add(path, named=True, pattern=True)
    for path in more:
        walk.add(_plain(path), named=False, pattern=False)
    return Found(tuple(walk.candidates), tuple(dict.fromkeys(walk.origins)), tuple(walk.left_out))


def listed(data: bytes) -> list[str]:
    """Return the paths of a list: separated by NUL if there is one, otherwise one a line."""
    parts = data.split(b"\0") if b"\0" in data else [line.removesuffix(b"\r") for line in data.split(b"\n")]
    return [os.fsdecode(each) for each in parts if each]


def _plain(path: str) -> str:
    """Return the path of a file: in a list, in a folder and where a pattern finds it, one called - is that file and not stdin."""
    return os.path.join(os.curdir, path) if path == STDIN else path


_Test = Callable[[str, str], bool]


class _Walk:
    def __init__(self, exclude: Sequence[_Test], *, follow_symlinks: bool, links: bool) -> None:
        self.exclude = exclude
        self.follow = follow_symlinks
        self.links = links
        self.candidates: list[Candidate] = []
        self.origins: list[str] = []
        self.left_out: list[tuple[str, str]] = []
        self.seen: set[tuple[int, int]] = set()

    def add(self, path: str, *, named: bool, pattern: bool) -> None:
        """Add what one argument names."""
        self.seen = set()
        if path == STDIN:
            self.origins.append(path)
            self.candidates.append(Candidate(path, path, "", named=True))
        elif os.path.lexists(path):
            self.origins.append(path)
            self.whole(path, path, os.path.basename(path), named=named)
        elif pattern and _MAGIC.search(path):
            self.matching(path)
        else:
            raise ValueError(f"{path} does not exist")

    def whole(self, path: str, origin: str, relative: str, *, named: bool) -> None:
        """Add a file, or what is below a folder."""
        if os.path.isdir(path):
            self.below(path, origin, path, None)
        else:
            self.take(path, origin, relative, named=named)

    def matching(self, pattern: str) -> None:
        """Add the files that a pattern matches, and those below the folders that it matches."""
        self.origins.append(pattern)
        before = len(self.candidates)
        parts = pattern.replace(os.sep, "/").split("/")
        deep = next((number for number, part in enumerate(parts) if "**" in part), len(parts))
        fixed = next(number for number, part in enumerate(parts) if _MAGIC.search(part))
        top = "/".join(parts[:fixed]) or ("/" if pattern.startswith("/") else "")
        rest = "/".join(parts[deep:])
        for path in map(_plain, self.expanded(top, parts[fixed:deep], pattern)):
            if not rest:
                self.whole(path, pattern, os.path.relpath(path, top or os.curdir).replace(os.sep, "/"), named=False)
            elif os.path.isdir(path or os.curdir):
                self.below(path or os.curdir, pattern, top, _compiled(rest, anchored=True))
        if len(self.candidates) == before:
            raise ValueError(f"{pattern} matches no file")

    def expanded(self, top: str, parts: Sequence[str], origin: str) -> Iterator[str]:
        """Yield what is below `top` that matches, part by part, in order. As in a shell, links are followed; other than there, hidden names match."""
        if not parts:
            yield top
            return
        first, *rest = parts
        if not _MAGIC.search(first):
            path = os.path.join(top, first)
            if not first or os.path.lexists(path):
                yield from self.expanded(path, rest, origin)
            return
        matches = _compiled(first, anchored=True)
        try:
            names = sorted(os.listdir(top or os.curdir))
        except OSError as error:
            # What is no folder has nothing below it; in what may not be read there may be something that nobody looks at.
            if os.path.isdir(top or os.curdir):
                self.take(top or os.curdir, origin, top, named=False, problem=f"the folder cannot be read: {error.strerror}")
            return
        for name in filter(matches, names):
            path = os.path.join(top, name)
            if name == GIT and os.path.isdir(path):
                self.left_out.append((path, _GIT))
            else:
                yield from self.expanded(path, rest, origin)

    def below(self, folder: str, origin: str, top: str, wanted: Callable[[str], bool] | None, base: str | None = None) -> None:
        """Add what is below a folder, in order: all, or what is wanted by its path below `base`."""
        start = folder if base is None else base

        def shown(path: str) -> str:
            return _plain(os.path.relpath(path)) if folder == os.curdir else path

        def relative(path: str) -> str:
            return os.path.relpath(path, top or os.curdir).replace(os.sep, "/")

        found = tree(
            folder,
            excluded=lambda path: self.excluded(shown(path), relative(path)),
            wanted=None if wanted is None else lambda path: wanted(os.path.relpath(path, start).replace(os.sep, "/")),
        )
        self.left_out += [(shown(path), "excluded") for path in found.excluded]
        self.left_out += [(shown(path), _GIT) for path in found.skipped]
        own = [path for path in found.links if self.links and os.path.isfile(path)]
        folders = [(path, _OTHER_NAMES) for path in found.links if self.links and path not in own]
        self.left_out += [
            (shown(path), "a symbolic link, not followed: what it leads to is looked at under its own name") for path in found.links if not self.links
        ]
        for path in [*found.files, *own]:
            self.candidates.append(Candidate(shown(path), origin, relative(path), named=False))
        for path, problem in sorted([*found.special, *folders]):
            link = self.follow and os.path.islink(path)
            if not (link and os.path.isdir(path)):
                self.take(shown(path), origin, relative(path), named=False, problem=problem)
                continue
            # Each folder once, however many links lead to it, or round in a circle.
            status = os.stat(path)
            if (status.st_dev, status.st_ino) not in self.seen:
                self.seen.add((status.st_dev, status.st_ino))
                self.below(shown(path), origin, top, wanted, start)
            elif self.links:
                self.candidates.append(Candidate(shown(path), origin, relative(path), named=False, problem=_OTHER_NAMES))

    def take(self, path: str, origin: str, relative: str, *, named: bool, problem: str = "") -> None:
        if self.excluded(path, relative):
            self.left_out.append((path, "excluded"))
            return
        # A list and a pattern name what somebody committed, such as a link to a pipe, which would be waited for. What leads nowhere says so itself.
        if (self.follow and problem and os.path.islink(path)) or not (named or problem):
            with contextlib.suppress(OSError):
                problem = kind(os.stat(path).st_mode)
        self.candidates.append(Candidate(path, origin, relative, named, problem))

    def excluded(self, path: str, relative: str) -> bool:
        return any(test(path, relative) for test in self.exclude)


def _tested(exclusion: Exclusion) -> _Test:
    matches = _compiled(exclusion.pattern)
    folder = exclusion.folder
    if folder is None:
        return lambda path, relative: matches(path.replace(os.sep, "/")) or matches(relative)
    return lambda path, relative: path != STDIN and matches(os.path.relpath(os.path.abspath(path), folder).replace(os.sep, "/"))


def _compiled(text: str, *, anchored: bool = False) -> Callable[[str], bool]:
    """Return a test of paths with slashes: whether the pattern matches the path, or a folder that it is in."""
    pattern = text.replace(os.sep, "/").rstrip("/")
    made: list[str] = []
    at = 0
    # Where the last star of this part of the path stands in what is made.
    star: int | None = None
    while at < len(pattern):
        each = pattern[at]
        at += 1
        if pattern.startswith("**/", at - 1) and (at == 1 or pattern[at - 2] == "/"):
            made.append("(?:[^/]+/)*")
            at += 2
        elif each == "*" and pattern.startswith("*", at):
            made.append(".*")
            at, star = at + 1, None
        elif each == "*":
            if star is not None:
                # What is between two stars is taken where it stands first, and not tried anywhere else: names would be chosen that take hours.
                made[star] = "(?>[^/]*?"
                made.append(")")
            star = len(made)
            made.append("[^/]*")
        elif each == "?":
            made.append("[^/]")
        elif each == "[" and (end := pattern.find("]", at + 1)) > 0:
            inner = pattern[at:end].replace("\\", r"\\").replace("[", r"\[")
            made.append(f"(?!/)[{'^' + inner[1:] if inner[:1] == '!' else inner}]")
            at = end + 1
        else:
            made.append(re.escape(each))
            star = None if each == "/" else star
    start = "" if anchored or "/" in pattern else "(?:.*/)?"
    try:
        wanted = re.compile(rf"{start}{''.join(made)}(?:/.*)?", re.DOTALL)
    except re.error:
        raise ValueError(f"{text} is not a pattern of paths") from None
    return lambda path: wanted.fullmatch(path) is not None
