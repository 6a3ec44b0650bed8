"""Client libraries that fetch tokens: how each finds IMDS, probes, retries and fails.

`AZURE_POD_IDENTITY_AUTHORITY_HOST` leads a library to another address than 169.254.169.254, the
variables of App Service lead it to another protocol, and `AZURE_TOKEN_CREDENTIALS` reduces its
default chain to one credential. Which of these a library reads depends on its version.
"""

from msgspec import Struct

from openimds.facts.evidence import Evidence, client, documented, observed

RUN_ON = "2026-11-29"
"""The day on which the libraries of these rows were run."""


class Tries(Struct, frozen=True):
    """The requests of one call that gets a status each time, and their seconds.

    By default settings, on the route `imds`; at `statuses` all the same.
    """

    statuses: tuple[int, ...]
    requests: int
    seconds: int


class ClientLibrary(Struct, frozen=True, kw_only=True):
    """An identity library, as its `newest` version behaves.

    `variable`, `app_service` and `azure_ml` are the oldest version that was seen to read these
    variables, or empty. `is_run` says that the tests run it. A `probe` is the request that the
    default chain sends first, at the real address.
    """

    key: str
    name: str
    language: str
    newest: str
    variable: str
    app_service: str
    azure_ml: str
    probe: str
    tries: tuple[Tries, ...]
    is_run: bool
    evidence: Evidence


class ChainPin(Struct, frozen=True, kw_only=True):
    """The answers of a library's versions to `AZURE_TOKEN_CREDENTIALS=ManagedIdentityCredential`.

    Older versions than the `refused` ones ignore the variable. These know `dev` and `prod` only,
    and answer with `error`. `known` is the first version that takes the name of a credential,
    `unprobed` the first that then sends no probe; `seen` are the versions that were run.
    """

    library: str
    refused: str
    error: str
    known: str
    unprobed: str
    seen: str
    evidence: Evidence


class ClientFault(Struct, frozen=True, kw_only=True):
    """A fault of a library's own, and the way around it."""

    library: str
    versions: str
    symptom: str
    remedy: str
    evidence: Evidence


class Verifier(Struct, frozen=True, kw_only=True):
    """A verifier of attested documents, and its way with revocation.

    `looks_up` says when it looks revocation up, and `advice` what it needs here. `is_run` says that
    the tests run it, before and after a revocation; `seen` has the date of another run.
    """

    name: str
    looks_up: str
    advice: str
    is_run: bool
    seen: str = "not run by the tests"
    evidence: Evidence


_RUN = observed("S50")
_NET = observed("S49")

