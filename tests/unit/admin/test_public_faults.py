"""The public listener under faults: pages, spoilt documents, waits, and connections that end."""

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from openimds.admin.lazy_server import END_CONNECTION
from openimds.admin.public_app import application
from openimds.admin.public_faults import FaultyPublicApplication
from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.extensions import addresses_in
from openimds.credentials.pki.lazy_ca import CaSettings
from openimds.credentials.pki.ocsp import TRY_LATER
from openimds.credentials.pki.rehearsed_answers import RehearsalError, RehearsedAnswers
from openimds.credentials.publication import Publications
from openimds.credentials.service import CredentialsService
from openimds.facts.public_faults import MAX_HELD
from openimds.facts.revocation import MAX_OCSP_REQUEST
from openimds.faults import ActiveFault, FaultInjector
from openimds.protocol.access_token import TokenSettings
from openimds.protocol.faults.input import read_fault

NOW_S = 1_795_377_286.0
URL = "http://127.0.0.1:8171"
PUBLIC = ("metadata.azure.com", "northeurope")


class Stage:
    """A public listener without sockets, the addresses in its certificates, and its faults."""

    def __init__(self) -> None:
        credentials = CredentialsService(CaSettings(public_url=URL), TokenSettings(86400, ""))
        publications = Publications(URL, credentials, {}, lambda: NOW_S)
        self.authority: CertificateAuthority = credentials.ca.authority(NOW_S)
        self.leaf = self.authority.leaf(*PUBLIC, NOW_S).certificate
        self.addresses = addresses_in(self.leaf)
        self.injector = FaultInjector()
        self.messages: list[str] = []
        self.rehearsed = RehearsedAnswers(lambda: self.authority, lambda: NOW_S)
        self.faulty = FaultyPublicApplication(
            application(publications, self.messages.append),
            self.injector,
            publications,
            self.rehearsed,
            lambda: NOW_S,
            self.messages.append,
        )

    def set(self, **members: Any) -> None:
        """Set one fault, or none."""
        specs = read_fault(members) if members else ()
        self.injector.running = tuple(ActiveFault("1", one, "api", NOW_S, {}) for one in specs)

    def get(self, url: str, body: bytes | None = None) -> httpx2.Response:
        async def send() -> httpx2.Response:
            transport = httpx2.ASGITransport(self.faulty)
            async with httpx2.AsyncClient(transport=transport, base_url=URL) as client:
                if body is not None:
                    return await client.post(url, content=body)
                return await client.get(url)

        return asyncio.run(send())

    def request(self) -> bytes:
        """Return an OCSP request about the leaf."""
        issuer = x509.load_der_x509_certificate(self.get(self.addresses.issuers[0]).content)
        builder = ocsp.OCSPRequestBuilder()
        builder = builder.add_certificate(self.leaf, issuer, SHA1())
        return builder.build().public_bytes(Encoding.DER)


@pytest.fixture(scope="module")
def shared() -> Stage:
    return Stage()


@pytest.fixture
def stage(shared: Stage) -> Stage:
    shared.set()
    shared.messages.clear()
    return shared


PAGES = {"missing": 404, "forbidden": 403, "html": 200}


@pytest.mark.parametrize("answer", PAGES)
@pytest.mark.parametrize("effect", ["issuer-certificate", "revocation-list", "ocsp-response"])
def test_page_is_html_with_its_status(stage: Stage, effect: str, answer: str) -> None:
    stage.set(effect=effect, answer=answer)
    urls = {
        "issuer-certificate": stage.addresses.issuers[0],
        "revocation-list": stage.addresses.crls[0],
        "ocsp-response": f"{stage.addresses.ocsp}/MEI=",
    }
    for key, url in urls.items():
        got = stage.get(url)
        is_hit = key == effect
        assert (got.status_code == PAGES[answer]) is (is_hit or answer == "html")
        assert ("text/html" in got.headers["content-type"]) is is_hit
    assert stage.injector.running[0].played == 1


