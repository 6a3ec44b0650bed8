from collections.abc import Callable

import pytest

from openimds.credentials.pki import der
from openimds.credentials.pki.der import DerError, Members


def octets(text: str) -> bytes:
    return bytes.fromhex(text)


@pytest.mark.parametrize(
    "value, encoded",
    [
        (0, "020100"),
        (127, "02017f"),
        (128, "02020080"),
        (256, "02020100"),
        (-1, "0201ff"),
        (-128, "020180"),
        (-129, "0202ff7f"),
    ],
)
def test_integer_is_written_and_read(value: int, encoded: str) -> None:
    assert der.integer(value) == octets(encoded)
    assert der.read_integer(der.read(octets(encoded))) == value


@pytest.mark.parametrize(
    "dotted, encoded",
    [
        ("1.2.840.113549", "06062a864886f70d"),
        ("2.999.3", "0603883703"),
        ("2.5.4.3", "0603550403"),
        ("0.39", "060127"),
    ],
)
def test_object_identifier_is_written_and_read(dotted: str, encoded: str) -> None:
    assert der.oid(dotted) == octets(encoded)
    assert der.read_oid(der.read(octets(encoded))) == dotted


@pytest.mark.parametrize("size, head", [(127, "7f"), (128, "8180"), (256, "820100")])
def test_length_has_the_fewest_octets(size: int, head: str) -> None:
    encoded = der.write(der.OCTET_STRING, bytes(size))
    assert encoded == octets(f"04{head}") + bytes(size)
    assert der.read_octets(der.read(encoded)) == bytes(size)


@pytest.mark.parametrize(
    "encoded, reason",
    [
        ("", "it ends too early, by 2"),
        ("30", "it ends too early, by 1"),
        ("3003", "it ends too early, by 3"),
        ("308201", "it ends too early, by 1"),
        ("3080", "a length that DER forbids"),
        ("30817f", "a length that DER forbids"),
        ("30820080", "a length that DER forbids"),
        ("3085ffffffffff", "a length that DER forbids"),
        ("1f1f00", "another part stands in its place"),
        ("050000", "more octets follow its end"),
    ],
)
def test_element_that_is_not_der_is_refused(encoded: str, reason: str) -> None:
    with pytest.raises(DerError, match=f"^{reason}$"):
        der.read(octets(encoded))


@pytest.mark.parametrize(
    "read, encoded",
    [
        (der.read_integer, "0200"),
        (der.read_integer, "02020001"),
        (der.read_integer, "0202ff80"),
        (der.read_oid, "0600"),
        (der.read_oid, "06022a80"),
        (der.read_oid, "06032a8001"),
        (der.read_null, "050100"),
    ],
)
def test_value_that_is_not_der_is_refused(
    read: Callable[[der.DerElement], object], encoded: str
) -> None:
    with pytest.raises(DerError, match=r"^a value that DER forbids$"):
        read(der.read(octets(encoded)))


def test_value_of_another_type_is_refused() -> None:
    with pytest.raises(DerError, match=r"^another part stands in its place$"):
        der.read_integer(der.read(octets("040100")))


def test_set_is_written_in_order_and_refused_out_of_order() -> None:
    encoded = der.set_of([octets("020102"), octets("020101")])
    assert encoded == octets("3106020101020102")
    assert [item.content for item in der.read_set(der.read(encoded))] == [b"\1", b"\2"]
    with pytest.raises(DerError, match="ascending order"):
        der.read_set(der.read(octets("3106020102020101")))


def test_members_are_taken_in_order_and_optional_ones_if_there() -> None:
    members = Members(der.read(der.sequence(der.integer(1), octets("a000"))))
    assert members.take_if(der.OID) is None
    assert der.read_integer(members.take()) == 1
    present = members.take_if(der.context(0))
    assert present is not None
    assert present.octets == octets("a000")
    members.end()
    with pytest.raises(DerError, match="too early"):
        members.take()


def test_member_left_over_is_refused() -> None:
    with pytest.raises(DerError, match="more octets follow"):
        Members(der.read(der.sequence(der.integer(1)))).end()


def test_explicit_tag_holds_one_element() -> None:
    inner = der.read_explicit(der.read(octets("a003020105")), 0)
    assert der.read_integer(inner) == 5
    with pytest.raises(DerError, match="more octets follow"):
        der.read_explicit(der.read(octets("a00405000500")), 0)
