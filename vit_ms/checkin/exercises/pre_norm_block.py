"""A block of the encoder: two residual connections, normalised at the entrance of each branch."""

import numpy as np
from mindspore import nn

from vit_ms.checkin.calling import Part
from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


class _Parts(nn.Cell):
    def __init__(self, norm1, attention, norm2, mlp):
        super().__init__()
        self.norm1, self.attention, self.norm2, self.mlp = norm1, attention, norm2, mlp


class PreNormBlock(_Parts):
    def construct(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _PostNorm(_Parts):
    def construct(self, x):
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.mlp(x))


class _NoResiduals(_Parts):
    def construct(self, x):
        return self.mlp(self.norm2(self.attention(self.norm1(x))))


class _NoFirstResidual(_Parts):
    def construct(self, x):
        x = self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _NoSecondResidual(_Parts):
    def construct(self, x):
        x = x + self.attention(self.norm1(x))
        return self.mlp(self.norm2(x))


class _NormOnTheResidual(_Parts):
    def construct(self, x):
        x = self.norm1(x)
        x = x + self.attention(x)
        x = self.norm2(x)
        return x + self.mlp(x)


class _NormBehindTheBranch(_Parts):
    def construct(self, x):
        x = x + self.norm1(self.attention(x))
        return x + self.norm2(self.mlp(x))


class _NoNorms(_Parts):
    def construct(self, x):
        x = x + self.attention(x)
        return x + self.mlp(x)


class _NoFirstNorm(_Parts):
    def construct(self, x):
        x = x + self.attention(x)
        return x + self.mlp(self.norm2(x))


