"""Bodies of faults in files of their own."""

import os
from pathlib import Path

import pytest

from openimds.facts.fault_parameters import MOST_BODY_BYTES
from openimds.fleet.fault_bodies import with_bodies
from openimds.fleet.fleet_files import read_fleet
from tests.unit.vm.refused import Refused, refused


def fleet_of(folder: Path, fault: str) -> str:
    file = folder / "fleet.yaml"
    file.write_text("vms: {a: {}}\nfaults:\n  - {effect: response, status: 502, " + fault + "}\n")
    return str(file)


@pytest.mark.parametrize("spelling", ["body_file", "bodyFile"])
@pytest.mark.parametrize("content", ["<p>ö</p>\r\n".encode(), b"\xff\xfe<\x00"])
def test_file_beside_the_fleet_file_is_the_body(
    tmp_path: Path, spelling: str, content: bytes
) -> None:
    (tmp_path / "page.html").write_bytes(content)
    (spec,) = read_fleet(fleet_of(tmp_path, f"{spelling}: page.html")).faults
    name = "body_base64" if b"\xff" in content else "body"
    assert spec.parameters.keys() == {"status", name}


def test_file_of_the_largest_size_is_taken(tmp_path: Path) -> None:
    (tmp_path / "page").write_bytes(b"x" * MOST_BODY_BYTES)
    (spec,) = read_fleet(fleet_of(tmp_path, "body_file: page")).faults
    assert spec.parameters["body"] == "x" * MOST_BODY_BYTES


def test_larger_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page").write_bytes(b"x" * (MOST_BODY_BYTES + 1))
    file = fleet_of(tmp_path, "body_file: page")
    assert refused(read_fleet, file) == Refused(
        f"{file}: faults[0].body_file",
        f'"{tmp_path}/page", which is larger than 65536 bytes',
        "at most 65536 bytes",
    )


@pytest.mark.parametrize(
    "name, reason",
    [
        ("none", ": no such file or directory"),
        ("x" * 300, ": file name too long"),
        ("folder", ", no regular file"),
        ("pipe", ", no regular file"),
    ],
)
def test_unreadable_file_is_refused_with_the_reason(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    file = fleet_of(tmp_path, f"body_file: {name}")
    assert refused(read_fleet, file) == Refused(
        f"{file}: faults[0].body_file",
        f'"{tmp_path}/{name}"{reason}',
        "a file that can be read",
    )


@pytest.mark.parametrize("beside", ["body", "body_base64", "bodyBase64", "bodyFile"])
def test_body_beside_a_file_is_refused(tmp_path: Path, beside: str) -> None:
    file = fleet_of(tmp_path, f'body_file: page, {beside}: ""')
    assert refused(read_fleet, file) == Refused(
        f"{file}: faults[0].body_file", f"{beside} beside it", "one of the two"
    )


@pytest.mark.parametrize("path, seen", [("1", "the number 1"), ('"a\\0"', 'the string "a\0"')])
def test_path_that_is_none_is_refused(tmp_path: Path, path: str, seen: str) -> None:
    file = fleet_of(tmp_path, f"body_file: {path}")
    assert refused(read_fleet, file) == Refused(
        f"{file}: faults[0].body_file", seen, "the path of a file"
    )


@pytest.mark.parametrize(
    "value",
    [
        None,
        "x",
        [1, {"effect": "cut", "body_file": "x"}, {"effect": "response"}],
    ],
)
def test_value_without_files_is_left_alone(value: object) -> None:
    assert with_bodies(value, Path()) == value
