"""The composed world: one file per thing that a scene can emit. Scenes of known factors."""
