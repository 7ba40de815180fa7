"""What one file needs and says beyond another: the signal for the review of a change. Nothing is executed.

Names come from the trace of a signed file, with what is done with them, or from a scan of one that nobody signed.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from . import container
from .container import Info
from .errors import PolicyError, elided, escaped
from .keyring import Keyring
from .machine import ABSENT, Trace, trace
from .policy import Policy, admit
from .scanning import scan

__all__ = ["Difference", "Side", "as_markdown", "as_text", "described", "difference"]

_MAX_LINES: Final = 50
_MAX_TEXT: Final = 300


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two files."""

    kind: str
    """"authenticated", "unauthenticated", "unsigned" or "absent"."""
    info: Info | None = None
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What is done with each name; of an unsigned file only "used" is known."""
    refusals: tuple[str, ...] = ()
    """What the policy does not allow of it, or why it could not be judged."""
    size: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """What HEAD has and BASE has not."""

    base: Side
    head: Side
    alarms: tuple[str, ...]
    """What must not pass by itself."""
    lines: tuple[str, ...]
    """Everything else, each as one sentence."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        sides = {
            name: {"kind": side.kind, "size": side.size, "names": {each: list(verbs) for each, verbs in side.names.items()}}
            for name, side in (("base", self.base), ("head", self.head))
        }
        return {**sides, "alarms": list(self.alarms), "differences": list(self.lines)}


def described(data: bytes | None, policy: Policy, keyring: Keyring | None) -> Side:
    """Return what there is to say of a file. Raises what `container.open` and `trace` raise for a container that does not hold."""
    if data is None:
        return Side("absent")
    if not data.startswith(container.MAGIC):
        report = scan(io.BytesIO(data), policy=policy)
        names = dict.fromkeys((name for program in report.programs for name in program.names), ("used",))
        return Side("unsigned", None, names, tuple(elided(f"{each.rule}: {each.message}") for each in report.findings), len(data))
    info: Info
    if keyring is None:
        info, program, buffers = container.unverified(io.BytesIO(data))
    else:
        opened = container.open(io.BytesIO(data), keyring)
        info, program, buffers = opened.info, opened.program, opened.buffers
    found = trace(program, buffers=buffers)
    refusals: tuple[str, ...] = ()
    try:
        admit(found, policy)
    except PolicyError as error:
        refusals = error.refusals or (str(error),)
    return Side("unauthenticated" if keyring is None else "authenticated", info, _verbs(found, policy), refusals, len(data))


def _verbs(found: Trace, policy: Policy) -> dict[str, tuple[str, ...]]:
    verbs: dict[str, set[str]] = {}
    for name in found.globals:
        mine = verbs.setdefault(":".join(policy.canonical(name.key)), set())
        if name.handles > name.called:
            mine.add("refer")
    for made in found.made:
        mine = verbs.setdefault(":".join(policy.canonical(made.callee.key)), set())
        mine.add("call" if made.how == "call" else "new")
        if made.state is not ABSENT:
            mine.add("state")
    return {name: tuple(sorted(each)) for name, each in verbs.items()}


def difference(base: Side, head: Side) -> Difference:
    """Compare two files."""
    alarms = [f"the policy does not allow{'' if each in base.refusals else ', newly'}: {each}" for each in head.refusals]
    old, new = base.info, head.info
    if old is not None and new is None:
        alarms.append("it was a signed file and is none any more")
    if old is not None and new is not None:
        if old.context != new.context:
            alarms.append(f"the context changes from {old.context!a} to {new.context!a}")
        if old.serial is not None and (new.serial is None or new.serial < old.serial):
            alarms.append(f"the serial goes back from {old.serial} to {new.serial}")
    return Difference(base, head, tuple(alarms), tuple(_lines(base, head)))


def _lines(base: Side, head: Side) -> Iterator[str]:
    for name in sorted(set(head.names) - set(base.names)):
        yield f"newly needs {name} ({', '.join(head.names[name])})"
    for name in sorted(set(base.names) & set(head.names)):
        more = sorted(set(head.names[name]) - set(base.names[name]) - {"used"})
        if more and base.kind != "unsigned":
            yield f"newly does with {name}: {', '.join(more)}"
    for name in sorted(set(base.names) - set(head.names)):
        yield f"no longer uses {name}"
    for each in sorted(set(base.refusals) - set(head.refusals)):
        yield f"no longer outside the policy: {each}"
    if base.kind not in (head.kind, "absent"):
        yield f"it was {base.kind} and is {head.kind}"
    old, new = _facts(base), _facts(head)
    for fact in sorted({*old, *new}):
        if old.get(fact) != new.get(fact):
            yield f"{fact}: {_said(old, fact)} -> {_said(new, fact)}"


def _facts(side: Side) -> dict[str, Any]:
    if side.kind == "absent":
        return {}
    facts: dict[str, Any] = {"size": side.size}
    info = side.info
    if info is not None:
        facts |= {"serial": info.serial, "context": info.context, "python": info.python, "program bytes": info.program_bytes}
        facts |= {"array bytes": sum(info.buffer_bytes), "expires": None if info.expires is None else info.expires.isoformat()}
        facts["key ids"] = sorted(f"{each.key_id} ({each.suite})" for each in info.signatures)
        facts |= {f"version of {name}": version for name, version in info.libraries.items()}
        whole = info.metadata if isinstance(info.metadata, dict) else {"": info.metadata}
        facts |= {f"metadata {name}".strip(): value for name, value in whole.items()}
    return facts


def _said(facts: Mapping[str, Any], name: str) -> str:
    return json.dumps(facts[name]) if facts.get(name) is not None else "-"


def as_text(found: Difference) -> Iterator[str]:
    """Yield lines for people."""
    yield f"{found.base.kind} -> {found.head.kind}"
    yield from (f"ALARM: {escaped(each)}" for each in found.alarms)
    yield from (f"  {escaped(each)}" for each in found.lines)
    if not found.alarms and not found.lines:
        yield "no difference"


def as_markdown(found: Difference, title: str) -> str:
    """Return a comment for a pull request. All that comes out of the files stands in code, so that it is neither a link nor a mention."""
    lines = [f"### safepickle diff {_code(title)}", "", f"{found.base.kind} → {found.head.kind}", ""]
    for mark, texts in ((":warning: ", found.alarms), ("", found.lines)):
        lines += [f"- {mark}{_code(each)}" for each in texts[:_MAX_LINES]]
        lines += [f"- and {len(texts) - _MAX_LINES} more"] * (len(texts) > _MAX_LINES)
    if not found.alarms and not found.lines:
        lines.append("No difference.")
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    # A quotation mark in place of a backtick: then nothing within the code ends it.
    shown = escaped(text).replace("`", "'")
    return f"`{shown[:_MAX_TEXT]}{'...' if len(shown) > _MAX_TEXT else ''}`"
