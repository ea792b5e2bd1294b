"""A picture shows the values of the library, and names as they are."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from pipeline.cli.runs import app
from pipeline.query import NotComputable, plot


def words(figure: Figure) -> str:
    texts = [figure.get_suptitle(), *(t.get_text() for legend in figure.legends for t in legend.get_texts())]
    for axis in figure.axes:
        texts += [axis.get_title(loc="left"), axis.get_ylabel(), *(t.get_text() for t in axis.texts)]
        texts += [label.get_text() for label in axis.get_xticklabels()]
    return " ".join(texts)


def test_betas_are_drawn_with_the_etfs_that_were_used(family, stocks):
    figure = plot.betas(family, stocks[0], 1)
    cube = family.cube([stocks[0]], fields=["l1_market_beta", "l3_subsector_beta"])
    for axis, name in ((figure.axes[0], "l1_market_beta"), (figure.axes[2], "l3_subsector_beta")):
        drawn = axis.lines[0].get_ydata()
        np.testing.assert_array_equal(drawn, cube[name].values[0][-len(drawn) :])
    used = family.metrics(stocks[0])["hedge_levels"]["L3"]["hedge_etfs"]
    assert all(etf in words(figure) for etf in used.values())


def test_every_kind_of_picture_has_a_title_and_axes(family, stocks):
    for kind, draw in plot.OF_A_STOCK.items():
        assert stocks[1] in words(draw(family, stocks[1], 1)), kind
    said = words(plot.portfolio(family, {stocks[0]: 2e6, stocks[1]: -1e6}))
    assert "hedged at L3" in said
    assert "a year" in said
    assert "subsector" in words(plot.industries(family, most=3))


def test_the_bars_of_a_bridge_are_its_numbers(family, stocks):
    bars = family.return_bridge(stocks[2])["bars"]
    drawn = [patch.get_height() / 100 for patch in plot.bridge(family, stocks[2]).axes[0].patches]
    np.testing.assert_allclose(drawn, list(bars.values()))


def test_a_residual_is_marked_where_its_return_was_made_in_another_way(family):
    cells = family.cells("ds_daily")
    flags = cells.block("return_flag", 0, len(family.sessions), 0, len(cells.symbols))
    residuals = family.cells("ds_erm3_returns").position
    for code, name in cells.flags("return_flag").items():
        where = [k for k in np.flatnonzero((flags == code).any(axis=0)) if cells.symbols[k] in residuals]
        if code not in (0, *plot.USUAL) and where:
            figure = plot.residual(family, cells.symbols[where[0]], 1)
            assert name in [t.get_text() for t in figure.axes[0].get_legend().get_texts()]
            return
    pytest.fail("no return of this market was made in another way")


def test_what_cannot_be_drawn_says_why(family):
    with pytest.raises(NotComputable, match="none of the 1 names"):
        plot.portfolio(family, {"NOBODY": 1.0})


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_picture_is_saved_as_asked(suffix, whole, stocks, tmp_path):
    path = tmp_path / f"bridge.{suffix}"
    done = CliRunner().invoke(app, ["plot", "bridge", stocks[0], "--root", str(whole), "--out", str(path)])
    assert done.exit_code == 0, done.output
    assert path.read_bytes().startswith(b"\x89PNG" if suffix == "png" else b"<?xml")


@pytest.mark.parametrize("words", [["pie", "SPY"], ["betas"], ["betas", "SPY"], ["betas", "NOBODY"]])
def test_a_picture_of_nothing_is_a_sentence(words, whole, tmp_path):
    done = CliRunner().invoke(app, ["plot", *words, "--root", str(whole), "--out", str(tmp_path / "x.png")])
    assert done.exit_code == 1
    assert "Traceback" not in done.output
