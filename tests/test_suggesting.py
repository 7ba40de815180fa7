"""`suggest` and `safepickle policy suggest`: rules for a person to read, never a policy."""

import subprocess
import sys

import mycorp
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import safepickle
from safepickle import Policy, PolicyError, dumps, loads, suggest

KEY = safepickle.SecretKey.generate()


@pytest.mark.parametrize(
    "value",
    [mycorp.Clip(), mycorp.Pair(1, 2), mycorp.Slotted(3), mycorp.Colour.RED, mycorp.Point(1, 2), mycorp.double],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_what_is_suggested_works_once_a_reason_is_given_and_not_before(value, tmp_path):
    target = value if value is mycorp.double else type(value)
    text, complete = suggest(target)
    assert complete
    assert text == suggest(f"mycorp:{target.__name__}")[0]
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(PolicyError, match="reason is blank"):
        Policy.read(path)
    path.write_text(text.replace('reason = ""', 'reason = "ours"'))
    policy = Policy.read(path)
    assert type(loads(dumps(value, key=KEY, policy=policy), key=KEY, policy=policy)) is type(value)


@pytest.mark.parametrize("cls", [mycorp.Reduced, mycorp.Restored, mycorp.Made, mycorp.Guarded])
def test_what_runs_code_of_its_own_is_suggested_as_a_comment_that_says_so(cls):
    text, complete = suggest(cls)
    assert not complete
    assert "NEEDS REVIEW" in text
    assert cls.HOOK in text
    assert all(line.startswith("#") for line in text.splitlines())


def test_an_object_gets_rules_for_all_names_that_the_policy_lacks():
    model = make_pipeline(StandardScaler(), mycorp.Clip(), FunctionTransformer(mycorp.double))
    text, complete = suggest(model)
    assert complete
    assert "mycorp:Clip" in text
    assert "mycorp:double" in text
    assert "sklearn" not in text


@pytest.mark.parametrize("name", ["mycorp:Nothing", "no_such_module_here:X", "os:system", "mycorp", "mycorp:*"])
def test_what_cannot_be_suggested_is_refused(name):
    with pytest.raises(PolicyError):
        suggest(name)


def test_the_command_prints_rules_and_writes_nothing(tmp_path):
    (tmp_path / "ours.py").write_text("class Plain: pass\nclass Odd:\n    def __setstate__(self, state): pass\n")

    def run(*names):
        return subprocess.run(
            [sys.executable, "-m", "safepickle.cli", "policy", "suggest", *names], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    plain = run("ours:Plain")
    assert (plain.returncode, plain.stdout.count("[[rule]]")) == (0, 1)
    assert run("ours:Plain", "ours:Odd").returncode == 1
    for wrong in ("ours:Nothing", "os:system", "nonsense"):
        failed = run(wrong)
        assert failed.returncode == 2
        assert failed.stdout == ""
        assert "Traceback" not in failed.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"ours.py", "__pycache__"}
