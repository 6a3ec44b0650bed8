"""Trust between control and the hosts: their own authority, join tokens, and the register.

Rules of the room. The authority of hosts shares no key with those of attested documents (`pki`) and
of MSI v2 client certificates (`tokens.client_certificates`), and none of the three trusts another.
A host's identity is a URI in its certificate, which control sets: of a certificate request only the
key is taken. A certificate counts while the register lists its serial number, so a revoked host is
refused at once, and a serial number that nobody noted is no host's. A refusal for a caller without
the secret of a join token never tells whether a host of that name exists. Times are real time, not
the virtual clock of a fleet: the two ends check certificates by the clocks of their machines.

Theory. `host_certificates` builds certificates and reads names from them. `authority` has the
`HostsCa`, which certifies control for 30 days and a host for seven, and renews its own root with an
overlap. `handshake` makes the TLS contexts of both ends. `join_token` is the line of text that an
operator carries to a new host: a secret, and the fingerprint of the root, so that the first contact
is authenticated both ways. `register` has the hosts by name, as a value that its caller stores;
`service_accounts` judges the token of a host's pod, for which the Kubernetes API vouches instead.
`joining` has the steps of a join and a renewal over register and authority. `identity` is the other
end: the key and the certificate of one host in its state folder.

The room refuses to know: sockets, frames, the store, and the VMs that are placed on a host.
"""
