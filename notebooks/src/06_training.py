# %% [markdown] lang="en"
# # Training: loss, optimizer, schedule and the compiled step
#
# Every part of a training run, each built by hand in NumPy, checked against the package's, and then put together: the
# loss with label smoothing, AdamW, the learning-rate schedule, gradient accumulation and clipping, the step that graph
# mode compiles, and mixed precision. At the end the same network is trained three times with different learning rates.
#
# | | |
# |---|---|
# | Time | about two minutes of computing on a CPU with two cores, 20 minutes of reading |
# | You need | [notebook 1](01_five_minutes_to_vit.ipynb), NumPy, and what a gradient is |
# | Paper | Loshchilov & Hutter 2019, AdamW, [arXiv 1711.05101](https://arxiv.org/abs/1711.05101), and those below |
#
# The others: label smoothing, Szegedy et al. 2016 ([1512.00567](https://arxiv.org/abs/1512.00567)); Adam, Kingma & Ba
# 2015 ([1412.6980](https://arxiv.org/abs/1412.6980)); the cosine, Loshchilov & Hutter 2017
# ([1608.03983](https://arxiv.org/abs/1608.03983)); clipping, Pascanu et al. 2013
# ([1211.5063](https://arxiv.org/abs/1211.5063)); mixed precision, Micikevicius et al. 2018
# ([1710.03740](https://arxiv.org/abs/1710.03740)).

# %% [markdown] lang="zh"
# # 训练：损失、优化器、学习率曲线与编译后的训练步
#
# 一次训练的每个部件，先用 NumPy 手写，再与 `vit_ms` 核对，最后组装起来：带标签平滑的损失、AdamW、学习率曲线、梯度累积
# 与梯度裁剪、由图模式编译的训练步，以及混合精度。最后用三种学习率训练同一个网络。
#
# | | |
# |---|---|
# | 用时 | 双核 CPU 上计算约两分钟，阅读 20 分钟 |
# | 基础 | [第 1 课](01_five_minutes_to_vit.ipynb)，会用 NumPy，知道什么是梯度 |
# | 论文 | Loshchilov 与 Hutter 2019，AdamW，[arXiv 1711.05101](https://arxiv.org/abs/1711.05101)，以及下列各篇 |
#
# 其余论文：标签平滑，Szegedy 等 2016（[1512.00567](https://arxiv.org/abs/1512.00567)）；Adam，Kingma 与 Ba 2015
# （[1412.6980](https://arxiv.org/abs/1412.6980)）；余弦衰减，Loshchilov 与 Hutter 2017
# （[1608.03983](https://arxiv.org/abs/1608.03983)）；梯度裁剪，Pascanu 等 2013
# （[1211.5063](https://arxiv.org/abs/1211.5063)）；混合精度，Micikevicius 等 2018
# （[1710.03740](https://arxiv.org/abs/1710.03740)）。

# %% [markdown] lang="en"
# ## 1. Set up
#
# The first half looks at single operations, so it runs in PyNative mode, where nothing is compiled. Section 6 changes
# to graph mode.

# %% [markdown] lang="zh"
# ## 1. 准备环境
#
# 前一半只看单个运算，所以用动态图模式（PyNative），无须编译。第 6 部分切换到图模式。

# %%
import vit_ms  # before mindspore
import time

import matplotlib.pyplot as plt
import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from vit_ms import create_model, runtime
from vit_ms.data.batches import TrainBatches, eval_batches
from vit_ms.data.catalog import open_dataset
from vit_ms.data.transforms import Augmentation, Preprocessing
from vit_ms.engine import TrainStep, clip_by_global_norm, evaluate, fit
from vit_ms.losses import CrossEntropySmooth
from vit_ms.optim import create_optimizer, decay_groups, learning_rates
from vit_ms.visualize import BLUE, GREEN, GREY, ORANGE, RED, both, show

runtime.setup(device_target="auto", mode="pynative", seed=0)
vit_ms.doctor()

# %%
digits = open_dataset("digits")
preprocessing = Preprocessing(image_size=16, channels=1, mean=[0.5], std=[0.5], interpolation="bicubic", crop_pct=1.0)
train_data = TrainBatches(digits, preprocessing, 64, Augmentation("affine"))
val_data = eval_batches(digits, "val", preprocessing, 64)
images, labels = next(train_data.epoch(1))


def new_network():
    """The same initial weights every time."""
    ms.set_seed(0)
    return create_model("vit_nano_4").set_train()


print(f"a batch: images {images.shape}, labels {labels.shape}; {train_data.batches} batches an epoch")

# %% [markdown] lang="en"
# ## 2. The loss
#
# The network gives $K$ logits $y_k$, softmax makes probabilities $p_k$ of them, and cross entropy compares these with a
# target $q$:
#
# $$p_k = \frac{e^{y_k}}{\sum_j e^{y_j}}, \qquad \mathcal{L} = - \sum_{k=1}^{K} q_k \ln p_k \tag{1}$$
#
# Without label smoothing $q$ is 1 for the label and 0 elsewhere. With a smoothing of $s$ it is
#
# $$q_{\text{label}} = 1 - s, \qquad q_k = \frac{s}{K - 1} \;\text{ for the others.} \tag{2}$$

# %% [markdown] lang="zh"
# ## 2. 损失函数
#
# 网络输出 $K$ 个 logits $y_k$，softmax 把它们变成概率 $p_k$，交叉熵把概率与目标分布 $q$ 比较：
#
# $$p_k = \frac{e^{y_k}}{\sum_j e^{y_j}}, \qquad \mathcal{L} = - \sum_{k=1}^{K} q_k \ln p_k \tag{1}$$
#
# 不做标签平滑时，$q$ 在正确类别上为 1，其余为 0。平滑系数为 $s$ 时：
#
# $$q_{\text{label}} = 1 - s, \qquad q_k = \frac{s}{K - 1} \;\text{（其余类别）} \tag{2}$$

# %%
K, s = 10, 0.1
logits = new_network()(images)  # (B, K)

y = logits.asnumpy().astype(np.float64)
y = y - y.max(axis=1, keepdims=True)  # softmax stays the same, and no exponential overflows
log_p = y - np.log(np.exp(y).sum(axis=1, keepdims=True))  # (B, K)
q = np.full((64, K), s / (K - 1))  # equation 2
q[np.arange(64), labels.asnumpy()] = 1 - s
loss = -(q * log_p).sum(axis=1).mean()  # equation 1

