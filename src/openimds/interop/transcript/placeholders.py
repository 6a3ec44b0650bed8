"""What stands in for a value: always the same for the same one, and of its looks."""

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
_KEY = re.compile(r"(?P<sort>(?:(?:ssh|ecdsa)-[a-z0-9-]+ )?)(?P<key>.*?)(?P<end>\s*)", re.DOTALL)
_PRIVATE, _PUBLIC = 0x0A000000, 0xC6120000
"""10.0.0.0/8, and 198.18.0.0/15, which is nobody's (RFC 2544)."""
_PRIVATE_6, _PUBLIC_6 = 0xFD00 << 112, 0x20010DB8 << 96
_SUBNET_BITS = 16
Pairs = list[tuple[str, str]]


class Placeholders:
    """The stand-ins of one transcript; none of them is a value that stood there."""

    def __init__(self, taken: AbstractSet[str], tag_lists: Mapping[str, Pairs]) -> None:
        """Know the values that stood there, in lower case, and what strings of tags stood for."""
        self._taken, self._tag_lists = taken, tag_lists
        self._counts: dict[str, int] = {}
        self.made: dict[tuple[str, str], str] = {}
        self._ways: dict[Redaction, Callable[[str], str]] = {
            Redaction.KEPT: str,
            Redaction.NAME: self._name,
            Redaction.GUID: self._guid,
            Redaction.RESOURCE: self._resource,
            Redaction.URL: lambda value: self._new(
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
            Redaction.BASE64: lambda value: self._new("base64", value, _in_base64),
            Redaction.TAGS: self._tags,
            Redaction.TAG: lambda value: self._new("tag", value, "tag-{}".format),
            Redaction.TAG_VALUE: lambda value: self._new("value", value, "value-{}".format),
            Redaction.EVENT_RESOURCE: self._event_resource,
            Redaction.SIGNATURE: lambda _: REDACTED,
            Redaction.OTHER: self._other,
        }

    def of(self, sort: Redaction, value: str) -> str:
        """Return what stands in for a value; nothing stands in for nothing."""
        return self._ways[sort](value) if value else ""

    def _new(self, pool: str, value: str, form: Callable[[int], str]) -> str:
        """Return the stand-in of a value in its pool, made if there is none yet."""
        key = (pool, value.lower())
        while key not in self.made:
            self._counts[pool] = number = self._counts.get(pool, 0) + 1
            if form(number).lower() not in self._taken:
                self.made[key] = form(number)
        return self.made[key]

    def _other(self, value: str) -> str:
        return self._new("other", value, "redacted-{}".format)

    def _name(self, value: str) -> str:
        """Replace a name; Azure writes some in capitals, and they stay so."""
        made = self._new("name", value, "name-{}".format)
        return made.upper() if value.isupper() else made

    def _guid(self, value: str) -> str:
        if not GUID.fullmatch(value):
            return self._other(value)
        return self._new("guid", value, "00000000-0000-0000-0000-{:012x}".format)

    def _resource(self, value: str) -> str:
        """Replace the names in a path of kinds and names, one after the other."""
        first, *pieces = value.split("/")
        pairs = zip(pieces[::2], [*pieces[1::2], ""], strict=False)
        replaced = [
            one for kind, name in pairs for one in (self._word(kind), self._named(kind, name))
        ]
        return "/".join([self._word(first), *replaced[: len(pieces)]])

    def _named(self, kind: str, name: str) -> str:
        if kind.lower() == "providers":
            return self._word(name)
        return self._guid(name) if GUID.fullmatch(name) else self.of(Redaction.NAME, name)

    def _word(self, text: str) -> str:
        return text if text.lower() in WORDS else self.of(Redaction.NAME, text)

    def _mac(self, value: str) -> str:
        if not _MAC.fullmatch(value):
            return self._other(value)
        made = self._new("mac", value, "000d3a{:06x}".format)
        return made if value != value.upper() else made.upper()

    def _address(self, value: str, base: int, base_6: int, bits: int = 0) -> str:
        """Replace an address; the brackets around one of IPv6 stay (S16)."""
        inner = value.removeprefix("[").removesuffix("]")
        try:
            address = ip_address(inner)
        except ValueError:
            return self._other(value)
        if isinstance(address, IPv4Address):
            made = self._new(
                f"{base} {bits}", inner, lambda n: str(IPv4Address(base + (n << bits)))
            )
        else:
            made = self._new(f"{base_6}", inner, lambda n: str(IPv6Address(base_6 + n)))
        return value.replace(inner, made)

    def _key(self, value: str) -> str:
        """Replace a key, but for its sort and the end of its line."""
        found = _KEY.fullmatch(value)
        assert found is not None
        return (
            f"{found['sort']}{self._new('key', found['key'], 'redacted-{}'.format)}{found['end']}"
        )

    def _home(self, value: str) -> str:
        found = _HOME.fullmatch(value)
        return value.replace(found[1], self._name(found[1]), 1) if found else self._other(value)

    def _tags(self, value: str) -> str:
        pairs = self._tag_lists.get(value)
        if pairs is None:
            pairs = split(value)
        return join(
            [
                (self.of(Redaction.TAG, name), self.of(Redaction.TAG_VALUE, said))
                for name, said in pairs
            ]
        )

    def _event_resource(self, value: str) -> str:
        bare = value.lstrip("_")
        return "_" * (len(value) - len(bare)) + self.of(Redaction.NAME, bare)


def _in_base64(number: int) -> str:
    return b64encode(f"redacted-{number}".encode()).decode()
