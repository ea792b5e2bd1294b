"""Axes, labels and variables that several stores have."""

from __future__ import annotations

from pipeline.datasets.spec import TEO_UNITS, CoordinateSpec, VariableSpec

TEO = CoordinateSpec(
    "teo",
    ("teo",),
    "int64",
    "exchange session (XNYS)",
    TEO_UNITS,
    "every session of the exchange, none skipped; grows at the end only",
)
SYMBOL = CoordinateSpec(
    "symbol",
    ("symbol",),
    "str",
    "permanent security id",
    comment="opaque, never reused; each store has its own axis, which grows at its end only",
)
TICKER = CoordinateSpec(
    "ticker", ("symbol",), "str", "ticker of the security now, or its last one", changes=True, comment="not unique"
)
UNIQUE_TICKER = CoordinateSpec(
    "unique_ticker",
    ("symbol",),
    "str",
    "unique ticker",
    comment="X for the present holder of ticker X, X#N for the earlier ones",
    changes=True,
)
LEVEL = CoordinateSpec("level", ("level",), "str", "level of the cascade")
STOCKS = (TEO, SYMBOL, TICKER, UNIQUE_TICKER)

OUTSIDE = "NaN where the stock is no valid member of the universe at the session, or the level has no estimate"
RETURN = VariableSpec(
    "return", ("teo", "symbol"), "float32", "simple gross total return since the last valid close", "1"
)
CLOSE = VariableSpec("close", ("teo", "symbol"), "float32", "closing price as traded", "USD")
VOLUME = VariableSpec(
    "volume",
    ("teo", "symbol"),
    "float32",
    "shares traded",
    "shares",
    "exact up to 2^24",
    needs=("prices.volume",),
)
FACT = VariableSpec(
    "fact",
    ("teo", "symbol", "level"),
    "int16",
    "factor ETF that was used",
    comment="0 where there is none; a proxy before an ETF's inception shows here",
    flags=((0, "none"),),
    open_flags=True,
)
