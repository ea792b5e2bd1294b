"""A market ETF and a universe: what the stores of a model are named by."""

from __future__ import annotations

from pipeline.settings.units import Group

UNIVERSES = ("uni_mc_50", "uni_mc_500", "uni_mc_1000", "uni_mc_3000")


class FactorSet(Group):
    """A market ETF and a universe: `{market}_{universe}` names the stores made for it."""

    market: str
    universe: str

    @property
    def id(self) -> str:
        return f"{self.market}_{self.universe}"

    @classmethod
    def parse(cls, name: str) -> FactorSet:
        """The factor set of a name; ValueError where it is none.

        >>> FactorSet.parse("SPY_uni_mc_3000")
        FactorSet(market='SPY', universe='uni_mc_3000')
        """
        market, _, universe = name.partition("_")
        if not market or universe not in UNIVERSES:
            raise ValueError(f"factor set {name!r} is not MARKET_UNIVERSE with a universe of {', '.join(UNIVERSES)}")
        return cls(market=market, universe=universe)
