"""What is not everywhere: algorithms that the installed `cryptography`, or this Python, may lack."""

from __future__ import annotations

import importlib.util

import pytest

from safepickle import chunks


def _has_zstd() -> bool:
    try:
        chunks.codec_of("zstd")
    except ValueError:
        return False
    return True


HAS_ZSTD = _has_zstd()
# Old releases of cryptography have no ML-DSA, and no key of the suite with it.
HAS_MLDSA = importlib.util.find_spec("cryptography.hazmat.primitives.asymmetric.mldsa") is not None
NEEDS_MLDSA = pytest.mark.skipif(not HAS_MLDSA, reason="the installed cryptography has no ML-DSA")
