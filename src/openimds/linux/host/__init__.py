"""Host rules: the way to 169.254.169.254, and the guests that are bound to it.

Rules of the room. It identifies no VM: it makes a source address at the listener as trustworthy as
a name. A binding joins a VM's interface, hardware address and source addresses as the fleet has
them (`bindings`). `nft_rules` writes the rules that enforce the bindings, `nft_state` reads the
rules in force, `host_state` all of the present state. `plan` leads from it to the wanted state in
steps, `status` reports the state and the obstacles. Only `commands` runs `ip` and `nft`; nothing
else changes the system.

Theory. The address is on no interface. Accepted packets get a mark, and a routing rule leads marked
packets alone to this host: without the rules nobody gets in. A plan is computed from the present
state and has only the steps that are needed, so that a second `up` does nothing. The rules in force
are compared with those that the same kernel makes of the wanted text. `down` removes the work of
`up` and nothing else: our three tables, the routes and the rule with our number, and the IPv6
addresses that the tables list.

The room refuses to know: namespaces of guests, the server, the store.
"""
