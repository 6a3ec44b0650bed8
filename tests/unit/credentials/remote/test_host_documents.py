"""Attested documents that a host signs, with control and without."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from openimds.credentials.pki.certificate_info import common_name
from openimds.credentials.pki.leaf_requests import LeafReply, LeafRequest
from openimds.credentials.pki.leaves import HOST_DAYS
from openimds.credentials.pki.verify import VerificationReport, verify
from openimds.credentials.remote import host_documents
from openimds.credentials.remote.host_documents import CHECK_S, RETRY_S
from openimds.credentials.remote.host_leaves import HostLeaves
from tests.unit.credentials.pki.openssl_verify import DAY_S, NOW_S, certificates
from tests.unit.credentials.remote.leaf_setup import (
    DOCUMENT,
    SUBJECT,
    LeafHost,
    in_region,
    open_authority,
)
from tests.unit.credentials.tokens.cache_setup import run_async, turns

AUTHORITY = open_authority()


def check(host: LeafHost, text: str) -> VerificationReport:
    return verify(
        text,
        trust=AUTHORITY.bundle(),
        nonce=DOCUMENT.nonce,
        at_s=host.now_s,
        domain=SUBJECT.domain,
    )


def test_document_of_a_host_verifies_below_the_ca_of_control() -> None:
    async def scenario() -> None:
        host = LeafHost(authority=AUTHORITY)
        assert check(host, await host.sign()).holds
        assert len(host.requests) == 1
        await host.sign()
        assert len(host.requests) == 1, "the leaf is there"
        host.worker.close()

    run_async(scenario)


def test_document_without_a_nonce_is_cached() -> None:
    async def scenario() -> None:
        host = LeafHost(authority=AUTHORITY)
        plain = replace(DOCUMENT, nonce="")
        text = await host.sign(plain)
        cached = host.documents.cached(plain, NOW_S)
        assert cached is not None
        assert cached.text == text
        host.documents.forget_future(NOW_S - 1)
        assert host.documents.cached(plain, NOW_S) is None
        host.worker.close()

    run_async(scenario)


def test_document_without_leaf_and_control_is_refused() -> None:
    async def scenario() -> None:
        host = LeafHost(authority=AUTHORITY)
        host.is_away = True
        assert [await host.sign(), await host.sign()] == ["server_error"] * 2
        assert len(host.requests) == 1, "control is known to be away for a second"
        assert host.documents.failure == "control is away"
        host.now_s += RETRY_S
        host.is_away = False
        assert check(host, await host.sign()).holds
        assert host.documents.failure == ""
        host.worker.close()

    run_async(scenario)


def test_restarted_host_signs_without_control(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = LeafHost(tmp_path, AUTHORITY)
        first.documents.want([SUBJECT])
        await first.documents.keep_up(NOW_S)
        first.worker.close()
        again = LeafHost(tmp_path, AUTHORITY)
        again.is_away = True
        for _ in range(10):
            again.now_s += 60
            await again.documents.keep_up(again.now_s)
            assert check(again, await again.sign()).holds
        assert len(again.requests) == 10, "control is tried again"
        again.worker.close()

    run_async(scenario)


def test_documents_go_on_until_the_leaf_ends() -> None:
    async def scenario() -> None:
        host = LeafHost(authority=AUTHORITY)
        host.documents.want([SUBJECT])
        await host.documents.keep_up(NOW_S)
        assert host.documents.ends_s() == NOW_S + HOST_DAYS * DAY_S
        host.is_away = True
        for day in range(1, HOST_DAYS):
            host.now_s = NOW_S + day * DAY_S
            await host.documents.keep_up(host.now_s)
            assert check(host, await host.sign()).holds, day
        host.now_s = NOW_S + HOST_DAYS * DAY_S
        assert await host.sign() == "server_error"
        host.worker.close()

    run_async(scenario)


def test_control_is_asked_each_minute_or_when_leaves_lack() -> None:
    async def scenario() -> None:
        host = LeafHost(authority=AUTHORITY)
        host.documents.want([SUBJECT])
        await host.documents.keep_up(host.now_s)
        host.now_s += CHECK_S - 1
        await host.documents.keep_up(host.now_s)
        assert len(host.requests) == 1
        host.documents.want([SUBJECT, in_region("westeurope")])
        await host.documents.keep_up(host.now_s)
        assert len(host.requests) == 2
        host.now_s += CHECK_S
        await host.documents.keep_up(host.now_s)
        assert len(host.requests) == 3
        host.worker.close()

    run_async(scenario)


def test_rotated_intermediate_reaches_the_host_in_a_minute() -> None:
    async def scenario() -> None:
        authority = open_authority()
        host = LeafHost(authority=authority)
        host.documents.want([SUBJECT])
        await host.documents.keep_up(host.now_s)
        authority.rotate("intermediate", NOW_S)
        host.now_s += CHECK_S
        await host.documents.keep_up(host.now_s)
        issuer = certificates(authority.chain_pem())[0]
        assert host.certificate().issuer == issuer.subject, common_name(issuer)
        host.worker.close()

    run_async(scenario)


def test_key_of_a_revoked_leaf_is_replaced_at_the_next_look() -> None:
    async def scenario() -> None:
        authority = open_authority()
        host = LeafHost(authority=authority)
        host.documents.want([SUBJECT])
        await host.documents.keep_up(host.now_s)
        first = host.certificate()
        authority.revoke(f"host:{host.name}", "keyCompromise", NOW_S)
        host.now_s += CHECK_S
        await host.documents.keep_up(host.now_s)
        assert host.certificate().public_key() != first.public_key()
        assert len(host.requests) == 3
        host.worker.close()

    run_async(scenario)


def test_guests_share_a_request_that_survives_a_cancelled_one() -> None:
    async def scenario() -> None:
        host = LeafHost(authority=AUTHORITY)
        opened, certify = asyncio.Event(), host.certify

        async def slow(request: LeafRequest, now_s: float) -> LeafReply:
            await opened.wait()
            return await certify(request, now_s)

        host.documents._certify = slow
        first, second = (asyncio.ensure_future(host.sign()) for _ in range(2))
        await turns()
        first.cancel()
        await turns()
        opened.set()
        assert check(host, await second).holds
        assert len(host.requests) == 1
        host.worker.close()

    run_async(scenario)


def test_control_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(_request: LeafRequest, _now_s: float) -> LeafReply:
        await asyncio.Event().wait()
        raise AssertionError

    async def scenario() -> None:
        monkeypatch.setattr(host_documents, "TIMEOUT_S", 0.01)
        host = LeafHost(authority=AUTHORITY)
        host.documents._certify = hang
        assert await host.sign() == "server_error"
        assert host.documents.failure == "no answer of control within 0.01 s"
        host.worker.close()

    run_async(scenario)


def test_leaf_that_ends_meanwhile_refuses_the_document(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        host = LeafHost(authority=AUTHORITY)
        monkeypatch.setattr(HostLeaves, "has", lambda *_: True)
        assert await host.sign() == "server_error"
        host.worker.close()

    run_async(scenario)


def test_document_of_a_wrong_cloud_has_a_leaf_of_that() -> None:
    async def scenario() -> None:
        host = LeafHost(authority=AUTHORITY)
        report = check(host, await host.sign(replace(DOCUMENT, scenario="wrong-cloud")))
        assert not report.holds
        assert [held.domain for held in host.requests[0].leaves] == ["metadata.microsoftazure.de"]
        host.worker.close()

    run_async(scenario)


def test_tampered_document_fails_by_its_signature_alone() -> None:
    async def scenario() -> None:
        host = LeafHost(authority=AUTHORITY)
        report = check(host, await host.sign(replace(DOCUMENT, scenario="tampered-payload")))
        assert [item.name for item in report.checks if item.holds is False] == ["signature"]
        host.worker.close()

    run_async(scenario)


def test_leaf_that_control_withholds_is_asked_for_once() -> None:
    async def scenario() -> None:
        host = LeafHost(authority=AUTHORITY)
        host.permits = lambda _: ()
        assert await host.sign() == "server_error"
        assert len(host.requests) == 1
        host.worker.close()

    run_async(scenario)
