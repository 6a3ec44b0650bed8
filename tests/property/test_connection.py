"""A connection accepts any bytes, in any chunks, and keeps to its table of phases."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.requests import one_input
from tests.support.talk import Reply, Talk, a_dispatcher, replies, request

CORPUS = sorted((Path(__file__).parents[2] / "fuzz" / "corpus").iterdir())
INSTANCE = "/metadata/instance?api-version=2021-02-01"

requests = st.builds(
    request,
    st.sampled_from([INSTANCE, "/metadata/versions", "/", "/metadata/instance%3Fx", "/x?y&y"]),
    st.sampled_from(["GET", "PUT", "POST"]),
    st.dictionaries(st.sampled_from(["Metadata", "X-Forwarded-For"]), st.just("true")),
)


@pytest.mark.parametrize("path", CORPUS, ids=[path.name for path in CORPUS])
def test_fuzzer_seeds_are_accepted(path: Path) -> None:
    one_input(path.read_bytes())


@given(st.binary(max_size=200))
def test_any_bytes_are_accepted(data: bytes) -> None:
    one_input(data)


def same(reply: Reply) -> tuple[int, bytes]:
    return reply.status, reply.body


@given(st.lists(requests, max_size=5), st.data())
def test_responses_do_not_depend_on_chunking(asked: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(asked)
    whole = replies(Talk(a_dispatcher()).send(stream))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    talk = Talk(a_dispatcher())
    edges = zip([0, *cuts], [*cuts, len(stream)], strict=True)
    pieces = replies(b"".join(talk.send(stream[start:end]) for start, end in edges))
    assert [same(reply) for reply in pieces] == [same(reply) for reply in whole]
    assert len(whole) == len(asked)
