# %% [markdown] lang="en"
# # Five minutes to a trained ViT
#
# In this notebook you train a small Vision Transformer (ViT) on real handwritten digits, from the first weight to the
# last test image. You see every step: how an image becomes a sequence of tokens, what shape the data has inside the
# network, how a training run is put together, and how to measure the result honestly.
#
# | | |
# |---|---|
# | Time | one to two minutes of computing on a CPU with two cores, 15 to 20 minutes of reading |
# | You need | Python, NumPy, and an idea of what training a neural network means; no GPU, no NPU, no download |
# | Paper | Dosovitskiy et al., *An Image is Worth 16x16 Words*, 2021, [arXiv 2010.11929](https://arxiv.org/abs/2010.11929) |
#
# Equation numbers below are those of the paper.

# %% [markdown] lang="zh"
# # 五分钟训练一个 ViT
#
# 本节用真实的手写数字从零训练一个小型 Vision Transformer（ViT）：从随机初始化的权重开始，到在测试集上给出结果为止。每一
# 步都能看到细节：图像怎样变成 token 序列，数据在网络内部是什么形状，一次训练由哪些部件组成，结果又该怎样公正地评估。
#
# | | |
# |---|---|
# | 用时 | 双核 CPU 上计算一到两分钟，阅读 15 到 20 分钟 |
# | 基础 | 会用 Python 和 NumPy，大致了解神经网络的训练过程；不需要 GPU、NPU，也不需要下载任何数据 |
# | 论文 | Dosovitskiy 等，*An Image is Worth 16x16 Words*，2021，[arXiv 2010.11929](https://arxiv.org/abs/2010.11929) |
#
# 下文的公式编号均与论文一致。

# %% [markdown] lang="en"
# ## 1. Set up
#
# `vit_ms` is imported first: it sets the environment variables that keep MindSpore quiet and its kernels fast, and
# MindSpore reads them when it is imported itself.
#
# `runtime.setup` chooses the device, the execution mode and the random seed; `vit_ms.doctor` says what was chosen and
# installed, and what to do about anything that is lacking. On a CPU "kernels can be fused" means that MindSpore joins
# neighbouring elementwise operations into one pass over the data.
# `device_target="auto"` takes an Ascend NPU where there is one and the CPU otherwise, so on Ascend **there is nothing to
# change**. (To get an error instead of the CPU when the NPU is not found, write `device_target="Ascend"`.)

# %% [markdown] lang="zh"
# ## 1. 准备环境
#
# 请最先导入 `vit_ms`：它会设置几个环境变量，让 MindSpore 少输出无关日志、算子跑得更快，而这些变量只在 MindSpore
# 被导入时读取。
#
# `runtime.setup` 决定设备、执行模式和随机种子；`vit_ms.doctor` 列出所选的设置和已安装的版本，缺少什么也会给出解决办
# 法。CPU 上的 “kernels can be fused”（算子可以融合）是指 MindSpore 能把相邻的逐元素运算合成一个算子，数据只需读写一
# 遍。`device_target="auto"` 表示有昇腾 NPU 就用 NPU，否则用 CPU，所以在昇腾上**一行代码都不用改**。（如果希望找不到 NPU
# 时直接报错，而不是退回 CPU，就写 `device_target="Ascend"`。）

# %%
import vit_ms  # before mindspore
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from mindspore import Tensor, ops

from vit_ms import create_model, functional, load_weights, runtime
from vit_ms.data.batches import TrainBatches, eval_batches
from vit_ms.data.catalog import open_dataset
from vit_ms.data.transforms import Augmentation, Preprocessing
from vit_ms.engine import TrainStep, evaluate, fit
from vit_ms.losses import CrossEntropySmooth
from vit_ms.optim import create_optimizer, learning_rates
from vit_ms.visualize import BLUE, ORANGE, both, plot_confusion, plot_curve, plot_images, plot_predictions, show
from vit_ms.weights import save_weights

runtime.setup(device_target="auto", mode="graph", seed=0)
folder = Path("runs/five_minutes")  # the weights go here
vit_ms.doctor()

# %% [markdown] lang="en"
# ## 2. The digits
#
# The data set comes with scikit-learn: 1,797 digits written by hand, as grey images of 8 × 8 pixels. It is split once
# and for all into three parts that share no image:
#
# - **train**: the network learns from these;
# - **val**: these tell us during training how it goes, and decisions may be based on them;
# - **test**: looked at once, at the very end. No decision is based on them, so they show how the network does on new
#   digits.

