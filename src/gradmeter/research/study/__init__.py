"""The paper's study: its network, its training, its meta classifiers, its tables, figures and claims."""
