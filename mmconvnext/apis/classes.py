"""Which classes does the head have, where the config leaves that to the data?"""

from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from torch import Tensor

from ..checkpoints.matching import listed
from ..checkpoints.reading import Weights
from ..datasets.shard_index import read_index
from ..errors import UserError

SHARDS = 'mmconvnext.Shards'


def take_classes_from_data(cfg: Config, loaders: tuple[str, ...], weights: Weights | None) -> bool:
    """Where ``model.head.num_classes`` is None, fill it in, and give every dataset the same classes.

    Training takes the classes of its data. Testing and resuming take those the checkpoint was trained on,
    if it names them.

    Args:
        cfg: of a run.
        loaders: the dataloaders it will use.
        weights: to start from, to resume or to test.

    Returns:
        Whether the head has to start anew: its outputs in the weights stand for other classes, be
        there as many or not.

    Raises:
        UserError: the data names no classes, or others than the checkpoint to resume.
    """
    head = cfg.model.get('module', cfg.model).get('head') or {}  # test-time augmentation wraps the model
    if head.get('num_classes', 0) is not None:
        return False
    training = 'train_dataloader' in loaders
    known = weights.classes if weights is not None else None
    from_data = training or known is None
    classes = classes_of_data(cfg[loaders[0]].dataset, loaders[0]) if from_data else known
    if training and cfg.get('resume') and known not in (None, classes):
        changed = sorted({*known} ^ {*classes})
        raise UserError(
            f'{cfg.load_from} was trained on {len(known)} classes, the data has {len(classes)} '
            f'(they differ in {listed(changed)}); a run goes on with the classes it began with. Correct the '
            'folders, or begin another run from these weights with --cfg-options load_from=FILE and another '
            '--work-dir'
        )
    head.num_classes = len(classes)
    for field in loaders:
        settings = innermost(cfg[field].dataset) if cfg.get(field) else {}
        if settings.get('type') != SHARDS:
            settings['classes'] = list(classes)
        elif (found := classes_of_data(settings, field)) != classes:
            changed = sorted({*found} ^ {*classes})
            raise UserError(f'{field}.dataset has other classes: they differ in {listed(changed)}')
    return weights is not None and training and not cfg.get('resume') and known != classes


def classes_of_data(settings: ConfigDict, field: str) -> tuple[str, ...]:
    """Names of the classes of a dataset, of which no image is read."""
    if settings.type == SHARDS:
        return tuple(read_index(settings.data_root).classes)
    try:
        dataset = DATASETS.build({**settings, 'lazy_init': True})
        if not dataset.metainfo.get('classes'):
            dataset.full_init()
    except UserError:
        raise
    except (AssertionError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f'{field}.dataset ({settings.type}) cannot be read: {error}') from error
    classes = dataset.metainfo.get('classes')
    if not classes:
        raise UserError(
            f'the config leaves the number of classes to the data, but {field}.dataset ({settings.type}) '
            'names none; pass --cfg-options model.head.num_classes=N'
        )
    return tuple(map(str, classes))


def innermost(settings: ConfigDict) -> ConfigDict:
    """The dataset that reads, inside of those that repeat or balance it."""
    while 'dataset' in settings:
        settings = settings.dataset
    return settings


class StartingWeights(Hook):
    """Lets a run start from the weights that were checked against its model.

    Args:
        tensors: name under ours to tensor, without those of a head for other classes.
    """

    priority = 'VERY_HIGH'  # an average of the weights starts from them, too

    def __init__(self, tensors: dict[str, Tensor]):
        self.tensors = tensors

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint['state_dict'], self.tensors = dict(self.tensors), {}
