"""Where the fleet lives.

Rules of the room. A store keeps the body of every VM (what was said of it, as JSON) under its name,
and every change that was ever made, numbered. The numbers only grow; the number of a VM's last
change is its revision, and the number of the last change of all is the store's. A write says which
revision it means to replace, and several writes happen together or not at all. When `write` has
returned, the change survives whatever happens to the process.

Theory. `port` is the shape that every engine has and the values that go through it. `sqlite`
is one file in the state directory, or a database in memory for servers without one. The contract in
`tests/contract` runs against each engine alike. `state` is the directory: its lock, its files.

What the room refuses to know: what a body means, who listens to changes, HTTP.
"""
