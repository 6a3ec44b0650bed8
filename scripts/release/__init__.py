"""Releases: the conditions of one, and the files by which others trust it.

`make release` builds the wheel and the source distribution, and beside them a bill of materials, a
statement of provenance, and the digests of all four with a signature. `make release-check` says
what a release still lacks; it passes only on the commit of a signed tag. Nothing is uploaded.
"""
