"""Servers with VMs, events, requests and faults, for the tests of the page."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx2

from openimds.admin.page.page_rows import PAGES
from tests.system.process import Server, serving

NAME = "/metadata/instance/compute/name?api-version=2021-02-01"


class Site:
    """A server, its token, and guests at addresses of loopback."""

    def __init__(self, server: Server, names: list[str]) -> None:
        self.server, self.names = server, names
        self.origin: str = server.ready["admin"]
        self.token = Path(server.ready["token_file"]).read_text().strip()
        self.api = httpx2.Client(
            base_url=self.origin, headers=server.authorization, verify=False, timeout=30
        )

    @property
    def paths(self) -> list[str]:
        """The paths of all pages, those of a VM with the first one."""
        names = self.names[:1]
        return [
            "/ui" + row.path.replace("{name}", quote(name, safe=""))
            for row in PAGES
            for name in (names if "{name}" in row.path else [""])
        ]

    def post(self, path: str, /, **body: object) -> None:
        """Call an operation of the API."""
        self.api.post(path, json=body).raise_for_status()

    def ask(self, place: int, target: str, **headers: str) -> int:
        """Send a request as the VM at a place; return the status."""
        url = urlsplit(self.server.url)
        link = HTTPConnection(str(url.hostname), url.port, source_address=(address(place), 0))
        try:
            link.request("GET", target, headers={"Metadata": "true", **headers})
            return link.getresponse().status
        finally:
            link.close()


def address(place: int) -> str:
    """Return the address of the VM at a place."""
    return f"127.1.{place // 250}.{place % 250 + 1}"


@contextmanager
def site(folder: Path, names: list[str], *options: str, **compute: object) -> Iterator[Site]:
    """Serve VMs with these names; each has an address of its own."""
    vms = {
        name: {
            "compute": {"vmSize": "Standard_D2s_v5", "location": "westeurope", **compute},
            "reach": {"address": [address(place)]},
            "identities": {"system": True},
        }
        for place, name in enumerate(names)
    }
    (folder / "fleet.json").write_text(json.dumps({"vms": vms}))
    fleet = ("--fleet", "fleet.json") if names else ()
    words = ("--record", "100", "--virtual-clock", "--no-rate-limit", *options)
    with serving(*fleet, *words, cwd=folder) as server:
        made = Site(server, names)
        with made.api:
            if not names:
                made.api.delete("/v1/vms/vm-1").raise_for_status()
            yield made


def fill(made: Site) -> None:
    """Give a site with VMs something of everything: events, requests, faults and leaves."""
    made.ask(0, NAME)
    made.ask(0, f"{NAME}&format=text")
    made.ask(0, "/metadata/attested/document?api-version=2020-09-01")
    made.ask(0, "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://a.example")
    made.post("/v1/events", type="Reboot", vms=made.names[:1], inS=900)
    made.post("/v1/events", type="Freeze", vms=made.names[1:3], inS=900, needs="all")
    made.post("/v1/faults", effect="status", status=410, vms=made.names[:1])
    made.post("/v1/faults", playbook="boot-race")
