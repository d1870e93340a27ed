"""The page itself: what stands where, and what a drawing, a file or a click does. The only file with Gradio."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import gradio as gr
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vit_ms.explore.images import BYTES, Given, check_size, read_drawing, read_upload
from vit_ms.explore.looking import Checkpoint, Seen
from vit_ms.explore.words import LANGUAGES, Refused, say

PAD = '<canvas width="320" height="320" role="img" aria-label="画板 Drawing pad"></canvas>'
PAD_STYLE = """
canvas {
    display: block; width: min(100%, 320px); margin: 0 auto; aspect-ratio: 1; box-sizing: border-box;
    background: white; border: 2px solid #777; border-radius: 8px; cursor: crosshair; touch-action: none;
}
"""
# The name of a picture, and the button that enlarges it, stand over it and hide nothing; it is as high as it is. While one
# waits a wheel turns; what Gradio writes beside it, and tells screen readers, is in the browser's language, not the page's.
STYLE = """
.gradio-container { max-width: 1400px !important; margin: 0 auto; }
.picture { padding-top: 2.2rem !important; }
.picture .icon-button-wrapper { top: -2.2rem !important; }
.picture .image-container, .picture .image-frame, .picture img { height: auto !important; }
.picture .image-frame { min-height: 8rem; }
.progress-text, .meta-text, .meta-text-center, .sr-only[role=status] { display: none !important; }
#message { min-height: 1.6em; }
"""
# The visitor's own fonts.
THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
UNKEPT = 3600  # seconds that a picture, or an image that nobody looks at any more, is kept


@dataclass
class Visit:
    """What one open page looks at.

    Args:
        given (Given): the image; None: there is none yet.
        seen (list[Seen | Refused]): what each checkpoint made of it.
        wrong (Refused): why the last image could not be used; None: it could.
    """

    given: Given | None = None
    seen: list[Seen | Refused] = field(default_factory=list)
    wrong: Refused | None = None


class _Column:
    """One checkpoint's part of the page."""

    def __init__(self, checkpoint: Checkpoint, number: int):
        self.checkpoint = checkpoint
        with gr.Column(min_width=320):
            self.heading = gr.Markdown()
            with gr.Row():
                with gr.Column(min_width=280):
                    self.answer = gr.Label(num_top_classes=5)
                    self.done = gr.Markdown()
                self.patches = _picture(elem_id=f"patches-{number}")
            with gr.Row():
                self.rollout = _picture(visible=checkpoint.is_vit)
                self.similar = _picture(visible=checkpoint.similarity is not None)
            self.inside = _picture()  # attention of the heads, or the stages
            self.lacks = gr.Markdown()

    @property
    def parts(self) -> list:
        texts = [self.heading, self.done, self.lacks]
        return texts + [self.answer, self.patches, self.rollout, self.inside, self.similar]

    def updates(self, name: str, seen: Seen | Refused | None, layer: int, asks: str, patch: int, language: str) -> list:
        """New values for the parts, in their order.

        Args:
            name (str): to tell two columns apart.
            seen (Seen or Refused): what the checkpoint made of the image, or why nothing; None: there is no image.
            layer (int): whose attention, from 0.
            asks (str): `"head"`, or `"patch"`.
            patch (int): the chosen one, of this network.
            language (str): a key of LANGUAGES.
        """
        network, asking = self.checkpoint, patch if asks == "patch" else None
        layer = min(layer, network.num_layers - 1)  # the other column's network may have more
        rows, columns = network.grid or (0, 0)
        sees = "seen" if network.is_vit else "seen_split" if network.grid else "seen_whole"
        labels = {
            "answer": say("answer", language),
            "patches": say(sees, language, rows=rows, columns=columns),
            "rollout": say("rollout", language, layers=network.num_layers),
            "inside": say("heads" if network.is_vit else "stages", language, layer=layer + 1),
            "similar": say("similarity", language, patch=patch + 1),
        }
        values, done = {}, ""
        if isinstance(seen, Refused):
            done = say(seen.key, language, **seen.values)
        elif seen is not None:
            done = _told(*seen.done, language)
            values["answer"] = seen.top
            values["patches"] = network.patches(seen, patch if network.is_vit else None)
            if network.is_vit:
                values["rollout"] = network.rollout(seen, asking, language)
                values["inside"] = network.heads(seen, layer, asking)
            else:
                values["inside"] = network.stages(seen)
        if network.similarity is not None:
            values["similar"] = network.similarities(patch, language)
        heading = f"### {name}`{_plain(network.path)}`\n{network.heading(language)}"
        pictures = [gr.update(label=label, value=values.get(part)) for part, label in labels.items()]
        return [heading, done, network.lacks(language), *pictures]


