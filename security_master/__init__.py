"""Who: identity, validity windows, classification, shares, universe and the factor-ETF registry, all dated.

build_master writes one SQLite file from delivered tables; SecurityMaster answers from it.

A security's permanent id is its `sec_id`, here and wherever tables come from the master. The axis of the stores is
called `symbol`, as their readers expect; its values are sec_ids. A *ticker* is neither: it passes from one security to
another.

Names are imported from their modules when they are first used, so that a program that only asks for a ticker does not
pay for pandas.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from security_master.directory import Industry, Listed, Span, TickerDirectory, UnknownSecurity
from security_master.questions import IdentityDecision, Question
from security_master.resolution import AmbiguousTicker, UnknownTicker

if TYPE_CHECKING:
    from security_master.build import build_master, decide
    from security_master.coverage import coverage_by_year
    from security_master.factor_etfs import FactorEtfs
    from security_master.guards import BuildReport, IdentityGuard, UnknownQuestion
    from security_master.lookup import SecurityMaster
    from security_master.snapshots import SnapshotConflict, record_snapshot, record_snapshots
    from security_master.universe import MEMBER_TYPES, RULES, STOCK_TYPES, Snapshot, UniverseRule, select_members

MASTER_FILE = "security_master.sqlite"
"""Name of the master's file under a root."""

__all__ = [
    "MASTER_FILE",
    "MEMBER_TYPES",
    "RULES",
    "STOCK_TYPES",
    "AmbiguousTicker",
    "BuildReport",
    "FactorEtfs",
    "IdentityDecision",
    "IdentityGuard",
    "Industry",
    "Listed",
    "Question",
    "SecurityMaster",
    "Snapshot",
    "SnapshotConflict",
    "Span",
    "TickerDirectory",
    "UniverseRule",
    "UnknownQuestion",
    "UnknownSecurity",
    "UnknownTicker",
    "build_master",
    "coverage_by_year",
    "decide",
    "record_snapshot",
    "record_snapshots",
    "select_members",
]

_WITH_PANDAS = {
    "build": ("build_master", "decide"),
    "coverage": ("coverage_by_year",),
    "factor_etfs": ("FactorEtfs",),
    "guards": ("BuildReport", "IdentityGuard", "UnknownQuestion"),
    "lookup": ("SecurityMaster",),
    "snapshots": ("SnapshotConflict", "record_snapshot", "record_snapshots"),
    "universe": ("MEMBER_TYPES", "RULES", "STOCK_TYPES", "Snapshot", "UniverseRule", "select_members"),
}

if not TYPE_CHECKING:  # a type checker would take any name for one of the package's

    def __getattr__(name: str) -> Any:
        for module, names in _WITH_PANDAS.items():
            if name in names:
                globals().update({n: getattr(import_module(f"{__name__}.{module}"), n) for n in names})
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
