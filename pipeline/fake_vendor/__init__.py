"""A vendor to practise with: answers made from the simulated market, over HTTP (docs/vendors.md).

What it answers is a function of the market, the vendor's clock, the request and the planned faults. It knows nothing
of the adapters that ask it.
"""
