"""Control's answers to hosts: for the VMs placed on each, and for no others."""

from typing import Any

import pytest
from msgspec.structs import replace

from openimds.credentials.pki.certificates import LeafSubject
from openimds.credentials.pki.document_signer import other_domain
from openimds.credentials.pki.host_leaf_issuer import LeafRequestError
from openimds.credentials.pki.host_leaf_register import MAX_PER_HOST
from openimds.credentials.pki.invalid_documents import ROTATIONS, SCENARIOS, invalid_payload
from openimds.credentials.pki.lazy_ca import CaSettings
from openimds.credentials.pki.leaf_requests import LeafRequest
from openimds.credentials.remote.host_leaves import HostLeaves
from openimds.credentials.remote.leaf_permits import LeafPermits
from openimds.credentials.remote.mint_service import CONTROL_SIGNS, REUSED, MintService
from openimds.credentials.remote.placed_vm import ATTESTED_FAULT, FORGED_FAULT, PlacedVm
from openimds.credentials.service import CredentialsService
from openimds.facts.confidential import REPORT_BYTES, Processor
from openimds.facts.faults import EFFECTS
from openimds.protocol.access_token import TokenSettings
from openimds.protocol.pending import (
    AccessToken,
    Failed,
    Pending,
    PendingApproval,
    PendingCertificate,
    PendingDocument,
    PendingEndorsement,
    PendingQuote,
    PendingToken,
    Result,
    Signature,
)
from tests.unit.credentials.tokens.cache_setup import APP, NOW_S, PENDING, REAL, run_async

HOST, OTHER = "host-1", "host-2"
ENTRA = replace(APP, client_id="entra-client", source="entra")
FACTS: dict[str, Any] = {"vmId": "id-1", "sku": "22_04-lts", "plan": {"name": "gold"}}
VM = PlacedVm(
    cloud=PENDING.cloud,
    region="westeurope",
    principals=(APP, ENTRA),
    facts=FACTS,
    domain="metadata.azure.com",
)
NOT_PLACED, NO_IDENTITY = Failed("server_error"), Failed("identity_not_found")
DOCUMENT = PendingDocument(
    vm="web-1",
    version="2021-02-01",
    nonce="1",
    domain="metadata.azure.com",
    region="westeurope",
    members=("nonce", "vmId"),
    facts={**FACTS, "plan": {**FACTS["plan"]}},
    scenario="revoked-leaf",
)
FORGED = replace(PENDING, identity=replace(APP, source="forge:expired"))


class EntraOfAnHour:
    """Returns a new token for each fetch."""

    def __init__(self) -> None:
        self.fetches = 0

    async def token(self, _pending: PendingToken, now_s: float) -> AccessToken:
        self.fetches += 1
        issued_s = int(now_s)
        return AccessToken(f"real-{self.fetches}", issued_s - 300, issued_s + 3600, 3600)

    def withdraw(self, _pending: PendingToken) -> bool:
        return False


class Setup:
    """A control with one VM on one host, and the VM's faults."""

    def __init__(self, vm: PlacedVm = VM, service: Any = None) -> None:
        self.entra = EntraOfAnHour()
        self.credentials = service or CredentialsService(
            CaSettings(), TokenSettings(86_400), self.entra
        )
        self.vm, self.faults = vm, set[tuple[str, str, str]]()
        self.service = MintService(
            self.credentials,
            self.placed,
            lambda host: ["web-1"] if host == HOST else [],
            lambda *fault: fault in self.faults,
        )

    def placed(self, host: str, vm: str) -> PlacedVm | None:
        return self.vm if (host, vm) == (HOST, "web-1") else None

    async def mint(self, pending: PendingToken, host: str = HOST, now_s: float = NOW_S) -> Any:
        return await self.service.mint(host, pending, now_s)


class FakeService:
    """Takes the place of the credentials service, and counts its work."""

    def __init__(self) -> None:
        self.made: list[Pending] = []

    def cached(self, pending: Pending, now_s: float) -> Result | None:
        return Signature("cached", now_s) if pending in self.made else None

    async def make(self, pending: Pending, now_s: float) -> Result:
        self.made.append(pending)
        return Signature("made", now_s)


