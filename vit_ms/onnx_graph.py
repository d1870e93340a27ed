"""A network as an ONNX graph: what each cell does, in ONNX's operations.

One function a cell, chosen by the cell's class, with the weights as the cell has them. It gets the graph and the name of the
cell's input and returns that of its output. The batch is free; height and width are those that the network is for.

Shape comments: B images, C channels, N tokens, D their width, H heads, d = D / H, h w height and width of a map, W windows
of an image, M tokens of a window.
"""

from functools import singledispatch

import mindspore as ms
import numpy as np
import onnx
from mindspore import nn
from onnx import helper, numpy_helper

from vit_ms import functional as F
from vit_ms import layers
from vit_ms.errors import UserError
from vit_ms.models import convnext, deit, hybrid, resnetv2, road, swin, vit

# The first with Gelu as one operation; LayerNormalization is of 17. The IR version is that opset's: newer files are refused
# by an older onnxruntime.
OPSET, IR_VERSION = 20, 9
INPUT, OUTPUT = "images", "logits"


class Graph:
    """ONNX operations in the making; a value is known by its name."""

    def __init__(self):
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def add(self, operation: str, *inputs, **attributes) -> str:
        """Add an operation with one output.

        Args:
            operation (str): its ONNX type.
            inputs: each a value's name, or a constant: an array, numbers (int64), or a parameter, which keeps its name.
            attributes: of the operation.

        Returns:
            str, the name of its output.
        """
        output = f"{operation}_{len(self.nodes)}"
        inputs = [
            item if isinstance(item, str) else self.constant(item, f"{output}.{i}") for i, item in enumerate(inputs)
        ]
        self.nodes.append(helper.make_node(operation, inputs, [output], output, **attributes))
        return output

    def constant(self, value, name: str) -> str:
        """The name of a constant."""
        if hasattr(value, "asnumpy"):
            name, value = value.name, value.asnumpy()
        elif not isinstance(value, np.ndarray):
            value = np.array(value, np.int64)
        self.constants[name] = value
        return name


