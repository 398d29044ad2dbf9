"""What one explanation costs with a network and a CT of the size that hospitals have; see ``__main__``."""
