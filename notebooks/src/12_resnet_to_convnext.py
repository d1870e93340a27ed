# %% [markdown] lang="en"
# # From ResNet to ConvNeXt
#
# When Transformers had overtaken convolutional networks, Liu et al. asked how much of it was attention and how much
# was everything else that had changed since ResNet. They took a ResNet-50, changed one thing after the other towards the
# design of Swin, and measured each step. The end of the road is **ConvNeXt**, a network of convolutions alone. You
# walk it with the package's networks, count what each step costs, and build the last block by hand.
#
# | | |
# |---|---|
# | Time | one to two minutes of computing on a CPU with two cores, 15 to 20 minutes of reading |
# | You need | [notebook 4](04_encoder_and_vit.ipynb), the block of ViT; [notebook 11](11_swin.ipynb), Swin, helps |
# | Papers | Liu et al., *A ConvNet for the 2020s*, 2022, [arXiv 2201.03545](https://arxiv.org/abs/2201.03545) |
# | | He et al., ResNet, 2016, [arXiv 1512.03385](https://arxiv.org/abs/1512.03385) |

# %% [markdown] lang="zh"
# # 从 ResNet 到 ConvNeXt
#
# Transformer 超过卷积网络之后，Liu 等人提出一个问题：其中有多少要归功于注意力，又有多少来自 ResNet 以来的其他变化？他们
# 从 ResNet-50 出发，朝着 Swin 的设计一次改一处，每步都做测量。路的终点是 **ConvNeXt**，一个只由卷积构成的网络。本节用代
# 码库里的网络走一遍这条路，算出每一步的代价，并亲手搭出最后的残差块。
#
# | | |
# |---|---|
# | 用时 | 双核 CPU 上计算一到两分钟，阅读 15 到 20 分钟 |
# | 基础 | [第 4 课](04_encoder_and_vit.ipynb)的 ViT 编码器；读过[第 11 课](11_swin.ipynb)的 Swin 更好 |
# | 论文 | Liu 等，*A ConvNet for the 2020s*，2022，[arXiv 2201.03545](https://arxiv.org/abs/2201.03545) |
# | | He 等，ResNet，2016，[arXiv 1512.03385](https://arxiv.org/abs/1512.03385) |

# %%
import vit_ms  # before mindspore
import time

import matplotlib.pyplot as plt
import numpy as np
from mindspore import Tensor, nn
from mindspore.nn.utils import no_init_parameters

from vit_ms import create_model, functional, runtime
from vit_ms.data.batches import TrainBatches
from vit_ms.data.catalog import open_dataset
from vit_ms.data.transforms import Augmentation, Preprocessing
from vit_ms.engine import TrainStep
from vit_ms.losses import CrossEntropySmooth
from vit_ms.models.convnext import DepthwiseConv
from vit_ms.optim import create_optimizer, learning_rates
from vit_ms.visualize import BLUE, GREEN, GREY, ORANGE, both, show

runtime.setup(device_target="auto", mode="graph", seed=0)
vit_ms.doctor()

# %% [markdown] lang="en"
# ## 1. The road and what it costs
#
# A convolution with $P \times P$ kernels from $C$ to $D$ channels has $D C P^2$ weights, and each is multiplied once for
# every one of the $h \times w$ places of its output: $h w D C P^2$ multiply-adds. A **depthwise** convolution has one
# kernel a channel, so $C$ becomes 1. That is enough to count a network without running it. `no_init_parameters` builds
# the full-size networks without drawing their random weights.

# %% [markdown] lang="zh"
# ## 1. 这条路与每一步的代价
#
# 卷积核为 $P \times P$、从 $C$ 通道到 $D$ 通道的卷积有 $D C P^2$ 个权重；输出有 $h \times w$ 个位置，每个位置上每个权重
# 各乘一次，共 $h w D C P^2$ 次乘加。**逐通道卷积**（depthwise）每个通道只有一个卷积核，相当于 $C = 1$。有了这两条，不必运
# 行就能算出整个网络的计算量。`no_init_parameters` 只搭建网络，不抽取随机权重，所以完整规模的网络也很快就能建好。


