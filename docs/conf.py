"""The site of this folder: `make docs`."""

from docutils import nodes

project = "ulna"
html_title = "ulna"
extensions = ["myst_parser"]
html_theme = "furo"
# A heading can be linked to: team.md#merging.
myst_heading_anchors = 3
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
# Links to files of the repository outside of this folder: tests/test_docs.py follows all links.
suppress_warnings = ["myst.xref_missing"]


def unlink(app, doctree, page):
    """Turn links that lead nowhere on the site, to a file outside of this folder, into text."""
    for link in list(doctree.findall(nodes.reference)):
        if link.get("refid") and link["refid"] not in doctree.ids:
            link.replace_self(link.children)


def setup(app):
    """Register the above."""
    app.connect("doctree-resolved", unlink)
