"""Test a checkpoint on the test data of a config."""

from pathlib import Path

import mmengine
from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process
from mmengine.registry import METRICS
from mmengine.runner import Runner

from ..config.data_root import use_data_root
from ..config.image_size import set_image_size
from ..config.inner_datasets import inner_settings, pipeline_of
from ..config.libraries import LIBRARIES
from ..engine.processes import init_distributed
from ..errors import UserError
from ..files import check_new_file, check_new_folder, check_place, written_whole
from ..hooks.class_report import Page, add_page
from ..hooks.pictures import PicturesHook
from ..inference.inputs import channels_of
from ..text import finite
from ..training.explaining import naming_broken_images
from ..training.runner import build_runner
from ..training.workers import fit_workers
from ..zoo.names import check_has_classes, find, load_config


def evaluate(
    config: str | Path,
    checkpoint: str | Path | None = None,
    *,
    data_root: str | None = None,
    image_size: int | None = None,
    work_dir: str | None = None,
    out: str | None = None,
    out_item: str | None = None,
    show_dir: str | None = None,
    report: str | None = None,
    tta: bool = False,
    amp: bool = False,
    optimize: str | None = None,
    weights: str | None = None,
    cfg_options: dict | None = None,
    trust_checkpoint: bool = False,
    launcher: str = 'none',
) -> dict[str, float]:
    """Test a checkpoint on the test data of its config.

    Args:
        config: config or published checkpoint, see ``find``.
        checkpoint: weights to test, which must fit the model exactly; None: the published ones.
        data_root: folder of the data; None: that of the config.
        image_size: height and width of the network's input in pixels, as in ``train``.
        work_dir: folder for logs; default ``work_dirs/NAME``.
        out: new file for the results: .pkl, or .json or .yml for metrics.
        out_item: ``pred`` (all predictions, the default) or ``metrics``.
        show_dir: new folder for all test images with their predictions.
        report: HTML file for accuracy, confusions, classes and the most confident mistakes.
        tta: whether to average scores over the ``tta_pipeline`` of the config, or for a classifier without
            one, over the image and its mirror image.
        amp: whether to use mixed precision.
        optimize: ``fp32`` or ``bf16`` to optimize the network for inference.
        weights: see ``load_weights``.
        cfg_options: values that override the config, by dotted key.
        trust_checkpoint: whether to unpickle the checkpoint even if that runs code in it.
        launcher: ``none``, ``pytorch`` or ``slurm``.

    Returns:
        The metrics by name.

    Raises:
        UserError: the config, the checkpoint, the data or an argument has a mistake.
    """
    check_places(out, out_item, show_dir, report)
    if amp and optimize is not None:
        raise UserError('--optimize bf16 is in lower precision already, and fp32 is not; leave --amp out')
    named = find(config, 'config')
    if checkpoint is None and named.entry is None:
        raise UserError(f'{config} is tested with which weights? Name a checkpoint behind it')
    checkpoint = str(named.name if checkpoint is None else checkpoint)
    stem = named.name if named.entry else Path(config).stem

    cfg = load_config(named, cfg_options)
    check_has_classes(named)
    if cfg.get('test_dataloader') is None:
        raise UserError(f'{config} has no test_dataloader, so there is nothing to test on')
    cfg.load_from, cfg.resume = checkpoint, False
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(Path('work_dirs', stem))
    # The Runner writes the config into the work dir, where that of the training may lie.
    vars(cfg)['_filename'] = f'{stem}.test.py'
    fit_workers(cfg, cfg_options)
    if data_root is not None:
        use_data_root(cfg, data_root)
    if image_size is not None:
        set_image_size(cfg, image_size)
    if amp:
        cfg.test_cfg.fp16 = True
    dense, pictures = cfg.get('default_scope') in LIBRARIES, None
    if show_dir is not None and dense:
        draw_into(cfg, show_dir)
    elif show_dir is not None:  # before another process can write into the folder, which has to be empty
        pictures = PicturesHook(show_dir)
    if tta:  # after the image size is set, which the views of an image use
        use_tta(cfg)
    if report is not None and dense:
        raise UserError('--report is for classifiers; leave it out, or draw with --show-dir')
    if optimize is not None:
        hook = dict(type='mmconvnext.InferenceHook', dtype=optimize)
        cfg.custom_hooks = [*cfg.get('custom_hooks', []), hook]

    init_distributed(cfg, launcher)  # before the Runner, which distributes the data over the processes
    runner = build_runner(cfg, ('test_dataloader',), trust_checkpoint=trust_checkpoint, weights=weights)
    if out is not None and out_item != 'metrics':
        dump_predictions(runner, out)
    if pictures is not None:
        runner.register_hook(pictures)
    if report is not None:
        add_page(runner, Page(Path(report), stem, checkpoint))
    with naming_broken_images():
        metrics = runner.test()
    if out is not None and out_item == 'metrics' and is_main_process():
        with written_whole(Path(out)) as part:
            mmengine.dump(finite(metrics), part)
    return metrics


