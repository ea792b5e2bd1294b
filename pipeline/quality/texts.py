"""Columns of text."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def among(texts: pd.Series | pd.Index, names: Collection[str] | NDArray[np.object_]) -> NDArray[np.bool_]:
    """(n,) whether each text is one of the names. `isin` of such a column hands each of the names to Arrow first."""
    return np.asarray(pd.Index(texts.to_numpy(object), dtype=object).isin(np.asarray([*names], object)))
