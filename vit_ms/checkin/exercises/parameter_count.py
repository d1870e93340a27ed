"""The number of parameters of a ViT, from its sizes."""

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def parameter_count(image_size, patch_size, channels, dim, depth, num_heads, mlp_dim, num_classes):
    patches = (image_size // patch_size) ** 2
    embedding = (patch_size**2 * channels + 1) * dim
    class_token, positions = dim, (patches + 1) * dim
    norms = 2 * 2 * dim
    attention = 4 * (dim + 1) * dim  # q, k, v and the output, whatever the number of heads
    mlp = (dim + 1) * mlp_dim + (mlp_dim + 1) * dim
    last_norm, head = 2 * dim, (dim + 1) * num_classes
    return embedding + class_token + positions + depth * (norms + attention + mlp) + last_norm + head


def _less(missing):
    """What is found where `missing`, of the sizes by their letters, is left out."""

    def wrong(image_size, patch_size, channels, dim, depth, num_heads, mlp_dim, num_classes):
        right = parameter_count(image_size, patch_size, channels, dim, depth, num_heads, mlp_dim, num_classes)
        patches = (image_size // patch_size) ** 2
        return right - missing(
            P=patch_size, C=channels, N=patches, D=dim, L=depth, H=num_heads, M=mlp_dim, K=num_classes
        )

    return wrong


def _mistake(code, missing, en, zh):
    return Mistake(code, _less(missing), Text(en, zh))


def cases(rng):
    for about, sizes in (
        (
            Text("image 40, P = 8, C = 3, D = 12, L = 3", "图像 40，P = 8，C = 3，D = 12，L = 3"),
            (40, 8, 3, 12, 3, 6, 41, 7),
        ),
        (Text("vit_nano_4", "vit_nano_4"), (16, 4, 1, 64, 4, 4, 128, 10)),
        (Text("ViT-B/16", "ViT-B/16"), (224, 16, 3, 768, 12, 12, 3072, 1000)),
    ):
        yield Case(about, sizes)


EXERCISE = Exercise(
    name="parameter_count",
    notebook="04_encoder_and_vit",
    section=8,
    kind="numpy",
    title=Text("Counting the parameters of a ViT", "计算 ViT 的参数量"),
    statement=Text(
        "Write `parameter_count(image_size, patch_size, channels, dim, depth, num_heads, mlp_dim, num_classes)`: the "
        "number of learned parameters of a ViT, a whole number. The image is a square of `image_size` pixels a side; `dim` "
        "is D, `depth` the number of blocks, `mlp_dim` the hidden width M.\n\n"
        "It has: the patch embedding; a class token; learned positions, a row for each token; in each block two LayerNorms, "
        "the projections to q, k, v and of the output, and an MLP of two dense layers; one more LayerNorm; a dense layer as "
        "classifier. Every projection and dense layer has a bias, every LayerNorm gamma and beta.",
        "写出 `parameter_count(image_size, patch_size, channels, dim, depth, num_heads, mlp_dim, num_classes)`：ViT 的可学习"
        "参数总数，一个整数。图像是边长 `image_size` 像素的正方形；`dim` 即 D，`depth` 是层数，`mlp_dim` 是 MLP 的隐藏"
        "宽度 M。\n\n"
        "它包含：图像块嵌入；类别 token；可学习的位置编码，每个 token 一行；每层有两个层归一化、q、k、v 与输出的"
        "投影，以及由两个全连接层组成的 MLP；末尾还有一个层归一化；分类器是一个全连接层。每个投影和"
        "全连接层都有偏置，每个层归一化都有 gamma 和 beta。",
    ),
    solution="parameter_count",
    starter=(
        "def parameter_count(image_size, patch_size, channels, dim, depth, num_heads, mlp_dim, num_classes):\n    ...\n"
    ),
    hints=(
        Text(
            "A dense layer from a to b numbers has a b weights and b biases; a LayerNorm has 2 D parameters.",
            "从 a 个数到 b 个数的全连接层有 a·b 个权重和 b 个偏置；一个层归一化有 2D 个参数。",
        ),
        Text(
            "Before the blocks: (P^2 C + 1) D for the patches, D for the class token, (N + 1) D for the positions, with "
            "N = (image_size // patch_size)^2.",
            "编码器之前：图像块嵌入 (P²C + 1) D，类别 token D，位置编码 (N + 1) D，其中 N = (image_size // patch_size)²。",
        ),
        Text(
            "A block: 4 D for the norms, 4 D^2 + 4 D for attention, 2 D M + M + D for the MLP. After the blocks: 2 D and "
            "(D + 1) K.",
            "每层：层归一化 4D，注意力 4D² + 4D，MLP 为 2DM + M + D。编码器之后：2D 与 (D + 1) K。",
        ),
    ),
    reference=parameter_count,
    cases=cases,
    mistakes=(
        _mistake(
            "heads counted",
            lambda D, L, H, **_: -(H - 1) * L * 4 * (D + 1) * D,
            "the parameters of attention are multiplied by num_heads: the heads share the width out among them",
            "注意力的参数乘了 num_heads：各个头均分宽度，参数量与头数无关",
        ),
        _mistake(
            "a matrix for each patch",
            lambda P, C, N, D, **_: -(N - 1) * (P**2 * C + 1) * D,
            "the patch embedding is counted for each patch: all patches share one matrix and one bias",
            "图像块嵌入按块数重复计算了：所有图像块共用一个矩阵和一个偏置",
        ),
        _mistake(
            "patch side not squared",
            lambda P, C, D, **_: (P**2 - P) * C * D,
            "a patch has patch_size^2 pixels, not patch_size",
            "一个图像块有 patch_size² 个像素，而不是 patch_size 个",
        ),
        _mistake(
            "channels forgotten",
            lambda P, C, D, **_: P**2 * (C - 1) * D,
            "each pixel of a patch has as many numbers as there are channels",
            "图像块的每个像素有 channels 个数，漏乘了通道数",
        ),
        _mistake(
            "patch embedding forgotten",
            lambda P, C, D, **_: (P**2 * C + 1) * D,
            "the patch embedding is missing",
            "缺少图像块嵌入",
        ),
        _mistake(
            "patches of one row",
            lambda N, D, **_: (N - round(N**0.5)) * D,
            "the number of patches is (image_size / patch_size)^2: rows times columns",
            "图像块数是 (image_size / patch_size)²：行数乘列数",
        ),
        _mistake(
            "patch and grid confused",
            lambda P, N, D, **_: (N - P**2) * D,
            "patch_size^2 is the number of pixels of a patch, not the number of patches",
            "patch_size² 是一个图像块的像素数，不是图像块的个数",
        ),
        _mistake(
            "positions forgotten",
            lambda N, D, **_: (N + 1) * D,
            "the positions are missing: a row of D for each of N + 1 tokens",
            "缺少位置编码：N + 1 个 token，每个一行 D 个数",
        ),
        _mistake(
            "class token and positions forgotten",
            lambda N, D, **_: (N + 2) * D,
            "class token and positions are missing",
            "缺少类别 token 和位置编码",
        ),
        _mistake(
            "D short",
            lambda D, **_: D,
            "just D are missing: the class token itself, its row among the positions, or the bias of the patch embedding",
            "恰好少了 D 个：类别 token 本身、位置编码中属于它的一行，或者图像块嵌入的偏置",
        ),
        _mistake(
            "2 D short",
            lambda D, **_: 2 * D,
            "just 2 D are missing: the last LayerNorm; or the class token together with its row among the positions",
            "恰好少了 2D 个：末尾的层归一化；或者类别 token 连同位置编码中属于它的一行",
        ),
        _mistake(
            "one block",
            lambda D, L, M, **_: (L - 1) * (4 * D + 4 * (D + 1) * D + 2 * D * M + M + D),
            "only one block is counted: there are depth of them",
            "只算了一层：编码器共有 depth 层",
        ),
        _mistake(
            "norms forgotten",
            lambda D, L, **_: 4 * D * L + 2 * D,
            "the LayerNorms are missing: each has gamma and beta, 2 D",
            "缺少层归一化：每个都有 gamma 和 beta，共 2D 个",
        ),
        _mistake(
            "gamma alone",
            lambda D, L, **_: 2 * D * L + D,
            "each LayerNorm is counted as D: it has gamma and beta, 2 D",
            "每个层归一化只算了 D 个：它有 gamma 和 beta，共 2D 个",
        ),
        _mistake(
            "4 D short in each block",
            lambda D, L, **_: 4 * D * L,
            "4 D are missing in each block: the two LayerNorms, or the biases of q, k, v and of the output",
            "每层少了 4D 个：两个层归一化，或者 q、k、v 与输出投影的偏置",
        ),
        _mistake(
            "2 D short in each block",
            lambda D, L, **_: 2 * D * L,
            "2 D are missing in each block: it has two LayerNorms of 2 D each",
            "每层少了 2D 个：每层有两个层归一化，各 2D 个",
        ),
        _mistake(
            "3 D short in each block",
            lambda D, L, **_: 3 * D * L,
            "3 D are missing in each block: the biases of q, k and v",
            "每层少了 3D 个：q、k、v 的偏置",
        ),
        _mistake(
            "D short in each block",
            lambda D, L, **_: D * L,
            "D are missing in each block: the bias of attention's output, or of the MLP's second layer",
            "每层少了 D 个：注意力输出投影的偏置，或者 MLP 第二个全连接层的偏置",
        ),
        _mistake(
            "biases of the MLP forgotten",
            lambda D, L, M, **_: (M + D) * L,
            "the biases of the MLP are missing: M and D in each block",
            "缺少 MLP 的偏置：每层 M 个和 D 个",
        ),
        _mistake(
            "M short in each block",
            lambda L, M, **_: M * L,
            "M are missing in each block: the bias of the MLP's first layer",
            "每层少了 M 个：MLP 第一个全连接层的偏置",
        ),
        _mistake(
            "biases of the blocks forgotten",
            lambda D, L, M, **_: (5 * D + M) * L,
            "the biases in the blocks are missing: 4 D of attention, M + D of the MLP",
            "缺少各层中的偏置：注意力 4D 个，MLP 为 M + D 个",
        ),
        _mistake(
            "biases forgotten",
            lambda D, L, M, K, **_: D + (5 * D + M) * L + K,
            "no bias is counted: every projection and dense layer has one",
            "没有计入任何偏置：每个投影和全连接层都有偏置",
        ),
        _mistake(
            "output projection forgotten",
            lambda D, L, **_: (D + 1) * D * L,
            "the output projection of attention is missing: D^2 + D in each block",
            "缺少注意力的输出投影：每层 D² + D 个",
        ),
        _mistake(
            "q, k, v as one",
            lambda D, L, **_: 2 * (D + 1) * D * L,
            "q, k and v are counted as one projection: they are three",
            "q、k、v 只算了一个投影：应当是三个",
        ),
        _mistake(
            "one layer of the MLP",
            lambda D, L, M, **_: (M + 1) * D * L,
            "the MLP has two dense layers: from D to M and back",
            "MLP 有两个全连接层：从 D 到 M，再回到 D",
        ),
        _mistake(
            "classifier forgotten",
            lambda D, K, **_: (D + 1) * K,
            "the classifier is missing: (D + 1) K",
            "缺少分类器：(D + 1) K 个",
        ),
        _mistake(
            "K short",
            lambda K, **_: K,
            "just num_classes are missing: the bias of the classifier",
            "恰好少了 num_classes 个：分类器的偏置",
        ),
    ),
)