def check_places(out: str | None, out_item: str | None, show_dir: str | None, report: str | None) -> None:
    """Raise UserError before a long test if its results could not be written."""
    if show_dir is not None:
        check_new_folder(show_dir)
    if report is not None:
        check_new_file(report, '.html')
    if out is None:
        if out_item is not None:
            raise UserError('--out-item chooses what goes into a file; name the file with --out')
        return
    check_place(Path(out))
    suffixes = ('.json', '.yml', '.yaml', '.pkl') if out_item == 'metrics' else ('.pkl', '.pickle')
    if Path(out).suffix not in suffixes:
        raise UserError(
            f'--out {out}: {out_item or "pred"} can be written as {", ".join(suffixes)}; '
            'pred is every prediction, metrics the accuracies: see --out-item'
        )


def dump_predictions(runner: Runner, file: str) -> None:
    # MMDetection's encodes masks, of which there are hundreds of thousands.
    kind = 'mmdet.DumpDetResults' if runner.cfg.get('default_scope') == 'mmdet' else 'DumpResults'
    dump = METRICS.get(kind)
    # It returns no values, but mmengine warns about a metric without a prefix.
    silent = type(dump.__name__, (dump,), {'default_prefix': ''})
    runner.test_evaluator.metrics.append(silent(out_file_path=file))


def draw_into(cfg: Config, folder: str) -> None:
    """Draw every test image with its objects or areas, with the hook of the config's library.

    Raises:
        UserError: no library can draw images with this number of channels.
    """
    channels = channels_of(cfg)
    if channels not in (None, 1, 3, 4):
        raise UserError(
            f'--show-dir draws gray and RGB images, and the network takes {channels} channels; leave it out'
        )
    if cfg.default_scope == 'mmdet':
        out_dir = str(Path(folder).absolute())  # otherwise it would be below the work dir
        settings = dict(type='DetVisualizationHook', draw=True, interval=1, test_out_dir=out_dir)
    else:
        settings = dict(type='SegVisualizationHook', draw=True, interval=1)
        cfg.visualizer.update(save_dir=folder, vis_backends=[dict(type='LocalVisBackend')])
    cfg.merge_from_dict({'default_hooks.visualization': settings})


def use_tta(cfg: Config) -> None:
    """Average scores over the ``tta_pipeline`` of the config, or over the image and its mirror image.

    Raises:
        UserError: the config of another library has none.
    """
    if 'tta_pipeline' not in cfg:
        if cfg.get('default_scope') in LIBRARIES:
            raise UserError('--tta: the config has no tta_pipeline and tta_model; leave it out, or add them')
        *steps, pack = pipeline_of(cfg.test_dataloader.dataset)
        flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
        cfg.tta_pipeline = [*steps, dict(type='TestTimeAug', transforms=[flips, [pack]])]
    for settings in inner_settings(cfg.test_dataloader.dataset):
        settings.pipeline = cfg.tta_pipeline
    wrapper = cfg.get('tta_model', dict(type='mmpretrain.AverageClsScoreTTA'))
    cfg.model = ConfigDict(**wrapper, module=cfg.model)
