# %% [markdown] lang="en"
# # Data: from files to batches
#
# A network never sees a photograph. It sees an array of numbers that a pipeline has made of it: read, decoded, cut,
# scaled, changed at random, normalised, put into batches. Every one of these steps can be wrong without any error
# message; the accuracy is just lower. In this notebook you build a small folder of images, break two of them, look at
# each step on a photograph, and measure whether the pipeline or the network is what you wait for.
#
# | | |
# |---|---|
# | Time | about one minute of computing on a CPU with two cores, 15 to 20 minutes of reading |
# | You need | Python and NumPy; [notebook 1](01_five_minutes_to_vit.ipynb) for the training step; no download |
# | Papers | Cubuk et al. 2020, *RandAugment*, [arXiv 1909.13719](https://arxiv.org/abs/1909.13719); more in the text |

# %% [markdown] lang="zh"
# # 数据：从文件到批次
#
# 网络看到的从来不是照片，而是数据流水线加工出来的数组：读取、解码、裁剪、缩放、随机变换、归一化、组成批次。其中任何一
# 步出错都不会报错，只会让准确率变低。本节建一个小型图像文件夹，故意弄坏两个文件，在一张照片上逐个观察每一步变换，最后
# 实测：训练时等的究竟是数据流水线，还是网络本身。
#
# | | |
# |---|---|
# | 用时 | 双核 CPU 上计算约一分钟，阅读 15 到 20 分钟 |
# | 基础 | 会用 Python 和 NumPy；训练步的写法见 [第 1 课](01_five_minutes_to_vit.ipynb)；不需要下载任何数据 |
# | 论文 | Cubuk 等 2020，*RandAugment*，[arXiv 1909.13719](https://arxiv.org/abs/1909.13719)；其余见正文 |

# %% [markdown] lang="en"
# ## 1. Set up
#
# The data pipeline built here runs on the host's processor whichever device computes the network, so nothing in this
# notebook changes on Ascend.

# %% [markdown] lang="zh"
# ## 1. 准备环境
#
# 无论网络在哪种设备上计算，这里的数据流水线都在主机的 CPU 上运行，所以本节的代码在昇腾上无须改动。

# %%
import vit_ms  # before mindspore
import contextlib
import io
import shutil
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from mindspore.dataset import vision
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_image

from vit_ms import create_model, runtime
from vit_ms.data.batches import TrainBatches, eval_batches
from vit_ms.data.catalog import open_dataset
from vit_ms.data.checking import check_data
from vit_ms.data.mindrecord import prepare
from vit_ms.data.sources import Arrays
from vit_ms.data.transforms import Augmentation, Preprocessing
from vit_ms.engine import TrainStep
from vit_ms.losses import CrossEntropySmooth
from vit_ms.optim import create_optimizer
from vit_ms.pretrained import inputs
from vit_ms.visualize import BLUE, GREEN, GREY, ORANGE, both, show

runtime.setup(device_target="auto", mode="graph", seed=0)
folder = Path("runs/05_data")  # everything is written here
shutil.rmtree(folder, ignore_errors=True)


