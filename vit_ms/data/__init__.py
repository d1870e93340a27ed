"""Images and labels: named datasets and the pipelines that bring them to a network."""
