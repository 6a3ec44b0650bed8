"""The scheduled events of a running server: declared, stored, published, moved on by a clock.

Rules of the room. A transition is stored before anybody sees it, by one event writer that takes
many changes at a time (`writer`). Time comes from one `clock`, which may be set if the server was
started so. The `webhook` reads the stored log, so that neither a slow command nor a restart loses
or delays a line.

Theory. The events service (`service`) declares, approves, starts and ends events over the pure
state machine of `protocol.events`, and wakes up when the next transition is due. `scenario` holds
the scenarios under way and how far each line has come; `log_format` gives events and log entries
their JSON for the admin API, the log and the webhook.

The room refuses to know HTTP, sockets and the form of a document.
"""
