# %% [markdown] lang="en"
# # Evaluation and inference
#
# "95 % accuracy" is the beginning of an evaluation. How far may chance have moved the number? Which images are wrong?
# Can the network's own probabilities be believed? What does it say of an image that is none of its classes? This
# notebook trains a small ViT on digits, works out every measure by hand in NumPy, and puts the network to use on
# image files.
#
# | | |
# |---|---|
# | Time | one to two minutes of computing on a CPU with two cores, 15 to 20 minutes of reading |
# | You need | NumPy; what training is ([notebook 1](01_five_minutes_to_vit.ipynb)); no download |
# | Paper | Guo et al. 2017, [arXiv 1706.04599](https://arxiv.org/abs/1706.04599); others in the text |

# %% [markdown] lang="zh"
# # 评估与推理
#
# “准确率 95%”只是评估的开始：这个数有多少是运气？错在哪些图像上？网络自己给出的概率可信吗？遇到不属于任何一类的图
# 像，它会怎么说？本节在手写数字上训练一个小型 ViT，用 NumPy 手工算出每一项指标，再用它识别图像文件。
#
# | | |
# |---|---|
# | 用时 | 双核 CPU 上计算一到两分钟，阅读 15 到 20 分钟 |
# | 基础 | 会用 NumPy，了解训练过程（[第 1 课](01_five_minutes_to_vit.ipynb)）；不需要下载任何数据 |
# | 论文 | Guo 等 2017，[arXiv 1706.04599](https://arxiv.org/abs/1706.04599)；其余见正文 |

# %% [markdown] lang="en"
# ## 1. Set up
#
# On Ascend nothing changes. The two trainings of section 2 take most of the time.

# %% [markdown] lang="zh"
# ## 1. 准备环境
#
# 在昇腾上代码不用改。大部分时间花在第 2 节的两次训练上。

# %%
import vit_ms  # before mindspore
import json
import shutil
from math import comb
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

from vit_ms import load_weights, runtime
from vit_ms.data.batches import eval_batches
from vit_ms.data.catalog import open_dataset
from vit_ms.engine import evaluate, log_probabilities
from vit_ms.recipe import load_recipe
from vit_ms.run import RunInfo
from vit_ms.training import train
from vit_ms.visualize import BLUE, GREEN, GREY, ORANGE, both, plot_confusion, plot_images, plot_predictions, show

runtime.setup(device_target="auto", mode="graph", seed=0)
folder = Path("runs/07_evaluation")  # everything is written here
shutil.rmtree(folder, ignore_errors=True)
vit_ms.doctor()

# %% [markdown] lang="en"
# ## 2. A run and what it leaves behind
#
# `train` carries out a recipe, as `python -m vit_ms train` does. Twenty epochs are a third of the digits recipe: the
# errors that are left are something to look at. The same is trained a second time without label smoothing; section 6
# compares the two.

# %% [markdown] lang="zh"
# ## 2. 一次训练留下了什么
#
# `train` 执行一份训练配方，与命令行 `python -m vit_ms train` 相同。20 个 epoch 是 digits 配方的三分之一，留下一些错误
# 正好用来分析。再用同样的设置训练一次，只去掉标签平滑，第 6 节比较两者。

# %%
for name, smoothing in {"smooth": 0.1, "hard": 0.0}.items():
    options = {"epoch_size": 20, "label_smoothing": smoothing, "ckpt_save_dir": str(folder / name)}
    train(load_recipe("digits", options))

# %% [markdown] lang="en"
# A run's folder has all that it takes to use the network later. `last.ckpt` holds the weights after the last epoch,
# `best.ckpt` those with the best validation accuracy, and **`run.json`** what the weights alone do not say: the model
# and its arguments, the names of the classes, the preprocessing. `RunInfo.read` finds it beside the checkpoint, its
# `network()` builds the network, and `load_weights` fills that, all or nothing.

# %% [markdown] lang="zh"
# 训练文件夹里有日后使用这个网络所需的一切：`last.ckpt` 是最后一个 epoch 的权重，`best.ckpt` 是验证准确率最高的权
# 重，**`run.json`** 则记录权重本身说不出来的内容：模型及其参数、类别名称、预处理方式。`RunInfo.read` 从权重旁边读取
# 它，`network()` 据此建立网络，`load_weights` 再把权重装进去，要么全部成功，要么什么都不改。

# %%
print("files:", ", ".join(sorted(path.name for path in (folder / "smooth").glob("[!.]*.*"))))
saved = json.loads((folder / "smooth/run.json").read_text())
for key in ("model", "overrides", "numerics", "classes"):
    print(f"{key:13} {saved[key]}")
for key in ("image_size", "mean", "std", "interpolation"):
    print(f"  {key:13} {saved['preprocessing'][key]}")

info = RunInfo.read(folder / "smooth/last.ckpt")
networks = {}
for name in ("smooth", "hard"):
    networks[name] = info.network()
    load_weights(networks[name], folder / name / "last.ckpt")
    networks[name].set_train(False)

# %% [markdown] lang="en"
# > **Often told wrong.** Two ways to an accuracy that does not hold. (1) The ViT notebook of the official MindSpore
# > course trains a network, and then evaluates the checkpoint that it *started* from: the number says nothing about the
# > training. Here the path in `load_weights` is that of the run. (2) The checkpoint with the best *test* accuracy is
# > reported. The best of many draws is lucky by construction. Choose on val, measure once on test.
#
# How much luck is there in (2)? Suppose twenty checkpoints, all of which would be right on 95 % of all digits in the
# world, and a test of 360 images. (Checkpoints of one run make similar errors, so the real effect is smaller, but it
# points upwards too.)

