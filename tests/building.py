"""Builds the source distribution and the wheel of one commit, and prints their digests as `sha256sum` does.

    python tests/building.py FOLDER [REVISION]

What is built is what git has of the commit (HEAD unless stated), exported to a folder of its own: neither files that nobody committed nor what is
installed here get in. The time in the archives is that of the commit. The same commit, release of hatchling and zlib give the same bytes, wherever
and whenever it is built (`test_wheel.py`); a wheel names the release of hatchling in its file WHEEL.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import os
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=TOP, check=True, stdout=subprocess.PIPE).stdout


def export(revision: str, folder: Path) -> None:
    """Write the files of a commit below a folder."""
    with tarfile.open(fileobj=BytesIO(git("archive", "--format=tar", revision))) as archive:
        archive.extractall(folder, filter="data")


def time_of(revision: str) -> int:
    """Return the time of a commit, in seconds since 1970."""
    return int(git("show", "--no-patch", "--format=%ct", f"{revision}^{{commit}}"))


def build(
    source: Path, out: Path, epoch: int, targets: tuple[str, ...] = ("sdist", "wheel"), *, umask: int = -1, env: Mapping[str, str] | None = None
) -> list[Path]:
    """Build what is in a folder with the hatchling of this Python, and return the files, in the order of the targets."""
    made = []
    for target in targets:
        before = set(out.iterdir()) if out.exists() else set()
        command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(out)]
        stated = {**os.environ, **(env or {}), "SOURCE_DATE_EPOCH": str(epoch)}
        done = subprocess.run(command, cwd=source, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, umask=umask, env=stated)
        if done.returncode:
            raise SystemExit(f"hatchling failed:\n{done.stdout.decode(errors='replace')}")
        made += set(out.iterdir()) - before
    return made


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the source distribution and the wheel of one commit, and print their SHA-256.")
    parser.add_argument("folder", type=Path, help="where to write them; the folder must be new or empty")
    parser.add_argument("revision", nargs="?", default="HEAD", help="a tag or commit (default: HEAD)")
    chosen = parser.parse_args()
    out = chosen.folder.resolve()
    if out.exists() and any(out.iterdir()):
        parser.error(f"{out} holds other files")
    with tempfile.TemporaryDirectory() as temporary:
        export(chosen.revision, Path(temporary))
        made = build(Path(temporary), out, time_of(chosen.revision))
    commit = git("rev-parse", f"{chosen.revision}^{{commit}}").decode().strip()
    print(f"{commit}, hatchling {importlib.metadata.version('hatchling')}, zlib {zlib.ZLIB_RUNTIME_VERSION}", file=sys.stderr)
    for path in made:
        print(f"{digest(path)}  {path.name}")


if __name__ == "__main__":
    main()
