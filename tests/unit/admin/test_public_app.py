"""The public port: no token, no host check, no private half of a key."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import Mock
from urllib.parse import quote, urlsplit

import httpx2
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from openimds.admin.public_app import application
from openimds.credentials import publication
from openimds.credentials.keys.files import KeyFileError
from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.certificate_info import common_name
from openimds.credentials.pki.extensions import addresses_in
from openimds.credentials.pki.lazy_ca import CaSettings
from openimds.credentials.pki.ocsp import MALFORMED
from openimds.credentials.publication import Publications
from openimds.credentials.service import CredentialsService
from openimds.credentials.tokens.oidc import jwks
from openimds.facts.revocation import MAX_OCSP_REQUEST
from openimds.protocol.access_token import TokenSettings
from openimds.protocol.pending import PendingToken
from openimds.vm.fleet_file import parse_vm
from openimds.vm.identities import principals

NOW_S = 1_795_377_286.0
TENANT = "abd8daee-d393-4239-9377-883adda3d40f"
CHINESE = "11111111-2222-3333-4444-555555555555"
URL = "http://127.0.0.1:8171"


class Client:
    """A client of an application, without sockets."""

    def __init__(self, transport: httpx2.ASGITransport) -> None:
        self._transport = transport

    def request(
        self, method: str, path: str, url: str = "http://anything.example"
    ) -> httpx2.Response:
        async def send() -> httpx2.Response:
            async with httpx2.AsyncClient(transport=self._transport, base_url=url) as client:
                return await client.request(method, path)

        return asyncio.run(send())

    def get(self, path: str) -> httpx2.Response:
        return self.request("GET", path)

    def send(self, path: str, body: bytes | AsyncIterator[bytes]) -> httpx2.Response:
        async def send() -> httpx2.Response:
            url = "http://anything.example"
            async with httpx2.AsyncClient(transport=self._transport, base_url=url) as client:
                return await client.post(path, content=body)

        return asyncio.run(send())

    def head(self, path: str) -> httpx2.Response:
        return self.request("HEAD", path)

    def post(self, path: str) -> httpx2.Response:
        return self.request("POST", path)


class Published:
    """The credentials service, and a client of its public port."""

    def __init__(self, terms: TokenSettings, url: str = URL) -> None:
        self.server = CredentialsService(CaSettings(public_url=url), terms)
        clouds = {CHINESE: "AzureChinaCloud"}
        made = Publications(url, self.server, clouds, lambda: NOW_S)
        self.messages: list[str] = []
        served = application(made, self.messages.append)
        self.client = Client(httpx2.ASGITransport(served))

    def get(self, path: str) -> Any:
        got = self.client.get(path)
        assert got.status_code == 200, path
        assert got.headers["content-type"] == "application/json"
        return got.json()

    def token(self, tenant: str = TENANT, resource: str = "https://a") -> str:
        one = parse_vm("a", {"identities": {"system": True, "tenantId": tenant}})
        (identity,) = principals(one)
        return self.server.tokens.sign(PendingToken("a", one.cloud, identity, resource), NOW_S).text


@pytest.mark.parametrize("issuer", ["", URL])
@pytest.mark.parametrize("version", ["", "v2.0/"])
def test_token_verifies_with_the_keys_of_its_tenant(issuer: str, version: str) -> None:
    here = Published(TokenSettings(86400, issuer, frozenset({"https://a"} if version else ())))
    described = here.get(f"/{TENANT}/{version}.well-known/openid-configuration")
    keys = here.get(described["jwks_uri"].removeprefix(URL))
    token = here.token()
    key = jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(
        token,
        key.key,
        ["RS256"],
        audience="https://a",
        issuer=described["issuer"],
        options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
    )
    assert claims["tid"] == TENANT
    if issuer:
        found = f"{claims['iss'].removesuffix('/')}/.well-known/openid-configuration"
        assert here.get(found.removeprefix(URL)) == described


def test_tenant_of_another_cloud_has_its_issuer() -> None:
    here = Published(TokenSettings(86400))
    described = here.get(f"/{CHINESE}/.well-known/openid-configuration")
    assert described["issuer"] == f"https://sts.chinacloudapi.cn/{CHINESE}/"


def test_no_private_number_is_published() -> None:
    here = Published(TokenSettings(86400))
    token = here.token()
    key = here.server.keyring().signer(NOW_S).key.private_numbers()
    private = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
    for path in ("discovery/keys", "discovery/v2.0/keys"):
        text = here.client.get(f"/{TENANT}/{path}").text
        (row,) = json.loads(text)["keys"]
        assert not private & row.keys()
        assert row["kid"] == jwt.get_unverified_header(token)["kid"]
        for number in (key.d, key.p, key.q):
            assert jwt.utils.to_base64url_uint(number).decode() not in text


@pytest.mark.parametrize(
    "path",
    ["/", "/x", f"/{TENANT}", "/not-a-tenant/discovery/keys", f"/{TENANT}/discovery/keys/"],
)
def test_unknown_path_is_a_404_that_lists_the_paths(path: str) -> None:
    here = Published(TokenSettings(86400))
    got = here.client.get(path)
    assert got.status_code == 404
    assert "/TENANT/.well-known/openid-configuration" in got.json()["error"]


def test_post_is_a_405() -> None:
    here = Published(TokenSettings(86400))
    for path in (f"/{TENANT}/discovery/keys", "/pki/bundle.pem"):
        got = here.client.post(path)
        assert (got.status_code, got.headers["allow"]) == (405, "GET, HEAD")
        assert got.json() == {"error": "This path takes GET, HEAD only"}
    got = here.client.get(f"/{TENANT}/oauth2/token")
    assert (got.status_code, got.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("version", ["", "v2.0/"])
@pytest.mark.parametrize("tenant", [TENANT, "common"])
def test_endpoints_of_grants_refuse_each_request(tenant: str, version: str) -> None:
    here = Published(TokenSettings(86400))
    described = here.get(f"/{tenant}/{version}.well-known/openid-configuration")
    for name, method, error in (
        ("authorization_endpoint", "GET", "unsupported_response_type"),
        ("authorization_endpoint", "POST", "unsupported_response_type"),
        ("token_endpoint", "POST", "unsupported_grant_type"),
    ):
        got = here.client.request(method, described[name].removeprefix(URL))
        assert (got.status_code, got.json()["error"]) == (400, error)
        assert "/metadata/identity/oauth2/token" in got.json()["error_description"]
    assert here.client.post("/nobody/oauth2/token").status_code == 404


@pytest.mark.parametrize("tenant", ["common", "organizations", "Common"])
def test_document_for_all_tenants_leaves_the_tenant_blank(tenant: str) -> None:
    here = Published(TokenSettings(86400))
    first = here.get(f"/{tenant}/.well-known/openid-configuration")
    second = here.get(f"/{tenant}/v2.0/.well-known/openid-configuration")
    # As Entra writes it: the reader puts the tid of the token in.
    assert first["issuer"] == "https://sts.windows.net/{tenantid}/"
    assert second["issuer"] == "https://login.microsoftonline.com/{tenantid}/v2.0"
    (key,) = here.get(first["jwks_uri"].removeprefix(URL))["keys"]
    assert here.get(second["jwks_uri"].removeprefix(URL)) == {
        "keys": [{**key, "issuer": second["issuer"]}]
    }
    assert key["kid"] == jwt.get_unverified_header(here.token())["kid"]


@pytest.mark.parametrize(
    "url, issuer, base",
    [
        ("https://idp.example/base", "https://idp.example/base", "https://idp.example/base"),
        ("https://idp.example:8443/a/b", "", "https://idp.example:8443/a/b"),
        (URL, "https://idp.example/auth", "https://idp.example/auth"),
        (
            "http://keys.example:80/k",
            "https://idp.example:443/auth",
            "https://idp.example:443/auth",
        ),
        ("https://idp.example/k", "https://idp.example/auth", "https://idp.example/k"),
    ],
)
@pytest.mark.parametrize("version", ["", "v2.0/"])
def test_issuer_is_served_below_the_path_of_its_url(
    url: str, issuer: str, base: str, version: str
) -> None:
    here = Published(TokenSettings(86400, issuer), url)
    host, path = urlsplit(base).netloc, urlsplit(base).path
    wanted = f"/{TENANT}/{version}.well-known/openid-configuration"
    got = here.client.request("GET", path + wanted, f"https://{host}")
    described = got.json()
    if issuer:
        assert described["issuer"].startswith(f"{issuer}/{TENANT}/")
        own = urlsplit(described["issuer"]).path.rstrip("/")
        assert here.client.get(f"{own}/.well-known/openid-configuration").status_code == 200
    assert described["jwks_uri"].startswith(f"{base}/{TENANT}/discovery/")
    # A proxy may keep the path or take it away.
    keys = described["jwks_uri"].removeprefix(f"https://{host}").removeprefix(base)
    for place in {keys, keys.removeprefix(path)} - {""}:
        assert here.get(place)["keys"]
    assert here.client.get(f"{path}/pki/bundle.pem").content == (
        here.client.get("/pki/bundle.pem").content
    )
    assert here.client.get(f"/other{wanted}").status_code == 404


def test_reader_by_another_host_gets_the_public_url() -> None:
    here = Published(TokenSettings(86400, "https://idp.example/auth"))
    described = here.get(f"/{TENANT}/.well-known/openid-configuration")
    assert described["issuer"] == f"https://idp.example/auth/{TENANT}/"
    assert described["jwks_uri"] == f"{URL}/{TENANT}/discovery/keys"


@pytest.mark.parametrize("path", [f"/{TENANT}/discovery/keys", "/pki/bundle.pem"])
def test_head_answers_like_get_on_the_public_port(path: str) -> None:
    here = Published(TokenSettings(86400))
    head, get = here.client.head(path), here.client.get(path)
    assert (head.status_code, head.headers) == (200, get.headers)


def test_certificates_are_encoded_once_until_a_rotation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = Published(TokenSettings(86400))
    encoded = Mock(side_effect=CertificateAuthority.bundle)
    monkeypatch.setattr(CertificateAuthority, "bundle", lambda one: encoded(one))  # noqa: PLW0108 - a Mock is no method
    first = here.client.get("/pki/bundle.pem").content
    assert here.client.get("/pki/bundle.pem").content == first
    assert here.client.get("/pki/other.crt").status_code == 404
    assert encoded.call_count == 1
    here.server.ca.rotate("root", NOW_S)
    second = here.client.get("/pki/bundle.pem").content
    roots = x509.load_pem_x509_certificates
    assert len(roots(second)) > len(roots(first))
    assert encoded.call_count == 2


def test_keys_are_encoded_once_until_a_rotation(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Published(TokenSettings(86400))
    encoded = Mock(side_effect=jwks)
    monkeypatch.setattr(publication, "jwks", encoded)
    (row,) = here.get(f"/{TENANT}/discovery/keys")["keys"]
    (second,) = here.get(f"/{CHINESE}/discovery/v2.0/keys")["keys"]
    assert second == {**row, "issuer": f"https://login.partner.microsoftonline.cn/{CHINESE}/v2.0"}
    assert here.get(f"/{TENANT}/discovery/keys") == {"keys": [row]}
    assert encoded.call_count == 1
    here.server.rotate(NOW_S)
    fresh, old = here.get(f"/{TENANT}/discovery/keys")["keys"]
    assert old == row
    assert fresh["n"] != row["n"]


def test_unreadable_key_file_notifies_the_operator_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = Published(TokenSettings(86400))

    def fail(*_: object) -> None:
        raise KeyFileError("/state/keys/a.pem: saw no key")

    monkeypatch.setattr(here.server, "keyring", fail)
    monkeypatch.setattr(here.server.ca, "authority", fail)
    for path in (f"/{TENANT}/discovery/keys", "/pki/bundle.pem", "/pki/other.crt"):
        got = here.client.get(path)
        assert (got.status_code, got.headers["content-type"]) == (503, "application/json")
        assert "the operator was notified of the reason" in got.json()["error"]
        assert "/state" not in got.text
    assert here.messages == ["/state/keys/a.pem: saw no key"]


def test_issuer_of_a_leaf_is_at_its_aia_url() -> None:
    here = Published(TokenSettings(86400))
    document = x509.load_pem_x509_certificates(here.client.get("/pki/bundle.pem").content)
    leaf = here.server.ca.authority(NOW_S).leaf("metadata.azure.com", "westeurope", NOW_S)
    access = leaf.certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    issuer = "1.3.6.1.5.5.7.48.2"
    url, other = [
        one.access_location.value
        for one in access.value
        if one.access_method.dotted_string == issuer
    ]
    assert url.startswith(URL + "/pkiops/certs/")
    assert (
        here.client.get(other.removeprefix(URL)).content
        == here.client.get(url.removeprefix(URL)).content
    )
    got = here.client.get(url.removeprefix(URL))
    assert got.headers["content-type"] == "application/pkix-cert"
    intermediate = x509.load_der_x509_certificate(got.content)
    leaf.certificate.verify_directly_issued_by(intermediate)
    assert intermediate in document
    # By the path of earlier leaves, and by the common name as Azure's paths have it.
    name = common_name(intermediate)
    for path in (url.removeprefix(URL).replace("pkiops/certs", "pki"), f"/pkiops/certs/{name}.crt"):
        assert here.client.get(path).content == got.content
    for path in ("/pki/other.crt", "/pkiops/certs/other.crt", "/pkiops/certs/.crt"):
        assert here.client.get(path).status_code == 404


def issuer_of(here: Published) -> x509.Certificate:
    return x509.load_pem_x509_certificates(here.server.ca.authority(NOW_S).chain_pem())[0]


def test_common_name_leads_to_its_certificate_after_a_rotation() -> None:
    here = Published(TokenSettings(86400))
    old = issuer_of(here)
    here.server.ca.rotate("intermediate", NOW_S)
    new = issuer_of(here)
    assert common_name(old) != common_name(new)
    for certificate in (old, new):
        got = here.client.get(f"/pkiops/certs/{common_name(certificate)}.crt").content
        assert x509.load_der_x509_certificate(got) == certificate


def test_lists_of_the_addresses_in_certificates_are_served() -> None:
    here = Published(TokenSettings(86400))
    authority = here.server.ca.authority(NOW_S)
    leaf = authority.leaf("metadata.azure.com", "westeurope", NOW_S).certificate
    for certificate in (leaf, issuer_of(here)):
        first, second = addresses_in(certificate).crls
        got = here.client.get(first.removeprefix(URL))
        assert got.headers["content-type"] == "application/pkix-crl"
        assert x509.load_der_x509_crl(got.content).issuer == certificate.issuer
        assert here.client.get(second.removeprefix(URL)).content == got.content
        assert here.client.post(first.removeprefix(URL)).status_code == 405
    for path in ("x.crl", "partition/x_Partition00001.crl", "", "%2e%2e/root.key"):
        assert here.client.get(f"/pkiops/crl/{path}").status_code == 404


def ocsp_request(here: Published) -> tuple[bytes, int]:
    """Return a request about a leaf, and the leaf's serial number."""
    leaf = here.server.ca.authority(NOW_S).leaf("metadata.azure.com", "", NOW_S).certificate
    builder = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer_of(here), SHA1())
    return builder.build().public_bytes(Encoding.DER), leaf.serial_number


