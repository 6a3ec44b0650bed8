"""Credentials of VMs: keys, tokens, certificates, tokens of Entra, and the service that makes them.

Rules of the room. A private key leaves this room in one way only: into a file of the state
directory that its owner alone can read (0600). Outside the room only public halves are seen: a JWK
set, certificates, a trust bundle. Code that signs takes the time as an argument and may run in any
thread; on the event loop run only the caches, which give work to the `worker` and await it. A
library that is slow to import (cryptography, PyJWT, azure-identity) is imported by its first use,
so that a server whose VMs have no identity never loads it. A guest's bad input and a refusal of
Entra are values (`Failed`); a bad file of the operator is an exception that names file and remedy.

Theory. `service` provides the results that the data plane's pending work awaits: `cached` returns
a cached result at once or None, `make` awaits a thread or Entra. The `worker` runs each job once,
however many callers await it, and lets VMs take turns: they wait in a `fair_queue`, and when it is
full, the VM that holds most of it is refused. `publication` has the public halves that relying
parties fetch. The sub-packages:

- `keys`: key files, the keyring that signs tokens and rotates, pre-generated keys for tests;
- `tokens`: access tokens, valid or forged, and their cache; OIDC discovery documents; the proofs
  of identity that Azure's other token protocols ask of a caller;
- `pki`: the certificate authority, attested documents and their verification;
- `entra`: real tokens from Microsoft Entra;
- `hosts`: trust between control and the hosts of a fleet;
- `remote`: credentials of guests whose host is not the machine that has the keys.

The authorities of attested documents (`pki`), of MSI v2 client certificates
(`tokens.client_certificates`) and of hosts (`hosts.authority`) share no key and never trust each
other.

The room refuses to know: HTTP, sockets and connections; which VM the caller is and which identities
it may use; the fleet and its store.
"""
