"""Short names of the licenses of weights, and whether they permit commercial use."""

from .entries import Entry

# License -> short name, and whether it permits commercial use.
LICENSES = {
    'MIT': ('MIT', 'yes'),
    'Apache-2.0': ('Apache-2.0', 'yes'),
    'CC-BY-NC-4.0': ('CC BY-NC', 'no'),
    'FAIR Noncommercial Research License': ('FAIR NC', 'no'),
    'DINOv3 License': ('DINOv3', 'on its own terms'),
    None: ('not stated', 'ask the source'),
}


def license_of(entry: Entry) -> str:
    return LICENSES.get(entry.license, (entry.license, ''))[0]


def commercial_use(entry: Entry) -> str:
    return LICENSES.get(entry.license, ('', 'read it'))[1]
