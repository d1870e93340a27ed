# %% [markdown] lang="en"
# # To the NPU
#
# Everything in this course is written to run on an Ascend NPU without a changed line. To run **well** there takes
# some understanding: what graph mode compiles and when it compiles again, how the device gets its data, what half
# precision does to small numbers, why fused attention needs no $N \times N$ matrix, and how many devices train as
# one. All of that can be taken apart on a CPU, and that is what this notebook does.
#
# | | |
# |---|---|
# | Time | about a minute of computing on a CPU with two cores, 20 minutes of reading |
# | You need | [training](06_training.ipynb), [attention](03_attention_by_hand.ipynb); no NPU, no download |
# | Papers | Dao et al., *FlashAttention*, 2022, [arXiv 2205.14135](https://arxiv.org/abs/2205.14135) |
# | | Micikevicius et al., *Mixed Precision Training*, 2018, [arXiv 1710.03740](https://arxiv.org/abs/1710.03740) |
# | | Goyal et al., *Accurate, Large Minibatch SGD*, 2017, [arXiv 1706.02677](https://arxiv.org/abs/1706.02677) |
#
# > **Not run on an NPU.** There was none where this course was written. What is computed below is computed on a CPU;
# > what is said about Ascend follows MindSpore's documentation and the package's code, and is marked as such.

# %% [markdown] lang="zh"
# # 走向 NPU
#
# 本课程的代码在编写时就考虑到一行不改即可在昇腾 NPU 上运行。但要跑得**好**，需要理解几件事：图模式编译什么、什么时候
# 会重新编译，数据怎样送到设备，半精度对小数值做了什么，融合注意力为什么不需要 $N \times N$ 的矩阵，多个设备怎样像一个
# 设备那样训练。这些都可以在 CPU 上拆开来看，本节就做这件事。
#
# | | |
# |---|---|
# | 用时 | 双核 CPU 上计算约一分钟，阅读 20 分钟 |
# | 基础 | [训练](06_training.ipynb)、[注意力](03_attention_by_hand.ipynb)；不需要 NPU，也不需要下载 |
# | 论文 | Dao 等，*FlashAttention*，2022，[arXiv 2205.14135](https://arxiv.org/abs/2205.14135) |
# | | Micikevicius 等，*Mixed Precision Training*，2018，[arXiv 1710.03740](https://arxiv.org/abs/1710.03740) |
# | | Goyal 等，*Accurate, Large Minibatch SGD*，2017，[arXiv 1706.02677](https://arxiv.org/abs/1706.02677) |
#
# > **没有在 NPU 上运行过。** 编写本课程的机器上没有 NPU。下面算出来的都是在 CPU 上算的；关于昇腾的说法依据 MindSpore
# > 的文档和本包的代码，并逐处注明。

# %% [markdown] lang="en"
# ## 1. What changes: the device
#
# `runtime.setup` is the only place that asks which device there is, and `device_target="auto"` takes an NPU if
# MindSpore finds one. It returns a `Settings`, which says what was chosen. On Ascend (by the code,
# [runtime.py](../../vit_ms/runtime.py)) two more things follow from the device: precision `"auto"` becomes fp16, and
# the operations in [functional.py](../../vit_ms/functional.py) call MindSpore's own kernels in place of the forms
# that are made for a CPU.

# %% [markdown] lang="zh"
# ## 1. 改变的只有设备
#
# 只有 `runtime.setup` 会查询设备：`device_target="auto"` 时，MindSpore 找到 NPU 就用 NPU。它返回一个 `Settings`，写明
# 选了什么。依据代码（[runtime.py](../../vit_ms/runtime.py)），在昇腾上还有两件事随设备而定：精度 `"auto"` 变为
# fp16；[functional.py](../../vit_ms/functional.py) 中的运算调用 MindSpore 自带的算子，而不是为 CPU 改写的形式。

# %%
import vit_ms  # before mindspore
import csv
import time
import tracemalloc
from pathlib import Path
from unittest import mock

import matplotlib.pyplot as plt
import mindspore as ms
import numpy as np
from mindspore import Tensor, profiler
from PIL import Image
from sklearn.datasets import load_sample_image

from vit_ms import create_model, functional, runtime
from vit_ms.data.batches import TrainBatches
from vit_ms.data.catalog import open_dataset
from vit_ms.data.transforms import Augmentation, Preprocessing
from vit_ms.engine import TrainStep, loss_scaler
from vit_ms.errors import UserError
from vit_ms.layers import Dropout
from vit_ms.losses import CrossEntropySmooth
from vit_ms.optim import create_optimizer, scaled_rate
from vit_ms.visualize import BLUE, GREY, ORANGE, both, show

settings = runtime.setup(device_target="auto", mode="graph", seed=0)
folder = Path("runs/13_to_the_npu")
vit_ms.doctor()

# %%
print("auto: ", settings)
try:
    print("Ascend:", runtime.setup(device_target="Ascend"))
except UserError as error:
    print("Ascend:", error)

# %% [markdown] lang="en"
# Write `"Ascend"` where a job must not fall back to the CPU unnoticed: it then fails at once, with the reason.
#
# ## 2. One graph for one shape
#
# In graph mode MindSpore makes a graph of a cell's code, optimises and compiles it before the first step; every later
# step only launches it. The graph belongs to the **shapes** (and types) of its inputs: another batch size is another
# graph. The next cell trains on one batch of 64 digits, then on a batch of 32, then again on 64.

# %% [markdown] lang="zh"
# 不希望任务悄悄退回 CPU 时，就写 `"Ascend"`：找不到 NPU 会立即报错并说明原因。
#
# ## 2. 一种形状，一张图
#
# 图模式下，MindSpore 在第一步之前解析整个 Cell，优化并编译成图，之后每一步只是执行这张图。图与输入的**形状**（以及数
# 据类型）绑定：换一个批大小，就是另一张图。下面先用 64 张数字的批次训练，再用 32 张，然后回到 64 张。

# %%
digits = open_dataset("digits")
preprocessing = Preprocessing(image_size=16, channels=1, mean=[0.5], std=[0.5], interpolation="bicubic", crop_pct=1.0)
data = TrainBatches(digits, preprocessing, 64, Augmentation("none"))
images, labels = next(data.epoch(1))  # (64, 1, 16, 16), (64,)

