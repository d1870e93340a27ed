# %% [markdown] lang="en"
# # The hybrid and DeiT
#
# ViT gives up what convolutions know about images. This notebook is about two ways to get some of it back. The
# **hybrid** puts a convolutional network in front of the Transformer. **DeiT** adds no convolution: another network,
# often a convolutional one, teaches the Transformer. You build both small enough for digits, check their parts by hand
# and measure what they bring.
#
# | | |
# |---|---|
# | Time | two to three minutes of computing on a CPU with two cores, 15 to 20 minutes of reading |
# | You need | [notebook 4](04_encoder_and_vit.ipynb), the ViT; [notebook 6](06_training.ipynb) helps |
# | Papers | Dosovitskiy et al., ViT, 2021, [arXiv 2010.11929](https://arxiv.org/abs/2010.11929), sections 3.1 and 4.4 |
# | | Touvron et al., DeiT, 2021, [arXiv 2012.12877](https://arxiv.org/abs/2012.12877), sections 4 and 5 |

# %% [markdown] lang="zh"
# # 混合结构与 DeiT
#
# ViT 放弃了卷积自带的图像先验。本节介绍两种把它找回一部分的办法：**混合结构**（hybrid）在 Transformer 前面放一个卷积网
# 络；**DeiT** 不加卷积，而是让另一个网络（常常是卷积网络）来教 Transformer。两者都缩小到能在手写数字上训练的规模，关键
# 部分用 NumPy 手工验证，效果如何由实测回答。
#
# | | |
# |---|---|
# | 用时 | 双核 CPU 上计算两到三分钟，阅读 15 到 20 分钟 |
# | 基础 | [第 4 课](04_encoder_and_vit.ipynb)的 ViT；读过[第 6 课](06_training.ipynb)更好 |
# | 论文 | Dosovitskiy 等，ViT，2021，[arXiv 2010.11929](https://arxiv.org/abs/2010.11929)，3.1 节与 4.4 节 |
# | | Touvron 等，DeiT，2021，[arXiv 2012.12877](https://arxiv.org/abs/2012.12877)，第 4、5 节 |

# %%
import vit_ms  # before mindspore
import time

import matplotlib.pyplot as plt
import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from vit_ms import functional, runtime
from vit_ms.data.batches import TrainBatches
from vit_ms.data.catalog import open_dataset
from vit_ms.data.sources import Arrays
from vit_ms.data.transforms import Augmentation, Preprocessing
from vit_ms.engine import TrainStep
from vit_ms.fewshot import Representation
from vit_ms.losses import CrossEntropySmooth, DistillationLoss
from vit_ms.models.deit import DistilledViT
from vit_ms.models.resnetv2 import ConvNorm
from vit_ms.models.vit import ViT
from vit_ms.optim import create_optimizer, learning_rates
from vit_ms.visualize import BLUE, GREEN, GREY, ORANGE, both, show

runtime.setup(device_target="auto", mode="graph", seed=0)
vit_ms.doctor()

# %%
digits = open_dataset("digits")
preprocessing = Preprocessing(image_size=16, channels=1, mean=[0.5], std=[0.5], interpolation="bicubic", crop_pct=1.0)
prepared = {}
for split in digits.splits:
    images, labels = digits.arrays(split)
    prepared[split] = np.stack([preprocessing.prepare(image) for image in images]), labels
    print(f"{split:5}  {prepared[split][0].shape}")

# %% [markdown] lang="en"
# ## 1. The hybrid: places of a map in the place of patches
#
# Equation 1 of the ViT paper multiplies each flattened patch $x_p$ by a matrix $E$. Nothing in it says that $x_p$ must
# hold pixels. In the **hybrid** (section 3.1, "Hybrid Architecture") a convolutional network makes a feature map of
# the image first, and the patches are cut from that map. In the paper's models they are of size 1 × 1: **each place of
# the map is a token**, and $E$ takes its channels to $D$ numbers.
#
# The full-size `vit_r50_b_16` puts a ResNet with three stages in front, which makes a map of $14 \times 14$ places with
# 1024 channels of an image of $224 \times 224$ pixels. Ours is small: three convolutions of the kind described in
# section 2, two of them with stride 2. So $16 \times 16$ pixels become $4 \times 4$ places, the same number of tokens as
# the ViT with patches of 4 × 4 pixels. It has two Transformer blocks where that ViT has three; the convolutions take the
# place of the third.

# %% [markdown] lang="zh"
# ## 1. 混合结构：用特征图的位置代替图像块
#
# ViT 论文的公式（1）把每个展平的图像块 $x_p$ 乘以矩阵 $E$，并没有规定 $x_p$ 里装的一定是像素。在**混合结构**（3.1 节
# “Hybrid Architecture”）中，图像先经过一个卷积网络得到特征图，图像块再从特征图上切。论文的模型取 1 × 1 大小，也就是
# **特征图的每个位置就是一个 token**，$E$ 把它的各通道映射成 $D$ 个数。
#
# 完整规模的 `vit_r50_b_16` 前面是三个 stage 的 ResNet，把 $224 \times 224$ 的图像变成 $14 \times 14$、1024 通道的特征图。
# 这里的模型很小：三个卷积（种类见第 2 部分），其中两个步长为 2，于是 $16 \times 16$ 像素变成 $4 \times 4$ 个位置，token
# 数与图像块为 4 × 4 的 ViT 相同。它有两层 Transformer，对照的 ViT 有三层：卷积占了第三层的位置。

# %%
sizes = {"embed_dim": 64, "num_heads": 4, "mlp_dim": 128, "num_classes": 10}


def make_hybrid():
    """A ViT over the 4 x 4 map of three convolutions."""
    network = ViT(image_size=4, input_channels=64, patch_size=1, num_layers=2, **sizes)
    convolutions = nn.SequentialCell(
        *(ConvNorm(1, 16, kernel_size=3, stride=2, num_groups=8), nn.ReLU()),
        *(ConvNorm(16, 32, kernel_size=3, stride=2, num_groups=8), nn.ReLU()),
        *(ConvNorm(32, 64, kernel_size=3, stride=1, num_groups=8), nn.ReLU()),
    )
    network.patch_embedding = nn.SequentialCell(convolutions, network.patch_embedding)
    return network


