"""What a run needs to know, from the environment, `erm3.toml` and the defaults."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from pipeline.settings.factor_sets import FactorSet
from pipeline.settings.model import AuditBounds, ModelParameters
from pipeline.settings.rules import DataRules
from pipeline.settings.sources import TABLE_SOURCES, VENDORS, Fetching, SimulatedMarket
from pipeline.settings.units import Unit


class Settings(BaseSettings):
    """What a run needs to know. Frozen; no field is read from the clock."""

    model_config = SettingsConfigDict(
        env_prefix="ERM3_",
        env_nested_delimiter="__",
        toml_file="erm3.toml",
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,  # what stands under an unknown name may be a secret
    )

    root: str = Field(
        "data/simulated",
        description="directory, or bucket path such as gs://bucket/erm3, of what is published; data/erm3 by default "
        "where the source is not the simulated market",
    )
    source: str = Field("simulated", description=f"one of {', '.join((*TABLE_SOURCES, *VENDORS))}")
    sources: tuple[str, ...] = Field((), description="layers of vendors, the one with the prices first")
    source_path: str | None = Field(None, description="directory with the tables of source `files`")
    raw: str | None = Field(None, description="the landing zone of vendors' answers; `raw` under the root by default")
    fetching: Fetching = Field(Fetching(), description="how vendors are asked, and when a delivery is whole")
    factor_sets: tuple[str, ...] = Field(
        ("SPY_uni_mc_3000",), description="models that are computed, each MARKET_UNIVERSE; one market ETF for all"
    )
    model: ModelParameters = Field(ModelParameters(), description="parameters of the model")
    rules: DataRules = Field(DataRules(), description="rules of the data, of the returns and of the universe")
    audit: AuditBounds = Field(AuditBounds(), description="bounds of the checks that stop a publication")
    simulated: SimulatedMarket = Field(SimulatedMarket(), description="size and seed of the simulated market")
    threads: Annotated[int, Unit("number")] = Field(
        2, ge=1, description="threads that compute tiles and read stores; no number depends on it"
    )
    dask_address: str | None = Field(
        None,
        description="scheduler of a Dask cluster whose workers read, compute and write the tiles of the stores; all of "
        "them see the root as this machine does. On this machine if not set",
    )

    @field_validator("factor_sets")
    @classmethod
    def _known_factor_sets(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            FactorSet.parse(name)
        if not value or len({name.split("_", 1)[0] for name in value}) != 1:
            raise ValueError(f"factor sets need one common market ETF: {value}")
        return value

    @model_validator(mode="after")
    def _sources_are_known(self) -> Settings:
        known = (*TABLE_SOURCES, *VENDORS)
        for name in self.layers:
            if name not in known:
                raise ValueError(f"source {name!r} is not known; expected one of {', '.join(known)}")
            if name in TABLE_SOURCES and len(self.layers) > 1:
                raise ValueError(f"source {name!r} stands alone; layers are of {', '.join(VENDORS)}")
        if self.source == "files" and not self.source_path:
            raise ValueError("source 'files' needs source_path: the directory with the tables")
        return self

    @model_validator(mode="after")
    def _own_data_lie_beside_the_simulated(self) -> Settings:
        if "root" not in self.model_fields_set and self.layers != ("simulated",):
            object.__setattr__(self, "root", "data/erm3")
        return self

    @model_validator(mode="after")
    def _delay_covers_the_delivery(self) -> Settings:
        """Who did not choose a delay gets the one by which the vendors have delivered."""
        delays = [VENDORS[name] for name in self.layers if name in VENDORS]
        if delays and "vendor_delay_minutes" not in self.rules.model_fields_set:
            rules = self.rules.model_copy(update={"vendor_delay_minutes": max(delays)})
            object.__setattr__(self, "rules", rules)
        return self

    @property
    def layers(self) -> tuple[str, ...]:
        """The sources, the one with the prices first."""
        return self.sources or (self.source,)

    @property
    def fetched(self) -> bool:
        """Whether the tables come from vendors that are fetched."""
        return all(name in VENDORS for name in self.layers)

    @property
    def raw_root(self) -> str:
        return self.raw or f"{self.root.rstrip('/')}/raw"

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
