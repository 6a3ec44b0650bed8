from openimds.dataplane.dispatcher import Dispatcher
from openimds.dataplane.observer import ObservedRequest
from openimds.dataplane.response_bytes import CountKey, PreparedResponse
from tests.support.talk import UTC_S, Talk, a_dispatcher, a_fleet, an_index, request

TARGET = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"


class Notes:
    def __init__(self) -> None:
        self.taken: list[tuple[ObservedRequest, CountKey, bytes]] = []

    def observe(self, observed: ObservedRequest, response: PreparedResponse, data: bytes) -> None:
        self.taken.append((observed, response.count.key, data))


def watched() -> tuple[Dispatcher, Notes]:
    dispatcher, notes = a_dispatcher(), Notes()
    dispatcher.set_observer(notes)
    return dispatcher, notes


def test_every_request_is_noted_with_what_it_said_and_what_was_said() -> None:
    dispatcher, notes = watched()
    talk = Talk(dispatcher, ("10.0.0.4", 5))
    asked = request(TARGET, headers={"metadata": "True", "User-Agent": "test/1"})
    said = [talk.send(asked) for _ in range(3)]
    assert [one[2] for one in notes.taken] == said
    heard, counted, _ = notes.taken[2]
    assert heard == ObservedRequest(
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


def test_what_was_known_by_its_bytes_before_is_noted_too_and_not_after() -> None:
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


def test_strangers_and_broken_requests_are_noted() -> None:
    dispatcher, notes = a_dispatcher(an_index(*a_fleet(a={}, b={}))), Notes()
    dispatcher.set_observer(notes)
    talk = Talk(dispatcher, ("192.0.2.7", 1))
    talk.ask(TARGET)
    talk.send(b"nonsense\r\n\r\n")
    assert [(one[0].vm, one[0].peer, one[1].reason) for one in notes.taken] == [
        ("", "192.0.2.7", "unknown_caller"),
        ("", "192.0.2.7", "malformed"),
    ]
    assert notes.taken[1][0].target == b""
