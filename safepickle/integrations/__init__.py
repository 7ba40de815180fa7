"""Adapters: keys that live elsewhere.

Each module is thin, stands on the public names of safepickle, and is imported only when it is named: by a key URI, or by you.
The library that it needs is an extra.

- `aws_kms`: keys of AWS KMS, `awskms:...` (extra `aws`).
- `pkcs11`: keys in a hardware security module or another token, `pkcs11:...` (extra `pkcs11`).
- `vault`: keys of the transit engine of HashiCorp Vault or OpenBao, `vault:...` (no extra: Python's own HTTP client).

See docs/remote-keys.md.
"""

__all__: list[str] = []
