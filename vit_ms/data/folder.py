"""Any images in the ImageNet layout: train/<class>/*.jpg and val/<class>/*.jpg."""

from pathlib import Path

import mindspore.dataset as ds

from vit_ms.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp")


class Folder:
    """Images in folders named after their classes, the classes in the order of their names.

    Args:
        data_dir (str or Path): holds `train/` and `val/`, and maybe `test/`, each with one folder a class. The classes are
            those of `train/`, or of `val/` where there is no `train/`.

    Raises:
        UserError: If there is no such folder, no class in it, or a class that the first split does not have.
    """

    channels = 3
    encoded = True

    def __init__(self, data_dir: str | Path):
        self.data_dir = Path(data_dir)
        layout = "vit_ms reads <data_dir>/train/<class>/*.jpg and <data_dir>/val/<class>/*.jpg"
        if not self.data_dir.is_dir():
            raise UserError(f"data_dir {self.data_dir} is not a folder; {layout}")
        self.splits = tuple(name for name in ("train", "val", "test") if (self.data_dir / name).is_dir())
        if not self.splits:
            raise UserError(f"data_dir {self.data_dir} has no folder train or val; {layout}")
        self.classes = self._class_folders(self.splits[0])
        if not self.classes:
            raise UserError(f"{self.data_dir / self.splits[0]} has no class folders; {layout}")
        for split in self.splits[1:]:
            strange = sorted(set(self._class_folders(split)) - set(self.classes))
            if strange:
                raise UserError(
                    f"{self.data_dir / split} has classes that {self.splits[0]} has not: {', '.join(strange[:5])}"
                )

    def _class_folders(self, split: str) -> tuple[str, ...]:
        return tuple(sorted(p.name for p in (self.data_dir / split).iterdir() if p.is_dir() and p.name[0] != "."))

    def read(self, split: str, shuffle: bool, num_parallel_workers: int) -> ds.Dataset:
        """The images of one split one by one, columns `image` (the file's bytes) and `label` int32."""
        folder = self.data_dir / split
        # MindSpore compares extensions by case and passes over those it is not told.
        extensions = sorted({path.suffix for path in folder.glob("*/*") if path.suffix.lower() in EXTENSIONS})
        if not extensions:
            raise UserError(f"{folder} has no images: put {', '.join(EXTENSIONS)} files into {folder}/<class>/")
        return ds.ImageFolderDataset(
            str(folder),
            shuffle=shuffle,
            extensions=extensions,
            class_indexing={name: index for index, name in enumerate(self.classes)},
            num_parallel_workers=num_parallel_workers,
        )
