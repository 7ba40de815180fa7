"""The benchmarks run and say what they measured. No timing is judged here: that is for an idle machine."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

TOP = Path(__file__).resolve().parent.parent

pytest.importorskip("sklearn", reason="the models are those of scikit-learn")
pytestmark = pytest.mark.skipif(not (TOP / "benchmarks").is_dir(), reason="the benchmarks are in the checkout only")


def run(command, results, *options):
    """Run a command of the checkout for a smoke test; return what it wrote as JSON, as Markdown, and what it printed."""
    asked = [sys.executable, "-m", command, "--quick", "--results", str(results), *options]
    done = subprocess.run(asked, cwd=TOP, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    name = {"benchmarks": "speed"}.get(command, command.rpartition(".")[2])
    text = (results / f"{name}.md").read_text("utf-8")
    found = json.loads((results / f"{name}.json").read_text("utf-8"))
    assert {"date", "cpu", "cores", "memory_bytes", "kernel", "python", "libraries", "load_average_before"} <= found["machine"].keys()
    assert text in done.stdout, "what is written is what was printed"
    if importlib.util.find_spec("matplotlib") and name in ("speed", "scaling"):
        assert ET.parse(results / f"{name}.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"
    return found, text, done.stdout


def test_the_main_command_times_a_tiny_model_and_marks_every_target(tmp_path):
    found, text, printed = run("benchmarks", tmp_path, "--models", "iris", "--only", "joblib", "safepickle, path")
    iris = found["models"]["iris"]
    assert set(iris["load_seconds"]) == {"safepickle", "pickle", "joblib"}
    assert set(iris["dump_seconds"]) == {"safepickle", "safepickle, path", "pickle", "joblib"}
    assert all(len(times) == 1 and times[0] > 0 for times in (*iris["load_seconds"].values(), *iris["dump_seconds"].values()))
    assert 0 < iris["program_bytes"] < iris["file_bytes"]["safepickle"]
    targets = [line for line in text.partition("## Targets")[2].partition("##")[0].splitlines() if line.startswith("|")][2:]
    assert len(targets) >= 4
    assert all(("✓" in line) != ("✗" in line) for line in targets)
    assert "files are in" in printed


def test_a_contender_that_is_not_there_is_skipped_with_a_reason(tmp_path):
    (tmp_path / "skops").mkdir()
    (tmp_path / "skops" / "__init__.py").write_text("raise ImportError('not in this test')")
    code = (
        f"import sys, runpy; sys.path.insert(0, {str(tmp_path)!r})\n"
        "sys.argv[1:] = ['--quick', '--no-memory', '--models', 'iris', '--only', 'skops']\n"
        "runpy.run_module('benchmarks', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=TOP, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "skops is skipped: ImportError: not in this test" in done.stdout
    assert "not written: --quick without --results" in done.stdout


def test_scaling_times_growing_models_and_fits_an_exponent(tmp_path):
    found, text, _ = run("benchmarks.scaling", tmp_path)
    assert [*found["size"]] == ["1048576", "4194304"]
    assert [*found["operations"]] == ["1000", "10000"]
    assert text.count("| exponent") == text.count("| steepest step") == 2


def test_large_tells_speed_peak_and_what_a_second_worker_adds(tmp_path):
    found, text, _ = run("benchmarks.large", tmp_path, "--mib", "8")
    assert found["file_bytes"] > found["array_bytes"] == 8 << 20
    assert set(found["seconds"]) == {"safepickle", "safepickle, mmap", "sha256, one core"}
    if found["second_worker_bytes"]:
        assert "A second worker with mmap=True adds" in text


def test_small_tells_microseconds(tmp_path):
    found, text, _ = run("benchmarks.small", tmp_path)
    assert {"safepickle", "pickle", "pickle + HMAC"} <= found["seconds"].keys()
    assert "µs" in text


def test_scanners_are_asked_about_hostile_and_honest_files(tmp_path):
    found, text, _ = run("benchmarks.scanners", tmp_path)
    assert found["hostile"] >= 10, "what is counted was shown to run"
    assert found["benign"] == 5 * found["models"] == 25
    for tool, each in found["tools"].items():
        counts = {group: sum(count for kinds in each[group].values() for count in kinds.values()) for group in ("hostile", "benign")}
        assert counts == {group: found[group] for group in counts}, tool
    assert {*found["tools"], *found["absent"]} == {"picklescan", "fickling", "modelscan", "safepickle"}
    assert "nothing was executed" in text or not found["tools"]


def test_the_chart_is_the_same_for_the_same_figures(tmp_path):
    pytest.importorskip("matplotlib", reason="it draws the chart")
    code = (
        "import sys; from pathlib import Path; from benchmarks import charts\n"
        "charts.ratios(Path(sys.argv[1]), {'a': {'safepickle': 0.9, 'skops': 12.0}, 'b': {'skops': 7.0}}, 'ratio')"
    )
    for name in ("one.svg", "two.svg"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], cwd=TOP, check=True, timeout=600)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_the_ratio_to_a_contender_is_one_of_operations_that_really_ran(tmp_path):
    """Every contender gives back the model: a loader that quietly returned nothing would be the fastest."""
    code = (
        "import sys, warnings; from pathlib import Path\n"
        "from benchmarks.contenders import DUMPS, LOADS, missing\n"
        "from benchmarks.models import iris\n"
        "model, folder = iris(), Path(sys.argv[1])\n"
        "for each in DUMPS.values():\n"
        "    if missing(each) is None: each.call(model, folder / each.file)\n"
        "for name, each in LOADS.items():\n"
        "    if missing(each) is None: print(name, (each.call(folder / each.file).tree_.threshold == model.tree_.threshold).all())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=TOP, capture_output=True, text=True, check=True, timeout=600)
    lines = done.stdout.splitlines()
    assert len(lines) >= 6
    assert all(line.endswith("True") for line in lines)


def test_the_gate_is_timed_whole_and_every_target_is_marked(tmp_path):
    found, text, _ = run("benchmarks.gate", tmp_path)
    assert set(found["seconds"]) == {"small files", "large files", "hashing in memory, one core", "reading and hashing, one core"}
    assert set(found["processor_seconds"]) == {"--help", "one small file"}
    assert all(each > 0 for times in (*found["seconds"].values(), *found["processor_seconds"].values()) for each in times)
    targets = [line for line in text.partition("## Targets")[2].splitlines() if line.startswith("|")][2:]
    assert len(targets) == 4
    assert all(("✓" in line) != ("✗" in line) for line in targets)
