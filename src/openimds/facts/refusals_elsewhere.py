"""The refusal rows beside the general ones: identity protocols, load balancer, HTTP."""

from msgspec import structs

from openimds.facts.evidence import Evidence, chosen, client, documented, inferred, observed
from openimds.facts.headers import BARE, TEXT_MEDIA
from openimds.facts.refusal import RefusalRow


def _identity(description: str, error: str = "invalid_request") -> str:
    return f'{{"error":"{error}","error_description":"{description}"}}'


_UNSUPPORTED = observed(
    "S80", note="getplatformmetadata with msi_res_id; for another cred-api-version it is inferred"
)

IDENTITY: tuple[RefusalRow, ...] = (
    RefusalRow(
        "not_found",
        "identity",
        404,
        '{"error":"Not Found"}',
        observed("S25", note="capital F; the status is inferred"),
    ),
    RefusalRow(
        "header_missing",
        "identity",
        400,
        _identity("Required metadata header not specified"),
        observed("S29", note="2020-09, 88 bytes"),
    ),
    RefusalRow(
        "duplicate_parameter",
        "identity",
        400,
        _identity("Duplicate query parameters are not allowed"),
        documented("S6", note="the error code is documented, the description is assumed"),
    ),
    RefusalRow(
        "resource_missing",
        "identity",
        400,
        _identity("Required query variable 'resource' is missing"),
        observed("S30"),
    ),
    RefusalRow(
        "identity_not_found",
        "identity",
        400,
        _identity("Identity not found"),
        observed("S29", note="2022-10-15, 68 bytes"),
    ),
    RefusalRow(
        "identity_ambiguous",
        "identity",
        400,
        _identity(
            "Multiple user assigned identities exist, please specify the clientId / resourceId "
            "of the identity in the token request"
        ),
        observed("S30"),
    ),
    RefusalRow(
        "selectors_exclude",
        "identity",
        400,
        _identity("Only one of client_id, object_id and msi_res_id may be given"),
        chosen("that they exclude each other is documented (S4); the description is assumed"),
    ),
    RefusalRow(
        "claims_unsupported",
        "identity",
        400,
        _identity("Unsupported claims"),
        client("S64", note="the status; the description is assumed"),
    ),
    RefusalRow(
        "resource_unknown",
        "identity",
        400,
        '{"error":"invalid_resource","error_description":"AADSTS500011: The resource principal '
        "named {resource} was not found in the tenant named {tenant}. This can happen if the "
        "application has not been installed by the administrator of the tenant or consented to by "
        "any user in the tenant. You might have sent your authentication request to the wrong "
        "tenant.\\r\\nTrace ID: {trace}\\r\\nCorrelation ID: {correlation}\\r\\nTimestamp: {at}"
        '","error_codes":[500011],"timestamp":"{at}","trace_id":"{trace}","correlation_id":'
        '"{correlation}","error_uri":"https://{login}/error?code=500011"}',
        observed(
            "S10",
            "S80",
            note="2022-11-10; Entra's own body, passed on by IMDS; a regional host was seen once",
        ),
    ),
    RefusalRow(
        "entra_refused",
        "identity",
        400,
        '{"error":"{error}","error_description":"{description}"}',
        documented("S6", note="Entra's own error, passed on by IMDS, such as unauthorized_client"),
    ),
    RefusalRow(
        "verb_not_allowed",
        "identity",
        405,
        _identity("Not allowed", "method_not_allowed"),
        documented("S4", note="the error and the description of a swagger example"),
        headers=("Allow",),
    ),
    RefusalRow(
        "throttled",
        "identity",
        429,
        _identity("Temporarily throttled, too many requests"),
        observed("S30"),
    ),
    RefusalRow(
        "server_error",
        "identity",
        500,
        _identity(
            "Failed to retrieve token from the Active directory. For details see logs in "
            "<file path>",
            "unknown",
        ),
        documented("S6"),
    ),
    RefusalRow(
        "attestation_missing",
        "identity",
        400,
        _identity("Attestation Token is missing / empty in the issue credential request"),
        client("S10"),
    ),
    RefusalRow(
        "variables_unsupported",
        "identity",
        400,
        _identity("Unsupported query variables"),
        _UNSUPPORTED,
    ),
    RefusalRow(
        "credential_version_missing",
        "identity",
        400,
        _identity("Required query variable 'cred-api-version' is missing"),
        inferred("S30", note="the words for a missing resource"),
    ),
    RefusalRow(
        "credential_version_unknown",
        "identity",
        400,
        _identity("Unsupported query variables"),
        _UNSUPPORTED,
    ),
    RefusalRow(
        "request_malformed",
        "identity",
        400,
        _identity("The certificate signing request is missing or malformed"),
        chosen("that one is required is known (S10); the description is assumed"),
    ),
)

