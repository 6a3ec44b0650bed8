"""Web pages and tokens of Entra, for callers here and on another machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.lab import IPS, NAME, Lab, lab

pytestmark = [pytest.mark.system, pytest.mark.netns]

HERE = "10.0.0.1"
PLAIN = ("--no-rate-limit", "--admin", "127.0.0.1:0")
PAGE = ("-H", "Host: rebound.example")
ENTRA = {"identities": {"system": True, "source": "entra"}}


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Lab]:
    """The lab without rules: guest `a` is another machine beside the host."""
    with lab(tmp_path) as there:
        yield there


def statuses(there: Lab, *more: str) -> list[str]:
    """Return the status that the host itself gets, and that the other machine gets."""
    url = f"http://{HERE}:8169{NAME}"
    words = ("curl", "-sS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}")
    command = (*words, "-H", "Metadata:true", *more, url)
    return [there.host.run(*command).stdout, there.host.guest("a", *command)]


@pytest.mark.parametrize("listen", ["0.0.0.0:8169", f"{HERE}:8169"])
def test_web_page_on_this_machine_is_refused_at_its_address(there: Lab, listen: str) -> None:
    with there.host.serving({"vms": {"a": {}}}, "--listen", listen, *PLAIN):
        assert statuses(there) == ["200", "200"]
        assert statuses(there, *PAGE) == ["403", "200"]
        assert statuses(there, "-H", "Origin: http://rebound.example") == ["403", "200"]


def test_web_page_is_refused_behind_a_published_port(there: Lab) -> None:
    words = ("--listen", "0.0.0.0:8169", "--check-hosts", *PLAIN)
    with there.host.serving({"vms": {"a": {}}}, *words):
        assert statuses(there) == statuses(there, "-H", "Host: imds") == ["200", "200"]
        assert statuses(there, *PAGE) == ["403", "403"]
        assert statuses(there, "-H", "Origin: http://imds") == ["403", "403"]


def test_vm_of_entra_needs_a_reach_for_other_machines(there: Lab) -> None:
    words = ("--listen", "0.0.0.0:8169", *PLAIN)
    with there.host.serving({"vms": {"a": ENTRA}}, *words) as server:
        assert statuses(there) == ["200", "404"]
        message = server.stop()[1]
    assert f"unknown caller {IPS['a']}: a has tokens of Entra and no reach" in message
    reach = {"reach": {"address": [IPS["a"]]}}
    with there.host.serving({"vms": {"a": ENTRA | reach}}, *words):
        assert statuses(there) == ["404", "200"]
