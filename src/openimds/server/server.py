"""All parts of one server, put together inside a running loop."""

import asyncio
import time
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from math import inf
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from openimds.admin.token import Token
from openimds.config import DEFAULT_VM, Config, Written
from openimds.credentials.entra.client import FEDERATION, NOBODY_ASKS, Entra, Nobody
from openimds.credentials.pki.lazy import Issuing
from openimds.credentials.service import Office
from openimds.credentials.tokens.arc_challenge import Challenges
from openimds.credentials.tokens.caller_secrets import Secrets
from openimds.dataplane.dispatcher import Plane, WirePicture
from openimds.dataplane.recording.recorder import Recorder
from openimds.errors import ConfigError, Error
from openimds.events.clock import Clock
from openimds.events.scenario import FLEET
from openimds.events.service import Agenda
from openimds.events.webhook import Hook, delivery
from openimds.facts.protocols import WAYS
from openimds.faults import Faults
from openimds.fleet.index import Picture
from openimds.fleet.service import DEFAULT, Desk
from openimds.fleet.store.port import Change, Store
from openimds.fleet.store.sqlite import MemoryStore, SqliteStore
from openimds.fleet.store.state import TOKEN_NAME, State, default_folder
from openimds.protocol.access_token import Terms
from openimds.protocol.events.document import Activity
from openimds.protocol.identity_dialects import variables
from openimds.server.admin_ports import Doors
from openimds.server.fleet_file_watcher import Edits
from openimds.server.inherited_sockets import Given
from openimds.server.listener_faults import Shutters
from openimds.server.listener_set import Listening
from openimds.server.metrics_source import Numbers
from openimds.server.pending_dispatch import Making
from openimds.vm.types import Vm

_SWEEP_S = 1.0
_DRAIN_S = 5.0

Tell = Callable[[str], None]
"""Says a sentence to the operator."""


class Ready(Struct, frozen=True):
    """What a server says when it answers."""

    imds: str
    admin: str | None
    token_file: str | None
    public: str | None = None


