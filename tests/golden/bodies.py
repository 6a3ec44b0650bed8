"""The errors by name, each with its exact body."""

from dataclasses import replace

from tests.golden.additions import VERSIONS
from tests.golden.case import Reply
from tests.golden.document import compact


def padded(status: int, words: str) -> Reply:
    """The usual error: one member, braces with a blank inside (K)."""
    return Reply(status, f'{{ "error": "{words}" }}')


def described(words: str) -> Reply:
    """The identity error (F.3)."""
    return Reply(400, compact({"error": "invalid_request", "error_description": words}))


def as_text(reply: Reply) -> Reply:
    """The same error for a request with format=text, whose content type nobody recorded."""
    return replace(reply, content_type=None)


def from_front(status: int, length: int) -> Reply:
    """The answer of the front to HEAD: its head alone (N1)."""
    return Reply(
        status,
        "",
        "text/xml; charset=utf-8",
        has_headers={
            "Content-Length": str(length),
            "Server": "Microsoft-IIS/10.0",
            "Date": None,
        },
        lacks_headers=("x-ms-request-id", "Allow"),
    )


# Recorded or quoted (A.0, F.3, H).
NO_HEADER = padded(400, "Bad request: . Required metadata header not specified")
NOT_FOUND = padded(404, "Not found")
NO_VERSION = Reply(
    400,
    '{"error":"Bad request. api-version is invalid or was not specified in the request. '
    'For more information refer to aka.ms/azureimds",'
    f'"newest-versions":{compact([*VERSIONS[:-4:-1]])}}}',
)
NO_IDENTITY_PATH = Reply(404, '{"error":"Not Found"}')
NO_IDENTITY_HEADER = replace(
    described("Required metadata header not specified"), has_headers={"Content-Length": "88"}
)
NO_RESOURCE = described("Required query variable 'resource' is missing")
NO_IDENTITY = replace(described("Identity not found"), has_headers={"Content-Length": "68"})
NO_BALANCER = Reply(
    404,
    '{"error":"No load balancer metadata is found. Please check if your VM is using any '
    'non-basic SKU load balancer and retry later."}',
)
NO_BALANCER_VERSION = Reply(
    400,
    r'{"error":"Missing required parameter \"api-version\". '
    'Please fix the request and retry."}',
)

NO_IDENTITY_VERB = Reply(
    405,
    compact({"error": "method_not_allowed", "error_description": "Not allowed"}),
    has_headers={"Allow": None},
)

IS_LEAF = replace(padded(400, "Bad request"), has_headers={"Content-Length": "26"})  # N8
HEAD_REFUSED = from_front(400, 323)

# Recorded in the log of a client behind a proxy: 400, 367 bytes.
IS_FORWARDED = Reply(
    400,
    """<?xml version="1.0" encoding="utf-8"?>
<Error xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" \
xmlns:xsd="http://www.w3.org/2001/XMLSchema">
    <Code>InvalidHeaderValue</Code>
    <Message>The value provided for one of the HTTP headers was not in the correct format.</Message>
    <Details>Header contains 'X-Forwarded-For' are not supported.</Details>
</Error>""",
    "text/xml; charset=utf-8",
    has_headers={"Content-Length": "367", "Server": "Microsoft-IIS/10.0"},
    lacks_headers=("x-ms-request-id",),
)

# Quoted in a report of a client: the first name in the path is empty.
NO_NAME = replace(
    IS_FORWARDED,
    status=404,
    body="""<?xml version="1.0" encoding="utf-8"?>
<Error xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" \
xmlns:xsd="http://www.w3.org/2001/XMLSchema">
    <Code>ResourceNotFound</Code>
    <Message>The specified resource does not exist.</Message>
    <Details>'' isn't a valid resource name.</Details>
</Error>""",
    has_headers={"Server": "Microsoft-IIS/10.0"},
)

# Decided, for want of a recording (K).
IS_TWICE = padded(400, "Bad request. Duplicate query parameters are not allowed")
NO_SUCH_FORMAT = padded(400, "Bad request. The format must be json or text")
NOT_ALLOWED = Reply(405, '{"error":"Not allowed"}', has_headers={"Allow": None})

# Only the status is known.
BAD_REQUEST = Reply(400)
