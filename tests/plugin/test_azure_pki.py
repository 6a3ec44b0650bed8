"""Azure's PKI hosts of a test, in a process whose network lacks their address."""

import socket
from contextlib import closing
from pathlib import Path

import pytest

from openimds.errors import ConfigError
from openimds.settings import Settings
from openimds.testing.azure_pki import AzurePki


def test_missing_address_leaves_no_socket_open(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        number = free.getsockname()[1]
    with closing(AzurePki(tmp_path)) as pki:
        with pytest.raises(ConfigError) as caught:  # It holds the sockets, if they are open.
            pki.inherited(Settings(public=f"127.0.0.1:{number}"))
        socket.create_server(("127.0.0.1", number)).close()
        assert caught.value.seen.startswith("192.0.2.1:80 (")
