"""An entry of the event log as the admin API and the hook show it."""

import json

import msgspec

from openimds.events.log_format import EventLogLine, line
from openimds.fleet.store.port import LogEntry

AT = "2026-11-22T19:54:46.000Z"
STORED = (
    b'{"event":"E","at":"%s","who":"me","trigger":"declared","before":"new","after":"Scheduled",'
    b'"type":"Reboot","scope":"vm:a","vms":["a"],"resources":["a"],"not_before":"%s",'
    b'"duration_s":9,"description":"d","source":"Platform","incarnation":2}'
) % (AT.encode(), AT.encode())
"""The body of an entry as 0.1.0 wrote it."""


def test_line_has_its_number_and_camel_case_names() -> None:
    shown = line(LogEntry(7, AT, "me", "E", STORED))
    assert shown.startswith(b'{"number":7,"event":"E",')
    members = json.loads(shown)
    assert (members["notBefore"], members["durationS"]) == (AT, 9)
    assert {*members} == {*EventLogLine.__struct_encode_fields__}
    assert msgspec.json.decode(shown, type=EventLogLine).duration_s == 9
