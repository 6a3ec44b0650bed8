"""One server for commands in sandboxes, where 169.254.169.254:80 is real."""

import os
import secrets
import socket
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec.json
from msgspec import Struct

from openimds.admin.token import AdminToken, TokenError, token_digest
from openimds.errors import BAD_JSON, ConfigError
from openimds.facts.kinds import AZURE_LOCAL, VM
from openimds.fleet.applied_file import FileComparison, read_rows, read_stored_fleet
from openimds.fleet.fleet_files import DEFAULT_VM
from openimds.fleet.store.port import Store
from openimds.fleet.store.state import State
from openimds.linux.loopback import IMDS, IMDS_OF_LOCAL
from openimds.linux.memory_file import MemoryFile
from openimds.linux.private_netns import no_proxy_variables
from openimds.linux.sandbox import Sandbox, SandboxSpec, Supervisor
from openimds.linux.sandbox.pasta import find_pasta
from openimds.parameters import nearest
from openimds.server.admin_ports import DEFAULT_PUBLIC, tcp_address
from openimds.server.azure_hosts import MAPPED_HOSTS, WEB, WEB_TLS
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.notify import Notify
from openimds.server.process import run
from openimds.server.ready import Ready
from openimds.server.settings_check import check_pki_names
from openimds.server.startup import Startup
from openimds.settings import Settings
from openimds.vm.serialize import encode_vm
from openimds.vm.types import Vm

_DATAPLANE, _LOCAL, _ADMIN, _PUBLIC = "dataplane", "local", "admin", "public"
_WEB, _WEB_TLS = "web", "web tls"
_TOKEN_BYTES = 32
_MOST_NAMED = 3
_PAGE = 1000


class _Kind(Struct):
    """The kind in a stored VM."""

    kind: str = VM


class MemoryToken(AdminToken):
    """An admin token in memory; its path in /proc lives as long as its descriptor."""

    def __init__(self) -> None:
        """Make the token; child processes forked afterwards hold it, too."""
        self.descriptor = os.memfd_create("admin-token")
        os.fchmod(self.descriptor, 0o600)
        super().__init__(Path(f"/proc/self/fd/{self.descriptor}"))

    def _open(self) -> None:
        """Make the token."""
        text = secrets.token_urlsafe(_TOKEN_BYTES)
        self._digest = token_digest(text)
        os.write(self.descriptor, f"{text}\n".encode())

    def _read(self) -> None:
        """Keep the token: it is in no file that could be replaced."""

    def _exposure(self) -> str:
        """Return nothing: the file is in memory."""
        return ""

    def rotate(self) -> None:
        """Refuse the rotation.

        Raises:
            TokenError: always.
        """
        raise TokenError("the token of openimds exec cannot be rotated: it ends with the command")


def run_sandboxed(
    startup: Startup,
    command: Sequence[str],
    wanted: Sequence[str],
    notify: Notify,
    *,
    is_online: bool = False,
) -> int:
    """Run a command once for each of the wanted VMs; return its status.

    The status is that of wait(2), of the first command that failed, or 0. Without a wanted VM the
    fleet must have a single one. With `is_online` the commands reach this machine's network through
    pasta.

    Raises:
        ConfigError: a VM is unknown, or none is wanted of several; Azure's hosts do not go with
            another setting; or as `Server.start`.
        NamespaceError: this kernel or user cannot have private networks.
        Error: an address cannot be bound in a sandbox, or pasta is missing or fails.
    """
    check_pki_names(startup.settings, is_in_sandbox=True, is_online=is_online)
    if is_online:
        find_pasta()
    kinds = _vm_kinds(startup, notify)
    names = choose_vms([*kinds], wanted)
    addresses = _addresses(startup.settings)
    token = None if startup.settings.state or _ADMIN not in addresses else MemoryToken()
    has_azure_names = startup.settings.pki_names == "azure"
    trust = MemoryFile("trust") if has_azure_names else None
    hosts = MAPPED_HOSTS if has_azure_names else {}
    local = {_LOCAL: (IMDS_OF_LOCAL, 80)}
    wanted_addresses = [addresses | (local if kinds[name] == AZURE_LOCAL else {}) for name in names]
    specs = [
        SandboxSpec(name, tuple(command), tuple(those.values()), is_online, hosts=hosts)
        for name, those in zip(names, wanted_addresses, strict=True)
    ]
    with Supervisor(specs, notify) as supervisor:
        opened = [
            dict(zip(those, sockets, strict=True))
            for those, sockets in zip(wanted_addresses, supervisor.open(), strict=True)
        ]
        inherited = InheritedSockets(
            tuple(
                (sockets[use], name)
                for sockets, name in zip(opened, names, strict=True)
                for use in (_DATAPLANE, _LOCAL)
                if use in sockets
            ),
            tuple(sockets[_ADMIN] for sockets in opened if _ADMIN in sockets),
            tuple(sockets[use] for use in (_PUBLIC, _WEB) for sockets in opened if use in sockets),
            token=token,
            is_exclusive=True,
            public_tls=tuple(sockets[_WEB_TLS] for sockets in opened if _WEB_TLS in sockets),
            trust=trust,
        )
        sandboxes = list(zip(supervisor.sandboxes, opened, strict=True))

        def serve(on_variables: Callable[[list[dict[str, str]]], None]) -> None:
            def on_ready(ready: Ready) -> None:
                on_variables(
                    [
                        _variables(sandbox, sockets, ready, token, trust)
                        for sandbox, sockets in sandboxes
                    ]
                )

            run(startup, on_ready, notify, inherited)

        return supervisor.run(
            serve, [listening for sockets in opened for listening in sockets.values()]
        )


