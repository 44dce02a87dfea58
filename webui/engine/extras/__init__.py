"""Work on finished pictures (the Extras tab): one module per operation, `pipeline` orders them."""