# %% [markdown] lang="zh"
# > **常见误区。** 有两种做法会得出靠不住的准确率。（1）MindSpore 官方课程的 ViT 教程训练完网络，评估的却是训练*之前*的
# > 权重，得到的数字与训练无关。这里传给 `load_weights` 的是这次训练自己的权重路径。（2）报告*测试*准确率最高的那个权
# > 重。多次抽取取最好的一次，必然带着运气。应当在验证集上选择，在测试集上只测一次。
#
# （2）里的运气有多大？假设有 20 个权重，面对全世界的数字准确率都是 95%，测试集有 360 张图像。（同一次训练的各个权重犯
# 的错误相近，实际影响会小一些，但方向总是偏高。）

# %%
rng = np.random.default_rng(0)
accuracies = rng.binomial(360, 0.95, size=(10_000, 20)) / 360  # 10,000 times twenty equally good checkpoints
print(f"mean of one {accuracies.mean():.2%}, mean of the best of twenty {accuracies.max(axis=1).mean():.2%}")

# %% [markdown] lang="en"
# That is why this notebook uses `last.ckpt`: nothing was chosen for it, so the validation digits are still fresh
# for sections 7 and 8, where a temperature and a threshold are chosen on them.
#
# ## 3. Top-1, top-5 and loss by hand
#
# The network gives logits $z \in \mathbb{R}^K$ for each image; $p = \text{softmax}(z)$. With the true class $y$,
#
# $$\text{top-}k = \frac{1}{n} \sum_{i=1}^{n} [\, y_i \text{ is among the } k \text{ largest of } p_i \,], \qquad
# \text{loss} = -\frac{1}{n} \sum_{i=1}^{n} \ln p_{i, y_i} \tag{1}$$
#
# `log_probabilities` gives $\ln p$. The last batch is short (180 = 2 · 64 + 52): it is filled up with copies to the
# compiled shape and the copies' answers are cut off. The cell checks that this, and the batch size altogether,
# changes no answer beyond rounding: each image goes through ViT on its own. (Batch normalisation in training mode
# would break this; ViT has none.)
#
# Of ten classes top-5 says little: a guess is right half of the time.

# %% [markdown] lang="zh"
# 正因如此，本节使用 `last.ckpt`：它没有经过任何挑选，验证集在第 7、8 节用来确定温度和阈值时仍是“新鲜”的。
#
# ## 3. 手工计算 top-1、top-5 和损失
#
# 网络对每张图像输出 logits $z \in \mathbb{R}^K$，$p = \text{softmax}(z)$。设真实类别为 $y$，
#
# $$\text{top-}k = \frac{1}{n} \sum_{i=1}^{n} [\, y_i \text{ 在 } p_i \text{ 最大的 } k \text{ 个之中} \,], \qquad
# \text{loss} = -\frac{1}{n} \sum_{i=1}^{n} \ln p_{i, y_i} \tag{1}$$
#
# `log_probabilities` 给出 $\ln p$。最后一个批次不满（180 = 2 · 64 + 52）：先用重复的图像补到已编译的形状，再把补上的结
# 果去掉。下面的代码验证，这样做以及改变批次大小都不影响任何一张图像的结果，差别只有舍入误差：在 ViT 中各张图像互不相
# 干。（训练模式下的批归一化会破坏这一点，而 ViT 没有批归一化。）
#
# 只有十类时，top-5 说明不了什么：随便猜也有一半能猜中。

# %%
digits = open_dataset("digits")


def answers(network, split, preprocessing=info.preprocessing, batch_size=64):
    """The logarithms of the probabilities of a split, (n, 10), and its labels, (n,)."""
    log_p, labels = [], []
    batches = eval_batches(digits, split, preprocessing, batch_size)
    for images, truth in batches.create_tuple_iterator(num_epochs=1, output_numpy=True):
        log_p.append(log_probabilities(network, images, batch_size))
        labels.append(truth)
    return np.concatenate(log_p), np.concatenate(labels)


network = networks["smooth"]
val_log_p, val_labels = answers(network, "val")
log_p, labels = answers(network, "test")  # (360, 10), (360,)

order = np.argsort(-log_p, axis=1)  # the likeliest class first
n = len(labels)
right = order[:, 0] == labels
result = evaluate(network, eval_batches(digits, "test", info.preprocessing, 64), examples=24)
metrics = result.metrics(digits.classes)
by_hand = {
    "top1": right.mean(),
    "top5": (order[:, :5] == labels[:, None]).any(axis=1).mean(),
    "loss": -log_p[np.arange(n), labels].mean(),
}
for name, value in by_hand.items():
    print(f"{name}  by hand {value:.4f}, evaluate {metrics[name]:.4f}, equal: {np.isclose(value, metrics[name])}")

other, _ = answers(network, "val", batch_size=50)  # batches of 50, 50, 50, 30
print(f"\nbatches of 64 and of 50: largest difference of ln p {abs(other - val_log_p).max():.0e}")

# %% [markdown] lang="en"
# ## 4. How much of it is chance?
#
# The 360 test digits are a sample. With another sample of the same kind the accuracy $\hat{p}$ would vary with the
# standard error $\sqrt{\hat{p} (1 - \hat{p}) / n}$. The customary interval $\hat{p} \pm 1.96$ standard errors is poor
# near 100 %: it may reach above 1, and for a network without an error it has length 0. The **Wilson interval** (1927)
# asks instead which true accuracies are compatible with what was seen, with $z = 1.96$ for 95 % (no logit here):
#
# $$\frac{1}{1 + z^2 / n} \left( \hat{p} + \frac{z^2}{2n} \pm z \sqrt{\frac{\hat{p} (1 - \hat{p})}{n} +
# \frac{z^2}{4 n^2}} \right) \tag{2}$$
#
# The **bootstrap** needs no formula: draw 360 of the 360 results with replacement, many times, and look at how the
# accuracy varies.

