"""Train a model from a config."""

from contextlib import nullcontext
from pathlib import Path

from mmengine.logging import print_log
from mmengine.runner import Runner

from ..config.data_root import use_data_root
from ..config.distributed import prepare_engine
from ..config.image_size import set_image_size
from ..engine.processes import init_distributed
from ..errors import UserError
from ..training.augmenting import augment_batches
from ..training.computing import (
    check_compiler,
    compile_backbone,
    leave_out_amp_without_gpu,
    use_amp,
    use_fused_adamw,
)
from ..training.explaining import explained, naming_broken_images
from ..training.locking import only_run_in
from ..training.next_steps import next_steps
from ..training.recipe import (
    accumulate_to_recipe,
    check_first_epoch,
    compare_lengths,
    enable_auto_scale_lr,
    match_batch_size,
)
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
    """Train a model from a config.

    Args:
        config: path or name of a config, see ``load_config``.
        data_root: folder of the training, validation and test data; None: that of the config.
        image_size: height and width of the network's input in pixels; see ``set_image_size``.
        work_dir: folder for checkpoints and logs; default ``work_dirs/NAME``, or ``work_dirs/smoke/NAME`` for
            a smoke test.
        resume: ``latest`` for the newest readable checkpoint in ``work_dir``; ``auto`` for the same, or a new
            run if there is none; or the path of a checkpoint.
        amp: whether to use mixed precision.
        compile: whether to compile the backbone with PyTorch's compiler.
        augment_on_device: whether to flip, augment and erase batches on the device, see ``augment_batches``.
        auto_scale_lr: whether to scale the learning rate linearly with the effective batch size.
        accumulate: whether to accumulate gradients to the batch size of the recipe, see
            ``accumulate_to_recipe``.
        no_validate: whether to skip validation.
        smoke: whether to run only two iterations on noise, see ``make_smoke_test``.
        rehearsal: whether to try one training step and one validation batch before anything is written, see
            ``rehearse``.
        log: further records of the run: ``tensorboard``, ``wandb`` or both.
        cfg_options: values that override the config, by dotted key.
        trust_checkpoint: whether to unpickle the initial checkpoint even if that runs code in it.
        launcher: ``none``, ``pytorch`` or ``slurm``.
        distributed: engine for several processes: ``ddp``, ``fsdp`` or ``deepspeed``.

    Returns:
        The Runner after training.

    Raises:
        UserError: the config, the data or an argument has a mistake.
    """
    if accumulate and auto_scale_lr:
        raise UserError(
            "--accumulate keeps the recipe's batch and its learning rate, --auto-scale-lr scales the rate to "
            'the batch; choose one of them'
        )
    cfg = load_config(config, cfg_options, distributed=distributed)
    default_dir = Path('work_dirs', 'smoke' if smoke else '', Path(config).stem)
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(default_dir)
    fit_workers(cfg, cfg_options)
    if data_root is not None:
        use_data_root(cfg, data_root)
    if image_size is not None:
        set_image_size(cfg, image_size)
    if no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if amp:
        use_amp(cfg)
    leave_out_amp_without_gpu(cfg)
    use_fused_adamw(cfg)
    if auto_scale_lr:
        enable_auto_scale_lr(cfg)
    if augment_on_device:
        augment_batches(cfg)

    # From here on, the first process decides for all, and the number of processes is known.
    init_distributed(cfg, launcher)
    if compile:
        check_compiler(distributed)  # on the device of this process
    # Before the work dir is searched for checkpoints: another training could write one meanwhile.
    with only_run_in(cfg.work_dir, checkpoint_folder(cfg)):
        choose_start(cfg, resume, trust=trust_checkpoint)
        add_loggers(cfg, log or [])  # a resumed run continues its record
        if accumulate:
            accumulate_to_recipe(cfg)
        prepare_engine(cfg, launcher)  # once the config says whether to load, accumulate and scale
        if smoke:  # last, because it reverts some of the above
            cfg = make_smoke_test(cfg)

        loaders = ('train_dataloader', 'val_dataloader')
        rehearsal = rehearsal and not smoke  # which is one itself
        runner = build_runner(cfg, loaders, rehearsal=rehearsal, trust_checkpoint=trust_checkpoint)
        if compile:  # once it is built: names and checkpoints stay those of the plain network
            compile_backbone(runner)
        with runner.isolated():  # its log takes these messages, too
            with explained(cfg) if smoke else nullcontext(), naming_broken_images():
                compare_lengths(cfg)
                match_batch_size(cfg, runner)
                check_first_epoch(cfg, runner)
                runner.train()
            ending = 'Smoke test passed; results on noise mean nothing.' if smoke else next_steps(runner)
            print_log(ending, logger='current')
        return runner
