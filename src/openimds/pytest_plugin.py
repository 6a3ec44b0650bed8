"""The pytest plugin: an Azure Instance Metadata Service for tests.

pytest loads this module in every project of an environment, before coverage is measured. So it
imports other modules of the package only where they are used.
"""

import os
import socket
from collections.abc import Generator, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from openimds.testing.environment import Environment
    from openimds.testing.imds import Imds
    from openimds.testing.server_thread import ReservedPort, ServerThread

__all__ = ["Environment", "Imds"]

_REAL = "real_address"
_REAL_INI, _ENV_INI, _PIN_INI = "imds_real_address", "imds_env", "imds_chain_pin"
_IN_CHILD, _MEMORY = "imds_in_child", "imds_memory"
_ADDRESS, _HTTP = "169.254.169.254", 80
_LOOPBACK = "127.0.0.1"
_FIXED = ("listen", "loop")
_SCOPES = {"imds": "function", "imds_module": "module", "imds_session": "session"}
"""The fixtures, each with its scope."""
_WORDS = {"": "", "true": "imds", "yes": "imds", "on": "imds", "1": "imds"} | dict.fromkeys(
    ("false", "no", "off", "0"), ""
)
"""The values of the ini option `imds_env` that are no fixture."""

_ports = pytest.StashKey[dict[str, "ReservedPort"]]()
_original = pytest.StashKey[dict[str, str | None]]()
_imds = pytest.StashKey["Imds"]()


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a class, for annotations
    """Import and return a class of `openimds.testing`."""
    if name in __all__:
        return getattr(import_module(f"openimds.testing.{name.lower()}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add an ini option for every setting, and three of the plugin's own."""
    from openimds.settings import SETTINGS  # noqa: PLC0415 - see the head of this module

    for row in SETTINGS:
        if row.name not in _FIXED:
            kind: Any = "string" if row.metavar else "bool"
            about = f"{row.help} As @pytest.mark.imds({row.name}=...)."
            parser.addini(f"imds_{row.name}", about, type=kind, default=None)
    parser.addini(
        _ENV_INI,
        "Set the variables of imds.env for the whole session, before any test is imported: true, "
        "or the name of the fixture whose server clients call, such as imds_session.",
        default="",
    )
    parser.addini(
        _PIN_INI,
        "False leaves AZURE_TOKEN_CREDENTIALS out of these variables, for a library that refuses "
        "it.",
        type="bool",
        default=True,
    )
    parser.addini(
        _REAL_INI,
        "Where a private network is forbidden, tests marked real_address are skipped (skip) or "
        "fail (require).",
        default="skip",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Set the variables for the whole session, if an ini option names a fixture."""
    choice = early_config.getini(_ENV_INI).strip().lower()
    fixture = _WORDS.get(choice, choice)
    if not fixture:
        return
    if fixture not in _SCOPES:
        expected = ", ".join(["true", "false", *_SCOPES])
        raise pytest.UsageError(f'{_ENV_INI}: saw "{choice}", expected one of {expected}')
    from openimds.facts.protocols import CHAIN_PIN, IMDS  # noqa: PLC0415 - as above
    from openimds.protocol.identity_dialects import variables  # noqa: PLC0415 - as above

    values = variables(IMDS, _port_of(early_config, fixture).url)
    if not early_config.getini(_PIN_INI):
        del values[CHAIN_PIN]
    early_config.stash[_original] = {name: os.environ.get(name) for name in values}
    os.environ.update(values)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marks."""
    config.addinivalue_line(
        "markers",
        "imds(fleet=..., document=..., vm=..., **settings): configure the server of the fixture "
        "imds by any setting of openimds serve, and by the name of the VM under test. On a module "
        "it is for imds_module, too.",
    )
    config.addinivalue_line(
        "markers",
        "real_address: run the test in a private network, where imds.url is "
        "http://169.254.169.254.",
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    """Release the ports and restore the variables."""
    for name, value in config.stash.get(_original, {}).items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    for port in config.stash.get(_ports, {}).values():
        port.close()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    """Run a test marked `real_address` in a child with a private network."""
    if item.get_closest_marker(_REAL) and not _is_child(item.config):
        from openimds.testing.netns_parent import run_in_child  # noqa: PLC0415 - as above

        run_in_child(item, is_required=_is_required(item.config))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Replace a report by that of the child."""
    report = yield
    if item.get_closest_marker(_REAL) is None:
        return report
    from openimds.testing.netns_parent import report_of  # noqa: PLC0415 - as above

    return report_of(item, call.when) or report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Add the server's messages and requests to the report of a failure."""
    servers = [(node, imds) for node in item.listchain() if (imds := node.stash.get(_imds, None))]
    # Of a server that other tests used before, only the requests of this one.
    seen = [0 if node is item else _last_number(imds) for node, imds in servers]
    try:
        return (yield)
    except BaseException:
        for (_, imds), number in zip(servers, seen, strict=True):
            item.add_report_section("call", "imds", imds.story(number))
        raise


def _last_number(imds: "Imds") -> int:
    """Return the number of the last recorded request."""
    records = imds.requests
    return records[-1].number if len(records) else 0


@pytest.fixture(scope="session")
def _imds_threads() -> "Iterator[dict[str, ServerThread]]":
    """The threads of the session by fixture: all servers of a fixture run on one."""
    threads: dict[str, ServerThread] = {}
    yield threads
    for thread in threads.values():
        thread.close()


@pytest.fixture
def imds(request: pytest.FixtureRequest) -> "Iterator[Imds]":
    """An Azure Instance Metadata Service at `imds.url`, in this process, for this test alone.

    `@pytest.mark.imds(...)` and the ini options imds_... configure it; by default it serves one VM
    of defaults with a system-assigned identity, without rate limits.
    """
    yield from _serve(request)


@pytest.fixture(scope="module")
def imds_module(request: pytest.FixtureRequest) -> "Iterator[Imds]":
    """As `imds`, for all tests of a module, with one state.

    `pytestmark = pytest.mark.imds(...)` of the module and the ini options configure it.
    """
    yield from _serve(request)


@pytest.fixture(scope="session")
def imds_session(request: pytest.FixtureRequest) -> "Iterator[Imds]":
    """As `imds`, for all tests of the session, with one state.

    The ini options configure it.
    """
    yield from _serve(request)


@pytest.fixture
def imds_env(imds: "Imds", monkeypatch: pytest.MonkeyPatch) -> "Environment":
    """The variables of `imds.env`, set for this test."""
    imds.env.use(monkeypatch)
    return imds.env


def _serve(request: pytest.FixtureRequest) -> "Iterator[Imds]":
    """Serve on the port of a fixture until its scope ends."""
    if getattr(socket.socket, "__module__", "") == "pytest_socket":
        pytest.fail(
            "pytest-socket forbids this test every socket, and clients of the metadata service "
            f'need one. Write @pytest.mark.allow_hosts(["{_LOOPBACK}"]) over the test, or '
            f"--allow-hosts={_LOOPBACK} beside --disable-socket",
            pytrace=False,
        )
    from openimds.errors import Error  # noqa: PLC0415 - as above
    from openimds.testing.imds import Imds  # noqa: PLC0415 - as above
    from openimds.testing.marks import MARK_TEXT, marked_options  # noqa: PLC0415 - as above
    from openimds.testing.server_thread import RunningServer  # noqa: PLC0415 - as above

    thread = _thread_of(request)
    homes = (_LOOPBACK, _ADDRESS) if _is_child(request.config) else (_LOOPBACK,)
    memory = str(getattr(request.config.option, _MEMORY, ""))
    messages: list[str] = []
    mistake = ""
    node = cast("pytest.Item | pytest.Collector", request.node)
    try:
        chosen = marked_options(node, homes, is_in_sandbox=bool(memory))
        running = RunningServer(thread, chosen.startup, messages.append, MARK_TEXT, memory)
    except Error as error:
        mistake = str(error)
    if mistake:  # Outside of the handler: the message is enough, without a traceback.
        pytest.fail(mistake, pytrace=False)
    service = Imds(running, chosen.vm, messages)
    service.env.is_pinned = request.config.getini(_PIN_INI)
    node.stash[_imds] = service
    yield service
    del node.stash[_imds]
    service.close()


def _thread_of(request: pytest.FixtureRequest) -> "ServerThread":
    """Return the thread of the servers of a fixture."""
    from openimds.testing.server_thread import ServerThread  # noqa: PLC0415 - as above

    name = str(request.fixturename)
    threads: dict[str, ServerThread] = request.getfixturevalue("_imds_threads")
    if name not in threads:
        if threads and _is_child(request.config):
            pytest.fail(
                f"{_ADDRESS} is that of the fixture {next(iter(threads))}: a test marked {_REAL} "
                f"has one server, so leave out {name}",
                pytrace=False,
            )
        threads[name] = ServerThread(_port_of(request.config, name))
    return threads[name]


def _port_of(config: pytest.Config, fixture: str) -> "ReservedPort":
    """Return the port of a fixture, reserved at the first call."""
    ports = config.stash.setdefault(_ports, {})
    if fixture not in ports:
        from openimds.testing.server_thread import ReservedPort  # noqa: PLC0415 - as above

        address = (_ADDRESS, _HTTP) if _is_child(config) else (_LOOPBACK, 0)
        ports[fixture] = ReservedPort(*address)
    return ports[fixture]


def _is_child(config: pytest.Config) -> bool:
    return getattr(config.option, _IN_CHILD, False) is True


def _is_required(config: pytest.Config) -> bool:
    """Tell whether a forbidden private network is a failure.

    Raises:
        UsageError: the ini option is neither skip nor require.
    """
    choice = config.getini(_REAL_INI)
    if choice not in {"skip", "require"}:
        raise pytest.UsageError(f'{_REAL_INI}: saw "{choice}", expected skip or require')
    return bool(choice == "require")
