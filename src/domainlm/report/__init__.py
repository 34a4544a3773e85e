"""Evidence to report: the page, the headline picture, the post and the model cards."""
