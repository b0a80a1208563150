"""One module per architecture; each defines `ARCHITECTURE` under the name the module carries."""
