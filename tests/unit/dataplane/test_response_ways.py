"""The plane knows the secrets of its VMs, and which settings bring endpoints with them."""

import pytest

from openimds.dataplane.dispatcher import Dispatcher, ParsedRequest
from openimds.dataplane.response_bytes import PreparedResponse
from openimds.fleet.index import VmEntry
from openimds.vm.types import Vm
from tests.support.talk import UTC_S, IdleProvider, an_index


def a_dispatcher(*extras: str) -> tuple[Dispatcher, VmEntry[PreparedResponse]]:
    fleet_index = an_index(Vm("web-1"))
    dispatcher = Dispatcher(
        fleet_index,
        now=lambda: 1000.0,
        utc=lambda: UTC_S,
        allowances={},
        provider=IdleProvider(),
        extras=frozenset(extras),
        secret_of=lambda name: f"secret of {name}",
    )
    return dispatcher, fleet_index.by_name["web-1"]


def said(dispatcher: Dispatcher, entry: VmEntry[PreparedResponse], request: ParsedRequest) -> bytes:
    reply = dispatcher.respond(entry, request, b"")
    assert isinstance(reply, PreparedResponse)
    return dispatcher.send(reply, UTC_S)


@pytest.mark.parametrize(
    "secret, status", [("secret of web-1", b" 400 "), ("secret of web-2", b" 403 ")]
)
def test_a_vm_has_a_secret_of_its_own(secret: str, status: bytes) -> None:
    request = ParsedRequest(
        "GET",
        b"/msi/token?resource=r://s&api-version=2019-08-01",
        has_metadata_header=False,
        is_forwarded=False,
        connection="",
        credentials=(("x-identity-header", secret),),
    )
    # Who knows the secret hears that the VM has no identity.
    assert status in said(*a_dispatcher(), request).partition(b"\r\n")[0]


@pytest.mark.parametrize("extras, status", [((), b" 404 "), (("msi_v2",), b" 400 ")])
def test_an_endpoint_comes_with_its_setting(extras: tuple[str, ...], status: bytes) -> None:
    request = ParsedRequest(
        "GET",
        b"/metadata/identity/getplatformmetadata?cred-api-version=2.0",
        has_metadata_header=True,
        is_forwarded=False,
        connection="",
    )
    assert status in said(*a_dispatcher(*extras), request).partition(b"\r\n")[0]
