"""FastAPI as its documentation teaches it, and the quickest of what it teaches: torch and ONNX."""

import io
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import uvicorn
from fastapi import FastAPI, Request
from pydantic import BaseModel

from tests.benchmarks.serving.arms import MODEL_VARIABLE
from tests.benchmarks.serving.network import answer, loaded

app = FastAPI()
network = loaded()
session = onnxruntime.InferenceSession(Path(os.environ[MODEL_VARIABLE], "model.onnx"))


class Images(BaseModel):
    """Request in JSON."""

    instances: list[list[list[float]]]


class Outputs(BaseModel):
    """Reply."""

    outputs: list[list[float]]


@app.post("/json")
def by_json(images: Images) -> Outputs:
    """A model for the body and one for the reply, in a thread."""
    return Outputs(outputs=answer(network, torch.tensor(images.instances)))


@app.post("/npy")
async def by_npy(request: Request) -> list[list[float]]:
    """The raw body, on the event loop."""
    pixels = np.load(io.BytesIO(await request.body()), allow_pickle=False)
    return answer(network, torch.from_numpy(pixels))


@app.post("/onnx")
async def by_onnx(request: Request) -> list[list[float]]:
    """The raw body and ONNX Runtime, on the event loop."""
    pixels = np.load(io.BytesIO(await request.body()), allow_pickle=False)
    inputs = {"image": pixels.reshape(-1, 1, 28, 28).astype(np.float32)}
    outputs: list[Any] = session.run(None, inputs)
    return outputs[0].tolist()  # type: ignore[no-any-return]


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)
