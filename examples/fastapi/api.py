"""A FastAPI app that waits for others: each answer takes a fifth of a second, many run at a time.

`deploy/examples/fastapi.yaml` runs it as a GunicornApp whose pods a HorizontalPodAutoscaler sets.
"""

import asyncio
import os

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def index() -> dict[str, str]:
    return {"message": "Hello from a pod.", "pod": os.environ.get("HOSTNAME", "none")}


@app.get("/quote")
async def quote(seconds: float = 0.2) -> dict[str, float]:
    """Stands for a request to another service: it waits, and its worker serves others meanwhile."""
    await asyncio.sleep(min(max(seconds, 0.0), 10.0))
    return {"seconds": seconds}
