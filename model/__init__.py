"""Train generators of music for dance videos, generate music with them, and score it.

    from model import evaluate, generate, load_run

    run = load_run("runs/demo")
    generate(run, "music", video="dance.mp4")
    scores = evaluate(run, "shards/synthetic", embedding="none")

Names are imported when first used, so that `import model` does not import torch.
"""

from importlib import import_module
from typing import Any

from model.contract.caches import settle

settle()  # must run before librosa is imported

_MODULES = {
    "load_run": "model.generation.run",
    "generate": "model.generation.generate",
    "evaluate": "model.evaluation.evaluate",
    "EvaluateOptions": "model.evaluation.evaluate",
    "train": "model.training.loop",
    "load_config": "model.families.d2m_gan.config",
    "load_codec": "model.codecs.base",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
