"""The cache of attested documents: shared signatures, expiry, nonces, rotation."""

import asyncio
import json
from base64 import b64decode
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from openimds.credentials.keys.files import KeyFileError
from openimds.credentials.pki.cms import open_envelope
from openimds.credentials.pki.document_cache import DocumentCache
from openimds.credentials.pki.lazy_ca import CA, CaSettings, LazyCa
from openimds.credentials.pki.verify import verify
from openimds.credentials.worker import Worker
from openimds.protocol.attested_document import pending_document
from openimds.protocol.pending import Failed, PendingDocument, Signature
from openimds.protocol.request import parse_query
from openimds.vm.defaults import complete
from openimds.vm.fleet_file import parse_vm

NOW_S = 1_795_377_286.0
URL = "http://127.0.0.1:8171"


def wanted(more: str = "", version: str = "2021-02-01", **attested: Any) -> PendingDocument:
    web = parse_vm("web-1", {"attested": attested} if attested else {})
    target = f"/metadata/attested/document?api-version={version}{more}"
    pending = pending_document(parse_query("GET", target.encode()), web)
    assert isinstance(pending, PendingDocument)
    return pending


class CacheSetup:
    """A document cache with its CA and its worker."""

    def __init__(self, folder: Path | None = None, most_waiting: int = 8, limit: int = 8) -> None:
        self.steady_s = 0.0
        self.ca = LazyCa(CaSettings(folder, URL))
        self.worker = Worker(most_waiting=most_waiting)
        self.documents = DocumentCache(
            self.ca.document_signer,
            lambda: self.ca.generation,
            self.worker,
            limit,
            steady=lambda: self.steady_s,
        )

    async def make(self, pending: PendingDocument, now_s: float = NOW_S) -> Signature:
        signature = await self.documents.make(pending, now_s)
        assert isinstance(signature, Signature)
        return signature


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


def payload_of(signature: Signature) -> Any:
    content = open_envelope(b64decode(signature.text)).payload
    assert content is not None
    return json.loads(content)


def test_signature_holds_and_is_cached_for_five_minutes() -> None:
    async def check() -> None:
        setup = CacheSetup()
        pending = wanted()
        assert setup.documents.cached(pending, NOW_S) is None
        signature = await setup.make(pending)
        assert setup.documents.cached(pending, NOW_S + 299) is signature
        assert setup.documents.cached(pending, NOW_S + 300) is None
        report = verify(
            json.dumps({"encoding": "pkcs7", "signature": signature.text}),
            trust=setup.ca.bundle(NOW_S),
            nonce=None,
            at_s=NOW_S,
        )
        assert report.holds, report
        assert payload_of(signature)["vmId"] == complete(parse_vm("web-1", {}))["compute"]["vmId"]  # type: ignore[index]

    run(check())


def test_document_of_the_future_is_not_returned() -> None:
    async def check() -> None:
        setup = CacheSetup()
        await setup.make(wanted())
        assert setup.documents.cached(wanted(), NOW_S - 1) is None
        assert setup.documents.cached(wanted(), NOW_S) is not None
        setup.documents.forget_future(NOW_S)
        assert setup.documents.cached(wanted(), NOW_S) is not None
        setup.documents.forget_future(NOW_S - 1)
        assert setup.documents.cached(wanted(), NOW_S) is None

    run(check())


def test_document_of_a_clock_set_back_ends_with_its_life() -> None:
    async def check() -> None:
        setup = CacheSetup()
        await setup.make(wanted())
        setup.steady_s = 299.0
        assert setup.documents.cached(wanted(), NOW_S + 1) is not None
        setup.steady_s = 300.0
        assert setup.documents.cached(wanted(), NOW_S + 1) is None

    run(check())


def test_document_with_a_nonce_is_not_cached() -> None:
    async def check() -> None:
        setup = CacheSetup()
        pending = wanted("&nonce=1234567890")
        first = await setup.make(pending)
        assert payload_of(first)["nonce"] == "1234567890"
        assert setup.documents.cached(pending, NOW_S) is None
        assert setup.documents.cached(wanted(), NOW_S) is None

    run(check())


def test_document_belongs_to_a_version_and_facts_of_the_vm() -> None:
    async def check() -> None:
        setup = CacheSetup()
        await setup.make(wanted())
        assert setup.documents.cached(wanted(version="2018-10-01"), NOW_S) is None
        assert setup.documents.cached(wanted(sku="other"), NOW_S) is None
        assert setup.documents.cached(wanted(), NOW_S) is not None

    run(check())


