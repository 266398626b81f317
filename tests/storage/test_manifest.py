"""Manifests: one spelling each, and everything else is refused."""

import dataclasses
import hashlib
import json

import pytest

from xtrkit.errors import IndexDamagedError, IndexFormatError
from xtrkit.storage.files import FileFacts
from xtrkit.storage.manifest import Manifest, SegmentFacts, decoded, encoded, manifest_name

SHA = "0" * 64
SEGMENT = SegmentFacts(
    "s000000000007-0123abcd", 5, 50, 2,
    FileFacts("s.vectors", 10, SHA), FileFacts("s.docs", 20, SHA), FileFacts("s.dead", 8, SHA),
    FileFacts("s.words", 9, SHA), "analyser-1",
)  # fmt: skip
MANIFEST = Manifest(7, "test", {"dim": 8, "name": "é"}, FileFacts("codec", 3, SHA), (SEGMENT,))


@pytest.fixture
def path(tmp_path):
    return tmp_path / manifest_name(7)


def signed(record, **dumps):
    options = {"ensure_ascii": False, "sort_keys": True, "separators": (",", ":"), **dumps}
    line = json.dumps(record, **options).encode() + b"\n"
    return line + json.dumps({"sha256": hashlib.sha256(line).hexdigest()}, separators=(",", ":")).encode() + b"\n"


def record():
    return json.loads(encoded(MANIFEST).splitlines()[0])


def test_what_is_encoded_is_what_is_decoded(path):
    assert decoded(encoded(MANIFEST), path) == MANIFEST
    assert signed(record()) == encoded(MANIFEST)
    plain = dataclasses.replace(MANIFEST, codec=None, segments=())
    assert decoded(encoded(plain), path) == plain


def test_every_flipped_bit_and_every_truncation_is_noticed(path):
    content = encoded(MANIFEST)
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IndexDamagedError):
            decoded(bytes(flipped), path)
    for size in range(len(content)):
        with pytest.raises(IndexDamagedError):
            decoded(content[:size], path)


def changed(**facts):
    return {**record(), **facts}


def segment(**facts):
    return changed(segments=[{**record()["segments"][0], **facts}])


def file(**facts):
    return segment(vectors={**record()["segments"][0]["vectors"], **facts})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (signed(record(), separators=(", ", ": ")), "canonical"),
        (signed(record(), sort_keys=False, indent=None) if list(record()) != sorted(record()) else b"", "written"),
        (signed([]), "list"),
        (signed({}), "format"),
        (signed(changed(format="other")), "xtrkit-index"),
        (signed(changed(generation=8)), "that of generation 8"),
        (signed(changed(generation="7")), "'7' is no possible number"),
        (signed(changed(generation=True)), "True is no possible number"),
        (signed(changed(generation=7.0)), "7.0 is no possible number"),
        (signed(changed(generation=-7)), "-7 is no possible number"),
        (signed(changed(extra=1)), "expected the facts"),
        (signed(changed(properties=[])), "no table"),
        (signed(changed(features="abc")), "no list"),
        (signed(changed(segments=3)), "int"),
        (signed(changed(segments=[3])), "expected the facts"),
        (signed(changed(segments=record()["segments"] * 2)), "named twice"),
        (signed(segment(name="../../etc/passwd")), "no name of a segment"),
        (signed(segment(name=5)), "no name of a segment"),
        (signed(segment(dead=6)), "do not fit"),
        (signed(segment(dead=0)), "do not fit"),
        (signed(segment(dead=1)), "another number"),
        (signed(segment(documents=1 << 63)), "no possible number"),
        (signed(segment(documents=None)), "no possible number"),
        (signed(segment(words=None)), "words without an analyser"),
        (signed(segment(analyser=None)), "words without an analyser"),
        (signed(segment(analyser=1)), "words without an analyser"),
        (signed(segment(words={"name": "s.vectors", "size": 9, "sha256": SHA})), "named twice"),
        (signed(file(name="../x")), "no name of a file"),
        (signed(file(name="/x")), "no name of a file"),
        (signed(file(name="")), "no name of a file"),
        (signed(file(name="x" * 99)), "no name of a file"),
        (signed(file(name="codec")), "named twice"),
        (signed(file(sha256="0" * 63)), "no sha256"),
        (signed(file(sha256="G" * 64)), "no sha256"),
        (signed(file(size=-1)), "no possible number"),
        (b"[" * 100_000 + b"\n", "sha256"),
    ],
)  # fmt: skip
def test_what_is_not_a_manifest_is_refused_though_its_checksum_fits(path, content, why):
    with pytest.raises(IndexDamagedError, match=why):
        decoded(content, path)


def test_deep_nesting_is_an_error_and_no_crash(path):
    line = b"[" * 100_000 + b"\n"
    content = line + b'{"sha256":"' + hashlib.sha256(line).hexdigest().encode() + b'"}\n'
    with pytest.raises(IndexDamagedError):
        decoded(content, path)


def test_a_newer_format_and_an_unknown_feature_are_refused_by_name(path):
    with pytest.raises(IndexFormatError, match="format version 99, this xtrkit reads version 6"):
        decoded(signed(changed(version=99)), path)
    with pytest.raises(IndexFormatError, match="needs the feature 'token-pooling'"):
        decoded(signed(changed(features=["token-pooling"])), path)
