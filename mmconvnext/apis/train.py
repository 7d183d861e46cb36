"""Train a model from a config."""

import logging
from contextlib import nullcontext
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ..config.data_root import use_data_root
from ..config.distributed import prepare_engine
from ..config.image_size import set_image_size
from ..engine.summary import images_per_batch
from ..errors import UserError
from ..training.accumulation import accumulate_to_recipe, accumulation_of
from ..training.augmenting import augment_batches
from ..training.explaining import explained, naming_broken_images
from ..training.locking import only_run_in
from ..training.next_steps import next_steps
from ..training.processes import init_distributed
from ..training.recording import add_loggers
from ..training.resuming import checkpoint_folder, choose_start
from ..training.runner import build_runner
from ..training.smoke import make_smoke_test
from ..training.workers import fit_workers
from ..zoo.names import load_config


def train(
    config: str | Path,
    *,
    data_root: str | None = None,
    image_size: int | None = None,
    work_dir: str | None = None,
    resume: str | None = None,
    amp: bool = False,
    compile: bool = False,
    augment_on_device: bool = False,
    auto_scale_lr: bool = False,
    accumulate: bool = False,
    no_validate: bool = False,
    smoke: bool = False,
    rehearsal: bool = True,
    log: list[str] | None = None,
    cfg_options: dict | None = None,
    trust_checkpoint: bool = False,
    launcher: str = 'none',
    distributed: str | None = None,
) -> Runner:
    """Train a config.

    Args:
        config: path or name, see ``load_config``.
        data_root: folder of the training, validation and test data, in place of the config's.
        image_size: side of the network's input in pixels, in every pipeline; see ``set_image_size``.
        work_dir: folder for checkpoints and logs; default ``work_dirs/NAME``, or
            ``work_dirs/smoke/NAME`` of a smoke test.
        resume: ``latest`` for the newest checkpoint in ``work_dir`` that can be read, ``auto`` for the same
            if there is one and a new start if not, or the path of one.
        amp: mixed precision.
        compile: let torch's compiler fuse the backbone's operations.
        augment_on_device: leave flipping, RandAugment and erasing to the device, see ``augment_batches``.
        auto_scale_lr: scale the learning rate by effective over base batch size.
        accumulate: see ``accumulate_to_recipe``.
        no_validate: leave out validation.
        smoke: see ``make_smoke_test``.
        rehearsal: take one step and validate one batch before anything is written, see ``rehearse``.
        log: where to record the run beside the log files: ``tensorboard``, ``wandb`` or both.
        cfg_options: dotted key to value.
        trust_checkpoint: unpickle whatever the checkpoint to start from holds, which runs any code in it.
        launcher: ``none``, ``pytorch`` or ``slurm``.
        distributed: how to spread the training over processes: ``ddp``, ``fsdp`` or ``deepspeed``.

    Raises:
        UserError: what was found, what was expected and what to do.
    """
    cfg = load_config(config, cfg_options, distributed=distributed)
    fit_workers(cfg, cfg_options)
    if data_root is not None:
        use_data_root(cfg, data_root)
    if image_size is not None:
        set_image_size(cfg, image_size)
    default_dir = Path('work_dirs', 'smoke' if smoke else '', Path(config).stem)
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(default_dir)
    if no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if amp:
        use_amp(cfg)
    leave_out_amp_without_gpu(cfg)
    use_fused_adamw(cfg)
    if accumulate and auto_scale_lr:
        raise UserError(
            "--accumulate keeps the recipe's batch and its learning rate, --auto-scale-lr scales the rate to "
            'the batch; choose one of them'
        )
    if auto_scale_lr:
        enable_auto_scale_lr(cfg)
    if augment_on_device:
        augment_batches(cfg)
    init_distributed(cfg, launcher)
    if compile:
        check_compiler(distributed)  # on the device of this process
    with only_run_in(cfg.work_dir, checkpoint_folder(cfg)):
        choose_start(cfg, resume, trust=trust_checkpoint)
        add_loggers(cfg, log or [])
        if accumulate:
            accumulate_to_recipe(cfg)
        prepare_engine(cfg, launcher)
        if smoke:
            cfg = make_smoke_test(cfg)

        loaders = ('train_dataloader', 'val_dataloader')
        rehearsal = rehearsal and not smoke  # which is one itself
        runner = build_runner(cfg, loaders, rehearsal=rehearsal, trust_checkpoint=trust_checkpoint)
        if compile:
            model = runner.model.module if is_model_wrapper(runner.model) else runner.model
            model.backbone.compile()  # in place: names and checkpoints stay
            print_log('The backbone is compiled: the first iterations take minutes.', 'current')
        compare_lengths(cfg)
        with explained(cfg) if smoke else nullcontext(), naming_broken_images():
            match_batch_size(cfg, runner)
            check_first_epoch(cfg, runner)
            runner.train()
        ending = 'Smoke test passed; accuracies on noise mean nothing.' if smoke else next_steps(runner)
        print_log(ending, logger='current')
        return runner