def test_concurrent_callers_share_one_signature() -> None:
    async def check() -> None:
        setup = CacheSetup()
        signatures = await asyncio.gather(*(setup.make(wanted()) for _ in range(5)))
        assert len({signature.text for signature in signatures}) == 1
        assert setup.worker.done == 1
        assert setup.worker.shared == 4

    run(check())


def test_full_queue_fails_as_throttled() -> None:
    async def check() -> None:
        setup = CacheSetup(most_waiting=1)
        jobs = (setup.documents.make(wanted(f"&nonce={n}"), NOW_S) for n in range(9))
        results = await asyncio.gather(*jobs)
        assert results.count(Failed("throttled")) == 7

    run(check())


def test_cache_evicts_the_oldest_document_beyond_its_limit() -> None:
    async def check() -> None:
        setup = CacheSetup(limit=2)
        versions = ["2018-10-01", "2020-09-01", "2021-02-01"]
        for version in versions:
            await setup.make(wanted(version=version))
        cached = [setup.documents.cached(wanted(version=name), NOW_S) for name in versions]
        assert [entry is not None for entry in cached] == [False, True, True]

    run(check())


@pytest.mark.parametrize("part", ["leaf", "intermediate", "root"])
def test_rotation_drops_cached_documents_that_still_verify(part: str) -> None:
    async def check() -> None:
        setup = CacheSetup()
        before = await setup.make(wanted())
        old_trust = setup.ca.bundle(NOW_S)
        setup.ca.rotate(part, NOW_S)
        assert setup.documents.cached(wanted(), NOW_S) is None
        after = await setup.make(wanted())
        signers = [open_envelope(b64decode(item.text)).certificates for item in (before, after)]
        assert signers[0] != signers[1]
        published = setup.ca.authority(NOW_S).published()
        for signature, trust in ((before, setup.ca.bundle(NOW_S)), (after, old_trust)):
            report = verify(
                signature.text,
                trust=trust,
                nonce=None,
                at_s=NOW_S,
                fetch=lambda url: published[url.rpartition("/")[2].removesuffix(".crt")],
            )
            # A verifier that trusts only the old root reaches it by the cross certificate.
            assert report.holds, report

    run(check())


def test_stale_nonce_is_that_of_the_previous_request() -> None:
    async def check() -> None:
        setup = CacheSetup()
        nonces = []
        for nonce in ("first", "second", "third"):
            signature = await setup.make(wanted(f"&nonce={nonce}", scenario="stale-nonce"))
            nonces.append(payload_of(signature)["nonce"])
        assert nonces[1:] == ["first", "second"]
        assert nonces[0] not in ("first", "second", "third")

    run(check())


@pytest.mark.parametrize(
    "scenario, fails",
    [
        ("expired-leaf", "certificate times"),
        ("unknown-intermediate", "chain"),
        ("expired-document", "times"),
        ("tampered-payload", "signature"),
    ],
)
def test_scenario_fails_its_check(scenario: str, fails: str) -> None:
    async def check() -> None:
        setup = CacheSetup()
        signature = await setup.make(wanted(scenario=scenario))
        report = verify(signature.text, trust=setup.ca.bundle(NOW_S), nonce=None, at_s=NOW_S)
        failed = {check.name for check in report.checks if check.holds is False}
        assert fails in failed

    run(check())


def test_check_opens_a_stored_ca_and_makes_none(
    tmp_path: Path,
) -> None:
    first = LazyCa(CaSettings(tmp_path, URL))
    first.check(NOW_S)
    assert not (tmp_path / CA).exists()
    bundle = first.bundle(NOW_S)
    second = LazyCa(CaSettings(tmp_path, URL))
    second.check(NOW_S)
    assert second.bundle(NOW_S) == bundle
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / CA).glob("*.key")}
    assert modes == dict.fromkeys(("root.key", "tier.key", "intermediate.key"), 0o600)


def test_file_in_place_of_the_ca_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / CA).write_text("scribble")
    with pytest.raises(KeyFileError, match=r"ca: saw a file, expected the folder.* Type mv "):
        LazyCa(CaSettings(tmp_path, URL)).check(NOW_S)


def test_generation_counts_replacements() -> None:
    ca = LazyCa(CaSettings(None, URL))
    assert ca.generation == 0
    ca.rotate("leaf", NOW_S)
    ca.rotate("root", NOW_S)
    assert ca.generation == 2
