"""The hook of libvirt and Proxmox, beside programs that fail."""

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from openimds.linux.platform import IS_LINUX

HOOK = Path(__file__).parents[2] / "packaging" / "hooks" / "guest_started.py"
WITH_REACH = '{"vms": {"web-1": {"reach": {"interface": "vnet7"}}}}'

pytestmark = pytest.mark.skipif(not IS_LINUX, reason="hypervisors of these hooks run on Linux")


class HookRun:
    """A hook with settings, and with an `openimds` that notes its commands."""

    def __init__(self, folder: Path) -> None:
        self.settings, self.calls = folder / "hooks.env", folder / "calls"
        self._folder = folder / "programs"
        self._folder.mkdir()
        self.settings.write_text("OPENIMDS_HOOKS=vms\n")

    def programs(self, **texts: str) -> None:
        """Write programs; each of them notes its words."""
        for name, text in texts.items():
            path = self._folder / name
            path.write_text(f'#!/bin/sh\necho "$@" >> {self.calls}\n{text}\n')
            path.chmod(0o755)

    def failure(self, *words: str, text: bytes = b"") -> str:
        """Run the hook, which ends with status 0; return its only line."""
        ran = subprocess.run(
            [sys.executable, "-I", HOOK, *words],
            env={
                "PATH": f"{self._folder}:/usr/bin:/bin",
                "GUEST_HOOK_SETTINGS": str(self.settings),
            },
            input=text,
            capture_output=True,
            check=False,
            timeout=50,
        )
        (line,) = ran.stderr.decode().splitlines()
        assert (ran.returncode, ran.stdout) == (0, b"")
        return line.removeprefix(f"openimds: {words[1]} is not bound: ")


@pytest.fixture
def hook(tmp_path: Path) -> HookRun:
    return HookRun(tmp_path)


def test_output_that_is_no_utf8_fails_as_one_line(hook: HookRun) -> None:
    hook.programs(openimds=r"printf '\377 no\n' >&2; exit 1")
    assert hook.failure("libvirt", "web-1", text=b"\xff") == "openimds vm import: \ufffd no"
    hook.programs(openimds=r"printf '\377'")
    assert hook.failure("libvirt", "web-1").startswith("internal error, please report it: JSON")


def test_description_that_is_no_utf8_does_not_stop_the_hook(hook: HookRun) -> None:
    hook.programs(qm=r"printf 'description: \377\n'", openimds="echo reached >&2; exit 1")
    assert hook.failure("proxmox", "101") == "openimds vm import: reached"


def test_settings_that_cannot_be_read_fail_as_one_line(hook: HookRun) -> None:
    hook.settings.write_bytes(b"OPENIMDS_HOOKS=\xff\n")
    assert hook.failure("libvirt", "web-1").startswith(f"{hook.settings}: 'utf-8' codec can't")
    hook.settings.unlink()
    hook.settings.mkdir()
    assert "Is a directory" in hook.failure("libvirt", "web-1")


def test_guest_without_a_network_card_fails_as_one_line(hook: HookRun) -> None:
    hook.programs(openimds="""echo '{"vms": {"web-1": {}}}'""")
    expected = "it has no network card on a tap or bridge, so there is nothing to bind"
    assert hook.failure("libvirt", "web-1") == expected
    assert len(hook.calls.read_text().splitlines()) == 1


def test_one_vm_is_asked_for_and_not_all_of_them(hook: HookRun) -> None:
    hook.programs(
        openimds=f"""case "$2" in
        import) echo '{WITH_REACH}';;
        list) echo web-10; echo web-1;;
        patch) echo stopped >&2; exit 1;;
        esac"""
    )
    assert hook.failure("libvirt", "web-1") == "openimds vm patch: stopped"
    listed = hook.calls.read_text().splitlines()[1]
    assert listed == "vm list web-1 --output name --state /var/lib/openimds"


def test_all_commands_share_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    module, now_s, left_s = loaded(), [1000.0], list[float]()

    def run(command: object, *, timeout: float, **_: object) -> SimpleNamespace:
        left_s.append(timeout)
        now_s[0] += 15
        if timeout < 15:
            raise subprocess.TimeoutExpired(str(command), timeout)
        return SimpleNamespace(returncode=0, stdout="", stderr="")

    clock = SimpleNamespace(monotonic=lambda: now_s[0])
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "_BEGAN_S", now_s[0])
    monkeypatch.setattr(subprocess, "run", run)
    module.run("a", "b")
    for _ in range(2):
        with pytest.raises(module.HookError, match="a b: the commands took more than 20 s"):
            module.run("a", "b")
    assert left_s == [20, 5, 0]


def loaded() -> ModuleType:
    """Return the hook as a module."""
    spec = spec_from_file_location("guest_started", HOOK)
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
