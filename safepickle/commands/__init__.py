"""What each command does, once its arguments are known: it calls what decides, and says what came of it. It decides nothing itself."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from typing import Final

from .asking import FAILED, CannotError, project_of

__all__ = ["COMMANDS", "FAILED", "CannotError", "run"]

# Module and function: whoever asks for one command waits for no other.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "keygen": ("keying", "make_key"),
    "pubkey": ("keying", "print_public_key"),
    "verify": ("gating", "verify_files"),
    "inspect": ("looking", "inspect_file"),
    "sign": ("keying", "sign_files"),
    "resign": ("keying", "resign_files"),
    "pins check": ("reviewing", "check_pins"),
    "pins update": ("reviewing", "update_pins"),
    "lock": ("reviewing", "lock_files"),
    "diff": ("looking", "diff_files"),
    "scan": ("looking", "scan_files"),
    "convert": ("bringing", "convert_files"),
    "policy suggest": ("looking", "suggest_rules"),
    "demo": ("bringing", "run_demo"),
}


def run(options: argparse.Namespace) -> int:
    """Run the command that was asked for and return its exit code. Raises `CannotError` where the job cannot be done."""
    options.project = project_of(options)
    module, name = COMMANDS[options.command]
    command: Callable[[argparse.Namespace], int] = getattr(importlib.import_module(f".{module}", __name__), name)
    return command(options)
