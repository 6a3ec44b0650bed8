"""All questions, one after the other."""

from collections.abc import Iterable, Iterator

from openimds.errors import Error
from openimds.interop.capture.client import CaptureClient
from openimds.interop.capture.plan import FIRST, PlannedQuestion
from openimds.interop.capture.throttle import AGAIN
from openimds.interop.transcript.exchange import Exchange

_MOST_FAILURES = 3
"""So many questions in a row without an answer, and nobody is asked any more."""


class CaptureError(Error):
    """An IMDS that does not answer."""


def first(asker: CaptureClient) -> Exchange:
    """Return what the first question, for the api-versions, brings.

    Raises:
        CaptureError: nobody answers.
    """
    exchange = asker.ask(FIRST)
    if exchange.failure:
        raise CaptureError(f"{asker.site.url}: {exchange.failure}")
    return exchange


def survey(asker: CaptureClient, plan: Iterable[PlannedQuestion]) -> Iterator[Exchange]:
    """Yield what each question of a plan brings.

    Raises:
        CaptureError: several in a row brought nothing, or were put off to the last.
    """
    failures = 0
    for asked in plan:
        exchange = asker.ask(asked)
        why = exchange.failure or _put_off(exchange)
        failures = failures + 1 if why else 0
        if failures == _MOST_FAILURES:
            raise CaptureError(
                f"{asker.site.url}: {why}, {failures} times in a row; the last was "
                f"{exchange.request}"
            )
        yield exchange


def _put_off(exchange: Exchange) -> str:
    """Return the status line of an answer that says to come back, however often one came back."""
    said, away = exchange.answer, exchange.turned_away
    return said.line if said and away and said.status in AGAIN else ""
