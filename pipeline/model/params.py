"""The parameters of the kernels, under the names that docs/methodology.md and the stores' attributes use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class KernelParams:
    """What the estimators need to know.

    estimator:         'huber' | 'ols' | 'ridge'
    window:            sessions in a window, the published session included
    min_obs:           sessions that a level needs in its window
    half_life:         sessions in which a weight halves; None for equal weights
    huber_epsilon:     where the loss turns linear, in units of the scale
    huber_scale_floor: smallest Huber scale, in units of the scale of the least-squares residual
    ridge_alpha:       added to the denominator, times the sum of weights ('ridge' only)
    """

    estimator: Literal["huber", "ols", "ridge"] = "huber"
    window: int = 252
    min_obs: int = 126
    half_life: float | None = 126.0
    huber_epsilon: float = 1.35
    huber_scale_floor: float = 1e-2
    ridge_alpha: float = 0.0

    def __post_init__(self) -> None:
        if self.estimator not in ("huber", "ols", "ridge"):
            raise ValueError(f"estimator is 'huber', 'ols' or 'ridge', found {self.estimator!r}")
        if not 2 <= self.min_obs <= self.window:
            raise ValueError(f"expected 2 <= min_obs <= window, found min_obs={self.min_obs}, window={self.window}")
        if self.half_life is not None and not self.half_life > 0:
            raise ValueError(f"half_life is positive or None, found {self.half_life}")
        if not self.huber_epsilon > 1:
            raise ValueError(f"huber_epsilon is above 1 (else the scale has no minimum), found {self.huber_epsilon}")
        if not self.huber_scale_floor > 0 or not self.ridge_alpha >= 0:
            raise ValueError(
                "huber_scale_floor is positive and ridge_alpha not negative, "
                f"found {self.huber_scale_floor} and {self.ridge_alpha}"
            )
