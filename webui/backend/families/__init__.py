"""One module per model family: how its files are laid out and how its modules are built."""
