"""The ways to a managed-identity token besides IMDS's own path.

Other hosts of Azure have token endpoints of their own, and clients find them by environment
variables. A dialect is one api-version of such an endpoint: how the caller proves that the token
is for him, which parameters choose an identity, and what the answer looks like. A setting is the
set of variables that makes clients take one of these ways.
"""

from enum import StrEnum

from msgspec import Struct

from openimds.facts.evidence import Evidence, client, documented


class Guard(StrEnum):
    """What proves the caller: a header with the word true, or one with the VM's secret."""

    METADATA = "metadata"
    IDENTITY = "x-identity-header"
    SECRET = "secret"  # noqa: S105 - the name of a header


class Time(StrEnum):
    """How `expires_on` is written."""

    TEXT = "seconds since 1970, as a string"
    NUMBER = "seconds since 1970, as a number"
    DATE = "month/day/year hour:minute:second AM or PM +00:00"


class Dialect(Struct, frozen=True):
    """One api-version of a token endpoint, or the only one of an endpoint without versions.

    `selectors` are the parameters that choose an identity, each with the name that IMDS has for
    it; `members` are those of the answer, in its order. Where `falls_back`, the only user-assigned
    identity serves a request without a selector, as at IMDS. A user-assigned identity is confirmed
    in the answer by `confirms`. `is_challenged` tells whether a file has to be read first.
    """

    endpoint: str
    version: str
    guard: Guard
    selectors: tuple[tuple[str, str], ...]
    members: tuple[str, ...]
    evidence: Evidence
    time: Time = Time.TEXT
    falls_back: bool = False
    confirms: tuple[str, ...] = ()
    is_challenged: bool = False


_ARC_SELECTORS = ("client_id", "object_id", "msi_res_id")


def _arc(version: str, *sources: str) -> Dialect:
    return Dialect(
        "arc",
        version,
        Guard.METADATA,
        tuple((name, name) for name in _ARC_SELECTORS),
        ("access_token", "expires_in", "expires_on", "not_before", "resource", "token_type"),
        client(*sources, note="which members the agent really has is not recorded"),
        confirms=_ARC_SELECTORS,
        is_challenged=True,
    )


DIALECTS: tuple[Dialect, ...] = (
    Dialect(
        "app_service",
        "2017-09-01",
        Guard.SECRET,
        (("clientid", "client_id"),),
        ("access_token", "expires_on", "resource", "token_type"),
        documented("S40", "S41", note="the date is Windows'; Linux writes it without AM and PM"),
        time=Time.DATE,
    ),
    Dialect(
        "app_service",
        "2019-08-01",
        Guard.IDENTITY,
        (
            ("client_id", "client_id"),
            ("principal_id", "object_id"),
            ("object_id", "object_id"),
            ("mi_res_id", "mi_res_id"),
        ),
        ("access_token", "expires_on", "resource", "token_type", "client_id"),
        documented("S40"),
    ),
    Dialect(
        "azure_ml",
        "2017-09-01",
        Guard.SECRET,
        (("clientid", "client_id"), ("object_id", "object_id"), ("msi_res_id", "msi_res_id")),
        ("access_token", "expires_on", "resource", "token_type"),
        client("S41", note="App Service's way, but for the time, which is a number"),
        time=Time.NUMBER,
    ),
    _arc("2019-08-15", "S41"),
    _arc("2019-11-01", "S10", "S45"),
    _arc("2020-06-01", "S41", "S44"),
    _arc("2021-02-01", "S46"),
    Dialect(
        "cloud_shell",
        "",
        Guard.METADATA,
        tuple((name, name) for name in _ARC_SELECTORS),
        (
            "access_token",
            "refresh_token",
            "expires_in",
            "expires_on",
            "not_before",
            "resource",
            "token_type",
        ),
        documented("S43", note="the refresh token is empty"),
        falls_back=True,
    ),
)


class TokenRoute(Struct, frozen=True):
    """A way to a token: its name, and the variables by which clients find it.

    In a variable's value `{url}` is where the data plane listens, `{secret}` the VM's secret.
    """

    key: str
    variables: tuple[tuple[str, str], ...]
    evidence: Evidence
    setting: str = ""

    @property
    def has_secret(self) -> bool:
        """Tell whether one needs the VM's secret to go there."""
        return any("{secret}" in value for _, value in self.variables)


IMDS = "imds"

TOKEN_ROUTES: dict[str, TokenRoute] = {
    row.key: row
    for row in (
        TokenRoute(
            IMDS,
            (("AZURE_POD_IDENTITY_AUTHORITY_HOST", "{url}"), ("OPENIMDS_URL", "{url}")),
            client("S41"),
        ),
        TokenRoute(
            "app-service",
            (("IDENTITY_ENDPOINT", "{url}/msi/token"), ("IDENTITY_HEADER", "{secret}")),
            documented("S40"),
        ),
        TokenRoute(
            "functions-2017",
            (("MSI_ENDPOINT", "{url}/msi/token"), ("MSI_SECRET", "{secret}")),
            documented("S40"),
        ),
        TokenRoute(
            "arc",
            (
                ("IDENTITY_ENDPOINT", "{url}/arc/metadata/identity/oauth2/token"),
                ("IMDS_ENDPOINT", "{url}"),
            ),
            client("S41"),
            setting="arc_folder",
        ),
        TokenRoute("cloud-shell", (("MSI_ENDPOINT", "{url}/oauth2/token"),), client("S41")),
        TokenRoute(
            "azure-ml",
            (("MSI_ENDPOINT", "{url}/msi/ml/token"), ("MSI_SECRET", "{secret}")),
            client("S41"),
        ),
    )
}

MTLS: dict[str, str] = {
    "AzurePublicCloud": "https://{region}.mtlsauth.microsoft.com",
    "AzureUSGovernmentCloud": "https://{region}.mtlsauth.microsoftonline.us",
    "AzureChinaCloud": "https://{region}.mtlsauth.partner.microsoftonline.cn",
    "AzureGermanCloud": "",
}
"""Where a certificate of version 2 buys a token, by cloud."""
MTLS_EVIDENCE = client("S10", note="regional hosts of MSAL; the old German cloud has none")

ARC_FOLDER = "/var/opt/azcmagent/tokens"
ARC_FOLDER_EVIDENCE = client("S41", note="clients on Linux read challenges in no other folder")
ARC_SUFFIX = ".key"
ARC_LIFE_S = 60
"""How long a challenge may be answered; the agent's own time is not known."""
