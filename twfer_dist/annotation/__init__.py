"""People's labels and corrections of faces: the pages that collect them, and what is made of them."""
