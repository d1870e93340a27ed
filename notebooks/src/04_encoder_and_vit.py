# %% [markdown] lang="en"
# # The encoder and the whole ViT
#
# Attention is one of two halves of a block. This notebook is about everything around it: layer normalisation, the MLP
# and its GELU, residual connections, dropout and drop path. You build the block, the encoder and a whole ViT by hand,
# give them the weights of the package's model and get its logits; and at the end you can count the parameters of
# ViT-B, L and H on paper.
#
# | | |
# |---|---|
# | Time | under a minute of computing on a CPU with two cores, 15 to 20 minutes of reading |
# | You need | tokens and self-attention: [notebook 2](02_from_image_to_tokens.ipynb), [3](03_attention_by_hand.ipynb) |
# | Paper | Dosovitskiy et al., 2021, [arXiv 2010.11929](https://arxiv.org/abs/2010.11929), and those below |
#
# The others: Ba et al. 2016, LayerNorm ([1607.06450](https://arxiv.org/abs/1607.06450)); Hendrycks & Gimpel 2016, GELU
# ([1606.08415](https://arxiv.org/abs/1606.08415)); He et al. 2016, residual connections
# ([1512.03385](https://arxiv.org/abs/1512.03385)); Xiong et al. 2020, pre-norm
# ([2002.04745](https://arxiv.org/abs/2002.04745)); Huang et al. 2016, stochastic depth
# ([1603.09382](https://arxiv.org/abs/1603.09382)).

# %% [markdown] lang="zh"
# # 编码器与完整的 ViT
#
# 注意力只是编码器每一层的一半。本节讲的是它周围的一切：层归一化、MLP 与 GELU、残差连接、Dropout 与 DropPath。你将亲手
# 写出编码器的一层、整个编码器和一个完整的 ViT，装入 `vit_ms` 模型的权重，得到同样的 logits；最后还能用纸笔算出
# ViT-B、L、H 的参数量。
#
# | | |
# |---|---|
# | 用时 | 双核 CPU 上计算不到一分钟，阅读 15 到 20 分钟 |
# | 基础 | 了解 token 与自注意力：[第 2 课](02_from_image_to_tokens.ipynb)、[第 3 课](03_attention_by_hand.ipynb) |
# | 论文 | Dosovitskiy 等，2021，[arXiv 2010.11929](https://arxiv.org/abs/2010.11929)，以及下列各篇 |
#
# 其余论文：Ba 等 2016，层归一化（[1607.06450](https://arxiv.org/abs/1607.06450)）；Hendrycks 与 Gimpel 2016，GELU
# （[1606.08415](https://arxiv.org/abs/1606.08415)）；He 等 2016，残差连接
# （[1512.03385](https://arxiv.org/abs/1512.03385)）；Xiong 等 2020，pre-norm
# （[2002.04745](https://arxiv.org/abs/2002.04745)）；Huang 等 2016，随机深度
# （[1603.09382](https://arxiv.org/abs/1603.09382)）。

# %% [markdown] lang="en"
# ## 1. Set up
#
# This notebook calls many small cells once each. In `mode="pynative"` MindSpore runs them operation by operation, with
# nothing to compile, which is the handier mode for looking at things.

# %% [markdown] lang="zh"
# ## 1. 准备环境
#
# 本节要调用许多小的 Cell，每个只用一两次。动态图模式 `mode="pynative"` 逐个算子执行，不需要编译，最适合边看边试。

# %%
import vit_ms  # before mindspore
from functools import partial

import matplotlib.pyplot as plt
import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.nn.utils import no_init_parameters
from scipy.special import erf

from vit_ms import create_model, runtime
from vit_ms.data.catalog import open_dataset
from vit_ms.data.transforms import Preprocessing
from vit_ms.layers import GELU, Attention, Dense, Dropout, DropPath, FeedForward, LayerNorm, PatchEmbedding, init
from vit_ms.models.vit import VARIANTS, TransformerEncoder
from vit_ms.visualize import BLUE, GREEN, GREY, ORANGE, RED, both, show

runtime.setup(device_target="auto", mode="pynative", seed=0)
vit_ms.doctor()

# %% [markdown] lang="en"
# Real tokens to work with: 128 digits through the embedding of `vit_nano_4` (equation 1 of the paper). $B$ images,
# $N = 17$ tokens each (the class token and 16 patches), $D = 64$ numbers a token.

# %% [markdown] lang="zh"
# 先准备真实的 token：让 128 张手写数字通过 `vit_nano_4` 的嵌入层（论文公式 1）。共 $B$ 张图像，每张 $N = 17$ 个 token
# （类别 token 加 16 个图像块），每个 token 有 $D = 64$ 个数。

# %%
digits = open_dataset("digits")
preprocessing = Preprocessing(image_size=16, channels=1, mean=[0.5], std=[0.5], interpolation="bicubic", crop_pct=1.0)
images, labels = digits.arrays("train")
images = Tensor(np.stack([preprocessing.prepare(image) for image in images[:128]]))  # (B, 1, 16, 16)

network = create_model("vit_nano_4").set_train(False)
z0 = network.embed_tokens(network.embed_patches(images))  # (B, N, D)
x = z0.asnumpy()
print(f"images {images.shape}, tokens {x.shape}")

# %% [markdown] lang="en"
# ## 2. Layer normalisation
#
# Normalisation takes numbers, subtracts their mean and divides by their standard deviation. What tells the methods
# apart is **which numbers**. Of a tensor $(B, N, D)$
#
# - **LayerNorm** takes the $D$ numbers of one token. There are $B N$ means, one for each token of each image.
# - **BatchNorm**, applied to a sequence, takes one feature of all tokens of all images. There are $D$ means.

# %% [markdown] lang="zh"
# ## 2. 层归一化
#
# 归一化就是取一组数，减去均值，再除以标准差。各种方法的区别在于**取哪一组数**。对形状为 $(B, N, D)$ 的张量：
#
# - **LayerNorm**（层归一化）取一个 token 的 $D$ 个数。每张图像的每个 token 各有一个均值，共 $B N$ 个。
# - **BatchNorm**（批归一化）用在序列上时，取所有图像、所有 token 的同一个特征，共 $D$ 个均值。

