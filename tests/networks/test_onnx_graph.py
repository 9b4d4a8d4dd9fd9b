import keras
import numpy as np
import onnx
import onnx.reference
import pytest

from ulna.networks.onnx_graph import PIXELS, Graph, unmapped


def doubled() -> Graph:
    """Casts the pixels of 2 x 2 images and doubles them."""
    graph, layer = Graph(), keras.layers.Rescaling(2.0)
    cast = graph.add("Cast", [PIXELS], "cast", layer, (2, 2, 1), to=onnx.TensorProto.FLOAT)
    graph.add("Mul", [cast, graph.constant("two", 2)], "doubled", layer, (2, 2, 1))
    return graph


def test_a_graph_becomes_a_file_that_computes_it():
    model = onnx.load_from_string(doubled().serialize(2, "doubled"))
    image = np.array([[[[1], [2]], [[3], [255]]]], np.uint8)
    (result,) = onnx.reference.ReferenceEvaluator(model).run(None, {PIXELS: image})
    np.testing.assert_array_equal(result, 2.0 * image)


def test_the_same_graph_gives_the_same_bytes_without_a_word_of_who_wrote_it():
    file = doubled().serialize(2, "doubled")
    assert file == doubled().serialize(2, "doubled")
    model = onnx.load_from_string(file)
    assert (model.producer_name, model.doc_string, list(model.metadata_props)) == ("", "", [])


def test_a_graph_that_is_not_well_formed_is_not_written():
    graph = doubled()
    del graph.constants["two"]
    with pytest.raises(onnx.checker.ValidationError, match="two"):
        graph.serialize(2, "doubled")


def test_the_message_names_the_layer_and_its_kind():
    message = str(unmapped(keras.layers.ELU(name="strange"), "is of another kind"))
    assert message.startswith("the layer strange (ELU) is of another kind")
