"""Makes the files of `tests/vectors/`: build well, then break one thing. Run it to write them: `python tests/make_vectors.py`.

The builder is of use to other tests as well: `header()` gives the header as a dict, `signed()` signs any bytes as a header.

A vector is a few lines of text, an empty line, and the raw bytes of a container. The lines:

    expect: success, or the name of the one error class that a reader must raise
    verify: success, where a reader that does not decompress cannot see what is wrong
    key: a textual key that the reader trusts; several lines for several keys
    context:, min_serial:, threshold: what the reader expects, where it expects something
    now: the clock of the reader, in Unix seconds
    comment: the clause of SPEC.md, then what the file shows

Files of a release are never changed afterwards; a new vector gets a new name.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safepickle import Keyring, PrivateKey, SecretKey, container, keys
from safepickle.keys import ECDSA_P256, ED25519, HYBRID, SUITES, ecdsa_from_der, signed_message

FOLDER = Path(__file__).parent / "vectors"
NOW = 1_800_000_000
KEY = SecretKey.from_bytes(hashlib.sha256(b"safepickle test vectors").digest())
SECOND = SecretKey.from_bytes(hashlib.sha256(b"safepickle test vectors, second key").digest())
STRANGER = SecretKey.from_bytes(hashlib.sha256(b"safepickle test vectors, a key that nobody trusts").digest())
ED_SEED = hashlib.sha256(b"safepickle test vectors, ed25519").digest()
EDWARDS = PrivateKey(ED25519, ED_SEED)
CURVE = PrivateKey(ECDSA_P256, hashlib.sha256(b"safepickle test vectors, p-256").digest())
# Of both algorithms; a key of it can be made only where cryptography has ML-DSA, and read as well.
BOTH_SEEDS = ED_SEED + hashlib.sha256(b"safepickle test vectors, ml-dsa-65").digest()
# ML-DSA signatures are randomized, so the one of the vectors was made once and is kept.
LATTICE = bytes.fromhex((FOLDER / "ml-dsa-65.hex").read_text("ascii"))  # fromhex skips line ends
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# pickle.dumps([1, "two", 3.0, None], protocol=5)
PROGRAM = bytes.fromhex("80059517000000000000005d94284b018c0374776f944740080000000000004e652e")
# Three buffers, one of them empty, that end anywhere.
BUFFERS = (b"b" * 70, b"", b"five!")

Entry = tuple[int, bytes, bytes]


def body(program: bytes = PROGRAM, buffers: Sequence[bytes] = (), padding: bytes = b"\0") -> bytes:
    """Return program and buffers, each buffer after padding up to the next multiple of 64."""
    whole = program
    for buffer in buffers:
        whole += padding * (-len(whole) % 64) + buffer
    return whole


def header(
    program: bytes = PROGRAM, buffers: Sequence[bytes] = (), *, padding: bytes = b"\0", chunk_bytes: int = 1 << 20, **changes: Any
) -> dict[str, Any]:
    """Return the right header of that body as a dict, with `changes` to its members (`body_...` to those of `body`)."""
    whole = body(program, buffers, padding)
    of_body = {
        "buffers": [len(buffer) for buffer in buffers],
        "chunk_bytes": chunk_bytes,
        "chunks": [hashlib.sha256(whole[at : at + chunk_bytes]).hexdigest() for at in range(0, len(whole), chunk_bytes)],
        "compression": None,
        "program": len(program),
    }
    of_body |= {name.removeprefix("body_"): value for name, value in changes.items() if name.startswith("body_")}
    return {
        "body": of_body,
        "context": None,
        "created": NOW - 1000,
        "environment": {"libraries": {}, "platform": "linux-x86_64", "python": "3.11.0"},
        "expires": None,
        "metadata": None,
        "serial": None,
        **{name: value for name, value in changes.items() if not name.startswith("body_")},
    }


def compressed(how: str, stored: Sequence[bytes], program: bytes = PROGRAM, buffers: Sequence[bytes] = (), **changes: Any) -> bytes:
    """Return a signed container of stored chunks, whatever they hold."""
    digests = [hashlib.sha256(chunk).hexdigest() for chunk in stored]
    members = {"body_compression": how, "body_stored": [len(chunk) for chunk in stored], "body_chunks": digests, **changes}
    return signed(header(program, buffers, **members), b"".join(stored))


def deflated(data: bytes, *, dictionary: bool = False, checksum: int | None = None) -> bytes:
    """Return a zlib stream that stores up to 65,535 bytes as they are, the same with every zlib."""
    block = b"\1" + len(data).to_bytes(2, "little") + (len(data) ^ 0xFFFF).to_bytes(2, "little") + data
    adler = zlib.adler32(data) if checksum is None else checksum
    return (b"\x78\x20" + zlib.adler32(b"dictionary").to_bytes(4, "big") if dictionary else b"\x78\x01") + block + adler.to_bytes(4, "big")


def framed(data: bytes, *, window_log: int = 20) -> bytes:
    """Return a Zstandard frame that stores up to 65,535 bytes as they are."""
    return bytes.fromhex("28b52ffd00") + bytes(((window_log - 10) << 3,)) + (len(data) << 3 | 1).to_bytes(3, "little") + data


def canonical(value: Any) -> bytes:
    """Return the canonical JSON of SPEC.md, section 5."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def entry(key: SecretKey, raw: bytes) -> Entry:
    """Return the right entry of the signature block for that header by that key."""
    return 1, bytes.fromhex(key.key_id), key.sign(hashlib.sha256(raw).digest())


