"""Any network that a Python function returns."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from bench_models import options
from benchmark import (
    InputError,
    MissingError,
    Model,
    TaskError,
    digest,
    first_line,
    known_digest,
    near_match,
    source_digest,
)


class PythonFactory(Model):
    """The network of `package.module:function`. All its parameters are trained, also those that it has frozen."""

    Options = options.PythonFactoryOptions

    def check(self) -> None:
        """Import the function and compare its signature with the arguments, without calling it.

        Raises:
            MissingError: there is no such module.
            InputError: the module fails to import or lacks the function; it is not callable; arguments do not fit.
        """
        super().check()
        self._arguments(self._function(), 2, (1, 1, 1))

    def fingerprint(self) -> str:
        """Return a digest of the weights file, and of the file of a function that is installed.

        Of one that is being written, the host looks at all the source (`Function`), and keeps the draws.
        """
        if source_digest(self.options.factory.partition(":")[0]):
            return super().fingerprint()
        source = inspect.getsourcefile(inspect.unwrap(self._function()))
        return digest(super().fingerprint(), known_digest(Path(source)) if source and Path(source).is_file() else "")

    def network(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        """Call the function.

        Raises:
            InputError: as `check`; it returned no network.
            TaskError: the function raised an exception.
        """
        function = self._function()
        try:
            network = function(**self._arguments(function, num_classes, image_shape))
        except InputError:
            raise
        except Exception as error:
            raise TaskError(f"factory {self.options.factory} failed: {first_line(error)}") from error
        if not isinstance(network, nn.Module):
            raise InputError(
                f"factory: {self.options.factory} must return a torch.nn.Module, it returned a {type(network).__name__}"
            )
        return network

    def _function(self) -> Callable[..., Any]:
        module_name, _, path = self.options.factory.partition(":")
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise InputError(
                    f"factory: module {module_name!r} cannot be imported, since it imports {error.name!r}, which is "
                    "not installed"
                ) from error
            raise MissingError(
                f"factory: no module {module_name!r} on the Python path. Install its package, or name its folder in "
                "the environment variable PYTHONPATH (`PYTHONPATH=. bench run ...` for the current one)."
            ) from None
        except Exception as error:
            raise InputError(f"factory: module {module_name!r} cannot be imported: {first_line(error)}") from error
        for name in path.split("."):
            if not hasattr(found, name):
                place = getattr(found, "__file__", None) or module_name
                raise InputError(f"factory: {place} has no {name!r}.{near_match(name, dir(found))}")
            found = getattr(found, name)
        if not callable(found):
            raise InputError(f"factory: {self.options.factory} is a {type(found).__name__}, which cannot be called")
        return found

    def _arguments(
        self, function: Callable[..., Any], num_classes: int, image_shape: tuple[int, int, int]
    ) -> dict[str, Any]:
        """Return the keyword arguments for the call."""
        given = dict(self.options.arguments)
        offered = {"num_classes": num_classes, "image_shape": image_shape}
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):  # some functions written in C have none
            return {**offered, **given}
        if getattr(function, "__init__", None) is nn.Module.__init__:  # declares **kwargs, and refuses them all
            signature = inspect.Signature()
        parameters = signature.parameters.values()
        accepted = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            # Such a function mostly hands them on, to something that knows num_classes but no image_shape.
            accepted += [name for name in ["num_classes", *given] if name not in accepted]
        for name in given:
            if name not in accepted:
                raise InputError(
                    f"arguments: {self.options.factory} takes no {name!r}.{near_match(name, accepted)} "
                    f"It takes: {', '.join(accepted) or 'nothing'}."
                )
        keywords = {**{name: value for name, value in offered.items() if name in accepted}, **given}
        try:
            signature.bind(**keywords)
        except TypeError as error:
            raise InputError(
                f"arguments: {self.options.factory}{signature} cannot be called with "
                f"{', '.join(keywords) or 'nothing'}: {error}"
            ) from None
        return keywords
