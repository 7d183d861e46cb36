"""The layout of the page."""

import gradio as gr

from ..images.reader import MAX_PIXELS
from .events import COLUMNS, Events
from .prediction import TOPK
from .uploads import MAX_CHECKPOINT_MEGABYTES, MAX_FILES

TITLE = 'ConvNeXt: what is in your image?'
# A font of gradio; its semi-bold variant lacks characters.
FONTS = (gr.themes.utils.fonts.LocalFont('Source Sans Pro', weights=(400, 700)), 'system-ui', 'sans-serif')
THEME = dict(primary_hue='blue', secondary_hue='blue', neutral_hue='slate', font=FONTS, font_mono=FONTS)
CSS = """
.gradio-container { max-width: 1080px !important; margin: 0 auto; }
.head h1 { font-size: 1.8rem; margin: .4rem 0 .1rem; }
.head p, .limits { color: var(--body-text-color-subdued); margin: 0; }
#image img { width: 100%; height: 100%; object-fit: contain; }
#checkpoint .icon-wrap { display: none; }
.latency { font-size: 1.1rem; margin: .2rem 0 .8rem; }
.problem { border-left: 4px solid var(--error-border-color); background: var(--error-background-fill);
  padding: .6rem .8rem; border-radius: 4px; }
.facts table { border-collapse: collapse; margin-top: .3rem; }
.facts :is(table, tr, th, td) { border: 0 !important; padding: .1rem 1.2rem .1rem 0 !important; }
.facts th { font-weight: 400; text-align: left; color: var(--body-text-color-subdued); }
"""


def build(events: Events) -> gr.Blocks:
    """Build the page, whose events call the given functions."""
    uploads = events.uploads
    names = list(events.sources)
    with gr.Blocks(title=TITLE, analytics_enabled=False) as blocks:
        gr.HTML(
            f'<h1>{TITLE}</h1><p>Classify with a published checkpoint or your own, and see what the network '
            'looked at.</p>',
            elem_classes='head',
        )
        with gr.Row():
            with gr.Column(scale=2):
                name = gr.Dropdown(
                    names,
                    value=names[0],
                    label='Model',
                    info=f'{len(names)} to choose from; type to search' if len(names) > 1 else None,
                    elem_id='model',
                )
            with gr.Column(scale=1):
                checkpoint = gr.File(
                    label='Or a checkpoint of your own',
                    height=110,
                    visible=uploads.checkpoints,
                    elem_id='checkpoint',
                )
                refused = gr.HTML(elem_id='refused')
        with gr.Tab('One image'):
            with gr.Row(equal_height=True):
                image = gr.Image(
                    label='Image', sources=['upload', 'clipboard'], height=340, buttons=[], elem_id='image'
                )
                heat = gr.Image(
                    label='Grad-CAM',
                    interactive=False,
                    height=340,
                    format='png',
                    buttons=['fullscreen'],
                    elem_id='heat',
                )
            with gr.Row():
                with gr.Column():
                    scores = gr.Label(
                        label=f'The {TOPK} best classes; click on one to see where it was found',
                        show_heading=False,
                        elem_id='scores',
                    )
                with gr.Column():
                    said = gr.HTML(elem_id='said')
        with gr.Tab('Many images'):
            images = gr.File(
                label=f'Up to {MAX_FILES} images', file_count='multiple', height=180, elem_id='images'
            )
            start = gr.Button('Classify all', variant='primary')
            summary = gr.HTML(elem_id='summary')
            table = gr.Dataframe(
                headers=list(COLUMNS),
                datatype='str',
                interactive=False,
                wrap=True,
                column_widths=['22%', '20%', '10%', '28%', '20%'],
                visible=False,
                elem_id='table',
            )
            csv = gr.DownloadButton('Download as CSV', visible=False, elem_id='csv')
        gr.HTML(limits(uploads), elem_classes='limits')

        chosen, raw = [name, checkpoint], dict(preprocess=False, api_visibility='private')
        gr.on(
            [image.change, name.change, checkpoint.change, blocks.load],
            events.classify,
            [*chosen, image],
            [scores, heat, said],
            trigger_mode='always_last',
            **raw,
        )
        checkpoint.change(events.take, chosen, refused, **raw)
        name.focus(js="() => document.querySelector('#model input').select()")
        scores.select(events.explain, [*chosen, image], heat, **raw)
        start.click(events.classify_all, [*chosen, images], [table, csv, summary], **raw)
    return blocks


def limits(uploads) -> str:
    said = (
        f'Images: JPEG, PNG, WebP, GIF, BMP or TIFF of at most {uploads.most_megabytes:g} MB and '
        f'{MAX_PIXELS / 1e6:g} million pixels. '
    )
    if uploads.checkpoints:
        said += (
            f'Checkpoints: .safetensors or .pth of at most {MAX_CHECKPOINT_MEGABYTES:,} MB, read as data: '
            'nothing in them is run. '
        )
    return f'<small>{said}Files are deleted after an hour, and when the server ends.</small>'
