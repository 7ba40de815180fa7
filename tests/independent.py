"""A verifier written from SPEC.md, sections 1 to 6: it shares no code with the package, decompresses nothing, names clauses as it checks them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.hashes import SHA256

SUITES = {1: ("hmac-sha256", 32), 2: ("ed25519", 64), 3: ("ed25519+ml-dsa-65", 3373), 4: ("ecdsa-p256-sha256", 64), 5: ("remote-hmac-sha256", 32)}
PRIME, ORDER_8 = 2**255 - 19, 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Refused(Exception):
    """Its text is the name of the error class."""


def require(holds, error="FormatError"):
    if not holds:
        raise Refused(error)


def trusted_key(text):
    """Return (suite, key id) and the MAC key or public key of a textual secret or public key."""
    match = re.fullmatch(r"(spk1|spkpub1)_([0-9a-f]{16})_([A-Za-z0-9_-]+)", text)
    require(match and len(match[3]) % 4 != 1, "KeyringError")
    form, key_id, data = match.groups()
    whole = base64.urlsafe_b64decode(data + "=" * (-len(data) % 4))
    require(base64.urlsafe_b64encode(whole).rstrip(b"=").decode() == data, "KeyringError")  # 3.1
    payload, checksum = whole[:-4], whole[-4:]
    require(hashlib.sha256(f"{form}_{key_id}_".encode() + payload).digest()[:4] == checksum, "KeyringError")
    if form == "spk1":
        suite, extracted, info = 1, hmac.digest(bytes(32), payload, "sha256"), b"safepickle container v1 hmac-sha256"
        material = hmac.digest(extracted, info + b"\1", "sha256")
        derived = hmac.digest(extracted, material + info + b"\2", "sha256")[:8]
    else:
        suite, material = payload[0], payload[1:]
        fields = (b"safepickle container v1 public key", SUITES[suite][0].encode(), material)
        derived = hashlib.sha256(b"".join(len(field).to_bytes(4, "little") + field for field in fields)).digest()[:8]
    require(derived.hex() == key_id, "KeyringError")
    if suite in (2, 3):
        y = int.from_bytes(material[:32], "little") % 2**255
        require(y < PRIME and y not in (0, 1, PRIME - 1, ORDER_8, PRIME - ORDER_8), "KeyringError")  # 3.3
    return (suite, derived), material


def holds(suite, key, message, signature):
    """4.1"""
    if suite == 1:
        return hmac.compare_digest(hmac.digest(key, message, "sha256"), signature)
    try:
        if suite == 4:
            r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
            point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key)
            point.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))
            return 0 < r < ORDER and 0 < s <= ORDER // 2
        ed25519.Ed25519PublicKey.from_public_bytes(key[:32]).verify(signature[:64], message)
        if suite == 3:
            from cryptography.hazmat.primitives.asymmetric import mldsa

            mldsa.MLDSA65PublicKey.from_public_bytes(key[32:]).verify(signature[64:], message)
    except InvalidSignature:
        return False
    return True


def verified(data, texts, *, now, context=None, min_serial=None, threshold=1):
    """Return the SHA-256 of the header of a container, or raise `Refused`."""
    keys = dict(map(trusted_key, texts))
    require(data[:8] == bytes.fromhex("89 53 50 4B 4C 0D 0A 1A"), "UnsignedError")  # 1.1
    require(len(data) >= 20)
    version, n, s, h = (int.from_bytes(data[a:b], "little") for a, b in ((8, 10), (10, 12), (12, 16), (16, 20)))
    require(version == 1 and 1 <= n <= 16 and s <= 1 << 17 and 2 <= h <= 1 << 27 and len(data) >= 20 + s + h)  # 1.2, 1.3
    block, raw, entries, at = data[20 : 20 + s], data[20 + s : 20 + s + h], [], 0
    while at < s and len(entries) < n:
        length = int.from_bytes(block[at + 9 : at + 11], "little")
        entries.append((block[at], block[at + 1 : at + 9], block[at + 11 : at + 11 + length]))
        at += 11 + length
    require(at == s and len(entries) == n)  # 2.1
    order = [entry[:2] for entry in entries]
    require(order == sorted(set(order)))  # 2.2
    require(all(len(value) == SUITES[suite][1] for suite, _, value in entries if suite in SUITES))  # 2.3
    good = 0
    for suite, key_id, value in entries:
        if (suite, key_id) in keys:  # 3.2
            fields = (b"safepickle container v1", SUITES[suite][0].encode(), key_id, hashlib.sha256(raw).digest())
            require(holds(suite, keys[suite, key_id], b"".join(bytes((len(f),)) + f for f in fields), value), "AuthenticationError")
            good += 1
    require(good, "UnknownKeyError")  # 4.2
    require(good >= threshold, "AuthenticationError")  # 4.3
    start = 20 + s + h + -(20 + s + h) % 64
    require(len(data) >= start and not any(data[20 + s + h : start]))  # 6.1
    try:
        head = json.loads(raw.decode("ascii"), parse_float=lambda _: require(False), parse_constant=lambda _: require(False))
    except ValueError:
        raise Refused("FormatError") from None
    require(json.dumps(head, sort_keys=True, separators=(",", ":")).encode() == raw)  # 5.1
    check_header(head)
    require(context is None or head["context"] == context, "AuthenticationError")  # 5.4
    require(min_serial is None or (head["serial"] is not None and head["serial"] >= min_serial), "AuthenticationError")
    require(head["expires"] is None or now < head["expires"], "AuthenticationError")  # 5.5
    end, gaps, size = head["body"]["program"], [], head["body"]["chunk_bytes"]
    for length in head["body"]["buffers"]:
        gaps.append((end, end + -end % 64))
        end = gaps[-1][1] + length
    rest, chunks, how = data[start:], head["body"]["chunks"], head["body"]["compression"]
    require(len(chunks) == -(-end // size))  # 6.3
    lengths = [min(size, end - at) for at in range(0, end, size)]
    stored = head["body"].get("stored", lengths)
    require(len(stored) == len(chunks) and len(rest) == sum(stored))  # 6.5, 6.6
    cut = [rest[sum(stored[:n]) : sum(stored[: n + 1])] for n in range(len(stored))]
    require([hashlib.sha256(chunk).hexdigest() for chunk in cut] == chunks, "AuthenticationError")  # 6.4, 6.7
    require(how is not None or not any(any(rest[first:last]) for first, last in gaps))  # 6.2
    return hashlib.sha256(raw).hexdigest()


def check_header(head):
    """5.2 and 5.3"""
    is_integer = lambda value, most=(1 << 63) - 1: type(value) is int and 0 <= value <= most  # noqa: E731
    is_text = lambda value, least=0: type(value) is str and least <= len(value) <= 1024 and value.isprintable()  # noqa: E731
    members = lambda value, names: require(type(value) is dict and sorted(value) == names.split())  # noqa: E731
    members(head, "body context created environment expires metadata serial")
    body, environment, year_10000 = head["body"], head["environment"], 253_402_300_799
    plain = type(body) is not dict or body.get("compression") is None
    members(body, f"buffers chunk_bytes chunks compression program{'' if plain else ' stored'}")
    members(environment, "libraries platform python")
    require(type(environment["libraries"]) is dict and all(map(is_text, [environment["platform"], environment["python"]])))
    require(all(is_text(name) and is_text(version) for name, version in environment["libraries"].items()))
    require(type(body["buffers"]) is list and all(map(is_integer, [*body["buffers"], body["program"]])))
    require(type(body["chunk_bytes"]) is int and body["chunk_bytes"] in [1 << power for power in range(16, 27)] and type(body["chunks"]) is list)
    require(plain or (body["compression"] in ("zlib", "zstd") and type(body["stored"]) is list))
    require(plain or all(is_integer(each, 2 * body["chunk_bytes"]) and each > 0 for each in body["stored"]))  # 6.6
    require(all(type(chunk) is str and re.fullmatch("[0-9a-f]{64}", chunk) for chunk in body["chunks"]))
    require(head["context"] is None or is_text(head["context"], 1))
    require(is_integer(head["created"], year_10000) and all(head[name] is None or is_integer(head[name]) for name in ("serial", "expires")))
    require(head["expires"] is None or head["expires"] <= year_10000)
    if head["metadata"] is not None:
        require(type(head["metadata"]) is str and len(head["metadata"]) <= 1 << 20)
        try:
            level = [[json.loads(head["metadata"], parse_constant=lambda _: require(False))]]
        except (ValueError, RecursionError):
            raise Refused("FormatError") from None
        for _ in range(65):
            level = [part for each in level for part in (each.values() if type(each) is dict else each) if type(part) in (list, dict)]
        require(not level)
