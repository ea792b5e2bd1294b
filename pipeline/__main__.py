"""The command line `erm3`: the pipeline without Dagster. `python -m pipeline` is the same."""

import contextlib
import logging
import sys

from pipeline.outside import machine
from pipeline.outside.visible import visible


class _Visible(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


def main() -> None:
    """Run one command; what it warns of goes to standard error.

    A signal that ends it is a message and status 128 + its number; what is written meanwhile is given up in order.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if problem := machine.too_little_address_space():
        sys.exit(f"erm3: {problem}")
    machine.tune_libraries()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Visible("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    try:
        with machine.ending_in_order():
            with machine.importing():
                from pipeline.cli.runs import app  # not before it is known that this ends

            app()
    except machine.Ended as end:
        notes = "".join(f"; {note}" for note in getattr(end, "__notes__", ()))
        with contextlib.suppress(OSError):  # the terminal may be gone
            print(visible(f"{end}: readers see a whole publication{notes}. Run it again"), file=sys.stderr)
        sys.exit(end.status)


if __name__ == "__main__":
    main()
