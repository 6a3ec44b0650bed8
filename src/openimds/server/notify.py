"""Messages to the operator."""

from collections.abc import Callable

Notify = Callable[[str], None]
"""Prints one message to the operator; it has no full stop."""
