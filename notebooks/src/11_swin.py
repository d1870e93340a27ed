# %% [markdown] lang="en"
# # Swin: attention in windows
#
# ViT lets every token look at every other one, and pays for it: twice the image side, sixteen times the attention
# scores. The Swin Transformer lets a token look only at its window, shifts the windows in every second block so that
# information gets around, and makes the map coarser from stage to stage as a convolutional network does. Here you
# count the cost, build windows, shift, mask, position bias and patch merging in NumPy, compare each with the
# package's, and see with your own eyes which token can hear which.
#
# | | |
# |---|---|
# | Time | one to two minutes of computing on a CPU with two cores, 15 to 20 minutes of reading |
# | You need | [attention](03_attention_by_hand.ipynb) and the [ViT encoder](04_encoder_and_vit.ipynb); no download |
# | Paper | Liu et al., *Swin Transformer*, 2021, [arXiv 2103.14030](https://arxiv.org/abs/2103.14030) |
#
# Equation numbers below are those of the paper, and so are the letters: a map has $h \times w$ tokens of $C$
# channels, a window $M \times M$ tokens. The code is in [models/swin.py](../../vit_ms/models/swin.py).

# %% [markdown] lang="zh"
# # Swin：窗口里的注意力
#
# ViT 让每个 token 查看所有 token，代价也随之而来：图像边长加倍，注意力分数就变成十六倍。Swin Transformer 只让 token
# 查看自己所在的窗口，每隔一个块把窗口移动一次，使信息能够流通，并且像卷积网络那样逐阶段降低特征图的分辨率。本节先算清
# 计算量，再用 NumPy 亲手实现窗口、移位、掩码、位置偏置和图像块合并，逐一与本包的结果核对，并画出每个 token 究竟能“听
# 到”谁。
#
# | | |
# |---|---|
# | 用时 | 双核 CPU 上计算一到两分钟，阅读 15 到 20 分钟 |
# | 基础 | [注意力](03_attention_by_hand.ipynb)与 [ViT 编码器](04_encoder_and_vit.ipynb)；不需要下载 |
# | 论文 | Liu 等，*Swin Transformer*，2021，[arXiv 2103.14030](https://arxiv.org/abs/2103.14030) |
#
# 公式编号和字母均与论文一致：特征图有 $h \times w$ 个 token，每个 $C$ 个通道；窗口有 $M \times M$ 个 token。代码见
# [models/swin.py](../../vit_ms/models/swin.py)。

# %% [markdown] lang="en"
# ## 1. Set up
#
# PyNative mode runs each operation as it is called, which suits small experiments. Graph mode comes back in section
# 9, for training.

# %% [markdown] lang="zh"
# ## 1. 准备环境
#
# 动态图模式逐个执行运算，适合做小实验。第 9 小节训练时再切换到图模式。

# %%
import vit_ms  # before mindspore
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from mindspore import Tensor
from sklearn.datasets import load_sample_image

from vit_ms import create_model, runtime
from vit_ms.data.batches import TrainBatches, eval_batches
from vit_ms.data.catalog import open_dataset
from vit_ms.data.transforms import Augmentation, Preprocessing
from vit_ms.engine import TrainStep, evaluate, fit
from vit_ms.layers import relative_position_index
from vit_ms.losses import CrossEntropySmooth
from vit_ms.models import swin
from vit_ms.optim import create_optimizer, learning_rates
from vit_ms.visualize import BLUE, GREY, ORANGE, both, interactive, show

runtime.setup(device_target="auto", mode="pynative", seed=0)
rng = np.random.default_rng(0)
vit_ms.doctor()

# %% [markdown] lang="en"
# ## 2. What it costs to look everywhere
#
# Count the multiplications of one attention layer. The matrices for $q$, $k$, $v$ and the output are $C \times C$ and
# are applied to each of the $hw$ tokens: $4hwC^2$. The scores are one inner product for each pair of tokens, over all
# heads together $(hw)^2 C$ multiplications, and the weighted sum of the values takes as many:
#
# $$\Omega(\text{MSA}) = 4hwC^2 + 2(hw)^2 C \tag{1}$$
#
# If tokens look only at the $M^2$ tokens of their window, there are $hw \cdot M^2$ pairs instead of $(hw)^2$:
#
# $$\Omega(\text{W-MSA}) = 4hwC^2 + 2M^2 hwC \tag{2}$$
#
# The first grows with the square of the number of tokens, the second in proportion to it. (Softmax is not counted, as
# in the paper, and neither are biases.) To make sure, here is attention in NumPy with a matrix product that counts
# what it does.

# %% [markdown] lang="zh"
# ## 2. 处处都看的代价
#
# 先数一数一个注意力层的乘法次数。$q$、$k$、$v$ 和输出各有一个 $C \times C$ 的矩阵，作用在 $hw$ 个 token 上：$4hwC^2$
# 次。注意力分数对每一对 token 做一次内积，各个头加起来是 $(hw)^2 C$ 次乘法；对 $v$ 加权求和又是同样多：
#
# $$\Omega(\text{MSA}) = 4hwC^2 + 2(hw)^2 C \tag{1}$$
#
# 如果每个 token 只看自己窗口里的 $M^2$ 个 token，配对数就从 $(hw)^2$ 降到 $hw \cdot M^2$：
#
# $$\Omega(\text{W-MSA}) = 4hwC^2 + 2M^2 hwC \tag{2}$$
#
# 前者随 token 数的平方增长，后者与 token 数成正比。（与论文一样不计 softmax，偏置也不计。）为了确认，下面用 NumPy 写
# 出注意力，其中的矩阵乘法会统计自己做了多少次乘法。

# %%
counted = 0


def product(a, b):
    """The matrix product a b, (..., m, k) times (..., k, n), and count its multiplications."""
    global counted
    counted += a.size * b.shape[-1]
    return a @ b


def attention(x, heads):
    """Self-attention within each of the sequences: (sequences, N, C) -> the same."""
    sequences, N, C = x.shape
    w_q, w_k, w_v, w_out = rng.standard_normal((4, C, C)) / C**0.5
    q, k, v = (product(x, w).reshape(sequences, N, heads, -1).transpose(0, 2, 1, 3) for w in (w_q, w_k, w_v))
    scores = product(q, k.transpose(0, 1, 3, 2)) / q.shape[-1] ** 0.5  # (sequences, heads, N, N)
    weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    out = product(weights, v).transpose(0, 2, 1, 3).reshape(sequences, N, C)
    return product(out, w_out)