_NO_APP_SERVICE = chosen("the form is App Service's, the text is not recorded")
_OLD_APP_SERVICE, _AZURE_ML = "app_service.2017-09-01", "app_service.azure-ml"


def _app_service(
    key: str, status: int, message: str, evidence: Evidence, category: str = "app_service"
) -> RefusalRow:
    body = f'{{"statusCode":{status},"message":"{message}","correlationId":"{{correlation}}"}}'
    return RefusalRow(key, category, status, body, evidence)


def _bare(key: str, category: str, status: int, evidence: Evidence) -> RefusalRow:
    return RefusalRow(key, category, status, "", evidence, family=BARE)


def _machine_learning(key: str, status: int, text: str, evidence: Evidence) -> RefusalRow:
    return RefusalRow(key, _AZURE_ML, status, text, evidence, media=TEXT_MEDIA)


def _unfit_version(key: str, code: str, message: str, evidence: Evidence) -> RefusalRow:
    body = f'{{"error":{{"code":"{code}","message":"{message}","innerError":null}}}}'
    return RefusalRow(key, "app_service", 400, body, evidence)


_NO_BODY = documented("S80", note="the status; the empty body is inferred")
_NO_SECRET = observed(
    "S80",
    note="without the header: 2019-08-01 in Container Apps, 2025-04; of a wrong one the status is "
    "documented",
)
_INVALID_SECRET = "Invalid secret token header: "  # noqa: S105 - Azure's words
_NO_ML_SECRET = observed(
    "S83",
    note="the text without the header; the status is assumed, and a wrong secret is not repeated",
)
_NO_REASON = observed("S42", note="for every refusal of the resource by Entra")
_NO_TOKEN = "An unexpected error occured while fetching the AAD Token."  # noqa: S105 - Azure's words

APP_SERVICE: tuple[RefusalRow, ...] = (
    _bare("header_missing", "app_service", 403, _NO_SECRET),
    _bare("secret_wrong", "app_service", 403, _NO_SECRET),
    _bare("header_missing", _OLD_APP_SERVICE, 401, _NO_BODY),
    _bare("secret_wrong", _OLD_APP_SERVICE, 401, _NO_BODY),
    _app_service("forwarded", 400, "X-Forwarded-For header is not allowed", _NO_APP_SERVICE),
    _app_service("duplicate_parameter", 400, "Duplicate query parameters", _NO_APP_SERVICE),
    _unfit_version(
        "version_missing",
        "ApiVersionUnspecified",
        "An API version is required, but was not specified.",
        inferred(note="from the web framework that answers UnsupportedApiVersion"),
    ),
    _unfit_version(
        "version_unknown",
        "UnsupportedApiVersion",
        "The HTTP resource that matches the request URI '{path}' does not support the API version "
        "'{value}'.",
        observed("S42", note="2020-04, Functions on Linux; there the URI is absolute"),
    ),
    _app_service("resource_missing", 400, "Required parameter resource missing", _NO_APP_SERVICE),
    _app_service(
        "identity_not_found",
        400,
        "No User Assigned or Delegated Managed Identity found for specified "
        "ClientId/ResourceId/PrincipalId.",
        observed("S42", "S81"),
    ),
    _app_service(
        "identity_unloadable",
        400,
        "Unable to load the proper Managed Identity.",
        observed("S80", note="2024-04: user-assigned identities only, and no id given"),
    ),
    _app_service(
        "identity_unloadable",
        400,
        "Unable to load requested managed identity.",
        observed("S80", note="2021-11"),
        _OLD_APP_SERVICE,
    ),
    _app_service("selectors_exclude", 400, "Only one identity may be specified", _NO_APP_SERVICE),
    _app_service(
        "resource_unknown",
        500,
        _NO_TOKEN,
        _NO_REASON,
    ),
    _app_service("entra_refused", 500, "{error}: {description}", _NO_APP_SERVICE),
    _app_service("throttled", 429, "Too many requests", _NO_APP_SERVICE),
    _app_service("server_error", 500, _NO_TOKEN, _NO_REASON),
    RefusalRow(
        "unavailable",
        "app_service",
        503,
        '{"ExceptionMessage":"","ErrorCode":"service_unavailable","ServiceErrorCodes":null,'
        '"StatusCode":503,"Message":null,"CorrelationId":"{correlation}"}',
        observed("S81", note="2020-03, on Windows"),
    ),
    _machine_learning("header_missing", 401, _INVALID_SECRET, _NO_ML_SECRET),
    _machine_learning("secret_wrong", 401, _INVALID_SECRET, _NO_ML_SECRET),
    _machine_learning(
        "not_found",
        404,
        "InternalError - :{\nInfo: Request failure status code: 404\n\n}",
        observed("S83", note="the status is inferred"),
    ),
)
"""App Service, Functions and Azure ML. Two forms: the endpoint's and its framework's."""

