//! Where the methods stand.
//!
//! TensorRT is C++ without a C interface. Each public object is `{vtable, mImpl}`, and its methods
//! forward to slots of the vtable of `mImpl` (`apiv::V*` in `NvInferImpl.h`); slots 0 and 1 of every
//! vtable are the destructors. The numbers were counted in the public headers, of 10.0.0 to 10.16, 11.0 and
//! 11.1 (`tests/rtx/slots.py`, docs/logs/slots.txt): within a major version they are the same in all of them.
//! TensorRT-RTX 1.5 to 1.7 has those of 11; why 11.2 to 11.4 are taken without headers: ADR 0013. What is
//! used here only was counted; nothing else of the interface is touched.

/// Slots of one major version.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) builder_create_network: usize,
    pub(super) builder_create_config: usize,
    pub(super) builder_build: usize,
    pub(super) config_set_flags: usize,
    pub(super) config_set_pool: usize,
    pub(super) config_create_timing_cache: usize,
    pub(super) config_set_timing_cache: usize,
    pub(super) config_set_progress: usize,
    pub(super) network_inputs_len: usize,
    pub(super) network_input: usize,
    pub(super) network_outputs_len: usize,
    pub(super) network_output: usize,
    pub(super) tensor_name: usize,
    pub(super) tensor_dims: usize,
    pub(super) tensor_type: usize,
    pub(super) memory_data: usize,
    pub(super) memory_size: usize,
    pub(super) cache_serialize: usize,
    pub(super) runtime_deserialize: usize,
    pub(super) engine_create_context: usize,
    pub(super) engine_tensors_len: usize,
    pub(super) engine_tensor_name: usize,
    pub(super) engine_tensor_shape: usize,
    pub(super) engine_tensor_type: usize,
    pub(super) context_set_address: usize,
    pub(super) context_enqueue: usize,
    /// The parser's own vtable: it has no `mImpl`.
    pub(super) parser_parse: usize,
    pub(super) parser_errors_len: usize,
    pub(super) parser_error: usize,
    /// `IParserError::desc`, in its own vtable.
    pub(super) error_text: usize,
    /// The parser's destructor that frees it.
    pub(super) parser_delete: usize,
    /// Creation flags of a strongly typed network: the precision is that of the ONNX file.
    pub(super) strongly_typed: u32,
    /// Whether the logger carries the two methods of a versioned interface.
    pub(super) versioned_logger: bool,
}

/// TensorRT 10.
pub(super) static TEN: Table = Table {
    builder_create_network: 8,
    builder_create_config: 7,
    builder_build: 14,
    config_set_flags: 8,
    config_set_pool: 43,
    config_create_timing_cache: 40,
    config_set_timing_cache: 41,
    config_set_progress: 56,
    network_inputs_len: 14,
    network_input: 15,
    network_outputs_len: 16,
    network_output: 17,
    tensor_name: 3,
    tensor_dims: 5,
    tensor_type: 7,
    memory_data: 2,
    memory_size: 3,
    cache_serialize: 2,
    runtime_deserialize: 3,
    engine_create_context: 5,
    engine_tensors_len: 30,
    engine_tensor_name: 31,
    engine_tensor_shape: 19,
    engine_tensor_type: 20,
    context_set_address: 24,
    context_enqueue: 37,
    parser_parse: 0,
    parser_errors_len: 5,
    parser_error: 6,
    error_text: 1,
    parser_delete: 9,
    strongly_typed: 1 << 1,
    versioned_logger: false,
};

/// TensorRT 11 and TensorRT-RTX 1.5 to 1.7.
pub(super) static ELEVEN: Table = Table {
    builder_create_network: 6,
    builder_create_config: 5,
    builder_build: 11,
    config_set_flags: 6,
    config_set_pool: 32,
    config_create_timing_cache: 29,
    config_set_timing_cache: 30,
    config_set_progress: 45,
    network_inputs_len: 14,
    network_input: 15,
    network_outputs_len: 16,
    network_output: 17,
    tensor_name: 3,
    tensor_dims: 5,
    tensor_type: 6,
    memory_data: 2,
    memory_size: 3,
    cache_serialize: 2,
    runtime_deserialize: 3,
    engine_create_context: 5,
    engine_tensors_len: 26,
    engine_tensor_name: 27,
    engine_tensor_shape: 15,
    engine_tensor_type: 16,
    context_set_address: 23,
    context_enqueue: 36,
    parser_parse: 0,
    parser_errors_len: 3,
    parser_error: 4,
    error_text: 1,
    parser_delete: 7,
    strongly_typed: 0,
    versioned_logger: true,
};
