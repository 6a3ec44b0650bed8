"""Access tokens: signing and forging JWTs, their cache, discovery documents, caller secrets."""
