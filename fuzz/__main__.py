"""Fuzz until libFuzzer stops: `python -m fuzz [options of libFuzzer] [corpus]`.

The coverage that guides it is that of the package alone: with the standard library instrumented as
well, it sends a fifth of the requests.
"""

import sys

import atheris

with atheris.instrument_imports(include=["openimds"]):
    from fuzz.requests import send_input

atheris.Setup(sys.argv, send_input)
atheris.Fuzz()
