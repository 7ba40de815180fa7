"""Which files a command is about: nothing that somebody would load is passed over because of how it is named or linked."""

import fnmatch
import os
import random
import re

import pytest

from safepickle import selecting
from safepickle.selecting import Exclusion, files


@pytest.fixture
def tree(tmp_path, monkeypatch):
    top = tmp_path / "repo"
    for name in ("a.spkl", "b.txt", "one/c.spkl", "one/deep/d.spkl", "two/e.spkl", ".hidden/f.spkl", ".git/objects/g.spkl", "one/.git/h.spkl"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).touch()
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "x.spkl").touch()
    monkeypatch.chdir(top)
    return top


def found(*paths, **options):
    return {each.path: each.problem for each in files(paths, **options).candidates}


ALL = {".hidden/f.spkl", "a.spkl", "b.txt", "one/c.spkl", "one/deep/d.spkl", "two/e.spkl"}


def test_a_folder_is_all_below_it_but_git(tree):
    assert found(".") == dict.fromkeys(ALL, "")
    for path in (".", "*"):
        assert (".git", "not looked at, since it is named .git") in files([path]).left_out


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("*.spkl", {"a.spkl"}),
        ("*/*.spkl", {".hidden/f.spkl", "one/c.spkl", "two/e.spkl"}),
        ("**/*.spkl", ALL - {"b.txt"}),
        ("**", ALL),
        ("o*", {"one/c.spkl", "one/deep/d.spkl"}),
        ("one/**/d.spkl", {"one/deep/d.spkl"}),
        ("**/deep", {"one/deep/d.spkl"}),
        ("[!a].txt", {"b.txt"}),
        ("?.txt", {"b.txt"}),
        ("./*.txt", {"./b.txt"}),
    ],
)
def test_patterns_match_as_in_a_shell_and_hidden_names_too(tree, pattern, matches):
    assert set(found(pattern)) == matches
    absolute = files([str(tree / pattern)]).candidates
    assert {os.path.relpath(each.path) for each in absolute} == {os.path.normpath(each) for each in matches}


@pytest.mark.parametrize("pattern", ["*.nothing", "nothing/*", "a.spkl/*", "**/nothing", "one/*/*/*"])
def test_a_pattern_that_matches_nothing_is_an_error(tree, pattern):
    with pytest.raises(ValueError, match="matches no file"):
        files([pattern])


def test_a_name_with_the_characters_of_a_pattern_is_that_file(tree):
    (tree / "[ab].spkl").touch()
    (tree / "*").touch()
    assert set(found("[ab].spkl")) == {"[ab].spkl"}
    assert set(found("*")) == {"*"}


def test_a_pattern_that_matches_a_link_finds_what_a_loader_would(tree, tmp_path):
    """`models/*/x.spkl` is loaded through a link by whoever uses the pattern, so it is looked at there."""
    (tree / "current").symlink_to(tmp_path / "far")
    assert found("cur*/*.spkl") == {"current/x.spkl": ""}
    assert found("curren?") == {"current/x.spkl": ""}


def test_a_link_to_what_is_not_looked_at_is_a_problem(tree, tmp_path):
    (tree / "two" / "linked").symlink_to(tmp_path / "far")
    (tree / "two" / "file.spkl").symlink_to(tmp_path / "far" / "x.spkl")
    (tree / "two" / "nowhere").symlink_to("nothing")
    (tree / "two" / "same.spkl").symlink_to("e.spkl")
    problems = found("two")
    assert problems.pop("two/e.spkl") == ""
    assert {path: problem.split(":")[0] for path, problem in problems.items()} == {
        "two/linked": "a symbolic link to what is not looked at here, and links are not followed",
        "two/file.spkl": "a symbolic link to what is not looked at here, and links are not followed",
        "two/nowhere": "a symbolic link that leads nowhere",
    }
    assert found("two", follow_symlinks=True) == {
        "two/e.spkl": "",
        "two/file.spkl": "",
        "two/linked/x.spkl": "",
        "two/nowhere": "a symbolic link that leads nowhere",
    }
    assert "two/same.spkl" in found("two", links=True)


def test_links_round_in_a_circle_end(tree):
    (tree / "one" / "up").symlink_to(tree)
    (tree / "two" / "across").symlink_to(tree / "one")
    assert set(found("two", follow_symlinks=True)) >= {"two/e.spkl", "two/across/c.spkl"}
    assert len(files(["two"], follow_symlinks=True).candidates) < 20


