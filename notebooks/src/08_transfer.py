# %% [markdown] lang="en"
# # Transfer: from a trained ViT to your own task
#
# A ViT is seldom trained from nothing. One takes a network that has been trained on much data, gives it a new head,
# and trains on with the few images one has. In this notebook you do that on a small scale and measure each step: what
# a new head is, what freezing costs, how few images are enough, and what happens to the position embedding when the
# images become larger.
#
# | | |
# |---|---|
# | Time | one to two minutes of computing on a CPU with two cores, 15 to 20 minutes of reading |
# | You need | the parts of a training run, [notebook 1](01_five_minutes_to_vit.ipynb) or [6](06_training.ipynb) |
# | Paper | Dosovitskiy et al. 2021, [arXiv 2010.11929](https://arxiv.org/abs/2010.11929), sections 3.2 and 4.1 |

# %% [markdown] lang="zh"
# # 迁移学习：把训练好的 ViT 用到自己的任务上
#
# 很少有人从零开始训练 ViT。通常的做法是：拿一个在大量数据上训练过的网络，换上新的分类头，再用手头不多的图像继续训练。
# 本节把这件事缩小规模做一遍，每一步都测量结果：换分类头意味着什么，冻结主干的代价有多大，多少张图像才够用，图像变大时
# 位置编码怎么办。
#
# | | |
# |---|---|
# | 用时 | 双核 CPU 上计算一到两分钟，阅读 15 到 20 分钟 |
# | 基础 | 一次训练由哪些部件组成，见[第 1 课](01_five_minutes_to_vit.ipynb)或[第 6 课](06_training.ipynb) |
# | 论文 | Dosovitskiy 等，2021，[arXiv 2010.11929](https://arxiv.org/abs/2010.11929)，3.2 节和 4.1 节 |

# %% [markdown] lang="en"
# ## 1. Two tasks
#
# The digits 0 to 4 play the large data set that somebody else has trained on, the digits 5 to 9 are our own task, of
# which we have few images with labels. No class is in both. `Arrays` is any data set that lies in memory.

# %% [markdown] lang="zh"
# ## 1. 两个任务
#
# 数字 0 到 4 扮演别人用来训练的大数据集；数字 5 到 9 是我们自己的任务，带标签的图像很少。两者没有共同的类别。`Arrays`
# 可以表示任何放在内存里的数据集。

# %%
import vit_ms  # before mindspore
import contextlib
import io
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from mindspore import Tensor

from vit_ms import create_model, load_weights, runtime
from vit_ms.data.batches import TrainBatches, eval_batches
from vit_ms.data.catalog import open_dataset
from vit_ms.data.sources import Arrays
from vit_ms.data.transforms import Augmentation, Preprocessing
from vit_ms.engine import TrainStep, evaluate, fit
from vit_ms.errors import UserError
from vit_ms.fewshot import choose, features, least_squares
from vit_ms.introspection import position_similarity
from vit_ms.losses import CrossEntropySmooth
from vit_ms.optim import create_optimizer, freeze, layers_below_head, learning_rates
from vit_ms.resize import resize_matrix
from vit_ms.visualize import BLUE, GREEN, GREY, ORANGE, both, plot_images, show
from vit_ms.weight_sources import recognise, translated
from vit_ms.weights import save_weights

runtime.setup(device_target="auto", mode="graph", seed=0)
folder = Path("runs/08_transfer")  # the weights go here
vit_ms.doctor()

# %%
digits = open_dataset("digits")


def part(classes):
    """The images of some of the digits as a data set of their own, with labels from 0."""
    images, labels = {}, {}
    for split in digits.splits:
        every_image, every_label = digits.arrays(split)
        chosen = np.isin(every_label, classes)
        images[split], labels[split] = every_image[chosen], np.searchsorted(classes, every_label[chosen])
    return Arrays(images, labels, [str(digit) for digit in classes])


source, target = part([0, 1, 2, 3, 4]), part([5, 6, 7, 8, 9])
for name, data in (("source", source), ("target", target)):
    sizes = ", ".join(f"{split} {data.size(split)}" for split in data.splits)
    print(f"{name}: digits {' '.join(data.classes)}; {sizes}")

# %% [markdown] lang="en"
# ## 2. Pretraining
#
# Somebody else's part: 60 epochs on the digits 0 to 4. What they publish is a file of weights.

# %% [markdown] lang="zh"
# ## 2. 预训练
#
# 这一步是“别人”的工作：在数字 0 到 4 上训练 60 个 epoch，最后公布一个权重文件。


# %%
def preprocess(image_size):
    return Preprocessing(image_size, channels=1, mean=[0.5], std=[0.5], interpolation="bicubic", crop_pct=1.0)


def make_step(network, data, epochs, lr, warmup_epochs):
    """A training step with the recipe of the digits."""
    rates = learning_rates("cosine_decay", lr, 0.0, warmup_epochs, epochs, data.batches)
    optimizer = create_optimizer(network.trainable_params(), "adamw", rates, weight_decay=0.05)
    return TrainStep(network, CrossEntropySmooth(smooth_factor=0.1, num_classes=5), optimizer, clip_grad=1.0)


def accuracy(network, batches):
    found = evaluate(network, batches)
    return float((found.top[:, 0] == found.labels).mean())


