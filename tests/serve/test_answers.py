"""What comes over HTTP is what the library answers, under the names that existing clients expect."""

from __future__ import annotations

import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from pipeline.engine import execution
from pipeline.query import open_family, screening
from pipeline.query.fields import BY_WIRE, LEVELS
from pipeline.query.universe import SLEEVES, WINDOWS
from pipeline.read import history
from pipeline.serve import questions
from tests.engine.conftest import NIGHT
from tests.engine.published_market import known_at, settings_for
from tests.gates import PATIENCE
from tests.serve.conftest import serving

CLIENTS = 64


def same(given, value) -> bool:
    """A number of JSON against one of the library: float32 by its shortest decimal."""
    if value is None:
        return given is None
    return given == (float(str(value)) if isinstance(value, np.float32) else value)


def test_a_snapshot_says_what_it_is_and_where_it_is_from(server, family, stocks):
    found = server.get(f"/metrics/{stocks[0]}", params={"as_of": "2019-02-16"})
    body, expected = found.json(), family.metrics(stocks[0], "2019-02-16")
    assert {name: body[name] for name in ("symbol", "ticker", "teo", "periodicity")} == {
        name: expected[name] for name in ("symbol", "ticker", "teo", "periodicity")
    }
    assert (body["as_of"], body["as_of_resolved"]) == ("2019-02-16", "2019-02-15")
    assert set(body["metrics"]) == set(BY_WIRE)
    assert all(same(body["metrics"][name], value) for name, value in expected["metrics"].items())
    assert body["meta"]["asset_type"] == "stock"
    assert set(body["hedge_levels"]) == {"L1", "L2", "L3", "statistical_lstar"}
    assert body["hedge_levels"]["L1"]["sector_hr"] is None
    said = body["_metadata"]
    assert found.headers["X-Data-As-Of"] == said["data_as_of"] == family.complete_through
    assert found.headers["X-Universe-Size"] == str(said["universe_size"])
    assert said["publication"] == family.publication
    assert found.headers["X-Request-ID"]


def test_a_decomposition_gives_the_dollars_of_each_etf(server, stocks):
    body = server.post("/decompose", {"ticker": stocks[0].lower(), "as_of": "2019-03-01"}).json()
    hedge = {p["hedge_etf"]: p["hr"] for p in body["exposure"].values() if p["hedge_etf"]}
    assert body["hedge"] == hedge
    assert body["as_of_basis"] == "report_date"
    assert body["_data_health"]["er_sum"] == pytest.approx(1, abs=1e-6)
    assert "style" not in body


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/ticker-returns", {"years": 2}),
        ("/l3-decomposition", {}),
        ("/returns-decomposition", {"include_lstar": "true"}),
        ("/lstar", {"threshold": 0}),
        ("/lstar", {}),
        ("/series", {"fields": "l3_mkt_hr,volatility,lstar_level"}),
    ],
)
def test_a_history_is_the_same_in_json_csv_and_parquet(server, stocks, path, params):
    asked = {"ticker": stocks[1], **params}
    body = server.ok(path, **asked)
    rows = body.get("data")
    csv = server.get(path, params={**asked, "format": "csv"})
    parquet = server.get(path, params={**asked, "format": "parquet"})
    assert parquet.headers["content-type"] == "application/vnd.apache.parquet"
    table = pyarrow.parquet.read_table(BytesIO(parquet.content))
    assert table.schema.metadata is None
    text = pyarrow.csv.read_csv(
        BytesIO(csv.content), convert_options=pyarrow.csv.ConvertOptions(strings_can_be_null=True)
    )
    for name in table.column_names:
        wire = [row[name] for row in rows] if rows is not None else body["dates" if name == "date" else name]
        stored = table[name].to_pylist()
        if name == "date":
            assert wire == stored == [str(day) for day in text[name].to_pylist()]
        elif stored and isinstance(next((v for v in stored if v is not None), None), str):
            assert wire == stored == text[name].to_pylist()
        else:
            as32 = [
                np.array([np.nan if v is None else v for v in vs], float).astype(np.float32)
                for vs in (wire, stored, text[name].to_pylist())
            ]
            np.testing.assert_array_equal(as32[0], as32[1])
            np.testing.assert_array_equal(as32[0], as32[2])


