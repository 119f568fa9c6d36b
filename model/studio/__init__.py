"""The studio: a local page to make music for dance videos, to look at data sets and curated clips.

Jobs are commands of `model` in processes of their own; Gradio only shows them.
"""
