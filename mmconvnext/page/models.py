"""The networks of the page: loaded when they are first asked for, the last few kept."""

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
    """Where a network comes from.

    Attributes:
        name: to show.
        network: see ``find``.
        weights: other weights for it; True: its own.
    """

    name: str
    network: str
    weights: bool | str = True


class Model:
    """A network that is ready, with what the page says about it.

    Attributes:
        name: to show.
        inferencer: has the network, its preprocessing and the names of the classes.
        names: one for each output, no two alike.
        lock: held by who computes.
        warm: whether it has seen an image.
        facts: name to value, of the weights.
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
    """The last few networks, shared by all users.

    Args:
        device: None: a GPU if there is one.
    """

    def __init__(self, device: str | None = None):
        self.device = device
        self._models, self._lock, self._loading = OrderedDict(), Lock(), Lock()

    def get(self, source: Source, check: Callable[[Path], None] | None = None) -> Model:
        """A network, from memory if it is there; files are read as data.

        Args:
            source: of the network.
            check: raises UserError unless the file of somebody else can be loaded.

        Raises:
            UserError: it cannot be loaded, or does not classify.
        """
        if (model := self._recall(source)) is not None:
            return model
        if check is not None:
            check(Path(source.network))
        # One after the other, since mmengine's registries have one scope for all threads; and who asks for
        # what is being loaded waits for it.
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
    """What the zoo knows of some weights."""
    found = {'Parameters': f'{entry.parameters:,}', 'Classes': f'{entry.num_classes:,}'}
    found['Input'] = f'{entry.resolution} × {entry.resolution} pixels'
    if entry.top1 is not None:
        found['ImageNet top-1'] = f'{entry.top1} %'
    return found | {'License': entry.license or 'not stated', 'Commercial use': commercial_use(entry)}


def facts_of_network(network: BaseModel) -> dict[str, str]:
    """What a file of weights tells."""
    parameters = sum(p.numel() for p in network.parameters())
    found = {'Parameters': f'{parameters:,}', 'Classes': f'{network.head.num_classes:,}'}
    if not network.preprocessing_told:
        found['Note'] = 'the file does not tell how its images were prepared; taken for ImageNet’s'
    if network.other_preparation:
        found['Note'] = network.other_preparation
    return found
