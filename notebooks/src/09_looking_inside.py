# %% [markdown] lang="en"
# # Looking inside a ViT
#
# A trained ViT can be looked into: its position embeddings, the filters of its patch embedding, and for every image the
# attention of each head. In this notebook you train one on handwritten digits and draw the pictures with which the
# paper looks inside the large ones (figures 6 and 7). At the end you test what such a picture proves, and what not.
#
# | | |
# |---|---|
# | Time | one to two minutes of computing on a CPU with two cores, 15 to 20 minutes of reading |
# | You need | [notebook 1](01_five_minutes_to_vit.ipynb) and attention ([3](03_attention_by_hand.ipynb)) |
# | Papers | Dosovitskiy et al. 2021, [arXiv 2010.11929](https://arxiv.org/abs/2010.11929), section 4.5, D.7, D.8 |
# | | Abnar and Zuidema 2020, *Quantifying Attention Flow*, [arXiv 2005.00928](https://arxiv.org/abs/2005.00928) |

# %% [markdown] lang="zh"
# # 走进 ViT 的内部
#
# 训练好的 ViT 可以打开来看：位置编码、图像块嵌入的滤波器，以及每张图像在每个注意力头上的注意力。本节在手写数字上训练一
# 个小型 ViT，用论文观察大模型的方法（图 6 和图 7）画出同样的图；最后再检验：这样的图能说明什么，不能说明什么。
#
# | | |
# |---|---|
# | 用时 | 双核 CPU 上计算一到两分钟，阅读 15 到 20 分钟 |
# | 基础 | [第 1 课](01_five_minutes_to_vit.ipynb)和注意力（[第 3 课](03_attention_by_hand.ipynb)） |
# | 论文 | Dosovitskiy 等 2021，[arXiv 2010.11929](https://arxiv.org/abs/2010.11929)，4.5 节、附录 D.7 和 D.8 |
# | | Abnar 与 Zuidema 2020，*Quantifying Attention Flow*，[arXiv 2005.00928](https://arxiv.org/abs/2005.00928) |

# %% [markdown] lang="en"
# ## 1. A network with a 7 × 7 grid
#
# The functions that look inside are in [introspection.py](../../vit_ms/introspection.py): arrays in, arrays out, for
# every ViT of this package, whatever its size. The drawing is done here.

# %% [markdown] lang="zh"
# ## 1. 一个 7 × 7 网格的网络
#
# 观察网络内部的函数都在 [introspection.py](../../vit_ms/introspection.py) 里：输入数组，输出数组，适用于本工具包中任意
# 规模的 ViT。画图的代码写在本节里。

# %%
import vit_ms  # before mindspore

import matplotlib.pyplot as plt
import numpy as np
from mindspore import Tensor

from vit_ms import create_model, runtime
from vit_ms.data.batches import TrainBatches, eval_batches
from vit_ms.data.catalog import open_dataset
from vit_ms.data.transforms import Augmentation, Preprocessing
from vit_ms.engine import TrainStep, evaluate, fit
from vit_ms.introspection import (
    attention_distance,
    attention_maps,
    attention_rollout,
    embedding_filters,
    position_similarity,
)
from vit_ms.losses import CrossEntropySmooth
from vit_ms.optim import create_optimizer, learning_rates
from vit_ms.visualize import BLUE, GREEN, GREY, ORANGE, both, interactive, show

runtime.setup(device_target="auto", mode="graph", seed=0)
vit_ms.doctor()

# %% [markdown] lang="en"
# The digits are enlarged from 8 × 8 to 28 × 28 pixels and cut into patches of $P = 4$: a 7 × 7 grid, as ViT-L/32 has it
# on photographs of 224 × 224 pixels, the network of the paper's figure 7 (left and centre). With the class token the
# network has 50 tokens. What it knows before it has learned anything is kept for comparison.

# %% [markdown] lang="zh"
# 把 8 × 8 的数字放大到 28 × 28，图像块边长 $P = 4$，得到 7 × 7 的网格。论文图 7（左、中）的 ViT-L/32 处理 224 × 224 的
# 照片时，网格也是 7 × 7。加上类别 token，一共 50 个 token。训练之前先把初始状态保存下来，供后面对比。

# %%
digits = open_dataset("digits")
preprocessing = Preprocessing(image_size=28, channels=1, mean=[0.5], std=[0.5], interpolation="bicubic", crop_pct=1.0)
network = create_model("vit_nano_4", image_size=28)
grid = network.patch_embedding.grid
kernel = network.patch_embedding.conv.weight  # (64, 1, 4, 4)

similarity_before = position_similarity(network)
filters_before = embedding_filters(network)
kernel_before = kernel.asnumpy().copy()
print(f"grid {grid}, position embeddings {network.pos_embedding.shape}, filters {kernel.shape}")

# %%
epochs, batch_size = 20, 64
train_data = TrainBatches(digits, preprocessing, batch_size, Augmentation("affine"))
rates = learning_rates(
    "cosine_decay", 3e-3, 0.0, warmup_epochs=5, epoch_size=epochs, steps_per_epoch=train_data.batches
)
optimizer = create_optimizer(network.trainable_params(), "adamw", rates, weight_decay=0.05)
loss_fn = CrossEntropySmooth(smooth_factor=0.1, num_classes=10)
train_step = TrainStep(network, loss_fn, optimizer, clip_grad=1.0)
trained = fit(train_step, train_data, epochs, on_epoch_end=lambda done: {})

