"""FastAPI and PyTorch by a careful user: several processes, few threads each, work off the event loop, no log."""

import io
import os
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image
from torchvision import transforms
from torchvision.models import mobilenet_v3_small

LABELS = ["dew", "fogsmog", "frost", "glaze", "hail", "lightning", "rain", "rainbow", "rime", "sandstorm", "snow"]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

torch.set_num_threads(int(os.environ["THREADS"]))
app = FastAPI()
model = mobilenet_v3_small(num_classes=len(LABELS))
model.load_state_dict(torch.load(Path(os.environ["ASSETS"]) / "weather.pt", weights_only=True))
model.eval().to(memory_format=torch.channels_last)
prepare = transforms.Compose(
    [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
)


@app.post("/predict")
def predict(data: UploadFile) -> dict[str, Any]:
    """Classify one picture, in a thread of FastAPI's pool."""
    picture = Image.open(io.BytesIO(data.file.read()))
    if os.environ["LEVEL"] == "fast":
        picture.draft("RGB", (256, 256))
    inputs = prepare(picture.convert("RGB"))[None].contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        confidence, best = model(inputs).softmax(1)[0].max(0)
    return {"label": LABELS[int(best)], "confidence": float(confidence)}


if __name__ == "__main__":
    workers = int(os.environ["WORKERS"])
    address: dict[str, Any] = {"host": "127.0.0.1", "port": int(os.environ["PORT"])}
    uvicorn.run("tuned:app", **address, workers=workers, access_log=False, timeout_worker_healthcheck=60)
