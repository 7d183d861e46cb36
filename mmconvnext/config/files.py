"""Read a config file and its bases; errors name the file and the line."""

import ast
import re
import traceback
from pathlib import Path

from mmengine.config import Config

from ..errors import UserError
from ..paths import CONFIGS
from .data import MAX_VALUES, SUFFIXES, count_values, read_data, read_text
from .libraries import check_installed

MAX_FILES = 50  # a base that is inherited twice counts twice, because mmengine reads it twice
MAX_LEVELS = 10
RESERVED = ('filename', 'text', 'pretty_text', 'env_variables')  # attributes of mmengine's Config


def read_config(file: Path) -> Config:
    """Read a config: a .py file is run, a YAML or JSON file is data.

    Raises:
        UserError: there is a mistake in the file or a base; the message names file and line.
    """
    found = Found()
    found.add(file, ())
    try:
        return compose(file, found) if file.suffix in SUFFIXES else Config.fromfile(file)
    except (UserError, KeyboardInterrupt):
        raise
    except RecursionError as error:
        raise UserError(f'{file}: its bases or values lead in a circle') from error
    except (
        BaseException
    ) as error:  # a .py config runs any code, which can raise any error, including SystemExit
        # Releases of mmengine differ in the error for a missing library of a base such as mmdet::...
        for scope in re.findall(r'[\'"](\w+)::', read_text(file)):
            check_installed(scope, file.stem)
        if isinstance(error, ImportError) or 'import_modules_from_strings' in str(error):
            raise UserError(explain_import(error, file, found.configs)) from error
        raise UserError(f'{line_before_error(error, file, found.configs)}: {summary(error)}') from error


class Found:
    """A config and all its bases, checked for existence, syntax, cycles and number.

    Attributes:
        configs: paths of all files.
        data: content of YAML and JSON files.
        visits: number of times that files are read, including repeated inheritance.
        values: number of values in all data.
    """

    def __init__(self):
        self.configs: set[Path] = set()
        self.data: dict[Path, dict] = {}
        self.visits = self.values = 0

    def add(self, file: Path, above: tuple[Path, ...]) -> None:
        """Read a config and its bases.

        Args:
            file: file to read.
            above: configs that inherit from it, starting with the named one.
        """
        path = file.expanduser().absolute()
        place = path.resolve()
        if place in above:
            circle = ' -> '.join(map(str, (*above[above.index(place) :], path)))
            raise UserError(f'_base_ leads in a circle: {circle}; take one of them out')
        self.visits += 1
        if len(above) > MAX_LEVELS or self.visits > MAX_FILES:
            raise UserError(
                f'{above[0]} has more than {MAX_LEVELS} levels of bases, or more than {MAX_FILES} bases; '
                'expected a few. Write some of them into one file'
            )
        if not path.exists():
            raise UserError(f'{above[-1]}: its base {file} does not exist; correct _base_')
        if path.suffix == '.py':
            bases = bases_of_code(path)
        elif path.suffix in SUFFIXES:
            bases = self.data_of(path).get('_base_') or []
        else:
            raise UserError(
                f'{path} is not a config: it ends in {path.suffix!r}; expected .py, .json, .yml or .yaml'
            )
        self.configs.add(place)
        for base in bases if isinstance(bases, (list, tuple)) else [bases]:
            if not isinstance(base, str):
                raise UserError(f'{path}: _base_ names {base!r}; expected the paths of one or more configs')
            if path.suffix != '.py':
                check_base_of_data(path, base)
            if '::' not in base:  # in another library, where mmengine finds it
                self.add(Path(path.parent, base), (*above, place))

    def data_of(self, path: Path) -> dict:
        """Return the content of a YAML or JSON config, read only once."""
        place = path.resolve()
        if place not in self.data:
            self.data[place] = read_data(path)
        self.values += count_values(self.data[place])
        if self.values > MAX_VALUES:
            raise UserError(f'{path}: it and the other bases have more than {MAX_VALUES:,} values in all')
        return self.data[place]


def check_base_of_data(path: Path, base: str) -> None:
    """Raise UserError if a data config inherits from code other than configs of this package."""
    is_code = base.endswith('.py') and not Path(path.parent, base).resolve().is_relative_to(CONFIGS.resolve())
    if '::' in base or is_code:
        raise UserError(
            f'{path}: _base_ leads to {base}, which is code. A YAML or JSON config is data: name '
            'a YAML or JSON file or a config of this package, or write a .py config'
        )


def bases_of_code(path: Path) -> list | str:
    """Return ``_base_`` of a .py config if it is a literal."""
    text = read_text(path)
    try:
        tree = ast.parse(text, str(path))
    except SyntaxError as error:
        line = (error.text or '').strip()
        raise UserError(f'{path}, line {error.lineno}: {error.msg}{f": {line}" if line else ""}') from error
    except (RecursionError, MemoryError, ValueError) as error:
        raise UserError(f'{path} cannot be parsed as Python: {error}') from error
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', None) == '_base_':
            try:
                return ast.literal_eval(node.value)
            except ValueError:
                return []  # an expression, which mmengine evaluates
    return []


def compose(file: Path, found: Found) -> Config:
    """Merge a data config into its bases as mmengine does."""
    content = dict(found.data[file.expanduser().resolve()])
    merged = Config()
    bases = content.pop('_base_', None) or []
    for base in [bases] if isinstance(bases, str) else bases:
        path = Path(file.expanduser().parent, base)
        inherited = read_config(path)._cfg_dict if path.suffix == '.py' else compose(path, found)
        inherited = inherited.to_dict()
        if twice := merged.keys() & inherited.keys():
            raise UserError(f'{file}: two of its bases have {", ".join(sorted(twice))}; keep one of them')
        merged.merge_from_dict(inherited)
    reserved = [key for key in content if key in RESERVED]
    if reserved:
        raise UserError(f'{file}: {reserved[0]} is a name that mmengine keeps for itself; choose another')
    merged.merge_from_dict(content)
    return Config(merged.to_dict(), filename=str(file))


def line_before_error(error: BaseException, file: Path, configs: set[Path]) -> str:
    """Return the last line of a config before an error."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.endswith('.py') and Path(frame.filename).resolve() in configs:
            return f'{frame.filename}, line {frame.lineno}'
    return str(file)


def summary(error: BaseException) -> str:
    name, text = type(error).__name__, ' '.join(str(error.args[0] if error.args else error).split())
    return f'{name}: {text}' if text else name


def explain_import(error: ImportError | TypeError, file: Path, configs: set[Path]) -> str:
    if isinstance(error, TypeError):
        return f'{file}: custom_imports is no dict; expected custom_imports = dict(imports=[MODULE, ...])'
    cause = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__
    where = (
        f'{file}, custom_imports'
        if 'custom modules' in str(error)
        else line_before_error(error, file, configs)
    )
    module = getattr(cause, 'name', None)
    if not isinstance(cause, ModuleNotFoundError) or module is None:
        return f'{where}: {summary(cause)}'
    return f'{where}: there is no module {module!r}; install it, or add the folder it is in to PYTHONPATH'