WINDOWS = ".windows"
"""The dialect of App Service for a VM with Windows, before that of the api-version."""
_ON_WINDOWS = client(
    "S81", note="the names of the members, from a client's test; the words are those of Linux"
)


def _on_windows(row: RefusalRow) -> RefusalRow:
    """Return a row of App Service as Windows writes it, with members in PascalCase."""
    category, dot, version = row.category.partition(".")
    body = row.body
    for name in ("statusCode", "message", "correlationId"):
        body = body.replace(f'"{name}":', f'"{name[0].upper()}{name[1:]}":')
    evidence = row.evidence if body == row.body else _ON_WINDOWS
    return structs.replace(
        row, category=f"{category}{WINDOWS}{dot}{version}", body=body, evidence=evidence
    )


APP_SERVICE_WINDOWS: tuple[RefusalRow, ...] = tuple(
    _on_windows(row)
    for row in APP_SERVICE
    # A 429 is made before the VM is read, and the 503 is that of Windows everywhere.
    if row.key not in {"throttled", "unavailable"}
    and (row.category == _OLD_APP_SERVICE or "correlation" in row.body)
)

_OF_IMDS_ALONE = {
    "claims_unsupported",
    "not_found",
    "identity_not_found",
    "attestation_missing",
    "request_malformed",
    "variables_unsupported",
    "credential_version_missing",
    "credential_version_unknown",
}
_AS_IMDS = inferred("S4", note="the agent follows IMDS; its own texts are not recorded")

ARC: tuple[RefusalRow, ...] = (
    *(
        structs.replace(row, category="arc", evidence=_AS_IMDS)
        for row in IDENTITY
        if row.key not in _OF_IMDS_ALONE
    ),
    RefusalRow(
        "version_missing",
        "arc",
        400,
        _identity("The api-version not specified. Supported are {supported}"),
        observed("S82", "S111", note="2024-08; a script reads the envelope"),
    ),
    RefusalRow(
        "identity_not_found",
        "arc",
        404,
        _identity("Identity not found"),
        client("S44", note="the status; the description is that of IMDS"),
    ),
    RefusalRow(
        "challenge",
        "arc",
        401,
        '{"error":"unauthorized_client","error_description":"Missing Basic Authorization header",'
        '"error_codes":[401]}',
        inferred("S46", note="the header is certain (S41, S45)"),
        headers=("WWW-Authenticate",),
    ),
)


def _cloud_shell(key: str, status: int, code: str, message: str) -> RefusalRow:
    evidence = chosen("the form is that of AudienceNotSupported (S43), the rest is not recorded")
    body = f'{{"error":{{"code":"{code}","message":"{message}"}}}}'
    return RefusalRow(key, "cloud_shell", status, body, evidence)


