"""What vit_ms needs around it: versions, and a working folder that MindSpore does not litter. Imports no MindSpore."""

import atexit
import contextlib
import importlib.util
import os
import shutil
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


def prepare() -> None:
    """Keep MindSpore's droppings out of the working folder and its noise off the screen, and ready its kernel compiler.

    Call it before MindSpore is imported. What the user has set in the environment stays: GLOG_v=2 brings the warnings back.
    """
    # Warnings come with every compilation and every look for an NPU, and none of them asks for anything.
    os.environ.setdefault("GLOG_v", "3")
    # A cell of a notebook is no file, and the compiler reports that as an error, several lines for each cell class. What it
    # cannot compile it reports besides raising it.
    os.environ.setdefault("MS_SUBMODULE_LOG_v", "{CORE:4,ANALYZER:4}")
    scratch = _scratch()
    os.environ.setdefault("MS_OM_PATH", str(scratch))  # rank_0/om, after a failed compilation
    os.environ.setdefault("MS_COMPILER_CACHE_PATH", str(scratch))  # kernel_meta, on Ascend; fused kernels, on CPU
    if "mindspore" not in sys.modules:
        # Fused kernels are OpenMP's, the matrix products are not. Between two kernels OpenMP's threads may wait awake for
        # some microseconds (a sleeping thread is slow to wake), but not keep the cores from the products, as is the default.
        # Its library reads this when MindSpore loads it.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    if (compiler := _kernel_compiler()) is not None:
        os.environ.setdefault("AKG_WHITE_LIST_PATH", str(compiler))  # without it, it prints a line for each kernel


def home() -> Path:
    """The folder for what vit_ms downloads: VIT_MS_HOME, or .cache/vit_ms in the user's own."""
    if given := os.environ.get("VIT_MS_HOME"):
        return Path(given)
    return _scratch()


def data_home() -> Path:
    """The folder for what a learner must not lose: VIT_MS_HOME, or vit_ms among the user's data."""
    if given := os.environ.get("VIT_MS_HOME"):
        return Path(given)
    import platformdirs  # scripts/_env.sh runs this file before anything is installed

    return platformdirs.user_data_path("vit_ms")


def _scratch() -> Path:
    """A folder of this user's own: what lies in it is loaded as code."""
    try:
        scratch = Path.home() / ".cache" / "vit_ms"
        scratch.mkdir(parents=True, exist_ok=True)
        if os.access(scratch, os.W_OK):
            return scratch
    except (RuntimeError, OSError):  # a container's user may have no home, or one that is read-only
        pass
    scratch = Path(tempfile.mkdtemp(prefix="vit_ms_"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    return scratch


def _kernel_compiler() -> Path | None:
    """The folder of AKG, the kernel compiler that comes with MindSpore."""
    spec = importlib.util.find_spec("mindspore")
    folder = Path(spec.origin).parent / "_akg" if spec is not None and spec.origin else None
    return folder if folder is not None and folder.is_dir() else None


def fusion_lacks() -> str | None:
    """What is missing for MindSpore to compile fused kernels on this CPU, with the remedy; None: nothing.

    MindSpore ends the process where it cannot compile one.
    """
    if "GOMP_SPINCOUNT" not in os.environ and os.environ.get("OMP_WAIT_POLICY", "").upper() != "PASSIVE":
        return "import vit_ms before mindspore, or set GOMP_SPINCOUNT=1000 before Python starts"
    compiler = _kernel_compiler()
    if compiler is None or not (compiler.parent / "lib/plugin/cpu/libakg.so").is_file():
        return "this MindSpore has no kernel compiler (AKG)"
    if importlib.util.find_spec("decorator") is None:
        return "MindSpore's kernel compiler needs the package decorator: pip install decorator"
    if shutil.which("g++") is None:
        return "MindSpore's kernel compiler links with g++, which is not installed (Debian: apt install g++)"
    log = Path.cwd() / "dsa_transfrom.log"  # the compiler leaves it in the folder that it is started in
    if not log.exists():
        _logs.add(log)
    return None


_logs: set[Path] = set()


@atexit.register
def _remove_logs() -> None:
    for log in _logs:
        with contextlib.suppress(OSError):
            log.unlink(missing_ok=True)


if __name__ == "__main__":
    # scripts/_env.sh asks with --installed before it lets pip near an environment that is not ours.
    try:
        check_versions(installed_only="--installed" in sys.argv)
    except ImportError as error:
        sys.exit(str(error))
