from typing import Any

import pytest

from openimds.facts.lint import RULES
from openimds.protocol.lint import request_rules
from openimds.protocol.lint.requests import LintedRequest, parse_record
from tests.unit.protocol.lint.records import (
    EVENTS,
    GOOD,
    INSTANCE,
    REAL,
    TOKEN,
    a_record,
    found,
    only,
    refused,
)

BY_REASON = [
    ("forwarded", "forwarded", INSTANCE),
    ("duplicate_parameter", "duplicate_parameter", INSTANCE),
    ("parameter_unfit", "resource_missing", "/metadata/identity/oauth2/token?api-version=x"),
    ("parameter_unfit", "resource_unknown", TOKEN),
    ("parameter_unfit", "selectors_exclude", TOKEN),
    ("parameter_unfit", "identity_ambiguous", TOKEN),
    ("parameter_unfit", "nonce_unfit", "/metadata/attested/document?nonce=%20"),
    ("parameter_unfit", "unexpected_request", "/metadata/loadbalancer?x=1"),
    ("leaf_needs_text", "leaf_needs_text", "/metadata/instance/compute/vmId?api-version=x"),
    ("format_unknown", "format_unknown", INSTANCE + "&format=xml"),
    ("verb_not_allowed", "verb_not_allowed", INSTANCE),
    ("verb_not_allowed", "head", INSTANCE),
    ("element_unknown", "not_found", "/metadata/instance/compute/nothing?api-version=2021-02-01"),
    ("version_foreign", "not_found", "/metadata/scheduledevents?api-version=2021-12-13"),
    ("path_unknown", "not_found", "/latest/meta-data"),
    ("path_unknown", "empty_name", "//metadata/instance"),
    *(
        ("not_http", reason, "")
        for reason in (
            "malformed",
            "line_malformed",
            "target_malformed",
            "header_malformed",
            "host_malformed",
            "length_malformed",
            "body_malformed",
            "coding_unknown",
            "host_missing",
        )
    ),
]


@pytest.mark.parametrize("rule, reason, target", BY_REASON)
def test_a_refusal_of_azure_is_found(rule: str, reason: str, target: str) -> None:
    good = a_record("/metadata/versions", 1.0)
    finding = only(good, refused(reason, target, 2.0))
    assert (finding.rule, finding.vm, finding.times, finding.numbers) == (rule, "vm-1", 1, (2,))
    assert finding.example == " ".join(f"GET {target} 400".split())


def test_every_reason_of_a_rule_is_tested() -> None:
    tried = {reason for _, reason, _ in BY_REASON}
    alike = {"target_too_long", "headers_too_large", "body_too_large", "expectation_unknown"}
    excused = {"header_missing", "version_missing", "version_unknown"}
    assert {reason for row in RULES for reason in row.reasons} == tried | alike | excused


def test_a_refusal_without_a_client_mistake_is_not_found() -> None:
    assert found(refused("identity_not_found", TOKEN)) == {}
    assert found(refused("no_load_balancer", "/metadata/loadbalancer", status=404)) == {}


@pytest.mark.parametrize(
    "target",
    [
        "/metadata/identity/getplatformmetadata?cred-api-version=2.0",
        "/metadata/reprovisiondata?api-version=2019-06-01",
        "/metadata/THIM/sgx/certification/v3/pckcert?api-version=2021-07-22-preview",
        "/metadata/THIM/endorsement",
    ],
)
def test_probing_for_a_path_of_azure_is_no_mistake(target: str) -> None:
    assert found(refused("not_found", target, status=404, endpoint="other")) == {}


@pytest.mark.parametrize("fault, is_found", [("status", False), ("delay", True), ("", True)])
def test_an_injected_refusal_is_no_mistake(fault: str, *, is_found: bool) -> None:
    expected = {"leaf_needs_text": (1,)} if is_found else {}
    assert found(refused("leaf_needs_text", fault=fault)) == expected


def test_a_missing_header_is_found_unless_an_sdk_probes() -> None:
    bare: dict[str, Any] = {"headers": (REAL,)}
    assert found(refused("header_missing", TOKEN, **bare)) == {"header_missing": (1,)}
    assert found(refused("header_missing", TOKEN, **bare), a_record(TOKEN, 0.1)) == {}
    late, elsewhere = a_record(TOKEN, 61.0), a_record(INSTANCE, 0.1)
    twice = refused("header_missing", TOKEN, 0.1, **bare)
    for after in (late, elsewhere):
        assert found(refused("header_missing", TOKEN, **bare), after) == {"header_missing": (1,)}
    assert found(refused("header_missing", TOKEN, **bare), twice) == {"header_missing": (1, 2)}


