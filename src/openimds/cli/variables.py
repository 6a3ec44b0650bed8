"""The variables of the environment that commands read; unknown ones are reported at a start."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches

from openimds.log.events import SETTING
from openimds.settings import CONFIG_VARIABLE, SETTINGS

_PREFIX = "OPENIMDS_"
OF_COMMANDS = (
    CONFIG_VARIABLE,
    "OPENIMDS_ADMIN",
    "OPENIMDS_CA",
    "OPENIMDS_CLIENT_CERT",
    "OPENIMDS_CLIENT_KEY",
    "OPENIMDS_CONTROL",
    "OPENIMDS_CONTROL_FINGERPRINT",
    "OPENIMDS_HOSTS",
    "OPENIMDS_HOST_NAME",
    "OPENIMDS_JOIN_SERVICE_ACCOUNT",
    "OPENIMDS_JOIN_SERVICE_ACCOUNT_TOKEN",
    "OPENIMDS_JOIN_TOKEN_FILE",
    "OPENIMDS_KEY_FILE",
    "OPENIMDS_KUBERNETES_API",
    "OPENIMDS_KUBERNETES_FOLDER",
    "OPENIMDS_KUBEVIRT_TEMPLATE",
    "OPENIMDS_NODE",
    "OPENIMDS_PUBLISH_ROOT",
    "OPENIMDS_STORE",
    "OPENIMDS_STORE_PASSWORD_FILE",
    "OPENIMDS_TOKEN_FILE",
    "OPENIMDS_URL",
    "OPENIMDS_VM",
)
"""The variables beside those of settings."""
_OF_KUBERNETES = re.compile(r"OPENIMDS(_[A-Z0-9_]+)?_(SERVICE_(HOST|PORT).*|PORT(_[0-9].*)?)")
"""Kubernetes gives every pod such variables of a service that is named openimds."""


def unknown_variables(names: Iterable[str]) -> Iterator[str]:
    """Yield a message for each variable with the prefix that nothing reads."""
    known = {row.variable for row in SETTINGS} | {*OF_COMMANDS}
    for name in sorted(names):
        if not name.startswith(_PREFIX) or name in known or _OF_KUBERNETES.fullmatch(name):
            continue
        # Without the prefix: with it, all of them are alike.
        own = {one.removeprefix(_PREFIX): one for one in known}
        near = get_close_matches(name.removeprefix(_PREFIX), own, 1)
        hint = f"; perhaps it should be {own[near[0]]}" if near else ""
        yield f"{name} has no effect: there is no such variable{hint}"


def report_unknown_variables(notify: Callable[[str], object]) -> None:
    """Report the unknown variables of this process."""
    for sentence in unknown_variables(os.environ):
        notify(SETTING.message(sentence))
