"""Why a cell has no beta, or a special one. Counted per level, so that an audit can report them."""

from __future__ import annotations

from enum import IntEnum


class DegenerateReason(IntEnum):
    """`Cascade.reason` of a cell. The beta is NaN, save where said otherwise."""

    NONE = 0
    TOO_FEW_OBS = 1
    """Fewer than min_obs sessions in which the stock and the legs of the level are valid."""
    ZERO_VARIANCE = 2
    """All returns of the stock, or of the factor, are zero."""
    COLLINEAR = 3
    """The cleaned factor has less than 1e-12 of the raw factor's square sum."""
    SAME_ETF = 4
    """The ETF of the level is already used above it."""
    NO_ETF = 5
    """The stock has no ETF at this level."""
    LEVEL_ABOVE = 6
    """The level above has no beta."""
    SCALE_FLOOR = 7
    """The beta stands: a Huber fit whose scale is at its floor (many returns exactly on the line)."""
    EXACT_FIT = 8
    """The beta stands: nothing but rounding is left at this level or above it (a stock that is the ETF); se is 0."""
    UNCONVERGED = 9
    """The beta stands: a Huber fit that did not reach its optimality bound. Never expected."""