affine, batch_size = Augmentation("affine"), 90
pretrained = create_model("vit_nano_4", num_classes=5)
data = TrainBatches(source, preprocess(16), 64, affine)
history = fit(make_step(pretrained, data, epochs=60, lr=3e-3, warmup_epochs=5), data, 60, on_epoch_end=lambda done: {})

# %%
weights = folder / "digits_0_to_4.ckpt"
save_weights(pretrained, weights)
source_test = eval_batches(source, "test", preprocess(16), batch_size)
print(f"digits 0 to 4, test accuracy: {accuracy(pretrained, source_test):.1%}")

# %% [markdown] lang="en"
# ## 3. A new head
#
# The last layer, `dense`, has a row for each old class and is of no use for new ones. Section 3.2 of the paper: take it
# off and put a layer of $K$ outputs in its place that starts at zero. `load_weights` is strict, so what is not to be
# taken has to be said: names that begin with `dense.`

# %% [markdown] lang="zh"
# ## 3. 换上新的分类头
#
# 最后一层 `dense` 的每一行对应一个旧类别，对新类别没有用。论文 3.2 节的做法是：去掉它，换上一个有 $K$ 个输出、参数全
# 部初始化为零的全连接层。`load_weights` 的检查很严格，所以哪些参数不加载必须明说：名字以 `dense.` 开头的。

# %%
network = create_model("vit_nano_4", num_classes=5, zero_head=True)
report = load_weights(network, weights, skip=["dense."])
print(report)
logits = network.set_train(False)(Tensor(np.zeros((batch_size, 1, 16, 16), np.float32)))
print(f"all logits are zero: {not logits.asnumpy().any()}")

# %% [markdown] lang="en"
# A head of zeros makes all classes equally likely at the start, and the first gradient reaches the head alone: while
# its weights are zero, nothing flows back through them. The backbone is not shaken by a random head.
#
# Now 10 images of each of the digits 5 to 9, 50 in all, and three ways to learn from them, each with 160 steps on all
# 50 images:
#
# - **from scratch**: random weights, everything is trained;
# - **fine-tuned**: the pretrained weights and the new head, everything is trained;
# - **frozen**: the pretrained weights stay as they are, only the head is trained.
#
# Which 50 images one happens to have matters much when there are so few. So everything is done for three choices.

# %% [markdown] lang="zh"
# 全零的分类头让所有类别在开始时概率相等，而且第一步的梯度只到达分类头：它的权重还是零，梯度无法从它传回去。这样，主干网
# 络就不会被一个随机的分类头扰乱。
#
# 现在从数字 5 到 9 中每类取 10 张，一共 50 张，用三种方式学习，每种都训练 160 步，每步用全部 50 张：
#
# - **从零训练**：随机权重，训练全部参数；
# - **微调**：预训练权重加新分类头，训练全部参数；
# - **冻结主干**：预训练权重保持不变，只训练分类头。
#
# 图像这么少，手里恰好是哪 50 张，影响很大。因此每种方式都用三组不同的图像各做一次。


# %%
def few(shots, choice):
    """Some images of each class to train on."""
    chosen = choose(target.labels["train"], shots, choice, target.classes).ravel()
    return Arrays({"train": target.images["train"][chosen]}, {"train": target.labels["train"][chosen]}, target.classes)


images = few(10, 0)
order = [label * 10 + number for number in range(10) for label in range(5)]
pictures = [images.images["train"][index] for index in order[:20]]
titles = [target.classes[images.labels["train"][index]] for index in order[:20]]
show(
    plot_images(pictures, titles, columns=10, heading=both("20 of the first 50 images", "第一组 50 张图像中的 20 张")),
    "Twenty handwritten digits from 5 to 9.",
    "二十张手写数字，从 5 到 9。",
)

# %% [markdown] lang="en"
# A training step is compiled once and used for several runs; `begin` puts it back to its start, with the weights that
# are asked for and empty averages in the optimizer. The learning rates were chosen on the validation digits (of 1e-3
# and 3e-3 for the first two ways; for the head alone one was tried). Nothing is chosen by the test digits; they only
# measure.

# %% [markdown] lang="zh"
# 训练步只编译一次，供多次训练使用：`begin` 让它回到起点，换上指定的权重，并清空优化器累积的状态。学习率是在验证集上选的
# （前两种方式在 1e-3 和 3e-3 中选，只训练分类头时只试了一个值）。测试集只用来测量，不据此做任何选择。

# %%
test_data = eval_batches(target, "test", preprocess(16), batch_size)
quiet = contextlib.redirect_stderr(io.StringIO())  # no progress bars


def values_of(parameters):
    return {parameter.name: parameter.asnumpy().copy() for parameter in parameters}


def begin(step, start, weights):
    """Put a step back to its start, with these weights."""
    for name, parameter in step.state().items():
        parameter.set_data(Tensor(weights.get(name, start[name])))


def learn(step, start, make_weights):
    """Test accuracy after every 20 steps, for three choices of images: (3, 9)."""
    curves = []
    for choice in range(3):
        begin(step, start, make_weights())
        curve = [accuracy(network, test_data)]

        def watch(done, curve=curve):
            if done.epoch % 20 == 0:
                curve.append(accuracy(network, test_data))
            return {}

        with quiet:
            fit(step, TrainBatches(few(10, choice), preprocess(16), 50, affine, seed=choice), steps, watch)
        curves.append(curve)
    return np.array(curves)