# %%
test = evaluate(network, eval_batches(digits, "test", preprocessing, batch_size=180))
print(f"training loss: {trained[0].loss:.2f} in the first epoch, {trained[-1].loss:.2f} in the last")
print(f"test accuracy: {test.metrics(digits.classes)['top1']:.1%} of {len(test.labels)} digits")

# %% [markdown] lang="en"
# Twenty epochs are enough to have something to look at. (The recipe in
# [digits.yaml](../../vit_ms/recipes/digits.yaml) trains for 60.)

# %% [markdown] lang="zh"
# 20 个 epoch 已经足够用来观察。（[digits.yaml](../../vit_ms/recipes/digits.yaml) 中的训练配方是 60 个 epoch。）

# %% [markdown] lang="en"
# ## 2. What positions look like
#
# Each of the 49 places has a vector $e_i \in \mathbb{R}^{64}$, a row of $E_{\text{pos}}$ in equation 1. It starts as
# noise. Nothing in the network says that patch 1 lies to the left of patch 2, or patch 8 below patch 1: rows and
# columns have to be found out from the images. How alike two places have become is the cosine of the angle between
# their vectors:
#
# $$s_{ij} = \frac{e_i \cdot e_j}{\lVert e_i \rVert \, \lVert e_j \rVert}$$

# %% [markdown] lang="zh"
# ## 2. 位置编码学到了什么
#
# 49 个位置各有一个向量 $e_i \in \mathbb{R}^{64}$，即公式（1）中 $E_{\text{pos}}$ 的一行，初始值是随机噪声。网络里没有任
# 何地方写明第 1 块在第 2 块左边、第 8 块在第 1 块下面：行与列的关系要从图像中学出来。两个位置有多相似，用两个向量夹角的
# 余弦来衡量：
#
# $$s_{ij} = \frac{e_i \cdot e_j}{\lVert e_i \rVert \, \lVert e_j \rVert}$$

# %%
similarity = position_similarity(network)  # (7, 7, 7, 7)
e = network.pos_embedding.asnumpy()[0, 1:]  # (49, 64), without the class token's
unit = e / np.linalg.norm(e, axis=1, keepdims=True)
difference = np.abs(unit @ unit.T - similarity.reshape(49, 49)).max()
print(f"by hand and by the package: max difference {difference:.1e}")


def mosaic(similarity):
    """The 49 pictures of 7 x 7 in one, with gaps of one pixel."""
    picture = np.full((55, 55), np.nan)
    for row in range(7):
        for column in range(7):
            picture[row * 8 : row * 8 + 7, column * 8 : column * 8 + 7] = similarity[row, column]
    return picture


figure, panels = plt.subplots(1, 2, figsize=(10, 5), layout="constrained")
titles = (both("before training", "训练前"), both("after training", "训练后"))
for axes, values, title in zip(panels, (similarity_before, similarity), titles, strict=True):
    drawn = axes.imshow(mosaic(values), cmap="viridis", vmin=-0.5, vmax=1)
    axes.set(xticks=range(3, 55, 8), yticks=range(3, 55, 8), title=title)
    axes.set_xticklabels(range(1, 8))
    axes.set_yticklabels(range(1, 8))
    axes.set_xlabel(both("column of the patch", "图像块所在列"))
panels[0].set_ylabel(both("row of the patch", "图像块所在行"))
figure.colorbar(drawn, ax=panels, shrink=0.8, label=both("cosine similarity", "余弦相似度"))
show(
    figure,
    "Similarity of position embeddings, 49 small maps: noise before training, bright neighbourhoods after it.",
    "位置编码的相似度，共 49 张小图：训练前是噪声，训练后每个位置与邻近位置更相似。",
)

# %% [markdown] lang="en"
# The small picture in row $r$ and column $c$ shows how similar the embedding of the patch there is to that of every
# patch. The patch itself is the brightest point, 1. Before training the rest is noise. Afterwards the neighbours are
# brighter than patches far away: the network has found out that the sequence is a picture. The paper's figure is
# smoother, and shows rows and columns more clearly; that network had seen millions of photographs, this one 1,257
# digits.
#
# The same as numbers, the mean similarity of two places by their distance in patches:

# %% [markdown] lang="zh"
# 第 $r$ 行第 $c$ 列的小图，是该处图像块的位置编码与所有图像块位置编码的相似度，它自己的位置最亮，等于 1。训练前其余部分
# 都是噪声；训练后，邻近的位置比远处的更亮：网络自己发现了这个序列其实是一幅图。论文中的图更平滑，行列结构也更清楚，因为
# 那个网络看过数以百万计的照片，而这里只有 1257 张数字。
#
# 用数字来说，把位置两两配对，按距离（单位：图像块）分组，求平均相似度：

# %%
places = np.stack(np.divmod(np.arange(49), 7), axis=1)  # row and column of each patch
distance = np.linalg.norm(places[:, None] - places[None, :], axis=2)  # (49, 49)
print("distance    before   after")
for low, high in ((1, 1.5), (1.5, 2.5), (2.5, 3.5), (3.5, 5), (5, 9)):
    chosen = (distance >= low) & (distance < high)
    pair = [values.reshape(49, 49)[chosen].mean() for values in (similarity_before, similarity)]
    print(f"{low:3} to {high:3}  {pair[0]:7.2f} {pair[1]:7.2f}")

