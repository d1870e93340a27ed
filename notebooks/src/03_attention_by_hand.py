# %% [markdown] lang="en"
# # Attention by hand
#
# Self-attention is the only place in a ViT where tokens exchange anything. This notebook computes it with NumPy on
# three tokens, with numbers that you can follow; asks which axis the softmax takes and why the scores are divided by
# $\sqrt{d}$; splits it into heads; writes it as a MindSpore cell of some fifteen lines and checks it, gradients
# included, against the package's; and looks at it on a photograph.
#
# | | |
# |---|---|
# | Time | about half a minute of computing on a CPU, 20 minutes of reading |
# | You need | Python, NumPy, matrix products; that images become tokens is in [notebook 2](02_from_image_to_tokens.ipynb) |
# | Papers | Vaswani et al., *Attention Is All You Need*, 2017, [arXiv 1706.03762](https://arxiv.org/abs/1706.03762) |
# | | Dosovitskiy et al., *An Image is Worth 16x16 Words*, 2021, [arXiv 2010.11929](https://arxiv.org/abs/2010.11929) |
#
# Equations 5 to 8 are those of the second paper, appendix A, for $N$ tokens of width $D$. It calls the number of heads
# $k$ and their width $D_h$; here they are $H$ and $d$, as in the code.

# %% [markdown] lang="zh"
# # 手算注意力
#
# 在 ViT 中，token 之间只在自注意力里交换信息。本节先用 NumPy 在三个 token 上手算一遍，数字简单，每一步都能跟上；再弄清
# softmax 该沿哪个轴、分数为什么要除以 $\sqrt{d}$；然后分成多头，写成十几行的 MindSpore Cell，连同梯度一起与工具包的实现
# 对照；最后在一张照片上看注意力的样子。
#
# | | |
# |---|---|
# | 用时 | CPU 上计算约半分钟，阅读约 20 分钟 |
# | 基础 | Python、NumPy、矩阵乘法；图像怎样变成 token 见[第 2 课](02_from_image_to_tokens.ipynb) |
# | 论文 | Vaswani 等，*Attention Is All You Need*，2017，[arXiv 1706.03762](https://arxiv.org/abs/1706.03762) |
# | | Dosovitskiy 等，*An Image is Worth 16x16 Words*，2021，[arXiv 2010.11929](https://arxiv.org/abs/2010.11929) |
#
# 公式（5）到（8）的编号与第二篇论文的附录 A 一致，共 $N$ 个 token，宽度为 $D$。论文把头数记作 $k$、每个头的宽度记
# 作 $D_h$；这里与代码一致，记作 $H$ 和 $d$。

# %% [markdown] lang="en"
# ## 1. Set up
#
# PyNative mode runs each operation when it is called, which suits small cells. On Ascend nothing has to be changed.

# %% [markdown] lang="zh"
# ## 1. 准备环境
#
# 动态图模式（PyNative）下，每个运算在调用时立即执行，适合本节这样的小 Cell。在昇腾上无须改动代码。

# %%
import vit_ms  # before mindspore
import time

import matplotlib.pyplot as plt
import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from sklearn.datasets import load_sample_image

from vit_ms import create_model, functional, runtime
from vit_ms.data.transforms import Preprocessing
from vit_ms.layers import Attention, Dropout
from vit_ms.visualize import BLUE, GREEN, GREY, ORANGE, RED, both, interactive, show

runtime.setup(device_target="auto", mode="pynative", seed=0)
np.set_printoptions(precision=2, suppress=True)
vit_ms.doctor()

# %% [markdown] lang="en"
# ## 2. Three tokens
#
# Every token, a row of $z \in \mathbb{R}^{N \times D}$, is multiplied by three learned matrices, which stand side by
# side in $U_{qkv}$, and so takes three roles:
#
# $$[q, k, v] = z \, U_{qkv}, \qquad U_{qkv} \in \mathbb{R}^{D \times 3 d} \tag{5}$$
#
# - its **query** $q$ says what it looks for,
# - its **key** $k$ says what it offers to those who look,
# - its **value** $v$ is what it hands over.
#
# How much token $i$ takes from token $j$ depends on the dot product of $q_i$ and $k_j$. The softmax makes each row of
# these scores into weights that are positive and sum to 1, and the output is the mean of the values with these weights:
#
# $$A = \text{softmax}\!\left( \frac{q k^\top}{\sqrt{d}} \right), \qquad A \in \mathbb{R}^{N \times N} \tag{6}$$
#
# $$\text{SA}(z) = A v \tag{7}$$
#
# Equations 6 and 7 together are equation 1 of Vaswani et al.

# %% [markdown] lang="zh"
# ## 2. 三个 token
#
# 每个 token 是 $z \in \mathbb{R}^{N \times D}$ 的一行，分别乘三个可学习的矩阵（并排放在 $U_{qkv}$ 里），得到三种角色：
#
# $$[q, k, v] = z \, U_{qkv}, \qquad U_{qkv} \in \mathbb{R}^{D \times 3 d} \tag{5}$$
#
# - **查询** $q$：它在找什么；
# - **键** $k$：它能向查找者提供什么；
# - **值** $v$：它实际交出的内容。
#
# token $i$ 从 token $j$ 取多少，由 $q_i$ 与 $k_j$ 的内积决定。softmax 把每一行分数变成和为 1 的正权重，输出就是各个值按
# 这些权重的加权平均：
#
# $$A = \text{softmax}\!\left( \frac{q k^\top}{\sqrt{d}} \right), \qquad A \in \mathbb{R}^{N \times N} \tag{6}$$
#
# $$\text{SA}(z) = A v \tag{7}$$
#
# 公式（6）和（7）合起来就是 Vaswani 等人论文的公式（1）。