package = float(CrossEntropySmooth(smooth_factor=s, num_classes=K)(logits, labels))
native = float(ops.cross_entropy(logits, labels, label_smoothing=s * K / (K - 1)))
lowest = -(1 - s) * np.log(1 - s) - s * np.log(s / (K - 1))
print(f"by hand                                     {loss:.6f}")
print(f"CrossEntropySmooth, s = 0.1                 {package:.6f}")
print(f"ops.cross_entropy, label_smoothing = 0.111  {native:.6f}")
print(f"equal probabilities, ln K                   {np.log(K):.6f}")
print(f"the lowest value for s = 0.1                {lowest:.6f}")

# %%
figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
p = np.linspace(0.05, 0.9995, 2000)  # of the label; the others share the rest
for smoothing, colour, style in ((0.0, BLUE, "-"), (0.1, ORANGE, "--"), (0.2, GREEN, ":")):
    curve = -(1 - smoothing) * np.log(p) - smoothing * np.log((1 - p) / (K - 1))
    axes.plot(p, curve, style, color=colour, linewidth=2, label=f"s = {smoothing}")
    if smoothing:
        axes.plot(1 - smoothing, curve.min(), "o", color=colour)
        axes.annotate(
            f"{curve.min():.3f}", (1 - smoothing, curve.min()), (0, 8), textcoords="offset points", ha="center"
        )
axes.set(xlabel=both("probability of the label", "正确类别的概率"), ylabel=both("loss", "损失"), ylim=(0, 3.2))
axes.set_title(both("With smoothing, being surer is worse", "标签平滑：过于自信反而更差"))
axes.legend()
axes.grid(alpha=0.3)
show(
    figure,
    "Loss over the probability of the right class: without smoothing it falls to zero, with it it has a minimum.",
    "损失随正确类别概率的变化：不平滑时一直降到零，平滑时在此之前有最小值。",
)

# %% [markdown] lang="en"
# The loss is lowest where $p = q$, and there it is the entropy of $q$: $-(1-s) \ln (1-s) - s \ln \frac{s}{K-1}$. To go
# on from there towards $p = 1$ the logits would have to grow without end; smoothing takes away the reason to do so.
#
# > **Often told wrong.** "Label smoothing 0.1" is two things. Here, and in the course's loss, the *other* classes share
# > $s$ (equation 2). The paper (section 7), PyTorch, timm and `ops.cross_entropy` share it among *all* classes, the
# > label too; their $s$ is ours times $K / (K - 1)$, as the cell shows. And a training loss that stays at 0.545 is not
# > stuck: with $s = 0.1$ and ten classes nothing lower exists. Losses can only be compared for the same $s$.

# %% [markdown] lang="zh"
# 损失在 $p = q$ 处最小，最小值就是 $q$ 的熵：$-(1-s) \ln (1-s) - s \ln \frac{s}{K-1}$。若要继续逼近 $p = 1$，logits 就
# 得无限增大；标签平滑使这样做不再有好处。
#
# > **常见误区。** “标签平滑 0.1”有两种含义。这里和官方课程的损失函数由*其余*类别分享 $s$（公式 2）；论文（第 7 节）、
# > PyTorch、timm 和 `ops.cross_entropy` 则由包括正确类别在内的*所有*类别分享，它们的 $s$ 是这里的 $K / (K - 1)$ 倍，上
# > 面的代码已经验证。另外，训练损失停在 0.545 不代表训练停滞：$s = 0.1$、共十类时，不存在更低的值。只有 $s$ 相同，损失
# > 才能相互比较。

# %% [markdown] lang="en"
# ## 3. The optimizer: AdamW
#
# Adam keeps two running averages for every weight $w$: $m$ of its gradient $g$ and $v$ of the square. AdamW
# (Loshchilov & Hutter 2019, algorithm 2) adds weight decay beside the gradient, not in it:
#
# $$m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \tag{3}$$
#
# $$w_t = w_{t-1} - \eta_t \left( \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}
# + \lambda w_{t-1} \right) \tag{4}$$
#
# $m$ and $v$ start at 0, so at first they are too small; the divisions by $1 - \beta^t$ correct this. (In the paper
# $\lambda$ is multiplied by the schedule's factor alone, here as in PyTorch by the whole rate $\eta_t$.) Three steps by
# hand for a matrix and a bias:

# %% [markdown] lang="zh"
# ## 3. 优化器：AdamW
#
# Adam 为每个权重 $w$ 维护两个滑动平均：梯度 $g$ 的平均 $m$ 和梯度平方的平均 $v$。AdamW（Loshchilov 与 Hutter 2019，算法
# 2）把权重衰减放在梯度之外，而不是加进梯度：
#
# $$m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \tag{3}$$
#
# $$w_t = w_{t-1} - \eta_t \left( \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}
# + \lambda w_{t-1} \right) \tag{4}$$
#
# $m$ 和 $v$ 从 0 开始，起初偏小，除以 $1 - \beta^t$ 就是为了修正这一点。（论文中 $\lambda$ 只乘以学习率曲线的相对系
# 数；这里与 PyTorch 一样，乘以整个学习率 $\eta_t$。）下面对一个矩阵和一个偏置手算三步：

# %%
rng = np.random.default_rng(0)
lr, decay, beta1, beta2, eps = 1e-3, 0.05, 0.9, 0.999, 1e-8
start = {"weight": rng.normal(size=(4, 8)).astype(np.float32), "bias": rng.normal(size=4).astype(np.float32)}
gradients = [{name: rng.normal(size=w.shape).astype(np.float32) for name, w in start.items()} for _ in range(3)]


def adamw(w, gs, decay):
    """Equations 3 and 4, a step for each gradient."""
    m = v = 0.0
    for t, g in enumerate(gs, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        w = w - lr * (m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps) + decay * w)
    return w


def run(make_optimizer, steps):
    """The parameters after some steps of an optimizer of MindSpore."""
    params = [Parameter(Tensor(w), name=name) for name, w in start.items()]
    optimizer = make_optimizer(params)
    for g in gradients[:steps]:
        optimizer(tuple(Tensor(g[p.name]) for p in params))
    return {p.name: p.asnumpy() for p in params}


found = run(lambda params: create_optimizer(params, "adamw", [lr] * 3, decay), steps=3)
for name, w in start.items():
    wanted = adamw(w, [g[name] for g in gradients], decay if name == "weight" else 0.0)
    difference = np.abs(found[name] - wanted).max()
    print(f"{name:6}  {w.shape!s:6}  max difference to create_optimizer after 3 steps {difference:.0e}")

