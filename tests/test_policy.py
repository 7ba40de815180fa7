"""The policy: its packs as data, user policies, and what cannot be allowed."""

import contextlib
import importlib
import json
import re
import tomllib
import types
from pathlib import Path

import mycorp
import pytest

from safepickle import Policy, PolicyError
from safepickle import policy as policies
from safepickle.pickling import _check_identity

PACKS = policies.DEFAULT_PACKS
# Names that are something else in other releases, where no model refers to them.
ELSEWHERE_ANOTHER = {"scipy._lib.array_api_compat.numpy._aliases:asarray"}
RULES = [(name, rule) for pack in PACKS for rule in policies._builtin_pack(pack).rules for name in rule.names]


def test_the_packs_hold_what_a_model_needs():
    assert len(RULES) > 600


@pytest.mark.parametrize("pack", PACKS)
def test_every_rule_has_exact_names_and_a_reason(pack):
    for rule in policies._builtin_pack(pack).rules:
        assert len(rule.reason.split()) >= 2, rule.names
        for name in rule.names:
            assert re.fullmatch(r"[\w.]+:[\w.]+", name), name


def test_every_name_that_exists_here_is_what_its_rule_takes_it_for():
    """A name that resolves to another object would let the judged name and the used one differ."""
    policy = Policy.default()
    missing = []
    for name, rule in RULES:
        found = resolve(policy, name, rule)
        if found is None:
            missing.append(name)
            continue
        assert not isinstance(found, types.ModuleType), name
        if "new" in rule.verbs:
            assert isinstance(found, type), name
        if "call" in rule.verbs:
            assert callable(found), name
    # Names of other releases are few: the packs are a union over versions.
    assert len(missing) < len(RULES) / 8, missing


def resolve(policy, name, rule):
    module, qualified = name.split(":")
    candidates = tuple(tuple(each.split(":")) for each in rule.found_at) or ((module, qualified),)
    for where, what in candidates:
        try:
            found = importlib.import_module(where)
            for part in what.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError):
            continue
        if name != "zoneinfo:ZoneInfo._unpickle":
            use = policies.Use((module, qualified), (module, qualified), candidates, "new" in rule.verbs, "call" in rule.verbs)
            try:
                _check_identity(use, found, policy)
            except PolicyError:
                assert name in ELSEWHERE_ANOTHER
                return None
        return found
    return None


def test_aliases_end_at_names_that_some_rule_has_or_binds():
    for pack in PACKS:
        text = Path(policies._PACKS, f"{pack}.toml").read_text()
        for alias, target in policies._builtin_pack(pack).aliases.items():
            assert alias != target
            assert target not in policies.Policy.default().aliases
            assert target in Policy.default().rules or f"@{':'.join(target)}" in text, target


def test_references_that_a_pattern_binds_are_exact_names_too():
    for pack in PACKS:
        for bound in re.findall(r"@([^\"'|\]]+)", Path(policies._PACKS, f"{pack}.toml").read_text()):
            assert re.fullmatch(r"[\w.]+:[\w.]+", bound), bound