network = create_model("vit_nano_4", zero_head=True)
optimizer = create_optimizer(network.trainable_params(), "adamw", 2e-3, weight_decay=0.05)
train_step = TrainStep(network, CrossEntropySmooth(num_classes=10), optimizer, clip_grad=1.0)
network.set_train(True)

batch_sizes = [64] * 20 + [32] * 10 + [64] * 30
losses, seconds = [], []
for batch_size in batch_sizes:
    start = time.perf_counter()
    loss, _ = train_step(images[:batch_size], labels[:batch_size])
    losses.append(float(loss))  # reading waits until the step is done
    seconds.append(time.perf_counter() - start)

for step, note in ((1, "first step: compiles"), (2, ""), (20, ""), (21, "another shape: compiles again"), (22, "")):
    print(f"step {step:2}, batch {batch_sizes[step - 1]}: {seconds[step - 1] * 1000:8.0f} ms  {note}")
print(f"step 31, batch 64: {seconds[30] * 1000:8.0f} ms  the first graph is still there")

figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
colours = [BLUE if size == 64 else ORANGE for size in batch_sizes]
axes.bar(range(1, 61), np.array(seconds) * 1000, color=colours)
axes.set(yscale="log", xlabel=both("step", "步"), ylabel=both("milliseconds", "毫秒"))
axes.set_title(both("Time of each step; orange: batch of 32", "每一步的时间；橙色：批大小 32"))
show(
    figure,
    "Bars of the time of 60 steps; step 1 and step 21, the first of each shape, take many times as long.",
    "60 步的用时；第 1 步和第 21 步（各形状的第一步）慢许多倍。",
)

# %% [markdown] lang="en"
# So a run should have few shapes: `TrainBatches` leaves out a short last batch (other images each epoch), and
# `evaluate` fills one up and cuts the answers off again. On an NPU the rule is the same, and where the whole graph is
# handed to the device, compiling it costs more still (MindSpore's documentation).
#
# How far the compiler goes is the recipe's `jit_level` (from MindSpore's documentation): `O0` keeps to what is needed
# and launches kernel by kernel; `O1` also fuses common chains of operations; without it MindSpore chooses, on 910A to
# hand the whole graph to CANN's graph engine. The package's recipes for 910B say
# `O1`; on 910A leave it out. On a CPU it makes no difference.
#
# ## 3. Where the time goes
#
# Before you tune, measure. MindSpore's profiler writes what each operation took. On a CPU it counts per kind of
# operation; on Ascend `ProfilerActivity.NPU`, and the analysis that is turned off here, give the kernels' times and a
# trace to be opened in MindStudio Insight (not tried).

# %% [markdown] lang="zh"
# 因此一次训练的形状应当尽量少：`TrainBatches` 舍去不足一批的尾部（每轮舍去的图像不同），`evaluate` 则把它补满、再截掉
# 多余的输出。在 NPU 上道理相同；如果整张图交给设备执行，编译的代价更高（据 MindSpore 文档）。
#
# 编译优化到什么程度，由配方中的 `jit_level` 决定（据 MindSpore 文档）：`O0` 只做必要的优化，逐个算子下发；`O1` 还会自
# 动融合常见的算子组合；不写则由 MindSpore 选择，910A 上是把整张图交给 CANN 的图引擎。本包面向 910B 的配方写的是
# `O1`；在 910A 上请去掉它。CPU 上这一项没有影响。
#
# ## 3. 时间花在哪里
#
# 优化之前先测量。MindSpore 的 profiler 会记录每个算子的用时。CPU 上按算子类型统计；在昇腾上改用
# `ProfilerActivity.NPU`，并打开这里关掉的分析，可以得到算子用时和能在 MindStudio Insight 中查看的时间线（未试过）。

# %%
steps = 5
activities = [profiler.ProfilerActivity.CPU]
handler = profiler.tensorboard_trace_handler(str(folder / "profile"), analyse_flag=False)
recorder = profiler.profile(activities=activities, on_trace_ready=handler)
for _ in range(steps):
    train_step(images, labels)[0].asnumpy()
    recorder.step()
recorder.stop()

tables = sorted((folder / "profile").glob("*/FRAMEWORK/cpu_op_type_info_0.csv"))  # on Ascend there are others
rows = list(csv.DictReader(tables[-1].open())) if tables else []
total = sum(float(row["total_compute_time"]) for row in rows) or 1.0
groups = {"MatMul": 0.0, "BatchMatMul": 0.0, "Softmax": 0.0, "AdamWeightDecay": 0.0, "Transpose": 0.0}
groups |= {"fused kernels": 0.0, "the rest": 0.0}
launches = dict.fromkeys(groups, 0)
for row in rows:
    kind = row["op_type"]
    name = next((group for group in groups if kind.startswith(group)), "the rest")
    name = "fused kernels" if kind.startswith("GraphKernel") else name
    groups[name] += float(row["total_compute_time"]) / steps
    launches[name] += int(row["type_occurrences"]) // steps
print("of a training step   ms   share  launches")
for name, milliseconds in sorted(groups.items(), key=lambda item: -item[1]):
    print(f"{name:16} {milliseconds:6.1f}  {milliseconds * steps / total:6.1%}  {launches[name]:8}")

figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
ordered = sorted(groups, key=groups.get)
axes.barh(ordered, [groups[name] for name in ordered], color=BLUE)
axes.set(xlabel=both("milliseconds a step", "每步毫秒数"))
axes.set_title(both("Kinds of operations in a training step", "训练步中的各类算子"))
axes.grid(alpha=0.3, axis="x")
show(
    figure,
    "Bars of the time that each kind of operation takes in one training step of the digits network.",
    "数字网络的一个训练步中各类算子的用时。",
)

# %% [markdown] lang="en"
# A step of so small a network is several hundred launches, many of which do next to nothing. In ViT-B/16 the matrix
# products take about three quarters of the step or more on a CPU ([docs/performance.md](../../docs/performance.md)),
# and products are what an NPU is made for: its matrix units are busy only if batches are large and there are few
# small operations in between. To compare whole networks, `python -m vit_ms bench` measures forward pass, training
# step and memory beside other libraries.
#
# ## 4. Feeding the device
#
# A device that trains $R$ images a second needs $R$ images a second decoded, cropped and normalised, in this package
# by the host's CPU. Measure what the pipeline gives before blaming the network: here JPEG files of 500 × 375 pixels,
# random crops of 224, in batches of 32.

