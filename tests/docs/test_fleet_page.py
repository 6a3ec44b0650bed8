"""The page on a fleet of hosts is followed to the letter, in namespaces.

The first line of each block names the machines, or VMs, on which it is typed; output is that of
all of them, one after the other.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from scripts.generate_docs import ROOT
from tests.docs.story import Block, blocks, expected
from tests.support.waiting import until
from tests.system.host_namespaces import CONTROLS, HostNamespaces, guest_of, host_namespaces

pytestmark = [pytest.mark.system, pytest.mark.netns]

PAGE = ROOT / "docs/use/fleet-of-hosts.md"
_PLACES = re.compile(r"# (?:on|in) (.+)\n")
_FLEET = re.compile(r"# (fleet\.yaml)\n")
_READY = {"openimds control run": '"ready"', "openimds host run": '"ready"'}
_READY["openimds host follow"] = "following"
"""By program that stays, the part of its output that comes once it works."""


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[HostNamespaces]:
    """The machines of the page, with the guests that its fleet file names."""
    if subprocess.run(["make", "-q", "setup"], cwd=ROOT, check=False).returncode:
        pytest.skip("type make setup: the machines have the command of .venv")
    with host_namespaces(tmp_path) as built:
        (fleet,) = (block.text for block in blocks(PAGE) if _FLEET.match(block.text))
        for name, row in yaml.safe_load(fleet)["vms"].items():
            built.add_guest(*guest_of(name, row))
        for control in CONTROLS:
            (built.folder / control / "fleet.yaml").write_text(fleet)
        yield built


def ready_sign(block: Block) -> str:
    """Return the sign of a block that starts a program that stays, or ""."""
    last = block.text.rstrip()
    started = [sign for program, sign in _READY.items() if program in block.text]
    return started[0] if last.endswith("&") else ""


def test_page_is_followed_on_its_machines(machines: HostNamespaces) -> None:
    outputs = expected(PAGE)
    for number, block in enumerate(blocks(PAGE)):
        if block.kind != "sh":
            continue
        places = _PLACES.match(block.text)
        assert places, f"line {block.line} names no machine"
        printed = "".join(
            machines.terminal(name).type(block.text, ready_sign(block))
            for name in re.split(r", | and ", places[1])
        )
        if number in outputs:
            pattern = outputs[number][1]
            assert pattern.fullmatch(printed.strip()), f"line {block.line} prints {printed}"
    # The page has one move and one revoked host.
    until(lambda: not machines.is_bound("host-1", "web-1"))
    assert machines.is_bound("host-2", "web-1")
    # A revoked host serves on what it has.
    assert machines.is_bound("host-3", "web-3")
