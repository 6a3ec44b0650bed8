"""Host rules: 169.254.169.254 on this machine, and nftables rules that bind guests to it.

Rules of the room. It identifies no VM: it makes a source address at the listener as trustworthy as
a name. A binding joins a VM's interface, hardware address and source addresses as the fleet has
them (`bindings`). `nft_rules` writes the rules that enforce the bindings, `nft_state` reads the
rules in force. `plan` leads from the present state to the wanted one in steps, `status` reports the
state and the obstacles. Only `commands` runs `ip` and `nft`; nothing else changes the system.

Theory. A plan is computed from the present state and has only the steps that are needed, so that a
second `up` does nothing. The rules come before the address and go after it, so that it is never
reachable without them. `down` removes the work of `up` and nothing else: the interface with our
mark, our two tables, and the IPv6 addresses that the tables list.

The room refuses to know: namespaces of guests, the server, the store.
"""
