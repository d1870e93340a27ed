"""The notebooks of the course, in their order."""

from vit_ms.checkin.calling import Text

NOTEBOOKS = {
    "01_five_minutes_to_vit": Text("Five minutes to a trained ViT", "五分钟训练一个 ViT"),
    "02_from_image_to_tokens": Text("From an image to tokens", "从图像到 token"),
    "03_attention_by_hand": Text("Attention by hand", "手算注意力"),
    "04_encoder_and_vit": Text("The encoder and the whole ViT", "编码器与完整的 ViT"),
    "05_data": Text("Data: from files to batches", "数据：从文件到批次"),
    "06_training": Text(
        "Training: loss, optimizer, schedule and the compiled step", "训练：损失、优化器、学习率曲线与编译后的训练步"
    ),
    "07_evaluation_and_inference": Text("Evaluation and inference", "评估与推理"),
    "08_transfer": Text("Transfer: from a trained ViT to your own task", "迁移学习：把训练好的 ViT 用到自己的任务上"),
    "09_looking_inside": Text("Looking inside a ViT", "走进 ViT 的内部"),
    "10_hybrid_and_deit": Text("The hybrid and DeiT", "混合结构与 DeiT"),
    "11_swin": Text("Swin: attention in windows", "Swin：窗口里的注意力"),
    "12_resnet_to_convnext": Text("From ResNet to ConvNeXt", "从 ResNet 到 ConvNeXt"),
    "13_to_the_npu": Text("To the NPU", "走向 NPU"),
}


def title_of(notebook: str) -> Text:
    """Number and title, like "3. Attention by hand"; of a notebook that is not of the course, its name."""
    if notebook not in NOTEBOOKS:
        return Text(notebook, notebook)
    number, (en, zh) = int(notebook[:2]), NOTEBOOKS[notebook]
    return Text(f"{number}. {en}", f"第 {number} 课 {zh}")
