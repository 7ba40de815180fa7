"""Checks that need environments of their own, one session each: `nox -l` lists them, CONTRIBUTING.md says when to run which.

`.ci/run` does not need nox. What is written goes into `.nox/`, but for what a session is told to write elsewhere.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import nox

PYTHONS = ["3.11", "3.12", "3.13"]
EXTRAS = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]
# What users install; the others are for work on safepickle.
OFFERED = ["sklearn", "boosters", "cli", "completion", "zstd", "legacy", "aws", "pkcs11", "openssf"]
NO_THREADS = {"OMP_NUM_THREADS": "1"}
KEYS = ["tests/test_keys.py", "tests/test_keyring.py", "tests/test_container.py", "tests/test_vectors.py", "tests/test_openssf.py"]

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["lint", "types", "wheel"]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the whole suite, or what is named after `--`, with the newest release of everything."""
    session.install(".[test,build]")
    session.run("pytest", "-n", "2", *session.posargs, env=NO_THREADS)


@nox.session(python="3.11")
def minimum(session: nox.Session) -> None:
    """Run the whole suite, or what is named after `--`, with the oldest releases that are supported."""
    session.install(".[test]", "cryptography==42.0.0", "numpy==1.26.4", "scikit-learn==1.5.2", "scipy<1.14", "pandas<2.3")
    session.run("pytest", "-n", "2", *session.posargs, env=NO_THREADS)


@nox.session(python="3.13")
def newest_cryptography(session: nox.Session) -> None:
    """Run what uses keys with the newest cryptography, pre-releases included."""
    session.install(".[test]")
    session.install("--upgrade", "--pre", "cryptography")
    session.run("pytest", "-n", "2", *(session.posargs or KEYS), env=NO_THREADS)


@nox.session
def lint(session: nox.Session) -> None:
    """Run the linter and the formatter, which changes nothing here."""
    session.install("ruff>=0.12")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, as CI does: those of numpy are looked at too."""
    session.install(".[test]", "mypy>=1.15")
    session.run("mypy")


if "docs" in EXTRAS:

    @nox.session
    def docs(session: nox.Session) -> None:
        """Build the site of the documentation, without warnings."""
        session.install(".[docs]")
        session.run("mkdocs", "build", "--strict", "--site-dir", str(Path(session.create_tmp()) / "site"))


def built(session: nox.Session) -> Path:
    """Return the wheel of the commit that is checked out."""
    session.install("hatchling>=1.26")
    out = Path(session.create_tmp()) / "dist"
    shutil.rmtree(out, ignore_errors=True)
    session.run("python", "tests/building.py", str(out))
    (wheel,) = out.glob("*.whl")
    return wheel


def environment(session: nox.Session, name: str, *arguments: str) -> str:
    """Make an environment that holds what is installed and not even pip, and return its Python."""
    folder = Path(session.create_tmp()) / name
    session.run("python", "-m", "venv", "--clear", "--without-pip", str(folder))
    python = str(folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python"))
    session.run("python", "-m", "pip", "--python", python, "install", "--quiet", *arguments)
    return python


@nox.session(python=PYTHONS)
def wheel(session: nox.Session) -> None:
    """Build the wheel twice and compare, look at what is in it, and use it where nothing else is installed."""
    session.install(".[build]", "pytest>=8")
    session.run("pytest", "tests/test_wheel.py")
    made = built(session)
    session.run(environment(session, "core", str(made)), "-I", "tests/installed.py", external=True)
    session.run(environment(session, "sklearn", f"{made}[sklearn]"), "-I", "tests/installed.py", "sklearn", external=True)


@nox.session
def sbom(session: nox.Session) -> None:
    """Write CycloneDX lists of what is installed with the core alone and with extras, into the folder that is named after `--`.

    After the folder stand the extras, all that users are offered unless stated. The tool checks its output against the schema of CycloneDX.
    """
    folder, *extras = session.posargs or [str(Path(session.create_tmp()) / "sbom")]
    session.install("cyclonedx-bom>=7,<8")
    made = built(session)
    version = made.name.split("-")[1]
    # The tool takes name, licence and description from there; it does not know a version that is computed.
    stated = Path(session.create_tmp()) / "pyproject.toml"
    stated.write_text(Path("pyproject.toml").read_text("utf-8").replace('dynamic = ["version"]', f'version = "{version}"'), "utf-8")
    epoch = str(session.run("git", "show", "--no-patch", "--format=%ct", "HEAD", external=True, silent=True)).strip()
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, chosen in (("core", ""), ("extras", f"[{','.join(extras or OFFERED)}]")):
        python = environment(session, name, f"{made}{chosen}")
        target = Path(folder) / f"safepickle_ml-{version}-{name}.cdx.json"
        options = ["--pyproject", str(stated), "--mc-type", "library", "--output-reproducible", "--validate", "--sv", "1.6", "--of", "JSON"]
        session.run("cyclonedx-py", "environment", *options, "--output-file", str(target), python, env={"SOURCE_DATE_EPOCH": epoch})


@nox.session
def audit(session: nox.Session) -> None:
    """Look up what is installed with all extras, or those named after `--`, in the advisories of PyPI; needs https://pypi.org/pypi.

    Strict: without it, pip-audit exits with 0 although it could look nothing up.
    """
    session.install("pip-audit>=2.9")
    python = environment(session, "audited", f".[{','.join(session.posargs or OFFERED)}]")
    frozen = Path(session.create_tmp()) / "frozen.txt"
    listed = session.run("python", "-m", "pip", "--python", python, "freeze", "--exclude", "safepickle-ml", silent=True)
    frozen.write_text(str(listed), "utf-8")
    session.run("pip-audit", "--strict", "--no-deps", "--disable-pip", "--requirement", str(frozen))
