"""A collector of metrics: one scrape, by its URL."""

import asyncio
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families


async def scraped(url: str) -> dict[tuple[str, ...], float]:
    """Return the samples of a scrape by their name and the values of their labels."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert head.startswith("HTTP/1.1 200 "), head
    return {
        (one.name, *one.labels.values()): one.value
        for family in text_string_to_metric_families(body)
        for one in family.samples
    }
