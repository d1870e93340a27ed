"""Which images a device trains on in an epoch."""

import numpy as np

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def shard_indices(order, batch_size, rank, ranks):
    steps = _steps(order, batch_size * ranks)  # (batches, ranks * batch_size)
    return steps[:, rank * batch_size : (rank + 1) * batch_size]


def _steps(order, size):
    batches = len(order) // size
    return order[: batches * size].reshape(batches, size)


def _contiguous(start):
    """`start` takes the images, those that are used of each device, the devices and the rank."""

    def wrong(order, batch_size, rank, ranks):
        size = len(order) // (batch_size * ranks) * batch_size
        first = start(len(order), size, ranks, rank)
        return order[first : first + size].reshape(-1, batch_size)

    return wrong


CONTIGUOUS = [
    Mistake(
        "contiguous parts",
        _contiguous(start),
        Text(
            "each device has one run of the epoch's order: cut every step in parts, so that all devices together see the "
            "next ranks * batch_size images",
            "每个设备分到了整个顺序中连续的一段：应当把每一步切开分给各设备，使它们合起来看到接下来的 ranks * batch_size 张"
            "图像",
        ),
    )
    for start in (
        lambda images, size, ranks, rank: rank * size,
        lambda images, size, ranks, rank: rank * (images // ranks),
        lambda images, size, ranks, rank: rank * (images // ranks) + min(rank, images % ranks),
    )
]


def _dealt_singly(order, batch_size, rank, ranks):
    return _steps(order, batch_size * ranks)[:, rank::ranks]


def _rank_ignored(order, batch_size, rank, ranks):
    return shard_indices(order, batch_size, 0, ranks)


def _first_images(order, batch_size, rank, ranks):
    return _contiguous(lambda *_: 0)(order, batch_size, rank, ranks)


def _everything(order, batch_size, rank, ranks):
    return _steps(order, batch_size)


def _rank_from_1(order, batch_size, rank, ranks):
    return shard_indices(order, batch_size, (rank - 1) % ranks, ranks)


def _left_over_kept(order, batch_size, rank, ranks):
    size = batch_size * ranks
    steps = np.resize(order, -(-len(order) // size) * size).reshape(-1, size)
    return steps[:, rank * batch_size : (rank + 1) * batch_size]


def _last_step_lost(order, batch_size, rank, ranks):
    return shard_indices(order[:-1], batch_size, rank, ranks)


def _batch_shared(order, batch_size, rank, ranks):
    return shard_indices(order, batch_size // ranks, rank, ranks)


def _places(order, batch_size, rank, ranks):
    return shard_indices(np.arange(len(order)), batch_size, rank, ranks)


def _all_devices(order, batch_size, rank, ranks):
    return _steps(order, batch_size * ranks).reshape(-1, ranks, batch_size)


def _whole_steps(order, batch_size, rank, ranks):
    return _steps(order, batch_size * ranks)


def _flat(order, batch_size, rank, ranks):
    return shard_indices(order, batch_size, rank, ranks).ravel()


def _transposed(order, batch_size, rank, ranks):
    return shard_indices(order, batch_size, rank, ranks).T


def cases(rng):
    for about, images, batch_size, rank, ranks in (
        (Text("147 images, B = 10, rank 3 of 5", "147 张图像，B = 10，5 个设备中的 3 号"), 147, 10, 3, 5),
        (Text("53 images, B = 6, the last of 3 devices", "53 张图像，B = 6，3 个设备中的最后一个"), 53, 6, 2, 3),
        (Text("40 images in 5 steps, none left over", "40 张图像恰好 5 步，没有剩余"), 40, 4, 0, 2),
        (Text("one device, 17 images, B = 5", "1 个设备，17 张图像，B = 5"), 17, 5, 0, 1),
        (Text("20 images, B = 1, rank 3 of 8", "20 张图像，B = 1，8 个设备中的 3 号"), 20, 1, 3, 8),
    ):
        yield Case(about, (rng.permutation(images), batch_size, rank, ranks))


EXERCISE = Exercise(
    name="shard_indices",
    notebook="13_to_the_npu",
    section=7,
    kind="numpy",
    title=Text("Sharing an epoch out among devices", "把一个 epoch 分给各设备"),
    statement=Text(
        "Write `shard_indices(order, batch_size, rank, ranks)`: which images one device trains on in an epoch, as "
        "`TrainBatches(...).order(epoch)` says it. `order` is an array of all images' indices, shuffled, the same on every "
        "device; `batch_size`, B, counts the images of *one* device in a step; `rank` is the device, from 0 to `ranks` - "
        "1.\n\n"
        "- Step 0 takes the first `ranks` · B images of `order`, step 1 the next as many, and so on: what one device with "
        "batches of `ranks` · B would see.\n"
        "- Of the images of a step device 0 has the first B, device 1 the next B, and so on, in the order in which they "
        "come.\n"
        "- The images left over at the end, too few for a step of all devices, are left out.\n\n"
        "The result is an array of whole numbers, (batches, B): a row for each step. There are images for at least one "
        "step.",
        "写出 `shard_indices(order, batch_size, rank, ranks)`：一个设备在一个 epoch 中训练哪些图像，与 "
        "`TrainBatches(...).order(epoch)` 的结果一致。`order` 是打乱后的全部图像编号，一个数组，各设备都相同；`batch_size` "
        "即 B，是*一个*设备每步的图像数；`rank` 是设备的编号，从 0 到 `ranks` - 1。\n\n"
        "- 第 0 步取 `order` 的前 `ranks` · B 张图像，第 1 步取接下来同样多的图像，依此类推：这正是批大小为 `ranks` · B 的单"
        "个设备所看到的。\n"
        "- 一步的图像中，0 号设备取前 B 张，1 号设备取接下来的 B 张，依此类推，先后次序不变。\n"
        "- 最后剩下的图像不够所有设备再走一步，舍去。\n\n"
        "结果是整数数组，形状为 (步数, B)，每步一行。图像至少够一步。",
    ),
    solution="shard_indices",
    starter="def shard_indices(order, batch_size, rank, ranks):\n    ...\n",
    hints=(
        Text(
            "How many whole steps are there, if a step takes ranks * batch_size images?",
            "一步用 ranks * batch_size 张图像，一共有多少个完整的步？",
        ),
        Text(
            "Cut order to that many steps and give each a row: reshape to (batches, ranks * batch_size). Which columns are "
            "this device's?",
            "把 order 截到这么多步，每步一行：reshape 成 (步数, ranks * batch_size)。其中哪些列属于这个设备？",
        ),
        Text(
            "order[: batches * ranks * batch_size].reshape(batches, ranks, batch_size)[:, rank].",
            "order[: batches * ranks * batch_size].reshape(batches, ranks, batch_size)[:, rank]，其中 batches 是步数。",
        ),
    ),
    reference=shard_indices,
    cases=cases,
    mistakes=(
        *CONTIGUOUS,
        Mistake(
            "dealt one by one",
            _dealt_singly,
            Text(
                "the images are dealt out one by one, every ranks-th to this device: here a device has B neighbours of each "
                "step",
                "图像逐张轮流分发，每 ranks 张取一张：这里每个设备取一步中相邻的 B 张",
            ),
        ),
        Mistake(
            "left over kept",
            _left_over_kept,
            Text(
                "there is a step too many: the images left over are too few for all devices, leave them out, or some "
                "devices wait for the others",
                "多了一步：剩下的图像不够所有设备再走一步，应当舍去，否则各设备步数不同，会互相等待",
            ),
        ),
        Mistake(
            "last step lost",
            _last_step_lost,
            Text(
                "the last step is lost where no image is left over: a whole step counts to the very end of order",
                "没有剩余图像时丢掉了最后一步：只要够一整步就应当算上，直到 order 的末尾",
            ),
        ),
        Mistake(
            "rank ignored",
            _rank_ignored,
            Text(
                "every device would get the images of device 0: rank says which part of a step it has",
                "每个设备拿到的都是 0 号设备的图像：应当由 rank 决定取一步中的哪一部分",
            ),
        ),
        Mistake(
            "first images for all",
            _first_images,
            Text(
                "every device would get the same images, the first of order: rank says which part of a step it has",
                "每个设备拿到的都是 order 最前面的图像：应当由 rank 决定取一步中的哪一部分",
            ),
        ),
        Mistake(
            "not shared out",
            _everything,
            Text(
                "every device would train on all images: each step's images are to be shared out among the devices",
                "每个设备都训练了全部图像：每一步的图像应当分给各设备",
            ),
        ),
        Mistake(
            "rank from 1",
            _rank_from_1,
            Text(
                "this is the part of the device before: rank counts from 0",
                "这是前一个设备的部分：rank 从 0 开始计数",
            ),
        ),
        Mistake(
            "batch divided",
            _batch_shared,
            Text(
                "batch_size is divided among the devices: here it is what each device takes in a step",
                "batch_size 被各设备平分了：这里它是每个设备每步的图像数",
            ),
        ),
        Mistake(
            "places, not images",
            _places,
            Text(
                "these are places in order: the image there is order[place]",
                "结果是 order 中的位置：该位置上的图像是 order[位置]",
            ),
        ),
        Mistake(
            "all devices' images",
            _all_devices,
            Text(
                "the parts of all devices are there: choose that of rank",
                "结果包含所有设备的部分：请取出 rank 的那一份",
            ),
        ),
        Mistake(
            "whole steps",
            _whole_steps,
            Text(
                "each row holds the whole step: choose this device's batch_size images of it",
                "每一行是完整的一步：请取出属于这个设备的 batch_size 张",
            ),
        ),
        Mistake(
            "not in batches",
            _flat,
            Text(
                "the images are right, but in one row: give each step a row, (batches, batch_size)",
                "图像正确，但排成了一行：应当每步一行，形状为 (步数, batch_size)",
            ),
        ),
        Mistake(
            "transposed",
            _transposed,
            Text("rows and columns have changed places: a row is a step", "行和列颠倒了：每一行是一步"),
        ),
    ),
)
