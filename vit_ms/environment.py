"""What vit_ms needs around it: versions, and a working folder that MindSpore does not litter. Imports no MindSpore."""

import os
import sys
import tempfile
from importlib import metadata
from pathlib import Path

# From the first to below the second: what the tests ran with. requirements.txt says the same to pip.
SUPPORTED = {"mindspore": ("2.10", "2.11"), "numpy": ("1.26", "2.0")}
PYTHON = ((3, 10), (3, 13))


def check_versions(installed_only: bool = False) -> None:
    """Refuse a Python, MindSpore or NumPy that vit_ms does not work with.

    Args:
        installed_only (bool): let pass what is not installed yet.

    Raises:
        ImportError: Its message is one line and names the package, its version and the command that mends it.
    """
    if not PYTHON[0] <= sys.version_info[:2] < PYTHON[1]:
        found = ".".join(map(str, sys.version_info[:2]))
        raise ImportError(f"vit_ms needs Python 3.10, 3.11 or 3.12, for which MindSpore has wheels; this is {found}")
    for package, (first, below) in SUPPORTED.items():
        remedy = f'run: pip install "{package}>={first},<{below}"'
        try:
            found = metadata.version(package)
        except metadata.PackageNotFoundError:
            if installed_only:
                continue
            raise ImportError(f"vit_ms needs {package}, which is not installed; {remedy}") from None
        if not _number(first) <= _number(found) < _number(below):
            raise ImportError(
                f"vit_ms needs {package} from {first} to below {below}, but {found} is installed; {remedy}"
            )


def _number(version: str) -> tuple[int, ...]:
    digits = ["".join(filter(str.isdigit, part)) for part in version.split(".")[:2]]
    return tuple(int(part or 0) for part in digits)


def keep_quiet() -> None:
    """Keep MindSpore's droppings out of the working folder and its noise off the screen.

    Call it before MindSpore is imported. What the user has set in the environment stays: GLOG_v=2 brings the warnings back.
    """
    # Warnings come with every compilation and every look for an NPU, and none of them asks for anything.
    os.environ.setdefault("GLOG_v", "3")
    try:
        scratch = Path.home() / ".cache" / "vit_ms"
    except RuntimeError:  # a container's user may have no home
        scratch = Path(tempfile.gettempdir()) / "vit_ms"
    os.environ.setdefault("MS_OM_PATH", str(scratch))  # rank_0/om, after a failed compilation
    os.environ.setdefault("MS_COMPILER_CACHE_PATH", str(scratch))  # kernel_meta, on Ascend


if __name__ == "__main__":
    # scripts/_env.sh asks with --installed before it lets pip near an environment that is not ours.
    try:
        check_versions(installed_only="--installed" in sys.argv)
    except ImportError as error:
        sys.exit(str(error))
