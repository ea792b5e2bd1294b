"""A run's staging area as a helper of the run sees it, in another process or on another machine.

A helper reads what the run reads and writes whole chunks into the overlay. It takes no part in the lease and ends
nothing: the run that began has both, and publishes only what it audited itself.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.store.filesystem import open_publications
from pipeline.store.layout import staging_key
from pipeline.store.lease import TTL_SECONDS, Lease
from pipeline.store.objects import StoreError, document
from pipeline.store.stage import Stage, utc_now
from security_master.errors import at_file


def beside(root: str, run_id: str, threads: int | None = None) -> Stage:
    """The stage of a run that another process began and holds. Raises StoreError when it is over."""
    publications = open_publications(root)
    key = f"{staging_key(run_id)}/stage.json"
    data = publications.objects.read(key)
    about = document(data or b"{}", f"{publications.objects.url}/{key}")
    if not about or "abandoned" in about or about["base"] != publications.current():
        raise StoreError(f"{publications.objects.url} has no run {run_id!r} that could be helped: it is over")
    return Stage(publications, Lease(publications.objects, run_id, utc_now, TTL_SECONDS), about, utc_now, threads)


def staged_file(stage: Stage, name: str, to: Path) -> Path | None:
    """Copies a file that the run staged beside the stores, or else the published one, to `to`; None for neither."""
    data = stage.objects.read(f"{stage.directory_key}/files/{name}")
    if data is None:
        return stage.published_file(name, to)
    with at_file(to):
        to.write_bytes(data)
    return to
