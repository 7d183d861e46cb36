"""Models of the page: loaded on first use, with the last few kept in memory."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from mmengine.model import BaseModel

from ..inference.classifier import ImageClassificationInferencer
from ..reports.class_results import distinct_names
from ..zoo.entries import Entry
from ..zoo.licenses import commercial_use
from ..zoo.names import find

MAX_MODELS = 3  # Huge takes 2.6 GB


class Source(NamedTuple):
    """The source of a model.

    Attributes:
        name: displayed name.
        network: see ``find``.
        weights: other weights for the network; True for its own.
    """

    name: str
    network: str
    weights: bool | str = True


class Model:
    """A loaded model and facts about it.

    Attributes:
        name: displayed name.
        inferencer: network, preprocessing and class names.
        names: distinct names of the outputs.
        lock: held during computations.
        warm: whether it has processed an image.
        facts: facts about the weights, by name.
    """

    def __init__(self, source: Source, device: str | None):
        self.name = source.name
        self.inferencer = ImageClassificationInferencer(source.network, source.weights, device=device)
        network = self.inferencer.model.eval()
        self.names = distinct_names(self.inferencer.classes, network.head.num_classes)
        self.lock, self.warm = Lock(), False
        entry = find(source.network).entry
        self.facts = facts_of_entry(entry) if entry else facts_of_network(network)
        self.device = next(network.parameters()).device


class Models:
    """The last few models, shared by all users.

    Args:
        device: None: a GPU if there is one.
    """

    def __init__(self, device: str | None = None):
        self.device = device
        self._models, self._lock, self._loading = OrderedDict(), Lock(), Lock()

    def get(self, source: Source, check: Callable[[Path], None] | None = None) -> Model:
        """Return a model, from memory if possible; files are read as data.

        Args:
            source: source of the model.
            check: function that raises UserError unless an untrusted file can be loaded.

        Raises:
            UserError: the model cannot be loaded, or is not a classifier.
        """
        if (model := self._recall(source)) is not None:
            return model
        if check is not None:
            check(Path(source.network))
        # One by one, because the registries of mmengine have one scope for all threads; a request for a model
        # that is being loaded waits for it.
        with self._loading:
            if (model := self._recall(source)) is None:
                model = Model(source, self.device)
                with self._lock:
                    self._models[source] = model
                    while len(self._models) > MAX_MODELS:
                        self._models.popitem(last=False)
        return model

    def _recall(self, source: Source) -> Model | None:
        with self._lock:
            if source in self._models:
                self._models.move_to_end(source)
            return self._models.get(source)


def facts_of_entry(entry: Entry) -> dict[str, str]:
    """Return the facts about published weights."""
    found = {'Parameters': f'{entry.parameters:,}', 'Classes': f'{entry.num_classes:,}'}
    found['Input'] = f'{entry.resolution} × {entry.resolution} pixels'
    if entry.top1 is not None:
        found['ImageNet top-1'] = f'{entry.top1} %'
    return found | {'License': entry.license or 'not stated', 'Commercial use': commercial_use(entry)}


def facts_of_network(network: BaseModel) -> dict[str, str]:
    """Return the facts about a file of weights."""
    parameters = sum(p.numel() for p in network.parameters())
    found = {'Parameters': f'{parameters:,}', 'Classes': f'{network.head.num_classes:,}'}
    if not network.preprocessing_told:
        found['Note'] = 'the file does not tell how its images were prepared; taken for ImageNet’s'
    if network.other_preparation:
        found['Note'] = network.other_preparation
    return found