def test_a_missing_version_is_found_unless_one_follows() -> None:
    bare = "/metadata/instance/compute"
    assert found(refused("version_missing", bare)) == {"version_missing": (1,)}
    assert found(refused("version_missing", bare), a_record(INSTANCE, 0.1)) == {}
    assert found(refused("version_missing", bare), a_record("/metadata/versions", 0.1)) == {
        "version_missing": (1,)
    }
    # Identity has a category of its own: what is learnt there is another thing.
    assert found(refused("version_missing", bare), a_record(TOKEN, 0.1)) == {
        "version_missing": (1,)
    }


@pytest.mark.parametrize(
    "target, is_found",
    [
        ("/metadata/instance?api-version=2019-07-15", True),
        ("/metadata/instance?api-version=2025-11-15", False),
        ("/metadata/attested/document?api-version=2017-12-01", True),
        ("/metadata/scheduledevents?api-version=latest", True),
        ("/msi/token?api-version=2021-02-01", True),
    ],
)
def test_a_version_is_unknown_if_no_region_has_it(target: str, *, is_found: bool) -> None:
    expected = {"version_unknown": (1,)} if is_found else {}
    assert found(refused("version_unknown", target)) == expected


@pytest.mark.parametrize(
    "target, header",
    [
        (INSTANCE, ("via", "1.1 squid")),
        (INSTANCE, ("proxy-connection", "keep-alive")),
        (INSTANCE, ("forwarded", "for=10.0.0.4")),
        ("http://169.254.169.254" + INSTANCE, ("accept", "*/*")),
    ],
)
def test_a_proxy_is_found(target: str, header: tuple[str, str]) -> None:
    finding = only(a_record(target, headers=(*GOOD, header), endpoint="instance"))
    assert finding.rule == "proxy"
    shown = "" if header[0] == "accept" else f", {header[0]}: {header[1]}"
    assert finding.example == f"GET {target} 200{shown}"


def test_the_asterisk_of_options_is_no_proxy() -> None:
    assert found(a_record("*", method="OPTIONS", endpoint="other")) == {}


@pytest.mark.parametrize(
    "header",
    [
        ("referer", "http://shop.example/fetch"),
        ("origin", "http://shop.example"),
        ("sec-fetch-site", "cross-site"),
    ],
)
def test_a_redirected_request_is_found(header: tuple[str, str]) -> None:
    finding = only(a_record(TOKEN, headers=(*GOOD, header)))
    assert finding.rule == "redirected"
    assert finding.example.endswith(f"{header[0]}: {header[1]}")


def test_the_fetch_of_node_is_no_page() -> None:
    assert found(a_record(TOKEN, headers=(*GOOD, ("sec-fetch-mode", "cors")))) == {}


def test_a_host_name_is_found_beside_the_real_address() -> None:
    named = a_record(INSTANCE, 1.0, headers=(("host", "Rebound.example:80"),))
    assert found(a_record(), named) == {"host_foreign": (2,)}
    # Pointed there by a variable: nothing is known of what the name should be.
    assert found(named) == {}


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8169", "localhost:8169", "[::1]:8169", "169.254.169.254:80", ""]
)
def test_an_address_is_no_host_name(host: str) -> None:
    assert found(a_record(), a_record(INSTANCE, 1.0, headers=(("host", host),))) == {}


@pytest.mark.parametrize(
    "target, rule",
    [
        ("/metadata/instance/compute/customData?api-version=2021-02-01&format=text", "custom_data"),
        ("/metadata/instance/compute/tags/?api-version=2021-02-01&format=text", "tags_parsed"),
        ("/metadata/scheduledevents?api-version=2017-03-01", "version_preview"),
    ],
)
def test_discouraged_data_and_versions_are_found(target: str, rule: str) -> None:
    assert only(a_record(target)).rule == rule


def test_a_refused_request_for_discouraged_data_is_ignored() -> None:
    target = "/metadata/instance/compute/tags?api-version=2021-02-01&format=text"
    assert found(a_record(target, status=429, reason="throttled_text")) == {}
    assert found(a_record("/metadata/instance?api-version=2017-03-01"), a_record(EVENTS)) == {}


class Counted(list[LintedRequest]):
    """A list that counts the items read by index."""

    taken = 0

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        self.taken += len(found) if isinstance(place, slice) else 1
        return found


@pytest.mark.parametrize("reason", ["header_missing", "version_missing"])
def test_many_refusals_are_judged_in_linear_time(reason: str) -> None:
    every = Counted(
        parse_record(refused(reason, "/metadata/instance", n / 1000, number=n)) for n in range(1000)
    )
    assert [one.rule for one in request_rules.refusals(every)] == [reason] * 1000
    assert every.taken <= 2 * len(every)