# %%
def multiply_adds(network, side=224):
    """Of one image, in convolutions and dense layers."""

    def of(weight, side):  # (D, C, P, P), C is 1 if depthwise; (D, C) of a dense layer
        return weight.size * side**2

    if hasattr(network, "maps"):  # ConvNeXt
        total = 0
        for number, stage in enumerate(network.stages):
            first = network.stem[0] if number == 0 else stage.downsample[1]
            side //= first.weight.shape[-1]
            total += of(first.weight, side)
            for block in stage.blocks:
                depthwise, _, mlp, _, _ = block.cell
                total += sum(of(cell.weight, side) for cell in (depthwise, mlp.dense1, mlp.dense2))
        return total + network.dense.weight.size

    side //= network.stem[0].stride
    total = of(network.stem[0].weight, side)
    side //= 2 if len(network.stem) == 3 else 1  # max pooling
    for stage in network.stages:
        for block in stage:
            for conv in (block.convs[0], block.convs[2], block.convs[4]):
                side //= conv.stride
                total += of(conv.weight, side)
            if hasattr(block.shortcut, "weight"):
                total += of(block.shortcut.weight, side)
    return total + network.dense.weight.size


names = ["resnet50", "stage_ratio", "patchify", "depthwise", "inverted", "moved_up", "large_kernel"]
paper = [(4.09, 78.8), (4.53, 79.4), (4.42, 79.5), (5.27, 80.5), (4.64, 80.6), (4.07, 79.9), (4.15, 80.6), (4.5, 82.1)]
road, adds = {}, {}
for name in [f"road_{name}" for name in names] + ["convnext_t"]:
    with no_init_parameters():
        road[name] = create_model(name)
    adds[name] = multiply_adds(road[name]) / 1e9
print("                      here                       paper")
print("network             parameters  10^9 mult.-adds  GFLOPs  ImageNet top-1")
for (name, network), (flops, top1) in zip(road.items(), paper, strict=True):
    size = sum(parameter.size for parameter in network.trainable_params())
    print(f"{name:18}  {size / 1e6:8.1f} M  {adds[name]:15.2f}  {flops:6}  {top1:12} %")

# %% [markdown] lang="en"
# The paper's numbers are those of figure 2 (the GFLOPs with two decimals from the table behind it in the appendix;
# ConvNeXt-T from table 1). What is counted here agrees with them.
#
# > **Often told wrong.** The paper's "GFLOPs" are multiply-adds, as in most of the vision literature. In floating point
# > operations, an addition and a multiplication each, ResNet-50 takes 8.2 billion, not 4.1. And the largest single gain
# > is no step of the road: before the first step the newer training recipe alone takes ResNet-50 from 76.1 % to 78.8 %
# > (section 2.1). To compare architectures, compare them under one recipe.
#
# The steps, with what each takes from Transformers:
#
# 1. **Stage ratio.** Blocks per stage from (3, 4, 6, 3) to (3, 3, 9, 3), the 1 : 1 : 3 : 1 of Swin-T.
# 2. **Patchify stem.** The 7 × 7 convolution with stride 2 and the max pooling give way to 4 × 4 kernels with stride 4,
#    patches that do not overlap.
# 3. **Depthwise convolution**, one kernel a channel: places are mixed within a channel, as attention does within a
#    head, and channels by the 1 × 1 convolutions. Alone it saves nearly half of the computing and loses accuracy
#    (78.3 %); what is saved, and more, is spent on width, 64 to 96 channels in the first stage, as Swin-T has. (The
#    package has both in one network.)
# 4. **Inverted bottleneck.** Narrow, wide, narrow in the place of wide, narrow, wide: the MLP of a Transformer has its
#    hidden layer four times as wide.
# 5. **Depthwise first.** In a Transformer attention comes before the MLP. Moved up, the depthwise convolution works on
#    the narrow map. Accuracy falls for a moment, but so does the cost of what follows:
# 6. **Large kernels**, 7 × 7, the window of Swin.
#
# The block changes most in steps 3 to 5. Here are the three convolutions of a block of the first stage, as read from
# the weights.

