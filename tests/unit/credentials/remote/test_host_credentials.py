"""The credentials of a host's guests, composed of tokens, documents and requests to control."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from openimds.credentials.remote import host_credentials
from openimds.credentials.remote.host_credentials import (
    MOST_FORWARDED,
    MOST_PER_VM,
    HostCredentials,
)
from openimds.credentials.remote.mint_service import CONTROL_SIGNS
from openimds.credentials.tokens.arc_challenge import ChallengeFiles
from openimds.protocol.pending import (
    AccessToken,
    Challenge,
    Endorsement,
    Failed,
    Pending,
    PendingCertificate,
    PendingChallenge,
    PendingDocument,
    PendingEndorsement,
    PendingQuote,
    Quote,
    Result,
    Signature,
)
from tests.unit.credentials.remote.control_setup import DAY_S, AwayError, FakeControl, TestHost
from tests.unit.credentials.remote.leaf_setup import DOCUMENT, SUBJECT, LeafHost, open_authority
from tests.unit.credentials.tokens.cache_setup import APP, PENDING, run_async, turns

AUTHORITY = open_authority()
UNAVAILABLE, THROTTLED = Failed("server_error"), Failed("throttled")
ENDORSEMENT = PendingEndorsement("web-1", "Genoa", b"chip", 1)
CERTIFICATE = PendingCertificate("web-1", APP, b"csr", "https://endpoint")


class Setup:
    """The credentials of a host, whose control a test lets answer, hang or be away."""

    def __init__(self, challenges: ChallengeFiles | None = None) -> None:
        self.tokens, self.leaf_host = TestHost(), LeafHost(authority=AUTHORITY)
        self.control: FakeControl = self.tokens.control
        self.now_s = self.tokens.now_s = self.leaf_host.now_s
        self.forwarded: list[Pending] = []
        self.credentials = HostCredentials(
            self.tokens.tokens,
            self.leaf_host.documents,
            self.forward,
            self.leaf_host.worker,
            challenges,
        )

    async def forward(self, pending: Pending, _now_s: float) -> Result:
        self.forwarded.append(pending)
        await self.control.open.wait()
        if self.control.is_away:
            raise AwayError("control is away")
        if isinstance(pending, PendingEndorsement):
            return Endorsement("certificate", "chain")
        return Quote("quote")

    def set_away(self, *, is_away: bool) -> None:
        self.control.is_away = self.leaf_host.is_away = is_away

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        self.tokens.now_s = self.leaf_host.now_s = self.now_s

    async def get(self, pending: Pending) -> Result:
        found = self.credentials.cached(pending, self.now_s)
        return found or await self.credentials.make(pending, self.now_s)


def read(challenge: Challenge) -> str:
    return Path(challenge.path).read_text(encoding="ascii")


def test_ten_minutes_without_control_cost_no_guest_an_error() -> None:
    async def scenario() -> None:
        setup = Setup()
        setup.credentials.place("web-1", setup.now_s, [PENDING])
        setup.credentials.want([SUBJECT])
        await setup.credentials.keep_up(setup.now_s)
        await turns()
        results: list[Result] = []
        for second in range(0, DAY_S + 600, 60):
            setup.pass_time(60)
            # Ten minutes just when the token's renewal is due, and ten at the end.
            is_away = abs(second - DAY_S / 2) < 300 or second >= DAY_S
            setup.set_away(is_away=is_away)
            await setup.credentials.keep_up(setup.now_s)
            await turns()
            nonce = replace(DOCUMENT, nonce=str(second))
            results += [await setup.get(PENDING), await setup.get(nonce)]
        assert [one for one in results if isinstance(one, Failed)] == []
        assert len(results) == 2 * (DAY_S + 600) // 60
        setup.credentials.close()

    run_async(scenario)


def test_tokens_and_leaves_are_renewed_without_a_request() -> None:
    async def scenario() -> None:
        setup = Setup()
        setup.credentials.place("web-1", setup.now_s, [PENDING])
        setup.credentials.want([SUBJECT])
        for renewed in (1, 2):
            await setup.credentials.keep_up(setup.now_s)
            await turns()
            assert len(setup.control.asked) == renewed
            assert len(setup.leaf_host.requests) == renewed
            setup.pass_time(DAY_S // 2)
        setup.credentials.close()

    run_async(scenario)


def test_documents_and_tokens_come_from_their_parts() -> None:
    async def scenario() -> None:
        setup = Setup()
        plain = replace(DOCUMENT, nonce="")
        assert isinstance(await setup.get(plain), Signature)
        assert isinstance(setup.credentials.cached(plain, setup.now_s), Signature)
        assert isinstance(await setup.get(PENDING), AccessToken)
        assert isinstance(setup.credentials.cached(PENDING, setup.now_s), AccessToken)
        assert setup.forwarded == []
        setup.credentials.forget({"web-1"})
        assert setup.credentials.cached(PENDING, setup.now_s) is None
        await setup.get(PENDING)
        setup.credentials.forget_future(setup.now_s - 2)
        assert setup.credentials.cached(PENDING, setup.now_s) is None
        assert setup.credentials.cached(plain, setup.now_s) is None
        setup.credentials.leave({"web-1"})
        assert setup.credentials.tokens.asked("web-1", setup.now_s) == []
        setup.credentials.close()

    run_async(scenario)


@pytest.mark.parametrize(
    "pending",
    [
        CERTIFICATE,
        PendingQuote("web-1", b"report"),
        *(replace(DOCUMENT, scenario=name) for name in sorted(CONTROL_SIGNS)),
    ],
)
def test_rest_is_made_by_control_for_each_request(
    pending: PendingCertificate | PendingQuote | PendingDocument,
) -> None:
    async def scenario() -> None:
        setup = Setup()
        assert [await setup.get(pending), await setup.get(pending)] == [Quote("quote")] * 2
        assert setup.forwarded == [pending, pending]
        setup.set_away(is_away=True)
        assert await setup.get(pending) == UNAVAILABLE
        setup.credentials.close()

    run_async(scenario)


def test_endorsement_is_shared_by_vms_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(host_credentials, "MOST_ENDORSEMENTS", 2)
        setup = Setup()
        chips = [replace(ENDORSEMENT, chip=octets) for octets in (b"a", b"b", b"c")]
        for pending in chips:
            assert await setup.get(pending) == Endorsement("certificate", "chain")
        await setup.get(replace(chips[2], vm="web-2"))
        assert setup.forwarded == chips
        setup.set_away(is_away=True)
        assert await setup.get(chips[1]) == Endorsement("certificate", "chain")
        assert await setup.get(chips[0]) == UNAVAILABLE, "the oldest was dropped"
        setup.credentials.close()

    run_async(scenario)


def test_requests_to_control_are_bounded() -> None:
    async def scenario() -> None:
        setup = Setup()
        setup.control.open.clear()
        tasks = []
        for number in range(MOST_FORWARDED // MOST_PER_VM):
            quote = PendingQuote(f"web-{number}", b"report")
            tasks += [asyncio.ensure_future(setup.get(quote)) for _ in range(MOST_PER_VM)]
        await turns()
        assert await setup.get(PendingQuote("web-0", b"report")) == THROTTLED
        assert await setup.get(PendingQuote("another", b"report")) == THROTTLED
        tasks[0].cancel()
        await turns()
        tasks += [asyncio.ensure_future(setup.get(PendingQuote("another", b"report")))]
        await turns()
        setup.control.open.set()
        assert await asyncio.gather(*tasks[1:]) == [Quote("quote")] * MOST_FORWARDED
        setup.credentials.close()

    run_async(scenario)


def test_requests_of_one_vm_leave_places_to_others() -> None:
    async def scenario() -> None:
        setup = Setup()
        setup.control.open.clear()
        quote = PendingQuote("web-1", b"report")
        tasks = [asyncio.ensure_future(setup.get(quote)) for _ in range(MOST_PER_VM)]
        await turns()
        assert await setup.get(quote) == THROTTLED
        setup.control.open.set()
        assert await setup.get(replace(quote, vm="web-2")) == Quote("quote")
        await asyncio.gather(*tasks)
        setup.credentials.close()

    run_async(scenario)


def test_control_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(host_credentials, "TIMEOUT_S", 0.01)
        setup = Setup()
        setup.control.open.clear()
        assert await setup.get(CERTIFICATE) == UNAVAILABLE
        setup.credentials.close()

    run_async(scenario)


def test_challenge_is_a_file_of_the_host(tmp_path: Path) -> None:
    async def scenario() -> None:
        setup = Setup(ChallengeFiles(tmp_path / "arc"))
        challenge = await setup.get(PendingChallenge("web-1"))
        assert isinstance(challenge, Challenge)
        proof = read(challenge)
        proven = replace(PENDING, proof=proof)
        assert setup.credentials.cached(proven, setup.now_s) is None
        assert isinstance(await setup.get(proven), AccessToken)
        assert [one.proof for one in setup.control.asked] == [""]
        assert isinstance(await setup.get(replace(PENDING, proof="wrong")), Challenge)
        assert setup.forwarded == []
        setup.credentials.close()
        assert [*(tmp_path / "arc").iterdir()] == []

    run_async(scenario)
