import pytest

from openimds.dataplane.bounds import Bounds
from openimds.dataplane.dispatcher import Dispatcher
from openimds.dataplane.parsed_request import ParsedRequest
from openimds.dataplane.response_bytes import CountKey, PreparedResponse
from openimds.fleet.vm_entry import Allowance, VmEntry
from openimds.vm.types import Vm
from tests.support.talk import (
    UTC_S,
    FakeClock,
    IdleProvider,
    Talk,
    a_dispatcher,
    a_fleet,
    an_index,
    limited,
    replies,
    request,
)

INSTANCE = "/metadata/instance?api-version=2021-02-01"
LEAF = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"


def test_general_limit_is_five_requests_a_second() -> None:
    now = FakeClock()
    dispatcher = a_dispatcher(allowances=limited(), now=now)
    talk = Talk(dispatcher)
    targets = [INSTANCE, LEAF, INSTANCE, "/nowhere", "/metadata/versions", INSTANCE, LEAF, "/x"]
    got = [talk.ask(target) for target in targets]
    assert [reply.status for reply in got] == [200, 200, 200, 404, 200, 429, 429, 429]
    assert got[5].body == b'{ "error": "Too many requests" }'
    assert got[6].body == b"Too many requests"
    assert "Retry-After" not in got[5].headers
    assert dispatcher.throttled == {"general": 3}
    now.now_s += 1.0
    assert talk.ask(INSTANCE).status == 200


def test_throttled_request_is_not_cached() -> None:
    dispatcher = a_dispatcher(allowances=limited())
    talk = Talk(dispatcher)
    for _ in range(5):
        talk.ask(INSTANCE)
    count = len(dispatcher.fleet_index.by_name["vm-1"].responses.by_request)
    for number in range(20):
        assert talk.ask(f"{INSTANCE}&x={number}").status == 429
    assert len(dispatcher.fleet_index.by_name["vm-1"].responses.by_request) == count


def test_limit_counts_other_bytes_of_the_same_query() -> None:
    talk = Talk(a_dispatcher(allowances=limited()))
    got = [talk.ask(INSTANCE, Accept=f"x/{number}").status for number in range(7)]
    assert got == [200] * 5 + [429] * 2


def test_head_is_throttled_without_a_body() -> None:
    talk = Talk(a_dispatcher(allowances=limited()))
    got = [talk.ask(INSTANCE, "HEAD") for _ in range(6)]
    assert (got[5].status, got[5].body) == (429, b"")


def test_identity_has_its_own_limit() -> None:
    dispatcher = a_dispatcher(allowances=limited())
    talk = Talk(dispatcher)
    unknown = "/metadata/identity/unknown?api-version=2018-02-01"
    assert [talk.ask(unknown).status for _ in range(22)] == [404] * 20 + [429] * 2
    assert [talk.ask(INSTANCE).status for _ in range(6)] == [200] * 5 + [429]
    assert dispatcher.throttled == {"identity": 2, "general": 1}


def test_refused_tokens_have_a_limit_of_their_own() -> None:
    """S80: SDKs probe with requests that must fail, and get their token all the same."""
    dispatcher = a_dispatcher(allowances=limited())
    talk = Talk(dispatcher)
    token = "/metadata/identity/oauth2/token?api-version=2018-02-01"
    assert [talk.ask(token).status for _ in range(201)] == [400] * 200 + [429]
    assert [talk.ask(f"{token}&x={n}").status for n in range(2)] == [429] * 2
    assert dispatcher.throttled == {"identity_refused": 1, "identity": 2}
    unknown = "/metadata/identity/unknown?api-version=2018-02-01"
    assert [talk.ask(unknown).status for _ in range(21)] == [404] * 20 + [429]


def test_vm_cannot_exhaust_the_limit_of_another() -> None:
    vms = a_fleet(a={"reach": {"address": ["10.0.0.1"]}}, b={"reach": {"address": ["10.0.0.2"]}})
    dispatcher = a_dispatcher(an_index(*vms), allowances=limited())
    noisy, quiet = Talk(dispatcher, ("10.0.0.1", 1)), Talk(dispatcher, ("10.0.0.2", 1))
    assert [noisy.ask(INSTANCE).status for _ in range(50)].count(429) == 45
    assert quiet.ask(INSTANCE).status == 200


