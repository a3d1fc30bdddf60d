"""FastAPI and ONNX Runtime with pictures as base64 in JSON."""

import base64
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from PIL import Image
from pydantic import BaseModel

LABELS = ["dew", "fogsmog", "frost", "glaze", "hail", "lightning", "rain", "rainbow", "rime", "sandstorm", "snow"]

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(os.environ["THREADS"])
session = onnxruntime.InferenceSession(str(Path(os.environ["MODEL"]) / "model.onnx"), options)
app = FastAPI()


class Picture(BaseModel):
    """One picture."""

    image: str


@app.post("/predict")
def predict(body: Picture) -> dict[str, Any]:
    """Classify one picture; Pillow decodes, resizes and crops, the graph normalises."""
    picture: Image.Image = Image.open(io.BytesIO(base64.b64decode(body.image)))
    if os.environ["LEVEL"] == "fast":
        picture.draft("RGB", (256, 256))
    scale = 256 / min(picture.size)
    size = (int(picture.width * scale), int(picture.height * scale))
    picture = picture.convert("RGB").resize(size, Image.Resampling.BILINEAR)
    left, top = (picture.width - 224) // 2, (picture.height - 224) // 2
    pixels = np.asarray(picture.crop((left, top, left + 224, top + 224)))
    logits = session.run(None, {session.get_inputs()[0].name: pixels[None]})[0][0]
    chances = np.exp(logits - logits.max())
    chances /= chances.sum()
    best = int(chances.argmax())
    return {"label": LABELS[best], "confidence": float(chances[best])}


if __name__ == "__main__":
    workers = int(os.environ["WORKERS"])
    uvicorn.run("server:app", host="127.0.0.1", port=int(os.environ["PORT"]), workers=workers, access_log=False)
