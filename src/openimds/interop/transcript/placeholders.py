"""Placeholders: the same one for the same value, and in the form of the value."""

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from ipaddress import IPv4Address, IPv6Address, ip_address

from openimds.facts.redaction import Redaction
from openimds.interop.transcript.sensitivity import WORDS
from openimds.vm.tags import join, split

REDACTED = "redacted"
GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_MAC = re.compile(r"[0-9a-fA-F]{12}")
_HOME = re.compile(r"/home/([^/]+)/\.ssh/authorized_keys")
_KEY = re.compile(r"(?P<type>(?:(?:ssh|ecdsa)-[a-z0-9-]+ )?)(?P<key>.*?)(?P<end>\s*)", re.DOTALL)
_PRIVATE, _PUBLIC = 0x0A000000, 0xC6120000
"""10.0.0.0/8, and 198.18.0.0/15, which is reserved for benchmarks (RFC 2544)."""
_PRIVATE_6, _PUBLIC_6 = 0xFD00 << 112, 0x20010DB8 << 96
_SUBNET_BITS = 16
Pairs = list[tuple[str, str]]


class Placeholders:
    """The placeholders of one transcript; none of them is a value of the transcript."""

    def __init__(self, taken: AbstractSet[str], tag_lists: Mapping[str, Pairs]) -> None:
        """Take the values of the transcript, and its tags by their joined string.

        Args:
            taken: the values in lower case, which no placeholder may repeat.
            tag_lists: the names and values of tags, by the string that joins them.
        """
        self._taken, self._tag_lists = taken, tag_lists
        self._counts: dict[str, int] = {}
        self.by_value: dict[tuple[str, str], str] = {}
        """The placeholders so far, by pool and value in lower case."""
        self._replacers: dict[Redaction, Callable[[str], str]] = {
            Redaction.KEPT: str,
            Redaction.NAME: self._name,
            Redaction.GUID: self._guid,
            Redaction.RESOURCE: self._resource,
            Redaction.URL: lambda value: self._numbered(
                "url", value, "https://redacted-{}.invalid/".format
            ),
            Redaction.MAC: self._mac,
            Redaction.PRIVATE: lambda value: self._address(value, _PRIVATE, _PRIVATE_6),
            Redaction.PUBLIC: lambda value: self._address(value, _PUBLIC, _PUBLIC_6),
            Redaction.SUBNET: lambda value: self._address(
                value, _PRIVATE, _PRIVATE_6, _SUBNET_BITS
            ),
            Redaction.KEY: self._key,
            Redaction.HOME: self._home,
            Redaction.BASE64: lambda value: self._numbered("base64", value, _in_base64),
            Redaction.TAGS: self._tags,
            Redaction.TAG: lambda value: self._numbered("tag", value, "tag-{}".format),
            Redaction.TAG_VALUE: lambda value: self._numbered("value", value, "value-{}".format),
            Redaction.EVENT_RESOURCE: self._event_resource,
            Redaction.SIGNATURE: lambda _: REDACTED,
            Redaction.OTHER: self._other,
        }

    def of(self, redaction: Redaction, value: str) -> str:
        """Return the placeholder of a value; that of the empty string is empty."""
        return self._replacers[redaction](value) if value else ""

    def _numbered(self, pool: str, value: str, form: Callable[[int], str]) -> str:
        """Return the placeholder of a value, by default the next of its pool."""
        key = (pool, value.lower())
        while key not in self.by_value:
            self._counts[pool] = number = self._counts.get(pool, 0) + 1
            if form(number).lower() not in self._taken:
                self.by_value[key] = form(number)
        return self.by_value[key]

    def _other(self, value: str) -> str:
        return self._numbered("other", value, "redacted-{}".format)

    def _name(self, value: str) -> str:
        """Replace a name; one in capitals, as Azure writes some, stays in capitals."""
        placeholder = self._numbered("name", value, "name-{}".format)
        return placeholder.upper() if value.isupper() else placeholder

    def _guid(self, value: str) -> str:
        if not GUID.fullmatch(value):
            return self._other(value)
        return self._numbered("guid", value, "00000000-0000-0000-0000-{:012x}".format)

    def _resource(self, value: str) -> str:
        """Replace the names in a resource id, whose segments are types and names in turn."""
        first, *segments = value.split("/")
        pairs = zip(segments[::2], [*segments[1::2], ""], strict=False)
        replaced = [
            text for kind, name in pairs for text in (self._word(kind), self._segment(kind, name))
        ]
        return "/".join([self._word(first), *replaced[: len(segments)]])

    def _segment(self, kind: str, name: str) -> str:
        if kind.lower() == "providers":
            return self._word(name)
        return self._guid(name) if GUID.fullmatch(name) else self.of(Redaction.NAME, name)

    def _word(self, text: str) -> str:
        return text if text.lower() in WORDS else self.of(Redaction.NAME, text)

    def _mac(self, value: str) -> str:
        if not _MAC.fullmatch(value):
            return self._other(value)
        placeholder = self._numbered("mac", value, "000d3a{:06x}".format)
        return placeholder if value != value.upper() else placeholder.upper()

    def _address(self, value: str, base: int, base_6: int, bits: int = 0) -> str:
        """Replace an address; brackets around an IPv6 address stay (S16)."""
        inner = value.removeprefix("[").removesuffix("]")
        try:
            address = ip_address(inner)
        except ValueError:
            return self._other(value)
        if isinstance(address, IPv4Address):
            placeholder = self._numbered(
                f"{base} {bits}", inner, lambda n: str(IPv4Address(base + (n << bits)))
            )
        else:
            placeholder = self._numbered(f"{base_6}", inner, lambda n: str(IPv6Address(base_6 + n)))
        return value.replace(inner, placeholder)

    def _key(self, value: str) -> str:
        """Replace a public key, but not its type and the end of its line."""
        match = _KEY.fullmatch(value)
        assert match is not None
        placeholder = self._numbered("key", match["key"], "redacted-{}".format)
        return f"{match['type']}{placeholder}{match['end']}"

    def _home(self, value: str) -> str:
        match = _HOME.fullmatch(value)
        return value.replace(match[1], self._name(match[1]), 1) if match else self._other(value)

    def _tags(self, value: str) -> str:
        pairs = self._tag_lists.get(value)
        if pairs is None:
            pairs = split(value)
        return join(
            [
                (self.of(Redaction.TAG, name), self.of(Redaction.TAG_VALUE, text))
                for name, text in pairs
            ]
        )

    def _event_resource(self, value: str) -> str:
        bare = value.lstrip("_")
        return "_" * (len(value) - len(bare)) + self.of(Redaction.NAME, bare)


def _in_base64(number: int) -> str:
    return b64encode(f"redacted-{number}".encode()).decode()
