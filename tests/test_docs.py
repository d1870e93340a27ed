"""The documentation: links that lead somewhere, both languages, cards that say what the recipes say, workflows, the site."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
import yaml
from helpers import ROOT

from vit_ms import environment
from vit_ms.recipe import FOLDER, list_recipes

_spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "hooks.py")
hooks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hooks)

PAGES = hooks.pages()
IN_ENGLISH_ALONE = {"CHANGELOG.md", "docs/performance.md"}
MEASURED = {"digits", "digits_distilled"}


def _text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


each_page = pytest.mark.parametrize("page", PAGES)


@each_page
def test_links_lead_to_files_of_the_repository(page):
    prose = re.sub(r"^```.*?^```", "", _text(page), flags=re.MULTILINE | re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", prose) if not re.match(r"https?:|#", link)]
    assert [link for link in links if hooks.target_of(link, page) is None] == []


@each_page
def test_a_page_is_there_in_both_languages_and_names_the_other(page):
    other = hooks.in_language(page, "en" if hooks.language(page) == "zh" else "zh")
    assert hooks.in_language(other, hooks.language(page)) == page
    if page in IN_ENGLISH_ALONE:
        assert not (ROOT / other).exists(), f"{page} is in both languages now"
    else:
        assert (ROOT / other).is_file()
        assert bool(re.search(r"[\u4e00-\u9fff]{4}", _text(page))) == (hooks.language(page) == "zh")


def test_every_page_is_in_the_navigation_of_its_language():
    english, chinese = (next(iter(section.values())) for section in yaml.safe_load(_text("mkdocs.yml"))["nav"])
    assert {hooks.language(page) for page in english} == {"en"} and {hooks.language(page) for page in chinese} == {"zh"}
    assert sorted(english + chinese) == PAGES
    assert [hooks.in_language(page, "zh") for page in english if page not in IN_ENGLISH_ALONE] == chinese


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "CONTRIBUTING_CN.md"])
def test_contributors_are_shown_files_that_are_there(page):
    named = [word for word in re.findall(r"`([\w./*-]+/[\w./*-]*)`", _text(page)) if not re.search(r"NAME|NN_", word)]
    assert len(named) > 10
    assert [word for word in named if not list(ROOT.glob(word.rstrip("/")))] == []
    # The tables that it names are where it says.
    for table, path in {
        "_FAMILIES": "vit_ms/registry.py",
        "WORDS": "vit_ms/weights.py",
        "DATASETS": "vit_ms/data/catalog.py",
        "COUNTS": "tests/test_registry.py",
        "FORMULAS": "tests/test_registry.py",
        "NETWORKS": "tests/test_fewshot.py",
        "TINY": "tests/models/test_gradients.py",
        "PUBLISHED": "tests/test_catalog.py",
        "SIZES": "tests/test_catalog.py",
        "SOURCES": "tests/test_recipes_of_sources.py",
        "OWN": "tests/test_recipes_of_sources.py",
    }.items():
        assert f"`{table}`" in _text(page) and re.search(rf"^{table} = ", _text(path), flags=re.MULTILINE)


# Cards.


def _cards(page: str) -> dict[str, str]:
    """The text of each recipe's card: a section of the measured ones, a row of the others."""
    sections = re.findall(r"^### `(\w+)`\n(.*?)(?=^##)", _text(page), flags=re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| `(\w+)` \|(.*)$", _text(page), flags=re.MULTILINE)
    assert {name for name, _ in sections} == MEASURED
    return dict(sections) | dict(rows)


def _header(name: str) -> str:
    lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))


@pytest.mark.parametrize("page", ["docs/cards.md", "docs/cards_cn.md"])
def test_every_recipe_has_a_card_with_the_numbers_of_its_header(page):
    cards = _cards(page)
    assert sorted(cards) == list_recipes()
    for name, card in cards.items():
        assert ("Not run here" in _header(name)) == (name not in MEASURED), name
        said = {float(number) for number in re.findall(r"\d+(?:\.\d+)?", _header(name))}
        results = [float(number) for number in re.findall(r"([\d.]+) %", card)]
        assert results, name
        for number in results:
            assert number in said or round(number / 100, 4) in said, (name, number)  # the course reports shares


@pytest.mark.parametrize(
    "page, words",
    [("docs/cards.md", "reported by the source, not run here"), ("docs/cards_cn.md", "出处所报告，此处未运行")],
)
def test_what_was_not_run_here_is_marked_as_the_source_s(page, words):
    table = next(block for block in _text(page).split("\n\n") if "| `course` |" in block)
    assert words in table.splitlines()[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)) == set(list_recipes()) - MEASURED


def test_the_card_of_digits_has_the_numbers_of_the_dataset():
    from vit_ms.data.digits import Digits

    digits = Digits()
    for page in ("docs/cards.md", "docs/cards_cn.md"):
        row = next(line for line in _text(page).splitlines() if re.match(r"\| (splits here|此处的划分) ", line))
        for split in digits.splits:
            assert f"{split} {digits.size(split):,}" in row


