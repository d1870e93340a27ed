"""Known pretrained weights: who published them, where, and for which of our models."""

from dataclasses import dataclass, field

from vit_ms.errors import UserError


@dataclass(frozen=True)
class Artefact:
    """A published file of weights.

    Args:
        source (str): whose it is, as `load_weights` calls it.
        url (str): where it is.
        sha256 (str): its hash or the beginning of it; None: none is published.
        overrides (dict): what the network needs beyond its row.
        file (str): name that it is kept under; None: the last part of url.
    """

    source: str
    url: str
    sha256: str | None = None
    overrides: dict = field(default_factory=dict)
    file: str | None = None


_MINDSPORE = "https://download.mindspore.cn/"
_GOOGLE = "https://storage.googleapis.com/vit_models/"
_IN1K = "--imagenet2012-steps_20k-lr_"
_IN21K = {"num_classes": 21843}


def _augreg(name: str) -> Artefact:
    """AugReg weights (Steiner et al. 2022), pre-trained on ImageNet-21k and, if the name says so, fine-tuned."""
    return Artefact("google", f"{_GOOGLE}augreg/{name}.npz", overrides={} if _IN1K in name else _IN21K)


def _timm(name: str) -> Artefact:
    # On this hub all files have the same name.
    url = f"https://huggingface.co/timm/{name}/resolve/main/model.safetensors"
    return Artefact("timm", url, file=f"{name}.safetensors")


# The first of a model's is what `pretrained=True` takes. mindcv names its files by the first digits of their sha256.
PRETRAINED: dict[str, tuple[Artefact, ...]] = {
    "vit_ti_16": (
        _timm("vit_tiny_patch16_224.augreg_in21k_ft_in1k"),
        _augreg(f"Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0{_IN1K}0.03-res_224"),
    ),
    "vit_s_16": (
        _timm("vit_small_patch16_224.augreg_in21k_ft_in1k"),
        _augreg(f"S_16-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0{_IN1K}0.03-res_224"),
    ),
    "vit_s_32": (
        _timm("vit_small_patch32_224.augreg_in21k_ft_in1k"),
        _augreg(f"S_32-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0{_IN1K}0.03-res_224"),
    ),
    "vit_b_16": (
        Artefact("course", f"{_MINDSPORE}vision/classification/vit_b_16_224.ckpt"),
        _timm("vit_base_patch16_224.augreg_in21k_ft_in1k"),
        _augreg(f"B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0{_IN1K}0.01-res_224"),
    ),
    "vit_b_32": (
        _timm("vit_base_patch32_224.augreg_in21k_ft_in1k"),
        _augreg(f"B_32-i21k-300ep-lr_0.001-aug_medium1-wd_0.03-do_0.0-sd_0.0{_IN1K}0.03-res_224"),
    ),
    "vit_l_16": (
        _timm("vit_large_patch16_224.augreg_in21k_ft_in1k"),
        _augreg(f"L_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.1-sd_0.1{_IN1K}0.01-res_224"),
    ),
    "vit_r26_s_32": (_augreg(f"R26_S_32-i21k-300ep-lr_0.001-aug_light0-wd_0.03-do_0.1-sd_0.1{_IN1K}0.03-res_224"),),
    "vit_r50_l_32": (_augreg(f"R50_L_32-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.1-sd_0.1{_IN1K}0.01-res_224"),),
    "deit_ti_16": (_timm("deit_tiny_patch16_224.fb_in1k"),),
    "deit_s_16": (_timm("deit_small_patch16_224.fb_in1k"),),
    "deit_b_16": (_timm("deit_base_patch16_224.fb_in1k"),),
    "deit_b_16_384": (_timm("deit_base_patch16_384.fb_in1k"),),
    "deit_ti_16_distilled": (_timm("deit_tiny_distilled_patch16_224.fb_in1k"),),
    "deit_s_16_distilled": (_timm("deit_small_distilled_patch16_224.fb_in1k"),),
    "deit_b_16_distilled": (_timm("deit_base_distilled_patch16_224.fb_in1k"),),
    "deit_b_16_distilled_384": (_timm("deit_base_distilled_patch16_384.fb_in1k"),),
    "swin_t": (
        _timm("swin_tiny_patch4_window7_224.ms_in1k"),
        Artefact("mindcv", f"{_MINDSPORE}toolkits/mindcv/swin/swin_tiny-0ff2f96d.ckpt", "0ff2f96d"),
    ),
    "swin_s": (_timm("swin_small_patch4_window7_224.ms_in1k"),),
    "swin_b": (_timm("swin_base_patch4_window7_224.ms_in1k"),),
    "swin_l": (_timm("swin_large_patch4_window7_224.ms_in22k_ft_in1k"),),
    "convnext_t": (
        _timm("convnext_tiny.fb_in1k"),
        Artefact("mindcv", f"{_MINDSPORE}toolkits/mindcv/convnext/convnext_tiny-ae5ff8d7.ckpt", "ae5ff8d7"),
    ),
    "convnext_s": (
        _timm("convnext_small.fb_in1k"),
        Artefact("mindcv", f"{_MINDSPORE}toolkits/mindcv/convnext/convnext_small-e23008f3.ckpt", "e23008f3"),
    ),
    "convnext_b": (
        _timm("convnext_base.fb_in1k"),
        Artefact("mindcv", f"{_MINDSPORE}toolkits/mindcv/convnext/convnext_base-ee3544b8.ckpt", "ee3544b8"),
    ),
    "convnext_l": (_timm("convnext_large.fb_in1k"),),
}


def pretrained(model: str, source: str | bool = True) -> Artefact:
    """The published weights of a model.

    Args:
        model (str): one of `list_models()`.
        source (str or bool): whose; True: the first that is known.

    Raises:
        UserError: If none are known; it names those that are.
    """
    known = PRETRAINED.get(model, ())
    if not known:
        raise UserError(f"no published weights of {model} are known: there are some of {', '.join(PRETRAINED)}")
    for artefact in known:
        if source in (True, artefact.source):
            return artefact
    raise UserError(
        f"no published weights of {model} by {source!r} are known: choose {' or '.join(item.source for item in known)}"
    )


_HALF = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
_IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def inputs(model: str, source: str) -> dict:
    """How the publisher of weights brings images to the network: the values of a recipe that follow from the weights.

    Args:
        model (str): one of `list_models()`.
        source (str): whose weights, as `load_weights` calls it.

    Returns:
        dict, of mean, std, interpolation, crop_pct and eval_crop; empty for our own weights, which have a run.json.

    Reference:
        Google's input_pipeline.py; the course's notebook; timm's pretrained_cfg; mindcv's configs. Hugging Face's ViTs are
        Google's weights, and its others are those of timm.
    """
    family = model.partition("_")[0]
    if source == "google" or (source == "hf" and family == "vit"):
        return {**_HALF, "interpolation": "bilinear", "crop_pct": 1.0, "eval_crop": "squash"}
    if source == "course":
        return {**_IMAGENET, "interpolation": "bilinear", "crop_pct": 0.875, "eval_crop": "center"}
    if source == "mindcv":
        crop_pct = 0.95 if family == "convnext" else 0.875
        return {**_IMAGENET, "interpolation": "bicubic", "crop_pct": crop_pct, "eval_crop": "center"}
    if source in ("timm", "hf"):
        statistics = _HALF if family == "vit" else _IMAGENET
        crop_pct = 1.0 if model.endswith("_384") else 0.875 if family == "convnext" else 0.9
        return {**statistics, "interpolation": "bicubic", "crop_pct": crop_pct, "eval_crop": "center"}
    return {}
