"""Every store engine against a model: a dict of VMs and a list of changes."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from openimds.fleet.store.port import Change, ConflictError, StoredVm, Write
from openimds.fleet.store.postgres.store import PostgresStore
from tests.contract.engines import ENGINES, LASTING
from tests.support.postgres import run

NAMES = st.sampled_from(["a", "b", "B", "é", "中", "a b", "\U0001f600"])
BODIES = st.none() | st.sampled_from([b"{}", b'{"a":1}', b"", b"\x00\xff"])
ORIGINS = st.sampled_from(["api", "file", "default"])
EXPECTED = st.sampled_from(["any", "none", "right", "wrong"])


class Machine(RuleBasedStateMachine):
    """Writes random batches, and reads in every way."""

    engine = ""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = ENGINES[self.engine](Path(self.folder.name))
        self.vms: dict[str, StoredVm] = {}
        self.audit: list[Change] = []

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def revision(self) -> int:
        return self.audit[-1].revision if self.audit else 0

    @rule(
        cases=st.lists(st.tuples(NAMES, BODIES, ORIGINS, EXPECTED), max_size=4), who=st.text("ab")
    )
    def write(self, cases: list[tuple[str, bytes | None, str, str]], who: str) -> None:
        vms, writes, changes = dict(self.vms), list[Write](), list[Change]()
        conflict = ""
        for name, body, origin, expected in cases:
            met = vms.get(name)
            now = met.revision if met else 0
            number = {"any": None, "none": 0, "right": now, "wrong": now + 1000}[expected]
            writes.append(Write(name, body, origin, number))
            if number not in (None, now):
                conflict = conflict or name
            after = StoredVm(name, body, 0, origin) if body is not None else None
            is_change = (met and (met.body, met.origin)) != (after and (after.body, after.origin))
            if conflict or not is_change:
                continue
            changes.append(
                Change(
                    self.revision() + len(changes) + 1,
                    "now",
                    who,
                    name,
                    met.body if met else None,
                    body,
                    origin,
                )
            )
            vms.pop(name, None)
            if body is not None:
                vms[name] = StoredVm(name, body, changes[-1].revision, origin)
        if conflict:
            with pytest.raises(ConflictError) as caught:
                self.store.write(writes, who, "now")
            assert caught.value.name == conflict
            return
        assert self.store.write(writes, who, "now") == changes
        self.vms, self.audit = vms, self.audit + changes

    @rule(after=NAMES | st.just(""), limit=st.integers(1, 4))
    def page(self, after: str, limit: int) -> None:
        names = [name for name in sorted(self.vms) if name > after][:limit]
        assert self.store.page(after, limit) == [self.vms[name] for name in names]

    @rule(since=st.integers(0, 60), limit=st.integers(1, 4))
    def changes(self, since: int, limit: int) -> None:
        wanted = [change for change in self.audit if change.revision > since][:limit]
        assert self.store.changes(since, limit) == wanted

    @precondition(lambda self: self.engine in LASTING)
    @rule()
    def open_again(self) -> None:
        self.store.close()
        self.store = ENGINES[self.engine](Path(self.folder.name))

    @precondition(lambda self: isinstance(self.store, PostgresStore))
    @rule()
    def lose_the_connection(self) -> None:
        assert isinstance(self.store, PostgresStore)
        (process,) = self.store._session.read("SELECT pg_backend_pid()")[0]
        run(self.store.location, "SELECT pg_terminate_backend(%s, 5000)", process)

    @rule(name=NAMES)
    def get(self, name: str) -> None:
        assert self.store.get(name) == self.vms.get(name)

    @invariant()
    def agrees(self) -> None:
        assert self.store.revision() == self.revision()
        assert self.store.page("", 100) == [self.vms[name] for name in sorted(self.vms)]


@pytest.mark.parametrize("engine", ENGINES)
def test_engine_behaves_like_a_dict_and_a_list(engine: str, tmp_path: Path) -> None:
    ENGINES[engine](tmp_path).close()  # A missing engine skips the test here.
    run_state_machine_as_test(
        type("MachineOfEngine", (Machine,), {"engine": engine}),
        settings=settings(
            max_examples=12 if engine == "postgres" else 40,  # A commit takes longer there.
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
