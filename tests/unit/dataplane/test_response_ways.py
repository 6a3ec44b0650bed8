"""The plane knows the secrets of its VMs, and which settings bring endpoints with them."""

import pytest

from openimds.dataplane.dispatcher import Plane, Request
from openimds.dataplane.response_bytes import Reply
from openimds.fleet.index import Entry
from openimds.vm.types import Vm
from tests.support.talk import UTC_S, Idle, a_picture


def a_plane(*extras: str) -> tuple[Plane, Entry[Reply]]:
    picture = a_picture(Vm("web-1"))
    plane = Plane(
        picture,
        now=lambda: 1000.0,
        utc=lambda: UTC_S,
        allowances={},
        maker=Idle(),
        extras=frozenset(extras),
        secret_of=lambda name: f"secret of {name}",
    )
    return plane, picture.by_name["web-1"]


def said(plane: Plane, entry: Entry[Reply], request: Request) -> bytes:
    reply = plane.reply(entry, request, b"")
    assert isinstance(reply, Reply)
    return plane.send(reply, UTC_S)


@pytest.mark.parametrize(
    "secret, status", [("secret of web-1", b" 400 "), ("secret of web-2", b" 403 ")]
)
def test_a_vm_has_a_secret_of_its_own(secret: str, status: bytes) -> None:
    request = Request(
        "GET",
        b"/msi/token?resource=r://s&api-version=2019-08-01",
        has_metadata_header=False,
        is_forwarded=False,
        connection="",
        credentials=(("x-identity-header", secret),),
    )
    # Who knows the secret hears that the VM has no identity.
    assert status in said(*a_plane(), request).partition(b"\r\n")[0]


@pytest.mark.parametrize("extras, status", [((), b" 404 "), (("msi_v2",), b" 400 ")])
def test_an_endpoint_comes_with_its_setting(extras: tuple[str, ...], status: bytes) -> None:
    request = Request(
        "GET",
        b"/metadata/identity/getplatformmetadata?cred-api-version=2.0",
        has_metadata_header=True,
        is_forwarded=False,
        connection="",
    )
    assert status in said(*a_plane(*extras), request).partition(b"\r\n")[0]
