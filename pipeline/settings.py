"""One frozen settings object: `ERM3_*` environment variables, then `erm3.toml`, then the defaults below.

Nested fields use a double underscore: `ERM3_MODEL__ESTIMATOR=ols`. Everything that changes a published number is in
`ModelParameters` or `DataRules` and is written into the attributes of the stores that it made.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

UNIVERSES = ("uni_mc_50", "uni_mc_500", "uni_mc_1000", "uni_mc_3000")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelParameters(_Frozen):
    """Parameters of docs/methodology.md, under the names that the stores' attributes carry."""

    estimator: Literal["huber", "ols", "ridge"] = "huber"
    window: int = Field(252, ge=2)
    min_obs: int = Field(126, ge=2)
    half_life: float | None = Field(126.0, gt=0)
    huber_epsilon: float = Field(1.35, gt=1)
    huber_scale_floor: float = Field(1e-2, gt=0)
    ridge_alpha: float = Field(0.0, ge=0)
    min_peers: int = Field(5, ge=1)
    lstar_threshold: float = 0.01

    @model_validator(mode="after")
    def _min_obs_fits(self) -> ModelParameters:
        if self.min_obs > self.window:
            raise ValueError(f"min_obs ({self.min_obs}) is larger than window ({self.window})")
        return self


class DataRules(_Frozen):
    """Rules of the returns and of the universe that a user may set differently."""

    max_gap: int = Field(10, ge=1, description="sessions without a close that a return may span")
    vendor_delay_minutes: int = Field(15, ge=0, description="knowledge instant of a session: its close plus this")
    shares_max_age_days: int = Field(400, ge=1)
    validity_sessions: int = Field(5, ge=1, description="a stock is valid when it traded within so many sessions")


class AuditBounds(_Frozen):
    """Bounds of the checks that stop a publication (docs/methodology.md, section 10)."""

    replication: float = 1e-3
    additivity: float = 1e-3
    net_market_beta: float = 1e-5
    coverage_drop: float = Field(0.05, description="largest fall of a coverage share against the previous session")
    coverage_floor: float = Field(0.0, description="smallest share of universe members with L1 values")
    recomputed_cells: int = Field(24, ge=0, description="cells recomputed from raw returns by a slow second writer")


class SimulatedMarket(_Frozen):
    """Size and seed of the embedded market. A larger horizon leaves the earlier sessions as they were."""

    seed: int = 20060103
    stocks: int = Field(300, ge=4, description="stocks alive on the first session")
    first_session: str = "2018-01-02"
    last_session: str = "2023-12-29"


class Settings(BaseSettings):
    """What a run needs to know. Frozen; no field is read from the clock."""

    model_config = SettingsConfigDict(
        env_prefix="ERM3_", env_nested_delimiter="__", toml_file="erm3.toml", frozen=True, extra="forbid"
    )

    root: str = "data/erm3"
    source: Literal["simulated", "files"] = "simulated"
    source_path: str | None = None
    factor_sets: tuple[str, ...] = ("SPY_uni_mc_3000",)
    model: ModelParameters = ModelParameters()
    rules: DataRules = DataRules()
    audit: AuditBounds = AuditBounds()
    simulated: SimulatedMarket = SimulatedMarket()
    threads: int = Field(2, ge=1)
    dask_address: str | None = None

    @field_validator("factor_sets")
    @classmethod
    def _known_factor_sets(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            FactorSet.parse(name)
        if not value or len({name.split("_", 1)[0] for name in value}) != 1:
            raise ValueError(f"factor sets need one common market ETF: {value}")
        return value

    @model_validator(mode="after")
    def _files_need_a_path(self) -> Settings:
        if self.source == "files" and not self.source_path:
            raise ValueError("source 'files' needs source_path: the directory with the tables")
        return self

    @property
    def market(self) -> str:
        return self.factor_sets[0].split("_", 1)[0]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


class FactorSet(_Frozen):
    """A market ETF and a universe: `{market}_{universe}` names the stores made for it."""

    market: str
    universe: str

    @property
    def id(self) -> str:
        return f"{self.market}_{self.universe}"

    @classmethod
    def parse(cls, name: str) -> FactorSet:
        market, _, universe = name.partition("_")
        if not market or universe not in UNIVERSES:
            raise ValueError(f"factor set {name!r} is not MARKET_UNIVERSE with a universe of {', '.join(UNIVERSES)}")
        return cls(market=market, universe=universe)
