"""The page of certificates and keys, over the application itself."""

from pathlib import Path

from openimds.admin.roles import Role
from tests.unit.admin.page.browser import signed_in, text_of
from tests.unit.admin.setup import AdminServer, with_server

PATH = "/ui/trust"


def test_chain_and_keys_are_shown_with_days_left(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await signed_in(server)
        page = await browser.get(PATH)
        text = text_of(page)
        assert "days left" in text
        assert "-----BEGIN CERTIFICATE-----" in text
        assert "No certificate is revoked." in text
        certificates = (await server.api.get("/v1/certificates")).json()["items"]
        for one in certificates:
            assert one["sha256"] in page.text

    with_server(tmp_path, work)


def test_parts_are_replaced_and_revoked_by_forms(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await signed_in(server)
        await browser.get(PATH)
        before = (await server.api.get("/v1/certificates")).json()["items"]
        sent = await browser.post(f"{PATH}/rotate", {"part": "intermediate", "generation": ""})
        assert (sent.status_code, sent.headers["location"]) == (303, PATH)
        assert "The intermediate is replaced." in text_of(await browser.get(PATH))
        after = (await server.api.get("/v1/certificates")).json()["items"]
        assert len(after) > len(before)
        refused = await browser.post(f"{PATH}/rotate", {"part": "leaf", "generation": "2023"})
        assert refused.status_code == 400
        assert "A leaf is of the generation of its intermediate" in text_of(refused)
        revoked = await browser.post(
            f"{PATH}/revoke", {"target": "intermediate", "reason": "keyCompromise"}
        )
        assert revoked.status_code == 303
        text = text_of(await browser.get(PATH))
        assert "intermediate is revoked." in text
        assert ": keyCompromise, 2026-11-22 19:54:46Z" in text
        unknown = await browser.post(f"{PATH}/revoke", {"target": "FF", "reason": "keyCompromise"})
        assert unknown.status_code == 400

    with_server(tmp_path, work)


def test_key_of_tokens_is_replaced_by_its_form(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await signed_in(server)
        await browser.get(PATH)
        assert (await browser.post(f"{PATH}/keys")).status_code == 303
        keys = (await server.api.get("/v1/keys")).json()["items"]
        page = await browser.get(PATH)
        assert "Tokens are signed by a new key from now on." in page.text
        assert keys
        for key in keys:
            assert key["kid"] in page.text

    with_server(tmp_path, work)


def test_rehearsal_begins_and_ends_by_its_forms(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await signed_in(server)
        await browser.get(PATH)
        refused = await browser.post(f"{PATH}/rehearsal", {"every_s": "often"})
        assert 'everyS: saw the string "often"' in text_of(refused)
        assert 'value="often"' in refused.text
        begun = await browser.post(f"{PATH}/rehearsal", {"every_s": "86400", "first": "2024"})
        assert (begun.status_code, begun.headers["location"]) == (303, PATH)
        text = text_of(await browser.get(PATH))
        assert "The rehearsal has begun." in text
        assert "A step every 1 d 0 h of the guests' clock" in text
        assert "taken" in text
        assert (await browser.post(f"{PATH}/rehearsal/end")).status_code == 303
        assert "The rehearsal has ended" in text_of(await browser.get(PATH))

    with_server(tmp_path, work)


def test_operator_reads_the_chain_and_changes_nothing(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await signed_in(server, Role.OPERATE)
        page = await browser.get(PATH)
        assert "days left" in page.text
        for action in ("rotate", "revoke", "keys", "rehearsal"):
            assert f'action="{PATH}/{action}"' not in page.text
            sent = await browser.post(f"{PATH}/{action}", {"part": "leaf", "target": "leaf"})
            assert sent.status_code == 403

    with_server(tmp_path, work)
