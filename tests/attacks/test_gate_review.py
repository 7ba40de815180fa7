"""Attempts to get past the gate: models that nobody signed and that are passed over, names that are read as something else, reports that command.

Attackers are strangers who send a pull request, people who can write to a store but have no key, and signers.
"""

import contextlib
import io
import json
import lzma
import os
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

import safepickle
from safepickle import SecretKey, chunks, container, formats, gate, selecting
from safepickle.cli import main
from safepickle.findings import Finding

KEY = SecretKey.from_bytes(b"the key of the gate's review, 1."[:32])
EVIL = b"cos\nsystem\n(S'true'\ntR."


def sealed(value=(1,), *, context="fraud/prod", **options) -> bytes:
    return safepickle.dumps(list(value), key=KEY, context=context, serial=5, **options)


@pytest.fixture
def repo(tmp_path, monkeypatch):
    """A checkout in which all is in order: two signed models."""
    for name in [name for name in os.environ if name.startswith(("GITHUB_", "SAFEPICKLE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SP_KEY", KEY.to_text())
    for kind in ("fraud", "credit"):
        (tmp_path / "models" / kind).mkdir(parents=True)
        (tmp_path / "models" / kind / "prod.spkl").write_bytes(sealed([kind], context=f"{kind}/prod"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


GATE = ["verify", "models", "--key", "env:SP_KEY"]


# --- what a library loads, and the gate must not pass over ----------------------------------------------------------


def old_tar(name: bytes = b"", **members: bytes) -> bytes:
    """An archive as tar wrote it before POSIX: its headers have no magic bytes. `torch.load` reads the members `pickle` and `storages`."""
    whole = b""
    for member, content in members.items():
        head = bytearray(tarfile.TarInfo(member).tobuf(tarfile.USTAR_FORMAT))
        head[: len(name)] = name
        head[124:136] = b"%011o\0" % len(content)
        head[257:] = bytes(255)
        head[148:156] = b"%06o\0 " % (sum(head[:148]) + sum(head[156:]) + 8 * 32)
        whole += head + content + bytes(-len(content) % 512)
    return whole + bytes(1024)


def lzma_alone(content: bytes) -> bytes:
    """A stream of .lzma that begins with a zero: `lzma.open` and pandas read it like any other."""
    return lzma.compress(content, lzma.FORMAT_ALONE, filters=[{"id": lzma.FILTER_LZMA1, "lc": 0, "lp": 0, "pb": 0, "dict_size": 1 << 16}])


def small_window(content: bytes) -> bytes:
    made = zlib.compressobj(6, zlib.DEFLATED, 10)
    return made.compress(content) + made.flush()


def archived(before: bytes) -> bytes:
    """A zip archive with a pickle behind something else."""
    file = io.BytesIO(before)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("model.pkl", EVIL)
    return file.getvalue()


LOADED = {
    "tar without magic": old_tar(storages=pickle.dumps(0, 2), pickle=EVIL),
    "lzma": lzma_alone(EVIL),
    "zlib of a small window": small_window(EVIL),
    # The unpickler in Python, which joblib uses, imports the name before it misses the mark.
    "an instance without a mark": b"ios\nsystem\n.",
    "a picture with an archive behind it": archived(b"\x89PNG\r\n\x1a\n" + bytes(5000)),
    # Further from the end than `zipfile` looks, and not further than `torch.package` does.
    "an archive with zeros behind it": archived(bytes(64)) + bytes(66_500),
}


@pytest.mark.parametrize("name", LOADED)
def test_what_begins_with_no_opcode_and_is_loaded_all_the_same_is_found(name, repo, capsys):
    (repo / "models" / "weights").write_bytes(LOADED[name])
    assert main(GATE) == 1
    assert "hostile: os:system" in capsys.readouterr().out


class Looked(pickle._Unpickler):
    """The unpickler of the standard library in Python; it notes that something would be imported or made."""

    found = False

    def find_class(self, module, name):
        self.found = True
        return int

    def persistent_load(self, pid):
        self.found = True
        return 0


PARTED = {
    # Between the two texts of a name, so that no search for names in what follows the break finds it.
    "an underscore in FLOAT": b"Vos\nF1_0\n0Vsystem\n\x93Vtrue\n\x85R.",
    "a blank in FLOAT": b"Vos\nF 1.5\n0Vsystem\n\x93Vtrue\n\x85R.",
    "a FLOAT too large": b"Vos\nF1e999\n0Vsystem\n\x93Vtrue\n\x85R.",
    "a frame that is too long": b"N\x95\x00\x00\x00\x01\x00\x00\x00\x00(Vtrue\nimycorp.scoring\nrun\n.",
}


@pytest.mark.parametrize("name", PARTED)
def test_what_only_the_unpickler_in_python_runs_is_found(name, repo, capsys):
    """`joblib.load` uses that one: where the one in C stops, it goes on."""
    program = PARTED[name]
    unpickler = Looked(io.BytesIO(program))
    with contextlib.suppress(Exception):
        unpickler.load()
    assert unpickler.found
    (repo / "models" / "weights").write_bytes(program)
    assert main(GATE) == 1
    assert "models/weights: REFUSED" in capsys.readouterr().out


def test_a_text_that_begins_like_such_a_program_is_no_model(repo):
    for number, text in enumerate((b"F 1200\nF 600\nG01 X1\n", b"F1_0\n", b"F1e999\nF1\n", b"insert\nif it is\n", b"import os\nimport sys\n")):
        (repo / "models" / str(number)).write_bytes(text)
    assert main(GATE) == 0


def test_the_streams_and_archives_of_these_tests_are_what_libraries_read():
    with tarfile.open(fileobj=io.BytesIO(old_tar(pickle=EVIL)), mode="r:") as archive:
        assert archive.extractfile("pickle").read() == EVIL
    with lzma.open(io.BytesIO(lzma_alone(EVIL))) as file:
        assert file.read() == EVIL
    assert zlib.decompress(small_window(EVIL)) == EVIL


def test_no_other_first_byte_of_a_program_comes_as_far_as_a_name():
    """What the gate does not look into, an unpickler does not get anywhere with: with each first byte, and many arguments behind it."""
    lengths = [b"\x01" + bytes(size) for size in range(9)]
    arguments = [b"", b"1\n", b"'a'\n", b"a\n", b"x\ny\n", b"\0\0", b"\x01a", bytes(4), bytes(8), *lengths]
    for first in set(range(256)) - gate._BEGINNINGS:
        for argument in arguments:
            for more in (b"cfoo\nbar\n.", b"\ncfoo\nbar\n."):
                unpickler = Looked(io.BytesIO(bytes([first]) + argument + more))
                with contextlib.suppress(Exception):
                    unpickler.load()
                assert not unpickler.found, (first, argument)


def test_a_file_of_a_file_system_that_tells_no_sizes_is_read(repo):
    (repo / "model").write_bytes(EVIL)
    with open("model", "rb", buffering=0) as file:
        status = list(os.fstat(file.fileno()))
        status[6] = 0
        (candidate,) = selecting.files([], more=["model"]).candidates
        found = gate._regular(candidate, file, os.stat_result(status), gate.Expectations(None, safepickle.Policy.default()))
    assert [each.rule for each in found.findings] == ["unsigned"]


# --- names that are read as something else ------------------------------------------------------------------------


@pytest.mark.parametrize("path", [".", "*", "[-]", "**", "./"])
@pytest.mark.parametrize("command", ["scan", "verify"])
def test_a_pickle_called_like_stdin_is_no_stdin(command, path, repo, capsys):
    (repo / "-").write_bytes(EVIL)
    assert main([command, path, *(["--key", "env:SP_KEY"] if command == "verify" else [])]) == 1
    assert "os:system" in capsys.readouterr().out


@pytest.mark.parametrize("way", ["list", "hook", "pattern"])
@pytest.mark.parametrize("command", ["scan", "verify"])
def test_a_link_to_a_pipe_among_the_names_of_others_is_not_waited_for(command, way, repo, capsys):
    """A pull request can have a link to /dev/stdin, say, which the check would read until the pipeline gives up."""
    os.mkfifo("pipe")
    (repo / "models" / "linked").symlink_to("../pipe")
    (repo / "list").write_bytes(b"models/linked\0")
    named = {"list": ["--files-from", "list"], "hook": ["--by-content", "--", "models/linked"], "pattern": ["models/l*"]}[way]
    assert main([command, *(["--structure-only", "--allow-empty"] if command == "verify" else []), *named]) == 1
    assert "a named pipe, which is not read" in capsys.readouterr().out


# --- one genuine file in the place of another -----------------------------------------------------------------------

BY_NAME = {
    "template": ["--context-from-path", "{parent}/{stem}"],
    "lock": ["--lock", "safepickle.lock"],
    "project": [],
}


@pytest.fixture
def reviewed(repo):
    assert main(["lock", "models", "--key", "env:SP_KEY"]) == 0
    return repo


@pytest.mark.parametrize("follow", [[], ["--follow-symlinks"]], ids=["", "following"])
@pytest.mark.parametrize("way", BY_NAME)
@pytest.mark.parametrize("what", ["file", "folder", "second folder", "circle"])
def test_a_link_does_not_put_a_genuine_file_in_the_place_of_another(what, way, follow, reviewed, capsys):
    """`models/credit/prod.spkl` is what production opens; whatever it is called where the link leads to, here it is the wrong model."""
    credit = reviewed / "models" / "credit"
    if way == "project":
        (reviewed / "pyproject.toml").write_text('[tool.safepickle]\ncontext-from-path = "{parent}/{stem}"\n')
    assert main([*GATE, *BY_NAME[way], *follow]) == 0
    os.unlink(credit / "prod.spkl")
    if what == "file":
        (credit / "prod.spkl").symlink_to("../fraud/prod.spkl")
    elif what == "circle":
        (credit / "fraud").symlink_to("..")
    else:
        credit.rmdir()
        credit.symlink_to("fraud")
        if what == "second folder":
            # Names that are as they must be below the first link to it, so that it is not the one that is refused.
            (reviewed / "models" / "a").mkdir()
            (reviewed / "models" / "a" / "fraud").symlink_to("../fraud")
    capsys.readouterr()
    assert main([*GATE, *BY_NAME[way], *follow]) == 1
    assert "models/fraud/prod.spkl: verified" in capsys.readouterr().out
    if way == "lock":
        assert main(["lock", "--verify"]) == 1


def test_a_link_does_not_put_an_accepted_file_in_the_place_of_another(repo, capsys):
    for name in ("old.pkl", "older.pkl"):
        (repo / "models" / name).write_bytes(pickle.dumps(name))
    assert main([*GATE, "--baseline", "accepted.json", "--update-baseline"]) == 0
    assert main([*GATE, "--baseline", "accepted.json"]) == 0
    os.unlink("models/old.pkl")
    (repo / "models" / "old.pkl").symlink_to("older.pkl")
    assert main([*GATE, "--baseline", "accepted.json"]) == 1
    assert "models/old.pkl: REFUSED" in capsys.readouterr().out


@pytest.mark.parametrize("content", [EVIL, zlib.compress(EVIL), lzma_alone(EVIL), old_tar(pickle=EVIL)], ids=["lines", "zlib", "lzma", "tar"])
def test_a_model_that_the_lock_does_not_list_is_a_finding_whatever_it_is_called(content, reviewed, capsys):
    (reviewed / "models" / "weights").write_bytes(content)
    (reviewed / "models" / "notes.txt").write_text("no model\n")
    assert main(["lock", "--verify"]) == 1
    out = capsys.readouterr().out
    assert "models/weights: REFUSED: the lock does not list 'models/weights'" in out
    assert "notes" not in out


# --- reports that command -------------------------------------------------------------------------------------------

COMMAND = "##vso[task.setvariable variable=PATH]x"


def commands(text: str) -> list[str]:
    """The lines that Azure, TeamCity or the runner of GitHub may take for a command."""
    return [line for line in text.splitlines() if "##vso" in line or "##[" in line or line.lstrip().startswith(("::", "##team"))]


@pytest.mark.parametrize(
    ("command", "form"),
    [*(("verify", form) for form in ("text", "json", "jsonl", "sarif", "junit", "gitlab")), *(("scan", form) for form in ("text", "json", "sarif"))],
)
def test_no_report_on_the_log_of_a_pipeline_is_a_command(command, form, repo, capsys):
    """Azure runs what stands behind ##vso anywhere in a line, and a report in JSON is a text of lines."""
    (repo / "models" / COMMAND).write_bytes(EVIL)
    (repo / "models" / "##[stop-commands]x").write_bytes(EVIL)
    assert main([command, "models", *(GATE[2:] if command == "verify" else []), "--format", form]) == 1
    out = capsys.readouterr().out
    assert commands(out) == []
    if form == "json":
        assert {os.path.basename(each["path"]) for each in json.loads(out)["files"]} >= {COMMAND, "##[stop-commands]x"}
    if form == "junit":
        assert f"models/{COMMAND}" in [case.get("name") for case in ElementTree.fromstring(out).iter("testcase")]


def test_a_message_of_several_lines_begins_no_command_in_a_junit_report():
    finding = Finding("refused", "policy", "", None, f"first\n::error::forged\n  ::error::forged\n{COMMAND}")
    out = formats.FORMATS["junit"]([gate.Checked("a", "a", None, (finding,), "PolicyError")], "1", "/", 1)
    assert commands(out) == []
    assert ElementTree.fromstring(out).find(".//failure").text == finding.message


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "new.spkl"],
        ["inspect", "new.spkl", "--format", "json"],
        ["diff", "old.spkl", "new.spkl"],
        ["diff", "old.spkl", "new.spkl", "--format", "json"],
        ["diff", "old.spkl", "new.spkl", "--format", "markdown"],
        ["lock", "new.spkl", "--key", "env:SP_KEY"],
        ["pins", "update", "new.spkl", "--pins", "pins.toml", "--key", "env:SP_KEY"],
    ],
    ids=lambda arguments: " ".join([arguments[0], *arguments[-1:]]),
)
def test_what_a_file_says_is_no_command_to_the_log_of_a_pipeline(arguments, repo, capsys):
    """Context and metadata are chosen by whoever wrote the file, and `inspect` and `diff` show them without a key."""
    (repo / "old.spkl").write_bytes(sealed())
    (repo / "new.spkl").write_bytes(sealed(context=COMMAND, metadata={COMMAND: "##[error]x"}))
    assert main(arguments) == (arguments[0] == "diff")
    out = capsys.readouterr().out
    assert "task.setvariable variable=PATH" in out
    assert commands(out) == []


def test_the_summary_of_many_long_findings_is_one_that_github_shows():
    """It takes none that is longer than 1 MiB, and shows nothing then."""
    finding = Finding("refused", "unsigned", "", None, "\U0001f9e8" * 5000)
    summary = formats.step_summary([gate.Checked("\U0001f9e8" * 1000, "a", None, (finding,), "UnsignedError")] * 250)
    assert summary.count("`unsigned`") == 200
    assert len(summary.encode()) < 1 << 20


# --- what no signature covers -------------------------------------------------------------------------------------


def with_signature(data: bytes, value: Callable[[bytes], bytes]) -> bytes:
    """A container with one more signature, of a suite and a key that nobody knows. What the value is made of is all that stands before it."""
    magic, version, count, block_bytes, header_bytes = container.PREFIX.unpack_from(data)
    header_start = container.PREFIX.size + block_bytes
    block, header = data[container.PREFIX.size : header_start], data[header_start : header_start + header_bytes]
    body = data[header_start + header_bytes + chunks.padding(header_start + header_bytes) :]

    def front(made: bytes) -> bytes:
        more = block + container.SIGNATURE_HEAD.pack(0xEE, b"\xff" * 8, len(made))
        return container.PREFIX.pack(magic, version, count + 1, len(more) + len(made), header_bytes) + more

    # Twice, since its length stands before it.
    made = value(front(value(front(b""))))
    whole = front(made) + made + header
    return whole + bytes(chunks.padding(len(whole))) + body


def tar_within(before: bytes) -> bytes:
    """The rest of a header of tar in which `before` is the name, and a pickle as the content."""
    return old_tar(model=EVIL, name=before)[len(before) :]


def zip_within(before: bytes) -> bytes:
    return archived(before)[len(before) :]


@pytest.mark.parametrize("value", [tar_within, zip_within])
def test_a_signed_file_that_somebody_made_an_archive_as_well_is_refused(value, repo, capsys):
    """Without any key: the signature of a key that nobody knows is not looked at, and `pandas.read_pickle` finds what it holds."""
    path = repo / "models" / "weights"
    path.write_bytes(with_signature(sealed(), value))
    if value is tar_within:
        with tarfile.open(path, "r:") as archive:
            assert archive.extractfile(archive.next()).read() == EVIL
    else:
        assert zipfile.ZipFile(path).read("model.pkl") == EVIL
    safepickle.verify(path, key=KEY)
    assert main(GATE) == 1
    assert "models/weights: REFUSED: FormatError: the signatures of the container hold an archive" in capsys.readouterr().out
    assert main(["verify", "models", "--structure-only"]) == 1


def test_a_signature_of_a_key_that_nobody_knows_is_no_reason_to_refuse(repo):
    (repo / "models" / "more").write_bytes(with_signature(sealed(), lambda before: bytes(700)))
    assert main(GATE) == 0


# --- pointers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["https://hawser.github.com/spec/v1", "http://git-media.io/v/2", "https://git-lfs.github.com/spec/v1"])
def test_a_pointer_as_only_git_lfs_knows_it_is_one(address, repo, capsys):
    """`git lfs pull` puts the file in its place, which nobody looked at."""
    (repo / "models" / "weights").write_bytes(b"\nversion %s\noid sha256:%s\nsize 5\n" % (address.encode(), b"0" * 64))
    assert main(GATE) == 1
    assert "git lfs pull" in capsys.readouterr().out


HASH = b"d41d8cd98f00b204e9800998ecf8427e"
POINTERS = {
    "of another folder": b"wdir: ../elsewhere\nouts:\n- md5: %s\n  path: prod.spkl\n" % HASH,
    "behind a long comment": b"#%s\nouts:\n- md5: %s\n  path: gone\n" % (b"-" * 2000, HASH),
    "in one line": b"outs:\n- {md5: %s, path: gone}\n" % HASH,
    "in one line, beside one that is there": b"outs:\n- md5: %s\n  path: prod.spkl\n- {md5: %s, path: gone}\n" % (HASH, HASH),
    "as JSON": b'{"outs": [{"md5": "%s", "path": "gone"}]}' % HASH,
}


@pytest.mark.parametrize("form", POINTERS)
def test_a_pointer_of_dvc_in_another_form_than_dvc_writes_is_one(form, repo, capsys):
    pointer = repo / "models" / "fraud" / "prod.dvc"
    pointer.write_bytes(b"outs:\n- md5: %s\n  path: prod.spkl\n" % HASH)
    assert main(GATE) == 0
    pointer.write_bytes(POINTERS[form])
    assert main(GATE) == 1
    assert "dvc pull" in capsys.readouterr().out


# --- whom to trust ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SAFEPICKLE_VERIFY_KEYS", "SAFEPICKLE_KEY"])
def test_a_secret_that_is_empty_does_not_leave_trust_to_the_pull_request(name, repo, monkeypatch, capsys):
    """In a pipeline of a fork secrets are empty, and pyproject.toml is that of the stranger."""
    stranger = safepickle.PrivateKey.generate("ed25519")
    (repo / "stranger.pub").write_text(stranger.public_key().to_text())
    (repo / "pyproject.toml").write_text('[tool.safepickle]\nkeys = ["file:stranger.pub"]\npaths = ["new"]\n')
    (repo / "new").mkdir()
    (repo / "new" / "model").write_bytes(safepickle.dumps([1], key=stranger))
    assert main(["verify"]) == 0
    monkeypatch.setenv(name, "")
    capsys.readouterr()
    assert main(["verify"]) == 2
    assert "no key" in capsys.readouterr().err


# --- what held ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [["--"], ["--", "--exclude=*"], ["-v", "--"], ["--allow-empty", "--", "--exit-zero"], ["-", "--"]], ids=" ".join)
def test_no_name_that_a_hook_hands_over_is_an_option_or_ends_them(names, repo, capsys):
    for name in names:
        (repo / name).write_bytes(EVIL)
    assert main(["verify", "--structure-only", "--allow-empty", "--by-content", "--", *names]) == 1
    assert capsys.readouterr().out.count(": REFUSED: ") == len(names)


def test_folders_deeper_than_a_path_can_name_are_a_finding(repo, capsys):
    here = os.open("models", os.O_RDONLY)
    for _ in range(260):
        os.mkdir("d" * 20, dir_fd=here)
        here, above = os.open("d" * 20, os.O_RDONLY, dir_fd=here), here
        os.close(above)
    with open(os.open("model.pkl", os.O_WRONLY | os.O_CREAT, dir_fd=here), "wb") as file:
        file.write(EVIL)
    os.close(here)
    assert main(GATE) == 1
    assert "File name too long" in capsys.readouterr().out


def test_a_link_to_what_git_hides_is_a_finding(repo, capsys):
    (repo / "models" / ".git").mkdir()
    (repo / "models" / ".git" / "model").write_bytes(EVIL)
    assert main(GATE) == 0
    (repo / "models" / "prod.pkl").symlink_to(".git/model")
    assert main(GATE) == 1
    assert main([*GATE, "--follow-symlinks"]) == 1
    assert "hostile: os:system" in capsys.readouterr().out
    assert main(["scan", "models"]) == 1


def test_what_a_placeholder_stands_for_is_not_expanded_again(repo):
    folder = repo / "models" / "{stem}"
    folder.mkdir()
    (folder / "fraud.spkl").write_bytes(sealed(context="fraud/prod"))
    assert main(["verify", "models/{stem}", "--key", "env:SP_KEY", "--context-from-path", "{parent}/prod"]) == 1


def test_a_container_that_nobody_signed_and_that_is_an_archive_as_well_is_refused(repo, capsys):
    stored = archived(b"")
    (repo / "models" / "weights").write_bytes(safepickle.dumps([stored], key=SecretKey.generate()))
    with zipfile.ZipFile(repo / "models" / "weights") as archive:
        assert archive.read("model.pkl") == EVIL
    assert main(["verify", "models", "--structure-only"]) == 1
    assert "models/weights: REFUSED: FormatError: it is a zip archive as well, and nobody has signed it" in capsys.readouterr().out


def test_what_a_trusted_key_signed_may_hold_an_archive(repo, capsys):
    (repo / "models" / "weights").write_bytes(safepickle.dumps([archived(b"")], key=KEY))
    assert main(GATE) == 0
    assert main(["lock", "models/weights", "--key", "env:SP_KEY", "--lock", "reviewed.lock"]) == 0
    assert main(["verify", "models/weights", "--lock", "reviewed.lock"]) == 0
    # Four bytes of an end record are no archive.
    (repo / "models" / "weights").write_bytes(safepickle.dumps([b"PK\5\6" * 40], key=KEY))
    assert main(["verify", "models", "--structure-only"]) == 0
