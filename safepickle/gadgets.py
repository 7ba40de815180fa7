"""Names that are known to run code, reach files or load other data: `known` says in words what one is good for.

It decides nothing. What is in no rule of the policy is refused, whether it is known here or not: no list of this kind was ever
complete. It lets a message say "runs a shell command" instead of "is in no rule", and tells a hostile file from one that is merely unusual.
So no name that an honest model may hold is in it, and a test compares it with the rules and with what was found in models.

The table is `gadgets.toml` beside this file, which says what its fields mean. Beyond it there are three rules:

- what lies below a whole module, or is an attribute of a listed name, is as the module or name;
- a dotted name that walks through a module is what it leads to, as `random:_os.system`, and so is a module that another one holds: `sklearn:os`;
- an attribute of the kind that Python keeps for itself, as `__globals__` or `__subclasses__`, leads from anything to everything.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

__all__ = ["Gadget", "known", "listed"]

_PATH: Final = Path(__file__).with_name("gadgets.toml")

# What protocols 0 and 1 call where later ones have an opcode.
_OPCODES_ONCE: Final = frozenset((module, name) for module in ("copyreg", "copy_reg") for name in ("__newobj__", "__newobj_ex__"))
# A dunder that is a module on its own, and says nothing: whose names are listed, or nobody knows what they are.
_MODULES_OF_PYTHON: Final = frozenset(("__builtin__", "__future__", "__main__"))
# How many parts of a name are looked at. `Limits.name_length` bounds names anyway, but callers need not have a limit.
_MOST_PARTS: Final = 256
_MOST_MODULES: Final = 16


@dataclass(frozen=True, slots=True)
class Gadget:
    """What a name is good for to an attacker."""

    what: str
    """The predicate of a sentence about the name, as in "runs a shell command"."""
    advisory: str
    """Where a gadget of this kind was published, as an id of GitHub's or MITRE's list; empty if that is not known."""


@dataclass(frozen=True, slots=True)
class _Table:
    names: Mapping[tuple[str, str], Gadget]
    modules: Mapping[str, Gadget]
    harmless: frozenset[tuple[str, str]]
    walked: frozenset[str]
    single: frozenset[str]


def known(module: str, name: str) -> Gadget | None:
    """Return what a known gadget does, or None for every other name, which says nothing about it.

    Ask for the pair as the program spells it and for the one that it is mapped to; the names of Python 2 are known, too.
    """
    table = _table()
    if (module, name) in table.harmless or (module, name) in _OPCODES_ONCE:
        return None
    parts = name.split(".", _MOST_PARTS)
    found = _listed(table, module, parts)
    if found is not None:
        return found
    for index, part in enumerate(parts):
        through = part if part in table.walked else part.lstrip("_")
        if through in table.walked:
            return _listed(table, through, parts[index + 1 :]) or Gadget(f"reaches the module {through}", "")
    dunder = next((part for part in parts if _is_dunder(part)), None)
    if dunder is not None:
        return Gadget(f"reaches into Python's own machinery by {dunder[:40]}", "")
    inner = module.split(".", _MOST_PARTS)
    if any(_is_dunder(part) and (index or part not in _MODULES_OF_PYTHON) for index, part in enumerate(inner) if part != "__init__"):
        return Gadget("imports a module that runs a program when it is imported", "")
    return None


def listed(module: str, name: str) -> bool:
    """Tell whether the table has this very name, and not only what it lies below."""
    return (module, name) in _table().names


def _listed(table: _Table, module: str, parts: list[str]) -> Gadget | None:
    """Return the entry of a name, of what it is an attribute of, or of its module: the longest first."""
    for end in range(len(parts), 0, -1):
        found = table.names.get((module, ".".join(parts[:end])))
        if found is not None:
            return found
    # Nothing listed has as many parts as that, and looking for all parents of a long name takes the square of its length.
    above = ".".join(module.split(".", _MOST_MODULES)[:_MOST_MODULES])
    while above:
        found = table.modules.get(above)
        if found is not None and (above == module or above not in table.single):
            return found
        above = above.rpartition(".")[0]
    return None


def _is_dunder(part: str) -> bool:
    return len(part) > 4 and part.startswith("__") and part.endswith("__")


@lru_cache(maxsize=1)
def _table() -> _Table:
    names: dict[tuple[str, str], Gadget] = {}
    modules: dict[str, Gadget] = {}
    harmless: set[tuple[str, str]] = set()
    data = tomllib.loads(_PATH.read_text("utf-8"))
    for entry in data["gadget"]:
        gadget = Gadget(entry["what"], entry.get("advisory", ""))
        names.update((_pair(each), gadget) for each in entry.get("names", ()))
        modules.update((each, gadget) for each in entry.get("modules", ()))
        harmless.update(_pair(each) for each in entry.get("but", ()))
    return _Table(names, modules, frozenset(harmless), frozenset(data["walked"]), frozenset(data["single"]))


def _pair(text: str) -> tuple[str, str]:
    module, _, name = text.partition(":")
    return module, name
