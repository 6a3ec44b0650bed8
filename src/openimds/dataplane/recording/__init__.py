"""What guests asked, remembered for whoever wants to know what a client did.

Rules of the room. It looks on at the data plane and never touches an answer. Nothing secret is
kept: no token, no signature, no certificate request, no header or parameter that proves who asks.
Everything has a bound: so many requests a VM, so many bytes over all of them, so much of each body
and of each header. Callers who are no VM share one ring, so that none of them can push out what a
VM asked. Where nothing is kept and nobody follows, the data plane is not looked at, and does not
pay.

Theory. `mask` makes of bytes what may be remembered; `recorder` keeps it, and hands it to those who
follow as it comes. What it means is told in `core.strict`.
"""