def make_vit():
    return ViT(image_size=16, input_channels=1, patch_size=4, num_layers=3, **sizes)


hybrid = make_hybrid().set_train(False)
backbone, embedding = hybrid.patch_embedding
x = Tensor(prepared["val"][0][:1])
first = backbone[0](x)
second = backbone[2](ops.relu(first))
feature_map = backbone(x)
tokens = embedding(feature_map)
for name, value in {
    "image": x,
    "first convolution, stride 2": first,
    "second convolution, stride 2": second,
    "third convolution: the map": feature_map,
    "tokens: each place times E": tokens,
}.items():
    print(f"{name:28} {value.shape}")

E, bias = embedding.conv.weight.asnumpy()[:, :, 0, 0].T, embedding.conv.bias.asnumpy()  # (64, 64), (64,)
places = feature_map.asnumpy()[0].reshape(64, 16).T  # (16, 64): a row for each place
print(f"\nby hand, places @ E + bias: largest difference {abs(places @ E + bias - tokens.asnumpy()[0]).max():.0e}")

# %% [markdown] lang="en"
# The small hybrid is a ViT with convolutions before its patch embedding, and nothing else. The full-size class in
# [hybrid.py](../../vit_ms/models/hybrid.py) does the same by overriding one method, `embed_patches`, with the ResNet of
# [resnetv2.py](../../vit_ms/models/resnetv2.py). Class token, position embedding, encoder and head are as they were.
#
# > **Often told wrong.** The 16 in the names R50+ViT-B/16 or `vit_r50_b_16` is no patch size on the map. The patches
# > there are 1 × 1; 16 is how many pixels apart two neighbouring tokens are in the image, the stride of the ResNet. As
# > the ResNet of the paper would have stride 32 after its fourth stage, that stage is left out and its blocks are
# > added to the third (section 4.1): 3, 4 and 9 blocks.

# %% [markdown] lang="zh"
# 这个小型混合结构就是在 ViT 的图像块嵌入之前加上几个卷积，别无其他。完整规模的类见
# [hybrid.py](../../vit_ms/models/hybrid.py)，它改写 `embed_patches` 一个方法，用的是
# [resnetv2.py](../../vit_ms/models/resnetv2.py) 中的 ResNet。类别 token、位置编码、编码器和分类头都没有变。
#
# > **常见误区。** R50+ViT-B/16 或 `vit_r50_b_16` 里的 16 并不是特征图上的图像块大小。那里的图像块是 1 × 1，16 是相邻两个
# > token 在原图上相隔的像素数，即 ResNet 的总步长。完整的 ResNet 在第四个 stage 之后步长为 32，所以论文去掉了第四个
# > stage，把它的残差块移到第三个（4.1 节）：三个 stage 分别有 3、4、9 个残差块。

# %% [markdown] lang="en"
# ## 2. Standardised weights and groups of channels
#
# The paper's ResNet differs from the usual one in two places, both taken from Big Transfer (Kolesnikov et al. 2020), for
# the sake of transfer to other tasks.
#
# **Weight standardisation** (Qiao et al. 2019): before a convolution uses its weight, the $n = C P^2$ numbers $W_o$ of
# each output channel $o$, with mean $\mu_o$ and variance $\sigma_o^2$, are brought to mean 0 and variance 1. (This is the
# package's default form; Google's code divides by $\sigma_o + 10^{-5}$.)
#
# $$\hat W_o = \frac{W_o - \mu_o}{\sqrt{\sigma_o^2 + 10^{-8}}}$$
#
# **Group normalisation** (Wu & He 2018) in place of BatchNorm: mean and variance are taken over one image's group of
# neighbouring channels and all their places. For image $b$, channel $c$ of group $g$, place $i$:
#
# $$y_{bci} = \gamma_c \frac{x_{bci} - \mu_{bg}}{\sqrt{\sigma_{bg}^2 + \epsilon}} + \beta_c$$

# %% [markdown] lang="zh"
# ## 2. 权重标准化与组归一化
#
# 论文的 ResNet 与常见的版本有两处不同，都来自 Big Transfer（Kolesnikov 等 2020），目的是更好地迁移到其他任务。
#
# **权重标准化**（Qiao 等 2019）：卷积在使用权重之前，先把每个输出通道 $o$ 的 $n = C P^2$ 个数 $W_o$（均值 $\mu_o$、方差
# $\sigma_o^2$）变成均值 0、方差 1。（这是本代码库的默认形式；Google 的代码除以 $\sigma_o + 10^{-5}$。）
#
# $$\hat W_o = \frac{W_o - \mu_o}{\sqrt{\sigma_o^2 + 10^{-8}}}$$
#
# **组归一化**（Wu 和 He 2018）代替 BatchNorm：均值和方差取自一张图像内相邻若干通道（一组）的所有位置。对图像 $b$、第
# $g$ 组的通道 $c$、位置 $i$：
#
# $$y_{bci} = \gamma_c \frac{x_{bci} - \mu_{bg}}{\sqrt{\sigma_{bg}^2 + \epsilon}} + \beta_c$$

# %%
W = backbone[2].conv.weight  # (32, 16, 3, 3)
rows = W.asnumpy().reshape(32, -1)  # (32, n): a row for each output channel
mu, variance = rows.mean(axis=1, keepdims=True), rows.var(axis=1, keepdims=True)
by_hand = ((rows - mu) / np.sqrt(variance + 1e-8)).reshape(W.shape)
difference = abs(by_hand - functional.standardize(W, "variance").asnumpy()).max()
print(f"standardised weight: largest difference {difference:.0e}")

rng = np.random.default_rng(0)
maps = rng.normal(3.0, 2.0, (4, 16, 4, 4)).astype(np.float32)  # (B, C, height, width)
gamma, beta = rng.normal(size=(2, 16)).astype(np.float32)
groups = maps.reshape(4, 8, 2 * 4 * 4)  # 8 groups of 2 channels
mu, variance = groups.mean(axis=2, keepdims=True), groups.var(axis=2, keepdims=True)
by_hand = ((groups - mu) / np.sqrt(variance + 1e-5)).reshape(maps.shape)
by_hand = gamma[:, None, None] * by_hand + beta[:, None, None]
theirs = functional.group_norm(Tensor(maps), Tensor(gamma), Tensor(beta), num_groups=8, epsilon=1e-5).asnumpy()
print(f"group norm:          largest difference {abs(by_hand - theirs).max():.0e}")

