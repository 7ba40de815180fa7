"""Every code block of the documentation runs, in the order of its page, and says what the page says it says.

A page is a story in a folder of its own: `sh` blocks run under `bash -euo pipefail`, `python` blocks as scripts, and what one block exports or writes
the next one finds. Comments above a block say more; they do not show on the page:

    <!-- file: app.py -->        the block is this file, and is not run by itself
    <!-- exit: 1 -->             this is its exit code
    <!-- not run: needs AWS -->  it cannot run here: what of it can be checked is, and `NOT_RUN` lists it
    <!-- needs: skops, curl -->  once on a page: modules or commands without which the page is skipped

A `text` block after one that ran is its output, with `...` for what differs between runs. What a page takes for granted is made by
tests/stories/NAME.sh.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import doctest
import importlib
import importlib.util
import json
import os
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from safepickle import arguments

TOP = Path(__file__).resolve().parent.parent
STORIES = TOP / "tests" / "stories"
PAGES = {path.relative_to(TOP).as_posix(): path for path in (TOP / "README.md", *sorted((TOP / "docs").rglob("*.md")))}
EXTRAS = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
MARKS = {"file", "exit", "not run", "needs", "ci", "tested"}

# How many blocks of each page are not run, and why. Whoever adds one enters it here, and so it is seen.
NOT_RUN = {
    "README.md": {"CI makes such an environment": 2, "takes hours": 1},
    "docs/ci.md": {
        "needs a repository to install the hooks from; tests/test_pipeline.py runs them": 1,
        "needs GitHub; tests/test_pipeline.py runs the steps of the action": 1,
        "needs GitLab": 1,
    },
    "docs/index.md": {"installs packages": 1},
    "docs/openssf.md": {"installs packages": 1, "needs model_signing": 4},
    "docs/quickstart.md": {"installs packages": 1},
    "docs/remote-keys.md": {"needs AWS": 4, "needs a token": 2, "needs Vault": 2},
}


@dataclass(frozen=True)
class Block:
    place: str
    language: str
    content: str
    marks: dict[str, str]


def parsed(text: str, place: str) -> tuple[list[Block], list[str]]:
    """Return the blocks of a page, and the modules and commands that it needs."""
    markdown_it = pytest.importorskip("markdown_it", reason="needs markdown-it-py: pip install '.[docs-test]'")
    blocks, needs = [], []
    marks: dict[str, str] = {}
    for token in markdown_it.MarkdownIt("commonmark").parse(text):
        where = f"{place}:{token.map[0] + 1}" if token.map else place
        if token.type == "html_block":
            for key, value in re.findall(r"<!-- ([a-z ]+): (.*?) -->", token.content):
                assert key in MARKS, f"{where}: {key!r} is no mark of this test"
                marks[key] = value
            needs += [each.strip() for each in marks.pop("needs", "").split(",") if each.strip()]
            continue
        assert token.type != "code_block", f"{where}: an indented block has no language, so nobody can run it: fence it"
        if token.type == "fence":
            blocks.append(Block(where, token.info.strip(), token.content, marks))
        marks = {}
    return blocks, needs


# --- what runs --------------------------------------------------------------------------------------------------


def free_port() -> int:
    """Return a port that nobody listens on, and that the system gives to nobody who asks for any."""
    for port in range(20000 + os.getpid() % 10000, 32000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


class Story:
    """One page, run from its first block to its last in one folder with one environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        self._exported = folder / "environment"
        self._log = folder / "output"
        self._groups: list[int] = []
        self._output: str | None = None
        # Nothing of the machine: a CI service's variables change what commands print, and a key of the developer's would be taken.
        self._environment = {
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PATH": os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"])),
            "PORT": str(free_port()),
            "OMP_NUM_THREADS": "1",
            # As on a terminal: what is printed first comes first, whichever stream it goes to.
            "PYTHONUNBUFFERED": "1",
            # As pyproject.toml has it for the tests: a reader should see no warning; what libraries announce to each other is not ours.
            "PYTHONWARNINGS": ",".join(
                ("error", *(f"ignore::{each}Warning" for each in ("Deprecation", "PendingDeprecation", "Future", "Resource")))
            ),
            "GIT_CONFIG_GLOBAL": os.devnull,
            **{f"GIT_{who}_{what}": "docs@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }

    def __enter__(self) -> Story:
        return self

    def __exit__(self, *_: object) -> None:
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)

    def tell(self, blocks: list[Block]) -> None:
        for block in blocks:
            self._tell(block)

    def _tell(self, block: Block) -> None:
        output, self._output = self._output, None
        if "not run" in block.marks:
            check(block)
        elif "file" in block.marks:
            path = self.folder / block.marks["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.content, "utf-8")
        elif block.language == "sh":
            # What a block exports is there for the next ones.
            command = f"trap 'env -0 >{shlex.quote(str(self._exported))}' EXIT\n{block.content}"
            self._run(block, ["bash", "-euo", "pipefail", "-c", command])
            exported = self._exported.read_text("utf-8").split("\0")[:-1]
            self._environment = dict(each.split("=", 1) for each in exported)
        elif block.language == "python":
            self._run(block, [sys.executable, "-c", block.content])
        elif block.language == "text":
            assert output is not None, f"{block.place}: this is no output, since nothing ran before it"
            compare(block, output)
        else:
            pytest.fail(
                f"{block.place}: {block.language or 'no language'!r} does not run: say in a comment above it which file it is, or why it is not run"
            )

    def _run(self, block: Block, command: list[str]) -> None:
        # Into a file, since a server that stays in the background would hold a pipe open.
        with self._log.open("w+", encoding="utf-8") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
            self._groups.append(process.pid)
            try:
                code = process.wait(timeout=600)
            except subprocess.TimeoutExpired:
                code = None
            log.seek(0)
            self._output = log.read()
        if not alive(process.pid):
            # Its number may be somebody else's from now on.
            self._groups.remove(process.pid)
        wanted = int(block.marks.get("exit", "0"))
        assert code == wanted, f"{block.place}: exit code {code}, not {wanted}\n{block.content}\n{self._output}"


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def compare(block: Block, output: str) -> None:
    """Check that the page shows what was printed."""
    assert block.content.strip(".\n "), f"{block.place}: an output that is nothing but an ellipsis shows nothing"
    checker = doctest.OutputChecker()
    if not checker.check_output(block.content, output, doctest.ELLIPSIS):
        example = doctest.Example("", block.content)
        pytest.fail(f"{block.place}: another output than the page shows\n{checker.output_difference(example, output, doctest.ELLIPSIS)}")


# --- what does not ----------------------------------------------------------------------------------------------


def check(block: Block) -> None:
    """Check what can be checked of a block that is not run."""
    try:
        match block.language:
            case "sh":
                check_shell(block.content)
            case "python":
                check_python(block.content)
            case "toml":
                tomllib.loads(block.content)
            case "json":
                json.loads(block.content)
            case "yaml":
                yaml = pytest.importorskip("yaml", reason="needs PyYAML: pip install '.[docs-test]'")
                for script in scripts(yaml.safe_load(block.content)):
                    check_shell(script)
            case "text" | "hcl":
                pass
            case other:
                pytest.fail(f"{other!r} is a language of which nothing is known")
    except Exception as error:
        pytest.fail(f"{block.place}: {error}")


def check_shell(script: str) -> None:
    """Check that bash parses it, that `safepickle` takes its arguments, and that an extra that is installed exists."""
    # In the place of ${{ ... }}, which is GitHub's, and of <what the reader puts there>, stands a word.
    script = re.sub(r"\$\{\{.*?\}\}|<[a-z][a-z ]*>", "X", script)
    parsed = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert parsed.returncode == 0, parsed.stderr
    for extras in re.findall(r"(?:\.|safepickle-ml)\[([a-z,-]+)\]", script):
        assert set(extras.split(",")) <= EXTRAS.keys(), f"there is no extra [{extras}]"
    for command in commands(script):
        if command[0] == "safepickle":
            accept(command[1:])


def commands(script: str) -> Iterator[list[str]]:
    """Return the simple commands of a script, without redirections, as far as words tell them."""
    script = re.sub(r"(?<!\S)\d?[<>]{1,2}(&\d|\s*\S+)", "", script.replace("\\\n", " "))
    lexer = shlex.shlex(script.replace("\n", " ;\n"), posix=True, punctuation_chars="();|&")
    lexer.whitespace_split = True
    command: list[str] = []
    for word in lexer:
        if set(word) <= set("();|&"):
            yield from [command] if command else []
            command = []
        elif command or not re.fullmatch(r"[A-Z_]+=\S*", word):
            command.append(word)
    yield from [command] if command else []


def accept(words: list[str]) -> None:
    """Check that the argument parser takes it; nothing is run."""
    try:
        options = arguments.parser().parse_args(words)
    except SystemExit as end:
        assert end.code == 0, f"safepickle takes no such arguments: {shlex.join(words)}"  # noqa: PT017 - the parser exits, for --help too
    else:
        assert isinstance(options, argparse.Namespace)


def check_python(source: str) -> None:
    """Check that it compiles, and that every name of safepickle in it exists."""
    tree = ast.parse(source)
    bound: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                if each.name.partition(".")[0] == "safepickle":
                    bound[each.asname or "safepickle"] = importlib.import_module(each.name if each.asname else "safepickle")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "safepickle":
            for each in node.names:
                bound[each.asname or each.name] = imported(node.module or "", each.name)
    bound.setdefault("safepickle", importlib.import_module("safepickle"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in bound:
            assert hasattr(bound[node.value.id], node.attr), f"there is no {node.value.id}.{node.attr}"


def imported(module: str, name: str) -> Any:
    found = importlib.import_module(module)
    with contextlib.suppress(AttributeError):
        return getattr(found, name)
    return importlib.import_module(f"{module}.{name}")


def scripts(value: Any) -> Iterator[str]:
    """Return what the steps of a workflow run, wherever in it they stand."""
    match value:
        case dict():
            for key, each in value.items():
                if key in {"run", "script", "entry"}:
                    yield from [each] if isinstance(each, str) else [line for line in each if isinstance(line, str)]
                else:
                    yield from scripts(each)
        case list():
            for each in value:
                yield from scripts(each)


# --- the pages --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_every_block_of_a_page_runs_and_prints_what_it_says(name: str, tmp_path: Path):
    """A page that has drifted from the program teaches what is no longer so."""
    blocks, needs = parsed(PAGES[name].read_text("utf-8"), name)
    missing = [each for each in needs if importlib.util.find_spec(each) is None and shutil.which(each) is None]
    if missing:
        pytest.skip(f"{name} needs {', '.join(missing)}: pip install '.[docs-test]'")
    before = STORIES / f"{PAGES[name].stem}.sh"
    with Story(tmp_path) as story:
        if before.exists():
            story.tell([Block(before.name, "sh", before.read_text("utf-8"), {})])
        story.tell(blocks)


def test_what_is_not_run_is_listed():
    """A mark above a block is quickly written, and then nobody runs it any more."""
    found = {
        name: Counter(block.marks["not run"] for block in parsed(path.read_text("utf-8"), name)[0] if "not run" in block.marks)
        for name, path in PAGES.items()
    }
    assert {name: dict(reasons) for name, reasons in found.items() if reasons} == NOT_RUN


def test_there_are_pages_and_each_story_has_one():
    assert len(PAGES) > 10
    assert {path.stem for path in STORIES.glob("*.sh")} <= {path.stem for path in PAGES.values()}


def test_the_site_has_each_page_once():
    """A page that is not in the navigation is found by nobody; what mkdocs itself checks, `mkdocs build --strict` does."""
    yaml = pytest.importorskip("yaml", reason="needs PyYAML: pip install '.[docs-test]'")
    site = yaml.safe_load((TOP / "mkdocs.yml").read_text("utf-8"))

    def pages(value: Any) -> Iterator[str]:
        match value:
            case str():
                yield value
            case dict():
                for each in value.values():
                    yield from pages(each)
            case list():
                for each in value:
                    yield from pages(each)

    listed = [f"docs/{each}" for each in pages(site["nav"])]
    assert sorted(listed) == sorted(set(PAGES) - {"README.md"})
    assert site["theme"]["font"] is False, "fonts would come from the network"
    assert f"/{site['site_dir']}/" in (TOP / ".gitignore").read_text("utf-8").split()


@pytest.mark.parametrize("name", PAGES)
def test_links_to_files_lead_somewhere(name: str):
    markdown_it = pytest.importorskip("markdown_it", reason="needs markdown-it-py: pip install '.[docs-test]'")
    inline = [token for token in markdown_it.MarkdownIt("commonmark").enable("table").parse(PAGES[name].read_text("utf-8")) if token.type == "inline"]
    targets = [str(child.attrs["href"]) for token in inline for child in token.children or () if child.type == "link_open"]
    assert targets or "](" not in PAGES[name].read_text("utf-8")
    assert [each for each in targets if "://" not in each and each[0] != "#" and not (PAGES[name].parent / each.partition("#")[0]).exists()] == []


# --- the harness itself -----------------------------------------------------------------------------------------

GOOD = {
    "what one block exports the next one has": "```sh\nexport A=1\n```\n```sh\necho $A\n```\n```text\n1\n```\n",
    "a file is there": "<!-- file: a/b.txt -->\n```text\nx\n```\n```sh\ncat a/b.txt\n```\n```text\nx\n```\n",
    "a script finds what was exported": "```sh\nexport A=7\n```\n```python\nimport os; print(os.environ['A'])\n```\n```text\n7\n```\n",
    "an exit code": "<!-- exit: 3 -->\n```sh\nexit 3\n```\n",
    "an ellipsis": "```sh\necho one; echo 123; echo three\n```\n```text\none\n...\nthree\n```\n",
    "both streams in their order": "```python\nimport sys; print(1); print(2, file=sys.stderr); print(3)\n```\n```text\n1\n2\n3\n```\n",
    "a server that goes on is stopped": "```sh\nsleep 1000 &\n```\n```sh\necho on\n```\n```text\non\n```\n",
    "a command that is not run": "<!-- not run: x -->\n```sh\nA=1 safepickle scan models/ -o a >b 2>&1 | cat && $(safepickle keygen)\n```\n",
    "a name that is there": "<!-- not run: x -->\n```python\nfrom safepickle.integrations import aws_kms\naws_kms.open_signer('x')\n```\n",
    "a workflow": "<!-- not run: x -->\n```yaml\njobs: {a: {steps: [{run: 'safepickle verify ${{ github.workspace }}'}]}}\n```\n",
}
BAD = {
    "a command that fails": ("```sh\nfalse\ntrue\n```\n", "exit code 1, not 0"),
    "a command in a pipe that fails": ("```sh\nfalse | true\n```\n", "exit code 1, not 0"),
    "a variable that is not set": ("```sh\necho $NOBODY\n```\n", "unbound variable"),
    "an exit code that did not come": ("<!-- exit: 1 -->\n```sh\ntrue\n```\n", "exit code 0, not 1"),
    "another output": ("```sh\necho 1\n```\n```text\n2\n```\n", "another output"),
    "an output of nothing": ("```text\n1\n```\n", "nothing ran"),
    "an output that says nothing": ("```sh\necho 1\n```\n```text\n...\n```\n", "nothing but an ellipsis"),
    "a warning": ("```python\nimport warnings; warnings.warn('x')\n```\n", "UserWarning"),
    "a table of nobody": ("```toml\na = 1\n```\n", "does not run"),
    "no language": ("```\na\n```\n", "no language"),
    "an indented block": ("text\n\n    safepickle keygen\n", "indented"),
    "a mark that is misspelt": ("<!-- not runs: x -->\n```sh\ntrue\n```\n", "no mark"),
    "a mark above something else": ("<!-- not run: x -->\n\ntext\n\n```sh\nfalse\n```\n", "exit code 1"),
    "an option that is not there": ("<!-- not run: x -->\n```sh\ntrue; safepickle scan --unsafe \\\n  x\n```\n", "no such arguments"),
    "an option in a substitution": ("<!-- not run: x -->\n```sh\nA=$(safepickle keygen --unsafe)\n```\n", "no such arguments"),
    "an option in a workflow": ("<!-- not run: x -->\n```yaml\n- run: safepickle verify --unsafe\n```\n", "no such arguments"),
    "shell that does not parse": ("<!-- not run: x -->\n```sh\nif true\n```\n", "syntax error"),
    "an extra that is not there": ("<!-- not run: x -->\n```sh\npip install '.[nothing]'\n```\n", "no extra"),
    "a name that is not there": ("<!-- not run: x -->\n```python\nsafepickle.nonsense()\n```\n", "no safepickle.nonsense"),
    "a module that is not there": ("<!-- not run: x -->\n```python\nfrom safepickle import nonsense\n```\n", "nonsense"),
    "Python that does not compile": ("<!-- not run: x -->\n```python\ndef\n```\n", "invalid syntax"),
    "TOML that does not parse": ("<!-- not run: x -->\n```toml\na =\n```\n", "Invalid value"),
    "JSON that does not parse": ("<!-- not run: x -->\n```json\n{\n```\n", "Expecting"),
    "YAML that does not parse": ("<!-- not run: x -->\n```yaml\na: [\n```\n", "expected the node content"),
    "another language": ("<!-- not run: x -->\n```ruby\nx\n```\n", "nothing is known"),
}


@pytest.mark.parametrize("name", GOOD)
def test_the_harness_passes(name: str, tmp_path: Path):
    with Story(tmp_path) as story:
        story.tell(parsed(GOOD[name], "page")[0])


@pytest.mark.parametrize("name", BAD)
def test_the_harness_fails(name: str, tmp_path: Path):
    text, message = BAD[name]
    with Story(tmp_path) as story, pytest.raises((AssertionError, pytest.fail.Exception), match=re.escape(message)):
        story.tell(parsed(text, "page")[0])


def test_a_server_is_gone_when_its_page_ends(tmp_path: Path):
    os.mkfifo(tmp_path / "held")
    reader = os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with Story(tmp_path) as story:
            story.tell(parsed("```sh\nsh -c 'echo begun; exec sleep 1000' >../held &\n```\n", "page")[0])
            # Were it stopped before it opens this, nothing would ever be ready.
            assert select.select([reader], [], [], 60)[0] == [reader]
            assert os.read(reader, 100) == b"begun\n"
            assert select.select([reader], [], [], 0)[0] == []
        # Ready to be read at its end: the last process that could write to it has gone.
        assert select.select([reader], [], [], 60)[0] == [reader]
        assert os.read(reader, 100) == b""
    finally:
        os.close(reader)