# %% [markdown] lang="en"
# > **Often told wrong.** "The position embedding tells the network the coordinates of a patch." It is a table of free
# > vectors, and no coordinate ever enters it. That neighbours become alike is a result of training, not of the design
# > (section 3.1 of the paper). Fixed sine and cosine embeddings are another matter: there the neighbourhood is built
# > in.

# %% [markdown] lang="zh"
# > **常见误区。** “位置编码把图像块的坐标告诉网络。”其实它只是一张可学习向量的表，坐标从未输入网络。相邻位置变得相似
# > 是训练的结果，而不是设计使然（论文 3.1 节）。固定的正弦余弦位置编码则不同，相邻关系是预先写进去的。

# %% [markdown] lang="en"
# ## 3. The filters of the patch embedding
#
# The matrix $E$ of equation 1 has a column for each of the $D = 64$ dimensions: a small picture of 4 × 4 pixels, a
# filter that the patch is compared with. The paper's figure 7 shows the **principal components** of the filters: the
# directions in which they differ most. With the mean filter $\bar w$, they are the eigenvectors of
#
# $$\frac{1}{D} \sum_{n=1}^{D} (w_n - \bar w)(w_n - \bar w)^\top$$
#
# and there are $P^2 C = 16$ of them. Three rows: the filters before training, after it, and the difference of the two,
# that is, what training has added to them.

# %% [markdown] lang="zh"
# ## 3. 图像块嵌入的滤波器
#
# 公式（1）中的矩阵 $E$ 有 $D = 64$ 列，每一列都可以看成一张 4 × 4 的小图，即一个与图像块做内积的滤波器。论文图 7 画的是
# 这些滤波器的**主成分**，也就是它们彼此差别最大的那些方向。设平均滤波器为 $\bar w$，主成分就是下面这个矩阵的特征向量：
#
# $$\frac{1}{D} \sum_{n=1}^{D} (w_n - \bar w)(w_n - \bar w)^\top$$
#
# 一共 $P^2 C = 16$ 个。下图有三行：训练前的滤波器、训练后的滤波器，以及两者之差（即训练给滤波器带来的变化）。

# %%
filters = embedding_filters(network)  # (16, 4, 4, 1)
trained_kernel = kernel.asnumpy().copy()
kernel.set_data(Tensor(trained_kernel - kernel_before))
filters_change = embedding_filters(network)
kernel.set_data(Tensor(trained_kernel))

w = trained_kernel.reshape(64, 16)
variances = np.linalg.eigvalsh((w - w.mean(axis=0)).T @ (w - w.mean(axis=0)) / 64)[::-1]
print(f"by hand and by the package: max difference {np.abs((filters**2).sum(axis=(1, 2, 3)) - variances).max():.1e}\n")

rows = {"before": filters_before, "after": filters, "change": filters_change}
for name, components in rows.items():
    share = (components**2).sum(axis=(1, 2, 3))
    share = np.cumsum(share) / share.sum()
    print(
        f"{name:7} first 2 components {share[1]:4.0%} of the variance, first 4 {share[3]:4.0%}, first 8 {share[7]:4.0%}"
    )

figure, panels = plt.subplots(3, 8, figsize=(10, 4), layout="constrained")
labels = (both("before", "训练前"), both("after", "训练后"), both("change", "变化"))
for line, components, label in zip(panels, rows.values(), labels, strict=True):
    for number, (axes, component) in enumerate(zip(line, components, strict=False), start=1):
        largest = np.abs(component).max()
        axes.imshow(component[:, :, 0], cmap="gray", vmin=-largest, vmax=largest)
        axes.set(xticks=[], yticks=[])
        axes.set_title(number, fontsize=10)
    line[0].set_ylabel(label)
show(
    figure,
    "Eight principal components of the embedding filters before and after training, and of their change.",
    "图像块嵌入滤波器的前八个主成分：训练前、训练后，以及两者之差。",
)

# %% [markdown] lang="en"
# As a whole the filters look after training as they did before: like noise, with no component that stands out. The last
# row tells why. What training has added is nearly all in a few smooth patterns: the first is brighter or darker all
# over, the next ones are steps from top to bottom and from left to right. Digits of 8 × 8 pixels, enlarged, have hardly
# any finer detail in a patch. Along patterns that the patches hardly contain there is hardly any gradient, and the
# filters stay close to their random start.
#
# In the paper's figure the components look like waves of rising frequency. Photographs have fine detail, and there were
# many more of them.

# %% [markdown] lang="zh"
# 整体来看，训练后的滤波器与训练前差不多，都像噪声，没有哪个成分特别突出。原因在最后一行：训练增加的部分几乎都集中在少数
# 几个平滑的图案上，第一个是整块变亮或变暗，接下来是上下、左右方向的明暗过渡。8 × 8 的数字放大之后，图像块里几乎没有更细
# 的内容；图像块里几乎不出现的图案，也就几乎没有梯度，滤波器在那些方向上大致保持随机初始值。
#
# 论文图中的主成分像一组频率由低到高的波纹：照片有丰富的细节，数量也多得多。