# %%
figure, panels = plt.subplots(1, 3, figsize=(10, 2.9), layout="constrained")
chosen = {"BatchNorm": (slice(0, 4), slice(0, 1)), "GroupNorm": (slice(0, 1), slice(0, 2))}
chosen["LayerNorm"] = (slice(0, 1), slice(0, 8))
for axes, (name, (of_images, of_channels)) in zip(panels, chosen.items(), strict=True):
    shared = np.zeros((4, 8))
    shared[of_images, of_channels] = 1.0
    axes.pcolormesh(shared, cmap="Blues", vmin=0, vmax=1.6, edgecolors=GREY, linewidth=0.8)
    axes.set(title=name, xlabel=both("channel", "通道"), xticks=np.arange(8) + 0.5, xticklabels=range(1, 9))
    axes.set(yticks=np.arange(4) + 0.5, yticklabels=range(1, 5))
    axes.set_aspect("equal")
    axes.invert_yaxis()
panels[0].set_ylabel(both("image", "图像"))
figure.suptitle(both("One set that shares a mean and a variance, over all places", "共用一个均值和方差的一组数"))
show(
    figure,
    "Images by channels: BatchNorm takes one channel of all images, GroupNorm a few channels of one image, LayerNorm all.",
    "图像乘通道的网格：BatchNorm 取所有图像的一个通道，GroupNorm 取一张图像的几个通道，LayerNorm 取一张图像的全部通道。",
)

# %% [markdown] lang="en"
# What GroupNorm gives for an image depends on no other image, so it works with small batches and does the same in
# training and in evaluation. (The LayerNorm of the picture is the one for whole maps. That of a Transformer, and of
# ConvNeXt in [notebook 12](12_resnet_to_convnext.ipynb), takes the channels of one place alone.)
#
# ## 3. Hybrid against ViT
#
# Both get the same images, batches, schedule and number of epochs, and each is trained twice from different random
# weights. `runs` compiles the training step once; for the next run it draws the weights anew and sets back whatever
# else a step changes. It hands over the network after every epoch, and the validation digits show how far it is.

# %% [markdown] lang="zh"
# 组归一化对一张图像的结果与批内其他图像无关，所以批再小也能用，训练和评估时的行为也完全一致。（图中的 LayerNorm 作用于
# 整张特征图；Transformer 和[第 12 课](12_resnet_to_convnext.ipynb)的 ConvNeXt 所用的 LayerNorm 只取一个位置的各通道。）
#
# ## 3. 混合结构与 ViT 的对比
#
# 两者的图像、批、学习率曲线和 epoch 数完全相同，各用两组不同的随机初始权重训练一次。`runs` 只编译一次训练步；下一次运行
# 时重新抽取权重，并把训练步改动过的其他状态全部复位。每个 epoch 结束后，它交出网络，由验证集看看学到了什么程度。

# %%
label_loss = CrossEntropySmooth(smooth_factor=0.1, num_classes=10)


def runs(make, dataset, batch_size, epochs, seeds, loss_fn=label_loss, teacher=None):
    """Train a network once for each seed; yields seed, epoch, seconds of the epoch and the network."""
    network = make()
    steps = dataset.size("train") // batch_size
    rates = learning_rates("cosine_decay", 2e-3, 0.0, warmup_epochs=2, epoch_size=epochs, steps_per_epoch=steps)
    optimizer = create_optimizer(network.trainable_params(), "adamw", rates, weight_decay=0.05)
    train_step = TrainStep(network, loss_fn, optimizer, clip_grad=1.0, teacher=teacher)
    start = {name: parameter.asnumpy().copy() for name, parameter in train_step.state().items()}
    for seed in seeds:
        ms.set_seed(seed)
        weights = {parameter.name: parameter.asnumpy().copy() for parameter in make().get_parameters()}
        for name, parameter in train_step.state().items():
            parameter.set_data(Tensor(weights.get(name, start[name])))
        batches = TrainBatches(dataset, preprocessing, batch_size, Augmentation("affine"), seed=seed)
        for epoch in range(1, epochs + 1):
            network.set_train(True)
            begin = time.perf_counter()
            for images, labels in batches.epoch(epoch):
                loss, _ = train_step(images, labels)
            loss.asnumpy()  # waits until the device is done
            yield seed, epoch, time.perf_counter() - begin, network


def logits_of(network, images):
    """(n, C, height, width) -> (n, K), in batches of 180."""
    network.set_train(False)
    return np.concatenate([network(Tensor(images[i : i + 180])).asnumpy() for i in range(0, len(images), 180)])


def accuracy(network, split):
    images, labels = prepared[split]
    return (logits_of(network, images).argmax(axis=1) == labels).mean()


# %%
epochs, seeds = 12, (0, 1)
curves, seconds, tests, trained = {}, {}, {}, {}
for name, make in {"ViT": make_vit, "hybrid": make_hybrid}.items():
    for seed, epoch, took, network in runs(make, digits, 64, epochs, seeds):
        curves.setdefault((name, seed), []).append(accuracy(network, "val"))
        seconds.setdefault(name, []).append(took)
        if epoch == epochs:
            tests.setdefault(name, []).append(accuracy(network, "test"))
    trained[name] = network

print("        parameters  seconds an epoch  test accuracy of the runs")
for name, network in trained.items():
    size = sum(parameter.size for parameter in network.trainable_params())
    found = ", ".join(f"{share:.1%}" for share in tests[name])
    print(f"{name:7} {size:10,}  {np.median(seconds[name]):16.2f}  {found}")

# %%
figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
for (name, seed), shares in curves.items():
    colour = {"ViT": BLUE, "hybrid": ORANGE}[name]
    label = {"ViT": "ViT", "hybrid": both("hybrid", "混合结构")}[name] if seed == seeds[0] else None
    axes.plot(range(1, epochs + 1), shares, "--" if seed else "-", color=colour, label=label)
