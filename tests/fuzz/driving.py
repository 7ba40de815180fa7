"""The process that libFuzzer runs in: `python -m fuzz.driving TARGET [libFuzzer's options and folders]`, with `tests` on the path."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys

import atheris


def main() -> None:
    name, *options = sys.argv[1:]
    # Only safepickle is instrumented: what it is made of, and these targets, are not what is tested.
    with atheris.instrument_imports(include=["safepickle"]), contextlib.redirect_stderr(io.StringIO()):
        module = importlib.import_module(f"fuzz.targets.{name}")
    more = {}
    if hasattr(module, "mutation"):
        from fuzz.mutating import mutator

        # Looked up when it is called: Fuzz() puts another one in its place.
        more["custom_mutator"] = mutator(*module.mutation(), lambda data, most: atheris.Mutate(data, most))
    atheris.Setup([sys.argv[0], f"-max_len={module.MAX_LEN}", *options], module.run, **more)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
