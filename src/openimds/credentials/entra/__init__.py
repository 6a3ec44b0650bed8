"""Real tokens from elsewhere, for identities whose source is `entra`.

A VM that is no VM of Azure can still call Azure: whoever runs it lends it an identity. This room
asks Entra for that identity's tokens; everything around them stays as it is: which identity is
meant, the limits of the VM, how long a token is kept, what the body says. The rest of the program
knows a port of one method, `sign.issue.Elsewhere`, and never the library behind it.

azure-identity is an extra. It is imported in this room alone, in a thread, when the first such
token is wanted: a server without one neither needs nor loads it.

There are three ways, by whose name Entra is asked. `federation`: each identity's own; a token of
ours is the proof, and Entra trusts our issuer because its owner told it to. `service-principal`:
one application for all, from the environment of the server. `az`: the developer who is signed in
on this machine. No secret and no token is ever written down here; an error is told without them.
"""