# %%
figure, grid = plt.subplots(2, 4, figsize=(8.5, 4.2), layout="constrained", sharex=True, sharey=True)
for row, (name, text) in enumerate((("LayerNorm", "层归一化"), ("BatchNorm", "批归一化"))):
    for b, axes in enumerate(grid[row]):
        axes.imshow(x[b, :, :24], cmap="gray", vmin=-2, vmax=2, aspect="auto", interpolation="nearest")
        axes.set_title(f"b = {b}", fontsize=11)
        if row == 0 and b == 1:
            axes.add_patch(plt.Rectangle((-0.5, 8.5), 24, 1, fill=False, edgecolor=ORANGE, linewidth=3))
        if row == 1:
            axes.add_patch(plt.Rectangle((9.5, -0.5), 1, 17, fill=False, edgecolor=ORANGE, linewidth=3))
    grid[row, 0].set_ylabel(both(name, text), fontsize=12)
figure.supxlabel(both("24 of the D = 64 features", "特征"))
figure.supylabel(both("N = 17 tokens", "每行一个"))
show(
    figure,
    "Token matrices of four images: LayerNorm averages over a row of one image, BatchNorm over a column of all.",
    "四张图像的 token 矩阵：层归一化对一张图像的一行取平均，批归一化对所有图像的同一列取平均。",
)

# %% [markdown] lang="en"
# The orange frames hold the numbers that one mean and one variance are taken of. The LayerNorm of ViT, with $\mu$ and
# $\sigma^2$ the mean and the variance of one token $x \in \mathbb{R}^D$, is (Ba et al. 2016, section 3)
#
# $$\text{LN}(x) = \gamma \, h + \beta, \qquad h = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \tag{1}$$
#
# $\gamma, \beta \in \mathbb{R}^D$ are learned and start at 1 and 0; $\epsilon$ keeps a token of equal numbers from
# being divided by 0. Backwards, with $g = \gamma \, dy$ for the gradient $dy$ that comes from above,
#
# $$dx = \frac{g - \text{mean}(g) - h \, \text{mean}(g h)}{\sqrt{\sigma^2 + \epsilon}} \tag{2}$$
#
# The two subtracted terms are what $\mu$ and $\sigma$ cost: adding a constant to all numbers of the token, or
# multiplying its deviation from the mean by a positive number, does not change $h$ (but for $\epsilon$), so the
# gradient has no part in these two directions.

# %% [markdown] lang="zh"
# 橙色框内就是计算一个均值和一个方差所用的数。设 $\mu$ 和 $\sigma^2$ 是一个 token $x \in \mathbb{R}^D$ 的均值和方
# 差，ViT 的层归一化为（Ba 等 2016，第 3 节）
#
# $$\text{LN}(x) = \gamma \, h + \beta, \qquad h = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \tag{1}$$
#
# $\gamma, \beta \in \mathbb{R}^D$ 是可学习参数，初值为 1 和 0；$\epsilon$ 用来避免一个 token 的各个数全相等时除以 0。反
# 向传播时，设上游传来的梯度为 $dy$，令 $g = \gamma \, dy$，则
#
# $$dx = \frac{g - \text{mean}(g) - h \, \text{mean}(g h)}{\sqrt{\sigma^2 + \epsilon}} \tag{2}$$
#
# 被减去的两项来自 $\mu$ 和 $\sigma$：给 token 的所有数加上同一个常数，或把它们与均值的偏差同乘一个正数，$h$ 都不变
# （$\epsilon$ 的影响除外），所以梯度在这两个方向上没有分量。

# %%
rng = np.random.default_rng(0)
layer_norm = LayerNorm((64,), epsilon=1e-6)
layer_norm.gamma.set_data(Tensor(rng.normal(1, 0.2, 64).astype(np.float32)))  # not 1 and 0, that it shows
layer_norm.beta.set_data(Tensor(rng.normal(0, 0.2, 64).astype(np.float32)))
gamma, beta = layer_norm.gamma.asnumpy(), layer_norm.beta.asnumpy()

mean = x.mean(axis=-1, keepdims=True)  # (B, N, 1)
sigma = np.sqrt(x.var(axis=-1, keepdims=True) + 1e-6)  # (B, N, 1)
h = (x - mean) / sigma  # (B, N, D)
y = gamma * h + beta
print(f"mean and variance        {mean.shape}")
print(f"forward,  max difference {np.abs(layer_norm(z0).asnumpy() - y).max():.0e}")

dy = rng.normal(size=x.shape).astype(np.float32)
g = gamma * dy
dx = (g - g.mean(-1, keepdims=True) - h * (g * h).mean(-1, keepdims=True)) / sigma
gradient = ms.grad(lambda z: (layer_norm(z) * Tensor(dy)).sum())(z0)
print(f"backward, max difference {np.abs(gradient.asnumpy() - dx).max():.0e}")
moved = layer_norm(3 * z0 + 5).asnumpy()  # of the patch tokens; the class token is so small yet that epsilon shows
print(f"LN(3 x + 5) is LN(x)     {np.allclose(moved[:, 1:], y[:, 1:], atol=1e-3)}")

# %% [markdown] lang="en"
# Why LayerNorm? Because the result of BatchNorm depends on the company. The next cell normalises the same digit in
# batches of different sizes, twenty times with other digits beside it, and measures how far the result of this one
# digit varies.

# %% [markdown] lang="zh"
# 为什么用层归一化？因为批归一化的结果取决于同一批里还有谁。下面把同一张数字放进不同大小的批次，每种大小换二十次同伴，测
# 量这一张图像的归一化结果波动有多大。

# %%
sizes = (2, 4, 8, 16, 32, 64)
spread = {"LayerNorm": [], "BatchNorm": []}
for size in sizes:
    results = {"LayerNorm": [], "BatchNorm": []}
    for _ in range(20):
        batch = x[[0, *rng.choice(np.arange(1, 128), size - 1, replace=False)]]  # image 0 and others
        for name, axis in (("LayerNorm", -1), ("BatchNorm", (0, 1))):
            scale = np.sqrt(batch.var(axis, keepdims=True) + 1e-6)
            results[name].append(((batch - batch.mean(axis, keepdims=True)) / scale)[0])
    for name in spread:
        spread[name].append(np.std(results[name], axis=0).mean())

figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.plot(sizes, spread["BatchNorm"], "o-", color=ORANGE, label=both("BatchNorm, training", "批归一化，训练时"))
axes.plot(sizes, spread["LayerNorm"], "s--", color=BLUE, label=both("LayerNorm", "层归一化"))
axes.set_xscale("log", base=2)
axes.set_xticks(sizes, sizes)
axes.set(xlabel=both("batch size", "批大小"), ylabel=both("standard deviation", "标准差"))
axes.set_title(both("Variation of one digit's result", "同一张数字的结果波动"))
axes.legend()
axes.grid(alpha=0.3)
show(
    figure,
    "With BatchNorm one image's result varies with the others of its batch, most in small ones; never with LayerNorm.",
    "批归一化下，同一张图像的结果随同批图像而变，批次越小波动越大；层归一化下始终不变。",
)

