"""Pictures of the page in docs/use, taken of a fleet that is always the same.

A server with ten VMs serves it; requests, events and faults are of the kinds that a team meets.
Chromium draws the pages, so anybody with Debian's package makes the same pictures, but for times:
`python -m tests.system.browser.screenshots docs/use/page`.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec import Struct
from playwright.sync_api import Browser

from tests.system.browser.kit import Scheme, chromium, visiting
from tests.system.browser.sites import NAME, Site, address
from tests.system.process import serving

WIDTH, HEIGHT = 1280, 640
_SIZES = {"web": "Standard_D2s_v5", "api": "Standard_D4s_v5", "db": "Standard_E8s_v5"}
_TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource="


class Shot(Struct, frozen=True):
    """A picture: its file, the path of its page, and its colours."""

    name: str
    path: str
    scheme: Scheme = "light"


SHOTS = (
    Shot("fleet", "/ui/"),
    Shot("vm", "/ui/vms/web-1"),
    Shot("events", "/ui/events"),
    Shot("requests", "/ui/requests"),
    Shot("fleet-dark", "/ui/", "dark"),
)


def fleet() -> dict[str, object]:
    """Return a fleet of three tiers in two regions."""
    names = [
        f"{tier}-{number}"
        for tier, most in (("web", 4), ("api", 3), ("db", 3))
        for number in range(1, most + 1)
    ]
    return {
        name: {
            "compute": {
                "vmSize": _SIZES[name.partition("-")[0]],
                "location": "northeurope" if name.endswith("3") else "westeurope",
                "zone": name[-1],
                "resourceGroupName": "shop",
                "tags": {
                    "env": "test" if name.endswith("4") else "prod",
                    "tier": name.partition("-")[0],
                },
            },
            "identities": {"system": not name.startswith("web")},
            "availabilitySet": name.partition("-")[0],
            "reach": {"address": [address(place)]},
        }
        for place, name in enumerate(names)
    }


@contextmanager
def shop(folder: Path) -> Iterator[Site]:
    """Serve the fleet, with requests, events and a fault."""
    vms = fleet()
    (folder / "fleet.json").write_text(json.dumps({"vms": vms}))
    with serving("--fleet", "fleet.json", "--record", "100", cwd=folder) as server:
        made = Site(server, [*vms])
        with made.api:
            for place in range(len(made.names)):
                made.ask(place, f"{NAME}&format=text")
                made.ask(place, "/metadata/instance?api-version=2021-02-01")
            for place in range(4, 8):
                made.ask(place, f"{_TOKEN}https%3A%2F%2Fvault.azure.net")
            made.ask(0, "/metadata/instance", Metadata="false")
            made.ask(9, NAME)
            made.post("/v1/events", type="Reboot", vms=["web-1"], inS=900)
            made.post("/v1/events", type="Freeze", vms=["api-1", "api-2"], inS=900, needs="all")
            made.post("/v1/events", type="Redeploy", vms=["db-3"], inS=600)
            made.post("/v1/faults", effect="status", status=429, vms=["web-4"])
            yield made


def take(browser: Browser, made: Site, folder: Path) -> list[Path]:
    """Write each picture into a folder; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with visiting(browser, made.origin, width=WIDTH) as visitor:
        visitor.sign_in(made.token)
        visitor.page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
        for shot in SHOTS:
            visitor.page.emulate_media(color_scheme=shot.scheme, reduced_motion="reduce")
            assert visitor.open(shot.path) == 200
            paths.append(folder / f"{shot.name}.png")
            visitor.page.screenshot(path=paths[-1])
        assert visitor.errors == []
    return paths


def main(folder: Path) -> None:
    """Take the pictures, and print their sizes."""
    with TemporaryDirectory() as work, shop(Path(work)) as made, chromium() as browser:
        for path in take(browser, made, folder):
            sys.stdout.write(f"{path}: {path.stat().st_size // 1000} kB\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