# %% [markdown] lang="en"
# ## 4. Attention maps
#
# In every block and every head, token $i$ takes from token $j$ the share $A_{ij}$ (equations 5 to 7 of the paper, for
# one head with $d = 64 / 4 = 16$ dimensions):
#
# $$[q, k, v] = z \, U_{qkv}, \qquad A = \text{softmax}\left(\frac{q k^\top}{\sqrt{d}}\right),
# \qquad \text{SA}(z) = A v$$
#
# `attention_maps` walks through the network and returns $A$ of all $L = 4$ blocks and $H = 4$ heads. That these are the
# weights that the network really uses can be checked: $A v$ of all heads, side by side and through the output
# projection, must be what the attention cell of the first block gives.

# %% [markdown] lang="zh"
# ## 4. 注意力图
#
# 在每一层的每个头中，第 $i$ 个 token 从第 $j$ 个 token 取用的比例是 $A_{ij}$（论文公式 5 到 7，这里写的是一个头，
# $d = 64 / 4 = 16$ 维）：
#
# $$[q, k, v] = z \, U_{qkv}, \qquad A = \text{softmax}\left(\frac{q k^\top}{\sqrt{d}}\right),
# \qquad \text{SA}(z) = A v$$
#
# `attention_maps` 逐层走过网络，返回全部 $L = 4$ 层、$H = 4$ 个头的 $A$。它们是不是网络实际使用的权重，可以验证：把各个
# 头的 $A v$ 拼在一起，再经过输出投影，应当与第一层注意力模块的输出完全一致。

# %%
pictures, labels = digits.arrays("val")
x = np.stack([preprocessing.prepare(picture) for picture in pictures])  # (180, 1, 28, 28)
maps = attention_maps(network, x)
L, B, H, N, _ = maps.shape
print(f"maps {maps.shape}: blocks, images, heads, tokens that ask, tokens that are asked; {maps.nbytes / 1e6:.0f} MB")
print(f"each row sums to 1: {np.allclose(maps.sum(axis=-1), 1, atol=1e-5)}")

norm, attention = network.transformer.layers[0][0].cell[0], network.transformer.layers[0][0].cell[1]
z = norm(network.embed_tokens(network.embed_patches(Tensor(x[:2]))))  # (2, 50, 64)
v = attention.qkv(z).asnumpy().reshape(2, N, 3, H, 16)[:, :, 2]  # (2, 50, 4, 16)
mixed = np.einsum("bhij,bjhd->bihd", maps[0, :2], v).reshape(2, N, 64)
by_hand = mixed @ attention.out.weight.asnumpy().T + attention.out.bias.asnumpy()
print(f"A v by hand and the attention cell: max difference {np.abs(by_hand - attention(z).asnumpy()).max():.1e}")

# %% [markdown] lang="en"
# The classifier reads the class token alone, so its row of $A$ is the one to look at first: what does it take from each
# patch? Here is one digit in all blocks and heads. Each map has a scale of its own, from 0 to the number above it.

# %% [markdown] lang="zh"
# 分类器只读取类别 token，所以首先要看 $A$ 中属于类别 token 的那一行：它从每个图像块取用了多少？下面是同一个数字在所有
# 层、所有头中的情况。每张图各有自己的色标，从 0 到图上方标出的数值。


# %%
def over_patches(weights):
    """A row of A without the class token, as a picture of the grid: (50,) -> (7, 7)."""
    return weights[1:].reshape(grid)


chosen = int(np.flatnonzero(labels == 5)[0])
figure, panels = plt.subplots(L, H + 1, figsize=(7.5, 6), layout="constrained")
for layer in range(L):
    panels[layer, 0].imshow(x[chosen, 0], cmap="gray")
    panels[layer, 0].set_ylabel(both(f"block {layer + 1}", f"第{layer + 1}层"))
    for head in range(H):
        weights = over_patches(maps[layer, chosen, head, 0])
        axes = panels[layer, head + 1]
        axes.imshow(weights, cmap="viridis", vmin=0)
        above = both(f"head {head + 1}", f"头{head + 1}") + "\n" if layer == 0 else ""
        axes.set_title(f"{above}{weights.max():.2f}", fontsize=10)
for axes in panels.ravel():
    axes.set(xticks=[], yticks=[])
show(
    figure,
    "A digit five, and beside it what the class token attends to in each of four blocks and four heads.",
    "数字 5，以及四层、每层四个头中类别 token 对各图像块的注意力。",
)

# %% [markdown] lang="en"
# Were all 50 tokens to get the same, each would get 0.02. Some heads are far from that and put most of their weight on
# one or two patches; others spread it. Much of it lies on the stroke or beside it, but no two heads agree, and what
# block 1 looks at says little of block 4. (What the class token takes from itself is not in the pictures.)
#
# In large ViTs something else can be seen: a few patch tokens in empty places of the image, with norms about ten times
# those of the others, that draw much of the attention and spoil the maps. Additional tokens without a patch,
# *registers*, take over their work (Darcet et al. 2024, [arXiv 2309.16588](https://arxiv.org/abs/2309.16588)). Is there
# anything of the kind here?

