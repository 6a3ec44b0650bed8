"""Settings: one typed struct, whose fields are the rows of flags, variables, file and docs.

A value comes from the flag, else from the environment (`OPENIMDS_LISTEN`), else from the file
`openimds.toml`, else it is the field's default. The reader of `parameters` checks it the same way
wherever it comes from, and an error names the place where it was written.
"""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

from msgspec import Struct, structs

from openimds.facts.generations import GENERATIONS
from openimds.facts.generations import NEWEST as NEWEST_CERTIFICATES
from openimds.facts.limits import LIMITS
from openimds.facts.tokens import LIFE_S
from openimds.facts.versions import GENERAL, NEWEST
from openimds.parameters import DURATION, MisfitError, Parameter, check_names, read_value

FILE_NAME = "openimds.toml"
CONFIG_VARIABLE = "OPENIMDS_CONFIG"
_PUBLIC_URL = re.compile(
    r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?"
    r"(/[A-Za-z0-9._~!$&'()*+,;=:@/-]*)?"
)
"""An authority, and a path of the letters that RFC 3986 needs not encode."""
_HOST_NAME = re.compile(r"[a-z0-9._-]{1,253}")
_URL_FORM = "http://HOST:PORT/PATH, or https, without a user, a query or a fragment"


class Setting(Parameter, frozen=True):
    """The row of one setting, made from a field of `Settings`.

    A boolean has no `metavar`; on the command line it is `--name` or `--no-name`. The value of a
    secret one is not logged.
    """

    is_secret: bool = False

    @property
    def flag(self) -> str:
        """The option on the command line, such as `--token-life`."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable, such as `OPENIMDS_TOKEN_LIFE`."""
        return "OPENIMDS_" + self.name.upper()

    @property
    def default_text(self) -> str:
        """The default as it is written in a file; nothing if there is none."""
        if isinstance(self.default, tuple):
            return ", ".join(self.default)
        return str(self.default).lower() if isinstance(self.default, bool) else str(self.default)


class _Row(Struct, frozen=True):
    """The part of a setting that its field's name, type and default do not give."""

    help: str
    metavar: str = ""
    minimum: int | None = None
    choices: tuple[str | int, ...] = ()
    convert: Callable[[Any], Any] | None = None
    is_secret: bool = False


def _admin(text: str) -> str:
    """Accept a URL as well: clients read a URL from the same variable."""
    return text.removeprefix("http://").removeprefix("https://").removesuffix("/")


def _url(text: str) -> str:
    """Return a URL without a slash at its end."""
    if text and not _PUBLIC_URL.fullmatch(text):
        raise MisfitError(_URL_FORM)
    return text.rstrip("/")


def _issuer(text: str) -> str:
    if text in {"azure", "public"}:
        return text
    try:
        return _url(text)
    except MisfitError:
        raise MisfitError(f"azure, public, or {_URL_FORM}") from None


def _names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names in lower case without a final slash; spaces separate them, too."""
    return tuple(name.lower().rstrip("/") for text in names for name in text.split())


def _hosts(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return host names in lower case; spaces separate them, too."""
    found = _names(names)
    if any(not _HOST_NAME.fullmatch(name) for name in found):
        raise MisfitError("host names, without a port")
    return found