# %% [markdown] lang="zh"
# 这么小的网络，一步要下发几百个算子，其中许多几乎没有什么可算。ViT-B/16 在 CPU 上约四分之三甚至更多的时间花在矩阵乘法
# 上（[docs/performance.md](../../docs/performance.md)），而矩阵乘法正是 NPU 的长处：只有批次足够大、中间的小算子足够
# 少，矩阵单元才不会闲着。要比较整个网络，`python -m vit_ms bench` 会测量前向、训练步和内存，并与其他库对照。
#
# ## 4. 给设备喂数据
#
# 设备每秒训练 $R$ 张图像，每秒就要解码、裁剪、归一化 $R$ 张图像；在本包中，这由主机的 CPU 完成。先测数据流水线能供应
# 多少，再怀疑网络：这里是 500 × 375 像素的 JPEG 文件，随机裁剪为 224，每批 32 张。

# %%
for name in ("china", "flower"):
    photograph = Image.fromarray(load_sample_image(f"{name}.jpg")).resize((500, 375))
    for split, count in (("train", 96), ("val", 2)):
        (folder / "photos" / split / name).mkdir(parents=True, exist_ok=True)
        for n in range(count):
            photograph.save(folder / "photos" / split / name / f"{n}.jpg", quality=90)

photos = open_dataset("folder", str(folder / "photos"))
colour = Preprocessing(224, 3, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], "bicubic", 0.875)
supplied = {}
for workers in (1, 2):
    batches = TrainBatches(photos, colour, 32, Augmentation("crop"), num_parallel_workers=workers)
    start = time.perf_counter()
    count = sum(len(labels_of) for epoch in (1, 2) for _, labels_of in batches.epoch(epoch))
    supplied[workers] = count / (time.perf_counter() - start)
    print(f"{workers} worker(s): {supplied[workers]:6.0f} images a second")
print("\nworkers like these to feed eight devices that train")
for rate in (250, 500, 1000, 2000):
    print(f"{rate:6} images a second each: {np.ceil(8 * rate / supplied[1]):4.0f}")

# %% [markdown] lang="en"
# The rates of the devices are examples, not measurements. What helps when the host is too slow: more
# `num_parallel_workers`, as far as there are idle cores (a machine of two has few), files packed into MindRecord
# (`python -m vit_ms prepare`), images stored no larger than needed (`prepare --image_size 256`).
#
# The host also must not be waited for **between** steps. Two things in [engine.py](../../vit_ms/engine.py) see to
# that:
#
# - `fit` reads the loss only every `log_interval` steps. A step is launched asynchronously; reading its result makes
#   the host wait until the device is done.
# - With `sink: true` in the recipe (graph mode on Ascend; elsewhere it does nothing), batches are pushed into a queue
#   on the device, and `ms.data_sink` takes each step's batch from there: step and transfer of the next batch overlap.
#
# In MindSpore's own `Model.train(..., dataset_sink_mode=True)` the loop over a whole epoch moves to the device, too.
# Then Python sees nothing in between: `step_end` callbacks fire once an epoch.
#
# ## 5. Half precision
#
# An NPU's matrix units are made for numbers of 16 bits. There are two such formats, and they fail differently:
# **fp16** has 10 bits of mantissa and 5 of exponent, **bf16** 7 and 8. So fp16 is more exact, but its largest number
# is 65504 and its smallest $6 \cdot 10^{-8}$; bf16 has the range of float32 and two or three decimal digits.

# %% [markdown] lang="zh"
# 各设备的速度只是举例，不是实测。主机跟不上时的办法：增大 `num_parallel_workers`，前提是有空闲的核（双核机器没有多
# 少）；用 MindRecord 打包文件（`python -m vit_ms prepare`）；图像不要存得比需要的大（`prepare --image_size 256`）。
#
# **步与步之间**也不应等待主机。[engine.py](../../vit_ms/engine.py) 中有两处与此有关：
#
# - `fit` 每隔 `log_interval` 步才读取一次损失。训练步是异步下发的，读取结果会让主机一直等到设备算完。
# - 配方中写 `sink: true` 时（昇腾图模式；其他情况下不起作用），批次进入设备上的队列，`ms.data_sink` 让每一步从队列中
#   取数据：计算与下一批的传输同时进行。
#
# MindSpore 自带的 `Model.train(..., dataset_sink_mode=True)` 还会把整个 epoch 的循环下沉到设备。这期间 Python 什么也
# 看不到：`step_end` 回调每个 epoch 只触发一次。
#
# ## 5. 半精度
#
# NPU 的矩阵单元主要为 16 位数设计。16 位浮点数有两种，缺点各不相同：**fp16** 尾数 10 位、指数 5 位，**bf16** 尾数 7
# 位、指数 8 位。因此 fp16 更精确，但最大只到 65504，最小只到 $6 \cdot 10^{-8}$；bf16 的范围与 float32 相同，但只有两
# 三位十进制有效数字。

# %%
print("float32      fp16         bf16")
for number in (1.0, 1.001, 0.1, 2e-8, 1e-30, 70000.0):
    x = Tensor(np.float32(number))
    half, brain = (float(x.astype(dtype).astype(ms.float32)) for dtype in (ms.float16, ms.bfloat16))
    print(f"{number:<11g}  {half:<11.6g}  {brain:<11.6g}")

rng = np.random.default_rng(0)
gradients = (rng.standard_normal(100_000) * 1e-7).astype(np.float32)
scale = 2.0**16
for name, values in (("as they are", gradients), ("times 2^16", gradients * scale)):
    print(f"gradients of about 1e-7, {name}: {np.mean(values.astype(np.float16) == 0):6.2%} become 0 in fp16")

# %% [markdown] lang="en"
# This is what **loss scaling** is for (Micikevicius et al., section 3.2): multiply the loss by $S$ and all gradients
# are multiplied by $S$; they go through the backward pass within the range of fp16, and are divided by $S$ in
# float32. If one overflows, the step is left out and $S$ halved; after many good steps $S$ is doubled. It is needed
# for fp16 alone, where `python -m vit_ms train` gives `TrainStep` a scaler. Its parts work on a CPU:

