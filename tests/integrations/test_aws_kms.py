"""Keys of AWS KMS, against moto's real server over HTTP; what moto does not do (Ed25519, failures) against a scripted server."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from adapters import DIGEST, check_fork, check_key, check_threads, flipped, free_port, manual, refused, wait_for

import safepickle
from safepickle import AuthenticationError, KeyringError, PrivateKey, PublicKey, read_key

boto3 = pytest.importorskip("boto3", reason="boto3 is not installed: pip install '.[integrations-test]'")
pytest.importorskip("moto.server", reason="moto's server is not installed: pip install '.[integrations-test]'")

from safepickle.integrations import aws_kms  # noqa: E402

ACCESS_KEY = "AKIAFAKEFAKEFAKEFAKE"
SECRET = "fake-secret-access-key-of-the-tests-0000"
REGION = "eu-west-1"
TEXT_OF_KMS = f"text-of-KMS {ACCESS_KEY} \x1b[31m"
ARN = f"arn:aws:kms:{REGION}:123456789012:key/11111111-2222-3333-4444-555555555555"

SERVER = """
import sys
from moto.server import main
main(["-H", "127.0.0.1", "-p", sys.argv[1]])
"""


@pytest.fixture(scope="module", autouse=True)
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Fake credentials, and nothing of the machine's own configuration."""
    empty = tmp_path_factory.mktemp("aws") / "empty"
    empty.touch()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_") or name.lower().endswith("_proxy")]:
            patch.delenv(name)
        values = {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": str(empty),
            "AWS_SHARED_CREDENTIALS_FILE": str(empty),
        }
        for name, value in values.items():
            patch.setenv(name, value)
        yield values


