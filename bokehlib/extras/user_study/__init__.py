"""A user study in one HTML file: pictures in, a page and its key out; CSV files of ratings read.

`page` makes the page, `ratings` reads and checks what comes back, `tests` holds the statistics,
`rendered` makes pictures where there are none.
"""