def random_weights():
    return values_of(create_model("vit_nano_4", num_classes=5).get_parameters())


transferred, steps = values_of(network.get_parameters()), 160  # all 50 images in each step: a step is an epoch
data = TrainBatches(few(10, 0), preprocess(16), 50, affine)
step = make_step(network, data, steps, lr=3e-3, warmup_epochs=10)
start = values_of(step.state().values())
results = {
    "from scratch": learn(step, start, random_weights),
    "fine-tuned": learn(step, start, lambda: transferred),
}

trained = freeze(network)
head_step = make_step(network, data, steps, lr=3e-2, warmup_epochs=10)
results["frozen"] = learn(head_step, values_of(head_step.state().values()), lambda: transferred)
print(f"frozen: {trained} of {sum(p.size for p in network.get_parameters()):,} numbers are trained\n")

print("mean after step" + "".join(f"{done:7}" for done in range(0, steps + 1, 20)))
for name, curves in results.items():
    print(f"{name:15}" + "".join(f"{value:7.1%}" for value in curves.mean(axis=0)))
print("\nat the end, for the three choices of images")
for name, curves in results.items():
    print(f"{name:15}" + "".join(f"{value:7.1%}" for value in curves[:, -1]))

# %%
figure, axes = plt.subplots(figsize=(8, 3.8), layout="constrained")
labels = (both("from scratch", "从零训练"), both("fine-tuned", "微调"), both("frozen", "冻结主干"))
styles = ((GREY, "^:"), (BLUE, "o-"), (GREEN, "s--"))
for curves, label, (colour, style) in zip(results.values(), labels, styles, strict=True):
    axes.plot(range(0, steps + 1, 20), curves.mean(axis=0), style, color=colour, label=label)
    axes.fill_between(
        range(0, steps + 1, 20), curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.15, linewidth=0
    )
axes.set(xlabel=both("step", "步数"), ylabel=both("test accuracy", "测试准确率"), ylim=(0, 1))
axes.grid(alpha=0.3)
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
show(
    figure,
    "Test accuracy over 160 steps of three ways to train on 10 images a class; bands from worst to best choice.",
    "三种训练方式在每类 10 张图像上 160 步内的测试准确率，色带是三组图像的最低到最高值。",
)

# %% [markdown] lang="en"
# Pretraining gives a lead, and most of it early. After 20 steps the fine-tuned network is far ahead; at the end it is
# ahead by a few points on average, and the choice of images makes as much of a difference. On a task as easy as this
# one, 50 images take even a small network with random weights a long way, if one has the patience. On photographs
# they would not, and there much depends on the size of the pretraining data: the more, the better the result, above
# all for large networks (figures 3 and 4 of the paper).
#
# The head alone is soon at its end. The frozen features were made to tell 0 to 4 apart; what else 5 to 9 need is
# partly lost in them, and one linear layer cannot make up for it with 50 images.
#
# Between freezing and training everything alike lie learning rates that fall from layer to layer, for lower features
# are more general: $\gamma^d$ times the rate, $d$ layers below the head. `create_optimizer(..., layer_decay=0.75)` does
# it, and knows the depths by the parameters' names (Clark et al. 2020, ELECTRA; Bao et al. 2022, BEiT):

# %% [markdown] lang="zh"
# 预训练带来领先，而且主要在早期。训练 20 步之后，微调的网络遥遥领先；到最后平均只高出几个百分点，而换一组图像造成的差
# 别也有这么大。任务这么简单，只要有耐心多训练一些步，小网络从随机权重出发，靠 50 张图像也能学得不错。换成照片就不行
# 了，那时很大程度上取决于预训练数据的规模：数据越多，结果越好，大网络尤其如此（论文图 3 和图 4）。
#
# 只训练分类头很快就到了极限。冻结的特征是为区分 0 到 4 而学的，区分 5 到 9 还需要的信息有一部分已经丢失，单靠一个线性
# 层和 50 张图像补不回来。
#
# 冻结主干与一视同仁地训练全部参数之间，还有一种折中：越靠近输入的特征越通用，所以让学习率逐层递减，分类头以下第 $d$ 层
# 的学习率乘以 $\gamma^d$。`create_optimizer(..., layer_decay=0.75)` 就是这样做的，每个参数的深度由名字判断（Clark 等，
# 2020，ELECTRA；Bao 等，2022，BEiT）：

# %%
below = layers_below_head(transferred)
for name in ("patch_embedding.conv.weight", "transformer.layers.0.0.cell.1.qkv.weight", "norm.gamma", "dense.weight"):
    print(f"{name:42} {below[name]} layers below the head, rate x {0.75 ** below[name]:.2f}")

# %% [markdown] lang="en"
# ## 4. No training at all: least squares
#
# The quickest judgement of a representation, and the paper's for its few-shot numbers (section 4.1, *Metrics*): the
# network stays as it is, and a linear map from its representation to targets of $-1$ and $1$ is found in closed form.
# With $X \in \mathbb{R}^{n \times D}$ the representations of the $n$ training images, each column brought to mean 0 and
# variance 1, $Y \in \{-1, 1\}^{n \times K}$ the targets, $\bar Y$ their mean and a penalty $\lambda$:
#
# $$W = (X^\top X + \lambda I)^{-1} X^\top (Y - \bar Y), \qquad \text{scores} = X_{\text{new}} W + \bar Y$$
#
# Once the representations are there, it takes milliseconds, has no learning rate, and gives the same answer each
# time.

