"""Queries to Azure's other identity protocols, and their replies."""

import json
from typing import Any

from openimds.facts.versions import catalog
from openimds.protocol.dialect import in_dialect
from openimds.protocol.handle import Subject, handle, resume
from openimds.protocol.pending import (
    AccessToken,
    Pending,
    PendingToken,
)
from openimds.protocol.request import parse_query
from openimds.protocol.response import Refusal, Response
from openimds.vm.fleet_file import parse_vm

NOW_S = 1_579_152_251.5
"""2020-01-16 05:24:11 UTC."""
ENDS_S = 1_579_152_252
SECRET = "s3cret"
ALL = frozenset({"arc_folder", "msi_v2"})
APP = (
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity"
    "/userAssignedIdentities/app"
)
SYSTEM: dict[str, Any] = {"system": True}
USER: dict[str, Any] = {"user": [APP]}
IDENTITY, MSI_SECRET = ("x-identity-header", SECRET), ("secret", SECRET)
VAULT = "resource=https://vault.azure.net"
NEW, OLD = (
    f"/msi/token?{VAULT}&api-version=2019-08-01",
    f"/msi/token?{VAULT}&api-version=2017-09-01",
)
ML = f"/msi/ml/token?{VAULT}&api-version=2017-09-01"
ARC = f"/arc/metadata/identity/oauth2/token?{VAULT}&api-version=2020-06-01"
SHELL = f"/oauth2/token?{VAULT}"
PLATFORM = "/metadata/identity/getplatformmetadata?cred-api-version=2.0"
ISSUE = "/metadata/identity/issuecredential?cred-api-version=2.0"


class Asked:
    """One query and its reply."""

    def __init__(
        self, target: str, *credentials: tuple[str, str], metadata: bool = True, **more: Any
    ) -> None:
        one = parse_vm(
            "web-1", {"identities": more.pop("identities", SYSTEM), **more.pop("fields", {})}
        )
        secret = more.pop("secret", SECRET)
        more = {"method": "GET", "extras": ALL, **more}
        query = parse_query(
            target=target.encode(), credentials=credentials, has_metadata_header=metadata, **more
        )
        self.query = in_dialect(query, one)
        self.reply: Response | Refusal | Pending = handle(
            self.query, Subject(one, catalog(), secret), NOW_S
        )

    @property
    def refused(self) -> Refusal:
        assert isinstance(self.reply, Refusal), self.reply
        return self.reply

    @property
    def need(self) -> PendingToken:
        assert isinstance(self.reply, PendingToken), self.reply
        return self.reply

    def body(self) -> dict[str, Any]:
        made = AccessToken("eyJ", 1_579_065_552, ENDS_S, 86400)
        got = resume(self.query, self.need, made, NOW_S)
        assert isinstance(got, Response)
        body: dict[str, Any] = json.loads(got.body)
        return body


def app_service(**more: Any) -> Asked:
    return Asked(NEW + more.pop("more", ""), IDENTITY, metadata=False, **more)