@pytest.fixture(scope="module")
def endpoint(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    with (tmp_path_factory.mktemp("moto") / "log").open("wb") as log:
        server = subprocess.Popen([sys.executable, "-c", SERVER, str(port)], stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/moto-api/", lambda: server.poll() is None)
        yield url
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def kms(endpoint: str) -> Any:
    client = boto3.session.Session().client("kms", region_name=REGION, endpoint_url=endpoint)
    yield client
    client.close()


def create(kms: Any, usage: str, spec: str, alias: str | None = None) -> str:
    key_id: str = kms.create_key(KeyUsage=usage, KeySpec=spec)["KeyMetadata"]["KeyId"]
    if alias is not None:
        kms.create_alias(AliasName=f"alias/{alias}", TargetKeyId=key_id)
    return key_id


@pytest.fixture(scope="module")
def keys(kms: Any) -> dict[str, str]:
    return {
        "ecdsa": create(kms, "SIGN_VERIFY", "ECC_NIST_P256", "ecdsa"),
        "ecdsa-2": create(kms, "SIGN_VERIFY", "ECC_NIST_P256"),
        "mac": create(kms, "GENERATE_VERIFY_MAC", "HMAC_256", "mac"),
        "mac-2": create(kms, "GENERATE_VERIFY_MAC", "HMAC_256"),
    }


@pytest.fixture(scope="module")
def uri(endpoint: str) -> Callable[..., str]:
    return lambda key, more="": f"awskms:{key}?region={REGION}&endpoint_url={endpoint}{more}"


# --- what is promised --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ecdsa", "mac"])
def test_a_key_of_kms_signs_and_verifies_files(kind: str, keys: dict[str, str], uri: Callable[..., str]):
    key, verifier, other = read_key(uri(keys[kind])), read_key(uri(keys[kind], "&use=verify")), read_key(uri(keys[f"{kind}-2"]))
    check_key(key, verifier, other, uri(keys[kind]))


def test_a_model_signed_in_kms_loads_with_the_public_key_alone(keys: dict[str, str], uri: Callable[..., str], tree: Any, tmp_path: Path):
    """In a process that has neither boto3 nor credentials nor the network."""
    key = read_key(uri(keys["ecdsa"]))
    safepickle.dump(tree, tmp_path / "model.spkl", key=key, context="iris/prod")
    script = """
import sys
class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"boto3", "botocore"} or name.startswith("safepickle.integrations"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nowhere())
import safepickle
print(safepickle.load(sys.argv[1], key=safepickle.PublicKey.from_text(sys.argv[2]), context="iris/prod").predict([[5, 3, 1, 0.2]]))
"""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    argv = [sys.executable, "-c", script, str(tmp_path / "model.spkl"), key.public_key().to_text()]
    assert subprocess.run(argv, env=clean, capture_output=True, text=True, check=True).stdout == "[0]\n"


def test_the_public_key_is_that_of_kms(kms: Any, keys: dict[str, str], uri: Callable[..., str]):
    der = kms.get_public_key(KeyId=keys["ecdsa"])["PublicKey"]
    key = read_key(uri(keys["ecdsa"]))
    assert base64.b64encode(der) in key.public_key().to_pem().replace(b"\n", b"")
    assert key.public_key() == read_key(uri(keys["ecdsa"], "&use=verify"))
    assert isinstance(read_key(uri(keys["ecdsa"], "&use=verify")), PublicKey)
    # And KMS agrees that the signature is one.
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    from safepickle.keys import signed_message

    signature = key.sign(DIGEST)
    encoded = encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    message = signed_message(key.suite, bytes.fromhex(key.key_id), DIGEST)
    assert kms.verify(KeyId=keys["ecdsa"], Message=message, Signature=encoded, SigningAlgorithm="ECDSA_SHA_256")["SignatureValid"]


@pytest.mark.parametrize("kind", ["ecdsa", "mac"])
def test_all_names_of_a_key_are_one_key(kind: str, kms: Any, keys: dict[str, str], uri: Callable[..., str], endpoint: str):
    arn = kms.describe_key(KeyId=keys[kind])["KeyMetadata"]["Arn"]
    names = [keys[kind], arn, f"alias/{kind}", arn.replace(f"key/{keys[kind]}", f"alias/{kind}")]
    found = [read_key(uri(name)) for name in names] + [read_key(f"awskms:{arn}?endpoint_url={endpoint}")]
    assert {(key.suite, key.key_id, key.where) for key in found} == {(found[0].suite, found[0].key_id, f"AWS KMS with {arn}")}


def test_an_alias_that_is_pointed_elsewhere_changes_nothing_of_an_open_key(kms: Any, uri: Callable[..., str]):
    """The key that was looked up is the key that is used."""
    first, second = create(kms, "GENERATE_VERIFY_MAC", "HMAC_256", "moving"), create(kms, "GENERATE_VERIFY_MAC", "HMAC_256")
    key = read_key(uri("alias/moving"))
    signature = key.sign(DIGEST)
    kms.update_alias(AliasName="alias/moving", TargetKeyId=second)
    key.verify(DIGEST, signature)
    assert key.key_id == read_key(uri(first)).key_id != read_key(uri("alias/moving")).key_id


def test_a_key_in_another_region_is_another_key(keys: dict[str, str], endpoint: str):
    refused(
        KeyringError, "no such key in this account and Region", lambda: read_key(f"awskms:{keys['mac']}?region=us-east-1&endpoint_url={endpoint}")
    )


def test_a_client_of_ones_own_is_used(kms: Any, keys: dict[str, str]):
    key = aws_kms.open_signer(keys["mac"], client=kms)
    aws_kms.open_verifier(keys["mac"], client=kms).verify(DIGEST, key.sign(DIGEST))


@pytest.mark.parametrize("kind", ["ecdsa", "mac"])
def test_threads_share_a_key(kind: str, keys: dict[str, str], uri: Callable[..., str]):
    key = read_key(uri(keys[kind]))
    check_threads(key, key.verify)


@pytest.mark.parametrize("kind", ["ecdsa", "mac"])
def test_a_child_of_a_fork_has_connections_of_its_own(kind: str, keys: dict[str, str], uri: Callable[..., str]):
    check_fork(uri(keys[kind]))


# --- permissions, as IAM and moto decide ---------------------------------------------------------------------------


@contextlib.contextmanager
def allowed(endpoint: str, *actions: str) -> Iterator[tuple[str, str]]:
    """Yield the credentials of a user who may do these things and nothing else, while the server checks signatures and permissions.

    moto does not look at the resource of a statement, so it is "*" here. Its refusal is an HTTP 403 without a code of KMS; the codes
    of AWS are below.
    """
    iam = boto3.session.Session().client("iam", region_name=REGION, endpoint_url=endpoint)
    name = f"user-{len(actions)}-{time.monotonic_ns()}"
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}]}
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="least", PolicyDocument=json.dumps(policy))
    pair = iam.create_access_key(UserName=name)["AccessKey"]
    iam.close()

    def reset(count: str) -> None:
        request = urllib.request.Request(f"{endpoint}/moto-api/reset-auth", count.encode(), {"Content-Type": "text/plain"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200

    reset("0")
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ACCESS_KEY_ID", pair["AccessKeyId"])
            patch.setenv("AWS_SECRET_ACCESS_KEY", pair["SecretAccessKey"])
            yield pair["AccessKeyId"], pair["SecretAccessKey"]
    finally:
        reset("inf")


def policies() -> dict[str, list[str]]:
    """The least policies, as docs/remote-keys.md gives them."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "remote-keys.md").read_text("utf-8")
    found = {}
    for line in text.splitlines():
        if line.startswith("| ") and "`kms:" in line:
            who, actions = line.strip("| ").split(" | ")
            found[who] = [action.strip("` ") for action in actions.split(",")]
    assert set(found) == {
        "signs, asymmetric key",
        "reads the public key once",
        "signs and verifies, HMAC key",
        "only signs, HMAC key",
        "only verifies, HMAC key",
    }
    return found


def test_the_policies_of_the_manual_are_enough_and_the_least(endpoint: str, keys: dict[str, str], uri: Callable[..., str]):
    """Each does what it is for; without any one of its actions it does not."""
    acts: dict[str, Callable[[], Any]] = {
        "signs, asymmetric key": lambda: read_key(uri(keys["ecdsa"])).sign(DIGEST),
        "reads the public key once": lambda: read_key(uri(keys["ecdsa"], "&use=verify")).key_id,
        "signs and verifies, HMAC key": lambda: (key := read_key(uri(keys["mac"]))).verify(DIGEST, key.sign(DIGEST)),
        "only signs, HMAC key": lambda: read_key(uri(keys["mac"])).sign(DIGEST),
        "only verifies, HMAC key": lambda: read_key(uri(keys["mac"], "&use=verify")).verify(DIGEST, mac),
    }
    mac = read_key(uri(keys["mac"])).sign(DIGEST)
    for who, actions in policies().items():
        with allowed(endpoint, *actions):
            acts[who]()
        for left_out in actions:
            with allowed(endpoint, *(each for each in actions if each != left_out), "kms:ListKeys") as credentials:
                refused(KeyringError, f"allow {left_out} on it", acts[who], *credentials)


def test_the_policy_of_the_manual_that_is_written_out_is_one_of_the_least():
    (statement,) = json.loads(manual("json", "Statement"))["Statement"]
    assert (statement["Effect"], statement["Action"]) == ("Allow", policies()["only verifies, HMAC key"])
    assert aws_kms._ARN.fullmatch(statement["Resource"].replace("<key id>", ARN.rpartition("/")[2]))


def test_the_examples_of_the_manual_run(endpoint: str, kms: Any, tree: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each kind of key that its commands make signs and verifies in its lines of Python."""
    commands = manual("sh", "aws kms")
    made = re.findall(r"^aws kms create-key --key-usage (\S+) --key-spec (\S+)$", commands, re.MULTILINE)
    (alias,) = re.findall(r"^aws kms create-alias --alias-name (\S+) --target-key-id <key id>$", commands, re.MULTILINE)
    assert len(made) == 2
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.chdir(tmp_path)
    for usage, spec in made:
        create(kms, usage, spec, alias.removeprefix("alias/"))
        names: dict[str, Any] = {"safepickle": safepickle, "model": tree, "boto3_client": kms}
        exec(manual("python", "awskms:") + manual("python", "aws_kms.open_signer"), names)
        for key in (names["key"], names["verifier"]):
            assert safepickle.load("model.spkl", key=key).predict([[5, 3, 1, 0.2]]) == [0]
        assert not isinstance(names["verifier"], safepickle.Signer)
        kms.delete_alias(AliasName=alias)


def test_who_may_only_verify_cannot_sign(endpoint: str, keys: dict[str, str], uri: Callable[..., str]):
    """What the host holds does not suffice to sign, even when it names the key without `use=verify`."""
    signed = safepickle.dumps([1, 2], key=uri(keys["mac"]))
    with allowed(endpoint, *policies()["only verifies, HMAC key"]):
        assert safepickle.loads(signed, key=uri(keys["mac"], "&use=verify")) == [1, 2]
        assert safepickle.loads(signed, key=uri(keys["mac"])) == [1, 2]
        refused(KeyringError, "allow kms:GenerateMac on it", lambda: safepickle.dumps([1, 2], key=uri(keys["mac"])))


@pytest.mark.parametrize("wrong", ["id", "secret"])
def test_wrong_credentials_are_refused_without_being_told(wrong: str, endpoint: str, keys: dict[str, str], uri: Callable[..., str]):
    with allowed(endpoint, "kms:*") as (_, secret), pytest.MonkeyPatch.context() as patch:
        patch.setenv(*(("AWS_ACCESS_KEY_ID", ACCESS_KEY) if wrong == "id" else ("AWS_SECRET_ACCESS_KEY", SECRET)))
        refused(KeyringError, "the credentials are not accepted", lambda: read_key(uri(keys["mac"])), secret, SECRET, ACCESS_KEY)


# --- keys that cannot be used --------------------------------------------------------------------------------------


def test_a_disabled_key_is_refused(kms: Any, uri: Callable[..., str]):
    key_id = create(kms, "GENERATE_VERIFY_MAC", "HMAC_256")
    signed = safepickle.dumps([1], key=uri(key_id))
    kms.disable_key(KeyId=key_id)
    for act in (lambda: safepickle.dumps([1], key=uri(key_id)), lambda: safepickle.loads(signed, key=uri(key_id, "&use=verify"))):
        refused(KeyringError, "not enabled, it is 'Disabled'", act)
    kms.enable_key(KeyId=key_id)
    assert safepickle.loads(signed, key=uri(key_id, "&use=verify")) == [1]
    kms.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
    refused(KeyringError, "not enabled, it is 'PendingDeletion'", lambda: read_key(uri(key_id)))


@pytest.mark.parametrize("name", ["alias/nobody", "99999999-2222-3333-4444-555555555555", ARN])
def test_an_unknown_key_is_refused(name: str, uri: Callable[..., str]):
    refused(KeyringError, f"{name}: NotFoundException: there is no such key", lambda: read_key(uri(name)), SECRET)


@pytest.mark.parametrize(
    ("usage", "spec"),
    [("ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT"), ("SIGN_VERIFY", "ECC_NIST_P384"), ("SIGN_VERIFY", "RSA_2048"), ("GENERATE_VERIFY_MAC", "HMAC_512")],
)
def test_a_key_of_another_kind_is_refused(kms: Any, uri: Callable[..., str], usage: str, spec: str):
    key_id = create(kms, usage, spec)
    for more in ("", "&use=verify"):
        refused(KeyringError, f"{usage}.*{spec}.*ECC_NIST_P256", lambda more=more: read_key(uri(key_id, more)))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("awskms:", "names nothing"),
        ("awskms:?region=eu-west-1", "named by its key id"),
        ("awskms:a key", "named by its key id"),
        ("awskms:arn:aws:s3:::bucket", "not the ARN of a KMS key"),
        (f"awskms:{ARN}?region=us-east-1", "the ARN is of Region eu-west-1"),
        ("awskms:alias/x?region=eu-west-1&region=eu-west-1", "region twice"),
        ("awskms:alias/x?region=", "region.*empty"),
        ("awskms:alias/x?region=%zz", "region.*percent-encoded"),
        ("awskms:alias/x?region=eu%00west", "control characters"),
        ("awskms:alias/x?region=\ud800", "region.*percent-encoded"),
        ("awskms:alias/x?region=EU", "such as eu-west-1"),
        (f"awskms:alias/x?secret={SECRET}", "means nothing here"),
        (f"awskms:alias/x?{SECRET}", "means nothing here"),
        ("awskms:alias/x?use=sign", "use .*can be `verify`"),
        ("awskms:alias/x?region=eu-west-1&endpoint_url=http://kms.example", "http:// on this machine only"),
        ("awskms:alias/x?region=eu-west-1&endpoint_url=http://127.0.0.1.example", "http:// on this machine only"),
        ("awskms:alias/x?region=eu-west-1&endpoint_url=file:///etc/passwd", "reached at https"),
        (f"awskms:alias/x?region=eu-west-1&endpoint_url=https://me:{SECRET}@kms.example", "credentials stand elsewhere"),
        ("awskms:alias/x?region=eu-west-1&endpoint_url=https://%5B", "not a URL"),
    ],
)
def test_a_uri_that_says_something_else_is_refused(text: str, hint: str):
    refused(KeyringError, hint, lambda: read_key(text), SECRET)