# %% [markdown] lang="zh"
# ## 4. 其中有多少是偶然？
#
# 360 张测试图像只是一个样本。换一批同类图像，准确率 $\hat{p}$ 会随之波动，标准误差是
# $\sqrt{\hat{p} (1 - \hat{p}) / n}$。常用的
# $\hat{p} \pm 1.96$ 倍标准误差在接近 100% 时很不准：上界可能超过 1，而一个错误都没有时，区间长度又成了 0。**Wilson
# 区间**（1927）换了一个问法：哪些真实准确率与观察到的结果相容？取 $z = 1.96$ 对应 95%（这里的 $z$ 不是 logits）：
#
# $$\frac{1}{1 + z^2 / n} \left( \hat{p} + \frac{z^2}{2n} \pm z \sqrt{\frac{\hat{p} (1 - \hat{p})}{n} +
# \frac{z^2}{4 n^2}} \right) \tag{2}$$
#
# **自助法**（bootstrap）不需要公式：从 360 个对错结果中有放回地抽 360 个，重复多次，看准确率怎样变动。


# %%
def wilson(p_hat, n, z=1.96):
    """Equation 2: the lower and upper end."""
    middle = p_hat + z**2 / (2 * n)
    half = z * np.sqrt(p_hat * (1 - p_hat) / n + z**2 / (4 * n**2))
    return np.array([middle - half, middle + half]) / (1 + z**2 / n)


accuracy = right.mean()
error = np.sqrt(accuracy * (1 - accuracy) / n)
drawn = rng.choice(right, size=(10_000, n)).mean(axis=1)
print(f"accuracy {accuracy:.2%}, {n - right.sum()} of {n} wrong, standard error {error:.2%}")
for name, (low, high) in {
    "1.96 standard errors": (accuracy - 1.96 * error, accuracy + 1.96 * error),
    "Wilson": wilson(accuracy, n),
    "bootstrap": np.quantile(drawn, (0.025, 0.975)),
}.items():
    print(f"{name:20}  {low:.2%} to {high:.2%}")

# %% [markdown] lang="en"
# The interval is several points long; by itself a difference of one point between two networks says little here. But
# two networks tested on the **same** images can be compared more sharply: only images that exactly one of them gets
# right count. If both were equally good, each of these would be a coin toss (McNemar's test in its exact form). A small
# p-value, say below 0.05, would speak for a difference. Neither the interval nor the test covers what another seed of
# the training would change: for that, train several times.

# %% [markdown] lang="zh"
# 这个区间有好几个百分点长，单凭一个百分点的差距，在这里分不出两个网络的高下。不过，在**同一批**图像上测试的两个网络可
# 以比得更细：只看两者一对一错的图像。如果两者水平相当，每一张这样的图像就像抛一次硬币（McNemar 检验的精确形式）；p 值
# 很小（比如小于 0.05），才有理由认为两者有差别。区间和检验都不包括换一个训练种子带来的变化，要了解后者，只能多训练几
# 次。

# %%
log_p_hard, _ = answers(networks["hard"], "test")
right_hard = log_p_hard.argmax(axis=1) == labels
only_smooth, only_hard = (right & ~right_hard).sum(), (right_hard & ~right).sum()
tosses = int(only_smooth + only_hard)
tail = sum(comb(tosses, k) for k in range(int(min(only_smooth, only_hard)) + 1)) / 2**tosses
print(f"with label smoothing {right.mean():.2%}, without {right_hard.mean():.2%}")
print(f"only the first is right on {only_smooth} images, only the second on {only_hard}: p = {min(1, 2 * tail):.2f}")

# %% [markdown] lang="en"
# ## 5. Where are the errors?
#
# The **confusion matrix** counts the images of true class $i$ (row) that were taken for class $j$ (column).

# %% [markdown] lang="zh"
# ## 5. 错在哪里？
#
# **混淆矩阵**第 $i$ 行第 $j$ 列，是真实类别为 $i$、被认成 $j$ 的图像张数。

# %%
confusion = np.zeros((10, 10), int)
np.add.at(confusion, (labels, order[:, 0]), 1)
print(f"sum of the diagonal / n = {np.trace(confusion) / n:.4f}")
pairs = [(confusion[i, j], i, j) for i in range(10) for j in range(10) if i != j and confusion[i, j]]
for count, i, j in sorted(pairs, reverse=True)[:3]:
    print(f"{count} times a {i} was taken for a {j}")
show(
    plot_confusion(labels, order[:, 0], digits.classes),
    "Confusion matrix of the ten digits; most counts are on the diagonal.",
    "十个数字的混淆矩阵，大多数计数在对角线上。",
)

# %% [markdown] lang="en"
# **Per-class accuracy** is a row's diagonal divided by its sum. A class has only 35 or so test images, so one image is
# almost three points: the whiskers are Wilson intervals, and most of them overlap. The mean over all images hides weak
# classes, and where classes have different numbers of images, it is mostly about the large ones; then say the mean of
# the classes beside it.

