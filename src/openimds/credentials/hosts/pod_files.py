"""The two files of a host's pod: its service-account token, and the fingerprints of control.

Kubernetes rotates the token and rewrites the ConfigMap, so both are read anew for each attempt.
"""

import re
from pathlib import Path

from msgspec import Struct

from openimds.credentials.hosts.service_accounts import MAX_TOKEN_CHARACTERS, form_refusal
from openimds.errors import ConfigError

MAX_FINGERPRINT_BYTES = 4_096
"""The longest file of fingerprints: control has up to nine roots, of 65 octets each."""
_FINGERPRINT = re.compile("[0-9a-f]{64}")
_OF_TOKEN, _OF_PRINTS = "--join-service-account-token", "--control-fingerprint"
_VOLUME = 'It is a projected volume with serviceAccountToken and the audience "openimds"'
_CONFIG_MAP = "It is the ConfigMap that control writes by --publish-root"


class PodProof(Struct, frozen=True):
    """A token for control, and the fingerprints by which control is known."""

    token: str
    fingerprints: tuple[str, ...]
    other_root: str
    """The error where control has none of these roots."""


class PodFiles(Struct, frozen=True):
    """The paths of both files."""

    token: Path
    fingerprints: Path

    def read(self) -> PodProof:
        """Return their content.

        Raises:
            ConfigError: one cannot be read, or holds something else.
        """
        text = _text(self.token, MAX_TOKEN_CHARACTERS, _OF_TOKEN, _VOLUME).strip()
        if refusal := form_refusal(text):
            seen = f"{self.token} ({refusal.reason})"
            raise ConfigError(_OF_TOKEN, seen, "a service account's token", _VOLUME)
        prints = _text(self.fingerprints, MAX_FINGERPRINT_BYTES, _OF_PRINTS, _CONFIG_MAP).split()
        if not prints or not all(map(_FINGERPRINT.fullmatch, prints)):
            seen = (
                f"{self.fingerprints} with other text" if prints else f"{self.fingerprints}, empty"
            )
            expected = "fingerprints of 64 hexadecimal digits, one a line"
            raise ConfigError(_OF_PRINTS, seen, expected, _CONFIG_MAP)
        return PodProof(text, tuple(prints), _other_root(self.fingerprints))


def _other_root(path: Path) -> str:
    return (
        f"the server at --control is another one: no root of its has a fingerprint in {path}. "
        "Check the address, and that this ConfigMap is the one of --publish-root of control"
    )


def _text(path: Path, most: int, where: str, hint: str) -> str:
    try:
        with path.open("rb") as file:
            octets = file.read(most + 2)  # With the end of a line.
        text = octets.decode("ascii")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise ConfigError(where, f"{path} ({reason})", "a file to read", hint) from None
    if len(octets) > most + 1:
        raise ConfigError(where, f"{path}, longer", f"at most {most} characters", hint)
    return text
