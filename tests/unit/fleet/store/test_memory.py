import pytest

from openimds.fleet.store.port import Write
from openimds.fleet.store.sqlite import MemoryStore


def test_it_keeps_the_latest_changes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryStore, "max_log_rows", 3)
    store = MemoryStore()
    for number in range(5):
        store.write([Write("a", b"%d" % number, "api")], "somebody", "now")
    assert [change.revision for change in store.changes(0, 10)] == [3, 4, 5]
    assert store.revision() == 5
    store.close()