# %%
def softmax(scores, axis=-1):
    e = np.exp(scores - scores.max(axis=axis, keepdims=True))  # the largest becomes e^0: no overflow
    return e / e.sum(axis=axis, keepdims=True)


z = np.array([[1, 0, 1], [0, 1, 1], [1, 1, 0]])  # N = 3 tokens, D = 3
U_q = np.array([[2, 0, 1, 0], [0, 2, 0, 1], [0, 0, 1, 1]])  # (D, d), d = 4
U_k = np.array([[1, 0, 0, 1], [0, 1, 1, 0], [1, 0, 1, 0]])
U_v = np.array([[4, 0, 0, 2], [0, 4, 0, 2], [0, 0, 4, 2]])
U_qkv = np.concatenate([U_q, U_k, U_v], axis=1)  # (D, 3 d)

q, k, v = np.split(z @ U_qkv, 3, axis=1)  # equation 5, each (N, d)
d = q.shape[1]
scores = q @ k.T / np.sqrt(d)  # (N, N)
A = softmax(scores)  # equation 6
SA = A @ v  # equation 7, (N, d)
for name, value in {"q": q, "k": k, "v": v, "q k^T": q @ k.T, "q k^T / 2": scores, "A": A, "A v": SA}.items():
    print(f"{name}:\n{value}\n")

# %% [markdown] lang="en"
# Follow token 0: its query is (2, 0, 2, 1); its products with the three keys are 7, 6, 5; halved they are 3.5, 3, 2.5;
# their softmax is 0.51, 0.31, 0.19; and its output is $0.51\,v_0 + 0.31\,v_1 + 0.19\,v_2$. Token 2 has three equal
# scores and gets the plain mean. The last number of all values is 4, and so is that of all outputs: a mean of equal
# numbers.

# %% [markdown] lang="zh"
# 跟着第 0 个 token 走一遍：它的查询是 (2, 0, 2, 1)，与三个键的内积是 7、6、5，除以 2 得 3.5、3、2.5，softmax 后
# 是 0.51、0.31、0.19，输出就是 $0.51\,v_0 + 0.31\,v_1 + 0.19\,v_2$。第 2 个 token 的三个分数相等，得到的就是普通平均
# 值。所有值的最后一个数都是 4，所有输出的最后一个数也都是 4：相等的数，平均之后不变。

# %% [markdown] lang="en"
# ## 3. Which axis the softmax takes
#
# Row $i$ of $A$ belongs to the query $i$, and it is the row that must sum to 1: the softmax goes over the keys, the
# *last* axis. The other axis has the same length, so a mistake raises no error:

# %% [markdown] lang="zh"
# ## 3. softmax 沿哪个轴
#
# $A$ 的第 $i$ 行属于第 $i$ 个查询，和为 1 的应当是行：softmax 沿着键的方向，也就是*最后一个*轴。另一个轴长度相同，写错
# 了也不会报错：

# %%
wrong = softmax(scores, axis=0)
print(f"axis=-1: rows sum to {A.sum(axis=1)}, last number of the outputs {(A @ v)[:, -1]}")
print(f"axis=0:  rows sum to {wrong.sum(axis=1)}, last number of the outputs {(wrong @ v)[:, -1]}")