@pytest.mark.parametrize(
    "name",
    [
        "mycorp",
        "mycorp.*",
        "mycorp:*",
        "mycorp:",
        ":Clip",
        "mycorp:Clip:x",
        "my corp:Clip",
        "mycorp:Clip\n",
        "",
        "mycorp:Çlip",
        "os:system",
        "posix:system",
        "builtins:eval",
        "builtins:len",
        "subprocess:Popen",
        "importlib:import_module",
        "pickle:loads",
        "types:FunctionType",
        "operator:methodcaller",
        "joblib.numpy_pickle:load",
        "__main__:Mine",
        3,
        None,
        lambda: None,
        types,
    ],
    ids=lambda value: repr(value) if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_exact_name_or_may_never_be_allowed_is_refused(name):
    with pytest.raises(PolicyError):
        Policy.default().allow(name)


def test_allow_makes_another_policy():
    default = Policy.default()
    wider = default.allow("mycorp:Clip", mycorp.double)
    assert ("mycorp", "Clip") in wider.rules
    assert ("mycorp", "double") in wider.rules
    assert ("mycorp", "Clip") not in default.rules


RULE = '[[rule]]\nnames = ["mycorp:Clip"]\nverbs = ["new", "state"]\nreason = "two floats"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names = [", "not TOML"),
        ("\xff", "not TOML"),
        ("a = " + "9" * 5_000, "not TOML"),
        ("a = " + "[" * 3_000, "not TOML"),
        (RULE + f"args = [[{'[' * 400}{']' * 400}]]\n", "nested too deep|not TOML"),
        (RULE.replace("two floats", ""), "reason is blank"),
        (RULE.replace("two floats", "  "), "reason is blank"),
        (RULE.replace('reason = "two floats"\n', ""), "reason is blank"),
        (RULE.replace("mycorp:Clip", "mycorp.*"), "not an exact name"),
        (RULE.replace("mycorp:Clip", "os:system"), "cannot be allowed"),
        (RULE + 'found_at = ["posix:system"]\n', "cannot be allowed"),
        (RULE + 'found_at = ["a:b", "numpy:dtype"]\n', "has a built-in rule"),
        (RULE + 'found_at = ["numpy.dtype"]\n', "not an exact name"),
        (RULE.replace('"state"', '"eval"'), "verbs out of"),
        (RULE.replace('["new", "state"]', "[]"), "has names, and verbs"),
        (RULE.replace('["new", "state"]', '["call"]'), "states the arguments"),
        (RULE + "trusted = true\n", "a rule has no trusted"),
        (RULE + 'args = [["integer"]]\n', "is no kind of value"),
        (RULE + 'args = [["int", "@nope"]]\n', "is not a pattern"),
        (RULE + "args = [[\"b'\xc3\xa9'\"]]\n", "is no byte string"),
        (RULE + f'args = [["{"9" * 5_000}"]]\n', "a number of 5000 digits"),
        (RULE + 'args = ["int"]\n', "each a list"),
        (RULE + "args = [[1.5]]\n", "is not a pattern"),
        (RULE + 'check = "nothing"\n', "there is no check"),
        (RULE + 'items = ["extend"]\n', "items is a list"),
        (RULE + "check = []\n", "there is no check"),
        (RULE + 'item_keys = "some"\n', "item_keys is"),
        (RULE + 'hashable = "yes"\n', "true or false"),
        (RULE + "[other]\nx = 1\n", "means nothing"),
        ('packs = ["nope"]\n' + RULE, "no built-in pack"),
        ('packs = "sklearn"\n' + RULE, "a list of names"),
        ('packs = ["../sklearn"]\n' + RULE, "no built-in pack"),
        ("rule = 3\n", r"rules are written \[\[rule\]\]"),
        ("rule = [3]\n", r"rules are written \[\[rule\]\]"),
        ("[alias]\nx = 3\n", "a table of text"),
        ('[alias]\n"a:b" = "c"\n', "not an exact name"),
    ],
)
def test_a_policy_file_that_is_wrong_is_refused_with_the_place(tmp_path, text, message):
    path = tmp_path / "policy.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(PolicyError, match=message) as refused:
        Policy.read(path)
    assert "policy.toml" in str(refused.value) or "pack" in str(refused.value)


def test_a_pattern_of_too_many_levels_is_refused_and_not_where_python_gives_up(tmp_path):
    """Limits of recursion differ from version to version. The table, the list of rules, a rule and its args are four of the 64 levels."""
    path = tmp_path / "policy.toml"
    path.write_text(RULE.replace('"state"', '"call"') + f"args = [{'[' * 60}{']' * 60}]\n", "utf-8")
    assert ("mycorp", "Clip") in Policy.read(path).rules
    path.write_text(RULE.replace('"state"', '"call"') + f"args = [{'[' * 61}{']' * 61}]\n", "utf-8")
    with pytest.raises(PolicyError, match=r"policy\.toml: a pattern is nested too deep: at most 64 levels"):
        Policy.read(path)


@pytest.mark.parametrize(
    "value", ["3", "1.5", "true", '"x"', "[]", '["x"]', "[[]]", "[3]", '[["x"]]', "{}", "{a = 1}", "[{a = 1}]", "1979-05-27", "0x10"]
)
@pytest.mark.parametrize("field", sorted(policies._RULE_FIELDS))
def test_a_field_of_any_type_is_taken_or_refused(tmp_path, field, value):
    rule = tomllib.loads(RULE)["rule"][0] | {field: ""}
    path = tmp_path / "policy.toml"
    path.write_text("[[rule]]\n" + "".join(f"{name} = {value if name == field else json.dumps(given)}\n" for name, given in rule.items()))
    with contextlib.suppress(PolicyError):
        Policy.read(path)


@pytest.mark.parametrize("value", ["3", "[]", "{}", "true"])
def test_a_distribution_is_text(tmp_path, value):
    path = tmp_path / "policy.toml"
    path.write_text(f"distribution = {value}\n{RULE}")
    with pytest.raises(PolicyError, match="distribution is text"):
        Policy.read(path)


def test_a_policy_file_extends_the_packs_that_it_names(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(RULE)
    policy = Policy.read(path)
    assert policy.packs == PACKS
    assert ("mycorp", "Clip") in policy.rules
    path.write_text("packs = []\n" + RULE)
    assert set(Policy.read(path).rules) == {("mycorp", "Clip")}


def test_a_policy_file_that_is_missing_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        Policy.read(tmp_path / "nothing.toml")
