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
    start, refused = Baseline(folder=str(tmp_path)).update([One(str(path)), One(str(path), "expired")])
    assert refused == []
    start.write(tmp_path / "base.json")
    read = Baseline.read(tmp_path / "base.json")
    assert read == start
    assert read.to_text() == (tmp_path / "base.json").read_text()
    same, changed = One(str(path), message="expired 4 days ago"), One(str(path), "expired", sha256="cd" * 32)
    new, accepted, stale = read.split([same, changed])
    assert (new, accepted) == ([changed], [same])
    assert [each.rule for each in stale] == ["expired"]
    assert len(read.update([same])[0].entries) == 1


def test_what_was_not_read_or_lies_outside_is_never_accepted(tmp_path):
    findings = [One(str(tmp_path / "a"), sha256=None), One(str(tmp_path / "a"), sha256=""), One(str(tmp_path.parent / "b"))]
    made, refused = Baseline(folder=str(tmp_path)).update(findings)
    assert made.entries == frozenset()
    assert refused == findings
    assert made.split(findings) == (findings, [], [])


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
    whole = Baseline(folder=str(tmp_path)).update([One(str(tmp_path / "a")), One(str(tmp_path / "b"))])[0].to_text().encode()
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