# %% [markdown] lang="zh"
# 如果 50 个 token 平分，每个只有 0.02。有些头与此相差很远，把大部分权重放在一两个图像块上；有些头则比较分散。不少权重落
# 在笔画上或笔画旁边，但各个头并不一致，只凭第 1 层的图，也推不出第 4 层看哪里。（类别 token 从自己取用的部分没有画
# 出来。）
#
# 在大型 ViT 中还能看到另一种现象：图像的空白处有少数图像块 token，范数约为其他 token 的十倍，吸引了大量注意力，干扰了注
# 意力图。增加几个不对应图像块的 token（*register*）就能接替它们的作用（Darcet 等，2024，
# [arXiv 2309.16588](https://arxiv.org/abs/2309.16588)）。这里有类似的现象吗？

# %%
tokens = network.transformer(network.embed_tokens(network.embed_patches(Tensor(x)))).asnumpy()[:, 1:]
norms = np.linalg.norm(tokens, axis=-1)  # (180, 49)
print(f"norms of the patch tokens after block {L}: median {np.median(norms):.1f}, largest {norms.max():.1f}")

# %% [markdown] lang="en"
# No: the largest norm is not even twice the median. This network is small and has been trained for twenty epochs only.
# Go through other digits, blocks and heads:

# %% [markdown] lang="zh"
# 没有：最大的范数还不到中位数的两倍。这个网络很小，也只训练了 20 个 epoch。换别的数字、层和头看看：


# %%
def draw(image, block, head):
    """The class token's attention over a digit, at the side of the digit and on it."""
    weights = over_patches(maps[block - 1, image, head - 1, 0])
    figure, (left, right) = plt.subplots(1, 2, figsize=(6, 3), layout="constrained")
    left.imshow(x[image, 0], cmap="gray", extent=(0, 7, 7, 0))
    left.set_title(both(f"digit {labels[image]}", "数字"))
    right.imshow(x[image, 0], cmap="gray", extent=(0, 7, 7, 0))
    drawn = right.imshow(weights, cmap="viridis", vmin=0, alpha=0.7, extent=(0, 7, 7, 0))
    right.set_title(both(f"block {block}, head {head}", "注意力"))
    figure.colorbar(drawn, ax=right, shrink=0.8)
    for axes in (left, right):
        axes.set(xticks=[], yticks=[])
    return figure


interactive(draw, image=(0, len(x) - 1), block=(1, L), head=(1, H))

# %% [markdown] lang="en"
# ## 5. Attention rollout
#
# A map of the last block shows what the class token takes from the *tokens* there, and these have long been mixed: a
# token of block 4 is no longer "its" patch. **Attention rollout** follows the mixing back to the input. It takes from
# each block the mean of $A$ over the heads, adds the identity for the residual connection, makes the rows sum to 1
# again and multiplies the blocks up:
#
# $$\hat A_\ell = \frac{1}{2} \left( \frac{1}{H} \sum_{h=1}^{H} A_{\ell h} + I \right), \qquad
# R = \hat A_L \hat A_{L-1} \cdots \hat A_1$$
#
# The first row of $R$ says what the class token is made of at the end, in shares of the tokens at the beginning, as if
# attention and residual connections did nothing but mix: what values and MLPs do is left out. The paper's figure 6 was
# made with rollout (appendix D.8).

# %% [markdown] lang="zh"
# ## 5. 注意力回溯（attention rollout）
#
# 最后一层的注意力图，说的是类别 token 从那一层的 *token* 取用了多少；而这些 token 早已互相混合，第 4 层的 token 不再只
# 代表自己那个图像块。**Attention rollout** 把这种混合一层层追溯到输入：每层先对各个头的 $A$ 求平均，加上代表残差连接的
# 单位矩阵，重新归一化使每行之和为 1，再把各层连乘起来：
#
# $$\hat A_\ell = \frac{1}{2} \left( \frac{1}{H} \sum_{h=1}^{H} A_{\ell h} + I \right), \qquad
# R = \hat A_L \hat A_{L-1} \cdots \hat A_1$$
#
# $R$ 的第一行表示：最后的类别 token 由最初的各个 token 按怎样的比例构成。这里假定注意力和残差连接只做混合，值和 MLP 的
# 作用没有计入。论文图 6 就是用 rollout 画的（附录 D.8）。

# %%
rollout = attention_rollout(maps)  # (180, 50, 50)
R = np.eye(N)
for layer in range(L):
    R = 0.5 * (maps[layer, chosen].mean(axis=0) + np.eye(N)) @ R
print(f"rollout {rollout.shape}")
print(f"by hand and by the package: max difference {np.abs(R - rollout[chosen]).max():.1e}")

shown = [int(np.flatnonzero(labels == digit)[0]) for digit in range(10)]
figure, panels = plt.subplots(2, 10, figsize=(10, 2.4), layout="constrained")
for column, image in enumerate(shown):
    panels[0, column].imshow(x[image, 0], cmap="gray")
    panels[1, column].imshow(over_patches(rollout[image, 0]), cmap="viridis", vmin=0)
    panels[0, column].set_title(labels[image], fontsize=10)
for axes in panels.ravel():
    axes.set(xticks=[], yticks=[])
panels[0, 0].set_ylabel(both("digit", "数字"))
panels[1, 0].set_ylabel(both("rollout", "回溯"))
show(
    figure,
    "Ten digits and below each the rollout of the class token over its patches.",
    "十个数字，下方是各自类别 token 的注意力回溯图。",
)