class Settings(Struct, frozen=True, kw_only=True):
    """All settings of a server, in the order of the help.

    A field is the only definition of its setting; `SETTINGS` and all that is shown of settings
    derive from it. A `DURATION` is a number of seconds, or a text such as 24h.
    """

    fleet: Annotated[
        str, _Row("Fleet file (YAML, TOML or JSON), or a folder of fleet files.", "PATH")
    ] = ""
    document: Annotated[
        str,
        _Row(
            "Captured VM to serve: a file of openimds capture, or a /metadata/instance body.",
            "FILE",
        ),
    ] = ""
    listen: Annotated[
        str, _Row("Addresses of the data plane, separated by commas.", "HOST:PORT")
    ] = "127.0.0.1:8169"
    listen_hosts: Annotated[
        tuple[str, ...],
        _Row(
            "Further host names by which clients on this machine, or through a published port, "
            "call the data plane, separated by commas.",
            "NAMES",
            convert=_hosts,
        ),
    ] = ()
    check_hosts: Annotated[
        bool,
        _Row(
            "Check Host and Origin of every caller of the data plane, not only of those on this "
            "machine: for a published port. Host names without a dot pass."
        ),
    ] = False
    admin: Annotated[
        str, _Row("Address of the admin API, or none.", "HOST:PORT", convert=_admin)
    ] = "127.0.0.1:8170"
    admin_hosts: Annotated[
        tuple[str, ...],
        _Row("Further host names of the admin API, separated by commas.", "NAMES", convert=_names),
    ] = ()
    admin_cert: Annotated[
        str,
        _Row(
            "Certificates (PEM) of the admin API, which then speaks https; read again when the "
            "file changes.",
            "FILE",
        ),
    ] = ""
    admin_key: Annotated[
        str, _Row("Private key (PEM) of the first certificate in --admin-cert.", "FILE")
    ] = ""
    admin_client_ca: Annotated[
        str,
        _Row(
            "CAs (PEM) of client certificates, which the admin API then demands beside the token.",
            "FILE",
        ),
    ] = ""
    metrics: Annotated[
        str,
        _Row(
            "Address of a listener for /metrics alone, which needs no token, or none.",
            "HOST:PORT",
        ),
    ] = "none"
    state: Annotated[
        str, _Row("State directory; without one, a restart loses every change.", "DIR")
    ] = ""
    state_recover: Annotated[
        bool,
        _Row(
            "Start although the store is missing, damaged or older than it was, with what is left."
        ),
    ] = False
    state_group: Annotated[
        str,
        _Row("Group that may read and write the state directory, as that of a volume.", "GROUP"),
    ] = ""
    history_days: Annotated[
        int,
        _Row(
            "Days for which the audit log and the event log are kept; 0: without a bound by age.",
            "N",
            minimum=0,
        ),
    ] = 30
    history_mib: Annotated[
        int,
        _Row("Size limit of the audit log and the event log together.", "MIB", minimum=1),
    ] = 900
    public: Annotated[
        str,
        _Row(
            "Address of published keys and certificates, or none; auto: 127.0.0.1:8171, else a "
            "free port.",
            "HOST:PORT",
        ),
    ] = "auto"
    public_url: Annotated[
        str,
        _Row(
            "URL of the published keys and certificates for others; by default the listener's.",
            "URL",
            convert=_url,
        ),
    ] = ""
    issuer: Annotated[
        str,
        _Row(
            "Issuer of tokens: azure (as in Azure), public (our discovery document), or a URL.",
            "NAME",
            convert=_issuer,
        ),
    ] = "azure"
    attest_key: Annotated[
        str,
        _Row("Private key (PEM) of an external intermediate CA for attested documents.", "FILE"),
    ] = ""
    attest_certificates: Annotated[
        str,
        _Row("Certificates (PEM) of the external intermediate CA and the CAs above it.", "FILE"),
    ] = ""
    attest_crl: Annotated[
        tuple[str, ...],
        _Row(
            "Lists of revoked certificates (CRL) that CAs with keys elsewhere have signed; may be "
            "repeated.",
            "FILE",
        ),
    ] = ()
    attest_ocsp: Annotated[
        tuple[str, ...],
        _Row("OCSP responses that CAs with keys elsewhere have signed; may be repeated.", "FILE"),
    ] = ()
    attest_generation: Annotated[
        str,
        _Row(
            "Generation of new certificates for attested documents: the year of Azure's form.",
            "YEAR",
            choices=tuple(GENERATIONS),
        ),
    ] = NEWEST_CERTIFICATES
    attest_tier_bits: Annotated[
        int,
        _Row(
            "Bits of new keys of CAs for attested documents; Azure's have 4096.",
            "N",
            choices=(2048, 4096),
        ),
    ] = 2048
    pki_names: Annotated[
        Literal["own", "azure"],
        _Row(
            "Hosts in the certificates of attested documents: own (of the public URL) or azure "
            "(Microsoft's, in openimds exec and tests marked real_address).",
            "NAME",
        ),
    ] = "own"
    token_life: Annotated[int, _Row("Lifetime of tokens.", DURATION, minimum=60)] = LIFE_S
    unsafe_claims: Annotated[
        bool,
        _Row(
            "Accept claims of identities that replace those that only Entra makes, such as iss "
            "and exp."
        ),
    ] = False
    forget_tokens: Annotated[
        bool,
        _Row("Drop the tokens of a VM when it changes; Azure keeps them until they expire."),
    ] = False
    entra: Annotated[
        Literal["", "federation", "service-principal", "az"],
        _Row(
            "Credential for tokens of identities with source entra: federation (each identity "
            "for itself), service-principal (AZURE_* variables), or az (the Azure CLI).",
            "NAME",
        ),
    ] = ""
    v2_resources: Annotated[
        tuple[str, ...],
        _Row("Resources with tokens of version 2.0, separated by commas.", "NAMES", convert=_names),
    ] = ()
    arc_folder: Annotated[
        str,
        _Row(
            "Enable Azure Arc's token endpoint, with challenge files in this folder; libraries "
            "accept /var/opt/azcmagent/tokens only.",
            "DIR",
        ),
    ] = ""
    msi_v2: Annotated[
        bool, _Row("Enable managed identity version 2: certificates instead of tokens.")
    ] = False
    rate_limit: Annotated[bool, _Row("Limit requests per VM as Azure does.")] = True
    general_per_s: Annotated[int, _Row("Requests per second and VM.", "N", minimum=1)] = LIMITS[
        "general"
    ].per_s
    general_burst: Annotated[
        int, _Row("Burst of requests per VM; 0: one second's worth.", "N", minimum=0)
    ] = 0
    identity_per_s: Annotated[int, _Row("Identity requests per second and VM.", "N", minimum=1)] = (
        LIMITS["identity"].per_s
    )
    identity_burst: Annotated[
        int, _Row("Burst of identity requests per VM; 0: one second's worth.", "N", minimum=0)
    ] = 0
    newest_version: Annotated[
        str,
        _Row(
            "Newest general api-version, as in a region without later ones.",
            "VERSION",
            choices=tuple(row.name for row in GENERAL),
        ),
    ] = NEWEST
    scenario: Annotated[
        str, _Row("Scenario file: scheduled events that come by themselves.", "FILE")
    ] = ""
    event_hook: Annotated[
        str,
        _Row(
            "Webhook of scheduled events: a command (JSON on stdin) or a URL (POST).",
            "HOOK",
            is_secret=True,
        ),
    ] = ""
    events_activation: Annotated[
        bool,
        _Row("Show scheduled events only 5 minutes after the first request, as Azure does."),
    ] = False
    virtual_clock: Annotated[
        bool,
        _Row("Let POST /v1/clock set the time of guests: events, tokens, attested documents."),
    ] = False
    record: Annotated[
        int,
        _Row(
            "Requests kept per VM for openimds requests and GET /v1/requests; 0: none.",
            "N",
            minimum=0,
        ),
    ] = 0
    cache_mib: Annotated[int, _Row("Size limit of the response cache.", "MIB", minimum=1)] = 256
    max_connections: Annotated[
        int,
        _Row(
            "Most open connections of guests; fewer if the limit of open files is low. A newcomer "
            "gets the place of the largest holder's oldest idle one.",
            "N",
            minimum=1,
        ),
    ] = 20000
    max_connections_per_vm: Annotated[
        int,
        _Row(
            "Most open connections of a VM; all unknown callers together count as one VM.",
            "N",
            minimum=1,
        ),
    ] = 1024
    processes: Annotated[
        int,
        _Row(
            "Processes of openimds serve: 2 keeps operators' requests apart from guests'; 1 takes "
            "less memory, and is the only choice on Windows.",
            "N",
            choices=(1, 2),
        ),
    ] = 2
    log_format: Annotated[
        Literal["auto", "logfmt", "json"],
        _Row("Form of the log on stderr; auto: logfmt on a terminal, else JSON lines.", "NAME"),
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "notice", "warning", "error"],
        _Row("Least level of the lines of the log.", "LEVEL"),
    ] = "info"
    access_log: Annotated[
        Literal["off", "sampled", "all"],
        _Row(
            "Guests' requests in the log: none, a sample of them, or all. With a sample, too, each "
            "request is parsed: none is answered from a response kept by the request's bytes.",
            "WHICH",
        ),
    ] = "off"
    access_sample: Annotated[
        int,
        _Row("With --access-log sampled, one request in so many is logged.", "N", minimum=1),
    ] = 100
    loop: Annotated[
        Literal["auto", "asyncio", "uvloop"],
        _Row("Without effect, and gone with 1.0: the data plane has its own loop.", "NAME"),
    ] = "auto"


