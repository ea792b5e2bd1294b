"""The declared stores: names and variables of the contract, and what every array must say of itself."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from pipeline.datasets import DatasetSpec, VariableSpec, render_metadata
from pipeline.datasets.metadata import consolidated, plain, to_json
from pipeline.datasets.return_flags import ReturnFlag
from pipeline.datasets.spec import flag_word
from pipeline.engine.products import catalog

HEDGE = [
    "L1_market_HR", "L2_market_HR", "L2_sector_HR", "L3_market_HR", "L3_sector_HR", "L3_subsector_HR",
    "L1_market_ER", "L1_residual_ER", "L2_market_ER", "L2_sector_ER", "L2_residual_ER",
    "L3_market_ER", "L3_sector_ER", "L3_subsector_ER", "L3_residual_ER", "_stock_var",
]  # fmt: skip
CONTRACT = {
    "ds_daily": [
        "return", "close", "volume", "market_cap",
        "fs_sector_code", "fs_industry_code", "bw_sector_code", "return_flag",
    ],
    "ds_etf": ["return", "close", "volume"],
    "ds_masks": ["uni_mc_50", "uni_mc_500", "uni_mc_1000", "uni_mc_3000", "validity"],
    "ds_erm3_link_betas_SPY": [
        "L2_link_sec_mkt_BF", "L3_link_sub_mkt_BF", "L3_link_sub_sec_BF", "L3_link_sub_sec_pair_BF",
    ],
    "ds_erm3_betas_SPY_uni_mc_3000": ["factor_beta", "beta_se", "n_obs", "fact"],
    "ds_erm3_betas_adjusted_SPY_uni_mc_3000": ["factor_beta", "shrinkage_weight", "fact"],
    "ds_erm3_industry_SPY_uni_mc_3000": [
        "beta_mean", "beta_variance", "n_companies", "total_log_mcap_weight", "n_facts",
    ],
    "ds_erm3_hedge_weights_SPY_uni_mc_3000": HEDGE,
    "ds_erm3_returns_SPY_uni_mc_3000": ["combined_factor_return", "factor_return", "residual_return", "lstar_level"],
    "ds_erm3_effectiveness_SPY_uni_mc_3000": [
        "hedged_return",
        "variance_share_63", "promised_share_63", "market_beta_left_63",
        "variance_share_252", "promised_share_252", "market_beta_left_252",
    ],
    "ds_rankings_SPY_uni_mc_3000": [
        f"{kind}_{window}_{cohort}_{metric}"
        for metric in ("mkt_cap", "gross_return", "sector_residual", "subsector_residual", "er_l1", "er_l2", "er_l3")
        for window in (("1d", "21d", "63d", "252d") if metric.endswith(("return", "residual")) else ("1d",))
        for cohort in ("universe", "sector", "subsector")
        for kind in ("rank_ord", "cohort_size")
    ],
}  # fmt: skip
ALL = [pytest.param(spec, array, id=f"{key}-{array.name}") for key, spec in catalog().items() for array in spec.arrays]
SIZES = {"teo": 600, "symbol": 300, "link": 20, "fs_industry_code": 60}


def sizes(spec: DatasetSpec) -> dict[str, int]:
    return {**SIZES, "level": len(spec.levels)}


def test_the_stores_have_the_variables_of_the_contract() -> None:
    assert {spec.name: [v.name for v in spec.variables] for spec in catalog().values()} == CONTRACT


def test_another_factor_set_has_stores_of_its_own_and_shares_the_inputs() -> None:
    one, other = (
        {spec.name for spec in catalog("SPY", universe).values()} for universe in ("uni_mc_3000", "uni_mc_500")
    )
    assert one & other == {"ds_daily", "ds_etf", "ds_masks", "ds_erm3_link_betas_SPY"}
    assert catalog("SPY", "uni_mc_500")["ds_erm3_betas"].name == "ds_erm3_betas_SPY_uni_mc_500"


def test_every_store_is_made_from_stores_before_it() -> None:
    seen: set[str] = set()
    for key, spec in catalog().items():
        assert set(spec.lineage) <= seen
        seen.add(key)


@pytest.mark.parametrize(("spec", "array"), ALL)
def test_every_array_says_what_it_is_in_which_unit_and_chunks(spec: DatasetSpec, array) -> None:
    documents = render_metadata(spec, sizes(spec))
    zarray, zattrs = documents[f"{array.name}/.zarray"], documents[f"{array.name}/.zattrs"]
    assert zattrs["_ARRAY_DIMENSIONS"] == list(array.dims)
    assert zattrs["long_name"]
    assert array.dims[0] == "teo" or len(array.dims) == 1
    if isinstance(array, VariableSpec):
        assert zattrs["units"]
        by_session = [504, 512] if array.name.startswith(("rank_ord_", "cohort_size_")) else None
        assert zarray["chunks"] == (by_session or [504, 256, 1][: len(array.dims)])
        assert array.dtype != "float32" or "NaN" in zattrs["comment"]
    else:
        assert zarray["chunks"] == ([8192] if array.name == "teo" else [32768])
    assert zarray["zarr_format"] == 2
    assert zarray["compressor"] == {"id": "blosc", "cname": "zstd", "clevel": 3, "shuffle": 1, "blocksize": 0}
    assert zarray["fill_value"] == ("NaN" if array.dtype == "float32" else None)
    assert "_FillValue" not in zattrs


@pytest.mark.parametrize(
    ("symbols", "chunks"), [(1, (504, 512)), (512, (504, 512)), (513, (252, 1024)), (3100, (63, 4096))]
)
def test_chunks_of_rankings_hold_whole_cross_sections_of_about_a_megabyte(symbols: int, chunks: tuple) -> None:
    found = render_metadata(catalog()["ds_rankings"], SIZES | {"symbol": symbols})
    assert tuple(found["rank_ord_1d_universe_mkt_cap/.zarray"]["chunks"]) == chunks


@pytest.mark.parametrize(("spec", "array"), [p for p in ALL if p.values[1].flags])
def test_codes_and_meanings_pair_up_and_begin_with_none(spec: DatasetSpec, array) -> None:
    zattrs = render_metadata(spec, sizes(spec))[f"{array.name}/.zattrs"]
    assert len(zattrs["flag_values"]) == len(zattrs["flag_meanings"].split())
    assert zattrs["flag_values"][0] == 0
    assert len(set(zattrs["flag_values"])) == len(zattrs["flag_values"])


def test_return_flags_are_those_that_the_returns_use() -> None:
    zattrs = render_metadata(catalog()["ds_daily"], SIZES)["return_flag/.zattrs"]
    pairs = dict(zip(zattrs["flag_values"], zattrs["flag_meanings"].split(), strict=True))
    assert pairs == {int(flag): flag.name.lower() for flag in ReturnFlag}


def test_open_codes_stand_after_the_declared_ones_in_single_words() -> None:
    flags = {"fs_industry_code": ((1110, "Oil & gas exploration and production"),)}
    zattrs = render_metadata(catalog()["ds_daily"], SIZES, {}, flags)["fs_industry_code/.zattrs"]
    assert zattrs["flag_values"] == [0, 1110]
    assert zattrs["flag_meanings"] == "unclassified Oil_gas_exploration_and_production"
    assert flag_word(" Software (cloud) ") == "Software_cloud"


def test_time_has_its_unit_and_calendar() -> None:
    zattrs = render_metadata(catalog()["ds_etf"], SIZES)["teo/.zattrs"]
    assert (zattrs["units"], zattrs["calendar"]) == ("days since 1970-01-01 00:00:00", "proleptic_gregorian")


def test_metadata_is_the_same_bytes_every_time_and_strict_json() -> None:
    spec = catalog()["ds_erm3_returns"]
    one, two = (to_json(consolidated(render_metadata(spec, sizes(spec), {"b": 1, "a": 0.5}))) for _ in range(2))
    assert one == two
    assert json.loads(one)["zarr_consolidated_format"] == 1
    with pytest.raises(ValueError, match="JSON"):
        to_json({"threshold": np.nan})


def test_numbers_of_numpy_and_nan_become_plain_values() -> None:
    value = {"a": np.float32(0.5), "b": (np.int16(1), float("nan")), "c": np.array([1.0, np.inf]), 3: {"d": None}}
    assert plain(value) == {"a": 0.5, "b": [1, "nan"], "c": [1.0, "inf"], "3": {"d": None}}


def test_a_declaration_that_contradicts_itself_is_refused() -> None:
    spec = catalog()["ds_etf"]
    with pytest.raises(ValueError, match="two arrays have one name"):
        replace(spec, variables=(*spec.variables, spec.variables[0]))
    with pytest.raises(ValueError, match=r"dimensions without a coordinate: \['level'\]"):
        replace(spec, variables=(VariableSpec("x", ("teo", "symbol", "level"), "float32", "x"),))
    with pytest.raises(ValueError, match="a level axis needs levels"):
        replace(spec, levels=("market",))
    with pytest.raises(KeyError, match="ds_etf has no array 'open'; it has teo, symbol"):
        spec.array("open")
