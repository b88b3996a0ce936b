"""People's marks on faces: the page that collects them and the table that applies them."""