def thumbnail(image, divisor=1):
    """Smaller and with 16 levels a channel: photographs would make the file of this notebook large."""
    small = Image.fromarray(image).resize((image.shape[1] // divisor, image.shape[0] // divisor))
    return np.asarray(small) // 16 * 16 + 8


def draw_row(row, images, name=""):
    """One thumbnail in each of the axes."""
    for axes, image in zip(row, images, strict=True):
        axes.imshow(thumbnail(image), interpolation="nearest")
        axes.set(xticks=[], yticks=[])
    row[0].set_ylabel(name, fontsize=10)


vit_ms.doctor()

# %% [markdown] lang="en"
# ## 2. A folder in the ImageNet layout
#
# ImageNet and most sets of photographs come as `<split>/<class>/<file>.jpg`. The folder is the label: the classes are
# the folders of `train` in alphabetical order, numbered from 0. The cell below makes such a set of four classes:
# parts of scikit-learn's two photographs (both CC BY 2.0, by vultilion and danielbuechele on Flickr), and circles and
# triangles.
#
# Training parts come from the left of each photograph, validation parts from the right. If both came from everywhere,
# they would overlap, and a network that only remembers pixels would look perfect. In a real set this means: two
# pictures of the same scene, patient or burst belong in the same split.

# %% [markdown] lang="zh"
# ## 2. ImageNet 式的文件夹
#
# ImageNet 和大多数照片数据集都按 `<划分>/<类别>/<文件>.jpg` 存放，文件夹名就是标签：把 `train` 下的文件夹按字母顺序排
# 列，从 0 开始编号，就是类别序号。下面建一个四类的小数据集：scikit-learn 自带两张照片的局部（均以 CC BY 2.0 许可发布，
# 作者为 Flickr 用户 vultilion 和 danielbuechele），以及画出来的圆和三角形。
#
# 训练图像取自照片左侧，验证图像取自右侧。如果两者都从整张照片里随机截取，就会互相重叠，一个只会死记像素的网络也能得满
# 分。对真实数据来说，这意味着：同一场景、同一病人、同一组连拍的图像，必须放在同一个划分里。

# %%
photographs = {"flower": load_sample_image("flower.jpg"), "temple": load_sample_image("china.jpg")}  # (427, 640, 3)
columns = {"train": slice(0, 400), "val": slice(400, 640)}  # no pixel is in both
counts = {"train": 61, "val": 11}  # images of each class
rng = np.random.default_rng(0)


def photo_part(photograph):
    """A random part of a photograph, at twice its size."""
    height, width = rng.integers(150, 214), rng.integers(200, 241)
    y, x = rng.integers(photograph.shape[0] - height + 1), rng.integers(photograph.shape[1] - width + 1)
    return Image.fromarray(photograph[y : y + height, x : x + width]).resize((2 * width, 2 * height))


def drawn_shape(sides):
    """A light regular polygon on a dark ground."""
    width, height, radius = rng.integers((400, 300, 60), (481, 427, 140)).tolist()
    image = Image.new("RGB", (width, height), tuple(rng.integers(0, 100, 3).tolist()))
    x, y = rng.integers(radius, (width - radius, height - radius)).tolist()
    fill = tuple(rng.integers(120, 256, 3).tolist())
    ImageDraw.Draw(image).regular_polygon((x, y, radius), sides, int(rng.integers(360)), fill)
    return image


for split, count in counts.items():
    for number in range(count):
        made = {name: photo_part(image[:, columns[split]]) for name, image in photographs.items()}
        made |= {"circle": drawn_shape(90), "triangle": drawn_shape(3)}
        for name, image in made.items():
            path = folder / "photos" / split / name / f"{number:03}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path, quality=90)

photos = open_dataset("folder", folder / "photos")
print(f"classes {photos.classes}")
print(f"train {photos.size('train')} images, val {photos.size('val')} images")
print(f"image 100 of train: {photos.describe('train', 100)}, label {photos.labels['train'][100]}")

# %%
chosen = [np.flatnonzero(np.array(photos.labels["train"]) == label)[n] for label in range(4) for n in (3, 6)]
pictures = [np.asarray(Image.open(photos.files["train"][index])) for index in chosen]
names = [photos.classes[photos.labels["train"][index]] for index in chosen]
figure, row = plt.subplots(1, 8, figsize=(8, 1.4), layout="constrained")
draw_row(row, [thumbnail(image, 10) for image in pictures])
for axes, name in zip(row, names, strict=True):
    axes.set_title(name, fontsize=10)
show(
    figure,
    "Two images of each class: circles, parts of a flower, parts of a temple, triangles; their sizes differ.",
    "每类两张图像：圆、花的局部、寺庙的局部、三角形；尺寸各不相同。",
)

# %% [markdown] lang="en"
# ## 3. Broken images
#
# In every large collection some files are cut off, empty, or not images at all. This is worse than it sounds: for some
# truncated JPEGs MindSpore's decoder divides by zero and **ends the process** (SIGFPE); there is no exception that
# Python could catch, and a training of days ends there. So vit_ms decodes every file once with Pillow before anything
# is trained, leaves out what is not sound, and names it. The verdicts are remembered: a file that has not changed is
# not opened again the next time.
#
# The cell cuts one file in half, names a text `.jpg`, and opens the folder again.

# %% [markdown] lang="zh"
# ## 3. 损坏的图像
#
# 数据集一大，总会有被截断的、空的、甚至根本不是图像的文件。这比听上去更严重：遇到某些截断的 JPEG，MindSpore 的解码器会
# 除以零，**整个进程直接终止**（SIGFPE），Python 捕获不到任何异常，跑了几天的训练就此中断。因此 vit_ms 在训练之前先用
# Pillow 把每个文件解码一遍，剔除有问题的文件并逐一列出。检查结果会保存下来，没有变动的文件下次不再打开。
#
# 下面把一个文件截成一半，再把一段文本命名为 `.jpg`，然后重新打开这个文件夹。

# %%
flowers = folder / "photos/train/flower"
whole = (flowers / "000.jpg").read_bytes()
(flowers / "cut_off.jpg").write_bytes(whole[: len(whole) // 2])
(flowers / "not_an_image.jpg").write_text("I am a text.\n")

photos = open_dataset("folder", folder / "photos")
print(f"train {photos.size('train')} images, left out:")
for line in photos.left_out:
    print(f"  {line}")
print()
listed = check_data(folder / "photos", output=folder / "broken.tsv")  # python -m vit_ms check-data --data_dir ...

# %% [markdown] lang="en"
# The rules are in [checking.py](../../vit_ms/data/checking.py), the other data sets in
# [docs/datasets.md](../../docs/datasets.md). One of them is the **ImageNet subset of the official course**: photographs
# under ImageNet's 1,000 classes. The labels are places in the list of all 1,000, which is what published ImageNet
# weights predict. The cell is commented out: it needs a network, fetches 513 MB once (about as much again is unpacked
# beside it), takes some minutes, and the photographs are for research under image-net.org's terms. Without a network,
# put the zip into a folder and give the folder's path as the second argument.

# %% [markdown] lang="zh"
# 检查规则见 [checking.py](../../vit_ms/data/checking.py)，其他数据集见 [docs/datasets.md](../../docs/datasets.md)。其
# 中之一是**官方课程使用的 ImageNet 子集**：采用 ImageNet 1000 类的照片，标签是在全部 1000 类中的序号，与公开发布的
# ImageNet 权重的输出一致。下面的代码默认注释掉了：它需要联网，首次下载 513 MB（解压后还要占用差不多的空间），耗时数分
# 钟；照片仅限研究用途，须遵守 image-net.org 的条款。没有网络时，把 zip 放进一个文件夹，再把文件夹路径作为第二个参数传
# 入即可。

# %%
# subset = open_dataset("imagenet_subset")  # or open_dataset("imagenet_subset", "folder_with_the_zip")
# for split in subset.splits:
#     print(f"{split:5} {subset.size(split):,} images, {len(set(subset.labels[split])):,} classes with images")

# %% [markdown] lang="en"
# ## 4. What evaluation sees: resize, centre crop, normalise
#
# The network takes $S \times S$ pixels ($S = 224$), photographs have any size. Evaluation resizes the image so that its
# **shorter side** becomes $\text{round}(S / p)$ pixels, keeping the proportions, and cuts the $S \times S$ square out
# of the middle. $p$ is `crop_pct`; with the customary $p = 0.875$ the shorter side becomes 256. Then every value $v$
# from 0 to 255 in channel $c$ becomes
#
# $$x = \frac{v / 255 - \mu_c}{\sigma_c} \tag{1}$$
#
# and the channel moves to the front. The cell does it with MindSpore's operations and NumPy and compares with
# `Preprocessing`. (A trap: MindSpore's `Normalize` takes mean and standard deviation on the scale of its input, 0 to
# 255 for a decoded image; `Preprocessing` takes them from 0 to 1.)

# %% [markdown] lang="zh"
# ## 4. 评估时的预处理：缩放、中心裁剪、归一化
#
# 网络的输入是 $S \times S$ 像素（$S = 224$），而照片大小不一。评估时先保持长宽比缩放图像，使**短边**等于
# $\text{round}(S / p)$ 像素，再从中央裁出 $S \times S$ 的正方形。$p$ 就是 `crop_pct`；取常用的 $p = 0.875$ 时，短边缩
# 放到 256。然后把通道 $c$ 中每个 0 到 255 的像素值 $v$ 变为
#
# $$x = \frac{v / 255 - \mu_c}{\sigma_c} \tag{1}$$
#
# 最后把通道维移到最前面。下面用 MindSpore 的变换和 NumPy 手工完成，再与 `Preprocessing` 对照。（一个陷阱：MindSpore 的
# `Normalize` 要求均值和标准差与输入同一尺度，对解码后的图像就是 0 到 255；`Preprocessing` 则用 0 到 1。）

# %%
mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # ImageNet's: red, green, blue
preprocessing = Preprocessing(image_size=224, channels=3, mean=mean, std=std, interpolation="bilinear", crop_pct=0.875)
photograph = photographs["temple"]  # (427, 640, 3) uint8

resized = vision.Resize(256, vision.Inter.BILINEAR)(photograph)  # (256, 383, 3): one number is the shorter side
cropped = vision.CenterCrop(224)(resized)  # (224, 224, 3)
x = ((cropped / 255 - np.array(mean)) / np.array(std)).transpose(2, 0, 1)  # (3, 224, 224), equation 1

prepared = preprocessing.prepare(photograph)
for name, array in {"decoded": photograph, "resized": resized, "cropped": cropped, "prepared": prepared}.items():
    print(f"{name:8} {array.shape!s:15} {array.dtype}, from {array.min():.2f} to {array.max():.2f}")
print(f"by hand the same: {np.allclose(x, prepared, atol=1e-5)}")
print(f"the crop keeps {224 * 224 / resized[..., 0].size:.0%} of the photograph")

# %% [markdown] lang="en"
# The alternative is `eval_crop="squash"`: the whole image is forced into the square. Nothing is cut off, but
# proportions change; the circle below becomes an ellipse. Neither is wrong in itself (Google's original code for ViT
# squashes), but a network is only as good as measured if it is fed as it was when it was measured.

# %% [markdown] lang="zh"
# 另一种做法是 `eval_crop="squash"`：把整张图像直接压成正方形。什么都没有裁掉，但长宽比变了，下图的圆成了椭圆。两种做法
# 本身都不算错（Google 最初的 ViT 代码就是直接压缩），但评估时怎样给网络送图像，使用时也必须怎样送，测得的准确率才算数。

# %%
circle = Image.new("RGB", (640, 427), "#203050")
ImageDraw.Draw(circle).ellipse((180, 74, 460, 354), fill="#E0C060")
squash = Preprocessing(224, 3, mean, std, eval_crop="squash")
figure, grid = plt.subplots(2, 3, figsize=(5.6, 3.4), layout="constrained", width_ratios=(3, 2, 2))
for row, original in zip(grid, (photograph, np.asarray(circle)), strict=True):
    views = [preprocessing.restore(way.prepare(original)[None])[0] for way in (preprocessing, squash)]
    draw_row(row, [thumbnail(original, 5), *(thumbnail(view, 3) for view in views)])
    side = 427 * 0.875 / 5  # of the crop, in pixels of the thumbnail
    corner = ((128 - side) / 2, (85 - side) / 2)
    row[0].add_patch(plt.Rectangle(corner, side, side, fill=False, color=ORANGE, linewidth=3))
titles = (both("image", "原图"), both("center", "中心裁剪"), both("squash", "直接压缩"))
for axes, title in zip(grid[0], titles, strict=True):
    axes.set_title(title, fontsize=10)
show(
    figure,
    "A photograph and a drawn circle, each cropped in the middle and squashed; squashing makes the circle an ellipse.",
    "一张照片和一个圆，分别做中心裁剪和直接压缩；压缩后圆变成椭圆。",
)

# %% [markdown] lang="en"
# > **Often told wrong.** The ViT notebook of the official MindSpore course validates with resize and centre crop, but
# > its inference squashes the image to 224 × 224. The accuracy measured above it then says nothing about the answers
# > below it. The difference is one pair of brackets: `Resize(256)` is the shorter side, `Resize((224, 224))` is a new
# > shape. In vit_ms one `Preprocessing` serves training, validation and prediction, and `run.json` keeps it beside
# > the weights.
#
# ## 5. The normalisation belongs to the weights
#
# Which $\mu$ and $\sigma$ in equation 1? Those that the weights were trained with, nothing else. They need not be the
# statistics of *your* images. The table says what some published weights expect; the numbers differ even between
# publishers of the same architecture ($p$ too).

# %% [markdown] lang="zh"
# > **常见误区。** MindSpore 官方课程的 ViT 教程验证时先缩放再做中心裁剪，推理时却把图像直接压成 224 × 224。这样一来，
# > 前面测得的准确率就说明不了后面的推理结果。两者的差别只是一对括号：`Resize(256)` 指定短边，`Resize((224, 224))` 指定
# > 新的形状。在 vit_ms 中，训练、验证和推理共用同一个 `Preprocessing`，并由 `run.json` 与权重一起保存。
#
# ## 5. 归一化参数属于权重
#
# 公式（1）中的 $\mu$ 和 $\sigma$ 该取什么？取训练这份权重时用的值，仅此而已，不必是*你的*图像的统计量。下表列出几种公
# 开权重的要求：同一种结构，发布者不同，数值（包括 $p$）也可能不同。

# %%
print(f"{'model':12} {'weights of':10} {'mean':23} {'std':23} {'p':5}  crop")
for model, source in (
    ("vit_b_16", "google"),
    ("vit_b_16", "timm"),
    ("vit_b_16", "course"),
    ("deit_s_16", "timm"),
    ("swin_t", "timm"),
    ("swin_t", "mindcv"),
    ("convnext_t", "timm"),
):
    row = inputs(model, source)
    print(f"{model:12} {source:10} {row['mean']!s:23} {row['std']!s:23} {row['crop_pct']:<5}  {row['eval_crop']}")

# %% [markdown] lang="en"
# What does a mistake do? Normalise with the wrong $\mu$ and $\sigma$, then solve equation 1 for $v$ with those of the
# weights: the pictures below are what the network effectively sees. $\sigma = 0.229$ in place of $0.5$ multiplies the
# contrast by $0.5 / 0.229 \approx 2.2$. The picture clips at black and white; the network gets values it has never met.
# Most answers may still be right, so nothing but a lower accuracy gives this mistake away.

# %% [markdown] lang="zh"
# 用错了会怎样？先用错误的 $\mu$ 和 $\sigma$ 归一化，再用权重所要求的值从公式（1）反解 $v$，得到的下图就是网络实际“看到”
# 的图像。本该是 $0.5$ 却用了 $\sigma = 0.229$，对比度就放大约 $0.5 / 0.229 \approx 2.2$ 倍；图中超出范围的部分被截成纯
# 黑或纯白，网络得到的则是它从未见过的数值。多数图像也许仍能答对，唯一的迹象就是准确率偏低，所以这种错误很难察觉。

# %%
imagenet = Preprocessing(64, 3, mean, std)
half = Preprocessing(64, 3, [0.5] * 3, [0.5] * 3)
views = [
    half.restore(imagenet.prepare(photograph)[None])[0],
    imagenet.restore(imagenet.prepare(photograph)[None])[0],
    imagenet.restore(half.prepare(photograph)[None])[0],
]
titles = (both("too harsh", "对比过强"), both("right", "正确"), both("too pale", "发灰"))
figure, row = plt.subplots(1, 3, figsize=(6, 2.3), layout="constrained")
draw_row(row, views)
for axes, title in zip(row, titles, strict=True):
    axes.set_title(title, fontsize=10)
show(
    figure,
    "The temple with harsh contrast, as it should be, and pale, as the network sees it with three normalisations.",
    "三种归一化下网络看到的寺庙：对比过强、正常、发灰。",
)

# %% [markdown] lang="en"
# ## 6. What training sees: a different view every time
#
# Augmentation states what must not change the answer: a flower further left, mirrored, or in other light is the same
# flower. Each line of the picture is one operation, drawn five times:
#
# - **random resized crop**: a random part with 8 % to 100 % of the area and an aspect ratio between 3:4 and 4:3,
#   resized to the network's size (Szegedy et al. 2015, section 6);
# - **flip**: half of the images are mirrored. Right for photographs, wrong for digits and letters;
# - **RandAugment**: $n$ operations drawn from a list (rotate, shift, shear, posterise, colour, contrast …), all at one
#   strength $m$; here $n = 2$ and $m = 9$ of 10, and each happens with a chance of 1/2, as in timm (Cubuk et al. 2020);
# - **random erasing**: a random rectangle becomes noise (Zhong et al. 2020,
#   [arXiv 1708.04896](https://arxiv.org/abs/1708.04896)). It is done after normalising, hence the bright colours.
#
# A warning: where MindSpore 2.10's own `vision.RandAugment` draws a shift, the whole image leaves the frame, and what
# is left is a grey area with a label. No message says so; it came to light when somebody looked at what the pipeline
# put out. `vit_ms` therefore puts RandAugment together from single operations.

# %% [markdown] lang="zh"
# ## 6. 训练时的变换：每次都不一样
#
# 数据增强表达的是“什么变化不应改变答案”：花偏左一点、左右翻转、换一种光线，仍是同一朵花。图中每行是一种变换，各随机五
# 次：
#
# - **随机裁剪缩放**（random resized crop）：随机取面积占 8% 到 100%、宽高比在 3:4 到 4:3 之间的一块，缩放到网络的输入
#   尺寸（Szegedy 等 2015，第 6 节）；
# - **翻转**：一半的图像左右镜像。适合照片，不适合数字和文字；
# - **RandAugment**：从一组变换（旋转、平移、错切、色调分离、颜色、对比度……）中随机抽取 $n$ 个，强度统一为 $m$；这里
#   $n = 2$，$m = 9$（满分 10），并与 timm 一样各以 1/2 的概率执行（Cubuk 等 2020）；
# - **随机擦除**（random erasing）：把一个随机矩形填成噪声（Zhong 等 2020，
#   [arXiv 1708.04896](https://arxiv.org/abs/1708.04896)）。它在归一化之后进行，所以颜色鲜艳。
#
# 提醒一点：MindSpore 2.10 自带的 `vision.RandAugment` 抽到平移时，会把图像整个移出画面，只剩一张带标签的灰图，而且没有
# 任何提示；把流水线的输出画出来看，才发现了这个问题。因此 `vit_ms` 用单个变换自行组合出 RandAugment。

# %%
flower = photographs["flower"]
copies = Arrays({"train": np.stack([flower] * 5)}, {"train": [0] * 5}, ["flower"])
tiny = Preprocessing(36, 3, mean, std)
augmentations = {
    both("crop", "裁剪"): Augmentation("crop", hflip=0.0),
    both("and flip", "加翻转"): Augmentation("crop", hflip=0.5),
    "RandAugment": Augmentation("none", rand_augment=[2, 9]),
    both("erasing", "擦除"): Augmentation("none", re_prob=1.0),
}
figure, grid = plt.subplots(4, 5, figsize=(6, 4.8), layout="constrained")
for row, (name, augmentation) in zip(grid, augmentations.items(), strict=True):
    batch, _ = next(TrainBatches(copies, tiny, 5, augmentation).epoch(1))
    draw_row(row, tiny.restore(batch.asnumpy()), name)
show(
    figure,
    "Five random views of a flower for each of four augmentations: crop, crop and flip, RandAugment, random erasing.",
    "一朵花在四种数据增强下各五个随机视图：裁剪、裁剪加翻转、RandAugment、随机擦除。",
)

# %% [markdown] lang="en"
# ## 7. Mixing two images: Mixup and CutMix
#
# These two change the label as well. With $\lambda$ drawn from $\text{Beta}(\alpha, \alpha)$ (DeiT's code takes
# $\alpha = 0.8$ for Mixup and 1 for CutMix), **Mixup** (Zhang et al. 2018,
# [arXiv 1710.09412](https://arxiv.org/abs/1710.09412), section 1) averages two images and their one-hot labels:
#
# $$\tilde{x} = \lambda x_A + (1 - \lambda) x_B, \qquad \tilde{y} = \lambda y_A + (1 - \lambda) y_B \tag{2}$$
#
# **CutMix** (Yun et al. 2019, [arXiv 1905.04899](https://arxiv.org/abs/1905.04899), equation 1) pastes a rectangle of
# one into the other; $M$ is 1 outside the rectangle and 0 in it, and
# $\lambda$ is the share of the area that is left of $x_A$:
#
# $$\tilde{x} = M \odot x_A + (1 - M) \odot x_B, \qquad \tilde{y} = \lambda y_A + (1 - \lambda) y_B \tag{3}$$
#
# `Augmentation.mix` mixes each image of a batch with the one as far from the other end. The cell checks both
# equations on a batch of two. For CutMix $\lambda$ is counted after the border has cut off part of the rectangle;
# with the $\lambda$ that was drawn, the label would claim pixels that are not there.

# %% [markdown] lang="zh"
# ## 7. 混合两张图像：Mixup 与 CutMix
#
# 这两种方法连标签一起改变。从 $\text{Beta}(\alpha, \alpha)$ 中抽取 $\lambda$（DeiT 的代码中 Mixup 取 $\alpha = 0.8$，
# CutMix 取 1），**Mixup**（Zhang 等 2018，[arXiv 1710.09412](https://arxiv.org/abs/1710.09412)，第 1 节）对两张图像和它
# 们的独热标签做加权平均：
#
# $$\tilde{x} = \lambda x_A + (1 - \lambda) x_B, \qquad \tilde{y} = \lambda y_A + (1 - \lambda) y_B \tag{2}$$
#
# **CutMix**（Yun 等 2019，[arXiv 1905.04899](https://arxiv.org/abs/1905.04899)，公式 1）把一张图像的矩形区域贴到另一张
# 上；$M$ 在矩形外为 1、矩形内为 0，$\lambda$ 是 $x_A$ 保留下来的面积比例：
#
# $$\tilde{x} = M \odot x_A + (1 - M) \odot x_B, \qquad \tilde{y} = \lambda y_A + (1 - \lambda) y_B \tag{3}$$
#
# `Augmentation.mix` 把批次的第 $i$ 张与倒数第 $i$ 张混合。下面用两张图像的批次验证这两个公式。CutMix 的 $\lambda$ 要在
# 矩形被图像边界截去一部分之后再计算；如果直接用抽到的 $\lambda$，标签里就会多算进并不存在的像素。

# %%
A, B = 1, 2  # flower, temple
pair = np.stack([tiny.prepare(flower), tiny.prepare(photographs["temple"])])  # (2, 3, 36, 36)
targets = np.eye(4, dtype=np.float32)[[A, B]]  # (2, 4), one-hot
mixed = {}
for name, augmentation in {"Mixup": Augmentation(mixup=0.8), "CutMix": Augmentation(cutmix=1.0)}.items():
    for seed in (1, 4):
        mixed[f"{name} {seed}"] = augmentation.mix(pair, targets, np.random.default_rng(seed))

images, labels = mixed["Mixup 1"]
share = labels[0, A]  # lambda
print(f"Mixup   equation 2: {np.allclose(images[0], share * pair[0] + (1 - share) * pair[1], atol=1e-6)}")
images, labels = mixed["CutMix 1"]
outside = (images[0] == pair[0]).all(axis=0)  # M, (36, 36)
print(f"CutMix  equation 3: {np.array_equal(images[0], np.where(outside, pair[0], pair[1]))}")
print(f"CutMix  lambda {labels[0, A]:.4f}, share of pixels that are A's {outside.mean():.4f}")

# %%
shown = {"A": (pair, targets), "B": (pair[::-1], targets[::-1])}
shown |= {name.split()[0] + " " * (seed % 2): mixed[name] for seed, name in enumerate(mixed)}
figure, grid = plt.subplots(2, 6, figsize=(8.5, 3.1), layout="constrained", height_ratios=(3, 2), sharey="row")
for (above, below), (name, (images, labels)) in zip(grid.T, shown.items(), strict=True):
    above.imshow(thumbnail(tiny.restore(images[:1])[0]), interpolation="nearest")
    above.set(xticks=[], yticks=[])
    above.set_title(name, fontsize=11)
    bars = below.bar(photos.classes, labels[0], color=[GREY, BLUE, ORANGE, GREY])
    below.bar_label(bars, [f"{share:.2f}" if share else "" for share in labels[0]], fontsize=9)
    below.tick_params(axis="x", labelrotation=90, labelsize=9)
    below.set(ylim=(0, 1.3), yticks=[])
grid[1, 0].set_ylabel(both("label", "标签"))
show(
    figure,
    "A flower, a temple, two Mixup and two CutMix images of both, and under each its label vector of four shares.",
    "花、寺庙，以及它们的两张 Mixup 和两张 CutMix 图像，下方是各自的四维标签向量。",
)

# %% [markdown] lang="en"
# ## 8. Batches: shape, order, and the last one
#
# `TrainBatches` puts it together. Labels are class numbers, (B,) int32, or shares of classes, (B, K) float32, once
# images are mixed; the loss must expect the same.
#
# **Order.** The order of the images and everything random in them follow from the seed and the number of the epoch. Two
# epochs differ; the same epoch, asked for again, gives the same batches to the last bit. That is what makes it possible
# to go on with an interrupted run in the middle of an epoch. (The number of threads belongs to this: with another one
# the random numbers fall to other images.)

# %% [markdown] lang="zh"
# ## 8. 批次：形状、顺序与最后一批
#
# `TrainBatches` 把这些步骤串起来。标签是类别序号，(B,) int32；图像经过混合时则是各类别的份额，(B, K) float32，损失函数
# 要与之对应。
#
# **顺序。** 图像的顺序和其中的一切随机变换，都由随机种子和 epoch 序号决定：不同的 epoch 各不相同，同一个 epoch 再取一
# 次，得到的批次逐位相同。正因如此，中断的训练才能从一个 epoch 的中途接着进行。（线程数也包括在内：换一个线程数，随机数
# 就会落到别的图像上。）

# %%
batch_size = 16
train_data = TrainBatches(photos, tiny, batch_size, Augmentation("crop"))
mixing = TrainBatches(photos, tiny, batch_size, Augmentation("crop", mixup=0.8, cutmix=1.0))
for name, data in (("one label each", train_data), ("mixed", mixing)):
    images, labels = next(data.epoch(1))
    print(f"{name:14}  images {images.shape} {images.dtype}, labels {labels.shape} {labels.dtype}")

first, second, again = (next(train_data.epoch(epoch))[0].asnumpy() for epoch in (1, 2, 1))
print(f"\nepoch 1 begins with images {train_data.order(1)[0, :6]}")
print(f"epoch 2 begins with images {train_data.order(2)[0, :6]}")
print(f"epoch 1 again, equal bit for bit: {np.array_equal(first, again)}")

# %%
figure, grid = plt.subplots(3, 6, figsize=(6.2, 3.4), layout="constrained")
names = (both("epoch 1", "轮次 1"), both("epoch 2", "轮次 2"), both("1 again", "再取 1"))
for row, batch, name in zip(grid, (first, second, again), names, strict=True):
    draw_row(row, tiny.restore(batch[:6]), name)
show(
    figure,
    "The first six images of epoch 1, of epoch 2, and of epoch 1 again; the first and third rows are equal.",
    "第 1 个、第 2 个、再次第 1 个 epoch 的前六张图像；第一行与第三行相同。",
)

# %% [markdown] lang="en"
# **The last batch** is rarely full. In training it is dropped: graph mode would compile a second graph for its shape,
# and its gradient would be noisier than the others. Over the epochs nothing is lost, for each leaves other images over.
# In validation nothing may be dropped. `eval_batches` keeps the short batch (and `evaluate` fills it up and cuts the
# answers off again, so that one shape is compiled).

# %% [markdown] lang="zh"
# **最后一批**往往不满。训练时把它丢掉：图模式会为它的形状另外编译一张图，它的梯度噪声也比别的批次大。长期来看这不会损失
# 什么，因为每个 epoch 剩下的图像都不一样。验证时则一张也不能丢：`eval_batches` 保留不满的那一批（`evaluate` 把它补满，
# 算完再去掉补上的部分，这样只需编译一种形状）。

# %%
left_over = photos.size("train") - train_data.batches * batch_size
print(f"train: {photos.size('train')} images, {train_data.batches} batches of {batch_size}, {left_over} left over")

val_data = eval_batches(photos, "val", tiny, batch_size)
val_labels = [labels for _, labels in val_data.create_tuple_iterator(num_epochs=1, output_numpy=True)]
print(f"val:   batches of {[len(labels) for labels in val_labels]} images\n")
print("class      all  without the last batch")
for label, name in enumerate(photos.classes):
    every, kept = np.concatenate(val_labels) == label, np.concatenate(val_labels[:-1]) == label
    print(f"{name:9} {every.sum():4} {kept.sum():8}")

# %% [markdown] lang="en"
# > **Often told wrong.** Training and validation are often given the same `drop_remainder=True`, in the official
# > MindSpore course too. Validation images come in the order of their classes, so what is dropped is not a random
# > sample: here the last class would vanish from the accuracy altogether, without a word. The number printed also
# > depends on the batch size then.
#
# ## 9. What are you waiting for?
#
# The pipeline's threads prepare batches while the device computes. The slower of the two sets the pace:
#
# $$\text{images per second} \le \min(r_\text{pipeline},\; r_\text{network}) \tag{4}$$
#
# So measure both before you tune either. First the pipeline alone: JPEG files, with one thread and two; then the same
# images packed into **MindRecord** shards by `prepare`, as they are and with the shorter side resized to 256.

# %% [markdown] lang="zh"
# > **常见误区。** 训练和验证常常套用同一个 `drop_remainder=True`，官方 MindSpore 课程也是如此。验证图像按类别顺序排
# > 列，丢掉的并不是随机样本：在这里，最后一类会整个从准确率中消失，而且没有任何提示；打印出的准确率还会随批次大小而变。
#
# ## 9. 时间花在哪里？
#
# 设备计算时，流水线的线程在准备后面的批次，整体速度由较慢的一方决定：
#
# $$\text{每秒图像数} \le \min(r_\text{流水线},\; r_\text{网络}) \tag{4}$$
#
# 所以先把两者都测出来，再决定优化哪一边。先单独测流水线：JPEG 文件，用一个和两个线程；再用 `prepare` 把同样的图像打包成
# **MindRecord**，一份保持原样，一份把短边缩放到 256。

# %%
with contextlib.redirect_stderr(io.StringIO()):  # without the progress bars
    prepare(photos, folder / "packed", say=lambda line: None)
    prepare(photos, folder / "packed_256", image_size=256, say=lambda line: None)
sources = {
    both("JPEG files", "JPEG 文件"): photos,
    "MindRecord": open_dataset("mindrecord", folder / "packed"),
    both("MindRecord, 256 px", "短边 256"): open_dataset("mindrecord", folder / "packed_256"),
}


def images_per_second(data, epoch):
    """The pipeline alone."""
    batches = data.epoch(epoch)
    next(batches)  # the start of the threads is not measured
    start = time.perf_counter()
    images = sum(len(labels) for _, labels in batches)
    return images / (time.perf_counter() - start)


rates = {}
for epoch in range(1, 9):  # in turn, and the best of eight: other programs can only slow it down
    for name, dataset in sources.items():
        for threads in (1, 2):
            data = TrainBatches(dataset, preprocessing, batch_size, Augmentation("crop"), threads)
            rates[name, threads] = max(rates.get((name, threads), 0), images_per_second(data, epoch))

# %%
figure, axes = plt.subplots(figsize=(8.5, 3), layout="constrained")
for threads, colour in ((1, BLUE), (2, ORANGE)):
    places = np.arange(3) + 0.38 * (threads - 1.5)
    label = both("1 thread", "1 个线程") if threads == 1 else both("2 threads", "2 个线程")
    bars = axes.bar(places, [rates[name, threads] for name in sources], 0.36, color=colour, label=label)
    axes.bar_label(bars, fmt="%.0f")
axes.set_xticks(range(3), sources)
axes.set(ylabel=both("images a second", "每秒图像数"), title=both("The pipeline alone, 224 px", "只有流水线"))
axes.margins(y=0.15)
axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
show(
    figure,
    "Images a second of the pipeline from JPEG files, MindRecord and smaller MindRecord, with one and two threads.",
    "柱状图：流水线从 JPEG 文件、MindRecord 和缩小后的 MindRecord 读取时每秒的图像数，一个和两个线程。",
)

# %% [markdown] lang="en"
# What to expect on a quiet machine: most of the time goes into decoding JPEGs, so smaller images help, and so does a
# second thread as long as a core is free. (Run the cell again: what differs between two runs is noise. On a busy
# machine it may hide all of this, even the order of the bars.) MindRecord itself should gain less here, where all files
# lie in memory after the first reading; its time comes on the shared file system of a cluster, where opening a million
# small files is what takes long.
#
# Now the network: the same loop, with a clock on each side. "Waiting" is the time until the pipeline hands over a
# batch. Beside the ViT-Ti on this device comes a stand-in for a fast one: it computes nothing and sleeps as long as a
# device with 3,000 images a second would take.

# %% [markdown] lang="zh"
# 在空闲的机器上，应当看到：时间主要花在 JPEG 解码上，所以图像小一些会快；只要还有空闲的核，多一个线程也会快。（再运行一
# 次上面的测量，两次之间的差别就是噪声；机器繁忙时，噪声可能盖过一切，连柱子的高低次序都会变。）MindRecord 本身在这里好
# 处应当较小，因为所有文件读过一遍就都在内存里了；它的用武之地是集群的共享文件系统，在那里，打开上百万个小文件才是最慢
# 的。
#
# 再看网络：同样的循环，两侧各计一次时。“等待”是流水线交出一个批次之前的时间。除了当前设备上的 ViT-Ti，还放一个快速设
# 备的替身：它什么都不算，只按每秒 3000 张图像的速度睡眠相应的时间。

# %%
train_data = TrainBatches(photos, preprocessing, batch_size, Augmentation("crop"))
network = create_model("vit_ti_16", num_classes=4)
optimizer = create_optimizer(network.trainable_params(), "adamw", 1e-4, weight_decay=0.05)
train_step = TrainStep(network, CrossEntropySmooth(num_classes=4), optimizer)


def vit_ti(images, labels):
    loss, _ = train_step(images, labels)
    return float(loss)  # waits until it is computed


def stand_in(images, labels):
    time.sleep(len(labels) / 3000)


def wait_and_work(compute, batches):
    """Milliseconds a batch: waiting for the pipeline, and computing."""
    stream = train_data.epoch(1)
    compute(*next(stream))  # compiles
    wait = work = 0.0
    for _ in range(batches):
        start = time.perf_counter()
        batch = next(stream)
        fetched = time.perf_counter()
        compute(*batch)
        wait, work = wait + fetched - start, work + time.perf_counter() - fetched
    return 1000 * wait / batches, 1000 * work / batches


measured = {both("ViT-Ti, this device", "当前设备"): wait_and_work(vit_ti, 3)}
measured[both("stand-in, 3,000/s", "替身")] = wait_and_work(stand_in, 12)
for name, (wait, work) in zip(("ViT-Ti", "stand-in"), measured.values(), strict=True):
    share = wait / (wait + work)
    print(f"{name:8}  waiting {wait:6.1f} ms, computing {work:6.1f} ms a batch: {share:4.0%} waiting")

# %%
figure, axes = plt.subplots(figsize=(8, 2), layout="constrained")
shares = np.array(list(measured.values()))
shares /= shares.sum(axis=1, keepdims=True)
axes.barh(list(measured), shares[:, 0], color=ORANGE, label=both("waiting", "等待"))
axes.barh(list(measured), shares[:, 1], left=shares[:, 0], color=GREEN, label=both("computing", "计算"))
axes.invert_yaxis()
axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
axes.set(xlim=(0, 1), title=both("Where the time of a step goes", "一步的时间花在哪里"))
axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
show(
    figure,
    "Shares of waiting and computing in a step, for ViT-Ti on this device and for the stand-in of a fast device.",
    "一步中等待与计算各占的比例：当前设备上的 ViT-Ti 与快速设备的替身。",
)

# %% [markdown] lang="en"
# On a CPU the network is the bottleneck, and a faster pipeline gains nothing. On an accelerator the same pipeline can
# be what everything waits for. Then, in this order: more threads (`num_parallel_workers`, up to the cores you have),
# smaller images on the disk, MindRecord, lighter augmentation.

# %% [markdown] lang="zh"
# 在 CPU 上，瓶颈是网络，流水线再快也没有用；换成加速器，同一条流水线就可能拖慢一切。这时可依次尝试：增加线程数
# （`num_parallel_workers`，不超过核数），缩小磁盘上的图像，改用 MindRecord，减轻数据增强。

# %% [markdown] lang="en"
# ## Summary
#
# - The folder is the label; related images belong in one split; broken files are found before training, not by a crash.
# - Evaluation: shorter side to $S / p$, centre crop, normalise. Inference does exactly the same, with the mean and
#   standard deviation that belong to the weights.
# - Training sees random views. Mixup and CutMix mix the labels in the same shares as the images.
# - Seed and epoch decide order and views. Training drops the short last batch, validation never.
# - The slower of pipeline and network sets the pace: measure the waiting time first.
#
# ### Three questions
#
# <details><summary>1. With image size 384 and `crop_pct=1.0`, to what size is a photograph of 640 × 427 resized, and
# which share of it does the network see?</summary>
#
# The shorter side becomes 384, so the image becomes about 576 × 384. The crop of 384 × 384 has
# $384 / 576 \approx 67\ \%$ of it: everything from top to bottom, and a sixth is lost on either side.
# </details>
#
# <details><summary>2. Cross entropy against a mixed label $\tilde{y}$ of equation 2: how does it relate to the cross
# entropies against $y_A$ and $y_B$?</summary>
#
# Cross entropy is linear in the target, so $H(\tilde{y}, p) = \lambda H(y_A, p) + (1 - \lambda) H(y_B, p)$. Its
# minimum is not 0 but the entropy of $\tilde{y}$. A training loss with Mixup cannot be compared with one without.
# </details>
#
# <details><summary>3. A run waits for the pipeline 5 % of the time. What is the most that a pipeline twice as fast can
# gain?</summary>
#
# Without any waiting a step takes 95 % of its time, so the run becomes faster by a factor of $1 / 0.95 \approx 1.05$ at
# the most, however fast the pipeline is. The other 95 % are the network's.
# </details>
#
# ### Where to go next
#
# - [Notebook 6](06_training.ipynb): what happens to a batch in training.
#   [Notebook 7](07_evaluation_and_inference.ipynb): how much a measured accuracy is worth.
# - Train on this folder with the official course's settings, mended:
#   `python -m vit_ms train --config course --data_dir runs/05_data/photos` (a ViT-B/16, here from random weights: on a
#   CPU end it after some steps).
# - Read the code: [transforms.py](../../vit_ms/data/transforms.py), [batches.py](../../vit_ms/data/batches.py),
#   [checking.py](../../vit_ms/data/checking.py), [mindrecord.py](../../vit_ms/data/mindrecord.py).
# - Read Touvron et al. 2021, *DeiT*, [arXiv 2012.12877](https://arxiv.org/abs/2012.12877), table 9: most of these
#   augmentations in one recipe.

# %% [markdown] lang="zh"
# ## 小结
#
# - 文件夹名就是标签；彼此相关的图像放在同一个划分里；损坏的文件在训练前就要找出来，而不是等进程崩溃。
# - 评估：短边缩放到 $S / p$，中心裁剪，归一化。推理与之完全一致，均值和标准差由权重决定。
# - 训练看到的是随机视图。Mixup 和 CutMix 按混合图像的比例混合标签。
# - 顺序和视图由随机种子和 epoch 决定。训练丢弃不满的最后一批，验证绝不丢弃。
# - 流水线和网络中较慢的一方决定整体速度：先测等待时间。
#
# ### 三道思考题
#
# <details><summary>1. 图像尺寸为 384、`crop_pct=1.0` 时，640 × 427 的照片会缩放到多大？网络能看到其中多少？</summary>
#
# 短边变为 384，图像约为 576 × 384。384 × 384 的裁剪占 $384 / 576 \approx 67\ \%$：上下完整，左右各损失六分之一。
# </details>
#
# <details><summary>2. 对公式（2）的混合标签 $\tilde{y}$ 计算交叉熵，它与对 $y_A$、$y_B$ 的交叉熵是什么关系？</summary>
#
# 交叉熵对目标分布是线性的，所以 $H(\tilde{y}, p) = \lambda H(y_A, p) + (1 - \lambda) H(y_B, p)$。它的最小值不是 0，而是
# $\tilde{y}$ 的熵，因此用了 Mixup 的训练损失不能与不用时的直接比较。
# </details>
#
# <details><summary>3. 一次训练有 5% 的时间在等待流水线。把流水线加快一倍，最多能快多少？</summary>
#
# 即使完全不等待，一步也还要原来 95% 的时间，所以最多快 $1 / 0.95 \approx 1.05$ 倍，流水线再快也不会更多。其余 95% 是网
# 络的时间。
# </details>
#
# ### 下一步
#
# - [第 6 课](06_training.ipynb)：批次在训练中的经历；[第 7 课](07_evaluation_and_inference.ipynb)：测得的准确率
#   有多可信。
# - 用修正后的官方课程设置在这个文件夹上训练：
#   `python -m vit_ms train --config course --data_dir runs/05_data/photos`（模型是 ViT-B/16，这里从随机权重开始，在 CPU
#   上跑几步就可以停下）。
# - 读代码：[transforms.py](../../vit_ms/data/transforms.py)、[batches.py](../../vit_ms/data/batches.py)、
#   [checking.py](../../vit_ms/data/checking.py)、[mindrecord.py](../../vit_ms/data/mindrecord.py)。
# - 读 Touvron 等 2021，*DeiT*，[arXiv 2012.12877](https://arxiv.org/abs/2012.12877) 的表 9：同一份训练配方里用到了上述
#   大部分数据增强。