# %% [markdown] lang="zh"
# **各类准确率**是每行对角线上的数除以该行之和。每类只有 35 张左右测试图像，一张就接近三个百分点；图中的误差线是
# Wilson 区间，大多互相重叠。总准确率会掩盖薄弱的类别；各类图像数目悬殊时，它反映的主要是大类，这时应当同时给出各类准确
# 率的平均值。

# %%
per_class = np.diag(confusion) / confusion.sum(axis=1)  # (10,)
intervals = np.array([wilson(share, count) for share, count in zip(per_class, confusion.sum(axis=1), strict=True)])
print(f"by hand as evaluate says: {np.allclose(per_class, list(metrics['per_class'].values()))}")
print(f"mean of the classes {per_class.mean():.2%}, of the images {accuracy:.2%}")
figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
axes.errorbar(range(10), per_class, np.abs(intervals.T - per_class), fmt="o", color=BLUE, capsize=4)
axes.axhline(accuracy, color=ORANGE, linestyle="--", label=both("all images", "全部图像"))
axes.set(xticks=range(10), xlabel=both("digit", "数字"), ylabel=both("accuracy", "准确率"), ylim=(None, 1.02))
axes.legend(loc="lower right", bbox_to_anchor=(1, 1))
axes.grid(axis="y", alpha=0.3)
show(
    figure,
    "Accuracy of each digit as a dot with its Wilson interval, and the accuracy of all images as a line.",
    "每个数字的准确率（点）及其 Wilson 区间，虚线为全部图像的准确率。",
)

# %% [markdown] lang="en"
# Numbers do not say *why*. Look at the errors: wrong labels, unreadable images, a kind of image that training did not
# have. In brackets stands the probability that the network gives to its answer.

# %% [markdown] lang="zh"
# 数字说不出*为什么*。要看看错在什么图像上：标签错了？图像本身难以辨认？还是训练集中没有这一类图像？括号里是网络给自己
# 的答案的概率。

# %%
errors = [index for index in result.examples if not right[index]][:16]
shown = [result.examples.index(index) for index in errors]
show(
    plot_predictions(
        info.preprocessing.restore(result.example_images[shown]),
        predicted=[digits.classes[order[index, 0]] for index in errors],
        probabilities=np.exp(log_p[errors, order[errors, 0]]),
        labels=[digits.classes[labels[index]] for index in errors],
        title=both(f"Errors: {len(errors)} of {n - right.sum()}", "认错的图像"),
    ),
    "Test digits that the network gets wrong, with its answer, its probability and the true digit.",
    "网络认错的测试图像，附预测结果、概率和真实数字。",
)

# %% [markdown] lang="en"
# ## 6. Calibration: do the probabilities mean anything?
#
# A network is **calibrated** if, of all answers that it gives with confidence 0.8, 80 % are right, and so on for every
# other value. The confidence is $c_i = \max_k p_{i,k}$. Put the images into $M$ bins $B_1, \dots, B_M$ by confidence
# and compare in each bin the accuracy with the mean confidence. The **expected calibration error** is the mean gap,
# each bin weighted by its share of the images (Guo et al. 2017, section 2):
#
# $$\text{ECE} = \sum_{m=1}^{M} \frac{|B_m|}{n} \left| \text{acc}(B_m) - \text{conf}(B_m) \right| \tag{3}$$
#
# Even a perfectly calibrated network has an ECE above 0 on 360 images, because a bin of a few images is never exactly
# right. How much that is can be simulated: let each answer be right with exactly its confidence. An ECE is only worth
# talking about if it is well above this floor.

# %% [markdown] lang="zh"
# ## 6. 校准：这些概率可信吗？
#
# 如果在所有置信度为 0.8 的回答中，恰有 80% 是对的，对其他置信度也都如此，就说网络是**校准的**。置信度是
# $c_i = \max_k p_{i,k}$。把图像按置信度分进 $M$ 个区间 $B_1, \dots, B_M$，在每个区间里比较准确率与平均置信度，两者差距
# 按图像张数加权平均，就是**期望校准误差**（Guo 等 2017，第 2 节）：
#
# $$\text{ECE} = \sum_{m=1}^{M} \frac{|B_m|}{n} \left| \text{acc}(B_m) - \text{conf}(B_m) \right| \tag{3}$$
#
# 即使是完全校准的网络，在 360 张图像上的 ECE 也大于 0，因为只有几张图像的区间不可能分毫不差。这个下限可以模拟出来：让
# 每个回答恰好以它的置信度为概率答对。只有明显高于这个下限的 ECE 才值得讨论。


# %%
def bins_of(confidence, right, M=10):
    """For each bin: how many images, their accuracy and their mean confidence; empty bins have 0."""
    index = np.minimum((confidence * M).astype(int), M - 1)
    count = np.bincount(index, minlength=M)
    sums = np.bincount(index, right, M), np.bincount(index, confidence, M)
    return count, *(total / np.maximum(count, 1) for total in sums)


def ece(confidence, right):
    """Equation 3."""
    count, acc, conf = bins_of(confidence, right)
    return (count / count.sum() * abs(acc - conf)).sum()


def floor(confidence):
    """The mean ECE of a network that is calibrated and has these confidences."""
    return np.mean([ece(confidence, rng.random(len(confidence)) < confidence) for _ in range(300)])


test_log_p = {"smooth": log_p, "hard": log_p_hard}
print("label smoothing  accuracy  mean confidence    ECE  floor")
for name, values in test_log_p.items():
    confidence, hits = np.exp(values.max(axis=1)), values.argmax(axis=1) == labels
    row = f"{hits.mean():8.1%}  {confidence.mean():15.1%}  {ece(confidence, hits):5.3f}  {floor(confidence):5.3f}"
    print(f"{'0.1' if name == 'smooth' else 'none':15}  {row}")


