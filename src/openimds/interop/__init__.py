"""Other programs' files and servers: importers, capture, transcripts, comparison."""