# %% [markdown] lang="zh"
# ## 4. 完全不训练：最小二乘
#
# 要快速评判一种表示的好坏，可以用论文测 few-shot 准确率的方法（4.1 节 *Metrics*）：网络保持不变，用闭式解求出从表示到目
# 标值 $-1$、$1$ 的线性映射。设 $X \in \mathbb{R}^{n \times D}$ 是 $n$ 张训练图像的表示，每一列都归一化为均值 0、方差
# 1；$Y \in \{-1, 1\}^{n \times K}$ 是目标，$\bar Y$ 是它的均值，$\lambda$ 是惩罚系数：
#
# $$W = (X^\top X + \lambda I)^{-1} X^\top (Y - \bar Y), \qquad \text{scores} = X_{\text{new}} W + \bar Y$$
#
# 有了表示之后，计算只要几毫秒，没有学习率，每次结果都相同。


# %%
def both_splits(represent):
    return {split: represent(split) for split in ("train", "test")}


def of_network(network):
    return both_splits(lambda split: features(network, eval_batches(target, split, preprocess(16), batch_size))[0])


def pixels(split):
    return np.stack([preprocess(16).prepare(image).ravel() for image in target.images[split]])


representations = {
    "pretrained": of_network(pretrained),
    "random network": of_network(create_model("vit_nano_4", num_classes=5)),
    "pixels": both_splits(pixels),
}
train_labels, test_labels = target.labels["train"], target.labels["test"]

chosen = choose(train_labels, 10, 0, target.classes).ravel()
known, asked = representations["pretrained"]["train"][chosen], representations["pretrained"]["test"]
classifier = least_squares().fit(known, train_labels[chosen])
mean, deviation = known.mean(axis=0), known.std(axis=0)
X, X_new = (known - mean) / deviation, (asked - mean) / deviation  # (50, 64), (180, 64)
Y = 2.0 * np.eye(5)[train_labels[chosen]] - 1.0  # (50, 5)
strength = classifier[-1].alpha_  # the package tries many and leaves each image out in turn
W = np.linalg.solve(X.T @ X + strength * np.eye(64), X.T @ (Y - Y.mean(axis=0)))
scores = X_new @ W + Y.mean(axis=0)
print(f"X {X.shape}, W {W.shape}, lambda {strength:g}")
print(f"by hand and by the package: max difference {np.abs(scores - classifier.decision_function(asked)).max():.1e}")

# %%
shots = (1, 2, 5, 10, 20, 50)
few_shot = {}
for name, found in representations.items():
    few_shot[name] = np.zeros((len(shots), 5))
    for row, number in enumerate(shots):
        for choice in range(5):
            chosen = choose(train_labels, number, choice, target.classes).ravel()
            fitted = least_squares().fit(found["train"][chosen], train_labels[chosen])
            few_shot[name][row, choice] = (fitted.predict(found["test"]) == test_labels).mean()

print("images a class  " + "".join(f"{number:7}" for number in shots))
for name, found in few_shot.items():
    print(f"{name:16}" + "".join(f"{value:7.1%}" for value in found.mean(axis=1)))

# %%
figure, axes = plt.subplots(figsize=(8, 3.8), layout="constrained")
names = (both("pretrained", "预训练"), both("random network", "随机网络"), both("pixels", "像素"))
styles = ((BLUE, "o-"), (GREY, "^:"), (ORANGE, "s--"))
for found, name, (colour, style) in zip(few_shot.values(), names, styles, strict=True):
    axes.plot(shots, found.mean(axis=1), style, color=colour, label=name)
    axes.fill_between(shots, found.min(axis=1), found.max(axis=1), color=colour, alpha=0.15, linewidth=0)
axes.axhline(0.2, color="black", linewidth=1, label=both("guessing", "随机猜测"))
axes.set_xscale("log")
axes.set_xticks(shots, shots)
axes.minorticks_off()
axes.set(
    xlabel=both("training images a class", "每类训练图像数"), ylabel=both("test accuracy", "测试准确率"), ylim=(0, 1)
)
axes.grid(alpha=0.3)
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
show(
    figure,
    "Least-squares accuracy of three representations against the number of training images a class.",
    "三种表示的最小二乘准确率随每类训练图像数的变化。",
)

# %% [markdown] lang="en"
# This is not the picture one hopes for, and the more worth a look. The pretrained network is better than a random
# one: what it learned from 0 to 4 is of use for 5 to 9. But the **pixels**, which no network has touched, are far
# better than both. Least squares on them, in milliseconds, also comes near the networks trained above on 10 images a
# class.
#
# There are reasons. The digits are centred and of one size, so that a linear map of pixels goes a long way; with
# photographs it would not get far. And 631 images of five classes teach a network to keep what tells these five apart
# and to drop the rest. Losses that press the representations of a class together, such as label smoothing, even add
# to that (Kornblith et al. 2021, [arXiv 2010.16402](https://arxiv.org/abs/2010.16402)). The paper pretrains on 1.3 to
# 303 million images of 1,000 to 21,000 classes.
#
# > **Often told wrong.** "Pretrained features are always better than none." They are as good as the pretraining was
# > broad and close to the task. Whether yours are is measured in a minute: least squares on the features, beside a
# > cheap representation and beside a random network. Without these two, two thirds right with 10 images a class would
# > look like a success.

