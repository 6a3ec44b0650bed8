"""Attested documents of any api-version, plan and nonce have their facts and verify."""

import asyncio
import json
from base64 import b64decode
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from openimds.credentials.pki.cms import open_envelope
from openimds.credentials.pki.document_cache import DocumentCache
from openimds.credentials.pki.lazy_ca import CaSettings, LazyCa
from openimds.credentials.pki.verify import verify
from openimds.credentials.worker import Worker
from openimds.facts.versions import GENERAL, catalog
from openimds.protocol.handle import Subject, handle
from openimds.protocol.pending import PendingDocument
from openimds.protocol.request import parse_query
from openimds.vm.fleet_file import parse_vm

CA = LazyCa(CaSettings(public_url="http://127.0.0.1:8171"))
DOCUMENTS = DocumentCache(CA.document_signer, lambda: 0, Worker())
NOW_S = 1_795_377_286.0
VERSIONS = [row.name for row in GENERAL if row.name >= "2018-10-01"]
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
PLANS = st.fixed_dictionaries({}, optional=dict.fromkeys(("name", "product", "publisher"), TEXT))
NONCES = st.text("abcXYZ019-_", max_size=32)


def wanted(version: str, nonce: str, plan: dict[str, str]) -> PendingDocument:
    settings_of_vm: dict[str, Any] = {"compute": {"plan": plan}}
    target = f"/metadata/attested/document?api-version={version}&nonce={nonce}"
    request = parse_query("GET", target.encode(), has_metadata_header=True)
    pending = handle(request, Subject(parse_vm("web-1", settings_of_vm), catalog()), NOW_S)
    assert isinstance(pending, PendingDocument)
    return pending


@settings(deadline=None)
@given(st.sampled_from(VERSIONS), NONCES, PLANS)
def test_signed_payload_has_the_facts_of_the_vm(
    version: str, nonce: str, plan: dict[str, str]
) -> None:
    pending = wanted(version, nonce, plan)
    text = DOCUMENTS.sign(pending, NOW_S)
    payload = open_envelope(b64decode(text)).payload
    assert payload is not None
    members = json.loads(payload)
    assert members["plan"] == {"name": "", "product": "", "publisher": "", **plan}
    assert members["nonce"] == (nonce or "20261123-015446")
    assert (
        payload
        == json.dumps(members, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
    )
    report = verify(text, trust=CA.bundle(NOW_S), nonce=nonce or None, at_s=NOW_S)
    assert report.holds, report


@settings(deadline=None, max_examples=20)
@given(NONCES.filter(bool), PLANS)
def test_signature_for_a_nonce_is_not_cached(nonce: str, plan: dict[str, str]) -> None:
    pending = wanted("2021-02-01", nonce, plan)

    async def scenario() -> None:
        documents = DocumentCache(CA.document_signer, lambda: 0, Worker())
        await documents.make(pending, NOW_S)
        assert documents.cached(pending, NOW_S) is None

    asyncio.run(scenario())
