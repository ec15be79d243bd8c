"""Online: settings, catalog, engine, routes. It reads bundles and never imports training."""