def test_token_of_a_placed_vm_is_signed_and_not_cached() -> None:
    async def scenario() -> None:
        setup = Setup()
        first, second = await setup.mint(PENDING), await setup.mint(PENDING, now_s=NOW_S + 1)
        assert isinstance(first, AccessToken)
        assert first.text != second.text
        assert len(setup.credentials.tokens) == 0
        assert setup.service.asked("web-1", NOW_S) == [replace(PENDING, region="westeurope")]
        setup.credentials.close()

    run_async(scenario)


@pytest.mark.parametrize(
    "changes, host, failed",
    [
        ({}, OTHER, NOT_PLACED),
        ({"vm": "web-2"}, HOST, NOT_PLACED),
        ({"cloud": "AzureChinaCloud"}, HOST, NO_IDENTITY),
        ({"identity": replace(APP, client_id="another")}, HOST, NO_IDENTITY),
        ({"identity": replace(APP, own_claims=b'{"roles":["admin"]}')}, HOST, NO_IDENTITY),
        ({"identity": replace(APP, source="entra")}, HOST, NO_IDENTITY),
        ({"identity": replace(APP, client_id="x", source="forge:expired")}, HOST, NO_IDENTITY),
    ],
)
def test_stolen_host_gets_no_token_beyond_its_vms(
    changes: dict[str, Any], host: str, failed: Failed
) -> None:
    async def scenario() -> None:
        setup = Setup()
        assert await setup.mint(replace(PENDING, **changes), host) == failed
        assert setup.service.asked("web-1", NOW_S) == []
        setup.credentials.close()

    run_async(scenario)


def test_token_is_forged_only_where_a_fault_asks_for_it() -> None:
    async def scenario() -> None:
        setup = Setup()
        assert await setup.mint(FORGED) == NO_IDENTITY
        for fault in (("web-2", FORGED_FAULT, "expired"), ("web-1", FORGED_FAULT, "unsigned")):
            setup.faults.add(fault)
        assert await setup.mint(FORGED) == NO_IDENTITY
        assert setup.service.asked("web-1", NOW_S) == []
        setup.faults.add(("web-1", FORGED_FAULT, "expired"))
        assert isinstance(await setup.mint(FORGED), AccessToken)
        setup.credentials.close()

    run_async(scenario)


def test_identity_with_forged_tokens_of_its_own_gets_them() -> None:
    async def scenario() -> None:
        setup = Setup(replace(VM, principals=(FORGED.identity,)))
        assert isinstance(await setup.mint(FORGED), AccessToken)
        assert await setup.mint(PENDING) == NO_IDENTITY
        setup.credentials.close()

    run_async(scenario)


def test_names_of_effects_are_those_of_faults() -> None:
    assert {ATTESTED_FAULT, FORGED_FAULT} <= EFFECTS.keys()


def test_young_token_of_entra_is_given_again() -> None:
    async def scenario() -> None:
        setup, real = Setup(), replace(REAL, identity=ENTRA)
        times_s = (NOW_S, NOW_S + 800, NOW_S + (1 - REUSED) * 3600 + 1)
        assert [(await setup.mint(real, now_s=at_s)).text for at_s in times_s] == [
            "real-1",
            "real-1",
            "real-2",
        ]
        setup.credentials.close()

    run_async(scenario)


def test_refused_token_is_not_remembered() -> None:
    async def scenario() -> None:
        setup = Setup()
        setup.credentials.worker.close()
        assert await setup.mint(PENDING) == Failed("throttled")
        assert setup.service.asked("web-1", NOW_S) == []
        setup.credentials.close()

    run_async(scenario)


def test_clock_set_back_lets_no_request_stay_for_longer() -> None:
    async def scenario() -> None:
        setup = Setup()
        await setup.mint(PENDING)
        setup.service.forget_future(NOW_S - 50)
        assert len(setup.service.asked("web-1", NOW_S - 50 + 86_400)) == 1
        assert setup.service.asked("web-1", NOW_S - 49 + 86_400) == []
        setup.credentials.close()

    run_async(scenario)


CERTIFICATE = PendingCertificate("web-1", APP, b"csr", "https://endpoint")
QUOTE = PendingQuote("web-1", bytes(REPORT_BYTES))
ENDORSEMENT = PendingEndorsement("web-1", "Genoa", b"chip", 1)
INTEL, AMD = replace(VM, processor=Processor.INTEL), replace(VM, processor=Processor.AMD)
SPOILT = replace(VM, scenario="revoked-leaf")