# %%
def draw_reliability(axes, log_p, title):
    """A bar for each bin: the accuracy; the diagonal is calibration."""
    confidence, hits = np.exp(log_p.max(axis=1)), log_p.argmax(axis=1) == labels
    count, acc, conf = bins_of(confidence, hits)
    middle = np.arange(0.05, 1, 0.1)
    axes.bar(middle, acc, 0.1, color=BLUE, edgecolor="white")
    axes.plot(conf[count > 0], acc[count > 0], "o", color=ORANGE, label=both("mean confidence", "平均置信度"))
    axes.plot((0, 1), (0, 1), "--", color="black", label=both("calibrated", "完全校准"))
    for x, height, number in zip(middle, acc, count, strict=True):
        if number:
            axes.text(x, height + 0.02, number, ha="center", fontsize=8)
    axes.set(xlim=(0, 1), ylim=(0, 1.12), xlabel=both("confidence", "置信度"), ylabel=both("accuracy", "准确率"))
    axes.set_title(f"{title}: ECE {ece(confidence, hits):.3f}", fontsize=11)


figure, (left, middle) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
draw_reliability(left, log_p, both("smoothing 0.1", "标签平滑 0.1"))
draw_reliability(middle, log_p_hard, both("no smoothing", "无标签平滑"))
left.legend(loc="upper left", fontsize=8)
show(
    figure,
    "Reliability diagrams with and without label smoothing; with it most images are in bars above the diagonal.",
    "有无标签平滑的可靠性图；有标签平滑时，多数图像所在的柱子高于对角线。",
)

# %% [markdown] lang="en"
# The number on a bar is how many images the bin has; a bar of a few images says little. With label smoothing
# the network is **less sure than it is right**: its target never gave more than 0.9 to any class, which holds the
# confidence down even where the answer is as good as certain. (The distorted digits of training probably push the same
# way: they are harder than those of the test.) Label smoothing is often praised for better calibration, and for large
# networks that are too sure it does help (Müller et al. 2019, [arXiv 1906.02629](https://arxiv.org/abs/1906.02629)). It
# lowers the confidence, and whether that is towards the diagonal or away from it depends on where it was.
#
# ## 7. One parameter that mends it: the temperature
#
# Divide all logits by one number $T$ (Guo et al. 2017, section 4.2):
#
# $$p = \text{softmax}(z / T) \tag{4}$$
#
# $T > 1$ makes all answers less sure, $T < 1$ surer. The order of the classes stays, and so does every accuracy. $T$ is
# fitted by the loss (1) on the **validation** digits and then used on the test digits. ($\ln p$ serves as $z$: they
# differ by a number for each image, which softmax takes out.)

# %% [markdown] lang="zh"
# 柱上的数字是区间里的图像张数；只有几张图像的柱子说明不了什么。用了标签平滑的网络**实际比它自认为的更准**：训练目标给
# 任何一类的概率都不超过 0.9，即使是十拿九稳的图像，置信度也被压低了。（训练用的变形数字大概也起同样的作用：它们比测试
# 数字更难认。）常有人说标签平滑能改善校准；对过于自信的大网络，它确实有帮助（Müller 等 2019，
# [arXiv 1906.02629](https://arxiv.org/abs/1906.02629)）。但它只是把置信度往下压，究竟是压向对角线还是远离对角线，要看原
# 来在哪里。
#
# ## 7. 一个参数就能修正：温度
#
# 把所有 logits 除以同一个数 $T$（Guo 等 2017，4.2 节）：
#
# $$p = \text{softmax}(z / T) \tag{4}$$
#
# $T > 1$ 让所有回答更不自信，$T < 1$ 更自信。各类的先后顺序不变，所以准确率也不变。$T$ 在**验证集**上按损失（1）拟合，
# 再用到测试集上。（代码中用 $\ln p$ 充当 $z$：每张图像的两者只差一个常数，softmax 会把它消去。）


# %%
def with_temperature(z, T):
    """ln p of equation 4."""
    z = z / T
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def loss_of(log_p, labels):
    """Equation 1."""
    return -log_p[np.arange(len(labels)), labels].mean()


temperatures = np.geomspace(0.2, 5, 400)
val = {"smooth": val_log_p, "hard": answers(networks["hard"], "val")[0]}
T = {}
print("label smoothing      T  test loss before  after  ECE before  after  top-1 the same")
for name, z in test_log_p.items():
    T[name] = temperatures[np.argmin([loss_of(with_temperature(val[name], t), val_labels) for t in temperatures])]
    after = with_temperature(z, T[name])
    hits = z.argmax(axis=1) == labels
    losses = loss_of(z, labels), loss_of(after, labels)
    errors = [ece(np.exp(values.max(axis=1)), hits) for values in (z, after)]
    same = np.array_equal(z.argmax(axis=1), after.argmax(axis=1))
    row = f"{T[name]:5.2f}  {losses[0]:16.3f}  {losses[1]:5.3f}  {errors[0]:10.3f}  {errors[1]:5.3f}  {same}"
    print(f"{'0.1' if name == 'smooth' else 'none':15}  {row}")

