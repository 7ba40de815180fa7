"""The process that libFuzzer runs in: `python -m fuzz.driving TARGET [libFuzzer's options and folders]`, with `tests` on the path."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import os
import sys
import time
from pathlib import Path

import atheris

# Of CPU time, so that a busy machine is no fault; what does not end at all is stopped by libFuzzer.
MOST_SECONDS = 20


def main() -> None:
    name, *options = sys.argv[1:]
    # Only safepickle is instrumented: what it is made of, and these targets, are not what is tested.
    with atheris.instrument_imports(include=["safepickle"]), contextlib.redirect_stderr(io.StringIO()):
        module = importlib.import_module(f"fuzz.targets.{name}")
    more = {}
    if hasattr(module, "mutator"):
        # Looked up when it is called: Fuzz() puts another one in its place.
        more["custom_mutator"] = module.mutator(lambda data, most: atheris.Mutate(data, most))
    prefix = next((each.partition("=")[2] for each in options if each.startswith("-artifact_prefix=")), "")

    def one(data: bytes) -> None:
        started = time.process_time()
        try:
            module.run(data)
            seconds = time.process_time() - started
            if seconds > MOST_SECONDS:
                raise TimeoutError(f"{seconds:.0f} s of CPU time")
        except BaseException:
            # Under the name that libFuzzer gives it, which does not always come to that once Python has raised.
            Path(f"{prefix}crash-{hashlib.sha1(data, usedforsecurity=False).hexdigest()}").write_bytes(data)
            raise

    # How libFuzzer is to start this again, which it does to merge and for several jobs.
    program = os.environ.get("FUZZ_PROGRAM", sys.argv[0])
    atheris.Setup([program, f"-max_len={module.MAX_LEN}", *options], one, **more)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
