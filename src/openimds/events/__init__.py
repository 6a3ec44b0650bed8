"""The events of a running server: declared, written down, shown, carried on by a clock.

Rules of the room. What happened is written before anybody sees it, by one writer, many at a time
(`event_writer`). Time comes from one `clock`, which may be set if the server was started so. What
follows an event outside (`hook`) reads the written log, so that neither a slow command nor a
restart loses anything or holds anything up.

Theory. The `events_service` is the door: it declares, approves, starts and ends events over the
pure calendar of `core.events`, and wakes up when the next one is due. `scenario` remembers which
plans have begun; `log_entries` is the log's own words; `making` hands each need of the data plane
to the agenda or to the office.

What the room refuses to know: HTTP, sockets, what a document looks like.
"""
