# %% [markdown] lang="en"
# # From an image to tokens
#
# A Transformer reads a sequence of vectors, an image is a grid of pixels. This notebook takes the way from one to the
# other apart, on a real photograph: cutting patches, the one matrix that embeds them (and why most libraries write it
# as a convolution), the class token, and the position embedding. At the end you have computed equation 1 of the ViT
# paper by hand and know what each choice costs.
#
# | | |
# |---|---|
# | Time | less than half a minute of computing on a CPU, 15 minutes of reading |
# | You need | Python and NumPy: what `reshape` and `transpose` do, and how matrices are multiplied |
# | Paper | Dosovitskiy et al., *An Image is Worth 16x16 Words*, 2021, [arXiv 2010.11929](https://arxiv.org/abs/2010.11929) |
#
# Equation numbers below are those of the paper.

# %% [markdown] lang="zh"
# # 从图像到 token
#
# Transformer 的输入是向量序列，而图像是像素网格。本节用一张真实的照片，把从图像到序列的过程逐步拆开：怎样切图像块，怎样
# 用同一个矩阵做嵌入（以及为什么多数库把它写成卷积），类别 token 和位置编码各起什么作用。读完本节，你就亲手算出了 ViT 论
# 文的公式（1），也清楚每种选择的代价。
#
# | | |
# |---|---|
# | 用时 | CPU 上计算不到半分钟，阅读约 15 分钟 |
# | 基础 | Python 和 NumPy：知道 `reshape` 和 `transpose` 做什么，会算矩阵乘法 |
# | 论文 | Dosovitskiy 等，*An Image is Worth 16x16 Words*，2021，[arXiv 2010.11929](https://arxiv.org/abs/2010.11929) |
#
# 下文的公式编号均与论文一致。

# %% [markdown] lang="en"
# ## 1. Set up
#
# `mode="pynative"` runs each operation when it is called, as NumPy does. Graph mode would compile whole cells first,
# which pays in training, but not for the few calls below. On Ascend nothing has to be changed.

# %% [markdown] lang="zh"
# ## 1. 准备环境
#
# `mode="pynative"` 即动态图模式：每个运算在调用时立即执行，和 NumPy 一样。图模式（静态图）要先编译整个 Cell，训练时划
# 算，本节只有寥寥几次调用，用不着。在昇腾上无须改动代码。

# %%
import vit_ms  # before mindspore
import time

import matplotlib.pyplot as plt
import numpy as np
from mindspore import Tensor
from sklearn.datasets import load_sample_image

from vit_ms import create_model, functional, runtime
from vit_ms.data.transforms import Preprocessing
from vit_ms.errors import UserError
from vit_ms.layers import PatchEmbedding, sincos_positions
from vit_ms.visualize import ORANGE, both, interactive, show

runtime.setup(device_target="auto", mode="pynative", seed=0)
vit_ms.doctor()

# %% [markdown] lang="en"
# ## 2. The photograph and its grid
#
# The photograph comes with scikit-learn. `Preprocessing` resizes it by its shorter side, takes the middle, maps pixel
# values to $[-1, 1]$ and puts the channel in front.
#
# An image of $H \times W$ pixels with $C$ channels is cut into square patches of $P \times P$ pixels. Their number is
#
# $$N = \frac{H W}{P^2} = \frac{H}{P} \cdot \frac{W}{P}$$

# %% [markdown] lang="zh"
# ## 2. 照片与网格
#
# 照片随 scikit-learn 一起安装。`Preprocessing` 按短边缩放，取中间部分，把像素值变到 $[-1, 1]$，再把通道维移到最前面。
#
# 一张 $H \times W$ 像素、$C$ 个通道的图像，切成 $P \times P$ 像素的正方形图像块，块数为
#
# $$N = \frac{H W}{P^2} = \frac{H}{P} \cdot \frac{W}{P}$$

# %%
photo = load_sample_image("china.jpg")
half = [0.5, 0.5, 0.5]
preprocessing = Preprocessing(image_size=224, channels=3, mean=half, std=half, interpolation="bicubic", crop_pct=1.0)
image = preprocessing.prepare(photo)  # (C, H, W)


def to_look_at(image):
    return preprocessing.restore(image[None])[0]  # (H, W, C) uint8


picture = to_look_at(image)
plt.rcParams["image.interpolation"] = "nearest"

P = 16
C, H, W = image.shape
N = (H // P) * (W // P)
print(f"photo    {photo.shape} {photo.dtype}")
print(f"image    {image.shape} {image.dtype}, from {image.min():.1f} to {image.max():.1f}")
print(f"grid     {H // P} x {W // P} = {N} patches")
print(f"patch    {P} x {P} pixels, {P * P * C} numbers")

# %%
row, column = 3, 4
figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 4.5), layout="constrained")
left.imshow(picture, extent=(0, W, H, 0))
left.set_xticks(range(0, W + 1, P), minor=True)
left.set_yticks(range(0, H + 1, P), minor=True)
left.grid(which="minor", color="white", linewidth=0.8)
left.tick_params(which="minor", length=0)
left.set(xticks=range(0, W + 1, 56), yticks=range(0, H + 1, 56))
left.add_patch(plt.Rectangle((column * P, row * P), P, P, fill=False, edgecolor=ORANGE, linewidth=3))
left.set_title(both("The grid: 14 x 14 patches", "网格：14 x 14 个图像块"))

