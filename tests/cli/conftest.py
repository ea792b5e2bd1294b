"""Commands work on the small published market of the engine's tests."""

from tests.engine.conftest import eve, published_eve, tables  # noqa: F401 (fixtures)