@pytest.mark.parametrize(
    "vm, pending, result",
    [
        (VM, CERTIFICATE, "made"),
        (VM, replace(CERTIFICATE, identity=replace(APP, object_id="another")), NO_IDENTITY),
        (VM, replace(CERTIFICATE, identity=FORGED.identity), NO_IDENTITY),
        (VM, replace(CERTIFICATE, vm="web-2"), NOT_PLACED),
        (SPOILT, DOCUMENT, "made"),
        (VM, DOCUMENT, NOT_PLACED),
        (SPOILT, replace(DOCUMENT, scenario="new-root"), NOT_PLACED),
        (SPOILT, replace(DOCUMENT, facts={**FACTS, "vmId": "another"}), NOT_PLACED),
        (SPOILT, replace(DOCUMENT, facts={**FACTS, "sku": "another"}), NOT_PLACED),
        (SPOILT, replace(DOCUMENT, region="northeurope"), NOT_PLACED),
        (SPOILT, replace(DOCUMENT, domain="metadata.azure.us"), NOT_PLACED),
        (SPOILT, replace(DOCUMENT, leaf_days=30), NOT_PLACED),
        (VM, replace(DOCUMENT, scenario=""), NOT_PLACED),
        (
            replace(VM, scenario="stale-nonce"),
            replace(DOCUMENT, scenario="stale-nonce"),
            NOT_PLACED,
        ),
        (INTEL, QUOTE, "made"),
        (INTEL, replace(QUOTE, report=b"short"), NOT_PLACED),
        (AMD, QUOTE, NOT_PLACED),
        (VM, QUOTE, NOT_PLACED),
        (AMD, ENDORSEMENT, "made"),
        (AMD, replace(ENDORSEMENT, product="Rome"), NOT_PLACED),
        (INTEL, ENDORSEMENT, NOT_PLACED),
        (VM, PendingApproval("web-1", "scope", ("event",)), NOT_PLACED),
    ],
)
def test_other_results_are_for_vms_that_need_them(
    vm: PlacedVm, pending: Pending, result: str | Failed
) -> None:
    async def scenario() -> None:
        fake = FakeService()
        service = Setup(vm, fake).service
        made = await service.make_for(HOST, pending, NOW_S)
        assert made == (Signature("made", NOW_S) if result == "made" else result)
        assert len(fake.made) == (result == "made")
        again = await service.make_for(HOST, pending, NOW_S)
        assert again == (Signature("cached", NOW_S) if result == "made" else result)

    run_async(scenario)


def test_spoilt_document_is_signed_where_a_fault_asks_for_it() -> None:
    async def scenario() -> None:
        setup = Setup(VM, FakeService())
        setup.faults.add(("web-1", ATTESTED_FAULT, "new-root"))
        assert await setup.service.make_for(HOST, DOCUMENT, NOW_S) == NOT_PLACED
        setup.faults.add(("web-1", ATTESTED_FAULT, "revoked-leaf"))
        assert await setup.service.make_for(HOST, DOCUMENT, NOW_S) == Signature("made", NOW_S)

    run_async(scenario)


def test_token_may_be_asked_for_as_another_result() -> None:
    async def scenario() -> None:
        setup = Setup()
        assert isinstance(await setup.service.make_for(HOST, PENDING, NOW_S), AccessToken)
        assert await setup.service.make_for(OTHER, PENDING, NOW_S) == NOT_PLACED
        setup.credentials.close()

    run_async(scenario)


async def certified(setup: Setup, *subjects: LeafSubject, host: str = HOST) -> list[str]:
    """Return the names in the leaves that a host gets for subjects."""
    leaves = HostLeaves(None)
    leaves.want(subjects)
    request = leaves.request(NOW_S)
    leaves.accept(request, await setup.service.certify(host, request, NOW_S), NOW_S)
    return [subject.names()[0] for subject in subjects if leaves.has(subject, NOW_S)]


def test_host_gets_leaves_for_the_regions_of_its_vms_alone() -> None:
    async def scenario() -> None:
        setup = Setup()
        own = LeafSubject(VM.domain, VM.region)
        others = [
            LeafSubject(VM.domain, "northeurope"),
            LeafSubject("metadata.azure.us", VM.region),
            LeafSubject(VM.domain, VM.region, 30),
        ]
        assert await certified(setup, own, *others) == ["westeurope.metadata.azure.com"]
        assert await certified(setup, own, host=OTHER) == []
        setup.vm = replace(VM, region="northeurope")
        assert await certified(setup, own, others[0]) == ["northeurope.metadata.azure.com"]
        setup.vm = replace(VM, domain="")
        assert await certified(setup, own) == []
        setup.credentials.close()

    run_async(scenario)