CLOUD_SHELL: tuple[RefusalRow, ...] = (
    _cloud_shell("header_missing", 400, "MetadataHeaderMissing", "Metadata header not specified"),
    _cloud_shell("forwarded", 400, "BadRequest", "X-Forwarded-For header is not allowed"),
    _cloud_shell("duplicate_parameter", 400, "BadRequest", "Duplicate parameters"),
    _cloud_shell("resource_missing", 400, "BadRequest", "Required parameter resource is missing"),
    _cloud_shell("identity_not_found", 400, "IdentityNotFound", "Identity not found"),
    _cloud_shell("identity_ambiguous", 400, "BadRequest", "Multiple identities exist"),
    _cloud_shell("selectors_exclude", 400, "BadRequest", "Only one identity may be specified"),
    RefusalRow(
        "resource_unknown",
        "cloud_shell",
        400,
        '{"error":{"code":"AudienceNotSupported","message":"Audience {resource} is not a supported '
        "MSI token audience. Supported audiences: https://management.core.windows.net/,"
        'https://management.azure.com/"}}',
        observed("S43", "S82", note="the list of audiences went on"),
    ),
    _cloud_shell("entra_refused", 400, "{error}", "{description}"),
    _cloud_shell("throttled", 429, "TooManyRequests", "Too many requests"),
    _cloud_shell("server_error", 500, "InternalServerError", "No token could be had"),
)


def _balancer(key: str, status: int, text: str, *, is_recorded: bool = False) -> RefusalRow:
    evidence = (
        observed("S25")
        if is_recorded
        else inferred("S7", note="documented in a reworded edition; rebuilt from the older one")
    )
    return RefusalRow(key, "loadbalancer", status, f'{{"error":"{text}"}}', evidence)


LOAD_BALANCER: tuple[RefusalRow, ...] = (
    _balancer(
        "no_load_balancer",
        404,
        "No load balancer metadata is found. Please check if your VM is using any non-basic SKU "
        "load balancer and retry later.",
        is_recorded=True,
    ),
    _balancer(
        "version_missing",
        400,
        'Missing required parameter \\"api-version\\". Please fix the request and retry.',
    ),
    _balancer(
        "version_unknown",
        400,
        'Parameter value is not allowed, or parameter value \\"{value}\\" is not allowed for '
        'parameter \\"api-version\\". Please fix the request and retry.',
    ),
    _balancer(
        "unexpected_request",
        400,
        "Unexpected request. Please check the query parameters and retry.",
    ),
    _balancer("not_found", 404, 'API is not found: Path = \\"{path}\\", Method = \\"{method}\\"'),
    RefusalRow(
        "verb_not_allowed",
        "loadbalancer",
        405,
        '{"error":"Http method is not allowed: Path = \\"{path}\\", Method = \\"{method}\\""}',
        inferred("S7", note="documented in a reworded edition; rebuilt from the older one"),
        headers=("Allow",),
    ),
    _balancer("throttled", 429, "Too many requests"),
    _balancer("unavailable", 503, "Internal service unavailable. Please retry later"),
)


def _http(key: str, status: int, text: str) -> RefusalRow:
    return RefusalRow(
        key,
        "http",
        status,
        f"{text}\n",
        chosen(
            "how Azure answers bytes that are no request is not recorded; the status follows HTTP"
        ),
        media=TEXT_MEDIA,
        headers=("Connection",),
    )


HTTP: tuple[RefusalRow, ...] = (
    _http("malformed", 400, "Bad request: not HTTP/1.0 or HTTP/1.1"),
    _http(
        "line_malformed",
        400,
        "Bad request: a request line is METHOD TARGET HTTP/1.1, parted by single spaces",
    ),
    _http("target_malformed", 400, "Bad request: the target has characters that a URL encodes"),
    _http("header_malformed", 400, "Bad request: malformed header"),
    _http("host_malformed", 400, "Bad request: malformed Host header"),
    _http(
        "length_malformed",
        400,
        "Bad request: Content-Length is one number, without Transfer-Encoding",
    ),
    _http("body_malformed", 400, "Bad request: malformed chunk of the body"),
    _http("host_missing", 400, "Bad request: HTTP/1.1 wants exactly one Host header"),
    _http("too_slow", 408, "Request timeout"),
    _http("body_too_large", 413, "Request body too large"),
    _http("target_too_long", 414, "Request target too long"),
    _http("expectation_unknown", 417, "Expectation failed"),
    _http("headers_too_large", 431, "Request header fields too large"),
    _http("server_error", 500, "Internal server error"),
    _http("coding_unknown", 501, "Not implemented: the only Transfer-Encoding is chunked"),
)
"""Refusals of the connection itself; each of them closes it."""