# %% [markdown] lang="zh"
# 论文数值取自图 2（两位小数的 GFLOPs 来自附录中对应的表；ConvNeXt-T 取自表 1），与这里算出的一致。
#
# > **常见误区。** 论文里的 “GFLOPs” 其实是乘加次数，视觉文献大多如此。如果加法、乘法各算一次浮点运算，ResNet-50 是 82
# > 亿次，而不是 41 亿次。另外，单次提升最大的并不是哪一步结构改动：在第一步之前，仅仅换用新的训练方法，ResNet-50 就从 76.1 %
# > 升到 78.8 %（2.1 节）。要比较结构，就要用同一套训练方法。
#
# 各步的内容，以及它向 Transformer 借鉴了什么：
#
# 1. **各 stage 的比例**：残差块数从 (3, 4, 6, 3) 改为 (3, 3, 9, 3)，即 Swin-T 的 1 : 1 : 3 : 1。
# 2. **图像块式的 stem**：步长 2 的 7 × 7 卷积和最大池化换成步长 4 的 4 × 4 卷积，即互不重叠的图像块。
# 3. **逐通道卷积**，每个通道一个卷积核：位置之间的混合在通道内进行（好比注意力在一个头内进行），通道之间则靠 1 × 1 卷
#    积。单做这一步，计算量省下近一半，准确率也下降（78.3 %）；省下来的计算量（还要再多一些）用于加宽：第一个 stage 从
#    64 通道增加到 96，与 Swin-T 相同。（代码库把两者合在一个网络里。）
# 4. **倒置瓶颈**：“宽、窄、宽”改为“窄、宽、窄”：Transformer 的 MLP 隐藏层正是四倍宽。
# 5. **逐通道卷积提前**：Transformer 中注意力在 MLP 之前。提前以后，逐通道卷积作用在窄的特征图上。准确率暂时下降，但下一步
#    的代价也随之降低：
# 6. **大卷积核**，7 × 7，与 Swin 的窗口一样大。
#
# 残差块的变化集中在第 3 到第 5 步。下图是第一个 stage 中一个残差块的三个卷积，数值直接从权重的形状读出。

# %%
chosen = ["road_resnet50", "road_depthwise", "road_inverted", "road_large_kernel"]
figure, panels = plt.subplots(1, 4, figsize=(10, 3.3), sharey=True, layout="constrained")
for axes, name in zip(panels, chosen, strict=True):
    block = road[name].stages[0][1]
    print(f"{name:18}", *[f"{conv.weight.shape!s:18}" for conv in (block.convs[0], block.convs[2], block.convs[4])])
    for place, conv in enumerate((block.convs[0], block.convs[2], block.convs[4])):
        after, before, kernel, _ = conv.weight.shape
        colour = GREEN if conv.depthwise else BLUE if kernel == 1 else ORANGE
        axes.fill(
            [place - 0.4, place + 0.4, place + 0.4, place - 0.4],
            [0, 0, after, after if conv.depthwise else before],
            color=colour,
        )
        kind = f"{kernel} x {kernel}" + ("\ndepthwise" if conv.depthwise else "")
        axes.text(place, (after if conv.depthwise else max(before, after)) + 10, kind, ha="center", fontsize=9)
    axes.set(title=name.removeprefix("road_"), xticks=[], ylim=(0, 470))
    axes.set_xlabel(both("input → output", "输入 → 输出"))
panels[0].set_ylabel(both("channels", "通道数"))
show(
    figure,
    "Channels through the three convolutions of a block: wide-narrow-wide, then wider, then narrow-wide-narrow.",
    "残差块中三个卷积的通道数：先是宽-窄-宽，再加宽，然后变成窄-宽-窄，逐通道卷积移到最前。",
)

# %% [markdown] lang="en"
# ## 2. The depthwise convolution
#
# In ConvNeXt maps are kept **channels last**, $(B, h, w, D)$, as the tokens of a Transformer are. With kernels of size
# $P$, $r = (P - 1) / 2$ and zeros beyond the border:
#
# $$y_{ijd} = b_d + \sum_{u=0}^{P-1} \sum_{v=0}^{P-1} w_{duv} \, x_{i+u-r,\; j+v-r,\; d} \tag{1}$$
#
# Each channel $d$ sees itself alone. In NumPy the two sums are two loops over the kernel.

# %% [markdown] lang="zh"
# ## 2. 逐通道卷积
#
# ConvNeXt 的特征图采用**通道在后**的排布 $(B, h, w, D)$，与 Transformer 的 token 一样。设卷积核边长为 $P$，
# $r = (P - 1) / 2$，边界外补零：
#
# $$y_{ijd} = b_d + \sum_{u=0}^{P-1} \sum_{v=0}^{P-1} w_{duv} \, x_{i+u-r,\; j+v-r,\; d} \tag{1}$$
#
# 每个通道 $d$ 只看自己。用 NumPy 写，两个求和号就是对卷积核的两重循环。

