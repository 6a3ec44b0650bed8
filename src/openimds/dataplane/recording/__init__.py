"""The request recorder: recent requests of each VM, for those who debug a client.

Rules of the room. It observes the data plane and never touches a response. It keeps no secret: no
token, no signature, no certificate request, no header or parameter that proves an identity.
Everything has a bound: requests per VM, bytes over all requests, the size of each body and header.
Unknown callers share one ring, so none of them can displace the requests of a VM. While nothing is
kept and nobody follows, the data plane is not observed and pays nothing.

Theory. `redact` removes secrets and cuts long values; `recorder` keeps the records and passes them
to subscribers and to the access log as they arrive. `protocol.lint` judges them.
"""
