"""What a person follows from session to session: one number for each session of the run and each figure.

Read from the staged store, in its time blocks, so memory does not grow with the range.
"""

from __future__ import annotations

import numpy as np

from pipeline.engine.figures import Series
from pipeline.engine.products import product_of
from pipeline.engine.run import Run


def by_session(run: Run, name: str, first: int | None = None, last: int | None = None) -> Series:
    """Figures of a store for the sessions with ordinals [first, last], the run's by default: (sessions,) each."""
    figures, store = product_of(run.specs[name]).figures, run.open(name)
    parts = [figures(run, store, run.rows(store, a, b)) for a, b in run.blocks(store, first, last)]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
