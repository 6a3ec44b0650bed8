"""A host and control with real VMs, queries and answers, without a transport."""

import json
from typing import Any

import jwt

from openimds.credentials.pki.lazy_ca import CaSettings
from openimds.credentials.pki.leaf_requests import LeafReply, LeafRequest
from openimds.credentials.pki.verify import verify
from openimds.credentials.remote.host_credentials import HostCredentials
from openimds.credentials.remote.host_documents import HostDocuments, leaf_subjects
from openimds.credentials.remote.host_leaves import HostLeaves
from openimds.credentials.remote.host_tokens import HostTokens
from openimds.credentials.remote.mint_service import MintService
from openimds.credentials.remote.placed_vm import PlacedVm, placed_vm
from openimds.credentials.service import CredentialsService
from openimds.credentials.worker import Worker
from openimds.facts.clouds import CLOUDS
from openimds.protocol.access_token import TokenSettings
from openimds.protocol.handle import resume
from openimds.protocol.pending import AccessToken, Failed, Pending, PendingToken, Result
from openimds.protocol.response import Refusal, Response
from openimds.vm.fleet_file import parse_vm
from openimds.vm.types import Vm
from tests.unit.credentials.pki.openssl_verify import NOW_S, URL
from tests.unit.credentials.remote.control_setup import AwayError
from tests.unit.credentials.tokens.cache_setup import run_async, turns
from tests.unit.protocol.queries import Asked

TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"
DOCUMENT = "/metadata/attested/document?api-version=2021-02-01&nonce=1234567890"
FIELDS: dict[str, Any] = {"identities": {"system": True}, "compute": {"location": "westeurope"}}


class Fleet:
    """Control, and the hosts that its placement names."""

    def __init__(self) -> None:
        self.is_away = False
        self.now_s = NOW_S
        self.vms = {"web-1": parse_vm("web-1", FIELDS)}
        self.placement = {"web-1": "host-1"}
        self.credentials = CredentialsService(CaSettings(public_url=URL), TokenSettings(86_400))
        self.faults: set[tuple[str, str, str]] = set()
        self.control = MintService(
            self.credentials,
            self.placed,
            lambda host: [vm for vm, placed in self.placement.items() if placed == host],
            lambda *fault: fault in self.faults,
        )

    def placed(self, host: str, vm: str) -> PlacedVm | None:
        return placed_vm(self.vms[vm]) if self.placement.get(vm) == host else None

    def host(self, name: str) -> HostCredentials:
        def ask() -> None:
            if self.is_away:
                raise AwayError("control is away")

        async def mint(pending: PendingToken, _now_s: float) -> AccessToken | Failed:
            ask()
            return await self.control.mint(name, pending, self.now_s)

        async def certify(request: LeafRequest, _now_s: float) -> LeafReply:
            ask()
            return await self.control.certify(name, request, self.now_s)

        async def forward(pending: Pending, _now_s: float) -> Result:
            ask()
            return await self.control.make_for(name, pending, self.now_s)

        def steady() -> float:
            return self.now_s

        worker = Worker()
        tokens = HostTokens(mint, steady=steady, jitter=lambda: 0.0)
        documents = HostDocuments(HostLeaves(None), certify, worker, steady=steady)
        return HostCredentials(tokens, documents, forward, worker)

    async def get(self, host: HostCredentials, target: str, **fields: Any) -> Any:
        """Return the body of a guest's answer, or the key of its refusal."""
        asked = Asked(target, fields={**FIELDS, **fields})
        assert not isinstance(asked.reply, Refusal | Response)
        found = host.cached(asked.reply, self.now_s)
        result = found or await host.make(asked.reply, self.now_s)
        answer = resume(asked.query, asked.reply, result, self.now_s)
        return json.loads(answer.body) if isinstance(answer, Response) else answer.row.key


