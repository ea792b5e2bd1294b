"""`python -m pipeline.settings` writes docs/settings.md."""

from pipeline.settings.page import PAGE, page

PAGE.write_text(page())