# %% [markdown] lang="en"
# The smaller the batch, the larger the noise. BatchNorm therefore keeps running averages and uses them in evaluation:
# in training and in evaluation it computes different functions. LayerNorm computes the same in both, for any batch
# size and any number of tokens.
#
# > **Often told wrong.** Pictures that compare normalisations often let LayerNorm average over everything but the
# > batch. That is one way to use it on the maps of a convolutional network. In a Transformer it averages over the last
# > axis only: each token is normalised by itself, and no token learns anything of the others here.
# >
# > Mind the defaults, too: `nn.LayerNorm` of MindSpore has $\epsilon = 10^{-7}$, the authors' ViT code has $10^{-6}$.
# > With published weights take the $\epsilon$ they were trained with; `create_model(name, pretrained=True)` does.

# %% [markdown] lang="zh"
# 批次越小，噪声越大。因此批归一化要维护滑动平均，评估时改用滑动平均：它在训练和评估时算的不是同一个函数。层归一化在两种
# 情况下完全一样，与批大小、token 数都无关。
#
# > **常见误区。** 比较各种归一化的示意图里，层归一化常常画成对批次以外的所有维度取平均。在卷积网络的特征图上确实可以这
# > 样用；而在 Transformer 中，它只对最后一维取平均：每个 token 单独归一化，token 之间在这里没有任何信息交换。
# >
# > 还要留意默认值：MindSpore 的 `nn.LayerNorm` 默认 $\epsilon = 10^{-7}$，论文作者的 ViT 代码用的是 $10^{-6}$。使用已发
# > 布的权重时，应采用训练时的 $\epsilon$；`create_model(name, pretrained=True)` 会照此设置。

# %% [markdown] lang="en"
# ## 3. The MLP and its GELU
#
# The MLP of a block is two dense layers, $D \to M \to D$, usually with $M = 4D$ and a GELU between them:
#
# $$\text{MLP}(z) = \text{GELU}(z W_1^T + b_1) \, W_2^T + b_2 \tag{3}$$
#
# GELU weights its input with the distribution function $\Phi$ of the standard normal distribution (Hendrycks & Gimpel
# 2016, section 2). Its exact form needs the error function erf; a second form approximates it with tanh, which was
# meant to be faster:
#
# $$\text{GELU}(a) = a \, \Phi(a) = \frac{a}{2} \left(1 + \text{erf}\frac{a}{\sqrt{2}}\right)
# \approx \frac{a}{2} \left(1 + \tanh\left(\sqrt{\tfrac{2}{\pi}} \, (a + 0.044715 \, a^3)\right)\right) \tag{4}$$

# %% [markdown] lang="zh"
# ## 3. MLP 与 GELU
#
# 每一层的 MLP 由两个全连接层组成，$D \to M \to D$，通常 $M = 4D$，中间是 GELU：
#
# $$\text{MLP}(z) = \text{GELU}(z W_1^T + b_1) \, W_2^T + b_2 \tag{3}$$
#
# GELU 用标准正态分布的分布函数 $\Phi$ 给输入加权（Hendrycks 与 Gimpel 2016，第 2 节）。精确形式要计算误差函数 erf；另
# 一种形式用 tanh 近似，本意是算得更快：
#
# $$\text{GELU}(a) = a \, \Phi(a) = \frac{a}{2} \left(1 + \text{erf}\frac{a}{\sqrt{2}}\right)
# \approx \frac{a}{2} \left(1 + \tanh\left(\sqrt{\tfrac{2}{\pi}} \, (a + 0.044715 \, a^3)\right)\right) \tag{4}$$

# %%
a = np.linspace(-5, 5, 1001).astype(np.float32)
exact = a / 2 * (1 + erf(a / np.sqrt(2)))
by_tanh = a / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (a + 0.044715 * a**3)))
for approximate, wanted in ((False, exact), (True, by_tanh)):
    found = GELU(approximate=approximate)(Tensor(a)).asnumpy()
    print(f"GELU(approximate={approximate!s:5})  max difference to equation 4: {np.abs(found - wanted).max():.0e}")
mindspore_default = nn.GELU()(Tensor(a)).asnumpy()
print(f"nn.GELU() is nearer to     {'tanh' if abs(mindspore_default - by_tanh).max() < 1e-5 else 'erf'}")
print(f"tanh and erf differ by     {np.abs(by_tanh - exact).max():.1e} at most")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
left.plot(a, np.maximum(a, 0), "--", color=GREY, label="ReLU")
left.plot(a, exact, color=BLUE, label="GELU")
left.plot(a, np.gradient(exact, a), ":", color=ORANGE, linewidth=2, label=both("slope of GELU", "导数"))
left.set(xlabel="a", ylim=(-0.4, 3), xlim=(-5, 5), title="GELU, ReLU")
left.legend()
right.plot(a, (by_tanh - exact) * 1e4, color=RED)
right.set(xlabel="a", xlim=(-5, 5), title=both("tanh minus exact, times 10,000", "差值乘一万"))
for axes in (left, right):
    axes.grid(alpha=0.3)
show(
    figure,
    "Left: GELU is a smooth ReLU that dips below zero. Right: the tanh form differs by less than 0.0005.",
    "左：GELU 像光滑的 ReLU，在零点左侧略低于零。右：tanh 近似与精确形式相差不到 0.0005。",
)

# %% [markdown] lang="en"
# The difference is small but not rounding: passed on through twelve blocks it can be seen in the logits of published
# weights. And libraries disagree.
#
# > **Often told wrong.** "GELU" names one function. In MindSpore `nn.GELU()` is the tanh form, while the function
# > `ops.gelu(x)` is the exact one; PyTorch's `nn.GELU()` and timm are exact, the authors' ViT code (JAX) has tanh. When
# > you move weights from one library to another, carry this choice with them:
# > `create_model(name, numerics="timm")`, `"google"` or `"mindcv"`.
#
# The MLP by hand. It treats each token alone: shuffle the tokens and the results are shuffled the same way.

# %% [markdown] lang="zh"
# 差别虽小，却不是舍入误差：经过十二层的传递，用已发布的权重时从 logits 里就能看出来。而各个库的选择并不一致。
#
# > **常见误区。** 以为 “GELU” 只指一个函数。在 MindSpore 里，`nn.GELU()` 是 tanh 近似，函数 `ops.gelu(x)` 却是精确形
# > 式；PyTorch 的 `nn.GELU()` 和 timm 用精确形式，论文作者的 ViT 代码（JAX）用 tanh。把权重从一个库搬到另一个库时，这个
# > 选择也要一起带走：`create_model(name, numerics="timm")`、`"google"` 或 `"mindcv"`。
#
# 下面手写 MLP。它对每个 token 单独计算：打乱 token 的顺序，结果也只是同样地打乱。

