from openimds.admin.page.sessions import MOST_OF_TOKEN, MOST_SESSIONS, SESSION_S, Sessions


class Steady:
    """A steady clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_session_ends_after_eight_hours() -> None:
    clock = Steady()
    sessions = Sessions(clock)
    text, session = sessions.open("a")
    clock.now_s = SESSION_S - 1
    assert sessions.find(text) is session
    clock.now_s = SESSION_S
    assert sessions.find(text) is None
    assert len(sessions) == 0


def test_session_is_kept_by_the_hash_of_its_id() -> None:
    sessions = Sessions(Steady())
    text, session = sessions.open("a")
    assert text not in sessions._by_hash
    assert text not in {session.csrf, session.digest}
    sessions.close(text)
    assert sessions.find(text) is None
    sessions.close(text)


def test_token_with_many_sessions_loses_its_oldest() -> None:
    sessions = Sessions(Steady())
    other, _ = sessions.open("b")
    texts = [sessions.open("a")[0] for _ in range(MOST_OF_TOKEN + 1)]
    assert sessions.find(texts[0]) is None
    assert all(map(sessions.find, [*texts[1:], other]))


def test_full_table_drops_of_the_token_with_most() -> None:
    sessions = Sessions(Steady())
    texts = [sessions.open(f"t{number // 4}")[0] for number in range(MOST_SESSIONS - 2)]
    few = sessions.open("few")[0]
    five = sessions.open("t1")[0]
    assert sessions.open("new")
    assert len(sessions) == MOST_SESSIONS
    assert sessions.find(texts[4]) is None
    assert all(map(sessions.find, [texts[0], few, five]))


def test_ended_sessions_make_room() -> None:
    clock = Steady()
    sessions = Sessions(clock)
    for number in range(5):
        sessions.open(f"t{number}")
    clock.now_s = SESSION_S
    sessions.open("new")
    assert len(sessions) == 1
