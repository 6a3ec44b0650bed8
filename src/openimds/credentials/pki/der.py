"""Read and write DER (X.690), as much of it as CMS needs.

The reader accepts the one encoding that DER allows for a value and nothing else, so equal values
have equal octets: minimal lengths, integers and object identifiers, sets in ascending order, tags
of one octet. It descends only where a caller asks; the content of other elements stays unread.
"""

from collections.abc import Iterable

from msgspec import Struct

INTEGER, BIT_STRING, OCTET_STRING, NULL, OID = 0x02, 0x03, 0x04, 0x05, 0x06
SEQUENCE, SET = 0x30, 0x31
_HEAD = 2
"""The octets of a tag and of a short length."""
_LONG_TAG = 0x1F
_LONG_LENGTH = 0x80
_MAX_LENGTH_OCTETS = 4
_SEVEN_BITS = 0x7F
_ARCS = 40
_TOP_ARC = 2


class DerError(ValueError):
    """Octets that are not the DER of the expected value; the text is the reason."""


class DerElement(Struct, frozen=True):
    """One element: its tag, its content, and all its octets."""

    tag: int
    content: bytes
    octets: bytes


class Members:
    """The members of a constructed element, taken in their order.

    Raises:
        DerError: the element has another tag; from the methods: a member is not as asked for.
    """

    def __init__(self, element: DerElement, tag: int = SEQUENCE) -> None:
        """Begin at the first member."""
        self._left = _of(element, tag)

    def take(self, tag: int | None = None) -> DerElement:
        """Return the next member, of this tag or of any."""
        element, left = _first(self._left)
        if tag is not None:
            _of(element, tag)
        self._left = left
        return element

    def take_if(self, tag: int) -> DerElement | None:
        """Return the next member if it has this tag."""
        return self.take(tag) if self._left[:1] == bytes([tag]) else None

    def end(self) -> None:
        """Require that no member follows."""
        if self._left:
            raise DerError("more octets follow its end")

    def rest(self) -> list[DerElement]:
        """Return all members that follow."""
        elements = []
        while self._left:
            elements.append(self.take())
        return elements


def context(number: int) -> int:
    """Return the constructed tag `[number]`."""
    return 0xA0 | number


def read(octets: bytes) -> DerElement:
    """Return the element that these octets are, to the last of them."""
    element, left = _first(octets)
    if left:
        raise DerError("more octets follow its end")
    return element


def read_set(element: DerElement, tag: int = SET) -> list[DerElement]:
    """Return the elements of a SET OF."""
    elements = Members(element, tag).rest()
    octets = [item.octets for item in elements]
    if octets != sorted(octets):
        raise DerError("the elements of a set are not in ascending order")
    return elements


def read_explicit(element: DerElement, number: int) -> DerElement:
    """Return the element inside of an explicit tag."""
    members = Members(element, context(number))
    inner = members.take()
    members.end()
    return inner


def read_integer(element: DerElement) -> int:
    """Return an INTEGER."""
    content = _of(element, INTEGER)
    value = int.from_bytes(content, signed=True)
    if not content or integer(value) != element.octets:
        raise DerError("a value that DER forbids")
    return value


def read_octets(element: DerElement) -> bytes:
    """Return the content of an OCTET STRING."""
    return _of(element, OCTET_STRING)


def read_null(element: DerElement) -> None:
    """Require a NULL."""
    if _of(element, NULL):
        raise DerError("a value that DER forbids")


def read_oid(element: DerElement) -> str:
    """Return an OBJECT IDENTIFIER in dots."""
    arcs = [0]
    is_first = True
    content = _of(element, OID)
    for octet in content:
        if is_first and octet == _LONG_LENGTH:
            raise DerError("a value that DER forbids")
        arcs[-1] = arcs[-1] << 7 | octet & _SEVEN_BITS
        is_first = octet <= _SEVEN_BITS
        if is_first:
            arcs.append(0)
    if not content or not is_first:
        raise DerError("a value that DER forbids")
    top = min(arcs[0] // _ARCS, _TOP_ARC)
    return ".".join(map(str, (top, arcs[0] - top * _ARCS, *arcs[1:-1])))


def write(tag: int, content: bytes) -> bytes:
    """Return the octets of an element."""
    size = len(content)
    if size <= _SEVEN_BITS:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, _LONG_LENGTH | len(length))) + length + content


def sequence(*members: bytes) -> bytes:
    """Return a SEQUENCE of members."""
    return write(SEQUENCE, b"".join(members))


def set_of(members: Iterable[bytes], tag: int = SET) -> bytes:
    """Return a SET OF members, in the order that DER wants."""
    return write(tag, b"".join(sorted(members)))


def integer(value: int) -> bytes:
    """Return an INTEGER."""
    bits = value.bit_length() if value >= 0 else (value + 1).bit_length()
    return write(INTEGER, value.to_bytes(bits // 8 + 1, signed=True))


def oid(dotted: str) -> bytes:
    """Return an OBJECT IDENTIFIER."""
    first, second, *arcs = map(int, dotted.split("."))
    return write(OID, b"".join(map(_arc, (first * _ARCS + second, *arcs))))


def _arc(value: int) -> bytes:
    octets = [value & _SEVEN_BITS]
    while value := value >> 7:
        octets.append(value & _SEVEN_BITS | _LONG_LENGTH)
    return bytes(reversed(octets))


def _of(element: DerElement, tag: int) -> bytes:
    """Return the content of an element of this tag."""
    if element.tag != tag:
        raise DerError("another part stands in its place")
    return element.content


def _first(octets: bytes) -> tuple[DerElement, bytes]:
    """Return the first element, and the octets that follow it."""
    _require(octets, _HEAD)
    tag, size = octets[:_HEAD]
    if tag & _LONG_TAG == _LONG_TAG:
        raise DerError("another part stands in its place")
    start = _HEAD
    if size > _SEVEN_BITS:
        start += size & _SEVEN_BITS
        if not _HEAD < start <= _HEAD + _MAX_LENGTH_OCTETS:
            raise DerError("a length that DER forbids")
        _require(octets, start)
        size = int.from_bytes(octets[_HEAD:start])
        if size <= _SEVEN_BITS or not octets[_HEAD]:
            raise DerError("a length that DER forbids")
    end = start + size
    _require(octets, end)
    return DerElement(tag, octets[start:end], octets[:end]), octets[end:]


def _require(octets: bytes, size: int) -> None:
    if len(octets) < size:
        raise DerError(f"it ends too early, by {size - len(octets)}")
