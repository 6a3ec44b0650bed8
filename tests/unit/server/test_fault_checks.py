"""Faults that a server cannot play are refused before they are set."""

import asyncio
from typing import Any

import pytest

from openimds.errors import ConfigError
from openimds.protocol.faults.input import read_fault
from openimds.server.build import build
from openimds.server.startup import load
from openimds.settings import Settings


def check(public: str, fault: dict[str, Any]) -> None:
    """Check a fault against a server with this setting of its public listener."""

    async def run() -> None:
        startup = load(Settings(listen="127.0.0.1:0", admin="none", public=public))
        server = build(startup, lambda _: None)
        try:
            server.faults.check(read_fault(fault))
        finally:
            server.resources.close()

    asyncio.run(run())


def test_fault_of_verifiers_needs_a_public_listener() -> None:
    with pytest.raises(ConfigError) as caught:
        check("none", {"effect": "ocsp-response"})
    assert str(caught.value) == (
        'faults: effect: saw "ocsp-response", a fault of the public listener, expected a server '
        'that has one. Start it without --public none; in Python, set public="127.0.0.1:0"'
    )
    check("127.0.0.1:0", {"effect": "ocsp-response"})
    check("none", {"effect": "reset"})
