"""Keys in a PKCS #11 token, against SoftHSM, which is a token in all but hardware."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from adapters import DIGEST, check_fork, check_key, check_threads, manual, refused

import safepickle
from safepickle import KeyringError, PublicKey, read_key

pkcs11 = pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed: pip install '.[integrations-test]'")
from safepickle.integrations import pkcs11 as adapter  # noqa: E402
from safepickle.integrations import remote  # noqa: E402

MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so")
MODULE = next((path for path in MODULES if Path(path).exists()), "")
if not MODULE or shutil.which("softhsm2-util") is None:
    pytest.skip("SoftHSM is not installed: apt-get install softhsm2", allow_module_level=True)

PIN = "4711-secret-pin"
WRONG_PIN = "0000-wrong-pin"
SO_PIN = "0815-security-officer"
ED25519_PARAMETERS = b"\x13\x0cedwards25519"


@pytest.fixture(scope="module", autouse=True)
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A fresh token, with the environment that leads to it and the PIN."""
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))
        patch.setenv("TOKEN_PIN", PIN)
        for label in ("models", "other", "twin", "twin"):
            command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", SO_PIN]
            subprocess.run(command, check=True, capture_output=True)
        library = pkcs11.lib(MODULE)
        with library.get_token(token_label="models").open(rw=True, user_pin=PIN) as session:
            make(session, "p256", b"\x01")
            make(session, "p256-2", b"\x02")
            make(session, "ed25519", b"\x03", edwards=True)
            make(session, "ed25519-2", b"\x04", edwards=True)
            make(session, "always", b"\x05", private={pkcs11.Attribute.ALWAYS_AUTHENTICATE: True})
            make(session, "private public", b"\x06", public={pkcs11.Attribute.PRIVATE: True})
            make(session, "twice", b"\x07")
            make(session, "twice", b"\x08")
            make(session, "no public", b"\x09")[0].destroy()
            make(session, "verifies only", b"\x0a", private={pkcs11.Attribute.SIGN: False})
            make(session, "p384", b"\x0b", curve="secp384r1")
            session.generate_keypair(pkcs11.KeyType.RSA, 2048, label="rsa", id=b"\x0c", store=True)
            make(session, "renamed", b"\x0d")[0][pkcs11.Attribute.LABEL] = "under another name"
            # Two keys that someone stored under one name and id: the public half of one, the private of the other.
            make(session, "mixed up", b"\x0e")[1].destroy()
            make(session, "mixed up", b"\x0e")[0].destroy()
        library.finalize()
        yield str(folder)
        pkcs11.unload(MODULE)


def make(
    session: Any, label: str, identity: bytes, *, edwards: bool = False, curve: str = "secp256r1", public: Any = None, private: Any = None
) -> tuple[Any, Any]:
    from pkcs11.util.ec import encode_named_curve_parameters

    kind = pkcs11.KeyType.EC_EDWARDS if edwards else pkcs11.KeyType.EC
    parameters = ED25519_PARAMETERS if edwards else encode_named_curve_parameters(curve)
    domain = session.create_domain_parameters(kind, {pkcs11.Attribute.EC_PARAMS: parameters}, local=True)
    made: tuple[Any, Any] = domain.generate_keypair(
        mechanism=pkcs11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN if edwards else pkcs11.Mechanism.EC_KEY_PAIR_GEN,
        label=label, id=identity, store=True, public_template=public or {}, private_template=private or {},
    )  # fmt: skip
    return made


def uri(label: str, more: str = "&pin-source=env:TOKEN_PIN", token: str = "models") -> str:
    return f"pkcs11:token={token};object={quote(label)}?module-path={MODULE}{more}"


# --- what is promised --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("label", "suite"), [("p256", "ecdsa-p256-sha256"), ("ed25519", "ed25519")])
def test_a_key_of_a_token_signs_and_verifies_files(label: str, suite: str):
    key, other = read_key(uri(label)), read_key(uri(f"{label}-2"))
    assert key.suite == suite
    check_key(key, key.public_key(), other, uri(label))


