"""The publication that a request is answered from: the live one, followed as it changes, or one by its id."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import TypeVar
from weakref import WeakKeyDictionary

from pipeline.query import NothingThere, QueryFamily, open_family
from pipeline.query.errors import BadQuestion
from pipeline.read import PublicationRetired
from pipeline.store.cloud_objects import CloudObjects
from pipeline.store.filesystem import open_publications
from pipeline.store.objects import StoreError
from pipeline.store.unpacked import ChunkCache
from security_master.errors import ExplainedError

A = TypeVar("A")
_ID = re.compile(r"[0-9]{6}-[A-Za-z0-9_.+-]{1,100}")
EARLIER_KEPT = 3
"""Handles of earlier publications that stay open."""
LOOK_EVERY = 2.0
"""Seconds between two looks at a bucket; on a disk every request looks, which costs microseconds."""
TRIES = 3


class Live:
    """Open publications of a root, for many threads. They share one cache of chunks."""

    def __init__(self, root: str, factor_set: str | None = None) -> None:
        self.root, self._factor_set, self._cache = root, factor_set, ChunkCache()
        self._publications = open_publications(root)
        self._in_bucket = isinstance(self._publications.objects, CloudObjects)
        self._patience = LOOK_EVERY if self._in_bucket else 0.0
        self._looked, self._current = -1e9, ""
        self._live: QueryFamily | None = None
        self._opening, self._lock = Lock(), Lock()
        self._earlier: OrderedDict[str, QueryFamily] = OrderedDict()
        self._sound: WeakKeyDictionary[QueryFamily, int] = WeakKeyDictionary()

    def answered(self, publication: str | None, make: Callable[[QueryFamily], A]) -> A:
        """What `make` answers from the live publication, or an earlier one; made anew where that moved below it.

        In a bucket a restatement overwrites rows after it has copied the family as it was: what was read without that
        copy being there is right, and else the question is asked of the copy. Raises StoreError, NothingThere.
        """
        for _ in range(TRIES):
            family = self.family(publication)
            try:
                answer = make(family)
            except PublicationRetired:
                pass
            except ExplainedError:
                if self._was_there(family):
                    raise
            else:
                if self._was_there(family):
                    return answer
            self._forget(family)
        raise StoreError(f"{self.root} changes faster than it can be read")

    def family(self, publication: str | None = None) -> QueryFamily:
        """The live publication, or an earlier one. Raises StoreError when nothing is published, NothingThere."""
        current = self._now()
        if publication is not None and publication != current:
            return self._one(publication)
        live = self._live
        if live is not None and live.publication == current:
            return live
        if live is not None and self._opening.locked():
            return live  # another thread opens the new one; until it can be asked, the one before answers
        with self._opening:
            if self._live is None or self._live.publication != current:
                opened = open_family(self.root, factor_set=self._factor_set, cache=self._cache)
                opened.warm()
                _ = opened.names
                self._live = opened
            return self._live

    def _now(self) -> str:
        if time.monotonic() - self._looked >= self._patience:
            found = self._publications.current()
            if found is None:
                raise StoreError("nothing is published yet")
            self._current, self._looked = found, time.monotonic()
        return self._current

    def _was_there(self, family: QueryFamily) -> bool:
        """Whether all that was read of a publication so far was read where it lay. Asks the bucket after new reads."""
        reads = self._cache.reads
        if not self._in_bucket or self._sound.get(family) == reads:
            return True
        if not family.family.is_there():
            return False
        self._sound[family] = reads
        return True

    def _forget(self, family: QueryFamily) -> None:
        with self._lock:
            self._earlier.pop(family.publication, None)
            if self._live is family:
                self._live = None

    def _one(self, publication: str) -> QueryFamily:
        if not _ID.fullmatch(publication):
            raise BadQuestion(
                "publication is an id as `erm3 history` lists them, like 000012-...", code="invalid_publication"
            )
        with self._lock:
            if publication in self._earlier:
                self._earlier.move_to_end(publication)
                return self._earlier[publication]
        try:
            opened = open_family(self.root, publication, factor_set=self._factor_set, cache=self._cache)
        except PublicationRetired as error:
            raise NothingThere(f"publication {publication} is no longer kept", code="publication_not_kept") from error
        except StoreError as error:
            raise NothingThere(f"there is no publication {publication}", code="unknown_publication") from error
        with self._lock:
            self._earlier[publication] = opened
            while len(self._earlier) > EARLIER_KEPT:
                self._earlier.popitem(last=False)
        return opened
