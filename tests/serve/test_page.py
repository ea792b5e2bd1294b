"""A walk over the page of `erm3 serve` in a real browser, by keyboard too, and on a narrow screen.

apt-get install chromium chromium-driver
pytest -m browser tests/serve/test_page.py            # screenshots are left in the test's directory
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from tests.assets.browser import Browser, browser
from tests.engine.conftest import EVE
from tests.gates import PATIENCE

pytestmark = pytest.mark.browser
KEYS = {"down": "\ue015", "enter": "\ue007", "escape": "\ue00c"}


@pytest.fixture(scope="module")
def page(server, tmp_path_factory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        opened.resize(height=2200)
        yield opened
        print(f"screenshots: {opened.pictures}")


def test_the_page_loads_nothing_from_elsewhere(server, page):
    found = requests.get(server.address, timeout=PATIENCE)
    assert "default-src 'self'" in found.headers["Content-Security-Policy"]
    page.open(server.address)
    page.wait_for("Ticker or name")
    loaded = page.script("return performance.getEntriesByType('resource').map(r => r.name)")
    assert loaded
    assert all(name.startswith((server.address, "data:")) for name in loaded)


def test_a_stock_is_found_by_keyboard_and_shows_its_hedge_and_its_past(server, page, family, stocks):
    page.open(server.address)
    page.wait_for("Ticker or name")
    assert page.script("return document.activeElement.id") == "find"
    page.write("//input[@id='find']", stocks[0])
    page.find("//li[@role='option']")
    page.type(KEYS["enter"])
    found = family.decompose(stocks[0])
    page.wait_for(f"{stocks[0]} ({found['symbol']}) at {found['teo']}")
    for said in ("Betas by level", "Hedge ratios at L3", "Where the risk comes from", "Against 100,000 dollars long"):
        page.wait_for(said)
    for etf in found["hedge"]:
        assert etf in page.text
    assert page.script("return document.querySelectorAll('canvas').length") == 4
    inked = (
        "const c = document.querySelector('canvas'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
    )
    assert page.script(inked + "return d.some(v => v > 0)"), "a chart is drawn"
    page.picture("stock")


def test_the_hedge_of_another_day_is_shown(server, page, family, stocks):
    page.script(f"const d = document.getElementById('as-of'); d.value = '{EVE}'; d.dispatchEvent(new Event('change'))")
    page.wait_for(f"at {EVE}")
    ratio = family.decompose(stocks[0], EVE)["exposure"]["market"]["hr"]
    page.wait_for(f"{float(ratio):.4f}")
    page.script("const d = document.getElementById('as-of'); d.value = ''; d.dispatchEvent(new Event('change'))")
    page.wait_for("at 2019-04-30")


def test_industries_sort_and_show_their_past(server, page, family):
    page.open(f"{server.address}/#industries")
    page.script("const p = document.getElementById('peers'); p.value = 1; p.dispatchEvent(new Event('change'))")
    page.wait_for("A column sorts")
    page.click_text("mean beta", "button")
    shown = page.script(
        "return [...document.querySelectorAll('#panel tbody tr td:nth-child(3)')].map(c => +c.textContent)"
    )
    assert shown == sorted(shown, reverse=True)
    assert page.script("return document.querySelector('#panel th[aria-sort=descending]').textContent") == "mean beta"
    panel = family.industry_panel(level="subsector", min_peers=1)
    assert len(shown) == len(panel)
    page.click("(//div[@id='panel']//td/button)[1]")
    page.wait_for("one standard deviation around it")
    page.picture("industries")


def test_a_pasted_portfolio_is_hedged(server, page, family, stocks):
    page.open(f"{server.address}/#portfolio")
    page.wait_for("Positions, a line each")
    pasted = f"ticker, dollars\n{stocks[0]}, 100000\n{stocks[1]}\t-50000\nNOBODY, 1"
    page.script("document.getElementById('positions').value = arguments[0]", pasted)
    page.click_text("Hedge it", "button")
    page.wait_for("Not hedged: NOBODY")
    hedge = family.portfolio_hedge({stocks[0]: 100000, stocks[1]: -50000}).dollars
    for etf, amount in hedge.items():
        assert f"{etf}\t{amount:,.0f}" in page.text
    page.picture("portfolio")
    page.write("//textarea", "AAPL many")
    page.click_text("Hedge it", "button")
    page.wait_for("line 1 is not a ticker and a number")


def test_what_is_published_and_withheld_is_told(server, page, family):
    page.open(f"{server.address}/#published")
    page.wait_for(family.publication)
    page.wait_for("Withheld at the last session")
    page.picture("published")


def test_a_name_is_text_and_never_a_tag(server, page):
    page.open(f"{server.address}/#stock/%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
    page.wait_for("ticker: String should have at most 24 characters")
    assert page.script("return document.querySelectorAll('main img, #stock canvas').length") == 0


def test_the_page_fits_a_narrow_screen(server, page, stocks):
    page.resize(400, 1600)
    page.open(f"{server.address}/#stock/{stocks[0]}")
    page.wait_for("Where the risk comes from")
    assert page.script("return document.documentElement.scrollWidth <= window.innerWidth")
    page.picture("narrow")
    page.resize(height=2200)
