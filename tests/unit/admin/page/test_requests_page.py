"""The page of recorded requests, over the application itself."""

from pathlib import Path

import pytest

from tests.support.talk import Talk, a_dispatcher, a_fleet, an_index
from tests.unit.admin.page.browser import signed_in, text_of
from tests.unit.admin.setup import AdminServer, with_server

PATH = "/ui/requests"
NAME = "/metadata/instance/compute/name?api-version=2021-02-01"
FLEET = a_fleet(a={"reach": {"address": ["10.0.0.1"]}}, b={"reach": {"address": ["10.0.0.2"]}})


def guests(server: AdminServer) -> tuple[Talk, Talk, Talk]:
    """Return two VMs and an unknown caller, whose requests the server records."""
    dispatcher = a_dispatcher(an_index(*FLEET))
    dispatcher.set_observer(server.recorder)
    return (
        Talk(dispatcher, ("10.0.0.1", 5)),
        Talk(dispatcher, ("10.0.0.2", 5)),
        Talk(dispatcher, ("10.0.0.3", 5)),
    )


def test_requests_are_newest_first_with_their_rules(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await signed_in(server)
        assert "No request of a guest was recorded yet." in text_of(await browser.get(PATH))
        first, second, unknown = guests(server)
        first.ask(f"{NAME}&format=text")
        second.ask(NAME)
        unknown.ask(NAME)
        page = await browser.get(PATH)
        text = text_of(page)
        places = [page.text.index(f'id="request-{number}"') for number in (3, 2, 1)]
        assert places == sorted(places)
        assert page.text.count('href="#rule-leaf_needs_text"') == 1
        assert "leaf_needs_text refused 1 of the requests below." in text
        assert "Evidence: " in text
        assert "unknown 10.0.0.3" in text

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "query, numbers",
    [
        ("vm=a", [1, 2]),
        ("unknown=1", [4]),
        ("status=400", [2, 3]),
        ("broken=1", [2, 3]),
        ("vm=a&status=200", [1]),
        ("vm=nobody", []),
    ],
)
def test_requests_are_chosen_by_the_form(tmp_path: Path, query: str, numbers: list[int]) -> None:
    async def work(server: AdminServer) -> None:
        browser = await signed_in(server)
        first, second, unknown = guests(server)
        first.ask(f"{NAME}&format=text")
        first.ask(NAME)
        second.ask(NAME)
        unknown.ask(NAME)
        page = await browser.get(f"{PATH}?{query}")
        found = [number for number in range(1, 5) if f'id="request-{number}"' in page.text]
        assert found == numbers

    with_server(tmp_path, work)


def test_missing_recording_is_shown_with_its_remedy(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        server.recorder.per_vm = 0
        page = await (await signed_in(server)).get(PATH)
        assert page.status_code == 200
        assert "start it with openimds serve --record 1000" in text_of(page)

    with_server(tmp_path, work)


def test_wrong_status_is_refused_on_the_page(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        page = await (await signed_in(server)).get(f"{PATH}?status=many")
        assert 'status: saw "many"' in text_of(page)

    with_server(tmp_path, work)


def test_texts_of_a_guest_are_shown_as_text(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await signed_in(server)
        first, _, _ = guests(server)
        first.ask(f"{NAME}&x=<b>", Via="<script>alert(1)</script>")
        page = await browser.get(f"{PATH}?live=requests")
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
        assert "&amp;x=&lt;b&gt;" in page.text
        assert "<script" not in page.text

    with_server(tmp_path, work)
