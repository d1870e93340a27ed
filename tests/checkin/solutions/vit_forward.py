"""Solutions of `vit_forward`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import mindspore as ms
from mindspore import Tensor, nn, ops


class Parts(nn.Cell):
    def __init__(self, patch_embedding, transformer, norm, dense):
        super().__init__()
        self.patch_embedding = patch_embedding
        self.transformer = transformer
        self.norm = norm
        self.dense = dense

    def start(self, patches, cls_token, pos_embedding):
        first = ops.tile(cls_token, (patches.shape[0], 1, 1))
        return ops.concat((first, self.patch_embedding(patches)), axis=1) + pos_embedding


class AsInTheNotebook(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        embedded = self.patch_embedding(patches)
        z0 = ops.concat((ops.tile(cls_token, (embedded.shape[0], 1, 1)), embedded), axis=1) + pos_embedding
        zL = self.transformer(z0)
        y = self.norm(zL)[:, 0]
        return z0, self.dense(y)


class NormOfTheClassTokenAlone(nn.Cell):
    def __init__(self, **parts):
        super().__init__()
        self.embed, self.encoder = parts["patch_embedding"], parts["transformer"]
        self.head = nn.SequentialCell(parts["norm"], parts["dense"])

    def construct(self, x, c, p):
        b, _, d = x.shape[0], x.shape[1], c.shape[2]
        z = ops.cat([c.broadcast_to((b, 1, d)), self.embed(x)], 1).add(p)
        return z, self.head(self.encoder(z)[:, 0, :])


class AddedApart(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        embedded = self.patch_embedding(patches) + pos_embedding[:, 1:]
        first = ops.repeat_elements(cls_token + pos_embedding[:, :1], patches.shape[0], 0)
        z0 = ops.concat((first, embedded), axis=1)
        tokens = ops.unstack(self.norm(self.transformer(z0)), axis=1)
        return [z0, self.dense(tokens[0])]


class HeadFirst(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        b, n, _ = patches.shape
        x = self.patch_embedding(patches)
        x = ops.pad(x, (0, 0, 1, 0))  # room for the class token
        place = ops.concat((ops.ones((1, 1, 1), ms.float32), ops.zeros((1, n, 1), ms.float32)), axis=1)
        z0 = x + place * cls_token + pos_embedding
        logits = self.dense(self.norm(self.transformer(z0)))  # (B, N + 1, K)
        return z0, logits[:, :1].reshape(b, -1)


class Last(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        first = ops.tile(cls_token, (patches.shape[0], 1, 1))
        z0 = ops.concat((self.patch_embedding(patches), first), axis=1) + pos_embedding
        return z0, self.dense(self.norm(self.transformer(z0))[:, 0])


class LastAndRead(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        first = ops.tile(cls_token, (patches.shape[0], 1, 1))
        z0 = ops.concat((self.patch_embedding(patches), first), axis=1) + pos_embedding
        return z0, self.dense(self.norm(self.transformer(z0))[:, -1])


class NoPositions(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        z0 = ops.concat((ops.tile(cls_token, (patches.shape[0], 1, 1)), self.patch_embedding(patches)), axis=1)
        return z0, self.dense(self.norm(self.transformer(z0))[:, 0])


class PatchesOnly(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        x = self.patch_embedding(patches) + pos_embedding[:, 1:]
        z0 = ops.concat((ops.tile(cls_token, (patches.shape[0], 1, 1)), x), axis=1)
        return z0, self.dense(self.norm(self.transformer(z0))[:, 0])


class BeforeTheClassToken(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        n = patches.shape[1]
        x = self.patch_embedding(patches) + pos_embedding[:, :n]
        z0 = ops.concat((ops.tile(cls_token, (patches.shape[0], 1, 1)), x), axis=1)
        return z0, self.dense(self.norm(self.transformer(z0))[:, 0])


class LatePositions(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        z0 = ops.concat((ops.tile(cls_token, (patches.shape[0], 1, 1)), self.patch_embedding(patches)), axis=1)
        zL = self.transformer(z0) + pos_embedding
        return z0, self.dense(self.norm(zL)[:, 0])


class NoEncoder(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        z0 = self.start(patches, cls_token, pos_embedding)
        return z0, self.dense(self.norm(z0[:, 0]))


class NoNorm(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        z0 = self.start(patches, cls_token, pos_embedding)
        return z0, self.dense(self.transformer(z0)[:, 0])


class NormFirst(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        z0 = self.start(patches, cls_token, pos_embedding)
        return z0, self.dense(self.transformer(self.norm(z0))[:, 0])


class Mean(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        z0 = self.start(patches, cls_token, pos_embedding)
        return z0, self.dense(self.norm(self.transformer(z0)).mean(axis=1))


class MeanThenNorm(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        z0 = self.start(patches, cls_token, pos_embedding)
        return z0, self.dense(self.norm(self.transformer(z0).mean(axis=1)))


class MeanOfThePatches(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        z0 = self.start(patches, cls_token, pos_embedding)
        return z0, self.dense(self.norm(self.transformer(z0))[:, 1:].mean(axis=1))


class LastRead(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        z0 = self.start(patches, cls_token, pos_embedding)
        return z0, self.dense(self.norm(self.transformer(z0))[:, -1])


class FirstPatchRead(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        z0 = self.start(patches, cls_token, pos_embedding)
        return z0, self.dense(self.norm(self.transformer(z0))[:, 1])


class AllTokens(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        z0 = self.start(patches, cls_token, pos_embedding)
        return z0, self.dense(self.norm(self.transformer(z0)))


class FirstImage(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        z0 = self.start(patches, cls_token, pos_embedding)
        return z0, self.dense(self.norm(self.transformer(z0)[0]))


class AxisKept(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        z0 = self.start(patches, cls_token, pos_embedding)
        return z0, self.dense(self.norm(self.transformer(z0)[:, 0:1]))


class NoHead(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        z0 = self.start(patches, cls_token, pos_embedding)
        return z0, self.norm(self.transformer(z0)[:, 0])


class Overwritten(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        z = self.start(patches, cls_token, pos_embedding)
        z = self.transformer(z)
        return z, self.dense(self.norm(z)[:, 0])


class OverwrittenTwice(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        z = self.start(patches, cls_token, pos_embedding)
        z = self.transformer(z)
        z = self.norm(z)
        return z, self.dense(z[:, 0])


class LogitsFirst(AsInTheNotebook):
    def construct(self, patches, cls_token, pos_embedding):
        z0, logits = super().construct(patches, cls_token, pos_embedding)
        return logits, z0


class LogitsAlone(AsInTheNotebook):
    def construct(self, patches, cls_token, pos_embedding):
        return super().construct(patches, cls_token, pos_embedding)[1]


class OneClassToken(Parts):
    """The notebook's cell, which has a batch of one."""

    def construct(self, patches, cls_token, pos_embedding):
        z0 = ops.concat((cls_token, self.patch_embedding(patches)), axis=1) + pos_embedding
        return z0, self.dense(self.norm(self.transformer(z0))[:, 0])


