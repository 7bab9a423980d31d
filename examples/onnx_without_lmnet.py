"""Segment an image with an exported net: numpy, Pillow and onnxruntime, without lmnet and without torch.

python examples/onnx_without_lmnet.py net.onnx photo.jpg mask.png
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image


def segment(net: str, photo: str) -> np.ndarray:
    """Return the class of each pixel of an image, (H, W)."""
    session = onnxruntime.InferenceSession(net, providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    size, stride = int(facts["size"]), int(facts["stride"])
    mean, std = (np.array(json.loads(facts[key]), np.float32) for key in ("mean", "std"))

    image = Image.open(photo).convert("L" if facts["in_channels"] == "1" else "RGB")
    small = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR), np.float32).reshape(size, size, -1)
    ready = ((small / 255 - mean) / std).transpose(2, 0, 1)[None].astype(np.float32)
    border = (0, -size % stride)  # the net takes multiples of its stride
    ready = np.pad(ready, ((0, 0), (0, 0), border, border), mode="edge")

    logits = session.run(["logits"], {"image": ready})[0][0, :, :size, :size]
    logits = np.concatenate([0 * logits, logits]) if len(logits) == 1 else logits  # one output: lesion against 0
    shares = np.exp(logits - logits.max(axis=0))
    shares /= shares.sum(axis=0)
    whole = (Image.Transform.EXTENT, (0, 0, size, size), Image.Resampling.BILINEAR)  # stretches without smoothing
    return np.argmax([Image.fromarray(share).transform(image.size, *whole) for share in shares], axis=0)


if __name__ == "__main__":
    mask = segment(*sys.argv[1:3])
    Image.fromarray(np.uint8(mask * (255 // max(1, mask.max())))).save(sys.argv[3])
