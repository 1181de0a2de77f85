"""Laws of scaling: saturating power laws fitted to trained models of several sizes, with what the runs do not say."""
