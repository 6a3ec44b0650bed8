"""Commands where 169.254.169.254:80 is real: a cell for each, and one server for all of them."""

import os
import secrets
import socket
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path

from openimds.admin.token import AdminToken, TokenError
from openimds.config import DEFAULT_VM, Config
from openimds.dataplane.listeners import Tcp, address
from openimds.errors import ConfigError
from openimds.fleet.store.state import State
from openimds.linux.loopback import IMDS
from openimds.linux.private_netns import no_proxy_variables
from openimds.linux.sandbox import Sandbox, SandboxSpec, Supervisor
from openimds.linux.sandbox.pasta import find_pasta
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.process import run
from openimds.server.server import Notify, Ready

PUBLIC = ("127.0.0.1", 8171)
"""Where keys are published in a cell, unless the settings say: nobody else can have it there."""
_PLANE = (IMDS, 80)
_TOKEN_BYTES = 32
_MOST_NAMED = 3
_PAGE = 1000


class MemoryToken(AdminToken):
    """A token in memory, which has a name in /proc as long as a process holds it; no file."""

    def __init__(self) -> None:
        """Make it; who is forked from here on holds it, too."""
        self.descriptor = os.memfd_create("admin-token")
        os.fchmod(self.descriptor, 0o600)
        os.write(self.descriptor, f"{secrets.token_urlsafe(_TOKEN_BYTES)}\n".encode())
        super().__init__(Path(f"/proc/self/fd/{self.descriptor}"))

    def rotate(self) -> None:
        """Refuse it.

        Raises:
            TokenError: always.
        """
        raise TokenError("this token ends with the command that it was made for, and not before")


def within(
    config: Config,
    command: Sequence[str],
    wanted: Sequence[str],
    notify: Notify,
    *,
    is_online: bool = False,
) -> int:
    """Run a command once for each of the wanted VMs, or for the only one; return its status.

    It is a status as wait(2) has it: of the first that failed, or 0.

    Raises:
        ConfigError: a VM is unknown, or which is meant is not said; or as `Server.start`.
        NamespaceError: there can be no private network here.
        Error: a setting wants an address that a cell cannot have, or there is no way out.
    """
    if is_online:
        find_pasta()
    names = choose(_names(config), wanted)
    doors = _admin_ports(config)
    token = None if config.state or "admin" not in doors else MemoryToken()
    specs = [SandboxSpec(name, tuple(command), tuple(doors.values()), is_online) for name in names]
    with Supervisor(specs, notify) as warden:
        opened = [dict(zip(doors, sockets, strict=True)) for sockets in warden.open()]
        given = InheritedSockets(
            tuple((one["plane"], name) for one, name in zip(opened, names, strict=True)),
            tuple(one["admin"] for one in opened if "admin" in one),
            tuple(one["public"] for one in opened if "public" in one),
            token=token,
            is_all=True,
        )
        cells = list(zip(warden.sandboxes, opened, strict=True))

        def serve(say: Callable[[list[dict[str, str]]], None]) -> None:
            def answer(ready: Ready) -> None:
                say([_variables(cell, doors, ready, token) for cell, doors in cells])

            run(config, answer, notify, given)

        return warden.run(serve, [one for sockets in opened for one in sockets.values()])


def choose(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Return the wanted names, each once; with none wanted, the only one that there is.

    Raises:
        ConfigError: there is no VM of a name, or there are several and none is wanted.
    """
    some = ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
    known = set(names)
    for name in wanted:
        if name not in known:
            close = get_close_matches(name, names, 1)
            hint = f'Did you mean "{close[0]}"?' if close else ""
            raise ConfigError("--vm", f'"{name}"', f"a VM of the fleet: {some}", hint)
    if not wanted and len(names) != 1:
        seen = f"none of {len(names)} VMs"
        raise ConfigError("--vm", seen, f"the names of some: {some}", f"Write --vm {names[0]}")
    return list(dict.fromkeys(wanted)) or list(names)


def _names(config: Config) -> list[str]:
    """Return the names of the VMs that the server will have."""
    said = [vm.name for vm in config.vms or ()]
    kept = _kept(config) if config.state else []
    return list(dict.fromkeys([*said, *kept])) or [DEFAULT_VM]


def _kept(config: Config) -> list[str]:
    """Return the names in the state directory but for those that the file will replace.

    Raises:
        StoreError: it is held by another process, or cannot be used.
    """
    from openimds.fleet.store.sqlite import SqliteStore  # noqa: PLC0415 - only where there is a state

    state = State(Path(config.state).absolute())
    try:
        store = SqliteStore(state.store_path)
        names, after = [], ""
        while page := store.page(after, _PAGE):
            names += [one.name for one in page if config.vms is None or one.origin != config.origin]
            after = page[-1].name
        store.close()
    finally:
        state.close()
    return names


def _admin_ports(config: Config) -> dict[str, tuple[str, int]]:
    """Return where each setting's socket listens in a cell.

    Raises:
        ConfigError: it is no TCP address.
    """
    doors = {"plane": _PLANE}
    said = {"admin": config.admin, "public": config.public}
    for setting, text in said.items():
        if text == "auto":
            doors[setting] = PUBLIC
        elif text != "none":
            found = address(text, setting)
            if not isinstance(found, Tcp):
                raise ConfigError(setting, f'"{text}"', "HOST:PORT or none")
            doors[setting] = (found.host, found.port)
    return doors


def _variables(
    cell: Sandbox, doors: dict[str, socket.socket], ready: Ready, token: MemoryToken | None
) -> dict[str, str]:
    """Return the variables by which commands in a cell find the server."""
    found = {"OPENIMDS_VM": cell.spec.name}
    if "admin" in doors:
        host, port = doors["admin"].getsockname()[:2]
        found["OPENIMDS_ADMIN"] = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        found["OPENIMDS_TOKEN_FILE"] = (
            f"{cell.proc}/fd/{token.descriptor}" if token else str(ready.token_file)
        )
    return found | no_proxy_variables(os.environ)
