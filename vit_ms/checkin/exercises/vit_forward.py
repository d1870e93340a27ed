"""The forward pass of ViT from its parts: equations 1 and 4 of the ViT paper."""

import numpy as np
from mindspore import nn, ops

from vit_ms.checkin.calling import Part
from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


class ViT(nn.Cell):
    """Right; what makes a mistake replaces one of the methods."""

    def __init__(self, patch_embedding, transformer, norm, dense):
        super().__init__()
        self.patch_embedding, self.transformer, self.norm, self.dense = patch_embedding, transformer, norm, dense

    def tokens(self, embedded, first, positions):
        return ops.concat((first, embedded), axis=1) + positions  # (B, N + 1, D)

    def logits(self, z0):
        return self.dense(self.norm(self.transformer(z0))[:, 0])  # (B, K)

    def construct(self, patches, cls_token, pos_embedding):
        first = ops.tile(cls_token, (patches.shape[0], 1, 1))  # (B, 1, D)
        z0 = self.tokens(self.patch_embedding(patches), first, pos_embedding)
        return z0, self.logits(z0)


def _tokens(join):
    class Wrong(ViT):
        def tokens(self, embedded, first, positions):
            return join(embedded, first, positions)

    return Wrong


def _logits(read):
    class Wrong(ViT):
        def logits(self, z0):
            return read(self, z0)

    return Wrong


class _ClassTokenLastAndRead(ViT):
    def tokens(self, embedded, first, positions):
        return ops.concat((embedded, first), axis=1) + positions

    def logits(self, z0):
        return self.dense(self.norm(self.transformer(z0))[:, -1])


class _PositionsAfterTheEncoder(ViT):
    def construct(self, patches, cls_token, pos_embedding):
        first = ops.tile(cls_token, (patches.shape[0], 1, 1))
        z0 = ops.concat((first, self.patch_embedding(patches)), axis=1)
        return z0, self.dense(self.norm(self.transformer(z0) + pos_embedding)[:, 0])


class _LaterTokens(ViT):
    def construct(self, patches, cls_token, pos_embedding):
        z0, logits = super().construct(patches, cls_token, pos_embedding)
        return self.transformer(z0), logits


class _LaterTokensNormalised(ViT):
    def construct(self, patches, cls_token, pos_embedding):
        z0, logits = super().construct(patches, cls_token, pos_embedding)
        return self.norm(self.transformer(z0)), logits


class _OutputsSwapped(ViT):
    def construct(self, patches, cls_token, pos_embedding):
        z0, logits = super().construct(patches, cls_token, pos_embedding)
        return logits, z0


_CLASS_TOKEN_LAST = Text(
    "the class token stands at the end of the sequence: it is to be token 0",
    "类别 token 放到了序列末尾：它应当是第 0 个 token",
)
_MEAN = Text(
    "the logits come from a mean over tokens: the head is to read the class token alone",
    "logits 来自 token 的平均值：分类器应当只读取类别 token",
)
_NOT_Z0 = Text(
    "the first output is what the encoder made of z_0: return the sequence that goes into it",
    "第一个输出已经过编码器：应当返回进入编码器之前的 z_0",
)


def cases(rng):
    def array(*shape, size=1.0, start=0.0):
        return (start + size * rng.standard_normal(shape)).astype(np.float32)

    for about, (images, number, length, dim, classes) in (
        (
            Text("4 images, 6 patches of 3 numbers, D = 5, K = 2", "4 张图像，6 个图像块、每块 3 个数，D = 5，K = 2"),
            (4, 6, 3, 5, 2),
        ),
        (
            Text("one image, 9 patches of 8 numbers, D = 4, K = 3", "1 张图像，9 个图像块、每块 8 个数，D = 4，K = 3"),
            (1, 9, 8, 4, 3),
        ),
    ):
        parts = {
            "patch_embedding": Part("dense", (array(dim, length, size=length**-0.5), array(dim, size=0.3))),
            "transformer": Part("dense", (array(dim, dim, size=dim**-0.5), array(dim, size=0.3))),
            "norm": Part("layer_norm", (array(dim, size=0.3, start=1.0), array(dim, size=0.3))),
            "dense": Part("dense", (array(classes, dim, size=dim**-0.5), array(classes, size=0.3))),
        }
        yield Case(about, (array(images, number, length), array(1, 1, dim), array(1, number + 1, dim)), parts)


