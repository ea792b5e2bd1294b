"""`make study`: docs/model-quality.md, from real prices where they are at hand, from the simulated market otherwise.

    python -m tests.study [--root ROOT] [--out docs]

--root: a root that is published already, instead of a fresh one in a temporary directory.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.study import measures, panel, report
from tests.study.variants import DEFAULT, Hedges, Variant, variants


def study(data: panel.Panel, chosen: list[Variant]) -> tuple[list[report.Found], report.Calibration, dict[str, float]]:
    """The default, which comes first, and each other variant against it."""
    hedges = Hedges(data)
    found: list[report.Found] = []
    default = np.empty(0)
    for variant in chosen:
        began = time.process_time()
        ratios = hedges.of(variant)
        left = measures.hedged(data, ratios)
        if variant.thin:
            left[:, data.traded > np.nanquantile(data.traded, 0.2)] = np.nan
        if not len(found):
            default = left
        levels = tuple(measures.against(data, left[k], default[k]) for k in range(3))
        found.append(report.Found(variant, levels, measures.turnover(data, ratios)))
        print(f"{variant.name}: {100 * levels[2].mean:+.2f} % at L3, {time.process_time() - began:.0f} s", flush=True)
    return found, *_calibration(data, hedges, default)


def _calibration(data: panel.Panel, hedges: Hedges, left: np.ndarray) -> tuple[report.Calibration, dict[str, float]]:
    done = hedges.fits[DEFAULT, "plain", Variant.decay][0]
    beta = hedges.adjusted(Variant("default", "default"))
    shares = measures.promised(data, beta, DEFAULT)
    promised, came, gap = {}, {}, {}
    for window in (63, 252):
        realised = measures.came(data, left, window)
        before = np.concatenate([np.full((*shares.shape[:2], window), np.nan), shares[..., :-window]], axis=2)
        ends = (np.arange(shares.shape[2]) + data.first) % window == 0  # windows that have no session in common
        promised[window], came[window] = report.tenths(before[2][:, ends], realised[2][:, ends])
        gap[window] = [float(np.nanmedian((realised - before)[k][:, ends])) for k in range(3)]
    errors = measures.of_errors(done.beta, done.se, DEFAULT.window)
    depths = measures.depths(data, left, shares, realised)
    names = measures.names(data, done, DEFAULT.window)
    return report.Calibration(promised, came, gap, errors, names), depths


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    arguments.add_argument("--root")
    arguments.add_argument("--out", type=Path, default=Path("docs"))
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root, source = (asked.root, f"the root {asked.root}") if asked.root else panel.published(Path(place) / "root")
        data = panel.read(root, source)
    found, calibration, depths = study(data, list(variants()))
    asked.out.mkdir(parents=True, exist_ok=True)
    report.draw(found, calibration, asked.out)
    (asked.out / report.PAGE.name).write_text(report.page(data, found, calibration, depths))


if __name__ == "__main__":
    main()
