"""The admin side: the API that shows and changes a fleet while it is served.

Rules of the room. A change goes through the fleet service (or the events or fault service), which
validates it, writes it to the store and only then shows it to the guests: an acknowledged change is
on the disk. An operation is one row (`operation`): it names its path, its types, its examples and
its handler; routes (`app`) and the OpenAPI document (`openapi`) are made from the rows, and JSON
schemas from the types. Errors have one shape (`problem`), lists another (`pages`). New JSON names
are camelCase; bodies are read by parameter rows, which accept the snake_case of 0.1.0 until 1.0.

Theory. `handlers` has a file for each resource: types, handlers, rows. A handler takes the services
behind the port (`services`) and the request, and returns a Struct that the application encodes.
`auth` checks Host and token before every operation. `metric_rows` are the rows of the metrics,
`metrics` their exposition, `metrics_listener` a small port for them alone; `request_counts` counts
requests by the path of their row.
`lazy_server` opens the port at the start and loads the web server at the first connection: a server
that no operator calls stays small and starts fast; `connection_shares` bounds the connections of a
port and shares them among addresses. `tls_files` reads the certificate of the admin port, and
`handovers` bounds TLS handshakes. `public_app` serves keys and certificates to verifiers on a
port of its own.

The room refuses to know how guests are answered: it sees the fleet's index and the metrics source.
"""
