"""The entries of a fleet file, separated without parsing them."""

import json

import pytest

from openimds.vm.decode import decode
from openimds.vm.file_entries import split

YAML = b"""\
# A fleet.
cloud: AzurePublicCloud
defaults: &all
  compute: {location: westeurope}
vms:
  # The first.

  web-1:
    compute:
      vmSize: One
    userData: |
      web-9:
    # A comment.
  web-2: {compute: {vmSize: Two}}   # Another.

  web.3:
    <<: *all
events:
  - {at: 5, vms: [web-1]}
"""
JSON = json.dumps(
    {
        "cloud": "AzurePublicCloud",
        "vms": {"web-1": {"userData": 'a "quoted" }'}, "web-2": {}, "\u00e9": {"zone": "1"}},
        "events": [],
    },
    indent=1,
).encode()


@pytest.mark.parametrize("text, ending", [(YAML, "yaml"), (YAML, "yml"), (JSON, "json")])
@pytest.mark.parametrize("crlf", [False, True])
def test_text_with_some_entries_has_their_values(text: bytes, ending: str, crlf: bool) -> None:
    text = text.replace(b"\n", b"\r\n") if crlf else text
    name = f"fleet.{ending}"
    whole = decode(text, name)
    assert isinstance(whole, dict)
    parts = split(text, name)
    assert parts is not None
    assert [*parts.entries] == [*whole["vms"]]
    for vm in whole["vms"]:
        assert decode(parts.with_only({vm}), name) == whole | {"vms": {vm: whole["vms"][vm]}}
    assert decode(parts.with_only(parts.entries), name) == whole


@pytest.mark.parametrize("text, ending", [(YAML, "yaml"), (JSON, "json")])
def test_digests_differ_where_the_text_differs(text: bytes, ending: str) -> None:
    def digests(text: bytes):  # type: ignore[no-untyped-def]  # noqa: ANN202 - of the module
        parts = split(text, f"fleet.{ending}")
        assert parts is not None
        return parts.digests()

    before = digests(text)
    assert digests(text) == before
    edited = digests(text.replace(b"web-2", b"web-4"))
    assert edited.around == before.around
    assert edited.by_name.keys() ^ before.by_name.keys() == {"web-2", "web-4"}
    other = digests(text.replace(b"AzurePublicCloud", b"AzureChinaCloud"))
    assert other.around != before.around
    assert other.by_name == before.by_name


@pytest.mark.parametrize(
    "text, name",
    [
        (b"[vms.a]\n", "fleet.toml"),
        (b'{"vms": {"a": {}}}', "fleet"),
        (b"vms: {a: {}, b: {}}\n", "fleet.yaml"),
        (b"vms:\n  a: &one {}\n  b: *one\n", "fleet.yaml"),
        (b"vms:\n  a:\n    tags: &one {}\n  b: {}\n", "fleet.yaml"),
        (b"vms:\n  a: {}\n  a: {}\n", "fleet.yaml"),
        (b"vms:\n  'a': {}\n", "fleet.yaml"),
        (b"vms:\n  a:\n  - b\n", "fleet.yaml"),
        (b"vms:\n  ? a\n  : {}\n", "fleet.yaml"),
        (b"vms:\n", "fleet.yaml"),
        (b"vms:\na: {}\n", "fleet.yaml"),
        (b"VMs:\n  a: {}\n", "fleet.yaml"),
        (b"", "fleet.yaml"),
        (b'{"vms": {"a": {}, "a": {}}}', "fleet.json"),
        (b'{"vms": {"a": {}}, "vms": {"a": {}}}', "fleet.json"),
        (b'{"vms": ["a"]}', "fleet.json"),
        (b'{"cloud": "a"}', "fleet.json"),
        (b'{"vms": {"a": {}', "fleet.json"),
        (b"[]", "fleet.json"),
    ],
)
def test_text_that_cannot_be_separated_is_left_whole(text: bytes, name: str) -> None:
    assert split(text, name) is None


def test_ampersand_in_a_value_is_no_anchor() -> None:
    parts = split(b"vms:\n  a: {tags: {q: x&y, r: '1 & 2'}}\n  b: {}\n", "fleet.yaml")
    assert parts is not None
    assert [*parts.entries] == ["a", "b"]


def test_text_in_quotes_is_no_entry() -> None:
    text = b'vms:\n  a:\n    userData: "x\n  b: {}\n  "\n'
    whole = decode(text, "fleet.yaml")
    assert isinstance(whole, dict)
    parts = split(text, "fleet.yaml")
    assert parts is None or [*parts.entries] != [*whole["vms"]]
