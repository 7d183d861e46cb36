"""Make the files beside this one: small weights as TensorFlow saves them, and what TensorFlow computes.

    pip install tensorflow-cpu tf_keras 'transformers<5' h5py
    python tests/data/make_tensorflow_fixtures.py

transformers.h5, transformersv2.h5   ``save_pretrained`` of TFConvNext(V2)ForImageClassification
keras.h5                             ``save_weights`` of keras.applications in Keras 2
keras3.weights.h5                    ``save_weights`` of keras.applications in Keras 3
tensorflow.npz                       logits of each, and the names and shapes in files of full size
"""

import tempfile
from pathlib import Path

import h5py
import keras
import numpy as np
import tf_keras
from keras.src.applications.convnext import ConvNeXt as Keras3ConvNeXt
from tf_keras.src.applications.convnext import ConvNeXt as Keras2ConvNeXt
from transformers import (
    ConvNextConfig,
    ConvNextV2Config,
    TFConvNextForImageClassification,
    TFConvNextModel,
    TFConvNextV2ForImageClassification,
    TFConvNextV2Model,
)

HERE = Path(__file__).parent
DEPTHS, CHANNELS = [1, 1, 2, 1], [4, 8, 12, 16]
SHAPE = (2, 3, 64, 48)
# Two images (NCHW) with values 0..250: the square of each value's index, modulo a prime.
IMAGES = (np.arange(np.prod(SHAPE)) ** 2 % 251).astype('float32').reshape(SHAPE)
SIZES = {'tiny': [3, 3, 9, 3], 'base': [3, 3, 27, 3]}
WIDTHS = {'tiny': [96, 192, 384, 768], 'base': [128, 256, 512, 1024], 'xlarge': [256, 512, 1024, 2048]}


def randomize(model) -> None:
    """Return weights with which every parameter affects the output, including layer scale and GRN."""
    generator = np.random.default_rng(0)
    for weight in model.weights:
        shape = tuple(weight.shape)
        fan_in = int(np.prod(shape[:-1]))
        value = generator.normal(0, np.sqrt(2 / fan_in), shape)
        weight.assign(value if fan_in > 1 else generator.uniform(0.2, 1, shape))


def transformers_model(v2: bool, head: bool = True, depths=DEPTHS, channels=CHANNELS):
    kinds = {
        (False, False): (ConvNextConfig, TFConvNextModel),
        (False, True): (ConvNextConfig, TFConvNextForImageClassification),
        (True, False): (ConvNextV2Config, TFConvNextV2Model),
        (True, True): (ConvNextV2Config, TFConvNextV2ForImageClassification),
    }
    config_type, model_type = kinds[v2, head]
    tf_keras.backend.clear_session()  # else the second model is called tf_conv_next_model_1
    config = config_type(depths=depths, hidden_sizes=channels, num_labels=10, layer_norm_eps=1e-6)
    model = model_type(config)
    model.build_in_name_scope()
    return model


def keras_model(builder, name: str = 'convnext', depths=DEPTHS, channels=CHANNELS, top: bool = True):
    tf_keras.backend.clear_session()  # else the second norm without a name is layer_normalization_1
    return builder(
        depths,
        channels,
        include_top=top,
        classes=10,
        classifier_activation=None,
        input_shape=(*SHAPE[2:], 3) if channels is CHANNELS else None,
        **{'name' if builder is Keras3ConvNeXt else 'model_name': name},
    )


def contents(save) -> list[str]:
    """Paths and shapes of the datasets in the file that ``save`` writes."""
    with tempfile.TemporaryDirectory() as folder:
        save(folder)
        (file,) = Path(folder).glob('*.h5')
        with h5py.File(file) as h5:
            found = {}
            h5.visititems(found.__setitem__)
            return [f'{name} {item.shape}' for name, item in found.items() if isinstance(item, h5py.Dataset)]


def main() -> None:
    record = {}
    for v2 in (False, True):
        model = transformers_model(v2)
        randomize(model)
        name = f'transformers{"v2" if v2 else ""}'
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            Path(folder, 'tf_model.h5').replace(HERE / f'{name}.h5')
        record[name] = model(IMAGES / 64 - 2).logits.numpy()
        for size in SIZES:
            for head in (False, True):
                big = transformers_model(v2, head, SIZES[size], WIDTHS[size])
                record[f'{name}-{size}-{head}'] = contents(big.save_pretrained)
    for name, builder in (('keras', Keras2ConvNeXt), ('keras3', Keras3ConvNeXt)):
        model = keras_model(builder)
        randomize(model)
        model.save_weights(HERE / ('keras3.weights.h5' if name == 'keras3' else 'keras.h5'))
        record[name] = model(IMAGES.transpose(0, 2, 3, 1)).numpy()
    for size in WIDTHS:
        for top in (False, True):
            depths = SIZES.get(size, SIZES['base'])
            big = keras_model(Keras2ConvNeXt, f'convnext_{size}', depths, WIDTHS[size], top)
            record[f'keras-{size}-{top}'] = contents(lambda folder, m=big: m.save_weights(f'{folder}/x.h5'))
    np.savez_compressed(HERE / 'tensorflow.npz', **record)
    print(f'made with tf_keras {tf_keras.__version__}, keras {keras.__version__}')


if __name__ == '__main__':
    main()
