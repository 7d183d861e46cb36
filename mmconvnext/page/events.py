"""Event handlers of the page."""

import secrets
from collections.abc import Sequence
from html import escape

import gradio as gr
import torch
from PIL import Image

from ..errors import UserError
from ..inference.classifier import ImageClassificationInferencer
from ..zoo.names import find
from .models import Model, Models, Source, facts_of_entry
from .prediction import classify_all, explain, predict, prepare, write_csv
from .uploads import MAX_FILES, Upload, Uploads, check_checkpoint
from .vetting import Vetting

COLUMNS = ('Image', 'Class', 'Score', 'Then', 'Problem')


class Events:
    """The functions that gradio calls, with the raw values of its components.

    gradio's own preprocessing would open images without our limits. For an uploaded file, the value is its
    path, which only identifies the upload.

    Args:
        models: loaded models, shared by all users.
        uploads: uploads of all users.
        given: models on the command line, listed before the zoo.
        published: whether to offer the zoo, whose models may then be downloaded.
    """

    def __init__(self, models: Models, uploads: Uploads, given: Sequence[Source], *, published: bool):
        self.models, self.uploads, self.vetting = models, uploads, Vetting()
        names = ImageClassificationInferencer.list_models() if published else ()
        first = {source.name: source for source in given}
        # A file may have the name of a published model: it keeps its position and its name.
        self.sources = first | {name: Source(name, name) for name in names} | first

    def classify(self, name: str, checkpoint: dict | None, image: dict | None) -> tuple:
        """Return scores, heat map and a message for an image."""
        try:
            if image is None:
                return None, no_heat(), self.about(name, checkpoint)
            model = self.model(name, checkpoint)
            prepared = prepare(model, self.upload(image))
            scores, milliseconds = predict(model, prepared)
            best = next(iter(scores))
            heat = explain(model, prepared, best)
        except UserError as error:
            return None, no_heat(), problem(error)
        latency = (
            f'<p class="latency"><b>{milliseconds:.1f} ms</b> in the network, on {device_name(model)}</p>'
        )
        return scores, shown_heat(heat, best), latency + table(model.name, model.facts)

    def take(self, name: str, checkpoint: dict | None) -> str:
        """Check an uploaded checkpoint before there is an image, and return its error."""
        try:
            if checkpoint is not None:
                self.model(name, checkpoint)
        except UserError as error:
            return problem(error)
        return ''

    def explain(self, name: str, checkpoint: dict | None, image: dict | None, event: gr.SelectData) -> dict:
        """Return the heat map of the selected class."""
        try:
            model = self.model(name, checkpoint)
            if image is None or event.value not in model.names:
                return gr.skip()
            heat = explain(model, prepare(model, self.upload(image)), event.value)
        except UserError as error:
            gr.Warning(escape(str(error)))
            return gr.skip()
        return shown_heat(heat, event.value)

    def classify_all(self, name: str, checkpoint: dict | None, images: list[dict] | None) -> tuple:
        """Return table, CSV file and a message for several images."""
        try:
            uploads = [self.upload(image) for image in images or ()]
            if not 0 < len(uploads) <= MAX_FILES:
                raise UserError(f'there are {len(uploads)} images; choose 1 to {MAX_FILES}')
            model = self.model(name, checkpoint)
            results = list(classify_all(model, uploads))
        except UserError as error:
            return gr.Dataframe(visible=False), gr.DownloadButton(visible=False), problem(error)
        folder = self.uploads.folder / secrets.token_hex(16)
        folder.mkdir()
        write_csv(results, folder / 'results.csv')
        done = sum('error' not in result for result in results)
        return (
            gr.Dataframe([row(result) for result in results], visible=True),
            gr.DownloadButton(value=str(folder / 'results.csv'), visible=True),
            f'<p>{done} of {len(results)} images classified by <b>{escape(model.name)}</b></p>',
        )

    def about(self, name: str, checkpoint: dict | None) -> str:
        """Return the facts about a model before it is loaded."""
        entry = find(self.sources[name].network).entry if name in self.sources else None
        return table(name, facts_of_entry(entry)) if entry and checkpoint is None else ''

    def model(self, name: str, checkpoint: dict | None) -> Model:
        """Return the model of the uploaded checkpoint if there is one, else the selected model."""
        if checkpoint is not None and self.uploads.checkpoints:
            upload = self.upload(checkpoint)
            check_checkpoint(upload)
            try:
                return self.models.get(Source(upload.name, str(upload.path)), self.vetting.check)
            except UserError as error:
                raise UserError(upload.told(str(error))) from error
        if name not in self.sources:
            raise UserError(f'there is no model {name!r}; choose one of the list')
        return self.models.get(self.sources[name])

    def upload(self, value: dict) -> Upload:
        return self.uploads.find(value['path'])


def row(result: dict) -> list[str]:
    """Return the table row of a result."""
    if 'error' in result:
        return [result['path'], '', '', '', result['error']]
    best, *others = [(one['class'], f'{one["score"]:.1%}') for one in result['topk']]
    return [result['path'], *best, '; '.join(map(' '.join, others)), '']


def table(name: str, facts: dict[str, str]) -> str:
    rows = ''.join(f'<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>' for key, value in facts.items())
    return f'<div class="facts"><b>{escape(name)}</b><table>{rows}</table></div>'


def problem(error: UserError) -> str:
    return f'<p class="problem" role="alert">{escape(str(error))}</p>'


def shown_heat(heat: Image.Image, name: str) -> dict:
    return gr.Image(heat, label=f'Grad-CAM: what speaks for {name}')


def no_heat() -> dict:
    return gr.Image(None, label='Grad-CAM')


def device_name(model: Model) -> str:
    if model.device.type == 'cuda':
        return torch.cuda.get_device_name(model.device)
    return f'{torch.get_num_threads()} {"thread" if torch.get_num_threads() == 1 else "threads"} of the CPU'
