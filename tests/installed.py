"""What an installed wheel does in an environment that holds nothing but it and what it asks for; run by the Python of that environment:

    python -I tests/installed.py            # `pip install the.whl`: the core alone
    python -I tests/installed.py sklearn    # `pip install 'the.whl[sklearn]'`

With the standard library alone, and isolated (-I), so that neither the folder of this file nor the working directory is on the path. Exits with 1
at the first thing that is not so.
"""

import importlib.metadata
import importlib.resources
import importlib.util
import os
import pickle
import re
import secrets
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
DISTRIBUTION = "safepickle-ml"
# What an environment has before anything is installed into it.
GIVEN = {"pip", "setuptools", "wheel"}
COMMAND = str(Path(sysconfig.get_path("scripts")) / "safepickle")


class Hostile:
    """Makes the file at a path when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def must(condition: object, what: str) -> None:
    if not condition:
        raise SystemExit(f"not so: {what}")


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def asked_for(name: str, extras: frozenset[str]) -> set[str]:
    """Return what a distribution asks for, directly or not, among what is installed."""
    found: set[str] = set()
    waiting = [(canonical(name), extras)]
    while waiting:
        each, chosen = waiting.pop()
        if each in found:
            continue
        try:
            lines = importlib.metadata.requires(each) or []
        except importlib.metadata.PackageNotFoundError:
            # What a marker excludes here, or no extra chose.
            continue
        found.add(each)
        for line in lines:
            extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", line)
            if extra is None or extra[1] in chosen:
                waiting.append((canonical(re.match(r"[\w.-]+", line)[0]), frozenset()))
    return found


def check_environment(extras: frozenset[str]) -> None:
    version = importlib.metadata.version(DISTRIBUTION)
    # The environment itself may stand in the checkout.
    environment = Path(sys.prefix).resolve()
    places = [place for place in (Path(each).resolve() for each in sys.path) if environment not in place.parents]
    must(sys.flags.isolated, "python runs with -I")
    must(not any(place == CHECKOUT or CHECKOUT in place.parents for place in places), f"nothing of {CHECKOUT} is on sys.path: {sys.path}")
    installed = {canonical(each.metadata["Name"]) for each in importlib.metadata.distributions()}
    wanted = asked_for(DISTRIBUTION, extras)
    must(installed - GIVEN == wanted - GIVEN, f"installed is {sorted(installed)}, asked for is {sorted(wanted)}")
    must(canonical(DISTRIBUTION) in installed, "it is installed")
    must("cryptography" in installed, "cryptography is installed")
    import safepickle

    home = Path(safepickle.__file__).resolve()
    must(environment in home.parents, f"{home} is within {environment}")
    must(safepickle.__version__ == version, f"{safepickle.__version__} is {version}")
    must((importlib.resources.files(safepickle) / "py.typed").is_file(), "py.typed is installed")
    must(safepickle.Policy.default().rules, "the packs are installed")
    print(f"{DISTRIBUTION} {version} with {', '.join(sorted(wanted - {canonical(DISTRIBUTION)}))} on Python {sys.version.split()[0]}")


def run(*arguments: str, status: int, env: dict[str, str] | None = None) -> str:
    done = subprocess.run([COMMAND, *arguments], check=False, capture_output=True, text=True, env={**os.environ, **(env or {})})
    must(done.returncode == status, f"safepickle {' '.join(arguments)} exits with {status}, not {done.returncode}: {done.stdout}{done.stderr}")
    must("Traceback" not in done.stderr, done.stderr)
    return done.stdout


def check_core() -> None:
    """Without numpy: sign, verify, load, scan and refuse."""
    import safepickle

    for name in ("numpy", "sklearn", "scipy", "pandas", "joblib", "tqdm"):
        must(importlib.util.find_spec(name) is None, f"{name} is not installed")
    must(run("--version", status=0).split() == ["safepickle", safepickle.__version__], "--version says the version")
    key = {"SAFEPICKLE_KEY": run("keygen", status=0).strip()}
    os.environ.update(key)
    value = {"weights": [1.5, -2.0], "name": "plain", "count": 3, "none": None, "nested": {"flags": (True, False), "raw": b"\x00\xff"}}
    chosen = {"key": "env:SAFEPICKLE_KEY", "context": "plain/prod"}
    safepickle.dump(value, "model.spkl", serial=7, **chosen)
    must(safepickle.load("model.spkl", min_serial=7, **chosen) == value, "what was dumped is loaded")
    verify = ("--key", "env:SAFEPICKLE_KEY", "--context", "plain/prod")
    run("verify", "model.spkl", *verify, status=0)
    run("verify", "model.spkl", *verify, status=1, env={"SAFEPICKLE_KEY": run("keygen", status=0).strip()})
    damaged = bytearray(Path("model.spkl").read_bytes())
    damaged[-1] ^= 1
    Path("damaged.spkl").write_bytes(damaged)
    run("verify", "damaged.spkl", *verify, status=1)
    refused(safepickle.AuthenticationError, safepickle.load, "damaged.spkl", **chosen)
    refused(safepickle.AuthenticationError, safepickle.load, "model.spkl", key=secrets.token_bytes(32))

    Path("honest.pkl").write_bytes(pickle.dumps(value))
    run("scan", "honest.pkl", status=0)
    run("convert", "honest.pkl", "converted.spkl", "--key", "env:SAFEPICKLE_KEY", status=0)
    must(safepickle.load("converted.spkl", key="env:SAFEPICKLE_KEY") == value, "what was converted is loaded")
    # Shown to work first: without that nothing would be refused below.
    pickle.loads(pickle.dumps(Hostile("shown")))
    must(Path("shown").is_dir(), "the hostile pickle does what it is for")
    hostile = Hostile("ran")
    Path("hostile.pkl").write_bytes(pickle.dumps(hostile))
    must("mkdir" in run("scan", "hostile.pkl", status=1), "the scan names what it found")
    run("verify", "hostile.pkl", *verify, status=1)
    run("convert", "hostile.pkl", "hostile.spkl", "--key", "env:SAFEPICKLE_KEY", status=1)
    must(not Path("hostile.spkl").exists(), "no file was made of it")
    refused(safepickle.UnsignedError, safepickle.load, "hostile.pkl", key="env:SAFEPICKLE_KEY")
    refused(safepickle.PolicyError, safepickle.adopt, "hostile.pkl")
    refused(safepickle.PolicyError, safepickle.dumps, hostile, key="env:SAFEPICKLE_KEY")
    must(not Path("ran").exists(), "nothing ran")
    must("numpy" not in sys.modules, "nothing has looked for numpy")


def refused(error: type[Exception], function, *arguments, **named) -> None:
    try:
        function(*arguments, **named)
    except error:
        return
    raise SystemExit(f"not so: {function.__name__} of {arguments} raises {error.__name__}")


def main() -> None:
    extras = frozenset(sys.argv[1:])
    check_environment(extras)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        if "sklearn" in extras:
            print(run("demo", status=0), end="")
        else:
            check_core()
        os.chdir("/")
    print("all of it is so")


if __name__ == "__main__":
    main()
