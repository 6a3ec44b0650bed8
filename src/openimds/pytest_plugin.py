"""The pytest plugin: an Azure Instance Metadata Service for tests.

pytest loads this module in every project of an environment, before a measurement of cover begins.
So it imports nothing of ours until somebody asks for it, but for the names of the settings.
"""

import os
import socket
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from openimds.testing.environment import Environment
    from openimds.testing.imds import Imds
    from openimds.testing.server_thread import ReservedPort, ServerThread

__all__ = ["Environment", "Imds"]

_REAL = "real_address"
_REAL_INI, _ENV_INI = "imds_real_address", "imds_env"
_INSIDE = "imds_inside"
_ADDRESS, _HTTP = "169.254.169.254", 80
_LOOPBACK = "127.0.0.1"
_DECIDED_HERE = ("listen", "loop")

_port = pytest.StashKey["ReservedPort"]()
_before = pytest.StashKey[dict[str, str | None]]()
_imds = pytest.StashKey["Imds"]()


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a class, for annotations
    """Return a class of `openimds.testing`, which is loaded now."""
    if name in __all__:
        return getattr(import_module(f"openimds.testing.{name.lower()}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add an ini option for every setting, and two of the plugin's own."""
    from openimds.settings import SETTINGS  # noqa: PLC0415 - see the head of this module

    for row in SETTINGS:
        if row.name not in _DECIDED_HERE:
            kind: Any = "string" if row.metavar else "bool"
            about = f"{row.help} As @pytest.mark.imds({row.name}=...)."
            parser.addini(f"imds_{row.name}", about, type=kind, default=None)
    parser.addini(
        _ENV_INI,
        "Set the variables of imds.env for the whole session, before anything of it is imported.",
        type="bool",
        default=False,
    )
    parser.addini(
        _REAL_INI,
        "What becomes of tests marked real_address where a private network is forbidden: skip, or "
        "require, which fails them.",
        default="skip",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Set the variables for the whole session, if an ini option says so."""
    if early_config.getini(_ENV_INI):
        from openimds.facts.protocols import IMDS  # noqa: PLC0415 - as above
        from openimds.protocol.identity_dialects import variables  # noqa: PLC0415 - as above

        server_options = variables(IMDS, _port_of(early_config).url)
        early_config.stash[_before] = {name: os.environ.get(name) for name in server_options}
        os.environ.update(server_options)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marks."""
    config.addinivalue_line(
        "markers",
        "imds(fleet=..., document=..., vm=..., **settings): what the server of the fixture imds "
        "shall be: any setting of openimds serve by its name, and the name of the VM under test.",
    )
    config.addinivalue_line(
        "markers",
        "real_address: run the test in a network of its own, where imds.url is "
        "http://169.254.169.254.",
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    """Give back the port and the variables."""
    for name, value in config.stash.get(_before, {}).items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if port := config.stash.get(_port, None):
        port.close()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    """Have a test that wants the real address run where it can have it."""
    if item.get_closest_marker(_REAL) and not _is_inside(item.config):
        from openimds.testing.netns_parent import stand_in  # noqa: PLC0415 - as above

        stand_in(item, is_required=_is_required(item.config))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report what was reported inside."""
    report = yield
    if item.get_closest_marker(_REAL) is None:
        return report
    from openimds.testing.netns_parent import report_of  # noqa: PLC0415 - as above

    return report_of(item, call.when) or report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Show beside a failure what the server was asked."""
    try:
        return (yield)
    except BaseException:
        if imds := item.stash.get(_imds, None):
            item.add_report_section("call", "imds", imds.story())
        raise


@pytest.fixture(scope="session")
def _imds_stage(pytestconfig: pytest.Config) -> "Iterator[ServerThread]":
    """Keep what all servers of the session share."""
    from openimds.testing.server_thread import ServerThread  # noqa: PLC0415 - as above

    stage = ServerThread(_port_of(pytestconfig))
    yield stage
    stage.close()


@pytest.fixture
def imds(request: pytest.FixtureRequest) -> "Iterator[Imds]":
    """An Azure Instance Metadata Service at `imds.url`, in this process, for this test alone.

    What it is: `@pytest.mark.imds(...)` and the ini options imds_...; one VM of defaults, without
    limits, if they say nothing.
    """
    if getattr(socket.socket, "__module__", "") == "pytest_socket":
        pytest.fail(
            "pytest-socket forbids this test every socket, and the metadata service is asked by "
            f'one. Write @pytest.mark.allow_hosts(["{_LOOPBACK}"]) over the test, or '
            f"--allow-hosts={_LOOPBACK} beside --disable-socket",
            pytrace=False,
        )
    from openimds.errors import Error  # noqa: PLC0415 - as above
    from openimds.testing.imds import Imds  # noqa: PLC0415 - as above
    from openimds.testing.marks import server_options  # noqa: PLC0415 - as above

    stage: ServerThread = request.getfixturevalue("_imds_stage")
    homes = (_LOOPBACK, _ADDRESS) if _is_inside(request.config) else (_LOOPBACK,)
    told: list[str] = []
    mistake = ""
    with ExitStack() as open_now:
        try:
            want = server_options(request.node, homes)
            server, ready = open_now.enter_context(stage.serving(want.startup, told.append))
        except Error as error:
            mistake = str(error)
        if mistake:  # Outside of the handler: the person needs the sentence and no traceback.
            pytest.fail(mistake, pytrace=False)
        made = Imds(stage, server, ready, want.vm, homes, told)
        request.node.stash[_imds] = made
        yield made


@pytest.fixture
def imds_env(imds: "Imds", monkeypatch: pytest.MonkeyPatch) -> "Environment":
    """The variables of `imds.env`, set for this test."""
    imds.env.use(monkeypatch)
    return imds.env


def _port_of(config: pytest.Config) -> "ReservedPort":
    """Return the port of the session, taken when it is first needed."""
    found = config.stash.get(_port, None)
    if found is None:
        from openimds.testing.server_thread import ReservedPort  # noqa: PLC0415 - as above

        place = (_ADDRESS, _HTTP) if _is_inside(config) else (_LOOPBACK, 0)
        found = config.stash[_port] = ReservedPort(*place)
    return found


def _is_inside(config: pytest.Config) -> bool:
    return getattr(config.option, _INSIDE, False) is True


def _is_required(config: pytest.Config) -> bool:
    """Tell whether a private network has to be possible.

    Raises:
        UsageError: the ini option is neither of the two.
    """
    said = config.getini(_REAL_INI)
    if said not in {"skip", "require"}:
        raise pytest.UsageError(f'{_REAL_INI}: saw "{said}", expected skip or require')
    return bool(said == "require")
