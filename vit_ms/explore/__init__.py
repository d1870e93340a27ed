"""A page in the browser to try checkpoints with: draw or drop an image, see the answer and what is inside the network.

It is served on this machine, to this machine: nothing is sent anywhere, and nothing is fetched.
"""

import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from vit_ms.errors import UserError
from vit_ms.explore.looking import Checkpoint
from vit_ms.explore.words import LANGUAGES
from vit_ms.run import RunInfo

HOST = "127.0.0.1"
MOST = 2  # checkpoints side by side


def explore(
    checkpoints: Sequence[tuple[RunInfo, str | Path]], port: int | None = None, language: str = "zh"
) -> list[Path]:
    """Serve the page until Ctrl+C. The process is for nothing else then: it opens no connection to another machine.

    Call `runtime.setup` before; in graph mode each network is compiled once, before the page opens.

    Args:
        checkpoints (Sequence[tuple[RunInfo, str or Path]]): one or two: what each is, and its weights.
        port (int): where the page is, 1 to 65535; None: the first free one from 7860.
        language (str): that the page opens in, `"zh"` or `"en"`.

    Returns:
        list[Path], empty: it writes nothing that stays.

    Raises:
        UserError: If gradio is not installed, there are more than two checkpoints, the port cannot be used, the language is
            unknown, or the weights do not fit.
    """
    if len(checkpoints) > MOST:
        raise UserError(f"there are {len(checkpoints)} checkpoints; the page shows {MOST} side by side at most")
    if language not in LANGUAGES:
        raise UserError(f"language is {language!r}; choose one of {', '.join(LANGUAGES)}")
    if port is not None:
        _check_port(port)
    with tempfile.TemporaryDirectory(prefix="vit_ms_explore_") as scratch:
        _prepare_gradio(scratch)
        opened = [Checkpoint(info, path) for info, path in tqdm(checkpoints, desc="compiling", unit="network")]
        from vit_ms.explore.page import build, launch

        page = build(opened, language)
        try:
            address = launch(page, HOST, port)
        except OSError:
            raise UserError("there is no free port: choose one with --port") from None
        # Ctrl+C and a plain kill end the page, tidily. MindSpore, once it has compiled, would end the process on the spot.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        print(f"open {address} in a browser on this machine; Ctrl+C ends it", flush=True)
        try:
            # Another thread may be given the signal, and this one, which answers it, must then wake by itself.
            while True:
                time.sleep(0.5)
        except KeyboardInterrupt:
            print()
        finally:
            page.close(verbose=False)
    return []


def _check_port(port: int) -> None:
    """Before anything is loaded."""
    if not 1 <= port <= 65535:
        raise UserError(f"port is {port}; it must be from 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UserError(f"port {port} cannot be used ({error.strerror}): choose another with --port") from None


def _prepare_gradio(scratch: str) -> None:
    """Import gradio so that it reports nothing, asks nobody for a newer version and keeps its files in `scratch`."""
    # A user's settings for other pages must not make this one public, or let it serve more files.
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        del os.environ[name]
    os.environ |= {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_RUN_HISTORY": "False",
        "GRADIO_TEMP_DIR": scratch,
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    # Gradio asks its own page whether it is there, which must not go by way of a proxy.
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), HOST, "localhost"]))
    try:
        import gradio  # noqa: F401
    except ImportError:
        raise UserError(
            'explore needs gradio, which is not installed; run: pip install "gradio>=6.22,<7.0" "numpy>=1.26,<2.0"'
        ) from None
    sys.addaudithook(_stay_here)


def _stay_here(event: str, arguments: tuple) -> None:
    """Refuse what would leave this machine: Gradio fetches a file that a request names by its address elsewhere."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):  # a local socket has a path
        host = arguments[1][0]
    else:
        return
    if host not in (None, "", HOST, "localhost", "::1", b"127.0.0.1", b"localhost"):
        raise PermissionError(f"the page opens no connection to {host}")
