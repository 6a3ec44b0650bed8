import sys
import traceback
from pathlib import Path

import pytest

from openimds.errors import ConfigError
from openimds.fleet.store.postgres.location import (
    PostgresLocation,
    locate,
    parse_location,
    require_driver,
)


@pytest.mark.parametrize(
    "text, location, words",
    [
        (
            "postgresql://db.example/fleet",
            PostgresLocation("db.example", "5432", "fleet"),
            "PostgreSQL at db.example:5432, database fleet",
        ),
        (
            "postgresql://me:p%40%2Fss@10.0.0.4:5433/my%20fleet?sslmode=verify-full&schema=lab_2",
            PostgresLocation(
                "10.0.0.4", "5433", "my fleet", "me", "p@/ss", "lab_2", {"sslmode": "verify-full"}
            ),
            "PostgreSQL at 10.0.0.4:5433, database my fleet, schema lab_2",
        ),
        (
            "postgresql://me@[fd00::1]:5433,db-2/fleet",
            PostgresLocation("fd00::1,db-2", "5433,5432", "fleet", "me"),
            "PostgreSQL at [fd00::1]:5433,db-2:5432, database fleet",
        ),
        (
            "postgresql:///fleet?host=/run/postgresql",
            PostgresLocation("/run/postgresql", "5432", "fleet"),
            "PostgreSQL at /run/postgresql:5432, database fleet",
        ),
        (
            "postgresql://me@:5433/fleet?host=/run/postgresql",
            PostgresLocation("/run/postgresql", "5433", "fleet", "me"),
            "PostgreSQL at /run/postgresql:5433, database fleet",
        ),
    ],
)
def test_url_gives_each_part_of_a_location(
    text: str, location: PostgresLocation, words: str
) -> None:
    assert parse_location(text) == location
    assert str(location) == words


def test_words_of_a_location_have_no_password() -> None:
    location = parse_location("postgresql://me:s3cret@db/fleet")
    assert location.password == "s3cret"
    assert "s3cret" not in f"{location} {location!r} {[location]}"


@pytest.mark.parametrize(
    "text, reason",
    [
        ("/var/lib/fleet.db", '--store: saw a text without "postgresql://", expected postgresql:'),
        ("mysql://db/fleet", '--store: saw "mysql://", expected postgresql://USER@HOST:PORT/DAT'),
        ("postgresql://db/a b", "--store: saw a blank or a control character, expected postgres"),
        ("postgresql://me:s3cret#x@db/fleet", '"#" or "@" in a part'),
        ("postgresql://me:1?s3cret@db/fleet", '"#" or "@" in a part'),
        ("postgresql://me@s3cret@db/fleet", '"#" or "@" in a part'),
        ("postgresql://db/fleet#x", '"#" or "@" in a part'),
        ("postgresql://me:s3cret/x@db/fleet", '"#" or "@" in a part'),
        ("postgresql://db:0/fleet", "a host or port that cannot be read"),
        ("postgresql://db,/fleet", "a host or port that cannot be read"),
        ("postgresql:///fleet", "--store: saw no host"),
        ("postgresql://db", "--store: saw no database"),
        ("postgresql://db/a/b", '--store: saw "/" in the database'),
        ("postgresql://db/fleet?sslmod=x", 'the parameter "sslmod". Did you mean "sslmode"? Exp'),
        ("postgresql://db/fleet?x=1", '--store: saw the parameter "x", expected one of applica'),
        ("postgresql://db/fleet?sslmode=a&sslmode=b", "--store: saw a parameter twice"),
        ("postgresql://db/fleet?schema=Lab", '--store: schema: saw "Lab", expected a lower-case'),
        ("postgresql:///fleet?host=db", '--store: host: saw "db", expected the folder of a sock'),
        ("postgresql://a/fleet?host=/run", '--store: host: saw "/run", expected the folder of'),
    ],
)
def test_wrong_url_is_refused_without_its_password(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_location(text)
    assert reason in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_missing_driver_is_an_error_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    require_driver()
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError) as caught:
        require_driver()
    assert str(caught.value) == (
        "--store: saw postgresql:// without psycopg, expected the extra postgres to be installed. "
        "Type pip install './openimds[postgres]' beside a checkout"
    )


@pytest.mark.parametrize(
    "address",
    ["me:sec\u2100ret@db", "me:secret@[::1", "me:secret@[zz]"],
)
def test_unreadable_address_is_a_mistake_without_the_password(address: str) -> None:
    with pytest.raises(ConfigError, match="an address that cannot be read") as caught:
        parse_location(f"postgresql://{address}/fleet")
    assert "ret@" not in "".join(traceback.format_exception(caught.value))


def password_file(folder: Path, text: str | bytes, mode: int = 0o600) -> str:
    path = folder / "password"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("text, password", [(" s3 cret\r\n", " s3 cret"), ("", ""), ("\n", "")])
def test_password_comes_from_a_file(tmp_path: Path, text: str, password: str) -> None:
    location = locate("postgresql://me@db/fleet", password_file(tmp_path, text))
    assert location == PostgresLocation("db", "5432", "fleet", "me", password)


def test_password_of_the_url_stays_beside_an_empty_file(tmp_path: Path) -> None:
    url = "postgresql://me:s3cret@db/fleet"
    assert locate(url, password_file(tmp_path, "\n")).password == "s3cret"
    assert locate(url).password == "s3cret"


@pytest.mark.parametrize(
    "text, mode, says",
    [
        ("s3cret", 0o644, "of mode 0644, expected mode 0600. Type chmod 600"),
        ("s3cret\nmore", 0o600, "with several lines, expected a password in one line"),
        (b"s3cret\xff", 0o600, r"\(not UTF-8\)"),
    ],
)
def test_unfit_file_of_a_password_is_refused(
    tmp_path: Path, text: str | bytes, mode: int, says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        locate("postgresql://me@db/fleet", password_file(tmp_path, text, mode))
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_second_password_and_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Take that of the URL out"):
        locate("postgresql://me:a@db/fleet", password_file(tmp_path, "b"))
    with pytest.raises(ConfigError, match="no such file or directory"):
        locate("postgresql://me@db/fleet", str(tmp_path / "absent"))


def test_file_that_is_no_plain_one_is_a_mistake_of_its_option(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    large = password_file(tmp_path, "s" * 5000)
    for path in (tmp_path, loop, large):
        with pytest.raises(ConfigError, match="--store-password-file: saw"):
            locate("postgresql://me@db/fleet", str(path))
