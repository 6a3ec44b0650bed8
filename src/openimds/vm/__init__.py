"""A VM as a value: its types, input, defaults and output.

Rules of the room. A VM is its newest instance document plus the settings that the document has no
place for. The document is kept sparse, with the members that its author wrote; `complete` in
`defaults` adds every other field, from the VM's name alone, so that the same name always gives the
same document. Input is validated in one walk along a tree grown from the field rows: a new row is
at once a key of the fleet file. Every refusal has its path, the value seen, the expected type and
the nearest right name.

Theory. `decode` and `yaml` turn text into plain values; `schema_tree` grows trees from rows, and
`schema` adds the keys beside the document; `validate` walks a value along a tree; `tags` keeps the
two wire forms of the tags equal. `fleet_file` and `from_capture` are the two ways in, `serialize`
is the way out. `document_plan` compiles a tree into a plan, once; `defaults` fills the plan of a
version for each VM by its rules, `derivation` works them out for one VM. `types` has the values,
`identities` the ids of managed identities. `selector` chooses VMs by their tags, location, size and
host.

The room knows no api-version (`protocol.document` grows the tree of one), no file, no socket and no
clock.
"""
