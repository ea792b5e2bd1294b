"""The command line `erm3`: the pipeline without Dagster. `python -m pipeline` is the same."""

import logging
import sys

from pipeline.cli.runs import app


def main() -> None:
    """Run one command; what it warns of goes to standard error."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    app()


if __name__ == "__main__":
    main()
