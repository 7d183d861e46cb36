from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
version = {}
exec((HERE / 'mmconvnext' / 'version.py').read_text(), version)

MAINTAINED = ['onedl-mmengine>=0.10.12', 'onedl-mmcv>=2.3.6', 'onedl-mmpretrain>=1.3.6']
ORIGINAL = ['mmengine>=0.10.7', 'mmcv-lite>=2.2.0', 'mmpretrain>=1.2.0']
TEST = ['pytest', 'pytest-xdist']

setup(
    name='mmconvnext',
    version=version['__version__'],
    description='ConvNeXt for people who train and ship vision models: an OpenMMLab model-zoo plugin',
    long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['mmconvnext', 'mmconvnext.*']),
    # .mim links to configs and tools, so that a wheel contains them where OpenMMLab's tools look for them.
    # Written out, because ** does not follow links before setuptools 82.
    package_data={
        'mmconvnext': [
            *('.mim/*.yml', '.mim/configs/*/*.yml', '.mim/tools/*.py', '.mim/tools/*.sh'),
            *('.mim/configs/*/*.py', '.mim/configs/*/*/*.py'),
            'reports/page.*',  # style and script of the pages
        ]
    },
    # The OpenMMLab libraries come with an extra, since two stacks provide them under the same names.
    install_requires=[
        'filelock',
        'h5py>=3.11',
        'huggingface_hub>=0.24',
        'joblib',
        'matplotlib',
        'numpy',
        'packaging',
        'pyyaml',
        'rich',
        'safetensors',
        'scikit-learn',  # contains the handwritten digits
        'timm',  # contains the names of the ImageNet classes
        # Before 2.6, torch.load(weights_only=True) could be made to run code (CVE-2025-32434).
        'torch>=2.6',
        'torchvision',
        'tqdm',
        'webdataset>=1.0',
    ],
    extras_require={
        'maintained': MAINTAINED,
        'original': ORIGINAL,
        'detection': [*MAINTAINED, 'onedl-mmdetection>=3.5.1'],
        'segmentation': [*MAINTAINED, 'onedl-mmsegmentation>=1.4.2', 'ftfy', 'regex'],
        # mmengine's strategy needs optimizers that were removed in 0.19.7.
        'deepspeed': ['deepspeed>=0.14,<0.19.6'],
        # The page only accepts requests in the format of this version.
        'app': ['gradio>=6.31,<7'],
        'docs': ['furo', 'myst-parser', 'sphinx'],
        'export': ['onnx', 'onnxscript', 'onnxruntime', 'openvino', 'nncf'],
        'tensorboard': ['tensorboard'],
        'wandb': ['wandb'],
        # MMDetection cannot be imported in an environment with transformers 5.
        'test': TEST,
        'dev': [
            *TEST,
            'import-linter',
            'playwright',
            'ruff',
            'setuptools>=70.1',
            'tensorboard',
            'transformers',
        ],
    },
    classifiers=[
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
)
