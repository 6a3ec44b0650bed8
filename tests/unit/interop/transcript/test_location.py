"""The location of a target."""

import pytest

from openimds.facts.document import FIELDS
from openimds.interop.transcript.location import Location, field_path, locate, written

V = "api-version=2021-02-01"


@pytest.mark.parametrize(
    "target,expected",
    [
        (f"/metadata/instance?{V}", Location("instance", "2021-02-01")),
        (f"/Metadata/Instance/?{V}", Location("instance", "2021-02-01")),
        (f"/metadata/instance/compute%3F{V}", Location("instance", "2021-02-01", ("compute",))),
        (
            f"/metadata/instance/network/interface/0?{V}&format=TEXT",
            Location("instance", "2021-02-01", ("network", "interface", 0), is_text=True),
        ),
        (f"/metadata?{V}", Location("root", "2021-02-01")),
        ("/metadata/versions", Location("versions", "")),
        (f"/metadata/nothing?{V}", Location("", "2021-02-01")),
    ],
)
def test_target_is_located_as_imds_parses_it(target: str, expected: Location) -> None:
    assert locate(target) == expected


@pytest.mark.parametrize(
    "route,is_listing",
    [
        ("", True),
        ("/compute", True),
        ("/compute/VMID", False),
        ("/network/interface", True),
        ("/network/interface/7", True),
        ("/network/interface/7/mac", False),
        ("/compute/tagsList/0/name", False),
        ("/compute/brandNew", True),
    ],
)
def test_listing_is_a_path_with_fields_below(route: str, is_listing: bool) -> None:
    assert locate(f"/metadata/instance{route}?{V}&format=text").is_listing is is_listing
    assert not locate(f"/metadata/instance{route}?{V}").is_listing


@pytest.mark.parametrize(
    "steps,path",
    [
        ((), ""),
        (("compute", "VMSIZE"), "compute.vmSize"),
        (("network", "interface", 3, "mac"), "network.interface[].macAddress"),
        (
            ("network", "interface", 0, "ipv4", "ipaddress", 1, "publicip"),
            "network.interface[].ipv4.ipAddress[].publicIpAddress",
        ),
        (
            ("network", "interface", 0, "ipv6", "ipaddress", 0, "ipaddress"),
            "network.interface[].ipv6.ipAddress[].privateIpAddress",
        ),
        (("compute", "brandNew", "x"), "compute.brandNew.x"),
    ],
)
def test_names_of_any_version_and_case_lead_to_the_row(
    steps: tuple[str | int, ...], path: str
) -> None:
    assert field_path(steps) == path


@pytest.mark.parametrize("row", FIELDS, ids=lambda row: row.path)
def test_path_of_every_field_is_its_own(row: object) -> None:
    path = str(getattr(row, "path", ""))
    steps: list[str | int] = []
    for piece in path.split("."):
        steps += [piece.removesuffix("[]"), *([0] if piece.endswith("[]") else [])]
    assert field_path(tuple(steps)) == path == written(tuple(steps))


def test_steps_are_written_with_or_without_positions() -> None:
    steps = ("a", 0, "b", 2)
    assert (written(steps), written(steps, is_shape=False)) == ("a[].b[]", "a[0].b[2]")