# %% [markdown] lang="zh"
# ## 2. 手写数字数据集
#
# 数据随 scikit-learn 一起安装：1797 张手写数字灰度图，每张 8 × 8 像素。它按固定方式分成互不重叠的三份：
#
# - **训练集 train**：网络从中学习；
# - **验证集 val**：训练过程中用来观察效果，调整设置时可以参考；
# - **测试集 test**：只在最后看一次。任何选择都不依据它，因此它能反映网络面对新数字时的真实水平。

# %%
digits = open_dataset("digits")
for split in digits.splits:
    images, labels = digits.arrays(split)
    print(f"{split:5}  images {images.shape} {images.dtype}, labels {labels.shape} {labels.dtype}")

# %%
images, labels = digits.arrays("train")
chosen = [np.flatnonzero(labels == digit)[n] for n in range(2) for digit in range(10)]
heading = both("Training digits, 8 x 8 pixels, with their labels", "训练图像及其标签")
show(
    plot_images(images[chosen], labels[chosen], columns=10, heading=heading),
    "Twenty handwritten digits of 8 x 8 pixels, two of each class.",
    "二十张 8 x 8 像素的手写数字，每类两张。",
)

# %% [markdown] lang="en"
# ## 3. From an image to tokens
#
# A Transformer reads a sequence of vectors. ViT makes an image into such a sequence in the simplest way: it cuts the
# image into square **patches** that do not overlap, and each patch becomes one vector.
#
# First every image is brought to the size and scale that the network takes. `Preprocessing` says how: resize it to
# 16 × 16 pixels, apply $(x - 0.5) / 0.5$, which takes pixel values from $[0, 1]$ to $[-1, 1]$, and put the channel in
# front.
#
# With a patch size of $P = 4$, an image of $H \times W = 16 \times 16$ pixels and $C = 1$ channel gives
#
# $$N = \frac{H W}{P^2} = \frac{16 \cdot 16}{4^2} = 16 \text{ patches, each of } P^2 C = 4^2 \cdot 1 = 16 \text{ numbers.}$$

# %% [markdown] lang="zh"
# ## 3. 从图像到 token
#
# Transformer 的输入是一个向量序列。ViT 用最直接的办法把图像变成序列：把图像切成互不重叠的正方形**图像块（patch）**，每
# 个图像块对应一个向量。
#
# 首先要把所有图像统一成网络需要的尺寸和数值范围，规则写在 `Preprocessing` 里：缩放到 16 × 16，再做 $(x - 0.5) / 0.5$，
# 把像素值从 $[0, 1]$ 变到 $[-1, 1]$，最后把通道维移到最前面。
#
# 图像块边长 $P = 4$ 时，一张 $H \times W = 16 \times 16$ 像素、通道数 $C = 1$ 的图像可以切成
#
# $$N = \frac{H W}{P^2} = \frac{16 \cdot 16}{4^2} = 16 \text{ 个图像块，每块有 } P^2 C = 4^2 \cdot 1 = 16 \text{ 个数。}$$

# %%
preprocessing = Preprocessing(image_size=16, channels=1, mean=[0.5], std=[0.5], interpolation="bicubic", crop_pct=1.0)
five = images[chosen[5]]
image = preprocessing.prepare(five)  # (1, 16, 16)
x = Tensor(image[None])  # (1, 1, 16, 16), a batch of one
patches = functional.patchify(x, patch_size=4)
print(f"image    {five.shape} {five.dtype}")
print(f"prepared {image.shape} {image.dtype}, from {image.min():.2f} to {image.max():.2f}")
print(f"patches  {patches.shape}: 1 image, 16 patches, 16 numbers each")

# %%
figure = plt.figure(figsize=(10, 4.2), layout="constrained")
grid = figure.add_gridspec(2, 17, height_ratios=(4, 1))
whole = figure.add_subplot(grid[0, :])
whole.imshow(image[0], cmap="gray", vmin=-1, vmax=1)
whole.set_title(both("The prepared image, 16 x 16 pixels, and where it is cut", "预处理后的图像与切分位置"))
whole.set(xticks=[], yticks=[])
caption = both(
    "The sequence: the class token, then the 16 patches, row by row", "序列：类别 token 在前，图像块逐行排列"
)
figure.supxlabel(caption, fontsize=12)
for cut in (3.5, 7.5, 11.5):
    whole.axhline(cut, color=ORANGE, linewidth=2)
    whole.axvline(cut, color=ORANGE, linewidth=2)
