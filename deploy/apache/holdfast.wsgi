"""What mod_wsgi loads: it passes no environment on, so the configuration is named here."""

import os

os.environ.setdefault("HOLDFAST_CONFIG", "/etc/holdfast/holdfast.toml")

from holdfast.web.wsgi import application  # noqa: E402, F401
