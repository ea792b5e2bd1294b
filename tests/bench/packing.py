"""What it costs to pack the chunks of published stores, by the effort of the codec.

    python -m tests.bench.packing ROOT [--chunks 250]

Takes chunks of every store at random, the same ones each time, and packs each with the declared codec at several
levels, in turns and in one thread. Prints processor seconds and megabytes of whole stores, as the sample has them.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter

import numcodecs

from pipeline.datasets.metadata import COMPRESSOR
from pipeline.read import PublishedStore, open_family
from pipeline.store.chunks import ChunkedArray

CODECS = {level: numcodecs.get_codec({**COMPRESSOR, "clevel": level}) for level in (1, 2, 3)}


def sampled(store: PublishedStore, chunks: int) -> tuple[list[tuple[ChunkedArray, bytes]], float]:
    """Some packed chunks of a store's variables with their arrays, and how many times as many there are."""
    published = set(store.keys())
    names = [key.removesuffix("/.zarray") for key in store.metadata if key.endswith("/.zarray")]
    arrays = [array for name in names if len((array := ChunkedArray.stored(name, store.metadata)).dims) > 1]
    places = [(array.key(index), array) for array in arrays for index in array.indices()]
    found = sorted((place for place in places if place[0] in published), key=lambda place: place[0])
    taken = random.Random(0).sample(found, min(chunks, len(found)))
    return [(array, store.read(key) or b"") for key, array in taken], len(found) / max(len(taken), 1)


def costs(chunks: list[tuple[ChunkedArray, bytes]]) -> tuple[Counter[int], Counter[int]]:
    """Processor seconds and bytes of packing these chunks, by level; at 0 the seconds of unpacking them."""
    seconds: Counter[int] = Counter()
    size: Counter[int] = Counter()
    for array, data in chunks:
        began = time.process_time()
        values = array.decode(data)
        seconds[0] += time.process_time() - began
        for level, codec in CODECS.items():
            began = time.process_time()
            size[level] += len(codec.encode(values))
            seconds[level] += time.process_time() - began
    return seconds, size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root")
    parser.add_argument("--chunks", type=int, default=250, help="looked at in each store")
    given = parser.parse_args()
    heads = [f"level {level}, {unit}" for level in CODECS for unit in ("s", "MB")]
    print("\n".join([f"| store | unpack, s | {' | '.join(heads)} |", "|---" * (2 + len(heads)) + "|"]))
    family = open_family(given.root)
    for name in family.stores:
        chunks, times = sampled(family.store(name), given.chunks)
        seconds, size = costs(chunks)
        cells = [f"{seconds[level] * times:.1f} | {size[level] * times / 1e6:.0f}" for level in CODECS]
        print(f"| {name} | {seconds[0] * times:.1f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