def omega_msa(h, w, C):
    return 4 * h * w * C**2 + 2 * (h * w) ** 2 * C


def omega_wmsa(h, w, C, M):
    return 4 * h * w * C**2 + 2 * M**2 * h * w * C


h, w, C, M = 24, 24, 48, 4
for name, sequences, formula in (("MSA", 1, omega_msa(h, w, C)), ("W-MSA", h * w // M**2, omega_wmsa(h, w, C, M))):
    counted = 0
    attention(rng.standard_normal((sequences, h * w // sequences, C)), heads=3)
    print(f"{name:6} {sequences:3} x {h * w // sequences:3} tokens: {counted:12,} counted, {formula:12,} by formula")

# %%
C, M, heads = 96, 7, 3
sides = np.array([224, 448, 672, 896, 1120])
print("image   tokens      MSA    W-MSA    times   weights of MSA    of W-MSA")
for side in sides:
    h = w = side // 4  # patches of 4 x 4 pixels
    full, windowed = omega_msa(h, w, C), omega_wmsa(h, w, C, M)
    memory = [heads * h * w * keys * 4 / 2**20 for keys in (h * w, M**2)]  # float32, MiB
    print(
        f"{side:5}  {h * w:7,}  {full / 1e9:6.1f} G  {windowed / 1e9:5.2f} G  {full / windowed:7.1f}"
        f"  {memory[0]:9,.0f} MiB  {memory[1]:6.1f} MiB"
    )

figure, axes = plt.subplots(figsize=(6, 2.8), layout="constrained")
size = np.arange(112, 1121, 28)
tokens = (size // 4) ** 2
axes.plot(size, omega_msa(size // 4, size // 4, C) / 1e9, color=ORANGE, label=both("MSA, equation 1", "全局，公式 1"))
axes.plot(
    size, omega_wmsa(size // 4, size // 4, C, M) / 1e9, color=BLUE, label=both("W-MSA, equation 2", "窗口，公式 2")
)
axes.plot(size, 4 * tokens * C**2 / 1e9, "--", color=GREY, label=both("of it the four matrices", "其中四个矩阵"))
axes.set(xlabel=both("side of the image in pixels", "图像边长"), yscale="log", xlim=(112, 1120))
axes.minorticks_off()
axes.set_ylabel(both("10⁹ multiplications", "乘法次数"))
axes.set_title(both("One attention layer: C = 96, patches of 4 x 4, M = 7", "一个注意力层"))
axes.grid(alpha=0.3)
axes.legend(loc="lower right", fontsize=9)
show(
    figure,
    "Cost of global attention rises far above that of windowed attention as the image grows.",
    "图像变大时，全局注意力的计算量远远超过窗口注意力。",
)

# %% [markdown] lang="en"
# Read the memory columns, too: at 1120 pixels the attention weights of a single global layer, if they are stored,
# take tens of gigabytes for one image. ViT escapes by taking large patches, 16 × 16 pixels; but segmentation and
# detection need a fine map, and that is what Swin was made for.

# %% [markdown] lang="zh"
# 也请看内存那两列：图像边长为 1120 时，一张图像在单个全局注意力层中的注意力权重，若全部存下来，就要几十 GiB。ViT 的办
# 法是用 16 × 16 像素的大图像块；可是分割和检测需要精细的特征图，Swin 正是为此设计的。

# %% [markdown] lang="en"
# ## 3. Windows are a reshape
#
# To cut a map into windows takes no loop: split each side into (which window, where in it), bring the two "which" to
# the front, and the windows stand in the batch axis. Attention then needs no change at all: it sees many short
# sequences in place of one long one.
#
# The photograph below is our map for the next sections: $h = w = 12$ tokens (of 6 × 6 pixels each, so that something
# can be seen), $M = 4$, hence $3 \times 3$ windows.

# %% [markdown] lang="zh"
# ## 3. 划分窗口只是一次变形
#
# 把特征图切成窗口不需要循环：每条边拆成（第几个窗口，窗口内的位置）两维，把两个“第几个窗口”移到最前面，窗口就排在了批
# 次维上。注意力本身一个字都不用改：原来是一个长序列，现在是许多短序列。
#
# 下面这张照片就是接下来几小节的特征图：$h = w = 12$ 个 token（为了看得清楚，每个 token 占 6 × 6 像素），$M = 4$，所以
# 有 $3 \times 3$ 个窗口。


# %%
def window_partition(x, M):
    """(h, w, C) -> (windows, M, M, C)"""
    h, w, C = x.shape
    x = x.reshape(h // M, M, w // M, M, C)  # window row, row in it, window column, column in it
    return x.transpose(0, 2, 1, 3, 4).reshape(-1, M, M, C)


h, w, M, pixels = 12, 12, 4, 6
x = rng.standard_normal((h, w, 8)).astype(np.float32)
windows = window_partition(x, M)
ours = swin.window_partition(Tensor(x[None]), (M, M))  # (windows, M M, C)
print(f"map {x.shape} -> windows {windows.shape}, in the package {ours.shape}")
print(f"equal to the package's: {np.array_equal(windows.reshape(9, 16, 8), ours.asnumpy())}")
back = swin.window_reverse(ours, (M, M), h, w).asnumpy()[0]
print(f"put together again:     {np.array_equal(back, x)}")


# %%
photograph = load_sample_image("china.jpg")[20:380, 140:500]  # 360 x 360 pixels
small = photograph.reshape(72, 5, 72, 5, 3).mean(axis=(1, 3)) // 21 / 12  # 72 x 72 pixels, 13 shades


def lines(axes, places, colour, width, style="-"):
    """Lines across a picture between tokens."""
    for place in places:
        axes.axhline(place * pixels - 0.5, color=colour, linewidth=width, linestyle=style)
        axes.axvline(place * pixels - 0.5, color=colour, linewidth=width, linestyle=style)
    axes.set(xticks=[], yticks=[], xlim=(-0.5, 71.5), ylim=(71.5, -0.5))


figure = plt.figure(figsize=(7.8, 4), layout="constrained")
left, right = figure.subfigures(1, 2)
axes = left.subplots()
axes.imshow(small, interpolation="nearest")
lines(axes, range(1, 12), "white", 0.5)
lines(axes, (4, 8), ORANGE, 3)
left.suptitle(both("12 x 12 tokens, windows of 4 x 4", "窗口"), fontsize=11)
right.suptitle(both("The windows along the batch axis", "批次维上的窗口"), fontsize=11)
for n, (axes, window) in enumerate(zip(right.subplots(3, 3).ravel(), window_partition(small, M * pixels), strict=True)):
    axes.imshow(window, interpolation="nearest")
    axes.set_title(n, fontsize=9)
    axes.set(xticks=[], yticks=[])
show(
    figure,
    "A photograph cut into three by three windows of four by four tokens, and the nine windows side by side.",
    "一张照片切成 3 x 3 个窗口，每个窗口 4 x 4 个 token，右侧是九个窗口。",
)

# %% [markdown] lang="en"
# ## 4. Shifted windows
#
# Windows alone would be nine little networks that never hear of each other. So Swin's blocks come in pairs: the first
# uses the windows above (W-MSA), the second moves them by half a window, $\lfloor M/2 \rfloor$ tokens down and to the
# right (SW-MSA), so that the new windows lie across the old borders:
#
# $$\hat z^{\ell} = \text{W-MSA}(\text{LN}(z^{\ell-1})) + z^{\ell-1}, \qquad
# z^{\ell} = \text{MLP}(\text{LN}(\hat z^{\ell})) + \hat z^{\ell},$$
#
# $$\hat z^{\ell+1} = \text{SW-MSA}(\text{LN}(z^{\ell})) + z^{\ell}, \qquad
# z^{\ell+1} = \text{MLP}(\text{LN}(\hat z^{\ell+1})) + \hat z^{\ell+1} \tag{3}$$
#
# Drawn plainly (on the left below), shifting makes windows of different sizes at the border: $4 \times 4 = 16$ in
# place of 9. Padding them all to full size would cost. The **cyclic shift** avoids that: move the map by $M/2$ up and
# to the left, let what leaves it come in again on the other side, and the same nine full windows do. Afterwards the
# map is moved back.

# %% [markdown] lang="zh"
# ## 4. 移位窗口
#
# 如果只有固定的窗口，网络就成了九个互不相通的小网络。所以 Swin 的块成对出现：第一块用上面的窗口（W-MSA），第二块把窗
# 口向右下移动半个窗口，即 $\lfloor M/2 \rfloor$ 个 token（SW-MSA），新窗口便跨过了旧窗口的边界：
#
# $$\hat z^{\ell} = \text{W-MSA}(\text{LN}(z^{\ell-1})) + z^{\ell-1}, \qquad
# z^{\ell} = \text{MLP}(\text{LN}(\hat z^{\ell})) + \hat z^{\ell},$$
#
# $$\hat z^{\ell+1} = \text{SW-MSA}(\text{LN}(z^{\ell})) + z^{\ell}, \qquad
# z^{\ell+1} = \text{MLP}(\text{LN}(\hat z^{\ell+1})) + \hat z^{\ell+1} \tag{3}$$
#
# 直接移动窗口（下面左图），边缘会出现大小不一的窗口：9 个变成 $4 \times 4 = 16$ 个。全部补齐到完整大小，计算量就上去
# 了。**循环移位**避免了这个问题：把特征图向左上移动 $M/2$，移出去的部分从另一侧补回来，仍然是九个完整的窗口；算完再移
# 回原位。

# %%
shift = M // 2
shifted = np.roll(small, (-shift * pixels, -shift * pixels), axis=(0, 1))

figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 4.4), layout="constrained")
left.imshow(small, interpolation="nearest")
lines(left, (2, 6, 10), ORANGE, 3)
left.set_title(both("Shifted windows: 16", "移位后的窗口"), fontsize=11)
right.imshow(shifted, interpolation="nearest")
lines(right, (4, 8), ORANGE, 3)
lines(right, (10,), "white", 2.5, "--")
for n in range(9):
    box = {"facecolor": "black", "linewidth": 0, "pad": 1.5}
    right.text(n % 3 * 24 + 1, n // 3 * 24 + 1, n, color=ORANGE, va="top", weight="bold", bbox=box)
right.set_title(both("After the cyclic shift: 9", "循环移位之后"), fontsize=11)
figure.supxlabel(both("dashed: where opposite borders of the photograph meet", "虚线：照片的两侧在此相接"), fontsize=10)
show(
    figure,
    "The photograph with windows moved by two tokens, and the cyclically shifted photograph with whole windows.",
    "移动了两个 token 的窗口，以及循环移位后由完整窗口覆盖的照片。",
)

# %% [markdown] lang="en"
# ## 5. The mask
#
# There is a catch, and the dashed lines show it: windows 2, 5, 6, 7 and 8 now hold pieces that are not neighbours in
# the photograph. Window 8 has all four corners of it. They share a window by accident and must not attend to each
# other.
#
# Number the pieces: a row of the shifted map is in band 0 if it is above the last row of windows, in band 1 if it is
# in that row of windows and did not leave the map, and in band 2 if it came round from the top. The same for columns;
# row band and column band together give a **region**, 0 to 8. Two tokens of a window may attend to each other if they
# are of the same region; otherwise $-100$ is added to their score, and $e^{-100}$ is as good as nothing.
#
# The check at the end uses no regions: two tokens of a window may attend if **in the photograph** they are less than
# $M$ apart in rows and in columns.

# %% [markdown] lang="zh"
# ## 5. 掩码
#
# 问题就出在虚线处：窗口 2、5、6、7、8 里出现了在照片中并不相邻的部分，窗口 8 甚至集齐了照片的四个角。它们只是碰巧落在
# 同一个窗口，不应该互相注意。
#
# 给各部分编号：移位后的一行，如果在最后一排窗口之上，属于第 0 带；如果在最后一排窗口里、但没有绕到另一侧，属于第 1
# 带；如果是从顶部绕过来的，属于第 2 带。列也一样。行带和列带合起来就是**区域**编号，从 0 到 8。同一窗口中，区域相同的
# token 才能互相注意，否则分数加上 $-100$，而 $e^{-100}$ 与 0 几乎没有区别。
#
# 最后的检验完全不用区域：同一窗口的两个 token 能互相注意，当且仅当它们**在照片中**的行距和列距都小于 $M$。

# %%
bands = np.zeros(h, int)
bands[h - M :] = 1  # the last row of windows
bands[h - shift :] = 2  # of it what came from the other side
regions = 3 * bands[:, None] + bands[None, :]  # (h, w), of the shifted map
of_window = window_partition(regions[..., None], M).reshape(9, M * M)
mask = np.where(of_window[:, :, None] == of_window[:, None, :], 0.0, -100.0)  # (windows, M M, M M)
print(
    f"mask {mask.shape}, equal to the package's: {np.array_equal(mask, swin.shift_mask((h, w), (M, M), (shift,) * 2))}"
)

rows, columns = np.indices((h, w))
came_from = np.roll(np.stack([rows, columns], axis=-1), (-shift, -shift), axis=(0, 1))  # (h, w, 2)
places = window_partition(came_from, M).reshape(9, M * M, 2)
apart = abs(places[:, :, None] - places[:, None, :]).max(axis=-1)  # the larger of the two distances
print(f"0 just where tokens are less than M apart: {np.array_equal(mask == 0, apart < M)}")

# %%
figure = plt.figure(figsize=(8.4, 3.8), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(1, 1.15))
axes = left.subplots()
axes.imshow(regions, cmap="viridis", alpha=0.75)
for region, (row, column) in enumerate(np.ndindex(3, 3)):
    middle = (1.5, 8.5, 10.5)
    axes.text(middle[column], middle[row], region, ha="center", va="center", fontsize=11)
for place in (3.5, 7.5):
    axes.axhline(place, color=ORANGE, linewidth=3)
    axes.axvline(place, color=ORANGE, linewidth=3)
axes.set(xticks=[], yticks=[])
left.suptitle(both("Regions of the shifted map", "移位后特征图的区域"))
right.suptitle(both("The four kinds of masks, 16 x 16 each", "四种掩码"))
kinds = {0: both("windows 0, 1, 3, 4", "内部"), 2: both("windows 2, 5", "右侧"), 6: both("windows 6, 7", "底部")}
kinds[8] = both("window 8", "角上")
for axes, (n, name) in zip(right.subplots(2, 2).ravel(), kinds.items(), strict=True):
    axes.imshow(mask[n] == 0, cmap=ListedColormap(["white", BLUE]), vmin=0, vmax=1)
    axes.set_title(f"{name}: {(mask[n] == 0).mean():.0%}", fontsize=10)
    axes.set(xticks=[], yticks=[])
show(
    figure,
    "Nine regions on the shifted map; masks in which all, half, half and a quarter of the pairs may attend.",
    "移位后特征图的九个区域，以及四种掩码：允许的配对分别占全部、一半、一半和四分之一。",
)

# %% [markdown] lang="en"
# Blue pairs may attend; the percentage is their share. In a window at the right each row of four tokens falls into
# two pairs (small blocks), in one at the bottom the upper eight tokens are apart from the lower eight (large blocks).
# Move through all windows and shifts yourself: tokens of one colour on the map may attend to each other.

# %% [markdown] lang="zh"
# 蓝色的配对可以互相注意，百分数是它们所占的比例。右侧的窗口里，每行四个 token 分成左右两对（小块相间）；底部的窗口
# 里，上面八个与下面八个分开（两个大块）。拖动滑块可以查看所有窗口和移位：左图中同一种颜色的 token 可以互相注意。


# %%
def draw(window, shift):
    ids = np.roll(np.arange(h * w).reshape(h, w, 1), (-shift, -shift), axis=(0, 1))
    of_this = window_partition(ids, M)[window].ravel()  # where its tokens are on the map
    allowed = swin.shift_mask((h, w), (M, M), (shift, shift))[window] == 0
    _, groups = np.unique(allowed, axis=0, return_inverse=True)  # tokens of a region have the same row
    picture = np.zeros(h * w)
    picture[of_this] = 1 + groups.ravel()
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.9), layout="constrained")
    colours = ListedColormap(["#eeeeee", BLUE, ORANGE, GREY, "black"])
    left.imshow(picture.reshape(h, w), cmap=colours, vmin=0, vmax=4)
    left.set_title(both(f"tokens of window {window}, shift {shift}", "窗口中的 token"))
    left.set_xticks(np.arange(-0.5, w), [])
    left.set_yticks(np.arange(-0.5, h), [])
    left.tick_params(length=0)
    left.grid(color="white")
    right.imshow(allowed, cmap=ListedColormap(["white", BLUE]), vmin=0, vmax=1)
    right.set(xticks=[], yticks=[], title=both("its mask", "掩码"))
    return figure


interactive(draw, window=(0, 8), shift=(0, 3))

# %% [markdown] lang="en"
# ## 6. Who hears whom
#
# Now the test that counts: run the package's `WindowAttention` on a map, change **one** token (orange) and see which
# outputs change (blue). Four layers: W-MSA, SW-MSA, SW-MSA whose mask we take away, and W-MSA followed by SW-MSA.

# %% [markdown] lang="zh"
# ## 6. 谁能听到谁
#
# 最有说服力的检验：用本包的 `WindowAttention` 处理一张特征图，只改动**一个** token（橙色），看哪些位置的输出变了（蓝
# 色）。共四种情形：W-MSA、SW-MSA、去掉掩码的 SW-MSA，以及 W-MSA 后面接 SW-MSA。


# %%
def window_attention(shifted):
    cell = swin.WindowAttention(8, num_heads=2, grid=(h, w), window_size=M, shifted=shifted)
    cell.set_train(False)
    return cell


plain, moved, without_mask = window_attention(False), window_attention(True), window_attention(True)
without_mask.attention.position_bias.mask = None
layers = {
    "W-MSA": plain,
    "SW-MSA": moved,
    both("SW-MSA, no mask", "无掩码"): without_mask,
    both("W-MSA, then SW-MSA", "先后"): lambda x: moved(plain(x)),
}


def reached(layer, row, column):
    """Which outputs change when one token does: (h, w)."""
    changed = x.copy()
    changed[row, column] += 3.0
    before, after = (layer(Tensor(value[None])).asnumpy()[0] for value in (x, changed))
    return abs(after - before).max(axis=-1) > 1e-6


figure, grid = plt.subplots(2, 4, figsize=(9, 4.9), layout="constrained")
for line, (row, column) in zip(grid, ((5, 6), (0, 1)), strict=True):
    for axes, (name, layer) in zip(line, layers.items(), strict=True):
        picture = reached(layer, row, column).astype(int)
        axes.set_title(f"{name}: {picture.sum()}", fontsize=10)
        picture[row, column] = 2
        axes.imshow(picture, cmap=ListedColormap(["#eeeeee", BLUE, ORANGE]), vmin=0, vmax=2)
        axes.set_xticks(np.arange(-0.5, w), [])
        axes.set_yticks(np.arange(-0.5, h), [])
        axes.grid(color="white", linewidth=0.5)
        axes.tick_params(length=0)
for axes in grid[:, 0]:
    axes.set_ylabel(both("token (5, 6)", "中间") if axes is grid[0, 0] else both("token (0, 1)", "边上"))
show(
    figure,
    "Tokens whose output changes with one token: a window, a shifted window, opposite corners without the mask, "
    "and a larger area after two layers.",
    "改动一个 token 后输出随之变化的位置：一个窗口、一个移位窗口、无掩码时的四个角，以及两层之后更大的范围。",
)

# %% [markdown] lang="en"
# In the lower row the third picture is what the mask is for: without it, a token in one corner of the image is heard
# in the three others. With it, only the four tokens of its own corner hear it. And the last column is what shifting
# is for: after a pair of blocks a token has reached the neighbouring windows, after a few pairs the whole map.
#
# The mask is not needed everywhere. If the map is no larger than one window, there is nothing to shift, as in the
# last stage of Swin-T at 224 pixels, $7 \times 7$ tokens with $M = 7$: attention is global there.

# %% [markdown] lang="zh"
# 下排第三幅图说明了掩码的用处：没有它，图像一角的 token 会传到另外三个角；有了它，只有同一角的四个 token 能听到它。最
# 后一列说明了移位的用处：一对块之后，信息到达相邻的窗口，再过几对块就传遍整张特征图。
#
# 掩码并非处处需要。特征图不比一个窗口大时，移位没有意义：输入 224 像素时，Swin-T 最后一个阶段正好是 $7 \times 7$ 个
# token、$M = 7$，那里的注意力就是全局的。

# %% [markdown] lang="en"
# ## 7. Position: a table of distances
#
# Swin adds no position embedding to its tokens. Each head adds to its scores a learned number that depends on where
# one token lies as seen from the other, in rows and in columns ($d$ is the width of a head):
#
# $$\text{Attention}(Q, K, V) = \text{SoftMax}(Q K^T / \sqrt{d} + B) V \tag{4}$$
#
# $B$ is $M^2 \times M^2$, but within a window a distance is one of $-(M-1), \dots, M-1$ each way, so there are only
# $(2M-1)^2$ different entries. They stand in a table $\hat B$, and a fixed **index** says for every pair of tokens
# which row of the table is its entry: with rows and columns counted from 0, token $i$ below token $j$ by $\Delta r$
# and right of it by $\Delta c$,
#
# $$\text{index}_{ij} = (\Delta r + M - 1)(2M - 1) + (\Delta c + M - 1).$$

# %% [markdown] lang="zh"
# ## 7. 位置：一张距离表
#
# Swin 不给 token 加位置编码，而是让每个头在注意力分数上加一个可学习的数，它只取决于两个 token 在行、列方向上的相对位
# 置（$d$ 是每个头的维数）：
#
# $$\text{Attention}(Q, K, V) = \text{SoftMax}(Q K^T / \sqrt{d} + B) V \tag{4}$$
#
# $B$ 的大小是 $M^2 \times M^2$，但窗口内每个方向的距离只能取 $-(M-1), \dots, M-1$，所以不同的元素只有 $(2M-1)^2$ 个。
# 它们存放在表 $\hat B$ 中，再由一个固定的**索引**指明每一对 token 查表的哪一行。行列从 0 数起，token $i$ 在 token $j$
# 下方 $\Delta r$ 行、右方 $\Delta c$ 列时，
#
# $$\text{index}_{ij} = (\Delta r + M - 1)(2M - 1) + (\Delta c + M - 1).$$


# %%
def index_by_hand(M):
    index = np.empty((M * M, M * M), int)
    for i, j in np.ndindex(M * M, M * M):
        down, right = i // M - j // M, i % M - j % M
        index[i, j] = (down + M - 1) * (2 * M - 1) + right + M - 1
    return index


print(f"M = 2, tokens 0 1 / 2 3:\n{index_by_hand(2)}\n\nM = 3, tokens 0 1 2 / 3 4 5 / 6 7 8:\n{index_by_hand(3)}\n")
for side in (2, 3, 7):
    index = index_by_hand(side)
    equal = np.array_equal(index, relative_position_index((side, side)))
    print(f"M = {side}: {index.size:4} pairs, {len(np.unique(index)):3} rows, equal to the package's: {equal}")

bias = swin.WindowBias((7, 7), num_heads=3, mask=None)
table = bias.relative_position_bias_table.asnumpy()  # ((2 M - 1)^2, heads)
by_hand = table[index_by_hand(7)].transpose(2, 0, 1)  # (heads, M M, M M)
print(f"table {table.shape} -> B {by_hand.shape}, equal to the package's: {np.array_equal(by_hand, bias().asnumpy())}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.1), layout="constrained", width_ratios=(1.5, 1))
index = index_by_hand(3)
numbers = np.arange(25).reshape(5, 5)
for axes, values, size in ((left, index, 9), (right, numbers, 10)):
    axes.imshow(values, cmap="cividis", vmin=0, vmax=24)
    for place, value in np.ndenumerate(values):
        colour = "white" if value < 12 else "black"
        axes.text(*place[::-1], value, ha="center", va="center", color=colour, fontsize=size)
for place in (2.5, 5.5):
    left.axhline(place, color="white", linewidth=2)
    left.axvline(place, color="white", linewidth=2)
left.set(xticks=range(9), yticks=range(9), xlabel="j", ylabel="i", title=both("The index for M = 3", "索引，M = 3"))
distances = [f"{n:+d}" if n else "0" for n in range(-2, 3)]
right.set_xticks(range(5), distances)
right.set_yticks(range(5), distances)
right.set(xlabel=both("i right of j by", "右方列数"), ylabel=both("i below j by", "下方行数"))
right.set_title(both("The 25 rows of the table", "表的 25 行"))
show(
    figure,
    "The index of a three by three window: the same pattern along every diagonal, at the right the table's rows "
    "by distance.",
    "3 x 3 窗口的索引，沿对角线重复同样的模式；右侧是按距离排列的表的各行。",
)

# %% [markdown] lang="en"
# Each 3 × 3 block of the index is one distance in rows; within it the columns' distances make stripes. The main
# diagonal, a token with itself, is row 12, the middle of the table. The same holds in every window of the map, so
# what is learned about "two to the left" is learned everywhere at once: like the kernel of a convolution, the bias
# depends on relative places alone. In the paper's ablation (table 4) it is worth 1.2 points of ImageNet accuracy over
# no position at all, and 0.8 over absolute position embeddings; shifting is worth 1.1 over windows that stay.

# %% [markdown] lang="zh"
# 索引中每个 3 × 3 的小块对应一个行距，块内的条纹对应列距。主对角线（token 与自身）是第 12 行，即表的正中。整张特征图
# 的所有窗口共用这张表，因此关于“左边第二个”的知识在各处同时学到：这种偏置与卷积核一样，只取决于相对位置。论文的消融实
# 验（表 4）中，它在 ImageNet 上比完全没有位置信息高 1.2 个百分点，比绝对位置编码高 0.8 个百分点；移位窗口比固定窗口高
# 1.1 个百分点。

# %% [markdown] lang="en"
# ## 8. Patch merging and the four stages
#
# Between the stages each $2 \times 2$ neighbouring tokens become one: their vectors are put side by side, $4C$
# numbers, normalised, and projected by one matrix (without bias) to $2C$.
#
# > **Often told wrong.** Patch merging maps $4C$ to $2C$. The official MindSpore course's text on Swin has it as $C$
# > to $C/2$, and one also reads that it pools. Nothing is averaged, and no token is dropped: the map has a quarter of
# > the tokens, each with twice the channels, and a learned matrix decides what of the four is kept.

# %% [markdown] lang="zh"
# ## 8. 图像块合并与四个阶段
#
# 相邻两个阶段之间，每 $2 \times 2$ 个相邻的 token 合成一个：四个向量拼接成 $4C$ 维，归一化，再用一个（无偏置的）矩阵
# 投影到 $2C$ 维。
#
# > **常见误区。** 图像块合并是从 $4C$ 到 $2C$。MindSpore 官方课程介绍 Swin 的文字写成了从 $C$ 到 $C/2$，也有资料说这
# > 是一种池化。其实这里既不求平均，也不丢弃任何 token：token 数变成四分之一，每个 token 的通道数加倍，四个向量中保留
# > 什么由学到的矩阵决定。

# %%
merging = swin.PatchMerging(dim=8)
quarters = [x[0::2, 0::2], x[1::2, 0::2], x[0::2, 1::2], x[1::2, 1::2]]  # the row runs faster
four = np.concatenate(quarters, axis=-1)  # (h / 2, w / 2, 4 C)
mean, variance = four.mean(axis=-1, keepdims=True), four.var(axis=-1, keepdims=True)
normalised = (four - mean) / np.sqrt(variance + merging.norm.epsilon)  # gamma 1 and beta 0 at the start
weight = merging.reduction.weight.asnumpy()  # (2 C, 4 C)
merged = normalised @ weight.T
difference = abs(merged - merging(Tensor(x[None])).asnumpy()[0]).max()
print(f"{x.shape} -> {four.shape} -> {merged.shape}, differs from the package's by less than 1e-5: {difference < 1e-5}")

# %% [markdown] lang="en"
# The published Swin-T has $C = 96$, blocks 2, 2, 6 and 2, and $M = 7$. The next cell runs it, with random weights, on
# the photograph at 224 pixels and prints the map of each stage. It also counts one block, $12hwC^2 + 2M^2hwC$:
# equation 2 with $8hwC^2$ for the MLP, which is four times as wide as its input.

# %% [markdown] lang="zh"
# 论文的 Swin-T：$C = 96$，四个阶段分别有 2、2、6、2 个块，$M = 7$。下面用随机权重处理 224 像素的照片，打印各阶段的特
# 征图，并统计一个块的乘法次数 $12hwC^2 + 2M^2hwC$，即公式（2）加上 MLP 的 $8hwC^2$（MLP 的隐藏层宽度是输入的四倍）。

# %%
network = create_model("swin_t")
network.set_train(False)
image = photograph[68:292, 68:292].transpose(2, 0, 1)[None] / 127.5 - 1.0  # (1, 3, 224, 224)
maps = network.maps(Tensor(image.astype(np.float32)))

total, window = 56 * 56 * 4 * 4 * 3 * 96, 7  # the patch embedding
print("stage  map               heads  windows  shifted  blocks  parameters  one block")
for n, (found, stage, heads) in enumerate(zip(maps, network.stages, (3, 6, 12, 24), strict=True), start=1):
    _, rows, columns, C = found.shape
    blocks, cells = len(stage.blocks), [cell for _, cell in stage.cells_and_names()]
    shifted = any(any(cell.shift) for cell in cells if isinstance(cell, swin.WindowAttention))
    size = sum(parameter.size for parameter in stage.get_parameters())
    block = 12 * rows * columns * C**2 + 2 * window**2 * rows * columns * C
    total += blocks * block
    total += rows * columns * (2 * C) * C if n > 1 else 0  # merging: from four times C / 2 to C
    print(
        f"{n:5}  {found.shape!s:17} {heads:5}  {rows * columns // window**2:7}  {'yes' if shifted else 'no':>7}"
        f"  {blocks:6}  {size:10,}  {block / 1e6:5.0f} M"
    )
total += 768 * 1000  # the head
size = sum(parameter.size for parameter in network.get_parameters())
print(f"\nall: {size:,} parameters, {total / 1e9:.2f} billion multiplications for an image")

# %% [markdown] lang="en"
# The paper has 29M and 4.5G (table 1). A block costs about the same in each stage: a quarter of the tokens, with
# matrices four times as large. Only the attention part shrinks. And the four maps, at 1/4, 1/8, 1/16 and 1/32 of the
# image's side, have the sizes of those that a ResNet gives to a detector; `network.features` returns them.
#
# ## 9. A small Swin learns digits
#
# Does it train, and how does it compare with ViT? Two networks of about 135,000 parameters: a Swin of two stages,
# with two blocks each, and `vit_nano_4`. Both see digits of 16 × 16 pixels in patches of 2 × 2, a map of $8 \times 8$
# tokens; Swin has windows of $M = 4$, so its first stage has four of them, and its second just one.

# %% [markdown] lang="zh"
# 论文表 1 给出 29M 参数、4.5G 计算量。各阶段的一个块开销差不多：token 少到四分之一，矩阵大到四倍，只有注意力部分在变
# 小。四张特征图的边长是图像的 1/4、1/8、1/16 和 1/32，与 ResNet 提供给检测器的相同；`network.features` 返回它们。
#
# ## 9. 小 Swin 学手写数字
#
# 它能训练好吗，与 ViT 相比如何？两个网络的参数都在 13.5 万左右：一个 Swin，两个阶段、各两个块；另一个是
# `vit_nano_4`。两者都把 16 × 16 像素的数字切成 2 × 2 的图像块，得到 $8 \times 8$ 个 token；Swin 的窗口 $M = 4$，第一
# 阶段有四个窗口，第二阶段只有一个。

# %%
runtime.setup(device_target="auto", mode="graph", seed=0)
digits = open_dataset("digits")
preprocessing = Preprocessing(image_size=16, channels=1, mean=[0.5], std=[0.5], interpolation="bicubic", crop_pct=1.0)
train_data = TrainBatches(digits, preprocessing, 64, Augmentation("affine"))
val_data, test_data = (eval_batches(digits, split, preprocessing, 64) for split in ("val", "test"))
epochs = 12
rates = learning_rates("cosine_decay", 3e-3, 0.0, 3, epochs, train_data.batches)

shape = {"image_size": 16, "input_channels": 1, "patch_size": 2, "num_classes": 10}
smaller = {"embed_dim": 32, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4, "drop_path_keep_prob": 1.0}


def train(network):
    """Train it; the history of its training loss and validation accuracy."""
    optimizer = create_optimizer(network.trainable_params(), "adamw", rates, weight_decay=0.05)
    step = TrainStep(network, CrossEntropySmooth(smooth_factor=0.1, num_classes=10), optimizer, clip_grad=1.0)
    history = []

    def on_epoch_end(done):
        accuracy = evaluate(network, val_data).metrics(digits.classes)["top1"]
        history.append((done.loss, accuracy))
        return {"val_acc": accuracy}

    fit(step, train_data, epochs, on_epoch_end)
    return history


small_swin = create_model("swin_t", **shape, **smaller)
swin_history = train(small_swin)

# %%
runtime.setup(device_target="auto", mode="graph", seed=0)
small_vit = create_model("vit_nano_4", patch_size=2, pool="mean")
vit_history = train(small_vit)

# %%
swin_cost = sum(2 * (12 * n * C**2 + 2 * 16 * n * C) for n, C in ((64, 32), (16, 64))) + 16 * 128 * 64
vit_cost = 4 * (4 * 65 * 64**2 + 2 * 65**2 * 64 + 2 * 65 * 64 * 128)
for name, network, cost in (("Swin", small_swin, swin_cost), ("ViT", small_vit, vit_cost)):
    size = sum(parameter.size for parameter in network.trainable_params())
    top1 = evaluate(network, test_data).metrics(digits.classes)["top1"]
    error = (top1 * (1 - top1) / 360) ** 0.5
    print(
        f"{name:4}  {size:,} parameters, {cost / 1e6:4.1f} M multiplications in the blocks, "
        f"test top-1 {top1:.1%} (standard error {error:.1%})"
    )

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
for history, name, colour, style in ((swin_history, "Swin", BLUE, "-"), (vit_history, "ViT", ORANGE, "--")):
    losses, accuracies = zip(*history, strict=True)
    left.plot(range(1, epochs + 1), losses, style, color=colour, label=name)
    right.plot(range(1, epochs + 1), accuracies, style, color=colour, label=name)
left.set(title=both("Training loss", "训练损失"), xlabel=both("epoch", "轮次"))
right.set(title=both("Validation accuracy", "验证准确率"), xlabel=both("epoch", "轮次"))
for axes in (left, right):
    axes.grid(alpha=0.3)
    axes.legend()
show(
    figure,
    "Training loss and validation accuracy of the small Swin and the small ViT over the epochs.",
    "小 Swin 与小 ViT 的训练损失和验证准确率随轮次的变化。",
)

# %% [markdown] lang="en"
# In our runs ViT came out a few points ahead. The 360 test images alone give such a difference a standard error of
# about two points, and this is one seed and few epochs, so do not read a ranking out of it. What can be said: the
# small Swin learns the task with a third of the multiplications. It owes that to its narrow first stage and to the 16
# tokens of its second far more than to the windows: with 64 tokens global attention is cheap, and it sees the whole
# digit from the first block on. The case for windows is the table of section 2, large maps; and the maps of all
# stages suit detection and segmentation.
#
# What did the position bias learn? The tables of the second block of each stage, seen from the token in the middle:
# bright where the head raises the score of a token that lies there.

# %% [markdown] lang="zh"
# 在我们的几次运行中，ViT 领先几个百分点。测试图像只有 360 张，单凭这一点，这样一个差值的标准误差就有大约两个百分点，
# 何况只有一个种子，轮次也很少，所以不要由此给两者排名。可以说的是：小 Swin 用三分之一的乘法学会了这个任务。这主要归功
# 于第一阶段通道少、第二阶段只有 16 个 token，而不是窗口：只有 64 个 token 时，全局注意力本来就便宜，而且从第一块起就
# 能看到整个数字。窗口的价值要看第 2 小节的表，也就是特征图大的时候；各阶段的特征图又正适合检测和分割。
#
# 位置偏置学到了什么？下面是每个阶段第二个块的表，从正中的 token 看出去：越亮的地方，表示这个头越偏向位于那里的
# token。

# %%
tables = [stage.blocks[1][0].cell[1].attention.position_bias for stage in small_swin.stages]
tables = [bias.relative_position_bias_table.asnumpy() for bias in tables]  # ((2 M - 1)^2, heads), M = 4
figure, panels = plt.subplots(1, 6, figsize=(10, 2.1), layout="constrained")
heads = [(stage, head) for stage, table in enumerate(tables) for head in range(table.shape[1])]
for axes, (stage, head) in zip(panels, heads, strict=True):
    # A row of the table is where i is, seen from j; turned by half a circle it is where j is, seen from i.
    seen = tables[stage][:, head].reshape(7, 7)[::-1, ::-1]
    axes.imshow(seen, cmap="viridis", vmin=-0.4, vmax=0.4)
    axes.plot(3, 3, "o", color=ORANGE)
    axes.set(xticks=[0, 3, 6], yticks=[0, 3, 6])
    axes.set_xticklabels(["-3", "0", "+3"])
    axes.set_yticklabels(["-3", "0", "+3"])
    axes.set_title(f"{both('stage', '阶段')} {stage + 1}, {both('head', '头')} {head + 1}", fontsize=8)
show(
    figure,
    "Learned position biases of six heads as seven by seven pictures around the token in the middle.",
    "六个头学到的位置偏置，以中间的 token 为中心的 7 x 7 图。",
)

# %% [markdown] lang="en"
# The tables began as noise of standard deviation 0.02; the scale here ends at ±0.4. In our runs neighbouring
# distances have come to have similar values, though nothing but the data says that they are neighbours, and some
# heads have come to prefer a direction.

# %% [markdown] lang="zh"
# 这些表的初始值是标准差 0.02 的噪声，图中的颜色范围到 ±0.4。除了数据，没有任何东西告诉网络哪些距离相邻，可是在我们的
# 运行中，相邻的距离得到了相近的值，有些头还偏向某个方向。

# %% [markdown] lang="en"
# ## Summary
#
# - Global attention costs $4hwC^2 + 2(hw)^2C$ multiplications, attention in windows $4hwC^2 + 2M^2hwC$: proportional
#   to the size of the map.
# - A cyclic shift by half a window in every second block carries information across the borders of windows; the mask
#   keeps tokens apart that the shift brought together from opposite sides.
# - The position bias is a table of $(2M-1)^2$ learned numbers for each head, looked up by distance.
# - Patch merging makes one token of four, $4C \to 2C$. Four stages give maps at 1/4 to 1/32 of the image's side.
#
# ### Three questions
#
# <details><summary>1. Why is the mask −100, and not minus infinity or −1?</summary>
#
# $e^{-100} \approx 4 \cdot 10^{-44}$ vanishes beside the other terms of the softmax, whose scores are of the order of
# 1; with −1 a forbidden pair would keep more than a third of its weight. Minus infinity would do as well as long as a
# row has one allowed pair (here a token may always attend to itself), but infinities turn into NaN in a row without
# any, and in half precision they are easier to meet.
# </details>
#
# <details><summary>2. A trained Swin with M = 7 is to run with windows of 12 × 12. Which weights have the wrong
# shape?</summary>
#
# Only the position bias tables: $13^2 = 169$ rows against $23^2 = 529$. As pictures of $13 \times 13$ they can be
# resized to $23 \times 23$, which is how published weights are fine-tuned at 384 pixels. Nothing else depends on $M$,
# or on the size of the image: there is no position embedding.
# </details>
#
# <details><summary>3. Without shifting, how far could information travel in a stage of six blocks? And with
# it?</summary>
#
# Without: never out of its window, however many blocks there are; only patch merging would bring windows together.
# With it: the first block fills the window, $M \times M$, and each later one adds $M/2$ on every side. One pair makes
# $2M \times 2M$, as in section 6, three pairs make $6M \times 6M$.
# </details>
#
# ### Where to go next
#
# - [Notebook 12](12_resnet_to_convnext.ipynb) goes the opposite way: a ResNet takes over Swin's design, step by step,
#   without attention.
# - `create_model("swin_t", pretrained=True)` downloads published weights (110 MB);
#   [recipes/swin_t.yaml](../../vit_ms/recipes/swin_t.yaml) trains it on ImageNet.
# - Change something: `window_size=2` or `8` in the small Swin (8 is global attention with a position bias), or
#   `patch_size=1` with a map of $16 \times 16$.
# - Read [models/swin.py](../../vit_ms/models/swin.py): `WindowAttention.construct` is six lines. It pads maps that
#   are no multiple of the window, too.

# %% [markdown] lang="zh"
# ## 小结
#
# - 全局注意力需要 $4hwC^2 + 2(hw)^2C$ 次乘法，窗口注意力需要 $4hwC^2 + 2M^2hwC$ 次，与特征图的大小成正比。
# - 每隔一个块循环移位半个窗口，让信息越过窗口边界；掩码把因移位而碰到一起、其实来自两侧的 token 隔开。
# - 位置偏置是每个头一张 $(2M-1)^2$ 个数的可学习的表，按距离查找。
# - 图像块合并把四个 token 变成一个，$4C \to 2C$。四个阶段给出边长为图像 1/4 到 1/32 的特征图。
#
# ### 三道思考题
#
# <details><summary>1. 掩码为什么是 −100，而不是负无穷或 −1？</summary>
#
# $e^{-100} \approx 4 \cdot 10^{-44}$，与 softmax 中其他项相比可以忽略（分数的数量级为 1）；若用 −1，被禁止的配对仍保
# 留三分之一以上的权重。负无穷也可以，只要每一行至少有一个允许的配对（这里每个 token 总能看到自己）；但如果某一行全被
# 禁止，负无穷就会变成 NaN，而且半精度下更容易遇到无穷大。
# </details>
#
# <details><summary>2. 训练好的 Swin 的窗口是 M = 7，现在要改用 12 × 12 的窗口。哪些权重的形状不符？</summary>
#
# 只有位置偏置表：$13^2 = 169$ 行，需要 $23^2 = 529$ 行。可以把它当作 $13 \times 13$ 的图像缩放到 $23 \times 23$，公开
# 权重在 384 像素上微调时就是这样做的。其余权重与 $M$ 无关，也与图像大小无关：这里没有位置编码。
# </details>
#
# <details><summary>3. 如果不移位，在一个有六个块的阶段里，信息能走多远？移位呢？</summary>
#
# 不移位：无论多少块，都走不出自己的窗口，只有图像块合并才会把窗口并到一起。移位：第一块传遍整个窗口 $M \times M$，此
# 后每块向各侧扩大 $M/2$。一对块达到 $2M \times 2M$（见第 6 小节），三对块达到 $6M \times 6M$。
# </details>
#
# ### 下一步
#
# - [第 12 课](12_resnet_to_convnext.ipynb)走的是相反的路：让 ResNet 一步步采用 Swin 的设计，但不用注意力。
# - `create_model("swin_t", pretrained=True)` 会下载公开的权重（110 MB）；
#   [recipes/swin_t.yaml](../../vit_ms/recipes/swin_t.yaml) 在 ImageNet 上训练它。
# - 改一处再训练：小 Swin 的 `window_size=2` 或 `8`（8 就是带位置偏置的全局注意力），或者 `patch_size=1`，特征图为
#   $16 \times 16$。
# - 读 [models/swin.py](../../vit_ms/models/swin.py)：`WindowAttention.construct` 只有六行。特征图不是窗口的整数倍时，
#   它还会补零。
