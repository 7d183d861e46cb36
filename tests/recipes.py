"""The values of the official commands, and the configs derived from them."""

from typing import NamedTuple


class Recipe(NamedTuple):
    """Values from TRAINING.md of the official repositories, unless a config's header names another source."""

    parameters: int  # checkpoints as published, 22k heads with 21841 classes
    size: int
    batch: int
    lr: float
    epochs: int
    warmup: int
    weight_decay: float
    drop_path: float
    layer_decay: tuple | None
    ema: bool
    mixup: bool
    smoothing: float = 0.1


V1 = dict(batch=4096, lr=4e-3, weight_decay=0.05, layer_decay=None, mixup=True)
SCRATCH = dict(**V1, size=224, epochs=300, warmup=20, ema=True)
ISOTROPIC = {**SCRATCH, 'warmup': 50}
IN22K = dict(**V1, size=224, epochs=90, warmup=5, ema=False)
FINETUNE = dict(batch=512, lr=5e-5, epochs=30, warmup=0, weight_decay=1e-8, mixup=False)
AFTER_1K = dict(**FINETUNE, layer_decay=(0.7, 'group'))
AFTER_22K = dict(**FINETUNE, layer_decay=(0.8, 'group'))
V2 = dict(size=224, batch=1024, ema=True)
V2_ATTO = dict(
    **V2,
    lr=8e-4,
    epochs=600,
    warmup=0,
    weight_decay=0.3,
    layer_decay=(0.9, 'single'),
    mixup=False,
    smoothing=0.2,
)
V2_TINY = dict(
    **V2, lr=3.2e-3, epochs=300, warmup=40, weight_decay=0.05, layer_decay=(0.9, 'single'), mixup=True
)
V2_BASE = dict(
    **V2, lr=2.5e-3, epochs=100, warmup=20, weight_decay=0.05, layer_decay=(0.6, 'group'), mixup=True
)
TINY, SMALL, BASE, LARGE, XLARGE = 28_589_128, 50_223_688, 88_591_464, 197_767_336, 350_196_968

RECIPES = {
    'convnext-tiny_32xb128_in1k': Recipe(TINY, drop_path=0.1, **SCRATCH),
    'convnext-small_32xb128_in1k': Recipe(SMALL, drop_path=0.4, **SCRATCH),
    'convnext-base_32xb128_in1k': Recipe(BASE, drop_path=0.5, **SCRATCH),
    'convnext-large_64xb64_in1k': Recipe(LARGE, drop_path=0.5, **SCRATCH),
    'convnext-xlarge_64xb64_in1k': Recipe(XLARGE, size=224, drop_path=0.4, ema=True, **AFTER_22K),
    'convnext-tiny_32xb128_in1k-384px': Recipe(TINY, size=384, drop_path=0.0, ema=False, **AFTER_22K),
    'convnext-small_32xb128_in1k-384px': Recipe(SMALL, size=384, drop_path=0.1, ema=False, **AFTER_22K),
    'convnext-base_32xb128_in1k-384px': Recipe(BASE, size=384, drop_path=0.8, ema=False, **AFTER_1K),
    'convnext-large_64xb64_in1k-384px': Recipe(LARGE, size=384, drop_path=0.95, ema=False, **AFTER_1K),
    'convnext-xlarge_64xb64_in1k-384px': Recipe(XLARGE, size=384, drop_path=0.4, ema=True, **AFTER_22K),
    'convnext-base_in21k-pre_16xb32_in1k': Recipe(BASE, size=224, drop_path=0.2, ema=False, **AFTER_22K),
    'convnext-base_in21k-pre_32xb16_in1k-384px': Recipe(
        BASE, size=384, drop_path=0.2, ema=False, **AFTER_22K
    ),
    'convnext-large_in21k-pre_16xb32_in1k': Recipe(LARGE, size=224, drop_path=0.3, ema=False, **AFTER_22K),
    'convnext-large_in21k-pre_32xb16_in1k-384px': Recipe(
        LARGE, size=384, drop_path=0.3, ema=False, **AFTER_22K
    ),
    'convnext-base_32xb128_in21k': Recipe(109_953_489, drop_path=0.1, **IN22K),
    'convnext-large_64xb64_in21k': Recipe(229_799_953, drop_path=0.1, **IN22K),
    'convnext-xlarge_64xb64_in21k': Recipe(392_900_177, drop_path=0.2, **IN22K),
    'convnext-isotropic-small_32xb128_in1k': Recipe(22_308_712, drop_path=0.1, **ISOTROPIC),
    'convnext-isotropic-base_32xb128_in1k': Recipe(87_083_752, drop_path=0.2, **ISOTROPIC),
    'convnext-isotropic-large_64xb64_in1k': Recipe(305_942_504, drop_path=0.5, **ISOTROPIC),
    'convnext-v2-atto_32xb32_in1k': Recipe(3_708_400, drop_path=0.1, **V2_ATTO),
    'convnext-v2-femto_32xb32_in1k': Recipe(5_233_240, drop_path=0.1, **V2_ATTO),
    'convnext-v2-pico_32xb32_in1k': Recipe(9_066_280, drop_path=0.1, **V2_ATTO),
    'convnext-v2-nano_32xb32_in1k': Recipe(15_623_800, drop_path=0.1, **V2_ATTO),
    'convnext-v2-tiny_32xb32_in1k': Recipe(28_635_496, drop_path=0.2, **V2_TINY),
    'convnext-v2-base_32xb32_in1k': Recipe(88_717_800, drop_path=0.1, **V2_BASE),
    'convnext-v2-large_32xb32_in1k': Recipe(197_956_840, drop_path=0.1, **V2_BASE),
    'convnext-v2-huge_32xb32_in1k': Recipe(660_289_640, drop_path=0.1, **V2_BASE),
    'convnext-v2-nano_32xb32_in1k-384px': Recipe(15_623_800, size=384, drop_path=0.0, ema=True, **AFTER_22K),
    'convnext-v2-tiny_32xb32_in1k-384px': Recipe(28_635_496, size=384, drop_path=0.0, ema=True, **AFTER_22K),
    'convnext-v2-base_32xb32_in1k-384px': Recipe(88_717_800, size=384, drop_path=0.2, ema=True, **AFTER_22K),
    'convnext-v2-large_32xb32_in1k-384px': Recipe(
        197_956_840, size=384, drop_path=0.3, ema=True, **AFTER_22K
    ),
    'convnext-v2-huge_32xb32_in1k-384px': Recipe(660_289_640, size=384, drop_path=0.4, ema=True, **AFTER_22K),
    'convnext-v2-huge_32xb32_in1k-512px': Recipe(660_289_640, size=512, drop_path=0.4, ema=True, **AFTER_22K),
}


class Pretraining(NamedTuple):
    """A config of FCMAE; all other values are the same for every size."""

    finetuning: str  # config of the same network
    epochs: int


PRETRAINING = {
    f'fcmae_convnext-v2-{size}_64xb64-{epochs}e_in1k': Pretraining(f'convnext-v2-{size}_32xb32_in1k', epochs)
    for size in ('atto', 'femto', 'pico', 'nano', 'tiny', 'base', 'large', 'huge')
    for epochs in (1600, 800)
}
