"""The form 'Predict structures' next to napari's viewer.

Imported by napari only. What needs Qt is imported when the form is made.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from magicgui.widgets import ComboBox, Container, FileEdit, LineEdit, PushButton, Select

from continual_repmode.errors import UserError
from continual_repmode.napari_plugin.layers import (
    PLACEMENT,
    LayerData,
    Request,
    format_voxel_size,
    layer_voxel_size,
    parse_voxel_size,
    predict_layers,
    task_names,
)
from continual_repmode.tasks import display_name

_Made = TypeVar("_Made")

_INTENSITIES = [
    ("z-scores", "zscore"),
    ("as the training images", "target"),
]


class PredictStructures(Container[Any]):
    """Choose light, model and structures; predictions appear as layers.

    The voxel size is that of the layer where it tells one, and can be corrected; where
    it tells none, the field is empty and has to be filled in.

    ``worker``: of the prediction that is going on, if one is.
    """

    def __init__(self, napari_viewer: Any) -> None:
        self.worker: Any = None
        self._viewer = napari_viewer
        self.image = ComboBox(label="transmitted light", choices=self._images)
        self.voxel_size = LineEdit(
            label="voxel size (µm)", tooltip="z, y, x; for example 0.29, 0.108, 0.108"
        )
        self.model = FileEdit(label="model", filter="*.safetensors", nullable=True)
        self.structures = Select(label="structures", choices=())
        self.intensity = ComboBox(label="values", choices=_INTENSITIES)
        self.predict = PushButton(text="Predict")
        self.stop = PushButton(
            text="Stop", enabled=False, tooltip="after the structure that is predicted"
        )
        super().__init__(
            widgets=[
                *(self.image, self.voxel_size, self.model, self.structures),
                *(self.intensity, self.predict, self.stop),
            ]
        )
        self.image.changed.connect(self._read_image)
        self.model.changed.connect(self._read_model)
        self.predict.changed.connect(self._start)
        self.stop.changed.connect(self._stop)
        self._read_image(self.image.value)

    def reset_choices(self, *_: Any) -> None:
        """Offer the layers that there are now; napari calls this when they change."""
        before = self.image.value
        self.image.reset_choices()
        if self.image.value is not before:
            self._read_image(self.image.value)

    def _images(self, _: Any) -> list[Any]:
        """Return the image layers, topmost first."""
        from napari.layers import Image

        return [x for x in reversed(self._viewer.layers) if isinstance(x, Image)]

    def _read_image(self, layer: Any) -> None:
        """Show the voxel size that the chosen layer tells."""
        told = None if layer is None else layer_voxel_size(layer.scale, layer.units)
        self.voxel_size.value = format_voxel_size(told)

    def _read_model(self, path: Path | None) -> None:
        """Offer the structures that the chosen model knows."""
        names: tuple[str, ...] = ()
        if path is not None:
            names = _or_shown(lambda: task_names(path)) or ()
        self.structures.choices = [(display_name(name), name) for name in names]

    def _start(self) -> None:
        """Predict in a thread; a mistake is told at once."""
        request = _or_shown(self._request)
        if request is None:
            return
        from napari.qt.threading import create_worker

        self._set_running(True)
        self.worker = create_worker(
            predict_layers,
            request,
            _connect={
                "yielded": self._add,
                "errored": _show,
                "finished": self._finish,
            },
            _progress={"total": len(request.tasks), "desc": "predicting structures"},
        )

    def _stop(self) -> None:
        if self.worker is not None:
            self.worker.quit()

    def _request(self) -> Request:
        """Return what the form asks for.

        Raises UserError if something is missing or cannot be.
        """
        layer: Any = self.image.value
        model: Any = self.model.value
        if layer is None:
            raise UserError("transmitted light: open an image, then choose its layer")
        if model is None:
            raise UserError("model: choose a model file (.safetensors)")
        return Request(
            image=layer.data[0] if layer.multiscale else layer.data,
            image_name=layer.name,
            placement={key: getattr(layer, key) for key in PLACEMENT},
            voxel_size_um=parse_voxel_size(self.voxel_size.value),
            model=model,
            tasks=self.structures.value,
            intensity=self.intensity.value,
        )

    def _add(self, layer_data: LayerData) -> None:
        from napari.layers import Layer

        self._viewer.add_layer(Layer.create(*layer_data))

    def _finish(self) -> None:
        self.worker = None
        self._set_running(False)

    def _set_running(self, running: bool) -> None:
        self.predict.enabled, self.stop.enabled = not running, running


def _or_shown(make: Callable[[], _Made]) -> _Made | None:
    """Return what is made, or None after telling the user what is wrong."""
    try:
        return make()
    except UserError as error:
        _show(error)
        return None


def _show(error: Exception) -> None:
    """Tell the user of a mistake; raise anything else, which napari shows whole.

    Raises Exception: ``error``, if it is no mistake of the user.
    """
    if not isinstance(error, UserError):
        raise error
    from napari.utils.notifications import show_error

    show_error(str(error))
