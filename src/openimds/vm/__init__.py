"""What a VM is, and how it is read from what people write.

Rules of the room. A VM is its newest instance document plus what the document cannot say. What was
said is kept as it was said, sparse; what was not said is worked out when the whole document is
wanted (`defaults.complete`), always alike for the same name. Input is checked by walking the tree
that is grown from the field rows, so that a new row is at once a key of the fleet file. Whatever
does not fit is refused with its path, what was seen, what was expected and the nearest right name.

Theory. `tree` grows nodes from rows; `read` walks a value along a tree; `tags` brings the three
shapes of tags into the one that the document has; `fleet` and `capture` are the two ways in; `text`
turns YAML, TOML and JSON into plain values.

What the room refuses to know: api-versions (projection is `core`'s), files, sockets, time.
"""
