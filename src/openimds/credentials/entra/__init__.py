"""Real access tokens from Microsoft Entra, for identities whose source is `entra`.

Rules of the room. A VM outside Azure can call Azure if its operator lends it an identity. This room
fetches that identity's tokens from Entra (`client`) and translates Entra's refusals into those that
IMDS passes on (`errors`); `token_texts` writes and reads the tokens. A tenant never waits for the
directory of another (`bulkheads`), and a fetch that has just failed is not repeated (`failures`).
Identity selection, limits per VM, caching and the response body stay where they are: the other
rooms know the port `tokens.cache.TokenSource` and nothing behind it.

azure-identity is an extra. It is imported only here, in a thread, by the first fetch: a server
without such identities neither needs nor loads it.

Theory. The setting `entra` names one of three methods. `federation`: each identity authenticates as
itself, with a token signed by this server's keyring, because Entra was configured to trust this
server's issuer. `service-principal`: one application, from the environment of the server,
authenticates for all identities. `az`: the developer who is signed in to the Azure CLI here.

The room never writes down a secret or a token, and redacts both in reports to the operator. It
refuses to know: the VM, the cache, the response.
"""
