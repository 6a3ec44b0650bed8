"""The certificates that vouch for processors, and the quotes that they sign.

Rules of the room. Roots are made here and trusted by nobody else: a certificate has the names and
extensions of AMD or Intel, because verifiers check them, and a key of this server. A key and its
certificate are one file, so that neither is there without the other.

Theory. `keys.holders` stores a key with its certificate; `holders` opens a chain of them. `amd` has
the chain of each line of processors and certifies a processor for the versions of its firmware.
`intel` has the chain of the platform and signs quotes, whose octets `quote` lays out. `service`
makes them for the data plane's pending work. The key of a processor is derived from that of its
issuer, so it needs no file.

The room refuses to know: which VM has such a processor (see `protocol.confidential`).
"""
