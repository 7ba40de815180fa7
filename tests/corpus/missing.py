"""Report what the built-in packs lack for the libraries that are installed: run this for a new release.

    python tests/corpus/missing.py          # or, within tests/: python -m corpus.missing [--group variants] [TEXT]

How to extend a pack for a new scikit-learn (numpy, scipy, pandas):

1. Install the release into an environment of its own, beside safepickle, and run this. Exit status 0 means that nothing is missing.
2. For a name without a rule, read the code that runs when it is made, given its state, called, or hashed: with *any* arguments and
   state, not those of an honest model. Harmless: add the exact name to the rule of its kind in `safepickle/packs/<library>.toml`, with
   the verbs that are shown and a reason. Renamed: add an alias to the name that has the rule. Not harmless: see 4.
3. For a name whose rule is too narrow, widen the arguments or the state by the form that is shown and by no other.
4. What runs code at load, or opens files, stays out: move its case to `outside` in `cases.py`, and name it in `docs/policy.md` with why.
5. Add cases for what the release brought, run this again, then `tests/test_corpus.py` with this release and with the oldest supported one.

With TEXT only cases whose id contains it are built. Everything is printed; nothing is written.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from corpus import cases as corpus
from safepickle import Policy, PolicyError, SafePickleError, SecretKey, dumps, loads
from safepickle.suggesting import suggest

_KEY = SecretKey.from_bytes(bytes(range(32)))
_DEEDS = {
    "calls": "call",
    "makes an instance of": "new",
    "gives a state to an instance of": "state",
    "refers to": "refer",
    "appends to an instance of": "append",
    "sets items of an instance of": "setitem",
    "hashes an instance of": "hash",
}
_REFUSAL = re.compile(rf"(?P<path>.*?): (?P<deed>{'|'.join(_DEEDS)}) (?P<name>[\w.]+:[\w.]+): (?P<why>.*)", re.DOTALL)

Uses = dict[str, dict[str, dict[str, set[str]]]]
"""Name, verb, why it is refused, and the cases where it is."""


def find_missing(cases: Iterable[Any]) -> tuple[Uses, list[str]]:
    """Return what the default policy refuses, and the cases that fail in another way."""
    missing: Uses = defaultdict(lambda: defaultdict(lambda: defaultdict(set)))
    failed = []
    for case in cases:
        try:
            model, _ = case.build()
        except Exception as error:
            failed.append(f"{case.id} cannot be built: {type(error).__name__}: {str(error).splitlines()[0]}")
            continue
        try:
            loads(dumps(model, key=_KEY), key=_KEY)
        except PolicyError as error:
            for refusal in error.refusals:
                match = _REFUSAL.fullmatch(refusal)
                missing[match["name"]][_DEEDS[match["deed"]]][match["why"]].add(case.id)
            if not error.refusals:
                failed.append(f"{case.id}: {error}")
        except SafePickleError as error:
            failed.append(f"{case.id}: {type(error).__name__}: {error}")
    return missing, failed


def classes_without_rule() -> list[str]:
    """Return the classes of `all_estimators()` that no rule lets a file make."""
    policy = Policy.default()
    names = [(cls.__module__, cls.__qualname__) for _, cls in corpus.all_estimators()]
    rules = {name: policy.rules.get(policy.canonical(name)) for name in names}
    return [":".join(name) for name, rule in rules.items() if rule is None or not {"new", "state"} <= rule.verbs]


def suggestion(name: str, uses: dict[str, dict[str, set[str]]]) -> str:
    """Return a rule to start from, its reason blank, or what is too narrow in the rule that there is."""
    module, _, qualified = name.partition(":")
    policy = Policy.default()
    if policy.canonical((module, qualified)) in policy.rules:
        return "it has a rule, which is too narrow for this"
    if "call" in uses:
        verbs = ", ".join(f'"{verb}"' for verb in uses if verb in ("call", "state", "refer"))
        return f'[[rule]]\nnames = ["{name}"]\nverbs = [{verbs}]\nargs = [["any", "..."]]  # narrow this\nreason = ""'
    try:
        return suggest(name)[0].rstrip()
    except PolicyError as error:
        return f"no rule can be proposed: {error}"


def main(arguments: list[str] | None = None) -> int:
    """Print the report and return 1 if anything is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", nargs="?", default="", help="only cases whose id contains this")
    parser.add_argument("--group", choices=corpus.GROUPS[:-1], action="append", help="only cases of this group")
    chosen = parser.parse_args(arguments)
    cases = [case for case in corpus.all_cases(chosen.group or corpus.GROUPS[:-1]) if chosen.text in case.id]
    libraries = (corpus.sklearn, corpus.np, corpus.scipy, corpus.pd)
    print(f"{len(cases)} cases with {', '.join(f'{library.__name__} {library.__version__}' for library in libraries)}")
    missing, failed = find_missing(cases)
    for name, uses in sorted(missing.items()):
        print(f"\n{name}")
        for verb, reasons in uses.items():
            for why, where in reasons.items():
                print(f"  {verb}: {why}\n    in {len(where)}: {', '.join(sorted(where)[:5])}")
        print("".join(f"    {line}\n" for line in suggestion(name, uses).splitlines()), end="")
    without_rule = classes_without_rule()
    for title, lines in (("classes of all_estimators() without a rule", without_rule), ("other failures", failed)):
        if lines:
            print(f"\n{title}:", *lines, sep="\n  ")
    print(f"\n{len(missing)} names refused, {len(without_rule)} classes without a rule, {len(failed)} other failures")
    return int(bool(missing or without_rule or failed))


if __name__ == "__main__":
    sys.exit(main())