calibrated = with_temperature(log_p, T["smooth"])
figure, (left, middle) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
left.plot(temperatures, [loss_of(with_temperature(val_log_p, t), val_labels) for t in temperatures], color=BLUE)
left.axvline(T["smooth"], color=ORANGE, linestyle="--", label=f"T = {T['smooth']:.2f}")
left.set(xscale="log", xlabel="T", ylabel=both("validation loss", "验证损失"), title=both("The fit", "拟合"))
left.set_xticks((0.2, 0.5, 1, 2, 5), ("0.2", "0.5", "1", "2", "5"))
left.minorticks_off()
left.legend()
left.grid(alpha=0.3)
draw_reliability(middle, calibrated, both("with T, test", "加温度后"))
show(
    figure,
    "Validation loss over the temperature with its minimum, and the reliability diagram of the test digits with it.",
    "验证损失随温度变化的曲线及最小值，以及使用该温度后测试集的可靠性图。",
)

# %% [markdown] lang="en"
# ## 8. Saying "I do not know"
#
# A confidence is useful if it sorts right answers before wrong ones. Answer only where $c \ge t$ and hand the rest to a
# human: **coverage** is the share that is answered, and the accuracy on it should rise as coverage falls. The threshold
# $t$ is chosen on validation digits (here: the lowest one with at least 99 % right among those answered) and used on
# test; what was found on 180 images need not hold exactly on others.

# %% [markdown] lang="zh"
# ## 8. 学会说“不知道”
#
# 置信度有用，在于它能把对的回答排在错的前面。只在 $c \ge t$ 时回答，其余交给人工：**覆盖率**是作答的比例，覆盖率越低，
# 作答部分的准确率应当越高。阈值 $t$ 在验证集上选定（这里取作答部分至少 99% 正确的最低阈值），再用到测试集上；在 180 张
# 图像上成立的，在别的图像上不一定恰好成立。


# %%
def coverage_curve(log_p, labels):
    """Thresholds from sure to unsure, and the coverage and accuracy of each."""
    confidence, hits = np.exp(log_p.max(axis=1)), log_p.argmax(axis=1) == labels
    surest = np.argsort(-confidence)
    answered = np.arange(1, len(labels) + 1)
    return confidence[surest], answered / len(labels), np.cumsum(hits[surest]) / answered


thresholds, val_coverage, val_accuracy = coverage_curve(with_temperature(val_log_p, T["smooth"]), val_labels)
t = thresholds[np.flatnonzero(val_accuracy >= 0.99)[-1]]
confidence = np.exp(calibrated.max(axis=1))
kept = confidence >= t
print(f"threshold {t:.3f} from val; on test {kept.mean():.1%} are answered, {right[kept].mean():.2%} of them rightly")
print(f"errors: {(~right).sum()} in all, {(~right & kept).sum()} among the answered")

_, coverage, covered_accuracy = coverage_curve(calibrated, labels)
figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
axes.plot(val_coverage, val_accuracy, color=GREY, linestyle="--", label="val")
axes.plot(coverage, covered_accuracy, color=BLUE, label="test")
axes.plot(kept.mean(), right[kept].mean(), "o", color=ORANGE, label=both("threshold from val", "验证集选的阈值"))
axes.set(xlabel=both("coverage", "覆盖率"), ylabel=both("accuracy", "作答准确率"), xlim=(0, 1.01))
axes.grid(alpha=0.3)
axes.legend(loc="lower left")
show(
    figure,
    "Accuracy of the answered digits against the share answered: it falls as more of the unsure ones are answered.",
    "作答部分的准确率随覆盖率的变化：回答的没把握的图像越多，准确率越低。",
)

# %% [markdown] lang="en"
# ## 9. Inference on files, and the preprocessing again
#
# The package brings ten digits as PNG files. Inference is five lines: read the file, prepare it **with the
# preprocessing of run.json**, stack, ask, name the class. `python -m vit_ms predict --ckpt_path ... --images ...`
# does the same, without the temperature, and draws the answers.

# %% [markdown] lang="zh"
# ## 9. 识别图像文件，再谈预处理
#
# vit_ms 自带十张 PNG 格式的数字图像。推理只要五步：读文件，**按 run.json 中的预处理**处理，堆成批次，送入网络，写出类
# 别名称。命令行 `python -m vit_ms predict --ckpt_path ... --images ...` 做的是同样的事（不用温度），并画出结果。

# %%
files = sorted((Path(vit_ms.__file__).parent / "data/samples/digits").glob("*.png"))
pictures = [info.preprocessing.read_image(file) for file in files]  # (8, 8, 1) uint8 each
batch = np.stack([info.preprocessing.prepare(picture) for picture in pictures])  # (10, 1, 16, 16)
p = np.exp(with_temperature(log_probabilities(network, batch, batch_size=64), T["smooth"]))  # (10, 10)
names = [f"{info.classes[row.argmax()]} ({row.max():.0%})" for row in p]
show(
    plot_images(pictures, names, columns=10, heading=both("Files and answers", "图像文件与回答")),
    "Ten digit files, 0 to 9, each with the network's answer and its probability.",
    "十个数字图像文件（0 到 9），附网络的回答和概率。",
)

# %% [markdown] lang="en"
# Now the same network and the same test digits with another preprocessing. None of these mistakes raises an error: the
# shape is right, the type is right, and an answer comes out.

# %% [markdown] lang="zh"
# 下面网络不变，测试图像不变，只换预处理。这些错误没有一个会报错：形状对，类型对，也照样有回答。