def _picture(**settings) -> gr.Image:
    return gr.Image(
        interactive=False, type="pil", buttons=["fullscreen"], min_width=280, elem_classes="picture", **settings
    )


def _plain(path: Path) -> str:
    """The end of a path, with nothing in it that ends code in Markdown."""
    return "/".join(path.parts[-2:]).replace("`", "'")


def _told(key: str, values: dict, language: str) -> str:
    """What was done to an image for a network."""
    if key == "formed":
        words = {
            "polarity": say("inverted", language) if values["inverted"] else "",
            "thick": say("thickened", language) if values["thickened"] else "",
        }
        return say(key, language, height=values["height"], width=values["width"], **words)
    return say(key, language, **values)


def build(checkpoints: list[Checkpoint], language: str) -> gr.Blocks:
    """The page for one or two checkpoints.

    Args:
        checkpoints (list[Checkpoint]): ready ones.
        language (str): that it opens in.
    """
    with gr.Blocks(title="vit_ms", fill_width=True, analytics_enabled=False, delete_cache=(UNKEPT, UNKEPT)) as blocks:
        page = _Page(checkpoints, language)
        page.connect(blocks)
    return blocks


class _Page:
    """What stands on the page, and what happens on it. Of a network without patches none can be chosen.

    Where a function takes `settings`, they are the values of layer, asks, patch and language.
    """

    def __init__(self, checkpoints: list[Checkpoint], language: str):
        self.first = next((item for item in checkpoints if item.is_vit), None)  # whose patches the slider counts
        layers = max(item.num_layers for item in checkpoints)
        patches = self.first.grid[0] * self.first.grid[1] if self.first else 0
        middle = self.first.patch_at(0.5, 0.5) if self.first else 0

        self.visit = gr.State(Visit(), time_to_live=UNKEPT)
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=320):
                self.title = gr.Markdown()
            with gr.Column(scale=1, min_width=240):
                self.language = gr.Radio([(shown, code) for code, shown in LANGUAGES.items()], value=language)
        with gr.Row(equal_height=False):
            with gr.Column(scale=1, min_width=320):
                self.hint = gr.Markdown()
                self.pad = gr.HTML(
                    html_template=PAD,
                    css_template=PAD_STYLE,
                    js_on_load=Path(__file__).with_name("pad.js").read_text(encoding="utf-8"),
                    elem_id="pad",
                    most_bytes=BYTES,
                )
                with gr.Row():
                    self.clear = gr.Button(min_width=100)
                    self.upload = gr.UploadButton(min_width=100)
                self.message = gr.Markdown(elem_id="message")
                # A slider cannot be from 1 to 1; what has no choice is not shown.
                self.layer = gr.Slider(1, max(layers, 2), 1, step=1, visible=layers > 1, buttons=[], elem_id="layer")
                self.asks = gr.Radio([("", "head"), ("", "patch")], value="head", visible=patches > 0)
                self.patch = gr.Slider(
                    1, max(patches, 2), middle + 1, step=1, visible=patches > 0, buttons=[], elem_id="patch"
                )
            with gr.Column(scale=2, min_width=320), gr.Row(equal_height=False):
                self.columns = [_Column(item, number) for number, item in enumerate(checkpoints)]

    def connect(self, blocks: gr.Blocks) -> None:
        """Say what each event does, and which parts it changes."""
        settings = [self.layer, self.asks, self.patch, self.language]
        results = [self.message, *(part for column in self.columns for part in column.parts)]
        words = [self.title, self.language, self.hint, self.clear, self.upload, self.layer, self.asks, self.patch]
        # Whatever is slow waits for its turn; of what was asked meanwhile only the last counts.
        usual = {"api_visibility": "private", "trigger_mode": "always_last"}
        usual["show_progress_on"] = [column.answer for column in self.columns]
        blank = "(...all) => (document.dispatchEvent(new Event('vit_ms:clear')), all)"  # the drawing goes

        chosen = [self.visit, *settings]
        changed = [self.visit, *results]
        self.pad.input(self.drawn, chosen, changed, **usual)
        self.upload.upload(self.uploaded, [self.upload, *chosen], changed, js=blank, **usual)
        self.clear.click(self.cleared, settings, changed, js=blank, **usual)
        for control in (self.layer, self.asks, self.patch):
            control.change(self.shown, chosen, results, **usual)
        for column in self.columns:
            if column.checkpoint.is_vit:
                column.patches.select(self.chooser(column.checkpoint), None, self.patch, **usual)
        self.language.change(self.translated, chosen, words + results, **usual)
        # Screen readers tell what became of an image.
        told = "(...all) => (document.querySelector('#message').setAttribute('role', 'status'), all)"
        blocks.load(self.translated, chosen, words + results, js=told, **usual)

    def drawn(self, event: gr.EventData, visit: Visit, *settings) -> list:
        if hasattr(event, "bytes"):  # a file that the browser kept back
            return self.look(lambda: check_size(str(event.name), event.bytes), visit, *settings)
        return self.look(lambda: read_drawing(getattr(event, "png", None)), visit, *settings)

    def uploaded(self, path: str, visit: Visit, *settings) -> list:
        return self.look(lambda: read_upload(path), visit, *settings)

    def look(self, read: Callable[[], Given], visit: Visit, *settings) -> list:
        """Show the networks an image; if it cannot be read, the one before stays, with a line on why."""
        try:
            given = read()
            visit = Visit(given, [_look(column.checkpoint, given) for column in self.columns])
        except Refused as refused:
            visit = Visit(visit.given, visit.seen, refused)
        return [visit, *self.shown(visit, *settings)]

    def cleared(self, *settings) -> list:
        return [Visit(), *self.shown(Visit(), *settings)]

    def shown(self, visit: Visit, layer: float, asks: str, patch: float, language: str) -> list:
        """The message and the columns."""
        updates = [_message(visit, language)]
        for number, column in enumerate(self.columns):
            name = f"{'AB'[number]} · " if len(self.columns) > 1 else ""
            seen = visit.seen[number] if visit.seen else None
            own = _same_place(int(patch) - 1, self.first, column.checkpoint)
            updates += column.updates(name, seen, int(layer) - 1, asks, own, language)
        return updates

    def translated(self, visit: Visit, *settings) -> list:
        """All the words, and what has words in it."""
        language = settings[-1]
        asking = [(say(f"asks_{who}", language), who) for who in ("head", "patch")]
        return [
            f"## vit_ms · {say('title', language)}\n{say('intro', language)}",
            gr.update(label=say("language", language)),
            say("pad", language),
            say("clear", language),
            gr.update(label=say("upload", language)),
            gr.update(label=say("layer", language)),
            gr.update(label=say("asks", language), choices=asking),
            gr.update(label=say("patch", language)),
            *self.shown(visit, *settings),
        ]

    def chooser(self, checkpoint: Checkpoint) -> Callable[[gr.SelectData], int]:
        """What a click on a network's picture does: it moves the slider."""

        def choose(event: gr.SelectData) -> int:
            (x, y), (width, height) = event.index, checkpoint.shown_size
            return _same_place(checkpoint.patch_at(y / height, x / width), checkpoint, self.first) + 1

        return choose


