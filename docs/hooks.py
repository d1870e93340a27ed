"""What mkdocs does beyond mkdocs.yml.

The site is laid out as the repository is, so the links between its pages are those of the repository. A link to a file
that is no page leads to a page with its text; notebooks and pictures are copied. Modules have pages of their docstrings.
"""

import ast
import posixpath
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mkdocs.structure.files import File, Files, InclusionLevel
from pymdownx.slugs import slugify

ROOT = Path(__file__).resolve().parents[1]
COPIED = {".ipynb", ".png"}
LANGUAGES = {"en": "English", "zh": "中文"}
HOMES = {"en": "README.md", "zh": "README_CN.md"}

_LINK = re.compile(r"(?<=\]\()[^)\s]+(?=\))")
# A line may end between two Chinese characters or punctuation marks; a browser would show that as a space.
_CHINESE = r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]"
_CHINESE_LINE_END = re.compile(rf"(?<={_CHINESE})\n *(?={_CHINESE})")


def pages() -> list[str]:
    """The Markdown files that are pages, by their paths in the repository."""
    found = [path for pattern in ("*.md", "docs/*.md", "notebooks/*.md") for path in ROOT.glob(pattern)]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def modules() -> list[str]:
    """The files of public modules; not those of the exercises, which hold the answers."""
    found = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "vit_ms").rglob("*.py"))]
    return [path for path in found if "/_" not in path.replace("/__init__.py", "") and "/exercises" not in path]


def language(path: str) -> str:
    """A page's language, by its name: `"zh"` of X_cn.md and X_CN.md, else `"en"`."""
    return "zh" if path.lower().endswith("_cn.md") else "en"


def in_language(path: str, wanted: str) -> str:
    """The path that a page has in another language, whether it is there or not."""
    stem = path.removesuffix("_cn.md").removesuffix("_CN.md").removesuffix(".md")
    ending = "" if wanted == "en" else "_CN" if posixpath.basename(stem).isupper() else "_cn"
    return f"{stem}{ending}.md"


def target_of(link: str, page: str) -> str | None:
    """The file of the repository that a page's link names; None: it leads elsewhere or nowhere."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc or not parts.path or parts.path.startswith("/"):
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(parts.path)))
    return path if not path.startswith("..") and (ROOT / path).is_file() else None


def _linked(paths: Iterable[str]) -> set[str]:
    """The files that these pages link to and that are no pages themselves."""
    paths = set(paths)
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for path in paths}
    found = {target_of(link, path) for path, text in texts.items() for link in _LINK.findall(text)}
    return found - paths - {None}


def _source_page(path: str) -> str:
    kind = {".py": "python", ".yaml": "yaml", ".sh": "bash"}.get(Path(path).suffix, "text")
    text = (ROOT / path).read_text(encoding="utf-8").rstrip("\n")
    fence = "~" * 12
    head = "---\nsearch: {exclude: true}\nhide: [navigation, toc]\n---"  # room for lines of 120 characters
    return f'{head}\n# {path}\n\n{fence} {{.{kind} linenums="1"}}\n{text}\n{fence}\n'


def _api_name(path: str) -> str:
    """vit_ms/models/vit.py -> api/models/vit.md, vit_ms/data/__init__.py -> api/data/index.md."""
    return "api/" + path.removeprefix("vit_ms/").removesuffix(".py").replace("__init__", "index") + ".md"


def _api_page(path: str) -> str:
    name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    up = posixpath.relpath(path, posixpath.dirname(_api_name(path)))
    return f"# {name}\n\n[{path}]({up})\n\n::: {name}\n"


def _api_home() -> str:
    """The list of the modules, each with the first line of its docstring."""
    lines = [
        "# vit_ms",
        "",
        "The modules and what they are for; with each class and function its arguments and errors.",
        "",
    ]
    for path in modules()[1:]:
        text = ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8"))) or ""
        summary = re.split(r"(?<=\.)\s", text, maxsplit=1)[0].replace("\n", " ")
        name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        lines.append(f"- [`{name}`]({_api_name(path).removeprefix('api/')}): {summary}")
    return "\n".join(lines) + "\n"


def on_config(config):
    """Add the modules to the navigation; headings in Chinese get anchors."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify(case="lower")
    entries = [_api_name(path) for path in modules()]
    top = [entry for entry in entries if entry.count("/") == 1]
    for package in sorted({entry.split("/")[1] for entry in entries if entry.count("/") > 1}):
        top.append({package: [entry for entry in entries if entry.startswith(f"api/{package}/")]})
    config.nav.append({"API": top})
    return config


def on_files(files: Files, config) -> Files:
    """Replace what lies in docs_dir by the repository's pages, what they link to, and the pages of the code."""
    for file in list(files):
        if file.src_dir == config.docs_dir:
            files.remove(file)
    linked = _linked(pages())
    for path in [*pages(), *(path for path in sorted(linked) if Path(path).suffix in COPIED)]:
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    for path in sorted({path for path in linked if Path(path).suffix not in COPIED} | set(modules())):
        page = File.generated(config, f"{path}.md", content=_source_page(path), inclusion=InclusionLevel.NOT_IN_NAV)
        files.append(page)
    for path in modules():
        content = _api_home() if path == "vit_ms/__init__.py" else _api_page(path)
        files.append(File.generated(config, _api_name(path), content=content))
    return files


def on_page_markdown(markdown: str, page, config, files: Files) -> str:
    """Lead links to files that are no pages of their own to the page with their text."""
    path = page.file.src_uri

    def lead(match: re.Match) -> str:
        link = match.group()
        target = target_of(link, path)
        if target is None or files.get_file_from_path(target) or not files.get_file_from_path(f"{target}.md"):
            return link
        return urlsplit(link)._replace(path=f"{urlsplit(link).path}.md").geturl()

    # A page of source text has no links of its own.
    return markdown if (ROOT / path.removesuffix(".md")).is_file() else _LINK.sub(lead, markdown)


def on_page_content(html: str, page, config, files: Files) -> str:
    """Join the lines of Chinese prose."""
    if language(page.file.src_uri) == "en":
        return html
    parts = re.split(r"(<pre.*?</pre>)", html, flags=re.DOTALL)
    return "".join(part if part.startswith("<pre") else _CHINESE_LINE_END.sub("", part) for part in parts)


def on_page_context(context, page, config, nav):
    """The theme's words and the home in the page's language, and a way to the same page in the other one."""
    path = page.file.src_uri
    config.theme["language"] = language(path)
    there = {file.src_uri: file for file in context["pages"]}
    config.extra["homepage"] = there[HOMES[language(path)]].url
    config.extra["alternate"] = [
        {
            "lang": code,
            "name": name,
            "link": there.get(in_language(path, code), there[HOMES[code]]).url,
        }
        for code, name in LANGUAGES.items()
    ]
    return context
