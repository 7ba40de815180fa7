"""The baseline: a finding is accepted for one content of one file."""

import json
import random
import re
from dataclasses import dataclass

import pytest

from safepickle import FormatError
from safepickle.baseline import Baseline

DIGEST = "ab" * 32


@dataclass
class One:
    path: str
    rule: str = "unsigned"
    sha256: str | None = DIGEST
    message: str = "expired 3 days ago"


def test_a_finding_is_new_once_the_content_changes(tmp_path):
    path = tmp_path / "a.spkl"
    path.touch()
    start, refused = Baseline(folder=str(tmp_path)).updated([One(str(path)), One(str(path), "expired")], [str(path)])
    assert refused == []
    start.write(tmp_path / "base.json")
    read = Baseline.read(tmp_path / "base.json")
    assert read == start
    assert read.to_text() == (tmp_path / "base.json").read_text()
    same, changed = One(str(path)), One(str(path), "expired", sha256="cd" * 32)
    assert [read.accepts(each) for each in (same, changed)] == [True, False]
    assert read.lists(changed)
    assert not read.lists(One(str(path), "policy"))
    assert [each.rule for each in read.stale([same, changed], [str(path)])] == ["expired"]
    assert len(read.updated([same], [str(path)])[0].entries) == 1


def test_only_the_time_may_go_on_in_a_message(tmp_path):
    """A serial that is accepted although it is below 5 is not accepted where it must be 9."""
    path = str(tmp_path / "a.spkl")
    said = [One(path, "expired", message="expired 3 days ago"), One(path, "serial", message="serial 2 is below 5")]
    made, _ = Baseline(folder=str(tmp_path)).updated(said, [path])
    assert made.accepts(One(path, "expired", message="expired 40 days ago"))
    assert made.accepts(said[1])
    assert not made.accepts(One(path, "serial", message="serial 2 is below 9"))


def test_what_is_accepted_of_files_that_were_not_looked_at_stays_until_they_are_gone(tmp_path):
    one, other = str(tmp_path / "a"), str(tmp_path / "b")
    for path in (one, other):
        open(path, "w").close()
    start = Baseline(folder=str(tmp_path)).updated([One(one), One(other)], [one, other])[0]
    assert start.stale([], [one]) == [each for each in sorted(start.entries) if each.path == "a"]
    assert {each.path for each in start.updated([], [one])[0].entries} == {"b"}
    (tmp_path / "b").unlink()
    assert len(start.stale([], [])) == 1
    assert {each.path for each in start.updated([], [])[0].entries} == {"a"}


def test_what_was_not_read_or_lies_outside_is_never_accepted(tmp_path):
    findings = [One(str(tmp_path / "a"), sha256=None), One(str(tmp_path / "a"), sha256=""), One(str(tmp_path.parent / "b"))]
    made, refused = Baseline(folder=str(tmp_path)).updated(findings, [])
    assert made.entries == frozenset()
    assert refused == findings
    assert not any(made.accepts(each) for each in findings)


ENTRY = {"path": "a", "rule": "r", "sha256": DIGEST, "fingerprint": DIGEST, "message": ""}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, "it has exactly"),
        ({"baseline": 2, "findings": []}, 'it must say "baseline": 1'),
        ({"baseline": 1, "findings": {}}, "its findings are a list"),
        ({"baseline": 1, "findings": [{}]}, "finding 1: a finding has exactly"),
        ({"baseline": 1, "findings": [ENTRY, ENTRY]}, "finding 2 stands there twice"),
        ({"baseline": 1, "findings": [{**ENTRY, "path": "../a"}]}, "leads upwards"),
        ({"baseline": 1, "findings": [{**ENTRY, "rule": "R"}]}, "the rule of a finding"),
        ({"baseline": 1, "findings": [{**ENTRY, "sha256": 1}]}, "the sha256 of a finding"),
        ({"baseline": 1, "findings": [{**ENTRY, "message": 1}]}, "the message of a finding"),
    ],
)
def test_what_is_no_baseline_is_refused(tmp_path, value, said):
    (tmp_path / "base.json").write_text(json.dumps(value))
    with pytest.raises(FormatError, match=re.escape(said)):
        Baseline.read(tmp_path / "base.json")


@pytest.mark.parametrize("text", ["{", '{"baseline": 1, "baseline": 1}', "[" * 100_000, '{"baseline": NaN}', "1" * 5000])
def test_what_is_no_json_is_refused(tmp_path, text):
    (tmp_path / "base.json").write_text(text)
    with pytest.raises(FormatError):
        Baseline.read(tmp_path / "base.json")


def test_mutations_of_a_baseline_raise_nothing_but_our_errors(tmp_path):
    whole = Baseline(folder=str(tmp_path)).updated([One(str(tmp_path / "a")), One(str(tmp_path / "b"))], [])[0].to_text().encode()
    chance = random.Random(1)
    refused = 0
    for _ in range(500):
        data = bytearray(whole)
        at = chance.randrange(len(data))
        data[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        (tmp_path / "base.json").write_bytes(data)
        try:
            Baseline.read(tmp_path / "base.json").to_text()
        except FormatError:
            refused += 1
    assert refused > 100