# %% [markdown] lang="zh"
# 这就是**损失缩放**的用处（Micikevicius 等，3.2 节）：损失乘以 $S$，所有梯度也随之乘以 $S$，反向传播时就落在 fp16 能
# 表示的范围里，最后用 float32 除以 $S$。一旦有梯度溢出，就跳过这一步并把 $S$ 减半；连续很多步正常后，$S$ 加倍。只有
# fp16 需要它，届时 `python -m vit_ms train` 会给 `TrainStep` 配上。它的各部分在 CPU 上也能运行：

# %%
scaler = loss_scaler()
print(f"S at the start                  {float(scaler.scale_value):8.0f}")
for finite in (False, False, True):
    scaler.adjust(Tensor(finite))
    print(f"after a step, {'all finite' if finite else 'overflow':10}        {float(scaler.scale_value):8.0f}")
scaled = scaler.scale(Tensor(2e-8, ms.float32)).astype(ms.float16)  # on its way through the backward pass
gradient = scaler.unscale((scaled.astype(ms.float32),))[0]
print(f"a gradient of 2e-8 by way of fp16  {float(gradient):.1e}")

# %% [markdown] lang="en"
# Not everything may be halved. What the package does on Ascend (from [functional.py](../../vit_ms/functional.py); the
# CPU computes in float32):
#
# | what | precision | why |
# |---|---|---|
# | parameters, optimizer, running averages | float32 | an update is often too small to be added in half precision |
# | Dense layers, patch embedding, $q k^T$, weights times $v$ | half | matrix units; weights are cast at each use |
# | GELU, residual sums, what passes between layers | half | memory and bandwidth |
# | LayerNorm | float32 inside | variance is a sum of squares |
# | softmax of the scores | float32 inside | a sum of exponentials (fused attention does it inside its kernel) |
# | logits to loss | float32 | log-softmax again |
#
# Choose with `precision="fp16"` or `"bf16"` in `runtime.setup` or the recipe: bf16 on 910B, where no scaling is
# needed; fp16 on 910A, which has no bf16.
#
# ## 6. Attention without the matrix
#
# For $N$ tokens attention makes $N \times N$ scores and as many weights, for each head and each image, and training
# keeps the weights for the backward pass. In ViT-B/16 this is, in half precision and for a batch of 64:

# %% [markdown] lang="zh"
# 并非什么都能减半。本包在昇腾上的做法如下（依据 [functional.py](../../vit_ms/functional.py)；CPU 上全部用 float32）：
#
# | 内容 | 精度 | 原因 |
# |---|---|---|
# | 参数、优化器状态、滑动平均 | float32 | 更新量往往太小，半精度的权重加不上去 |
# | 全连接层、图像块嵌入、$q k^T$、权重乘 $v$ | 半精度 | 矩阵单元；每次使用时转换权重 |
# | GELU、残差相加、层与层之间的激活值 | 半精度 | 内存与带宽 |
# | 层归一化 | 内部 float32 | 方差是平方和 |
# | 注意力分数的 softmax | 内部 float32 | 指数之和（融合注意力在自己的算子内部处理） |
# | 从 logits 到损失 | float32 | 同样是 log-softmax |
#
# 用 `runtime.setup` 或配方中的 `precision="fp16"`、`"bf16"` 选择：910B 用 bf16，不需要损失缩放；910A 没有 bf16，用
# fp16。
#
# ## 6. 不用矩阵的注意力
#
# $N$ 个 token 的注意力要算 $N \times N$ 个分数和同样多的权重，每个头、每张图像各一份，训练时还要把权重留到反向传
# 播。ViT-B/16 用半精度、批大小 64 时，共需：