def test_guests_of_a_host_get_what_control_vouches_for() -> None:
    async def scenario() -> None:
        fleet = Fleet()
        host = fleet.host("host-1")
        token = (await fleet.get(host, TOKEN))["access_token"]
        key = fleet.credentials.keyring().public(NOW_S)[0].key
        claims = jwt.decode(
            token,
            key,
            algorithms=["RS256"],
            audience="https://vault.azure.net",
            options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
        )
        assert claims["xms_mirid"].endswith("/web-1")
        document = (await fleet.get(host, DOCUMENT))["signature"]
        bundle = fleet.credentials.ca.bundle(NOW_S)
        assert verify(document, trust=bundle, nonce="1234567890", at_s=NOW_S).holds
        host.close()
        fleet.credentials.close()

    run_async(scenario)


def test_moved_vm_finds_its_token_on_the_next_host() -> None:
    async def scenario() -> None:
        fleet = Fleet()
        first, second = fleet.host("host-1"), fleet.host("host-2")
        await fleet.get(first, TOKEN)
        fleet.placement["web-1"] = "host-2"
        second.place("web-1", fleet.now_s, fleet.control.asked("web-1", fleet.now_s))
        second.want(leaf_subjects(fleet.vms.values()))
        await second.keep_up(fleet.now_s)
        while not second.tokens.cached(fleet.control.asked("web-1", fleet.now_s)[0], fleet.now_s):
            await turns()
        first.leave({"web-1"})
        assert await fleet.get(first, TOKEN) == "server_error"
        fleet.is_away = True
        assert "access_token" in await fleet.get(second, TOKEN)
        assert "signature" in await fleet.get(second, DOCUMENT)
        for one in (first, second, fleet.credentials):
            one.close()

    run_async(scenario)


def test_stolen_host_is_refused_the_vms_of_others() -> None:
    async def scenario() -> None:
        fleet = Fleet()
        stolen = fleet.host("host-2")
        assert await fleet.get(stolen, TOKEN) == "server_error"
        spoilt = {"attested": {"scenario": "unknown-intermediate"}}
        assert await fleet.get(stolen, DOCUMENT, **spoilt) == "server_error"
        rightful = fleet.host("host-1")
        assert await fleet.get(rightful, DOCUMENT, **spoilt) == "server_error", "no fault asks"
        fleet.faults.add(("web-1", "attested-document", "unknown-intermediate"))
        assert "signature" in await fleet.get(rightful, DOCUMENT, **spoilt)
        invented = {"system": True, "tenantId": "11111111-2222-3333-4444-555555555555"}
        assert await fleet.get(rightful, TOKEN, identities=invented) == "identity_not_found"
        posed = {**spoilt, "compute": {"location": "westeurope", "vmId": "another"}}
        assert await fleet.get(rightful, DOCUMENT, **posed) == "server_error"
        for one in (stolen, rightful, fleet.credentials):
            one.close()

    run_async(scenario)


def subjects(*vms: Vm) -> list[tuple[str, str, int]]:
    return [(one.domain, one.region, one.days) for one in leaf_subjects(vms)]


def test_subjects_of_leaves_are_those_of_the_documents() -> None:
    west = {"compute": {"location": "westeurope"}}
    public, local = parse_vm("a", west), parse_vm("b", {**west, "kind": "azure-local"})
    domain = CLOUDS[public.cloud].domain
    assert subjects(public, parse_vm("c", west), local) == [
        (domain, "westeurope", 0),
        (domain, "westeurope", 30),
    ]
    without = next(name for name, row in CLOUDS.items() if not row.domain)
    stack = parse_vm("d", {"cloud": without})
    assert subjects(stack) == []


def test_vm_is_placed_with_the_vm_id_of_its_documents() -> None:
    plain = parse_vm("a", {"compute": {"vmId": "id-1", "location": "westeurope"}})
    assert (placed_vm(plain).facts["vmId"], placed_vm(plain).region) == ("id-1", "westeurope")
    other = parse_vm("a", {"compute": {"vmId": "id-1"}, "attested": {"vmId": "id-2"}})
    assert placed_vm(other).facts["vmId"] == "id-2"
