"""The options by which a new host proves itself to control, and control to it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from openimds.errors import ConfigError

if TYPE_CHECKING:
    from openimds.credentials.hosts.join_token import JoinToken
    from openimds.credentials.hosts.pod_files import PodFiles

T = TypeVar("T", bound=Callable[..., Any])
_OPTIONS = (
    click.option(
        "--join-token-file",
        metavar="FILE",
        envvar="OPENIMDS_JOIN_TOKEN_FILE",
        help="The line that openimds control host add printed; needed once. Empty: none.",
    ),
    click.option(
        "--join-service-account-token",
        metavar="FILE",
        envvar="OPENIMDS_JOIN_SERVICE_ACCOUNT_TOKEN",
        help='The projected token of this pod, for the audience "openimds", not a join token.',
    ),
    click.option(
        "--control-fingerprint",
        metavar="FILE",
        envvar="OPENIMDS_CONTROL_FINGERPRINT",
        help="The fingerprints of control's roots beside that token: a mounted ConfigMap.",
    ),
)


def join_options(command: T) -> T:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def join_token(path: str | None) -> "JoinToken | None":
    """Return the join token in a file; None without one.

    Raises:
        ConfigError: it cannot be read, or is no token.
    """
    from openimds.credentials.hosts.join_token import read_join_token

    if not path:
        return None
    try:
        text = Path(path).read_text("ascii")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise ConfigError("--join-token-file", f"{path} ({reason})", "a file to read") from None
    return read_join_token(text) if text.strip() else None


def pod_files(token: str | None, fingerprints: str | None) -> "PodFiles | None":
    """Return the two files of a pod, or None without them.

    Raises:
        ConfigError: one is named without the other.
    """
    from openimds.credentials.hosts.pod_files import PodFiles

    if not token and not fingerprints:
        return None
    if not token or not fingerprints:
        there, lacking = "--join-service-account-token", "--control-fingerprint"
        if not token:
            there, lacking = lacking, there
        hint = "The one proves this host to control, the other control to this host"
        raise ConfigError(lacking, "nothing", f"a file beside that of {there}", hint)
    return PodFiles(Path(token), Path(fingerprints))
