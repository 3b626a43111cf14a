"""Installing a revision's files: plan, stage, commit or undo, so that an Install happens whole or not at all."""
