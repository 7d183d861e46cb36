"""From a config file and its bases to a Config; what is wrong in them is told with file and line."""

import ast
import re
import traceback
from pathlib import Path

from mmengine.config import Config

from ..errors import UserError
from ..paths import CONFIGS
from .data import SUFFIXES, read_data, read_text
from .libraries import check_installed

RESERVED = ('filename', 'text', 'pretty_text', 'env_variables')  # attributes of mmengine's Config


def read_config(file: Path) -> Config:
    """Read a config: a .py file is run, a YAML or JSON file is data.

    Raises:
        UserError: what is wrong in the file or one of its bases, with its line where it has one.
    """
    bases = check_files(file, ())
    try:
        return compose(file) if file.suffix in SUFFIXES else Config.fromfile(file)
    except (UserError, KeyboardInterrupt):
        raise
    except RecursionError as error:
        raise UserError(f'{file}: its bases or values lead in a circle') from error
    except BaseException as error:  # a .py config runs any code, which raises anything, SystemExit too
        # mmengine looks for the library of a base as mmdet::..., each release in its own way.
        for scope in re.findall(r'[\'"](\w+)::', read_text(file)):
            check_installed(scope, file.stem)
        if isinstance(error, ImportError) or 'import_modules_from_strings' in str(error):
            raise UserError(explain_import(error, file, bases)) from error
        raise UserError(f'{place_of(error, file, bases)}: {summary(error)}') from error


def check_files(file: Path, above: tuple[Path, ...]) -> set[Path]:
    """Return the paths of a config and all its bases, which exist, can be parsed and lead to an end.

    Args:
        file: to check.
        above: the configs that lead here, from the one that was named on.
    """
    path = file.expanduser().absolute()
    if path.resolve() in above:
        circle = ' -> '.join(map(str, (*above[above.index(path.resolve()) :], path)))
        raise UserError(f'_base_ leads in a circle: {circle}; take one of them out')
    if not path.exists():
        raise UserError(f'{above[-1]}: its base {file} does not exist; correct _base_')
    if path.suffix == '.py':
        bases = bases_of_code(path)
    elif path.suffix in SUFFIXES:
        bases = read_data(path).get('_base_', [])
    else:
        raise UserError(
            f'{path} is no config: it ends in {path.suffix!r}; expected .py, .json, .yml or .yaml'
        )
    found = {path.resolve()}
    for base in bases if isinstance(bases, (list, tuple)) else [bases]:
        if not isinstance(base, str):
            raise UserError(f'{path}: _base_ names {base!r}; expected the paths of one or more configs')
        if '::' not in base:  # of another library, which mmengine finds
            found |= check_files(Path(path.parent, base), (*above, path.resolve()))
    return found


def bases_of_code(path: Path) -> list | str:
    """Return what ``_base_`` of a .py config says, as far as it is written out there."""
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


def compose(file: Path) -> Config:
    """Return a data config merged into its bases, in mmengine's way."""
    content = read_data(file)
    merged = Config()
    bases = content.pop('_base_', None) or []
    for base in [bases] if isinstance(bases, str) else bases:
        path = Path(file.parent, base)
        if '::' in base or (path.suffix == '.py' and not path.resolve().is_relative_to(CONFIGS.resolve())):
            raise UserError(
                f'{file}: _base_ leads to {base}, which is code. A YAML or JSON config is data: name '
                'a YAML or JSON file or a config of this package, or write a .py config'
            )
        inherited = read_config(path)._cfg_dict.to_dict() if path.suffix == '.py' else compose(path).to_dict()
        if twice := merged.keys() & inherited.keys():
            raise UserError(f'{file}: two of its bases have {", ".join(sorted(twice))}; keep one of them')
        merged.merge_from_dict(inherited)
    reserved = [key for key in content if key in RESERVED]
    if reserved:
        raise UserError(f'{file}: {reserved[0]} is a name that mmengine keeps for itself; choose another')
    merged.merge_from_dict(content)
    return Config(merged.to_dict(), filename=str(file))


def place_of(error: BaseException, file: Path, configs: set[Path]) -> str:
    """Return the last line of a config that ran before an error."""
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
    where = f'{file}, custom_imports' if 'custom modules' in str(error) else place_of(error, file, configs)
    module = getattr(cause, 'name', None)
    if not isinstance(cause, ModuleNotFoundError) or module is None:
        return f'{where}: {summary(cause)}'
    return f'{where}: there is no module {module!r}; install it, or add the folder it is in to PYTHONPATH'
