"""The hosts file of a sandbox: mapped names, then the machine's lines."""

from openimds.linux.hosts_file import hosts_text

HOSTS = {"one.example": "192.0.2.1", "two.example": "192.0.2.1"}


def test_names_are_mapped_before_the_present_lines() -> None:
    present = "127.0.0.1 localhost\n\n::1 localhost # two.example\n"
    assert hosts_text(HOSTS, present) == (
        "192.0.2.1 one.example\n192.0.2.1 two.example\n"
        "127.0.0.1 localhost\n\n::1 localhost # two.example\n"
    )


def test_present_lines_of_the_names_are_dropped() -> None:
    present = "10.0.0.1 ONE.example other\n10.0.0.2 one.example.org\n10.0.0.3\tx two.example"
    assert hosts_text(HOSTS, present).splitlines()[2:] == ["10.0.0.2 one.example.org"]
