"""People's corrections of faces: the page that collects them and the stage that applies them."""
