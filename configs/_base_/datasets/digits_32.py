# Handwritten digits from scikit-learn, 8 x 8 pixels enlarged to 32 x 32.
data_preprocessor = dict(num_classes=10, mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True)

enlarge = dict(type='Resize', scale=(32, 32), backend='pillow', interpolation='bicubic')

train_dataloader = dict(
    batch_size=48,
    num_workers=0,
    persistent_workers=False,  # mmpretrain's tools enable it, which needs workers
    dataset=dict(
        type='mmconvnext.Digits',
        split='train',
        pipeline=[
            enlarge,
            dict(type='RandomCrop', crop_size=32, padding=2),
            dict(type='Rotate', angle=10, prob=0.5),
            dict(type='PackInputs'),
        ],
    ),
    sampler=dict(type='DefaultSampler', shuffle=True, seed=0),
)

val_dataloader = dict(
    batch_size=120,
    num_workers=0,
    persistent_workers=False,  # mmpretrain's tools enable it, which needs workers
    dataset=dict(type='mmconvnext.Digits', split='test', pipeline=[enlarge, dict(type='PackInputs')]),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='Accuracy', topk=(1, 5))

test_dataloader = val_dataloader
test_evaluator = val_evaluator