def test_returns_of_an_etf_have_no_ratios(server):
    body = server.ok("/ticker-returns", ticker="SPY", limit=3)
    assert body["asset_type"] == "etf"
    assert body["meta"]["universe"] == "US_ETF"
    assert [list(row) for row in body["data"]] == [["date", "returns_gross", "price_close"]] * 3
    assert server.get("/metrics/SPY").status_code == 404


def test_a_batch_answers_each_ticker_once_and_errors_apart(server, stocks):
    asked = {"tickers": [stocks[0], stocks[0].lower(), stocks[1], "NOBODY"], "years": 1}
    body = server.post(
        "/batch/analyze", {**asked, "metrics": ["full_metrics", "hedge_ratios", "returns", "l3_decomposition"]}
    ).json()
    assert body["summary"] == {"total": 3, "success": 2, "errors": 1}
    entry, one = body["results"][stocks[0]], server.ok(f"/metrics/{stocks[0]}")
    assert entry["full_metrics"]["l3_sub_hr"] == one["metrics"]["l3_sub_hr"] == entry["hedge_ratios"]["l3_subsector"]
    assert entry["returns"]["l1"] == entry["returns"]["l3_market_hr"] == entry["l3_decomposition"]["l3_market_hr"]
    assert body["results"]["NOBODY"]["status"] == "error"
    lstar = server.post("/batch/lstar", asked).json()
    assert lstar["summary"] == {"total": 3, "success": 2, "errors": 0, "not_found": 1}
    assert lstar["results"][stocks[0]]["lstar"] == server.ok("/lstar", ticker=stocks[0])["lstar"]


@pytest.mark.parametrize("metrics", ["full_metrics", "hedge_ratios", "returns", "l3_decomposition"])
def test_a_batch_as_a_table_has_a_header_even_without_rows(server, stocks, metrics):
    def table(*tickers):
        body = {"tickers": tickers, "metrics": [metrics], "format": "parquet"}
        return pyarrow.parquet.read_table(BytesIO(server.post("/batch/analyze", body).content))

    full, empty = table(*stocks[:3]), table("NOBODY")
    assert full.column_names == empty.column_names
    assert full.column_names[0] == "ticker"
    assert len(empty) == 0
    assert len(full) >= 3


def test_cross_sections_come_with_what_they_are_about(server, family, stocks):
    panel = server.ok("/industry-panel", date="2019-03-17", level="market", min_peers=1)
    assert (panel["teo"], panel["by"], panel["panel_key"], panel["level"]) == ("2019-03-15", "level", "level", "market")
    assert panel["industries"][0]["industry_code"] == panel["industries"][0]["fs_industry_code"]
    changed = server.ok("/industry-panel", min_peers=1, change="1m")
    assert changed["teo_prior"] == "2019-03-29"  # the 30th is a Saturday
    top = server.ok("/rankings/top", metric="mkt_cap", limit=2)
    screened = server.post("/rankings/screen", {"metric": "mkt_cap", "limit": 2}).json()
    assert top["rankings"] == screened["rankings"]
    assert screened["matched_count"] > 30
    grid = server.ok(f"/rankings/{stocks[0]}", cohort="universe")["rankings"]
    assert {row["cohort"] for row in grid} == {"universe"}
    members = server.ok("/universe/uni_mc_50/members", teo="2019-03-15")
    assert members["mask_as_of"] == "2019-02-28"
    assert server.ok("/universe/uni_mc_50/members", teo="2018-12-04")["mask_as_of"] == "2018-11-30"  # not published
    assert members["counts"]["active"] == len(members["members"])
    etfs = server.ok("/etf/factor-returns", sleeve="sector")
    assert all(set(row["returns"]) == {"1d", "21d", "63d", "252d"} for row in etfs["rows"])
    assert all(row["returns"]["252d"] is None for row in etfs["rows"])  # 103 sessions are published
    listed = server.ok("/tickers", include_metadata="true")
    assert stocks[0] in listed["tickers"]
    assert listed["tickers"] == sorted(listed["metadata"])
    assert server.ok("/tickers", search=stocks[0].lower())["ticker"] == stocks[0]


