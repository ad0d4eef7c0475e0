"""Settings of the documentation site; `make docs` builds it into build/docs."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "mixedmodels"
author = copyright = "mixedmodels developers"  # noqa: A001 - Sphinx's name for it
version = release = metadata.version("mixedmodels")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_nb",
    "sphinx_copybutton",
    "pages",
]
exclude_patterns = ["_extensions", "_static", "_templates", "README.md"]
templates_path = ["_templates"]
nitpicky = True
default_role = "public"  # from pages.py: `lmer` in a docstring

# Pages. Two levels of headings can be linked to, by GitHub's own rule for their names.
myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]
nb_execution_mode = "cache"
nb_execution_cache_path = str(Path(__file__).parents[1] / "build" / "notebooks")
nb_execution_timeout = 120
nb_execution_raise_on_error = True

# Reference. Types stand in the words of the docstrings, so that signatures stay short.
autodoc_typehints = "none"
add_module_names = False
autodoc_class_signature = "separated"
autodoc_member_order = "bysource"
# what classes have for the package's own use
autodoc_default_options = {
    "exclude-members": "__init__, __new__, of, title, blocks, limits, bare, plan, spread"
}
toc_object_entries_show_parents = "hide"
autosummary_generate = True
autosummary_context = {
    "pictures": [path.stem for path in Path(__file__).parent.glob("images/*.png")],
    # of what a fit holds, that which is meant for its users
    "fitted_values": [
        "formula",
        "n_obs",
        "n_groups",
        "term_names",
        "beta",
        "vcov",
        "theta",
        "sigma",
        "fitted",
        "loglik",
        "criterion",
        "deviance",
        "reml_criterion",
        "aic",
        "aicc",
        "bic",
        "n_params",
        "df_resid",
        "converged",
        "is_singular",
        "convergence",
    ],
    "fitted_methods": [
        "fixef",
        "ranef",
        "coef",
        "varcorr",
        "tidy",
        "glance",
        "augment",
        "residuals",
        "predict",
        "simulate",
        "refit",
        "update",
        "bootstrap",
        "check_convergence",
        "pca",
        "summary",
    ],
}
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
# Errors of Python and of its standard library: no inventory of theirs is fetched.
nitpick_ignore_regex = [("py:.*", r"(ValueError|TypeError|MemoryError|ImportError|UserWarning)")]

copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True

html_theme = "pydata_sphinx_theme"
html_title = "mixedmodels"
html_static_path = ["_static"]
html_extra_path = ["examples"]
html_css_files = ["site.css"]
html_favicon = "_static/logo.svg"
html_show_sourcelink = False
html_copy_source = False
# no column of navigation where there is nothing below, or pictures need the room
html_sidebars = {"index": [], "gallery": [], "getting-started": [], "benchmarks": []}
html_context = {"default_mode": "auto"}
html_theme_options = {
    "logo": {
        "text": "mixedmodels",
        "image_light": "_static/logo.svg",
        "image_dark": "_static/logo.svg",
    },
    "header_links_before_dropdown": 7,
    "collapse_navigation": False,
    "navbar_align": "left",
    "show_toc_level": 2,
    "show_nav_level": 1,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
