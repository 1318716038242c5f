"""A user study in one HTML file: cases of pictures in, a page and its key out. No torch.

`cases` reads pictures, `page` writes them into the page, `rendered` makes pictures where there are
none, `demo` makes a sheet of ratings that nobody gave.
"""
