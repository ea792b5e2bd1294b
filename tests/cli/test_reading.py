"""What the commands print is what the library answers, in every form."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
import requests
from typer.testing import CliRunner

from pipeline.cli.runs import app
from tests.assets.browser import free_port, wait_until_it_answers
from tests.gates import PATIENCE
from tests.query.conftest import family, stocks, whole  # noqa: F401 (fixtures)


@pytest.fixture
def run(whole, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)

    def ran(command: str) -> bytes:
        done = CliRunner().invoke(app, [*command.split(), "--root", str(whole)])
        assert done.exit_code == 0, done.output
        return done.stdout_bytes

    return ran


def test_a_snapshot_is_the_same_in_all_forms(run, family, stocks):  # noqa: F811
    found = family.metrics(stocks[0], "2019-02-15")["metrics"]
    command = f"metrics {stocks[0]} --as-of 2019-02-15 --format"
    told = json.loads(run(f"{command} json"))
    assert told["teo"] == "2019-02-15"
    csv = pyarrow.csv.read_csv(BytesIO(run(f"{command} csv"))).to_pylist()[0]
    run(f"{command} parquet --out m.parquet")
    stored = pyarrow.parquet.read_table("m.parquet").to_pylist()[0]
    for name, value in found.items():
        if value is None:
            assert told["metrics"][name] is csv[name] is stored[name] is None
        else:
            assert (
                np.float32(told["metrics"][name])
                == np.float32(csv[name])
                == np.float32(stored[name])
                == np.float32(value)
            )
    assert b"l3_sub_hr" in run(f"metrics {stocks[0]}")


def test_every_row_of_a_history_comes_out(run, family, stocks):  # noqa: F811
    table = family.ticker_returns(stocks[1])
    told = json.loads(run(f"returns {stocks[1]} --format json"))
    assert [row["date"] for row in told["data"]] == table["date"].tolist()
    assert json.loads(run(f"returns {stocks[1]} --limit 2 --format json"))["data"] == told["data"][-2:]
    assert run(f"returns {stocks[1]} --format csv").splitlines()[0].count(b",") == len(table.columns) - 1
    assert json.loads(run(f"lstar {stocks[1]} --format json"))["date"] == [row["date"] for row in told["data"]]


def test_a_portfolio_is_hedged_in_dollars_and_says_what_is_not(run, family, stocks):  # noqa: F811
    a, b = stocks[:2]
    Path("p.csv").write_text(f"ticker,dollars\n{a},1000000\n{b},-250000\nNOBODY,5\n")
    told = json.loads(run("portfolio p.csv --level L2 --format json"))
    one, two = (family.portfolio_hedge({name: 1.0}, level="L2").dollars for name in (a, b))
    expected = {etf: 1e6 * one.get(etf, 0) - 2.5e5 * two.get(etf, 0) for etf in one | two}
    assert told["dollars"] == pytest.approx(expected)
    assert list(told["missing"]) == ["NOBODY"]
    shown = run("portfolio p.csv").decode()
    assert "Not hedged: NOBODY" in shown
    assert "126 are needed" in shown


def test_the_bars_of_a_bridge_add_up_to_the_return(run, family, stocks):  # noqa: F811
    told = json.loads(run(f"bridge {stocks[2]} --from 2019-01-02 --to 2019-03-29 --format json"))["bars"]
    returns = family.cube([stocks[2]], "2019-01-02", "2019-03-29", ["returns_gross"]).returns_gross.values[0]
    assert told["total"] == pytest.approx(np.prod(1 + returns.astype(float)) - 1)
    assert sum(told[name] for name in ("market", "sector", "subsector", "residual")) == pytest.approx(told["total"])


def test_names_are_shown_and_not_obeyed(whole, stocks):  # noqa: F811
    done = CliRunner().invoke(app, ["metrics", "A\x1b[31mB", "--root", str(whole)])
    assert done.exit_code == 1
    assert "\x1b" not in done.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the first line"),
        ("ticker,dollars\n", "no positions"),
        ("ticker,dollars\nAAPL,many\n", "line 2"),
        ("name,dollars\nAAPL,1\n", "the first line"),
        ('ticker,dollars\n"AAPL,1\n', "no CSV"),
        ("ticker,dollars\nAAPL,nan\n", "line 2"),
    ],
)
def test_a_portfolio_that_cannot_be_read_names_the_line(text, said, whole, tmp_path):  # noqa: F811
    path = tmp_path / "p.csv"
    path.write_text(text)
    done = CliRunner().invoke(app, ["portfolio", str(path), "--root", str(whole)])
    assert done.exit_code == 1
    assert said in done.output
    assert "p.csv" in done.output


def test_a_server_without_a_key_listens_at_the_loopback_only(whole):  # noqa: F811
    done = CliRunner().invoke(app, ["serve", "--host", "0.0.0.0", "--root", str(whole)])
    assert done.exit_code == 2
    assert "ERM3_API_KEY" in done.output


def test_the_members_of_the_universe_are_listed_and_each_can_be_asked_for(run, family):  # noqa: F811
    told = json.loads(run("tickers --format json"))
    assert [row["ticker"] for row in told] == sorted(row["ticker"] for row in told)
    assert len(told) == family.members()["counts"]["active"]
    assert told[0]["ticker"].encode() in run("tickers")
    assert json.loads(run(f"show {told[0]['ticker']} --json"))["day"]


def test_show_without_arguments_is_a_stock_at_the_last_session(run, family):  # noqa: F811
    said = run("show").decode()
    assert f" on {family.complete_through} is S" in said
    assert "subsector" in said


def test_an_etf_has_no_betas_to_show_and_that_is_said(whole):  # noqa: F811
    done = CliRunner().invoke(app, ["show", "XLK", "--root", str(whole)])
    assert done.exit_code == 1
    assert "XLK is an ETF" in done.output


@pytest.mark.slow
def test_several_workers_answer_and_end_together(whole):  # noqa: F811
    port = free_port()
    words = [sys.executable, "-m", "pipeline", "serve", "--root", str(whole), "--port", str(port), "--workers", "2"]
    server = subprocess.Popen([*words, "--rate", "3"], env=os.environ | {"ERM3_API_KEY": "k"}, stderr=subprocess.PIPE)
    address = f"http://127.0.0.1:{port}/api"
    try:
        wait_until_it_answers(f"{address}/health", server)
        assert requests.get(f"{address}/tickers", timeout=PATIENCE).status_code == 401
        key = {"Authorization": "Bearer k"}
        answers = [requests.get(f"{address}/tickers", headers=key, timeout=PATIENCE) for _ in range(12)]
        assert {answer.status_code for answer in answers} <= {200, 429}
        assert 3 <= sum(answer.ok for answer in answers) <= 6, "each worker counts the requests of a key"
    finally:
        server.terminate()
        server.wait(PATIENCE)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{address}/health", timeout=5)