# Workflows.

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_on_push_and_pull_request_with_pinned_actions(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow[True] == ["push", "pull_request"]  # YAML 1.1 reads the key `on` as true
    for job in workflow["jobs"].values():
        assert job["runs-on"] == "ubuntu-latest"
        actions = [step["uses"] for step in job["steps"] if "uses" in step]
        assert actions and all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in actions)


def test_the_workflows_call_the_two_commands_on_every_python_and_ci():
    jobs = {
        name: job
        for path in WORKFLOWS
        for name, job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].items()
    }
    commands = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()}
    assert commands["test"][-2:] == ["bash scripts/quickstart.sh", "bash scripts/test.sh"]
    assert commands["slow"] == ["bash .ci/run"]
    (major, first), (_, below) = environment.PYTHON
    assert jobs["test"]["strategy"]["matrix"]["python"] == [f"{major}.{minor}" for minor in range(first, below)]


# The site.


class _Page(HTMLParser):
    """What a page links to, what it loads, and its anchors."""

    def __init__(self, path: Path):
        super().__init__()
        self.links, self.loaded, self.anchors, self.attributes = [], [], set(), {}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.attributes.setdefault(tag, attributes)
        if "md-logo" in (attributes.get("class") or ""):
            self.attributes.setdefault("a.md-logo", attributes)
        self.anchors |= {attributes[key] for key in ("id", "name") if attributes.get(key)}
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        elif tag in ("script", "img", "iframe", "source", "link"):
            self.loaded += [attributes[key] for key in ("src", "href") if attributes.get(key)]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built without a warning where MindSpore cannot be imported."""
    without, folder = tmp_path_factory.mktemp("without"), tmp_path_factory.mktemp("built") / "site"
    (without / "mindspore.py").write_text("raise SystemExit('the site needs MindSpore')\n")
    variables = {
        "PYTHONPATH": os.pathsep.join([str(without), str(ROOT)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "NO_MKDOCS_2_WARNING": "1",
        "TMPDIR": str(without),  # jieba leaves its dictionary there
    }
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_the_site_loads_nothing_from_elsewhere_and_no_link_is_dead(site):
    pages = {path: _Page(path) for path in site.rglob("*.html")}
    assert len(pages) > len(PAGES) + len(hooks.modules())
    for path, page in pages.items():
        if path.name == "404.html":  # its links begin at the root of wherever the site is
            continue
        assert not [address for address in page.loaded if urlsplit(address).netloc], path
        for link in page.links + page.loaded:
            parts = urlsplit(urljoin(path.as_uri(), link))
            if parts.scheme != "file":
                assert parts.scheme in ("http", "https", "data"), (path, link)
                continue
            target = Path(unquote(parts.path))
            assert target.is_file(), (path, link)
            if parts.fragment and target in pages:
                anchors = pages[target].anchors
                assert unquote(parts.fragment) in anchors or parts.fragment.startswith("__"), (path, link)


@pytest.mark.slow
def test_pages_have_their_language_and_a_way_to_the_other(site):
    for path, language, other in (
        ("docs/recipes_cn.html", "zh", "recipes.html"),
        ("docs/recipes.html", "en", "recipes_cn.html"),
        ("index.html", "en", "README_CN.html"),
        ("docs/performance.html", "en", "../README_CN.html"),
        ("notebooks/README_CN.html", "zh", "index.html"),
    ):
        page = _Page(site / path)
        assert page.attributes["html"]["lang"] == language and other in page.links, path
        home = os.path.relpath(site / ("index.html" if language == "en" else "README_CN.html"), (site / path).parent)
        assert page.attributes["a.md-logo"]["href"] == home


@pytest.mark.slow
def test_code_notebooks_and_docstrings_are_on_it(site):
    source = re.sub(r"<[^>]+>", "", (site / "vit_ms" / "layers.py.html").read_text(encoding="utf-8"))
    assert "class PatchEmbedding(nn.Cell):" in source
    functions = re.sub(r"<[^>]+>", "", (site / "api" / "registry.html").read_text(encoding="utf-8"))
    assert "Build a model by its name, with initial weights or published ones." in functions
    assert "_hints" not in functions
    assert len(list((site / "notebooks").glob("*/*.ipynb"))) == len(list((ROOT / "notebooks").glob("[ez]*/*.ipynb")))
    # The exercises' references are not shown to who looks for the API.
    assert not list(site.glob("api/checkin/exercises/*"))
    # Lines of Chinese prose are joined without a space.
    assert not re.search(r"[\u4e00-\u9fff]\n[\u4e00-\u9fff]", (site / "README_CN.html").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed (Debian: apt install chromium)")
def test_a_browser_asks_for_nothing_elsewhere_and_a_phone_need_not_scroll_sideways(site):
    from playwright.sync_api import sync_playwright

    asked, errors = [], []
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        for path in ("index.html", "docs/cards_cn.html", "api/layers.html", "vit_ms/layers.py.html"):
            page.goto((site / path).as_uri())
            page.wait_for_timeout(300)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        browser.close()
    assert asked and not errors and not [address for address in asked if not address.startswith(("file:", "data:"))]
