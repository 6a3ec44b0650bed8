"""Settings that all tests share."""

from hypothesis import settings

# `make soak` asks for this profile; tests that name their own number of examples keep it.
settings.register_profile("soak", max_examples=2000, deadline=None)
