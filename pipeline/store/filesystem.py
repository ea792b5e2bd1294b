"""From the name of a root to its objects: the only place that makes a remote file system."""

from __future__ import annotations

from pathlib import Path

from pipeline.store.cloud_objects import CloudObjects
from pipeline.store.local_objects import LocalObjects
from pipeline.store.objects import Objects, StoreError
from pipeline.store.publications import Publications
from pipeline.store.publish_cloud import CloudPublications
from pipeline.store.publish_local import LocalPublications

REMOTE = ("gs", "gcs")


def open_objects(root: str | Path) -> Objects:
    """The objects under a local directory or `gs://bucket/path`. Raises StoreError for another kind of root.

    Credentials are found by gcsfs (application default, or GOOGLE_APPLICATION_CREDENTIALS). Listings are never cached:
    other machines change the bucket. The file system runs in threads, so child processes must be spawned, not forked.
    """
    protocol, separator, path = str(root).partition("://")
    if not separator:
        return LocalObjects(Path(root).absolute())
    if protocol not in REMOTE or not path.strip("/"):
        raise StoreError(f"{root}: expected a directory or gs://BUCKET/PATH")
    import fsspec

    return CloudObjects(fsspec.filesystem(protocol, use_listings_cache=False), path.strip("/"))


def open_publications(root: str | Path | Objects) -> Publications:
    """The publications under a local directory or `gs://bucket/path`."""
    objects = root if isinstance(root, Objects) else open_objects(root)
    if isinstance(objects, CloudObjects):
        return CloudPublications(objects)
    assert isinstance(objects, LocalObjects)
    return LocalPublications(objects)