class TestUnknownCallers:
    def dispatcher(self, most: int = 1024) -> tuple[Dispatcher, list[str]]:
        vms = a_fleet(a={"reach": {"address": ["10.0.0.1"]}}, b={})
        dispatcher = a_dispatcher(an_index(*vms), bounds=Bounds(unknown_callers=most))
        reported: list[str] = []
        dispatcher.on_unknown_caller = reported.append
        return dispatcher, reported

    @pytest.mark.parametrize("target", [INSTANCE, "/metadata/identity/oauth2/token", "/x"])
    def test_unknown_caller_gets_404_and_is_reported_once(self, target: str) -> None:
        dispatcher, reported = self.dispatcher()
        talk = Talk(dispatcher, ("10.9.9.9", 1))
        got = [talk.ask(target), talk.ask_raw(target, "GET", {})]
        assert [(reply.status, reply.body) for reply in got] == [
            (404, b'{"error":"Not found"}')
        ] * 2
        assert reported == ["10.9.9.9"]
        assert dispatcher.unknown_callers == {"10.9.9.9": 2}
        assert dispatcher.counts[CountKey("unknown_caller", 404, "unknown_caller")].requests == 2

    def test_unknown_caller_is_answered_from_the_cache(self) -> None:
        dispatcher, _ = self.dispatcher()
        talk = Talk(dispatcher, ("10.9.9.9", 1))
        data = request(INSTANCE)
        for size in (len(data), 9):
            pieces = (data[at : at + size] for at in range(0, len(data), size))
            assert b" 404 " in b"".join(talk.send(piece) for piece in pieces)
        assert dispatcher.unknown_caller_responses.by_request.keys() == {data}
        del talk.connection._parser
        assert b" 404 " in talk.send(data)
        assert dispatcher.unknown_callers == {"10.9.9.9": 3}

    def test_unknown_callers_are_counted_up_to_a_bound(self) -> None:
        dispatcher, reported = self.dispatcher(most=2)
        for number in range(5):
            Talk(dispatcher, (f"10.9.9.{number}", 1)).ask(INSTANCE)
        assert reported == ["10.9.9.0", "10.9.9.1"]


def test_cached_responses_stay_within_their_bound() -> None:
    dispatcher = a_dispatcher(an_index(max_bytes=20_000))
    talk = Talk(dispatcher)
    for number in range(50):
        talk.ask(f"{INSTANCE}&x={number}")
        assert dispatcher.fleet_index.response_cache.size_bytes <= 20_000
    assert talk.ask(INSTANCE).status == 200


def with_extras(*extras: str) -> tuple[Dispatcher, VmEntry[PreparedResponse]]:
    fleet_index = an_index(Vm("web-1"))
    dispatcher = Dispatcher(
        fleet_index,
        now=lambda: 1000.0,
        utc=lambda: UTC_S,
        allowances={},
        provider=IdleProvider(),
        extras=frozenset(extras),
        secret_of=lambda name: f"secret of {name}",
    )
    return dispatcher, fleet_index.by_name["web-1"]


def status_line(
    dispatcher: Dispatcher, entry: VmEntry[PreparedResponse], parsed: ParsedRequest
) -> bytes:
    response = dispatcher.respond(entry, parsed, b"")
    assert isinstance(response, PreparedResponse)
    return dispatcher.send(response, UTC_S)


@pytest.mark.parametrize(
    "secret, status", [("secret of web-1", b" 400 "), ("secret of web-2", b" 403 ")]
)
def test_secret_belongs_to_one_vm(secret: str, status: bytes) -> None:
    parsed = ParsedRequest(
        "GET",
        b"/msi/token?resource=r://s&api-version=2019-08-01",
        has_metadata_header=False,
        is_forwarded=False,
        connection="",
        credentials=(("x-identity-header", secret),),
    )
    # With the right secret the answer is that the VM has no identity.
    assert status in status_line(*with_extras(), parsed)


@pytest.mark.parametrize("first", [b"True", b"true"])
def test_letters_of_the_header_are_part_of_the_cache_key(first: bytes) -> None:
    talk = Talk(a_dispatcher(an_index(Vm("vm-1", kind="container-instance"))))
    head = b"GET /metadata/versions HTTP/1.1\r\nHost: x\r\nMetadata: "
    for value in (first, b"True", b"true", first):
        expected = b" 404 " if value == b"true" else b" 400 "
        assert expected in talk.send(head + value + b"\r\n\r\n").partition(b"\r\n")[0]


@pytest.mark.parametrize("extras, status", [((), b" 404 "), (("msi_v2",), b" 400 ")])
def test_extra_endpoint_needs_its_setting(extras: tuple[str, ...], status: bytes) -> None:
    parsed = ParsedRequest(
        "GET",
        b"/metadata/identity/getplatformmetadata?cred-api-version=2.0",
        has_metadata_header=True,
        is_forwarded=False,
        connection="",
    )
    assert status in status_line(*with_extras(*extras), parsed)


def test_throttled_responses_are_shared_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openimds.dataplane.dispatcher._MOST_SHARED", 2)
    vms = a_fleet(**{f"vm-{n}": {"reach": {"address": [f"10.0.0.{n}"]}} for n in (1, 2)})
    dispatcher = a_dispatcher(an_index(*vms), allowances={"general": Allowance(1)})
    talks = [Talk(dispatcher, (f"10.0.0.{n}", 1)) for n in (1, 2)]
    paths = ("/metadata/versions", "/metadata/instance?api-version=2021-02-01", "/nowhere")
    bodies = {talk.ask(path).status for talk in talks for path in paths}
    assert bodies == {200, 429}
    assert len(dispatcher._throttled_responses) == 2


def test_forms_of_the_metadata_header_share_no_cached_response() -> None:
    talk = Talk(a_dispatcher())
    forms = (
        b"Metadata: true, true",
        b"Metadata: true",
        b"Metadata: TRUE",
        b"Metadata: no",
        b"A: b",
    )
    seen = [
        replies(talk.send(b"GET /metadata/versions HTTP/1.1\r\nHost: a\r\n" + form + b"\r\n\r\n"))
        for form in (*forms, *reversed(forms))
    ]
    statuses = [reply.status for (reply,) in seen]
    assert statuses == [400, 200, 200, 400, 400, 400, 400, 200, 200, 400]
