"""Certificates: the certificate authority, attested documents, and their verification.

Rules of the room. Azure's oddities are reproduced (`cms`) and verified strictly: no octet of an
envelope is free. A CA certificate that was once published stays published after a rotation. An
invalid document gives a report, not an exception; an unusable trust bundle or key file is an error
of the operator.

Theory. `certificates` builds one certificate in the form of a generation (`facts.generations`),
`extensions` its extensions; `certificate_info` reads names and other facts from one. `chain_files`
reads and writes a `chain` of CAs in the state directory, `issuer_files` reads one of them;
`external_ca` reads an operator's own. The `authority` issues `leaves` below them and rotates,
`renewal` has the due time; `lazy_ca` opens it at the first use. Its `issuers` are the chain in use,
the issuer before it in an overlap, and successors. A `rehearsal` rotates from year to year
(`protocol.generation_walk`); `walk_file` stores it. `document_signer` puts a payload into the
envelope of `cms`, valid or as a scenario of `invalid_documents` spoils it, for instance with an
orphaned intermediate that no verifier can fetch. `document_cache` has the signatures that may be
returned again. `revocation` keeps the register of leaves and signs ahead what verifiers ask about
them; `external_revocation` reads those that CAs with keys elsewhere have signed.
`revocation_answers` serves both for the issuers of an authority. `revocation_targets` finds the
certificates that an operator revokes. `host_leaf_issuer` answers the `leaf_requests` of hosts that
have a leaf key of their own. `web_certificate` is for https in a sandbox, below a root of its own.
The other side is `verify`, with `chain_validation` for the path from leaf to root.

The room refuses to know: HTTP, the fleet, the content of the payload (see
`protocol.attested_document`).
"""
