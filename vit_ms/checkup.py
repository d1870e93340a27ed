"""What is installed here and how fast it will run, with a remedy for what is missing: the first cell of every notebook."""

import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

import mindspore as ms

from vit_ms import __version__, environment, runtime, visualize


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        what (str): its name.
        found (str): what is there.
        remedy (str): what to do about it; empty: nothing is lacking.
    """

    what: str
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        line = f"{'!' if self.remedy else '✓'} {self.what:<10} {self.found}"
        return f"{line}\n  {'':<10} -> {self.remedy}" if self.remedy else line


_FREE_GB = 2.0


def examine() -> list[Finding]:
    """Look at versions, device, mode, precision, kernels, cores, disk, fonts and the notebooks' sliders.

    The device, mode and precision are those of the last `runtime.setup`.

    Returns:
        list[Finding], the ones that everything needs first.
    """
    settings = runtime.settings()
    versions = f"vit_ms {__version__}, MindSpore {ms.__version__}, NumPy {metadata.version('numpy')}"
    findings = [Finding("versions", f"{versions}, Python {platform.python_version()}")]
    findings.append(Finding("device", f"{settings.device}, {settings.mode} mode"))

    bf16 = settings.device == "CPU" and settings.precision == "fp32" and runtime.has_bf16_units()
    faster = 'precision="bf16" may take half the time: this processor has units for it' if bf16 else ""
    findings.append(Finding("precision", settings.precision, faster))
    if settings.device == "CPU":
        lacking = environment.fusion_lacks()
        if lacking is None:
            findings.append(Finding("kernels", "can be fused"))
        else:
            findings.append(Finding("kernels", "not fused, which takes half as long again", lacking))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    findings.append(Finding("cores", str(cores)))

    free = shutil.disk_usage(".").free / 1e9
    remedy = f"make room for {_FREE_GB:.0f} GB here: runs keep checkpoints" if free < _FREE_GB else ""
    findings.append(Finding("disk", "enough" if not remedy else f"{free:.1f} GB free", remedy))
    fonts = visualize.can_draw("中文")
    findings.append(
        Finding("fonts", "Chinese can be drawn")
        if fonts
        else Finding("fonts", "none draws Chinese: pictures keep to English", "Debian: apt install fonts-noto-cjk")
    )
    try:
        findings.append(Finding("sliders", f"ipywidgets {metadata.version('ipywidgets')}"))
    except metadata.PackageNotFoundError:
        findings.append(Finding("sliders", "none: the notebooks do without", 'pip install "ipywidgets>=8.1,<9.0"'))
    return findings


def doctor(say: Callable[[str], None] = print) -> None:
    """Print what `examine` finds, a line each, and a line with the remedy below what is lacking."""
    for finding in examine():
        say(str(finding))
