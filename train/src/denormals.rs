//! Flush-to-zero for the calling thread.
//!
//! Saturated activations and decaying moments produce denormal floats, on which most processors
//! are many times slower; their contribution is nil. The mode is per thread, so every worker
//! switches it on when it starts.
#![allow(unsafe_code)]

/// Makes the calling thread treat denormal floats as zero, where the processor can.
pub fn flush_to_zero() {
    #[cfg(target_arch = "x86_64")]
    {
        // Flush-to-zero (bit 15) and denormals-are-zero (bit 6).
        const BITS: u32 = (1 << 15) | (1 << 6);
        let mut mode: u32 = 0;
        // SAFETY: both instructions access one aligned u32 on this stack and change only the
        // floating-point mode of this thread; SSE is part of the x86_64 baseline.
        unsafe {
            std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut mode, options(nostack));
            mode |= BITS;
            std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const mode, options(nostack, readonly));
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        // FZ (bit 24) of the floating-point control register.
        let mut mode: u64;
        // SAFETY: reads and writes only this thread's floating-point control register.
        unsafe {
            std::arch::asm!("mrs {}, fpcr", out(reg) mode, options(nomem, nostack));
            mode |= 1 << 24;
            std::arch::asm!("msr fpcr, {}", in(reg) mode, options(nomem, nostack));
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn a_product_below_the_normal_range_becomes_zero() {
        let tiny = std::hint::black_box(1e-30f32);
        assert!(tiny * 1e-10 > 0.0, "denormals are expected before the switch");
        super::flush_to_zero();
        let tiny = std::hint::black_box(1e-30f32);
        assert_eq!(tiny * std::hint::black_box(1e-10f32), 0.0);
    }
}
