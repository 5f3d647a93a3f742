"""The verl engine: recipes as verl's settings, and the plug-in that puts the weights into verl.

verl loads the plug-in by its entry point. Runs that name this package instead, in
VERL_USE_EXTERNAL_MODULES, load it too: verl is then being imported.
"""

import sys

if "verl" in sys.modules:
    import toolrest.engines.verl.plugin  # noqa: F401
