"""The verbs of the console command: one short module each, with ``main(arguments)``."""

VERBS = {
    "demo": "show all of it in five minutes, with a small model that comes along",
    "predict": "predict structures in images of yours with a trained model",
    "extend": "add a structure of yours to a trained model, leaving the others as is",
    "merge": "put extensions of the same model into one",
    "import": "weights of the published RepMode or fnet as a model file",
    "export": "one task of a model as ONNX, PyTorch program or bioimage.io package",
    "info": "tell what is in a model file",
    "inspect": "tell what is in an image file, and what a model would make of it",
    "status": "tell what a run in the background does, and how long it takes yet",
    "report": "show runs in one HTML file",
    "run": "learn a stream of tasks, testing after each experience",
    "tables": "run what a table of the paper needs, or of ours, and write it",
    "check": "look at every volume of a manifest before training on it",
    "prepare": "bring the volumes of a manifest onto the model grid, ahead of a run",
    "download": "fetch the Allen label-free collection and write its manifest",
}
"""Verb -> what it does, in one line."""
