"""The log for operators: what a server does and meets, one line each on stderr.

Rules of the room. A line is an event: a row of `events` with a name, a level and the names of its
fields. Rooms make messages of rows and give them to a port, `Callable[[str], None]`: a message is
its sentence, a `str`, so that a command prints it and a test compares it. Nobody who logs waits: a
line is put into a bounded queue, and a full queue counts the lines that it drops. No line forges
another: control characters are escaped. No line has a secret: fields with the name of a secret are
masked by the rows of `facts.redaction`, and texts in the form of one wherever they stand. There is
no state outside the objects: two servers in one process have two logs.

Theory. `event` has levels, rows and messages; `masking` makes values printable and takes secrets
out of them; `formats` writes lines as logfmt or JSON; `writer` is the queue and its thread; `log`
puts them together, and bounds the rate of single events; `library_records` brings in the records of
libraries that use `logging`; `journal` knows where stderr leads. It refuses knowledge of settings,
of servers, and of what a field means.
"""
