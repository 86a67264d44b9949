"""How the networks that ship with the project are made: scenes, pictures, training. Not needed to run the engine."""