def test_leaf_of_another_cloud_is_for_a_scenario_alone() -> None:
    async def scenario() -> None:
        setup = Setup()
        other = LeafSubject(other_domain(VM.domain), VM.region)
        assert await certified(setup, other) == []
        setup.faults.add(("web-1", ATTESTED_FAULT, "wrong-cloud"))
        assert await certified(setup, other) == other.names()[:1]
        setup.faults.clear()
        assert await certified(setup, other) == []
        setup.vm = replace(VM, scenario="wrong-cloud")
        assert await certified(setup, other) == other.names()[:1]
        setup.credentials.close()

    run_async(scenario)


def test_vm_that_needed_a_leaf_is_looked_at_first() -> None:
    looked: list[str] = []

    def placed(_host: str, name: str) -> PlacedVm | None:
        looked.append(name)
        return replace(VM, region=name)

    permits = LeafPermits(placed, lambda *_: False)
    names = [f"region-{number}" for number in range(1000)]
    wanted = LeafSubject(VM.domain, names[-1])
    assert permits.of(HOST, names, [wanted]) == {wanted: names[-1]}
    assert len(looked) == 1000
    looked.clear()
    assert permits.of(HOST, names, [wanted]) == {wanted: names[-1]}
    assert looked == names[-1:]
    other = LeafSubject(VM.domain, names[-2])
    assert permits.of(HOST, names[-2:], [other]) == {other: names[-2]}
    looked.clear()
    assert permits.of(HOST, names, [wanted]) == {wanted: names[-1]}
    assert looked == names[-1:], "a question about another leaf forgets none"


def test_leaf_that_no_vm_needs_is_not_looked_for() -> None:
    async def scenario() -> None:
        setup, looked = Setup(), list[str]()
        place = setup.service._placement

        def placed(host: str, name: str) -> PlacedVm | None:
            looked.append(name)
            return place(host, name)

        setup.service._placement = placed
        leaves = HostLeaves(None)
        leaves.want([LeafSubject(VM.domain, VM.region)])
        for _ in range(2):
            request = leaves.request(NOW_S)
            leaves.accept(request, await setup.service.certify(HOST, request, NOW_S), NOW_S)
        assert looked == ["web-1"], "the leaf is there"
        setup.vm = replace(VM, region="northeurope")
        request = leaves.request(NOW_S)
        reply = await setup.service.certify(HOST, request, NOW_S)
        assert reply.certificates == (b"",)
        assert looked == ["web-1"], "nothing is to be certified"
        setup.credentials.close()

    run_async(scenario)


def test_remembered_vms_of_a_host_are_bounded() -> None:
    permits = LeafPermits(lambda _, name: replace(VM, region=name), lambda *_: False)
    for number in range(MAX_PER_HOST + 9):
        name = f"region-{number}"
        permits.of(HOST, [name], [LeafSubject(VM.domain, name)])
    assert len(permits._found[HOST]) == MAX_PER_HOST


def test_leaves_of_a_host_are_certified_by_control() -> None:
    async def scenario() -> None:
        setup = Setup()
        leaves = HostLeaves(None)
        leaves.want([LeafSubject(DOCUMENT.domain, DOCUMENT.region)])
        request = leaves.request(NOW_S)
        reply = await setup.service.certify(HOST, request, NOW_S)
        assert not leaves.accept(request, reply, NOW_S)
        assert not leaves.lacks_wanted(NOW_S)
        with pytest.raises(LeafRequestError, match=r"host host-1: .*cannot be read"):
            await setup.service.certify(HOST, LeafRequest(b"", ()), NOW_S)
        setup.credentials.close()

    run_async(scenario)


def test_control_signs_the_documents_that_a_host_cannot() -> None:
    of_the_host = {"wrong-cloud", "tampered-payload"}
    sample = {"nonce": "1", "timeStamp": {}}
    by_payload = {name for name in SCENARIOS if invalid_payload(sample, name, NOW_S) != sample}
    assert {*SCENARIOS, *ROTATIONS} - of_the_host - by_payload == CONTROL_SIGNS
