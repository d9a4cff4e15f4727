"""A checkpoint's adapters come back in the precision that they were trained in."""

from typing import Any


class SamePrecision:
    """Goes before a Trainer class: PEFT casts adapters that it loads to fp32, although QLoRA trains them in bf16, and a
    resumed run would then drift from an undisturbed one."""

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        trained = model if model is not None else self.model  # type: ignore[attr-defined]
        before = {name: weight.dtype for name, weight in trained.named_parameters()}
        super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
        for name, weight in trained.named_parameters():
            weight.data = weight.data.to(before[name])
