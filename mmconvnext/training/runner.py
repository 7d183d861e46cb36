"""Build a Runner after checking all its parts."""

from mmengine.config import Config
from mmengine.registry import RUNNERS

from ..config.libraries import class_count
from ..engine.isolation import IsolatedRun
from ..engine.runner import Runner
from ..registry import default_scope
from ..zoo.mmengine_loader import safe_loading
from ..zoo.names import load_weights
from .classes import set_mixup_classes, take_classes_from_data
from .data_checks import build_dataset, check_data_roots, check_images
from .datasets import give_datasets, set_dataloader_defaults
from .hooks import check_priorities
from .metrics import fit_topk
from .model import build_on_meta, check_optimizer, check_schedule
from .protection import protect, replayed
from .rehearsal import rehearse
from .resuming import check_continues
from .starting import check_trained, starting_weights


def build_runner(
    cfg: Config,
    loaders: tuple[str, ...],
    *,
    rehearsal: bool = False,
    trust_checkpoint: bool = False,
    weights: str | None = None,
) -> Runner:
    """Build the Runner of a config, and check everything before anything is written.

    Model, checkpoint, optimizer and datasets are built or read first, so that an unknown arch, a checkpoint
    of another model, missing data or a wrong number of classes ends in one message. The Runner uses the same
    datasets, and checkpoints are read as data only.

    Args:
        cfg: config with ``work_dir``; with several processes, call ``init_distributed`` before.
        loaders: dataloaders of this run, for example ``('train_dataloader', 'val_dataloader')``.
        rehearsal: whether to check all validation images and try a training step, see ``rehearse``.
        trust_checkpoint: whether to unpickle ``load_from`` even if that runs code in it.
        weights: which weights of ``load_from`` to use, see ``load_weights``.

    Raises:
        UserError: the config, a checkpoint or the data has a mistake.
    """
    training = 'train_dataloader' in loaders
    scope = cfg.get('default_scope', 'mmengine')
    with default_scope(scope), safe_loading(trust=trust_checkpoint, weights=weights):
        # What the config alone tells, and data that is not there, is reported before weights are downloaded.
        check_priorities(cfg)
        check_data_roots(cfg, loaders)
        loaded = None
        if cfg.get('load_from') is not None:
            loaded = load_weights(cfg.load_from, weights=weights, trust=trust_checkpoint, mmap=True)

        # Before the model is built: its head and mixup may take the classes from the data or the weights.
        other_classes = take_classes_from_data(cfg, loaders, loaded)
        set_mixup_classes(cfg)
        model = build_on_meta(cfg)

        # Mistakes in the config are found before the first image is read.
        if training:
            check_optimizer(cfg, model)
            check_schedule(cfg)
        # Logged below, after the Runner has opened its log.
        warnings = fit_topk(cfg, loaders, class_count(model))
        start = None
        if loaded is not None and training and not cfg.get('resume'):
            start = starting_weights(cfg, loaded, model, new_head=other_classes)
            warnings += start.changes
        elif loaded is not None:
            warnings += check_trained(cfg, loaded, model, testing=not training)

        # Before protection, which wraps batches of samplers: shards have their own order, and lose their
        # sampler here.
        set_dataloader_defaults(cfg)
        if training:
            protect(cfg, trust_checkpoint=trust_checkpoint)
        # After protection, which fixes the seed of the augmentation.
        datasets = {field: build_dataset(cfg, field, model) for field in loaders if cfg.get(field)}
        if rehearsal or not training:
            check_images(datasets)
        if training:
            datasets['train_dataloader'] = replayed(datasets['train_dataloader'], cfg)
            check_continues(cfg, datasets['train_dataloader'], trust=trust_checkpoint)

        # The Runner of the rehearsal is freed before the real one is built: a GPU never holds two networks.
        rehearsed = rehearse(cfg, datasets, runner_class(cfg)) if rehearsal else None
        runner = runner_class(cfg).from_cfg(cfg)  # the first step that writes
        if rehearsed:
            runner.logger.info(rehearsed)
        for warning in warnings:
            runner.logger.warning(warning)
        if start is not None:
            runner.register_hook(start)
            runner.mismatch_reported = bool(start.changes)
        give_datasets(runner, datasets)
        return runner


def runner_class(cfg: Config) -> type[Runner]:
    """Return our Runner, or that of the distributed engine; another one gets the isolation of ours."""
    found = RUNNERS.get(cfg.get('runner_type', 'mmconvnext.Runner'))
    return found if issubclass(found, IsolatedRun) else type(found.__name__, (IsolatedRun, found), {})