def test_an_endpoint_of_the_environment_is_not_trusted_more_than_one_of_the_uri(monkeypatch: pytest.MonkeyPatch):
    """boto3 reads AWS_ENDPOINT_URL: whoever answers there says which MACs hold."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://kms.example")
    refused(KeyringError, "http:// on this machine only", lambda: read_key(f"awskms:{ARN}"))


def test_without_credentials_or_region_the_message_says_so(monkeypatch: pytest.MonkeyPatch, endpoint: str):
    refused(KeyringError, r"NoRegionError.*\?region=", lambda: read_key("awskms:alias/mac"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    refused(KeyringError, "NoCredentialsError: there are no AWS credentials", lambda: read_key(f"awskms:{ARN}?endpoint_url={endpoint}"))
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    refused(KeyringError, "ProfileNotFound", lambda: read_key(f"awskms:{ARN}?endpoint_url={endpoint}"))


def test_without_boto3_the_message_says_what_to_install():
    script = """
import sys
class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"boto3", "botocore"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nowhere())
import safepickle
try:
    safepickle.read_key("awskms:alias/x?region=eu-west-1")
except safepickle.KeyringError as error:
    print(error)
"""
    assert "pip install 'boto3" in subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout


# --- when the service cannot be reached, or says something else ----------------------------------------------------


def test_an_endpoint_where_nobody_listens_is_given_up_within_seconds():
    started = time.monotonic()
    refused(
        KeyringError, "EndpointConnectionError: no connection", lambda: read_key(f"awskms:{ARN}?endpoint_url=http://127.0.0.1:{free_port()}"), SECRET
    )
    assert time.monotonic() - started < 10


def test_a_service_that_never_answers_is_given_up():
    """The first with a client of short patience; that of a URI has the timeouts of this module."""
    from botocore.config import Config

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        config = Config(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 1})
        client = boto3.session.Session().client("kms", region_name=REGION, endpoint_url=url, config=config)
        started = time.monotonic()
        refused(KeyringError, "ReadTimeoutError: no answer in time", lambda: aws_kms.open_signer(ARN, client=client), SECRET)
        assert time.monotonic() - started < 5
        client.close()
    client = aws_kms._client(REGION, url)
    config = client.meta.config
    client.close()
    assert (config.connect_timeout, config.read_timeout, config.retries) == (3, 6, {"total_max_attempts": 3, "mode": "standard"})


class Scripted(http.server.BaseHTTPRequestHandler):
    """Answers each operation of KMS with what the test put into `answers`: a dict, an error code as text, or (status, bytes)."""

    protocol_version = "HTTP/1.1"
    answers: dict[str, Any]
    asked: list[tuple[str, dict[str, Any]]]

    def do_POST(self) -> None:
        operation = self.headers["X-Amz-Target"].removeprefix("TrentService.")
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((operation, request | {"port": self.client_address[1]}))
        answer = self.answers[operation]
        if callable(answer):
            answer = answer(request)
        status, body = 200, b""
        if isinstance(answer, str):
            status, body = 400, json.dumps({"__type": answer, "message": TEXT_OF_KMS}).encode()
        elif isinstance(answer, tuple):
            status, body = answer
        else:
            body = json.dumps(
                {name: base64.b64encode(value).decode() if isinstance(value, bytes) else value for name, value in answer.items()}
            ).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

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
        yield f"awskms:{ARN}?endpoint_url=http://127.0.0.1:{server.server_address[1]}", handler.answers, handler.asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def described(usage: str, spec: str, state: str = "Enabled") -> dict[str, Any]:
    return {"KeyMetadata": {"KeyId": ARN.rpartition("/")[2], "Arn": ARN, "KeyUsage": usage, "KeySpec": spec, "KeyState": state}}


def der(private: PrivateKey) -> bytes:
    return base64.b64decode(b"".join(private.public_key().to_pem().splitlines()[1:-1]))


def signing(private: PrivateKey) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Sign as KMS documents it for ECC_NIST_EDWARDS25519: ED25519_SHA_512 over the message itself, MessageType RAW."""

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        assert (request["SigningAlgorithm"], request["MessageType"]) == ("ED25519_SHA_512", "RAW")
        signer: Any = load_pem_private_key(private.to_pem(), None)
        return {"Signature": signer.sign(base64.b64decode(request["Message"]))}

    return answer


