"""Vectorizers, encoders and other transformers whose output is as wide as they say."""

from __future__ import annotations

from typing import Final

from .view import Check

__all__ = ["CHECKS"]

CHECKS: Final[dict[str, Check]] = {}