# %%
ink = x[:, 0].reshape(B, 7, 4, 7, 4).mean(axis=(2, 4)).reshape(B, 49)  # mean brightness of each patch
alike = np.mean([np.corrcoef(rollout[image, 0, 1:], ink[image])[0, 1] for image in range(B)])
print(f"correlation of the rollout with the brightness of the patches, mean over the images: {alike:.2f}")

# %% [markdown] lang="en"
# The class token takes more from patches with ink than from others. That is good to see, and easily overrated: the
# brightness of the patches, which needs no network, gives a similar picture. Section 7 asks which of the two is the
# better guide.

# %% [markdown] lang="zh"
# 类别 token 从有笔画的图像块取用得更多。这是个好迹象，但也容易被夸大：不用任何网络，单看图像块的亮度，就能得到相似的
# 图。两者哪个更能说明问题，第 7 小节会检验。

# %% [markdown] lang="en"
# ## 6. How far a head looks
#
# A convolution with a 3 × 3 kernel sees its neighbours and nothing else. How far attention looks is learned. The **mean
# attention distance** of a head, in pixels, is the distance from the asking patch $i$ to the patches $j$, weighted by
# attention, as a mean over the $M = 49$ asking patches (and over the images); $p_i$ and $p_j$ are the patches' centres:
#
# $$\frac{1}{M} \sum_{i} \sum_{j} A_{ij} \, \lVert p_i - p_j \rVert$$
#
# The class token has no place, so it is left out on both sides, and the rest of each row made to sum to 1.

# %% [markdown] lang="zh"
# ## 6. 一个头看得有多远
#
# 3 × 3 卷积只能看到相邻的位置，而注意力看多远是学出来的。一个头的**平均注意力距离**（单位：像素）定义为：从图像块 $i$
# 到各图像块 $j$ 的中心距离，按注意力加权，再对 $M = 49$ 个图像块（以及所有图像）求平均，其中 $p_i$、$p_j$ 是中心坐标：
#
# $$\frac{1}{M} \sum_{i} \sum_{j} A_{ij} \, \lVert p_i - p_j \rVert$$
#
# 类别 token 没有位置，所以查询和被查询两侧都去掉它，每行其余的权重重新归一化，使和为 1。

# %%
distances = attention_distance(maps, grid, patch_size=4)  # (4, 4)
A = maps[0, :, 0, 1:, 1:] / maps[0, :, 0, 1:, 1:].sum(axis=-1, keepdims=True)
by_hand = (A * 4 * distance).sum(axis=-1).mean()
print(f"block 1, head 1 by hand and by the package: {by_hand:.3f} and {distances[0, 0]:.3f}")
uniform = attention_distance(np.full((1, 1, 1, N, N), 1 / N), grid, patch_size=4).item()
untrained = create_model("vit_nano_4", image_size=28)
distances_untrained = attention_distance(attention_maps(untrained, x[:60]), grid, patch_size=4)

figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
for head in range(H):
    name = {"label": both("a head, trained", "训练后的头")} if head == 0 else {}
    axes.plot(np.arange(L) + 1, distances[:, head], "o", color=BLUE, markersize=8, **name)
    name = {"label": both("a head, untrained", "未训练的头")} if head == 0 else {}
    axes.plot(np.arange(L) + 1.15, distances_untrained[:, head], "s", color=GREY, markersize=5, **name)
axes.axhline(uniform, color=ORANGE, linestyle="--", label=both("all patches alike", "均匀注意力"))
axes.set(xticks=range(1, L + 1), ylim=(0, 18), xlabel=both("block", "层"), ylabel=both("pixels", "像素"))
axes.set_title(both("Mean attention distance", "平均注意力距离"))
axes.grid(axis="y", alpha=0.3)
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
show(
    figure,
    "Mean attention distance of each head in each block, trained and untrained, beside that of uniform attention.",
    "每层每个头的平均注意力距离（训练后与未训练），虚线是均匀注意力的距离。",
)

# %% [markdown] lang="en"
# No head here is local: all dots lie near the line of uniform attention, the trained ones mostly a little below it. In
# the paper's figure (ViT-L/16 on photographs) it is otherwise. There the low blocks have some heads that look only at
# their surroundings beside others that look at most of the image, and in the high blocks all look far. A digit is one
# object that fills the picture, so there may be little to gain from looking nearby; and locality that is not built in
# has to be learned from examples, of which there are few.
#
# A mean says only so much: a head that looks at one and the same patch, whichever patch asks, can have the mean
# distance of uniform attention, too. And the sharp maps of section 4 are no contradiction: they are rows of the class
# token, which this distance leaves out.

# %% [markdown] lang="zh"
# 这里没有一个头是局部的：所有点都在均匀注意力那条线附近，训练后的大多略低一点。论文图中（ViT-L/16，照片）不是这样：浅层
# 既有只看周围的头，也有看遍大半张图的头；到了深层，所有头都看得很远。一个数字就占满整幅图，只看附近也许没有多少好处；而
# 且局部性不在结构之中，只能从样本里学，样本又很少。
#
# 平均值能说明的也有限：如果一个头不管谁来查询都只看同一个图像块，它的平均距离也可能与均匀注意力相同。第 4 小节的注意力
# 图很集中，与此并不矛盾：那是类别 token 的行，而这里的距离不计类别 token。

