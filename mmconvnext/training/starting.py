"""Do the weights that a run begins with fit its model?"""

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from ..checkpoints.input_channels import STEM, with_in_channels
from ..checkpoints.reading import Weights, check_known
from ..config.preparation import other_preparation
from ..models.fitting import check_fit, head_changes


class StartingWeights(Hook):
    """Lets a run start from the weights that were checked against its model.

    Args:
        tensors: name under ours to tensor, without those of a head for other classes.
        changes: what starts anew all the same, in at most one sentence.
    """

    priority = 'VERY_HIGH'  # an average of the weights starts from them, too

    def __init__(self, tensors: dict[str, Tensor], changes: list[str]):
        self.tensors, self.changes = tensors, changes

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint['state_dict'], self.tensors = dict(self.tensors), {}


def starting_weights(cfg: Config, loaded: Weights, model: nn.Module, *, new_head: bool) -> StartingWeights:
    """Return the weights that a new training starts from.

    Args:
        cfg: of the training.
        loaded: of a network whose head and input channels may be others.
        model: may be on the meta device.
        new_head: leave out the head, which is for other classes, though its shape may fit.

    Raises:
        UserError: the backbone does not fit.
    """
    wanted = model.state_dict()
    check_known(loaded, wanted)
    loaded = with_in_channels(loaded, wanted[STEM].shape[1] if STEM in wanted else 3)
    check_fit(loaded.tensors, model, str(cfg.load_from), new_head=True, rename=loaded.rename)
    kept = {n: w for n, w in loaded.tensors.items() if not (new_head and n.startswith('head.'))}
    changes = head_changes(kept, model, str(cfg.load_from))
    if new_head:
        changes += '. The head in the file is for other classes'
    return StartingWeights(kept, [changes] if changes else [])


def check_trained(cfg: Config, loaded: Weights, model: nn.Module, *, testing: bool) -> list[str]:
    """Raise UserError unless weights to test or resume fit the model as they are; return warnings."""
    check_fit(loaded.tensors, model, str(cfg.load_from), rename=loaded.rename)
    difference = other_preparation(cfg, loaded) if testing else None
    cure = "Test with the training's config, and with its --image-size if it had one"
    return [f'{difference}. {cure}'] if difference else []
