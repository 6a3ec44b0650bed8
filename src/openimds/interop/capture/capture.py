"""The questions of a plan, asked one after the other."""

from collections.abc import Iterable, Iterator

from openimds.errors import Error
from openimds.interop.capture.client import CaptureClient
from openimds.interop.capture.plan import FIRST, PlannedQuestion
from openimds.interop.capture.throttle import RETRY_DELAYS
from openimds.interop.transcript.exchange import Exchange

_MOST_FAILURES = 3
"""After this many questions in a row without an answer, the capture ends."""


class CaptureError(Error):
    """An IMDS that does not answer."""


def ask_first(client: CaptureClient) -> Exchange:
    """Ask for the api-versions, which is the first question of every plan.

    Raises:
        CaptureError: there is no answer.
    """
    exchange = client.ask(FIRST)
    if exchange.failure:
        raise CaptureError(f"{client.address.url}: {exchange.failure}")
    return exchange


def ask_all(client: CaptureClient, plan: Iterable[PlannedQuestion]) -> Iterator[Exchange]:
    """Yield the exchange of each question of a plan.

    Raises:
        CaptureError: several in a row had no answer, or were turned away at every try.
    """
    failures = 0
    for question in plan:
        exchange = client.ask(question)
        why = exchange.failure or _turned_away(exchange)
        failures = failures + 1 if why else 0
        if failures == _MOST_FAILURES:
            raise CaptureError(
                f"{client.address.url}: {why}, {failures} times in a row; the last was "
                f"{exchange.request}"
            )
        yield exchange


def _turned_away(exchange: Exchange) -> str:
    """Return the status line of an exchange that ended with "try again", else nothing."""
    last, earlier = exchange.answer, exchange.turned_away
    return last.line if last and earlier and last.status in RETRY_DELAYS else ""
