"""The DER reader accepts, refuses and reads envelopes as cryptography's own reader does.

That reader (`cryptography.hazmat.asn1`) is newer than the oldest cryptography that is supported, so
it judges where it exists.
"""

import random
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openimds.credentials.pki import der
from openimds.credentials.pki.cms import EnvelopeError, open_envelope
from tests.unit.credentials.pki.recordings import SAMPLE_DER

if TYPE_CHECKING:
    from cryptography.hazmat import asn1
    from cryptography.x509 import ObjectIdentifier
else:
    asn1 = pytest.importorskip("cryptography.hazmat.asn1")
    from cryptography.x509 import ObjectIdentifier


@asn1.sequence
class AlgorithmIdentifier:
    algorithm: ObjectIdentifier
    parameters: asn1.Null | None


@asn1.sequence
class EncapsulatedContent:
    content_type: ObjectIdentifier
    content: Annotated[bytes | None, asn1.Explicit(0)]


@asn1.sequence
class IssuerAndSerial:
    issuer: asn1.TLV
    serial: int


@asn1.sequence
class SignerInfo:
    version: int
    sid: IssuerAndSerial
    digest_algorithm: AlgorithmIdentifier
    signed_attributes: Annotated[asn1.SetOf[asn1.TLV] | None, asn1.Implicit(0)]
    signature_algorithm: AlgorithmIdentifier
    signature: bytes
    unsigned_attributes: Annotated[asn1.SetOf[asn1.TLV] | None, asn1.Implicit(1)]


@asn1.sequence
class SignedData:
    version: int
    digest_algorithms: asn1.SetOf[AlgorithmIdentifier]
    content: EncapsulatedContent
    certificates: Annotated[asn1.SetOf[asn1.TLV] | None, asn1.Implicit(0)]
    crls: Annotated[asn1.SetOf[asn1.TLV] | None, asn1.Implicit(1)]
    signer_infos: asn1.SetOf[SignerInfo]


@asn1.sequence
class ContentInfo:
    content_type: ObjectIdentifier
    content: Annotated[SignedData, asn1.Explicit(0)]


def reference(octets: bytes) -> dict[str, Any] | None:
    """Return the envelope as cryptography reads it, or None if it refuses it."""
    try:
        outer = asn1.decode_der(ContentInfo, octets)
    except ValueError:
        return None
    assert asn1.encode_der(outer) == octets
    inner = outer.content
    return {
        "content_type": outer.content_type.dotted_string,
        "version": inner.version,
        "digests": [algorithm(item) for item in inner.digest_algorithms.as_list()],
        "payload_type": inner.content.content_type.dotted_string,
        "payload": inner.content.content,
        "has_crls": inner.crls is not None,
        "signers": [
            (
                item.version,
                asn1.encode_der(item.sid.issuer),
                item.sid.serial,
                algorithm(item.digest_algorithm),
                item.signed_attributes is not None,
                algorithm(item.signature_algorithm),
                item.signature,
                item.unsigned_attributes is not None,
            )
            for item in inner.signer_infos.as_list()
        ],
    }


def algorithm(identifier: AlgorithmIdentifier) -> tuple[str, bool]:
    return identifier.algorithm.dotted_string, identifier.parameters is not None


def ours(octets: bytes) -> dict[str, Any] | None:
    """Return the envelope as the package reads it, or None if it refuses it."""
    try:
        opened = open_envelope(octets)
    except EnvelopeError as error:
        # Certificates are a second step, which the reference above does not take.
        return {} if str(error).startswith("certificates: ") else None
    return {
        "content_type": opened.content_type,
        "version": opened.version,
        "digests": [(item.oid, item.has_null) for item in opened.digest_algorithms],
        "payload_type": opened.payload_type,
        "payload": opened.payload,
        "has_crls": opened.has_crls,
        "signers": [
            (
                item.version,
                item.issuer,
                item.serial,
                (item.digest.oid, item.digest.has_null),
                item.has_signed_attributes,
                (item.signature_algorithm.oid, item.signature_algorithm.has_null),
                item.signature,
                item.has_unsigned_attributes,
            )
            for item in opened.signers
        ],
    }


def agree(octets: bytes) -> None:
    expected, seen = reference(octets), ours(octets)
    if seen == {}:
        assert expected is not None
    else:
        assert seen == expected, octets.hex()


