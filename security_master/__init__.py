"""Who: identity, validity windows, classification, shares, universe and the factor-ETF registry, all dated."""