def test_an_ed25519_key_as_the_service_documents_it(scripted: tuple[str, dict[str, Any], list[Any]]):
    """moto 5.2 does not know ECC_NIST_EDWARDS25519; this server answers as the API reference has it."""
    uri, answers, asked = scripted
    private, other = PrivateKey.generate(), PrivateKey.generate()
    answers |= {
        "DescribeKey": described("SIGN_VERIFY", "ECC_NIST_EDWARDS25519"),
        "GetPublicKey": {"PublicKey": der(private)},
        "Sign": signing(private),
    }
    key = read_key(uri)
    assert (key.suite, key.public_key()) == ("ed25519", private.public_key())
    check_key(key, private.public_key(), other, uri)
    assert {operation for operation, _ in asked} == {"DescribeKey", "GetPublicKey", "Sign"}


def test_a_signature_that_does_not_hold_is_never_handed_on(scripted: tuple[str, dict[str, Any], list[Any]]):
    """A service that mixes up keys or messages is noticed before a file is written."""
    uri, answers, _ = scripted
    private, other = PrivateKey.generate("ecdsa-p256-sha256"), PrivateKey.generate()
    answers |= {"DescribeKey": described("SIGN_VERIFY", "ECC_NIST_P256"), "GetPublicKey": {"PublicKey": der(private)}}
    key = read_key(uri)
    answers["Sign"] = {"Signature": bytes.fromhex("3006020101020101")}
    refused(KeyringError, "does not hold under public key.*nothing was signed", lambda: safepickle.dumps([1], key=key))
    for nonsense in (b"", b"\x30", bytes(64), b"\x30\x26\x02\x01\x01\x02\x21" + b"\x7f" * 33):
        answers["Sign"] = {"Signature": nonsense}
        refused(KeyringError, "not an ECDSA signature|does not hold", lambda: key.sign(DIGEST))
    for answer in ({}, {"Signature": None}):
        answers["Sign"] = answer
        refused(KeyringError, "not an ECDSA signature", lambda: key.sign(DIGEST))
    answers |= {"DescribeKey": described("SIGN_VERIFY", "ECC_NIST_EDWARDS25519"), "GetPublicKey": {"PublicKey": der(other)}}
    key = read_key(uri)
    for value in (b"", bytes(63), bytes(64), bytes(65)):
        answers["Sign"] = {"Signature": value}
        refused(KeyringError, "does not hold", lambda: key.sign(DIGEST))