def _look(checkpoint: Checkpoint, given: Given) -> Seen | Refused:
    """What one checkpoint makes of an image; another may make more of it."""
    try:
        return checkpoint.look(given)
    except Refused as refused:
        return refused


def _message(visit: Visit, language: str) -> str:
    """What became of the last image."""
    if visit.wrong is not None:
        return f"⚠️ {say(visit.wrong.key, language, **visit.wrong.values)}"
    given = visit.given
    if given is None:
        return say("waiting", language)
    size = {"width": given.image.width, "height": given.image.height}
    read = say("done_upload", language, name=given.name, **size) if given.name else say("done_drawing", language)
    return " ".join([read, *(say(note, language) for note in given.notes)])


def _same_place(patch: int, here: Checkpoint | None, there: Checkpoint | None) -> int:
    """The patch of one network over the middle of a patch of another."""
    if here is None or there is None or here.grid is None or there.grid is None:
        return 0
    return there.patch_at(*here.middle(patch))


class _OwnResourcesAlone:
    """Tell the browser to load nothing for the page but what this server has, whatever Gradio's page asks for."""

    # Gradio's page has scripts in it, and compiles those of the pad.
    POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'"

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = self.POLICY
            await send(message)

        await self.app(scope, receive, with_policy)


def launch(page: gr.Blocks, host: str, port: int | None) -> str:
    """Serve the page, in threads of its own.

    Args:
        page (gr.Blocks): of `build`.
        host (str): the address of this machine for itself.
        port (int): None: the first free one from 7860.

    Returns:
        str, the page's address.

    Raises:
        OSError: If there is no free port.
    """
    # Under another name it is not ours: a page elsewhere has got its name to mean this machine (DNS rebinding).
    named = Middleware(TrustedHostMiddleware, allowed_hosts=[host, "localhost"])
    _, address, _ = page.queue(api_open=False).launch(
        server_name=host,
        server_port=port,
        share=False,
        inbrowser=False,
        prevent_thread_lock=True,
        quiet=True,
        show_error=False,
        footer_links=[],
        allowed_paths=[],
        blocked_paths=[],
        max_file_size=BYTES,
        state_session_capacity=20,
        enable_monitoring=False,
        strict_cors=True,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        app_kwargs={"middleware": [named, Middleware(_OwnResourcesAlone)]},
        css=STYLE,
        theme=THEME,
    )
    return address