# %%
mlp = FeedForward(64, 256, activation=partial(GELU, approximate=False))
w1, b1 = mlp.dense1.weight.asnumpy(), mlp.dense1.bias.asnumpy()  # (M, D), (M,)
w2, b2 = mlp.dense2.weight.asnumpy(), mlp.dense2.bias.asnumpy()  # (D, M), (D,)

hidden = x @ w1.T + b1  # (B, N, M)
hidden = hidden / 2 * (1 + erf(hidden / np.sqrt(2)))
by_hand = hidden @ w2.T + b2  # (B, N, D)
out = mlp(z0).asnumpy()
print(f"tokens {x.shape}, hidden {hidden.shape}, out {out.shape}")
print(f"max difference {np.abs(out - by_hand).max():.0e}")

order = rng.permutation(17)
shuffled = mlp(Tensor(x[:, order])).asnumpy()
print(f"MLP of shuffled tokens is the shuffled MLP: {np.allclose(shuffled, out[:, order], atol=1e-5)}")
print(f"parameters {sum(p.size for p in mlp.get_parameters()):,} = 2 D M + M + D = {2 * 64 * 256 + 256 + 64:,}")

# %% [markdown] lang="en"
# ## 4. The block, and what residual connections are for
#
# A block is equations 2 and 3 of the paper, which are (5) and (6) here. Each half adds something to what it is given:
#
# $$z'_\ell = \text{MSA}(\text{LN}(z_{\ell-1})) + z_{\ell-1} \tag{5}$$
#
# $$z_\ell = \text{MLP}(\text{LN}(z'_\ell)) + z'_\ell \tag{6}$$
#
# The class below writes this down. `form` leaves the residual connections out (`"no residual"`) or puts the LayerNorms
# behind the additions (`"post-norm"`), which the next section needs. `DropPath` does nothing as long as `keep_prob` is
# 1.

# %% [markdown] lang="zh"
# ## 4. 编码器的一层，残差连接有什么用
#
# 编码器的一层就是论文的公式 2 和 3，这里编号为（5）和（6）。每一半都在输入上叠加新的内容：
#
# $$z'_\ell = \text{MSA}(\text{LN}(z_{\ell-1})) + z_{\ell-1} \tag{5}$$
#
# $$z_\ell = \text{MLP}(\text{LN}(z'_\ell)) + z'_\ell \tag{6}$$
#
# 下面的类照此写成。参数 `form` 可以去掉残差连接（`"no residual"`），也可以把层归一化移到相加之后（`"post-norm"`，第 5
# 部分要用）。`keep_prob` 为 1 时，`DropPath` 不起任何作用。


# %%
class Block(nn.Cell):
    """One block of an encoder."""

    def __init__(self, dim, num_heads, mlp_dim, form="pre-norm", keep_prob=1.0):
        super().__init__()
        self.norm1 = LayerNorm((dim,), epsilon=1e-6)
        self.attention = Attention(dim, num_heads)
        self.drop_path1 = DropPath(keep_prob)
        self.norm2 = LayerNorm((dim,), epsilon=1e-6)
        self.mlp = FeedForward(dim, mlp_dim, activation=partial(GELU, approximate=False))
        self.drop_path2 = DropPath(keep_prob)
        self.form = form

    def construct(self, z):  # (B, N, D)
        if self.form == "no residual":
            z = self.attention(self.norm1(z))
            return self.mlp(self.norm2(z))
        if self.form == "post-norm":
            z = self.norm1(self.drop_path1(self.attention(z)) + z)
            return self.norm2(self.drop_path2(self.mlp(z)) + z)
        z = self.drop_path1(self.attention(self.norm1(z))) + z  # equation 5
        return self.drop_path2(self.mlp(self.norm2(z))) + z  # equation 6


# %% [markdown] lang="en"
# A measurement. A stack of untrained blocks gets the tokens of eight digits; a LayerNorm and a classifier read the
# class token, and the loss sends gradients back. For each block we note
#
# - the **size** of its output: the root of the mean square of all numbers;
# - how **alike** the tokens of an image are: the mean cosine between two of them, 1 if all point the same way;
# - the norm of the gradient of the weights of **q and k** in its attention, and of $W_2$ in its **MLP**.

# %% [markdown] lang="zh"
# 来做一次测量。把八张数字的 token 送入一叠未经训练的层；最后由一个层归一化和一个分类器读取类别 token，再由损失反向传播
# 梯度。对每一层记录：
#
# - 输出的**大小**：所有数的均方根；
# - 同一图像的 token 有多**相似**：两两之间余弦的平均值，全部同向时为 1；
# - 注意力中 **q 和 k** 的权重、**MLP** 中 $W_2$ 的梯度范数。


# %%
def alike(z):
    """The mean cosine between two different tokens of an image."""
    unit = z / np.linalg.norm(z, axis=-1, keepdims=True)
    cosines = unit @ unit.transpose(0, 2, 1)  # (B, N, N)
    n = z.shape[1]
    return (cosines.sum(axis=(1, 2)) - n).mean() / (n * (n - 1))


def measure(form, depth, images=8):
    """Sizes, likenesses and gradients in a stack of blocks with their initial weights."""
    ms.set_seed(0)
    blocks = [Block(64, num_heads=4, mlp_dim=256, form=form) for _ in range(depth)]
    norm, head = LayerNorm((64,), epsilon=1e-6), Dense(64, 10)
    outputs = []

    def loss(z):
        outputs.append(z)
        for block in blocks:
            z = block(z)
            outputs.append(z)
        return ops.cross_entropy(head(norm(z)[:, 0]), Tensor(labels[:images]))

    weights = [block.attention.qkv.weight for block in blocks] + [block.mlp.dense2.weight for block in blocks]
    gradients = ms.grad(loss, None, weights)(z0[:images])
    outputs = [z.asnumpy() for z in outputs]
    return {
        "size": [np.sqrt((z**2).mean()) for z in outputs],
        "alike": [alike(z) for z in outputs],
        "qk": [np.linalg.norm(g.asnumpy()[: 2 * 64]) for g in gradients[:depth]],  # rows of q, k, then v
        "mlp": [np.linalg.norm(g.asnumpy()) for g in gradients[depth:]],
    }


with_residual, without = measure("pre-norm", 12), measure("no residual", 12)

# %%
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
for found, colour, style, label in (
    (with_residual, BLUE, "o-", both("with residual", "有残差")),
    (without, RED, "s--", both("without", "无残差")),
):
    left.plot(range(13), found["alike"], style, color=colour, markersize=4, label=label)
    middle.semilogy(range(1, 13), found["qk"], style, color=colour, markersize=4)
    right.semilogy(range(1, 13), found["mlp"], style, color=colour, markersize=4)
