"""The stage `react`: what follows outside a pass from the entries of its activity log."""
