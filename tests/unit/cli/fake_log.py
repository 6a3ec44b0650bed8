"""A fake admin API with a log of numbered entries, and a feed."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from openimds.cli.client import MissingError

Entry = dict[str, Any]


class LogApi:
    """Answers pages of `entries` after a cursor, and follows `feed`.

    As in the admin API, a page is cut before the `hidden` numbers are dropped from it.
    """

    def __init__(self, number: str = "number") -> None:
        self.number = number
        self.entries: list[Entry] = []
        self.hidden: set[int] = set()
        self.feed: list[Entry] = []
        self.missed: list[Entry] = []
        """Entries that come before the feed begins."""
        self.calls: list[str] = []
        self.answers: dict[str, Any] = {}
        self.bodies: list[object] = []

    def ask(self, method: str, path: str, body: object = None) -> Any:
        self.calls.append(f"{method} {path}")
        parts = urlsplit(path)
        if parts.query.startswith("limit="):
            query = parse_qs(parts.query)
            cursor = int(query.get("cursor", ["0"])[0])
            found = [entry for entry in self.entries if entry[self.number] > cursor]
            page = found[: int(query["limit"][0])]
            following = str(page[-1][self.number]) if len(found) > len(page) else None
            return {"items": [*filter(self._is_shown, page)], "next": following}
        if path not in self.answers:
            raise MissingError(f"there is no {path}")
        self.bodies.append(body)
        return self.answers[path]

    def items(self, path: str, only: Mapping[str, Any] | None = None) -> Iterator[Entry]:
        self.calls.append(f"ITEMS {path}")
        after = (only or {}).get("cursor", 0)
        found = (entry for entry in self.entries if entry.get(self.number, 1) > after)
        return filter(self._is_shown, found)

    def _is_shown(self, entry: Entry) -> bool:
        return entry.get(self.number) not in self.hidden

    def follow(self, path: str) -> Iterator[Entry]:
        self.calls.append(f"FOLLOW {path}")
        self.entries += self.missed
        for entry in self.feed:
            if entry.get(self.number) and entry not in self.entries:
                self.entries.append(entry)
            yield entry
