"""ERM3's pipeline: sources, returns, the factor model, datasets, storing and publishing, the command line.

This is an application, not a library to install beside others. It never imports Dagster; see docs/architecture.md.
"""
