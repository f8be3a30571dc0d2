"""Adapters of gradmeter to the interfaces of other libraries, one module for each library.

That for MLflow is `gradmeter.apps.mlflow`, because it opens networks and decodes images.
"""