EXERCISE = Exercise(
    name="vit_forward",
    notebook="01_five_minutes_to_vit",
    section=4,
    kind="cell",
    title=Text("The forward pass of ViT", "ViT 的前向计算"),
    statement=Text(
        "Write `construct` of the class `ViT(patch_embedding, transformer, norm, dense)`: from a batch of patches to "
        "the logits, by equations 1 and 4. The four arguments are the parts of this section, cells that are made "
        "already; keep their names. `patch_embedding` makes (B, N, D) of the patches, `transformer` is the encoder "
        "and `norm` the last LayerNorm, both keep the shape, `dense` makes K logits of D numbers.\n\n"
        "`construct(patches, cls_token, pos_embedding)` takes Tensors (B, N, P·P·C), (1, 1, D) and (1, N + 1, D); "
        "the last two are the same for all images. It returns two Tensors: $z_0$, what goes into the encoder, (B, N "
        "+ 1, D) with the class token as token 0; and the logits, (B, K). ($z_0$ is asked for as well because the "
        "check gives a dense layer in place of the encoder, which lets no token see another.)",
        "写出类 `ViT(patch_embedding, transformer, norm, dense)` 的 `construct`：按公式（1）和（4），从一批图像块算"
        "出 logits。四个参数就是本节的各个部件，都是已经建好的 Cell，参数名不要改：`patch_embedding` 把图像块变成 "
        "(B, N, D)，`transformer` 是编码器，`norm` 是最后的层归一化，两者都不改变形状，`dense` 由 D 个数算出 K 个 "
        "logits。\n\n"
        "`construct(patches, cls_token, pos_embedding)` 接收形状为 (B, N, P·P·C)、(1, 1, D) 和 (1, N + 1, D) 的 "
        "Tensor，后两个由所有图像共用。返回两个 Tensor：进入编码器的 $z_0$，形状 (B, N + 1, D)，第 0 个 token 是类别 "
        "token；以及 logits，形状 (B, K)。（检查时用全连接层代替编码器，token 之间不交换信息，所以也要返回 $z_0$。）",
    ),
    solution="ViT",
    starter=(
        "class ViT(nn.Cell):\n"
        "    def __init__(self, patch_embedding, transformer, norm, dense):\n"
        "        super().__init__()\n"
        "        self.patch_embedding = patch_embedding\n"
        "        self.transformer = transformer\n"
        "        self.norm = norm\n"
        "        self.dense = dense\n"
        "\n"
        "    def construct(self, patches, cls_token, pos_embedding):\n"
        "        ...\n"
    ),
    hints=(
        Text(
            "The cell that walks through the network has the steps in their order, for one image. What changes with B "
            "images? ops.concat wants B class tokens.",
            "本节逐个调用各部分的代码已按顺序列出每一步，但只有一张图像。换成 B 张图像，哪里要改？ops.concat 需要 B "
            "个类别 token。",
        ),
        Text(
            "ops.tile(cls_token, (B, 1, 1)) has shape (B, 1, D). Put it in front of the embedded patches on axis 1, "
            "then add pos_embedding: that is z_0.",
            "ops.tile(cls_token, (B, 1, 1)) 的形状是 (B, 1, D)。沿 axis=1 把它拼在图像块嵌入之前，再加 "
            "pos_embedding，就是 z_0。",
        ),
        Text(
            "y = self.norm(self.transformer(z0))[:, 0] is the class token of each image, (B, D); return z0, "
            "self.dense(y).",
            "y = self.norm(self.transformer(z0))[:, 0] 是每张图像的类别 token，形状 (B, D)；最后 return z0, "
            "self.dense(y)。",
        ),
    ),
    reference=ViT,
    cases=cases,
    mistakes=(
        Mistake(
            "class token last",
            _tokens(lambda embedded, first, positions: ops.concat((embedded, first), axis=1) + positions),
            _CLASS_TOKEN_LAST,
        ),
        Mistake("class token last", _ClassTokenLastAndRead, _CLASS_TOKEN_LAST),
        Mistake(
            "positions forgotten",
            _tokens(lambda embedded, first, positions: ops.concat((first, embedded), axis=1)),
            Text("pos_embedding is not added", "没有加位置编码 pos_embedding"),
        ),
        Mistake(
            "no position for the class token",
            _tokens(lambda embedded, first, positions: ops.concat((first, embedded + positions[:, 1:]), axis=1)),
            Text(
                "the class token has got no position: add the positions after it is in the sequence",
                "类别 token 没有加位置编码：应当先拼接，再相加",
            ),
        ),
        Mistake(
            "positions one place off",
            _tokens(lambda embedded, first, positions: ops.concat((first, embedded + positions[:, :-1]), axis=1)),
            Text(
                "row 0 of the positions belongs to the class token; here the first patch has got it: concatenate "
                "first, then add",
                "位置编码的第 0 行属于类别 token，这里却加到了第一个图像块上：应当先拼接，再相加",
            ),
        ),
        Mistake(
            "positions after the encoder",
            _PositionsAfterTheEncoder,
            Text(
                "the positions are added behind the encoder: it needs them at its entrance",
                "位置编码加在了编码器之后：应当加在编码器的输入上",
            ),
        ),
        Mistake(
            "encoder forgotten",
            _logits(lambda self, z0: self.dense(self.norm(z0)[:, 0])),
            Text(
                "the encoder is not used: transformer comes before the norm", "没有用到编码器：transformer 在 norm 之前"
            ),
        ),
        Mistake(
            "norm forgotten",
            _logits(lambda self, z0: self.dense(self.transformer(z0)[:, 0])),
            Text(
                "the last LayerNorm is missing: equation 4 normalises what the encoder returns",
                "缺少最后的层归一化：公式（4）对编码器的输出做归一化",
            ),
        ),
        Mistake(
            "norm before the encoder",
            _logits(lambda self, z0: self.dense(self.transformer(self.norm(z0))[:, 0])),
            Text(
                "norm is applied to z_0, before the encoder: it belongs behind the last block",
                "norm 用在了编码器之前的 z_0 上：它应当在最后一层之后",
            ),
        ),
        Mistake(
            "mean of the tokens", _logits(lambda self, z0: self.dense(self.norm(self.transformer(z0)).mean(1))), _MEAN
        ),
        Mistake(
            "mean of the tokens", _logits(lambda self, z0: self.dense(self.norm(self.transformer(z0).mean(1)))), _MEAN
        ),
        Mistake(
            "mean of the tokens",
            _logits(lambda self, z0: self.dense(self.norm(self.transformer(z0))[:, 1:].mean(1))),
            _MEAN,
        ),
        Mistake(
            "last token read",
            _logits(lambda self, z0: self.dense(self.norm(self.transformer(z0))[:, -1])),
            Text(
                "the head reads the last token: the class token is token 0",
                "分类器读取了最后一个 token：类别 token 是第 0 个",
            ),
        ),
        Mistake(
            "first patch read",
            _logits(lambda self, z0: self.dense(self.norm(self.transformer(z0))[:, 1])),
            Text(
                "the head reads token 1, the first patch: the class token is token 0",
                "分类器读取了第 1 个 token，即第一个图像块：类别 token 是第 0 个",
            ),
        ),
        Mistake(
            "head on all tokens",
            _logits(lambda self, z0: self.dense(self.norm(self.transformer(z0)))),
            Text(
                "there are logits of every token: take the class token, [:, 0], before the head",
                "每个 token 都算出了 logits：应当先用 [:, 0] 取出类别 token，再送入分类器",
            ),
        ),
        Mistake(
            "first image read",
            _logits(lambda self, z0: self.dense(self.norm(self.transformer(z0))[0])),
            Text(
                "[0] takes all tokens of the first image: [:, 0] takes token 0 of every image",
                "[0] 取的是第一张图像的所有 token：[:, 0] 才是每张图像的第 0 个 token",
            ),
        ),
        Mistake(
            "axis of the tokens kept",
            _logits(lambda self, z0: self.dense(self.norm(self.transformer(z0))[:, :1])),
            Text(
                "the logits have an axis of length 1 too many: [:, 0] takes the class token without its axis",
                "logits 多了长度为 1 的一维：用 [:, 0] 取类别 token 就不会保留这一维",
            ),
        ),
        Mistake(
            "head forgotten",
            _logits(lambda self, z0: self.norm(self.transformer(z0))[:, 0]),
            Text(
                "the second output is y, the normalised class token: dense makes the logits of it",
                "第二个输出是 y，即归一化后的类别 token：还要经过 dense 才是 logits",
            ),
        ),
        Mistake("z_0 overwritten", _LaterTokens, _NOT_Z0),
        Mistake("z_0 overwritten", _LaterTokensNormalised, _NOT_Z0),
        Mistake(
            "outputs swapped",
            _OutputsSwapped,
            Text("the outputs have changed places: z_0 first, then the logits", "两个输出颠倒了：先 z_0，后 logits"),
        ),
    ),
)