LIBRARIES: dict[str, ClientLibrary] = {
    row.key: row
    for row in (
        ClientLibrary(
            key="python",
            name="azure-identity",
            language="Python",
            newest="1.27.0",
            variable="1.7.1",
            app_service="1.10.0",
            azure_ml="1.6.1",
            probe="a GET without the header, for 1 s, not repeated",
            tries=(Tries((404, 429, 500), 6, 25), Tries((410,), 6, 75)),
            is_run=True,
            evidence=_RUN,
        ),
        ClientLibrary(
            key="msal",
            name="msal",
            language="Python",
            newest="1.39.0",
            variable="1.39.0",
            app_service="1.39.0",
            azure_ml="1.39.0",
            probe="none",
            tries=(Tries((404, 410, 429, 500), 1, 0),),
            is_run=True,
            evidence=_RUN,
        ),
        ClientLibrary(
            key="javascript",
            name="@azure/identity",
            language="JavaScript",
            newest="4.14.1",
            variable="1.5.2",
            app_service="2.1.0",
            azure_ml="1.5.2",
            probe="a GET without header and query, for 1 s",
            tries=(
                Tries((404,), 6, 21),
                Tries((410,), 6, 68),
                Tries((429,), 1, 0),
                Tries((500,), 4, 6),
            ),
            is_run=True,
            evidence=_RUN,
        ),
        ClientLibrary(
            key="msal-node",
            name="@azure/msal-node",
            language="JavaScript",
            newest="7.2.1",
            variable="7.2.1",
            app_service="7.2.1",
            azure_ml="7.2.1",
            probe="none",
            tries=(Tries((404, 429, 500), 4, 8), Tries((410,), 8, 71)),
            is_run=True,
            evidence=_RUN,
        ),
        ClientLibrary(
            key="java",
            name="azure-identity",
            language="Java",
            newest="1.18.4",
            variable="1.18.4, with msal4j 1.26.1",
            app_service="1.9.2",
            azure_ml="1.9.2 only",
            probe="none: the chain asks for a token at once",
            tries=(Tries((404, 429, 500), 24, 116), Tries((410,), 48, 275)),
            is_run=True,
            evidence=_RUN,
        ),
        ClientLibrary(
            key="go",
            name="azidentity",
            language="Go",
            newest="1.15.0",
            variable="",
            app_service="1.1.0",
            azure_ml="1.3.1",
            probe="a GET without the header, for 1 s",
            tries=(Tries((404, 410, 429, 500), 7, 98),),
            is_run=True,
            evidence=_RUN,
        ),
        ClientLibrary(
            key="rust",
            name="azure_identity",
            language="Rust",
            newest="1.0.0",
            variable="",
            app_service="1.0.0",
            azure_ml="",
            probe="none: it has no default chain with managed identity",
            tries=(Tries((404, 410, 429, 500), 7, 101),),
            is_run=True,
            evidence=_RUN,
        ),
        ClientLibrary(
            key="dotnet",
            name="Azure.Identity",
            language=".NET",
            newest="1.21.0",
            variable="1.10.2 (for the default chain see below)",
            app_service="1.10.2",
            azure_ml="seen with DEFAULT_IDENTITY_CLIENT_ID",
            probe="a GET without the header; only a 400 of 169.254.169.254 counts",
            tries=(),
            is_run=False,
            evidence=observed("S49", note="not run by the tests; seen in November 2026"),
        ),
        ClientLibrary(
            key="cpp",
            name="azure-identity-cpp",
            language="C++",
            newest="1.13.2",
            variable="1.9.0",
            app_service="1.4.0",
            azure_ml="unknown",
            probe="one by the default chain alone, since 1.13.2",
            tries=(),
            is_run=False,
            evidence=documented("S51", note="release notes to October 2025; never run"),
        ),
    )
}

CHAIN_PINS: tuple[ChainPin, ...] = (
    ChainPin(
        library="python",
        refused="1.23.0 and 1.23.1",
        error="ValueError: Invalid value for AZURE_TOKEN_CREDENTIALS",
        known="1.24.0",
        unprobed="1.25.1",
        seen="1.4.0 1.5.0 1.6.1 1.7.1 1.10.0 1.12.0 1.15.0 1.17.1 1.19.0 1.21.0 1.22.0 1.23.0 "
        "1.23.1 1.24.0 1.25.0 1.25.1 1.25.2 1.25.3 1.26.0 1.27.0",
        evidence=_RUN,
    ),
    ChainPin(
        library="javascript",
        refused="4.10.0 to 4.10.2",
        error="Error: Invalid value for AZURE_TOKEN_CREDENTIALS = ManagedIdentityCredential",
        known="4.11.0",
        unprobed="4.13.0",
        seen="1.5.2 2.0.5 2.1.0 3.1.4 3.4.2 4.0.1 4.2.1 4.3.0 4.4.1 4.5.0 4.8.0 4.9.1 4.10.0 "
        "4.10.2 4.11.0 4.12.0 4.13.0 4.13.3 4.14.1",
        evidence=_RUN,
    ),
    ChainPin(
        library="java",
        refused="1.16.1 to 1.16.3",
        error="IllegalArgumentException: Invalid value for AZURE_TOKEN_CREDENTIALS",
        known="1.17.0",
        unprobed="1.18.1",
        seen="1.9.2 1.14.2 1.15.4 1.16.0 1.16.3 1.17.0 1.18.1 1.18.4",
        evidence=observed("S50", "S51", note="1.16.1 and 1.18.1 by their release notes"),
    ),
    ChainPin(
        library="go",
        refused="1.10.0 and 1.10.1",
        error='invalid AZURE_TOKEN_CREDENTIALS value "ManagedIdentityCredential"',
        known="1.11.0",
        unprobed="1.13.0",
        seen="1.1.0 1.3.1 1.4.0 1.5.2 1.9.0 1.10.0 1.10.1 1.11.0 1.12.0 1.13.0 1.13.1 1.15.0",
        evidence=_RUN,
    ),
    ChainPin(
        library="dotnet",
        refused="1.14",
        error="InvalidOperationException: Invalid value for environment variable "
        "AZURE_TOKEN_CREDENTIALS",
        known="1.15.0",
        unprobed="1.16.0",
        seen="1.10.2 to 1.21.0, not all",
        evidence=observed("S49", "S51", note="1.15.0 and 1.16.0 by their release notes"),
    ),
    ChainPin(
        library="cpp",
        refused="",
        error="",
        known="by 1.13.2",
        unprobed="1.13.2",
        seen="",
        evidence=documented("S51"),
    ),
)

