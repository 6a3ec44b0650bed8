"""`python -m openimds` is the `openimds` command."""

from openimds.cli import main

if __name__ == "__main__":
    main()
