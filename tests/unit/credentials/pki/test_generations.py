"""The certificates of each generation, the newest against Azure's own, and their succession."""

from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import PolicyBuilder, Store

from openimds.credentials.keys.files import new_key
from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.certificate_info import common_name
from openimds.facts.generations import (
    GENERATIONS,
    NEWEST,
    OID_SERVER,
    OID_TEMPLATE,
    CertificateGeneration,
)
from tests.unit.credentials.pki.openssl_verify import (
    DAY_S,
    NOW_S,
    PUBLIC,
    URL,
    certificates,
    common_names,
    run,
    verify,
)

AZURE = Path(__file__).with_name("azure")
SCT_LIST, NAME_CONSTRAINTS = "1.3.6.1.4.1.11129.2.4.2", "2.5.29.30"
each = pytest.mark.parametrize("row", GENERATIONS.values(), ids=GENERATIONS)


def opened(row: CertificateGeneration, folder: Path | None = None) -> CertificateAuthority:
    return CertificateAuthority.open(folder, NOW_S, public_url=URL, generation=row.key)


@pytest.fixture(scope="module")
def newest() -> CertificateAuthority:
    return CertificateAuthority.open(None, NOW_S, public_url=URL)


def extensions(certificate: x509.Certificate) -> dict[str, tuple[bool, x509.ExtensionType]]:
    """Return criticality and value by OID, in the certificate's order."""
    return {item.oid.dotted_string: (item.critical, item.value) for item in certificate.extensions}


def azure(name: str) -> list[x509.Certificate]:
    return certificates((AZURE / name).read_bytes())


# The newest generation, against Azure's certificates.


def test_leaf_has_azures_extensions_in_azures_order(newest: CertificateAuthority) -> None:
    (theirs,) = azure("leaf-2026-05.pem")
    ours = newest.leaf("metadata.azure.com", "eastus", NOW_S).certificate
    want = extensions(theirs)
    want.pop(SCT_LIST)
    got = extensions(ours)
    assert [*want] == [*got]
    assert {oid: got[oid][0] for oid in got} == {oid: want[oid][0] for oid in got}


@pytest.mark.parametrize(
    "oid",
    ["2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.37", "1.3.6.1.4.1.311.21.10"],
    ids=["keyUsage", "names", "basicConstraints", "purposes", "applicationPolicies"],
)
def test_leaf_has_azures_value_of(newest: CertificateAuthority, oid: str) -> None:
    (theirs,) = azure("leaf-2026-05.pem")
    ours = newest.leaf("metadata.azure.com", "eastus", NOW_S).certificate
    assert extensions(ours)[oid] == extensions(theirs)[oid]


def test_leaf_has_azures_subject_lifetime_and_serial(newest: CertificateAuthority) -> None:
    (theirs,) = azure("leaf-2026-05.pem")
    ours = newest.leaf("metadata.azure.com", "eastus", NOW_S).certificate
    assert ours.subject == theirs.subject
    assert ours.signature_algorithm_oid == theirs.signature_algorithm_oid
    life = theirs.not_valid_after_utc - theirs.not_valid_before_utc
    assert ours.not_valid_after_utc - ours.not_valid_before_utc == life + timedelta(hours=1)
    for certificate in (ours, theirs):
        assert len(der_integer(certificate.serial_number)) == 19


def der_integer(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1)


def test_no_arc_of_an_oid_is_too_large_for_common_readers() -> None:
    arcs = [int(arc) for arc in OID_TEMPLATE.split(".")]
    assert max(arcs) < 1 << 28, "as large as the largest in Azure's template"


def test_leaf_has_azures_policies_without_a_statement(newest: CertificateAuthority) -> None:
    (theirs,) = azure("leaf-2026-05.pem")
    ours = newest.leaf(*PUBLIC, NOW_S).certificate
    got, want = (
        [
            policy.policy_identifier.dotted_string
            for policy in item.extensions.get_extension_for_class(x509.CertificatePolicies).value
        ]
        for item in (ours, theirs)
    )
    assert got == want


def test_tiers_have_azures_extensions_in_azures_order(newest: CertificateAuthority) -> None:
    ours = certificates(newest.chain_pem())[:2]
    for own, theirs in zip(ours, reversed(azure("tiers-2026.pem")), strict=True):
        got, want = extensions(own), extensions(theirs)
        assert got.pop(NAME_CONSTRAINTS)[0] is False
        assert [*got] == [*want]
        assert {oid: got[oid][0] for oid in got} == {oid: want[oid][0] for oid in got}
        for oid in ("2.5.29.15", "2.5.29.19", "2.5.29.32", "2.5.29.37"):
            assert got[oid][1] == want[oid][1], oid