def pair_entry(key: PrivateKey, raw: bytes) -> Entry:
    """Return the right entry by a private key, always the same."""
    digest = hashlib.sha256(raw).digest()
    message = signed_message(key.suite, bytes.fromhex(key.key_id), digest)
    if key.suite == HYBRID:
        value = key._parts[0].sign(message) + LATTICE
    elif key.suite == ECDSA_P256:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        value = ecdsa_from_der(key._parts[0].sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)))
    else:
        value = key.sign(digest)
    return SUITES[key.suite].code, bytes.fromhex(key.key_id), value


def assembled(
    raw: bytes, entries: Sequence[Entry], rest: bytes, *, version: int = 1, count: int | None = None, stray: bytes = b"", pad: bytes = b"\0"
) -> bytes:
    """Return a container of exactly these parts, whether right or not."""
    block = b"".join(container.SIGNATURE_HEAD.pack(suite, key_id, len(value)) + value for suite, key_id, value in entries) + stray
    prefix = container.PREFIX.pack(container.MAGIC, version, len(entries) if count is None else count, len(block), len(raw))
    return prefix + block + raw + pad * (-len(prefix + block + raw) % 64) + rest


def signed(head: bytes | dict[str, Any], rest: bytes | None = None, keys: Sequence[SecretKey] = (KEY,)) -> bytes:
    """Return a container whose signatures are right, over any header: a dict is encoded canonically, bytes are taken as they are."""
    raw = head if isinstance(head, bytes) else canonical(head)
    return b"".join(container._front(raw, [each for key in keys for each in Keyring(key).sign(hashlib.sha256(raw).digest())])) + (
        body() if rest is None else rest
    )


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


def _fields(**changes: Any) -> bytes:
    """Return a header by the encoder of the package itself, so that the vectors show that it writes what SPEC.md says."""
    fields: dict[str, Any] = {
        "program": len(PROGRAM), "buffers": (), "chunk_bytes": 1 << 20, "chunks": (hashlib.sha256(PROGRAM).digest(),), "context": None,
        "serial": None, "created": NOW - 1000, "expires": None, "metadata": None, "python": "3.11.0", "platform": "linux-x86_64", "libraries": {},
    }  # fmt: skip
    return container._encode_header(container._Header(**fields | changes))


