"""Build a Runner once everything it needs has been looked at."""

import logging
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.dist import init_dist, is_distributed
from mmengine.logging import print_log
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, RUNNERS, init_default_scope
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.nn.parameter import UninitializedTensorMixin
from torch.utils.data import IterableDataset

from ..checkpoints.input_channels import STEM, with_in_channels
from ..checkpoints.reading import check_known
from ..config.inner_datasets import inner_settings
from ..config.libraries import LIBRARIES, class_count
from ..config.preparation import other_preparation
from ..engine.runner import Runner
from ..errors import UserError
from ..models.fitting import check_fit, head_changes
from ..zoo.mmengine_loader import use_safe_loading
from ..zoo.weights import load_weights
from .accumulation import accumulation_of
from .classes import SHARDS, StartingWeights, take_classes_from_data
from .datasets import build, check_images
from .explaining import reason
from .metrics import fit_topk
from .protection import protect, replayed
from .rehearsal import rehearse
from .resuming import check_continues

# What a wrong config raises while its parts are built; OpenMMLab checks much with assertions.
BUILD_ERRORS = (AssertionError, AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError)

# Counting the labels of more samples than this takes longer than a wrong label would cost.
MOST_LABELS_READ = 100_000
MAX_IMAGES_TRIED = 10  # until one passes the pipeline


def init_distributed(cfg: Config, launcher: str) -> None:
    """Join the other processes of the launcher; over gloo where there are no GPUs."""
    cfg.launcher = launcher
    if launcher != 'none' and not torch.cuda.is_available():
        # mmengine takes for granted that there are GPUs.
        wrapper = cfg.setdefault('model_wrapper_cfg', ConfigDict(type='MMDistributedDataParallel'))
        wrapper.setdefault('device_ids', None)
        if not is_distributed():
            if launcher == 'slurm':
                name_slurm_processes()
            torch.distributed.init_process_group('gloo')
    elif launcher != 'none' and not is_distributed():
        init_dist(launcher, **cfg.get('env_cfg', {}).get('dist_cfg', {}))


def name_slurm_processes() -> None:
    """Set the variables by which torch's processes find each other from those of a Slurm step."""
    numbers = dict(RANK='SLURM_PROCID', LOCAL_RANK='SLURM_LOCALID', WORLD_SIZE='SLURM_NTASKS')
    os.environ.update({name: os.environ[theirs] for name, theirs in numbers.items()})
    if 'MASTER_ADDR' not in os.environ:
        command = ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']]
        os.environ['MASTER_ADDR'] = subprocess.check_output(command, text=True).split()[0]
    os.environ.setdefault('MASTER_PORT', '29500')


def build_runner(
    cfg: Config,
    loaders: tuple[str, ...],
    *,
    rehearsal: bool = False,
    trust_checkpoint: bool = False,
    weights: str | None = None,
) -> Runner:
    """A Runner for a config, checked before anything is written.

    Model, checkpoint, optimizer and datasets are built or read first, so that a wrong arch, a
    checkpoint of another model, missing data or a wrong class count end in one message. The
    datasets go into the Runner as they are, and checkpoints are read as data only.

    Args:
        cfg: with ``work_dir`` set, after ``init_distributed``.
        loaders: the dataloaders this run will use, as ``('train_dataloader', 'val_dataloader')``.
        rehearsal: look at all images for validation and try a training first, see ``rehearse``.
        trust_checkpoint: unpickle whatever ``load_from`` holds, which runs any code in it.
        weights: which ones of ``load_from``, see ``load_weights``.

    Raises:
        UserError: what was found, what was expected and what to do.
    """
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    use_safe_loading(trust=trust_checkpoint, weights=weights)
    check_data_roots(cfg, loaders)  # before a long download
    training = 'train_dataloader' in loaders
    loaded = None
    if cfg.get('load_from') is not None:
        loaded = load_weights(cfg.load_from, weights=weights, trust=trust_checkpoint, mmap=True)
    other_classes = take_classes_from_data(cfg, loaders, loaded)
    set_class_count(cfg)
    set_dataloader_defaults(cfg)
    model = build_on_meta(cfg)
    if training:
        protect(cfg, trust_checkpoint=trust_checkpoint)
    if training and 'constructor' in cfg.optim_wrapper:  # mmengine's own writes a log line a parameter
        check_optimizer(cfg, model)
    if training:
        check_schedule(cfg)
    starting = loaded is not None and training and not cfg.get('resume')
    changes = None  # of the weights that a training starts from
    evaluators = [field.replace('dataloader', 'evaluator') for field in loaders if field[:5] != 'train']
    notes = fit_topk(cfg, evaluators, class_count(model))
    if loaded is not None:
        if starting:
            wanted = model.state_dict()
            check_known(loaded, wanted)
            loaded = with_in_channels(loaded, wanted[STEM].shape[1] if STEM in wanted else 3)
        check_fit(loaded.tensors, model, str(cfg.load_from), new_head=starting, rename=loaded.rename)
        if not training and (difference := other_preparation(cfg, loaded)):
            notes.append(
                f"{difference}. Test with the training's config, and with its --image-size if it had one"
            )
        if starting:
            kept = {n: w for n, w in loaded.tensors.items() if not (other_classes and n.startswith('head.'))}
            changes = head_changes(kept, model, str(cfg.load_from))
            if other_classes:
                changes += '. The head in the file is for other classes'
            notes += [changes] if changes else []
    datasets = {field: build_dataset(cfg, field, model) for field in loaders if cfg.get(field)}
    if rehearsal or not training:
        for field, dataset in datasets.items():
            if field != 'train_dataloader':  # which replaces broken ones
                check_images(dataset, field)
    if training:
        datasets['train_dataloader'] = replayed(datasets['train_dataloader'], cfg)
        check_continues(cfg, datasets['train_dataloader'], trust=trust_checkpoint)
    rehearsed = rehearse(cfg, datasets, runner_class(cfg)) if rehearsal else None
    runner = runner_class(cfg).from_cfg(cfg)
    if starting:
        runner.register_hook(StartingWeights(kept))
    if rehearsed:
        print_log(rehearsed, 'current')
    runner.mismatch_reported = changes is not None
    for note in notes:
        print_log(note, logger='current', level=logging.WARNING)
    for field, dataset in datasets.items():
        # As a function, since the Runner copies the settings of a dataloader, and would copy the data.
        getattr(runner, f'_{field}')['dataset'] = dict(type=lambda dataset=dataset: dataset)
    return runner


