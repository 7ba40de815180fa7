"""The policy: which names a program may use, and what it may do with each.

A rule holds exact names (module and qualified name, never a prefix), verbs, the shape of arguments and state where
it matters, and one sentence why that is safe. Rules are data: TOML files, one per library, in `packs/`, and in the
same form in a user's repository. Verbs:

- `new`: NEWOBJ, an instance of the class without running `__init__`,
- `state`: BUILD, the state given to such an instance or to the result of a call,
- `call`: REDUCE, with arguments of the stated shape,
- `refer`: the name is plain data: it is stored somewhere, and may be called by the library later.

An alias (`numpy.core.multiarray:scalar`) is replaced by the name it stands for before anything is looked up. What
is true for every rule is code here, not data: state keys are distinct text, never dunder names; what hashes is
listed as hashable; a name in no rule is refused without being imported.

Nothing in a file and nothing in the environment widens a policy. It imports nothing that a program names: see `pickling`.
"""

from __future__ import annotations

import enum
import itertools
import math
import os
import re
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import InitVar, dataclass, field, replace
from functools import lru_cache
from typing import Any, Final, NamedTuple, NoReturn

from .checks import CHECKS, UNKNOWN, Findings
from .errors import LimitError, PolicyError, SafePickleError, told
from .machine import ABSENT, Buffer, ByteArray, Dict, FrozenSet, Global, List, Made, Set, Trace, brief, paths

__all__ = ["DISTRIBUTIONS", "STATES", "Admitted", "Allow", "Name", "Policy", "Rule", "admit", "chosen", "rule_for", "unruled"]

Name = tuple[str, str]
Matcher = Callable[[Any, "_Judge"], bool]
Allow = Iterable[str | type | Callable[..., Any]]

VERBS: Final = ("new", "state", "call", "refer")
ITEMS: Final = ("append", "setitem")
STATES: Final = ("dict", "slots", "dict+slots")
_ALLOWED_VERBS: Final = frozenset(("new", "state", "refer"))
# Import name -> distribution name, where they differ, for pip pins.
DISTRIBUTIONS: Final = {"sklearn": "scikit-learn", "imblearn": "imbalanced-learn", "dateutil": "python-dateutil"}
DEFAULT_PACKS: Final = ("python", "numpy", "scipy", "sklearn", "pandas")

_PACKS: Final = os.path.join(os.path.dirname(__file__), "packs")
_EXACT_NAME: Final = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)", re.ASCII)

# Modules whose names no policy of a user may allow: they run code, reach files, or load other data. This is no
# deny-list that anything relies on (what is in no rule is refused); it keeps a refusal from reading as advice.
_NEVER: Final = frozenset(
    (
        "__builtin__",
        "__main__",
        "_ctypes",
        "_io",
        "_operator",
        "_pickle",
        "_posixsubprocess",
        "_socket",
        "_thread",
        "_winapi",
        "asyncio",
        "atexit",
        "bdb",
        "builtins",
        "cloudpickle",
        "code",
        "codecs",
        "codeop",
        "commands",
        "copyreg",
        "ctypes",
        "dill",
        "distutils",
        "doctest",
        "ensurepip",
        "gc",
        "http",
        "imp",
        "importlib",
        "inspect",
        "io",
        "joblib.numpy_pickle",
        "marshal",
        "mmap",
        "multiprocessing",
        "nt",
        "ntpath",
        "numba",
        "operator",
        "os",
        "pdb",
        "pickle",
        "pickletools",
        "pip",
        "pkgutil",
        "platform",
        "popen2",
        "posix",
        "posixpath",
        "profile",
        "pty",
        "pydoc",
        "runpy",
        "setuptools",
        "shelve",
        "shutil",
        "signal",
        "site",
        "smtplib",
        "socket",
        "sqlite3",
        "ssl",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "timeit",
        "torch.serialization",
        "trace",
        "types",
        "unittest",
        "urllib",
        "urllib2",
        "venv",
        "weakref",
        "webbrowser",
        "xmlrpc",
        "zipimport",
    )
)


@dataclass(frozen=True, slots=True)
class Rule:
    """What may be done with some names. See `docs/policy.md` for the TOML form."""

    names: tuple[str, ...]
    verbs: frozenset[str]
    reason: str
    args: tuple[Any, ...] = ()
    """For `call` and `new`: alternatives, each a tuple pattern. For `new` none means no arguments."""
    state: tuple[Any, ...] = ("dict",)
    """Alternatives: "dict", "slots" for (None, dict), "dict+slots" for (dict, dict), or a pattern."""
    state_needed: bool = False
    """The object must have its state before anything uses it."""
    items: frozenset[str] = frozenset()
    """Which of APPEND(S) and SETITEM(S) it takes, as subclasses of list and dict do."""
    item_keys: str = "any"
    """"any", or "plain" where items are reached as attributes, so dunder keys are refused."""
    state_keys: frozenset[str] = frozenset()
    """State keys that are allowed although they are dunder names or those of a method."""
    hashable: bool = False
    """Its hash is cheap and runs no foreign code, so it may be a key."""
    check: str = ""
    """The name of a check in `checks`, for what a pattern cannot say."""
    found_at: tuple[str, ...] = ()
    """Names to resolve instead, first that exists, where a library moved the object."""
    pack: str = "user"
    matchers: tuple[Matcher, ...] = field(default=(), repr=False, compare=False)
    state_matchers: tuple[Any, ...] = field(default=(), repr=False, compare=False)