figure, panels = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
titles = (both("right: rows sum to 1", "正确：行和为 1"), both("wrong: columns do", "错误：列和为 1"))
for axes, weights, title in zip(panels, (A, wrong), titles, strict=True):
    axes.imshow(weights, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(3, 3):
        colour = "white" if weights[i, j] > 0.6 else "black"
        axes.text(j, i, f"{weights[i, j]:.2f}", ha="center", va="center", color=colour)
    axes.set(xticks=range(3), yticks=range(3), xlabel=both("key", "键"), ylabel=both("query", "查询"))
    axes.set_title(title)
show(
    figure,
    "Two tables of three by three weights: with the right axis the rows sum to one, with the wrong one the columns.",
    "两个 3 x 3 的权重表：轴正确时每行和为 1，轴错误时每列和为 1。",
)

# %% [markdown] lang="en"
# With the wrong axis a token's output is no mean any more: four is no longer four. Nothing stops a network with this
# mistake from training, which makes it hard to find. Constant values are the test.

# %% [markdown] lang="zh"
# 轴写错以后，输出不再是加权平均：4 不再是 4。带着这个错误，训练照样可以进行，所以很难发现。检验的办法就是用常
# 数值。

# %% [markdown] lang="en"
# ## 4. Why divide by $\sqrt{d}$
#
# If the components of $q_i$ and $k_j$ are independent with mean 0 and variance 1, their dot product is a sum of $d$
# products with variance 1 each: its variance is $d$ (Vaswani et al., section 3.2.1, footnote 4). Dividing by $\sqrt{d}$
# makes it 1, whatever the width.
#
# Widely spread scores harm the softmax: nearly all weight falls on one key, and then its gradient,
# $\partial A_j / \partial s_l = A_j (\delta_{jl} - A_l)$ for a row $s$ of scores ($\delta_{jl}$ is 1 for $j = l$, else
# 0), is nearly 0, and $q$ and $k$ learn hardly anything. The cell measures both for 197 keys. As a measure of the
# gradient it takes the sum of the $A_j (1 - A_j)$.

# %% [markdown] lang="zh"
# ## 4. 为什么除以 $\sqrt{d}$
#
# 如果 $q_i$ 和 $k_j$ 的各个分量相互独立，均值为 0，方差为 1，那么内积是 $d$ 个方差为 1 的乘积之和，方差就
# 是 $d$（Vaswani 等，3.2.1 节，脚注 4）。除以 $\sqrt{d}$ 之后，无论宽度多大，方差都是 1。
#
# 分数相差过大会让 softmax 饱和：几乎全部权重落在一个键上，这时梯
# 度 $\partial A_j / \partial s_l = A_j (\delta_{jl} - A_l)$（$s$ 为一行分数；$j = l$ 时 $\delta_{jl}$ 为 1，否则
# 为 0）接近 0，$q$ 和 $k$ 就几乎学不到东西。下面对 197 个键做测量，用各项 $A_j (1 - A_j)$ 之和衡量梯度的大小。

# %%
rng = np.random.default_rng(0)
widths = [1, 4, 16, 64, 256, 1024]
measured = {"plain": [], "scaled": []}
for width in widths:
    raw = rng.standard_normal((500, width)) @ rng.standard_normal((197, width)).T  # 500 queries, 197 keys
    for name, s in {"plain": raw, "scaled": raw / np.sqrt(width)}.items():
        weights = softmax(s)
        slope = (weights * (1 - weights)).sum(axis=1)
        measured[name].append([s.var(), weights.max(axis=1).mean(), slope.mean()])

print("   d   variance  largest weight  gradient     variance  largest weight  gradient")
for width, plain, scaled in zip(widths, measured["plain"], measured["scaled"], strict=True):
    print(f"{width:4}   " + "     ".join("{:8.1f}  {:14.2f}  {:8.2f}".format(*row) for row in (plain, scaled)))

figure, panels = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
titles = (both("variance of the scores", "分数的方差"), both("largest weight", "最大权重"), both("gradient", "梯度"))
for column, (axes, title) in enumerate(zip(panels, titles, strict=True)):
    for name, colour, style, label in (
        ("plain", RED, "o--", both("not divided", "不除")),
        ("scaled", BLUE, "s-", both("divided", "除以根号 d")),
    ):
        axes.plot(widths, [row[column] for row in measured[name]], style, color=colour, label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(widths, widths)
    axes.set(xlabel=both("width d of a head", "头的宽度 d"), title=title)
    axes.grid(alpha=0.3)
panels[0].set_yscale("log")
panels[1].set_ylim(0, 1)
panels[2].set_ylim(0, 1.05)
panels[0].legend()
show(
    figure,
    "Without the division the variance grows with d, the largest weight nears one and the gradient nears zero.",
    "不除以根号 d 时，方差随 d 增长，最大权重趋近 1，梯度趋近 0。",
)

# %% [markdown] lang="en"
# > **Often told wrong.** The $d$ under the root is the width of *one head*, the length of the vectors that are
# > multiplied: 64 in ViT-B, so the scores are divided by 8. Code that divides by $\sqrt{D} = \sqrt{768} \approx 27.7$
# > runs too, but the scores then start with a variance of 1/12 in place of 1, and the weights are flatter than
# > intended.

# %% [markdown] lang="zh"
# > **常见误区。** 根号下的 $d$ 是*单个头*的宽度，也就是做内积的向量的长度：ViT-B 中是 64，所以分数除以 8。写成除以
# > $\sqrt{D} = \sqrt{768} \approx 27.7$ 也能运行，但分数的初始方差就从 1 变成 1/12，权重比应有的更平均。

# %% [markdown] lang="en"
# ## 5. Heads
#
# One weighted mean cannot look for two things at once. So attention is computed $H$ times side by side, each *head*
# with its own $q$, $k$, $v$ of width $d = D / H$; the results are joined and mixed by one more matrix:
#
# $$\text{MSA}(z) = [\text{SA}_1(z); \text{SA}_2(z); \dots; \text{SA}_H(z)] \, U_{msa},
# \qquad U_{msa} \in \mathbb{R}^{H d \times D} \tag{8}$$
#
# No loop is needed. The queries of all heads are one matrix $(N, D)$; head $h$ owns the columns $hd$ to $(h+1)d - 1$ of
# **all** tokens. So: split the last axis, then bring the heads in front.
#
# The classical mistake is to `reshape` to $(H, N, d)$ directly. Below, each number says where it is from: 21 is token
# 2, column 1.

# %% [markdown] lang="zh"
# ## 5. 多头
#
# 一个加权平均不能同时找两样东西。所以注意力并排计算 $H$ 次，每个*头*有自己的 $q$、$k$、$v$，宽度 $d = D / H$；结果拼接
# 起来，再用一个矩阵混合：
#
# $$\text{MSA}(z) = [\text{SA}_1(z); \text{SA}_2(z); \dots; \text{SA}_H(z)] \, U_{msa},
# \qquad U_{msa} \in \mathbb{R}^{H d \times D} \tag{8}$$
#
# 这里不需要循环。所有头的查询合成一个 $(N, D)$ 矩阵，第 $h$ 个头占有**所有** token 的第 $hd$ 到 $(h+1)d - 1$ 列。因此先
# 拆分最后一个轴，再把头的轴移到前面。
#
# 典型的错误是直接 `reshape` 成 $(H, N, d)$。下面的每个数都标明了来处：21 表示第 2 个 token 的第 1 列。


# %%
def split_heads(x, H):
    N, D = x.shape
    return x.reshape(N, H, D // H).transpose(1, 0, 2)  # (H, N, d)


def join_heads(x):
    H, N, d = x.shape
    return x.transpose(1, 0, 2).reshape(N, H * d)


def bare_split(x, H):
    N, D = x.shape
    return x.reshape(H, N, D // H)  # the mistake


labels = 10 * np.arange(4)[:, None] + np.arange(6)  # N = 4, D = 6
print(f"x, 4 tokens of width 6:\n{labels}")
print(f"\nhead 0 of 2, reshape and transpose:\n{split_heads(labels, 2)[0]}")
print(f"\nhead 0 of 2, reshape alone:\n{bare_split(labels, 2)[0]}")

figure, panels = plt.subplots(1, 3, figsize=(9.5, 2.6), width_ratios=(6, 7, 7), layout="constrained")
tokens = [both("reshape, transpose", "正确"), both("reshape alone", "错误")]
pictures = {both("x, coloured by token", "按 token 着色"): labels}
for title, split in zip(tokens, (split_heads, bare_split), strict=True):
    pictures[title] = np.hstack([split(labels, 2)[0], np.full((4, 1), -1), split(labels, 2)[1]])
colours = np.array([[86, 180, 233], [230, 159, 0], [204, 204, 204], [240, 228, 66]])
for axes, (title, table) in zip(panels, pictures.items(), strict=True):
    axes.imshow(np.where(table[..., None] >= 0, colours[table // 10], 255))
    for (i, j), label in np.ndenumerate(table):
        if label >= 0:
            axes.text(j, i, f"{label:02}", ha="center", va="center")
    axes.set(yticks=[], xticks=[], title=title, frame_on=False)
    if table.shape[1] == 7:
        axes.set_xticks([1, 5], [both("head 0", "头 0"), both("head 1", "头 1")])
        axes.tick_params(length=0)
show(
    figure,
    "Numbers coloured by token: split rightly each head has three columns of all four tokens, split wrongly two tokens.",
    "数字按 token 着色：正确拆分时，每个头含全部四个 token 的三列；错误拆分时，每个头只含两个 token。",
)

# %% [markdown] lang="en"
# Split wrongly, head 0 has only tokens 0 and 1, each cut in two: half the sequence is hidden from it. All shapes are
# right, so nothing complains. Section 7 has a test that does.
#
# Equation 8 in NumPy, for any way of splitting:

# %% [markdown] lang="zh"
# 拆错之后，头 0 里只有 token 0 和 1，每个还被切成两截：半个序列对它不可见。形状全都正确，所以不会报错。第 7 小节有一个
# 能发现它的测试。
#
# 用 NumPy 写出公式（8），拆分方式可以替换：


# %%
def msa(z, U_qkv, U_msa, H, split=split_heads, join=join_heads):
    q, k, v = (split(part, H) for part in np.split(z @ U_qkv, 3, axis=1))  # each (H, N, d)
    A = softmax(q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1]))  # (H, N, N)
    return join(A @ v) @ U_msa  # (N, D)


N, D, H = 6, 64, 4
z = rng.standard_normal((N, D)).astype(np.float32)
U_qkv = rng.standard_normal((D, 3 * D)).astype(np.float32) / np.sqrt(D)
U_msa = rng.standard_normal((D, D)).astype(np.float32) / np.sqrt(D)
print(f"MSA(z) {msa(z, U_qkv, U_msa, H).shape}")

# %% [markdown] lang="en"
# > **Often told wrong.** "Twelve heads cost twelve times as much as one." The width is shared out: $H$ score matrices
# > with $N^2 d$ multiplications each are $N^2 D$, as for one head of width $D$, and the four $D \times D$ matrices are
# > as large as before. What does grow with $H$ is the number of weights in the matrices $A$: $H N^2$.

# %% [markdown] lang="zh"
# > **常见误区。** “十二个头的计算量是一个头的十二倍。”宽度是均分的：$H$ 个分数矩阵，每个 $N^2 d$ 次乘法，合计
# > $N^2 D$，与一个宽度为 $D$ 的头相同；四个 $D \times D$ 矩阵的大小也没有变。真正随 $H$ 增长的是各个 $A$ 的元素总
# > 数：$H N^2$。

# %% [markdown] lang="en"
# ## 6. As a MindSpore cell
#
# The same for a batch of $B$ sequences, with the biases that the equations leave out. The three parts of $U_{qkv}$ are
# one layer, and the splitting happens in one `reshape` and one `transpose`.

# %% [markdown] lang="zh"
# ## 6. 写成 MindSpore 的 Cell
#
# 内容相同，只是一次处理 $B$ 个序列，并带上公式中省略的偏置。$U_{qkv}$ 的三部分合成一层，拆分只用一次 `reshape` 和一次
# `transpose`。


# %%
class SelfAttention(nn.Cell):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        self.qkv = nn.Dense(dim, 3 * dim)
        self.out = nn.Dense(dim, dim)

    def construct(self, z):
        b, n, dim = z.shape
        qkv = self.qkv(z).reshape(b, n, 3, self.num_heads, self.head_dim)
        q, k, v = ops.unstack(qkv.transpose(2, 0, 3, 1, 4), axis=0)  # equation 5, each (B, H, N, d)
        scores = ops.matmul(q, k.transpose(0, 1, 3, 2)) * self.head_dim**-0.5
        weights = ops.softmax(scores, axis=-1)  # equation 6, (B, H, N, N)
        heads = ops.matmul(weights, v)  # equation 7, (B, H, N, d)
        return self.out(heads.transpose(0, 2, 1, 3).reshape(b, n, dim))  # equation 8, (B, N, D)


package = Attention(dim=D, num_heads=H)
own = SelfAttention(D, H)
left_over, _ = ms.load_param_into_net(own, package.parameters_dict())  # the names are the same
x = Tensor(rng.standard_normal((2, N, D)).astype(np.float32))  # (B, N, D)
print(f"parameters {[name for name in package.parameters_dict()]}, not loaded: {left_over}")
print(f"cell and package: largest difference {np.abs(own(x).asnumpy() - package(x).asnumpy()).max():.1e}")

weights = {name: value.asnumpy() for name, value in own.parameters_dict().items()}
by_numpy = msa(x.asnumpy()[0], weights["qkv.weight"].T, weights["out.weight"].T, H)  # the biases are still 0
print(f"cell and NumPy:   largest difference {np.abs(own(x).asnumpy()[0] - by_numpy).max():.1e}")

# %% [markdown] lang="en"
# Equal outputs could still hide unequal gradients (the package has its own for some operations), so compare these too,
# for a loss that weighs all outputs differently:

# %% [markdown] lang="zh"
# 输出相等，梯度仍可能不同（工具包里有些运算的梯度是自己写的），所以也要比较梯度。损失函数取各个输出的加权和，权重各不相
# 同：

# %%
mixture = Tensor(rng.standard_normal(x.shape).astype(np.float32))


def gradients(cell):
    def loss(x):
        return (cell(x) * mixture).sum()

    of_input, of_weights = ms.grad(loss, 0, cell.trainable_params())(x)
    names = [parameter.name for parameter in cell.trainable_params()]
    return {"input": of_input.asnumpy()} | dict(zip(names, [g.asnumpy() for g in of_weights], strict=True))


ours, theirs = gradients(own), gradients(package)
for name in ours:
    error = np.abs(ours[name] - theirs[name]).max()
    print(
        f"gradient of {name:11} {ours[name].shape!s:11} up to {np.abs(ours[name]).max():6.2f}, difference {error:.1e}"
    )

# %% [markdown] lang="en"
# The package's `Attention` is the same few lines with dropout and an optional bias on the scores; on a CPU it scales
# $q$ instead of the scores, $N d$ numbers in place of $N^2$ for each head.

# %% [markdown] lang="zh"
# 工具包的 `Attention` 也是这十几行，只是多了 dropout 和可选的分数偏置；在 CPU 上它缩放的是 $q$ 而不是分数：每个头只需处
# 理 $N d$ 个数，而不是 $N^2$ 个。

# %% [markdown] lang="en"
# ## 7. Attention does not know the order
#
# Nothing in equations 5 to 8 asks for a token's number. If the tokens are shuffled, the outputs are the same, shuffled
# in the same way: with a permutation matrix $\Pi$, $\text{MSA}(\Pi z) = \Pi \, \text{MSA}(z)$. Self-attention is
# *permutation equivariant*. This is also the test that finds the wrong splitting of section 5:

# %% [markdown] lang="zh"
# ## 7. 注意力不知道顺序
#
# 公式（5）到（8）中没有任何地方用到 token 的编号。把 token 打乱，输出不变，只是以同样的方式打乱：设 $\Pi$ 为置换矩阵，
# 则 $\text{MSA}(\Pi z) = \Pi \, \text{MSA}(z)$。自注意力具有*置换等变性*。这也正是能发现第 5 小节那个拆分错误的测试：


# %%
def bare_join(x):
    H, N, d = x.shape
    return x.reshape(N, H * d)


order = np.array([0, 4, 2, 5, 1, 3])  # place 0, the class token's, stays
for name, split, join in (("right", split_heads, join_heads), ("bare reshape", bare_split, bare_join)):
    shuffled_first = msa(z[order], U_qkv, U_msa, H, split, join)
    shuffled_last = msa(z, U_qkv, U_msa, H, split, join)[order]
    print(f"{name:13} largest difference {np.abs(shuffled_first - shuffled_last).max():.1e}")

first = package(Tensor(z[None])).asnumpy()[0, 0]
again = package(Tensor(z[order][None])).asnumpy()[0, 0]
print(f"token 0 of the package's cell, others shuffled: changes by {np.abs(first - again).max():.1e}")

# %% [markdown] lang="en"
# LayerNorm, MLP and residual connections treat each token alone, so the whole encoder is equivariant, and the class
# token, which stays at its place, comes out the same whatever the order of the patches. That is why positions must be
# added to the tokens (or a bias to the scores, as in [notebook 11](11_swin.ipynb)). Two untrained networks, one without
# positions:

# %% [markdown] lang="zh"
# LayerNorm、MLP 和残差连接都对每个 token 单独计算，所以整个编码器都是等变的；类别 token 位置不动，无论图像块如何排列，
# 它的输出都不变。这就是必须给 token 加上位置编码的原因（或者像[第 11 课](11_swin.ipynb)那样，给分数加上偏置）。下面是
# 两个未训练的网络，其中一个没有位置编码：

# %%
digit = Tensor(rng.uniform(-1, 1, (1, 1, 16, 16)).astype(np.float32))  # any image does
mixed = Tensor(rng.permutation(16).astype(np.int32))
for position in ("none", "learned_1d"):
    network = create_model("vit_nano_4", position=position)
    network.set_train(False)
    patches = network.embed_patches(digit)  # (1, 16, 64)
    logits = []
    for sequence in (patches, ops.gather(patches, mixed, 1)):
        zL = network.transformer(network.embed_tokens(sequence))
        logits.append(network.dense(network.norm(zL)[:, 0]).asnumpy())
    print(f'position="{position}":'.ljust(22), f"the logits change by {np.abs(logits[0] - logits[1]).max():.1e}")

# %% [markdown] lang="en"
# ## 8. Attention seen
#
# What can a head look for? In a trained network that is learned ([notebook 9](09_looking_inside.ipynb) looks there).
# Here we write $U_q$ and $U_k$ of four heads by hand, to see what two matrices are able to say.
#
# A token of the photograph has $D = 16$ numbers: 3 for the mean colour of its patch, standardised over the image and
# made a unit vector (1 is left empty), 6 for its row and 6 for its column, as sines and cosines of three frequencies,
# like a sin-cos position embedding. $U_k$ is the identity. $U_q$ is
#
# 1. **colour**: keeps the colour only. Patches of similar colour have a large product, wherever they are.
# 2. **row**: keeps the row only.
# 3. **shift**: keeps the row and *turns* each sine and cosine of the column by an angle, as if 4 were added to it:
#    attention to the patch four columns to the right. A fixed matrix can do this for all places; this is why sines and
#    cosines are convenient (Vaswani et al., section 3.5).
# 4. **colour and place**: keeps both, so it finds what is similar *and* near.
#
# The factors say how sharp a head looks.

# %% [markdown] lang="zh"
# ## 8. 看见注意力
#
# 一个头能找什么？在训练好的网络里，这是学出来的（见[第 9 课](09_looking_inside.ipynb)）。这里我们手写四个头
# 的 $U_q$ 和 $U_k$，看看两个矩阵能表达什么。
#
# 照片的每个 token 有 $D = 16$ 个数：3 个是图像块的平均颜色，先按全图标准化，再归一化为单位向量（1 个留空），6 个表示
# 行、6 个表示列，都是三个频率的正弦和余弦，类似 sin-cos 位置编码。$U_k$ 取单位矩阵，四个头的 $U_q$ 分别是：
#
# 1. **颜色**：只保留颜色。颜色相近的图像块内积大，与位置无关。
# 2. **行**：只保留行。
# 3. **平移**：保留行，并把列的每对正弦、余弦*旋转*一个角度，相当于列号加 4，于是关注右边第四列的图像块。一个固定的矩阵
#    对所有位置都有效，这正是正弦、余弦的方便之处（Vaswani 等，3.5 节）。
# 4. **颜色加位置**：两者都保留，找到的是*既*相似*又*靠近的图像块。
#
# 矩阵前的系数决定一个头的注意力有多集中。

# %%
half = [0.5, 0.5, 0.5]
preprocessing = Preprocessing(image_size=224, channels=3, mean=half, std=half, interpolation="bicubic", crop_pct=1.0)
image = preprocessing.prepare(load_sample_image("china.jpg"))  # (3, 224, 224)
side, P = 14, 16
colour = image.reshape(3, side, P, side, P).mean(axis=(2, 4)).reshape(3, -1).T  # (N, 3)
colour = (colour - colour.mean(axis=0)) / colour.std(axis=0)
colour /= np.linalg.norm(colour, axis=1, keepdims=True)

frequencies = np.array([0.2, 0.4, 0.8])
row, column = np.divmod(np.arange(side * side), side)


def place(count):
    angles = count[:, None] * frequencies  # (N, 3)
    return np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(-1, 6) / np.sqrt(3)


z = np.hstack([colour, np.zeros((side * side, 1)), place(row), place(column)])  # (N, D)
COLOUR, ROW, COLUMN = slice(0, 3), slice(4, 10), slice(10, 16)


def keep(part):
    U = np.zeros((16, 16))
    U[part, part] = np.eye(part.stop - part.start)
    return U


def turn_columns(steps):
    U = np.zeros((16, 16))
    for i, angle in enumerate(frequencies * steps):
        pair = slice(COLUMN.start + 2 * i, COLUMN.start + 2 * i + 2)
        U[pair, pair] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return U


heads = {
    both("1 colour", "颜色"): 60 * keep(COLOUR),
    both("2 row", "行"): 200 * keep(ROW),
    both("3 shift", "平移"): 120 * (keep(ROW) + turn_columns(4)),
    both("4 both, near", "颜色加位置"): 60 * keep(COLOUR) + 12 * (keep(ROW) + keep(COLUMN)),
}
q = np.stack([z @ U_q for U_q in heads.values()])[None]  # equation 5, (1, H, N, d)
k = np.stack([z] * len(heads))[None]
A = functional.attention_weights(Tensor(q.astype(np.float32)), Tensor(k.astype(np.float32))).asnumpy()[0]  # (H, N, N)
by_hand = softmax(q[0] @ k[0].transpose(0, 2, 1) / np.sqrt(16))
print(f"z {z.shape}, q {q.shape}, A {A.shape}, by hand and package: difference {np.abs(A - by_hand).max():.1e}")

# %%
picture = preprocessing.restore(image[None])[0]


def draw_photo(axes, n):
    axes.imshow(picture, extent=(-0.5, side - 0.5, side - 0.5, -0.5), interpolation="nearest")
    axes.plot(n % side, n // side, "s", color=ORANGE, markeredgecolor="black")
    axes.set(xticks=[], yticks=[])


def draw_weights(axes, weights, n):
    axes.imshow(weights[n].reshape(side, side), cmap="viridis", vmin=0)
    axes.plot(n % side, n // side, "s", color=ORANGE, markeredgecolor="black")
    axes.set(xticks=[], yticks=[])


queries = {both("query: water", "查询：水面"): 9 * side + 9, both("query: roof", "查询：屋顶"): 4 * side + 4}
figure, panels = plt.subplots(2, 5, figsize=(10, 4.2), layout="constrained")
for line, (name, n) in zip(panels, queries.items(), strict=True):
    draw_photo(line[0], n)
    line[0].set_ylabel(name)
    for axes, weights in zip(line[1:], A, strict=True):
        draw_weights(axes, weights, n)
for axes, title in zip(panels[0, 1:], heads, strict=True):
    axes.set_title(title, fontsize=11)
show(
    figure,
    "Attention weights of two patches in four heads: similar colours, the row, four to the right, near and similar.",
    "两个图像块在四个头中的注意力权重：颜色相近的、同一行的、右边第四列的、既近又相似的。",
)

# %% [markdown] lang="en"
# Each map is one row of $A$, drawn as the grid of patches. The last head shows what the exponential does: scores add,
# so weights multiply, and a patch must please both parts. Move the sliders to choose head and query. Near the right
# border head 3 finds no patch four columns further; its weights must sum to 1 all the same, and fall on some other:

# %% [markdown] lang="zh"
# 每张图是 $A$ 的一行，按图像块的网格画出。最后一个头体现了指数函数的性质：分数相加，权重相乘，所以图像块必须两方面都符
# 合。拖动滑块可以选择头和查询的位置。靠近右边界时，头 3 要找的图像块（右边第四列）并不存在，但权重之和仍须为 1，只好落
# 在别处：


# %%
def draw(head, row, column):
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 4.2), layout="constrained")
    n = row * side + column
    draw_photo(left, n)
    draw_weights(right, A[head - 1], n)
    right.set_title(list(heads)[head - 1])
    return figure


interactive(draw, head=(1, 4), row=(0, 13), column=(0, 13))

# %% [markdown] lang="en"
# ## 9. What it costs
#
# Multiplications in one block for $N$ tokens: the four projections (q, k, v, output) have $4 N D^2$, the MLP with its
# hidden width $4D$ has $8 N D^2$, and $q k^\top$ and $A v$ together have $2 N^2 D$. Only the last grows with the square
# of $N$. For ViT-B, with 12 heads, and then measured for `functional.attention` alone, where with few tokens the fixed
# costs of a call hide the square:

# %% [markdown] lang="zh"
# ## 9. 计算代价
#
# 一层编码器处理 $N$ 个 token 的乘法次数：四个投影（q、k、v 和输出）共 $4 N D^2$，隐藏宽度为 $4D$ 的 MLP 为 $8 N D^2$，
# $q k^\top$ 与 $A v$ 合计 $2 N^2 D$。只有最后一项随 $N$ 的平方增长。先以 12 个头的 ViT-B 为例列出次数，再单独测
# 量 `functional.attention` 的用时；token 很少时，调用本身的固定开销会掩盖平方增长：


# %%
def share(N, D):
    return 2 * N**2 * D / (12 * N * D**2 + 2 * N**2 * D)


print("image  patch  tokens  q k^T and A v  share of a block  all A of a block, float32")
for pixels, patch in ((224, 32), (224, 16), (384, 16), (224, 8), (896, 16)):
    count = (pixels // patch) ** 2 + 1
    print(
        f"{pixels:5}  {patch:5}  {count:6}  {2 * count**2 * 768 / 1e9:11.3f} G  "
        f"{share(count, 768):16.1%}  {12 * count**2 * 4 / 1e6:22.1f} MB"
    )


def milliseconds(compute, repeats=3):
    compute()  # the first call sets things up
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        compute()
        times.append(1e3 * (time.perf_counter() - start))
    return min(times)


counts = np.array([256, 512, 1024, 2048, 4096])
no_dropout = Dropout(p=0.0)
times = []
for count in counts:
    qkv = [Tensor(rng.standard_normal((1, 3, count, 64)).astype(np.float32)) for _ in range(3)]
    times.append(milliseconds(lambda parts=qkv: functional.attention(*parts, no_dropout).asnumpy()))

figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
tokens = np.array([50, 100, 197, 400, 785, 1600, 3137, 6400, 12800])
left.plot(tokens, 4 * tokens * 768**2, "--", color=GREY, label=both("four projections", "四个投影"))
left.plot(tokens, 8 * tokens * 768**2, "-.", color=GREEN, label="MLP")
left.plot(tokens, 2 * tokens**2 * 768, "-", color=BLUE, label=both("scores and mean", "分数与加权平均"))
left.axvline(197, color=ORANGE, linewidth=1)
left.set(title=both("Multiplications in a block", "一层的乘法次数"))
right.plot(counts, times, "o-", color=BLUE, label=both("measured", "实测"))
right.plot(counts, times[-1] * (counts / counts[-1]) ** 2, "--", color=GREY, label=both("N squared", "平方"))
right.set(title=both("Time of attention, 3 heads", "注意力用时，3 个头"), ylabel="ms")
right.set_xticks(counts, counts)
right.set_xticks([], minor=True)
for axes in (left, right):
    axes.set(xscale="log", yscale="log", xlabel=both("tokens N", "token 数 N"))
    axes.grid(alpha=0.3)
    axes.legend()
right.set_xticks(counts, counts)
right.set_xticks([], minor=True)
show(
    figure,
    "Counted, the scores overtake the projections at N = 1536; measured, the time nears the square of the tokens.",
    "按次数计算，N = 1536 时分数超过投影；实测用时逐渐接近 token 数的平方。",
)

# %% [markdown] lang="en"
# > **Often told wrong.** "Attention's $N^2$ is what makes ViT expensive." At 197 tokens (the line in the left picture)
# > it is 4 % of a block's multiplications; the dense layers are the rest. $2 N^2 D$ reaches the $4 N D^2$ of the
# > projections at $N = 2D = 1536$ and all dense layers at $N = 6D = 4608$. For large images and small patches it is
# > true, and memory is felt first.
#
# On an NPU that has it (Atlas A2 or A3), in half precision, and without dropout on the weights or a bias on the scores,
# `functional.attention` calls Ascend's fused `flash_attention_score`, which computes the same piece by piece and never
# stores the whole $A$ (the idea: Dao et al. 2022, [arXiv 2205.14135](https://arxiv.org/abs/2205.14135)). The memory
# then grows with $N$; the multiplications remain $2 N^2 D$.

# %% [markdown] lang="zh"
# > **常见误区。** “ViT 计算量大，是因为注意力的 $N^2$。”197 个 token 时（左图竖线），它只占一层乘法次数的 4%，其余都
# > 是全连接层。$2 N^2 D$ 在 $N = 2D = 1536$ 时才与投影的 $4 N D^2$ 持平，在 $N = 6D = 4608$ 时才与全部全连接层持平。图
# > 像很大、图像块很小时，这句话才成立，而且首先感到吃紧的是内存。
#
# 在支持它的 NPU（Atlas A2、A3）上使用半精度，且注意力权重没有 dropout、分数没有偏置时，`functional.attention` 会调用昇
# 腾的融合算子 `flash_attention_score`：分块计算同样的结果，从不存储完整的 $A$（思想见 Dao
# 等，2022，[arXiv 2205.14135](https://arxiv.org/abs/2205.14135)）。这时内存只随 $N$ 增长，乘法次数仍是 $2 N^2 D$。

# %% [markdown] lang="en"
# ## Summary
#
# - Queries meet keys in scores, the softmax over the keys makes weights, and the output is a weighted mean of the
#   values.
# - Dividing by $\sqrt{d}$, $d$ the width of a head, keeps the scores' variance near 1 at the start and the softmax's
#   gradient alive.
# - Heads are slices of the width: split with reshape *and* transpose. Constant values test the softmax, shuffled tokens
#   test the splitting.
# - Self-attention is permutation equivariant; order comes only from what is added, to the tokens or to the scores.
# - Its $2 N^2 D$ multiplications are few at 197 tokens and dominate at thousands.
#
# ### Three questions
#
# <details><summary>1. What does a token get if its query is the zero vector?</summary>
#
# All its scores are 0, the weights are $1/N$ each, and the output of the head is the plain mean of all values.
# Attention cannot take nothing: the weights always sum to 1.
# </details>
#
# <details><summary>2. If U_q and U_k are both replaced by their product with a rotation R (orthogonal, d × d) from the
# right, what changes?</summary>
#
# Nothing: $(qR)(kR)^\top = q R R^\top k^\top = q k^\top$. Only the product $U_q U_k^\top$ matters, a $D \times D$
# matrix of rank at most $d$. So single numbers inside $q$ or $k$ have no meaning of their own.
# </details>
#
# <details><summary>3. Many libraries draw the first weights with a standard deviation of 0.02. How does A look then before
# training, if D = 768 and the numbers in z have variance 1?</summary>
#
# The numbers in $q$ and $k$ have a variance of $768 \cdot 0.02^2 \approx 0.31$, so the scores have
# $0.31^2 \approx 0.09$, a standard deviation of 0.3: most weights are not far from $1/N$. Each token takes about the
# mean of all values, and all get nearly the same from attention; the residual connection keeps them apart. (This
# package draws the larger weights of the paper's code, with which the scores have the variance 1 of section 4.)
# </details>
#
# ### Where to go next
#
# - [Notebook 4](04_encoder_and_vit.ipynb): what stands around attention in a block, and the whole ViT.
# - In the code: `Attention` in [layers.py](../../vit_ms/layers.py); `attention_weights`, `flash_serves` and `attention`
#   in [functional.py](../../vit_ms/functional.py).
# - Try it: change `turn_columns(4)` to `turn_columns(-2)`, or write a head that looks at the row *above*.
# - In the papers: section 3.2 of Vaswani et al.; appendix A of Dosovitskiy et al., half a page, is what you have just
#   computed.

# %% [markdown] lang="zh"
# ## 小结
#
# - 查询与键的内积是分数，沿键的方向做 softmax 得到权重，输出是值的加权平均。
# - 除以 $\sqrt{d}$（$d$ 是单个头的宽度），使训练之初分数的方差保持在 1 左右，softmax 的梯度不会消失。
# - 头是宽度方向上的切片：拆分要用 reshape *加* transpose。用常数值检验 softmax，用打乱的 token 检验拆分。
# - 自注意力具有置换等变性；顺序信息只能来自另外加上的东西：加在 token 上，或加在分数上。
# - 它的 $2 N^2 D$ 次乘法，在 197 个 token 时占比很小，到几千个 token 时才占主导。
#
# ### 三道思考题
#
# <details><summary>1. 如果一个 token 的查询是零向量，它会得到什么？</summary>
#
# 它的分数全为 0，每个权重都是 $1/N$，这个头的输出就是所有值的普通平均。注意力无法“什么都不取”：权重之和总是 1。
# </details>
#
# <details><summary>2. 如果 U_q 和 U_k 都右乘同一个旋转矩阵 R（d × d 正交矩阵），结果有什么变化？</summary>
#
# 没有变化：$(qR)(kR)^\top = q R R^\top k^\top = q k^\top$。起作用的只是乘积 $U_q U_k^\top$，一个秩不超
# 过 $d$ 的 $D \times D$ 矩阵。所以 $q$ 或 $k$ 中的单个数字本身没有意义。
# </details>
#
# <details><summary>3. 许多库的权重初值取标准差 0.02。设 D = 768，z 中各数的方差为 1，训练之前 A 是什么样
# 子？</summary>
#
# $q$ 和 $k$ 中各数的方差为 $768 \cdot 0.02^2 \approx 0.31$，分数的方差就是 $0.31^2 \approx 0.09$，标准差 0.3：多数权重
# 离 $1/N$ 不远。每个 token 取到的大致是所有值的平均，各个 token 从注意力中得到的几乎相同，靠残差连接才保持彼此的差异。
# （本工具包沿用论文代码中较大的初值，分数的方差是 1，与第 4 小节相同。）
# </details>
#
# ### 下一步
#
# - [第 4 课](04_encoder_and_vit.ipynb)：编码器的一层里，注意力周围还有什么；以及完整的 ViT。
# - 读代码：[layers.py](../../vit_ms/layers.py) 中的 `Attention`；[functional.py](../../vit_ms/functional.py) 中的
#   `attention_weights`、`flash_serves` 和 `attention`。
# - 动手试试：把 `turn_columns(4)` 改成 `turn_columns(-2)`，或者写一个关注*上一行*的头。
# - 读论文：Vaswani 等的 3.2 节；Dosovitskiy 等的附录 A 只有半页，正是刚刚算过的内容。