# %%
print("image  tokens   attention weights of 12 layers, 12 heads, 64 images, 2 bytes each")
for side in (224, 384, 512, 1024):
    tokens = (side // 16) ** 2 + 1
    print(f"{side:5}  {tokens:6}  {12 * 12 * 64 * tokens**2 * 2 / 2**30:8.1f} GiB")

# %% [markdown] lang="en"
# **Flash attention** never has the whole matrix. The obstacle is softmax, whose sum runs over a whole row; but the
# sum can be kept up to date as the keys come, block by block. For each query keep the largest score so far $m$, the
# sum $\ell$ of $e^{s_j - m}$ and the sum $o$ of $e^{s_j - m} v_j$. With a new block of scores
# $s_j = q \cdot k_j / \sqrt d$:
#
# $$m' = \max(m, \max_j s_j), \qquad \ell' = e^{m - m'} \ell + \sum_j e^{s_j - m'}, \qquad
# o' = e^{m - m'} o + \sum_j e^{s_j - m'} v_j$$
#
# The factor $e^{m - m'}$ corrects what was summed with the old maximum. After the last block, $o / \ell$ is the
# result: the same sums in another order. The running softmax is Milakov & Gimelshein's
# ([arXiv 1805.02867](https://arxiv.org/abs/1805.02867)). Algorithm 1 of Dao et al. has the loops over queries and
# keys the other way round; the order below is that of *FlashAttention-2*
# ([arXiv 2307.08691](https://arxiv.org/abs/2307.08691)).

# %% [markdown] lang="zh"
# **Flash attention** 从不保存整个矩阵。障碍在 softmax：它要对一整行求和。不过这个和可以随着键一块一块到来而不断更新。
# 对每个查询，记录到目前为止的最大分数 $m$、$e^{s_j - m}$ 之和 $\ell$、$e^{s_j - m} v_j$ 之和 $o$。来了一块新的分数
# $s_j = q \cdot k_j / \sqrt d$ 时：
#
# $$m' = \max(m, \max_j s_j), \qquad \ell' = e^{m - m'} \ell + \sum_j e^{s_j - m'}, \qquad
# o' = e^{m - m'} o + \sum_j e^{s_j - m'} v_j$$
#
# 因子 $e^{m - m'}$ 修正按旧的最大值累加的部分。最后一块处理完，$o / \ell$ 就是结果：只是换了顺序的同一个和。这种递推
# 的 softmax 出自 Milakov 与 Gimelshein（[arXiv 1805.02867](https://arxiv.org/abs/1805.02867)）。Dao 等的算法 1 对查询
# 和键的两重循环与此相反，下面的顺序是 *FlashAttention-2* 的（[arXiv 2307.08691](https://arxiv.org/abs/2307.08691)）。


# %%
def plain_attention(q, k, v):
    """softmax(q k^T / sqrt(d)) v: (N, d) each."""
    scores = q @ k.T / np.float32(q.shape[1] ** 0.5)  # (N, N)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True) @ v


def flash_attention(q, k, v, block=128):
    """The same, with never more than (block, block) scores."""
    N, d = q.shape
    result = np.empty_like(q)
    for i in range(0, N, block):
        q_i = q[i : i + block] / np.float32(d**0.5)  # (block, d)
        m = np.full((len(q_i), 1), -np.inf, np.float32)
        l, o = np.zeros_like(m), np.zeros_like(q_i)  # noqa: E741
        for j in range(0, N, block):
            s = q_i @ k[j : j + block].T  # (block, block)
            m_new = np.maximum(m, s.max(axis=1, keepdims=True))
            p, correction = np.exp(s - m_new), np.exp(m - m_new)
            l = correction * l + p.sum(axis=1, keepdims=True)  # noqa: E741
            o = correction * o + p @ v[j : j + block]
            m = m_new
        result[i : i + block] = o / l
    return result


runtime.setup(device_target="auto", mode="pynative", seed=0)
q, k, v = (3 * rng.standard_normal((577, 64), np.float32) for _ in range(3))  # ViT-B/16 at 384 pixels, one head
plain, flash = plain_attention(q, k, v), flash_attention(q, k, v)
no_dropout = Dropout(p=0.0).set_train(False)
package = functional.attention(*(Tensor(value[None, None]) for value in (q, k, v)), no_dropout)[0, 0].asnumpy()
print(f"largest difference to plain attention: {abs(flash - plain).max():.1e}, values up to {abs(plain).max():.1f}")
print(f"equal to functional.attention within 1e-3: {np.allclose(flash, package, atol=1e-3)}")

# %% [markdown] lang="en"
# Equal up to rounding, whatever the block. How much memory did it take? `tracemalloc` counts what NumPy allocates:

# %% [markdown] lang="zh"
# 除舍入误差外完全相同，与块的大小无关。它用了多少内存？`tracemalloc` 可以统计 NumPy 分配的内存：

# %%
lengths = [197, 577, 1025, 2049, 4097]
peaks = {"plain": [], "flash": []}
for N in lengths:
    q, k, v = (rng.standard_normal((N, 64), np.float32) for _ in range(3))
    for name, attend in (("plain", plain_attention), ("flash", flash_attention)):
        tracemalloc.start()
        attend(q, k, v)
        peaks[name].append(tracemalloc.get_traced_memory()[1] / 2**20)
        tracemalloc.stop()
print("tokens     plain     flash   (peak in MiB, one head, one image)")
for N, plain, flash in zip(lengths, peaks["plain"], peaks["flash"], strict=True):
    print(f"{N:6} {plain:9.2f} {flash:9.2f}")

figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.9), layout="constrained", width_ratios=(1, 1.25))
blocks = 6
for n in range(blocks * blocks):
    row, column = divmod(n, blocks)
    colour = BLUE if n < 20 else ORANGE if n == 20 else "white"
    left.add_patch(plt.Rectangle((column, row), 1, 1, facecolor=colour, edgecolor=GREY, alpha=0.6 if n < 20 else 1))
    left.text(column + 0.5, row + 0.5, n + 1, ha="center", va="center", fontsize=9)
left.set(xlim=(0, blocks), ylim=(blocks, 0), aspect="equal")
left.set(xlabel=both("keys", "键"), ylabel=both("queries", "查询"), xticks=[], yticks=[])
left.set_title(both("Orange: the scores in memory", "橙色：此刻内存中的分数"), fontsize=11)
right.plot(lengths, peaks["plain"], "o-", color=ORANGE, label=both("plain", "普通"))
right.plot(lengths, peaks["flash"], "s-", color=BLUE, label=both("in blocks", "分块"))
right.set(xscale="log", yscale="log", xlabel=both("tokens", "token 数"), ylabel="MiB")
right.set_xticks(lengths, lengths)
right.minorticks_off()
right.set_title(both("Peak memory of one head", "一个头的内存峰值"), fontsize=11)
right.grid(alpha=0.3)
right.legend()
show(
    figure,
    "Attention goes through the matrix block by block; its memory grows with the tokens, plain attention's with their "
    "square.",
    "分块注意力逐块扫过矩阵；其内存随 token 数增长，普通注意力随其平方增长。",
)

# %% [markdown] lang="en"
# > **Often told wrong.** Flash attention is not an approximation, and it does not reduce the multiplications: there
# > are still $N^2$ scores, and the backward pass computes them a second time. What it saves is memory, and the time
# > to write and read it: a block stays in the fast memory beside the matrix units.
#
# `functional.attention` calls MindSpore's fused operation, `ops.flash_attention_score`, where it can;
# `functional.flash_serves` says where. On a CPU the answer is always no, so the next cell pretends to be on a 910B to
# show the other conditions. Attention with a position bias, as Swin's, takes the plain way in any case. According to
# CANN's documentation the operation for training exists on Atlas A2 (910B) and newer.

# %% [markdown] lang="zh"
# > **常见误区。** Flash attention 不是近似，也不减少乘法：分数仍然有 $N^2$ 个，反向传播时还要再算一遍。它节省的是内
# > 存，以及读写内存的时间：一个块始终留在矩阵单元旁边的高速存储里。
#
# 条件允许时，`functional.attention` 会调用 MindSpore 的融合算子 `ops.flash_attention_score`；条件由
# `functional.flash_serves` 判断。在 CPU 上答案总是否，所以下面假装在 910B 上，好看到其他条件。带位置偏置的注意力（如
# Swin）总是走普通的路径。据 CANN 文档，用于训练的这个算子支持 Atlas A2（910B）及更新的产品。

# %%
cases = {
    "ViT-B/16, bf16": (ms.bfloat16, 64, 1.0),
    "ViT-B/16, fp16": (ms.float16, 64, 1.0),
    "float32": (ms.float32, 64, 1.0),
    "head of 20 (no multiple of 16)": (ms.float16, 20, 1.0),
    "head of 528 (above 512)": (ms.float16, 528, 1.0),
    "attention dropout 0.1": (ms.float16, 64, 0.9),
}
print(f"{'':31} here   on a 910B")
for name, case in cases.items():
    here = functional.flash_serves(*case)
    with mock.patch.object(functional, "has_flash_attention", lambda: True):
        print(f"{name:31} {here!s:6} {functional.flash_serves(*case)}")

