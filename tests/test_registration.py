"""A dialect or a scheme that was added as a file and not registered is found here."""

import importlib
import inspect
import pkgutil

import toolrest.core.dialects
import toolrest.core.weights
from toolrest.core.dialects import Dialect, dialect_names, get_dialect
from toolrest.core.weights import Product, Scheme, get_scheme, scheme_names


def classes_of(package):
    for module in pkgutil.iter_modules(package.__path__):
        home = importlib.import_module(f"{package.__name__}.{module.name}")
        for _, item in inspect.getmembers(home, inspect.isclass):
            if item.__module__ == home.__name__:
                yield item


def test_every_dialect_is_registered():
    written = {c for c in classes_of(toolrest.core.dialects) if issubclass(c, Dialect)}
    whole = {dialect for dialect in written if not inspect.isabstract(dialect)}
    assert whole == {type(get_dialect(name)) for name in dialect_names()}


def test_every_scheme_is_registered():
    written = {c for c in classes_of(toolrest.core.weights) if issubclass(c, Scheme)} - {
        Scheme,
        Product,
    }
    assert written == {type(get_scheme(name)) for name in scheme_names()}
