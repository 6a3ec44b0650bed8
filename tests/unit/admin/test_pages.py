"""Pages of lists: bounded by items and octets."""

from pathlib import Path

import pytest

from openimds.admin.pages import MAX_PAGE_BYTES, PART, fitting, read_page
from tests.unit.admin.setup import AdminServer, with_server


@pytest.mark.parametrize(
    "sizes, count",
    [
        ([], 1),
        ([10, 10], 2),
        ([MAX_PAGE_BYTES, 1], 1),
        ([2 * MAX_PAGE_BYTES], 1),
        ([2 * MAX_PAGE_BYTES, 1], 1),
        ([MAX_PAGE_BYTES // 2] * 5, 2),
    ],
)
def test_page_ends_at_its_octets(sizes: list[int], count: int) -> None:
    assert fitting(sizes) == count


@pytest.mark.parametrize("path", ["/v1/vms", "/v1/audit"])
def test_list_of_large_items_comes_whole_by_pages(tmp_path: Path, path: str) -> None:
    tags = {f"tag-{number:03}": "x" * 200 for number in range(2000)}

    async def work(server: AdminServer) -> None:
        for number in range(5):
            body = {"compute": {"tags": tags}, "reach": {"address": [f"10.0.0.{number}"]}}
            assert (await server.api.put(f"/v1/vms/v{number}", json=body)).status_code == 201
        names: list[str] = []
        pages, query = 0, ""
        while True:
            got = (await server.api.get(f"{path}?limit=1000{query}")).json()
            names += [one["name"] for one in got["items"]]
            pages += 1
            if got["next"] is None:
                break
            query = f"&cursor={got['next']}"
        assert names == [f"v{number}" for number in range(5)]
        assert pages == 3

    with_server(tmp_path, work)


def test_page_is_read_in_parts_up_to_its_octets() -> None:
    asked: list[tuple[int, int]] = []

    def read(after: int, count: int) -> list[int]:
        asked.append((after, count))
        return list(range(after + 1, min(after + count, 1000) + 1))

    def found(limit: int, octets: int) -> int:
        asked.clear()
        return len(read_page(read, 0, limit, lambda item: item, lambda _: octets))

    assert found(50, 1) == 51
    assert asked == [(0, PART), (PART, PART), (2 * PART, 51 - 2 * PART)]
    assert found(1000, MAX_PAGE_BYTES // 30) == 2 * PART
    assert found(2000, 1) == 1000
