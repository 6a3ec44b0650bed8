"""The metrics of a host of a fleet: its control, and the certificates from it."""

from unittest.mock import Mock

from openimds.admin.metrics import METRICS_OF_FOLLOWERS
from openimds.server.hosts.follower_metrics import certificate_ends, follower_samples
from openimds.server.hosts.local_files import FollowState


def test_follower_has_a_value_for_each_of_its_rows() -> None:
    state = FollowState(connections=3, revision=7, store_age_s=0.5, refused={"web": "a reason"})
    follower = Mock(state=state, is_following=True, silent_s=lambda: 2.0)
    samples = follower_samples(follower)
    assert samples.keys() == METRICS_OF_FOLLOWERS
    assert (samples["openimds_feed_connected"], samples["openimds_feed_age_seconds"]) == (True, 2)
    assert samples["openimds_feed_vms_refused"] == 1


def test_follower_that_never_reached_control_has_no_ages() -> None:
    samples = follower_samples(Mock(state=FollowState(), is_following=False))
    left = METRICS_OF_FOLLOWERS - samples.keys()
    assert left == {"openimds_feed_age_seconds", "openimds_feed_revision"}


def test_ends_of_leaves_are_there_once_it_has_any() -> None:
    assert certificate_ends(9.0, None) == {"host": 9}
    assert certificate_ends(9.0, 7.0) == {"host": 9, "leaf": 7}
