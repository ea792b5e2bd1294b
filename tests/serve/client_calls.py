"""Every method of `riskmodels-py` 0.5.0 that the server serves, as its users call it, in an environment of its own.

python client_calls.py ADDRESS KEY TICKER...        writes what came back as JSON
"""

# ruff: noqa: E402
import json
import sys
import warnings

warnings.simplefilter("error")  # the client's own checks warn; here they fail
warnings.filterwarnings("ignore", category=DeprecationWarning)
warnings.filterwarnings("ignore", category=FutureWarning)

from riskmodels import RiskModelsClient
from riskmodels.exceptions import APIError, AuthError

address, key, *tickers = sys.argv[1:]
client = RiskModelsClient(base_url=f"{address}/api", api_key=key, validate="error", er_tolerance=0.001)
one, two, three = tickers[:3]
found = {}


def frame(table):
    return json.loads(table.to_json(orient="records"))


found["metrics"] = client.get_metrics(one)
row = client.get_metrics(one, as_dataframe=True)
found["metrics_frame"] = frame(row.drop(columns=["hedge_levels"]))
found["lineage"] = json.loads(row.attrs["riskmodels_lineage"])
found["hedge_levels"] = client.get_hedge_levels(one)
found["decompose"] = frame(client.decompose(one, as_dataframe=True))
found["decompose_raw"] = client.decompose(one)
for form in ("json", "csv", "parquet"):
    table = client.get_ticker_returns(one, years=2, format=form)
    found[f"returns_{form}"] = {"columns": list(table.columns), "rows": frame(table)}
found["returns_limit"] = len(client.get_ticker_returns(one, limit=5))
etf = client.get_ticker_returns("SPY", years=1)
found["etf"] = {"type": etf.attrs["asset_type"], "columns": list(etf.columns)}
found["returns_old"] = len(client.get_returns(one)), len(client.get_etf_returns("SPY"))
found["rankings"] = frame(client.get_rankings(one))
found["rankings_one"] = frame(client.get_rankings(one, metric="gross_return", cohort="universe", window="21d"))
found["top"] = frame(client.get_top_rankings(metric="gross_return", cohort="universe", window="21d", limit=5))
screened = client.screen_rankings(metric="mkt_cap", cohort="universe", window="1d", decile=1, limit=50)
found["screen"] = frame(screened)
found["filtered"] = len(client.filter_universe(metric="mkt_cap", cohort="universe", window="1d", min_percentile=50))
found["l3"] = frame(client.get_l3_decomposition(one, years=1))
found["l3_as_of"] = frame(client.get_l3_decomposition(one, as_of="2019-03-01"))
found["lstar"] = frame(client.get_lstar(one))
found["lstar_threshold"] = client.get_lstar(one, threshold=0.0).attrs["threshold_used"]
found["decomposition"] = frame(client.get_returns_decomposition(one, include_lstar=True))
body = client.batch_lstar([one, two, "NOBODY"])
found["batch_lstar"] = body["summary"]
found["batch_lstar_frames"] = {name: len(table) for name, table in client.batch_lstar_to_dataframes(body).items()}
for form in ("csv", "parquet"):
    table, lineage = client.batch_lstar([one, two], format=form)
    found[f"batch_lstar_{form}"] = {"columns": list(table.columns), "rows": len(table)}
members, lineage = client.get_universe_members("uni_mc_50", return_lineage=True)
found["members"] = members["counts"]
found["etfs"] = client.get_etf_factor_returns(sleeve="sector")["rows"]
panel = client.get_industry_panel(level="market", min_peers=1)
found["panel"] = {
    "rows": frame(panel),
    "by": panel.attrs["by"],
    "key": panel.attrs["panel_key"],
    "teo": panel.attrs["teo"],
}
try:
    client.get_industry_panel(by="fact")
except APIError as error:
    found["panel_fact"] = [error.status_code, error.body["error"]]
found["batch"] = client.batch_analyze([one, two, "NOBODY"], ["full_metrics", "hedge_ratios", "returns"])["summary"]
for form in ("csv", "parquet"):
    table, lineage = client.batch_analyze([one, two], ["returns"], years=2, format=form)
    found[f"batch_{form}"] = {"columns": list(table.columns), "rows": len(table)}
analysis = client.analyze({one: 0.5, two: 0.3, three: 0.2}, include_returns_panel=True)
found["portfolio"] = {
    "hedge_ratios": analysis.portfolio_hedge_ratios,
    "shares": analysis.portfolio_l3_er_weighted_mean,
    "errors": analysis.errors,
    "returns": len(analysis.returns_long),
    "panel": dict(analysis.panel.sizes),
}
dataset = client.get_dataset([one, two], years=1)
found["dataset"] = {"sizes": dict(dataset.sizes), "variables": sorted(map(str, dataset.data_vars))}
found["search"] = frame(client.search_tickers(search=one))
found["suggestions"] = frame(client.search_tickers(search=one[:2]))
found["tickers"] = len(client.search_tickers()), len(client.search_tickers(include_metadata=True))
found["mag7"] = frame(client.search_tickers(mag7=True))
try:
    client.get_metrics("NOBODYHERE")
except APIError as error:
    found["nobody"] = error.status_code
try:
    RiskModelsClient(base_url=f"{address}/api", api_key="other").get_metrics(one)
except AuthError as error:
    found["refused"] = error.status_code
json.dump(found, sys.stdout)
