"""Build ConvNeXt with 1000 classes and random weights in each library."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from dense_masking import DenseFCMAE
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmconvnext.datasets import MaskPatches
from mmconvnext.errors import UserError
from mmconvnext.models import ARCHS, FCMAE, ConvNeXt
from mmconvnext.models.inference import DTYPES

CLASSES = 1000
V2 = dict(use_grn=True, layer_scale_init_value=0.0)
# Stochastic depth in training, from the official README of ConvNeXt; all others are trained without.
DROP_PATH_RATES = {'tiny': 0.1, 'small': 0.4, 'base': 0.5, 'large': 0.5}
# Variants of each library; ours come first.
FORMS = {
    'mmconvnext': ('eager', 'compiled', 'optimized'),
    'dense_masking': ('eager', 'compiled'),
    'timm': ('eager', 'compiled'),
    'torchvision': ('eager',),
    'transformers': ('eager',),
    'mmpretrain': ('eager',),
    'onnxruntime': ('of timm',),
    'openvino': ('of timm',),
}
RUNTIMES = ('onnxruntime', 'openvino')


@dataclass(frozen=True)
class Condition:
    """Conditions of a measurement.

    Attributes:
        arch: name in ``ARCHS``, with prefix ``v2-`` for V2.
        mode: inference; training (forward pass, cross entropy, backward pass and AdamW step); or
            pretraining (the same with FCMAE's loss, for ours and the dense masked form).
        dtype: fp32 or bf16; bf16 uses autocast, or cast weights in variants for inference only.
        batch: batch size.
        size: image height and width in pixels.
        device: cpu or cuda.
    """

    arch: str
    mode: str
    dtype: str
    batch: int
    size: int
    device: str

    def __str__(self) -> str:
        images = 'image' if self.batch == 1 else 'images'
        return (
            f'{self.arch} {self.mode} {self.dtype}, {self.batch} {images} of {self.size} px on {self.device}'
        )


class Classifier(nn.Module):
    """A backbone of OpenMMLab with a linear layer on its last features."""

    def __init__(self, backbone: nn.Module, channels: int):
        super().__init__()
        self.backbone, self.fc = backbone, nn.Linear(channels, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.backbone(x)[-1])


class Logits(nn.Module):
    """A model of transformers that returns logits for images."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x).logits


def build(library: str, name: str) -> nn.Module:
    """Build a module that computes logits from images.

    Raises:
        LookupError: the library does not have this network.
    """
    v2, arch = name.startswith('v2-'), name.removeprefix('v2-')
    sizes = {key: ARCHS[arch][key] for key in ('depths', 'channels')}
    rate = DROP_PATH_RATES.get(name, 0.0)
    settings = dict(V2 if v2 else {}, drop_path_rate=rate)
    if library == 'mmconvnext':
        return Classifier(ConvNeXt(arch, **settings), sizes['channels'][-1])
    if library == 'mmpretrain':
        from mmpretrain.models import ConvNeXt as MMPretrainConvNeXt

        return Classifier(MMPretrainConvNeXt(sizes, **settings), sizes['channels'][-1])
    if library == 'transformers':
        import transformers

        prefix = f'ConvNext{"V2" if v2 else ""}'
        config = getattr(transformers, f'{prefix}Config')(
            depths=list(sizes['depths']),
            hidden_sizes=list(sizes['channels']),
            num_labels=CLASSES,
            drop_path_rate=rate,
        )
        return Logits(getattr(transformers, f'{prefix}ForImageClassification')(config))
    if library == 'torchvision':
        from torchvision.models import get_model, list_models

        if v2 or f'convnext_{arch}' not in list_models():
            raise LookupError(f'torchvision has no {name}')
        return get_model(f'convnext_{arch}', num_classes=CLASSES, stochastic_depth_prob=rate)
    from timm.models.convnext import ConvNeXt as TimmConvNeXt

    settings = dict(use_grn=True, ls_init_value=None) if v2 else {}
    return TimmConvNeXt(
        depths=sizes['depths'], dims=sizes['channels'], num_classes=CLASSES, drop_path_rate=rate, **settings
    )


def contender(name: str, condition: Condition) -> Callable[[], object]:
    """Return a function that runs one forward pass or training step of a contender.

    Args:
        name: library and variant, for example ``timm compiled``.
        condition: what to measure.

    Raises:
        LookupError: the contender does not support the condition.
    """
    library, _, form = name.partition(' ')
    device = torch.device(condition.device)
    images = torch.randn(condition.batch, 3, condition.size, condition.size, device=device)
    images = images.to(memory_format=torch.channels_last)
    if library in RUNTIMES:
        return runtime(library, condition, images)
    if (library == 'dense_masking') > (condition.mode == 'pretraining'):
        raise LookupError('the dense masked form is for pre-training')
    if condition.mode == 'pretraining':
        return pretraining_step(library, form, condition, images)
    model = build(library, condition.arch).to(device, memory_format=torch.channels_last)
    if form == 'compiled':
        model.compile()
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=condition.dtype == 'bf16')
    if condition.mode == 'training':
        if form == 'optimized':
            raise LookupError('the optimized variant is for inference only')
        return training_step(model, images, autocast)
    model.eval()
    if form == 'optimized':
        model.backbone = model.backbone.optimize_for_inference(DTYPES[condition.dtype])

    def infer() -> Tensor:
        with torch.inference_mode(), autocast:
            return model(images)

    return infer


