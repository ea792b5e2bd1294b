"""scikit-learn as the judge of a Huber slope: a third opinion that shares neither code nor author with the other two.

`sklearn.linear_model.HuberRegressor` minimises the same convex objective as the cascade (methodology, section 3), slope
and scale together: sum of w (sigma + H((y - b x) / sigma) sigma), once the intercept and its penalty are turned off.
Two things differ, and are dealt with here:

* It stops when the objective hardly falls any more, with the slope still 1e-5 away, and its tolerances are absolute. So
  it is asked in rounds: each looks at what the line so far leaves, in units of the scale so far, which is where
  HuberRegressor begins (slope 0, scale 1). Its own `warm_start` would fit an intercept that nobody asked for.
* It knows no floor of the scale. A fit whose best scale lies below the floor is not judged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ROUNDS = 10
STANDS_STILL = 1e-8


def huber_fit(x: Floats, y: Floats, w: Floats, epsilon: float, scale_floor: float) -> tuple[float, float]:
    """Slope and scale, as `reference.huber_fit` gives them; NaN where the judge has no opinion.

    x, y, w: (sessions,) regressor, regressand, weights above zero.
    """
    from sklearn.linear_model import HuberRegressor  # a heavy import, for the few cells that are judged

    judge = HuberRegressor(epsilon=epsilon, alpha=0.0, fit_intercept=False, max_iter=1000, tol=1e-10)
    unit = np.sqrt(np.average(x * x, weights=w))
    ols = (w * x * y).sum() / (w * x * x).sum()
    sigma_ols = scale = np.sqrt(np.average((y - ols * x) ** 2, weights=w))
    slope = ols
    for rounds in range(ROUNDS):
        if not scale > scale_floor * sigma_ols:
            break
        try:
            judge.fit((x / unit)[:, None], (y - slope * x) / scale, w / w.mean())
        except ValueError:  # its line search found no way down: from the second round on, there is none
            return (float(slope), float(scale)) if rounds > 1 else (np.nan, np.nan)
        slope += judge.coef_[0] * scale / unit
        scale *= judge.scale_
        if abs(judge.coef_[0]) <= STANDS_STILL:
            return float(slope), float(scale)
    return np.nan, np.nan