print("\nlength of the first step of a bias, in units of lr")
uncorrected = run(lambda params: nn.AdamWeightDecay(params, lr), steps=1)
once = run(lambda params: create_optimizer(params, "adamw", [lr], decay), steps=1)
for name, result in (("create_optimizer", once), ("nn.AdamWeightDecay", uncorrected)):
    print(f"{name:18}  {np.abs(result['bias'] - start['bias']).round(7) / lr}")

# %% [markdown] lang="en"
# Apart from the decay, the first step has length $\eta$ for **every** weight, whatever the size of its gradient:
# corrected, $m / \sqrt{v}$ is then $g / |g|$. Only the sign of one noisy gradient counts, one reason for a warm-up.
#
# > **Often told wrong.** `nn.AdamWeightDecay` is taken for AdamW. It leaves the bias correction out, so its first step
# > is $0.1 / \sqrt{0.001} \approx 3.2$ times as long. Another trap is the order of arguments: the third of
# > `nn.Adam(params, lr, ...)` is $\beta_1$, so a momentum that is meant for SGD silently becomes $\beta_1$, as happens
# > in the ViT notebook of the official MindSpore course.
#
# **Which parameters decay?** `decay_groups` takes the matrices only, a common choice: biases, the class token and the
# position embedding are offsets, and a LayerNorm's $\gamma$ starts at 1; zero is no natural aim for them.

# %% [markdown] lang="zh"
# 不计衰减，第一步的长度对**每个**权重都是 $\eta$，与梯度大小无关：修正后的 $m / \sqrt{v}$ 此时就是 $g / |g|$，起作用的
# 只有一个含噪声的梯度的符号。这也是需要预热的原因之一。
#
# > **常见误区。** 把 `nn.AdamWeightDecay` 当成 AdamW。它省去了偏差修正，第一步的长度是应有的
# > $0.1 / \sqrt{0.001} \approx 3.2$ 倍。另一个陷阱是参数顺序：`nn.Adam(params, lr, ...)` 的第三个参数是 $\beta_1$，本想
# > 给 SGD 用的 momentum 写在这里就悄悄成了 $\beta_1$；MindSpore 官方课程的 ViT 教程正是如此。
#
# **哪些参数要衰减？** `decay_groups` 只选矩阵，这也是常见的做法：偏置、类别 token、位置编码只是偏移量，层归一化的
# $\gamma$ 从 1 开始；对它们来说，零并不是自然的目标。

# %%
params = list(new_network().trainable_params())
decaying, others, _ = decay_groups(params, weight_decay=0.05)
for title, group in (("decay", decaying["params"]), ("no decay", others["params"])):
    print(f"{title:8}  {len(group):2} tensors, {sum(p.size for p in group):7,} numbers, such as")
    for p in [p for p in group if ".0." in p.name][:3] + [p for p in group if ".0." not in p.name][:3]:
        print(f"            {p.name:44} {p.shape}")

# %% [markdown] lang="en"
# **Decoupled or L2?** Before AdamW, weight decay meant adding $\lambda w$ to the gradient. For SGD the two are the
# same. In Adam that term is divided by $\sqrt{v}$ like the rest of the gradient: weights with large gradients hardly
# decay, weights with small ones decay fast. The cell lets 500 weights of value 1 walk with noise as gradient, once of
# size 0.01 and once of size 10, and plots their mean.

# %% [markdown] lang="zh"
# **解耦还是 L2？** 在 AdamW 之前，权重衰减就是把 $\lambda w$ 加进梯度。对 SGD 来说两者等价；而在 Adam 中，这一项会和梯
# 度一起除以 $\sqrt{v}$：梯度大的权重几乎不衰减，梯度小的权重却衰减得很快。下面让 500 个初值为 1 的权重在纯噪声梯度下游
# 走，噪声大小分别为 0.01 和 10，画出它们的平均值。

# %%
steps, lr, decay = 1500, 1e-2, 0.05
figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
for decoupled, colour, name in ((True, BLUE, "AdamW"), (False, ORANGE, "Adam + L2")):
    for size, style in ((0.01, "--"), (10.0, "-")):
        w, m, v, means = np.ones(500), 0.0, 0.0, []
        for t in range(1, steps + 1):
            g = rng.normal(scale=size, size=500) + (0.0 if decoupled else decay * w)
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g**2
            step = m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)
            w = w - lr * (step + (decay * w if decoupled else 0.0))
            means.append(w.mean())
        axes.plot(means, style, color=colour, linewidth=2, label=f"{name}, {both('gradients', '梯度')} {size:g}")
axes.set(xlabel=both("step", "步"), ylabel=both("mean weight", "权重平均值"), ylim=(-0.1, 1.1))
axes.set_title(both("Weight decay, decoupled and as L2", "解耦与 L2 的权重衰减"))
axes.legend(fontsize=9, loc=(0.4, 0.13))
axes.grid(alpha=0.3)
show(
    figure,
    "AdamW decays weights alike for small and large gradients; Adam with L2 decays them at once or not at all.",
    "AdamW 对大小梯度的权重衰减相同；Adam 加 L2 则要么立刻衰减到零，要么几乎不衰减。",
)

# %% [markdown] lang="en"
# With AdamW both fall about as $(1 - \eta \lambda)^t$, whatever the gradients: only $\eta \lambda$ counts, and so the
# decay follows the learning rate's schedule.
#
# ## 4. The learning-rate schedule
#
# With $T$ steps in all, of which $T_w$ are warm-up:
#
# $$\eta_t = \eta \, \frac{t}{T_w} \;\; (t \le T_w), \qquad
# \eta_t = \frac{\eta}{2} \left(1 + \cos \pi \frac{t - T_w}{T - T_w}\right) \;\; (t > T_w) \tag{5}$$
#
# The **warm-up** keeps steps short while $v$ rests on few gradients and the network is still changing quickly. The
# **decay** towards 0 lets the weights settle: with a constant rate the noise of the batches would keep them moving
# about. The schedule is one of *steps*, not of epochs.

# %% [markdown] lang="zh"
# AdamW 的两条曲线都大致按 $(1 - \eta \lambda)^t$ 下降，与梯度无关：起作用的只有 $\eta \lambda$，因此衰减的强度随学习
# 率曲线变化。
#
# ## 4. 学习率曲线
#
# 设总步数为 $T$，其中前 $T_w$ 步为预热：
#
# $$\eta_t = \eta \, \frac{t}{T_w} \;\; (t \le T_w), \qquad
# \eta_t = \frac{\eta}{2} \left(1 + \cos \pi \frac{t - T_w}{T - T_w}\right) \;\; (t > T_w) \tag{5}$$
#
# **预热**：当 $v$ 只累积了很少几个梯度、网络变化还很剧烈时，步子要小。**衰减**到 0，则让权重稳定下来：如果学习率保持不
# 变，批次带来的噪声会使权重一直晃动。学习率按*步*变化，而不是按 epoch 变化。

