"""A1111's line of generation parameters and its relatives: written, read, found in files. Pure text and bytes; knows no jobs and no routes."""
