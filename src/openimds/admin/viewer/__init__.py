"""The viewer of the API's description: RapiDoc, one file of other people, unchanged.

NOTICE names its version, licence and SHA-256, and a test compares them. The page loads nothing from
elsewhere: it asks for no fonts, and its policy refuses what is not of this server. The file is read
at its first request.
"""