# %%
rng = np.random.default_rng(0)
D, P, r = 24, 7, 3
x = rng.normal(size=(2, 8, 8, D)).astype(np.float32)  # (B, h, w, D)
conv = DepthwiseConv(D, P)
w, b = conv.weight.asnumpy()[:, 0], conv.bias.asnumpy()  # (D, P, P), (D,)

padded = np.pad(x, ((0, 0), (r, r), (r, r), (0, 0)))
y = np.zeros_like(x) + b
for u in range(P):
    for v in range(P):
        y += w[:, u, v] * padded[:, u : u + 8, v : v + 8]  # equation 1
print(f"largest difference from the package's: {abs(y - conv(Tensor(x)).asnumpy()).max():.0e}")
print(f"weights: {w.size:,} depthwise, {D * w.size:,} of an ordinary {P} x {P} convolution")

print("\nmultiply-adds for each place of a ConvNeXt-T block")
print("stage    D  depthwise 7 x 7  MLP       share of the depthwise  (at 4 D, not moved up)")
for stage, D_of_stage in enumerate((96, 192, 384, 768), 1):
    depthwise, mlp = 49 * D_of_stage, 8 * D_of_stage**2
    wide = 4 * depthwise / (4 * depthwise + mlp)
    print(f"{stage:5}  {D_of_stage:3}  {depthwise:15,}  {mlp:9,}  {depthwise / (depthwise + mlp):21.1%}  {wide:20.1%}")

# %% [markdown] lang="en"
# Large kernels are cheap because the convolution is depthwise and works on the narrow map: nearly all of the computing
# is in the MLP, even more than in a Transformer, where the attention's projections take $4 D^2$ beside its $8 D^2$.
# (Cheap in multiply-adds. How fast a depthwise convolution really is depends much on the library and the device, for it
# does little with each number that it reads.)
#
# ## 3. The stem is a matrix product
#
# A convolution whose stride is its kernel cuts the image into patches and multiplies each by one matrix, as in
# [notebook 2](02_from_image_to_tokens.ipynb). The same holds for the 2 × 2 convolutions with stride 2 between the stages,
# which stand alone in ConvNeXt, with a norm before each, as Swin's patch merging does. `features` gives the map of
# each stage, at strides 4, 8, 16 and 32 in the full-size networks, which detectors are built on. Ours has two stages.

# %% [markdown] lang="zh"
# 大卷积核之所以便宜，是因为卷积是逐通道的，又作用在窄的特征图上：计算几乎都在 MLP 里，比 Transformer 更加集中（那里除了
# MLP 的 $8 D^2$，还有注意力各投影的 $4 D^2$）。（这里的便宜指乘加次数。逐通道卷积对读入的每个数只做很少的运算，实际快慢
# 在很大程度上取决于算子库和设备。）
#
# ## 3. stem 就是矩阵乘法
#
# 步长等于卷积核边长的卷积，就是把图像切成图像块，每块乘同一个矩阵，与[第 2 课](02_from_image_to_tokens.ipynb)完全相
# 同。stage 之间步长为 2 的 2 × 2 卷积也是如此；ConvNeXt 把它们单独放置，前面各加一个归一化，与 Swin 的 patch merging 相
# 仿。`features` 返回每个 stage 的特征图，完整规模的网络有步长 4、8、16、32 四种，检测等任务就建立在它们之上。下面的小网络
# 只有两个 stage。


# %%
def make_convnext():
    return create_model(
        "convnext_t",
        **{"image_size": 16, "input_channels": 1, "num_classes": 10, "patch_size": 2},
        **{"depths": [1, 2], "embed_dims": [24, 48], "drop_path_keep_prob": 1.0},
    )


convnext = make_convnext().set_train(False)
digits = open_dataset("digits")
preprocessing = Preprocessing(image_size=16, channels=1, mean=[0.5], std=[0.5], interpolation="bicubic", crop_pct=1.0)
images, labels = digits.arrays("val")
val_images, val_labels = np.stack([preprocessing.prepare(image) for image in images]), labels

x = Tensor(val_images[:2])  # (B, 1, 16, 16)
stem = convnext.stem[0]
patches = functional.patchify(x, 2).asnumpy()  # (B, 64, 4)
E, bias = stem.weight.asnumpy().reshape(24, 4).T, stem.bias.asnumpy()
tokens = (patches @ E + bias).reshape(2, 8, 8, 24)
difference = abs(tokens - stem(x.transpose(0, 2, 3, 1)).asnumpy()).max()
print(f"stem as a matrix product: largest difference {difference:.0e}")
maps = [x.transpose(0, 2, 3, 1)]
maps += [convnext.stem(maps[0])]
for stage in convnext.stages:
    maps.append(stage(maps[-1]))
