"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is slow now and then; no test asks for the time.
settings.register_profile("mixedmodels", deadline=None)
settings.load_profile("mixedmodels")
