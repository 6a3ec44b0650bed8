import pytest
from hypothesis import given
from hypothesis import strategies as st

from openimds.facts.endpoints import ENDPOINTS
from openimds.protocol.request import category_of, parse_query


@pytest.mark.parametrize(
    "target, key, route",
    [
        (b"/metadata", "root", ()),
        (b"/metadata/", "root", ()),
        (b"/METADATA/Instance/Compute/", "instance", ("Compute",)),
        (b"/metadata/instance//compute", "instance", ("", "compute")),
        (b"/metadata%2Finstance%2Fcompute", "instance", ("compute",)),
        (b"/metadata/instances", None, ()),
        (b"/metadata/versions/compute", None, ()),
        (b"/metadata/./instance", None, ()),
        (b"/metadata/x/../instance", None, ()),
        (b"//metadata/instance", None, ()),
        (b"/", None, ()),
        (b"*", None, ()),
        (b"http://169.254.169.254/metadata/instance/compute", "instance", ("compute",)),
        (b"HTTP://x:80/metadata/versions", "versions", ()),
        (b"http://169.254.169.254", None, ()),
        (b"/metadata/%FF%FE", None, ()),
    ],
)
def test_a_target_finds_its_endpoint(
    target: bytes, key: str | None, route: tuple[str, ...]
) -> None:
    found = parse_query("GET", target)
    assert (found.endpoint.key if found.endpoint else None, found.route) == (key, route)


@pytest.mark.parametrize(
    "target, parameters, has_duplicates",
    [
        (b"/metadata?a=1&b=2", {"a": "1", "b": "2"}, False),
        (b"/metadata?API-Version=1&x", {"api-version": "1", "x": ""}, False),
        (b"/metadata?a=1&A=2", {"a": "1"}, True),
        (b"/metadata?a=1&&a=1", {"a": "1"}, True),
        (b"/metadata?%61=x%26y+z", {"a": "x&y z"}, False),
        (b"/metadata%3Fa=1", {"a": "1"}, False),
        (b"/metadata%3Fa%3D1%26b=%2531", {"a": "1", "b": "%31"}, False),
        (b"/metadata%3Fa=1?a=2", {"a": "1"}, True),
        (b"/metadata?", {}, False),
        (b"/metadata?a=b=c", {"a": "b=c"}, False),
        (b"/metadata?a=http://x/?y=z", {"a": "http://x/?y=z"}, False),
    ],
)
def test_a_target_has_its_parameters(
    target: bytes, parameters: dict[str, str], has_duplicates: bool
) -> None:
    found = parse_query("GET", target)
    assert (found.parameters, found.has_duplicates) == (parameters, has_duplicates)
    assert found.endpoint is not None
    assert found.endpoint.key == "root"


@pytest.mark.parametrize(
    "path, category",
    [
        ("/metadata/identity", "identity"),
        ("/Metadata/Identity/oauth2/tokens", "identity"),
        ("/metadata/identityx", "general"),
        ("/metadata/loadbalancer/x", "loadbalancer"),
        ("/latest/meta-data", "general"),
        ("", "general"),
    ],
)
def test_an_unknown_path_still_has_a_category(path: str, category: str) -> None:
    assert category_of(path).key == category


@given(st.binary(max_size=300))
def test_any_bytes_make_a_query(target: bytes) -> None:
    found = parse_query("GET", target)
    assert found.endpoint is None or found.endpoint in ENDPOINTS
    assert all(name == name.lower() for name in found.parameters)