def to_onnx(
    network: nn.Cell, image_shape: tuple[int, ...], num_classes: int, metadata: dict[str, str]
) -> onnx.ModelProto:
    """A network as an ONNX model: images (B, *image_shape) to logits (B, num_classes), float32, with a free B.

    Args:
        network (nn.Cell): of a model's class, in evaluation mode.
        image_shape (tuple): (C, height, width).
        num_classes (int): K.
        metadata (dict): kept in the model.

    Raises:
        UserError: If a cell has no ONNX form.
    """
    graph = Graph()
    graph.nodes.append(helper.make_node("Identity", [emit(network, graph, INPUT)], [OUTPUT], OUTPUT))
    proto = helper.make_graph(
        graph.nodes,
        "vit_ms",
        [helper.make_tensor_value_info(INPUT, onnx.TensorProto.FLOAT, ["batch", *image_shape])],
        [helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, ["batch", num_classes])],
        [numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(proto, opset_imports=opsets, ir_version=IR_VERSION, producer_name="vit_ms")
    helper.set_model_props(model, metadata)
    return model


@singledispatch
def emit(cell: nn.Cell, graph: Graph, x: str) -> str:
    """Add what a cell does to a graph.

    Args:
        cell (nn.Cell): in evaluation mode.
        graph (Graph): is added to.
        x (str): the cell's input.

    Returns:
        str, the cell's output.

    Raises:
        UserError: If there is no function for the cell's class.
    """
    raise UserError(f"{type(cell).__name__} has no ONNX form here: choose --format mindir or safetensors")


# Cells of all families. Dropout and DropPath are for training.


@emit.register(nn.SequentialCell)
def _sequential(cell, graph, x):
    for inner in cell:
        x = emit(inner, graph, x)
    return x


@emit.register(layers.ResidualCell)
def _residual(cell, graph, x):
    return graph.add("Add", emit(cell.cell, graph, x), x)


@emit.register(layers.Dropout)
@emit.register(layers.DropPath)
def _nothing(cell, graph, x):
    return x


@emit.register(layers.Dense)
def _dense(cell, graph, x):
    # A product takes weights as (in, out).
    x = graph.add("MatMul", x, cell.weight.asnumpy().T)
    return graph.add("Add", x, cell.bias) if cell.has_bias else x


@emit.register(layers.LayerNorm)
def _layer_norm(cell, graph, x):
    return graph.add("LayerNormalization", x, cell.gamma, cell.beta, axis=-1, epsilon=float(cell.epsilon))


@emit.register(layers.GELU)
def _gelu(cell, graph, x):
    return graph.add("Gelu", x, approximate=cell.approximate)


@emit.register(nn.ReLU)
def _relu(cell, graph, x):
    return graph.add("Relu", x)


@emit.register(layers.Tanh)
def _tanh(cell, graph, x):
    return graph.add("Tanh", x)


@emit.register(layers.FeedForward)
def _feedforward(cell, graph, x):
    return emit(cell.dense2, graph, emit(cell.activation, graph, emit(cell.dense1, graph, x)))


@emit.register(layers.Attention)
def _attention(cell, graph, x):
    """x (B, N, D). Three products in place of one: to take its result apart would be a pass over the data."""
    scale = np.float32(cell.head_dim**-0.5)  # of q, as part of its weights
    parts = []
    for name, weight, bias in zip(
        "qkv", *(np.split(p.asnumpy(), 3) for p in (cell.qkv.weight, cell.qkv.bias)), strict=True
    ):
        weight, bias = (weight * scale, bias * scale) if name == "q" else (weight, bias)
        part = graph.add("Add", graph.add("MatMul", x, weight.T), bias)
        part = graph.add("Reshape", part, (0, 0, cell.num_heads, cell.head_dim))
        parts.append(graph.add("Transpose", part, perm=(0, 2, 3, 1) if name == "k" else (0, 2, 1, 3)))
    q, k, v = parts  # (B, H, N, d), but k (B, H, d, N)
    scores = graph.add("MatMul", q, k)  # (B, H, N, N)
    bias = None if cell.position_bias is None else cell.position_bias().asnumpy()
    if bias is None:
        weights = graph.add("Softmax", scores, axis=-1)
    elif bias.ndim == 3:
        weights = graph.add("Softmax", graph.add("Add", scores, bias), axis=-1)
    else:  # one for each window of an image
        weights = graph.add("Add", graph.add("Reshape", scores, (-1, *bias.shape)), bias)  # (B / W, W, H, M, M)
        weights = graph.add("Reshape", graph.add("Softmax", weights, axis=-1), (-1, *bias.shape[1:]))
    out = graph.add("Transpose", graph.add("MatMul", weights, v), perm=(0, 2, 1, 3))  # (B, N, H, d)
    return emit(cell.out, graph, graph.add("Reshape", out, (0, 0, cell.num_heads * cell.head_dim)))


@emit.register(layers.PatchEmbedding)
def _patch_embedding(cell, graph, x):
    conv = cell.conv
    x = graph.add("Conv", x, conv.weight, conv.bias, strides=conv.stride)  # (B, D, h, w)
    x = graph.add("Reshape", x, (0, conv.out_channels, -1))
    return graph.add("Transpose", x, perm=(0, 2, 1))  # (B, N, D)


# ViT, DeiT, hybrids.


def _tokens(cell: vit.ViT, graph: Graph, x: str) -> str:
    """As `ViT.features`: (B, NUM_PREFIX + N, D)."""
    if isinstance(cell, hybrid.HybridViT):
        x = emit(cell.backbone, graph, x)
    x = emit(cell.patch_embedding, graph, x)
    # What is added to the patches, with the tokens before them: the sequence of an image whose patches are zero.
    none = ms.Tensor(
        np.zeros((1, cell.patch_embedding.num_patches, cell.patch_embedding.conv.out_channels), np.float32)
    )
    table = cell.embed_tokens(none).asnumpy()  # (1, NUM_PREFIX + N, D)
    x = graph.add("Add", graph.add("Pad", x, (0, cell.NUM_PREFIX, 0, 0, 0, 0)), table)
    return emit(cell.norm, graph, emit(cell.transformer.layers, graph, x))


@emit.register(vit.ViT)
def _vit(cell, graph, x):
    x = _tokens(cell, graph, x)
    if cell.pool == "cls":
        x = graph.add("Gather", x, 0, axis=1)
    else:
        x = graph.add("Slice", x, (cell.NUM_PREFIX,), (np.iinfo(np.int64).max,), (1,))
        x = graph.add("ReduceMean", x, (1,), keepdims=0)
    return emit(cell.dense, graph, emit(cell.pre_logits, graph, x))


@emit.register(deit.DistilledViT)
def _distilled(cell, graph, x):
    x = _tokens(cell, graph, x)
    heads = [
        emit(head, graph, graph.add("Gather", x, i, axis=1))
        for i, head in enumerate((cell.dense, cell.distillation_dense))
    ]
    return graph.add("Mul", graph.add("Add", *heads), np.array(0.5, np.float32))


# Swin. A map is the list of its tokens, (B, h w, D), and what moves tokens about is one Gather.


def _take(graph: Graph, x: str, places: np.ndarray) -> str:
    """The tokens of these places, in this order; place -1 is a token of zeros."""
    places = places.reshape(-1)
    if (places < 0).any():
        x = graph.add("Pad", x, (0, 0, 0, 0, 1, 0))  # behind the last, which is where -1 points to
    return graph.add("Gather", x, places, axis=1)


@emit.register(swin.WindowAttention)
def _window_attention(cell, graph, x):
    h, w = (padded - more for padded, more in zip(cell.padded, cell.padding, strict=True))
    (below, right), (rows, columns), dim = cell.padding, cell.window, cell.attention.out.out_channels
    places = np.roll(np.arange(h * w).reshape(h, w), [-side for side in cell.shift], (0, 1))
    places = np.pad(places, ((0, below), (0, right)), constant_values=-1)
    places = places.reshape(cell.padded[0] // rows, rows, -1, columns).swapaxes(1, 2).reshape(-1)  # window by window
    x = graph.add("Reshape", _take(graph, x, places), (-1, rows * columns, dim))  # (B W, M, D)
    x = graph.add("Reshape", emit(cell.attention, graph, x), (-1, places.size, dim))
    return _take(graph, x, np.argsort(places, kind="stable")[(places < 0).sum() :])


def _patch_merging(cell, graph, x, grid):
    h, w = grid
    places = np.pad(np.arange(h * w).reshape(h, w), ((0, h % 2), (0, w % 2)), constant_values=-1)
    rows, columns = (side // 2 for side in places.shape)
    places = places.reshape(rows, 2, columns, 2).transpose(0, 2, 3, 1)  # the row of the four runs faster
    x = graph.add("Reshape", _take(graph, x, places), (-1, rows * columns, cell.reduction.in_channels))
    return emit(cell.reduction, graph, emit(cell.norm, graph, x))


@emit.register(swin.Swin)
def _swin(cell, graph, x):
    x = emit(cell.patch_norm, graph, emit(cell.patch_embedding, graph, x))
    grid = cell.patch_embedding.grid
    for number, stage in enumerate(cell.stages):
        if number:
            x = _patch_merging(stage.downsample, graph, x, grid)
            grid = tuple((side + 1) // 2 for side in grid)
        x = emit(stage.blocks, graph, x)
    x = graph.add("ReduceMean", emit(cell.norm, graph, x), (1,), keepdims=0)
    return emit(cell.dense, graph, x)


# ConvNeXt. Maps have their channels last, as in convnext.py; ONNX's convolutions have them first.


def _conv_of_map(graph: Graph, x: str, conv: nn.Conv2d, **attributes) -> str:
    """A convolution of a map: (B, h, w, D)."""
    x = graph.add("Conv", graph.add("Transpose", x, perm=(0, 3, 1, 2)), conv.weight, conv.bias, **attributes)
    return graph.add("Transpose", x, perm=(0, 2, 3, 1))


@emit.register(convnext.DepthwiseConv)
def _depthwise_conv(cell, graph, x):
    return _conv_of_map(graph, x, cell, group=cell.group, pads=[cell.kernel_size[0] // 2] * 4)


@emit.register(convnext.PatchConv)
def _patch_conv(cell, graph, x):
    return _conv_of_map(graph, x, cell, strides=cell.stride)


@emit.register(convnext.LayerScale)
def _layer_scale(cell, graph, x):
    return graph.add("Mul", x, cell.gamma)


@emit.register(convnext.ConvNeXt)
def _convnext(cell, graph, x):
    x = emit(cell.stem, graph, graph.add("Transpose", x, perm=(0, 2, 3, 1)))
    for stage in cell.stages:
        x = emit(stage.blocks, graph, emit(stage.downsample, graph, x))
    x = graph.add("ReduceMean", x, (1, 2), keepdims=0)
    return emit(cell.dense, graph, emit(cell.norm, graph, x))


# ResNets.


@emit.register(resnetv2.StdConv2d)
def _standardised_conv(cell, graph, x):
    weight = F.standardize(cell.weight, cell.standardize).asnumpy()
    return graph.add("Conv", x, weight, strides=[cell.stride] * 2, auto_pad="SAME_UPPER")


@emit.register(resnetv2.GroupNorm)
def _group_norm(cell, graph, x):
    groups = graph.add("Reshape", x, (0, cell.num_groups, -1))
    ones, zeros = np.ones(cell.num_groups, np.float32), np.zeros(cell.num_groups, np.float32)
    groups = graph.add("InstanceNormalization", groups, ones, zeros, epsilon=float(cell.epsilon))
    x = graph.add("Reshape", groups, graph.add("Shape", x))
    gamma, beta = (p.asnumpy().reshape(-1, 1, 1) for p in (cell.gamma, cell.beta))
    return graph.add("Add", graph.add("Mul", x, gamma), beta)


@emit.register(nn.MaxPool2d)
def _max_pool(cell, graph, x):
    return graph.add(
        "MaxPool", x, kernel_shape=[cell.kernel_size] * 2, strides=[cell.stride] * 2, auto_pad="SAME_UPPER"
    )


@emit.register(resnetv2.ConvNorm)
def _conv_norm(cell, graph, x):
    return emit(cell.norm, graph, emit(cell.conv, graph, x))


@emit.register(resnetv2.Bottleneck)
def _bottleneck(cell, graph, x):
    residual = x
    for conv in (cell.conv1, cell.conv2):
        residual = graph.add("Relu", emit(conv, graph, residual))
    residual = emit(cell.conv3, graph, residual)
    return graph.add("Relu", graph.add("Add", residual, emit(cell.shortcut, graph, x)))


@emit.register(resnetv2.ResNetV2)
def _resnet(cell, graph, x):
    x = emit(cell.max_pool, graph, graph.add("Relu", emit(cell.stem, graph, x)))
    return _stages_and_head(cell, graph, x)


def _stages_and_head(cell, graph, x):
    for stage in cell.stages:
        x = emit(stage, graph, x)
    return x if cell.dense is None else emit(cell.dense, graph, graph.add("ReduceMean", x, (2, 3), keepdims=0))


@emit.register(nn.BatchNorm2d)
def _batch_norm(cell, graph, x):
    statistics = (cell.gamma, cell.beta, cell.moving_mean, cell.moving_variance)
    return graph.add("BatchNormalization", x, *statistics, epsilon=float(cell.eps))


@emit.register(road.ConvNorm)
def _road_conv_norm(cell, graph, x):
    strides = [cell.stride] * 2
    if cell.depthwise:
        pads = [cell.weight.shape[2] // 2] * 4
        x = graph.add("Conv", x, cell.weight, strides=strides, pads=pads, group=len(cell.weight))
    else:
        x = graph.add("Conv", x, cell.weight, strides=strides, auto_pad="SAME_UPPER")
    return emit(cell.norm, graph, x)


@emit.register(road.Block)
def _road_block(cell, graph, x):
    return graph.add("Relu", graph.add("Add", emit(cell.convs, graph, x), emit(cell.shortcut, graph, x)))


@emit.register(road.RoadNet)
def _road(cell, graph, x):
    return _stages_and_head(cell, graph, emit(cell.stem, graph, x))
