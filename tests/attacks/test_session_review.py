"""Attempts on what one session changed: archives that are none for the scan, unsigned containers that are archives, key files, the parsers."""

import io
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable

import pytest

import safepickle
from safepickle import SecretKey, archives, arguments, files, scanning
from safepickle.cli import main

EVIL = b"cos\nsystem\n(S'true'\ntR."
NAME = b"model.pkl"
# Deflated, so that no scan finds the program without taking it out.
PACKED = zlib.compress(EVIL, wbits=-15)


# --- zip archives -----------------------------------------------------------------------------------------------------


def local() -> bytes:
    return struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 0, zlib.crc32(EVIL), len(PACKED), len(EVIL), len(NAME), 0) + NAME + PACKED


def listed(offset: int, *, extra: bytes = b"", comment: int = 0) -> bytes:
    """Return an entry of a central directory, with a comment that is still to come."""
    numbers = (45, 45, 0, 8, 0, 0, zlib.crc32(EVIL), len(PACKED), len(EVIL), len(NAME), len(extra), comment, 0, 0, 0, offset)
    return struct.pack("<4s6H3I5H2I", b"PK\1\2", *numbers) + NAME + extra


def end(count: int, size: int, offset: int, comment: bytes = b"") -> bytes:
    return struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, size, offset, len(comment)) + comment


def long_end(size: int, offset: int) -> bytes:
    return struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, size, offset)


def long_pointer(offset: int) -> bytes:
    return struct.pack("<4sIQI", b"PK\6\7", 0, offset, 1)


def many_that_point_nowhere(begins: int) -> bytes:
    """20,001 entries whose member is not there, before the one whose member is."""
    entries = listed(begins - 5) * 20_001 + listed(begins)
    return local() + entries + end(20_002, len(entries), begins + len(local()))


def two_fields_of_long_values(begins: int) -> bytes:
    """An offset that the first field gives as all ones, whereupon zipfile takes it from the second."""
    entry = listed(0xFFFFFFFF, extra=struct.pack("<2HQ", 1, 8, 0xFFFFFFFF) + struct.pack("<2HQ", 1, 8, begins))
    return local() + entry + end(1, len(entry), begins + len(local()))


def a_long_end_elsewhere(begins: int) -> bytes:
    """A zip64 record that is not right before: zipfile before CVE-2025-8291 does not see it, and counts from the end. The pointer is in a comment."""
    size = len(listed(0)) + 20
    record = begins + len(local())
    offset = record + 56 - 1
    return local() + long_end(size, offset) + listed(begins - 1, comment=20) + long_pointer(record) + end(1, size, offset)


ZIPS: dict[str, Callable[[int], bytes]] = {each.__name__: each for each in (many_that_point_nowhere, two_fields_of_long_values, a_long_end_elsewhere)}
# Those that every zipfile reads; newer ones refuse the last.
READ = (many_that_point_nowhere, two_fields_of_long_values)


def in_container(make: Callable[[int], bytes]) -> bytes:
    """Return an unsigned container, as far as anybody here knows, that is an archive as well."""
    begins = safepickle.dumps([make(1 << 12)], key=SecretKey.generate()).index(b"PK\3\4")
    made = safepickle.dumps([make(begins)], key=SecretKey.generate())
    assert made.index(b"PK\3\4") == begins
    return made


@pytest.mark.parametrize("make", READ, ids=lambda each: each.__name__)
def test_zipfile_reads_the_archives_of_these_attacks(make):
    with zipfile.ZipFile(io.BytesIO(in_container(make))) as archive:
        assert archive.read("model.pkl") == EVIL


@pytest.mark.parametrize("make", ZIPS.values(), ids=ZIPS)
def test_what_some_zipfile_reads_is_an_archive_for_the_scan(make):
    found = scanning.scan(io.BytesIO(b"\0" * 9 + make(9)))
    # So many entries are past the limit.
    assert (found.verdict, found.format) == ("unreadable" if make is many_that_point_nowhere else "hostile", "zip")


def test_a_long_end_behind_the_end_is_where_the_reader_of_torch_looks():
    entry = listed(9)
    before = b"\0" * 9 + local() + entry
    whole = before + long_pointer(len(before) + 20 + 22) + end(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, long_end(len(entry), len(before) - len(entry)))
    assert archives.is_zip(whole)
    assert scanning.scan(io.BytesIO(whole)).verdict == "hostile"


@pytest.mark.parametrize("make", ZIPS.values(), ids=ZIPS)
def test_an_unsigned_container_that_is_such_an_archive_is_refused(tmp_path, capsys, make):
    (tmp_path / "weights").write_bytes(in_container(make))
    assert main(["verify", str(tmp_path), "--structure-only"]) == 1
    assert "it is a zip archive as well" in capsys.readouterr().out


def piped(data: bytes, *command: str) -> "subprocess.CompletedProcess[str]":
    """Run the command with data from a pipe."""
    done = subprocess.run([sys.executable, "-m", "safepickle", *command], input=data, capture_output=True, check=False)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
@pytest.mark.parametrize("path", ["-", "/dev/stdin"])
def test_what_comes_through_a_pipe_is_no_exception(path):
    plain = safepickle.dumps([1], key=SecretKey.generate())
    assert piped(plain, "verify", path, "--structure-only").returncode == 0
    done = piped(in_container(two_fields_of_long_values), "verify", path, "--structure-only")
    assert done.returncode == 1
    assert "it is a zip archive as well" in done.stdout


# --- key files, and the parsers of commands ---------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs links and pipes with names")
@pytest.mark.parametrize("nameless", [True, False], ids=["without a name first", "in its place"])
def test_a_new_file_takes_the_place_of_nothing(tmp_path, monkeypatch, nameless):
    if not nameless:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    monkeypatch.chdir(tmp_path)
    os.symlink("elsewhere", "link")
    os.mkfifo("pipe")
    os.mkdir("folder")
    files.create("file", b"first", 0o600)
    before = sorted(os.listdir())
    for name in ("link", "pipe", "folder", "file"):
        with pytest.raises(FileExistsError) as caught:
            files.create(name, b"second", 0o644)
        assert caught.value.filename == name
    for name in ("", "folder/", "no/file", "n" * 300):
        with pytest.raises(OSError, match=r"Errno") as refused:
            files.create(name, b"second", 0o644)
        assert refused.value.filename == name
    assert (sorted(os.listdir()), os.listdir("folder")) == (before, [])
    with open("file", "rb") as file:
        assert file.read() == b"first"


@pytest.mark.parametrize(
    "said",
    [
        "verify --str x",
        "verify --format",
        "verify -- --key",
        "-- verify x",
        "--version verify",
        "--vers",
        "ver x",
        "pins",
        "pins check",
        "pins -- check x --pins p",
        "policy suggest",
        "scan scan",
        "keygen verify",
        "sign --drop x",
        "resign --drop-unverified x",
        "",
    ],
)
def test_the_parser_of_one_command_says_what_that_of_all_says(said, capsys):
    def outcome(parser):
        try:
            found = vars(parser.parse_args(said.split()))
        except SystemExit as done:
            found = done.code
        return found, capsys.readouterr()

    assert outcome(arguments.parser(*said.split()[:1])) == outcome(arguments.parser())
