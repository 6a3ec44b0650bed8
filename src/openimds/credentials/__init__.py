"""Keys, and the tokens that are signed with them.

Rules of the room. A private key leaves this room in one way only: into a file of its owner alone
(0600) in the state directory. What others see of a key is its public half. Everything that signs
takes the time as an argument and may be called in a thread; nothing here runs on the event loop
except the `Workshop`, which gives work to threads and waits for it.

Theory. A `keyfile` is one key. A `keyring` is the keys that sign tokens, with those before and
after; `oidc` is what others see of them. `issue` keeps tokens as long as they live and has new ones
signed, or forged on request. The `worker` does each piece of work once, however many callers wait
for it, and takes no more than it can do soon. `arc` and `secrets` prove callers of Azure's other
identity protocols, `clients` gives out the certificates of MSI v2. A `pool` has keys for one server
after another.

What the room refuses to know: HTTP, who asks, which VM may have what.
"""