# %% [markdown] lang="zh"
# 结果并不如人所愿，但正因如此更值得看。预训练网络好于随机网络：从 0 到 4 学到的东西，对 5 到 9 也有用。但是没有经过任
# 何网络的**像素**比两者都好得多；在像素上做最小二乘只要几毫秒，准确率却与上面用每类 10 张图像训练出来的网络相差不远。
#
# 这有几个原因。这些数字大小一致、位置居中，像素的线性映射就能做得很好，换成照片就远远不够。而且 631 张、五个类别的图
# 像，教会网络的是保留区分这五类所需的信息，丢掉其余的；标签平滑这类把同类样本压紧的损失函数还会加剧这一点（Kornblith
# 等，2021，[arXiv 2010.16402](https://arxiv.org/abs/2010.16402)）。论文的预训练数据则有 130 万到 3.03 亿张图像、1000
# 到 21000 个类别。
#
# > **常见误区。** “预训练特征总比没有好。” 它有多好，取决于预训练的数据有多广、与任务有多近。你手里的特征好不好，一分
# > 钟就能测出来：在特征上做最小二乘，并与一种廉价的表示、一个随机网络放在一起比较。没有这两个对照，每类 10 张图像就认对
# > 约三分之二，看上去倒像是成功了。

# %% [markdown] lang="en"
# ## 5. Larger images
#
# Fine-tuning is often done at a higher resolution than pretraining. The patch size stays, so there are more patches:
# from 16 to 32 pixels the grid grows from 4 × 4 to 8 × 8, the sequence from 17 to 65 tokens. Attention and MLP do not
# mind, for their weights know nothing of the number of tokens. The position embedding does: there are 16 learned
# vectors for 64 places. Section 3.2 of the paper **interpolates** them. With $e_{hw}$ the old vectors and a matrix $M$
# that says what each of the 8 new places along a side takes from the 4 old ones:
#
# $$e'_{ij} = \sum_{h=1}^{4} \sum_{w=1}^{4} M_{ih} M_{jw} \, e_{hw}$$
#
# The class token has no place, so its vector stays as it is. `load_weights` does all this by itself and says so.

# %% [markdown] lang="zh"
# ## 5. 更大的图像
#
# 微调时常用比预训练更高的分辨率。图像块边长不变，图像块就变多了：从 16 像素到 32 像素，网格从 4 × 4 变成 8 × 8，序列从
# 17 个 token 变成 65 个。注意力和 MLP 不受影响，它们的权重与 token 数无关；位置编码却不行：要给 64 个位置编码，学到的向
# 量只有 16 个。论文 3.2 节的办法是**插值**。设旧向量为 $e_{hw}$，矩阵 $M$ 表示每条边上 8 个新位置各从 4 个旧位置取多
# 少：
#
# $$e'_{ij} = \sum_{h=1}^{4} \sum_{w=1}^{4} M_{ih} M_{jw} \, e_{hw}$$
#
# 类别 token 没有位置，它的向量保持不变。这些 `load_weights` 都会自动完成，并在报告中说明。

# %%
large = create_model("vit_nano_4", image_size=32, num_classes=5)
random_start = values_of(large.get_parameters())
print(load_weights(large, weights))

M = resize_matrix(4, 8, "timm")  # (8, 4): bicubic
old = pretrained.pos_embedding.asnumpy()[0]  # (17, 64)
e = old[1:].reshape(4, 4, 64)
interpolated = np.einsum("ih,jw,hwd->ijd", M, M, e).reshape(64, 64)  # 64 places, D = 64
by_hand = np.concatenate([old[:1], interpolated])
print(f"by hand and by the package: max difference {np.abs(by_hand - large.pos_embedding.asnumpy()[0]).max():.1e}")


# %%
def mosaic(similarity):
    """The similarity maps of all places in one picture, with gaps of one pixel."""
    rows, columns = similarity.shape[:2]
    picture = np.full((rows * (rows + 1) - 1, columns * (columns + 1) - 1), np.nan)
    for row in range(rows):
        for column in range(columns):
            top, left = row * (rows + 1), column * (columns + 1)
            picture[top : top + rows, left : left + columns] = similarity[row, column]
    return picture


