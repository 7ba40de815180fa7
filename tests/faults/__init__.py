"""Faults of the machine below us: writes that fail, processes that are killed, disks and memory that are full, others who read and write meanwhile.

python -m pytest tests/faults                            a part of it, in about a minute
SAFEPICKLE_FAULTS=all python -m pytest tests/faults      every fault at every system call
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

EVERYTHING: Final = os.environ.get("SAFEPICKLE_FAULTS") == "all"
"""Whether to run what takes minutes."""
TESTS: Final = Path(__file__).resolve().parent.parent
ONE_THREAD: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def environment(**more: str) -> dict[str, str]:
    """The environment of a child that imports these helpers, and starts no threads for arithmetic."""
    path = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
    return {**os.environ, **ONE_THREAD, "PYTHONPATH": path, **more}


def python(script: str, *arguments: object, flags: tuple[str, ...] = (), seconds: float = 120, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own."""
    more.setdefault("env", environment())
    command = [sys.executable, *flags, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, **more)
