"""How IMDS answers: pure functions over values.

Rules of the room. Bytes, the VM and the time are arguments; an answer or a refusal is the result.
Nothing here waits, opens, logs or looks at a clock. What a guest did wrong is a value (a row of
`spec` with its blanks filled), never an exception.

Theory. `request` makes a query of a target; `project` cuts the newest document to an api-version;
`walk` follows a route through it and writes what it finds; `limit` counts; `token`, `attest`,
`balancer`, `protocols` and the room `events` know what their endpoints say. `answer` goes through
the gates in the order of `spec.endpoints.GATES` and is the only door that the outside calls; what
it cannot make comes back as a `need`, and `finish` makes an answer of what was made of it. The room
`faults` stands around `answer`, and says what is wrong on request.

What the room refuses to know: connections, HTTP framing, who asks, caches.
"""
