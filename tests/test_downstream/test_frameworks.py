"""The backbone in detectors and segmenters of the libraries: loss, gradients and predictions."""

from importlib import import_module
from pathlib import Path

import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

from mmconvnext.zoo.mmengine_loader import safe_loading

BACKBONE = dict(
    _delete_=True,
    type='mmconvnext.ConvNeXt',
    arch='atto',
    out_indices=(0, 1, 2, 3),
    gap_before_final_norm=False,
)
V2 = dict(use_grn=True, layer_scale_init_value=0.0)
CHANNELS = [40, 80, 160, 320]
# Base config -> other settings that depend on the channels of the backbone.
DETECTORS = {
    '_base_/models/mask-rcnn_r50_fpn.py': dict(neck=dict(in_channels=CHANNELS)),
    '_base_/models/retinanet_r50_fpn.py': dict(neck=dict(in_channels=CHANNELS)),
    'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py': dict(neck=dict(in_channels=CHANNELS)),
    'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py': dict(
        backbone=dict(out_indices=(1, 2, 3)), neck=dict(in_channels=CHANNELS[1:])
    ),
    'dino/dino-4scale_r50_8xb2-12e_coco.py': dict(
        num_queries=50,  # out of 340 positions in the small images
        backbone=dict(out_indices=(1, 2, 3)),
        neck=dict(in_channels=CHANNELS[1:]),
    ),
}
SEGMENTERS = {
    '_base_/models/upernet_r50.py': dict(
        decode_head=dict(in_channels=CHANNELS, channels=32), auxiliary_head=dict(in_channels=160)
    ),
    '_base_/models/fpn_r50.py': dict(neck=dict(in_channels=CHANNELS)),
    '_base_/models/segformer_mit-b0.py': dict(decode_head=dict(in_channels=CHANNELS)),
    '_base_/models/deeplabv3plus_r50-d8.py': dict(
        backbone=dict(output_stride=8),
        decode_head=dict(in_channels=320, channels=32, c1_in_channels=40, c1_channels=12),
        auxiliary_head=dict(in_channels=160),
    ),
    '_base_/models/pspnet_r50-d8.py': dict(
        backbone=dict(output_stride=16),
        decode_head=dict(in_channels=320, channels=32),
        auxiliary_head=dict(in_channels=160),
    ),
}
# Different odd sizes.
SIZES = [(97, 130), (120, 101)]


def build(library, base, changes, **backbone):
    cfg = Config.fromfile(Path(import_module(library).__file__).parent / '.mim/configs' / base)
    init_default_scope(library)
    settings = {**changes, 'backbone': {**BACKBONE, **changes.get('backbone', {}), **backbone}}
    cfg.merge_from_dict({'model': settings})
    cfg.model.pop('pretrained', None)
    model = MODELS.build(cfg.model)
    model.init_weights()  # Deformable DETR leaves parameters uninitialized until then
    return model