# %% [markdown] lang="en"
# ## 7. What an attention map proves
#
# > **Often told wrong.** "The attention map shows why the network decided so." It shows how much of each value vector
# > went into a sum, and no more. What the value vectors hold, what the MLPs make of it, and what came in by the
# > residual connection are not in the picture. Heads and blocks disagree, and whoever picks the nicest map has picked
# > the answer. For text models the same question has been argued both ways: Jain and Wallace, *Attention is not
# > Explanation*, 2019, [arXiv 1902.10186](https://arxiv.org/abs/1902.10186); Wiegreffe and Pinter, *Attention is not
# > not Explanation*, 2019, [arXiv 1908.04626](https://arxiv.org/abs/1908.04626).
#
# A claim about what matters can be tested: paint the patches that are said to matter black, like the background, and
# see whether the network goes wrong sooner than with other patches. Four orders to take them away: those with the
# highest rollout first, those with most ink first, by chance, and those with the lowest rollout first.

# %% [markdown] lang="zh"
# ## 7. 注意力图能证明什么
#
# > **常见误区。** “注意力图说明了网络为什么这样判断。”它只说明每个值向量有多少进入了加权和。值向量里装着什么，MLP 又
# > 对它做了什么，残差连接带来了什么，图上都看不到。不同的头、不同的层给出的图并不一致，只挑最好看的一张，等于先选好了答
# > 案。在文本模型上，同样的问题有过正反两方面的讨论：Jain 与 Wallace，*Attention is not Explanation*，2019，
# > [arXiv 1902.10186](https://arxiv.org/abs/1902.10186)；Wiegreffe 与 Pinter，*Attention is not not Explanation*，
# > 2019，[arXiv 1908.04626](https://arxiv.org/abs/1908.04626)。
#
# “哪里重要”这类说法可以检验：把据称重要的图像块涂成背景的黑色，看网络是否比涂掉别的图像块时更早出错。涂掉的顺序有四
# 种：rollout 从高到低、笔画从多到少、随机，以及 rollout 从低到高。


