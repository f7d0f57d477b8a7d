"""Tells what Hydra finds wrong with the settings of a run, in one line."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from continual_repmode.config.run import offered, one_line, schema_of, setting_options
from continual_repmode.errors import UserError, nearest

_FURTHER_OPTIONS = {
    "scenario": ", or the path of a .yaml file",
    "hydra/launcher": ", or install another: pip install hydra-joblib-launcher",
}


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Raise UserError with one line instead of the errors of Hydra."""
    try:
        yield
    except HydraException as error:
        raise UserError(_explain(error)) from error
    except OmegaConfBaseException as error:
        raise UserError(one_line(error)) from error


def _explain(error: HydraException) -> str:
    """Return one line that names the setting, the value and the remedy."""
    text, cause = str(error), error.__cause__
    if isinstance(error, OverrideParseException) and "missing EQUAL" not in text:
        name = error.override.partition("=")[0]
        if name not in setting_options():
            return _unknown_setting(name)
        return (
            f"{error.override}: not a value that can be read; give a number, true, "
            "false, null, a name, or a list such as [16,32,32]"
        )
    if found := re.match(
        r"(?:Ambiguous value for argument|Sweep parameters) '(.*)'", text
    ):
        return f"{found[1]}: give one value, or add -m to run with each of them"
    if found := re.match(r"Could not override '([\w./]+)'", text):
        return _unknown_setting(found[1])
    if found := re.match(r"In '.*': Could not find '(hydra/\w+|\w+)/(.*)'", text):
        options = re.search(r"Available options.*?:\n((?:\t.*\n)*)", text)
        names = options[1].split() if options else []
        if found[2] in offered(found[1]):
            schema_of(found[1], found[2])  # says why it cannot be used
        shown = [name for name in names if not name.endswith("_schema")]
        if not shown:  # options in folders of their own
            return (
                f"{found[1]}={found[2]}: there is no such file; "
                "`continual-repmode run --help` lists the choices"
            )
        more = _FURTHER_OPTIONS.get(found[1], "")
        return f"{found[1]}={found[2]}: choose one of {', '.join(shown)}{more}"
    if isinstance(cause, OmegaConfBaseException):
        return one_line(cause)
    if "missing EQUAL" in text:
        return f"{text.splitlines()[0]}: write a setting as name=value"
    return " ".join(text.split())


def _unknown_setting(name: str) -> str:
    options = setting_options()
    if of := options.get(name):
        group = name.partition(".")[0]
        return (
            f"{name} belongs to {group}={', '.join(of)}: leave it out, or choose "
            f"{'that' if len(of) == 1 else 'one of these'}"
        )
    hint = nearest(name, options, otherwise=", ".join(sorted(options)))
    return f"there is no setting {name!r} with these options: {hint}"