def detection_batch():
    inputs, samples = [], []
    for height, width in SIZES:
        sample = DetDataSample(
            metainfo=dict(img_shape=(height, width), ori_shape=(height, width), scale_factor=(1.0, 1.0))
        )
        boxes = torch.tensor([[10.0, 12.0, 60.0, 70.0], [40.0, 30.0, 95.0, 90.0]])
        masks = torch.zeros(2, height, width, dtype=torch.uint8)
        masks[0, 12:70, 10:60] = masks[1, 30:90, 40:95] = 1
        sample.gt_instances = InstanceData(
            bboxes=boxes, labels=torch.tensor([1, 5]), masks=BitmapMasks(masks.numpy(), height, width)
        )
        inputs.append(torch.randint(0, 256, (3, height, width), dtype=torch.uint8))
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def segmentation_batch():
    inputs, samples = [], []
    for height, width in SIZES:
        sample = SegDataSample(metainfo=dict(img_shape=(height, width), ori_shape=(height, width)))
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 19, (1, height, width)))
        inputs.append(torch.randint(0, 256, (3, height, width), dtype=torch.uint8))
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def check_trains(model, batch):
    data = model.data_preprocessor(batch, training=True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    assert torch.isfinite(loss)
    loss.backward()
    for name, parameter in model.backbone.named_parameters():
        if not name.startswith('norm'):  # some necks do not use the output of the first stage
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.any() or 'gamma' in name, name


def check_predicts(model, batch):
    model.eval()
    for i in range(len(SIZES)):  # mmseg tests one size at a time
        one = {key: values[i : i + 1] for key, values in batch.items()}
        with torch.no_grad():
            (result,) = model(**model.data_preprocessor(one, training=False), mode='predict')
        if 'pred_sem_seg' in result:
            assert result.pred_sem_seg.shape == SIZES[i]
        else:
            assert result.pred_instances.bboxes.shape[1] == 4


@pytest.mark.parametrize('base', DETECTORS)
def test_detectors_train_and_predict(base):
    model, batch = build('mmdet', base, DETECTORS[base]), detection_batch()
    check_trains(model, batch)
    check_predicts(model, batch)


@pytest.mark.parametrize('base', SEGMENTERS)
def test_segmenters_train_and_predict(base):
    model = build('mmseg', base, SEGMENTERS[base])
    batch = segmentation_batch()
    model.data_preprocessor.size = (128, 160)  # images are padded to it
    check_trains(model, batch)
    check_predicts(model, batch)


@pytest.mark.parametrize('library', ['mmdet', 'mmseg'])
def test_backbone_starts_from_a_pre_training(library, tmp_path):
    encoder = dict(type='mmconvnext.ConvNeXt', arch='atto', out_indices=(), **V2)
    pretrained = MODELS.build(dict(type='mmconvnext.FCMAE', backbone=encoder, decoder_channels=8))
    pretrained.init_weights()
    torch.save(dict(state_dict=pretrained.state_dict()), tmp_path / 'epoch_1.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'epoch_1.pth'), prefix='backbone.')
    bases = DETECTORS if library == 'mmdet' else SEGMENTERS
    base = next(iter(bases))
    with safe_loading():
        started = build(library, base, bases[base], **V2, init_cfg=init_cfg).backbone.state_dict()
    wanted = pretrained.backbone.state_dict()
    assert {name for name in started if name not in wanted} == {
        f'norm{i}.{kind}' for i in range(4) for kind in ('weight', 'bias')
    }
    torch.testing.assert_close({name: started[name] for name in wanted}, wanted, rtol=0, atol=0)


@pytest.mark.parametrize('library', ['mmdet', 'mmseg'])
def test_recomputed_activations_change_no_gradient(library):
    bases, batch = (
        (DETECTORS, detection_batch()) if library == 'mmdet' else (SEGMENTERS, segmentation_batch())
    )
    base = next(iter(bases))
    gradients = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        model = build(library, base, bases[base], with_cp=with_cp)
        if library == 'mmseg':
            model.data_preprocessor.size = (128, 160)
        torch.manual_seed(0)
        data = model.data_preprocessor(batch, training=True)
        model.parse_losses(model(**data, mode='loss'))[0].backward()
        gradients.append({n: p.grad for n, p in model.backbone.named_parameters() if p.grad is not None})
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize('library', ['mmdet', 'mmseg'])
def test_bfloat16_trains(library):
    bases, batch = (
        (DETECTORS, detection_batch()) if library == 'mmdet' else (SEGMENTERS, segmentation_batch())
    )
    # RetinaNet, because RoIAlign of mmcv does not support bfloat16 on a CPU.
    base = list(bases)[1 if library == 'mmdet' else 0]
    model = build(library, base, bases[base])
    if library == 'mmseg':
        model.data_preprocessor.size = (128, 160)
    with torch.autocast('cpu', torch.bfloat16):
        check_trains(model, batch)
