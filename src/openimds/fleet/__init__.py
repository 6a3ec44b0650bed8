"""The fleet: its store, its changes, and the index for the data plane.

Rules of the room. The fleet index changes in whole updates, between two requests: an update is
planned, which finds every conflict and changes nothing, and then applied, which cannot fail. An
update drops the cached responses of the VMs that it touches and of no others. An entry holds its VM
packed (a few hundred bytes) and unpacks it only to render a response, so that a host can hold many
more VMs than are active. The rate limits of an entry outlive an update: no change resets them.

Theory. The caller is identified by the listener or by the source address, and by nothing that a
guest can write into a request. Two VMs that claim one address are an error; an address that is only
a default yields to one that is configured. `index` resolves callers by the claims of
`address_claims`; `vm_entry` is one VM in it, and `response_cache` bounds the prepared responses
without looking inside them; `service` writes each change to the `store` first and applies it to the
index after; `quarantine` has the stored VMs that cannot be taken, which stop nobody else and come
back when they can be; `fleet_files` reads the files that describe VMs; `applied_file` compares a
file with its entries as last applied, so that a text without an edit changes nothing, and
`entry_edit` changes the leaves that an edit has touched and no other; `scope_names` brings a store
of release 0.1.0 up to date.

The room does not know the callers of its service, the content of a response, sockets or HTTP.
"""
