"""The README is run, not only read: its commands are the ones that CI uses. Its examples are run by test_docs.py."""

import re
import tomllib
from pathlib import Path

import pytest

import safepickle

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    found = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found
    return found


def test_the_rule_of_the_readme_is_a_policy(tmp_path):
    (rule,) = (each for each in blocks("toml") if "[[rule]]" in each)
    (tmp_path / "policy.toml").write_text(rule)
    assert ("mycorp.features", "Clip") in safepickle.Policy.read(tmp_path / "policy.toml").rules


def test_ci_runs_the_test_command_of_the_readme():
    command = re.search(r"<!-- ci: tests -->\n```sh\n(.*?)```", README, re.DOTALL)
    assert command is not None
    assert ".venv-test/bin/pytest" in command[1]
    assert "python3 -m venv .venv-test" in command[1]
    assert "<!-- ci: tests -->" in (ROOT / ".ci" / "run").read_text()


def test_ci_installs_what_the_tests_of_the_adapters_need():
    """Elsewhere they are skipped, so a missing extra would go unnoticed for ever."""
    needed = {
        extra
        for path in (ROOT / "tests" / "integrations").glob("*.py")
        for extra in re.findall(r"pip install '[^']*\[([a-z-]+)\]'", path.read_text())
    }
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    listed = re.search(r"for extra in ([a-z -]+); do", (ROOT / ".ci" / "run").read_text())
    assert listed is not None
    assert needed == set(listed[1].split()) <= extras.keys()
    assert ".venv-int/bin/pytest -n 2 tests/integrations" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("name", re.findall(r"\]\(([A-Z]+\.md|LICENSE)\)", README))
def test_the_documents_that_the_readme_names_exist(name):
    assert (ROOT / name).is_file()


def test_each_promise_of_security_names_tests_that_exist():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    table = text.partition("## Promises, each a test")[2].partition("## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert len(rows) >= 8
    for row in rows:
        path = ""
        named = re.findall(r"`(tests/[^`:]*)?(?:::(\w+))?`", row.rpartition(" | ")[2])
        assert any(file for file, _ in named), row
        for file, test in named:
            path = file or path
            assert (ROOT / path).exists(), path
            assert not test or f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{test}"
