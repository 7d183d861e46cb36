"""The names that YAML and JSON configs may contain.

Types come from a closed table. Text is allowed only for the keys of another table, which defines its form. So
no text in a file is ever evaluated, imported, unpickled or downloaded, whatever a library does with other
arguments.
"""

import re
from collections.abc import Callable
from typing import Any

from ..errors import did_you_mean

# Types of this package, such as mmconvnext.ConvNeXt, except those that take the name of a file to write: the
# backends of --log, which the tools add themselves.
OWN = {
    'models': 'AugmentingDataPreprocessor ConvNeXt FCMAE LinearClsHead SparK SyncBatchNorm',
    'data': 'Digits ImageFolder Shards Synthetic UnlabeledImages ReplayableBatches leave_signals_to_parent',
    'transforms': 'DrawAugmentation FloorCenterCrop LoadImage LoadImageForCrop MaskPatches PackInputs '
    'RandAugment RandomErasing RandomFlip RandomResizedCrop',
    'hooks': 'BrokenImagesHook CheckpointHook ClassReportHook EMAHook FiniteHook PreemptionHook ProgressHook '
    'ReconstructionHook ReplayHook ThroughputHook',
    'training': 'EpochLoop IterLoop LayerDecayOptimWrapperConstructor WarmupCosineLR SparKSchedule '
    'FlexibleRunner Runner ShardedRunner',
}
# Types of other libraries in our recipes and in common ones, with or without the name of the library. None of
# them evaluates, imports, downloads or unpickles the texts allowed below.
LIBRARIES = {
    'classifiers': 'ImageClassifier ClsDataPreprocessor GlobalAveragePooling StackedLinearClsHead '
    'MultiLabelLinearClsHead AverageClsScoreTTA CrossEntropyLoss LabelSmoothLoss FocalLoss '
    'AsymmetricLoss SeesawLoss Mixup CutMix ResizeMix',
    'initializers': 'Pretrained Normal TruncNormal Constant Xavier Kaiming Uniform',
    'layers': 'BN BN2d SyncBN LN LN2d GN GRN ReLU LeakyReLU GELU SiLU Swish Sigmoid Tanh HSwish Conv2d Conv',
    'data': 'ImageNet ImageNet21k CustomDataset MultiLabelDataset RepeatDataset ConcatDataset '
    'ClassBalancedDataset KFoldDataset DefaultSampler InfiniteSampler RepeatAugSampler default_collate '
    'pseudo_collate',
    'transforms': 'LoadImageFromFile Resize ResizeEdge RandomResize RandomResizedCrop RandomCrop CenterCrop '
    'EfficientNetCenterCrop EfficientNetRandomCrop RandomFlip RandomGrayscale RandomErasing ColorJitter '
    'Lighting Rotate Normalize Pad PackInputs TestTimeAug',
    'metrics': 'Accuracy SingleLabelMetric MultiLabelMetric AveragePrecision ConfusionMatrix',
    'optimizers': 'OptimWrapper AmpOptimWrapper DeepSpeedOptimWrapper DefaultOptimWrapperConstructor '
    'LearningRateDecayOptimWrapperConstructor SGD Adam AdamW RMSprop Lamb',
    'schedules': 'ConstantLR CosineAnnealingLR ExponentialLR LinearLR MultiStepLR OneCycleLR PolyLR '
    'ReduceOnPlateauLR StepLR',
    'training': 'EpochBasedTrainLoop IterBasedTrainLoop ValLoop TestLoop Runner MMDistributedDataParallel '
    'DeepSpeedStrategy LogProcessor Visualizer UniversalVisualizer LocalVisBackend TensorboardVisBackend',
    'hooks': 'CheckpointHook DistSamplerSeedHook EarlyStoppingHook EMAHook EmptyCacheHook IterTimerHook '
    'LoggerHook ParamSchedulerHook RuntimeInfoHook VisualizationHook',
    'segmentation': 'EncoderDecoder SegDataPreProcessor UPerHead FCNHead SegTTAModel ADE20KDataset '
    'LoadAnnotations PhotoMetricDistortion PackSegInputs IoUMetric SegLocalVisualizer SegVisualizationHook',
    'detection': 'MaskRCNN CascadeRCNN DetDataPreprocessor FPN RPNHead AnchorGenerator DeltaXYWHBBoxCoder '
    'StandardRoIHead CascadeRoIHead SingleRoIExtractor RoIAlign Shared2FCBBoxHead ConvFCBBoxHead FCNMaskHead '
    'L1Loss SmoothL1Loss GIoULoss MaxIoUAssigner RandomSampler nms CocoDataset CocoMetric '
    'AspectRatioBatchSampler RandomChoice RandomChoiceResize PackDetInputs DetLocalVisualizer '
    'DetVisualizationHook',
}
OWN_TYPES = frozenset(' '.join(OWN.values()).split())
LIBRARY_TYPES = frozenset(' '.join(LIBRARIES.values()).split())
# Libraries whose names a type may have; mmengine imports that of the default scope.
SCOPES = ('mmengine', 'mmcv', 'mmpretrain', 'mmconvnext', 'mmdet', 'mmseg')
# Keys whose values mmengine looks up in registries; it imports or calls unknown values.
TYPE_KEYS = ('type', 'runner_type', 'constructor')

