"""The caller of a server that listens: a VM by its source address, or nobody."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec.json
from msgspec import structs

from openimds.fleet.fleet_files import fleet_contents
from openimds.protocol.events.request import EventRequest
from openimds.server.build import build
from openimds.server.server import Server
from openimds.server.startup import load
from openimds.settings import Settings
from openimds.vm.fleet_file import parse_vm
from tests.support.talk import Reply, replies

NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"
SETTINGS = Settings(listen="127.0.0.1:0", admin="none", public="none", rate_limit=False)


class Guests:
    """The guests of a server on loopback; each has a connection that stays open."""

    def __init__(self, server: Server, url: str) -> None:
        self.server = server
        self._port = int(url.rpartition(":")[2])
        self._streams: dict[str, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    async def ask(self, source: str, path: str, method: str = "GET", body: bytes = b"") -> Reply:
        if source not in self._streams:
            self._streams[source] = await asyncio.open_connection(
                "127.0.0.1", self._port, local_addr=(source, 0)
            )
        reader, writer = self._streams[source]
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nMetadata: true\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n" if body else "\r\n"
        writer.write(head.encode() + body)
        head_bytes = await reader.readuntil(b"\r\n\r\n")
        sizes = [line[15:] for line in head_bytes.split(b"\r\n") if line[:15] == b"Content-Length:"]
        (reply,) = replies(head_bytes + await reader.readexactly(int(sizes[0])))
        return reply

    async def answers(self, *sources: str, path: str = NAME) -> list[str]:
        """Return the text of each answer, or its status where it is no 200."""
        asked = [await self.ask(source, path) for source in sources]
        return [
            reply.body.decode() if reply.status == 200 else str(reply.status) for reply in asked
        ]

    def close(self) -> None:
        for _, writer in self._streams.values():
            writer.close()


def serve(
    fleet: dict[str, Any], work: Callable[[Guests], Awaitable[None]], state: Path | None = None
) -> list[str]:
    """Serve a fleet to guests; return the messages to the operator."""
    settings = structs.replace(SETTINGS, state=str(state) if state else "")
    vms = fleet_contents({"vms": fleet}).vms
    startup = structs.replace(load(settings), vms=vms, origin="file")
    messages: list[str] = []

    async def run() -> None:
        server = build(startup, messages.append)
        guests = Guests(server, (await server.start()).imds)
        try:
            await work(guests)
        finally:
            guests.close()
            await server.stop(patience_s=0)

    asyncio.run(run())
    return messages


def test_only_vm_with_a_reach_is_closed_to_other_callers() -> None:
    async def work(guests: Guests) -> None:
        assert await guests.answers("127.0.0.31", "127.0.0.1", "127.0.0.32") == [
            "only",
            "404",
            "404",
        ]
        assert (await guests.ask("127.0.0.32", TOKEN)).status == 404
        token = await guests.ask("127.0.0.31", TOKEN)
        assert msgspec.json.decode(token.body)["access_token"]
        assert guests.server.dispatcher.unknown_requests == 3

    only = {"identities": {"system": True}, "reach": {"address": ["127.0.0.31"]}}
    messages = serve({"only": only}, work)
    assert [message.partition(":")[0] for message in messages] == [
        "unknown caller 127.0.0.1",
        "unknown caller 127.0.0.32",
    ]


def test_open_connection_follows_the_reach_of_the_only_vm() -> None:
    async def work(guests: Guests) -> None:
        service = guests.server.fleet_service
        callers = ("127.0.0.1", "127.0.0.31")
        assert await guests.answers(*callers) == ["only", "only"]
        assert await guests.answers(*callers) == ["only", "only"]  # Cached.
        await service.patch("only", {"reach": {"address": ["127.0.0.31"]}}, "test")
        assert await guests.answers(*callers) == ["404", "only"]
        assert await guests.answers(*callers) == ["404", "only"]
        await service.patch("only", {"reach": None}, "test")
        assert await guests.answers(*callers) == ["only", "only"]

    serve({"only": {}}, work)


def test_last_vm_of_a_fleet_keeps_to_its_reach() -> None:
    async def work(guests: Guests) -> None:
        service = guests.server.fleet_service
        callers = ("127.0.0.1", "127.0.0.31", "127.0.0.32")
        assert await guests.answers(*callers) == ["404", "a", "b"]
        await service.remove("b", "test")
        assert await guests.answers(*callers) == ["404", "a", "404"]
        await service.put(parse_vm("a", {}), "test")
        assert await guests.answers(*callers) == ["a", "a", "a"]

    serve(
        {"a": {"reach": {"address": ["127.0.0.31"]}}, "b": {"reach": {"address": ["127.0.0.32"]}}},
        work,
    )


def test_default_vm_with_a_reach_answers_its_own_callers() -> None:
    """The edit makes it a VM like any other."""

    async def run() -> None:
        server = build(load(SETTINGS), lambda _: None)
        guests = Guests(server, (await server.start()).imds)
        assert await guests.answers("127.0.0.1", "127.0.0.31") == ["vm-1", "vm-1"]
        reach = {"reach": {"address": ["127.0.0.31"]}}
        await server.fleet_service.patch("vm-1", reach, "test")
        assert await guests.answers("127.0.0.1", "127.0.0.31") == ["404", "vm-1"]
        guests.close()
        await server.stop(patience_s=0)

    asyncio.run(run())


def tenant(subscription: str, group: str, address: str) -> dict[str, Any]:
    return {
        "compute": {"subscriptionId": subscription, "resourceGroupName": group},
        "availabilitySet": "as-1",
        "reach": {"address": [address]},
    }


RED, BLUE, GREEN = (f"127.0.0.2{number}" for number in (1, 2, 3))
TENANTS = {
    "red": tenant("11111111-1111-4111-8111-111111111111", "one", RED),
    "blue": tenant("22222222-2222-4222-8222-222222222222", "two", BLUE),
}
EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"


async def events_of(guests: Guests, source: str) -> list[Any]:
    reply = await guests.ask(source, EVENTS)
    assert reply.status == 200
    events: list[Any] = msgspec.json.decode(reply.body)["Events"]
    return events


def approval(*events: Any) -> bytes:
    return msgspec.json.encode({"StartRequests": [{"EventId": one["EventId"]} for one in events]})


def test_tenant_neither_sees_nor_starts_events_of_another() -> None:
    async def work(guests: Guests) -> None:
        request = EventRequest("Reboot", ("red",))
        await guests.server.events_service.declare(request, "operator")
        (event,) = await events_of(guests, RED)
        assert await events_of(guests, BLUE) == []
        refused = await guests.ask(BLUE, EVENTS, "POST", approval(event))
        assert refused.status == 400
        assert (await events_of(guests, RED))[0]["EventStatus"] == "Scheduled"
        assert (await guests.ask(RED, EVENTS, "POST", approval(event))).status == 200
        assert (await events_of(guests, RED))[0]["EventStatus"] == "Started"

    serve(TENANTS, work)


def test_event_for_two_tenants_becomes_one_for_each() -> None:
    async def work(guests: Guests) -> None:
        request = EventRequest("Freeze", ("red", "blue"))
        events = await guests.server.events_service.declare(request, "operator")
        assert [(event.scope, event.vms) for event in events] == [
            ("set:11111111-1111-4111-8111-111111111111/one/as-1", ("red",)),
            ("set:22222222-2222-4222-8222-222222222222/two/as-1", ("blue",)),
        ]
        for source, name in ((RED, "red"), (BLUE, "blue")):
            assert [event["Resources"] for event in await events_of(guests, source)] == [[name]]

    serve(TENANTS, work)


def test_edit_of_the_resource_group_changes_the_scope() -> None:
    """Members of a set are those of one resource group, in any letter case."""

    async def work(guests: Guests) -> None:
        await guests.server.events_service.declare(EventRequest("Reboot", ("red",)), "operator")
        assert await events_of(guests, GREEN) == await events_of(guests, GREEN) == []
        patch = {
            "availabilitySet": "AS-1",
            "compute": {**TENANTS["red"]["compute"], "resourceGroupName": "ONE"},
        }
        await guests.server.fleet_service.patch("green", patch, "operator")
        assert await events_of(guests, GREEN) == await events_of(guests, RED) != []
        for part in (
            {"resourceGroupName": "two"},
            {"subscriptionId": "22222222-2222-4222-8222-222222222222"},
        ):
            await guests.server.fleet_service.patch("green", {"compute": part}, "operator")
            assert await events_of(guests, GREEN) == []
            await guests.server.fleet_service.patch("green", patch, "operator")
            assert await events_of(guests, GREEN) != []
        await guests.server.fleet_service.patch("green", {"availabilitySet": None}, "operator")
        assert await events_of(guests, GREEN) == []

    serve({**TENANTS, "green": {"reach": {"address": [GREEN]}}}, work)
