"""What must hold of the texts and attributes of errors: the tests that its mutants are judged by, see mutants/README.md."""

from __future__ import annotations

import pytest

from safepickle.errors import PolicyError, SafePickleError, elided, escaped, told

ELIDED = "<what looks like a key>"


@pytest.mark.parametrize(
    "secret",
    ["spk1_a", "spkpub1_Az9_+/=-", "spkpriv1_A", "0aF9" * 12, "aB3d" * 8, "aB/c_D+e=F-g" * 4],
    ids=["key", "public key", "private key", "24 bytes of hexadecimal", "32 mixed characters", "every sign of base64"],
)
def test_what_looks_like_a_key_is_replaced_and_nothing_around_it(secret):
    assert elided(f"<{secret}> and <{secret}>") == f"<{ELIDED}> and <{ELIDED}>"


@pytest.mark.parametrize("line", ["-----BEGIN PRIVATE KEY-----", "-----END EC PRIVATE KEY-----"])
def test_of_a_text_with_pem_in_it_nothing_is_told(line):
    assert elided(f"before\n{line}\nMC4C\n") == ELIDED
    assert elided(f"before {line[1:]}") == f"before {line[1:]}"


@pytest.mark.parametrize(
    "text",
    ["spk2_abc", "f" * 47, "aB3d" * 7 + "aB3", "ab12" * 8, "AB12" * 8, "abcdefghijK" * 4],
    ids=["another prefix", "23 bytes and a half of hexadecimal", "31 characters", "no capital", "capitals only", "words"],
)
def test_what_cannot_be_a_key_is_told(text):
    assert elided(text) == text


def test_a_run_is_words_from_two_characters_and_a_fifth_for_each_change_of_kind():
    """The threshold on both sides: 44 characters with 20 stretches are told, with 21 elided."""
    words = "abCD" * 8 + "abcdefGHIJKL"
    assert len(words) == 44
    assert elided("ab" * 2 + words) == "ab" * 2 + words
    told = "aB" * 8 + "abcdefghijklmn" + "ABCDEFGHIJ" + "1234"
    assert len(told) == 44
    assert elided(told) == told
    exactly = "aB" * 8 + "abcdefghijklm" + "ABCDE" + "12345" + "-----"
    assert len(exactly) == 44
    assert len(exactly) == 2.2 * 20
    assert elided(exactly) == exactly
    assert elided("aB" * 9 + exactly[18:]) == ELIDED


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é", "plain é"),
        ("a\nb\x1b", r"a\nb\x1b"),
        ("a\u202eb", r"a\u202eb"),
        ("a##b##", r"a#\x23b#\x23"),
        ("a#b", "a#b"),
        ("::error::x", r"\x3a:error::x"),
        ("  ::x", r"  \x3a:x"),
        (":x", ":x"),
        ("x ::y", "x ::y"),
        ("x\n::y", r"x\n::y"),
    ],
)
def test_what_steers_a_terminal_or_a_pipeline_is_escaped_and_nothing_else(text, shown):
    assert escaped(text) == shown


def test_an_error_holds_what_it_was_given():
    bare, told, refused = SafePickleError(), SafePickleError("m", about="serial"), PolicyError("m", ("a", "b"))
    assert (str(bare), bare.about) == ("", "")
    assert (str(told), told.about) == ("m", "serial")
    assert (str(refused), refused.refusals, refused.about, PolicyError("m").refusals) == ("m", ("a", "b"), "", ())


def test_of_an_error_of_a_library_its_class_and_the_beginning_of_its_text_are_told_in_ascii():
    assert told(KeyError("a")) == "KeyError: 'a'"
    assert told(ValueError("bé\n")) == r"ValueError: b\xe9\n"
    assert told(OSError("c" * 299 + "de")) == f"OSError: {'c' * 299}d"
    assert told(TypeError()) == "TypeError: "
