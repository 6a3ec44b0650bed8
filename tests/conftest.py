"""Settings that all tests share."""

from hypothesis import settings

# A deadline would judge the load of the machine. The same code gets the same examples, so that a
# run judges the change at hand; `make soak` looks for new ones.
settings.register_profile("tests", deadline=None, derandomize=True)
settings.load_profile("tests")
# `make soak` asks for this profile; tests that name their own number of examples keep it.
settings.register_profile("soak", max_examples=2000, deadline=None)
