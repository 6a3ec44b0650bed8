"""Scheduled events as values: requests, their states, and the document that a VM reads.

Rules of the room. As in all of `protocol`, times, ids and names are arguments. `request` is the
operator's request for an event; `event` completes it for one scope; `state_machine` moves all
events through their states and counts incarnations; `document` writes the scheduled-events document
of a scope at an api-version and reads approvals; `schedule` repeats a request on its own.

Theory. One struct, `EventRequest`, holds the members of a request. `Event` and `RecurringEvent`
extend it, and `event.prepare` alone fills in the values that are usual for a type.
"""