def test_both_issuer_addresses_lead_to_the_issuer(newest: CertificateAuthority) -> None:
    chain = [newest.leaf(*PUBLIC, NOW_S).certificate, *certificates(newest.chain_pem())]
    published = newest.published()
    for certificate, issuer in pairwise(chain):
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
        issuers = [
            item.access_location.value
            for item in access.value
            if item.access_method.dotted_string == "1.3.6.1.5.5.7.48.2"
        ]
        name = issuers[0].removeprefix(f"{URL}/pkiops/certs/").removesuffix(".crt")
        assert issuers[1] == f"{URL}/alternate/pkiops/certs/{name}.crt"
        assert published[name] == issuer.public_bytes(Encoding.DER)


# Every generation.


@each
def test_leaf_has_the_facts_of_its_row(row: CertificateGeneration) -> None:
    authority = opened(row)
    leaf = authority.leaf(*PUBLIC, NOW_S).certificate
    assert leaf.not_valid_after_utc.timestamp() == NOW_S + row.leaf_days * DAY_S
    got = leaf.extensions
    usage = got.get_extension_for_class(x509.KeyUsage)
    assert usage.critical is row.is_key_usage_critical
    assert usage.value.data_encipherment is (row.key == "2019")
    purposes = got.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert tuple(oid.dotted_string for oid in purposes) == row.purposes
    assert leaf.signature_hash_algorithm is not None
    assert leaf.signature_hash_algorithm.name == row.digest
    access = got.get_extension_for_class(x509.AuthorityInformationAccess).value
    assert len([item for item in access if "certs" in item.access_location.value]) == row.addresses
    chain = common_names(authority.chain_pem())
    assert chain[0] == f"{row.issuer} 01"
    assert len(chain) == row.tiers + 1


@each
def test_openssl_verifies_the_chain(row: CertificateGeneration, tmp_path: Path) -> None:
    authority = opened(row)
    leaf = authority.leaf(*PUBLIC, NOW_S).certificate
    assert "OK" in verify(leaf, authority.bundle(), tmp_path)
    policy = ["-policy", "2.23.140.1.2.2", "-explicit_policy", "-purpose", "sslserver"]
    time = ["-attime", str(int(NOW_S)), "-CAfile", "trust.pem", "leaf.pem"]
    assert "OK" in run("verify", *policy, *time, at=tmp_path)


@each
def test_server_verifier_of_cryptography_accepts(row: CertificateGeneration) -> None:
    authority = opened(row)
    leaf = authority.leaf(*PUBLIC, NOW_S).certificate
    *above, root = certificates(authority.chain_pem())
    policy = PolicyBuilder().store(Store([root])).time(leaf.not_valid_before_utc)
    name = x509.DNSName("northeurope.metadata.azure.com")
    assert policy.build_server_verifier(name).verify(leaf, above)[-1] == root


def test_only_the_newest_fails_a_check_for_clients(tmp_path: Path) -> None:
    for row in GENERATIONS.values():
        authority = opened(row)
        verify(authority.leaf(*PUBLIC, NOW_S).certificate, authority.bundle(), tmp_path)
        options = ["-purpose", "sslclient", "-attime", str(int(NOW_S)), "-CAfile", "trust.pem"]
        is_ok = row.purposes != (OID_SERVER,)
        assert is_ok is (row.key != NEWEST)
        run("verify", *options, "leaf.pem", at=tmp_path, is_ok=is_ok)


# From one generation to the next.


