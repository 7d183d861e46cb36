"""Which datasets of a config read images, inside of those that split, join, repeat or balance them?"""

from collections.abc import Mapping


def inner_settings(settings: Mapping) -> list[Mapping]:
    """Return the settings of the datasets that read images themselves."""
    inner = [settings['dataset']] if 'dataset' in settings else settings.get('datasets')
    if inner is None:
        return [settings]
    return [found for each in inner for found in inner_settings(each)]


def pipeline_of(settings: Mapping) -> list[Mapping]:
    """Return the pipeline of the first dataset that reads.

    Raises:
        AttributeError: it has none.
    """
    return inner_settings(settings)[0].pipeline