figure, panels = plt.subplots(1, 3, figsize=(10, 4), layout="constrained", width_ratios=(1, 2, 2))
panels[0].imshow(M, cmap="cividis")
for (new_place, old_place), value in np.ndenumerate(M):
    colour = "black" if value > 0.4 else "white"
    panels[0].text(old_place, new_place, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
panels[0].set(xticks=range(4), yticks=range(8), xlabel=both("old place", "旧位置"), ylabel=both("new place", "新位置"))
panels[0].set_title(both("matrix M", "矩阵"))
pictures = (position_similarity(pretrained), position_similarity(large))
titles = (both("4 x 4, learned", "学到的"), both("8 x 8, interpolated", "插值得到的"))
for axes, similarity, title in zip(panels[1:], pictures, titles, strict=True):
    drawn = axes.imshow(mosaic(similarity), cmap="viridis", vmin=-0.5, vmax=1)
    axes.set(xticks=[], yticks=[], title=title)
figure.colorbar(drawn, ax=panels[1:], shrink=0.7, label=both("cosine similarity", "余弦相似度"))
show(
    figure,
    "The interpolation matrix, and the similarity of position embeddings before and after it: 16 maps and 64 maps.",
    "插值矩阵，以及插值前后位置编码的相似度：16 张小图和 64 张小图。",
)

# %% [markdown] lang="en"
# Each small picture shows how similar one place is to all others. The 64 on the right have the pattern of the 16 on the
# left, finer. Does the network still work? Three starts, on the digits 0 to 4 with 32 × 32 pixels: all weights with
# interpolated positions; all weights, but positions drawn anew as at the start of a training; and everything random.

# %% [markdown] lang="zh"
# 每张小图表示一个位置与所有位置的相似度。右边 64 张的图案与左边 16 张相同，只是更细。网络还能正常工作吗？在 32 × 32 的
# 数字 0 到 4 上比较三种起点：全部权重加插值后的位置编码；全部权重，但位置编码回到训练前的随机初始值；全部随机。

# %%
loaded = values_of(large.get_parameters())
starts = {
    "interpolated": loaded,
    "random positions": loaded | {"pos_embedding": random_start["pos_embedding"]},
    "all random": random_start,
}
data = TrainBatches(source, preprocess(32), 64, affine)
large_test = eval_batches(source, "test", preprocess(32), batch_size)
step = make_step(large, data, epochs=3, lr=1e-3, warmup_epochs=1)
start, after = values_of(step.state().values()), {}
for name, values in starts.items():
    begin(step, start, values)
    after[name] = [accuracy(large, large_test)]
    with quiet:
        fit(step, data, 3, lambda done, name=name: after[name].append(accuracy(large, large_test)) or {})
print("accuracy after epoch      0       1       2       3")
for name, accuracies in after.items():
    print(f"{name:18}" + "".join(f"{value:8.1%}" for value in accuracies))

# %% [markdown] lang="en"
# With interpolated positions most digits are recognised without a single step at the new size, although each patch now
# sees only a quarter of what it saw before. With random positions most of that is lost, and after three epochs still
# not made up for; but the other weights are worth something even so, as the last row shows. And the
# interpolation takes but one line.
#
# What cannot be seen here is why one does it. These digits have 8 × 8 pixels at any size; photographs have detail that
# larger images bring in. The price is attention: $65^2 / 17^2 \approx 15$ times as many weights in each head.
#
# > **Often told wrong.** "A ViT takes images of any size." The encoder takes any number of tokens, but the position
# > embeddings are learned for one grid. And how one interpolates is part of the weights: the authors' code is bilinear
# > and keeps the corners in place, timm's is bicubic. `load_weights` does it as the source of a file does.

# %% [markdown] lang="zh"
# 位置编码插值之后，在新尺寸上一步都没有训练，大多数数字就能认对，尽管现在每个图像块看到的面积只有原来的四分之一。位置编
# 码随机初始化，大部分能力就丢掉了，三个 epoch 之后仍未补回来；不过与最后一行相比，其余权重还是有价值的。而插值只要一行
# 代码。
#
# 为什么要提高分辨率，这里看不出来：这些数字不管放多大，都只有 8 × 8 像素的内容；照片则不同，图像越大，细节越多。代价在
# 注意力上：每个头的权重数是原来的 $65^2 / 17^2 \approx 15$ 倍。
#
# > **常见误区。** “ViT 可以输入任意尺寸的图像。” 编码器确实能接受任意数量的 token，但位置编码是为一种网格学出来的。而
# > 且怎样插值也是权重的一部分：论文作者的代码用双线性插值并保持四角不动，timm 用双三次插值。`load_weights` 会按权重文件
# > 的来源选择相应的方法。

# %% [markdown] lang="en"
# ## 6. Other people's weights
#
# On real photographs you would not start from a network of your own but from one that was trained on ImageNet. Files of
# ViT weights differ in three ways, and each can go wrong without an error message:
#
# - **names and layouts**: every library has its own. `load_weights` knows those of timm, Hugging Face, Google, mindcv
#   and the official course, and translates;
# - **numerics**: the epsilon of LayerNorm and the kind of GELU. They are not in the arrays;
# - **input**: mean, standard deviation, interpolation and crop that the images had in training.
#
# Here are the names of one and the same array, the output projection of the first block's attention. Google's is
# transposed and split by heads.

# %% [markdown] lang="zh"
# ## 6. 使用别人的权重
#
# 处理真实照片时，起点通常不是自己的网络，而是在 ImageNet 上训练好的网络。不同来源的 ViT 权重文件有三点不同，每一点出错
# 时都可能没有任何报错：
#
# - **参数名与布局**：每个库都有自己的一套。`load_weights` 认识 timm、Hugging Face、Google、mindcv 和官方课程的命名，会
#   自动转换；
# - **数值细节**：LayerNorm 的 epsilon 和 GELU 的形式，它们不在权重数组里；
# - **输入**：训练时图像用的均值、标准差、插值方式和裁剪方式。
#
# 下面是同一个数组（第一层注意力的输出投影）在不同来源中的名字。Google 的布局还经过转置，并按头拆开。

# %%
out = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)  # (D, H d)
files = {
    "timm": {"blocks.0.norm1.weight": np.ones(64), "blocks.0.attn.proj.weight": out},
    "hf": {
        "vit.encoder.layer.0.attention.attention.query.weight": out,
        "vit.encoder.layer.0.attention.attention.key.weight": out,
        "vit.encoder.layer.0.attention.attention.value.weight": out,
        "vit.encoder.layer.0.attention.output.dense.weight": out,
    },
    "google": {
        "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/out/kernel": out.T.reshape(4, 16, 64)  # (H, d, D)
    },
}
for arrays in files.values():
    (found,) = recognise(arrays)
    ours = translated(found, arrays)["transformer.layers.0.0.cell.1.out.weight"]
    name = list(arrays)[-1]
    print(f"{found.name:6} {name} {arrays[name].shape}")
    print(f"       -> transformer.layers.0.0.cell.1.out.weight {ours.shape}, equal: {np.array_equal(ours, out)}")

