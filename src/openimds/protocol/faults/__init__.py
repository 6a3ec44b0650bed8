"""Faults as values: the effect, the requests that it hits, and the damaged response.

Rules of the room. As in all of `protocol`, times, numbers and names are arguments. `fault` holds a
fault's members; `input` reads faults and playbooks from a fleet file or a request body; `matching`
decides which requests a fault hits; `substitute` gives the response that replaces the true one,
`custom_response` that of a server between the client and IMDS, and `retry_after` their header of
that name; `edited_token` reads the edits that `protocol.token_edits` makes in a token's answer;
`delivery` gives the bytes that go out instead of a true response.

Theory. A fault stands around `handle` and never inside it. The requests of each VM that match a
fault are numbered, and whether the n-th one is hit depends on the fault, the VM and n alone. So the
same fault hits the same requests on every server and beside any other faults.
"""
