"""The admin side: changing the fleet while it is served, and looking at it.

Rules of the room. Every change goes through the `fleet_service`: it is read, held against the
picture, written to the store, and only then shown to the guests, in this order and one at a time,
so that what was acknowledged is on the disk and what a guest sees was acknowledged or is about to
be. The API is rows of operations; routes, checks and the OpenAPI document are made from them. One
shape of error. The web server and what it needs are loaded when somebody first knocks at the admin
port: a server that nobody administers stays small and starts fast.

What the room refuses to know: how guests are answered. It sees the picture and a few numbers.
"""
