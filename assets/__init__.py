"""When: the thin Dagster layer over `pipeline.engine`. The only package that imports Dagster."""
