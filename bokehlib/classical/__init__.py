"""Classical renderers: light scattered over discs, also in layers that occlude each other."""