def test_other_address_keeps_the_true_document(stage: Stage) -> None:
    (first, second) = stage.addresses.issuers
    true = stage.get(first).content
    stage.set(effect="issuer-certificate", address="first")
    assert stage.get(first).status_code == 404
    assert stage.get(second).content == true
    stage.set(effect="issuer-certificate", address="second", answer="forbidden")
    assert stage.get(first).content == true
    assert stage.get(second).status_code == 403


def test_damaged_document_has_a_broken_signature(stage: Stage) -> None:
    issuer, crl = stage.addresses.issuers[0], stage.addresses.crls[0]
    true = stage.get(issuer).content, stage.get(crl).content
    stage.set(effect="issuer-certificate", answer="damaged")
    got = stage.get(issuer)
    assert got.headers["content-type"] == "application/pkix-cert"
    assert (got.content[:-1], got.content[-1]) == (true[0][:-1], true[0][-1] ^ 1)
    stage.set(effect="revocation-list", answer="damaged")
    got = stage.get(crl)
    assert got.headers["content-type"] == "application/pkix-crl"
    assert (got.content[:-1], got.content[-1]) == (true[1][:-1], true[1][-1] ^ 1)


def test_spoilt_documents_have_their_media_types(stage: Stage) -> None:
    stage.set(effect="revocation-list", answer="stale")
    crl = stage.get(stage.addresses.crls[1])
    ends = x509.load_der_x509_crl(crl.content).next_update_utc
    assert ends
    assert ends.timestamp() < NOW_S
    assert crl.headers["content-type"] == "application/pkix-crl"
    stage.set(effect="issuer-certificate", answer="expired")
    certificate = stage.get(stage.addresses.issuers[0])
    assert x509.load_der_x509_certificate(certificate.content).not_valid_after_utc.timestamp() < (
        NOW_S
    )
    assert certificate.headers["content-type"] == "application/pkix-cert"


def test_unknown_root_is_served_after_it_has_cross_signed(stage: Stage) -> None:
    stage.set(effect="issuer-certificate", answer="cross-signed")
    crossed = x509.load_der_x509_certificate(stage.get(stage.addresses.issuers[0]).content)
    (first, second) = addresses_in(crossed).issuers
    root = stage.get(first)
    crossed.verify_directly_issued_by(x509.load_der_x509_certificate(root.content))
    stage.set()
    assert stage.get(second).content == root.content


@pytest.mark.parametrize("answer", ["damaged", "expired", "cross-signed"])
def test_name_without_a_certificate_stays_404(stage: Stage, answer: str) -> None:
    stage.set(effect="issuer-certificate", answer=answer)
    got = stage.get("/pkiops/certs/absent.crt")
    assert got.status_code == 404
    assert "There is nothing at this path" in got.json()["error"]


def test_request_that_no_fault_is_for_passes(stage: Stage) -> None:
    stage.set(effect="issuer-certificate")
    assert stage.get("/pki/bundle.pem").status_code == 200
    assert stage.injector.running[0].seen == 0


@pytest.mark.parametrize("is_post", [True, False], ids=["post", "get"])
def test_ocsp_answers_are_the_same_by_get_and_post(stage: Stage, *, is_post: bool) -> None:
    request, url = stage.request(), stage.addresses.ocsp
    path = f"{url}/{quote(b64encode(request).decode(), safe='')}"

    def ask() -> httpx2.Response:
        return stage.get(url, request) if is_post else stage.get(path)

    stage.set(effect="ocsp-response")
    got = ask()
    assert (got.content, got.headers["content-type"]) == (TRY_LATER, "application/ocsp-response")
    stage.set(effect="ocsp-response", answer="revoked")
    status = ocsp.load_der_ocsp_response(ask().content)
    assert status.certificate_status is ocsp.OCSPCertStatus.REVOKED
    stage.set(effect="ocsp-response", answer="late", delay_s=0.001)
    status = ocsp.load_der_ocsp_response(ask().content)
    assert status.certificate_status is ocsp.OCSPCertStatus.GOOD


