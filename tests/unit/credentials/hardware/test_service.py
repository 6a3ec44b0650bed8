"""Endorsements and quotes for the data plane."""

import asyncio
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from openimds.credentials.hardware.service import HARDWARE, MOST_ENDORSEMENTS, HardwareService
from openimds.credentials.worker import Worker
from openimds.protocol.pending import Endorsement, Failed, PendingEndorsement, PendingQuote, Quote

NOW_S = 1_795_377_286.0
ONE = PendingEndorsement("web-1", "Milan", bytes(64), 5)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory, whose keys the tests share."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture
def service(state: Path) -> Iterator[HardwareService]:
    service = HardwareService(state, Worker(), most_endorsements=2, bits=2048)
    yield service
    service.close()


def make(
    service: HardwareService, *work: PendingEndorsement | PendingQuote
) -> list[Endorsement | Quote | Failed]:
    async def play() -> list[Endorsement | Quote | Failed]:
        return [await service.make(one, NOW_S) for one in work]

    return asyncio.run(play())


def test_endorsement_is_the_processor_and_the_chain_above(service: HardwareService) -> None:
    (made,) = make(service, ONE)
    assert isinstance(made, Endorsement)
    (processor,) = x509.load_pem_x509_certificates(made.certificate.encode())
    signer, root = x509.load_pem_x509_certificates(made.chain.encode())
    processor.verify_directly_issued_by(signer)
    signer.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)


def test_endorsement_is_cached_for_every_vm_of_the_processor(service: HardwareService) -> None:
    assert service.cached(ONE) is None
    (made,) = make(service, ONE)
    assert service.cached(PendingEndorsement("web-2", "Milan", bytes(64), 5)) is made
    assert service.cached(PendingEndorsement("web-1", "Milan", bytes(64), 6)) is None


def test_cache_of_endorsements_is_bounded(service: HardwareService) -> None:
    work = [PendingEndorsement("web-1", "Milan", bytes(64), tcb) for tcb in range(1, 4)]
    made = make(service, *work)
    assert [service.cached(one) for one in work] == [None, *made[1:]]
    assert MOST_ENDORSEMENTS == 256


def test_quote_is_base64url_without_padding(service: HardwareService) -> None:
    (made,) = make(service, PendingQuote("web-1", bytes(1024)))
    assert isinstance(made, Quote)
    assert "=" not in made.text
    assert urlsafe_b64decode(made.text + "==")[:2] == b"\x04\x00"


@pytest.mark.parametrize("work", [ONE, PendingQuote("web-1", bytes(1024))])
def test_closed_worker_is_a_throttled_request(
    service: HardwareService, work: PendingEndorsement | PendingQuote
) -> None:
    service.close()
    assert make(service, work) == [Failed("throttled")]


def test_keys_lie_in_a_folder_of_the_state_directory(service: HardwareService, state: Path) -> None:
    make(service, ONE, PendingQuote("web-1", bytes(1024)))
    assert {path.name for path in (state / HARDWARE).iterdir()} == {
        "amd-milan-ark.pem",
        "amd-milan-ask.pem",
        "intel-pck.pem",
        "intel-platform.pem",
        "intel-root.pem",
    }
