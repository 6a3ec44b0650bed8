"""The targets of requests, and the bytes of a request.

The module imports nothing of the product, so that load generators start at once.
"""

INSTANCE = "/metadata/instance?api-version=2021-02-01"
_TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2F"
TOKEN = f"{_TOKEN}management.azure.com%2F"
NEW_TOKEN = f"{TOKEN}&bypass_cache=true"
RESOURCE_TOKEN = f"{_TOKEN}r{{}}.test"
"""A token for a resource with a number."""
ATTESTED = "/metadata/attested/document?api-version=2021-02-01"
METADATA = ("Metadata: true",)
REQUEST_ID = "x-ms-client-request-id: {}"
"""The header of a fresh id in each request, as the SDKs send it."""
_HEADERS = ("Host: 169.254.169.254", "User-Agent: curl/8.14.1", "Accept: */*")


def request(target: str, *headers: str) -> bytes:
    """Return the bytes of a GET as curl sends it."""
    return "\r\n".join((f"GET {target} HTTP/1.1", *_HEADERS, *headers, "", "")).encode()
