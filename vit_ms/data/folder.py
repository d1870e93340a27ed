"""Any images in the ImageNet layout: train/<class>/*.jpg and val/<class>/*.jpg."""

from pathlib import Path

from vit_ms.data.checking import image_files
from vit_ms.data.sources import Files
from vit_ms.errors import UserError
from vit_ms.image_files import EXTENSIONS


class Folder(Files):
    """Images in folders named after their classes, the classes in the order of their names.

    Args:
        data_dir (str or Path): holds `train/` and `val/`, and maybe `test/`, each with one folder a class. The classes are
            those of `train/`, or of `val/` where there is no `train/`.

    Raises:
        UserError: If there is no such folder, no class in it, a class that the first split does not have, or no image
            that can be read.
    """

    def __init__(self, data_dir: str | Path):
        self.data_dir = Path(data_dir)
        layout = "vit_ms reads <data_dir>/train/<class>/*.jpg and <data_dir>/val/<class>/*.jpg"
        if not self.data_dir.is_dir():
            raise UserError(f"data_dir {self.data_dir} is not a folder; {layout}")
        splits = [name for name in ("train", "val", "test") if (self.data_dir / name).is_dir()]
        if not splits:
            raise UserError(f"data_dir {self.data_dir} has no folder train or val; {layout}")
        classes = _class_folders(self.data_dir / splits[0])
        if not classes:
            raise UserError(f"{self.data_dir / splits[0]} has no class folders; {layout}")
        files, labels = {}, {}
        for split in splits:
            folder = self.data_dir / split
            strange = sorted(set(_class_folders(folder)) - set(classes))
            if strange:
                raise UserError(f"{folder} has classes that {splits[0]} has not: {', '.join(strange[:5])}")
            of_class = [image_files(folder / name) for name in classes]
            files[split] = [file for found in of_class for file in found]
            labels[split] = [label for label, found in enumerate(of_class) for _ in found]
            if not files[split]:
                raise UserError(f"{folder} has no images: put {', '.join(EXTENSIONS)} files into {folder}/<class>/")
        super().__init__(files, labels, classes)


def _class_folders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
