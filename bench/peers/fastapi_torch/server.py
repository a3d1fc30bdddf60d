"""FastAPI and PyTorch as people write it first: an upload, torchvision's transforms, an eager network."""

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

app = FastAPI()
model = mobilenet_v3_small(num_classes=len(LABELS))
model.load_state_dict(torch.load(Path(os.environ["ASSETS"]) / "weather.pt", weights_only=True))
model.eval()
prepare = transforms.Compose(
    [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
)


@app.post("/predict")
async def predict(data: UploadFile) -> dict[str, Any]:
    """Classify one picture."""
    picture = Image.open(io.BytesIO(await data.read()))
    if os.environ["LEVEL"] == "fast":
        picture.draft("RGB", (256, 256))
    with torch.no_grad():
        chances = model(prepare(picture.convert("RGB")).unsqueeze(0)).softmax(1)[0]
    confidence, best = chances.max(0)
    return {"label": LABELS[int(best)], "confidence": float(confidence)}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]))
