"""What Azure says, as rows with evidence.

Rules of the room. Everything that is known about the wire stands here and nowhere else: a version,
a field, an endpoint, a refusal, a header, a cloud is one row, and each row names the evidence it
rests on and how good that is. There is no logic beyond looking rows up and checking that they fit
together; code in other rooms walks the rows. A fact that nobody knows is still a row: its mark is
`chosen`, and the fidelity page of the documents, which is printed from these rows, says so.

Theory. There is one newest document. A field row says since which api-version a path exists (and,
rarely, until when); a rename row says what a node was called earlier. Every older document is
computed from these two tables, so that a new api-version is a row in `versions` and the rows that
it brings. A refusal is one row with its status, its exact body and its headers together, because
tables that are kept in parallel drift apart.

What the room refuses to know: VMs, requests, sockets, time. It imports nothing of the project.
"""