SMALL = st.integers(0, 255)
ELEMENTS = st.recursive(
    st.one_of(
        st.integers(-(1 << 70), 1 << 70).map(der.integer),
        st.sampled_from(["1.2.840.113549.1.7.2", "2.5.4.3", "0.9.1", "2.999.1"]).map(der.oid),
        st.binary(max_size=140).map(lambda content: der.write(der.OCTET_STRING, content)),
        st.just(der.write(der.NULL, b"")),
        st.binary(max_size=6),
    ),
    lambda inner: st.tuples(
        st.sampled_from([der.SEQUENCE, der.SET, 0xA0, 0xA1]), st.lists(inner, max_size=4)
    ).map(lambda pair: der.write(pair[0], b"".join(pair[1]))),
    max_leaves=12,
)


@st.composite
def envelopes(draw: st.DrawFn) -> bytes:
    """Return an envelope whose members are mostly right."""

    def one(usual: bytes) -> bytes:
        return draw(ELEMENTS) if draw(st.integers(0, 30)) == 0 else usual

    def identifier() -> bytes:
        null = draw(st.sampled_from([b"", b"\x05\x00"]))
        return one(der.sequence(one(der.oid("1.2.840.113549.1.1.11")), null))

    def maybe(tag: int) -> bytes:
        elements = draw(st.lists(ELEMENTS, max_size=3))
        ordered = draw(st.sampled_from([sorted(elements), elements]))
        return draw(st.sampled_from([b"", der.write(tag, b"".join(ordered))]))

    def signer() -> bytes:
        serial = der.integer(draw(st.integers(-300, 1 << 160)))
        return one(
            der.sequence(
                one(der.integer(draw(SMALL))),
                one(der.sequence(one(der.sequence()), serial)),
                identifier(),
                maybe(0xA0),
                identifier(),
                one(der.write(der.OCTET_STRING, draw(st.binary(max_size=200)))),
                maybe(0xA1),
            )
        )

    payload = der.write(0xA0, one(der.write(der.OCTET_STRING, draw(st.binary(max_size=200)))))
    signed = der.sequence(
        one(der.integer(1)),
        one(der.set_of([identifier() for _ in range(draw(st.integers(0, 2)))])),
        one(
            der.sequence(
                one(der.oid("1.2.840.113549.1.7.1")), draw(st.sampled_from([b"", payload]))
            )
        ),
        maybe(0xA1),
        one(der.set_of([signer() for _ in range(draw(st.integers(0, 2)))])),
    )
    return der.sequence(one(der.oid("1.2.840.113549.1.7.2")), one(der.write(0xA0, one(signed))))


@settings(deadline=None)
@given(envelopes())
def test_envelope_is_read_as_by_the_reference(octets: bytes) -> None:
    agree(octets)


@settings(deadline=None, max_examples=300)
@given(st.randoms(use_true_random=False), st.integers(1, 4))
def test_spoiled_sample_is_judged_as_by_the_reference(numbers: random.Random, changes: int) -> None:
    octets = bytearray(SAMPLE_DER)
    for _ in range(changes):
        place = numbers.randrange(len(octets))
        if numbers.random() < 0.8:
            octets[place] = numbers.randrange(256)
        elif numbers.random() < 0.5:
            del octets[place]
        else:
            octets.insert(place, numbers.randrange(256))
    agree(bytes(octets))


@settings(deadline=None)
@given(st.integers(-(1 << 200), 1 << 200), st.binary(max_size=70_000))
def test_integers_and_lengths_are_written_as_by_the_reference(value: int, content: bytes) -> None:
    assert der.integer(value) == asn1.encode_der(value)
    assert der.write(der.OCTET_STRING, content) == asn1.encode_der(content)
    assert der.read_integer(der.read(der.integer(value))) == value


@given(st.integers(0, 2), st.integers(0, 39), st.lists(st.integers(0, 1 << 30), max_size=6))
def test_object_identifiers_round_trip(first: int, second: int, arcs: list[int]) -> None:
    dotted = ".".join(map(str, (first, second, *arcs)))
    octets = der.oid(dotted)
    assert der.read_oid(der.read(octets)) == dotted
    assert octets == asn1.encode_der(ObjectIdentifier(dotted))


def test_each_octet_with_its_top_bit_turned_is_judged_alike() -> None:
    for place in range(len(SAMPLE_DER)):
        octets = bytearray(SAMPLE_DER)
        octets[place] ^= 0x80
        agree(bytes(octets))