left.set(title=both("Likeness of tokens", "相似度"), ylim=(0, 1.05))
middle.set(title=both("Gradient of q and k", "梯度范数"), ylim=(1e-8, 1e2))
right.set(title=both("Gradient of the MLP", "梯度范数"), ylim=(1e-8, 1e2))
left.legend(loc="lower right")
for axes in (left, middle, right):
    axes.set_xticks(range(0, 13, 3))
    axes.set_xlabel(both("block", "层"))
    axes.grid(alpha=0.3)
show(
    figure,
    "Without residual connections all tokens are soon alike and the gradients of q and k vanish, the MLP's do not.",
    "没有残差连接时，几层之后 token 就完全相同，q、k 的梯度随之消失，MLP 的梯度则不会。",
)

# %% [markdown] lang="en"
# Without residual connections the tokens of an image become the same vector within a few blocks. Attention makes each
# token a weighted mean of all, and means of means are soon all alike (Dong et al. 2021, [arXiv
# 2103.03404](https://arxiv.org/abs/2103.03404)). From then on there is nothing to tell apart: whatever q and k say, a
# mean of equal tokens is the same token, so the loss does not depend on them, and their gradient is only rounding.
# With residual connections each token keeps what it was, and the mean is only added.
#
# > **Often told wrong.** "Without residual connections the gradients vanish." In a plain deep network without
# > normalisation they may. Here LayerNorm keeps all sizes in order, and the gradient of the MLPs is no smaller than
# > with residual connections. What is lost is the **difference between the tokens**, and with it the gradient of q and
# > k.

# %% [markdown] lang="zh"
# 没有残差连接时，几层之内一张图像的所有 token 就变成了同一个向量。注意力把每个 token 变成全体 token 的加权平均，平均再
# 平均，很快就彼此相同（Dong 等 2021，[arXiv 2103.03404](https://arxiv.org/abs/2103.03404)）。此后就没有什么可区分的
# 了：不论 q 和 k 怎样取值，相同 token 的平均还是它自己，损失与 q、k 无关，它们的梯度只剩舍入误差。有了残差连接，每个
# token 保留原来的内容，平均值只是叠加在上面。
#
# > **常见误区。** “没有残差连接，梯度就会消失。”没有归一化的深层网络可能如此。而这里层归一化使各层数值大小保持正常，MLP
# > 的梯度并不比有残差时小。真正丢失的是 **token 之间的差别**，q、k 的梯度也随之消失。

# %% [markdown] lang="en"
# ## 5. Pre-norm and post-norm
#
# The first Transformer (Vaswani et al. 2017) normalised behind the addition; ViT normalises at the entrance of each
# branch:
#
# $$\text{post-norm: } \; \text{LN}(f(z) + z) \qquad \text{pre-norm: } \; f(\text{LN}(z)) + z \tag{7}$$
#
# In pre-norm a path leads from the last block to the first on which there are only additions. Here is the same
# measurement at two depths.

# %% [markdown] lang="zh"
# ## 5. Pre-norm 与 post-norm
#
# 最早的 Transformer（Vaswani 等 2017）在相加之后归一化，ViT 则在每个分支的入口归一化：
#
# $$\text{post-norm: } \; \text{LN}(f(z) + z) \qquad \text{pre-norm: } \; f(\text{LN}(z)) + z \tag{7}$$
#
# 在 pre-norm 中，从最后一层到第一层有一条只含加法的通路。下面在两种深度上做同样的测量。

# %%
stacks = {(form, depth): measure(form, depth) for form in ("pre-norm", "post-norm") for depth in (6, 24)}
for (form, depth), found in stacks.items():
    last, likeness = found["mlp"][-1], found["alike"][-1]
    print(f"{form:9}, L = {depth:2}: gradient of the last MLP {last:.2f}, likeness of tokens {likeness:.3f}")

# %%
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 3.4), layout="constrained")
for (form, depth), found in stacks.items():
    colour, style = {"pre-norm": BLUE, "post-norm": ORANGE}[form], {6: "--", 24: "-"}[depth]
    marker = {"color": colour, "linestyle": style, "marker": "o", "markersize": 3}
    left.plot(range(depth + 1), found["size"], **marker, label=f"{form}, L = {depth}")
    middle.plot(range(1, depth + 1), found["mlp"], **marker)
    right.semilogy(range(1, depth + 1), found["qk"], **marker)
left.set(title=both("Size of the signal", "信号的大小"), ylim=0)
middle.set(title=both("Gradient of the MLP", "梯度范数"), ylim=0)
right.set(title=both("Gradient of q and k", "梯度范数"), ylim=(1e-7, 100))
left.legend(fontsize=8, loc=(0.4, 0.25))
for axes in (left, middle, right):
    axes.set_xticks(range(0, 25, 6))
    axes.set_xlabel(both("block", "层"))
    axes.grid(alpha=0.3)
show(
    figure,
    "The signal grows in pre-norm and stays in post-norm; the last gradients shrink with depth in pre-norm only.",
    "pre-norm 的信号逐层增大，post-norm 保持不变；只有 pre-norm 的末层梯度随深度变小。",
)

# %% [markdown] lang="en"
# - **Signal.** In pre-norm every block adds to the stream and nothing normalises it, so it grows. This is why ViT needs
#   one more LayerNorm behind the last block (equation 4 of the paper), and why a late block changes the stream less.
# - **Gradient of the last block.** In pre-norm it is smaller in the deeper net, in post-norm it hardly is: the bounds
#   that theory gives for the MLP fall as $1 / \sqrt{L}$ in the first and do not depend on $L$ in the second (Xiong et
#   al. 2020, theorem 1). Large gradients near the output at the start are the reason given there why post-norm needs a
#   warm-up of the learning rate.
# - **Attention.** Post-norm brings the stream back to size 1 after every addition, so each branch weighs as much as the
#   first, and the averaging of all the attentions piles up: the tokens of the deep net end as nearly the same vector,
#   and q and k of its late blocks hardly get a gradient.
#
# All this is about initial weights. Post-norm nets can be trained, too, but with more care.