def vectors() -> dict[str, bytes]:
    """Return every vector: file name to content."""
    made: dict[str, bytes] = {}

    def add(name: str, expect: str, comment: str, data: bytes, *, keys: Sequence[str] = (KEY.to_text(),), **expected: Any) -> None:
        lines = [f"expect: {expect}", *(f"key: {key}" for key in keys), *(f"{field}: {value}" for field, value in expected.items())]
        made[f"{name}.vector"] = "".join(f"{line}\n" for line in [*lines, f"now: {NOW}", f"comment: {comment}", ""]).encode() + data

    good = signed(_fields())
    raw = canonical(header())
    both = (KEY.to_text(), SECOND.to_text())
    in_order = sorted((KEY, SECOND), key=lambda key: key.key_id)
    whole = body(PROGRAM, BUFFERS)
    start = len(good) - len(PROGRAM)

    add("good_minimal", "success", "1.1 the smallest container of a program", good)
    add("good_buffers", "success", "6.2 three buffers, one of them empty, with padding before each", signed(header(PROGRAM, BUFFERS), whole))
    everything = _fields(
        context="fraud-model/prod é☃😀", serial=7, expires=NOW + 1, libraries={"sklearn": "1.9.0", "numpy": "2.4.0"},
        metadata=json.dumps({"name": "é\u2028😀", "auc": 0.97, "none": None, "list": [1, -1.5e300, True], "": "\"\\/\b\t\x7f"}),
    )  # fmt: skip
    add("good_all_fields", "success", "5.2 every member set; text beyond ASCII", signed(everything), context="fraud-model/prod é☃😀", min_serial=7)
    add("good_largest_integers", "success", "5.3 the largest integers", signed(header(serial=(1 << 63) - 1, expires=253_402_300_799)))
    deep = "[" * 32 + '{"":' * 32 + "1" + "}" * 32 + "]" * 32
    add("good_deep_metadata", "success", "5.2 a number in arrays and objects 64 deep", signed(header(metadata=deep)))
    add("good_two_keys", "success", "4.3 two trusted keys signed and two are asked for", signed(raw, keys=in_order), keys=both, threshold=2)
    add("good_unknown_key_skipped", "success", "4.2 a second signature, by an unknown key, is skipped", signed(raw, keys=(KEY, STRANGER)))
    foreign = [entry(KEY, raw), (7, bytes.fromhex(KEY.key_id), b""), (7, b"\xff" * 8, b"anything"), (255, bytes(8), bytes(70))]
    add("good_unknown_suite_skipped", "success", "2.3 signatures of unknown suites may have any length", assembled(raw, foreign, body()))
    add(
        "good_sixteen_signatures",
        "success",
        "1.3 sixteen signatures",
        assembled(raw, [entry(KEY, raw), *((7, bytes((n,)) * 8, b"x") for n in range(15))], body()),
    )
    add("good_empty_body", "success", "6.3 an empty body has no chunks", signed(header(b""), b""))
    long = PROGRAM + bytes(range(256)) * 512
    add("good_three_chunks", "success", "6.3 chunks of 2^16 bytes, the last one shorter", signed(header(long, chunk_bytes=1 << 16), long))
    fitted = next(text for n in range(1, 65) if (20 + 43 + len(text := canonical(header(context="x" * n)))) % 64 == 0)
    add("good_no_padding", "success", "6.1 a header that ends at a multiple of 64 has no padding", signed(fitted))

    add("prefix_pickle", "UnsignedError", "1.1 a plain pickle", PROGRAM)
    add("prefix_text_mode", "UnsignedError", "1.1 line ends changed on the way", good.replace(b"\r\n", b"\n"))
    add("prefix_cut_in_magic", "UnsignedError", "1.1 five bytes of magic", good[:5])
    add("prefix_version_2", "FormatError", "1.2 another version", assembled(raw, [entry(KEY, raw)], body(), version=2))
    add("prefix_version_0", "FormatError", "1.2 version 0", assembled(raw, [entry(KEY, raw)], body(), version=0))
    add("prefix_no_signature", "FormatError", "1.3 no signature", assembled(raw, [], body()))
    add(
        "prefix_17_signatures",
        "FormatError",
        "1.3 one signature too many",
        assembled(raw, [entry(KEY, raw), *((7, bytes((n,)) * 8, b"x") for n in range(16))], body()),
    )
    add("prefix_long_header", "FormatError", "1.3 a header of over 2^27 bytes", good[:16] + ((1 << 27) + 1).to_bytes(4, "little") + good[20:])
    add(
        "prefix_header_not_looked_at",
        "UnknownKeyError",
        "1.4 the header is no JSON, but that is not known before a signature holds",
        signed(b"\xff" * 9, keys=[STRANGER]),
    )

    add("block_stray_byte", "FormatError", "2.1 a byte that belongs to no entry", assembled(raw, [entry(KEY, raw)], body(), stray=b"\0"))
    add(
        "block_cut_entry",
        "FormatError",
        "2.1 the last entry is longer than the block",
        assembled(raw, [entry(KEY, raw)], body(), count=2, stray=b"\x07" + bytes(8) + b"\x09\0x"),
    )
    add(
        "block_unsorted",
        "FormatError",
        "2.2 entries in the wrong order",
        assembled(raw, [entry(key, raw) for key in in_order[::-1]], body()),
        keys=both,
    )
    add("block_twice", "FormatError", "2.2 the same entry twice", assembled(raw, [entry(KEY, raw)] * 2, body()))
    suite, key_id, mac = entry(KEY, raw)
    add("block_short_mac", "FormatError", "2.3 the first 31 bytes of the MAC", assembled(raw, [(suite, key_id, mac[:31])], body()))
    add("block_empty_mac", "FormatError", "2.3 an empty MAC", assembled(raw, [(suite, key_id, b"")], body()))

    slip = KEY.to_text()[:-1] + ("A" if KEY.to_text()[-1] != "A" else "B")
    add("key_damaged", "KeyringError", "3.1 the last character of the textual key is another one", good, keys=[slip])
    add("key_wrong_id", "KeyringError", "3.1 the key id is not that of the secret", good, keys=[_text_with_id("0123456789abcdef")])
    add(
        "key_other_suite",
        "UnknownKeyError",
        "3.2 the MAC is right, but under a suite that is not that of the key",
        assembled(raw, [(9, key_id, mac)], body()),
    )

    _add_pairs(add, raw)

    add("mac_wrong", "AuthenticationError", "4.1 one bit of the MAC", flipped(good, 20 + 43 - 1))
    add("mac_wrong_beside_right", "AuthenticationError", "4.1 one of two trusted keys has a wrong MAC",
        assembled(raw, sorted([entry(KEY, raw), (1, bytes.fromhex(SECOND.key_id), bytes(32))]), body()), keys=both)  # fmt: skip
    add(
        "mac_of_other_header",
        "AuthenticationError",
        "4.1 the header was changed after it was signed",
        assembled(canonical(header(serial=8)), [entry(KEY, raw)], body()),
    )
    add("mac_of_plain_digest", "AuthenticationError", "4.1 a MAC of the digest alone, without label, suite and key id",
        assembled(raw, [(suite, key_id, _bare_mac(raw))], body()))  # fmt: skip
    add("mac_unknown_key", "UnknownKeyError", "4.2 no signature by a trusted key", signed(raw, keys=[STRANGER]))
    add(
        "mac_threshold",
        "AuthenticationError",
        "4.3 one trusted key signed and two are asked for",
        signed(raw, keys=(KEY, STRANGER)),
        keys=both,
        threshold=2,
    )

    add("header_space", "FormatError", "5.1 white space", signed(raw.replace(b":", b": ", 1)))
    add("header_order", "FormatError", "5.1 members not sorted", signed(json.dumps(dict(reversed(header().items())), separators=(",", ":")).encode()))
    add("header_duplicate", "FormatError", "5.1 a member twice", signed(raw[:-1] + b',"serial":null}'))
    add(
        "header_utf8",
        "FormatError",
        "5.1 text beyond ASCII not escaped",
        signed(json.dumps(header(context="é"), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()),
    )
    add("header_escape", "FormatError", "5.1 a needless escape", signed(raw.replace(b"linux", b"\\u006cinux")))
    rubout = header(metadata='"\x7f"')
    add("good_escaped_delete", "success", "5.1 U+007F is escaped", signed(rubout))
    add("header_plain_delete", "FormatError", "5.1 U+007F as itself", signed(canonical(rubout).replace(b"\\u007f", b"\x7f")))
    add("header_minus_zero", "FormatError", "5.1 minus zero", signed(raw.replace(b'"serial":null', b'"serial":-0')))
    add("header_extra", "FormatError", "5.2 a member that is not in the table", signed(header(author="me")))
    add("header_missing", "FormatError", "5.2 a member is missing", signed({name: value for name, value in header().items() if name != "expires"}))
    add("header_bool", "FormatError", "5.2 true is no integer", signed(header(serial=True)))
    add("header_float", "FormatError", "5.2 7.0 is no integer", signed(header(serial=7.0)))
    add("header_object_for_array", "FormatError", "5.2 an empty object is no array", signed(header(body_buffers={})))
    add("header_upper_case", "FormatError", "5.2 digests in upper case", signed(header(body_chunks=[hashlib.sha256(PROGRAM).hexdigest().upper()])))
    add("header_chunk_size", "FormatError", "5.2 a chunk size that is no power of two", signed(header(chunk_bytes=3 << 16)))
    add("header_compression", "FormatError", "5.2 a compression", signed(header(body_compression="zstd")))
    add("header_metadata", "FormatError", "5.2 metadata that is not JSON", signed(header(metadata="{")))
    add("header_metadata_deep", "FormatError", "5.2 metadata with arrays 65 deep", signed(header(metadata="[" * 65 + "]" * 65)))
    add("header_context", "FormatError", "5.2 a line feed in the context", signed(header(context="a\nb")))
    add("header_large_integer", "FormatError", "5.3 2^63", signed(header(serial=1 << 63)))
    add("header_negative", "FormatError", "5.3 a negative length", signed(header(body_buffers=[64, -64])))
    add("header_year_10000", "FormatError", "5.3 a time that no calendar has", signed(header(expires=253_402_300_800)))
    add("context_other", "AuthenticationError", "5.4 another context", signed(header(context="fraud-model/test")), context="fraud-model/prod")
    add("context_none", "AuthenticationError", "5.4 no context", good, context="fraud-model/prod")
    add("serial_old", "AuthenticationError", "5.4 an older serial", signed(header(serial=6)), min_serial=7)
    add("serial_none", "AuthenticationError", "5.4 no serial, not even 0", good, min_serial=0)
    add("expired", "AuthenticationError", "5.5 it expires now", signed(header(expires=NOW)))

    add("padding_header", "FormatError", "6.1 a byte of the padding after the header is not zero", flipped(good, start - 1))
    strange = flipped(signed(raw, keys=[STRANGER]), start - 1)
    add("padding_not_looked_at", "UnknownKeyError", "1.4 the padding is not zero, and no trusted key signed", strange)
    add(
        "padding_body",
        "FormatError",
        "6.2 the padding is not zero, and its digest is right",
        signed(header(PROGRAM, BUFFERS, padding=b"\1"), body(PROGRAM, BUFFERS, b"\1")),
    )
    add("chunks_missing", "FormatError", "6.3 a digest too few", signed(header(body_chunks=[])))
    add("chunks_one_more", "FormatError", "6.3 a digest too many", signed(header(body_chunks=[hashlib.sha256(PROGRAM).hexdigest()] * 2)))
    add("chunk_changed", "AuthenticationError", "6.4 one bit of the program", flipped(good, start + 9))
    add(
        "chunk_changed_last",
        "AuthenticationError",
        "6.4 one bit at the end of the last of three chunks",
        flipped(made["good_three_chunks.vector"].partition(b"\n\n")[2], -1 + len(signed(header(long, chunk_bytes=1 << 16), long))),
    )
    add("end_cut", "FormatError", "6.5 the last byte is missing", good[:-1])
    add("end_appended", "FormatError", "6.5 a byte follows", good + b"\0")
    _add_compressed(add)
    return made


def _add_compressed(add: Any) -> None:
    """Compressed bodies: right ones, and each fault that signatures and digests do not show."""

    def bad(name: str, comment: str, data: bytes, expect: str = "FormatError") -> None:
        add(name, expect, comment, data, verify="success")

    stream, frame = deflated(PROGRAM), framed(PROGRAM)
    good = compressed("zlib", [stream])
    whole = body(PROGRAM, BUFFERS)
    long = PROGRAM + bytes(range(256)) * 512
    cut = [long[at : at + (1 << 16)] for at in range(0, len(long), 1 << 16)]
    # A stored block ends before 2^16 bytes, so each chunk is two.
    pair = [b"\x78\x01\0\x00\x80\xff\x7f" + each[: 1 << 15] + deflated(each[1 << 15 :], checksum=zlib.adler32(each))[2:] for each in cut[:-1]]
    chunks = [*pair, deflated(cut[-1])]
    add("good_zlib", "success", "6.8 a body of one zlib stream", good)
    add("good_zlib_empty_body", "success", "6.6 an empty body has no stored chunks", compressed("zlib", [], b""))
    add("good_zlib_buffers", "success", "6.11 buffers, and the padding between them", compressed("zlib", [deflated(whole)], PROGRAM, BUFFERS))
    add("good_zlib_three_chunks", "success", "6.6 three stored chunks", compressed("zlib", chunks, long, chunk_bytes=1 << 16))
    add("good_zstd", "success", "6.8 a body of one Zstandard frame", compressed("zstd", [frame]))
    add("good_zstd_window", "success", "6.8 the largest window", compressed("zstd", [framed(PROGRAM, window_log=23)]))
    add("compression_other", "FormatError", "5.2 a compression that there is not", compressed("lz4", [stream]))
    add("compression_upper_case", "FormatError", "5.2 its name in upper case", compressed("ZLIB", [stream]))
    add("compression_none_stored", "FormatError", "5.2 stored lengths, and no compression", signed(header(body_stored=[len(PROGRAM)])))
    add("stored_missing", "FormatError", "5.2 no stored lengths", signed(header(body_compression="zlib"), stream))
    add("stored_one_more", "FormatError", "6.6 a length too many", compressed("zlib", [stream], body_stored=[len(stream), 1]))
    add("stored_zero", "FormatError", "6.6 a stored chunk of no bytes", compressed("zlib", [b""]))
    add("stored_too_long", "FormatError", "6.6 a stored chunk of more than twice a chunk",
        compressed("zlib", [stream + bytes((1 << 17) + 1 - len(stream))], chunk_bytes=1 << 16))  # fmt: skip
    add("stored_enormous", "FormatError", "6.6 a length that no file has", compressed("zlib", [stream], body_stored=[(1 << 63) - 1]))
    add("stored_cut", "FormatError", "6.6 the last byte is missing", good[:-1])
    add("stored_appended", "FormatError", "6.6 a byte follows", good + b"\0")
    add("stored_changed", "AuthenticationError", "6.7 one bit of the stored chunk", flipped(good, len(good) - 9))
    swapped = compressed("zlib", chunks, long, chunk_bytes=1 << 16).removesuffix(b"".join(chunks)) + b"".join([chunks[1], chunks[0], chunks[2]])
    add("stored_swapped", "AuthenticationError", "6.7 two stored chunks of one length in the wrong order", swapped)
    plain = compressed("zlib", [stream], body_chunks=[hashlib.sha256(PROGRAM).hexdigest()])
    add("stored_digest_of_chunk", "AuthenticationError", "6.7 the digest is that of the chunk before it was compressed", plain)
    bad("zlib_raw", "6.8 the chunk as it is", compressed("zlib", [PROGRAM]))
    bad("zlib_checksum", "6.8 a wrong checksum in the stream", compressed("zlib", [deflated(PROGRAM, checksum=1)]))
    bad("zlib_cut", "6.8 the last byte of the checksum is missing", compressed("zlib", [stream[:-1]]))
    bad("zlib_no_checksum", "6.8 the checksum is missing", compressed("zlib", [stream[:-4]]))
    bad("zlib_followed", "6.8 a byte after the stream", compressed("zlib", [stream + b"\0"]))
    bad("zlib_preceded", "6.8 a byte before the stream", compressed("zlib", [b"\0" + stream]))
    bad("zlib_two_streams", "6.8 a second stream, of no bytes", compressed("zlib", [stream + deflated(b"")]))
    bad("zlib_halves", "6.8 a stream for each half of the chunk", compressed("zlib", [deflated(PROGRAM[:9]) + deflated(PROGRAM[9:])]))
    bad("zlib_dictionary", "6.8 a preset dictionary", compressed("zlib", [deflated(PROGRAM, dictionary=True)]))
    bad("zlib_as_zstd", "6.8 a zlib stream where a Zstandard frame must stand", compressed("zstd", [stream]))
    bad("zstd_as_zlib", "6.8 a Zstandard frame where a zlib stream must stand", compressed("zlib", [frame]))
    bad("zstd_followed", "6.8 a byte after the frame", compressed("zstd", [frame + b"\0"]))
    bad("zstd_two_frames", "6.8 a second frame, of no bytes", compressed("zstd", [frame + framed(b"")]))
    skippable = bytes.fromhex("502a4d1803000000") + b"abc"
    bad("zstd_skippable_before", "6.8 a skippable frame before the frame", compressed("zstd", [skippable + frame]))
    bad("zstd_skippable_after", "6.8 a skippable frame after the frame", compressed("zstd", [frame + skippable]))
    bad("zstd_window", "6.8 a window of 2^24 bytes", compressed("zstd", [framed(PROGRAM, window_log=24)]))
    bad("zlib_byte_less", "6.9 the stream makes a byte less", compressed("zlib", [deflated(PROGRAM[:-1])]))
    bad("zlib_byte_more", "6.9 the stream makes a byte more", compressed("zlib", [deflated(PROGRAM + b"\0")]))
    bad("zstd_byte_less", "6.9 the frame makes a byte less", compressed("zstd", [framed(PROGRAM[:-1])]))
    bad("zstd_byte_more", "6.9 the frame makes a byte more", compressed("zstd", [framed(PROGRAM + b"\0")]))
    moved = compressed("zlib", [deflated(long[: (1 << 15) + 1]), deflated(long[(1 << 15) + 1 : 1 << 16])], long[: 1 << 16], body_chunk_bytes=1 << 16)
    add("zlib_cut_elsewhere", "FormatError", "6.3 two stored chunks for a body of one chunk", moved)
    # 64 MiB and 200 times the ten bytes more than there may be.
    least = (1 << 26) + 200 * 2 * 8
    bad("expands_too_far", "6.10 a body of one byte more than 2^26 and 200 times what is stored",
        compressed("zlib", [deflated(b"")[:8]] * 2, body_program=least + 1, body_chunk_bytes=1 << 26), "LimitError")  # fmt: skip
    bad("zlib_padding", "6.11 the padding between buffers is not zero",
        compressed("zlib", [deflated(body(PROGRAM, BUFFERS, b"\1"))], PROGRAM, BUFFERS))  # fmt: skip


def _add_pairs(add: Any, raw: bytes) -> None:
    """The suites of key pairs: each right, and each with one fault."""
    both = PrivateKey(HYBRID, BOTH_SEEDS)
    publics = {key.suite: (key.public_key().to_text(),) for key in (EDWARDS, CURVE, both)}
    entries = {key.suite: pair_entry(key, raw) for key in (EDWARDS, CURVE, both)}
    names = {ED25519: "ed25519", ECDSA_P256: "ecdsa_p256", HYBRID: "hybrid"}
    for suite, name in names.items():
        code, key_id, value = entries[suite]
        whole = assembled(raw, [entries[suite]], body())
        add(f"good_{name}", "success", f"4.1 suite {code}", whole, keys=publics[suite])
        add(f"{name}_wrong", "AuthenticationError", f"4.1 one bit of a signature of suite {code}", flipped(whole, 20 + 11), keys=publics[suite])
        add(f"{name}_short", "FormatError", "2.3 a byte too few", assembled(raw, [(code, key_id, value[:-1])], body()), keys=publics[suite])
        other = assembled(raw, [(code, bytes(8), value)], body())
        add(f"{name}_other_id", "UnknownKeyError", "4.2 under another key id", other, keys=publics[suite])
    _, key_id, value = entries[HYBRID]
    lattice = assembled(raw, [(3, key_id, value[:-1] + bytes((value[-1] ^ 1,)))], body())
    add("hybrid_half", "AuthenticationError", "4.1 Ed25519 holds and ML-DSA-65 does not", lattice, keys=publics[HYBRID])
    edwards_alone = assembled(raw, [(2, bytes.fromhex(both.key_id), value[:64])], body())
    add("hybrid_stripped", "UnknownKeyError", "3.2 the Ed25519 half alone, as suite 2", edwards_alone, keys=publics[HYBRID])
    _, key_id, value = entries[ECDSA_P256]
    high = value[:32] + (P256_ORDER - int.from_bytes(value[32:], "big")).to_bytes(32, "big")
    add(
        "ecdsa_p256_high_s",
        "AuthenticationError",
        "4.1 the other s of the same signature",
        assembled(raw, [(4, key_id, high)], body()),
        keys=publics[ECDSA_P256],
    )
    zero = assembled(raw, [(4, key_id, bytes(64))], body())
    add("ecdsa_p256_zero", "AuthenticationError", "4.1 r and s are 0", zero, keys=publics[ECDSA_P256])
    ed, mac = entries[ED25519], entry(KEY, raw)
    two = (KEY.to_text(), *publics[ED25519])
    add("good_mac_and_ed25519", "success", "4.3 two keys of two suites", assembled(raw, [mac, ed], body()), keys=two, threshold=2)
    add(
        "good_remote_skipped",
        "success",
        "4.2 an entry of suite 5 beside ours",
        assembled(raw, [ed, (5, bytes(8), bytes(32))], body()),
        keys=publics[ED25519],
    )
    message = signed_message(ED25519, ed[1], hashlib.sha256(raw).digest())
    forged = assembled(raw, [(1, ed[1], hmac.digest(EDWARDS.public_key().raw, message, "sha256"))], body())
    add("suite_confusion", "UnknownKeyError", "3.2 a MAC whose secret is the public key, as suite 1", forged, keys=publics[ED25519])
    forged = assembled(raw, [(2, ed[1], hmac.digest(EDWARDS.public_key().raw, message, "sha512"))], body())
    add("suite_confusion_in_place", "AuthenticationError", "4.1 a MAC whose secret is the public key, as suite 2", forged, keys=publics[ED25519])
    text = publics[ED25519][0]
    good = assembled(raw, [ed], body())
    add(
        "public_key_damaged",
        "KeyringError",
        "3.1 the checksum of a public key does not match",
        good,
        keys=[text[:-1] + ("A" if text[-1] != "A" else "B")],
    )
    prime = (1 << 255) - 19
    add("public_key_small_order", "KeyringError", "3.3 the neutral element", good, keys=[_public_text((1).to_bytes(32, "little"))])
    add("public_key_second_encoding", "KeyringError", "3.3 y is 2^255 - 19 + 3", good, keys=[_public_text((prime + 3).to_bytes(32, "little"))])
    scalar = int.from_bytes(ed[2][32:], "little") + (1 << 252) + 27742317777372353535851937790883648493
    spelled = assembled(raw, [(2, ed[1], ed[2][:32] + scalar.to_bytes(32, "little"))], body())
    add("ed25519_high_s", "AuthenticationError", "4.1 the order is added to S", spelled, keys=publics[ED25519])
    add("public_key_as_secret", "KeyringError", "3.1 a public key in the form of a secret", good, keys=[text.replace("spkpub1", "spk1")])


def _public_text(point: bytes) -> str:
    """Return the text of an Ed25519 public key, whatever it is."""
    return keys._to_text("spkpub1", keys.public_key_id(ED25519, point), b"\2" + point)


def _bare_mac(raw: bytes) -> bytes:
    mac = KEY._mac.copy()
    mac.update(hashlib.sha256(raw).digest())
    return mac.digest()


def _text_with_id(key_id: str) -> str:
    """Return a textual key whose checksum is right and whose key id is not."""
    import base64

    secret = hashlib.sha256(b"safepickle test vectors").digest()
    checksum = hashlib.sha256(b"spk1_" + key_id.encode() + b"_" + secret).digest()[:4]
    return f"spk1_{key_id}_{base64.urlsafe_b64encode(secret + checksum).rstrip(b'=').decode()}"


def main() -> None:
    for name, data in vectors().items():
        path = FOLDER / name
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)
            print("written:", path)


if __name__ == "__main__":
    main()
