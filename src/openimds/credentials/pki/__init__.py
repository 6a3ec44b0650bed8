"""Attested documents: the certificates that sign them, the envelope around them, and its check.

Rules of the room. What Azure does oddly is done oddly here (`cms`), and read strictly: no octet of
an envelope is free. Certificates that were once on offer stay on offer after a rotation. A bad
document is a report, not an exception; a bad trust bundle is the operator's mistake.

Theory. `certificates` makes one certificate; `chain` is root and intermediate as they stand in
files, `brought` those of an operator; an `authority` makes leaves under them and replaces them;
`cms` is the envelope; `rehearsal` puts a payload into it, right or on request wrong; `document`
keeps what may be given again; `registry` opens all of it when it is needed. `verify`, with `path`
for the chain, is the other side.

What the room refuses to know: HTTP, the fleet, what the payload says (that is `core.attest`).
"""
