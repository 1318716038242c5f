"""A photo that is refocused with a click, in a notebook or as a page of its own.

`session` knows the photo and the renderers, `latest` keeps out what is out of date, and `app` alone
knows widgets. `python -m bokehlib.refocus` serves the notebook as a page.
"""
