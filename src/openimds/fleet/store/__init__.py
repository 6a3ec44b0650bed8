"""The store of the fleet: one port, several engines.

Rules of the room. A store keeps the body of every VM (its settings as JSON) under its name, and
every change, numbered. The numbers only grow; the number of a VM's last change is its revision, and
the number of the last change of all is the store's. A write names the revision that it means to
replace, and several writes happen together or not at all. Once `write` has returned, the change
survives any end of the process.

Theory. `port` is the interface of every engine and the values that pass through it. `sqlite` is one
file in the state directory, or a database in memory for servers without one; `schema` has its
tables, `sqlite_file` opens it and explains its errors. The contract in `tests/contract` runs
against each engine alike. `state` is that directory: its lock, its files. Of every file that names
VMs, a store keeps the entries as last applied. `opening` refuses a store that is lost, damaged or
older than its `marker` tells; `kept` reads on while the disk takes no changes; `backup` copies and
restores; `salvage` keeps the readable rows of a damaged file. `postgres` is a room of its own: the
engine for several machines.

The room does not know the meaning of a body, the subscribers of changes, or HTTP.
"""
