"""The published stores, one file each: shape, step, checks, figures and pictures. The register of all of them is here.

To add a store, write its file (`etf.py` is a short one) and add it to PRODUCTS. To add a variable, declare it in the
file's `_variables` and write it in the file's `stage`. Then `python -m pipeline.engine.products` renders the contract.
"""

from __future__ import annotations

from pipeline.datasets import DatasetSpec
from pipeline.engine.product import Product
from pipeline.engine.products import (
    betas,
    betas_adjusted,
    daily,
    effectiveness,
    etf,
    hedge_weights,
    industry,
    link_betas,
    masks,
    rankings,
    returns,
)
from pipeline.settings import FactorSet

PRODUCTS: tuple[Product, ...] = (
    daily.PRODUCT,
    etf.PRODUCT,
    masks.PRODUCT,
    link_betas.PRODUCT,
    betas.PRODUCT,
    industry.PRODUCT,
    betas_adjusted.PRODUCT,
    hedge_weights.PRODUCT,
    returns.PRODUCT,
    effectiveness.PRODUCT,
    rankings.PRODUCT,
)
"""Every product, each after those that it is made from."""


def catalog(market: str = "SPY", universe: str = "uni_mc_3000") -> dict[str, DatasetSpec]:
    """The stores of one factor set by dataset_id, in the order in which they are computed."""
    factor_set = FactorSet(market=market, universe=universe)
    return {product.shape.dataset_id: product.shape.of(factor_set) for product in PRODUCTS}


def product_of(spec: DatasetSpec) -> Product:
    """The product that a store belongs to. Raises LookupError for a store that nobody declared."""
    for product in PRODUCTS:
        if product.shape.dataset_id == spec.dataset_id:
            return product
    known = ", ".join(product.shape.dataset_id for product in PRODUCTS)
    raise LookupError(f"{spec.dataset_id} is no product; there are {known}. Add it to PRODUCTS")
