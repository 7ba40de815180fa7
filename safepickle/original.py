"""Load an original with plain `joblib.load` or `pickle.load`, in a process of its own, and write down what it answers to inputs.

    python -m safepickle.original pickle|joblib ORIGINAL INPUTS FOLDER

This executes whatever the file says. `converting` starts it, for a file that a scan found within the policy, and only where the
user asked for it by `--run-original`. There is nothing here for anyone who imports this module.
"""

from __future__ import annotations

__all__: list[str] = []

if __name__ == "__main__":
    import sys

    from safepickle.comparing import answers, read_inputs, write_answers

    loader, path, inputs, folder = sys.argv[1:]
    if loader == "joblib":
        import joblib

        model = joblib.load(path)
    else:
        import pickle

        with open(path, "rb") as file:
            model = pickle.load(file)  # noqa: S301 - its only purpose; see above
    write_answers(folder, answers(model, read_inputs(inputs)))