# %% [markdown] lang="zh"
# - **信号。** 在 pre-norm 中，每一层都往主干上叠加内容，却没有谁对主干做归一化，所以它逐层增大。因此 ViT 在最后一层之
#   后还要再做一次层归一化（论文公式 4），靠后的层对主干的影响也相对较小。
# - **末层的梯度。** pre-norm 网络越深，末层梯度越小，post-norm 则相差不大：对 MLP 的梯度，理论给出的上界前者按
#   $1 / \sqrt{L}$ 减小，后者与 $L$ 无关（Xiong 等 2020，定理 1）。该文据此解释，post-norm 在训练初期靠近输出的梯度太
#   大，所以需要学习率预热。
# - **注意力。** post-norm 每次相加之后都把主干拉回大小 1，所以每个分支的分量都与第一个相当，各层注意力的平均作用不断累
#   积：深层网络的 token 最终几乎是同一个向量，靠后各层的 q、k 几乎得不到梯度。
#
# 以上说的都是初始权重。post-norm 网络同样可以训练，只是要更加小心。

# %% [markdown] lang="en"
# ## 6. Dropout and DropPath
#
# Both set something to zero in training, divide the rest by the share that is kept, and do nothing in evaluation. What
# they drop is different:
#
# - **Dropout** drops single numbers, anywhere in the tensor.
# - **DropPath** drops the whole branch $f$ of a sample: for this image the half block is then $0 + z$, as if it were
#   not there. It comes from stochastic depth (Huang et al. 2016), where a whole batch leaves out a block.

# %% [markdown] lang="zh"
# ## 6. Dropout 与 DropPath
#
# 两者都在训练时把一部分置零，再把其余部分除以保留的比例；评估时什么也不做。区别在于丢弃的对象：
#
# - **Dropout** 丢弃张量中任意位置的单个数。
# - **DropPath** 丢弃某个样本的整个分支 $f$：对这张图像，这半层的输出就是 $0 + z$，好像它不存在一样。它源自随机深度
#   （Huang 等 2016），那里是让整个批次同时跳过一层。

# %%
branch = ops.ones((8, 17, 64))  # f(z) of eight images
dropout, drop_path = Dropout(p=0.25).set_train(), DropPath(keep_prob=0.75).set_train()
figure, grid = plt.subplots(2, 8, figsize=(10, 3.6), layout="constrained")
for row, (name, cell) in enumerate((("Dropout", dropout), ("DropPath", drop_path))):
    kept = cell(branch).asnumpy()
    for b, axes in enumerate(grid[row]):
        axes.imshow(kept[b, :, :17], cmap="Blues", vmin=0, vmax=1.6)
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"b = {b}", fontsize=10)
    grid[row, 0].set_ylabel(name, fontsize=12)
title = both(
    "A branch of ones in training: dark is 1 / 0.75, white is 0", "训练时，全 1 的分支：深色为 1 / 0.75，白色为 0"
)
figure.suptitle(title)
show(
    figure,
    "Dropout leaves holes all over every image's tokens; DropPath leaves some images whole and others empty.",
    "Dropout 在每张图像的 token 中随机留下许多空洞；DropPath 则让一些图像保持完整，另一些整个为空。",
)

# %% [markdown] lang="en"
# The expectation is kept: over many draws the mean is the input. In evaluation both return the input itself.

# %% [markdown] lang="zh"
# 期望保持不变：抽取很多次，平均值就是输入。评估时两者都原样返回输入。

# %%
many = ops.ones((10000, 1, 64))
for name, cell in (("Dropout", dropout), ("DropPath", drop_path)):
    drawn = cell.set_train(True)(many).asnumpy()
    same = np.array_equal(cell.set_train(False)(many).asnumpy(), many.asnumpy())
    print(f"{name:8}  values {np.unique(drawn).round(3)}, mean {drawn.mean():.3f}, evaluation returns x: {same}")

encoder = TransformerEncoder(64, 12, 4, 128, drop_path_keep_prob=0.8)
rates = [1 - block[0].cell[2].keep_prob for block in encoder.layers]
print("drop rate of the 12 blocks: " + " ".join(f"{rate:.2f}" for rate in rates))
print(f"branches that a sample passes on average: {2 * (12 - sum(rates)):.1f} of 24")

# %% [markdown] lang="en"
# The rate grows linearly with depth, here from 0 in the first block to 0.2 in the last: early blocks make the features
# that all later ones need, so they are dropped less (Huang et al. 2016, section 3; there the first block has $1/L$ of
# the last rate already, here and in timm it has 0). Each image and each of the two branches of a block is drawn for
# itself.
#
# > **Often told wrong.** `nn.Dropout(0.1)` in MindSpore drops **90 %**: the first positional argument is `keep_prob`,
# > for the sake of old programs. Write `nn.Dropout(p=0.1)`. And an argument that nothing reads does nothing: the ViT
# > notebook of the official MindSpore course takes a `drop_path_keep_prob` that never reaches a block. Print what was
# > built, as in the cell above.

# %% [markdown] lang="zh"
# 丢弃率随深度线性增大，这里从第一层的 0 增加到最后一层的 0.2：靠前的层提取的特征是后面各层都要用的，所以少丢（Huang 等
# 2016，第 3 节；文中第一层的丢弃率已是末层的 $1/L$，这里与 timm 一样从 0 开始）。每张图像、每层的两个分支都独立抽取。
#
# > **常见误区。** MindSpore 的 `nn.Dropout(0.1)` 会丢弃 **90%**：为了兼容旧程序，第一个位置参数仍是 `keep_prob`。请写
# > 成 `nn.Dropout(p=0.1)`。另外，没有被读取的参数不起任何作用：MindSpore 官方课程的 ViT 教程有一个
# > `drop_path_keep_prob` 参数，却从未传到任何一层。像上面那样，把真正建成的东西打印出来看一看。

# %% [markdown] lang="en"
# ## 7. The encoder and the ViT by hand
#
# Everything is there. The encoder is a stack of blocks; the ViT puts the embedding before it, and the last LayerNorm
# and the classifier behind it. The parameters are declared in the order of the package's model, so that its weights
# can be copied one after the other.

# %% [markdown] lang="zh"
# ## 7. 手写编码器与 ViT
#
# 部件齐了。编码器就是一叠层；ViT 在它前面加上嵌入，后面加上最后的层归一化和分类器。参数按 `vit_ms` 模型的顺序声明，因
# 此可以依次复制它的权重。