def test_a_public_key_of_another_kind_than_described_is_refused(scripted: tuple[str, dict[str, Any], list[Any]]):
    uri, answers, _ = scripted
    answers |= {"DescribeKey": described("SIGN_VERIFY", "ECC_NIST_P256")}
    for public in ({"PublicKey": der(PrivateKey.generate())}, {"PublicKey": b"\x30\x00"}, {"PublicKey": b""}, {}):
        answers["GetPublicKey"] = public
        refused(KeyringError, "gave a public key of suite ed25519|not a valid public key|gave no public key", lambda: read_key(uri))


def test_a_mac_holds_only_if_the_service_says_so(scripted: tuple[str, dict[str, Any], list[Any]]):
    uri, answers, asked = scripted
    answers |= {"DescribeKey": described("GENERATE_VERIFY_MAC", "HMAC_256"), "VerifyMac": {"MacValid": True}}
    key = read_key(uri)
    key.verify(DIGEST, bytes(32))
    assert asked[-1][1]["MacAlgorithm"] == "HMAC_SHA_256"
    assert asked[-1][1]["KeyId"] == ARN
    for answer in ({"MacValid": False}, {}, {"MacValid": None}, "KMSInvalidMacException"):
        answers["VerifyMac"] = answer
        refused(AuthenticationError, f"the MAC by key {key.key_id} does not hold", lambda: key.verify(DIGEST, bytes(32)), ACCESS_KEY)
    for mac in (b"", bytes(31), bytes(33)):
        answers["GenerateMac"] = {"Mac": mac}
        refused(KeyringError, "no MAC of 32 bytes", lambda: key.sign(DIGEST))
    answers["GenerateMac"] = "KMSInvalidMacException"
    refused(KeyringError, "GenerateMac.*KMSInvalidMacException", lambda: key.sign(DIGEST))