def test_body_beyond_the_bound_is_malformed(stage: Stage) -> None:
    stage.set(effect="ocsp-response", answer="unknown")
    got = stage.get(stage.addresses.ocsp, bytes(MAX_OCSP_REQUEST + 1))
    status = ocsp.load_der_ocsp_response(got.content)
    assert status.response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST


def test_answer_that_cannot_be_signed_is_a_503(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise RehearsalError("no key here")

    monkeypatch.setattr(stage.rehearsed, "certificate", fail)
    stage.set(effect="issuer-certificate", answer="expired")
    for _ in range(2):
        assert stage.get(stage.addresses.issuers[0]).status_code == 503
    assert stage.messages == ["no key here"]


class Caller:
    """A caller whose connection a test can close, and the messages that it gets."""

    def __init__(self, url: str) -> None:
        self.sent: list[Any] = []
        self.left, self.waits = asyncio.Event(), asyncio.Event()
        self.is_read = False
        path = urlsplit(url).path
        self.scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "headers": [(b"host", b"h")],
            "extensions": {END_CONNECTION: {"end": self.end}},
        }
        self.ends = 0

    def end(self) -> None:
        self.ends += 1
        self.left.set()

    async def receive(self) -> dict[str, Any]:
        if not self.is_read:
            self.is_read = True
            return {"type": "http.request", "body": b"", "more_body": False}
        self.waits.set()
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def ask(self, faulty: FaultyPublicApplication) -> None:
        await faulty(self.scope, self.receive, self.send)


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(work(), 30)

    asyncio.run(bounded())


def test_hang_ends_its_connection_without_a_response(stage: Stage) -> None:
    stage.set(effect="revocation-list", answer="hang", hang_s=0.001)

    async def work() -> None:
        caller = Caller(stage.addresses.crls[0])
        await caller.ask(stage.faulty)
        assert (caller.ends, caller.sent) == (1, [])
        assert stage.faulty.held == 0

    run(work)


def test_caller_that_leaves_a_hang_frees_its_place(stage: Stage) -> None:
    stage.set(effect="issuer-certificate", answer="hang")

    async def work() -> None:
        caller = Caller(stage.addresses.issuers[0])
        task = asyncio.create_task(caller.ask(stage.faulty))
        await caller.waits.wait()
        assert stage.faulty.held == 1
        caller.left.set()
        await task
        assert (stage.faulty.held, caller.sent) == (0, [])

    run(work)


def test_hang_beyond_the_bound_ends_at_once(stage: Stage) -> None:
    stage.set(effect="ocsp-response", answer="hang")

    async def work() -> None:
        callers = [Caller(f"{stage.addresses.ocsp}/MEI=") for _ in range(MAX_HELD)]
        tasks = [asyncio.create_task(caller.ask(stage.faulty)) for caller in callers]
        await asyncio.gather(*(caller.waits.wait() for caller in callers))
        assert stage.faulty.held == MAX_HELD
        newcomer = Caller(f"{stage.addresses.ocsp}/MEI=")
        await newcomer.ask(stage.faulty)
        assert (newcomer.ends, newcomer.sent) == (1, [])
        assert sum(caller.ends for caller in callers) == 0
        for caller in callers:
            caller.left.set()
        await asyncio.gather(*tasks)
        assert stage.faulty.held == 0

    run(work)


def test_delay_comes_before_any_answer(stage: Stage) -> None:
    stage.set(effect="issuer-certificate", answer="missing", delay_s=0.001)

    async def work() -> None:
        caller = Caller(stage.addresses.issuers[0])
        await caller.ask(stage.faulty)
        assert caller.sent[0]["status"] == 404
        assert caller.ends == 0

    run(work)