@pytest.mark.parametrize("label", ["p256", "ed25519"])
def test_a_model_signed_in_a_token_loads_with_the_public_key_alone(label: str, tree: Any, tmp_path: Path):
    """In a process that has neither the module nor the PIN."""
    key = read_key(uri(label))
    safepickle.dump(tree, tmp_path / "model.spkl", key=key)
    script = """
import sys, safepickle
print(safepickle.load(sys.argv[1], key=safepickle.PublicKey.from_text(sys.argv[2])).predict([[5, 3, 1, 0.2]]), "pkcs11" in sys.modules)
"""
    argv = [sys.executable, "-c", script, str(tmp_path / "model.spkl"), key.public_key().to_text()]
    environment = {name: value for name, value in os.environ.items() if name not in ("SOFTHSM2_CONF", "TOKEN_PIN")}
    assert subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout == "[0] False\n"


def test_signatures_have_the_lower_s():
    """A token gives either; this format has one signature, not two."""
    key = read_key(uri("p256"))
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    assert all(int.from_bytes(key.sign(DIGEST)[32:]) <= order // 2 for _ in range(16))


def test_all_names_of_a_key_are_one_key():
    key = read_key(uri("p256"))
    where = pkcs11.lib(MODULE).get_token(token_label="models")
    serial = where.serial.decode()
    names = [
        f"token=models;id=%01?module-path={MODULE}",
        f"token=models;object=p256;id=%01;type=private?module-path={MODULE}",
        f"serial={serial};object=p256?module-path={MODULE}",
        f"token=models;manufacturer=SoftHSM%20project;model=SoftHSM%20v2;object=p%32%356?pin-source=env:TOKEN_PIN&module-path={MODULE}",
    ]
    assert {read_key(f"pkcs11:{name}").key_id for name in names} == {key.key_id}
    opened = adapter.open_signer(MODULE, token="models", label="p256", identifier=b"\x01", pin_source="env:TOKEN_PIN")
    assert opened.public_key() == adapter.open_signer(MODULE, serial=serial, label="p256").public_key() == key.public_key()
    key.verify(DIGEST, opened.sign(DIGEST))


def test_the_public_key_is_read_without_the_pin_where_the_token_allows_it(monkeypatch: pytest.MonkeyPatch):
    adapter.close_sessions()
    monkeypatch.delenv("TOKEN_PIN")
    key = read_key(uri("p256"))
    refused(KeyringError, "variable 'TOKEN_PIN', which should hold the PIN, is not set", lambda: key.sign(DIGEST))
    monkeypatch.setenv("TOKEN_PIN", PIN)
    key.verify(DIGEST, key.sign(DIGEST))


@pytest.mark.parametrize("label", ["private public", "renamed"])
def test_the_public_key_is_found_after_a_login_where_it_is_hidden_or_named_otherwise(label: str):
    adapter.close_sessions()
    key = read_key(uri(label))
    key.public_key().verify(DIGEST, key.sign(DIGEST))
    adapter.close_sessions()
    refused(KeyringError, "needs a PIN: add pin-source", lambda: read_key(uri(label, "")))


def test_a_key_that_asks_for_the_pin_each_time_gets_it():
    key = read_key(uri("always"))
    for _ in range(3):
        key.verify(DIGEST, key.sign(DIGEST))


def test_the_pin_may_stand_in_a_file(tmp_path: Path):
    path = tmp_path / "pin"
    for content in (PIN, f"{PIN}\n", f"{PIN}\r\n"):
        path.write_text(content, newline="")
        path.chmod(0o600)
        for prefix in ("", "//"):
            adapter.close_sessions()
            key = read_key(uri("p256", f"&pin-source=file:{prefix}{path}"))
            key.verify(DIGEST, key.sign(DIGEST))
    path.chmod(0o640)
    read_key(uri("p256", f"&pin-source=file:{path}")).sign(DIGEST)


def private_keys(session: Any) -> list[Any]:
    return list(session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY}))


