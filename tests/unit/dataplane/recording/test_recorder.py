import asyncio

from openimds.dataplane.dispatcher import Dispatcher
from openimds.dataplane.recording.recorder import Recorder
from openimds.protocol.request_log import Record
from tests.support.talk import UTC_S, Talk, Time, a_fleet, a_picture, a_plane

NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
FLEET = a_fleet(
    a={"reach": {"address": ["10.0.0.1"]}},
    b={"reach": {"address": ["10.0.0.2"]}},
)


def recorded(per_vm: int, most_bytes: int = 1 << 20) -> tuple[Recorder, Dispatcher, Time]:
    """A recorder that is told by a plane as soon as anybody looks."""
    now = Time()
    dispatcher = a_plane(a_picture(*FLEET), now=now)
    recorder = Recorder(per_vm, most_bytes)
    recorder.on_looking = lambda is_looking: dispatcher.watch(recorder if is_looking else None)
    if recorder.is_looking:
        dispatcher.watch(recorder)
    return recorder, dispatcher, now


def numbers(records: tuple[Record, ...]) -> list[int]:
    return [record.number for record in records]


def test_a_request_is_remembered_with_its_answer() -> None:
    recorder, dispatcher, now = recorded(9)
    now.now_s = 1234.5
    Talk(dispatcher, ("10.0.0.1", 5)).ask(NAME, **{"User-Agent": "test/1", "X-Custom": "left out"})
    assert recorder.of() == (
        Record(
            number=1,
            utc_s=UTC_S,
            now_s=1234.5,
            vm="a",
            peer="10.0.0.1",
            method="GET",
            target=NAME,
            headers=(("host", "169.254.169.254"), ("metadata", "true"), ("user-agent", "test/1")),
            endpoint="instance",
            status=200,
            reason="",
            size_bytes=1,
            body=b"a",
        ),
    )


def test_a_refusal_is_remembered_with_its_reason() -> None:
    recorder, dispatcher, _ = recorded(9)
    Talk(dispatcher, ("10.0.0.1", 5)).ask(NAME.replace("text", "json"))
    (record,) = recorder.of("a")
    assert (record.status, record.reason) == (400, "leaf_needs_text")
    assert record.size_bytes == len(record.body) > 0


def test_each_vm_has_a_ring_and_strangers_share_one() -> None:
    recorder, dispatcher, _ = recorded(2)
    for peer in ("10.0.0.1", "10.9.9.1", "10.0.0.2", "10.9.9.2", "10.9.9.3", "10.0.0.1"):
        Talk(dispatcher, (peer, 5)).ask(NAME)
    assert numbers(recorder.of("a")) == [1, 6]
    assert numbers(recorder.of("b")) == [3]
    assert [one.peer for one in recorder.of("")] == ["10.9.9.2", "10.9.9.3"]
    assert numbers(recorder.of()) == [1, 3, 4, 5, 6]
    assert recorder.of("nobody") == ()
    assert (recorder.noted, recorder.held) == (6, 5)


def test_over_the_bound_of_all_the_oldest_go_whosever_they_are() -> None:
    recorder, dispatcher, _ = recorded(100, 5000)
    first, second = (Talk(dispatcher, (peer, 5)) for peer in ("10.0.0.1", "10.0.0.2"))
    first.ask(NAME)
    for _ in range(20):
        second.ask(NAME)
    assert recorder.of("a") == ()
    assert 0 < len(recorder.of("b")) < 20
    assert recorder.held_bytes <= 5000
    assert numbers(recorder.of())[-1] == 21


def test_what_is_held_weighs_nothing_once_it_is_forgotten() -> None:
    recorder, dispatcher, _ = recorded(1)
    talk = Talk(dispatcher, ("10.0.0.1", 5))
    talk.ask(NAME)
    once = recorder.held_bytes
    talk.ask(NAME)
    assert (recorder.held_bytes, numbers(recorder.of())) == (once, [2])
    recorder.clear()
    assert (recorder.held_bytes, recorder.of(), recorder.of("a"), recorder.held) == (0, (), (), 0)
    talk.ask(NAME)
    assert numbers(recorder.of("a")) == [3]


def test_nobody_looks_until_somebody_follows_and_nothing_is_kept_then() -> None:
    recorder, dispatcher, _ = recorded(0)
    assert not recorder.is_looking
    feed = recorder.follow()
    assert dispatcher.watcher is recorder
    other = recorder.follow()
    Talk(dispatcher, ("10.0.0.1", 5)).ask(NAME)
    assert feed.get_nowait() == other.get_nowait()
    assert recorder.of() == ()
    recorder.leave(feed)
    assert dispatcher.watcher is recorder
    recorder.leave(other)
    assert dispatcher.watcher is None


def test_who_records_looks_on_after_the_last_reader_has_left() -> None:
    recorder, dispatcher, _ = recorded(5)
    recorder.leave(recorder.follow())
    assert dispatcher.watcher is recorder


def test_a_reader_who_is_too_slow_is_told() -> None:
    recorder, dispatcher, _ = recorded(0)
    feed = recorder.follow()
    talk = Talk(dispatcher, ("10.0.0.1", 5))
    for _ in range(1100):
        talk.ask(NAME)
    got = [feed.get_nowait() for _ in range(feed.qsize())]
    assert [one.number if one else None for one in got] == [*range(1, 1000), None]


def test_the_end_is_told_to_everybody() -> None:
    recorder, dispatcher, _ = recorded(0)
    feed = recorder.follow()
    Talk(dispatcher, ("10.0.0.1", 5)).ask(NAME)
    recorder.end_feeds()
    assert feed.get_nowait() is None
    assert isinstance(feed, asyncio.Queue)
    assert feed.empty()