patch = picture[row * P : (row + 1) * P, column * P : (column + 1) * P]
right.imshow(patch, extent=(0, P, P, 0))
right.set(xticks=range(0, P + 1, 4), yticks=range(0, P + 1, 4))
right.set_xticks(range(P + 1), minor=True)
right.set_yticks(range(P + 1), minor=True)
right.grid(which="both", color="white", linewidth=0.4)
right.tick_params(which="minor", length=0)
for spine in right.spines.values():
    spine.set(color=ORANGE, linewidth=3)
right.set_title(both("One patch: 16 x 16 pixels", "一块：16 x 16 像素"))
show(
    figure,
    "A photograph of a pavilion with a grid of 14 by 14 cells, and beside it one cell enlarged to its 16 by 16 pixels.",
    "一张楼阁照片，叠加 14 x 14 的网格；右侧把其中一格放大，可见 16 x 16 个像素。",
)

# %% [markdown] lang="en"
# > **Often told wrong.** "The image is divided into a 16 × 16 grid", or even "into 16 × 16 patches of 14 × 14 pixels",
# > as the ViT notebook of the official MindSpore course has it. In ViT-B/16 the 16 is the side of a *patch*, in pixels.
# > The *grid* has $224 / 16 = 14$ rows and columns, so $N = 196$, not 256. (The title's *16x16 words* are words of
# > 16 × 16 pixels, not 256 words.)

# %% [markdown] lang="zh"
# > **常见误区。** “把图像分成 16 × 16 的网格”，甚至“分成 16 × 16 个图像块，每块 14 × 14 像素”——MindSpore 官方课程
# > 的 ViT 教程就是这样写的。ViT-B/16 中的 16 是一个*图像块*的边长（像素）；*网格*有 $224 / 16 = 14$ 行、14 列，所以
# > $N = 196$，而不是 256。（论文标题里的 *16x16 words* 是指每个“词”有 16 × 16 像素，不是有 256 个词。）

# %% [markdown] lang="en"
# ## 3. Cutting with reshape and transpose
#
# Patches need no loop. Three steps do it:
#
# 1. **Split** both sides: $(C, H, W) \to (C, H/P, P, W/P, P)$. No number moves; row $y = rP + i$ is only written as
#    row of patches $r$ and row inside the patch $i$, and the columns likewise.
# 2. **Transpose**, so that "which patch" comes first and "where in the patch" last: $(H/P, W/P, C, P, P)$.
# 3. **Join**: $(N, P^2 C)$, one row for each patch.

# %% [markdown] lang="zh"
# ## 3. 用 reshape 和 transpose 切块
#
# 切块不需要循环，三步即可：
#
# 1. **拆分**两条边：$(C, H, W) \to (C, H/P, P, W/P, P)$。数据原地不动，只是把行号 $y = rP + i$ 写成“第 $r$ 行图像块”
#    加“块内第 $i$ 行”，列也一样。
# 2. **转置**，把“哪一块”移到前面，“块内哪个位置”留在后面：$(H/P, W/P, C, P, P)$。
# 3. **合并**：$(N, P^2 C)$，每个图像块一行。


