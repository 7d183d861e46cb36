"""Which datasets of a config read images, inside of those that split, join, repeat or balance them?"""

from collections.abc import Mapping

from ..errors import UserError


def inner_settings(settings: Mapping) -> list[Mapping]:
    """Return the settings of the datasets that read images themselves.

    Raises:
        UserError: an empty list of them is joined.
    """
    inner = [settings['dataset']] if 'dataset' in settings else settings.get('datasets')
    if inner is None:
        return [settings]
    if not inner:
        raise UserError(f'{settings.get("type")} joins an empty list of datasets; name one, or leave it out')
    return [found for each in inner for found in inner_settings(each)]


def pipeline_of(settings: Mapping) -> list[Mapping]:
    """Return the pipeline of the first dataset that reads.

    Raises:
        AttributeError: it has none.
    """
    return inner_settings(settings)[0].pipeline