axes.set(title=both("Validation accuracy, two runs each", "验证准确率，各训练两次"), ylim=(0, 1.02))
axes.set(xlabel=both("epoch", "轮次"), ylabel=both("accuracy", "准确率"))
axes.grid(alpha=0.3)
axes.legend(loc="lower right")
show(
    figure,
    "Validation accuracy of the ViT and of the hybrid over the epochs, two runs each.",
    "ViT 与混合结构的验证准确率随 epoch 的变化，各训练两次。",
)

# %% [markdown] lang="en"
# On these digits the hybrid learns faster: what it reaches after a few epochs takes the ViT most of the run, though the ViT
# has more parameters. In our runs the gap at the end is larger than chance: near 90 % the standard error on 360 test
# digits is 1.6 percentage points, and the two runs of a network show how much the seed does. The likely reason is
# locality: the convolutions have it from the start, the ViT has to learn it from 1,257 images. Two reservations: the
# budget here is equal in epochs, not in time, and it is short. With 40 epochs the ViT of
# [notebook 1](01_five_minutes_to_vit.ipynb), one block deeper, comes near to 98 % too.
#
# The paper compared them at scale (section 4.4 and figure 5): for the same computing in pre-training, hybrids are a little
# better than ViT while the models are small, and for larger ones the difference vanishes. The authors call that somewhat
# surprising. Digits cannot confirm it: they show neither large models nor large data.
#
# What is certain is the structure. Which pixels can a token know of, before the first attention? Change one pixel
# after the other and see how far the place in row 3, column 3 (counted from 0) of the map moves. For room the picture is
# of four digits, 32 × 32 pixels: convolutions take any size. The ViT's token needs no measuring: it reads its patch.

# %% [markdown] lang="zh"
# 在这批数字上，混合结构学得更快：它几个 epoch 就达到的准确率，ViT 要用掉大半程，而 ViT 的参数还更多。在我们的运行中，最
# 后的差距大于随机波动：准确率 90 % 左右时，360 张测试图像的标准误差为 1.6 个百分点；种子的影响有多大，看同一网络的两次训
# 练便知。原因很可能在于局部性：卷积一开始就有，ViT 则要从 1257 张图像里学。有两点保留：这里相等的是 epoch 数，不是时间；
# 而且训练很短。训练 40 个 epoch 时，[第 1 课](01_five_minutes_to_vit.ipynb)的 ViT（多一层）也能接近 98 %。
#
# 论文在大规模数据上做过比较（4.4 节与图 5）：预训练计算量相同时，小模型中混合结构略好于 ViT，模型变大后差别消失，作者说
# 这多少有些出乎意料。手写数字无法验证这个结论，因为这里既没有大模型，也没有大数据。
#
# 可以确定的是结构上的差别。在第一次注意力之前，一个 token 能知道哪些像素？逐个改动像素，看特征图第 3 行第 3 列（从
# 0 数起）的位置变化多少。为了看得更清楚，这里把四个数字拼成 32 × 32 的图像：卷积可以处理任意尺寸。ViT 的 token 不用测
# 量，它只读自己的图像块。

# %%
hybrid = trained["hybrid"].set_train(False)
four = prepared["val"][0][:4, 0]
image = np.block([[four[0], four[1]], [four[2], four[3]]])[None]  # (1, 32, 32)
changed = image + 0.1 * np.eye(1024, dtype=np.float32).reshape(1024, 1, 32, 32)  # one pixel each
maps = hybrid.patch_embedding[0](Tensor(np.concatenate([image[None], changed]))).asnumpy()  # (1025, 64, 8, 8)
effect = np.linalg.norm(maps[1:, :, 3, 3] - maps[0, :, 3, 3], axis=1).reshape(32, 32)  # on the place (3, 3)
window = effect[8:23, 8:23].sum() / effect.sum()
print(f"{window:.0%} of the effect comes from the {15 * 15} of {32 * 32} pixels that the convolutions reach")

patch = np.zeros((32, 32))
patch[12:16, 12:16] = 1.0
figure, panels = plt.subplots(1, 3, figsize=(9.5, 3.3), layout="constrained")
titles = [both("image", "图像"), both("ViT: one patch", "ViT：一个图像块"), both("hybrid: one place", "混合：一个位置")]
pictures = ((image[0], "gray"), (patch, "cividis"), (effect / effect.max(), "cividis"))
for axes, title, (picture, colours) in zip(panels, titles, pictures, strict=True):
    drawn = axes.imshow(picture, cmap=colours)
    axes.set(title=title, xticks=[], yticks=[])
    axes.add_patch(plt.Rectangle((11.5, 11.5), 4, 4, fill=False, color=ORANGE, linewidth=2))
panels[2].add_patch(plt.Rectangle((7.5, 7.5), 15, 15, fill=False, color="white", linewidth=1.5, linestyle="--"))
figure.colorbar(drawn, ax=panels[2], label=both("effect on the token", "影响"))
show(
    figure,
    "A token of the ViT depends on its 4 x 4 pixels alone; a token of the hybrid on a wide neighbourhood of them.",
    "ViT 的一个 token 只取决于自己的 4 x 4 个像素，混合结构的一个 token 还受周围一大片像素影响。",
)

# %% [markdown] lang="en"
# What has changed is what a token knows before the first attention. A token of the ViT holds its own patch and nothing
# else. A place of the hybrid's map has looked over the border: the three 3 × 3 convolutions reach
# $3 + 2 \cdot 2 + 2 \cdot 4 = 15$ pixels in height and width (the dashed frame; it reaches further down and right, for
# with stride 2 the padding is there). GroupNorm's mean and variance are of the whole image and add a little from
# everywhere. Most comes from nearby: locality is built in.
#
# ## 4. DeiT: a second token and a second head
#
# The hybrid builds the convolution in. DeiT (Touvron et al. 2021) only lets the Transformer **learn from** a network that
# has it. The student is a plain ViT with one more learned token, the **distillation token**, beside the class token.
# It takes part in every attention, and at the end a head of its own reads it. The class token's head learns from the
# labels; the distillation token's head learns from the **teacher**.

