"""The fields of the Debian package, without building it."""

import platform
from pathlib import Path

import pytest

from scripts import build_deb, bundled_packages, debian_copyright, package_tree
from scripts.build_steps import ROOT, architecture

UNITS = sorted((ROOT / "packaging/systemd").iterdir())


def a_wheel(site: Path, name: str, *, fields: str = "License-Expression: MIT\n", text: str) -> Path:
    """Write a package as pip installs it from a wheel."""
    folder = site / f"{name}-1.0.dist-info"
    (folder / "licenses").mkdir(parents=True)
    (folder / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n{fields}")
    (folder / "WHEEL").write_text("Wheel-Version: 1.0\nTag: cp311-cp311-manylinux_2_17_x86_64\n")
    (folder / "RECORD").write_text(
        f"{name}/__init__.py,,\n{name}_core.py,,\n{folder.name}/WHEEL,,\n"
    )
    if text:
        (folder / "licenses/LICENSE").write_text(text)
    return folder


def test_copyright_has_each_package_with_its_text(tmp_path: Path) -> None:
    a_wheel(tmp_path, "openimds", text="ours")
    a_wheel(tmp_path, "foo", text="Copyright (c) 2020 Foo's author\n\n  Do as you like.\n")
    text = debian_copyright.copyright_file(tmp_path, "usr/lib/x")
    paragraph = text.partition("Files:\n")[2]
    assert paragraph == (
        " usr/lib/x/foo-1.0.dist-info/*\n"
        " usr/lib/x/foo/*\n"
        " usr/lib/x/foo_core.py\n"
        "Copyright:\n"
        " Copyright (c) 2020 Foo's author\n"
        "License: MIT\n"
        "Comment: foo 1.0, unmodified, from its wheel.\n"
        " Copyright (c) 2020 Foo's author\n"
        " .\n"
        "   Do as you like.\n"
    )


@pytest.mark.parametrize("fields, text", [("", "a text"), ("License-Expression: MIT\n", "")])
def test_package_without_a_licence_is_refused(tmp_path: Path, fields: str, text: str) -> None:
    a_wheel(tmp_path, "foo", fields=fields, text=text)
    with pytest.raises(ValueError, match=r"foo 1\.0: the wheel names no licence"):
        debian_copyright.copyright_file(tmp_path, "usr/lib/x")


def test_libraries_inside_compiled_parts_are_named(tmp_path: Path) -> None:
    for name in debian_copyright.LIBRARIES:
        a_wheel(tmp_path, name, text="a text")
    text = debian_copyright.copyright_file(tmp_path, "usr/lib/x")
    for name in ("OpenSSL", "libffi", "libyaml"):
        assert f"Comment: {name} is inside the compiled part of " in text


@pytest.mark.parametrize(
    "python, debian",
    [("0.1.0", "0.1.0"), ("0.2.0.dev1", "0.2.0~dev1"), ("1.0rc2", "1.0~rc2"), ("1.0b1", "1.0~b1")],
)
def test_pre_release_sorts_before_its_release(python: str, debian: str) -> None:
    assert build_deb.debian_version(python) == debian


@pytest.mark.parametrize(
    "tag, minor",
    [
        ("cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64", 17),
        ("cp311-abi3-manylinux_2_34_x86_64", 34),
        ("cp311-cp311-manylinux2014_aarch64", 17),
        ("py3-none-any", 0),
    ],
)
def test_glibc_that_a_wheel_asks_for_is_depended_on(tmp_path: Path, tag: str, minor: int) -> None:
    (a_wheel(tmp_path, "foo", text="a text") / "WHEEL").write_text(f"Tag: {tag}\n")
    assert bundled_packages.least_glibc(tmp_path) == minor


def test_control_names_the_abi_of_compiled_modules(tmp_path: Path) -> None:
    a_wheel(tmp_path / package_tree.SITE, "foo", text="a text")
    text = build_deb.control(tmp_path, "arm64")
    assert "Architecture: arm64\n" in text
    assert "Depends: python3 (>= 3.11~), python3 (<< 3.12~), libc6 (>= 2.17), procps, " in text


def test_configuration_files_are_those_below_etc(tmp_path: Path) -> None:
    for name in ("etc/openimds/a.env", "usr/bin/b"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "usr/bin/link").symlink_to("b")
    assert build_deb.conffiles(tmp_path) == "/etc/openimds/a.env\n"
    assert build_deb.md5sums(tmp_path) == "3dbc6e999a579b4598c154793e0bd8a1  usr/bin/b\n"
    assert build_deb.installed_size(tmp_path) == 3 + 4


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_packaged_unit_differs_in_command_and_user_alone(unit: Path) -> None:
    before, after = unit.read_text(), package_tree.packaged(unit.name, unit.read_text())
    assert "=openimds " not in after
    assert "DynamicUser" not in after
    user = package_tree.USERS.get(unit.name)
    assert (user is None) == ("DynamicUser=yes" not in before)
    if user:
        assert f"User={user}\nGroup={user}\n" in after
        assert f"StateDirectory={user}\n" in after
    kept = [
        line for line in before.splitlines() if "openimds" not in line and "Dynamic" not in line
    ]
    assert [line for line in kept if line not in after.splitlines()] == []


def test_each_user_of_a_service_is_made() -> None:
    rows = [line.split()[:2] for line in package_tree.sysusers().splitlines() if line[:2] == "u "]
    assert rows == [["u", user] for user in package_tree.USERS.values()]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_asks_the_command(shell: str) -> None:
    assert f"_OPENIMDS_COMPLETE={shell}_complete" in package_tree.completion(shell)


def test_maintainer_scripts_enable_and_start_nothing_new() -> None:
    for name in build_deb.SCRIPTS:
        text = (build_deb.SOURCES / name).read_text()
        assert "systemctl enable" not in text.replace("of `systemctl enable`", "")
        assert "host up" not in text
        assert [line.strip() for line in text.splitlines() if " start " in line] == (
            [
                '[ -z "$sockets" ] || systemctl start $sockets > /dev/null || true',
                'systemctl $block start "$service" > /dev/null || true',
            ]
            if name == "postinst"
            else []
        )


@pytest.mark.parametrize("machine, name", [("x86_64", "amd64"), ("aarch64", "arm64")])
def test_architecture_is_known_without_dpkg(
    machine: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert architecture() == name
    assert bundled_packages.PLATFORMS[name] == machine
