"""The token protocols of Azure hosts other than IMDS, and the routes to them.

App Service, Arc, Azure ML and Cloud Shell have token endpoints of their own, which clients find by
environment variables. A dialect is one api-version of such an endpoint: the proof that a caller has
to give, the parameters that select an identity, and the form of the response. A route is the set
of variables that leads clients to an endpoint.
"""

from enum import StrEnum

from msgspec import Struct

from openimds.facts.evidence import Evidence, client, documented


class Guard(StrEnum):
    """The header that proves the caller: `Metadata: true`, or one with the VM's secret."""

    METADATA = "metadata"
    IDENTITY = "x-identity-header"
    SECRET = "secret"  # noqa: S105 - the name of a header


class Time(StrEnum):
    """The form of `expires_on`."""

    TEXT = "seconds since 1970, as a string"
    NUMBER = "seconds since 1970, as a number"
    DATE = "month/day/year hour:minute:second AM or PM +00:00"


class Dialect(Struct, frozen=True):
    """One api-version of a token endpoint, or the only one of an endpoint without versions.

    `selectors` are the parameters that select an identity, each with its name at IMDS; `members`
    are those of the response, in order. With `falls_back`, a request without a selector gets the
    only user-assigned identity, as at IMDS. The response repeats the selectors in `confirms` for a
    user-assigned identity. With `is_challenged` the caller has to read a file first. `speaker` is
    the category of refusals that the dialect has rows in, `no_default` the refusal of a request
    without a selector; with `is_lenient` an unknown selector means the system-assigned identity.
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
    speaker: str = ""
    no_default: str = "identity_not_found"
    is_lenient: bool = False


_ARC_SELECTORS = ("client_id", "object_id", "msi_res_id")


def _arc(version: str, *sources: str) -> Dialect:
    return Dialect(
        "arc",
        version,
        Guard.METADATA,
        tuple((name, name) for name in _ARC_SELECTORS),
        ("access_token", "expires_in", "expires_on", "not_before", "resource", "token_type"),
        client(*sources, note="the members of the agent's response are not recorded"),
        confirms=_ARC_SELECTORS,
        is_challenged=True,
    )


def _app_service(version: str, evidence: Evidence) -> Dialect:
    return Dialect(
        "app_service",
        version,
        Guard.IDENTITY,
        (
            ("client_id", "client_id"),
            ("principal_id", "object_id"),
            ("object_id", "object_id"),
            ("mi_res_id", "mi_res_id"),
        ),
        ("access_token", "expires_on", "resource", "token_type", "client_id"),
        evidence,
        no_default="identity_unloadable",
    )


DIALECTS: tuple[Dialect, ...] = (
    Dialect(
        "app_service",
        "2017-09-01",
        Guard.SECRET,
        (("clientid", "client_id"),),
        ("access_token", "expires_on", "resource", "token_type"),
        documented("S40", "S41", note="the date as on Windows; Linux writes it without AM and PM"),
        time=Time.DATE,
        speaker="app_service.2017-09-01",
        no_default="identity_unloadable",
        is_lenient=True,
    ),
    _app_service("2019-08-01", documented("S40")),
    _app_service("2025-03-30", client("S64", note="as 2019-08-01")),
    Dialect(
        "azure_ml",
        "2017-09-01",
        Guard.SECRET,
        (("clientid", "client_id"), ("object_id", "object_id"), ("msi_res_id", "msi_res_id")),
        ("access_token", "expires_on", "resource", "token_type"),
        client("S41", note="as App Service, except that the time is a number"),
        time=Time.NUMBER,
        speaker="app_service.azure-ml",
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
    """A route to a token endpoint: its name, and the variables that lead clients there.

    In a value `{url}` is the URL of the data plane, `{secret}` the VM's secret, and `{client_id}`
    the client id of its first identity; a VM without identity has no variable with that. A route
    with a `setting` exists only where that setting is given.
    """

    key: str
    variables: tuple[tuple[str, str], ...]
    evidence: Evidence
    setting: str = ""

    @property
    def has_secret(self) -> bool:
        """Tell whether the route needs the VM's secret."""
        return any("{secret}" in value for _, value in self.variables)


IMDS = "imds"
CHAIN_PIN = "AZURE_TOKEN_CREDENTIALS"
"""Reduces `DefaultAzureCredential` to one credential, which is then not probed for.

`facts.clients` has the versions that know the name of a credential as its value.
"""

TOKEN_ROUTES: dict[str, TokenRoute] = {
    row.key: row
    for row in (
        TokenRoute(
            IMDS,
            (
                ("AZURE_POD_IDENTITY_AUTHORITY_HOST", "{url}"),
                (CHAIN_PIN, "ManagedIdentityCredential"),
                ("OPENIMDS_URL", "{url}"),
            ),
            client("S41", "S49", note=".NET's DefaultAzureCredential needs the pin"),
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
                ("IMDS_ENDPOINT", "{url}/arc"),
            ),
            client("S41", note="libraries look whether IMDS_ENDPOINT is set, scripts ask there"),
            setting="arc_folder",
        ),
        TokenRoute("cloud-shell", (("MSI_ENDPOINT", "{url}/oauth2/token"),), client("S41")),
        TokenRoute(
            "azure-ml",
            (
                ("MSI_ENDPOINT", "{url}/msi/ml/token"),
                ("MSI_SECRET", "{secret}"),
                ("DEFAULT_IDENTITY_CLIENT_ID", "{client_id}"),
            ),
            client("S41", "S49", note="MSAL.NET needs the client id where no identity is named"),
        ),
    )
}

EVERY_VARIABLE = tuple(sorted({name for row in TOKEN_ROUTES.values() for name, _ in row.variables}))
"""The variables of all token routes: a client prefers some to IMDS if they are set."""

MTLS: dict[str, str] = {
    "AzurePublicCloud": "https://{region}.mtlsauth.microsoft.com",
    "AzureUSGovernmentCloud": "https://{region}.mtlsauth.microsoftonline.us",
    "AzureChinaCloud": "https://{region}.mtlsauth.partner.microsoftonline.cn",
    "AzureGermanCloud": "",
    "AzureStack": "",
}
"""The host that gives a token for a certificate of MSI v2, by cloud."""
MTLS_EVIDENCE = client(
    "S10", note="regional hosts from MSAL; the old German cloud and Azure Stack Hub have none"
)

ARC_FOLDER = "/var/opt/azcmagent/tokens"
ARC_FOLDER_EVIDENCE = client("S41", note="clients on Linux read challenges in no other folder")
ARC_SUFFIX = ".key"
ARC_LIFE_S = 60
"""The lifetime of a challenge, assumed: the agent's own is not known."""