for name, value in zip(("image", "after the stem", "stage 1", "stage 2"), maps, strict=True):
    print(f"{name:15} {value.shape}")

# %% [markdown] lang="en"
# ## 4. The ConvNeXt block by hand
#
# The last steps change the inside of the block, towards the block of a Transformer: GELU for ReLU; one activation in
# the place of three, between the two dense layers; one norm in the place of three, before the first; LayerNorm for
# BatchNorm. The downsampling moves out, into layers of its own (section 3). A 1 × 1 convolution in channels-last form
# is a dense layer. So the block is
#
# $$y = x + \gamma \odot \big(\text{GELU}(\text{LN}(\text{dwconv}(x)) W_1 + b_1) W_2 + b_2\big) \tag{2}$$
#
# with $W_1$ from $D$ to $4 D$ and $W_2$ back; $\gamma$, one number a channel, is the subject of section 5. Beside
# equations 2 and 3 of ViT: the depthwise convolution stands where the attention was, and the two residual branches have
# become one. LN takes mean and variance over the $D$ channels of one place, so nothing depends on the batch.
#
# The same from MindSpore's own cells, with the package's weights:

# %% [markdown] lang="zh"
# ## 4. 亲手搭一个 ConvNeXt 残差块
#
# 最后几步改动残差块内部，向 Transformer 的一层靠拢：ReLU 换成 GELU；激活函数由三个减到一个，只留在两个全连接层之间；归
# 一化由三个减到一个，放在第一个全连接层之前；BatchNorm 换成层归一化。下采样则移出残差块，单独成层（第 3 部分）。通道在
# 后时，1 × 1 卷积就是全连接层。于是
#
# $$y = x + \gamma \odot \big(\text{GELU}(\text{LN}(\text{dwconv}(x)) W_1 + b_1) W_2 + b_2\big) \tag{2}$$
#
# 其中 $W_1$ 从 $D$ 维到 $4 D$ 维，$W_2$ 再变回来；$\gamma$ 每个通道一个数，留到第 5 部分再讲。与 ViT 的公式（2）、（3）
# 对照：注意力的位置换成了逐通道卷积，两个残差分支合成了一个。LN 的均值和方差取自一个位置的 $D$ 个通道，因此结果与批无
# 关。
#
# 下面用 MindSpore 自带的 Cell 搭出同样的残差块，权重取自代码库的网络：

# %%
theirs = convnext.stages[0].blocks[0]
their_depthwise, their_norm, their_mlp, their_scale, _ = theirs.cell
their_scale.gamma.set_data(Tensor(rng.normal(size=D).astype(np.float32)))  # not 1e-6, so that the check sees the branch

depthwise = nn.Conv2d(D, D, 7, group=D, pad_mode="same", has_bias=True)
norm = nn.LayerNorm((D,), epsilon=1e-6)
dense1, gelu, dense2 = nn.Dense(D, 4 * D), nn.GELU(approximate=False), nn.Dense(4 * D, D)
pairs = (depthwise, their_depthwise), (dense1, their_mlp.dense1), (dense2, their_mlp.dense2)
for mine, cell in pairs:
    mine.weight.set_data(cell.weight)
    mine.bias.set_data(cell.bias)


def block(x):  # (B, h, w, D)
    y = depthwise(x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)  # MindSpore's convolution takes channels first
    y = dense2(gelu(dense1(norm(y))))
    return x + their_scale.gamma * y  # equation 2


x = maps[1]
print(f"largest difference: {abs(block(x) - theirs(x)).max().asnumpy():.0e}")
print(f"parameters of the block: {sum(parameter.size for parameter in theirs.trainable_params()):,}")

# %% [markdown] lang="en"
# > **Often told wrong.** MindSpore's defaults are not ConvNeXt's: `nn.LayerNorm` has epsilon $10^{-7}$ where ConvNeXt has
# > $10^{-6}$, and `nn.GELU()` is the tanh approximation where ConvNeXt has the exact form. Written without the two
# > arguments above, the block trains as well, but published weights give slightly other logits.
#
# ## 5. LayerScale
#
# $\gamma$ in equation 2 is **LayerScale** (Touvron et al. 2021, *Going deeper with Image Transformers*): one learned
# number a channel, which starts at $10^{-6}$ in ConvNeXt. A new block passes its input on nearly unchanged, so a new
# network, however deep, is little more than its stem, its downsampling and its head, and each block grows into its
# part.

