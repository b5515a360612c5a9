"""Pretraining: objectives, optimiser, data, and a training loop that survives being killed (chapter 3)."""

__all__: list[str] = []
