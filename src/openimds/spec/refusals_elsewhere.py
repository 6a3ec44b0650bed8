"""The refusal rows that differ from the general ones: identity, load balancer, plain HTTP."""

from openimds.spec.evidence import chosen, documented, inferred, observed
from openimds.spec.headers import TEXT_MEDIA
from openimds.spec.problems import Problem


def _identity(description: str, error: str = "invalid_request") -> str:
    return f'{{"error":"{error}","error_description":"{description}"}}'


IDENTITY: tuple[Problem, ...] = (
    Problem(
        "not_found",
        "identity",
        404,
        '{"error":"Not Found"}',
        observed("S25", note="capital F; the status is inferred"),
    ),
    Problem(
        "header_missing",
        "identity",
        400,
        _identity("Required metadata header not specified"),
        observed("S29", note="2020-09, 88 bytes"),
    ),
    Problem(
        "forwarded",
        "identity",
        400,
        _identity("X-Forwarded-For header is not allowed"),
        chosen("that such a request is rejected is documented (S1, S2); how, is not"),
    ),
    Problem(
        "duplicate_parameter",
        "identity",
        400,
        _identity("Duplicate query parameters are not allowed"),
        documented("S6", note="the error code is documented, the words are our choice"),
    ),
    Problem(
        "resource_missing",
        "identity",
        400,
        _identity("Required query variable 'resource' is missing"),
        observed("S30"),
    ),
    Problem(
        "identity_not_found",
        "identity",
        400,
        _identity("Identity not found"),
        observed("S29", note="2022-10-15, 68 bytes"),
    ),
    Problem(
        "identity_ambiguous",
        "identity",
        400,
        _identity(
            "Multiple user assigned identities exist, please specify the clientId / resourceId "
            "of the identity in the token request"
        ),
        observed("S30"),
    ),
    Problem(
        "throttled",
        "identity",
        429,
        _identity("Temporarily throttled, too many requests"),
        observed("S30"),
    ),
    Problem(
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
)


def _balancer(key: str, status: int, words: str, *, is_recorded: bool = False) -> Problem:
    evidence = (
        observed("S25")
        if is_recorded
        else inferred("S7", note="documented in a reworded edition; rebuilt from the older one")
    )
    return Problem(key, "loadbalancer", status, f'{{"error":"{words}"}}', evidence)


LOAD_BALANCER: tuple[Problem, ...] = (
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
    Problem(
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


def _http(key: str, status: int, words: str) -> Problem:
    return Problem(
        key,
        "http",
        status,
        f"{words}\n",
        chosen("bytes that are not a request Azure would recognise; the status follows HTTP"),
        media=TEXT_MEDIA,
        headers=("Connection",),
    )


HTTP: tuple[Problem, ...] = (
    _http("malformed", 400, "Bad request: not HTTP/1.0 or HTTP/1.1"),
    _http("host_missing", 400, "Bad request: HTTP/1.1 wants exactly one Host header"),
    _http("too_slow", 408, "Request timeout"),
    _http("body_too_large", 413, "Request body too large"),
    _http("target_too_long", 414, "Request target too long"),
    _http("expectation_unknown", 417, "Expectation failed"),
    _http("headers_too_large", 431, "Request header fields too large"),
    _http("server_error", 500, "Internal server error"),
)
"""Refusals of the connection itself; each one ends it."""
