"""List and watch: each way in which a stream goes on, ends, breaks or lies."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from openimds.errors import Error
from openimds.interop.kubernetes import list_watch as module
from openimds.interop.kubernetes.api import ApiStatusError, ApiUnreachableError, WatchEvent
from openimds.interop.kubernetes.list_watch import ListWatch

PATH = "/apis/example/things"
SELECTOR = {"labelSelector": "node=one"}
GONE = ApiStatusError("GET", 410, "Expired", "too old resource version")
BROKEN = ApiUnreachableError("the connection broke")


def thing(uid: str, version: int = 1, **more: object) -> dict[str, Any]:
    return {"metadata": {"uid": uid, "resourceVersion": str(version)}, **more}


def page(version: int, *uids: str, more: str = "") -> dict[str, Any]:
    items = [thing(uid) for uid in uids]
    return {"metadata": {"resourceVersion": str(version), "continue": more}, "items": items}


class ScriptedApi:
    """An API that gives the answers of a script: values, errors, lists of events."""

    def __init__(self, *script: object) -> None:
        self.script = [*script]
        self.calls: list[tuple[str, Mapping[str, str | int]]] = []
        self.lasting_s: list[int] = []
        self.now = 0.0

    def get(self, path: str, params: Mapping[str, str | int]) -> Any:
        assert path == PATH
        self.calls.append(("list", dict(params)))
        answer = self.script.pop(0)
        if isinstance(answer, Error):
            raise answer
        return answer

    def watch(
        self, path: str, params: Mapping[str, str | int], *, lasting_s: int
    ) -> Iterator[WatchEvent]:
        assert path == PATH
        self.calls.append(("watch", dict(params)))
        self.lasting_s.append(lasting_s)
        answer = self.script.pop(0)
        assert isinstance(answer, list), answer
        for event in answer:
            if isinstance(event, Error):
                raise event
            if isinstance(event, float):
                self.now += event
            else:
                yield event


class Follower:
    """A `ListWatch` with its publications, reports and pauses."""

    def __init__(self, *script: object, chance: float = 0.0) -> None:
        self.api = ScriptedApi(*script)
        self.published: list[tuple[set[str], bool]] = []
        self.reports: list[str] = []
        self.pauses: list[float] = []
        self.watch = ListWatch(
            self.api,
            PATH,
            SELECTOR,
            self.publish,
            self.reports.append,
            wait=self.pauses.append,
            now=lambda: self.api.now,
            chance=lambda: chance,
        )

    def publish(self, objects: Mapping[str, dict[str, Any]], *, is_whole: bool) -> None:
        self.published.append(({*objects}, is_whole))

    def run(self) -> "Follower":
        """Step until the script is at its end."""
        while self.api.script:
            self.watch.step()
        return self


def event(kind: str, uid: str, version: int) -> WatchEvent:
    return WatchEvent(kind, thing(uid, version))


def test_watch_begins_at_the_version_of_the_confirmed_list() -> None:
    done = Follower(page(5, "a"), page(7, "a", "b"), [5.0]).run()
    assert [name for name, _ in done.api.calls] == ["list", "list", "watch"]
    assert done.api.calls[2][1] == {**SELECTOR, "resourceVersion": "7"}
    assert done.published == [({"a"}, False), ({"a", "b"}, True)]
    assert done.pauses == [module.CONFIRM_S]


def test_events_add_change_and_delete_objects() -> None:
    events = [
        event("ADDED", "b", 8),
        WatchEvent("MODIFIED", thing("a", 9, phase="Running")),
        event("DELETED", "b", 10),
    ]
    done = Follower(page(7, "a"), page(7, "a"), events, [5.0])
    changes: list[Mapping[str, Any]] = []
    publish = done.publish

    def keep(objects: Mapping[str, dict[str, Any]], *, is_whole: bool) -> None:
        changes.append(dict(objects))
        publish(objects, is_whole=is_whole)

    done.watch._publish = keep
    done.run()
    assert done.published[2:] == [({"a", "b"}, True), ({"a", "b"}, True), ({"a"}, True)]
    assert changes[3]["a"]["phase"] == "Running"
    assert done.api.calls[-1][1]["resourceVersion"] == "10"


def test_bookmark_moves_the_version_and_publishes_nothing() -> None:
    mark = WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": "50"}})
    done = Follower(page(7, "a"), page(7, "a"), [mark], [5.0]).run()
    assert done.published == [({"a"}, False), ({"a"}, True)]
    assert done.api.calls[-1] == ("watch", {**SELECTOR, "resourceVersion": "50"})
    assert not done.reports


def test_410_as_status_or_event_leads_to_a_list() -> None:
    for answer in ([GONE], [event("ADDED", "b", 8), GONE]):
        done = Follower(page(7, "a"), page(7, "a"), answer, page(90, "a", "b"), [5.0]).run()
        assert [name for name, _ in done.api.calls[2:]] == ["watch", "list", "watch"]
        assert done.api.calls[-1][1]["resourceVersion"] == "90"
        assert done.published[-1] == ({"a", "b"}, True)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 500, 504])
def test_status_of_a_watch_leads_to_a_list(status: int) -> None:
    refusal = ApiStatusError("GET", status, "Timeout", "Too large resource version: 7, current: 3")
    done = Follower(page(7, "a"), page(7, "a"), [refusal], page(3, "a"), [5.0]).run()
    assert [name for name, _ in done.api.calls[2:]] == ["watch", "list", "watch"]
    assert done.api.calls[-1][1]["resourceVersion"] == "3"


@pytest.mark.parametrize("status", [429, 502, 503])
def test_status_that_passes_keeps_the_version(status: int) -> None:
    busy = ApiStatusError("GET", status, "Busy", "later")
    done = Follower(page(7, "a"), page(7, "a"), *[[busy]] * 9, [5.0]).run()
    assert [name for name, _ in done.api.calls[2:]] == ["watch"] * 10
    assert done.api.calls[-1][1]["resourceVersion"] == "7"


@pytest.mark.parametrize(
    "poison",
    [
        WatchEvent("ADDED", {"kind": "x"}),
        ApiUnreachableError("a line of the watch has more than 4,194,304 bytes"),
    ],
)
@pytest.mark.parametrize("slow_s", [[], [2.0]])
def test_event_that_cannot_be_read_leads_to_a_list(poison: object, slow_s: list[float]) -> None:
    begin = (page(7, "a"), page(7, "a"), [event("ADDED", "b", 8), poison])
    again = [[*slow_s, poison]] * module.FAILED_WATCHES
    done = Follower(*begin, *again, page(50, "a", "c"), page(51, "a", "c"), [5.0]).run()
    watches = ["watch"] * (1 + module.FAILED_WATCHES)
    assert [name for name, _ in done.api.calls[2:]] == [*watches, "list", "list", "watch"]
    assert done.published[-1] == ({"a", "c"}, True)


def test_watches_that_fail_after_an_event_go_on_from_it() -> None:
    failing = [[event("ADDED", "b", 8 + n), BROKEN] for n in range(2 * module.FAILED_WATCHES)]
    done = Follower(page(7), page(7), *failing, [5.0]).run()
    assert {name for name, _ in done.api.calls[2:]} == {"watch"}


def test_break_goes_on_from_the_last_version_without_a_list() -> None:
    events = [event("ADDED", "b", 8), BROKEN]
    done = Follower(page(7, "a"), page(7, "a"), events, [5.0]).run()
    assert [name for name, _ in done.api.calls] == ["list", "list", "watch", "watch"]
    assert done.api.calls[-1][1]["resourceVersion"] == "8"
    assert done.reports == ["the connection broke"]
    assert done.published[-1] == ({"a", "b"}, True)


def test_api_that_is_away_keeps_all_and_is_reported_once() -> None:
    away = ApiUnreachableError("no answer")
    done = Follower(page(7, "a"), page(7, "a"), *[[away]] * 3, [5.0], *[[away]] * 2).run()
    assert done.published == [({"a"}, False), ({"a"}, True)]
    assert done.reports == ["no answer", "no answer"]  # Once before the watch, once after.


def test_pauses_double_up_to_a_bound_and_begin_anew() -> None:
    away = ApiUnreachableError("no answer")
    fine = [event("ADDED", "b", 8)]
    done = Follower(*[away] * 8, page(7), page(7), fine, [away]).run()
    assert done.pauses == [0.5, 1, 2, 4, 8, 15, 15, 15, module.CONFIRM_S, 0.5]
    most = Follower(*[away] * 8, chance=0.999).run()
    assert max(most.pauses) < module.LONGEST_PAUSE_S
    assert most.pauses[0] > 0.99


@pytest.mark.parametrize("after_s, pause", [(7, 7), (9_999, module.LONGEST_PAUSE_S)])
def test_retry_after_is_kept_up_to_a_bound(after_s: int, pause: float) -> None:
    busy = ApiStatusError("GET", 429, "TooManyRequests", "slow down", after_s)
    assert Follower(busy).run().pauses == [pause]


def test_watch_that_ends_at_once_is_a_failure() -> None:
    done = Follower(page(7), page(7), [], [], [0.5], [1.0], []).run()
    assert done.pauses == [module.CONFIRM_S, 0.5, 1.0, 2.0, 0.5]
    assert done.reports == [f"{PATH}: the API ends the watch at once"] * 2


def test_list_that_lacks_much_is_confirmed_by_a_second() -> None:
    many = [f"u{n}" for n in range(20)]
    begin = (page(7, *many), page(7, *many), [GONE])
    few = Follower(*begin, page(9, *many[2:]), [5.0]).run()
    assert [name for name, _ in few.api.calls[3:]] == ["list", "watch"]
    assert few.published[-1] == ({*many[2:]}, True)

    lost = Follower(*begin, page(9), page(10, *many), [5.0]).run()
    assert [name for name, _ in lost.api.calls[3:]] == ["list", "list", "watch"]
    assert lost.published[2:] == [({*many}, False), ({*many}, True)]
    assert lost.api.calls[-1][1]["resourceVersion"] == "10"

    empty = Follower(*begin, page(9), page(10), [5.0]).run()
    assert empty.published[2:] == [({*many}, False), (set(), True)]


def test_failed_confirmation_is_made_again() -> None:
    begin = (page(7, "a"), page(7, "a"), [GONE])
    done = Follower(*begin, page(9), BROKEN, page(10, "a"), page(10, "a"), [5.0]).run()
    assert (set(), True) not in done.published
    assert [name for name, _ in done.api.calls[3:]] == ["list", "list", "list", "list", "watch"]


def test_list_in_pages_is_joined() -> None:
    pages = (page(7, "a", more="next"), page(7, "b"))
    done = Follower(*pages, *pages, [5.0]).run()
    assert done.published[-1] == ({"a", "b"}, True)
    first = {**SELECTOR, "limit": module.PAGE}
    assert [call for _, call in done.api.calls[:2]] == [first, {**first, "continue": "next"}]


def test_list_beyond_the_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_OBJECTS", 2)
    done = Follower(page(7, "a", "b", "c", more="next")).run()
    assert done.reports == [f"{PATH}: more than 2 objects"]
    assert done.published == []


def test_event_beyond_the_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_OBJECTS", 2)
    events = [event("ADDED", "b", 8), event("MODIFIED", "a", 9), event("ADDED", "c", 10)]
    done = Follower(page(7, "a"), page(7, "a"), events).run()
    assert done.reports == [f"{PATH}: more than 2 objects"]
    assert done.published[-1] == ({"a", "b"}, True)


@pytest.mark.parametrize("answer", [None, [], "x", {"items": [1], "metadata": {}}, {"items": []}])
def test_answer_that_is_no_list_changes_nothing(answer: object) -> None:
    done = Follower(answer).run()
    assert done.reports == [f"{PATH}: the answer is no list of objects"]
    assert done.published == []


def test_event_without_an_object_changes_nothing() -> None:
    done = Follower(page(7, "a"), page(7, "a"), [WatchEvent("DELETED", {"kind": "x"})]).run()
    assert done.reports == [f"{PATH}: an event without an object"]
    assert done.published[-1] == ({"a"}, True)


def test_watches_last_five_to_ten_minutes_by_chance() -> None:
    for chance, seconds in ((0.0, 300), (0.5, 450)):
        done = Follower(page(7), page(7), [5.0], chance=chance).run()
        assert done.api.lasting_s == [seconds]
