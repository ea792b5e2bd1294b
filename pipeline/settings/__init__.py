"""One frozen settings object: `ERM3_*` environment variables, then `erm3.toml`, then the defaults.

Nested fields use a double underscore: `ERM3_MODEL__ESTIMATOR=ols`, `ERM3_RULES__OUTLIERS__JUMP=0.6`; `none` means None.
A field says in its `description` what it changes, and `unit_of(field)` in which unit it is.
Every number that changes a published one is in `ModelParameters` or `DataRules` and is written into the attributes of
the stores that it made (`parameter_attributes`). What is no parameter and stays where it is used:

* the universes (`security_master.universe.RULES`, the 60 sessions of their trading rule): they are what the names
  `uni_mc_*` mean; another rule is another `version`, and snapshots of the old one stay;
* ids and who is who (`security_master`): a published id never changes, whatever the settings say;
* the 15 minutes after its close from which on a bar without `known_from` is known: the form of a delivery;
* settlement, holidays, 1.4826, rounding guards of the kernels: facts and numerics, not choices;
* sizes of blocks and tiles: no number depends on them (tested).
"""

from pipeline.settings.delivery_rules import CleaningRules, DeliveryRules, DriftRules
from pipeline.settings.factor_sets import UNIVERSES, FactorSet
from pipeline.settings.model import AuditBounds, ModelParameters
from pipeline.settings.quality_rules import BarRules, DayBeforeRules, EtfRules, EventRules, SessionRules
from pipeline.settings.return_rules import DelistingRules, OutlierRules
from pipeline.settings.rules import DataRules, parameter_attributes
from pipeline.settings.run import Settings
from pipeline.settings.sources import TABLE_SOURCES, VENDORS, Fetching, SimulatedMarket
from pipeline.settings.units import SCALE, Unit, unit_of

__all__ = [
    "SCALE",
    "TABLE_SOURCES",
    "UNIVERSES",
    "VENDORS",
    "AuditBounds",
    "BarRules",
    "CleaningRules",
    "DataRules",
    "DayBeforeRules",
    "DelistingRules",
    "DeliveryRules",
    "DriftRules",
    "EtfRules",
    "EventRules",
    "FactorSet",
    "Fetching",
    "ModelParameters",
    "OutlierRules",
    "SessionRules",
    "Settings",
    "SimulatedMarket",
    "Unit",
    "parameter_attributes",
    "unit_of",
]
