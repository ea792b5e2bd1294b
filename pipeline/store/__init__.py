"""Storing and publishing: the only place that writes stores.

A run stages what it writes beside what readers see (`Stage`), is audited there, and is published as a whole
(`promote`). `filesystem` knows local disks and buckets, `lease` lets one run write at a time, `guards` say what a
publication may never do, `publications` and `manifest` what has been published.
"""

from pipeline.store.checked import WrongShape
from pipeline.store.guards import GuardFailed
from pipeline.store.lease import LeaseHeld, LeaseLost
from pipeline.store.manifest import Publication
from pipeline.store.objects import StoreError
from pipeline.store.promote import promote
from pipeline.store.seal import Damaged
from pipeline.store.stage import NotAudited, Stage
from pipeline.store.staged_store import StagedStore

__all__ = [
    "Damaged",
    "GuardFailed",
    "LeaseHeld",
    "LeaseLost",
    "NotAudited",
    "Publication",
    "Stage",
    "StagedStore",
    "StoreError",
    "WrongShape",
    "promote",
]
