"""DESIGN.md section 10, promise 5: killed or failing at any system call, what writes a file leaves the old one or the new one, whole.

strace makes a call fail, or kills the process as it enters the call; so a kill at each call is a kill between any two. A call that is
killed or refused did nothing. `pytest -rP` shows how many faults there were.
"""

from __future__ import annotations

import os
import re
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faults import EVERYTHING
from faults.injecting import CHANGING, CODES, READING, ROOM, Call, Server, calls, works
from faults.operations import OPERATIONS

pytestmark = pytest.mark.skipif(not works(), reason="strace is not here, or may not trace")
SELDOM = {
    "dump of a large new file",
    "dump that compresses a large file",
    "sign of a large file",
    "resign of a compressed file",
    "pins update",
    "convert of a folder",
}
"""Operations whose faults, unless all is run, are those of others that are run."""
OFTEN = [name for name in OPERATIONS if EVERYTHING or name not in SELDOM]
COMMANDS = {"pins update", "lock", "verify that writes a report", "convert of a folder", "keygen"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    # In memory where that is, so that waiting for a disk is no part of it.
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder, Server(Path(folder)) as made:
        yield made


def recorded(server: Server, name: str) -> list[Call]:
    """The system calls of an operation in which nothing fails."""
    answer = server.run(name)
    assert (answer["code"], answer["state before"], answer["state"], answer["left"]) == (0, "old", "new", []), answer
    return calls(answer["log"])


def thinned(found: list[Call], name: str) -> list[Call]:
    """The first and the last of calls of one name in a row, about the files of the operation; what reads is not a command's concern."""
    if EVERYTHING:
        return found
    shown = [each for each in found if "/place" in each.text and (each.name in CHANGING or name not in COMMANDS)]
    edges = zip([None, *shown], shown, [*shown[1:], None], strict=False)
    return [each for before, each, after in edges if not before or not after or not before.name == each.name == after.name]


def kills(found: list[Call], name: str) -> Iterator[tuple[Call, str]]:
    for each in thinned(found, name):
        if EVERYTHING or each.name in CHANGING:
            yield each, f"{each.name}:signal=KILL:when={each.number}"


def errors(found: list[Call], name: str) -> Iterator[tuple[Call, str]]:
    """A broken disk, a full one that stays full, and an interrupt; unless all is run, one of them for each call, in turn."""
    for number, each in enumerate(thinned(found, name)):
        if each.name not in CHANGING and each.name not in READING:
            if EVERYTHING and each.name in ("clone", "clone3"):
                yield each, f"{each.name}:error=EAGAIN:when={each.number}"
            continue
        if each.name == "lseek" and "/said>" in each.text:
            # What asks where standard output stands, before a command begins, is not within what it catches.
            continue
        faults = [f"{each.name}:error=EIO:when={each.number}", f"{each.name}:error=EINTR:when={each.number}"]
        if each.name in ROOM:
            # A command also writes to the terminal, and there it must be able to say so.
            faults.append(f"{each.name}:error=ENOSPC:when={each.number}{'' if name in COMMANDS else '+'}")
        for fault in faults if EVERYTHING else [faults[number % len(faults)]]:
            yield each, fault


def misplaced(answer: dict[str, Any], name: str) -> list[str]:
    """What stands in the folder and should not."""
    return [each for each in answer["files"] if each not in {*answer["before"], *OPERATIONS[name].targets, *answer["left"]}]


def wrong_after_a_kill(answer: dict[str, Any], name: str) -> str:
    if answer["code"] == 0:
        return "" if answer["state"] == "new" else "it was not killed, and is not new"
    if answer["code"] != -signal.SIGKILL or misplaced(answer, name) or len(answer["left"]) > 1:
        return "another end, or more files"
    if answer["state"] not in ("old", "new"):
        return "neither old nor new"
    if not OPERATIONS[name].replaces:
        # A key that is there is not overwritten by the next attempt.
        return "files are left" if answer["left"] else ""
    again = answer["again"] if "FileExistsError" not in answer["again"] else answer["state"]
    return "" if again == "new" and answer["left again"] == answer["left"] else "the next attempt stumbles"


def wrong_after_an_error(answer: dict[str, Any], name: str) -> str:
    allowed = ("done", "exit 1", "exit 2") if name in COMMANDS else ("done", "OSError", "SafePickleError")
    if answer["code"] not in [CODES[each] for each in allowed] or "Traceback" in answer["said"]:
        return "an error that is none of those that are documented"
    if answer["left"] or misplaced(answer, name):
        return "files are left"
    if answer["state"] not in ("old", "new"):
        return "neither old nor new"
    return "it is done, and not new" if answer["code"] == 0 and answer["state"] != "new" else ""


@pytest.mark.parametrize("name", OFTEN)
def test_killed_at_every_system_call_leaves_the_old_file_or_the_new_one(name: str, server: Server) -> None:
    found, seen, wrong = recorded(server, name), Counter[str](), []
    for call, fault in kills(found, name):
        answer = server.run(name, fault, follow=call.worker)
        seen[answer["state"] if answer["code"] else "missed"] += 1
        if problem := wrong_after_a_kill(answer, name):
            wrong.append(f"{problem}: {fault} at {call.text}: { {key: answer[key] for key in answer if key != 'log'} }")
    assert not wrong, "\n".join(wrong)
    print(f"kills at system calls of {name}: {dict(seen)}")
    assert seen["old"] >= (5 if OPERATIONS[name].replaces else 1)
    assert seen["new"] >= 1
    assert seen["missed"] <= seen.total() // 20, "what is counted is not what is done"


@pytest.mark.parametrize("name", OFTEN)
def test_an_error_of_any_system_call_leaves_the_old_file_or_the_new_one_and_no_other(name: str, server: Server) -> None:
    found, seen, wrong = recorded(server, name), Counter[str](), []
    kinds = Counter[str]()
    for call, fault in errors(found, name):
        answer = server.run(name, fault, follow=call.worker)
        seen[answer["state"] if answer["log"] else "missed"] += 1
        kinds[re.findall(r"error=(\w+)", fault)[0]] += 1
        if problem := wrong_after_an_error(answer, name):
            wrong.append(f"{problem}: {fault} at {call.text}: {answer}")
    assert not wrong, "\n".join(wrong)
    print(f"errors of system calls of {name}: {dict(seen)}, {dict(kinds)}")
    assert seen["old"] >= (3 if OPERATIONS[name].replaces else 1)
    assert seen["missed"] <= seen.total() // 20, "what is counted is not what is done"


# --- what a loss of power leaves -------------------------------------------------------------------------------

_RENAME = re.compile(r'renameat2?\(\d+<(?P<folder>[^>]+)>, "(?P<old>[^"]+)", \d+<(?P=folder)>, "(?P<new>[^"]+)"')


@pytest.mark.parametrize("name", [name for name, each in OPERATIONS.items() if each.replaces])
def test_what_is_renamed_is_on_the_disk_before_and_the_folder_after(name: str, server: Server) -> None:
    """All that changes the new file, then its fsync, then the rename, then the fsync of the folder: else a loss of power could leave an empty one."""
    found = recorded(server, name)
    texts = [each.text for each in found]
    renames = [(number, match) for number, text in enumerate(texts) if (match := _RENAME.match(text))]
    assert len(renames) == (2 if name == "convert of a folder" else 1)
    for number, match in renames:
        temporary = f"<{match['folder']}/{match['old']}>"
        changes = [
            at
            for at, each in enumerate(found)
            if temporary in each.text and each.name in {*CHANGING} - {"openat", "close", "fsync"} and not each.name.startswith("rename")
        ]
        synced = [at for at, each in enumerate(found) if each.name == "fsync" and temporary in each.text]
        folder = [at for at, each in enumerate(found) if each.name == "fsync" and f"<{match['folder']}>" in each.text and at > number]
        assert changes, "nothing was written"
        assert max(changes) < max(synced) < number < min(folder), texts
        assert all(text.rstrip().endswith("= 0") or "unfinished" in text for at, text in enumerate(texts) if at in {*synced, *folder})


def test_a_new_key_is_on_the_disk_before_it_is_told(server: Server) -> None:
    found = recorded(server, "keygen")
    for target in OPERATIONS["keygen"].targets:
        linked = next(at for at, each in enumerate(found) if each.name == "linkat" and f'"{target}"' in each.text)
        # Until then it has no name, and one file is made after the other.
        before = max((at for at in range(linked) if found[at].name == "linkat"), default=-1)
        written = [at for at in range(before + 1, linked) if found[at].name == "write" and "/#" in found[at].text]
        synced = [at for at in range(before + 1, linked) if found[at].name == "fsync" and "/#" in found[at].text]
        folder = [at for at in range(linked, len(found)) if found[at].name == "fsync"]
        assert written
        assert max(written) < max(synced) < linked < min(folder)
