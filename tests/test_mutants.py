"""The runner of mutation tests makes mutants that are programs, each another one than the module."""

from __future__ import annotations

import ast

import pytest
from mutants.run import MORE, TESTS, TOP, mutants


@pytest.mark.parametrize("module", sorted(TESTS))
def test_each_mutant_is_another_program(module):
    """A mutant that is the module itself would survive, and one that does not compile would be killed, both for nothing."""
    path = TOP / "safepickle" / f"{module}.py"
    source = path.read_text("utf-8")
    made = mutants(source, str(path))
    assert len(made) >= 30
    assert len({each.key for each in made}) == len(made)
    original = compile(ast.parse(source), str(path), "exec")
    assert [each.key for each in made[:: len(made) // 15] if each.compiled() == original] == []


def test_what_is_run_on_mutants_exists():
    assert [name for names in (*TESTS.values(), *MORE.values()) for name in names if not (TOP / "tests" / name).is_file()] == []