# %% [markdown] lang="zh"
# 变化在于：在第一次注意力之前，一个 token 已经知道些什么。ViT 的 token 只装着自己的图像块；混合结构的一个位置已经看到了边
# 界之外：三个 3 × 3 卷积一共覆盖 $3 + 2 \cdot 2 + 2 \cdot 4 = 15$ 个像素的高和宽（虚线框；步长为 2 时只在下方和右方补
# 零，所以框偏向右下）。组归一化的均值和方差取自整张图像，又从各处带来一点影响。影响主要来自附近：局部性就这样写进了结
# 构。
#
# ## 4. DeiT：多一个 token，多一个头
#
# 混合结构把卷积装进网络，DeiT（Touvron 等 2021）则只让 Transformer **向**卷积网络**学习**。学生网络就是普通的 ViT，只在类
# 别 token 旁边多了一个可学习的**蒸馏 token**。它参与每一层的注意力，最后由它自己的头读取。类别 token 的头向标签学习，蒸
# 馏 token 的头向**教师网络**学习。


# %%
def make_student():
    return DistilledViT(image_size=16, input_channels=1, patch_size=4, num_layers=3, **sizes)


student = make_student().set_train(False)
x = Tensor(prepared["val"][0][:1])
z0 = student.embed_tokens(student.embed_patches(x))
tokens = student.norm(student.transformer(z0))
by_class, by_distillation = student.dense(tokens[:, 0]), student.distillation_dense(tokens[:, 1])
for name, value in {
    "z_0: class, distillation, 16 patches": z0,
    "after the encoder and LN": tokens,
    "logits of the class token": by_class,
    "logits of the distillation token": by_distillation,
}.items():
    print(f"{name:38} {value.shape}")

difference = abs((by_class + by_distillation) / 2 - student(x)).max().asnumpy()
print(f"\nin evaluation the network gives their mean: {difference < 1e-5}")

# %% [markdown] lang="en"
# In training the network returns the two logits as a pair, in evaluation their mean, as the authors' code does. (The
# paper, section 4, says that the two *softmax* outputs are added. Below both ways are counted.) There is no teacher in
# evaluation.
#
# ## 5. The loss, hard and soft
#
# Let $y$ be the label, $Z_t$ the teacher's logits, $Z_s$ the student's of the class token, $Z_d$ those of the
# distillation token, $\psi$ the softmax. (The paper writes $Z_s$ for both.) **Hard distillation** takes the teacher's
# decision $y_t = \arg\max_c Z_t(c)$ for a second label:
#
# $$\mathcal{L}_{\text{hard}} = \tfrac{1}{2} \mathcal{L}_{\text{CE}}(\psi(Z_s), y)
# + \tfrac{1}{2} \mathcal{L}_{\text{CE}}(\psi(Z_d), y_t) \tag{3}$$
#
# **Soft distillation** (Hinton et al. 2015) takes the teacher's whole distribution, flattened by a temperature $\tau$:
#
# $$\mathcal{L}_{\text{soft}} = (1 - \lambda) \mathcal{L}_{\text{CE}}(\psi(Z_s), y)
# + \lambda \tau^2 \text{KL}(\psi(Z_t / \tau) \,\|\, \psi(Z_d / \tau)) \tag{2}$$

# %% [markdown] lang="zh"
# 训练时网络返回一对 logits，评估时返回两者的平均，与论文作者的代码一致。（论文第 4 节的说法是把两个 *softmax* 输出相加；
# 下面两种算法都会统计。）评估时不需要教师。
#
# ## 5. 损失函数：硬蒸馏与软蒸馏
#
# 设 $y$ 为标签，$Z_t$ 为教师的 logits，$Z_s$ 为学生的类别 token 给出的 logits，$Z_d$ 为蒸馏 token 给出的 logits，$\psi$ 为
# softmax。（论文里两处都写作 $Z_s$。）**硬蒸馏**把教师的判断 $y_t = \arg\max_c Z_t(c)$ 当作第二个标签：
#
# $$\mathcal{L}_{\text{hard}} = \tfrac{1}{2} \mathcal{L}_{\text{CE}}(\psi(Z_s), y)
# + \tfrac{1}{2} \mathcal{L}_{\text{CE}}(\psi(Z_d), y_t) \tag{3}$$
#
# **软蒸馏**（Hinton 等 2015）使用教师的整个分布，并用温度 $\tau$ 使它更平缓：
#
# $$\mathcal{L}_{\text{soft}} = (1 - \lambda) \mathcal{L}_{\text{CE}}(\psi(Z_s), y)
# + \lambda \tau^2 \text{KL}(\psi(Z_t / \tau) \,\|\, \psi(Z_d / \tau)) \tag{2}$$


# %%
def log_softmax(Z):
    Z = Z - Z.max(axis=1, keepdims=True)
    return Z - np.log(np.exp(Z).sum(axis=1, keepdims=True))


def cross_entropy(Z, y):
    return -log_softmax(Z)[np.arange(len(y)), y].mean()


Z_s, Z_d, Z_t = rng.normal(0.0, 2.0, (3, 8, 10)).astype(np.float32)  # 8 images, 10 classes
y = rng.integers(0, 10, 8).astype(np.int32)
y_t = Z_t.argmax(axis=1)
hard = 0.5 * cross_entropy(Z_s, y) + 0.5 * cross_entropy(Z_d, y_t)

tau, lam = 3.0, 0.5
log_t, log_d = log_softmax(Z_t / tau), log_softmax(Z_d / tau)
KL = (np.exp(log_t) * (log_t - log_d)).sum(axis=1).mean()
soft = (1 - lam) * cross_entropy(Z_s, y) + lam * tau**2 * KL
soft_over_K = (1 - lam) * cross_entropy(Z_s, y) + lam * tau**2 * KL / 10

plain_loss = CrossEntropySmooth(num_classes=10)
tensors = (Tensor(Z_s), Tensor(Z_d)), Tensor(y), Tensor(Z_t)
hard_package = DistillationLoss(plain_loss, "hard")(*tensors).asnumpy()
soft_package = DistillationLoss(plain_loss, "soft", alpha=lam, temperature=tau)(*tensors).asnumpy()
print(f"hard, equation 3             {hard:.5f}   package {hard_package:.5f}")
print(f"soft, equation 2             {soft:.5f}")
print(f"soft, with its KL over K     {soft_over_K:.5f}   package {soft_package:.5f}")

