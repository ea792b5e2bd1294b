"""Where things lie under a root.

ds_daily.zarr  manifest.json  publish_log/  ...     what readers open
.publications/ID/                                   one complete family each (in a bucket: only kept generations)
.publications/current -> ID                         local only: the one that readers see
.publications/published                             local only: the last one that went live
.publications/building                              local only: the one that is being built
.spare/                                             second copies of what a publication cannot do without
.staging/RUN_ID/                                    what a run is about to publish
.lease                                              who is publishing
raw/                                                what vendors answered (`pipeline.landing`)
"""

from __future__ import annotations

MANIFEST = "manifest.json"
DIGESTS = "digests.json"
SPARE = ".spare"
PUBLISH_LOG = "publish_log"
PUBLICATIONS = ".publications"
CURRENT = f"{PUBLICATIONS}/current"
PUBLISHED = f"{PUBLICATIONS}/published"
BUILDING = f"{PUBLICATIONS}/building"
STAGING = ".staging"
LEASE = ".lease"
RAW = "raw"
METADATA = ".zmetadata"


def store_key(name: str) -> str:
    return f"{name}.zarr"


def staging_key(run_id: str) -> str:
    return f"{STAGING}/{run_id}"


def join(*parts: str) -> str:
    """Joins keys; an empty part is the root itself."""
    return "/".join(part for part in parts if part)
