"""RSA keys: key files, the keyring that signs tokens and its rotation, a pool made in advance."""
