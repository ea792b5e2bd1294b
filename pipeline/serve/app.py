"""The application of `erm3 serve`: what stands before it, its addresses, its description, and the page."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import anyio.to_thread
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from pipeline.serve import addresses, page, refusals
from pipeline.serve.guards import A_MINUTE, Guards
from pipeline.serve.live import Live

ROOT, RATE, KEY = "ERM3_SERVE_ROOT", "ERM3_SERVE_RATE", "ERM3_API_KEY"
"""Names in the environment."""
THREADS = 4
"""Requests that are computed at once: more only wait for the same processors."""


def make_app(root: str, *, key: str | None = None, rate: int = A_MINUTE, factor_set: str | None = None) -> FastAPI:
    """The application. key: None asks for none, which is for the loopback only (the command sees to that)."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        yield

    app = FastAPI(
        title="ERM3", version=version("erm3"), openapi_url="/api/openapi.json", docs_url=None, redoc_url=None,
        lifespan=lifespan,
    )  # fmt: skip
    app.state.live = Live(root, factor_set)
    app.include_router(addresses.router)
    page.serve(app)
    refusals.explain(app)
    app.add_middleware(Guards, key=key, rate=rate)

    def described() -> dict[str, Any]:
        if not app.openapi_schema:
            app.openapi_schema = _described(app)
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]
    return app


def told_to_serve() -> FastAPI:
    """The application that `erm3 serve` tells its processes to be: root and rate are in the environment, as the key."""
    return make_app(os.environ[ROOT], key=os.environ.get(KEY) or None, rate=int(os.environ[RATE]))


def _described(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(
        title="ERM3",
        version=app.version,
        description="Hedge ratios, explained risk and returns of US stocks. NaN is null; negative is short.",
        routes=app.routes,
    )
    schema.setdefault("components", {})["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    schema["security"] = [{"key": []}, {}]
    return schema
