"""A rehearsal that walks through the generations by the clock, region by region."""

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from openimds.credentials.keys.files import KeyFileError, write_file
from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.certificate_info import common_name
from openimds.credentials.pki.document_signer import DocumentSigner
from openimds.credentials.pki.extensions import addresses_in
from openimds.credentials.pki.lazy_ca import CaSettings, LazyCa
from openimds.credentials.pki.revocation_register import serial_of
from openimds.credentials.pki.verify import verify
from openimds.facts.generations import GENERATIONS, NEWEST, STEPS
from openimds.protocol.attested_document import payload, to_bytes
from openimds.protocol.generation_walk import GenerationWalk, plan
from openimds.protocol.pending import PendingDocument
from tests.unit.credentials.pki.openssl_verify import DAY_S, NOW_S, PUBLIC, URL, certificates
from tests.unit.vm.refused import refused

FULL = "walk.json: no space left on device"
YEAR_S = 365 * DAY_S
EARLY, LATE = "westus", "northeurope"
"""Regions that move after 8 % and after 73 % of an overlap."""
YEARLY = plan(NOW_S, YEAR_S, "2019", "2026", 100 * DAY_S)


def payload_of(now_s: float) -> bytes:
    pending = PendingDocument(
        "web-1",
        "2021-02-01",
        "1234567890",
        "metadata.azure.com",
        "",
        ("nonce", "timeStamp", "vmId"),
        {"vmId": "6277b885-20b1-43ba-81a2-ee4e94e7c0af"},
    )
    return to_bytes(payload(pending, now_s))


def issuer_of(authority: CertificateAuthority, region: str, now_s: float) -> str:
    issuer = authority.leaf("metadata.azure.com", region, now_s).certificate.issuer
    return issuer.rfc4514_string().partition(",")[0].removeprefix("CN=")[:-3]


def lists_of(authority: CertificateAuthority, now_s: float) -> Callable[[str], bytes]:
    """Return a fetcher of the lists that the authority serves."""

    def fetch(url: str) -> bytes:
        found = authority.revocation_list(url.partition("/pkiops/crl/")[2], now_s)
        assert found, url
        return found

    return fetch


def test_every_document_of_a_walk_verifies_as_do_earlier_ones() -> None:
    authority = CertificateAuthority.open(None, NOW_S, public_url=URL)
    authority.rehearse(YEARLY, NOW_S)
    signer = DocumentSigner(authority)
    made: list[tuple[float, bytes]] = []
    seen: list[str] = []
    for place, generation in enumerate(YEARLY.generations):
        for day in (0, 5, 50, 99, 200):
            now_s = YEARLY.begins_s(place) + day * DAY_S
            for region in (EARLY, LATE):
                text = signer.document(payload_of(now_s), "metadata.azure.com", region, now_s)
                made.append((now_s, base64.b64decode(text)))
                seen.append(issuer_of(authority, region, now_s))
            authority.answers.refresh_due(now_s)
            fetch = lists_of(authority, now_s)
            bundle = authority.bundle()
            for at_s, document in made[-4:]:
                report = verify(
                    document,
                    trust=bundle,
                    nonce="1234567890",
                    at_s=min(now_s, at_s + 5 * 3600),
                    domain="metadata.azure.com",
                )
                assert report.holds, [one for one in report.checks if one.holds is False]
            report = verify(
                made[-1][1],
                trust=bundle,
                nonce="1234567890",
                at_s=now_s,
                fetch=fetch,
                domain="metadata.azure.com",
                revocation="hard",
            )
            assert report.holds, [one for one in report.checks if one.holds is False]
        if place:
            before = GENERATIONS[YEARLY.generations[place - 1]].issuer
            after = GENERATIONS[generation].issuer
            expected = [before, before, before, before, after, before, after, after, after, after]
            assert seen[-10:] == expected, "one region moves at 8 of 100 days, the other at 73"
    assert {*seen} == {row.issuer for row in GENERATIONS.values()}


