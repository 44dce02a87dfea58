"""A plan to pixels. Torch-free as a package: plan, prompt, tables and cancel are read by parts that know no torch."""