def choose_vms(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Return the wanted names without repetition; with none wanted, the only name.

    Raises:
        ConfigError: a wanted VM is not in `names`, or none is wanted of several.
    """
    some = ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
    known = set(names)
    for name in wanted:
        if name not in known:
            raise ConfigError(
                "--vm", f'"{name}"', f"a VM of the fleet: {some}", nearest(name, names)
            )
    if not wanted and len(names) != 1:
        seen = f"no name for a fleet of {len(names)} VMs"
        raise ConfigError("--vm", seen, f"names of VMs: {some}", f"Write --vm {names[0]}")
    return list(dict.fromkeys(wanted)) or list(names)


def _vm_kinds(startup: Startup, notify: Notify) -> dict[str, str]:
    """Return the kinds of the VMs that the server will have, by name."""
    if startup.settings.state:
        kinds = _stored_kinds(startup, notify)
    else:
        kinds = {vm.name: vm.kind for vm in startup.vms or ()}
    return kinds or {DEFAULT_VM: VM}


def _stored_kinds(startup: Startup, notify: Notify) -> dict[str, str]:
    """Return the kinds of the stored VMs after the file is applied to them.

    Raises:
        StoreError: another process holds the directory, or it cannot be used.
    """
    from openimds.fleet.store.opening import open_store  # noqa: PLC0415 - only where there is a state

    settings = startup.settings
    state = State(Path(settings.state).absolute(), settings.state_group)
    try:
        store = open_store(state.store_path, notify, is_recovery=settings.state_recover)
        kinds: dict[str, str] = {}
        after = ""
        while page := store.page(after, _PAGE):
            kinds |= {vm.name: _kind_of(vm.body) for vm in page}
            after = page[-1].name
        if startup.vms is not None:
            kinds = _kinds_with_file(kinds, store, startup.vms, startup)
        store.close()
    finally:
        state.close()
    return kinds


def _kinds_with_file(
    kinds: dict[str, str], store: Store, vms: Iterable[Vm], startup: Startup
) -> dict[str, str]:
    """Return the kinds of VMs after a file is applied."""
    fleet = read_stored_fleet(store, startup.origin)
    file = FileComparison(fleet, startup.text, frozenset())
    named = {vm.name: vm for vm in vms}
    for vm in named.values():
        file.add(vm.name, encode_vm(vm))
    for row in read_rows(store, [*file.unresolved]):
        named[row.vm.name] = file.resolve(row, named[row.vm.name])
    after = kinds | {write.name: named[write.name].kind for write in file.writes + file.others}
    order = dict.fromkeys([*named, *kinds])
    ends = fleet.removed(named.keys())
    return {name: after[name] for name in order if name in after and name not in ends}


def _kind_of(body: bytes) -> str:
    """Return the kind of a stored VM; an unreadable body is a VM."""
    try:
        return msgspec.json.decode(body, type=_Kind).kind
    except BAD_JSON:
        return VM


def _addresses(settings: Settings) -> dict[str, tuple[str, int]]:
    """Return the host and port of each socket that a sandbox opens, by its use.

    The public port has its default address: no other process can have it in a sandbox.

    Raises:
        ConfigError: a setting is no TCP address.
    """
    addresses = {_DATAPLANE: (IMDS, 80)}
    for name, text in ((_ADMIN, settings.admin), (_PUBLIC, settings.public)):
        if text == "auto":
            addresses[name] = DEFAULT_PUBLIC
        elif text != "none":
            addresses[name] = tcp_address(text, name)
    if settings.pki_names == "azure":
        addresses |= {_WEB: WEB, _WEB_TLS: WEB_TLS}
    return addresses


def _variables(
    sandbox: Sandbox,
    sockets: dict[str, socket.socket],
    ready: Ready,
    token: MemoryToken | None,
    trust: MemoryFile | None,
) -> dict[str, str]:
    """Return the environment variables by which commands in a sandbox find the server."""
    variables = {"OPENIMDS_VM": sandbox.spec.name}
    if _ADMIN in sockets:
        host, port = sockets[_ADMIN].getsockname()[:2]
        variables["OPENIMDS_ADMIN"] = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        variables["OPENIMDS_TOKEN_FILE"] = (
            f"{sandbox.proc}/fd/{token.descriptor}" if token else str(ready.token_file)
        )
    if trust:
        variables["SSL_CERT_FILE"] = f"{sandbox.proc}/fd/{trust.descriptor}"
    return variables | no_proxy_variables(os.environ, sandbox.spec.hosts)