def test_a_child_of_a_fork_does_not_write_into_a_connection_of_its_parent(scripted: tuple[str, dict[str, Any], list[Any]]):
    """moto closes each connection; this server keeps them, and one that both use could give one the answer to the other's question."""
    uri, answers, asked = scripted
    answers |= {"DescribeKey": described("GENERATE_VERIFY_MAC", "HMAC_256"), "GenerateMac": {"Mac": bytes(32)}}
    script = """
import os, sys, safepickle
key = safepickle.read_key(sys.argv[1])
for _ in range(2):
    key.sign(bytes(32))
child = os.fork()
if not child:
    key.sign(bytes(32))
    os._exit(0)
os.waitpid(child, 0)
key.sign(bytes(32))
"""
    subprocess.run([sys.executable, "-c", script, uri], check=True, timeout=60)
    ports = [request["port"] for operation, request in asked if operation == "GenerateMac"]
    assert len(ports) == 4
    assert ports[0] == ports[1] == ports[3] != ports[2]


ERRORS = {
    "DisabledException": "the key is disabled",
    "KMSInvalidStateException": "scheduled for deletion",
    "InvalidKeyUsageException": "made for another use",
    "AccessDeniedException": "allow kms:VerifyMac on it",
    "UnrecognizedClientException": "credentials are not accepted",
    "ExpiredTokenException": "credentials are not accepted",
    "ThrottlingException": "try again later",
    "KMSInternalException": "try again later",
    "SomethingNewException": "SomethingNewException: see the documentation",
    "so\x1b[31mcoloured": "an error: see the documentation",
}