# %%
epochs, per_epoch, eta = 16, train_data.get_dataset_size(), 2e-3
T, T_w = epochs * per_epoch, 3 * per_epoch
t = np.arange(1, T + 1)
by_hand = np.where(t <= T_w, eta * t / T_w, eta / 2 * (1 + np.cos(np.pi * (t - T_w) / (T - T_w))))
cosine = learning_rates("cosine_decay", eta, 0.0, warmup_epochs=3, epoch_size=epochs, steps_per_epoch=per_epoch)
print(f"{T} steps, {T_w} of them warm-up, max difference to equation 5 {np.abs(by_hand - cosine).max():.0e}")

figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
axes.plot(t, cosine, color=BLUE, linewidth=2, label="cosine_decay")
linear = learning_rates("linear_decay", eta, 0.0, warmup_epochs=3, epoch_size=epochs, steps_per_epoch=per_epoch)
axes.plot(t, linear, "--", color=ORANGE, label="linear_decay")
axes.axvspan(0, T_w, color=GREY, alpha=0.25, linewidth=0, label=both("warm-up", "预热"))
axes.set(xlabel=both("step", "步"), ylabel=both("learning rate", "学习率"), xlim=(0, T), ylim=0)
axes.set_title(both("Learning rate of every step", "每一步的学习率"))
axes.legend()
axes.grid(alpha=0.3)
show(
    figure,
    "The learning rate rises in a line during warm-up and then falls to zero along a cosine or a line.",
    "学习率在预热阶段线性上升，然后沿余弦曲线或直线下降到零。",
)

# %% [markdown] lang="en"
# ## 5. Gradient accumulation
#
# A batch too large for the memory can be cut into parts: the gradient of a mean over 64 images is the mean of the
# gradients of its four means over 16. `TrainStep(accumulate=4)` adds up the gradients of four calls and then takes one
# step. Here both ways start from the same weights, first with SGD, then with AdamW.

# %% [markdown] lang="zh"
# ## 5. 梯度累积
#
# 内存放不下的大批次可以拆开：64 张图像平均损失的梯度，等于四份 16 张图像平均损失的梯度的平
# 均。`TrainStep(accumulate=4)` 把四次调用的梯度累加起来，再更新一次。下面两种做法从相同的权重出发，先用 SGD，再用
# AdamW。

# %%
loss_fn = CrossEntropySmooth(smooth_factor=0.1, num_classes=10)


