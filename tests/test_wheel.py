"""What is released: the same bytes wherever it is built, made of what git has and of nothing else.

What the wheel does in an environment that holds nothing else is checked by `installed.py`, which the session `wheel` of noxfile.py runs.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.metadata
import io
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from building import TOP, build, digest, export, git, time_of

pytest.importorskip("hatchling", reason="hatchling is missing: pip install 'safepickle-ml[build]'")
pytestmark = pytest.mark.skipif(not (TOP / ".git").exists(), reason="not a git checkout")


def copied(folder: Path, names: list[str], mode: int) -> Path:
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(TOP / name, target)
        target.chmod(mode)
    return folder


@pytest.fixture(scope="module")
def names() -> list[str]:
    """What git knows of here, edited or not."""
    found = [name for name in git("ls-files", "-z").decode().split("\0")[:-1] if (TOP / name).exists()]
    assert len(found) > 250
    return found


@pytest.fixture(scope="module")
def made(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution and the wheel."""
    folder = tmp_path_factory.mktemp("built")
    sdist, wheel = build(copied(folder / "source", names, 0o644), folder / "out", time_of("HEAD"))
    return sdist, wheel


def test_two_builds_are_the_same_bytes(made, names, tmp_path):
    """In another folder, with other times and modes of the files, in another order, umask, time zone, language, user and hash seed."""
    source = copied(tmp_path / "another place, ünicode" / "x", names[::-1], 0o600)
    for number, path in enumerate(sorted(source.rglob("*"))):
        os.utime(path, (number * 1e5, number * 1e5))
    elsewhere = {
        "TZ": "Asia/Kathmandu",
        "LC_ALL": "tr_TR.UTF-8",
        "LANG": "tr_TR.UTF-8",
        "PYTHONHASHSEED": "12345",
        "HOME": str(tmp_path),
        "USER": "x",
    }
    again = build(source, tmp_path / "out", time_of("HEAD"), umask=0o077, env=elsewhere)
    assert [path.name for path in again] == [path.name for path in made]
    assert [digest(path) for path in again] == [digest(path) for path in made]


def test_the_wheel_that_is_built_from_the_source_distribution_is_the_same(made, tmp_path):
    """As `pip` and `python -m build` do."""
    sdist, wheel = made
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    (again,) = build(source, tmp_path / "out", time_of("HEAD"), ("wheel",))
    assert digest(again) == digest(wheel)


def test_the_bytes_are_those_of_the_time_that_is_stated(made, names, tmp_path):
    """So the test above compares something, and a rebuild needs the time of the commit."""
    later = build(copied(tmp_path / "source", names, 0o644), tmp_path / "out", time_of("HEAD") + 60)
    assert not {digest(path) for path in later} & {digest(path) for path in made}


def test_the_wheel_holds_the_package_and_nothing_else(made, names):
    sdist, wheel = made
    version = importlib.metadata.version("safepickle-ml")
    about = f"safepickle_ml-{version}.dist-info"
    package = {name for name in names if name.startswith("safepickle/")}
    assert {"safepickle/py.typed", "safepickle/gadgets.toml", "safepickle/packs/sklearn.toml"} <= package
    with zipfile.ZipFile(wheel) as archive:
        held = archive.namelist()
        assert len(held) == len(set(held))
        assert set(held) == package | {f"{about}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")}
        assert {name: archive.read(name) for name in package} == {name: (TOP / name).read_bytes() for name in package}
        assert archive.read(f"{about}/licenses/LICENSE") == (TOP / "LICENSE").read_bytes()
        assert archive.read(f"{about}/entry_points.txt").decode().split() == ["[console_scripts]", "safepickle", "=", "safepickle.cli:program"]
        assert {stat.S_IMODE(each.external_attr >> 16) for each in archive.infolist()} == {0o644}
        for name, recorded, size in csv.reader(io.StringIO(archive.read(f"{about}/RECORD").decode())):
            if name != f"{about}/RECORD":
                data = archive.read(name)
                assert recorded == "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
                assert int(size) == len(data)
        metadata = archive.read(f"{about}/METADATA").decode()
    needed = re.findall(r"^Requires-Dist: (.*)$", metadata, re.MULTILINE)
    assert [each for each in needed if "extra ==" not in each] == ["cryptography>=42"]
    assert wheel.name == f"safepickle_ml-{version}-py3-none-any.whl"
    assert sdist.name == f"safepickle_ml-{version}.tar.gz"


def test_the_source_distribution_holds_what_git_has(made, names):
    sdist, _ = made
    with tarfile.open(sdist) as archive:
        held = {member.name.partition("/")[2]: member for member in archive.getmembers()}
        assert set(held) == {name for name in names if not name.startswith(".ci/")} | {"PKG-INFO"}
        assert all(member.isreg() and not member.uid and not member.gid and not member.uname for member in held.values())
        assert {member.mode for member in held.values()} == {0o644}
        for name in ("pyproject.toml", "safepickle/pickling.py", "tests/test_wheel.py"):
            content = archive.extractfile(held[name])
            assert content is not None
            assert content.read() == (TOP / name).read_bytes()


def test_the_command_builds_what_is_committed_and_prints_digests(tmp_path):
    command = [sys.executable, str(TOP / "tests" / "building.py"), str(tmp_path / "out"), "HEAD"]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    commit = git("rev-parse", "HEAD").decode().strip()
    assert done.stderr.startswith(f"{commit}, hatchling {importlib.metadata.version('hatchling')}, zlib ")
    assert done.stdout.splitlines() == [f"{digest(path)}  {path.name}" for path in sorted((tmp_path / "out").iterdir(), key=lambda each: each.suffix)]
    export("HEAD", tmp_path / "source")
    again = build(tmp_path / "source", tmp_path / "again", time_of("HEAD"))
    assert [f"{digest(path)}  {path.name}" for path in again] == done.stdout.splitlines()
    refused = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "holds other files" in refused.stderr