# %% [markdown] lang="en"
# ## 7. Many devices
#
# **Data parallel** training: every device has the whole network and a part of each batch; gradients are averaged over
# the devices before the step. Is that the step of one device with the whole batch? The loss is a mean over images, so
# its gradient is the mean of the images' gradients, and the mean of two means over equal halves is the mean of all:
#
# $$\nabla \frac{1}{2B} \sum_{i=1}^{2B} L_i = \frac{1}{2} \Big( \nabla \frac{1}{B} \sum_{i=1}^{B} L_i +
# \nabla \frac{1}{B} \sum_{i=B+1}^{2B} L_i \Big)$$

# %% [markdown] lang="zh"
# ## 7. 多个设备
#
# **数据并行**：每个设备都有完整的网络，各处理每个批次的一部分，更新之前对各设备的梯度求平均。这与一个设备处理整个批次
# 的那一步相同吗？损失是对图像的平均，梯度就是各图像梯度的平均，而相等的两半各自平均后再平均，等于全体的平均：
#
# $$\nabla \frac{1}{2B} \sum_{i=1}^{2B} L_i = \frac{1}{2} \Big( \nabla \frac{1}{B} \sum_{i=1}^{B} L_i +
# \nabla \frac{1}{B} \sum_{i=B+1}^{2B} L_i \Big)$$

# %%
network = create_model("vit_nano_4")
network.set_train(False)
loss_fn = CrossEntropySmooth(num_classes=10)
gradients_of = ms.value_and_grad(lambda x, y: loss_fn(network(x), y), None, network.trainable_params())


def gradient(part):
    """All gradients of a part of the batch, end to end."""
    _, gradients = gradients_of(images[part], labels[part])
    return np.concatenate([g.asnumpy().ravel() for g in gradients])


whole = gradient(slice(0, 64))
halves = [gradient(slice(0, 32)), gradient(slice(32, 64))]
uneven = [gradient(slice(0, 48)), gradient(slice(48, 64))]
means = {
    "one half alone": halves[0],
    "mean of two halves": (halves[0] + halves[1]) / 2,
    "mean of 48 and 16 images": (uneven[0] + uneven[1]) / 2,
    "the same, weighted 3 to 1": (3 * uneven[0] + uneven[1]) / 4,
}
print(f"{whole.size:,} numbers; distance to the gradient of all 64 images, relative to its length")
for name, mean in means.items():
    print(f"{name:26} {np.linalg.norm(mean - whole) / np.linalg.norm(whole):.1e}")

# %% [markdown] lang="en"
# Two lessons: the parts must be equal, or be weighted (`TrainBatches` deals out equal ones), and nothing in the
# network may look across the batch. LayerNorm does not; BatchNorm does, and would normalise over each device's part.
#
# The devices must also see different images, and together the right ones. `TrainBatches(rank=..., ranks=...)` draws
# one order for all from the seed and deals it out:

# %% [markdown] lang="zh"
# 两点教训：各部分必须相等，否则就要加权（`TrainBatches` 分得一样多）；网络中不能有跨越批次的运算。层归一化没有；批归
# 一化有，它只会在各设备自己的那一部分上归一化。
#
# 各设备看到的图像还必须不同，合起来又不多不少。`TrainBatches(rank=..., ranks=...)` 由种子为所有设备抽取同一个顺序，再
# 分发下去：

# %%
one = TrainBatches(digits, preprocessing, 64)
two = [TrainBatches(digits, preprocessing, 32, rank=rank, ranks=2) for rank in (0, 1)]
together = np.concatenate([part.order(1) for part in two], axis=1)  # (batches, 64)
print(f"batches of an epoch: one device {one.order(1).shape}, two devices {two[0].order(1).shape} each")
print(f"together the same images, step by step: {np.array_equal(together, one.order(1))}")

print("\nswin_t: lr 1e-3 is meant for 1024 images a step (lr_batch_size)")
print("devices  images a step  learning rate")
for devices in (1, 2, 4, 8, 16):
    print(f"{devices:7}  {devices * 128:13}  {scaled_rate(1e-3, devices * 128, 1024):.3e}")

# %% [markdown] lang="en"
# The **linear scaling rule** (Goyal et al., section 2.1): a batch $k$ times as large stands for $k$ small steps, so
# its step is $k$ times as long. It is an argument for SGD, it needs a warm-up, and it ends at some batch size; with
# Adam it is a custom, and some take $\sqrt{k}$. A recipe asks for it with `lr_batch_size`; without, `lr` is what it
# says.
#
# ### Starting it
#
# ```shell
# bash scripts/run_distribute_train.sh 8 swin_t /data/imagenet            # eight devices of this machine
# bash scripts/run_distribute_train.sh 8 swin_t /data/imagenet --resume   # go on after an interruption
# bash scripts/run_distribute_train.sh 2 digits --device_target CPU       # try it without an NPU
# ```
#
# The script calls MindSpore's launcher, in short
#
# ```shell
# msrun --worker_num=8 --local_worker_num=8 --node_rank=0 --master_addr=127.0.0.1 --master_port=8118 \
#       --log_dir=runs/logs --join=True python -m vit_ms train --config swin_t --data_dir /data/imagenet
# ```
#
# | option | meaning |
# |---|---|
# | `worker_num`, `local_worker_num` | processes in all, and on this machine; each has one device |
# | `node_rank`, `master_addr`, `master_port` | which machine this is, and where they meet |
# | `log_dir` | each process prints to its own `worker_<n>.log` there |
# | `join` | wait until all have ended; if one fails, the others are stopped |
#
# Every process runs the same command. `runtime.setup` sees the launcher's environment variables, meets the others and
# takes its rank; `TrainStep(rank=..., ranks=...)` puts an averaging reducer before the optimizer. All start from the
# same seed, so from the same weights, and average the same gradients, so they keep them. Only rank 0 writes the run's
# folder. `--resume` works with another number of devices, too, if it divides the images of a step: `batch_size` is
# adapted. The details, and several machines: [docs/training.md](../../docs/training.md). (With two CPU processes this
# was tested; with NPUs not.)
#
# ## 8. Before the first long run
#
# Two cheap tests find many mistakes, and both can be read off section 2. A network that knows nothing should give
# every one of $K$ classes the probability $1/K$, so **the first loss should be about $\ln K$**. And a sound network
# and optimizer can learn **one batch** by heart: all 60 steps had the same images, ten of them half of these.