def test_walk_survives_a_restart_between_two_steps(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    first = CertificateAuthority.open(folder, NOW_S, public_url=URL)
    first.rehearse(YEARLY, NOW_S)
    first.advance(NOW_S + 1.1 * YEAR_S)
    again = CertificateAuthority.open(folder, NOW_S + 1.1 * YEAR_S, public_url=URL)
    assert again.walk == first.walk
    assert again.walk
    assert again.walk.done == 2
    later_s = NOW_S + 2.9 * YEAR_S
    assert issuer_of(again, LATE, later_s) == GENERATIONS["2023"].issuer


def test_step_is_counted_and_reported_once() -> None:
    sentences: list[str] = []
    ca = LazyCa(CaSettings(public_url=URL, notify=sentences.append))
    ca.rehearse(plan(NOW_S, DAY_S, "2024", "2026"), NOW_S)
    assert not ca.replaced
    for _ in range(2):
        ca.keep_up(NOW_S + DAY_S)
    assert ca.replaced == {("intermediate", "rehearsal"): 1}
    assert sentences == [
        f"rehearsal: OpenIMDS TLS G2 RSA CA OCSP 03 issues leaves of 2026 ({STEPS['2026'].change})"
    ]


def test_jump_of_years_takes_every_step() -> None:
    ca = LazyCa(CaSettings(public_url=URL))
    ca.rehearse(YEARLY, NOW_S)
    ca.keep_up(NOW_S + 5 * YEAR_S)
    walk = ca.walk(NOW_S)
    assert walk
    assert walk.done == len(GENERATIONS), "and a clock set back takes none back"
    subjects = [info.subject for info in ca.certificate_infos(NOW_S) if not info.is_root]
    assert len(subjects) == 6 + 2, "the start and five steps, and the tiers of first and last"


def test_region_that_has_not_moved_keeps_its_leaf() -> None:
    authority = CertificateAuthority.open(None, NOW_S, public_url=URL)
    authority.rehearse(plan(NOW_S, DAY_S, "2023", "2024"), NOW_S)
    leaf = authority.leaf("metadata.azure.com", LATE, NOW_S + 0.99 * DAY_S).certificate
    step_s = NOW_S + DAY_S
    assert authority.leaf("metadata.azure.com", LATE, step_s + 60).certificate == leaf
    assert authority.leaf("metadata.azure.com", EARLY, step_s + 0.1 * DAY_S).certificate != leaf
    assert authority.leaf("metadata.azure.com", LATE, step_s + 0.2 * DAY_S).certificate != leaf


def test_both_issuers_are_in_use_during_an_overlap() -> None:
    authority = CertificateAuthority.open(None, NOW_S, public_url=URL)
    authority.rehearse(plan(NOW_S, DAY_S, "2023", "2024"), NOW_S)
    authority.advance(NOW_S + DAY_S)
    used = [info.subject for info in authority.certificate_infos() if info.in_use]
    assert len([subject for subject in used if "Issuing CA" in subject]) == 2
    authority.advance(NOW_S + 2 * DAY_S)
    used = [info.subject for info in authority.certificate_infos() if info.in_use]
    assert len([subject for subject in used if "Issuing CA" in subject]) == 1


def test_ended_rehearsal_keeps_the_certificates(tmp_path: Path) -> None:
    authority = CertificateAuthority.open(tmp_path / "ca", NOW_S)
    authority.rehearse(YEARLY, NOW_S)
    chain = authority.chain_pem()
    authority.end_rehearsal()
    authority.advance(NOW_S + 2 * YEAR_S)
    assert (authority.chain_pem(), authority.walk) == (chain, None)
    assert not (tmp_path / "ca" / "walk.json").exists()


def test_replacement_during_a_walk_is_of_its_generation() -> None:
    authority = CertificateAuthority.open(None, NOW_S)
    authority.rehearse(YEARLY, NOW_S)
    authority.rotate("intermediate", NOW_S)
    name = common_name(certificates(authority.chain_pem())[0])
    assert name.startswith(GENERATIONS["2019"].issuer)


def test_full_disk_stops_a_step_for_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = CertificateAuthority.open(tmp_path / "ca", NOW_S)
    authority.rehearse(YEARLY, NOW_S)
    reports: list[tuple[str, str, str]] = []
    authority.report = lambda *report: reports.append(report)
    step_s = NOW_S + YEAR_S

    def write(path: Path, _: bytes) -> None:
        raise KeyFileError(f"{path.name}: no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("openimds.credentials.pki.chain_files.write_file", write)
        for late_s in (0, 3599, 3600):
            assert issuer_of(authority, EARLY, step_s + late_s) == GENERATIONS["2019"].issuer
    assert [part for part, *_ in reports] == ["", ""]
    assert "a rehearsal is stuck at 2019, the step before: " in reports[0][2]
    assert "no space left" in reports[0][2]
    assert issuer_of(authority, LATE, step_s + 90 * DAY_S) == GENERATIONS["2021"].issuer


def test_step_that_cannot_be_written_is_taken_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "ca"
    authority = CertificateAuthority.open(folder, NOW_S)
    authority.rehearse(YEARLY, NOW_S)
    reports: list[tuple[str, str, str]] = []
    authority.report = lambda *report: reports.append(report)
    step_s = NOW_S + YEAR_S
    with monkeypatch.context() as patch:
        fill_disk_of_walks(patch)
        for late_s in (0, 3599, 3600, YEAR_S, YEAR_S + 3600):
            authority.advance(step_s + late_s)
            again = CertificateAuthority.open(folder, step_s)
            again.advance(step_s)
            assert again.chain_pem() == authority.chain_pem()
    assert [part for part, *_ in reports] == ["intermediate", "", "", "", ""]
    at = f"a rehearsal is stuck at 2021, a step that cannot be written: {FULL}"
    assert {sentence for _, _, sentence in reports[1:]} == {at}
    again.advance(step_s + 3600)
    assert again.walk
    assert (again.walk.done, again.chain_pem()) == (2, authority.chain_pem())
    authority.advance(step_s + YEAR_S + 7200)
    ((*_, last),) = reports[5:]
    assert last.endswith(f" issues leaves of 2023 ({STEPS['2023'].change})")
    assert CertificateAuthority.open(folder, step_s).walk == authority.walk


def test_walk_that_cannot_be_written_begins_at_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = CertificateAuthority.open(tmp_path / "ca", NOW_S)
    with monkeypatch.context() as patch:
        fill_disk_of_walks(patch)
        with pytest.raises(KeyFileError) as caught:
            authority.rehearse(YEARLY, NOW_S)
    assert str(caught.value) == (
        f"{FULL}; the rehearsal has not begun, and the intermediate is of 2019: begin it again "
        "when there is room"
    )
    assert authority.walk is None
    chain = authority.chain_pem()
    authority.rehearse(YEARLY, NOW_S)
    assert authority.chain_pem() == chain
    assert CertificateAuthority.open(tmp_path / "ca", NOW_S).walk == YEARLY


def fill_disk_of_walks(patch: pytest.MonkeyPatch) -> None:
    def write(*_: object) -> None:
        raise KeyFileError(FULL)

    patch.setattr("openimds.credentials.pki.walk_file.write_file", write)


def test_missing_root_key_refuses_a_rehearsal(tmp_path: Path) -> None:
    CertificateAuthority.open(tmp_path, NOW_S, generation="2023")
    (tmp_path / "root.key").unlink()
    authority = CertificateAuthority.open(tmp_path, NOW_S, generation="2023")
    with pytest.raises(KeyFileError, match=r"root\.key: missing"):
        authority.rehearse(YEARLY, NOW_S)
    assert authority.walk is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'{"generations":[],"begun_s":0,"every_s":60,"overlap_s":0}',
        b'{"generations":["2020"],"begun_s":0,"every_s":60,"overlap_s":0}',
        b'{"generations":["2019"],"begun_s":0,"every_s":0,"overlap_s":0}',
        b'{"generations":["2019"],"begun_s":0,"every_s":60,"overlap_s":0,"done":2}',
    ],
)
def test_damaged_file_of_a_walk_stops_the_start(tmp_path: Path, text: bytes) -> None:
    write_file(tmp_path / "walk.json", text)
    with pytest.raises(KeyFileError, match=r"walk\.json: .*Restore the file.*or remove it"):
        CertificateAuthority.open(tmp_path, NOW_S)