def one_update(opt, parts):
    """How each parameter changes in one step on 64 images, given in one piece or in several."""
    network = new_network()
    before = {p.name: p.asnumpy().copy() for p in network.trainable_params()}
    optimizer = create_optimizer(network.trainable_params(), opt, [1e-2], weight_decay=0.0)
    train_step = TrainStep(network, loss_fn, optimizer, clip_grad=1.0, accumulate=parts)
    for part in range(parts):
        chosen = slice(part * 64 // parts, (part + 1) * 64 // parts)
        train_step(images[chosen], labels[chosen])
    return {p.name: p.asnumpy() - before[p.name] for p in network.trainable_params()}


for opt in ("sgd", "adamw"):
    whole, parts = one_update(opt, 1), one_update(opt, 4)
    difference = {name: np.abs(whole[name] - parts[name]).max() for name in whole}
    worst = max(difference, key=difference.get)
    update = max(np.abs(change).max() for change in whole.values())
    print(f"{opt:5}  largest change {update:.0e}, largest difference {difference[worst]:.0e} in {worst}")

# %% [markdown] lang="en"
# With SGD the two agree to rounding. With AdamW the difference can be larger, most of all in the bias of q, k, v: that
# of the keys adds the same number to all scores of a row, which softmax does not see. Its true gradient is zero, the
# computed one is rounding noise, and Adam scales noise up like any gradient. It does no harm, for the output does not
# depend on it; but do not compare two runs with Adam weight by weight.
#
# With BatchNorm, accumulation would not be the same as a large batch, for it would see 16 images at a time. A ViT has
# none.
#
# ## 6. The training step in PyNative and graph mode
#
# Below is what `TrainStep` is at its core: forward pass and gradients, their norm, clipping, update. The same class
# runs in both modes. **PyNative** calls operation after operation from Python. **Graph mode** first translates the
# whole `construct`, with everything it calls and the backward pass, into one graph, makes it simpler (kernels are
# fused, common parts computed once, memory planned), and then runs the graph without Python. This compilation takes
# time once, at the first step.

# %% [markdown] lang="zh"
# 用 SGD 时，两者只差舍入误差。用 AdamW 时差异可能更大，尤其是 q、k、v 的偏置：其中 key 的偏置给同一行的所有分数加上同
# 一个数，对 softmax 没有影响。它的真实梯度为零，算出来的只是舍入噪声，而 Adam 会像对待任何梯度一样把噪声放大。这并无害
# 处，因为输出与它无关；但两次 Adam 训练不宜逐个权重地比较。
#
# 如果网络用批归一化，梯度累积就不等于大批次，因为它每次只看到 16 张图像。ViT 没有批归一化。
#
# ## 6. 动态图与图模式下的训练步
#
# 下面是 `TrainStep` 的核心：前向计算与梯度、梯度范数、裁剪、更新。同一个类在两种模式下都能运行。**动态图**（PyNative）
# 由 Python 逐个调用算子。**图模式**（静态图）先把整个 `construct`、它调用的一切以及反向传播翻译成一张图，加以优化（融合
# 算子、合并重复计算、规划内存），然后脱离 Python 执行这张图。编译只在第一步花一次时间。


# %%
def sum_of_squares(gradient):
    return (gradient * gradient).sum()


for_all = ops.HyperMap()  # applies a function to every tensor of a tuple


class Step(nn.Cell):
    """One training step; returns the loss and the norm of the gradients before clipping."""

    def __init__(self, network, loss_fn, optimizer, clip_norm):
        super().__init__(auto_prefix=False)
        self.network, self.loss_fn, self.optimizer, self.clip_norm = network, loss_fn, optimizer, clip_norm
        self.gradient = ms.value_and_grad(self.forward, None, optimizer.parameters)

    def forward(self, images, labels):
        return self.loss_fn(self.network(images), labels)

    def construct(self, images, labels):
        loss, gradients = self.gradient(images, labels)
        norm = ops.sqrt(ops.addn(for_all(sum_of_squares, gradients)))
        gradients = clip_by_global_norm(gradients, self.clip_norm)
        return ops.depend(loss, self.optimizer(gradients)), norm  # depend: the graph must not leave the update out


def timed_training(mode, epochs):
    """Seconds of each step, what the steps returned, and the network."""
    runtime.setup(device_target="auto", mode=mode, seed=0)
    network = new_network()
    step = Step(network, loss_fn, create_optimizer(network.trainable_params(), "adamw", cosine, 0.05), clip_norm=1.0)
    seconds, results = [], []
    for epoch in range(1, epochs + 1):
        for batch_images, batch_labels in train_data.epoch(epoch):
            begin = time.perf_counter()
            loss, norm = step(batch_images, batch_labels)
            results.append((float(loss), float(norm)))  # reading waits for the result
            seconds.append(time.perf_counter() - begin)
            if mode == "pynative" and len(seconds) == 10:
                return seconds, results, network
    return seconds, results, network


pynative, pynative_results, _ = timed_training("pynative", 1)
graph, graph_results, network = timed_training("graph", 3)
same = np.allclose(pynative_results, graph_results[: len(pynative_results)], rtol=1e-2)
print(f"loss and norm of the first {len(pynative_results)} steps agree: {same}")

# %%
times = {"PyNative": (pynative[0], np.median(pynative[1:])), "graph": (graph[0], np.median(graph[1:]))}
figure, panels = plt.subplots(1, 2, figsize=(9, 2.6), layout="constrained")
titles = (both("First step, seconds", "第一步，秒"), both("Each later step, milliseconds", "之后每步，毫秒"))
for axes, title, place, unit in zip(panels, titles, (0, 1), (1, 1000), strict=True):
    values = [times[mode][place] * unit for mode in times]
    axes.barh(list(times), values, color=[ORANGE, BLUE])
    axes.bar_label(axes.containers[0], fmt="%.1f" if place == 0 else "%.0f", padding=4)
    axes.set(title=title, xlim=(0, max(values) * 1.18))
    axes.invert_yaxis()
show(
    figure,
    "Time of the first step and of each later step in both modes: graph mode compiles in the first.",
    "两种模式下第一步与之后每步的用时：图模式在第一步中编译。",
)

# %% [markdown] lang="en"
# ## 7. Clipping by the global norm
#
# The loop above noted the global norm of the gradients, over all $n$ numbers of all tensors together. Where it is above
# $c$, clipping shortens them by one common factor, so that the direction stays (Pascanu et al. 2013, algorithm 1):
#
# $$\|g\| = \sqrt{\textstyle\sum_{i=1}^{n} g_i^2}, \qquad
# g \leftarrow g \cdot \min\left(1, \frac{c}{\|g\|}\right) \tag{6}$$

# %% [markdown] lang="zh"
# ## 7. 按全局范数裁剪梯度
#
# 上面的循环记录了梯度的全局范数，即所有张量的全部 $n$ 个数合在一起的范数。范数超过 $c$ 时，裁剪用同一个系数缩小所有梯
# 度，方向不变（Pascanu 等 2013，算法 1）：
#
# $$\|g\| = \sqrt{\textstyle\sum_{i=1}^{n} g_i^2}, \qquad
# g \leftarrow g \cdot \min\left(1, \frac{c}{\|g\|}\right) \tag{6}$$

# %%
g = (np.array([3.0, 0.0], np.float32), np.array([[4.0, 12.0]], np.float32))  # two tensors, norm 13
norm, c = np.sqrt(sum((tensor**2).sum() for tensor in g)), 1.0
factor = min(1, c / norm)  # equation 6
clipped = clip_by_global_norm(tuple(Tensor(tensor) for tensor in g), c)
difference = max(np.abs(tensor * factor - short.asnumpy()).max() for tensor, short in zip(g, clipped, strict=True))
print(f"norm {norm:.0f}, factor {factor:.4f}, max difference to clip_by_global_norm {difference:.0e}")

# %%
norms = np.array([norm for _, norm in graph_results])
figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
axes.plot(range(1, len(norms) + 1), norms, color=BLUE, label=both("before", "裁剪前"))
axes.plot(range(1, len(norms) + 1), np.minimum(norms, 1.0), "--", color=ORANGE, label=both("after clipping", "裁剪后"))
axes.set(xlabel=both("step", "步"), ylabel=both("norm", "范数"), ylim=0, xlim=(1, len(norms)))
axes.set_title(both("Global norm of the gradients", "梯度的全局范数"))
axes.legend()
axes.grid(alpha=0.3)
show(
    figure,
    "The norm of the gradients over the first three epochs, and the same clipped at one.",
    "前三个 epoch 的梯度范数，以及裁剪到 1 之后的范数。",
)

# %% [markdown] lang="en"
# Early in training the norm is well above 1 here, so nearly every gradient is clipped to the same length.
#
# > **Often told wrong.** "Clipping bounds the step." For SGD it does. Adam divides by $\sqrt{v}$, so gradients that are
# > all clipped by the same factor give the same steps as without. What clipping does with Adam is to keep one
# > extraordinary batch from dominating $m$ and $v$, and $v$ remembers for about $1 / (1 - \beta_2) = 1000$ steps.

# %% [markdown] lang="zh"
# 这里训练初期的范数明显大于 1，几乎每一步的梯度都被裁剪到同样的长度。
#
# > **常见误区。** “裁剪限制了步长。”对 SGD 是这样。Adam 要除以 $\sqrt{v}$，如果每次梯度都按同样的系数裁剪，更新与不裁
# > 剪时相同。配合 Adam 时，裁剪的作用是不让某个异常的批次主导 $m$ 和 $v$，而 $v$ 的记忆长达约
# > $1 / (1 - \beta_2) = 1000$ 步。

# %% [markdown] lang="en"
# ## 8. What compiling means
#
# Graph mode reads the Python of `construct` **once for each shape** of its inputs, to see what it does. The function
# below notes each time Python passes by; `ops.constexpr` marks it as one whose result is a constant of the graph.

# %% [markdown] lang="zh"
# ## 8. 编译意味着什么
#
# 图模式对**每种输入形状只解析一次** `construct` 中的 Python 代码，以了解它做些什么。下面的函数在 Python 每次经过时记一
# 笔；`ops.constexpr` 表示它的结果是图中的常量。

# %%
passed = []


@ops.constexpr
def note(shape):
    passed.append(shape)
    return 0


class Noted(nn.Cell):
    def __init__(self, network):
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, images):
        note(images.shape)
        return self.network(images)


