"""Splines, triangulations and spatial trees of scipy."""

from __future__ import annotations

from typing import Final

from .view import Check

__all__ = ["CHECKS"]

CHECKS: Final[dict[str, Check]] = {}
