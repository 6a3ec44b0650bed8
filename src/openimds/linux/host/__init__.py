"""Make a host the metadata host of its guests, and undo it.

Rules of the room. Nothing here decides who a VM is: it sees to it that a source address at our
listener is as good as a name. `ties` says what belongs together, as the fleet has it: interface,
hardware address, source addresses. `ruleset` writes the rules of nftables that hold it together,
`tables` reads back what stands, `steps` leads from what is there to what shall be, `report` says
what stands and what is in the way. `tools` starts `ip` and `nft`; nothing else touches the system.

Theory. What is there is looked at first, and the steps follow from it: a step is made only where it
is needed, so that a second `up` does nothing. The rules come before the address and go after it,
so that it is never reached without them. `down` takes away what `up` has made and nothing else: an
interface that carries our mark, our two tables, and the addresses that are written down in them.

What the room refuses to know: namespaces of guests, the server, the store.
"""