def _setting(field: structs.FieldInfo) -> Setting:
    kind, row = get_args(field.type)
    choices = row.choices
    if get_origin(kind) is Literal:
        kind, choices = str, tuple(word for word in get_args(kind) if word)
    return Setting(
        name=field.name,
        type=get_origin(kind) or kind,
        help=row.help,
        default=field.default,
        minimum=row.minimum,
        choices=choices,
        metavar=row.metavar,
        convert=row.convert,
        is_secret=row.is_secret,
    )


SETTINGS: tuple[Setting, ...] = tuple(map(_setting, structs.fields(Settings)))
"""The rows of all settings, in the order of the help."""

_ROWS = {row.name: row for row in SETTINGS}


def setting(name: str) -> Setting:
    """Return the row of a setting."""
    return _ROWS[name]


def resolve(
    flags: Mapping[str, object],
    environment: Mapping[str, str],
    file: Mapping[str, object],
    file_name: str = FILE_NAME,
) -> Settings:
    """Return the settings, each from the first source that has it.

    `flags` are the values of the command line, None where a flag is absent; `file` is the content
    of the configuration file.

    Raises:
        ConfigError: a value does not fit, or the file has a key that is no setting.
    """
    check_names(file, _ROWS, file_name)
    values: dict[str, Any] = {}
    for row in SETTINGS:
        sources = (
            (row.flag, flags.get(row.name)),
            (row.variable, environment.get(row.variable)),
            (f"{file_name}: {row.name}", file.get(row.name)),
        )
        for where, value in sources:
            if value is not None:
                values[row.name] = _read(row, value, where)
                break
    return Settings(**values)


def _read(row: Setting, value: object, where: str) -> object:
    # An empty variable switches a choice off: "" is the default, and no word of its own.
    return "" if value == row.default == "" else read_value(row, value, where, text=True)
