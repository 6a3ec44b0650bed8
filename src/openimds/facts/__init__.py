"""Facts about Azure, as rows with evidence.

Rules of the room. Every fact about the wire stands here and nowhere else: an api-version, a field,
an endpoint, a refusal, a header order or a cloud is one row, with everything that other rooms need
to know of it: a field its redaction, an endpoint its handler and whether its answers are secret.
Each row names its evidence and the quality of that evidence. A fact without evidence is still a
row; its mark is `chosen`, and the fidelity page, which is printed from these rows, shows it as an
assumption. Code here looks rows up and checks that they fit together; code in other rooms walks
the rows.

Theory. There is one newest document. A field row has the api-version that brought its path (and,
rarely, the one that removed it); a rename row has the earlier name of a node. Every older document
is computed from these two tables, so that a new api-version is one row in `versions` and the rows
of its fields. A refusal is one row with its status, its exact body and its headers together,
because tables that are kept in parallel drift apart.

The files: `evidence` has marks and sources; `versions`, `endpoints`, `limits`, `headers`, `clouds`
describe requests and responses; `fields` has the row type of the instance document, `compute`,
`storage` and `network` its rows, `document` all of them together; `redaction` the kinds of
placeholders; `refusal` the row type of errors, `refusals` and `refusals_elsewhere` the rows;
`tokens`, `protocols`, `attested`, `balancer` and `events` the other documents; `faults`,
`playbooks` and `lint` the faults on request and the rules for clients; `facts` the whole list, by
the names of the fidelity page.

The room knows no VM, request, socket or time, and imports nothing of the project.
"""
