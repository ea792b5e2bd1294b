"""What a security master has heard: of a delivery that says nothing new it is not made again.

    heard/CODE/DIGEST.pack    the report of the build in which the master with this content heard this delivery

Facts are derived from the rows that a master holds, so telling it the same rows changes nothing. It is a cache of this
machine: what is missing, damaged or of other code is not believed, and the master is made from all rows.
"""

from __future__ import annotations

import hashlib
import pickle
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

import security_master
from pipeline.outside.caches import write_whole
from pipeline.outside.code import code_digest
from pipeline.store.digests import file_digest
from security_master import BuildReport

WORD = "heard.pack"


@cache
def code_version() -> str:
    """Names what makes a master of a delivery."""
    return code_digest(Path(security_master.__file__).parent, Path(__file__).parent)


def digest_of(
    frames: Mapping[str, pd.DataFrame], first_bars: Mapping[str, str], copies: Mapping[frozenset[str], str]
) -> str:
    """Of what a master is made of, see `build_master`."""
    digest = hashlib.sha256()
    for name, frame in frames.items():
        rows = pd.util.hash_pandas_object(frame, index=False).to_numpy()
        digest.update(f"{name} {','.join(map(str, frame.columns))} {len(frame)}\n".encode() + rows.tobytes())
    pairs = sorted((*sorted(pair), since) for pair, since in copies.items())
    digest.update(repr((sorted(first_bars.items()), pairs)).encode())
    return digest.hexdigest()


def recall(place: Path, master: str, delivery: str) -> BuildReport | None:
    """What the build of a master (SHA-256 of its file) reported of a delivery (`digest_of`); None where not known."""
    found = _read(_file(place, master, delivery))
    return found if isinstance(found, BuildReport) else None


def leave(scratch: Path, delivery: str, report: BuildReport) -> None:
    """Leave word in the directory of a run of what its master has heard; the run may write more into the master."""
    (scratch / WORD).write_bytes(_sealed((delivery, report)))


def keep(place: Path, scratch: Path, master: Path) -> None:
    """Keep that word, now that the file of the master has its content, in place of what was kept before.

    That it cannot be written harms nobody.
    """
    if (word := _read(scratch / WORD)) is None:
        return
    delivery, report = word
    path = _file(place, file_digest(master), delivery)
    try:
        shutil.rmtree(place / "heard", ignore_errors=True)
        write_whole(path, _sealed(report))
    except OSError:
        return


def _sealed(content: Any) -> bytes:
    data = pickle.dumps(content, protocol=5)
    return hashlib.sha256(data).digest() + data


def _read(path: Path) -> Any:
    """What `_sealed` was given, None where the file does not hold it."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(data[32:]).digest() != data[:32]:
        return None
    return pickle.loads(data[32:])  # our own bytes: the digest has just said so


def _file(place: Path, master: str, delivery: str) -> Path:
    return place / "heard" / code_version() / f"{hashlib.sha256(f'{master} {delivery}'.encode()).hexdigest()}.pack"
