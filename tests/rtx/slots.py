"""Counts in NVIDIA's headers at which slots the methods stand that engine/tensorrt calls, and compares
with the numbers of src/engine/tensorrt/table.rs. Run by hand when a version is added:

    python3 tests/rtx/slots.py FOLDER...

A folder holds the headers of one version, below it anywhere: NvInferVersion.h, NvInferImpl.h,
NvInferRuntimeCommon.h or NvInferRuntimeBase.h, NvInfer.h, NvOnnxParser.h; they are NVIDIA's and not kept
here. What was found for all public versions: docs/logs/slots.txt. Ends with 1 at a difference.
"""

import pathlib
import re
import sys

TABLE = pathlib.Path(__file__).parents[2] / "src/engine/tensorrt/table.rs"
# Field of the table: class, method, and a word by which one of several overloads is known.
METHODS = {
    "builder_create_network": ("VBuilder", "createNetworkV2", ""),
    "builder_create_config": ("VBuilder", "createBuilderConfig", ""),
    "builder_build": ("VBuilder", "buildSerializedNetwork", ""),
    "config_set_flags": ("VBuilderConfig", "setFlags", ""),
    "config_set_pool": ("VBuilderConfig", "setMemoryPoolLimit", ""),
    "config_create_timing_cache": ("VBuilderConfig", "createTimingCache", ""),
    "config_set_timing_cache": ("VBuilderConfig", "setTimingCache", ""),
    "config_set_progress": ("VBuilderConfig", "setProgressMonitor", ""),
    "network_inputs_len": ("VNetworkDefinition", "getNbInputs", ""),
    "network_input": ("VNetworkDefinition", "getInput", ""),
    "network_outputs_len": ("VNetworkDefinition", "getNbOutputs", ""),
    "network_output": ("VNetworkDefinition", "getOutput", ""),
    "tensor_name": ("VTensor", "getName", ""),
    "tensor_dims": ("VTensor", "getDimensions", ""),
    "tensor_type": ("VTensor", "getType", ""),
    "memory_data": ("VHostMemory", "data", ""),
    "memory_size": ("VHostMemory", "size", ""),
    "cache_serialize": ("VTimingCache", "serialize", ""),
    "runtime_deserialize": ("VRuntime", "deserializeCudaEngine", "size_t"),
    "engine_create_context": ("VCudaEngine", "createExecutionContext", ""),
    "engine_tensors_len": ("VCudaEngine", "getNbIOTensors", ""),
    "engine_tensor_name": ("VCudaEngine", "getIOTensorName", ""),
    "engine_tensor_shape": ("VCudaEngine", "getTensorShape", ""),
    "engine_tensor_type": ("VCudaEngine", "getTensorDataType", ""),
    "context_set_address": ("VExecutionContext", "setTensorAddress", ""),
    "context_enqueue": ("VExecutionContext", "enqueueV3", ""),
    "parser_parse": ("IParser", "parse", ""),
    "parser_errors_len": ("IParser", "getNbErrors", ""),
    "parser_error": ("IParser", "getError", ""),
    "parser_delete": ("IParser", "~D0", ""),
    "error_text": ("IParserError", "desc", ""),
}
# Objects of our own that the library calls: methods in the order of their vtables (ffi/monitor.rs, ffi/logger.rs).
MONITOR = ["getAPILanguage", "getInterfaceInfo", "~D1", "~D0", "phaseStart", "stepComplete", "phaseFinish"]
LOGGER = {10: ["log", "~D1", "~D0"], 11: ["getAPILanguage", "getInterfaceInfo", "~D1", "~D0", "log"]}


def table(name):
    """The numbers of `static NAME: Table`."""
    body = re.search(rf"static {name}: Table = Table \{{(.*?)\n\}};", TABLE.read_text(), re.S).group(1)
    return {field: int(slot) for field, slot in re.findall(r"(\w+): (\d+),", body)}


def classes(text):
    """Name to (first base, declarations of virtual methods in order)."""
    text = re.sub(r"//[^\n]*", "", re.sub(r"/\*.*?\*/", "", text, flags=re.S))
    found = {}
    for head in re.finditer(r"class\s+(?:[A-Z_]+\s+)?(\w+)\s*(?:final)?\s*(?::\s*([^{;]*))?\{", text):
        at, depth, flat = head.end(), 1, ""
        while depth:
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            flat += ";" if text[at] in "{}" else text[at] if depth == 1 else ""
            at += 1
        base = re.search(r"public\s+(?:\w+::)*(\w+)", head.group(2) or "")
        virtual = [line for line in flat.split(";") if re.search(r"\bvirtual\b", line)]
        found[head.group(1)] = (base and base.group(1), [" ".join(line.split()) for line in virtual])
    return found


def vtable(known, name):
    """(method, declaration) by slot; a destructor takes two, where it is declared first."""
    base, virtual = known[name]
    slots = vtable(known, base) if base in known else []
    for line in virtual:
        if "~" not in line:
            slots.append((re.search(r"(\w+)\s*\(", line).group(1), line))
        elif not any("~" in method for method, _ in slots):
            slots += [("~D1", line), ("~D0", line)]
    return slots


def compare(folder):
    """Version, slots compared, and what differs or is missing."""
    headers = {path.name: path.read_text(errors="replace") for path in pathlib.Path(folder).rglob("Nv*.h")}
    numbers = dict(re.findall(r"#define (?:NV_|TRT_)*(?:TENSORRT_)?(MAJOR|MINOR|PATCH)\w*\s+(\d+)", headers["NvInferVersion.h"]))
    major = int(numbers["MAJOR"])
    wanted, known, complaints, slots = table({10: "TEN", 11: "ELEVEN"}[major]), {}, [], 0
    for name in sorted(headers):
        known.update({k: v for k, v in classes(headers[name]).items() if v[1] or k not in known})
    for field, (kind, method, word) in METHODS.items():
        if kind not in known:
            complaints.append(f"{field}: no class {kind} in these headers")
            continue
        at = [slot for slot, (name, line) in enumerate(vtable(known, kind)) if name == method and word in line]
        slots += 1
        if wanted[field] not in at[:1]:
            complaints.append(f"{field}: {kind}::{method} is at {at}, the table says {wanted[field]}")
    for kind, methods in {"IProgressMonitor": MONITOR, "ILogger": LOGGER[major]}.items():
        found = [name for name, _ in vtable(known, kind)]
        slots += len(methods)
        if found != methods:
            complaints.append(f"{kind} is {found}, ours {methods}")
    return ".".join(numbers.get(part, "?") for part in ("MAJOR", "MINOR", "PATCH")), slots, complaints


def main():
    differs = False
    for folder in sys.argv[1:] or sys.exit(__doc__):
        version, slots, complaints = compare(folder)
        # Headers of the parser come from another repository.
        absent = [line for line in complaints if "no class" in line]
        wrong = [line for line in complaints if line not in absent]
        parser = ", without those of the parser, which has no header here" if absent else ""
        print(f"{version}: {'DIFFERS' if wrong else 'same'}, {slots} slots compared{parser}")
        print("".join(f"    {line}\n" for line in wrong), end="")
        differs = differs or bool(wrong)
    sys.exit(differs)


if __name__ == "__main__":
    main()