# %% [markdown] lang="zh"
# > **常见误区。** MindSpore 的默认值与 ConvNeXt 不同：`nn.LayerNorm` 的 epsilon 是 $10^{-7}$，ConvNeXt 是 $10^{-6}$；
# > `nn.GELU()` 是 tanh 近似，ConvNeXt 用精确形式。不写上面这两个参数，残差块照样能训练，但加载公开权重后 logits 会略有偏差。
#
# ## 5. LayerScale
#
# 公式（2）中的 $\gamma$ 就是 **LayerScale**（Touvron 等 2021，*Going deeper with Image Transformers*）：每个通道一个可
# 学习的数，ConvNeXt 中初值为 $10^{-6}$。新的残差块几乎原样传递输入，所以再深的网络在开始时也不过是 stem、下采样和分类
# 头，各个残差块随后才逐渐发挥作用。

# %%
for gamma in (1e-6, 1.0):
    their_scale.gamma.set_data(Tensor(np.full(D, gamma, np.float32)))
    change = (theirs(x) - x).asnumpy()
    print(
        f"gamma {gamma:g}: the block changes its input by {np.linalg.norm(change) / np.linalg.norm(x.asnumpy()):.1e} of it"
    )

# %% [markdown] lang="en"
# The gradients of the weights inside the branch are multiplied by $\gamma$ too and start a million times smaller. AdamW
# divides by the gradients' own size and makes up for much of that (not for all: what it divides by has
# $\epsilon = 10^{-8}$ added). But $\gamma$ itself has a full-size gradient; the first steps of AdamW move each number by
# about the learning rate, so it leaves $10^{-6}$ at once, as the next section shows.
#
# ## 6. Do they train?
#
# Tiny versions of some of the networks, trained for a few epochs on digits, all with the same recipe. ConvNeXt's stem
# has patches of 2 × 2 pixels here, so that its maps are 8 × 8 and 4 × 4; the road's networks have stride 4 and
# 4 × 4 and 2 × 2.

# %% [markdown] lang="zh"
# 分支内部权重的梯度也要乘以 $\gamma$，开始时小一百万倍。AdamW 会除以梯度自身的大小，能补回大半（不是全部：分母里还加
# 了 $\epsilon = 10^{-8}$）。不过 $\gamma$ 自己的梯度是正常大小；在最初几步，AdamW 每步让每个数移动大约一个学习率，所以它
# 立刻就离开了 $10^{-6}$，下一部分可以看到。
#
# ## 6. 能训练吗
#
# 取其中几个网络的微型版本，用同样的方法在手写数字上训练几个 epoch。这里 ConvNeXt 的 stem 用 2 × 2 的图像块，特征图为 8 × 8
# 和 4 × 4；路上的其他网络步长为 4，特征图为 4 × 4 和 2 × 2。

# %%
small = {"image_size": 16, "input_channels": 1, "num_classes": 10, "depths": [1, 1]}
makers = {
    "resnet50": lambda: create_model("road_resnet50", **small, channels=[64, 128]),
    "depthwise": lambda: create_model("road_depthwise", **small, channels=[96, 192]),
    "large_kernel": lambda: create_model("road_large_kernel", **small, channels=[24, 48]),
    "convnext": make_convnext,
}
epochs, scales, found = 5, [], {}
batches = TrainBatches(digits, preprocessing, 64, Augmentation("affine"))
steps = batches.get_dataset_size()
rates = learning_rates("cosine_decay", 4e-3, 0.0, warmup_epochs=1, epoch_size=epochs, steps_per_epoch=steps)
loss_fn = CrossEntropySmooth(smooth_factor=0.1, num_classes=10)
for name, make in makers.items():
    network = make()
    optimizer = create_optimizer(network.trainable_params(), "adamw", rates, weight_decay=0.05)
    train_step = TrainStep(network, loss_fn, optimizer, clip_grad=1.0)
    network.set_train(True)
    took = []
    for epoch in range(1, epochs + 1):
        for images, labels in batches.epoch(epoch):
            begin = time.perf_counter()
            train_step(images, labels)[0].asnumpy()
            took.append(time.perf_counter() - begin)
            if name == "convnext":
                scales.append([abs(stage.blocks[0].cell[3].gamma.asnumpy()).mean() for stage in network.stages])
    network.set_train(False)
    right = (network(Tensor(val_images)).asnumpy().argmax(axis=1) == val_labels).mean()
    size = sum(parameter.size for parameter in network.trainable_params())
    found[name] = right, np.median(took)
    print(f"{name:13} {size:7,} parameters, {1e3 * np.median(took):4.0f} ms a step, validation accuracy {right:.1%}")