class Server:
    """All rooms put together, inside a running loop."""

    def __init__(self, config: Config, tell: Tell, given: Given = Given()) -> None:  # noqa: B008 - frozen
        """Take the state directory and open the store; keep nothing of it where that fails.

        Raises:
            ConfigError: a port cannot be had, or settings do not fit together.
            StoreError: the directory is held by another process, or the store cannot be used.
        """
        self.config, self.tell, self._given = config, tell, given
        self._tell_once = lru_cache(64)(tell)  # A text that is remembered is not told again.
        self._ends = ExitStack()  # Closes what is open, and what was opened first last.
        try:
            self._take(config)
            self._sign(config)
            self._plan(config)
            self._serve(config)
        except BaseException:
            self._ends.close()
            raise
        self._edits: Edits | None = None
        self.loop_lag_s = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    def _take(self, config: Config) -> None:
        """Take what nobody else can have at the same time."""
        self.state = State(Path(config.state).absolute()) if config.state else None
        if self.state:
            self._ends.callback(self.state.close)
        self._doors = Doors(config, self._given, self.tell)
        self._ends.callback(self._doors.shut)
        self.clock = Clock(time.time, is_virtual=config.virtual_clock)

    def _sign(self, config: Config) -> None:
        """Put together what signs, and what it is asked by."""
        self.public_url = config.public_url or self._doors.public_url or ""
        issuer = self.public_url if config.issuer == "public" else config.issuer
        terms = Terms(config.token_life_s, "" if issuer == "azure" else issuer, config.v2_resources)
        self.entra = self._bind_entra(terms.issuer)
        if self.entra:
            self._ends.callback(self.entra.close)
        elsewhere = self.entra or Nobody(self.tell, is_told=NOBODY_ASKS in config.remarks)
        arc = Challenges(Path(config.arc_folder)) if config.arc_folder else None
        self.office = Office(self._issuing(), terms, elsewhere, arc)
        self._ends.callback(self.office.close)
        self.secrets = Secrets.open(self.state.folder if self.state else None)
        self.office.registry.check(time.time())

    def _plan(self, config: Config) -> None:
        """Put together what the fleet is, and what is to happen to it."""
        self._picture: WirePicture = Picture(config.catalog, config.cache_bytes)
        forget = self.office.tokens.forget if config.forget_tokens else lambda _: None
        steady = asyncio.get_running_loop().time
        self.desk = Desk(self._store(), self._picture, self.clock, self._have, forget, steady)
        self._ends.callback(self.desk.close)
        activity = Activity() if config.events_activation else None
        self.agenda = Agenda(self.desk, self.clock, self.tell, activity)
        self.hook = (
            Hook(delivery(config.event_hook), self.desk, self.tell) if config.event_hook else None
        )

    def _serve(self, config: Config) -> None:
        """Put together what answers, who looks on, and what goes wrong on request."""
        self.plane = Plane(
            self._picture,
            now=asyncio.get_running_loop().time,
            utc=self.clock if config.virtual_clock else time.time,
            allowances=config.allowances,
            maker=Making(self.office, self.agenda),
            bounds=config.bounds,
            extras=config.extras,
            secret_of=self.secrets.of,
        )
        self.plane.on_stranger = self._on_stranger
        self.plane.on_mistake = self._on_mistake
        self.recorder = Recorder(config.record)
        self.recorder.on_looking = self._look
        self._look(self.recorder.is_looking)
        self.listening = Listening(self.plane, config.listen, self._given, self.tell)
        self.faults = Faults(self.desk, self.plane.utc, self.plane.trouble)
        open_now, reopen = self.listening.by_text, self.listening.reopen
        self.shutters = Shutters(self.faults.engine, self.clock, open_now, reopen, self.tell)
        self.faults.on_change = self._shut
        self.agenda.on_clock = self._on_clock

    def _store(self) -> Store:
        if self.state is None:
            return MemoryStore()
        return SqliteStore(self.state.store_path)

    async def start(self) -> Ready:
        """Load the fleet, open every listener, and say where they are.

        Raises:
            ConfigError: a listener cannot be opened, or two VMs claim one way in.
            StoreError: the store cannot be read or written.
        """
        await self._load()
        await self._load_events()
        for remark in (*self.config.remarks, *self.plane.picture.remarks()):
            self.tell(remark)
        first = await self.listening.open()
        self.shutters.look()
        ready = Ready(first.url, None, None, self._doors.public_url)
        if self._doors.has_admin:
            ready = self._open_admin(ready)
        self._doors.open_public(self._publications)
        if self.plane.picture.has_identities:
            self._tasks.append(asyncio.create_task(self.office.warm(self.plane.utc())))
        self._tasks.append(asyncio.create_task(self._sweep()))
        if self.config.fleet:
            seen = self.config.fingerprint
            self._edits = Edits(self.config.fleet, seen, self._apply, self.tell)
            self._tasks.append(asyncio.create_task(self._edits.follow()))
        return ready

    async def _load(self) -> None:
        await self.desk.load(is_last=self.config.vms is None)
        if self.config.vms is not None:
            await self._sync(self.config.vms, "start")
            self.config.vms.clear()
        elif not self.plane.picture.by_name:
            await self.desk.sync([Vm(DEFAULT_VM)], DEFAULT, "start")

    async def _load_events(self) -> None:
        await self.agenda.load()
        if self.hook:
            self.agenda.ledger.on_happening = self.hook.wake
            self._tasks.append(asyncio.create_task(self.hook.run()))
        if self.config.plans:
            try:
                await self.agenda.begin(FLEET, self.config.plans, is_once=True)
            except ConfigError as error:
                raise error.inside(self.config.scenario or self.config.source) from None
        with self._of_file():
            await self.faults.load(self.config.faults)

    def _issuing(self) -> Issuing:
        key, certificates = self.config.attest_key, self.config.attest_certificates
        if bool(key) != bool(certificates):
            said = "attest_key" if key else "attest_certificates"
            raise ConfigError(said, "it alone", "attest_key and attest_certificates together")
        return Issuing(
            self.state.folder if self.state else None,
            self.public_url,
            Path(certificates) if certificates else None,
            Path(key) if key else None,
            self._given.make_key,
        )

    def _bind_entra(self, issuer: str) -> Entra | None:
        if not self.config.entra:
            return None
        if self.config.entra == FEDERATION and not issuer.startswith("https://"):
            self.tell(f"Entra fetches the keys of an issuer by https, and this one is {issuer}")
        return Entra(
            self.config.entra,
            issuer=issuer,
            # The office comes after: it has to know whom to ask.
            sign=lambda claims, now_s: self.office.sign(claims, now_s),  # noqa: PLW0108 - as said
            tell=self.tell,
        )

    def _publications(self) -> Any:  # noqa: ANN401 - any ASGI application
        from openimds.admin.public_app import application  # noqa: PLC0415 - on the first knock
        from openimds.credentials.publication import Publications  # noqa: PLC0415 - as above

        clouds = self.plane.picture.clouds
        said = Publications(self.public_url, self.office, clouds, self.plane.utc)
        return application(said, self.tell)

    def _open_admin(self, ready: Ready) -> Ready:
        kept = (self.state.folder if self.state else default_folder()) / TOKEN_NAME
        token = self._given.token or Token(kept)
        url = self._doors.open_admin(lambda: self._application(token))
        return structs.replace(ready, admin=url, token_file=str(token.path))

    def _application(self, token: Token) -> Any:  # noqa: ANN401 - any ASGI application
        from openimds.admin.app import application  # noqa: PLC0415 - on the first knock

        return application(
            self.desk,
            token,
            self._doors.admin_names,
            Numbers(
                self.plane,
                self.desk,
                self.agenda,
                self.hook,
                self.recorder,
                self.faults.played,
                lambda: self.loop_lag_s,
            ),
            self.office,
            self.ways_of,
            agenda=self.agenda,
            recording=self.recorder,
            faults=self.faults,
        )

    def ways_of(self, vm: Vm) -> dict[str, dict[str, str]]:
        """Return the variables of each way to tokens that this server has, for a VM's clients."""
        urls = self.listening.urls(vm.reach.listen)
        url = next((one for one in urls if one.startswith("http")), "")
        secret, extras = self.secrets.of(vm.name), {"", *self.config.extras}
        ways = [row.key for row in WAYS.values() if row.setting in extras]
        return {key: variables(key, url, secret) for key in ways} if url else {}

    async def _have(self, wanted: dict[str, str], keep: AbstractSet[str]) -> None:
        await self.listening.have(wanted, keep)

    async def stop(self, patience_s: float = _DRAIN_S) -> None:
        """Take no new connection, let the open ones end for so long, and cut those that do not."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.shutters.close()
        self.desk.end_feeds()
        self.recorder.end_feeds()
        await self._doors.close()
        self.listening.close()
        self.plane.connections.drain()
        deadline = self.plane.now() + patience_s
        while len(self.plane.connections) and self.plane.now() < deadline:
            self.plane.connections.sweep(self.plane.now())
            await asyncio.sleep(0.01)
        for _ in ("told", "cut"):
            self.plane.connections.sweep(inf)
        await self.agenda.close()
        self._ends.close()

    async def _sweep(self) -> None:
        while True:
            due = self.plane.now() + _SWEEP_S
            await asyncio.sleep(_SWEEP_S)
            self.loop_lag_s = max(0.0, self.plane.now() - due)
            self.plane.connections.sweep(self.plane.now())

    async def reload(self) -> None:
        """Apply edits of the fleet file now, and listen anew where a namespace was made anew."""
        if self._edits:
            await self._edits.look()
        await self.listening.renew()

    async def _apply(self, said: Written, who: str) -> list[Change]:
        with self._of_file():
            self.faults.check(said.faults, (vm.name for vm in said.vms))
        changes = await self._sync(said.vms, who)
        await self.faults.follow(said.faults)
        return changes

    async def _sync(self, vms: list[Vm], who: str) -> list[Change]:
        with self._of_file():
            return await self.desk.sync(vms, self.config.origin, who)

    @contextmanager
    def _of_file(self) -> Iterator[None]:
        """Name the file in whatever is wrong with what it says."""
        try:
            yield
        except ConfigError as error:
            raise error.inside(self.config.source) from None

    async def _on_clock(self) -> None:
        self.plane.picture.forget_replies()
        await self._shut()

    async def _shut(self) -> None:
        """Shut what is to be shut now; whoever has asked for it finds it so."""
        self.shutters.look()
        await self.shutters.settle()

    def _look(self, is_looking: bool) -> None:  # noqa: FBT001 - a fact that is told
        self.plane.watch(self.recorder if is_looking else None)

    def _on_mistake(self, error: BaseException) -> None:
        if isinstance(error, Error):  # The operator's or the world's, and not ours.
            self._tell_once(str(error))
        else:
            self.tell(f"a mistake of ours: {error!r}")

    def _on_stranger(self, caller: str) -> None:
        self.tell(
            f"unknown caller {caller}: no VM of the fleet has that address, so it gets 404. "
            "Write it under reach.address of the VM that it is"
        )