def test_a_process_is_logged_in_when_it_signs_and_out_when_it_says_so(monkeypatch: pytest.MonkeyPatch):
    adapter.close_sessions()
    place = pkcs11.lib(MODULE).get_token(token_label="models")
    key = read_key(uri("p256"))
    with place.open() as session:
        assert private_keys(session) == []
        key.sign(DIGEST)
        assert private_keys(session) != []
        # Other keys of the token need no second login, nor does one that is named again.
        monkeypatch.delenv("TOKEN_PIN")
        for label in ("ed25519", "p256"):
            again = read_key(uri(label))
            again.verify(DIGEST, again.sign(DIGEST))
        adapter.close_sessions()
        assert private_keys(session) == []
    adapter.close_sessions()
    refused(KeyringError, "is not set", lambda: key.sign(DIGEST))
    monkeypatch.setenv("TOKEN_PIN", PIN)
    key.verify(DIGEST, key.sign(DIGEST))


# python-pkcs11 reports the end of a search in a session that is gone from a destructor, where nobody can catch it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("how", ["session", "login", "module"])
def test_a_session_that_is_lost_is_opened_again(how: str):
    """Another part of the program closes it, logs the process out, or initialises the module anew."""
    key = read_key(uri("p256"))
    key.sign(DIGEST)
    (kept,) = [each for where, each in adapter._SESSIONS.items() if where[0] == os.getpid()]
    if how == "session":
        kept.close()
    elif how == "login":
        with pytest.raises(pkcs11.exceptions.UserAlreadyLoggedIn):
            pkcs11.lib(MODULE).get_token(token_label="models").open(user_pin=PIN)
        pkcs11.lib(MODULE).reinitialize()
        with pkcs11.lib(MODULE).get_token(token_label="models").open(user_pin=PIN):
            pass
    else:
        pkcs11.lib(MODULE).finalize()
    key.verify(DIGEST, key.sign(DIGEST))


def test_a_login_of_the_rest_of_the_program_is_used_and_left_alone(monkeypatch: pytest.MonkeyPatch):
    adapter.close_sessions()
    key = read_key(uri("p256"))
    monkeypatch.delenv("TOKEN_PIN")
    with pkcs11.lib(MODULE).get_token(token_label="models").open(user_pin=PIN) as session:
        key.verify(DIGEST, key.sign(DIGEST))
        adapter.close_sessions()
        assert private_keys(session) != []


@pytest.mark.parametrize("label", ["p256", "ed25519"])
def test_threads_share_a_key(label: str):
    key = read_key(uri(label))
    check_threads(key, key.verify)


@pytest.mark.parametrize("label", ["p256", "ed25519"])
def test_a_child_of_a_fork_has_a_session_of_its_own(label: str):
    check_fork(uri(label))