# %%
figure, panels = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
titles = (both("validation accuracy", "验证准确率"), both("ms a step", "每步毫秒数"))
for axes, title, values in zip(panels, titles, np.transpose(list(found.values())) * [[1], [1e3]], strict=False):
    axes.barh(list(found), values, color=BLUE)
    axes.set(title=title)
    axes.invert_yaxis()
panels[0].axvline(0.1, color=ORANGE, linestyle="--")  # guessing
panels[2].semilogy(range(1, len(scales) + 1), scales, color=GREEN)
panels[2].axhline(1e-6, color=GREY, linestyle="--")
panels[2].set(title=both("convnext: mean |γ|", "平均值"), xlabel=both("step", "步"))
show(
    figure,
    "Accuracy and time of the small networks, and the mean LayerScale, which leaves one millionth in the first steps.",
    "各小网络的准确率和用时，以及 LayerScale 的平均值：最初几步就离开了百万分之一。",
)

# %% [markdown] lang="en"
# Each of them learns (the dashed line is guessing), and that is all that the picture says. The order of the bars is no
# judgement of the designs: the digits are few, one image more or less is 0.6 percentage points, each network was trained
# once and briefly, and the sizes and the maps differ. A few epochs favour what learns fast at first, and a ConvNeXt whose
# blocks start at almost nothing does not. The order that the paper measured is that of ImageNet, after 300 epochs. Nor
# do the times say much: in networks so small much of a step is the starting of operations, not their multiply-adds.
#
# The third panel shows what was said of LayerScale (a line for the first block of each stage): after the first step
# $|\gamma|$ is near the learning rate of that step, far above $10^{-6}$, and it goes on growing.

# %% [markdown] lang="zh"
# 每个网络都能学习（虚线是随机猜测），这张图也只说明这一点。柱子的高低不是对设计的评判：数据很少，一张图像就是 0.6 个百
# 分点；每个网络只短短训练了一次，规模和特征图大小也不同。只训练几个 epoch，占便宜的是起步快的网络，而 ConvNeXt 的残差块
# 开始时几乎不起作用。论文测得的次序属于 ImageNet，而且是训练 300 个 epoch 之后的结果。用时同样说明不了多少：网络这么小，
# 一步的时间有很大一部分花在启动算子上，而不是乘加运算上。
#
# 第三幅图印证了对 LayerScale 的说法（每条线对应一个 stage 的第一个残差块）：第一步之后，$|\gamma|$ 就与那一步的学习率相
# 近，远大于 $10^{-6}$，此后继续增长。

# %% [markdown] lang="en"
# ## Summary
#
# - A convolution costs $h w D C P^2$ multiply-adds, a depthwise one $h w D P^2$. Counted so, the road's networks have the
#   paper's numbers.
# - The road: stage ratio, patchify stem, depthwise and wider, inverted bottleneck, depthwise first, 7 × 7 kernels; then
#   GELU, fewer activations and norms, LayerNorm, downsampling on its own.
# - A ConvNeXt block is a Transformer block with a depthwise convolution where the attention was (equation 2). Nearly all
#   of its weights are in the MLP.
# - LayerScale starts each block as almost the identity; under AdamW $\gamma$ grows from the first step on.
#
# ### Three questions
#
# <details><summary>1. How many parameters has a ConvNeXt block with $D$ channels?</summary>
#
# Depthwise convolution $49 D + D$, LayerNorm $2 D$, the dense layers $4 D^2 + 4 D$ and $4 D^2 + D$, LayerScale $D$:
# $8 D^2 + 58 D$ in all. With $D = 24$ that is 6,000, as printed in section 4; with $D = 96$ it is 79,296.
# </details>
#
# <details><summary>2. Why does the paper move the depthwise convolution up before it makes the kernels larger, and not
# after?</summary>
#
# In the inverted bottleneck it stands in the wide part, at $4 D$ channels: with 7 × 7 kernels, $49 \cdot 4 D$
# multiply-adds for each place. Moved up it works on $D$ channels and costs a fourth of that. In the first stage of
# ConvNeXt-T it is 6 % of the block in place of 20 %.
# </details>
#
# <details><summary>3. A batch does not fit into memory, and the gradients of four batches a fourth as large are averaged.
# For which of the networks is that the same training?</summary>
#
# For ConvNeXt: LayerNorm takes mean and variance over the channels of one place, and each image is treated alone. The
# networks before it have BatchNorm, whose mean and variance are those of the batch at hand; in smaller batches they
# are other numbers.
# </details>
#
# ### Where to go next
#
# - [Notebook 13](13_to_the_npu.ipynb): from the laptop to the NPU.
# - Train other steps of the road: add `road_patchify` to `makers` with `channels=[64, 128]`, `road_inverted` and
#   `road_moved_up` with `channels=[24, 48]`. (`road_stage_ratio` changes nothing but `depths`, which `small` sets.)
# - Read the code: [models/road.py](../../vit_ms/models/road.py), where each step is one row of a table, and
#   [models/convnext.py](../../vit_ms/models/convnext.py).
# - ImageNet with the paper's recipe: [recipes/convnext_t.yaml](../../vit_ms/recipes/convnext_t.yaml), for eight devices.
# - Read the paper: [arXiv 2201.03545](https://arxiv.org/abs/2201.03545), section 2, with figure 2 in view.

