"""The PostgreSQL engine: one store for several machines, of which one leads.

Rules of the room. Every number comes from one row, `store`, that is locked until the commit:
changes and log entries have no gaps, and nobody sees one before all lower ones. Every write
checks, inside its transaction, that the lease is still the writer's; so a leader that was
replaced changes nothing. The engine's clock alone decides when a lease ends. A password is in no
message.

Theory. `location` checks the URL, without the driver. `session` is one connection: its limits,
its loss, its errors in words. `pooler` refuses a pooler that changes the connection between
transactions. `schema` has the tables. `store` keeps the port, `lease` tells who leads, and
`fencing` decides whether an opened store may write: it also finds out whether a commit was made
whose acknowledgement was lost.

Only this room imports psycopg, which is the extra `postgres`.
"""
