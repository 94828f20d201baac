"""What carries deliveries to workers on other machines; :mod:`scheduler.engines.base` is the seam."""