def test_a_child_of_a_fork_is_not_logged_in_by_its_parent():
    """It has no session until it opens one, so without the PIN it signs nothing; the parent goes on with its own."""
    script = """
import os, sys, safepickle
key = safepickle.read_key(sys.argv[1])
key.sign(bytes(32))
del os.environ["TOKEN_PIN"]
child = os.fork()
if not child:
    try:
        key.sign(bytes(32))
        os.write(1, b"signed without the PIN\\n")
    except safepickle.KeyringError as error:
        os.write(1, f"{error}\\n".encode())
    os._exit(0)
os.waitpid(child, 0)
key.sign(bytes(32))
os.write(1, b"and the parent signs\\n")
"""
    done = subprocess.run([sys.executable, "-c", script, uri("p256")], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["the environment variable 'TOKEN_PIN', which should hold the PIN, is not set", "and the parent signs"], (
        done.stderr
    )


# --- what is refused -----------------------------------------------------------------------------------------------


def test_a_wrong_pin_is_tried_once(monkeypatch: pytest.MonkeyPatch):
    """Tokens lock themselves after a few attempts; a loop over models must not use them up."""
    adapter.close_sessions()
    monkeypatch.setenv("SOME_PIN", WRONG_PIN)
    named = uri("p256", "&pin-source=env:SOME_PIN")
    key = read_key(named)
    refused(KeyringError, "PinIncorrect: the PIN is wrong", lambda: key.sign(DIGEST), PIN, WRONG_PIN)
    for act in (
        lambda: key.sign(DIGEST),
        lambda: safepickle.dumps([1], key=named),
        lambda: read_key(uri("private public", "&pin-source=env:SOME_PIN")),
    ):
        refused(KeyringError, "PIN of env:SOME_PIN before, so it is not tried again", act, PIN, WRONG_PIN)
    monkeypatch.setenv("SOME_PIN", "another-wrong-pin")
    refused(KeyringError, "PinIncorrect", lambda: read_key(uri("private public", "&pin-source=env:SOME_PIN")), PIN)
    monkeypatch.setenv("SOME_PIN", PIN)
    key.verify(DIGEST, key.sign(DIGEST))


def test_a_wrong_pin_is_tried_once_by_a_key_that_asks_each_time(monkeypatch: pytest.MonkeyPatch):
    read_key(uri("p256")).sign(DIGEST)
    monkeypatch.setenv("SOME_PIN", "a-third-wrong-pin")
    key = read_key(uri("always", "&pin-source=env:SOME_PIN"))
    refused(KeyringError, "PinIncorrect", lambda: key.sign(DIGEST), PIN)
    refused(KeyringError, "before, so it is not tried again", lambda: key.sign(DIGEST), PIN)
    monkeypatch.setenv("SOME_PIN", PIN)
    key.verify(DIGEST, key.sign(DIGEST))


def test_a_wrong_pin_is_tried_once_however_the_token_is_named(monkeypatch: pytest.MonkeyPatch):
    """By its label, then by its serial number, manufacturer or model: each a further attempt, and after a few the token locks itself."""
    adapter.close_sessions()
    monkeypatch.setenv("SOME_PIN", "a-fourth-wrong-pin")
    (found,) = (each for each in pkcs11.lib(MODULE).get_tokens() if each.label == "models")
    identity = adapter._identity(found)
    refused(KeyringError, "PinIncorrect", lambda: read_key(uri("private public", "&pin-source=env:SOME_PIN")), PIN)
    for name in (f"serial={identity['serial']}", f"token=models;serial={identity['serial']}", f"token=models;model={quote(identity['model'])}"):
        other = f"pkcs11:{name};object=private%20public?module-path={MODULE}&pin-source=env:SOME_PIN"
        refused(KeyringError, "before, so it is not tried again", lambda other=other: read_key(other), PIN)


@pytest.mark.parametrize("label", ["private public", "always"])
def test_no_frame_of_an_error_about_a_pin_holds_it(label: str, monkeypatch: pytest.MonkeyPatch):
    """A PIN that is refused is often the right one of another token, or one with a slip. Reports of errors show the variables of every frame."""
    adapter.close_sessions()
    pin = f"a-wrong-pin-for-{label}"
    if label == "always":
        read_key(uri("p256")).sign(DIGEST)
    monkeypatch.setenv("SOME_PIN", pin)
    for hint in ("PinIncorrect", "before, so it is not tried again"):
        with pytest.raises(KeyringError, match=hint) as caught:
            read_key(uri(label, "&pin-source=env:SOME_PIN")).sign(DIGEST)
        frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__) if frame.f_code.co_filename == adapter.__file__]
        assert frames
        # Of plain values only: objects of a session that is closed have no text any more.
        plain = [each for frame in frames for each in frame.f_locals.values() if isinstance(each, (str, bytes, list, tuple, dict))]
        assert pin not in repr(plain)


def test_the_last_attempt_of_a_token_is_not_used_up():
    """SoftHSM never locks, so this is shown with the flags of PKCS #11 v2.40, 3.2: CKF_USER_PIN_FINAL_TRY and CKF_USER_PIN_LOCKED."""
    place = adapter._Place(MODULE, (("token", "models"),), "p256", None)
    assert (int(pkcs11.TokenFlag.USER_PIN_FINAL_TRY), int(pkcs11.TokenFlag.USER_PIN_LOCKED)) == (0x20000, 0x40000)
    adapter._check_pin_state(int(pkcs11.TokenFlag.USER_PIN_COUNT_LOW), place)
    refused(KeyringError, "one more wrong PIN would lock", lambda: adapter._check_pin_state(0x20000, place))
    refused(KeyringError, "the PIN is locked", lambda: adapter._check_pin_state(0x60000, place))