def use_amp(cfg: Config) -> None:
    if not torch.cuda.is_available():
        raise UserError('--amp needs a GPU for training, and torch sees none; train without it')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def leave_out_amp_without_gpu(cfg: Config) -> None:
    """Train a config of mixed precision in fp32 where mmengine has no other."""
    settings = cfg.optim_wrapper
    if str(settings.get('type')).endswith('AmpOptimWrapper') and not torch.cuda.is_available():
        settings.type = 'OptimWrapper'
        for key in ('loss_scale', 'dtype', 'use_fsdp'):
            settings.pop(key, None)
        print_log('Training in fp32: there is no GPU for mixed precision.', 'current', logging.WARNING)


def check_compiler(distributed: str | None) -> None:
    """Raise UserError unless torch's compiler works here, which takes a compiler of the system's."""
    if distributed not in (None, 'ddp'):
        raise UserError(f'--compile does not go together with --distributed {distributed}; leave one out')
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        torch.compile(torch.relu)(torch.zeros(8, device=device))
    except Exception as error:  # whatever its parts raise
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"--compile: torch's compiler does not work here: {reason}; install a C++ compiler as g++, or "
            'train without --compile'
        ) from error


def use_fused_adamw(cfg: Config) -> None:
    """Let AdamW take its step in one pass over the parameters, unless the config chooses otherwise.

    On a CPU torch's default makes ten passes, parameter by parameter.
    """
    optimizer = cfg.optim_wrapper.optimizer
    if optimizer.type == 'AdamW' and not any(key in optimizer for key in ('foreach', 'capturable')):
        optimizer.setdefault('fused', True)


def enable_auto_scale_lr(cfg: Config) -> None:
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise UserError(
            '--auto-scale-lr: the config does not say for which batch its learning rate is; '
            'add auto_scale_lr = dict(base_batch_size=...)'
        )
    cfg.auto_scale_lr.enable = True


def compare_lengths(cfg: Config) -> None:
    """Tell if the run is longer or shorter than the curve of its learning rate."""
    curve = cfg.param_scheduler.get('epochs') if isinstance(cfg.get('param_scheduler'), dict) else None
    epochs = cfg.train_cfg.get('max_epochs')
    if None not in (curve, epochs) and curve != epochs:
        options = f'param_scheduler.epochs={epochs}'
        warmup = cfg.param_scheduler.get('warmup_epochs', 0)
        if warmup >= epochs:
            options += f' param_scheduler.warmup_epochs={warmup * epochs // curve}'
        print_log(
            f'The learning rate falls over {curve} epochs, and the run has {epochs}; '
            f'pass --cfg-options {options}, too.',
            logger='current',
            level=logging.WARNING,
        )


def check_first_epoch(cfg: Config, runner: Runner) -> None:
    """Tell if the warm-up, which starts at 0 as in the official recipes, is over an epoch without a step."""
    schedule = cfg.get('param_scheduler')
    warmup = schedule.get('warmup_epochs') if isinstance(schedule, dict) else None
    if warmup and len(runner.train_dataloader) <= accumulation_of(cfg):
        print_log(
            'An epoch is one step of the optimizer, and the warm-up starts at a learning rate of 0, so the '
            'first epoch trains nothing; choose a smaller batch, or pass --cfg-options '
            'param_scheduler.warmup_epochs=0',
            logger='current',
            level=logging.WARNING,
        )


def match_batch_size(cfg: Config, runner: Runner) -> None:
    """Scale the learning rate with accumulation too, or tell once that the batch is not the recipe's."""
    scaling = cfg.get('auto_scale_lr') or {}
    base = scaling.get('base_batch_size')
    if base is None:
        return
    configured = cfg.train_dataloader.batch_size
    per_process = images_per_batch(runner.train_dataloader) or configured
    if per_process < configured:
        print_log(
            f'The batch size is {configured}, but there are no more than {per_process} training images for a '
            'batch, each of which is an epoch and one step.',
            logger='current',
            level=logging.WARNING,
        )
    accumulation = accumulation_of(cfg)
    effective = runner.world_size * per_process * accumulation
    if scaling.get('enable'):
        # mmengine compares processes x configured batch with the base and leaves accumulation out.
        base *= configured / (per_process * accumulation)
        runner.auto_scale_lr = dict(scaling, base_batch_size=base)
    elif effective != base:
        lr = cfg.optim_wrapper.optimizer.lr
        print_log(
            f'The effective batch is {effective} ({runner.world_size} x {per_process}'
            f'{f" x {accumulation} accumulated" if accumulation > 1 else ""}), the recipe was made for '
            f'{base}. Pass --accumulate to make it that, or --auto-scale-lr to scale the learning rate from '
            f'{lr:g} to {lr * effective / base:g}.',
            logger='current',
            level=logging.WARNING,
        )
