"""Whether this process may filter the packets of its TCP sockets."""

import socket

import pytest

from openimds.linux import source_filter


def _why_not() -> str:
    """Return why there are no filters, or nothing."""
    with socket.socket() as probe:
        try:
            source_filter.check(probe)
        except OSError as error:
            return f"no filters of TCP sockets: {error}"
    return ""


REASON = _why_not()
filters = pytest.mark.skipif(bool(REASON), reason=REASON)
