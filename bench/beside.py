"""Quiet guests beside a load: their waits, and the CPU time of the server."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from msgspec import Struct, field

from bench import fleets
from bench.figures import Row, percentile, ratio, spread
from bench.guests import Kind, Waits, quiet_guests
from bench.loads import Load
from bench.quiet import Watch, quiet_rounds
from bench.servers import Server

_LEAD_S = 0.5
"""The load begins before the measurement and outlasts it."""

Start = Callable[[], AbstractContextManager[Load | None]]
"""Starts a load that lasts as long as the block."""


def nothing() -> AbstractContextManager[None]:
    """Start no load."""
    return nullcontext()


class Round(Struct, frozen=True):
    """One round: waits by kind of guest, the server's cores, others' share, the load."""

    waits: dict[str, Waits]
    cores: float
    others: float
    sent_per_s: float = 0.0
    answered_per_s: float = 0.0
    refused_share: float = 0.0


class Beside(Struct):
    """The rounds beside one load; `address` returns the address of the VM of a number."""

    start: Start = nothing
    rounds: list[Round] = field(default_factory=list)
    address: Callable[[int], str] = fleets.address

    def run(self, server: Server, kinds: Sequence[Kind], first: int, seconds: float) -> None:
        """Run a round; the guests have the numbers from `first` on in the fleet."""
        watch = Watch(server.cpu_s)
        asking = quiet_guests(server.address, kinds, first, self.address)
        with asking as guests, self.start() as load:
            time.sleep(_LEAD_S)
            before_s, start_s = server.cpu_s(), time.perf_counter()
            waits = guests.ask(seconds)
            cores = (server.cpu_s() - before_s) / (time.perf_counter() - start_s)
        share = watch.share()
        if load is None:
            self.rounds.append(Round(waits, cores, share))
            return
        counts = load.counts
        self.rounds.append(
            Round(
                waits,
                cores,
                share,
                counts.sent / counts.seconds,
                counts.answered / counts.seconds,
                counts.refused / max(1, counts.answered),
            )
        )

    def others(self) -> list[float]:
        """Return the share of our cores that other processes took."""
        return [one.others for one in self.rounds]

    def ms(self, kind: Kind, percent: float, rounds: list[int]) -> list[float]:
        """Return a percentile of the waits of a kind of guests, in milliseconds."""
        waits = (self.rounds[number].waits[kind.name].seconds for number in rounds)
        return [percentile(seconds, percent) * 1e3 for seconds in waits]

    def waits(self, kind: Kind, idle: "Beside | None" = None) -> Row:
        """Return the figures of a kind of guests, beside those without the load."""
        row = {
            "p50_ms": spread(self.ms(kind, 50, self._quiet())),
            "p99_ms": spread(self.ms(kind, 99, self._quiet())),
            "failed": spread(self._failed(kind)),
        }
        if idle:
            both = quiet_rounds(self.others(), idle.others())
            row["idle_p99_ms"] = spread(idle.ms(kind, 99, both))
            row["p99_times_idle"] = ratio(self.ms(kind, 99, both), idle.ms(kind, 99, both))
        return row

    def costs(self, idle: "Beside | None" = None) -> Row:
        """Return the figures of the server and of the load."""
        rounds = self._quiet()
        row = {
            "cores": spread(self.rounds[number].cores for number in rounds),
            "others": spread(self.rounds[number].others for number in rounds),
        }
        if idle:
            both = quiet_rounds(self.others(), idle.others())
            pairs = [(self.rounds[number], idle.rounds[number]) for number in both]
            row["cores_beyond_idle"] = spread(one.cores - other.cores for one, other in pairs)
            row["sent_per_s"] = spread(self.rounds[number].sent_per_s for number in rounds)
        return row

    def answered(self) -> Row:
        """Return the rate of the load's responses, and the share of refusals among them."""
        rounds = [self.rounds[number] for number in self._quiet()]
        return {
            "made_per_s": spread(one.answered_per_s * (1 - one.refused_share) for one in rounds),
            "refused": spread(one.refused_share for one in rounds),
        }

    def _quiet(self) -> list[int]:
        return quiet_rounds(self.others())

    def _failed(self, kind: Kind) -> list[float]:
        waits = [self.rounds[number].waits[kind.name] for number in self._quiet()]
        return [one.failed / len(one.seconds) for one in waits]