class _NoSecondNorm(_Parts):
    def construct(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(x)


class _NormsSwapped(_Parts):
    def construct(self, x):
        x = x + self.attention(self.norm2(x))
        return x + self.mlp(self.norm1(x))


class _OneNormTwice(_Parts):
    def construct(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm1(x))


class _MlpFirst(_Parts):
    def construct(self, x):
        x = x + self.mlp(self.norm2(x))
        return x + self.attention(self.norm1(x))


class _Parallel(_Parts):
    def construct(self, x):
        return x + self.attention(self.norm1(x)) + self.mlp(self.norm2(x))


class _FirstInputAgain(_Parts):
    def construct(self, x):
        return x + self.mlp(self.norm2(x + self.attention(self.norm1(x))))


class _InputAddedTwice(_Parts):
    def construct(self, x):
        between = x + self.attention(self.norm1(x))
        return x + between + self.mlp(self.norm2(between))


class _HalfABlock(_Parts):
    def construct(self, x):
        return x + self.attention(self.norm1(x))


def cases(rng):
    def array(*shape, size=1.0, start=0.0):
        return (start + size * rng.standard_normal(shape)).astype(np.float32)

    for about, shape, training in (
        (Text("2 images, 3 tokens, D = 5", "2 张图像、3 个 token，D = 5"), (2, 3, 5), False),
        (Text("one image, 6 tokens, D = 4, training", "1 张图像、6 个 token，D = 4，训练模式"), (1, 6, 4), True),
    ):
        d = shape[-1]
        parts = {}
        for norm, branch in (("norm1", "attention"), ("norm2", "mlp")):
            parts[norm] = Part("layer_norm", (array(d, size=0.3, start=1.0), array(d, size=0.3)))
            parts[branch] = Part("dense", (array(d, d, size=d**-0.5), array(d, size=0.3)))
        yield Case(about, (array(*shape, size=2.0),), parts, training)


EXERCISE = Exercise(
    name="pre_norm_block",
    notebook="04_encoder_and_vit",
    section=5,
    kind="cell",
    title=Text("A pre-norm block", "pre-norm 的一层"),
    statement=Text(
        "Write the class `PreNormBlock(norm1, attention, norm2, mlp)`, one block of ViT's encoder:\n\n"
        "$$z' = \\text{MSA}(\\text{LN}_1(z)) + z, \\qquad \\text{MLP}(\\text{LN}_2(z')) + z'$$\n\n"
        "The four arguments are cells that are made already, each from a Tensor (B, N, D) to one of the same shape; keep "
        "their names. `construct` takes a Tensor (B, N, D) and returns one. (The check gives dense layers in place of "
        "attention and MLP: the block does not look inside.)",
        "写出类 `PreNormBlock(norm1, attention, norm2, mlp)`，即 ViT 编码器的一层：\n\n"
        "$$z' = \\text{MSA}(\\text{LN}_1(z)) + z, \\qquad \\text{MLP}(\\text{LN}_2(z')) + z'$$\n\n"
        "四个参数都是已经建好的 Cell，输入、输出都是形状为 (B, N, D) 的 Tensor；参数名不要改。`construct` 接收并返回形状为 "
        "(B, N, D) 的 Tensor。（检查时用全连接层代替注意力和 MLP：这一层不关心它们内部是什么。）",
    ),
    solution="PreNormBlock",
    starter=(
        "class PreNormBlock(nn.Cell):\n"
        "    def __init__(self, norm1, attention, norm2, mlp):\n"
        "        super().__init__()\n"
        "        ...\n"
        "\n"
        "    def construct(self, z):\n"
        "        ...\n"
    ),
    hints=(
        Text(
            "Keep the four cells in __init__ (self.norm1 = norm1, ...); construct is the two equations, one line each.",
            "在 __init__ 中保存四个 Cell（self.norm1 = norm1，……）；construct 就是两个公式，各写一行。",
        ),
        Text(
            "The normalised tokens go into the branch alone; what is added is the stream as it was before the norm.",
            "归一化后的 token 只进入分支；相加的是归一化之前的主干。",
        ),
        Text(
            "First line: z = z + self.attention(self.norm1(z)). The second is the same with norm2 and mlp, and reads the "
            "new z in both places.",
            "第一行：z = z + self.attention(self.norm1(z))。第二行换成 norm2 和 mlp，两处用的都是新的 z。",
        ),
    ),
    reference=PreNormBlock,
    cases=cases,
    mistakes=(
        Mistake(
            "post-norm",
            _PostNorm,
            Text(
                "this is post-norm: LN(f(z) + z). In pre-norm the LayerNorm stands at the entrance of the branch, "
                "f(LN(z)) + z",
                "这是 post-norm：LN(f(z) + z)。pre-norm 的层归一化在分支的入口：f(LN(z)) + z",
            ),
        ),
        Mistake(
            "residuals forgotten",
            _NoResiduals,
            Text(
                "both residual connections are missing: each half adds its input",
                "两个残差连接都缺：每一半都要加上输入",
            ),
        ),
        Mistake(
            "first residual forgotten",
            _NoFirstResidual,
            Text("the residual connection around attention is missing", "注意力外面的残差连接没有写"),
        ),
        Mistake(
            "second residual forgotten",
            _NoSecondResidual,
            Text("the residual connection around the MLP is missing", "MLP 外面的残差连接没有写"),
        ),
        Mistake(
            "norm on the residual",
            _NormOnTheResidual,
            Text(
                "the normalised tokens are added, not the stream itself: the norm is for the branch alone, z + f(LN(z))",
                "相加的是归一化后的 token，而不是主干本身：归一化只用于分支，z + f(LN(z))",
            ),
        ),
        Mistake(
            "norm behind the branch",
            _NormBehindTheBranch,
            Text(
                "the LayerNorm is applied to what the branch returns: it belongs before it, f(LN(z))",
                "层归一化用在了分支的输出上：应当用在分支之前，f(LN(z))",
            ),
        ),
        Mistake("norms forgotten", _NoNorms, Text("the LayerNorms are not used", "没有用到层归一化")),
        Mistake(
            "first norm forgotten",
            _NoFirstNorm,
            Text("norm1 is not used: it stands before attention", "没有用到 norm1：它在注意力之前"),
        ),
        Mistake(
            "second norm forgotten",
            _NoSecondNorm,
            Text("norm2 is not used: it stands before the MLP", "没有用到 norm2：它在 MLP 之前"),
        ),
        Mistake(
            "norms swapped",
            _NormsSwapped,
            Text(
                "norm1 and norm2 have changed places: norm1 goes with attention",
                "norm1 和 norm2 用反了：norm1 配注意力",
            ),
        ),
        Mistake(
            "one norm twice",
            _OneNormTwice,
            Text(
                "norm1 is used in both halves: each has a LayerNorm of its own, the second is norm2",
                "两半都用了 norm1：每一半各有自己的层归一化，第二半用 norm2",
            ),
        ),
        Mistake(
            "MLP first",
            _MlpFirst,
            Text("the MLP comes before attention: attention is the first half", "MLP 排在了注意力之前：注意力是前一半"),
        ),
        Mistake(
            "halves side by side",
            _Parallel,
            Text(
                "both halves read the block's input: the MLP is to read what comes out of the attention half",
                "两半读的都是这一层的输入：MLP 应当读注意力那一半的输出",
            ),
        ),
        Mistake(
            "first input added again",
            _FirstInputAgain,
            Text(
                "the second residual connection adds the block's input: it is to add z', the output of the first half",
                "第二个残差连接加的是这一层的输入：应当加前一半的输出 z'",
            ),
        ),
        Mistake(
            "input added twice",
            _InputAddedTwice,
            Text(
                "the block's input is added once too often: z' holds it already",
                "这一层的输入多加了一次：z' 中已经包含它",
            ),
        ),
        Mistake(
            "half a block",
            _HalfABlock,
            Text("this is the attention half alone: the MLP half is missing", "只有注意力这一半：缺少 MLP 那一半"),
        ),
    ),
)
