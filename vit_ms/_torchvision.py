"""A stand-in for torchvision, of which timm imports names that its Vision Transformers do not use."""

import importlib
import importlib.abc
import importlib.machinery
import sys
import types


def install(package: str = "torchvision") -> bool:
    """Make `package` importable where it is not: in it, and in its modules, each Name is an empty class, each name a module.

    Args:
        package (str): what to stand in for.

    Returns:
        bool, whether the stand-in is in use; False: the package itself can be imported.
    """
    try:
        importlib.import_module(package)
        return False
    except Exception:  # not only absent: one that was built for another PyTorch raises whatever it raises
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            del sys.modules[name]
    sys.meta_path.insert(0, _Finder(package))
    return True


class _Class(type):
    def __getattr__(cls, name: str):
        if name.startswith("__"):  # Python asks for those to see what a class can do
            raise AttributeError(name)
        return _attribute(cls, name)


class _Module(types.ModuleType):
    def __getattr__(self, name: str):
        if not name[0].isupper():  # after this, `from package import name` imports the module package.name
            raise AttributeError(name)
        return _attribute(self, name)


def _attribute(owner, name: str) -> type:
    made = _Class(name, (), {})
    setattr(owner, name, made)  # the same one at the next access
    return made


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, package: str):
        self.package = package

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] != self.package:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec):
        return _Module(spec.name)

    def exec_module(self, module):
        pass
