"""Published weights: fetched once, verified, and into a network with their numerics."""

import hashlib
import io
import sys
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import pytest
from helpers import DATA, error_of, values
from library_models import LIBRARIES, stored, weights_file
from mindspore import Tensor

from vit_ms import pretrained, registry, runtime
from vit_ms.data.download import fetch
from vit_ms.pretrained import PRETRAINED, Artefact
from vit_ms.registry import MODELS, Model, create_model, list_models
from vit_ms.weight_sources import NAMES
from vit_ms.weights import load_weights

URL = "https://example.org/some%20folder/weights.bin?download=true"
CONTENT = b"what was published"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Download:
    """In place of the function of the package `download`: it writes what it is told to, and counts."""

    def __init__(self, content: bytes = CONTENT, error: Exception | None = None):
        self.content, self.error, self.calls = content, error, []

    def __call__(self, url: str, path: str, **options) -> str:
        self.calls.append(url)
        assert options["kind"] == "file"
        if self.error is not None:
            raise self.error
        print("what the package says")
        Path(path).write_bytes(self.content)
        return path


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch, clean_state) -> Path:
    runtime.setup("CPU", "pynative")
    monkeypatch.setenv("VIT_MS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def download(monkeypatch):
    import download as package

    def use(*args, **kwargs) -> Download:
        fake = Download(*args, **kwargs)
        monkeypatch.setattr(package, "download", fake)
        return fake

    return use


def test_a_file_is_fetched_once(home, download, capsys):
    fake = download()
    path = fetch(URL, "weights", SHA256, len(CONTENT))
    assert path == home / "weights" / "weights.bin" and path.read_bytes() == CONTENT
    assert fetch(URL, "weights", SHA256[:8]) == path
    assert fake.calls == [URL]
    assert [file.name for file in path.parent.iterdir()] == ["weights.bin"]
    assert capsys.readouterr().out == ""


def test_a_name_of_its_own_keeps_files_apart(home, download):
    download()
    assert fetch(URL, "weights", name="one.bin") == home / "weights" / "one.bin"
    assert fetch(URL, "weights", name="two.bin") == home / "weights" / "two.bin"


def test_a_url_cannot_name_a_file_elsewhere(home, download):
    download()
    assert fetch("https://example.org/..%2F..%2Fweights.bin", "weights") == home / "weights" / "weights.bin"


WRONG = {
    "empty": (b"", {}, "has 0 bytes"),
    "short": (CONTENT[:5], {"size": len(CONTENT)}, "has 5 bytes instead of 18"),
    "another": (CONTENT[::-1], {"sha256": SHA256[:8]}, f"its sha256 does not begin with {SHA256[:8]}"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_file_that_is_not_the_published_one_is_refused_and_fetched_again(case, home, download):
    content, published, words = WRONG[case]
    download(content)
    message = error_of(fetch, URL, "weights", **published)
    assert words in message and "remove " in message and f"fetch {URL} again" in message
    assert not (home / "weights" / "weights.bin").exists()
    download()
    assert fetch(URL, "weights", **published).read_bytes() == CONTENT


@pytest.mark.parametrize("case", WRONG)
def test_a_file_that_was_there_is_verified_too(case, home, download):
    content, published, words = WRONG[case]
    fake = download()
    path = home / "weights" / "weights.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    message = error_of(fetch, URL, "weights", **published)
    assert words in message and f"remove {path} and fetch {URL} again" in message
    assert path.read_bytes() == content and fake.calls == []


@pytest.mark.parametrize(
    "url", ["http://example.org/weights.bin", "ftp://example.org/x", "file:///etc/passwd", "x.bin"]
)
def test_only_https_is_fetched(url, download):
    fake = download()
    assert "only https://" in error_of(fetch, url, "weights")
    assert fake.calls == []


def test_without_a_network_one_line_says_where_to_put_the_file(home, download):
    # As the package words it: the reason stands last.
    download(error=RuntimeError("Error while fetching file. Dataset fetching aborted.\nError: <no route to host>"))
    message = error_of(fetch, URL, "weights")
    assert "no route to host" in message and message.endswith(f"put it at {home / 'weights' / 'weights.bin'}")
    (home / "weights" / "weights.bin").write_bytes(CONTENT)
    assert fetch(URL, "weights", SHA256).read_bytes() == CONTENT


def test_an_interrupted_download_leaves_no_file_under_its_name(home, download):
    download(error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        fetch(URL, "weights")
    assert not (home / "weights" / "weights.bin").exists()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "download", None)
    assert error_of(fetch, URL, "weights") == "fetching needs the package download: pip install download"


def test_the_package_itself_fetches_verifies_and_resumes(home, monkeypatch, capsys):
    """With the package's own function, and only the network under it replaced."""
    from six.moves import urllib

    served = []

    class Response(io.BytesIO):
        def __init__(self, body: bytes, url: str):
            super().__init__(body)
            self.headers, self.url = {"Content-Length": str(len(body))}, url

        def geturl(self) -> str:
            return self.url

    def urlopen(request, timeout=None):
        start = int(request.headers.get("Range", "bytes=0-")[len("bytes=") : -1])
        served.append(start)
        return Response(CONTENT[start:], request.full_url)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    (home / "weights").mkdir(parents=True)
    (home / "weights" / ".weights.bin.download.part").write_bytes(CONTENT[:7])
    path = fetch(URL, "weights", SHA256)
    assert path.read_bytes() == CONTENT and served[-1] == 7
    assert [file.name for file in path.parent.iterdir()] == ["weights.bin"]
    assert capsys.readouterr().out == ""


# The table.

ROWS = [(model, artefact) for model, artefacts in PRETRAINED.items() for artefact in artefacts]


@pytest.mark.parametrize("model, artefact", ROWS, ids=[f"{model}-{artefact.source}" for model, artefact in ROWS])
def test_every_row_is_of_a_model_and_a_source_that_it_knows(model, artefact):
    assert model in list_models()
    assert artefact.source in MODELS[model].numerics and artefact.source in NAMES
    url = urlparse(artefact.url)
    assert url.scheme == "https" and url.hostname and not url.query
    suffix = {"timm": ".safetensors", "google": ".npz", "course": ".ckpt", "mindcv": ".ckpt"}[artefact.source]
    assert Path(url.path).suffix == Path(artefact.file or url.path).suffix == suffix
    if artefact.sha256 is not None:
        assert 8 <= len(artefact.sha256) <= 64 and set(artefact.sha256) <= set("0123456789abcdef")
    registry.model_arguments(model, artefact.overrides)


def test_no_two_files_have_the_same_name():
    """They lie in one folder: of two that are called model.safetensors the second would never be fetched."""
    names = [artefact.file or Path(urlparse(artefact.url).path).name for _, artefact in ROWS]
    assert len(set(names)) == len(names)


def test_what_is_not_published_is_told_with_what_is():
    assert "no published weights of vit_nano_4 are known: there are some of vit_ti_16," in error_of(
        create_model, "vit_nano_4", pretrained=True
    )
    message = error_of(create_model, "vit_b_16", pretrained="mindcv")
    assert message.endswith("by 'mindcv' are known: choose course or timm or google")


# Networks with published weights.


@pytest.fixture
def published(monkeypatch, download):
    """The fixtures as published weights of tiny models; the function gives a fixture's model's name."""

    def publish(folder: str, *others: str) -> tuple[str, Download]:
        artefacts = tuple(
            Artefact(LIBRARIES[name].source, f"https://example.org/{name}{weights_file(name).suffix}")
            for name in (folder, *others)
        )
        library = LIBRARIES[folder]
        row = {key: value for key, value in library.arguments.items() if key != "num_classes"}
        monkeypatch.setitem(MODELS, "tiny", Model(library.cell, {**row, "num_classes": 7}, library.known))
        overrides = {"num_classes": 7}
        artefacts = tuple(Artefact(item.source, item.url, overrides=overrides) for item in artefacts)
        monkeypatch.setitem(pretrained.PRETRAINED, "tiny", artefacts)
        fake = download()

        def fetch_fixture(url: str, path: str, **options) -> str:
            fake.calls.append(url)
            Path(path).write_bytes(next(DATA.glob(f"{Path(url).stem}/weights.*")).read_bytes())
            return path

        import download as package

        monkeypatch.setattr(package, "download", fetch_fixture)
        return "tiny", fake

    return publish


@pytest.mark.parametrize("folder", ["google_vit", "course_vit", "timm_swin", "timm_deit_distilled"])
def test_a_pretrained_network_has_the_numerics_and_logits_of_its_source(folder, published):
    name, fake = published(folder)
    for _ in range(2):
        network = create_model(name, pretrained=True).set_train(False)
    logits = network(Tensor(stored(folder, "input"))).asnumpy()
    assert np.abs(logits - stored(folder, "logits")).max() < 2e-5
    assert len(fake.calls) == 1


def test_whose_weights_is_chosen_by_name(published):
    name, fake = published("timm_vit", "google_vit")
    for source, folder in ((True, "timm_vit"), ("google", "google_vit"), ("timm", "timm_vit")):
        network = create_model(name, pretrained=source).set_train(False)
        logits = network(Tensor(stored(folder, "input"))).asnumpy()
        assert np.abs(logits - stored(folder, "logits")).max() < 2e-5
    assert [Path(url).stem for url in fake.calls] == ["timm_vit", "google_vit"]


@pytest.mark.parametrize("folder", ["timm_vit", "timm_deit_distilled", "timm_convnext"])
def test_other_classes_keep_their_initial_heads(folder, published):
    name, _ = published(folder)
    network, whole = create_model(name, pretrained=True, num_classes=3), create_model(name, pretrained=True)
    before, after = values(whole), values(network)
    heads = {key for key in after if key.startswith(registry.HEADS)}
    assert len(heads) == (4 if folder == "timm_deit_distilled" else 2)
    for key, array in after.items():
        assert len(array) == 3 if key in heads else np.array_equal(array, before[key])


def test_another_image_size_resizes_positions_and_other_numerics_are_refused(published):
    name, _ = published("google_vit")
    network = create_model(name, pretrained=True, image_size=48)
    resized = LIBRARIES["google_vit"].network(image_size=48)
    load_weights(resized, weights_file("google_vit"))
    assert np.array_equal(network.pos_embedding.asnumpy(), resized.pos_embedding.asnumpy())
    message = error_of(create_model, name, numerics="timm", pretrained=True)
    assert message.endswith("create_model(..., numerics='google')")
