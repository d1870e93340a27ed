"""The tiny models of other libraries in tests/data: which network each of them is for."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from helpers import DATA
from mindspore import nn

from vit_ms.layers import NUMERICS, Numerics
from vit_ms.models import convnext, deit, hybrid, swin, vit

_VIT = {
    "image_size": 32,
    "patch_size": 8,
    "embed_dim": 48,
    "num_layers": 3,
    "num_heads": 4,
    "mlp_dim": 96,
    "num_classes": 7,
}
_DEIT = {**_VIT, "num_heads": 3}
_SWIN = {"image_size": 56, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "num_classes": 7}
_CONVNEXT = {"depths": [1, 2, 2, 1], "embed_dims": [12, 24, 32, 48], "num_classes": 7}
_HYBRID = {
    "image_size": 48,
    "embed_dim": 24,
    "num_layers": 2,
    "num_heads": 3,
    "mlp_dim": 48,
    "num_classes": 7,
    "depths": [1, 1],
    "stem_channels": 32,
}


class Library(NamedTuple):
    """A folder of tests/data: whose weights they are, and the network that they are for."""

    source: str
    cell: type[nn.Cell]
    arguments: dict
    known: dict[str, Numerics]

    def network(self, numerics: str | Numerics | None = None, **overrides) -> nn.Cell:
        if numerics is None or isinstance(numerics, str):
            numerics = self.known[numerics or self.source]
        return self.cell(**{**self.arguments, **overrides}, **numerics.cells()).set_train(False)


LIBRARIES = {
    "course_vit": Library("course", vit.ViT, _VIT, NUMERICS),
    "mindcv_vit": Library("mindcv", vit.ViT, _VIT, NUMERICS),
    "timm_vit": Library("timm", vit.ViT, _VIT, NUMERICS),
    "hf_vit": Library("hf", vit.ViT, _VIT, NUMERICS),
    "google_vit": Library("google", vit.ViT, _VIT, NUMERICS),
    "timm_deit_distilled": Library("timm", deit.DistilledViT, _DEIT, NUMERICS),
    "hf_deit_distilled": Library("hf", deit.DistilledViT, {**_DEIT, "num_layers": 2}, NUMERICS),
    "timm_swin": Library("timm", swin.Swin, _SWIN, swin.NUMERICS),
    "hf_swin": Library("hf", swin.Swin, _SWIN, swin.NUMERICS),
    "timm_convnext": Library("timm", convnext.ConvNeXt, _CONVNEXT, convnext.NUMERICS),
    "hf_convnext": Library("hf", convnext.ConvNeXt, _CONVNEXT, convnext.NUMERICS),
    "timm_hybrid": Library("timm", hybrid.HybridViT, _HYBRID, hybrid.NUMERICS),
}


def weights_file(folder: str) -> Path:
    (path,) = (DATA / folder).glob("weights.*")
    return path


def stored(folder: str, name: str) -> np.ndarray:
    return np.load(DATA / folder / f"{name}.npy")
