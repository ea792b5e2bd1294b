"""Parameters of the model, and what the checks of its results allow (docs/methodology.md)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.settings.units import Group, HalfLife, Number, Securities, Sessions, Share, Unit


class ModelParameters(Group):
    """Parameters of docs/methodology.md, under the names that the stores' attributes carry."""

    estimator: Literal["huber", "ols", "ridge"] = Field(
        "huber", description="how betas are estimated: Huber's robust regression, least squares, or ridge"
    )
    window: Sessions = Field(252, ge=2, description="length of the window that an estimate looks back over")
    min_obs: Sessions = Field(
        126, ge=2, description="fewest sessions of a window with a return; with fewer a stock has no estimate"
    )
    half_life: HalfLife = Field(
        126.0, description="age at which a session of the window weighs half as much; `none`: all weigh the same"
    )
    huber_epsilon: Annotated[float, Unit("scales")] = Field(
        1.35, gt=1, description="residuals beyond it count less in Huber's regression"
    )
    huber_scale_floor: Annotated[float, Field(gt=0), Unit("share")] = Field(
        1e-2, description="smallest scale of Huber's regression, as a share of that of the least squares' residual"
    )
    ridge_alpha: Annotated[float, Field(ge=0), Unit("")] = Field(
        0.0, description="penalty of the ridge estimator: times the sum of the weights, added to the denominator"
    )
    min_peers: Securities = Field(5, ge=1, description="peers of an industry from which on betas are shrunk to them")
    lstar_threshold: Annotated[float, Unit("share")] = Field(
        0.01, description="smallest share of the variance that a level must explain to be the recommended one"
    )

    @model_validator(mode="after")
    def _min_obs_fits(self) -> ModelParameters:
        if self.min_obs > self.window:
            raise ValueError(f"min_obs ({self.min_obs}) is larger than window ({self.window})")
        return self


class AuditBounds(Group):
    """Bounds of the checks that stop a publication (docs/methodology.md, section 10)."""

    replication: Annotated[float, Unit("simple return")] = Field(
        1e-3, description="largest distance of a stock's return from its hedge's and its residual's together"
    )
    additivity: Annotated[float, Unit("share")] = Field(
        1e-3, description="largest distance of the sum of explained and residual risk from one"
    )
    net_market_beta: Annotated[float, Unit("beta")] = Field(
        1e-5, description="largest beta to the market that the L3 hedge may leave"
    )
    coverage_drop: Share = Field(0.05, description="largest fall of a coverage share against the previous session")
    coverage_floor: Share = Field(0.0, description="smallest share of universe members with L1 values")
    recomputed_cells: Number = Field(24, ge=0, description="cells recomputed from raw returns by a slow second writer")