# %%
class HandmadeViT(nn.Cell):
    """vit_nano_4, written down."""

    def __init__(self, image_size=16, patch_size=4, dim=64, depth=4, num_heads=4, mlp_dim=128, num_classes=10):
        super().__init__()
        self.patch_embedding = PatchEmbedding(image_size, patch_size, dim, input_channels=1)
        num_tokens = 1 + (image_size // patch_size) ** 2
        self.cls_token = init("zeros", (1, 1, dim), ms.float32, "cls")
        self.positions = init("zeros", (1, num_tokens, dim), ms.float32, "positions")
        self.encoder = nn.SequentialCell([Block(dim, num_heads, mlp_dim) for _ in range(depth)])
        self.norm = LayerNorm((dim,), epsilon=1e-6)
        self.head = Dense(dim, num_classes)

    def construct(self, images):  # (B, C, H, W)
        patches = self.patch_embedding(images)  # (B, N - 1, D)
        cls = ops.tile(self.cls_token, (images.shape[0], 1, 1))  # (B, 1, D)
        z = ops.concat((cls, patches), axis=1) + self.positions  # (B, N, D), equation 1 of the paper
        z = self.encoder(z)  # equations 2 and 3
        y = self.norm(z)[:, 0]  # (B, D), equation 4
        return self.head(y)  # (B, K)


def copy_weights(source, target):
    pairs = list(zip(source.trainable_params(), target.trainable_params(), strict=True))
    for theirs, ours in pairs:
        ours.set_data(Tensor(theirs.asnumpy()))
    return len(pairs)


ours = HandmadeViT().set_train(False)
copied = copy_weights(network, ours)
print(f"{copied} tensors copied")
difference = np.abs(ours.encoder(z0[:8]).asnumpy() - network.transformer(z0[:8]).asnumpy()).max()
print(f"encoder: output {z0[:8].shape}, max difference {difference:.0e}")
difference = np.abs(ours(images[:8]).asnumpy() - network(images[:8]).asnumpy()).max()
print(f"ViT:     output {ours(images[:8]).shape},    max difference {difference:.0e}")

# %% [markdown] lang="en"
# The package's class differs in what surrounds these lines: arguments that are checked, names that checkpoints of the
# course have, other kinds of positions and pooling. Compare [models/vit.py](../../vit_ms/models/vit.py) and
# [layers.py](../../vit_ms/layers.py).
#
# ## 8. Counting parameters
#
# With $P$ the patch size, $C = 3$ channels, $N$ patches (as in the paper, without the class token), $L$ blocks and $K$
# classes:
#
# | part | parameters |
# |---|---|
# | patch embedding, class token, positions | $(P^2 C + 1) D + D + (N + 1) D$ |
# | attention of a block: q, k, v and the output projection | $4 D^2 + 4 D$ |
# | MLP of a block | $2 D M + M + D$ |
# | the two LayerNorms of a block | $4 D$ |
# | the last LayerNorm | $2 D$ |
# | classifier | $(D + 1) K$ |
#
# With $M = 4 D$ a block has about $12 D^2$: one third in the attention, two thirds in the MLP (`vit_nano_4` has
# $M = 2 D$, so half and half). The number of heads is not in the formula. The next cell compares it
# with the package's models; `no_init_parameters` builds them without filling 2.5 GB with random numbers.

# %% [markdown] lang="zh"
# `vit_ms` 的类在这几行之外还做了些事：检查参数、沿用课程检查点的参数名、提供其他位置编码和池化方式。可对照阅读
# [models/vit.py](../../vit_ms/models/vit.py) 和 [layers.py](../../vit_ms/layers.py)。
#
# ## 8. 计算参数量
#
# 设图像块边长为 $P$，通道数 $C = 3$，图像块数为 $N$（与论文一致，不含类别 token），层数为 $L$，类别数为 $K$：
#
# | 部分 | 参数量 |
# |---|---|
# | 图像块嵌入、类别 token、位置编码 | $(P^2 C + 1) D + D + (N + 1) D$ |
# | 每层的注意力：q、k、v 与输出投影 | $4 D^2 + 4 D$ |
# | 每层的 MLP | $2 D M + M + D$ |
# | 每层的两个层归一化 | $4 D$ |
# | 最后的层归一化 | $2 D$ |
# | 分类器 | $(D + 1) K$ |
#
# 当 $M = 4 D$ 时，每层约有 $12 D^2$ 个参数：三分之一在注意力，三分之二在 MLP（`vit_nano_4` 的 $M = 2 D$，所以各占一
# 半）。公式里没有头数。下面与 `vit_ms` 的模型核对；`no_init_parameters` 使建模型时不必用随机数填满 2.5 GB 内存。


# %%
def count(image_size, patch_size, embed_dim, num_layers, mlp_dim, input_channels=3, num_classes=1000, **_):
    """Parameters of each part, by the table."""
    d, m, n = embed_dim, mlp_dim, (image_size // patch_size) ** 2
    return {
        "embedding": (patch_size**2 * input_channels + 1) * d + d + (n + 1) * d,
        "attention": num_layers * (4 * d * d + 4 * d),
        "MLP": num_layers * (2 * d * m + m + d),
        "LayerNorm": num_layers * 4 * d + 2 * d,
        "classifier": (d + 1) * num_classes,
    }


table1 = {"vit_b_16": 86, "vit_b_32": 86, "vit_l_16": 307, "vit_l_32": 307, "vit_h_14": 632}
print("           by formula     package        without classifier   table 1")
for name, millions in table1.items():
    parts = count(**VARIANTS[name])
    with no_init_parameters():
        built = sum(p.size for p in create_model(name).trainable_params())
    total = sum(parts.values())
    rest = total - parts["classifier"]
    print(f"{name:9}  {total:11,}    {built:11,}    {rest / 1e6:6.1f} million       {millions:4} million")

# %%
figure, axes = plt.subplots(figsize=(9, 3.2), layout="constrained")
names = ["vit_nano_4", "vit_ti_16", "vit_b_16", "vit_l_16", "vit_h_14"]
colours = {"embedding": ORANGE, "attention": BLUE, "MLP": GREEN, "LayerNorm": "black", "classifier": GREY}
words = {"embedding": "嵌入", "attention": "注意力", "MLP": "", "LayerNorm": "层归一化", "classifier": "分类器"}
for row, name in enumerate(names):
    parts, left = count(**VARIANTS[name]), 0.0
    for part, size in parts.items():
        share = size / sum(parts.values())
        label = both(part, words[part]).strip() if row == 0 else None
        axes.barh(row, share, left=left, color=colours[part], edgecolor="white", label=label)
        if share > 0.08:
            axes.text(left + share / 2, row, f"{share:.0%}", ha="center", va="center", color="white", weight="bold")
        left += share
totals = [sum(count(**VARIANTS[name]).values()) / 1e6 for name in names]
axes.set_yticks(range(len(names)), [f"{name}  {total:.1f} M" for name, total in zip(names, totals, strict=True)])
axes.invert_yaxis()
axes.set(xlim=(0, 1), xticks=[], title=both("Where the parameters are", "参数分布在哪里"))
axes.legend(ncols=5, loc="upper center", bbox_to_anchor=(0.5, -0.02), frameon=False, fontsize=10)
show(
    figure,
    "In every ViT from tiny to huge about a third of the parameters is in the attention, most others in the MLP.",
    "从 tiny 到 huge，约三分之一的参数在注意力中，其余大多在 MLP 中。",
)

# %% [markdown] lang="en"
# > **Often told wrong.** "ViT-L/16 has 307 million parameters." Table 1 of the paper states 86, 307 and 632 million for
# > Base, Large and Huge, without a patch size. The formula gives 304 million for L/16 with a classifier of 1,000
# > classes, and 307 million for L/32. Huge agrees as H/14 with the classifier, Base as B/16 without it. The patch size
# > changes the embedding, the number of classes the classifier: say which ones you mean when you quote a count.

# %% [markdown] lang="zh"
# > **常见误区。** “ViT-L/16 有 3.07 亿参数。”论文表 1 给出 Base、Large、Huge 的参数量为 8600 万、3.07 亿、6.32 亿，并
# > 没有写明图像块边长。按公式计算，带 1000 类分类器的 L/16 是 3.04 亿，L/32 才是 3.07 亿；Huge 与带分类器的 H/14 相
# > 符，Base 则与不带分类器的 B/16 相符。图像块边长影响嵌入，类别数影响分类器：引用参数量时，要说清楚是哪一种。

# %% [markdown] lang="en"
# ## Summary
#
# - LayerNorm takes mean and variance of the $D$ numbers of one token, so it knows no batch and computes the same in
#   training and evaluation. BatchNorm's result depends on the batch.
# - The MLP treats each token alone. GELU has two forms; carry the choice and $\epsilon$ along with weights.
# - Without residual connections attention makes all tokens the same in a few blocks, and q and k get no gradient.
# - In pre-norm the stream grows and the gradients of the last block shrink with depth; it needs one LayerNorm at the
#   end.
# - Dropout drops numbers, DropPath a sample's branch, at a rate that grows with depth; both keep the expectation.
# - With $M = 4 D$ a block has about $12 D^2$ parameters, two thirds of them in the MLP.
#
# ### Three questions
#
# <details><summary>1. A net with BatchNorm gives one image other logits in training mode than in evaluation mode, even
# without dropout. Why, and why does a ViT not?</summary>
#
# In training mode BatchNorm takes mean and variance of the batch at hand, in evaluation mode running averages of
# earlier batches: two different functions. LayerNorm takes them of the token itself in both modes. A ViT's modes
# differ in dropout and drop path alone.
# </details>
#
# <details><summary>2. All 17 tokens of an image are the same vector. What does self-attention make of them, and what
# gradient do q and k get?</summary>
#
# All scores of a row are equal, so the weights are $1/17$ each, and the result is the projected value of that one
# vector. For any other q and k the tokens would still be equal to each other, hence the weights too: the result does
# not depend on q and k, and their gradient is zero.
# </details>
#
# <details><summary>3. Which has more parameters, ViT-B/16 or ViT-B/32, and which takes more computing?</summary>
#
# B/32: its patch embedding has $(32^2 - 16^2) \cdot 3 \cdot 768 = 1{,}769{,}472$ parameters more, its positions
# $(197 - 50) \cdot 768 = 112{,}896$ fewer; the blocks are the same. But B/16 pushes 197 tokens through the blocks
# instead of 50, which takes about four times the computing. Parameters are not cost.
# </details>
#
# ### Where to go next
#
# - [Notebook 5](05_data.ipynb): the data that such a network is fed with; [notebook 6](06_training.ipynb): how it is
#   trained.
# - Change `measure`: more heads, other depths, `mlp_dim=64`, or post-norm without its first LayerNorm. Is the picture
#   of the gradients still the same?
# - Train the handmade ViT in place of `create_model("vit_nano_4")` in [notebook 1](01_five_minutes_to_vit.ipynb) (give
#   its positions random initial values of size 0.02).

# %% [markdown] lang="zh"
# ## 小结
#
# - 层归一化对一个 token 的 $D$ 个数求均值和方差，与批次无关，训练和评估时算法相同；批归一化的结果则取决于批次。
# - MLP 对每个 token 单独计算。GELU 有两种形式；搬运权重时，要连同这个选择和 $\epsilon$ 一起带上。
# - 没有残差连接，注意力在几层之内就使所有 token 相同，q 和 k 得不到梯度。
# - pre-norm 的主干信号逐层增大，末层梯度随深度变小；末尾还需要一个层归一化。
# - Dropout 丢弃单个数，DropPath 丢弃样本的整个分支，丢弃率随深度增大；两者都保持期望不变。
# - $M = 4 D$ 时，每层约有 $12 D^2$ 个参数，其中三分之二在 MLP。
#
# ### 三道思考题
#
# <details><summary>1. 带批归一化的网络，即使没有 Dropout，同一张图像在训练模式和评估模式下的 logits 也不同。为什么？ViT
# 为什么不会？</summary>
#
# 训练模式下，批归一化用当前批次的均值和方差；评估模式下用以往批次的滑动平均：这是两个不同的函数。层归一化在两种模式下
# 都只用这个 token 自己的均值和方差。ViT 的两种模式只在 Dropout 和 DropPath 上有区别。
# </details>
#
# <details><summary>2. 一张图像的 17 个 token 是同一个向量，自注意力会输出什么？q 和 k 得到怎样的梯度？</summary>
#
# 每一行的分数都相等，权重都是 $1/17$，结果就是这个向量的 value 再经输出投影。换成任何别的 q、k，这些 token 仍然彼此相
# 同，权重也仍然相等：结果与 q、k 无关，它们的梯度为零。
# </details>
#
# <details><summary>3. ViT-B/16 和 ViT-B/32，哪个参数更多，哪个计算量更大？</summary>
#
# B/32 参数更多：图像块嵌入多 $(32^2 - 16^2) \cdot 3 \cdot 768 = 1{,}769{,}472$ 个，位置编码少
# $(197 - 50) \cdot 768 = 112{,}896$ 个，各层相同。但 B/16 要让 197 个而不是 50 个 token 通过各层，计算量约为四倍。参数
# 量不等于计算量。
# </details>
#
# ### 下一步
#
# - [第 5 课](05_data.ipynb)：怎样为这样的网络准备数据；[第 6 课](06_training.ipynb)：怎样训练它。
# - 改一改 `measure`：更多的头、别的深度、`mlp_dim=64`，或者去掉 post-norm 的第一个层归一化。梯度的图还是这样吗？
# - 在[第 1 课](01_five_minutes_to_vit.ipynb)中用手写的 ViT 代替 `create_model("vit_nano_4")` 来训练（位置编码要换成大小
#   约 0.02 的随机初值）。
