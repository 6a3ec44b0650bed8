"""The files of Azure Arc's challenges: whose they are, how long, how many."""

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
WHO = Principal("c", "o", "t", "/m")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


@pytest.fixture
def challenges(folder: Path) -> ChallengeFiles:
    return ChallengeFiles(folder)


def ask(challenges: ChallengeFiles, vm: str = "a", now_s: float = NOW_S) -> Path:
    path = challenges.ask(vm, now_s)
    assert path is not None
    return path


def test_the_folder_is_its_owner_s_and_empty(folder: Path, challenges: ChallengeFiles) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [*folder.iterdir()] == []
    assert len(challenges) == 0


def test_a_file_is_what_clients_insist_on(folder: Path, challenges: ChallengeFiles) -> None:
    path = ask(challenges)
    assert path.parent == folder
    assert path.is_absolute()
    assert path.suffix == ".key"
    assert path.stat().st_size <= 4096
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().strip() == path.read_text()


def test_who_may_enter_the_folder_as_its_group_may_read(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o2750)
    path = ask(ChallengeFiles(folder))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_gid == folder.stat().st_gid


def test_a_proof_serves_once_and_its_file_goes(challenges: ChallengeFiles) -> None:
    path = ask(challenges)
    proof = path.read_text()
    assert challenges.take("a", proof, NOW_S)
    assert not path.exists()
    assert not challenges.take("a", proof, NOW_S)


def test_a_proof_is_its_vm_s_alone(challenges: ChallengeFiles) -> None:
    path = ask(challenges)
    assert not challenges.take("b", path.read_text(), NOW_S)
    assert path.exists()


@pytest.mark.parametrize("proof", ["", "x", "\xe9"])
def test_a_wrong_proof_proves_nothing(challenges: ChallengeFiles, proof: str) -> None:
    path = ask(challenges)
    assert not challenges.take("a", proof, NOW_S)
    assert path.exists()


def test_after_a_minute_a_challenge_is_over(challenges: ChallengeFiles) -> None:
    path = ask(challenges)
    proof = path.read_text()
    challenges.sweep(NOW_S + 59.9)
    assert path.exists()
    assert not challenges.take("a", proof, NOW_S + 60)
    assert not path.exists()


def test_the_oldest_of_too_many_of_one_vm_gives_way(
    folder: Path, challenges: ChallengeFiles
) -> None:
    other = ask(challenges, "b")
    paths = [ask(challenges) for _ in range(MAX_PER_VM + 1)]
    assert [path.exists() for path in paths] == [False] + [True] * MAX_PER_VM
    assert other.exists()
    assert len([*folder.iterdir()]) == MAX_PER_VM + 1


def test_there_are_never_more_than_so_many(folder: Path, challenges: ChallengeFiles) -> None:
    for number in range(MAX_CHALLENGES):
        ask(challenges, f"vm-{number}")
    assert challenges.ask("one more", NOW_S) is None
    assert len([*folder.iterdir()]) == MAX_CHALLENGES
    assert challenges.ask("one more", NOW_S + 60) is not None
    assert len([*folder.iterdir()]) == 1


def test_at_the_end_nothing_is_left(folder: Path, challenges: ChallengeFiles) -> None:
    ask(challenges)
    challenges.close()
    assert [*folder.iterdir()] == []


def test_a_file_that_somebody_took_away_harms_nobody(challenges: ChallengeFiles) -> None:
    path = ask(challenges)
    proof = path.read_text()
    path.unlink()
    assert challenges.take("a", proof, NOW_S)


def test_a_folder_that_is_gone_is_said(folder: Path, challenges: ChallengeFiles) -> None:
    folder.rmdir()
    with pytest.raises(ChallengeError, match=r"no such file"):
        challenges.ask("a", NOW_S)
    assert len(challenges) == 0


@pytest.mark.parametrize("name", ["a=b", 'a"b', "a\nb", "ä"])
def test_a_name_that_no_client_reads_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="arc_folder"):
        ChallengeFiles(tmp_path / name)


def test_a_file_is_no_folder(folder: Path) -> None:
    folder.write_text("")
    with pytest.raises(ConfigError, match=r"file exists.*a folder to write to"):
        ChallengeFiles(folder)


# Tokens for who answers.


def with_arc(
    challenges: ChallengeFiles,
    *needs: PendingChallenge | PendingToken | Callable[[object], PendingToken],
) -> list[object]:
    """Return what is made of needs, one after another; a function makes one of what was before."""

    async def whole() -> list[object]:
        worker = Worker()
        keyring = Keyring.open(None)
        arc = ArcTokens(
            challenges, worker, TokenCache(lambda: keyring, worker, TokenSettings(3600))
        )
        made: list[object] = []
        for need in needs:
            wanted = need(made[-1]) if callable(need) else need
            made.append(await arc.make(wanted, NOW_S))
        worker.close()
        arc.close()
        return made

    return asyncio.run(whole())


def answered(made: object) -> PendingToken:
    assert isinstance(made, Challenge)
    return PendingToken("a", "AzurePublicCloud", WHO, "r", proof=Path(made.path).read_text())


def test_a_challenge_and_its_answer_make_a_token(folder: Path, challenges: ChallengeFiles) -> None:
    asked, token, again, held = with_arc(
        challenges, PendingChallenge("a"), answered, PendingChallenge("a"), answered
    )
    assert isinstance(asked, Challenge)
    assert isinstance(token, AccessToken)
    assert again != asked
    assert held is token
    assert [*folder.iterdir()] == []


def test_a_wrong_answer_is_another_challenge(challenges: ChallengeFiles) -> None:
    wrong = PendingToken("a", "AzurePublicCloud", WHO, "r", proof="x")
    assert isinstance(with_arc(challenges, wrong)[0], Challenge)


def test_too_many_challenges_are_too_many_requests(challenges: ChallengeFiles) -> None:
    for number in range(MAX_CHALLENGES):
        ask(challenges, f"vm-{number}")
    assert with_arc(challenges, PendingChallenge("a")) == [Failed("throttled")]


def test_a_workshop_that_is_busy_says_so(challenges: ChallengeFiles) -> None:
    async def whole() -> object:
        worker = Worker()
        worker.close()
        arc = ArcTokens(challenges, worker, TokenCache(Keyring.open, worker, TokenSettings(3600)))  # type: ignore[arg-type]
        return await arc.make(PendingChallenge("a"), NOW_S)

    assert asyncio.run(whole()) == Failed("throttled")


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = [tmp_path / "notes.key", tmp_path / ("0" * 31 + "g.key"), tmp_path / ("1" * 32 + ".key")]
    left = tmp_path / ("0" * 32 + ".key")
    for path in (*kept, left):
        path.write_text("x")
    for path in (*kept[:2], left):
        os.utime(path, (0, 0))
    ChallengeFiles(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)