def test_a_public_key_that_belongs_to_another_private_key_signs_nothing():
    key = read_key(uri("mixed up"))
    refused(KeyringError, "does not hold under public key.*nothing was signed", lambda: safepickle.dumps([1], key=key))


REFUSED = {
    "no such label": (uri("nobody"), "there is no such key"),
    "no such label, and no PIN to look behind": (uri("nobody", ""), "needs a PIN"),
    "no such token": (uri("p256", token="nobody"), "no token\\(s\\) match"),
    "two tokens": (uri("p256", token="twin"), "2 token\\(s\\) match"),
    "key in another token": (uri("p256", token="other"), "there is no such key"),
    "two keys of one label": (uri("twice"), "2 objects of that name: say both object and id"),
    "a token that does not tell the public key": (uri("no public"), "does not tell the public key"),
    "another curve": (uri("p384"), "not an elliptic-curve key on P-256 or Ed25519"),
    "RSA": (uri("rsa"), "does not tell the public key|not an elliptic-curve key"),
    "PIN in the URI": (uri("p256", f"&pin-value={PIN}"), "pin-value is refused"),
    "PIN as its own source": (uri("p256", f"&pin-source={PIN}"), "pin-source is env:NAME or file:PATH"),
    "PIN from a command": (uri("p256", "&pin-source=|cat%20/etc/passwd"), "pin-source is env:NAME or file:PATH"),
    "no module": (f"pkcs11:token=models;object=p256?pin-source={PIN}", "which module to load"),
    "module that is not there": ("pkcs11:token=models;object=p256?module-path=/nowhere/libnone.so", "there is no PKCS #11 module"),
    "module by a relative path": ("pkcs11:token=models;object=p256?module-path=libsofthsm2.so", "by an absolute path"),
    "module that is a folder": ("pkcs11:token=models;object=p256?module-path=/usr/lib", "is not a file"),
    "module that is another file": ("pkcs11:token=models;object=p256?module-path=/etc/passwd", "cannot be loaded: PKCS11Error"),
    "no token named": (f"pkcs11:object=p256?module-path={MODULE}", "named by the token"),
    "no object named": (f"pkcs11:token=models?module-path={MODULE}", "and the object"),
    "public": (f"pkcs11:token=models;object=p256;type=public?module-path={MODULE}", "type of the pkcs11 URI is `private`"),
    "a part twice": (f"pkcs11:token=models;token=models;object=p256?module-path={MODULE}", "token twice"),
    "an unknown part": (f"pkcs11:token=models;object=p256;pin={PIN}?module-path={MODULE}", "means nothing here"),
    "an unknown option": (uri("p256", f"&pin={PIN}"), "means nothing here"),
    "a bad escape": (f"pkcs11:token=models;object=%7?module-path={MODULE}", "percent-encoded"),
    "a control character": (f"pkcs11:token=models;object=%0a?module-path={MODULE}", "without control characters"),
    "not UTF-8": (f"pkcs11:token=models;object=%ff?module-path={MODULE}", "in UTF-8"),
    "a surrogate": (f"pkcs11:token=models;object=\ud800?module-path={MODULE}", "percent-encoded"),
    "a surrogate in the id": (f"pkcs11:token=models;id=\udc80?module-path={MODULE}", "percent-encoded"),
    "a NUL in the module": ("pkcs11:token=models;object=p256?module-path=/a%00b", "control characters"),
    "nothing": ("pkcs11:", "names nothing"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_key_that_cannot_be_used_is_refused_with_a_hint(case: str):
    adapter.close_sessions()
    text, hint = REFUSED[case]
    refused(KeyringError, hint, lambda: read_key(text), PIN)


def test_a_key_that_may_not_sign_is_refused():
    refused(KeyringError, "CKA_SIGN is false", lambda: read_key(uri("verifies only")).sign(DIGEST), PIN)


def test_a_shared_library_that_is_no_module_is_refused():
    library = next(Path("/usr/lib").rglob("libz.so.1*"), None) or next(Path("/lib").rglob("libc.so.6"))
    refused(KeyringError, "cannot be loaded", lambda: read_key(f"pkcs11:token=models;object=p256?module-path={library}"))


def test_a_module_that_others_can_write_is_not_loaded(tmp_path: Path):
    copy = tmp_path / "module.so"
    shutil.copyfile(MODULE, copy)
    copy.chmod(0o666)
    refused(KeyringError, "others than its owner can write", lambda: read_key(f"pkcs11:token=models;object=p256?module-path={copy}"))


@pytest.mark.parametrize(
    ("content", "mode", "hint"),
    [
        (PIN, 0o644, "open to others"),
        (PIN, 0o660, "open to others"),
        ("", 0o600, "one line of text"),
        (f"{PIN}\n\n", 0o600, "one line of text"),
        (f"{PIN}\nmore", 0o600, "one line of text"),
        ("x" * 9000, 0o600, "longer than"),
        (None, 0o600, "cannot be read"),
    ],
)
def test_a_file_that_holds_no_pin_safely_is_refused(content: str | None, mode: int, hint: str, tmp_path: Path):
    path = tmp_path / "pin"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    adapter.close_sessions()
    key = read_key(uri("p256", f"&pin-source=file:{path}"))
    refused(KeyringError, hint, lambda: key.sign(DIGEST), PIN)
    refused(KeyringError, hint, lambda: remote.secret(f"file:{path}", "PIN"), PIN)


def test_a_point_is_read_as_tokens_give_it():
    """PKCS #11 says an OCTET STRING; some tokens give the bytes alone, or a BIT STRING."""
    for size in (65, 32):
        point = bytes(range(100, 100 + size))
        wrapped = (point, bytes((4, size)) + point, bytes((3, size + 1, 0)) + point)
        assert [adapter._unwrapped(each, size) for each in wrapped] == [point] * 3
        assert adapter._unwrapped(point[1:], size) == point[1:], "left for PublicKey to refuse"


def test_without_the_library_the_message_says_what_to_install(token: str):
    script = """
import sys
class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pkcs11":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nowhere())
import safepickle
try:
    safepickle.read_key(sys.argv[1])
except safepickle.KeyringError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script, uri("p256")], capture_output=True, text=True, check=True)
    assert "pip install 'python-pkcs11" in done.stdout


# --- the manual ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("pkcs11-tool") is None, reason="pkcs11-tool is not installed: apt-get install opensc")
def test_the_commands_and_the_example_of_the_manual_make_a_key_that_signs(tmp_path: Path):
    commands = manual("sh", "softhsm2-util").replace("/usr/lib/softhsm/libsofthsm2.so", MODULE)
    example = manual("python", "pkcs11:token").replace("/usr/lib/softhsm/libsofthsm2.so", MODULE).replace("/home/me", str(tmp_path))
    assert MODULE in commands
    assert str(tmp_path) in example
    (tmp_path / "example.py").write_text(f"import safepickle\nmodel = [1, 2, 3]\n{example}")
    environment = {**os.environ, "HOME": str(tmp_path)}
    environment.pop("SOFTHSM2_CONF")
    script = f'set -eu\n{commands}\nexec "$PYTHON" example.py'
    environment["PYTHON"] = sys.executable
    done = subprocess.run(["bash", "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    public = PublicKey.from_text(done.stdout.splitlines()[-1])
    assert public.suite == "ecdsa-p256-sha256"
    assert safepickle.load(tmp_path / "model.spkl", key=public) == [1, 2, 3]


def test_a_public_key_of_the_token_is_one_like_any_other():
    public = read_key(uri("p256")).public_key()
    assert PublicKey.from_pem(public.to_pem()) == public