# %% [markdown] lang="en"
# And these are the numerics. Our file says which it needs; a network with others refuses it. What would happen if it
# did not? The same weights with the other GELU give slightly other logits: no error, no crash, only numbers that are
# not those of the publisher.

# %% [markdown] lang="zh"
# 再看数值细节。我们的文件里写明了它需要哪一种，数值细节不同的网络会拒绝加载。如果不检查会怎样？同样的权重配上另一种
# GELU，logits 会略有不同：不报错，也不崩溃，只是算出来的不再是发布者的结果。

# %%
other = create_model("vit_nano_4", num_classes=5, numerics="google")
try:
    load_weights(other, weights)
except UserError as error:
    print(f"refused: {error}\n")

for ours, theirs in zip(pretrained.get_parameters(), other.get_parameters(), strict=True):
    theirs.set_data(Tensor(ours.asnumpy()))
batch = Tensor(np.stack([preprocess(16).prepare(image) for image in source.images["test"][:batch_size]]))
one, two = (network.set_train(False)(batch).asnumpy() for network in (pretrained, other))
print(
    f"logits with erf and with tanh GELU: max difference {np.abs(one - two).max():.4f}, of logits up to {one.max():.1f}"
)

# %% [markdown] lang="en"
# > **Often told wrong.** "The weights loaded without an error, so the network is the published one." Where missing
# > names are only a warning, a head or a whole block can keep its random values; where epsilon or GELU are the
# > framework's defaults, all logits are a little off. MindSpore's are epsilon 1e-7 and the tanh GELU; timm runs its
# > ViTs with 1e-6 and erf, Google's code with 1e-6 and tanh. Compare a few logits with the publisher's, or the accuracy
# > with the published one.
#
# With a network connection the first line of the next cell makes a ViT-B/16 for five classes of photographs from
# timm's weights, which are pretrained on ImageNet-21k and fine-tuned on ImageNet-1k; the head is new. The second line
# does the same with Google's weights, for images of 384 pixels. Each downloads about 350 MB, once. Remove a line's
# comment sign to run it.

# %% [markdown] lang="zh"
# > **常见误区。** “权重加载没有报错，网络就和发布的一样。” 如果缺少参数名只给一个警告，分类头、甚至整整一个编码器层
# > 都可能还是随机值；如果 epsilon 和 GELU 用的是框架默认值，所有 logits 都会有偏差。MindSpore 的默认值是 epsilon 1e-7
# > 和 tanh 形式的 GELU，timm 的 ViT 用 1e-6 和 erf 形式，Google 的代码用 1e-6 和 tanh 形式。请与发布者的几个 logits
# > 对比，或与公布的准确率对比。
#
# 有网络时，下面第一行代码用 timm 的权重（在 ImageNet-21k 上预训练，在 ImageNet-1k 上微调）创建一个用于五类照片的
# ViT-B/16，分类头是新的；第二行换成 Google 的权重，图像为 384 像素。每一行都要下载约 350 MB，只下载一次。去掉某一行的
# 注释符号即可运行。

# %%
# network = create_model("vit_b_16", pretrained="timm", num_classes=5)  # about 350 MB
# network = create_model("vit_b_16", pretrained="google", num_classes=5, image_size=384)  # 24 x 24 patches
print("nothing was downloaded")

