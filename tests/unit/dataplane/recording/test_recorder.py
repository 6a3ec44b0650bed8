import asyncio

from openimds.dataplane.dispatcher import Dispatcher
from openimds.dataplane.recording.recorder import Recorder
from openimds.protocol.request_log import Record
from tests.support.talk import UTC_S, FakeClock, Talk, a_dispatcher, a_fleet, an_index

NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
FLEET = a_fleet(
    a={"reach": {"address": ["10.0.0.1"]}},
    b={"reach": {"address": ["10.0.0.2"]}},
)


def recorded(per_vm: int, max_bytes: int = 1 << 20) -> tuple[Recorder, Dispatcher, FakeClock]:
    """Return a recorder that observes a dispatcher while it is active."""
    now = FakeClock()
    dispatcher = a_dispatcher(an_index(*FLEET), now=now)
    recorder = Recorder(per_vm, max_bytes)
    recorder.on_active = lambda is_active: dispatcher.set_observer(recorder if is_active else None)
    if recorder.is_active:
        dispatcher.set_observer(recorder)
    return recorder, dispatcher, now


def numbers(records: tuple[Record, ...]) -> list[int]:
    return [record.number for record in records]


def test_request_is_recorded_with_its_response() -> None:
    recorder, dispatcher, now = recorded(9)
    now.now_s = 1234.5
    Talk(dispatcher, ("10.0.0.1", 5)).ask(NAME, **{"User-Agent": "test/1", "X-Custom": "left out"})
    assert recorder.records() == (
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


def test_refusal_is_recorded_with_its_reason() -> None:
    recorder, dispatcher, _ = recorded(9)
    Talk(dispatcher, ("10.0.0.1", 5)).ask(NAME.replace("text", "json"))
    (record,) = recorder.records("a")
    assert (record.status, record.reason) == (400, "leaf_needs_text")
    assert record.size_bytes == len(record.body) > 0


def test_body_of_a_chunk_is_recorded_without_its_frame() -> None:
    recorder, dispatcher, _ = recorded(9)
    dispatcher.secret_of = lambda _: "x"
    target = "/msi/token?api-version=2018-01-01"
    reply = Talk(dispatcher, ("10.0.0.1", 5)).ask(target, **{"X-IDENTITY-HEADER": "x"})
    (record,) = recorder.records("a")
    assert reply.headers["Transfer-Encoding"] == "chunked"
    assert (record.body, record.size_bytes) == (reply.body, len(reply.body))


def test_unknown_callers_share_one_ring() -> None:
    recorder, dispatcher, _ = recorded(2)
    for peer in ("10.0.0.1", "10.9.9.1", "10.0.0.2", "10.9.9.2", "10.9.9.3", "10.0.0.1"):
        Talk(dispatcher, (peer, 5)).ask(NAME)
    assert numbers(recorder.records("a")) == [1, 6]
    assert numbers(recorder.records("b")) == [3]
    assert [record.peer for record in recorder.records("")] == ["10.9.9.2", "10.9.9.3"]
    assert numbers(recorder.records()) == [1, 3, 4, 5, 6]
    assert recorder.records("nobody") == ()
    assert numbers(recorder.records(since=4)) == [5, 6]
    assert numbers(recorder.records("a", 1)) == [6]
    assert recorder.records(since=6) == recorder.records("nobody", 1) == ()
    assert (recorder.last_number, recorder.record_count) == (6, 5)


def test_byte_bound_drops_the_oldest_of_any_vm() -> None:
    recorder, dispatcher, _ = recorded(100, 5000)
    first, second = (Talk(dispatcher, (peer, 5)) for peer in ("10.0.0.1", "10.0.0.2"))
    first.ask(NAME)
    for _ in range(20):
        second.ask(NAME)
    assert recorder.records("a") == ()
    assert 0 < len(recorder.records("b")) < 20
    assert recorder.size_bytes <= 5000
    assert numbers(recorder.records())[-1] == 21


def test_dropped_records_free_their_bytes() -> None:
    recorder, dispatcher, _ = recorded(1)
    talk = Talk(dispatcher, ("10.0.0.1", 5))
    talk.ask(NAME)
    size_bytes = recorder.size_bytes
    talk.ask(NAME)
    assert (recorder.size_bytes, numbers(recorder.records())) == (size_bytes, [2])
    recorder.clear()
    assert (
        recorder.size_bytes,
        recorder.records(),
        recorder.records("a"),
        recorder.record_count,
    ) == (0, (), (), 0)
    talk.ask(NAME)
    assert numbers(recorder.records("a")) == [3]


def test_subscriber_activates_observation_but_keeps_nothing() -> None:
    recorder, dispatcher, _ = recorded(0)
    assert not recorder.is_active
    feed = recorder.subscribe()
    assert dispatcher.observer is recorder
    other = recorder.subscribe()
    Talk(dispatcher, ("10.0.0.1", 5)).ask(NAME)
    assert feed.get_nowait() == other.get_nowait()
    assert recorder.records() == ()
    recorder.unsubscribe(feed)
    assert dispatcher.observer is recorder
    recorder.unsubscribe(other)
    assert dispatcher.observer is None


def test_recording_stays_active_without_subscribers() -> None:
    recorder, dispatcher, _ = recorded(5)
    recorder.unsubscribe(recorder.subscribe())
    assert dispatcher.observer is recorder


def test_slow_subscriber_gets_none_for_lost_records() -> None:
    recorder, dispatcher, _ = recorded(0)
    feed = recorder.subscribe()
    talk = Talk(dispatcher, ("10.0.0.1", 5))
    for _ in range(1100):
        talk.ask(NAME)
    got = [feed.get_nowait() for _ in range(feed.qsize())]
    assert [record.number if record else None for record in got] == [*range(1, 1000), None]


def test_end_feeds_replaces_the_queue_by_none() -> None:
    recorder, dispatcher, _ = recorded(0)
    feed = recorder.subscribe()
    Talk(dispatcher, ("10.0.0.1", 5)).ask(NAME)
    recorder.end_feeds()
    assert feed.get_nowait() is None
    assert isinstance(feed, asyncio.Queue)
    assert feed.empty()


class Tap:
    """Takes the requests with an even number."""

    def __init__(self) -> None:
        self.taken: list[Record] = []

    def wants(self, number: int) -> bool:
        return number % 2 == 0

    def take(self, record: Record) -> None:
        self.taken.append(record)


def test_tap_gets_the_requests_that_it_wants_and_none_is_kept() -> None:
    tap, dispatcher = Tap(), a_dispatcher(an_index(*FLEET))
    recorder = Recorder(0, tap=tap)
    assert recorder.is_active
    dispatcher.set_observer(recorder)
    for _ in range(5):
        Talk(dispatcher, ("10.0.0.1", 5)).ask(NAME)
    assert [record.number for record in tap.taken] == [2, 4]
    assert (recorder.last_number, recorder.record_count) == (5, 0)


def test_records_are_kept_beside_a_tap() -> None:
    tap, dispatcher = Tap(), a_dispatcher(an_index(*FLEET))
    recorder = Recorder(9, tap=tap)
    dispatcher.set_observer(recorder)
    for _ in range(3):
        Talk(dispatcher, ("10.0.0.1", 5)).ask(NAME)
    assert (numbers(recorder.records()), len(tap.taken)) == ([1, 2, 3], 1)