noted = Noted(new_network().set_train(False))
for batch in (64, 64, 32, 32, 64):
    before, begin = len(passed), time.perf_counter()
    noted(images[:batch]).asnumpy()
    seconds, told = time.perf_counter() - begin, "compiled" if len(passed) > before else ""
    print(f"batch of {batch}: {seconds:7.3f} s  {told}")

# %% [markdown] lang="en"
# A new batch size is a new graph. So a training pipeline drops or pads the last, short batch (`TrainBatches` leaves the
# surplus images to other epochs, `evaluate` fills up the last batch and cuts the answers off again).
#
# Python that is not translated into the graph happens at compile time or not at all. Two cells try it:

# %% [markdown] lang="zh"
# 换一个批大小就要再编译一张图。所以训练流水线会丢弃或补齐最后那个不满的批次（`TrainBatches` 把余下的图像留给别的
# epoch，`evaluate` 把最后一批补齐，再去掉多余的结果）。
#
# 没有被翻译进图里的 Python 代码，要么在编译时执行一次，要么根本不执行。用两个小例子试一试：


# %%
class WithNumPyRandom(nn.Cell):
    def construct(self, x):
        return x + np.random.rand()


class WithList(nn.Cell):
    def __init__(self):
        super().__init__()
        self.seen = []

    def construct(self, x):
        self.seen.append(1)
        return x + 1


one = Tensor(np.ones(1, np.float32))
for mode in ("pynative", "graph"):
    runtime.setup(device_target="auto", mode=mode, seed=0)
    drawing, listing = WithNumPyRandom(), WithList()
    drawn = {float(drawing(one)[0]) for _ in range(3)}
    for _ in range(3):
        listing(one)
    print(f"{mode:8}  3 calls: np.random gave {len(drawn)} different numbers, the list has {len(listing.seen)} entries")

# %% [markdown] lang="en"
# - `np.random` was called once, and its number is a **constant** of the graph: every call adds the same. Random numbers
#   must come from MindSpore's operations.
# - The list stayed empty without a word. Return what you want to keep, or write it into a `Parameter`.
#
# An `if` on a tensor's value is translated, and both branches become part of the graph; `try` is refused. If a cell
# behaves strangely, run it in PyNative mode: there Python is Python.

# %% [markdown] lang="zh"
# - `np.random` 只调用了一次，得到的数成了图中的**常量**：每次加的都是同一个数。随机数必须由 MindSpore 的算子产生。
# - 列表始终是空的，而且没有任何提示。要保留的东西请作为返回值，或写入 `Parameter`。
#
# 根据张量数值判断的 `if` 会被翻译，两个分支都成为图的一部分；`try` 则会报错。如果一个 Cell 表现异常，请换到动态图模式
# 运行：在那里，代码就按普通 Python 执行。

# %% [markdown] lang="en"
# ## 9. Mixed precision
#
# Accelerators multiply matrices of 16-bit numbers several times as fast as of 32-bit ones. There are two 16-bit
# formats: **fp16** spends its bits on precision, **bf16** on range. NumPy has no bf16, but it is float32 with the
# lower 16 bits rounded away:

# %% [markdown] lang="zh"
# ## 9. 混合精度
#
# 加速器做 16 位矩阵乘法比 32 位快数倍。16 位浮点数有两种：**fp16** 把位数用在精度上，**bf16** 把位数用在范围上。NumPy
# 没有 bf16，但它就是舍入掉低 16 位的 float32：


