"""Who: identity, validity windows, classification, shares, universe and the factor-ETF registry, all dated.

build_master writes one SQLite file from delivered tables; SecurityMaster answers from it.
"""

from security_master.build import BuildReport, IdentityGuard, UnknownQuestion, build_master, decide
from security_master.coverage import coverage_by_year
from security_master.factor_etfs import FactorEtfs
from security_master.lookup import SecurityMaster, UnknownSecurity
from security_master.questions import IdentityDecision, Question
from security_master.resolution import AmbiguousTicker, UnknownTicker
from security_master.universe import (
    MEMBER_TYPES,
    RULES,
    Snapshot,
    SnapshotConflict,
    UniverseRule,
    record_snapshot,
    record_snapshots,
    select_members,
)

MASTER_FILE = "security_master.sqlite"
"""Name of the master's file under a root."""

__all__ = [
    "MASTER_FILE",
    "MEMBER_TYPES",
    "RULES",
    "AmbiguousTicker",
    "BuildReport",
    "FactorEtfs",
    "IdentityDecision",
    "IdentityGuard",
    "Question",
    "SecurityMaster",
    "Snapshot",
    "SnapshotConflict",
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
