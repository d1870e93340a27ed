"""A learner's way: JupyterLab in a browser, Run All with the mouse, pictures and no error."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time

import nbformat
import pytest
from notebook_build import build

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is in requirements-test.txt")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian: apt install chromium)"),
]

FIRST = "01_five_minutes_to_vit.ipynb"
SLIDERS = """
from matplotlib.figure import Figure

from vit_ms.visualize import interactive


def draw(head):
    figure = Figure(figsize=(head, 1))
    return figure


interactive(draw, head=(1, 4))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address and the folder of a JupyterLab with two notebooks that were not run; it writes nothing elsewhere."""
    folder = tmp_path_factory.mktemp("lab")
    work = folder / "work"
    work.mkdir()
    (source,) = build.sources([FIRST])
    nbformat.write(build.build(source, "zh"), work / FIRST)
    sliders = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SLIDERS)])
    sliders.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(sliders, work / "sliders.ipynb")

    settings = folder / "settings" / "@jupyterlab"
    for name, content in {
        "notebook-extension/tracker": '{"windowingMode": "none"}',  # every cell is in the page
        "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
    }.items():
        path = settings / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(content)
    places = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    env = os.environ | {name: str(folder / place) for name, place in places.items()}
    env["PYTHONPATH"] = str(build.FOLDER.parent)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1"]
    command += ["--IdentityProvider.token=", f"--ServerApp.root_dir={work}", "--LabApp.extension_manager=readonly"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=env, cwd=work, stdout=log, stderr=log)
    try:
        for _ in range(120):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/lab/tree/", work
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture
def page():
    with playwright.sync_playwright() as driver:
        quiet = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=quiet)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        yield page
        browser.close()


def run_all(page, address, cells):
    page.goto(f"{address}?reset")  # without the notebook that the test before left open
    # The menu does nothing before the notebook is there.
    page.locator(".jp-NotebookPanel .jp-CodeCell").nth(cells - 1).wait_for(timeout=90_000)
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=90_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    # JupyterLab asks for a kernel where the one that it starts by itself is not ready yet.
    asked = page.get_by_role("button", name="Select Kernel", exact=True)
    with contextlib.suppress(playwright.TimeoutError):
        asked.click(timeout=3000)


def test_the_first_notebook_runs_with_the_mouse(server, page):
    address, work = server
    notebook = nbformat.read(work / FIRST, as_version=4)
    cells = sum(cell.cell_type == "code" for cell in notebook.cells)
    run_all(page, address + FIRST, cells)

    page.get_by_text(f"[{cells}]:", exact=True).first.wait_for(timeout=400_000)
    assert page.locator('[data-mime-type="application/vnd.jupyter.stderr"]').filter(has_text="Traceback").count() == 0
    assert page.locator(".jp-RenderedText pre").filter(has_text="Error").count() == 0
    pictures = page.locator(".jp-OutputArea-output img").all()
    assert len(pictures) == 7
    assert all(picture.evaluate("image => image.naturalWidth") > 200 for picture in pictures)
    (work / "runs/five_minutes/vit_nano_4.ckpt").unlink()  # it was written there and nowhere else
    assert {path.name for path in work.iterdir()} <= {
        FIRST,
        "sliders.ipynb",
        "runs",
        ".ipynb_checkpoints",
        ".virtual_documents",
        "dsa_transfrom.log",  # the kernel compiler's, which vit_ms removes when the kernel ends
    }


def test_a_slider_redraws_the_picture(server, page):
    address, _ = server
    run_all(page, address + "sliders.ipynb", 1)
    picture = page.locator(".jp-OutputArea-output img")
    picture.wait_for(timeout=120_000)
    before = picture.get_attribute("src")
    page.locator(".noUi-handle, input[type=range]").first.press("ArrowRight")
    page.wait_for_function("before => document.querySelector('.jp-OutputArea-output img')?.src !== before", arg=before)
    page.locator(".widget-readout").get_by_text("2", exact=True).wait_for()