# %% [markdown] lang="zh"
# **线性缩放规则**（Goyal 等，2.1 节）：批量大 $k$ 倍，一步就相当于 $k$ 个小步，所以步长也要大 $k$ 倍。这是针对 SGD 的
# 论证，需要学习率预热，批量大到一定程度也会失效；对 Adam 则只是惯例，也有人用 $\sqrt{k}$。配方用 `lr_batch_size` 启用
# 它；不写，`lr` 就是所写的值。
#
# ### 启动
#
# ```shell
# bash scripts/run_distribute_train.sh 8 swin_t /data/imagenet            # 本机八个设备
# bash scripts/run_distribute_train.sh 8 swin_t /data/imagenet --resume   # 中断后继续
# bash scripts/run_distribute_train.sh 2 digits --device_target CPU       # 没有 NPU 时试一试
# ```
#
# 脚本调用 MindSpore 的启动工具，简写如下：
#
# ```shell
# msrun --worker_num=8 --local_worker_num=8 --node_rank=0 --master_addr=127.0.0.1 --master_port=8118 \
#       --log_dir=runs/logs --join=True python -m vit_ms train --config swin_t --data_dir /data/imagenet
# ```
#
# | 选项 | 含义 |
# |---|---|
# | `worker_num`、`local_worker_num` | 进程总数和本机进程数；每个进程一个设备 |
# | `node_rank`、`master_addr`、`master_port` | 本机是第几台，各进程在哪里会合 |
# | `log_dir` | 每个进程的输出写到其中各自的 `worker_<n>.log` |
# | `join` | 等到全部结束；有一个失败，其余也停止 |
#
# 每个进程运行同样的命令。`runtime.setup` 看到启动工具设置的环境变量，与其他进程会合并取得自己的编
# 号；`TrainStep(rank=..., ranks=...)` 在优化器之前加上求平均的通信。大家从同一个种子、也就是同样的权重开始，使用同样
# 的平均梯度，权重便始终相同。只有 0 号进程写训练文件夹。`--resume` 也可以换一个设备数，只要它能整除每步的图像
# 数，`batch_size` 会相应调整。细节和多机训练见 [docs/training.md](../../docs/training.md)。（用两个 CPU 进程测试过，
# 没有用 NPU 测试过。）
#
# ## 8. 第一次长时间训练之前
#
# 两个便宜的检验能发现许多错误，而且都可以从第 2 小节读出来。一无所知的网络应当给 $K$ 个类别各 $1/K$ 的概率，所以**最
# 初的损失应当接近 $\ln K$**。网络和优化器没有问题时，能把**一个批次**背下来：60 步用的都是同样的图像，其中十步只用了
# 一半。

# %%
print(f"ln 10 = {np.log(10):.3f}")
print(f"zero_head=True: loss at the first step {losses[0]:.3f}")
print(f"default head:   loss at the start      {float(loss_fn(network(images), labels)):.3f}")
print(f"after 60 steps on one batch:           {losses[-1]:.3f}")

figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
axes.plot(range(1, 61), losses, color=BLUE, label=both("one batch", "同一批次"))
axes.axhline(np.log(10), color=GREY, linestyle="--", label="ln 10")
axes.axvspan(20.5, 30.5, color=ORANGE, alpha=0.25, linewidth=0, label=both("its first half", "其前一半"))
axes.set(xlabel=both("step", "步"), title=both("Training loss on one batch", "一个批次上的训练损失"), ylim=0)
axes.grid(alpha=0.3)
axes.legend()
show(
    figure,
    "The training loss on one batch starts at ln 10 and falls to near zero in 60 steps.",
    "同一批次上的训练损失从 ln 10 开始，60 步内降到接近零。",
)

# %% [markdown] lang="en"
# With `zero_head=True` the first loss is $\ln K$ exactly; a head with random weights makes random logits and as a
# rule begins above it. A first loss far from it (10, or NaN) points to an input that was not normalised, a wrong
# number of classes, or initial weights that are too large. Wrong labels do not show here: they show in a validation
# accuracy that stays at chance. (Weights that were trained start lower, of course.)
#
# A check list for the first run on an NPU:
#
# 1. `python -m vit_ms doctor` says device Ascend, and nothing is marked with `!`.
# 2. `python -m vit_ms train --config digits --device_target Ascend --epoch_size 5`: minutes. The first step compiles;
#    the loss begins near $\ln 10$ and falls.
# 3. The same with `--precision fp32` and on the CPU, each with a `--ckpt_save_dir` of its own (a folder takes one
#    run): the losses of the first steps agree to a few digits. If half precision alone goes wrong, look there.
# 4. Your own data for one short epoch: `--epoch_size 1`, a small folder. `python -m vit_ms check-data --data_dir DIR`
#    first.
# 5. Seconds of the second epoch against the pipeline's images a second (section 4): is the host the bottleneck?
# 6. Stop it with Ctrl-C, go on with `--resume`.
# 7. Two devices, then eight; look into `runs/logs/worker_*.log`. The loss at the first steps should be near that of
#    one device with the whole batch (the random views are others).
# 8. Only then the long run, with `sink: true` and the recipe's precision.

