"""Small classifiers to export."""

import shutil

import torch
from mmengine.registry import MODELS, init_default_scope

from mmconvnext.checkpoints.reading import Weights
from mmconvnext.checkpoints.writing import save_weights
from mmconvnext.images.preprocessing import Preprocessing
from mmconvnext.models.network import Network
from tests.conftest import TINY_ARCH
from tests.peers import randomize

V1 = dict(arch=TINY_ARCH)
# Several blocks on the smallest maps, which torch.export handles differently from a single one.
V2 = dict(arch=dict(TINY_ARCH, depths=(1, 1, 1, 3)), use_grn=True, layer_scale_init_value=0.0)
CLASSES = ('cat', 'dog', 'owl')
MEAN = (0.3, 0.4, 0.5)
PREPROCESSING = Preprocessing(size=40, resize=48, mean=MEAN)


def save_classifier(file, backbone, head=CLASSES, preprocessing=PREPROCESSING):
    """Save weights with a description of their network, preprocessing and classes."""
    torch.manual_seed(0)
    network = Network(backbone, head and dict(num_classes=len(head)))
    init_default_scope('mmpretrain')
    model = MODELS.build(network.config())
    randomize(model)
    save_weights(
        Weights(
            model.state_dict(),
            'a test',
            'openmmlab',
            network=network,
            preprocessing=preprocessing,
            classes=head,
        ),
        file,
        'openmmlab',
    )
    return file


def get_model_of(backbone, head):
    init_default_scope('mmpretrain')
    cfg = Network(backbone, head and dict(num_classes=len(head))).config()
    cfg['data_preprocessor'] = Preprocessing(mean=MEAN).data_preprocessor()
    model = MODELS.build(cfg).eval()
    randomize(model)
    return model


def copy_of(source):
    """Return a function to replace ``write``, whose exports take seconds, that copies a real file."""

    def write(graph, example, form, metadata, file):
        for one in source.parent.glob(f'{source.stem}.*'):
            if one.suffix in (source.suffix, '.bin'):
                shutil.copy(one, file.with_suffix(one.suffix))

    return write
