"""The admin listener: our own endpoints, which the public listener has no place for.

    app       who may ask for what
    page      the page, and the events that keep it live
"""
