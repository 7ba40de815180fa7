"""`suggest`: rules for classes, functions and objects of one's own, for a person to read and give a reason.

It proposes and decides nothing: every reason is left blank, and a policy with a blank reason is refused. What runs
code of its own when it is pickled is proposed as a comment only, with what has to be read first.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Iterable
from typing import Any, Final

from .errors import PolicyError
from .machine import trace
from .pickling import imported, pickled
from .policy import STATES, Policy, Rule, rule_for, unruled

__all__ = ["suggest"]

# Methods that pickle calls, or that see every attribute that a state sets.
_HOOKS: Final = ("__setstate__", "__reduce__", "__reduce_ex__", "__new__", "__getnewargs__", "__getnewargs_ex__", "__setattr__")
_INNOCENT: Final = frozenset(("builtins", "sklearn.base", "enum", "copyreg", "dataclasses", "typing", "abc"))


def suggest(*targets: Any, policy: Policy | None = None) -> tuple[str, bool]:
    """Return TOML with a rule for each class or function, and whether every one can be used once it has a reason.

    A target is a class, a function, a name such as "mycorp.features:Clip" (its module is imported), or any other object, for which
    rules for all names are proposed that `policy` (the default one) does not have. Nothing is written and nothing is allowed.

    Raises `PolicyError` for a name that cannot be found or that no policy may allow.
    """
    chosen = policy or Policy.default()
    rules: dict[str, tuple[Rule, tuple[str, ...]]] = {}
    for target in targets:
        for value in _values(target, chosen):
            rule = rule_for(value)
            chosen.allow(rule.names[0])
            rules[rule.names[0]] = (rule, _review(value))
    return "\n".join(_text(rule, review) for rule, review in rules.values()), not any(review for _, review in rules.values())


def _values(target: Any, policy: Policy) -> Iterable[Any]:
    if isinstance(target, str):
        return [_found(target)]
    if isinstance(target, (type, types.FunctionType, types.BuiltinFunctionType)):
        return [target]
    program, buffers = pickled(target)
    return [_found(f"{module}:{name}") for module, name in unruled(trace(program, buffers=buffers), policy)]


def _found(name: str) -> Any:
    module, _, qualified = name.partition(":")
    Policy.default().allow(name)
    try:
        return imported(module, qualified)
    except (ImportError, AttributeError) as error:
        raise PolicyError(f"{name} cannot be found here: {error}") from error


def _review(value: Any) -> tuple[str, ...]:
    """Return what a person must read before this may be allowed: code that runs when the object is built."""
    if not isinstance(value, type):
        return ()
    if issubclass(value, enum.Enum):
        return tuple(name for name in _own_hooks(value) if name not in ("__new__", "__reduce_ex__", "__setattr__"))
    if issubclass(value, tuple) and hasattr(value, "_fields"):
        return tuple(name for name in _own_hooks(value) if name not in ("__new__", "__getnewargs__"))
    return _own_hooks(value)


def _own_hooks(value: type) -> tuple[str, ...]:
    found = []
    for hook in _HOOKS:
        for base in value.__mro__:
            if hook in vars(base):
                # The first class that has it is the one that counts.
                reviewed = base.__module__ in _INNOCENT or (base.__module__, base.__qualname__) in Policy.default().rules
                if not reviewed:
                    found.append(hook)
                break
    return tuple(found)


def _text(rule: Rule, review: tuple[str, ...]) -> str:
    lines = [
        "[[rule]]",
        f'names = ["{rule.names[0]}"]',
        f"verbs = [{_quoted(verb for verb in ('new', 'state', 'call', 'refer') if verb in rule.verbs)}]",
    ]
    if rule.args:
        lines.append(f"args = [{', '.join('[' + _quoted(pattern) + ']' for pattern in rule.args)}]")
    if "state" in rule.verbs:
        lines.append(f"state = [{_quoted(STATES)}]")
    if rule.hashable:
        lines.append("hashable = true")
    lines.append('reason = ""')
    if review:
        head = (
            f"# NEEDS REVIEW: {rule.names[0]} has its own {', '.join(review)}, which runs when a file is loaded.\n"
            "# Read that code, think of it with any data, and only then uncomment this and say why it is safe.\n"
        )
        return head + "".join(f"# {line}\n" for line in lines)
    return "".join(f"{line}\n" for line in lines)


def _quoted(items: Iterable[str]) -> str:
    return ", ".join(f'"{item}"' for item in items)
