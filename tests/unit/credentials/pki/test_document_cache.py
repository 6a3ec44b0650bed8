"""Documents: made once for those who wait, kept for minutes, never kept for a nonce."""

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
from openimds.protocol.request import query
from openimds.vm.defaults import complete
from openimds.vm.fleet_file import parse_vm

NOW_S = 1_795_377_286.0
URL = "http://127.0.0.1:8171"


def wanted(more: str = "", version: str = "2021-02-01", **attested: Any) -> PendingDocument:
    one = parse_vm("web-1", {"attested": attested} if attested else {})
    target = f"/metadata/attested/document?api-version={version}{more}"
    made = pending_document(query("GET", target.encode()), one)
    assert isinstance(made, PendingDocument)
    return made


class Works:
    """A registry, its documents, and what they say."""

    def __init__(self, folder: Path | None = None, max_waiting: int = 8, most: int = 8) -> None:
        self.ca = LazyCa(CaSettings(folder, URL))
        self.worker = Worker(max_waiting=max_waiting)
        self.documents = DocumentCache(
            self.ca.document_signer, lambda: self.ca.generation, self.worker, most
        )

    async def make(self, one: PendingDocument, now_s: float = NOW_S) -> Signature:
        made = await self.documents.make(one, now_s)
        assert isinstance(made, Signature)
        return made


def run(play: Coroutine[Any, Any, None]) -> None:
    asyncio.run(play)


def said(signature: Signature) -> Any:
    content = open_envelope(b64decode(signature.text)).payload
    assert content is not None
    return json.loads(content)


def test_what_is_made_holds_and_is_given_again_for_five_minutes() -> None:
    async def play() -> None:
        works = Works()
        one = wanted()
        assert works.documents.cached(one, NOW_S) is None
        made = await works.make(one)
        assert works.documents.cached(one, NOW_S + 299) is made
        assert works.documents.cached(one, NOW_S + 300) is None
        report = verify(
            json.dumps({"encoding": "pkcs7", "signature": made.text}),
            trust=works.ca.bundle(NOW_S),
            nonce=None,
            at_s=NOW_S,
        )
        assert report.holds, report
        assert said(made)["vmId"] == complete(parse_vm("web-1", {}))["compute"]["vmId"]  # type: ignore[index]

    run(play())


def test_a_clock_that_was_set_back_gets_no_document_of_its_future() -> None:
    async def play() -> None:
        works = Works()
        await works.make(wanted())
        assert works.documents.cached(wanted(), NOW_S - 1) is None
        assert works.documents.cached(wanted(), NOW_S) is not None

    run(play())


def test_one_with_a_nonce_is_never_given_again() -> None:
    async def play() -> None:
        works = Works()
        one = wanted("&nonce=1234567890")
        first = await works.make(one)
        assert said(first)["nonce"] == "1234567890"
        assert works.documents.cached(one, NOW_S) is None
        assert works.documents.cached(wanted(), NOW_S) is None

    run(play())


def test_it_belongs_to_a_version_and_to_what_was_said_of_the_vm() -> None:
    async def play() -> None:
        works = Works()
        await works.make(wanted())
        assert works.documents.cached(wanted(version="2018-10-01"), NOW_S) is None
        assert works.documents.cached(wanted(sku="other"), NOW_S) is None
        assert works.documents.cached(wanted(), NOW_S) is not None

    run(play())


def test_whoever_asks_for_the_same_meanwhile_shares_it() -> None:
    async def play() -> None:
        works = Works()
        made = await asyncio.gather(*(works.make(wanted()) for _ in range(5)))
        assert len({one.text for one in made}) == 1
        assert works.worker.done == 1
        assert works.worker.shared == 4

    run(play())


def test_too_many_at_once_are_sent_away() -> None:
    async def play() -> None:
        works = Works(max_waiting=1)
        jobs = (works.documents.make(wanted(f"&nonce={n}"), NOW_S) for n in range(9))
        made = await asyncio.gather(*jobs)
        assert made.count(Failed("throttled")) == 7

    run(play())


def test_only_so_many_are_kept() -> None:
    async def play() -> None:
        works = Works(most=2)
        versions = ["2018-10-01", "2020-09-01", "2021-02-01"]
        for version in versions:
            await works.make(wanted(version=version))
        kept = [works.documents.cached(wanted(version=one), NOW_S) is not None for one in versions]
        assert kept == [False, True, True]

    run(play())


@pytest.mark.parametrize("part", ["leaf", "intermediate", "root"])
def test_a_rotation_ends_what_was_kept_and_what_was_signed_before_still_holds(part: str) -> None:
    async def play() -> None:
        works = Works()
        before = await works.make(wanted())
        old_trust = works.ca.bundle(NOW_S)
        works.ca.rotate(part, NOW_S)
        assert works.documents.cached(wanted(), NOW_S) is None
        after = await works.make(wanted())
        signers = [open_envelope(b64decode(one.text)).certificates for one in (before, after)]
        assert signers[0] != signers[1]
        published = works.ca.authority(NOW_S).published()
        for one, trust in ((before, works.ca.bundle(NOW_S)), (after, old_trust)):
            report = verify(
                one.text,
                trust=trust,
                nonce=None,
                at_s=NOW_S,
                fetch=lambda url: published[url.rpartition("/")[2].removesuffix(".crt")],
            )
            # A verifier who trusts the old root alone reaches it by the cross-signed new one.
            assert report.holds, report

    run(play())


def test_a_stale_nonce_is_that_of_the_request_before() -> None:
    async def play() -> None:
        works = Works()
        nonces = []
        for nonce in ("first", "second", "third"):
            made = await works.make(wanted(f"&nonce={nonce}", scenario="stale-nonce"))
            nonces.append(said(made)["nonce"])
        assert nonces[1:] == ["first", "second"]
        assert nonces[0] not in ("first", "second", "third")

    run(play())


@pytest.mark.parametrize(
    "scenario, fails",
    [
        ("expired-leaf", "certificate times"),
        ("unknown-intermediate", "chain"),
        ("expired-document", "times"),
        ("tampered-payload", "signature"),
    ],
)
def test_a_scenario_fails_the_check_that_it_is_for(scenario: str, fails: str) -> None:
    async def play() -> None:
        works = Works()
        made = await works.make(wanted(scenario=scenario))
        report = verify(made.text, trust=works.ca.bundle(NOW_S), nonce=None, at_s=NOW_S)
        failed = {check.name for check in report.checks if check.holds is False}
        assert fails in failed

    run(play())


def test_a_registry_opens_what_is_kept_and_looks_at_nothing_where_nothing_is(
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
    assert modes == {"root.key": 0o600, "intermediate.key": 0o600}


def test_a_file_where_the_folder_belongs_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / CA).write_text("scribble")
    with pytest.raises(KeyFileError, match=r"ca: saw something that is no folder.* Type mv "):
        LazyCa(CaSettings(tmp_path, URL)).check(NOW_S)


def test_the_edition_counts_what_is_replaced() -> None:
    registry = LazyCa(CaSettings(None, URL))
    assert registry.generation == 0
    registry.rotate("leaf", NOW_S)
    registry.rotate("root", NOW_S)
    assert registry.generation == 2
