"""Credentials of guests whose host is not the machine of control.

Rules of the room. Control has the keys, and a host has a certificate of its own; so control answers
a host for the VMs that are placed on it, and checks each identity against its own record of the VM.
A guest notices neither a control that is away for a while nor the way to it: a host asks ahead of
need, and goes on with its results as long as they are valid. A way to control is a function that
raises an `Error` when there is no answer; the room knows no transport.

Theory. Tokens: `control_tokens` is the source of a host's token cache, with bounds on the requests
that wait; `asked_tokens` remembers the tokens that VMs asked for lately, `host_tokens` renews
those, and `kept_tokens` has them over a restart. Documents: `host_leaves` has a key of the host and
its leaves, which control certifies, in memory and in the state folder; `host_documents` signs with
them. `host_credentials` composes both and has control make the rest; `given_secrets` are the
secrets of VMs, which control gives. Control answers by its `mint_service`, for leaves by
`pki.host_leaf_issuer`: for the VMs that `placed_vm` describes, and with the leaves that
`leaf_permits` allows.

Decided. The challenges of Azure Arc are files of the host on which their reader runs, so the host
makes and checks them; the token behind a right proof comes from control. Forged tokens are made by
control, for they need its keys. Documents of a scenario that spoils the chain are signed by control
for the VMs of the host, the others by the host.

The room refuses to know: connections, frames and host certificates; the fleet and its store.
"""
