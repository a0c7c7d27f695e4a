"""LightningModules of the project, one file a modality."""
