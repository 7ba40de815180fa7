"""What is in a file that nobody signed: `scan` finds the pickle programs in it and says what they would do. It executes nothing.

A file is recognised by its content. What it is taken for is not exclusive: a zip archive behind a pickle is read as both. Whatever
cannot be read whole is a finding, never a pass. Each program is run on abstract values (`translating`), said again in
strict form, and judged by the policy; the table of known gadgets only makes the verdict more telling.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import heapq
import io
import json
import re
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from . import archives, container, gadgets, npy
from .container import File
from .errors import FormatError, LimitError, PolicyError, ProgramError, SafePickleError, elided
from .findings import VERDICTS, Finding, Program, Report
from .legacy import Computed, Deed, Extension, Persistent, attempt
from .machine import ByteArray, Dict, FrozenSet, Global, Limits, List, Set, trace
from .policy import STATES, Allow, Policy, admit, chosen
from .translating import LEAST_PROGRAM, TRANSLATED, Translation, translate, translate_array

__all__ = ["VERDICTS", "Finding", "Program", "Report", "explained", "scan"]

# What a program begins with from protocol 2 on.
_PROTO: Final = re.compile(rb"\x80[\x02-\x05]")
# What a program of protocol 0 or 1 cannot do without, if it is to do anything: a name in two lines. This is where the first one ends;
# it begins in each `c` or `i` of what stands there, so what comes before it hides none.
_NAME_LINES: Final = re.compile(rb"\n(?=[A-Za-z_][\w.]*+\n)")
_LINE_OPERATIONS: Final = re.compile(rb"[ci](?=[A-Za-z_])")
_WORD: Final = b"._0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LONGEST_NAME: Final = 257
_INST: Final = ord("i")
# Or a name of two texts, the later opcode for which no program needs to say its protocol. This is where a text begins that may be the first.
_STACK_GLOBAL: Final = b"\x93"
_TEXT: Final = re.compile(
    rb"[\x8c\x8dSTUVX](?:(?<=[\x8cU])[^\0]|(?<=\x8d)[^\0]\0{7}|(?<=[XT])[^\0]\0{3}|(?<=V)(?=[^\n]{1,1600}\n)|(?<=S)(?=[^\n]{1,1600}\n)['\"])[A-Za-z_\\]",
    re.DOTALL,
)
# Programs as text: whatever they begin with, at whatever place of a run of such characters, over several lines as in mail or escaped in JSON.
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_-]{4,}+(?:(?:\r?\n|\\r\\n|\\n)[A-Za-z0-9+/_-]{4,}+)*+")
# To find out fast that there are none: B for what they consist of, N for a line end.
_KINDS: Final = bytes(
    0x4E if each == 10 else 0x42 if chr(each).isascii() and (chr(each).isalnum() or chr(each) in "+/_-") else 0 for each in range(256)
)
_KINDS_AT_ONCE: Final = 1 << 20
_BREAKS: Final = re.compile(rb"\\r|\\n|[\r\n]")
_LEAST_TEXT: Final = 16
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_HEXADECIMAL: Final = re.compile(rb"[0-9a-fA-F]{24,}+")
# So much of such numbers shows whether they may be a program, unless it breaks off for want of more.
_WIDE_HEAD: Final = 1 << 12
_CUT: Final = re.compile("follow|without STOP|none ends|operation_bytes")
_LATIN1: Final = re.compile(rb"\xc2[\x80\x93]")
_WIDE: Final = re.compile(rb"\x80(\x00|\x00{3}|\x00{7})[\x02-\x05]\1[^\x00]\1")
# As many places of a file are tried as candidates for a program as cost this many times its bytes, and a MiB.
_TRIES: Final = 16
# What comes out of archives counts as well, up to this many times the file.
_TRIES_UNPACKED: Final = 4
_CHEAP: Final = 64
_FREE_TRIES: Final = 1 << 20
_ARGUMENT: Final = re.compile(r"@([\w.]+):([\w.]+)")
_MODULE: Final = re.compile(r"[^\W\d][\w-]*(?:\.[^\W\d][\w-]*)*")
_SHOWN: Final = 50
_AT: Final = re.compile(r"at byte (\d+) of the program: ")
_PICKLE_SUFFIXES: Final = (".pkl", ".pickle", ".joblib", ".p", ".pck", ".pcl", ".skops", ".npy", ".npz", ".pt", ".pth", ".ckpt", ".spkl")
_TORCH_MAGIC: Final = 0x1950A86A20F9469CFC6C


def scan(file: File, *, policy: Policy | None = None, allow: Allow = (), limits: Limits | None = None) -> Report:
    """Return what is in `file`, a path or binary file object, and what it would do if it were loaded. Nothing of it is executed or imported.

    "signed" means a safepickle container that is whole and whose program the policy admits; nobody has checked its signatures: that is
    what `verify` and `load` do. "within policy" means that everything that the programs in the file do is allowed, so `adopt`
    will build it, if the state of its arrays is sane. What is wrong with a file is in the report. Raises `OSError` if the
    file cannot be read, `PolicyError` and `TypeError` for a policy or an `allow` that cannot be used.
    """
    limits = limits or Limits()
    allowed = chosen(policy, allow)
    name = str(getattr(file, "name", file)) if not isinstance(file, (bytes, bytearray, memoryview)) else ""
    try:
        data = container.read_whole(file, limits.body_bytes)
    except LimitError as error:
        finding = Finding("unreadable", "limit", "", None, str(error))
        return Report("unreadable", "unknown", 0, "", (finding,), ())
    scanner = _Scanner(allowed, limits, data)
    scanner.run(data, name)
    return scanner.report(data)


def explained(file: File, *, limits: Limits | None = None) -> Iterator[str]:
    """Yield what the programs in a file do, step by step, as text for people. Nothing is executed. Raises `OSError`."""
    from .explaining import explain

    limits = limits or Limits()
    data = container.read_whole(file, limits.body_bytes)
    scanner = _Scanner(Policy.default(), limits, data)
    scanner.run(data, "")
    if not scanner.traced:
        yield f"There is no pickle program in this file: {scanner.report(data).format}."
    for where, offset, found in scanner.traced:
        yield f"Program at byte {offset}{f' of {where}' if where else ''}:"
        yield from explain(found.trace, found.error)
        yield ""


@dataclass(frozen=True, slots=True)
class _Piece:
    where: str
    data: bytes
    depth: int
    behind: bool = False
    """Whether it is what follows something else, of which there is a finding already."""
    name: str = ""
    """What it is called, if anything."""
    within: tuple[str, ...] | None = ()
    """The compressions that were taken off to get it from the whole file, or None if it is a part of that."""


class _Scanner:
    """One scan: pieces of the file that are still to be looked at, and what was found."""

    def __init__(self, policy: Policy, limits: Limits, data: bytes) -> None:
        self.policy = policy
        self.values = policy.values()
        self.limits = limits
        self.budget = archives.Budget(limits, len(data))
        self.tries_left = _FREE_TRIES + _TRIES * len(data)
        self.tries_more = _TRIES * _TRIES_UNPACKED * len(data)
        self.findings: list[Finding] = []
        self.programs: list[Program] = []
        self.traced: list[tuple[str, int, Translation]] = []
        self.signed = 0
        self.format: list[str] = []
        self.packages = {name[0].partition(".")[0] for name in policy.rules} | sys.stdlib_module_names

    def report(self, data: bytes) -> Report:
        """Return the result: the worst of everything."""
        verdicts = [each.verdict for each in self.findings] + [each.verdict for each in self.programs]
        verdicts += ["signed"] * bool(self.signed)
        worst = max(verdicts, key=VERDICTS.index, default="not a pickle")
        kinds = ", ".join(self.format) or "unknown"
        return Report(worst, kinds, len(data), hashlib.sha256(data).hexdigest(), tuple(self.findings), tuple(self.programs))

    def find(self, verdict: str, rule: str, where: str, offset: int | None, message: str, name: str = "", advisory: str = "") -> None:
        self.findings.append(Finding(verdict, rule, where, offset, message, name, advisory))

    def run(self, data: bytes, name: str) -> None:
        """Look at the file, and at whatever is in it."""
        work = deque([_Piece("", data, 0, name=name)])
        while work:
            piece = work.popleft()
            try:
                work.extend(self.piece(piece))
            except LimitError as error:
                self.find("unreadable", "limit", piece.where, None, str(error))
            except (MemoryError, RecursionError) as error:
                self.find("unreadable", "limit", piece.where, None, f"looking at this takes more than is there ({type(error).__name__})")
            except SafePickleError as error:
                self.find("unreadable", "broken-program", piece.where, None, str(error))
            except Exception as error:  # noqa: BLE001 - a scanner that dies lets the file pass where its exit code is not looked at
                self.find("unreadable", "unknown-content", piece.where, None, f"{type(error).__name__} while it was read: {ascii(str(error))[:200]}")
        if not data:
            self.format.append("empty")

    def piece(self, piece: _Piece) -> Iterator[_Piece]:
        """Look at one piece in every way in which somebody may read it, and yield what is within it."""
        data, where = piece.data, piece.where
        if not data:
            return
        if data.startswith(container.MAGIC):
            self.kind(piece, "safepickle container")
            self.container(piece)
            # Whoever reads archives from their end, or by a checksum, does not mind what it begins with.
            for reading in archives.unpack(data, self.budget):
                yield from self.archive(piece, reading)
            return
        known = False
        for reading in archives.unpack(data, self.budget):
            known = True
            yield from self.archive(piece, reading)
        if data.startswith(npy.MAGIC):
            known = True
            yield from self.array(piece)
        end = self.programs_in_a_row(piece, recognised=known)
        if end == len(data) or (known and not end):
            return
        if end:
            self.find("unreadable", "trailing-data", where, end, f"{len(data) - end} bytes follow the last program")
            yield _Piece(f"{where}[{end}:]", data[end:], piece.depth, behind=True, within=None)
        else:
            self.search(piece)

    def kind(self, piece: _Piece, name: str) -> None:
        """Note what the file is, once it is known."""
        if piece.within:
            self.format = [name, *(f"{each}-compressed" for each in reversed(piece.within))]
        elif piece.within is not None:
            self.format.append(name)

    # --- what is not a bare pickle ------------------------------------------------------------------------------------

    def container(self, piece: _Piece) -> None:
        """A container of our own, as somebody without a key sees it."""
        try:
            _, program, buffers = container.unverified(
                io.BytesIO(piece.data), max_body_bytes=self.limits.body_bytes, max_expansion=self.limits.expansion
            )
        except LimitError:
            raise
        except SafePickleError as error:
            self.find("unreadable", "container", piece.where, None, f"the safepickle container is not whole: {error}")
            return
        found = self.attempt(program, 0)
        try:
            admit(trace(program, buffers=buffers, limits=self.limits), self.policy)
            self.signed += 1
        except SafePickleError as error:
            if not self.names(piece.where, found, 0) or not isinstance(error, PolicyError):
                self.find("outside policy", "not-as-written", piece.where, None, f"the program of the container: {error}")
        self.constants(piece.where, found)
        for number, buffer in enumerate(buffers):
            content = bytes(buffer)
            self.inside(f"{piece.where}[buffer {number}]", content, 0, len(content))

    def archive(self, piece: _Piece, reading: archives.Unpacked) -> Iterator[_Piece]:
        """The members of an archive, or what a compressed stream holds."""
        self.kind(piece, f"{reading.format}-compressed" if reading.compression else reading.format)
        for begin, end in reading.between:
            self.inside(piece.where, piece.data, begin, end)
        for fault in reading.faults:
            self.find("unreadable", fault.rule, piece.where, fault.offset, fault.what)
        self.budget.nested(piece.depth + 1)
        for member in reading.members:
            more = min(self.tries_more, _TRIES * len(member.data))
            self.tries_more -= more
            self.tries_left += more
            if reading.format == "zip" and member.name == "schema.json":
                self.schema(f"{piece.where}!{member.name}", member.data)
            name = member.name or (piece.name if reading.compression else "")
            whole = piece.within is not None and reading.compression and not member.name
            within = (*(piece.within or ()), reading.format) if whole else None
            yield _Piece(f"{piece.where}!{member.name or reading.format}", member.data, piece.depth + 1, name=name, within=within)

    def array(self, piece: _Piece) -> Iterator[_Piece]:
        """A `.npy` file: with objects there is a pickle in place of the data."""
        self.kind(piece, "npy")
        try:
            described = npy.header(piece.data)
        except FormatError as error:
            self.find("unreadable", "archive", piece.where, 0, str(error))
            self.search(piece)
            return
        if described.objects:
            yield _Piece(f"{piece.where}[{described.end}:]", piece.data[described.end :], piece.depth, within=None)
            return
        self.inside(piece.where, piece.data, described.end, len(piece.data))
        if described.descr:
            found = translate_array(piece.data, limits=self.limits)
            try:
                admit(trace(found.restated(), buffers=found.buffers, limits=self.limits), self.policy)
            except PolicyError as error:
                self.find("unreadable", "archive", piece.where, described.end, f"the array is not as its header says: {_reason(error)}")

    def schema(self, where: str, data: bytes) -> None:
        """The schema of a skops file, whose reader imports what it names and calls methods that it names (CVE-2025-54412, -54413)."""
        try:
            nodes: list[Any] = [json.loads(data)]
        except (ValueError, RecursionError):
            self.find("unreadable", "archive", where, None, "the schema of the skops file is not JSON")
            return
        seen = set()
        while nodes:
            node = nodes.pop()
            if isinstance(node, list):
                nodes += node
            elif isinstance(node, dict):
                nodes += node.values()
                module, name = node.get("__module__"), node.get("__class__")
                if isinstance(module, str) and isinstance(name, str) and (module, name) not in seen:
                    seen.add((module, name))
                    self.unruled(where, None, module, name)

    # --- programs -----------------------------------------------------------------------------------------------------

    def programs_in_a_row(self, piece: _Piece, *, recognised: bool) -> int:
        """Judge the programs that a reader who begins at the beginning would run, and return where the last one ends, or 0."""
        data, at = piece.data, 0
        begun = False
        while at < len(data):
            found = self.attempt(data, at)
            if not self.plausible(found, at, len(data), recognised=recognised or bool(at)):
                if begun or found.error is not None:
                    return at if begun else 0
                # A program that does nothing, or a few bytes of text that look like one: who reads several in a row goes on behind it.
                self.spend(found.trace.end - at)
                at = found.trace.end
                continue
            if not begun:
                self.kind(piece, "joblib" if found.joblib else "torch" if found.trace.root == _TORCH_MAGIC else "pickle")
                begun = True
            self.judge(piece.where, found, at)
            if found.error is not None:
                # Where it broke off nothing tells what the rest is; it may hold programs.
                self.inside(piece.where, data, found.trace.end, len(data))
                return len(data)
            at = found.trace.end
        return at if begun else 0

    def attempt(self, data: bytes, at: int, *, marked: bool = False, padding: bool = True) -> Translation:
        return translate(data, limits=self.limits, start=at, names=self.values, marked=marked, padding=padding)

    def spend(self, size: int) -> None:
        """Count the bytes of an attempt. Raises `LimitError` before the next one if there were too many."""
        if self.tries_left <= 0:
            raise LimitError("too many places of the file look like the beginning of a program")
        self.tries_left -= size + 64

    def plausible(self, found: Translation, at: int, size: int, *, recognised: bool) -> bool:
        """Tell whether something that runs as a program is one, or is text or an archive that happens to begin like one."""
        does = [
            deed
            for deed in found.trace.deeds
            if deed.kind not in ("name", "hash", "persistent") and not (deed.kind == "build" and deed.given is None)
        ]
        announced = found.trace.data[at : at + 1] == b"\x80" and at + 1 < size and found.trace.data[at + 1] <= 5
        if isinstance(found.error, LimitError):
            # The first line of a table may begin like a name. CPython would import it, but no module has a name of that length.
            return bool(does) or announced or "`name_length`" not in str(found.error)
        if found.error is None:
            whole = found.trace.end == size and not recognised
            return bool(found.trace.deeds) or announced or whole
        if does or (announced and not recognised):
            return True
        return any(self.there(name) for name in found.trace.globals)

    def there(self, name: Global) -> bool:
        """Tell whether a name is one that is known here, rather than two words of a list such as "cos" and "tan"."""
        if name.module.partition(".")[0] not in self.packages:
            return gadgets.listed(*name.key) or gadgets.known(name.module, "") is not None
        module = sys.modules.get(name.module)
        return module is None or name.name.partition(".")[0] in vars(module)

    def judge(self, where: str, found: Translation, at: int, rule: str = "") -> None:
        """Say what a program does, and enter it."""
        before = len(self.findings)
        self.traced.append((where, at, found))
        named = self.names(where, found, at)
        if found.apart is not None:
            self.read_plainly(where, found, at, found.apart[0], pickled=found.apart[1])
        if found.error is not None:
            offset, what = _located(found.error)
            limit = isinstance(found.error, LimitError)
            done = " What stands before that is done by then." if found.trace.deeds else ""
            message = f"the program breaks off: {what}.{done}" if not limit else what
            self.find("unreadable", "limit" if limit else rule or "broken-program", where, offset, message)
        else:
            try:
                admit(trace(found.restated(), buffers=found.buffers, limits=self.limits), self.policy)
            except LimitError as error:
                self.find("unreadable", "limit", where, None, str(error))
            except PolicyError as error:
                self.refusals(where, error, already=named)
            except ProgramError as error:
                if not named:
                    offset, what = _located(error)
                    self.find("outside policy", rule or "not-as-written", where, offset, f"no pickler writes this: {what}")
        self.older(where, found, at)
        verdict = max((each.verdict for each in self.findings[before:]), key=VERDICTS.index, default="within policy")
        names = tuple(_shown(name.module, name.name) for name in found.trace.globals)
        self.programs.append(Program(where, at, found.trace.end, found.trace.protocol, "joblib" if found.joblib else "pickle", names, verdict))
        self.constants(where, found)

    def older(self, where: str, found: Translation, at: int) -> None:
        """Tell if joblib below 1.2, which knows no padding and so ends each array earlier, would take the end of one for a program."""
        if found.padded is None:
            return
        same = {(deed.kind, deed.at, _key(deed)) for deed in found.trace.deeds}
        other = self.attempt(found.trace.data, at, padding=False)
        for deed in other.trace.deeds:
            # What the bytes of an array may be by chance is no such deed, or one of what is no name.
            if deed.at < found.padded or (deed.kind, deed.at, _key(deed)) in same:
                continue
            named = deed.result if deed.kind == "name" else deed.target if deed.kind in ("call", "new", "instance") else None
            # A name of two texts does not come about by chance, whatever package it is of.
            if type(named) is Global:
                self.find("outside policy", "not-as-written", where, deed.at, "joblib below 1.2 runs this, which it takes for no part of an array")
                self.names(where, other, at)
                return

    def constants(self, where: str, found: Translation) -> None:
        """Look into texts and bytes of a program: nobody's programs, until somebody makes them one."""
        for begin, end in found.constants:
            self.inside(where, found.trace.data, begin, end)
        for text in found.texts:
            content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
            self.inside(where, content, 0, len(content))

    def names(self, where: str, found: Translation, at: int) -> bool:
        """Tell of every name that the policy does not have, also of those that are imported and then dropped; return whether there were any."""
        before = len(self.findings)
        for name in found.trace.globals:
            if name.key not in TRANSLATED:
                self.unruled(where, name.at, *name.key)
        for deed in found.trace.deeds:
            rule, what = _unresolved(deed)
            if rule:
                self.find("outside policy", rule, where, deed.at, what)
            if len(self.findings) - before > _SHOWN:
                break
        return len(self.findings) > before

    def read_plainly(self, where: str, found: Translation, at: int, apart: int, *, pickled: bool) -> None:
        """Tell what a file of joblib does if `pickle.load` reads it: that takes the memory of the first array for operations.

        What joblib writes there is none, or breaks off at once. Objects are a pickle, which then finds the memo of the file instead of its
        own: it does as it would alone, but may ask for a name in some text that happens to stand there and is no module.
        """
        data = found.trace.data
        alone = attempt(data, limits=self.limits, start=apart)[0].deeds if pickled else ()
        deeds = [deed for deed in attempt(data, limits=self.limits, start=at)[0].deeds if deed.at >= apart]
        seen: set[tuple[int, int]] = set()
        missed = False
        for number, deed in enumerate(deeds):
            if number < len(alone) and _same_deed(deed, alone[number], seen):
                continue
            if number < len(alone) and self.misses(deed, alone[number], seen):
                missed = True
                continue
            if missed and deed.kind in ("build", "append", "setitem", "add"):
                # It is not likely to come so far, and texts that stand there twice are others than the pickle means.
                continue
            if deed.kind in ("persistent", "extension") or type(deed.result) is Computed:
                # There it breaks off.
                return
            before = len(self.findings)
            if type(deed.result) is Global:
                self.unruled(where, deed.at, *deed.result.key)
            elif deed.kind != "hash":
                what = f"an array of joblib is a program for whoever reads the file with pickle: {deed.opcode} there does what no rule has judged"
                self.find("outside policy", "two-readings", where, deed.at, what)
            if len(self.findings) > before:
                return

    def misses(self, deed: Deed, alone: Deed, seen: set[tuple[int, int]]) -> bool:
        """Tell whether both look up the same name, the one of them in what is no module; from then on it counts as the other."""
        one, other = deed.result, alone.result
        if type(one) is not Global or type(other) is not Global or (deed.at, one.name) != (alone.at, other.name):
            return False
        if one.module.partition(".")[0] in self.packages or gadgets.known(*one.key) is not None:
            return False
        seen.add((id(one), id(other)))
        return True

    def unruled(self, where: str, at: int | None, module: str, name: str) -> None:
        """Tell of a name, unless the policy has it: as a rule, or as an argument that a rule names."""
        canonical = self.policy.canonical((module, name))
        if canonical in self.policy.rules or canonical in self.arguments:
            return
        gadget = gadgets.known(module, name)
        shown = _shown(module, name)
        if gadget is not None:
            self.find("hostile", "hostile-name", where, at, f"{shown} {gadget.what}", shown, gadget.advisory)
        else:
            self.find("outside policy", "outside-policy", where, at, f"{shown} is in no rule of the policy", shown)

    @functools.cached_property
    def arguments(self) -> set[tuple[str, str]]:
        rules = self.policy.rules.values()
        found = {match for rule in rules for part in (*rule.args, *rule.state) if part not in STATES for match in _ARGUMENT.findall(str(part))}
        return {self.policy.canonical(each) for each in found}

    def refusals(self, where: str, error: PolicyError, *, already: bool) -> None:
        """Tell of what the policy refuses of names that it has."""
        lines = [line for line in error.refusals if not (already and line.endswith("no rule names it"))]
        for line in lines[:_SHOWN]:
            self.find("outside policy", "outside-policy", where, None, line)
        if not lines and not already:
            self.find("outside policy", "outside-policy", where, None, str(error).partition("\n")[0])

    # --- programs within something else -------------------------------------------------------------------------------

    def search(self, piece: _Piece) -> None:
        """Look for programs in what is nothing that is known. If there is one, something stands before it."""
        before = len(self.programs)
        self.inside(piece.where, piece.data, 0, len(piece.data))
        if len(self.programs) > before and not piece.behind:
            at = self.programs[before].offset
            self.find("unreadable", "unknown-content", piece.where, 0, f"{at} bytes that are nothing that is known stand before a program")
        elif len(self.programs) == before and piece.name.lower().endswith(_PICKLE_SUFFIXES):
            self.find("unreadable", "unknown-content", piece.where, 0, "it is called as a model is, and its content is nothing that is known")

    def inside(self, where: str, data: bytes, begin: int, end: int) -> None:
        """Judge the programs that begin anywhere within a stretch of bytes, and those that are written there as text or numbers."""
        if end - begin < LEAST_PROGRAM:
            return
        spelled = _is_spelled(data, begin, end)
        if not (
            spelled
            or any(form.search(data, begin, end) for form in (_PROTO, _NAME_LINES, _WIDE, _LATIN1))
            or (data.find(_STACK_GLOBAL, begin, end) >= 0 and _TEXT.search(data, begin, end))
        ):
            return
        content = data[begin:end]
        if len(content) < len(data):
            where = f"{where}[{begin}:{end}]"
        done = 0
        for at in heapq.merge((0,), _starts(_PROTO, content), _named_in_lines(content), _named_in_texts(content)):
            if at >= done:
                done = self.candidate(where, content, at)
        for match in _BASE64.finditer(content) if spelled else ():
            self.spelled(where, match)
        for match in _WIDE.finditer(content):
            # Numbers of two, four or eight bytes each, of which only the lowest is used.
            step = len(match[1]) + 1
            begun = self.attempt(content[match.start() : match.start() + step * _WIDE_HEAD : step], 0)
            if begun.error is None or begun.trace.globals or _CUT.search(str(begun.error)):
                self.spend((len(content) - match.start()) // step // 8)
                self.candidate(f"{where}[{match.start()}::{step}]", content[match.start() :: step], 0)
            else:
                self.spend(begun.trace.end)
        if _LATIN1.search(content):
            # Bytes that were decoded as latin1 and are stored as UTF-8.
            with contextlib.suppress(UnicodeError):
                self.inside(f"{where}!latin1", (text := content.decode("utf-8").encode("latin-1")), 0, len(text))

    def spelled(self, where: str, match: re.Match[bytes]) -> None:
        """Judge the programs that a run of characters spells in base64 or hexadecimal, wherever in it they begin."""
        if len(match[0]) < _LEAST_TEXT:
            return
        text = _BREAKS.sub(b"", match[0]).translate(_URL_SAFE)
        for skip in range(4):
            # One digit beyond whole groups says nothing.
            part = text[skip : len(text) - ((len(text) - skip) % 4 == 1)]
            self.decoded(f"{where}[{match.start() + skip}:{match.end()}]!base64", base64.b64decode(part + b"=" * (-len(part) % 4)))
        for digits in _HEXADECIMAL.finditer(_BREAKS.sub(b"", match[0])):
            for skip in (0, 1):
                part = digits[0][skip : len(digits[0]) - (len(digits[0]) - skip) % 2]
                self.decoded(f"{where}[{match.start()}:{match.end()}]!hexadecimal", bytes.fromhex(part.decode("ascii")))

    def decoded(self, where: str, content: bytes) -> None:
        self.spend(len(content) // 8)
        self.inside(where, content, 0, len(content))

    def candidate(self, where: str, data: bytes, at: int) -> int:
        """Judge what begins at a place if it is a program that does something; return where that ends, or 0."""
        if len(data) - at < LEAST_PROGRAM:
            return 0
        marked = data[at] == _INST
        found = self.attempt(data, at, marked=marked)
        # What is skipped as one constant costs next to nothing.
        skipped = sum(end - begin for begin, end in found.constants if end - begin >= _CHEAP)
        self.spend(found.trace.end - at - skipped + skipped // _CHEAP + 16 * len(found.trace.deeds))
        if not self.acts(found, at, marked=marked):
            return 0
        before = len(self.findings)
        self.judge(where, found, at, "nested-program" if found.error is None else "")
        if len(self.findings) == before:
            # It is within the policy, wherever it stands.
            self.programs.pop()
            self.traced.pop()
        return found.trace.end

    def acts(self, found: Translation, at: int, *, marked: bool) -> bool:
        """Tell whether what was found by chance does something, rather than being a few bytes that happen to be opcodes."""
        if not all(_MODULE.fullmatch(name.module) for name in found.trace.globals):
            # Prose: lines of text where names would be.
            return False
        # With a persistent id for arguments, three lines of a list of words are a call.
        calls = any(deed.kind == "instance" or (deed.kind in ("call", "new") and type(deed.given) is tuple) for deed in found.trace.deeds)
        if found.error is None and found.trace.protocol >= 2 and (calls or found.trace.globals or found.trace.end - at >= LEAST_PROGRAM):
            return bool(found.trace.deeds)
        if calls and not marked:
            return True
        there = [name for name in found.trace.globals if self.there(name)]
        if there and not marked and any(deed.kind in ("call", "new", "build", "extension") for deed in found.trace.deeds):
            return True
        certain = [
            name for name in there if name.module in sys.modules or gadgets.listed(*name.key) or name.module.partition(".")[0] not in self.packages
        ]
        return bool(certain) and (marked or any(gadgets.known(*name.key) is not None for name in certain))


def _is_spelled(data: bytes, begin: int, end: int) -> bool:
    """Tell whether there is a run of characters as of base64 that is long enough, or goes over a line end."""
    for at in range(begin, end, _KINDS_AT_ONCE):
        kinds = data[at : min(at + _KINDS_AT_ONCE + _LEAST_TEXT, end)].translate(_KINDS)
        if b"B" * _LEAST_TEXT in kinds or b"BBBBNBBBB" in kinds:
            return True
    return False


def _starts(form: re.Pattern[bytes], content: bytes) -> Iterator[int]:
    return (match.start() for match in form.finditer(content))


def _named_in_lines(content: bytes) -> Iterator[int]:
    """Yield where an operation may begin that takes a name in two lines."""
    for match in _NAME_LINES.finditer(content):
        line = content[max(0, match.start() - _LONGEST_NAME) : match.start()]
        word = len(line) - len(line.rstrip(_WORD))
        for each in _LINE_OPERATIONS.finditer(line, len(line) - word):
            yield match.start() - len(line) + each.start()


def _named_in_texts(content: bytes) -> Iterator[int]:
    """Yield where a text begins that may be the module of a name."""
    last = content.rfind(_STACK_GLOBAL)
    return (match.start() for match in _TEXT.finditer(content, 0, max(last, 0)))


def _key(deed: Deed) -> Any:
    return deed.target.key if type(deed.target) is Global else deed.target if deed.kind == "name" else None


def _same_deed(one: Deed, other: Deed, seen: set[tuple[int, int]]) -> bool:
    """Tell whether two runs did the same at the same place. `seen` are values that were compared already."""
    if (one.kind, one.at, one.opcode) != (other.kind, other.at, other.opcode):
        return False
    work = [(one.target, other.target), (one.given, other.given), (one.kwargs, other.kwargs), (one.result, other.result)]
    while work:
        a, b = work.pop()
        kind = type(a)
        if a is b or (id(a), id(b)) in seen:
            continue
        if kind is not type(b):
            return False
        parts = (a, b) if kind is tuple else (a.flat, b.flat) if kind is Dict else (a.items, b.items) if kind in (List, Set, FrozenSet) else None
        if parts is not None:
            if len(parts[0]) != len(parts[1]):
                return False
            seen.add((id(a), id(b)))
            work += zip(*parts, strict=True)
        elif kind is Global:
            if a.key != b.key:
                return False
        elif kind is ByteArray:
            if a.start != b.start:
                return False
        elif not (a == b or (hasattr(a, "at") and a.at == b.at) or (kind is float and a != a and b != b)):  # noqa: PLR0124 - no number
            # Whatever else stands for an object is known by the place where it was made.
            return False
    return True


def _located(error: ProgramError) -> tuple[int | None, str]:
    """Return the offset that a message of the machine begins with, and the rest."""
    match = _AT.match(str(error))
    return (int(match[1]), str(error)[match.end() :]) if match else (None, str(error))


def _reason(error: PolicyError) -> str:
    return error.refusals[0] if error.refusals else str(error)


def _unresolved(deed: Deed) -> tuple[str, str]:
    """Return the rule and message of a deed whose object only running the program would tell."""
    if type(deed.result) is Computed:
        return "computed-name", "a name that is the result of something else: only running the program would tell which"
    if type(deed.result) is Extension:
        return "extension-code", f"extension code {deed.target}, which stands for whatever the process has registered, past every check of names"
    if type(deed.result) is Persistent:
        return "persistent-id", "a persistent id, which the program that loads the file turns into an object, as torch does"
    return "", ""


def _shown(module: str, name: str) -> str:
    """Return a name for a report: what is no name at all is escaped, and keys are left out."""
    text = f"{module}:{name}"
    return elided(text if text.isascii() and text.isprintable() else ascii(text)[1:-1])
