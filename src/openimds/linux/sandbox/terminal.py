"""The terminal, which a command that does job control may leave in the hands of nobody."""

import os
import signal
from contextlib import suppress


def foreground() -> int | None:
    """Return a standard stream whose terminal listens to our process group, if one does."""
    for descriptor in range(3):
        with suppress(OSError):
            if os.tcgetpgrp(descriptor) == os.getpgrp():
                return descriptor
    return None


def take_back(descriptor: int) -> None:
    """Have the terminal listen to our process group again."""
    # Whoever is in the background and asks for it is stopped, unless he does not hear of that.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
    with suppress(OSError):
        if os.tcgetpgrp(descriptor) != os.getpgrp():
            os.tcsetpgrp(descriptor, os.getpgrp())
