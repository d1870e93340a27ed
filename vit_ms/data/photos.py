"""Oxford-IIIT Pets and Oxford Flowers-102, as their own annotation files split them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vit_ms.data.published import Artefact, as_published, hold_out, obtain
from vit_ms.data.sources import Files
from vit_ms.errors import UserError

# The annotation files number the flowers; these names in the order of their numbers are those of TensorFlow Datasets and
# torchvision.
FLOWERS = """
pink primrose, hard-leaved pocket orchid, canterbury bells, sweet pea, english marigold, tiger lily, moon orchid, bird
of paradise, monkshood, globe thistle, snapdragon, colt's foot, king protea, spear thistle, yellow iris, globe-flower,
purple coneflower, peruvian lily, balloon flower, giant white arum lily, fire lily, pincushion flower, fritillary, red
ginger, grape hyacinth, corn poppy, prince of wales feathers, stemless gentian, artichoke, sweet william, carnation,
garden phlox, love in the mist, mexican aster, alpine sea holly, ruby-lipped cattleya, cape flower, great masterwort,
siam tulip, lenten rose, barbeton daisy, daffodil, sword lily, poinsettia, bolero deep blue, wallflower, marigold,
buttercup, oxeye daisy, common dandelion, petunia, wild pansy, primula, sunflower, pelargonium, bishop of llandaff,
gaura, geranium, orange dahlia, pink-yellow dahlia, cautleya spicata, japanese anemone, black-eyed susan, silverbush,
californian poppy, osteospermum, spring crocus, bearded iris, windflower, tree poppy, gazania, azalea, water lily,
rose, thorn apple, morning glory, passion flower, lotus, toad lily, anthurium, frangipani, clematis, hibiscus,
columbine, desert-rose, tree mallow, magnolia, cyclamen, watercress, canna lily, hippeastrum, bee balm, ball moss,
foxglove, bougainvillea, camellia, mallow, mexican petunia, bromelia, blanket flower, trumpet creeper, blackberry lily
"""


class OxfordPets(Files):
    """7,349 photographs of cats and dogs in 37 breeds.

    `test` is the published test.txt, 3,669 images. Of the 3,680 in the published trainval.txt, `val` is every 10th of each
    breed and `train` the others: the share that the paper's code base (big_vision) holds out to choose with.

    Args:
        data_dir (str or Path): holds the published archives or their folders images and annotations; None: fetched, 811 MB.

    Raises:
        UserError: If there are no files, or they are not what is published.

    Reference:
        Parkhi et al. 2012, Cats and Dogs, CVPR.
    """

    artefacts = (
        Artefact("https://thor.robots.ox.ac.uk/~vgg/data/pets/images.tar.gz", 792, "5c4f3ee8e5d25df40f4fd59a7f44e54c"),
        Artefact(
            "https://thor.robots.ox.ac.uk/~vgg/data/pets/annotations.tar.gz", 19, "95a8c909bbe2e81eed6a22bccdf3f68f"
        ),
    )

    def __init__(self, data_dir: str | Path | None = None):
        lists = {split: f"annotations/{split}.txt" for split in ("trainval", "test")}
        folder = obtain("oxford_pets", self.artefacts, ["images", *lists.values()], data_dir)
        names: dict[int, str] = {}
        files, labels = {}, {}
        for split, path in lists.items():
            stems, numbers = _pets_list(folder / path)
            names.update({number: stem.rpartition("_")[0] for stem, number in zip(stems, numbers, strict=True)})
            files[split] = [folder / "images" / f"{stem}.jpg" for stem in stems]
            labels[split] = [number - 1 for number in numbers]
        if sorted(names) != list(range(1, len(names) + 1)):
            raise UserError(
                f"{folder / 'annotations'} has classes {sorted(names)} and not all from 1 on: fetch it again"
            )
        parts = dict(zip(("train", "val"), hold_out(labels["trainval"], 10), strict=True))
        super().__init__(
            {split: [files["trainval"][index] for index in part] for split, part in parts.items()}
            | {"test": files["test"]},
            {split: [labels["trainval"][index] for index in part] for split, part in parts.items()}
            | {"test": labels["test"]},
            [names[number].replace("_", " ") for number in sorted(names)],
        )


def _pets_list(path: Path) -> tuple[list[str], list[int]]:
    """Image names and class numbers, from 1, of lines like `Abyssinian_100 1 1 1`."""
    stems, numbers = [], []
    for count, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        stem, *fields = line.split()
        if not fields or not fields[0].isdecimal() or "_" not in stem or Path(stem).name != stem:
            raise UserError(f"{path}:{count} is not like 'Abyssinian_100 1 1 1': fetch it again")
        stems.append(stem)
        numbers.append(int(fields[0]))
    return stems, numbers


class Flowers102(Files):
    """8,189 photographs of flowers in 102 classes.

    The published split of setid.mat: `train` is its trnid and `val` its valid, 10 images a class each, `test` its tstid, the
    other 6,149.

    Args:
        data_dir (str or Path): holds imagelabels.mat, setid.mat and 102flowers.tgz or its folder jpg; None: fetched, 345 MB.

    Raises:
        UserError: If there are no files, or they are not what is published.

    Reference:
        Nilsback & Zisserman 2008, Automated Flower Classification over a Large Number of Classes, ICVGIP.
    """

    artefacts = (
        Artefact(
            "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/102flowers.tgz", 345, "52808999861908f626f3c1f4e79d11fa"
        ),
        Artefact(
            "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/imagelabels.mat", 0, "e0620be6f572b9609742df49c70aed4d"
        ),
        Artefact("https://www.robots.ox.ac.uk/~vgg/data/flowers/102/setid.mat", 0, "a5357ecc9cb78c4bef273ce3793fc85c"),
    )

    def __init__(self, data_dir: str | Path | None = None):
        folder = obtain("flowers102", self.artefacts, ["jpg", "imagelabels.mat", "setid.mat"], data_dir)
        classes = [name.strip() for name in FLOWERS.split(",")]
        (labels,) = _integers(folder / "imagelabels.mat", ["labels"])
        numbers = _integers(folder / "setid.mat", ["trnid", "valid", "tstid"])
        numbers = dict(zip(("train", "val", "test"), numbers, strict=True))
        if labels.min() < 1 or labels.max() > len(classes):
            raise UserError(f"{folder / 'imagelabels.mat'} has labels beyond 1 to {len(classes)}: fetch it again")
        for split, chosen in numbers.items():
            if chosen.min() < 1 or chosen.max() > len(labels):
                raise UserError(
                    f"{folder / 'setid.mat'} has in {split} images beyond 1 to {len(labels)}: fetch it again"
                )
        super().__init__(
            {
                split: [folder / "jpg" / f"image_{number:05d}.jpg" for number in chosen]
                for split, chosen in numbers.items()
            },
            {split: (labels[chosen - 1] - 1).tolist() for split, chosen in numbers.items()},
            classes,
        )


def _integers(path: Path, keys: Sequence[str]) -> list[np.ndarray]:
    from scipy.io import loadmat  # takes half a second to import

    with as_published(path):
        content = loadmat(path)
        return [content[key].ravel().astype(np.int64) for key in keys]