# %%
pre = info.preprocessing
ways = {
    both("as in training", "与训练一致"): lambda x: x,
    both("0 to 1, not -1 to 1", "未归一化"): lambda x: (x + 1) / 2,
    both("0 to 255", "未除以 255"): lambda x: (x + 1) / 2 * 255,
    both("dark on white", "白底黑字"): lambda x: -x,
    both("mirrored", "左右镜像"): lambda x: x[..., ::-1],
}
batches = eval_batches(digits, "test", pre, 64).create_tuple_iterator(num_epochs=1, output_numpy=True)
images = np.concatenate([images for images, _ in batches])  # (360, 1, 16, 16)
found = {}
for name, change in ways.items():
    changed = np.ascontiguousarray(change(images), np.float32)
    parts = [log_probabilities(network, changed[start : start + 64], 64) for start in range(0, n, 64)]
    values = np.concatenate(parts)
    found[name] = (values.argmax(axis=1) == labels).mean(), np.exp(values.max(axis=1)).mean()

figure, axes = plt.subplots(figsize=(8, 2.9), layout="constrained")
for number, (label, colour) in enumerate(((both("accuracy", "准确率"), BLUE), (both("confidence", "置信度"), ORANGE))):
    places = np.arange(len(found)) + 0.4 * (number - 0.5)
    bars = axes.barh(places, [pair[number] for pair in found.values()], 0.38, color=colour, label=label)
    axes.bar_label(bars, fmt="{:.0%}", padding=2, fontsize=9)
axes.set_yticks(range(len(found)), found)
axes.set(xlim=(0, 1.1), xticks=[])
axes.invert_yaxis()
axes.legend(loc="lower right")
show(
    figure,
    "Accuracy and mean confidence for five preprocessings; only that of the training has a high accuracy.",
    "五种预处理下的准确率和平均置信度；只有与训练一致的准确率高。",
)

# %% [markdown] lang="en"
# "Dark on white" is what happens to everyone who photographs a digit on paper: training saw bright ink on black. In
# most rows the confidence falls far less than the accuracy: it is no alarm.
#
# ## 10. An image that is no digit
#
# Softmax divides by the sum over the ten classes: $\sum_k p_k = 1$ for *every* input. It says which of the ten is
# likeliest **if it is one of them**. There is no place in it for "none". The cell asks the network about patches of
# two photographs and about random pixels.

# %% [markdown] lang="zh"
# 凡是拍纸上的数字，都会碰到“白底黑字”的情形，而训练时看到的是黑底亮字。多数情况下，置信度的下降远小于准确率，它不会
# 替你报警。
#
# ## 10. 不是数字的图像
#
# softmax 要除以十个类别之和，所以对*任何*输入都有 $\sum_k p_k = 1$。它回答的是：**如果是这十类之一**，哪一类最可能。其
# 中没有“都不是”的位置。下面让网络识别两张照片的局部和随机像素。


# %%
def patches_of(photograph, count):
    """Random grey patches of 64 x 64 pixels, every eighth pixel of them: (count, 8, 8, 1) uint8, as the digits are."""
    grey = photograph.mean(axis=2)
    corners = rng.integers(np.array(grey.shape) - 64, size=(count, 2))
    return np.array([grey[y : y + 64 : 8, x : x + 64 : 8, None] for y, x in corners]).astype(np.uint8)


strangers = {
    both("photograph", "照片"): np.concatenate(
        [patches_of(load_sample_image(name), 90) for name in ("flower.jpg", "china.jpg")]
    ),
    both("random pixels", "随机像素"): rng.integers(0, 256, (180, 8, 8, 1)).astype(np.uint8),
}
confidences = {both("test digits", "测试数字"): confidence}
examples, titles = [], []
for name, unknown in strangers.items():
    prepared = np.stack([pre.prepare(image) for image in unknown])
    parts = [log_probabilities(network, prepared[start : start + 64], 64) for start in range(0, len(prepared), 64)]
    p = np.exp(with_temperature(np.concatenate(parts), T["smooth"]))
    confidences[name] = p.max(axis=1)
    surest = np.argsort(-p.max(axis=1))[:5]
    examples += list(unknown[surest])
    titles += [f"{info.classes[p[index].argmax()]} ({p[index].max():.0%})" for index in surest]
    print(f"{name}: {(p.max(axis=1) >= t).mean():.0%} are at or above the threshold of section 8")

heading = both("Taken for digits: five patches, five of random pixels", "被当成数字")
show(
    plot_images(examples, titles, columns=10, heading=heading),
    "Five patches of photographs and five images of random pixels with the digits that the network takes them for.",
    "五个照片局部和五张随机像素图像，附网络认成的数字和概率。",
)

# %%
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
for (name, values), colour in zip(confidences.items(), (BLUE, ORANGE, GREEN), strict=True):
    edges = np.linspace(0, 1, 21)
    weights = np.full(len(values), 1 / len(values))
    axes.hist(values, edges, weights=weights, histtype="step", linewidth=2, color=colour, label=name)
axes.axvline(t, color="black", linestyle="--", label=both("threshold", "阈值"))
axes.set(xlabel=both("confidence", "置信度"), ylabel=both("share", "比例"), xlim=(0, 1))
axes.legend(loc="upper left")
show(
    figure,
    "Histograms of the confidence for test digits, photograph patches and random pixels, with the threshold.",
    "测试数字、照片局部、随机像素的置信度直方图，虚线为阈值。",
)

# %% [markdown] lang="en"
# The strangers are less sure on average, and the threshold keeps many of them out: the largest probability is the
# simplest detector of such images (Hendrycks & Gimpel 2017, [arXiv 1610.02136](https://arxiv.org/abs/1610.02136)).
# But the shares printed above get through, some with a confidence that a digit would be proud of. Calibration does not
# help: it was measured on digits, and promises something about digits only. Who must reject other images needs examples
# of them to measure the rejection on.