def test_a_link_to_what_is_excluded_is_a_problem_and_no_way_around(tree):
    """Under its own name the target is not looked at, so the link must be."""
    (tree / "good.spkl").symlink_to("two/e.spkl")
    assert found(".", exclude=[Exclusion("two")])["good.spkl"].startswith("a symbolic link to what is not looked at here")
    assert found("two", "**/good.spkl")["good.spkl"].startswith("a symbolic link to what is not looked at here")
    assert "good.spkl" not in found(".")


def test_a_link_to_a_folder_is_a_problem_for_a_pattern_that_may_match_below_it(tree):
    (tree / "current").symlink_to("one")
    assert found("**/current/*.spkl")["current"].startswith("a symbolic link")
    assert set(found("**/c.spkl", follow_symlinks=True)) == {"one/c.spkl", "current/c.spkl"}


def test_what_is_excluded_is_not_even_listed(tree, monkeypatch):
    looked = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looked.append(os.path.normpath(path)) or real(path))
    assert set(found(".", exclude=[Exclusion("one"), Exclusion("*.txt"), Exclusion(".hidden/*")])) == {"a.spkl", "two/e.spkl"}
    assert "one" not in looked
    assert "two" in looked
    left = dict(files(["."], exclude=[Exclusion("one")]).left_out)
    assert left["one"] == "excluded"


def test_what_is_named_is_excluded_too(tree):
    assert found("a.spkl", "one", exclude=[Exclusion("a.*"), Exclusion("deep")]) == {"one/c.spkl": ""}


def test_patterns_of_a_project_are_about_paths_below_its_folder(tree, monkeypatch):
    exclude = [Exclusion("one/*.spkl", str(tree)), Exclusion("e.spkl", str(tree))]
    assert set(found(".", exclude=exclude)) == ALL - {"one/c.spkl", "two/e.spkl"}
    monkeypatch.chdir(tree / "one")
    assert set(found(".", "../two", "../a.spkl", exclude=exclude)) == {"deep/d.spkl", "../a.spkl"}
    assert set(found(str(tree / "one"), exclude=exclude)) == {str(tree / "one/deep/d.spkl")}


def test_a_folder_that_cannot_be_read_is_a_problem_whatever_the_pattern(tree, monkeypatch):
    real = os.scandir

    def denied(path):
        if os.path.basename(path) == "deep":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", denied)
    listed = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: denied(path) if os.path.basename(path) == "deep" else listed(path))
    for pattern in (".", "**/*.spkl", "one", "one/d*/*.spkl"):
        assert found(pattern)["one/deep"] == "the folder cannot be read: Permission denied"


def test_each_is_in_the_order_of_arguments_and_names(tree):
    assert list(found("two", "one", "a.spkl")) == ["two/e.spkl", "one/c.spkl", "one/deep/d.spkl", "a.spkl"]


def test_what_is_missing_or_read_twice_is_an_error(tree):
    with pytest.raises(ValueError, match=r"nothing\.spkl does not exist"):
        files(["a.spkl", "nothing.spkl"])
    with pytest.raises(ValueError, match=r"list\* does not exist"):
        files([], more=["list*"])
    with pytest.raises(ValueError, match="read once"):
        files(["-", "-"])


def test_a_file_called_like_stdin_in_a_list_is_that_file(tree):
    (tree / "-").touch()
    assert [(each.path, each.named) for each in files([], more=["-"]).candidates] == [("./-", False)]


def test_a_file_called_like_stdin_in_a_folder_or_found_by_a_pattern_is_that_file(tree):
    """Its content would be taken for that of stdin, which is empty in a pipeline, so that nobody would have looked at the file."""
    (tree / "-").touch()
    assert set(found(".")) == ALL | {"./-"}
    assert found("?") == found("[-]") == {"./-": ""}
    assert found("**")["./-"] == ""


def test_a_pattern_with_many_stars_is_matched_without_trying_every_place(tree):
    """Whoever names a file would otherwise choose one for which a pattern of the project takes hours."""
    (tree / ("_" * 250)).touch()
    (tree / "a_b_c_d_e_f_g.csv").touch()
    assert set(found(".", exclude=[Exclusion("*_*_*_*_*_*_*.csv")])) == ALL | {"_" * 250}
    assert set(found("*_*_*_*_*_*_*.csv")) == {"a_b_c_d_e_f_g.csv"}


def test_stars_match_as_in_the_standard_library(tree):
    choice = random.Random(7)
    for _ in range(3000):
        pattern = re.sub(r"\*+", "*", "".join(choice.choices(["*", "?", "a", "b", "[ab]", "[!a]"], k=choice.randint(1, 8))))
        name = "".join(choice.choices("aabc", k=choice.randint(1, 8)))
        assert selecting._compiled(pattern, anchored=True)(name) == fnmatch.fnmatchcase(name, pattern), (pattern, name)
