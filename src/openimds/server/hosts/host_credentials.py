"""The credentials of a fleet host's guests, put together; control is asked through a follower."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from openimds.credentials.keys.files import MakeKey
from openimds.credentials.pki.certificates import LeafSubject
from openimds.credentials.pki.leaf_requests import LeafReply, LeafRequest
from openimds.credentials.remote.given_secrets import GivenSecrets
from openimds.credentials.remote.host_credentials import HostCredentials
from openimds.credentials.remote.host_documents import HostDocuments, leaf_subjects
from openimds.credentials.remote.host_leaves import HostLeaves
from openimds.credentials.remote.host_tokens import HostTokens
from openimds.credentials.remote.kept_tokens import MOST_WRITES, KeptTokens
from openimds.credentials.tokens.arc_challenge import ChallengeFiles
from openimds.credentials.worker import Worker
from openimds.errors import Error
from openimds.protocol.pending import AccessToken, Failed, Pending, PendingToken, Result
from openimds.server.hosts.messages import Certify, MadeByControl, Make
from openimds.server.notify import Notify
from openimds.server.seam.messages import SeamMessage
from openimds.vm.types import Vm


class AwayError(Error):
    """Control is not followed yet."""


class FleetCredentials:
    """Tokens, documents and secrets of the VMs on a host."""

    def __init__(  # noqa: PLR0913 - a folder, a key source, two clocks and two callbacks
        self,
        folder: Path | None,
        arc_folder: str,
        notify: Notify,
        *,
        make_key: MakeKey,
        steady: Callable[[], float],
        life_clock: Callable[[], float] | None,
    ) -> None:
        """Read the leaves of the state folder; `life_clock` is that of `HostTokens`.

        Raises:
            KeyFileError: the key of the leaves cannot be read.
        """
        self.ask: Callable[[SeamMessage], Awaitable[Any]] = _away
        """Returns the result of a message to control; the follower sets it."""
        self.secrets = GivenSecrets()
        worker = Worker()
        tokens = HostTokens(self._mint, steady=steady, jitter=random.random, life_clock=life_clock)
        documents = HostDocuments(
            HostLeaves(folder, make_key, notify),
            self._certify,
            worker,
            steady=steady,
            life_clock=life_clock,
        )
        challenges = ChallengeFiles(Path(arc_folder)) if arc_folder else None
        self.provider = HostCredentials(tokens, documents, self._make, worker, challenges)
        self._subjects: dict[str, list[LeafSubject]] = {}
        self._counts: Counter[LeafSubject] = Counter()
        """The number of VMs that need each leaf."""
        self._kept = KeptTokens(folder, notify)

    def put(
        self,
        vms: Iterable[Vm],
        secrets: Mapping[str, str],
        tokens: Iterable[PendingToken],
        now_s: float,
        digests: Mapping[str, bytes],
    ) -> None:
        """Take VMs that are placed here, their secrets, and the tokens that they asked for.

        `digests` are those of the VMs: the tokens in the state folder of one that is unchanged
        count again.
        """
        asked: dict[str, list[PendingToken]] = {}
        for pending in tokens:
            asked.setdefault(pending.vm, []).append(pending)
        for vm in vms:
            self._count(vm.name, leaf_subjects([vm]))
            if secret := secrets.get(vm.name):
                self.secrets.put(vm.name, secret)
            self.provider.tokens.adopt(self._kept.place(vm.name, digests[vm.name]), now_s)
            self.provider.place(vm.name, now_s, asked.get(vm.name, ()))
        self._want()

    def leave(self, names: AbstractSet[str]) -> None:
        """Forget VMs that are on this host no longer."""
        if not names:
            return
        for name in names:
            self._count(name, [])
        self.secrets.forget(names)
        self.provider.leave(names)
        self._kept.leave(names)
        self._want()

    def settle(self) -> None:
        """Forget the tokens of VMs that did not come back after a restart."""
        self._kept.settle()

    async def keep(self, most: int = MOST_WRITES) -> None:
        """Write the tokens that have changed, at most so many files."""
        tokens = self.provider.tokens
        self._kept.change(tokens.take_changed())
        await self._kept.write(tokens.kept, most)

    def _want(self) -> None:
        """Have leaves for the subjects of most VMs first."""
        self.provider.want(subject for subject, _ in self._counts.most_common())

    def _count(self, name: str, subjects: list[LeafSubject]) -> None:
        """Count the subjects of a VM instead of those that it had."""
        self._counts.update(subjects)
        for subject in self._subjects.pop(name, ()):
            self._counts[subject] -= 1
            if not self._counts[subject]:
                del self._counts[subject]
        if subjects:
            self._subjects[name] = subjects

    async def _mint(self, pending: PendingToken, _now_s: float) -> AccessToken | Failed:
        result = await self._made(pending)
        assert isinstance(result, AccessToken | Failed)
        return result

    async def _make(self, pending: Pending, _now_s: float) -> Result:
        return await self._made(pending)

    async def _made(self, pending: Pending) -> Result:
        assert isinstance(pending, MadeByControl)
        result: Result = await self.ask(Make(pending))
        return result

    async def _certify(self, request: LeafRequest, _now_s: float) -> LeafReply:
        reply: LeafReply = await self.ask(Certify(request))
        return reply


async def _away(_: SeamMessage) -> None:
    raise AwayError("control is not followed yet")
