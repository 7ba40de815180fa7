"""Files: reading those that people keep (keys, keyrings, pins), and replacing one as a whole, so that after a crash it is the old one or the new one.

What is wrong with a file is told as a `ValueError` with a whole sentence; the callers make it an error of theirs.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from typing import Any, Final

from .errors import elided

__all__ = [
    "Bytes",
    "check_mode",
    "check_writers",
    "create",
    "open_regular",
    "project_table",
    "read_regular",
    "replace",
    "replacing",
    "toml_table",
    "toml_text",
    "write_all",
]

# What TOML does not look into for keys: text, closed or not, and comments. Three quotes begin text of several lines.
_OPAQUE: Final = re.compile(rb"""(?P<lines>\"{3}|'{3})|"(?:[^"\\\n]|\\.)*+"?|'[^'\n]*+'?|\#[^\n]*+""")
_MAX_DOTS: Final = 8
# A dotted key of so many parts that it is none: see `toml_table`.
_DOTTED: Final = re.compile(rb"(?<![\w-])(?:(?:[\w-]++|\"[^\"\n]*+\"|'[^'\n]*+')[ \t]*+\.[ \t]*+){64}")
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
# Whether files can be named by an open folder and the name in it.
_HAS_FOLDERS: Final = {os.open, os.stat, os.unlink, os.rename} <= os.supports_dir_fd

Bytes = bytes | bytearray | memoryview


def open_regular(path: str) -> tuple[io.FileIO, os.stat_result] | None:
    """Open a file to read and return it with its status, or None if it is not a regular file. Raises `OSError`, `ValueError` for no path."""
    # Without blocking, so that a pipe in place of the file is refused rather than waited for.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        # Before it becomes a file object: FileIO refuses a folder, and leaves its descriptor open.
        os.close(descriptor)
        return None
    return io.FileIO(descriptor, "rb"), status


def read_regular(path: str, what: str, limit: int) -> tuple[bytes, os.stat_result]:
    """Return the content and status of a regular file of at most `limit` bytes. Raises `OSError`, `ValueError`."""
    shown = elided(path)
    try:
        opened = open_regular(path)
    except ValueError:
        raise ValueError(f"{shown!a} cannot be the path of a {what}") from None
    if opened is None:
        raise ValueError(f"the {what} {shown} is not a regular file")
    with io.BufferedReader(opened[0]) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        del data
        raise ValueError(f"the {what} {shown} is longer than {limit} bytes: that is no {what}")
    return data, opened[1]


def check_mode(path: str, what: str, mode: int) -> None:
    """Refuse a file that others than its owner can write. Raises `ValueError`."""
    if stat.S_IMODE(mode) & 0o022:
        shown = elided(path)
        raise ValueError(f"the {what} {shown} is writable by others (mode {stat.S_IMODE(mode):04o}): run `chmod go-w {shown}`")


def check_writers(path: str, what: str, status: os.stat_result) -> None:
    """Refuse a file that others than this user and root can write: who writes it says whom to trust. Raises `ValueError`."""
    if os.name != "posix":
        return
    check_mode(path, what, status.st_mode)
    if status.st_uid not in (0, os.geteuid()):
        shown = elided(path)
        raise ValueError(
            f"the {what} {shown} belongs to user {status.st_uid}, who could change it: review it, and copy it or run `chown {os.geteuid()} {shown}`"
        )


def replace(path: str, pieces: Iterable[Bytes], mode: int | None, *, old: os.stat_result | None = None) -> None:
    """Replace the file at `path` by the pieces: see `replacing`. Raises `OSError`, and whatever making the pieces raises."""
    with replacing(path, mode, old=old) as sibling:
        for piece in pieces:
            write_all(sibling, piece)


@contextlib.contextmanager
def replacing(path: str, mode: int | None, *, old: os.stat_result | None = None) -> Iterator[io.FileIO]:
    """Hand out a temporary sibling of `path` to write to; at the end fsync it and rename it, or remove it after an error. Raises `OSError`.

    `mode` is that of the new file; None leaves it to the umask. `old` is the status of the file that the new one is made from:
    root leaves the file to its owner, and if by then another file stands at the path, or it was changed, that one stays.
    """
    with _in_folder(path) as (folder, target):
        temporary = os.path.join(os.path.dirname(target), f".safepickle-{os.urandom(8).hex()}.tmp")
        # From before the file is made: an interrupt may come between its making and the next instruction.
        try:
            try:
                # Never more open than what it replaces, not even before fchmod. Without a mode it is as open as any new file.
                descriptor = os.open(temporary, _NEW, 0o666 if mode is None else 0o600, dir_fd=folder)
            except OSError as error:
                error.filename = path
                raise
            with io.FileIO(descriptor, "wb") as sibling:
                if old is not None:
                    _keep_owner(sibling, old)
                if mode is not None and hasattr(os, "fchmod"):
                    os.fchmod(sibling.fileno(), mode)
                yield sibling
                os.fsync(sibling.fileno())
            if old is not None:
                _check_unchanged(os.stat(target, dir_fd=folder, follow_symlinks=False), old, path)
            try:
                os.replace(temporary, target, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError as error:
                error.filename, error.filename2 = path, None
                raise
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise
        _sync_folder(folder)


def create(path: str, data: Bytes, mode: int) -> None:
    """Make a file that was not there. Raises `FileExistsError`, which leaves what is there, and `OSError`, after which there is none.

    On Linux it is written without a name and gets one when it is whole, so that whoever is killed leaves no part of it, and no secret under another
    name. Elsewhere, and on file systems that cannot do that, it is written in its place.
    """
    with _in_folder(path) as (folder, target):
        try:
            if folder is None or not _named_when_whole(folder, target, data, mode):
                _write_new(folder, target, data, mode)
        except OSError as error:
            error.filename, error.filename2 = path, None
            raise
        _sync_folder(folder)


def _named_when_whole(folder: int, target: str, data: Bytes, mode: int) -> bool:
    """Write a file without a name (O_TMPFILE of open(2)) and give it one; tell whether that can be done here."""
    try:
        descriptor = os.open(".", os.O_TMPFILE | os.O_WRONLY, mode, dir_fd=folder)
    except (AttributeError, OSError):
        return False
    with io.FileIO(descriptor, "wb") as file:
        write_all(file, data)
        os.fsync(file.fileno())
        try:
            os.link(f"/proc/self/fd/{file.fileno()}", target, dst_dir_fd=folder)
        except FileExistsError:
            raise
        except OSError:
            return False
    return True


def _write_new(folder: int | None, target: str, data: Bytes, mode: int) -> None:
    descriptor = os.open(target, _NEW, mode, dir_fd=folder)
    try:
        with io.FileIO(descriptor, "wb") as file:
            write_all(file, data)
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(target, dir_fd=folder)
        raise


def _sync_folder(folder: int | None) -> None:
    """Put a name that was just made on the disk. It is done: a folder that cannot be synced makes it no failure."""
    if folder is not None:
        with contextlib.suppress(OSError):
            os.fsync(folder)


@contextlib.contextmanager
def _in_folder(path: str) -> Iterator[tuple[int | None, str]]:
    """Hand out the folder of the path, opened, and the name in it; or None and the path, where folders are not opened or this one cannot be read.

    It is opened once: whoever may rename it could put a link in its place meanwhile, and what is written, looked at and renamed
    would be in different folders, one of them not theirs.
    """
    folder = None
    try:
        if _HAS_FOLDERS:
            with contextlib.suppress(OSError):
                folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
        yield folder, path if folder is None else os.path.basename(path)
    finally:
        if folder is not None:
            os.close(folder)


def _keep_owner(file: io.FileIO, old: os.stat_result) -> None:
    """Give the file, if root writes it, to whom the old one belongs: its owner must still be able to read it."""
    if os.name == "posix" and os.geteuid() == 0:
        status = os.fstat(file.fileno())
        if (status.st_uid, status.st_gid) != (old.st_uid, old.st_gid):
            os.fchown(file.fileno(), old.st_uid, old.st_gid)


def _check_unchanged(now: os.stat_result, old: os.stat_result, path: str) -> None:
    """Refuse to go on if the file that stands there now is not the one of the old status, as it was then.

    There is no renaming under a condition, so a file that is put there between this and the rename is still lost; but that is
    a moment, and not the minutes that a large file may take.
    """
    if (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns) != (old.st_dev, old.st_ino, old.st_size, old.st_mtime_ns):
        raise OSError(f"{path} was replaced or changed while it was read, so nothing was written: run this again on the file that stands there now")


def toml_table(data: bytes) -> dict[str, Any]:
    """Return the table of a file of ours in TOML. Raises `ValueError`, also for what no such file needs and what costs memory out of proportion.

    That are keys of many parts (`a.a.a...`: the reader of the standard library takes memory by the square of their number) and text
    of several lines (in which this could not tell what is a key).
    """
    # Here and not above, so that `import safepickle` stays light.
    import tomllib

    outside = _OPAQUE.sub(lambda each: each["lines"] or b"", data)
    if b'"' in outside or b"'" in outside:
        raise ValueError("it has text of several lines: write it as one")
    if any(line.count(b".") > _MAX_DOTS for line in outside.split(b"\n")):
        raise ValueError(f"a line has more than {_MAX_DOTS} dots outside text")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def project_table(data: bytes) -> dict[str, Any]:
    """Return the table of a TOML file that is not only ours, such as a pyproject.toml, which may hold text of several lines. Raises `ValueError`."""
    import tomllib

    if _DOTTED.search(data):
        raise ValueError("a key in it has more than 64 parts")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def toml_text(text: str) -> str:
    """Return text as a TOML string: as JSON writes it, but for characters above U+FFFF, of which JSON makes two.

    Raises `ValueError` for half a character, which TOML cannot hold.
    """
    if any("\ud800" <= each <= "\udfff" for each in text):
        raise ValueError("this text cannot be written: it holds half a character")
    inner = "".join(f"\\U{ord(each):08x}" if ord(each) > 0xFFFF else json.dumps(each)[1:-1] for each in text)
    return f'"{inner}"'


def write_all(file: Any, piece: Bytes) -> None:
    """Write a piece whole, to a file that may take a part of it at a time."""
    view = memoryview(piece).cast("B")
    while len(view):
        count = file.write(view)
        # Raw files write a part, or None for nothing if they do not block. Others write all, and some return None.
        if count is None:
            if isinstance(file, io.RawIOBase):
                raise BlockingIOError("the file is in non-blocking mode: hand in a blocking one")
            return
        view = view[count:]
