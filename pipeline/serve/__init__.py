"""`erm3 serve`: the answers of `pipeline.query` over HTTP, as existing clients ask for them, and a page."""
