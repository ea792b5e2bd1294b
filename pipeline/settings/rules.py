"""All rules of the data in one group, and the attributes that say what published numbers are made with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from pipeline.settings.delivery_rules import CleaningRules, DeliveryRules, DriftRules
from pipeline.settings.model import ModelParameters
from pipeline.settings.quality_rules import BarRules, DayBeforeRules, EtfRules, EventRules, SessionRules
from pipeline.settings.return_rules import DelistingRules, OutlierRules
from pipeline.settings.units import Days, Group, Sessions, Unit


class DataRules(Group):
    """Rules of the data, of the returns and of the universe."""

    max_gap: Sessions = Field(10, ge=1, description="sessions without a close that a return may span")
    vendor_delay_minutes: Annotated[int, Unit("minutes")] = Field(
        15,
        ge=0,
        description="knowledge instant of a session: its close plus this; what is known later does not enter what is "
        "published for the session. With vendors, if it is not set, the time by which they have delivered",
    )
    shares_max_age_days: Days = Field(
        400, ge=1, description="largest age of a share count; with an older one a stock has no market cap"
    )
    validity_sessions: Sessions = Field(5, ge=1, description="a stock is valid when it traded within so many sessions")
    listed_sessions: Sessions = Field(
        60, ge=1, description="sessions that a stock without a price still counts as listed"
    )
    cleaning: CleaningRules = Field(CleaningRules(), description="how a delivery is read before anybody uses it")
    bars: BarRules = Field(BarRules(), description="rules about single bars")
    events: EventRules = Field(EventRules(), description="rules about single events")
    sessions: SessionRules = Field(SessionRules(), description="rules about one session over all securities")
    day_before: DayBeforeRules = Field(DayBeforeRules(), description="members against the session before")
    etfs: EtfRules = Field(EtfRules(), description="factor ETFs against their stocks and against each other")
    drift: DriftRules = Field(DriftRules(), description="bars that were delivered before, against now")
    deliveries: DeliveryRules = Field(DeliveryRules(), description="what a delivery may lack of what the last one had")
    outliers: OutlierRules = Field(OutlierRules(), description="rules that make a return, or doubt one")
    delistings: DelistingRules = Field(DelistingRules(), description="what a delisting is worth without evidence")


def parameter_attributes(model: ModelParameters, rules: DataRules) -> dict[str, Any]:
    """Root attributes that say what the numbers are made with: every model parameter and data rule by its name.

    A rule of a group has the name of its group before its own (`outliers_jump`); None is the word `none`.
    """
    return dict(_flat(model.model_dump())) | dict(_flat(rules.model_dump()))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}_")
        else:
            yield prefix + name, "none" if value is None else list(value) if isinstance(value, tuple) else value