class Pack(NamedTuple):
    """The rules of one library as one TOML file."""

    name: str
    distribution: str
    rules: tuple[Rule, ...]
    aliases: Mapping[Name, Name]
    kinds: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Policy:
    """What files may use. A value: `allow` returns another policy and changes nothing."""

    rules: Mapping[Name, Rule] = field(repr=False)
    aliases: Mapping[Name, Name] = field(repr=False)
    packs: tuple[str, ...] = ()

    @staticmethod
    def default() -> Policy:
        """Return the built-in policy: Python's value types, numpy, scipy, scikit-learn and pandas."""
        return _from_packs(DEFAULT_PACKS)

    @staticmethod
    def read(path: str | os.PathLike[str]) -> Policy:
        """Return the policy of a TOML file: the built-in packs that it names (`packs`, the default ones if absent) and its own rules.

        Raises `PolicyError` if the file is not a policy, `OSError` if it cannot be read.
        """
        with open(os.fspath(path), "rb") as file:
            data = file.read()
        try:
            table = tomllib.loads(data.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            # ValueError is also that of an integer of too many digits.
            raise PolicyError(f"{os.fspath(path)} is not TOML: {error}") from None
        packs = table.pop("packs", list(DEFAULT_PACKS))
        if not isinstance(packs, list) or not all(isinstance(each, str) for each in packs):
            raise PolicyError(f"{os.fspath(path)}: packs is a list of names of built-in packs")
        if not _is_flat(table):
            raise PolicyError(f"{os.fspath(path)}: a pattern is nested too deep: at most {_MAX_NESTING} levels are read")
        base = _from_packs(tuple(packs))
        pack = _parse_pack(table, os.fspath(path), base_kinds=_kinds(base.packs))
        for rule in pack.rules:
            # What the names stand for as well: otherwise a rule could lend its own name to what no rule may name.
            for name in (*rule.names, *rule.found_at):
                _check_allowable(name, os.fspath(path))
                if base.canonical(_split(name)) in base.rules:
                    raise PolicyError(f"{os.fspath(path)}: {name} has a built-in rule, and a policy cannot replace that")
        return base._with(pack.rules, pack.aliases)

    def allow(self, *names: str | type | Callable[..., Any]) -> Policy:
        """Return this policy plus the named classes and functions: `"mycorp.features:Clip"`, or the class itself.

        An allowed class may be made without arguments, take a dict (or slots) as its state, and be referred to; an
        allowed function may be referred to, so that the library may call it. Given as the class itself, an Enum may
        also be called with a plain value and a named tuple be made of any values. Anything else needs a rule in a
        file. A name that has a built-in rule keeps it. Raises `PolicyError` for what is no exact name, or one that
        no policy may allow.
        """
        rules = []
        for each in names:
            rule = Rule((each,), _ALLOWED_VERBS, "allowed by the caller", state=STATES) if isinstance(each, str) else rule_for(each)
            _check_allowable(rule.names[0], "allow")
            if self.canonical(_split(rule.names[0])) not in self.rules:
                rules.append(_compiled(replace(rule, items=frozenset(ITEMS), item_keys="plain"), {}))
        return self._with(rules, {})

    def with_packs(self, *names: str) -> Policy:
        """Return this policy plus built-in packs by name, such as "xgboost". Raises `PolicyError` for an unknown one."""
        added = _from_packs(tuple(names))
        return Policy({**self.rules, **added.rules}, {**self.aliases, **added.aliases}, (*self.packs, *added.packs))

    def canonical(self, name: Name) -> Name:
        """Return the name that an alias stands for, or the name itself."""
        return self.aliases.get(name, name)

    def values(self) -> frozenset[Name]:
        """Return the names that may be stored as data: classes and functions that stand under their own name."""
        return frozenset(name for name, rule in self.rules.items() if "refer" in rule.verbs)

    def _with(self, rules: Iterable[Rule], aliases: Mapping[Name, Name]) -> Policy:
        merged = dict(self.rules)
        for rule in rules:
            for name in rule.names:
                merged[_split(name)] = rule
        return Policy(merged, {**self.aliases, **aliases}, self.packs)


def chosen(policy: Policy | None, allow: Allow) -> Policy:
    """Return the policy that `policy` and `allow` of a call stand for. Raises `TypeError`, `PolicyError`."""
    if policy is None:
        policy = Policy.default()
    elif not isinstance(policy, Policy):
        raise TypeError(f"policy is a Policy, such as Policy.read(path), not {type(policy).__name__}")
    if isinstance(allow, str):
        raise TypeError(f"allow is a list of names or classes: allow=[{allow!r}]")
    allowed = tuple(allow)
    return policy.allow(*allowed) if allowed else policy


class Use(NamedTuple):
    """One name of an admitted program: as the program spells it, where it is to be found, and what it must be."""

    name: Name
    canonical: Name
    found_at: tuple[Name, ...]
    must_be_class: bool
    must_be_callable: bool


_PROOF: Final = object()


@dataclass(frozen=True, slots=True)
class Admitted:
    """Proof that a policy admits a program. Only `admit` can make one."""

    trace: Trace
    policy: Policy = field(repr=False)
    uses: tuple[Use, ...]
    findings: Findings = field(repr=False)
    """What was learned about dtypes and arrays on the way."""
    state_keys: tuple[tuple[Name, frozenset[str]], ...] = field(repr=False)
    """For each class whose instances get a dict as state: keys that must not be names of its methods."""
    libraries: tuple[str, ...]
    """Top-level modules of all names, sorted."""
    proof: InitVar[object] = None

    def __post_init__(self, proof: object) -> None:
        if proof is not _PROOF:
            raise TypeError("only policy.admit() makes an Admitted")


def admit(trace: Trace, policy: Policy) -> Admitted:
    """Return proof that everything the traced program does is allowed.

    Raises `PolicyError` listing everything that is not, with its path in the object and the rule that would allow
    it, and `LimitError` if hashing keys would cost too much.
    """
    try:
        return _Judge(trace, policy).judge()
    except SafePickleError:
        raise
    except (RecursionError, MemoryError) as error:
        raise LimitError(
            f"judging the program takes more than is there ({type(error).__name__}): its values are too large or nested too deep"
        ) from None
    except Exception as error:
        # A use that a check did not expect is refused, like one that it did.
        raise PolicyError(f"the program uses a name in a form that no rule knows ({told(error)})") from error


def unruled(trace: Trace, policy: Policy) -> tuple[Name, ...]:
    """Return the names that the traced program uses and that no rule of the policy has, in the order of use."""
    names = (policy.canonical(name.key) for name in trace.globals if not name.derived)
    return tuple(dict.fromkeys(name for name in names if name not in policy.rules))


class _Refusal(NamedTuple):
    value: Any
    verb: str
    name: Name
    why: str
    ruled: bool
    """Whether the name has a rule and only this use of it is refused."""


class _Judge:
    def __init__(self, trace: Trace, policy: Policy) -> None:
        self.trace = trace
        self.policy = policy
        self.refusals: list[_Refusal] = []
        self.findings = Findings(trace)
        # Slots of arguments and states in which a rule names the reference that stands there: those need no
        # `refer` of their own. Keyed by tuple and position, since two objects may share one tuple.
        self.bound: dict[tuple[int, int], Global] = {}
        self.binding: list[tuple[tuple[int, int], Global]] = []
        self.classes: set[int] = set()
        self.callables: set[int] = set()
        self.canonical = {name.key: policy.canonical(name.key) for name in trace.globals}
        # One name is one object within a trace.
        self.rules = {id(name): policy.rules.get(self.canonical[name.key]) for name in trace.globals}
        self.state_keys: dict[Name, set[str]] = {}
        self.seen_keys: set[tuple[Any, ...]] = set()
        self.buffers_used: list[int] = []

    def judge(self) -> Admitted:
        for made in self.trace.made:
            self._judge_made(made)
        self._judge_references()
        if sorted(self.buffers_used) != list(range(len(self.trace.buffers))) and not self.refusals:
            raise PolicyError("a buffer is used otherwise than once, as the memory of one array: what else holds buffers is stored in band")
        for made in {id(made): made for made in self.trace.keyed}.values():
            rule = self.rules[id(made.callee)]
            if rule is not None and not rule.hashable:
                self._refuse(
                    made, "hash", made.callee, "it would be hashed, as a key of a dict or a member of a set, and its rule does not say `hashable`"
                )
            elif _holds_huge_integer(made):
                self._refuse(made, "hash", made.callee, "it would be hashed, and holds an integer of thousands of bits, whose hash is never cheap")
        if self.refusals:
            self._raise()
        # Last, since it computes keys, which takes for granted that they were judged.
        self._judge_collisions()
        return Admitted(
            self.trace,
            self.policy,
            tuple(self._use(name) for name in self.trace.globals if not name.derived),
            self.findings,
            tuple((name, frozenset(keys)) for name, keys in self.state_keys.items()),
            tuple(sorted({canonical[0].partition(".")[0] for canonical in self.canonical.values()})),
            _PROOF,
        )

    def name_of(self, value: Global) -> Name:
        return self.canonical[value.key]

    def _refuse(self, value: Any, verb: str, name: Global, why: str, *, ruled: bool = True) -> None:
        self.refusals.append(_Refusal(value, verb, self.name_of(name), why, ruled))

    def _judge_made(self, made: Made) -> None:
        rule = self.rules[id(made.callee)]
        verb = "call" if made.how == "call" else "new"
        if rule is None:
            self._refuse(made, verb, made.callee, "no rule names it", ruled=False)
            if made.state is not ABSENT:
                self._refuse(made, "state", made.callee, "no rule names it", ruled=False)
            return
        if verb not in rule.verbs:
            self._refuse(made, verb, made.callee, f"its rule allows {', '.join(sorted(rule.verbs))}, not {verb}")
            return
        (self.callables if verb == "call" else self.classes).add(id(made.callee))
        if made.kwargs is not None and made.kwargs.flat:
            self._refuse(made, verb, made.callee, "its rule allows no keyword arguments")
        if rule.matchers:
            for matcher in rule.matchers:
                if self._matches(matcher, made.args):
                    break
            else:
                self._refuse(made, verb, made.callee, f"with arguments that its rule does not allow: {_shape(made.args)}")
                return
        elif made.args:
            self._refuse(made, verb, made.callee, f"its rule allows no arguments, and here are {_shape(made.args)}")
            return
        refused = len(self.refusals)
        self.findings.charge(self._weight(made.args))
        if made.state is not ABSENT:
            self.findings.charge(self._weight(made.state))
            self._judge_state(made, rule)
        elif rule.state_needed:
            self._refuse(made, verb, made.callee, "it is used without the state that it needs")
        if rule.state_needed and made.early:
            self._refuse(made, verb, made.callee, "it is used before it has the state that it needs")
        if made.items and "append" not in rule.items:
            self._refuse(made, "append", made.callee, "its rule lets nothing be appended to it")
        if made.pairs:
            self._judge_items(made, rule)
        # A check may take for granted that the patterns of its rule match.
        if rule.check and len(self.refusals) == refused:
            why = CHECKS[rule.check](made, self.findings)
            if why is not None:
                self._refuse(made, verb, made.callee, why)

    def _judge_items(self, made: Made, rule: Rule) -> None:
        if "setitem" not in rule.items:
            self._refuse(made, "setitem", made.callee, "its rule lets no items be set in it")
        elif rule.item_keys == "plain" and not all(type(key) is str and not key.startswith("__") for key in made.pairs[::2]):
            # Also text of a subclass, as numpy.str_, would be found by getattr().
            self._refuse(made, "setitem", made.callee, "an item's key is not text or is a dunder name, and its items are reached as attributes")

    def _weight(self, value: Any) -> int:
        """Return how many bytes or items an argument or state has, two levels deep: what copying it would cost.

        Notes the buffers among them on the way: these are the places where a buffer may stand.
        """
        # Going through a tuple takes longer than copying what it holds.
        weight = 4 * len(value) if type(value) is tuple else 0
        for part in value if type(value) is tuple else (value,):
            kind = type(part)
            if kind is tuple or kind is str or kind is bytes or kind is ByteArray:
                weight += len(part)
            elif kind is int:
                weight += part.bit_length() >> 3
            elif kind is Buffer:
                self.buffers_used.append(part.number)
            elif kind is List or kind is Set or kind is FrozenSet:
                weight += len(part.items)
            elif kind is Dict:
                weight += len(part.flat)
            elif kind is Made:
                array = self.findings.array(part)
                if array is not None:
                    weight += array[0].itemsize * math.prod(array[1])
        return weight

    def _matches(self, matcher: Matcher, value: Any) -> bool:
        """Tell whether a pattern matches as a whole; only then do its references count as bound."""
        if self.binding:
            self.binding.clear()
        if not matcher(value, self):
            return False
        if self.binding:
            self.bound.update(self.binding)
        return True

    def _judge_state(self, made: Made, rule: Rule) -> None:
        if "state" not in rule.verbs:
            self._refuse(made, "state", made.callee, f"its rule allows {', '.join(sorted(rule.verbs))}, not state")
            return
        state = made.state
        for alternative in rule.state_matchers:
            if alternative == "dict":
                parts = [state]
            elif alternative in ("slots", "dict+slots") and type(state) is tuple and len(state) == 2:
                if alternative == "slots" and state[0] is not None:
                    continue
                parts = [part for part in state if part is not None]
            elif callable(alternative) and self._matches(alternative, state):
                return
            else:
                continue
            if all(type(part) is Dict for part in parts):
                for part in parts:
                    self._judge_state_keys(made, rule, part.flat[::2])
                return
        self._refuse(made, "state", made.callee, f"with a state that its rule does not allow: {_shape(state)}")

    def _judge_state_keys(self, made: Made, rule: Rule, keys: list[Any]) -> None:
        # What is called to make an object of a class gets that class as its first argument.
        by_argument = made.how == "call" and made.args and type(made.args[0]) is Global
        name = self.name_of(made.args[0] if by_argument else made.callee)
        if not all(type(key) is str for key in keys):
            self._refuse(made, "state", made.callee, "the state has a key that is not text")
            return
        signature = (name, *keys)
        if signature in self.seen_keys:
            # As many objects of one class have: the keys were judged.
            return
        if len(set(keys)) != len(keys):
            self._refuse(made, "state", made.callee, "the state has the same key twice")
        dunder = sorted({key for key in keys if key.startswith("__")} - rule.state_keys)
        if dunder:
            self._refuse(made, "state", made.callee, f"the state sets the dunder name {', '.join(map(brief, dunder[:3]))}")
        else:
            self.seen_keys.add(signature)
        self.state_keys.setdefault(name, set()).update(set(keys) - rule.state_keys)

    def _judge_references(self) -> None:
        bound = Counter(each.key for each in self.bound.values())
        for name in self.trace.globals:
            # Every push of a name is one slot in which it stands; what no call and no bound argument takes up
            # is a reference.
            if name.handles - name.called - bound[name.key] <= 0 or name.derived:
                continue
            rule = self.rules[id(name)]
            if rule is None:
                self._refuse(name, "refer", name, "no rule names it", ruled=False)
            elif "refer" not in rule.verbs:
                self._refuse(name, "refer", name, f"its rule allows {', '.join(sorted(rule.verbs))}, not to refer to it as data")

    def _judge_collisions(self) -> None:
        """Refuse dicts and sets whose keys were chosen to collide: filling those takes quadratic time."""
        groups: dict[int, tuple[Any, list[Any]]] = {}
        for container, keys in self.trace.hashed:
            groups.setdefault(id(container), (container, []))[1].extend(keys)
        cost = 0
        for container, keys in groups.values():
            known = [key for key in map(self._known_key, keys) if key is not UNKNOWN]
            # Sorted, since counting them in a dict is what they may have been chosen against.
            counts = (sum(1 for _ in equal) for _, equal in itertools.groupby(sorted(map(hash, known))))
            cost += (len(keys) - len(known)) ** 2 + sum(count * count for count in counts if count > 1)
            if cost > self.trace.limits.colliding_keys:
                raise LimitError(
                    f"keys of a dict or members of a set have equal hashes so often that filling it would take {cost} comparisons "
                    "(`colliding_keys` of Limits)"
                )
            if len(known) > _FEW_KEYS:
                _check_fills_quickly(set() if type(container) in (Set, FrozenSet) else {}, known)

    def _known_key(self, key: Any) -> Any:
        """Return a value with the hash that the key will have, or `UNKNOWN` if that depends on an object.

        The machine has bounded how deep and wide a key is. The hash of text and bytes is keyed by the process.
        """
        kind = type(key)
        if kind is Made:
            return self.findings.key(key, self.name_of(key.callee))
        if kind is tuple or kind is FrozenSet:
            parts = [self._known_key(part) for part in (key if kind is tuple else key.items)]
            if any(part is UNKNOWN for part in parts):
                return UNKNOWN
            return tuple(parts) if kind is tuple else frozenset(parts)
        return key

    def _use(self, name: Global) -> Use:
        canonical = self.name_of(name)
        rule = self.policy.rules.get(canonical)
        found_at = tuple(_split(each) for each in rule.found_at) if rule is not None else ()
        return Use(
            name=name.key,
            canonical=canonical,
            found_at=found_at or (canonical,),
            must_be_class=id(name) in self.classes,
            must_be_callable=id(name) in self.callables,
        )

    def _raise(self) -> NoReturn:
        where = paths(self.trace, [refusal.value for refusal in self.refusals])
        lines = []
        unruled: dict[Name, list[str]] = {}
        for refusal in self.refusals:
            module, name = refusal.name
            path = where.get(id(refusal.value), "(no part of the result)")
            lines.append(f"{path}: {_DEEDS[refusal.verb]} {module}:{name}: {refusal.why}")
            if not refusal.ruled:
                verbs = unruled.setdefault(refusal.name, [])
                if refusal.verb not in verbs:
                    verbs.append(refusal.verb)
        refusals = tuple(dict.fromkeys(lines))
        shown = "".join(f"\n  {number}. {line}" for number, line in enumerate(refusals[:50], 1))
        more = f"\n  ... and {len(refusals) - 50} more" if len(refusals) > 50 else ""
        raise PolicyError(f"the policy does not allow what the program does:{shown}{more}{_advice(unruled)}", refusals)


_HASHED_BITS: Final = 4096


def _holds_huge_integer(made: Made) -> bool:
    values = [*made.args, *(made.state.flat[1::2] if type(made.state) is Dict else ())]
    return any(type(value) is int and value.bit_length() > _HASHED_BITS for value in values)


_FEW_KEYS: Final = 10_000


def _check_fills_quickly(container: Any, keys: list[Any]) -> None:
    """Refuse keys whose hashes differ but take the same places in the table, by filling one and watching the time.

    CPU time of this thread: a few microseconds a key are far more than honest keys take, and a stalled machine does not count.
    """
    started = time.thread_time()
    for first in range(0, len(keys), 1000):
        batch = keys[first : first + 1000]
        container.update(batch if isinstance(container, set) else dict.fromkeys(batch))
        if time.thread_time() - started > 0.5 + 3e-6 * first:
            raise LimitError("keys of a dict or members of a set were chosen so that filling it takes quadratic time")


_DEEDS: Final = {
    "call": "calls",
    "new": "makes an instance of",
    "state": "gives a state to an instance of",
    "refer": "refers to",
    "append": "appends to an instance of",
    "setitem": "sets items of an instance of",
    "hash": "hashes an instance of",
}


def _advice(unruled: Mapping[Name, list[str]]) -> str:
    """Return what to do about names that have no rule, per kind of name."""
    text = ""
    never = [name for name in unruled if _is_never(name[0])]
    main = [name for name in never if name[0] == "__main__"]
    offered = {name: verbs for name, verbs in unruled.items() if name not in never}
    if main:
        names = ", ".join(name for _, name in main)
        text += f"\n{names} is defined in __main__, which is another module where the file is loaded: move it into a module that both sides import."
    if len(never) > len(main):
        names = ", ".join(f"{module}:{name}" for module, name in never if module != "__main__")
        text += f"\n{names}: such names run code, reach files or load other data. No model needs them: a file that asks for them is hostile."
    if offered:
        simple = all(set(verbs) <= {"new", "state", "refer"} for verbs in offered.values())
        names = ", ".join(f'"{module}:{name}"' for module, name in offered)
        if simple:
            text += (
                f"\nIf you know this code and trust it with any data, pass allow=[{names}], or add this to your policy file and fill in the reason:"
            )
        else:
            text += (
                "\nIf you know this code and trust it with any arguments, add this to your policy file, narrow the arguments and fill in the reason:"
            )
        for (module, name), verbs in offered.items():
            text += f'\n\n[[rule]]\nnames = ["{module}:{name}"]\nverbs = [{", ".join(f"{verb!r}" for verb in verbs)}]'.replace("'", '"')
            if "call" in verbs:
                text += '\nargs = [["any", "..."]]'
            text += '\nreason = ""'
    return text


def _shape(value: Any) -> str:
    """Describe an abstract value for a message: its form, not its data."""
    kind = type(value)
    if kind is tuple:
        return f"({', '.join(_shape(item) if type(item) is not tuple else '(…)' for item in value[:12])}{', …' if len(value) > 12 else ''})"
    if kind is Global:
        return f"@{value}"
    if kind is Made:
        return f"<{value.callee}>"
    if kind in (str, int, bool, float, type(None)):
        return brief(value)
    return {List: "list", Dict: "dict", Set: "set", FrozenSet: "frozenset", ByteArray: "bytearray", Buffer: "buffer", bytes: "bytes"}.get(kind, "?")


# --- patterns --------------------------------------------------------------------------------------------------


_MAX_LENGTH: Final = 1 << 63
# Far below the digits at which int() gives up.
_MAX_DIGITS: Final = 100


def _is_shape(value: Any, judge: _Judge) -> bool:
    if type(value) is not tuple or len(value) > 64:
        return False
    for item in value:  # noqa: SIM110 - all() of a generator takes three times as long, and this is asked of every array
        if type(item) is not int or not 0 <= item < _MAX_LENGTH:
            return False
    return True


def _is_text_dict(value: Any, judge: _Judge) -> bool:
    """An exact dict with distinct text keys, none a dunder name."""
    if type(value) is not Dict:
        return False
    keys = value.flat[::2]
    return all(type(key) is str and not key.startswith("__") for key in keys) and len(set(keys)) == len(keys)


def _of_type(*kinds: type) -> Matcher:
    allowed = frozenset(kinds)
    return lambda value, judge: type(value) in allowed


_KINDS: Final[dict[str, Matcher]] = {
    "any": lambda value, judge: True,
    "atom": _of_type(type(None), bool, int, float, str, bytes),
    "none": _of_type(type(None)),
    "bool": _of_type(bool),
    "int": _of_type(int),
    "uint": lambda value, judge: type(value) is int and 0 <= value < 1 << 63,
    "float": _of_type(float),
    "str": _of_type(str),
    "bytes": _of_type(bytes),
    "buffer": _of_type(bytes, ByteArray, Buffer),
    "tuple": _of_type(tuple),
    "list": _of_type(List),
    "dict": _of_type(Dict),
    "text dict": _is_text_dict,
    "set": _of_type(Set),
    "frozenset": _of_type(FrozenSet),
    "shape": _is_shape,
    "reference": _of_type(Global),
    "result": _of_type(Made),
}

_MAX_NESTING: Final = 64
_ALTERNATIVE: Final = re.compile(
    r"""\s*('[^']*'|b'[^']*'|-?\d+|@[\w.]+:[\w.]+|<[\w.]+:[\w.]+>|[a-z][a-z_]*(?:\ [a-z_]+)*)\s*(\||$)""", re.ASCII | re.VERBOSE
)


def _is_flat(table: dict[str, Any]) -> bool:
    """Whether lists and tables are nested in no more than `_MAX_NESTING` levels; without recursion, whose limit is another in each Python."""
    level: list[Any] = [table]
    for _ in range(_MAX_NESTING):
        level = [part for each in level for part in (each.values() if type(each) is dict else each) if isinstance(part, (list, dict))]
        if not level:
            return True
    return False


def _compile(pattern: Any, kinds: Mapping[str, str], where: str) -> Matcher:
    """Return the matcher of a pattern: text with alternatives, a number or bool, a list for a tuple, a table for a dict."""
    if isinstance(pattern, str):
        return _compile_text(pattern, kinds, where)
    if isinstance(pattern, (bool, int)):
        return lambda value, judge: type(value) is type(pattern) and value == pattern
    if isinstance(pattern, list):
        return _compile_tuple(pattern, kinds, where)
    if isinstance(pattern, dict):
        members = {key: _compile(value, kinds, where) for key, value in pattern.items()}

        def match_dict(value: Any, judge: _Judge) -> bool:
            if not _is_text_dict(value, judge):
                return False
            return len(value.flat) == 2 * len(members) and all(key in members and members[key](item, judge) for key, item in value.entries())

        return match_dict
    raise PolicyError(f"{where}: {pattern!r} is not a pattern")


def _compile_text(pattern: str, kinds: Mapping[str, str], where: str) -> Matcher:
    alternatives: list[Matcher] = []
    at = 0
    while at < len(pattern):
        match = _ALTERNATIVE.match(pattern, at)
        if match is None:
            raise PolicyError(f"{where}: {pattern!r} is not a pattern: what is at character {at} is no kind, literal, @name or <name>")
        alternatives.append(_compile_alternative(match[1], kinds, where))
        at = match.end()
    if not alternatives:
        raise PolicyError(f"{where}: an empty pattern matches nothing")
    if len(alternatives) == 1:
        return alternatives[0]
    return lambda value, judge: any(alternative(value, judge) for alternative in alternatives)


def _compile_alternative(text: str, kinds: Mapping[str, str], where: str) -> Matcher:
    if text[0] == "'":
        literal: Any = text[1:-1]
        return lambda value, judge: type(value) is str and value == literal
    if text.startswith("b'"):
        if not text.isascii():
            raise PolicyError(f"{where}: {text} is no byte string: its characters are those of ASCII")
        literal = text[2:-1].encode("ascii")
        return lambda value, judge: type(value) is bytes and value == literal
    if text[0] == "@":
        wanted = _split(text[1:])
        # Where the reference stands is bound by `_compile_tuple`, which knows the slot.
        matcher: Matcher = lambda value, judge: type(value) is Global and judge.name_of(value) == wanted  # noqa: E731
        return matcher
    if text[0] == "<":
        maker = _split(text[1:-1])
        return lambda value, judge: type(value) is Made and judge.name_of(value.callee) == maker
    if text[0] in "-0123456789":
        if len(text) > _MAX_DIGITS:
            raise PolicyError(f"{where}: a number of {len(text)} digits is none that a rule is about")
        number = int(text)
        return lambda value, judge: type(value) is int and value == number
    if text in kinds:
        return _compile_text(kinds[text], {}, where)
    if text in _KINDS:
        return _KINDS[text]
    raise PolicyError(f"{where}: {text!r} is no kind of value; there are {', '.join(sorted((*_KINDS, *kinds)))}")


def _compile_tuple(pattern: list[Any], kinds: Mapping[str, str], where: str) -> Matcher:
    repeat = len(pattern) >= 2 and pattern[-1] == "..."
    parts = pattern[:-1] if repeat else pattern
    matchers = [_compile(part, kinds, where) for part in parts]
    # A pattern that names references binds them to this place. "reference" and "any" name none.
    binding = [isinstance(part, str) and "@" in part for part in parts]
    binds = any(binding)
    fixed = len(parts) - 1 if repeat else len(parts)

    def match_tuple(value: Any, judge: _Judge) -> bool:
        if type(value) is not tuple or (len(value) < fixed if repeat else len(value) != fixed):
            return False
        outer = len(judge.binding)
        for matcher, item in zip(matchers, value, strict=False):
            if not matcher(item, judge):
                return False
        for item in value[len(matchers) :]:
            # Only where the last one is repeated.
            if not matchers[-1](item, judge):
                return False
        if binds:
            for index, item in enumerate(value):
                if type(item) is Global and binding[min(index, len(matchers) - 1)]:
                    judge.binding.append(((id(value), index), item))
        if len(judge.binding) > outer and id(value) in judge.trace.shared:
            # The memo was asked for this tuple, so it stands elsewhere too, where references in it are plain data.
            del judge.binding[outer:]
        return True

    return match_tuple


# --- packs and policy files ------------------------------------------------------------------------------------

_RULE_FIELDS: Final = frozenset(
    ["names", "verbs", "reason", "args", "state", "state_needed", "items", "item_keys", "state_keys", "hashable", "check", "found_at"]
)


def _from_packs(names: tuple[str, ...]) -> Policy:
    return _cached_packs(tuple(dict.fromkeys(names)))


@lru_cache(maxsize=8)
def _cached_packs(names: tuple[str, ...]) -> Policy:
    rules: dict[Name, Rule] = {}
    aliases: dict[Name, Name] = {}
    for name in names:
        pack = _builtin_pack(name)
        aliases.update(pack.aliases)
        for rule in pack.rules:
            for each in map(_split, rule.names):
                if each in rules:
                    raise PolicyError(f"the built-in packs name {':'.join(each)} twice")
                rules[each] = rule
    return Policy(rules, aliases, names)


@lru_cache(maxsize=64)
def _builtin_pack(name: str) -> Pack:
    known = sorted(each.removesuffix(".toml") for each in os.listdir(_PACKS) if each.endswith(".toml"))
    if name not in known:
        raise PolicyError(f"there is no built-in pack {name!r}; there are {', '.join(known)}")
    with open(os.path.join(_PACKS, f"{name}.toml"), "rb") as file:
        table = tomllib.load(file)
    return _parse_pack(table, f"pack {name}", base_kinds={} if name == "numpy" else _kinds(("numpy",)), name=name)


def _kinds(packs: Iterable[str]) -> dict[str, str]:
    kinds: dict[str, str] = {}
    for name in packs:
        kinds.update(_builtin_pack(name).kinds)
    return kinds


def _parse_pack(table: dict[str, Any], where: str, *, base_kinds: Mapping[str, str], name: str = "user") -> Pack:
    unknown = set(table) - {"rule", "alias", "kind", "distribution"}
    if unknown:
        raise PolicyError(
            f"{where}: {', '.join(sorted(unknown))} means nothing in a policy; it has `packs`, `[[rule]]`, `[alias]`, `[kind]`, `distribution`"
        )
    kinds = {**base_kinds, **_text_table(table.get("kind", {}), where)}
    aliases = {_split(alias): _split(target) for alias, target in _text_table(table.get("alias", {}), where).items()}
    entries = table.get("rule", [])
    if not isinstance(entries, list):
        raise PolicyError(f"{where}: rules are written [[rule]]")
    rules = tuple(_parse_rule(entry, f"{where}, rule {number}", kinds, name) for number, entry in enumerate(entries, 1))
    distribution = table.get("distribution", "")
    if not isinstance(distribution, str):
        raise PolicyError(f"{where}: distribution is text, the name to install")
    return Pack(name, distribution, rules, aliases, _text_table(table.get("kind", {}), where))


def _text_table(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise PolicyError(f"{where}: a table of text is expected")
    return value


def _parse_rule(entry: Any, where: str, kinds: Mapping[str, str], pack: str) -> Rule:
    if not isinstance(entry, dict):
        raise PolicyError(f"{where}: rules are written [[rule]]")
    unknown = set(entry) - _RULE_FIELDS
    if unknown:
        raise PolicyError(f"{where}: a rule has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(_RULE_FIELDS))}")
    names = _texts(entry.get("names"), f"{where}, names")
    for each in names:
        _split(each, where)
    verbs = _texts(entry.get("verbs"), f"{where}, verbs")
    if not names or not verbs or not set(verbs) <= set(VERBS):
        raise PolicyError(f"{where}: a rule has names, and verbs out of {', '.join(VERBS)}")
    reason = entry.get("reason")
    if not isinstance(reason, str) or not reason.strip():
        raise PolicyError(f"{where} ({names[0]}): the reason is blank; say in one sentence why this is safe with any data")
    if "call" in verbs and not entry.get("args"):
        raise PolicyError(f'{where} ({names[0]}): a rule for `call` states the arguments, as in args = [["int", "str"]]')
    check = entry.get("check", "")
    if not isinstance(check, str) or (check and check not in CHECKS):
        raise PolicyError(f"{where}: there is no check {check!r}")
    item_keys = entry.get("item_keys", "any")
    if item_keys not in ("any", "plain"):
        raise PolicyError(f'{where}: item_keys is "any" or "plain"')
    items = _texts(entry.get("items", []), f"{where}, items")
    if not set(items) <= set(ITEMS):
        raise PolicyError(f"{where}: items is a list out of {', '.join(ITEMS)}")
    rule = Rule(
        names=names,
        verbs=frozenset(verbs),
        reason=reason,
        args=tuple(_list(entry.get("args", []), f"{where}, args")),
        state=tuple(_list(entry.get("state", ["dict"]), f"{where}, state")),
        state_needed=_flag(entry.get("state_needed", False), where),
        items=frozenset(items),
        item_keys=item_keys,
        state_keys=frozenset(_texts(entry.get("state_keys", []), f"{where}, state_keys")),
        hashable=_flag(entry.get("hashable", False), where),
        check=check,
        found_at=_texts(entry.get("found_at", []), f"{where}, found_at"),
        pack=pack,
    )
    return _compiled(rule, kinds, where)


def _compiled(rule: Rule, kinds: Mapping[str, str], where: str = "allow") -> Rule:
    for each in rule.args:
        if not isinstance(each, list):
            raise PolicyError(f'{where}: args is a list of alternatives, each a list: [["int", "str"], []]')
    state_matchers = tuple(each if isinstance(each, str) and each in STATES else _compile(each, kinds, where) for each in rule.state)
    return replace(rule, matchers=tuple(_compile(each, kinds, where) for each in rule.args), state_matchers=state_matchers)


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise PolicyError(f"{where}: a list is expected")
    return value


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise PolicyError(f"{where}: true or false is expected")
    return value


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise PolicyError(f"{where}: a list of text is expected")
    return tuple(value)


def _split(name: str, where: str = "") -> Name:
    match = _EXACT_NAME.fullmatch(name)
    if match is None:
        raise PolicyError(f"{where + ': ' if where else ''}{name!r} is not an exact name: write 'package.module:QualifiedName', without wildcards")
    return match[1], match[2]


def rule_for(value: Any) -> Rule:
    """Return the rule that a class or function needs if it does nothing of its own when it is pickled.

    Raises `PolicyError` for anything that has no name of its own in a module.
    """
    name = _name_of(value)
    if not isinstance(value, type):
        return Rule((name,), frozenset(("refer",)), "")
    if issubclass(value, enum.Enum):
        return Rule((name,), frozenset(("call", "refer")), "", args=(["atom"],), hashable=True)
    if issubclass(value, tuple) and hasattr(value, "_fields"):
        return Rule((name,), _ALLOWED_VERBS, "", args=(["any"] * len(value._fields),), state=STATES)
    return Rule((name,), _ALLOWED_VERBS, "", state=STATES)


def _name_of(value: Any) -> str:
    module = getattr(value, "__module__", None)
    qualified = getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualified, str):
        raise PolicyError(f"allow takes classes, functions and names such as 'mycorp.features:Clip', not {type(value).__name__}")
    if "<" in qualified:
        raise PolicyError(f"{module}:{qualified} is a lambda or is defined within a function, so no file can name it: move it to the top of a module")
    return f"{module}:{qualified}"


def _is_never(module: str) -> bool:
    return module in _NEVER or module.partition(".")[0] in _NEVER


def _check_allowable(name: str, where: str) -> None:
    module, _ = _split(name, where)
    if module == "__main__":
        raise PolicyError(f"{where}: {name} is another object in every program: move it into a module that both sides import")
    if _is_never(module):
        raise PolicyError(f"{where}: {name} cannot be allowed: names of this module run code, reach files or load other data")