CLIENT_FAULTS: tuple[ClientFault, ...] = (
    ClientFault(
        library="dotnet",
        versions="1.11 to 1.21, unless pinned in 1.16 or newer",
        symptom="`DefaultAzureCredential` accepts only the answer of 169.254.169.254 to its probe: "
        "with the host variable alone it never gets a token",
        remedy="the pin (1.16 and newer), App Service, or the real address",
        evidence=_NET,
    ),
    ClientFault(
        library="dotnet",
        versions="all, and MSAL.NET",
        symptom="on the route `azure-ml` it throws without DEFAULT_IDENTITY_CLIENT_ID where no "
        "identity is named",
        remedy="`openimds env --for azure-ml` sets it",
        evidence=_NET,
    ),
    ClientFault(
        library="dotnet",
        versions="Azure.Core 1.60 to 1.62",
        symptom="it asks `getplatformmetadata` six times, for 25 s, where that is 404",
        remedy="Azure.Core 1.53, 1.63 or newer, or `--msi-v2`",
        evidence=_NET,
    ),
    ClientFault(
        library="dotnet",
        versions="1.10.2 to 1.21",
        symptom="a 410 with a JSON body ends the default chain; with the XML of Azure's front it "
        "goes on",
        remedy="none; the body of `updating` here is assumed",
        evidence=_NET,
    ),
    ClientFault(
        library="java",
        versions="1.14.2 to 1.18.4 with their own msal4j, older than 1.26",
        symptom="with the host variable it asks `//metadata/identity/oauth2/token`, gets 404, and "
        "gives up after two minutes",
        remedy="msal4j 1.26.1 beside it, App Service, or the real address",
        evidence=observed("S50", "S52"),
    ),
    ClientFault(
        library="java",
        versions="1.14.2 to 1.18.4",
        symptom="retries of azure-identity and of msal4j multiply: 24 requests for a 404, 429 or "
        "500, 48 for a 410, also with `maxRetry(0)`",
        remedy="none; a test of a failure takes minutes",
        evidence=_RUN,
    ),
    ClientFault(
        library="java",
        versions="1.14.2 to 1.18.4",
        symptom="it takes MSI_ENDPOINT for Cloud Shell, also beside MSI_SECRET: the route "
        "`azure-ml` is refused",
        remedy="App Service",
        evidence=_RUN,
    ),
    ClientFault(
        library="javascript",
        versions="4.2.1 and 4.3.0",
        symptom="without the internet it fails with `unknown_error`, status 404, at the real "
        "address too",
        remedy="another version: 4.0.1 and 4.4.1 do not",
        evidence=_RUN,
    ),
    ClientFault(
        library="javascript",
        versions="4.4.1 and 4.5.0",
        symptom="it takes MSI_ENDPOINT for Cloud Shell, also beside MSI_SECRET: the route "
        "`azure-ml` is refused",
        remedy="4.8.0 or newer, or App Service",
        evidence=_RUN,
    ),
    ClientFault(
        library="python",
        versions="all with `aio`",
        symptom="`identity_config` goes into the query by the names of IMDS: with `resource_id` "
        "the system-assigned identity is used",
        remedy="write `msi_res_id`",
        evidence=_RUN,
    ),
    ClientFault(
        library="msal",
        versions="1.39.0",
        symptom="for 5 s after a 429 or 5xx it repeats that answer without a request",
        remedy="wait",
        evidence=_RUN,
    ),
    ClientFault(
        library="python",
        versions="1.5.0",
        symptom="on the route `azure-ml` it fails with `'int' object has no attribute 'endswith'`",
        remedy="1.6.1 or newer",
        evidence=_RUN,
    ),
    ClientFault(
        library="go",
        versions="1.1.0",
        symptom="it takes MSI_ENDPOINT for Cloud Shell, also beside MSI_SECRET: the route "
        "`azure-ml` is refused",
        remedy="1.3.1 or newer, or App Service",
        evidence=_RUN,
    ),
)

