"""What it costs to pack the chunks of published stores, by the effort of the codec.

    python -m tests.bench.packing ROOT [--chunks 250]

Takes chunks of every store at random, the same ones each time, and packs each with the declared codec at several
levels, in turns and in one thread. Prints processor seconds and megabytes of whole stores, as the sample has them.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from pathlib import Path

import numcodecs
import numpy as np
from numcodecs import blosc

from pipeline.datasets.metadata import COMPRESSOR
from pipeline.read import read_manifest
from pipeline.store.layout import METADATA, store_key

LEVELS = (1, 2, 3)


def packed(store: Path, chunks: int) -> tuple[list[tuple[str, bytes]], float]:
    """Some chunks of a store's variables with their dtypes, and how many times as many there are."""
    metadata = json.loads((store / METADATA).read_text())["metadata"]
    dtypes = {
        key.removesuffix("/.zarray"): array["dtype"]
        for key, array in metadata.items()
        if key.endswith("/.zarray") and len(array["shape"]) > 1
    }
    files = sorted(file for var in dtypes for file in (store / var).glob("[0-9]*"))
    taken = random.Random(0).sample(files, min(chunks, len(files)))
    return [(dtypes[file.parent.name], file.read_bytes()) for file in taken], len(files) / max(len(taken), 1)


def costs(chunks: list[tuple[str, bytes]]) -> tuple[Counter[int], Counter[int]]:
    """Processor seconds and bytes of packing these chunks, by level; at 0 the seconds of unpacking them."""
    seconds: Counter[int] = Counter()
    size: Counter[int] = Counter()
    codecs = {level: numcodecs.get_codec({**COMPRESSOR, "clevel": level}) for level in LEVELS}
    for dtype, data in chunks:
        began = time.process_time()
        values = np.frombuffer(numcodecs.get_codec(COMPRESSOR).decode(data), dtype)
        seconds[0] += time.process_time() - began
        for level, codec in codecs.items():
            began = time.process_time()
            size[level] += len(codec.encode(values))
            seconds[level] += time.process_time() - began
    return seconds, size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--chunks", type=int, default=250, help="looked at in each store")
    given = parser.parse_args()
    blosc.use_threads = False
    heads = [f"level {level}, {unit}" for level in LEVELS for unit in ("s", "MB")]
    print("\n".join([f"| store | unpack, s | {' | '.join(heads)} |", "|---" * (2 + len(heads)) + "|"]))
    for name in read_manifest(given.root)["stores"]:
        chunks, times = packed(given.root / store_key(name), given.chunks)
        seconds, size = costs(chunks)
        cells = [f"{seconds[level] * times:.1f} | {size[level] * times / 1e6:.0f}" for level in LEVELS]
        print(f"| {name} | {seconds[0] * times:.1f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