# %%
def bf16(x):
    """Rounded to the nearest bfloat16, ties to even."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    bits = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


def fp16(x):
    with np.errstate(over="ignore"):
        return np.asarray(x, np.float32).astype(np.float16).astype(np.float32)


print("format  bits: exponent, fraction   largest   smallest normal   step above 1")
print(
    f"fp32                    8,   23    {np.finfo(np.float32).max:.1e}           {2.0**-126:.1e}        {2.0**-23:.1e}"
)
print(f"fp16                    5,   10    {65504:.1e}           {2.0**-14:.1e}        {2.0**-10:.1e}")
print(
    f"bf16                    8,    7    {(2 - 2.0**-7) * 2.0**127:.1e}           {2.0**-126:.1e}        {2.0**-7:.1e}"
)
print("\n      value          fp16          bf16")
for value in (1 / 3, 1.001, 1000.5, 70000.0, 1e-8):
    print(f"{value:11.6g}   {float(fp16(value)):11.6g}   {float(bf16(value)):11.6g}")

w = {"fp32": np.float32(1), "fp16": np.float32(1), "bf16": np.float32(1)}
for _ in range(1000):  # a thousand updates of 0.0001
    w = {"fp32": w["fp32"] + np.float32(1e-4), "fp16": fp16(w["fp16"] + 1e-4), "bf16": bf16(w["bf16"] + 1e-4)}
print("\n1 + 1000 times 0.0001: " + ", ".join(f"{name} {float(value):.4f}" for name, value in w.items()))

# %% [markdown] lang="en"
# The last line is why the **weights stay in float32**: an update smaller than half a step is rounded away, a thousand
# times over. fp16 has another problem at the lower end. Below $2^{-14}$ its precision dwindles, below $2^{-25}$
# everything becomes 0, and gradients are small. Here are those of our network on a batch, after the three epochs above.

# %% [markdown] lang="zh"
# 最后一行说明了为什么**权重要保持 float32**：小于半个间隔的更新会被舍入掉，一千次都是如此。fp16 在小数值一端还有另一个
# 问题：低于 $2^{-14}$ 时精度逐渐丧失，低于 $2^{-25}$ 时全部变成 0，而梯度恰恰很小。下面是上述网络训练三个 epoch 之后，
# 在一个批次上的梯度。

# %%
runtime.setup(device_target="auto", mode="pynative", seed=0)
weights = network.trainable_params()
gradients = ms.grad(lambda x, labels: loss_fn(network(x), labels), None, weights)(images, labels)
g = np.abs(np.concatenate([gradient.asnumpy().ravel() for gradient in gradients]))
g = g[g > 0]
scaled = fp16(g * 2.0**16)
print(f"gradients below 2^-14: {(g < 2.0**-14).mean():6.2%},  0 in fp16: {(fp16(g) == 0).mean():6.2%}")
print(f"times 65,536:          {(g * 2.0**16 < 2.0**-14).mean():6.2%},  0 in fp16: {(scaled == 0).mean():6.2%}")

# %%
figure, axes = plt.subplots(figsize=(7.5, 3), layout="constrained")
bins = np.arange(-40, 18)
axes.hist(np.log2(g), bins, color=BLUE, alpha=0.8, label=both("gradients", "梯度"))
axes.hist(np.log2(g) + 16, bins, color=ORANGE, alpha=0.6, label=both("times 65,536", "乘 65536"))
axes.axvspan(-40, -25, color=GREY, alpha=0.5, linewidth=0, label=both("0 in fp16", "为 0"))
axes.axvspan(-25, -14, color=GREY, alpha=0.2, linewidth=0, label=both("imprecise in fp16", "精度不足"))
axes.axvline(16, color=RED, linestyle="--", label=both("overflow", "溢出"))
axes.set(xlabel=both("logarithm of the size, base 2", "绝对值的对数，以 2 为底"), yticks=[], xlim=(-40, 18))
axes.set_title(both("Gradients of vit_nano_4 and the range of fp16", "梯度与 fp16 的范围"))
axes.legend(fontsize=9, loc="upper left")
show(
    figure,
    "A few gradients are too small for float16; multiplied by 65,536 nearly all lie within its range.",
    "少数梯度对 fp16 来说太小；乘以 65536 之后，几乎全部落在它的范围内。",
)

# %% [markdown] lang="en"
# In this small net fp16 loses little. Elsewhere it is more, and what is lost can decide: Micikevicius et al. report a
# detector that does not train in fp16 without the following trick.
#
# **Loss scaling** (Micikevicius et al. 2018, section 3.2) multiplies the loss by $2^{16}$, and with it, by the chain
# rule, every gradient, and divides the gradients by it in float32 before the update. If one overflows, the step is left
# out and the scale halved; after 2,000 good steps it is doubled (`engine.loss_scaler`). bf16 has the range of float32
# and needs none of this, but its steps are eight times as coarse as those of fp16.
#
# In `vit_ms` the switch is `runtime.setup(precision=...)`:
#
# | | CPU | Ascend |
# |---|---|---|
# | `"auto"` | fp32 | fp16 |
# | `"bf16"` | inputs of matrix products rounded to bf16, if there are AMX units | products and activations |
# | `"fp16"` | refused | products and activations, with loss scaling |
#
# Parameters, optimizer state, LayerNorm, softmax and loss stay in float32 everywhere: they are sums of many numbers or
# small updates. To train in fp16 pass `TrainStep(..., loss_scaler=engine.loss_scaler())`; the scripts do so by
# themselves.

# %% [markdown] lang="zh"
# 在这个小网络中，fp16 丢失的并不多；在别的网络中可能更多，而且足以影响成败：Micikevicius 等报告了一个检测网络，不用下
# 面的办法，它在 fp16 下就无法收敛。
#
# **损失缩放**（Micikevicius 等 2018，3.2 节）把损失乘以 $2^{16}$，按链式法则，所有梯度也都乘上了它；更新之前再在
# float32 中除回来。一旦有梯度溢出，就跳过这一步，并把缩放系数减半；连续 2000 步正常则加倍
# （`engine.loss_scaler`）。bf16 的范围与 float32 相同，不需要这些，但它的间隔是 fp16 的八倍。
#
# 在 `vit_ms` 中用 `runtime.setup(precision=...)` 选择：
#
# | | CPU | 昇腾 |
# |---|---|---|
# | `"auto"` | fp32 | fp16 |
# | `"bf16"` | 处理器有 AMX 单元时，矩阵乘法的输入舍入为 bf16 | 矩阵乘法与激活值 |
# | `"fp16"` | 不支持 | 矩阵乘法与激活值，配合损失缩放 |
#
# 参数、优化器状态、层归一化、softmax 和损失始终用 float32：它们要么是大量数的求和，要么是微小的更新。用 fp16 训练时，
# 请传入 `TrainStep(..., loss_scaler=engine.loss_scaler())`；训练脚本会自动加上。

# %% [markdown] lang="en"
# ## 10. Putting it together
#
# Three trainings of 16 epochs: the learning rate of section 4 with warm-up, a tenth of it, and ten times as much
# without warm-up. Each new `TrainStep` is compiled again, which is part of the time.

# %% [markdown] lang="zh"
# ## 10. 组装起来
#
# 训练三次，每次 16 个 epoch：第 4 部分的学习率加预热；它的十分之一；以及它的十倍，而且没有预热。每个新的
# `TrainStep` 都要重新编译，这也占了一部分时间。

# %%
runtime.setup(device_target="auto", mode="graph", seed=0)


def train(lr, warmup_epochs):
    """Train anew; a row for each epoch."""
    network, history = new_network(), []
    rates = learning_rates("cosine_decay", lr, 0.0, warmup_epochs, epochs, per_epoch)
    optimizer = create_optimizer(network.trainable_params(), "adamw", rates, weight_decay=0.05)
    train_step = TrainStep(network, loss_fn, optimizer, clip_grad=1.0)

    def on_epoch_end(done):
        accuracy = evaluate(network, val_data).metrics(digits.classes)["top1"]
        history.append((done.epoch, done.loss, accuracy))
        return {"val_acc": accuracy}

    fit(train_step, train_data, epochs, on_epoch_end)
    return np.array(history)


runs = {
    "lr 0.002, warm-up": train(2e-3, 3),
    "lr 0.0002, warm-up": train(2e-4, 3),
    "lr 0.02, no warm-up": train(2e-2, 0),
}

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for (name, history), colour, style in zip(runs.items(), (BLUE, GREY, ORANGE), ("o-", "s--", "^:"), strict=True):
    left.plot(history[:, 0], history[:, 1], style, color=colour, markersize=4, label=name)
    right.plot(history[:, 0], history[:, 2], style, color=colour, markersize=4)
left.axhline(lowest, color="black", linewidth=1, label=both("lowest possible", "理论最低"))
left.set(title=both("Training loss", "训练损失"), xlabel=both("epoch", "轮次"))
right.set(title=both("Validation accuracy", "验证准确率"), xlabel=both("epoch", "轮次"), ylim=(0, 1.02))
left.legend()
for axes in (left, right):
    axes.grid(alpha=0.3)
show(
    figure,
    "Training loss and validation accuracy of three runs with different learning rates.",
    "三种学习率设置下的训练损失与验证准确率。",
)

# %%
for name, history in runs.items():
    print(f"{name:20}  last epoch: training loss {history[-1, 1]:.3f}, validation accuracy {history[-1, 2]:.1%}")

# %% [markdown] lang="en"
# Look at the picture before reading on. The first run comes nearest to the lowest possible loss. With a tenth of the
# rate the loss falls, too, but 16 epochs are too few: this run is not wrong, only slow. The third starts with steps so
# long that a few of them can move the weights further than their initial size. How far it recovers later may differ
# from machine to machine; clipping does not prevent it (section 7). For another batch size, another rate: $k$ times the
# batch, $k$ times the rate is the usual first guess (Goyal et al. 2017, [arXiv
# 1706.02677](https://arxiv.org/abs/1706.02677), section 2.1).

# %% [markdown] lang="zh"
# 先看图，再往下读。第一次训练最接近理论最低的损失。学习率取十分之一时，损失也在下降，只是 16 个 epoch 不够：这样设置不
# 算错，只是慢。第三次一开始步长就太大，几步之内权重的改变量就可能超过初始值的大小；之后能恢复多少，不同机器上可能不同，
# 梯度裁剪也防不住这一点（见第 7 部分）。批大小变了，学习率也要变：批大小变为 $k$ 倍，学习率通常先试 $k$ 倍（Goyal 等
# 2017，[arXiv 1706.02677](https://arxiv.org/abs/1706.02677)，2.1 节）。

# %% [markdown] lang="en"
# ## Summary
#
# - Cross entropy with label smoothing has a lowest value above 0, the entropy of the target.
# - AdamW divides by the size of the gradients, and keeps the weight decay out of this. Here only matrices decay.
# - The schedule is one of steps: a warm-up for the time in which Adam's averages are young, then a decay to 0.
# - Accumulated gradients are those of the large batch. Clipping by the global norm keeps the direction.
# - Graph mode compiles `construct` once a shape. Python that is not part of the graph runs then or not at all.
# - fp16 lacks range, hence loss scaling; bf16 lacks precision; weights and sums stay in float32.
#
# ### Three questions
#
# <details><summary>1. What is the lowest training loss with s = 0.1 and 1,000 classes, by equation 2?</summary>
#
# $-0.9 \ln 0.9 - 0.1 \ln \frac{0.1}{999} \approx 0.095 + 0.921 = 1.016$. With more classes the floor rises, so a loss
# of 1.2 on ImageNet can be a very good one.
# </details>
#
# <details><summary>2. Every gradient is multiplied by 1,000. What changes with SGD, what with AdamW, and what with
# Adam and L2 in the gradient?</summary>
#
# With SGD the steps are 1,000 times as long. With AdamW nothing changes, except by $\epsilon$: $m$ and $\sqrt{v}$ both
# grow by 1,000, and the decay is beside them. With L2 in the gradient the term $\lambda w$ is not multiplied, so it
# becomes a thousandth of its former weight: the decay all but vanishes.
# </details>
#
# <details><summary>3. A colleague's step takes 30 ms most of the time, but the 20th of the first epoch took 7
# seconds. What is going on?</summary>
#
# An epoch has 20 steps, and the last batch is short. Its shape is compiled when it is first met; from the second epoch
# on both graphs are there. Drop the last batch or fill it up.
# </details>
#
# ### Where to go next
#
# - [Notebook 7](07_evaluation_and_inference.ipynb): what the trained network can do, measured honestly.
# - Change `train`: no weight decay, no clipping, `"linear_decay"`, `"sgd"` with a rate of 0.1.
# - Read [optim.py](../../vit_ms/optim.py) and [engine.py](../../vit_ms/engine.py): every function of this notebook is
#   there, with what a long run needs besides (averaged weights, resuming, several devices).
# - [Training guide](../../docs/training.md): the same from the command line.

# %% [markdown] lang="zh"
# ## 小结
#
# - 带标签平滑的交叉熵有一个大于 0 的最小值，即目标分布的熵。
# - AdamW 按梯度的大小缩放更新量，权重衰减不参与缩放。这里只有矩阵衰减。
# - 学习率按步变化：Adam 的滑动平均尚未积累起来时做预热，然后衰减到 0。
# - 累积的梯度就是大批次的梯度。按全局范数裁剪不改变方向。
# - 图模式对每种形状编译一次 `construct`；没有进入图里的 Python 代码要么在编译时执行，要么不执行。
# - fp16 范围不足，所以需要损失缩放；bf16 精度不足；权重和求和保持 float32。
#
# ### 三道思考题
#
# <details><summary>1. s = 0.1、共 1000 类时，按公式（2），训练损失最低是多少？</summary>
#
# $-0.9 \ln 0.9 - 0.1 \ln \frac{0.1}{999} \approx 0.095 + 0.921 = 1.016$。类别越多，下限越高，所以 ImageNet 上 1.2 的损
# 失可能已经非常好。
# </details>
#
# <details><summary>2. 所有梯度都乘以 1000，SGD 会怎样变化？AdamW 呢？在梯度里加 L2 项的 Adam 呢？</summary>
#
# SGD 的步长变为 1000 倍。AdamW 除了 $\epsilon$ 的影响外没有变化：$m$ 和 $\sqrt{v}$ 都变为 1000 倍，衰减项在它们之外。
# 把 L2 放进梯度时，$\lambda w$ 没有乘 1000，它的相对分量变成原来的千分之一：衰减几乎消失。
# </details>
#
# <details><summary>3. 同事的训练每步只要 30 毫秒，但第一个 epoch 的第 20 步用了 7 秒。怎么回事？</summary>
#
# 每个 epoch 有 20 步，最后一批不满。它的形状第一次出现时需要编译；从第二个 epoch 起，两张图都已编译好。丢弃或补齐最后
# 一批即可。
# </details>
#
# ### 下一步
#
# - [第 7 课](07_evaluation_and_inference.ipynb)：训练好的网络究竟有多好，如何公正地评估。
# - 改一改 `train`：去掉权重衰减，去掉裁剪，换成 `"linear_decay"`，或用学习率 0.1 的 `"sgd"`。
# - 阅读 [optim.py](../../vit_ms/optim.py) 和 [engine.py](../../vit_ms/engine.py)：本节的每个函数都在那里，还有长时间训
#   练所需的其他部分（权重的滑动平均、断点续训、多设备）。
# - [训练指南](../../docs/training.md)：在命令行中做同样的事。