# Keys that lead to storage clients or code, whatever their value.
REFUSED = ('backend_args', 'custom_imports', 'file_client_args', 'trust_remote_code')

SCHEME = re.compile(r'[A-Za-z][A-Za-z0-9+.-]+:')  # a single letter is a drive of Windows
WEIGHTS_URL = re.compile(r'(https?|mmconvnext)://\S+')
# mmengine reads other suffixes with pickle, or with a YAML loader that runs code.
ANNOTATIONS = ('.txt', '.json', '.csv', '.lst')


def is_word(text: str) -> bool:
    return re.fullmatch(r'[\w.][\w./-]*', text) is not None and '..' not in text


def is_name(text: str) -> bool:
    """Return whether a text, such as a class name, has no variables of mmengine and no addresses."""
    return text.isprintable() and '{{' not in text and '://' not in text


def is_path(text: str) -> bool:
    return is_name(text) and not SCHEME.match(text)


def is_annotations(text: str) -> bool:
    return is_path(text) and (not text or text.lower().endswith(ANNOTATIONS))


def is_weights(text: str) -> bool:
    return is_path(text) or (is_name(text.replace('://', '', 1)) and WEIGHTS_URL.fullmatch(text) is not None)


def one_of(*choices: str) -> Callable[[str], bool]:
    return choices.__contains__


WORDS = (
    'act_cfg algorithm_keys arch average collect_device color_type crop_type dataset_type direction edge '
    'extensions img_suffix input_key interpolation iou_metrics items layer layer_decay_scheme log_level '
    'loss_name meta_keys metric mode monitor name pad_mode padding_mode prefix priority reduction rule '
    'save_best seg_map_suffix split stem_type style'
)
PATHS = 'data_root data_prefix img img_path img_prefix seg_map_path work_dir'
# Key -> check of its texts, and their description in messages.
TEXTS: dict[str, tuple[Callable[[str], bool], str]] = {
    **dict.fromkeys(WORDS.split(), (is_word, 'a word')),
    **dict.fromkeys(PATHS.split(), (is_path, 'the path of a folder or file, without a scheme as https://')),
    'ann_file': (is_annotations, f'a path that ends in {", ".join(ANNOTATIONS)}'),
    **dict.fromkeys(
        ('checkpoint', 'load_from'), (is_weights, 'a path, the name of published weights or an http(s) URL')
    ),
    'classes': (is_name, 'a name'),
    '_base_': (is_name, 'the path of a config'),
    'backend': (one_of('cv2', 'pillow', 'tifffile', 'nccl', 'gloo'), 'cv2, pillow, tifffile, nccl or gloo'),
    'imdecode_backend': (one_of('cv2', 'pillow', 'tifffile'), 'cv2, pillow or tifffile'),
    'dtype': (one_of('float16', 'bfloat16', 'float32'), 'float16, bfloat16 or float32'),
    'launcher': (one_of('none', 'pytorch', 'slurm', 'mpi'), 'none, pytorch, slurm or mpi'),
    'loss_scale': (one_of('dynamic'), 'dynamic or a number'),
    'mp_start_method': (one_of('fork', 'forkserver', 'spawn'), 'fork, forkserver or spawn'),
    'default_scope': (SCOPES.__contains__, ', '.join(SCOPES)),
    '_scope_': (SCOPES.__contains__, ', '.join(SCOPES)),
}
CURE = 'Write a .py config if you mean it; like any Python file, that runs code'


def check_entry(path: tuple[str, ...], value: Any) -> None:
    """Check one value of a data config by its path.

    Args:
        path: keys and indices from the top to the value; empty for the config itself.
        value: value in a data config.

    Raises:
        ValueError: the value is not allowed; the message is the end of a sentence that starts with the path.
    """
    if path and not re.fullmatch(r'\w{1,200}' if len(path) == 1 else r'[\w.-]{1,200}', path[-1]):
        raise ValueError('has a key that is no word; expected letters, digits and underscores')
    key = next((part for part in reversed(path) if not part.isdigit()), '')
    if key in REFUSED and value:
        raise ValueError(f'leads to code or to other storage, which a YAML or JSON config does not. {CURE}')
    if key in TYPE_KEYS:
        check_type(value)
    elif isinstance(value, str):
        fits, expected = TEXTS.get(key, (None, None))
        if fits is None:
            raise ValueError(
                f'is the text {value[:80]!r}, and a YAML or JSON config has text under known names only, not '
                f'under {key!r}; numbers are written as 0.5 or 1e-3, truth as true and false. {CURE}'
            )
        if not fits(value):
            raise ValueError(f'is {value[:80]!r}; expected {expected}. {CURE}')


def check_type(value: Any) -> None:
    """Raise ValueError unless a value names a type of the tables."""
    if not isinstance(value, str):
        raise ValueError('is no text; expected the name of a type')
    scope, _, name = value.rpartition('.')
    known = OWN_TYPES if scope == 'mmconvnext' else LIBRARY_TYPES
    if scope not in ('', *SCOPES) or name not in known:
        names = LIBRARY_TYPES | {f'mmconvnext.{own}' for own in OWN_TYPES}
        guess = did_you_mean(value[:80], names)
        stop = '' if guess.endswith('?') else '.'
        raise ValueError(
            f'is {value[:80]!r}, which is no type that a YAML or JSON config may name{guess}{stop} {CURE}'
        )
