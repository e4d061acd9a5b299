"""Token embeddings to text embeddings."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        tokens = pb_utils.get_input_tensor_by_name(request, "tokens").as_numpy()
        mask = pb_utils.get_input_tensor_by_name(request, "attention_mask").as_numpy()
        mask = mask[:, :, None].astype(np.float32)
        means = (tokens * mask).sum(1) / np.maximum(mask.sum(1), 1)
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        return pb_utils.InferenceResponse([pb_utils.Tensor("EMBEDDING", means / lengths)])
