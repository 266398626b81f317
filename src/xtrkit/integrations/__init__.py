"""xtrkit inside other tools: one module a framework, each imported by whoever uses that framework.

Every module needs an extra of its own (``docs/integrations.md``); without it, importing the module says which.
"""

from xtrkit.lazy import lazy

__getattr__, __dir__ = lazy(__name__)
