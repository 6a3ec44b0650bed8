"""Access tokens, and the proofs of identity that Azure's token protocols ask of a caller.

`jwt` signs claims as Entra does, or forges a token with one fault. The `cache` holds each token
until it expires and makes each only once at a time. `oidc` describes the issuer and its public keys
to relying parties. `arc_challenge` has the challenge files of Azure Arc, `caller_secrets` the
secrets of the App Service protocol, `client_certificates` the certificates of MSI v2.
"""
