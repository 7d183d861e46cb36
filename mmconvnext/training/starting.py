"""Check that the weights of a run fit its model."""

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from ..checkpoints.input_channels import STEM, with_in_channels
from ..checkpoints.reading import Weights, check_known
from ..config.preparation import other_preparation
from ..models.fitting import check_fit, head_changes


class StartingWeights(Hook):
    """Start a run from weights that have been checked against its model.

    Args:
        tensors: our name to tensor, without the head if it is for other classes.
        changes: at most one sentence on the weights that are initialized instead.
    """

    priority = 'VERY_HIGH'  # before EMA hooks copy the weights

    def __init__(self, tensors: dict[str, Tensor], changes: list[str]):
        self.tensors, self.changes = tensors, changes

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint['state_dict'], self.tensors = dict(self.tensors), {}


def starting_weights(cfg: Config, loaded: Weights, model: nn.Module, *, new_head: bool) -> StartingWeights:
    """Return the weights to start a new training from.

    Args:
        cfg: of the training.
        loaded: weights whose head and input channels may differ from the model's.
        model: may be on the meta device.
        new_head: whether to leave out the head because it is for other classes.

    Raises:
        UserError: the backbone does not fit.
    """
    wanted = model.state_dict()
    check_known(loaded, wanted)
    loaded = loaded.with_parts_of(wanted)
    loaded = with_in_channels(loaded, wanted[STEM].shape[1] if STEM in wanted else 3)
    check_fit(loaded.tensors, model, str(cfg.load_from), new_head=True, rename=loaded.rename)
    kept = {n: w for n, w in loaded.tensors.items() if not (new_head and n.startswith('head.'))}
    changes = head_changes(kept, model, str(cfg.load_from), loaded.left_out)
    if kept.keys() != loaded.tensors.keys():
        changes += '. The head in the file is for other classes'
    return StartingWeights(kept, [changes] if changes else [])


def check_trained(cfg: Config, loaded: Weights, model: nn.Module, *, testing: bool) -> list[str]:
    """Check that weights to test or resume fit the model exactly; return warnings.

    Raises:
        UserError: they do not fit.
    """
    loaded = loaded.with_parts_of(model.state_dict())
    check_fit(loaded.tensors, model, str(cfg.load_from), rename=loaded.rename)
    difference = other_preparation(cfg, loaded) if testing else None
    cure = "Test with the training's config, and with its --image-size if it had one"
    return [f'{difference}. {cure}'] if difference else []
