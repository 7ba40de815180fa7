"""Pointers of Git LFS and DVC: small files of text that stand where a large one is to be fetched to."""

from __future__ import annotations

import io
import os
import re
from typing import Final

__all__ = ["found"]

# As git-lfs reads them, which takes two older addresses as well, and space before them.
_LFS: Final = re.compile(rb"\s*version (?:https://git-lfs\.github\.com/spec/|https://hawser\.github\.com/spec/|http://git-media\.io/v/)")
_DVC: Final = re.compile(rb"\A(?:[^\n]*\n){0,40}?outs:\r?\n(?:- |  )", re.ASCII)
_DVC_HASH: Final = re.compile(rb"^[- ] (?:md5|etag|hash|checksum): ", re.MULTILINE)
_DVC_SUFFIX: Final = ".dvc"
_DVC_KEY: Final = re.compile(rb"path[\"']?\s*:")
_DVC_PATH: Final = re.compile(r"^[- ] path: ['\"]?([^'\"\r\n]+)", re.MULTILINE)
_MAX_BYTES: Final = 1 << 16


def found(path: str, head: bytes, file: io.FileIO, *, named: bool) -> tuple[str, str] | None:
    """Return the rule of a finding and what to do, if the file is a pointer to one that is not there; else None.

    `head` is what the open file begins with. A pointer of DVC that somebody named is meant itself; beside the file it is for, it is no finding.
    """
    if _LFS.match(head):
        return "lfs-pointer", "this is a Git LFS pointer, not the file itself: run `git lfs pull`"
    pointer = _whole(path, head, file)
    if _is_dvc(path, pointer) and (named or not _is_pulled(path, pointer)):
        return "dvc-pointer", "this is a DVC pointer, and the file itself is not there: run `dvc pull`"
    return None


def _whole(path: str, head: bytes, file: io.FileIO) -> bytes:
    """Return what may be a DVC pointer. What is called like one is read further: comments may stand in it."""
    if not path.endswith(_DVC_SUFFIX):
        return head if os.fstat(file.fileno()).st_size <= len(head) else b""
    pointer = file.read(_MAX_BYTES)
    file.seek(0)
    return pointer


def _is_dvc(path: str, pointer: bytes) -> bool:
    """Tell whether a file is a DVC pointer. DVC knows one by its name, and then by its key, in any form that YAML has."""
    return (path.endswith(_DVC_SUFFIX) and b"outs" in pointer) or (_DVC.match(pointer) is not None and _DVC_HASH.search(pointer) is not None)


def _is_pulled(path: str, pointer: bytes) -> bool:
    """Tell whether all that a DVC pointer stands for is beside it, where `dvc pull` puts it: then that is what is checked."""
    names = _DVC_PATH.findall(pointer.decode("utf-8", "replace"))
    # Another form of YAML than DVC writes, or another folder than this: then it is not known what it stands for.
    if b"wdir" in pointer or len(_DVC_KEY.findall(pointer)) != len(names):
        return False
    return bool(names) and all(os.path.exists(os.path.join(os.path.dirname(path), name.strip())) for name in names)