def test_ocsp_answers_get_and_post_alike() -> None:
    here = Published(TokenSettings(86400))
    asked, serial = ocsp_request(here)
    text = base64.b64encode(asked).decode()
    posted = here.client.send("/ocsp", asked)
    assert posted.headers["content-type"] == "application/ocsp-response"
    assert ocsp.load_der_ocsp_response(posted.content).serial_number == serial
    for path in (f"/ocsp/{text}", f"/ocsp/{quote(text, safe='')}"):
        assert here.client.get(path).content == posted.content
    assert here.client.get("/ocsp").status_code == 405


@pytest.mark.parametrize("path", ["/ocsp/", "/ocsp/x", "/ocsp/AAAA", "/ocsp/%C3%A4"])
def test_malformed_path_gets_the_protocols_own_words(path: str) -> None:
    here = Published(TokenSettings(86400))
    assert here.client.get(path).content == MALFORMED


def test_body_above_the_bound_is_not_read_to_its_end() -> None:
    here = Published(TokenSettings(86400))
    asked, serial = ocsp_request(here)
    taken: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        for _ in range(10):
            taken.append(1)
            yield bytes(MAX_OCSP_REQUEST // 2)

    assert here.client.send("/ocsp", body()).content == MALFORMED
    assert len(taken) == 3, "two halves, and one octet more"
    got = ocsp.load_der_ocsp_response(here.client.send("/ocsp", asked).content)
    assert got.serial_number == serial, "the next request is answered"