def test_folder_keeps_its_generation_until_a_rotation(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    before = opened(GENERATIONS["2023"], folder)
    chain = before.chain_pem()
    again = CertificateAuthority.open(folder, NOW_S, public_url=URL)
    assert again.chain_pem() == chain
    old = again.leaf(*PUBLIC, NOW_S).certificate
    assert old.not_valid_after_utc.timestamp() == NOW_S + 339 * DAY_S
    again.rotate("intermediate", NOW_S)
    new = again.leaf(*PUBLIC, NOW_S).certificate
    assert new.not_valid_after_utc.timestamp() == NOW_S + 180 * DAY_S
    assert common_names(again.chain_pem())[0] == "OpenIMDS TLS G2 RSA CA OCSP 02"
    assert certificates(again.chain_pem())[-1] == certificates(chain)[-1], "the root stays"
    for leaf in (old, new):
        assert "OK" in verify(leaf, again.bundle(), tmp_path)
    assert opened(GENERATIONS[NEWEST], folder).chain_pem() == again.chain_pem()


def test_chain_in_its_last_year_becomes_the_newest_generation(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    ends = certificates(opened(GENERATIONS["2023"], folder).chain_pem())[0].not_valid_after_utc
    authority = CertificateAuthority.open(folder, NOW_S, public_url=URL)
    due_s = ends.timestamp() - 366 * DAY_S
    before = authority.leaf(*PUBLIC, due_s - DAY_S).certificate
    assert common_name_of_issuer(before) == "OpenIMDS TLS Issuing CA 01"
    after = authority.leaf(*PUBLIC, due_s + 1).certificate
    assert common_name_of_issuer(after) == "OpenIMDS TLS G2 RSA CA OCSP 02"
    names = common_names(authority.bundle())
    assert "OpenIMDS TLS Issuing CA 01" in names, "the earlier one stays published"


def common_name_of_issuer(certificate: x509.Certificate) -> str:
    return certificate.issuer.rfc4514_string().split(",")[0].removeprefix("CN=")


def test_walk_through_all_generations_overlaps(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    authority = opened(GENERATIONS["2019"], folder)
    root = authority.root_pem()
    leaves = [authority.leaf(*PUBLIC, NOW_S).certificate]
    for key in [*GENERATIONS][1:]:
        authority.rotate("intermediate", NOW_S, key)
        leaves.append(authority.leaf(*PUBLIC, NOW_S).certificate)
    authority.rotate("intermediate", NOW_S, "2023")
    leaves.append(authority.leaf(*PUBLIC, NOW_S).certificate)
    assert authority.root_pem() == root
    for leaf in leaves:
        assert "OK" in verify(leaf, authority.bundle(), tmp_path)
    again = opened(GENERATIONS[NEWEST], folder)
    assert again.chain_pem() == authority.chain_pem()
    assert common_names(again.chain_pem())[0] == "OpenIMDS TLS Issuing CA 06"


def test_successor_is_of_the_opened_generation(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    opened(GENERATIONS["2023"], folder)
    authority = CertificateAuthority.open(folder, NOW_S, public_url=URL)
    successor = authority.successor("intermediate", NOW_S)
    assert common_name(successor.certificate) == "OpenIMDS TLS G2 RSA CA OCSP 02"
    span = authority.leaves.validity(NOW_S, successor)
    assert span.to_s == NOW_S + 180 * DAY_S


def test_tier_bits_set_the_size_of_ca_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def make(bits: int = 2048) -> object:
        sizes.append(bits)
        return new_key()

    monkeypatch.setattr("openimds.credentials.pki.chain.new_key", make)
    CertificateAuthority.open(None, NOW_S, ca_bits=4096).leaf(*PUBLIC, NOW_S)
    assert sizes == [4096, 4096, 4096, 2048], "root, intermediate, tier; the leaf's stays"


def test_only_the_issuing_ca_of_a_path_excludes_addresses() -> None:
    authority = CertificateAuthority.open(None, NOW_S, public_url=URL)
    authority.rotate("root", NOW_S)
    *below, _ = certificates(authority.chain_pem())
    crossed = [
        one
        for one in certificates(authority.bundle())
        if one.issuer != one.subject
        and one.subject == certificates(authority.root_pem())[0].subject
    ]
    path = [*below, *crossed]
    assert len(path) == 3
    constraints = [
        one.extensions.get_extension_for_class(x509.NameConstraints).value for one in path
    ]
    assert [bool(one.excluded_subtrees) for one in constraints] == [True, False, False]
    assert all(one.permitted_subtrees for one in constraints)


def test_intermediate_below_a_tier_needs_no_root_key(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    CertificateAuthority.open(folder, NOW_S)
    (folder / "root.key").rename(tmp_path / "safe.key")
    authority = CertificateAuthority.open(folder, NOW_S)
    authority.rotate("intermediate", NOW_S)
    leaf = authority.leaf(*PUBLIC, NOW_S).certificate
    assert "OK" in verify(leaf, authority.bundle(), tmp_path)
