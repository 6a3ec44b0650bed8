"""Scheduled events as values: what they are, how they go on, what a VM sees of them.

Rules of the room are those of `core`: times, ids and names are arguments. `event` is one event and
what may be declared; `calendar` leads all of them through their lives and counts incarnations;
`bulletin` writes the document of a scope at an api-version and reads approvals; `plans` says when
events come by themselves; `wishes` reads what a person writes.
"""
