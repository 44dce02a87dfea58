"""The page: the only package that imports Gradio. Knows the studio, and no torch."""
