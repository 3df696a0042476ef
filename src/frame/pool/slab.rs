//! One buffer and the kind of memory it lies in.

/// Memory that holds one frame. Moved as a box between pool, camera and lease, never copied.
pub trait Slab: Send + Sync {
    /// The whole buffer.
    fn bytes(&self) -> &[u8];

    /// The whole buffer, to be filled.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// What an engine may bind without a copy.
    fn memory(&self) -> Memory;
}

/// Makes the memory of buffers, for instance memory that a GPU reads, too.
pub trait Buffers: Send + Sync {
    /// A buffer of so many zeroed bytes.
    ///
    /// # Errors
    /// When there is no more such memory.
    fn make(&self, bytes: usize) -> Result<Box<dyn Slab>, NoBuffer>;
}

/// Why there is no memory of the wanted kind; what it is, says the maker.
pub type NoBuffer = Box<dyn std::error::Error + Send + Sync>;

/// Where a buffer lies. Plain data: whoever uses an address or a descriptor has to know what it
/// means there, and must keep the lease for as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Memory that only the processor reads: the process's own, or a driver's mapped into it.
    Heap,
    /// Page-locked host memory that a GPU reads at an address of its own.
    MappedPinned {
        /// Address for the processor.
        host: usize,
        /// Address for the GPU.
        device: u64,
    },
    /// Memory of a driver that other drivers can import.
    DmaBuf {
        /// Open for as long as the lease is held.
        fd: i32,
        /// First byte of the frame.
        offset: usize,
        /// Bytes from there on.
        len: usize,
    },
}

impl Slab for Box<[u8]> {
    fn bytes(&self) -> &[u8] {
        self
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }

    fn memory(&self) -> Memory {
        Memory::Heap
    }
}
