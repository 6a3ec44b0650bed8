from openimds.dataplane.dispatcher import Dispatcher
from openimds.dataplane.observer import ObservedRequest
from openimds.dataplane.response_bytes import CountKey, PreparedResponse
from tests.support.talk import UTC_S, Talk, a_dispatcher, a_fleet, an_index, request

TARGET = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"


class Notes:
    """An observer that keeps its arguments."""

    def __init__(self) -> None:
        self.taken: list[tuple[ObservedRequest, CountKey, bytes]] = []

    def observe(self, observed: ObservedRequest, response: PreparedResponse, data: bytes) -> None:
        self.taken.append((observed, response.count.key, data))


def observed_dispatcher() -> tuple[Dispatcher, Notes]:
    dispatcher, notes = a_dispatcher(), Notes()
    dispatcher.set_observer(notes)
    return dispatcher, notes


def test_observer_sees_every_request_and_its_bytes() -> None:
    dispatcher, notes = observed_dispatcher()
    talk = Talk(dispatcher, ("10.0.0.4", 5))
    data = request(TARGET, headers={"metadata": "True", "User-Agent": "test/1"})
    sent = [talk.send(data) for _ in range(3)]
    assert [note[2] for note in notes.taken] == sent
    observed, counted, _ = notes.taken[2]
    assert observed == ObservedRequest(
        utc_s=UTC_S,
        now_s=1000.0,
        vm="vm-1",
        peer="10.0.0.4",
        method="GET",
        target=TARGET.encode(),
        headers=(("host", "169.254.169.254"), ("metadata", "True"), ("user-agent", "test/1")),
        body=b"",
    )
    assert counted == CountKey("instance", 200, "")
    assert dispatcher.counts[counted].requests == 3


def test_observer_sees_cached_requests_while_it_is_set() -> None:
    dispatcher, notes = a_dispatcher(), Notes()
    talk = Talk(dispatcher)
    for _ in range(2):
        talk.ask(TARGET)
    dispatcher.set_observer(notes)
    talk.ask(TARGET)
    assert len(notes.taken) == 1
    dispatcher.set_observer(None)
    for _ in range(2):
        talk.ask(TARGET)
    assert len(notes.taken) == 1
    assert [*dispatcher.fleet_index.by_name["vm-1"].responses.by_request.keys()][-1] == request(
        TARGET, headers={"Metadata": "true"}
    )


def test_observer_sees_unknown_callers_and_malformed_bytes() -> None:
    dispatcher, notes = a_dispatcher(an_index(*a_fleet(a={}, b={}))), Notes()
    dispatcher.set_observer(notes)
    talk = Talk(dispatcher, ("192.0.2.7", 1))
    talk.ask(TARGET)
    talk.send(b"nonsense\r\n\r\n")
    assert [(observed.vm, observed.peer, key.reason) for observed, key, _ in notes.taken] == [
        ("", "192.0.2.7", "unknown_caller"),
        ("", "192.0.2.7", "malformed"),
    ]
    assert notes.taken[1][0].target == b""