def test_steps_are_due_at_equal_intervals() -> None:
    walk = plan(NOW_S, 60, "2021", "2024")
    assert walk.generations == ("2021", "2023", "2024")
    times = (-1e12, NOW_S, NOW_S + 59, NOW_S + 60, NOW_S + 121, NOW_S + 1e300)
    assert [walk.due(at_s) for at_s in times] == [1, 1, 1, 2, 3, 3]
    assert walk.overlap_s == 15


def test_all_generations_have_a_step_in_order() -> None:
    assert [*STEPS] == [*GENERATIONS]
    assert next(reversed(STEPS)) == NEWEST


def test_overlap_longer_than_a_step_is_refused() -> None:
    assert refused(plan, NOW_S, 60, "2019", "2026", 61)[0] == "overlap_s"


def test_walk_into_the_past_is_refused() -> None:
    assert refused(plan, NOW_S, 60, "2024", "2021")[0] == "last"


def test_leaf_of_an_overlap_has_the_addresses_of_its_issuer() -> None:
    authority = CertificateAuthority.open(None, NOW_S, public_url=URL)
    authority.rehearse(GenerationWalk(("2024", "2026"), NOW_S, DAY_S, DAY_S), NOW_S)
    step_s = NOW_S + DAY_S
    late = authority.leaf(*PUBLIC, step_s).certificate
    early = authority.leaf("metadata.azure.com", EARLY, step_s + DAY_S / 2).certificate
    names = authority.published()
    for leaf, count in ((late, 1), (early, 2)):
        issuers = addresses_in(leaf).issuers
        assert len(issuers) == count
        assert issuers[0].rpartition("/")[2].removesuffix(".crt") in names