# %%
def cut(image, P):
    C, H, W = image.shape
    parts = image.reshape(C, H // P, P, W // P, P)  # split
    parts = parts.transpose(1, 3, 0, 2, 4)  # (H/P, W/P, C, P, P)
    return parts.reshape(-1, C * P * P)  # (N, P^2 C)


small = np.arange(16).reshape(1, 4, 4)
print("an image of 4 x 4 numbers, one channel:")
print(small[0])
print("cut, P = 2, one patch a row:")
print(cut(small, 2))
print("reshape alone:")
print(small.reshape(4, 4))

# %% [markdown] lang="en"
# The first patch holds 0, 1, 4, 5: a square. `reshape` alone has the same shape and raises no error, but its rows are
# rows of the image. On the photograph the mistake takes 768 consecutive numbers, some three rows of a single channel:

# %% [markdown] lang="zh"
# 第一个图像块是 0、1、4、5，正好是一个正方形。只用 `reshape`，形状一样，也不报错，但每一行只是图像的一行。对照片来说，
# 这个错误会取出 768 个连续的数，也就是单个通道里的三行多一点：

# %%
patches = cut(image, P)  # (N, P^2 C)
package = functional.patchify(Tensor(image[None]), P)  # (1, N, P^2 C)
bare = image.reshape(N, P * P * C)
print(f"patches {patches.shape}, the package's {package.shape}")
print(f"largest difference {np.abs(patches - package[0].asnumpy()).max()}")

# Which pixels is a row of each made of? Cut an array that counts them.
n = row * (W // P) + column
places = np.arange(C * H * W).reshape(C, H, W)
figure, panels = plt.subplots(1, 2, figsize=(8, 4.3), layout="constrained")
titles = (
    both("split, transpose, join", "拆分、转置、合并"),
    both("reshape alone: one channel", "只用 reshape：单通道"),
)
for axes, rows, title in zip(panels, (cut(places, P), places.reshape(N, -1)), titles, strict=True):
    used = np.isin(places, rows[n]).transpose(1, 2, 0)  # (H, W, C)
    axes.imshow(np.where(used.any(axis=-1, keepdims=True), picture * used, 225), extent=(0, W, H, 0))
    axes.set_xticks(range(0, W + 1, P), minor=True)
    axes.set_yticks(range(0, H + 1, P), minor=True)
    axes.grid(which="minor", color="white", linewidth=0.8)
    axes.tick_params(which="minor", length=0)
    axes.set(xticks=[], yticks=[])
    axes.set_title(title)
figure.suptitle(both(f"The pixels of row {n} of the patches", f"第 {n} 行所含的像素"))
show(
    figure,
    "On the left the pixels of one square of the grid, on the right three rows of pixels, in red only.",
    "左图是网格中一个正方形的像素，右图是三行多像素，而且只有红色通道。",
)

# %% [markdown] lang="en"
# ## 4. One matrix for all patches
#
# Each flattened patch $x_p^n$, a row of $P^2 C$ numbers, is multiplied by the same matrix and becomes $D$ numbers:
#
# $$x_p^n E + b, \qquad E \in \mathbb{R}^{(P^2 C) \times D}$$
#
# (The paper does not write the bias $b$; its code has it.) In ViT-B/16 both sizes are 768: $16^2 \cdot 3$ by
# arithmetic, $D$ by choice. ViT-L/16 has $D = 1024$ for the same patches.
#
# Most libraries store $E$ as the weight of a convolution whose stride is its kernel size, of shape $(D, C, P, P)$. Such
# a kernel is laid on each patch exactly once, and gives for patch $(r, s)$ and output channel $k$
#
# $$\sum_{c,i,j} \text{weight}[k, c, i, j] \; x[c, \, rP + i, \, sP + j],$$
#
# a dot product of the patch with row $k$ of the weight, both flattened in the order channel, row, column. So
# **$E$ is the weight reshaped to $(D, P^2 C)$ and transposed**, and the convolution is one matrix product.
#
# The network of the next cell has ViT-B/16's embedding, with random values, and one block instead of twelve.

# %% [markdown] lang="zh"
# ## 4. 所有图像块共用一个矩阵
#
# 每个展平的图像块 $x_p^n$ 是一行 $P^2 C$ 个数，乘上同一个矩阵，得到 $D$ 个数：
#
# $$x_p^n E + b, \qquad E \in \mathbb{R}^{(P^2 C) \times D}$$
#
# （偏置 $b$ 论文没有写出来，论文的代码里有。）在 ViT-B/16 中两个维度都是 768：前者由 $16^2 \cdot 3$ 算出，后者 $D$ 是人
# 为选定的；图像块相同的 ViT-L/16 就取 $D = 1024$。
#
# 多数库把 $E$ 存成步长等于核大小的卷积的权重，形状为 $(D, C, P, P)$。这样的卷积核在每个图像块上恰好放一次，对图像块
# $(r, s)$ 和输出通道 $k$ 算出
#
# $$\sum_{c,i,j} \text{weight}[k, c, i, j] \; x[c, \, rP + i, \, sP + j],$$
#
# 也就是图像块与权重第 $k$ 行的内积，两者都按通道、行、列的顺序展平。所以，**把权重 reshape 成 $(D, P^2 C)$ 再转置就是
# $E$**，整个卷积就是一次矩阵乘法。
#
# 下面的网络带有 ViT-B/16 的嵌入层（权重是随机初值），编码器只留一层，不是十二层。

# %%
network = create_model("vit_b_16", num_layers=1)
network.set_train(False)
conv = network.patch_embedding.conv
x = Tensor(image[None])  # (1, C, H, W)
weight, b = conv.weight.asnumpy(), conv.bias.asnumpy()
D = weight.shape[0]
E = weight.reshape(D, -1).T  # (P^2 C, D)
print(f"weight {weight.shape}, E {E.shape}, b {b.shape}")

by_hand = patches @ E + b  # (N, D)
maps = conv(x)  # (1, D, H/P, W/P)
by_conv = maps.reshape(1, D, N).transpose(0, 2, 1)  # (1, N, D)
by_package = functional.patch_embed(x, conv.weight, conv.bias)  # (1, N, D)
print(f"nn.Conv2d gives {maps.shape}, as a sequence {by_conv.shape}")
print(f"by hand and nn.Conv2d:      largest difference {np.abs(by_hand - by_conv[0].asnumpy()).max():.1e}")
print(f"by hand and patch_embed:    largest difference {np.abs(by_hand - by_package[0].asnumpy()).max():.1e}")

# %% [markdown] lang="en"
# The order of the axes is the trap when weights are carried from one library to another. The paper's JAX code has the
# weight as $(P, P, C, D)$, so its patches are flattened as row, column, channel. Either order is fine, a mixture is
# not, and no shape gives it away:

# %% [markdown] lang="zh"
# 在不同的库之间搬运权重时，轴的顺序是个陷阱。论文的 JAX 代码里权重形状是 $(P, P, C, D)$，图像块按行、列、通道的顺序展
# 平。两种顺序都可以，混用就错了，而且从形状上看不出来：

# %%
parts = image.reshape(C, H // P, P, W // P, P)
channels_last = parts.transpose(1, 3, 2, 4, 0).reshape(N, -1)  # a patch as row, column, channel
E_last = weight.transpose(2, 3, 1, 0).reshape(-1, D)  # so E must be, too
mixed = np.abs(channels_last @ E + b - by_hand).max()
matching = np.abs(channels_last @ E_last + b - by_hand).max()
print(f"patches channels last, E channels first: difference {mixed:.1f}")
print(f"patches channels last, E channels last:  difference {matching:.1e}")

# %% [markdown] lang="en"
# Which form is faster? The arithmetic is the same, $N \cdot P^2 C \cdot D$ multiplications; what differs is how well
# the library does it.

# %% [markdown] lang="zh"
# 哪种写法更快？乘法次数完全一样，都是 $N \cdot P^2 C \cdot D$ 次；差别只在库的实现好不好。


# %%
def milliseconds(compute, repeats=7):
    compute()  # the first call sets things up
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        compute()
        times.append(1e3 * (time.perf_counter() - start))
    return min(times)


eight = Tensor(np.repeat(image[None], 8, axis=0))  # (8, C, H, W)
print("8 images, the fastest of 7 calls:")
print(f"nn.Conv2d      {milliseconds(lambda: conv(eight).asnumpy()):7.1f} ms")
print(f"patch_embed    {milliseconds(lambda: functional.patch_embed(eight, conv.weight, conv.bias).asnumpy()):7.1f} ms")
print(f"NumPy          {milliseconds(lambda: [cut(image, P) @ E + b for _ in range(8)]):7.1f} ms")

# %% [markdown] lang="en"
# These are times of the machine that this page was made on; yours may rank the three in another way. On an Intel
# processor with AMX units MindSpore 2.10 took 2 s for this convolution and 10 ms for the product, so
# [functional.py](../../vit_ms/functional.py) cuts and multiplies on a CPU; on Ascend it calls the convolution. On an
# AMD processor with AVX2 only (and busy with other work) the convolution took about half the time of cutting and
# multiplying: MindSpore's transposition took far longer there than NumPy's. Written as a convolution, the same function
# cost 200 times as much in one place and half as much in the other, so measure where you compute.

# %% [markdown] lang="zh"
# 这是生成本页的那台机器上的时间，换一台机器，快慢次序可能完全不同。在一台带 AMX 单元的 Intel 处理器上，MindSpore 2.10
# 做这个卷积要 2 秒，而矩阵乘法只要 10 毫秒，所以 [functional.py](../../vit_ms/functional.py) 在 CPU 上采用切块再相乘的
# 办法，在昇腾上则直接调用卷积。在一台只有 AVX2 的 AMD 处理器上（当时还有别的负载），卷积的用时反而只有切块再相乘的一
# 半左右：那里 MindSpore 的转置比 NumPy 慢得多。同一个函数写成卷积，在一处慢 200 倍，在另一处却快一倍，所以要在实际运行
# 的机器上测量。

# %% [markdown] lang="en"
# ## 5. The class token
#
# The classifier needs one vector for the whole image, and none of the 196 is that. ViT puts one more token in front, as
# BERT does with sentences: $x_{\text{class}}$, a learned vector that is the same for every image. In the encoder it
# collects from the patches what tells the class, and after the last block the classifier reads this token and no other.
#
# The obvious alternative is the **mean** of the patch tokens. The paper found both equally good, provided that each has
# the learning rate that suits it (appendix D.3); in this package it is `create_model(..., pool="mean")`. With it the
# class token remains in the sequence, only the head does not read it.

# %% [markdown] lang="zh"
# ## 5. 类别 token
#
# 分类器需要一个代表整张图像的向量，而 196 个图像块 token 中没有哪一个能代表全图。ViT 仿照 BERT 处理句子的做法，在最前面
# 再加一个 token：$x_{\text{class}}$，一个可学习的向量，对每张图像都相同。它在编码器里向各个图像块收集判断类别所需的信
# 息，最后一层之后，分类器只读取它。
#
# 另一种自然的做法是取图像块 token 的**平均值**。论文发现，只要各自使用合适的学习率，两者效果相当（附录 D.3）；在本工具
# 包中写成 `create_model(..., pool="mean")`。这时类别 token 仍留在序列里，只是分类头不读它。

# %%
x_class = network.cls_token.asnumpy()[0]  # (1, D)
tokens = np.concatenate([x_class, by_hand])  # (N + 1, D)
print(f"class token {x_class.shape}, initial values {x_class.min()} to {x_class.max()}")
print(f"sequence    {tokens.shape}")
print(f"pool='cls'  reads {tokens[0].shape}, place 0")
print(f"pool='mean' reads {tokens[1:].mean(axis=0).shape}, the mean of places 1 to {N}")

# %% [markdown] lang="en"
# ## 6. The position embedding
#
# Nothing in a token says where its patch was. ViT adds to each place of the sequence a learned vector, a row of
# $E_{\text{pos}} \in \mathbb{R}^{(N+1) \times D}$. It is *added*, so the width stays $D$. It is called *1-D* because
# places are only numbered, 0 to $N$: that patch 15 lies directly below patch 1 is something that training has to find
# out. The initial values are drawn from a normal distribution with standard deviation 0.02, small beside the embedded
# patches:

# %% [markdown] lang="zh"
# ## 6. 位置编码
#
# token 本身不带任何位置信息。ViT 给序列的每个位置加上一个可学习的向量，即
# $E_{\text{pos}} \in \mathbb{R}^{(N+1) \times D}$ 的一行。因为是*相加*，宽度仍是 $D$。之所以叫*一维*位置编码，是因为位
# 置只按 0 到 $N$ 编号：第 15 块就在第 1 块的正下方，这一点要靠训练去发现。初始值取自标准差 0.02 的正态分布，与图像块嵌
# 入相比很小：

# %%
E_pos = network.pos_embedding.asnumpy()[0]  # (N + 1, D)
print(f"E_pos {E_pos.shape}")
print(f"root mean square of the embedded patches {np.sqrt((by_hand**2).mean()):.2f}, of E_pos {E_pos.std():.3f}")

# %% [markdown] lang="en"
# > **Often told wrong.** That the initial values of $E_{\text{pos}}$ do not matter, as it is learned anyway. The ViT
# > notebook of the official MindSpore course draws them (and the class token) from a normal distribution with standard
# > deviation 1: fifty times as large, and larger than the embedded patches themselves. At the start the network then
# > reads mostly random numbers that are the same for every image.

# %% [markdown] lang="zh"
# > **常见误区。** “$E_{\text{pos}}$ 反正要学，初始值无所谓。”MindSpore 官方课程的 ViT 教程用标准差为 1 的正态分布初始
# > 化位置编码（以及类别 token）：大了五十倍，比图像块嵌入本身还大。这样一来，训练之初网络读到的主要是一堆与图像内容无
# > 关、每张图都一样的随机数。

# %% [markdown] lang="en"
# What does "near" mean for position embeddings? The picture shows the cosine similarity between one patch's vector and
# all of them. Before training the learned vectors are random, and no patch is nearer than another. The fixed *sin-cos*
# embedding (here as Beyer et al. 2022 use it, [arXiv 2205.01580](https://arxiv.org/abs/2205.01580)) has the geometry of
# the grid from the start. The ViT paper's figure 7 (centre) shows that learned ones acquire it: after training, vectors
# of near patches and of the same row or column are similar.

# %% [markdown] lang="zh"
# 对位置编码来说，什么叫“近”？下图画出一个图像块的位置向量与所有位置向量的余弦相似度。训练之前，可学习的位置编码是随机
# 的，分不出远近；固定的 *sin-cos* 位置编码（此处采用 Beyer 等 2022 年的形
# 式，[arXiv 2205.01580](https://arxiv.org/abs/2205.01580)）一开始就带有网格的几何结构。ViT 论文的图 7（中）表明，可学习
# 的位置编码通过训练也会得到这种结构：相邻、同行或同列的位置，向量彼此相似。


# %%
def similarity(vectors, n):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return (unit @ unit[n]).reshape(H // P, W // P)


row, column = 5, 4
n = row * (W // P) + column
kinds = {
    both("learned, before training", "可学习，训练前"): E_pos[1:],
    both("sin-cos, fixed", "sin-cos，固定"): sincos_positions((H // P, W // P), D),
}
figure, panels = plt.subplots(1, 2, figsize=(8.5, 4), layout="constrained")
for axes, (title, vectors) in zip(panels, kinds.items(), strict=True):
    drawn = axes.imshow(similarity(vectors, n), cmap="viridis", vmin=0, vmax=1)
    axes.plot(column, row, "o", color=ORANGE)
    axes.set_title(title)
figure.colorbar(drawn, ax=panels, label=both("cosine similarity", "余弦相似度"))
show(
    figure,
    "Similarity of one position embedding to all: for random ones only to itself, for sin-cos ones it falls with distance.",
    "一个位置编码与所有位置编码的相似度：随机初值只与自己相似，sin-cos 则随距离增大而下降。",
)

# %% [markdown] lang="en"
# ### What shuffling does
#
# To see what positions are for, shuffle the patches of the photograph. `paste` puts patches together to an image again:
# the three steps of `cut` backwards.

# %% [markdown] lang="zh"
# ### 打乱图像块会怎样
#
# 把照片的图像块打乱，就能看出位置编码的作用。`paste` 把图像块重新拼成图像：正是 `cut` 的三步倒过来做。


# %%
def paste(patches, C, H, W, P):
    parts = patches.reshape(H // P, W // P, C, P, P)
    parts = parts.transpose(2, 0, 3, 1, 4)  # (C, H/P, P, W/P, P)
    return parts.reshape(C, H, W)


order = np.random.default_rng(0).permutation(N)
shuffled = patches[order]
print(f"paste(cut(image)) is the image: {np.array_equal(paste(patches, C, H, W, P), image)}")

figure, axes = plt.subplots(figsize=(4.2, 4.4), layout="constrained")
axes.imshow(to_look_at(paste(shuffled, C, H, W, P)))
axes.set(xticks=[], yticks=[])
axes.set_title(both("The patches shuffled", "打乱后的图像块"))
show(
    figure,
    "The patches of the photograph in random order, in which no pavilion can be seen.",
    "照片的图像块随机排列，已看不出楼阁。",
)

# %%
embedded = patches @ E + b  # (N, D)
embedded_shuffled = shuffled @ E + b
without = np.abs(embedded_shuffled - embedded[order]).max()
positions = E_pos[1:]
with_positions = (embedded_shuffled + positions) - (embedded + positions)[order]
print(f"without positions: the same tokens in another order, difference {without:.1e}")
print(f"with positions:    other tokens, difference {np.abs(with_positions).max():.3f}")
remainder = np.abs(with_positions - (positions - positions[order])).max()
print(f"                   it is E_pos - E_pos[order] up to {remainder:.1e}")

# %% [markdown] lang="en"
# Without positions the photograph and the shuffled one give the same *set* of tokens. What comes after treats its input
# as a set: self-attention and the MLPs ([notebook 3](03_attention_by_hand.ipynb) shows it). So the two could not be
# told apart. With positions a token says "this content at this place".
#
# In the paper ViT-B/16 without positions loses about three percentage points (61.4 % in place of 64.2 %, ImageNet, 5
# images a class, appendix D.4, table 8), while 1-D, 2-D and relative positions differ by a few tenths. In this package
# `create_model(..., position=...)` chooses; its relative form is not the paper's but Swin's
# ([notebook 11](11_swin.ipynb)).

# %% [markdown] lang="zh"
# 没有位置编码时，原图和打乱后的图得到的是同一个 token *集合*。后面的自注意力和 MLP 都把输入当作集合来处理（见
# [第 3 课](03_attention_by_hand.ipynb)），因此无法区分这两张图。加上位置编码，一个 token 表达的就是“这个内容在这个位
# 置”。
#
# 论文中，去掉位置编码的 ViT-B/16 下降约三个百分点（ImageNet，每类 5 张图像，从 64.2% 降到 61.4%，附录 D.4，表 8），而一
# 维、二维和相对位置编码之间只差零点几个百分点。在本工具包中用 `create_model(..., position=...)` 选择，其中的相对位置采
# 用 Swin 的形式，与论文不同（见[第 11 课](11_swin.ipynb)）。

# %% [markdown] lang="en"
# ## 7. Equation 1, whole
#
# $$z_0 = [ x_{\text{class}}; x_p^1 E; x_p^2 E; \dots; x_p^N E ] + E_{\text{pos}},
# \qquad E_{\text{pos}} \in \mathbb{R}^{(N + 1) \times D} \tag{1}$$
#
# One line of NumPy, against the package's:

# %% [markdown] lang="zh"
# ## 7. 完整的公式（1）
#
# $$z_0 = [ x_{\text{class}}; x_p^1 E; x_p^2 E; \dots; x_p^N E ] + E_{\text{pos}},
# \qquad E_{\text{pos}} \in \mathbb{R}^{(N + 1) \times D} \tag{1}$$
#
# NumPy 只要一行，与工具包的结果对照：

# %%
z0 = np.concatenate([x_class, cut(image, P) @ E + b]) + E_pos  # (N + 1, D)
package = network.embed_tokens(network.embed_patches(x))  # (1, N + 1, D)
print(f"z_0 {z0.shape}, the package's {package.shape}")
print(f"largest difference {np.abs(z0 - package[0].asnumpy()).max():.1e}")

# %% [markdown] lang="en"
# ## 8. What the patch size costs
#
# The table counts for $D = 768$. *Pairs* is $(N + 1)^2$, the entries of one attention matrix. The paper mostly
# fine-tunes at 384 pixels, and uses the patch size 14 for its largest model (fine-tuned at $518 = 37 \cdot 14$).

# %% [markdown] lang="zh"
# ## 8. 图像块大小的代价
#
# 下表按 $D = 768$ 计算。*pairs* 是 $(N + 1)^2$，即一个注意力矩阵的元素个数。论文的微调多用 384 像素的图像；最大的模型使
# 用边长 14 的图像块（微调时图像为 $518 = 37 \cdot 14$ 像素）。

# %%
print("image  patch     grid  patches  tokens      pairs  E and b  positions")
for side in (224, 384):
    for size in (32, 16, 14):
        if side % size:
            continue
        count = (side // size) ** 2
        embedding, position = (size * size * C + 1) * D, (count + 1) * D
        grid = f"{side // size} x {side // size}"
        print(
            f"{side:5}  {size:5}  {grid:>7}  {count:7}  {count + 1:6}  {(count + 1) ** 2:9,}  "
            f"{embedding / 1e6:5.2f} M  {position / 1e6:7.2f} M"
        )

counted = sum(p.size for p in network.patch_embedding.get_parameters()) + network.pos_embedding.size
print(f"\nViT-B/16 at 224 pixels, patch embedding and positions as the network has them: {counted / 1e6:.2f} M")
try:
    PatchEmbedding(image_size=384, patch_size=14)
except UserError as error:
    print(f"\n{error}")

# %% [markdown] lang="en"
# - Halving the patch size makes four times as many patches and nearly sixteen times as many pairs.
# - *Smaller* patches mean *fewer* parameters in $E$, for it has $P^2 C$ rows. All this is little beside the 85 million
#   of ViT-B's encoder, whose number does not depend on $N$ at all.
# - The only weights tied to the number of patches are the position embeddings. To read larger images they are
#   interpolated (section 3.2 of the paper; [notebook 8](08_transfer.ipynb)).

# %% [markdown] lang="zh"
# - 图像块边长减半，图像块数变为 4 倍，注意力矩阵的元素变为将近 16 倍。
# - 图像块越*小*，$E$ 的参数反而越*少*，因为它有 $P^2 C$ 行。与 ViT-B 编码器的 8500 万参数相比，这些都不多；编码器的参数
#   量与 $N$ 完全无关。
# - 与图像块数量绑定的权重只有位置编码。要处理更大的图像，就对它做插值（论文 3.2 节；[第 8 课](08_transfer.ipynb)）。


# %%
def spread(picture, P, gap=3):
    H, W, C = picture.shape
    parts = picture.reshape(H // P, P, W // P, P, C)
    parts = np.pad(parts, ((0, 0), (0, gap), (0, 0), (0, gap), (0, 0)), constant_values=255)
    return parts.reshape(H // P * (P + gap), W // P * (P + gap), C)[:-gap, :-gap]


def draw_patches(axes, P):
    side = 224 // P
    axes.imshow(spread(picture, P))
    axes.set(xticks=[], yticks=[], frame_on=False)
    axes.set_title(f"P = {P}: {side} x {side} = {side * side}")


figure, panels = plt.subplots(1, 3, figsize=(10, 3.9), layout="constrained")
for axes, size in zip(panels, (56, 32, 16), strict=True):
    draw_patches(axes, size)
figure.suptitle(both("The same photograph in patches of three sizes", "同一张照片的三种切法"))
show(
    figure,
    "The photograph cut into 16, 49 and 196 patches.",
    "照片分别切成 16、49 和 196 个图像块。",
)

# %% [markdown] lang="en"
# Choose the patch size yourself (in a notebook that runs):

# %% [markdown] lang="zh"
# 自己选择图像块的边长（需运行本 notebook）：


# %%
def draw(patch_size):
    figure, axes = plt.subplots(figsize=(5.5, 5.8), layout="constrained")
    draw_patches(axes, patch_size)
    return figure


interactive(draw, patch_size=[8, 16, 32, 56])

# %% [markdown] lang="en"
# ## Summary
#
# - ViT-B/16: patches of 16 × 16 pixels in a 14 × 14 grid, $N = 196$. Cutting is split, transpose, join; `reshape` alone
#   cuts wrongly and says nothing.
# - The patch embedding is one matrix product. As a convolution with stride $P$ it is the same function; the order of
#   the axes of weight and patch must match.
# - The class token is a learned vector that collects what the classifier reads; the mean of the patch tokens is the
#   alternative.
# - The position embedding is added and starts small. Without it, shuffled patches are the same set of tokens.
# - Image size and patch size set the number of tokens, and that sets the cost.
#
# ### Three questions
#
# <details><summary>1. A ViT with P = 7 and D = 64 reads grey images of 28 × 28 pixels. How many tokens are there, and what
# are the shapes of E and E_pos?</summary>
#
# $N = (28 / 7)^2 = 16$, so 17 tokens. A patch has $7^2 \cdot 1 = 49$ numbers: $E$ is $49 \times 64$, $E_{\text{pos}}$
# is $17 \times 64$.
# </details>
#
# <details><summary>2. Can the pixels of a patch be computed back from its embedding, in ViT-B/16 (D = 768) and in
# ViT-Ti/16 (D = 192)?</summary>
#
# In ViT-B/16 $E$ is square, 768 × 768. Unless it is singular, subtracting $b$ and multiplying by $E^{-1}$ gives the
# patch back: nothing is lost. In ViT-Ti/16 768 numbers become 192: different patches can share an embedding, and
# training has to choose what is kept.
# </details>
#
# <details><summary>3. The photograph is mirrored left to right. Without position embeddings, does the network get the same
# set of tokens?</summary>
#
# No. Mirroring also reverses the columns inside each patch, so the flattened patches, and with them the tokens, are
# others. Only moving whole patches about leaves the set as it is.
# </details>
#
# ### Where to go next
#
# - [Notebook 3](03_attention_by_hand.ipynb): what the encoder does with these tokens.
# - In the code: `PatchEmbedding` in [layers.py](../../vit_ms/layers.py), `embed_tokens` in
#   [models/vit.py](../../vit_ms/models/vit.py), `patchify` and `patch_embed` in
#   [functional.py](../../vit_ms/functional.py).
# - Try it: `load_sample_image("flower.jpg")`, or `Preprocessing(image_size=[224, 336], ...)` with other numbers of rows
#   and columns (`cut` and `paste` take them as they are; `create_model` needs the same `image_size`).
# - In the paper: section 3.1, and appendix D.3 and D.4 on the class token and positions.

# %% [markdown] lang="zh"
# ## 小结
#
# - ViT-B/16：图像块为 16 × 16 像素，网格为 14 × 14，$N = 196$。切块就是拆分、转置、合并；只用 `reshape` 会切错，而且不
#   报错。
# - 图像块嵌入是一次矩阵乘法，与步长为 $P$ 的卷积是同一个函数；权重与图像块的轴顺序必须一致。
# - 类别 token 是一个可学习的向量，收集分类器所需的信息；也可以改用图像块 token 的平均值。
# - 位置编码是相加的，初值要小。没有它，打乱的图像块就是同一个 token 集合。
# - 图像大小和图像块大小决定 token 数，token 数决定计算代价。
#
# ### 三道思考题
#
# <details><summary>1. 一个 P = 7、D = 64 的 ViT 处理 28 × 28 像素的灰度图。共有多少个 token？E 和 E_pos 是什么形
# 状？</summary>
#
# $N = (28 / 7)^2 = 16$，共 17 个 token。每个图像块有 $7^2 \cdot 1 = 49$ 个
# 数：$E$ 是 $49 \times 64$，$E_{\text{pos}}$ 是 $17 \times 64$。
# </details>
#
# <details><summary>2. 能否从图像块的嵌入反算出它的像素？ViT-B/16（D = 768）和 ViT-Ti/16（D = 192）有何不同？</summary>
#
# ViT-B/16 的 $E$ 是 768 × 768 的方阵，只要可逆，减去 $b$ 再乘 $E^{-1}$ 就能还原图像块，信息没有损
# 失。ViT-Ti/16 把 768 个数变成 192 个：不同的图像块可能得到相同的嵌入，保留哪些信息要靠训练来决定。
# </details>
#
# <details><summary>3. 把照片左右翻转。如果没有位置编码，网络得到的 token 集合还一样吗？</summary>
#
# 不一样。翻转同时颠倒了每个图像块内部的列，展平后的图像块变了，token 也就变了。只有整块整块地移动，token 集合才保持不
# 变。
# </details>
#
# ### 下一步
#
# - [第 3 课](03_attention_by_hand.ipynb)：编码器如何处理这些 token。
# - 读代码：[layers.py](../../vit_ms/layers.py) 中的 `PatchEmbedding`，[models/vit.py](../../vit_ms/models/vit.py) 中的
#   `embed_tokens`，[functional.py](../../vit_ms/functional.py) 中的 `patchify` 和 `patch_embed`。
# - 动手试试：换成 `load_sample_image("flower.jpg")`；或者用 `Preprocessing(image_size=[224, 336], ...)`，行数和列数不同
#   也可以（`cut` 和 `paste` 无须修改，`create_model` 要给出同样的 `image_size`）。
# - 读论文：3.1 节，以及附录 D.3、D.4 中关于类别 token 和位置编码的实验。
