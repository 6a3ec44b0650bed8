"""Interoperation: files of other tools, and the answers of other servers.

Rules of the room. All input is untrusted: it is bounded, checked and never run. `importers`,
`kubevirt`, `transcript` and `compare` are pure: values in, values out, without files, sockets or
time. Only `capture` and `kubernetes` open sockets, and only to the server that the user or the pod
named.

Theory. `importers` makes VMs of the output of az, ARM and Terraform. `capture` asks an IMDS every
planned question; the exchanges are a `transcript`, a file that can be redacted, served and
imported. `compare` finds the differences between two transcripts, and for each the fact that it is
about. `kubernetes` is a client of a cluster's API, and `kubevirt` makes VMs of its guests.

What the room refuses to know: fleets, stores, the admin API, and how an answer is made.
"""
