"""The VM that calls, by its listener or its source address."""

from openimds.dataplane.dispatcher import Dispatcher
from tests.support.talk import (
    Talk,
    a_dispatcher,
    a_fleet,
    an_index,
)


def fleet() -> Dispatcher:
    return a_dispatcher(
        an_index(
            *a_fleet(
                a={"reach": {"address": ["10.0.0.1"]}},
                b={"reach": {"address": ["10.0.0.2"], "listen": ["unix:/b"]}},
            )
        )
    )


def name(talk: Talk) -> bytes:
    return talk.ask("/metadata/instance/compute/name?api-version=2021-02-01&format=text").body


def test_source_address_identifies_the_vm() -> None:
    dispatcher = fleet()
    assert name(Talk(dispatcher, ("10.0.0.1", 1))) == b"a"
    assert name(Talk(dispatcher, ("10.0.0.2", 1))) == b"b"


def test_own_listener_takes_precedence_over_the_address() -> None:
    dispatcher = fleet()
    assert name(Talk(dispatcher, ("10.0.0.1", 1), "unix:/b")) == b"b"
    assert name(Talk(dispatcher, "", "unix:/b")) == b"b"


def test_request_content_cannot_change_the_caller() -> None:
    talk = Talk(fleet(), ("10.0.0.1", 1))
    got = talk.ask(
        "http://10.0.0.2/metadata/instance/compute/name?api-version=2021-02-01&format=text",
        Forwarded="for=10.0.0.2",
    )
    assert got.body == b"a"


def test_index_update_is_seen_by_the_next_request() -> None:
    fleet_index = an_index(*a_fleet(old={}))
    talk = Talk(a_dispatcher(fleet_index))
    assert name(talk) == name(talk) == b"old"
    fleet_index.apply(fleet_index.plan(a_fleet(new={}), ["old"]))
    assert name(talk) == b"new"
    fleet_index.apply(fleet_index.plan(a_fleet(new={"compute": {"name": "renamed"}})))
    assert name(talk) == b"renamed"
    fleet_index.apply(fleet_index.plan([], ["new"]))
    assert talk.ask("/metadata/versions").status == 404
