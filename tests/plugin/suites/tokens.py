"""A suite of another project: tokens for Azure's own client."""

from importlib.metadata import version

import jwt
import pytest
from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

from openimds.pytest_plugin import Environment, Imds

VAULT = "https://vault.azure.net"
# docs/use/clients.md: the first version that takes the name of a credential for a pin.
KNOWS_THE_PIN = [int(part) for part in version("azure-identity").split(".")[:2]] >= [1, 24]
TRUSTED = {"vms": {"web-1": {"identities": {"system": True}}}}


def claims(imds: Imds, token: str) -> dict[str, object]:
    keys = jwt.PyJWKSet.from_dict(imds.jwks)
    key = keys[jwt.get_unverified_header(token)["kid"]]
    found: dict[str, object] = jwt.decode(token, key.key, algorithms=["RS256"], audience=VAULT)
    return found


@pytest.mark.imds(fleet=TRUSTED)
def test_token_verifies(imds: Imds, imds_env: Environment) -> None:
    with ManagedIdentityCredential() as credential:
        token = credential.get_token(f"{VAULT}/.default").token
    assert str(claims(imds, token)["xms_mirid"]).endswith("/virtualMachines/web-1")
    imds.requests.to("/metadata/identity").assert_sent_metadata_header()
    imds.requests.assert_clean()


@pytest.mark.imds(fleet=TRUSTED)
def test_credential_chain_is_pinned(imds: Imds, imds_env: Environment) -> None:
    with DefaultAzureCredential() as credential:
        claims(imds, credential.get_token(f"{VAULT}/.default").token)
        chain = [type(item).__name__ for item in credential.credentials]
    assert (chain == ["ManagedIdentityCredential"]) is KNOWS_THE_PIN
    imds.requests.assert_clean()


@pytest.mark.imds(fleet=TRUSTED)
def test_credential_chain_uses_app_service(imds: Imds, monkeypatch: pytest.MonkeyPatch) -> None:
    imds.env.use(monkeypatch, "app-service")
    with DefaultAzureCredential(exclude_cli_credential=True) as credential:
        claims(imds, credential.get_token(f"{VAULT}/.default").token)
    assert len(imds.requests.to("/msi/token")) == 1
    imds.requests.to("/metadata").assert_none()


def test_vm_of_defaults_gets_a_token(imds: Imds, imds_env: Environment) -> None:
    with ManagedIdentityCredential() as credential:
        assert claims(imds, credential.get_token(f"{VAULT}/.default").token)["aud"] == VAULT


@pytest.mark.imds(fleet={"vms": {"web-1": {}}})
def test_vm_without_an_identity_gets_no_token(imds: Imds, imds_env: Environment) -> None:
    with ManagedIdentityCredential() as credential, pytest.raises(Exception, match="Identity"):
        credential.get_token(f"{VAULT}/.default")
    assert imds.requests.to("/metadata/identity/oauth2/token")[-1].status == 400
    imds.vm.patch({"identities": {"system": True}})
    with ManagedIdentityCredential() as credential:
        assert claims(imds, credential.get_token(f"{VAULT}/.default").token)["aud"] == VAULT