# %% [markdown] lang="zh"
# `zero_head=True` 时，最初的损失恰好是 $\ln K$；分类头随机初始化时 logits 也是随机的，通常会高一些。如果相差很远（比
# 如 10，或者 NaN），多半是输入没有归一化、类别数不对，或者初始权重太大。标签错了在这里看不出来，要看验证准确率是否一
# 直停在随机水平。（从训练过的权重开始，当然会更低。）
#
# 第一次在 NPU 上运行的检查清单：
#
# 1. `python -m vit_ms doctor` 显示设备为 Ascend，没有标 `!` 的项目。
# 2. `python -m vit_ms train --config digits --device_target Ascend --epoch_size 5`：只需几分钟。第一步编译；损失从
#    $\ln 10$ 附近开始下降。
# 3. 再用 `--precision fp32`，并在 CPU 上各跑一次，每次用 `--ckpt_save_dir` 指定新的文件夹（一个文件夹只放一次训练）：
#    最初几步的损失应有几位有效数字一致。如果只有半精度出问题，就从半精度查起。
# 4. 换成自己的数据，跑很短的一个 epoch：`--epoch_size 1`，小文件夹。事先运行
#    `python -m vit_ms check-data --data_dir DIR`。
# 5. 把第二个 epoch 的用时与数据流水线每秒供应的图像数（第 4 小节）对照：瓶颈是不是主机？
# 6. 用 Ctrl-C 停止，再用 `--resume` 继续。
# 7. 两个设备，再到八个；查看 `runs/logs/worker_*.log`。最初几步的损失应与一个设备处理整个批次时接近（随机变换不同）。
# 8. 最后才是长时间训练，打开 `sink: true`，使用配方的精度。

# %% [markdown] lang="en"
# ## Summary
#
# - `device_target="auto"` is the whole change; precision and kernels follow from the device.
# - Graph mode compiles once for each shape: keep the shapes few.
# - The host has to supply images as fast as the device eats them, and must not be waited for between steps.
# - fp16 needs loss scaling, bf16 does not; LayerNorm, softmax and the loss are computed in float32 with both.
# - Fused attention gives the same result from running sums, without the $N \times N$ matrix.
# - The mean of equal parts' gradients is the whole batch's gradient; data parallel training rests on that.
#
# ### Three questions
#
# <details><summary>1. A data set has 1,000 images, and a loop of your own takes batches of 64 and keeps the short
# last one. What happens in graph mode?</summary>
#
# $1000 = 15 \cdot 64 + 40$: the last batch has 40 images, a second shape, so a second graph is compiled at the end of
# the first epoch. From then on both graphs are there, and only memory is lost. Leave the batch out in training, fill
# it up in evaluation.
# </details>
#
# <details><summary>2. How many bytes does each of eight devices send in a step of ViT-B/16 (86.6 million parameters)
# if gradients are averaged in float32 by a ring all-reduce?</summary>
#
# In a ring of $n$ devices each sends $2 (n - 1) / n$ times the size of the gradients:
# $2 \cdot \frac{7}{8} \cdot 86.6 \cdot 10^6 \cdot 4$ bytes, about 606 MB, nearly independent of $n$. It does not
# depend on the batch either, so larger batches make communication cheaper for each image.
# </details>
#
# <details><summary>3. Under loss scaling the gradients are clipped to norm 1. Does it matter whether they are clipped
# before or after they are divided by S?</summary>
#
# Yes. Before, their norm is $S$ times as large, so nearly all would be clipped, and divided by $S$ afterwards be far
# too small. `TrainStep` divides first, then tests for overflow, then clips. Likewise gradients are averaged over
# devices before the test, so that all devices skip the same steps.
# </details>
#
# ### Where to go next
#
# - [docs/training.md](../../docs/training.md) on runs, interruptions and several machines,
#   [docs/recipes.md](../../docs/recipes.md) on the recipes of the papers,
#   [docs/performance.md](../../docs/performance.md) on speed.
# - Try two processes on your CPU: `bash scripts/run_distribute_train.sh 2 digits --device_target CPU`.
# - Change the block size of `flash_attention`, or shuffle the order in which blocks of keys come: the result stays.
# - Have you an NPU? Then walk through the check list; what differs from what is written here is worth an issue.

# %% [markdown] lang="zh"
# ## 小结
#
# - 全部改动就是 `device_target="auto"`；精度和算子随设备而定。
# - 图模式对每种形状编译一次：形状要少。
# - 主机供应图像的速度要跟得上设备，步与步之间不能等待主机。
# - fp16 需要损失缩放，bf16 不需要；无论哪种，层归一化、softmax 和损失都用 float32 计算。
# - 融合注意力用递推的和得到同样的结果，不需要 $N \times N$ 的矩阵。
# - 相等的各部分梯度的平均，就是整个批次的梯度；数据并行就建立在这一点上。
#
# ### 三道思考题
#
# <details><summary>1. 数据集有 1000 张图像，自己写的循环每批取 64 张，并保留不足一批的尾部。图模式下会怎
# 样？</summary>
#
# $1000 = 15 \cdot 64 + 40$：最后一批只有 40 张，是另一种形状，所以第一个 epoch 结束时会再编译一张图。此后两张图都在，
# 只是多占内存。训练时应舍去这一批，评估时应把它补满。
# </details>
#
# <details><summary>2. 八个设备训练 ViT-B/16（8660 万参数），梯度为 float32，用环形 all-reduce 求平均，每个设备每步要
# 发送多少字节？</summary>
#
# $n$ 个设备组成的环中，每个设备发送梯度大小的 $2 (n - 1) / n$ 倍：$2 \cdot \frac{7}{8} \cdot 86.6 \cdot 10^6 \cdot 4$
# 字节，约 606 MB，几乎与 $n$ 无关。它也与批大小无关，所以批量越大，平摊到每张图像的通信越少。
# </details>
#
# <details><summary>3. 使用损失缩放时，梯度的范数裁剪到 1。先裁剪再除以 S，与先除以 S 再裁剪，有区别吗？</summary>
#
# 有。先裁剪的话，范数还带着 $S$ 倍，几乎每次都会被裁剪，之后再除以 $S$ 就小得多了。`TrainStep` 先除以 $S$，再检查溢
# 出，最后裁剪。同样，梯度先在设备间求平均、再检查溢出，这样所有设备跳过的是同样的步。
# </details>
#
# ### 下一步
#
# - [docs/training.md](../../docs/training.md) 讲训练、中断与多机，[docs/recipes.md](../../docs/recipes.md) 讲各论文的
#   配方，[docs/performance.md](../../docs/performance.md) 讲速度。
# - 在自己的 CPU 上试试两个进程：`bash scripts/run_distribute_train.sh 2 digits --device_target CPU`。
# - 改变 `flash_attention` 的块大小，或打乱键的各块到来的顺序：结果不变。
# - 手边有 NPU？请照清单走一遍；凡与这里所写不符的，都值得提一个 issue。