for n in range(16):
    box = {"facecolor": "black", "linewidth": 0, "pad": 1.5}
    whole.text(n % 4 * 4 - 0.2, n // 4 * 4 - 0.2, n + 1, color=ORANGE, va="top", weight="bold", bbox=box)

for n in range(17):
    axes = figure.add_subplot(grid[1, n])
    axes.set(xticks=[], yticks=[])
    if n == 0:
        axes.set_facecolor(BLUE)
        axes.set_box_aspect(1)
        axes.set_title("class", fontsize=10, color=BLUE)
    else:
        axes.imshow(patches[0, n - 1].asnumpy().reshape(4, 4), cmap="gray", vmin=-1, vmax=1)
        axes.set_title(n, fontsize=10)
show(
    figure,
    "A digit five cut into a grid of four by four patches, and below it the sequence of 17 tokens.",
    "数字 5 被切成 4 x 4 个图像块，下方是由 17 个 token 组成的序列。",
)

# %% [markdown] lang="en"
# The picture shows the sequence of **17 tokens** that the network works on. Equation 1 says what each one is:
#
# $$z_0 = [ x_{\text{class}}; x_p^1 E; x_p^2 E; \dots; x_p^N E ] + E_{\text{pos}},
# \qquad E \in \mathbb{R}^{(P^2 C) \times D}, \quad E_{\text{pos}} \in \mathbb{R}^{(N + 1) \times D} \tag{1}$$
#
# - $x_p^n E$: each flattened patch is multiplied by the same matrix $E$, the **patch embedding**, and becomes a vector
#   of $D = 64$ numbers. (The code adds a bias, as the authors' code does; equation 1 does not write it.)
# - $x_{\text{class}}$: the **class token**, a learned vector that belongs to no patch. It gathers what is needed to
#   tell the class, and the classifier reads nothing else.
# - $E_{\text{pos}}$: the **position embedding**, one learned vector for each place in the sequence. Without it the
#   network could not know where a patch came from.
#
# > **Often told wrong.** ViT-B/16 on an image of 224 × 224 pixels: some texts, the ViT notebook of the official
# > MindSpore course among them, speak of 16 × 16 patches. The 16 is the size of **one patch** in pixels; the grid has
# > $224 / 16 = 14$ patches a side, so there are $14 \times 14 = 196$ patches and 197 tokens. In our small model this is
# > easy to mix up too: a 4 × 4 grid of patches of 4 × 4 pixels.

# %% [markdown] lang="zh"
# 图中就是网络要处理的 **17 个 token** 组成的序列。公式（1）给出了每个 token 的来历：
#
# $$z_0 = [ x_{\text{class}}; x_p^1 E; x_p^2 E; \dots; x_p^N E ] + E_{\text{pos}},
# \qquad E \in \mathbb{R}^{(P^2 C) \times D}, \quad E_{\text{pos}} \in \mathbb{R}^{(N + 1) \times D} \tag{1}$$
#
# - $x_p^n E$：**图像块嵌入**。每个图像块展平后都乘同一个矩阵 $E$，得到 $D = 64$ 维向量。（代码里还有偏置项，论文作者的
#   代码也是如此，只是公式（1）没有写出来。）
# - $x_{\text{class}}$：**类别 token**，一个可学习的向量，不对应任何图像块。它负责汇总判断类别所需的信息，分类器只
#   读取它。
# - $E_{\text{pos}}$：**位置编码**，序列的每个位置各有一个可学习的向量。没有它，网络无从得知一个图像块来自图像的哪个位
#   置。
#
# > **常见误区。** ViT-B/16 处理 224 × 224 像素的图像时，有些资料（包括 MindSpore 官方课程的 ViT 教程）说切成了 16 × 16
# > 个图像块。其实 16 是**一个图像块**的边长（像素）；网格每边有 $224 / 16 = 14$ 块，一共 $14 \times 14 = 196$ 个图像
# > 块、197 个 token。本节的小模型更容易混淆：4 × 4 的网格，每块又恰好是 4 × 4 像素。

# %% [markdown] lang="en"
# ## 4. The model
#
# `vit_nano_4` is a ViT with everything the large ones have, only smaller: $L = 4$ blocks, $D = 64$, 4 attention heads.
# Each block of the encoder applies equations 2 and 3, for $\ell = 1 \dots L$:
#
# $$z'_\ell = \text{MSA}(\text{LN}(z_{\ell-1})) + z_{\ell-1} \tag{2}$$
#
# $$z_\ell = \text{MLP}(\text{LN}(z'_\ell)) + z'_\ell \tag{3}$$
#
# - **MSA**, multi-head self-attention: each token looks at all 17 and takes over what it needs from them. This is the
#   only place where tokens exchange anything.
# - **MLP**: two dense layers with a GELU between them, $64 \to 128 \to 64$, applied to each token alone.
# - **LN**: layer normalisation, before MSA and before MLP.
# - **$+$**: the residual connection; a block only adds to what it is given.
#
# After the last block the class token, place 0 of the sequence, is normalised once more and is the representation of the
# whole image; one dense layer makes the ten logits of it:
#
# $$y = \text{LN}(z_L^0) \tag{4}$$
#
# The next cell walks through the network part by part and prints the shapes. (In graph mode each part that is called is
# compiled first, so this takes a few seconds.)

# %% [markdown] lang="zh"
# ## 4. 模型
#
# `vit_nano_4` 与大型 ViT 结构完全相同，只是规模小：$L = 4$ 层，$D = 64$，4 个注意力头。编码器的每一层依次执行公式（2）
# 和（3），$\ell = 1 \dots L$：
#
# $$z'_\ell = \text{MSA}(\text{LN}(z_{\ell-1})) + z_{\ell-1} \tag{2}$$
#
# $$z_\ell = \text{MLP}(\text{LN}(z'_\ell)) + z'_\ell \tag{3}$$
#
# - **MSA**，多头自注意力：每个 token 都会查看全部 17 个 token，从中取用自己需要的信息。token 之间只在这里交换信息。
# - **MLP**：两个全连接层，中间是 GELU 激活函数，维度 $64 \to 128 \to 64$，对每个 token 单独计算。
# - **LN**：层归一化，放在 MSA 和 MLP 之前。
# - **$+$**：残差连接，每一步只是在输入上叠加新的内容。
#
# 最后一层输出的类别 token（序列的第 0 个位置）再做一次归一化，就是整张图像的表示，由一个全连接层算出 10 个 logits：
#
# $$y = \text{LN}(z_L^0) \tag{4}$$
#
# 下面的代码逐个调用网络的各个部分并打印形状。（图模式下，每个被调用的部分都要先编译，所以需要几秒钟。）

# %%
network = create_model("vit_nano_4")
network.set_train(False)

embedded = network.patch_embedding(x)
z0 = ops.concat((network.cls_token, embedded), axis=1) + network.pos_embedding
zL = network.transformer(z0)
y = network.norm(zL)[:, 0]
logits = network.dense(y)

for name, value in {
    "image": x,
    "patches": patches,
    "patch embedding, x_p E": embedded,
    "with class token and positions, z_0": z0,
    "after the encoder, z_L": zL,
    "class token, y": y,
    "logits": logits,
}.items():
    print(f"{name:36} {value.shape}")

difference = abs(network(x) - logits).max().asnumpy()
print(f"\nnetwork(image) gives the same logits: {difference < 1e-5}")

# %% [markdown] lang="en"
# Where are the weights? Nearly all of them are in the encoder. ViT-B/16, the paper's base model, is built the same way,
# with 86 million parameters.

# %% [markdown] lang="zh"
# 参数分布在哪里？几乎都在编码器中。论文中的基础模型 ViT-B/16 结构相同，参数量为 8600 万。

# %%
sizes = {}
for parameter in network.trainable_params():
    part = parameter.name.split(".")[0]
    sizes[part] = sizes.get(part, 0) + parameter.size
for part, size in sizes.items():
    print(f"{part:16} {size:8,}")
print(f"{'all':16} {sum(sizes.values()):8,}")

# %% [markdown] lang="en"
# ## 5. The data pipeline
#
# `TrainBatches` shuffles the training images and turns, shears, shifts and scales each a little, at random and anew in
# every epoch. This **data augmentation** matters for ViT: locality and translation equivariance are built into a
# convolutional network, but hardly into ViT (section 3.1 of the paper, *inductive bias*), so that a shifted digit is
# the same digit is something it learns from examples. `eval_batches` only prepares the images, always in the same
# order.

# %% [markdown] lang="zh"
# ## 5. 数据流水线
#
# `TrainBatches` 打乱训练图像，并对每张图像做小幅的随机旋转、错切、平移和缩放，每个 epoch 都重新随机。这种**数据增
# 强**对 ViT 很重要：卷积网络的结构自带局部性和平移等变性，ViT 则几乎没有这类先验（论文 3.1 节所说的*归纳偏置*），“数字
# 挪了位置还是同一个数字”要从样本中学会。`eval_batches` 只做预处理，顺序固定不变。

# %%
batch_size = 64
train_data = TrainBatches(digits, preprocessing, batch_size, Augmentation("affine"))
val_data = eval_batches(digits, "val", preprocessing, batch_size)
test_data = eval_batches(digits, "test", preprocessing, batch_size)

batch, batch_labels = (tensor.asnumpy() for tensor in next(train_data.epoch(1)))
print(f"a batch: images {batch.shape} {batch.dtype}, labels {batch_labels.shape} {batch_labels.dtype}")
print(f"{train_data.batches} batches an epoch")
pictures = preprocessing.restore(batch[:20])
heading = both("The first 20 images of a training batch, 16 x 16 pixels", "一个训练批次的前 20 张图像")
show(
    plot_images(pictures, batch_labels[:20], columns=10, heading=heading),
    "Twenty digits of a training batch, each turned, sheared, shifted or scaled a little.",
    "一个训练批次中的二十张数字，每张都略有旋转、错切、平移或缩放。",
)

# %% [markdown] lang="en"
# Before training the network can only guess, and one in ten guesses is right:

# %% [markdown] lang="zh"
# 训练之前，网络只能随机猜测，大约十次猜对一次：

# %%
before = evaluate(network, val_data).metrics(digits.classes)
print(f"validation accuracy before training: {before['top1']:.1%}")

# %% [markdown] lang="en"
# ## 6. Training
#
# Four parts make a training run.
#
# **The learning rate** rises from 0 over the first 5 epochs (*warm-up*: at the start the gradients change quickly and
# the optimizer's averages rest on few of them, so large steps would do damage) and then falls to 0 along a cosine.

# %% [markdown] lang="zh"
# ## 6. 训练
#
# 一次训练由四个部件组成。
#
# **学习率**先在前 5 个 epoch 从 0 线性上升（*学习率预热*：训练初期梯度变化剧烈，优化器的滑动平均又只累积了很少几步，步
# 子太大会适得其反），然后按余弦曲线下降到 0（*余弦衰减*）。

# %%
epochs = 40
steps = train_data.get_dataset_size()  # an epoch
rates = learning_rates("cosine_decay", lr=2e-3, min_lr=0.0, warmup_epochs=5, epoch_size=epochs, steps_per_epoch=steps)
figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
axes.plot(np.arange(1, len(rates) + 1) / steps, rates, color=BLUE)
axes.axvspan(0, 5, color=ORANGE, alpha=0.25, linewidth=0, label=both("warm-up", "预热"))
axes.set(title=both("Learning rate of every step", "每一步的学习率"), xlim=(0, epochs), ylim=0)
axes.set(xlabel=both("epoch", "轮次"), ylabel=both("learning rate", "学习率"))
axes.legend()
axes.grid(alpha=0.3)
show(
    figure,
    "The learning rate rises in a line for five epochs and falls to zero along a cosine.",
    "学习率在前五个 epoch 线性上升，然后沿余弦曲线下降到零。",
)

# %% [markdown] lang="en"
# **The optimizer** is AdamW: Adam with decoupled weight decay, on the matrices only.
#
# **The loss** is cross entropy with *label smoothing*: the target is not 1 for the true digit and 0 for the others, but
# 0.9 and $0.1 / 9$ each. It keeps the network from becoming too sure of itself.
#
# **`TrainStep`** puts forward pass, loss, gradients, clipping and update into one cell. In graph mode MindSpore
# compiles this cell as a whole: **the first step takes several seconds**, each later one a few hundredths of a second.
#
# `fit` is the loop around it. After each epoch it calls our `on_epoch_end`, which evaluates the network on the
# validation digits and writes a row of the history. What it returns is shown in the progress bar.

# %% [markdown] lang="zh"
# **优化器**是 AdamW，即权重衰减与梯度更新解耦的 Adam；权重衰减只作用于权重矩阵。
#
# **损失函数**是带*标签平滑*的交叉熵：目标分布不再是正确数字为 1、其余为 0，而是正确数字为 0.9，其余 9 个各为
# $0.1 / 9$，以免网络对自己的判断过于自信。
#
# **`TrainStep`** 把前向计算、损失、梯度、梯度裁剪和参数更新合成一个 Cell。在图模式（静态图）下，MindSpore 会把它整体编
# 译成一张图：**第一步要花几秒钟编译**，之后每步只要百分之几秒。
#
# `fit` 是外层的训练循环。每个 epoch 结束时，它调用我们写的 `on_epoch_end`：在验证集上评估网络，并在历史记录里添加一行。
# 这个函数的返回值会显示在进度条上。

# %%
optimizer = create_optimizer(network.trainable_params(), "adamw", rates, weight_decay=0.05)
loss_fn = CrossEntropySmooth(smooth_factor=0.1, num_classes=10)
train_step = TrainStep(network, loss_fn, optimizer, clip_grad=1.0)
history = []


def on_epoch_end(done):
    metrics = evaluate(network, val_data).metrics(digits.classes)
    row = {"epoch": done.epoch, "train_loss": done.loss, "train_acc": done.accuracy}
    row |= {"val_loss": metrics["loss"], "val_acc": metrics["top1"]}
    history.append(row)
    return {"val_acc": metrics["top1"]}


trained = fit(train_step, train_data, epochs, on_epoch_end)

# %%
print(f"first epoch {trained[0].seconds:.1f} s with the compilation, last epoch {trained[-1].seconds:.1f} s")
print("epoch  train loss  train acc  val loss  val acc")
for row in history[:1] + history[4::5]:
    print("{epoch:5}  {train_loss:10.3f}  {train_acc:9.1%}  {val_loss:8.3f}  {val_acc:7.1%}".format(**row))

# %%
show(
    plot_curve(history),
    "Loss and accuracy of training and validation over the epochs.",
    "训练集和验证集的损失与准确率随 epoch 的变化。",
)

# %% [markdown] lang="en"
# The training loss is above the validation loss. Nothing is wrong: training sees distorted digits and smoothed targets,
# validation sees neither. (Question 3 below works out how low the training loss can get at all.)

# %% [markdown] lang="zh"
# 训练损失高于验证损失，这并不是出了问题：训练时看到的是变形的数字和平滑后的标签，验证时两者都没有。（训练损失最低能降到
# 多少？见文末思考题 3。）

# %% [markdown] lang="en"
# ## 7. The test
#
# Now, once, the 360 test digits. **Top-1** counts an image as right if the likeliest class is the true one, **top-5**
# if the true one is among the five likeliest.

# %% [markdown] lang="zh"
# ## 7. 测试
#
# 现在才第一次、也是唯一一次用到 360 张测试图像。**top-1** 要求概率最高的类别就是正确类别，**top-5** 只要求正确类别排在
# 前五。

# %%
result = evaluate(network, test_data, examples=24)
metrics = result.metrics(digits.classes)
wrong = int((result.top[:, 0] != result.labels).sum())
print(f"test accuracy: top-1 {metrics['top1']:.2%}, top-5 {metrics['top5']:.2%}, {wrong} of {metrics['images']} wrong")

# %% [markdown] lang="en"
# One image is 0.28 percentage points here, and another seed or machine may get a few images more or fewer: with 360
# images and an accuracy near 98 %, chance alone moves the result by about $\sqrt{0.98 \cdot 0.02 / 360} \approx 0.7$
# percentage points. Differences smaller than that say nothing.
#
# > **Often told wrong.** The ViT notebook of the official MindSpore course trains a network, and then its evaluation
# > loads the pretrained checkpoint that it started from. The accuracy it prints says nothing about the training above
# > it. Here `evaluate` gets `network` itself, the one just trained.
#
# Which digits are mixed up? A row of the **confusion matrix** is the true digit, a column the prediction; everything
# off the diagonal is an error.

# %% [markdown] lang="zh"
# 在这里，一张图像就是 0.28 个百分点；换一个随机种子或换一台机器，对错可能相差几张：测试图像只有 360 张，准确率在 98% 左
# 右时，仅随机性带来的标准误差就有 $\sqrt{0.98 \cdot 0.02 / 360} \approx 0.7$ 个百分点。比这更小的差别说明不了任何问题。
#
# > **常见误区。** MindSpore 官方课程的 ViT 教程先训练了一个网络，评估时加载的却是训练之前的预训练权重，所以它打印的准确
# > 率与上面的训练毫无关系。这里传给 `evaluate` 的 `network` 就是刚刚训练好的网络。
#
# 哪些数字容易混淆？**混淆矩阵**的行是真实数字，列是预测结果，对角线以外都是错误。

# %%
show(
    plot_confusion(result.labels, result.top[:, 0], digits.classes),
    "Confusion matrix of the ten digits; nearly all counts are on the diagonal.",
    "十个数字的混淆矩阵，几乎所有计数都在对角线上。",
)

# %% [markdown] lang="en"
# And these are the errors themselves, before some digits that are recognised rightly. The number in brackets is the
# probability that the network gives to its answer. Even sure answers stay near 90 %, the target of label smoothing; the
# errors are mostly less sure.

# %% [markdown] lang="zh"
# 再看看具体错在哪里：认错的排在前面，后面是一些认对的。括号里是网络为自己的答案给出的概率：由于标签平滑的
# 目标是 0.9，再有把握的答案也只在 90% 上下；认错的图像，概率大多明显更低。

# %%
shown = result.examples
grid = plot_predictions(
    preprocessing.restore(result.example_images),
    predicted=[digits.classes[index] for index in result.top[shown, 0]],
    probabilities=result.probabilities[shown, 0],
    labels=[digits.classes[index] for index in result.labels[shown]],
    title=both(f"Test digits: {wrong} of {metrics['images']} wrong, shown first", "测试图像，认错的在前"),
)
show(
    grid,
    "Test digits with the network's answers; the wrong answers come first, in red frames.",
    "测试图像和网络的预测，认错的排在前面，带红色边框。",
)

# %% [markdown] lang="en"
# ## 8. Save and load
#
# The weights go into a `.ckpt` file. A new network starts from other random weights, so its logits differ; after
# `load_weights` they are equal, bit for bit. `load_weights` is strict: one name missing, one shape wrong, or a network
# with another kind of GELU, and it says so and changes nothing.

# %% [markdown] lang="zh"
# ## 8. 保存与加载
#
# 权重保存为 `.ckpt` 文件。新建的网络从另一组随机权重开始，logits 自然不同；调用 `load_weights` 之后，两者逐位相等。
# `load_weights` 的检查很严格：少一个参数名、有一个形状不符，或者网络用的 GELU 形式不同，它都会报错，并且不改动网络。

# %%
save_weights(network, folder / "vit_nano_4.ckpt")
copy = create_model("vit_nano_4")
copy.set_train(False)
inputs = Tensor(batch)
expected = network(inputs).asnumpy()
print(f"equal before loading: {np.array_equal(copy(inputs).asnumpy(), expected)}")
load_weights(copy, folder / "vit_nano_4.ckpt")
print(f"equal after loading:  {np.array_equal(copy(inputs).asnumpy(), expected)}")

# %% [markdown] lang="en"
# ## Summary
#
# - An image becomes $N = HW / P^2$ patches; embedded, with the class token in front and position embeddings added, they
#   are the $N + 1$ tokens of equation 1.
# - Each block lets the tokens exchange information (MSA) and then works on each alone (MLP), both normalised before and
#   added to their input. The classifier reads the class token.
# - A training run is a learning-rate schedule, an optimizer, a loss and a step; graph mode compiles the step once.
# - Validation data is for choosing, test data for one measurement at the end, of the network that was trained.
#
# ### Three questions
#
# <details><summary>1. How many tokens does ViT-B/32 see in a 224 × 224 image, and how many ViT-B/16? What does that
# mean for the attention matrices?</summary>
#
# $224 / 32 = 7$, so $7 \times 7 + 1 = 50$ tokens; ViT-B/16 has $14 \times 14 + 1 = 197$. An attention matrix has one
# entry for each pair of tokens: $50^2 = 2500$ against $197^2 = 38809$, 15.5 times as many. Halving the patch size is
# expensive.
# </details>
#
# <details><summary>2. If the position embedding were left out, what would shuffling the patches of an image do to the
# logits?</summary>
#
# Nothing but rounding. Self-attention sums over all tokens, whatever their order; LN and MLP treat each token alone.
# The class token would receive the same, and a 6 would look like any other arrangement of its patches.
# </details>
#
# <details><summary>3. How low can the training loss get with label smoothing 0.1 and ten classes?</summary>
#
# Cross entropy is lowest when the prediction is the target itself, and is then the target's entropy:
# $-0.9 \ln 0.9 - 9 \cdot \frac{0.1}{9} \ln \frac{0.1}{9} \approx 0.545$. The curve above approaches this value, not
# zero.
# </details>
#
# ### Where to go next
#
# - [Notebook 2](02_from_image_to_tokens.ipynb) takes the tokens of section 3 apart,
#   [notebook 3](03_attention_by_hand.ipynb) the attention and [notebook 4](04_encoder_and_vit.ipynb) the whole encoder.
#   [Notebook 5](05_data.ipynb) is about the data, [notebook 6](06_training.ipynb) about training,
#   [notebook 7](07_evaluation_and_inference.ipynb) about what an accuracy is worth. From
#   [notebook 8](08_transfer.ipynb) on come transfer, a look inside, ViT's relatives and the NPU.
# - The whole recipe, 60 epochs, reading the mean of the patch tokens in place of the class token, and keeping the
#   checkpoint with the best validation accuracy: `bash scripts/quickstart.sh` in a terminal, or only its training,
#   `python -m vit_ms train --config digits`.
# - Change something and train again: `create_model("vit_nano_4", patch_size=2)` has 65 tokens; `pool="mean"` does what
#   the recipe does; `Augmentation("none")` shows what data augmentation was good for. Compare on the
#   validation digits.
# - Read the code, in this order: [layers.py](../../vit_ms/layers.py), the building blocks;
#   [models/vit.py](../../vit_ms/models/vit.py), equations 1 to 4; [engine.py](../../vit_ms/engine.py), the training
#   step and the loop; [recipes/digits.yaml](../../vit_ms/recipes/digits.yaml), the settings of a run.
# - Read the paper: [arXiv 2010.11929](https://arxiv.org/abs/2010.11929). Section 3.1 and appendix A are what you have
#   just run.

# %% [markdown] lang="zh"
# ## 小结
#
# - 一张图像切成 $N = HW / P^2$ 个图像块；经过嵌入，在最前面加上类别 token，再加上位置编码，就是公式（1）中的 $N + 1$ 个
#   token。
# - 编码器的每一层先让 token 之间交换信息（MSA），再对每个 token 单独处理（MLP）；两步都是先归一化，再通过残差连接加回输
#   入。分类器只读取类别 token。
# - 一次训练需要学习率曲线、优化器、损失函数和训练步；图模式下，训练步只编译一次。
# - 验证集用来做选择，测试集只在最后测一次，而且测的必须是刚训练好的那个网络。
#
# ### 三道思考题
#
# <details><summary>1. 对 224 × 224 的图像，ViT-B/32 和 ViT-B/16 各有多少个 token？注意力矩阵的大小相差多少？</summary>
#
# ViT-B/32：$224 / 32 = 7$，共 $7 \times 7 + 1 = 50$ 个 token；ViT-B/16：$14 \times 14 + 1 = 197$ 个。注意力矩阵中每一对
# token 对应一个元素：$50^2 = 2500$ 与 $197^2 = 38809$，相差 15.5 倍。图像块边长减半，代价不小。
# </details>
#
# <details><summary>2. 如果去掉位置编码，再把一张图像的图像块打乱顺序，logits 会怎样变化？</summary>
#
# 除了舍入误差，没有任何变化。自注意力对所有 token 求和，与顺序无关；LN 和 MLP 对每个 token 单独计算。类别 token 得到的
# 信息完全相同，在网络眼里，一个 6 和把它的图像块随意重排后的图像没有区别。
# </details>
#
# <details><summary>3. 标签平滑系数为 0.1、共 10 类时，训练损失最低能降到多少？</summary>
#
# 预测分布等于目标分布时交叉熵最小，最小值就是目标分布的熵：
# $-0.9 \ln 0.9 - 9 \cdot \frac{0.1}{9} \ln \frac{0.1}{9} \approx 0.545$。上面的训练损失曲线趋近的是这个值，而不是 0。
# </details>
#
# ### 下一步
#
# - [第 2 课](02_from_image_to_tokens.ipynb)细讲本节第 3 部分的 token，[第 3 课](03_attention_by_hand.ipynb)手算注意力，
#   [第 4 课](04_encoder_and_vit.ipynb)拆解整个编码器。[第 5 课](05_data.ipynb)讲数据，[第 6 课](06_training.ipynb)讲训练，
#   [第 7 课](07_evaluation_and_inference.ipynb)讲准确率有多可信。[第 8 课](08_transfer.ipynb)起依次是迁移学习、观察网络内
#   部、ViT 的近亲和 NPU。
# - 运行完整的训练配方（60 个 epoch，用图像块 token 的平均值代替类别 token，并保留验证准确率最高的权重）：在终端运行
#   `bash scripts/quickstart.sh`；只训练则运行 `python -m vit_ms train --config digits`。
# - 改一处，再训练一次：`create_model("vit_nano_4", patch_size=2)` 有 65 个 token；`pool="mean"` 与训练配方的做法
#   相同；`Augmentation("none")` 可以看出数据增强的作用。请在验证集上比较。
# - 按这个顺序读代码：[layers.py](../../vit_ms/layers.py)，基本组件；[models/vit.py](../../vit_ms/models/vit.py)，公式
#   （1）到（4）；[engine.py](../../vit_ms/engine.py)，训练步与训练循环；
#   [recipes/digits.yaml](../../vit_ms/recipes/digits.yaml)，一次训练的全部设置。
# - 读论文：[arXiv 2010.11929](https://arxiv.org/abs/2010.11929)。3.1 节和附录 A 就是刚刚运行过的内容。
