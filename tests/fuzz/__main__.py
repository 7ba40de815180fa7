"""`python -m tests.fuzz`, in a checkout."""

import sys
from pathlib import Path

# `tests` is no package: what is in it is imported by its own name, as pytest does it.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from fuzz.running import main

    sys.exit(main())