@pytest.mark.parametrize("code", ERRORS)
def test_an_error_of_the_service_fails_closed_and_is_told_by_its_code(code: str, scripted: tuple[str, dict[str, Any], list[Any]]):
    """Whatever goes wrong while a MAC is checked is no reason to load; the text of the service is not repeated."""
    uri, answers, _ = scripted
    answers |= {"DescribeKey": described("GENERATE_VERIFY_MAC", "HMAC_256"), "GenerateMac": {"Mac": bytes(32)}}
    signed = safepickle.dumps([1], key=uri)
    answers["VerifyMac"] = code
    refused(KeyringError, ERRORS[code], lambda: safepickle.loads(signed, key=uri), SECRET, *TEXT_OF_KMS.split())


@pytest.mark.parametrize(
    "answer", [(500, b"oops"), (200, b"<html>a captive portal</html>"), (200, b""), (200, b"[]"), (200, b"null"), (302, b""), (404, b"not here")]
)
def test_an_answer_that_is_none_of_kms_fails_closed(answer: tuple[int, bytes], scripted: tuple[str, dict[str, Any], list[Any]]):
    uri, answers, _ = scripted
    answers |= {"DescribeKey": described("GENERATE_VERIFY_MAC", "HMAC_256"), "GenerateMac": {"Mac": bytes(32)}}
    key = read_key(uri)
    answers["VerifyMac"] = answer
    with pytest.raises((KeyringError, AuthenticationError)):
        key.verify(DIGEST, flipped(key.sign(DIGEST), 0))
    answers["DescribeKey"] = answer
    with pytest.raises(KeyringError):
        read_key(uri)