# %% [markdown] lang="zh"
# 这些“外来者”的平均置信度较低，阈值能挡住其中许多：用最大概率来判断，是最简单的检测方法（Hendrycks 与 Gimpel
# 2017，[arXiv 1610.02136](https://arxiv.org/abs/1610.02136)）。但仍有上面打印出的那么多混了过去，有的置信度不亚于真正的
# 数字。校准也帮不上忙：它是在数字上测的，只对数字有意义。如果必须拒绝其他图像，就要有这类图像的样本，用它们来测量拒绝的
# 效果。

# %% [markdown] lang="en"
# ## Summary
#
# - Evaluate the weights that were trained, on images on which nothing was chosen; `run.json` keeps model, classes and
#   preprocessing beside them.
# - An accuracy needs its interval: on 360 images it is several points long. Compare two networks on the images where
#   they differ.
# - Confusion matrix, per-class accuracy and the errors themselves say where; the interval of a class is longer still.
# - Confidence is not accuracy. A temperature, fitted on val, mends the average and changes no answer; a threshold
#   trades coverage for accuracy.
# - Another preprocessing destroys the accuracy without an error, and softmax always answers.
#
# ### Three questions
#
# <details><summary>1. A network gets all 360 test digits right. What does equation 2 say?</summary>
#
# With $\hat{p} = 1$ the upper end is 1 and the lower end $1 / (1 + z^2 / n) = 1 / (1 + 3.84 / 360) \approx 98.9\ \%$.
# So "100 %" is compatible with about one error in a hundred.
# </details>
#
# <details><summary>2. Why is T fitted by the loss and not by the accuracy or by the ECE?</summary>
#
# The accuracy does not depend on T at all. The ECE jumps whenever an image changes its bin, depends on the bins, and
# is 0 too for a network that always says the overall accuracy. The loss is smooth, and its expectation is smallest
# when the probabilities are the true ones.
# </details>
#
# <details><summary>3. One image in 1,000 shows a rare disease. A network says "healthy" always. What are its
# accuracy, the mean of the class accuracies, and its ECE if its confidence is 0.999?</summary>
#
# 99.9 %, 50 %, and about 0: the confidence is as high as the accuracy. Only the per-class accuracy (0 % for the
# disease) shows that it is useless.
# </details>
#
# ### Where to go next
#
# - The same from a terminal: `python -m vit_ms eval --ckpt_path runs/07_evaluation/smooth/last.ckpt` writes
#   `metrics.json`, the confusion matrix and the errors beside the weights.
# - [Notebook 8](08_transfer.ipynb) starts from trained weights; [notebook 9](09_looking_inside.ipynb) asks the
#   network what it looked at.
# - Train with a smoothing of 0.02, or 60 epochs, and repeat sections 6 and 7 on the validation digits.
# - Read the code: [engine.py](../../vit_ms/engine.py) (`evaluate`, `log_probabilities`), [run.py](../../vit_ms/run.py),
#   [predict.py](../../vit_ms/predict.py).

# %% [markdown] lang="zh"
# ## 小结
#
# - 评估的必须是训练得到的权重，所用图像上没有做过任何选择；`run.json` 把模型、类别和预处理与权重保存在一起。
# - 准确率要带上区间：360 张图像的区间有好几个百分点长。比较两个网络，要看它们有分歧的图像。
# - 混淆矩阵、各类准确率和错误图像本身说明错在哪里；单个类别的区间更长。
# - 置信度不是准确率。在验证集上拟合的温度能修正平均偏差，而不改变任何答案；阈值用覆盖率换取准确率。
# - 换一种预处理会毁掉准确率却不报错，而 softmax 总会给出回答。
#
# ### 三道思考题
#
# <details><summary>1. 一个网络把 360 张测试图像全部答对，由公式（2），它的真实准确率可能是多少？</summary>
#
# $\hat{p} = 1$ 时上界为 1，下界为 $1 / (1 + z^2 / n) = 1 / (1 + 3.84 / 360) \approx 98.9\ \%$。所以“100%”与大约每百
# 张错一张并不矛盾。
# </details>
#
# <details><summary>2. 为什么按损失拟合 T，而不是按准确率或 ECE？</summary>
#
# 准确率与 T 无关。ECE 在图像换区间时会跳变，取决于怎样分区间，而且一个永远只报总体准确率的网络，ECE 也是 0。损失是光滑
# 的，概率等于真实概率时，它的期望最小。
# </details>
#
# <details><summary>3. 每 1000 张影像有一张显示罕见病，某网络永远答“健康”，置信度 0.999。它的准确率、各类准确率
# 的平均值和 ECE 是多少？</summary>
#
# 分别是 99.9%、50% 和大约 0：置信度与准确率一样高。只有各类准确率（罕见病为 0%）能看出它毫无用处。
# </details>
#
# ### 下一步
#
# - 在终端做同样的事：`python -m vit_ms eval --ckpt_path runs/07_evaluation/smooth/last.ckpt` 会把 `metrics.json`、混淆
#   矩阵和错误图像写到权重旁边。
# - [第 8 课](08_transfer.ipynb) 从训练好的权重出发；[第 9 课](09_looking_inside.ipynb) 看网络在关注什么。
# - 把标签平滑改为 0.02，或训练 60 个 epoch，在验证集上重做第 6、7 节。
# - 读代码：[engine.py](../../vit_ms/engine.py)（`evaluate`、`log_probabilities`）、[run.py](../../vit_ms/run.py)、
#   [predict.py](../../vit_ms/predict.py)。
