"""`python -m pipeline.query` writes docs/fields.md from the table of fields."""

from pipeline.query.fields import PAGE, page

PAGE.write_text(page())