_VERIFIED = observed("S124")
_NODES = observed("S126")
_NODES_RUN_ON = "2026-11-30, by the tests where its program is present"
_BUNDLE = "every issuer in its hands, for it fetches none"
_NO_ADDRESSES = "the public URL; it refuses certificates without addresses"

VERIFIERS: tuple[Verifier, ...] = (
    Verifier(
        name=".NET: `X509Chain.Build`, `SignedCms.CheckSignature(false)`; PowerShell",
        looks_up="by default: the list at the first address of a certificate, kept on disk until "
        "its end",
        advice=f"{_NO_ADDRESSES}, else `X509RevocationMode.NoCheck`",
        is_run=False,
        evidence=_NET,
    ),
    Verifier(
        name="Java: `PKIXRevocationChecker`",
        looks_up="by default: OCSP, then the lists at all addresses",
        advice=f"{_NO_ADDRESSES} (also with SOFT_FAIL), else `setRevocationEnabled(false)`",
        is_run=True,
        evidence=_VERIFIED,
    ),
    Verifier(
        name="Java: `PKIXParameters` alone",
        looks_up="by default, but it fetches nothing without "
        "`-Dcom.sun.security.enableCRLDP=true` or `ocsp.enable`, and refuses",
        advice="one of the two, and the public URL",
        is_run=True,
        evidence=_VERIFIED,
    ),
    Verifier(
        name="OpenSSL: `openssl verify`",
        looks_up="with `-crl_check` or `-crl_check_all`, by the lists that it is given",
        advice="the lists, fetched as the page on attested documents does",
        is_run=True,
        evidence=_VERIFIED,
    ),
    Verifier(
        name="Ruby: `OpenSSL::X509::Store`",
        looks_up="with the flags V_FLAG_CRL_CHECK and V_FLAG_CRL_CHECK_ALL, by the lists that it "
        "is given",
        advice="the lists, by `add_crl`",
        is_run=True,
        evidence=_VERIFIED,
    ),
    Verifier(
        name="Go: `crypto/x509`",
        looks_up="never",
        advice=_BUNDLE,
        is_run=True,
        evidence=_VERIFIED,
    ),
    Verifier(
        name="Python: `ServerVerifier` of cryptography",
        looks_up="never",
        advice=_BUNDLE,
        is_run=True,
        evidence=_VERIFIED,
    ),
    Verifier(
        name="JavaScript: node-forge 1.3.1 and 1.4.3",
        looks_up="never; it checks no purpose either",
        advice=f"{_BUNDLE}; 1.3.1 refuses critical name constraints, as chains of 0.1.0 have them",
        is_run=True,
        evidence=_VERIFIED,
    ),
    Verifier(
        name="kops",
        looks_up="never",
        advice="issuers at https://www.microsoft.com: `openimds exec --pki-names azure`",
        is_run=False,
        seen=_NODES_RUN_ON,
        evidence=_NODES,
    ),
    Verifier(
        name="coder",
        looks_up="never",
        advice="issuers at www.microsoft.com alone, by one address, with one CA below the root: "
        "`openimds exec --pki-names azure --attest-generation 2024`",
        is_run=False,
        seen=_NODES_RUN_ON,
        evidence=_NODES,
    ),
    Verifier(
        name="SPIRE `azure_imds` to 1.15.1",
        looks_up="never",
        advice="it refuses every issuer here: the names of Microsoft's are built in",
        is_run=False,
        seen=_NODES_RUN_ON,
        evidence=_NODES,
    ),
    Verifier(
        name="SPIRE `azure_imds` after 1.15.3",
        looks_up="never",
        advice="the root and the CAs below it in `trust_bundle_path`, and "
        "`openimds exec --pki-names azure`; 1.15.2 and 1.15.3 have no such setting, and refuse",
        is_run=False,
        seen=_NODES_RUN_ON,
        evidence=_NODES,
    ),
    Verifier(
        name="Teleport",
        looks_up="never",
        advice="it refuses every document here: Microsoft's roots are built in",
        is_run=False,
        evidence=client("S53"),
    ),
)
