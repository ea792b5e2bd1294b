"""What is published, asked by ticker, by portfolio, by industry: `open_family(root)` and its methods.

>>> family = open_family(root)
>>> sorted(family.portfolio_hedge({stock: 1_000_000}, level="L1").dollars)
['SPY']

Values are those of the stores, by permanent id; who had a ticker on a day says the security master. Nothing dated after
the day asked about enters an answer.
"""

from pipeline.query.dates import On
from pipeline.query.errors import BadQuestion, NotComputable, NothingThere, QueryError, SeveralAnswers
from pipeline.query.family import QueryFamily, open_family
from pipeline.query.fields import FIELDS, Field
from pipeline.query.names import Who
from pipeline.query.table import Table

__all__ = [
    "FIELDS",
    "BadQuestion",
    "Field",
    "NotComputable",
    "NothingThere",
    "On",
    "QueryError",
    "QueryFamily",
    "SeveralAnswers",
    "Table",
    "Who",
    "open_family",
]
