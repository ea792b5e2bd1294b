"""A root by its name: its objects, and how publications are made there."""

from __future__ import annotations

from pathlib import Path

from pipeline.store.cloud_objects import CloudObjects
from pipeline.store.filesystem import open_objects
from pipeline.store.local_objects import LocalObjects
from pipeline.store.objects import Objects
from pipeline.store.publications import Publications
from pipeline.store.publish_cloud import CloudPublications
from pipeline.store.publish_local import LocalPublications


def open_publications(root: str | Path | Objects) -> Publications:
    """The publications under a local directory or `gs://bucket/path`."""
    objects = root if isinstance(root, Objects) else open_objects(root)
    if isinstance(objects, CloudObjects):
        return CloudPublications(objects)
    assert isinstance(objects, LocalObjects)
    return LocalPublications(objects)
