"""Draw what the predictions of a classifier rest on."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from mmengine.dataset import default_collate

from ..errors import UserError, check_counts, did_you_mean
from ..explanation import grad_cam, occlusion, stage_maps
from ..explanation.classifier import classifier_of
from ..explanation.grad_cam import pointing_stage
from ..explanation.occlusion import resolve_patch
from ..files import check_new_file, written_whole
from ..inference.classifier import ImageClassificationInferencer
from ..inference.inputs import Given, find_images
from ..models.linear_head import class_of, rank
from ..reports.annotated import PictureFolder
from ..reports.class_results import distinct_names
from ..reports.explanation import MAX_BARS, Explanation, save_explanation
from ..reports.pictures import rgb_of
from ..text import class_title, printable
from .infer import check_inputs, choose_model


def explain(
    inputs: list[str],
    *,
    model: str | None = None,
    checkpoint: str | None = None,
    class_name: str | None = None,
    out: str | None = None,
    out_dir: str | None = None,
    stage: int | None = None,
    patch: int | None = None,
    stride: int | None = None,
    batch_size: int = 32,
    device: str | None = None,
    trust_checkpoint: bool = False,
) -> None:
    """Draw what the predictions of a classifier rest on: Grad-CAM, occlusion and the maps of the stages.

    Args:
        inputs: images, folders, patterns and URLs.
        model, checkpoint: see ``infer``.
        class_name: name or number of the class to explain; None: the one that is predicted.
        out: file for the picture of a single image, .png.
        out_dir: new folder for the pictures of several.
        stage: whose map Grad-CAM weights; None: see ``pointing_stage``.
        patch, stride: see ``occlusion``.
        batch_size: covered images that go through the network at once.
        device: default a GPU if there is one.
        trust_checkpoint: unpickle whatever the checkpoint holds, which runs any code in it.

    Raises:
        UserError: what was found, what was expected and what to do; at the end, if images could not
            be read.
    """
    check_counts(batch_size=batch_size)
    network, weights = choose_model(model, checkpoint)
    check_inputs(inputs)
    images = find_images(inputs)
    place = places_for(images, out, out_dir)
    inferencer = ImageClassificationInferencer(
        network, weights, device=device, trust_checkpoint=trust_checkpoint
    )
    stages = len(classifier_of(inferencer.model).backbone.stages)
    if stage is not None and not 0 <= stage < stages:
        raise UserError(f'--stage is {stage}; the network has {stages} stages, numbered from 0')
    label = None if class_name is None else find_class(class_name, names_of(inferencer))
    options = dict(stage=stage, patch=patch, stride=stride, batch_size=batch_size)
    broken = []
    for given in images:
        try:
            sample, _ = inferencer.pipeline.prepare(given.image)
        except UserError as error:
            broken.append(f'  {printable(given.path)}: {printable(str(error))}')
            continue
        explanation = explain_sample(inferencer, given.path, sample, label, **options)
        file = place(given)
        with written_whole(file) as part:
            save_explanation(explanation, part)
        target = explanation.target
        print(f'Wrote {printable(str(file))}: {class_title(target)} {target["score"]:.1%}')
    if broken:
        raise UserError(
            f'{len(broken)} of {len(images)} images could not be read; the others are done:\n'
            + '\n'.join(broken)
        )


def places_for(images: list[Given], out: str | None, out_dir: str | None) -> Callable[[Given], Path]:
    """Which file the picture of an image goes into, checked before anything is computed."""
    if (out is None) == (out_dir is None):
        raise UserError('where to? name a file with --out picture.png, or a new folder with --out-dir')
    if out_dir is not None:
        folder = PictureFolder(out_dir, ('.png',))
        return lambda given: folder.place(given.name)
    if len(images) > 1:
        raise UserError(
            f'--out is one file, but there are {len(images)} images; name a folder with --out-dir'
        )
    check_new_file(out, '.png')
    return lambda given: Path(out)


def names_of(inferencer: ImageClassificationInferencer) -> tuple[str, ...]:
    return distinct_names(inferencer.classes, inferencer.model.head.num_classes)


def find_class(wanted: str, names: Sequence[str]) -> int:
    """The number of a class that was named, or numbered.

    Raises:
        UserError: there is no such class; with the nearest names.
    """
    if wanted in names:
        return names.index(wanted)
    folded = [name.casefold() for name in names]
    if wanted.casefold() in folded:
        return folded.index(wanted.casefold())
    if wanted.isdecimal() and int(wanted) < len(names):
        return int(wanted)
    raise UserError(
        f'the model has no class {wanted!r} among its {len(names)}, which are numbered from 0'
        f'{did_you_mean(wanted, names)}'
    )


def explain_sample(
    inferencer: ImageClassificationInferencer,
    path: str,
    sample: dict,
    label: int | None,
    *,
    stage: int | None,
    patch: int | None,
    stride: int | None,
    batch_size: int,
) -> Explanation:
    """All that is drawn of one prepared image."""
    model, names = inferencer.model, names_of(inferencer)
    images = model.data_preprocessor(default_collate([sample]), False)['inputs']
    patch, stride = resolve_patch(patch, stride, *images.shape[2:])
    scores = classifier_of(model).probabilities(images)[0].cpu()
    if not scores.isfinite().all():
        raise UserError('the network gave scores that are not finite; check its weights')
    ranked = rank(scores, MAX_BARS, names)
    target = ranked[0] if label is None else class_of(label, names) | {'score': float(scores[label])}
    classes, stages = torch.tensor([target['label']]), stage_maps(model, images)
    deep = pointing_stage(stages) if stage is None else stage
    hidden = occlusion(model, images, classes, patch=patch, stride=stride, batch_size=batch_size)
    return Explanation(
        path=path,
        image=rgb_of(sample['inputs']),
        target=target,
        ranked=ranked,
        grad_cam=grad_cam(model, images, classes, deep)[0].cpu().numpy(),
        stage=deep,
        occlusion=hidden[0].cpu().numpy(),
        patch=patch,
        stages=[stage[0].movedim(0, -1).cpu().numpy() for stage in stages],
    )
