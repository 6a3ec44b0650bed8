"""The input of a server: settings, and the contents of the files that they name."""

from pathlib import Path

import pytest

from openimds.credentials.entra.client import ENTRA_UNCONFIGURED
from openimds.errors import ConfigError
from openimds.fleet.fleet_files import fingerprint
from openimds.server.startup import Startup, load, with_settings
from openimds.settings import Settings

EVENTS = "events: [{type: Reboot, vms: [a]}]"
NEEDS_ENTRA = "vms: {a: {identities: {system: true, source: entra}}}"


def test_startup_without_files_has_no_vms() -> None:
    assert load(Settings()) == Startup(Settings())


def test_fleet_file_gives_vms_events_and_a_fingerprint(tmp_path: Path) -> None:
    file = str(tmp_path / "fleet.yaml")
    Path(file).write_text(f"vms: {{a: {{}}}}\n{EVENTS}")
    startup = load(Settings(fleet=file))
    assert [vm.name for vm in startup.vms or ()] == ["a"]
    assert [event.event_type for event in startup.events] == ["Reboot"]
    assert (startup.origin, startup.source) == ("file", file)
    assert startup.fingerprint == fingerprint(file)
    assert startup.notices == ()


def test_old_names_in_files_are_reported(tmp_path: Path) -> None:
    fleet, scenario = tmp_path / "fleet.yaml", tmp_path / "scenario.yaml"
    fleet.write_text("vms: {a: {}}\nfaults: [{playbook: throttled, vms: [a], for_s: 5}]")
    scenario.write_text("events: [{type: Reboot, vms: [a], at_s: 5, noticeS: 5}]")
    startup = load(Settings(fleet=str(fleet), scenario=str(scenario)))
    assert startup.notices == (
        f"{fleet}: old names, which 1.0 no longer reads: faults[0].for_s (now forS)",
        f"{scenario}: old names, which 1.0 no longer reads: events[0].at_s (now atS)",
    )


def test_scenario_file_adds_its_events(tmp_path: Path) -> None:
    file = tmp_path / "scenario.yaml"
    file.write_text(EVENTS)
    assert [event.vms for event in load(Settings(scenario=str(file))).events] == [("a",)]


@pytest.mark.parametrize(
    "text, where", [("vms: {}", ""), (f"{EVENTS}\nvms: {{}}", ""), ("events: [{}]", ": events[0]")]
)
def test_error_in_a_scenario_names_its_file(text: str, where: str, tmp_path: Path) -> None:
    file = tmp_path / "scenario.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(Settings(scenario=str(file)))
    assert caught.value.where == f"{file}{where}"


def test_document_gives_its_vm_and_notices_with_its_path(tmp_path: Path) -> None:
    file = str(tmp_path / "captured")
    Path(file).write_text('{"compute": {"name": "web-1", "newThing": 1}, "network": {}}')
    startup = load(Settings(document=file))
    assert [vm.name for vm in startup.vms or ()] == ["web-1"]
    assert (startup.origin, startup.source) == ("document", file)
    assert startup.notices == (
        f"{file}: compute.newThing is in no api-version known here and is not served",
    )


@pytest.mark.parametrize("entra, notices", [("", (ENTRA_UNCONFIGURED,)), ("az", ())])
def test_vms_that_need_entra_are_noticed_without_it(
    entra: str, notices: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(NEEDS_ENTRA)
    assert load(Settings(fleet=str(file), entra=entra)).notices == notices  # type: ignore[arg-type]


def test_settings_are_checked_before_files_are_read() -> None:
    with pytest.raises(ConfigError, match=r"both none\.yaml and none\.json"):
        load(Settings(fleet="none.yaml", document="none.json"))


def test_changed_settings_keep_the_files_contents(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text("vms: {a: {}}")
    startup = load(Settings(fleet=str(file)))
    changed = with_settings(startup, fleet="", admin="none")
    assert changed.settings == Settings(fleet="", admin="none")
    assert (changed.vms, changed.source) == (startup.vms, str(file))
