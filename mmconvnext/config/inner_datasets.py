"""Find the datasets that read images inside of wrappers that split, join, repeat or balance them."""

from collections.abc import Mapping

from ..errors import UserError


def inner_settings(settings: Mapping) -> list[Mapping]:
    """Return the settings of the datasets that read images themselves.

    Raises:
        UserError: a wrapper joins an empty list.
    """
    inner = [settings['dataset']] if 'dataset' in settings else settings.get('datasets')
    if inner is None:
        return [settings]
    if not inner:
        raise UserError(f'{settings.get("type")} joins an empty list of datasets; name one, or leave it out')
    return [found for each in inner for found in inner_settings(each)]


def pipeline_of(settings: Mapping) -> list[Mapping]:
    """Return the pipeline of the first dataset that reads images.

    Raises:
        AttributeError: there is no pipeline.
    """
    return inner_settings(settings)[0].pipeline