# %% [markdown] lang="zh"
# ## 小结
#
# - 卷积需要 $h w D C P^2$ 次乘加，逐通道卷积只要 $h w D P^2$ 次。照此计算，各网络的计算量与论文一致。
# - 这条路：各 stage 的比例、图像块式的 stem、逐通道卷积并加宽、倒置瓶颈、逐通道卷积提前、7 × 7 卷积核；然后是 GELU、更少
#   的激活函数和归一化、层归一化、单独的下采样。
# - ConvNeXt 残差块就是把注意力换成逐通道卷积的 Transformer 层（公式（2）），权重几乎都在 MLP 里。
# - LayerScale 让每个残差块从近似恒等映射开始；在 AdamW 下，$\gamma$ 从第一步起就在增长。
#
# ### 三道思考题
#
# <details><summary>1. 通道数为 $D$ 的 ConvNeXt 残差块有多少参数？</summary>
#
# 逐通道卷积 $49 D + D$，层归一化 $2 D$，两个全连接层 $4 D^2 + 4 D$ 和 $4 D^2 + D$，LayerScale $D$：共 $8 D^2 + 58 D$。
# $D = 24$ 时是 6000，与第 4 部分打印的一致；$D = 96$ 时是 79296。
# </details>
#
# <details><summary>2. 论文为什么先把逐通道卷积提前，再加大卷积核，而不是反过来？</summary>
#
# 在倒置瓶颈里，它位于 $4 D$ 通道的宽处：用 7 × 7 卷积核，每个位置需要 $49 \cdot 4 D$ 次乘加。提前之后它只处理 $D$ 个通
# 道，代价是原来的四分之一。在 ConvNeXt-T 的第一个 stage，它占残差块计算量的 6 %，而不是 20 %。
# </details>
#
# <details><summary>3. 显存放不下一个批，于是改用四个大小为四分之一的批，再把梯度平均。对哪些网络来说，这与原来的训练等
# 价？</summary>
#
# ConvNeXt 等价：层归一化的均值和方差取自一个位置的各通道，每张图像单独处理。之前的网络用 BatchNorm，均值和方差来自当前的
# 批；批变小，这些数就变了。
# </details>
#
# ### 下一步
#
# - [第 13 课](13_to_the_npu.ipynb)：从笔记本电脑到 NPU。
# - 训练路上的其他几步：在 `makers` 里加上 `road_patchify`，取 `channels=[64, 128]`；再加上 `road_inverted` 和
#   `road_moved_up`，取 `channels=[24, 48]`。（`road_stage_ratio` 只改了 `depths`，而 `small` 已经设定了它。）
# - 读代码：[models/road.py](../../vit_ms/models/road.py)，每一步是表中的一行；
#   [models/convnext.py](../../vit_ms/models/convnext.py)。
# - 用论文的配方训练 ImageNet：[recipes/convnext_t.yaml](../../vit_ms/recipes/convnext_t.yaml)，适用于八个设备。
# - 读论文：[arXiv 2201.03545](https://arxiv.org/abs/2201.03545) 第 2 节，对照图 2 阅读。
