"""Challenge files of Azure Arc: ownership, lifetime, limits; tokens for answered challenges."""

import asyncio
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from openimds.credentials.keys.keyring import Keyring
from openimds.credentials.tokens.arc_challenge import (
    MAX_CHALLENGES,
    MAX_PER_VM,
    ArcTokens,
    ChallengeError,
    ChallengeFiles,
)
from openimds.credentials.tokens.cache import TokenCache
from openimds.credentials.worker import Worker
from openimds.errors import ConfigError
from openimds.protocol.access_token import TokenSettings
from openimds.protocol.pending import AccessToken, Challenge, Failed, PendingChallenge, PendingToken
from openimds.vm.identities import Principal

NOW_S = 1_795_377_286.0
IDENTITY = Principal("c", "o", "t", "/m")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


@pytest.fixture
def challenges(folder: Path) -> ChallengeFiles:
    return ChallengeFiles(folder)


def issue(challenges: ChallengeFiles, vm: str = "a", now_s: float = NOW_S) -> Path:
    path = challenges.issue(vm, now_s)
    assert path is not None
    return path


def test_folder_is_private_and_empty(folder: Path, challenges: ChallengeFiles) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [*folder.iterdir()] == []
    assert len(challenges) == 0


def test_file_meets_the_demands_of_clients(folder: Path, challenges: ChallengeFiles) -> None:
    path = issue(challenges)
    assert path.parent == folder
    assert path.is_absolute()
    assert path.suffix == ".key"
    assert path.stat().st_size <= 4096
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().strip() == path.read_text()


def test_group_that_may_enter_the_folder_can_read_files(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o2750)
    path = issue(ChallengeFiles(folder))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_gid == folder.stat().st_gid


def test_proof_is_accepted_once_and_its_file_removed(challenges: ChallengeFiles) -> None:
    path = issue(challenges)
    proof = path.read_text()
    assert challenges.take("a", proof, NOW_S)
    assert not path.exists()
    assert not challenges.take("a", proof, NOW_S)


def test_proof_of_another_vm_is_rejected(challenges: ChallengeFiles) -> None:
    path = issue(challenges)
    assert not challenges.take("b", path.read_text(), NOW_S)
    assert path.exists()


@pytest.mark.parametrize("proof", ["", "x", "\xe9"])
def test_wrong_proof_is_rejected(challenges: ChallengeFiles, proof: str) -> None:
    path = issue(challenges)
    assert not challenges.take("a", proof, NOW_S)
    assert path.exists()


def test_challenge_expires_after_a_minute(challenges: ChallengeFiles) -> None:
    path = issue(challenges)
    proof = path.read_text()
    challenges.sweep(NOW_S + 59.9)
    assert path.exists()
    assert not challenges.take("a", proof, NOW_S + 60)
    assert not path.exists()


def test_oldest_challenge_of_a_vm_beyond_its_limit_is_dropped(
    folder: Path, challenges: ChallengeFiles
) -> None:
    other = issue(challenges, "b")
    paths = [issue(challenges) for _ in range(MAX_PER_VM + 1)]
    assert [path.exists() for path in paths] == [False] + [True] * MAX_PER_VM
    assert other.exists()
    assert len([*folder.iterdir()]) == MAX_PER_VM + 1


def test_challenges_beyond_the_limit_are_refused(folder: Path, challenges: ChallengeFiles) -> None:
    for number in range(MAX_CHALLENGES):
        issue(challenges, f"vm-{number}")
    assert challenges.issue("one more", NOW_S) is None
    assert len([*folder.iterdir()]) == MAX_CHALLENGES
    assert challenges.issue("one more", NOW_S + 60) is not None
    assert len([*folder.iterdir()]) == 1


def test_close_removes_all_files(folder: Path, challenges: ChallengeFiles) -> None:
    issue(challenges)
    challenges.close()
    assert [*folder.iterdir()] == []


def test_missing_file_does_not_invalidate_its_proof(challenges: ChallengeFiles) -> None:
    path = issue(challenges)
    proof = path.read_text()
    path.unlink()
    assert challenges.take("a", proof, NOW_S)


def test_missing_folder_raises_a_challenge_error(folder: Path, challenges: ChallengeFiles) -> None:
    folder.rmdir()
    with pytest.raises(ChallengeError, match=r"no such file"):
        challenges.issue("a", NOW_S)
    assert len(challenges) == 0


@pytest.mark.parametrize("name", ["a=b", 'a"b', "a\nb", "ä"])
def test_folder_name_that_clients_cannot_parse_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="arc_folder"):
        ChallengeFiles(tmp_path / name)


def test_file_in_place_of_the_folder_is_refused(folder: Path) -> None:
    folder.write_text("")
    with pytest.raises(ConfigError, match=r"file exists.*a writable folder"):
        ChallengeFiles(folder)


def with_arc(
    challenges: ChallengeFiles,
    *items: PendingChallenge | PendingToken | Callable[[object], PendingToken],
) -> list[object]:
    """Return the results of pending work, which may depend on the last result."""

    async def scenario() -> list[object]:
        worker = Worker()
        keyring = Keyring.open(None)
        arc = ArcTokens(
            challenges, worker, TokenCache(lambda: keyring, worker, TokenSettings(3600))
        )
        results: list[object] = []
        for item in items:
            pending = item(results[-1]) if callable(item) else item
            results.append(await arc.make(pending, NOW_S))
        worker.close()
        arc.close()
        return results

    return asyncio.run(scenario())


def answered(challenge: object) -> PendingToken:
    assert isinstance(challenge, Challenge)
    return PendingToken(
        "a", "AzurePublicCloud", IDENTITY, "r", proof=Path(challenge.path).read_text()
    )


def test_answered_challenge_yields_the_cached_token(
    folder: Path, challenges: ChallengeFiles
) -> None:
    first, token, second, cached = with_arc(
        challenges, PendingChallenge("a"), answered, PendingChallenge("a"), answered
    )
    assert isinstance(first, Challenge)
    assert isinstance(token, AccessToken)
    assert second != first
    assert cached is token
    assert [*folder.iterdir()] == []


def test_wrong_answer_yields_another_challenge(challenges: ChallengeFiles) -> None:
    wrong = PendingToken("a", "AzurePublicCloud", IDENTITY, "r", proof="x")
    assert isinstance(with_arc(challenges, wrong)[0], Challenge)


def test_challenge_limit_fails_as_throttled(challenges: ChallengeFiles) -> None:
    for number in range(MAX_CHALLENGES):
        issue(challenges, f"vm-{number}")
    assert with_arc(challenges, PendingChallenge("a")) == [Failed("throttled")]


def test_closed_worker_fails_as_throttled(challenges: ChallengeFiles) -> None:
    async def scenario() -> object:
        worker = Worker()
        worker.close()
        arc = ArcTokens(challenges, worker, TokenCache(Keyring.open, worker, TokenSettings(3600)))  # type: ignore[arg-type]
        return await arc.make(PendingChallenge("a"), NOW_S)

    assert asyncio.run(scenario()) == Failed("throttled")


def test_only_stale_challenge_files_are_removed_at_start(tmp_path: Path) -> None:
    others = [
        tmp_path / "notes.key",
        tmp_path / ("0" * 31 + "g.key"),
        tmp_path / ("1" * 32 + ".key"),
    ]
    stale = tmp_path / ("0" * 32 + ".key")
    for path in (*others, stale):
        path.write_text("x")
    for path in (*others[:2], stale):
        os.utime(path, (0, 0))
    ChallengeFiles(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(others)