def test_a_screen_ranks_as_it_says(family):
    table = family.screen("gross_return", "sector", "21d", limit=500)
    values, sizes = table["metric_value"], table["cohort_size"]
    np.testing.assert_allclose(table["rank_percentile"], (1 - (table["rank_ordinal"] - 1) / sizes) * 100)
    returns = family.cube(table["symbol"][:5].tolist(), "2019-04-01", None, ["returns_gross"]).returns_gross
    assert returns.sizes["date"] == 21
    np.testing.assert_allclose(values[:5], np.prod(1 + returns.values.astype(float), axis=1) - 1)
    first = family.screen("gross_return", "universe", "1d", decile=1, limit=500)
    assert (first["rank_percentile"] > 90).all()


def test_what_a_reader_has_already_is_not_sent_again(server, stocks):
    first = server.get("/ticker-returns", params={"ticker": stocks[0], "years": 1})
    tag = {"If-None-Match": first.headers["ETag"]}
    again = server.session.get(
        f"{server.address}/api/ticker-returns?years=1&ticker={stocks[0]}", headers=tag, timeout=PATIENCE
    )
    assert (again.status_code, again.content) == (304, b"")
    assert first.headers["Cache-Control"] == "private, no-cache"
    other = server.get("/ticker-returns", params={"ticker": stocks[0], "years": 2}, headers=tag)
    assert other.status_code == 200


def test_a_new_publication_is_followed_and_the_one_before_stays(tables, published_eve, tmp_path, stocks):
    root = shutil.copytree(published_eve, tmp_path / "root", symlinks=True)
    with serving(root) as server, ThreadPoolExecutor(4) as pool:
        before = server.ok(f"/metrics/{stocks[0]}")
        asked = pool.map(lambda _: server.ok(f"/metrics/{stocks[0]}"), range(150))
        execution.execute(settings_for(root), NIGHT, NIGHT, source=known_at(tables, NIGHT))
        for body in asked:  # each from one publication
            assert (body["teo"] == NIGHT) == (body["_metadata"]["publication"] != before["_metadata"]["publication"])
        assert server.ok(f"/metrics/{stocks[0]}")["teo"] == NIGHT
        earlier = server.ok(f"/metrics/{stocks[0]}", publication=before["_metadata"]["publication"])
        assert earlier["metrics"] == before["metrics"]
    assert open_family(root).complete_through == NIGHT


def test_the_choices_of_the_description_are_those_of_the_library():
    chosen = (questions.Metric, questions.Cohort, questions.Window, questions.Level, questions.Sleeve)
    known = (screening.METRICS, screening.COHORTS, tuple(WINDOWS), LEVELS, SLEEVES)
    assert tuple(tuple(map(str, choices)) for choices in chosen) == known


@pytest.mark.slow
def test_many_clients_never_see_half_of_a_publication(tables, published_eve, tmp_path, stocks):
    root = shutil.copytree(published_eve, tmp_path / "root", symlinks=True)
    paths = [
        f"/metrics/{stocks[0]}",
        f"/lstar?ticker={stocks[1]}",
        "/industry-panel?min_peers=1",
        "/rankings/top?metric=mkt_cap",
    ]
    seen: dict[tuple[str, str], set[str]] = {}
    with serving(root) as server, ThreadPoolExecutor(CLIENTS) as pool:
        done = threading.Event()

        def client(number: int) -> int:
            asked = 0
            while not done.is_set() or asked < 2 * len(paths):
                path = paths[(number + asked) % len(paths)]
                body = server.ok(path)
                publication = body.pop("_metadata")["publication"]
                seen.setdefault((path, publication), set()).add(json.dumps(body))
                asked += 1
            return asked

        asking = [pool.submit(client, number) for number in range(CLIENTS)]
        execution.execute(settings_for(root), NIGHT, NIGHT, source=known_at(tables, NIGHT))
        until, published = time.monotonic() + PATIENCE, set(history(root)["publication"])
        while {publication for _, publication in list(seen)} != published:
            assert time.monotonic() < until, "no answer from the new publication"
            time.sleep(0.05)
        done.set()
        for answer in asking:
            answer.result()
    assert {publication for _, publication in seen} == set(history(root)["publication"])
    assert all(len(answers) == 1 for answers in seen.values()), "one publication has one answer to one question"
