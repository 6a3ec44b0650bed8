"""Azure Arc's token route, and paths that only a setting adds."""

import json
from typing import Any

import pytest

from openimds.facts.endpoints import ENDPOINTS
from openimds.protocol.handle import resume
from openimds.protocol.pending import (
    Challenge,
    PendingChallenge,
)
from openimds.protocol.request import parse_query
from tests.unit.protocol.queries import (
    ALL,
    APP,
    ARC,
    NOW_S,
    SYSTEM,
    USER,
    VAULT,
    Asked,
)


def test_arc_challenges_first() -> None:
    asked = Asked(ARC)
    assert asked.reply == PendingChallenge("web-1")
    assert asked.reply.is_once
    got = resume(asked.query, asked.reply, Challenge("/var/x.key"), NOW_S)
    assert got.status == 401
    assert got.headers == (("WWW-Authenticate", "Basic realm=/var/x.key"),)
    assert got.until_s <= NOW_S


@pytest.mark.parametrize("scheme", ["Basic", "basic"])
def test_arc_passes_the_proof_on(scheme: str) -> None:
    need = Asked(ARC, ("authorization", f"{scheme} abc")).need
    assert (need.proof, need.is_once) == ("abc", True)


@pytest.mark.parametrize(
    "given",
    [
        [("authorization", "Bearer abc")],
        [("authorization", "Basic a"), ("authorization", "Basic b")],
        [("secret", "Basic a")],
    ],
)
def test_arc_challenges_again_without_a_proof(given: list[tuple[str, str]]) -> None:
    assert isinstance(Asked(ARC, *given).reply, PendingChallenge)


def test_a_proof_has_no_meaning_at_the_imds_path() -> None:
    target = f"/metadata/identity/oauth2/token?api-version=2018-02-01&{VAULT}"
    need = Asked(target, ("authorization", "Basic abc")).need
    assert (need.proof, need.is_once) == ("", False)


@pytest.mark.parametrize("identities, names", [(SYSTEM, set()), (USER, {"msi_res_id"})])
def test_arc_confirms_the_selected_identity(identities: dict[str, Any], names: set[str]) -> None:
    target = ARC + (f"&msi_res_id={APP}" if names else "")
    body = Asked(target, ("authorization", "Basic abc"), identities=identities).body()
    assert body.keys() & {"client_id", "object_id", "msi_res_id"} == (
        {"client_id", "object_id", "msi_res_id"} if names else set()
    )
    assert body.get("msi_res_id", APP).lower() == APP.lower()


def test_arc_ignores_the_selector_that_the_agent_ignores() -> None:
    target = f"{ARC}&mi_res_id={APP}"
    need = Asked(target, ("authorization", "Basic abc"), identities={**SYSTEM, **USER}).need
    assert need.identity.is_system


def test_arc_refuses_an_unknown_identity_before_a_challenge() -> None:
    refused = Asked(f"{ARC}&client_id=x").refused
    assert (refused.status, refused.row.category) == (404, "arc")


def test_arc_without_a_version_lists_the_supported_ones() -> None:
    refused = Asked("/arc/metadata/identity/oauth2/token?resource=https://vault.azure.net").refused
    assert refused.status == 400
    assert json.loads(refused.body)["error_description"] == (
        "The api-version not specified. Supported are 2021-02-01 2020-06-01 2019-11-01 2019-08-15"
    )


def test_arc_lists_its_own_versions() -> None:
    path = "/arc/metadata/identity/oauth2/token"
    refused = Asked(f"{path}?{VAULT}&api-version=2018-02-01").refused
    assert json.loads(refused.body)["newest-versions"] == [
        "2021-02-01",
        "2020-06-01",
        "2019-11-01",
        "2019-08-15",
    ]


@pytest.mark.parametrize("path", [row.path for row in ENDPOINTS if row.setting])
def test_a_path_without_its_setting_is_unknown(path: str) -> None:
    asked = parse_query("GET", path.encode(), has_metadata_header=True)
    root = path.rpartition("/")[0]
    other = parse_query("GET", f"{root}/xyz".encode(), has_metadata_header=True)
    assert asked.endpoint is other.endpoint is None
    assert asked.category == other.category
    assert parse_query("GET", path.encode(), extras=ALL).endpoint is not None


@pytest.mark.parametrize("path", ["/msi", "/msi/x", "/oauth2/v2.0", "/arc/x"])
def test_paths_beside_them_stay_unknown(path: str) -> None:
    assert parse_query("GET", path.encode(), extras=ALL).category.key == "general"
