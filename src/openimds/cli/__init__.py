"""The `openimds` command: parse, call, print.

Rules of the room. One module for each command, named like it; its `command` is loaded only when it
runs (`main.COMMANDS` is the list that `openimds --help` prints). A module imports at its head only
the parts that its options need, and the rest where a command runs, so that help is printed at once.
Data goes to stdout in the form that `--output` names; every other message goes to stderr. An error
is one line, `openimds: ...`: exit 2 for bad configuration, 1 for any other.

Theory. `main` makes options of settings and resolves their values; `client` calls the admin API of
a running server; `output` prints lists and objects in each form, and `table` draws. A list is a
tuple of columns: `tests/unit/cli/test_tables.py` holds each at the widths of terminals.
`capture_options` is shared by `capture` and `compare`, which talk to an IMDS and not to the admin
API.

What the room refuses to know: any rule of IMDS. It decides nothing; the server does.
"""

from openimds.cli.main import main

__all__ = ["main"]