def training_step(model: nn.Module, images: Tensor, autocast: torch.autocast) -> Callable[[], None]:
    """Return a function for one iteration, with the same, fastest optimizer for all contenders."""
    labels = torch.randint(CLASSES, (len(images),), device=images.device)
    return optimization_step(model, lambda: F.cross_entropy(model(images), labels), autocast)


def pretraining_step(library: str, form: str, condition: Condition, images: Tensor) -> Callable[[], None]:
    """Return a function for one iteration of FCMAE with 30 of 49 patches masked, at 224 px."""
    kinds = {'mmconvnext': FCMAE, 'dense_masking': DenseFCMAE}
    if library not in kinds or form == 'optimized':
        raise LookupError('only ours and the dense masked form pre-train')
    settings = V2 if condition.arch.startswith('v2-') else {}
    backbone = ConvNeXt(condition.arch.removeprefix('v2-'), out_indices=(), **settings)
    model = kinds[library](backbone).to(images.device, memory_format=torch.channels_last)
    if form == 'compiled':
        model.reconstruct = torch.compile(model.reconstruct)
    draw = MaskPatches(patch_size=32, mask_ratio=0.6)
    masks = [draw(dict(img=np.empty((condition.size, condition.size)))) for _ in images]
    samples = [DataSample().set_mask(each['mask']) for each in masks]
    autocast = torch.autocast(images.device.type, torch.bfloat16, enabled=condition.dtype == 'bf16')
    return optimization_step(model, lambda: model.loss(images, samples)['loss'], autocast)


def optimization_step(
    model: nn.Module, loss_of_batch: Callable[[], Tensor], autocast: torch.autocast
) -> Callable[[], None]:
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05, fused=True)

    def step() -> None:
        with autocast:
            loss = loss_of_batch()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def runtime(library: str, condition: Condition, images: Tensor) -> Callable[[], np.ndarray]:
    """Return timm's network in a runtime for inference on CPUs."""
    if condition.mode != 'inference' or condition.device != 'cpu':
        raise LookupError(f'{library} is for inference on a CPU')
    model = build('timm', condition.arch).eval()
    array, threads = images.contiguous().numpy(), torch.get_num_threads()
    if library == 'openvino':
        import openvino

        network = openvino.convert_model(model, example_input=images, input=[array.shape])
        settings = {
            'INFERENCE_NUM_THREADS': threads,
            'PERFORMANCE_HINT': 'LATENCY',
            'INFERENCE_PRECISION_HINT': condition.dtype.replace('fp', 'f'),
        }
        compiled = openvino.compile_model(network, 'CPU', settings)
        return lambda: compiled(array)[0]
    if condition.dtype != 'fp32':
        raise LookupError('onnxruntime computes in fp32 on a CPU')
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    with TemporaryDirectory() as folder:
        torch.onnx.export(model, (images,), f'{folder}/network.onnx', verbose=False)
        session = onnxruntime.InferenceSession(
            f'{folder}/network.onnx', options, providers=['CPUExecutionProvider']
        )
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: array})[0]


def installed_contenders() -> list[str]:
    """Return the contenders whose libraries are installed."""
    return [f'{library} {form}' for library, forms in FORMS.items() if find_spec(library) for form in forms]


def check_sameness(condition: Condition) -> None:
    """Raise UserError unless our optimized network gives the results of the plain one in fp32."""
    model = build('mmconvnext', condition.arch).eval().to(condition.device)
    images = torch.randn(2, 3, condition.size, condition.size, device=condition.device)
    with torch.inference_mode():
        expected = model(images)
        model.backbone = model.backbone.optimize_for_inference()
        error = ((model(images) - expected).abs().max() / expected.abs().max()).item()
    if error > 2e-6:
        raise UserError(
            f'{condition.arch}: the outputs of the optimized network differ by {error:.1e}, more than 2e-6; '
            'it is not timed until they agree'
        )