# %% [markdown] lang="en"
# The package's soft loss divides the KL divergence by the number of classes $K$, as the authors' code does; equation 2
# does not.
#
# What does a teacher say? Ours is the hybrid just trained, which has seen all 1,257 labels. The students of section 6 get
# 180 of these digits. Here is the one on which the teacher is least sure, once with $\tau = 1$, once with $\tau = 3$, and
# its hard decision.

# %% [markdown] lang="zh"
# 代码库的软蒸馏把 KL 散度除以类别数 $K$，与论文作者的代码一致；公式（2）没有这一步。
#
# 教师到底教了什么？这里的教师就是刚刚训练好的混合结构，它见过全部 1257 个标签。第 6 部分的学生只用其中 180 张。下图
# 是这 180 张里教师最没把握的一张：$\tau = 1$、$\tau = 3$ 时的分布，以及硬判断。

# %%
teacher = trained["hybrid"]
images, labels = digits.arrays("train")
few = np.concatenate([np.flatnonzero(labels == digit)[:18] for digit in range(10)])  # 18 of each class
few_digits = Arrays({"train": images[few]}, {"train": labels[few]}, digits.classes)

Z_t = logits_of(teacher, prepared["train"][0][few])  # (180, 10)
unsure = np.exp(log_softmax(Z_t)).max(axis=1).argmin()
batches = list(TrainBatches(few_digits, preprocessing, 60, Augmentation("affine")).epoch(1))
views, truth = (np.concatenate([batch[column].asnumpy() for batch in batches]) for column in (0, 1))
agree = (logits_of(teacher, views).argmax(axis=1) == truth).mean()
print(f"teacher: test accuracy {accuracy(teacher, 'test'):.1%}")
print(f"on augmented views of {len(few)} training digits its decision is the label for {agree:.1%}")

figure, panels = plt.subplots(1, 2, figsize=(9, 3), width_ratios=(1, 2.6), layout="constrained")
panels[0].imshow(prepared["train"][0][few[unsure], 0], cmap="gray")
panels[0].set(title=both(f"label {labels[few[unsure]]}", f"标签 {labels[few[unsure]]}"), xticks=[], yticks=[])
decision = np.eye(10)[Z_t[unsure].argmax()]
flat = [np.exp(log_softmax(Z_t[[unsure]] / tau))[0] for tau in (1.0, 3.0)]
panels[1].bar(np.arange(10) - 0.27, flat[0], width=0.25, color=BLUE, label="τ = 1")
panels[1].bar(np.arange(10), flat[1], width=0.25, color=ORANGE, label="τ = 3")
panels[1].bar(np.arange(10) + 0.27, decision, width=0.25, color=GREY, label=both("hard", "硬判断"))
panels[1].set(title=both("What the teacher says", "教师的输出"), xticks=range(10), xlabel=both("class", "类别"))
panels[1].legend()
show(
    figure,
    "A training digit and the teacher's distribution for it at temperatures 1 and 3, beside its hard decision.",
    "一张训练图像，以及教师在温度 1 和 3 下的分布和硬判断。",
)

# %% [markdown] lang="en"
# A soft target tells which wrong classes are near. A hard one is one more label, which differs from the given one only
# where the teacher disagrees with it.
#
# > **Often told wrong.** DeiT is often presented as soft distillation with a temperature. The paper compares both, and it
# > is the *hard* one that it recommends: DeiT-B reaches 81.8 % without a teacher, 81.8 % with the usual soft
# > distillation, 83.0 % with hard labels, and 83.4 % with hard labels and the distillation token (table 3). Hard
# > distillation has neither a temperature nor a $\lambda$ to choose.
#
# ## 6. A student with and without a teacher
#
# Now 180 labelled digits, 18 a class, and three times the same student with two tokens and two heads. Only what the
# second head learns differs: the **labels** too (no teacher), the teacher's **hard** decisions, its **soft**
# distribution. All are measured on the test digits; nothing was chosen with their help.

# %% [markdown] lang="zh"
# 软目标会透露哪些错误类别与答案相近；硬目标只是多了一个标签，只有在教师与原标签意见不同时才带来不同的信息。
#
# > **常见误区。** DeiT 常被说成带温度的软蒸馏。论文两种都比较过，推荐的却是**硬**蒸馏：DeiT-B 不用教师为 81.8 %，常规软蒸
# > 馏为 81.8 %，硬标签为 83.0 %，硬标签加蒸馏 token 为 83.4 %（表 3）。硬蒸馏既没有温度，也没有 $\lambda$ 需要选择。
#
# ## 6. 有教师与没有教师的学生
#
# 现在只有 180 张带标签的图像，每类 18 张。同一种学生网络（两个 token、两个头）训练三种：区别只在第二个头学什么：同样的
# **标签**（没有教师）、教师的**硬**判断，或教师的**软**分布。全部在测试集上评估，没有用测试集做过任何选择。

# %%
lessons = {
    "labels": (label_loss, None),
    "hard": (DistillationLoss(label_loss, "hard"), teacher),
    "soft": (DistillationLoss(label_loss, "soft", alpha=10 / 11, temperature=3.0), teacher),
}
test_images, truth = prepared["test"]
student_epochs = 40