def test_previous_issuer_that_is_revoked_issues_no_leaf() -> None:
    authority = CertificateAuthority.open(None, NOW_S, public_url=URL)
    authority.rehearse(plan(NOW_S, DAY_S, "2023", "2024"), NOW_S)
    former = certificates(authority.chain_pem())[0]
    step_s = NOW_S + DAY_S
    assert issuer_of(authority, LATE, step_s) == GENERATIONS["2023"].issuer
    authority.revoke(serial_of(former), "superseded", step_s)
    assert issuer_of(authority, LATE, step_s) == GENERATIONS["2024"].issuer
    assert certificates(authority.chain_pem())[0].issuer == former.issuer, "both stand below a root"


def test_lists_of_last_leaves_of_an_overlap_survive_a_restart(tmp_path: Path) -> None:
    authority = CertificateAuthority.open(tmp_path, NOW_S, public_url=URL)
    authority.rehearse(plan(NOW_S, DAY_S, "2023", "2024"), NOW_S)
    authority.answers.refresh(NOW_S)
    step_s, over_s = NOW_S + DAY_S, NOW_S + 1.5 * DAY_S
    authority.advance(step_s)
    leaf = authority.leaf("metadata.azure.com", LATE, step_s).certificate
    authority.advance(over_s)
    again = CertificateAuthority.open(tmp_path, over_s, public_url=URL)
    octets = lists_of(again, over_s)(addresses_in(leaf).crls[0])
    assert x509.load_der_x509_crl(octets).issuer == leaf.issuer


@pytest.mark.parametrize("end", ["end", "rotate", "rehearse"])
def test_revocation_in_an_overlap_outlives_its_end_and_a_restart(tmp_path: Path, end: str) -> None:
    authority = CertificateAuthority.open(tmp_path, NOW_S, public_url=URL)
    authority.rehearse(plan(NOW_S, DAY_S, "2023", "2024"), NOW_S)
    step_s = NOW_S + DAY_S
    authority.advance(step_s)
    leaf = authority.leaf("metadata.azure.com", LATE, step_s).certificate
    authority.revoke(serial_of(leaf), "superseded", step_s)
    match end:
        case "end":
            authority.end_rehearsal()
        case "rotate":
            authority.rotate("intermediate", step_s)
        case _:
            authority.rehearse(plan(step_s, DAY_S, "2024", "2026"), step_s)
    again = CertificateAuthority.open(tmp_path, step_s, public_url=URL)
    octets = lists_of(again, step_s)(addresses_in(leaf).crls[0])
    revoked = x509.load_der_x509_crl(octets)
    assert revoked.get_revoked_certificate_by_serial_number(leaf.serial_number) is not None