# %% [markdown] lang="en"
# ## Summary
#
# - Transfer is: the weights, all but the head; a head of zeros; and a training with few steps.
# - Fine-tuning everything was better here than training only the head, and both started from what the pretraining had
#   left. Layer-wise learning rates lie between the two.
# - Least squares on frozen features needs no training and no learning rate. Compare with a cheap representation, such
#   as the pixels, before praising a network.
# - At a higher resolution the position embeddings are interpolated; the rest of the weights fits as it is.
# - Names, numerics and input must all be the publisher's. `load_weights` checks the first two; the third is up to you
#   (`vit_ms.pretrained.inputs` says what each publisher's is).
#
# ### Three questions
#
# <details><summary>1. With a head of zeros, why does the first gradient leave the backbone as it is?</summary>
#
# The gradient with respect to the representation $y$ is $W^\top \partial \mathcal{L} / \partial \text{logits}$, and
# $W$ is zero. The gradient of $W$ itself, an outer product of $\partial \mathcal{L} / \partial \text{logits}$ and
# $y$, is not, so the head moves in the first step and the backbone from the second on. (Weight decay moves the
# backbone a little all the same, here too, and so would an optimizer that carries old averages.)
# </details>
#
# <details><summary>2. ViT-B/16 was pretrained at 224 × 224 pixels and is fine-tuned at 384 × 384. How many position
# embeddings does it have before and after, and how much larger does an attention matrix become?</summary>
#
# $14^2 + 1 = 197$ before, $24^2 + 1 = 577$ after. An attention matrix grows from $197^2$ to $577^2$ entries, 8.6 times.
# The 196 vectors of the patches are interpolated to 576; that of the class token is kept.
# </details>
#
# <details><summary>3. A frozen ViT always gives the same representation of an image. How does that make training the
# head cheaper, and what is lost?</summary>
#
# Without augmentation the representations need to be computed only once, as `features` does it; then a step is one
# small matrix product, or there is the closed form. Lost are random views of the images, for each would need a forward
# pass of its own, and every adaptation of the features to the new task.
# </details>
#
# ### Where to go next
#
# - The same from a terminal: `python -m vit_ms train --config digits --ckpt_path FILE --ckpt_skip dense.` starts from
#   a file of weights; `python -m vit_ms few-shot --ckpt_path FILE` measures a run's checkpoint as section 4 does.
# - Without labels: `python -m vit_ms pretrain --config digits` trains on masked patches (section 4.6 of the paper), and
#   `python -m vit_ms masked-patches` measures what that gains.
# - Change something: pretrain on all ten digits with other labels (odd or even) and transfer to the ten classes; or
#   look at the representation before the last block.
# - Read [fewshot.py](../../vit_ms/fewshot.py), [resize.py](../../vit_ms/resize.py) and
#   [weights.py](../../vit_ms/weights.py); then [notebook 9](09_looking_inside.ipynb) opens a trained network.

# %% [markdown] lang="zh"
# ## 小结
#
# - 迁移就是：加载除分类头以外的全部权重，换上全零的分类头，再训练不多的步数。
# - 在这里，微调全部参数好于只训练分类头，两者都从预训练的结果出发。按层递减的学习率介于两者之间。
# - 在冻结的特征上做最小二乘，不需要训练，也没有学习率。称赞一个网络之前，先与像素这样的廉价表示比一比。
# - 分辨率提高时，位置编码需要插值，其余权重可以原样使用。
# - 参数名、数值细节和输入都必须与发布者一致。前两项由 `load_weights` 检查，第三项要靠自己（`vit_ms.pretrained.inputs`
#   列出了各发布者的输入要求）。
#
# ### 三道思考题
#
# <details><summary>1. 分类头全为零时，为什么第一步的梯度不会改变主干网络？</summary>
#
# 损失对表示 $y$ 的梯度是 $W^\top \partial \mathcal{L} / \partial \text{logits}$，而 $W$ 为零。$W$ 自己的梯度是
# $\partial \mathcal{L} / \partial \text{logits}$ 与 $y$ 的外积，并不为零，所以第一步的梯度只更新分类头，主干从第二步
# 才开始更新。（权重衰减仍会略微改变主干，这里也是如此；带着旧滑动平均的优化器同样会改变它。）
# </details>
#
# <details><summary>2. ViT-B/16 在 224 × 224 上预训练，在 384 × 384 上微调。前后各有多少个位置编码？注意力矩阵大了多
# 少？</summary>
#
# 之前 $14^2 + 1 = 197$ 个，之后 $24^2 + 1 = 577$ 个。注意力矩阵从 $197^2$ 个元素增加到 $577^2$ 个，是原来的 8.6 倍。图
# 像块的 196 个向量插值成 576 个，类别 token 的向量保持不变。
# </details>
#
# <details><summary>3. 主干冻结后，同一张图像的表示总是一样的。这怎样让训练分类头变得便宜？又失去了什么？</summary>
#
# 不做数据增强时，表示只需计算一次（`features` 就是这样做的），之后每一步只是一个很小的矩阵乘法，甚至可以直接用闭式解。
# 失去的是图像的随机变换（每个变换都要重新做一次前向计算），以及让特征适应新任务的可能。
# </details>
#
# ### 下一步
#
# - 在终端做同样的事：`python -m vit_ms train --config digits --ckpt_path FILE --ckpt_skip dense.` 从权重文件开始训
#   练；`python -m vit_ms few-shot --ckpt_path FILE` 用第 4 小节的方法评估一次训练得到的权重文件。
# - 不用标签：`python -m vit_ms pretrain --config digits` 用掩码图像块预训练（论文 4.6 节），
#   `python -m vit_ms masked-patches` 测量它带来的收益。
# - 改一处试试：给全部十个数字换一种标签（奇数或偶数）做预训练，再迁移到十个类别；或者看看最后一层之前的表示。
# - 阅读 [fewshot.py](../../vit_ms/fewshot.py)、[resize.py](../../vit_ms/resize.py) 和
#   [weights.py](../../vit_ms/weights.py)；[第 9 课](09_looking_inside.ipynb)会打开一个训练好的网络。
