"""Deeds that nothing in safepickle may do for a file, as CPython's audit hooks tell of them."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

_FORBIDDEN = frozenset(
    [
        "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "os.kill", "os.putenv", "os.chdir", "os.mkdir",
        "os.rmdir", "os.remove", "os.rename", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown", "subprocess.Popen", "pty.spawn",
        "shutil.rmtree", "shutil.copyfile", "shutil.move", "socket.__new__", "socket.connect", "socket.getaddrinfo", "urllib.Request",
        "ctypes.dlopen", "code.__new__", "pickle.find_class", "builtins.input", "webbrowser.open",
    ]
)  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_watching = False
_seen: list[str] = []
_installed = False


class DeedError(Exception):
    """Something was done."""


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    if event in _FORBIDDEN or (event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING):
        _seen.append(f"{event} {arguments!r:.300}")


@contextlib.contextmanager
def harmless() -> Iterator[None]:
    """Raise `DeedError` if what is done in it starts a process, writes, connects, or unpickles by itself; whoever does it may hide that."""
    global _installed, _watching
    if not _installed:
        sys.addaudithook(_hook)
        _installed = True
    _seen.clear()
    _watching = True
    try:
        yield
    finally:
        _watching = False
        if _seen:
            raise DeedError("; ".join(_seen))


@contextlib.contextmanager
def importing_nothing() -> Iterator[None]:
    """Raise `DeedError` if a module is imported that was not there, other than of safepickle itself and the standard library."""
    before = set(sys.modules)
    try:
        yield
    finally:
        new = {name.partition(".")[0] for name in set(sys.modules) - before} - {"safepickle", *sys.stdlib_module_names}
        if new:
            raise DeedError(f"imported {', '.join(sorted(new))}")
