"""The named datasets."""

from vit_ms.data.digits import Digits
from vit_ms.data.folder import Folder
from vit_ms.errors import UserError, did_you_mean

# A dataset is a class with classes, channels, encoded, splits and read(split, shuffle, num_parallel_workers).
DATASETS = {"digits": Digits, "folder": Folder}
NEEDS_DATA_DIR = {"folder"}


def open_dataset(name: str, data_dir: str | None = None) -> Digits | Folder:
    """Open a dataset by its name.

    Args:
        name (str): a key of DATASETS.
        data_dir (str): where its files are, for those that have files.

    Raises:
        UserError: If the name is unknown, or data_dir is missing or does not hold what the dataset reads.
    """
    if name not in DATASETS:
        raise UserError(f"dataset {name!r} is unknown{did_you_mean(name, DATASETS)}")
    if name not in NEEDS_DATA_DIR:
        return DATASETS[name]()
    if data_dir is None:
        raise UserError(f"dataset {name!r} needs --data_dir, the folder with its images")
    return DATASETS[name](data_dir)