def cosine(a, b):
    return (a * b).sum(axis=-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


results, cosines = {}, {}
for lesson, (loss_fn, its_teacher) in lessons.items():
    for seed, epoch, _, student in runs(make_student, few_digits, 60, student_epochs, seeds, loss_fn, its_teacher):
        if epoch == 1 and seed == seeds[0]:
            represent = Representation(student)  # what the two heads read
        if epoch < student_epochs:
            continue
        tokens = represent.set_train(False)(Tensor(test_images)).asnumpy().reshape(-1, 2, 64)  # (360, 2, D)
        heads = student.dense, student.distillation_dense
        Z = [tokens[:, n] @ head.weight.asnumpy().T + head.bias.asnumpy() for n, head in enumerate(heads)]
        psi = [np.exp(log_softmax(each)) for each in Z]
        answers = [Z[0], Z[1], (Z[0] + Z[1]) / 2, psi[0] + psi[1]]
        results.setdefault(lesson, []).append([(answer.argmax(axis=1) == truth).mean() for answer in answers])
        learned = student.cls_token.asnumpy()[0, 0], student.distillation_token.asnumpy()[0, 0]
        position = student.pos_embedding.asnumpy()[0]
        of_inputs = cosine(learned[0] + position[0], learned[1] + position[1])
        cosines.setdefault(lesson, []).append((cosine(*learned), of_inputs, cosine(tokens[:, 0], tokens[:, 1]).mean()))

print("second head learns   run  class head  distillation head  mean of logits  sum of softmax")
for lesson, found in results.items():
    for run, shares in enumerate(found):
        print(f"{lesson:19}  {run + 1:3}  {{:10.1%}}  {{:17.1%}}  {{:14.1%}}  {{:14.1%}}".format(*shares))

# %%
figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
marks = [(both("class head", "类别头"), BLUE, "o"), (both("distillation head", "蒸馏头"), ORANGE, "s")]
marks.append((both("both", "两者平均"), GREEN, "D"))
for column, (label, colour, marker) in enumerate(marks):
    for place, lesson in enumerate(lessons):
        shares = [run[column] for run in results[lesson]]
        at = np.full(len(shares), place + 0.18 * (column - 1))
        axes.plot(at, shares, marker, color=colour, label=label if place == 0 else None)
names = [both("labels", "标签"), both("hard", "硬蒸馏"), both("soft", "软蒸馏")]
axes.set_xticks(range(3), names)
axes.set(xlim=(-0.5, 2.5), ylabel=both("test accuracy", "测试准确率"))
axes.set_title(both("180 labelled digits: what the second head learns", "180 张带标签图像：第二个头学什么"))
axes.grid(axis="y", alpha=0.3)
axes.legend()
show(
    figure,
    "Test accuracy of the two heads and of both together, for each of the three lessons, two runs each.",
    "三种学习方式下两个头各自以及合起来的测试准确率，各训练两次。",
)

# %% [markdown] lang="en"
# With an accuracy between 70 and 85 % the standard error on 360 test digits is about 2 percentage points, and another seed
# does as much again: in our runs no row stands out from the others by more than that, and in so few steps no student has
# learned all that it could. Of hard distillation nothing more is to be expected here than of two class tokens: the
# teacher's decision is the label for nearly all views of these digits, so that both heads learn the same. Though the
# teacher has seen 1,257 labels, little of what it knows passes through its decisions on 180 images. The gains of DeiT
# were measured on more than a million images, over 300 epochs. The soft lesson has more to say, and its share $\lambda$
# and temperature $\tau$ decide how much of it is heard; `alpha=10 / 11` makes up for the division by $K = 10$, so that
# the loss is equation 2 with $\lambda = \tfrac{1}{2}$ up to a factor. Whether it helps, longer training and more seeds
# would have to tell.
#
# Are the two tokens not simply two copies of one? The paper tried exactly our first row, two class tokens which both
# learn from the labels: they converge to the same vector (cosine 0.999) and gain nothing. Its class and distillation tokens,
# however, end up nearly at right angles (cosine 0.06), and their outputs are similar but not equal (0.93). Here are ours:
# the learned tokens themselves, the same with their position embeddings, as the encoder reads them, and the mean over
# the test images of the outputs that the heads read.

# %% [markdown] lang="zh"
# 准确率在 70 % 到 85 % 之间时，360 张测试图像的标准误差约为 2 个百分点，换一个种子又能差出这么多：在我们的运行中，没有哪
# 一种情形的优势超过这个范围；况且步数这么少，学生都还没有学到头。在这里，不能指望硬蒸馏胜过两个类别 token：教师的判断在几
# 乎所有增强后的图像上就是标签，两个头学的是同一件事。教师虽然见过 1257 个标签，但通过它对 180 张图像的判断，传不出多少知
# 识。DeiT 的提高是在一百多万张图像上、训练 300 个 epoch 测得的。软蒸馏能传递的更多，听进去多少取决于权重 $\lambda$ 和温度
# $\tau$；`alpha=10 / 11` 抵消了除以 $K = 10$ 的影响，使损失与 $\lambda = \tfrac{1}{2}$ 的公式（2）只差一个常数因子。它
# 究竟有没有用，要训练得更久、多换几个种子才能知道。
#
# 这两个 token 会不会只是同一个 token 的两份拷贝？论文恰好试过第一种情形：两个类别 token 都向标签学习，结果收敛到同一个向量
# （余弦 0.999），没有带来任何提高。而类别 token 与蒸馏 token 最终几乎正交（余弦 0.06），两者的输出相似但不相同（0.93）。
# 我们的结果如下：可学习的 token 本身，加上各自位置编码之后（即编码器读到的）的值，以及两个头所读的输出（测试图像上的平
# 均）。

# %%
print("second head learns   run  learned tokens  with position  after the encoder")
for lesson, found in cosines.items():
    for run, values in enumerate(found):
        print(f"{lesson:19}  {run + 1:3}  {{:14.2f}}  {{:13.2f}}  {{:17.2f}}".format(*values))

# %% [markdown] lang="en"
# In our runs the learned tokens are nearly at right angles in *every* row, also in the first, where the paper found
# 0.999. That proves nothing: one token starts at zero and the other at random, two directions in 64 dimensions have a
# cosine near 0 as a rule, and a hundred steps or so on 180 digits are too few to bring them together. The cosine of the
# outputs depends more on the seed here than on the lesson. The paper's 0.06 means something only beside its 0.999: the
# same network, trained as long, with two class tokens.
#
# > **Often told wrong.** The distillation token is no copy of the class token and no second vote on the same question. It
# > has a target of its own, the teacher's answer. Where the teacher nearly always gives the label, the two targets are
# > nearly one, and there is little for the second token to add. On ImageNet the teacher is right on about 83 % of new
# > images, and a random crop may not show what the label names; there its answer is often another one.

# %% [markdown] lang="zh"
# 在我们的结果里，*每一行*的可学习 token 都几乎正交，第一种情形也是如此，而论文在那里得到的是 0.999。这说明不了什么：两个
# token 一个从零开始，一个从随机值开始，64 维空间里任取两个方向，余弦通常就接近 0，而 180 张图像上的一百来步太少，不足以让
# 它们靠拢。编码器输出的余弦受种子的影响，也大于受学习方式的影响。论文的 0.06 只有与 0.999 放在一起才有意义：同样的网
# 络、同样长的训练，只是换成了两个类别 token。
#
# > **常见误区。** 蒸馏 token 不是类别 token 的拷贝，也不是对同一个问题的第二次投票。它有自己的目标：教师的答案。如果教师几
# > 乎总是给出原来的标签，两个目标就几乎是一回事，第二个 token 也就没有多少可补充的。在 ImageNet 上，教师对新图像的准确率约
# > 为 83 %，而且随机裁剪后的图像里可能已经没有标签所说的物体，教师的答案常常与标签不同。

# %% [markdown] lang="en"
# ## Summary
#
# - A hybrid is a ViT whose patches are cut from a convolutional feature map; with patches of 1 × 1 each place of the
#   map is a token. All that follows is ViT's.
# - Its ResNet standardises the weights of each output channel, and GroupNorm normalises over a group of channels of one
#   image: nothing depends on the batch.
# - DeiT adds a distillation token with a head of its own. Hard distillation (equation 3) takes the teacher's decision as
#   a label, soft distillation (equation 2) its whole distribution.
# - A difference counts if it is larger than what another seed makes. For small data that takes more than one run.
#
# ### Three questions
#
# <details><summary>1. Four stages bring a ResNet to stride 32. How many tokens would a hybrid over it have for 224 × 224
# pixels, and how many has R50+ViT-B/16?</summary>
#
# $224 / 32 = 7$: $49$ places and the class token, 50 tokens. With stride 16 there are $14 \times 14 + 1 = 197$, four times
# as many places.
# </details>
#
# <details><summary>2. The teacher gives the right label for every training image. What is left of equation 3, and what
# of equation 2?</summary>
#
# With $y_t = y$, hard distillation is the mean of two cross entropies with the same label: two class tokens, no
# teacher needed. The soft form still has something to tell: how near the wrong classes are.
# </details>
#
# <details><summary>3. Why does the gradient of the loss not flow into the teacher, and what would happen if it
# did?</summary>
#
# The teacher is to be a fixed target; `TrainStep` stops the gradient and leaves its weights out of the optimizer. If they
# were trained along, the teacher's part of a soft loss could also shrink by making the teacher resemble the student.
# </details>
#
# ### Where to go next
#
# - [Notebook 11](11_swin.ipynb): Swin, which puts locality into the attention itself.
# - The whole recipe with a ViT as teacher, on all digits: `python -m vit_ms train --config digits`, then
#   `python -m vit_ms train --config digits_distilled`.
# - Change something: another teacher (the ViT), `temperature=1.0`, 50 digits a class, more `student_epochs`,
#   more seeds in `seeds`.
# - Read the code: [models/hybrid.py](../../vit_ms/models/hybrid.py), [models/resnetv2.py](../../vit_ms/models/resnetv2.py),
#   [models/deit.py](../../vit_ms/models/deit.py), [losses.py](../../vit_ms/losses.py).
# - Read DeiT, [arXiv 2012.12877](https://arxiv.org/abs/2012.12877): section 4 for the token, section 5.2 for what it brings.

# %% [markdown] lang="zh"
# ## 小结
#
# - 混合结构就是从卷积特征图上切图像块的 ViT；图像块取 1 × 1 时，特征图的每个位置就是一个 token。之后的部分与 ViT 完全
#   相同。
# - 它的 ResNet 对每个输出通道的权重做标准化，组归一化则在一张图像的一组通道内进行：结果与批无关。
# - DeiT 增加一个蒸馏 token 和它自己的头。硬蒸馏（公式（3））把教师的判断当作标签，软蒸馏（公式（2））使用教师的整个分布。
# - 差别大于换一个随机种子造成的波动，才算数。数据少时，只训练一次是不够的。
#
# ### 三道思考题
#
# <details><summary>1. ResNet 经过四个 stage 后步长为 32。在它上面搭混合结构，输入 224 × 224 像素时有多少个 token？
# R50+ViT-B/16 又有多少个？</summary>
#
# $224 / 32 = 7$：$49$ 个位置加上类别 token，共 50 个 token。步长为 16 时是 $14 \times 14 + 1 = 197$ 个，位置数是四倍。
# </details>
#
# <details><summary>2. 如果教师对每张训练图像都给出正确标签，公式（3）还剩下什么？公式（2）呢？</summary>
#
# 此时 $y_t = y$，硬蒸馏就是对同一个标签的两个交叉熵取平均：等于两个类别 token，用不着教师。软蒸馏仍然能提供信息：各个错
# 误类别离答案有多近。
# </details>
#
# <details><summary>3. 为什么损失的梯度不传给教师？如果传了会怎样？</summary>
#
# 教师应当是固定的目标；`TrainStep` 截断了通向它的梯度，优化器里也没有它的权重。如果教师一起训练，软蒸馏中教师那一项还可
# 以靠让教师变得像学生来减小。
# </details>
#
# ### 下一步
#
# - [第 11 课](11_swin.ipynb)：Swin，把局部性放进注意力本身。
# - 以 ViT 为教师、使用全部手写数字的完整配方：先运行 `python -m vit_ms train --config digits`，再运行
#   `python -m vit_ms train --config digits_distilled`。
# - 改一处再试：换一个教师（ViT）、`temperature=1.0`、每类 50 张、加大 `student_epochs`、在 `seeds` 里多加几个种子。
# - 读代码：[models/hybrid.py](../../vit_ms/models/hybrid.py)、[models/resnetv2.py](../../vit_ms/models/resnetv2.py)、
#   [models/deit.py](../../vit_ms/models/deit.py)、[losses.py](../../vit_ms/losses.py)。
# - 读 DeiT，[arXiv 2012.12877](https://arxiv.org/abs/2012.12877)：第 4 节讲蒸馏 token，5.2 节讲它的作用。
