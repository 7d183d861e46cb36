"""Build models by name, with their weights."""

import warnings
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import MMLogger, print_log
from mmengine.registry import MODELS
from torch import nn

from ..checkpoints.input_channels import with_in_channels
from ..checkpoints.reading import Weights, check_class_count, check_known, check_whole
from ..config.libraries import LIBRARIES
from ..config.loading import check_option
from ..config.preparation import other_preparation
from ..errors import UserError, did_you_mean
from ..images.preprocessing import Preprocessing
from ..models.fitting import check_fit, head_arguments, head_changes, network_of
from ..models.network import Network
from ..registry import default_scope
from .entries import zoo
from .mmengine_loader import safe_loading
from .names import Named, config_of_network, find, load_config, load_weights

# Prefixes of weights in detectors and segmenters.
DENSE_HEADS = ('neck.', 'rpn_head.', 'roi_head.', 'bbox_head.', 'decode_head.')


def get_model(
    name: str | Path | Named,
    pretrained: bool | str | Path | Named = False,
    *,
    trust_checkpoint: bool = False,
    **overrides,
) -> nn.Module:
    """Build a published model, the model of a config, or the classifier in a file of weights.

    Args:
        name: name of a published checkpoint (see ``list_models``), a config, or weights in any format, from
            which the network is inferred; see ``find``.
        pretrained: True for the published weights of this name, or other weights in any format.
        trust_checkpoint: whether to unpickle weights even if that runs code in the file.
        **overrides: values that replace those of the model's config, such as
            ``backbone=dict(drop_path_rate=0.2)``. With ``head=dict(num_classes=37)``, the head is initialized
            randomly; with ``backbone=dict(in_channels=1)``, weights for RGB are adapted, see
            ``with_in_channels``.

    Returns:
        mmpretrain's ``ImageClassifier`` in training mode, or the model of a detection or segmentation config,
        whose backbone starts from the checkpoint in the config if there are no weights for the whole. It has
        the attributes ``preprocessing`` (None if the pipeline of the config cannot be expressed in this way),
        ``preprocessing_told`` (False if the preprocessing is unknown and ImageNet's is assumed) and
        ``other_preparation`` (how the preprocessing of the config differs from that of the weights, or None),
        and the config and the class names where mmpretrain's inferencers look for them.

    Raises:
        UserError: the name or an option is unknown, or the weights do not fit.
    """
    named, source = find(name), None
    if named.is_dense:
        load_config(named)  # a missing library is reported before anything is downloaded
    if named.weights is not None:
        if pretrained not in (False, True):
            raise UserError(f'{named} is a file of weights already; leave out the other, {pretrained}')
        source = named
    elif pretrained is True:
        source = published(named)
    elif pretrained:
        source = pretrained
    loaded = load_weights(source, trust=trust_checkpoint) if source else None
    in_channels = (overrides.get('backbone') or {}).get('in_channels')
    if loaded is not None and in_channels is not None:
        loaded = with_in_channels(loaded, in_channels)
    # Weights other than those of the name must fit its network.
    described = loaded if source is named and not named.is_dense else None
    cfg, preprocessing = configure(named, described)
    override(cfg, overrides)
    scope = cfg.get('default_scope', 'mmpretrain')
    set_class_count(cfg, loaded)
    if cfg.get('data_preprocessor') is not None:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    new_head, difference = loaded is None, None
    with default_scope(scope), safe_loading(trust=trust_checkpoint):  # also of what init_cfg names
        model = MODELS.build(cfg.model)
        if loaded is None:
            initialise(model)
        else:
            # Another number of classes is intended if it is requested; otherwise it is a mistake.
            asked = (overrides.get('head') or {}).get('num_classes')
            in_file = (head_arguments(loaded.tensors) or {}).get('num_classes')
            new_head = asked is not None and asked != in_file
            headless = scope not in LIBRARIES and getattr(model, 'head', None) is None
            fill(model, loaded, new_head=new_head or headless)
    if described is None and not new_head and (difference := other_preparation(cfg, loaded)):
        warnings.warn(f'{difference}. Leave the config out to prepare images as the file says', stacklevel=2)
    # mmpretrain's inferencers read these attributes.
    model._config = cfg
    model._dataset_meta = {} if new_head or not loaded.classes else {'classes': loaded.classes}
    model.preprocessing = preprocessing
    model.preprocessing_told = described is None or described.preprocessing is not None
    model.other_preparation = difference
    return model


