"""RSA keys: one key in a file, the keyring that signs tokens, a pool of keys made in advance.

A `files` key is whole or absent, and its owner's alone. The `keyring` publishes a retired key until
the last token that it signed has expired. A `pool` gives the same keys to one test server after
another. Every part takes a `MakeKey`, the source of new keys.
"""
