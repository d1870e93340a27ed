"""What the page says, in both languages."""

LANGUAGES = {"zh": "中文", "en": "English"}

_WORDS = {
    "title": ("看看网络里面", "A look inside the network"),
    "intro": (
        "画一个数字，或拖入一张图片：看看网络认为它是什么，又是怎样看的。一切都在本机进行，什么也不会发送出去。",
        "Draw a digit or drop an image: see what the network takes it for, and how. All of it happens on this machine, "
        "and nothing is sent anywhere.",
    ),
    "language": ("语言 Language", "Language 语言"),
    "pad": ("在这里画，或把图片拖到页面上", "Draw here, or drop an image on the page"),
    "clear": ("清空", "Clear"),
    "upload": ("选择图片", "Choose image"),
    "waiting": ("还没有图片。", "There is no image yet."),
    "done_upload": ("已读取 `{name}`，{width}×{height} 像素。", "Read `{name}`, {width}×{height} pixels."),
    "done_drawing": ("已读取画板。", "Read the drawing."),
    "animated": ("这是动图，只看第一帧。", "It is animated: only the first frame is used."),
    "cmyk": ("颜色由 CMYK 转换而来。", "Its colours were converted from CMYK."),
    "deep": ("每像素 16 位，已降为 8 位。", "It has 16 bits a pixel, which were reduced to 8."),
    "turned": ("已按 EXIF 记录转正。", "It was turned as its EXIF record says."),
    "transparent": ("透明处以白色填充。", "Where it is transparent it was filled with white."),
    # What was done for a network
    "formed": (
        "已整理成训练图片的样子：{polarity}裁到笔画，高度撑满、左右居中，{thick}缩小到 8×8，再由网络的预处理放大到 "
        "{height}×{width}。",
        "Brought to the form of the images it was trained on: {polarity}cut to the ink, as high as the image and centred, "
        "{thick}reduced to 8×8, then enlarged to {height}×{width} as every image is.",
    ),
    "inverted": ("深色笔画反转为浅色，", "dark ink made light, "),
    "thickened": ("细笔画加粗，", "thin strokes thickened, "),
    "as_stored": (
        "8×8 的灰度图，与训练图片形式相同，只由网络的预处理放大到 {height}×{width}。",
        "An image of 8×8 pixels, as those it was trained on: only enlarged to {height}×{width}, as every image is.",
    ),
    "as_it_is": (
        "只做了网络对每张图片都做的预处理：变为 {height}×{width} 像素。",
        "Nothing was done but what is done to every image: it was brought to {height}×{width} pixels.",
    ),
    # Columns
    "answer": ("预测：前五名", "Prediction: the likeliest five"),
    "seen": (
        "网络看到的图像，分成 {rows}×{columns} 个图像块（点选一块）",
        "The network's view in {rows}×{columns} patches: click",
    ),
    "seen_split": (
        "网络看到的图像，分成 {rows}×{columns} 个图像块",
        "The network's view in {rows}×{columns} patches",
    ),
    "seen_whole": ("网络看到的图像（不分块）", "The network's view (it cuts no patches)"),
    "heads": (
        "第 {layer} 层的注意力：各头的编号与最高份额",
        "Attention of layer {layer}: head, largest share",
    ),
    "rollout": ("注意力回溯（rollout），{layers} 层合计", "Attention rollout over {layers} layers"),
    "similarity": ("位置编码与第 {patch} 块的相似度", "Position embeddings like patch {patch}'s"),
    "stages": ("特征的强度：各阶段及其网格", "Strength of the features: stage, its grid"),
    "share": ("份额", "share"),
    "cosine": ("余弦相似度", "cosine"),
    # Controls
    "layer": ("层", "Layer"),
    "asks": ("看谁的注意力", "Whose attention"),
    "asks_head": ("分类头读取的词元", "The tokens that the head reads"),
    "asks_patch": ("选中的图像块", "The chosen patch"),
    "patch": ("图像块（从左上角起，逐行编号）", "Patch, row by row from the top left"),
    # What a network lacks
    "lacks_swin": (
        "Swin 只在移动的窗口内做注意力，没有一个词元看全图的注意力图，也就没有回溯；它的位置是加在分数上的偏置，"
        "没有可比较的位置编码。",
        "Swin attends within shifted windows, so there is no map of one token over the whole image and no rollout; its "
        "positions are numbers added to the scores, so there are no embeddings to compare.",
    ),
    "lacks_conv": (
        "这是卷积网络：没有注意力，也没有位置编码。",
        "This is a convolutional network: it has no attention and no position embeddings.",
    ),
    "lacks_positions": (
        "这个网络不给词元加位置编码（position={position}），没有可比较的。",
        "This network adds no position embeddings to its tokens (position={position}): there is nothing to compare.",
    ),
    "accuracy": ("{split} 准确率 {top1:.1%}", "{split} accuracy {top1:.1%}"),
    # What cannot be used
    "empty": ("画板是空的：先画点什么。", "The drawing is empty: draw something first."),
    "blank": (
        "`{name}` 里没有笔画：整幅图几乎是一种颜色。",
        "`{name}` has no ink in it: it is nearly of one colour everywhere.",
    ),
    "too_many_bytes": (
        "`{name}` 有 {megabytes:.0f} MB，超过 {most:.0f} MB：请先缩小。",
        "`{name}` has {megabytes:.0f} MB, more than {most:.0f}: make it smaller first.",
    ),
    "too_many_pixels": (
        "`{name}` 超过 {most} 百万像素，解码要占太多内存：请先缩小。",
        "`{name}` has more than {most} million pixels, which would take too much memory: make it smaller first.",
    ),
    "no_image": (
        "`{name}` 不是能读的图片：可用 {known}。",
        "`{name}` is no image that can be read: {known} can.",
    ),
    "broken": (
        "`{name}` 已损坏或不完整，读不出来。",
        "`{name}` is broken or cut off and cannot be read.",
    ),
    "bad_drawing": ("收到的画板数据读不出来。", "What came from the drawing cannot be read."),
}


def say(key: str, language: str, **values) -> str:
    """A text of the page.

    Args:
        key (str): of the table.
        language (str): a key of LANGUAGES.
        values: what the text has in braces.
    """
    return _WORDS[key][list(LANGUAGES).index(language)].format(**values)


class Refused(Exception):
    """What a visitor gave cannot be used; the page says why.

    Args:
        key (str): of the table.
        values: what the text has in braces.
    """

    def __init__(self, key: str, **values):
        super().__init__(key)
        self.key, self.values = key, values