def published(named: Named) -> Named:
    """Return a name that has published weights.

    Raises:
        UserError: it has none; the message lists names with the same network.
    """
    if named.entry is not None:
        return named
    trained = [
        entry.name for entry in zoo().values() if entry.config and Path(entry.config).stem == named.file.stem
    ]
    if not trained:
        raise UserError(
            f'the zoo has no weights of {named.name!r}; pass their file, or look for names in model_zoo.md'
            f'{did_you_mean(named.file.stem, zoo())}'
        )
    raise UserError(
        f'{named.name!r} is a recipe; the zoo has weights for its network under other names: '
        f'{", ".join(trained)}'
    )


def configure(named: Named, loaded: Weights | None) -> tuple[Config, Preprocessing | None]:
    """Return the config, and the preprocessing if that says more than the config.

    Args:
        named: what the model is called.
        loaded: weights whose network it is; None: it is that of the name.
    """
    if loaded is None:
        return load_config(named), named.entry and named.entry.preprocessing
    # The zoo knows how large its networks are; what a file says has to be seen in its weights first.
    if named.entry is None or loaded.network != named.entry.network:
        check_network_shows(loaded)
    network = loaded.network or network_of(loaded.tensors)
    preprocessing = loaded.preprocessing or usual_preprocessing(network)
    return config_of_network(network, preprocessing), preprocessing


def check_network_shows(loaded: Weights) -> None:
    """Raise UserError unless the weights are those of a whole classifier and show its network."""
    if any(weight.startswith(DENSE_HEADS) for weight in loaded.tensors):
        raise UserError(
            f'{loaded.source} holds a detector or segmenter, which cannot be inferred from its weights; name '
            'its config too'
        )
    if loaded.needs_config:
        raise UserError(
            f'{loaded.source} has {loaded.needs_config}, which weights do not show; name its config too'
        )
    check_whole(loaded)


def usual_preprocessing(network: Network) -> Preprocessing:
    """Return ImageNet's preprocessing for the number of channels of the network."""
    return Preprocessing().for_channels(network.backbone.get('in_channels', 3))


def override(cfg: Config, overrides: dict) -> None:
    """Apply overrides to the model of a config after checking that the options exist."""
    for key, value in overrides.items():
        if isinstance(value, dict) and isinstance(cfg.model.get(key), dict):
            for inner in value:
                check_option(cfg, f'model.{key}.{inner}')
            cfg.model[key].update(value)
        else:
            check_option(cfg, f'model.{key}')
            cfg.model[key] = value


def set_class_count(cfg: Config, loaded: Weights | None) -> None:
    """Set the number of classes to that of the weights if the config leaves it to the data."""
    head = cfg.model.get('head') or {}
    if head.get('num_classes', 0) is None:
        arguments = head_arguments(loaded.tensors) if loaded else None
        if arguments is None:
            raise UserError(
                'the config takes the number of classes from its data or from trained weights; pass weights '
                'that have a head, or head=dict(num_classes=N)'
            )
        head.num_classes = arguments['num_classes']


def fill(model: nn.Module, loaded: Weights, *, new_head: bool) -> None:
    """Load all weights, or only those of the backbone for a new head."""
    wanted = model.state_dict()
    check_known(loaded, wanted)
    loaded = loaded.with_parts_of(wanted)
    check_fit(loaded.tensors, model, loaded.source, new_head=new_head, rename=loaded.rename)
    if not new_head:
        check_class_count(loaded)
    if new_head:
        initialise(model)
    kept = {n: w for n, w in loaded.tensors.items() if n.startswith('backbone.') or not new_head}
    if model.load_state_dict(kept, strict=False).missing_keys:
        left_out = [*(name for name in loaded.tensors if name not in kept), *loaded.left_out]
        print_log(head_changes(kept, model, loaded.source, left_out), logger='current')


def initialise(model: nn.Module) -> None:
    """Call ``init_weights`` without mmengine's log line for every parameter."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')
    try:
        model.init_weights()
    finally:
        logger.setLevel(level)