# %%
def accuracy_without(order, count):
    """Accuracy when the first `count` patches of each image's order are painted black."""
    painted = x.copy()
    for image, patches in enumerate(order[:, :count]):
        for row, column in zip(*np.divmod(patches, 7), strict=True):
            painted[image, 0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = -1
    return (network(Tensor(painted)).asnumpy().argmax(axis=1) == labels).mean()


network.set_train(False)
rng = np.random.default_rng(0)
orders = {
    "highest rollout first": np.argsort(-rollout[:, 0, 1:], axis=1),
    "most ink first": np.argsort(-ink, axis=1),
    "by chance": rng.permuted(np.tile(np.arange(49), (B, 1)), axis=1),
    "lowest rollout first": np.argsort(rollout[:, 0, 1:], axis=1),
}
counts = (0, 2, 4, 6, 8, 12, 16, 24)
curves = {name: [accuracy_without(order, count) for count in counts] for name, order in orders.items()}
print(f"{'patches painted black':24}" + "".join(f"{count:6}" for count in counts))
for name, accuracies in curves.items():
    print(f"{name:24}" + "".join(f"{accuracy:6.0%}" for accuracy in accuracies))

# %%
figure, axes = plt.subplots(figsize=(8, 3.8), layout="constrained")
names = ("回溯值高者先", "笔画多者先", "随机", "回溯值低者先")
styles = ((BLUE, "o-"), (ORANGE, "s--"), (GREY, "^:"), (GREEN, "D-."))
for (name, accuracies), chinese, (colour, style) in zip(curves.items(), names, styles, strict=True):
    axes.plot(counts, accuracies, style, color=colour, label=both(name, chinese))
axes.set(xlabel=both("patches painted black", "涂黑的图像块数"), ylabel=both("accuracy", "准确率"), ylim=(0, 1.02))
axes.grid(alpha=0.3)
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
show(
    figure,
    "Accuracy against the number of patches painted black, for four orders of taking them away.",
    "准确率随涂黑图像块数的变化，共四种涂黑顺序。",
)

# %% [markdown] lang="en"
# Painting over the patches with the highest rollout does more harm than painting over those with most ink, although the
# second takes more of the digit away. So the rollout knows something of this network that the picture alone does not
# tell. Three reservations:
#
# - The flat line of the lowest rollout proves little: most of those patches are background and were black already.
# - A digit with black holes is unlike anything the network was trained on. Some of the errors are due to that, and not
#   to what is missing.
# - This is a statement about 180 images together. It makes no single map an explanation.

# %% [markdown] lang="zh"
# 涂掉 rollout 值最高的图像块，比涂掉笔画最多的图像块危害更大，尽管后者抹去的笔画更多。可见 rollout 确实包含了关于这个网
# 络的信息，而这些信息单看图像是得不到的。但有三点保留：
#
# - rollout 值最低的那条平线说明不了多少：那些图像块大多是背景，本来就是黑的。
# - 带黑洞的数字与训练时见过的任何图像都不同，一部分错误来自这种陌生，而不是来自被涂掉的内容。
# - 这是对 180 张图像整体的结论，并不能让其中任何一张注意力图成为解释。

# %% [markdown] lang="en"
# ## Summary
#
# - Position embeddings start as noise. After training, those of neighbouring patches are alike: the network has learned
#   that the sequence is a picture.
# - The filters of the patch embedding change along a few smooth patterns, those that the patches really have.
# - `attention_maps` gives the weights that the network multiplies $v$ by; rollout follows them through all blocks to
#   the input; the attention distance says how far a head looks.
# - A map shows where weights are, not why an answer was given. A claim about what matters can be tested, against chance
#   and against something simple.
#
# ### Three questions
#
# <details><summary>1. Before training, how similar are the position embeddings of two places, and how much does that
# vary?</summary>
#
# They are independent random vectors of 64 numbers, so the cosine has mean 0 and a standard deviation of
# $1 / \sqrt{64} = 0.125$. In a network with $D = 768$ it would be 0.036: the more dimensions, the closer to a right
# angle two random vectors are.
# </details>
#
# <details><summary>2. What does rollout give if all attention is uniform, in all four blocks?</summary>
#
# With $J$ the matrix of ones, each block is $\frac{1}{2} (J / N + I)$. As $J/N$ times itself is $J/N$, the product of
# $L$ blocks is $2^{-L} I + (1 - 2^{-L}) J / N$. The class token keeps $\frac{1}{16} + \frac{15}{16} \cdot
# \frac{1}{50} \approx 0.08$ of itself and takes the same 0.019 from every patch. Rollout always shows part of the
# start, whatever the attention does.
# </details>
#
# <details><summary>3. The recipe of the digits reads the mean of the patch tokens (`pool="mean"`). Which rows of $R$
# would you look at then?</summary>
#
# The mean of the 49 rows of the patches. The head does not read the class token there: its row in the last block leads
# nowhere and has no influence on the answer.
# </details>
#
# ### Where to go next
#
# - Change something and look again: 60 epochs; another seed;
#   `create_model("vit_nano_4", image_size=28, position="sincos_2d")`, where the neighbourhood of positions is there from
#   the start (its table is `pos_sincos`, not `pos_embedding`, and has no row for the class token).
# - With a network connection: `create_model("vit_b_16", pretrained="timm")` (about 350 MB) and a photograph of 224 ×
#   224 pixels. The functions of `introspection.py` work on it as they are.
# - Read [introspection.py](../../vit_ms/introspection.py), and the paper's section 4.5 and appendices D.7 and D.8.
# - A method that also asks, by gradients, what moves the answer: Chefer et al. 2021,
#   [arXiv 2012.09838](https://arxiv.org/abs/2012.09838).
# - [Notebook 10](10_hybrid_and_deit.ipynb) gives ViT back some of what convolutions have built in.

# %% [markdown] lang="zh"
# ## 小结
#
# - 位置编码的初始值是噪声；训练之后，相邻图像块的位置编码彼此相似：网络学到了这个序列是一幅图。
# - 图像块嵌入的滤波器只沿着少数平滑的图案变化，也就是图像块里真正有的那些图案。
# - `attention_maps` 给出网络与 $v$ 相乘的权重；rollout 把它们逐层追溯到输入；注意力距离说明一个头看得有多远。
# - 注意力图说明权重在哪里，而不是为什么得出这个答案。“哪里重要”的说法可以检验，对照组是随机和某种简单的方法。
#
# ### 三道思考题
#
# <details><summary>1. 训练之前，两个位置的位置编码有多相似？波动有多大？</summary>
#
# 它们是相互独立的 64 维随机向量，余弦的均值为 0，标准差为 $1 / \sqrt{64} = 0.125$。若 $D = 768$，标准差就是 0.036：维度
# 越高，两个随机向量越接近垂直。
# </details>
#
# <details><summary>2. 如果四层的注意力全都是均匀的，rollout 会给出什么？</summary>
#
# 设 $J$ 为全 1 矩阵，每层是 $\frac{1}{2} (J / N + I)$。$J/N$ 与自身相乘仍是 $J/N$，所以 $L$ 层的乘积是
# $2^{-L} I + (1 - 2^{-L}) J / N$。类别 token 保留自己的
# $\frac{1}{16} + \frac{15}{16} \cdot \frac{1}{50} \approx 0.08$，从每个图像块取用的都是 0.019。不管注意力怎样，rollout
# 总会保留一部分起点。
# </details>
#
# <details><summary>3. 手写数字的训练配方读取图像块 token 的平均值（`pool="mean"`）。这时该看 $R$ 的哪些行？</summary>
#
# 看图像块对应的 49 行的平均值。那里的分类头不读取类别 token，它在最后一层的那一行没有去处，对答案没有影响。
# </details>
#
# ### 下一步
#
# - 改一处再看：训练 60 个 epoch；换一个随机种子；`create_model("vit_nano_4", image_size=28, position="sincos_2d")`，它
#   的位置编码从一开始就带有相邻关系（存放在 `pos_sincos` 而不是 `pos_embedding` 中，也没有类别 token 那一行）。
# - 有网络时：`create_model("vit_b_16", pretrained="timm")`（约 350 MB），再准备一张 224 × 224 的照
#   片，`introspection.py` 的函数可以直接使用。
# - 阅读 [introspection.py](../../vit_ms/introspection.py)，以及论文 4.5 节、附录 D.7 和 D.8。
# - 还利用梯度、考察什么影响了答案的方法：Chefer 等，2021，
#   [arXiv 2012.09838](https://arxiv.org/abs/2012.09838)。
# - [第 10 课](10_hybrid_and_deit.ipynb)把卷积自带的一些特性还给 ViT。
