"""Keys: key files, the keyring that signs tokens, and a key pool.

A `files` key is whole or absent, and its owner's alone; `holders` has it together with its
certificate. The `keyring` publishes a retired key until the last token that it signed has expired.
A `pool` gives the same keys to one test server after another. Every part takes a `MakeKey`, the
source of new keys.
"""
