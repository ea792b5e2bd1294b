"""The ranks of stocks as the local reader of `riskmodels-py` 0.5.0 finds them in a root, as JSON.

python client_reads.py ROOT FACTOR_SET SYMBOL...
"""

import json
import sys
from pathlib import Path

import xarray as xr
from riskmodels.snapshots import zarr_context

root, factor_set, *symbols = sys.argv[1:]
ranks = xr.open_zarr(Path(root) / f"ds_rankings_{factor_set}.zarr", consolidated=True)
last = ranks["teo"].values[-1]
json.dump({symbol: zarr_context._rankings_dict_from_zarr(ranks, symbol, last) for symbol in symbols}, sys.stdout)