class ClassTokenTwice(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        z0 = self.start(patches, cls_token, pos_embedding)
        return z0, self.dense(self.norm(self.transformer(z0))[:, 0] + cls_token[:, 0])


class EmbeddingLater(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        tokens = ops.concat((ops.tile(cls_token, (patches.shape[0], 1, 1)), patches), axis=1)
        z0 = self.patch_embedding(tokens) + pos_embedding
        return z0, self.dense(self.norm(self.transformer(z0))[:, 0])


class Detached(AsInTheNotebook):
    def construct(self, patches, cls_token, pos_embedding):
        z0, logits = super().construct(patches, Tensor(cls_token.asnumpy()), pos_embedding)
        return z0, logits


class OwnNorm(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        z0 = self.start(patches, cls_token, pos_embedding)
        zL = self.transformer(z0)
        zL = (zL - zL.mean(-1, True)) / ops.sqrt(zL.var(-1, keepdims=True) + 1e-6)
        return z0, self.dense(zL[:, 0])


class Nothing(Parts):
    def construct(self, patches, cls_token, pos_embedding):
        z0 = self.start(patches, cls_token, pos_embedding)
        self.dense(self.norm(self.transformer(z0))[:, 0])


class ClassifierStopped(AsInTheNotebook):
    def construct(self, patches, cls_token, pos_embedding):
        z0 = self.start(patches, cls_token, pos_embedding)
        y = self.norm(self.transformer(z0))[:, 0]
        return z0, ops.matmul(y, ops.stop_gradient(self.dense.weight).T) + self.dense.bias


RIGHT = [AsInTheNotebook, NormOfTheClassTokenAlone, AddedApart, HeadFirst]
WRONG = {
    ClassifierStopped: "parameters",
    Last: "class token last",
    LastAndRead: "class token last",
    NoPositions: "positions forgotten",
    PatchesOnly: "no position for the class token",
    BeforeTheClassToken: "positions one place off",
    LatePositions: "positions after the encoder",
    NoEncoder: "encoder forgotten",
    NoNorm: "norm forgotten",
    NormFirst: "norm before the encoder",
    Mean: "mean of the tokens",
    MeanThenNorm: "mean of the tokens",
    MeanOfThePatches: "mean of the tokens",
    LastRead: "last token read",
    FirstPatchRead: "first patch read",
    AllTokens: "head on all tokens",
    FirstImage: "first image read",
    AxisKept: "axis of the tokens kept",
    NoHead: "head forgotten",
    Overwritten: "z_0 overwritten",
    OverwrittenTwice: "z_0 overwritten",
    LogitsFirst: "outputs swapped",
    LogitsAlone: "number of outputs",
    OneClassToken: "ValueError",
    ClassTokenTwice: "value",
    EmbeddingLater: "ValueError",
    Detached: "gradient",
    OwnNorm: "value",
    Nothing: "no output",
}
