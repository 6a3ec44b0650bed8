"""Any api-version, plan and nonce: what is signed is what was said, and it holds."""

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
from openimds.protocol.request import query
from openimds.vm.fleet_file import parse_vm

REGISTRY = LazyCa(CaSettings(public_url="http://127.0.0.1:8171"))
DOCUMENTS = DocumentCache(REGISTRY.document_signer, lambda: 0, Worker())
NOW_S = 1_795_377_286.0
VERSIONS = [row.name for row in GENERAL if row.name >= "2018-10-01"]
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
PLANS = st.fixed_dictionaries({}, optional=dict.fromkeys(("name", "product", "publisher"), TEXT))
NONCES = st.text("abcXYZ019-_", max_size=32)


def wanted(version: str, nonce: str, plan: dict[str, str]) -> PendingDocument:
    said: dict[str, Any] = {"compute": {"plan": plan}}
    target = f"/metadata/attested/document?api-version={version}&nonce={nonce}"
    asked = query("GET", target.encode(), has_metadata_header=True)
    got = handle(asked, Subject(parse_vm("web-1", said), catalog()), NOW_S)
    assert isinstance(got, PendingDocument)
    return got


@settings(deadline=None)
@given(st.sampled_from(VERSIONS), NONCES, PLANS)
def test_what_is_signed_is_what_was_said(version: str, nonce: str, plan: dict[str, str]) -> None:
    need = wanted(version, nonce, plan)
    text = DOCUMENTS.sign(need, NOW_S)
    payload = open_envelope(b64decode(text)).payload
    assert payload is not None
    said = json.loads(payload)
    assert said["plan"] == {"name": "", "product": "", "publisher": "", **plan}
    assert said["nonce"] == (nonce or "20261123-015446")
    assert (
        payload
        == json.dumps(said, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
    )
    report = verify(text, trust=REGISTRY.bundle(NOW_S), nonce=nonce or None, at_s=NOW_S)
    assert report.holds, report


@settings(deadline=None, max_examples=20)
@given(NONCES.filter(bool), PLANS)
def test_one_nonce_is_one_signature_for_one_request(nonce: str, plan: dict[str, str]) -> None:
    need = wanted("2021-02-01", nonce, plan)

    async def play() -> None:
        documents = DocumentCache(REGISTRY.document_signer, lambda: 0, Worker())
        await documents.make(need, NOW_S)
        assert documents.cached(need, NOW_S) is None

    asyncio.run(play())
