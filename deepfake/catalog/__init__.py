"""Which videos exist and what is known of them."""