def runner_class(cfg: Config) -> type[Runner]:
    """Ours, or the one that the config of a distributed engine names."""
    return RUNNERS.get(cfg.get('runner_type', 'mmconvnext.Runner'))


def check_data_roots(cfg: Config, loaders: tuple[str, ...]) -> None:
    for field in loaders:
        for settings in inner_settings(cfg[field].dataset) if cfg.get(field) else []:
            root = settings.get('data_root')
            if not root or settings.type == SHARDS or Path(root).expanduser().is_dir():
                continue
            raise UserError(
                f'{field}.dataset.data_root {root} is not a folder. Put the data or a link to it there, '
                f'or pass --data-root FOLDER; this one alone: --cfg-options {field}.dataset.data_root=FOLDER.'
            )


def set_class_count(cfg: Config) -> None:
    """Let mixup know the number of classes that the head has."""
    outputs = cfg.model.get('head', {}).get('num_classes')
    if outputs is not None and 'num_classes' in cfg.get('data_preprocessor', {}):
        cfg.data_preprocessor.num_classes = outputs


def set_dataloader_defaults(cfg: Config) -> None:
    for field in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(field)
        if loader is not None:
            if cfg.get('default_scope') not in LIBRARIES:  # they pad images of several sizes themselves
                loader.setdefault('collate_fn', dict(type='default_collate'))
            if loader.dataset.type == SHARDS:
                # Shards have an order of their own; each iterator begins where the dataset is told to.
                loader.update(sampler=None, persistent_workers=False)
                training = field == 'train_dataloader'
                loader.dataset.update(batch_size=loader.batch_size, training=training)
                if training:
                    loader.dataset.multiple = accumulation_of(cfg)
            loader.setdefault('persistent_workers', bool(loader.get('num_workers')))
            loader.setdefault('pin_memory', torch.cuda.is_available())


def build_on_meta(cfg: Config) -> nn.Module:
    """The model without memory, for its names, shapes and attributes."""
    # A model for test-time augmentation wraps the one that has weights and classes.
    settings = cfg.model.get('module', cfg.model)
    try:
        try:
            with parameters_on_meta():
                model = MODELS.build(settings)
        except (NotImplementedError, RuntimeError):  # of a model that reads its own weights while it is built
            model = MODELS.build(settings).to('meta')
    except (*BUILD_ERRORS, ImportError) as error:
        raise UserError(f'the model of the config cannot be built: {reason(error)}') from error
    channels = getattr(getattr(model, 'backbone', None), 'channels', None)
    expected = getattr(getattr(model, 'head', None), 'in_channels', None)
    if channels and expected and channels[-1] != expected and not getattr(model, 'with_neck', False):
        raise UserError(
            f'the backbone gives {channels[-1]} channels, but model.head.in_channels is {expected}; '
            f'pass --cfg-options model.head.in_channels={channels[-1]}'
        )
    return model


@contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Give new modules parameters without memory; all else, as rates that a model computes, has values."""

    def without_memory(_, __, parameter: nn.Parameter | None) -> nn.Parameter | None:
        if parameter is None or parameter.is_meta or isinstance(parameter, UninitializedTensorMixin):
            return None  # as it is
        return nn.Parameter(parameter.detach().to('meta'), requires_grad=parameter.requires_grad)

    handle = register_module_parameter_registration_hook(without_memory)
    try:
        yield
    finally:
        handle.remove()


def check_optimizer(cfg: Config, model: nn.Module) -> None:
    try:
        build_optim_wrapper(model, cfg.optim_wrapper)
    except BUILD_ERRORS as error:
        raise UserError(f'the optim_wrapper of the config cannot be built: {reason(error)}') from error


def check_schedule(cfg: Config) -> None:
    settings = cfg.get('param_scheduler') or []
    for each in settings if isinstance(settings, (list, tuple)) else [settings]:
        optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)])
        try:
            PARAM_SCHEDULERS.build(each, default_args=dict(optimizer=optimizer, epoch_length=1))
        except BUILD_ERRORS as error:
            raise UserError(f'the param_scheduler of the config cannot be built: {reason(error)}') from error


def build_dataset(cfg: Config, field: str, model: nn.Module) -> BaseDataset:
    """The dataset of a dataloader, once its folder, classes and first image fit the model."""
    dataset, place = open_dataset(cfg, field, class_count(model))
    check_classes(dataset, model, place)
    check_first_image(dataset, model, place)
    return dataset


def open_dataset(cfg: Config, field: str, num_classes: int | None = None) -> tuple[BaseDataset, str]:
    """The dataset of a dataloader, which is not empty, and what messages call it."""
    settings = cfg[field].dataset
    place = f'{field}.dataset ({settings.type}'
    root = settings.get('data_root')
    if root:
        place += f', data_root {root}'
    place += ')'
    try:
        dataset = build(settings, num_classes)
    except UserError:
        raise
    except BUILD_ERRORS as error:
        library = LIBRARIES.get(cfg.get('default_scope'))
        cure = library.data if library else 'Put one folder a class with images there'
        raise UserError(f'{place} cannot be read: {error}. {cure}') from error
    if len(dataset) == 0:
        raise UserError(f'{place} is empty; it needs at least one image')
    return dataset, place


def check_classes(dataset: BaseDataset, model: nn.Module, place: str) -> None:
    """Raise unless the labels of the dataset are outputs of the head."""
    outputs = class_count(model)
    if outputs is None:
        return
    setting = 'pass --cfg-options model.head.num_classes={}'
    if not hasattr(model, 'head'):  # a detector has several
        setting = 'set num_classes of the heads to {}'
    classes = dataset.metainfo.get('classes')
    if classes and len(classes) != outputs:
        raise UserError(
            f'{place} has {len(classes)} classes ({", ".join(map(str, classes[:3]))}, ...), '
            f'but the head has {outputs} outputs; '
            + (
                f'{setting.format(len(classes))} or correct the folder'
                if place.startswith('train')
                else 'it needs the classes of the training data, each with its folder'
            )
        )
    labelled = hasattr(dataset, 'get_gt_labels') and 0 < len(dataset) <= MOST_LABELS_READ
    if not classes and labelled and 'gt_label' in dataset.get_data_info(0):
        largest = int(dataset.get_gt_labels().max())
        if largest >= outputs:
            raise UserError(
                f'{place} has a label {largest}, but the head has {outputs} outputs, for labels from 0 to '
                f'{outputs - 1}; pass --cfg-options model.head.num_classes={largest + 1} or correct them'
            )


def check_first_image(dataset: BaseDataset, model: nn.Module, place: str) -> None:
    """Send one image through the pipeline here, where its error is readable, not in a worker."""
    streamed = isinstance(dataset, IterableDataset)
    number = 0 if streamed else first_good(dataset)
    try:
        image = (dataset.first() if streamed else dataset[number])['inputs']
    except UserError:
        raise
    except Exception as error:  # transforms raise what they like, cv2 its own
        path = 'number 0' if streamed else dataset.get_data_info(0).get('img_path', 'number 0')
        raise UserError(f'{place}: image {path} does not pass the pipeline: {error}') from error
    needed = getattr(getattr(model, 'backbone', None), 'min_input_size', 0)
    if isinstance(image, torch.Tensor) and min(image.shape[-2:]) < needed:
        raise UserError(
            f'{place} gives images of {image.shape[-2]} x {image.shape[-1]} pixels, but the backbone '
            f'needs at least {needed} in both directions; resize them in the pipeline or lower '
            'model.backbone.stem_patch_size'
        )


def first_good(dataset: BaseDataset) -> int:
    """Return the number of an early image that passes the pipeline, for single ones may be broken; else 0."""
    for number in range(min(len(dataset), MAX_IMAGES_TRIED)):
        try:
            if dataset[number] is not None:
                return number
        except Exception:  # told of the first one, if all are broken
            continue
    return 0
