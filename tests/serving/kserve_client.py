"""Asks a server by KServe's own client, in the environment that has it: ``kserve_client.py ADDRESS ROW ...``.

Prints a JSON object: whether the server is live and ready, and what v1 and v2 answer to the rows.
"""

import asyncio
import json
import sys
from typing import Any

from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig


async def ask(address: str, texts: list[str]) -> dict[str, Any]:
    v1, v2 = (InferenceRESTClient(RESTConfig(protocol=version, retries=0)) for version in ("v1", "v2"))
    request = InferRequest("ssm4rec", [InferInput("rows", [len(texts)], "BYTES", texts)], request_id="42")
    response = await v2.infer(address, request, "ssm4rec")
    (output,) = response.outputs
    return {
        "live": await v2.is_server_live(address),
        "ready": await v2.is_server_ready(address) and await v2.is_model_ready(address, "ssm4rec"),
        "v1": await v1.infer(address, {"instances": [json.loads(text) for text in texts]}, "ssm4rec"),
        "v2": [json.loads(text) for text in output.data],
        "output": [output.name, output.datatype, output.shape, response.id],
    }


sys.stdout.write(json.dumps(asyncio.run(ask(sys.argv[1], sys.argv[2:]))))
